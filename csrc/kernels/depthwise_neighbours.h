// Depthwise convolution by 3 x 3 neighbours, the usual kernel, of stride 1 or 2: its nine places are known to the compiler, and
// what lies beside the image is left out. 14 x 14 pixels of 576 channels take 0.8 of what place by place takes.
#pragma once
#include "conv.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 IMAGE = 512 << 10;  // bytes of an image whose channels are parted: it stays in L2
constexpr i64 PART = 64;          // channels of such a part, about: three rows of them stay in L1

// Whether nine neighbours make an output, of which at most the first and the last column lie outside the image. With a stride the
// gradient's phases have other places. Double goes place by place: it need not be fast; so do channels that make no vector.
template <class T> static bool are_neighbours(const Conv& job, const Walk& walk) {
    const bool can = sizeof(T) == sizeof(float) && job.c >= LANES<T> && job.stride_w <= (walk.gradient ? 1 : 2);
    const i64 last = (walk.x.out - 1) * walk.x.step + walk.x.low + 2;  // column
    return can && job.kh == 3 && job.kw == 3 && job.dilation_h == 1 && job.dilation_w == 1 && job.stride_h == job.stride_w &&
           walk.x.low >= -1 && last <= walk.x.in;
}

// Channels of an item, in whole cache lines: some of an image in L2, all of a larger one, whose lines come from further away one
// after another.
template <class T> static i64 channels_at_once(const Conv& job, const Walk& walk) {
    constexpr i64 LINE = 64 / sizeof(T);
    if (!are_neighbours<T>(job, walk) || double(job.h) * double(job.w) * double(job.c) * sizeof(T) > IMAGE) return job.c;
    const i64 part = ceil_div(ceil_div(job.c, ceil_div(job.c, PART)), LINE) * LINE, last = (job.c - 1) % part + 1;
    return last < LANES<T> ? job.c : part;
}

// An address that is computed where it is used: of the 30 of a tile the compiler would keep each in memory and move all along.
template <class T> INLINE const T* computed_here(const T* p) {
    asm("" : "+r"(p));
    return p;
}

struct Neighbours {
    const float *weight, *bias;
    i64 step, row;    // from a pixel of the images to the next, from a row of inputs to the next
    i64 place, line;  // from a place of the weight to the next, from its row to the next
    i64 channels;     // a vector at least
    int activation;
    bool left, right, above[3];  // whether a tile's first and last column lie outside, and each of its rows
};

// MR outputs of a row, all channels of the item, whose inputs begin at x. Of stride 1, 8 of these and 3 weights are loaded for 18
// multiplications. The last vector may overlap the one before.
template <class T, int MR, int S> struct NeighboursKernel {
    static void run(const Neighbours& of, T* out, const T* x) {
        constexpr int L = LANES<T>, LAST = (MR - 1) * S + 2;  // column of inputs
        const Neighbours s = of;                              // a copy, which no store can change
        const Limits<T> limit(s.activation);
        for (i64 c = 0; c < s.channels; c += L) {
            c = c + L <= s.channels ? c : s.channels - L;
            const Vec<T> start = s.bias ? load(s.bias + c) : Vec<T>{};
            Vec<T> acc[MR];
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) acc[i] = start;
#pragma GCC unroll 3
            for (int y = 0; y < 3; y++) {
                if (s.above[y]) continue;
                const T *w = computed_here(s.weight + y * s.line + c), *in[LAST / 3 + 1] = {computed_here(x + y * s.row + c)};
#pragma GCC unroll 6
                for (int i = 1; i <= LAST / 3; i++) in[i] = computed_here(in[i - 1] + 3 * s.step);
                const Vec<T> places[3] = {load(w), load(w + s.place), load(w + 2 * s.place)};
#pragma GCC unroll 17
                for (int i = 0; i <= LAST; i++) {
                    if ((i == 0 && s.left) || (i == LAST && s.right)) continue;
                    const Vec<T> v = load(in[i / 3] + i % 3 * s.step);
#pragma GCC unroll 3
                    for (int k = 2; k >= 0; k--) {
                        const int out_of = (i - k) / S;
                        if (i >= k && (i - k) % S == 0 && out_of < MR) acc[out_of] = fma<T>(v, places[k], acc[out_of]);
                    }
                }
            }
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) store(out + i * s.step + c, limit(acc[i]));
        }
    }
};
template <class T, int MR> struct NextNeighbours : NeighboursKernel<T, MR, 1> {};
template <class T, int MR> struct OverNextNeighbours : NeighboursKernel<T, MR, 2> {};

// Rows [j0, j1) of image b, an item's channels from c on.
static void slide_neighbours(const Conv& job, const Walk& walk, i64 b, i64 j0, i64 j1, i64 c) {
    const float* image = static_cast<const float*>(walk.gradient ? job.dy : job.x) + b * walk.y.in * walk.x.in * job.c + c;
    float* out = static_cast<float*>(job.out) + b * walk.y.out * walk.x.out * job.c + c;
    Neighbours s = {};
    s.weight = static_cast<const float*>(job.prepared) + (walk.gradient ? 8 * job.c : 0) + c;
    s.bias = job.bias ? static_cast<const float*>(job.bias) + c : nullptr;
    s.step = job.c, s.row = walk.x.in * job.c, s.place = walk.gradient ? -job.c : job.c, s.line = 3 * s.place;
    s.channels = job.c - c < job.chunk ? job.c - c : job.chunk;
    s.activation = job.activation;
    const Split tiles(walk.x.out, TILE_ROWS);
    for (i64 j = j0; j < j1; j++) {
        const i64 row = j * walk.y.step + walk.y.low;
        for (int y = 0; y < 3; y++) s.above[y] = row + y < 0 || row + y >= walk.y.in;
        const auto run = [&](auto kernel, i64 i, int width) {
            const i64 column = i * walk.x.step + walk.x.low;
            s.left = column < 0, s.right = column + (width - 1) * walk.x.step + 2 >= walk.x.in;
            kernel(s, out + (j * walk.x.out + i) * job.c, image + (row * walk.x.in + column) * job.c);
        };
        if (walk.x.step == 1) for_tiles<NextNeighbours, float>(tiles, run);
        else for_tiles<OverNextNeighbours, float>(tiles, run);
    }
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
