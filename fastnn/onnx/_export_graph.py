"""The graph while it grows: `g.Add(a, b)` adds a node and returns the name of its result.

A node that is there already (same operation, inputs and attributes) is not added twice, so a Shape or the transpose of
a shared weight appears once. Tensors of the state dict become initialisers under their own names; every other constant
is a Constant node, so that the initialisers of a file are the state dict.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._extras import require
from ._export_sizes import Dim, Size

Value = Any  # of a node: the name of one, a recorded tensor, an array or a Dim
MOST = np.iinfo(np.int64).max


class Graph:
    """Nodes, initialisers and how names are made."""

    def __init__(self) -> None:
        self.onnx: Any = require("onnx", "onnx", "fastnn.onnx.export")
        self.nodes: list[Any] = []
        self.state: dict[str, np.ndarray] = {}
        self.scope = ""  # of the module that runs
        self.result: Any = None  # of the operation that is being written: what it gave in the example
        self._known: dict[tuple, tuple[str, ...]] = {}
        self._counts: dict[str, int] = {}

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        if not kind[0].isupper():
            raise AttributeError(kind)
        return lambda *inputs, outputs=1, **attributes: self._node(kind, inputs, outputs, attributes)

    def _node(self, kind: str, inputs: Sequence[Value], outputs: int, attributes: dict[str, Any]) -> Any:
        names = [self.value(x) for x in inputs]
        while names and not names[-1]:
            names.pop()
        given = {key: value for key, value in attributes.items() if value is not None}
        key = (kind, *names, outputs, repr(sorted(given.items(), key=lambda item: item[0])))
        if key not in self._known:
            made = tuple(self._fresh(kind) for _ in range(outputs))
            self._known[key] = made
            self.nodes.append(self.onnx.helper.make_node(kind, names, made, name=made[0], **given))
        made = self._known[key]
        return made[0] if outputs == 1 else made

    def _fresh(self, kind: str) -> str:
        name = f"/{self.scope}/{kind}" if self.scope else f"/{kind}"
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def value(self, x: Value) -> str:
        """The name of anything that can be an input of a node; "" for one that is left out."""
        if x is None:
            return ""
        if isinstance(x, str):
            return x
        if isinstance(x, Dim):
            return self.Squeeze(self.size(x), self.ints([0]))
        if hasattr(x, "worlds"):  # a recorded tensor
            if x.name is None:
                x.name = self.constant(x.worlds[0].data)
            return x.name
        if not isinstance(x, np.ndarray | np.generic):
            raise TypeError(f"a {type(x).__name__} is no input of a node")
        return self.constant(x)

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A Constant node."""
        array = np.array(value, dtype)
        key = ("Constant", array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = self._fresh("Constant")
            tensor = self.onnx.numpy_helper.from_array(array, name)
            self._known[key] = (name,)
            self.nodes.append(self.onnx.helper.make_node("Constant", [], [name], name=name, value=tensor))
        return self._known[key][0]

    def ints(self, sizes: Sequence[Size]) -> str:
        """Sizes as a one-dimensional int64 tensor, computed where they are dynamic."""
        if not any(isinstance(n, Dim) for n in sizes):
            return self.constant(sizes, np.int64)
        parts = [self.size(n) for n in sizes]
        return parts[0] if len(parts) == 1 else self.Concat(*parts, axis=0)

    def size(self, n: Size) -> str:
        """One size as an int64 tensor of shape (1,)."""
        if not isinstance(n, Dim):
            return self.constant([n], np.int64)
        kind, a, b = n.source
        if kind == "shape":
            return self.Shape(a, start=b, end=b + 1)
        x, y = self.size(a), self.size(b)
        if kind == "Div":  # rounds down, where the node rounds towards zero
            return self.Div(self.Sub(x, self.Mod(x, y)), y)
        return getattr(self, kind)(x, y)

    def cast(self, x: Value, dtype: Any) -> str:
        """A Cast node."""
        return self.Cast(x, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def scalar(self, number: float, like: Any) -> str:
        """A number in the type of a recorded tensor (or a dtype)."""
        return self.constant(number, getattr(like, "dtype", like))
