// The tiles of Winograd's algorithm: where they lie in the images, their way into the planes of points, and the products
// of one point. winograd.cpp makes images of them, winograd_weight.cpp and winograd_rows.cpp the gradient to the weight.
#pragma once
#include "conv.h"
#include "winograd.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 STAGGER = 16;  // elements a plane is longer: else the 36 planes of C = 64 would share two sets of L1
constexpr i64 CHANNELS = 8;  // of the weight at a time: 72 numbers of a filter follow one another in memory
template <class A> constexpr int PLACES = A::K * A::K;  // of the weight

// A row of a plane: tiles a multiple of 512 bytes apart would share eight sets of L1 at most, and the weight gradient, which goes
// down them, needs 50 to 64 of V and of D at a time. C256 H14 takes 0.79 of the time, C128 H28 0.9.
static constexpr i64 staggered(i64 row) { return row % 128 ? row : row + STAGGER; }

// Tiles along an axis of n outputs: whole ones, and perhaps one that is part of a tile of 4.
template <class A> struct Along {
    i64 whole;
    int part;  // its outputs, 2 (or 1) or 3; 0: there is none
    Along(i64 n, bool has_parts) : whole(ceil_div(n, A::M)), part(has_parts && n > 4 ? (n % 4 == 1 ? 2 : int(n % 4)) : 0) {
        whole -= parts();
    }
    i64 parts() const { return part > 0; }
    i64 tiles() const { return whole + parts(); }
    i64 points() const { return whole * A::N + parts() * (part + 2); }
    bool has(int point) const { return point == 5 || point < part + 1; }  // the part
};

// Where U is made for a few tiles, eight channels at a time, it is better to lead all of them through all points.
template <class A> static bool has_parts(const Conv& job) {
    const bool turned = job.pass == CONV_INPUT;
    const i64 h = turned ? job.h : job.oh, w = turned ? job.w : job.ow;
    return A::M == 4 && (job.pass == CONV_WEIGHT || job.kept || job.batch * ceil_div(h, A::M) * ceil_div(w, A::M) > FEW);
}

// The tiles of a pass: M x M outputs each, image after image; of four kinds where the last of an axis are parts,
//
//   0  low    1  whole    2  narrow    3  low and narrow
//
// one after the other, so that the tiles that have a point are neighbours. 14 x 14 outputs take 484 products, not 576.
//
// With PAIRS a pixel of the image that is read is a square of four of the job's, (row, column, channel) of it one channel; with
// odd padding the first pair begins with a place that the weight has not.
template <class T, class A> struct Tiling {
    static constexpr int M = A::M, N = A::N, L = LANES<T>, PAIR = A::PAIRS ? 2 : 1;
    bool turned;  // an input gradient: from dy to dx
    i64 in_h, in_w, in_c, out_h, out_w, out_c, pad_h, pad_w;
    Along<A> down, across;
    i64 tiles, ends[4], out_row;  // ends: of the kinds; out_row: filters in whole vectors
    i64 in_row, grad_row;         // channels of a tile in V, filters of one in D: these too, and staggered

    explicit Tiling(const Conv& job)
        : turned(job.pass == CONV_INPUT),
          in_h((turned ? job.oh : job.h) / PAIR),
          in_w((turned ? job.ow : job.w) / PAIR),
          in_c((turned ? job.f : job.c) * PAIR * PAIR),
          out_h(turned ? job.h : job.oh),
          out_w(turned ? job.w : job.ow),
          out_c(turned ? job.c : job.f),
          pad_h(turned ? A::K - 1 - job.pad_h : A::PAIRS ? (job.pad_h + (job.pad_h & 1)) / 2 : job.pad_h),
          pad_w(turned ? A::K - 1 - job.pad_w : A::PAIRS ? (job.pad_w + (job.pad_w & 1)) / 2 : job.pad_w),
          down(out_h, has_parts<A>(job)),
          across(out_w, has_parts<A>(job)),
          tiles(job.batch * down.tiles() * across.tiles()) {
        ends[0] = job.batch * down.parts() * across.whole;
        ends[1] = ends[0] + job.batch * down.whole * across.whole;
        ends[2] = ends[1] + job.batch * down.whole * across.parts();
        ends[3] = tiles;
        out_row = ceil_div(out_c, L) * L;
        // Where a row of a pair begins within a vector, its last one is whole too.
        in_row = staggered(ceil_div(A::PAIRS ? in_c / 2 + ceil_div(in_c / 2, L) * L : in_c, L) * L);
        grad_row = staggered(out_row);
    }
    struct Place {
        i64 image, y, x;     // of the tile's first output
        int part_y, part_x;  // as in Along
    };
    Place place(i64 tile) const {
        int kind = 0;
        while (tile >= ends[kind]) kind++;
        if (kind) tile -= ends[kind - 1];
        const bool low = kind % 3 == 0, narrow = kind > 1;
        const i64 rows = low ? 1 : down.whole, columns = narrow ? 1 : across.whole;
        const i64 row = low ? down.whole : tile / columns % rows, column = narrow ? across.whole : tile % columns;
        return {tile / columns / rows, row * M, column * M, low ? down.part : 0, narrow ? across.part : 0};
    }
    // The tiles of [first, first + count) that have a point, counted from `first`.
    struct Range {
        i64 begin, count;
        bool operator==(const Range& other) const { return begin == other.begin && count == other.count; }
    };
    Range having(int point, i64 first, i64 count) const {
        const bool low = down.has(point / N), narrow = across.has(point % N);
        i64 begin = low ? 0 : ends[0], end = narrow ? (low ? tiles : ends[2]) : ends[1];
        begin = begin < first ? first : begin, end = end > first + count ? first + count : end;
        return {begin - first, end > begin ? end - begin : 0};
    }
};

