// What the ways of convolution share: how the places of the kernel meet the pixels, seen from the output.
#pragma once
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

INLINE i64 ceil_div(i64 a, i64 b) { return (a + b - 1) / b; }
INLINE i64 floor_div(i64 a, i64 b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// One axis of a pass that writes images. Outputs come in `phases`, p = j phases + q, and output j of phase q reads the
// inputs j step + offset(q, k) for the places k that its phase has. A convolution has one phase, all places and step =
// stride; the gradient to its input (and the transposed convolution) has `stride` phases, each with some of the places,
// and step 1.
struct Axis {
    i64 in, out, kernel, stride, pad, dilation;
    bool gradient;
    i64 phases, step, count;  // count: of j, the most that a phase has
    i64 low, high;            // the least and the greatest offset there is

    Axis(i64 in, i64 out, i64 kernel, i64 stride, i64 pad, i64 dilation, bool gradient)
        : in(in),
          out(out),
          kernel(kernel),
          stride(stride),
          pad(pad),
          dilation(dilation),
          gradient(gradient),
          phases(gradient ? stride : 1),
          step(gradient ? 1 : stride),
          count(ceil_div(out, phases)) {
        const i64 reach = (kernel - 1) * dilation;
        low = gradient ? floor_div(pad - reach, stride) : -pad;
        high = gradient ? floor_div(pad + stride - 1, stride) : reach - pad;
    }
    bool has(i64 q, i64 k) const { return !gradient || (q + pad - k * dilation) % stride == 0; }
    i64 offset(i64 q, i64 k) const { return gradient ? (q + pad - k * dilation) / stride : k * dilation - pad; }
    i64 outputs(i64 q) const { return q < out ? ceil_div(out - q, phases) : 0; }
    i64 window(i64 n) const {
        return n ? (n - 1) * step + high - low + 1 : 0;
    }  // inputs that n outputs of a phase span
    // The outputs j of phase q, [first, end), whose input for place k lies in the image.
    i64 first_inside(i64 q, i64 k) const { return offset(q, k) < 0 ? ceil_div(-offset(q, k), step) : 0; }
    i64 end_inside(i64 q, i64 k) const {
        const i64 left = in - offset(q, k), end = left > 0 ? ceil_div(left, step) : 0;
        return end < outputs(q) ? end : outputs(q);
    }
};

// Every channel for itself.
INLINE bool is_depthwise(const Conv& job) { return job.groups > 1 && job.c == job.groups && job.f == job.groups; }

// The images a pass reads (in) and writes (out): a convolution goes from x to y, the input gradient from dy to dx.
struct Walk {
    bool gradient;
    i64 in_c, out_c, group_in, group_out;
    Axis y, x;
    explicit Walk(const Conv& job)
        : gradient(job.pass == CONV_INPUT),
          in_c(gradient ? job.f : job.c),
          out_c(gradient ? job.c : job.f),
          group_in(in_c / job.groups),
          group_out(out_c / job.groups),
          y(gradient ? job.oh : job.h, gradient ? job.h : job.oh, job.kh, job.stride_h, job.pad_h, job.dilation_h,
            gradient),
          x(gradient ? job.ow : job.w, gradient ? job.w : job.ow, job.kw, job.stride_w, job.pad_w, job.dilation_w,
            gradient) {}
};

// Slivers of the weight of a pass that writes images: pairs of vectors, with a third where one is left over. In threes, as
// matmul has them, two threads had six and two of the eight vectors of 128 filters: C128 H16 takes 0.85 of the time, C256 H8 and
// C512 H7 0.91 to 0.95, and one thread what it did.
constexpr int SLIVER = 2;
inline Split slivers_of(i64 vecs) {
    return TILE_VECS > SLIVER && vecs > 1 ? Split::in_parts(vecs, vecs / SLIVER) : Split(vecs, SLIVER);
}

// A window of an image, zeros where it reaches beyond: pixel (y0, x0) of the image lies at `data`, rows `pitch`
// elements apart.
template <class T> struct Window {
    const T* data;
    i64 pitch;
};

// The window of `rows` x `cols` pixels at (y0, x0) of an image (h, w, c): the image itself where it lies inside, else a
// copy.
template <class T>
static Window<T> window_of(T* copy, const T* image, i64 h, i64 w, i64 c, i64 y0, i64 x0, i64 rows, i64 cols) {
    if (y0 >= 0 && y0 + rows <= h && x0 >= 0 && x0 + cols <= w) return {image + (y0 * w + x0) * c, w * c};
    const i64 left = x0 < 0 ? (-x0 < cols ? -x0 : cols) : 0;
    const i64 stop = x0 + cols > w ? (w - x0 > left ? w - x0 : left) : cols;
    for (i64 r = 0; r < rows; r++) {
        T* row = copy + r * cols * c;
        const bool inside = y0 + r >= 0 && y0 + r < h;
        const i64 first = inside ? left : cols, last = inside ? stop : cols;
        for_vectors<T>(first * c, [&](i64 i, int n) { store_n(row + i, Vec<T>{}, n); });
        const T* from = image + ((y0 + r) * w + x0 + first) * c;
        for_vectors<T>((last - first) * c, [&](i64 i, int n) { store_n(row + first * c + i, load_n(from + i, n), n); });
        for_vectors<T>((cols - last) * c, [&](i64 i, int n) { store_n(row + last * c + i, Vec<T>{}, n); });
    }
    return {copy, cols * c};
}

// The scratch of the thread that asks.
template <class T> static T* slot_of(const Conv& job) {
    return static_cast<T*>(job.scratch) + job.scratch_size + job.slot() * job.slot_size;
}

// What of the weight is used next comes to L2 while a kernel works on what is there, with each step of k what a step uses: 32
// steps' lines at once kept the multiplications waiting (C512 H4 takes 0.87 of the time, C256 H14 0.9, C256 H8 0.93). Weights
// that lie in memory are too many for L2, and a stream of them ends every 4 KB for the hardware: with AVX2 C256 H8 by 2 x 2 tiles
// takes 443 us instead of 589, C512 H7 1.64 ms instead of 2.26. Every other line is not enough: a ResNet-10 takes 1.1 then.
template <class T, int NV = 1> struct Ahead {
    static constexpr i64 LINE = 64 / sizeof(T), LINES = (NV * LANES<T> + LINE - 1) / LINE;
    const T* next;
    i64 step;  // elements with each step of k

    explicit Ahead(const T* here) : next(here), step(0) {}  // nothing: a line that is there
    // As many rows of `width` elements as the kernels make steps of k, of whom `tiles` share them.
    Ahead(const T* next, i64 width, i64 tiles) : next(next), step(ceil_div(width, tiles)) {}
    template <int OTHER> explicit Ahead(const Ahead<T, OTHER>& other) : next(other.next), step(other.step) {}
    INLINE void operator()(const T*) {
#pragma GCC unroll 4
        for (i64 i = 0; i < LINES; i++) __builtin_prefetch(next + i * LINE, 0, 2);
        next += step;
    }
};

// So few tiles of Winograd's meet a weight's every element that making and moving that costs more than the products: whoever
// does not keep the transformed weight uses it, block by block, where it was made.
constexpr i64 FEW = TILE_ROWS;
// Forward and input gradient do so, in larger blocks, up to here. C512 H14 takes 0.75 of the time, C256 H14 0.8, 36 tiles of C256
// 0.95, of C64 1.05.
constexpr i64 SOME = 36;
// A weight gradient goes by rows up to here (winograd_rows.cpp): of 14 x 14 outputs (16 tiles) C = 256 takes 0.95 of the time, of
// 12 x 12 (9) 0.9, of 16 x 16 (16) 0.95, with C = 64 1.04, and of 18 x 18 (25) 1.2.
constexpr i64 BY_ROWS = 16;

// For a pool, lane by lane: NaN stays.
template <class T> INLINE Vec<T> greater(Vec<T> a, Vec<T> b) { return select<T>((a > b) | (a != a), a, b); }

// A size in elements that no memory has, in place of one that does not fit a number.
INLINE i64 bounded(double elements) { return elements < double(i64(1) << 48) ? i64(elements) : i64(1) << 48; }

// The ways: each plans (way, stages, sizes), says the items of job.stage, and computes some.
template <class T> void direct_plan(Conv& job);  // conv_direct.cpp: CONV_FORWARD, CONV_INPUT
template <class T> void direct_stage(Conv& job);
template <class T> void direct(const Conv& job, i64 begin, i64 end);
template <class T> void weight_plan(Conv& job);  // conv_weight.cpp: CONV_WEIGHT
template <class T> void weight_stage(Conv& job);
template <class T> void weight(const Conv& job, i64 begin, i64 end);
template <class T> void depthwise_plan(Conv& job);  // conv_depthwise.cpp: CONV_FORWARD, CONV_INPUT
template <class T> void depthwise_stage(Conv& job);
template <class T> void depthwise(const Conv& job, i64 begin, i64 end);
template <class T> void depthwise_weight_plan(Conv& job);  // conv_depthwise_weight.cpp: CONV_WEIGHT
template <class T> void depthwise_weight_stage(Conv& job);
template <class T> void depthwise_weight(const Conv& job, i64 begin, i64 end);

}  // namespace FASTNN_ISA
}  // namespace fastnn
