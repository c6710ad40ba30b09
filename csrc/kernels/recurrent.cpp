// RNN, LSTM and GRU over whole sequences, forward. A share of the sequences goes through all steps without waiting for
// anybody: the input product of a few steps at once, as many as leave its sums in L2 (`block`), then step by step the
// product with h, group of units by group, each followed by its gates while the sums are in L1. RNN's sums are made in
// y itself. Of a few sequences, threads share the units of each step (recurrent_team.h).
#include "recurrent.h"

#include "recurrent_gates.h"
#include "recurrent_team.h"

namespace fastnn {
namespace FASTNN_ISA {

constexpr i64 BLOCK_BYTES = 1 << 18;  // of sums: half of a core's L2
constexpr i64 BLOCK_ROWS = 128;       // enough for the weights of x to come from L3

// ---- the plan and the packed weights ----------------------------------------------------------------------------

template <class T> void recurrent_plan(Recurrent& job) {
    const i64 groups = Groups<T>(job.units).parts;
    if (job.unit_parts > groups) job.unit_parts = groups > 1 ? groups : 1;
    job.packed_size = Packed<T>(job).size;
    const i64 rows = (job.batch + job.parts - 1) / job.parts, sums = job.row;
    const i64 step = rows * sums > 0 ? rows * sums : 1, fits = BLOCK_BYTES / i64(sizeof(T)) / step;
    const i64 wanted = rows ? (BLOCK_ROWS + rows - 1) / rows : 1;
    job.block = fits < 1 ? 1 : fits < wanted ? fits : wanted;
    if (job.block > job.steps) job.block = job.steps;
    const i64 listed = job.block * rows;
    const i64 projected = lines<T>(job.w_hr[0] ? rows * job.units : 0);
    const i64 forward = lines<T>(job.kept || job.slots == 1 ? 0 : job.block * step) + projected;
    const i64 backward = lines<T>(rows * job.outputs) + lines<T>(rows * job.units) + projected;
    const i64 lists = 2 * lines<T>(pointers<T>(listed)) + 8 * lines<T>(pointers<T>(rows));
    job.scratch_size = (job.backward ? backward : forward) + lists;
    const double products = double(job.gates * job.units) * double((job.backward ? 0 : job.inputs) + job.outputs) +
                            (job.w_hr[0] ? double(job.units * job.outputs) : 0);
    job.item_flops = double(job.steps) * double(rows) * (2 * products + 200 * double(job.units)) * (NARROW ? 3 : 1);
    job.item_flops /= double(job.unit_parts);
}

// out [group][gate][k][width] of the rows of w (gates * H, k).
template <class T> static void pack_transposed_gates(T* out, const T* w, i64 gates, i64 units, i64 k) {
    constexpr int L = LANES<T>;
    const Groups<T> groups(units);
    for (i64 g = 0; g < groups.parts; g++) {
        const i64 width = i64(groups.width(g)) * L, columns = groups.last(g) - groups.first(g);
        for (i64 j = 0; j < gates; j++, out += k * width)
            for (i64 v = 0; v < width; v += L) {
                const i64 left = columns - v;
                pack_transposed<T>(out + v, width, w + (j * units + groups.first(g) + v) * k, k, int(left < L ? left : L), k);
            }
    }
}

// out [group][k][width] of w (k, columns).
template <class T> static void pack_columns(T* out, const T* w, i64 columns, i64 k) {
    constexpr int L = LANES<T>;
    const Groups<T> groups(columns);
    for (i64 g = 0; g < groups.parts; g++) {
        const i64 width = i64(groups.width(g)) * L, count = groups.last(g) - groups.first(g);
        for (i64 p = 0; p < k; p++, out += width)
            for (i64 v = 0; v < width; v += L) {
                const T* in = w + p * columns + groups.first(g) + v;
                store(out + v, count - v >= L ? load(in) : load_first(in, int(count - v)));
            }
    }
}

// bias (slots, H): b_ih + b_hh, but GRU's n keeps them apart: n_h, n_x.
template <class T> static void sum_bias(T* out, const Recurrent& job, i64 direction) {
    const T *ih = static_cast<const T*>(job.b_ih[direction]), *hh = static_cast<const T*>(job.b_hh[direction]);
    const i64 both = Packed<T>(job).together * job.units, all = job.slots * job.units;
    for (i64 i = 0; i < all; i++) {
        const bool only_h = i >= both && i < both + job.units, only_x = i >= both + job.units;
        const i64 x = only_x ? i - job.units : i;
        out[i] = (ih && !only_h ? ih[x] : T(0)) + (hh && !only_x ? hh[i] : T(0));
    }
}

template <class T> void recurrent_pack(const Recurrent& job, i64 begin, i64 end) {
    const Packed<T> at(job);
    for (i64 item = begin; item < end; item++) {
        const i64 direction = item / 3, which = item % 3;
        T* out = static_cast<T*>(job.packed) + direction * at.size;
        const T *ih = static_cast<const T*>(job.w_ih[direction]), *hh = static_cast<const T*>(job.w_hh[direction]);
        const T* hr = static_cast<const T*>(job.w_hr[direction]);
        if (job.backward) {
            const i64 together = at.together * job.units, apart = job.gates * job.units - together;
            if (which == 0) pack_columns(out + at.ih, ih, job.inputs, together);
            if (which == 0) pack_columns(out + at.apart, ih + together * job.inputs, job.inputs, apart);
            if (which == 1) pack_columns(out + at.hh, hh, job.outputs, job.gates * job.units);
            if (which == 2 && hr) pack_columns(out + at.hr, hr, job.units, job.outputs);
            continue;
        }
        if (which == 0) pack_transposed_gates(out + at.ih, ih, job.gates, job.units, job.inputs);
        if (which == 1) pack_transposed_gates(out + at.hh, hh, job.gates, job.units, job.outputs);
        if (which == 2) sum_bias(out + at.bias, job, direction);
        if (which == 2 && hr) pack_transposed_gates(out + at.hr, hr, 1, job.outputs, job.units);
    }
}

// ---- the walk ---------------------------------------------------------------------------------------------------

template <class T> struct Forward : Share<T> {
    using Share<T>::job, Share<T>::count;
    Weights<T> of_x, of_h, of_projection;
    const T* bias;
    i64 part;  // of the units: this item's
    i64 group0, group1, unit0, unit1;
    T *sums, *projected;
    const T** listed_in;    // a block's rows for the input product
    T** listed_out;
    const T **h, **c;       // of each sequence: the state before this step
    T **a, **out, **c_out, **hidden;  // and where this step's sums, h, c, and h before the projection go

    Forward(const Recurrent& job, i64 item)
        : Share<T>(job, item / job.unit_parts),
          of_x{nullptr, job.inputs, job.gates, job.units, {0, 1, 2, 3}, Groups<T>(job.units)},
          of_h{nullptr, job.outputs, job.gates, job.units, {0, 1, 2, 3}, of_x.groups},
          of_projection{nullptr, job.units, 1, 0, {0}, Groups<T>(job.w_hr[0] ? job.outputs : 0)} {
        const Packed<T> at(job);
        const T* packed = static_cast<const T*>(job.packed) + this->direction * at.size;
        of_x.packed = packed + at.ih, of_h.packed = packed + at.hh, of_projection.packed = packed + at.hr;
        if (job.cell == GRU) of_x.slot[2] = 3;
        bias = packed + at.bias;
        part = item % job.unit_parts;
        choose_units(part);
        const i64 rows = (job.batch + job.parts - 1) / job.parts;
        Pieces<T> pieces{static_cast<T*>(job.scratch) + item * job.scratch_size};
        listed_in = const_cast<const T**>(pieces.take_pointers(job.block * rows));
        listed_out = pieces.take_pointers(job.block * rows);
        h = const_cast<const T**>(pieces.take_pointers(rows)), c = const_cast<const T**>(pieces.take_pointers(rows));
        a = pieces.take_pointers(rows), out = pieces.take_pointers(rows);
        c_out = pieces.take_pointers(rows), hidden = pieces.take_pointers(rows);
        projected = job.w_hr[0] ? pieces.take(rows * job.units) : nullptr;
        sums = pieces.next - (job.team ? part * job.scratch_size : 0);  // a team's are the first one's
    }

    void choose_units(i64 p) {
        groups_of_part(job, of_h.groups, p, group0, group1);
        unit0 = of_h.groups.first(group0), unit1 = of_h.groups.last(group1 - 1);
    }

    i64 time(i64 step) const { return this->direction ? job.steps - 1 - step : step; }

    // Where the sums of sequence b at step t go; `place` counts the steps of the block.
    T* sums_at(i64 t, i64 place, i64 b) const {
        const i64 width = job.row, row = this->row(t) + b;
        if (job.slots == 1) return this->of_output(job.y, row);
        return job.kept ? this->of_rows(job.kept, row, width) : sums + (place * count + b) * width;
    }

    // The steps [s0, s1): sums = bias + w_ih x; n_h of a GRU is its bias.
    void input_product(i64 s0, i64 s1) {
        i64 rows = 0;
        for (i64 s = s0; s < s1; s++)
            for (i64 t = time(s), n = this->active(t), b = 0; b < n; b++, rows++) {
                listed_in[rows] = static_cast<const T*>(job.x) + (this->row(t) + b) * job.inputs;
                listed_out[rows] = sums_at(t, s - s0, b);
            }
        of_x.groups.for_sets(group0, group1, job.gates, false, [&](i64 group, i64 stop) {
            multiply_groups<T>(listed_in, listed_out, rows, of_x, group, stop, {true, bias});
        });
        if (job.cell == GRU)
            for (i64 i = 0, at = 2 * job.units + unit0; i < rows; i++) copy_row(listed_out[i] + at, bias + at, unit1 - unit0);
    }

    void point_at_step(i64 s, i64 s0, i64 n) {
        const i64 t = time(s), row = this->row(t);
        for (i64 b = 0; b < n; b++) {
            a[b] = sums_at(t, s - s0, b);
            out[b] = this->of_output(job.y, row + b);
            hidden[b] = !projected ? out[b] : job.hidden ? this->of_rows(job.hidden, row + b, job.units)
                                                         : projected + b * job.units;
            c_out[b] = job.cell != LSTM ? nullptr : job.c ? this->of_rows(job.c, row + b, job.units)
                                                          : this->of_state(job.c_n, b, job.units);
        }
    }

    template <bool KEEP> void gates(i64 n, i64 u, i64 u1) {
        const i64 H = job.units;
        const auto each = [&](auto body) __attribute__((always_inline)) { for_places<T>(n, u, u1, body); };
        if (job.cell == LSTM) {
            each([&](const auto& at) __attribute__((always_inline)) { lstm_state<KEEP, T>(at, a, c, c_out, H); });
            each([&](const auto& at) __attribute__((always_inline)) { lstm_output<KEEP, T>(at, a, c_out, hidden, H); });
        } else if (job.cell == GRU) {
            each([&](const auto& at) __attribute__((always_inline)) { gru_reset<KEEP, T>(at, a, H); });
            each([&](const auto& at) __attribute__((always_inline)) { gru_output<KEEP, T>(at, a, h, out, H); });
        } else {
            const bool relu = job.cell == RNN_RELU;
            each([&](const auto& at) __attribute__((always_inline)) { rnn_output<T>(at, out, relu); });
        }
    }

    void step(i64 s, i64 s0) {
        const i64 n = this->active(time(s));
        if (n == 0) return;
        point_at_step(s, s0, n);
        of_h.groups.for_sets(group0, group1, job.gates, s % 2, [&](i64 group, i64 stop) {
            multiply_groups<T>(h, a, n, of_h, group, stop, {false, nullptr});
            const i64 u = of_h.groups.first(group), u1 = of_h.groups.last(stop - 1);
            job.kept ? gates<true>(n, u, u1) : gates<false>(n, u, u1);
        });
        if (projected) multiply_rows<T>(hidden, out, n, of_projection, {true, nullptr});
        for (i64 b = 0; b < n; b++) {
            h[b] = out[b];
            c[b] = c_out[b];
        }
    }

    void copy_units(T* to, const T* from) const { copy_row(to + unit0, from + unit0, unit1 - unit0); }

    // Part p of step s, with what comes before the first step of all or of a block, and after the last. All sequences are as
    // long.
    void step_of_team(i64 p, i64 s) {
        const i64 s0 = s - s % job.block;
        choose_units(p);
        for (i64 b = 0; b < count; b++) {
            h[b] = s ? this->of_output(job.y, this->row(time(s - 1)) + b) : this->of_state(job.h0, b, job.outputs);
            if (job.cell != LSTM) continue;
            c[b] = s == 0 ? this->of_state(job.c0, b, job.units)
                   : job.c ? this->of_rows(job.c, this->row(time(s - 1)) + b, job.units)
                           : this->of_state(job.c_n, b, job.units);
        }
        if (s == s0) input_product(s0, s0 + job.block < job.steps ? s0 + job.block : job.steps);
        step(s, s0);
        for (i64 b = 0; b < count && s == job.steps - 1; b++) {
            copy_units(this->of_state(job.h_n, b, job.outputs), h[b]);
            if (job.cell == LSTM && job.c) copy_units(this->of_state(job.c_n, b, job.units), c[b]);
        }
    }

    void run_in_team() {
        Team team(job.team + this->direction * team_lines(job.unit_parts), job.unit_parts);
        team.walk(part, job.steps, job.yield, [&](i64 p, i64 s) { step_of_team(p, s); });
    }

    // Sequences without any step end where they began.
    void run() {
        if (job.team) return run_in_team();
        const bool lstm = job.cell == LSTM;
        for (i64 b = 0; b < count; b++) {
            h[b] = this->of_state(job.h0, b, job.outputs);
            if (!lstm) continue;
            c[b] = this->of_state(job.c0, b, job.units);
            if (job.c) continue;
            copy_units(this->of_state(job.c_n, b, job.units), c[b]);  // the state is kept there
            c[b] = this->of_state(job.c_n, b, job.units);
        }
        for (i64 s0 = 0; s0 < job.steps; s0 += job.block) {
            const i64 s1 = s0 + job.block < job.steps ? s0 + job.block : job.steps;
            input_product(s0, s1);
            for (i64 s = s0; s < s1; s++) step(s, s0);
        }
        for (i64 b = 0; b < count; b++) {
            T* end = this->of_state(job.h_n, b, job.outputs);
            projected ? copy_row(end, h[b], job.outputs) : copy_units(end, h[b]);
            if (lstm && job.c) copy_units(this->of_state(job.c_n, b, job.units), c[b]);
        }
    }
};

template <class T> void recurrent(const Recurrent& job, i64 begin, i64 end) {
    for (i64 item = begin; item < end; item++) Forward<T>(job, item).run();
}

#define INSTANTIATE(T)                                           \
    template void recurrent_plan<T>(Recurrent&);                 \
    template void recurrent_pack<T>(const Recurrent&, i64, i64); \
    template void recurrent<T>(const Recurrent&, i64, i64);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace FASTNN_ISA
}  // namespace fastnn
