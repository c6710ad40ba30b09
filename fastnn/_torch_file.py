"""load_torch: the tensors in a file that `torch.save` wrote, read without PyTorch and without running anything.

There are two layouts. Since PyTorch 1.6 (2020) the file is a zip archive without compression:
    NAME/data.pkl   a pickle in which each tensor is (storage key, offset, shape, strides)
    NAME/data/KEY   the storages, raw
Before, it was several pickles in a row (a magic number, a version, facts about the machine, the object as above, the
list of storage keys), and behind them for each key the number of elements, 8 bytes, and the raw storage.
"""

import os
import reprlib
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import _pickle, _widen
from ._errors import FormatError

_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {  # the types of storages and of their elements; floats of 16 bits are widened
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "raw",
}
_DTYPES = {  # of tensors in an untyped storage: what came after the storages had types
    "torch.uint16": "u2",
    "torch.uint32": "u4",
    "torch.uint64": "u8",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.float8_e4m3fnuz": "F8_E4M3FNUZ",
    "torch.float8_e5m2fnuz": "F8_E5M2FNUZ",
    "torch.float8_e8m0fnu": "F8_E8M0",
}
_MOST_AXES = 32


def load_torch(path: str | os.PathLike) -> dict:
    """Read a file of tensors written by `torch.save`, such as a state dict (.pt, .pth, .bin), without PyTorch.

    Both layouts are read, the zip archive and the older row of pickles. Nothing in the file is executed or imported:
    it may name tensors, their storages, OrderedDict, and what stands beside them in checkpoints of schedules (Counter,
    torch.Size, torch.device); anything else is refused by its name. The memory taken is in proportion to the file's
    length.

    Parameters
    ----------
    path : path
        From where.

    Returns
    -------
    dict
        As it was saved: tensors as arrays (floats of 16 and 8 bits as float32), dicts, lists, tuples, numbers, strings.
        Tensors that shared memory share it still. `Module.load_state_dict` takes it as it is.

    Raises
    ------
    FormatError
        If the file is damaged, lies about its contents, or names something that is not loaded.
    OSError
        If it cannot be read.

    Notes
    -----
    Only dicts are returned, with keys that are strings or small integers. Tensors that repeat elements of a smaller
    storage (`expand`) are refused: a short file could hold enormous ones.

    References
    ----------
    https://docs.pytorch.org/docs/stable/notes/serialization.html

    Examples
    --------
    >>> import os, tempfile
    >>> import fastnn as fnn
    >>> path = os.path.join(tempfile.mkdtemp(), "net.pt")
    >>> with open(path, "wb") as file:
    ...     _ = file.write(b"cos\\nsystem\\n(Vecho hello\\ntR.")
    >>> try:
    ...     fnn.load_torch(path)
    ... except fnn.FormatError as error:
    ...     print(str(error).replace(path, "net.pt"))
    load_torch: 'net.pt' names os.system, which is not loaded: only tensors are, as of a state dict
    """
    with open(path, "rb") as file:
        try:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            result = _from_zip(file) if zipped else _from_pickles(file.read())
            if type(result) is not dict:
                raise FormatError(f"holds a {type(result).__name__}; a dict of tensors expected")
        except FormatError as error:
            raise FormatError(f"load_torch: {os.fspath(path)!r} {error}") from None
    return result


# ----- the layouts -----


