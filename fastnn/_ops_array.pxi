# Arrays: where their memory comes from, their layout, and running a kernel over one.

cdef extern from *:
    ndarray new_view "(PyArrayObject*)PyArray_View"(ndarray a, PyObject* dtype, PyObject* type)

cdef enum:
    ARENA_BYTES = 4096  # outputs from here on live in the arena; NumPy caches smaller ones itself
    ALONE_NS = 15000    # work below this stays in the calling thread and keeps the GIL


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Block:
    """Owns one piece of arena memory, for the array that lies in it."""

    def __dealloc__(self):
        runtime.release(self.memory)


cdef inline int kind(ndarray a) noexcept:
    """F32 or F64; -1 for what has no kernels (integers, bool)."""
    cdef int t = cnp.PyArray_TYPE(a)
    return F32 if t == cnp.NPY_FLOAT else F64 if t == cnp.NPY_DOUBLE else -1


cdef inline bint dense(ndarray a) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(a)


cdef inline bint same_shape(ndarray a, ndarray b) noexcept:
    cdef int nd = cnp.PyArray_NDIM(a)
    if nd != cnp.PyArray_NDIM(b):
        return False
    cdef int d
    for d in range(nd):
        if cnp.PyArray_DIM(a, d) != cnp.PyArray_DIM(b, d):
            return False
    return True


cdef inline tuple shape_of(ndarray a):
    cdef int d
    return tuple([cnp.PyArray_DIM(a, d) for d in range(cnp.PyArray_NDIM(a))])


cdef ndarray new_array(int nd, const npy_intp* dims, int type_num, const npy_intp* strides = NULL):
    """An array without values, C-ordered or with the given (dense) strides in bytes."""
    cdef int d, size = 4 if type_num == cnp.NPY_FLOAT else 8
    cdef npy_intp bytes = size
    for d in range(nd):
        if dims[d] and bytes > (<npy_intp>1 << 62) // dims[d]:
            raise MemoryError(f"a tensor of shape {tuple([dims[i] for i in range(nd)])} is too large")
        bytes *= dims[d]
    if bytes < ARENA_BYTES:
        return new_ndarray(&PyArray_Type, nd, dims, type_num, strides, NULL, 0, 0, NULL)
    cdef Block block = Block.__new__(Block)
    block.memory = runtime.allocate(bytes)
    if block.memory == NULL:
        raise MemoryError(f"no memory for a tensor of shape {tuple([dims[i] for i in range(nd)])} ({bytes:,} bytes)")
    cdef ndarray a = new_ndarray(&PyArray_Type, nd, dims, type_num, strides, block.memory, 0, cnp.NPY_ARRAY_CARRAY,
                                 NULL)
    cnp.set_array_base(a, block)
    return a


cdef bint dense_strides(ndarray like, int size, npy_intp* strides) noexcept:
    """Strides in bytes of a dense array with like's shape and order of dimensions. False: C order will do, because like
    has it or a broadcast dimension (stride 0) leaves the order open."""
    cdef int nd = cnp.PyArray_NDIM(like), d, e, at
    cdef int order[64]
    cdef npy_intp step
    cdef npy_intp bytes = size
    if dense(like):
        return False
    for d in range(nd):
        step = abs_stride(like, d)
        if step == 0 and cnp.PyArray_DIM(like, d) > 1:
            return False
        at = d
        if cnp.PyArray_DIM(like, d) > 1:  # one of size 1 stays where it stands, whatever its stride says
            for e in range(d - 1, -1, -1):
                if cnp.PyArray_DIM(like, order[e]) <= 1:
                    continue
                if abs_stride(like, order[e]) >= step:
                    break
                at = e
        for e in range(d, at, -1):
            order[e] = order[e - 1]
        order[at] = d
    for d in range(nd - 1, -1, -1):
        strides[order[d]] = bytes
        bytes *= cnp.PyArray_DIM(like, order[d]) if cnp.PyArray_DIM(like, order[d]) else 1
    return True


cdef inline npy_intp abs_stride(ndarray a, int d) noexcept:
    cdef npy_intp s = cnp.PyArray_STRIDE(a, d)
    return -s if s < 0 else s


cdef ndarray new_like(ndarray like, int type_num):
    """An array without values of like's shape and memory order."""
    cdef npy_intp strides[64]
    cdef int size = 4 if type_num == cnp.NPY_FLOAT else 8
    if dense(like) or not dense_strides(like, size, strides):
        return new_array(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), type_num)
    return new_array(cnp.PyArray_NDIM(like), cnp.PyArray_DIMS(like), type_num, strides)


cdef ndarray contiguous(ndarray a):
    """a itself if it is C-contiguous, else a copy that is."""
    if dense(a):
        return a
    cdef ndarray out
    if kind(a) < 0:
        return cnp.PyArray_NewCopy(a, cnp.NPY_CORDER)
    out = new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    cnp.PyArray_CopyInto(out, a)
    return out


