# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""Ops on images and sequences: convolution, pooling, resampling. How an op is built stands in `_ops`."""
cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memcmp, memset

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, edge, grad_enabled, set_grad_enabled

import builtins

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

include "_ops_conv_pass.pxi"
include "_ops_conv.pxi"
include "_ops_pool.pxi"
include "_ops_resize.pxi"
