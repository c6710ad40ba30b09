"""Arithmetic, element by element: kernels for floats, NumPy for integers and halves."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ... import _ops
from ..._function import Function
from ..._ops import Tensor
from .._registry import op
from .._values import array, is_half, recorded, value


def _binary(name: str, kernel: Callable, numpy: Callable, since: int = 7) -> None:
    def run(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor):
            return kernel(a, b)
        return value(numpy(a, b))

    run.__name__ = name
    op(name, since=since)(run)
    op(name, until=since - 1)(_aligned(run))


def _aligned(run: Callable) -> Callable:
    """The broadcasting of opset 6 and before: b's axes stand under a's from `axis` on, where `broadcast` is set."""

    def old(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None, consumed_inputs: Any = None) -> Any:
        if broadcast and axis is not None:
            b = b.reshape(*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim))
        return run(a, b)

    return old


def _divided(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integers divide towards zero, as in C."""
    if a.dtype.kind not in "iu":
        return a / b
    with np.errstate(divide="ignore", over="ignore"):
        return (a - np.fmod(a, b)) // b


_binary("Add", _ops.add, np.add)
_binary("Sub", _ops.sub, np.subtract)
_binary("Mul", _ops.mul, np.multiply)
_binary("Div", _ops.div, _divided)


@op("Pow")
def power(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
    """A power in the first input's type, whatever the second's."""
    if broadcast and axis is not None:
        b = b.reshape(*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim))
    if isinstance(a, Tensor):
        exponent = b.data if isinstance(b, Tensor) else b
        if exponent.size == 1 and not recorded(b):
            return _number_power(a, exponent.reshape(()).item(), exponent.ndim)
        if isinstance(b, Tensor) and b.dtype == a.dtype:
            return _ops.pow(a, b)
        return _ops.pow(a, Tensor(exponent.astype(a.dtype)))
    return np.asarray(np.power(a, array(b)).astype(a.dtype))


def _number_power(a: Tensor, exponent: float, ndim: int) -> Tensor:
    out = a * a if exponent == 2 else _ops.sqrt(a) if exponent == 0.5 else _ops.pow(a, exponent)
    return out if ndim <= out.ndim else out.reshape(*[1] * (ndim - out.ndim), *out.shape)


@op("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    """A remainder with the sign of b, or with `fmod` of a."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = (np.fmod if fmod else np.mod)(array(a), array(b))
    if not (recorded(a) or recorded(b)):
        return value(rest)
    times = Tensor(np.rint((a.data - rest) / b.data))
    return Tensor(rest) + (a - a.detach()) - (b - b.detach()) * times  # exact, with the gradients of a - b times


def _variadic(name: str, kernel: Callable, numpy: Callable) -> None:
    def run(first: Any, *rest: Any) -> Any:
        if isinstance(first, Tensor):
            return reduce(kernel, rest, first)
        return value(reduce(numpy, rest, first))

    op(name, since=6)(run)
    op(name, until=5)(lambda *inputs, consumed_inputs=None: run(*inputs))


_variadic("Sum", _ops.add, np.add)
_variadic("Max", _ops.maximum, np.maximum)
_variadic("Min", _ops.minimum, np.minimum)


@op("Mean", half=True)
def mean(first: Any, *rest: Any, consumed_inputs: Any = None) -> Any:
    """The mean of all inputs; broadcasts."""
    return reduce(_ops.add, rest, first) / (1 + len(rest))


def _unary(name: str, kernel: Callable, numpy: Callable | None = None) -> None:
    def run(x: Any, *, consumed_inputs: Any = None) -> Any:
        if isinstance(x, Tensor):
            return kernel(x)
        if numpy is None or is_half(x):
            return kernel(Tensor(x.astype(np.float32))).data.astype(x.dtype)
        return value(numpy(x))

    run.__name__ = name
    op(name)(run)


_unary("Abs", _ops.abs, np.abs)
_unary("Neg", _ops.neg, np.negative)
_unary("Sign", _ops.sign, np.sign)
_unary("Floor", _ops.floor)
_unary("Ceil", _ops.ceil)
_unary("Round", _ops.round)
_unary("Sqrt", _ops.sqrt)
_unary("Reciprocal", _ops.reciprocal)
_unary("Exp", _ops.exp)
_unary("Log", _ops.log)
_unary("Sin", _ops.sin)
_unary("Cos", _ops.cos)
_unary("Erf", _ops.erf)


def _computed(name: str, forward: Callable, slope: Callable) -> None:
    """A function that has no kernel: NumPy's values, its derivative in ops."""

    class Computed(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return Tensor(np.asarray(forward(x.data)))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:  # type: ignore[override]
            return dy * slope(*ctx.saved_tensors)

    Computed.__name__ = name
    _unary(name, Computed.apply)


_computed("Tan", np.tan, lambda x: 1 / _ops.square(_ops.cos(x)))
_computed("Asin", np.arcsin, lambda x: _ops.rsqrt(1 - x * x))
_computed("Acos", np.arccos, lambda x: -_ops.rsqrt(1 - x * x))
_computed("Atan", np.arctan, lambda x: 1 / (1 + x * x))
_computed("Sinh", np.sinh, lambda x: (_ops.exp(x) + _ops.exp(-x)) / 2)
_computed("Cosh", np.cosh, lambda x: (_ops.exp(x) - _ops.exp(-x)) / 2)
_computed("Asinh", np.arcsinh, lambda x: _ops.rsqrt(x * x + 1))
_computed("Acosh", np.arccosh, lambda x: _ops.rsqrt(x * x - 1))
_computed("Atanh", np.arctanh, lambda x: 1 / (1 - x * x))


@op("Clip", since=6, control=(1, 2))
def clip(x: Any, low: Any = None, high: Any = None, *, min: float | None = None, max: float | None = None) -> Any:
    """Cut at both ends. The greatest wins over the least, as in NumPy."""
    low = min if low is None else _bound(low)
    high = max if high is None else _bound(high)
    if isinstance(x, Tensor):
        return x if low is None and high is None else _ops.clamp(x, low, high)
    out = x if low is None else np.maximum(x, np.asarray(low, x.dtype))
    return np.asarray(out if high is None else np.minimum(out, np.asarray(high, x.dtype)))


def _bound(given: Any) -> Any:
    return array(given).reshape(()).item()


@op("Clip", until=5)
def old_clip(x: Any, *, min: float = -3.4e38, max: float = 3.4e38, consumed_inputs: Any = None) -> Any:
    """Cut at both ends."""
    return _ops.clamp(x, min, max)
