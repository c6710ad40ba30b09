// Scaled dot-product attention, forward and backward.
#include <math.h>

#include <algorithm>

#include "bind.h"

namespace fastnn {
namespace bind {

struct AttentionOptions {
    py::handle mask;
    bool causal;
    i64 diagonal;
    py::handle scale;
    double dropout;
    uint64_t seed, offset;
};

struct CheckedHeads {
    Array q, k, v;
    py::object mask;  // keeps it alive
    Attention job = {};
};

static AttentionView view_of(const Array& x) { return {x.stride(0), x.stride(1), x.stride(2)}; }

// (B, N, T, D) with neighbouring elements along D, copied where they are not.
static Array heads_input(const char* who, const char* name, py::handle given, const Array* like) {
    const Array x = input(who, name, given, like);
    if (x.ndim() != 4)
        refuse(PyExc_ValueError, "%s: %s is %s; expected (B, N, T, D)", who, name, shape_text(x).c_str());
    return x.stride(3) == 1 || x.shape(3) < 2 ? x : dense_input(who, name, given, like);
}

// A new (B, N, T, D) with the memory of (B, T, N, D), as a layer wants to see it next.
static Array new_heads(DType dtype, const npy_intp* shape) {
    const npy_intp memory[4] = {shape[0], shape[2], shape[1], shape[3]};
    const Array dense = empty(dtype, 4, memory);
    npy_intp order[4] = {0, 2, 1, 3};
    PyArray_Dims axes = {order, 4};
    PyObject* view = PyArray_Transpose(dense.get(), &axes);
    if (!view) throw py::error_already_set();
    return Array(view);
}

static void set_mask(const char* who, CheckedHeads& of, py::handle given) {
    if (given.is_none()) return;
    if (!PyArray_Check(given.ptr()))
        refuse(PyExc_TypeError, "%s: mask is %s; expected a NumPy array", who, Py_TYPE(given.ptr())->tp_name);
    Attention& job = of.job;
    job.mask_boolean = PyArray_TYPE(reinterpret_cast<PyArrayObject*>(given.ptr())) == NPY_BOOL;
    const Array mask = job.mask_boolean ? Array(py::reinterpret_borrow<py::object>(given).release().ptr())
                                        : input(who, "mask", given, &of.q);
    const npy_intp full[4] = {of.q.shape(0), of.q.shape(1), of.q.shape(2), of.k.shape(2)};
    i64* stride[4] = {&job.mask_batch, &job.mask_head, &job.mask_row, &job.mask_col};
    bool fits = mask.ndim() <= 4;
    for (int d = 0; fits && d < mask.ndim(); d++) {
        const int to = 4 - mask.ndim() + d;
        fits = mask.shape(d) == 1 || mask.shape(d) == full[to];
        *stride[to] = mask.shape(d) == 1 ? 0 : mask.stride(d);
    }
    if (!fits)
        refuse(PyExc_ValueError, "%s: mask is %s; expected what broadcasts to %s", who, shape_text(mask).c_str(),
               shape_text(4, full).c_str());
    job.mask = mask.data();
    of.mask = mask.object();
}

static double scale_of(const char* who, py::handle scale, i64 depth) {
    if (scale.is_none()) return 1 / sqrt(double(depth ? depth : 1));
    const double given = PyFloat_AsDouble(scale.ptr());
    if (given == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        refuse(PyExc_TypeError, "%s: scale is %R; expected a number or None", who, scale.ptr());
    }
    return given;
}

static CheckedHeads checked_heads(const char* who, py::handle q, py::handle k, py::handle v, const AttentionOptions& options) {
    CheckedHeads of;
    of.q = heads_input(who, "q", q, nullptr);
    of.k = heads_input(who, "k", k, &of.q);
    of.v = heads_input(who, "v", v, &of.q);
    const npy_intp batch = of.q.shape(0), heads = of.q.shape(1), shared = of.k.shape(1), depth = of.q.shape(3);
    if (heads != shared && (shared == 0 || heads == 0 || heads % shared))
        refuse(PyExc_ValueError, "%s: q has %zd heads, k has %zd; expected a multiple", who, heads, shared);
    const npy_intp k_shape[4] = {batch, shared, of.k.shape(2), depth};
    const npy_intp v_shape[4] = {batch, shared, of.k.shape(2), of.v.shape(3)};
    expect_shape(who, "k", of.k, 4, k_shape);
    expect_shape(who, "v", of.v, 4, v_shape);
    if (!(options.dropout >= 0 && options.dropout <= 1))
        refuse(PyExc_ValueError, "%s: dropout is %S; expected 0 to 1", who, py::float_(options.dropout).ptr());
    Attention& job = of.job;
    job.q = of.q.data(), job.k = of.k.data(), job.v = of.v.data();
    job.q_at = view_of(of.q), job.k_at = view_of(of.k), job.v_at = view_of(of.v);
    job.batch = batch, job.heads = heads, job.group = shared ? heads / shared : 1;
    job.queries = of.q.shape(2), job.keys = of.k.shape(2), job.depth = depth, job.width = of.v.shape(3);
    job.causal = options.causal, job.diagonal = std::clamp<i64>(options.diagonal, -job.queries, job.keys);
    job.scale = scale_of(who, options.scale, depth);
    job.dropout = options.dropout, job.seed = options.seed, job.offset = options.offset;
    set_mask(who, of, options.mask);
    return of;
}

template <class Run> static void run_unlocked(const char* who, Attention& job, Run runner) {
    bool done;
    {
        const double pairs = double(job.batch * job.heads) * double(job.queries) * double(job.keys);
        const LongWork unlocked(pairs * double(job.depth + 1) * 0.05);
        done = runner(job);
    }
    if (!done) refuse(PyExc_MemoryError, "%s: no memory for partial results", who);
}

static py::tuple attention(py::handle q, py::handle k, py::handle v, py::handle mask, bool causal, i64 diagonal,
                           py::handle scale, double dropout, uint64_t seed, uint64_t offset) {
    constexpr const char* who = "attention";
    CheckedHeads of = checked_heads(who, q, k, v, {mask, causal, diagonal, scale, dropout, seed, offset});
    const DType dtype = of.q.dtype();
    const npy_intp shape[4] = {of.q.shape(0), of.q.shape(1), of.q.shape(2), of.v.shape(3)};
    const npy_intp two_a_row[4] = {shape[0], shape[1], shape[2], 2};
    const Array out = new_heads(dtype, shape), stats = empty(dtype, 4, two_a_row);
    of.job.out = out.data(), of.job.out_at = view_of(out);
    of.job.stats = stats.data();
    run_unlocked(who, of.job, [dtype](Attention& job) { return runtime().attention(dtype, job); });
    return py::make_tuple(out.object(), stats.object());
}

static py::tuple attention_backward(py::handle dout_in, py::handle q, py::handle k, py::handle v, py::handle out_in,
                                    py::handle stats_in, py::handle mask, bool causal, i64 diagonal, py::handle scale,
                                    double dropout, uint64_t seed, uint64_t offset) {
    constexpr const char* who = "attention_backward";
    CheckedHeads of = checked_heads(who, q, k, v, {mask, causal, diagonal, scale, dropout, seed, offset});
    const DType dtype = of.q.dtype();
    const npy_intp shape[4] = {of.q.shape(0), of.q.shape(1), of.q.shape(2), of.v.shape(3)};
    const Array dout = heads_input(who, "dout", dout_in, &of.q), out = heads_input(who, "out", out_in, &of.q);
    const npy_intp two_a_row[4] = {shape[0], shape[1], shape[2], 2};
    const Array stats = dense_input(who, "stats", stats_in, &of.q);
    expect_shape(who, "dout", dout, 4, shape);
    expect_shape(who, "out", out, 4, shape);
    expect_shape(who, "stats", stats, 4, two_a_row);
    const Array dq = new_heads(dtype, of.q.shape()), dk = new_heads(dtype, of.k.shape()), dv = new_heads(dtype, of.v.shape());
    Attention& job = of.job;
    job.out = out.data(), job.dout = dout.data(), job.stats = stats.data();
    job.out_at = view_of(out), job.dout_at = view_of(dout);
    job.dq = dq.data(), job.dk = dk.data(), job.dv = dv.data();
    job.dq_at = view_of(dq), job.dk_at = view_of(dk), job.dv_at = view_of(dv);
    run_unlocked(who, job, [dtype](Attention& job) { return runtime().attention_backward(dtype, job); });
    return py::make_tuple(dq.object(), dk.object(), dv.object());
}

void bind_attention(py::module_& m) {
    const py::none none;
    m.def("attention", attention, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("mask") = none, py::arg("causal") = false,
          py::arg("diagonal") = 0, py::arg("scale") = none, py::arg("dropout") = 0.0, py::arg("seed") = 0,
          py::arg("offset") = 0);
    m.def("attention_backward", attention_backward, py::arg("dout"), py::arg("q"), py::arg("k"), py::arg("v"), py::arg("out"),
          py::arg("stats"), py::arg("mask") = none, py::arg("causal") = false, py::arg("diagonal") = 0, py::arg("scale") = none,
          py::arg("dropout") = 0.0, py::arg("seed") = 0, py::arg("offset") = 0);
}

}  // namespace bind
}  // namespace fastnn