def _from_zip(file: Any) -> Any:
    """Return the object in a zip archive."""
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) < len(archive.infolist()):
                raise FormatError("is a zip archive with a part twice: readers disagree which of them counts")
            # Overlapping entries could make much out of a short file.
            if sum(entry.file_size for entry in entries.values()) > size:
                raise FormatError("is a zip archive whose parts are together longer than the file")
            starts = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
            if len(starts) != 1:
                raise FormatError("is a zip archive, but not one of torch.save")
            folder = starts[0].removesuffix("data.pkl")

            def part(name: str) -> bytes:
                if folder + name not in entries:
                    raise FormatError(f"lacks its part {name!r}")
                entry = entries[folder + name]
                if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                    raise FormatError(f"has its part {name!r} compressed, which torch.save never does")
                return archive.read(entry)

            order = part("byteorder") if folder + "byteorder" in entries else b"little"
            if order not in (b"little", b"big"):
                raise FormatError(f"has the byte order {order[:20]!r}")
            storages = _Storages(lambda key: part(f"data/{key}"), "<" if order == b"little" else ">")
            return _pickle.read(part("data.pkl"), 0, _functions(_tensor, storages.view), storages.get)[0]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OverflowError, struct.error) as error:
        raise FormatError(f"is a damaged zip archive: {error}") from None
    except (UnicodeDecodeError, ValueError, OSError) as error:  # from positions before the start of the file
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"is a damaged zip archive: {error}") from None


def _from_pickles(content: bytes) -> Any:
    """Return the object in a row of pickles; it is read twice, since the storages stand behind it."""
    at = 0
    for expected in (_MAGIC, _VERSION, None):
        value, at = _pickle.read(content, at, {})
        if expected is not None and value != expected:
            raise FormatError("is not a file of torch.save")
    start = at
    found: dict[str, tuple[int, int]] = {}

    def note(name: Any) -> None:
        kind, key, numel = _storage_id(name)
        found[key] = numel, numel * _width(kind)

    def nothing(*_: Any) -> None:
        """What tensors are the first time."""

    _, at = _pickle.read(content, start, _functions(nothing, nothing), note)
    keys, at = _pickle.read(content, at, {})
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(found):
        raise FormatError("lists other storages than its tensors use")
    parts: dict[str, tuple[int, int]] = {}
    for key in keys:
        numel, length = found[key]
        if length + 8 > len(content) - at:
            raise FormatError(f"is cut off in storage {key!r}")
        if int.from_bytes(content[at : at + 8], "little") != numel:
            raise FormatError(f"says in two places how long storage {key!r} is, and they differ")
        parts[key] = at + 8, at + 8 + length
        at += 8 + length
    storages = _Storages(lambda key: content[slice(*parts[key])], "<")
    return _pickle.read(content, start, _functions(_tensor, storages.view), storages.get)[0]


# ----- what the pickle is made of -----


def _functions(tensor: Callable, view: Callable) -> dict[str, Callable | None]:
    """Return what the pickle may name and what it calls by that."""

    def tensor_of(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any) -> Any:
        return tensor(view(storage, dtype), offset, size, stride)

    return {
        **dict.fromkeys((*_STORAGES, *_DTYPES)),
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_of,
        "torch._utils._rebuild_parameter": lambda data, requires_grad=True, hooks=None: data,
        "torch.Size": _size,
        "torch.device": _device,
        "collections.Counter": _counts,
    }


def _size(sizes: Any) -> tuple:
    if type(sizes) not in (tuple, list) or not all(type(n) is int for n in sizes) or len(sizes) > _MOST_AXES:
        raise FormatError("has a damaged pickle: a torch.Size of what is no list of sizes")
    return tuple(sizes)


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise FormatError("has a damaged pickle: a torch.device of what is no name")
    return kind if index is None else f"{kind}:{index}"


def _counts(counts: Any) -> dict:
    """What a MultiStepLR keeps: the dict itself, whose keys were checked as it was read."""
    if type(counts) is not dict:
        raise FormatError("has a damaged pickle: a Counter of what is no dict")
    return counts


def _storage_id(name: Any) -> tuple[str, str, int]:
    """Return (type of the elements, key, number of elements) of a persistent id, checked."""
    if type(name) is not tuple or len(name) not in (5, 6) or name[0] != "storage":
        raise FormatError("has a damaged pickle: a persistent id that is no storage")
    kind, key, numel = name[1], name[2], name[4]
    if type(kind) is not _pickle.Name or kind.text not in _STORAGES or type(key) is not str or type(numel) is not int:
        raise FormatError("has a damaged pickle: a storage of unknown kind")
    if numel < 0 or (len(name) == 6 and name[5] is not None):
        raise FormatError(f"has storage {key!r} as a view or of negative size")
    return _STORAGES[kind.text], key, numel


