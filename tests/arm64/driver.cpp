// Compares every instruction set that runs here with the reference, kernel by kernel, over sizes about the lanes and
// blocks. Needs no Python: it is what a cross-compiled build runs under an emulator (.ci/arm64). Prints one line a row;
// the exit status is 1 after a difference.
#include <math.h>
#include <stdio.h>

#include <string>
#include <vector>

#include "dispatch.h"

using namespace fastnn;

static int failures = 0;
static long compared = 0;

template <class T> constexpr DType DTYPE = sizeof(T) == 4 ? F32 : F64;
template <class T> constexpr double EPS = sizeof(T) == 4 ? 1.2e-7 : 2.3e-16;
template <class T> using Values = std::vector<T>;

static const int SIZES[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67, 130};

// Reproducible numbers in [low, high).
template <class T> static Values<T> numbers(i64 n, double low = -2, double high = 2) {
    static uint64_t state = 1;
    Values<T> values(n);
    for (T& v : values) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        v = T(low + (high - low) * double(state >> 11) / 9007199254740992.0);
    }
    return values;
}

// Whole numbers, whose products and sums are exact.
template <class T> static Values<T> integers(i64 n) {
    Values<T> values = numbers<T>(n, -8, 9);
    for (T& v : values) v = T(floor(v));
    return values;
}

// |got - want| <= units of the last place of max(1, |want|).
template <class T>
static void compare(const std::string& what, const Values<T>& got, const Values<T>& want, double units) {
    for (size_t i = 0; i < want.size(); i++, compared++) {
        const double bound = units * EPS<T> * fmax(1, fabs(double(want[i])));
        if (got[i] == want[i] || (got[i] != got[i] && want[i] != want[i]) || fabs(double(got[i]) - want[i]) <= bound)
            continue;
        if (failures++ < 20)
            printf("%s, f%zu: element %zu of %zu is %.9g, expected %.9g\n", what.c_str(), 8 * sizeof(T), i, want.size(),
                   double(got[i]), double(want[i]));
        return;
    }
}

// ---- one function a family; k is the row under test, r the reference ----

template <class T> static void elementwise(const Kernels& k, const Kernels& r) {
    for (int n : SIZES) {
        const Values<T> a = numbers<T>(3 * n * 3, 0.01, 3), b = numbers<T>(3 * n * 3);
        // dense; a column broadcast; strided and reversed
        const Elementwise jobs[] = {
            {nullptr, a.data(), b.data(), 0.3, 1, {3 * n}, {1}, {1}},
            {nullptr, a.data(), b.data(), 0.3, 2, {3, n}, {n, 1}, {1, 0}},
            {nullptr, a.data() + 3 * n, b.data() + 3 * n - 1, 0.3, 2, {3, n}, {n, 2}, {n, -1}},
        };
        for (Elementwise job : jobs) {
            const i64 size = job.ndim == 1 ? job.shape[0] : job.shape[0] * job.shape[1];
            Values<T> got(size), want(size);
            const auto both = [&](KernelOf<Elementwise> ours, KernelOf<Elementwise> reference,
                                  const std::string& name) {
                job.out = got.data();
                ours(job, 0, size / 2);
                ours(job, size / 2, size);
                job.out = want.data();
                reference(job, 0, size);
                compare(name + std::to_string(n), got, want, 64);
            };
            for (int op = 0; op < UNARY_OPS; op++)
                both(k.unary[op], r.unary[op], "unary " + std::to_string(op) + " of ");
            for (int op = 0; op < BINARY_OPS; op++)
                both(k.binary[op], r.binary[op], "binary " + std::to_string(op) + " of ");
        }
    }
}

template <class T> static void reductions(const Kernels& k, const Kernels& r) {
    for (int op = 0; op < REDUCTIONS; op++)
        for (i64 n : SIZES)
            for (i64 inner : {1, 3, 16, 33}) {
                const Values<T> x = numbers<T>(5 * n * inner, 0.9, 1.1);
                Values<T> got(5 * inner), want(5 * inner);
                k.reduce[op]({got.data(), x.data(), 5, n, inner, 0.5}, 0, 5 * inner);
                r.reduce[op]({want.data(), x.data(), 5, n, inner, 0.5}, 0, 5 * inner);
                compare("reduction " + std::to_string(op) + " of " + std::to_string(n), got, want, double(8 + n));
            }
}

