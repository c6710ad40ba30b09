"""Pictures of training and of what was learned; each function draws on a matplotlib Axes and returns it.

matplotlib comes with `pip install "fastnn[plot]"` and is imported by the first picture, not before. Without `ax`, a
new figure of pyplot is made.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ._extras import require

__all__ = ["learning_curve", "neuron", "predicted_against_true", "weights"]

BLUE, ORANGE, GREY = "#2b6cb0", "#d9622b", "#8a8f98"
_LOSSES = {"loss": "training", "val_loss": "validation"}  # a History's names and the legend's


def _axes(ax: Any, who: str) -> Any:
    """Return `ax`, or the Axes of a new figure."""
    require("matplotlib", "plot", f"plot.{who}")
    return require("matplotlib.pyplot", "plot", f"plot.{who}").subplots()[1] if ax is None else ax


def _array(values: Any, who: str, name: str, ndim: int | None = None) -> np.ndarray:
    """Return Tensor or array_like `values` as a float64 array, refused when it is not numeric or has other axes."""
    values = values.detach() if hasattr(values, "detach") else values
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"plot.{who}: {name} must be numbers: {error}") from None
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"plot.{who}: {name} must have {ndim} axes, got shape {array.shape}")
    return array


def _plain(ax: Any) -> None:
    """Take away the frame on the sides that carry no scale."""
    ax.spines[["top", "right"]].set_visible(False)


def _plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis 0.2, 0.5, 1, 100 and not 2 x 10^-1."""
    ticker = require("matplotlib.ticker", "plot", "plot")
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())


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
    ax = _axes(ax, "learning_curve")
    names = list(history.keys()) if isinstance(history, Mapping) else [n for n in _LOSSES if n in list(history)]
    curves = {_LOSSES.get(name, name): history[name] for name in names}
    if not curves:
        raise ValueError("plot.learning_curve: the history is empty")
    positive = True
    for (name, values), colour in zip(curves.items(), [BLUE, ORANGE, *[f"C{i}" for i in range(2, 10)]] * len(curves)):
        runs = np.atleast_2d(_array(values, "learning_curve", repr(name)))
        epochs = np.arange(1, runs.shape[1] + 1)
        positive &= bool((runs > 0).all())
        ax.plot(epochs, runs.mean(0), color=colour, linewidth=1.8, label=name)
        if len(runs) > 1:
            ax.fill_between(epochs, runs.min(0), runs.max(0), color=colour, alpha=0.15, linewidth=0)
    for name, level in (reference or {}).items():
        ax.axhline(level, color=GREY, linestyle="--", linewidth=1.2, label=name)
    if positive:
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis)
    ax.set(xlabel="epoch", ylabel="loss", title="Learning curve")
    ax.legend(frameon=False)
    _plain(ax)
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
        If the shapes differ or there are no values.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.plot.predicted_against_true([1.0, 2.0], [1.1, 1.8], unit="m").get_xlabel()
    'true (m)'
    """
    ax = _axes(ax, "predicted_against_true")
    true = _array(true, "predicted_against_true", "true", 1)
    predicted = _array(predicted, "predicted_against_true", "predicted", 1)
    if true.shape != predicted.shape or not true.size:
        raise ValueError(f"plot.predicted_against_true: true is {true.shape}, predicted is {predicted.shape}")
    ends = min(true.min(), predicted.min()), max(true.max(), predicted.max())
    ax.scatter(true, predicted, s=9, color=BLUE, alpha=0.3, linewidths=0)
    ax.plot(ends, ends, color=ORANGE, linewidth=1.4, label="perfect")
    margin = 0.03 * (ends[1] - ends[0]) or 1.0
    limits = (ends[0] - margin, ends[1] + margin)
    if log:
        ax.set(xscale="log", yscale="log")
        limits = (ends[0] / 1.1, ends[1] * 1.1)
        _plain_numbers(ax.xaxis)
        _plain_numbers(ax.yaxis)
    ax.set(xlim=limits, ylim=limits)
    suffix = f" ({unit})" if unit else ""
    ax.set(xlabel=f"true{suffix}", ylabel=f"predicted{suffix}", title="Predicted against true")
    ax.legend(frameon=False, loc="upper left")
    _plain(ax)
    return ax


def weights(matrix: Any, names: Sequence[str] | None = None, ax: Any = None) -> Any:
    """Draw a weight matrix as colours: orange pushes a neuron up, blue pushes it down, white does nothing.

    Parameters
    ----------
    matrix : array_like, shape (neurons, inputs)
        Such as `net.layers[0].weight`. Neurons are sorted by the input that moves them most.
    names : sequence of str, optional
        A name for each input.
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
    ax = _axes(ax, "weights")
    matrix = _array(matrix, "weights", "matrix", 2)
    if names is None:
        names = [f"x{i + 1}" for i in range(matrix.shape[1])]
    if len(names) != matrix.shape[1] or not matrix.size:
        raise ValueError(
            f"plot.weights: matrix is {matrix.shape}, with {len(names)} names; one for each input expected"
        )
    strongest = np.abs(matrix).argmax(1)
    order = np.lexsort((-matrix[np.arange(len(matrix)), strongest], strongest))
    limit = np.abs(matrix).max() or 1.0
    image = ax.imshow(matrix[order].T, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, pad=0.02).outline.set_visible(False)
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks([])
    ax.set(xlabel=f"{len(matrix)} neurons, by the input that moves each most", title="Weights of the first layer")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def neuron(
    inputs: Any, weights: Any, bias: float, activation: Callable, ax: Any = None, *, name: str = "activation"
) -> Any:
    """Draw one neuron at work: inputs, weights, the weighted sum, and the activation curve with the point it is at.

    Parameters
    ----------
    inputs, weights : array_like, shape (n,)
        The numbers that come in and what each is multiplied by.
    bias : float
        What is added to the weighted sum.
    activation : callable
        Takes an array of sums and returns the outputs.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    name : str
        What the activation is called.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If there are not as many weights as inputs.

    Examples
    --------
    >>> import fastnn as fnn
    >>> import numpy as np
    >>> fnn.plot.neuron([1, 2, 3], [0.2, 0.8, -0.5], 2.0, np.tanh, name="tanh").get_title()
    'tanh(0.2·1 + 0.8·2 − 0.5·3 + 2) = 0.98'
    """
    ax = _axes(ax, "neuron")
    x, w = _array(inputs, "neuron", "inputs", 1), _array(weights, "neuron", "weights", 1)
    if x.shape != w.shape or not x.size:
        raise ValueError(f"plot.neuron: inputs is {x.shape}, weights is {w.shape}; the same expected")
    z = float(w @ x + bias)
    output = float(_array(activation(np.array([z])), "neuron", "the output").reshape(-1)[0])
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    rows = np.linspace(5.4, 0.6, len(x)) if len(x) > 1 else np.array([3.0])
    for y, xi, wi in zip(rows, x, w):
        _wire(ax, y, xi, wi, np.abs(w).max() or 1.0)
    _disc(ax, 4.1, 3.0, f"Σ\n{z:.4g}", 22)
    ax.annotate(f"bias {bias:.4g}", (4.1, 2.35), (4.1, 0.5), ha="center", color=GREY, arrowprops=_arrow(GREY, 1.2))
    ax.annotate("", (5.3, 3.0), (4.7, 3.0), arrowprops=_arrow("black", 1.4))
    ax.annotate("", (9.25, 3.0), (8.65, 3.0), arrowprops=_arrow("black", 1.4))
    ax.text(9.35, 3.0, f"{output:.4g}", va="center", fontsize=13, fontweight="bold")
    _curve(ax.inset_axes([0.54, 0.22, 0.32, 0.56]), activation, z, output, name)
    ax.set_title(_sentence(x, w, bias, name, output), fontsize=11)
    return ax


