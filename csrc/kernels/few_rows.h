// Products of few rows are bound by reading b: from L3 at 115-120 GB/s here, if it is read along its rows and in few streams
// at a time (16 rows side by side: 93 GB/s, four: 116). Each way reads b once, as it lies.
#pragma once
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 FEW_COLUMNS = 512;  // of an item
// Short stretches, so that two threads share 256. 136 columns are 8 streams 17 rows of b apart; 16 rows of 256 numbers apart
// all of them fall on the same set of L1 (AVX2, from L3: 56 GB/s, 17 give 61).
constexpr i64 DOT_COLUMNS = NARROW ? 136 : 128;
constexpr int STREAM_MOST_ROWS = NARROW ? 3 : 1;  // of c
constexpr int STREAM_ROWS = NARROW ? 8 : 4;  // of b at a time: with AVX2 23 GFLOP/s at 1 x 1024 x 1024, four give 19

// Elements from c to the residual, which is as c.
template <class T> INLINE i64 beside(const Matmul& job) { return static_cast<const T*>(job.residual) - static_cast<T*>(job.c); }

template <class T> INLINE void finish_one(const Matmul& job, T* out, T v, i64 column) {
    if (job.accumulate) {
        *out += v;
        return;
    }
    if (job.bias) v += static_cast<const T*>(job.bias)[column];
    if (job.residual) v += out[beside<T>(job)];
    const Limits<T> limit(job.activation);
    if (limits(job.activation)) v = v < limit.least ? limit.least : v > limit.most ? limit.most : v;
    *out = v;
}

// One row of a times one row of b (n, k), eight vectors in flight, for long k: b is one stream, and a later row is prefetched,
// because the machine's own prefetcher stops at the end of a page: of rows of less than 2 KB the one that begins 4 KB on (1 x
// 256 x 768 takes 0.85 to 0.9 of the time that it takes with the next one, 1 x 384 x 1536 0.9; longer rows up to 1.05).
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

// MR rows of c, columns j, j + apart, ...: LANES dot products at once, summed together at the end. A function of its own:
// within its callers GCC 12 keeps the sums of MR = 8 in memory, 1.4 times as slow.
template <class T, int MR>
__attribute__((noinline)) static void dot_tile(const Matmul& job, T* c, const T* a, const T* b, i64 j, i64 apart) {
    constexpr int NR = LANES<T> / MR;
    Vec<T> acc[MR][NR] = {};
    rows_dot_rows<T, MR, NR>(acc, a, job.a_row, b + j * job.b_col, apart * job.b_col, job.k);
    T sum[LANES<T>];
    store(sum, sum_rows<T>(&acc[0][0]));
    for (int i = 0; i < MR; i++)
        for (int jj = 0; jj < NR; jj++) {
            const i64 column = j + jj * apart;
            finish_one(job, c + i * job.c_row + column, sum[i * NR + jj], column);
        }
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
            if (MR == 1 && !NARROW && job.k >= 16 * LANES<T>)  // AVX2: eight rows of b side by side give 25 GFLOP/s, one 15
                for (const i64 later = (job.k < 512 ? 1 + 1024 / job.k : 1) * job.b_col; j < j1; j++) {
                    const T* column = b + j * job.b_col;
                    const T dot = dot_long(a + row * job.a_row, column, column + later, job.k);
                    finish_one(job, c + row * job.c_row + j, dot, j);
                }
            // The rows of b in a tile lie far apart, so that each begins a stream of its own that goes on in the next tile:
            // side by side the machine's prefetcher starts anew with every tile (AVX2, 1 x 1024 x 256: from L3 58 GB/s, not 40,
            // from memory 24, not 13).
            const i64 apart = (j1 - j) / NR;
            for (i64 t = 0; t < apart; t++, j++) dot_tile<T, MR>(job, c + row * job.c_row, a + row * job.a_row, b, j, apart);
            j += apart * (NR - 1);
            dot_rest(job, c + row * job.c_row, a + row * job.a_row, b, MR, j, j1);
        }
    }
    if constexpr (MR > 1) dot_rows<T, MR / 2>(job, row, c, a, b, j0, j1);
}

