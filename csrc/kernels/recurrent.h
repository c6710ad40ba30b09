// Rows times packed weights, for the recurrent layers. A product of few rows by many columns goes sliver by sliver, as matmul's
// does, but every output is one chain of sums over k whatever rows stand beside it, and it may start from what its place holds:
//
//   packed weights     [group of units][gate][k][width]     a group: TILE_VECS vectors of units (AVX2: 16), so that all gates of
//                                                           the same units lie together and are finished while still in L1
//
// Sums stay in memory between the products of x and of h and the gates: 2 loads and 2 stores a vector beside its 2 * 128 FMAs, and
// slivers half as wide as with all gates in registers: at H = 256 they are 16 KB and stay in L1, 32 KB would not.
#pragma once
#include "kernels.h"
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

// n columns padded to whole vectors, in groups as wide as a tile.
template <class T> struct Groups : Split {
    i64 columns;
    explicit Groups(i64 n) : Split((n + LANES<T> - 1) / LANES<T>, TILE_VECS), columns(n) {}
    i64 padded() const { return begin(parts) * LANES<T>; }
    i64 first(i64 group) const { return begin(group) * LANES<T>; }
    i64 last(i64 group) const { return first(group + 1) < columns ? first(group + 1) : columns; }
    int tail(i64 group) const { return int(last(group) - first(group) - i64(width(group) - 1) * LANES<T>); }
    // Groups from `group` on that are finished together: few rows fill a tile with the slivers of several of one width, whole ones.
    i64 stop(i64 group, i64 gates) const {
        const i64 most = gates > 1 ? 1 : 4, whole = parts - (columns % LANES<T> != 0);
        const i64 end = group < larger ? larger : parts, limit = group < whole && end > whole ? whole : end;
        return group + most < limit ? group + most : limit;
    }
};

// A packed matrix: `gates` blocks of columns, `step` apart in the output rows, block j at slot[j].
template <class T> struct Weights {
    const T* packed;
    i64 k, gates;
    i64 step;
    int slot[4];
    Groups<T> groups;
};

// Where sums begin: at what the outputs hold, at `start` (null: 0).
template <class T> struct Start {
    bool anew;
    const T* bias;
};

// S slivers of one width side by side, which lie b_step apart; the last of its vectors has `tail` columns in the output.
template <class T, int MR, int NV, int S>
static void sliver_tile(const T* const* in, T* const* out, const i64* column, const T* b, i64 b_step, i64 k, Start<T> start, int tail) {
    constexpr int L = LANES<T>, V = NV * S;
    Vec<T> acc[MR][V];
    const T* row[MR];
    const auto each = [&](auto body) __attribute__((always_inline)) {
#pragma GCC unroll 8
        for (int i = 0; i < MR; i++)
#pragma GCC unroll 16
            for (int v = 0; v < V; v++) body(i, v, column[v / NV] + v % NV * L, v % NV == NV - 1 ? tail : L);
    };
    if (!start.anew) each([&](int i, int v, i64 at, int n) __attribute__((always_inline)) { acc[i][v] = load_n(out[i] + at, n); });
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
    each([&](int i, int v, i64 at, int n) __attribute__((always_inline)) { store_n(out[i] + at, acc[i][v], n); });
}

// One row needs eight sums at once to hide an FMA's latency: 4 slivers of 2 vectors; two rows 3 slivers, three rows 2.
constexpr int most_slivers(i64 rows) { return rows == 1 ? 4 : rows == 2 ? 3 : rows == 3 ? 2 : 1; }

