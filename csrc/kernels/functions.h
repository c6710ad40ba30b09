// exp, log, tanh, sigmoid, erf and what is built of them, on Vec<T>. Float: polynomials fitted by reweighted least squares to
// equal ripple, 1-2 ulp (tests/test_kernels_accuracy.py holds them to it). Double: the C library, lane by lane: right, not
// fast.
#pragma once
#include "abreast.h"

namespace fastnn {
namespace FASTNN_ISA {
template <class Function> INLINE D lanewise(D x, Function f) {
    for (int i = 0; i < LANES<double>; i++) x[i] = f(x[i]);
    return x;
}

// x = n ln2 + r, |r| <= ln2 / 2, n a whole float; `whole` is n + 1.5 * 2^23: adding that rounds to a whole number, in the low
// bits.
template <class V> struct Reduced {
    V whole, n, r;
};
template <class V> INLINE Reduced<V> reduce_exp(V x) {
    const V whole = fma(x, splat(1.44269504f), splat(12582912.0f)), n = whole - splat(12582912.0f);
    return {whole, n, fma(n, splat(-1.42860677e-6f), fma(n, splat(-0.693145752f), x))};  // ln2 in two parts
}

// (e^r - 1 - r) / r^2, of which e^r needs one rounding less than e^r - 1.
template <class V> INLINE V exp_rest(V r) {
    V q = fma(r, splat(0.00139517023f), splat(0.00836959202f));
    q = fma(q, r, splat(0.0416661873f));
    q = fma(q, r, splat(0.166665137f));
    return fma(q, r, splat(0.5f));
}
template <class V> INLINE V exp_reduced(V r) { return fma(fma(exp_rest(r), r, splat(1.0f)), r, splat(1.0f)); }
template <class V> INLINE V expm1_reduced(V r) { return fma(exp_rest(r) * r, r, r); }

// For x in [-87, 88], where neither overflow nor denormals can come: half the work of exp.
template <class V> INLINE V exp_moderate(V x) {
    const Reduced<V> e = reduce_exp(x);
    return exp_reduced(e.r) * power_in_bits(e.whole);
}
INLINE D exp_moderate(D x) { return lanewise(x, [](double v) { return ::exp(v); }); }

// For x <= 89 (and NaN). Below -104 e^x is 0 in float. The limit stands first in max: it gives the second where that is NaN.
template <class V> INLINE V exp_anywhere(V x) {
    const Reduced<V> e = reduce_exp(max(splat(-104.0f), x));
    return scale_by_power_of_two(exp_reduced(e.r), e.n);
}

// For x <= 0 (and NaN): what softmax and sigmoid need. exp_moderate gives the same bits for two thirds of the work.
template <class V> INLINE V exp_negative(V x) {
    if (BYTES == 32 && all_lanes(x >= splat(-87.0f))) return exp_moderate(x);
    return exp_anywhere(x);
}
INLINE D exp_negative(D x) { return lanewise(x, [](double v) { return ::exp(v); }); }

template <class V> INLINE V exp(V x) {
    if (BYTES == 32 && all_lanes(abs(x) <= splat(87.0f))) return exp_moderate(x);
    return exp_anywhere(min(splat(89.0f), x));
}
INLINE D exp(D x) { return exp_negative(x); }

// 2^r for |r| <= 1 / 2, with SCALES for 0 <= r < 1. Degree 5, 1e-7 relative: enough for what is added up with others, attention's
// weights and gates.
template <class V> INLINE V exp2_of_rest(V r) {
    V p = fma(splat(SCALES ? 0.00186713052f : 0.00132647285f), r, splat(SCALES ? 0.00901702885f : 0.00967151299f));
    p = fma(p, r, splat(SCALES ? 0.0557999127f : 0.0555073358f));
    p = fma(p, r, splat(SCALES ? 0.240164444f : 0.240222424f));
    p = fma(p, r, splat(SCALES ? 0.693151295f : 0.693147004f));
    return fma(p, r, splat(1.0f));
}

// x = f 2^n with f + 1 in [sqrt(1/2), sqrt(2)), for 0 < x < inf.
template <class V> struct Logarithm {
    V n, f;
};
INLINE Logarithm<F> reduce_log(F x) {
    const IVec<float> denormal = x < splat(1.17549435e-38f);
    const F scaled = abs(select(denormal, x * splat(16777216.0f), x));  // below 0 the result is NaN anyway
    const IVec<float> shifted = bits<float>(scaled) - 0x3f3504f3, e = shifted >> 23;
    const F f = from_bits<float>(bits<float>(scaled) - (e << 23)) - splat(1.0f);
    return {__builtin_convertvector(e, F) - select(denormal, splat(24.0f), F{}), f};
}
template <class V> INLINE Logarithm<Two<V>> reduce_log(Two<V> x) {
    const Logarithm<V> a = reduce_log(x.a), b = reduce_log(x.b);
    return {{a.n, b.n}, {a.f, b.f}};
}
template <class V> INLINE V log(V x) {
    const Logarithm<V> e = reduce_log(x);
    const V n = e.n, f = e.f, ff = f * f;
    V p = fma(f, splat(0.0691509694f), splat(-0.117895596f));
    p = fma(p, f, splat(0.118729629f));
    p = fma(p, f, splat(-0.123843916f));
    p = fma(p, f, splat(0.142186671f));
    p = fma(p, f, splat(-0.16669248f));
    p = fma(p, f, splat(0.200022265f));
    p = fma(p, f, splat(-0.249999866f));
    p = fma(p, f, splat(0.333333105f));
    V y = fma(p * f, ff, n * splat(-2.12194440e-4f));  // ln2 = 0.693359375 - 2.1219444e-4
    y = fma(ff, splat(-0.5f), y) + f;
    y = fma(n, splat(0.693359375f), y);
    const F infinity = splat(__builtin_inff());
    y = select(x == F{}, -infinity, y);
    y = select(x == infinity, infinity, y);
    return select(x >= F{}, y, splat(__builtin_nanf("")));
}
INLINE D log(D x) { return lanewise(x, [](double v) { return ::log(v); }); }

// tanh |x| = t / (t + 1), t = (e^2|x| - 1) / 2: no cancellation near 0. From 9.02 on tanh is 1 in float. r and with it the
// polynomial are of |x|, not 2|x|: that doubles coefficients, and saves an addition. A rational function with one division is a
// quarter faster (ONNX Runtime's), but 5 units off near 8; so is the best one of degrees 9 and 8, 2e-8 off before rounding.
template <class V> INLINE V tanh(V x) {
    const V size = min(splat(10.0f), abs(x));
    const V whole = fma(size, splat(2.88539008f), splat(12582912.0f)), n = whole - splat(12582912.0f);
    const V r = fma(n, splat(-1.42860677e-6f / 2), fma(n, splat(-0.693145752f / 2), size));
    V q = fma(r, splat(0.00139517023f * 32), splat(0.00836959202f * 16));  // exp_rest(2 r) * 2
    q = fma(q, r, splat(0.0416661873f * 8));
    q = fma(q, r, splat(0.166665137f * 4));
    q = fma(q, r, splat(1.0f));
    q = fma(q * r, r, r);
    const V scale = power_in_bits(whole), t = fma(q, scale, fma(scale, splat(0.5f), splat(-0.5f)));
    return with_sign(t / (t + splat(1.0f)), x);
}
INLINE D tanh(D x) { return lanewise(x, [](double v) { return ::tanh(v); }); }

// 1 / (1 + e^-x), numerator and denominator times 2^-64: neither is inf where the result is denormal, so that small results
// keep their digits and no branch asks for them. Divisions are divisions: a 14-bit reciprocal with Newton steps costs half as
// much again (7.0 us against 4.7).
template <class V> INLINE V sigmoid(V x) {
    const F small = splat(5.42101086e-20f);  // 2^-64
    const V size = min(splat(40.0f), max(splat(-104.0f), x));
    const V whole = fma(size, splat(-1.44269504f), splat(12582912.0f)), n = whole - splat(12582912.0f);
    const V r = fma(n, splat(1.42860677e-6f), fma(n, splat(0.693145752f), size));  // exp_reduced(-r)
    V q = fma(r, splat(0.00139517023f), splat(-0.00836959202f));
    q = fma(q, r, splat(0.0416661873f));
    q = fma(q, r, splat(-0.166665137f));
    q = fma(q, r, splat(0.5f));
    q = fma(q, r, splat(-1.0f));
    q = fma(q, r, splat(1.0f));
    return small / fma(q, power_in_bits(whole - splat(64.0f)), small);
}
INLINE D sigmoid(D x) {
    const D e = exp_negative(-abs(x));
    return select(x < D{}, e, splat(1.0)) / (splat(1.0) + e);
}

template <class V> INLINE V erf(V x) {
    const V t = abs(x), s = x * x;
    V p = fma(s, splat(8.34522507e-05f), splat(-0.00081374374f));
    p = fma(p, s, splat(0.00520063424f));
    p = fma(p, s, splat(-0.0268592704f));
    p = fma(p, s, splat(0.112836942f));
    p = fma(p, s, splat(-0.376126349f));
    p = fma(p, s, splat(0.128379166f));
    const V small = fma(p, x, x);
    // erfc t = e^(-t + t q(t)); from 4 on erf is 1 in float.
    const V u = min(splat(4.0f), t);
    V q = fma(u, splat(-5.2970031e-06f), splat(4.9940485e-05f));
    q = fma(q, u, splat(2.74351369e-05f));
    q = fma(q, u, splat(-0.00286912103f));
    q = fma(q, u, splat(0.022575615f));
    q = fma(q, u, splat(-0.105169497f));
    q = fma(q, u, splat(-0.635673165f));
    q = fma(q, u, splat(-0.12854144f));
    const V large = copysign(splat(1.0f) - exp_moderate(fma(q, u, -u)), x);
    return select(t > splat(0.92f), large, small);
}
INLINE D erf(D x) { return lanewise(x, [](double v) { return ::erf(v); }); }

// log(1 + e) for e in [0, 1].
template <class V> INLINE V log1p_of_unit(V e) {
    const V one_more = splat(1.0f) + e;
    return log(one_more) + (e - (one_more - splat(1.0f))) / one_more;  // what rounding 1 + e lost, to first order
}
INLINE D log1p_of_unit(D e) { return lanewise(e, [](double v) { return ::log1p(v); }); }

template <class V> INLINE V softplus(V x) {  // the identity from 20 on, as in PyTorch
    const V y = max(V{}, x) + log1p_of_unit(exp_negative(-abs(x)));
    return select(x > constant<V>(20), x, y);
}

template <class V> INLINE V expm1(V x) {
    const Reduced<V> e = reduce_exp(max(splat(-30.0f), min(splat(88.0f), x)));
    const V scale = power_in_bits(e.whole);
    return fma(expm1_reduced(e.r), scale, scale - splat(1.0f));
}
INLINE D expm1(D x) { return lanewise(x, [](double v) { return ::expm1(v); }); }

// e^(-s / 2) for a rounded square s in [0, 225], whose rounding costs more than ln2 in one part does: five operations less than
// exp. With shorter vectors not below 2^-126.
template <class V> INLINE V exp_of_minus_half(V s) {
    const V whole = fma(s, splat(-0.721347523f), splat(12582912.0f)), n = whole - splat(12582912.0f);
    const V r = fma(n, splat(1.38629436f), s);  // -2 times that of reduce_exp
    V q = fma(r, splat(2.17995348e-05f), splat(-0.000261549751f));
    q = fma(q, r, splat(0.00260413671f));
    q = fma(q, r, splat(-0.0208331421f));
    q = fma(fma(fma(q, r, splat(0.125f)), r, splat(-0.5f)), r, splat(1.0f));
    return BYTES == 64 ? scale_by_power_of_two(q, n) : q * power_in_bits(whole);
}

// The normal distribution function Phi and its density, which share e^(-x^2 / 2). Float: Phi(-t) = e^(-t^2 / 2) u P(u) with
// u = 1 / (4 + t), fitted to 5e-8 relative, so that the far tail keeps its digits where 1 + erf would lose them.
template <class V> struct Normal {
    V cdf, density;
};
template <class V> INLINE Normal<V> normal(V x) {
    constexpr float FAR = BYTES == 64 ? 15.0f : 13.0f;  // e^(-112.5) is 0 in float, e^(-84.5) 2e-37
    const V t = min(splat(FAR), abs(x)), power = exp_of_minus_half(t * t);
    const V e = BYTES == 64 ? power : select(abs(x) > splat(FAR), V{}, power);
    const V u = splat(1.0f) / (t + splat(4.0f));
    V p = fma(u, splat(7049.70605f), splat(-10394.1826f));
    p = fma(p, u, splat(5052.1709f));
    p = fma(p, u, splat(-901.725159f));
    p = fma(p, u, splat(217.071091f));
    p = fma(p, u, splat(7.27467537f));
    p = fma(p, u, splat(6.71674299f));
    p = fma(p, u, splat(1.57344127f));
    p = fma(p, u, splat(0.399233758f));
    const V tail = p * u * e;
    return {select(x < V{}, tail, splat(1.0f) - tail), e * splat(0.398942280f)};
}
INLINE Normal<D> normal(D x) {
    return {lanewise(x, [](double v) { return 0.5 * ::erfc(-0.70710678118654752440 * v); }),
            lanewise(x, [](double v) { return 0.39894228040143267794 * ::exp(-0.5 * v * v); })};
}

// x Phi(x), and its derivative Phi(x) + x phi(x) (Hendrycks and Gimpel, 2016).
template <class V> struct WithSlope {
    V y, slope;
};
template <class V> INLINE V gelu(V x) { return x * normal(x).cdf; }
template <class V> INLINE WithSlope<V> gelu_with_slope(V x) {
    const Normal<V> n = normal(x);
    return {x * n.cdf, fma(x, n.density, n.cdf)};
}
template <class V> INLINE V gelu_slope(V x) { return gelu_with_slope(x).slope; }

// The tanh approximation: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
template <class V> INLINE V gelu_tanh_inner(V x) {
    return x * constant<V>(0.79788456080286535588) * fma(x * x, constant<V>(0.044715), constant<V>(1));
}
template <class V> INLINE V gelu_tanh(V x) {
    return x * constant<V>(0.5) * (constant<V>(1) + tanh(gelu_tanh_inner(x)));
}
template <class V> INLINE V gelu_tanh_slope(V x) {
    const V t = tanh(gelu_tanh_inner(x)), one = constant<V>(1), half = constant<V>(0.5);
    const V inner_slope = constant<V>(0.79788456080286535588) * fma(x * x, constant<V>(0.134145), one);
    return half * (one + t) + half * x * (one - t * t) * inner_slope;
}
template <class V> INLINE V silu(V x) { return x * sigmoid(x); }
template <class V> INLINE WithSlope<V> silu_with_slope(V x) {
    const V s = sigmoid(x);
    return {x * s, s * fma(x, constant<V>(1) - s, constant<V>(1))};
}
template <class V> INLINE V silu_slope(V x) { return silu_with_slope(x).slope; }

}  // namespace FASTNN_ISA
}  // namespace fastnn
