"""ONNX files as models and as state dicts: what `fastnn convert` and `fastnn summary` read."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from .._errors import FormatError
from .._extras import require

_WIDENED = ("FLOAT16", "BFLOAT16")  # become float32, as in fastnn.load
_KEPT = ("FLOAT", "DOUBLE", "BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)))


def read_model(path: str | os.PathLike, who: str) -> Any:
    """The ModelProto in a file. Weights in other files are not looked for.

    Raises
    ------
    FormatError
        If the file is no ONNX model.
    MissingExtraError
        If the package onnx is not installed.
    """
    onnx = require("onnx", "onnx", who)
    with open(path, "rb") as file:
        content = file.read()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose class depends on its implementation
        raise FormatError(f"{os.fspath(path)!r} is not an ONNX model: {error}") from None
    if not model.ir_version or not (model.graph.node or model.graph.initializer):
        raise FormatError(f"{os.fspath(path)!r} is not an ONNX model, or an empty one")
    if any(isinstance(name, bytes) for name in _names(model.graph)):  # what protobuf gives where a string is no text
        raise FormatError(f"{os.fspath(path)!r} is a damaged ONNX model: a name in it is no text")
    return model


def _names(graph: Any) -> Iterator[Any]:
    """Every name in a graph."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield value.name
        if value.DESCRIPTOR.name == "ValueInfoProto":
            yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for node in graph.node:
        yield from (node.op_type, node.name, *node.input, *node.output)


def state_of(model: Any, path: Any) -> dict[str, np.ndarray]:
    """The initialisers of a model by name: for a model of `fastnn.onnx.export`, its state dict.

    Raises
    ------
    FormatError
        If a tensor is damaged, lies in another file or has a type that fastnn has not; the message names it.
    """
    onnx = require("onnx", "onnx", "state_of")
    state: dict[str, np.ndarray] = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise FormatError(f"{os.fspath(path)!r} keeps {tensor.name!r} in another file, which is not read")
        try:
            kind = onnx.TensorProto.DataType.Name(tensor.data_type)
            if kind not in _KEPT + _WIDENED:
                raise FormatError(f"{os.fspath(path)!r} holds {tensor.name!r} as {kind}, which is not supported")
            if min(tensor.dims, default=0) < 0:
                raise ValueError(f"its shape is {tuple(tensor.dims)}")
            array = onnx.numpy_helper.to_array(tensor)
        except (TypeError, ValueError, OverflowError, MemoryError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{os.fspath(path)!r} has a damaged tensor {tensor.name!r}: {error}") from None
        if tensor.name in state:
            raise FormatError(f"{os.fspath(path)!r} holds {tensor.name!r} twice")
        state[tensor.name] = array.astype(np.float32) if kind in _WIDENED else array
    return state
