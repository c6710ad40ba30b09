// The tile of direct convolution, and the order of its weight: conv_direct.cpp goes through it window by window,
// conv_taps.cpp tap by tap.
#pragma once
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

struct Segment {
    i64 x, w, n;  // from the pixel's place in the window; row of the packed weight; elements
};

// f(ky, kx, row / group_in) for all places, phase by phase. A gradient meets them backwards, so that inputs follow one
// another.
template <class Body> static void for_places(const Walk& walk, Body body) {
    i64 n = 0;
    for (i64 qy = 0; qy < walk.y.phases; qy++)
        for (i64 qx = 0; qx < walk.x.phases; qx++)
            for (i64 a = 0; a < walk.y.kernel; a++) {
                const i64 ky = walk.gradient ? walk.y.kernel - 1 - a : a;
                if (!walk.y.has(qy, ky)) continue;
                for (i64 b = 0; b < walk.x.kernel; b++) {
                    const i64 kx = walk.gradient ? walk.x.kernel - 1 - b : b;
                    if (walk.x.has(qx, kx)) body(ky, kx, n++, qy, qx);
                }
            }
}

template <class T> struct DirectTile {
    T* out;             // at the sliver's first column
    const i64* out_at;  // of each pixel
    const T* in;        // the window, at the group's first channel
    const i64* in_at;
    const Segment* segments;
    i64 count;
    const i64* steps;  // null, or where each row of the weight reads, in place of the segments
    const T* weight;   // of the sliver
    const T* bias;     // or null
    int tail;          // lanes of the last vector
    int activation;    // COPY, RELU or RELU6
    const T* add;      // null, or what is added to the sums, each where it goes in out
};

// acc += a b where the p-th column of a is at row[i][steps[p]]: for segments too short to loop over (C1 F16: 1.3 times
// the speed).
template <class T, int MR, int NV>
INLINE void rows_by_steps(Vec<T> (&acc)[MR][NV], const T* const (&row)[MR], const i64* steps, const T* b, i64 count) {
#pragma GCC unroll 3
    for (i64 p = 0; p < count; p++, b += NV * LANES<T>) {
        const i64 at = steps[p];
        Vec<T> bv[NV];
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) bv[j] = load(b + j * LANES<T>);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            const Vec<T> av = splat<T>(row[i][at]);
#pragma GCC unroll 8
            for (int j = 0; j < NV; j++) acc[i][j] = fma<T>(av, bv[j], acc[i][j]);
        }
    }
}

// The sums of a tile to their places.
template <class T, int MR, int NV>
INLINE void store_sums(const DirectTile<T>& t, const i64 (&at)[MR], const Vec<T> (&acc)[MR][NV]) {
    constexpr int L = LANES<T>;
    const Limits<T> limit(t.activation);
    T* const to = t.out;  // all read before the first is written, which might be any memory
    const T* const add = t.add;
    const int tail = t.tail;
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) {
            const int n = j == NV - 1 ? tail : L;
            const Vec<T> sum = add ? load_n(add + at[i] + j * L, n) + acc[i][j] : acc[i][j];
            store_n(to + at[i] + j * L, limit(sum), n);
        }
}

// The pixels in [pixel, end), where the weight's rows are listed: 27 of them are done before a call is. The last tile may go on
// beyond the end, where the last pixel stands again: tiles of every height would be a kernel each.
template <class T, int MR, int NV> struct StepsKernel {
    static void run(const DirectTile<T>& t, i64 pixel, i64 end);
};
template <class T, int MR, int NV> void StepsKernel<T, MR, NV>::run(const DirectTile<T>& t, i64 pixel, i64 end) {
    constexpr int L = LANES<T>;
    const DirectTile<T> tile = t;  // a copy, which no store can change
    const T* weight = tile.weight + tile.segments[0].w * NV * L;
    Vec<T> bias[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) bias[j] = !tile.bias ? Vec<T>{} : load_n(tile.bias + j * L, j == NV - 1 ? tile.tail : L);
    for (; pixel < end; pixel += MR) {
        Vec<T> acc[MR][NV];
        const T* row[MR];
        i64 out[MR];
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            row[i] = tile.in + tile.in_at[pixel + i];
#pragma GCC unroll 8
            for (int j = 0; j < NV; j++) acc[i][j] = bias[j];
        }
        rows_by_steps<T, MR, NV>(acc, row, tile.steps, weight, tile.count);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) out[i] = tile.out_at[pixel + i];
        store_sums(tile, out, acc);
    }
}

// MR pixels of one row, side by side in the window from `in` on, whose segments are of KW numbers. A number is read once for the
// KW pixels it belongs to: with one vector of filters the StepsKernel has a load for each FMA, which is what bounds it. C1 F16:
// 0.6 of the time, in the same bits.
template <class T, int MR, int KW> struct SlideKernel {
    static void run(const DirectTile<T>& t, const T* in, i64 out_at, i64 out_step);
};
template <class T, int MR, int KW>
void SlideKernel<T, MR, KW>::run(const DirectTile<T>& t, const T* in, i64 out_at, i64 out_step) {
    Vec<T> acc[MR][1];
    const Vec<T> bias = !t.bias ? Vec<T>{} : load_n(t.bias, t.tail);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) acc[i][0] = bias;
    for (i64 s = 0; s < t.count; s++) {
        const T *x = in + t.segments[s].x, *weight = t.weight + t.segments[s].w * LANES<T>;
        Vec<T> w[KW];
#pragma GCC unroll 8
        for (int q = 0; q < KW; q++) w[q] = load(weight + q * LANES<T>);
#pragma GCC unroll 20
        for (int e = 0; e < MR + KW - 1; e++) {
            const Vec<T> v = splat<T>(x[e]);
#pragma GCC unroll 8
            for (int q = 0; q < KW; q++)
                if (e >= q && e - q < MR) acc[e - q][0] = fma<T>(v, w[q], acc[e - q][0]);
        }
    }
    i64 at[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) at[i] = out_at + i * out_step;
    store_sums(t, at, acc);
}

template <class T, int MR, int NV> struct DirectKernel {
    static void run(const DirectTile<T>& t, i64 pixel, Ahead<T>& next);
};
template <class T, int MR, int NV> void DirectKernel<T, MR, NV>::run(const DirectTile<T>& t, i64 pixel, Ahead<T>& next) {
    constexpr int L = LANES<T>;
    Vec<T> acc[MR][NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; j++) {
        const Vec<T> b = !t.bias ? Vec<T>{} : load_n(t.bias + j * L, j == NV - 1 ? t.tail : L);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) acc[i][j] = b;
    }
    const T* row[MR];
    Ahead<T, NV> ahead(next);
    for (i64 s = 0; s < t.count; s++) {
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) row[i] = t.in + t.in_at[pixel + i] + t.segments[s].x;
        rows_anywhere<T, MR, NV, false>(acc, row, 1, t.weight + t.segments[s].w * NV * L, NV * L, t.segments[s].n, L, ahead);
    }
    next.next = ahead.next;
    i64 out[MR];
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) out[i] = t.out_at[pixel + i];
    store_sums(t, out, acc);
}

// Small images with many channels: conv_taps.cpp. It plans after direct_plan, and has items of its own.
bool tap_by_tap(const Walk& walk);
template <class T> void tap_plan(Conv& job, i64 wanted);
template <class T> void tap_item(const Conv& job, i64 item);

}  // namespace FASTNN_ISA
}  // namespace fastnn