cdef ndarray copy_of(ndarray a):
    """A copy of a, dense in a's memory order."""
    cdef ndarray out
    if kind(a) < 0:
        return cnp.PyArray_NewCopy(a, cnp.NPY_KEEPORDER)
    out = new_like(a, cnp.PyArray_TYPE(a))
    cnp.PyArray_CopyInto(out, a)
    return out


cdef void channels_last_strides(int nd, const npy_intp* dims, npy_intp size, npy_intp* strides) noexcept:
    """Strides in bytes of images (N, C, ...) whose memory is (N, ..., C). Unsigned: sizes that no array can have go round
    instead of being undefined, and new_array refuses them."""
    cdef int d
    cdef size_t step = size
    strides[1] = step
    step *= dims[1] if dims[1] else 1
    for d in range(nd - 1, 1, -1):
        strides[d] = step
        step *= dims[d] if dims[d] else 1
    strides[0] = step


cdef ndarray new_images(int nd, const npy_intp* dims, int type_num):
    """An array without values of shape (N, C, ...) whose memory is (N, ..., C)."""
    cdef npy_intp strides[64]
    channels_last_strides(nd, dims, 4 if type_num == cnp.NPY_FLOAT else 8, strides)
    return new_array(nd, dims, type_num, strides)


cdef ndarray channels_last(ndarray a):
    """a (N, C, ...) itself if its memory is (N, ..., C) and dense, else a copy that is. Dimensions of size 1 do not count."""
    cdef npy_intp strides[64]
    cdef int d, nd = cnp.PyArray_NDIM(a)
    cdef bint same = True
    cdef ndarray out
    channels_last_strides(nd, cnp.PyArray_DIMS(a), cnp.PyArray_ITEMSIZE(a), strides)
    for d in range(nd):
        same &= cnp.PyArray_DIM(a, d) <= 1 or cnp.PyArray_STRIDE(a, d) == strides[d]
    if same:
        return a
    out = new_images(nd, cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    cnp.PyArray_CopyInto(out, a)
    return out


cdef inline void run(RangeFunction kernel, const void* job, i64 items, double cost) noexcept:
    """kernel over all items of job; `cost` in nanoseconds per item."""
    if items * cost < ALONE_NS:
        if items > 0:
            kernel(job, 0, items)
    else:
        with nogil:
            runtime.launch(kernel, job, items, cost)


cdef inline void strides_of(ndarray a, int nd, i64* strides) noexcept:
    """Strides in elements, as an array of nd dimensions sees a: new leading dimensions and those of size 1 get 0."""
    cdef int d, skip = nd - cnp.PyArray_NDIM(a)
    cdef npy_intp size = cnp.PyArray_ITEMSIZE(a)
    for d in range(skip):
        strides[d] = 0
    for d in range(skip, nd):
        strides[d] = 0 if cnp.PyArray_DIM(a, d - skip) == 1 else cnp.PyArray_STRIDE(a, d - skip) // size


cdef inline double binary_cost(int op) noexcept:
    return 0.15 if op < TANH_GRAD else 1.0


cdef inline double unary_cost(int op) noexcept:
    return 0.1 if op < EXP else 1.0


cdef ndarray unary_array(int op, ndarray a, double alpha=0):
    """f(a) by a kernel, in a's memory order."""
    cdef ndarray out = new_like(a, cnp.PyArray_TYPE(a))
    cdef Elementwise job
    cdef i64 shape[64]
    cdef i64 a_stride[64]
    cdef i64 out_stride[64]
    cdef int d, nd = cnp.PyArray_NDIM(a)
    cdef i64 size = cnp.PyArray_SIZE(a)
    job.out = cnp.PyArray_DATA(out)
    job.a = cnp.PyArray_DATA(a)
    job.b = NULL
    job.alpha = alpha
    if size == 0:
        return out
    if dense(a):
        job.ndim = 1
        job.shape[0] = size
        job.a_stride[0] = 1
        job.b_stride[0] = 0
    else:
        for d in range(nd):
            shape[d] = cnp.PyArray_DIM(a, d)
        strides_of(a, nd, a_stride)
        strides_of(out, nd, out_stride)
        if not plan_elementwise(job, nd, shape, out_stride, a_stride, NULL):
            return unary_array(op, contiguous(a), alpha)
    run(<RangeFunction>runtime.table[kind(a)].unary[op], &job, size, unary_cost(op))
    return out


cdef inline ndarray flat_binary(int op, ndarray a, ndarray b, double alpha, ndarray out):
    """f(a, b) for C-contiguous a and b of one shape: the short way."""
    cdef Elementwise job
    if out is None:
        out = new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))
    job.out = cnp.PyArray_DATA(out)
    job.a = cnp.PyArray_DATA(a)
    job.b = cnp.PyArray_DATA(b)
    job.alpha = alpha
    job.ndim = 1
    job.shape[0] = cnp.PyArray_SIZE(a)
    job.a_stride[0] = 1
    job.b_stride[0] = 1
    run(<RangeFunction>runtime.table[kind(a)].binary[op], &job, job.shape[0], binary_cost(op))
    return out