template <class T> using SliverTile = decltype(&sliver_tile<T, 1, 1, 1>);
template <class T, int MR, int NV> static SliverTile<T> pick_slivers(i64 slivers) {
    constexpr int MOST = most_slivers(MR);
    if (MOST >= 4 && slivers == 4) return sliver_tile<T, MR, NV, MOST >= 4 ? 4 : 1>;
    if (MOST >= 3 && slivers == 3) return sliver_tile<T, MR, NV, MOST >= 3 ? 3 : 1>;
    if (MOST >= 2 && slivers == 2) return sliver_tile<T, MR, NV, MOST >= 2 ? 2 : 1>;
    return sliver_tile<T, MR, NV, 1>;
}
template <class T, int MR> static SliverTile<T> pick_vectors(int vecs, i64 slivers) {
    if (vecs == 1) return pick_slivers<T, MR, 1>(slivers);
    if (vecs == 2) return pick_slivers<T, MR, 2>(slivers);
    return pick_slivers<T, MR, TILE_VECS>(slivers);
}
template <class T> static SliverTile<T> pick_sliver_tile(int rows, int vecs, i64 slivers) {
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
static void multiply_groups(const T* const* in, T* const* out, i64 rows, const Weights<T>& w, i64 group, i64 stop, Start<T> start) {
    const Groups<T>& groups = w.groups;
    const i64 width = i64(groups.width(group)) * LANES<T>, slivers = (stop - group) * w.gates;
    const T* packed = w.packed + groups.first(group) * w.gates * w.k;
    i64 column[16];
    for (i64 s = 0; s < slivers; s++) column[s] = w.slot[s % w.gates] * w.step + groups.first(group + s / w.gates);
    const Split tiles(rows, TILE_ROWS);
    for (i64 t = 0; t < tiles.parts;) {
        const int height = tiles.width(t);
        const i64 end = t < tiles.larger ? tiles.larger : tiles.parts;
        const Split sets(slivers, most_slivers(height));
        for (i64 set = 0; set < sets.parts; set++) {
            const i64 s = sets.begin(set), last = group + (s + sets.width(set) - 1) / w.gates;
            const SliverTile<T> tile = pick_sliver_tile<T>(height, groups.width(group), sets.width(set));
            for (i64 q = t; q < end; q++) {
                const i64 row = tiles.begin(q);
                tile(in + row, out + row, column + s, packed + s * width * w.k, width * w.k, w.k, start, groups.tail(last));
            }
        }
        t = end;
    }
}

// All groups. Rows come in as many as keep a sliver in L1 while they pass.
template <class T> static void multiply_rows(const T* const* in, T* const* out, i64 rows, const Weights<T>& w, Start<T> start) {
    for (i64 group = 0, stop; group < w.groups.parts; group = stop) {
        stop = w.groups.stop(group, w.gates);
        multiply_groups<T>(in, out, rows, w, group, stop, start);
    }
}

// Where an item works: its direction, its sequences [first, first + count) and their rows.
template <class T> struct Share {
    const Recurrent& job;
    i64 direction, first, count;

    Share(const Recurrent& job, i64 item) : job(job), direction(item / job.parts) {
        const Split cut(job.batch, (job.batch + job.parts - 1) / job.parts);
        const i64 part = item % job.parts;
        first = part < cut.parts ? cut.begin(part) : 0;
        count = part < cut.parts ? cut.width(part) : 0;
    }
    // Sequences of this share that are there at step t; none before the first step and after the last.
    i64 active(i64 t) const {
        if (t < 0 || t >= job.steps) return 0;
        const i64 n = job.start[t + 1] - job.start[t] - first;
        return n < 0 ? 0 : n < count ? n : count;
    }
    i64 row(i64 t) const { return job.start[t] + first; }  // of the share's first sequence
    i64 rows() const { return job.start[job.steps]; }
    // Arrays (directions, N or batch, width) at this direction; y and dy (N, directions * P) are at(..) of one row.
    T* of_rows(const void* p, i64 row, i64 width) const {
        return static_cast<T*>(const_cast<void*>(p)) + (direction * rows() + row) * width;
    }
    T* of_state(const void* p, i64 b, i64 width) const {
        return static_cast<T*>(const_cast<void*>(p)) + (direction * job.batch + first + b) * width;
    }
    T* of_output(const void* p, i64 row) const {
        return static_cast<T*>(const_cast<void*>(p)) + (row * job.directions + direction) * job.outputs;
    }
};

template <class T> INLINE void copy_row(T* out, const T* in, i64 n) {
    for_vectors<T>(n, [&](i64 i, int lanes) { store_n(out + i, load_n(in + i, lanes), lanes); });
}

// Scratch handed out piece by piece, in elements of T, each piece whole cache lines.
template <class T> constexpr i64 lines(i64 elements) {
    constexpr i64 LINE = 64 / sizeof(T);
    return (elements + LINE - 1) / LINE * LINE;
}
template <class T> constexpr i64 pointers(i64 n) { return n * 8 / i64(sizeof(T)); }
template <class T> struct Pieces {
    T* next;
    T* take(i64 elements) {
        T* piece = next;
        next += lines<T>(elements);
        return piece;
    }
    T** take_pointers(i64 n) { return reinterpret_cast<T**>(take(pointers<T>(n))); }
};

// The packed weights of one direction: w_ih, w_hh, w_hr, then bias (slots * H). A backward has them as they lie, in slivers, w_ih's
// rows in two matrices, those of the slots that belong to x and h both and those of the last one (GRU's n).
template <class T> struct Packed {
    i64 ih, apart, hh, hr, bias, size;
    i64 together;  // slots that x and h share
    explicit Packed(const Recurrent& job) : ih(0), together(job.slots == job.gates ? job.gates : 2) {
        const i64 inputs = Groups<T>(job.inputs).padded(), units = Groups<T>(job.units).padded(), outputs = Groups<T>(job.outputs).padded();
        const i64 rows = job.gates * job.units;
        apart = job.backward ? inputs * together * job.units : 0;
        hh = job.backward ? inputs * rows : job.gates * units * job.inputs;
        hr = hh + (job.backward ? outputs * rows : job.gates * units * job.outputs);
        bias = hr + (!job.w_hr[0] ? 0 : job.backward ? units * job.outputs : outputs * job.units);
        size = lines<T>(bias + (job.backward ? 0 : job.slots * job.units));
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
