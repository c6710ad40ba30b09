// 3x3 convolution by Winograd's algorithm, forward, and both gradients. The input gradient is the convolution of dy
// with the weight turned round; the weight gradient is the exact adjoint.
//
//   images           V: a plane for each of the N^2 points         M                          images
//   (B, H, W, C) -> [point][tile][channel]   x   U[point]    ->   [point][tile][filter]   -> (B, OH, OW, F)
//                   B^T d B                    (C x F, packed)                               A^T m A, bias, relu
//
// An item is a block of tiles: its V and a chunk of filters of M stay in L2 between the three steps, and U streams by,
// once for each block. A plane is 16 elements longer than it need be: else the 36 planes of C = 64 would share two sets
// of the L1 cache.
//
// The weight gradient transforms a batch of tiles of x and dy, then dU[point] += V[point]^T D[point], and at the end dw
// = G^T dU G: every dU has one writer and one order of summation, so the bits do not depend on the number of threads.
#include "conv.h"
#include "winograd.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 BLOCK_BYTES = 256 << 10;  // of V and M of a block, about: half of L2
constexpr i64 CHUNK = 64;               // filters of M at a time, about
constexpr i64 BATCH_BYTES = 4 << 20;    // of V and D in a batch of the weight gradient: they pass through L3
constexpr i64 LEAST_TILES = 24;         // of a block: U streams by for each
constexpr i64 STAGGER = 16;

// The tiles of a pass: M x M outputs each, in rows, image after image.
template <class T, int M> struct Tiling {
    static constexpr int N = Winograd<M>::N, L = LANES<T>;
    bool turned;  // an input gradient: from dy to dx
    i64 in_h, in_w, in_c, out_h, out_w, out_c, pad_h, pad_w;
    i64 rows, columns, tiles, in_row, out_row;  // in_row, out_row: channels and filters in whole vectors

    explicit Tiling(const Conv& job) : turned(job.pass == CONV_INPUT) {
        in_h = turned ? job.oh : job.h, in_w = turned ? job.ow : job.w, in_c = turned ? job.f : job.c;
        out_h = turned ? job.h : job.oh, out_w = turned ? job.w : job.ow, out_c = turned ? job.c : job.f;
        pad_h = turned ? 2 - job.pad_h : job.pad_h, pad_w = turned ? 2 - job.pad_w : job.pad_w;
        rows = ceil_div(out_h, M), columns = ceil_div(out_w, M), tiles = job.batch * rows * columns;
        in_row = ceil_div(in_c, L) * L, out_row = ceil_div(out_c, L) * L;
    }
    struct Place {
        i64 image, y, x;  // of the tile's first output
    };
    Place place(i64 tile) const { return {tile / columns / rows, tile / columns % rows * M, tile % columns * M}; }
};

static constexpr i64 plane(i64 rows, i64 row) { return rows * row + STAGGER; }

// ---- transforms of tiles -------------------------------------------------------------------------------------

// Where the pixels of a window of SIDE x SIDE at (y, x) are; those outside the image are `zeros`.
template <class T, int SIDE>
INLINE void window_pixels(const T* (&at)[SIDE][SIDE], const T* image, i64 h, i64 w, i64 c, i64 y, i64 x,
                          const T* zeros) {
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            const bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
            at[i][j] = inside ? image + ((y + i) * w + x + j) * c : zeros;
        }
}

// V[.][t] = B^T d B for tiles [first, first + count).
template <class T, int M>
static void transform_input(const Tiling<T, M>& g, const T* images, i64 first, i64 count, T* v, i64 v_plane,
                            const T* zeros) {
    constexpr int N = Winograd<M>::N;
    for (i64 t = 0; t < count; t++) {
        const auto place = g.place(first + t);
        const T* at[N][N];
        window_pixels<T, N>(at, images + place.image * g.in_h * g.in_w * g.in_c, g.in_h, g.in_w, g.in_c,
                            place.y - g.pad_h, place.x - g.pad_w, zeros);
        T* row = v + t * g.in_row;
        for_vectors<T>(g.in_c, [&](i64 c, int n) {
            both_axes<T, N, N>([](const auto& d, auto& made) { Winograd<M>::template input<T>(d, made); },
                               [&](int i, int j) { return load_n(at[i][j] + c, n); },
                               [&](int i, int j, Vec<T> value) { store(row + (i * N + j) * v_plane + c, value); });
        });
    }
}

// M x M outputs of a tile to its corner in the image, as far as they lie in it: h x w pixels are left.
template <class T, int M>
INLINE void store_tile(T* corner, const Vec<T> (&y)[M][M], i64 row, i64 pixel, i64 h, i64 w, int n) {
#pragma GCC unroll 4
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
        for (int j = 0; j < M; j++)
            if (i < h && j < w) store_n(corner + i * row + j * pixel, y[i][j], n);
}

// The same, the greatest of each 2 x 2: a tile holds M / 2 x M / 2 whole windows.
template <class T, int M>
INLINE void pool_tile(T* corner, const Vec<T> (&y)[M][M], i64 row, i64 pixel, i64 h, i64 w, int n) {
    const auto greater = [](Vec<T> a, Vec<T> b) { return select<T>((a > b) | (a != a), a, b); };  // NaN stays
#pragma GCC unroll 2
    for (int i = 0; i < M; i += 2)
#pragma GCC unroll 2
        for (int j = 0; j < M; j += 2)
            if (i + 1 < h && j + 1 < w)
                store_n(corner + i / 2 * row + j / 2 * pixel,
                        greater(greater(y[i][j], y[i][j + 1]), greater(y[i + 1][j], y[i + 1][j + 1])), n);
}

// From M back to images: filters [f0, f1) of tiles [first, first + count).
template <class T, int M>
static void transform_output(const Conv& job, const Tiling<T, M>& g, const T* m, i64 m_plane, i64 m_row, i64 first,
                             i64 count, i64 f0, i64 f1) {
    constexpr int N = Winograd<M>::N;
    const T* bias = static_cast<const T*>(job.bias);
    const Vec<T> least = splat<T>(job.relu ? T(0) : -T(INFINITY));
    for (i64 t = 0; t < count; t++) {
        const auto place = g.place(first + t);
        const i64 h = g.out_h - place.y, w = g.out_w - place.x, shrink = job.pool ? 2 : 1,
                  row = g.out_w / shrink * g.out_c;
        T* corner = static_cast<T*>(job.out) + (place.image * (g.out_h / shrink) + place.y / shrink) * row +
                    place.x / shrink * g.out_c + f0;
        for_vectors<T>(f1 - f0, [&](i64 f, int n) {
            const T* in = m + t * m_row + f;
            const Vec<T> b = bias ? load_n(bias + f0 + f, n) : Vec<T>{};
            Vec<T> y[M][M];
            both_axes<T, N, M>([](const auto& d, auto& made) { Winograd<M>::template output<T>(d, made); },
                               [&](int i, int j) { return load(in + (i * N + j) * m_plane); },
                               [&](int i, int j, Vec<T> value) { y[i][j] = max<T>(least, value + b); });
            if (job.pool) pool_tile<T, M>(corner + f, y, row, g.out_c, h, w, n);
            else store_tile<T, M>(corner + f, y, row, g.out_c, h, w, n);
        });
    }
}

// D[.][t] = A dy A^T.
template <class T, int M>
static void transform_gradient(const Tiling<T, M>& g, const T* images, i64 first, i64 count, T* d, i64 d_plane,
                               const T* zeros) {
    constexpr int N = Winograd<M>::N;
    for (i64 t = 0; t < count; t++) {
        const auto place = g.place(first + t);
        const T* at[M][M];
        window_pixels<T, M>(at, images + place.image * g.out_h * g.out_w * g.out_c, g.out_h, g.out_w, g.out_c, place.y,
                            place.x, zeros);
        T* row = d + t * g.out_row;
        for_vectors<T>(g.out_c, [&](i64 f, int n) {
            both_axes<T, M, N>([](const auto& y, auto& made) { Winograd<M>::template gradient<T>(y, made); },
                               [&](int i, int j) { return load_n(at[i][j] + f, n); },
                               [&](int i, int j, Vec<T> value) { store(row + (i * N + j) * d_plane + f, value); });
        });
    }
}

// ---- U: [point][sliver][channel][width] ----------------------------------------------------------------------

