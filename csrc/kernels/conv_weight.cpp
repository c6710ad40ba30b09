// The weight gradient by the definition: an outer product summed over pixels, on the same tile.
//
//   dw [row (ky, kx, c)][filter]  +=  sum over pixels  x[pixel + place (ky, kx), c]  dy[pixel, filter]
//
// MR rows times NV vectors of filters stay in registers while the pixels of a block of image rows go by. The pixels are
// cut into `parts` by the shapes alone; each part has sums of its own, and the last stages add them in order and turn
// them over to (f, c, ky, kx): the bits do not depend on the number of threads.
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

// Elements of x of a block of rows, about; or, because each block reads and writes all sums, what 256 pixels of output need,
// but no more than L2 holds.
constexpr i64 WINDOW = 16 << 10, PIXELS = 256, MOST_WINDOW = 48 << 10;
constexpr i64 MOST_SUMS = 4 << 20;  // elements of all parts' sums, about
constexpr i64 ADDED = 4096;         // of them that are added up at once
// Items, that many threads have something to share: up to 4 by cutting the filters, where each reads all of x, the rest by
// parts, which have sums of their own.
constexpr i64 WANTED = 16, MOST_CHUNKS = 4;

// Tiles whose rows of x are side by side at once, 96 KB for 256 pixels: what dy's sliver is in L1 for; and how far their pixels
// are apart. For fewer filters than 96 copying takes what it gains.
constexpr i64 PANELS = 12, PANEL_PIXEL = 8, LEAST_FILTERS = 96;
static_assert(TILE_ROWS <= PANEL_PIXEL, "a pixel of a panel has a tile's rows");

struct WeightCut {
    i64 rows, group_c, group_f, padded, slivers, chunks;  // rows: kh * kw * group_c, of the weight
    i64 lines;                                            // rows of output pixels, of all images
    i64 window_w;
    bool packed;
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
            (job.ow - 1) * job.stride_w + (job.kw - 1) * job.dilation_w + 1,
            NARROW && vecs * LANES<T> >= LEAST_FILTERS && group_c >= PANEL_PIXEL};
}

static i64 window_h(const Conv& job, i64 rows) { return (rows - 1) * job.stride_h + (job.kh - 1) * job.dilation_h + 1; }

// Elements of the packed operands of a block.
template <class T> static i64 room_of(const Conv& job, const WeightCut& c) {
    const double pixels = double(job.block) * double(job.ow);
    return c.packed ? bounded(pixels * double(c.padded + PANELS * PANEL_PIXEL)) + 2 * LANES<T> : 0;
}

template <class T> void weight_plan(Conv& job) {
    job.chunk = 1;
    const WeightCut c = cut<T>(job);
    const double sums = double(job.groups * c.padded) * double(c.rows);
    job.stages = 4;  // nothing, sums, their sum, turned over
    job.block = 1;
    while (job.block < job.oh && !(c.packed && job.block * job.ow >= PIXELS) &&
           double(window_h(job, job.block + 1)) * double(c.window_w) * double(job.c) <=
               double(job.block * job.ow < PIXELS ? MOST_WINDOW : WINDOW))
        job.block++;
    const i64 most_chunks = c.packed ? 1 : MOST_CHUNKS;
    job.parts = ceil_div(WANTED, c.slivers < most_chunks ? c.slivers + (c.slivers == 0) : most_chunks);
    job.parts = c.lines < job.parts ? c.lines : job.parts;
    while (job.parts > 1 && sums * double(job.parts) > MOST_SUMS) job.parts = ceil_div(job.parts, 2);
    job.chunk = c.slivers;
    while (job.chunk > 1 && job.parts * ceil_div(c.slivers, job.chunk) < WANTED) job.chunk = ceil_div(job.chunk, 2);
    job.prepared_size = 0;
    job.scratch_size = bounded(sums * double(job.parts));
    job.slot_size = bounded(double(window_h(job, job.block)) * double(c.window_w) * double(job.c) + double(room_of<T>(job, c)) +
                            8 / sizeof(T) * double(c.rows) + 16);
}

