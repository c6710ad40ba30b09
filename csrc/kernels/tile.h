// The micro-kernel: MR rows times NV vectors of c stay in registers while k runs.
//
//            b, one sliver: NV vectors wide     Per step of k: NV loads of b, MR broadcasts of a, MR x NV FMAs.
//            +--------+--------+--------+       AVX-512: 8 x 48 = 24 accumulators + 3 of b + 1 of a of 32 registers;
//   a  row 0 |  acc   |  acc   |  acc   |       12 cycles of FMA against 5.5 of loads. Measured 249 GFLOP/s where 6 x 64
//      row 1 |        |        |        |       gives 242; and 8 rows divide the usual m, and cover the FMA's latency (8
//      ...   +--------+--------+--------+       accumulators: 4 cycles x 2 units) even where the sliver is one vector.
//
// What multiplies stands on two functions: rows_anywhere (b's rows contiguous; rows_times_columns, where a's rows are as far
// apart) and rows_dot_rows (a b^T with both contiguous along k). Loops of their own have only what is no such product or too
// short for one: depthwise convolution, one row streamed past b, short segments, a few tiles of Winograd's.
#pragma once
#include "../vec.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr int TILE_ROWS = REGISTERS == 16 ? 6 : 8;
constexpr int TILE_VECS = REGISTERS == 16 ? 2 : 3;
constexpr bool NARROW = BYTES < 64;  // a vector is less than a cache line: AVX2, NEON

// What is left of a sum by the activations that tiles apply: ReLU's [0, inf], ReLU6's [0, 6], all of it. NaN stays.
template <class T> struct Limits {
    T least, most;
    explicit Limits(int activation)
        : least(activation == COPY ? -T(__builtin_inf()) : T(0)), most(activation == RELU6 ? T(6) : T(__builtin_inf())) {}
    INLINE Vec<T> operator()(Vec<T> v) const { return min<T>(splat<T>(most), max<T>(splat<T>(least), v)); }
};
INLINE bool limits(int activation) { return activation == RELU || activation == RELU6; }

// n things in parts of at most `most`, as equal as can be: 10 rows are 5 + 5, not 8 + 2.
struct Split {
    i64 parts, size, larger;  // the first `larger` parts have size + 1
    // One part, the most frequent case of a small product, without a division.
    Split(i64 n, i64 most) : Split(n <= most ? Split(n > 0, n, 0) : in_parts(n, (n + most - 1) / most)) {}
    static Split in_parts(i64 n, i64 parts) { return {parts, parts ? n / parts : 0, parts ? n % parts : 0}; }
    Split(i64 parts, i64 size, i64 larger) : parts(parts), size(size), larger(larger) {}
    i64 begin(i64 part) const { return part * size + (part < larger ? part : larger); }
    int width(i64 part) const { return int(size + (part < larger)); }
};

// acc (MR, NV vectors) += a (MR, kc) b (kc, NV vectors), a[i, p] at row[i][p * a_col], b's rows b_row apart.
// With MASKED only the first `tail` lanes of b's last vector are read. At each step fetch(b) may bring nearer what is used later.
struct NoFetch {
    template <class T> INLINE void operator()(const T*) const {}
};
constexpr NoFetch NO_FETCH;
template <class T, int MR, int NV, bool MASKED, class Fetch = const NoFetch>
INLINE void rows_anywhere(Vec<T> (&acc)[MR][NV], const T* const (&row)[MR], i64 a_col, const T* b, i64 b_row, i64 kc, int tail,
                          Fetch& fetch = NO_FETCH) {
    i64 at = 0;
#pragma GCC unroll 2
    for (i64 p = 0; p < kc; p++) {
        fetch(b);
        Vec<T> bv[NV];
#pragma GCC unroll 8
        for (int j = 0; j < NV; j++)
            bv[j] = MASKED && j == NV - 1 ? load_first(b + j * LANES<T>, tail) : load(b + j * LANES<T>);
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            const Vec<T> av = splat<T>(row[i][at]);
#pragma GCC unroll 8
            for (int j = 0; j < NV; j++) acc[i][j] = fma<T>(av, bv[j], acc[i][j]);
        }
        at += a_col;
        b += b_row;
    }
}

