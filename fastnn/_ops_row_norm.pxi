# Layer norm and RMS norm: along rows, the last dimensions, dense. A recorded backward is written in ops, any other is a
# kernel.

cdef class RowNormNode(Node):
    """Inputs x, weight, bias; alpha is eps."""
    cdef ndarray x, mean, rstd  # x (..., cols), dense; mean None for rms
    cdef int dims               # of normalized_shape

    cdef void let_go(self):
        Node.let_go(self)
        self.x = self.mean = self.rstd = None

    cdef RowNormJob job(self, ndarray weight):
        cdef RowNormJob job
        memset(&job, 0, sizeof(RowNormJob))
        job.cols = cols_of(self.x, self.dims)
        job.rows = cnp.PyArray_SIZE(self.x) // job.cols if job.cols else 0
        job.x, job.weight = cnp.PyArray_DATA(self.x), data_or_null(weight)
        job.mean = NULL if self.mean is None else cnp.PyArray_DATA(self.mean)
        job.rstd = cnp.PyArray_DATA(self.rstd)
        job.eps, job.rms = self.alpha, self.mean is None
        return job

    cdef Node residual_stream(self, ndarray dy):
        """x's node, if a gradient of x from its other uses waits there: the kernel adds it in its own pass. In a
        transformer it always does, for what a norm reads goes on along the residual connection."""
        cdef Node node
        if not isinstance(self.edges[0], Node) or not self.needs(0):
            return None
        node = self.edges[0]
        if node.pending is None or node.owner != self.owner:
            return None
        return node if same_shape((<Tensor>node.pending).array, dy) else None

    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), w = None if self.b is None else <Tensor>self.second()
        cdef ndarray g, dx = None, dweight = None, dbias = None, dsum, weight = None if w is None else w.array
        cdef RowNormJob job
        cdef Node stream
        cdef bint done
        if grad_enabled():
            return self.recorded_backward(<Tensor>dy, x, w)
        g = contiguous((<Tensor>dy).array)
        job = self.job(weight)
        job.dy = cnp.PyArray_DATA(g)
        stream = self.residual_stream(g)
        if stream is not None:
            dsum = contiguous((<Tensor>stream.pending).array)
            job.dsum = cnp.PyArray_DATA(dsum)
        cdef int nd = cnp.PyArray_NDIM(self.x), type_num = cnp.PyArray_TYPE(self.x), dtype = kind(self.x)
        if self.needs(0):
            dx = new_array(nd, cnp.PyArray_DIMS(self.x), type_num)
            job.dx = cnp.PyArray_DATA(dx)
        if self.needs(1):
            dweight = new_array(self.dims, cnp.PyArray_DIMS(self.x) + nd - self.dims, type_num)
            job.dweight = cnp.PyArray_DATA(dweight)
        if self.needs(2):
            dbias = new_array(self.dims, cnp.PyArray_DIMS(self.x) + nd - self.dims, type_num)
            job.dbias = cnp.PyArray_DATA(dbias)
        if cnp.PyArray_SIZE(self.x) == 0:
            clear_arrays(dweight, dbias)
        elif <double>job.rows * job.cols < ALONE_ELEMENTS:
            done = runtime.row_norm_backward(dtype, job)
        else:
            with nogil:
                done = runtime.row_norm_backward(dtype, job)
        if cnp.PyArray_SIZE(self.x) and not done:
            raise MemoryError("no memory for the partial results of a norm")
        if stream is not None:
            stream.pending = wrap(dx)
            dx = None
        return (None if dx is None else wrap(dx), None if dweight is None else wrap(dweight),
                None if dbias is None else wrap(dbias))

    cdef tuple recorded_backward(self, Tensor dy, Tensor x, Tensor w):
        cdef bint rms = self.mean is None
        cdef int nd = cnp.PyArray_NDIM(x.array)
        cdef unsigned long long rows = (1ULL << (nd - self.dims)) - 1, over = ((1ULL << nd) - 1) ^ rows
        cdef Tensor rstd, xhat, dx = None
        rstd, xhat = standardised(x, over, self.alpha, rms)
        if self.needs(0):
            dx = projected(mul(dy if w is None else mul(dy, w), rstd), xhat, over, rms)
        return (dx, scaled_sum(mul(dy, xhat), rows, False, 1) if self.needs(1) else None,
                scaled_sum(dy, rows, False, 1) if self.needs(2) else None)


cdef class LayerNormNode(RowNormNode):
    """Named for messages."""


cdef i64 cols_of(ndarray x, int dims) noexcept:
    cdef i64 n = 1
    cdef int d
    for d in range(cnp.PyArray_NDIM(x) - dims, cnp.PyArray_NDIM(x)):
        n *= cnp.PyArray_DIM(x, d)
    return n


