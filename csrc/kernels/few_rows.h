// Products of few rows are bound by reading b: from L3 at 115-120 GB/s here, if it is read along its rows and in few streams
// at a time (16 rows side by side: 93 GB/s, four: 116). Each way reads b once, as it lies.
#pragma once
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 FEW_COLUMNS = 512;  // of an item

template <class T> INLINE void finish_one(const Matmul& job, T* out, T v, i64 column) {
    if (job.accumulate) v += *out;
    else if (job.bias) v += static_cast<const T*>(job.bias)[column];
    *out = job.activation == RELU && !job.accumulate && v < 0 ? T(0) : v;
}

// One row of a times one row of b (n, k), eight vectors in flight, for long k: b is one stream, and its next row is prefetched,
// because the machine's own prefetcher stops at the end of a page.
template <class T> static T dot_long(const T* a, const T* b, const T* next, i64 k) {
    constexpr int L = LANES<T>, WAYS = 8;
    Vec<T> acc[WAYS] = {};
    i64 p = 0;
    for (; p + WAYS * L <= k; p += WAYS * L)
#pragma GCC unroll 8
        for (int w = 0; w < WAYS; w++) {
            __builtin_prefetch(next + p + w * L);
            acc[w] = fma<T>(load(a + p + w * L), load(b + p + w * L), acc[w]);
        }
    for_vectors<T>(k - p, [&](i64 at, int n) { acc[0] = fma<T>(load_n(a + p + at, n), load_n(b + p + at, n), acc[0]); });
    return sum_lanes<T>(((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7])));
}

// MR rows of c, columns [j, j + LANES / MR): LANES dot products at once, summed together at the end.
template <class T, int MR> static void dot_tile(const Matmul& job, T* c, const T* a, const T* b, i64 j) {
    constexpr int NR = LANES<T> / MR;
    Vec<T> acc[MR][NR] = {};
    rows_dot_rows<T, MR, NR>(acc, a, job.a_row, b + j * job.b_col, job.b_col, job.k);
    T sum[LANES<T>];
    store(sum, sum_rows<T>(&acc[0][0]));
    for (int i = 0; i < MR; i++)
        for (int jj = 0; jj < NR; jj++) finish_one(job, c + i * job.c_row + j + jj, sum[i * NR + jj], j + jj);
}

// The columns that are left, one product at a time.
template <class T> static void dot_rest(const Matmul& job, T* c, const T* a, const T* b, i64 rows, i64 j, i64 j1) {
    for (; j < j1; j++)
        for (i64 i = 0; i < rows; i++) {
            Vec<T> acc[1][1] = {};
            rows_dot_rows<T, 1, 1>(acc, a + i * job.a_row, 0, b + j * job.b_col, 0, job.k);
            finish_one(job, c + i * job.c_row + j, sum_lanes<T>(acc[0][0]), j);
        }
}

// Columns [j0, j1) of c = a b^T, rows in groups of MR, then of half as many, ...
template <class T, int MR>
static void dot_rows(const Matmul& job, i64 row, T* c, const T* a, const T* b, i64 j0, i64 j1) {
    if constexpr (MR <= LANES<T>) {
        constexpr i64 NR = LANES<T> / MR;
        for (; row + MR <= job.m; row += MR) {
            i64 j = j0;
            if (MR == 1 && job.k >= 16 * LANES<T>)
                for (; j < j1; j++) {
                    const T* column = b + j * job.b_col;
                    finish_one(job, c + row * job.c_row + j, dot_long(a + row * job.a_row, column, column + job.b_col, job.k), j);
                }
            for (; j + NR <= j1; j += NR) dot_tile<T, MR>(job, c + row * job.c_row, a + row * job.a_row, b, j);
            dot_rest(job, c + row * job.c_row, a + row * job.a_row, b, MR, j, j1);
        }
    }
    if constexpr (MR > 1) dot_rows<T, MR / 2>(job, row, c, a, b, j0, j1);
}

// Columns [j0, j1) of c (1, n) = a (1, k) b: c stays in L1 while four rows of b at a time are added to it.
template <class T> static void stream_row(const Matmul& job, T* c, const T* a, const T* b, i64 j0, i64 j1) {
    const T* bias = static_cast<const T*>(job.bias);
    if (!job.accumulate)
        for_vectors<T>(j1 - j0, [&](i64 j, int n) { store_n(c + j0 + j, bias ? load_n(bias + j0 + j, n) : Vec<T>{}, n); });
    i64 p = 0;
    for (; p + 4 <= job.k; p += 4) {
        const T* row = b + p * job.b_row + j0;
        Vec<T> av[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) av[i] = splat<T>(a[(p + i) * job.a_col]);
        for_vectors<T>(j1 - j0, [&](i64 j, int n) {
            Vec<T> y = load_n(c + j0 + j, n);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) __builtin_prefetch(row + (i + 4) * job.b_row + j);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) y = fma<T>(av[i], load_n(row + i * job.b_row + j, n), y);
            store_n(c + j0 + j, y, n);
        });
    }
    for (; p < job.k; p++) {
        const Vec<T> av = splat<T>(a[p * job.a_col]);
        for_vectors<T>(j1 - j0, [&](i64 j, int n) {
            store_n(c + j0 + j, fma<T>(av, load_n(b + p * job.b_row + j0 + j, n), load_n(c + j0 + j, n)), n);
        });
    }
    if (job.activation == RELU && !job.accumulate)
        for_vectors<T>(j1 - j0, [&](i64 j, int n) { store_n(c + j0 + j, max<T>(Vec<T>{}, load_n(c + j0 + j, n)), n); });
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
