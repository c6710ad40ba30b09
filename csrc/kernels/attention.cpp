// Attention, forward, in the order of FlashAttention-2 (Dao, 2023): blocks of keys outside, tiles of queries inside, a running
// maximum and sum for each query, one division at the end; no T x T matrix.
//
//        keys ->  block 0     block 1          An item: a part of the queries of a head of k and v. It packs a block of both,
//   q   tile 0  [ 6 x 256 ] [ 6 x 256 ]        which stays in L2 (128 KB at D = 64) while tile after tile of queries goes by:
//       tile 1  [ 6 x 256 ] [ 6 x 256 ]        scores (6 KB, L1) = q k^T, their exponential in place, sums += p v.
//
// Up to 512 keys are one block: an exact softmax, nothing is rescaled. Every query is computed by itself, so bits do not
// depend on the cut into parts. Packing anew for each part costs about 3 / rows of the products' time, 1 % at 256 rows, and 2 %
// of T1024 on one thread between parts of 512 and of 1024.
#include "attention.h"
#include "attention_few.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 WHOLE_KEYS = 512, BLOCK_KEYS = 256, LEAST_PART = 256, MOST_PART = 1024, ITEMS_OF_A_THREAD = 4;

static i64 block_of(const Attention& job) { return job.keys <= WHOLE_KEYS ? job.keys : BLOCK_KEYS; }

template <class T> struct ForwardSlot {
    T *keys, *values, *scores, *bias, *dropped, *sums, *peak, *total;
    i64 size;
    ForwardSlot(const Attention& job, T* base) {
        Places<T> places = {base};
        const i64 block = block_of(job), columns = whole<T>(block), tiles = job.group * Split(job.part, TILE_ROWS).parts;
        keys = places.take(job.depth * columns);
        values = places.take(block * whole<T>(job.width));
        scores = places.take(TILE_ROWS * columns);
        bias = places.take(columns);
        dropped = places.take(columns);
        sums = places.take(job.group * job.part * whole<T>(job.width));
        peak = places.take(tiles * ROW_STATES<T>);
        total = places.take(tiles * TILE_ROWS * LANES<T>);
        size = places.at;
    }
};

template <class T> void attention_plan(Attention& job) {
    const i64 heads = job.batch * job.heads / job.group;
    const double seen = double(job.keys + 1) * (job.causal ? 0.5 : 1.0);
    const double ns = 2.0 * seen * double(job.depth + job.width + 1) / 60;  // of a row
    const bool few = job.queries * job.group <= FEW_QUERIES;
    job.combine_items = job.scratch_size = 0;
    if (few) {
        plan_few<T>(job);
    } else {
        const i64 wanted = pieces(job.queries * heads, ITEMS_OF_A_THREAD * job.slots);
        job.parts = pieces(job.queries, least(MOST_PART, most(LEAST_PART, wanted)));
        job.part = pieces(job.queries, job.parts ? job.parts : 1);
        job.slot_size = ForwardSlot<T>(job, nullptr).size;
    }
    job.items = few ? heads * job.parts : pieces(heads * job.parts, heads_together(job));
    job.item_ns = job.items ? ns * double(job.batch * job.heads) * double(job.queries) / double(job.items) : 0;
}

