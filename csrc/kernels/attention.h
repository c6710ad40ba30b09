// What the passes of attention share: products on the tile of tile.h with one operand packed, the mask of a row, powers of two.
//
// k^T is packed with scale * log2(e) multiplied in, so that scores are logarithms to the base 2: p = 2^(s - max). That saves
// the exponential the splitting of its argument: with AVX-512 eight instructions for a vector, beside 2 * D of the products.
#pragma once
#include "functions.h"
#include "kernels.h"
#include "philox.h"
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr double LOG2_E = 1.44269504088896340736;
constexpr i64 FEW_QUERIES = 4;  // of all heads of a group: k and v are read in place, packing would cost more than it saves

template <class T> constexpr int ROW_STATES = LANES<T> > TILE_ROWS ? LANES<T> : 8;  // a number for each row of a tile, padded

template <class T> constexpr T minus_infinity() { return T(-__builtin_inf()); }

// Columns in whole vectors, and their slivers: TILE_VECS vectors wide or less.
template <class T> constexpr i64 whole(i64 n) { return (n + LANES<T> - 1) / LANES<T> * LANES<T>; }
template <class T> INLINE Split slivers_of(i64 n) { return Split((n + LANES<T> - 1) / LANES<T>, TILE_VECS); }

INLINE i64 least(i64 a, i64 b) { return a < b ? a : b; }
INLINE i64 most(i64 a, i64 b) { return a > b ? a : b; }
INLINE i64 pieces(i64 n, i64 size) { return (n + size - 1) / size; }

// Arrays of a slot, one after the other, at multiples of 16 elements. With base null it only counts.
template <class T> struct Places {
    T* base;
    i64 at = 0;
    T* take(i64 n) {
        T* place = base ? base + at : nullptr;
        at += (n + 15) / 16 * 16;
        return place;
    }
};

template <class T> INLINE T* slot_of(const Attention& job) {
    return static_cast<T*>(job.scratch) + job.scratch_size + job.slot() * job.slot_size;
}

template <class T> INLINE const T* at(const void* base, const AttentionView& view, i64 b, i64 head, i64 row) {
    return static_cast<const T*>(base) + b * view.batch + head * view.head + row * view.row;
}
template <class T> INLINE T* at(void* base, const AttentionView& view, i64 b, i64 head, i64 row) {
    return static_cast<T*>(base) + b * view.batch + head * view.head + row * view.row;
}

// Rows [row, row + n) of a head, brought to L2 while another head is worked on. Rows of a view of (B, T, N, D) lie apart, which
// the machine's own prefetcher does not follow, and a short head waits for every one of its lines.
template <class T>
INLINE void fetch_head(const void* base, const AttentionView& view, i64 b, i64 head, i64 row, i64 n, i64 width) {
    const T* first = at<T>(base, view, b, head, row);
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < width; j += 64 / i64(sizeof(T))) __builtin_prefetch(first + i * view.row + j, 0, 2);
}

// Heads of k and v that an item takes in a row, each of which fetches the next; where heads have parts, an item is one of them.
INLINE i64 heads_together(const Attention& job) {
    return job.parts == 1 ? most(1, least(4, job.batch * job.heads / job.group / 16)) : 1;
}

// How many keys query i sees, the mask aside.
INLINE i64 visible(const Attention& job, i64 i) {
    return job.causal ? most(0, least(job.keys, i + job.diagonal + 1)) : job.keys;
}

// The greatest score of a row and the sum beside it, which the backward makes the probabilities from. Two numbers, not their
// logarithm: where a mask of -1e9 covers the whole row, max + log(sum) has no digit left for the sum (an ulp is 128).
template <class T> INLINE void keep_stats(const Attention& job, i64 row, T peak, T sum) {
    T* stats = static_cast<T*>(job.stats) + 2 * row;
    stats[0] = peak, stats[1] = sum;
}

// ---- packing ----------------------------------------------------------------------------------------------------

// Rows of a view of (B, T, N, D) are pieces of some 256 bytes, 2 KB apart: the machine's own prefetcher sees no stream in them.
// Waiting for the rows of v alone was 5 % of the forward at N8 T1024 D64 (Zen 3).
template <class T> INLINE void prefetch_row(const T* row, i64 n) {
    for (i64 i = 0; i < n; i += 64 / i64(sizeof(T))) __builtin_prefetch(row + i);
}

