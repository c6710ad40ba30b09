// Attention, backward: blocks of keys outside, blocks of queries inside. The probabilities are made again from each
// row's greatest score and sum.
//
//   for a tile of 6 queries:  p = 2^(s - peak) / sum, s = q k^T;  dp = dout v^T;  ds = p (dp - sum(dout out));  dq += ds k
//   for the block of 96:      dv += p^T dout, dk += ds^T q     (p and ds: 100 KB, in L2)
//
// Five products on the tile of tile.h, two and a half times the forward's. An item is a part of the keys of one head of k
// and v: it owns their dk and dv. dq is summed block after block; where there are few heads the keys are in parts, each with
// a dq of its own, which are joined in order.
#include "attention.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 BACKWARD_KEYS = 128, BACKWARD_QUERIES = 96, BACKWARD_PART = 256, BACKWARD_ITEMS = 16;

template <class T> struct BackwardSlot {
    T *keys, *values, *key_rows, *dk, *dv, *p, *ds, *bias, *dropped;  // of a block of keys
    T *q, *dout, *dq, *peak, *inverse, *delta;                        // of all queries of the group
    i64 p_row, size;
    BackwardSlot(const Attention& job, T* base) {
        Places<T> places = {base};
        const i64 block = least(BACKWARD_KEYS, job.keys), columns = whole<T>(block), rows = job.group * job.queries;
        const i64 depth = whole<T>(job.depth), width = whole<T>(job.width);
        p_row = columns + LANES<T>;  // not a multiple of 1 KiB: columns of p are read down
        keys = places.take(job.depth * columns);
        values = places.take(job.width * columns);
        key_rows = places.take(block * depth);
        dk = places.take(block * depth);
        dv = places.take(block * width);
        p = places.take(BACKWARD_QUERIES * p_row);
        ds = places.take(BACKWARD_QUERIES * p_row);
        bias = places.take(columns);
        dropped = places.take(columns);
        q = places.take(rows * depth);
        dout = places.take(rows * width);
        dq = places.take(job.parts > 1 ? 0 : rows * depth);
        peak = places.take(rows);
        inverse = places.take(rows);
        delta = places.take(rows);
        size = places.at;
    }
};

template <class T> void attention_backward_plan(Attention& job) {
    const i64 heads = job.batch * job.heads / job.group;
    const i64 wanted = heads ? pieces(BACKWARD_ITEMS, heads) : 1;
    const i64 parts = most(1, least(wanted, job.keys / BACKWARD_PART));
    job.part = most(1, pieces(pieces(job.keys, parts), BACKWARD_KEYS) * BACKWARD_KEYS);
    job.parts = most(1, pieces(job.keys, job.part));
    job.items = pieces(heads * job.parts, heads_together(job));
    const i64 rows = job.batch * job.heads * job.queries;
    job.combine_items = job.parts > 1 ? rows : 0;
    job.scratch_size = job.parts > 1 ? pieces(rows * job.parts * whole<T>(job.depth), 16) * 16 : 0;
    job.slot_size = BackwardSlot<T>(job, nullptr).size;
    const double seen = double(job.keys) * (job.causal ? 0.5 : 1.0);
    const double flops = 2.0 * double(rows) * seen * double(3 * job.depth + 2 * job.width);
    job.item_ns = job.items ? flops / 50 / double(job.items) : 0;
}

template <class T> static T* partial_dq(const Attention& job, i64 head, i64 part) {
    return static_cast<T*>(job.scratch) + (head * job.parts + part) * job.queries * whole<T>(job.depth);
}

template <class T> INLINE void clear(T* x, i64 n) {
    for (i64 i = 0; i < n; i += LANES<T>) store(x + i, Vec<T>{});
}

template <class T> INLINE void scale_row(T* out, const T* in, i64 n, T scale) {
    for_vectors<T>(n, [&](i64 j, int count) { store_n(out + j, load(in + j) * splat<T>(scale), count); });
}

