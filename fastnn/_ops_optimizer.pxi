# One call of the kernel for all parameters of an optimizer, and the helpers for gradients that go with it.

cdef extern from *:
    """
    #include <memory>
    #include <new>
    #include <utility>
    #include "runtime.h"
    struct Gathered {  // the parameters of one step: where each begins among all elements, and pointers into them
        enum { P, GRAD, M, V, MEAN, MOST, ARRAYS };
        fastnn::i64 count = 0, room = 0;
        std::unique_ptr<fastnn::i64[]> starts;
        std::unique_ptr<void*[]> pointers;
        fastnn::i64* start() { return starts.get(); }
        void** of(int array) { return pointers.get() + array * room; }
        bool make_room(fastnn::i64 n) {
            count = 0;
            if (starts && n <= room) return true;
            starts.reset(new (std::nothrow) fastnn::i64[size_t(n) + 1]);
            pointers.reset(new (std::nothrow) void*[size_t(n) * ARRAYS]);
            room = starts && pointers ? n : 0;
            return starts && pointers;
        }
        void swap(Gathered& with) { std::swap(*this, with); }
    };
    """
    cdef cppclass Gathered:
        i64 count
        i64* start() noexcept
        void** of(int array) noexcept
        bint make_room(i64 n) noexcept
        void swap(Gathered& with_) noexcept
    enum: GATHERED_P "Gathered::P"
    enum: GATHERED_GRAD "Gathered::GRAD"
    enum: GATHERED_M "Gathered::M"
    enum: GATHERED_V "Gathered::V"
    enum: GATHERED_MEAN "Gathered::MEAN"
    enum: GATHERED_MOST "Gathered::MOST"


cdef class OptimizerStep:
    """The update of all parameters of one kind of optimizer, one kernel call per dtype.

    Parameters
    ----------
    kind : {"sgd", "adam", "rmsprop"}
    params : list of Tensor
        Leaves of float32 or float64.

    Attributes
    ----------
    state : dict of str to list of ndarray
        The optimizer's memory per parameter, filled when first needed: "m" (momentum), "v" (second moment), "mean" (of
        the centered RMSprop), "most" (AMSGrad's greatest v). Writing into the arrays restores a state.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn._ops import OptimizerStep
    >>> p = fnn.ones(2, requires_grad=True)
    >>> (p * p).sum().backward()
    >>> OptimizerStep("sgd", [p]).step(1, 0.25)
    >>> p
    tensor([0.5, 0.5], requires_grad=True)
    """
    cdef readonly str kind
    cdef readonly list params
    cdef readonly dict state
    cdef Gathered spare  # memory for the next step

    def __init__(self, str kind, params):
        if kind not in ("sgd", "adam", "rmsprop"):
            raise ValueError(f"OptimizerStep: kind must be 'sgd', 'adam' or 'rmsprop', got {kind!r}")
        self.kind = kind
        self.params = list(params)
        for p in self.params:
            if not isinstance(p, Tensor):
                raise TypeError(f"OptimizerStep: params must be Tensors, got {type(p).__name__}")
            check_differentiable((<Tensor>p).array)
        self.state = {}

    def step(self, i64 step, double lr, double momentum=0, double dampening=0, double beta1=0, double beta2=0,
             double eps=0, double weight_decay=0, double grad_scale=1, bint nesterov=False, bint decoupled=False,
             bint centered=False, bint amsgrad=False):
        """Updates every parameter that has a gradient; `step` counts from 1. RMSprop's alpha is beta2."""
        cdef Optimize job
        cdef Gathered all  # this call's own: another thread may come here while the kernel runs without the GIL,
        cdef list held = []  # or drop a gradient
        cdef int dtype
        if step < 1:
            raise ValueError(f"step: the first step is number 1, got {step}")
        if self.kind == "adam" or (self.kind == "sgd" and momentum != 0) or (self.kind == "rmsprop" and momentum != 0):
            self.need("m")
        if self.kind != "sgd":
            self.need("v")
        if centered and self.kind == "rmsprop":
            self.need("mean")
        if amsgrad and self.kind == "adam":
            self.need("most")
        job.step, job.lr, job.momentum, job.dampening = step, lr, momentum, dampening
        job.beta1, job.beta2, job.eps, job.weight_decay, job.grad_scale = beta1, beta2, eps, weight_decay, grad_scale
        job.nesterov, job.decoupled, job.zero_grad = nesterov, decoupled, False
        all.swap(self.spare)
        for dtype in range(2):
            if self.gather(dtype, all, held):
                self.launch(dtype, all, job, self.kind == "adam" or momentum != 0, self.kind != "sgd",
                            centered and self.kind == "rmsprop", amsgrad and self.kind == "adam")
        all.swap(self.spare)

    cdef need(self, str name):
        """Makes the state arrays of one name: zeros in the memory order of the parameters."""
        if self.state.get(name) is None:
            self.state[name] = [(<Tensor>zeros_like(p)).array for p in self.params]

    cdef i64 gather(self, int dtype, Gathered& all, list held) except -1:
        """Collects the pointers of the parameters of a dtype that have a gradient, and in held what keeps them alive.
        Returns how many."""
        cdef Tensor p, g
        cdef ndarray a, copy
        cdef Py_ssize_t i
        cdef list m = self.state.get("m"), v = self.state.get("v"), mean = self.state.get("mean")
        cdef list most = self.state.get("most")
        cdef i64 total = 0
        cdef Py_ssize_t n = len(self.params)
        if not all.make_room(n):
            raise MemoryError(f"step: no memory for the pointers to {n} parameters")
        for i in range(n):
            p = <Tensor>self.params[i]
            g = <Tensor>p._grad
            if g is None or kind(p.array) != dtype:
                continue
            a = g.array
            if not same_shape(a, p.array) or kind(a) != dtype:
                raise ValueError(f"step: the gradient of parameter {i} is {shape_of(a)} {a.dtype}; expected "
                                 f"{shape_of(p.array)} {p.array.dtype}")
            if not cnp.PyArray_ISWRITEABLE(p.array) or not flat(p.array):
                raise ValueError(f"step: parameter {i} is read-only or not dense; make it from a copy")
            if not same_layout(a, p.array):
                copy = new_like(p.array, cnp.PyArray_TYPE(a))
                cnp.PyArray_CopyInto(copy, a)
                a = copy
            held.append(p.array)
            held.append(a)
            all.of(GATHERED_P)[all.count] = cnp.PyArray_DATA(p.array)
            all.of(GATHERED_GRAD)[all.count] = cnp.PyArray_DATA(a)
            if m is not None:
                all.of(GATHERED_M)[all.count] = state_pointer(m, i, p, held)
            if v is not None:
                all.of(GATHERED_V)[all.count] = state_pointer(v, i, p, held)
            if mean is not None:
                all.of(GATHERED_MEAN)[all.count] = state_pointer(mean, i, p, held)
            if most is not None:
                all.of(GATHERED_MOST)[all.count] = state_pointer(most, i, p, held)
            all.start()[all.count] = total
            all.count += 1
            total += cnp.PyArray_SIZE(a)
            bump_version(p)
        all.start()[all.count] = total
        return all.count

    cdef launch(self, int dtype, Gathered& all, Optimize& job, bint m, bint v, bint mean, bint most):
        cdef const Kernels* table = runtime.table[dtype]
        job.tensors = all.count
        job.start = all.start()
        job.p, job.grad = all.of(GATHERED_P), all.of(GATHERED_GRAD)
        job.m = all.of(GATHERED_M) if m else NULL
        job.v = all.of(GATHERED_V) if v else NULL
        job.mean = all.of(GATHERED_MEAN) if mean else NULL
        job.most = all.of(GATHERED_MOST) if most else NULL
        run(<RangeFunction>(table.sgd if self.kind == "sgd" else table.adam if self.kind == "adam"
                            else table.rmsprop), &job,
            all.start()[all.count], 0.5)


