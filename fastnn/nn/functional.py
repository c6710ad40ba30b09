"""Layers, activations and losses as functions, under the names of `torch.nn.functional`.

What has a fused kernel comes straight from the ops; the rest is composed of them here.
"""

import numpy as np

from .._ops import (
    Tensor,
    as_tensor,
    clamp,
    cross_entropy,
    dropout,
    elu,
    exp,
    gather,
    gelu,
    hardswish,
    leaky_relu,
    linear,
    log,
    log_softmax,
    mse_loss,
    one_hot,
    pad,
    prelu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    tanh,
    where,
)
from .._ops import softplus as _softplus
from .._ops_attention import scaled_dot_product_attention
from .._ops_ctc import ctc_loss
from .._ops_embedding import embedding
from .._ops_images import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    conv1d,
    conv2d,
    conv2d_backward,
    conv_transpose1d,
    conv_transpose2d,
    interpolate,
    max_pool1d,
    max_pool2d,
    pixel_shuffle,
    pixel_unshuffle,
)
from .._ops_norm import (
    add_layer_norm,
    add_rms_norm,
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    rms_norm,
)
from ._composed import glu, hardtanh, logsigmoid, mish, selu
from ._distance import (
    cosine_embedding_loss,
    cosine_similarity,
    normalize,
    pairwise_distance,
    triplet_margin_loss,
)
from ._position_tables import rotary_embedding, sinusoidal_positions
from ._reduction import check_reduction as _reduction
from ._reduction import reduced as _reduce

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "add_layer_norm",
    "add_rms_norm",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv2d_backward",
    "conv_transpose1d",
    "conv_transpose2d",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "ctc_loss",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "group_norm",
    "hardswish",
    "hardtanh",
    "huber_loss",
    "instance_norm",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool1d",
    "max_pool2d",
    "mish",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "rms_norm",
    "rotary_embedding",
    "scaled_dot_product_attention",
    "selu",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
    "triplet_margin_loss",
]


def softplus(x, beta: float = 1.0, threshold: float = 20.0):
    """Compute `log(1 + exp(beta * x)) / beta`, and x itself where `beta * x > threshold`.

    Parameters
    ----------
    x : Tensor, any shape
    beta, threshold : float
        Sharpness, and where the line takes over.

    Returns
    -------
    Tensor
        Shape of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> [round(v, 4) for v in fnn.nn.functional.softplus(fnn.tensor([0.0, 30.0])).tolist()]
    [0.6931, 30.0]
    """
    if beta == 1.0 and threshold == 20.0:
        return _softplus(x)
    x = as_tensor(x)
    scaled = x * beta
    return where(scaled > threshold, x, _softplus(scaled) / beta)


def dropout2d(x, p: float = 0.5, training: bool = True):
    """Zero whole channels with probability p and divide the others by `1 - p`; return x itself when not training.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)

    Returns
    -------
    Tensor
        Shape of x.

    Raises
    ------
    ValueError
        If x has not four dimensions, or p is no probability.

    References
    ----------
    Tompson, Goroshin, Jain, LeCun, Bregler, "Efficient object localization using convolutional networks", 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> channels = fnn.nn.functional.dropout2d(fnn.ones(1, 50, 2, 2)).mean((2, 3))
    >>> sorted(set(channels[0].tolist()))
    [0.0, 2.0]
    """
    x = as_tensor(x)
    if x.ndim != 4:
        raise ValueError(f"dropout2d: expected (N, C, H, W), got {x.shape}")
    return x * dropout(as_tensor(np.ones((*x.shape[:2], 1, 1), x.dtype)), p) if training and p else x


def _pair(function: str, input, target) -> tuple[Tensor, Tensor]:
    """Return both as floating-point Tensors of one shape: broadcasting (n, 1) with (n,) is nearly always a mistake."""
    input, target = as_tensor(input), as_tensor(target)
    if input.shape != target.shape:
        raise ValueError(f"{function}: input is {input.shape}, target is {target.shape}; expected the same shape")
    if input.dtype.kind != "f":
        raise TypeError(f"{function}: input must be floating point, got {input.dtype}")
    return input, target if target.dtype == input.dtype else target.to(input.dtype)


