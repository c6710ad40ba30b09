// The weight gradient by Winograd's algorithm, the exact adjoint of the forward pass:
//
//   V[point][tile][channel] of x, D[point][tile][filter] = A dy A^T,   dU[point] = V[point]^T D[point],   dw = G^T dU G
//
// dU is 4 times as large as dw. The tiles come in batches whose products are added to a dU in memory, point by point:
//
//   APART    V and D are much larger than dU: an item takes some of the tiles, batch after batch, to a dU of its own
//   BATCHES  else all threads make a batch, and an item adds to a point of dU, or some of its channels
//   BLOCKS   one batch meets a dU too large for that: an item makes all points of a block of dU, which stays in L2, and turns it
//            into dw at once
//
// (Of a handful of tiles: winograd_rows.cpp.) What one thread made of V and D and another reads comes from the other's cache:
// two threads gain nothing over one where both reach their L3 by different ways (32 images of 56 x 56, 64 channels: 10.2 ms
// and 11.2). Apart, nothing but dU goes from one to the other. Each dU has one writer and one order of summation, and they are
// added in order, so the bits do not depend on the number of threads.
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 BATCH_BYTES = 4 << 20;      // of V and D in a batch, at least: they pass through L3
constexpr i64 BLOCK_BYTES = 256 << 10;    // of dU of an item, about: half of L2
constexpr i64 CHUNK = 32;                 // filters of an item's dU, about
constexpr i64 GROUP = 8;                  // tiles of a transforming item
constexpr i64 PRODUCT_ROWS = 64;          // channels of an item that adds a batch, about
constexpr i64 SHORT_CHAIN = 64;           // tiles summed one after the other
constexpr i64 LARGE_BYTES = 4 << 20;      // of dU. Made in blocks, which read V and D again and again, C192 H28 takes 0.87 of
                                          // the time, C512 H14 0.86, but C128 H28 up to 1.12 and C64 H32 1.19

// Tiles that go apart: V and D of a part are as large as 8 dU. With 16 parts 32 images of 56 x 56, 64 channels take 1.03 of the
// time, with 4 0.99; with batches of 1 MB 1.08.
constexpr i64 MOST_PARTS = 8, PART_TIMES = 8;

// In how many parts the tiles go apart; 0: they do not.
template <class T, class A> static i64 parts_apart(const Tiling<T, A>& g) {
    const i64 parts = g.tiles * (g.in_c + g.out_c) / (g.in_c * g.out_c) / PART_TIMES;
    return parts > MOST_PARTS ? MOST_PARTS : parts / 2 * 2;
}

// How the work is cut: in batches of tiles; `rows` channels and `chunk` slivers of dU to an item.
template <class T, class A> struct WeightCut {
    static constexpr int N = A::N, L = LANES<T>;
    i64 slivers, apart;
    Places v_at, d_at;
    Split rows, chunks;
    T *v, *d, *du;  // du: of all points, where batches are added
    i64 du_size;    // du of the next part

    WeightCut(const Conv& job, const Tiling<T, A>& g)
        : slivers(Split(g.out_row / L, TILE_VECS).parts),
          apart(parts_apart(g)),
          v_at(Places::apart(job.block, g.in_row)),
          d_at(Places::apart(job.block, g.grad_row)),
          rows(g.in_c, job.parts),
          chunks(slivers, job.chunk),
          du_size(N * N * plane(g.in_c, g.out_row)) {
        v = apart ? slot_of<T>(job) : static_cast<T*>(job.scratch);
        d = v + N * N * plane(job.block, g.in_row);
        du = apart ? static_cast<T*>(job.scratch) : d + N * N * plane(job.block, g.grad_row);
    }
};

