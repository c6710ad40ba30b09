#include "bind_images.h"

namespace fastnn {
namespace bind {

// Strides in bytes, outermost memory first: N, the spatial dimensions, C. Unsigned: a size that no array has goes round.
static void channels_last_strides(int ndim, const npy_intp* shape, npy_uintp size, npy_intp* strides) {
    strides[1] = size;
    size *= shape[1] ? shape[1] : 1;
    for (int d = ndim - 1; d > 1; d--) {
        strides[d] = size;
        size *= shape[d] ? shape[d] : 1;
    }
    strides[0] = size;
}

static bool is_channels_last(const Array& x) {
    npy_intp strides[NPY_MAXDIMS];
    channels_last_strides(x.ndim(), x.shape(), PyArray_ITEMSIZE(x.get()), strides);
    for (int d = 0; d < x.ndim(); d++)
        if (x.shape(d) > 1 && PyArray_STRIDE(x.get(), d) != strides[d]) return false;
    return true;
}

Array new_images(DType dtype, int ndim, const npy_intp* shape) {
    npy_intp strides[NPY_MAXDIMS], bytes = dtype == F32 ? 4 : 8;
    for (int d = 0; d < ndim; d++)
        if (__builtin_mul_overflow(bytes, shape[d] ? shape[d] : 1, &bytes))
            refuse(PyExc_MemoryError, "an array of shape %s is too large", shape_text(ndim, shape).c_str());
    channels_last_strides(ndim, shape, dtype == F32 ? 4 : 8, strides);
    PyObject* fresh = PyArray_New(&PyArray_Type, ndim, const_cast<npy_intp*>(shape), dtype == F32 ? NPY_FLOAT : NPY_DOUBLE,
                                  strides, nullptr, 0, NPY_ARRAY_F_CONTIGUOUS, nullptr);
    if (!fresh) throw py::error_already_set();
    return Array(fresh);
}

Array images_input(const char* who, const char* name, py::handle x_in, int ndim, const Array* like) {
    Array x = input(who, name, x_in, like);
    if (x.ndim() != ndim)
        refuse(PyExc_ValueError, "%s: %s is %s; expected %s", who, name, shape_text(x).c_str(),
               ndim == 4 ? "(N, C, H, W)" : ndim == 3 ? "(N, C, L)" : "images of (N, C, ...)");
    if (is_channels_last(x)) return x;
    Array copy = new_images(x.dtype(), ndim, x.shape());
    if (PyArray_CopyInto(copy.get(), x.get()) < 0) throw py::error_already_set();
    return copy;
}

}  // namespace bind
}  // namespace fastnn
