// Recurrent layers in plain loops, in double: the definition of correct (see reference.cpp). Nothing is packed; every
// sequence is walked by itself.
#include "reference_recurrent.h"

#include <math.h>

namespace fastnn {
namespace reference {

void recurrent_plan(Recurrent& job) {
    job.block = job.unit_parts = 1;
    job.packed_size = job.scratch_size = 0;
    job.backward ? job.scratch_size = job.units + 2 * job.outputs : job.scratch_size = job.row + job.units;
    const double weights = double(job.gates * job.units) * double(job.inputs + job.outputs);
    job.item_flops = 2.0 * double(job.steps) * double(job.batch) * weights;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

// One sequence b of one direction: its rows and states.
template <class T> struct Sequence {
    const Recurrent& job;
    i64 d, b;
    i64 rows() const { return job.start[job.steps]; }
    i64 length() const {
        i64 n = 0;
        while (n < job.steps && job.start[n + 1] - job.start[n] > b) n++;
        return n;
    }
    i64 time(i64 step) const { return d ? length() - 1 - step : step; }
    T* of_rows(const void* p, i64 t, i64 width) const { return (T*)p + (d * rows() + job.start[t] + b) * width; }
    T* of_state(const void* p, i64 width) const { return (T*)p + (d * job.batch + b) * width; }
    T* of_output(const void* p, i64 t) const { return (T*)p + ((job.start[t] + b) * job.directions + d) * job.outputs; }
    const T* x(i64 t) const { return (const T*)job.x + (job.start[t] + b) * job.inputs; }
    const T* h_before(i64 step) const { return step ? of_output(job.y, time(step - 1)) : of_state(job.h0, job.outputs); }
    const T* c_before(i64 step) const {
        return step ? of_rows(job.c, time(step - 1), job.units) : of_state(job.c0, job.units);
    }
};

template <class T> static double dot(const void* w, i64 row, i64 k, const T* x) {
    double sum = 0;
    for (i64 p = 0; p < k; p++) sum += double(((const T*)w)[row * k + p]) * double(x[p]);
    return sum;
}
template <class T> static double bias(const void* b, i64 i) { return b ? double(((const T*)b)[i]) : 0; }

// slots (slots, H): what `kept` holds; and h before a projection.
template <class T> static void cell(const Sequence<T>& s, i64 t, const T* h, const T* c, T* slots, T* c_out, T* h_out) {
    const Recurrent& job = s.job;
    const i64 H = job.units;
    for (i64 u = 0; u < H; u++) {
        double x_side[4], h_side[4];
        for (i64 g = 0; g < job.gates; g++) {
            x_side[g] = dot(job.w_ih[s.d], g * H + u, job.inputs, s.x(t)) + bias<T>(job.b_ih[s.d], g * H + u);
            h_side[g] = dot(job.w_hh[s.d], g * H + u, job.outputs, h) + bias<T>(job.b_hh[s.d], g * H + u);
        }
        if (job.cell == LSTM) {
            const double i = sigmoid(x_side[0] + h_side[0]), f = sigmoid(x_side[1] + h_side[1]);
            const double g = tanh(x_side[2] + h_side[2]), o = sigmoid(x_side[3] + h_side[3]);
            const double state = f * double(c[u]) + i * g;
            const double kept[4] = {i, f, g, o};
            for (int k = 0; k < 4; k++) slots[k * H + u] = T(kept[k]);
            c_out[u] = T(state);
            h_out[u] = T(o * tanh(state));
        } else if (job.cell == GRU) {
            const double r = sigmoid(x_side[0] + h_side[0]), z = sigmoid(x_side[1] + h_side[1]);
            const double n = tanh(x_side[2] + r * h_side[2]);
            const double kept[4] = {r, z, h_side[2], n};
            for (int k = 0; k < 4; k++) slots[k * H + u] = T(kept[k]);
            h_out[u] = T(n + z * (double(h[u]) - n));
        } else {
            const double a = x_side[0] + h_side[0];
            h_out[u] = T(job.cell == RNN_RELU ? (a < 0 ? 0 : a) : tanh(a));
        }
    }
}

template <class T> static void forward(const Sequence<T>& s, T* scratch) {
    const Recurrent& job = s.job;
    const i64 H = job.units, P = job.outputs, width = job.row, length = s.length();
    T *h_n = s.of_state(job.h_n, P), *c_n = job.cell == LSTM ? s.of_state(job.c_n, H) : nullptr;
    for (i64 i = 0; i < P && length == 0; i++) h_n[i] = s.of_state(job.h0, P)[i];
    for (i64 i = 0; i < H && c_n; i++) c_n[i] = s.of_state(job.c0, H)[i];
    for (i64 step = 0; step < length; step++) {
        const i64 t = s.time(step);
        T* slots = job.kept ? s.of_rows(job.kept, t, width) : scratch;
        T* h = job.w_hr[0] ? (job.hidden ? s.of_rows(job.hidden, t, H) : scratch + width) : s.of_output(job.y, t);
        cell<T>(s, t, s.h_before(step), c_n, slots, c_n, h);
        T* y = s.of_output(job.y, t);
        for (i64 p = 0; p < P && job.w_hr[0]; p++) y[p] = T(dot(job.w_hr[s.d], p, H, h));
        for (i64 p = 0; p < P; p++) h_n[p] = y[p];  // a cell's h_n is y
        for (i64 u = 0; u < H && job.c; u++) s.of_rows(job.c, t, H)[u] = c_n[u];
    }
}

// The gradients of one unit's sums; dh and dc become those of the state before, without w_hh's part.
template <class T> static void slopes(const Sequence<T>& s, i64 step, i64 u, double g, double* dh, T* dc) {
    const Recurrent& job = s.job;
    const i64 H = job.units, t = s.time(step);
    T* d = s.of_rows(job.dgates, t, job.row) + u;
    const T* k = job.kept ? s.of_rows(job.kept, t, job.row) + u : nullptr;
    *dh = 0;
    if (job.cell == LSTM) {
        const double i = k[0], f = k[H], made = k[2 * H], o = k[3 * H], shown = tanh(double(s.of_rows(job.c, t, H)[u]));
        const double state = g * o * (1 - shown * shown) + double(dc[u]);
        dc[u] = T(state * f);
        d[0] = T(state * made * i * (1 - i));
        d[H] = T(state * double(s.c_before(step)[u]) * f * (1 - f));
        d[2 * H] = T(state * i * (1 - made * made));
        d[3 * H] = T(g * shown * o * (1 - o));
    } else if (job.cell == GRU) {
        const double r = k[0], z = k[H], of_h = k[2 * H], n = k[3 * H], dn = g * (1 - z) * (1 - n * n);
        *dh = g * z;
        d[0] = T(dn * of_h * r * (1 - r));
        d[H] = T(g * (double(s.h_before(step)[u]) - n) * z * (1 - z));
        d[2 * H] = T(dn * r);
        d[3 * H] = T(dn);
    } else {
        const double y = s.of_output(job.y, t)[u];
        d[0] = T(job.cell == RNN_RELU ? (y > 0 ? g : 0) : g * (1 - y * y));
    }
}

// scratch: dc (H), dh (P), and the next dh (P).
template <class T> static void backward(const Sequence<T>& s, T* scratch) {
    const Recurrent& job = s.job;
    const i64 H = job.units, P = job.outputs;
    T *dc = scratch, *dh = dc + H, *next = dh + P;
    for (i64 u = 0; u < H; u++) dc[u] = job.dc_n ? s.of_state(job.dc_n, H)[u] : T(0);
    for (i64 p = 0; p < P; p++) dh[p] = job.dh_n ? s.of_state(job.dh_n, P)[p] : T(0);
    for (i64 step = s.length() - 1; step >= 0; step--) {
        const i64 t = s.time(step);
        for (i64 p = 0; p < P; p++) {
            if (job.dy) dh[p] = T(double(dh[p]) + double(s.of_output(job.dy, t)[p]));
            if (job.w_hr[0]) s.of_rows(job.dprojected, t, P)[p] = dh[p];
            next[p] = 0;
        }
        for (i64 u = 0; u < H; u++) {
            double g = job.w_hr[0] ? 0 : double(dh[u]), own;
            for (i64 p = 0; p < P && job.w_hr[0]; p++) g += double(((const T*)job.w_hr[s.d])[p * H + u]) * double(dh[p]);
            slopes(s, step, u, g, &own, dc);
            if (job.cell == GRU) next[u] = T(own);
        }
        const T* d = s.of_rows(job.dgates, t, job.row);
        for (i64 p = 0; p < P; p++) {
            double sum = double(next[p]);
            for (i64 i = 0; i < job.gates * H; i++) sum += double(d[i]) * double(((const T*)job.w_hh[s.d])[i * P + p]);
            dh[p] = T(sum);
        }
    }
    for (i64 u = 0; u < H && job.dc0; u++) s.of_state(job.dc0, H)[u] = dc[u];
    for (i64 p = 0; p < P && job.dh0; p++) s.of_state(job.dh0, P)[p] = dh[p];
}

// An item is a part of the sequences of one direction.
template <class T, class Body> static void for_sequences(const Recurrent& job, i64 begin, i64 end, Body body) {
    for (i64 item = begin; item < end; item++) {
        const i64 each = (job.batch + job.parts - 1) / job.parts, first = item % job.parts * each;
        for (i64 b = first; b < first + each && b < job.batch; b++)
            body(Sequence<T>{job, item / job.parts, b}, (T*)job.scratch + item * job.scratch_size);
    }
}

template <class T> void recurrent_pack(const Recurrent&, i64, i64) {}
template <class T> void recurrent(const Recurrent& job, i64 begin, i64 end) {
    for_sequences<T>(job, begin, end, [](const Sequence<T>& s, T* scratch) { forward<T>(s, scratch); });
}
template <class T> void recurrent_backward(const Recurrent& job, i64 begin, i64 end) {
    for_sequences<T>(job, begin, end, [](const Sequence<T>& s, T* scratch) { backward<T>(s, scratch); });
}

// dx and dw by their definition; slot_of_x: where w_ih's block g stands in dgates.
static i64 slot_of_x(const Recurrent& job, i64 g) { return job.cell == GRU && g == 2 ? 3 : g; }

template <class T> void recurrent_inputs(const Recurrent& job, i64 begin, i64 end) {
    const i64 rows = job.start[job.steps], H = job.units, each = (rows + job.row_blocks - 1) / job.row_blocks;
    for (i64 r = begin * each; r < end * each && r < rows; r++)
        for (i64 i = 0; i < job.inputs; i++) {
            double sum = 0;
            for (i64 d = 0; d < job.directions; d++)
                for (i64 g = 0; g < job.gates * H; g++)
                    sum += double(((const T*)job.dgates)[(d * rows + r) * job.row + slot_of_x(job, g / H) * H + g % H]) *
                           double(((const T*)job.w_ih[d])[g * job.inputs + i]);
            ((T*)job.dx)[r * job.inputs + i] = T(sum);
        }
}

// Row g of dw (gates * H, n) from a column of dgates; rows(s, step): what stands beside it, n numbers.
template <class T, class Rows>
static void outer_sums(const Recurrent& job, void* dw, i64 d, i64 g, i64 column, i64 n, Rows rows) {
    for (i64 i = 0; i < n && dw; i++) {
        double sum = 0;
        for (i64 b = 0; b < job.batch; b++) {
            const Sequence<T> s = {job, d, b};
            for (i64 step = 0, length = s.length(); step < length; step++)
                sum += double(s.of_rows(job.dgates, s.time(step), job.row)[column]) * double(rows(s, step)[i]);
        }
        ((T*)dw)[g * n + i] = T(sum);
    }
}
template <class T> void recurrent_weights(const Recurrent& job, i64 begin, i64 end) {
    const i64 H = job.units;
    const auto x = [](const Sequence<T>& s, i64 step) -> const T* { return s.x(s.time(step)); };
    const auto before = [](const Sequence<T>& s, i64 step) { return s.h_before(step); };
    for (i64 item = begin; item < end; item++) {
        const i64 d = item / job.weight_parts;
        for (i64 g = item % job.weight_parts; g < job.gates * H; g += job.weight_parts) {
            outer_sums<T>(job, job.dw_ih[d], d, g, slot_of_x(job, g / H) * H + g % H, job.inputs, x);
            outer_sums<T>(job, job.dw_hh[d], d, g, g, job.outputs, before);
        }
    }
}

#define INSTANTIATE(T)                                               \
    template void recurrent_pack<T>(const Recurrent&, i64, i64);     \
    template void recurrent<T>(const Recurrent&, i64, i64);          \
    template void recurrent_backward<T>(const Recurrent&, i64, i64); \
    template void recurrent_inputs<T>(const Recurrent&, i64, i64);   \
    template void recurrent_weights<T>(const Recurrent&, i64, i64);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace reference
}  // namespace fastnn
