# Shape and order: reshape, permute, broadcast. Views where that is possible.

cdef int axis_of(str name, object axis, int nd) except -1:
    """A dimension counted from the front; checks it."""
    try:
        d = axis.__index__()
    except AttributeError:
        raise TypeError(f"{name}: a dimension must be an integer, got {type(axis).__name__}") from None
    if not -nd <= d < nd:
        raise IndexError(f"{name}: dimension {d} is out of range for {nd} dimensions")
    return d + nd if d < 0 else d


class Size(int):
    """How many elements a tensor has. Called, it is PyTorch's `Tensor.size`: the shape, or one of its sizes."""

    def __new__(cls, n, shape):
        self = int.__new__(cls, n)
        self._shape = shape
        return self

    def __call__(self, dim=None):
        return self._shape if dim is None else self._shape[axis_of("size", dim, <int>len(self._shape))]

    def __reduce__(self):
        return int, (int(self),)


cdef Tensor view_of(Tensor x, ndarray array):
    """array, made from x's, as a tensor that shares x's version if it shares the memory: begins where x's does."""
    if cnp.PyArray_DATA(array) != cnp.PyArray_DATA(x.array):
        return wrap(array)
    return alias(x, array)


cdef class ReshapeNode(Node):
    cdef tuple backward(self, Value dy):
        return (reshape(dy, self.saved),)


cpdef Tensor reshape(x, shape):
    """x in another shape of the same size; one size may be -1. A view where that is possible.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.reshape(fnn.arange(4), (2, -1))
    tensor([[0, 1],
            [2, 3]])
    """
    cdef Tensor t = as_tensor(x), out
    cdef ReshapeNode node
    out = view_of(t, reshaped(t.array, shape if isinstance(shape, tuple) else sizes(shape)))
    if recorded(t):
        node = ReshapeNode.__new__(ReshapeNode)
        node.saved = shape_of(t.array)
        attach(out, node, (edge(t),))
    return out


cdef ndarray reshaped(ndarray a, tuple shape):
    cdef npy_intp dims[64]
    cdef cnp.PyArray_Dims new
    cdef Py_ssize_t d
    if len(shape) > 64:
        raise ValueError(f"reshape: {len(shape)} dimensions; at most 64 are possible")
    new.ptr, new.len = dims, <int>len(shape)
    try:
        for d in range(len(shape)):
            dims[d] = as_size(shape[d], OverflowError)
            if dims[d] < -1:
                raise ValueError
        if flattens_images(a, shape):
            a = contiguous(a)  # a copy in any case: in memory of ours, that the next step finds again
        return cnp.PyArray_Newshape(a, &new, cnp.NPY_CORDER)
    except TypeError:
        raise TypeError(f"reshape: a shape must hold integers, got {shape}") from None
    except (ValueError, OverflowError):
        raise ValueError(f"reshape: a tensor of shape {shape_of(a)} does not fit shape {shape}") from None


cdef bint flattens_images(ndarray a, tuple shape) noexcept:
    """Whether images (N, C, ...), channels-last in memory, shall become rows (N, C * ...)."""
    cdef int nd = cnp.PyArray_NDIM(a)
    cdef npy_intp pixels = 1
    cdef int d
    if nd < 3 or kind(a) < 0 or dense(a) or len(shape) != 2 or cnp.PyArray_STRIDE(a, 1) != cnp.PyArray_ITEMSIZE(a):
        return False
    for d in range(2, nd):
        pixels *= cnp.PyArray_DIM(a, d)
    return cnp.PyArray_DIM(a, 1) > 1 and pixels > 1 and shape[0] == cnp.PyArray_DIM(a, 0) > 0


cpdef Tensor flatten(x, int start_dim=0, int end_dim=-1):
    """x with the dimensions from start_dim to end_dim merged into one.

    Raises
    ------
    ValueError
        If `start_dim` comes after `end_dim`.
    IndexError
        If one is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.flatten(fnn.zeros(2, 3, 4), 1).shape
    (2, 12)
    """
    cdef Tensor t = as_tensor(x)
    cdef tuple shape = shape_of(t.array)
    cdef int nd = cnp.PyArray_NDIM(t.array), first, last
    if nd == 0:
        return reshape(t, (1,))
    first, last = axis_of("flatten", start_dim, nd), axis_of("flatten", end_dim, nd)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    size = 1
    for n in shape[first:last + 1]:
        size *= n
    return reshape(t, shape[:first] + (size,) + shape[last + 1:])


cdef class PermuteNode(Node):
    cdef tuple backward(self, Value dy):
        cdef list inverse = [0] * len(<tuple>self.saved)
        for i, d in enumerate(<tuple>self.saved):
            inverse[d] = i
        return (permute(dy, tuple(inverse)),)


