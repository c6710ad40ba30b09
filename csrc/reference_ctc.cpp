// CTC loss in plain loops over the states blank, letter, blank, letter ... blank, in double: the definition of correct.
#include <math.h>

#include "reference.h"

namespace fastnn {
namespace reference {

static double log_add(double a, double b) {
    if (a == -INFINITY) return b;
    if (b == -INFINITY) return a;
    const double top = a > b ? a : b;
    return top + log(exp(a - top) + exp(b - top));
}

// One item: its states are 2 letters + 1, state 2 i + 1 says letter i and the others are blank.
struct CtcText {
    const Ctc& job;
    i64 n, length, states;
    const i64* text;
    CtcText(const Ctc& job, i64 n)
        : job(job), n(n), length(job.lengths[n]), states(2 * (job.starts[n + 1] - job.starts[n]) + 1),
          text(job.targets + job.starts[n]) {}
    i64 says(i64 state) const { return state % 2 ? text[state / 2] : job.blank; }
    bool passes(i64 state) const { return state % 2 && state >= 3 && text[state / 2] != text[state / 2 - 1]; }
    template <class T> const T* frame(i64 t) const { return (const T*)job.x + (t * job.batch + n) * job.classes; }
    template <class T> T* alpha(i64 t) const { return (T*)job.alpha + (n * job.frames + t) * 2 * (job.longest + 1); }
};

template <class T> static double forward_item(const CtcText& item) {
    if (item.length == 0) return item.states == 1 ? 0 : INFINITY;
    for (i64 t = 0; t < item.length; t++) {
        T* row = item.alpha<T>(t);
        for (i64 s = 0; s < item.states; s++) {
            double sum = t == 0 && s < 2 ? 0 : -INFINITY;
            if (t > 0) {
                const T* before = item.alpha<T>(t - 1);
                sum = before[s];
                if (s >= 1) sum = log_add(sum, before[s - 1]);
                if (item.passes(s)) sum = log_add(sum, before[s - 2]);
            }
            row[s] = T(sum + item.frame<T>(t)[item.says(s)]);
        }
    }
    const T* last = item.alpha<T>(item.length - 1);
    return -log_add(last[item.states - 1], item.states > 1 ? double(last[item.states - 2]) : -INFINITY);
}

template <class T> void ctc(const Ctc& job, i64 begin, i64 end) {
    for (i64 n = begin; n < end; n++) ((T*)job.loss)[n] = T(forward_item<T>(CtcText(job, n)));
}

// dx of one frame, `beta` being what the later frames add to each state.
template <class T> static void frame_gradient(const CtcText& item, i64 t, const T* beta, double dloss, T* dx) {
    const T *alpha = item.alpha<T>(t), *x = item.frame<T>(t);
    double all = -INFINITY;
    for (i64 s = 0; s < item.states; s++) all = log_add(all, double(alpha[s]) + beta[s]);
    for (i64 c = 0; c < item.job.classes; c++) {
        double share = 0;
        for (i64 s = 0; s < item.states; s++)
            if (item.says(s) == c) share += exp(double(alpha[s]) + beta[s] - all);
        dx[c] = T(dloss * (exp(double(x[c])) - share));
    }
}

// beta one frame back, in place from the front: state s is made of itself and the two behind it.
template <class T> static void step_back(const CtcText& item, i64 t, T* beta) {
    const T* x = item.frame<T>(t + 1);
    for (i64 s = 0; s < item.states; s++) {
        double sum = double(beta[s]) + x[item.says(s)];
        if (s + 1 < item.states) sum = log_add(sum, double(beta[s + 1]) + x[item.says(s + 1)]);
        if (s + 2 < item.states && item.passes(s + 2)) sum = log_add(sum, double(beta[s + 2]) + x[item.says(s + 2)]);
        beta[s] = T(sum);
    }
}

template <class T> void ctc_backward(const Ctc& job, i64 begin, i64 end) {
    for (i64 n = begin; n < end; n++) {
        const CtcText item(job, n);
        const double dloss = ((const T*)job.dloss)[n * job.dloss_stride], loss = ((const T*)job.loss)[n];
        const bool endless = loss == INFINITY, dropped = endless && job.zero_infinity;
        T* beta = (T*)job.scratch + n * ctc_scratch(job.longest);
        for (i64 s = 0; s < item.states; s++) beta[s] = T(s >= item.states - 2 ? 0 : -INFINITY);
        for (i64 t = job.frames - 1; t >= 0; t--) {
            T* dx = (T*)job.dx + (t * job.batch + n) * job.classes;
            if (t >= item.length || dropped || endless || isnan(loss)) {
                const double value = t >= item.length || dropped ? 0 : NAN;
                for (i64 c = 0; c < job.classes; c++) dx[c] = T(value);
                continue;
            }
            if (t < item.length - 1) step_back(item, t, beta);
            frame_gradient(item, t, beta, dloss, dx);
        }
    }
}

template void ctc<float>(const Ctc&, i64, i64);
template void ctc<double>(const Ctc&, i64, i64);
template void ctc_backward<float>(const Ctc&, i64, i64);
template void ctc_backward<double>(const Ctc&, i64, i64);

}  // namespace reference
}  // namespace fastnn
