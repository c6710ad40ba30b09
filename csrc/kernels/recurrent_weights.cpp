// The products of a recurrent layer's backward that no step waits for: dx = dgates w_ih, and dw = dgates^T [x | h
// before] over all rows. dw is an outer product: both factors are contiguous along the tile, and dw itself is read and
// written once for a few hundred rows (`at_once`: dgates' stay in L2), which costs 3 % of the multiplications.
// matmul, which reads a transposed factor down its columns, one cache line for six numbers, does it at 59 GFLOP/s of 99
// (512 x 128 x 3200).
#include "recurrent.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 DGATES_BYTES = 3 << 16, ROWS_MOST = 128, ROWS_LEAST = 32;

// Items: blocks of rows. Both directions add to dx; a GRU's n_x stands behind n_h in dgates.
template <class T> void recurrent_inputs(const Recurrent& job, i64 begin, i64 end) {
    constexpr i64 MOST = 32;
    const Packed<T> at(job);
    const i64 rows = job.start[job.steps], shared = at.together * job.units, apart = job.gates * job.units - shared;
    const Split cut(rows, (rows + job.row_blocks - 1) / job.row_blocks);
    const T* packed = static_cast<const T*>(job.packed);
    for (i64 item = begin; item < end && item < cut.parts; item++)
        for (i64 row = cut.begin(item), stop = row + cut.width(item); row < stop; row += MOST) {
            const i64 n = stop - row < MOST ? stop - row : MOST;
            const T *in[MOST], *last[MOST];
            T* out[MOST];
            for (i64 d = 0; d < job.directions; d++) {
                for (i64 i = 0; i < n; i++) {
                    in[i] = static_cast<const T*>(job.dgates) + (d * rows + row + i) * job.row;
                    last[i] = in[i] + 3 * job.units;
                    out[i] = static_cast<T*>(job.dx) + (row + i) * job.inputs;
                }
                const Groups<T> groups(job.inputs);
                multiply_rows<T>(in, out, n, {packed + d * at.size + at.ih, shared, 1, 0, {0}, groups}, {d == 0, nullptr});
                const Weights<T> of_last = {packed + d * at.size + at.apart, apart, 1, 0, {0}, groups};
                if (apart) multiply_rows<T>(last, out, n, of_last, {false, nullptr});
            }
        }
}

// c (MR, NV vectors) += a^T b: a's columns [0, MR) of kc rows, b a sliver; `count` times, for the rows and columns that follow.
template <class T, int MR, int NV> struct OuterTile {
    static void run(i64 count, T* c, i64 c_row, const T* a, i64 a_row, const T* b, i64 kc, int tail, bool add) {
        constexpr int L = LANES<T>;
        for (; count > 0; count--, c += MR * c_row, a += MR) {
            Vec<T> acc[MR][NV];
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
                for (int j = 0; j < NV; j++)
                    acc[i][j] = add ? load_n(c + i * c_row + j * L, j == NV - 1 ? tail : L) : Vec<T>{};
            rows_times_columns<T, MR, NV, false>(acc, a, 1, a_row, b, NV * L, kc, 0);
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++)
#pragma GCC unroll 8
                for (int j = 0; j < NV; j++) store_n(c + i * c_row + j * L, acc[i][j], j == NV - 1 ? tail : L);
        }
    }
};

// One weight's gradient: rows [row, row + rows) of dw from as many columns of dgates.
template <class T> struct Stretch {
    T* dw;       // at its first row
    i64 column;  // of dgates
    i64 rows;
};

// dw (rows, n) += dgates^T b over the rows [r0, r1), for the stretches' share `part` of `parts`. b: those rows, of n each.
template <class T>
static void add_outer(const Stretch<T>* stretch, int count, i64 part, i64 parts, const T* dgates, i64 row, const T* const* b,
                      i64 n, i64 r0, i64 r1) {
    constexpr int L = LANES<T>;
    T sliver[ROWS_MOST * TILE_VECS * L];
    const Groups<T> groups(n);
    for (i64 g = 0; g < groups.parts; g++) {
        const i64 first = groups.first(g), width = i64(groups.width(g)) * L, left = n - first;
        for (i64 r = r0; r < r1; r++)
            for (i64 j = 0; j < width; j += L) {
                const T* in = b[r - r0] + first + j;
                store(sliver + (r - r0) * width + j, left - j >= L ? load(in) : load_first(in, int(left - j)));
            }
        const int tail = groups.tail(g);
        for (int s = 0; s < count; s++) {
            const Split tiles(stretch[s].rows, TILE_ROWS), shares(tiles.parts, (tiles.parts + parts - 1) / parts);
            if (part >= shares.parts) continue;
            const i64 begin = shares.begin(part), end = begin + shares.width(part);
            for_columns<OuterTile, T>(tiles, begin, end, groups.width(g), [&](auto kernel, i64 i, i64 below) {
                const T* a = dgates + r0 * row + stretch[s].column + i;
                kernel(below, stretch[s].dw + i * n + first, n, a, row, sliver, r1 - r0, tail, r0 > 0);
            });
        }
    }
}

// Items: (directions, weight_parts).
template <class T> void recurrent_weights(const Recurrent& job, i64 begin, i64 end) {
    const i64 rows = job.start[job.steps], H = job.units, fits = DGATES_BYTES / i64(sizeof(T)) / job.row;
    const i64 at_once = fits > ROWS_MOST ? ROWS_MOST : fits < ROWS_LEAST ? ROWS_LEAST : fits;
    for (i64 item = begin; item < end; item++) {
        const i64 d = item / job.weight_parts, part = item % job.weight_parts, shared = Packed<T>(job).together * H;
        T *ih = static_cast<T*>(job.dw_ih[d]), *hh = static_cast<T*>(job.dw_hh[d]);
        const T* dgates = static_cast<const T*>(job.dgates) + d * rows * job.row;
        const Share<T> all = Share<T>::all(job, d);
        const Stretch<T> of_x[2] = {{ih, 0, shared}, {ih + shared * job.inputs, 3 * H, job.gates * H - shared}};
        const Stretch<T> of_h[1] = {{hh, 0, job.gates * H}};
        for (i64 r = 0, t = 0; r < rows; r += at_once) {
            const i64 stop = r + at_once < rows ? r + at_once : rows;
            const T *x[ROWS_MOST], *before[ROWS_MOST];
            for (i64 i = r; i < stop; i++) {
                while (i >= job.start[t + 1]) t++;
                x[i - r] = static_cast<const T*>(job.x) + i * job.inputs;
                before[i - r] = all.h_before(t, i - job.start[t]);
            }
            if (ih) add_outer<T>(of_x, job.slots == job.gates ? 1 : 2, part, job.weight_parts, dgates, job.row, x, job.inputs, r,
                                 stop);
            if (hh) add_outer<T>(of_h, 1, part, job.weight_parts, dgates, job.row, before, job.outputs, r, stop);
        }
    }
}

#define INSTANTIATE(kernel)                                  \
    template void kernel<float>(const Recurrent&, i64, i64); \
    template void kernel<double>(const Recurrent&, i64, i64);
INSTANTIATE(recurrent_inputs)
INSTANTIATE(recurrent_weights)

}  // namespace FASTNN_ISA
}  // namespace fastnn