cdef bint flat(ndarray a) noexcept:
    """Whether a fills a stretch of memory, in any order of its dimensions."""
    cdef int order[64]
    return dense(a) or memory_order(a, order)


cdef void* state_pointer(list arrays, Py_ssize_t i, Tensor p, list held) except? NULL:
    """The memory of a state array, kept alive by held; the list is the user's to change, so it is checked."""
    if i >= len(arrays) or not isinstance(arrays[i], np_ndarray):
        raise ValueError(f"step: the state of parameter {i} is missing")
    cdef ndarray a = arrays[i]
    if (not same_shape(a, p.array) or cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(p.array) or not cnp.PyArray_ISWRITEABLE(a)
            or not cnp.PyArray_ISALIGNED(a) or not cnp.PyArray_ISNOTSWAPPED(a)):
        raise ValueError(f"step: the state of parameter {i} is {shape_of(a)} {a.dtype}; expected a writeable "
                         f"{shape_of(p.array)} {p.array.dtype}")
    if not same_layout(a, p.array):
        arrays[i] = new_like(p.array, cnp.PyArray_TYPE(a))
        cnp.PyArray_CopyInto(arrays[i], a)
        a = arrays[i]
    held.append(a)
    return cnp.PyArray_DATA(a)


cdef list as_tensors(str name, object params):
    cdef list result = params if type(params) is list else list(params)
    for p in result:
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(p).__name__}")
    return result


def zero_grads(params, bint set_to_none=True):
    """Drops the gradients of all params, or fills them with zeros.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn._ops import zero_grads
    >>> p = fnn.ones(2, requires_grad=True)
    >>> p.sum().backward()
    >>> zero_grads([p])
    >>> p.grad is None
    True
    """
    cdef Tensor p, g
    for p in as_tensors("zero_grads", params):
        if set_to_none or p._grad is None:
            p._grad = None
        elif (<Tensor>p._grad).needs_grad:  # of a recorded backward
            p._grad = zeros_like(p._grad)
        else:
            g = <Tensor>p._grad
            g.array.fill(0)
            bump_version(g)


def grad_norm(params):
    """The 2-norm of all gradients of params together, as a float; params without a gradient count as 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn._ops import grad_norm
    >>> p = fnn.ones(2, requires_grad=True)
    >>> p.sum().backward()
    >>> round(grad_norm([p]), 4)
    1.4142
    """
    cdef Tensor p
    cdef ndarray a
    cdef double total = 0
    for p in as_tensors("grad_norm", params):
        if p._grad is not None:
            a = (<Tensor>p._grad).array
            a = reduce_array(SUM_SQUARES, a, axes_mask("grad_norm", None, cnp.PyArray_NDIM(a)), False, 1)
            total += read_number(a)
    return c_sqrt(total)


def scale_grads(params, double factor):
    """Multiplies every gradient of params in place."""
    cdef Tensor p, g
    for p in as_tensors("scale_grads", params):
        if p._grad is not None:
            g = <Tensor>p._grad
            if not cnp.PyArray_ISWRITEABLE(g.array):
                raise ValueError("scale_grads: a gradient's memory is read-only")
            np.multiply(g.array, factor, out=g.array)
            bump_version(g)
