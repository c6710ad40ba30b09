# Softmax and the losses that have a kernel. The kernels work on dense rows, so the dimension in question moves to the
# end.

cdef ndarray rows_kernel(int which, ndarray x, ndarray dy):
    """which: 0 softmax, 1 log_softmax, each over the last dimension; with dy its backward, x being the saved output."""
    cdef ndarray out
    cdef Rows job
    cdef const Kernels* table = runtime.table[kind(x)]
    x = contiguous(x)
    out = new_array(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x))
    job.cols = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1)
    job.y, job.x, job.dy = cnp.PyArray_DATA(out), cnp.PyArray_DATA(x), NULL
    if job.cols == 0:
        return out
    if dy is None:
        run(<RangeFunction>(table.log_softmax if which else table.softmax), &job, count_rows(x), 1.0 * job.cols)
        return out
    if not same_shape(x, dy) or kind(x) != kind(dy):
        raise ValueError(f"backward of softmax: dy is {shape_of(dy)}, y is {shape_of(x)}")
    dy = contiguous(dy)
    job.dy = cnp.PyArray_DATA(dy)
    run(<RangeFunction>(table.log_softmax_backward if which else table.softmax_backward), &job, count_rows(x),
        (1.0 if which else 0.2) * job.cols)
    return out


cdef ndarray along_rows(int which, ndarray x, int d, ndarray dy):
    """The same over dimension d."""
    cdef int last = cnp.PyArray_NDIM(x) - 1
    if d == last:
        return rows_kernel(which, x, dy)
    return np.moveaxis(rows_kernel(which, np.moveaxis(x, d, -1), None if dy is None else np.moveaxis(dy, d, -1)), -1, d)


cdef class SoftmaxNode(Node):
    """alpha is the dimension."""
    cdef tuple backward(self, Value dy):
        cdef int d = <int>self.alpha
        cdef Tensor y
        if not grad_enabled():
            return (wrap(along_rows(0, <ndarray>self.kept(), d, (<Tensor>dy).array)),)
        y = output_of(self)
        return (mul(y, sub(dy, sum(mul(dy, y), d, True))),)


cpdef Tensor softmax(x, dim=-1, dtype=None):
    """exp(x) / sum(exp(x)) along dim, without overflow, of x converted to dtype if there is one. A row of -inf gives NaN.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.softmax(fnn.zeros(2))
    tensor([0.5, 0.5])
    """
    cdef Tensor t = floating(x if dtype is None else as_tensor(x).to(dtype)), out
    cdef SoftmaxNode node
    cdef int d
    if cnp.PyArray_NDIM(t.array) == 0:
        return reshape(softmax(reshape(t, (1,)), 0, dtype), ())
    d = axis_of("softmax", dim, cnp.PyArray_NDIM(t.array))
    out = wrap(along_rows(0, t.array, d, None))
    if recorded(t):
        node = SoftmaxNode.__new__(SoftmaxNode)
        node.alpha = d
        return keep_output(out, node, t)
    return out


cdef class LogSoftmaxNode(Node):
    """alpha is the dimension."""
    cdef tuple backward(self, Value dy):
        cdef int d = <int>self.alpha
        if not grad_enabled():
            return (wrap(along_rows(1, <ndarray>self.kept(), d, (<Tensor>dy).array)),)
        return (sub(dy, mul(exp(output_of(self)), sum(dy, d, True))),)


cpdef Tensor log_softmax(x, dim=-1, dtype=None):
    """log(softmax(x)) along dim, exact where softmax is tiny, of x converted to dtype if there is one.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.log_softmax(fnn.zeros(2))
    tensor([-0.6931472, -0.6931472])
    """
    cdef Tensor t = floating(x if dtype is None else as_tensor(x).to(dtype)), out
    cdef LogSoftmaxNode node
    cdef int d
    if cnp.PyArray_NDIM(t.array) == 0:
        return reshape(log_softmax(reshape(t, (1,)), 0, dtype), ())
    d = axis_of("log_softmax", dim, cnp.PyArray_NDIM(t.array))
    out = wrap(along_rows(1, t.array, d, None))
    if recorded(t):
        node = LogSoftmaxNode.__new__(LogSoftmaxNode)
        node.alpha = d
        return keep_output(out, node, t)
    return out