cdef ndarray binary_array(int op, ndarray a, ndarray b, double alpha=0, ndarray out=None):
    """f(a, b) by a kernel, for a and b of one float type; broadcasts. `out`: a itself, where it has the result's shape."""
    if dense(a) and dense(b) and same_shape(a, b):
        return flat_binary(op, a, b, alpha, out)
    cdef int nd = 0, d
    cdef npy_intp dims[64]
    cdef i64 shape[64]
    cdef i64 a_stride[64]
    cdef i64 b_stride[64]
    cdef i64 out_stride[64]
    cdef Elementwise job
    broadcast_dims(binary_name(op), a, b, &nd, dims)
    cdef i64 size = 1
    for d in range(nd):
        shape[d] = dims[d]
        if size and shape[d] and size > ((<i64>1) << 59) // shape[d]:
            raise MemoryError(f"{binary_name(op)}: the result of {shape_of(a)} and {shape_of(b)} is too large")
        size *= dims[d]
    if out is None:
        out = new_broadcast(a, b, nd, dims)
    if size == 0:
        return out
    job.out = cnp.PyArray_DATA(out)
    job.a = cnp.PyArray_DATA(a)
    job.b = cnp.PyArray_DATA(b)
    job.alpha = alpha
    strides_of(a, nd, a_stride)
    strides_of(b, nd, b_stride)
    strides_of(out, nd, out_stride)
    if not plan_elementwise(job, nd, shape, out_stride, a_stride, b_stride):  # more dimensions than a job has
        return flat_binary(op, contiguous(stretched(a, shape_of(out))), contiguous(stretched(b, shape_of(out))), alpha,
                           None)
    run(<RangeFunction>runtime.table[kind(a)].binary[op], &job, size, binary_cost(op))
    return out


cdef ndarray new_broadcast(ndarray a, ndarray b, int nd, npy_intp* dims):
    """The result's array: in the memory order of the first argument that has the result's full shape."""
    if cnp.PyArray_NDIM(a) == nd and memcmp(cnp.PyArray_DIMS(a), dims, nd * sizeof(npy_intp)) == 0:
        return new_like(a, cnp.PyArray_TYPE(a))
    if cnp.PyArray_NDIM(b) == nd and memcmp(cnp.PyArray_DIMS(b), dims, nd * sizeof(npy_intp)) == 0:
        return new_like(b, cnp.PyArray_TYPE(a))
    return new_array(nd, dims, cnp.PyArray_TYPE(a))


cdef int broadcast_dims(str name, ndarray a, ndarray b, int* nd, npy_intp* dims) except -1:
    cdef int na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), d
    cdef npy_intp m, n
    nd[0] = na if na > nb else nb
    for d in range(nd[0]):
        m = cnp.PyArray_DIM(a, d - nd[0] + na) if d >= nd[0] - na else 1
        n = cnp.PyArray_DIM(b, d - nd[0] + nb) if d >= nd[0] - nb else 1
        if m != n and m != 1 and n != 1:
            raise ValueError(f"{name}: shapes {shape_of(a)} and {shape_of(b)} do not broadcast")
        dims[d] = n if m == 1 else m
    return 0


cdef ndarray scalar_binary(int op, ndarray a, double s, bint reverse, double alpha=0):
    """f(a, s), or f(s, a) with `reverse`, for a number s."""
    cdef ndarray out = new_like(a, cnp.PyArray_TYPE(a))
    cdef Elementwise job
    cdef float s32 = <float>s
    cdef const void* number = <const void*>&s32 if kind(a) == F32 else <const void*>&s
    cdef i64 size = cnp.PyArray_SIZE(a)
    cdef i64[64] shape, zero, a_stride, out_stride
    cdef int d, nd = cnp.PyArray_NDIM(a)
    if size == 0:
        return out
    job.alpha = alpha
    job.ndim = 1
    job.shape[0] = size
    job.a_stride[0] = 1
    job.b_stride[0] = 0
    if not dense(a):
        for d in range(nd):
            shape[d] = cnp.PyArray_DIM(a, d)
            zero[d] = 0
        strides_of(a, nd, a_stride)
        strides_of(out, nd, out_stride)
        if not plan_elementwise(job, nd, shape, out_stride, a_stride, zero):
            return scalar_binary(op, contiguous(a), s, reverse, alpha)
    job.out = cnp.PyArray_DATA(out)
    job.a = cnp.PyArray_DATA(a)
    job.b = number
    if reverse:
        job.a, job.b = number, cnp.PyArray_DATA(a)
        for d in range(job.ndim):
            job.b_stride[d] = job.a_stride[d]
            job.a_stride[d] = 0
    run(<RangeFunction>runtime.table[kind(a)].binary[op], &job, size, binary_cost(op))
    return out


cdef str binary_name(int op):
    return {ADD: "add", SUB: "sub", MUL: "mul", DIV: "div", MAXIMUM: "maximum", MINIMUM: "minimum"}.get(op, "backward")