// The queries [q0, q1) of the group of heads that share head `shared` of k and v.
template <class T> struct AttentionForward {
    static constexpr int L = LANES<T>, STATES = ROW_STATES<T>;
    const Attention& job;
    const ForwardSlot<T> slot;
    const i64 b, shared, q0, q1;
    const i64 next;  // the head of k and v that comes after this one; -1: none, or more of this one
    const Split tiles{q1 - q0, TILE_ROWS};
    const Split value_slivers = slivers_of<T>(job.width);
    const i64 width = whole<T>(job.width);
    // the block of keys
    i64 k0 = 0, keys = 0;

    T* sums_of(i64 g, i64 row) const { return slot.sums + (g * (q1 - q0) + row) * width; }

    void run() {
        for (i64 i = 0; i < job.group * tiles.parts * STATES; i += L) store(slot.peak + i, splat<T>(minus_infinity<T>()));
        for (i64 i = 0; i < job.group * tiles.parts * TILE_ROWS * L; i += L) store(slot.total + i, Vec<T>{});
        const i64 last = visible(job, q1 - 1), block = block_of(job);
        do {
            keys = least(block, job.keys - k0);
            pack_columns<T>(slot.keys, at<T>(job.k, job.k_at, b, shared, k0), job.k_at.row, job.depth, keys,
                            T(job.scale * LOG2_E));
            pack_rows<T>(slot.values, at<T>(job.v, job.v_at, b, shared, k0), job.v_at.row, keys, job.width);
            for (i64 g = 0; g < job.group; g++)
                for (i64 t = 0; t < tiles.parts; t++) add_block(g, t);
            k0 += keys;
        } while (k0 < last);
        for (i64 g = 0; g < job.group; g++)
            for (i64 t = 0; t < tiles.parts; t++) finish(g, t);
    }

    void add_block(i64 g, i64 t) {
        const i64 head = shared * job.group + g, row = q0 + tiles.begin(t);
        const int rows = tiles.width(t);
        const i64 seen = most(0, least(keys, visible(job, row + rows - 1) - k0)), c_row = whole<T>(keys);
        if (!seen && k0) return;
        if (next >= 0 && k0 == 0) fetch_next(g, row, rows);
        multiply<T>(slot.scores, c_row, rows, at<T>(job.q, job.q_at, b, head, row), job.q_at.row, 1,
                    {slot.keys, job.depth, 0}, job.depth, slivers_of<T>(keys), seen, false, nullptr);
        T factor[STATES];
        softmax(head, row, rows, g * tiles.parts + t, c_row, whole<T>(seen), factor);
        if (job.dropout > 0)
            for (int i = 0; i < rows; i++) {
                dropout_row<T>(slot.dropped, job, (b * job.heads + head) * job.queries + row + i, k0, seen);
                multiply_into<T>(slot.scores + i * c_row, slot.dropped, seen);
            }
        T* sums = sums_of(g, tiles.begin(t));
        const PackedRows<T> values = {slot.values, keys, 0};
        multiply<T>(sums, width, rows, slot.scores, c_row, 1, values, seen, value_slivers, width, k0 > 0, factor);
    }

    void fetch_next(i64 g, i64 row, i64 rows) const {
        const i64 count = job.heads / job.group, n = next / count, head = next % count;
        fetch_head<T>(job.q, job.q_at, n, head * job.group + g, row, rows, job.depth);
        if (g || row >= job.keys) return;
        fetch_head<T>(job.k, job.k_at, n, head, row, least(rows, job.keys - row), job.depth);
        fetch_head<T>(job.v, job.v_at, n, head, row, least(rows, job.keys - row), job.width);
    }

    // The scores of a tile to exponentials; its running maxima and sums, these over the lanes of a vector; factor: what the sums
    // so far have shrunk by.
    INLINE void softmax(i64 head, i64 row, int rows, i64 tile, i64 c_row, i64 columns, T (&factor)[STATES]) {
        const i64 state = tile * STATES;
        T peak[STATES];
        for (int i = 0; i < STATES; i++) peak[i] = minus_infinity<T>();
        for (int i = 0; i < rows; i++) {
            const i64 valid = most(0, least(keys, visible(job, row + i) - k0));
            if (job.mask && (i == 0 || job.mask_row))
                mask_bias<T>(slot.bias, job, b, head, row + i, k0, least(keys, columns));
            peak[i] = mask_scores<T>(slot.scores + i * c_row, job.mask ? slot.bias : nullptr, valid, columns);
        }
        for (int i = 0; i < STATES; i += L) {
            const Vec<T> before = load(slot.peak + state + i), now = max<T>(before, load(peak + i));
            const Vec<T> reference = select<T>(now == splat<T>(minus_infinity<T>()), Vec<T>{}, now);
            store(slot.peak + state + i, now);
            store(peak + i, reference);
            store(factor + i, exp2_negative(before - reference));
        }
        T* total = slot.total + tile * TILE_ROWS * L;
        for (int i = 0; i < rows; i++, total += L)
            store(total, fma<T>(load(total), splat<T>(factor[i]), exponentiate<T>(slot.scores + i * c_row, peak[i], columns)));
    }

    void finish(i64 g, i64 t) const {
        const i64 head = shared * job.group + g, row = q0 + tiles.begin(t), state = (g * tiles.parts + t) * STATES;
        const int rows = tiles.width(t);
        T totals[STATES] = {}, inverse[STATES];
        for (int i = 0; i < rows; i++) totals[i] = sum_lanes<T>(load(slot.total + ((g * tiles.parts + t) * TILE_ROWS + i) * L));
        for (int i = 0; i < STATES; i += L) {
            const Vec<T> total = load(totals + i);
            store(inverse + i, select<T>(total == Vec<T>{}, Vec<T>{}, splat<T>(1) / total));
        }
        for (int i = 0; i < rows; i++) {
            T* out = at<T>(job.out, job.out_at, b, head, row + i);
            const T* sums = sums_of(g, tiles.begin(t) + i);
            const Vec<T> scale = splat<T>(inverse[i]);
            for_vectors<T>(job.width, [&](i64 j, int n) { store_n(out + j, load(sums + j) * scale, n); });
            if (job.stats) keep_stats<T>(job, (b * job.heads + head) * job.queries + row + i, slot.peak[state + i], totals[i]);
        }
    }
};

template <class T> void attention(const Attention& job, i64 begin, i64 end) {
    if (job.queries * job.group <= FEW_QUERIES) return attention_few<T>(job, begin, end);
    const ForwardSlot<T> slot(job, slot_of<T>(job));
    const i64 shared = job.heads / job.group, together = heads_together(job);
    const i64 stop = least(end * together, job.batch * shared * job.parts);
    for (i64 item = begin * together; item < stop; item++) {
        const i64 pair = item / job.parts, part = job.parts - 1 - item % job.parts;  // causal: the long ones first
        const i64 q0 = part * job.part, q1 = least(job.queries, q0 + job.part);
        const i64 next = job.parts == 1 && item + 1 < stop ? item + 1 : -1;
        if (q0 < q1) AttentionForward<T>{job, slot, pair / shared, pair % shared, q0, q1, next}.run();
    }
}

template void attention_plan<float>(Attention&);
template void attention_plan<double>(Attention&);
template void attention<float>(const Attention&, i64, i64);
template void attention<double>(const Attention&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
