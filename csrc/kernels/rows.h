// Passes over one row, shared by the softmax family and the losses.
#pragma once
#include "functions.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> INLINE Vec<T> keep_first(Vec<T> v, int n, Vec<T> otherwise) {
    return n == LANES<T> ? v : select<T>(lane_numbers<T>() < splat<T>(T(n)), v, otherwise);
}

// The largest of a row; NaN where there is one.
template <class T> static inline T row_max(const T* x, i64 cols) {
    const Vec<T> least = splat<T>(-T(__builtin_inf()));
    Vec<T> a = least, b = least;
    i64 i = 0;
    const auto take = [](Vec<T> acc, Vec<T> v) { return select<T>(acc != acc, acc, max<T>(acc, v)); };
    for (; i + 2 * LANES<T> <= cols; i += 2 * LANES<T>) {
        a = take(a, load(x + i));
        b = take(b, load(x + i + LANES<T>));
    }
    for_vectors<T>(cols - i, [&](i64 j, int n) { a = take(a, keep_first<T>(load_n(x + i + j, n), n, least)); });
    a = take(a, b);
    T top = a[0];
    for (int l = 1; l < LANES<T>; l++) top = a[l] > top || a[l] != a[l] ? T(a[l]) : top;
    return top;
}

// The sum of body(offset, first) over the vectors of a row.
template <class T, class Body> INLINE T sum_over(i64 cols, Body body) {
    Vec<T> sum = {};
    for_vectors<T>(cols, [&](i64 i, int n) { sum += keep_first<T>(body(i, n), n, Vec<T>{}); });
    return sum_lanes<T>(sum);
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
