"""Training and dense layers: the learning curve, predictions against the truth, a matrix of weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._axes import (
    BLUE,
    GREY,
    ORANGE,
    axes,
    blue_to_orange,
    largest,
    named,
    numbers,
    plain,
    plain_numbers,
    whole_numbers,
)

_LOSSES = {"loss": "training", "val_loss": "validation"}  # a History's names and the legend's


def learning_curve(history: Any, ax: Any = None, *, reference: Mapping[str, float] | None = None) -> Any:
    """Draw the loss of each epoch, and of the validation data where there is any.

    Parameters
    ----------
    history : History or mapping of str to sequence
        What `fastnn.fit` returned, or losses by name: each is a sequence of numbers, or of shape (runs, epochs), drawn
        as the mean and the range of the runs.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    reference : mapping of str to float, optional
        Levels to compare with, drawn as dashed lines with their names.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If there is nothing to draw.

    Examples
    --------
    >>> import fastnn as fnn
    >>> ax = fnn.plot.learning_curve({"training": [1.0, 0.5, 0.3], "held out": [1.1, 0.7, 0.6]})
    >>> ax.get_xlabel()
    'epoch'
    """
    names = list(history.keys()) if isinstance(history, Mapping) else [n for n in _LOSSES if n in list(history)]
    curves = {
        _LOSSES.get(name, name): np.atleast_2d(numbers(history[name], "learning_curve", repr(name))) for name in names
    }
    if not curves:
        raise ValueError("plot.learning_curve: the history is empty")
    if deep := [f"{name} {runs.shape}" for name, runs in curves.items() if runs.ndim > 2]:
        raise ValueError(f"plot.learning_curve: {', '.join(deep)}; (epochs,) or (runs, epochs) expected")
    ax = axes(ax, "learning_curve")
    positive = all(bool((runs > 0).all()) for runs in curves.values())
    for (name, runs), colour in zip(curves.items(), [BLUE, ORANGE, *[f"C{i}" for i in range(2, 10)]] * len(curves)):
        epochs, mean = np.arange(1, runs.shape[1] + 1), runs.mean(0)
        # A line through one epoch, or between two that are no numbers, would not be seen.
        marker = "o" if len(mean) == 1 or not np.isfinite(mean).all() else None
        ax.plot(epochs, mean, color=colour, linewidth=1.8, label=name, marker=marker, markersize=4)
        if len(runs) > 1:
            ax.fill_between(epochs, runs.min(0), runs.max(0), color=colour, alpha=0.15, linewidth=0)
    for name, level in (reference or {}).items():
        ax.axhline(level, color=GREY, linestyle="--", linewidth=1.2, label=name)
    if positive:
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
    whole_numbers(ax.xaxis)
    ax.set(xlabel="epoch", ylabel="loss", title="Learning curve")
    ax.legend(frameon=False)
    plain(ax)
    return ax


def predicted_against_true(true: Any, predicted: Any, ax: Any = None, *, unit: str = "", log: bool = False) -> Any:
    """Draw each prediction over the true value; a perfect net puts all dots on the diagonal.

    Parameters
    ----------
    true, predicted : array_like, shape (n,)
        The values.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    unit : str
        What the numbers are, for the axis labels.
    log : bool
        Logarithmic axes.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If the shapes differ or there is no value that can be drawn: finite, and above 0 on logarithmic axes.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.plot.predicted_against_true([1.0, 2.0], [1.1, 1.8], unit="m").get_xlabel()
    'true (m)'
    """
    true = numbers(true, "predicted_against_true", "true", 1)
    predicted = numbers(predicted, "predicted_against_true", "predicted", 1)
    if true.shape != predicted.shape or not true.size:
        raise ValueError(f"plot.predicted_against_true: true is {true.shape}, predicted is {predicted.shape}")
    both = np.stack([true, predicted])
    both = both[:, (np.isfinite(both) & (both > (0 if log else -np.inf))).all(0)]
    if not both.size:
        raise ValueError(f"plot.predicted_against_true: no pair is finite{' and above 0, for log axes' if log else ''}")
    ax = axes(ax, "predicted_against_true")
    ends = both.min(), both.max()
    ax.scatter(true, predicted, s=9, color=BLUE, alpha=0.3, linewidths=0)
    ax.plot(ends, ends, color=ORANGE, linewidth=1.4, label="perfect")
    margin = 0.03 * (ends[1] - ends[0]) or 1.0
    limits = (ends[0] - margin, ends[1] + margin)
    if log:
        ax.set(xscale="log", yscale="log")
        limits = (ends[0] / 1.1, ends[1] * 1.1)
        plain_numbers(ax.xaxis)
        plain_numbers(ax.yaxis)
    ax.set(xlim=limits, ylim=limits)
    suffix = f" ({unit})" if unit else ""
    ax.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", title="Predicted against true")
    ax.legend(frameon=False, loc="upper left")
    plain(ax)
    return ax


def weights(matrix: Any, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw a weight matrix as colours: orange pushes a neuron up, blue pushes it down, white does nothing.

    Parameters
    ----------
    matrix : array_like, shape (neurons, inputs)
        Such as `net.layers[0].weight`. Neurons are sorted by the input that moves them most.
    names : sequence of str, optional
        A name for each input; of more than 40 only every k-th is written.
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
        If `matrix` has other than two axes or `names` is not one for each input.

    Examples
    --------
    >>> import fastnn as fnn
    >>> ax = fnn.plot.weights(fnn.nn.Linear(2, 4).weight, ["rooms", "year"])
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['rooms', 'year']
    """
    matrix = numbers(matrix, "weights", "matrix", 2)
    if names is None:
        names = [f"x{i + 1}" for i in range(matrix.shape[1])]
    if len(names) != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"plot.weights: matrix is {matrix.shape}, with {len(names)} names; one for each input expected"
        )
    ax = axes(ax, "weights")
    strongest = np.abs(matrix).argmax(1)
    order = np.lexsort((-matrix[np.arange(len(matrix)), strongest], strongest))
    limit, shown, colours = largest(matrix), matrix[order].T, blue_to_orange()
    image = ax.imshow(shown, cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, pad=0.02).outline.set_visible(False)
    named(ax.yaxis, names)
    ax.set_xticks([])
    ax.set(xlabel=f"{len(matrix)} neurons, by the input that moves each most", title="Weights of the first layer")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax
