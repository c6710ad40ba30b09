"""Casts between the types of ONNX. NumPy has the usual ones; halves, 8- and 4-bit types come with the onnx package."""

from functools import cache
from typing import Any

import numpy as np

from ..._ops import Tensor
from .._registry import op
from .._values import FLOATS, array, value

SMALL = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn")


@cache  # both: asked at each call, a cast of 16 x 384 numbers takes 64 us instead of 21
def numpy_type(kind: int) -> np.dtype:
    """The dtype of one of ONNX's element types."""
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(kind))


def converted(x: Any, dtype: np.dtype, saturate: int = 1, round_mode: str = "up") -> Any:
    """x in another type; floats go to small types by rounding to the nearest, integers by cutting."""
    if isinstance(x, Tensor) and dtype in (np.float32, np.float64):
        return x if x.dtype == dtype else x.to(dtype)
    data = array(x)
    if data.dtype == dtype:
        return x
    if data.dtype.kind in "iub" and dtype.num in FLOATS:  # a mask: nothing can overflow
        return Tensor(data.astype(dtype))
    if dtype.kind == "O":
        return _text(data)
    if data.dtype.kind == "O":
        return value(_numbers(data, dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        return value(_small(data, dtype, saturate, round_mode) if _is_small(dtype) else data.astype(dtype))


@cache
def _is_small(dtype: np.dtype) -> bool:
    return dtype.name in SMALL or dtype.name in ("float8_e8m0fnu", "int4", "uint4", "int2", "uint2")


def _small(data: np.ndarray, dtype: np.dtype, saturate: int, round_mode: str) -> np.ndarray:
    from onnx import numpy_helper

    if dtype.name == "float8_e8m0fnu":
        return numpy_helper.to_float8e8m0(data.astype(np.float32), bool(saturate), round_mode)
    if dtype.name not in SMALL:  # integers of 2 and 4 bits keep the lower ones
        return (
            data.astype(np.int32).astype(dtype)
            if data.dtype.kind == "f" or data.dtype.kind == "V"
            else data.astype(dtype)
        )
    if saturate or dtype.name == "float4_e2m1fn":
        return numpy_helper.saturate_cast(data, dtype)
    return data.astype(dtype)


def _text(data: np.ndarray) -> np.ndarray:
    """Numbers as text: floats as short as they can be read back."""
    if data.dtype.kind not in "iub":
        data = data.astype(np.float32) if data.dtype.itemsize < 4 else data
        words = [np.format_float_positional(v, trim="-") if np.isfinite(v) else _special(v) for v in data.ravel()]
    else:
        words = [str(v) for v in data.ravel().tolist()]
    return np.array(words, object).reshape(data.shape)


def _special(v: Any) -> str:
    return "NaN" if np.isnan(v) else "INF" if v > 0 else "-INF"


def _numbers(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    words = [w.decode() if isinstance(w, bytes) else str(w) for w in data.ravel()]
    numbers = np.array([_whole(w) if dtype.kind in "iu" else float(w) for w in words])
    return numbers.reshape(data.shape).astype(dtype)


def _whole(word: str) -> int:
    """An integer's every digit; of other numbers what stands before the point."""
    try:
        return int(word)
    except ValueError:
        return int(float(word))


@op("Cast", since=6)
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """x in another type."""
    return converted(x, numpy_type(to), saturate, round_mode)


@op("Cast", until=5)
def old_cast(x: Any, *, to: str) -> Any:
    """x in another type."""
    from onnx import TensorProto

    return converted(x, numpy_type(TensorProto.DataType.Value(to.upper())))


@op("CastLike")
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """x in the type of another."""
    return converted(x, array(like).dtype, saturate, round_mode)


@op("BitCast")
def bit_cast(x: Any, *, to: int) -> Any:
    """The same bits read as another type of the same width."""
    data, dtype = np.ascontiguousarray(array(x)), numpy_type(to)
    if data.dtype.itemsize != dtype.itemsize:
        raise ValueError(f"BitCast: {data.dtype} and {dtype} differ in width")
    return value(data.reshape(array(x).shape).view(dtype))
