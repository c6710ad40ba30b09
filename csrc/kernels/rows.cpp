// Softmax and log-softmax along rows. A row of up to ~8 K elements stays in L1 between its passes: max, exp and sum, scale.
#include "rows.h"

#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

// The sum of body(offset, lanes, V) over a row, several vectors abreast where there are as many: 128 rows of 1,000 take 0.87 of
// the time, of 64 as long. In log-softmax and the losses rows of 1,000 gain 3 to 8 %, but rows of 10 and 64 lose as much, and
// with both ways the wheel grows by 4 KB.
INLINE F together(F v, int n) { return keep_first<float>(v, n, F{}); }
INLINE D together(D v, int n) { return keep_first<double>(v, n, D{}); }
template <class V> INLINE F together(Two<V> v, int n) { return together(v.a, n) + together(v.b, n); }
template <class T, class Body> INLINE T sum_abreast(i64 cols, Body body) {
    Vec<T> sum = {};
    for_abreast<T>(cols, [&](i64 i, int n, auto v) __attribute__((always_inline)) { sum += together(body(i, n, v), n); });
    return sum_lanes<T>(sum);
}

template <class T> void softmax(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* x = static_cast<const T*>(job.x) + r * job.cols;
        T* y = static_cast<T*>(job.y) + r * job.cols;
        const Vec<T> top = splat<T>(row_max(x, job.cols));
        const T sum = sum_abreast<T>(job.cols, [&](i64 i, int n, auto v) __attribute__((always_inline)) {
            const auto e = exp_negative(load_as(v, x + i, n) - decltype(v)(top));
            store_n(y + i, e, n);
            return e;
        });
        const Vec<T> scale = splat<T>(1 / sum);
        for_vectors<T>(job.cols, [&](i64 i, int n) { store_n(y + i, load_n(y + i, n) * scale, n); });
    }
}

template <class T> void softmax_backward(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* y = static_cast<const T*>(job.x) + r * job.cols;
        const T* dy = static_cast<const T*>(job.dy) + r * job.cols;
        T* dx = static_cast<T*>(job.y) + r * job.cols;
        const Vec<T> dot = splat<T>(sum_over<T>(job.cols, [&](i64 i, int n) { return load_n(y + i, n) * load_n(dy + i, n); }));
        for_vectors<T>(job.cols, [&](i64 i, int n) { store_n(dx + i, load_n(y + i, n) * (load_n(dy + i, n) - dot), n); });
    }
}

template <class T> void log_softmax(const Rows& job, i64 begin, i64 end) {
    for_row_blocks<T>(begin, end, job.cols, [&](i64 first, i64 rows) {
        const T* x = static_cast<const T*>(job.x) + first * job.cols;
        T* y = static_cast<T*>(job.y) + first * job.cols;
        const LogSums<T> sums = log_sums<T>(x, rows, job.cols);
        for (i64 r = 0; r < rows; r++, x += job.cols, y += job.cols) {
            const Vec<T> top = splat<T>(sums.top[r]), log_sum = splat<T>(sums.log_sum[r]);
            for_vectors<T>(job.cols, [&](i64 i, int n) { store_n(y + i, load_n(x + i, n) - top - log_sum, n); });
        }
    });
}

template <class T> void log_softmax_backward(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* y = static_cast<const T*>(job.x) + r * job.cols;
        const T* dy = static_cast<const T*>(job.dy) + r * job.cols;
        T* dx = static_cast<T*>(job.y) + r * job.cols;
        const Vec<T> sum = splat<T>(sum_over<T>(job.cols, [&](i64 i, int n) { return load_n(dy + i, n); }));
        for_vectors<T>(job.cols, [&](i64 i, int n) {
            store_n(dx + i, load_n(dy + i, n) - exp_negative(load_n(y + i, n)) * sum, n);
        });
    }
}

#define INSTANTIATE(kernel)                              \
    template void kernel<float>(const Rows&, i64, i64); \
    template void kernel<double>(const Rows&, i64, i64);
INSTANTIATE(softmax)
INSTANTIATE(softmax_backward)
INSTANTIATE(log_softmax)
INSTANTIATE(log_softmax_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
