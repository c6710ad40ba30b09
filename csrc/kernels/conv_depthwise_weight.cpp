// The weight gradient of a depthwise convolution. The channels are the lanes: the sums of nine places, a vector each, stay in
// registers while the pixels of a block go by, and each of dy meets nine inputs. An item is a cache line of channels. What a
// block reads of x is copied to where its pixels lie one line apart: so it stays in L1 however many channels there are, and has
// zeros beside the image.
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 ITEMS = 16;                                // about
constexpr i64 COLUMNS = 32;                              // of dy in a block, at most
constexpr i64 WINDOW = 16 << 10;                         // bytes of x of a block, about: half of L1
constexpr i64 PIXELS = 64;                               // of dy that stay in L1, about
constexpr int TAPS = 9;                                  // whose sums are in registers at once
template <class T> constexpr i64 LINE = 64 / sizeof(T);  // channels
template <class T> static i64 lines_of(const Conv& job) { return ceil_div(job.c, LINE<T>); }

// Inputs that n outputs span.
static i64 window_h(const Conv& job, i64 n) { return (n - 1) * job.stride_h + (job.kh - 1) * job.dilation_h + 1; }
static i64 window_w(const Conv& job, i64 n) { return (n - 1) * job.stride_w + (job.kw - 1) * job.dilation_w + 1; }

template <class T> void depthwise_weight_plan(Conv& job) {
    job.pool = false;
    const i64 columns = job.ow < COLUMNS ? job.ow : COLUMNS;
    job.block = 1;
    const double row = double(window_w(job, columns)) * 64;
    while (job.block < job.oh && double(window_h(job, job.block + 1)) * row <= WINDOW) job.block++;
    const i64 blocks = job.batch * ceil_div(job.oh, job.block);
    job.parts = blocks < ITEMS ? blocks : ITEMS;
    job.chunk = ceil_div(lines_of<T>(job) * job.parts, ITEMS);
    job.stages = 3;  // nothing, the sums of each part of the blocks, their sum
    job.prepared_size = 0;
    job.scratch_size = bounded(double(job.parts * lines_of<T>(job) * LINE<T>) * double(job.kh * job.kw));
    job.slot_size = bounded(double(window_h(job, job.block)) * double(window_w(job, columns)) * LINE<T>);
}

template <class T> void depthwise_weight_stage(Conv& job) {
    const double work = 2.0 * double(job.batch * job.oh * job.ow) * double(job.kh * job.kw + 4) * double(job.c);
    job.items = job.stage == 0 ? 0 : job.stage == 1 ? job.parts * ceil_div(lines_of<T>(job), job.chunk) : lines_of<T>(job);
    const double sums = 2.0 * double(job.kh * job.kw * LINE<T> * job.parts);
    job.item_flops = job.stage == 1 ? work / double(job.items + (job.items == 0)) : sums;
}

// Rows of dy and of the window, and how far their pixels lie apart; of the vector `lanes`. While they are read, what the next
// step reads, `ahead` of them, comes to L2: pixel by pixel a line, which the hardware does not foresee.
template <class T> struct Block {
    const T *x, *dy;
    i64 rows, columns, x_row, x_step, dy_row, dy_step, ahead;
    int lanes;
};

// sums[i] += x at offset i times dy, pixel by pixel.
template <class T, int N> struct TapKernel {
    static void run(const Block<T>& of, T* sums, i64 sum_step, const i64* offsets) {
        const Block<T> s = of;
        Vec<T> acc[N];
        const T* x[N];
#pragma GCC unroll 9
        for (int i = 0; i < N; i++) acc[i] = load(sums + i * sum_step), x[i] = s.x + offsets[i];
        for (i64 row = 0; row < s.rows; row++) {
            i64 at = row * s.x_row;
            const T *dy = s.dy + row * s.dy_row, *end = dy + s.columns * s.dy_step;
            for (; dy != end; at += s.x_step, dy += s.dy_step) {
                __builtin_prefetch(dy + s.ahead, 0, 2);
                const Vec<T> g = load_n(dy, s.lanes);
#pragma GCC unroll 9
                for (int i = 0; i < N; i++) acc[i] = fma<T>(load(x[i] + at), g, acc[i]);
            }
        }
#pragma GCC unroll 9
        for (int i = 0; i < N; i++) store(sums + i * sum_step, acc[i]);
    }
};
template <class T, int N = TAPS> static auto pick_taps(int n) -> decltype(&TapKernel<T, 1>::run) {
    if constexpr (N > 1) return n == N ? TapKernel<T, N>::run : pick_taps<T, N - 1>(n);
    else return TapKernel<T, 1>::run;
}

// A line of channels, of which `channels` there are, of (rows, columns) pixels from (y0, x0) on; zeros beside the image.
template <class T>
static void copy_window(T* to, const Conv& job, const T* image, i64 y0, i64 x0, i64 rows, i64 columns, i64 channels,
                        i64 ahead) {
    const i64 left = x0 < 0 ? -x0 : 0, end = job.w - x0 < columns ? job.w - x0 : columns;
    for (i64 y = y0; y < y0 + rows; y++, to += columns * LINE<T>) {
        const bool inside = y >= 0 && y < job.h;
        const i64 first = inside && left < columns ? left : columns, last = inside && end > first ? end : first;
        for (i64 i = 0; i < first * LINE<T>; i += LANES<T>) store(to + i, Vec<T>{});
        const T* from = image + (y * job.w + x0 + first) * job.c;
        for (i64 x = first; x < last; x++, from += job.c) {
            __builtin_prefetch(from + ahead, 0, 2);
            for_vectors<T>(channels, [&](i64 i, int n) { store(to + x * LINE<T> + i, load_n(from + i, n)); });
        }
        for (i64 i = last * LINE<T>; i < columns * LINE<T>; i += LANES<T>) store(to + i, Vec<T>{});
    }
}

