"""Writers of norms: of the batch, the image, groups of channels, rows."""

from typing import Any

import numpy as np

from ._export_elementwise import activated, reduced
from ._export_errors import ExportError
from ._export_graph import Graph, Value
from ._export_table import writes


def _factor(g: Graph, given: Any, like: Any, size: int, value: float) -> str:
    return g.value(given) if given is not None else g.constant(np.full(size, value, like.dtype))


@writes("batch_norm")
def _batch_norm(
    g: Graph,
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
) -> str:
    channels = input.shape[1]
    scale, shift = _factor(g, weight, input, channels, 1), _factor(g, bias, input, channels, 0)
    if not training:
        y = g.BatchNormalization(input, scale, shift, running_mean, running_var, epsilon=float(eps))
        return activated(g, y, input.dtype, activation)
    if running_mean is not None:
        raise ExportError("batch_norm in training mode cannot be exported: a graph keeps no running statistics")
    axes = [0, *range(2, input.ndim)]
    centred = g.Sub(input, reduced(g, "ReduceMean", input, axes, True))
    variance = reduced(g, "ReduceMean", g.Mul(centred, centred), axes, True)
    y = g.Div(centred, g.Sqrt(g.Add(variance, g.scalar(eps, input))))
    return activated(g, _by_channel(g, y, scale, shift, input), input.dtype, activation)


def _by_channel(g: Graph, y: str, scale: str, shift: str, like: Any) -> str:
    shape = g.ints([like.shape[1], *[1] * (like.ndim - 2)])
    return g.Add(g.Mul(y, g.Reshape(scale, shape)), g.Reshape(shift, shape))


@writes("instance_norm")
def _instance_norm(
    g: Graph,
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> str:
    channels = input.shape[1]
    scale, shift = _factor(g, weight, input, channels, 1), _factor(g, bias, input, channels, 0)
    if use_input_stats:
        return g.InstanceNormalization(input, scale, shift, epsilon=float(eps))
    return g.BatchNormalization(input, scale, shift, running_mean, running_var, epsilon=float(eps))


@writes("group_norm")
def _group_norm(g: Graph, input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> str:
    """Each group as a channel of an instance norm."""
    one, zero = _factor(g, None, input, num_groups, 1), _factor(g, None, input, num_groups, 0)
    groups = g.Reshape(input, g.ints([0, num_groups, -1]))
    y = g.Reshape(g.InstanceNormalization(groups, one, zero, epsilon=float(eps)), g.Shape(input))
    channels = input.shape[1]
    if weight is None and bias is None:
        return y
    return _by_channel(g, y, _factor(g, weight, input, channels, 1), _factor(g, bias, input, channels, 0), input)


def _last(normalized_shape: Any) -> tuple[int, ...]:
    return tuple(normalized_shape) if isinstance(normalized_shape, tuple | list) else (normalized_shape,)


@writes("layer_norm")
def _layer_norm(
    g: Graph, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> str:
    return _normalised(g, input, input.dtype, normalized_shape, weight, bias, eps)


def _normalised(g: Graph, x: Value, dtype: Any, shape: Any, weight: Any, bias: Any, eps: float) -> str:
    shape = _last(shape)
    scale = g.value(weight) if weight is not None else g.constant(np.ones(shape, dtype))
    return g.LayerNormalization(x, scale, bias, axis=-len(shape), epsilon=float(eps))


@writes("add_layer_norm")
def _add_layer_norm(
    g: Graph, input: Any, residual: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> tuple[str, str]:
    total = g.Add(input, residual)
    return _normalised(g, total, input.dtype, normalized_shape, weight, bias, eps), total


@writes("rms_norm")
def _rms_norm(g: Graph, input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> str:
    return _root_mean_square(g, input, input.dtype, normalized_shape, weight, eps)


def _root_mean_square(g: Graph, x: Value, dtype: Any, shape: Any, weight: Any, eps: float | None) -> str:
    eps = float(np.finfo(dtype).eps) if eps is None else eps
    mean = reduced(g, "ReduceMean", g.Mul(x, x), [-1 - i for i in range(len(_last(shape)))], True)
    y = g.Div(x, g.Sqrt(g.Add(mean, g.scalar(eps, dtype))))
    return y if weight is None else g.Mul(y, weight)


@writes("add_rms_norm")
def _add_rms_norm(
    g: Graph, input: Any, residual: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> tuple[str, str]:
    total = g.Add(input, residual)
    return _root_mean_square(g, total, input.dtype, normalized_shape, weight, eps), total
