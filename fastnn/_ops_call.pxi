# How a module is called: what stands before every `forward`. A Python function with *args and **kwargs takes 1,200 instructions
# more, where a small layer takes 5,000.

cdef extern from "Python.h":
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    object vectorcall_method "PyObject_VectorcallMethod"(object name, PyObject** args, size_t n, PyObject* keywords)

cdef enum:
    FEW_ARGUMENTS = 6


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
