"""The schedule that waits for a measure to stop getting better."""

import math

from ._optimizer import Optimizer
from ._scheduler import LRScheduler, check_optimizer


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
        check_optimizer("ReduceLROnPlateau", optimizer)
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
