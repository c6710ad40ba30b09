// c = act(a b + bias). Five ways, by shape:
//
//   in place   small m or small b: the tile reads b's rows where they are
//   packed     b is copied once into slivers, TILE_VECS vectors wide and contiguous along k, for the tile to stream:
//
//                  b (k, n)          packed: [sliver][k][width]
//                  s0  s1  s2        s0 s0 s0 ... s1 s1 s1 ... s2 s2 s2 ...
//
//   copied     b is read in place by the first tile of a block only, which writes a copy of its sliver for the others
//   dot        few rows times a transposed b (a linear layer's weight): both run along k, b is read once, as it lies
//   stream     one row times b, with narrow vectors up to 3: whole rows of b are read once, a few at a time
//
// An item is a block of tiles by a block of slivers of one product. k is cut into parts (k_parts): a sliver's part
// (96 or 192 KB, AVX2: 64) and a block of a (512 KB) stay in L2 while tiles run down the rows. At 2048^3 blocks of 256 rows
// by 3 slivers give 241 GFLOP/s, of 128 rows by 1 sliver 227. AVX2 (Zen 3, a from L3): parts of 512 take 1.03 of 1024^3's
// time, of 256 1.10, as each sends the sums to c and back; a packed a, or blocks of 126 rows by 3 or 8 slivers, gain nothing.
#include "matmul.h"

#include "few_rows.h"
#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 K_BLOCK = NARROW ? 1024 : 512, K_BLOCK_AT_MOST = 1024;
constexpr double ITEM_FLOPS = 2e6;  // an item is about 10 us, with narrow vectors 20
constexpr double SHARED_FLOPS = NARROW ? 1e6 : 2e6;  // from here on two threads share a product

static i64 columns_of(Way way) { return way == DOT ? DOT_COLUMNS : FEW_COLUMNS; }

// Of a packed b k is one part up to there, with AVX-512 too, and blocks of a are half as high: c comes once, and of rows of 4 KB
// parts of 2 KB lie in half of L2's sets. 1024^3 takes 0.97 to 0.99 of the time; parts of 1024 of k = 2048 would take 1.02.
// Of a transposed a, whose block takes part of each row, 1024^3 would take 1.13.
static bool one_part(const Matmul& job, Way way) {
    return !NARROW && way == PACKED && job.a_col == 1 && job.k <= K_BLOCK_AT_MOST;
}
static Split k_parts(const Matmul& job, Way way) {
    if (way == COPIED && job.m <= COPIED_FEW_ROWS) return Split(job.k, COPIED_FEW_K);
    return Split(job.k, one_part(job, way) ? K_BLOCK_AT_MOST : K_BLOCK);
}

// The grid of items: tiles by slivers, in blocks. A way for few rows takes all rows and a stretch of columns.
struct Grid {
    i64 tiles, slivers;
};
template <class T> static Grid grid_of(const Matmul& job, Way way) {
    if (way == DOT || way == STREAM) return {1, (job.n + columns_of(way) - 1) / columns_of(way)};
    return {Split(job.m, TILE_ROWS).parts, slivers_of<T>(job).parts};
}

// Activations other than relu run over the finished rows of a block, which are still in L1 or L2: rows of 16 slivers where
// there are as many for every thread. gelu of 128 x 384 x 1536 in rows of one sliver adds 0.6 ms to 1.6, in rows of 16 0.2
// (AVX2).
constexpr i64 ACTIVATED_SLIVERS = 16;
static bool activated(const Matmul& job) { return job.activation != COPY && !limits(job.activation) && !job.accumulate; }

