// Tiles of images to their points.
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T>
void window_pixels(const T** pixels, int rows, int columns, const T* image, i64 h, i64 w, i64 c, i64 y, i64 x, const T* zeros) {
    const bool whole = x >= 0 && x + columns <= w;
    const T* row = image + (y * w + x) * c;
    for (int i = 0; i < rows; i++, row += w * c) {
        const bool inside = y + i >= 0 && y + i < h;
        const T* pixel = row;
        for (int j = 0; j < columns; j++, pixel += c)
            *pixels++ = inside && (whole || (x + j >= 0 && x + j < w)) ? pixel : zeros;
    }
}

// The last n channels of `count` pixels, from c on, as a whole vector each.
template <class T> static void fill_up(const T** pixels, int count, i64 c, int n, T* vectors) {
    for (int i = 0; i < count; i++, vectors += LANES<T>) {
        store(vectors, load_first(pixels[i] + c, n));
        pixels[i] = vectors - c;
    }
}

// The two forms of a tile along an axis: what they read, and their points.
template <class Points> struct Input {
    static constexpr int IN = Points::N, N = Points::N;
    static constexpr int SHARED = 2;  // of the next tile's
    static constexpr int point(int i) { return Points::point(i); }
    template <class T> static INLINE void apply(const Vec<T> (&d)[IN], Vec<T> (&v)[N]) { Points::template input<T>(d, v); }
};
template <class Points> struct Gradient {
    static constexpr int IN = Points::M, N = Points::N;
    static constexpr int SHARED = 0;
    static constexpr int point(int i) { return Points::point(i); }
    template <class T> static INLINE void apply(const Vec<T> (&y)[IN], Vec<T> (&m)[N]) { Points::template gradient<T>(y, m); }
};

// All channels of one tile, with Y down and X along. N: points of a whole tile's axis.
template <class T, class Y, class X, int N>
static void transform_tile(const T* image, i64 h, i64 w, i64 channels, i64 y, i64 x, T* to, const Places& at, const T* zeros) {
    constexpr int L = LANES<T>;
    const T* from[Y::IN * X::IN];
    T last[Y::IN * X::IN * L];
    window_pixels(from, Y::IN, X::IN, image, h, w, channels, y, x, zeros);
    for (i64 c = 0; c < channels; c += L, to += at.channel * L) {
        if (channels - c < L) fill_up(from, Y::IN * X::IN, c, int(channels - c), last);
        both_axes<T, Y::IN, Y::N, X::IN, X::N>(
            [](const auto& d, auto& made) { Y::template apply<T>(d, made); },
            [](const auto& d, auto& made) { X::template apply<T>(d, made); },
            [&](int i, int j) {
                const T* pixel = from[i * X::IN + j] + c;
                // What the next tile reads: 32 images of 56 x 56 take 0.85 of the time. With AVX2 it was not measured.
                if (!NARROW && j >= X::SHARED) __builtin_prefetch(pixel + (X::IN - X::SHARED) * channels);
                return load(pixel);
            },
            [&](int i, int j, Vec<T> value) { store(to + (Y::point(i) * N + X::point(j)) * at.point, value); });
    }
}

template <class T, class A>
void transform_input(const Tiling<T, A>& g, const T* images, i64 first, i64 count, T* v, const Places& at, const T* zeros) {
    for (i64 t = 0; t < count; t++, v += at.tile) {
        const auto place = g.place(first + t);
        with_axes<A>(place, [&](auto y, auto x) {
            transform_tile<T, Input<decltype(y)>, Input<decltype(x)>, A::N>(
                images + place.image * g.in_h * g.in_w * g.in_c, g.in_h, g.in_w, g.in_c, place.y * A::S - g.pad_h,
                place.x * A::S - g.pad_w, v, at, zeros);
        });
    }
}

template <class T, class A>
void transform_gradient(const Tiling<T, A>& g, const T* images, i64 first, i64 count, T* d, const Places& at, const T* zeros) {
    for (i64 t = 0; t < count; t++, d += at.tile) {
        const auto place = g.place(first + t);
        with_axes<A>(place, [&](auto y, auto x) {
            transform_tile<T, Gradient<decltype(y)>, Gradient<decltype(x)>, A::N>(
                images + place.image * g.out_h * g.out_w * g.out_c, g.out_h, g.out_w, g.out_c, place.y, place.x, d, at, zeros);
        });
    }
}

template void window_pixels<float>(const float**, int, int, const float*, i64, i64, i64, i64, i64, const float*);
#define TRANSFORM(WHICH, ...) \
    template void WHICH(const Tiling<float, __VA_ARGS__>&, const float*, i64, i64, float*, const Places&, const float*);
TRANSFORM(transform_input, Winograd<2>)
TRANSFORM(transform_input, Winograd<4>)
TRANSFORM(transform_input, Winograd<2, 5>)
TRANSFORM(transform_input, Winograd<2, 3, 2>)
TRANSFORM(transform_gradient, Winograd<2>)
TRANSFORM(transform_gradient, Winograd<4>)
TRANSFORM(transform_gradient, Winograd<2, 5>)
#undef TRANSFORM

}  // namespace FASTNN_ISA
}  // namespace fastnn
