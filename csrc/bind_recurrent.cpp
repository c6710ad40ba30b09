// RNN, GRU and LSTM over whole sequences, with the weights of one or two directions along the first dimension.
#include <string.h>

#include <vector>

#include "bind.h"

namespace fastnn {
namespace bind {

static const char* const CELLS[] = {"rnn_tanh", "rnn_relu", "lstm", "gru"};

static int cell_named(const char* name) {
    for (int cell = 0; cell < 4; cell++)
        if (strcmp(name, CELLS[cell]) == 0) return cell;
    refuse(PyExc_ValueError, "recurrent: unknown cell '%s'", name);
}

// A layer's arrays, all checked; the job points into them.
struct Layer {
    const char* who;
    Array x, w_ih, w_hh, b_ih, b_hh, w_hr, h0, c0;
    std::vector<i64> start;
    Recurrent job = {};

    static constexpr i64 ANY = -1;

    Array checked(const char* name, py::handle given, std::vector<npy_intp> shape) const {
        if (given.is_none()) return Array();
        const Array a = dense_input(who, name, given, &x);
        expect_shape(who, name, a, int(shape.size()), shape.data());
        return a;
    }
    Array state(const char* name, py::handle given, i64 width) const {
        const npy_intp shape[3] = {job.directions, job.batch, width};
        if (!given.is_none()) return checked(name, given, {shape[0], shape[1], shape[2]});
        const Array zeros = empty(x.dtype(), 3, shape);
        memset(zeros.data(), 0, size_t(PyArray_NBYTES(zeros.get())));
        return zeros;
    }
    const void* of(const Array& a, i64 direction) const {
        if (!a) return nullptr;
        return static_cast<char*>(a.data()) + direction * PyArray_NBYTES(a.get()) / (job.directions ? job.directions : 1);
    }
    i64 item() const { return x.dtype() == F32 ? 4 : 8; }
    i64 rows() const { return start.back(); }
    double nanoseconds() const {
        const double products = double(job.gates * job.units) * double(job.inputs + job.outputs) * double(job.directions);
        return 2.0 * double(rows()) * products / 50;
    }

    void take_steps(py::handle batch_sizes) {
        start.push_back(0);
        if (batch_sizes.is_none()) {
            if (x.ndim() != 3) refuse(PyExc_ValueError, "%s: x is %s; expected (T, B, I)", who, shape_text(x).c_str());
            job.batch = x.shape(1);
            for (i64 t = 0; t < x.shape(0); t++) start.push_back((t + 1) * job.batch);
        } else {
            const Array sizes = integers(who, "batch_sizes", batch_sizes);
            const i64* n = static_cast<const i64*>(sizes.data());
            if (sizes.ndim() != 1) refuse(PyExc_ValueError, "%s: batch_sizes has %d dimensions; expected 1", who, sizes.ndim());
            const i64 most = x.ndim() == 2 ? x.shape(0) : 0;
            job.batch = sizes.size() ? n[0] : 0;
            for (i64 t = 0; t < sizes.size(); t++) {
                if (n[t] < 1 || n[t] > most || (t && n[t] > n[t - 1]))
                    refuse(PyExc_ValueError, "%s: batch_sizes must be at least 1, not grow, and count the rows of x", who);
                start.push_back(start.back() + n[t]);
            }
            if (x.ndim() != 2 || x.shape(0) != rows())
                refuse(PyExc_ValueError, "%s: x is %s; expected (%zd, I), the rows that batch_sizes count", who,
                       shape_text(x).c_str(), Py_ssize_t(rows()));
        }
        job.steps = i64(start.size()) - 1;
        job.start = start.data();
    }