// Channel c of U, in double: the weight is transformed once and used for every tile. A sliver's row is put together
// before it is written: the points are far apart.
template <class T, int M> static void prepare(const Conv& job, const Tiling<T, M>& g, i64 c) {
    constexpr int N = Winograd<M>::N, D = LANES<double>, L = LANES<T>;
    const Split slivers(g.out_row / L, TILE_VECS);
    const i64 u_plane = plane(g.in_c, g.out_row);
    const T* weight = static_cast<const T*>(job.weight);
    for (i64 s = 0; s < slivers.parts; s++) {
        const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
        T rows[N * N][TILE_VECS * L];
        for (i64 j = 0; j < width; j += D) {
            double w[9][D] = {};
            for (i64 i = 0; i < D && column + j + i < g.out_c; i++) {
                const i64 f = column + j + i;
                const T* from = weight + (g.turned ? c * g.out_c + f : f * g.in_c + c) * 9;
                for (int k = 0; k < 9; k++) w[k][i] = double(from[g.turned ? 8 - k : k]);
            }
            both_axes<double, 3, N>([](const auto& x, auto& made) { Winograd<M>::template weight<double>(x, made); },
                                    [&](int y, int x) { return load(w[y * 3 + x]); },
                                    [&](int y, int x, Vec<double> value) {
                                        for (int i = 0; i < D; i++) rows[y * N + x][j + i] = T(value[i]);
                                    });
        }
        T* u = static_cast<T*>(job.prepared) + column * g.in_c + c * width;
        for (int point = 0; point < N * N; point++)
            for_vectors<T>(width,
                           [&](i64 j, int n) { store_n(u + point * u_plane + j, load_n(rows[point] + j, n), n); });
    }
}

// ---- products ------------------------------------------------------------------------------------------------

// c (MR, NV vectors) = or += a (MR, k) b (k, NV vectors). What is there is added last: sums of sums round less than one
// long sum.
template <class T, int MR, int NV, bool ADD> struct PointKernel {
    static void run(T* c, i64 c_row, const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row, i64 k) {
        constexpr int L = LANES<T>;
        Vec<T> acc[MR][NV] = {};
        rows_times_columns<T, MR, NV, false>(acc, a, a_row, a_col, b, b_row, k, L);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
            for (int j = 0; j < NV; j++) {
                T* out = c + i * c_row + j * L;
                store(out, ADD ? load(out) + acc[i][j] : acc[i][j]);
            }
    }
};

// ---- forward and input gradient ------------------------------------------------------------------------------

template <class T, int M> static void winograd_plan(Conv& job) {
    constexpr int N = Winograd<M>::N, L = LANES<T>;
    const Tiling<T, M> g(job);
    const Split slivers(g.out_row / L, TILE_VECS);
    job.way = M == 4 ? CONV_WINOGRAD4 : CONV_WINOGRAD2;
    job.stages = 2;
    i64 chunk = CHUNK / (TILE_VECS * L);  // slivers
    if (chunk < 1) chunk = 1;
    job.chunk = chunk < slivers.parts ? chunk : slivers.parts;
    const i64 tile_bytes = N * N * (g.in_row + job.chunk * TILE_VECS * L) * i64(sizeof(T));
    i64 most = BLOCK_BYTES / tile_bytes;
    most = most < LEAST_TILES ? LEAST_TILES : most;
    i64 blocks = ceil_div(g.tiles, most);
    if (blocks > 1 && blocks < 16) blocks = ceil_div(blocks, 2) * 2;  // two threads have the same to do
    job.block = ceil_div(g.tiles, blocks);
    job.parts = blocks > 1 ? 1 : ceil_div(slivers.parts, job.chunk);  // a single block: each part makes V for itself
    job.prepared_size = bounded(double(N * N) * (double(g.in_c) * double(g.out_row) + STAGGER));
    job.scratch_size = 0;
    job.slot_size = N * N * (plane(job.block, g.in_row) + plane(job.block, job.chunk * TILE_VECS * L)) + g.in_row + 64;
}

template <class T, int M> static void winograd_stage(Conv& job) {
    constexpr int N = Winograd<M>::N;
    const Tiling<T, M> g(job);
    job.items = job.stage == 0 ? g.in_c : ceil_div(g.tiles, job.block) * job.parts;
    job.item_flops = job.stage == 0
                         ? 300.0 * double(g.out_row)
                         : 2.0 * N * N * double(g.tiles) * double(g.in_c) * double(g.out_c + 16) / double(job.items);
}

// The products of one chunk of slivers for `count` tiles, point by point.
template <class T, int M>
static void multiply(const Conv& job, const Tiling<T, M>& g, T* m, i64 m_plane, i64 m_row, const T* v, i64 v_plane,
                     i64 count, i64 s0, i64 s1) {
    constexpr int N = Winograd<M>::N, L = LANES<T>;
    const Split slivers(g.out_row / L, TILE_VECS), tiles(count, TILE_ROWS);
    const i64 first = slivers.begin(s0) * L;
    for (int point = 0; point < N * N; point++)
        for (i64 s = s0; s < s1; s++) {
            const i64 column = slivers.begin(s) * L, width = slivers.width(s) * i64(L);
            const T* u = static_cast<const T*>(job.prepared) + point * plane(g.in_c, g.out_row) + column * g.in_c;
            for_tiles<PointKernel, T>(tiles, slivers.width(s), false, [&](auto kernel, i64 tile, int) {
                kernel(m + point * m_plane + tile * m_row + column - first, m_row,
                       v + point * v_plane + tile * g.in_row, g.in_row, 1, u, width, g.in_c);
            });
        }
}

