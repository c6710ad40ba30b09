// The tiles of Winograd's algorithm: where they lie in the images, their way into the planes of points, and the products
// of one point. winograd.cpp makes images of them, winograd_weight.cpp the gradient to the weight.
#pragma once
#include "conv.h"
#include "winograd.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 STAGGER = 16;  // elements a plane is longer: else the 36 planes of C = 64 would share two sets of L1
constexpr i64 CHANNELS = 8;  // of the weight at a time: 72 numbers of a filter follow one another in memory

// A row of a plane: tiles a multiple of 512 bytes apart would share eight sets of L1 at most, and the weight gradient, which goes
// down them, needs 50 to 64 of V and of D at a time. C256 H14 takes 0.79 of the time, C128 H28 0.9.
static constexpr i64 staggered(i64 row) { return row % 128 ? row : row + STAGGER; }

// Tiles along an axis of n outputs: whole ones, and perhaps half of one of 4 x 4.
template <int M> struct Along {
    i64 whole, half;
    explicit Along(i64 n) : whole(ceil_div(n, M)), half(M == 4 && n > 4 && (n % 4 == 1 || n % 4 == 2)) { whole -= half; }
    i64 tiles() const { return whole + half; }
    i64 points() const { return whole * (M + 2) + half * HalfTile::N; }
};

// The tiles of a pass of stride S: M x M outputs each, image after image; of four kinds where the last of an axis are halves,
//
//   0  half as high    1  whole    2  half as wide    3  half as high and as wide
//
// one after the other, so that the tiles that have a point are neighbours. 14 x 14 outputs take 484 products, not 576.
template <class T, int M, int S = 1> struct Tiling {
    static constexpr int N = Winograd<M, S>::N, L = LANES<T>;
    bool turned;  // an input gradient: from dy to dx
    i64 in_h, in_w, in_c, out_h, out_w, out_c, pad_h, pad_w;
    Along<M> down, across;
    i64 tiles, ends[4], out_row;  // ends: of the kinds; out_row: filters in whole vectors
    i64 in_row, grad_row;         // channels of a tile in V, filters of one in D: these too, and staggered

    explicit Tiling(const Conv& job)
        : turned(job.pass == CONV_INPUT),
          in_h(turned ? job.oh : job.h),
          in_w(turned ? job.ow : job.w),
          in_c(turned ? job.f : job.c),
          out_h(turned ? job.h : job.oh),
          out_w(turned ? job.w : job.ow),
          out_c(turned ? job.c : job.f),
          pad_h(turned ? 2 - job.pad_h : job.pad_h),
          pad_w(turned ? 2 - job.pad_w : job.pad_w),
          down(out_h),
          across(out_w),
          tiles(job.batch * down.tiles() * across.tiles()) {
        ends[0] = job.batch * down.half * across.whole;
        ends[1] = ends[0] + job.batch * down.whole * across.whole;
        ends[2] = ends[1] + job.batch * down.whole * across.half;
        ends[3] = tiles;
        out_row = ceil_div(out_c, L) * L;
        in_row = staggered(ceil_div(in_c, L) * L), grad_row = staggered(out_row);
    }
    struct Place {
        i64 image, y, x;  // of the tile's first output
        bool half_y, half_x;
    };
    Place place(i64 tile) const {
        int kind = 0;
        while (tile >= ends[kind]) kind++;
        if (kind) tile -= ends[kind - 1];
        const bool half_y = kind % 3 == 0, half_x = kind > 1;
        const i64 rows = half_y ? 1 : down.whole, columns = half_x ? 1 : across.whole;
        const i64 row = half_y ? down.whole : tile / columns % rows, column = half_x ? across.whole : tile % columns;
        return {tile / columns / rows, row * M, column * M, half_y, half_x};
    }
    // The tiles of [first, first + count) that have a point, counted from `first`.
    struct Range {
        i64 begin, count;
        bool operator==(const Range& other) const { return begin == other.begin && count == other.count; }
    };
    Range having(int point, i64 first, i64 count) const {
        const bool low = HalfTile::has(point / N), narrow = HalfTile::has(point % N);
        i64 begin = low ? 0 : ends[0], end = narrow ? (low ? tiles : ends[2]) : ends[1];
        begin = begin < first ? first : begin, end = end > first + count ? first + count : end;
        return {begin - first, end > begin ? end - begin : 0};
    }
};

// f(Y, X) with the algorithms of a tile's axes.
template <int M, int S, class Place, class F> INLINE void with_axes(const Place& place, F f) {
    if constexpr (M == 4) {
        if (place.half_y && place.half_x) return f(HalfTile(), HalfTile());
        if (place.half_y) return f(HalfTile(), Winograd<4>());
        if (place.half_x) return f(Winograd<4>(), HalfTile());
    }
    f(Winograd<M, S>(), Winograd<M, S>());
}

static constexpr i64 plane(i64 rows, i64 row) { return rows * row + STAGGER; }
// Of U, whose points are written CHANNELS rows of a line at a time: these lie side by side.
static constexpr i64 weight_plane(i64 channels, i64 row) { return channels * row + (CHANNELS + 1) * STAGGER; }

// Rows of the weight to vectors and back: functions of their own, for all sizes of tiles.
template <class T> __attribute__((noinline)) void read_rows(T* to, const T* from, i64 step, i64 n, int rows) {
    rows_to_vectors(to, from, step, n, rows);
}
template <class T> __attribute__((noinline)) void write_rows(T* to, i64 step, const T* from, i64 n, int rows) {
    vectors_to_rows(to, step, from, n, rows);
}