cpdef Tensor permute(x, dims):
    """A view of x with its dimensions in the order dims; None reverses them.

    Raises
    ------
    ValueError
        If dims do not name every dimension once.
    IndexError
        If one is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.permute(fnn.zeros(2, 3, 4), (2, 0, 1)).shape
    (4, 2, 3)
    """
    cdef Tensor t = as_tensor(x), out
    cdef PermuteNode node
    cdef int nd = cnp.PyArray_NDIM(t.array)
    cdef tuple order = tuple(range(nd - 1, -1, -1)) if dims is None else tuple(
        [axis_of("permute", d, nd) for d in sizes(dims)])
    if len(order) != nd or len(set(order)) != nd:
        raise ValueError(f"permute: dims {dims} do not name each of {nd} dimensions once")
    out = alias(t, t.array.transpose(order))
    if recorded(t):
        node = PermuteNode.__new__(PermuteNode)
        node.saved = order
        attach(out, node, (edge(t),))
    return out


cdef class TransposeNode(Node):
    cdef tuple backward(self, Value dy):
        return (transpose(dy, <int>self.alpha, <int>self.beta),)


cpdef Tensor transpose(x, int dim0, int dim1):
    """A view of x with two dimensions swapped.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.transpose(fnn.zeros(2, 3, 4), 0, 2).shape
    (4, 3, 2)
    """
    cdef Tensor t = as_tensor(x), out
    cdef TransposeNode node
    cdef int nd = cnp.PyArray_NDIM(t.array), a = axis_of("transpose", dim0, nd), b = axis_of("transpose", dim1, nd)
    out = alias(t, cnp.PyArray_SwapAxes(t.array, a, b))
    if recorded(t):
        node = TransposeNode.__new__(TransposeNode)
        node.alpha, node.beta = a, b
        attach(out, node, (edge(t),))
    return out


swapaxes = transpose


cpdef Tensor squeeze(x, dim=None):
    """x without its dimensions of size 1: all of them, or those that dim names.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.squeeze(fnn.zeros(1, 3, 1)).shape
    (3,)
    """
    cdef Tensor t = as_tensor(x)
    cdef tuple shape = shape_of(t.array)
    cdef set dims
    if dim is None:
        return reshape(t, tuple([n for n in shape if n != 1]))
    dims = {axis_of("squeeze", d, <int>(len(shape) or 1)) for d in sizes(dim)}  # PyTorch's 0-d tensors know 0 and -1, too
    return reshape(t, tuple([n for d, n in enumerate(shape) if n != 1 or d not in dims]))


cpdef Tensor unsqueeze(x, int dim):
    """x with a dimension of size 1 put in at dim.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.unsqueeze(fnn.zeros(3), 0).shape
    (1, 3)
    """
    cdef Tensor t = as_tensor(x)
    cdef tuple shape = shape_of(t.array)
    cdef int d = axis_of("unsqueeze", dim, <int>len(shape) + 1)
    return reshape(t, shape[:d] + (1,) + shape[d:])


cdef class BroadcastNode(Node):
    cdef tuple backward(self, Value dy):
        return (sum_to(dy, self.saved),)


cpdef Tensor broadcast_to(x, shape):
    """A view of x, its dimensions of size 1 (and new leading ones) repeated to shape; -1 keeps a size.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.broadcast_to(fnn.tensor([[1.0], [2.0]]), (2, 2))
    tensor([[1., 1.],
            [2., 2.]])
    """
    cdef Tensor t = as_tensor(x), out
    cdef BroadcastNode node
    out = alias(t, stretched(t.array, shape if isinstance(shape, tuple) else sizes(shape)))
    if recorded(t):
        node = BroadcastNode.__new__(BroadcastNode)
        node.saved = shape_of(t.array)
        attach(out, node, (edge(t),))
    return out


