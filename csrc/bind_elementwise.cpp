// One Python function for every Unary and Binary of kernels.h. A new one is a line in a table.
#include <math.h>
#include <string.h>

#include <algorithm>

#include "bind.h"

namespace fastnn {
namespace bind {

struct UnaryName {
    int op;
    const char* name;
    const char* formula;
    double cost;   // nanoseconds an element, about: decides what is worth a thread
    double alpha;  // default of the parameter; NAN: has none
};

static const double NONE = NAN;

static const UnaryName UNARY[] = {
    {COPY, "copy", "x", 0.15, NONE},
    {NEG, "negative", "-x", 0.15, NONE},
    {ABS, "abs", "|x|", 0.15, NONE},
    {SIGN, "sign", "-1, 0 or 1; NaN for NaN", 0.15, NONE},
    {SQUARE, "square", "x ** 2", 0.15, NONE},
    {SQRT, "sqrt", "the square root of x", 0.3, NONE},
    {RECIPROCAL, "reciprocal", "1 / x", 0.3, NONE},
    {EXP, "exp", "e ** x", 0.4, NONE},
    {LOG, "log", "the natural logarithm of x", 0.5, NONE},
    {TANH, "tanh", "the hyperbolic tangent of x", 0.6, NONE},
    {SIGMOID, "sigmoid", "1 / (1 + exp(-x))", 0.6, NONE},
    {ERF, "erf", "the error function of x", 0.6, NONE},
    {RELU, "relu", "max(x, 0)", 0.15, NONE},
    {RELU6, "relu6", "min(max(x, 0), 6); NaN for NaN", 0.15, NONE},
    {LEAKY_RELU, "leaky_relu", "x where x > 0, else alpha * x", 0.15, 0.01},
    {ELU, "elu", "x where x > 0, else alpha * (exp(x) - 1)", 0.6, 1.0},
    {SOFTPLUS, "softplus", "log(1 + exp(x)), and x where x > 20", 0.9, NONE},
    {GELU, "gelu", "x * (1 + erf(x / sqrt(2))) / 2", 0.7, NONE},
    {GELU_TANH, "gelu_tanh", "x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x ** 3))) / 2", 0.7, NONE},
    {SILU, "silu", "x / (1 + exp(-x))", 0.6, NONE},
    {HARDSWISH, "hardswish", "x * min(max(x + 3, 0), 6) / 6", 0.2, NONE},
};
static_assert(sizeof(UNARY) / sizeof(UNARY[0]) == UNARY_OPS, "a Unary has no name");

struct BinaryName {
    int op;
    const char* name;
    const char *first, *second;  // argument names: a, b; in a gradient dy, and what was saved of the forward
    const char* formula;
    double cost, alpha;
};

static const BinaryName BINARY[] = {
    {ADD, "add", "a", "b", "a + b", 0.2, NONE},
    {SUB, "subtract", "a", "b", "a - b", 0.2, NONE},
    {MUL, "multiply", "a", "b", "a * b", 0.2, NONE},
    {DIV, "divide", "a", "b", "a / b", 0.3, NONE},
    {MAXIMUM, "maximum", "a", "b", "the larger of a and b; NaN if either is", 0.2, NONE},
    {MINIMUM, "minimum", "a", "b", "the smaller of a and b; NaN if either is", 0.2, NONE},
    {CLAMP, "clamp", "a", "b", "a limited to [b, alpha]; NaN if a or b is", 0.2, INFINITY},
    {TANH_GRAD, "tanh_grad", "dy", "y", "dy * (1 - y ** 2), y = tanh(x)", 0.2, NONE},
    {SIGMOID_GRAD, "sigmoid_grad", "dy", "y", "dy * y * (1 - y), y = sigmoid(x)", 0.2, NONE},
    {ERF_GRAD, "erf_grad", "dy", "x", "dy * 2 / sqrt(pi) * exp(-x ** 2)", 0.5, NONE},
    {RELU_GRAD, "relu_grad", "dy", "x", "dy where x > 0, else 0; x may be the output", 0.2, NONE},
    {RELU6_GRAD, "relu6_grad", "dy", "x", "dy where 0 < x < 6, else 0; x may be the output", 0.2, NONE},
    {LEAKY_RELU_GRAD, "leaky_relu_grad", "dy", "x", "dy where x > 0, else alpha * dy", 0.2, 0.01},
    {ELU_GRAD, "elu_grad", "dy", "x", "dy where x > 0, else dy * alpha * exp(x)", 0.6, 1.0},
    {SOFTPLUS_GRAD, "softplus_grad", "dy", "x", "dy * sigmoid(x)", 0.6, NONE},
    {GELU_GRAD, "gelu_grad", "dy", "x", "dy * (cdf(x) + x * pdf(x)) of the normal distribution", 1.0, NONE},
    {GELU_TANH_GRAD, "gelu_tanh_grad", "dy", "x", "dy times the slope of gelu_tanh at x", 1.0, NONE},
    {SILU_GRAD, "silu_grad", "dy", "x", "dy * s * (1 + x * (1 - s)), s = sigmoid(x)", 0.8, NONE},
    {HARDSWISH_GRAD, "hardswish_grad", "dy", "x", "dy * (x / 3 + 1 / 2) where -3 < x < 3, 0 below, dy above", 0.2, NONE},
    {ABS_GRAD, "abs_grad", "dy", "x", "dy * sign(x)", 0.2, NONE},
};
static_assert(sizeof(BINARY) / sizeof(BINARY[0]) == BINARY_OPS, "a Binary has no name");

int unary_named(const char* who, py::handle name) {
    if (name.is_none()) return COPY;
    const char* text = PyUnicode_Check(name.ptr()) ? PyUnicode_AsUTF8(name.ptr()) : nullptr;
    if (text)
        for (const UnaryName& row : UNARY)
            if (strcmp(row.name, text) == 0) return row.op;
    PyErr_Clear();
    refuse(text ? PyExc_ValueError : PyExc_TypeError,
           "%s: activation is %R; expected None or the name of a unary kernel, as 'relu'", who, name.ptr());
}

// Strides in elements that walk x along the last dimensions of a result with `ndim` of them; 0 where x is broadcast.
static void broadcast_strides(const Array& x, int ndim, i64* stride) {
    const int missing = ndim - x.ndim();
    for (int d = 0; d < ndim; d++) stride[d] = d < missing || x.shape(d - missing) == 1 ? 0 : x.stride(d - missing);
}

static Array new_like(const Array& x) {  // its shape and the order of its strides
    PyObject* fresh = PyArray_NewLikeArray(x.get(), NPY_KEEPORDER, nullptr, 0);
    if (!fresh) throw py::error_already_set();
    return Array(fresh);
}

// With the shape and strides of out, so that all dimensions merge.
static Array broadcast_copy(const Array& x, const Array& out) {
    Array copy = new_like(out);
    if (PyArray_CopyInto(copy.get(), x.get()) < 0) throw py::error_already_set();
    return copy;
}

static void compute(KernelOf<Elementwise> kernel, double cost, Array a, Array b, double alpha, const Array& out) {
    const i64 size = out.size();
    if (size == 0) return;
    Elementwise job;
    i64 shape[NPY_MAXDIMS], out_stride[NPY_MAXDIMS], a_stride[NPY_MAXDIMS], b_stride[NPY_MAXDIMS];
    const auto plan = [&] {
        const int ndim = out.ndim();
        for (int d = 0; d < ndim; d++) {
            shape[d] = out.shape(d);
            out_stride[d] = out.stride(d);
        }
        broadcast_strides(a, ndim, a_stride);
        if (b) broadcast_strides(b, ndim, b_stride);
        return plan_elementwise(job, ndim, shape, out_stride, a_stride, b ? b_stride : nullptr);
    };
    if (!plan()) {  // too many dimensions that do not merge: dense copies do
        a = broadcast_copy(a, out);
        if (b) b = broadcast_copy(b, out);
        plan();
    }
    job.out = out.data();
    job.a = a.data();
    job.b = b ? b.data() : nullptr;
    job.alpha = alpha;
    run(kernel, job, size, cost);
}

static py::object unary(const UnaryName& row, py::handle x, double alpha, py::handle out) {
    Array a = input(row.name, "x", x);
    Array result;
    if (out.is_none()) {
        result = new_like(a);
    } else {
        result = dense_output(row.name, out, a.dtype(), a.ndim(), a.shape());
        separate(a, result);
    }
    compute(runtime().table[a.dtype()]->unary[row.op], row.cost, a, Array(), alpha, result);
    return result.object();
}

static bool same_shape(const Array& x, int ndim, const npy_intp* shape) {
    return x.ndim() == ndim && std::equal(shape, shape + ndim, x.shape());
}

static py::object binary(const BinaryName& row, py::handle first, py::handle second, double alpha, py::handle out) {
    Array a = input(row.name, row.first, first);
    Array b = input(row.name, row.second, second, &a);
    const int ndim = std::max(a.ndim(), b.ndim());
    npy_intp shape[NPY_MAXDIMS];
    for (int d = -1; d >= -ndim; d--) {
        const i64 a_n = d < -a.ndim() ? 1 : a.shape(d), b_n = d < -b.ndim() ? 1 : b.shape(d);
        if (a_n != b_n && a_n != 1 && b_n != 1)
            refuse(PyExc_ValueError, "%s: %s is %s, %s is %s; these do not broadcast", row.name, row.first,
                   shape_text(a).c_str(), row.second, shape_text(b).c_str());
        shape[ndim + d] = a_n == 1 ? b_n : a_n;
    }
    Array result;
    if (!out.is_none()) {
        result = dense_output(row.name, out, a.dtype(), ndim, shape);
        separate(a, result);
        separate(b, result);
    } else if (same_shape(a, ndim, shape)) {
        result = new_like(a);
    } else if (same_shape(b, ndim, shape)) {
        result = new_like(b);
    } else {
        result = empty(a.dtype(), ndim, shape);
    }
    compute(runtime().table[a.dtype()]->binary[row.op], row.cost, a, b, alpha, result);
    return result.object();
}

static std::string documentation(const std::string& signature, const char* formula, const std::string& arrays,
                                 bool has_alpha) {
    return signature + "\n\n" + formula + ", element by element.\n\nParameters\n----------\n" + arrays +
           (has_alpha ? "alpha : float\n    The slope, scale or limit in the formula.\n" : "") +
           "out : ndarray, optional\n    C-contiguous, of the result's shape and type; written and returned.\n\n"
           "Returns\n-------\nndarray\n    Of the inputs' type.\n\n"
           "Raises\n------\nTypeError\n    For anything but NumPy arrays of float32 or float64, all of one type.\n"
           "ValueError\n    Where the shapes do not fit, or `out` cannot be written.\n";
}

static void bind_unary(py::module_& m, const UnaryName& row) {
    const bool has_alpha = row.alpha == row.alpha;
    const std::string signature = std::string(row.name) + (has_alpha ? "(x, alpha, out=None)" : "(x, out=None)");
    const std::string doc =
        documentation(signature, row.formula, "x : ndarray\n    Of any shape and strides.\n", has_alpha);
    if (has_alpha)
        m.def(
            row.name, [&row](py::handle x, double alpha, py::handle out) { return unary(row, x, alpha, out); },
            doc.c_str(), py::arg("x"), py::arg("alpha") = row.alpha, py::arg("out") = py::none());
    else
        m.def(
            row.name, [&row](py::handle x, py::handle out) { return unary(row, x, 0, out); }, doc.c_str(), py::arg("x"),
            py::arg("out") = py::none());
}

static void bind_binary(py::module_& m, const BinaryName& row) {
    const bool has_alpha = row.alpha == row.alpha;
    const std::string names = std::string(row.first) + ", " + row.second;
    const std::string signature =
        std::string(row.name) + "(" + names + (has_alpha ? ", alpha, out=None)" : ", out=None)");
    const std::string doc = documentation(
        signature, row.formula, names + " : ndarray\n    Of shapes that broadcast; any strides.\n", has_alpha);
    if (has_alpha)
        m.def(
            row.name,
            [&row](py::handle a, py::handle b, double alpha, py::handle out) { return binary(row, a, b, alpha, out); },
            doc.c_str(), py::arg(row.first), py::arg(row.second), py::arg("alpha") = row.alpha,
            py::arg("out") = py::none());
    else
        m.def(
            row.name, [&row](py::handle a, py::handle b, py::handle out) { return binary(row, a, b, 0, out); },
            doc.c_str(), py::arg(row.first), py::arg(row.second), py::arg("out") = py::none());
}

void bind_elementwise(py::module_& m) {
    for (const UnaryName& row : UNARY) bind_unary(m, row);
    for (const BinaryName& row : BINARY) bind_binary(m, row);
}

}  // namespace bind
}  // namespace fastnn
