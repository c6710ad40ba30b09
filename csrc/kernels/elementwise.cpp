// y = f(x) and out = f(a, b) over broadcast shapes. The planner has merged dimensions that walk together, so most calls are one
// long row; what is left of the shape is walked row by row, and each row runs in vectors.
#include "functions.h"
#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

template <int OP, class V> INLINE V apply(V x, [[maybe_unused]] V alpha) {
    const V zero = {}, one = constant<V>(1);
    if constexpr (OP == COPY) return x;
    if constexpr (OP == NEG) return -x;
    if constexpr (OP == ABS) return abs(x);
    if constexpr (OP == SIGN) return select(x > zero, one, select(x < zero, -one, x));
    if constexpr (OP == SQUARE) return x * x;
    if constexpr (OP == SQRT) return sqrt(x);
    if constexpr (OP == RECIPROCAL) return one / x;
    if constexpr (OP == EXP) return exp(x);
    if constexpr (OP == LOG) return log(x);
    if constexpr (OP == TANH) return tanh(x);
    if constexpr (OP == SIGMOID) return sigmoid(x);
    if constexpr (OP == ERF) return erf(x);
    if constexpr (OP == RELU) return max(zero, x);
    if constexpr (OP == RELU6) return min(constant<V>(6), max(zero, x));
    if constexpr (OP == LEAKY_RELU) return select(x > zero, x, x * alpha);
    if constexpr (OP == ELU) return select(x > zero, x, alpha * expm1(x));
    if constexpr (OP == SOFTPLUS) return softplus(x);
    if constexpr (OP == GELU) return gelu(x);
    if constexpr (OP == GELU_TANH) return gelu_tanh(x);
    if constexpr (OP == SILU) return silu(x);
    if constexpr (OP == HARDSWISH) return x * (apply<RELU6>(x + constant<V>(3), alpha) * constant<V>(1.0 / 6));
}

template <int OP, class V> INLINE V apply(V a, V b, [[maybe_unused]] V alpha) {
    const V zero = {}, one = constant<V>(1);
    if constexpr (OP == ADD) return a + b;
    if constexpr (OP == SUB) return a - b;
    if constexpr (OP == MUL) return a * b;
    if constexpr (OP == DIV) return a / b;
    if constexpr (OP == MAXIMUM) return select(a != a, a, max(a, b));  // max gives b where either is NaN
    if constexpr (OP == MINIMUM) return select(a != a, a, min(a, b));
    if constexpr (OP == CLAMP) return select(a != a, a, min(alpha, max(a, b)));
    if constexpr (OP == TANH_GRAD) return a * (one - b * b);
    if constexpr (OP == SIGMOID_GRAD) return a * b * (one - b);
    if constexpr (OP == ERF_GRAD) return a * constant<V>(1.12837916709551257390) * exp(-b * b);
    if constexpr (OP == RELU_GRAD) return select(b > zero, a, zero);
    if constexpr (OP == RELU6_GRAD) return select((b > zero) & (b < constant<V>(6)), a, zero);
    if constexpr (OP == LEAKY_RELU_GRAD) return select(b > zero, a, a * alpha);
    if constexpr (OP == ELU_GRAD) return select(b > zero, a, a * alpha * exp(b));
    if constexpr (OP == SOFTPLUS_GRAD) return a * sigmoid(b);
    if constexpr (OP == GELU_GRAD) return a * gelu_slope(b);
    if constexpr (OP == GELU_TANH_GRAD) return a * gelu_tanh_slope(b);
    if constexpr (OP == SILU_GRAD) return a * silu_slope(b);
    if constexpr (OP == HARDSWISH_GRAD) {
        const V slope = select(b < constant<V>(3), fma(b, constant<V>(1.0 / 3), constant<V>(0.5)), one);
        return select(b > constant<V>(-3), a * slope, zero);
    }
    if constexpr (OP == ABS_GRAD) return a * apply<SIGN>(b, alpha);
}

constexpr i64 BLOCK = 512;  // elements that are gathered at once: 2 or 4 KB on the stack, read back from L1

// n elements at p, `stride` apart, one after another.
template <class T> __attribute__((noinline)) const T* gather(T* out, const T* p, i64 stride, i64 n) {
    for (i64 i = 0; i < n; i++) out[i] = p[i * stride];
    return out;
}