template <class T, class A> void winograd_weight_plan(Conv& job) {
    constexpr int N = A::N, L = LANES<T>;
    const Tiling<T, A> g(job);
    const i64 u = N * N * plane(g.in_c, g.out_row), tile = N * N * (g.in_row + g.grad_row), apart = parts_apart(g);
    // A batch reads and writes dU, which should not outweigh its own V and D.
    const i64 most = (u > BATCH_BYTES / i64(sizeof(T)) ? u : BATCH_BYTES / i64(sizeof(T))) / tile;
    const i64 tiles = apart ? ceil_div(g.tiles, apart) : g.tiles, batches = ceil_div(tiles, most < 32 ? 32 : most);
    job.block = ceil_div(ceil_div(tiles, batches), GROUP) * GROUP;
    const i64 slivers = Split(g.out_row / L, TILE_VECS).parts, width = TILE_VECS * L;
    const bool whole = !apart && job.block >= g.tiles && u > LARGE_BYTES / i64(sizeof(T));
    job.chunk = whole ? (CHUNK > width ? CHUNK / width : 1) : slivers;
    job.parts = whole ? BLOCK_BYTES / i64(sizeof(T)) / (N * N * job.chunk * width) : PRODUCT_ROWS;
    job.stages = apart || whole ? 3 : 2 + 2 * ceil_div(g.tiles, job.block);
    job.prepared_size = 0;
    const i64 batch = N * N * (plane(job.block, g.in_row) + plane(job.block, g.grad_row));
    job.scratch_size = apart ? apart * u : batch + (whole ? 0 : u);
    const i64 zeros = g.in_row > g.grad_row ? g.in_row : g.grad_row;
    const i64 block = whole ? N * N * plane(job.parts, job.chunk * width) : 0;
    job.slot_size = (apart ? batch + zeros : zeros > block ? zeros : block) + 64;
}

// Stages: nothing; then all of a part, and dw; or transform and all the rest; or transform and add for each batch, and dw.
enum Step { NOTHING, APART, TRANSFORM, WHOLE, ADD, FINISH };
static Step step_of(const Conv& job, i64 apart) {
    if (job.stage == 0) return NOTHING;
    if (apart) return job.stage == 1 ? APART : FINISH;
    if (job.stages == 3) return job.stage == 1 ? TRANSFORM : WHOLE;
    return job.stage == job.stages - 1 ? FINISH : job.stage % 2 ? TRANSFORM : ADD;
}

template <class T, class A> void winograd_weight_stage(Conv& job) {
    constexpr int N = A::N;
    const Tiling<T, A> g(job);
    const WeightCut<T, A> c(job, g);
    const double products = 2.0 * double(job.block) * double(g.in_c) * double(g.out_row);
    switch (step_of(job, c.apart)) {
        case NOTHING: job.items = 0; break;
        case APART:
            job.items = c.apart;
            job.item_flops = N * N * (products + 4.0 * double(job.block) * double(g.in_row + g.out_row));
            break;
        case TRANSFORM:
            job.items = job.block / GROUP;
            job.item_flops = 4.0 * N * N * GROUP * double(g.in_row + g.out_row);
            break;
        case WHOLE:
            job.items = c.rows.parts * c.chunks.parts;
            job.item_flops = N * N * (products + 10.0 * double(g.in_c) * double(g.out_row)) / double(job.items);
            break;
        case ADD:
            job.items = N * N * c.rows.parts;
            job.item_flops = products / double(c.rows.parts);
            break;
        case FINISH:
            job.items = ceil_div(g.in_c, CHANNELS);
            job.item_flops = 200.0 * CHANNELS * double(g.out_row);
    }
}

// ---- transforms ----------------------------------------------------------------------------------------------

// `count` tiles of a batch, of which the first is the at-th; `zeros` become zeros.
template <class T, class A>
static void transform(const Conv& job, const Tiling<T, A>& g, const WeightCut<T, A>& c, i64 first, i64 at, i64 count, T* zeros) {
    constexpr int L = LANES<T>;
    memset(zeros, 0, size_t(g.in_row > g.grad_row ? g.in_row : g.grad_row) * sizeof(T));
    transform_input(g, static_cast<const T*>(job.x), first + at, count, c.v + c.v_at.of(at, 0, L), c.v_at, zeros);
    transform_gradient(g, static_cast<const T*>(job.dy), first + at, count, c.d + c.d_at.of(at, 0, L), c.d_at, zeros);
}

