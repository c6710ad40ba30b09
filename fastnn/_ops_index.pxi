# Indexing. Reading at a key and writing gradients back at the key are each other's backward, so both are ops.

cdef extern from "Python.h":
    int Py_EnterRecursiveCall(const char* where) except *  # not zero, and not always -1
    void Py_LeaveRecursiveCall()

cdef object np_integer = np.integer

cdef enum:
    MOST_INDICES = 32  # NumPy's add.at crashes with more


cdef object each(object (*change)(object), object sequence):
    """A tuple or list of what its elements are changed to; a RecursionError where lists in lists find no end."""
    Py_EnterRecursiveCall(" in a nested sequence")
    try:
        changed = [change(v) for v in sequence]
    finally:
        Py_LeaveRecursiveCall()
    return tuple(changed) if isinstance(sequence, tuple) else changed


cdef object plain_key(object key):
    """A key with arrays in the place of tensors."""
    if isinstance(key, (tuple, list)):
        return each(plain_key, key)
    if isinstance(key, Tensor):
        array = (<Tensor>key).array
        if kind(array) >= 0:
            raise IndexError(f"a float tensor cannot be an index")
        return array
    return key


cdef bint simple(object key):
    """Whether the key is made of integers, slices, None and ...: then it takes every element at most once, as a
    view. A tuple within a tuple is a list of indices to NumPy."""
    if isinstance(key, tuple):
        for k in <tuple>key:
            if isinstance(k, tuple) or not simple(k):
                return False
        return True
    return key is None or key is Ellipsis or isinstance(key, slice) or (
        isinstance(key, (int, np_integer)) and not isinstance(key, builtins.bool))


cdef object own_key(object key):
    """A copy of the arrays in a key: the user may change theirs before the backward."""
    if isinstance(key, tuple):
        return tuple([own_key(k) for k in key])
    if isinstance(key, list):
        return np.array(key, None if np.size(key) else np.int64)  # [] is a list of no indices, not of no floats
    return key.copy() if isinstance(key, np_ndarray) else key


cdef class IndexNode(Node):
    """saved is (key, shape of x)."""
    cdef tuple backward(self, Value dy):
        key, shape = self.saved
        return (put(dy, key, shape),)


cdef Tensor getitem(object x, object key):
    """x[key]: a view for integers and slices, a copy for masks and integer arrays."""
    cdef Tensor t = x, out
    cdef IndexNode node
    cdef bint easy = simple(key)
    cdef object taken
    if not easy:
        key = plain_key(key)
    taken = t.array[key]
    if isinstance(taken, np_ndarray):
        out = alias(t, taken) if easy else wrap(taken)
    else:
        out = wrap(np.asarray(taken))  # NumPy makes a scalar of a single element
        if easy:
            out = alias(t, t.array[(key if isinstance(key, tuple) else (key,)) + (Ellipsis,)])
    if recorded(t):
        node = IndexNode.__new__(IndexNode)
        node.saved = (key if easy else own_key(key), shape_of(t.array))
        attach(out, node, (edge(t),))
    return out


cdef class PutNode(Node):
    cdef tuple backward(self, Value dy):
        return (getitem(dy, self.saved),)


cdef Tensor put(Tensor values, object key, tuple shape):
    """Zeros of a shape, with values added at key."""
    cdef Tensor out = wrap(filled("index", shape, 0, values.array.dtype))
    cdef PutNode node
    if simple(key):
        out.array[key] = values.array
    elif isinstance(key, np_ndarray) and (<ndarray>key).dtype.kind == "b":
        out.array[key] = values.array
    else:
        if isinstance(key, tuple) and builtins.sum([not isinstance(k, slice) for k in key]) > MOST_INDICES:
            raise ValueError(f"index: a key of {len(key)} parts; at most {MOST_INDICES} indices can be added at")
        np.add.at(out.array, key, values.array)
    if recorded(values):
        node = PutNode.__new__(PutNode)
        node.saved = key
        attach(out, node, (edge(values),))
    return out


cdef ndarray index_array(str name, object index):
    cdef ndarray array = as_tensor(index).array
    if kind(array) >= 0 or cnp.PyArray_TYPE(array) == cnp.NPY_BOOL:
        if cnp.PyArray_SIZE(array) == 0:
            return array.astype(np.int64)
        raise TypeError(f"{name}: index must be integers, got {array.dtype}")
    return np.array(array, np.int64)


