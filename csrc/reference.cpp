// Every kernel of kernels.h in plain loops: the definition of correct, and the row for CPUs older than AVX2.
// No vectors, no blocking, no tricks. Arithmetic is done in double and rounded to T once, at the store; only the
// optimizers compute in T, because their rounding is part of what PyTorch's results are.
#include <math.h>

#include <utility>

#include "reference.h"
#include "reference_pool.h"
#include "reference_recurrent.h"
#include "reference_norm.h"

namespace fastnn {
namespace reference {

static const double SQRT_HALF = 0.70710678118654752440;         // 1 / sqrt(2)
static const double SQRT_2_OVER_PI = 0.79788456080286535588;    // of the tanh approximation of GELU
static const double INV_SQRT_2PI = 0.39894228040143267794;      // the normal density at 0
static const double TWO_OVER_SQRT_PI = 1.12837916709551257390;  // the slope of erf at 0
static const double GELU_CUBE = 0.044715;

// ---- element by element ----

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double normal_cdf(double x) { return 0.5 * erfc(-x * SQRT_HALF); }  // (1 + erf(x / sqrt(2))) / 2, uncancelled
static double gelu_tanh_inner(double x) { return SQRT_2_OVER_PI * (x + GELU_CUBE * x * x * x); }

static double unary_value(int op, double x, double alpha) {
    switch (op) {
        case COPY: return x;
        case NEG: return -x;
        case ABS: return fabs(x);
        case SIGN: return x > 0 ? 1 : x < 0 ? -1 : x;  // keeps NaN and the sign of 0
        case SQUARE: return x * x;
        case SQRT: return sqrt(x);
        case RECIPROCAL: return 1 / x;
        case EXP: return exp(x);
        case LOG: return log(x);
        case TANH: return tanh(x);
        case SIGMOID: return sigmoid(x);
        case ERF: return erf(x);
        case RELU: return x <= 0 ? 0 : x;  // keeps NaN
        case RELU6: return x <= 0 ? 0 : x > 6 ? 6 : x;
        case LEAKY_RELU: return x > 0 ? x : alpha * x;
        case ELU: return x > 0 ? x : alpha * expm1(x);
        case SOFTPLUS: return x > 20 ? x : log1p(exp(x));  // PyTorch's threshold
        case GELU: return x * normal_cdf(x);
        case GELU_TANH: return 0.5 * x * (1 + tanh(gelu_tanh_inner(x)));
        case SILU: return x * sigmoid(x);
        case HARDSWISH: return x * (unary_value(RELU6, x + 3, 0) / 6);
    }
    return NAN;
}

static double gelu_tanh_slope(double x) {
    const double inner = gelu_tanh_inner(x), sech = 1 / cosh(inner);
    return 0.5 * (1 + tanh(inner)) + 0.5 * x * sech * sech * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBE * x * x);
}

// In a gradient a is dy, and b is the saved input x or output y, as kernels.h says.
static double binary_value(int op, double a, double b, double alpha) {
    switch (op) {
        case ADD: return a + b;
        case SUB: return a - b;
        case MUL: return a * b;
        case DIV: return a / b;
        case MAXIMUM: return a > b || a != a ? a : b;  // NaN if either is
        case MINIMUM: return a < b || a != a ? a : b;
        case CLAMP: {
            const double raised = a > b ? a : b;
            return a != a ? a : alpha < raised ? alpha : raised;
        }
        case TANH_GRAD: return a * (1 - b * b);
        case SIGMOID_GRAD: return a * b * (1 - b);
        case ERF_GRAD: return a * TWO_OVER_SQRT_PI * exp(-b * b);
        case RELU_GRAD: return b > 0 ? a : 0;
        case RELU6_GRAD: return b > 0 && b < 6 ? a : 0;
        case LEAKY_RELU_GRAD: return b > 0 ? a : alpha * a;
        case ELU_GRAD: return b > 0 ? a : a * alpha * exp(b);
        case SOFTPLUS_GRAD: return a * sigmoid(b);
        case GELU_GRAD: return a * (normal_cdf(b) + b * INV_SQRT_2PI * exp(-0.5 * b * b));
        case GELU_TANH_GRAD: return a * gelu_tanh_slope(b);
        case SILU_GRAD: return a * sigmoid(b) * (1 + b * (1 - sigmoid(b)));
        case HARDSWISH_GRAD: return b > -3 ? b < 3 ? a * (b / 3 + 0.5) : a : 0;
        case ABS_GRAD: return a * (b > 0 ? 1 : b < 0 ? -1 : b);
    }
    return NAN;
}

// Where the element with flat index i of an array of this shape lies.
static i64 offset_of(i64 i, int ndim, const i64* shape, const i64* stride) {
    i64 offset = 0;
    for (int d = ndim - 1; d >= 0; d--) {
        offset += i % shape[d] * stride[d];
        i /= shape[d];
    }
    return offset;
}

template <class T, int OP> static void unary(const Elementwise& job, i64 begin, i64 end) {
    const T* a = (const T*)job.a;
    T* out = (T*)job.out;
    for (i64 i = begin; i < end; i++)
        out[i] = T(unary_value(OP, a[offset_of(i, job.ndim, job.shape, job.a_stride)], job.alpha));
}

template <class T, int OP, int GRAD> static void sloped(const Sloped& job, i64 begin, i64 end) {
    for (i64 i = begin; i < end; i++) {
        const double x = ((const T*)job.x)[i];
        ((T*)job.y)[i] = T(unary_value(OP, x, 0));
        ((T*)job.slope)[i] = T(binary_value(GRAD, 1, x, 0));
    }
}

template <class T, int OP> static void binary(const Elementwise& job, i64 begin, i64 end) {
    const T* a = (const T*)job.a;
    const T* b = (const T*)job.b;
    T* out = (T*)job.out;
    for (i64 i = begin; i < end; i++) {
        const T a_i = a[offset_of(i, job.ndim, job.shape, job.a_stride)];
        const T b_i = b[offset_of(i, job.ndim, job.shape, job.b_stride)];
        out[i] = T(binary_value(OP, a_i, b_i, job.alpha));
    }
}

// ---- reductions ----

static const double NEUTRAL[REDUCTIONS] = {0, 0, -INFINITY, INFINITY, 1};

static double combine(int op, double sum, double x) {
    switch (op) {
        case SUM: return sum + x;
        case SUM_SQUARES: return sum + x * x;
        case MAX: return binary_value(MAXIMUM, sum, x, 0);
        case MIN: return binary_value(MINIMUM, sum, x, 0);
        case PROD: return sum * x;
    }
    return NAN;
}

template <class T, int OP> static void reduce(const Reduce& job, i64 begin, i64 end) {
    // x is (outer, n, inner), out is (outer, inner)
    T* out = (T*)job.out;
    for (i64 i = begin; i < end; i++) {
        const T* x = (const T*)job.x + i / job.inner * job.n * job.inner + i % job.inner;
        double sum = NEUTRAL[OP];
        for (i64 j = 0; j < job.n; j++) sum = combine(OP, sum, x[j * job.inner]);
        out[i] = T(sum * job.scale);
    }
}

// ---- rows ----

template <class T> static double row_max(const T* x, i64 cols) {
    double max = -INFINITY;
    for (i64 c = 0; c < cols; c++) max = x[c] > max ? x[c] : max;
    return max;
}

template <class T> static double sum_exp(const T* x, i64 cols, double max) {
    double sum = 0;
    for (i64 c = 0; c < cols; c++) sum += exp(x[c] - max);
    return sum;
}

template <class T> static void softmax(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* x = (const T*)job.x + r * job.cols;
        T* y = (T*)job.y + r * job.cols;
        const double max = row_max(x, job.cols), sum = sum_exp(x, job.cols, max);
        for (i64 c = 0; c < job.cols; c++) y[c] = T(exp(x[c] - max) / sum);
    }
}

