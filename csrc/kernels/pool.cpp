// Pooling, forward: a window's taps are read once, 2x2 and 3x3 unrolled, and nothing else is; what bounds it is memory.
#include "pool.h"

namespace fastnn {
namespace FASTNN_ISA {

// A window in the image: `rows` x `cols` taps from x on, and the number of the first tap.
template <class T> struct PoolWindow {
    const T* x;
    i64 rows, cols, row_step, col_step;
    i64 first_tap, tap_row;  // the number of its first tap; the difference from one row of taps to the next
    i64 room;                // elements from its last tap to the end of x, and from its output to the end of what is written
};

// body(q, rows, cols, window) for the windows of one row of y; rows up to `end` are written after it.
template <class T, class Body> INLINE void for_windows_of_row(const Pooling& job, i64 item, i64 end, Body body) {
    const i64 image = item / job.rows.out, r = item % job.rows.out, C = job.channels;
    const Span rows = span_of(job.rows, job.adaptive, r);
    const i64 last_row = image * job.rows.size + rows.first + (rows.end - 1) * job.rows.dilation;
    const i64 beyond = (job.images * job.rows.size - last_row) * job.cols.size * C;  // from the last row of taps to the end of x
    const T* x = static_cast<const T*>(job.in);
    x += (image * job.rows.size + rows.first + rows.begin * job.rows.dilation) * job.cols.size * C;
    for_windows(job.cols, job.adaptive, [&](i64 q, const Span& cols) ALWAYS_INLINE {
        const i64 last = cols.first + (cols.end - 1) * job.cols.dilation;
        const PoolWindow<T> window = {
            x + (cols.first + cols.begin * job.cols.dilation) * C,
            rows.end - rows.begin,
            cols.end - cols.begin,
            job.rows.dilation * job.cols.size * C,
            job.cols.dilation * C,
            rows.begin * job.cols.kernel + cols.begin,
            job.cols.kernel,
            smaller(beyond - last * C, ((end - item) * job.cols.out - q) * C),
        };
        body(q, rows, cols, window);
    });
}

// body(offset, tap) for the taps of a window; KH x KW unrolled where they are given.
template <int KH, int KW, class T, class Body> INLINE void for_taps(const PoolWindow<T>& window, Body body) {
    const i64 rows = KH ? KH : window.rows, cols = KW ? KW : window.cols;
#pragma GCC unroll 3
    for (i64 i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (i64 j = 0; j < cols; j++)
            body(i * window.row_step + j * window.col_step, KH ? i * KW + j : window.first_tap + i * window.tap_row + j);
}

// KEEP: the taps are written too. A greater value or any NaN takes the place of what was found so far.
template <class T, class Tap, bool KEEP, int KH, int KW>
INLINE void max_window(const PoolWindow<T>& window, T* y, Tap* tap, i64 channels) {
    for_channels<T>(channels, window.room, [&](i64 c, int n) ALWAYS_INLINE {
        Vec<T> most = load_n(window.x + c, n);
        IVec<T> at = tap_number<T>(KH ? 0 : window.first_tap);
        for_taps<KH, KW>(window, [&](i64 offset, i64 t) ALWAYS_INLINE {
            const Vec<T> v = load_n(window.x + offset + c, n);
            const IVec<T> better = (v > most) | (v != v);
            most = better ? v : most;
            if (KEEP) at = better ? tap_number<T>(t) : at;
        });
        store_n(y + c, most, n);
        if (KEEP) store_taps<T>(tap + c, at, n);
    });
}

template <class T, class Tap, bool KEEP, int K> static void max_pool_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 offset = item * job.cols.out * job.channels;
        T* y = static_cast<T*>(job.out) + offset;
        Tap* tap = static_cast<Tap*>(job.tap) + (KEEP ? offset : 0);
        for_windows_of_row<T>(job, item, end, [&](i64 q, const Span&, const Span&, const PoolWindow<T>& window) ALWAYS_INLINE {
            const i64 c = q * job.channels;
            if (K && window.rows == K && window.cols == K)
                max_window<T, Tap, KEEP, K, K>(window, y + c, tap + (KEEP ? c : 0), job.channels);
            else
                max_window<T, Tap, KEEP, 0, 0>(window, y + c, tap + (KEEP ? c : 0), job.channels);
        });
    }
}

template <class T, class Tap, bool KEEP> static void max_pool_of(const Pooling& job, i64 begin, i64 end) {
    const i64 k = job.rows.kernel == job.cols.kernel && !job.adaptive ? job.rows.kernel : 0;
    k == 2   ? max_pool_rows<T, Tap, KEEP, 2>(job, begin, end)
    : k == 3 ? max_pool_rows<T, Tap, KEEP, 3>(job, begin, end)
             : max_pool_rows<T, Tap, KEEP, 0>(job, begin, end);
}

template <class T> void max_pool(const Pooling& job, i64 begin, i64 end) {
    if (!job.tap)
        max_pool_of<T, uint8_t, false>(job, begin, end);
    else if (byte_taps(job))
        max_pool_of<T, uint8_t, true>(job, begin, end);
    else
        max_pool_of<T, int32_t, true>(job, begin, end);
}

template <class T, class Tap> static void pick_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 offset = item * job.cols.out * job.channels;
        for_windows_of_row<T>(job, item, end, [&](i64 q, const Span&, const Span&, const PoolWindow<T>& window) ALWAYS_INLINE {
            T* y = static_cast<T*>(job.out) + offset + q * job.channels;
            const Tap* tap = static_cast<const Tap*>(job.tap) + offset + q * job.channels;
            for_channels<T>(job.channels, window.room, [&](i64 c, int n) ALWAYS_INLINE {
                const IVec<T> at = load_taps<T>(tap + c, n);
                Vec<T> picked = {};
                for_taps<0, 0>(window, [&](i64 offset, i64 t) ALWAYS_INLINE {
                    picked = at == tap_number<T>(t) ? load_n(window.x + offset + c, n) : picked;
                });
                store_n(y + c, picked, n);
            });
        });
    }
}

