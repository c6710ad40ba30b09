# Arithmetic of two tensors, or of a tensor and a number. Broadcasting is undone in the backward by summing.

cdef inline bint pair(object a, object b):
    """Whether a and b are tensors of one float dtype: the fast case."""
    return (isinstance(a, Tensor) and isinstance(b, Tensor) and kind((<Tensor>a).array) >= 0
            and cnp.PyArray_TYPE((<Tensor>a).array) == cnp.PyArray_TYPE((<Tensor>b).array))


cdef inline bint recorded_pair(Tensor a, Tensor b) noexcept:
    return (a.needs_grad or b.needs_grad) and grad_enabled()


cdef inline object shapes(Tensor a, Tensor b):
    """What a backward needs to undo broadcasting; None if there was none."""
    if same_shape(a.array, b.array):
        return None
    return shape_of(a.array), shape_of(b.array)


cdef inline Tensor unbroadcast(Node node, int input, Tensor gradient):
    """gradient summed to the shape of the node's input."""
    return gradient if node.saved is None else sum_to(gradient, (<tuple>node.saved)[input])


cdef Tensor beside(object x, object other):
    """x as a tensor; Python's numbers in a list become float64 beside float64, not float32 first."""
    if isinstance(x, (list, tuple)) and isinstance(other, Tensor) and kind((<Tensor>other).array) == F64:
        return as_tensor(x, float64)
    return as_tensor(x)


cdef Tensor mixed(int op, object a, object b):
    """Arithmetic outside the fast case: numbers, integers, two dtypes, arrays and lists."""
    cdef Tensor x, y
    cdef int type_num
    if isinstance(a, Tensor) and number(b):
        if kind((<Tensor>a).array) >= 0:
            return with_number(op, a, float(b), False)
        if isinstance(b, (float, np.floating)) or op == DIV:
            return with_number(op, floating(a), float(b), False)
        return integers(op, (<Tensor>a).array, b)
    elif isinstance(b, Tensor) and number(a):
        if kind((<Tensor>b).array) >= 0:
            return with_number(op, b, float(a), True)
        if isinstance(a, (float, np.floating)) or op == DIV:
            return with_number(op, floating(b), float(a), True)
        return integers(op, a, (<Tensor>b).array)
    x, y = beside(a, b), beside(b, a)
    if kind(x.array) < 0 and kind(y.array) < 0:
        if op != DIV:
            broadcastable(binary_name(op), x, y)
            return integers(op, x.array, y.array)
        x, y = floating(x), floating(y)
    type_num = common_type(x.array, y.array)
    return arithmetic(op, cast(x, type_num), cast(y, type_num))


cdef int common_type(ndarray a, ndarray b) noexcept:
    """The float type of a result: integers adapt to floats, float32 to float64."""
    if kind(a) == F64 or kind(b) == F64:
        return cnp.NPY_DOUBLE
    return cnp.NPY_FLOAT


cdef Tensor integers(int op, object x, object y):
    ufunc = {ADD: np.add, SUB: np.subtract, MUL: np.multiply, MAXIMUM: np.maximum, MINIMUM: np.minimum}[op]
    return wrap(door(binary_name(op), ufunc(x, y), None))


cdef ndarray quietly(object function, object x, object y=None):
    """NumPy's function without its floating-point warnings: kernels give NaN and infinity without a word, too."""
    with np.errstate(all="ignore"):
        return np.asarray(function(x) if y is None else function(x, y))


cdef int broadcastable(str name, Tensor x, Tensor y) except -1:
    cdef int nd = 0
    cdef npy_intp dims[64]
    return broadcast_dims(name, x.array, y.array, &nd, dims)


cdef Tensor arithmetic(int op, Tensor x, Tensor y):
    if op == ADD:
        return add(x, y)
    if op == SUB:
        return sub(x, y)
    if op == MUL:
        return mul(x, y)
    if op == DIV:
        return div(x, y)
    return maximum(x, y) if op == MAXIMUM else minimum(x, y)


cdef class AddNode(Node):
    cdef tuple backward(self, Value dy):
        return (unbroadcast(self, 0, dy) if self.needs(0) else None, unbroadcast(self, 1, dy) if self.needs(1)
                else None)


