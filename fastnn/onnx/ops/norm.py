"""Normalisations."""

from typing import Any

import numpy as np

from ... import _ops, _ops_norm
from ..._ops import Tensor
from .._registry import op
from .._values import array, is_half, narrowed, value
from .conv import activated


def _channels(v: Any, x: Any) -> Any:
    return v.reshape(-1, *[1] * (x.ndim - 2))


@op("BatchNormalization", since=14)
def batch_norm(
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    activation: str | None = None,
    outputs: int = 1,
) -> Any:
    """(x - mean) / sqrt(var + epsilon) * scale + bias for each channel; in training by the batch's own statistics."""
    if is_half(x):
        wide = [Tensor(array(v).astype(np.float32)) for v in (x, scale, bias, mean, var)]
        how: dict[str, Any] = {"epsilon": epsilon, "momentum": momentum, "activation": activation}
        made: Any = batch_norm(*wide, training_mode=training_mode, **how)
        if not training_mode:
            return narrowed(made, x.dtype)
        return tuple(value(o.data.astype(array(v).dtype)) for o, v in zip(made, (x, mean, var), strict=True))
    if training_mode:
        return _trained(x, scale, bias, mean, var, epsilon, momentum)
    if x.ndim in (2, 3, 4) and x.dtype == scale.dtype == mean.dtype:
        return _ops_norm.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon, activation)
    factor = scale * _ops.rsqrt(var + epsilon)
    return activated((x - _channels(mean, x)) * _channels(factor, x) + _channels(bias, x), activation)


def _trained(x: Any, scale: Any, bias: Any, mean: Any, var: Any, epsilon: float, momentum: float) -> Any:
    axes = [0, *range(2, x.ndim)]
    own, spread = _ops.mean(x, axes, True), _ops.var(x, axes, 0, True)
    y = (x - own) * _ops.rsqrt(spread + epsilon) * _channels(scale, x) + _channels(bias, x)
    flat, wide = own.reshape(-1), spread.reshape(-1)
    return y, mean * momentum + flat * (1 - momentum), var * momentum + wide * (1 - momentum)


@op("BatchNormalization", until=13)
def old_batch_norm(
    x: Any,
    scale: Any,
    bias: Any,
    mean: Any,
    var: Any,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    is_test: int = 1,
    consumed_inputs: Any = None,
    activation: str | None = None,
    outputs: int = 1,
) -> Any:
    """The same for inference."""
    if outputs > 1 or not spatial:
        raise NotImplementedError("BatchNormalization: training and spatial=0 before opset 14")
    return batch_norm(x, scale, bias, mean, var, epsilon=epsilon, activation=activation)


@op("InstanceNormalization", half=True)
def instance_norm(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5, consumed_inputs: Any = None) -> Any:
    """Each channel of each sample by its own mean and variance."""
    return _ops_norm.group_norm(x, x.shape[1], scale, bias, epsilon)


@op("GroupNormalization", since=21, half=True)
def group_norm(x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1) -> Any:
    """Each group of channels of each sample by its own mean and variance."""
    return _ops_norm.group_norm(x, num_groups, scale, bias, epsilon)


@op("GroupNormalization", until=20, half=True)
def old_group_norm(x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5) -> Any:
    """With one scale and bias for each group."""
    each = x.shape[1] // num_groups
    full = [_ops.broadcast_to(v.reshape(-1, 1), (num_groups, each)).reshape(num_groups * each) for v in (scale, bias)]
    return _ops_norm.group_norm(x, num_groups, full[0], full[1], epsilon)


@op("LayerNormalization")
def layer_norm(
    x: Any,
    scale: Any,
    bias: Any = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: int = 1,
) -> Any:
    """(x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on."""
    if is_half(x):  # mean and deviation stay float32, as `stash_type` says
        wide = [None if v is None else Tensor(v.astype(np.float32)) for v in (x, scale, bias)]
        made: Any = layer_norm(*wide, axis=axis, epsilon=epsilon, outputs=outputs)
        return (narrowed(made[0], x.dtype), *made[1:]) if outputs > 1 else narrowed(made, x.dtype)
    axis = axis % x.ndim
    sizes = x.shape[axis:]
    if outputs == 1 and scale.shape == sizes and (bias is None or bias.shape == sizes):
        return _ops_norm.layer_norm(x, sizes, scale, bias, epsilon)
    axes = list(range(axis, x.ndim))
    mean = _ops.mean(x, axes, True)
    inverse = _ops.rsqrt(_ops.var(x, axes, 0, True) + epsilon)
    y = (x - mean) * inverse * scale
    y = y if bias is None else y + bias
    return (y, mean, inverse) if outputs > 1 else y


