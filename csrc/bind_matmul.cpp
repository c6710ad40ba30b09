// matmul: what stands between Python and the kernel is a few checks on the arrays' headers, because at 16^3 the product
// itself takes a tenth of a microsecond.
#include <stdlib.h>

#include <algorithm>

#include "bind.h"

namespace fastnn {
namespace bind {

constexpr const char* WHO = "matmul";

// Two elements of an array that are one in memory (as_strided, broadcast_to): fine to read, not to write.
static bool overlaps_itself(const Array& x) {
    std::pair<i64, i64> dims[NPY_MAXDIMS];  // stride, size
    int count = 0;
    for (int d = 0; d < x.ndim(); d++)
        if (x.shape(d) > 1) dims[count++] = {llabs(x.stride(d)), x.shape(d)};
    std::sort(dims, dims + count);
    i64 reach = 0;  // the furthest element of the dimensions so far
    for (int d = 0; d < count; d++) {
        if (dims[d].first <= reach) return true;
        reach += dims[d].first * (dims[d].second - 1);
    }
    return false;
}

// Broadcasts the leading dimensions of a (..., m, k) and b (..., k, n) to those of shape (..., m, n).
static void result_shape(const Array& a, const Array& b, int ndim, npy_intp* shape) {
    if (a.ndim() < 2 || b.ndim() < 2 || a.shape(-1) != b.shape(-2))
        refuse(PyExc_ValueError, "matmul: a is %s, b is %s; expected matrices with a.shape[-1] == b.shape[-2]",
               shape_text(a).c_str(), shape_text(b).c_str());
    for (int d = -3; d >= -ndim; d--) {
        const i64 a_n = d < -a.ndim() ? 1 : a.shape(d), b_n = d < -b.ndim() ? 1 : b.shape(d);
        if (a_n != b_n && a_n != 1 && b_n != 1)
            refuse(PyExc_ValueError, "matmul: a is %s, b is %s; the leading dimensions do not broadcast",
                   shape_text(a).c_str(), shape_text(b).c_str());
        shape[ndim + d] = a_n == 1 ? b_n : a_n;
    }
    shape[ndim - 2] = a.shape(-2);
    shape[ndim - 1] = b.shape(-1);
}

// The stride of dimension d (from the end) of the result in x: 0 where x is broadcast.
static i64 batch_stride(const Array& x, int d) { return d < -x.ndim() || x.shape(d) == 1 ? 0 : x.stride(d); }

// Outermost first; dimensions of one element are left out and neighbours that walk together are merged.
static void plan_batch(Matmul& job, const Array& a, const Array& b, const Array& c) {
    job.batch_ndim = 0;
    for (int d = -c.ndim(); d < -2; d++) {
        const i64 n = c.shape(d), a_s = batch_stride(a, d), b_s = batch_stride(b, d), c_s = c.stride(d);
        if (n == 1) continue;
        const int last = job.batch_ndim - 1;
        if (last >= 0 && job.a_batch[last] == a_s * n && job.b_batch[last] == b_s * n && job.c_batch[last] == c_s * n) {
            job.batch_shape[last] *= n;
        } else {
            if (++job.batch_ndim > MAX_DIMS)
                refuse(PyExc_ValueError, "matmul: a is %s, b is %s; more than %d leading dimensions that do not merge",
                       shape_text(a).c_str(), shape_text(b).c_str(), MAX_DIMS);
            job.batch_shape[last + 1] = n;
        }
        job.a_batch[job.batch_ndim - 1] = a_s;
        job.b_batch[job.batch_ndim - 1] = b_s;
        job.c_batch[job.batch_ndim - 1] = c_s;
    }
}

static Array given_result(py::handle out, DType dtype, int ndim, const npy_intp* shape) {
    const Array c = given_output(WHO, out, dtype, ndim, shape);
    if (c.size() == 0) return c;
    if (c.shape(-1) > 1 && c.stride(-1) != 1)
        refuse(PyExc_ValueError, "matmul: the last dimension of out is not contiguous");
    if (overlaps_itself(c)) refuse(PyExc_ValueError, "matmul: elements of out share memory");
    return c;
}

static py::object matmul(py::handle a_in, py::handle b_in, py::handle bias_in, py::handle activation, double alpha,
                         py::handle out, bool accumulate) {
    Array a = input(WHO, "a", a_in), b = input(WHO, "b", b_in, &a), bias;
    const int ndim = std::max(a.ndim(), b.ndim());
    npy_intp shape[NPY_MAXDIMS];
    result_shape(a, b, ndim, shape);
    Matmul job = {};
    job.m = shape[ndim - 2];
    job.n = shape[ndim - 1];
    job.k = a.shape(-1);
    if (!bias_in.is_none()) {
        bias = dense_input(WHO, "bias", bias_in, &a);
        if (bias.ndim() != 1 || bias.shape(0) != job.n)
            refuse(PyExc_ValueError, "matmul: bias is %s; expected (%zd,)", shape_text(bias).c_str(),
                   Py_ssize_t(job.n));
    }
    job.activation = unary_named(WHO, activation);
    job.alpha = alpha;
    job.accumulate = accumulate;
    if (accumulate && (out.is_none() || bias || job.activation != COPY))
        refuse(PyExc_ValueError, "matmul: accumulate adds to out and takes no bias and no activation");

    Array c;
    if (out.is_none()) {
        c = empty(a.dtype(), ndim, shape);
    } else {
        c = given_result(out, a.dtype(), ndim, shape);
        separate(a, c);
        separate(b, c);
        if (bias) separate(bias, c);
    }
    if (c.size() == 0) return c.object();
    plan_batch(job, a, b, c);
    job.c = c.data();
    job.a = a.data();
    job.b = b.data();
    job.bias = bias ? bias.data() : nullptr;
    job.c_row = c.stride(-2);
    job.a_row = a.stride(-2);
    job.a_col = a.stride(-1);
    job.b_row = b.stride(-2);
    job.b_col = b.stride(-1);
    bool done;
    {
        const LongWork unlocked(2.0 * double(c.size()) * double(job.k) / 100);  // ~100 flops a ns
        done = runtime().matmul(a.dtype(), job);
    }
    if (!done) refuse(PyExc_MemoryError, "matmul: no memory for %zd packed elements", Py_ssize_t(job.packed_size));
    return c.object();
}

void bind_matmul(py::module_& m) {
    m.def("matmul", matmul, py::arg("a"), py::arg("b"), py::arg("bias") = py::none(),
          py::arg("activation") = py::none(), py::arg("alpha") = 0.01, py::arg("out") = py::none(),
          py::arg("accumulate") = false);
}

}  // namespace bind
}  // namespace fastnn