def l1_loss(input, target, reduction: str = "mean"):
    """Compute the mean absolute error.

    Parameters
    ----------
    input, target : Tensor, the same shape
    reduction : str
        "mean" or "sum" over all elements, or "none".

    Returns
    -------
    Tensor
        A scalar, or the shape of `input` for "none".

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.l1_loss(fnn.tensor([1.0, 2.0]), fnn.tensor([2.0, 4.0])).item()
    1.5
    """
    _reduction("l1_loss", reduction)
    input, target = _pair("l1_loss", input, target)
    return _reduce((input - target).abs(), reduction)


def huber_loss(input, target, reduction: str = "mean", delta: float = 1.0):
    """Compute `d**2 / 2` where |d| <= delta and `delta * (|d| - delta / 2)` elsewhere, d = input - target.

    Parameters
    ----------
    input, target : Tensor, the same shape
    reduction : str
        "mean" or "sum" over all elements, or "none".
    delta : float
        Where the parabola becomes a line.

    Raises
    ------
    ValueError
        If the shapes differ, `delta` is not positive or the reduction is not known.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.huber_loss(fnn.tensor([0.0]), fnn.tensor([3.0])).item()
    2.5
    """
    _reduction("huber_loss", reduction)
    if not delta > 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    input, target = _pair("huber_loss", input, target)
    return _reduce(_huber(input - target, delta), reduction)


def _huber(d, delta: float):
    # With c = |d| cut at delta both branches are c * (|d| - c / 2), and no `where` is needed.
    size = d.abs()
    cut = clamp(size, max=delta)
    return cut * (size - 0.5 * cut)


def smooth_l1_loss(input, target, reduction: str = "mean", beta: float = 1.0):
    """Compute `d**2 / (2 * beta)` where |d| < beta and `|d| - beta / 2` elsewhere: `huber_loss` divided by `beta`.

    Raises
    ------
    ValueError
        If the shapes differ, `beta` is negative or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.smooth_l1_loss(fnn.tensor([0.0]), fnn.tensor([3.0]), beta=2.0).item()
    2.0
    """
    _reduction("smooth_l1_loss", reduction)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    input, target = _pair("smooth_l1_loss", input, target)
    return _reduce(_huber(input - target, beta) * (1 / beta), reduction)


def binary_cross_entropy(input, target, weight=None, reduction: str = "mean"):
    """Compute `-(y * log(p) + (1 - y) * log(1 - p))` for probabilities p.

    As in PyTorch, logarithms are cut at -100 and their slopes at 1e12.

    Parameters
    ----------
    input, target : Tensor, the same shape
        Probabilities p and targets y, both in [0, 1].
    weight : Tensor, optional
        Factor of each element; broadcasts.
    reduction : str
        "mean" or "sum" over all elements, or "none".

    Raises
    ------
    ValueError
        If the shapes differ, an input is outside [0, 1] or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.functional.binary_cross_entropy(fnn.tensor([0.5]), fnn.tensor([1.0])).item(), 4)
    0.6931
    """
    _reduction("binary_cross_entropy", reduction)
    p, y = _pair("binary_cross_entropy", input, target)
    if p.size and not (p.data.min() >= 0 and p.data.max() <= 1) and not np.isnan(p.data).any():
        raise ValueError(f"binary_cross_entropy: input must be in [0, 1], got {p.data.min()} to {p.data.max()}")
    loss = -(y * _log(p) + (1 - y) * _log(1 - p))
    return _reduce(loss if weight is None else loss * as_tensor(weight), reduction)


def _log(p: Tensor) -> Tensor:
    """log(p), cut at -100; its slope is cut at 1e12: the worst guess has a gradient too, and none is infinite."""
    small = p.data < 1e-12
    if not small.any():
        return log(p)
    y = log(p + np.where(small, 1e-12 - p.data, 0))
    with np.errstate(divide="ignore"):
        exact = np.maximum(np.log(p.data), -100)
    return y + np.where(small, exact - y.data, 0)


def binary_cross_entropy_with_logits(input, target, weight=None, reduction: str = "mean", pos_weight=None):
    """Compute `binary_cross_entropy(sigmoid(input), target)` without leaving the range of floats.

    Parameters
    ----------
    input, target : Tensor, the same shape
        Logits, and targets in [0, 1].
    weight : Tensor, optional
        Factor of each element; broadcasts.
    reduction : str
        "mean" or "sum" over all elements, or "none".
    pos_weight : Tensor, optional
        Factor of the positive targets' part; broadcasts.

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.functional.binary_cross_entropy_with_logits(fnn.tensor([0.0]), fnn.tensor([1.0])).item(), 4)
    0.6931
    """
    _reduction("binary_cross_entropy_with_logits", reduction)
    x, y = _pair("binary_cross_entropy_with_logits", input, target)
    positive = _softplus(-x)  # -log(sigmoid(x)), what a positive target costs; a negative one costs x more
    if pos_weight is not None:
        positive = positive * ((as_tensor(pos_weight) - 1) * y + 1)
    loss = (1 - y) * x + positive
    return _reduce(loss if weight is None else loss * as_tensor(weight), reduction)