// sums [place][LINE] += what a block gives, its channels from 0 on. A few rows at a time, so that dy stays in L1 for all.
template <class T> static void sum_rows(const Conv& job, T* sums, Block<T> block, i64 pitch, i64 channels) {
    const Split groups(job.kh * job.kw, TAPS), few(block.rows, PIXELS > block.columns ? PIXELS / block.columns : 1);
    i64 offsets[TAPS];
    const T *x = block.x, *dy = block.dy;
    for (i64 row = 0; row < few.parts; row++)
        for (i64 group = 0; group < groups.parts; group++) {
            const i64 first = groups.begin(group);
            const int n = groups.width(group);
            for (i64 k = first; k < first + n; k++)
                offsets[k - first] = k / job.kw * job.dilation_h * pitch + k % job.kw * job.dilation_w * LINE<T>;
            for_vectors<T>(channels, [&](i64 i, int lanes) {
                block.x = x + few.begin(row) * block.x_row + i, block.dy = dy + few.begin(row) * block.dy_row + i;
                block.rows = few.width(row), block.lanes = lanes;
                pick_taps<T>(n)(block, sums + first * LINE<T> + i, LINE<T>, offsets);
            });
        }
}

// One step of a part: a line of channels, at c, of columns [q, q + columns) of rows [p, p + rows) of dy of image b.
struct Step {
    i64 line, c, b, p, rows, q, columns;
    i64 x(const Conv& job) const { return ((b * job.h + p * job.stride_h) * job.w + q * job.stride_w) * job.c + c; }
    i64 dy(const Conv& job) const { return ((b * job.oh + p) * job.ow + q) * job.c + c; }
};

template <class T> static void sum_step(const Conv& job, T* sums, const Step& s, const Step& next) {
    const i64 channels = job.c - s.c < LINE<T> ? job.c - s.c : LINE<T>, width = window_w(job, s.columns), pitch = width * LINE<T>;
    T* window = slot_of<T>(job);
    copy_window(window, job, static_cast<const T*>(job.x) + s.b * job.h * job.w * job.c + s.c, s.p * job.stride_h - job.pad_h,
                s.q * job.stride_w - job.pad_w, window_h(job, s.rows), width, channels, next.x(job) - s.x(job));
    const i64 at = s.dy(job), ahead = next.dy(job) - at, x_row = job.stride_h * pitch, x_step = job.stride_w * LINE<T>;
    const T* dy = static_cast<const T*>(job.dy) + at;
    sum_rows<T>(job, sums, {window, dy, s.rows, s.columns, x_row, x_step, job.ow * job.c, job.c, ahead, 0}, pitch, channels);
}

// The sums of some lines of channels, [line][place][LINE], over one part of the blocks: all lines of one before the next.
template <class T> static void sum_part(const Conv& job, i64 part, i64 first) {
    const i64 down = ceil_div(job.oh, job.block), size = job.kh * job.kw * LINE<T>, all = lines_of<T>(job),
              lines = all - first < job.chunk ? all - first : job.chunk;
    const Split parts(job.batch * down, ceil_div(job.batch * down, job.parts)), across(job.ow, COLUMNS);
    T* sums = static_cast<T*>(job.scratch) + (part * all + first) * size;
    memset(sums, 0, size_t(lines * size) * sizeof(T));
    if (part >= parts.parts) return;
    const auto step = [&](i64 i) {
        const i64 line = i % lines, q = i / lines % across.parts, block = parts.begin(part) + i / lines / across.parts,
                  p = block % down * job.block, rows = job.oh - p < job.block ? job.oh - p : job.block;
        return Step{line, (first + line) * LINE<T>, block / down, p, rows, across.begin(q), across.width(q)};
    };
    const i64 steps = parts.width(part) * across.parts * lines;
    for (i64 i = 0; i < steps; i++) {
        const Step now = step(i);
        sum_step<T>(job, sums + now.line * size, now, step(i + 1 < steps ? i + 1 : i));
    }
}

template <class T> static void add_parts(const Conv& job, i64 line) {
    const i64 places = job.kh * job.kw, step = lines_of<T>(job) * places * LINE<T>, c = line * LINE<T>;
    for (i64 place = 0; place < places; place++) {
        const T* from = static_cast<const T*>(job.scratch) + (line * places + place) * LINE<T>;
        T sum[LINE<T>] = {};
        for (i64 part = 0; part < job.parts; part++, from += step)
            for (i64 i = 0; i < LINE<T>; i += LANES<T>) store(sum + i, load(sum + i) + load(from + i));
        for (i64 i = 0; i < LINE<T> && c + i < job.c; i++) static_cast<T*>(job.out)[(c + i) * places + place] = sum[i];
    }
}

template <class T> void depthwise_weight(const Conv& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++)
        job.stage == 1 ? sum_part<T>(job, item % job.parts, item / job.parts * job.chunk) : add_parts<T>(job, item);
}

template void depthwise_weight_plan<float>(Conv&);
template void depthwise_weight_plan<double>(Conv&);
template void depthwise_weight_stage<float>(Conv&);
template void depthwise_weight_stage<double>(Conv&);
template void depthwise_weight<float>(const Conv&, i64, i64);
template void depthwise_weight<double>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
