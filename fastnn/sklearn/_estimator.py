"""What classifier and regressor share: the network, its training by `fastnn.fit`, and its outputs batch by batch.

Weights of rows are scaled to a mean of one, and the loss of a batch is the mean of weight times loss. A weight of two
is then the same as the row twice, and zero the same as no row, as long as one batch holds all rows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .. import optim
from .._fit import fit, seeded
from .._history import History
from .._ops import cat, from_numpy
from .._tape import no_grad
from ..models import MLP
from ..nn import Module

_OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD, "rmsprop": optim.RMSprop}
_ROWS = 1024  # at once in predictions: enough for the kernels, little for the memory


class _WithWeights(Module):
    """A network that hands the weights of the rows on to the loss."""

    def __init__(self, body: Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x, weight):
        """x: (n, ...), weight: (n,) -> (body(x), weight)."""
        return self.body(x), weight


class Estimator(BaseEstimator):
    """The common part; `FastnnClassifier` and `FastnnRegressor` describe the parameters."""

    def __init__(
        self,
        module: Any = None,
        *,
        hidden_sizes: Any = (100,),
        activation: Any = "relu",
        dropout: float = 0.0,
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
        self.module = module
        self.hidden_sizes = hidden_sizes
        self.activation = activation
        self.dropout = dropout
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.min_delta = min_delta
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state
        self.verbose = verbose

    # ----- what the two differ in -----

    def _mean_loss(self, prediction: Any, target: Any) -> Any:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def _row_losses(self, prediction: Any, target: Any) -> Any:
        """Return the loss of each row."""
        raise NotImplementedError

    def _held_out(self, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of the rows to train on and of those to hold out."""
        raise NotImplementedError

    # ----- checks -----

    def _name(self) -> str:
        return type(self).__name__

    def _checked(self, X: Any, reset: bool, **y: Any) -> Any:
        """Return X, and y if there is one, as arrays; floats of 32 bits stay what they are unless `dtype` says else."""
        dtypes = [np.float64, np.float32] if self.dtype is None else np.dtype(self.dtype)
        if self.dtype is not None and dtypes not in (np.float32, np.float64):
            raise ValueError(f"{self._name()}: dtype must be None, float32 or float64, got {self.dtype!r}")
        return validate_data(self, X, dtype=dtypes, allow_nd=self.module is not None, reset=reset, **y)

    def _weights(self, sample_weight: Any, X: np.ndarray) -> np.ndarray | None:
        """Return the weights of the rows, checked; None if all count the same."""
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
        if not weight.any():
            raise ValueError(f"{self._name()}: sample_weight must contain a weight that is not zero")
        return weight

    # ----- the network -----

    def _build(self, X: np.ndarray, n_outputs: int) -> None:
        """Make `module_` and, for all fits that go on from this one, its optimizer."""
        self._random = check_random_state(self.random_state)
        net: Any = self.module
        with seeded(self._seed()):
            if self.module is None:
                hidden = self.hidden_sizes
                if not isinstance(hidden, Iterable):
                    raise TypeError(f"{self._name()}: hidden_sizes must be a sequence of int, got {hidden!r}")
                net = MLP([X.shape[1], *hidden, n_outputs], self.activation, self.dropout)
            elif isinstance(self.module, Module):
                net = copy.deepcopy(self.module)
            elif callable(self.module):
                net = self.module(X.shape[1], n_outputs)
        if not isinstance(net, Module):
            raise TypeError(
                f"{self._name()}: module must be a Module, None, or something that makes a Module of "
                f"(n_features, n_outputs); got {type(net).__name__}"
            )
        self.module_ = net.to(X.dtype).eval()
        self._check_outputs(X, n_outputs)
        self._optimizer = self._make_optimizer()

    def _check_outputs(self, X: np.ndarray, n_outputs: int) -> None:
        with no_grad():
            shape = self.module_(from_numpy(X[:1])).shape
        if shape != (1, n_outputs):
            raise ValueError(
                f"{self._name()}: the module turns one row into shape {shape}; (1, {n_outputs}) expected, an output "
                f"for each class or target"
            )

    def _make_optimizer(self) -> optim.Optimizer:
        make = _OPTIMIZERS.get(self.optimizer) if isinstance(self.optimizer, str) else self.optimizer
        if not callable(make):
            raise ValueError(
                f"{self._name()}: optimizer must be callable or one of {', '.join(_OPTIMIZERS)}, got {self.optimizer!r}"
            )
        made = make(self.module_.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        self._made_by = (self.optimizer, self.lr, self.weight_decay)
        return made

    def _renew_optimizer(self) -> None:
        """Make the optimizer again if `set_params` changed what makes it, or a pickle kept its state dict alone."""
        before, old = self._made_by, self._optimizer
        if before == (self.optimizer, self.lr, self.weight_decay) and not isinstance(old, dict):
            return
        self._optimizer = self._make_optimizer()
        if before[0] == self.optimizer:  # it goes on from what it remembers; another one has nothing to remember
            state = old if isinstance(old, dict) else old.state_dict()
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state["state"]})

    def _seed(self) -> int:
        return int(self._random.randint(np.iinfo(np.int32).max))

    # ----- training -----

    def _goes_on(self) -> bool:
        """Whether this fit goes on from the last one."""
        return self.warm_start and hasattr(self, "module_")

    def _train(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None, epochs: int, hold_out: bool) -> None:
        """Train `module_` on rows that are checked."""
        self._renew_optimizer()
        parts = (X, y) if weight is None else (X, weight * (len(weight) / weight.sum()), y)
        validation = None
        if hold_out:
            training, held = self._held_out(y, self._seed())
            parts, validation = tuple(part[training] for part in parts), tuple(part[held] for part in parts)
            if weight is not None and not (parts[1].any() and validation[1].any()):
                side = "held out" if parts[1].any() else "left to train on"
                raise ValueError(f"{self._name()}: all rows {side} have a sample_weight of zero; expected one above")

        rows, batch_size = len(parts[0]), self.batch_size

        def weighted(found: Any, target: Any) -> Any:
            prediction, weights = found
            return (self._row_losses(prediction, target) * weights).mean()

        self.history_: History = fit(
            self.module_ if weight is None else _WithWeights(self.module_),
            self._mean_loss if weight is None else weighted,
            parts,
            epochs=epochs,
            optimizer=self._optimizer,
            batch_size=min(batch_size, rows) if hasattr(batch_size, "__index__") else batch_size,
            validation=validation,
            patience=self.patience,
            min_delta=self.min_delta,
            progress=bool(self.verbose),
            seed=self._seed(),
        )
        self.module_.eval()
        self.n_iter_ = len(self.history_)

    def _outputs(self, X: Any) -> np.ndarray:
        """Return what the network makes of X: (n, outputs)."""
        check_is_fitted(self, "module_")
        X = self._checked(X, reset=False).astype(self._net_dtype(), copy=False)
        with no_grad():
            parts = [self.module_(from_numpy(X[i : i + _ROWS])) for i in range(0, len(X), _ROWS)]
            return cat(parts).numpy()

    def _net_dtype(self) -> np.dtype:
        return next((p.dtype for p in self.module_.parameters()), np.dtype(np.float64))

    # ----- pickles -----

    def __getstate__(self) -> dict[str, Any]:
        """The optimizer's own memory is no part of a pickle, its state dict is."""
        state = dict(super().__getstate__())
        if isinstance(state.get("_optimizer"), optim.Optimizer):
            state["_optimizer"] = state["_optimizer"].state_dict()
        return state
