"""export: a module as an ONNX model."""

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .. import _io, _ops
from .._ops import Tensor
from ..nn import Module
from . import _export_images as _export_images  # the writers put themselves into the table
from . import _export_norms as _export_norms
from . import _export_products as _export_products
from . import _export_sequences as _export_sequences
from ._export_errors import ExportError
from ._export_graph import Graph
from ._export_modules import METHODS
from ._export_sizes import Dim
from ._export_tensor import Traced
from ._export_trace import Recorder, copied, start

OLDEST = 18  # reductions take their axes as an input
# How each dynamic size grows in the other worlds: in the second the later ones more, in the third the earlier, so that
# what a pool makes of one (2, 4 of 10, 30) is not taken for another (2, 4), which is 6 in the third.
_GROWTH = (2, 3, 5, 7, 11, 13, 17, 19, 23), (3, 2, 1, 1, 1, 1, 1, 1, 1)
_LARGEST = 2**31 - 2**20  # bytes in a protobuf message
Axes = Mapping[str, Mapping[int, str] | Sequence[int]]


def export(
    module: Module,
    example_inputs: Any,
    path: str | os.PathLike | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Axes | None = None,
    opset: int = 20,
) -> Any:
    """Write a module as an ONNX model, by recording what its `forward` does to an example.

    The module is recorded in evaluation mode and is not changed. Parameters and buffers are initialisers under their
    names in the state dict, as they are in the module; other constants are Constant nodes. The model is checked
    by `onnx.checker` before it is returned.

    Parameters
    ----------
    module : Module
    example_inputs : Tensor, array, tuple or dict
        The argument of `forward`, a tuple of its arguments in order, or a dict of keyword arguments. Arguments may be
        tuples of tensors (the state of an LSTM) and, as constants, None, numbers and strings.
    path : path, optional
        Where to write the model; the file is replaced in one step.
    input_names, output_names : sequence of str, optional
        By default the names of forward's parameters (a tuple's elements are numbered), and "output" or "output_0", ...
    dynamic_axes : dict, optional
        Which axes of which inputs have any size: ``{"x": {0: "batch", 1: "time"}}``, or ``{"x": [0]}`` without names
        for them. Axes with one name have one size. Axes of outputs may be named, too.
    opset : int
        Version of ONNX's operators, 18 or later.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        If the module does what a graph cannot say: it reads values in Python, lets its way depend on a dynamic size,
        changes tensors in place, draws random numbers, or uses an operation that has no form in ONNX. The message
        names the module in which it happens.
    MissingExtraError
        If the package onnx is not installed.
    ValueError, TypeError
        If names, axes or inputs do not fit.
    OSError
        If the file cannot be written.

    Notes
    -----
    Everything is computed in two or three sizes where axes are dynamic, the example's and others; what differs is what
    the graph computes anew. Dynamic axes in the example should have sizes above 1, where broadcasting cannot hide them.

    References
    ----------
    https://onnx.ai/onnx/operators

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Linear(3, 4), fnn.nn.ReLU())
    >>> model = fnn.onnx.export(net, fnn.zeros(2, 3), dynamic_axes={"x": {0: "batch"}})
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Relu']
    >>> [tensor.name for tensor in model.graph.initializer]
    ['0.weight', '0.bias']
    """
    graph = Graph()
    _check(module, graph, opset)
    arguments = _arguments(module, example_inputs)
    leaves = dict(_leaves(arguments, input_names))
    if dynamic_axes is not None and not isinstance(dynamic_axes, Mapping):
        raise TypeError(f"export: dynamic_axes must be {{name: axes}}, got {dynamic_axes!r}")
    axes = {} if dynamic_axes is None else {name: _named(name, given) for name, given in dynamic_axes.items()}
    symbols = {symbol for name, given in axes.items() if name in leaves for symbol in given.values()}
    recorder = Recorder(graph, min(1 + len(symbols), 3))
    inputs = _inputs(recorder, leaves, axes)
    copy = copied(module, recorder, "", {})
    with start(recorder, METHODS):
        args, kwargs = _replaced(arguments, iter(inputs.values()))
        result = copy(*args, **kwargs)
    outputs = _outputs(recorder, result, output_names)
    unknown = [name for name in axes if name not in inputs and name not in outputs]
    if unknown:
        raise ValueError(f"export: dynamic_axes names {unknown[0]!r}; there are {', '.join([*inputs, *outputs])}")
    model = _model(recorder, inputs, outputs, axes, opset, type(module).__name__)
    if path is not None:
        _io._write(model.SerializeToString(), os.path.realpath(os.fspath(path)))
    return model