template <class T> static void log_softmax(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* x = (const T*)job.x + r * job.cols;
        T* y = (T*)job.y + r * job.cols;
        const double max = row_max(x, job.cols), sum = sum_exp(x, job.cols, max);
        for (i64 c = 0; c < job.cols; c++) y[c] = T(x[c] - max - log(sum));
    }
}

template <class T> static void softmax_backward(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* y = (const T*)job.x + r * job.cols;  // the saved output
        const T* dy = (const T*)job.dy + r * job.cols;
        T* dx = (T*)job.y + r * job.cols;
        double dot = 0;
        for (i64 c = 0; c < job.cols; c++) dot += double(dy[c]) * y[c];
        for (i64 c = 0; c < job.cols; c++) dx[c] = T(y[c] * (dy[c] - dot));
    }
}

template <class T> static void log_softmax_backward(const Rows& job, i64 begin, i64 end) {
    for (i64 r = begin; r < end; r++) {
        const T* y = (const T*)job.x + r * job.cols;  // the saved output
        const T* dy = (const T*)job.dy + r * job.cols;
        T* dx = (T*)job.y + r * job.cols;
        double sum = 0;
        for (i64 c = 0; c < job.cols; c++) sum += dy[c];
        for (i64 c = 0; c < job.cols; c++) dx[c] = T(dy[c] - exp(double(y[c])) * sum);
    }
}

