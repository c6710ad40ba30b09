"""Activations. What has a kernel takes it; the rest is composed of ops, so that all are differentiable."""

import math
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op
from .._values import array, value


@op("Relu", half=True)
def relu(x: Any, *, consumed_inputs: Any = None) -> Any:
    """max(x, 0), for integers too."""
    return _ops.relu(x) if isinstance(x, Tensor) else np.asarray(np.maximum(x, x.dtype.type(0)))


@op("Sigmoid", half=True)
def sigmoid(x: Any, *, consumed_inputs: Any = None) -> Any:
    """1 / (1 + exp(-x))."""
    return _ops.sigmoid(x)


@op("Tanh", half=True)
def tanh(x: Any, *, consumed_inputs: Any = None) -> Any:
    """The hyperbolic tangent."""
    return _ops.tanh(x)


@op("LeakyRelu", half=True)
def leaky_relu(x: Any, *, alpha: float = 0.01, consumed_inputs: Any = None) -> Any:
    """x, or alpha x below zero."""
    return _ops.leaky_relu(x, alpha)


@op("Elu", half=True)
def elu(x: Any, *, alpha: float = 1.0, consumed_inputs: Any = None) -> Any:
    """x, or alpha (exp(x) - 1) below zero."""
    return _ops.elu(x, alpha)


@op("Celu", half=True)
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    """max(x, 0) + min(0, alpha (exp(x / alpha) - 1))."""
    return _ops.elu(x / alpha) * alpha


@op("Selu", since=6, half=True)
def selu(x: Any, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Any:
    """gamma times ELU."""
    return _ops.elu(x, alpha) * gamma


@op("Selu", until=5)
def old_selu(x: Any, *, alpha: float = 1.6732, gamma: float = 1.0507, consumed_inputs: Any = None) -> Any:
    """gamma times ELU."""
    return _ops.elu(x, alpha) * gamma


@op("Gelu", half=True)
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """x times the normal distribution's integral up to x."""
    return _ops.gelu(x, approximate)


@op("Swish", half=True)
def swish(x: Any, *, alpha: float = 1.0) -> Any:
    """x sigmoid(alpha x)."""
    return _ops.silu(x) if alpha == 1 else x * _ops.sigmoid(x * alpha)


@op("Mish", half=True)
def mish(x: Any) -> Any:
    """x tanh(softplus(x))."""
    return x * _ops.tanh(_ops.softplus(x))


@op("HardSigmoid", half=True)
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5, consumed_inputs: Any = None) -> Any:
    """alpha x + beta, cut at 0 and 1."""
    return _ops.clamp(x * alpha + beta, 0.0, 1.0)


@op("HardSwish", half=True)
def hard_swish(x: Any) -> Any:
    """x times HardSigmoid(x; 1 / 6, 1 / 2)."""
    return x * _ops.clamp(x * (1 / 6) + 0.5, 0.0, 1.0)


@op("Softplus", half=True)
def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return _ops.softplus(x)


@op("Softsign", half=True)
def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return x / (_ops.abs(x) + 1)


@op("ThresholdedRelu", half=True)
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    """x above alpha, else 0."""
    return _ops.where(x.data > alpha, x, _ops.zeros_like(x))


@op("Shrink")
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """Nearer to zero by bias outside [-lambd, lambd], 0 within."""
    if isinstance(x, Tensor):
        zero = _ops.zeros_like(x)
        return _ops.where(x.data < -lambd, x + bias, _ops.where(x.data > lambd, x - bias, zero))
    out = np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0))
    return np.asarray(out.astype(x.dtype))


def by_channel(ndim: int, slope: tuple[int, ...]) -> bool:
    """Whether a slope of this shape is one number, or one for each channel of x."""
    along = (*[1] * (ndim - len(slope)), *slope)
    return all(n == 1 for axis, n in enumerate(along) if axis != 1)


@op("PRelu", since=7)
def prelu(x: Any, slope: Any) -> Any:
    """x, or slope x below zero; the slope broadcasts."""
    if isinstance(x, Tensor):
        if by_channel(x.ndim, slope.shape):
            return _ops.prelu(x, slope)
        return _ops.where(x.data > 0, x, x * slope)
    return value(np.where(x > 0, x, x * slope))


@op("PRelu", until=6)
def old_prelu(x: Any, slope: Any, *, consumed_inputs: Any = None) -> Any:
    """x, or slope x below zero; one slope for each channel."""
    return prelu(x, slope if slope.size == 1 else slope.reshape(-1, *[1] * (x.ndim - 2)))


@op("Softmax", since=13, half=True)
def softmax(x: Any, *, axis: int = -1) -> Any:
    """exp(x) over its sum along an axis."""
    return _ops.softmax(x, axis)


@op("LogSoftmax", since=13, half=True)
def log_softmax(x: Any, *, axis: int = -1) -> Any:
    """The logarithm of softmax."""
    return _ops.log_softmax(x, axis)


@op("Softmax", until=12, half=True)
def old_softmax(x: Any, *, axis: int = 1) -> Any:
    """Softmax over all axes from `axis` on together."""
    return _ops.softmax(_matrix(x, axis), 1).reshape(x.shape)


@op("LogSoftmax", until=12, half=True)
def old_log_softmax(x: Any, *, axis: int = 1) -> Any:
    """The logarithm of softmax over all axes from `axis` on together."""
    return _ops.log_softmax(_matrix(x, axis), 1).reshape(x.shape)


def _matrix(x: Any, axis: int) -> Any:
    """x as rows of all axes before `axis` and columns of the rest."""
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@op("Hardmax", since=13)
def hardmax(x: Any, *, axis: int = -1) -> Any:
    """1 at the first greatest along an axis, 0 elsewhere."""
    data = array(x)
    if not data.size:
        return x
    best = np.expand_dims(data.argmax(axis), axis)
    out = np.zeros_like(data)
    np.put_along_axis(out, best, 1, axis)
    return value(out)


@op("Hardmax", until=12)
def old_hardmax(x: Any, *, axis: int = 1) -> Any:
    """Hardmax over all axes from `axis` on together."""
    return hardmax(_matrix(x, axis), axis=1).reshape(x.shape)


@op("SwiGLU", half=True)
def swiglu(gate: Any, x: Any, *, alpha: float = 1.0) -> Any:
    """x times Swish of the gate."""
    return swish(gate, alpha=alpha) * x
