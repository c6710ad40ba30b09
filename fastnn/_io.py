"""save and load: safetensors files, written so that the path always holds one whole file, the old one or the new one.

The arrays are stored under their dotted names, so a state dict reads the same in every safetensors library. What
safetensors has no place for (nesting, numbers, strings, lists) is kept as JSON in its metadata, in a form where every
node is tagged:
    {"t": name} an array, {"d": [[key, node], ...]} a dict, {"i": "123"} a large integer, a list, or a plain value.
"""

import errno
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from . import _safetensors
from ._errors import FormatError
from ._ops import Tensor, from_numpy

_KEY = "fastnn"  # in the file's metadata
_DTYPES = frozenset(["bool", "float16", "float32", "float64"])  # and integers
_DEEPEST = 64  # dicts and lists inside one another


def save(obj: Any, path: str | os.PathLike) -> None:
    """Write a model, a state dict or a nested dict to a safetensors file, all or nothing.

    The file is written beside `path` under another name, flushed to the disk and then put in place: a kill or a full
    disk at any moment leaves the old file as it was.

    Parameters
    ----------
    obj : Module or dict
        A Module stands for its state dict. Dicts may hold Tensors, arrays, numbers, strings, None, lists and dicts.
    path : path
        Where to.

    Raises
    ------
    TypeError, ValueError
        If something cannot be stored; the message names it. Nothing is written then.
    OSError
        If the file cannot be written.

    References
    ----------
    https://github.com/huggingface/safetensors

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnn as fnn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> net = fnn.nn.Linear(3, 4)
    >>> fnn.save({"net": net.state_dict(), "note": "first try", "epoch": 3}, path)
    >>> loaded = fnn.load(path)
    >>> loaded["note"], loaded["epoch"], loaded["net"]["weight"].shape
    ('first try', 3, (4, 3))
    """
    if callable(getattr(obj, "state_dict", None)):
        obj = obj.state_dict()
    if not isinstance(obj, Mapping):
        raise TypeError(f"save: a Module or a dict expected, got {type(obj).__name__}")
    arrays: dict[str, np.ndarray] = {}
    tree = _encode(obj, "", arrays, 0)
    _write(_serialize(arrays, tree), os.path.realpath(os.fsdecode(path)))


def _serialize(arrays: dict[str, np.ndarray], tree: Any) -> bytes:
    """Return the bytes of the file."""
    from json import dumps

    from safetensors.numpy import save as to_bytes

    flat = {"d": [[name, {"t": name}] for name in arrays]}
    metadata = None if tree == flat else {_KEY: dumps(tree)}
    # Little-endian and in C order; np.ascontiguousarray would make 1-d arrays of 0-d ones.
    return to_bytes({k: np.asarray(a, a.dtype.newbyteorder("<"), order="C") for k, a in arrays.items()}, metadata)


