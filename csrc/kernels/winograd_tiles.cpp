// Tiles of images to their points.
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T>
void window_pixels(const T** pixels, int rows, int columns, const Image<T>& image, i64 y, i64 x, const T* zeros) {
    const bool whole = x >= 0 && x + columns <= image.w;
    const T* row = image.data + y * image.pitch + x * image.c;
    for (int i = 0; i < rows; i++, row += image.pitch) {
        const bool inside = y + i >= 0 && y + i < image.h;
        const T* pixel = row;
        for (int j = 0; j < columns; j++, pixel += image.c)
            *pixels++ = inside && (whole || (x + j >= 0 && x + j < image.w)) ? pixel : zeros;
    }
}

// The last n channels of `count` pixels, from c on, as a whole vector each.
template <class T> static void fill_up(const T** pixels, int count, i64 c, int n, T* vectors) {
    for (int i = 0; i < count; i++, vectors += LANES<T>) {
        store(vectors, load_first(pixels[i] + c, n));
        pixels[i] = vectors - c;
    }
}
// All n channels of `count` pixels, and of what lies `below` them, which begins an image's later row.
template <class T> static void join(const T** pixels, int count, i64 below, int n, T* vectors, const T* zeros) {
    const IVec<T> upper = lane_numbers<T>() < splat<T>(T(n));
    for (int i = 0; i < count; i++, vectors += LANES<T>) {
        const T* next = pixels[i] == zeros ? zeros : pixels[i] + below - n;
        store(vectors, select<T>(upper, load_first(pixels[i], n), load_first(next, 2 * n)));
        pixels[i] = vectors;
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
static void transform_tile(const Image<T>& image, i64 y, i64 x, T* to, const Places& at, const T* zeros) {
    constexpr int L = LANES<T>;
    const i64 channels = image.c;
    const T* from[Y::IN * X::IN];
    T last[Y::IN * X::IN * L];
    window_pixels(from, Y::IN, X::IN, image, y, x, zeros);
    for (i64 c = 0; c < channels; c += L, to += at.channel * L) {
        if (image.below) join(from, Y::IN * X::IN, image.below, int(channels), last, zeros);
        else if (channels - c < L) fill_up(from, Y::IN * X::IN, c, int(channels - c), last);
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
    const i64 rows = A::PAIRS ? 2 : 1, channels = g.in_c / rows;  // rows of the job's image in one, and what one of them has
    const bool joined = A::PAIRS && g.in_c <= LANES<T>;
    for (i64 t = 0; t < count; t++, v += at.tile) {
        const auto place = g.place(first + t);
        for (i64 row = 0; row < (joined ? 1 : rows); row++) {
            Image<T> image(images + (place.image * g.in_h * rows + row) * g.in_w * channels, g.in_h, g.in_w, channels);
            image.below = joined ? image.pitch : 0;
            image.pitch *= rows;
            with_axes<A>(place, [&](auto y, auto x) {
                transform_tile<T, Input<decltype(y)>, Input<decltype(x)>, A::N>(
                    image, place.y * A::S - g.pad_h, place.x * A::S - g.pad_w, v + row * channels, at, zeros);
            });
        }
    }
}

template <class T, class A>
void transform_gradient(const Tiling<T, A>& g, const T* images, i64 first, i64 count, T* d, const Places& at, const T* zeros) {
    for (i64 t = 0; t < count; t++, d += at.tile) {
        const auto place = g.place(first + t);
        const Image<T> image(images + place.image * g.out_h * g.out_w * g.out_c, g.out_h, g.out_w, g.out_c);
        with_axes<A>(place, [&](auto y, auto x) {
            transform_tile<T, Gradient<decltype(y)>, Gradient<decltype(x)>, A::N>(image, place.y, place.x, d, at, zeros);
        });
    }
}

template void window_pixels<float>(const float**, int, int, const Image<float>&, i64, i64, const float*);
#define TRANSFORM(WHICH, ...) \
    template void WHICH(const Tiling<float, __VA_ARGS__>&, const float*, i64, i64, float*, const Places&, const float*);
TRANSFORM(transform_input, Winograd<2>)
TRANSFORM(transform_input, Winograd<4>)
TRANSFORM(transform_input, Winograd<2, 5>)
TRANSFORM(transform_input, Winograd<2, 3, 2>)
TRANSFORM(transform_input, Pairs<Winograd<3, 4>>)
TRANSFORM(transform_gradient, Winograd<2>)
TRANSFORM(transform_gradient, Winograd<4>)
TRANSFORM(transform_gradient, Winograd<2, 5>)
#undef TRANSFORM

}  // namespace FASTNN_ISA
}  // namespace fastnn