template <class T> void weight_stage(Conv& job) {
    const WeightCut c = cut<T>(job);
    const double sums = double(job.groups * c.padded) * double(c.rows);
    job.items = job.stage == 0   ? 0
                : job.stage == 1 ? job.parts * c.chunks
                : job.stage == 2 ? (job.parts > 1 ? ceil_div(job.groups * c.padded * c.rows, ADDED) : 0)
                                 : job.groups * c.padded / LANES<T>;
    const double flops = job.stage == 1 ? 2.0 * double(c.lines * job.ow) : job.stage == 2 ? 8.0 * double(job.parts) : 20.0;
    job.item_flops = flops * sums / double(job.items + (job.items == 0));
}

// ---- sums ----------------------------------------------------------------------------------------------------

// One block of output rows of one image, one sliver.
template <class T> struct Block {
    i64 sums_row;
    const T* x;  // the window, or a panel
    i64 x_line, x_pixel;
    const T* dy;  // at the sliver's first column
    i64 dy_line, dy_pixel;
    i64 lines, pixels;
    int tail;
    bool first;  // of this part: nothing to add to
};

template <class T, int MR, int NV, bool MASKED> struct SumKernel {
    static void run(const Block<T>& b, const i64* x_at, T* sums);
};
// x_at: where each of MR rows of the weight reads; sums [row][padded], at the first of them and the sliver's first column.
template <class T, int MR, int NV, bool MASKED>
void SumKernel<T, MR, NV, MASKED>::run(const Block<T>& b, const i64* x_at, T* sums) {
    constexpr int L = LANES<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) acc[i][j] = b.first ? Vec<T>{} : load(sums + i * b.sums_row + j * L);
    for (i64 line = 0; line < b.lines; line++) {
        const T* row[MR];
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) row[i] = b.x + x_at[i] + line * b.x_line;
        rows_anywhere<T, MR, NV, MASKED>(acc, row, b.x_pixel, b.dy + line * b.dy_line, b.dy_pixel, b.pixels, b.tail);
    }
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) store(sums + i * b.sums_row + j * L, acc[i][j]);
}
template <class T, int MR, int NV> using SumShort = SumKernel<T, MR, NV, true>;
template <class T, int MR, int NV> using SumWhole = SumKernel<T, MR, NV, !NARROW>;  // a mask is free with AVX-512

// All rows of the weight and the slivers [s0, s1) of a group whose sums and dy begin here.
template <class T>
static void sum_block(const WeightCut& c, Block<T> b, const i64* x_at, i64 s0, i64 s1, T* sums, const T* dy) {
    constexpr int L = LANES<T>;
    const Split slivers(c.padded / L, TILE_VECS), tiles(c.rows, TILE_ROWS);
    for (i64 s = s0; s < s1; s++) {
        const i64 column = slivers.begin(s) * L, left = c.group_f - column - (slivers.width(s) - 1) * L;
        b.tail = left < L ? int(left) : L;
        b.dy = dy + column;
        const auto run = [&](auto kernel, i64 r, int) { kernel(b, x_at + r, sums + r * c.padded + column); };
        if (b.tail == L) for_tiles<SumWhole, T>(tiles, slivers.width(s), run);
        else for_tiles<SumShort, T>(tiles, slivers.width(s), run);
    }
}

// dy of a block's pixels, slivers [s0, s1).
template <class T> static void pack_dy(const WeightCut& c, const Block<T>& b, i64 s0, i64 s1, const T* dy, T* out) {
    constexpr int L = LANES<T>;
    const Split slivers(c.padded / L, TILE_VECS);
    const i64 pixels = b.lines * b.pixels, first = slivers.begin(s0) * L;
    for (i64 p = 0; p < pixels; p++)
        for (i64 s = s0; s < s1; s++) {
            const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
            T* to = out + (column - first) * pixels + p * width;
            for (i64 j = 0; j < width; j += L) {
                const i64 left = c.group_f - column - j;
                store(to + j, load_n(dy + p * b.dy_pixel + column + j, left < L ? int(left) : L));
            }
        }
}

