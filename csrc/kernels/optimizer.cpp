// One optimizer step for all parameters. All of it is bandwidth (Adam: 28 bytes a parameter), so each is one pass.
#include "kernels.h"

#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> INLINE T* part(void** list, i64 tensor, i64 offset) {
    return list ? static_cast<T*>(list[tensor]) + offset : nullptr;
}

// Calls run(tensor, offset in it, count) for each stretch of a tensor that the flat range [begin, end) covers.
template <class Run> static inline void over_tensors(const Optimize& job, i64 begin, i64 end, Run run) {
    i64 low = 0, high = job.tensors;  // the last tensor that starts at or before begin
    while (high - low > 1) {
        const i64 middle = (low + high) / 2;
        (job.start[middle] <= begin ? low : high) = middle;
    }
    for (i64 t = low; begin < end; t++) {
        const i64 stop = job.start[t + 1] < end ? job.start[t + 1] : end;
        if (begin < stop) run(t, begin - job.start[t], stop - begin);
        begin = stop;
    }
}

template <class T> void sgd(const Optimize& job, i64 begin, i64 end) {
    const Vec<T> lr = splat<T>(T(job.lr)), momentum = splat<T>(T(job.momentum)), fresh = splat<T>(T(1 - job.dampening));
    const Vec<T> scale = splat<T>(T(job.grad_scale)), decay = splat<T>(T(job.weight_decay));
    over_tensors(job, begin, end, [&](i64 t, i64 at, i64 count) {
        T *p = part<T>(job.p, t, at), *grad = part<T>(job.grad, t, at), *m = part<T>(job.m, t, at);
        for_vectors<T>(count, [&](i64 i, int n) {
            const Vec<T> pv = load_n(p + i, n);
            const Vec<T> g = fma<T>(decay, pv, load_n(grad + i, n) * scale);
            Vec<T> step = g;
            if (m) {
                const Vec<T> mv = job.step == 1 ? g : fma<T>(momentum, load_n(m + i, n), fresh * g);
                store_n(m + i, mv, n);
                step = job.nesterov ? fma<T>(momentum, mv, g) : mv;
            }
            store_n(p + i, fma<T>(-lr, step, pv), n);
            if (job.zero_grad) store_n(grad + i, Vec<T>{}, n);
        });
    });
}

template <class T> void adam(const Optimize& job, i64 begin, i64 end) {
    const double bias1 = 1 - ::pow(job.beta1, double(job.step)), bias2 = 1 - ::pow(job.beta2, double(job.step));
    const Vec<T> rate = splat<T>(T(job.lr / bias1)), root = splat<T>(T(1 / ::sqrt(bias2))), eps = splat<T>(T(job.eps));
    const Vec<T> beta1 = splat<T>(T(job.beta1)), beta2 = splat<T>(T(job.beta2));
    const Vec<T> fresh1 = splat<T>(T(1 - job.beta1)), fresh2 = splat<T>(T(1 - job.beta2)), scale = splat<T>(T(job.grad_scale));
    const Vec<T> decay = splat<T>(T(job.decoupled ? 0 : job.weight_decay));
    const Vec<T> keep = splat<T>(T(job.decoupled ? 1 - job.lr * job.weight_decay : 1));
    over_tensors(job, begin, end, [&](i64 t, i64 at, i64 count) {
        T *p = part<T>(job.p, t, at), *grad = part<T>(job.grad, t, at), *m = part<T>(job.m, t, at), *v = part<T>(job.v, t, at);
        T* most = part<T>(job.most, t, at);
        for_vectors<T>(count, [&](i64 i, int n) {
            const Vec<T> pv = load_n(p + i, n);
            const Vec<T> g = fma<T>(decay, pv, load_n(grad + i, n) * scale);
            const Vec<T> mv = fma<T>(beta1, load_n(m + i, n), fresh1 * g);
            Vec<T> vv = fma<T>(beta2, load_n(v + i, n), fresh2 * g * g);
            store_n(m + i, mv, n);
            store_n(v + i, vv, n);
            if (most) {
                vv = max<T>(load_n(most + i, n), vv);
                store_n(most + i, vv, n);
            }
            store_n(p + i, fma<T>(pv, keep, -rate * mv / fma<T>(sqrt<T>(vv), root, eps)), n);
            if (job.zero_grad) store_n(grad + i, Vec<T>{}, n);
        });
    });
}

template <class T> void rmsprop(const Optimize& job, i64 begin, i64 end) {
    const Vec<T> lr = splat<T>(T(job.lr)), momentum = splat<T>(T(job.momentum)), eps = splat<T>(T(job.eps));
    const Vec<T> alpha = splat<T>(T(job.beta2)), fresh = splat<T>(T(1 - job.beta2));
    const Vec<T> scale = splat<T>(T(job.grad_scale)), decay = splat<T>(T(job.weight_decay));
    over_tensors(job, begin, end, [&](i64 t, i64 at, i64 count) {
        T *p = part<T>(job.p, t, at), *grad = part<T>(job.grad, t, at), *m = part<T>(job.m, t, at);
        T *v = part<T>(job.v, t, at), *mean = part<T>(job.mean, t, at);
        for_vectors<T>(count, [&](i64 i, int n) {
            const Vec<T> pv = load_n(p + i, n);
            const Vec<T> g = fma<T>(decay, pv, load_n(grad + i, n) * scale);
            const Vec<T> vv = fma<T>(alpha, load_n(v + i, n), fresh * g * g);
            store_n(v + i, vv, n);
            Vec<T> spread = vv;
            if (mean) {
                const Vec<T> a = fma<T>(alpha, load_n(mean + i, n), fresh * g);
                store_n(mean + i, a, n);
                spread = fma<T>(-a, a, vv);
            }
            Vec<T> step = g / (sqrt<T>(spread) + eps);
            if (m) {
                step = fma<T>(momentum, load_n(m + i, n), step);
                store_n(m + i, step, n);
            }
            store_n(p + i, fma<T>(-lr, step, pv), n);
            if (job.zero_grad) store_n(grad + i, Vec<T>{}, n);
        });
    });
}

#define INSTANTIATE(kernel)                                  \
    template void kernel<float>(const Optimize&, i64, i64); \
    template void kernel<double>(const Optimize&, i64, i64);
INSTANTIATE(sgd)
INSTANTIATE(adam)
INSTANTIATE(rmsprop)

}  // namespace FASTNN_ISA
}  // namespace fastnn