template <class T, int M> static void winograd_block(const Conv& job, const Tiling<T, M>& g, i64 item) {
    constexpr int N = Winograd<M>::N, L = LANES<T>;
    const Split slivers(g.out_row / L, TILE_VECS);
    const i64 block = item / job.parts, part = item % job.parts;
    const i64 first = block * job.block, count = g.tiles - first < job.block ? g.tiles - first : job.block;
    const i64 m_row = job.chunk * TILE_VECS * L, v_plane = plane(job.block, g.in_row),
              m_plane = plane(job.block, m_row);
    T* v = slot_of<T>(job);
    T* m = v + N * N * v_plane;
    T* zeros = m + N * N * m_plane;
    memset(zeros, 0, size_t(g.in_row) * sizeof(T));
    transform_input(g, static_cast<const T*>(g.turned ? job.dy : job.x), first, count, v, v_plane, zeros);
    for (i64 s = part * job.chunk; s < slivers.parts; s += job.chunk * job.parts) {
        const i64 stop = s + job.chunk < slivers.parts ? s + job.chunk : slivers.parts;
        const i64 f0 = slivers.begin(s) * L, end = slivers.begin(stop) * L;
        multiply(job, g, m, m_plane, m_row, v, v_plane, count, s, stop);
        transform_output(job, g, m, m_plane, m_row, first, count, f0, end < g.out_c ? end : g.out_c);
    }
}

// ---- weight gradient -----------------------------------------------------------------------------------------
// Stages: nothing; then transform and multiply for each batch of job.block tiles; then the weight.

constexpr i64 GROUP = 8;          // tiles of a transforming item
constexpr i64 PRODUCT_ROWS = 64;  // channels of a multiplying item, about
constexpr i64 CHAIN = 64;         // tiles summed one after the other

template <class T, int M> struct Batches {
    i64 v_plane, d_plane, row_blocks;
    T *v, *d, *du;
    Batches(const Conv& job, const Tiling<T, M>& g)
        : v_plane(plane(job.block, g.in_row)),
          d_plane(plane(job.block, g.out_row)),
          row_blocks(ceil_div(g.in_c, PRODUCT_ROWS)) {
        constexpr int POINTS = Winograd<M>::N * Winograd<M>::N;
        v = static_cast<T*>(job.scratch);
        d = v + POINTS * v_plane;
        du = d + POINTS * d_plane;
    }
};

template <class T, int M> static void gradient_plan(Conv& job) {
    constexpr int N = Winograd<M>::N;
    const Tiling<T, M> g(job);
    i64 most = BATCH_BYTES / (N * N * (g.in_row + g.out_row) * i64(sizeof(T)));
    most = most < 32 ? 32 : most;
    const i64 batches = ceil_div(g.tiles, most);
    job.block = ceil_div(ceil_div(g.tiles, batches), GROUP) * GROUP;
    job.way = M == 4 ? CONV_WINOGRAD4 : CONV_WINOGRAD2;
    job.stages = 2 + 2 * ceil_div(g.tiles, job.block);
    job.prepared_size = 0;
    job.scratch_size = N * N * (plane(job.block, g.in_row) + plane(job.block, g.out_row) + plane(g.in_c, g.out_row));
    job.slot_size = (g.in_row > g.out_row ? g.in_row : g.out_row) + 64;
}

template <class T, int M> static void gradient_stage(Conv& job) {
    constexpr int N = Winograd<M>::N;
    const Tiling<T, M> g(job);
    const Batches<T, M> b(job, g);
    if (job.stage == 0) {
        job.items = 0;
    } else if (job.stage == job.stages - 1) {
        job.items = g.in_c;
        job.item_flops = 200.0 * double(g.out_row);
    } else if (job.stage % 2) {
        job.items = job.block / GROUP;
        job.item_flops = 4.0 * N * N * GROUP * double(g.in_row + g.out_row);
    } else {
        job.items = N * N * b.row_blocks;
        job.item_flops = 2.0 * double(job.block) * double(g.in_c) * double(g.out_row) / double(b.row_blocks);
    }
}

