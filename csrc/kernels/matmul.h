// What the files of the matrix product share: the ways there are, and how b is cut and packed.
#pragma once
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

enum Way { IN_PLACE, AHEAD, PACKED, DOT, STREAM };  // matmul.cpp says what they are
constexpr i64 IN_PLACE_BYTES = NARROW ? 1 << 19 : 3 << 19;  // of b
constexpr i64 FEW_ROWS = 32;  // AVX-512: below that packing ahead does not pay

// How the columns are cut. Of one block of rows and a few vectors in pairs, which two threads share evenly (8 vectors in threes
// are six and two): 128^3 takes 0.86 to 0.96 of the time there, 32 x 144 x 512 0.89, with one thread 1.0 to 1.03; not one tile of
// rows, which takes 1.14. A b that is kept meets any number of rows.
constexpr i64 PAIRED_VECS = 16, PAIRED_ROWS = 184;
template <class T> static Split slivers_of(const Matmul& job) {
    const i64 vecs = (job.n + LANES<T> - 1) / LANES<T>;
    const bool alone = job.kept || (job.batch == 1 && job.m > TILE_ROWS && job.m <= PAIRED_ROWS);
    return TILE_VECS > 2 && alone && vecs > 1 && vecs <= PAIRED_VECS ? Split::in_parts(vecs, vecs / 2) : Split(vecs, TILE_VECS);
}

// k is cut into parts: matmul.cpp.
Split k_parts(const Matmul& job, Way way);

// matmul_way.cpp
template <class T> Way choose_way(const Matmul& job);
template <class T> bool packs_a(const Matmul& job, Way way);

template <class T> static i64 padded(i64 n) { return (n + LANES<T> - 1) / LANES<T> * LANES<T>; }

// Of job.packed: b's slivers, or the threads' slots (matmul_ahead.h); then a's panels.
template <class T> static i64 packed_b_size(const Matmul& job, Way way) {
    return way == PACKED ? job.batch_packed * job.k * padded<T>(job.n) : way == AHEAD ? job.slots * job.slot_size : 0;
}

template <class T> static T* packed_a(const Matmul& job, Way way) {
    return static_cast<T*>(job.packed) + packed_b_size<T>(job, way);
}

// A sliver of b, `columns` of `width`, zeros beyond: matmul_pack.cpp.
template <class T> void pack_sliver(T* out, const T* b, i64 b_row, i64 b_col, i64 k, i64 columns, i64 width);

struct Offsets {
    i64 a, b, c;
};
inline Offsets batch_offsets(const Matmul& job, i64 index) {
    Offsets at = {0, 0, 0};
    for (int d = job.batch_ndim - 1; d >= 0; d--) {
        const i64 i = index % job.batch_shape[d];
        index /= job.batch_shape[d];
        at.a += i * job.a_batch[d];
        at.b += i * job.b_batch[d];
        at.c += i * job.c_batch[d];
    }
    return at;
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