template <class T> void matmul_plan(Matmul& job) {
    job.batch = 1;
    bool shared_b = true;
    for (int d = 0; d < job.batch_ndim; d++) {
        job.batch *= job.batch_shape[d];
        if (job.batch_shape[d] > 1 && job.b_batch[d] != 0) shared_b = false;
    }
    const Way way = choose_way<T>(job);
    const Grid grid = grid_of<T>(job, way);
    job.packed_size = job.pack_items = 0;
    job.batch_packed = shared_b ? 1 : job.batch;
    const double flops = 2.0 * double(job.m) * double(job.n) * double(job.k);
    const bool large = way == PACKED && flops > 2e8;  // else: items for every thread
    const bool tall = large && !one_part(job, way);
    const i64 block_tiles = (way == COPIED ? COPIED_ROWS_AT_MOST : tall ? 256 : 128) / TILE_ROWS;
    const i64 block_slivers = large ? 3 : 1;
    const i64 blocks = grid.tiles < block_tiles ? 1 : (grid.tiles + block_tiles / 2) / block_tiles;
    job.m_block = (grid.tiles + blocks - 1) / blocks + (grid.tiles == 0);  // 22 tiles are one block, not 21 and 1
    job.n_block = 1;
    if (way == IN_PLACE || way == COPIED || way == PACKED) {
        const double sliver_flops = 2.0 * double(job.m_block * TILE_ROWS * TILE_VECS * LANES<T>) * double(job.k + 1);
        const i64 wanted = i64(ITEM_FLOPS / sliver_flops);
        i64 least = way == COPIED ? COPIED_SLIVERS : block_slivers;
        if (activated(job)) least = grid.slivers < 4 * ACTIVATED_SLIVERS ? (grid.slivers + 3) / 4 : ACTIVATED_SLIVERS;
        job.n_block = wanted < least ? least : wanted;
    }
    if (way == PACKED) {
        job.packed_size = packed_b_size<T>(job, way);
        job.pack_items = job.batch_packed * grid.slivers;
    }
    if (packs_a<T>(job, way)) {
        job.packed_size += job.batch * job.m * job.k;
        job.pack_items += job.batch * grid.tiles;
    }
    // Of few blocks across an even number, for two threads: there 64 x 128 x 128 takes 0.65 of the time, 48 x 128 x 128 0.6.
    const i64 m_blocks = Split(grid.tiles, job.m_block).parts, n_blocks = Split(grid.slivers, job.n_block).parts;
    if (n_blocks < 8 && n_blocks % 2 && job.batch * m_blocks % 2 && (n_blocks > 1 || flops >= SHARED_FLOPS))
        job.n_block = (grid.slivers + n_blocks) / (n_blocks + 1);
    job.items = job.batch * m_blocks * Split(grid.slivers, job.n_block).parts;
    job.item_flops = job.items ? 2.0 * double(job.batch * job.m) * double(job.n * (job.k + 1)) / double(job.items) : 0;
    if (NARROW) job.item_flops *= 3;  // in flops of 512-bit vectors, of which parallel.h's thresholds think
    // A few rows take as long as reading b does: at ~100 bytes a ns, AVX2's machines 50, as long as 1.5 flops a byte would, or 3.
    // Packed slivers are read once for all rows, by the other ways b is read for each product.
    if (job.items && (way == DOT || way == STREAM || (way == PACKED && job.kept))) {
        const i64 readings = way == PACKED ? 1 : job.batch;
        const double reading = (NARROW ? 3 : 1.5) * double(readings * job.k * job.n * i64(sizeof(T)));
        if (job.item_flops * double(job.items) < reading) job.item_flops = reading / double(job.items);
    }
}

// ---- tiles ------------------------------------------------------------------------------------------------------

// What a tile begins its sums with, the bias or 0, and what it does with them: += what c holds (`add`) or what lies `beside` it,
// ReLU or ReLU6; other activations follow on the finished rows.
template <class T> struct Finish {
    bool add;
    int activation;  // COPY for none
    i64 beside;      // elements from c to what is added
    const T* bias;
};

// How a tile reads its sliver of b: in whole vectors; the last one short; in whole ones while the next sliver is fetched, as a
// few tiles pass too quickly over weights that come from memory for the machine's own prefetcher; or while it copies what it
// reads.
enum Reading { WHOLE, SHORT, FETCHING, COPYING };
constexpr i64 FETCHING_TILES = 6;  // 16 rows x 384 x 1536, cold weights: 273 us, not 312; 32 rows: 434, not 461. Warm: 3 % lost