// Bytes of a result, from which on it is written past the caches, which could not hold it: its lines need not come from memory
// first. ReLU of 10 million takes 0.7 of the time.
constexpr i64 FAR = 32 << 20;

template <class T> static bool goes_far(const Elementwise& job) {
    i64 bytes = sizeof(T);
    for (int d = 0; d < job.ndim; d++) bytes *= job.shape[d];
    return bytes >= FAR && job.out != job.a && job.out != job.b;
}

// y[i] = f(i, lanes) for the vectors of n elements.
template <class T, bool PAST, class F> INLINE void fill(T* y, i64 n, F f) {
    constexpr int L = LANES<T>;
    i64 i = 0;
    if constexpr (PAST) {
        const i64 ragged = -(reinterpret_cast<intptr_t>(y) / i64(sizeof(T))) & (L - 1), head = ragged < n ? ragged : n;
        if (head) store_first(y, f(0, int(head)), int(head));
        for (i = head; i + L <= n; i += L) store_past(y + i, f(i, L));
    } else for (; i + L <= n; i += L) store(y + i, f(i, L));
    if (i < n) store_first(y + i, f(i, int(n - i)), int(n - i));
}

// y = f(x), both contiguous: four vectors abreast where f is a chain of many operations, else one (two are 2 to 5 % faster
// in L1, and a quarter slower from memory: ReLU6 of 10 million 3.2 ms, not 2.5).
template <class T, int OP, bool PAST> __attribute__((noinline)) void unary_row(T* y, const T* x, Vec<T> alpha, i64 n) {
    i64 i = 0;
    if constexpr (sizeof(T) == sizeof(float) && OP >= EXP) {
        constexpr i64 wide = sizeof(Four) / sizeof(T);
        for (; i + wide <= n; i += wide) store_n(y + i, apply<OP>(load_as(Four(), x + i, LANES<T>), Four(alpha)), LANES<T>);
    }
    fill<T, PAST>(y + i, n - i, [&, x = x + i](i64 j, int k) { return apply<OP>(load_n(x + j, k), alpha); });
}

// Calls row(out_at, a_at, b_at, n) for each stretch of the innermost dimension that the flat range [begin, end) covers.
template <class Row> static inline void walk(const Elementwise& job, i64 begin, i64 end, Row row) {
    const int last = job.ndim - 1;
    const i64 inner = job.shape[last];
    while (begin < end) {
        i64 rest = begin / inner, a = (begin % inner) * job.a_stride[last], b = (begin % inner) * job.b_stride[last];
        for (int d = last - 1; d >= 0; d--) {
            const i64 i = rest % job.shape[d];
            rest /= job.shape[d];
            a += i * job.a_stride[d];
            b += i * job.b_stride[d];
        }
        const i64 left = inner - begin % inner, n = left < end - begin ? left : end - begin;
        row(begin, a, b, n);
        begin += n;
    }
}

template <class T, int OP, bool PAST> static void unary_rows(const Elementwise& job, i64 begin, i64 end) {
    const Vec<T> alpha = splat<T>(T(job.alpha));
    const i64 step = job.a_stride[job.ndim - 1];
    T gathered[BLOCK];
    walk(job, begin, end, [&](i64 at, i64 a_at, i64, i64 n) {
        T* y = static_cast<T*>(job.out) + at;
        const T* a = static_cast<const T*>(job.a) + a_at;
        if (step == 1) return unary_row<T, OP, PAST>(y, a, alpha, n);
        for (i64 i = 0; i < n; i += BLOCK) {
            const i64 count = n - i < BLOCK ? n - i : BLOCK;
            gather(gathered, a + i * step, step, count);
            unary_row<T, OP, PAST>(y + i, gathered, alpha, count);
        }
    });
}

template <class T, int OP> void unary(const Elementwise& job, i64 begin, i64 end) {
    if (OP >= EXP || !goes_far<T>(job)) return unary_rows<T, OP, false>(job, begin, end);
    unary_rows<T, OP, OP < EXP>(job, begin, end);
    stored_past();
}

