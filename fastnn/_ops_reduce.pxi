# Reductions, each along any set of dimensions.

cdef class SumNode(Node):
    """saved is (shape with reduced dimensions 1, shape of x), alpha the scale."""
    cdef tuple backward(self, Value dy):
        cdef Tensor g = <Tensor>dy
        if self.alpha != 1:
            g = with_number(MUL, g, self.alpha, False)
        return (broadcast_to(reshape(g, (<tuple>self.saved)[0]), (<tuple>self.saved)[1]),)


cdef Tensor scaled_sum(Tensor x, unsigned long long mask, bint keepdim, double scale):
    cdef Tensor out = wrap(reduce_array(SUM, x.array, mask, keepdim, scale))
    cdef SumNode node
    if recorded(x):
        node = SumNode.__new__(SumNode)
        node.saved = kept_shape(x.array, mask), shape_of(x.array)
        node.alpha = scale
        attach(out, node, (edge(x),))
    return out


cdef Tensor sum_to(Tensor x, tuple shape):
    """x summed over the dimensions that broadcasting from `shape` added or stretched."""
    cdef int nd = cnp.PyArray_NDIM(x.array), lead = nd - <int>len(shape), d
    cdef unsigned long long mask = 0
    cdef Tensor out
    for d in range(nd):
        if d < lead or (<npy_intp>shape[d - lead] == 1 and cnp.PyArray_DIM(x.array, d) != 1):
            mask |= 1ULL << d
    if mask == 0:
        return x
    out = scaled_sum(x, mask, lead == 0, 1)
    return out if cnp.PyArray_NDIM(out.array) == len(shape) else reshape(out, shape)


