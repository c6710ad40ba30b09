// The input gradient of a convolution (and so the transposed convolution) as a product and a fold: each pixel of dy times the
// whole weight gives c windows of kh x kw, which are added up where they overlap. By the definition, on tiles of channels, 3
// channels fill 3 lanes of 8, and from one pixel 15 of 16 taps of a 4 x 4 kernel read zeros: a DCGAN's last layer takes 100 us
// instead of 257, its first one 90 instead of 324, which is about what reading its weight takes.
#include "launch_fold.h"

#include <math.h>

#include "launch.h"

namespace fastnn {

constexpr double LANES = 8, ADD_NS = 0.7;  // about; ADD_NS: of a number that is folded
constexpr i64 COLUMNS = 1 << 18;           // of what is folded at once: 1 MB, which stays in L2 or nearly

static double whole(i64 n) { return double((n + i64(LANES) - 1) / i64(LANES)) * LANES; }

bool is_folded(const Conv& job) {
    const bool apart = job.stride_h > 1 || job.stride_w > 1 || job.oh * job.ow <= 1;  // the pixels' windows
    if (job.pass != CONV_INPUT || job.groups > 1 || !apart) return false;
    const double taps = double(job.kh * job.kw), pixels = double(job.oh * job.ow);
    const double direct = double(job.h * job.w) * taps / double(job.stride_h * job.stride_w) * double(job.f) * whole(job.c);
    const double product = pixels * double(job.f) * whole(job.kh * job.kw * job.c);
    return product + pixels * taps * double(job.c) * ADD_NS * FLOPS_PER_NS / 2 < direct;
}

// Images from `image` on; columns: (their pixels of dy, c, kh, kw).
struct Fold {
    const Conv& conv;
    const void* columns;
    i64 image;
};

// The q in [0, n) for which q step + at lies in [0, size).
struct Range {
    i64 begin, end;
};
static Range range_of(i64 n, i64 step, i64 at, i64 size) {
    const i64 begin = at < 0 ? (step - 1 - at) / step : 0, end = size > at ? (size - at + step - 1) / step : 0;
    return {begin, end < n ? end : n};
}

// What one row of dy adds to a row of dx as its taps ky: tap by tap, so that no addition waits for the one before.
template <class T> static void fold_row(const Conv& conv, const T* columns, i64 ky, T* out) {
    const i64 taps = conv.kh * conv.kw, pixel = conv.c * taps, step = conv.stride_w * conv.c;
    for (i64 kx = 0; kx < conv.kw; kx++) {
        const i64 at = kx * conv.dilation_w - conv.pad_w;
        const Range range = range_of(conv.ow, conv.stride_w, at, conv.w);
        for (i64 c = 0; c < conv.c; c++) {
            const T* from = columns + c * taps + ky * conv.kw + kx;
            T* to = out + at * conv.c + c;
            for (i64 q = range.begin; q < range.end; q++) to[q * step] += from[q * pixel];
        }
    }
}

template <class T> static void fold(const Fold& job, i64 begin, i64 end) {  // items: rows of dx
    const Conv& conv = job.conv;
    const i64 row = conv.w * conv.c, from_row = conv.ow * conv.c * conv.kh * conv.kw;
    for (i64 item = begin; item < end; item++) {
        T* out = static_cast<T*>(conv.out) + (job.image * conv.h + item) * row;
        const T* columns = static_cast<const T*>(job.columns) + item / conv.h * conv.oh * from_row;
        const T* bias = static_cast<const T*>(conv.bias);
        for (i64 i = 0; i < row; i += conv.c)
            for (i64 c = 0; c < conv.c; c++) out[i + c] = bias ? bias[c] : T(0);
        for (i64 ky = 0; ky < conv.kh; ky++) {
            const i64 at = item % conv.h + conv.pad_h - ky * conv.dilation_h, p = at / conv.stride_h;
            if (at >= 0 && at % conv.stride_h == 0 && p < conv.oh) fold_row(conv, columns + p * from_row, ky, out);
        }
        const T most = conv.activation == RELU6 ? T(6) : T(INFINITY);
        for (i64 i = 0; conv.activation != COPY && i < row; i++) out[i] = out[i] < 0 ? T(0) : out[i] > most ? most : out[i];
    }
}

bool run_conv_folded(int dtype, Conv& job, void* const* kept, void*& made) {
    const i64 n = job.c * job.kh * job.kw, per_image = job.oh * job.ow * n, size = item_size(dtype);
    const i64 images = per_image < COLUMNS ? COLUMNS / per_image : 1, most = images < job.batch ? images : job.batch;
    const Scratch scratch(most * per_image * size);
    void* const columns = scratch.memory;
    void* packed = kept ? kept[CONV_MATMUL] : nullptr;
    const bool had = packed != nullptr;
    bool done = columns != nullptr;
    for (i64 image = 0; image < job.batch && done; image += most) {
        const i64 count = job.batch - image < most ? job.batch - image : most;
        Matmul product = {};
        product.activation = COPY;
        product.c = columns;
        product.a = static_cast<const char*>(job.dy) + image * job.oh * job.ow * job.f * size;
        product.b = job.weight;  // (f, c kh kw)
        product.m = count * job.oh * job.ow, product.k = product.a_row = job.f, product.n = product.c_row = product.b_row = n;
        product.a_col = product.b_col = 1, product.kept = true;
        done = run_matmul_keeping(dtype, product, packed);
        if (!done) break;
        const Fold rows = {job, columns, image};
        const double cost = ADD_NS * double(count * per_image) / double(count * job.h);
        launch(dtype == F32 ? fold<float> : fold<double>, rows, count * job.h, cost);
    }
    if (!had) made = packed;
    return done;
}

}  // namespace fastnn
