# Making tensors: the door that every foreign value comes through, constructors, casts and copies.

float32 = np.float32
float64 = np.float64
int64 = np.int64
int32 = np.int32
uint8 = np.uint8
bool_ = np.bool_

cdef enum:
    ALLOWED = 0  # for type_number: any allowed dtype


cdef bint allowed(int type_num) noexcept:
    return cnp.NPY_BOOL <= type_num <= cnp.NPY_ULONGLONG or type_num == cnp.NPY_FLOAT or type_num == cnp.NPY_DOUBLE


cdef int type_number(str name, object dtype) except -1:
    """NumPy's number of an allowed dtype."""
    cdef cnp.dtype d
    try:
        d = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{name}: {dtype!r} is not a dtype") from None
    if not allowed(d.type_num):
        raise TypeError(f"{name}: dtype {d} is not supported; use float32, float64, an integer type or bool")
    return d.type_num


cdef ndarray door(str name, object data, object dtype):
    """data as an array that is fit for a Tensor (aligned, native, an allowed dtype), without a copy where possible."""
    cdef ndarray a
    cdef bint python_numbers = False
    if isinstance(data, Tensor):
        a = (<Tensor>data).array
    elif isinstance(data, np_ndarray):
        a = data if type(data) is np_ndarray else np.asarray(data)
    else:
        python_numbers = isinstance(data, (list, tuple, float, int)) and not holds_arrays(data)
        try:
            a = np.asarray(data)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{name}: the data do not make an array (a ragged nested list?): {error}") from None
    if not allowed(cnp.PyArray_TYPE(a)):
        raise TypeError(f"{name}: {type(data).__name__} of dtype {a.dtype} is not supported; use float32, float64, an "
                        f"integer type or bool")
    if dtype is not None:
        if type_number(name, dtype) != cnp.PyArray_TYPE(a):
            try:  # Python's numbers anew: NumPy says which of them an integer type cannot hold
                return np.asarray(data if python_numbers else a, np.dtype(dtype).newbyteorder("="))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"{name}: the data do not fit dtype {np.dtype(dtype)}: {error}") from None
        return native(a)
    if python_numbers and cnp.PyArray_TYPE(a) == cnp.NPY_DOUBLE:
        return a.astype(np.float32)
    return native(a)


cdef inline ndarray guarded(object data, ndarray a):
    """a, which the door made of data; where it is the user's own array, a view: whose shape and dtype they cannot set."""
    return new_view(a, NULL, NULL) if <object>a is data else a


cdef ndarray native(ndarray a):
    if not cnp.PyArray_ISNOTSWAPPED(a) or not cnp.PyArray_ISALIGNED(a):
        return a.astype(a.dtype.newbyteorder("="), order="K", copy=True)
    return a


cdef bint holds_arrays(object data):
    """Whether the first leaf of a nested list is an array or a tensor, whose dtype then counts."""
    cdef int depth = 0
    while isinstance(data, (list, tuple)) and len(data) and depth < 70:
        data = data[0]
        depth += 1
    return isinstance(data, (Tensor, np_ndarray, np_generic))


cdef Tensor finish(ndarray array, bint requires_grad):
    cdef Tensor t = wrap(array)
    if requires_grad:
        check_differentiable(array)
        t.needs_grad = True
    return t


def tensor(data, dtype=None, bint requires_grad=False):
    """A new tensor with a copy of data.

    Parameters
    ----------
    data : number, nested list, array or Tensor
        Python floats become float32, Python integers int64; arrays keep their dtype.
    dtype : dtype, optional
        float32, float64, an integer type or bool.
    requires_grad : bool
        Whether `Tensor.backward` shall fill its ``grad``.

    Raises
    ------
    TypeError
        For other dtypes (object, str, complex, float16).
    ValueError
        For a ragged list.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.tensor([[1, 2], [3, 4.5]])
    tensor([[1. , 2. ],
            [3. , 4.5]])
    """
    cdef ndarray a = door("tensor", data, dtype)
    return finish(copy_of(a), requires_grad)


cpdef Tensor as_tensor(data, dtype=None):
    """data as a tensor, sharing memory where possible; a Tensor of the right dtype is returned as it is.

    Examples
    --------
    >>> import fastnn as fnn
    >>> import numpy as np
    >>> a = np.zeros(2, np.float32)
    >>> t = fnn.as_tensor(a)
    >>> a[0] = 7
    >>> t
    tensor([7., 0.])
    """
    if isinstance(data, Tensor):
        return data if dtype is None else cast(data, type_number("as_tensor", dtype))
    return wrap(guarded(data, door("as_tensor", data, dtype)))


def from_numpy(array):
    """A tensor that shares the memory of a NumPy array (which must be aligned and native, else it is copied).

    Raises
    ------
    TypeError
        If it is no array, or of a dtype that tensors do not have.

    Examples
    --------
    >>> import fastnn as fnn
    >>> import numpy as np
    >>> fnn.from_numpy(np.arange(3))
    tensor([0, 1, 2])
    """
    if not isinstance(array, np_ndarray):
        raise TypeError(f"from_numpy: expected an array, got {type(array).__name__}")
    return wrap(guarded(array, door("from_numpy", array, None)))


