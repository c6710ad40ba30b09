// Every channel for itself: the channels are the lanes. With one multiplication for each load all depends on the cache: an image
// of 128 channels has its pixels 512 bytes apart, so that the 90 lines which a row of 3x3 windows reads of one vector of channels fall
// into 8 of the 64 sets of L1. So a block of a few vectors of channels is copied out first, [row][pixel][BLOCK], with the zeros
// around it, and what is slid over is dense.
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr int VECS = 2;           // of channels in a block
constexpr i64 WINDOW = 16 << 10;  // elements of a copied window, about: 64 KB
constexpr i64 MOST_PARTS = 16;

template <class T> constexpr i64 BLOCK = VECS * LANES<T>;

template <class T> static i64 blocks(const Conv& job) { return ceil_div(job.c, BLOCK<T>); }

// Channels [c0, c0 + count) of a window of an image, zeros beyond it and in the lanes beyond `count`.
template <class T>
static void copy_window(T* copy, const T* image, i64 h, i64 w, i64 c, i64 y0, i64 x0, i64 rows, i64 cols, i64 c0, i64 count) {
    constexpr int L = LANES<T>;
    for (i64 y = 0; y < rows; y++)
        for (i64 x = 0; x < cols; x++, copy += BLOCK<T>) {
            const bool inside = y0 + y >= 0 && y0 + y < h && x0 + x >= 0 && x0 + x < w;
            const T* from = image + ((y0 + y) * w + x0 + x) * c + c0;
#pragma GCC unroll 2
            for (int v = 0; v < VECS; v++) {
                const i64 left = inside ? count - v * L : 0;
                store(copy + v * L, left >= L ? load(from + v * L) : left > 0 ? load_first(from + v * L, int(left)) : Vec<T>{});
            }
        }
}

// ---- forward and input gradient ---------------------------------------------------------------------------------------

template <class T> static void images_plan(Conv& job) {
    const Walk walk(job);
    const i64 row = walk.x.window(walk.x.count) * BLOCK<T>;
    job.block = 1;
    while (job.block < walk.y.count && double(walk.y.window(job.block + 1)) * double(row) <= WINDOW) job.block++;
    job.stages = 2;
    job.prepared_size = bounded(double(job.kh * job.kw) * double(blocks<T>(job) * BLOCK<T>));
    job.scratch_size = 0;
    job.slot_size = bounded(double(walk.y.window(job.block)) * double(row) + double(job.kh * job.kw) * (16 / sizeof(T)) + 64);
}

struct Tap {
    i64 x, w;  // where it reads, from the pixel's place in the window; its row of the weight
};

