// Windows and sampling points of images: the sizes that come out, and the checks that keep the kernels inside their arrays.
// For the bindings and the ops alike.
#pragma once
#include <memory>
#include <new>

#include "kernels.h"

namespace fastnn {

constexpr i64 MOST_PIXELS = (i64(1) << 31) - 1;  // along an axis, in kernel, stride and dilation: no product overflows

// Fills axis.out by PyTorch's rule. Null, or what is wrong.
inline const char* plan_pool_axis(PoolAxis& axis, bool ceil_mode) {
    if (axis.kernel < 1 || axis.kernel > MOST_PIXELS) return "kernel_size must be 1 to 2**31 - 1";
    if (axis.stride < 1 || axis.stride > MOST_PIXELS) return "stride must be 1 to 2**31 - 1";
    if (axis.dilation < 1 || axis.dilation > MOST_PIXELS) return "dilation must be 1 to 2**31 - 1";
    if (axis.padding < 0 || axis.padding > axis.kernel / 2) return "padding must be 0 to half of kernel_size";
    if (axis.size < 1) return "the images have no pixels";
    const i64 rounding = ceil_mode ? axis.stride - 1 : 0;
    const i64 reach = axis.size + 2 * axis.padding - axis.dilation * (axis.kernel - 1) - 1 + rounding;
    if (reach < 0) return "a window is larger than the padded image";
    axis.out = reach / axis.stride + 1;
    if (ceil_mode && (axis.out - 1) * axis.stride >= axis.size + axis.padding) axis.out--;  // it would begin in the padding
    if (axis.size < axis.dilation)  // else a window that begins before the image has a tap among its first `dilation` pixels
        for (i64 q = 0; q < axis.out && q * axis.stride < axis.padding; q++) {
            const i64 before = axis.padding - q * axis.stride;
            if ((axis.dilation - before % axis.dilation) % axis.dilation >= axis.size) return "a window holds no pixel";
        }
    return nullptr;
}

inline const char* plan_pool(Pooling& job, bool ceil_mode) {
    job.adaptive = false;
    if (const char* wrong = plan_pool_axis(job.rows, ceil_mode)) return wrong;
    if (const char* wrong = plan_pool_axis(job.cols, ceil_mode)) return wrong;
    return job.rows.kernel > MOST_PIXELS / job.cols.kernel ? "kernel_size has more than 2**31 - 1 taps" : nullptr;
}

// The adaptive windows of rows.out x cols.out; common windows where the sizes divide.
inline const char* plan_adaptive_pool(Pooling& job) {
    PoolAxis* axes[2] = {&job.rows, &job.cols};
    job.adaptive = false;
    for (PoolAxis* axis : axes) {
        if (axis->out < 1 || axis->out > MOST_PIXELS) return "output_size must be 1 to 2**31 - 1";
        if (axis->size < 1) return "the images have no pixels";
        axis->padding = 0;
        axis->dilation = 1;
        axis->stride = axis->kernel = axis->size / axis->out;
        job.adaptive |= axis->size % axis->out != 0;
    }
    if (job.adaptive)  // from floor(q size / out) up to ceil((q + 1) size / out): at most size / out + 2
        for (PoolAxis* axis : axes) axis->kernel += 2;
    return job.rows.kernel > MOST_PIXELS / job.cols.kernel ? "a window has more than 2**31 - 1 taps" : nullptr;
}

inline bool byte_taps(const Pooling& job) { return job.rows.kernel * job.cols.kernel <= 256; }

// ---- resampling ----

enum Sampling { NEAREST, NEAREST_EXACT, LINEAR, LINEAR_CORNERS };

// The tables an axis points to.
struct ResizeTables {
    std::unique_ptr<i64[]> index, first;
    std::unique_ptr<double[]> weight;
};

// Source coordinates as PyTorch computes them, in T. scale_factor 0: out / size.
template <class T>
inline void fill_resize_tables(const ResizeAxis& axis, int how, double scale_factor, ResizeTables& tables) {
    T step = scale_factor > 0 ? T(1 / scale_factor) : T(axis.size) / T(axis.out);
    if (how == LINEAR_CORNERS) step = axis.out > 1 ? T(axis.size - 1) / T(axis.out - 1) : T(0);
    for (i64 q = 0; q < axis.out; q++) {
        T at = T(q) * step;
        if (how == NEAREST_EXACT) at = (T(q) + T(0.5)) * step;
        if (how == LINEAR) at = step * (T(q) + T(0.5)) - T(0.5);
        if (!(at > 0)) at = 0;
        i64 i = at < T(axis.size) ? i64(at) : axis.size - 1;
        if (i > axis.size - 1) i = axis.size - 1;  // T(size) may be rounded
        tables.index[q] = i;
        if (how < LINEAR) continue;
        if (axis.out == axis.size) {  // a copy, whatever scale_factor says
            tables.index[q] = q;
            tables.weight[q] = 0;
            continue;
        }
        const T weight = at - T(i);
        tables.weight[q] = double(weight < 0 ? T(0) : weight > 1 ? T(1) : weight);
    }
}

// Fills axis from axis.size and axis.out, both at least 1. False: there is no memory for that.
inline bool plan_resize(ResizeAxis& axis, int dtype, int how, double scale_factor, ResizeTables& tables) {
    tables.index.reset(new (std::nothrow) i64[size_t(axis.out)]);
    tables.first.reset(new (std::nothrow) i64[size_t(axis.size) + 1]);
    tables.weight.reset(how < LINEAR ? nullptr : new (std::nothrow) double[size_t(axis.out)]);
    if (!tables.index || !tables.first || (how >= LINEAR && !tables.weight)) return false;
    dtype == F32 ? fill_resize_tables<float>(axis, how, scale_factor, tables)
                 : fill_resize_tables<double>(axis, how, scale_factor, tables);
    i64 q = 0;
    for (i64 i = 0; i <= axis.size; i++) {
        while (q < axis.out && tables.index[q] < i) q++;
        tables.first[i] = q;
    }
    axis.index = tables.index.get();
    axis.first = tables.first.get();
    axis.weight = tables.weight.get();
    return true;
}

}  // namespace fastnn
