// Convolution by Winograd's algorithm, and its input gradient: the convolution of dy with the weight turned round.
//
//   images           V: a plane for each of the N^2 points         M                          images
//   (B, H, W, C) -> [point][tile][channel]   x   U[point]    ->   [point][tile][filter]   -> (B, OH, OW, F)
//                   B^T d B                    (C x F, packed)                               A^T m A, bias, relu
//
// An item is a block of tiles: its V and a chunk of filters of M stay near between the three steps, and U streams by,
// once for each block. Where there are too few tiles for a block for every thread, or U is in memory, all are one: V is made
// before, in a stage of its own, and an item is a chunk of filters. Two threads share eight, and none makes V again; but half of
// V is then in the other core's cache, which costs as much as the products where the cores are far from each other.
//
// U is 4 times as large as the weight. A handful of tiles meet it for less time than writing and reading it takes: unless the
// caller keeps it, a few channels of U are then made where they are used (multiply_at_once), and the weight alone is read, once.
#include "winograd_corner.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 TILES = 48;       // of a block, at most. 24, for which L2 has room, take up to 1.08 of the time, 72 up to 1.09
constexpr i64 CHUNK = 64;       // filters of M at a time, about
// For two threads that are far from each other C128 H16 takes 0.52 of the time in blocks, C64 H14 0.41, C256 H14 0.78, a
// ResNet-10 0.9, and where they are near up to 1.03; C512 H14, whose U has 38 MB, 1.8.
constexpr i64 LEAST_TILES = 8;  // of a block, for every thread to have one
constexpr double STREAMED = 12 << 20;  // bytes of U, at most
constexpr i64 LEAST_ITEMS = 8;  // of a single block of tiles, in chunks of filters
// Channels of U at a time where it is used at once, half of its points. Of a few tiles 8, or the fewer of a vector, within which
// their V is dense: 9 KB on AVX2, in L1 with what they meet; C512 H7, forward and both gradients, takes 0.93 of the time that 48
// channels in L2 took. Of more tiles 128 (150 KB in L2), as their sums go to memory and back: C256 H14 and C512 H14 take 0.9 of
// the time that 32 channels take.
constexpr i64 SMALL_GROUP = LANES<float> < 8 ? LANES<float> : 8;
constexpr i64 LARGE_GROUP = CHAIN;  // then sums have the order, and the bits, of those with a U that is kept
constexpr i64 AHEAD = 48;  // channels of the weight that come to L2 before they are used
// Filters of M, where one of its slivers may be wider.
template <class T> constexpr i64 m_row_of(i64 slivers) { return (slivers * SLIVER + TILE_VECS - SLIVER) * LANES<T>; }
template <class T, i64 GROUP> constexpr i64 HALF_PLANE = GROUP * TILE_VECS * LANES<T> + (GROUP > SMALL_GROUP ? STAGGER : 0);
template <class T, int N, i64 GROUP> constexpr i64 HALF_U = N / 2 * N * HALF_PLANE<T, GROUP>;

// ---- from M to images ----------------------------------------------------------------------------------------

// Filters [f0, f1) of one tile, with Y down and X along; m is where it lies.
template <class T, class Y, class X, class A>
static void transform_output_tile(const Conv& job, const Tiling<T, A>& g, const typename Tiling<T, A>::Place& place,
                                  const T* m, i64 m_plane, i64 f0, i64 f1) {
    constexpr int N = A::N;
    const T* bias = static_cast<const T*>(job.bias);
    const Corner<T> corner(job, g.out_h, g.out_w, g.out_c, place.image, place.y, place.x);
    for_vectors<T>(f1 - f0, [&](i64 f, int n) {
        const Vec<T> b = bias ? load_n(bias + f0 + f, n) : Vec<T>{};
        PutTile<T, Y::M, X::M> put(corner, f0 + f, n);
        both_axes<T, Y::N, Y::M, X::N, X::M>(
            [](const auto& d, auto& made) { Y::template output<T>(d, made); },
            [](const auto& d, auto& made) { X::template output<T>(d, made); },
            [&](int i, int j) {
                const T* column = from_here(m + X::point(j) * m_plane + f);  // else 36 offsets, in memory
                return load(column + Y::point(i) * N * m_plane);
            },
            [&](int i, int j, Vec<T> value) { put(i, j, value + b); });
    });
}