cpdef Tensor index_select(x, int dim, index):
    """The slices of x along dim that a 1-D index names.

    Raises
    ------
    TypeError
        If index is not of integers.
    ValueError
        If it is not 1-D.
    IndexError
        If it names no slice, or dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.index_select(fnn.tensor([5.0, 6.0, 7.0]), 0, [2, 0])
    tensor([7., 5.])
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("index_select", dim, cnp.PyArray_NDIM(t.array))
    cdef ndarray i = index_array("index_select", index)
    if cnp.PyArray_NDIM(i) != 1:
        raise ValueError(f"index_select: index must be 1-D, got shape {shape_of(i)}")
    return getitem(t, (slice(None),) * d + (i,))


cdef tuple along(str name, ndarray x, int d, ndarray index):
    """The key that reads or writes x along one dimension at index, which has x's shape but for that dimension."""
    cdef int nd = cnp.PyArray_NDIM(x), e
    cdef list key = []
    if cnp.PyArray_NDIM(index) != nd:
        raise ValueError(f"{name}: index has {cnp.PyArray_NDIM(index)} dimensions; expected {nd}")
    for e in range(nd):
        if e != d and cnp.PyArray_DIM(index, e) > cnp.PyArray_DIM(x, e):
            raise ValueError(f"{name}: index of shape {shape_of(index)} is larger than {shape_of(x)} in dimension {e}")
    if cnp.PyArray_SIZE(index) and (index.min() < 0 or index.max() >= cnp.PyArray_DIM(x, d)):
        raise IndexError(f"{name}: index holds values outside [0, {cnp.PyArray_DIM(x, d)})")
    for e in range(nd):
        if e == d:
            key.append(index)
        else:
            key.append(np.arange(cnp.PyArray_DIM(index, e)).reshape([-1 if i == e else 1 for i in range(nd)]))
    return tuple(key)


cpdef Tensor gather(x, int dim, index):
    """out[i][j][k] = x[i][index[i][j][k]][k] for dim 1, and so on: elements picked along one dimension.

    Parameters
    ----------
    x : Tensor
    dim : int
    index : integer Tensor
        As many dimensions as x, in [0, x.shape[dim]).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.gather(fnn.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, [[1], [0]])
    tensor([[2.],
            [3.]])
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("gather", dim, cnp.PyArray_NDIM(t.array))
    return getitem(t, along("gather", t.array, d, index_array("gather", index)))


cpdef Tensor scatter_add(x, int dim, index, src):
    """x with the elements of src added at the places along dim that index names; the reverse of `gather`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.scatter_add(fnn.zeros(3), 0, [2, 0, 2], fnn.tensor([1.0, 2.0, 3.0]))
    tensor([2., 0., 4.])
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("scatter_add", dim, cnp.PyArray_NDIM(t.array))
    cdef ndarray i = index_array("scatter_add", index)
    cdef tuple key = along("scatter_add", t.array, d, i)
    return add(t, put(source_of("scatter_add", src, i), key, shape_of(t.array)))


