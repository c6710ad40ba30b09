"""Comparisons, logic and bits: results are bools or integers, in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, value
from .arithmetic import _aligned


def _two(name: str, numpy: Callable, since: int = 7) -> None:
    def run(a: Any, b: Any) -> Any:
        return np.asarray(numpy(array(a), array(b)))

    op(name, since=since)(run)
    if since > 1:
        op(name, until=since - 1)(_aligned(run))


_two("Equal", np.equal)
_two("Greater", np.greater)
_two("Less", np.less)
_two("GreaterOrEqual", np.greater_equal, 1)
_two("LessOrEqual", np.less_equal, 1)
_two("And", np.logical_and)
_two("Or", np.logical_or)
_two("Xor", np.logical_xor)
_two("BitwiseAnd", np.bitwise_and, 1)
_two("BitwiseOr", np.bitwise_or, 1)
_two("BitwiseXor", np.bitwise_xor, 1)


@op("Not")
def logical_not(x: Any) -> Any:
    """The opposite of a bool."""
    return np.asarray(np.logical_not(x))


@op("BitwiseNot")
def bitwise_not(x: Any) -> Any:
    """Every bit turned over."""
    return np.asarray(np.invert(x))


@op("BitShift")
def bit_shift(x: Any, by: Any, *, direction: str) -> Any:
    """Shift left or right; what goes beyond the width is lost."""
    width = 8 * x.dtype.itemsize
    shifted = (np.left_shift if direction == "LEFT" else np.right_shift)(x, np.minimum(by, width - 1))
    signed = direction == "RIGHT" and x.dtype.kind == "i"  # what comes in from the left is the sign
    return np.asarray(shifted if signed else np.where(by < width, shifted, 0).astype(x.dtype))


@op("IsNaN")
def is_nan(x: Any) -> Any:
    """Whether a number is none."""
    return np.asarray(np.isnan(array(x)))


@op("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Whether a number is infinite, of the signs asked for."""
    x = array(x)
    negative, positive = np.signbit(x) & bool(detect_negative), ~np.signbit(x) & bool(detect_positive)
    return np.asarray(np.isinf(x) & (negative | positive))


@op("Where")
def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b; broadcasts."""
    if isinstance(a, Tensor):
        return _ops.where(condition, a, b)
    return value(np.where(condition, array(a), array(b)))
