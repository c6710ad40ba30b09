# Joining and splitting: joins copy, splits are views.

cdef list same_type(str name, object tensors):
    """A sequence of tensors in one dtype."""
    cdef list all = [as_tensor(t) for t in tensors]
    if not all:
        raise ValueError(f"{name}: expected at least one tensor")
    result = np.result_type(*[(<Tensor>t).array.dtype for t in all])
    if builtins.any([kind((<Tensor>t).array) == F32 for t in all]) and not builtins.any(
            [kind((<Tensor>t).array) == F64 for t in all]):
        result = np.dtype(np.float32)
    return [cast(t, type_number(name, result)) for t in all]


cdef class CatNode(Node):
    """alpha is the dimension, saved the borders."""
    cdef tuple backward(self, Value dy):
        cdef int d = <int>self.alpha
        cdef list borders = self.saved
        cdef tuple front = (slice(None),) * d
        return tuple([getitem(dy, front + (slice(borders[i], borders[i + 1]),)) if self.needs(<int>i) else None
                      for i in range(len(borders) - 1)])


cpdef Tensor cat(tensors, int dim=0):
    """Tensors joined along a dimension that exists.

    Raises
    ------
    ValueError
        If there is nothing to join, or shapes differ in another dimension.
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.cat([fnn.zeros(2), fnn.ones(1)])
    tensor([0., 0., 1.])
    """
    cdef list parts = same_type("cat", tensors), borders = [0]
    cdef Tensor out, t
    cdef CatNode node
    cdef int d = axis_of("cat", dim, cnp.PyArray_NDIM((<Tensor>parts[0]).array))
    cdef bint needed = False
    try:
        out = wrap(np.concatenate([(<Tensor>t).array for t in parts], d))
    except ValueError:
        raise ValueError(f"cat: shapes {[t.shape for t in parts]} differ in more than dimension {d}") from None
    for t in parts:
        needed = needed or t.needs_grad
        borders.append(borders[-1] + cnp.PyArray_DIM(t.array, d))
    if needed and grad_enabled():
        node = CatNode.__new__(CatNode)
        node.alpha, node.saved = d, borders
        attach(out, node, tuple([edge(t) for t in parts]))
    return out


concatenate = cat


cpdef Tensor stack(tensors, int dim=0):
    """Tensors of one shape joined along a new dimension.

    Raises
    ------
    ValueError
        If there is nothing to join, or shapes differ.
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.stack([fnn.zeros(2), fnn.ones(2)])
    tensor([[0., 0.],
            [1., 1.]])
    """
    cdef list parts = same_type("stack", tensors)
    if len({t.shape for t in parts}) > 1:
        raise ValueError(f"stack: shapes {[t.shape for t in parts]} differ")
    return cat([unsqueeze(t, dim) for t in parts], dim)


cpdef tuple split(x, split_size, int dim=0):
    """x cut along dim into pieces of split_size (the last may be smaller), or of the sizes in a list. Views.

    Raises
    ------
    TypeError
        If a size is no integer.
    ValueError
        If it is not positive, or sizes do not add up.
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.split(fnn.arange(3), 2)
    (tensor([0, 1]), tensor([2]))
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("split", dim, cnp.PyArray_NDIM(t.array))
    cdef npy_intp n = cnp.PyArray_DIM(t.array, d), at = 0
    cdef tuple front = (slice(None),) * d
    cdef list pieces = []
    if isinstance(split_size, (list, tuple)):
        lengths = sizes(split_size)
        if builtins.any([s < 0 for s in lengths]) or builtins.sum(lengths) != n:
            raise ValueError(f"split: sizes {lengths} do not add up to {n}, the size of dimension {d}")
    else:
        size = whole("split: split_size", split_size)
        if size < 1:
            raise ValueError(f"split: split_size must be positive, got {size}")
        lengths = [size] * (n // size) + ([n % size] if n % size or n == 0 else [])
    for s in lengths:
        pieces.append(getitem(t, front + (slice(at, at + s),)))
        at += s
    return tuple(pieces)


cpdef tuple chunk(x, int chunks, int dim=0):
    """x cut along dim into that many pieces of equal size, the last smaller (or fewer pieces). Views.

    Raises
    ------
    ValueError
        If `chunks` is not positive.
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.chunk(fnn.arange(3), 2)
    (tensor([0, 1]), tensor([2]))
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("chunk", dim, cnp.PyArray_NDIM(t.array))
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    cdef npy_intp size = (cnp.PyArray_DIM(t.array, d) + chunks - 1) // chunks
    return split(t, size if size > 0 else 1, d)


cpdef tuple unbind(x, int dim=0):
    """The slices of x along dim, as a tuple of views.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.unbind(fnn.eye(2))
    (tensor([1., 0.]), tensor([0., 1.]))
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("unbind", dim, cnp.PyArray_NDIM(t.array))
    cdef tuple front = (slice(None),) * d
    return tuple([getitem(t, front + (i,)) for i in range(cnp.PyArray_DIM(t.array, d))])