cpdef Tensor add(a, b):
    """a + b, element by element; broadcasts.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.add(fnn.ones(2), 3)
    tensor([4., 4.])
    """
    if not pair(a, b):
        return mixed(ADD, a, b)
    cdef Tensor x = a, y = b, out = wrap(binary_array(ADD, x.array, y.array))
    cdef AddNode node
    if recorded_pair(x, y):
        node = AddNode.__new__(AddNode)
        node.saved = shapes(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out


cdef class SubNode(Node):
    cdef tuple backward(self, Value dy):
        return (unbroadcast(self, 0, dy) if self.needs(0) else None,
                unbroadcast(self, 1, neg(dy)) if self.needs(1) else None)


cpdef Tensor sub(a, b):
    """a - b, element by element; broadcasts.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.sub(1, fnn.ones(2))
    tensor([0., 0.])
    """
    if not pair(a, b):
        return mixed(SUB, a, b)
    cdef Tensor x = a, y = b, out = wrap(binary_array(SUB, x.array, y.array))
    cdef SubNode node
    if recorded_pair(x, y):
        node = SubNode.__new__(SubNode)
        node.saved = shapes(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out


cdef class MulNode(Node):
    cdef tuple backward(self, Value dy):
        return (unbroadcast(self, 0, mul(dy, self.second())) if self.needs(0) else None,
                unbroadcast(self, 1, mul(dy, self.first())) if self.needs(1) else None)


cpdef Tensor mul(a, b):
    """a * b, element by element; broadcasts.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.mul(fnn.tensor([1.0, 2.0]), fnn.tensor([3.0, 4.0]))
    tensor([3., 8.])
    """
    if not pair(a, b):
        return mixed(MUL, a, b)
    cdef Tensor x = a, y = b, out = wrap(binary_array(MUL, x.array, y.array))
    cdef MulNode node
    if recorded_pair(x, y):
        node = MulNode.__new__(MulNode)
        node.save(x, y)
        node.saved = shapes(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out


cdef class DivNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor q = div(dy, self.second())
        return (unbroadcast(self, 0, q) if self.needs(0) else None,
                unbroadcast(self, 1, neg(mul(q, div(self.first(), self.second())))) if self.needs(1) else None)


cpdef Tensor div(a, b):
    """a / b, element by element; broadcasts. Integers are divided as float32.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.div(1, fnn.tensor([2.0, 4.0]))
    tensor([0.5 , 0.25])
    """
    if not pair(a, b):
        return mixed(DIV, a, b)
    cdef Tensor x = a, y = b, out = wrap(binary_array(DIV, x.array, y.array))
    cdef DivNode node
    if recorded_pair(x, y):
        node = DivNode.__new__(DivNode)
        node.save(x, y)
        node.saved = shapes(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out


cdef class MaximumNode(Node):
    """alpha is 1 for maximum, -1 for minimum; a tie is shared between both."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), y = <Tensor>self.second()
        greater = np.greater(x.array, y.array) if self.alpha > 0 else np.less(x.array, y.array)
        tie = np.equal(x.array, y.array)
        cdef Tensor share = wrap(np.asarray(greater + 0.5 * tie, x.array.dtype))
        return (unbroadcast(self, 0, mul(dy, share)) if self.needs(0) else None,
                unbroadcast(self, 1, mul(dy, sub(1.0, share))) if self.needs(1) else None)


cpdef Tensor maximum(a, b):
    """The larger of a and b, element by element; NaN if either is. Where they are equal the gradient is shared.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.maximum(fnn.tensor([1.0, 5.0]), 2)
    tensor([2., 5.])
    """
    return extremum(MAXIMUM, a, b)


cpdef Tensor minimum(a, b):
    """The smaller of a and b, element by element; NaN if either is. Where they are equal the gradient is shared.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.minimum(fnn.tensor([1.0, 5.0]), 2)
    tensor([1., 2.])
    """
    return extremum(MINIMUM, a, b)


cdef Tensor extremum(int op, object a, object b):
    if not pair(a, b):
        return mixed(op, a, b)
    cdef Tensor x = a, y = b, out = wrap(binary_array(op, x.array, y.array))
    cdef MaximumNode node
    if recorded_pair(x, y):
        node = MaximumNode.__new__(MaximumNode)
        node.save(x, y)
        node.saved = shapes(x, y)
        node.alpha = 1 if op == MAXIMUM else -1
        attach(out, node, (edge(x), edge(y)))
    return out


cdef tuple alike(object a, object b):
    """Operands for a function of NumPy, which alone makes float64 of float32 beside integers."""
    cdef int type_num
    a, b = python_number(a), python_number(b)
    if isinstance(a, Tensor) and number(b):
        return beside_number(a, b), b
    if isinstance(b, Tensor) and number(a):
        return a, beside_number(b, a)
    if isinstance(a, Tensor) and isinstance(b, Tensor) and (kind((<Tensor>a).array) < 0) != (kind((<Tensor>b).array) < 0):
        type_num = common_type((<Tensor>a).array, (<Tensor>b).array)
        return cast(a, type_num), cast(b, type_num)
    return a, b


cdef Tensor floor_divided(object a, object b):
    """a // b; no gradient."""
    a, b = alike(a, b)
    return without_gradient(np.floor_divide, "//", a, b)


cdef class RemainderNode(Node):
    """a % b = a - b floor(a / b); saved is the shapes, the first value the quotient, a step function."""
    cdef tuple backward(self, Value dy):
        return (unbroadcast(self, 0, dy) if self.needs(0) else None,
                unbroadcast(self, 1, neg(mul(dy, self.first()))) if self.needs(1) else None)


cdef Tensor remainder(object a, object b):
    """a % b with the sign of b, as Python's; NaN for floats where b is 0."""
    cdef Tensor out, x, y
    cdef RemainderNode node
    a, b = alike(a, b)
    out = without_gradient(np.remainder, "%", a, b)
    if kind(out.array) < 0:
        return out
    x, y = cast(as_tensor(a), cnp.PyArray_TYPE(out.array)), cast(as_tensor(b), cnp.PyArray_TYPE(out.array))
    if recorded_pair(x, y):
        node = RemainderNode.__new__(RemainderNode)
        node.saved = shapes(x, y)
        node.save(without_gradient(np.floor_divide, "//", a, b), None)
        attach(out, node, (edge(x), edge(y)))
    return out


# ----- a tensor and a number -----

cdef class AddNumberNode(Node):
    """alpha is the sign of x in the sum."""
    cdef tuple backward(self, Value dy):
        return (dy if self.alpha > 0 else neg(dy),)


cdef class MulNumberNode(Node):
    cdef tuple backward(self, Value dy):
        return (with_number(MUL, dy, self.alpha, False),)


cdef class DivNumberNode(Node):
    cdef tuple backward(self, Value dy):
        return (with_number(DIV, dy, self.alpha, False),)


cdef class NumberDivNode(Node):
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first()
        return (with_number(MUL, div(dy, mul(x, x)), -self.alpha, False),)


cdef Tensor with_number(int op, Tensor x, double s, bint reverse):
    """f(x, s), or f(s, x) with `reverse`."""
    cdef Tensor out
    cdef Node node
    if op == MAXIMUM or op == MINIMUM:
        return extremum(op, x, full_like(x, s) if recorded(x) else wrap(one_number(s, cnp.PyArray_TYPE(x.array))))
    out = wrap(scalar_binary(op, x.array, s, reverse))
    if recorded(x):
        if op == ADD or op == SUB:
            node = AddNumberNode.__new__(AddNumberNode)
            node.alpha = -1 if op == SUB and reverse else 1
        elif op == MUL:
            node = MulNumberNode.__new__(MulNumberNode)
            node.alpha = s
        elif not reverse:
            node = DivNumberNode.__new__(DivNumberNode)
            node.alpha = s
        else:
            node = NumberDivNode.__new__(NumberDivNode)
            node.alpha = s
            node.save(x, None)
        attach(out, node, (edge(x),))
    return out


cdef ndarray one_number(double s, int type_num):
    cdef ndarray a = new_array(0, NULL, type_num)
    if type_num == cnp.NPY_FLOAT:
        (<float*>cnp.PyArray_DATA(a))[0] = <float>s
    else:
        (<double*>cnp.PyArray_DATA(a))[0] = s
    return a


# ----- powers -----

cdef class PowNumberNode(Node):
    """x ** p for a number p."""
    cdef tuple backward(self, Value dy):
        if self.alpha == 0:
            return (zeros_like(dy),)
        return (mul(dy, with_number(MUL, pow(self.first(), self.alpha - 1), self.alpha, False)),)


cdef class PowNode(Node):
    """x ** y; the derivative by y is 0 where x is 0 and y is not negative, that by x where y is 0."""
    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), y = <Tensor>self.second(), dx = None, de = None, zero
        if self.needs(0):
            zero = wrap(np.asarray(np.equal(y.array, 0)))
            dx = unbroadcast(self, 0, mul(dy, masked_fill(mul(y, pow(x, sub(y, 1.0))), zero, 0.0)))
        if self.needs(1):
            zero = wrap(np.asarray(np.equal(x.array, 0) & np.greater_equal(y.array, 0)))
            de = unbroadcast(self, 1, mul(dy, mul(pow(x, y), log(masked_fill(x, zero, 1.0)))))
        return dx, de


cpdef Tensor pow(a, b):
    """a ** b, element by element; broadcasts.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.pow(fnn.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    cdef Tensor x, y, out
    cdef Node node
    cdef double p
    cdef int type_num
    if isinstance(a, Tensor) and number(b):
        x = a
        if kind(x.array) < 0 and not isinstance(b, (float, np.floating)):
            return wrap(door("pow", np.power(x.array, b), None))
        x, p = floating(x), float(b)
        if p == 1:
            return clone(x)
        if p == 2:
            return square(x)
        if p == 0.5:
            return sqrt(x)
        if p == -1:
            return reciprocal(x)
        out = wrap(quietly(np.power, x.array, np.asarray(p, x.array.dtype)))
        if recorded(x):
            node = PowNumberNode.__new__(PowNumberNode)
            node.alpha = p
            node.save(x, None)
            attach(out, node, (edge(x),))
        return out
    if number(a):
        y = as_tensor(b)
        if kind(y.array) < 0 and not isinstance(a, (float, np.floating)):
            return wrap(door("pow", np.power(a, y.array), None))
        y = floating(y)
        x, y = wrap(one_number(float(a), cnp.PyArray_TYPE(y.array))), y
    else:
        x, y = beside(a, b), beside(b, a)
        if kind(x.array) < 0 and kind(y.array) < 0:
            return wrap(door("pow", np.power(x.array, y.array), None))
    type_num = common_type(x.array, y.array)
    x, y = cast(x, type_num), cast(y, type_num)
    broadcastable("pow", x, y)
    out = wrap(quietly(np.power, x.array, y.array))
    if recorded_pair(x, y):
        node = PowNode.__new__(PowNode)
        node.save(x, y)
        node.saved = shapes(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out