// ---- softmax + cross-entropy ----

template <class T> static double weight_of(const CrossEntropy& job, i64 c) {
    return job.weight ? ((const T*)job.weight)[c] : 1;
}

template <class T> static void cross_entropy(const CrossEntropy& job, i64 begin, i64 end) {
    const double s = job.label_smoothing;
    for (i64 r = begin; r < end; r++) {
        const T* x = (const T*)job.x + r * job.cols;
        const i64 t = job.target[r];
        const double max = row_max(x, job.cols), lse = max + log(sum_exp(x, job.cols, max));
        double loss = 0;
        if (t != job.ignore_index) {
            loss = (1 - s) * weight_of<T>(job, t) * (lse - x[t]);
            if (s > 0)  // 0 * inf would be NaN where x is -inf
                for (i64 c = 0; c < job.cols; c++) loss += s / job.cols * weight_of<T>(job, c) * (lse - x[c]);
        }
        ((T*)job.lse)[r] = T(lse);
        ((T*)job.loss)[r] = T(loss);
    }
}

template <class T> static void cross_entropy_backward(const CrossEntropy& job, i64 begin, i64 end) {
    const double s = job.label_smoothing;
    double weight_sum = 0;
    for (i64 c = 0; c < job.cols; c++) weight_sum += weight_of<T>(job, c);
    for (i64 r = begin; r < end; r++) {
        const T* x = (const T*)job.x + r * job.cols;
        T* dx = (T*)job.dx + r * job.cols;
        const i64 t = job.target[r];
        const double lse = ((const T*)job.lse)[r], dloss = ((const T*)job.dloss)[r * job.dloss_stride];
        for (i64 c = 0; c < job.cols; c++) {
            if (t == job.ignore_index) {
                dx[c] = 0;
                continue;
            }
            const double p = exp(x[c] - lse);  // d lse / d x
            const double hit = (1 - s) * weight_of<T>(job, t) * (p - (c == t));
            const double smooth = s / job.cols * (weight_sum * p - weight_of<T>(job, c));
            dx[c] = T(dloss * (hit + smooth));
        }
    }
}

// ---- matmul ----

static void matmul_plan(Matmul& job) {
    job.batch = 1;
    for (int d = 0; d < job.batch_ndim; d++) job.batch *= job.batch_shape[d];
    job.m_block = 1;  // an item is one row of one product
    job.n_block = job.n;
    job.items = job.batch * job.m;
    job.item_flops = 2.0 * double(job.n) * double(job.k);
    job.pack_items = job.packed_size = job.slot_size = job.batch_packed = 0;
}

static void matmul_pack(const Matmul&, i64, i64) {}  // b is read in place

