// What every binding needs: NumPy arrays checked and normalised once at the door, so that nothing a caller passes can
// make a kernel read or write where it should not.
#pragma once
#include <Python.h>
#include <pybind11/pybind11.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL fastnn_numpy
#ifndef FASTNN_IMPORTS_NUMPY  // bind.cpp fills NumPy's function table, the others use it
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include <unistd.h>

#include <string>

#include "dispatch.h"

namespace fastnn {
namespace bind {

namespace py = pybind11;

// A float32 or float64 array, aligned, in native byte order: its strides are whole elements.
class Array {
public:
    Array() = default;
    Array(PyObject* owned) : array_(py::reinterpret_steal<py::object>(owned)) {}

    PyArrayObject* get() const { return reinterpret_cast<PyArrayObject*>(array_.ptr()); }
    py::object object() const { return array_; }
    explicit operator bool() const { return bool(array_); }

    void* data() const { return PyArray_DATA(get()); }
    DType dtype() const { return PyArray_TYPE(get()) == NPY_FLOAT ? F32 : F64; }
    int ndim() const { return PyArray_NDIM(get()); }
    const npy_intp* shape() const { return PyArray_DIMS(get()); }
    i64 shape(int d) const { return PyArray_DIM(get(), d < 0 ? d + ndim() : d); }
    i64 stride(int d) const { return PyArray_STRIDE(get(), d < 0 ? d + ndim() : d) / PyArray_ITEMSIZE(get()); }
    i64 size() const { return PyArray_SIZE(get()); }

private:
    py::object array_;
};

// Raises an exception of the given type with a printf-style message (PyErr_Format's).
[[noreturn]] void refuse(PyObject* type, const char* format, ...);
std::string shape_text(int ndim, const npy_intp* shape);
std::string shape_text(const Array& x);
void expect_shape(const char* who, const char* name, const Array& x, int ndim, const npy_intp* shape);  // else a ValueError

// `who` is the function and `name` the argument, for messages. Anything but a float32 or float64 array is a TypeError;
// swapped or unaligned arrays are copied. `like`: the array whose type x must have.
Array input(const char* who, const char* name, py::handle x, const Array* like = nullptr);
// The same, copied unless C-contiguous.
Array dense_input(const char* who, const char* name, py::handle x, const Array* like = nullptr);
Array integers(const char* who, const char* name, py::handle x);  // int64, C-contiguous

// A new C-contiguous array.
Array empty(DType dtype, int ndim, const npy_intp* shape);

// `out` where it is given, refused unless it is a writeable array of this type and shape; else null.
Array given_output(const char* who, py::handle out, DType dtype, int ndim, const npy_intp* shape);
// The same, C-contiguous, or a new array.
Array dense_output(const char* who, py::handle out, DType dtype, int ndim, const npy_intp* shape);

// A whole array is changed in place: C-contiguous, writeable, and of the type of `like`.
Array in_place(const char* who, const char* name, py::handle x, const Array* like = nullptr);

struct Extent {
    const char *begin, *end;  // the bytes from the first to the last element
};
Extent extent(const Array& x);

// Copies x if it may share memory with out: a kernel reads its inputs after it has written outputs.
void separate(Array& x, const Array& out);

// The GIL is kept for work shorter than what giving it up and taking it back may cost.
class LongWork {
public:
    explicit LongWork(double nanoseconds) : state_(nanoseconds > 20e3 ? PyEval_SaveThread() : nullptr) {}
    // At the interpreter's exit Python before 3.14 ends a thread that wants the GIL back by unwinding it, which would end the
    // process here, and drop references without the GIL above: the thread waits for the end instead, as from 3.14 on.
    ~LongWork() {
        if (!state_) return;
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) ::pause();
        }
    }
    LongWork(const LongWork&) = delete;
    LongWork& operator=(const LongWork&) = delete;

private:
    PyThreadState* state_;
};

template <class Job> void run(KernelOf<Job> kernel, const Job& job, i64 items, double cost) {
    const LongWork unlocked(double(items) * cost);
    launch(kernel, job, items, cost);
}

int unary_named(const char* who, py::handle name);  // the Unary of an activation's name; None is COPY

void bind_elementwise(py::module_& m);
void bind_rows(py::module_& m);  // reductions, softmax, cross-entropy, dropout
void bind_matmul(py::module_& m);
void bind_optimizers(py::module_& m);
void bind_pool(py::module_& m);  // pooling and resampling of images
void bind_norm(py::module_& m);
void bind_ctc(py::module_& m);
void bind_recurrent(py::module_& m);
void bind_attention(py::module_& m);

}  // namespace bind
}  // namespace fastnn
