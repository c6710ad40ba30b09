"""Answers of a network drawn on what it was asked about: a confusion table, boxes, what mattered in a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._ops import Tensor, as_tensor, cat
from .._tape import enable_grad, grad, no_grad
from ..nn._evaluating import evaluating
from ._axes import GREY, ORANGE, axes, blue_to_orange, largest, named, numbers
from ._convolution import _image


def confusion(table: Any, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw a confusion table: a row for each true class, a column for each predicted one.

    Parameters
    ----------
    table : array_like of int, shape (classes, classes)
        Counts, as from `fastnn.metrics.confusion_matrix`. The colour is the share of the row; the counts are written
        for up to 30 classes.
    names : sequence of str, optional
        What the classes are called; their numbers by default.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If the table is not square, has negative counts, or `names` is not one for each class.

    Examples
    --------
    >>> import fastnn as fnn
    >>> table = fnn.metrics.confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1])
    >>> fnn.plot.confusion(table, ["no", "yes"]).get_title()
    '3 of 4 right (75.00 %)'
    """
    table = numbers(table, "confusion", "table", 2)
    names = [str(name) for name in (range(len(table)) if names is None else names)]
    if table.shape[0] != table.shape[1] or not table.size or len(names) != len(table):
        raise ValueError(
            f"plot.confusion: table is {table.shape}, with {len(names)} names; one for each class expected"
        )
    if (table < 0).any():
        raise ValueError("plot.confusion: a count is negative")
    ax = axes(ax, "confusion")
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    # The diagonal is nearly everything: the root lets a single mistake be seen beside it.
    ax.imshow(np.sqrt(share), cmap="Blues", vmin=0, vmax=1.25)
    size = min(9, 160 / len(table))
    for (i, j), count in np.ndenumerate(table):
        if count and len(table) <= 30:
            colour = "white" if share[i, j] > 0.5 else "black" if i == j else ORANGE
            weight = "normal" if i == j else "bold"
            ax.text(j, i, f"{count:.12g}", ha="center", va="center", color=colour, fontsize=size, fontweight=weight)
    crowded = len(names) * max(map(len, names)) > 50  # names beside each other would run into one another
    named(ax.xaxis, names, 30, **({"rotation": 90} if crowded else {}))
    named(ax.yaxis, names, 30)
    total, right = table.sum(), np.trace(table)
    share_right = 100 * right / max(total, 1)
    ax.set(xlabel="predicted", ylabel="true", title=f"{right:.12g} of {total:.12g} right ({share_right:.2f} %)")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def boxes(picture: Any, boxes: Any, ax: Any = None, *, scores: Any = None, points: Any = None) -> Any:
    """Draw boxes on a picture.

    Parameters
    ----------
    picture : array_like, shape (H, W) or (H, W, 3)
        Grey or in colour; integers to 255 or floats to 1.
    boxes : array_like, shape (n, 4)
        Left, top, right, bottom, in pixels; n may be 0.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    scores : array_like, shape (n,), optional
        A number to write at each box.
    points : array_like, shape (n, k, 2), optional
        Points to mark in each box, x and y in pixels.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If a shape does not fit, or the picture has integers above 255.

    Examples
    --------
    >>> import fastnn as fnn
    >>> ax = fnn.plot.boxes([[0.0, 1.0], [1.0, 0.0]], [[0, 0, 1, 1]], scores=[0.9])
    >>> len(ax.patches)
    1
    """
    shown = _picture(picture, "boxes")
    corners = (
        numbers(boxes, "boxes", "boxes").reshape(-1, 4) if np.size(boxes) == 0 else numbers(boxes, "boxes", "boxes", 2)
    )
    scores = None if scores is None else numbers(scores, "boxes", "scores", 1)
    points = None if points is None else numbers(points, "boxes", "points", 3)
    fits = corners.shape[1] == 4 and all(more is None or len(more) == len(corners) for more in (scores, points))
    if not fits or (points is not None and points.shape[2] != 2):
        shapes = ", ".join(f"{n} {a.shape}" for n, a in [("scores", scores), ("points", points)] if a is not None)
        raise ValueError(f"plot.boxes: boxes is {corners.shape} {shapes}; (n, 4), (n,) and (n, k, 2) expected")
    ax = axes(ax, "boxes")
    ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
    for i, (left, top, right, bottom) in enumerate(corners):
        ax.add_patch(_rectangle(left, top, right - left, bottom - top))
        if scores is not None:
            label = {"facecolor": ORANGE, "edgecolor": "none", "pad": 1.5}
            ax.text(left, top, f"{scores[i]:.2f}", color="white", fontsize=8, va="bottom", bbox=label)
    if points is not None:
        ax.plot(*points.reshape(-1, 2).T, ".", color="#39d353", markersize=5)
    ax.axis("off")
    return ax


