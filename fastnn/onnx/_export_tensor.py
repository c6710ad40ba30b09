"""A tensor of a recording: looks like a Tensor, and has the recorder write down what is done to it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import _ops
from .._ops import Tensor
from ._export_errors import ExportError
from ._export_sizes import Dim, Size, Total


class Traced(Tensor):
    """A tensor of a recording: its values in every world, and its name in the graph (None: a constant without one).

    `lost` are the dynamic sizes that its own are not, though they may be equal in every world.
    What Tensor itself holds is empty, so that an operation that escapes the recording cannot pass unnoticed.
    """

    __array_ufunc__: Any = None  # NumPy leaves arithmetic to us

    def __init__(
        self, recorder: Any, worlds: list[Tensor], name: str | None, constant: bool, lost: frozenset = frozenset()
    ) -> None:
        super().__init__(np.empty(0, np.float32))
        self.recorder = recorder
        self.worlds = worlds
        self.name = name
        self.constant = constant
        self.lost = lost

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
        shape = self.shape
        total: Size = 1
        for n in shape:
            total = total * n
        return Total(total, shape) if isinstance(total, Dim) else _ops.Size(total, shape)

    @property  # type: ignore[misc]
    def data(self) -> np.ndarray:
        if not self.constant:
            raise ExportError("the values of a tensor are read, and a graph has none; use operations on tensors")
        return self.worlds[0].data

    @property
    def T(self) -> Tensor:
        return self.recorder.call("permute", self, tuple(range(self.ndim - 1, -1, -1)))

    @property
    def mT(self) -> Tensor:
        return self.recorder.call("transpose", self, -2, -1)

    @property  # type: ignore[misc]
    def requires_grad(self) -> bool:
        return False

    def __len__(self) -> int:
        n = self.shape[0]
        if isinstance(n, Dim):
            raise ExportError("len() of a tensor whose first axis is dynamic; write x.shape[0]")
        return n

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.recorder.call("unbind", self, 0))

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
    "__getitem__": lambda x, key: x.recorder.call("getitem", x, key),
    "__neg__": lambda x: x.recorder.call("neg", x),
    "__pos__": lambda x: x,
    "__abs__": lambda x: x.recorder.call("abs", x),
    "__invert__": lambda x: x.recorder.call("invert", x),
    "reshape": lambda x, *shape: x.recorder.call("reshape", x, _flat(shape)),
    "view": lambda x, *shape: x.recorder.call("reshape", x, _flat(shape)),
    "view_as": lambda x, other: x.recorder.call("reshape", x, tuple(other.shape)),
    "permute": lambda x, *dims: x.recorder.call("permute", x, _flat(dims) or tuple(range(x.ndim - 1, -1, -1))),
    "t": lambda x: x.recorder.call("transpose", x, 0, 1),
    "swapaxes": lambda x, a, b: x.recorder.call("transpose", x, a, b),
    "expand": lambda x, *shape: x.recorder.call("broadcast_to", x, _flat(shape)),
    "expand_as": lambda x, other: x.recorder.call("broadcast_to", x, tuple(other.shape)),
    "repeat": lambda x, *dims: x.recorder.call("tile", x, _flat(dims)),
    "tile": lambda x, *dims: x.recorder.call("tile", x, _flat(dims)),
    "broadcast_to": lambda x, *shape: x.recorder.call("broadcast_to", x, _flat(shape)),
    "flip": lambda x, *dims: x.recorder.call("flip", x, _flat(dims)),
    "float": lambda x: x.recorder.call("to", x, np.float32),
    "double": lambda x: x.recorder.call("to", x, np.float64),
    "long": lambda x: x.recorder.call("to", x, np.int64),
    "bool": lambda x: x.recorder.call("to", x, np.bool_),
    "type": lambda x, dtype: x.recorder.call("to", x, dtype),
    "astype": lambda x, dtype: x.recorder.call("to", x, dtype),
    "int": lambda x: x.recorder.call("to", x, np.int32),
    "to": lambda x, *target, dtype=None, device=None: x.recorder.call("to", x, *target, dtype=dtype, device=device),
    "cpu": lambda x: x,
    "clip": lambda x, *args, **kwargs: x.recorder.call("clamp", x, *args, **kwargs),
    "max": lambda x, *args, **kwargs: x.recorder.call("amax", x, *args, **kwargs),
    "min": lambda x, *args, **kwargs: x.recorder.call("amin", x, *args, **kwargs),
    "clone": lambda x: x,
    "contiguous": lambda x: x,
    "is_contiguous": lambda x: True,
}
# Operations that have no function: methods, and what `_export_modules` adds.
NATIVE: dict[str, Callable] = {
    "getitem": lambda x, key: x[key],
    "to": lambda x, *target, **named: x.to(*target, **named),
    "invert": lambda x: ~x,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


def _operator(name: str, reverse: bool) -> Callable:
    if reverse:
        return lambda x, other: x.recorder.call(name, other, x)
    return lambda x, other: x.recorder.call(name, x, other)


def _method(name: str) -> Callable:
    return lambda x, *args, **kwargs: x.recorder.call(name, x, *args, **kwargs)


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