cpdef Tensor sum(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """The sum over dim (an int or several; all by default). Integers and bool are summed as int64.

    Parameters
    ----------
    x : Tensor
    dim, axis : int or tuple of int, optional
        The dimensions to sum over, by PyTorch's or NumPy's name.
    keepdim, keepdims : bool
        Keep them with size 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sum(fnn.ones(2, 3), 0)
    tensor([2., 2., 2.])
    """
    cdef Tensor t = as_tensor(x)
    cdef bint keep = keepdim if keepdims is None else keepdims
    cdef unsigned long long mask = axes_mask("sum", either(dim, axis), cnp.PyArray_NDIM(t.array))
    if kind(t.array) < 0:
        return wrap(np.asarray(np.sum(t.array, axes_tuple(mask, cnp.PyArray_NDIM(t.array)), np.int64, keepdims=keep)))
    return scaled_sum(t, mask, keep, 1)


cpdef Tensor mean(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """The mean over dim (all by default); NaN over nothing. Integers and bool become float32.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.mean(fnn.tensor([1.0, 2.0, 3.0]))
    tensor(2.)
    """
    cdef Tensor t = floating(x)
    cdef unsigned long long mask = axes_mask("mean", either(dim, axis), cnp.PyArray_NDIM(t.array))
    cdef i64 n = count_of(t.array, mask)
    return scaled_sum(t, mask, keepdim if keepdims is None else keepdims, 1.0 / n if n else float("nan"))


cpdef Tensor var(x, dim=None, double correction=1, keepdim=False, axis=None, keepdims=None, unbiased=None):
    """The variance over dim: the mean squared distance from the mean, with n - correction in the denominator.

    `unbiased=False`, also in the place of `dim`, is another way to say `correction=0`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.var(fnn.tensor([1.0, 3.0]))
    tensor(2.)
    """
    cdef Tensor t = floating(x), centred
    cdef unsigned long long mask
    cdef i64 n
    if isinstance(dim, builtins.bool):  # PyTorch's var(x, unbiased)
        dim, unbiased = None, dim
    mask = axes_mask("var", either(dim, axis), cnp.PyArray_NDIM(t.array))
    n = count_of(t.array, mask)
    if unbiased is not None:
        correction = 1 if unbiased else 0
    centred = sub(t, scaled_sum(t, mask, True, 1.0 / n if n else float("nan")))
    return scaled_sum(square(centred), mask, keepdim if keepdims is None else keepdims,
                      1.0 / (n - correction) if n > correction else INFINITY)


cpdef Tensor std(x, dim=None, double correction=1, keepdim=False, axis=None, keepdims=None, unbiased=None):
    """The standard deviation over dim: the root of `var`. Equal numbers get a gradient of 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.std(fnn.tensor([1.0, 3.0]), correction=0)
    tensor(1.)
    """
    return power_flat_at_zero(var(x, dim, correction, keepdim, axis, keepdims, unbiased), 0.5)


cdef Tensor power_flat_at_zero(Tensor x, double p):
    """x ** p for x >= 0 and p > 0, with the gradient 0 where x is 0: below p = 1 it would be infinite."""
    cdef Tensor zero
    if not recorded(x) or np.all(x.array):
        return pow(x, p)
    zero = wrap(np.asarray(np.equal(x.array, 0)))
    return masked_fill(pow(masked_fill(x, zero, 1.0), p), zero, 0.0)


cdef class ExtremeNode(Node):
    """max or min: the gradient is shared by all elements that reach it. saved is (y, shape of y with kept dimensions,
    mask)."""
    cdef tuple backward(self, Value dy):
        y, shape, mask = self.saved
        cdef ndarray x = (<Tensor>self.first()).array, hit = np.asarray(np.equal(x, y.reshape(shape)))
        cdef ndarray share = np.asarray(hit / np.maximum(hit.sum(axes_tuple(mask, cnp.PyArray_NDIM(x)),
                                                                 keepdims=True), 1), x.dtype)
        return (mul(wrap(share), reshape(dy, shape)),)


cdef Tensor extreme(int op, str name, object x, object dim, bint keepdim):
    cdef Tensor t = as_tensor(x), out
    cdef int nd = cnp.PyArray_NDIM(t.array)
    cdef unsigned long long mask = axes_mask(name, dim, nd)
    cdef ExtremeNode node
    if count_of(t.array, mask) == 0:
        raise ValueError(f"{name}: nothing to choose from in shape {shape_of(t.array)}, dim {dim}")
    if kind(t.array) < 0:
        function = np.max if op == MAX else np.min
        return wrap(np.asarray(function(t.array, axis=axes_tuple(mask, nd), keepdims=keepdim)))
    out = wrap(reduce_array(op, t.array, mask, keepdim, 1))
    if recorded(t):
        node = ExtremeNode.__new__(ExtremeNode)
        node.save(t, None)
        node.saved = out.array.copy(), kept_shape(t.array, mask), mask
        attach(out, node, (edge(t),))
    return out


cpdef Tensor amax(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """The largest value over dim (all by default); NaN if there is one. Equal maxima share the gradient.

    `max` is the same, as in NumPy: PyTorch's `max(x, dim)` also gives the places, which are `argmax(x, dim)` here. Its
    `max(x, y)` of two tensors is `maximum(x, y)`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.amax(fnn.tensor([[1.0, 4.0], [3.0, 2.0]]), 1)
    tensor([4., 3.])
    """
    if isinstance(dim, Tensor):
        return maximum(x, dim)
    return extreme(MAX, "amax", x, either(dim, axis), keepdim if keepdims is None else keepdims)


cpdef Tensor amin(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """The smallest value over dim (all by default); NaN if there is one. Equal minima share the gradient.

    `min` is the same, as in NumPy: PyTorch's `min(x, dim)` also gives the places, which are `argmin(x, dim)` here. Its
    `min(x, y)` of two tensors is `minimum(x, y)`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.amin(fnn.tensor([[1.0, 4.0], [3.0, 2.0]]), 1)
    tensor([1., 2.])
    """
    if isinstance(dim, Tensor):
        return minimum(x, dim)
    return extreme(MIN, "amin", x, either(dim, axis), keepdim if keepdims is None else keepdims)


max = amax
min = amin


cdef class ProdNode(Node):
    """Without zeros the gradient is dy * y / x; else dy times the product of the others, from both sides. saved is (y
    as an array, kept shape, mask)."""
    cdef tuple backward(self, Value dy):
        y, shape, mask = self.saved
        cdef Tensor x = <Tensor>self.first(), g = reshape(dy, shape)
        if x.array.all():
            return (mul(g, div(prod_kept(x, mask), x)),)
        if grad_enabled():
            raise RuntimeError("backward of prod: no second derivative where the input holds zeros")
        return (mul(g, wrap(product_of_others(x.array, axes_tuple(mask, cnp.PyArray_NDIM(x.array))))),)


cdef Tensor prod_kept(Tensor x, object mask):
    return prod(x, axes_tuple(mask, cnp.PyArray_NDIM(x.array)), True)


cdef ndarray product_of_others(ndarray x, tuple axes):
    """For each element the product of all others over axes: exclusive running products from the front and from the
    back."""
    cdef int nd = cnp.PyArray_NDIM(x)
    cdef tuple rest = tuple([d for d in range(nd) if d not in axes])
    moved = x.transpose(rest + axes)
    rows = moved.reshape(tuple([x.shape[d] for d in rest]) + (-1,))
    before = np.ones_like(rows)
    after = np.ones_like(rows)
    with np.errstate(all="ignore"):
        np.cumprod(rows[..., :-1], axis=-1, out=before[..., 1:])
        np.cumprod(rows[..., :0:-1], axis=-1, out=after[..., -2::-1])
        products = before * after
    return contiguous(products.reshape(moved.shape).transpose(np.argsort(rest + axes)))


cpdef Tensor prod(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """The product over dim (all by default).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.prod(fnn.tensor([2.0, 3.0, 4.0]))
    tensor(24.)
    """
    cdef Tensor t = as_tensor(x), out
    cdef int nd = cnp.PyArray_NDIM(t.array)
    cdef bint keep = keepdim if keepdims is None else keepdims
    cdef unsigned long long mask = axes_mask("prod", either(dim, axis), nd)
    cdef ProdNode node
    if kind(t.array) < 0:
        return wrap(np.asarray(np.prod(t.array, axes_tuple(mask, nd), np.int64, keepdims=keep)))
    out = wrap(reduce_array(PROD, t.array, mask, keep, 1))
    if recorded(t):
        node = ProdNode.__new__(ProdNode)
        node.save(t, None)
        node.saved = None, kept_shape(t.array, mask), mask
        attach(out, node, (edge(t),))
    return out


cdef class NormNode(Node):
    """saved is (kept shape, mask)."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), y
        shape, mask = self.saved
        y = norm(x, 2, axes_tuple(mask, cnp.PyArray_NDIM(x.array)), True)
        y = where(wrap(np.asarray(y.array == 0)), 1.0, y)  # the gradient of a zero vector is 0
        return (mul(x, div(reshape(dy, shape), y)),)


cpdef Tensor norm(x, p=2, dim=None, keepdim=False):
    """The p-norm over dim (all by default): (sum |x|^p)^(1/p); p may be infinity, and "fro", PyTorch's default, is 2. A
    zero vector has the gradient 0.

    Raises
    ------
    ValueError
        If p is not positive, and not "fro".
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.norm(fnn.tensor([3.0, 4.0]))
    tensor(5.)
    """
    cdef Tensor t = floating(x), out
    cdef unsigned long long mask = axes_mask("norm", dim, cnp.PyArray_NDIM(t.array))
    cdef NormNode node
    if isinstance(p, str):
        if p != "fro":
            raise ValueError(f"norm: p is {p!r}; expected a positive number or 'fro', which is 2")
        p = 2
    if p == float("inf"):
        return amax(abs(t), dim, keepdim)
    if p == 1:
        return scaled_sum(abs(t), mask, keepdim, 1)
    if not p > 0:
        raise ValueError(f"norm: p must be positive, got {p}")
    if p != 2:
        return power_flat_at_zero(scaled_sum(power_flat_at_zero(abs(t), p), mask, keepdim, 1), 1.0 / p)
    out = wrap(unary_array(SQRT, reduce_array(SUM_SQUARES, t.array, mask, keepdim, 1)))
    if recorded(t):
        node = NormNode.__new__(NormNode)
        node.save(t, None)
        node.saved = kept_shape(t.array, mask), mask
        attach(out, node, (edge(t),))
    return out


cdef class LogSumExpNode(Node):
    """saved is the kept shape."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), y
        shape, mask = self.saved
        y = logsumexp(x, axes_tuple(mask, cnp.PyArray_NDIM(x.array)), True)
        return (mul(reshape(dy, shape), exp(sub(x, y))),)


cpdef Tensor logsumexp(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """log(sum(exp(x))) over dim (all by default), without overflow.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.logsumexp(fnn.zeros(2))
    tensor(0.6931472)
    """
    cdef Tensor t = floating(x), out
    cdef unsigned long long mask = axes_mask("logsumexp", either(dim, axis), cnp.PyArray_NDIM(t.array))
    cdef bint keep = keepdim if keepdims is None else keepdims
    cdef LogSumExpNode node
    cdef ndarray top, y
    if count_of(t.array, mask) == 0:
        return log(scaled_sum(t, mask, keep, 1))
    top = reduce_array(MAX, t.array, mask, True, 1)
    top = np.asarray(np.where(np.isfinite(top), top, 0), top.dtype)
    y = reduce_array(SUM, unary_array(EXP, binary_array(SUB, t.array, top)), mask, True, 1)
    y = binary_array(ADD, unary_array(LOG, y), top)
    out = wrap(y if keep else np.squeeze(y, axes_tuple(mask, cnp.PyArray_NDIM(y))))
    if recorded(t):
        node = LogSumExpNode.__new__(LogSumExpNode)
        node.save(t, None)
        node.saved = kept_shape(t.array, mask), mask
        attach(out, node, (edge(t),))
    return out


cdef class CumsumNode(Node):
    cdef tuple backward(self, Value dy):
        cdef int d = <int>self.alpha
        return (flip(cumsum(flip(dy, d), d), d),)


cpdef Tensor cumsum(x, dim=0):
    """The running sum along dim.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.cumsum(fnn.ones(3))
    tensor([1., 2., 3.])
    """
    cdef Tensor t = as_tensor(x), out
    cdef int nd = cnp.PyArray_NDIM(t.array), d = axis_of("cumsum", dim, nd if nd else 1)
    cdef CumsumNode node
    if nd == 0:
        return reshape(cumsum(reshape(t, (1,)), 0), ())
    out = wrap(np.cumsum(t.array, d) if kind(t.array) >= 0 else np.cumsum(t.array, d, np.int64))
    if recorded(t):
        node = CumsumNode.__new__(CumsumNode)
        node.alpha = d
        attach(out, node, (edge(t),))
    return out


cdef Tensor position(object function, str name, object x, object dim, bint keepdim):
    cdef Tensor t = as_tensor(x)
    cdef int nd = cnp.PyArray_NDIM(t.array)
    d = None if dim is None else axis_of(name, dim, nd if nd else 1)
    if cnp.PyArray_SIZE(t.array) == 0 and (d is None or cnp.PyArray_DIM(t.array, <int>d) == 0):
        raise ValueError(f"{name}: nothing to choose from in shape {shape_of(t.array)}, dim {dim}")
    return wrap(np.asarray(function(t.array, None if nd == 0 else d, keepdims=keepdim)))


cpdef Tensor argmax(x, dim=None, keepdim=False, axis=None):
    """The index of the first largest value along dim; in the flattened tensor by default.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.argmax(fnn.tensor([[1.0, 4.0], [3.0, 2.0]]), 1)
    tensor([1, 0])
    """
    return position(np.argmax, "argmax", x, either(dim, axis), keepdim)


cpdef Tensor argmin(x, dim=None, keepdim=False, axis=None):
    """The index of the first smallest value along dim; in the flattened tensor by default.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.argmin(fnn.tensor([[1.0, 4.0], [3.0, 2.0]]), 1)
    tensor([0, 1])
    """
    return position(np.argmin, "argmin", x, either(dim, axis), keepdim)


cpdef Tensor all(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """Whether all elements over dim are true.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.all(fnn.tensor([[True, False], [True, True]]), 1)
    tensor([False,  True])
    """
    cdef Tensor t = as_tensor(x)
    axes = axes_tuple(axes_mask("all", either(dim, axis), cnp.PyArray_NDIM(t.array)), cnp.PyArray_NDIM(t.array))
    return wrap(np.asarray(np.all(t.array, axes, keepdims=bool(keepdim if keepdims is None else keepdims))))


cpdef Tensor any(x, dim=None, keepdim=False, axis=None, keepdims=None):
    """Whether any element over dim is true.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.any(fnn.tensor([[True, False], [False, False]]), 1)
    tensor([ True, False])
    """
    cdef Tensor t = as_tensor(x)
    axes = axes_tuple(axes_mask("any", either(dim, axis), cnp.PyArray_NDIM(t.array)), cnp.PyArray_NDIM(t.array))
    return wrap(np.asarray(np.any(t.array, axes, keepdims=bool(keepdim if keepdims is None else keepdims))))
