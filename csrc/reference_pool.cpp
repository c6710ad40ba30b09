// Pooling and resampling of images in plain loops, as reference.cpp has the other kernels: the definition of correct.
#include "reference_pool.h"

namespace fastnn {
namespace reference {

// ---- windows ----

// The pixels of one axis that window q holds: tap t lies at first + t * dilation.
struct Window {
    i64 first, taps, dilation, size;
    bool holds(i64 t) const { return first + t * dilation >= 0 && first + t * dilation < size; }
    i64 pixel(i64 t) const { return first + t * dilation; }
};

static Window window_of(const PoolAxis& axis, bool adaptive, i64 q) {
    if (!adaptive) return {q * axis.stride - axis.padding, axis.kernel, axis.dilation, axis.size};
    const i64 first = q * axis.size / axis.out, end = ((q + 1) * axis.size + axis.out - 1) / axis.out;
    return {first, end - first, 1, axis.size};
}

// visit(x_index, tap) for every pixel of window (r, q) of an image; x_index is its first channel's.
template <class Visit> static void for_pixels(const Pooling& job, i64 image, i64 r, i64 q, Visit visit) {
    const Window rows = window_of(job.rows, job.adaptive, r), cols = window_of(job.cols, job.adaptive, q);
    for (i64 i = 0; i < rows.taps; i++)
        for (i64 j = 0; j < cols.taps; j++)
            if (rows.holds(i) && cols.holds(j))
                visit(((image * job.rows.size + rows.pixel(i)) * job.cols.size + cols.pixel(j)) * job.channels,
                      i * job.cols.kernel + j);
}

static i64 padded_taps(const PoolAxis& axis, i64 q) {  // as PyTorch counts them: not beyond the padding
    const i64 first = q * axis.stride - axis.padding, end = axis.size + axis.padding;
    return first + axis.kernel < end ? axis.kernel : end - first;
}

static i64 divisor_of(const Pooling& job, i64 r, i64 q) {
    if (job.divisor) return job.divisor;
    if (job.count_include_pad) return padded_taps(job.rows, r) * padded_taps(job.cols, q);
    i64 pixels = 0;
    for_pixels(job, 0, r, q, [&](i64, i64) { pixels++; });
    return pixels;
}

static i64 tap_at(const Pooling& job, i64 index) {
    if (job.rows.kernel * job.cols.kernel <= 256) return ((const uint8_t*)job.tap)[index];
    return ((const int32_t*)job.tap)[index];
}

static void set_tap(const Pooling& job, i64 index, i64 tap) {
    if (!job.tap) return;
    if (job.rows.kernel * job.cols.kernel <= 256)
        ((uint8_t*)job.tap)[index] = uint8_t(tap);
    else
        ((int32_t*)job.tap)[index] = int32_t(tap);
}

// visit(image, r, q, y_index) for the windows of rows [begin, end) of y, all channels: y_index is the first one's.
template <class Visit> static void for_outputs(const Pooling& job, i64 begin, i64 end, Visit visit) {
    for (i64 item = begin; item < end; item++)
        for (i64 q = 0; q < job.cols.out; q++)
            visit(item / job.rows.out, item % job.rows.out, q, (item * job.cols.out + q) * job.channels);
}

template <class T> void max_pool(const Pooling& job, i64 begin, i64 end) {
    const T* x = (const T*)job.in;
    T* y = (T*)job.out;
    for_outputs(job, begin, end, [&](i64 image, i64 r, i64 q, i64 y_index) {
        for (i64 c = 0; c < job.channels; c++) {
            T most = 0;
            i64 at = -1;
            for_pixels(job, image, r, q, [&](i64 x_index, i64 tap) {
                const T v = x[x_index + c];
                if (at >= 0 && !(v > most) && v == v) return;
                most = v;
                at = tap;
            });
            y[y_index + c] = most;
            set_tap(job, y_index + c, at);
        }
    });
}

template <class T> void max_pool_pick(const Pooling& job, i64 begin, i64 end) {
    const T* x = (const T*)job.in;
    T* y = (T*)job.out;
    for_outputs(job, begin, end, [&](i64 image, i64 r, i64 q, i64 y_index) {
        for (i64 c = 0; c < job.channels; c++) {
            y[y_index + c] = 0;
            for_pixels(job, image, r, q, [&](i64 x_index, i64 tap) {
                if (tap == tap_at(job, y_index + c)) y[y_index + c] = x[x_index + c];
            });
        }
    });
}

template <class T> void avg_pool(const Pooling& job, i64 begin, i64 end) {
    const T* x = (const T*)job.in;
    T* y = (T*)job.out;
    for_outputs(job, begin, end, [&](i64 image, i64 r, i64 q, i64 y_index) {
        for (i64 c = 0; c < job.channels; c++) {
            double sum = 0;
            for_pixels(job, image, r, q, [&](i64 x_index, i64) { sum += x[x_index + c]; });
            y[y_index + c] = T(sum / double(divisor_of(job, r, q)));
        }
    });
}

// dx of one row of pixels: the sum of gradient(y_index, tap, r, q) over the windows that hold a pixel, at their tap. The row of
// windows is tried whole: slow, and without a thought.
template <class T, class Gradient> static void spread(const Pooling& job, i64 begin, i64 end, Gradient gradient) {
    T* dx = (T*)job.out;
    for (i64 item = begin; item < end; item++) {
        const i64 image = item / job.rows.size, row = item * job.cols.size * job.channels;
        for (i64 e = 0; e < job.cols.size * job.channels; e++) {
            double sum = 0;
            for (i64 r = 0; r < job.rows.out; r++) {
                const Window rows = window_of(job.rows, job.adaptive, r);
                const i64 away = item % job.rows.size - rows.first, i = away / rows.dilation;
                if (away < 0 || away % rows.dilation || i >= rows.taps) continue;
                for (i64 q = 0; q < job.cols.out; q++) {
                    const Window cols = window_of(job.cols, job.adaptive, q);
                    const i64 aside = e / job.channels - cols.first, j = aside / cols.dilation;
                    if (aside < 0 || aside % cols.dilation || j >= cols.taps) continue;
                    const i64 y_index = ((image * job.rows.out + r) * job.cols.out + q) * job.channels + e % job.channels;
                    sum += gradient(y_index, i * job.cols.kernel + j, r, q);
                }
            }
            dx[row + e] = T(sum);
        }
    }
}

template <class T> void max_pool_backward(const Pooling& job, i64 begin, i64 end) {
    const T* dy = (const T*)job.in;
    spread<T>(job, begin, end,
              [&](i64 y_index, i64 tap, i64, i64) { return tap_at(job, y_index) == tap ? double(dy[y_index]) : 0.0; });
}

template <class T> void avg_pool_backward(const Pooling& job, i64 begin, i64 end) {
    const T* dy = (const T*)job.in;
    spread<T>(job, begin, end,
              [&](i64 y_index, i64, i64 r, i64 q) { return double(dy[y_index]) / double(divisor_of(job, r, q)); });
}

// ---- resampling ----

static i64 next_pixel(const ResizeAxis& axis, i64 i) { return i + 1 < axis.size ? i + 1 : i; }

// How much of pixel i output q takes.
static double share(const ResizeAxis& axis, i64 q, i64 i) {
    const i64 at = axis.index[q], next = next_pixel(axis, at);
    const double weight = axis.weight ? axis.weight[q] : 0;
    return (at == i ? 1 - weight : 0) + (next == i ? weight : 0);
}

template <class T> void resize(const Resize& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 image = item / job.rows.out, r = item % job.rows.out;
        for (i64 e = 0; e < job.cols.out * job.channels; e++) {
            const i64 q = e / job.channels, c = e % job.channels;
            double sum = 0;
            for (i64 i = job.rows.index[r]; i <= next_pixel(job.rows, job.rows.index[r]); i++)
                for (i64 j = job.cols.index[q]; j <= next_pixel(job.cols, job.cols.index[q]); j++) {
                    const double part = share(job.rows, r, i) * share(job.cols, q, j);
                    const i64 x_index = ((image * job.rows.size + i) * job.cols.size + j) * job.channels + c;
                    if (part != 0) sum += part * ((const T*)job.in)[x_index];
                }
            ((T*)job.out)[item * job.cols.out * job.channels + e] = T(sum);
        }
    }
}

template <class T> void resize_backward(const Resize& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 image = item / job.rows.size, i = item % job.rows.size;
        for (i64 e = 0; e < job.cols.size * job.channels; e++) {
            const i64 j = e / job.channels, c = e % job.channels;
            double sum = 0;
            for (i64 r = job.rows.first[i > 0 ? i - 1 : 0]; r < job.rows.first[i + 1]; r++)
                for (i64 q = job.cols.first[j > 0 ? j - 1 : 0]; q < job.cols.first[j + 1]; q++) {
                    const double part = share(job.rows, r, i) * share(job.cols, q, j);
                    const i64 y_index = ((image * job.rows.out + r) * job.cols.out + q) * job.channels + c;
                    if (part != 0) sum += part * ((const T*)job.in)[y_index];
                }
            ((T*)job.out)[item * job.cols.size * job.channels + e] = T(sum);
        }
    }
}

#define INSTANTIATE(kernel, Job)                        \
    template void kernel<float>(const Job&, i64, i64); \
    template void kernel<double>(const Job&, i64, i64);
INSTANTIATE(max_pool, Pooling)
INSTANTIATE(max_pool_pick, Pooling)
INSTANTIATE(max_pool_backward, Pooling)
INSTANTIATE(avg_pool, Pooling)
INSTANTIATE(avg_pool_backward, Pooling)
INSTANTIATE(resize, Resize)
INSTANTIATE(resize_backward, Resize)

}  // namespace reference
}  // namespace fastnn
