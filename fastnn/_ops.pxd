# What the families of ops share: the Tensor, and the functions that take one apart and make a new one. `_ops` defines all of
# it; `_ops_images`, `_ops_norm` ... are modules of their own only so that a change compiles in seconds (all in one took two
# minutes).
cimport numpy as cnp
from cpython.ref cimport PyObject

from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value

ctypedef cnp.ndarray ndarray
ctypedef cnp.npy_intp npy_intp


cdef extern from *:
    # Numpy's own declaration wants an object where null is meant.
    ndarray new_ndarray "(PyArrayObject*)PyArray_New"(
        PyTypeObject* type, int nd, const npy_intp* dims, int type_num, const npy_intp* strides, void* data,
        int itemsize, int flags, PyObject* obj)
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject PyArray_Type
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)  # borrowed


cdef class Block:
    cdef void* memory


cdef class PackedWeight:
    cdef ndarray array
    cdef void* memory           # of a product; null until then
    cdef void* conv[CONV_WAYS]  # of a convolution, by ConvWay
    cdef i64 conv_geometry[8]   # the one they were made for
    cdef object conv_numbers    # the arguments of a convolution, read (_ops_conv_pass.pxi)
    cdef const Kernels* table   # the kernels that packed it: another row packs otherwise
    cdef object recurrent       # of a recurrent layer's w_ih: all of the layer's weights (_ops_recurrent)


cdef class Tensor(Value):
    cdef ndarray array
    cdef PackedWeight packed  # of a frozen leaf


cdef class AddNode(Node):
    cdef tuple backward(self, Value dy)


# arrays
cdef int kind(ndarray a) noexcept
cdef bint dense(ndarray a) noexcept
cdef bint same_shape(ndarray a, ndarray b) noexcept
cdef tuple shape_of(ndarray a)
cdef ndarray new_array(int nd, const npy_intp* dims, int type_num, const npy_intp* strides=*)
cdef ndarray contiguous(ndarray a)
cdef ndarray copy_of(ndarray a)
cdef ndarray new_images(int nd, const npy_intp* dims, int type_num)
cdef ndarray channels_last(ndarray a)
cdef void run(RangeFunction kernel, const void* job, i64 items, double cost) noexcept
cdef ndarray unary_array(int op, ndarray a, double alpha=*)
cdef ndarray spent(Value dy)

# tensors
cdef Tensor wrap(ndarray array)
cdef bint recorded(Tensor a) noexcept
cdef bint recorded_pair(Tensor a, Tensor b) noexcept
cdef bint number(object x)
cdef Tensor cast(Tensor x, int type_num)
cdef Tensor floating(object x)
cdef Tensor contiguous_tensor(Tensor x)
cdef Tensor scaled_sum(Tensor x, unsigned long long mask, bint keepdim, double scale)
cdef Tensor with_number(int op, Tensor x, double s, bint reverse)
cdef Tensor fused(int op, Value dy, ndarray saved, double alpha=*)
cdef Tensor activated(int act, Tensor x)
cdef Tensor limited(int act, Tensor x)
cdef Tensor passing(int act, ndarray y)
cdef bint limits(int act) noexcept
cdef int slope_kernel(int activation) noexcept

# arguments
cdef object whole(str name, object n)
cdef tuple sizes(object shape)
cdef object either(object dim, object axis)
cdef int common_type(ndarray a, ndarray b) noexcept
cdef object shapes(Tensor a, Tensor b)
cdef int activation_of(str name, object activation) except -1
cdef i64 count_of(ndarray x, unsigned long long mask) noexcept

# products
cdef ndarray product(ndarray a, bint at, ndarray b, bint bt)
cdef PackedWeight usable_packed(Tensor w)

# ops
cpdef Tensor as_tensor(data, dtype=*)
cpdef Tensor add(a, b)
cpdef Tensor sub(a, b)
cpdef Tensor mul(a, b)
cpdef Tensor matmul(a, b)
cpdef Tensor linear(x, weight, bias=*, activation=*)
cpdef Tensor exp(x)
cpdef Tensor square(x)
cpdef Tensor rsqrt(x)
cpdef Tensor tanh(x)
cpdef Tensor sigmoid(x)
cpdef Tensor relu(x, inplace=*)
cpdef Tensor softmax(x, dim=*, dtype=*)
cpdef Tensor where(condition, a, b)
cpdef Tensor dropout(x, double p=*, bint training=*, inplace=*)
cpdef Tensor reshape(x, shape)
cpdef Tensor permute(x, dims)
cpdef Tensor transpose(x, int dim0, int dim1)
cpdef Tensor squeeze(x, dim=*)
cpdef Tensor unsqueeze(x, int dim)
cpdef Tensor stack(tensors, int dim=*)
cpdef tuple unbind(x, int dim=*)

# random numbers
cdef object randomness()
