// The weight gradient of a few tiles: Winograd's algorithm along the rows, the definition down the columns,
//
//   V[row][tile] = B^T x, D[row][tile] = A dy,   dw[k] = G^T sum V[row + k] . D[row]   for the rows k of the weight.
//
// With so few tiles, winograd_weight.cpp would add a few products to each of 36 sums of a channel and a filter, and turn these
// into nine numbers. Here are more products (of 7 x 7 outputs 209 instead of 121, as rows outside the image are left out), but in
// sums three times as long, a row of V meets three of D for one load of each, and 18 sums are left to turn; none of it leaves the
// registers. C512 H7 takes 0.76 of the time of the other way kept in registers too, 4 x 4 outputs 0.5. And it is more exact: two
// images of 4 x 4 outputs err by 2.9 times what the definition does, not by 7.5.
#include "winograd_tiles.h"

namespace fastnn {
namespace FASTNN_ISA {

typedef Winograd<4> Points;
constexpr int N = Points::N;
constexpr int P = 4;  // channels at a time: four numbers of V and a load of D make twelve FMAs, in sixteen registers

// Where things lie: a vector of channels of V or D has all its rows together, a row its tiles, a tile its points. Row y of an
// image's V meets rows y, y + 1 and y + 2 of its D, of which those that dy has not are zeros.
template <class T> struct Rows {
    static constexpr i64 L = LANES<T>;
    Tiling<T, Points> g;
    i64 v_rows, d_rows, step, v_vector, d_vector;  // rows of an image; elements from a row, a vector to the next
    T *v, *d;
    struct Run {
        i64 v, d;  // where the rows of a tile begin
    } runs[BY_ROWS];  // those of part of a tile come last

    explicit Rows(const Conv& job) : g(job), v_rows(job.h), d_rows(job.h + 2), step(g.across.tiles() * N * L) {
        v_vector = job.batch * v_rows * step, d_vector = job.batch * d_rows * step;
        v = static_cast<T*>(job.scratch), d = v + ceil_div(job.c, L) * v_vector;
        for (i64 r = 0; r < job.batch * g.across.tiles(); r++) {
            const i64 image = r % job.batch, tile = r / job.batch;
            runs[r] = {image * v_rows * step + tile * N * L, image * d_rows * step + tile * N * L};
        }
    }
    // Runs that have a point: the first ones.
    i64 having(int point, i64 batch) const { return batch * (g.across.has(point) ? g.across.tiles() : g.across.whole); }
};

template <class T> void winograd_rows_plan(Conv& job) {
    const Rows<T> rows(job);
    job.stages = 3;  // stage 0 would prepare a weight
    job.prepared_size = 0;
    job.parts = ceil_div(job.f, LANES<T>);
    job.scratch_size = ceil_div(job.c, LANES<T>) * rows.v_vector + ceil_div(job.f, LANES<T>) * rows.d_vector;
    job.slot_size = job.c + job.f;  // zeros
}

template <class T> void winograd_rows_stage(Conv& job) {
    const double points = double(ceil_div(job.ow, 4) * N);  // of a row
    job.items = job.stage == 0 ? 0 : job.stage == 1 ? job.batch * (job.h + 2) : job.parts;
    job.item_flops = job.stage == 1 ? 10.0 * points * double(job.c + job.f)
                                    : (6.0 * double(job.batch * job.h) * points + 200) * double(job.c) * LANES<T>;
}

// ---- transforms ----------------------------------------------------------------------------------------------

// The points of one tile of row `row` of D, X its algorithm, and of the same row of V, if there is one (v is not null).
template <class T, class X>
static void transform_tile(const Conv& job, const Rows<T>& rows, i64 image, i64 row, i64 x, T* v, T* d, const T* zeros) {
    constexpr i64 L = LANES<T>;
    const T *in[X::N], *out[X::M];
    const Image<T> dy(static_cast<const T*>(job.dy) + image * job.oh * job.ow * job.f, job.oh, job.ow, job.f);
    window_pixels(out, 1, X::M, dy, row + job.pad_h - 2, x, zeros);
    for_vectors<T>(job.f, [&](i64 f, int n) {
        Vec<T> from[X::M], made[X::N];
        for (int i = 0; i < X::M; i++) from[i] = load_n(out[i] + f, n);
        X::template gradient<T>(from, made);
        for (int i = 0; i < X::N; i++)
            store(d + f / L * rows.d_vector + X::point(i) * L, times<T>(made[i], Points::SCALE[X::point(i)]));
    });
    if (!v) return;
    const Image<T> from(static_cast<const T*>(job.x) + image * job.h * job.w * job.c, job.h, job.w, job.c);
    window_pixels(in, 1, X::N, from, row, x - job.pad_w, zeros);
    for_vectors<T>(job.c, [&](i64 c, int n) {
        Vec<T> from[X::N], made[X::N];
        for (int i = 0; i < X::N; i++) from[i] = load_n(in[i] + c, n);
        X::template input<T>(from, made);
        for (int i = 0; i < X::N; i++) store(v + c / L * rows.v_vector + X::point(i) * L, made[i]);
    });
}

template <class T> static void transform_row(const Conv& job, const Rows<T>& rows, i64 item) {
    const i64 image = item / rows.d_rows, row = item % rows.d_rows;
    T* zeros = slot_of<T>(job);
    memset(zeros, 0, size_t(job.slot_size) * sizeof(T));
    for (i64 t = 0; t < rows.g.across.tiles(); t++) {
        T* v = row < rows.v_rows ? rows.v + (image * rows.v_rows + row) * rows.step + t * N * LANES<T> : nullptr;
        T* d = rows.d + item * rows.step + t * N * LANES<T>;
        const int part = t < rows.g.across.whole ? 0 : rows.g.across.part;
        with_axis<Points>(part, [&](auto x) { transform_tile<T, decltype(x)>(job, rows, image, row, t * 4, v, d, zeros); });
    }
}

// ---- products ------------------------------------------------------------------------------------------------

// What a row of V adds to the sums of one point, for each row of the weight: for the first with the newest of three rows of D,
// for the last with the oldest, where these are not known to be zeros.
template <class T, bool NEWEST = true, bool OLDEST = true>
INLINE void add_row(Vec<T> (&sum)[3][P], const T* v, Vec<T> oldest, Vec<T> middle, Vec<T> newest) {
    v = from_here(v);
#pragma GCC unroll 4
    for (int c = 0; c < P; c++) {
        const Vec<T> x = in_register<T>(splat<T>(v[c]));
        if (NEWEST) sum[0][c] = fma<T>(x, newest, sum[0][c]);
        sum[1][c] = fma<T>(x, middle, sum[1][c]);
        if (OLDEST) sum[2][c] = fma<T>(x, oldest, sum[2][c]);
        in_register<T>(x);  // until here: else the compiler ends sums in this register, and keeps some in memory
    }
    in_register<T>(oldest);  // the same
}

// All rows of a tile. The next row of D takes the register of the oldest. SAME: x has as many rows as dy, and of V the first row
// meets two of D and the last. That takes 0.78 of the time for 7 rows, where it leaves out 8 of 84 products.
template <class T, bool SAME> INLINE void add_rows(Vec<T> (&sum)[3][P], const T* v, const T* d, i64 step, i64 rows) {
    const auto next = [&]() __attribute__((always_inline)) {
        d += step;
        return in_register<T>(load(d - step));
    };
    if (SAME) d += step;  // zeros
    Vec<T> p = next(), q = next(), r;
    if (SAME) {
        add_row<T, true, false>(sum, v, p, p, q);
        v += step;
        rows -= 2;
    }
    const auto add = [&](const Vec<T>& oldest, const Vec<T>& middle, Vec<T>& newest) __attribute__((always_inline)) {
        newest = next();
        add_row<T>(sum, v, oldest, middle, newest);
        v += step;
    };
    const auto end = [&](const Vec<T>& oldest, const Vec<T>& middle) __attribute__((always_inline)) {
        if (SAME) add_row<T, false, true>(sum, v, oldest, middle, middle);
    };
    for (; rows >= 3; rows -= 3) add(p, q, r), add(q, r, p), add(r, p, q);
    if (rows == 0) return end(p, q);
    add(p, q, r);
    if (rows == 1) return end(q, r);
    add(q, r, p);
    end(r, p);
}

// dw of P channels, which are neighbours in a vector of V, and one vector of filters: w[channel][place].
template <class T, bool SAME>
__attribute__((noinline)) static void gradient_of(T* w, const Rows<T>& rows, i64 batch, const T* v, const T* d) {
    constexpr i64 L = LANES<T>;
    Vec<T> sums[3][P][N];
    const i64 step = rows.step, v_rows = rows.v_rows;
    for (int point = 0; point < N; point++) {
        Vec<T> sum[3][P] = {};
        const i64 runs = rows.having(point, batch);
        for (i64 r = 0; r < runs; r++)
            add_rows<T, SAME>(sum, v + rows.runs[r].v + point * L, d + rows.runs[r].d + point * L, step, v_rows);
#pragma GCC unroll 12
        for (int i = 0; i < 3 * P; i++) sums[i / P][i % P][point] = sum[i / P][i % P];
    }
    for (int k = 0; k < 3; k++)
        for (int c = 0; c < P; c++) {
            Vec<T> made[3];
            Points::weight_gradient<T>(sums[k][c], made);
            for (int j = 0; j < 3; j++) store(w + (c * 9 + k * 3 + j) * L, made[j]);
        }
}

// All channels of one vector of filters.
template <class T> static void filters(const Conv& job, const Rows<T>& rows, i64 item) {
    constexpr i64 L = LANES<T>;
    const i64 f = item * L, count = job.f - f < L ? job.f - f : L;
    const auto gradient = job.pad_h == 1 && job.oh == job.h && job.h > 1 ? gradient_of<T, true> : gradient_of<T, false>;
    for (i64 c0 = 0; c0 < job.c; c0 += CHANNELS) {
        const i64 some = job.c - c0 < CHANNELS ? job.c - c0 : CHANNELS;
        T w[CHANNELS * 9 * L];
        for (i64 at = c0; at < c0 + some; at += P)
            gradient(w + (at - c0) * 9 * L, rows, job.batch, rows.v + at / L * rows.v_vector + at % L,
                     rows.d + item * rows.d_vector);
        write_rows(static_cast<T*>(job.out) + (f * job.c + c0) * 9, job.c * 9, w, 9 * some, int(count));
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
