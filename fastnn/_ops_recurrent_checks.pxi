# What a recurrent layer is given: shapes, types, lengths of sequences, and the states it starts from by default.

cdef refuse(str name, str what, ndarray got, object wanted):
    raise ValueError(f"{name}: {what} is {shape_of(got)}; expected {wanted}")


cdef int check_shapes(str name, int cell, tuple inputs, i64 batch, bint single) except -1:
    """Every array against x (..., I) and the first w_ih (gates * H, I); `single`: a cell's, no directions in states."""
    cdef int gates = gates_of(cell), d, directions = (len(inputs) - STATES) // WEIGHTS
    cdef ndarray x = (<Tensor>inputs[0]).array, w, r
    cdef npy_intp I = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1), H, P
    for d in range(directions):
        need(name, "weight_ih", inputs[STATES + WEIGHTS * d])
        need(name, "weight_hh", inputs[STATES + WEIGHTS * d + 1])
    w = (<Tensor>inputs[STATES]).array
    if cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_DIM(w, 0) % gates:
        refuse(name, "weight_ih", w, f"({gates} * hidden_size, input_size)")
    H = P = cnp.PyArray_DIM(w, 0) // gates
    if inputs[STATES + 4] is not None:
        r = (<Tensor>inputs[STATES + 4]).array
        P = cnp.PyArray_DIM(r, 0) if cnp.PyArray_NDIM(r) == 2 else -1
    if I != cnp.PyArray_DIM(w, 1):
        raise ValueError(f"{name}: x is {shape_of(x)}; expected {cnp.PyArray_DIM(w, 1)} features in its last dimension")
    for d in range(directions):
        expect(name, "weight_ih", inputs[STATES + WEIGHTS * d], 2, gates * H, I, 0)
        expect(name, "weight_hh", inputs[STATES + WEIGHTS * d + 1], 2, gates * H, P, 0)
        expect(name, "bias_ih", inputs[STATES + WEIGHTS * d + 2], 1, gates * H, 0, 0)
        expect(name, "bias_hh", inputs[STATES + WEIGHTS * d + 3], 1, gates * H, 0, 0)
        expect(name, "weight_hr", inputs[STATES + WEIGHTS * d + 4], 2, P, H, 0)
    if single:
        expect(name, "h_0", inputs[1], 2, batch, P, 0)
        expect(name, "c_0", inputs[2], 2, batch, H, 0)
    else:
        expect(name, "h_0", inputs[1], 3, directions, batch, P)
        expect(name, "c_0", inputs[2], 3, directions, batch, H)
    return 0


cdef inline int need(str name, str what, object t) except -1:
    """A layer's parameter may have been set to None."""
    if t is None:
        raise TypeError(f"{name}: {what} is None; expected a Tensor")
    return 0


cdef int expect(str name, str what, object t, int dims, npy_intp m, npy_intp n, npy_intp k) except -1:
    """t, if it is not None, of the first `dims` sizes. Tuples are made for the message alone: a cell asks ten times."""
    cdef ndarray a
    if t is None:
        return 0
    a = (<Tensor>t).array
    if cnp.PyArray_NDIM(a) != dims or cnp.PyArray_DIM(a, 0) != m or (dims > 1 and cnp.PyArray_DIM(a, 1) != n) or (
            dims > 2 and cnp.PyArray_DIM(a, 2) != k):
        refuse(name, what, a, (m, n, k)[:dims])
    return 0


cdef Tensor zero_state(int directions, i64 batch, i64 width, int type_num):
    """(directions, batch, width), (batch, width) for directions 0."""
    cdef npy_intp[3] dims
    cdef ndarray a
    cdef int d = 0
    if directions:
        dims[0], d = directions, 1
    dims[d], dims[d + 1] = batch, width
    a = new_array(d + 2, dims, type_num)
    memset(cnp.PyArray_DATA(a), 0, cnp.PyArray_NBYTES(a))
    return wrap(a)


cdef ndarray starts(str name, object batch_sizes, ndarray x, i64* batch):
    """The first row of each step: of (T, B, I), or of (N, I) with the number of sequences at each step."""
    cdef ndarray sizes, start
    cdef npy_intp n
    cdef i64* p
    cdef i64 t, step
    if batch_sizes is None:
        if cnp.PyArray_NDIM(x) != 3:
            refuse(name, "x", x, "(T, B, input_size)")
        batch[0] = cnp.PyArray_DIM(x, 1)
        n = cnp.PyArray_DIM(x, 0) + 1
        start = cnp.PyArray_EMPTY(1, &n, cnp.NPY_INT64, 0)
        p, step = <i64*>cnp.PyArray_DATA(start), batch[0]
        for t in range(n):
            p[t] = t * step
        return start
    sizes, batch[0] = batch_sizes
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_DIM(x, 0) != sizes.sum():
        refuse(name, "x", x, f"({sizes.sum()}, input_size), the rows that batch_sizes count")
    start = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    if len(sizes) and (sizes[0] > batch[0] or sizes[len(sizes) - 1] < 1 or (np.diff(sizes) > 0).any()):
        raise ValueError(f"{name}: batch_sizes must not grow and be between 1 and {batch[0]}, got {sizes}")
    return start


cdef int type_of_all(tuple inputs) noexcept:
    for t in inputs:
        if t is not None and cnp.PyArray_TYPE((<Tensor>t).array) == cnp.NPY_DOUBLE:
            return cnp.NPY_DOUBLE
    return cnp.NPY_FLOAT
