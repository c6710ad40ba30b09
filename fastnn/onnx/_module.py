"""`fastnn.onnx.load`: a file as a Module."""

import os
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import FormatError
from .._ops import Tensor, is_of
from ..nn import Module, Parameter, _module
from ._graph import Graph, build
from ._passes import optimised
from ._plan import Plan
from ._reader import check_model, place, read_model
from ._registry import control_inputs
from ._values import FLOATS


class OnnxModule(Module):
    """A graph read from an ONNX file; made by `load`.

    Attributes
    ----------
    input_names, output_names : list of str
        The graph's, in order.

    Notes
    -----
    Initialisers are Parameters under their names in the file, where dots lead into sub-modules: a model exported from
    PyTorch has PyTorch's `state_dict` keys. What depends on initialisers alone is computed at load, and the result is
    the Parameter: a BatchNorm behind a convolution goes into its weight and bias, and a product's weight is transposed
    to (out, in), as `Linear` has it."""

    def __init__(self, graph: Graph, inputs: list[Any]) -> None:
        self.input_names = list(graph.inputs)
        self.output_names = list(graph.outputs)
        self._expected = inputs
        self._graph = graph
        self._plan = Plan(graph)
        self._bound: list[tuple[int, Module, str]] = []
        trained, kept = _roles(graph)
        for name, slot in self._plan.constants.items():
            constant = self._plan.template[slot]
            if isinstance(constant, Tensor):
                self._bind(name, slot, constant, name in trained, name in kept)
        self.eval()

    def _bind(self, name: str, slot: int, constant: Tensor, trained: bool, kept: bool) -> None:
        """Let a constant be a Parameter or a buffer, so that state_dict, to and freeze know it."""
        owner, attribute = self._place(name, trained or kept)
        if trained:
            owner.register_parameter(attribute, Parameter(constant))
        else:
            owner.register_buffer(attribute, constant, persistent=kept)
        self._bound.append((slot, owner, attribute))
        self._plan.template[slot] = None
        self._graph.constants[name] = np.empty(0, constant.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: a plan is made anew, as its functions cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._plan = Plan(self._graph)
        for slot, _, _ in self._bound:
            self._plan.template[slot] = None

    def _place(self, name: str, nested: bool) -> tuple[Module, str]:
        """The sub-module and attribute for a name; one flat name where a dotted path is not free."""
        parts = name.split(".")
        owner: Module = self
        for part in parts[:-1] if nested and all(parts) else ():
            inner = vars(owner).get(part)
            if inner is None and not hasattr(owner, part):
                inner = Module()
                owner.add_module(part, inner)
            if type(inner) is not Module:
                break
            owner = inner
        else:
            if nested and all(parts) and not hasattr(owner, parts[-1]):
                return owner, parts[-1]
        flat = name.replace(".", "_") or "_"
        while hasattr(self, flat):
            flat += "_"
        return self, flat

    def forward(self, *args: Any, **named: Any) -> Any:
        """Run the graph: inputs by position or name; one output, or a tuple of them.

        Values are Tensors, arrays, or lists of them for sequences; outputs whose type no Tensor holds (halves, text)
        are arrays, and sequences lists.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, unknown, or of another type or shape than the file says.
        """
        outs = self._run(self._feeds(args, named))
        if len(outs) == 1:
            return outs[0] if type(outs[0]) is Tensor else _leaving(outs[0])
        return tuple([o if type(o) is Tensor else _leaving(o) for o in outs])

    def named(self, **inputs: Any) -> dict[str, Any]:
        """Run the graph with inputs by name: outputs by name."""
        outs = self._run(self._feeds((), inputs))
        return {name: _leaving(o) for name, o in zip(self.output_names, outs, strict=True)}

    def _run(self, feeds: list[Any]) -> list[Any]:
        plan = self._plan
        if plan.filled_at != _module.changes:  # perhaps another Parameter than before
            filled_at = _module.changes
            for slot, owner, name in self._bound:
                plan.template[slot] = owner.__dict__[name]
            plan.filled_at = filled_at
        outs = plan.run(feeds)
        for i in plan.lasting:
            outs[i] = _copied(outs[i])
        return outs

    def _feeds(self, args: tuple, named: dict[str, Any]) -> list[Any]:
        names = self.input_names
        if not named and len(args) == len(names):
            return [e.check(given) for e, given in zip(self._expected, args)]
        if len(args) > len(names):
            raise TypeError(f"OnnxModule: {len(names)} inputs expected ({', '.join(names)}), got {len(args)}")
        given = {**dict(zip(names, args, strict=False)), **named}
        if len(given) != len(args) + len(named) or len(given) != len(names) or any(n not in given for n in names):
            raise TypeError(f"OnnxModule: inputs {', '.join(names)} expected once each, got {', '.join(given)}")
        return [e.check(given[name]) for name, e in zip(names, self._expected, strict=True)]

    def extra_repr(self) -> str:
        steps: dict[str, int] = {}
        for node in self._plan.nodes:
            steps[node.op] = steps.get(node.op, 0) + 1
        text = ", ".join(f"{n} {op}" for op, n in steps.items())
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}: {text}"


