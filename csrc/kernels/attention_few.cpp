#include "attention_few.h"

#include "attention.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 FEW_PART = 256;  // keys: 64 KB of k at D = 64

// What a part of the keys gave for a row: sums of v, then the maximum, then the sum.
template <class T> static i64 partial_size(const Attention& job) { return whole<T>(job.width) + LANES<T>; }
template <class T> static T* partial_of(const Attention& job, i64 row, i64 part) {
    return static_cast<T*>(job.scratch) + (row * job.parts + part) * partial_size<T>(job);
}

template <class T> void plan_few(Attention& job) {
    job.part = FEW_PART;
    job.parts = job.queries ? most(1, pieces(job.keys, FEW_PART)) : 0;
    const i64 rows = job.batch * job.heads * job.queries;
    job.scratch_size = pieces(rows * job.parts * partial_size<T>(job), 16) * 16;
    job.combine_items = job.parts > 1 ? rows : 0;
    job.slot_size = 3 * FEW_PART;
}

// s (n) = q k^T * scale: as many keys at a time as a vector has lanes, each a sum of its own.
template <class T> static void dots(T* s, const T* q, const T* k, i64 k_row, i64 n, i64 depth, T scale) {
    constexpr int L = LANES<T>;
    i64 j = 0;
    for (; j + L <= n; j += L) {
        Vec<T> acc[1][L] = {};
        rows_dot_rows<T, 1, L>(acc, q, 0, k + j * k_row, k_row, depth);
        store(s + j, sum_rows<T>(&acc[0][0]) * splat<T>(scale));
    }
    for (; j < n; j++) {
        Vec<T> acc[1][1] = {};
        rows_dot_rows<T, 1, 1>(acc, q, 0, k + j * k_row, 0, depth);
        s[j] = sum_lanes<T>(acc[0][0]) * scale;
    }
}

// out (width) = p (n) v: NV vectors of the width at a time.
template <class T, int NV> static void weighted_sum(T* out, const T* p, const T* v, i64 v_row, i64 n, i64 width) {
    constexpr int L = LANES<T>;
    i64 c = 0;
    for (; c + NV * L <= width; c += NV * L) {
        Vec<T> acc[NV] = {};
        for (i64 j = 0; j < n; j++)
#pragma GCC unroll 8
            for (int w = 0; w < NV; w++) acc[w] = fma<T>(splat<T>(p[j]), load(v + j * v_row + c + w * L), acc[w]);
#pragma GCC unroll 8
        for (int w = 0; w < NV; w++) store(out + c + w * L, acc[w]);
    }
    if constexpr (NV > 1) {
        weighted_sum<T, NV / 2>(out + c, p, v + c, v_row, n, width - c);
    } else if (c < width) {
        const int rest = int(width - c);
        Vec<T> acc = {};
        for (i64 j = 0; j < n; j++) acc = fma<T>(splat<T>(p[j]), load_first(v + j * v_row + c, rest), acc);
        store(out + c, acc);
    }
}

template <class T> static void few_row(const Attention& job, T* s, i64 b, i64 head, i64 i, i64 part) {
    const i64 shared = head / job.group, row = (b * job.heads + head) * job.queries + i;
    const i64 k0 = part * job.part, n = most(0, least(job.part, visible(job, i) - k0)), columns = whole<T>(n);
    T *bias = s + FEW_PART, *dropped = bias + FEW_PART, *out = partial_of<T>(job, row, part);
    dots<T>(s, at<T>(job.q, job.q_at, b, head, i), at<T>(job.k, job.k_at, b, shared, k0), job.k_at.row, n, job.depth,
            T(job.scale * LOG2_E));
    if (job.mask) mask_bias<T>(bias, job, b, head, i, k0, n);
    const T peak = mask_scores<T>(s, job.mask ? bias : nullptr, n, columns);
    const T total = sum_lanes<T>(exponentiate<T>(s, peak == minus_infinity<T>() ? T(0) : peak, columns));
    if (job.dropout > 0) {
        dropout_row<T>(dropped, job, row, k0, n);
        multiply_into<T>(s, dropped, n);
    }
    weighted_sum<T, 8>(out, s, at<T>(job.v, job.v_at, b, shared, k0), job.v_at.row, n, job.width);
    out[whole<T>(job.width)] = peak;
    out[whole<T>(job.width) + 1] = total;
}

template <class T> void attention_few(const Attention& job, i64 begin, i64 end) {
    const i64 shared = job.heads / job.group;
    for (i64 item = begin; item < end; item++) {
        const i64 pair = item / job.parts, part = item % job.parts, b = pair / shared;
        for (i64 g = 0; g < job.group; g++)
            for (i64 i = 0; i < job.queries; i++) few_row<T>(job, slot_of<T>(job), b, pair % shared * job.group + g, i, part);
        const i64 row = (b * job.heads + pair % shared * job.group) * job.queries;
        if (!job.combine_items) attention_combine<T>(job, row, row + job.group * job.queries);
    }
}

template <class T> void attention_combine(const Attention& job, i64 begin, i64 end) {
    const i64 width = whole<T>(job.width);
    for (i64 row = begin; row < end; row++) {
        T peak = minus_infinity<T>(), total = 0;
        for (i64 part = 0; part < job.parts; part++) {
            const T found = partial_of<T>(job, row, part)[width];
            peak = found > peak ? found : peak;
        }
        const T reference = peak == minus_infinity<T>() ? T(0) : peak;
        T* out = at<T>(job.out, job.out_at, row / job.queries / job.heads, row / job.queries % job.heads, row % job.queries);
        T* sums = partial_of<T>(job, row, 0);
        for (i64 part = 0; part < job.parts; part++) {
            const T* from = partial_of<T>(job, row, part);
            const Vec<T> factor = exp2_negative(splat<T>(from[width] - reference));
            total += factor[0] * from[width + 1];
            for (i64 j = 0; j < width; j += LANES<T>)
                store(sums + j, part ? fma<T>(load(from + j), factor, load(sums + j)) : load(from + j) * factor);
        }
        const Vec<T> inverse = splat<T>(total == 0 ? T(0) : 1 / total);
        for_vectors<T>(job.width, [&](i64 j, int n) { store_n(out + j, load(sums + j) * inverse, n); });
        if (job.stats) keep_stats<T>(job, row, peak, total);
    }
}

template void plan_few<float>(Attention&);
template void plan_few<double>(Attention&);
template void attention_few<float>(const Attention&, i64, i64);
template void attention_few<double>(const Attention&, i64, i64);
template void attention_combine<float>(const Attention&, i64, i64);
template void attention_combine<double>(const Attention&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