template <class T> struct AttentionBackward {
    static constexpr int L = LANES<T>;
    const Attention& job;
    const BackwardSlot<T> slot;
    const i64 b, shared, part;
    const i64 next;  // the head of k and v that comes after this one; -1: none, or more of this one
    const i64 depth = whole<T>(job.depth), width = whole<T>(job.width);
    const Split depth_slivers = slivers_of<T>(job.depth), width_slivers = slivers_of<T>(job.width);
    // the block of keys
    i64 k0 = 0, keys = 0;

    i64 head_of(i64 g) const { return shared * job.group + g; }
    T* dq_of(i64 g) const {
        return job.parts > 1 ? partial_dq<T>(job, b * job.heads + head_of(g), part) : slot.dq + g * job.queries * depth;
    }

    void run() {
        for (i64 g = 0; g < job.group; g++) prepare(g);
        const i64 end = least(job.keys, (part + 1) * job.part);
        for (k0 = part * job.part; k0 < end; k0 += keys) {
            keys = least(BACKWARD_KEYS, end - k0);
            run_block();
        }
        for (i64 g = 0; g < job.group && job.parts == 1; g++)
            for (i64 i = 0; i < job.queries; i++)
                scale_row<T>(at<T>(job.dq, job.dq_at, b, head_of(g), i), dq_of(g) + i * depth, job.depth, T(job.scale));
    }

    // q and dout as slivers, sum(dout * out), and what p is made from: a peak of 0 where no key is seen, for s is -inf there.
    void prepare(i64 g) const {
        const i64 head = head_of(g);
        const T *q = at<T>(job.q, job.q_at, b, head, 0), *douts = at<T>(job.dout, job.dout_at, b, head, 0);
        pack_rows<T>(slot.q + g * job.queries * depth, q, job.q_at.row, job.queries, job.depth);
        pack_rows<T>(slot.dout + g * job.queries * width, douts, job.dout_at.row, job.queries, job.width);
        clear(dq_of(g), job.queries * depth);
        for (i64 i = 0; i < job.queries; i++) {
            const T *out = at<T>(job.out, job.out_at, b, head, i), *dout = douts + i * job.dout_at.row;
            Vec<T> sum = {};
            for_vectors<T>(job.width, [&](i64 j, int n) { sum = fma<T>(load_n(out + j, n), load_n(dout + j, n), sum); });
            const T* stats = static_cast<const T*>(job.stats) + 2 * ((b * job.heads + head) * job.queries + i);
            slot.delta[g * job.queries + i] = sum_lanes<T>(sum);
            slot.peak[g * job.queries + i] = stats[0] == minus_infinity<T>() ? T(0) : stats[0];
            slot.inverse[g * job.queries + i] = stats[1] == 0 ? T(0) : 1 / stats[1];
        }
    }

    void run_block() {
        const T *k = at<T>(job.k, job.k_at, b, shared, k0), *v = at<T>(job.v, job.v_at, b, shared, k0);
        pack_columns<T>(slot.keys, k, job.k_at.row, job.depth, keys, T(job.scale * LOG2_E));
        pack_columns<T>(slot.values, v, job.v_at.row, job.width, keys, T(1));
        pack_rows<T>(slot.key_rows, k, job.k_at.row, keys, job.depth);
        clear(slot.dk, keys * depth);
        clear(slot.dv, keys * width);
        const i64 first = job.causal ? most(0, k0 - job.diagonal) : 0;  // the first query that sees one of them
        for (i64 g = 0; g < job.group; g++)
            for (i64 q0 = first; q0 < job.queries; q0 += BACKWARD_QUERIES)
                run_square(g, q0, least(BACKWARD_QUERIES, job.queries - q0));
        for (i64 j = 0; j < keys; j++) {
            scale_row<T>(at<T>(job.dk, job.dk_at, b, shared, k0 + j), slot.dk + j * depth, job.depth, T(job.scale));
            scale_row<T>(at<T>(job.dv, job.dv_at, b, shared, k0 + j), slot.dv + j * width, job.width, T(1));
        }
    }

    // The block of keys and `rows` queries from q0 on. Causal: a tile of keys starts at the first query that sees one of them;
    // of the squares on the diagonal, all there are at T = 64, half the two products is saved.
    void run_square(i64 g, i64 q0, i64 rows) const {
        const Split tiles(rows, TILE_ROWS), key_tiles(keys, TILE_ROWS);
        for (i64 t = 0; t < tiles.parts; t++) run_tile(g, q0 + tiles.begin(t), tiles.begin(t), tiles.width(t));
        const T *dout = slot.dout + g * job.queries * width, *q = slot.q + g * job.queries * depth;
        for (i64 t = 0; t < key_tiles.parts; t++) {
            const i64 j = key_tiles.begin(t), skip = job.causal ? most(0, k0 + j - job.diagonal - q0) : 0;
            const int n = key_tiles.width(t);
            if (skip >= rows) break;
            multiply<T>(slot.dv + j * width, width, n, slot.p + skip * slot.p_row + j, 1, slot.p_row,
                        {dout, job.queries, q0 + skip}, rows - skip, width_slivers, width, true, nullptr);
            multiply<T>(slot.dk + j * depth, depth, n, slot.ds + skip * slot.p_row + j, 1, slot.p_row,
                        {q, job.queries, q0 + skip}, rows - skip, depth_slivers, depth, true, nullptr);
        }
    }

    void fetch_next(i64 g, i64 row, i64 rows) const {
        const i64 count = job.heads / job.group, n = next / count, head = next % count, query_head = head * job.group + g;
        fetch_head<T>(job.q, job.q_at, n, query_head, row, rows, job.depth);
        fetch_head<T>(job.dout, job.dout_at, n, query_head, row, rows, job.width);
        fetch_head<T>(job.out, job.out_at, n, query_head, row, rows, job.width);
        if (g || row >= job.keys) return;
        fetch_head<T>(job.k, job.k_at, n, head, row, least(rows, job.keys - row), job.depth);
        fetch_head<T>(job.v, job.v_at, n, head, row, least(rows, job.keys - row), job.width);
    }

    // Queries row, row + 1, ... are the rows from `into` on of p and ds.
    INLINE void run_tile(i64 g, i64 row, i64 into, int rows) const {
        if (next >= 0 && k0 == 0) fetch_next(g, row, rows);
        const i64 head = head_of(g), seen = most(0, least(keys, visible(job, row + rows - 1) - k0)), p_row = slot.p_row;
        const Split slivers = slivers_of<T>(keys);
        T *p = slot.p + into * p_row, *ds = slot.ds + into * p_row;
        multiply<T>(p, p_row, rows, at<T>(job.q, job.q_at, b, head, row), job.q_at.row, 1, {slot.keys, job.depth, 0},
                    job.depth, slivers, seen, false, nullptr);
        multiply<T>(ds, p_row, rows, at<T>(job.dout, job.dout_at, b, head, row), job.dout_at.row, 1,
                    {slot.values, job.width, 0}, job.width, slivers, seen, false, nullptr);
        for (int i = 0; i < rows; i++) {
            const i64 valid = most(0, least(keys, visible(job, row + i) - k0));
            if (job.mask && (i == 0 || job.mask_row)) mask_bias<T>(slot.bias, job, b, head, row + i, k0, keys);
            if (job.dropout > 0)
                dropout_row<T>(slot.dropped, job, (b * job.heads + head) * job.queries + row + i, k0, keys);
            differentiate(p + i * p_row, ds + i * p_row, g * job.queries + row + i, valid);
        }
        multiply<T>(dq_of(g) + row * depth, depth, rows, ds, p_row, 1, {slot.key_rows, keys, 0}, seen, depth_slivers,
                    depth, true, nullptr);
    }

    // A row's s and dp to p * m and ds; both 0 where the row sees nothing.
    INLINE void differentiate(T* p, T* ds, i64 row, i64 valid) const {
        const Vec<T> peak = splat<T>(slot.peak[row]), inverse = splat<T>(slot.inverse[row]), delta = splat<T>(slot.delta[row]);
        const auto pass = [&](auto masked, auto dropping) __attribute__((always_inline)) {
            for (i64 j = 0; j < valid; j += L) {
                Vec<T> s = load(p + j), d = load(ds + j);
                if (masked) s += load(slot.bias + j);
                const Vec<T> e = exp2_negative(s - peak) * inverse;
                if (dropping) d *= load(slot.dropped + j);
                store(ds + j, e * (d - delta));
                store(p + j, dropping ? e * load(slot.dropped + j) : e);
            }
        };
        struct Yes { constexpr operator bool() const { return true; } };
        struct No { constexpr operator bool() const { return false; } };
        if (job.dropout > 0) job.mask ? pass(Yes(), Yes()) : pass(No(), Yes());
        else job.mask ? pass(Yes(), No()) : pass(No(), No());
        fill_from(p, valid, whole<T>(keys), T(0));
        fill_from(ds, valid, whole<T>(keys), T(0));
    }
};

