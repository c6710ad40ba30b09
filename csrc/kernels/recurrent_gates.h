// What the sums of a step turn into, two vectors side by side: of one row or of two, so that no width leaves one alone (row by
// row the gates of 48 units take 1.04 of the time).
#pragma once
#include "functions.h"

namespace fastnn {
namespace FASTNN_ISA {

// sigmoid and tanh of a sum x, in two thirds of the operations: as if x were half a unit in its last place off, less than it is
// rounded, and 5 units more (tanh 3.5). Only where the machine scales by powers of two, and not of a double.
template <class V> INLINE V gate(V x) {
    if constexpr (!SCALES) return sigmoid(x);
    else {
        const V t = x * splat(-1.44269504f), power = scale_by_power_of_two(exp2_of_rest(above_floor(t)), t);
        return constant<V>(1) / (power + splat(1.0f));
    }
}
INLINE D gate(D x) { return sigmoid(x); }
template <class V> INLINE V squash(V x) {
    if constexpr (!SCALES) return tanh(x);
    else {  // e^2x - 1 = 2^n (2^r - 1) + 2^n - 1, without cancellation near 0
        const V t = min(splat(30.0f), x * splat(2.88539008f)), r = from_nearest(t);
        V p = fma(splat(0.000154035122f), r, splat(0.00133907353f));
        p = fma(p, r, splat(0.00961823761f));
        p = fma(p, r, splat(0.0555035733f));
        p = fma(p, r, splat(0.240226492f));
        p = fma(p, r, splat(0.693147182f));
        const V scale = scale_by_power_of_two(constant<V>(1), nearest(t)), e = fma(p * r, scale, scale - splat(1.0f));
        return e / (e + splat(2.0f));
    }
}
INLINE D squash(D x) { return tanh(x); }

// A vector of units of one row; of what is given row by row, `load` takes the vector at this place, `offset` further on.
template <class T> struct Place {
    i64 row, unit;
    int lanes;
    INLINE Vec<T> load(const T* const* rows, i64 offset = 0) const { return load_n(rows[row] + offset + unit, lanes); }
    INLINE void store(T* const* rows, i64 offset, Vec<T> v) const { store_n(rows[row] + offset + unit, v, lanes); }
};
struct Places {
    Place<float> a, b;
    INLINE Two<F> load(const float* const* rows, i64 offset = 0) const { return {a.load(rows, offset), b.load(rows, offset)}; }
    INLINE void store(float* const* rows, i64 offset, Two<F> v) const { a.store(rows, offset, v.a), b.store(rows, offset, v.b); }
};

// body(place) for the units [u, u1) of n rows: whole vectors in pairs, one that is left, and what is less than a vector.
template <class T, class Body> INLINE void for_places(i64 n, i64 u, i64 u1, Body body) {
    constexpr int L = LANES<T>;
    const i64 end = u1 - (u1 - u) % L;
    Place<T> next = {0, u, L};
    const auto take = [&] {
        const Place<T> now = next;
        next.unit += L;
        if (next.unit == end) next.unit = u, next.row++;
        return now;
    };
    i64 whole = n * (end - u) / L;
    if constexpr (sizeof(T) == sizeof(float))
        for (; whole >= 2; whole -= 2) {
            const Place<T> one = take();
            body(Places{one, take()});
        }
    const i64 rest = whole + (end < u1 ? n : 0);  // one loop for both: the body is inlined once
    for (i64 i = 0; i < rest; i++) body(i < whole ? take() : Place<T>{i - whole, end, int(u1 - end)});
}

// `a` (rows of slots * H) is overwritten, where it is kept by the gates.
template <bool KEEP, class T, class At>
INLINE void lstm_state(const At& at, T* const* a, const T* const* before, T* const* c, i64 H) {
    const auto in = gate(at.load(a)), forget = gate(at.load(a, H)), made = squash(at.load(a, 2 * H));
    at.store(c, 0, fma(forget, at.load(before), in * made));
    if constexpr (KEEP) at.store(a, 0, in), at.store(a, H, forget), at.store(a, 2 * H, made);
}
template <bool KEEP, class T, class At>
INLINE void lstm_output(const At& at, T* const* a, const T* const* c, T* const* h, i64 H) {
    const auto open = gate(at.load(a, 3 * H));
    at.store(h, 0, open * squash(at.load(c)));
    if constexpr (KEEP) at.store(a, 3 * H, open);
}
template <bool KEEP, class T, class At> INLINE void gru_reset(const At& at, T* const* a, i64 H) {
    const auto reset = gate(at.load(a)), stay = gate(at.load(a, H));
    at.store(a, 3 * H, fma(reset, at.load(a, 2 * H), at.load(a, 3 * H)));
    at.store(a, H, stay);
    if constexpr (KEEP) at.store(a, 0, reset);
}
template <bool KEEP, class T, class At>
INLINE void gru_output(const At& at, T* const* a, const T* const* before, T* const* h, i64 H) {
    const auto made = squash(at.load(a, 3 * H));
    at.store(h, 0, fma(at.load(a, H), at.load(before) - made, made));
    if constexpr (KEEP) at.store(a, 3 * H, made);
}
template <class T, class At> INLINE void rnn_output(const At& at, T* const* h, bool relu) {
    const auto x = at.load(h);
    const decltype(x) zero = {};
    at.store(h, 0, relu ? select(x < zero, zero, x) : squash(x));  // NaN stays NaN
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
