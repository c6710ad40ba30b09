// The weight gradient of a few tiles: Winograd's algorithm along the rows, the definition down the columns,
//
//   V[row][tile] = B^T x, D[row][tile] = A dy,   dw[k] = G^T sum V[row + k] . D[row]   for the rows k of the weight.
//
// With so few tiles, winograd_weight.cpp would add a few products to each of 36 sums of a channel and a filter, and turn these
// into nine numbers. Here are more products (of 7 x 7 outputs 209 instead of 121, as rows outside the image are left out), but in
// sums three times as long, a row of V meets three of D for one load of each, and 18 sums are left to turn; none of it leaves the
// registers. C512 H7 takes 0.88 of the time of the other way kept in registers too, 4 x 4 outputs 0.5. And it is more exact: two
// images of 4 x 4 outputs err by 2.9 times what the definition does, not by 7.5.
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

typedef Winograd<4> Points;
constexpr int N = Points::N;
constexpr int P = 2;  // channels, and vectors of filters, at a time: two loads of D and six numbers of V make twelve FMAs

// Where things lie: a vector of channels of V or D has all its rows together, a row its tiles, a tile its points.
template <class T> struct Rows {
    static constexpr i64 L = LANES<T>;
    Tiling<T, 4> g;
    i64 v_rows, d_rows, step, v_vector, d_vector;  // rows of an image; elements from a row, a vector to the next
    i64 top, bottom, middle;                       // rows of dy whose first, whose last row of x is outside, the others
    T *v, *d;
    struct Run {
        i64 v, d;  // where the rows of a tile begin
    } runs[BY_ROWS];   // those of part of a tile come last

    explicit Rows(const Conv& job) : g(job), v_rows(job.oh + 2), d_rows(job.oh), step(g.across.tiles() * N * L) {
        v_vector = job.batch * v_rows * step, d_vector = job.batch * d_rows * step;
        top = job.pad_h < job.oh ? job.pad_h : job.oh;
        bottom = v_rows - job.pad_h - job.h;
        bottom = bottom < 0 ? 0 : bottom < job.oh - top ? bottom : job.oh - top;
        middle = job.oh - top - bottom;
        v = static_cast<T*>(job.scratch), d = v + ceil_div(job.c, L) * v_vector;
        for (i64 r = 0; r < job.batch * g.across.tiles(); r++) {
            const i64 image = r % job.batch, tile = r / job.batch;
            runs[r] = {(image * v_rows * g.across.tiles() + tile) * N * L, (image * d_rows * g.across.tiles() + tile) * N * L};
        }
    }
    // Runs that have a point: the first ones.
    i64 having(int point, i64 batch) const { return batch * (g.across.has(point) ? g.across.tiles() : g.across.whole); }
};

template <class T> void winograd_rows_plan(Conv& job) {
    const Rows<T> rows(job);
    job.way = CONV_WINOGRAD_ROWS;
    job.stages = 3;  // stage 0 would prepare a weight
    job.prepared_size = 0;
    job.parts = Split(rows.g.out_row / LANES<T>, P).parts;
    job.scratch_size = ceil_div(job.c, LANES<T>) * rows.v_vector + ceil_div(job.f, LANES<T>) * rows.d_vector;
    job.slot_size = job.c + job.f;  // zeros
}

template <class T> void winograd_rows_stage(Conv& job) {
    const double points = double(job.batch * job.oh) * double(ceil_div(job.ow, 4) * N);
    job.items = job.stage == 0 ? 0 : job.stage == 1 ? job.batch * (job.oh + 2) : job.parts;
    job.item_flops = job.stage == 1 ? 10.0 * points * double(job.c + job.f) / double(job.batch * job.oh)
                                    : (6.0 * points + 200) * double(job.c) * LANES<T> * P;
}

// ---- transforms ----------------------------------------------------------------------------------------------

// The points of one tile of a row, X its algorithm; v and d are where they lie, d null where the row is not one of dy's.
template <class T, class X>
static void transform_tile(const Conv& job, const Rows<T>& rows, i64 image, i64 row, i64 x, T* v, T* d, const T* zeros) {
    constexpr i64 L = LANES<T>;
    const T *in[X::N], *out[X::M];
    window_pixels(in, 1, X::N, static_cast<const T*>(job.x) + image * job.h * job.w * job.c, job.h, job.w, job.c, row - job.pad_h,
                     x - job.pad_w, zeros);
    for_vectors<T>(job.c, [&](i64 c, int n) {
        Vec<T> from[X::N], made[X::N];
        for (int i = 0; i < X::N; i++) from[i] = load_n(in[i] + c, n);
        X::template input<T>(from, made);
        for (int i = 0; i < X::N; i++) store(v + c / L * rows.v_vector + X::point(i) * L, made[i]);
    });
    if (!d) return;
    window_pixels(out, 1, X::M, static_cast<const T*>(job.dy) + image * job.oh * job.ow * job.f, job.oh, job.ow, job.f, row, x,
                  zeros);
    for_vectors<T>(job.f, [&](i64 f, int n) {
        Vec<T> from[X::M], made[X::N];
        for (int i = 0; i < X::M; i++) from[i] = load_n(out[i] + f, n);
        X::template gradient<T>(from, made);
        for (int i = 0; i < X::N; i++)
            store(d + f / L * rows.d_vector + X::point(i) * L, times<T>(made[i], Points::SCALE[X::point(i)]));
    });
}

