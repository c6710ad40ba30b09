"""FastnnRegressor: a network with one output per target."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.model_selection import train_test_split

from ..nn import functional as F
from ._estimator import Estimator

_LOSSES = {"squared_error": F.mse_loss, "absolute_error": F.l1_loss, "huber": F.huber_loss}


class FastnnRegressor(RegressorMixin, Estimator):
    """A network that estimates one or more numbers, trained by `fastnn.fit`.

    Parameters
    ----------
    module : Module, callable or None
        The body, (n, n_features) -> (n, n_targets). A Module is copied with the weights that it has; a callable, such
        as a class, is called with (n_features, n_targets) and makes one. None: a dense network.
    hidden_sizes, activation, dropout : sequence of int, str, float
        Of the dense network; see `fastnn.models.MLP`.
    loss : str
        "squared_error", "absolute_error" or "huber", the mean over rows and targets.
    optimizer : str or callable
        "adam", "adamw", "sgd", "rmsprop", or called as `optimizer(parameters, lr=..., weight_decay=...)`.
    lr, weight_decay : float
        For the optimizer. What `set_params` changes counts from the next `fit` with `warm_start`, or `partial_fit`, on.
    batch_size, epochs : int
        As in `fastnn.fit`.
    patience : int or None
        Stop after so many epochs in which the training loss (with `early_stopping` the validation loss) got no better
        by `min_delta`.
    min_delta : float
        See `patience`.
    early_stopping : bool
        Hold out `validation_fraction` of the rows, and keep the weights of the epoch that was best on them.
    validation_fraction : float
        Which share of the rows is held out.
    warm_start : bool
        Whether `fit` goes on from the last one; the number of targets must be the same.
    dtype : "float32", "float64" or None
        What the network computes in. None: in X's precision, float64 for all but float32. float32 is twice as fast.
    random_state : int, RandomState or None
        For initialisation, shuffling, dropout and the rows to hold out.
    verbose : bool
        Whether to show the progress on standard error.

    Attributes
    ----------
    module_ : Module
        The trained network.
    n_outputs_ : int
        Targets.
    history_ : History
        Of the last fit; see `fastnn.fit`.
    n_iter_ : int
        Epochs of the last fit.
    n_features_in_ : int
    feature_names_in_ : array
        If X had names.

    Raises
    ------
    ValueError, TypeError
        From `fit`, for parameters and data that make no sense.

    Notes
    -----
    Targets of very different or large scales are better scaled, as by `sklearn.compose.TransformedTargetRegressor`.

    Examples
    --------
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastnn.sklearn import FastnnRegressor
    >>> X, y = load_diabetes(return_X_y=True, scaled=True)
    >>> net = FastnnRegressor(hidden_sizes=(32,), epochs=30, dtype="float32", random_state=0)
    >>> scaled = TransformedTargetRegressor(net, transformer=StandardScaler())
    >>> bool(cross_val_score(scaled, X * 20, y, cv=3).mean() > 0.4)
    True
    """

    def __init__(
        self,
        module: Any = None,
        *,
        hidden_sizes: Any = (100,),
        activation: Any = "relu",
        dropout: float = 0.0,
        loss: str = "squared_error",
        optimizer: Any = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 64,
        epochs: int = 200,
        patience: int | None = 10,
        min_delta: float = 1e-4,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        dtype: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            module,
            hidden_sizes=hidden_sizes,
            activation=activation,
            dropout=dropout,
            optimizer=optimizer,
            lr=lr,
            weight_decay=weight_decay,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            min_delta=min_delta,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            warm_start=warm_start,
            dtype=dtype,
            random_state=random_state,
            verbose=verbose,
        )
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FastnnRegressor:
        """Train on X, shape (n, n_features), and y, shape (n,) or (n, n_targets); returns the estimator."""
        goes_on = self._goes_on()
        X, y, weight = self._numbers(X, y, sample_weight, reset=not goes_on)
        if goes_on:
            self._check_targets("warm_start", y)
        else:
            self._start(X, y)
        self._go(X, y, weight, self.epochs, self.early_stopping)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> FastnnRegressor:
        """Go through X and y once, on from where the network is; returns the estimator."""
        if self.early_stopping:
            raise ValueError("FastnnRegressor: partial_fit has no rows to spare for early_stopping=True")
        first = not hasattr(self, "module_")
        X, y, weight = self._numbers(X, y, sample_weight, reset=first)
        if first:
            self._start(X, y)
        else:
            self._check_targets("partial_fit", y)
        self._go(X, y, weight, 1, False)
        return self

    def _numbers(
        self, X: Any, y: Any, sample_weight: Any, reset: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        if self.loss not in _LOSSES:
            raise ValueError(f"FastnnRegressor: loss must be one of {', '.join(_LOSSES)}, got {self.loss!r}")
        X, y = self._checked(X, reset, y=y, multi_output=True, y_numeric=True)
        return X, y, self._weights(sample_weight, X)

    def _start(self, X: np.ndarray, y: np.ndarray) -> None:
        self._build(X, 1 if y.ndim == 1 else y.shape[1])
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]

    def _check_targets(self, what: str, y: np.ndarray) -> None:
        n = 1 if y.ndim == 1 else y.shape[1]
        if n != self.n_outputs_:
            raise ValueError(f"FastnnRegressor: {what} goes on with {self.n_outputs_} targets, but y has {n}")

    def _go(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None, epochs: int, hold_out: bool) -> None:
        self._flat, dtype = y.ndim == 1, self._net_dtype()
        y = np.asarray(y, dtype).reshape(len(y), -1)
        self._train(X.astype(dtype, copy=False), y, weight, epochs, hold_out)

    def _mean_loss(self, prediction: Any, target: Any) -> Any:
        return _LOSSES[self.loss](prediction, target)

    def _row_losses(self, prediction: Any, target: Any) -> Any:
        return _LOSSES[self.loss](prediction, target, reduction="none").mean(1)

    def _held_out(self, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        training, held = train_test_split(np.arange(len(y)), test_size=self.validation_fraction, random_state=seed)
        return training, held

    def predict(self, X: Any) -> np.ndarray:
        """Return the estimates: shape (n,) or (n, n_targets), as y was."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._flat else outputs