// The same for tiles [first, first + count).
template <class T, class A>
static void transform_output(const Conv& job, const Tiling<T, A>& g, const T* m, i64 m_plane, i64 m_row, i64 first,
                             i64 count, i64 f0, i64 f1) {
    for (i64 t = 0; t < count; t++) {
        const auto place = g.place(first + t);
        with_axes<A>(place, [&](auto y, auto x) {
            transform_output_tile<T, decltype(y), decltype(x)>(job, g, place, m + t * m_row, m_plane, f0, f1);
        });
    }
}

// ---- U: [point][sliver][channel][width] ----------------------------------------------------------------------

// The weight of one vector of filters, [channel][place][LANES], where a channel is one of a square of four pixels, which meets
// every other place down and across.
template <class T, class A>
static void read_pairs(T* w, const Conv& job, i64 c0, int channels, i64 f, int filters) {
    memset(w, 0, size_t(channels) * PLACES<A> * LANES<T> * sizeof(T));
    for (i64 at = c0; at < c0 + channels; at++)
        for (i64 place = 0; place < PLACES<A>; place++, w += LANES<T>) {
            const i64 row = at / job.c / 2, column = at / job.c % 2, c = at % job.c;
            const i64 y = place / A::K * 2 + row - (job.pad_h & 1), x = place % A::K * 2 + column - (job.pad_w & 1);
            if (y < 0 || y >= job.kh || x < 0 || x >= job.kw) continue;
            const T* from = static_cast<const T*>(job.weight) + ((f * job.c + c) * job.kh + y) * job.kw + x;
            for (int lane = 0; lane < filters; lane++) w[lane] = from[lane * job.c * job.kh * job.kw];
        }
}

// Channels [c0, c0 + channels) of the weight for the filters of one vector: [channel][place][LANES]. Turned, a channel's are 576
// bytes in a row of its own. Of many they are fetched as they are read: all before, C512 H14 takes 1.3 of the time.
constexpr i64 FETCHED = 24;  // channels
template <class T, class A>
static void read_weight(T* w, const Conv& job, const Tiling<T, A>& g, i64 c0, int channels, i64 f) {
    constexpr i64 P = PLACES<A>;
    const T* from = static_cast<const T*>(job.weight);
    const int filters = int(g.out_c - f < LANES<T> ? g.out_c - f : LANES<T>);
    if (A::PAIRS) return read_pairs<T, A>(w, job, c0, channels, f, filters);
    if (!g.turned) return read_rows(w, from + (f * g.in_c + c0) * P, g.in_c * P, P * channels, filters);
    for (i64 c = 0; c < channels; c++) {
        const bool last = c + FETCHED >= channels;  // then the next vector's first ones
        const T* ahead = from + ((c0 + c + FETCHED - (last ? channels : 0)) * g.out_c + f + (last ? LANES<T> : 0)) * P;
        for (i64 i = 0; i < P * LANES<T> && channels > FETCHED; i += Ahead<T>::LINE) __builtin_prefetch(ahead + i);
        read_rows(w + c * P * LANES<T>, from + ((c0 + c) * g.out_c + f) * P, P, P, filters);
    }
}

template <class A> constexpr bool MAY_BE_AT_ONCE = A::K == 3 && A::S == 1 && !A::PAIRS;
// Whether U is used where it is made, and where V lies: of a few tiles all points of a vector of channels together.
template <class T, class A> static bool is_at_once(const Conv& job, const Tiling<T, A>& g) {
    return MAY_BE_AT_ONCE<A> && !job.kept && g.tiles <= SOME;
}
template <class T, class A> static Places v_places(const Conv& job, const Tiling<T, A>& g) {
    constexpr int N = A::N;
    return is_at_once(job, g) && g.tiles <= FEW ? Places::together(N * N, LANES<T>, g.tiles) : Places::apart(job.block, g.in_row);
}

// Rows [FIRST, FIRST + ROWS) of points of U for `channels` of the weight and one vector of filters.
template <class T, class A, int FIRST, int ROWS, bool SCALED>
INLINE void make_rows(T* u, i64 u_plane, i64 width, const T* w, int channels, i64 step) {
    constexpr int U = A::U;
#pragma GCC unroll 1
    for (int c = 0; c < channels; c++, u += width, w += PLACES<A> * LANES<T>)
        both_axes<T, A::K, U, FIRST, ROWS>([](const auto& x, auto& made) { A::template weight<T>(x, made); },
                                        [&](int y, int x) { return load(w + (y * A::K + x) * step); },
                                        [&](int y, int x, Vec<T> value) {
                                            const T scale = T(A::SCALE[y] * A::SCALE[x]);
                                            store(u + (y * U + x) * u_plane, SCALED ? value * splat<T>(scale) : value);
                                        });
}