// All columns [j0, j1). Eight rows are one pass while they leave room in L1 (AVX2: at k = 1024 they are 32 KB, all of it, and
// two passes of four take 0.8 of the time; at 512 1.13). Rows of several passes go over columns whose b is still in L2 for the
// next.
constexpr int DOT_ROWS = 8;
constexpr i64 HALF_L1 = 1 << 14, DOT_BYTES = 1 << 17;
template <class T> static void dot_columns(const Matmul& job, T* c, const T* a, const T* b, i64 j0, i64 j1) {
    const bool tall = !NARROW || job.k * DOT_ROWS * i64(sizeof(T)) <= HALF_L1, once = job.m <= 4 || (job.m == DOT_ROWS && tall);
    const i64 fit = DOT_BYTES / i64(sizeof(T)) / (job.k + 1) / 8 * 8, most = once ? j1 - j0 : fit < 8 ? 8 : fit;
    for (i64 j = j0; j < j1; j += most) {
        const i64 stop = j + most < j1 ? j + most : j1;
        tall ? dot_rows<T, DOT_ROWS>(job, 0, c, a, b, j, stop) : dot_rows<T, 4>(job, 0, c, a, b, j, stop);
    }
}

// c (MR, n) += the outer products of STREAM_ROWS rows of b and what stands beside them in a: av[p][i] = a[i, p].
template <class T, int MR>
static void add_rows(T* c, i64 c_row, const T (*av)[STREAM_MOST_ROWS], const T* b, i64 b_row, i64 n) {
    for_vectors<T>(n, [&](i64 j, int count) {
        Vec<T> y[MR];
#pragma GCC unroll 4
        for (int i = 0; i < MR; i++) y[i] = load_n(c + i * c_row + j, count);
        // The next rows of b. With AVX2 it halves the speed: two prefetches a line, and loads are what bounds it.
        if (!NARROW)
#pragma GCC unroll 8
            for (int p = 0; p < STREAM_ROWS; p++) __builtin_prefetch(b + (p + STREAM_ROWS) * b_row + j);
#pragma GCC unroll 8
        for (int p = 0; p < STREAM_ROWS; p++) {
            const Vec<T> row = load_n(b + p * b_row + j, count);
#pragma GCC unroll 4
            for (int i = 0; i < MR; i++) y[i] = fma<T>(splat<T>(av[p][i]), row, y[i]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < MR; i++) store_n(c + i * c_row + j, y[i], count);
    });
}

// The rows of b that are left, one by one.
template <class T> static void add_last_rows(T* c, const T* a, i64 a_col, const T* b, i64 b_row, i64 depth, i64 n) {
    for (i64 p = 0; p < depth; p++) {
        const Vec<T> av = splat<T>(a[p * a_col]);
        for_vectors<T>(n, [&](i64 j, int count) {
            store_n(c + j, fma<T>(av, load_n(b + p * b_row + j, count), load_n(c + j, count)), count);
        });
    }
}

// Columns [j0, j1) of c (m, n) = a (m, k) b, for few rows: c stays in L1 while whole rows of b are added to it, so that b is
// read along its rows, and once.
template <class T> static void stream_rows(const Matmul& job, T* c, const T* a, const T* b, i64 j0, i64 j1) {
    const i64 n = j1 - j0, whole = job.k / STREAM_ROWS * STREAM_ROWS;
    const T* bias = job.bias ? static_cast<const T*>(job.bias) + j0 : nullptr;
    c += j0, b += j0;
    for (i64 i = 0; i < job.m && !job.accumulate; i++)
        for_vectors<T>(n, [&, out = c + i * job.c_row](i64 j, int count) {
            const Vec<T> first = bias ? load_n(bias + j, count) : Vec<T>{};
            store_n(out + j, job.residual ? first + load_n(out + beside<T>(job) + j, count) : first, count);
        });
    for (i64 p = 0; p < whole; p += STREAM_ROWS) {
        T av[STREAM_ROWS][STREAM_MOST_ROWS];
        for (int q = 0; q < STREAM_ROWS; q++)
            for (i64 r = 0; r < job.m; r++) av[q][r] = a[r * job.a_row + (p + q) * job.a_col];
        const T* in = b + p * job.b_row;
        if (job.m == 1) add_rows<T, 1>(c, job.c_row, av, in, job.b_row, n);
        else if (job.m == 2) add_rows<T, STREAM_MOST_ROWS < 2 ? 1 : 2>(c, job.c_row, av, in, job.b_row, n);
        else add_rows<T, STREAM_MOST_ROWS>(c, job.c_row, av, in, job.b_row, n);
    }
    for (i64 i = 0; i < job.m; i++) {
        T* out = c + i * job.c_row;
        add_last_rows(out, a + i * job.a_row + whole * job.a_col, job.a_col, b + whole * job.b_row, job.b_row, job.k - whole,
                      n);
        if (limits(job.activation) && !job.accumulate)
            for_vectors<T>(n, [&, limit = Limits<T>(job.activation)](i64 j, int count) {
                store_n(out + j, limit(load_n(out + j, count)), count);
            });
    }
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