template <class T> void attention_backward(const Attention& job, i64 begin, i64 end) {
    const BackwardSlot<T> slot(job, slot_of<T>(job));
    const i64 shared = job.heads / job.group, together = heads_together(job);
    const i64 stop = least(end * together, job.batch * shared * job.parts);
    for (i64 item = begin * together; item < stop; item++) {
        const i64 pair = item / job.parts;
        const i64 next = job.parts == 1 && item + 1 < stop ? item + 1 : -1;
        AttentionBackward<T>{job, slot, pair / shared, pair % shared, item % job.parts, next}.run();
    }
}

template <class T> void attention_backward_combine(const Attention& job, i64 begin, i64 end) {
    const i64 depth = whole<T>(job.depth);
    for (i64 item = begin; item < end; item++) {
        const i64 head = item / job.queries, i = item % job.queries;
        T* out = at<T>(job.dq, job.dq_at, head / job.heads, head % job.heads, i);
        for_vectors<T>(job.depth, [&](i64 j, int n) {
            Vec<T> sum = {};
            for (i64 part = 0; part < job.parts; part++) sum += load(partial_dq<T>(job, head, part) + i * depth + j);
            store_n(out + j, sum * splat<T>(T(job.scale)), n);
        });
    }
}

template void attention_backward_plan<float>(Attention&);
template void attention_backward_plan<double>(Attention&);
template void attention_backward<float>(const Attention&, i64, i64);
template void attention_backward<double>(const Attention&, i64, i64);
template void attention_backward_combine<float>(const Attention&, i64, i64);
template void attention_backward_combine<double>(const Attention&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
