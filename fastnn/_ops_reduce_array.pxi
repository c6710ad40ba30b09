# How an array is reduced. The kernel reduces the middle of (outer, n, inner); any set of dimensions becomes that by looking at
# x in the order of its memory, one stretch of neighbouring reduced dimensions after the other.

cdef unsigned long long axes_mask(str name, object dim, int nd) except? 0xFFFFFFFFFFFFFFFF:
    """Bit d for each dimension d to reduce; None means all."""
    cdef unsigned long long mask = 0, bit
    if dim is None:
        return (1ULL << nd) - 1 if nd < 64 else <unsigned long long>-1
    for d in dim if isinstance(dim, (tuple, list)) else (dim,):
        bit = 1ULL << axis_of(name, d, nd if nd else 1)
        if mask & bit:
            raise ValueError(f"{name}: dimension {d} is named twice in {dim}")
        mask |= bit
    return mask


cdef int memory_order(ndarray x, int* order) noexcept:
    """The dimensions of x, outermost in memory first. 0: x is not dense in that order."""
    cdef int nd = cnp.PyArray_NDIM(x), d, at
    cdef npy_intp expected = cnp.PyArray_ITEMSIZE(x)
    for d in range(nd):
        at = d
        if cnp.PyArray_DIM(x, d) != 1:
            while at > 0 and (cnp.PyArray_DIM(x, order[at - 1]) == 1
                              or cnp.PyArray_STRIDE(x, order[at - 1]) < cnp.PyArray_STRIDE(x, d)):
                order[at] = order[at - 1]
                at -= 1
        order[at] = d
    for d in range(nd - 1, -1, -1):
        if cnp.PyArray_DIM(x, order[d]) == 1:
            continue
        if cnp.PyArray_STRIDE(x, order[d]) != expected:
            return 0
        expected *= cnp.PyArray_DIM(x, order[d])
    return 1


cdef ndarray reduce_array(int op, ndarray x, unsigned long long mask, bint keepdim, double scale):
    """x reduced over the dimensions of mask, times scale; the result keeps the memory order of what is left."""
    cdef int nd = cnp.PyArray_NDIM(x), d, e, left
    cdef int[64] order
    cdef npy_intp[64] dims, strides, out_dims, out_strides
    cdef ndarray out
    if not dense(x) or cnp.PyArray_SIZE(x) == 0:
        if cnp.PyArray_SIZE(x) == 0 or not memory_order(x, order):
            x = contiguous(x)
            for d in range(nd):
                order[d] = d
    else:
        for d in range(nd):
            order[d] = d
    cdef npy_intp step = cnp.PyArray_ITEMSIZE(x)
    left = 0
    for d in range(nd - 1, -1, -1):  # dense strides of the result, in x's memory order
        e = order[d]
        dims[e] = 1 if mask >> e & 1 else cnp.PyArray_DIM(x, e)
        strides[e] = step
        step *= dims[e] if dims[e] else 1
    for d in range(nd):
        if keepdim or not mask >> d & 1:
            out_dims[left] = dims[d]
            out_strides[left] = strides[d]
            left += 1
    out = new_array(left, out_dims, cnp.PyArray_TYPE(x), out_strides)
    reduce_into(op, x, order, mask, cnp.PyArray_DATA(out), scale)
    return out


cdef int reduce_into(int op, ndarray x, int* order, unsigned long long mask, void* out, double scale) except -1:
    """Merges the dimensions into stretches, alternately kept and reduced, and reduces one after the other."""
    cdef i64 size[64]
    cdef bint reduced[64]
    cdef int stretches = 0, d, at, to_do = 0
    cdef ReduceJob job
    cdef void* buffer = NULL
    cdef void* old
    cdef bint done = True, is_reduced
    cdef size_t item = cnp.PyArray_ITEMSIZE(x)
    cdef int dtype = kind(x)
    for d in range(cnp.PyArray_NDIM(x)):
        if cnp.PyArray_DIM(x, order[d]) == 1:
            continue
        is_reduced = mask >> order[d] & 1
        if stretches and reduced[stretches - 1] == is_reduced:
            size[stretches - 1] *= cnp.PyArray_DIM(x, order[d])
        else:
            size[stretches] = cnp.PyArray_DIM(x, order[d])
            reduced[stretches] = is_reduced
            to_do += is_reduced
            stretches += 1
    job.x = cnp.PyArray_DATA(x)
    if to_do == 0:  # nothing to reduce: the stretch of one element does what the op does to single elements
        size[stretches] = 1
        reduced[stretches] = True
        stretches += 1
        to_do = 1
    while to_do and done:
        at = stretches - 1
        while not reduced[at]:
            at -= 1
        job.n = size[at]
        job.outer = job.inner = 1
        for d in range(at):
            job.outer *= size[d]
        for d in range(at + 1, stretches):
            job.inner *= size[d]
        to_do -= 1
        job.scale = 1 if to_do else scale
        old = buffer
        job.out = out if to_do == 0 else runtime.allocate(job.outer * job.inner * item)
        buffer = NULL if to_do == 0 else job.out
        done = job.out != NULL and run_reduce(dtype, op, job)
        runtime.release(old)
        op = SUM if op == SUM_SQUARES else op
        job.x = job.out
        for d in range(at, stretches - 1):
            size[d] = size[d + 1]
            reduced[d] = reduced[d + 1]
        stretches -= 1
    runtime.release(buffer)
    if not done:
        raise MemoryError("no memory for the scratch of a reduction")
    return 0


cdef inline bint run_reduce(int dtype, int op, const ReduceJob& job) noexcept:
    cdef bint done
    if job.outer * job.inner == 0:
        return True
    if <double>job.outer * <double>job.n * <double>job.inner * 0.1 < ALONE_NS:
        (<ReduceKernel>runtime.table[dtype].reduce[op])(job, 0, job.outer * job.inner)
        return True
    with nogil:
        done = runtime.reduce(dtype, op, job)
    return done


cdef i64 count_of(ndarray x, unsigned long long mask) noexcept:
    """How many elements go into one of the result."""
    cdef i64 n = 1
    cdef int d
    for d in range(cnp.PyArray_NDIM(x)):
        if mask >> d & 1:
            n *= cnp.PyArray_DIM(x, d)
    return n


cdef tuple kept_shape(ndarray x, unsigned long long mask):
    """x's shape with 1 for the dimensions of mask."""
    cdef int d
    return tuple([1 if mask >> d & 1 else cnp.PyArray_DIM(x, d) for d in range(cnp.PyArray_NDIM(x))])


cdef tuple axes_tuple(unsigned long long mask, int nd):
    cdef int d
    return tuple([d for d in range(nd) if mask >> d & 1])


cdef inline object either(object dim, object axis):
    return axis if dim is None else dim
