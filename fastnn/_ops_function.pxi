# Custom ops written in Python: fastnn.Function (in _function.py) calls apply_function. An op with several outputs is
# one FunctionNode that gathers their gradients in a Bundle, and one PickNode per output.

@cython.final
cdef class Bundle(Value):
    """The gradients of all outputs of a Function, None for those that nothing has reached yet."""
    cdef list parts

    cdef Value plus(self, Value other):
        cdef Bundle sum = Bundle.__new__(Bundle)
        sum.parts = [b if a is None else a if b is None else add(a, b)
                     for a, b in zip(self.parts, (<Bundle>other).parts)]
        return sum


cdef class PickNode(Node):
    """alpha is the output's index, beta the number of outputs."""
    cdef tuple backward(self, Value dy):
        cdef Bundle bundle = Bundle.__new__(Bundle)
        bundle.parts = [None] * <int>self.beta
        bundle.parts[<int>self.alpha] = dy
        return (bundle,)


cdef class FunctionNode(Node):
    """saved is (the Function class, its ctx, shapes and dtypes of the outputs, of the inputs)."""
    cdef tuple backward(self, Value dy):
        function, ctx, outputs, inputs = self.saved
        cdef list dys = [zeros(s, dtype=t) if g is None else g for g, (s, t) in zip((<Bundle>dy).parts, outputs)]
        cdef list gradients = []
        ctx.needs_input_grad = tuple([self.needs(<int>i) for i in range(len(self.edges))])
        ctx._recorded = {at: self.output(i, len(outputs), saved) for at, i, saved in ctx._outputs} if grad_enabled() else {}
        try:
            result = function.backward(ctx, *dys)
        finally:
            ctx._recorded = {}  # which hold this node
        result = result if isinstance(result, tuple) else (result,)
        if len(result) != len(inputs):
            raise ValueError(f"{function.__name__}.backward returned {len(result)} gradients; expected "
                             f"{len(inputs)}, one per "
                             f"argument of forward (None for those without)")
        for i in range(len(inputs)):
            if result[i] is None or inputs[i] is None:
                gradients.append(None)
                continue
            g = as_tensor(result[i])
            if g.shape != inputs[i][0]:
                raise ValueError(f"{function.__name__}.backward: gradient {i} has shape {g.shape}; expected "
                                 f"{inputs[i][0]}")
            gradients.append(cast(g, type_number("backward", inputs[i][1])))
        return tuple(gradients)

    cdef Tensor output(self, Py_ssize_t i, Py_ssize_t count, Tensor saved):
        """Output i with its history, from the tensor without one that the context keeps."""
        cdef PickNode pick = PickNode.__new__(PickNode)
        pick.alpha, pick.beta = i, count
        return attach(alias(saved, saved.array), pick, (self,))


def check_saved(versions, tensors, name):
    """Raises if a tensor that a Function saved was changed in place since."""
    for v, t in zip(versions, tensors):
        if isinstance(t, Tensor) and version(t) != v:
            raise RuntimeError(f"backward of {name}: a tensor it saved was changed in place after the forward pass")


def version_of(Tensor t not None):
    """How often the tensor's memory was changed in place by tracked operations."""
    return version(t)


cdef list saved_outputs(tuple saved, tuple outputs, tuple args):
    """(place among what was saved, number of the output, tensor) of each output that was saved and is no input."""
    cdef list found = []
    for at, t in enumerate(saved):
        for i, r in enumerate(outputs):
            if t is r and kind((<Tensor>r).array) >= 0 and not builtins.any([r is a for a in args]):
                found.append((at, i, t))
    return found


def apply_function(function, ctx, args):
    """Runs function.forward(ctx, *args) outside the tape and puts its backward on it."""
    cdef bint before = set_grad_enabled(False)
    cdef FunctionNode node
    cdef PickNode pick
    cdef Tensor bundle
    try:
        result = function.forward(ctx, *args)
    finally:
        set_grad_enabled(before)
    cdef tuple outputs = result if isinstance(result, tuple) else (result,)
    cdef list fresh = []
    for r in outputs:
        if not isinstance(r, Tensor):
            raise TypeError(f"{function.__name__}.forward returned {type(r).__name__}; expected Tensors")
        # An input handed through must not become its own ancestor: the output is another tensor on the same memory.
        fresh.append(alias(r, (<Tensor>r).array))
    ctx._outputs = saved_outputs(ctx._saved, outputs, args)
    if before and builtins.any([isinstance(a, Tensor) and (<Tensor>a).needs_grad for a in args]):
        node = FunctionNode.__new__(FunctionNode)
        node.saved = (function, ctx, [(t.shape, t.dtype) for t in fresh],
                      [(a.shape, a.dtype) if isinstance(a, Tensor) and kind((<Tensor>a).array) >= 0 else None
                       for a in args])
        bundle = wrap(NOTHING)
        attach(bundle, node, tuple([edge(a) if isinstance(a, Tensor) else None for a in args]))
        for i in range(len(fresh)):
            if kind((<Tensor>fresh[i]).array) >= 0:
                pick = PickNode.__new__(PickNode)
                pick.alpha, pick.beta = i, len(fresh)
                attach(fresh[i], pick, (node,))
    return tuple(fresh) if isinstance(result, tuple) else fresh[0]
