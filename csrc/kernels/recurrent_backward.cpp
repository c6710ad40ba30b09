// The way back through the steps: the gradient of h is what comes from outside, dy, and w_hh^T times the next step's
// gradients of the sums; group of units by group it goes through the gates while it is in L1. What does not depend on
// the step before is left to three large products over all rows (recurrent_weights.cpp): dx, dw_ih, dw_hh. Of a few sequences,
// threads share the units of each step, as on the way there.
#include "recurrent.h"

#include "recurrent_gates.h"
#include "recurrent_team.h"

namespace fastnn {
namespace FASTNN_ISA {

template <class V> INLINE V sigmoid_slope(V y) { return y * (constant<V>(1) - y); }
template <class V> INLINE V tanh_slope(V y) { return constant<V>(1) - y * y; }
template <class V, class T> INLINE V load_or_zero(V v, const T* p, i64 i, int n) { return p ? load_as(v, p + i, n) : V{}; }

// One sequence at one step, the units [u, u1): dh (and for an LSTM dc) are the gradients of its state, and become those
// of the state before, as far as no product is in them. dy null: zeros. d may be kept.
template <class T>
INLINE void lstm_slopes(T* d, const T* kept, const T* c, const T* c_before, const T* dy, const T* dh, T* dc, i64 H, i64 u,
                        i64 u1) {
    for_abreast<T>(u1 - u, [&](i64 i, int n, auto v) __attribute__((always_inline)) {
        const i64 at = u + i;
        const auto in = load_as(v, kept + at, n), forget = load_as(v, kept + H + at, n);
        const auto made = load_as(v, kept + 2 * H + at, n), open = load_as(v, kept + 3 * H + at, n);
        const auto shown = squash(load_as(v, c + at, n)), g = load_as(v, dh + at, n) + load_or_zero(v, dy, at, n);
        const auto state = fma(g * open, tanh_slope(shown), load_as(v, dc + at, n));
        store_n(dc + at, state * forget, n);
        store_n(d + at, state * made * sigmoid_slope(in), n);
        store_n(d + H + at, state * load_as(v, c_before + at, n) * sigmoid_slope(forget), n);
        store_n(d + 2 * H + at, state * in * tanh_slope(made), n);
        store_n(d + 3 * H + at, g * shown * sigmoid_slope(open), n);
    });
}
template <class T> INLINE void gru_slopes(T* d, const T* kept, const T* before, const T* dy, T* dh, i64 H, i64 u, i64 u1) {
    for_vectors<T>(u1 - u, [&](i64 i, int n) __attribute__((always_inline)) {
        const i64 at = u + i;
        const Vec<T> reset = load_n(kept + at, n), stay = load_n(kept + H + at, n);
        const Vec<T> of_h = load_n(kept + 2 * H + at, n), made = load_n(kept + 3 * H + at, n);
        const Vec<T> g = load_n(dh + at, n) + load_or_zero(Vec<T>(), dy, at, n);
        const Vec<T> dn = g * (splat<T>(1) - stay) * tanh_slope(made);
        store_n(dh + at, g * stay, n);
        store_n(d + at, dn * of_h * sigmoid_slope(reset), n);
        store_n(d + H + at, g * (load_n(before + at, n) - made) * sigmoid_slope(stay), n);
        store_n(d + 2 * H + at, dn * reset, n);
        store_n(d + 3 * H + at, dn, n);
    });
}
template <class T> INLINE void rnn_slopes(T* d, const T* y, const T* dy, const T* dh, bool relu, i64 u, i64 u1) {
    for_vectors<T>(u1 - u, [&](i64 i, int n) __attribute__((always_inline)) {
        const i64 at = u + i;
        const Vec<T> h = load_n(y + at, n), g = load_n(dh + at, n) + load_or_zero(Vec<T>(), dy, at, n);
        store_n(d + at, relu ? select<T>(h > Vec<T>{}, g, Vec<T>{}) : g * tanh_slope(h), n);
    });
}

template <class T> struct Backward : Share<T> {
    using Share<T>::job, Share<T>::count;
    Weights<T> of_h, of_projection;
    i64 part;  // of the units: this item's
    i64 group0, group1, unit0, unit1;
    T *carried, *dc, *unprojected;  // (count, P), (count, H), (count, H); of a team the first one's
    const T** later;                // of each sequence: dgates of the step after this one, null at its last
    const T** dprojected;
    T **carry, **dhidden;

    Backward(const Recurrent& job, i64 item)
        : Share<T>(job, item / job.unit_parts), of_h{nullptr, job.gates * job.units, 1, 0, {0}, Groups<T>(job.outputs)},
          of_projection{nullptr, job.outputs, 1, 0, {0}, Groups<T>(job.units)} {
        const T* packed = static_cast<const T*>(job.packed) + this->direction * job.packed_size;
        of_h.packed = packed + Packed<T>(job).hh;
        of_projection.packed = packed + Packed<T>(job).hr;
        part = item % job.unit_parts;
        choose_units(part);
        const i64 rows = (job.batch + job.parts - 1) / job.parts;
        Pieces<T> pieces{static_cast<T*>(job.scratch) + item * job.scratch_size};
        later = const_cast<const T**>(pieces.take_pointers(rows));
        dprojected = const_cast<const T**>(pieces.take_pointers(rows));
        carry = pieces.take_pointers(rows), dhidden = pieces.take_pointers(rows);
        if (job.team) pieces.next -= part * job.scratch_size;
        carried = pieces.take(rows * job.outputs);
        dc = pieces.take(rows * job.units);
        unprojected = job.w_hr[0] ? pieces.take(rows * job.units) : nullptr;
    }

    void choose_units(i64 p) {
        const Groups<T>& groups = (job.w_hr[0] ? of_projection : of_h).groups;
        groups_of_part(job, groups, p, group0, group1);
        unit0 = groups.first(group0), unit1 = groups.last(group1 - 1);
    }

    // The steps against the order of the forward, and the one after one in the forward's order.
    i64 time(i64 step) const { return this->direction ? step : job.steps - 1 - step; }
    i64 time_after(i64 t) const { return this->direction ? t - 1 : t + 1; }

    const T* c_before(i64 t, i64 b) const {
        const i64 p = this->time_before(t);
        return b < this->active(p) ? this->of_rows(job.c, this->row(p) + b, job.units) : this->of_state(job.c0, b, job.units);
    }

    // carry += w_hh^T dgates of the step after, for the first `rows` sequences. Of a carry only GRU's has a part of its
    // own.
    void product(i64 rows, i64 group, i64 stop) {
        multiply_groups<T>(later, carry, rows, of_h, group, stop, {job.cell != GRU, nullptr});
    }

    void slopes(i64 t, i64 n, i64 u, i64 u1) {
        const i64 H = job.units;
        for (i64 b = 0; b < n; b++) {
            const i64 row = this->row(t) + b;
            T* d = this->of_rows(job.dgates, row, job.row);
            const T* dy = !job.dy || unprojected ? nullptr : this->of_output(job.dy, row);
            const T* kept = job.kept ? this->of_rows(job.kept, row, job.row) : nullptr;
            if (job.cell == LSTM)
                lstm_slopes<T>(d, kept, this->of_rows(job.c, row, H), c_before(t, b), dy, dhidden[b], dc + b * H, H, u, u1);
            else if (job.cell == GRU) gru_slopes<T>(d, kept, this->h_before(t, b), dy, carry[b], H, u, u1);
            else rnn_slopes<T>(d, this->of_output(job.y, row), dy, carry[b], job.cell == RNN_RELU, u, u1);
        }
    }

    // With a projection all of the carry is needed first: dprojected = dy + carry, then the gradient of what was
    // projected.
    void unproject(i64 t, i64 n, i64 after) {
        of_h.groups.for_sets(0, of_h.groups.parts, 1, t % 2, [&](i64 group, i64 stop) { product(after, group, stop); });
        for (i64 b = 0; b < n; b++) {
            T* d = this->of_rows(job.dprojected, this->row(t) + b, job.outputs);
            const T* dy = job.dy ? this->of_output(job.dy, this->row(t) + b) : nullptr;
            for_vectors<T>(job.outputs, [&](i64 i, int lanes) {
                store_n(d + i, load_n(carry[b] + i, lanes) + load_or_zero(Vec<T>(), dy, i, lanes), lanes);
            });
            dprojected[b] = d;
        }
        multiply_rows<T>(dprojected, dhidden, n, of_projection, {true, nullptr});
    }

    void step(i64 t) {
        const i64 n = this->active(t), next = this->active(time_after(t)), after = next < n ? next : n;
        const Groups<T>& groups = (unprojected ? of_projection : of_h).groups;
        if (n == 0) return;
        if (unprojected) unproject(t, n, after);
        groups.for_sets(group0, group1, 1, t % 2, [&](i64 group, i64 stop) {
            if (!unprojected) product(after, group, stop);
            slopes(t, n, groups.first(group), groups.last(stop - 1));
        });
        for (i64 b = 0; b < n; b++) later[b] = this->of_rows(job.dgates, this->row(t) + b, job.row);
    }

    // Of carry and dh0 a part has the columns of its units; with a projection there is but one part, of all columns.
    i64 column0() const { return unprojected ? 0 : unit0; }
    i64 column1() const { return unprojected ? job.outputs : unit1; }

    // Columns of a row; from null: zeros. A call: as a loop in each place it was 3 KB more of the wheel.
    static __attribute__((noinline)) void put(T* to, const T* from, i64 column, i64 stop) {
        for_vectors<T>(stop - column, [&](i64 i, int n) {
            store_n(to + column + i, from ? load_n(from + column + i, n) : Vec<T>{}, n);
        });
    }
    const T* given(const void* state, i64 b, i64 width) const { return state ? this->of_state(state, b, width) : nullptr; }

    void begin() {
        for (i64 b = 0; b < count; b++) {
            put(carry[b], given(job.dh_n, b, job.outputs), column0(), column1());
            put(dc + b * job.units, given(job.dc_n, b, job.units), unit0, unit1);
        }
    }

    // What is left for the states before the first step, of which `began` sequences have one.
    void end(i64 began) {
        const i64 first = unprojected ? 0 : group0, last = unprojected ? of_h.groups.parts : group1;
        of_h.groups.for_sets(first, job.dh0 ? last : first, 1, false, [&](i64 group, i64 stop) { product(began, group, stop); });
        for (i64 b = 0; b < count; b++) {
            if (job.dh0) put(this->of_state(job.dh0, b, job.outputs), carry[b], column0(), column1());
            if (job.dc0) put(this->of_state(job.dc0, b, job.units), dc + b * job.units, unit0, unit1);
        }
    }

    // Part p of step s; one more is the end. All sequences are as long.
    __attribute__((noinline)) void step_of_team(i64 p, i64 s) {  // `walk` calls it in two places
        choose_units(p);
        for (i64 b = 0; b < count; b++)
            later[b] = s ? this->of_rows(job.dgates, this->row(time(s - 1)) + b, job.row) : nullptr;
        if (s == 0) begin();
        s < job.steps ? step(time(s)) : end(count);
    }

    void run() {
        for (i64 b = 0; b < count; b++) {
            carry[b] = carried + b * job.outputs;
            dhidden[b] = unprojected ? unprojected + b * job.units : carry[b];
            later[b] = nullptr;
        }
        if (job.team) {
            Team team(job.team + this->direction * team_lines(job.unit_parts), job.unit_parts);
            return team.walk(part, job.steps + 1, job.yield, [&](i64 p, i64 s) { step_of_team(p, s); });
        }
        begin();
        for (i64 s = 0; s < job.steps; s++) step(time(s));
        i64 began = 0;  // sequences with any step are the first ones
        while (began < count && later[began]) began++;
        end(began);
    }
};

template <class T> void recurrent_backward(const Recurrent& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) Backward<T>(job, item).run();
}

template void recurrent_backward<float>(const Recurrent&, i64, i64);
template void recurrent_backward<double>(const Recurrent&, i64, i64);

}  // namespace FASTNN_ISA
}  // namespace fastnn