// GROUP tiles of a batch for all threads.
template <class T, class A>
static void transform_group(const Conv& job, const Tiling<T, A>& g, const WeightCut<T, A>& c, i64 item) {
    const i64 first = (job.stage - 1) / 2 * job.block, at = item * GROUP, left = g.tiles - first - at;
    transform(job, g, c, first, at, left < 0 ? 0 : left < GROUP ? left : GROUP, slot_of<T>(job));
}

// dw[f0 .. f1)[c0 .. c0 + channels) = G^T dU G, dU the sum of `parts` and at channel c0 and filter f0.
template <class T, class A>
static void finish(const Conv& job, const Tiling<T, A>& g, const T* du, i64 du_plane, i64 du_row, i64 c0, i64 channels,
                   i64 f0, i64 f1, i64 parts, i64 du_size) {
    constexpr int N = A::N, L = LANES<T>;
    for (i64 b = 0; b < channels; b += CHANNELS)
        for_vectors<T>(f1 - f0, [&](i64 f, int filters) {
            const i64 some = channels - b < CHANNELS ? channels - b : CHANNELS;
            T w[CHANNELS * PLACES<A> * L];
            for (i64 c = 0; c < some; c++)
                both_axes<T, N, A::K>(
                    [](const auto& x, auto& made) { A::template weight_gradient<T>(x, made); },
                    [&](int i, int j) {
                        const T scale = T(A::SCALE[i] * A::SCALE[j]);
                        const T* at = du + (i * N + j) * du_plane + (b + c) * du_row + f;
                        Vec<T> sum = load(at);
                        for (i64 p = 1; p < parts; p++) sum += load(at += du_size);
                        return sum * splat<T>(scale);
                    },
                    [&](int i, int j, Vec<T> value) { store(w + (c * PLACES<A> + i * A::K + j) * L, value); });
            T* dw = static_cast<T*>(job.out) + ((f0 + f) * g.in_c + c0 + b) * PLACES<A>;
            write_rows(dw, g.in_c * PLACES<A>, w, PLACES<A> * some, filters);
        });
}

// ---- products ------------------------------------------------------------------------------------------------

// du (rows, slivers [s0, s1)) = or += V^T D of one point, for channels from c0 and some tiles. du is at c0 and s0.
template <class T, class A>
static void multiply(const Tiling<T, A>& g, T* du, i64 du_row, const T* v, const T* d, i64 c0, i64 rows, i64 s0, i64 s1,
                     typename Tiling<T, A>::Range some, bool add) {
    constexpr int L = LANES<T>;
    const Split slivers(g.out_row / L, TILE_VECS), tiles(rows, TILE_ROWS), chains(some.count, SHORT_CHAIN);
    for (i64 s = s0; s < s1; s++)
        for (i64 q = 0; q < chains.parts; q++) {
            const i64 column = slivers.begin(s) * L, tile = some.begin + chains.begin(q), length = chains.width(q);
            const T *v_at = v + tile * g.in_row + c0, *d_at = d + tile * g.grad_row + column;
            T* out = du + column - slivers.begin(s0) * L;
            const Product<T> product = {out,  du_row,     0, v_at,   1, g.in_row,    0,
                                        d_at, g.grad_row, 0, length, 1, add || q > 0};
            Ahead<T> nothing(d_at);
            const auto run = [&](auto kernel, i64 r, i64 count) { kernel(product, r, count, nothing); };
            for_columns<PointKernel, T>(tiles, 0, tiles.parts, slivers.width(s), run);
        }
}

// One batch: a block of channels of one point, all filters, added to dU.
template <class T, class A>
static void add_batch(const Conv& job, const Tiling<T, A>& g, const WeightCut<T, A>& c, i64 item) {
    const i64 point = item / c.rows.parts, block = item % c.rows.parts, first = (job.stage / 2 - 1) * job.block;
    const i64 left = g.tiles - first, count = left < job.block ? left : job.block, row = c.rows.begin(block);
    const auto some = g.having(int(point), first, count);
    const bool add = first + some.begin > g.having(int(point), 0, g.tiles).begin;
    multiply(g, c.du + point * plane(g.in_c, g.out_row) + row * g.out_row, g.out_row, c.v + point * c.v_at.point,
             c.d + point * c.d_at.point, row, c.rows.width(block), 0, c.slivers, some, add);
}

