"""Rates that start low, and schedules one after the other: a warm-up and what comes behind it."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any

from ._optimizer import Optimizer
from ._scheduler import FactorLR, LRScheduler, check_optimizer, check_per


class LinearLR(FactorLR):
    """The starting rate times a factor that goes from `start_factor` to `end_factor` within `total_iters` steps.

    Raises
    ------
    ValueError
        If `start_factor` is not in (0, 1], `end_factor` not in [0, 1] or `total_iters` below one.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
        per: str = "epoch",
    ) -> None:
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], got {end_factor}")
        if not total_iters >= 1:
            raise ValueError(f"LinearLR: total_iters must be at least 1, got {total_iters}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch, per)

    def _factor(self, step: int) -> float:
        return self.start_factor + (self.end_factor - self.start_factor) * min(step / self.total_iters, 1.0)


class ConstantLR(FactorLR):
    """The starting rate times `factor` for the first `total_iters` steps, and the starting rate from then on.

    Raises
    ------
    ValueError
        If `factor` is not in [0, 1].

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> before = schedule.get_last_lr()
    >>> schedule.step()
    >>> before, schedule.get_last_lr()
    ([0.5], [1.0])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
        per: str = "epoch",
    ) -> None:
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: factor must be in [0, 1], got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch, per)

    def _factor(self, step: int) -> float:
        return self.factor if step < self.total_iters else 1.0


class SequentialLR(LRScheduler):
    """Schedules one after the other, each from its own start: the next one at each milestone.

    Parameters
    ----------
    schedulers : list of LRScheduler
        All of the same optimizer.
    milestones : list of int
        The steps, in order, at which the second, third ... takes over; at 0 the one before has no steps at all.

    Raises
    ------
    ValueError, TypeError
        If there is not one milestone between every two schedules, or one is of another optimizer or no LRScheduler.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> warm_up, fall = LinearLR(optimizer, 0.5, total_iters=2), CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule = SequentialLR(optimizer, [warm_up, fall], milestones=[2])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> [round(lr, 6) for lr in rates]
    [0.5, 0.75, 1.0, 0.5]
    """

    _unsaved = ("optimizer", "schedulers")

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Iterable[LRScheduler],
        milestones: Iterable[int],
        per: str = "epoch",
    ) -> None:
        check_optimizer("SequentialLR", optimizer)
        check_per("SequentialLR", per)
        self.optimizer, self.per = optimizer, per
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(self.milestones):
            raise ValueError(
                f"SequentialLR: {len(self.schedulers)} schedulers and milestones {self.milestones}; expected one "
                f"milestone between every two, in order"
            )
        for schedule in self.schedulers:
            if not isinstance(schedule, LRScheduler):
                raise TypeError(f"SequentialLR: expected schedules, got {type(schedule).__name__}")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: {type(schedule).__name__} is of another optimizer")
        self.base_lrs = self.schedulers[0].base_lrs
        self.last_epoch, self._step_count = 0, 1
        self._start(self.schedulers[bisect_right(self.milestones, 0)])  # a milestone of 0 leaves one out

    def _start(self, schedule: LRScheduler) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        schedule.last_epoch = -1
        schedule.step()

    def step(self) -> None:
        """Go on by one step of the schedule whose turn it is."""
        self.last_epoch += 1
        self._step_count += 1
        turn = bisect_right(self.milestones, self.last_epoch)
        if turn and self.milestones[turn - 1] == self.last_epoch:
            self._start(self.schedulers[turn])
        else:
            self.schedulers[turn].step()

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer, the states of the schedules among it."""
        return {**super().state_dict(), "_schedulers": [schedule.state_dict() for schedule in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict` of the same schedules.

        Raises
        ------
        ValueError
            If they are others.
        """
        states = state_dict.get("_schedulers", ())
        if len(states) != len(self.schedulers):
            raise ValueError(f"SequentialLR.load_state_dict: {len(states)} schedules; expected {len(self.schedulers)}")
        for schedule, state in zip(self.schedulers, states):
            schedule.load_state_dict(state)
        names = set(super().state_dict())
        self.__dict__.update({name: value for name, value in state_dict.items() if name in names})
