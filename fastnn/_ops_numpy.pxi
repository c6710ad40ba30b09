# NumPy's functions on tensors: np.exp(t), np.add(t, array), np.concatenate([...]) become the recorded ops.

def remainder_of(a, b):
    return remainder(a, b)


def floor_divided_of(a, b):
    return floor_divided(a, b)


cdef dict UFUNCS = {
    np.add: add, np.subtract: sub, np.multiply: mul, np.true_divide: div, np.maximum: maximum, np.minimum: minimum,
    np.power: pow, np.float_power: lambda a, b: pow(floating(a), b), np.negative: neg, np.positive: as_tensor,
    np.absolute: abs, np.fabs: abs, np.sign: sign, np.square: square, np.sqrt: sqrt, np.reciprocal: reciprocal,
    np.exp: exp, np.log: log, np.log1p: log1p,
    np.expm1: expm1, np.sin: sin, np.cos: cos, np.tanh: tanh, np.matmul: matmul, np.floor: floor, np.ceil: ceil,
    np.rint: round, np.remainder: remainder_of, np.floor_divide: floor_divided_of,
    np.logical_not: logical_not, np.logical_and: logical_and, np.logical_or: logical_or,
    np.equal: eq, np.not_equal: ne, np.less: lt, np.less_equal: le, np.greater: gt, np.greater_equal: ge,
}


cdef object needs_grad(object x):
    """Whether recording is on and x is, or a sequence x holds, a tensor that requires grad."""
    if isinstance(x, Tensor):
        return (<Tensor>x).needs_grad and grad_enabled()
    if isinstance(x, (list, tuple)):
        return builtins.any(each(needs_grad, x))
    return False


cdef object arrays_in(object x):
    """x with every tensor replaced by its array, read-only: no tape would notice what NumPy wrote."""
    cdef ndarray a
    if isinstance(x, Tensor):
        a = new_view((<Tensor>x).array, NULL, NULL)
        cnp.PyArray_CLEARFLAGS(a, cnp.NPY_ARRAY_WRITEABLE)
        return a
    if isinstance(x, (list, tuple)):
        return each(arrays_in, x)
    if isinstance(x, dict):
        return {k: arrays_in(v) for k, v in x.items()}
    return x


cdef object tensors_in(object x):
    """A NumPy result with arrays of an allowed dtype as tensors."""
    if isinstance(x, np_ndarray) or isinstance(x, np_generic):
        return wrap(native(np.asarray(x))) if allowed(np.asarray(x).dtype.num) else x
    if type(x) is tuple or type(x) is list:
        return type(x)([tensors_in(v) for v in x])
    return x


cdef object apply_ufunc(object ufunc, str method, tuple inputs, dict kwargs):
    """Tensor.__array_ufunc__."""
    op = UFUNCS.get(ufunc)
    if op is not None and method == "__call__" and not kwargs:
        return op(*inputs)
    if method == "at" and isinstance(inputs[0], Tensor):
        raise TypeError(f"np.{ufunc.__name__}.at: it would change a Tensor unnoticed; use scatter_add, or pass t.data")
    if "out" in kwargs:
        for out in kwargs["out"]:
            if isinstance(out, Tensor):
                raise TypeError(f"np.{ufunc.__name__}: a Tensor cannot be `out`; write t[...] = result")
    if needs_grad(inputs):
        raise TypeError(f"np.{ufunc.__name__}{'' if method == '__call__' else '.' + method} is not differentiated on "
                        f"a tensor that requires grad; use a fastnn function, or t.detach()")
    return tensors_in(getattr(ufunc, method)(*arrays_in(inputs), **arrays_in(kwargs)))


def numpy_clip(a, a_min=None, a_max=None, *, min=None, max=None):
    return clamp(a, a_min if min is None else min, a_max if max is None else max)


def numpy_var(a, axis=None, ddof=0, keepdims=False, correction=None):
    return var(a, axis, ddof if correction is None else correction, keepdims)


def numpy_std(a, axis=None, ddof=0, keepdims=False, correction=None):
    return std(a, axis, ddof if correction is None else correction, keepdims)


def numpy_reduction(op):
    return lambda a, axis=None, *, keepdims=False: op(a, axis, keepdims)


def numpy_cumsum(a, axis=None):
    return cumsum(flatten(a) if axis is None else a, 0 if axis is None else axis)


def numpy_transpose(a, axes=None):
    return permute(a, axes)


def numpy_where(condition, *choice):
    if not choice:
        return tensors_in(np.nonzero(plain(condition)))
    return where(condition, *choice)