template <class T> static void rows(const Kernels& k, const Kernels& r) {
    for (i64 cols : SIZES) {
        const i64 size = 3 * cols;
        const Values<T> x = numbers<T>(size, -6, 6), dy = numbers<T>(size);
        Values<T> got(size), want(size), y(size), log_y(size);
        r.softmax({y.data(), x.data(), nullptr, cols}, 0, 3);
        r.log_softmax({log_y.data(), x.data(), nullptr, cols}, 0, 3);
        const std::string of = " of " + std::to_string(cols);
        k.softmax({got.data(), x.data(), nullptr, cols}, 0, 3);
        compare("softmax" + of, got, y, 16);
        k.log_softmax({got.data(), x.data(), nullptr, cols}, 0, 3);
        compare("log_softmax" + of, got, log_y, 64);
        k.softmax_backward({got.data(), y.data(), dy.data(), cols}, 0, 3);
        r.softmax_backward({want.data(), y.data(), dy.data(), cols}, 0, 3);
        compare("softmax_backward" + of, got, want, 64);
        k.log_softmax_backward({got.data(), log_y.data(), dy.data(), cols}, 0, 3);
        r.log_softmax_backward({want.data(), log_y.data(), dy.data(), cols}, 0, 3);
        compare("log_softmax_backward" + of, got, want, 64 + double(cols));
    }
}

template <class T> static void losses(const Kernels& k, const Kernels& r) {
    for (i64 cols : SIZES)
        for (double smoothing : {0.0, 0.1})
            for (bool weighted : {false, true}) {
                const Values<T> x = numbers<T>(3 * cols, -6, 6), w = numbers<T>(cols, 0.5, 1.5), dloss = numbers<T>(3);
                const i64 target[] = {0, -100, cols - 1};
                Values<T> loss[2], lse[2], dx[2];
                const Kernels* tables[] = {&k, &r};
                for (int i = 0; i < 2; i++) {
                    loss[i].resize(3);
                    lse[i].resize(3);
                    dx[i].resize(3 * cols);
                    CrossEntropy job = {};
                    job.loss = loss[i].data();
                    job.lse = lse[i].data();
                    job.dx = dx[i].data();
                    job.dloss = dloss.data();
                    job.dloss_stride = 1;
                    job.x = x.data();
                    job.target = target;
                    job.weight = weighted ? w.data() : nullptr;
                    job.cols = cols;
                    job.ignore_index = -100;
                    job.label_smoothing = smoothing;
                    tables[i]->cross_entropy(job, 0, 3);
                    tables[i]->cross_entropy_backward(job, 0, 3);
                }
                const std::string of = " of " + std::to_string(cols);
                compare("cross_entropy" + of, loss[0], loss[1], 64);
                compare("log-sum-exp" + of, lse[0], lse[1], 16);
                compare("cross_entropy_backward" + of, dx[0], dx[1], 64);
            }
}

struct Shape {
    i64 m, k, n;
};
static const Shape SHAPES[] = {{1, 1, 1},      {1, 33, 100}, {2, 3, 5},      {5, 17, 9},    {6, 16, 16},
                               {7, 5, 33},     {8, 64, 63},  {13, 17, 48},   {1, 513, 65},  {16, 16, 16},
                               {31, 130, 129}, {65, 66, 67}, {4, 0, 9},      {70, 520, 40}, {3, 40, 600},
                               {1, 64, 300},   {130, 9, 1},  {300, 30, 300}, {12, 1100, 24}};

// All ways in which a and b may lie in memory, alone and in a batch of two with one b for both.
template <class T> static void matmuls(int isa) {
    for (const Shape& s : SHAPES)
        for (int way = 0; way < 8; way++) {
            const bool a_transposed = way & 1, b_transposed = way & 2, finish = way & 4;
            const Values<T> a = integers<T>(2 * s.m * s.k), b = integers<T>(s.k * s.n), bias = integers<T>(s.n);
            Values<T> c[2];
            for (int i = 0; i < 2; i++) {
                use_isa(ISAS[i == 0 ? isa : ISA_COUNT - 1]);
                c[i].assign(2 * s.m * s.n, T(3));
                Matmul job = {};
                job.c = c[i].data();
                job.a = a.data();
                job.b = b.data();
                job.bias = finish ? bias.data() : nullptr;
                job.m = s.m;
                job.n = s.n;
                job.k = s.k;
                job.c_row = s.n;
                job.a_row = a_transposed ? 1 : s.k;
                job.a_col = a_transposed ? s.m : 1;
                job.b_row = b_transposed ? 1 : s.n;
                job.b_col = b_transposed ? s.k : 1;
                job.batch_ndim = 1;
                job.batch_shape[0] = 2;
                job.c_batch[0] = s.m * s.n;
                job.a_batch[0] = s.m * s.k;
                job.activation = finish ? RELU : COPY;
                job.accumulate = !finish;
                if (!run_matmul(DTYPE<T>, job)) failures++;
            }
            compare("matmul " + std::to_string(s.m) + "x" + std::to_string(s.k) + "x" + std::to_string(s.n) + " way " +
                        std::to_string(way),
                    c[0], c[1], 0);
        }
}