def _width(kind: str) -> int:
    """Return the number of bytes of an element."""
    return 1 if kind == "raw" else np.dtype(_widen.STORED.get(kind, kind)).itemsize


@dataclass(frozen=True)
class _Raw:
    """A storage without a type: each tensor in it says its own."""

    key: str
    data: bytes


class _Storages:
    """The flat arrays that tensors are windows of, each read once; `raw(key)` gives the bytes."""

    def __init__(self, raw: Callable[[str], bytes], order: Literal["<", ">"]) -> None:
        self.raw, self.order = raw, order
        self.known: dict[str, tuple[str, int, np.ndarray | _Raw]] = {}
        self.views: dict[str, tuple[str, np.ndarray]] = {}

    def get(self, name: Any) -> np.ndarray | _Raw:
        """Return the array for a persistent id."""
        kind, key, numel = _storage_id(name)
        if key not in self.known:
            data = self.raw(key)
            if len(data) != numel * _width(kind):
                raise FormatError(
                    f"has {len(data)} bytes in storage {key!r}; {numel} elements of {name[1].text} expected"
                )
            self.known[key] = (kind, numel, _Raw(key, data) if kind == "raw" else self._array(data, kind, key))
        if self.known[key][:2] != (kind, numel):
            raise FormatError(f"has storage {key!r} twice, with different types or sizes")
        return self.known[key][2]

    def view(self, storage: Any, dtype: Any) -> np.ndarray:
        """Return the array of an untyped storage for tensors of a dtype; the same one for all of them."""
        if type(storage) is not _Raw or type(dtype) is not _pickle.Name or dtype.text not in _DTYPES:
            raise FormatError("has a damaged pickle: a tensor of unknown type")
        kind, key = _DTYPES[dtype.text], storage.key
        if key not in self.views:
            whole = len(storage.data) - len(storage.data) % _width(kind)
            self.views[key] = kind, self._array(storage.data[:whole], kind, key)
        if self.views[key][0] != kind:  # torch.save refuses it too
            raise FormatError(f"has storage {key!r} twice, with different types")
        return self.views[key][1]

    def _array(self, data: bytes, kind: str, key: str) -> np.ndarray:
        if kind in _widen.STORED:
            return _widen.widened(np.frombuffer(data, np.dtype(_widen.STORED[kind]).newbyteorder(self.order)), kind)
        if kind == "bool" and data.strip(b"\0\1"):
            raise FormatError(f"has booleans other than 0 and 1 in storage {key!r}")
        return np.frombuffer(data, np.dtype(kind).newbyteorder(self.order)).astype(kind)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
    """Return a window of a storage, if every element of it lies within."""
    if type(storage) is not np.ndarray or storage.ndim != 1 or type(size) is not tuple or type(stride) is not tuple:
        raise FormatError("has a damaged pickle: a tensor without storage, shape and strides")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > _MOST_AXES or not all(type(n) is int and n >= 0 for n in numbers):
        raise FormatError(f"has a tensor of shape {_short(size)}, strides {_short(stride)}, offset {_short(offset)}")
    numel, last = 1, offset
    for n, step in zip(size, stride):
        numel *= n
        last += (n - 1) * step
    if (numel and last >= storage.size) or numel > storage.size or offset > storage.size:
        raise FormatError(f"has a tensor of shape {_short(size)} in a storage of {storage.size} elements")
    if not numel:
        return storage[:0].reshape(size)
    strides = [step * storage.itemsize if n > 1 else storage.itemsize for n, step in zip(size, stride)]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides)


def _short(value: Any) -> str:
    """Return a value of a file for a message; repr alone might recurse without end."""
    text = _LEVEL.repr(value)
    return text if len(text) < 80 else text[:77] + "..."


_LEVEL = reprlib.Repr()
_LEVEL.maxlevel, _LEVEL.maxtuple = 1, _MOST_AXES
