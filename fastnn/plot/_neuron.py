"""One neuron at work."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ._axes import BLUE, GREY, ORANGE, axes, largest, numbers, plain

SMALL = 0.5  # more than 16 inputs: numbers at them could not be read


def neuron(
    inputs: Any, weights: Any, bias: float, activation: Callable, ax: Any = None, *, name: str = "activation"
) -> Any:
    """Draw one neuron at work: inputs, weights, the weighted sum, and the activation curve with the point it is at.

    Parameters
    ----------
    inputs, weights : array_like, shape (n,)
        The numbers that come in and what each is multiplied by; of more than 16 the numbers are not written.
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
    x, w = numbers(inputs, "neuron", "inputs", 1), numbers(weights, "neuron", "weights", 1)
    if x.shape != w.shape or not x.size:
        raise ValueError(f"plot.neuron: inputs is {x.shape}, weights is {w.shape}; the same expected")
    z = float(w @ x + bias)
    output = float(numbers(activation(np.array([z])), "neuron", "the output").reshape(-1)[0])
    ax = axes(ax, "neuron")
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    rows = np.linspace(5.4, 0.6, len(x)) if len(x) > 1 else np.array([3.0])
    for y, xi, wi in zip(rows, x, w):
        _wire(ax, y, xi, wi, largest(w), min(1.0, 8 / len(x)))
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


def _disc(ax: Any, x: float, y: float, text: str, size: float, scale: float = 1.0) -> None:
    """Draw a circle with text in it, round whatever the shape of the axes."""
    ax.plot(
        [x],
        [y],
        "o",
        markersize=2 * size * scale,
        color="white",
        markeredgecolor="black",
        markeredgewidth=1.3,
        zorder=3,
    )
    if scale >= SMALL:
        ax.text(x, y, text, ha="center", va="center", fontsize=10 * scale, zorder=4)


def _wire(ax: Any, y: float, value: float, weight: float, most: float, scale: float) -> None:
    """Draw one input and its way to the sum: the thicker the larger the weight, orange up and blue down."""
    colour = ORANGE if weight > 0 else BLUE if weight < 0 else GREY
    ax.plot([0.9, 4.1], [y, 3.0], color=colour, linewidth=0.6 + 4 * scale * abs(weight) / most, alpha=0.75, zorder=1)
    box = {"boxstyle": "round,pad=0.15", "color": "white"}
    if scale >= SMALL:
        at, size = y + (3.0 - y) * 1.3 / 3.2, 10 * scale
        ax.text(2.2, at, f"{weight:.4g}", ha="center", va="center", color=colour, bbox=box, zorder=2, fontsize=size)
    _disc(ax, 0.9, y, f"{value:.4g}", 15, scale)


def _curve(ax: Any, activation: Callable, z: float, output: float, name: str) -> None:
    """Draw the activation around `z` and the point it is at."""
    reach = max(3.0, 1.3 * abs(z))
    grid = np.linspace(-reach, reach, 301)
    with np.errstate(all="ignore"):
        ax.plot(grid, numbers(activation(grid), "neuron", "the output"), color="black", linewidth=1.6)
    ax.spines[["left", "bottom"]].set(position="zero", color=GREY)
    ax.plot([z, z, 0], [0, output, output], color=ORANGE, linewidth=0.9, linestyle=":")
    ax.plot([z], [output], "o", color=ORANGE, markersize=8, zorder=3)
    ax.set_title(name, fontsize=10)
    ax.locator_params(nbins=5)
    ax.tick_params(labelsize=7, color=GREY, labelcolor=GREY)
    ax.set_axisbelow(False)  # the curve runs through some numbers: they stand before it, on white
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.4g}".replace("-", "−") if value else "")  # they cross at 0
        for label in axis.get_ticklabels():
            label.set_bbox({"color": "white", "pad": 0.5})
    plain(ax)
