// Rows times packed weights, few or many, in slivers: the product under all recurrent layers (recurrent.h).
#include "recurrent.h"

namespace fastnn {
namespace FASTNN_ISA {

// S slivers of one width side by side, which lie b_step apart; the last of its vectors has `tail` columns in the output.
template <class T, int MR, int NV, int S>
INLINE void sliver_tile(const T* const* in, T* const* out, const i64* column, const T* b, i64 b_step, i64 k, Start<T> start,
                        int tail) {
    constexpr int L = LANES<T>, V = NV * S;
    Vec<T> acc[MR][V];
    const T* row[MR];
    T* to[MR][S];  // read before anything is stored: a vector's store may alias them, for all the compiler knows
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++)
#pragma GCC unroll 4
        for (int s = 0; s < S; s++) to[i][s] = out[i] + column[s];
    const auto each = [&](auto body) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 16
            for (int v = 0; v < V; v++) body(i, v, column[v / NV] + v % NV * L, v % NV == NV - 1 ? tail : L);
    };
    const auto place = [&](int i, int v) __attribute__((always_inline)) { return to[i][v / NV] + v % NV * L; };
    if (!start.anew)
        each([&](int i, int v, i64, int n) __attribute__((always_inline)) { acc[i][v] = load_n(place(i, v), n); });
    else if (!start.bias) each([&](int i, int v, i64, int) __attribute__((always_inline)) { acc[i][v] = Vec<T>{}; });
    else each([&](int i, int v, i64 at, int n) __attribute__((always_inline)) { acc[i][v] = load_n(start.bias + at, n); });
#pragma GCC unroll 8
    for (int i = 0; i < MR; i++) row[i] = in[i];
    if constexpr (S == 1 && MR >= NV) {
        rows_anywhere<T, MR, V, false>(acc, row, 1, b, NV * L, k, 0);
    } else {
#pragma GCC unroll 2
        for (i64 p = 0; p < k; p++, b += NV * L) {
            Vec<T> a[MR];
#pragma GCC unroll 8
            for (int i = 0; i < MR; i++) a[i] = splat<T>(row[i][p]);
#pragma GCC unroll 16
            for (int v = 0; v < V; v++) {
                const Vec<T> bv = load(b + v / NV * b_step + v % NV * L);
#pragma GCC unroll 8
                for (int i = 0; i < MR; i++) acc[i][v] = fma<T>(a[i], bv, acc[i][v]);
            }
        }
    }
    if (tail == L) each([&](int i, int v, i64, int) __attribute__((always_inline)) { store(place(i, v), acc[i][v]); });
    else each([&](int i, int v, i64, int n) __attribute__((always_inline)) { store_n(place(i, v), acc[i][v], n); });
}

// `count` tiles one below the other.
template <class T, int MR, int NV, int S>
static void sliver_column(i64 count, const T* const* in, T* const* out, const i64* column, const T* b, i64 b_step, i64 k,
                          Start<T> start, int tail) {
    for (; count > 0; count--, in += MR, out += MR) sliver_tile<T, MR, NV, S>(in, out, column, b, b_step, k, start, tail);
}

// One row needs eight sums at once to hide an FMA's latency: 4 slivers of 2 vectors; two rows 3 slivers, three rows 2.
constexpr int most_slivers(i64 rows) { return rows == 1 ? 4 : rows == 2 ? 3 : rows == 3 ? 2 : 1; }