template <class T> static void matmul(const Matmul& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 product = item / job.m, row = item % job.m;
        const T* a =
            (const T*)job.a + offset_of(product, job.batch_ndim, job.batch_shape, job.a_batch) + row * job.a_row;
        const T* b = (const T*)job.b + offset_of(product, job.batch_ndim, job.batch_shape, job.b_batch);
        T* c = (T*)job.c + offset_of(product, job.batch_ndim, job.batch_shape, job.c_batch) + row * job.c_row;
        for (i64 j = 0; j < job.n; j++) {
            double sum = job.accumulate ? c[j] : job.bias ? ((const T*)job.bias)[j] : 0;
            if (job.residual) sum += c[(const T*)job.residual - (const T*)job.c + j];
            for (i64 p = 0; p < job.k; p++) sum += double(a[p * job.a_col]) * b[p * job.b_row + j * job.b_col];
            c[j] = T(job.accumulate ? sum : unary_value(job.activation, sum, job.alpha));
        }
    }
}

// ---- optimizers ----

// As torch.lerp computes it.
template <class T> static T lerp(T from, T to, T weight) {
    return weight < T(0.5) ? from + weight * (to - from) : to - (to - from) * (1 - weight);
}

// Calls update(t, i, g) for every element i of every tensor t in the range, with its scaled and decayed gradient g.
template <class T, class Update>
static void for_each_parameter(const Optimize& job, i64 begin, i64 end, Update update) {
    const T grad_scale = T(job.grad_scale), decay = job.decoupled ? 0 : T(job.weight_decay);
    for (i64 t = 0; t < job.tensors; t++) {
        const i64 first = begin > job.start[t] ? begin : job.start[t];
        const i64 last = end < job.start[t + 1] ? end : job.start[t + 1];
        T* p = (T*)job.p[t];
        T* grad = (T*)job.grad[t];
        for (i64 i = first - job.start[t]; i < last - job.start[t]; i++) {
            T g = grad_scale * grad[i];
            if (decay != 0) g += decay * p[i];
            if (job.decoupled) p[i] *= T(1 - job.lr * job.weight_decay);
            update(t, i, g);
            if (job.zero_grad) grad[i] = 0;
        }
    }
}

template <class T> static void sgd(const Optimize& job, i64 begin, i64 end) {
    const T lr = T(job.lr), momentum = T(job.momentum), rest = T(1 - job.dampening);
    for_each_parameter<T>(job, begin, end, [&](i64 t, i64 i, T g) {
        if (job.m) {
            T& m = ((T*)job.m[t])[i];
            m = job.step == 1 ? g : momentum * m + rest * g;
            g = job.nesterov ? g + momentum * m : m;
        }
        ((T*)job.p[t])[i] -= lr * g;
    });
}

template <class T> static void adam(const Optimize& job, i64 begin, i64 end) {
    const double bias1 = 1 - pow(job.beta1, double(job.step)), bias2 = 1 - pow(job.beta2, double(job.step));
    const T step_size = T(job.lr / bias1), bias2_sqrt = T(sqrt(bias2)), eps = T(job.eps);
    const T beta2 = T(job.beta2), rest1 = T(1 - job.beta1), rest2 = T(1 - job.beta2);
    for_each_parameter<T>(job, begin, end, [&](i64 t, i64 i, T g) {
        T& m = ((T*)job.m[t])[i];
        T& v = ((T*)job.v[t])[i];
        m = lerp(m, g, rest1);
        v = beta2 * v + rest2 * g * g;
        T spread = v;
        if (job.most) {
            T& most = ((T*)job.most[t])[i];
            spread = most = most > v ? most : v;
        }
        ((T*)job.p[t])[i] -= step_size * m / (T(sqrt(spread)) / bias2_sqrt + eps);
    });
}