@op("AddLayerNorm", domain="fastnn")
def add_layer_norm(
    x: Any, residual: Any, scale: Any, bias: Any = None, *, epsilon: float = 1e-5, outputs: int = 2
) -> Any:
    """What the passes make of a sum and the norm of its last axis: that norm, and the sum."""
    if isinstance(x, Tensor):
        last = x.shape[-1:]
        if x.shape == residual.shape and scale.shape == last and (bias is None or bias.shape == last):
            return _ops_norm.add_layer_norm(x, residual, last, scale, bias, epsilon)
    total = _ops.add(x, residual) if isinstance(x, Tensor) else value(np.add(x, residual))
    return layer_norm(total, scale, bias, epsilon=epsilon), total


@op("RMSNormalization", half=True)
def rms_norm(x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Any:
    """x / sqrt(mean(x^2) + epsilon) * scale over the axes from `axis` on."""
    sizes = x.shape[axis % x.ndim :]
    if scale.shape == sizes:
        return _ops_norm.rms_norm(x, sizes, scale, epsilon)
    return _ops_norm.rms_norm(x, sizes, None, epsilon) * scale


@op("LRN", half=True)
def lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Each element by its neighbours of other channels: x / (bias + alpha / size * sum of squares) ** beta."""
    before = (size - 1) // 2
    squares = _ops.pad(x * x, [0] * (2 * (x.ndim - 2)) + [before, size - 1 - before])
    total: Any = None
    for i in range(size):
        part = squares[:, i : i + x.shape[1]]
        total = part if total is None else total + part
    return x / _ops.pow(total * (alpha / size) + bias, beta)


@op("LpNormalization", half=True)
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """x over its p-norm along an axis; 0 where that is 0."""
    norm = _ops.norm(x, p, axis, True)
    some = norm.data != 0
    return _ops.where(some, x / _ops.where(some, norm, _ops.ones_like(norm)), _ops.zeros_like(x))


@op("MeanVarianceNormalization", half=True)
def mean_variance_normalization(x: Any, *, axes: list[int] | None = None) -> Any:
    """(x - mean) / sqrt(var) over axes, by default all but the channels."""
    over = [0, 2, 3] if axes is None else axes
    mean = _ops.mean(x, over, True)
    return (x - mean) / (_ops.sqrt(_ops.var(x, over, 0, True)) + 1e-9)


@op("Dropout", since=12, control=(1, 2))
def dropout(x: Any, ratio: Any = None, training: Any = None, *, seed: int | None = None, outputs: int = 1) -> Any:
    """x, and while training some elements 0; the mask says which are kept."""
    from .random import source

    p = 0.5 if ratio is None else float(array(ratio))
    if training is None or not bool(array(training)) or p == 0:
        return (x, np.ones(x.shape, bool)) if outputs > 1 else x
    kept = source(seed).uniform(0.0, 1.0, x.shape) >= p
    scaled = _ops.where(kept, x * (1 / (1 - p)), _ops.zeros_like(x)) if isinstance(x, Tensor) else x * kept / (1 - p)
    return (scaled, kept) if outputs > 1 else scaled


@op("Dropout", since=10, until=11)
def old_dropout(x: Any, *, ratio: float = 0.5, outputs: int = 1) -> Any:
    """x itself: inference."""
    return (x, np.ones(x.shape, bool)) if outputs > 1 else x


@op("Dropout", until=9)
def older_dropout(
    x: Any, *, ratio: float = 0.5, is_test: int = 1, consumed_inputs: Any = None, outputs: int = 1
) -> Any:
    """x itself: inference. The mask is of x's type."""
    return (x, value(np.ones(x.shape, x.dtype))) if outputs > 1 else x
