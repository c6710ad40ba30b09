// Every channel for itself: the channels are the lanes. With one multiplication for each load all depends on the cache:
// pixels of 128 channels lie 512 bytes apart, so that walking along a row with one vector of channels uses 8 of the 64
// sets of L1. So the tile is a few pixels of a row, and all their channels follow one another before the next pixels
// come. A strip of columns goes down the rows of an item, so that L1 gives each input for all rows of the kernel that
// meet it. The image is read where it lies: at its borders only the places inside count.
#include "depthwise_neighbours.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 WINDOW = 32 << 10;  // elements of an item's window, about: 128 KB
constexpr i64 STRIP = 16 << 10;   // bytes of the rows of a strip that one row of output reads, about: half of L1
constexpr int VECS = 2;           // of channels at once

struct Tap {
    i64 x, w;  // where it reads, from where its pixel's window would begin; from a vector's first weight to its own
};

template <class T> void depthwise_plan(Conv& job) {
    job.pool = false;
    const Walk walk(job);
    job.chunk = channels_at_once<T>(job, walk);
    job.parts = ceil_div(job.c, job.chunk);
    const double row = double(walk.x.window(walk.x.count)) * double(job.chunk);
    const i64 wanted = double(job.batch * job.oh * job.ow) * double(job.c * job.kh * job.kw) > 2e5 ? 4 : 1;
    job.block = 1;
    while (job.block < walk.y.count && double(walk.y.window(job.block + 1)) * row <= WINDOW &&
           job.batch * job.parts * ceil_div(walk.y.count, job.block + 1) >= wanted)
        job.block++;
    job.stages = 2;
    job.prepared_size = bounded(double(job.kh * job.kw) * double(job.c + LANES<T>));
    job.scratch_size = 0;
    const double taps = (2.0 * double(job.kh * job.kw) * sizeof(Tap) + double(job.kh) * sizeof(i64)) / double(sizeof(T)) + 64;
    const bool copied = are_neighbours<T>(job, walk) && are_crowded<T>(job);
    job.slot_size = bounded(copied ? double(walk.y.window(job.block) * walk.x.in) * double(job.chunk) : taps);
}

struct Slide {
    i64 channels, places, out_step, in_step, count;
    const Tap* taps;
    int activation;
};

// acc += one place of the kernel, for MR pixels and NV vectors of channels, of the last one `lanes`: a load for each
// multiplication. Pixels are addressed by threes, which an index times 1 or 2 reaches.
template <class T, int MR, int NV>
INLINE void add_tap(Vec<T> (&acc)[MR][NV], const T* image, i64 step, const T* weight, i64 weights, int lanes) {
    constexpr int L = LANES<T>;
    const T* x[3] = {image, image + 3 * step, image + 6 * step};
#pragma GCC unroll 2
    for (int j = 0; j < NV; j++) {
        const Vec<T> w = load_n(weight + j * weights, lanes);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) acc[i][j] = fma<T>(load_n(x[i / 3] + i % 3 * step + j * L, lanes), w, acc[i][j]);
    }
}

// MR pixels of a row, vectors [c, c + NV) of the channels; of the last one `lanes`.
template <class T, int MR, int NV>
INLINE void slide_vectors(const Slide& s, T* out, const T* image, i64 at, const T* weight, const T* bias, i64 c,
                          int lanes) {
    constexpr int L = LANES<T>;
    const i64 in_step = s.in_step, out_step = s.out_step;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 2
    for (int j = 0; j < NV; j++)
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) acc[i][j] = bias ? load_n(bias + c + j * L, lanes) : Vec<T>{};
    const Tap *tap = s.taps, *const end = tap + s.count;
    weight += c * s.places + L - lanes;  // the last vector ends with the last channel
    for (; tap < end; tap++) add_tap<T, MR, NV>(acc, image + (at + tap->x + c), in_step, weight + tap->w, L * s.places, lanes);
    const Limits<T> limit(s.activation);
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
        for (int j = 0; j < NV; j++) store_n(out + i * out_step + c + j * L, limit(acc[i][j]), lanes);
}