def saliency(
    model: Any,
    image: Any,
    ax: Any = None,
    *,
    method: str = "occlusion",
    target: int | None = None,
    size: int | None = None,
) -> Any:
    """Draw which parts of a picture drive a network's answer.

    Parameters
    ----------
    model : Module
        A network of pictures.
    image : array_like, shape (C, H, W) or (1, C, H, W)
        What it looks at.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    method : {"occlusion", "gradient"}
        "occlusion": a grey square is slid over the picture; orange where the answer falls when it is covered, blue
        where it rises. "gradient": the size of the answer's gradient at each pixel.
    target : int, optional
        Which output is the answer; by default the largest (the only one, if there is one).
    size : int, optional
        Side of the square in pixels; a fifth of the picture by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If the method, the target, the size or the picture's axes do not fit, or the model gives no Tensor.

    References
    ----------
    Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013; Simonyan, Vedaldi, Zisserman, "Deep
    inside convolutional networks", 2013.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Conv2d(1, 2, 8), fnn.nn.Flatten())
    >>> ax = fnn.plot.saliency(net, fnn.rand(1, 8, 8), method="gradient")
    >>> len(ax.images)
    2
    """
    if method not in ("occlusion", "gradient"):
        raise ValueError(f"plot.saliency: method must be 'occlusion' or 'gradient', got {method!r}")
    x = _image(image, "saliency")
    height, width = x.shape[2:]
    size = max(1, min(height, width) // 5) if size is None else size
    if not 1 <= size <= min(height, width):
        raise ValueError(f"plot.saliency: size must be from 1 to {min(height, width)}, got {size}")
    with evaluating(model):
        with no_grad():
            answer = model(x)
        if not isinstance(answer, Tensor):
            raise ValueError(f"plot.saliency: the model gives a {type(answer).__name__}; one Tensor expected")
        answer = answer.reshape(-1)
        target = int(answer.argmax().item()) if target is None else target
        if not 0 <= target < answer.shape[0]:
            raise ValueError(f"plot.saliency: target must be from 0 to {answer.shape[0] - 1}, got {target}")
        heat = _gradient(model, x, target) if method == "gradient" else _occlusion(model, x, target, size)
    ax = axes(ax, "saliency")
    grey = x.numpy()[0].mean(0)
    ax.imshow(grey, cmap="gray", vmin=grey.min(), vmax=max(grey.max(), grey.min() + 1e-9))
    limit = largest(heat)
    low, colours = (0, "inferno") if method == "gradient" else (-limit, blue_to_orange())
    ax.imshow(heat, cmap=colours, vmin=low, vmax=limit, alpha=0.55, interpolation="bilinear")
    ax.set_title(f"What the answer hangs on ({method})", color="black")
    ax.tick_params(color=GREY)
    ax.axis("off")
    return ax


def _gradient(model: Any, x: Any, target: int) -> np.ndarray:
    """Return the largest gradient over the channels, (H, W)."""
    x = as_tensor(np.array(x.numpy()))
    x.requires_grad = True
    with enable_grad():
        (slope,) = grad(model(x).reshape(-1)[target], x)
    return np.abs(slope.numpy()[0]).max(0).astype(np.float64)


def _occlusion(model: Any, x: Any, target: int, size: int) -> np.ndarray:
    """Return by how much the answer falls for each pixel, the mean over the squares that cover it, (H, W)."""
    pixels = np.array(x.numpy()[0])
    height, width = pixels.shape[1:]
    step = max(1, size // 4)
    ends = [sorted({*range(0, n - size + 1, step), n - size}) for n in (height, width)]
    places = [(top, left) for top in ends[0] for left in ends[1]]
    mean = pixels.mean((1, 2))[:, None, None]

    def covered(some: list[tuple[int, int]]) -> Any:
        pictures = np.repeat(pixels[None], len(some), 0)
        for picture, (top, left) in zip(pictures, some):
            picture[:, top : top + size, left : left + size] = mean
        return as_tensor(pictures)

    with no_grad():  # some at a time: all pictures of a photograph together would take gigabytes
        parts = [model(covered(places[i : i + 16])) for i in range(0, len(places), 16)]
        answers = cat([part.reshape(part.shape[0], -1) for part in parts]).numpy()[:, target]
        whole = float(model(x).reshape(-1)[target].item())
    fall, counts = np.zeros((height, width)), np.zeros((height, width))
    for (top, left), answer in zip(places, answers):
        fall[top : top + size, left : left + size] += whole - answer
        counts[top : top + size, left : left + size] += 1
    return fall / counts


def _picture(picture: Any, who: str) -> np.ndarray:
    """Return a picture with values from 0 to 1."""
    integers = np.asarray(picture.numpy() if hasattr(picture, "numpy") else picture).dtype.kind in "iu"
    shown = numbers(picture, who, "picture")
    if shown.ndim not in (2, 3) or (shown.ndim == 3 and shown.shape[2] != 3) or not shown.size:
        raise ValueError(f"plot.{who}: picture must be (H, W) or (H, W, 3), got {shown.shape}")
    if integers and shown.max() > 255:  # of 16 bits, it would be all white
        raise ValueError(f"plot.{who}: picture has integers to {shown.max():.0f}; to 255 expected, or floats to 1")
    return np.clip(shown / 255 if integers and shown.max() > 1 else shown, 0, 1)


def _rectangle(left: float, top: float, width: float, height: float) -> Any:
    """Return a frame."""
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), width, height, fill=False, edgecolor=ORANGE, linewidth=2)
