# Comparison, choice and logic. Their results are bool tensors without gradient; `where` passes gradients to what it
# chose.

cdef dict COMPARISONS = {Py_EQ: np.equal, Py_NE: np.not_equal, Py_LT: np.less, Py_LE: np.less_equal, Py_GT: np.greater,
                         Py_GE: np.greater_equal}


cdef inline object plain(object x):
    """The array of a tensor; anything else as it is."""
    return (<Tensor>x).array if isinstance(x, Tensor) else x


cdef Tensor compare(object a, object b, int op):
    """The bool tensor of an elementwise comparison."""
    return without_gradient(COMPARISONS[op], COMPARISONS[op].__name__, python_number(a), python_number(b))


cdef Tensor without_gradient(object ufunc, str name, object a, object b=None):
    """A NumPy function on plain arrays."""
    cdef object result
    try:
        with np.errstate(all="ignore"):
            result = ufunc(plain(a)) if b is None else ufunc(plain(a), plain(b))
    except ValueError:
        raise ValueError(f"{name}: shapes {np.shape(plain(a))} and {np.shape(plain(b))} do not broadcast") from None
    return wrap(door(name, np.asarray(result), None))


def eq(a, b):
    """a == b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.eq(fnn.tensor([1, 2, 3]), 2)
    tensor([False,  True, False])
    """
    return compare(a, b, Py_EQ)


def ne(a, b):
    """a != b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.ne(fnn.tensor([1, 2, 3]), 2)
    tensor([ True, False,  True])
    """
    return compare(a, b, Py_NE)


def lt(a, b):
    """a < b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.lt(fnn.tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """
    return compare(a, b, Py_LT)


def le(a, b):
    """a <= b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.le(fnn.tensor([1, 2, 3]), 2)
    tensor([ True,  True, False])
    """
    return compare(a, b, Py_LE)


def gt(a, b):
    """a > b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.gt(fnn.tensor([1, 2, 3]), 2)
    tensor([False, False,  True])
    """
    return compare(a, b, Py_GT)


def ge(a, b):
    """a >= b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.ge(fnn.tensor([1, 2, 3]), 2)
    tensor([False,  True,  True])
    """
    return compare(a, b, Py_GE)


def logical_not(x):
    """not x, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.logical_not([True, False])
    tensor([False,  True])
    """
    return without_gradient(np.logical_not, "logical_not", x)


def logical_and(a, b):
    """a and b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.logical_and([True, True], [True, False])
    tensor([ True, False])
    """
    return without_gradient(np.logical_and, "logical_and", a, b)


def logical_or(a, b):
    """a or b, element by element.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.logical_or([True, False], [False, False])
    tensor([ True, False])
    """
    return without_gradient(np.logical_or, "logical_or", a, b)


def allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all elements are equal within rtol * |b| + atol.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.allclose(fnn.ones(2), fnn.ones(2) + 1e-7)
    True
    """
    return np.allclose(plain(a), plain(b), float(rtol), float(atol), bool(equal_nan))


cdef class WhereNode(Node):
    """Its first value is the condition; saved is (shape of a, shape of b)."""
    cdef tuple backward(self, Value dy):
        cdef Tensor condition = <Tensor>self.first()
        a_shape, b_shape = self.saved
        cdef Tensor zero = wrap(one_number(0, cnp.PyArray_TYPE((<Tensor>dy).array)))
        return (sum_to(where(condition, dy, zero), a_shape) if self.needs(0) else None,
                sum_to(where(condition, zero, dy), b_shape) if self.needs(1) else None)


cdef Tensor beside_number(Tensor x, object s):
    """x in the dtype of a result that also holds the number: no integer holds a fraction, no bool an integer."""
    if isinstance(s, (float, np.floating)):
        return floating(x)
    return x if isinstance(s, (builtins.bool, np.bool_)) or x.array.dtype != np.bool_ else x.to(np.int64)


cpdef Tensor where(condition, a, b):
    """a where condition is true, b elsewhere; broadcasts. Gradients go to what was chosen.

    Raises
    ------
    TypeError
        If the condition is not of bools.
    ValueError
        If the shapes do not broadcast.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([-1.0, 2.0])
    >>> fnn.where(x > 0, x, 0)
    tensor([0., 2.])
    """
    cdef Tensor x, y, c = as_tensor(condition), out
    cdef WhereNode node
    cdef int type_num
    if cnp.PyArray_TYPE(c.array) != cnp.NPY_BOOL:
        raise TypeError(f"where: condition must be bool, got {c.array.dtype}")
    if isinstance(a, Tensor) and number(b):
        x = beside_number(a, b)
        y = as_tensor(b, x.array.dtype)
    elif isinstance(b, Tensor) and number(a):
        y = beside_number(b, a)
        x = as_tensor(a, y.array.dtype)
    else:
        x, y = beside(a, b), beside(b, a)
    if kind(x.array) >= 0 or kind(y.array) >= 0:
        type_num = common_type(x.array, y.array)
        x, y = cast(x, type_num), cast(y, type_num)
    try:
        out = wrap(np.where(c.array, x.array, y.array))
    except ValueError:
        raise ValueError(f"where: shapes {shape_of(c.array)}, {shape_of(x.array)} and {shape_of(y.array)} do not "
                         f"broadcast") from None
    if kind(out.array) >= 0 and recorded_pair(x, y):
        node = WhereNode.__new__(WhereNode)
        node.save(c, None)
        node.saved = (shape_of(x.array), shape_of(y.array))
        attach(out, node, (edge(x), edge(y)))
    return out


cpdef Tensor masked_fill(x, mask, value):
    """x with value where mask is true; no gradient flows to those places.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([1.0, 2.0])
    >>> fnn.masked_fill(x, x > 1, 9)
    tensor([1., 9.])
    """
    cdef Tensor t = x if isinstance(x, Tensor) else as_tensor(x)
    if isinstance(value, int) and t.array.dtype == np.bool_:
        value = value != 0  # a mask stays a mask
    return where(mask, value, t)
