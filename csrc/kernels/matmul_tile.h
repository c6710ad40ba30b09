// Tiles of a product, one below the other: how they read b's slivers, and what they do with their sums.
#pragma once
#include "matmul_ahead.h"

namespace fastnn {
namespace FASTNN_ISA {

// What a tile begins its sums with, the bias or 0, and what it does with them: += what c holds (`add`) or what lies `beside` it,
// ReLU or ReLU6; other activations follow on the finished rows.
template <class T> struct Finish {
    bool add;
    int activation;  // COPY for none
    i64 beside;      // elements from c to what is added
    const T* bias;
};

// How a tile reads its sliver of b: in whole vectors; the last one short; in whole ones while it fetches what comes later, as
// tiles pass too quickly over weights from L3 or memory for the machine's own prefetcher; or while it packs some rows of the
// next sliver. Narrow vectors fetch a line for each step of k, others all they will read.
enum Reading { WHOLE, SHORT, FETCHING, PACKING };
constexpr i64 FETCHING_TILES = 6;  // 16 rows x 384 x 1536, cold weights: 273 us, not 312; 32 rows: 434, not 461. Warm: 3 % lost

template <class T, int MR, int NV, Reading READING>
INLINE void tile(T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row, i64 kc, int tail, i64 fetched,
                 Ahead<T>& ahead, const Finish<T>& finish) {
    constexpr int L = LANES<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
        const Vec<T> start = finish.bias ? load_n(finish.bias + j * L, j == NV - 1 ? tail : L) : Vec<T>{};
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) acc[i][j] = start;
    }
    const auto fetch = [fetched](const T* at) __attribute__((always_inline)) {
        if (READING == FETCHING)
#pragma GCC unroll 4
            for (int j = 0; j < (NARROW ? 1 : NV); j++) __builtin_prefetch(at + fetched + j * L, 0, NARROW ? 2 : 3);
    };
    if constexpr (READING == PACKING) {
        for (i64 p = 0, step = ahead.step; p < kc; p += step) {
            ahead.copy_some();
            const i64 steps = p + step < kc ? step : kc - p;
            rows_times_columns<T, MR, NV, false>(acc, a + p * a_col, a_row, a_col, b + p * b_row, b_row, steps, tail);
        }
    } else rows_times_columns<T, MR, NV, READING == SHORT>(acc, a, a_row, a_col, b, b_row, kc, tail, fetch);
    const auto store_all = [&](auto finished, int last) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
            for (int j = 0; j < NV; j++) {
                T* out = c + i * c_row + j * L;
                const int n = j == NV - 1 ? last : L;
                store_n(out, finished(acc[i][j], out, n), n);
            }
    };
    // The two frequent endings without a question per vector: at 48 x 16 x 256 39.4 GFLOP/s, not 38.7.
    if (finish.activation != COPY || tail != L)
        store_all([&finish, limit = Limits<T>(finish.activation)](Vec<T> v, const T* out, int n) {
            return limit(finish.add ? v + load_n(out + finish.beside, n) : v);
        }, tail);
    else if (finish.add) store_all([at = finish.beside](Vec<T> v, const T* out, int) { return v + load(out + at); }, L);
    else store_all([](Vec<T> v, const T*, int) { return v; }, L);
}

// `count` tiles one below the other, c_next and a_next apart. With a call for each k = 64 takes 1.02 of the time, k = 256 1.01; c
// brought to L1 beforehand, 1.02 and 1.01 more.
template <class T, int MR, int NV, Reading READING>
static void column(i64 count, i64 c_next, i64 a_next, T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row,
                  i64 kc, int tail, i64 fetched, Ahead<T>& ahead, const Finish<T>& wanted) {
    const Finish<T> finish = wanted;  // a copy, as of `ahead`: stores to c might change the other one
    const auto tiles = [&](Ahead<T>& packed) __attribute__((always_inline)) {
        for (; count > 0; count--, c += c_next, a += a_next)
            tile<T, MR, NV, READING>(c, c_row, a, a_row, a_col, b, b_row, kc, tail, fetched, packed, finish);
    };
    if constexpr (READING == PACKING) {
        Ahead<T> packed = ahead;
        tiles(packed);
        ahead = packed;
    } else tiles(ahead);
}

// `count` slivers side by side, one behind the other in b, times one tile of one or two rows: all of b in one stream. Bound by
// reading it; with a `column` for each sliver 1 x 256 x 768 takes 1.12 of the time, 2 rows 1.1, 4 rows 1.05.
constexpr int ACROSS_ROWS = 2;
constexpr i64 STREAM_AHEAD = 2048;  // bytes
template <class T, int MR, int NV>
static void across(i64 count, T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 kc, int tail, Finish<T> finish) {
    constexpr i64 WIDTH = NV * LANES<T>, FETCHED = STREAM_AHEAD / i64(sizeof(T));
    Ahead<T> none = {};
    for (; count > 0; count--, c += WIDTH, b += WIDTH * kc) {
        const int last = count == 1 ? tail : LANES<T>;
        tile<T, MR, NV, FETCHING>(c, c_row, a, a_row, a_col, b, WIDTH, kc, last, FETCHED, none, finish);
        if (finish.bias) finish.bias += WIDTH;
    }
}

