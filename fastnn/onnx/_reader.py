"""From bytes to a checked ModelProto and its arrays. Nothing is executed; sizes are checked before memory is taken.

Initialisers are taken out of the protobuf first (a view of its bytes, copied once), so that ONNX's checker, which
serialises what it checks, does not move the weights about.
"""

import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import FormatError
from .._extras import require
from ._registry import LATEST
from ._values import MOST_BYTES


def read_model(source: Any) -> tuple[Any, Path | None]:
    """The ModelProto of a path, of bytes or of itself, and the folder its external data lies in."""
    onnx = require("onnx", "onnx", "fastnn.onnx.load")
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        return model, None
    if isinstance(source, bytes | bytearray | memoryview):
        data, folder = bytes(source), None
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        data, folder = path.read_bytes(), path.parent
    else:
        raise TypeError(f"fastnn.onnx.load: a path, bytes or a ModelProto expected, got {type(source).__name__}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which need not be importable under one name
        raise FormatError(f"{place(source)}: not an ONNX file, or damaged: {error}") from None
    return model, folder


def place(source: Any) -> str:
    """How an error begins: the function, and the file if it is one."""
    return f"onnx.load: {os.fspath(source)!r}" if isinstance(source, str | os.PathLike) else "onnx.load"


def check_model(model: Any) -> None:
    """Refuse what ONNX's checker refuses, and opsets that are newer than the functions here."""
    import onnx

    if not model.HasField("graph") or not model.opset_import:
        raise FormatError("not an ONNX file: it has no graph or names no opset")
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if entry.version > LATEST.get(domain, 1 << 31) or entry.version < 1:
            raise FormatError(
                f"opset {entry.version} of {domain or 'ONNX'} is not supported (latest: {LATEST[domain]})"
            )
    for info in (*model.graph.input, *model.graph.output):  # an unknown rank, which the checker would refuse
        if info.type.HasField("tensor_type") and not info.type.tensor_type.HasField("shape"):
            info.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise FormatError(f"not a valid ONNX model: {' '.join(str(error).split())}") from None


def take_initialisers(graph: Any, folder: Path | None) -> dict[str, np.ndarray]:
    """The arrays of a graph's initialisers by name; in the protobuf an empty one stays in each place."""
    if graph.sparse_initializer:
        raise FormatError("sparse initialisers are not supported")
    arrays = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in arrays:
            raise FormatError(f"initialiser name {tensor.name!r} is empty or there twice")
        arrays[tensor.name] = _taken(tensor, folder)
    return arrays


_TYPED = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def _taken(tensor: Any, folder: Path | None) -> np.ndarray:
    """The array of a tensor, in whose place an empty one stays."""
    array = tensor_array(tensor, folder)
    for field in ("raw_data", "external_data", "data_location", "dims", *_TYPED):
        tensor.ClearField(field)
    tensor.dims.append(0)
    return array


def tensor_array(tensor: Any, folder: Path | None = None) -> np.ndarray:
    """The array of a TensorProto, its own memory.

    Raises
    ------
    FormatError
        If its sizes do not agree, its type is not known, or its external file is not to be touched.
    """
    from onnx import TensorProto, helper, numpy_helper

    shape = tuple(tensor.dims)
    if any(n < 0 for n in shape):
        raise FormatError(f"tensor {tensor.name!r}: shape {shape} has a negative size")
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise FormatError(f"tensor {tensor.name!r}: unknown data type {tensor.data_type}")
    count = math.prod(shape)
    if count > MOST_BYTES:
        raise FormatError(f"tensor {tensor.name!r}: shape {shape} is too large")
    external = tensor.data_location == TensorProto.EXTERNAL
    if not external and not tensor.HasField("raw_data"):
        _check_count(tensor, count)
        return np.array(numpy_helper.to_array(tensor))
    raw = _external(tensor, folder) if external else tensor.raw_data
    name = TensorProto.DataType.Name(tensor.data_type)
    bits = 4 if name in ("INT4", "UINT4", "FLOAT4E2M1") else 2 if name in ("INT2", "UINT2") else 0
    if bits or tensor.data_type == TensorProto.STRING:
        if bits and len(raw) != (count * bits + 7) // 8:
            raise FormatError(f"tensor {tensor.name!r}: shape {shape} in {len(raw)} bytes")
        return np.array(numpy_helper.to_array(tensor))
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    if count * dtype.itemsize != len(raw):
        raise FormatError(f"tensor {tensor.name!r}: shape {shape} of {dtype} in {len(raw)} bytes")
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _check_count(tensor: Any, count: int) -> None:
    """A shape must not promise more than what its list holds."""
    held = max(len(getattr(tensor, field)) for field in _TYPED)
    if count > 16 * held:  # 2-bit integers lie sixteen to a number
        raise FormatError(f"tensor {tensor.name!r}: shape {tuple(tensor.dims)} but {held} numbers")


def _external(tensor: Any, folder: Path | None) -> bytes:
    """The bytes of a tensor in a file beside the model: a plain file below its folder, through no link."""
    entries = {e.key: e.value for e in tensor.external_data}
    name = f"tensor {tensor.name!r}"
    location = entries.get("location", "")
    if folder is None:
        raise FormatError(f"{name}: external data {location!r}, but the model came from memory; load it by its path")
    parts = location.replace("\\", "/").split("/")
    if not location or location[0] in "/\\" or ":" in parts[0] or ".." in parts or "\0" in location:
        raise FormatError(f"{name}: external data {location!r} must be a relative path below the model's folder")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise FormatError(f"{name}: external data {location!r} goes through a link")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError:
        raise FormatError(f"{name}: offset and length of external data must be integers") from None
    try:
        with open(path, "rb", opener=_no_links) as file:
            status = os.fstat(file.fileno())
            length = status.st_size - offset if "length" not in entries else length
            if not stat.S_ISREG(status.st_mode) or offset < 0 or length < 0 or offset + length > status.st_size:
                raise FormatError(f"{name}: external data {location!r} does not hold {length} bytes at {offset}")
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise FormatError(f"{name}: external data {location!r}: {error.strerror}") from None


def _no_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def attribute_value(attribute: Any, folder: Path | None = None) -> Any:
    """An attribute as Python has it: number, str, list, ndarray, or a GraphProto as it is."""
    from onnx import AttributeProto as A

    kind = attribute.type
    if kind == A.INT:
        return attribute.i
    if kind == A.FLOAT:
        return attribute.f
    if kind == A.STRING:
        return attribute.s.decode("utf-8", "replace")
    if kind == A.INTS:
        return list(attribute.ints)
    if kind == A.FLOATS:
        return list(attribute.floats)
    if kind == A.STRINGS:
        return [s.decode("utf-8", "replace") for s in attribute.strings]
    if kind == A.TENSOR:
        return _taken(attribute.t, folder)
    if kind == A.TENSORS:
        return [_taken(t, folder) for t in attribute.tensors]
    if kind == A.GRAPH:
        return attribute.g
    if kind == A.TYPE_PROTO:
        return attribute.tp
    raise FormatError(f"attribute {attribute.name!r}: its kind {kind} is not supported")


def sized(model: Any) -> Any:
    """The model with the sizes that can be known of what loops gather: one of no steps makes nothing to look at."""
    if not any(_unsized(node) for node in model.graph.node):
        return model
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # it is not needed for anything else; whether the model is valid, others say
        return model


def _unsized(node: Any) -> bool:
    """Whether a loop, in a node or within it, has outputs of unknown sizes."""
    inner = [graph for _, graph in subgraphs(node)]
    kinds = [v.type.tensor_type for graph in inner if node.op_type in ("Loop", "Scan") for v in graph.output]
    if any(not k.HasField("shape") or not all(d.dim_value for d in k.shape.dim) for k in kinds):
        return True
    return any(_unsized(n) for graph in inner for n in graph.node)


def subgraphs(node: Any) -> Iterator[tuple[str, Any]]:
    """Name and GraphProto of each attribute that is a graph."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
