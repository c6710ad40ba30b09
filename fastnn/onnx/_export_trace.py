"""Recording: a module's forward runs on tensors that write down what is done to them.

While a recording runs, the public functions of the ops modules are replaced (wherever they were imported to) by ones
that look for recorded tensors among their arguments; the methods of a recorded tensor call the same ones. Each call
computes the result in every world (see `_export_sizes`) and has its writer of `_export_table` write the nodes. Only the
thread that records notices.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from .. import (
    _ops,
    _ops_attention,
    _ops_ctc,
    _ops_embedding,
    _ops_images,
    _ops_norm,
    _ops_recurrent,
)
from .._ops import Tensor
from .._tape import no_grad
from ..nn import Module, Parameter, _position_tables, functional
from ._export_errors import ExportError
from ._export_graph import Graph
from ._export_sizes import Dim, Size, sized
from ._export_table import WRITERS

_MODULES = (_ops, _ops_attention, _ops_ctc, _ops_embedding, _ops_images, _ops_norm, _ops_recurrent)
# Written in Python, and written as a whole: they read values or lengths, or have a node of their own.
_COMPOSED = (
    functional.binary_cross_entropy,
    functional.nll_loss,
    functional.prelu,
    _position_tables.rotary_embedding,
    _position_tables.sinusoidal_positions,
)
_NOT_OPERATIONS = ("set_precision", "get_precision", "version_of", "check_saved", "rebuild", "zero_grads", "grad_norm")
_RANDOM = ("randn", "rand", "randint", "randperm")
_LOCK = threading.Lock()
_active: "Recorder | None" = None


class Traced(Tensor):
    """A tensor of a recording: its values in every world, and its name in the graph (None: a constant without one).

    What Tensor itself holds is empty, so that an operation that escapes the recording cannot pass unnoticed.
    """

    __array_ufunc__: Any = None  # NumPy leaves arithmetic to us

    def __init__(self, recorder: "Recorder", worlds: list[Tensor], name: str | None, constant: bool) -> None:
        super().__init__(np.empty(0, np.float32))
        self.recorder = recorder
        self.worlds = worlds
        self.name = name
        self.constant = constant

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(self.recorder.size_of(self, axis) for axis in range(self.ndim))

    @property
    def ndim(self) -> int:
        return self.worlds[0].ndim

    @property
    def dtype(self) -> np.dtype:
        return self.worlds[0].dtype

    @property
    def size(self) -> Any:
        total: Size = 1
        for n in self.shape:
            total = total * n
        return total

    @property  # type: ignore[misc]
    def data(self) -> np.ndarray:
        if not self.constant:
            raise ExportError("the values of a tensor are read, and a graph has none; use operations on tensors")
        return self.worlds[0].data

    @property
    def T(self) -> Tensor:
        return record("permute", self, tuple(range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        return record("transpose", self, -2, -1)

    @property  # type: ignore[misc]
    def requires_grad(self) -> bool:
        return False

    def __len__(self) -> int:
        n = self.shape[0]
        if isinstance(n, Dim):
            raise ExportError("len() of a tensor whose first axis is dynamic; write x.shape[0]")
        return n

    def __iter__(self) -> Iterator[Tensor]:
        return iter(record("unbind", self, 0))

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __array__(self, dtype: Any = None, *, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.data, dtype)

    def __repr__(self) -> str:
        return f"<recorded tensor {self.name or 'constant'} {self.shape}>"

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self

    def numpy(self) -> np.ndarray:
        return self.data

    def item(self) -> Any:
        return self.data.item()

    def tolist(self) -> Any:
        return self.data.tolist()

    def numel(self) -> Any:
        return self.size

    def dim(self) -> int:
        return self.ndim

    def detach(self) -> Tensor:
        return self

    def __bool__(self) -> bool:
        return bool(self.data)

    def __int__(self) -> int:
        return int(self.data.item())

    def __float__(self) -> float:
        return float(self.data.item())

    __index__ = __int__


def _flat(sizes: tuple) -> tuple:
    """f(2, 3) and f((2, 3)) are the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes


_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div", "pow": "pow", "matmul": "matmul"}
_ARITHMETIC |= {"floordiv": "floordiv", "mod": "mod", "and": "and", "or": "or", "xor": "xor"}
_METHODS: dict[str, Callable] = {
    "__getitem__": lambda x, key: record("getitem", x, key),
    "__neg__": lambda x: record("neg", x),
    "__pos__": lambda x: x,
    "__abs__": lambda x: record("abs", x),
    "__invert__": lambda x: record("invert", x),
    "reshape": lambda x, *shape: record("reshape", x, _flat(shape)),
    "view": lambda x, *shape: record("reshape", x, _flat(shape)),
    "view_as": lambda x, other: record("reshape", x, tuple(other.shape)),
    "permute": lambda x, *dims: record("permute", x, _flat(dims) or tuple(range(x.ndim - 1, -1, -1))),
    "t": lambda x: record("transpose", x, 0, 1),
    "swapaxes": lambda x, a, b: record("transpose", x, a, b),
    "expand": lambda x, *shape: record("broadcast_to", x, _flat(shape)),
    "broadcast_to": lambda x, *shape: record("broadcast_to", x, _flat(shape)),
    "flip": lambda x, *dims: record("flip", x, _flat(dims)),
    "float": lambda x: record("to", x, np.float32),
    "double": lambda x: record("to", x, np.float64),
    "long": lambda x: record("to", x, np.int64),
    "bool": lambda x: record("to", x, np.bool_),
    "type": lambda x, dtype: record("to", x, dtype),
    "astype": lambda x, dtype: record("to", x, dtype),
    "to": lambda x, dtype: record("to", x, dtype),
    "max": lambda x, *args, **kwargs: record("amax", x, *args, **kwargs),
    "min": lambda x, *args, **kwargs: record("amin", x, *args, **kwargs),
    "clone": lambda x: x,
    "contiguous": lambda x: x,
    "is_contiguous": lambda x: True,
}
# Operations that have no function: methods, and what `_export_modules` adds.
NATIVE: dict[str, Callable] = {
    "getitem": lambda x, key: x[key],
    "to": lambda x, dtype: x.to(dtype),
    "invert": lambda x: ~x,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


def _operator(name: str, reverse: bool) -> Callable:
    if reverse:
        return lambda x, other: record(name, other, x)
    return lambda x, other: record(name, x, other)


def _method(name: str) -> Callable:
    return lambda x, *args, **kwargs: record(name, x, *args, **kwargs)


def _refused(name: str) -> Callable:
    def method(*args: Any, **kwargs: Any) -> Any:
        raise ExportError(f"Tensor.{name} has no place in a graph" + _hint(name))

    return method


def _hint(name: str) -> str:
    in_place = name.endswith("_") and not name.endswith("__")
    if in_place or name == "__setitem__" or (name.startswith("__i") and name[3:-2] in _ARITHMETIC):
        return ", which changes no tensor in place; make a new one"
    return ""


def _equip() -> None:
    """Give Traced every method of Tensor: recorded, or refused."""
    methods = dict(_METHODS)
    for dunder, name in _ARITHMETIC.items():
        methods[f"__{dunder}__"], methods[f"__r{dunder}__"] = _operator(name, False), _operator(name, True)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        methods[f"__{name}__"] = _operator(name, False)
    kept = {"requires_grad_", "retain_grad", "__init__", "__new__", "__class__", "__getattribute__", "__setattr__"}
    kept |= {"__delattr__", "__dir__", "__subclasshook__", "__init_subclass__", "__sizeof__", "__format__", "__str__"}
    for name in dir(Tensor):
        if name in methods or name in vars(Traced) or name in kept or not callable(getattr(Tensor, name)):
            continue
        public = not name.startswith("_") and callable(getattr(_ops, name, None))
        methods[name] = _method(name) if public else _refused(name)
    for name, method in methods.items():
        setattr(Traced, name, method)


_equip()


class Recorder:
    """One recording: the graph, the symbols of its dynamic sizes, and where in the module we are."""

    def __init__(self, graph: Graph, worlds: int) -> None:
        self.graph = graph
        self.worlds = worlds
        self.symbols: dict[tuple[int, ...], tuple[str, Traced, int]] = {}  # values -> name, and where it is read
        self.names: dict[int, str] = {}  # id of a module -> its path
        self.values: dict[str, Traced] = {}  # results by name
        self.thread = threading.get_ident()
        self.busy = False

    def size_of(self, x: Traced, axis: int) -> Size:
        """An axis of a tensor: an integer, or a Dim, read from an input where it is one of theirs."""
        values = tuple(t.shape[axis] for t in x.worlds)
        if values in self.symbols:
            _, x, axis = self.symbols[values]
        return sized(values, ("shape", x, axis))

    # ----- values -----

    def state(self, tensor: Tensor, name: str) -> Traced:
        """A parameter or buffer: an initialiser."""
        self.graph.state[name] = tensor.data
        return Traced(self, [tensor.detach()] * self.worlds, name, True)

    def constant(self, tensor: Tensor) -> Traced:
        """A tensor whose values are known; an empty one is what became of a recorded tensor somewhere else."""
        if tensor.shape == (0,):
            raise ExportError("a tensor was computed by something that cannot be recorded")
        return Traced(self, [tensor] * self.worlds, None, True)

    # ----- one operation -----

    def record(self, name: str, native: Callable, args: tuple, kwargs: dict) -> Any:
        """Compute an operation in every world, and write it."""
        if name in _RANDOM:
            raise ExportError(f"fastnn.{name} cannot be exported: a graph draws no random numbers")
        args, kwargs = self._lifted((args, kwargs))
        found = list(_recorded((args, kwargs)))
        if all(isinstance(x, Traced) and x.constant and x.name is None for x in found):
            return self._wrapped(self._computed(native, _in_world((args, kwargs), 0)), None, True)
        if name not in WRITERS:
            raise ExportError(f"fastnn.{name} cannot be exported")
        constant = all(isinstance(x, Traced) and x.constant for x in found)
        results = self._in_worlds(native, args, kwargs, 1 if constant else self.worlds)
        self.graph.result = results[0]
        with no_grad():
            written = WRITERS[name](self.graph, *args, **kwargs)
        return self._joined(results * (self.worlds if constant else 1), written, constant)

    def _in_worlds(self, native: Callable, args: tuple, kwargs: dict, worlds: int) -> list:
        results = []
        for world in range(worlds):
            try:
                results.append(self._computed(native, _in_world((args, kwargs), world)))
            except Exception as error:
                if world == 0:
                    raise
                raise ExportError(f"works for the example, not for other dynamic sizes: {error}") from error
        return results

    def _computed(self, native: Callable, call: tuple) -> Any:
        self.busy = True
        try:
            with no_grad():
                return native(*call[0], **call[1])
        finally:
            self.busy = False

    def _lifted(self, value: Any) -> Any:
        """Plain tensors among arguments, as recorded constants."""
        return _mapped(value, lambda x: self.constant(x) if type(x) in (Tensor, Parameter) else x)

    def _wrapped(self, result: Any, name: Any, constant: bool) -> Any:
        return self._joined([result] * self.worlds, name, constant)

    def _joined(self, results: list, names: Any, constant: bool) -> Any:
        """The results of all worlds as recorded tensors."""
        first = results[0]
        if isinstance(names, Traced):
            return names
        if isinstance(first, Tensor):
            result = Traced(self, results, names, constant)
            if names is not None and not constant:
                self.values[names] = result
            return result
        if isinstance(first, tuple | list):
            names = [None] * len(first) if names is None else names
            return tuple(
                self._joined([r[i] for r in results], name, constant) for i, name in zip(range(len(first)), names)
            )
        return first  # None, or no tensor


def _recorded(value: Any) -> Iterator[Any]:
    """The recorded tensors and Dims among arguments."""
    if isinstance(value, Traced | Dim):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _recorded(item)
    elif isinstance(value, dict):
        yield from _recorded(list(value.values()))
    elif isinstance(value, slice):
        yield from _recorded((value.start, value.stop, value.step))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Arguments with `change` applied to everything in them."""
    if isinstance(value, tuple | list):
        return type(value)(_mapped(item, change) for item in value) if type(value) in (tuple, list) else value
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(*(_mapped(item, change) for item in (value.start, value.stop, value.step)))
    return change(value)


def _in_world(value: Any, world: int) -> Any:
    """Arguments as they are in one world."""

    def change(x: Any) -> Any:
        if isinstance(x, Traced):
            return x.worlds[world]
        return x.values[world] if isinstance(x, Dim) else x

    return _mapped(value, change)


def record(name: str, *args: Any, **kwargs: Any) -> Any:
    """An operation by name, in the recording that runs."""
    if _active is None:
        raise ExportError("a tensor of a recording was used after its end")
    return _active.record(name, _operations()[name], args, kwargs)


@cache
def _operations() -> dict[str, Callable]:
    """Every operation by its name, as it is when nothing is recorded."""
    known: dict[str, Callable] = {}
    for module in _MODULES:
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__ and not isinstance(value, type)
            if own and callable(value) and not name.startswith("_") and name not in _NOT_OPERATIONS:
                known[name] = value
    return {**known, **{function.__name__: function for function in _COMPOSED}, **NATIVE}


def recording() -> Recorder | None:
    """The recording of this thread, if one runs and does not compute."""
    active = _active
    return active if active is not None and not active.busy and active.thread == threading.get_ident() else None


def _recording_function(name: str, native: Callable) -> Callable:
    def function(*args: Any, **kwargs: Any) -> Any:
        active = recording()
        return native(*args, **kwargs) if active is None else active.record(name, native, args, kwargs)

    return function


@cache
def _functions() -> dict[int, Callable]:
    """id of an operation's function -> the one that records."""
    return {id(f): _recording_function(name, f) for name, f in _operations().items() if name not in NATIVE}


def recording_method(original: Callable, replacement: Callable) -> Callable:
    """A method that is `replacement` in the thread that records, else `original`."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (original if recording() is None else replacement)(self, *args, **kwargs)

    return method


def _call(module: Module, *args: Any, **kwargs: Any) -> Any:
    """Module.__call__ in a recording: it says where we are, in node names and in errors."""
    active = recording()
    assert active is not None
    before, path = active.graph.scope, active.names.get(id(module), "")
    active.graph.scope = path.replace(".", "/") or before
    where = f"{path} ({type(module).__name__})" if path else type(module).__name__
    try:
        return _plain_call(module, *args, **kwargs)
    except ExportError as error:
        if getattr(error, "located", False):
            raise
        located = ExportError(f"export: {where}: {error}")
        located.located = True  # type: ignore[attr-defined]
        raise located from error.__cause__
    except Exception as error:
        if not getattr(error, "__notes__", None):
            error.add_note(f"while exporting {where}")
        raise
    finally:
        active.graph.scope = before


_plain_call = Module.__call__


@contextmanager
def start(recorder: Recorder, methods: dict[tuple[type, str], Callable]) -> Iterator[None]:
    """Record what this thread does; `methods` are replaced meanwhile."""
    global _active
    replaced: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        replaced.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    with _LOCK, no_grad():
        functions = _functions()
        try:
            for module in [m for m in list(sys.modules.values()) if type(m) is type(sys)]:
                for name in [n for n, value in list(vars(module).items()) if id(value) in functions]:
                    replace(module, name, functions[id(vars(module)[name])])
            for (owner, name), method in {**methods, (Module, "__call__"): _call}.items():
                replace(owner, name, recording_method(vars(owner)[name], method))
            _active = recorder
            yield
        finally:
            _active = None
            for owner, name, value in reversed(replaced):
                setattr(owner, name, value)


def copied(module: Module, recorder: Recorder, path: str, known: dict[int, Any]) -> Module:
    """The module in evaluation mode, its state recorded tensors; the module itself is not touched."""
    if id(module) in known:
        return known[id(module)]
    copy = known[id(module)] = type(module).__new__(type(module))
    attributes = {key: value for key, value in vars(module).items() if key != "_plan"}  # of Sequential
    vars(copy).update(attributes, training=False)
    recorder.names[id(copy)] = path
    for key, value in attributes.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Module):
            vars(copy)[key] = copied(value, recorder, name, known)
        elif isinstance(value, Parameter) or (key in module._buffers and value is not None):
            if id(value) not in known:
                known[id(value)] = recorder.state(value, name)
            vars(copy)[key] = known[id(value)]
        elif callable(value):  # such as the activation of a Linear
            vars(copy)[key] = _functions().get(id(value), value)
    return copy