template <class T> void max_pool_pick(const Pooling& job, i64 begin, i64 end) {
    byte_taps(job) ? pick_rows<T, uint8_t>(job, begin, end) : pick_rows<T, int32_t>(job, begin, end);
}

// Sums row by row and then over the rows: for a window of n x n the error grows with n, not with n^2. V vectors at a time hide
// the latency of adding where windows are long.
template <int V, int KH, int KW, class T>
INLINE void sum_taps(const PoolWindow<T>& window, i64 c, int n, Vec<T> (&sum)[V]) {
    const i64 rows = KH ? KH : window.rows, cols = KW ? KW : window.cols;
    for (int v = 0; v < V; v++) sum[v] = Vec<T>{};
#pragma GCC unroll 3
    for (i64 i = 0; i < rows; i++) {
        const T* x = window.x + i * window.row_step + c;
        Vec<T> line[V] = {};
#pragma GCC unroll 3
        for (i64 j = 0; j < cols; j++, x += window.col_step)
            for (int v = 0; v < V; v++) line[v] += V == 1 ? load_n(x, n) : load(x + v * LANES<T>);
        for (int v = 0; v < V; v++) sum[v] += line[v];
    }
}

template <class T, int KH, int KW>
INLINE void avg_window(const PoolWindow<T>& window, T* y, i64 channels, const Divide<T>& divide) {
    constexpr int V = 4;
    i64 done = 0;
    if (!KH)
        for (; done + V * LANES<T> <= channels; done += V * LANES<T>) {
            Vec<T> sum[V];
            sum_taps<V, KH, KW>(window, done, LANES<T>, sum);
            for (int v = 0; v < V; v++) store(y + done + v * LANES<T>, divide(sum[v]));
        }
    for_channels<T>(channels - done, window.room - done, [&](i64 c, int n) ALWAYS_INLINE {
        Vec<T> sum[1];
        sum_taps<1, KH, KW>(window, done + c, n, sum);
        store_n(y + done + c, divide(sum[0]), n);
    });
}

template <class T, int K> static void avg_pool_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        T* y = static_cast<T*>(job.out) + item * job.cols.out * job.channels;
        for_windows_of_row<T>(job, item, end, [&](i64 q, const Span& rows, const Span& cols, const PoolWindow<T>& window) ALWAYS_INLINE {
            const Divide<T> divide(divisor_of(job, rows, cols));
            if (K && window.rows == K && window.cols == K)
                avg_window<T, K, K>(window, y + q * job.channels, job.channels, divide);
            else
                avg_window<T, 0, 0>(window, y + q * job.channels, job.channels, divide);
        });
    }
}

template <class T> void avg_pool(const Pooling& job, i64 begin, i64 end) {
    const i64 k = job.rows.kernel == job.cols.kernel && !job.adaptive ? job.rows.kernel : 0;
    k == 2   ? avg_pool_rows<T, 2>(job, begin, end)
    : k == 3 ? avg_pool_rows<T, 3>(job, begin, end)
             : avg_pool_rows<T, 0>(job, begin, end);
}

#define INSTANTIATE(kernel)                              \
    template void kernel<float>(const Pooling&, i64, i64); \
    template void kernel<double>(const Pooling&, i64, i64);
INSTANTIATE(max_pool)
INSTANTIATE(max_pool_pick)
INSTANTIATE(avg_pool)

}  // namespace FASTNN_ISA
}  // namespace fastnn
