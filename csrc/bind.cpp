// The module fastnn._kernels: which instruction set runs, threads, memory, and (in bind_*.cpp) raw kernels as checked
// functions, NumPy in, NumPy out. Private: people use fastnn.kernels. Convolutions are not here, as many steps stand before a
// kernel of theirs: fastnn.kernels has them by way of the op. Embeddings and PReLU are ops only.
#define FASTNN_IMPORTS_NUMPY
#include "bind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace fastnn {
namespace bind {

// ---- checks ----

void refuse(PyObject* type, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    PyErr_FormatV(type, format, arguments);
    va_end(arguments);
    throw py::error_already_set();
}

std::string shape_text(int ndim, const npy_intp* shape) {
    std::string text = "(";
    for (int d = 0; d < ndim; d++) text += (d ? ", " : "") + std::to_string(shape[d]);
    return text + (ndim == 1 ? ",)" : ")");
}

std::string shape_text(const Array& x) { return shape_text(x.ndim(), x.shape()); }

void expect_shape(const char* who, const char* name, const Array& x, int ndim, const npy_intp* shape) {
    if (x.ndim() != ndim || !std::equal(shape, shape + ndim, x.shape()))
        refuse(PyExc_ValueError, "%s: %s is %s; expected %s", who, name, shape_text(x).c_str(),
               shape_text(ndim, shape).c_str());
}

static PyArrayObject* as_float_array(const char* who, const char* name, py::handle x, const Array* like) {
    if (!PyArray_Check(x.ptr()))
        refuse(PyExc_TypeError, "%s: %s is %s; expected a NumPy array", who, name, Py_TYPE(x.ptr())->tp_name);
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(x.ptr());
    const int type = PyArray_TYPE(array);
    if (type != NPY_FLOAT && type != NPY_DOUBLE)
        refuse(PyExc_TypeError, "%s: %s is %S; expected float32 or float64", who, name, PyArray_DESCR(array));
    if (like && type != PyArray_TYPE(like->get()))
        refuse(PyExc_TypeError, "%s: %s is %S; expected %S, as the first array", who, name, PyArray_DESCR(array),
               PyArray_DESCR(like->get()));
    return array;
}

static Array normalised(PyArrayObject* array, int requirements) {
    const int wanted = requirements | NPY_ARRAY_ALIGNED | NPY_ARRAY_NOTSWAPPED;
    if (PyArray_CheckExact(array) && PyArray_ISBEHAVED_RO(array) && PyArray_CHKFLAGS(array, requirements)) {
        Py_INCREF(array);
        return Array(reinterpret_cast<PyObject*>(array));
    }
    PyObject* copy =
        PyArray_FromArray(array, PyArray_DescrFromType(PyArray_TYPE(array)), wanted | NPY_ARRAY_ENSUREARRAY);
    if (!copy) throw py::error_already_set();
    return Array(copy);
}

Array input(const char* who, const char* name, py::handle x, const Array* like) {
    return normalised(as_float_array(who, name, x, like), 0);
}

Array dense_input(const char* who, const char* name, py::handle x, const Array* like) {
    return normalised(as_float_array(who, name, x, like), NPY_ARRAY_C_CONTIGUOUS);
}

Array integers(const char* who, const char* name, py::handle x) {
    if (!PyArray_Check(x.ptr()) || !PyArray_ISINTEGER(reinterpret_cast<PyArrayObject*>(x.ptr())))
        refuse(PyExc_TypeError, "%s: %s is %S; expected a NumPy array of integers", who, name,
               PyArray_Check(x.ptr()) ? reinterpret_cast<PyObject*>(PyArray_DESCR(reinterpret_cast<PyArrayObject*>(x.ptr())))
                                      : reinterpret_cast<PyObject*>(Py_TYPE(x.ptr())));
    PyObject* dense = PyArray_FromArray(reinterpret_cast<PyArrayObject*>(x.ptr()), PyArray_DescrFromType(NPY_INT64),
                                        NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST | NPY_ARRAY_ENSUREARRAY);
    if (!dense) throw py::error_already_set();
    return Array(dense);
}

Array empty(DType dtype, int ndim, const npy_intp* shape) {
    PyObject* fresh = PyArray_SimpleNew(ndim, const_cast<npy_intp*>(shape), dtype == F32 ? NPY_FLOAT : NPY_DOUBLE);
    if (!fresh) throw py::error_already_set();
    return Array(fresh);
}

Array given_output(const char* who, py::handle out, DType dtype, int ndim, const npy_intp* shape) {
    if (out.is_none()) return Array();
    PyArrayObject* array = as_float_array(who, "out", out, nullptr);
    if (PyArray_TYPE(array) != (dtype == F32 ? NPY_FLOAT : NPY_DOUBLE))
        refuse(PyExc_TypeError, "%s: out is %S; expected %s", who, PyArray_DESCR(array),
               dtype == F32 ? "float32" : "float64");
    if (PyArray_NDIM(array) != ndim || !std::equal(shape, shape + ndim, PyArray_DIMS(array)))
        refuse(PyExc_ValueError, "%s: out is %s; expected %s", who,
               shape_text(PyArray_NDIM(array), PyArray_DIMS(array)).c_str(), shape_text(ndim, shape).c_str());
    if (!PyArray_ISBEHAVED(array)) refuse(PyExc_ValueError, "%s: out is read-only, unaligned or byte-swapped", who);
    Py_INCREF(array);
    return Array(reinterpret_cast<PyObject*>(array));
}

Array dense_output(const char* who, py::handle out, DType dtype, int ndim, const npy_intp* shape) {
    Array given = given_output(who, out, dtype, ndim, shape);
    if (!given) return empty(dtype, ndim, shape);
    if (!PyArray_IS_C_CONTIGUOUS(given.get())) refuse(PyExc_ValueError, "%s: out is not C-contiguous", who);
    return given;
}

Array in_place(const char* who, const char* name, py::handle x, const Array* like) {
    PyArrayObject* array = as_float_array(who, name, x, like);
    if (!PyArray_ISCARRAY(array))
        refuse(PyExc_ValueError, "%s: an array of %s is read-only, unaligned, byte-swapped or not C-contiguous", who,
               name);
    Py_INCREF(array);
    return Array(reinterpret_cast<PyObject*>(array));
}

Extent extent(const Array& x) {
    const char* begin = static_cast<const char*>(x.data());
    const char* end = begin + PyArray_ITEMSIZE(x.get());
    for (int d = 0; d < x.ndim(); d++) {
        if (x.shape(d) == 0) return {begin, begin};
        const npy_intp reach = (x.shape(d) - 1) * PyArray_STRIDE(x.get(), d);
        (reach > 0 ? end : begin) += reach;
    }
    return {begin, end};
}

void separate(Array& x, const Array& out) {
    const Extent a = extent(x), b = extent(out);
    if (a.begin >= b.end || b.begin >= a.end) return;
    PyObject* copy = PyArray_NewCopy(x.get(), NPY_KEEPORDER);
    if (!copy) throw py::error_already_set();
    x = Array(copy);
}

// ---- instruction sets, threads, memory ----

static std::string names_that_run_here() {
    std::string names;
    for (int i = 0; i < ISA_COUNT; i++)
        if (ISAS[i].runs_here()) names += (names.empty() ? "" : ", ") + std::string(ISAS[i].name);
    return names;
}

static std::vector<std::string> names(bool all) {
    std::vector<std::string> list;
    for (int i = 0; i < ISA_COUNT; i++)
        if (all || ISAS[i].runs_here()) list.push_back(ISAS[i].name);
    return list;
}

static void use_isa_named(const std::string& name, const char* who) {
    const Isa* isa = find_isa(name.c_str());
    if (!isa || !isa->runs_here())
        throw std::invalid_argument(std::string(who) + " is '" + name + "'; what runs here is " +
                                    names_that_run_here());
    use_isa(*isa);
}

static void set_threads(i64 n) {
    if (n < 1) refuse(PyExc_ValueError, "set_num_threads: n is %lld; expected at least 1", static_cast<long long>(n));
    set_num_threads(int(std::min<i64>(n, 1 << 20)));
}

// An error here becomes an ImportError of the same words.
static void read_environment() {
    const char* isa = getenv("FASTNN_ISA");
    if (isa && *isa) use_isa_named(isa, "the environment variable FASTNN_ISA");
    const char* threads = getenv("FASTNN_NUM_THREADS");
    if (!threads || !*threads) return;
    char* end;
    errno = 0;
    const long n = strtol(threads, &end, 10);
    if (*end || errno || n < 1)
        throw std::invalid_argument("the environment variable FASTNN_NUM_THREADS is '" + std::string(threads) +
                                    "'; expected a whole number of at least 1");
    set_threads(n);
}

static py::dict memory_stats() {
    const ArenaStats s = arena_stats();
    py::dict stats;
    stats["in_use"] = s.in_use;
    stats["cached"] = s.cached;
    stats["peak"] = s.peak;
    stats["allocations"] = s.allocations;
    stats["from_system"] = s.from_system;
    return stats;
}

static py::list list_of(const std::vector<std::string>& names) {
    py::list list;
    for (const std::string& name : names) list.append(py::str(name));
    return list;
}

static void bind_runtime(py::module_& m) {
    m.attr("_runtime") = py::capsule(&runtime(), "fastnn._kernels._runtime");
    m.def("isas", [] { return list_of(names(false)); },
          R"(isas()

The names of the instruction sets whose kernels run on this machine, the best one first.

Examples
--------
>>> import fastnn as fnn
>>> fnn.kernels.isas()[-1]
'reference'
)");
    m.def("all_isas", [] { return list_of(names(true)); },
          R"(all_isas()

The names of the instruction sets that the kernels were compiled for, whether they run here or not.

Examples
--------
>>> import fastnn as fnn
>>> set(fnn.kernels.isas()) <= set(fnn.kernels.all_isas())
True
)");
    m.def("isa", [] { return current_isa()->name; },
          R"(isa()

The name of the instruction set whose kernels are in use; `FASTNN_ISA` or `use_isa` choose it.

Examples
--------
>>> import fastnn as fnn
>>> fnn.kernels.isa() in fnn.kernels.isas()
True
)");
    m.def("use_isa", [](const std::string& name) { use_isa_named(name, "use_isa: name"); }, py::arg("name"),
          R"(use_isa(name)

Uses the kernels of another instruction set from now on, in all threads; a ValueError if it does not run here.

Examples
--------
>>> import fastnn as fnn
>>> fnn.kernels.use_isa(fnn.kernels.isa())
)");
    m.def("set_num_threads", set_threads, py::arg("n"),
          R"(set_num_threads(n)

How many threads the kernels may use, the calling one among them; 1 or more, or a ValueError. Results are the same bits for
every number. `fastnn.threads(n)` does it for a block.

Examples
--------
>>> import fastnn as fnn
>>> fnn.set_num_threads(fnn.get_num_threads())
)");
    m.def("get_num_threads", num_threads,
          R"(get_num_threads()

How many threads the kernels may use: of `FASTNN_NUM_THREADS`, or `available_cpus()`, unless set otherwise.

Examples
--------
>>> import fastnn as fnn
>>> fnn.get_num_threads() >= 1
True
)");
    m.def("available_cpus", available_cpus,
          R"(available_cpus()

How many processors this process may use, by its affinity and the quota of its control group.

Examples
--------
>>> import fastnn as fnn
>>> fnn.available_cpus() >= 1
True
)");
    m.def("memory_stats", memory_stats,
          R"(memory_stats()

What the memory of tensors has done: bytes `in_use`, `cached` for the next ones and at the `peak`, the number of
`allocations` and how many of them were new memory `from_system`, none that had served before.

Examples
--------
>>> import fastnn as fnn
>>> sorted(fnn.memory_stats())
['allocations', 'cached', 'from_system', 'in_use', 'peak']
)");
    m.def("empty_cache", arena_trim,
          R"(empty_cache()

Gives the memory that no tensor uses back to the system.

Examples
--------
>>> import fastnn as fnn
>>> fnn.empty_cache()
)");
}

}  // namespace bind
}  // namespace fastnn

PYBIND11_MODULE(_kernels, m) {
    using namespace fastnn::bind;
    if (_import_array() < 0) throw py::error_already_set();
    m.doc() = "Compiled kernels and the run time under them. Private: use fastnn.kernels.";
    py::options options;
    options.disable_function_signatures();
    read_environment();
    bind_runtime(m);
    bind_elementwise(m);
    bind_rows(m);
    bind_matmul(m);
    bind_optimizers(m);
    bind_pool(m);
    bind_norm(m);
    bind_ctc(m);
    bind_recurrent(m);
    bind_attention(m);
}
