// Softmax and cross-entropy in one: forward reads each row twice (max; sum of exp), backward once more (the probabilities are
// made again from x and the saved log-sum-exp, which costs less than storing and reading them).
#include "kernels.h"
#include "rows.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> static T weight_at(const CrossEntropy& job, i64 c) {
    return job.weight ? static_cast<const T*>(job.weight)[c] : T(1);
}

template <class T> static T row_loss(const CrossEntropy& job, const T* x, i64 t, T top, T log_sum) {
    if (t == job.ignore_index) return 0;
    const T* weight = static_cast<const T*>(job.weight);
    const T smooth = T(job.label_smoothing);
    const T on_target = (1 - smooth) * weight_at<T>(job, t) * ((top - x[t]) + log_sum);
    if (smooth == 0) return on_target;
    return on_target + smooth / T(job.cols) * sum_over<T>(job.cols, [&](i64 i, int n) {
        const Vec<T> far = (splat<T>(top) - load_n(x + i, n)) + splat<T>(log_sum);
        return weight ? far * load_n(weight + i, n) : far;
    });
}

template <class T> void cross_entropy(const CrossEntropy& job, i64 begin, i64 end) {
    for_row_blocks<T>(begin, end, job.cols, [&](i64 first, i64 rows) {
        const T* x = static_cast<const T*>(job.x) + first * job.cols;
        const LogSums<T> sums = log_sums<T>(x, rows, job.cols);
        for (i64 r = 0; r < rows; r++) {
            const T top = sums.top[r], log_sum = sums.log_sum[r];
            static_cast<T*>(job.lse)[first + r] = top + log_sum;
            static_cast<T*>(job.loss)[first + r] = row_loss(job, x + r * job.cols, job.target[first + r], top, log_sum);
        }
    });
}

// d loss / d x[c] = p[c] * ((1 - s) w[t] + s / cols * sum w) - (1 - s) w[t] [c = t] - s / cols * w[c]
template <class T> void cross_entropy_backward(const CrossEntropy& job, i64 begin, i64 end) {
    const T* weight = static_cast<const T*>(job.weight);
    const T smooth = T(job.label_smoothing), per_class = smooth / T(job.cols);
    T all_weights = T(job.cols);
    if (smooth != 0 && weight) all_weights = sum_over<T>(job.cols, [&](i64 i, int n) { return load_n(weight + i, n); });
    for (i64 r = begin; r < end; r++) {
        const T* x = static_cast<const T*>(job.x) + r * job.cols;
        T* dx = static_cast<T*>(job.dx) + r * job.cols;
        const i64 t = job.target[r];
        if (t == job.ignore_index) {
            for_vectors<T>(job.cols, [&](i64 i, int n) { store_n(dx + i, Vec<T>{}, n); });
            continue;
        }
        const T dloss = static_cast<const T*>(job.dloss)[r * job.dloss_stride];
        const T on_target = dloss * (1 - smooth) * weight_at<T>(job, t);
        const Vec<T> lse = splat<T>(static_cast<const T*>(job.lse)[r]), shared = splat<T>(dloss * per_class);
        const Vec<T> scale = splat<T>(on_target + dloss * per_class * all_weights);
        for_vectors<T>(job.cols, [&](i64 i, int n) {
            const Vec<T> w = weight ? load_n(weight + i, n) : splat<T>(1);
            store_n(dx + i, exp_negative(load_n(x + i, n) - lse) * scale - shared * w, n);
        });
        dx[t] -= on_target;
    }
}

#define INSTANTIATE(kernel)                                      \
    template void kernel<float>(const CrossEntropy&, i64, i64); \
    template void kernel<double>(const CrossEntropy&, i64, i64);
INSTANTIATE(cross_entropy)
INSTANTIATE(cross_entropy_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
