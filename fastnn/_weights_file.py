"""State dicts in files of any format that fastnn reads or writes, told apart by their ending."""

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import _io
from ._errors import FormatError
from ._ops import Tensor
from ._safetensors import TORCH

READ = (".safetensors", *TORCH, ".npz", ".onnx")
WRITTEN = (".safetensors", ".npz")


def ending(path: str | os.PathLike) -> str:
    """The ending of a file's name in small letters."""
    return os.path.splitext(os.fspath(path))[1].lower()


def read(path: str | os.PathLike, who: str) -> dict[str, Any]:
    """What a file holds: arrays by name, or dicts and other values between them.

    Raises
    ------
    FormatError
        If it is damaged, or its name has an ending that is not known.
    OSError
        If it cannot be read.
    """
    kind = ending(path)
    if kind == ".safetensors":
        return _io.load(path)
    if kind in TORCH:
        from ._torch_file import load_torch

        return load_torch(path)
    if kind == ".npz":
        return _npz(path)
    if kind == ".onnx":
        from .onnx._weights import read_model, state_of

        return state_of(read_model(path, who), path)
    raise FormatError(f"{os.fspath(path)!r}: the name must end in one of {', '.join(READ)}")


def _npz(path: str | os.PathLike) -> dict[str, Any]:
    """The arrays of NumPy's archive; pickled ones are refused by NumPy."""
    from zipfile import BadZipFile
    from zlib import error as ZlibError

    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is one array")
            with archive:
                # Each by its whole name: `archive["a.npy"]` is the array "a", if that is there too.
                members = archive.zip.namelist() if archive.zip else []
                found = {member.removesuffix(".npy"): archive[member] for member in members}
            if len(found) < len(members):
                raise ValueError("an array is in it twice")
            if others := [name for name, value in found.items() if not isinstance(value, np.ndarray)]:
                raise ValueError(f"{others[0]!r} is no array")
            return found
    except (ValueError, RuntimeError, EOFError, BadZipFile, ZlibError, KeyError, MemoryError) as error:
        raise FormatError(f"{os.fspath(path)!r} is not an .npz file of arrays: {error}") from None


def arrays(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in nested dicts and lists, by dotted name."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Tensor | np.ndarray):
            yield name, value.data if isinstance(value, Tensor) else value
        elif isinstance(value, Mapping):
            yield from arrays(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield from arrays({str(i): item for i, item in enumerate(value)}, f"{name}.")


def write(state: Mapping[str, np.ndarray], path: str | os.PathLike) -> None:
    """Write arrays by name; the file is replaced in one step.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError, ValueError
        If an array cannot be stored.
    """
    if ending(path) == ".safetensors":
        _io.save(dict(state), path)
        return
    from zipfile import ZipFile

    content = io.BytesIO()
    with ZipFile(content, "w") as archive:  # np.savez would take a tensor named "file" for its own argument
        for name, array in state.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    _io._write(content.getvalue(), os.path.realpath(os.fspath(path)))
