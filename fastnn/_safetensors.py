"""Reading safetensors files: 8 bytes of length, a JSON header with dtype, shape and place of each tensor, the tensors.

The library judges the header before anybody believes it (holes, overlaps, lying sizes; deep or wide JSON costs it no
memory). What it lets pass and readers disagree about is refused here. Then each tensor is read from the file into the
array that it will live in: 100 MB once through the memory, and not three times as through the library's bytes.
"""

import math
import os
from typing import Any, BinaryIO

import numpy as np

from . import _widen
from ._errors import FormatError

TORCH = (".pt", ".pth", ".bin", ".ckpt")  # the endings of PyTorch's files
_LONGEST = 100_000_000  # bytes of a header, as in the library
_MOST_AXES = 32
_STORED = {"BOOL": "u1", "F32": "f4", "F64": "f8"} | _widen.STORED
_STORED |= {f"{kind}{8 * n}": f"{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)}


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors of a file, in its order and with memory of their own, and its metadata.

    Raises
    ------
    FormatError
        If the file is damaged, lies about its contents or holds a dtype that fastnn has no place for.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnn as fnn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> fnn.save({"a": fnn.arange(3)}, path)
    >>> read(path)
    ({'a': array([0, 1, 2])}, {})
    """
    with open(path, "rb") as file:
        try:
            header = _header(file, path)
            metadata = header.pop("__metadata__", None) or {}
            start = file.tell()
            return {name: _tensor(file, start, name, entry) for name, entry in header.items()}, metadata
        except FormatError as error:
            raise FormatError(f"load: {os.fspath(path)!r} {error}") from None
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            raise FormatError(
                f"load: {os.fspath(path)!r} has a damaged header: {type(error).__name__} {error}"
            ) from None


def looks_like_torch(path: str | os.PathLike) -> bool:
    """Whether the file may be one of PyTorch: its ending is, or it is an archive, and no JSON behind 8 bytes."""
    if not os.path.isfile(path):  # a pipe cannot be read twice
        return False
    with open(path, "rb") as file:
        start = file.read(9)
    named = os.fsdecode(path).lower().endswith(TORCH)
    return (named or start.startswith(b"PK\x03\x04")) and start[8:] != b"{"


def _header(file: BinaryIO, path: str | os.PathLike) -> dict[str, Any]:
    """Return the header, which the library found sound, and leave the file at the first tensor."""
    from json import loads

    from safetensors import SafetensorError, safe_open

    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise FormatError(f"is {size} bytes, too short for a safetensors file")
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise FormatError(
            f"is no safetensors file, or cut off: it is {size} bytes, and says its header is {length} bytes"
        )
    if length > _LONGEST:
        raise FormatError(f"has a header of {length} bytes; at most {_LONGEST} are read")
    try:
        with safe_open(os.fsdecode(path), "numpy"):
            pass
    except SafetensorError as error:
        raise FormatError(f"is not a safetensors file: {error}") from None
    content = file.read(length)
    if not content.startswith(b"{"):
        raise FormatError("has a damaged header: it does not begin with '{'")
    return loads(content, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of JSON, refused where a key comes twice: readers disagree which of them counts."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise FormatError(f"has a damaged header: the key {key[:50]!r} comes twice")
        result[key] = value
    return result


def _tensor(file: BinaryIO, start: int, name: str, entry: dict[str, Any]) -> np.ndarray:
    """Read one tensor; what its entry says is compared once more with what is there."""
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _STORED:
        raise FormatError(f"holds {name!r} as {kind}, which is not supported")
    if len(shape) > _MOST_AXES:
        raise FormatError(f"holds {name!r} with {len(shape)} axes; at most {_MOST_AXES} are read")
    dtype = np.dtype(_STORED[kind]).newbyteorder("<")
    length = math.prod(shape) * dtype.itemsize
    if length != end - begin or not 0 <= begin <= end <= os.fstat(file.fileno()).st_size - start:
        raise FormatError(f"holds {name!r} of shape {shape} in bytes {begin} to {end}, which do not fit")
    array = np.empty(length // dtype.itemsize, dtype)
    file.seek(start + begin)
    if file.readinto(array) != length:  # type: ignore[attr-defined]
        raise FormatError(f"is cut off in {name!r}")
    if kind in _widen.STORED:
        array = _widen.widened(array, kind)
    elif kind == "BOOL":
        if array.size and array.max() > 1:
            raise FormatError(f"holds {name!r} as booleans with values other than 0 and 1")
        array = array.view(bool)
    return array.astype(array.dtype.newbyteorder("="), copy=False).reshape(shape)
