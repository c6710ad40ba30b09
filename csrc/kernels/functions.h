// exp, log, tanh, sigmoid, erf and what is built of them, on Vec<T>. Float: polynomials fitted by reweighted least squares to
// equal ripple, 1-2 ulp (tests/test_kernels_accuracy.py holds them to it). Double: the C library, lane by lane: right, not fast.
#pragma once
#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

typedef Vec<float> F;

template <class Function> INLINE Vec<double> lanewise(Vec<double> x, Function f) {
    for (int i = 0; i < LANES<double>; i++) x[i] = f(x[i]);
    return x;
}

// x = n ln2 + r, |r| <= ln2 / 2, n a whole float.
struct Reduced {
    F n, r;
};
INLINE Reduced reduce_exp(F x) {
    const F magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
    const F n = fma<float>(x, splat(1.44269504f), magic) - magic;
    return {n, fma<float>(n, splat(-1.42860677e-6f), fma<float>(n, splat(-0.693145752f), x))};  // ln2 in two parts
}

// (e^r - 1 - r) / r^2, of which e^r needs one rounding less than e^r - 1.
INLINE F exp_rest(F r) {
    F q = fma<float>(splat(0.00139517023f), r, splat(0.00836959202f));
    q = fma<float>(q, r, splat(0.0416661873f));
    q = fma<float>(q, r, splat(0.166665137f));
    return fma<float>(q, r, splat(0.5f));
}
INLINE F exp_reduced(F r) { return fma<float>(fma<float>(exp_rest(r), r, splat(1.0f)), r, splat(1.0f)); }
INLINE F expm1_reduced(F r) { return fma<float>(exp_rest(r) * r, r, r); }

// 2^n for whole n in [-126, 127].
INLINE F power_of_two(F n) {
    return power_in_bits(n + splat(12582912.0f));
}

// For x in [-87, 88], where neither overflow nor denormals can come: half the work of exp.
INLINE F exp_moderate(F x) {
    const F whole = fma<float>(x, splat(1.44269504f), splat(12582912.0f));  // n in its low bits
    const F n = whole - splat(12582912.0f);
    const F r = fma<float>(n, splat(-1.42860677e-6f), fma<float>(n, splat(-0.693145752f), x));
    return exp_reduced(r) * power_in_bits(whole);
}
INLINE Vec<double> exp_moderate(Vec<double> x) { return lanewise(x, [](double v) { return ::exp(v); }); }

// For x <= 89 (and NaN). Below -104 e^x is 0 in float. The limit stands first in max: it gives the second where that is NaN.
INLINE F exp_anywhere(F x) {
    const Reduced e = reduce_exp(max<float>(splat(-104.0f), x));
    return scale_by_power_of_two(exp_reduced(e.r), e.n);
}

// For x <= 0 (and NaN): what softmax and sigmoid need. exp_moderate gives the same bits for two thirds of the work.
INLINE F exp_negative(F x) {
    if (BYTES == 32 && all_lanes(x >= splat(-87.0f))) return exp_moderate(x);
    return exp_anywhere(x);
}
INLINE Vec<double> exp_negative(Vec<double> x) { return lanewise(x, [](double v) { return ::exp(v); }); }

INLINE F exp(F x) {
    if (BYTES == 32 && all_lanes(abs<float>(x) <= splat(87.0f))) return exp_moderate(x);
    return exp_anywhere(min<float>(splat(89.0f), x));
}
INLINE Vec<double> exp(Vec<double> x) { return exp_negative(x); }

INLINE F log(F x) {
    const F tiny = splat(1.17549435e-38f);
    const IVec<float> denormal = x < tiny;
    const F scaled = abs<float>(select<float>(denormal, x * splat(16777216.0f), x));  // below 0 the result is NaN anyway
    // scaled = m 2^e with m in [sqrt(1/2), sqrt(2))
    const IVec<float> shifted = bits<float>(scaled) - 0x3f3504f3;
    const IVec<float> e = shifted >> 23;
    const F f = from_bits<float>(bits<float>(scaled) - (e << 23)) - splat(1.0f);
    F n = __builtin_convertvector(e, F) - select<float>(denormal, splat(24.0f), F{});
    F p = fma<float>(splat(0.0691509694f), f, splat(-0.117895596f));
    p = fma<float>(p, f, splat(0.118729629f));
    p = fma<float>(p, f, splat(-0.123843916f));
    p = fma<float>(p, f, splat(0.142186671f));
    p = fma<float>(p, f, splat(-0.16669248f));
    p = fma<float>(p, f, splat(0.200022265f));
    p = fma<float>(p, f, splat(-0.249999866f));
    p = fma<float>(p, f, splat(0.333333105f));
    const F ff = f * f;
    F y = fma<float>(p * f, ff, n * splat(-2.12194440e-4f));  // ln2 = 0.693359375 - 2.1219444e-4
    y = fma<float>(ff, splat(-0.5f), y) + f;
    y = fma<float>(n, splat(0.693359375f), y);
    const F infinity = splat(__builtin_inff());
    y = select<float>(x == F{}, -infinity, y);
    y = select<float>(x == infinity, infinity, y);
    return select<float>(x >= F{}, y, splat(__builtin_nanf("")));
}
INLINE Vec<double> log(Vec<double> x) { return lanewise(x, [](double v) { return ::log(v); }); }