# ----- cross-entropy -----

cdef class CrossEntropyNode(Node):
    """saved is (lse, targets, class weights or None, ignore_index, per row), alpha the smoothing, beta the scale of the
    sum."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), g = <Tensor>dy
        cdef CrossEntropyJob job
        cdef ndarray dx, lse, target, weight, dloss, scores = x.array
        cdef bint per_row
        cdef float value32
        cdef double value64
        lse, target, weight, ignore_index, per_row = self.saved
        if grad_enabled():
            return (self.recorded_backward(g, x),)
        dx = new_array(2, cnp.PyArray_DIMS(x.array), cnp.PyArray_TYPE(x.array))
        fill_cross_entropy(&job, scores, lse, target, weight, ignore_index, self.alpha)
        job.dx = cnp.PyArray_DATA(dx)
        if per_row:
            dloss = contiguous(g.array)
            job.dloss, job.dloss_stride = cnp.PyArray_DATA(dloss), 1
        else:
            value64 = read_number(g.array) * self.beta
            value32 = <float>value64
            job.dloss = <const void*>&value32 if kind(x.array) == F32 else <const void*>&value64
            job.dloss_stride = 0
        run(<RangeFunction>runtime.table[kind(x.array)].cross_entropy_backward, &job, cnp.PyArray_DIM(x.array, 0),
            1.0 * job.cols)
        return (wrap(dx),)

    cdef Tensor recorded_backward(self, Tensor dy, Tensor x):
        """dx = dy * (sum(q) * softmax(x) - q), with q the weight that each class has in the loss of its row."""
        lse, target, weight, ignore_index, per_row = self.saved
        rows, cols = shape_of(x.array)
        cdef ndarray w = np.ones(cols, x.array.dtype) if weight is None else weight
        q = np.broadcast_to(self.alpha / cols * w, (rows, cols)).copy()
        counted = np.asarray(target != ignore_index)
        hit = np.flatnonzero(counted)
        q[hit, target[hit]] += (1 - self.alpha) * w[target[hit]]
        q[~counted] = 0
        q *= self.beta
        return mul(reshape(dy, (-1, 1)) if per_row else dy,
                   sub(mul(softmax(x, 1), wrap(np.asarray(q.sum(1, keepdims=True), x.array.dtype))),
                       wrap(np.asarray(q, x.array.dtype))))


cdef inline double read_number(ndarray a) noexcept:
    return (<float*>cnp.PyArray_DATA(a))[0] if kind(a) == F32 else (<double*>cnp.PyArray_DATA(a))[0]


cdef int fill_cross_entropy(CrossEntropyJob* job, ndarray x, ndarray lse, ndarray target, ndarray weight,
                            object ignore_index,
                            double smoothing) except -1:
    if cnp.PyArray_SIZE(lse) != cnp.PyArray_DIM(x, 0) or cnp.PyArray_SIZE(target) != cnp.PyArray_DIM(x, 0):
        raise ValueError("cross_entropy: the saved arrays were changed")
    memset(job, 0, sizeof(CrossEntropyJob))
    job.x, job.lse = cnp.PyArray_DATA(x), cnp.PyArray_DATA(lse)
    job.target = <const i64*>cnp.PyArray_DATA(target)
    job.weight = NULL if weight is None else cnp.PyArray_DATA(weight)
    job.cols = cnp.PyArray_DIM(x, 1)
    job.ignore_index = ignore_index
    job.label_smoothing = smoothing
    return 0


cdef ndarray class_indices(object target, npy_intp rows, npy_intp cols, i64 ignore_index):
    """The targets as int64, each a class or ignore_index."""
    cdef Tensor t = as_tensor(target)
    cdef ndarray a = t.array
    cdef const i64* p
    cdef npy_intp i
    if kind(a) >= 0 or cnp.PyArray_TYPE(a) == cnp.NPY_BOOL:
        raise TypeError(f"cross_entropy: class indices must be integers, got {a.dtype}")
    a = np.array(a, np.int64).reshape(-1)  # a copy: the backward needs it again
    if cnp.PyArray_SIZE(a) != rows:
        raise ValueError(f"cross_entropy: {cnp.PyArray_SIZE(a)} targets for {rows} rows")
    p = <const i64*>cnp.PyArray_DATA(a)
    for i in range(rows):
        if (p[i] < 0 or p[i] >= cols) and p[i] != ignore_index:
            raise IndexError(f"cross_entropy: target {p[i]} is outside [0, {cols}) and not ignore_index "
                             f"({ignore_index})")
    return a


cpdef Tensor cross_entropy(input, target, weight=None, ignore_index=-100, str reduction="mean",
                           double label_smoothing=0.0):
    """The cross-entropy of softmax(input) against classes, in one kernel forward and one backward.

    Parameters
    ----------
    input : Tensor (N, C), (N, C, d1, ...) or (C,)
        Scores, not probabilities.
    target : integer Tensor (N), (N, d1, ...) or (); or a float Tensor of input's shape
        Class indices in [0, C), or the probability of every class.
    weight : Tensor (C), optional
        Of each class. The mean is weighted with it.
    ignore_index : int
        Rows with this target count for nothing.
    reduction : {"mean", "sum", "none"}
    label_smoothing : float in [0, 1]
        How much of the target is spread evenly over all classes.

    Raises
    ------
    IndexError
        If a target is no class.
    ValueError
        If shapes do not fit, or reduction or label_smoothing is none of the above.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.cross_entropy(fnn.zeros(1, 2), fnn.tensor([1]))
    tensor(0.6931472)
    """
    cdef Tensor x = floating(input), out, rows2d, w = None if weight is None else as_tensor(weight)
    cdef int nd = cnp.PyArray_NDIM(x.array)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    if nd == 0:
        raise ValueError("cross_entropy: input is 0-d; expected (N, C), (N, C, d1, ...) or (C,)")
    cdef npy_intp cols = cnp.PyArray_DIM(x.array, 1 if nd > 1 else 0)
    if w is not None and shape_of(w.array) != (cols,):
        raise ValueError(f"cross_entropy: weight is {shape_of(w.array)}; expected ({cols},)")
    if isinstance(target, Tensor) and kind((<Tensor>target).array) >= 0 or (
            isinstance(target, np_ndarray) and kind(target) >= 0):
        return soft_cross_entropy(x, as_tensor(target), w, reduction, label_smoothing)
    expected = shape_of(x.array)[:1] + shape_of(x.array)[2:] if nd > 1 else ()
    if np.shape(plain(target)) != expected:
        raise ValueError(f"cross_entropy: target is {np.shape(plain(target))}; expected {expected} for input "
                         f"{shape_of(x.array)}")
    rows2d = x
    if nd == 1:
        rows2d = reshape(x, (1, cols))
    elif nd > 2:
        rows2d = reshape(permute(x, (0,) + tuple(range(2, nd)) + (1,)), (cnp.PyArray_SIZE(x.array) // cols if cols
                                                                         else 0, cols))
    out = cross_entropy_rows(rows2d, target, w, ignore_index, reduction, label_smoothing)
    return reshape(out, expected) if reduction == "none" and nd != 2 else out


cdef Tensor cross_entropy_rows(Tensor x, object target, Tensor w, i64 ignore_index, str reduction, double smoothing):
    """input (rows, C), target one class per row."""
    cdef npy_intp rows = cnp.PyArray_DIM(x.array, 0), cols = cnp.PyArray_DIM(x.array, 1), i
    cdef ndarray weight = None if w is None else w.array, scores, loss, lse, classes
    cdef CrossEntropyJob job
    cdef CrossEntropyNode node
    cdef double scale = 1, counted = 0
    cdef Tensor out
    if weight is not None:
        weight = contiguous(np.array(weight, x.array.dtype))
    classes = class_indices(target, rows, cols, ignore_index)
    x = contiguous_tensor(x)
    scores = x.array
    loss, lse = new_array(1, &rows, cnp.PyArray_TYPE(x.array)), new_array(1, &rows, cnp.PyArray_TYPE(x.array))
    fill_cross_entropy(&job, scores, lse, classes, weight, ignore_index, smoothing)
    job.loss = cnp.PyArray_DATA(loss)
    run(<RangeFunction>runtime.table[kind(x.array)].cross_entropy, &job, rows, 1.0 * cols)  # no classes: 0 for what is ignored
    if reduction == "mean":
        if weight is None:
            for i in range(rows):
                counted += (<const i64*>cnp.PyArray_DATA(classes))[i] != ignore_index
        else:
            kept = classes[np.asarray(classes != ignore_index)]
            counted = weight[kept].sum(dtype=np.float64)
        scale = 1 / counted if counted else float("nan")
    if reduction == "none":
        out = wrap(loss)
    else:
        out = wrap(reduce_array(SUM, loss, 1, False, scale))
    if recorded(x):
        node = CrossEntropyNode.__new__(CrossEntropyNode)
        node.save(x, None)
        node.saved = (lse, classes, weight, ignore_index, reduction == "none")
        node.alpha, node.beta = smoothing, scale if scale == scale else 0  # of nothing the mean is NaN, its slope is 0
        attach(out, node, (edge(x),))
    return out


cdef Tensor soft_cross_entropy(Tensor x, Tensor target, Tensor w, str reduction, double smoothing):
    """Against the probability of every class, from differentiable ops."""
    cdef int nd = cnp.PyArray_NDIM(x.array), d = 1 if nd > 1 else 0
    cdef npy_intp cols = cnp.PyArray_DIM(x.array, d)
    cdef Tensor loss
    if not same_shape(x.array, target.array):
        raise ValueError(f"cross_entropy: target probabilities are {shape_of(target.array)}; expected "
                         f"{shape_of(x.array)}")
    if smoothing:
        target = add(mul(target, 1 - smoothing), smoothing / cols)
    loss = neg(mul(log_softmax(x, d), target))
    if w is not None:
        loss = mul(loss, reshape(w, tuple([cols if i == d else 1 for i in range(nd)])))
    loss = sum(loss, d)
    if reduction == "none":
        return loss
    return mean(loss) if reduction == "mean" else sum(loss)


# ----- mean squared error -----

cdef class MseNode(Node):
    """The sum of squares of a difference that is on the tape itself; alpha is the scale."""
    cdef tuple backward(self, Value dy):
        return (mul(self.first(), with_number(MUL, <Tensor>dy, 2 * self.alpha, False)),)


cpdef Tensor mse_loss(input, target, str reduction="mean"):
    """The squared error (input - target)^2: its mean, sum, or one per element.

    Parameters
    ----------
    input, target : Tensor
        Of one shape: broadcasting here is nearly always a mistake.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.mse_loss(fnn.tensor([1.0, 2.0]), fnn.tensor([1.0, 4.0]))
    tensor(2.)
    """
    cdef Tensor x = floating(input), y = floating(target), difference, out
    cdef MseNode node
    cdef int type_num
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"mse_loss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if not same_shape(x.array, y.array):
        raise ValueError(f"mse_loss: input is {shape_of(x.array)}, target is {shape_of(y.array)}; expected the same "
                         f"shape")
    type_num = common_type(x.array, y.array)
    x, y = cast(x, type_num), cast(y, type_num)
    if reduction == "none":
        return square(sub(x, y))
    cdef npy_intp n = cnp.PyArray_SIZE(x.array)
    cdef double scale = 1.0 if reduction == "sum" else 1.0 / n if n else float("nan")
    difference = sub(x, y)
    out = wrap(reduce_array(SUM_SQUARES, difference.array, axes_mask("mse_loss", None, cnp.PyArray_NDIM(x.array)),
                            False, scale))
    if recorded(difference):
        node = MseNode.__new__(MseNode)
        node.alpha = scale
        return keep_input(out, node, difference)
    return out