cdef tuple along_last(str name, object input, object residual, object normalized_shape, object weight, object bias,
                      double eps, bint rms):
    """(y, x + residual): the second is x where there is no residual."""
    cdef Tensor x = floating(input), r = None if residual is None else floating(residual), s, w, b, out
    cdef tuple shape = sizes(normalized_shape)
    cdef int nd = cnp.PyArray_NDIM(x.array), type_num = type_with(x, weight, bias)
    cdef npy_intp rows
    cdef ndarray y, sum, given, added = None, weights = None, biases = None
    cdef RowNormNode node = RowNormNode.__new__(RowNormNode) if rms else LayerNormNode.__new__(LayerNormNode)
    cdef RowNormJob job
    if len(shape) < 1 or len(shape) > nd or shape_of(x.array)[nd - len(shape):] != shape:
        raise ValueError(f"{name}: input is {shape_of(x.array)}; expected (..., {', '.join(map(str, shape))}) for "
                         f"normalized_shape {shape}")
    check_eps(name, eps)
    if r is not None:
        if not same_shape(x.array, r.array):
            raise ValueError(f"{name}: residual is {shape_of(r.array)}, input is {shape_of(x.array)}; expected equal "
                             f"shapes")
        type_num = cnp.NPY_DOUBLE if kind(r.array) == F64 else type_num
        r = contiguous_tensor(cast(r, type_num))
    w, b = factor_for(name, "weight", weight, shape, type_num), factor_for(name, "bias", bias, shape, type_num)
    s = x = contiguous_tensor(cast(x, type_num))
    y = new_array(nd, cnp.PyArray_DIMS(x.array), type_num)
    given = x.array
    node.x, node.dims, node.alpha = given, <int>len(shape), eps
    rows = cols_of(x.array, nd) // cols_of(x.array, node.dims) if cols_of(x.array, node.dims) else 0
    node.rstd, node.mean = new_array(1, &rows, type_num), None if rms else new_array(1, &rows, type_num)
    weights, biases = None if w is None else w.array, None if b is None else b.array
    job = node.job(weights)
    job.y, job.bias = cnp.PyArray_DATA(y), data_or_null(biases)
    if r is not None:
        added = r.array
        sum = new_array(nd, cnp.PyArray_DIMS(x.array), type_num)
        job.residual, job.sum = cnp.PyArray_DATA(added), cnp.PyArray_DATA(sum)
        node.x = sum
        s = wrap(sum)
        if recorded_pair(x, r):
            attach(s, AddNode.__new__(AddNode), (edge(x), edge(r)))
    if job.cols:
        run(<RangeFunction>runtime.table[kind(y)].row_norm, &job, rows, 0.5 * job.cols)
    out = wrap(y)
    if grad_enabled() and (s.needs_grad or (w is not None and w.needs_grad) or (b is not None and b.needs_grad)):
        node.save(s, w)
        attach(out, node, (edge(s), None if w is None else edge(w), None if b is None else edge(b)))
    return out, s


cpdef Tensor layer_norm(input, normalized_shape, weight=None, bias=None, double eps=1e-5):
    """Each row minus its mean, by its standard deviation [1]_: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    Parameters
    ----------
    input : Tensor (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The last dimensions: what a mean is taken over.
    weight, bias : Tensor (*normalized_shape), optional
    eps : float
        Added to the (biased) variance.

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    .. [1] Ba, Kiros and Hinton, "Layer normalization", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.layer_norm(fnn.tensor([[1.0, 3.0]]), 2, eps=0.0)
    tensor([[-1.,  1.]])
    """
    return along_last("layer_norm", input, None, normalized_shape, weight, bias, eps, False)[0]


cpdef tuple add_layer_norm(input, residual, normalized_shape, weight=None, bias=None, double eps=1e-5):
    """``(layer_norm(input + residual), input + residual)`` in one pass over memory, forward and backward.

    Parameters
    ----------
    input, residual : Tensor (..., *normalized_shape)
        Of one shape. The rest is as in `layer_norm`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.add_layer_norm(fnn.tensor([[1.0, 3.0]]), fnn.ones(1, 2), 2, eps=0.0)
    (tensor([[-1.,  1.]]), tensor([[2., 4.]]))
    """
    return along_last("add_layer_norm", input, residual, normalized_shape, weight, bias, eps, False)


cpdef Tensor rms_norm(input, normalized_shape, weight=None, eps=None):
    """Each row by the root of its mean square [1]_: ``x / sqrt(mean(x^2) + eps) * weight``.

    Parameters
    ----------
    input : Tensor (..., *normalized_shape)
    normalized_shape : int or sequence of int
        The last dimensions: what a mean is taken over.
    weight : Tensor (*normalized_shape), optional
    eps : float, optional
        By default the machine epsilon of input's type.

    Raises
    ------
    ValueError
        If shapes do not fit.

    References
    ----------
    .. [1] Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.rms_norm(fnn.tensor([[3.0, 4.0, 0.0, 0.0]]), 4)
    tensor([[1.2, 1.6, 0. , 0. ]])
    """
    return along_last("rms_norm", input, None, normalized_shape, weight, None, default_eps(input, eps), True)[0]


cpdef tuple add_rms_norm(input, residual, normalized_shape, weight=None, eps=None):
    """``(rms_norm(input + residual), input + residual)`` in one pass over memory, forward and backward.

    Arguments as in `rms_norm`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.add_rms_norm(fnn.tensor([[2.0, 2.0]]), fnn.ones(1, 2), 2)
    (tensor([[1., 1.]]), tensor([[3., 3.]]))
    """
    return along_last("add_rms_norm", input, residual, normalized_shape, weight, None, default_eps(input, eps), True)


cdef double default_eps(object input, object eps) except? -1:
    return np.finfo(floating(input).array.dtype).eps if eps is None else eps