template <class T, int MR> struct SlideKernel {
    static void run(const Slide& s, T* out, const T* image, i64 at, const T* weight, const T* bias) {
        constexpr int L = LANES<T>;
        i64 c = 0;
        for (; c + VECS * L <= s.channels; c += VECS * L)
            slide_vectors<T, MR, VECS>(s, out, image, at, weight, bias, c, L);
        for (; c + L <= s.channels; c += L) slide_vectors<T, MR, 1>(s, out, image, at, weight, bias, c, L);
        if (c < s.channels) slide_vectors<T, MR, 1>(s, out, image, at, weight, bias, c, int(s.channels - c));
    }
};

// A place among the weights of a vector, which follow one another as their inputs do in the image: a gradient has the first last.
INLINE i64 place_at(const Walk& walk, i64 place) { return walk.gradient ? walk.y.kernel * walk.x.kernel - 1 - place : place; }

// The places of phase (qy, qx), row by row of the kernel: all, or those that output column i finds inside the image.
template <class T> struct Taps {
    Tap* list;
    i64* offsets;  // of each row: from output row j's step, to the row it reads
    i64 rows, columns;

    void fill(const Walk& walk, i64 qy, i64 qx, i64 i, bool all) {
        rows = 0;
        Tap* next = list;
        for (i64 ky = 0; ky < walk.y.kernel; ky++) {
            if (!walk.y.has(qy, ky)) continue;
            offsets[rows++] = walk.y.offset(qy, ky);
            for (i64 n = 0; n < walk.x.kernel; n++) {  // from left to right in the image
                const i64 kx = walk.gradient ? walk.x.kernel - 1 - n : n;
                if (!walk.x.has(qx, kx)) continue;
                const i64 dx = walk.x.offset(qx, kx), column = i * walk.x.step + dx;
                if (!all && (column < 0 || column >= walk.x.in)) continue;
                *next++ = {((walk.y.offset(qy, ky) - walk.y.low) * walk.x.in + dx - walk.x.low) * walk.in_c,
                           place_at(walk, ky * walk.x.kernel + kx) * LANES<T>};
            }
        }
        columns = rows ? (next - list) / rows : 0;
    }
};

// Rows [j0, j1) of columns [i0, i1) of phase (qy, qx), all of which have the same places along the row.
template <class T>
static void slide_strip(const Conv& job, const Walk& walk, const Taps<T>& taps, i64 b, i64 qy, i64 qx, i64 j0, i64 j1,
                        i64 i0, i64 i1) {
    const T* image = static_cast<const T*>(walk.gradient ? job.dy : job.x) + b * walk.y.in * walk.x.in * job.c;
    T* out = static_cast<T*>(job.out) + b * walk.y.out * walk.x.out * job.c;
    Slide s = {job.c, job.kh * job.kw, walk.x.phases * job.c, walk.x.step * job.c, 0, taps.list, job.activation};
    const Split tiles(i1 - i0, TILE_ROWS);
    for (i64 j = j0; j < j1 && j < walk.y.outputs(qy); j++) {
        const auto inside = [&](i64 k) {
            const i64 row = j * walk.y.step + taps.offsets[k];
            return row >= 0 && row < walk.y.in;
        };
        i64 first = 0, last = taps.rows;
        while (first < last && !inside(first)) first++;
        while (last > first && !inside(last - 1)) last--;
        s.taps = taps.list + first * taps.columns;
        s.count = (last - first) * taps.columns;
        T* row = out + ((j * walk.y.phases + qy) * walk.x.out + qx) * job.c;
        const i64 at = ((j * walk.y.step + walk.y.low) * walk.x.in + walk.x.low) * job.c;
        for_tiles<SlideKernel, T>(tiles, [&](auto kernel, i64 tile, int) {
            const i64 i = i0 + tile;
            kernel(s, row + i * s.out_step, image, at + i * s.in_step, static_cast<const T*>(job.prepared),
                   static_cast<const T*>(job.bias));
        });
    }
}