// U of CHANNELS channels from c0 on (or what is left before `end`) for the filters of one vector: in two halves, for which
// AVX2's registers are enough, and inlined, as a `u_plane` known to the compiler saves an address for each store.
template <class T, class A>
INLINE void make_points(T* u, i64 u_plane, i64 width, const Conv& job, const Tiling<T, A>& g, i64 c0, i64 end, i64 f) {
    constexpr int U = A::U, L = LANES<T>;
    const int channels = int(end - c0 < CHANNELS ? end - c0 : CHANNELS);
    T w[CHANNELS * PLACES<A> * L];
    read_weight(w, job, g, c0, channels, f);
    const T* first = g.turned ? w + (PLACES<A> - 1) * L : w;
    const i64 step = g.turned ? -L : L;
    make_rows<T, A, 0, U / 2, true>(u, u_plane, width, first, channels, step);
    make_rows<T, A, U / 2, U / 2, true>(u, u_plane, width, first, channels, step);
}

// An item's channels of U, for every tile and perhaps for later calls. Eight channels at a time: the points are far apart,
// and so are the filters of the weight.
template <class T, class A> static void prepare(const Conv& job, const Tiling<T, A>& g, i64 item) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of(g.out_row / L);
    const i64 c0 = item * CHANNELS;
    for (i64 s = 0; s < slivers.parts; s++)
        for (int j = 0; j < slivers.width(s); j++) {
            const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
            T* u = static_cast<T*>(job.prepared) + column * g.in_c + c0 * width + j * L;
            make_points(u, weight_plane(g.in_c, g.out_row), width, job, g, c0, g.in_c, column + j * L);
        }
}

// Channels [c0, c0 + channels) of the weight for the filters of one vector come to L2. Its rows are 18 KB apart where there are
// 512 channels, which the hardware does not foresee.
template <class T, class A>
static void fetch_weight(const Conv& job, const Tiling<T, A>& g, i64 c0, i64 channels, i64 f) {
    constexpr int L = LANES<T>;
    const i64 rows = g.turned ? channels : L, row = (g.turned ? L : channels) * PLACES<A>;
    const T* from = static_cast<const T*>(job.weight) + (g.turned ? c0 * g.out_c + f : f * g.in_c + c0) * PLACES<A>;
    for (i64 r = 0; r < rows; r++, from += (g.turned ? g.out_c : g.in_c) * PLACES<A>)
        for (i64 i = 0; i < row; i += Ahead<T>::LINE) __builtin_prefetch(from + i);
}

// ---- forward and input gradient ------------------------------------------------------------------------------

template <class T, class A> void winograd_plan(Conv& job) {
    constexpr int N = A::N, U = A::U, L = LANES<T>;
    const Tiling<T, A> g(job);
    const i64 slivers = slivers_of(g.out_row / L).parts;
    job.chunk = CHUNK / (SLIVER * L);
    i64 blocks = ceil_div(g.tiles, TILES);
    const double u = double(U * U) * (double(g.in_c) * double(g.out_row) + (CHANNELS + 1) * STAGGER);
    if (job.kept && blocks < job.slots && g.tiles >= LEAST_TILES * job.slots && u * sizeof(T) <= STREAMED) blocks = job.slots;
    const bool shared = blocks == 1, at_once = is_at_once(job, g);  // shared too, SOME < TILES
    job.stages = shared ? 3 : 2;
    while (shared && job.chunk > 1 && ceil_div(slivers, job.chunk) < LEAST_ITEMS) job.chunk /= 2;
    if (blocks > 1 && blocks < 16) blocks = ceil_div(blocks, 2) * 2;  // two threads have the same to do
    job.chunk = at_once ? 1 : job.chunk < slivers ? job.chunk : slivers;
    job.block = ceil_div(g.tiles, blocks);
    job.parts = shared ? ceil_div(slivers, job.chunk) : 1;
    job.prepared_size = at_once ? 0 : bounded(u);
    job.scratch_size = shared ? N * N * plane(g.tiles, g.in_row) : 0;
    const i64 u_block = HALF_U<T, N, LARGE_GROUP> + LARGE_GROUP * PLACES<A> * TILE_VECS * L;
    const i64 v_block = N * N * plane(job.block, g.in_row);
    job.slot_size = N * N * plane(job.block, m_row_of<T>(job.chunk)) + g.in_row + 64;
    job.slot_size += at_once ? u_block : shared ? 0 : v_block;
}