def nll_loss(input, target, weight=None, ignore_index: int = -100, reduction: str = "mean"):
    """Compute the negative log-likelihood of classes, given log-probabilities.

    Parameters
    ----------
    input : Tensor, shape (N, C), (C,) or (N, C, d1, ...)
        Log-probabilities.
    target : integer Tensor, shape (N,), () or (N, d1, ...)
        Classes.
    weight : Tensor, shape (C,), optional
        Factor of each class; "mean" divides by the sum of the factors that took part.
    ignore_index : int
        Targets of this value take no part.
    reduction : str
        "mean", "sum" or "none".

    Raises
    ------
    ValueError
        If shapes do not fit, a class is out of range or the reduction is not known.
    TypeError
        If `target` is not of integers.

    Examples
    --------
    >>> import fastnn as fnn
    >>> logp = fnn.log_softmax(fnn.zeros(2, 4), -1)
    >>> round(fnn.nn.functional.nll_loss(logp, fnn.tensor([0, 3])).item(), 4)
    1.3863
    """
    _reduction("nll_loss", reduction)
    input, target = as_tensor(input), as_tensor(target)
    if input.ndim == 0:
        raise ValueError("nll_loss: input needs a class axis, got shape ()")
    axis = 0 if input.ndim == 1 else 1
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != expected:
        raise ValueError(f"nll_loss: input is {input.shape}, target is {target.shape}; expected target {expected}")
    if target.data.dtype.kind not in "iu":
        raise TypeError(f"nll_loss: target must be integers, got {target.dtype}")
    classes = input.shape[axis]
    valid = target.data != ignore_index
    if (valid & ((target.data < 0) | (target.data >= classes))).any():
        raise ValueError(f"nll_loss: a target is out of range for {classes} classes")
    index = np.where(valid, target.data, 0)
    factor = valid.astype(input.dtype)
    if weight is not None:
        weight = as_tensor(weight)
        if weight.shape != (classes,):
            raise ValueError(f"nll_loss: weight is {weight.shape}; expected ({classes},)")
        factor = factor * weight.data[index].astype(input.dtype)
    picked = gather(input, axis, as_tensor(np.expand_dims(index, axis))).squeeze(axis)
    # `where` rather than a product with 0: an ignored place may hold -inf.
    loss = where(as_tensor(valid), -picked, as_tensor(np.zeros((), input.dtype))) * as_tensor(factor)
    if reduction == "mean":
        total = factor.sum()
        return loss.sum() / (float(total) if total else float("nan"))  # nan for nothing, as in PyTorch
    return _reduce(loss, reduction)


def kl_div(input, target, reduction: str = "mean", log_target: bool = False):
    """Compute the Kullback-Leibler divergence `target * (log(target) - input)`, 0 where target is 0.

    Parameters
    ----------
    input, target : Tensor, the same shape
        Log-probabilities of the model, and probabilities (log-probabilities if `log_target`) of the data.
    reduction : str
        "batchmean" (the divergence: sum divided by the length of the first axis), "mean", "sum" or "none".
    log_target : bool
        Whether `target` is given as logarithms.

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> p = fnn.tensor([[0.25, 0.75]])
    >>> fnn.nn.functional.kl_div(p.log(), p, reduction="batchmean").item()
    0.0
    """
    _reduction("kl_div", reduction, ("mean", "batchmean", "sum", "none"))
    input, target = _pair("kl_div", input, target)
    if log_target:
        loss = exp(target) * (target - input)
    else:
        positive = target > 0
        safe = where(positive, target, as_tensor(np.ones((), target.dtype)))
        loss = where(positive, target * (log(safe) - input), as_tensor(np.zeros((), target.dtype)))
    if reduction == "batchmean":
        return loss.sum() / (loss.shape[0] if loss.ndim else 1)
    return _reduce(loss, reduction)
