// b's slivers and a's panels, copied for the tiles to stream.
#include "kernels.h"
#include "matmul.h"
#include "matmul_ahead.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 PANELS_ABREAST = 32;  // at most

template <class T> void pack_sliver(T* out, const T* b, i64 b_row, i64 b_col, i64 k, i64 columns, i64 width) {
    constexpr int L = LANES<T>;
    if (b_col == 1) {
        for (i64 p = 0; p < k; p++)
            for (i64 j = 0; j < width; j += L) {
                const i64 left = columns - j;
                const T* in = b + p * b_row + j;
                store(out + p * width + j, left >= L ? load(in) : load_first(in, int(left)));
            }
    } else if (b_row == 1) {
        for (i64 j = 0; j < width; j += L)
            pack_transposed<T>(out + j, width, b + j * b_col, b_col, int(columns - j < L ? columns - j : L), k);
    } else {
        for (i64 p = 0; p < k; p++)
            for (i64 j = 0; j < width; j++) out[p * width + j] = j < columns ? b[p * b_row + j * b_col] : T(0);
    }
}

// The panels of tiles t, t + 1, ... of a transposed a that are as high as the first and at most `most`, abreast: a tile uses 24
// bytes of a line, and panel by panel every line of a came from L3 two or three times. A panel takes eight rows at a time: at
// k = 1024 panels begin on one set of L1, which stores row by row would empty. Returns how many.
template <class T>
static i64 pack_panels(T* out, const T* a, i64 a_col, i64 k, const Split& tiles, i64 t, i64 most) {
    constexpr int L = LANES<T>;
    const int rows = tiles.width(t);
    const i64 stop = t < tiles.larger ? tiles.larger : tiles.parts, count = most < stop - t ? most : stop - t;
    for (i64 p0 = 0; p0 < k; p0 += 8)
        for (i64 i = 0; i < count; i++)
            for (i64 p = p0; p < k && p < p0 + 8; p++) {
                const T* in = a + p * a_col + i * rows;
                T* to = out + (i * k + p) * rows;
                __builtin_prefetch(in + PACK_AHEAD * a_col, 0, 2);
                const Vec<T> row = load_first(in, rows);
                (k - p) * rows >= L ? store(to, row) : store_first(to, row, rows);  // the next row overwrites what is too much
            }
    return count;
}

template <class T> void matmul_pack(const Matmul& job, i64 begin, i64 end) {
    constexpr int L = LANES<T>;
    const Way way = Way(job.way);
    const Split slivers = slivers_of<T>(job), tiles(job.m, TILE_ROWS);
    const i64 of_b = way == PACKED ? job.batch_packed * slivers.parts : way == AHEAD ? job.slots : 0;
    for (i64 item = begin; item < end; item++) {
        if (item < of_b && way == AHEAD) {
            Slivers<T>(static_cast<T*>(job.packed) + item * job.slot_size, k_parts(job, way).width(0)).clear();
        } else if (item < of_b) {
            const i64 product = item / slivers.parts, s = item % slivers.parts, column = slivers.begin(s) * L;
            T* out = static_cast<T*>(job.packed) + (product * padded<T>(job.n) + column) * job.k;
            const T* b = static_cast<const T*>(job.b) + batch_offsets(job, product).b + column * job.b_col;
            pack_sliver(out, b, job.b_row, job.b_col, job.k, job.n - column, slivers.width(s) * i64(L));
        } else {
            const i64 rest = item - of_b;
            const i64 product = rest / tiles.parts, t = rest % tiles.parts;
            const i64 row = tiles.begin(t), rows = tiles.width(t);
            T* out = packed_a<T>(job, way) + (product * job.m + row) * job.k;
            const T* a = static_cast<const T*>(job.a) + batch_offsets(job, product).a + row * job.a_row;
            if (TILE_ROWS <= LANES<T> && job.a_row == 1) {
                const i64 most = end - item < PANELS_ABREAST ? end - item : PANELS_ABREAST;
                item += pack_panels(out, a, job.a_col, job.k, tiles, t, most) - 1;
                continue;
            }
            for (i64 p = 0; p < job.k; p++)
                for (i64 i = 0; i < rows; i++) out[p * rows + i] = a[i * job.a_row + p * job.a_col];
        }
    }
}

#define INSTANTIATE(T)                                                    \
    template void pack_sliver<T>(T*, const T*, i64, i64, i64, i64, i64); \
    template void matmul_pack<T>(const Matmul&, i64, i64);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace FASTNN_ISA
}  // namespace fastnn
