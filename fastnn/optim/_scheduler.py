"""What learning-rate schedules share."""

from typing import Any

from ._optimizer import Optimizer


def check_per(name: str, per: str) -> None:
    if per not in ("epoch", "step"):
        raise ValueError(f"{name}: per must be 'epoch' or 'step', got {per!r}")


def check_optimizer(name: str, optimizer: Optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer must be an Optimizer, got {type(optimizer).__name__}")


class LRScheduler:
    """Base class: counts steps and sets the rates that a subclass computes in `get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates to set; the groups' "initial_lr" are the ones to start from, and the first schedule of an
        optimizer takes them from its present rates.
    last_epoch : int
        The step to continue from; -1 to start.
    per : str
        What `fastnn.fit` takes for a step: "epoch" or "step".

    Attributes
    ----------
    base_lrs : list of float
        The rates at the start, per group.
    last_epoch : int
        Steps taken.

    Raises
    ------
    TypeError
        If `optimizer` is none.
    ValueError
        If `per` is neither.
    KeyError
        If it continues, and a group has no "initial_lr".
    """

    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, per: str = "epoch") -> None:
        check_optimizer(type(self).__name__, optimizer)
        check_per(type(self).__name__, per)
        self.optimizer = optimizer
        self.per = per
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: 'initial_lr' is missing in a group, but last_epoch={last_epoch}"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._step_count = 0
        self.step()

    def get_lr(self) -> list[float]:
        """Return the rates of step `last_epoch`, one per group."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """Return the rates in force, one per group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Go on by one step and set the rates."""
        self.last_epoch += 1
        self._step_count += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimizer; the rates themselves are in the optimizer's state."""
        return {k: v for k, v in self.__dict__.items() if k not in self._unsaved and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict` of a schedule of the same class.

        Raises
        ------
        ValueError
            If the names do not agree.
        """
        own = set(self.state_dict())
        if set(state_dict) != own:
            raise ValueError(f"{type(self).__name__}.load_state_dict: got {sorted(state_dict)}; expected {sorted(own)}")
        self.__dict__.update(state_dict)

    def _lrs(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


class FactorLR(LRScheduler):
    """Base of the schedules whose factor depends on the step alone.

    A step multiplies the rate that it finds by the ratio of two factors: what the caller or another schedule made of
    the rate in between stays, as in PyTorch, so schedules can be chained by calling `step` of one after the other.
    """

    @property
    def _least(self) -> float:
        """The rate that the factor 0 stands for."""
        return 0.0

    def _factor(self, step: int) -> float:
        """Return the factor of a step, counted from 0."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """The rate times factor(step) / factor(step - 1), counted from the least rate."""
        new, old, rates = self._factor(self.last_epoch), 1.0, self._lrs()
        if self.last_epoch > 0:
            old = self._factor(self.last_epoch - 1)
            if old == 0 or self._step_count == 1:  # nothing to multiply; begun behind last_epoch
                old, rates = 1.0, self.base_lrs
        return rates if new == old else [self._least + (lr - self._least) * (new / old) for lr in rates]