def _sentence(x: np.ndarray, w: np.ndarray, bias: float, name: str, output: float) -> str:
    """Return "tanh(0.2·1 + 0.8·2 + 2) = 0.9", short when there are many inputs."""
    if len(x) > 4:
        inside = f"{w @ x + bias:.4g}"
    else:
        terms = [f"{wi:.4g}·{xi:.4g}" for wi, xi in zip(w, x)]
        inside = " + ".join([*terms, f"{bias:.4g}"]).replace("+ -", "− ")
    return f"{name}({inside}) = {output:.2f}" if name.isidentifier() else f"{name} at z = {inside} is {output:.2f}"


def _arrow(colour: str, width: float) -> dict:
    """Return the properties of an arrow."""
    return {"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0}


def _disc(ax: Any, x: float, y: float, text: str, size: float) -> None:
    """Draw a circle with text in it, round whatever the shape of the axes."""
    ax.plot([x], [y], "o", markersize=2 * size, color="white", markeredgecolor="black", markeredgewidth=1.3, zorder=3)
    ax.text(x, y, text, ha="center", va="center", fontsize=10, zorder=4)


def _wire(ax: Any, y: float, value: float, weight: float, largest: float) -> None:
    """Draw one input and its way to the sum: the thicker the larger the weight, orange up and blue down."""
    colour = ORANGE if weight > 0 else BLUE if weight < 0 else GREY
    ax.plot([0.9, 4.1], [y, 3.0], color=colour, linewidth=0.6 + 4 * abs(weight) / largest, alpha=0.75, zorder=1)
    box = {"boxstyle": "round,pad=0.15", "color": "white"}
    ax.text(2.2, y + (3.0 - y) * 1.3 / 3.2, f"{weight:.4g}", ha="center", va="center", color=colour, bbox=box, zorder=2)
    _disc(ax, 0.9, y, f"{value:.4g}", 15)


def _curve(ax: Any, activation: Callable, z: float, output: float, name: str) -> None:
    """Draw the activation around `z` and the point it is at."""
    reach = max(3.0, 1.3 * abs(z))
    grid = np.linspace(-reach, reach, 301)
    with np.errstate(all="ignore"):
        ax.plot(grid, _array(activation(grid), "neuron", "the output"), color="black", linewidth=1.6)
    ax.spines[["left", "bottom"]].set(position="zero", color=GREY)
    ax.plot([z, z, 0], [0, output, output], color=ORANGE, linewidth=0.9, linestyle=":")
    ax.plot([z], [output], "o", color=ORANGE, markersize=8, zorder=3)
    ax.set_title(name, fontsize=10)
    ax.locator_params(nbins=5)
    ax.tick_params(labelsize=7, color=GREY, labelcolor=GREY)
    _plain(ax)
