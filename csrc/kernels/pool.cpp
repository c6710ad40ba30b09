// Pooling, forward: a window's taps are read once, 2x2 and 3x3 unrolled, and nothing else is; what bounds it is memory.
#include "pool.h"

namespace fastnn {
namespace FASTNN_ISA {

// How far ahead images that L2 has no room for are fetched, in bytes: 32 images of 56 x 56, 64 channels, the greatest of 2 x 2
// take 0.6 of the time, of 3 x 3 0.55, a mean 0.88 (2 KB ahead: 1, 0.6, 1.05). With AVX2 it was not measured.
constexpr i64 FETCHED = sizeof(Vec<float>) == 64 ? 16 << 10 : 0, LARGE = 2 << 20;

// `count` windows in the image side by side: `rows` x `cols` taps of the first from x on, and the number of its first tap.
template <class T> struct PoolRun {
    const T* x;
    i64 rows, cols, row_step, col_step;
    i64 first_tap, tap_row;  // the number of its first tap; the difference from one row of taps to the next
    i64 channels;            // of a window
    i64 count, x_step;       // from a window to the next; in y they are `channels` apart
    i64 x_room, y_room;      // elements from its last tap to the end of x, and from its output to the end of what is written
    i64 ahead;               // elements; 0: nothing is fetched
    INLINE void fetch() const {  // what a later window has that the one before it has not
        if (ahead) fetch_rows(x + ahead, rows, row_step, x_step);
    }
    // A function of its own, whose numbers do not fill the caller's registers.
    __attribute__((noinline)) static void fetch_rows(const T* from, i64 rows, i64 row_step, i64 n) {
        asm volatile("");  // else its calls are left out, as they change nothing
        for (i64 i = 0; i < rows; i++, from += row_step)
            for (i64 at = 0; at < n; at += 64 / i64(sizeof(T))) __builtin_prefetch(from + at);
    }
    INLINE void next() {
        x += x_step;
        x_room -= x_step;
        y_room -= channels;
    }
};

// body(q, rows, cols, run) for the windows of one row of y, in runs; rows up to `end` are written after it.
template <class T, class Body> INLINE void for_runs_of_row(const Pooling& job, i64 item, i64 end, Body body) {
    const i64 image = item / job.rows.out, r = item % job.rows.out, C = job.channels;
    const Span rows = span_of(job.rows, job.adaptive, r);
    const i64 last_row = image * job.rows.size + rows.first + (rows.end - 1) * job.rows.dilation;
    const i64 beyond = (job.images * job.rows.size - last_row) * job.cols.size * C;  // from the last row of taps to x's end
    const T* x = static_cast<const T*>(job.in);
    x += (image * job.rows.size + rows.first + rows.begin * job.rows.dilation) * job.cols.size * C;
    const bool side_by_side = job.cols.stride == 1;
    const bool large = job.images * job.rows.size * job.cols.size * C * i64(sizeof(T)) > LARGE;
    for_windows(job.cols, job.adaptive, job.cols.out, [&](i64 q, i64 count, const Span& cols) ALWAYS_INLINE {
        const i64 last = cols.first + (cols.end - 1) * job.cols.dilation;
        PoolRun<T> run = {
            x + (cols.first + cols.begin * job.cols.dilation) * C,
            rows.end - rows.begin,
            cols.end - cols.begin,
            job.rows.dilation * job.cols.size * C,
            job.cols.dilation * C,
            rows.begin * job.cols.kernel + cols.begin,
            job.cols.kernel,
            side_by_side ? count * C : C,
            side_by_side ? 1 : count,
            job.cols.stride * C,
            beyond - last * C,
            ((end - item) * job.cols.out - q) * C,
            large ? FETCHED / i64(sizeof(T)) : 0,
        };
        body(q, rows, cols, run);
    });
}

// body(offset, tap) for the taps of a window; KH x KW unrolled where they are given.
template <int KH, int KW, class T, class Body> INLINE void for_taps(const PoolRun<T>& run, Body body) {
    const i64 rows = KH ? KH : run.rows, cols = KW ? KW : run.cols;
#pragma GCC unroll 3
    for (i64 i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (i64 j = 0; j < cols; j++)
            body(i * run.row_step + j * run.col_step, KH ? i * KW + j : run.first_tap + i * run.tap_row + j);
}

// body(window, channel, n, offset) for the vectors of all windows of a run: the window with its x, and the vector's place in y.
template <class T, class Body> INLINE void for_vectors_of(PoolRun<T> run, Body body) {
    for (i64 at = 0; at < run.count * run.channels; at += run.channels, run.next()) {
        run.fetch();
        for_channels<T>(run.channels, smaller(run.x_room, run.y_room),
                        [&](i64 c, int n) ALWAYS_INLINE { body(run, c, n, at + c); });
    }
}

// The greatest of a window and its tap, in the channels that read(offset) reads. A greater value or any NaN takes the place of
// what was found so far.
template <class T, int K, class Read> INLINE Vec<T> greatest(const PoolRun<T>& window, IVec<T>& at, Read read) {
    Vec<T> most = read(0);
    at = tap_number<T>(K ? 0 : window.first_tap);
    for_taps<K, K>(window, [&](i64 offset, i64 t) ALWAYS_INLINE {
        const Vec<T> v = read(offset);
        const IVec<T> better = (v > most) | (v != v);
        most = better ? v : most;
        at = better ? tap_number<T>(t) : at;
    });
    return most;
}

// KEEP: the taps are written too. Two windows share a vector where half of one holds all channels.
template <class T, class Tap, bool KEEP, int K> static __attribute__((noinline)) void max_run(PoolRun<T> run, T* y, Tap* tap) {
    constexpr int HALF = LANES<T> / 2;
    const i64 C = run.channels;
    IVec<T> at;
    if (C <= HALF)
        for (; run.count > 1 && run.x_room - run.x_step >= HALF && run.y_room - C >= HALF;
             run.next(), run.next(), run.count -= 2) {
            store_halves(y, y + C, greatest<T, K>(run, at, [&](i64 offset) ALWAYS_INLINE {
                return load_halves(run.x + offset, run.x + run.x_step + offset);
            }));
            y += 2 * C;
            if (!KEEP) continue;
            Tap both[LANES<T>];
            store_taps<T>(both, at, LANES<T>);
            memcpy(tap, both, HALF * sizeof(Tap));
            memcpy(tap + C, both + HALF, HALF * sizeof(Tap));
            tap += 2 * C;
        }
    for_vectors_of<T>(run, [&](const PoolRun<T>& window, i64 c, int n, i64 at_y) ALWAYS_INLINE {
        const auto read = [&](i64 offset) ALWAYS_INLINE { return load_n(window.x + offset + c, n); };
        store_n(y + at_y, greatest<T, K>(window, at, read), n);
        if (KEEP) store_taps<T>(tap + at_y, at, n);
    });
}

// 2 x 2 and 3 x 3 are unrolled.
INLINE i64 unrolled(const Pooling& job) {
    const i64 k = job.rows.kernel == job.cols.kernel && !job.adaptive ? job.rows.kernel : 0;
    return k == 2 || k == 3 ? k : 0;
}

template <class T, class Tap, bool KEEP> static void max_pool_rows(const Pooling& job, i64 begin, i64 end) {
    const i64 unroll = sizeof(Tap) == 1 ? unrolled(job) : 0;
    for (i64 item = begin; item < end; item++)
        for_runs_of_row<T>(job, item, end, [&](i64 q, const Span&, const Span&, const PoolRun<T>& run) ALWAYS_INLINE {
            const i64 at = (item * job.cols.out + q) * job.channels, k = run.rows == unroll && run.cols == unroll ? unroll : 0;
            T* y = static_cast<T*>(job.out) + at;
            Tap* tap = static_cast<Tap*>(job.tap) + (KEEP ? at : 0);
            k == 2   ? max_run<T, Tap, KEEP, 2>(run, y, tap)
            : k == 3 ? max_run<T, Tap, KEEP, 3>(run, y, tap)
                     : max_run<T, Tap, KEEP, 0>(run, y, tap);
        });
}

template <class T> void max_pool(const Pooling& job, i64 begin, i64 end) {
    if (!job.tap)
        max_pool_rows<T, uint8_t, false>(job, begin, end);
    else if (byte_taps(job))
        max_pool_rows<T, uint8_t, true>(job, begin, end);
    else
        max_pool_rows<T, int32_t, true>(job, begin, end);
}

template <class T, class Tap> static void pick_rows(const Pooling& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++)
        for_runs_of_row<T>(job, item, end, [&](i64 q, const Span&, const Span&, const PoolRun<T>& run) ALWAYS_INLINE {
            const i64 first = (item * job.cols.out + q) * job.channels;
            T* y = static_cast<T*>(job.out) + first;
            const Tap* tap = static_cast<const Tap*>(job.tap) + first;
            for_vectors_of<T>(run, [&](const PoolRun<T>& window, i64 c, int n, i64 at_y) ALWAYS_INLINE {
                const IVec<T> at = load_taps<T>(tap + at_y, n);
                Vec<T> picked = {};
                for_taps<0, 0>(window, [&](i64 offset, i64 t) ALWAYS_INLINE {
                    picked = at == tap_number<T>(t) ? load_n(window.x + offset + c, n) : picked;
                });
                store_n(y + at_y, picked, n);
            });
        });
}

template <class T> void max_pool_pick(const Pooling& job, i64 begin, i64 end) {
    byte_taps(job) ? pick_rows<T, uint8_t>(job, begin, end) : pick_rows<T, int32_t>(job, begin, end);
}

// Sums row by row and then over the rows: for a window of n x n the error grows with n, not with n^2. V vectors at a time hide
// the latency of adding where windows are long.
template <int V, int K, class T> INLINE void sum_taps(const PoolRun<T>& window, i64 c, int n, Vec<T> (&sum)[V]) {
    const i64 rows = K ? K : window.rows, cols = K ? K : window.cols;
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

template <class T, int K> static __attribute__((noinline)) void avg_run(PoolRun<T> run, T* y, const Divide<T>& divide) {
    constexpr int V = 4;
    for (; run.count > 0; run.count--, y += run.channels, run.next()) {
        i64 done = 0;
        run.fetch();
        for (; !K && done + V * LANES<T> <= run.channels; done += V * LANES<T>) {
            Vec<T> sum[V];
            sum_taps<V, K>(run, done, LANES<T>, sum);
            for (int v = 0; v < V; v++) store(y + done + v * LANES<T>, divide(sum[v]));
        }
        for_channels<T>(run.channels - done, smaller(run.x_room, run.y_room) - done, [&](i64 c, int n) ALWAYS_INLINE {
            Vec<T> sum[1];
            sum_taps<1, K>(run, done + c, n, sum);
            store_n(y + done + c, divide(sum[0]), n);
        });
    }
}

template <class T> void avg_pool(const Pooling& job, i64 begin, i64 end) {
    const i64 unroll = unrolled(job);
    for (i64 item = begin; item < end; item++)
        for_runs_of_row<T>(job, item, end, [&](i64 q, const Span& rows, const Span& cols, const PoolRun<T>& run) ALWAYS_INLINE {
            const Divide<T> divide(divisor_of(job, rows, cols));
            T* y = static_cast<T*>(job.out) + (item * job.cols.out + q) * job.channels;
            const i64 k = run.rows == unroll && run.cols == unroll ? unroll : 0;
            k == 2 ? avg_run<T, 2>(run, y, divide) : k == 3 ? avg_run<T, 3>(run, y, divide) : avg_run<T, 0>(run, y, divide);
        });
}

#define INSTANTIATE(kernel)                              \
    template void kernel<float>(const Pooling&, i64, i64); \
    template void kernel<double>(const Pooling&, i64, i64);
INSTANTIATE(max_pool)
INSTANTIATE(max_pool_pick)
INSTANTIATE(avg_pool)

}  // namespace FASTNN_ISA
}  // namespace fastnn