// tanh |x| = t / (t + 2), t = e^2|x| - 1: no cancellation near 0. From 9.02 on tanh is 1 in float. A rational function with one
// division is a third faster (ONNX Runtime's), but 5 units off near 8.
INLINE F tanh(F x) {
    const F size = min<float>(splat(10.0f), abs<float>(x));
    const F whole = fma<float>(size, splat(2.88539008f), splat(12582912.0f));
    const F n = whole - splat(12582912.0f);
    const F r = fma<float>(n, splat(-1.42860677e-6f), fma<float>(n, splat(-0.693145752f), size + size));
    const F scale = power_in_bits(whole);
    const F t = fma<float>(expm1_reduced(r), scale, scale - splat(1.0f));
    return copysign<float>(t / (t + splat(2.0f)), x);
}
INLINE Vec<double> tanh(Vec<double> x) { return lanewise(x, [](double v) { return ::tanh(v); }); }

// Divisions are divisions: a 14-bit reciprocal with Newton steps costs sigmoid half as much again (7.0 us against 4.7).
// 1 / (1 + e^-x), from e^-|x| so that nothing overflows and small results keep their digits.
template <class T> INLINE Vec<T> sigmoid_anywhere(Vec<T> x) {
    const Vec<T> e = exp_negative(-abs<T>(x));
    return select<T>(x < Vec<T>{}, e, splat<T>(1)) / (splat<T>(1) + e);
}
template <class T> INLINE Vec<T> sigmoid(Vec<T> x) { return sigmoid_anywhere<T>(x); }
template <> INLINE F sigmoid<float>(F x) {
    if (BYTES != 32) return sigmoid_anywhere<float>(x);
    const IVec<float> moderate = abs<float>(x) <= splat(87.0f);  // where e^-x is neither inf nor denormal
    const F y = splat(1.0f) / (splat(1.0f) + exp_moderate(-x));
    return all_lanes(moderate) ? y : select<float>(moderate, y, sigmoid_anywhere<float>(x));
}

INLINE F erf(F x) {
    const F t = abs<float>(x), s = x * x;
    F p = fma<float>(splat(8.34522507e-05f), s, splat(-0.00081374374f));
    p = fma<float>(p, s, splat(0.00520063424f));
    p = fma<float>(p, s, splat(-0.0268592704f));
    p = fma<float>(p, s, splat(0.112836942f));
    p = fma<float>(p, s, splat(-0.376126349f));
    p = fma<float>(p, s, splat(0.128379166f));
    const F small = fma<float>(p, x, x);
    // erfc t = e^(-t + t q(t)); from 4 on erf is 1 in float.
    const F u = min<float>(splat(4.0f), t);
    F q = fma<float>(splat(-5.2970031e-06f), u, splat(4.9940485e-05f));
    q = fma<float>(q, u, splat(2.74351369e-05f));
    q = fma<float>(q, u, splat(-0.00286912103f));
    q = fma<float>(q, u, splat(0.022575615f));
    q = fma<float>(q, u, splat(-0.105169497f));
    q = fma<float>(q, u, splat(-0.635673165f));
    q = fma<float>(q, u, splat(-0.12854144f));
    const F large = copysign<float>(splat(1.0f) - exp_moderate(fma<float>(q, u, -u)), x);
    return select<float>(t > splat(0.92f), large, small);
}
INLINE Vec<double> erf(Vec<double> x) { return lanewise(x, [](double v) { return ::erf(v); }); }

// log(1 + e) for e in [0, 1].
INLINE F log1p_of_unit(F e) {
    const F one_more = splat(1.0f) + e;
    return log(one_more) + (e - (one_more - splat(1.0f))) / one_more;  // what rounding 1 + e lost, to first order
}
INLINE Vec<double> log1p_of_unit(Vec<double> e) { return lanewise(e, [](double v) { return ::log1p(v); }); }