template <class T, int MR, int NV, Reading READING>
INLINE void tile(T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row, i64 kc, int tail, i64 ahead, T* copy,
                 const Finish<T>& finish) {
    constexpr int L = LANES<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
        const Vec<T> start = finish.bias ? load_n(finish.bias + j * L, j == NV - 1 ? tail : L) : Vec<T>{};
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) acc[i][j] = start;
    }
    const auto fetch = [ahead](const T* at) __attribute__((always_inline)) {
        if (READING == FETCHING || READING == COPYING) __builtin_prefetch(at + ahead, 0, 2);
    };
    rows_times_columns<T, MR, NV, READING == SHORT, READING == COPYING>(acc, a, a_row, a_col, b, b_row, kc, tail, fetch, copy);
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
                  i64 kc, int tail, i64 ahead, T* copy, const Finish<T>& wanted) {
    const Finish<T> finish = wanted;  // a copy: stores to c might change the other one
    for (; count > 0; count--, c += c_next, a += a_next)
        tile<T, MR, NV, READING>(c, c_row, a, a_row, a_col, b, b_row, kc, tail, ahead, copy, finish);
}

template <class T> using Column = decltype(&column<T, 1, 1, WHOLE>);
template <class T, int MR> struct ColumnsOf {
    template <int NV> struct Wide {
        // Masked loads are free with AVX-512: for doubles no second kernel.
        static constexpr Reading CORE = NARROW || sizeof(T) == 4 ? WHOLE : SHORT;
        static constexpr Reading FETCH = NARROW && sizeof(T) == 4 && MR > 2 && NV == TILE_VECS ? FETCHING : CORE;
        static constexpr Reading COPY = NARROW && MR > 2 && NV == TILE_VECS ? COPYING : CORE;
        static constexpr Column<T> by_reading[4] = {column<T, MR, NV, CORE>, column<T, MR, NV, SHORT>,
                                                  column<T, MR, NV, FETCH>, column<T, MR, NV, COPY>};
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

template <class T> static void activate(const Matmul& job, T* c, i64 rows, i64 columns) {
    if (!activated(job)) return;
    const Kernels& table = sizeof(T) == 4 ? kernels_f32 : kernels_f64;
    Elementwise row = {c, c, nullptr, job.alpha, 1, {columns}, {1}, {0}};
    for (i64 i = 0; i < rows; i++, row.out = c + i * job.c_row, row.a = row.out) table.unary[job.activation](row, 0, columns);
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
    Reading reading;  // of the first tile; later ones read what it copied, or without fetching
    i64 ahead;
    T* copy;
    Finish<T> finish;

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
            const auto some = [&](i64 count, Reading how, const T* from, i64 from_row) {
                const Column<T> kernel = pick_column<T>(rows, vecs, how);
                kernel(count, c_next, a_next, out, c_row, in, in_row, in_col, from, from_row, kc, tail, ahead, copy, finish);
                t += count, out += count * c_next, in += count * a_next;
            };
            if (t == t0 && (reading == FETCHING || reading == COPYING)) some(1, reading, b, b_row);
            if (reading == COPYING) some(stop - t, WHOLE, copy, vecs * LANES<T>);
            else some(stop - t, reading == FETCHING ? WHOLE : reading, b, b_row);
        }
    }
};

