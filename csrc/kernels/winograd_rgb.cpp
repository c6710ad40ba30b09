// Convolution of images of three channels, which the first layer of a network sees, by Winograd's algorithm. A point is a sum of
// three products then, and to write it to M and read it again takes longer than to make it: winograd.cpp would take 1.7 of the
// time of the definition. Here sums stay in registers until they have gone down a column of the tile,
//
//   window of the image        V of a strip of tiles            of two tiles, for one or two vectors of filters
//   (6, 4 n + 2, 3)       ->   [tile][point][lanes: 3]   ->     column by column V U, A^T m;  then row by row, to the image
//   B^T d in all columns       B^T d in the tile's rows
//
// which takes 108 products a tile and a vector of filters, and 120 for the sums' way back, where the definition takes 432: C3
// H224 K64 takes 0.75 to 0.8 of the time, with AVX2 0.8 to 0.86. Two tiles by two vectors read 4 vectors for 4 FMAs.
#include "winograd_corner.h"

namespace fastnn {
namespace FASTNN_ISA {

typedef Winograd<4> Points;
constexpr int N = Points::N, M = Points::M, C = 3;
constexpr int TILES = 2, VECS = NARROW ? 1 : 2;  // at a time: 24 sums, with AVX2 12
constexpr i64 STRIP = 8;                         // tiles of a row whose V is in L1
constexpr i64 ROW = (STRIP * M + N - M) * C;     // numbers of a row of their window

template <class T> static Split slivers_of(const Conv& job) { return Split(ceil_div(job.f, LANES<T>), VECS); }

// The scratch of an item.
template <class T> struct Strip {
    T v[STRIP * N * N * LANES<T>];
    T half[N * ROW + LANES<T>];  // whole vectors are read
    T copy[N * ROW];
};

template <class T> void winograd_rgb_plan(Conv& job) {
    job.stages = 2;
    job.prepared_size = bounded(double(N * N * C) * double(ceil_div(job.f, LANES<T>) * LANES<T>));
    job.scratch_size = 0;
    job.slot_size = sizeof(Strip<T>) / sizeof(T);
}

template <class T> void winograd_rgb_stage(Conv& job) {
    job.items = job.stage == 0 ? slivers_of<T>(job).parts : job.batch * ceil_div(job.oh, M);
    job.item_flops = job.stage == 0 ? 1e4 : double(ceil_div(job.ow, M)) * (12e3 + 640.0 * double(job.f));
}

// ---- U: [sliver][column][row][channel][width] ----------------------------------------------------------------

template <class T> static void prepare(const Conv& job, i64 sliver) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of<T>(job);
    const i64 first = slivers.begin(sliver) * L, width = slivers.width(sliver) * i64(L);
    for (i64 f = first; f < first + width; f += L) {
        T* u = static_cast<T*>(job.prepared) + first * N * N * C + f - first;
        T w[C * 9 * L];
        read_rows(w, static_cast<const T*>(job.weight) + f * C * 9, C * 9, C * 9, int(job.f - f < L ? job.f - f : L));
        for (int c = 0; c < C; c++)
            both_axes<T, 3, N>([](const auto& x, auto& made) { Points::weight<T>(x, made); },
                               [&](int y, int x) { return load(w + (c * 9 + y * 3 + x) * L); },
                               [&](int y, int x, Vec<T> value) {
                                   const T scale = T(Points::SCALE[y] * Points::SCALE[x]);
                                   store(u + ((x * N + y) * C + c) * width, value * splat<T>(scale));
                               });
    }
}

// ---- V -------------------------------------------------------------------------------------------------------

// One row of points of `count` tiles. A function of its own, or the compiler keeps the addresses of six rows at once: 0.93.
template <class T> __attribute__((noinline)) static void transform_row(T* v, const T* from, i64 count) {
    for (i64 t = 0; t < count; t++, v += N * N * LANES<T>, from += M * C) {
        Vec<T> d[N], made[N];
#pragma GCC unroll 6
        for (int x = 0; x < N; x++) d[x] = in_register<T>(load(from + x * C));
        Points::input<T>(d, made);
#pragma GCC unroll 6
        for (int x = 0; x < N; x++) store(v + x * LANES<T>, made[x]);
    }
}

// Tiles of one row, the first with its outputs from (y, x) on.
template <class T> static void transform_strip(Strip<T>& strip, const Conv& job, i64 image, i64 y, i64 x, i64 count) {
    const i64 columns = count * M + N - M;
    const Window<T> window = window_of(strip.copy, static_cast<const T*>(job.x) + image * job.h * job.w * C, job.h, job.w, C,
                                       y - job.pad_h, x - job.pad_w, N, columns);
    for_vectors<T>(columns * C, [&](i64 at, int n) {
        Vec<T> d[N], made[N];
        for (int i = 0; i < N; i++) d[i] = load_n(window.data + i * window.pitch + at, n);
        Points::input<T>(d, made);
        for (int i = 0; i < N; i++) store_n(strip.half + i * ROW + at, made[i], n);
    });
    for (i64 i = 0; i < N; i++) transform_row(strip.v + i * N * LANES<T>, strip.half + i * ROW, count);
}

// ---- products and outputs ------------------------------------------------------------------------------------

// `count` tiles, of which there may be one: then its products are made twice.
template <class T> struct RgbTiles {
    const T* v[TILES];
    Corner<T> corner[TILES];
    int count;
};

// NV vectors of filters from f on, of the last of which `tail` are left.
template <class T, int NV> struct RgbKernel {
    static constexpr int L = LANES<T>;

    static void run(const RgbTiles<T>& tiles, const T* u, const T* bias, i64 f, int tail) {
        Vec<T> half[TILES][NV][M][N];
        for (int x = 0; x < N; x++, u += N * C * NV * L) column(half, x, tiles.v[0] + x * L, tiles.v[1] + x * L, u);
        for (int t = 0; t < tiles.count; t++)
            for (int j = 0; j < NV; j++) {
                const int n = j == NV - 1 ? tail : L;
                const Vec<T> b = bias ? load_n(bias + f + j * L, n) : Vec<T>{};
                put(tiles.corner[t], half[t][j], b, f + j * L, n);
            }
    }
    static INLINE void column(Vec<T> (&half)[TILES][NV][M][N], int x, const T* v0, const T* v1, const T* u) {
        Vec<T> m[TILES][NV][N];
#pragma GCC unroll 6
        for (int y = 0; y < N; y++)
#pragma GCC unroll 3
            for (int c = 0; c < C; c++, u += NV * L) {
                const Vec<T> a0 = splat<T>(v0[y * N * L + c]), a1 = splat<T>(v1[y * N * L + c]);
#pragma GCC unroll 2
                for (int j = 0; j < NV; j++) {
                    const Vec<T> b = in_register<T>(load(u + j * L));
                    m[0][j][y] = c ? fma<T>(a0, b, m[0][j][y]) : a0 * b;
                    m[1][j][y] = c ? fma<T>(a1, b, m[1][j][y]) : a1 * b;
                }
            }
#pragma GCC unroll 2
        for (int t = 0; t < TILES; t++)
#pragma GCC unroll 2
            for (int j = 0; j < NV; j++) {
                Vec<T> made[M];
                Points::output<T>(m[t][j], made);
#pragma GCC unroll 4
                for (int y = 0; y < M; y++) half[t][j][y][x] = made[y];
            }
    }
    static INLINE void put(const Corner<T>& corner, const Vec<T> (&half)[M][N], Vec<T> bias, i64 f, int n) {
        PutTile<T, M, M> put(corner, f, n);
#pragma GCC unroll 4
        for (int y = 0; y < M; y++) {
            Vec<T> made[M];
            Points::output<T>(half[y], made);
#pragma GCC unroll 4
            for (int x = 0; x < M; x++) put(y, x, made[x] + bias);
        }
    }
};

// One row of tiles of one image.
template <class T> static void tile_row(const Conv& job, i64 item) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of<T>(job);
    const i64 rows = ceil_div(job.oh, M), tiles = ceil_div(job.ow, M), image = item / rows, y = item % rows * M;
    Strip<T>& strip = *reinterpret_cast<Strip<T>*>(slot_of<T>(job));
    for (i64 first = 0; first < tiles; first += STRIP) {
        const i64 count = tiles - first < STRIP ? tiles - first : STRIP;
        transform_strip(strip, job, image, y, first * M, count);
        for (i64 s = 0; s < slivers.parts; s++) {
            const i64 f = slivers.begin(s) * L, left = job.f - f - (slivers.width(s) - 1) * L;
            const auto run = slivers.width(s) == VECS ? RgbKernel<T, VECS>::run : RgbKernel<T, 1>::run;
            for (i64 t = 0; t < count; t += TILES) {
                const auto v = [&](i64 at) { return strip.v + at * N * N * L; };
                const auto corner = [&](i64 at) {
                    return Corner<T>(job, job.oh, job.ow, job.f, image, y, (first + at) * M);
                };
                const i64 next = t + 1 < count ? t + 1 : t;
                const RgbTiles<T> pair = {{v(t), v(next)}, {corner(t), corner(next)}, int(next - t) + 1};
                run(pair, static_cast<const T*>(job.prepared) + f * N * N * C, static_cast<const T*>(job.bias), f,
                    int(left < L ? left : L));
            }
        }
    }
}

template <class T> void winograd_rgb(const Conv& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) job.stage == 0 ? prepare<T>(job, item) : tile_row<T>(job, item);
}

template void winograd_rgb_plan<float>(Conv&);
template void winograd_rgb_stage<float>(Conv&);
template void winograd_rgb<float>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