// A row of an image, of x with what its padding adds and of dy.
template <class T> static void transform_row(const Conv& job, const Rows<T>& rows, i64 item) {
    const i64 image = item / rows.v_rows, row = item % rows.v_rows;
    T* zeros = slot_of<T>(job);
    memset(zeros, 0, size_t(job.slot_size) * sizeof(T));
    for (i64 t = 0; t < rows.g.across.tiles(); t++) {
        T* v = rows.v + item * rows.step + t * N * LANES<T>;
        T* d = row < rows.d_rows ? rows.d + (image * rows.d_rows + row) * rows.step + t * N * LANES<T> : nullptr;
        const int part = t < rows.g.across.whole ? 0 : rows.g.across.part;
        with_axis<4, 1>(part, [&](auto x) { transform_tile<T, decltype(x)>(job, rows, image, row, t * 4, v, d, zeros); });
    }
}

// ---- products ------------------------------------------------------------------------------------------------

// Two channels of V, which are neighbours in a vector, and two vectors of D.
template <class T> struct Pairs {
    const T* v;
    i64 v_channel;
    const T* d;
    i64 d_vector;
    Pairs at(i64 v_by, i64 d_by) const { return {v + v_by, v_channel, d + d_by, d_vector}; }
};

// Sums of one point over rows of dy that follow one another, for rows [FIRST, END) of the weight.
template <class T, int FIRST, int END>
INLINE void add_rows(Vec<T> (&sum)[3][P][P], Pairs<T>& at, i64 step, i64 rows) {
#pragma GCC unroll 1
    for (; rows > 0; rows--, at.v += step, at.d += step) {
        const Vec<T> d[P] = {load(at.d), load(at.d + at.d_vector)};
#pragma GCC unroll 3
        for (int k = FIRST; k < END; k++)
#pragma GCC unroll 2
            for (int c = 0; c < P; c++) {
                const Vec<T> x = splat<T>(at.v[k * step + c * at.v_channel]);
#pragma GCC unroll 2
                for (int p = 0; p < P; p++) sum[k][c][p] = fma<T>(x, d[p], sum[k][c][p]);
            }
    }
}

// dw of two channels and two vectors of filters: w[vector][channel][place].
template <class T>
__attribute__((noinline)) static void gradient_of(T* w, i64 w_vector, const Rows<T>& rows, i64 batch, const Pairs<T>& from) {
    constexpr i64 L = LANES<T>;
    Vec<T> sums[3][P][P][N];
    const i64 step = rows.step, top = rows.top, middle = rows.middle, bottom = rows.bottom;
    for (int point = 0; point < N; point++) {
        Vec<T> sum[3][P][P] = {};
        const i64 runs = rows.having(point, batch);
        for (i64 r = 0; r < runs; r++) {
            Pairs<T> next = from.at(rows.runs[r].v + point * L, rows.runs[r].d + point * L);
            add_rows<T, 1, 3>(sum, next, step, top);
            add_rows<T, 0, 3>(sum, next, step, middle);
            add_rows<T, 0, 2>(sum, next, step, bottom);
        }
#pragma GCC unroll 12
        for (int i = 0; i < 3 * P * P; i++) sums[i / (P * P)][i / P % P][i % P][point] = sum[i / (P * P)][i / P % P][i % P];
    }
    for (int k = 0; k < 3; k++)
        for (int c = 0; c < P; c++)
            for (int p = 0; p < P; p++) {
                Vec<T> made[3];
                Points::weight_gradient<T>(sums[k][c][p], made);
                for (int j = 0; j < 3; j++) store(w + p * w_vector + (c * 9 + k * 3 + j) * L, made[j]);
            }
}

// All channels of one or two vectors of filters.
template <class T> static void filters(const Conv& job, const Rows<T>& rows, i64 item) {
    constexpr i64 L = LANES<T>;
    const Split vectors(rows.g.out_row / L, P);
    const i64 first = vectors.begin(item), d_vector = vectors.width(item) == P ? rows.d_vector : 0;
    for (i64 c0 = 0; c0 < job.c; c0 += CHANNELS) {
        const i64 some = job.c - c0 < CHANNELS ? job.c - c0 : CHANNELS;
        T w[P][CHANNELS * 9 * L];
        for (i64 at = 0; at < some; at += P) {
            const T* v = rows.v + (c0 + at) / L * rows.v_vector + (c0 + at) % L;
            gradient_of<T>(w[0] + at * 9 * L, CHANNELS * 9 * L, rows, job.batch,
                           {v, at + 1 < some, rows.d + first * rows.d_vector, d_vector});
        }
        for (int p = 0; p < vectors.width(item); p++) {
            const i64 f = (first + p) * L, filters = job.f - f < L ? job.f - f : L;
            write_rows(static_cast<T*>(job.out) + (f * job.c + c0) * 9, job.c * 9, w[p], 9 * some, int(filters));
        }
    }
}

template <class T> void winograd_rows(const Conv& job, i64 begin, i64 end) {
    const Rows<T> rows(job);
    for (i64 item = begin; item < end; item++)
        if (job.stage == 1) transform_row(job, rows, item);
        else filters(job, rows, item);
}

template void winograd_rows_plan<float>(Conv&);
template void winograd_rows_stage<float>(Conv&);
template void winograd_rows<float>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
