"""Learning-rate schedules: after each epoch (or step) they write new rates into an optimizer's groups.

Several can be chained: `step` of one after the other, each scales what it finds. `LambdaLR`, `OneCycleLR` and
`CosineAnnealingWarmRestarts` alone, as in PyTorch, set the rate anew.

`per` says how often `fastnn.fit` calls `step()`: once per "epoch" or once per optimizer "step".
"""

import math
from collections.abc import Callable, Iterable

from ._one_cycle import OneCycleLR
from ._optimizer import Optimizer
from ._plateau import ReduceLROnPlateau
from ._scheduler import FactorLR, LRScheduler, check_optimizer
from ._warm_up import ConstantLR, LinearLR, SequentialLR

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


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
        check_optimizer("LambdaLR", optimizer)
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


class CosineAnnealingLR(FactorLR):
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

    @property
    def _least(self) -> float:
        return self.eta_min

    def _factor(self, step: int) -> float:
        return (1 + math.cos(math.pi * step / self.T_max)) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """`CosineAnnealingLR` over and over: down within `T_0` steps, back at the start, down within `T_0 * T_mult` ...

    Parameters
    ----------
    T_0 : int
        Steps of the first descent.
    T_mult : int
        How many times longer each descent is than the one before.
    eta_min : float
        The lowest rate.

    Raises
    ------
    ValueError
        If `T_0` or `T_mult` is no integer of at least one.

    References
    ----------
    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> optimizer = fnn.optim.SGD([fnn.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = fnn.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> [round(lr, 6) for lr in rates]
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
        per: str = "epoch",
    ) -> None:
        for name, value in {"T_0": T_0, "T_mult": T_mult}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"CosineAnnealingWarmRestarts: {name} must be an integer of at least 1, got {value}")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch, per)

    def get_lr(self) -> list[float]:
        """eta_min + (base_lr - eta_min) * (1 + cos(pi * step / T)) / 2, step and T those of the present descent."""
        step, length = self.last_epoch, self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.T_mult
        share = (1 + math.cos(math.pi * step / length)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]