// in (rows, columns) to slivers [sliver][row][width], what is beyond `columns` in the last vector 0.
template <class T> static void pack_rows(T* out, const T* in, i64 in_row, i64 rows, i64 columns) {
    constexpr int L = LANES<T>, W = TILE_VECS * L;
    const Split slivers = slivers_of<T>(columns);
    for (i64 r = 0; r < rows; r++, in += in_row) {
        if (r + 8 < rows) prefetch_row(in + 8 * in_row, columns);
        if (columns % W == 0) {  // the usual sizes of heads
            for (i64 begin = 0; begin < columns; begin += W)
#pragma GCC unroll 4
                for (int j = 0; j < W; j += L) store(out + begin * rows + r * W + j, load(in + begin + j));
            continue;
        }
        for (i64 s = 0; s < slivers.parts; s++) {
            const i64 begin = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
            for (i64 j = 0; j < width; j += L) {
                const i64 left = columns - begin - j;
                const T* from = in + begin + j;
                store(out + begin * rows + r * width + j, left >= L ? load(from) : load_first(from, int(left)));
            }
        }
    }
}

// The same of in^T * scale: in (columns, rows).
template <class T> static void pack_columns(T* out, const T* in, i64 in_row, i64 rows, i64 columns, T scale) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of<T>(columns);
    for (i64 s = 0; s < slivers.parts; s++) {
        const i64 begin = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
        for (i64 j = 0; j < width; j += L) {
            for (i64 next = begin + j + L; next < least(begin + j + 2 * L, columns); next++)
                prefetch_row(in + next * in_row, rows);
            pack_transposed<T>(out + begin * rows + j, width, in + (begin + j) * in_row, in_row,
                               int(least(L, columns - begin - j)), rows, scale);
        }
    }
}

// ---- products ---------------------------------------------------------------------------------------------------

// For each of `count` slivers: c (MR, NV vectors) = a b, or with add c * factor + a b, a factor for each row (null: 1). All
// slivers in one call: with kc of 32 a call costs as much as two or three steps of k.
template <class T, int MR, int NV> struct Product {
    static void run(T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row, i64 b_size, i64 count, i64 kc,
                    bool add, const T* factor) {
        for (; count > 0; count--, b += b_size, c += b_row) {
            Vec<T> acc[MR][NV] = {};
            rows_times_columns<T, MR, NV, false>(acc, a, a_row, a_col, b, b_row, kc, 0);
            const auto finish = [&](auto ending) __attribute__((always_inline)) {
#pragma GCC unroll 8
                for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
                    for (int j = 0; j < NV; j++) {
                        T* out = c + i * c_row + j * LANES<T>;
                        store(out, ending(out, i, acc[i][j]));
                    }
            };
            if (!add) finish([](const T*, int, Vec<T> v) { return v; });
            else if (!factor) finish([](const T* out, int, Vec<T> v) { return load(out) + v; });
            else finish([&](const T* out, int i, Vec<T> v) { return fma<T>(load(out), splat<T>(factor[i]), v); });
        }
    }
};

// The packed operand: rows [first, first + kc) of slivers that hold `rows`.
template <class T> struct PackedRows {
    const T* data;
    i64 rows, first;
};

// The slivers of c (rows, columns), rows <= TILE_ROWS, that hold its first `wanted` columns. c has room for whole vectors.
template <class T>
INLINE void multiply(T* c, i64 c_row, int rows, const T* a, i64 a_row, i64 a_col, const PackedRows<T>& b, i64 kc,
                     const Split& slivers, i64 wanted, bool add, const T* factor) {
    constexpr int L = LANES<T>;
    const i64 vecs = least((wanted + L - 1) / L, slivers.begin(slivers.parts));
    for (i64 s = 0; s < slivers.parts && slivers.begin(s) < vecs;) {
        const int wide = slivers.width(s);
        const i64 column = slivers.begin(s) * L, width = wide * i64(L), left = vecs - slivers.begin(s);
        const i64 alike = (s < slivers.larger ? slivers.larger : slivers.parts) - s;
        const i64 count = most(1, least(alike, wide == 1 ? left : wide == 2 ? left / 2 : left / 3));
        const int needed = int(least(wide, left));
        pick_kernel<Product, T>(rows, needed)(c + column, c_row, a, a_row, a_col,
                                              b.data + column * b.rows + b.first * width, width, b.rows * width, count, kc,
                                              add, factor);
        s += count;
    }
}

// ---- rows of scores ---------------------------------------------------------------------------------------------

// 2^x for x <= 0 (and NaN); 0 far below, without AVX-512 from -126.5 on.
INLINE F exp2_negative(F x) {
    if constexpr (SCALES) return scale_by_power_of_two(exp2_of_rest(above_floor(x)), x);  // the scale is 2^floor(x)
    const F magic = splat(12583039.0f);  // 1.5 * 2^23 + 127: the sum's low bits are the exponent of 2^n
    const F at_least = max<float>(splat(-127.0f), x), shifted = at_least + magic;
    typedef uint32_t Unsigned __attribute__((vector_size(BYTES)));
    return exp2_of_rest(at_least - (shifted - magic)) * reinterpret_cast<F>(reinterpret_cast<Unsigned>(shifted) << 23);
}
INLINE Vec<double> exp2_negative(Vec<double> x) { return lanewise(x, [](double v) { return ::exp2(v); }); }