template <class T, class A> void winograd_stage(Conv& job) {
    constexpr int N = A::N;
    const Tiling<T, A> g(job);
    if (job.stage == 0) {
        job.items = job.prepared_size ? ceil_div(g.in_c, CHANNELS) : 0;
        job.item_flops = 1200.0 * double(g.out_row);
    } else if (job.stage < job.stages - 1) {
        job.items = g.tiles;
        job.item_flops = 48.0 * N * N * double(g.in_c);
    } else {
        job.items = ceil_div(g.tiles, job.block) * job.parts;
        job.item_flops = 2.0 * N * N * double(g.tiles) * double(g.in_c) * double(g.out_c + 16) / double(job.items);
    }
}

// The products of one chunk of slivers for tiles [first, first + count): m = v u, point by point, while the next sliver of U
// comes. The last points of an axis share U's last.
template <class T, class A>
static void multiply(const Conv& job, const Tiling<T, A>& g, T* m, i64 m_plane, i64 m_row, const T* v, i64 v_plane, i64 first,
                     i64 count, i64 s0, i64 s1) {
    constexpr int N = A::N, U = A::U, L = LANES<T>;
    const Split slivers = slivers_of(g.out_row / L);
    const auto u_of = [&](i64 at, i64 s) {
        return static_cast<const T*>(job.prepared) + at * weight_plane(g.in_c, g.out_row) + slivers.begin(s) * L * g.in_c;
    };
    for (int at = 0; at < U * U; at++) {
        const int i0 = at / U, i1 = i0 == U - 1 ? N : i0 + 1, j0 = at % U, j1 = j0 == U - 1 ? N : j0 + 1;
        const auto some = g.having(i0 * N + j0, first, count);
        const Split tiles(some.count, TILE_ROWS);
        for (i64 s = s0; s < s1 && some.count; s++) {
            const i64 column = slivers.begin(s) * L - slivers.begin(s0) * L, width = slivers.width(s) * i64(L);
            const T *u = u_of(at, s), *next = s + 1 < s1 ? u_of(at, s + 1) : at + 1 < U * U ? u_of(at + 1, s0) : u_of(0, s1);
            Ahead<T> ahead(next, width, tiles.parts * (i1 - i0) * (j1 - j0));
            for (int i = i0; i < i1; i++)
                for (int j = j0; j < j1; j++) {
                    const int point = i * N + j;
                    T* out = m + point * m_plane + some.begin * m_row + column;
                    const T* from = v + point * v_plane + some.begin * g.in_row;
                    const Product<T> product = {out, m_row, 0, from, g.in_row, 1, 0, u, width, 0, g.in_c, 1, false};
                    const auto run = [&](auto kernel, i64 row, i64 count) { kernel(product, row, count, ahead); };
                    for_columns<PointKernel, T>(tiles, 0, tiles.parts, slivers.width(s), run);
                }
        }
    }
}

// c = or += a b for SMALL_GROUP of k, of points that follow one another: written out, as so few products leave little time for
// a loop. C512 H7 takes 0.97 of the time.
template <class T, int MR, int NV> struct GroupKernel {
    static void run(const Product<T>& job, i64 first) {
        const Product<T> p = job;  // a copy, which no store can change
        T* c = p.c + first * p.c_row;
        const T *a = p.a + first * p.a_row, *b = p.b;
        for (i64 point = 0; point < p.points; point++, c += p.c_point, a += p.a_point, b += p.b_point) {
            Vec<T> acc[MR][NV];
            const T* row[MR];
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) row[i] = from_here(a + i * p.a_row);  // else 24 offsets, in memory
#pragma GCC unroll 8
            for (int q = 0; q < SMALL_GROUP; q++) {
                Vec<T> bv[NV];
#pragma GCC unroll 8
                for (int j = 0; j < NV; j++) bv[j] = load(b + (q * NV + j) * LANES<T>);
#pragma GCC unroll 8
                for (int i = 0; i < MR; i++) {
                    const Vec<T> x = splat<T>(row[i][q]);
#pragma GCC unroll 8
                    for (int j = 0; j < NV; j++) acc[i][j] = q ? fma<T>(x, bv[j], acc[i][j]) : x * bv[j];
                }
            }
            store_tile(c, p.c_row, acc, p.add);
        }
    }
};