def _roles(graph: Graph) -> tuple[set[str], set[str]]:
    """Which constants are trained, and which others belong to the state: running statistics of norms."""
    trained: set[str] = set()
    statistics: set[str] = set()
    for node in graph.nodes:
        for i, name in enumerate(node.inputs):
            if name in graph.weights and i not in control_inputs(node):
                (statistics if node.op == "BatchNormalization" and i in (3, 4) else trained).add(name)
        trained.update(name for name in node.captured if name in graph.weights)
    return trained - statistics, statistics


def _copied(out: Any) -> Any:
    """A value in memory of its own."""
    if isinstance(out, list):
        return [_copied(o) for o in out]
    return out.clone() if isinstance(out, Tensor) else copy(out)


def _leaving(out: Any) -> Any:
    """An output as the caller gets it."""
    if isinstance(out, list):
        return [_leaving(o) for o in out]
    if isinstance(out, np.ndarray) and out.dtype.kind in "iub" and out.dtype.isbuiltin == 1:
        return Tensor(out)
    return out


class _Expected:
    """What a file says about one input: its type and its sizes (None where they are free)."""

    def __init__(self, info: Any) -> None:
        from onnx import helper

        self.name = info.name
        self.dtype: np.dtype | None = None
        self.shape: tuple[int | None, ...] | None = None
        self._last_type: Any = None  # of the last Tensor that fitted, and whether it flows as an array
        self._last_shape: Any = None
        self._as_array = False
        kind = info.type
        self.tensor = kind.HasField("tensor_type")
        if self.tensor:
            self.dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))
            if kind.tensor_type.HasField("shape"):
                dims = kind.tensor_type.shape.dim
                self.shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)

    def check(self, given: Any) -> Any:
        """The value as it flows, if it fits."""
        if type(given) is Tensor and is_of(given, self._last_type, self._last_shape):
            return given.data if self._as_array else given
        if not self.tensor:
            return _entering(given)
        if not isinstance(given, Tensor) or given.data.dtype.num not in FLOATS:
            given = _entering(given if isinstance(given, Tensor | np.ndarray) else np.asarray(given, self.dtype))
        data = given.data if isinstance(given, Tensor) else given
        dtype = self.dtype
        if data.dtype != dtype and not (data.dtype.num in FLOATS and dtype is not None and dtype.num in FLOATS):
            raise TypeError(f"OnnxModule: input {self.name!r} must be of {dtype}, got {data.dtype}")
        if self.shape is not None and (
            len(self.shape) != data.ndim or any(w is not None and w != g for w, g in zip(self.shape, data.shape))
        ):
            shape = "(" + ", ".join("?" if n is None else str(n) for n in self.shape) + ")"
            raise ValueError(f"OnnxModule: input {self.name!r} is {data.shape}; expected {shape}")
        self._last_type, self._last_shape, self._as_array = data.dtype, data.shape, data is given
        return given


def _entering(given: Any) -> Any:
    if given is None or isinstance(given, str):
        return given if given is None else np.asarray(given, object)
    if isinstance(given, list | tuple):
        return [_entering(g) for g in given]
    data = given.data if isinstance(given, Tensor) else np.asarray(given)
    if data.dtype.num in FLOATS:
        return given if isinstance(given, Tensor) else Tensor(data)
    return data


def load(source: str | os.PathLike | bytes) -> OnnxModule:
    """Read an ONNX model as a Module whose forward runs on fastnn's kernels.

    Parameters
    ----------
    source : path, bytes or ModelProto
        The file. External data is read from plain files below the model's folder only.

    Returns
    -------
    OnnxModule
        In evaluation mode, and differentiable where its operators are. ``freeze()`` packs its weights for serving.

    Raises
    ------
    FormatError
        If the file is damaged, its graph has a cycle or an unknown operator or opset, or external data lies elsewhere.
    OSError
        If it cannot be read.
    TypeError
        If `source` is none of these.
    MissingExtraError
        If the package `onnx` is not installed.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from onnx import parser
    >>> model = parser.parse_model('''<ir_version: 8, opset_import: ["" : 17]>
    ... agraph (float[N, 2] x) => (float[N, 2] y) <float[2] slope = {0.5, 2.0}> { y = PRelu(x, slope) }''')
    >>> net = fnn.onnx.load(model.SerializeToString()).freeze()
    >>> net(fnn.tensor([[-1.0, -1.0]]))
    tensor([[-0.5, -2. ]])
    >>> list(net.state_dict())
    ['slope']
    """
    model, folder = read_model(source)
    try:
        return _loaded(model, folder)
    except FormatError as error:
        raise FormatError(f"{place(source)}: {error}") from error.__cause__
    except Exception as error:  # whatever a damaged file makes some function say
        raise FormatError(f"{place(source)}: not a valid ONNX model: {error}") from error


def _loaded(model: Any, folder: Path | None) -> OnnxModule:
    from ._functions import inlined
    from ._reader import sized

    model = sized(inlined(model))
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    graph = build(model.graph, opsets, folder)
    infos = {v.name: v for v in model.graph.input}
    expected = [_Expected(infos[name]) for name in graph.inputs]
    check_model(model)
    return OnnxModule(optimised(graph), expected)
