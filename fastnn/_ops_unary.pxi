# Functions of one tensor. Those with a kernel have a fused gradient kernel too, used where the backward is not
# recorded.

cdef inline Tensor fused(int op, Value dy, ndarray saved, double alpha=0):
    """dx from dy and what was saved, in one kernel."""
    cdef ndarray out = spent(dy)  # before the call, which holds the array itself
    return wrap(binary_array(op, (<Tensor>dy).array, saved, alpha, out))


cdef inline Tensor output_of(Node node):
    """The op's own output, saved as an array since a Tensor would hold the node that holds it. Recorded, when the
    backward is: then it is this node's output again."""
    cdef Tensor y = wrap(<ndarray>node.kept())
    if grad_enabled():
        y.node = node
        y.needs_grad = True
    return y


cdef inline Tensor keep_input(Tensor out, Node node, Tensor x):
    """Attaches a node whose backward needs the input."""
    node.save(x, None)
    return <Tensor>attach(out, node, (edge(x),))


cdef inline Tensor keep_output(Tensor out, Node node, Tensor x):
    """Attaches a node whose backward needs the output."""
    node.keep(out, out.array)
    return <Tensor>attach(out, node, (edge(x),))


cdef class NegNode(Node):
    cdef tuple backward(self, Value dy):
        return (neg(dy),)


cpdef Tensor neg(x):
    """-x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.neg(fnn.tensor([1.0, -2.0]))
    tensor([-1.,  2.])
    """
    cdef Tensor t = as_tensor(x), out
    if kind(t.array) < 0:
        return wrap(door("neg", np.negative(t.array), None))
    out = wrap(unary_array(NEG, t.array))
    if recorded(t):
        attach(out, NegNode.__new__(NegNode), (edge(t),))
    return out


cdef class AbsNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        if grad_enabled():
            return (mul(dy, sign(x.detach())),)
        return (fused(ABS_GRAD, dy, x.array),)


cpdef Tensor abs(x):
    """The absolute value; its gradient at 0 is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.abs(fnn.tensor([1.0, -2.0]))
    tensor([1., 2.])
    """
    cdef Tensor t = as_tensor(x), out
    if kind(t.array) < 0:
        return wrap(np.asarray(np.abs(t.array)))
    out = wrap(unary_array(ABS, t.array))
    return keep_input(out, AbsNode.__new__(AbsNode), t) if recorded(t) else out


cdef class ZeroGradientNode(Node):
    """Step functions: the gradient is 0 wherever it exists."""
    cdef tuple backward(self, Value dy):
        return (zeros_like(dy),)


cdef Tensor step_function(Tensor x, ndarray y):
    cdef Tensor out = wrap(y)
    if kind(y) >= 0 and recorded(x):
        attach(out, ZeroGradientNode.__new__(ZeroGradientNode), (edge(x),))
    return out


cpdef Tensor sign(x):
    """-1, 0 or 1; the gradient is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sign(fnn.tensor([3.0, 0.0, -2.0]))
    tensor([ 1.,  0., -1.])
    """
    cdef Tensor t = as_tensor(x)
    return step_function(t, np.asarray(np.sign(t.array)) if kind(t.array) < 0 else unary_array(SIGN, t.array))


cpdef Tensor floor(x):
    """The largest integer not above x, in x's dtype; the gradient is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.floor(fnn.tensor([-1.5, 1.5]))
    tensor([-2.,  1.])
    """
    cdef Tensor t = as_tensor(x)
    return step_function(t, np.asarray(np.floor(t.array)) if kind(t.array) >= 0 else t.array.copy())


cpdef Tensor ceil(x):
    """The smallest integer not below x, in x's dtype; the gradient is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.ceil(fnn.tensor([-1.5, 1.5]))
    tensor([-1.,  2.])
    """
    cdef Tensor t = as_tensor(x)
    return step_function(t, np.asarray(np.ceil(t.array)) if kind(t.array) >= 0 else t.array.copy())