// The same with a's rows a_row apart.
template <class T, int MR, int NV, bool MASKED, class Fetch = const NoFetch>
INLINE void rows_times_columns(Vec<T> (&acc)[MR][NV], const T* a, i64 a_row, i64 a_col, const T* b, i64 b_row, i64 kc, int tail,
                               Fetch& fetch = NO_FETCH) {
    const T* row[MR];
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) row[i] = a + i * a_row;
    rows_anywhere<T, MR, NV, MASKED>(acc, row, a_col, b, b_row, kc, tail, fetch);
}

// Kernel<T, MR, NV>::run for a height and a number of vectors. What differs before and after the loop over k only is no
// kernel of its own: a branch for each tile costs nothing, and twice the kernels are twice the code.
template <template <class, int, int> class Kernel, class T, int MR>
auto pick_width(int vecs) -> decltype(&Kernel<T, 1, 1>::run) {
    switch (vecs) {
        case 1: return Kernel<T, MR, 1>::run;
        case 2: return Kernel<T, MR, 2>::run;
        default: return Kernel<T, MR, TILE_VECS>::run;
    }
}
template <template <class, int, int> class Kernel, class T>
auto pick_kernel(int rows, int vecs) -> decltype(&Kernel<T, 1, 1>::run) {
    switch (rows) {
        case 1: return pick_width<Kernel, T, 1>(vecs);
        case 2: return pick_width<Kernel, T, 2>(vecs);
        case 3: return pick_width<Kernel, T, 3>(vecs);
        case 4: return pick_width<Kernel, T, 4>(vecs);
        case 5: return pick_width<Kernel, T, 5>(vecs);
        case 6: return pick_width<Kernel, T, 6>(vecs);
        case 7: return pick_width<Kernel, T, TILE_ROWS < 7 ? TILE_ROWS : 7>(vecs);
        default: return pick_width<Kernel, T, TILE_ROWS>(vecs);
    }
}

// f(kernel, tile, height) for all tiles of a split, one choice of kernel for each of the two heights there are.
template <class Pick, class Body> INLINE void for_heights(const Split& tiles, Pick pick, Body body) {
    for (i64 t = 0; t < tiles.parts;) {
        const i64 stop = t < tiles.larger ? tiles.larger : tiles.parts;
        const int height = tiles.width(t);
        const auto kernel = pick(height);
        for (; t < stop; t++) body(kernel, tiles.begin(t), height);
    }
}
// f(kernel, first row, count) for the tiles [begin, end) of each height: for kernels that go down a column of tiles themselves.
// That takes 0.98 of the time of a call for each tile, where k is some 128.
template <template <class, int, int> class Kernel, class T, class Body>
INLINE void for_columns(const Split& tiles, i64 begin, i64 end, int vecs, Body body) {
    const i64 lower = tiles.larger < begin ? begin : tiles.larger < end ? tiles.larger : end;
    if (begin < lower) body(pick_kernel<Kernel, T>(int(tiles.size) + 1, vecs), tiles.begin(begin), lower - begin);
    if (lower < end) body(pick_kernel<Kernel, T>(int(tiles.size), vecs), tiles.begin(lower), end - lower);
}
template <template <class, int, int> class Kernel, class T, class Body>
INLINE void for_tiles(const Split& tiles, int vecs, Body body) {
    for_heights(tiles, [=](int height) { return pick_kernel<Kernel, T>(height, vecs); }, body);
}

