// c = act(a b + bias). Five ways, by shape:
//
//   in place   small m or small b: the tile reads b's rows where they are
//   packed     b is copied first into slivers, TILE_VECS vectors wide and contiguous along k, for the tile to stream:
//
//                  b (k, n)          packed: [sliver][k][width]
//                  s0  s1  s2        s0 s0 s0 ... s1 s1 s1 ... s2 s2 s2 ...
//
//              one or two rows of a go across the slivers, all of b in one stream (across)
//   ahead      the same, but each thread packs for itself, a sliver while the tiles read the one before (matmul_ahead.h)
//   dot        few rows times a transposed b (a linear layer's weight): both run along k, b is read once, as it lies
//   stream     one row times b, with narrow vectors up to 3: whole rows of b are read once, a few at a time
//
// An item is a block of tiles by a block of slivers of one product. k is cut into parts (k_parts): a sliver's part (96 or 192
// KB, AVX2: 64) stays in L2 while tiles run down the rows, and where b is packed first a block of a (512 KB), too: there blocks
// of 256 rows by 3 slivers give 241 GFLOP/s at 2048^3, of 128 rows by 1 sliver 227. Packed ahead, a comes from L3 for every
// sliver. AVX2 (Zen 3): parts of 512 take 1.03 of 1024^3's time, of 256 1.10, as each sends the sums to c and back; a packed a
// gains nothing.
#include "few_rows.h"
#include "kernels.h"
#include "matmul_tile.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 K_BLOCK = NARROW ? 1024 : 512, K_BLOCK_AT_MOST = 1024;
constexpr double ITEM_FLOPS = 2e6;  // an item is about 10 us, with narrow vectors 20
constexpr double SHARED_FLOPS = NARROW ? 1e6 : 4e5;  // from here on two threads share a product: 64^3 takes 0.66 of the time

static i64 columns_of(Way way) { return way == DOT ? DOT_COLUMNS : FEW_COLUMNS; }

// A packed b comes in longer parts with AVX-512, too: of rows of 4 KB parts of 2 KB lie in half of L2's sets, and c comes less
// often. Packed ahead, 2048^3 takes 0.955 of the time, 512 x 1024 x 2048 0.92; packed first, only where k is one part. Of a
// transposed a, whose block takes part of each row, 1024^3 would take 1.13. Narrow vectors: a short part stays in L1, where a few
// tiles take longer over their sums than over reading it.
constexpr i64 NARROW_FEW_ROWS = 16, FEW_ROWS_K = 256;

