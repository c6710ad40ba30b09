# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""Rows of a table by number. Reading and summing what was read back are each other's backward. How an op is built stands in
`_ops`."""
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, edge

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")


cdef ndarray read_rows(ndarray table, ndarray index):
    """table (rows, cols), index (...) in [0, rows) -> (..., cols)."""
    cdef EmbeddingJob job
    cdef npy_intp shape[32]
    cdef int d, nd = cnp.PyArray_NDIM(index)
    memset(&job, 0, sizeof(job))
    for d in range(nd):
        shape[d] = cnp.PyArray_DIM(index, d)
    shape[nd] = cnp.PyArray_DIM(table, 1)
    table = contiguous(table)
    cdef ndarray out = new_array(nd + 1, shape, cnp.PyArray_TYPE(table))
    job.out, job.in_ = cnp.PyArray_DATA(out), cnp.PyArray_DATA(table)
    job.index = <const i64*>cnp.PyArray_DATA(index)
    job.cols = shape[nd]
    run(<RangeFunction>runtime.table[kind(table)].embedding, &job, cnp.PyArray_SIZE(index), 5 + 0.1 * job.cols)
    return out


cdef ndarray sum_readers(ndarray dy, ndarray index, npy_intp rows, i64 padding):
    """dy (..., cols), index (...) -> (rows, cols): the sum of what read each row, in order; zero for `padding`."""
    cdef EmbeddingJob job
    cdef npy_intp shape[2]
    cdef npy_intp count = cnp.PyArray_SIZE(index), i
    cdef ndarray first = np.zeros(rows + 1, np.int64), readers = np.empty(count, np.int64), at
    cdef const i64* wanted = <const i64*>cnp.PyArray_DATA(index)
    cdef i64* next_
    memset(&job, 0, sizeof(job))
    np.cumsum(np.bincount(index.reshape(-1), minlength=rows), out=first[1:])
    at = first.copy()
    next_ = <i64*>cnp.PyArray_DATA(at)
    for i in range(count):
        (<i64*>cnp.PyArray_DATA(readers))[next_[wanted[i]]] = i
        next_[wanted[i]] += 1
    dy = contiguous(dy)
    shape[0], shape[1] = rows, cnp.PyArray_DIM(dy, cnp.PyArray_NDIM(dy) - 1)
    cdef ndarray out = new_array(2, shape, cnp.PyArray_TYPE(dy))
    job.out, job.in_ = cnp.PyArray_DATA(out), cnp.PyArray_DATA(dy)
    job.first, job.readers = <const i64*>cnp.PyArray_DATA(first), <const i64*>cnp.PyArray_DATA(readers)
    job.cols, job.padding = shape[1], padding
    run(<RangeFunction>runtime.table[kind(dy)].embedding_backward, &job, rows,
        5 + 0.1 * job.cols * (1.0 + count / (<double>rows if rows else 1.0)))
    return out


cdef class EmbeddingNode(Node):
    """saved is (index, rows of the table, padding)."""
    cdef tuple backward(self, Value dy):
        index, rows, padding = self.saved
        return (readers_sum(<Tensor>dy, index, rows, padding),)


cdef class ReadersNode(Node):
    """saved is (index, padding)."""
    cdef tuple backward(self, Value dy):
        cdef Tensor g = <Tensor>dy
        index, padding = self.saved
        if padding >= 0:
            keep = np.ones((cnp.PyArray_DIM(g.array, 0), 1), g.array.dtype)
            keep[padding] = 0
            g = g * wrap(keep)
        return (rows_of(g, index, -1),)


cdef Tensor rows_of(Tensor table, ndarray index, i64 padding):
    cdef EmbeddingNode node
    cdef Tensor out = wrap(read_rows(table.array, index))
    if recorded(table):
        node = EmbeddingNode.__new__(EmbeddingNode)
        node.saved = (index, cnp.PyArray_DIM(table.array, 0), padding)
        attach(out, node, (edge(table),))
    return out


cdef Tensor readers_sum(Tensor dy, ndarray index, npy_intp rows, i64 padding):
    cdef ReadersNode node
    cdef Tensor out = wrap(sum_readers(dy.array, index, rows, padding))
    if recorded(dy):
        node = ReadersNode.__new__(ReadersNode)
        node.saved = (index, padding)
        attach(out, node, (edge(dy),))
    return out


cpdef Tensor embedding(input, weight, padding_idx=None):
    """The rows of a table that are named by number.

    Parameters
    ----------
    input : integer Tensor (...)
        Each in [0, V).
    weight : Tensor (V, D)
    padding_idx : int, optional
        A row that gets no gradient; negative counts from the end.

    Returns
    -------
    Tensor (..., D)

    Raises
    ------
    TypeError
        If input is not of integers.
    IndexError
        If a number is no row of the table.
    ValueError
        If weight is not (V, D), or padding_idx no row of it.

    Notes
    -----
    The gradient of a row is the sum over all that read it, in the order of input: the same bits each time.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.embedding(fnn.tensor([2, 0]), fnn.tensor([[1.0], [2.0], [3.0]]))
    tensor([[3.],
            [1.]])
    """
    cdef Tensor table = floating(weight)
    cdef ndarray index
    cdef i64 padding = -1
    cdef npy_intp rows, i
    cdef const i64* p
    if cnp.PyArray_NDIM(table.array) != 2:
        raise ValueError(f"embedding: weight is {shape_of(table.array)}; expected (rows, columns)")
    given = np.asarray((<Tensor>input).array if isinstance(input, Tensor) else input)
    if given.dtype.kind not in "iu" and given.size:
        raise TypeError(f"embedding: input must be integers, got {given.dtype}")
    if given.ndim > 31:
        raise ValueError(f"embedding: input has {given.ndim} dimensions; expected at most 31")
    index = np.array(given, np.int64, order="C")  # a copy: the backward needs it again
    rows = cnp.PyArray_DIM(table.array, 0)
    p = <const i64*>cnp.PyArray_DATA(index)
    for i in range(cnp.PyArray_SIZE(index)):
        if p[i] < 0 or p[i] >= rows:
            raise IndexError(f"embedding: input holds {p[i]}; expected 0 to {rows - 1}, the rows of weight")
    if padding_idx is not None:
        padding = whole("embedding: padding_idx", padding_idx)
        if not -rows <= padding < rows:
            raise ValueError(f"embedding: padding_idx is {padding}; expected a row of weight {shape_of(table.array)}")
        padding += rows if padding < 0 else 0
    return rows_of(table, index, padding)