def _check(module: Any, graph: Graph, opset: int) -> None:
    if not isinstance(module, Module):
        raise TypeError(f"export: module must be a Module, got {type(module).__name__}")
    newest = graph.onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST <= opset <= newest:
        raise ValueError(f"export: opset must be {OLDEST} to {newest} (the newest that onnx knows), got {opset!r}")


# ----- inputs -----


def _arguments(module: Module, example: Any) -> dict[str, Any]:
    """The example as forward's arguments by name."""
    signature = inspect.signature(module.forward)
    try:
        if isinstance(example, Mapping):
            bound = signature.bind(**example)
        else:
            bound = signature.bind(*(example if isinstance(example, tuple | list) else (example,)))
    except TypeError as error:
        raise TypeError(f"export: example_inputs do not fit {type(module).__name__}.forward: {error}") from None
    return _spread(signature, bound.arguments)


def _spread(signature: inspect.Signature, bound: Mapping[str, Any]) -> dict[str, Any]:
    """What stands behind * and **, under names of its own."""
    arguments: dict[str, Any] = {}
    for name, value in bound.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            arguments |= {f"*{name}_{i}": item for i, item in enumerate(value)}
        elif kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= {f"={key}": item for key, item in value.items()}
        elif kind is inspect.Parameter.KEYWORD_ONLY:
            arguments[f"={name}"] = value
        else:
            arguments[f"*{name}"] = value
    return arguments


def _is_input(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray | np.generic)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The tensors in an argument, and their default names."""
    if _is_input(value):
        yield name, value
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from _tensors(item, f"{name}_{i}")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(f"export: {name} is a {type(value).__name__}; expected tensors, tuples of them or numbers")


def _leaves(arguments: Mapping[str, Any], names: Sequence[str] | None) -> Iterator[tuple[str, Tensor]]:
    found = [pair for key, value in arguments.items() for pair in _tensors(value, key[1:])]
    if not found:
        raise ValueError("export: example_inputs hold no tensor")
    if names is not None:
        _check_names(names, len(found), "inputs")
        found = [(name, value) for name, (_, value) in zip(names, found, strict=True)]
    for name, value in found:
        yield name, value.detach() if isinstance(value, Tensor) else _ops.as_tensor(np.asarray(value))


def _replaced(arguments: Mapping[str, Any], tensors: Iterator[Any]) -> tuple[list, dict]:
    """The arguments with recorded tensors in the place of the example's."""

    def change(value: Any) -> Any:
        if _is_input(value):
            return next(tensors)
        return type(value)(change(item) for item in value) if isinstance(value, tuple | list) else value

    args = [change(value) for key, value in arguments.items() if key[0] == "*"]
    return args, {key[1:]: change(value) for key, value in arguments.items() if key[0] == "="}


def _named(name: str, axes: Mapping[int, str] | Sequence[int]) -> dict[int, str]:
    given = dict(axes) if isinstance(axes, Mapping) else {axis: f"{name}_{axis}" for axis in axes}
    for axis, symbol in given.items():
        if isinstance(axis, bool) or not isinstance(axis, int) or not isinstance(symbol, str):
            raise TypeError(f"export: dynamic_axes of {name!r} must be {{axis: name}} or [axis, ...], got {axes!r}")
    return given


def _inputs(recorder: Recorder, leaves: Mapping[str, Tensor], axes: Mapping[str, dict]) -> dict[str, Traced]:
    """The inputs as recorded tensors, longer along their dynamic axes in all worlds but the first."""
    sizes: dict[str, int] = {}
    inputs = {}
    for name, tensor in leaves.items():
        longer = [tensor.data] * (recorder.worlds - 1)
        for axis, symbol in axes.get(name, {}).items():
            if not -tensor.ndim <= axis < tensor.ndim or not tensor.shape[axis]:
                raise ValueError(f"export: dynamic_axes: {name} is {tensor.shape}; it has no axis {axis} of elements")
            n = tensor.shape[axis]
            if sizes.setdefault(symbol, n) != n:
                raise ValueError(f"export: dynamic_axes: {symbol!r} is {sizes[symbol]} and, in {name!r}, {n}")
            i = list(sizes).index(symbol)
            longer = [np.concatenate([x] * by[i % len(by)], axis) for x, by in zip(longer, _GROWTH)]
        worlds = [tensor, *(_ops.as_tensor(x) for x in longer)]
        inputs[name] = Traced(recorder, worlds, name, False)
        for axis, symbol in axes.get(name, {}).items():
            values = tuple(t.shape[axis] for t in worlds)
            recorder.symbols.setdefault(values, (symbol, inputs[name], axis % tensor.ndim))
    return inputs


# ----- outputs -----


def _outputs(recorder: Recorder, result: Any, names: Sequence[str] | None) -> dict[str, Traced]:
    found = [_output(recorder, x) for x in _parts(result)]
    if not found:
        raise ExportError("export: forward returns no tensor")
    if names is None:
        names = ["output"] if len(found) == 1 else [f"output_{i}" for i in range(len(found))]
    _check_names(names, len(found), "outputs")
    return dict(zip(names, found, strict=True))