// f with the algorithm of an axis; f(Y, X) with those of a tile's two.
template <class A, class F> INLINE void with_axis([[maybe_unused]] int part, F f) {
    if constexpr (A::M == 4) {
        if (part == 2) return f(Part<2>());
        if (part == 3) return f(Part<3>());
    }
    f(A());
}
template <class A, class Place, class F> INLINE void with_axes(const Place& place, F f) {
    with_axis<A>(place.part_y, [&](auto y) { with_axis<A>(place.part_x, [&](auto x) { f(y, x); }); });
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

// An image (h, w, c), its rows `pitch` elements apart. With `below`, of so few channels that they fit a vector twice, a pixel is
// followed by what lies so many elements on.
template <class T> struct Image {
    const T* data;
    i64 h, w, c, pitch, below = 0;
    Image(const T* data, i64 h, i64 w, i64 c) : data(data), h(h), w(w), c(c), pitch(w * c) {}
};
// The pixels (rows, columns) of its window at (y, x); those outside of it are `zeros`.
template <class T>
void window_pixels(const T** pixels, int rows, int columns, const Image<T>& image, i64 y, i64 x, const T* zeros);

// Where a vector of channels of a tile lies in V, its points `point` apart: in planes of points, the factors of products; or
// with all its points together.
struct Places {
    i64 point, tile, channel;
    static Places apart(i64 tiles, i64 row) { return {plane(tiles, row), row, 1}; }
    static Places together(i64 points, i64 lanes, i64 tiles) { return {lanes, points * lanes, points * tiles}; }
    // Of a channel within its vector too.
    i64 of(i64 t, i64 c, i64 lanes) const { return t * tile + c / lanes * lanes * channel + c % lanes; }
};

// V = B^T d B and D = A dy A^T of tiles [first, first + count); `v` and `d` are where the first lies.
template <class T, class A>
void transform_input(const Tiling<T, A>& g, const T* images, i64 first, i64 count, T* v, const Places& at, const T* zeros);
template <class T, class A>
void transform_gradient(const Tiling<T, A>& g, const T* images, i64 first, i64 count, T* d, const Places& at, const T* zeros);

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

// c (MR, NV vectors) = or += acc.
template <class T, int MR, int NV> INLINE void store_tile(T* c, i64 row, const Vec<T> (&acc)[MR][NV], bool add) {
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++) {
            T* out = c + i * row + j * LANES<T>;
            store(out, add ? load(out) + acc[i][j] : acc[i][j]);
        }
}

// `tiles` of MR rows from `row` on. What is there is added last: sums of sums round less than one long sum.
template <class T, int MR, int NV> struct PointKernel {
    static void run(const Product<T>& job, i64 row, i64 tiles, Ahead<T>& next) {
        const Product<T> p = job;  // copies, which no store can change
        Ahead<T, NV> ahead(next);
        for (; tiles > 0; tiles--, row += MR)
            for (i64 point = 0; point < p.points; point++)
                tile(p, p.c + point * p.c_point + row * p.c_row, p.a + point * p.a_point + row * p.a_row,
                     p.b + point * p.b_point, ahead);
        next.next = ahead.next;
    }
    static INLINE void tile(const Product<T>& p, T* c, const T* a, const T* b, Ahead<T, NV>& ahead) {
        constexpr int L = LANES<T>;
        bool add = p.add;
        for (i64 begin = 0; begin < p.k; begin += CHAIN, add = true) {
            const i64 end = p.k - begin < CHAIN ? p.k : begin + CHAIN;
            Vec<T> acc[MR][NV] = {};
            rows_times_columns<T, MR, NV, false>(acc, a + begin * p.a_col, p.a_row, p.a_col, b + begin * p.b_row, p.b_row,
                                                 end - begin, L, ahead);
            store_tile(c, p.c_row, acc, add);
        }
    }
};

// ---- the ways: as in conv.h, of floats -----------------------------------------------------------------------

template <class T, class A> void winograd_plan(Conv& job);  // winograd.cpp: CONV_FORWARD, and CONV_INPUT of stride 1
template <class T, class A> void winograd_stage(Conv& job);
template <class T, class A> void winograd(const Conv& job, i64 begin, i64 end);
template <class T> void winograd_rgb_plan(Conv& job);  // winograd_rgb.cpp: CONV_FORWARD of three channels, 3 x 3, stride 1
template <class T> void winograd_rgb_stage(Conv& job);
template <class T> void winograd_rgb(const Conv& job, i64 begin, i64 end);
template <class T> void winograd_rows_plan(Conv& job);  // winograd_rows.cpp: CONV_WEIGHT of few tiles
template <class T> void winograd_rows_stage(Conv& job);
template <class T> void winograd_rows(const Conv& job, i64 begin, i64 end);
template <class T, class A> void winograd_weight_plan(Conv& job);  // winograd_weight.cpp: CONV_WEIGHT
template <class T, class A> void winograd_weight_stage(Conv& job);
template <class T, class A> void winograd_weight(const Conv& job, i64 begin, i64 end);

}  // namespace FASTNN_ISA
}  // namespace fastnn