cpdef Tensor round(x):
    """The nearest integer, ties to even, in x's dtype; the gradient is 0.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.round(fnn.tensor([0.5, 1.5, 2.6]))
    tensor([0., 2., 3.])
    """
    cdef Tensor t = as_tensor(x)
    return step_function(t, np.asarray(np.rint(t.array)) if kind(t.array) >= 0 else t.array.copy())


cdef class SquareNode(Node):
    cdef tuple backward(self, Value dy):
        return (mul(dy, with_number(MUL, <Tensor>self.first(), 2, False)),)


cpdef Tensor square(x):
    """x * x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.square(fnn.tensor([3.0, -2.0]))
    tensor([9., 4.])
    """
    cdef Tensor t = as_tensor(x), out
    if kind(t.array) < 0:
        return wrap(door("square", np.multiply(t.array, t.array), None))
    out = wrap(unary_array(SQUARE, t.array))
    return keep_input(out, SquareNode.__new__(SquareNode), t) if recorded(t) else out


cdef class SqrtNode(Node):
    cdef tuple backward(self, Value dy):
        return (with_number(MUL, div(dy, output_of(self)), 0.5, False),)


cpdef Tensor sqrt(x):
    """The square root; NaN for negative numbers.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sqrt(fnn.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(SQRT, t.array))
    return keep_output(out, SqrtNode.__new__(SqrtNode), t) if recorded(t) else out


cpdef Tensor rsqrt(x):
    """1 / sqrt(x).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.rsqrt(fnn.tensor([4.0]))
    tensor([0.5])
    """
    return reciprocal(sqrt(x))


cdef class ReciprocalNode(Node):
    cdef tuple backward(self, Value dy):
        return (neg(mul(dy, square(output_of(self)))),)


cpdef Tensor reciprocal(x):
    """1 / x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.reciprocal(fnn.tensor([4.0]))
    tensor([0.25])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(RECIPROCAL, t.array))
    return keep_output(out, ReciprocalNode.__new__(ReciprocalNode), t) if recorded(t) else out


cdef class ExpNode(Node):
    cdef tuple backward(self, Value dy):
        return (mul(dy, output_of(self)),)


