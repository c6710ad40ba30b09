// Depthwise convolution by rows of three or five neighbours, of stride 1 or 2: the usual 3 x 3 and 5 x 5, and what is as wide.
// Each input is loaded once for all that it meets, and what lies beside the image is left out. 14 x 14 pixels of 576 channels
// by 5 x 5 places take 0.54 of what place by place takes.
#pragma once
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 IMAGE = 512 << 10;  // bytes of an image whose channels are parted: it stays in L2
constexpr i64 PART = 64;          // channels of such a part, about: three rows of them stay in L1

template <class T> constexpr i64 WIDE = sizeof(T) == sizeof(float) ? 5 : 3;  // five of double would be 4 KB of a wheel

// Columns outside the image, on a side, that a tile may have: of stride 1, whose pass may be a gradient, all that can be.
constexpr i64 border(i64 S, i64 K) { return S == 1 ? K - 1 : K / 2; }

// Whether rows of neighbours make an output. With a stride the gradient's phases have other places; channels that make no vector
// go place by place.
template <class T> static bool are_neighbours(const Conv& job, const Walk& walk) {
    const i64 right = (walk.x.out - 1) * walk.x.step + walk.x.low + job.kw - walk.x.in, most = border(walk.x.step, job.kw);
    return (job.kw == 3 || job.kw == WIDE<T>) && job.dilation_w == 1 && job.c >= LANES<T> && walk.y.phases == 1 &&
           walk.x.phases == 1 && walk.x.step <= 2 && -walk.x.low <= most && right <= most;
}

// Whether pixels lie so many bytes apart that they meet in a few sets of L1: 2 KB are two of its 64, and the rows of a tile push
// one another out. They are copied, a part of the channels at a time, and then lie close: 512 channels take 0.57 of the time.
template <class T> static bool are_crowded(const Conv& job) { return job.c * i64(sizeof(T)) % (job.kw == 3 ? 2048 : 1024) == 0; }

// Channels of an item, in whole cache lines: some of images in L2, all of larger ones, whose lines come from further away one
// after another.
template <class T> static i64 channels_at_once(const Conv& job, const Walk& walk) {
    constexpr i64 LINE = 64 / sizeof(T);
    const double images = double(job.batch) * double(job.h) * double(job.w) * double(job.c) * sizeof(T);
    if (!are_neighbours<T>(job, walk) || (images > IMAGE && !are_crowded<T>(job))) return job.c;
    const i64 part = ceil_div(ceil_div(job.c, ceil_div(job.c, PART)), LINE) * LINE, last = (job.c - 1) % part + 1;
    return last < LANES<T> ? job.c : part;
}

// An address that is computed where it is used: of the 30 of a tile the compiler would keep each in memory and move all along.
template <class P> INLINE P computed_here(P p) {
    asm("" : "+r"(p));
    return p;
}

template <class T> struct Neighbours {
    const T* bias;
    i64 step, row, out_step;  // from an input to the next, from a row of inputs to the next, from an output to the next
    i64 rows;                 // of the kernel that lie inside
    i64 channels;             // a vector at least
    i64 places;               // of the kernel
    int activation;
    int left, right;  // of a tile's columns, how many lie outside
};