    Layer(const char* name, py::handle x_in, py::sequence weights, py::handle h0_in, py::handle c0_in, py::handle batch_sizes)
        : who(name) {
        job.cell = cell_named(name);
        job.gates = job.cell == LSTM ? 4 : job.cell == GRU ? 3 : 1;
        x = dense_input(who, "x", x_in);
        if (x.ndim() < 2) refuse(PyExc_ValueError, "%s: x is %s; expected (T, B, I)", who, shape_text(x).c_str());
        take_steps(batch_sizes);
        job.inputs = x.shape(-1);
        w_ih = dense_input(who, "weight_ih", weights[0], &x);
        const bool three = w_ih.ndim() == 3 && (w_ih.shape(0) == 1 || w_ih.shape(0) == 2);
        if (!three || w_ih.shape(1) % job.gates || w_ih.shape(2) != job.inputs)
            refuse(PyExc_ValueError, "%s: weight_ih is %s; expected (1 or 2, %zd * H, %zd)", who, shape_text(w_ih).c_str(),
                   Py_ssize_t(job.gates), Py_ssize_t(job.inputs));
        job.directions = w_ih.shape(0);
        job.units = job.outputs = w_ih.shape(1) / job.gates;
        const npy_intp D = job.directions, wide = job.gates * job.units;
        if (!weights[4].is_none()) {
            w_hr = dense_input(who, "weight_hr", weights[4], &x);
            job.outputs = w_hr.ndim() == 3 && job.cell == LSTM ? w_hr.shape(1) : ANY;
            w_hr = checked("weight_hr", weights[4], {D, job.outputs, job.units});
        }
        w_hh = checked("weight_hh", weights[1], {D, wide, job.outputs});
        if (!w_hh) refuse(PyExc_TypeError, "%s: weight_hh is None", who);
        b_ih = checked("bias_ih", weights[2], {D, wide}), b_hh = checked("bias_hh", weights[3], {D, wide});
        h0 = state("h0", h0_in, job.outputs);
        if (job.cell == LSTM) c0 = state("c0", c0_in, job.units);
        for (i64 d = 0; d < D; d++) {
            job.w_ih[d] = of(w_ih, d), job.w_hh[d] = of(w_hh, d), job.w_hr[d] = of(w_hr, d);
            job.b_ih[d] = of(b_ih, d), job.b_hh[d] = of(b_hh, d);
        }
        job.x = x.data(), job.h0 = h0.data(), job.c0 = c0 ? c0.data() : nullptr;
    }