def _check_names(names: Sequence[str], count: int, what: str) -> None:
    if len(names) != count or len(set(names)) != count or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"export: {list(names)} are no names for {count} {what}")


def _parts(result: Any) -> Iterator[Any]:
    if isinstance(result, tuple | list):
        for item in result:
            yield from _parts(item)
    elif isinstance(result, Mapping):
        yield from _parts(list(result.values()))
    elif result is not None:
        yield result


def _output(recorder: Recorder, x: Any) -> Traced:
    if isinstance(x, Traced):
        return x
    if isinstance(x, Tensor | np.ndarray):
        try:
            return recorder.constant(x if isinstance(x, Tensor) else _ops.as_tensor(x))
        except ExportError as error:
            raise ExportError(f"export: the result: {error}") from None
    raise ExportError(f"export: forward returns a {type(x).__name__}; expected tensors")


# ----- the model -----


def _model(
    recorder: Recorder,
    inputs: Mapping[str, Traced],
    outputs: Mapping[str, Traced],
    axes: Mapping[str, dict],
    opset: int,
    name: str,
) -> Any:
    graph, onnx = recorder.graph, recorder.graph.onnx
    graph.scope = ""
    _check_apart(graph, inputs, outputs)
    nodes = _ending(graph, inputs, {key: graph.value(x) for key, x in outputs.items()})
    used = {x for node in nodes for x in _read(node)}
    inside = {x for node in nodes for x in node.output}.intersection(recorder.values) - set(outputs)
    for name, x in outputs.items():
        if not all(-x.ndim <= axis < x.ndim for axis in axes.get(name, ())):
            raise ValueError(f"export: dynamic_axes: {name} is {x.shape}; it has no axes {[*axes[name]]}")
    state = {key: array for key, array in graph.state.items() if key in used}
    size = sum(array.nbytes for array in state.values())
    if size > _LARGEST:
        raise ExportError(f"export: the weights are {size / 1e9:.1f} GB; an ONNX file holds 2 GB")
    proto = onnx.helper.make_graph(
        nodes,
        name,
        [_info(recorder, key, x, {}) for key, x in inputs.items()],
        [_info(recorder, key, x, axes.get(key, {})) for key, x in outputs.items()],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), key) for key, a in state.items()],
        value_info=[_info(recorder, key, x, {}) for key, x in recorder.values.items() if key in inside],
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(
        proto,
        producer_name="fastnn",
        opset_imports=opsets,
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _check_apart(graph: Graph, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Refuse names of inputs and outputs that something else has."""
    inner = {x for node in graph.nodes for x in node.output}
    for name in [*inputs, *outputs]:
        if name in graph.state:
            raise ValueError(f"export: {name!r} is an input or output, and a parameter; choose other names")
        if name in inner or (name in inputs and name in outputs):
            also = "a value between them" if name in inner else "the other too"
            raise ValueError(f"export: {name!r} is an input or output, and {also}; choose other names")


def _read(node: Any) -> list[str]:
    """What a node reads, the graphs inside it too."""
    inner = [x for attribute in node.attribute for n in attribute.g.node for x in _read(n)]
    return [*node.input, *inner]


def _ending(graph: Graph, inputs: Mapping[str, Traced], outputs: Mapping[str, str]) -> list:
    """The nodes that outputs need, in order, and the outputs under their names."""
    taken = set(inputs) | set(graph.state)
    made = {x for node in graph.nodes for x in node.output}
    renamed: dict[str, str] = {}
    for name, x in outputs.items():
        if x in taken or x in renamed or x not in made or name in made:
            graph.nodes.append(graph.onnx.helper.make_node("Identity", [x], [name], name=f"/{name}"))
        else:
            renamed[x] = name
    wanted = set(outputs) | set(renamed)
    kept = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.output):
            wanted.update(_read(node))
            kept.append(node)
    for node in kept:
        for names in (node.input, node.output):
            names[:] = [renamed.get(x, x) for x in names]
    return kept[::-1]


def _info(recorder: Recorder, name: str, x: Traced, named: Mapping[int, str]) -> Any:
    """Type and shape of a value."""
    helper = recorder.graph.onnx.helper
    named = {axis % x.ndim: symbol for axis, symbol in named.items()}
    sizes: list[int | str | None] = []
    for axis in range(x.ndim):
        n = x.shape[axis]
        values = tuple(t.shape[axis] for t in x.worlds)
        known = None if values in x.lost else recorder.symbols.get(values, (None,))[0]
        sizes.append((known or named.get(axis)) if isinstance(n, Dim) else n)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), sizes)
