// Passes over one row, shared by the softmax family and the losses.
#pragma once
#include "functions.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> INLINE Vec<T> keep_first(Vec<T> v, int n, Vec<T> otherwise) {
    return n == LANES<T> ? v : select<T>(lane_numbers<T>() < splat<T>(T(n)), v, otherwise);
}

// The largest of a row, NaN passed over: whoever subtracts it meets the NaN again.
template <class T> INLINE T row_max(const T* x, i64 cols) {
    const Vec<T> least = splat<T>(-T(__builtin_inf()));
    Vec<T> a = least, b = least;
    i64 i = 0;
    for (; i + 2 * LANES<T> <= cols; i += 2 * LANES<T>) {
        a = max<T>(load(x + i), a);
        b = max<T>(load(x + i + LANES<T>), b);
    }
    for_vectors<T>(cols - i, [&](i64 j, int n) { a = max<T>(keep_first<T>(load_n(x + i + j, n), n, least), a); });
    return max_lanes<T>(max<T>(a, b));
}

// The sum of body(offset, first) over the vectors of a row.
template <class T, class Body> INLINE T sum_over(i64 cols, Body body) {
    Vec<T> sum = {};
    for_vectors<T>(cols, [&](i64 i, int n) { sum += keep_first<T>(body(i, n), n, Vec<T>{}); });
    return sum_lanes<T>(sum);
}

// The largest of each row and log(sum(exp(x - largest))), for up to LANES rows with one logarithm: for rows of 16 half the
// time. Kept apart, because their sum would round away the digits of small differences between large x.
template <class T> constexpr i64 ROW_BLOCK = LANES<T>;
template <class T> struct LogSums {
    T top[LANES<T>], log_sum[LANES<T>];
};
template <class T> INLINE LogSums<T> log_sums(const T* x, i64 rows, i64 cols) {
    LogSums<T> out = {};
    T(&top)[LANES<T>] = out.top, (&sum)[LANES<T>] = out.log_sum;
    for (i64 r = 0; r < rows; r++) {
        const T* row = x + r * cols;
        top[r] = row_max(row, cols);
        const Vec<T> shift = splat<T>(top[r]);
        sum[r] = sum_over<T>(cols, [&](i64 i, int n) { return exp_negative(load_n(row + i, n) - shift); });
    }
    store(sum, log(load(sum)));
    return out;
}

// body(first row, rows) over [begin, end) in blocks whose rows stay in L1 together (at most 4096 elements), or one by one. What
// follows a row's logarithm waits 40 ns for it: log-softmax of 128 rows of 1,000 takes 0.84 of the time in blocks of four.
template <class T, class Body> INLINE void for_row_blocks(i64 begin, i64 end, i64 cols, Body body) {
    const i64 most = cols * ROW_BLOCK<T> <= 4096 ? ROW_BLOCK<T> : cols < 4096 ? 4096 / cols : 1;
    for (i64 r = begin; r < end; r += most) body(r, end - r < most ? end - r : most);
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