// Points of one half that follow one another and meet the same tiles.
template <class T, class A> struct Runs {
    static constexpr int N = A::N;
    struct Run {
        int point, points;
        typename Tiling<T, A>::Range tiles;
    } run[N * N];
    int count = 0;
    explicit Runs(const Tiling<T, A>& g) {
        for (int point = 0; point < N * N; point++) {
            const auto tiles = g.having(point, 0, g.tiles);
            if (point % (N / 2 * N) && run[count - 1].tiles == tiles) run[count - 1].points++;
            else run[count++] = {point, 1, tiles};
        }
    }
};

// Half of the points of U for GROUP channels or what is left of them, whose weights are in w for each vector of a sliver: made
// and used while they are near.
template <class T, class A, int FIRST, i64 GROUP>
INLINE void multiply_half(const Runs<T, A>& runs, const Product<T>& whole, T* u, const T* w, i64 step, i64 vecs) {
    constexpr int N = A::N, L = LANES<T>, END = FIRST + N / 2;
    constexpr i64 u_plane = HALF_PLANE<T, GROUP>;
    u -= FIRST * N * u_plane;
    for (i64 c = 0; c < whole.k; c += CHANNELS)
        for (i64 j = 0; j < vecs; j++)
            make_rows<T, A, FIRST, N / 2, GROUP == LARGE_GROUP>(u + (c * vecs + j) * L, u_plane, vecs * L,
                                                                   w + (j * GROUP + c) * PLACES<A> * L,
                                                                   int(whole.k - c < CHANNELS ? whole.k - c : CHANNELS), step);
    for (int r = 0; r < runs.count; r++) {
        const auto [point, points, tiles] = runs.run[r];
        if (point < FIRST * N || point >= END * N) continue;
        Product<T> product = whole;
        product.c += point * product.c_point + tiles.begin * product.c_row;
        product.a += point * product.a_point + tiles.begin * product.a_row;
        product.b = u + point * u_plane, product.b_point = u_plane, product.points = points;
        Ahead<T> nothing(u);
        const Split rows(tiles.count, TILE_ROWS);
        if (GROUP == SMALL_GROUP && whole.k == SMALL_GROUP)
            for_tiles<GroupKernel, T>(rows, int(vecs), [&](auto kernel, i64 row, int) { kernel(product, row); });
        else
            for_columns<PointKernel, T>(rows, 0, rows.parts, int(vecs),
                                        [&](auto kernel, i64 row, i64 count) { kernel(product, row, count, nothing); });
    }
}

// The same of sliver s where U is not kept.
template <i64 GROUP, class T, class A>
static void multiply_at_once(const Conv& job, const Tiling<T, A>& g, T* m, i64 m_plane, i64 m_row, const T* v, T* u, i64 s) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of(g.out_row / L);
    const i64 column = slivers.begin(s) * L, vecs = slivers.width(s), step = g.turned ? -L : L;
    const Places at = v_places(job, g);
    const Runs<T, A> runs(g);
    T* w = u + HALF_U<T, A::N, GROUP>;
    const T* first = g.turned ? w + (PLACES<A> - 1) * L : w;
    for (i64 c = 0; c < g.in_c; c += GROUP) {
        const i64 rest = g.in_c - c, ahead = rest > AHEAD ? c + AHEAD : AHEAD - rest, next = rest > AHEAD ? 0 : vecs * L;
        const int channels = int(rest < GROUP ? rest : GROUP);
        for (i64 j = 0; j < vecs; j++) {
            if (GROUP == SMALL_GROUP || !g.turned) fetch_weight(job, g, ahead, GROUP, column + j * L + next);
            read_weight(w + j * GROUP * PLACES<A> * L, job, g, c, channels, column + j * L);
        }
        const T* from = v + at.of(0, c, L);
        const Product<T> product = {m, m_row, m_plane, from, at.tile, 1, at.point, u, vecs * L, 0, channels, 0, c > 0};
        multiply_half<T, A, 0, GROUP>(runs, product, u, first, step, vecs);
        multiply_half<T, A, A::U / 2, GROUP>(runs, product, u, first, step, vecs);
    }
}

