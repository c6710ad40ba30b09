# Activations. In the backward a recorded pass takes the formula in differentiable ops, any other the fused kernel.

cdef class ReluNode(Node):
    cdef tuple backward(self, Value dy):
        cdef ndarray y = <ndarray>self.kept()
        if grad_enabled():
            return (mul(dy, wrap(np.asarray(y > 0, y.dtype))),)
        return (fused(RELU_GRAD, dy, y),)


cpdef Tensor relu(x):
    """max(x, 0); the gradient at 0 is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.relu(fnn.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    cdef Tensor t = as_tensor(x), out
    if kind(t.array) < 0:
        return wrap(np.asarray(np.maximum(t.array, 0)))
    out = wrap(unary_array(RELU, t.array))
    return keep_output(out, ReluNode.__new__(ReluNode), t) if recorded(t) else out


cdef class LeakyReluNode(Node):
    cdef tuple backward(self, Value dy):
        cdef ndarray x = (<Tensor>self.first()).array
        if grad_enabled():
            return (mul(dy, wrap(np.asarray(np.where(x > 0, 1, self.alpha), x.dtype))),)
        return (fused(LEAKY_RELU_GRAD, dy, x, self.alpha),)


cpdef Tensor leaky_relu(x, double negative_slope=0.01):
    """x where x > 0, negative_slope * x elsewhere.

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


cpdef Tensor elu(x, double alpha=1.0):
    """x where x > 0, alpha * (exp(x) - 1) elsewhere.

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


cpdef Tensor silu(x):
    """x * sigmoid(x), also called swish.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.silu(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(SILU, t.array))
    return keep_input(out, SiluNode.__new__(SiluNode), t) if recorded(t) else out
