// Reductions, softmax and its relatives, cross-entropy, dropout.
#include <algorithm>

#include "bind.h"

namespace fastnn {
namespace bind {

constexpr double PASS = 0.15, EXP_PASS = 0.5;  // nanoseconds an element, about

// ---- reductions ----

struct ReductionName {
    int op;
    const char* name;
};
static const ReductionName REDUCTION[] = {
    {SUM, "sum"}, {SUM_SQUARES, "sum_squares"}, {MAX, "max"}, {MIN, "min"}, {PROD, "prod"},
};
static_assert(sizeof(REDUCTION) / sizeof(REDUCTION[0]) == REDUCTIONS, "a Reduction has no name");

static int checked_axis(const char* who, py::handle axis, int ndim) {
    const Py_ssize_t d = PyNumber_AsSsize_t(axis.ptr(), PyExc_ValueError);
    if (d == -1 && PyErr_Occurred()) throw py::error_already_set();
    if (d < -ndim || d >= ndim) refuse(PyExc_ValueError, "%s: axis is %zd; x has %d dimensions", who, d, ndim);
    return int(d < 0 ? d + ndim : d);
}

static py::object reduce(const ReductionName& row, py::handle x_in, py::handle axis, double scale) {
    const Array x = dense_input(row.name, "x", x_in);
    npy_intp shape[NPY_MAXDIMS];
    int ndim = 0;
    Reduce job = {nullptr, x.data(), 1, x.size(), 1, scale};
    if (!axis.is_none()) {
        const int at = checked_axis(row.name, axis, x.ndim());
        job.n = x.shape(at);
        for (int d = 0; d < x.ndim(); d++) {
            if (d == at) continue;
            shape[ndim++] = x.shape(d);
            (d < at ? job.outer : job.inner) *= x.shape(d);
        }
    }
    const Array out = empty(x.dtype(), ndim, shape);
    if (out.size() == 0) return out.object();
    job.out = out.data();
    bool done;
    {
        const LongWork unlocked(PASS * double(x.size()));
        done = runtime().reduce(x.dtype(), row.op, job);
    }
    if (!done) refuse(PyExc_MemoryError, "%s: no memory for partial results", row.name);
    return out.object();
}

// ---- rows ----

static Rows checked_rows(const char* who, const Array& x) {
    if (x.ndim() < 1) refuse(PyExc_ValueError, "%s: the arrays have no dimensions; expected rows in the last one", who);
    return {nullptr, x.data(), nullptr, x.shape(-1)};
}

static void run_rows(KernelOf<Rows> kernel, const Rows& job, i64 size) {
    if (size) run(kernel, job, size / job.cols, EXP_PASS * 2 * double(job.cols));
}

typedef KernelOf<Rows> Kernels::* RowKernel;

static py::object forward(const char* who, RowKernel kernel, py::handle x_in, py::handle out) {
    Array x = dense_input(who, "x", x_in);
    checked_rows(who, x);
    const Array y = dense_output(who, out, x.dtype(), x.ndim(), x.shape());
    separate(x, y);
    Rows job = checked_rows(who, x);
    job.y = y.data();
    run_rows(runtime().table[x.dtype()]->*kernel, job, y.size());
    return y.object();
}

static py::object backward(const char* who, RowKernel kernel, py::handle dy_in, py::handle y_in, py::handle out) {
    Array dy = dense_input(who, "dy", dy_in), y = dense_input(who, "y", y_in, &dy);
    if (dy.ndim() != y.ndim() || !std::equal(dy.shape(), dy.shape() + dy.ndim(), y.shape()))
        refuse(PyExc_ValueError, "%s: dy is %s, y is %s; expected equal shapes", who, shape_text(dy).c_str(),
               shape_text(y).c_str());
    checked_rows(who, y);
    const Array dx = dense_output(who, out, dy.dtype(), dy.ndim(), dy.shape());
    separate(dy, dx);
    separate(y, dx);
    Rows job = checked_rows(who, y);
    job.y = dx.data();
    job.dy = dy.data();
    run_rows(runtime().table[dy.dtype()]->*kernel, job, dx.size());
    return dx.object();
}

// ---- cross-entropy ----

struct CrossEntropyArrays {
    Array x, target, weight;  // (rows, cols), (rows), (cols) or null
    CrossEntropy job = {};
    i64 rows = 0;
};

static CrossEntropyArrays checked_cross_entropy(const char* who, py::handle x_in, py::handle target_in,
                                                py::handle weight_in, i64 ignore_index, double label_smoothing) {
    CrossEntropyArrays arrays;
    Array& x = arrays.x = dense_input(who, "x", x_in);
    if (x.ndim() != 2) refuse(PyExc_ValueError, "%s: x is %s; expected (rows, classes)", who, shape_text(x).c_str());
    const Array& target = arrays.target = integers(who, "target", target_in);
    if (target.ndim() != 1 || target.shape(0) != x.shape(0))
        refuse(PyExc_ValueError, "%s: target is %s; expected (%zd,), one class for each row of x", who,
               shape_text(target).c_str(), Py_ssize_t(x.shape(0)));
    if (!weight_in.is_none()) {
        const Array& weight = arrays.weight = dense_input(who, "weight", weight_in, &x);
        if (weight.ndim() != 1 || weight.shape(0) != x.shape(1))
            refuse(PyExc_ValueError, "%s: weight is %s; expected (%zd,), one for each class", who,
                   shape_text(weight).c_str(), Py_ssize_t(x.shape(1)));
    }
    if (!(label_smoothing >= 0 && label_smoothing <= 1))
        refuse(PyExc_ValueError, "%s: label_smoothing is %S; expected 0 to 1", who, py::float_(label_smoothing).ptr());
    const i64* classes = static_cast<const i64*>(target.data());
    for (i64 r = 0; r < x.shape(0); r++)
        if (classes[r] != ignore_index && (classes[r] < 0 || classes[r] >= x.shape(1)))
            refuse(PyExc_ValueError, "%s: target[%zd] is %zd; expected 0 <= target < %zd, or ignore_index %zd", who,
                   Py_ssize_t(r), Py_ssize_t(classes[r]), Py_ssize_t(x.shape(1)), Py_ssize_t(ignore_index));
    arrays.rows = x.shape(0);
    arrays.job.x = x.data();
    arrays.job.target = classes;
    arrays.job.weight = arrays.weight ? arrays.weight.data() : nullptr;
    arrays.job.cols = x.shape(1);
    arrays.job.ignore_index = ignore_index;
    arrays.job.label_smoothing = label_smoothing;
    return arrays;
}

static py::tuple cross_entropy(py::handle x, py::handle target, py::handle weight, i64 ignore_index,
                               double label_smoothing) {
    CrossEntropyArrays arrays =
        checked_cross_entropy("cross_entropy", x, target, weight, ignore_index, label_smoothing);
    const DType dtype = arrays.x.dtype();
    const npy_intp rows = arrays.rows;
    const Array loss = empty(dtype, 1, &rows), lse = empty(dtype, 1, &rows);
    arrays.job.loss = loss.data();
    arrays.job.lse = lse.data();
    run(runtime().table[dtype]->cross_entropy, arrays.job, rows, EXP_PASS * double(arrays.job.cols));
    return py::make_tuple(loss.object(), lse.object());
}

static py::object cross_entropy_backward(py::handle dloss_in, py::handle lse_in, py::handle x, py::handle target,
                                         py::handle weight, i64 ignore_index, double label_smoothing) {
    constexpr const char* who = "cross_entropy_backward";
    CrossEntropyArrays arrays = checked_cross_entropy(who, x, target, weight, ignore_index, label_smoothing);
    const Array dloss = dense_input(who, "dloss", dloss_in, &arrays.x),
                lse = dense_input(who, "lse", lse_in, &arrays.x);
    if (lse.ndim() != 1 || lse.shape(0) != arrays.rows)
        refuse(PyExc_ValueError, "%s: lse is %s; expected (%zd,)", who, shape_text(lse).c_str(),
               Py_ssize_t(arrays.rows));
    if (dloss.ndim() > 1 || (dloss.size() != 1 && dloss.size() != arrays.rows))
        refuse(PyExc_ValueError, "%s: dloss is %s; expected () or (%zd,)", who, shape_text(dloss).c_str(),
               Py_ssize_t(arrays.rows));
    const Array dx = empty(arrays.x.dtype(), 2, arrays.x.shape());
    if (dx.size() == 0) return dx.object();
    arrays.job.lse = lse.data();
    arrays.job.dloss = dloss.data();
    arrays.job.dloss_stride = dloss.size() == 1 ? 0 : 1;
    arrays.job.dx = dx.data();
    run(runtime().table[arrays.x.dtype()]->cross_entropy_backward, arrays.job, arrays.rows,
        EXP_PASS * double(arrays.job.cols));
    return dx.object();
}

// ---- dropout ----

static py::object dropout(py::handle x_in, double p, uint64_t seed, uint64_t offset, py::handle out) {
    if (!(p >= 0 && p <= 1)) refuse(PyExc_ValueError, "dropout: p is %S; expected 0 to 1", py::float_(p).ptr());
    Array x = dense_input("dropout", "x", x_in);
    const Array y = dense_output("dropout", out, x.dtype(), x.ndim(), x.shape());
    separate(x, y);
    const Dropout job = {y.data(), x.data(), p, seed, offset};
    run(runtime().table[x.dtype()]->dropout, job, y.size(), 1.0);
    return y.object();
}

static py::object dropout_mask(py::handle out, double p, uint64_t seed, uint64_t offset) {
    if (!(p >= 0 && p <= 1)) refuse(PyExc_ValueError, "dropout_mask: p is %S; expected 0 to 1", py::float_(p).ptr());
    const Array y = in_place("dropout_mask", "out", out);
    const Dropout job = {y.data(), nullptr, p, seed, offset};
    run(runtime().table[y.dtype()]->dropout, job, y.size(), 1.0);
    return y.object();
}

// ---- the module ----

static void bind_forward(py::module_& m, const char* name, RowKernel kernel) {
    m.def(
        name, [name, kernel](py::handle x, py::handle out) { return forward(name, kernel, x, out); }, py::arg("x"),
        py::arg("out") = py::none());
}

static void bind_backward(py::module_& m, const char* name, RowKernel kernel) {
    m.def(
        name,
        [name, kernel](py::handle dy, py::handle y, py::handle out) { return backward(name, kernel, dy, y, out); },
        py::arg("dy"), py::arg("y"), py::arg("out") = py::none());
}

void bind_rows(py::module_& m) {
    for (const ReductionName& row : REDUCTION)
        m.def(
            row.name, [&row](py::handle x, py::handle axis, double scale) { return reduce(row, x, axis, scale); },
            py::arg("x"), py::arg("axis") = py::none(), py::arg("scale") = 1.0);
    bind_forward(m, "softmax", &Kernels::softmax);
    bind_forward(m, "log_softmax", &Kernels::log_softmax);
    bind_backward(m, "softmax_backward", &Kernels::softmax_backward);
    bind_backward(m, "log_softmax_backward", &Kernels::log_softmax_backward);
    m.def("cross_entropy", cross_entropy, py::arg("x"), py::arg("target"), py::arg("weight") = py::none(),
          py::arg("ignore_index") = -100, py::arg("label_smoothing") = 0.0);
    m.def("cross_entropy_backward", cross_entropy_backward, py::arg("dloss"), py::arg("lse"), py::arg("x"),
          py::arg("target"), py::arg("weight") = py::none(), py::arg("ignore_index") = -100,
          py::arg("label_smoothing") = 0.0);
    m.def("dropout", dropout, py::arg("x"), py::arg("p"), py::arg("seed"), py::arg("offset") = 0,
          py::arg("out") = py::none());
    m.def("dropout_mask", dropout_mask, py::arg("out"), py::arg("p"), py::arg("seed"), py::arg("offset") = 0);
}

}  // namespace bind
}  // namespace fastnn
