// What the recurrent layers share: rows times packed weights, shares of the work, scratch. A product goes sliver by
// sliver, as matmul's does, but every output is one chain of sums over k whatever rows stand beside it, and it may
// start from what its place holds:
//
//   packed weights     [group of units][gate][k][width]     a group: TILE_VECS vectors of units (AVX2: 16), so that all gates
//                                                           of the same units lie together and are finished in L1
//
// Sums stay in memory between the products of x and of h and the gates: 2 loads and 2 stores a vector beside its 2 *
// 128 FMAs, and slivers half as wide as with all gates in registers: at H = 256 they are 16 KB and stay in L1, 32 KB
// would not.
#pragma once
#include "kernels.h"
#include "tile.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class T> constexpr i64 padded(i64 columns) { return (columns + LANES<T> - 1) / LANES<T> * LANES<T>; }

struct Range {
    i64 begin, end;
};

// n columns padded to whole vectors, in groups as wide as a tile.
template <class T> struct Groups : Split {
    i64 columns;
    explicit Groups(i64 n) : Split((n + LANES<T> - 1) / LANES<T>, TILE_VECS), columns(n) {}
    i64 first(i64 group) const { return begin(group) * LANES<T>; }
    i64 last(i64 group) const { return first(group + 1) < columns ? first(group + 1) : columns; }
    int tail(i64 group) const { return int(last(group) - first(group) - i64(width(group) - 1) * LANES<T>); }
    // The first set, or the last one, of the groups [begin, end) that are finished together: few rows fill a tile with the
    // slivers of several of one width, whole ones.
    Range set(i64 begin, i64 end, i64 gates, bool last) const {
        const i64 most = gates > 1 ? 1 : 4, whole = parts - (columns % LANES<T> != 0), group = last ? end - 1 : begin;
        i64 from = group < whole ? 0 : whole, to = group < whole ? whole : parts;
        if (group < larger) to = to < larger ? to : larger;
        else from = from > larger ? from : larger;
        from = from > begin ? from : begin, to = to < end ? to : end;
        if (to - from > most) last ? from = to - most : to = from + most;
        return {from, to};
    }
    // f(group, stop) for the sets in [begin, end); `back`: from the last to the first. Steps go there and back in turns, so that
    // each begins with the weights that the one before read last and left in the cache: of one sequence an LSTM or a GRU takes
    // 0.88 of the time at 256 units and 512 (L2 of 1 MB), with gradients 0.92.
    template <class Body> void for_sets(i64 begin, i64 end, i64 gates, bool back, Body f) const {
        while (begin < end) {
            const Range now = set(begin, end, gates, back);
            f(now.begin, now.end);
            back ? end = now.begin : begin = now.end;
        }
    }
};

// The groups of a part of the units.
template <class T> INLINE void groups_of_part(const Recurrent& job, const Groups<T>& groups, i64 part, i64& begin, i64& end) {
    begin = groups.parts * part / job.unit_parts, end = groups.parts * (part + 1) / job.unit_parts;
}

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

// The groups [group, stop) of out[i] (rows) = start + in[i] (k) times the weights: recurrent_product.cpp.
template <class T>
void multiply_groups(const T* const* in, T* const* out, i64 rows, const Weights<T>& w, i64 group, i64 stop, Start<T> start);

// All groups. Rows come in as many as keep a sliver in L1 while they pass.
template <class T> static void multiply_rows(const T* const* in, T* const* out, i64 rows, const Weights<T>& w, Start<T> start) {
    w.groups.for_sets(0, w.groups.parts, w.gates, false,
                      [&](i64 group, i64 stop) { multiply_groups<T>(in, out, rows, w, group, stop, start); });
}

// Where an item works: its direction, its sequences [first, first + count) and their rows.
template <class T> struct Share {
    const Recurrent& job;
    i64 direction, first, count;

    Share(const Recurrent& job, i64 item) : job(job), direction(item / job.parts) {
        const i64 each = (job.batch + job.parts - 1) / job.parts;
        const Split cut(job.batch, each ? each : 1);
        const i64 part = item % job.parts;
        first = part < cut.parts ? cut.begin(part) : 0;
        count = part < cut.parts ? cut.width(part) : 0;
    }
    // All sequences of a direction.
    static Share all(const Recurrent& job, i64 direction) {
        Share share(job, direction * job.parts);
        share.first = 0, share.count = job.batch;
        return share;
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
    // The step that this direction's forward comes from, and h after it.
    i64 time_before(i64 t) const { return direction ? t + 1 : t - 1; }
    const T* h_before(i64 t, i64 b) const {
        const i64 p = time_before(t);
        return b < active(p) ? of_output(job.y, row(p) + b) : of_state(job.h0, b, job.outputs);
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

// The packed weights of one direction: w_ih, w_hh, w_hr, then bias (slots * H). A backward has them as they lie, in
// slivers, w_ih's rows in two matrices, those of the slots that belong to x and h both and those of the last one (GRU's
// n).
template <class T> struct Packed {
    i64 ih, apart, hh, hr, bias, size;
    i64 together;  // slots that x and h share
    explicit Packed(const Recurrent& job) : ih(0), together(job.slots == job.gates ? job.gates : 2) {
        const i64 inputs = padded<T>(job.inputs), units = padded<T>(job.units);
        const i64 outputs = padded<T>(job.outputs), rows = job.gates * job.units;
        apart = job.backward ? inputs * together * job.units : 0;
        hh = job.backward ? inputs * rows : job.gates * units * job.inputs;
        hr = hh + (job.backward ? outputs * rows : job.gates * units * job.outputs);
        bias = hr + (!job.w_hr[0] ? 0 : job.backward ? units * job.outputs : outputs * job.units);
        size = lines<T>(bias + (job.backward ? 0 : job.slots * job.units));
    }
};

}  // namespace FASTNN_ISA
}  // namespace fastnn