// ---- transforms of tiles -------------------------------------------------------------------------------------

// Where the pixels of a window of H x W at (y, x) are; those outside the image are `zeros`.
template <class T, int H, int W>
INLINE void window_pixels(const T* (&at)[H][W], const T* image, i64 h, i64 w, i64 c, i64 y, i64 x, const T* zeros) {
    for (int i = 0; i < H; i++)
        for (int j = 0; j < W; j++) {
            const bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
            at[i][j] = inside ? image + ((y + i) * w + x + j) * c : zeros;
        }
}

// Where a vector of channels of a tile lies in V, its points `point` apart: in planes of points, the factors of products; or
// with all its points together.
struct Places {
    i64 point, tile, channel;
    static Places apart(i64 tiles, i64 row) { return {plane(tiles, row), row, 1}; }
    static Places together(i64 points, i64 lanes, i64 tiles) { return {lanes, points * lanes, points * tiles}; }
    // Of a channel within its vector too.
    i64 of(i64 t, i64 c, i64 lanes) const { return t * tile + c / lanes * lanes * channel + c % lanes; }
};

// V[.][t] = B^T d B of one tile, with Y down and X along; v is where it lies.
template <class T, class Y, class X, int M, int S>
static void transform_input_tile(const Tiling<T, M, S>& g, const typename Tiling<T, M, S>::Place& place, const T* images, T* v,
                                 const Places& at, const T* zeros) {
    constexpr int N = Winograd<M, S>::N, L = LANES<T>;
    const T* from[Y::N][X::N];
    window_pixels<T>(from, images + place.image * g.in_h * g.in_w * g.in_c, g.in_h, g.in_w, g.in_c, place.y * S - g.pad_h,
                     place.x * S - g.pad_w, zeros);
    for_vectors<T>(g.in_c, [&](i64 c, int n) {
        T* to = v + at.of(0, c, L);
        both_axes<T, Y::N, Y::N, X::N, X::N>(
            [](const auto& d, auto& made) { Y::template input<T>(d, made); },
            [](const auto& d, auto& made) { X::template input<T>(d, made); },
            [&](int i, int j) { return load_n(from[i][j] + c, n); },
            [&](int i, int j, Vec<T> value) { store(to + (Y::point(i) * N + X::point(j)) * at.point, value); });
    });
}

// The same for tiles [first, first + count).
template <class T, int M, int S>
static void transform_input(const Tiling<T, M, S>& g, const T* images, i64 first, i64 count, T* v, const Places& at,
                            const T* zeros) {
    for (i64 t = 0; t < count; t++) {
        const auto place = g.place(first + t);
        with_axes<M, S>(place, [&](auto y, auto x) {
            transform_input_tile<T, decltype(y), decltype(x)>(g, place, images, v + at.of(t, 0, LANES<T>), at, zeros);
        });
    }
}

// `count` tiles of V or D by SCALE, which the weight is then spared.
template <class T, class Points> static void scale_points(T* v, const Places& at, i64 count, i64 channels) {
    constexpr int N = Points::N, L = LANES<T>;
    for (i64 t = 0; t < count; t++)
        for (i64 c = 0; c < channels; c += L) {
            T* to = v + at.of(t, c, L);
            for (int point = 0; point < N * N; point++, to += at.point)
                store(to, load(to) * splat<T>(T(Points::SCALE[point / N] * Points::SCALE[point % N])));
        }
}

// ---- products ------------------------------------------------------------------------------------------------

// Products summed one after the other: the error grows with the root of their number. In sums of 128, 512 channels cost 1.1e-6
// of the answer instead of 2.1e-6; the time stays within the noise.
constexpr i64 CHAIN = 128;

// c = or += a b, of points that follow one another: a (rows, k), b (k, NV vectors).
template <class T> struct Product {
    T* c;
    i64 c_row, c_point;
    const T* a;
    i64 a_row, a_col, a_point;
    const T* b;
    i64 b_row, b_point;
    i64 k, points;
    bool add;
};

// `tiles` of MR rows from `row` on. What is there is added last: sums of sums round less than one long sum.
template <class T, int MR, int NV> struct PointKernel {
    static void run(const Product<T>& job, i64 row, i64 tiles, Ahead<T>& ahead) {
        const Product<T> p = job;  // a copy, which no store can change
        for (; tiles > 0; tiles--, row += MR)
            for (i64 point = 0; point < p.points; point++)
                tile(p, p.c + point * p.c_point + row * p.c_row, p.a + point * p.a_point + row * p.a_row,
                     p.b + point * p.b_point, ahead);
    }
    static INLINE void tile(const Product<T>& p, T* c, const T* a, const T* b, Ahead<T>& ahead) {
        constexpr int L = LANES<T>;
        bool add = p.add;
        for (i64 begin = 0; begin < p.k; begin += CHAIN, add = true) {
            const i64 end = p.k - begin < CHAIN ? p.k : begin + CHAIN;
            Vec<T> acc[MR][NV] = {};
            for (i64 q = begin; q < end; q += STEPS) {
                ahead.fetch();
                rows_times_columns<T, MR, NV, false>(acc, a + q * p.a_col, p.a_row, p.a_col, b + q * p.b_row, p.b_row,
                                                     end - q < STEPS ? end - q : STEPS, L);
            }
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
                for (int j = 0; j < NV; j++) {
                    T* out = c + i * p.c_row + j * L;
                    store(out, add ? load(out) + acc[i][j] : acc[i][j]);
                }
        }
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
