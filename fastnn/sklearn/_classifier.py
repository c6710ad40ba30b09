"""FastnnClassifier: a network with one output per class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import column_or_1d

from .._ops import cross_entropy, from_numpy, log_softmax, softmax
from ._estimator import Estimator


class FastnnClassifier(ClassifierMixin, Estimator):
    """A network that tells classes apart, trained by `fastnn.fit` on the cross-entropy.

    Parameters
    ----------
    module : Module, callable or None
        The body, (n, n_features) -> (n, n_classes) without a softmax. A Module is copied with the weights that it has;
        a callable, such as a class, is called with (n_features, n_classes) and makes one. None: a dense network.
    hidden_sizes, activation, dropout : sequence of int, str, float
        Of the dense network; see `fastnn.models.MLP`.
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
        Which share of each class is held out.
    class_weight : dict, "balanced" or None
        Factors for the classes; "balanced": inverse to how often they come.
    warm_start : bool
        Whether `fit` goes on from the last one; the classes must be the same.
    dtype : "float32", "float64" or None
        What the network computes in. None: in X's precision, float64 for all but float32. float32 is twice as fast.
    random_state : int, RandomState or None
        For initialisation, shuffling, dropout and the rows to hold out.
    verbose : bool
        Whether to show the progress on standard error.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    module_ : Module
        The trained network.
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
    X may have more than two axes if `module` is given: (n, n_features, ...). Weights of rows are those of the loss; a
    row of weight two counts as two rows.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastnn.sklearn import FastnnClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> net = FastnnClassifier(hidden_sizes=(64,), epochs=20, dtype="float32", random_state=0)
    >>> classifier = make_pipeline(StandardScaler(), net).fit(X_train, y_train)
    >>> bool(classifier.score(X_test, y_test) > 0.95)
    True
    """

    classes_: np.ndarray

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
        class_weight: Any = None,
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
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FastnnClassifier:
        """Train on X, shape (n, n_features), and labels y, shape (n,); returns the estimator."""
        goes_on = self._goes_on()
        X, y = self._labelled(X, y, reset=not goes_on)
        classes, indices = np.unique(y, return_inverse=True)
        if goes_on and not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"FastnnClassifier: warm_start goes on with the classes {self.classes_}, but y has {classes}"
            )
        weight = self._row_weights(sample_weight, self.class_weight, X, y)
        self.classes_ = classes
        if not goes_on:
            self._build(X, len(classes))
        self._train(X.astype(self._net_dtype(), copy=False), indices, weight, self.epochs, self.early_stopping)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> FastnnClassifier:
        """Go through X and y once, on from where the network is; `classes` lists all labels at the first call."""
        if self.early_stopping:
            raise ValueError("FastnnClassifier: partial_fit has no rows to spare for early_stopping=True")
        if self.class_weight == "balanced":
            raise ValueError(
                "FastnnClassifier: partial_fit does not see all rows, which class_weight='balanced' counts"
            )
        first = _check_partial_fit_first_call(self, classes) or not hasattr(self, "module_")
        X, y = self._labelled(X, y, reset=first)
        strange = np.setdiff1d(y, self.classes_)
        if strange.size:
            raise ValueError(f"FastnnClassifier: the classes are {self.classes_}, but y has {strange}")
        weight = self._row_weights(sample_weight, self.class_weight, X, y)
        if first:
            self._build(X, len(self.classes_))
        indices = np.searchsorted(self.classes_, y)
        self._train(X.astype(self._net_dtype(), copy=False), indices, weight, 1, False)
        return self

    def _labelled(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = self._checked(X, reset, y=y)
        check_classification_targets(y)
        return X, column_or_1d(y)

    def _row_weights(self, sample_weight: Any, class_weight: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        weight = self._weights(sample_weight, X)
        if class_weight is None:
            return weight
        factors = compute_sample_weight(class_weight, y)
        weight = factors if weight is None else weight * factors
        if not weight.any():
            raise ValueError(f"FastnnClassifier: class_weight {class_weight!r} leaves all rows a weight of zero")
        return weight

    def _mean_loss(self, prediction: Any, target: Any) -> Any:
        return cross_entropy(prediction, target)

    def _row_losses(self, prediction: Any, target: Any) -> Any:
        return cross_entropy(prediction, target, reduction="none")

    def _held_out(self, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(len(y))
        training, held = train_test_split(rows, test_size=self.validation_fraction, stratify=y, random_state=seed)
        return training, held

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest class of each row: shape (n,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes: shape (n, n_classes)."""
        return softmax(from_numpy(self._outputs(X)), 1).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities: shape (n, n_classes)."""
        return log_softmax(from_numpy(self._outputs(X)), 1).numpy()