// MR pixels of a row, all vectors of a block.
template <class T, int MR, int NV, bool MASKED> struct SlideKernel {
    static void run(T* out, i64 out_step, const T* in, i64 in_step, const Tap* taps, i64 count, const T* weight, i64 row, const T* bias,
                    i64 channels, bool relu) {
        constexpr int L = LANES<T>;
        Vec<T> acc[MR][VECS];
#pragma GCC unroll 2
        for (int j = 0; j < VECS; j++) {
            const i64 left = channels - j * L;
            const Vec<T> b = !bias || left <= 0 ? Vec<T>{} : left >= L ? load(bias + j * L) : load_first(bias + j * L, int(left));
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) acc[i][j] = b;
        }
        for (i64 t = 0; t < count; t++) {
            const T *x = in + taps[t].x, *w = weight + taps[t].w * row;
#pragma GCC unroll 2
            for (int j = 0; j < VECS; j++) {
                const Vec<T> wv = load(w + j * L);
#pragma GCC unroll 8
                for (int i = 0; i < MR; i++) acc[i][j] = fma<T>(load(x + i * in_step + j * L), wv, acc[i][j]);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 2
            for (int j = 0; j < VECS; j++) {
                const Vec<T> v = relu ? max<T>(Vec<T>{}, acc[i][j]) : acc[i][j];
                const i64 left = channels - j * L;
                if (left >= L) store(out + i * out_step + j * L, v);
                else if (left > 0) store_first(out + i * out_step + j * L, v, int(left));
            }
    }
};

// One block of channels of rows [j0, j1) of an image; `own` is the thread's scratch.
template <class T> static void slide(const Conv& job, const Walk& walk, i64 b, i64 j0, i64 j1, i64 block, T* own) {
    const i64 c0 = block * BLOCK<T>, channels = job.c - c0 < BLOCK<T> ? job.c - c0 : BLOCK<T>, row = blocks<T>(job) * BLOCK<T>;
    const i64 cols = walk.x.window(walk.x.count), rows = walk.y.window(j1 - j0);
    Tap* taps = reinterpret_cast<Tap*>(own);
    T* window = reinterpret_cast<T*>(taps + job.kh * job.kw);
    const T* image = static_cast<const T*>(walk.gradient ? job.dy : job.x) + b * walk.y.in * walk.x.in * job.c;
    copy_window(window, image, walk.y.in, walk.x.in, job.c, j0 * walk.y.step + walk.y.low, walk.x.low, rows, cols, c0, channels);
    T* out = static_cast<T*>(job.out) + b * walk.y.out * walk.x.out * job.c + c0;
    const T* bias = job.bias ? static_cast<const T*>(job.bias) + c0 : nullptr;
    const i64 in_step = walk.x.step * BLOCK<T>, out_step = walk.x.phases * job.c;
    for (i64 qy = 0; qy < walk.y.phases; qy++)
        for (i64 qx = 0; qx < walk.x.phases; qx++) {
            i64 count = 0;
            for (i64 ky = 0; ky < job.kh; ky++)
                for (i64 kx = 0; kx < job.kw; kx++)
                    if (walk.y.has(qy, ky) && walk.x.has(qx, kx))
                        taps[count++] = {((walk.y.offset(qy, ky) - walk.y.low) * cols + walk.x.offset(qx, kx) - walk.x.low) * BLOCK<T>,
                                         ky * job.kw + kx};
            const Split tiles(walk.x.outputs(qx), TILE_ROWS);
            for (i64 j = j0; j < j1 && j < walk.y.outputs(qy); j++)
                for_tiles<SlideKernel, T>(tiles, 1, false, [&](auto kernel, i64 i, int) {
                    kernel(out + ((j * walk.y.phases + qy) * walk.x.out + i * walk.x.phases + qx) * job.c, out_step,
                           window + (j - j0) * walk.y.step * cols * BLOCK<T> + i * in_step, in_step, taps, count,
                           static_cast<const T*>(job.prepared) + c0, row, bias, channels, job.relu);
                });
        }
}

// One place of the kernel for all channels: prepared is [place][channels in whole blocks].
template <class T> static void prepare(const Conv& job, i64 place) {
    const i64 row = blocks<T>(job) * BLOCK<T>;
    T* out = static_cast<T*>(job.prepared) + place * row;
    for (i64 c = 0; c < row; c++) out[c] = c < job.c ? static_cast<const T*>(job.weight)[c * job.kh * job.kw + place] : T(0);
}

// ---- weight gradient --------------------------------------------------------------------------------------------------

static i64 window_h(const Conv& job, i64 rows) { return (rows - 1) * job.stride_h + (job.kh - 1) * job.dilation_h + 1; }
static i64 window_w(const Conv& job) { return (job.ow - 1) * job.stride_w + (job.kw - 1) * job.dilation_w + 1; }

template <class T> static void weight_plan(Conv& job) {
    const double row = double(window_w(job)) * double(BLOCK<T>);
    job.block = 1;
    while (job.block < job.oh && double(window_h(job, job.block + 1)) * row <= WINDOW) job.block++;
    job.parts = job.batch < MOST_PARTS ? job.batch : MOST_PARTS;
    job.stages = 3;  // nothing, the sums of each part of the images, their sum
    job.prepared_size = 0;
    job.scratch_size = bounded(double(job.parts * job.kh * job.kw) * double(blocks<T>(job) * BLOCK<T>));
    job.slot_size = bounded(double(window_h(job, job.block)) * row + 16);
}

// sums[i] += x at tap i times dy, over a row of pixels, one vector of channels.
template <class T, int MR, int NV, bool MASKED> struct TapKernel {
    static void run(T* sums, i64 sums_row, const T* const* x, i64 x_line, i64 x_step, const T* dy, i64 dy_line, i64 dy_step, i64 lines,
                    i64 pixels, int lanes) {
        Vec<T> acc[MR];
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) acc[i] = load(sums + i * sums_row);
        for (i64 line = 0; line < lines; line++)
            for (i64 p = 0; p < pixels; p++) {
                const Vec<T> g = load_n(dy + line * dy_line + p * dy_step, lanes);
#pragma GCC unroll 8
                for (int i = 0; i < MR; i++) acc[i] = fma<T>(load(x[i] + line * x_line + p * x_step), g, acc[i]);
            }
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) store(sums + i * sums_row, acc[i]);
    }
};

