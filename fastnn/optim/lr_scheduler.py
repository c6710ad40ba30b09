"""Learning-rate schedules: after each epoch (or step) they write new rates into an optimizer's groups.

`per` says how often `fastnn.fit` calls `step()`: once per "epoch" or once per optimizer "step".
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from ._optimizer import Optimizer

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "StepLR",
]


def _check_per(name: str, per: str) -> None:
    if per not in ("epoch", "step"):
        raise ValueError(f"{name}: per must be 'epoch' or 'step', got {per!r}")


def _check_optimizer(name: str, optimizer: Optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer must be an Optimizer, got {type(optimizer).__name__}")


class LRScheduler:
    """Base class: counts steps and sets the rates that a subclass computes in `get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates to set; its present rates (or the groups' "initial_lr") are the ones to start from.
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
    """

    _unsaved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1, per: str = "epoch") -> None:
        _check_optimizer(type(self).__name__, optimizer)
        _check_per(type(self).__name__, per)
        self.optimizer = optimizer
        self.per = per
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group["initial_lr"] = group["lr"]
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


class LambdaLR(LRScheduler):
    """The starting rate times `lr_lambda(step)`.

    Parameters
    ----------
    lr_lambda : callable or list of callable
        One for all groups or one per group.

    Raises
    ------
    ValueError
        If a list has not one callable per group.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Iterable[Callable[[int], float]],
        last_epoch: int = -1,
        per: str = "epoch",
    ) -> None:
        _check_optimizer("LambdaLR", optimizer)
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups or not all(map(callable, self.lr_lambdas)):
            raise ValueError(f"LambdaLR: expected one callable, or one per group ({groups})")
        super().__init__(optimizer, last_epoch, per)

    _unsaved = ("optimizer", "lr_lambdas")

    def get_lr(self) -> list[float]:
        """base_lr * lr_lambda(step)."""
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas)]


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` steps.

    Raises
    ------
    ValueError
        If `step_size` is below one.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1, per: str = "epoch"
    ) -> None:
        if not step_size >= 1:
            raise ValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch, per)

    def get_lr(self) -> list[float]:
        """lr * gamma when a multiple of step_size is reached."""
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._lrs()
        return [lr * self.gamma for lr in self._lrs()]


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each milestone.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
        per: str = "epoch",
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch, per)

    def get_lr(self) -> list[float]:
        """lr * gamma per milestone reached in this step."""
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self._lrs()]


class ExponentialLR(LRScheduler):
    """The rate times `gamma` every step.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1, per: str = "epoch") -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch, per)

    def get_lr(self) -> list[float]:
        """lr * gamma."""
        return self._lrs() if self.last_epoch == 0 else [lr * self.gamma for lr in self._lrs()]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the starting rate down to `eta_min` within `T_max` steps (and up again after that).

    Raises
    ------
    ValueError
        If `T_max` is below one.

    References
    ----------
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> [round(lr, 6) for lr in schedule.get_last_lr()]
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1, per: str = "epoch"
    ) -> None:
        if not T_max >= 1:
            raise ValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch, per)

    def get_lr(self) -> list[float]:
        """eta_min + (base_lr - eta_min) * (1 + cos(pi * step / T_max)) / 2."""
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


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
        _check_optimizer("OneCycleLR", optimizer)
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


class ReduceLROnPlateau:
    """The rate times `factor` when a measure has not got better for more than `patience` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    mode : str
        "min" if smaller is better, "max" if larger is.
    factor : float
        Below one.
    patience : int
        Epochs without improvement that are put up with.
    threshold, threshold_mode : float, str
        What counts as better: by this share of the best ("rel") or by this much ("abs").
    cooldown : int
        Epochs to wait after a reduction before counting again.
    min_lr : float or list of float
        The rate goes no lower.
    eps : float
        Smaller changes than this are left undone.

    Raises
    ------
    ValueError
        If `factor` is not below one or a mode is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    per = "epoch"

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _check_optimizer("ReduceLROnPlateau", optimizer)
        if not 0 <= factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be in [0, 1), got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                "ReduceLROnPlateau: mode is 'min' or 'max' and threshold_mode 'rel' or 'abs', "
                f"got {mode!r} and {threshold_mode!r}"
            )
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise ValueError(f"ReduceLROnPlateau: {len(self.min_lrs)} min_lr for {groups} groups")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if not math.isfinite(self.best):
            return sign * value < sign * self.best
        # "rel" scales the best itself, as PyTorch does, so for negative measures the margin turns round.
        margin = self.threshold * self.best if self.threshold_mode == "rel" else self.threshold
        return sign * value < sign * self.best - margin

    def step(self, metrics: float) -> None:
        """Take note of this epoch's measure and reduce the rates if it is time."""
        value = float(metrics)
        self.last_epoch += 1
        if self._better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs):
                new = max(group["lr"] * self.factor, least)
                if group["lr"] - new > self.eps:
                    group["lr"] = new
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0

    get_last_lr = LRScheduler.get_last_lr
    state_dict = LRScheduler.state_dict
    load_state_dict = LRScheduler.load_state_dict
    _unsaved = LRScheduler._unsaved
