// Walking over the windows of a pool, for pool.cpp and pool_backward.cpp. Channels lie side by side, so a tap of a window is a
// run of whole vectors, and windows are combined lane by lane.
//
// The last vector of a pixel may run over into the next pixels, which are written later anyway: where C is no multiple of LANES
// this costs nothing, a masked store 12 cycles on an AMD Zen. Vectors are cut only at the end of what a call writes, where
// another thread's rows begin, and at the end of what it reads.
//
// Windows inside the image are walked in runs: what they have in common is worked out once, 3 ns a window. At stride 1 a run is
// as one window with the channels of all of them, so that few channels fill vectors too.
#pragma once
#include "kernels.h"

#include "../vec.h"

// On the lambdas of a window: a call of one, with all it captures in memory, costs more than the window of 8 channels itself.
#define ALWAYS_INLINE __attribute__((always_inline))

namespace fastnn {
namespace FASTNN_ISA {

// The taps [begin, end) of a window are in the image; tap t lies at first + t * dilation.
struct Span {
    i64 first, begin, end;
};

INLINE Span span_of(const PoolAxis& axis, bool adaptive, i64 q) {
    if (adaptive) {
        const i64 first = q * axis.size / axis.out;
        return {first, 0, ((q + 1) * axis.size + axis.out - 1) / axis.out - first};
    }
    const i64 first = q * axis.stride - axis.padding, room = axis.size - first;  // room > 0
    const i64 begin = first < 0 ? (axis.dilation - 1 - first) / axis.dilation : 0;
    const i64 end = (axis.kernel - 1) * axis.dilation < room ? axis.kernel : (room + axis.dilation - 1) / axis.dilation;
    return {first, begin, end};
}

// The windows [begin, end) of an axis have all their taps in the image.
struct Inside {
    i64 begin, end;
};
INLINE Inside inside(const PoolAxis& axis, bool adaptive) {
    if (adaptive) return {0, 0};
    const i64 last = axis.size - 1 - (axis.kernel - 1) * axis.dilation + axis.padding;  // the last one's begin + padding
    const i64 end = last < 0 ? 0 : last / axis.stride + 1;
    return {(axis.padding + axis.stride - 1) / axis.stride, end < axis.out ? end : axis.out};
}

// body(q, count, span) for the windows [q, q + count) of a row, until all have been: one, or up to `most` inside the image,
// where `span` is the first one's and the others have the same taps.
template <class Body> INLINE void for_windows(const PoolAxis& axis, bool adaptive, i64 most, Body body) {
    const Inside whole = inside(axis, adaptive);
    for (i64 q = 0, count; q < axis.out; q += count) {
        const bool within = q >= whole.begin && q < whole.end;
        count = within && whole.end - q < most ? whole.end - q : within ? most : 1;
        body(q, count, within ? Span{q * axis.stride - axis.padding, 0, axis.kernel} : span_of(axis, adaptive, q));
    }
}

// body(q, t) for every window q that holds pixel `at`, as its tap t.
template <class Body> INLINE void for_windows_of(const PoolAxis& axis, bool adaptive, i64 at, Body body) {
    if (adaptive) {
        const i64 end = ((at + 1) * axis.out + axis.size - 1) / axis.size;
        for (i64 q = at * axis.out / axis.size; q < end; q++) body(q, at - q * axis.size / axis.out);
        return;
    }
    const i64 beyond = at + axis.padding - (axis.out - 1) * axis.stride;  // what the last window leaves for t * dilation
    for (i64 t = beyond > 0 ? (beyond + axis.dilation - 1) / axis.dilation : 0; t < axis.kernel; t++) {
        const i64 begin = at + axis.padding - t * axis.dilation;
        if (begin < 0) return;
        if (begin % axis.stride == 0) body(begin / axis.stride, t);
    }
}

INLINE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// body(c, n) for the vectors of one pixel's C channels, of the `room` elements from its first one on that may be touched: n is
// LANES also for a last vector that runs over.
template <class T, class Body> INLINE void for_channels(i64 channels, i64 room, Body body) {
    i64 c = 0;
    for (; c + LANES<T> <= room && c < channels; c += LANES<T>) body(c, LANES<T>);
    if (c < channels) body(c, int(channels - c));
}

template <class T> INLINE IVec<T> channels_of(i64 n) {  // all ones in the lanes below n
    return lane_numbers<T>() < splat<T>(T(n < LANES<T> ? n : LANES<T>));
}

// ---- tap numbers, stored in a byte where they fit ----

template <class T> INLINE void store_taps(uint8_t* p, IVec<T> v, int n) {
    if (n == LANES<T>) return store_bytes<T>(p, v);
    for (int i = 0; i < n; i++) p[i] = uint8_t(v[i]);
}
template <class T> INLINE void store_taps(int32_t* p, IVec<T> v, int n) {
    for (int i = 0; i < n; i++) p[i] = int32_t(v[i]);
}
template <class T> INLINE IVec<T> load_taps(const uint8_t* p, int n) {
    if (n == LANES<T>) return load_bytes<T>(p);
    IVec<T> v = {};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
template <class T> INLINE IVec<T> load_taps(const int32_t* p, int n) {
    IVec<T> v = {};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
template <class T> INLINE IVec<T> tap_number(i64 t) { return Int<T>(t) - IVec<T>{}; }

INLINE bool byte_taps(const Pooling& job) { return job.rows.kernel * job.cols.kernel <= 256; }

// The divisor of the window with these spans.
INLINE i64 divisor_of(const Pooling& job, const Span& rows, const Span& cols) {
    if (job.divisor) return job.divisor;
    if (!job.count_include_pad) return (rows.end - rows.begin) * (cols.end - cols.begin);
    return smaller(job.rows.kernel, job.rows.size + job.rows.padding - rows.first) *
           smaller(job.cols.kernel, job.cols.size + job.cols.padding - cols.first);
}

// x / d. A power of two is multiplied, which is exact and does not wait 10 cycles for the divider.
template <class T> struct Divide {
    T divisor, factor;
    bool exact;
    explicit INLINE Divide(i64 d) : divisor(T(d)), factor(1 / T(d)), exact(d > 0 && (d & (d - 1)) == 0) {}
    INLINE Vec<T> operator()(Vec<T> x) const { return exact ? x * splat<T>(factor) : x / splat<T>(divisor); }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