    Array rows_of(i64 width) const {
        const npy_intp shape[3] = {job.directions, rows(), width};
        return empty(x.dtype(), 3, shape);
    }
    Array like_output() const {
        npy_intp shape[3] = {x.shape(0), x.shape(1), 0};
        shape[x.ndim() - 1] = job.directions * job.outputs;
        return empty(x.dtype(), x.ndim(), shape);
    }
    Array like_state(i64 width) const {
        const npy_intp shape[3] = {job.directions, job.batch, width};
        return empty(x.dtype(), 3, shape);
    }
};

static py::object or_none(const Array& a) { return a ? a.object() : py::none(); }

// y, h_n, c_n, and with `keep` what the backward reads.
static py::tuple recurrent(const char* cell, py::handle x, py::sequence weights, py::handle h0, py::handle c0,
                           py::handle batch_sizes, bool keep) {
    Layer layer(cell, x, weights, h0, c0, batch_sizes);
    Recurrent& job = layer.job;
    const Array y = layer.like_output(), h_n = layer.like_state(job.outputs);
    Array c_n, kept, c, hidden;
    if (job.cell == LSTM) c_n = layer.like_state(job.units);
    if (keep && job.cell >= LSTM) kept = layer.rows_of(recurrent_row(job.cell, job.units, layer.item()));
    if (keep && job.cell == LSTM) c = layer.rows_of(job.units);
    if (keep && layer.w_hr) hidden = layer.rows_of(job.units);
    const auto data = [](const Array& a) { return a ? a.data() : nullptr; };
    job.y = y.data(), job.h_n = h_n.data(), job.c_n = data(c_n);
    job.kept = data(kept), job.c = data(c), job.hidden = data(hidden);
    void* packed = nullptr;
    bool done;
    {
        const LongWork unlocked(layer.nanoseconds());
        done = runtime().recurrent(layer.x.dtype(), job, packed);
        release(packed);
    }
    if (!done) refuse(PyExc_MemoryError, "%s: no memory", cell);
    return py::make_tuple(y.object(), h_n.object(), or_none(c_n), or_none(kept), or_none(c), or_none(hidden));
}

// dx, dweight_ih, dweight_hh, dbias_ih, dbias_hh, dweight_hr, dh0, dc0.
static py::tuple recurrent_backward(const char* cell, py::sequence gradients, py::sequence saved, py::handle x,
                                    py::sequence weights, py::handle h0, py::handle c0, py::handle batch_sizes) {
    Layer layer(cell, x, weights, h0, c0, batch_sizes);
    Recurrent& job = layer.job;
    const npy_intp D = job.directions, H = job.units, P = job.outputs, N = layer.rows(), wide = job.gates * H;
    const npy_intp row = recurrent_row(job.cell, H, layer.item());
    std::vector<npy_intp> y_shape(layer.x.shape(), layer.x.shape() + layer.x.ndim());
    y_shape.back() = D * P;
    const auto needed = [&](const char* name, py::handle given, std::vector<npy_intp> shape, bool there) {
        if (there && given.is_none()) refuse(PyExc_TypeError, "%s: %s is None", cell, name);
        return there ? layer.checked(name, given, shape) : Array();
    };
    const Array y = needed("y", saved[0], y_shape, true), kept = needed("kept", saved[1], {D, N, row}, job.cell >= LSTM);
    const Array c = needed("c", saved[2], {D, N, H}, job.cell == LSTM);
    const Array hidden = needed("hidden", saved[3], {D, N, H}, bool(layer.w_hr));
    const Array dy = layer.checked("dy", gradients[0], y_shape), dh_n = layer.checked("dh_n", gradients[1], {D, job.batch, P});
    const Array dc_n = job.cell == LSTM ? layer.checked("dc_n", gradients[2], {D, job.batch, H}) : Array();
    const auto like = [&](const Array& a) { return a ? empty(a.dtype(), a.ndim(), a.shape()) : Array(); };
    const npy_intp bias_shape[2] = {D, wide};
    const Array dx = like(layer.x), dh0 = like(layer.h0), dc0 = like(layer.c0);
    const Array dw_ih = like(layer.w_ih), dw_hh = like(layer.w_hh), dw_hr = like(layer.w_hr);
    const Array db_ih = empty(layer.x.dtype(), 2, bias_shape), db_hh = empty(layer.x.dtype(), 2, bias_shape);
    const auto data = [](const Array& a) { return a ? a.data() : nullptr; };
    job.y = y.data(), job.kept = data(kept), job.c = data(c), job.hidden = data(hidden);
    job.dy = data(dy), job.dh_n = data(dh_n), job.dc_n = data(dc_n);
    job.dx = dx.data(), job.dh0 = dh0.data(), job.dc0 = data(dc0);
    for (i64 d = 0; d < D; d++) {
        job.dw_ih[d] = const_cast<void*>(layer.of(dw_ih, d)), job.dw_hh[d] = const_cast<void*>(layer.of(dw_hh, d));
        job.db_ih[d] = const_cast<void*>(layer.of(db_ih, d)), job.db_hh[d] = const_cast<void*>(layer.of(db_hh, d));
        job.dw_hr[d] = const_cast<void*>(layer.of(dw_hr, d));
    }
    bool done;
    {
        const LongWork unlocked(2 * layer.nanoseconds());
        done = runtime().recurrent_backward(layer.x.dtype(), job);
    }
    if (!done) refuse(PyExc_MemoryError, "%s: no memory", cell);
    return py::make_tuple(dx.object(), dw_ih.object(), dw_hh.object(), db_ih.object(), db_hh.object(), or_none(dw_hr),
                          dh0.object(), or_none(dc0));
}

void bind_recurrent(py::module_& m) {
    m.def("recurrent", recurrent, py::arg("cell"), py::arg("x"), py::arg("weights"), py::arg("h0"), py::arg("c0"),
          py::arg("batch_sizes"), py::arg("keep"));
    m.def("recurrent_backward", recurrent_backward, py::arg("cell"), py::arg("gradients"), py::arg("saved"), py::arg("x"),
          py::arg("weights"), py::arg("h0"), py::arg("c0"), py::arg("batch_sizes"));
}

}  // namespace bind
}  // namespace fastnn