// `count` tiles of V by SCALE, which the weight is then spared.
template <class T, class Points> static void scale_points(T* v, const Places& at, i64 count, i64 channels) {
    constexpr int N = Points::N, L = LANES<T>;
    for (i64 t = 0; t < count; t++)
        for (i64 c = 0; c < channels; c += L) {
            T* to = v + at.of(t, c, L);
            for (int point = 0; point < N * N; point++, to += at.point)
                store(to, load(to) * splat<T>(T(Points::SCALE[point / N] * Points::SCALE[point % N])));
        }
}

// What an item has in its thread's scratch: M, a row of zeros, and V or, where that is shared, perhaps a block of U and its
// weight.
template <class T, class A> struct Slot {
    i64 m_row, m_plane, v_plane;
    T *m, *zeros, *rest, *v;
    Slot(const Conv& job, const Tiling<T, A>& g)
        : m_row(m_row_of<T>(job.chunk)),
          m_plane(plane(job.block, m_row)),
          v_plane(plane(job.block, g.in_row)),
          m(slot_of<T>(job)),
          zeros(m + Tiling<T, A>::N * Tiling<T, A>::N * m_plane),
          rest(zeros + g.in_row),
          v(job.stages == 3 ? static_cast<T*>(job.scratch) : rest) {
        memset(zeros, 0, size_t(g.in_row) * sizeof(T));
    }
};

template <class T, class A> static void winograd_block(const Conv& job, const Tiling<T, A>& g, i64 item) {
    constexpr int L = LANES<T>;
    const Split slivers = slivers_of(g.out_row / L);
    const Slot<T, A> own(job, g);
    const i64 block = item / job.parts, part = item % job.parts;
    const i64 first = block * job.block, count = g.tiles - first < job.block ? g.tiles - first : job.block;
    if (job.stages == 2)
        transform_input(g, static_cast<const T*>(g.turned ? job.dy : job.x), first, count, own.v,
                        v_places(job, g), own.zeros);
    for (i64 s = part * job.chunk; s < slivers.parts; s += job.chunk * job.parts) {
        const i64 stop = s + job.chunk < slivers.parts ? s + job.chunk : slivers.parts;
        const i64 f0 = slivers.begin(s) * L, end = slivers.begin(stop) * L;
        if constexpr (MAY_BE_AT_ONCE<A>) {
            if (is_at_once(job, g)) {
                const auto at_once = g.tiles <= FEW ? multiply_at_once<SMALL_GROUP, T, A> : multiply_at_once<LARGE_GROUP, T, A>;
                at_once(job, g, own.m, own.m_plane, own.m_row, own.v, own.rest, s);
            }
        }
        if (!is_at_once(job, g)) multiply(job, g, own.m, own.m_plane, own.m_row, own.v, own.v_plane, first, count, s, stop);
        transform_output(job, g, own.m, own.m_plane, own.m_row, first, count, f0, end < g.out_c ? end : g.out_c);
    }
}

template <class T, class A> void winograd(const Conv& job, i64 begin, i64 end) {
    const Tiling<T, A> g(job);
    if (job.stage == 1 && job.stages == 3) {
        const Slot<T, A> own(job, g);
        const Places at = v_places(job, g);
        T* v = own.v + at.of(begin, 0, LANES<T>);
        transform_input(g, static_cast<const T*>(g.turned ? job.dy : job.x), begin, end - begin, v, at, own.zeros);
        if constexpr (MAY_BE_AT_ONCE<A>)
            if (is_at_once(job, g) && g.tiles <= FEW) scale_points<T, A>(v, at, end - begin, g.in_c);
        return;
    }
    for (i64 item = begin; item < end; item++)
        if (job.stage == 0) prepare(job, g, item);
        else winograd_block(job, g, item);
}

#define INSTANTIATE(...)                                     \
    template void winograd_plan<float, __VA_ARGS__>(Conv&);  \
    template void winograd_stage<float, __VA_ARGS__>(Conv&); \
    template void winograd<float, __VA_ARGS__>(const Conv&, i64, i64);
INSTANTIATE(Winograd<2>)
INSTANTIATE(Winograd<4>)
INSTANTIATE(Winograd<2, 5>)
INSTANTIATE(Winograd<2, 3, 2>)
INSTANTIATE(Pairs<Winograd<3, 4>>)
#undef INSTANTIATE

}  // namespace FASTNN_ISA
}  // namespace fastnn