// The tiles [t0, t1) of one place in `lines` lines of a block from x on, its channel 0, to [tile][pixel][PANEL_PIXEL], tiles
// `panel` elements apart. A copy takes what follows a tile's rows too, but at the end of a line.
template <class T>
static void pack_panels(const Split& tiles, i64 t0, i64 t1, const Block<T>& b, const T* x, i64 lines, i64 panel, T* out) {
    const bool column = b.pixels == 1;
    const i64 pixels = column ? lines : b.pixels, step = column ? b.x_line : b.x_pixel;
    for (i64 line = 0; line < (column ? lines > 0 : lines); line++, x += b.x_line)
        for (i64 p = 0; p < pixels; p++, out += PANEL_PIXEL)
            for (i64 t = t0; t < t1; t++) {
                const T* from = x + p * step + tiles.begin(t);
                T* to = out + (t - t0) * panel;
                if (p + 1 < pixels) memcpy(to, from, PANEL_PIXEL * sizeof(T));
                else
                    for (int i = 0; i < tiles.width(t); i++) to[i] = from[i];
            }
}

// Lines of output in a block of `count` from line p0 on whose input for row ky of the kernel lies in the image.
struct Lines {
    i64 begin, end;
};
static Lines lines_inside(const Conv& job, i64 ky, i64 p0, i64 count) {
    const i64 at = ky * job.dilation_h - job.pad_h;
    const i64 first = ceil_div(at < 0 ? -at : 0, job.stride_h) - p0, stop = floor_div(job.h - 1 - at, job.stride_h) + 1 - p0;
    const i64 begin = first < 0 ? 0 : first < count ? first : count;
    return {begin, stop < begin ? begin : stop < count ? stop : count};
}

