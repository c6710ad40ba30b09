# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""Every operation on tensors: its forward and, beside it, the node with its backward. One family per included file.

An op works in three steps: bring the arguments to tensors of one dtype, compute an array (by a kernel, by NumPy where
there is none), and, when recording is on and an input needs a gradient, attach a node. A backward is written with the
same ops on tensors, so that it is recorded in its turn under ``create_graph``; where a fused gradient kernel exists, it
is used when nothing is recorded.

Arrays inside a Tensor are aligned and in native byte order; their strides may be anything. A float array that is dense
in any order of its dimensions is as good as a C-contiguous one: element-wise ops keep the order.
"""
cimport cython
cimport numpy as cnp
from cpython.buffer cimport PyObject_GetBuffer
from cpython.number cimport PyNumber_AsSsize_t as as_size
from cpython.object cimport Py_EQ, Py_GE, Py_GT, Py_LE, Py_LT, Py_NE
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, PyObject
from libc.math cimport INFINITY, sqrt as c_sqrt
from libc.string cimport memcmp, memset

from fastnn._runtime cimport *
from fastnn._tape cimport (
    Counter, Node, Value, attach, bump_version, edge, grad_enabled, run_backward, set_grad_enabled, share_version,
    version,
)

import builtins
from weakref import ref

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

include "_ops_array.pxi"
include "_ops_frozen.pxi"
include "_ops_tensor.pxi"
include "_ops_inplace.pxi"
include "_ops_make.pxi"
include "_ops_arithmetic.pxi"
include "_ops_unary.pxi"
include "_ops_activation.pxi"
include "_ops_compare.pxi"
include "_ops_shape.pxi"
include "_ops_join.pxi"
include "_ops_index.pxi"
include "_ops_reduce_array.pxi"
include "_ops_reduce.pxi"
include "_ops_matmul.pxi"
include "_ops_einsum.pxi"
include "_ops_loss.pxi"
include "_ops_pad.pxi"
include "_ops_random.pxi"
include "_ops_function.pxi"
include "_ops_optimizer.pxi"
include "_ops_numpy.pxi"
include "_ops_call.pxi"