def _encode(value: Any, name: str, arrays: dict[str, np.ndarray], depth: int) -> Any:
    """Return the tagged form of `value`; puts its arrays into `arrays`."""
    if depth > _DEEPEST:
        raise ValueError(f"save: {name!r} is nested deeper than {_DEEPEST} (or contains itself)")
    if isinstance(value, Tensor | np.ndarray):
        return {"t": _keep(value.data if isinstance(value, Tensor) else value, name, arrays)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else {"i": str(value)}  # other readers of JSON have doubles only
    if isinstance(value, float):
        return value if math.isfinite(value) else {"f": repr(value)}
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise TypeError(f"save: keys must be strings or integers, got {key!r} in {name or 'the dict'!r}")
            pairs.append([key, _encode(item, f"{name}.{key}" if name else str(key), arrays, depth + 1)])
        return {"d": pairs}
    if isinstance(value, list | tuple):
        return [_encode(item, f"{name}.{i}", arrays, depth + 1) for i, item in enumerate(value)]
    if hasattr(value, "__array__"):
        return {"t": _keep(np.asarray(value), name, arrays)}
    raise TypeError(f"save: {name!r} is a {type(value).__name__}, which cannot be stored")


def _keep(array: np.ndarray, name: str, arrays: dict[str, np.ndarray]) -> str:
    """Put an array under a name that is still free; returns the name."""
    if array.dtype.kind not in "iu" and array.dtype.name not in _DTYPES:
        raise TypeError(f"save: {name!r} has dtype {array.dtype}, which cannot be stored")
    free, number = name, 1
    while free in arrays or free == "__metadata__":
        number += 1
        free = f"{name}#{number}"
    arrays[free] = array
    return free


def _write(content: bytes, path: str) -> None:
    """Replace the file at `path` in one step; write into what is no file."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe or a device stays what it is
        with open(path, "wb") as stream:
            stream.write(content)
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    # Made by os.open and not by tempfile: the file gets the permissions that the umask says.
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        error.filename = path  # nobody has heard of the other name
        raise
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name itself must reach the disk too
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def load(path: str | os.PathLike, model: Any = None, strict: bool = True) -> Any:
    """Read a safetensors file: what `save` was given, or a flat dict of the Tensors in somebody else's file.

    Nothing in the file is executed, and the memory taken is in proportion to the file's length. A .pt, .pth, .bin
    or .ckpt file, and a zip archive of any name, may also be one of PyTorch with a state dict in it (see `load_torch`,
    which gives arrays in the place of Tensors).

    Parameters
    ----------
    path : path
        From where.
    model : Module, optional
        Loaded with the state dict in the file. Names, shapes and layouts are PyTorch's: a file that PyTorch wrote for a
        module of the same structure fits as it is. Parameters that are one in the model may be in the file under one
        of their names only, as `safetensors.torch.save_model` writes them.
    strict : bool
        Whether the names in the file must be the model's. Shapes must agree either way.

    Returns
    -------
    dict or Module
        Dicts come back as dicts, tuples as lists, arrays as Tensors (floats of 16 and 8 bits as float32); with `model`,
        that model.

    Raises
    ------
    FormatError
        If the file is damaged or lies about its contents.
    OSError
        If it cannot be read.
    TypeError
        If `model` is no Module.
    ValueError
        If it does not fit the model: the message lists all names that are missing, unexpected or of another shape.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnn as fnn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> net = fnn.nn.Linear(3, 4)
    >>> fnn.save(net, path)
    >>> other = fnn.load(path, fnn.nn.Linear(3, 4))
    >>> bool((other.weight == net.weight).all())
    True
    """
    if model is not None and (isinstance(model, type) or not hasattr(model, "_state")):
        got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"load: model must be a Module, got {got}")
    if _safetensors.looks_like_torch(path):
        from ._torch_file import load_torch

        state = load_torch(path)
    else:
        state = _parse(*_safetensors.read(path), os.fspath(path))
    if model is None:
        return state
    model.load_state_dict(_with_shared(state, model), strict)
    return model


def _with_shared(state: dict, model: Any) -> dict:
    """Return the state with every name of a parameter that has several, if one of them is there."""
    names: dict[int, list[str]] = {}
    for name, tensor in model._state():
        names.setdefault(id(tensor), []).append(name)
    complete = dict(state)
    for group in names.values():
        for name in group if len(group) > 1 else ():
            kept = next((other for other in group if other in state), name)
            if kept in state:
                complete.setdefault(name, state[kept])
    return complete


def _parse(arrays: dict[str, np.ndarray], metadata: Mapping[str, str], path: Any) -> dict:
    """Return what a file's arrays and its description make together."""
    from json import loads

    tensors = {name: from_numpy(array) for name, array in arrays.items()}
    if _KEY not in metadata:
        return tensors
    try:
        tree = _decode(loads(metadata[_KEY]), tensors, 0)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"load: {path!r} has a damaged description: {type(error).__name__} {error}") from None
    if not isinstance(tree, dict):
        raise FormatError(f"load: {path!r} has a damaged description: it is no dict")
    return tree


def _decode(node: Any, arrays: dict[str, Tensor], depth: int) -> Any:
    """Turn the tagged form back into dicts, lists and values."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    if isinstance(node, list):
        return [_decode(item, arrays, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    ((tag, value),) = node.items()
    if tag == "t":
        return arrays[value]
    if tag == "i":
        return int(value)  # Python refuses more than 4300 digits
    if tag == "f":
        return float(value)
    if tag != "d":
        raise ValueError(f"unknown tag {tag!r}")
    result = {}
    for key, item in value:
        if not isinstance(key, str | int):
            raise ValueError(f"the key {key!r}")
        result[key] = _decode(item, arrays, depth + 1)
    return result
