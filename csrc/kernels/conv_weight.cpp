// The weight gradient by the definition: an outer product summed over pixels, on the same tile.
//
//   dw [row (ky, kx, c)][filter]  +=  sum over pixels  x[pixel + place (ky, kx), c]  dy[pixel, filter]
//
// MR rows times NV vectors of filters stay in registers while the pixels of a block of image rows go by. The pixels are
// cut into `parts` by the shapes alone; each part has sums of its own, and a last stage adds them in order and turns
// them over to (f, c, ky, kx): the bits do not depend on the number of threads.
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

// Elements of x of a block of rows, about; or, because each block reads and writes all sums, what 256 pixels of output need,
// but no more than L2 holds.
constexpr i64 WINDOW = 16 << 10, PIXELS = 256, MOST_WINDOW = 48 << 10;
constexpr i64 MOST_SUMS = 4 << 20;  // elements of all parts' sums, about
// Items, that many threads have something to share: up to 4 by cutting the filters, where each reads all of x, the rest by
// parts, which have sums of their own.
constexpr i64 WANTED = 16, MOST_CHUNKS = 4;

struct WeightCut {
    i64 rows, group_c, group_f, padded, slivers, chunks;  // rows: kh * kw * group_c, of the weight
    i64 lines;                                            // rows of output pixels, of all images
    i64 window_w;
};

template <class T> static WeightCut cut(const Conv& job) {
    const i64 group_c = job.c / job.groups, group_f = job.f / job.groups;
    const i64 vecs = ceil_div(group_f, LANES<T>), slivers = Split(vecs, TILE_VECS).parts;
    return {job.kh * job.kw * group_c,
            group_c,
            group_f,
            vecs * LANES<T>,
            slivers,
            ceil_div(slivers, job.chunk),
            job.batch * job.oh,
            (job.ow - 1) * job.stride_w + (job.kw - 1) * job.dilation_w + 1};
}

static i64 window_h(const Conv& job, i64 rows) { return (rows - 1) * job.stride_h + (job.kh - 1) * job.dilation_h + 1; }

template <class T> void weight_plan(Conv& job) {
    job.chunk = 1;
    const WeightCut c = cut<T>(job);
    const double sums = double(job.groups * c.padded) * double(c.rows);
    job.way = CONV_DIRECT;
    job.stages = 3;  // nothing, sums, their sum
    job.block = 1;
    while (job.block < job.oh && double(window_h(job, job.block + 1)) * double(c.window_w) * double(job.c) <=
                                     double(job.block * job.ow < PIXELS ? MOST_WINDOW : WINDOW))
        job.block++;
    job.parts = ceil_div(WANTED, c.slivers < MOST_CHUNKS ? c.slivers + (c.slivers == 0) : MOST_CHUNKS);
    job.parts = c.lines < job.parts ? c.lines : job.parts;
    while (job.parts > 1 && sums * double(job.parts) > MOST_SUMS) job.parts = ceil_div(job.parts, 2);
    job.chunk = c.slivers;
    while (job.chunk > 1 && job.parts * ceil_div(c.slivers, job.chunk) < WANTED) job.chunk = ceil_div(job.chunk, 2);
    job.prepared_size = 0;
    job.scratch_size = bounded(sums * double(job.parts));
    job.slot_size = bounded(double(window_h(job, job.block)) * double(c.window_w) * double(job.c) +
                            8 / sizeof(T) * double(c.rows) + 16);
}

template <class T> void weight_stage(Conv& job) {
    const WeightCut c = cut<T>(job);
    const double sums = double(job.groups * c.padded) * double(c.rows);
    job.items = job.stage == 0 ? 0 : job.stage == 1 ? job.parts * c.chunks : job.groups * c.padded / LANES<T>;
    job.item_flops = (job.stage == 1 ? 2.0 * double(c.lines * job.ow) : 20.0 * double(job.parts)) * sums /
                     double(job.items + (job.items == 0));
}

// ---- sums ----------------------------------------------------------------------------------------------------

// One block of output rows of one image, one sliver.
template <class T> struct Block {
    T* sums;  // [row][padded], at the sliver's first column
    i64 sums_row;
    const i64* x_at;  // where each row of the weight reads
    const T* x;       // the window
    i64 x_line, x_pixel;
    const T* dy;  // at the sliver's first column
    i64 dy_line, dy_pixel;
    i64 lines, pixels;
    int tail;
    bool first;  // of this part: nothing to add to
};

template <class T, int MR, int NV, bool MASKED> struct SumKernel {
    static void run(const Block<T>& b, i64 r);
};
template <class T, int MR, int NV, bool MASKED> void SumKernel<T, MR, NV, MASKED>::run(const Block<T>& b, i64 r) {
    constexpr int L = LANES<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) acc[i][j] = b.first ? Vec<T>{} : load(b.sums + (r + i) * b.sums_row + j * L);
    for (i64 line = 0; line < b.lines; line++) {
        const T* row[MR];
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) row[i] = b.x + b.x_at[r + i] + line * b.x_line;
        rows_anywhere<T, MR, NV, MASKED>(acc, row, b.x_pixel, b.dy + line * b.dy_line, b.dy_pixel, b.pixels, b.tail);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) store(b.sums + (r + i) * b.sums_row + j * L, acc[i][j]);
}
template <class T, int MR, int NV> using SumShort = SumKernel<T, MR, NV, true>;
template <class T, int MR, int NV> using SumWhole = SumKernel<T, MR, NV, !NARROW>;  // a mask is free with AVX-512

