# What the Tensor class leans on: making one, checks of in-place changes, pickling.

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object o)

cdef extern from *:
    PyObject* PyArray_BASE_OBJECT "PyArray_BASE"(ndarray a)


cdef inline bint sole(ndarray a):
    """Whether nobody holds an array but a tensor and the caller's variable, and it is no view of somebody else's memory."""
    return Py_REFCNT(a) <= 2 and (PyArray_BASE_OBJECT(a) == NULL or isinstance(<object>PyArray_BASE_OBJECT(a), Block))


cdef inline ndarray spent(Value dy):
    """The memory of a gradient that only the running pass holds, for what is computed from it; None where others do. In a
    backward pass this memory is in the cache, and new memory pushes something else out of it."""
    cdef ndarray a = (<Tensor>dy).array
    return a if Py_REFCNT(dy) <= 1 and sole(a) and cnp.PyArray_ISWRITEABLE(a) else None


class Handle:
    """What register_hook returns; ``remove()`` takes the hook away."""

    __slots__ = ("hooks", "hook")

    def __init__(self, hooks, hook):
        self.hooks, self.hook = hooks, hook
        hooks.append(hook)

    def remove(self):
        """Takes the hook away; a second call does nothing."""
        if self.hook is not None and self.hook in self.hooks:
            self.hooks.remove(self.hook)
        self.hook = None


class GradKeeper:
    """The hook of retain_grad, which the tensor's node holds: by a strong reference they would wait for the collector."""

    __slots__ = ("owner",)

    def __init__(self, owner):
        self.owner = ref(owner)

    def __call__(self, gradient):
        owner = self.owner()
        if owner is not None:
            owner.grad = gradient.clone() if owner.grad is None else owner.grad + gradient


cdef inline Tensor wrap(ndarray array):
    """A new leaf around an array that is fit for it (aligned, native, a supported dtype)."""
    cdef Tensor t = Tensor.__new__(Tensor)
    t.array = array
    return t


cdef inline Tensor alias(Tensor of, ndarray array):
    """A leaf around a view of another tensor's memory."""
    cdef Tensor t = wrap(array)
    share_version(of, t)
    return t


cdef made_anew(Tensor t):
    """For a second __init__, which may change shape and dtype: nodes that saved t notice, views from before do not."""
    cdef Counter counter = Counter.__new__(Counter)
    counter.n = version(t) + 1
    t.counter = counter
    t.node = None
    t._grad = None
    t.packed = None


cdef inline bint recorded(Tensor a) noexcept:
    return a.needs_grad and grad_enabled()


cdef inline bint same_layout(ndarray a, ndarray b) noexcept:
    """Same strides, both dense: what an optimizer needs to walk a parameter and its gradient as flat memory."""
    return (dense(a) and dense(b)) or memcmp(
        cnp.PyArray_STRIDES(a), cnp.PyArray_STRIDES(b), cnp.PyArray_NDIM(a) * sizeof(npy_intp)) == 0


cdef inline bint number(object x):
    """Whether x is a scalar without a dtype of its own in promotions: a Python or a NumPy number."""
    return isinstance(x, (float, int)) or isinstance(x, np_numbers)


cdef inline object python_number(object x):
    """A NumPy number as Python's, which has no dtype of its own to NumPy either; anything else as it is."""
    return x.item() if isinstance(x, np_numbers) else x


cdef tuple np_numbers = (np.floating, np.integer, np.bool_)
cdef object np_generic = np.generic, np_ndarray = np.ndarray


cdef inline bint operand(object x):
    return isinstance(x, Tensor) or number(x) or isinstance(x, (np_ndarray, list, tuple)) or hasattr(x, "__array__")


cdef check_differentiable(ndarray array):
    if kind(array) < 0:
        raise TypeError(f"requires_grad: only float32 and float64 tensors can require grad, got {array.dtype}")


cdef check_number(str name, object value):
    """Raises for what NumPy would make a number of, as "3" and None."""
    if not (number(value) or isinstance(value, (Tensor, np_ndarray))):
        raise TypeError(f"{name}: the value must be a number, got {type(value).__name__}")


cdef write(Tensor t, str name, object value):
    """Raises where an in-place change of t is not allowed."""
    if grad_enabled() and t.needs_grad:
        raise RuntimeError(f"{name}: the tensor requires grad, and in-place changes are not recorded; write the "
                           f"operation out of place (t = t + v) or do it within no_grad()")
    if grad_enabled() and isinstance(value, Tensor) and (<Tensor>value).needs_grad:
        raise RuntimeError(f"{name}: v requires grad, and in-place changes are not recorded; write the operation out "
                           f"of place (t = t + v) or do it within no_grad()")
    if not cnp.PyArray_ISWRITEABLE(t.array):
        raise ValueError(f"{name}: the tensor's memory is read-only; clone() it first")


cdef Tensor in_place(Tensor t, object ufunc, str name, object other):
    write(t, name, other)
    with np.errstate(all="ignore"):
        ufunc(t.array, (<Tensor>other).array if isinstance(other, Tensor) else other, out=t.array, casting="same_kind")
    bump_version(t)
    return t


cdef object in_place_or_anew(Tensor t, object ufunc, str name, object other, object op):
    """Where it is recorded, a new tensor for the name on the left."""
    if grad_enabled() and (t.needs_grad or (isinstance(other, Tensor) and (<Tensor>other).needs_grad)):
        return op(t, other)
    return in_place(t, ufunc, name, other)


cdef object scaled(object other, object alpha):
    """alpha * other, where other may be a list."""
    if alpha == 1:
        return other
    return alpha * (np.asarray(other) if isinstance(other, (list, tuple)) else other)


cdef add_into(ndarray a, ndarray b):
    """a += b, by the kernel where both are dense."""
    cdef Elementwise job
    if not (dense(a) and dense(b) and same_shape(a, b) and kind(a) == kind(b) and kind(a) >= 0):
        np.add(a, b, out=a, casting="same_kind")
        return
    job.out = job.a = cnp.PyArray_DATA(a)
    job.b = cnp.PyArray_DATA(b)
    job.alpha = 0
    job.ndim = 1
    job.shape[0] = cnp.PyArray_SIZE(a)
    job.a_stride[0] = job.b_stride[0] = 1
    run(<RangeFunction>runtime.table[kind(a)].binary[ADD], &job, job.shape[0], 0.15)


cdef str representation(Tensor t):
    cdef str end = ""
    cdef ndarray a = t.array
    if a.dtype not in (np.float32, np.int64, np.bool_):
        end += f", dtype={a.dtype}"
    if t.needs_grad:
        end += ", requires_grad=True"
    if cnp.PyArray_SIZE(a) == 0 and shape_of(a) != (0,):
        end = f", shape={shape_of(a)}" + end
    return "tensor(" + np.array2string(a, separator=", ", prefix="tensor(") + end + ")"


def rebuild(cls, array, bint requires_grad):
    """What unpickling a tensor calls."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"rebuild: expected a Tensor class, got {cls!r}")
    cdef Tensor t = cls.__new__(cls)
    t.array = door("rebuild", array, None)
    t.requires_grad = requires_grad
    return t


cdef Tensor rebuild_with(Tensor like, ndarray array):
    return rebuild(type(like), array, like.needs_grad and like.node is None)
