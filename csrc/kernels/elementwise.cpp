// y = f(x) and out = f(a, b) over broadcast shapes. The planner has merged dimensions that walk together, so most calls are one
// long row; what is left of the shape is walked row by row, and each row runs in vectors.
#include "functions.h"
#include "kernels.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T, int OP> INLINE Vec<T> apply(Vec<T> x, [[maybe_unused]] Vec<T> alpha) {
    const Vec<T> zero = {}, one = splat<T>(1);
    if constexpr (OP == COPY) return x;
    if constexpr (OP == NEG) return -x;
    if constexpr (OP == ABS) return abs<T>(x);
    if constexpr (OP == SIGN) return select<T>(x > zero, one, select<T>(x < zero, -one, x));
    if constexpr (OP == SQUARE) return x * x;
    if constexpr (OP == SQRT) return sqrt<T>(x);
    if constexpr (OP == RECIPROCAL) return one / x;
    if constexpr (OP == EXP) return exp(x);
    if constexpr (OP == LOG) return log(x);
    if constexpr (OP == TANH) return tanh(x);
    if constexpr (OP == SIGMOID) return sigmoid<T>(x);
    if constexpr (OP == ERF) return erf(x);
    if constexpr (OP == RELU) return max<T>(zero, x);
    if constexpr (OP == LEAKY_RELU) return select<T>(x > zero, x, x * alpha);
    if constexpr (OP == ELU) return select<T>(x > zero, x, alpha * expm1(x));
    if constexpr (OP == SOFTPLUS) return softplus<T>(x);
    if constexpr (OP == GELU) return gelu<T>(x);
    if constexpr (OP == GELU_TANH) return gelu_tanh<T>(x);
    if constexpr (OP == SILU) return x * sigmoid<T>(x);
}

template <class T, int OP> INLINE Vec<T> apply(Vec<T> a, Vec<T> b, [[maybe_unused]] Vec<T> alpha) {
    const Vec<T> zero = {}, one = splat<T>(1);
    if constexpr (OP == ADD) return a + b;
    if constexpr (OP == SUB) return a - b;
    if constexpr (OP == MUL) return a * b;
    if constexpr (OP == DIV) return a / b;
    if constexpr (OP == MAXIMUM) return select<T>(a != a, a, max<T>(a, b));  // max gives b where either is NaN
    if constexpr (OP == MINIMUM) return select<T>(a != a, a, min<T>(a, b));
    if constexpr (OP == TANH_GRAD) return a * (one - b * b);
    if constexpr (OP == SIGMOID_GRAD) return a * b * (one - b);
    if constexpr (OP == ERF_GRAD) return a * splat<T>(T(1.12837916709551257390)) * exp(-b * b);
    if constexpr (OP == RELU_GRAD) return select<T>(b > zero, a, zero);
    if constexpr (OP == LEAKY_RELU_GRAD) return select<T>(b > zero, a, a * alpha);
    if constexpr (OP == ELU_GRAD) return select<T>(b > zero, a, a * alpha * exp(b));
    if constexpr (OP == SOFTPLUS_GRAD) return a * sigmoid<T>(b);
    if constexpr (OP == GELU_GRAD) return a * gelu_slope<T>(b);
    if constexpr (OP == GELU_TANH_GRAD) return a * gelu_tanh_slope<T>(b);
    if constexpr (OP == SILU_GRAD) return a * silu_slope<T>(b);
    if constexpr (OP == ABS_GRAD) return a * apply<T, SIGN>(b, alpha);
}

// n elements at p, `stride` apart.
template <class T> INLINE Vec<T> load_strided(const T* p, i64 stride, int n) {
    if (stride == 1) return load_n(p, n);
    Vec<T> v = {};
    for (int i = 0; i < n; i++) v[i] = p[i * stride];
    return v;
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

template <class T, int OP> void unary(const Elementwise& job, i64 begin, i64 end) {
    T* out = static_cast<T*>(job.out);
    const T* a = static_cast<const T*>(job.a);
    const Vec<T> alpha = splat<T>(T(job.alpha));
    const i64 stride = job.a_stride[job.ndim - 1];
    walk(job, begin, end, [&](i64 at, i64 a_at, i64, i64 n) {
        T* y = out + at;
        const T* x = a + a_at;
        if (stride == 1) {
            // Two vectors at a time: their chains of dependent operations overlap (AVX2: tanh 171 -> 162 us, exp 156 -> 140).
            constexpr int L = LANES<T>;
            i64 at = 0;
            for (; at + 2 * L <= n; at += 2 * L) {
                const Vec<T> first = load(x + at), second = load(x + at + L);
                const Vec<T> u = apply<T, OP>(first, alpha), v = apply<T, OP>(second, alpha);
                store(y + at, u);
                store(y + at + L, v);
            }
            y += at, x += at;
            for_vectors<T>(n - at, [&](i64 i, int k) { store_n(y + i, apply<T, OP>(load_n(x + i, k), alpha), k); });
        } else {
            for_vectors<T>(n, [&](i64 i, int k) {
                store_n(y + i, apply<T, OP>(load_strided(x + i * stride, stride, k), alpha), k);
            });
        }
    });
}

template <class T, int OP> void binary(const Elementwise& job, i64 begin, i64 end) {
    T* out = static_cast<T*>(job.out);
    const T* a = static_cast<const T*>(job.a);
    const T* b = static_cast<const T*>(job.b);
    const Vec<T> alpha = splat<T>(T(job.alpha));
    const i64 a_step = job.a_stride[job.ndim - 1], b_step = job.b_stride[job.ndim - 1];
    walk(job, begin, end, [&](i64 at, i64 a_at, i64 b_at, i64 n) {
        T* y = out + at;
        const T *x = a + a_at, *z = b + b_at;
        if (a_step == 1 && b_step == 1)
            for_vectors<T>(n, [&](i64 i, int k) { store_n(y + i, apply<T, OP>(load_n(x + i, k), load_n(z + i, k), alpha), k); });
        else if (a_step == 1 && b_step == 0)
            for_vectors<T>(n, [&, s = splat<T>(*z)](i64 i, int k) { store_n(y + i, apply<T, OP>(load_n(x + i, k), s, alpha), k); });
        else if (a_step == 0 && b_step == 1)
            for_vectors<T>(n, [&, s = splat<T>(*x)](i64 i, int k) { store_n(y + i, apply<T, OP>(s, load_n(z + i, k), alpha), k); });
        else
            for_vectors<T>(n, [&](i64 i, int k) {
                store_n(y + i, apply<T, OP>(load_strided(x + i * a_step, a_step, k), load_strided(z + i * b_step, b_step, k), alpha), k);
            });
    });
}

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
