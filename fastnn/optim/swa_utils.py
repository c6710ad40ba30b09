"""A running mean of a model's weights: smoother than where the last step happened to land."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .._ops import Tensor, from_numpy
from .._tape import no_grad
from ..nn._module import Module

__all__ = ["AveragedModel", "get_ema_multi_avg_fn"]


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """Return a rule for `AveragedModel`: ``mean = decay * mean + (1 - decay) * weight``.

    Raises
    ------
    ValueError
        If decay is not from 0 to 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> mean = fnn.tensor([1.0])
    >>> fnn.optim.swa_utils.get_ema_multi_avg_fn(0.75)([mean], [fnn.tensor([5.0])], 1)
    >>> mean.item()
    2.0
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"get_ema_multi_avg_fn: decay must be from 0 to 1, got {decay}")

    def blend(means: Sequence[Tensor], values: Sequence[Tensor], count: Any) -> None:
        for mean, value in zip(means, values):
            mean.mul_(decay)
            mean.add_(value.detach(), alpha=1 - decay)

    return blend


def _equal_mean(means: Sequence[Tensor], values: Sequence[Tensor], count: int) -> None:
    for mean, value in zip(means, values):
        mean.add_(value.detach() - mean.detach(), alpha=1 / (count + 1))


class AveragedModel(Module):
    """A copy of a model whose parameters are a running mean of the model's.

    Parameters
    ----------
    model : Module
        Copied; call `update_parameters` with it after each step.
    multi_avg_fn : callable, optional
        `multi_avg_fn(means, values, count)` changes the means in place, count being how many went into them; the mean
        of all if None. `get_ema_multi_avg_fn` makes the exponential one.
    use_buffers : bool
        Whether buffers are averaged too; else those of the model are taken as they are.

    Notes
    -----
    The first update copies. State: "n_averaged" and "module.*", as in PyTorch.

    Raises
    ------
    TypeError
        If `model` is no Module.

    References
    ----------
    Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; for generators Yazıcı and others,
    "The unusual effectiveness of averaging in GAN training", 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Linear(1, 1)
    >>> mean = fnn.optim.swa_utils.AveragedModel(net)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = net.weight.data.fill(value)
    ...     mean.update_parameters(net)
    >>> mean.module.weight.item(), mean.n_averaged.item()
    (3.0, 3)
    """

    def __init__(self, model: Module, multi_avg_fn: Callable | None = None, use_buffers: bool = False) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"AveragedModel: model must be a Module, got {type(model).__name__}")
        self.register_buffer("n_averaged", from_numpy(np.zeros((), np.int64)))
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.multi_avg_fn = multi_avg_fn or _equal_mean
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model says."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the parameters of the model, as they are now, into the mean.

        Raises
        ------
        ValueError
            If the model is not built like the one that was copied.
        """
        means: list[Tensor] = list(self.module.parameters())
        values: list[Tensor] = list(model.parameters())
        held, kept = list(self.module.buffers()), list(model.buffers())
        if [t.shape for t in (*means, *held)] != [t.shape for t in (*values, *kept)]:
            raise ValueError("AveragedModel.update_parameters: the model is not built like the one that was copied")
        if self.use_buffers:
            floats = [i for i, buffer in enumerate(kept) if buffer.dtype.kind == "f"]
            means += [held[i] for i in floats]
            values += [kept[i] for i in floats]
        count = int(self.n_averaged)
        with no_grad():
            if count == 0:
                for mean, value in zip(means, values):
                    mean.copy_(value)
            else:
                self.multi_avg_fn(means, values, count)
            for mean, value in zip(held, kept):
                if not self.use_buffers or value.dtype.kind != "f":
                    mean.copy_(value)
            self.n_averaged.copy_(np.asarray(count + 1))