template <class T> INLINE Vec<T> softplus(Vec<T> x) {  // the identity from 20 on, as in PyTorch
    const Vec<T> y = max<T>(Vec<T>{}, x) + log1p_of_unit(exp_negative(-abs<T>(x)));
    return select<T>(x > splat<T>(20), x, y);
}

INLINE F expm1(F x) {
    const Reduced e = reduce_exp(max<float>(splat(-30.0f), min<float>(splat(88.0f), x)));
    const F scale = power_of_two(e.n);
    return fma<float>(expm1_reduced(e.r), scale, scale - splat(1.0f));
}
INLINE Vec<double> expm1(Vec<double> x) { return lanewise(x, [](double v) { return ::expm1(v); }); }

// The normal distribution function Phi and its density, which share e^(-x^2 / 2). Float: Phi(-t) = e^(-t^2 / 2) u P(u) with
// u = 1 / (1 + t / 4), fitted to 5e-8 relative, so that the far tail keeps its digits where 1 + erf would lose them.
struct Normal {
    F cdf, density;
};
struct NormalDouble {
    Vec<double> cdf, density;
};
INLINE Normal normal(F x) {
    const F t = min<float>(splat(13.0f), abs<float>(x));
    const F e = select<float>(abs<float>(x) > splat(13.0f), F{}, exp_moderate(t * t * splat(-0.5f)));  // 1e-38: 0 for float
    const F u = splat(1.0f) / fma<float>(t, splat(0.25f), splat(1.0f));
    F p = fma<float>(splat(0.0268924944f), u, splat(-0.15860264f));
    p = fma<float>(p, u, splat(0.30836004f));
    p = fma<float>(p, u, splat(-0.220147744f));
    p = fma<float>(p, u, splat(0.211983487f));
    p = fma<float>(p, u, splat(0.0284167007f));
    p = fma<float>(p, u, splat(0.104949109f));
    p = fma<float>(p, u, splat(0.0983400792f));
    p = fma<float>(p, u, splat(0.0998084396f));
    const F tail = p * u * e;
    return {select<float>(x < F{}, tail, splat(1.0f) - tail), e * splat(0.398942280f)};
}
INLINE NormalDouble normal(Vec<double> x) {
    return {lanewise(x, [](double v) { return 0.5 * ::erfc(-0.70710678118654752440 * v); }),
            lanewise(x, [](double v) { return 0.39894228040143267794 * ::exp(-0.5 * v * v); })};
}

// x Phi(x), and its derivative Phi(x) + x phi(x) (Hendrycks and Gimpel, 2016).
template <class T> INLINE Vec<T> gelu(Vec<T> x) { return x * normal(x).cdf; }
template <class T> struct WithSlope {
    Vec<T> y, slope;
};
template <class T> INLINE WithSlope<T> gelu_with_slope(Vec<T> x) {
    const auto n = normal(x);
    return {x * n.cdf, fma<T>(x, n.density, n.cdf)};
}
template <class T> INLINE Vec<T> gelu_slope(Vec<T> x) { return gelu_with_slope<T>(x).slope; }

// The tanh approximation: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
template <class T> INLINE Vec<T> gelu_tanh_inner(Vec<T> x) {
    return x * splat<T>(T(0.79788456080286535588)) * fma<T>(x * x, splat<T>(T(0.044715)), splat<T>(1));
}
template <class T> INLINE Vec<T> gelu_tanh(Vec<T> x) {
    return x * splat<T>(T(0.5)) * (splat<T>(1) + tanh(gelu_tanh_inner<T>(x)));
}
template <class T> INLINE Vec<T> gelu_tanh_slope(Vec<T> x) {
    const Vec<T> t = tanh(gelu_tanh_inner<T>(x));
    const Vec<T> inner_slope = splat<T>(T(0.79788456080286535588)) * fma<T>(x * x, splat<T>(T(0.134145)), splat<T>(1));
    return splat<T>(T(0.5)) * (splat<T>(1) + t) + splat<T>(T(0.5)) * x * (splat<T>(1) - t * t) * inner_slope;
}
template <class T> INLINE WithSlope<T> silu_with_slope(Vec<T> x) {
    const Vec<T> s = sigmoid<T>(x);
    return {x * s, s * fma<T>(x, splat<T>(1) - s, splat<T>(1))};
}
template <class T> INLINE Vec<T> silu_slope(Vec<T> x) { return silu_with_slope<T>(x).slope; }

}  // namespace FASTNN_ISA
}  // namespace fastnn
