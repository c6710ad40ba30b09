"""Losses of classes."""

from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from .._registry import op


@op("NegativeLogLikelihoodLoss", half=True)
def nll_loss(
    log_p: Any, target: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    """-log_p of the target class, weighed; "mean" divides by the weights that took part."""
    valid = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    classes = log_p.shape[1]
    if (valid & ((target < 0) | (target >= classes))).any():
        raise ValueError(f"NegativeLogLikelihoodLoss: a target is out of range for {classes} classes")
    index = np.where(valid, target, 0)
    factor = valid.astype(log_p.dtype)
    if weight is not None:
        factor = factor * weight.data[index]
    picked = _ops.squeeze(_ops.gather(log_p, 1, np.expand_dims(index, 1)), 1)
    loss = -picked * Tensor(factor)
    if reduction == "none":
        return loss
    total = _ops.sum(loss)
    return total if reduction == "sum" else total / float(factor.sum())


@op("SoftmaxCrossEntropyLoss", half=True)
def softmax_cross_entropy(
    scores: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
    outputs: int = 1,
) -> Any:
    """The loss of softmax, and the logarithms of its probabilities."""
    log_p = _ops.log_softmax(scores, 1)
    loss = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    return (loss, log_p) if outputs > 1 else loss