cpdef Tensor exp(x):
    """e to the power x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.exp(fnn.zeros(2))
    tensor([1., 1.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(EXP, t.array))
    return keep_output(out, ExpNode.__new__(ExpNode), t) if recorded(t) else out


cdef class LogNode(Node):
    cdef tuple backward(self, Value dy):
        return (div(dy, self.first()),)


cpdef Tensor log(x):
    """The natural logarithm; -inf for 0, NaN for negative numbers.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.log(fnn.ones(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(LOG, t.array))
    return keep_input(out, LogNode.__new__(LogNode), t) if recorded(t) else out


cdef class Log1pNode(Node):
    cdef tuple backward(self, Value dy):
        return (div(dy, add(self.first(), 1.0)),)


cpdef Tensor log1p(x):
    """log(1 + x), exact for small x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.log1p(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(quietly(np.log1p, t.array))
    return keep_input(out, Log1pNode.__new__(Log1pNode), t) if recorded(t) else out


cdef class Expm1Node(Node):
    cdef tuple backward(self, Value dy):
        return (mul(dy, add(output_of(self), 1.0)),)


cpdef Tensor expm1(x):
    """exp(x) - 1, exact for small x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.expm1(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(quietly(np.expm1, t.array))
    return keep_output(out, Expm1Node.__new__(Expm1Node), t) if recorded(t) else out


cdef class SinNode(Node):
    cdef tuple backward(self, Value dy):
        return (mul(dy, cos(self.first())),)


cpdef Tensor sin(x):
    """The sine.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sin(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(quietly(np.sin, t.array))
    return keep_input(out, SinNode.__new__(SinNode), t) if recorded(t) else out


cdef class CosNode(Node):
    cdef tuple backward(self, Value dy):
        return (neg(mul(dy, sin(self.first()))),)


cpdef Tensor cos(x):
    """The cosine.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.cos(fnn.zeros(2))
    tensor([1., 1.])
    """
    cdef Tensor t = floating(x), out = wrap(quietly(np.cos, t.array))
    return keep_input(out, CosNode.__new__(CosNode), t) if recorded(t) else out


cdef class TanhNode(Node):
    cdef tuple backward(self, Value dy):
        if grad_enabled():
            return (mul(dy, sub(1.0, square(output_of(self)))),)
        return (fused(TANH_GRAD, dy, self.kept()),)


cpdef Tensor tanh(x):
    """The hyperbolic tangent.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.tanh(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(TANH, t.array))
    return keep_output(out, TanhNode.__new__(TanhNode), t) if recorded(t) else out


cdef class SigmoidNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor y
        if grad_enabled():
            y = output_of(self)
            return (mul(dy, mul(y, sub(1.0, y))),)
        return (fused(SIGMOID_GRAD, dy, self.kept()),)


cpdef Tensor sigmoid(x):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sigmoid(fnn.zeros(2))
    tensor([0.5, 0.5])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(SIGMOID, t.array))
    return keep_output(out, SigmoidNode.__new__(SigmoidNode), t) if recorded(t) else out


cdef class ErfNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        if grad_enabled():
            return (mul(dy, mul(exp(neg(square(x))), 1.1283791670955126)),)  # 2 / sqrt(pi)
        return (fused(ERF_GRAD, dy, x.array),)


cpdef Tensor erf(x):
    """The error function.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.erf(fnn.zeros(2))
    tensor([0., 0.])
    """
    cdef Tensor t = floating(x), out = wrap(unary_array(ERF, t.array))
    return keep_input(out, ErfNode.__new__(ErfNode), t) if recorded(t) else out


# ----- clamp -----

cdef class ClampNode(Node):
    cdef tuple backward(self, Value dy):
        return (mul(dy, wrap(<ndarray>self.saved)),)


cpdef Tensor clamp(x, min=None, max=None):
    """x limited to [min, max] (numbers or Tensors, None for no limit); outside, the gradient is the limit's.

    Raises
    ------
    ValueError
        If there is no limit at all.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.clamp(fnn.tensor([-1.0, 0.5, 3.0]), 0, 1)
    tensor([0. , 0.5, 1. ])
    """
    cdef Tensor t = as_tensor(x), out
    cdef ClampNode node
    if min is None and max is None:
        raise ValueError("clamp: min or max must be given")
    if not (min is None or number(min)) or not (max is None or number(max)):
        if needs_grad((t, min, max)):  # maximum and minimum share the gradient where both are equal
            out = t if min is None else where(logical_or(t < min, isnan(min)), min, t)
            return out if max is None else where(logical_or(out > max, isnan(max)), max, out)
        out = t if min is None else maximum(t, min)
        return out if max is None else minimum(out, max)
    min, max = python_number(min), python_number(max)
    if kind(t.array) < 0 and builtins.any([isinstance(limit, float) for limit in (min, max)]):
        t = floating(t)
    if kind(t.array) < 0:
        return wrap(np.asarray(np.clip(t.array, min, max)))
    if max is not None and max != max:  # NaN, which the kernel hands on from below only
        min = max
    out = wrap(scalar_binary(CLAMP, t.array, -INFINITY if min is None else min, False, INFINITY if max is None else max))
    if recorded(t):
        node = ClampNode.__new__(ClampNode)
        node.saved = np.asarray(out.array == t.array, t.array.dtype)
        attach(out, node, (edge(t),))
    return out


clip = clamp


cpdef Tensor isnan(x):
    """Where x is NaN, as a bool tensor.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.isnan(fnn.tensor([1.0, float('nan')]))
    tensor([False,  True])
    """
    return wrap(np.asarray(np.isnan(as_tensor(x).array)))


cpdef Tensor isinf(x):
    """Where x is infinite, as a bool tensor.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.isinf(fnn.tensor([1.0, float('-inf')]))
    tensor([False,  True])
    """
    return wrap(np.asarray(np.isinf(as_tensor(x).array)))


cpdef Tensor isfinite(x):
    """Where x is neither infinite nor NaN, as a bool tensor.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.isfinite(fnn.tensor([1.0, float('inf')]))
    tensor([ True, False])
    """
    return wrap(np.asarray(np.isfinite(as_tensor(x).array)))