cdef ndarray stretched(ndarray a, tuple shape):
    """A read-only view of a with stride 0 where it is repeated."""
    cdef npy_intp dims[64]
    cdef npy_intp strides[64]
    cdef npy_intp n, size = 1
    cdef int nd = <int>len(shape), lead = nd - cnp.PyArray_NDIM(a), d
    cdef ndarray view
    cdef bint fits = 0 <= lead and nd <= 64
    if fits:
        for d in range(nd):
            n = as_size(shape[d], OverflowError)  # no float passes for a size
            dims[d] = cnp.PyArray_DIM(a, d - lead) if n == -1 and d >= lead else n
            strides[d] = 0
            if d >= lead and cnp.PyArray_DIM(a, d - lead) != 1:
                strides[d] = cnp.PyArray_STRIDE(a, d - lead)
                fits = fits and dims[d] == cnp.PyArray_DIM(a, d - lead)
            fits = fits and dims[d] >= 0 and (dims[d] == 0 or size < (<npy_intp>1 << 59) // dims[d])
            size *= dims[d] if fits and dims[d] else 1
    if not fits:
        raise ValueError(f"broadcast_to: shape {shape_of(a)} does not broadcast to {shape}")
    view = new_ndarray(&PyArray_Type, nd, dims, cnp.PyArray_TYPE(a), strides, cnp.PyArray_DATA(a), 0,
                       cnp.NPY_ARRAY_ALIGNED, NULL)
    cnp.set_array_base(view, a)
    return view


expand = broadcast_to


def tile(x, dims):
    """x side by side with copies of itself, dims[d] times along each dimension; `Tensor.repeat` is the same.

    Parameters
    ----------
    x : Tensor
    dims : int or tuple of int
        Counted from the last dimension; where there are more than x has, x gets leading dimensions.

    Raises
    ------
    ValueError
        If a number is negative, or there are more than 32 dimensions.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.tile(fnn.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    cdef Tensor t = as_tensor(x)
    cdef tuple times = sizes(dims), shape = shape_of(t.array)
    cdef Py_ssize_t nd = builtins.max(len(times), len(shape))
    times, shape = (1,) * (nd - len(times)) + times, (1,) * (nd - len(shape)) + shape
    if builtins.any([n < 0 for n in times]):
        raise ValueError(f"tile: expected no negative numbers, got {dims}")
    if 2 * nd > 64:
        raise ValueError(f"tile: {nd} dimensions; at most 32 are possible")
    apart = reshape(t, tuple([m for n in shape for m in (1, n)]))
    wide = broadcast_to(apart, tuple([m for pair in zip(times, shape) for m in pair]))
    return reshape(wide, tuple([n * m for n, m in zip(times, shape)]))


cdef class FlipNode(Node):
    cdef tuple backward(self, Value dy):
        return (flip(dy, self.saved),)


cpdef Tensor flip(x, dims):
    """x with the order along the given dimensions reversed, a copy.

    Raises
    ------
    ValueError
        If a dimension is named twice.
    IndexError
        If one is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.flip(fnn.arange(3), 0)
    tensor([2, 1, 0])
    """
    cdef Tensor t = as_tensor(x), out
    cdef FlipNode node
    cdef tuple axes = tuple([axis_of("flip", d, cnp.PyArray_NDIM(t.array)) for d in sizes(dims)])
    if len(set(axes)) != len(axes):
        raise ValueError(f"flip: dims {dims} name a dimension twice")
    out = wrap(np.array(np.flip(t.array, axes), order="C"))
    if recorded(t):
        node = FlipNode.__new__(FlipNode)
        node.saved = axes
        attach(out, node, (edge(t),))
    return out


cdef class RollNode(Node):
    cdef tuple backward(self, Value dy):
        shifts, dims = self.saved
        return (roll(dy, tuple([-s for s in shifts]), dims),)


cpdef Tensor roll(x, shifts, dims=None):
    """x shifted along dims, what falls off coming back at the other end; without dims over the flattened tensor.

    Raises
    ------
    ValueError
        If there are not as many shifts as dims.
    IndexError
        If a dimension is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.roll(fnn.arange(3), 1)
    tensor([2, 0, 1])
    """
    cdef Tensor t = as_tensor(x), out
    cdef RollNode node
    cdef tuple by = sizes(shifts), axes = None if dims is None else sizes(dims)
    if axes is not None:
        axes = tuple([axis_of("roll", d, cnp.PyArray_NDIM(t.array)) for d in axes])
    if len(by) != (1 if axes is None else len(axes)):
        raise ValueError(f"roll: {len(by)} shifts for {1 if axes is None else len(axes)} dims")
    out = wrap(np.roll(t.array, by[0] if axes is None else by, axes) if by else copy_of(t.array))
    if recorded(t):
        node = RollNode.__new__(RollNode)
        node.saved = by, axes
        attach(out, node, (edge(t),))
    return out


# ----- triangles, outer product -----

cdef class TriangleNode(Node):
    """alpha is the diagonal, beta 1 for the lower triangle."""
    cdef tuple backward(self, Value dy):
        return (tril(dy, <int>self.alpha) if self.beta else triu(dy, <int>self.alpha),)


cdef Tensor triangle(str name, object x, int diagonal, bint lower):
    cdef Tensor t = as_tensor(x), out
    cdef TriangleNode node
    if cnp.PyArray_NDIM(t.array) < 2:
        raise ValueError(f"{name}: expected at least 2 dimensions, got shape {shape_of(t.array)}")
    out = wrap(np.tril(t.array, diagonal) if lower else np.triu(t.array, diagonal))
    if recorded(t):
        node = TriangleNode.__new__(TriangleNode)
        node.alpha, node.beta = diagonal, lower
        attach(out, node, (edge(t),))
    return out


cpdef Tensor tril(x, int diagonal=0):
    """The lower triangle of the matrices in x, 0 above the diagonal.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.tril(fnn.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return triangle("tril", x, diagonal, True)


cpdef Tensor triu(x, int diagonal=0):
    """The upper triangle of the matrices in x, 0 below the diagonal.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.triu(fnn.ones(2, 2), 1)
    tensor([[0., 1.],
            [0., 0.]])
    """
    return triangle("triu", x, diagonal, False)


cpdef Tensor outer(a, b):
    """The products of every element of a with every element of b, for 1-D a and b.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.outer(fnn.tensor([1.0, 2.0]), fnn.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    cdef Tensor x = as_tensor(a), y = as_tensor(b)
    if cnp.PyArray_NDIM(x.array) != 1 or cnp.PyArray_NDIM(y.array) != 1:
        raise ValueError(f"outer: expected 1-D tensors, got shapes {shape_of(x.array)} and {shape_of(y.array)}")
    return mul(unsqueeze(x, 1), unsqueeze(y, 0))