def numpy_split(a, indices_or_sections, axis=0):
    cdef Tensor t = as_tensor(a)
    d = axis_of("split", axis, cnp.PyArray_NDIM(t.array))
    n = t.shape[d]
    if hasattr(indices_or_sections, "__index__"):
        k = indices_or_sections.__index__()
        if k < 1 or n % k:
            raise ValueError(f"split: {n} elements do not divide into {k} equal parts")
        return list(split(t, n // k, d)) if n else [t] * k
    borders = [0, *indices_or_sections, None]  # as slices: they may be negative or lie beyond the end
    return [getitem(t, (slice(None),) * <int>d + (slice(a, b),)) for a, b in zip(borders, borders[1:])]


def numpy_squeeze(a, axis=None):
    shape = np.shape(a)
    for d in () if axis is None else sizes(axis):
        if shape[axis_of("squeeze", d, <int>len(shape))] != 1:
            raise ValueError(f"squeeze: dimension {d} of shape {shape} is not of size 1")
    return squeeze(a, axis)


def numpy_roll(a, shift, axis=None):
    by, axes = sizes(shift), None if axis is None else sizes(axis)
    if axes is None:
        by = (builtins.sum(by),)
    elif len(by) == 1:
        by = by * len(axes)
    elif len(axes) == 1:
        axes = axes * len(by)
    return roll(a, by, axes)


def numpy_triangle(op, m, k):
    """A vector stands for a matrix that has it in each row."""
    cdef Tensor t = as_tensor(m)
    return op(broadcast_to(t, t.shape * 2) if t.ndim == 1 else t, k)


def numpy_dot(a, b):
    """Of the last dimension of a and the last but one of b, all others side by side: no batch, unlike matmul."""
    cdef Tensor x = as_tensor(a), y = as_tensor(b)
    if x.ndim == 0 or y.ndim == 0:
        return mul(x, y)
    if y.ndim < 3:
        return matmul(x, y)
    rest = y.shape[:y.ndim - 2] + y.shape[y.ndim - 1:]
    y = reshape(numpy_moveaxis(y, -2, 0), (y.shape[y.ndim - 2], np.prod(rest, dtype=np.int64)))
    return reshape(matmul(x, y), x.shape[:x.ndim - 1] + rest)


def numpy_moveaxis(a, source, destination):
    nd = as_tensor(a).ndim
    s = [axis_of("moveaxis", d, nd) for d in sizes(source)]
    t = [axis_of("moveaxis", d, nd) for d in sizes(destination)]
    order = [d for d in range(nd) if d not in s]
    for to, d in sorted(zip(t, s)):
        order.insert(to, d)
    return permute(a, tuple(order))


cdef dict FUNCTIONS = {
    np.sum: numpy_reduction(sum), np.mean: numpy_reduction(mean), np.max: numpy_reduction(amax),
    np.min: numpy_reduction(amin), np.amax: numpy_reduction(amax), np.amin: numpy_reduction(amin),
    np.prod: numpy_reduction(prod), np.all: numpy_reduction(all), np.any: numpy_reduction(any),
    np.var: numpy_var, np.std: numpy_std, np.clip: numpy_clip, np.cumsum: numpy_cumsum,
    np.argmax: lambda a, axis=None, *, keepdims=False: argmax(a, axis, keepdims),
    np.argmin: lambda a, axis=None, *, keepdims=False: argmin(a, axis, keepdims),
    np.concatenate: lambda arrays, axis=0: cat(arrays, axis), np.stack: lambda arrays, axis=0: stack(arrays, axis),
    np.split: numpy_split, np.where: numpy_where, np.einsum: lambda equation, *operands: einsum(equation, *operands),
    np.dot: numpy_dot,
    np.reshape: lambda a, shape: reshape(a, shape), np.ravel: lambda a: reshape(a, (-1,)),
    np.transpose: numpy_transpose, np.swapaxes: lambda a, axis1, axis2: transpose(a, axis1, axis2),
    np.moveaxis: numpy_moveaxis, np.squeeze: numpy_squeeze,
    np.expand_dims: lambda a, axis: unsqueeze(a, axis), np.broadcast_to: lambda array, shape: broadcast_to(array,
                                                                                                           shape),
    np.flip: lambda m, axis=None: flip(m, tuple(range(np.ndim(m))) if axis is None else axis),
    np.roll: numpy_roll,
    np.outer: lambda a, b: outer(flatten(a), flatten(b)),
    np.tril: lambda m, k=0: numpy_triangle(tril, m, k), np.triu: lambda m, k=0: numpy_triangle(triu, m, k),
    np.sort: lambda a, axis=-1: sort(a, axis), np.argsort: lambda a, axis=-1: argsort(a, axis),
    np.zeros_like: lambda a, dtype=None: zeros_like(a, dtype), np.ones_like: lambda a, dtype=None: ones_like(a, dtype),
    np.full_like: lambda a, fill_value, dtype=None: full_like(a, fill_value, dtype), np.copy: lambda a: clone(a),
    np.shape: lambda a: a.shape, np.ndim: lambda a: a.ndim, np.size: lambda a: a.size,
    np.allclose: allclose,
}


cdef object apply_array_function(object function, tuple args, dict kwargs):
    """Tensor.__array_function__."""
    op = FUNCTIONS.get(function)
    recorded = needs_grad(args) or needs_grad(tuple(kwargs.values()))
    if op is not None:
        try:
            return op(*args, **kwargs)
        except TypeError as error:  # an option that only NumPy has
            if recorded:
                raise TypeError(f"np.{function.__name__} is not differentiated with these arguments; use a fastnn "
                                f"function, or t.detach() ({error})") from error
    elif recorded:
        raise TypeError(f"np.{function.__name__} is not differentiated on a tensor that requires grad; use a fastnn "
                        f"function, or t.detach()")
    return tensors_in(function(*arrays_in(args), **arrays_in(kwargs)))
