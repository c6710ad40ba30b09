# How a module is called: what stands before every `forward`. A Python function with *args and **kwargs takes 1,200 instructions
# more, where a small layer takes 5,000. And how an imported graph is: step after step.

cdef extern from "Python.h":
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    PyObject* PyList_GET_ITEM(object values, Py_ssize_t i)  # borrowed
    object vectorcall "PyObject_Vectorcall"(object function, PyObject** args, size_t n, PyObject* keywords)
    object vectorcall_method "PyObject_VectorcallMethod"(object name, PyObject** args, size_t n, PyObject* keywords)

cdef enum:
    FEW_ARGUMENTS = 8  # a recurrent layer's: x, two states and four weights


def call_module(module, /, *args, **kwargs):
    """Runs the module's `forward`, and its hooks around it where there are some: nn.Module.__call__."""
    cdef PyObject* places[FEW_ARGUMENTS + 2]  # the first is for whom it calls
    cdef Py_ssize_t i, n = len(args)
    hooks = module._hooks
    if hooks is not None:
        return hooks.call(module, args, kwargs)
    if n > FEW_ARGUMENTS or kwargs:
        return module.forward(*args, **kwargs)
    places[1] = <PyObject*>module
    for i in range(n):
        places[i + 2] = PyTuple_GET_ITEM(args, i)
    return vectorcall_method("forward", places + 1, (n + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


def run_known(list template, list inputs, list feeds, dict remembered):
    """The outputs of an ONNX plan for inputs whose shapes are remembered: values that are known for them, steps and where the
    outputs stand. None for others."""
    cdef list slots, fixed, steps, outputs
    cdef Py_ssize_t i
    shapes = tuple([shape_of((<Tensor>f).array) if type(f) is Tensor else getattr(f, "shape", None) for f in feeds])
    known = remembered.get(shapes)
    if known is None:
        return None
    fixed, steps, outputs = known
    slots = template.copy()
    for i in range(len(feeds)):
        slots[<Py_ssize_t>inputs[i]] = feeds[i]
    for slot, made in fixed:
        slots[<Py_ssize_t>slot] = made
    follow(steps, slots)
    return [slots[<Py_ssize_t>slot] for slot in outputs]


def is_of(Tensor x not None, object dtype, object shape):
    """Whether x has that very dtype and shape (None: no)."""
    return x.array.dtype is dtype and shape_of(x.array) == shape


def follow(list steps, list slots):
    """Runs the steps of an ONNX plan in its slots, each a function, the slots it reads, those it writes, those free after it,
    and its node, for messages."""
    cdef PyObject* places[FEW_ARGUMENTS + 1]
    cdef tuple reads, writes, dead
    cdef Py_ssize_t i, n
    node = None
    try:
        for function, reads, writes, dead, node in steps:
            n = len(reads)
            if n > FEW_ARGUMENTS:
                out = function(*[slots[slot] for slot in reads])
            else:
                for i in range(n):  # borrowed: the slots hold them
                    places[i + 1] = PyList_GET_ITEM(slots, reads[i])
                out = vectorcall(function, places + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
            if type(out) is tuple:
                for slot, made in zip(writes, out):
                    slots[slot] = made
            else:
                slots[writes[0]] = out
            for slot in dead:
                slots[slot] = None
    except Exception as error:
        error.add_note(f"in node {node}")
        raise