cpdef Tensor one_hot(index, num_classes=None):
    """int64 zeros with a 1 at each index, along a new last dimension; num_classes is the largest index + 1 by default (or
    where it is -1, as PyTorch says it).

    Raises
    ------
    TypeError
        If index is not of integers.
    IndexError
        If an index is negative, or not below num_classes.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.one_hot([0, 2])
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    cdef ndarray i = index_array("one_hot", index)
    if num_classes is None or num_classes == -1:
        num_classes = int(i.max()) + 1 if cnp.PyArray_SIZE(i) else 0
    n = whole("one_hot: num_classes", num_classes)
    if cnp.PyArray_SIZE(i) and (i.min() < 0 or i.max() >= n):
        raise IndexError(f"one_hot: index holds values outside [0, {n})")
    cdef ndarray out = np.asarray(filled("one_hot", shape_of(i) + (n,), 0, np.int64))
    np.put_along_axis(out, i[..., None], 1, -1)
    return wrap(out)


cpdef Tensor sort(x, int dim=-1, bint descending=False):
    """The values of x in order along dim (a stable sort; NaN counts as the largest).

    Gradients go back to where the values came from.

    As in NumPy, the values alone: the places, which PyTorch gives as well, are `argsort(x, dim, descending)`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sort(fnn.tensor([3.0, 1.0, 2.0]))
    tensor([1., 2., 3.])
    """
    cdef Tensor t = as_tensor(x)
    if cnp.PyArray_NDIM(t.array) == 0:
        return t
    return gather(t, dim, argsort(t, dim, descending))


cpdef Tensor argsort(x, int dim=-1, bint descending=False):
    """The indices that sort x along dim (stable).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.argsort(fnn.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    cdef Tensor t = as_tensor(x)
    if cnp.PyArray_NDIM(t.array) == 0:
        return wrap(np.zeros((), np.int64))
    cdef int d = axis_of("argsort", dim, cnp.PyArray_NDIM(t.array))
    if not descending:
        return wrap(np.argsort(t.array, d, kind="stable"))
    order = np.flip(np.argsort(np.flip(t.array, d), d, kind="stable"), d)
    return wrap(contiguous(t.array.shape[d] - 1 - order))


def topk(x, k, int dim=-1, bint largest=True):
    """The k largest (or smallest) values of x along dim, in order, and where they stand: a pair (values, indices).

    Parameters
    ----------
    x : Tensor
        At least one dimension.
    k : int
        From 0 to x.shape[dim].

    Returns
    -------
    (Tensor, Tensor)
        Both with size k in dimension dim. Gradients go back to where the values came from.

    Raises
    ------
    ValueError
        If there are fewer than k elements along dim.

    Examples
    --------
    >>> import fastnn as fnn
    >>> values, indices = fnn.topk(fnn.tensor([3.0, 1.0, 2.0]), 2)
    >>> values, indices
    (tensor([3., 2.]), tensor([0, 2]))
    """
    cdef Tensor t = as_tensor(x)
    cdef int d = axis_of("topk", dim, cnp.PyArray_NDIM(t.array))
    n = whole("topk: k", k)
    if not 0 <= n <= cnp.PyArray_DIM(t.array, d):
        raise ValueError(f"topk: k is {n}; expected 0 to {cnp.PyArray_DIM(t.array, d)}, the size of dimension {dim}")
    indices = getitem(argsort(t, d, largest), (slice(None),) * d + (slice(n),))
    return gather(t, d, indices), indices


cdef class ScatterNode(Node):
    """saved is (dim, index)."""
    cdef tuple backward(self, Value dy):
        d, index = self.saved
        return scatter(dy, d, index, 0), gather(dy, d, index)


def scatter(x, int dim, index, src):
    """x with the elements of src, or one number, at the places along dim that index names; the reverse of `gather`.

    Where index names a place twice, the last element counts, but both get its gradient.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.scatter(fnn.zeros(2, 3), 1, [[2], [0]], 1)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    cdef Tensor t = as_tensor(x), s, out
    cdef ScatterNode node
    cdef ndarray i = index_array("scatter", index)
    cdef int d = axis_of("scatter", dim, cnp.PyArray_NDIM(t.array))
    cdef tuple key = along("scatter", t.array, d, i)
    s = cast(source_of("scatter", src, i), cnp.PyArray_TYPE(t.array))
    out = wrap(copy_of(t.array))
    out.array[key] = s.array
    if kind(out.array) >= 0 and recorded_pair(t, s):
        node = ScatterNode.__new__(ScatterNode)
        node.saved = d, i
        attach(out, node, (edge(t), edge(s)))
    return out


cdef Tensor source_of(str name, object src, ndarray index):
    """What goes to the places of index: the part of src that has index's shape; of a single number copies."""
    cdef Tensor s = as_tensor(src)
    if number(src):
        return broadcast_to(s, shape_of(index))
    if cnp.PyArray_NDIM(s.array) != cnp.PyArray_NDIM(index) or builtins.any(
            [n > m for n, m in zip(shape_of(index), shape_of(s.array))]):
        raise ValueError(f"{name}: src of shape {shape_of(s.array)} is smaller than index of shape {shape_of(index)}")
    return s if same_shape(s.array, index) else getitem(s, tuple([slice(n) for n in shape_of(index)]))


def nonzero(x):
    """The indices of the elements that are not 0, one row for each: shape (how many, x.ndim).

    `x[mask]` needs no indices; NumPy's ``np.nonzero(x.numpy())`` gives one array for each dimension.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nonzero(fnn.tensor([[0.0, 5.0], [6.0, 0.0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    return wrap(np.argwhere(as_tensor(x).array))


def repeat_interleave(x, repeats, dim=None):
    """x with each of its slices along dim repeated, the copies side by side; without dim over the flattened tensor.

    Parameters
    ----------
    x : Tensor
    repeats : int or 1-D integer Tensor
        How often, for all or one by one.

    Raises
    ------
    TypeError
        If repeats are no integers.
    ValueError
        If they are negative, more than 2**40 in all, or another number than there are slices.
    IndexError
        If dim is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.repeat_interleave(fnn.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    cdef Tensor t = as_tensor(x)
    if dim is None:
        t, dim = reshape(t, (-1,)), 0
    cdef int d = axis_of("repeat_interleave", dim, cnp.PyArray_NDIM(t.array))
    cdef ndarray n = index_array("repeat_interleave", repeats)
    size = cnp.PyArray_DIM(t.array, d)
    if shape_of(n) not in ((), (1,), (size,)) or builtins.any(n.ravel() < 0) or n.sum(dtype=float) * size >= 1 << 40:
        raise ValueError(f"repeat_interleave: repeats must be one number or {size}, not negative and below 2**40 in "
                         f"all, got {repeats}")
    return index_select(t, d, np.repeat(np.arange(size), n))