// All rows of the weight and the slivers [s0, s1) of group g.
template <class T>
static void sum_block(const WeightCut& c, Block<T> b, const Window<T>& window, i64 g, i64 s0, i64 s1, T* sums,
                      const T* dy) {
    constexpr int L = LANES<T>;
    const Split slivers(c.padded / L, TILE_VECS), tiles(c.rows, TILE_ROWS);
    b.x = window.data + g * c.group_c;
    for (i64 s = s0; s < s1; s++) {
        const i64 column = slivers.begin(s) * L, left = c.group_f - column - (slivers.width(s) - 1) * L;
        b.tail = left < L ? int(left) : L;
        b.sums = sums + g * c.rows * c.padded + column;
        b.dy = dy + g * c.group_f + column;
        const auto run = [&](auto kernel, i64 first, int) { kernel(b, first); };
        b.tail == L ? for_tiles<SumWhole, T>(tiles, slivers.width(s), run) : for_tiles<SumShort, T>(tiles, slivers.width(s), run);
    }
}

// Where the rows (ky, kx, c) of the weight read, from the pixel's place in the window.
static void list_rows(const Conv& job, const WeightCut& c, i64 pitch, i64* x_at) {
    for (i64 ky = 0; ky < job.kh; ky++)
        for (i64 kx = 0; kx < job.kw; kx++)
            for (i64 channel = 0; channel < c.group_c; channel++)
                *x_at++ = ky * job.dilation_h * pitch + kx * job.dilation_w * job.c + channel;
}

template <class T> static void sum_part(const Conv& job, const WeightCut& c, i64 item) {
    const i64 part = item / c.chunks, s0 = item % c.chunks * job.chunk,
              s1 = s0 + job.chunk < c.slivers ? s0 + job.chunk : c.slivers;
    const Split parts(c.lines, ceil_div(c.lines, job.parts));
    T* sums = static_cast<T*>(job.scratch) + part * job.groups * c.rows * c.padded;
    if (part >= parts.parts) {  // fewer lines than parts have room for
        if (s0 == 0) memset(sums, 0, size_t(job.groups * c.rows * c.padded) * sizeof(T));
        return;
    }
    const i64 begin = parts.begin(part), end = begin + parts.width(part);
    i64* x_at = reinterpret_cast<i64*>(slot_of<T>(job));
    for (i64 line = begin; line < end;) {
        const i64 image = line / job.oh, p = line % job.oh;
        i64 lines = job.oh - p < job.block ? job.oh - p : job.block;
        if (lines > end - line) lines = end - line;
        const Window<T> window =
            window_of(reinterpret_cast<T*>(x_at + c.rows), static_cast<const T*>(job.x) + image * job.h * job.w * job.c,
                      job.h, job.w, job.c, p * job.stride_h - job.pad_h, -job.pad_w, window_h(job, lines), c.window_w);
        list_rows(job, c, window.pitch, x_at);
        Block<T> b = {};
        b.x_at = x_at;
        b.sums_row = c.padded;
        b.x_line = job.stride_h * window.pitch, b.x_pixel = job.stride_w * job.c;
        b.dy_line = job.ow * job.f, b.dy_pixel = job.f;
        b.lines = lines, b.pixels = job.ow;
        b.first = line == begin;
        const T* dy = static_cast<const T*>(job.dy) + line * job.ow * job.f;
        for (i64 g = 0; g < job.groups; g++) sum_block(c, b, window, g, s0, s1, sums, dy);
        line += lines;
    }
}

// ---- their sum -----------------------------------------------------------------------------------------------

// One vector of filters: dw[f][c, place] = sum over parts of sums[part][place, c][f], LANES numbers of each at a time.
template <class T> static void finish(const Conv& job, const WeightCut& c, i64 item) {
    constexpr int L = LANES<T>;
    const i64 g = item / (c.padded / L), column = item % (c.padded / L) * L, places = job.kh * job.kw;
    const int count = c.group_f - column < L ? int(c.group_f - column) : L;
    const T* sums = static_cast<const T*>(job.scratch) + g * c.rows * c.padded + column;
    T* dw = static_cast<T*>(job.out) + (g * c.group_f + column) * c.rows;
    for_vectors<T>(c.rows, [&](i64 r, int n) {
        T v[L * L];
        for (int i = 0; i < n; i++) {
            const T* sum = sums + ((r + i) % places * c.group_c + (r + i) / places) * c.padded;
            Vec<T> whole = load(sum);
            for (i64 part = 1; part < job.parts; part++) whole += load(sum + part * job.groups * c.rows * c.padded);
            store(v + i * L, whole);
        }
        vectors_to_rows(dw + r, c.rows, v, n, count);
    });
}

template <class T> void weight(const Conv& job, i64 begin, i64 end) {
    const WeightCut c = cut<T>(job);
    for (i64 item = begin; item < end; item++)
        if (job.stage == 1) sum_part<T>(job, c, item);
        else finish<T>(job, c, item);
}

template void weight_plan<float>(Conv&);
template void weight_plan<double>(Conv&);
template void weight_stage<float>(Conv&);
template void weight_stage<double>(Conv&);
template void weight<float>(const Conv&, i64, i64);
template void weight<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