// The same as sum_block with both operands side by side in `room`, for a block from line p0 of its image on. Lines that lie
// above or below the image are left out.
template <class T>
static void sum_packed(const Conv& job, const WeightCut& c, const Block<T>& b, const i64* x_at, i64 p0, i64 s0, i64 s1, T* sums,
                       const T* dy, T* room) {
    constexpr int L = LANES<T>;
    constexpr i64 SIDE_BY_SIDE[] = {0, 1, 2, 3, 4, 5, 6, 7};
    const Split slivers(c.padded / L, TILE_VECS), tiles(c.group_c, TILE_ROWS);
    const i64 pixels = b.lines * b.pixels, panel = pixels * PANEL_PIXEL, first = slivers.begin(s0) * L;
    T* panels = room + c.padded * pixels;
    pack_dy(c, b, s0, s1, dy, room);
    for (i64 place = 0; place < job.kh * job.kw; place++) {
        const Lines lines = lines_inside(job, place / job.kw, p0, b.lines);
        T* place_sums = sums + place * c.group_c * c.padded;
        for (i64 t0 = 0; t0 < tiles.parts; t0 += PANELS) {
            const i64 t1 = t0 + PANELS < tiles.parts ? t0 + PANELS : tiles.parts;
            const T* x = b.x + x_at[place * c.group_c] + lines.begin * b.x_line;
            pack_panels(tiles, t0, t1, b, x, lines.end - lines.begin, panel, panels);
            for (i64 s = s0; s < s1; s++)
                for (i64 t = t0; t < t1; t++) {
                    const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
                    const T* sliver = room + (column - first) * pixels + lines.begin * b.pixels * width;
                    const Block<T> tile = {c.padded, panels + (t - t0) * panel, 0, PANEL_PIXEL, sliver, 0, width, 1,
                                           (lines.end - lines.begin) * b.pixels, L, b.first};
                    pick_kernel<SumWhole, T>(tiles.width(t), slivers.width(s))(tile, SIDE_BY_SIDE,
                                                                               place_sums + tiles.begin(t) * c.padded + column);
                }
        }
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
    T* room = slot_of<T>(job);
    i64* x_at = reinterpret_cast<i64*>(room + room_of<T>(job, c));
    for (i64 line = begin; line < end;) {
        const i64 image = line / job.oh, p = line % job.oh;
        i64 lines = job.oh - p < job.block ? job.oh - p : job.block;
        if (lines > end - line) lines = end - line;
        const Window<T> window =
            window_of(reinterpret_cast<T*>(x_at + c.rows), static_cast<const T*>(job.x) + image * job.h * job.w * job.c,
                      job.h, job.w, job.c, p * job.stride_h - job.pad_h, -job.pad_w, window_h(job, lines), c.window_w);
        list_rows(job, c, window.pitch, x_at);
        Block<T> b = {};
        b.sums_row = c.padded;
        b.x_line = job.stride_h * window.pitch, b.x_pixel = job.stride_w * job.c;
        b.dy_line = job.ow * job.f, b.dy_pixel = job.f;
        b.lines = lines, b.pixels = job.ow;
        if (job.ow == 1 && !c.packed) b.lines = 1, b.pixels = lines, b.x_pixel = b.x_line, b.dy_pixel = b.dy_line;
        b.first = line == begin;
        const T* dy = static_cast<const T*>(job.dy) + line * job.ow * job.f;
        for (i64 g = 0; g < job.groups; g++) {
            b.x = window.data + g * c.group_c;
            T* group_sums = sums + g * c.rows * c.padded;
            if (c.packed) sum_packed(job, c, b, x_at, p, s0, s1, group_sums, dy + g * c.group_f, room);
            else sum_block(c, b, x_at, s0, s1, group_sums, dy + g * c.group_f);
        }
        line += lines;
    }
}

// ---- their sum -----------------------------------------------------------------------------------------------

// A stretch of all sums, in the order of the parts: to the first part's.
template <class T> static void add_parts(const Conv& job, const WeightCut& c, i64 item) {
    const i64 all = job.groups * c.padded * c.rows, begin = item * ADDED, n = all - begin < ADDED ? all - begin : ADDED;
    T* sums = static_cast<T*>(job.scratch) + begin;
    for_vectors<T>(n, [&](i64 i, int count) {
        Vec<T> sum = load_n(sums + i, count);
        for (i64 part = 1; part < job.parts; part++) sum += load_n(sums + part * all + i, count);
        store_n(sums + i, sum, count);
    });
}

// One vector of filters: dw[f][c, place] = sums[place, c][f], LANES numbers of each at a time.
template <class T> static void turn_over(const Conv& job, const WeightCut& c, i64 item) {
    constexpr int L = LANES<T>;
    const i64 g = item / (c.padded / L), column = item % (c.padded / L) * L, places = job.kh * job.kw;
    const int count = c.group_f - column < L ? int(c.group_f - column) : L;
    const T* sums = static_cast<const T*>(job.scratch) + g * c.rows * c.padded + column;
    T* dw = static_cast<T*>(job.out) + (g * c.group_f + column) * c.rows;
    for_vectors<T>(c.rows, [&](i64 r, int n) {
        T v[L * L];
        for (int i = 0; i < n; i++)
            store(v + i * L, load(sums + ((r + i) % places * c.group_c + (r + i) / places) * c.padded));
        vectors_to_rows(dw + r, c.rows, v, n, count);
    });
}

template <class T> void weight(const Conv& job, i64 begin, i64 end) {
    const WeightCut c = cut<T>(job);
    for (i64 item = begin; item < end; item++)
        if (job.stage == 1) sum_part<T>(job, c, item);
        else if (job.stage == 2) add_parts<T>(job, c, item);
        else turn_over<T>(job, c, item);
}

template void weight_plan<float>(Conv&);
template void weight_plan<double>(Conv&);
template void weight_stage<float>(Conv&);
template void weight_stage<double>(Conv&);
template void weight<float>(const Conv&, i64, i64);
template void weight<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
