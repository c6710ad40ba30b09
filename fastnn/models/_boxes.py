"""Boxes around things in a picture: left, top, right, bottom in pixels."""

from typing import Any

import numpy as np


def nms(boxes: Any, scores: Any, overlap: float = 0.5, *, of: str = "union", pixel: float = 0.0) -> np.ndarray:
    """Non-maximum suppression: of boxes that lie on one another, keep the one with the highest score.

    Parameters
    ----------
    boxes : array_like, shape (n, 4)
        Left, top, right, bottom.
    scores : array_like, shape (n,)
        The higher, the surer. Among equals, the first comes first.
    overlap : float
        Boxes whose overlap with a kept one is above this are dropped.
    of : {"union", "smaller"}
        What the common area is divided by: the area of both together, or that of the smaller box.
    pixel : float
        Added to widths and heights: 1 where right and bottom are the last pixels inside.

    Returns
    -------
    ndarray of int, shape (kept,)
        Indices of the kept boxes, the highest score first.

    Raises
    ------
    ValueError
        If shapes do not fit, something is NaN, or `of` is neither.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.models.nms([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.8, 0.9, 0.7]).tolist()
    [1, 2]
    """
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    if boxes.size == 0 == scores.size:
        return np.empty(0, np.int64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(f"nms: boxes is {boxes.shape}, scores is {scores.shape}; expected (n, 4) and (n,)")
    if np.isnan(boxes).any() or np.isnan(scores).any():  # NaN overlaps nothing and everything
        raise ValueError("nms: boxes or scores are not a number")
    if of not in ("union", "smaller"):
        raise ValueError(f"nms: of must be 'union' or 'smaller', got {of!r}")
    # Small integers would wrap round in areas, and scores without a sign where they change it.
    boxes, scores = (x.astype(np.result_type(x, np.float32), copy=False) for x in (boxes, scores))
    left, top, right, bottom = boxes.T
    area = (right - left + pixel) * (bottom - top + pixel)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        width = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order]) + pixel
        height = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order]) + pixel
        common = np.maximum(width, 0) * np.maximum(height, 0)
        whole = area[best] + area[order] - common if of == "union" else np.minimum(area[best], area[order])
        order = order[common <= overlap * whole]
    return np.array(kept, np.int64)