// y = f(a, b) with steps other than 0 and 1 among them, by f's own kernel on what was gathered. Out of line: its buffers made
// every short row 3 ns slower.
template <class T>
__attribute__((noinline)) void scattered_row(KernelOf<Elementwise> f, T* y, const T* a, i64 a_step, const T* b, i64 b_step,
                                             double alpha, i64 n) {
    T gathered[2][BLOCK];
    for (i64 at = 0; at < n; at += BLOCK) {
        const i64 count = n - at < BLOCK ? n - at : BLOCK;
        const T *x = a + at, *z = b + at;
        if (a_step != 1) x = gather(gathered[0], a + at * a_step, a_step, count);
        if (b_step != 1) z = gather(gathered[1], b + at * b_step, b_step, count);
        f({y + at, x, z, alpha, 1, {count}, {1}, {1}}, 0, count);
    }
}

template <class T, int OP, bool PAST> static void binary_rows(const Elementwise& job, i64 begin, i64 end) {
    const Vec<T> alpha = splat<T>(T(job.alpha));
    const i64 a_step = job.a_stride[job.ndim - 1], b_step = job.b_stride[job.ndim - 1];
    walk(job, begin, end, [&](i64 at, i64 a_at, i64 b_at, i64 n) {
        T* y = static_cast<T*>(job.out) + at;
        const T *a = static_cast<const T*>(job.a) + a_at, *b = static_cast<const T*>(job.b) + b_at;
        if (a_step == 1 && b_step == 1)
            fill<T, PAST>(y, n, [&](i64 i, int k) { return apply<OP>(load_n(a + i, k), load_n(b + i, k), alpha); });
        else if (a_step == 1 && b_step == 0)
            fill<T, PAST>(y, n, [&, s = splat<T>(*b)](i64 i, int k) { return apply<OP>(load_n(a + i, k), s, alpha); });
        else if (a_step == 0 && b_step == 1)
            fill<T, PAST>(y, n, [&, s = splat<T>(*a)](i64 i, int k) { return apply<OP>(s, load_n(b + i, k), alpha); });
        else
            scattered_row(binary_rows<T, OP, false>, y, a, a_step, b, b_step, job.alpha, n);
    });
}

template <class T, int OP> void binary(const Elementwise& job, i64 begin, i64 end) {
    if (OP >= TANH_GRAD || !goes_far<T>(job)) return binary_rows<T, OP, false>(job, begin, end);
    binary_rows<T, OP, OP < TANH_GRAD>(job, begin, end);
    stored_past();
}

template <class T, int OP> void sloped(const Sloped& job, i64 begin, i64 end) {
    const T* x = static_cast<const T*>(job.x) + begin;
    T *y = static_cast<T*>(job.y) + begin, *slope = static_cast<T*>(job.slope) + begin;
    for_abreast<T>(end - begin, [&](i64 i, int lanes, auto v) __attribute__((always_inline)) {
        v = load_as(v, x + i, lanes);
        const auto made = OP == GELU ? gelu_with_slope(v) : silu_with_slope(v);
        store_n(y + i, made.y, lanes);
        store_n(slope + i, made.slope, lanes);
    });
}
template void sloped<float, GELU>(const Sloped&, i64, i64);
template void sloped<float, SILU>(const Sloped&, i64, i64);
template void sloped<double, GELU>(const Sloped&, i64, i64);
template void sloped<double, SILU>(const Sloped&, i64, i64);

// Naming every op in an emitted array is what instantiates them all here, for table.cpp.
template <class T, int... OP> struct EveryUnary { static constexpr KernelOf<Elementwise> kernels[] = {unary<T, OP>...}; };
template <class T, int... OP> struct EveryBinary { static constexpr KernelOf<Elementwise> kernels[] = {binary<T, OP>...}; };
template <class T, int... OP> EveryUnary<T, OP...> every_unary(Indices<OP...>);
template <class T, int... OP> EveryBinary<T, OP...> every_binary(Indices<OP...>);
#define EMIT(every, T, ops) \
    __attribute__((used)) static constexpr auto& every##_##T = decltype(every<T>(MakeIndices<ops>::type{}))::kernels;
EMIT(every_unary, float, UNARY_OPS)
EMIT(every_unary, double, UNARY_OPS)
EMIT(every_binary, float, BINARY_OPS)
EMIT(every_binary, double, BINARY_OPS)

}  // namespace FASTNN_ISA
}  // namespace fastnn
