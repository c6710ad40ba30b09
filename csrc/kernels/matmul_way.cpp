// Which way a product goes, by its shape and by how b lies.
#include "matmul.h"

#include <stdint.h>

#include "few_rows.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 IN_PLACE_ROWS = NARROW ? 96 : 256;
constexpr i64 CROWDED_ROWS = 32, PAGES_APART_ROWS = 8;  // of c, from which on a crowded b is packed; one with rows pages apart
constexpr i64 LARGE = 12500000;  // multiplications: on two threads less gains nothing by packing

// Rows 512 bytes apart, or a multiple of that, fall on few sets of L1. A tile of narrow vectors uses 24 bytes of each line of a
// transposed a (a gradient of weights), and 64 of b's. With AVX-512 it uses 32 of a's, and from 1 KB on they leave L2 before the
// next tile comes for the rest.
template <class T> static bool crowded(i64 row) { return NARROW && row * sizeof(T) % 512 == 0; }
template <class T> static bool crowded_a(const Matmul& job) {
    return !job.kept && job.a_row == 1 && job.a_col * sizeof(T) % (NARROW ? 512 : 1024) == 0;
}

// Narrow vectors: each line of b is two, half of each, where rows do not begin as lines do (NumPy's arrays seldom do).
template <class T> static bool astray(const Matmul& job) {
    return reinterpret_cast<uintptr_t>(job.b) % 64 != 0 || job.b_row * sizeof(T) % 64 != 0;
}

// Narrow vectors: whether tiles had better read a packed sliver, which is in L1 or near, than b. An astray one (the first tile
// packed as it read): 256^3 at 96 GFLOP/s, in place at 81, 40 x 128 x 512 85 and 74. Others, crowded or not: 256^3 97 and 89,
// 96 x 128 x 512 93 and 84, 128^3 96 and 93, but 64 x 128 x 128 93 and 94.
template <class T> static bool packing_pays(const Matmul& job) {
    const i64 work = job.m * job.n * job.k;
    const bool wide = slivers_of<T>(job).parts >= 8;
    if (!NARROW || job.kept || job.b_col != 1 || !wide) return false;
    return (job.m >= 64 && work >= 1500000) || (job.m >= 24 && work >= 400000 && astray<T>(job));
}

constexpr i64 DOT_K = 512;  // from which on dot products of one or two rows read a kept b as fast (AVX-512)

template <class T> Way choose_way(const Matmul& job) {
    // Packed before, b is read in one stream, by whole vectors of columns, and nothing is summed across a vector: 8 x 1024 x
    // 1024 takes 0.73 of the time (AVX2 0.7), 3 rows 0.56, 8 x 256 x 256 0.65, but 2 rows 1.0 to 1.1 (1.2). With AVX-512 one row
    // of 256 takes 0.6 to 0.9. From DOT_K on freezing changes no bit of one or two rows.
    const i64 dot_rows = !job.kept ? DOT_ROWS : NARROW || job.k >= DOT_K ? 2 : 0;
    if (job.b_row == 1 && job.b_col != 1 && job.m <= dot_rows && job.a_col == 1) return DOT;
    const i64 b_bytes = job.k * job.n * i64(sizeof(T)), work = job.m * job.n * job.k;
    // Narrow vectors read b in place by a cache line a row: 3 x 1024 x 1024 at 32 GFLOP/s, streamed at 52; 4 rows 44 and 45, on
    // two threads 80 and 56; 8 x 1000 x 1000 there 133 and 49.
    const i64 stream_rows = b_bytes > IN_PLACE_BYTES ? STREAM_MOST_ROWS : 1;
    if (job.m <= stream_rows && job.b_col == 1 && job.n >= 4 * LANES<T> && job.k >= 16) return STREAM;
    // What packing first costs (b from L3 and back) hides behind multiplications where threads pack ahead: 1024^3 takes 0.97 of
    // the time, 512 x 1024 x 2048 0.92 (AVX2: 128 x 1024 x 1024 0.91).
    const Way packing = !job.kept && job.b_col == 1 ? AHEAD : PACKED;
    // With panels of such an a 128 x 128 x 1024 takes 0.86 of the time, 512 x 128 x 1024 0.78, on two threads 0.9. AVX-512
    // (Emerald Rapids): 1024^3 0.59, 1024 x 256 x 512 0.62, 512^3 0.78, 768^2 x 512 0.85, 256^2 x 1024 0.87.
    if (crowded_a<T>(job) && job.m >= 128 && job.n >= 128 && work > LARGE) return packing;
    if (job.b_col != 1 && job.n != 1) return PACKED;
    if (!job.kept && crowded<T>(job.b_row)) {
        // Many rows: 1024 x 512 x 128 and 1024 x 128 x 512 take 0.86 and 0.81 of the time packed.
        if (job.m >= 512 && job.n >= 64 && job.k >= 64 && work > LARGE) return packing;
        // Such a b leaves L2 from half its size on. Rows 4 KB apart: 16 x 1024 x 1024 at 62 GFLOP/s, in place at 54; 64 rows
        // 79, 56. Others: 64 x 512 x 512 87, 80, but 24 rows 74, 81.
        const i64 least = job.b_row * sizeof(T) % 4096 ? CROWDED_ROWS : PAGES_APART_ROWS;
        if (b_bytes >= IN_PLACE_BYTES && job.m >= least) return packing;
    }
    // AVX-512: rows whole pages apart are slow in place. Zen 5: 128 x 2048 x 512 takes 0.92 of the time packed, 64 x 3072 x 768
    // 0.96, rows of one page 1.01, of 6 or 10 KB 1.01 to 1.05. Emerald Rapids: 32 x 1024 x 1024 0.64, 64 rows 0.50, 128 0.58.
    const bool pages_apart = job.b_row * i64(sizeof(T)) % 4096 == 0;
    if (!NARROW && packing == AHEAD && job.m >= FEW_ROWS && b_bytes > IN_PLACE_BYTES && pages_apart) return AHEAD;
    // Packing pays from where b leaves L2 and is read by more than one block of rows: at 1024^3 240 GFLOP/s against
    // 234, at 2048^3 230 against 196, but at 192 x 1024 x 1024 222 against 240. AVX2: 128 x 1000 x 1000 83 against 79, 64 rows
    // 74 against 88.
    if (packing_pays<T>(job)) return AHEAD;
    return job.m <= IN_PLACE_ROWS || b_bytes <= IN_PLACE_BYTES ? IN_PLACE : packing;
}

// An a that is scattered both ways is copied to panels [tile][k][rows], and a crowded one (1024^3: AVX2 110 GFLOP/s, else 70;
// Emerald Rapids 125, else 75; Zen 5 219, else 228). Others are read where they are.
template <class T> bool packs_a(const Matmul& job, Way way) {
    return (way == PACKED || way == AHEAD) && !job.kept && job.a_col != 1 && (job.a_row != 1 || crowded_a<T>(job));
}

#define INSTANTIATE(T)                         \
    template Way choose_way<T>(const Matmul&); \
    template bool packs_a<T>(const Matmul&, Way);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace FASTNN_ISA
}  // namespace fastnn
