# The Tensor: an array, its gradient and its place on the tape.

cdef ndarray NOTHING = np.empty(0, np.float32)


@cython.trashcan(True)  # of its own: CPython 3.11 defers no type whose deallocation is another function than the base's
cdef class Tensor(Value):
    """An array that remembers how it was computed, so that gradients can flow back through it.

    Most tensors come from `fastnn.tensor`, `fastnn.zeros`, ... or from operations on others. Calling ``Tensor(data)``
    wraps data without copying it where that is possible.

    Parameters
    ----------
    data : Tensor, array or nested list
        The values. float32, float64, integers or bool.
    dtype : dtype, optional
        Converts.
    requires_grad : bool
        Whether `backward` shall fill ``grad``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """
    __array_priority__ = 1000

    def __cinit__(self):
        self.array = NOTHING

    def __init__(self, data, dtype=None, bint requires_grad=False):
        cdef ndarray array = door("Tensor", data, dtype)
        if requires_grad:
            check_differentiable(array)
        if self.array is not NOTHING:
            array = copy_of(array) if isinstance(data, Tensor) else array
            made_anew(self)
        self.array = guarded(data, array)
        self.needs_grad = requires_grad
        if isinstance(data, Tensor) and (<Tensor>data).array is array:
            share_version(<Tensor>data, self)

    # ----- what the tape asks for -----

    cdef Value plus(self, Value other):
        cdef ndarray a = None if grad_enabled() else spent(self), b = (<Tensor>other).array
        if a is None or not same_shape(a, b) or kind(a) != kind(b):
            return add(self, other)
        return wrap(binary_array(ADD, a, b, 0, a))

    cdef Value owned(self, Value leaf):
        cdef ndarray a = self.array
        cdef Tensor copy
        if grad_enabled():
            return clone(self)  # create_graph: other leaves may get the same tensor, and clipping writes into it
        # Two references: the tuple a backward returned and the item taken from it.
        if Py_REFCNT(self) <= 2 and sole(a) and same_layout(a, (<Tensor>leaf).array):
            return self
        copy = wrap(new_like((<Tensor>leaf).array, cnp.PyArray_TYPE(a)))
        cnp.PyArray_CopyInto(copy.array, a)
        return copy

    cdef Value add_in_place(self, Value other):
        cdef ndarray a = self.array, b = (<Tensor>other).array
        if not cnp.PyArray_ISWRITEABLE(a):
            return add(self, other)
        add_into(a, b)
        bump_version(self)
        return self

    cdef Value seed(self, object gradient):
        cdef Tensor g
        if gradient is None:
            if cnp.PyArray_SIZE(self.array) != 1:
                raise RuntimeError(f"backward: this tensor has shape {shape_of(self.array)}; only for one element is "
                                   f"the gradient 1 by default, pass gradient= otherwise")
            return wrap(reshaped(one_number(1, cnp.PyArray_TYPE(self.array)), shape_of(self.array)))
        g = gradient if isinstance(gradient, Tensor) else as_tensor(gradient, self.array.dtype)
        if not same_shape(g.array, self.array):
            raise ValueError(f"backward: gradient has shape {shape_of(g.array)}; expected {shape_of(self.array)}")
        return cast(g, cnp.PyArray_TYPE(self.array))

    cdef Value instead(self, object given):
        cdef ndarray a
        if not isinstance(given, Tensor):
            raise TypeError(f"a hook returned {type(given).__name__}; expected a Tensor or None")
        a = (<Tensor>given).array
        if not same_shape(a, self.array) or cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(self.array):
            raise ValueError(f"a hook returned a tensor of shape {shape_of(a)} {a.dtype}; expected "
                             f"{shape_of(self.array)} {self.array.dtype}")
        return given

    # ----- the array -----

    @property
    def data(self):
        """The values as a NumPy array that shares the memory. Writing into it is not tracked."""
        return new_view(self.array, NULL, NULL)

    @data.setter
    def data(self, value):
        cdef ndarray array = door("data", value, self.array.dtype)
        if not same_shape(array, self.array):
            raise ValueError(f"data: got shape {shape_of(array)}; expected {shape_of(self.array)}")
        self.array = guarded(value, array)
        self.packed = None
        self.counter = Counter.__new__(Counter) if self.counter is None else self.counter
        bump_version(self)

    @property
    def shape(self):
        return shape_of(self.array)

    @property
    def ndim(self):
        return cnp.PyArray_NDIM(self.array)

    @property
    def size(self):
        """Number of elements: an int, as in NumPy, that can be called, as in PyTorch: ``x.size()`` is the shape and
        ``x.size(0)`` the first size."""
        return Size(cnp.PyArray_SIZE(self.array), shape_of(self.array))

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def itemsize(self):
        return cnp.PyArray_ITEMSIZE(self.array)

    @property
    def nbytes(self):
        return cnp.PyArray_NBYTES(self.array)

    @property
    def T(self):
        """The tensor with its dimensions in reverse order, a view."""
        return permute(self, tuple(range(cnp.PyArray_NDIM(self.array) - 1, -1, -1)))

    @property
    def mT(self):
        """The tensor with its last two dimensions swapped, a view."""
        return transpose(self, -2, -1)

    # ----- gradient -----

    @property
    def requires_grad(self):
        return self.needs_grad

    @requires_grad.setter
    def requires_grad(self, bint on):
        if self.node is not None:
            raise RuntimeError("requires_grad: only leaves can be switched; detach() makes a leaf without history")
        if on:
            check_differentiable(self.array)
            if self.packed is not None:
                raise RuntimeError("requires_grad: the tensor is frozen; clone() it to train on")
        self.needs_grad = on

    @property
    def is_leaf(self):
        """Whether the tensor was made by the user and not by a recorded operation."""
        return self.node is None

    @property
    def grad_fn(self):
        """The node of the operation that made the tensor, None for a leaf."""
        return self.node

    @property
    def grad(self):
        """The gradient gathered by `backward`, None before."""
        return self._grad

    @grad.setter
    def grad(self, value):
        cdef Tensor g
        if value is None:
            self._grad = None
            return
        if not isinstance(value, Tensor):
            raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
        g = value
        if not same_shape(g.array, self.array) or kind(g.array) != kind(self.array):
            raise ValueError(f"grad: got shape {shape_of(g.array)} {g.array.dtype}; expected {shape_of(self.array)} "
                             f"{self.array.dtype}")
        self._grad = g

    def backward(self, gradient=None, retain_graph=None, bint create_graph=False):
        """Fills ``grad`` of every leaf this tensor was computed from (adding to what is there).

        Parameters
        ----------
        gradient : Tensor, optional
            The gradient of what is differentiated with respect to this tensor; 1 for one-element tensors.
        retain_graph : bool, optional
            Keep the graph for another call; default: the value of ``create_graph``.
        create_graph : bool
            Record the pass itself, for higher derivatives.

        Raises
        ------
        RuntimeError
            If the tensor requires no gradient, has several elements and no ``gradient`` is given, the graph was freed,
            or a tensor needed again was changed in place.
        """
        if not self.needs_grad:
            raise RuntimeError("backward: this tensor does not require grad")
        cdef list seeds = [self.seed(gradient)]
        run_backward([self], seeds, create_graph if retain_graph is None else bool(retain_graph), create_graph, None)

    def register_hook(self, hook):
        """Calls hook(grad) when the gradient of this tensor is known; what it returns, if not None, takes its place.

        Returns
        -------
        Handle
            ``handle.remove()`` takes the hook away again.
        """
        if not self.needs_grad:
            raise RuntimeError("register_hook: this tensor does not require grad")
        if not callable(hook):
            raise TypeError(f"register_hook: expected a callable, got {type(hook).__name__}")
        if self.node is not None:
            if self.node.hooks is None:
                self.node.hooks = []
            return Handle(self.node.hooks, hook)
        if self.hooks is None:
            self.hooks = []
        return Handle(self.hooks, hook)

    def requires_grad_(self, bint on=True):
        """Switches requires_grad of a leaf; returns the tensor."""
        self.requires_grad = on
        return self

    def freeze_(self):
        """Makes a leaf's values final: its memory becomes read-only, it requires no gradient, and a linear layer packs it
        once instead of at every call. Returns the tensor; ``clone()`` gives one that can change.

        Raises
        ------
        RuntimeError
            If the tensor was made by a recorded operation.
        """
        if self.node is not None:
            raise RuntimeError("freeze_: only leaves can be frozen; detach() makes a leaf without history")
        if kind(self.array) < 0 or self.packed is not None:
            return self
        self.array = copy_of(self.array)  # no view from before can write into it
        self.array.flags.writeable = False
        self.needs_grad = False
        self._grad = None
        cdef Counter counter = Counter.__new__(Counter)  # views from before go on counting without it
        counter.n = version(self)
        self.counter = counter
        self.packed = packed_weight(self.array)
        return self

    def detach(self):
        """The same values without history, sharing the memory."""
        return alias(self, self.array)

    def retain_grad(self):
        """Keeps the gradient of a tensor in the middle of the graph in its ``grad`` too; a second call does nothing."""
        if self.node is None:
            return
        for hook in self.node.hooks or ():
            if isinstance(hook, GradKeeper) and hook.owner() is self:
                return
        self.register_hook(GradKeeper(self))

    # ----- Python -----

    def __len__(self):
        if cnp.PyArray_NDIM(self.array) == 0:
            raise TypeError("len() of a 0-d tensor")
        return cnp.PyArray_DIM(self.array, 0)

    def __iter__(self):
        if cnp.PyArray_NDIM(self.array) == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(unbind(self, 0))

    def __repr__(self):
        return representation(self)

    def __format__(self, spec):
        return format(self.array.item(), spec) if spec and self.array.ndim == 0 else format(str(self), spec)

    def __hash__(self):
        return <Py_hash_t>(<size_t><void*>self >> 4)

    def __bool__(self):
        if cnp.PyArray_SIZE(self.array) != 1:
            raise ValueError(f"the truth value of a tensor of shape {shape_of(self.array)} is ambiguous; use any() "
                             f"or all()")
        return bool(self.array.item())

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __complex__(self):
        return complex(self.item())

    def __index__(self):
        if kind(self.array) >= 0:
            raise TypeError("a float tensor cannot be an index")
        return int(self.item())

    def __contains__(self, value):
        return bool((self.array == plain(value)).any())

    def item(self):
        """The only element as a Python number.

        Raises
        ------
        ValueError
            If there is not exactly one element.
        """
        if cnp.PyArray_SIZE(self.array) != 1:
            raise ValueError(f"item: the tensor has shape {shape_of(self.array)}; expected one element")
        return self.array.item()

    def tolist(self):
        """The values as nested Python lists."""
        return self.array.tolist()

    def numel(self):
        """Number of elements."""
        return cnp.PyArray_SIZE(self.array)

    def dim(self):
        """Number of dimensions."""
        return cnp.PyArray_NDIM(self.array)

    def numpy(self):
        """The values as a NumPy array that shares the memory.

        Raises
        ------
        RuntimeError
            If the tensor requires grad: use ``detach().numpy()``.
        """
        if self.needs_grad:
            raise RuntimeError("numpy: the tensor requires grad; use t.detach().numpy() or t.data")
        return new_view(self.array, NULL, NULL)

    def __array__(self, dtype=None, *, copy=None):
        cdef ndarray view
        if copy:
            return np.array(self.array, dtype=dtype)
        if dtype is None or self.array.dtype == dtype:
            view = new_view(self.array, NULL, NULL)
            if self.needs_grad:
                view.flags.writeable = False  # no tape would notice what NumPy wrote
            return view
        if copy is False:
            raise ValueError(f"__array__: {self.array.dtype} as {np.dtype(dtype)} needs a copy")
        return self.array.astype(dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return apply_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return apply_array_function(function, args, kwargs)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        if self.needs_grad:
            raise BufferError("__dlpack__: the tensor requires grad; export t.detach()")
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        # NumPy before 2.1 knows the first alone, and its consumers ask for no other.
        return self.array.__dlpack__(**{name: value for name, value in options.items() if value is not None})

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        # The array is the exporter: it keeps the memory alive and is told when the consumer is done.
        if self.needs_grad:
            raise BufferError("the tensor requires grad, and nobody would record what is written into its buffer; export "
                              "t.detach()")
        if type(self).__array__ is not Tensor.__array__:
            raise BufferError("a subclass with an __array__ of its own has no buffer: NumPy would take that first")
        PyObject_GetBuffer(self.array, buffer, flags)
        Py_DECREF(None)  # Cython put it into buffer.obj, and NumPy wrote the array over it

    def __array_namespace__(self, *, api_version=None):
        from fastnn import array_api

        if api_version is not None and api_version not in array_api.VERSIONS:
            raise ValueError(f"__array_namespace__: version {api_version!r} of the array API is not known; "
                             f"{', '.join(array_api.VERSIONS)} are")
        return array_api

    @property
    def device(self):
        """Where the memory is: always "cpu"."""
        return "cpu"

    def to_device(self, device, *, stream=None):
        """The tensor itself, for "cpu"; there is no other device."""
        if device != "cpu" or stream is not None:
            raise ValueError(f"to_device: 'cpu' and no stream expected, got {device!r}, {stream!r}")
        return self

    def __reduce__(self):
        leaf = self.needs_grad and self.node is None
        return rebuild, (type(self), self.array, leaf), getattr(self, "__dict__", None) or None

    def __copy__(self):
        return clone(self) if type(self) is Tensor else rebuild_with(self, self.array)

    def __deepcopy__(self, memo):
        import copy

        result = rebuild_with(self, copy_of(self.array))
        memo[id(self)] = result
        result.grad = copy.deepcopy(self._grad, memo)
        state = getattr(self, "__dict__", None)
        if state:
            result.__dict__.update(copy.deepcopy(state, memo))
        return result

    # ----- in place -----

    def __getitem__(self, key):
        return getitem(self, key)

    def __setitem__(self, key, value):
        write(self, "t[...] = v", value)
        if not (isinstance(value, (Tensor, np_ndarray)) or number(value)):
            value = door("t[...] = v", value, self.array.dtype)  # before anything is written
        key, value = plain_key(key), plain(value)
        try:
            self.array[key] = value
        except ValueError:
            if not isinstance(value, np_ndarray) or value.size != 1:
                raise
            self.array[key] = value.reshape(())  # an element takes an array of one only if that has no dimensions
        bump_version(self)

    def copy_(self, source):
        """Overwrites the values with those of source (broadcast); returns the tensor."""
        write(self, "copy_", source)
        cdef Tensor s = as_tensor(source)
        np.copyto(self.array, s.array, casting="same_kind" if kind(self.array) < 0 else "unsafe")
        bump_version(self)
        return self

    def fill_(self, value):
        """Overwrites every element with a number; returns the tensor."""
        write(self, "fill_", value)
        check_number("fill_", value)
        self.array.fill(value.item() if isinstance(value, Tensor) else value)
        bump_version(self)
        return self

    def zero_(self):
        """Overwrites every element with 0; returns the tensor."""
        return self.fill_(0)

    def add_(self, other, *, alpha=1):
        """self += alpha * other; returns the tensor."""
        return in_place(self, np.add, "add_", scaled(other, alpha))

    def sub_(self, other, *, alpha=1):
        """self -= alpha * other; returns the tensor."""
        return in_place(self, np.subtract, "sub_", scaled(other, alpha))

    def mul_(self, other):
        """self *= other; returns the tensor."""
        return in_place(self, np.multiply, "mul_", other)

    def div_(self, other):
        """self /= other; returns the tensor."""
        return in_place(self, np.true_divide, "div_", other)

    def clamp_(self, min=None, max=None):
        """Limits the values to [min, max]; returns the tensor."""
        write(self, "clamp_", None)
        if min is None and max is None:
            raise ValueError("clamp_: min or max must be given")
        np.clip(self.array, plain(python_number(min)), plain(python_number(max)), out=self.array)
        bump_version(self)
        return self

    def masked_fill_(self, mask, value):
        """Overwrites the elements where mask is true with a number; returns the tensor."""
        write(self, "masked_fill_", value)
        self.copy_(masked_fill(self, mask, value))
        return self

    def scatter_(self, int dim, index, src):
        """Overwrites the elements along dim that index names with those of src or a number; returns the tensor."""
        write(self, "scatter_", src)
        self.copy_(scatter(self, dim, index, src))
        return self

    def __iadd__(self, other):
        return in_place(self, np.add, "t += v", other)

    def __isub__(self, other):
        return in_place(self, np.subtract, "t -= v", other)

    def __imul__(self, other):
        return in_place(self, np.multiply, "t *= v", other)

    def __itruediv__(self, other):
        return in_place(self, np.true_divide, "t /= v", other)

    def __ifloordiv__(self, other):
        return in_place_or_anew(self, np.floor_divide, "t //= v", other, floor_divided_of)

    def __imod__(self, other):
        return in_place_or_anew(self, np.remainder, "t %= v", other, remainder_of)

    def __ipow__(self, other):
        return in_place_or_anew(self, np.power, "t **= v", other, pow)

    def __iand__(self, other):
        return in_place(self, np.bitwise_and, "t &= v", other)

    def __ior__(self, other):
        return in_place(self, np.bitwise_or, "t |= v", other)

    def __ixor__(self, other):
        return in_place(self, np.bitwise_xor, "t ^= v", other)

    # ----- operators -----

    def __add__(self, other):
        return add(self, other) if operand(other) else NotImplemented

    def __radd__(self, other):
        return add(other, self) if operand(other) else NotImplemented

    def __sub__(self, other):
        return sub(self, other) if operand(other) else NotImplemented

    def __rsub__(self, other):
        return sub(other, self) if operand(other) else NotImplemented

    def __mul__(self, other):
        return mul(self, other) if operand(other) else NotImplemented

    def __rmul__(self, other):
        return mul(other, self) if operand(other) else NotImplemented

    def __truediv__(self, other):
        return div(self, other) if operand(other) else NotImplemented

    def __rtruediv__(self, other):
        return div(other, self) if operand(other) else NotImplemented

    def __floordiv__(self, other):
        return floor_divided(self, other)

    def __rfloordiv__(self, other):
        return floor_divided(other, self)

    def __mod__(self, other):
        return remainder(self, other) if operand(other) else NotImplemented

    def __rmod__(self, other):
        return remainder(other, self) if operand(other) else NotImplemented

    def __pow__(self, other, modulo):
        if modulo is not None:
            raise TypeError("pow: a modulus is not supported")
        return pow(self, other) if operand(other) else NotImplemented

    def __rpow__(self, other, modulo):
        return pow(other, self) if operand(other) else NotImplemented

    def __matmul__(self, other):
        return matmul(self, other) if operand(other) else NotImplemented

    def __rmatmul__(self, other):
        return matmul(other, self) if operand(other) else NotImplemented

    def __neg__(self):
        return neg(self)

    def __pos__(self):
        return self

    def __abs__(self):
        return abs(self)

    def __invert__(self):
        return without_gradient(np.invert, "~", self)

    def __and__(self, other):
        return without_gradient(np.bitwise_and, "&", self, other)

    def __or__(self, other):
        return without_gradient(np.bitwise_or, "|", self, other)

    def __xor__(self, other):
        return without_gradient(np.bitwise_xor, "^", self, other)

    def __lshift__(self, other):
        return without_gradient(np.left_shift, "<<", self, other)

    def __rshift__(self, other):
        return without_gradient(np.right_shift, ">>", self, other)

    def __rand__(self, other):
        return without_gradient(np.bitwise_and, "&", other, self)

    def __ror__(self, other):
        return without_gradient(np.bitwise_or, "|", other, self)

    def __rxor__(self, other):
        return without_gradient(np.bitwise_xor, "^", other, self)

    def __rlshift__(self, other):
        return without_gradient(np.left_shift, "<<", other, self)

    def __rrshift__(self, other):
        return without_gradient(np.right_shift, ">>", other, self)

    def __richcmp__(self, other, int op):
        return compare(self, other, op) if operand(other) else NotImplemented

    # ----- every op as a method; the functions of the same names say more -----

    def clone(self):
        """A copy with memory of its own; gradients flow through."""
        return clone(self)

    def to(self, *target, dtype=None, device=None):
        """The tensor in another dtype; itself if it has that dtype. Gradients flow back in the old one.

        Parameters
        ----------
        *target
            A dtype, a Tensor that has it, or the device, which is "cpu".

        Raises
        ------
        ValueError
            For any other device.
        """
        dtype = wanted_dtype("to", target + (dtype, device))
        return self if dtype is None else cast(self, type_number("to", dtype))

    def type_as(self, other):
        """The tensor in the dtype of another."""
        return self.to(as_tensor(other).dtype)

    def is_floating_point(self):
        """Whether the dtype is float32 or float64."""
        return kind(self.array) >= 0

    def new_empty(self, *size, dtype=None, bint requires_grad=False):
        """`fastnn.empty` in this tensor's dtype."""
        return empty(*size, dtype=self.dtype if dtype is None else dtype, requires_grad=requires_grad)

    def new_zeros(self, *size, dtype=None, bint requires_grad=False):
        """`fastnn.zeros` in this tensor's dtype."""
        return zeros(*size, dtype=self.dtype if dtype is None else dtype, requires_grad=requires_grad)

    def new_ones(self, *size, dtype=None, bint requires_grad=False):
        """`fastnn.ones` in this tensor's dtype."""
        return ones(*size, dtype=self.dtype if dtype is None else dtype, requires_grad=requires_grad)

    def new_full(self, size, fill_value, dtype=None, bint requires_grad=False):
        """`fastnn.full` in this tensor's dtype."""
        return full(size, fill_value, self.dtype if dtype is None else dtype, requires_grad)

    def new_tensor(self, data, dtype=None, bint requires_grad=False):
        """`fastnn.tensor` in this tensor's dtype."""
        return tensor(data, self.dtype if dtype is None else dtype, requires_grad)

    def cpu(self):
        """The tensor itself: there is no other device."""
        return self

    def astype(self, dtype):
        """See `to`."""
        return cast(self, type_number("astype", dtype))

    def type(self, dtype):
        """See `to`."""
        return cast(self, type_number("type", dtype))

    def float(self):
        """The tensor as float32."""
        return cast(self, cnp.NPY_FLOAT)

    def double(self):
        """The tensor as float64."""
        return cast(self, cnp.NPY_DOUBLE)

    def long(self):
        """The tensor as int64."""
        return cast(self, cnp.NPY_INT64)

    def int(self):
        """The tensor as int32."""
        return cast(self, cnp.NPY_INT32)

    def bool(self):
        """The tensor as bool."""
        return cast(self, cnp.NPY_BOOL)

    def contiguous(self):
        """The tensor in C order: itself if it is, else a copy."""
        return contiguous_tensor(self)

    def is_contiguous(self):
        """Whether the memory is in C order."""
        return bool(dense(self.array))

    def exp(self):
        """See `fastnn.exp`."""
        return exp(self)

    def log(self):
        """See `fastnn.log`."""
        return log(self)

    def log1p(self):
        """See `fastnn.log1p`."""
        return log1p(self)

    def expm1(self):
        """See `fastnn.expm1`."""
        return expm1(self)

    def sqrt(self):
        """See `fastnn.sqrt`."""
        return sqrt(self)

    def rsqrt(self):
        """See `fastnn.rsqrt`."""
        return rsqrt(self)

    def tanh(self):
        """See `fastnn.tanh`."""
        return tanh(self)

    def sigmoid(self):
        """See `fastnn.sigmoid`."""
        return sigmoid(self)

    def erf(self):
        """See `fastnn.erf`."""
        return erf(self)

    def relu(self):
        """See `fastnn.relu`."""
        return relu(self)

    def silu(self):
        """See `fastnn.silu`."""
        return silu(self)

    def softplus(self):
        """See `fastnn.softplus`."""
        return softplus(self)

    def abs(self):
        """See `fastnn.abs`."""
        return abs(self)

    def neg(self):
        """See `fastnn.neg`."""
        return neg(self)

    def sign(self):
        """See `fastnn.sign`."""
        return sign(self)

    def square(self):
        """See `fastnn.square`."""
        return square(self)

    def reciprocal(self):
        """See `fastnn.reciprocal`."""
        return reciprocal(self)

    def sin(self):
        """See `fastnn.sin`."""
        return sin(self)

    def cos(self):
        """See `fastnn.cos`."""
        return cos(self)

    def floor(self):
        """See `fastnn.floor`."""
        return floor(self)

    def ceil(self):
        """See `fastnn.ceil`."""
        return ceil(self)

    def round(self):
        """See `fastnn.round`."""
        return round(self)

    def isnan(self):
        """See `fastnn.isnan`."""
        return isnan(self)

    def isinf(self):
        """See `fastnn.isinf`."""
        return isinf(self)

    def isfinite(self):
        """See `fastnn.isfinite`."""
        return isfinite(self)

    def gelu(self, str approximate="none"):
        """See `fastnn.gelu`."""
        return gelu(self, approximate)

    def leaky_relu(self, double negative_slope=0.01):
        """See `fastnn.leaky_relu`."""
        return leaky_relu(self, negative_slope)

    def elu(self, double alpha=1.0):
        """See `fastnn.elu`."""
        return elu(self, alpha)

    def clamp(self, min=None, max=None):
        """See `fastnn.clamp`."""
        return clamp(self, min, max)

    def clip(self, min=None, max=None):
        """See `fastnn.clamp`."""
        return clamp(self, min, max)

    def add(self, other, *, alpha=1):
        """`fastnn.add` with alpha * other."""
        return add(self, scaled(other, alpha))

    def sub(self, other, *, alpha=1):
        """`fastnn.sub` with alpha * other."""
        return sub(self, scaled(other, alpha))

    def mul(self, other):
        """See `fastnn.mul`."""
        return mul(self, other)

    def div(self, other):
        """See `fastnn.div`."""
        return div(self, other)

    def pow(self, other):
        """See `fastnn.pow`."""
        return pow(self, other)

    def maximum(self, other):
        """See `fastnn.maximum`."""
        return maximum(self, other)

    def minimum(self, other):
        """See `fastnn.minimum`."""
        return minimum(self, other)

    def matmul(self, other):
        """See `fastnn.matmul`."""
        return matmul(self, other)

    def mm(self, other):
        """See `fastnn.mm`."""
        return mm(self, other)

    def bmm(self, other):
        """See `fastnn.bmm`."""
        return bmm(self, other)

    def dot(self, other):
        """See `fastnn.dot`."""
        return dot(self, other)

    def eq(self, other):
        """See `fastnn.eq`."""
        return compare(self, other, Py_EQ)

    def ne(self, other):
        """See `fastnn.ne`."""
        return compare(self, other, Py_NE)

    def lt(self, other):
        """See `fastnn.lt`."""
        return compare(self, other, Py_LT)

    def le(self, other):
        """See `fastnn.le`."""
        return compare(self, other, Py_LE)

    def gt(self, other):
        """See `fastnn.gt`."""
        return compare(self, other, Py_GT)

    def ge(self, other):
        """See `fastnn.ge`."""
        return compare(self, other, Py_GE)

    def sum(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.sum`."""
        return sum(self, dim, keepdim, axis, keepdims)

    def mean(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.mean`."""
        return mean(self, dim, keepdim, axis, keepdims)

    def max(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.max`."""
        return max(self, dim, keepdim, axis, keepdims)

    def min(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.min`."""
        return min(self, dim, keepdim, axis, keepdims)

    def amax(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.amax`."""
        return amax(self, dim, keepdim, axis, keepdims)

    def amin(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.amin`."""
        return amin(self, dim, keepdim, axis, keepdims)

    def prod(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.prod`."""
        return prod(self, dim, keepdim, axis, keepdims)

    def all(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.all`."""
        return all(self, dim, keepdim, axis, keepdims)

    def any(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.any`."""
        return any(self, dim, keepdim, axis, keepdims)

    def logsumexp(self, dim=None, bint keepdim=False, *, axis=None, keepdims=None):
        """See `fastnn.logsumexp`."""
        return logsumexp(self, dim, keepdim, axis, keepdims)

    def var(self, dim=None, double correction=1, bint keepdim=False, *, axis=None, keepdims=None, unbiased=None):
        """See `fastnn.var`."""
        return var(self, dim, correction, keepdim, axis, keepdims, unbiased)

    def std(self, dim=None, double correction=1, bint keepdim=False, *, axis=None, keepdims=None, unbiased=None):
        """See `fastnn.std`."""
        return std(self, dim, correction, keepdim, axis, keepdims, unbiased)

    def argmax(self, dim=None, bint keepdim=False, *, axis=None):
        """See `fastnn.argmax`."""
        return argmax(self, dim, keepdim, axis)

    def argmin(self, dim=None, bint keepdim=False, *, axis=None):
        """See `fastnn.argmin`."""
        return argmin(self, dim, keepdim, axis)

    def norm(self, p=2, dim=None, bint keepdim=False):
        """See `fastnn.norm`."""
        return norm(self, p, dim, keepdim)

    def softmax(self, dim=-1, dtype=None):
        """See `fastnn.softmax`."""
        return softmax(self, dim, dtype)

    def log_softmax(self, dim=-1, dtype=None):
        """See `fastnn.log_softmax`."""
        return log_softmax(self, dim, dtype)

    def cumsum(self, dim=0):
        """See `fastnn.cumsum`."""
        return cumsum(self, dim)

    def sort(self, dim=-1, bint descending=False):
        """See `fastnn.sort`."""
        return sort(self, dim, descending)

    def argsort(self, dim=-1, bint descending=False):
        """See `fastnn.argsort`."""
        return argsort(self, dim, descending)

    def reshape(self, *shape):
        """See `fastnn.reshape`."""
        return reshape(self, sizes(shape))

    def view(self, *shape):
        """`reshape`: the same memory where the new shape allows it, else a copy.

        PyTorch raises where it would have to copy. Here images are channels-last in memory, so that `x.view(n, -1)`
        behind a convolution, which is a view there, must copy; who writes into a view asks NumPy whether it is one:
        `np.shares_memory(x, y)`.
        """
        return reshape(self, sizes(shape))

    def view_as(self, other):
        """`view` in the shape of another tensor."""
        return reshape(self, np.shape(other))

    def flatten(self, int start_dim=0, int end_dim=-1):
        """See `fastnn.flatten`."""
        return flatten(self, start_dim, end_dim)

    def permute(self, *dims):
        """See `fastnn.permute`."""
        return permute(self, sizes(dims) if dims else None)

    def transpose(self, int dim0, int dim1):
        """See `fastnn.transpose`."""
        return transpose(self, dim0, dim1)

    def swapaxes(self, int axis1, int axis2):
        """See `fastnn.swapaxes`."""
        return transpose(self, axis1, axis2)

    def t(self):
        """See `fastnn.t`."""
        return transpose(self, 0, 1)

    def squeeze(self, dim=None):
        """See `fastnn.squeeze`."""
        return squeeze(self, dim)

    def unsqueeze(self, int dim):
        """See `fastnn.unsqueeze`."""
        return unsqueeze(self, dim)

    def expand(self, *shape):
        """See `fastnn.expand`."""
        return broadcast_to(self, sizes(shape))

    def expand_as(self, other):
        """`expand` to the shape of another tensor."""
        return broadcast_to(self, np.shape(other))

    def broadcast_to(self, *shape):
        """See `fastnn.broadcast_to`."""
        return broadcast_to(self, sizes(shape))

    def flip(self, *dims):
        """See `fastnn.flip`."""
        return flip(self, sizes(dims))

    def roll(self, shifts, dims=None):
        """See `fastnn.roll`."""
        return roll(self, shifts, dims)

    def masked_fill(self, mask, value):
        """See `fastnn.masked_fill`."""
        return masked_fill(self, mask, value)

    def gather(self, int dim, index):
        """See `fastnn.gather`."""
        return gather(self, dim, index)

    def scatter_add(self, int dim, index, src):
        """See `fastnn.scatter_add`."""
        return scatter_add(self, dim, index, src)

    def index_select(self, int dim, index):
        """See `fastnn.index_select`."""
        return index_select(self, dim, index)

    def scatter(self, int dim, index, src):
        """See `fastnn.scatter`."""
        return scatter(self, dim, index, src)

    def topk(self, k, int dim=-1, bint largest=True):
        """See `fastnn.topk`."""
        return topk(self, k, dim, largest)

    def nonzero(self):
        """See `fastnn.nonzero`."""
        return nonzero(self)

    def repeat(self, *dims):
        """See `fastnn.tile`."""
        return tile(self, sizes(dims))

    def tile(self, *dims):
        """See `fastnn.tile`."""
        return tile(self, sizes(dims))

    def repeat_interleave(self, repeats, dim=None):
        """See `fastnn.repeat_interleave`."""
        return repeat_interleave(self, repeats, dim)

    def split(self, split_size, int dim=0):
        """See `fastnn.split`."""
        return split(self, split_size, dim)

    def chunk(self, int chunks, int dim=0):
        """See `fastnn.chunk`."""
        return chunk(self, chunks, dim)

    def unbind(self, int dim=0):
        """See `fastnn.unbind`."""
        return unbind(self, dim)

    def tril(self, int diagonal=0):
        """See `fastnn.tril`."""
        return tril(self, diagonal)

    def triu(self, int diagonal=0):
        """See `fastnn.triu`."""
        return triu(self, diagonal)

    def outer(self, other):
        """See `fastnn.outer`."""
        return outer(self, other)