// n rows, where b is more than L1 holds: of two vectors 32 registers hold 12 rows, for which b is read less often. 5 x 5 places
// of 32 channels take 0.97 of the time.
constexpr int TALL_ROWS = REGISTERS == 32 ? 12 : TILE_ROWS;
template <template <class, int, int> class Kernel, class T>
auto pick_tall(int rows, int vecs) -> decltype(&Kernel<T, 1, 1>::run) {
    if (rows <= TILE_ROWS) return pick_kernel<Kernel, T>(rows, vecs);
    switch (rows) {
        case 9: return Kernel<T, TALL_ROWS < 9 ? TALL_ROWS : 9, 2>::run;
        case 10: return Kernel<T, TALL_ROWS < 10 ? TALL_ROWS : 10, 2>::run;
        case 11: return Kernel<T, TALL_ROWS < 11 ? TALL_ROWS : 11, 2>::run;
        default: return Kernel<T, TALL_ROWS, 2>::run;
    }
}
INLINE Split tall_tiles(i64 n, int vecs) { return Split(n, vecs == 2 ? TALL_ROWS : TILE_ROWS); }
template <template <class, int, int> class Kernel, class T, class Body> INLINE void for_tall_tiles(i64 n, int vecs, Body body) {
    for_heights(tall_tiles(n, vecs), [=](int rows) { return pick_tall<Kernel, T>(rows, vecs); }, body);
}

// The same where the kernel goes over all vectors itself: Kernel<T, MR>::run.
template <template <class, int> class Kernel, class T> auto pick_height(int rows) -> decltype(&Kernel<T, 1>::run) {
    switch (rows) {
        case 1: return Kernel<T, 1>::run;
        case 2: return Kernel<T, 2>::run;
        case 3: return Kernel<T, 3>::run;
        case 4: return Kernel<T, 4>::run;
        case 5: return Kernel<T, 5>::run;
        case 6: return Kernel<T, 6>::run;
        case 7: return Kernel<T, TILE_ROWS < 7 ? TILE_ROWS : 7>::run;
        default: return Kernel<T, TILE_ROWS>::run;
    }
}
template <template <class, int> class Kernel, class T, class Body> INLINE void for_tiles(const Split& tiles, Body body) {
    for_heights(tiles, pick_height<Kernel, T>, body);
}

// acc[i][j] += lane-wise products of row i of a and row j of b, both contiguous along k; the sums over lanes come after.
template <class T, int MR, int NR>
INLINE void rows_dot_rows(Vec<T> (&acc)[MR][NR], const T* a, i64 a_row, const T* b, i64 b_row, i64 k) {
    for_vectors<T>(k, [&](i64 p, int n) __attribute__((always_inline)) {
        Vec<T> bv[NR];
#pragma GCC unroll 16
        for (int j = 0; j < NR; j++) bv[j] = load_n(b + j * b_row + p, n);
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++) {
            const Vec<T> av = load_n(a + i * a_row + p, n);
#pragma GCC unroll 16
            for (int j = 0; j < NR; j++) acc[i][j] = fma<T>(av, bv[j], acc[i][j]);
        }
    });
}

// out (k, rows) = in^T * scale where in (rows, k) has rows `stride` apart: LANES x LANES transposes in registers; lanes beyond
// `rows` are 0.
template <class T> inline void pack_transposed(T* out, i64 width, const T* in, i64 stride, int rows, i64 k, T scale = T(1)) {
    constexpr int L = LANES<T>;
    i64 p = 0;
    for (; rows == L && p + L <= k; p += L) {  // without a question a vector
        Vec<T> v[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) v[i] = load(in + i * stride + p);
        transpose<T>(v);
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) store(out + (p + i) * width, v[i] * splat<T>(scale));
    }
    for (; p < k; p += L) {
        const int n = k - p < L ? int(k - p) : L;
        Vec<T> v[L];
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) v[i] = i < rows ? load_n(in + i * stride + p, n) : Vec<T>{};
        transpose<T>(v);
#pragma GCC unroll 16
        for (int i = 0; i < L; i++)
            if (i < n) store(out + (p + i) * width, v[i] * splat<T>(scale));
    }
}

}  // namespace FASTNN_ISA
}  // namespace fastnn