template <class T> static void rmsprop(const Optimize& job, i64 begin, i64 end) {
    const T lr = T(job.lr), momentum = T(job.momentum), eps = T(job.eps), alpha = T(job.beta2), rest = T(1 - job.beta2);
    for_each_parameter<T>(job, begin, end, [&](i64 t, i64 i, T g) {
        T& v = ((T*)job.v[t])[i];
        v = alpha * v + rest * g * g;
        T variance = v;
        if (job.mean) {
            T& mean = ((T*)job.mean[t])[i];
            mean = lerp(mean, g, rest);
            variance -= mean * mean;
        }
        T d = g / (T(sqrt(variance)) + eps);
        if (job.m) {
            T& m = ((T*)job.m[t])[i];
            m = momentum * m + d;
            d = m;
        }
        ((T*)job.p[t])[i] -= lr * d;
    });
}

// ---- dropout ----

// Word `i % 4` of Philox-4x32-10 at counter (offset + i / 4) under `seed`: Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011.
uint32_t philox(uint64_t seed, uint64_t offset, i64 i) {
    const uint64_t counter = offset + uint64_t(i) / 4;
    uint32_t word[4] = {uint32_t(counter), uint32_t(counter >> 32), 0, 0};
    uint32_t key[2] = {uint32_t(seed), uint32_t(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = uint64_t(0xD2511F53u) * word[0], p1 = uint64_t(0xCD9E8D57u) * word[2];
        const uint32_t next[4] = {uint32_t(p1 >> 32) ^ word[1] ^ key[0], uint32_t(p1),
                                  uint32_t(p0 >> 32) ^ word[3] ^ key[1], uint32_t(p0)};
        for (int w = 0; w < 4; w++) word[w] = next[w];
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return word[i % 4];
}

template <class T> static void dropout(const Dropout& job, i64 begin, i64 end) {
    const uint64_t threshold = uint64_t(job.p * 4294967296.0);  // p = 0 keeps every word, p = 1 none
    const T scale = T(1 / (1 - job.p));
    const T* x = (const T*)job.x;
    T* y = (T*)job.y;
    for (i64 i = begin; i < end; i++) {
        const bool keep = philox(job.seed, job.offset, i) >= threshold;
        y[i] = !keep ? 0 : x ? x[i] * scale : scale;
    }
}

// ---- the table ----

template <int... OP> using Indices = std::integer_sequence<int, OP...>;

template <class T, int... U, int... B, int... R>
static constexpr Kernels table(Indices<U...>, Indices<B...>, Indices<R...>) {
    return {
        {unary<T, U>...}, {binary<T, B>...}, sloped<T, GELU, GELU_GRAD>, sloped<T, SILU, SILU_GRAD>,
        prelu<T>, prelu_backward<T>, {reduce<T, R>...},
        softmax<T>, softmax_backward<T>, log_softmax<T>, log_softmax_backward<T>,
        cross_entropy<T>, cross_entropy_backward<T>,
        ctc<T>, ctc_backward<T>,
        embedding<T>, embedding_backward<T>,
        matmul_plan, matmul_pack, matmul<T>,
        conv_plan, conv_stage, conv<T>,
        sgd<T>, adam<T>, rmsprop<T>,
        dropout<T>,
        max_pool<T>, max_pool_pick<T>, max_pool_backward<T>, avg_pool<T>, avg_pool_backward<T>,
        resize<T>, resize_backward<T>,
        norm_moments<T>, norm_apply<T>, norm_statistics<T>, norm_scales<T>, norm_slopes<T>, norm_sums<T>, norm_backward<T>,
        norm_column_sums<T>, norm_weights<T>, row_norm<T>, row_norm_backward<T>, row_norm_weights<T>,
        recurrent_plan, recurrent_pack<T>, recurrent<T>, recurrent_backward<T>,
        recurrent_inputs<T>, recurrent_weights<T>,
        attention_plan, attention_plan, attention<T>, attention_combine, attention_backward<T>, attention_combine,
    };
}

template <class T> static constexpr Kernels TABLE =
    table<T>(std::make_integer_sequence<int, UNARY_OPS>(), std::make_integer_sequence<int, BINARY_OPS>(),
             std::make_integer_sequence<int, REDUCTIONS>());

extern const Kernels kernels_f32, kernels_f64;
constexpr Kernels kernels_f32 = TABLE<float>, kernels_f64 = TABLE<double>;

}  // namespace reference
}  // namespace fastnn