def from_dlpack(source, *, device=None, copy=None):
    """A tensor that shares the memory of any object with ``__dlpack__`` on the CPU (a PyTorch or JAX tensor, say).

    Memory that its owner exports as read-only, or without saying (before DLPack 1.0), makes a tensor that refuses changes
    in place.

    Parameters
    ----------
    source : object
        With ``__dlpack__`` and ``__dlpack_device__``.
    device : str, optional
        "cpu"; there is no other.
    copy : bool, optional
        True: memory of its own. False and None: never a copy.

    Raises
    ------
    TypeError
        If ``source`` has no ``__dlpack__`` or a dtype that tensors do not have.
    BufferError
        If it cannot be exported: it requires a gradient, lies on another device, has another byte order.
    ValueError
        If `device` is another one than "cpu".

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.from_dlpack(fnn.ones(2))
    tensor([1., 1.])
    """
    if not hasattr(source, "__dlpack__"):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, got {type(source).__name__}")
    if device is not None and device != "cpu":
        raise ValueError(f"from_dlpack: device must be 'cpu', got {device!r}")
    cdef ndarray a = door("from_dlpack", np.from_dlpack(source), None)
    return wrap(copy_of(a) if copy else a)


cdef object whole(str name, object n):
    """n as a Python int."""
    if isinstance(n, builtins.bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{name} must be an integer, got {type(n).__name__}")
    return n.__index__()


cdef tuple sizes(object shape):
    """A shape as a tuple of ints from what a user writes: 3, (2, 3), [2, 3], ((2, 3),)."""
    if isinstance(shape, tuple) and len(shape) == 1 and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    if not isinstance(shape, (tuple, list)):
        shape = (shape,)
    try:
        return tuple([n.__index__() for n in shape])
    except AttributeError:
        raise TypeError(f"a shape or dimension list must hold integers, got {shape!r}") from None


cdef ndarray filled(str name, tuple shape, double value, object dtype):
    cdef int type_num = cnp.NPY_FLOAT if dtype is None else type_number(name, dtype)
    cdef npy_intp dims[64]
    cdef ndarray a
    if len(shape) > 64:
        raise ValueError(f"{name}: {len(shape)} dimensions; at most 64 are possible")
    for d in range(len(shape)):
        if not 0 <= shape[d] < 1 << 60:
            raise ValueError(f"{name}: shape {shape} has a negative or too large size")
        dims[d] = shape[d]
    if type_num == cnp.NPY_FLOAT or type_num == cnp.NPY_DOUBLE:
        a = new_array(<int>len(shape), dims, type_num)
        if value == 0:
            memset(cnp.PyArray_DATA(a), 0, cnp.PyArray_NBYTES(a))
        else:
            a.fill(value)
        return a
    return np.full(shape, value, dtype)


def zeros(*shape, dtype=None, bint requires_grad=False):
    """A tensor of zeros; float32 unless dtype says otherwise.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.zeros(2, 2)
    tensor([[0., 0.],
            [0., 0.]])
    """
    return finish(filled("zeros", sizes(shape), 0, dtype), requires_grad)


def ones(*shape, dtype=None, bint requires_grad=False):
    """A tensor of ones; float32 unless dtype says otherwise.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.ones(3)
    tensor([1., 1., 1.])
    """
    return finish(filled("ones", sizes(shape), 1, dtype), requires_grad)


def full(shape, fill_value, dtype=None, bint requires_grad=False):
    """A tensor with one value everywhere; the dtype follows the value (float32, int64 or bool) unless given.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.full((2,), 7.5)
    tensor([7.5, 7.5])
    """
    if dtype is None:
        dtype = bool_ if isinstance(fill_value, (builtins.bool, np.bool_)) else int64 if isinstance(
            fill_value, (int, np.integer)) else float32
    check_number("full", fill_value)
    cdef ndarray a = filled("full", sizes(shape), 0, dtype)
    a.fill(fill_value)
    return finish(a, requires_grad)


def empty(*shape, dtype=None, bint requires_grad=False):
    """A tensor whose values are not set (zeros here: nothing of other tensors leaks).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.empty(2, 3).shape
    (2, 3)
    """
    return finish(filled("empty", sizes(shape), 0, dtype), requires_grad)


def arange(start, end=None, step=1, dtype=None, bint requires_grad=False):
    """Numbers from start (0 if only one is given) up to, not including, end.

    Raises
    ------
    ValueError
        If step is 0, or a number is not finite.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.arange(3)
    tensor([0, 1, 2])
    """
    if end is None:
        start, end = 0, start
    if step == 0 or not abs_number(end - start) / abs_number(step) < 1 << 59:
        raise ValueError(f"arange: from {start} to {end} by {step} is no finite range")
    a = np.arange(start, end, step)
    if dtype is None and a.dtype == np.float64:
        dtype = float32
    return finish(door("arange", a, dtype), requires_grad)


cdef object abs_number(object x):
    return -x if x < 0 else x


def linspace(start, end, steps, dtype=None, bint requires_grad=False):
    """`steps` numbers evenly spaced from start to end, both included.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    with np.errstate(invalid="ignore"):  # infinite ends
        a = np.linspace(start, end, steps)
    return finish(door("linspace", a, float32 if dtype is None else dtype), requires_grad)


def eye(n, m=None, dtype=None, bint requires_grad=False):
    """The (n, m) matrix with ones on the diagonal; m is n by default.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    cdef ndarray a = filled("eye", sizes((n, n if m is None else m)), 0, dtype)
    np.fill_diagonal(a, 1)
    return finish(a, requires_grad)


cpdef Tensor zeros_like(x, dtype=None, bint requires_grad=False):
    """Zeros of the shape, dtype and memory order of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.zeros_like(fnn.tensor([1, 2]))
    tensor([0, 0])
    """
    cdef ndarray a = as_tensor(x).array
    cdef ndarray out = np.zeros_like(a, dtype) if dtype is not None or kind(a) < 0 else new_like(a, cnp.PyArray_TYPE(a))
    memset(cnp.PyArray_DATA(out), 0, cnp.PyArray_NBYTES(out))
    return finish(door("zeros_like", out, None), requires_grad)


def empty_like(x, dtype=None, bint requires_grad=False):
    """`empty` in the shape, dtype and memory order of x (zeros here).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.empty_like(fnn.ones(2)).shape
    (2,)
    """
    return zeros_like(x, dtype, requires_grad)


cpdef Tensor ones_like(x, dtype=None, bint requires_grad=False):
    """Ones of the shape, dtype and memory order of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.ones_like(fnn.tensor([0.5, 2.0]))
    tensor([1., 1.])
    """
    return full_like(x, 1, dtype, requires_grad)


cpdef Tensor full_like(x, fill_value, dtype=None, bint requires_grad=False):
    """One value in the shape, dtype and memory order of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.full_like(fnn.tensor([0.5, 2.0]), 7)
    tensor([7., 7.])
    """
    cdef ndarray a = as_tensor(x).array
    cdef ndarray out
    check_number("full_like", fill_value)
    if dtype is None and kind(a) >= 0:
        out = new_like(a, cnp.PyArray_TYPE(a))
        out.fill(fill_value)
    else:
        out = np.full_like(a, fill_value, dtype)
    return finish(door("full_like", out, None), requires_grad)


# ----- casts and copies -----

cdef class CastNode(Node):
    cdef tuple backward(self, Value dy):
        return (cast(<Tensor>dy, <int>self.alpha),)


cdef object wanted_dtype(str name, tuple target):
    """The dtype among what a user converts to, None if there is only the device."""
    dtype = None
    for wanted in target:
        if isinstance(wanted, Tensor):
            dtype = (<Tensor>wanted).array.dtype
        elif isinstance(wanted, str) and wanted.partition(":")[0] in ("cuda", "mps", "xpu", "gpu"):
            raise ValueError(f"{name}: the only device is 'cpu', got {wanted!r}")
        elif wanted is not None and not (isinstance(wanted, str) and wanted == "cpu"):
            dtype = wanted
    return dtype


cdef Tensor cast(Tensor x, int type_num):
    """x in another dtype; gradients come back in the old one."""
    cdef CastNode node
    cdef Tensor out
    if cnp.PyArray_TYPE(x.array) == type_num:
        return x
    if kind(x.array) < 0 or type_num == cnp.NPY_DOUBLE:
        out = wrap(x.array.astype(cnp.PyArray_DescrFromType(type_num), order="K"))
    else:
        with np.errstate(all="ignore"):  # what does not fit is no cause for a warning: kernels give none
            out = wrap(x.array.astype(cnp.PyArray_DescrFromType(type_num), order="K"))
    if kind(out.array) >= 0 and recorded(x):
        node = CastNode.__new__(CastNode)
        node.alpha = cnp.PyArray_TYPE(x.array)
        attach(out, node, (edge(x),))
    return out


cdef inline Tensor floating(object x):
    """x as a float tensor; integers and bool become float32."""
    cdef Tensor t = x if isinstance(x, Tensor) else as_tensor(x)
    return t if kind(t.array) >= 0 else cast(t, cnp.NPY_FLOAT)


cdef class CloneNode(Node):
    cdef tuple backward(self, Value dy):
        return (dy,)


cpdef Tensor clone(x):
    """A copy with memory of its own; gradients flow through.

    Examples
    --------
    >>> import fastnn as fnn
    >>> a = fnn.ones(2)
    >>> b = fnn.clone(a)
    >>> b[0] = 5
    >>> a
    tensor([1., 1.])
    """
    cdef Tensor t = as_tensor(x)
    return copied(t, copy_of(t.array))


cdef Tensor copied(Tensor of, ndarray array):
    cdef Tensor out = wrap(array)
    if recorded(of):
        attach(out, CloneNode.__new__(CloneNode), (edge(of),))
    return out


cdef Tensor contiguous_tensor(Tensor x):
    return x if dense(x.array) else copied(x, contiguous(x.array))
