// Pooling, backward: each row of dx gathers from the rows of windows that hold it, so threads never meet and sums have one
// order. Windows that do not overlap (2x2 at stride 2) write every pixel once; others add into a row that lies in L1.
//
// Runs of windows are walked as in the forward. What touching windows hand out lies tap by tap, and is dealt out pixel by
// pixel.
#include "pool.h"

namespace fastnn {
namespace FASTNN_ISA {

// The gradient that a window hands to its tap number `t`, in the channels from c on.
template <class T, class Tap> struct MaxGradient {
    const Pooling& job;
    struct At {
        Vec<T> dy;
        IVec<T> tap;
        INLINE Vec<T> to(i64 t) const { return from_bits<T>(bits<T>(dy) & (tap == tap_number<T>(t))); }
    };
    INLINE Divide<T> divide(const Span&, const Span&) const { return Divide<T>(1); }
    INLINE At at(i64 offset, int n, const Divide<T>&) const {
        return {load_n(static_cast<const T*>(job.in) + offset, n),
                load_taps<T>(static_cast<const Tap*>(job.tap) + offset, n)};
    }
};
template <class T> struct AvgGradient {
    const Pooling& job;
    struct At {
        Vec<T> dy;
        INLINE Vec<T> to(i64) const { return dy; }
    };
    INLINE Divide<T> divide(const Span& rows, const Span& cols) const { return Divide<T>(divisor_of(job, rows, cols)); }
    INLINE At at(i64 offset, int n, const Divide<T>& divide) const {
        return {divide(load_n(static_cast<const T*>(job.in) + offset, n))};
    }
};

constexpr i64 DEALT = 1024;  // elements that are dealt out at once: 4 or 8 KB on the stack, read back from L1

// How many windows `taps` pixels wide are dealt out at once, if they have so few channels; 1: none.
template <class T> INLINE i64 dealt_windows(i64 channels, i64 taps) {
    return 2 * channels > LANES<T> || taps * channels * LANES<T> > DEALT ? 1 : DEALT / (taps * channels);
}

// One pixel of at most LANES / 2 channels; `wide`: what follows it may be read and written too.
template <class T> INLINE void copy_pixel(T* to, const T* from, i64 channels, bool wide) {
    if (wide) {
        memcpy(to, from, LANES<T> / 2 * sizeof(T));
        return;
    }
    for (i64 c = 0; c < channels; c++) to[c] = from[c];
}

// What `count` windows of C channels side by side, `taps` pixels wide, hand to the pixels from dx on. `offset` is the first
// one's in dy, `beyond` elements before its end.
template <class T, class Gradient>
INLINE void deal_run(const Gradient& gradient, const Divide<T>& divide, i64 C, i64 taps, i64 count, i64 offset, i64 beyond,
                     i64 first_tap, T* dx) {
    T dealt[DEALT + LANES<T>];  // (taps, count, C)
    const i64 line = count * C, last = taps * line - LANES<T> / 2;
    for (i64 j = 0; j < taps; j++)
        for_channels<T>(line, beyond, [&](i64 c, int n) ALWAYS_INLINE {
            store(dealt + j * line + c, gradient.at(offset + c, n, divide).to(first_tap + j));
        });
    for (i64 q = 0, at = 0; q < line; q += C)
        for (i64 j = 0; j < taps; j++, at += C) copy_pixel(dx + at, dealt + j * line + q, C, at <= last);
}

// One row of windows to the row of dx that is their tap row i. y_row counts the rows of all images; `room_of_row` elements from
// dx on are written now or later. ONCE: no pixel is in two windows.
template <class T, bool ONCE, int KW, class Gradient>
INLINE void spread_row(const Pooling& job, const Gradient& gradient, i64 y_row, i64 i, T* dx, i64 room_of_row) {
    const i64 pixel = job.channels, offset = y_row * job.cols.out * pixel;
    const i64 beyond = (job.images * job.rows.out - y_row) * job.cols.out * pixel;  // from the row to the end of dy
    const Span rows = span_of(job.rows, job.adaptive, y_row % job.rows.out);
    const bool touching = ONCE && job.cols.stride == job.cols.kernel && job.cols.dilation == 1;
    const i64 most = touching                                           ? dealt_windows<T>(pixel, job.cols.kernel)
                     : !ONCE && job.cols.stride == 1 && pixel % LANES<T> ? job.cols.out
                                                                         : 1;
    for_windows(job.cols, job.adaptive, most, [&](i64 q, i64 count, const Span& cols) ALWAYS_INLINE {
        const Divide<T> divide = gradient.divide(rows, cols);
        const i64 taps = cols.end - cols.begin, step = job.cols.dilation * pixel;
        const i64 last = cols.first + (cols.end - 1) * job.cols.dilation;
        const i64 room = smaller(room_of_row - last * pixel, beyond - q * pixel);
        const i64 first_tap = i * job.cols.kernel + cols.begin, from_q = offset + q * pixel, C = count * pixel;
        T* to = dx + (cols.first + cols.begin * job.cols.dilation) * pixel;
        if (ONCE && count > 1) return deal_run(gradient, divide, pixel, taps, count, from_q, beyond - q * pixel, first_tap, to);
        const IVec<T> all = channels_of<T>(LANES<T>), tail = channels_of<T>(C % LANES<T>);
        const auto put = [&](const auto& from, i64 j, i64 c, int n) ALWAYS_INLINE {
            // What runs over into the next pixel is 0: that pixel is in no window, or adds, or is written afterwards.
            const Vec<T> v = from_bits<T>(bits<T>(from.to(first_tap + j)) & (c + LANES<T> <= C ? all : tail));
            T* p = to + j * step + c;
            store_n(p, ONCE ? v : load_n(p, n) + v, n);
        };
        if (ONCE ? C % LANES<T> != 0 : count > 1) {
            // Tap by tap: so the next pixel is written afterwards, or is added to by the windows in their order.
            for (i64 j = 0; j < taps; j++)
                for_channels<T>(C, room, [&](i64 c, int n) ALWAYS_INLINE {
                    put(gradient.at(from_q + c, n, divide), ONCE ? j : taps - 1 - j, c, n);
                });
        } else {
            for_channels<T>(C, room, [&](i64 c, int n) ALWAYS_INLINE {
                const auto from = gradient.at(from_q + c, n, divide);
                if (KW && taps == KW) {
#pragma GCC unroll 3
                    for (i64 j = 0; j < KW; j++) put(from, j, c, n);
                } else {
                    for (i64 j = 0; j < taps; j++) put(from, j, c, n);
                }
            });
        }
    });
}

// No two windows of the axis share a pixel, and every pixel is in one.
INLINE bool apart(const PoolAxis& axis) { return (axis.kernel - 1) * axis.dilation < axis.stride; }
INLINE bool tiled(const PoolAxis& axis) {
    return axis.kernel == axis.stride && axis.dilation == 1 && axis.padding == 0 && axis.out * axis.stride >= axis.size;
}

template <class T, bool ONCE, int KW, class Gradient>
static void spread_rows(const Pooling& job, const Gradient& gradient, i64 begin, i64 end) {
    const i64 row = job.cols.size * job.channels;
    const bool covered = ONCE && tiled(job.cols);
    for (i64 item = begin; item < end; item++) {
        T* dx = static_cast<T*>(job.out) + item * row;
        const i64 image = item / job.rows.size;
        bool any = false;
        if (!covered) memset(dx, 0, size_t(row) * sizeof(T));
        for_windows_of(job.rows, job.adaptive, item % job.rows.size, [&](i64 r, i64 i) {
            any = true;
            spread_row<T, ONCE, KW>(job, gradient, image * job.rows.out + r, i, dx, (end - item) * row);
        });
        if (covered && !any) memset(dx, 0, size_t(row) * sizeof(T));
    }
}

template <class T, class Gradient>
static void spread(const Pooling& job, const Gradient& gradient, i64 begin, i64 end) {
    const bool once = !job.adaptive && apart(job.rows) && apart(job.cols);
    if (once && job.cols.kernel == 2)
        spread_rows<T, true, 2>(job, gradient, begin, end);
    else if (once)
        spread_rows<T, true, 0>(job, gradient, begin, end);
    else if (job.cols.kernel == 3)
        spread_rows<T, false, 3>(job, gradient, begin, end);
    else
        spread_rows<T, false, 0>(job, gradient, begin, end);
}

template <class T> void max_pool_backward(const Pooling& job, i64 begin, i64 end) {
    if (byte_taps(job))
        spread<T>(job, MaxGradient<T, uint8_t>{job}, begin, end);
    else  // of more than 256 taps: too rare for ways of their own
        spread_rows<T, false, 0>(job, MaxGradient<T, int32_t>{job}, begin, end);
}

template <class T> void avg_pool_backward(const Pooling& job, i64 begin, i64 end) {
    spread<T>(job, AvgGradient<T>{job}, begin, end);
}

#define INSTANTIATE(kernel)                              \
    template void kernel<float>(const Pooling&, i64, i64); \
    template void kernel<double>(const Pooling&, i64, i64);
INSTANTIATE(max_pool_backward)
INSTANTIATE(avg_pool_backward)

}  // namespace FASTNN_ISA
}  // namespace fastnn
