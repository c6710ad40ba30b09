"""The one-cycle schedule: rate up and down, momentum down and up."""

import math

from ._optimizer import Optimizer
from ._scheduler import LRScheduler, check_optimizer


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)


def _linear(start: float, end: float, share: float) -> float:
    return (end - start) * share + start


class OneCycleLR(LRScheduler):
    """Up to `max_lr` and down to almost nothing in one cycle, momentum the other way; steps once per optimizer step.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or list of float
        The peak, for all groups or per group.
    total_steps : int, optional
        Length of the cycle; or give `epochs` and `steps_per_epoch`.
    pct_start : float
        The share of the cycle that goes up.
    anneal_strategy : str
        "cos" or "linear".
    cycle_momentum : bool
        Whether to move `momentum` (or the first of `betas`) between `max_momentum` and `base_momentum`.
    div_factor, final_div_factor : float
        The cycle starts at max_lr / div_factor and ends at that divided by final_div_factor.
    three_phase : bool
        Come down symmetrically first, then to nothing.

    Raises
    ------
    ValueError
        If the length is not given or an argument is out of bounds; from `step` when the cycle is over.

    References
    ----------
    Smith, Topin, "Super-convergence: very fast training of neural networks using large learning rates", 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    >>> schedule = fnn.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> round(schedule.get_last_lr()[0], 6)
    0.04
    >>> for _ in range(2):
    ...     schedule.step()
    >>> round(schedule.get_last_lr()[0], 6)
    1.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
        per: str = "step",
    ) -> None:
        check_optimizer("OneCycleLR", optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if total_steps < 1 or not 0 <= pct_start <= 1:
            raise ValueError(
                f"OneCycleLR: total_steps >= 1 and pct_start in [0, 1] expected, got {total_steps} and {pct_start}"
            )
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if not (div_factor > 0 and final_div_factor > 0):
            raise ValueError(
                f"OneCycleLR: div_factor and final_div_factor must be above 0, got {div_factor} and {final_div_factor}"
            )
        groups = optimizer.param_groups
        peaks = list(max_lr) if isinstance(max_lr, list | tuple) else [max_lr] * len(groups)
        if len(peaks) != len(groups):
            raise ValueError(f"OneCycleLR: {len(peaks)} max_lr for {len(groups)} groups")
        if cycle_momentum and not ("momentum" in groups[0] or "betas" in groups[0]):
            raise ValueError("OneCycleLR: the optimizer has no momentum to cycle; pass cycle_momentum=False")
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.phases = self._phases(total_steps, pct_start, three_phase)
        if last_epoch == -1:
            for group, peak in zip(groups, peaks):
                group["lr"] = group["initial_lr"] = peak / div_factor
                group["max_lr"] = peak
                group["min_lr"] = group["initial_lr"] / final_div_factor
                if cycle_momentum:
                    group["max_momentum"], group["base_momentum"] = max_momentum, base_momentum
        super().__init__(optimizer, last_epoch, per)

    @staticmethod
    def _phases(total: int, pct_start: float, three_phase: bool) -> list[list]:
        """Per phase: its last step, the rates and the momenta between which it moves (names in the group)."""
        up = ["initial_lr", "max_lr", "max_momentum", "base_momentum"]
        if three_phase:
            down = ["max_lr", "initial_lr", "base_momentum", "max_momentum"]
            out = ["initial_lr", "min_lr", "max_momentum", "max_momentum"]
            return [[pct_start * total - 1, *up], [2 * pct_start * total - 2, *down], [total - 1, *out]]
        down = ["max_lr", "min_lr", "base_momentum", "max_momentum"]
        return [[pct_start * total - 1, *up], [total - 1, *down]]

    def get_lr(self) -> list[float]:
        """The rate of this step; sets the momentum too."""
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(f"OneCycleLR: step {step} of a cycle of {self.total_steps} steps")
        anneal = _cosine if self.anneal_strategy == "cos" else _linear
        lrs = []
        for group in self.optimizer.param_groups:
            start = 0.0
            for i, (end, lr_from, lr_to, momentum_from, momentum_to) in enumerate(self.phases):
                if step <= end or i == len(self.phases) - 1:
                    share = (step - start) / (end - start) if end != start else 1.0
                    lrs.append(anneal(group[lr_from], group[lr_to], share))
                    if self.cycle_momentum:
                        momentum = anneal(group[momentum_from], group[momentum_to], share)
                        if "betas" in group:
                            group["betas"] = (momentum, *group["betas"][1:])
                        else:
                            group["momentum"] = momentum
                    break
                start = end
        return lrs
