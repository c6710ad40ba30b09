# Activations. In the backward a recorded pass takes the formula in differentiable ops, any other the fused kernel.

cdef Tensor passing(int act, ndarray y):
    """1 where ReLU or ReLU6 lets the gradient pass to its output y, else 0."""
    return wrap(np.asarray((y > 0) & (y < 6) if act == RELU6 else y > 0, y.dtype))


cdef class ReluNode(Node):
    """alpha is the activation, RELU or RELU6."""
    cdef tuple backward(self, Value dy):
        cdef ndarray y = <ndarray>self.kept()
        cdef int act = <int>self.alpha
        if grad_enabled():
            return (mul(dy, passing(act, y)),)
        return (fused(slope_kernel(act), dy, y),)


cdef Tensor limited(int act, Tensor x):
    """ReLU or ReLU6 of a float tensor."""
    cdef Tensor out = wrap(unary_array(act, x.array))
    cdef ReluNode node
    if not recorded(x):
        return out
    node = ReluNode.__new__(ReluNode)
    node.alpha = act
    return keep_output(out, node, x)


cpdef Tensor relu(x, inplace=False):
    """max(x, 0); the gradient at 0 is 0. `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.relu(fnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    cdef Tensor t = as_tensor(x)
    if kind(t.array) < 0:
        return wrap(np.asarray(np.maximum(t.array, 0)))
    return limited(RELU, t)


def relu6(x, inplace=False):
    """min(max(x, 0), 6); the gradient at 0 and 6 is 0. `inplace` has no effect.

    References
    ----------
    Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.relu6(fnn.tensor([-1.0, 7.0])).tolist()
    [0.0, 6.0]
    """
    cdef Tensor t = as_tensor(x)
    if kind(t.array) < 0:
        return wrap(np.asarray(np.clip(t.array, 0, 6)))
    return limited(RELU6, t)


cdef class LeakyReluNode(Node):
    cdef tuple backward(self, Value dy):
        cdef ndarray x = (<Tensor>self.first()).array
        if grad_enabled():
            return (mul(dy, wrap(np.asarray(np.where(x > 0, 1, self.alpha), x.dtype))),)
        return (fused(LEAKY_RELU_GRAD, dy, x, self.alpha),)


cpdef Tensor leaky_relu(x, double negative_slope=0.01, inplace=False):
    """x where x > 0, negative_slope * x elsewhere. `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.leaky_relu(fnn.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5,  2. ])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(LEAKY_RELU, t.array, negative_slope))
    cdef LeakyReluNode node
    if recorded(t):
        node = LeakyReluNode.__new__(LeakyReluNode)
        node.alpha = negative_slope
        return keep_input(out, node, t)
    return out


cdef class EluNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        if grad_enabled():
            return (where(x > 0, dy, mul(dy, with_number(MUL, exp(clamp(x, None, 0)), self.alpha, False))),)
        return (fused(ELU_GRAD, dy, x.array, self.alpha),)


cpdef Tensor elu(x, double alpha=1.0, inplace=False):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere. `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.elu(fnn.tensor([0.0, 2.0]))
    tensor([0., 2.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(ELU, t.array, alpha))
    cdef EluNode node
    if recorded(t):
        node = EluNode.__new__(EluNode)
        node.alpha = alpha
        return keep_input(out, node, t)
    return out


cdef class SoftplusNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        if grad_enabled():
            return (mul(dy, sigmoid(x)),)
        return (fused(SOFTPLUS_GRAD, dy, x.array),)


cpdef Tensor softplus(x):
    """log(1 + exp(x)), without overflow.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.softplus(fnn.tensor([100.0]))
    tensor([100.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(SOFTPLUS, t.array))
    return keep_input(out, SoftplusNode.__new__(SoftplusNode), t) if recorded(t) else out


cdef Tensor gelu_slope(Tensor x, bint tanh_form):
    """The derivative of gelu in differentiable ops."""
    cdef Tensor inner, t
    if tanh_form:
        inner = mul(mul(x, add(mul(square(x), 0.044715), 1.0)), 0.7978845608028654)  # sqrt(2 / pi)
        t = tanh(inner)
        inner = mul(add(mul(square(x), 3 * 0.044715), 1.0), 0.7978845608028654)
        return add(mul(add(t, 1.0), 0.5), mul(mul(mul(x, sub(1.0, square(t))), inner), 0.5))
    t = mul(add(erf(mul(x, 0.7071067811865476)), 1.0), 0.5)
    return add(t, mul(x, mul(exp(mul(square(x), -0.5)), 0.3989422804014327)))  # 1 / sqrt(2 pi)


cdef class GeluNode(Node):
    """alpha is the kernel: GELU_GRAD or GELU_TANH_GRAD."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        if grad_enabled():
            return (mul(dy, gelu_slope(x, <int>self.alpha == GELU_TANH_GRAD)),)
        return (fused(<int>self.alpha, dy, x.array),)


cpdef Tensor gelu(x, str approximate="none"):
    """x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel, 2016).

    Parameters
    ----------
    x : Tensor
    approximate : {"none", "tanh"}
        "tanh" takes the formula 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).

    Raises
    ------
    ValueError
        If `approximate` is another word.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.gelu(fnn.tensor([0.0, 10.0]))
    tensor([ 0., 10.])
    """
    if approximate != "none" and approximate != "tanh":
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    cdef bint tanh_form = approximate == "tanh"
    cdef Tensor t = floating(x), out = wrap(unary_array(GELU_TANH if tanh_form else GELU, t.array))
    cdef GeluNode node
    if recorded(t):
        node = GeluNode.__new__(GeluNode)
        node.alpha = GELU_TANH_GRAD if tanh_form else GELU_GRAD
        return keep_input(out, node, t)
    return out


cdef class SiluNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), s
        if grad_enabled():
            s = sigmoid(x)
            return (mul(dy, mul(s, add(mul(x, sub(1.0, s)), 1.0))),)
        return (fused(SILU_GRAD, dy, x.array),)


