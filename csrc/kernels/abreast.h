// Vectors of float that go through a function side by side, operation by operation. A function is one chain of dependent
// operations; chains one after the other fill the machine's scheduler with operations that wait. Two<V> is two V, Four
// therefore four vectors: what is written for any V, `template <class V> V f(V x)`, takes them as it takes one.
#pragma once
#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

typedef Vec<float> F;
typedef Vec<double> D;

// The functions of vec.h by the type of what they are given, as operators are.
INLINE F fma(F a, F b, F c) { return fma<float>(a, b, c); }
INLINE D fma(D a, D b, D c) { return fma<double>(a, b, c); }
INLINE F max(F a, F b) { return max<float>(a, b); }
INLINE D max(D a, D b) { return max<double>(a, b); }
INLINE F min(F a, F b) { return min<float>(a, b); }
INLINE D min(D a, D b) { return min<double>(a, b); }
INLINE F sqrt(F a) { return sqrt<float>(a); }
INLINE D sqrt(D a) { return sqrt<double>(a); }
INLINE F abs(F a) { return abs<float>(a); }
INLINE D abs(D a) { return abs<double>(a); }
INLINE F copysign(F size, F sign) { return copysign<float>(size, sign); }
INLINE F with_sign(F size, F sign) {  // size >= 0: one operation less than copysign
    return from_bits<float>(bits<float>(size) | (bits<float>(sign) & bits<float>(splat(-0.0f))));
}
INLINE F select(IVec<float> mask, F yes, F no) { return select<float>(mask, yes, no); }
INLINE D select(IVec<double> mask, D yes, D no) { return select<double>(mask, yes, no); }

// A number in every lane of whatever V is.
template <class V> INLINE V constant(double x) { return V(splat(float(x))); }
template <> INLINE D constant<D>(double x) { return splat(x); }

template <class V> struct Two {
    V a, b;
    Two() = default;
    INLINE Two(V a, V b) : a(a), b(b) {}
    INLINE Two(F x) : a(x), b(x) {}
    typedef Two<decltype(V() < V())> Mask;

    friend INLINE Two operator-(Two x) { return {-x.a, -x.b}; }
    friend INLINE Two operator+(Two x, Two y) { return {x.a + y.a, x.b + y.b}; }
    friend INLINE Two operator-(Two x, Two y) { return {x.a - y.a, x.b - y.b}; }
    friend INLINE Two operator*(Two x, Two y) { return {x.a * y.a, x.b * y.b}; }
    friend INLINE Two operator/(Two x, Two y) { return {x.a / y.a, x.b / y.b}; }
    friend INLINE Mask operator<(Two x, Two y) { return {x.a < y.a, x.b < y.b}; }
    friend INLINE Mask operator>(Two x, Two y) { return {x.a > y.a, x.b > y.b}; }
    friend INLINE Mask operator<=(Two x, Two y) { return {x.a <= y.a, x.b <= y.b}; }
    friend INLINE Mask operator>=(Two x, Two y) { return {x.a >= y.a, x.b >= y.b}; }
    friend INLINE Mask operator==(Two x, Two y) { return {x.a == y.a, x.b == y.b}; }
    friend INLINE Two fma(Two x, Two y, Two z) { return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)}; }
    friend INLINE Two max(Two x, Two y) { return {max(x.a, y.a), max(x.b, y.b)}; }
    friend INLINE Two min(Two x, Two y) { return {min(x.a, y.a), min(x.b, y.b)}; }
    friend INLINE Two sqrt(Two x) { return {sqrt(x.a), sqrt(x.b)}; }
    friend INLINE Two abs(Two x) { return {abs(x.a), abs(x.b)}; }
    friend INLINE Two copysign(Two size, Two sign) { return {copysign(size.a, sign.a), copysign(size.b, sign.b)}; }
    friend INLINE Two with_sign(Two size, Two sign) { return {with_sign(size.a, sign.a), with_sign(size.b, sign.b)}; }
    friend INLINE Two select(Mask m, Two yes, Two no) { return {select(m.a, yes.a, no.a), select(m.b, yes.b, no.b)}; }
    friend INLINE Two above_floor(Two x) { return {above_floor(x.a), above_floor(x.b)}; }
    friend INLINE Two nearest(Two x) { return {nearest(x.a), nearest(x.b)}; }
    friend INLINE Two from_nearest(Two x) { return {from_nearest(x.a), from_nearest(x.b)}; }
    friend INLINE Two power_in_bits(Two x) { return {power_in_bits(x.a), power_in_bits(x.b)}; }
    friend INLINE Two scale_by_power_of_two(Two x, Two n) {
        return {scale_by_power_of_two(x.a, n.a), scale_by_power_of_two(x.b, n.b)};
    }
};
typedef Two<Two<F>> Four;

template <class M> INLINE Two<M> operator&(Two<M> x, Two<M> y) { return {x.a & y.a, x.b & y.b}; }
template <class M> INLINE bool all_lanes(Two<M> mask) { return all_lanes(mask.a & mask.b); }

// What lies at p as one V or several, and back; n lanes of the last one (of a single one) only.
template <class T> INLINE Vec<T> load_as(Vec<T>, const T* p, int n) { return load_n(p, n); }
template <class V> INLINE Two<V> load_as(Two<V>, const float* p, int n) {
    return {load_as(V(), p, n), load_as(V(), p + sizeof(V) / sizeof(float), n)};
}
template <class V> INLINE void store_n(float* p, Two<V> v, int n) {
    store_n(p, v.a, n);
    store_n(p + sizeof(V) / sizeof(float), v.b, n);
}

// body(offset, lanes of the vector, V) over n elements: four vectors at once, then two, then each; the last may be short.
template <class T, class Body> INLINE void for_abreast(i64 n, Body body) {
    constexpr int L = LANES<T>;
    i64 i = 0;
    if constexpr (sizeof(T) == sizeof(float)) {
        for (; i + 4 * L <= n; i += 4 * L) body(i, L, Four());
        for (; i + 2 * L <= n; i += 2 * L) body(i, L, Two<F>());
    }
    for_vectors<T>(n - i, [&](i64 j, int lanes) __attribute__((always_inline)) { body(i + j, lanes, Vec<T>()); });
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