template <class T> using SliverColumn = decltype(&sliver_column<T, 1, 1, 1>);
template <class T, int MR, int NV> static SliverColumn<T> pick_slivers(i64 slivers) {
    constexpr int MOST = most_slivers(MR);
    if (MOST >= 4 && slivers == 4) return sliver_column<T, MR, NV, MOST >= 4 ? 4 : 1>;
    if (MOST >= 3 && slivers == 3) return sliver_column<T, MR, NV, MOST >= 3 ? 3 : 1>;
    if (MOST >= 2 && slivers == 2) return sliver_column<T, MR, NV, MOST >= 2 ? 2 : 1>;
    return sliver_column<T, MR, NV, 1>;
}
template <class T, int MR> static SliverColumn<T> pick_vectors(int vecs, i64 slivers) {
    if (vecs == 1) return pick_slivers<T, MR, 1>(slivers);
    if (vecs == 2) return pick_slivers<T, MR, 2>(slivers);
    return pick_slivers<T, MR, TILE_VECS>(slivers);
}
template <class T> static SliverColumn<T> pick_sliver_column(int rows, int vecs, i64 slivers) {
    switch (rows) {
        case 1: return pick_vectors<T, 1>(vecs, slivers);
        case 2: return pick_vectors<T, 2>(vecs, slivers);
        case 3: return pick_vectors<T, 3>(vecs, slivers);
        case 4: return pick_vectors<T, 4>(vecs, slivers);
        case 5: return pick_vectors<T, 5>(vecs, slivers);
        case 6: return pick_vectors<T, 6>(vecs, slivers);
        case 7: return pick_vectors<T, TILE_ROWS < 7 ? TILE_ROWS : 7>(vecs, slivers);
        default: return pick_vectors<T, TILE_ROWS>(vecs, slivers);
    }
}

// The groups [group, stop) of out[i] (rows) = start + in[i] (k) times the weights.
template <class T>
void multiply_groups(const T* const* in, T* const* out, i64 rows, const Weights<T>& w, i64 group, i64 stop, Start<T> start) {
    const Groups<T>& groups = w.groups;
    const i64 width = i64(groups.width(group)) * LANES<T>, slivers = (stop - group) * w.gates;
    const T* packed = w.packed + groups.first(group) * w.gates * w.k;
    i64 column[16];
    for (i64 g = group, s = 0; g < stop; g++)
        for (i64 j = 0; j < w.gates; j++) column[s++] = w.slot[j] * w.step + groups.first(g);
    if (rows == 1 && slivers <= most_slivers(1))  // a cell's step: 120 instructions of 290 beside the tile
        return pick_vectors<T, 1>(groups.width(group), slivers)(1, in, out, column, packed, width * w.k, w.k, start,
                                                                groups.tail(stop - 1));
    const Split tiles(rows, TILE_ROWS);
    // A sliver comes to L1 once for tiles of both heights (16 rows are 6 + 5 + 5), but where the lower ones take several.
    for (i64 t = 0, end; t < tiles.parts; t = end) {
        end = t < tiles.larger && most_slivers(tiles.size) > 1 ? tiles.larger : tiles.parts;
        const int height = tiles.width(t), least = tiles.width(end - 1);
        const Split sets(slivers, most_slivers(least));
        for (i64 set = 0; set < sets.parts; set++) {
            const i64 s = sets.begin(set), last = group + (s + sets.width(set) - 1) / w.gates;
            const SliverColumn<T> tall = pick_sliver_column<T>(height, groups.width(group), sets.width(set));
            const SliverColumn<T> low = pick_sliver_column<T>(least, groups.width(group), sets.width(set));
            const auto go = [&](SliverColumn<T> tile, i64 q, i64 stop) {
                const i64 row = tiles.begin(q);
                tile(stop - q, in + row, out + row, column + s, packed + s * width * w.k, width * w.k, w.k, start,
                     groups.tail(last));
            };
            const i64 lower = tiles.larger < t ? t : tiles.larger < end ? tiles.larger : end;
            go(tall, t, lower), go(low, lower, end);
        }
    }
}

template void multiply_groups<float>(const float* const*, float* const*, i64, const Weights<float>&, i64, i64, Start<float>);
template void multiply_groups<double>(const double* const*, double* const*, i64, const Weights<double>&, i64, i64,
                                      Start<double>);

}  // namespace FASTNN_ISA
}  // namespace fastnn
