// Pooling, forward: a window's taps are read once, 2x2 and 3x3 unrolled, and nothing else is; what bounds it is memory.
#include "pool.h"

namespace fastnn {
namespace FASTNN_ISA {

// A window in the image, or a run of them: `rows` x `cols` taps from x on, and the number of the first tap.
template <class T> struct PoolWindow {
    const T* x;
    i64 rows, cols, row_step, col_step;
    i64 first_tap, tap_row;  // the number of its first tap; the difference from one row of taps to the next
    i64 room;                // elements from its last tap to the end of x, and from its output to the end of what is written
    i64 channels;            // of all windows of the run
};

// The run of windows of C channels from `window` on, `stride` elements apart: the pixels of a tap side by side in `to`. x_room: from
// the run's last tap to the end of x.
template <class T>
INLINE void gather_run(PoolWindow<T>& window, i64 C, i64 stride, i64 x_room, T* to) {
    const i64 count = window.channels / C;
    const T* x = window.x;
    window.x = to;
    for (i64 i = 0; i < window.rows; i++)
        for (i64 j = 0; j < window.cols; j++)
            for (i64 q = 0; q < count; q++, to += C)
                copy_pixel(to, x + i * window.row_step + j * window.col_step + q * stride, C, LANES<T> / 2 <= x_room);
    window.row_step = window.cols * window.channels;
    window.col_step = window.channels;
}

// body(q, rows, cols, window) for the windows of one row of y, or runs of them; rows up to `end` are written after it.
template <class T, class Body> INLINE void for_windows_of_row(const Pooling& job, i64 item, i64 end, Body body) {
    const i64 image = item / job.rows.out, r = item % job.rows.out, C = job.channels, stride = job.cols.stride;
    const Span rows = span_of(job.rows, job.adaptive, r);
    const i64 last_row = image * job.rows.size + rows.first + (rows.end - 1) * job.rows.dilation;
    const i64 beyond = (job.images * job.rows.size - last_row) * job.cols.size * C;  // from the last row of taps to the end of x
    const T* x = static_cast<const T*>(job.in);
    x += (image * job.rows.size + rows.first + rows.begin * job.rows.dilation) * job.cols.size * C;
    T gathered[GATHERED + LANES<T>];
    const i64 most = stride == 1 ? job.cols.out : gathered_windows<T>(C, (rows.end - rows.begin) * job.cols.kernel);
    for_windows(job.cols, job.adaptive, most, [&](i64 q, i64 count, const Span& cols) ALWAYS_INLINE {
        const i64 last = cols.first + (cols.end - 1) * job.cols.dilation;
        const i64 x_room = beyond - last * C, y_room = ((end - item) * job.cols.out - q) * C;
        PoolWindow<T> window = {
            x + (cols.first + cols.begin * job.cols.dilation) * C,
            rows.end - rows.begin,
            cols.end - cols.begin,
            job.rows.dilation * job.cols.size * C,
            job.cols.dilation * C,
            rows.begin * job.cols.kernel + cols.begin,
            job.cols.kernel,
            count > 1 && stride > 1 ? y_room : smaller(x_room, y_room),
            count * C,
        };
        if (count > 1 && stride > 1) gather_run(window, C, stride * C, x_room - (count - 1) * stride * C, gathered);
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
INLINE void max_window(const PoolWindow<T>& window, T* y, Tap* tap) {
    for_channels<T>(window.channels, window.room, [&](i64 c, int n) ALWAYS_INLINE {
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

// Any window, and those at the edges: out of line, or half of the code would be copies of this.
template <class T, class Tap, bool KEEP>
static __attribute__((noinline)) void max_any_window(const PoolWindow<T>& window, T* y, Tap* tap) {
    max_window<T, Tap, KEEP, 0, 0>(window, y, tap);
}

template <class T, class Tap, bool KEEP, int K> static void max_pool_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        const i64 offset = item * job.cols.out * job.channels;
        T* y = static_cast<T*>(job.out) + offset;
        Tap* tap = static_cast<Tap*>(job.tap) + (KEEP ? offset : 0);
        for_windows_of_row<T>(job, item, end, [&](i64 q, const Span&, const Span&, const PoolWindow<T>& window) ALWAYS_INLINE {
            const i64 c = q * job.channels;
            if (K && window.rows == K && window.cols == K)
                max_window<T, Tap, KEEP, K, K>(window, y + c, tap + (KEEP ? c : 0));
            else
                max_any_window<T, Tap, KEEP>(window, y + c, tap + (KEEP ? c : 0));
        });
    }
}

template <class T, class Tap, bool KEEP> static void max_pool_of(const Pooling& job, i64 begin, i64 end) {
    const i64 k = job.rows.kernel == job.cols.kernel && !job.adaptive ? job.rows.kernel : 0;
    if (sizeof(Tap) == 1 && k == 2) return max_pool_rows<T, uint8_t, KEEP, 2>(job, begin, end);
    if (sizeof(Tap) == 1 && k == 3) return max_pool_rows<T, uint8_t, KEEP, 3>(job, begin, end);
    max_pool_rows<T, Tap, KEEP, 0>(job, begin, end);
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
            for_channels<T>(window.channels, window.room, [&](i64 c, int n) ALWAYS_INLINE {
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
INLINE void avg_window(const PoolWindow<T>& window, T* y, const Divide<T>& divide) {
    const i64 channels = window.channels;
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

template <class T>
static __attribute__((noinline)) void avg_any_window(const PoolWindow<T>& window, T* y, const Divide<T>& divide) {
    avg_window<T, 0, 0>(window, y, divide);
}

template <class T, int K> static void avg_pool_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) {
        T* y = static_cast<T*>(job.out) + item * job.cols.out * job.channels;
        for_windows_of_row<T>(job, item, end, [&](i64 q, const Span& rows, const Span& cols, const PoolWindow<T>& window) ALWAYS_INLINE {
            const Divide<T> divide(divisor_of(job, rows, cols));
            if (K && window.rows == K && window.cols == K)
                avg_window<T, K, K>(window, y + q * job.channels, divide);
            else
                avg_any_window<T>(window, y + q * job.channels, divide);
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