// bias (n): the mask of query i for keys [k0, k0 + n), a logarithm to the base 2. A number that is finite stays so: a row of
// the least number, as some write masks, is a row of equals.
template <class T> static void mask_bias(T* bias, const Attention& job, i64 b, i64 head, i64 i, i64 k0, i64 n) {
    const i64 start = b * job.mask_batch + head * job.mask_head + i * job.mask_row + k0 * job.mask_col, step = job.mask_col;
    if (job.mask_boolean) {
        const uint8_t* keep = static_cast<const uint8_t*>(job.mask) + start;
        if (step == 1)
            for (i64 j = 0; j < n; j++) bias[j] = keep[j] ? T(0) : minus_infinity<T>();
        else
            for (i64 j = 0; j < n; j++) bias[j] = keep[j * step] ? T(0) : minus_infinity<T>();
        return;
    }
    const T* add = static_cast<const T*>(job.mask) + start;
    const T lowest = T(sizeof(T) == 4 ? -3.4028234663852886e38 : -1.7976931348623157e308);
    for (i64 j = 0; j < n; j++) {
        const T v = add[j * step], scaled = v * T(LOG2_E);
        bias[j] = scaled < lowest && v >= lowest ? lowest : scaled;
    }
}

// mask (n): 0, or 1 / (1 - p) where the element is kept, for elements j0, j0 + 1, ... of a row.
template <class T> static void dropout_row(T* mask, const Attention& job, i64 row, i64 j0, i64 n) {
    constexpr i64 BLOCK = 4 * COUNTERS;
    const uint64_t threshold = uint64_t(job.dropout * 4294967296.0);
    const T scale = job.dropout < 1 ? T(1 / (1 - job.dropout)) : T(0);
    const i64 start = row * ((job.keys + BLOCK - 1) / BLOCK * BLOCK) + j0, end = start + n;
    uint32_t words[BLOCK];
    for (i64 block = start / BLOCK; block * BLOCK < end; block++) {
        philox(words, job.offset + uint64_t(block * COUNTERS), job.seed);
        const i64 first = block * BLOCK, from = most(first, start), to = least(first + BLOCK, end);
        for (i64 i = from; i < to; i++) mask[i - start] = words[i - first] >= threshold ? scale : T(0);
    }
}

template <class T> INLINE void multiply_into(T* x, const T* by, i64 n) {
    for_vectors<T>(n, [&](i64 j, int count) { store_n(x + j, load_n(x + j, count) * load_n(by + j, count), count); });
}

// x = value from element n on, up to `columns`, whole vectors: without branches that depend on the row.
template <class T> INLINE void fill_from(T* x, i64 n, i64 columns, T value) {
    for (i64 j = n / LANES<T> * LANES<T>; j < columns; j += LANES<T>)
        store(x + j, select<T>(lane_numbers<T>() < splat<T>(T(n - j)), load(x + j), splat<T>(value)));
}

// s (valid) + bias, and -inf up to `columns`, whole vectors; returns the greatest.
template <class T> INLINE T mask_scores(T* s, const T* bias, i64 valid, i64 columns) {
    constexpr int L = LANES<T>;
    if (bias)
        for_vectors<T>(valid, [&](i64 j, int n) { store_n(s + j, load_n(s + j, n) + load_n(bias + j, n), n); });
    fill_from(s, valid, columns, minus_infinity<T>());
    Vec<T> a = splat<T>(minus_infinity<T>()), b = a;
    i64 j = 0;
    for (; j + 2 * L <= columns; j += 2 * L) {
        a = max<T>(a, load(s + j));
        b = max<T>(b, load(s + j + L));
    }
    if (j < columns) a = max<T>(a, load(s + j));
    return max_lanes<T>(max<T>(a, b));
}

// s = 2^(s - reference) in place; returns the sum, over lanes to be added up.
template <class T> INLINE Vec<T> exponentiate(T* s, T reference, i64 columns) {
    constexpr int L = LANES<T>;
    const Vec<T> top = splat<T>(reference);
    Vec<T> a = {}, b = {};
    i64 j = 0;
    for (; j + 2 * L <= columns; j += 2 * L) {
        const Vec<T> p = exp2_negative(load(s + j) - top), q = exp2_negative(load(s + j + L) - top);
        store(s + j, p);
        store(s + j + L, q);
        a += p;
        b += q;
    }
    if (j < columns) {
        const Vec<T> p = exp2_negative(load(s + j) - top);
        store(s + j, p);
        a += p;
    }
    return a + b;
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
