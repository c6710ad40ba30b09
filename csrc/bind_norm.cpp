// Batch, group, layer and RMS norm.
#include "bind_images.h"

namespace fastnn {
namespace bind {

constexpr double NORM_PASS = 0.5;  // nanoseconds an element of a whole call, about: what decides whether the GIL is kept

static void fill(const Array& x, double value) {
    for (i64 i = 0; i < x.size(); i++) {
        if (x.dtype() == F32)
            static_cast<float*>(x.data())[i] = float(value);
        else
            static_cast<double*>(x.data())[i] = value;
    }
}

// An array of this shape, or none where None was given.
static Array optional(const char* who, const char* name, py::handle given, const Array& like, int ndim,
                      const npy_intp* shape) {
    if (given.is_none()) return Array();
    const Array x = dense_input(who, name, given, &like);
    expect_shape(who, name, x, ndim, shape);
    return x;
}
static Array required(const char* who, const char* name, py::handle given, const Array& like, int ndim,
                      const npy_intp* shape) {
    const Array x = optional(who, name, given, like, ndim, shape);
    if (!x) refuse(PyExc_TypeError, "%s: %s is None; expected %s", who, name, shape_text(ndim, shape).c_str());
    return x;
}
static void* data_of(const Array& x) { return x ? x.data() : nullptr; }

static double checked_eps(const char* who, double eps) {
    if (!(eps >= 0)) refuse(PyExc_ValueError, "%s: eps is %S; expected at least 0", who, py::float_(eps).ptr());
    return eps;
}

// ---- batch and group norm ----

struct Columns {
    Array x, weight, bias;
    GroupNorm job = {};
    npy_intp statistics[2] = {0, 0};  // shape of mean, var and rstd: (groups), or (N, groups)
    int ndim = 1;
};

constexpr i64 BATCH_NORM = 0;  // in the place of the number of groups

static i64 checked_groups(const char* who, i64 groups) {
    if (groups < 1) refuse(PyExc_ValueError, "%s: groups is %zd; expected at least 1", who, Py_ssize_t(groups));
    return groups;
}

static Columns checked_columns(const char* who, py::handle x_in, py::handle weight, py::handle bias, i64 groups,
                               double eps) {
    Columns of;
    const Array any = input(who, "x", x_in);
    if (any.ndim() < 2) refuse(PyExc_ValueError, "%s: x is %s; expected (N, C, ...)", who, shape_text(any).c_str());
    of.x = images_input(who, "x", any.object(), any.ndim());
    const npy_intp channels = of.x.shape(1);
    const bool batch_norm = groups == BATCH_NORM;
    if (!batch_norm && channels % groups)
        refuse(PyExc_ValueError, "%s: groups is %zd; expected a divisor of the %zd channels of x", who,
               Py_ssize_t(groups), Py_ssize_t(channels));
    of.weight = optional(who, "weight", weight, of.x, 1, &channels);
    of.bias = optional(who, "bias", bias, of.x, 1, &channels);
    GroupNorm& job = of.job;
    job.x = of.x.data();
    job.weight = data_of(of.weight);
    job.bias = data_of(of.bias);
    job.cols = channels;
    job.groups = batch_norm ? channels : groups;
    job.rows = 1;
    for (int d = 2; d < of.x.ndim(); d++) job.rows *= of.x.shape(d);
    job.batch = of.x.shape(0);
    if (batch_norm) {
        job.rows *= job.batch;
        job.batch = 1;
    }
    job.eps = checked_eps(who, eps);
    of.ndim = batch_norm ? 1 : 2;
    of.statistics[0] = batch_norm ? channels : of.x.shape(0);
    of.statistics[1] = job.groups;
    return of;
}

static void check_done(const char* who, bool done) {
    if (!done) refuse(PyExc_MemoryError, "%s: no memory for partial results", who);
}

static py::tuple run_forward(const char* who, Columns& of, Array mean, Array var) {
    const DType dtype = of.x.dtype();
    const Array y = new_images(dtype, of.x.ndim(), of.x.shape()), rstd = empty(dtype, of.ndim, of.statistics);
    if (!mean) {
        mean = empty(dtype, of.ndim, of.statistics);
        var = empty(dtype, of.ndim, of.statistics);
    }
    of.job.y = y.data();
    of.job.mean = mean.data();
    of.job.var = var.data();
    of.job.rstd = rstd.data();
    if (of.x.size()) {
        bool done;
        {
            const LongWork unlocked(NORM_PASS * double(of.x.size()));
            done = runtime().group_norm(dtype, of.job);
        }
        check_done(who, done);
    } else {
        fill(rstd, Py_NAN);
        if (!of.job.constant) fill(mean, Py_NAN), fill(var, Py_NAN);
    }
    return py::make_tuple(y.object(), mean.object(), var.object(), rstd.object());
}

static py::tuple batch_norm(py::handle x, py::handle weight, py::handle bias, py::handle mean, py::handle var,
                            double eps, bool relu) {
    constexpr const char* who = "batch_norm";
    Columns of = checked_columns(who, x, weight, bias, BATCH_NORM, eps);
    if (mean.is_none() != var.is_none())
        refuse(PyExc_TypeError, "%s: only one of mean and var is given; expected both, or neither for those of x", who);
    of.job.relu = relu;
    of.job.constant = !mean.is_none();
    const Array given_mean = optional(who, "mean", mean, of.x, 1, of.statistics);
    return run_forward(who, of, given_mean, optional(who, "var", var, of.x, 1, of.statistics));
}

static py::tuple group_norm(py::handle x, i64 groups, py::handle weight, py::handle bias, double eps, bool relu) {
    Columns of = checked_columns("group_norm", x, weight, bias, checked_groups("group_norm", groups), eps);
    of.job.relu = relu;
    return run_forward("group_norm", of, Array(), Array());
}

static py::tuple run_backward(const char* who, Columns& of, py::handle dy_in, py::handle mean_in, py::handle rstd_in) {
    const DType dtype = of.x.dtype();
    const Array dy = images_input(who, "dy", dy_in, of.x.ndim(), &of.x);
    expect_shape(who, "dy", dy, of.x.ndim(), of.x.shape());
    const Array mean = required(who, "mean", mean_in, of.x, of.ndim, of.statistics);
    const Array rstd = required(who, "rstd", rstd_in, of.x, of.ndim, of.statistics);
    const npy_intp channels = of.x.shape(1);
    const Array dx = new_images(dtype, of.x.ndim(), of.x.shape());
    const Array dweight = empty(dtype, 1, &channels), dbias = empty(dtype, 1, &channels);
    GroupNorm& job = of.job;
    job.dy = dy.data();
    job.mean = mean.data();
    job.rstd = rstd.data();
    job.dx = dx.data();
    job.dweight = dweight.data();
    job.dbias = dbias.data();
    if (of.x.size()) {
        bool done;
        {
            const LongWork unlocked(NORM_PASS * double(of.x.size()));
            done = runtime().group_norm_backward(dtype, job);
        }
        check_done(who, done);
    } else {
        fill(dweight, 0), fill(dbias, 0);
    }
    return py::make_tuple(dx.object(), dweight.object(), dbias.object());
}

static py::tuple batch_norm_backward(py::handle dy, py::handle x, py::handle mean, py::handle rstd, py::handle weight,
                                     py::handle bias, bool relu, bool constant) {
    Columns of = checked_columns("batch_norm_backward", x, weight, bias, BATCH_NORM, 0);
    of.job.relu = relu;
    of.job.constant = constant;
    return run_backward("batch_norm_backward", of, dy, mean, rstd);
}

static py::tuple group_norm_backward(py::handle dy, py::handle x, py::handle mean, py::handle rstd, i64 groups,
                                     py::handle weight, py::handle bias, bool relu) {
    constexpr const char* who = "group_norm_backward";
    Columns of = checked_columns(who, x, weight, bias, checked_groups(who, groups), 0);
    of.job.relu = relu;
    return run_backward(who, of, dy, mean, rstd);
}

// ---- layer and RMS norm ----

static py::tuple row_norm(const char* who, bool rms, py::handle x_in, py::handle weight_in, py::handle bias_in,
                          py::handle residual_in, double eps) {
    const Array x = dense_input(who, "x", x_in);
    if (x.ndim() < 1) refuse(PyExc_ValueError, "%s: x has no dimensions; expected rows in the last one", who);
    const npy_intp cols = x.shape(-1);
    const Array weight = optional(who, "weight", weight_in, x, 1, &cols);
    const Array bias = optional(who, "bias", bias_in, x, 1, &cols);
    const Array residual = optional(who, "residual", residual_in, x, x.ndim(), x.shape());
    const Array y = empty(x.dtype(), x.ndim(), x.shape()), rstd = empty(x.dtype(), x.ndim() - 1, x.shape());
    const Array sum = residual ? empty(x.dtype(), x.ndim(), x.shape()) : Array();
    const Array mean = rms ? Array() : empty(x.dtype(), x.ndim() - 1, x.shape());
    RowNorm job = {};
    job.y = y.data();
    job.sum = data_of(sum);
    job.mean = data_of(mean);
    job.rstd = rstd.data();
    job.x = x.data();
    job.residual = data_of(residual);
    job.weight = data_of(weight);
    job.bias = data_of(bias);
    job.cols = cols;
    job.eps = checked_eps(who, eps);
    job.rms = rms;
    if (cols) {
        run(runtime().table[x.dtype()]->row_norm, job, x.size() / cols, NORM_PASS * double(cols));
    } else {
        fill(rstd, Py_NAN);
        if (mean) fill(mean, Py_NAN);
    }
    py::list out;
    out.append(y.object());
    if (residual) out.append(sum.object());
    if (mean) out.append(mean.object());
    out.append(rstd.object());
    return py::tuple(out);
}

static py::tuple row_norm_backward(const char* who, bool rms, py::handle dy_in, py::handle x_in, py::handle mean_in,
                                   py::handle rstd_in, py::handle weight_in, py::handle dsum_in) {
    const Array x = dense_input(who, "x", x_in);
    if (x.ndim() < 1) refuse(PyExc_ValueError, "%s: x has no dimensions; expected rows in the last one", who);
    const npy_intp cols = x.shape(-1);
    const Array dy = required(who, "dy", dy_in, x, x.ndim(), x.shape());
    const Array mean = rms ? Array() : required(who, "mean", mean_in, x, x.ndim() - 1, x.shape());
    const Array rstd = required(who, "rstd", rstd_in, x, x.ndim() - 1, x.shape());
    const Array weight = optional(who, "weight", weight_in, x, 1, &cols);
    const Array dsum = optional(who, "dsum", dsum_in, x, x.ndim(), x.shape());
    const Array dx = empty(x.dtype(), x.ndim(), x.shape()), dweight = empty(x.dtype(), 1, &cols);
    const Array dbias = rms ? Array() : empty(x.dtype(), 1, &cols);
    RowNorm job = {};
    job.dx = dx.data();
    job.dweight = dweight.data();
    job.dbias = data_of(dbias);
    job.x = x.data();
    job.dy = dy.data();
    job.mean = data_of(mean);
    job.rstd = rstd.data();
    job.weight = data_of(weight);
    job.dsum = data_of(dsum);
    job.cols = cols;
    job.rms = rms;
    if (x.size()) {
        job.rows = x.size() / cols;
        bool done;
        {
            const LongWork unlocked(NORM_PASS * double(x.size()));
            done = runtime().row_norm_backward(x.dtype(), job);
        }
        check_done(who, done);
    } else {
        fill(dweight, 0);
        if (dbias) fill(dbias, 0);
    }
    if (rms) return py::make_tuple(dx.object(), dweight.object());
    return py::make_tuple(dx.object(), dweight.object(), dbias.object());
}

// ---- the module ----

void bind_norm(py::module_& m) {
    const py::none none;
    m.def("batch_norm", batch_norm, py::arg("x"), py::arg("weight") = none, py::arg("bias") = none,
          py::arg("mean") = none, py::arg("var") = none, py::arg("eps") = 1e-5, py::arg("relu") = false);
    m.def("batch_norm_backward", batch_norm_backward, py::arg("dy"), py::arg("x"), py::arg("mean"), py::arg("rstd"),
          py::arg("weight") = none, py::arg("bias") = none, py::arg("relu") = false, py::arg("constant") = false);
    m.def("group_norm", group_norm, py::arg("x"), py::arg("groups"), py::arg("weight") = none, py::arg("bias") = none,
          py::arg("eps") = 1e-5, py::arg("relu") = false);
    m.def("group_norm_backward", group_norm_backward, py::arg("dy"), py::arg("x"), py::arg("mean"), py::arg("rstd"),
          py::arg("groups"), py::arg("weight") = none, py::arg("bias") = none, py::arg("relu") = false);
    m.def(
        "layer_norm",
        [](py::handle x, py::handle weight, py::handle bias, py::handle residual, double eps) {
            return row_norm("layer_norm", false, x, weight, bias, residual, eps);
        },
        py::arg("x"), py::arg("weight") = none, py::arg("bias") = none, py::arg("residual") = none,
        py::arg("eps") = 1e-5);
    m.def(
        "rms_norm",
        [](py::handle x, py::handle weight, py::handle residual, double eps) {
            return row_norm("rms_norm", true, x, weight, py::none(), residual, eps);
        },
        py::arg("x"), py::arg("weight") = none, py::arg("residual") = none, py::arg("eps") = 1e-5);
    m.def(
        "layer_norm_backward",
        [](py::handle dy, py::handle x, py::handle mean, py::handle rstd, py::handle weight, py::handle dsum) {
            return row_norm_backward("layer_norm_backward", false, dy, x, mean, rstd, weight, dsum);
        },
        py::arg("dy"), py::arg("x"), py::arg("mean"), py::arg("rstd"), py::arg("weight") = none,
        py::arg("dsum") = none);
    m.def(
        "rms_norm_backward",
        [](py::handle dy, py::handle x, py::handle rstd, py::handle weight, py::handle dsum) {
            return row_norm_backward("rms_norm_backward", true, dy, x, py::none(), rstd, weight, dsum);
        },
        py::arg("dy"), py::arg("x"), py::arg("rstd"), py::arg("weight") = none, py::arg("dsum") = none);
}

}  // namespace bind
}  // namespace fastnn