// One block of channels of part `part` of the images.
template <class T> static void sum_part(const Conv& job, i64 part, i64 block) {
    constexpr int L = LANES<T>;
    const Split parts(job.batch, ceil_div(job.batch, job.parts)), taps(job.kh * job.kw, TILE_ROWS);
    const i64 c0 = block * BLOCK<T>, channels = job.c - c0 < BLOCK<T> ? job.c - c0 : BLOCK<T>, row = blocks<T>(job) * BLOCK<T>;
    const i64 cols = window_w(job), x_line = job.stride_h * cols * BLOCK<T>, x_step = job.stride_w * BLOCK<T>;
    T* sums = static_cast<T*>(job.scratch) + part * job.kh * job.kw * row + c0;
    T* window = slot_of<T>(job);
    for (i64 k = 0; k < job.kh * job.kw; k++)
        for (int v = 0; v < VECS; v++) store(sums + k * row + v * L, Vec<T>{});
    if (part >= parts.parts) return;
    for (i64 b = parts.begin(part); b < parts.begin(part) + parts.width(part); b++)
        for (i64 p = 0; p < job.oh; p += job.block) {
            const i64 lines = job.oh - p < job.block ? job.oh - p : job.block;
            copy_window(window, static_cast<const T*>(job.x) + b * job.h * job.w * job.c, job.h, job.w, job.c,
                        p * job.stride_h - job.pad_h, -job.pad_w, window_h(job, lines), cols, c0, channels);
            const T* dy = static_cast<const T*>(job.dy) + (b * job.oh + p) * job.ow * job.f + c0;
            for (int v = 0; v < VECS && v * L < channels; v++)
                for_tiles<TapKernel, T>(taps, 1, false, [&](auto kernel, i64 first, int height) {
                    const T* x[TILE_ROWS];
                    for (int i = 0; i < height; i++) {
                        const i64 ky = (first + i) / job.kw, kx = (first + i) % job.kw;
                        x[i] = window + (ky * job.dilation_h * cols + kx * job.dilation_w) * BLOCK<T> + v * L;
                    }
                    const i64 left = channels - v * L;
                    kernel(sums + first * row + v * L, row, x, x_line, x_step, dy + v * L, job.ow * job.f, job.f, lines, job.ow,
                           left < L ? int(left) : L);
                });
        }
}

template <class T> static void add_parts(const Conv& job, i64 place) {
    const i64 row = blocks<T>(job) * BLOCK<T>;
    const T* sums = static_cast<const T*>(job.scratch) + place * row;
    for (i64 c = 0; c < job.c; c++) {
        T v = sums[c];
        for (i64 part = 1; part < job.parts; part++) v += sums[part * job.kh * job.kw * row + c];
        static_cast<T*>(job.out)[c * job.kh * job.kw + place] = v;
    }
}

// ---- the door ---------------------------------------------------------------------------------------------------------

template <class T> void depthwise_plan(Conv& job) {
    job.way = CONV_DEPTHWISE;
    job.pass == CONV_WEIGHT ? weight_plan<T>(job) : images_plan<T>(job);
}

template <class T> void depthwise_stage(Conv& job) {
    const double work = 4.0 * double(job.batch * job.oh * job.ow) * double(job.kh * job.kw + 4) * double(job.c);
    if (job.pass == CONV_WEIGHT) job.items = job.stage == 0 ? 0 : job.stage == 1 ? job.parts * blocks<T>(job) : job.kh * job.kw;
    else job.items = job.stage == 0 ? job.kh * job.kw : job.batch * ceil_div(Walk(job).y.count, job.block);
    job.item_flops = job.stage == 1 ? work / double(job.items + (job.items == 0)) : 20.0 * double(job.c) * double(1 + job.parts);
}

template <class T> void depthwise(const Conv& job, i64 begin, i64 end) {
    if (job.pass == CONV_WEIGHT) {
        for (i64 item = begin; item < end; item++)
            job.stage == 1 ? sum_part<T>(job, item / blocks<T>(job), item % blocks<T>(job)) : add_parts<T>(job, item);
        return;
    }
    const Walk walk(job);
    const i64 row_blocks = ceil_div(walk.y.count, job.block);
    for (i64 item = begin; item < end; item++) {
        if (job.stage == 0) {
            prepare<T>(job, item);
            continue;
        }
        const i64 j0 = item % row_blocks * job.block, j1 = j0 + job.block < walk.y.count ? j0 + job.block : walk.y.count;
        for (i64 block = 0; block < blocks<T>(job); block++) slide(job, walk, item / row_blocks, j0, j1, block, slot_of<T>(job));
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
