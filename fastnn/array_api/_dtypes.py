"""Data types of the namespace, and what it says about itself. There is one device, "cpu"."""

import builtins
from typing import Any, NamedTuple

import numpy as np

from .._ops import Tensor

bool = np.dtype(np.bool_)
int8, int16, int32, int64 = (np.dtype(f"i{n}") for n in (1, 2, 4, 8))
uint8, uint16, uint32, uint64 = (np.dtype(f"u{n}") for n in (1, 2, 4, 8))
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)

_KINDS = {
    "bool": (bool,),
    "signed integer": (int8, int16, int32, int64),
    "unsigned integer": (uint8, uint16, uint32, uint64),
    "real floating": (float32, float64),
    "complex floating": (),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"]


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether a dtype is of a kind: a dtype, one of the standard's names ("bool", "integral" ...), a tuple of them."""
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"isdtype: kind must be one of {', '.join(_KINDS)}, got {kind!r}")
        return np.dtype(dtype) in _KINDS[kind]
    return np.dtype(dtype) == kind


def _dtype_of(x: Any) -> Any:
    return x.dtype if isinstance(x, Tensor) else x


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """Return the dtype that an operation on these gives."""
    return np.result_type(*(_dtype_of(x) for x in arrays_and_dtypes))


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Whether every value of a dtype (or that of a Tensor) is one of another; bool and integers among floats too."""
    return np.can_cast(_dtype_of(from_), to)


class FloatInfo(NamedTuple):
    """The limits of a floating-point dtype, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype


def finfo(type: Any, /) -> FloatInfo:
    """Return the limits of a floating-point dtype."""
    found = np.finfo(_dtype_of(type))
    eps, most, least, normal = (float(x) for x in (found.eps, found.max, found.min, found.smallest_normal))
    return FloatInfo(found.bits, eps, most, least, normal, np.dtype(found.dtype))


def iinfo(type: Any, /) -> Any:
    """Return the limits of an integer dtype."""
    return np.iinfo(_dtype_of(type))


def astype(x: Tensor, dtype: Any, /, *, copy: builtins.bool = True, device: str | None = None) -> Tensor:
    """Return x in another dtype; a copy also where it has that dtype already, unless `copy` is False."""
    check_device("astype", device)
    return x.clone() if copy and x.dtype == dtype else x.to(dtype)


class Info:
    """What is supported; see `__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        return "cpu"

    def devices(self) -> list[str]:
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype]:
        check_device("default_dtypes", device)
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, np.dtype]:
        check_device("dtypes", device)
        every = (*_KINDS["bool"], *_KINDS["numeric"])
        return {dtype.name: dtype for dtype in every if kind is None or isdtype(dtype, kind)}


def check_device(name: str, device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ValueError(f"{name}: device must be 'cpu', got {device!r}")