template <class T, int M>
static void gradient_transform(const Conv& job, const Tiling<T, M>& g, const Batches<T, M>& b, i64 item) {
    const i64 first = (job.stage - 1) / 2 * job.block, at = item * GROUP;
    i64 count = g.tiles - first - at;
    count = count < 0 ? 0 : count < GROUP ? count : GROUP;
    T* zeros = slot_of<T>(job);
    memset(zeros, 0, size_t(job.slot_size - 64) * sizeof(T));
    transform_input(g, static_cast<const T*>(job.x), first + at, count, b.v + at * g.in_row, b.v_plane, zeros);
    transform_gradient(g, static_cast<const T*>(job.dy), first + at, count, b.d + at * g.out_row, b.d_plane, zeros);
}

// dU[point] (rows of a block of channels) += V^T D.
template <class T, int M>
static void gradient_multiply(const Conv& job, const Tiling<T, M>& g, const Batches<T, M>& b, i64 item) {
    constexpr int L = LANES<T>;
    const i64 point = item / b.row_blocks, block = item % b.row_blocks, first = job.stage / 2 - 1;
    const Split slivers(g.out_row / L, TILE_VECS), blocks(g.in_c, PRODUCT_ROWS);
    const i64 left = g.tiles - first * job.block, count = left < job.block ? left : job.block;
    const i64 row = blocks.begin(block);
    const Split tiles(blocks.width(block), TILE_ROWS);
    T* du = b.du + point * plane(g.in_c, g.out_row) + row * g.out_row;
    const Split chains(count, CHAIN);
    for (i64 s = 0; s < slivers.parts; s++)
        for (i64 q = 0; q < chains.parts; q++) {
            const i64 column = slivers.begin(s) * L, tile = chains.begin(q), length = chains.width(q);
            const T *v = b.v + point * b.v_plane + tile * g.in_row + row,
                    *d = b.d + point * b.d_plane + tile * g.out_row + column;
            for_tiles<PointKernel, T>(tiles, slivers.width(s), first > 0 || q > 0, [&](auto kernel, i64 r, int) {
                kernel(du + r * g.out_row + column, g.out_row, v + r, 1, g.in_row, d, g.out_row, length);
            });
        }
}

// dw[.][c] = G^T dU G.
template <class T, int M>
static void gradient_finish(const Conv& job, const Tiling<T, M>& g, const Batches<T, M>& b, i64 c) {
    constexpr int N = Winograd<M>::N, L = LANES<T>;
    const i64 u_plane = plane(g.in_c, g.out_row);
    for_vectors<T>(g.out_c, [&](i64 f, int n) {
        const T* u = b.du + c * g.out_row + f;
        T w[9][L];
        both_axes<T, N, 3>([](const auto& x, auto& made) { Winograd<M>::template weight_gradient<T>(x, made); },
                           [&](int i, int j) { return load(u + (i * N + j) * u_plane); },
                           [&](int i, int j, Vec<T> value) { store(w[i * 3 + j], value); });
        for (int lane = 0; lane < n; lane++) {
            T* dw = static_cast<T*>(job.out) + ((f + lane) * g.in_c + c) * 9;
            for (int k = 0; k < 9; k++) dw[k] = w[k][lane];
        }
    });
}

template <class T, int M> static void gradient(const Conv& job, const Tiling<T, M>& g, i64 begin, i64 end) {
    const Batches<T, M> b(job, g);
    for (i64 item = begin; item < end; item++)
        if (job.stage == job.stages - 1) gradient_finish(job, g, b, item);
        else if (job.stage % 2) gradient_transform(job, g, b, item);
        else gradient_multiply(job, g, b, item);
}

// ---- the door ------------------------------------------------------------------------------------------------

template <class T, int M> void winograd_plan_any(Conv& job) {
    job.pass == CONV_WEIGHT ? gradient_plan<T, M>(job) : winograd_plan<T, M>(job);
}
template <class T, int M> void winograd_stage_any(Conv& job) {
    job.pass == CONV_WEIGHT ? gradient_stage<T, M>(job) : winograd_stage<T, M>(job);
}
template <class T, int M> void winograd(const Conv& job, i64 begin, i64 end) {
    const Tiling<T, M> g(job);
    if (job.pass == CONV_WEIGHT) return gradient(job, g, begin, end);
    for (i64 item = begin; item < end; item++)
        if (job.stage == 0) prepare(job, g, item);
        else winograd_block(job, g, item);
}

template void winograd_plan_any<float, 2>(Conv&);
template void winograd_plan_any<float, 4>(Conv&);
template void winograd_stage_any<float, 2>(Conv&);
template void winograd_stage_any<float, 4>(Conv&);
template void winograd<float, 2>(const Conv&, i64, i64);
template void winograd<float, 4>(const Conv&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