cpdef Tensor silu(x, inplace=False):
    """x * sigmoid(x), also called swish. `inplace` has no effect.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.silu(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(SILU, t.array))
    return keep_input(out, SiluNode.__new__(SiluNode), t) if recorded(t) else out


cdef class HardswishNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), inner
        if grad_enabled():
            inner = mul(passing(RELU6, np.asarray(x.array + 3)), add(mul(x, 1.0 / 3), 0.5))
            return (mul(dy, add(inner, wrap(np.asarray(x.array >= 3, x.array.dtype)))),)
        return (fused(HARDSWISH_GRAD, dy, x.array),)


def hardswish(x, inplace=False):
    """x * relu6(x + 3) / 6, which is close to `silu`. `inplace` has no effect.

    References
    ----------
    Howard et al., "Searching for MobileNetV3", 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.hardswish(fnn.tensor([-4.0, 3.0])).tolist()
    [-0.0, 3.0]
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(HARDSWISH, t.array))
    return keep_input(out, HardswishNode.__new__(HardswishNode), t) if recorded(t) else out


cdef ndarray prelu_layout(ndarray x, ndarray weight, PreluJob* job):
    """x as the kernel walks it, (outer, channels, inner), or a copy in such a layout; fills in what the job says of x."""
    cdef int d, nd = cnp.PyArray_NDIM(x)
    job.channels, job.inner = cnp.PyArray_DIM(weight, 0), 1
    if not dense(x):
        x = channels_last(x) if nd > 2 else contiguous(x)
    elif job.channels > 1:
        for d in range(2, nd):
            job.inner *= cnp.PyArray_DIM(x, d)
    job.x, job.weight, job.size = cnp.PyArray_DATA(x), cnp.PyArray_DATA(weight), cnp.PyArray_SIZE(x)
    return x


cdef void run_prelu(PreluKernel kernel, PreluJob* job) noexcept:
    if job.size:
        run(<RangeFunction>kernel, job, prelu_items(job[0]), 0.2 * prelu_item(job[0]))


