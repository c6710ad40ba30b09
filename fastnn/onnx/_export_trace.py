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
from ._export_tensor import NATIVE, Traced

_MODULES = (_ops, _ops_attention, _ops_ctc, _ops_embedding, _ops_images, _ops_norm, _ops_recurrent)
# Written in Python, and written as a whole: they read values or lengths, or have a node of their own.
_COMPOSED = (
    functional.binary_cross_entropy,
    functional.nll_loss,
    _position_tables.rotary_embedding,
    _position_tables.sinusoidal_positions,
)
_NOT_OPERATIONS = (
    "set_precision", "get_precision", "version_of", "check_saved", "rebuild", "zero_grads", "grad_norm", "frozen_cell",
    "call_module",
)  # fmt: skip
_COUNTING = ("conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "interpolate")
_RANDOM = ("randn", "rand", "randint", "randperm", "randn_like", "rand_like", "normal", "bernoulli", "multinomial")
_LOCK = threading.Lock()
_active: "Recorder | None" = None


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
        if values in self.symbols and values not in x.lost:
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

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """An operation by name."""
        if _active is not self:
            raise ExportError("a tensor of a recording was used after its end")
        return self.record(name, operations()[name], args, kwargs)

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
        lost = frozenset().union(*(x.lost for x in found if isinstance(x, Traced)), self._lost(name, found))
        return self._joined(results * (self.worlds if constant else 1), written, constant, lost)

    def _lost(self, name: str, found: list) -> set[tuple[int, ...]]:
        """The dynamic sizes that no size of a result is: those of its pixels, which an operation has counted anew.

        Half of the rows of an image, rounded up and doubled, are as many as before in worlds where they are even.
        """
        if name not in _COUNTING:
            return set()
        x = found[0]
        pixels = 2 if name.endswith("2d") or (name == "interpolate" and x.ndim > 3) else 1
        return set(self.symbols) - {tuple(t.shape[axis] for t in x.worlds) for axis in range(x.ndim - pixels)}

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

    def _joined(self, results: list, names: Any, constant: bool, lost: frozenset = frozenset()) -> Any:
        """The results of all worlds as recorded tensors."""
        first = results[0]
        if isinstance(names, Traced):
            return names
        if isinstance(first, Tensor):
            result = Traced(self, results, names, constant, lost)
            if names is not None and not constant:
                self.values[names] = result
            return result
        if isinstance(first, tuple | list):
            names = [None] * len(first) if names is None else names
            return tuple(
                self._joined([r[i] for r in results], name, constant, lost) for i, name in zip(range(len(first)), names)
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
    assert _active is not None
    return _active.call(name, *args, **kwargs)


@cache
def operations() -> dict[str, Callable]:
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
    return {id(f): _recording_function(name, f) for name, f in operations().items() if name not in NATIVE}


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
    attributes = {key: value for key, value in vars(module).items() if key != "_plan"}  # of what runs by a plan
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