// AVX-512: few rows that read a large b where it is. A sliver of its rows, each on a page of its own, comes from L3 line by line,
// as the machine fetches nothing ahead across pages. Fetched eight rows ahead, in short parts of k, 8 x 1024 x 1024 takes 0.84 of
// the time, 16 rows 0.72, 24 rows 0.57, 16 x 3072 x 768 0.83 (Emerald Rapids).
static bool few_in_place(const Matmul& job, Way way) {
    return !NARROW && way == IN_PLACE && job.m < FEW_ROWS && job.k * job.n * 4 > IN_PLACE_BYTES;
}
static bool long_parts(const Matmul& job, Way way) {
    return job.a_col == 1 && (way == AHEAD || (way == PACKED && job.k <= K_BLOCK_AT_MOST));
}
Split k_parts(const Matmul& job, Way way) {
    if (NARROW && way == AHEAD && job.m <= NARROW_FEW_ROWS) return Split(job.k, FEW_ROWS_K);
    if (few_in_place(job, way)) return Split(job.k, FEW_ROWS_K);
    return Split(job.k, long_parts(job, way) ? K_BLOCK_AT_MOST : K_BLOCK);
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

// How far from what the first tile of a strip reads lies what it fetches meanwhile, in elements; 0: it fetches nothing. With
// AVX-512 weights that L1 does not hold come from L3 or memory, in a network, and hardly anything waits for them then (Emerald
// Rapids): BERT's layers, 16 rows, take 0.7 of the time, 32 0.84, 64 0.88, 128 0.93, generation of eight sequences 0.92; a
// product that is alone and keeps its weights in L2 1.00 to 1.02. 2 KB ahead 0.9, 8 KB as 4.
constexpr i64 FETCHED_BYTES = 3 << 16, FETCH_AHEAD = 4096, FETCH_ROWS = 8;
template <class T> static i64 fetch_distance(const Matmul& job, Way way, i64 tiles, i64 width) {
    constexpr i64 item = sizeof(T);
    if (few_in_place(job, way)) return FETCH_ROWS * job.b_row;
    if (way != PACKED) return 0;
    const i64 bytes = packed_b_size<T>(job, way) * item;
    if (NARROW) return bytes > IN_PLACE_BYTES && tiles <= FETCHING_TILES ? job.k * width : 0;
    return bytes > FETCHED_BYTES ? FETCH_AHEAD / item : 0;
}

// Rows of a block whose slivers are packed ahead: many, as each block packs all of b again, but a's part of k stays in L3, and
// there are some twenty items for each of several threads, which end together then.
constexpr i64 AHEAD_BYTES = 4 << 20, AHEAD_ITEMS = 20, AHEAD_LEAST = NARROW ? 256 : 128;
template <class T> static i64 ahead_rows(const Matmul& job, i64 slivers, i64 kc) {
    const i64 most = AHEAD_BYTES / (kc * i64(sizeof(T))), items = slivers * job.batch;
    const i64 blocks = job.slots > 1 && items ? (AHEAD_ITEMS * job.slots + items / 2) / items : 0;
    const i64 rows = blocks > 1 ? job.m / blocks : job.m;
    return rows > most ? most : rows < AHEAD_LEAST ? AHEAD_LEAST : rows;
}

// Few rows times a b that was packed before: a block is a stretch of slivers that takes longer to read than to claim.
constexpr i64 ACROSS_BYTES = 1 << 18;
static bool goes_across(const Matmul& job, Way way) { return !NARROW && way == PACKED && job.kept && job.m <= ACROSS_ROWS; }
template <class T> static i64 across_slivers(const Matmul& job) {
    const i64 fit = ACROSS_BYTES / (TILE_VECS * LANES<T> * i64(sizeof(T)) * (job.k + 1));
    return fit < 1 ? 1 : fit;
}

template <class T> static void plan_blocks(Matmul& job, Way way, const Grid& grid, double flops) {
    const Split parts = k_parts(job, way);
    const bool large = way == PACKED && flops > 2e8;  // else: items for every thread
    i64 block_rows = large && (NARROW || !long_parts(job, way)) ? 256 : 128;
    if (way == AHEAD) block_rows = ahead_rows<T>(job, grid.slivers, parts.width(0));
    const i64 block_tiles = block_rows / TILE_ROWS;
    const i64 blocks = grid.tiles < block_tiles ? 1 : (grid.tiles + block_tiles / 2) / block_tiles;
    job.m_block = (grid.tiles + blocks - 1) / blocks + (grid.tiles == 0);  // 22 tiles are one block, not 21 and 1
    job.n_block = 1;
    if (goes_across(job, way)) {
        job.n_block = across_slivers<T>(job);
    } else if (way == IN_PLACE || way == AHEAD || way == PACKED) {
        const double sliver_flops = 2.0 * double(job.m_block * TILE_ROWS * TILE_VECS * LANES<T>) * double(job.k + 1);
        const i64 wanted = i64(ITEM_FLOPS / sliver_flops);
        // Two for each part of a: 2048^3 takes 0.98 of the time on two threads.
        i64 least = large ? 3 : way == AHEAD && parts.parts > 1 ? 2 : 1;
        if (activated(job)) least = grid.slivers < 4 * ACTIVATED_SLIVERS ? (grid.slivers + 3) / 4 : ACTIVATED_SLIVERS;
        job.n_block = wanted < least ? least : wanted;
    }
    // Of few blocks across an even number, for two threads: there 64 x 128 x 128 takes 0.65 of the time, 48 x 128 x 128 0.6.
    const i64 m_blocks = Split(grid.tiles, job.m_block).parts, n_blocks = Split(grid.slivers, job.n_block).parts;
    if (n_blocks < 8 && n_blocks % 2 && job.batch * m_blocks % 2 && (n_blocks > 1 || flops >= SHARED_FLOPS))
        job.n_block = (grid.slivers + n_blocks) / (n_blocks + 1);
    job.items = job.batch * m_blocks * Split(grid.slivers, job.n_block).parts;
}

template <class T> static void plan_packing(Matmul& job, Way way, const Grid& grid) {
    job.slot_size = way == AHEAD ? Slivers<T>::size(k_parts(job, way).width(0)) : 0;
    job.packed_size = packed_b_size<T>(job, way);
    job.pack_items = way == PACKED ? job.batch_packed * grid.slivers : way == AHEAD ? job.slots : 0;
    i64 copied = way == PACKED ? job.packed_size : 0;
    if (packs_a<T>(job, way)) {
        const i64 panels = job.batch * job.m * job.k;
        copied += panels, job.packed_size += panels;
        job.pack_items += job.batch * grid.tiles;
    }
    job.pack_size = job.pack_items ? copied / job.pack_items : 0;
}

static void plan_cost(Matmul& job, Way way, double flops, i64 item_size) {
    job.item_flops = job.items ? double(job.batch) * (flops + 2.0 * double(job.m) * double(job.n)) / double(job.items) : 0;
    if (NARROW) job.item_flops *= 3;  // in flops of 512-bit vectors, of which parallel.h's thresholds think
    // A few rows take as long as reading b does: at ~100 bytes a ns, AVX2's machines 50, as long as 1.5 flops a byte would, or 3.
    // Packed slivers are read once for all rows, by the other ways b is read for each product.
    if (job.items && (way == DOT || way == STREAM || (way == PACKED && job.kept))) {
        const i64 readings = way == PACKED ? 1 : job.batch;
        const double reading = (NARROW ? 3 : 1.5) * double(readings * job.k * job.n * item_size);
        if (job.item_flops * double(job.items) < reading) job.item_flops = reading / double(job.items);
    }
}

template <class T> void matmul_plan(Matmul& job) {
    job.batch = 1;
    bool shared_b = true;
    for (int d = 0; d < job.batch_ndim; d++) {
        job.batch *= job.batch_shape[d];
        if (job.batch_shape[d] > 1 && job.b_batch[d] != 0) shared_b = false;
    }
    job.batch_packed = shared_b ? 1 : job.batch;
    const Way way = choose_way<T>(job);
    job.way = way;
    const Grid grid = grid_of<T>(job, way);
    const double flops = 2.0 * double(job.m) * double(job.n) * double(job.k);
    plan_blocks<T>(job, way, grid, flops);
    plan_packing<T>(job, way, grid);
    plan_cost(job, way, flops, sizeof(T));
}

template <class T> static void activate(const Matmul& job, T* c, i64 rows, i64 columns) {
    if (!activated(job)) return;
    const Kernels& table = sizeof(T) == 4 ? kernels_f32 : kernels_f64;
    Elementwise row = {c, c, nullptr, job.alpha, 1, {columns}, {1}, {0}};
    for (i64 i = 0; i < rows; i++, row.out = c + i * job.c_row, row.a = row.out) table.unary[job.activation](row, 0, columns);
}

// A block of one product: tiles and slivers.
struct Block {
    i64 product, t0, t1, s0, s1;
};

// One sliver of one part of k, as it lies in b, in the packed b or in the thread's slot.
template <class T> struct Source {
    const Matmul& job;
    const Split &slivers, &parts;
    i64 product, q, s;

    i64 column() const { return slivers.begin(s) * LANES<T>; }
    i64 width() const { return slivers.width(s) * i64(LANES<T>); }
    i64 columns() const { return job.n - column() < width() ? job.n - column() : width(); }
    i64 first() const { return parts.begin(q); }                             // of k
    i64 steps() const { return parts.parts ? parts.width(q) : 0; }
    i64 b_product() const { return job.batch_packed == 1 ? 0 : product; }
    i64 number() const { return (b_product() * parts.parts + q) * slivers.parts + s; }

    const T* in_place() const {
        return static_cast<const T*>(job.b) + batch_offsets(job, product).b + first() * job.b_row + column();
    }
    const T* packed() const {
        return static_cast<const T*>(job.packed) + (b_product() * padded<T>(job.n) + column()) * job.k + first() * width();
    }
    Ahead<T> rows() const { return {in_place(), job.b_row, nullptr, columns(), width(), steps(), 0, 0}; }

    // To the one that is read next, in `block` or after it; false: there is none.
    bool advance(const Block& block, const Block* then) {
        if (s + 1 < block.s1) s++;
        else if (q + 1 < parts.parts) q++, s = block.s0;
        else if (then) product = then->product, q = 0, s = then->s0;
        else return false;
        return true;
    }
};

// What the part of k at q does with its sums from `column` on.
template <class T> static Finish<T> finish_of(const Matmul& job, i64 q, bool last, i64 column) {
    const bool begins = q == 0 && !job.accumulate, residual = q == 0 && job.residual, ends = last && !job.accumulate;
    const T* bias = static_cast<const T*>(job.bias);
    return {!begins || residual, ends && limits(job.activation) ? job.activation : int(COPY), residual ? beside<T>(job) : 0,
            begins && bias ? bias + column : nullptr};
}

// The sliver to read from the thread's slot; `ahead` becomes what is to be packed meanwhile.
template <class T> static const T* take(const Source<T>& from, const Block& block, const Block* then, Ahead<T>& ahead) {
    const Matmul& job = from.job;
    Slivers<T> own(static_cast<T*>(job.packed) + job.slot() * job.slot_size, from.parts.width(0));
    const T* b = own.take(from.number(), from.rows());
    Source<T> next = from;
    if (next.advance(block, then)) ahead = own.begin(next.number(), next.rows());
    ahead.spread(block.t1 - block.t0, from.steps());
    return b;
}

template <class T> static void block(const Matmul& job, Way way, const Block& block, const Block* then) {
    constexpr int L = LANES<T>;
    const Split tiles(job.m, TILE_ROWS), slivers = slivers_of<T>(job), parts = k_parts(job, way);
    const i64 t0 = block.t0, t1 = block.t1;
    const Offsets at = batch_offsets(job, block.product);
    T* c = static_cast<T*>(job.c) + at.c;
    const T* a = static_cast<const T*>(job.a) + at.a;
    const bool own_a = packs_a<T>(job, way);
    if (own_a) a = packed_a<T>(job, way) + block.product * job.m * job.k;
    T copy[NARROW ? K_BLOCK * TILE_VECS * L : 1];  // of a sliver
    const i64 last = parts.parts ? parts.parts - 1 : 0;  // k = 0: one empty part writes the bias
    for (i64 q = 0; q <= last; q++)
        for (i64 s = block.s0; s < block.s1; s++) {
            const Source<T> from = {job, slivers, parts, block.product, q, s};
            const i64 column = from.column(), width = from.width(), columns = from.columns(), p = from.first(), kc = from.steps();
            const T* b = way == PACKED ? from.packed() : from.in_place();
            i64 b_row = way == IN_PLACE ? job.b_row : width;
            const i64 fetched = fetch_distance<T>(job, way, t1 - t0, width);
            Reading reading = fetched ? FETCHING : WHOLE;
            Ahead<T> ahead = {};
            if (way == AHEAD) {
                b = take(from, block, then, ahead);
                reading = PACKING;
            } else if (way == IN_PLACE && columns < width) {
                reading = SHORT;
                if (NARROW && t1 - t0 > 1) {  // masked loads halve the speed: 64 x 128 x 10 at 13, so 21
                    pack_sliver(copy, b, b_row, 1, kc, columns, width);
                    b = copy, b_row = width, reading = WHOLE;
                }
            }
            const Finish<T> finish = finish_of<T>(job, q, q == last, column);
            const Strip<T> strip = {tiles, t0, t1, c + column, job.c_row,
                                    own_a ? a : a + p * job.a_col, job.a_row, own_a ? p + 1 : job.a_col,
                                    b, b_row, kc, slivers.width(s), int(columns - (width - L)), reading,
                                    fetched, ahead, finish};
            strip.run(own_a ? job.k : 0);
            ahead.copy_rest();
        }
    const i64 row = tiles.begin(t0), column = slivers.begin(block.s0) * L;
    const i64 stop = slivers.begin(block.s1) * L < job.n ? slivers.begin(block.s1) * L : job.n;
    activate(job, c + row * job.c_row + column, tiles.begin(t1) - row, stop - column);
}

// The same of few rows and a b that was packed before.
template <class T> static void across_block(const Matmul& job, const Block& block) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of<T>(job), parts = k_parts(job, PACKED);
    const Offsets at = batch_offsets(job, block.product);
    T* c = static_cast<T*>(job.c) + at.c;
    const T* a = static_cast<const T*>(job.a) + at.a;
    const i64 first = slivers.begin(block.s0) * L, stop = slivers.begin(block.s1) * L, end = stop < job.n ? stop : job.n;
    const i64 last = parts.parts ? parts.parts - 1 : 0;
    for (i64 q = 0; q <= last; q++)
        for (i64 s = block.s0, s1; s < block.s1; s = s1) {  // of one width
            s1 = s < slivers.larger && slivers.larger < block.s1 ? slivers.larger : block.s1;
            const Source<T> from = {job, slivers, parts, block.product, q, s};
            const i64 column = from.column(), beyond = s1 == block.s1 ? stop - end : 0;
            const Across<T> kernel = pick_across<T>(job.m, slivers.width(s));
            kernel(s1 - s, c + column, job.c_row, a + from.first() * job.a_col, job.a_row, job.a_col, from.packed(), from.steps(),
                   int(L - beyond), finish_of<T>(job, q, q == last, column));
        }
    activate(job, c + first, job.m, end - first);
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
    const Way way = Way(job.way);
    const Grid grid = grid_of<T>(job, way);
    const Split down(grid.tiles, job.m_block), across(grid.slivers, job.n_block);
    const i64 of_product = down.parts * across.parts;
    const auto block_of = [&](i64 item) -> Block {
        if (of_product == 1) return {item, 0, grid.tiles, 0, grid.slivers};
        const i64 product = item / of_product, rest = item % of_product;
        const i64 t = rest / across.parts, s = rest % across.parts, t0 = down.begin(t), s0 = across.begin(s);
        return {product, t0, t0 + down.width(t), s0, s0 + across.width(s)};
    };
    for (i64 item = begin; item < end; item++) {
        const Block at = block_of(item);
        if (way == DOT || way == STREAM) {
            // Longer stretches of b's rows where a thread has two items: 1 x 1024 x 1024 at 23 GFLOP/s, not 18 (AVX2).
            const i64 parts = NARROW && way == STREAM && item + 1 < end && at.s1 < grid.slivers ? 2 : 1;
            few_rows_block<T>(job, way, at.product, at.s0, parts);
            item += parts - 1;
        } else if (goes_across(job, way)) {
            across_block<T>(job, at);
        } else if (way == AHEAD && item + 1 < job.items) {
            const Block then = block_of(item + 1);  // likely this thread's, too
            block<T>(job, way, at, &then);
        } else block<T>(job, way, at, nullptr);
    }
}

template void matmul_plan<float>(Matmul&);
template void matmul_plan<double>(Matmul&);
template void matmul<float>(const Matmul&, i64, i64);
template void matmul<double>(const Matmul&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
