"""Quantised numbers: to and from integers and small floats; products of integers, exact in float64 or int64."""

from typing import Any

import numpy as np

from ..._ops import Tensor
from .._registry import op
from .._values import array, value
from .cast import SMALL, converted, numpy_type
from .conv import conv


def _spread(v: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """A scale or zero point as it stands under x: one number, one for each place of an axis, or blocks."""
    if v.size == 1 and v.ndim <= 1:
        return v.reshape(())
    if v.ndim == 1 and not block:
        return v.reshape([-1 if i == axis % len(shape) else 1 for i in range(len(shape))])
    if v.ndim != len(shape):
        raise ValueError(f"a scale of shape {v.shape} for {shape}")
    axis %= len(shape)
    size = block or -(-shape[axis] // v.shape[axis])
    return np.take(np.repeat(v, size, axis), np.arange(shape[axis]), axis)


def _range(dtype: np.dtype) -> tuple[int, int]:
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    bits = int(dtype.name[-1])
    return (0, (1 << bits) - 1) if dtype.name.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


@op("QuantizeLinear")
def quantize_linear(
    x: Any,
    scale: Any,
    zero: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Any:
    """round(x / scale) + zero, cut to the range of the type."""
    data, by = array(x), array(scale)
    dtype = zero_type(zero, output_dtype)
    exact = numpy_type(precision) if precision else by.dtype
    by = _spread(by, data.shape, axis, block_size).astype(exact)
    shift = 0 if zero is None else _spread(array(zero), data.shape, axis, block_size).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = (data.astype(exact) / by).astype(np.float32)
    if dtype.name in SMALL:
        return converted(value(y + shift), dtype, saturate)
    low, high = _range(dtype)
    y = np.clip(np.rint(y) + shift, low, high)
    return value(y.astype(dtype) if dtype.kind in "iu" else y.astype(np.int8 if low else np.uint8).astype(dtype))


def zero_type(zero: Any, output_dtype: int) -> np.dtype:
    """The type that is asked for: the zero point's, the attribute's, or uint8."""
    if zero is not None:
        return array(zero).dtype
    return numpy_type(output_dtype) if output_dtype else np.dtype(np.uint8)


@op("DequantizeLinear")
def dequantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0
) -> Any:
    """(x - zero) * scale."""
    data, by = array(x), array(scale)
    dtype = numpy_type(output_dtype) if output_dtype else by.dtype
    wide = data.astype(np.float32) if data.dtype.name in SMALL else data.astype(np.int64)
    if zero is not None:
        point = _spread(array(zero), data.shape, axis, block_size)
        wide = wide - point.astype(wide.dtype)
    by = _spread(by, data.shape, axis, block_size)
    return value((wide.astype(np.float32) * by.astype(np.float32)).astype(dtype))


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(x: Any) -> Any:
    """x in uint8 by its own range, the scale and the zero point."""
    data = array(x)
    low, high = min(0.0, data.min(initial=0)), max(0.0, data.max(initial=0))
    scale = np.float32((np.float32(high) - np.float32(low)) / np.float32(255)) or np.float32(1)
    zero = np.uint8(np.clip(np.rint(-np.float32(low) / scale), 0, 255))
    y = np.clip(np.rint(data / scale) + np.float32(zero), 0, 255).astype(np.uint8)
    return y, value(np.asarray(scale, np.float32)), np.asarray(zero)


@op("MatMulInteger")
def matmul_integer(a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """Products of integers less their zero points, in int32."""
    return np.asarray(_shifted(a, a_zero, -2) @ _shifted(b, b_zero, -1)).astype(np.int32)


def _shifted(x: np.ndarray, zero: Any, axis: int) -> np.ndarray:
    if zero is None:
        return x.astype(np.int64)
    zero = np.asarray(zero)
    if zero.ndim == 1 and zero.size > 1 and axis == -2:
        zero = zero[:, None]
    return x.astype(np.int64) - zero.astype(np.int64)


@op("QLinearMatMul")
def qlinear_matmul(
    a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any, y_zero: Any
) -> Any:
    """A product of quantised matrices, quantised."""
    total = _shifted(a, a_zero, -2) @ _shifted(b, b_zero, -1)
    left = array(a_scale).astype(np.float64)
    left = left[:, None] if left.ndim == 1 and left.size > 1 else left
    real = total * (left * array(b_scale).astype(np.float64))
    return _requantised(real, y_scale, y_zero)


def _requantised(real: np.ndarray, scale: Any, zero: Any) -> np.ndarray:
    low, high = _range(zero.dtype)
    return np.asarray(np.clip(np.rint(real / array(scale).astype(np.float64)) + zero, low, high).astype(zero.dtype))


@op("ConvInteger")
def conv_integer(
    x: Any,
    w: Any,
    x_zero: Any = None,
    w_zero: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """A convolution of integers less their zero points, in int32: float64 holds its sums exactly."""
    shift = np.zeros(()) if w_zero is None else np.asarray(w_zero).astype(np.float64)
    shift = shift.reshape(-1, *[1] * (w.ndim - 1)) if np.ndim(shift) == 1 else shift
    x_real = x.astype(np.float64) - (0 if x_zero is None else np.asarray(x_zero).astype(np.float64))
    y = conv(
        Tensor(x_real),
        Tensor(w.astype(np.float64) - shift),
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return np.rint(y.data).astype(np.int32)


@op("QLinearConv")
def qlinear_conv(
    x: Any,
    x_scale: Any,
    x_zero: Any,
    w: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    b: Any = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Any:
    """A convolution of quantised images, quantised."""
    how: dict[str, Any] = {"auto_pad": auto_pad, "dilations": dilations, "group": group, "pads": pads}
    total = conv_integer(x, w, x_zero, w_zero, strides=strides, **how).astype(np.float64)
    channels = (-1, *[1] * (x.ndim - 2))
    if b is not None:
        total = total + b.astype(np.float64).reshape(channels)
    factor = array(w_scale).astype(np.float64)
    factor = factor.reshape(channels) if factor.size > 1 else factor.reshape(())
    return _requantised(total * (float(array(x_scale).reshape(())) * factor), y_scale, y_zero)
