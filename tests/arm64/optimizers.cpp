// Three steps of each optimizer on four tensors at once.
#include "driver.h"

namespace fastnn {
namespace driver {

static const i64 START[] = {0, 7, 7, 24, 91};

// Parameters, gradients, two states and the mean of the gradients, or AMSGrad's greatest v; the job sees four pieces of each.
template <class T> struct State {
    Values<T> values[5];
    void* pieces[5][4];
    explicit State(const Values<T> (&from)[5]) {
        for (int l = 0; l < 5; l++) {
            values[l] = from[l];
            for (int t = 0; t < 4; t++) pieces[l][t] = values[l].data() + START[t];
        }
    }
};

template <class T> static Outputs<T> three_steps(KernelOf<Optimize> Kernels::* kernel, bool flag, const Values<T> (&from)[5]) {
    State<T> s(from);
    Optimize job = {};
    job.tensors = 4, job.start = START;
    job.p = s.pieces[0], job.grad = s.pieces[1], job.m = s.pieces[2], job.v = s.pieces[3];
    job.mean = job.most = flag ? s.pieces[4] : nullptr;  // of RMSprop, of Adam
    job.lr = 0.1, job.momentum = job.beta1 = 0.9, job.beta2 = 0.99, job.eps = 1e-8;
    job.weight_decay = 0.01, job.grad_scale = 0.5;
    job.nesterov = job.zero_grad = flag;
    job.decoupled = flag && kernel == &Kernels::adam;  // AdamW; the others have no such form
    for (job.step = 1; job.step < 4; job.step++) {
        (kernels<T>().*kernel)(job, 0, 50);
        (kernels<T>().*kernel)(job, 50, 91);
    }
    return {{"p", s.values[0], 64}, {"grad", s.values[1], 0}, {"m", s.values[2], 64}, {"v", s.values[3], 64},
            {"mean or most", s.values[4], 64}};
}

template <class T> void optimizers() {
    const struct {
        const char* name;
        KernelOf<Optimize> Kernels::* kernel;
    } all[] = {{"sgd", &Kernels::sgd}, {"adam", &Kernels::adam}, {"rmsprop", &Kernels::rmsprop}};
    for (const auto& one : all)
        for (bool flag : {false, true}) {
            const Values<T> state = numbers<T>(91, 0.5, 1);
            const Values<T> from[5] = {numbers<T>(91), numbers<T>(91), state, state, Values<T>(91)};
            check<T>(one.name, [&] { return three_steps<T>(one.kernel, flag, from); });
        }
}

template void optimizers<float>();
template void optimizers<double>();

}  // namespace driver
}  // namespace fastnn