template <class T> using Across = decltype(&across<T, 1, 1>);
template <class T, int MR> static Across<T> pick_across(int vecs) {
    return vecs == 1 ? across<T, MR, 1> : vecs == 2 ? across<T, MR, 2> : across<T, MR, TILE_VECS>;
}
template <class T> static Across<T> pick_across(i64 rows, int vecs) {
    return rows == 1 ? pick_across<T, 1>(vecs) : pick_across<T, ACROSS_ROWS>(vecs);
}

template <class T> using Column = decltype(&column<T, 1, 1, WHOLE>);
template <class T, int MR> struct ColumnsOf {
    template <int NV> struct Wide {
        // Masked loads are free with AVX-512: for doubles no second kernel.
        static constexpr Reading CORE = NARROW || sizeof(T) == 4 ? WHOLE : SHORT;
        static constexpr Reading FETCH = sizeof(T) == 4 && MR > 2 && NV > 1 ? FETCHING : CORE;
        // Of the 32 rows and more for which AVX-512 packs ahead tiles are 7 or 8 high, seldom 6; of AVX2's 8 and more, 4 to 6.
        static constexpr Reading PACK = MR > (NARROW ? 3 : 6) && NV == TILE_VECS ? PACKING : CORE;
        static constexpr Column<T> by_reading[4] = {column<T, MR, NV, CORE>, column<T, MR, NV, SHORT>,
                                                  column<T, MR, NV, FETCH>, column<T, MR, NV, PACK>};
    };
    static Column<T> pick(int vecs, Reading reading) {
        if (vecs == 1) return Wide<1>::by_reading[reading];
        if (vecs == 2) return Wide<2>::by_reading[reading];
        return Wide<TILE_VECS>::by_reading[reading];
    }
};
template <class T> static Column<T> pick_column(int rows, int vecs, Reading reading) {
    switch (rows) {
        case 1: return ColumnsOf<T, 1>::pick(vecs, reading);
        case 2: return ColumnsOf<T, 2>::pick(vecs, reading);
        case 3: return ColumnsOf<T, 3>::pick(vecs, reading);
        case 4: return ColumnsOf<T, 4>::pick(vecs, reading);
        case 5: return ColumnsOf<T, 5>::pick(vecs, reading);
        case 6: return ColumnsOf<T, 6>::pick(vecs, reading);
        case 7: return ColumnsOf<T, TILE_ROWS < 7 ? TILE_ROWS : 7>::pick(vecs, reading);
        default: return ColumnsOf<T, TILE_ROWS>::pick(vecs, reading);
    }
}

// One part of k of one sliver, for the tiles [t0, t1).
template <class T> struct Strip {
    const Split& tiles;
    i64 t0, t1;
    T* c;           // at the sliver's first column
    i64 c_row;
    const T* a;     // at this part of k
    i64 a_row, a_col;
    const T* b;
    i64 b_row, kc;
    int vecs, tail;
    Reading reading;  // of the first tile; after it nothing is fetched
    i64 fetched;      // elements from what is read
    Ahead<T>& ahead;
    const Finish<T>& finish;

    // Two heights of tile at the most, the higher ones first: one choice of kernel for each. Only the first tile fetches: where
    // all do, 8 rows by 1024 x 1024 in L3 take 210 us, not 195 (without 181); from memory they take 350, not 350 to 400.
    void run(i64 a_tile_k) const {
        for (i64 t = t0; t < t1;) {
            const int rows = tiles.width(t);
            const i64 stop = t < tiles.larger && tiles.larger < t1 ? tiles.larger : t1, row = tiles.begin(t);
            T* out = c + row * c_row;
            const T* in = a_tile_k ? a + row * a_tile_k + (a_col - 1) * rows : a + row * a_row;  // panels [tile][k][rows]
            const i64 in_row = a_tile_k ? 1 : a_row, in_col = a_tile_k ? rows : a_col;
            const i64 c_next = rows * c_row, a_next = rows * (a_tile_k ? a_tile_k : a_row);
            const auto some = [&](i64 count, Reading how) {
                const Column<T> kernel = pick_column<T>(rows, vecs, how);
                kernel(count, c_next, a_next, out, c_row, in, in_row, in_col, b, b_row, kc, tail, fetched, ahead, finish);
                t += count, out += count * c_next, in += count * a_next;
            };
            if (t == t0 && reading == FETCHING) some(1, reading);
            some(stop - t, reading == FETCHING ? WHOLE : reading);
        }
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