template <class T> static void optimizers(const Kernels& k, const Kernels& r) {
    const i64 start[] = {0, 7, 7, 24, 91};
    const KernelOf<Optimize> steps[][2] = {{k.sgd, r.sgd}, {k.adam, r.adam}, {k.rmsprop, r.rmsprop}};
    for (int which = 0; which < 3; which++)
        for (bool flag : {false, true}) {
            const Values<T> p0 = numbers<T>(91), g0 = numbers<T>(91), s0 = numbers<T>(91, 0.5, 1);
            Values<T> p[2], g[2], m[2], v[2], mean[2];
            for (int i = 0; i < 2; i++) {
                p[i] = p0;
                g[i] = g0;
                m[i] = v[i] = s0;
                mean[i].assign(91, 0);
                void* lists[5][4];
                Values<T>* values[] = {&p[i], &g[i], &m[i], &v[i], &mean[i]};
                for (int l = 0; l < 5; l++)
                    for (int t = 0; t < 4; t++) lists[l][t] = values[l]->data() + start[t];
                Optimize job = {};
                job.tensors = 4;
                job.start = start;
                job.p = lists[0];
                job.grad = lists[1];
                job.m = lists[2];
                job.v = lists[3];
                job.mean = flag ? lists[4] : nullptr;
                job.lr = 0.1;
                job.momentum = job.beta1 = 0.9;
                job.beta2 = 0.99;
                job.eps = 1e-8;
                job.weight_decay = 0.01;
                job.grad_scale = 0.5;
                job.nesterov = job.zero_grad = flag;
                job.decoupled = flag && which == 1;  // AdamW; the others have no such form
                for (job.step = 1; job.step < 4; job.step++) {
                    steps[which][i](job, 0, 50);
                    steps[which][i](job, 50, 91);
                }
            }
            const std::string name = "optimizer " + std::to_string(which) + " ";
            compare(name + "p", p[0], p[1], 64);
            compare(name + "grad", g[0], g[1], 0);
            compare(name + "m", m[0], m[1], 64);
            compare(name + "v", v[0], v[1], 64);
        }
}

template <class T> static void dropouts(const Kernels& k, const Kernels& r) {
    for (i64 n : SIZES)
        for (bool mask : {false, true}) {
            const Values<T> x = numbers<T>(n);
            Values<T> got(n), want(n);
            const uint64_t seed = 0x123456789abcdef, offset = ~uint64_t(0) - 5;
            k.dropout({got.data(), mask ? nullptr : x.data(), 0.4, seed, offset}, 0, n / 3);
            k.dropout({got.data(), mask ? nullptr : x.data(), 0.4, seed, offset}, n / 3, n);
            r.dropout({want.data(), mask ? nullptr : x.data(), 0.4, seed, offset}, 0, n);
            compare("dropout of " + std::to_string(n), got, want, 0);
        }
}

template <class T> static void everything(int isa) {
    const Kernels &k = *ISAS[isa].table[DTYPE<T>], &r = *ISAS[ISA_COUNT - 1].table[DTYPE<T>];
    elementwise<T>(k, r);
    reductions<T>(k, r);
    rows<T>(k, r);
    losses<T>(k, r);
    matmuls<T>(isa);
    optimizers<T>(k, r);
    dropouts<T>(k, r);
}

int main() {
    for (int isa = 0; isa < ISA_COUNT - 1; isa++) {
        if (!ISAS[isa].runs_here()) continue;
        const int before = failures;
        compared = 0;
        everything<float>(isa);
        everything<double>(isa);
        printf("%s: %ld values compared, %d differences\n", ISAS[isa].name, compared, failures - before);
    }
    return failures != 0;
}
