# Rows of sequences, packed and padded: a row is taken or put once, so that both ways are copies.

cdef class TakeRowsNode(Node):
    """saved: (rows, n)"""
    cdef tuple backward(self, Value dy):
        return (put_rows(dy, self.saved[0], self.saved[1]),)


cpdef Tensor take_rows(x, ndarray rows):
    """x[rows] for x (n, ...) and int64 rows, none of them twice."""
    cdef Tensor t = as_tensor(x), out
    cdef Node node
    cdef npy_intp[64] dims
    cdef int d, nd = cnp.PyArray_NDIM(t.array)
    for d in range(nd):
        dims[d] = cnp.PyArray_DIM(t.array, d)
    dims[0] = cnp.PyArray_SIZE(rows)
    out = wrap(new_array(nd, dims, cnp.PyArray_TYPE(t.array)))
    if dims[0]:
        np.take(t.array, rows, 0, out.array, "clip")  # a mode other than "raise" writes without a buffer between
    if recorded(t):
        node = TakeRowsNode.__new__(TakeRowsNode)
        node.saved = (rows, cnp.PyArray_DIM(t.array, 0))
        attach(out, node, (edge(t),))
    return out


cdef class PutRowsNode(Node):
    cdef tuple backward(self, Value dy):
        return (take_rows(dy, self.saved),)


cpdef Tensor put_rows(x, ndarray rows, npy_intp n, object value=0):
    """(n, ...) of x at rows and value elsewhere: the inverse of take_rows."""
    cdef Tensor t = as_tensor(x), out
    cdef Node node
    cdef npy_intp[64] dims
    cdef int d, nd = cnp.PyArray_NDIM(t.array)
    for d in range(nd):
        dims[d] = cnp.PyArray_DIM(t.array, d)
    dims[0] = n
    out = wrap(new_array(nd, dims, cnp.PyArray_TYPE(t.array)))
    if value == 0:
        memset(cnp.PyArray_DATA(out.array), 0, cnp.PyArray_NBYTES(out.array))
    else:
        out.array.fill(value)
    out.array[rows] = t.array
    if recorded(t):
        node = PutRowsNode.__new__(PutRowsNode)
        node.saved = rows
        attach(out, node, (edge(t),))
    return out
