"""evaluate: loss and metrics of a model over held-out data."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _feed
from ._ops import Tensor, cat
from ._tape import no_grad
from .nn._evaluating import evaluating
from .nn._module import Module


def evaluate(
    model: Module,
    loss: Callable | None,
    data: Any,
    metrics: Mapping[str, Callable] | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """Compute loss and metrics of a model over all of `data`, in evaluation mode and without recording.

    Parameters
    ----------
    model, loss, data, metrics
        As in `fit`; `loss` may be None.
    batch_size : int
        Rows per batch, for arrays and Datasets.

    Returns
    -------
    dict of str to number
        "loss" (the mean over batches, by their rows) and the metrics.

    Raises
    ------
    ValueError
        If there are no data.
    TypeError
        If `model` is no Module.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn._evaluate import evaluate
    >>> evaluate(fnn.nn.Identity(), fnn.nn.L1Loss(), (fnn.zeros(4, 1), fnn.ones(4, 1)))
    {'loss': 1.0}
    """
    if not isinstance(model, Module):
        raise TypeError(f"evaluate: model must be a Module, got {type(model).__name__}")
    source = _feed.batches(_feed.in_memory(data, _feed.dtype_of(model)), batch_size, False, None, "evaluate: data")
    total, rows = 0.0, 0
    kept: list[tuple] = []
    with evaluating(model), no_grad():
        for batch in source:
            inputs, targets = _feed.inputs_and_targets(batch)
            prediction = model(*inputs)
            n = _feed.rows_of(inputs[0])
            if loss is not None:
                total += float(loss(prediction, *targets)) * n
            rows += n
            if metrics:
                kept.append((detached("evaluate", prediction), *targets))
    if rows == 0:
        raise ValueError("evaluate: there are no data")
    return ({} if loss is None else {"loss": total / rows}) | measure(metrics or {}, kept)


def measure(metrics: Mapping[str, Callable], kept: list[tuple]) -> dict[str, float]:
    """Compute metrics over predictions and targets kept batch by batch."""
    if not metrics or not kept:
        return {}
    with no_grad():
        parts = [_joined(column) for column in zip(*kept)]
        return {name: float(metric(*parts)) for name, metric in metrics.items()}


def _joined(batches: Sequence[Any]) -> Any:
    """Return what stands in all batches as one; what is a tuple in each, part by part."""
    if isinstance(batches[0], tuple | list):
        return tuple(_joined(column) for column in zip(*batches))
    return cat([part.reshape(1) if part.ndim == 0 else part for part in batches])


def detached(function: str, prediction: Any) -> Any:
    """Return a prediction without its history: a Tensor, or a tuple of them.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(prediction, tuple | list):
        return tuple(detached(function, part) for part in prediction)
    if not isinstance(prediction, Tensor):
        kind = type(prediction).__name__
        raise TypeError(f"{function}: metrics need predictions that are Tensors or tuples, got {kind}")
    return prediction.detach()