// All tiles and points: a block of channels and some slivers, from V and D to dw.
template <class T, class A>
static void whole_block(const Conv& job, const Tiling<T, A>& g, const WeightCut<T, A>& c, i64 item) {
    constexpr int POINTS = A::N * A::N, L = LANES<T>;
    const Split slivers(g.out_row / L, TILE_VECS);
    const i64 block = item % c.rows.parts, chunk = item / c.rows.parts, row = c.rows.begin(block),
              rows = c.rows.width(block), s0 = c.chunks.begin(chunk), s1 = s0 + c.chunks.width(chunk);
    const i64 du_row = job.chunk * TILE_VECS * L, du_plane = plane(job.parts, du_row), f0 = slivers.begin(s0) * L,
              f1 = slivers.begin(s1) * L;
    T* du = slot_of<T>(job);
    for (int point = 0; point < POINTS; point++)
        multiply(g, du + point * du_plane, du_row, c.v + point * c.v_at.point, c.d + point * c.d_at.point, row, rows, s0, s1,
                 g.having(point, 0, g.tiles), false);
    finish(job, g, du, du_plane, du_row, row, rows, f0, f1 < g.out_c ? f1 : g.out_c, 1, 0);
}

// One part of the tiles, from images to its own dU.
template <class T, class A>
static void part_apart(const Conv& job, const Tiling<T, A>& g, const WeightCut<T, A>& c, i64 item) {
    constexpr int POINTS = A::N * A::N;
    const i64 begin = g.tiles * item / c.apart, end = g.tiles * (item + 1) / c.apart;
    T *du = c.du + item * c.du_size, *zeros = c.d + POINTS * c.d_at.point;
    for (i64 first = begin; first < end; first += job.block) {
        const i64 count = end - first < job.block ? end - first : job.block;
        transform(job, g, c, first, 0, count, zeros);
        for (int point = 0; point < POINTS; point++) {
            T* sums = du + point * plane(g.in_c, g.out_row);
            const auto all = g.having(point, begin, end - begin), some = g.having(point, first, count);
            if (first == begin && all.count == 0) memset(sums, 0, size_t(g.in_c * g.out_row) * sizeof(T));
            multiply(g, sums, g.out_row, c.v + point * c.v_at.point, c.d + point * c.d_at.point, 0, g.in_c, 0, c.slivers, some,
                     first + some.begin > begin + all.begin);
        }
    }
}

template <class T, class A> void winograd_weight(const Conv& job, i64 begin, i64 end) {
    const Tiling<T, A> g(job);
    const WeightCut<T, A> c(job, g);
    const Step step = step_of(job, c.apart);
    for (i64 item = begin; item < end; item++) {
        const i64 c0 = item * CHANNELS, channels = g.in_c - c0 < CHANNELS ? g.in_c - c0 : CHANNELS;
        if (step == APART) part_apart(job, g, c, item);
        else if (step == TRANSFORM) transform_group(job, g, c, item);
        else if (step == WHOLE) whole_block(job, g, c, item);
        else if (step == ADD) add_batch(job, g, c, item);
        else finish(job, g, c.du + c0 * g.out_row, plane(g.in_c, g.out_row), g.out_row, c0, channels, 0, g.out_c,
                    c.apart ? c.apart : 1, c.du_size);
    }
}

#define INSTANTIATE(...)                                            \
    template void winograd_weight_plan<float, __VA_ARGS__>(Conv&);  \
    template void winograd_weight_stage<float, __VA_ARGS__>(Conv&); \
    template void winograd_weight<float, __VA_ARGS__>(const Conv&, i64, i64);
INSTANTIATE(Winograd<2>)
INSTANTIATE(Winograd<4>)
INSTANTIATE(Winograd<2, 5>)
#undef INSTANTIATE

}  // namespace FASTNN_ISA
}  // namespace fastnn
