"""How good predictions are, as plain numbers: functions of (pred, target) on Tensors or arrays.

Class predictions may be given as classes, as scores with a class axis (the largest wins) or, for two classes, as one
score per row, which is compared with `threshold`: 0.5 fits probabilities, 0.0 fits logits.
"""

import math
from typing import Any

import numpy as np

from ._ops import Tensor

__all__ = ["accuracy", "confusion_matrix", "f1", "frechet_distance", "mae", "mse", "precision", "r2", "recall", "rmse"]


def _array(function: str, name: str, value: Any) -> np.ndarray:
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{function}: {name} must be numbers, got {array.dtype}")
    if array.size == 0:
        raise ValueError(f"{function}: {name} is empty")
    return array


def _numbers(function: str, pred: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 of one shape; (n, 1) and (n,) count as the same."""
    p, t = (_array(function, name, value) for name, value in (("pred", pred), ("target", target)))
    if p.shape != t.shape:
        if p.size != t.size or [s for s in p.shape if s != 1] != [s for s in t.shape if s != 1]:
            raise ValueError(f"{function}: pred is {p.shape}, target is {t.shape}; expected the same shape")
        p = p.reshape(t.shape)
    return p.astype(np.float64), t.astype(np.float64)


def _classes(function: str, pred: Any, target: Any, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both as integer classes of shape (n,)."""
    p, t = (_array(function, name, value) for name, value in (("pred", pred), ("target", target)))
    if p.dtype.kind == "f" and np.isnan(p).any():  # it would count as the largest score, or as none above a threshold
        raise ValueError(f"{function}: pred has NaN")
    if p.ndim == t.ndim + 1 > 1 and p.shape[1] > 1 and p.shape[:1] + p.shape[2:] == t.shape:
        p = p.argmax(1)
    elif p.shape == t.shape and t.ndim == 2 and t.shape[1] > 1 and (t.dtype.kind == "f" or _one_hot(p, t)):
        p, t = p.argmax(1), t.argmax(1)  # one-hot or probabilities
    elif p.size == t.size and (p.shape == t.shape or p.shape == (*t.shape, 1) or t.shape == (*p.shape, 1)):
        if p.dtype.kind == "f":
            if t.max() > 1:
                raise ValueError(
                    f"{function}: one score a row, and targets to {t.max():g}; expected classes (integers)"
                )
            p = p > threshold
    else:
        raise ValueError(
            f"{function}: pred is {p.shape}, target is {t.shape}; expected one class or one row of scores each"
        )
    if t.dtype.kind == "f" and not (t == np.floor(t)).all():
        raise ValueError(f"{function}: targets must be whole numbers")
    if t.min() < 0 or p.min() < 0:
        raise ValueError(f"{function}: classes must not be negative")
    if not (float(t.max()) < 2.0**63 and float(p.max()) < 2.0**63):  # they would come round as negative ones
        raise ValueError(f"{function}: classes must be below 2**63")
    return p.reshape(-1).astype(np.int64), t.reshape(-1).astype(np.int64)


def _one_hot(p: np.ndarray, t: np.ndarray) -> bool:
    """Whether each row of whole numbers is one 1 among zeros, beside scores."""
    return p.dtype.kind == "f" and bool(((t == 0) | (t == 1)).all() and (t.sum(1) == 1).all())


def _count(function: str, p: np.ndarray, t: np.ndarray, classes: int | None) -> int:
    """Return the number of classes: as given, or as many as there are but two at least."""
    seen = int(max(p.max(), t.max())) + 1
    n = max(seen, 2) if classes is None else classes
    if seen > n:
        raise ValueError(f"{function}: class {seen - 1} is out of range for {n} classes")
    return n


def mse(pred: Any, target: Any) -> float:
    """Mean squared error; pred and target of the same shape.

    Raises
    ------
    ValueError
        If the shapes differ or are empty.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.mse([1.0, 2.0], [2.0, 4.0])
    2.5
    """
    p, t = _numbers("mse", pred, target)
    return float(np.mean((p - t) ** 2))


def rmse(pred: Any, target: Any) -> float:
    """Root of the mean squared error; see `mse`.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.rmse([1.0, 2.0], [4.0, 5.0])
    3.0
    """
    p, t = _numbers("rmse", pred, target)
    return math.sqrt(np.mean((p - t) ** 2))


def mae(pred: Any, target: Any) -> float:
    """Mean absolute error; see `mse`.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.mae([1.0, 2.0], [2.0, 4.0])
    1.5
    """
    p, t = _numbers("mae", pred, target)
    return float(np.mean(np.abs(p - t)))


def r2(pred: Any, target: Any) -> float:
    """Share of the targets' variance that is explained: 1 is perfect, 0 no better than their mean.

    Several outputs, shape (n, d), are averaged with equal weights. Where the targets do not vary, it is 1 for perfect
    predictions and 0 otherwise, as in scikit-learn.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    """
    p, t = _numbers("r2", pred, target)
    p, t = p.reshape(len(p), -1) if p.ndim else p.reshape(1, 1), t.reshape(len(t), -1) if t.ndim else t.reshape(1, 1)
    left = ((p - t) ** 2).sum(0)
    varies = (t != t[0]).any(0)  # of three times 0.1 the mean is not 0.1
    total = np.where(varies, ((t - t.mean(0)) ** 2).sum(0), 1.0)
    scores = np.where(varies, 1 - left / total, left == 0)
    return float(scores.mean())


def accuracy(pred: Any, target: Any, threshold: float = 0.5) -> float:
    """Share of right classes.

    Parameters
    ----------
    pred : Tensor or array, shape (n,), (n, 1), (n, C) or (n, C, ...)
        Classes (integers), scores of the positive class, or scores of all classes.
    target : Tensor or array, shape (n,), (n, ...) or one-hot (n, C)
        Classes.
    threshold : float
        Scores above it mean class 1, where there is one score per row.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is one score a row and more than two classes.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    >>> metrics.accuracy([0.9, 0.2], [1, 0])
    1.0
    """
    p, t = _classes("accuracy", pred, target, threshold)
    return float(np.mean(p == t))


def confusion_matrix(pred: Any, target: Any, classes: int | None = None, threshold: float = 0.5) -> np.ndarray:
    """Count rows by true class (row of the matrix) and predicted class (column).

    Parameters
    ----------
    pred, target, threshold
        As in `accuracy`.
    classes : int, optional
        Their number; by default as many as there are.

    Returns
    -------
    ndarray of int64, shape (classes, classes)

    Raises
    ------
    ValueError
        If shapes do not fit or a class is out of range.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.confusion_matrix([0, 1, 1], [0, 0, 1])
    array([[1, 1],
           [0, 1]])
    """
    p, t = _classes("confusion_matrix", pred, target, threshold)
    n = _count("confusion_matrix", p, t, classes)
    if n > 2**13:
        raise ValueError(f"confusion_matrix: {n} classes; at most 8192 are counted")
    return np.bincount(t * n + p, minlength=n * n).reshape(n, n)


def _scores(
    which: str, pred: Any, target: Any, average: str | None, threshold: float, classes: int | None
) -> float | np.ndarray:
    if average not in ("binary", "macro", "micro", None):
        raise ValueError(f"{which}: average must be 'binary', 'macro', 'micro' or None, got {average!r}")
    p, t = _classes(which, pred, target, threshold)
    n = _count(which, p, t, classes)
    if average == "binary" and n != 2:
        raise ValueError(f"{which}: {n} classes; pass average='macro', 'micro' or None")
    hit = np.bincount(t[p == t], minlength=n)
    predicted, true = np.bincount(p, minlength=n), np.bincount(t, minlength=n)
    present = (predicted + true) > 0  # a class that occurs nowhere does not count in the mean
    if average == "micro":
        hit, predicted, true = hit.sum(keepdims=True), predicted.sum(keepdims=True), true.sum(keepdims=True)
        present = np.ones(1, bool)
    parts = {"precision": predicted, "recall": true, "f1": (predicted + true) / 2}[which]
    score = hit / np.where(parts > 0, parts, 1)  # 0 where nothing was predicted (or true)
    if average is None:
        return score
    return float(score[1] if average == "binary" else score[present].mean())


def precision(
    pred: Any, target: Any, average: str | None = "binary", threshold: float = 0.5, classes: int | None = None
) -> Any:
    """Share of the predictions of a class that are right; 0 where there is none.

    Parameters
    ----------
    pred, target, threshold
        As in `accuracy`.
    average : str or None
        "binary": of class 1; "macro": mean over the classes that occur; "micro": over all rows; None: one number per
        class.
    classes : int, optional
        Their number; by default as many as there are, so that without it the result of None is as long as the largest
        class in these rows asks for.

    Returns
    -------
    float, or ndarray of shape (classes,) for None

    Raises
    ------
    ValueError
        If shapes do not fit, a class is out of range, or there are not two classes under "binary".

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.precision([1, 1, 0], [1, 0, 0])
    0.5
    >>> metrics.precision([1, 1, 0], [1, 0, 0], average=None, classes=3).tolist()
    [1.0, 0.5, 0.0]
    """
    return _scores("precision", pred, target, average, threshold, classes)


def recall(
    pred: Any, target: Any, average: str | None = "binary", threshold: float = 0.5, classes: int | None = None
) -> Any:
    """Share of the rows of a class that were found; see `precision`.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.recall([1, 1, 0], [1, 0, 0])
    1.0
    """
    return _scores("recall", pred, target, average, threshold, classes)


def f1(
    pred: Any, target: Any, average: str | None = "binary", threshold: float = 0.5, classes: int | None = None
) -> Any:
    """Harmonic mean of precision and recall; see `precision`.

    Examples
    --------
    >>> from fastnn import metrics
    >>> round(metrics.f1([1, 1, 0], [1, 0, 0]), 4)
    0.6667
    """
    return _scores("f1", pred, target, average, threshold, classes)


def frechet_distance(a: Any, b: Any) -> float:
    """How far apart two clouds of points are, each taken for a normal distribution: generated against real features.

    ``|mean_a - mean_b|^2 + trace(C_a + C_b - 2 (C_a^1/2 C_b C_a^1/2)^1/2)`` with the covariances C.

    Parameters
    ----------
    a, b : array_like, shapes (n, d) and (m, d)
        Features, at least two rows of each. Few rows make the distance larger: compare only what has equally many.

    Returns
    -------
    float
        From zero.

    Raises
    ------
    ValueError
        If the shapes do not fit, or something is infinite or nan.

    References
    ----------
    Dowson, Landau, "The Fréchet distance between multivariate normal distributions", 1982; Heusel and others, "GANs
    trained by a two time-scale update rule converge to a local Nash equilibrium", 2017.

    Examples
    --------
    >>> from fastnn import metrics
    >>> metrics.frechet_distance([[0.0], [2.0]], [[3.0], [5.0]])
    9.0
    """
    name = "frechet_distance"
    x, y = (_array(name, which, value).astype(np.float64) for which, value in (("a", a), ("b", b)))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"{name}: a is {x.shape}, b is {y.shape}; expected (n, d) and (m, d), at least two rows each")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"{name}: infinite or nan among the features")
    cx, cy = (np.atleast_2d(np.cov(z, rowvar=False)) for z in (x, y))
    values, vectors = np.linalg.eigh(cx)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cy @ root), 0)).sum()
    away = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return float(max(away + np.trace(cx) + np.trace(cy) - 2 * common, 0.0))
