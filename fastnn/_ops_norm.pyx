# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""Ops that normalise: batch, group and instance norm over channels, layer and RMS norm along rows. How an op is built stands in
`_ops`."""
cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, bump_version, edge, grad_enabled, version

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

include "_ops_group_norm.pxi"
include "_ops_row_norm.pxi"