// MR outputs of a row, all channels of the item, whose inputs begin at x and lie S apart: K places a row. For 6 outputs and
// 3 places 8 inputs and 3 weights are loaded for 18 multiplications. The last vector may overlap the one before.
template <class T, int MR, int S, int K> struct NeighboursKernel {
    static void run(const Neighbours<T>& of, T* out, const T* x, const T* weight) {
        constexpr int L = LANES<T>, LAST = (MR - 1) * S + K - 1;  // column of inputs
        const Neighbours<T> s = of;                               // a copy, which no store can change
        const Limits<T> limit(s.activation);
        for (i64 c = 0; c < s.channels; c += L) {
            c = c + L <= s.channels ? c : s.channels - L;
            const Vec<T> start = s.bias ? load(s.bias + c) : Vec<T>{};
            Vec<T> acc[MR];
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) acc[i] = start;
            const T *w = weight + ceil_div(c, L) * L * s.places, *line = x + c;
            for (i64 y = s.rows; y > 0; y--, w += K * L, line += s.row) {
                const i64 step = computed_here(s.step);
                const T* in[LAST / 3 + 1] = {line};  // by threes, which an index times 1 or 2 reaches
#pragma GCC unroll 6
                for (int i = 1; i <= LAST / 3; i++) in[i] = computed_here(in[i - 1] + 3 * step);
                Vec<T> places[K];
#pragma GCC unroll 5
                for (int k = 0; k < K; k++) places[k] = load(w + k * L);
#pragma GCC unroll 19
                for (int i = 0; i <= LAST; i++) {
                    if ((i < border(S, K) && i < s.left) || (i > LAST - border(S, K) && i > LAST - s.right)) continue;
                    const Vec<T> v = load(in[i / 3] + i % 3 * step);
#pragma GCC unroll 5
                    for (int k = K - 1; k >= 0; k--) {
                        const int out_of = (i - k) / S;
                        if (i >= k && (i - k) % S == 0 && out_of < MR) acc[out_of] = fma<T>(v, places[k], acc[out_of]);
                    }
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) store(out + i * s.out_step + c, limit(acc[i]));
        }
    }
};
template <int S, int K> struct By {
    template <class T, int MR> using Kernel = NeighboursKernel<T, MR, S, K>;
};

// Rows [y0, y1) of an image and some of its channels, copied to where they lie close.
template <class T> static void copy_close(T* to, const T* image, i64 row, i64 y0, i64 y1, i64 width, i64 c, i64 channels) {
    for (i64 y = y0; y < y1; y++)
        for (i64 x = 0; x < width; x++, to += channels) {
            const T* from = image + y * row + x * c;
            for_vectors<T>(channels, [&](i64 i, int n) { store_n(to + i, load_n(from + i, n), n); });
        }
}

// Rows [j0, j1) of image b, an item's channels from c on.
template <class T, int S> static void slide_neighbours(const Conv& job, const Walk& walk, i64 b, i64 j0, i64 j1, i64 c) {
    const T* image = static_cast<const T*>(walk.gradient ? job.dy : job.x) + b * walk.y.in * walk.x.in * job.c + c;
    T* out = static_cast<T*>(job.out) + b * walk.y.out * walk.x.out * job.c + c;
    Neighbours<T> s = {};
    s.bias = job.bias ? static_cast<const T*>(job.bias) + c : nullptr;
    s.step = s.out_step = job.c;
    s.channels = job.c - c < job.chunk ? job.c - c : job.chunk;
    s.places = job.kh * job.kw;
    s.activation = job.activation;
    i64 row = walk.x.in * job.c;
    if (are_crowded<T>(job)) {
        const i64 low = j0 * walk.y.step + walk.y.low, high = (j1 - 1) * walk.y.step + walk.y.high + 1,
                  y0 = low > 0 ? low : 0, y1 = high < walk.y.in ? high : walk.y.in;
        T* close = slot_of<T>(job);
        copy_close(close, image, row, y0, y1, walk.x.in, job.c, s.channels);
        s.step = s.channels, row = walk.x.in * s.step, image = close - y0 * row;
    }
    s.row = job.dilation_h * row;
    const T* weight = static_cast<const T*>(job.prepared) + c * s.places;
    const Split tiles(walk.x.out, TILE_ROWS);
    for (i64 j = j0; j < j1; j++) {
        const i64 top = j * walk.y.step + walk.y.low, first = top < 0 ? ceil_div(-top, job.dilation_h) : 0,
                  end = walk.y.in > top ? ceil_div(walk.y.in - top, job.dilation_h) : 0;
        s.rows = (end < job.kh ? end : job.kh) - first;
        const T *from = image + (top + first * job.dilation_h) * row, *places = weight + first * job.kw * LANES<T>;
        const auto run = [&](auto kernel, i64 i, int width) {
            const i64 column = i * S + walk.x.low, beyond = column + (width - 1) * S + job.kw - walk.x.in;
            s.left = column < 0 ? int(-column) : 0, s.right = beyond > 0 ? int(beyond) : 0;
            kernel(s, out + (j * walk.x.out + i) * job.c, from + column * s.step, places);
        };
        if (job.kw == WIDE<T>) for_tiles<By<S, WIDE<T>>::template Kernel, T>(tiles, run);
        else for_tiles<By<S, 3>::template Kernel, T>(tiles, run);
    }
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