template <class T> static void block(const Matmul& job, Way way, i64 product, i64 t0, i64 t1, i64 s0, i64 s1) {
    constexpr int L = LANES<T>;
    const Split tiles(job.m, TILE_ROWS), slivers = slivers_of<T>(job);
    const Split parts = k_parts(job, way);
    const Offsets at = batch_offsets(job, product);
    T* c = static_cast<T*>(job.c) + at.c;
    const T* a = static_cast<const T*>(job.a) + at.a;
    const T* bias = static_cast<const T*>(job.bias);
    const bool own_a = packs_a<T>(job, way), b_packed = way == PACKED;
    if (own_a) a = packed_a<T>(job, way) + product * job.m * job.k;
    T copies[NARROW ? K_BLOCK * TILE_VECS * L : 1];  // of a sliver
    const i64 last = parts.parts ? parts.parts - 1 : 0;  // k = 0: one empty part writes the bias
    for (i64 q = 0; q <= last; q++) {
        const i64 p = parts.begin(q), kc = parts.parts ? parts.width(q) : 0;
        for (i64 s = s0; s < s1; s++) {
            const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
            const i64 columns = job.n - column < width ? job.n - column : width;
            const i64 b_product = job.batch_packed == 1 ? 0 : product;
            const i64 in_packed = (b_product * padded<T>(job.n) + column) * job.k + p * width;
            const T* b = b_packed ? static_cast<const T*>(job.packed) + in_packed
                                    : static_cast<const T*>(job.b) + at.b + column + p * job.b_row;
            i64 b_row = b_packed ? width : job.b_row;
            Reading reading = columns == width || b_packed ? WHOLE : SHORT;
            if (NARROW && reading == SHORT && t1 - t0 > 1) {  // masked loads halve the speed: 64 x 128 x 10 at 13, so 21
                pack_sliver(copies, b, b_row, 1, kc, columns, width);
                b = copies, b_row = width, reading = WHOLE;
            }
            const bool copies_whole = way == COPIED && reading == WHOLE && b != copies;
            if (NARROW && copies_whole && slivers.width(s) == TILE_VECS && tiles.width(t0) > 2) reading = COPYING;
            const bool far = b_packed && job.packed_size * i64(sizeof(T)) > IN_PLACE_BYTES;
            if (NARROW && far && t1 - t0 <= FETCHING_TILES) reading = FETCHING;
            const bool ends = q == last && !job.accumulate && limits(job.activation), residual = q == 0 && job.residual;
            const Finish<T> finish = {q > 0 || job.accumulate || residual, ends ? job.activation : int(COPY),
                                      residual ? beside<T>(job) : 0,
                                      q == 0 && bias && !job.accumulate ? bias + column : nullptr};
            const Strip<T> strip = {tiles, t0, t1, c + column, job.c_row,
                                    own_a ? a : a + p * job.a_col, job.a_row, own_a ? p + 1 : job.a_col,
                                    b, b_row, kc, slivers.width(s), int(columns - (width - L)), reading,
                                    reading == COPYING ? PACK_AHEAD * b_row : job.k * width, copies, finish};
            strip.run(own_a ? job.k : 0);
        }
    }
    const i64 row = tiles.begin(t0), column = slivers.begin(s0) * L;
    const i64 stop = slivers.begin(s1) * L < job.n ? slivers.begin(s1) * L : job.n;
    activate(job, c + row * job.c_row + column, tiles.begin(t1) - row, stop - column);
}

// `parts` stretches of columns from the one at `part` on, in one go.
template <class T> static void few_rows_block(const Matmul& job, Way way, i64 product, i64 part, i64 parts) {
    const Offsets at = batch_offsets(job, product);
    const i64 j0 = part * columns_of(way), end = j0 + parts * columns_of(way), j1 = end < job.n ? end : job.n;
    T* c = static_cast<T*>(job.c) + at.c;
    const T* a = static_cast<const T*>(job.a) + at.a;
    const T* b = static_cast<const T*>(job.b) + at.b;
    way == DOT ? dot_columns(job, c, a, b, j0, j1) : stream_rows(job, c, a, b, j0, j1);
    activate(job, c + j0, job.m, j1 - j0);
}

template <class T> void matmul(const Matmul& job, i64 begin, i64 end) {
    const Way way = choose_way<T>(job);
    const Grid grid = grid_of<T>(job, way);
    const Split down(grid.tiles, job.m_block), across(grid.slivers, job.n_block);
    for (i64 item = begin; item < end; item++) {
        const i64 product = item / (down.parts * across.parts), rest = item % (down.parts * across.parts);
        const i64 t = rest / across.parts, s = rest % across.parts, t0 = down.begin(t), s0 = across.begin(s);
        if (way == DOT || way == STREAM) {
            // Longer stretches of b's rows where a thread has two items: 1 x 1024 x 1024 at 23 GFLOP/s, not 18 (AVX2).
            const i64 parts = NARROW && way == STREAM && item + 1 < end && s + 1 < across.parts ? 2 : 1;
            few_rows_block<T>(job, way, product, s0, parts);
            item += parts - 1;
        } else block<T>(job, way, product, t0, t0 + down.width(t), s0, s0 + across.width(s));
    }
}

template void matmul_plan<float>(Matmul&);
template void matmul_plan<double>(Matmul&);
template void matmul<float>(const Matmul&, i64, i64);
template void matmul<double>(const Matmul&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