// Rows [j0, j1) of every phase of image b: border columns one by one, the others in strips.
template <class T> static void slide_rows(const Conv& job, const Walk& walk, i64 b, i64 j0, i64 j1) {
    Taps<T> taps, some;
    taps.list = reinterpret_cast<Tap*>(slot_of<T>(job));
    some.list = taps.list + job.kh * job.kw;
    taps.offsets = some.offsets = reinterpret_cast<i64*>(some.list + job.kh * job.kw);
    i64 wide = STRIP / i64(sizeof(T)) / job.kh / job.c / walk.x.step / TILE_ROWS * TILE_ROWS;
    wide = wide < TILE_ROWS ? TILE_ROWS : wide;
    for (i64 qy = 0; qy < walk.y.phases; qy++)
        for (i64 qx = 0; qx < walk.x.phases; qx++) {
            const i64 columns = walk.x.outputs(qx);
            i64 i0 = walk.x.low < 0 ? ceil_div(-walk.x.low, walk.x.step) : 0;  // all places of [i0, i1) are inside
            i64 i1 = floor_div(walk.x.in - 1 - walk.x.high, walk.x.step) + 1;
            i0 = i0 < columns ? i0 : columns;
            i1 = i1 < i0 ? i0 : i1 < columns ? i1 : columns;
            taps.fill(walk, qy, qx, 0, true);
            for (i64 i = i0; i < i1; i += wide)
                slide_strip<T>(job, walk, taps, b, qy, qx, j0, j1, i, i + wide < i1 ? i + wide : i1);
            for (i64 i = 0; i < columns; i++) {
                if (i >= i0 && i < i1) continue;
                some.fill(walk, qy, qx, i, false);
                slide_strip<T>(job, walk, some, b, qy, qx, j0, j1, i, i + 1);
            }
        }
}

// One place of the kernel, vector by vector of the channels: [vector][place][lane]. The last vector ends with the last channel.
template <class T> static void prepare(const Conv& job, i64 place) {
    constexpr i64 L = LANES<T>;
    const i64 places = job.kh * job.kw;
    T* to = static_cast<T*>(job.prepared) + place_at(Walk(job), place) * L;
    for (i64 first = 0; first < job.c; first += L, to += places * L) {
        const i64 c = first + L <= job.c ? first : job.c - L;
        for (i64 i = 0; i < L; i++) to[i] = c + i < 0 ? T(0) : static_cast<const T*>(job.weight)[(c + i) * places + place];
    }
}

template <class T> void depthwise_stage(Conv& job) {
    const double work = 8.0 * double(job.batch * job.oh * job.ow) * double(job.kh * job.kw + 4) * double(job.c);
    job.items = job.stage == 0 ? job.kh * job.kw : job.batch * job.parts * ceil_div(Walk(job).y.count, job.block);
    job.item_flops = job.stage == 1 ? work / double(job.items + (job.items == 0)) : 20.0 * double(job.c);
}

template <class T> void depthwise(const Conv& job, i64 begin, i64 end) {
    const Walk walk(job);
    const i64 row_blocks = ceil_div(walk.y.count, job.block);
    for (i64 item = begin; item < end; item++) {
        const i64 part = item % job.parts, rest = item / job.parts, j0 = rest % row_blocks * job.block,
                  j1 = j0 + job.block < walk.y.count ? j0 + job.block : walk.y.count;
        if (job.stage == 0) prepare<T>(job, item);
        else if (!are_neighbours<T>(job, walk)) slide_rows<T>(job, walk, rest / row_blocks, j0, j1);
        else if (walk.x.step == 1) slide_neighbours<T, 1>(job, walk, rest / row_blocks, j0, j1, part * job.chunk);
        else slide_neighbours<T, 2>(job, walk, rest / row_blocks, j0, j1, part * job.chunk);
    }
}

template void depthwise_plan<float>(Conv&);
template void depthwise_plan<double>(Conv&);
template void depthwise_stage<float>(Conv&);
template void depthwise_stage<double>(Conv&);
template void depthwise<float>(const Conv&, i64, i64);
template void depthwise<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