cdef class PReluNode(Node):
    """Inputs x and weight; saved is the shape in which the weight broadcasts with x."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), w = <Tensor>self.second(), g = <Tensor>dy, above
        cdef ndarray weight = contiguous(w.array), of, dx = None, sums = None
        cdef PreluJob job
        cdef npy_intp dims[2]
        if grad_enabled():
            above = wrap(np.asarray(x.array > 0))
            return (where(above, g, mul(g, reshape(w, self.saved))) if self.needs(0) else None,
                    reshape(sum_to(where(above, 0, mul(g, x)), self.saved), shape_of(weight)) if self.needs(1) else None)
        of = prelu_layout(x.array, weight, &job)
        g = wrap(contiguous(g.array) if dense(of) else channels_last(g.array))
        job.dy, job.out, job.sums = cnp.PyArray_DATA(g.array), NULL, NULL
        if self.needs(0):
            dx = new_like(of, cnp.PyArray_TYPE(of))
            job.out = cnp.PyArray_DATA(dx)
        if self.needs(1):
            dims[0] = prelu_items(job) * prelu_cols(job) // job.channels if job.size else 0
            dims[1] = job.channels
            sums = new_array(2, dims, cnp.PyArray_TYPE(of))
            job.sums = cnp.PyArray_DATA(sums)
        run_prelu(runtime.table[kind(of)].prelu_backward, &job)
        return (None if dx is None else wrap(dx), None if sums is None else scaled_sum(wrap(sums), 1, False, 1))


cdef bint by_channel(ndarray weight, int nd) noexcept:
    """Whether the weight broadcasts with nd dimensions along the second alone, as (C, 1, 1) does with (N, C, H, W)."""
    cdef int d, skip = nd - cnp.PyArray_NDIM(weight)
    for d in range(cnp.PyArray_NDIM(weight)):
        if skip + d != 1 and cnp.PyArray_DIM(weight, d) != 1:
            return False
    return skip >= 0


cpdef Tensor prelu(x, weight):
    """x where it is positive, weight * x elsewhere (He et al., "Delving deep into rectifiers", 2015).

    Parameters
    ----------
    x : Tensor, shape (N, C, ...)
    weight : Tensor, shape (1,) or (C,)
        One slope for all, or one for each channel; (C, 1, ...) too, as it broadcasts with x.

    Raises
    ------
    ValueError
        If `weight` has another shape.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.prelu(fnn.tensor([[-1.0, -1.0]]), fnn.tensor([0.5, 2.0])).tolist()
    [[-0.5, -2.0]]
    """
    cdef Tensor t = floating(x), w = floating(weight), out
    cdef int nd = cnp.PyArray_NDIM(t.array), type_num = common_type(t.array, w.array)
    cdef npy_intp channels = cnp.PyArray_DIM(t.array, 1) if nd > 1 else 1
    cdef ndarray of, slopes
    cdef PReluNode node
    cdef PreluJob job
    if cnp.PyArray_NDIM(w.array) != 1 and by_channel(w.array, nd):
        w = reshape(w, (-1,))
    if cnp.PyArray_NDIM(w.array) != 1 or cnp.PyArray_DIM(w.array, 0) not in (1, channels):
        raise ValueError(f"prelu: x is {shape_of(t.array)}, weight is {shape_of(w.array)}; expected (1,) or "
                         f"({channels},)")
    t, w = cast(t, type_num), cast(w, type_num)
    slopes = contiguous(w.array)
    of = prelu_layout(t.array, slopes, &job)
    out = wrap(new_like(of, type_num))
    job.out = cnp.PyArray_DATA(out.array)
    run_prelu(runtime.table[kind(of)].prelu, &job)
    if recorded_pair(t, w):
        node = PReluNode.__new__(PReluNode)
        node.save(t, w)
        node.saved = (1,) * (nd > 1) + shape_of(slopes) + (1,) * (nd - 2) if nd else ()
        attach(out, node, (edge(t), edge(w)))
    return out
