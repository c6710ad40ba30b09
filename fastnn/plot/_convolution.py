"""What a convolutional network has learned: its filters, and what each layer makes of a picture."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from .._ops import Tensor, as_tensor
from .._tape import no_grad
from ..nn._evaluating import evaluating
from ._axes import axes, blue_to_orange, counts, largest, numbers

GAP = 0.06  # between tiles of width 1


def filters(weight: Any, ax: Any = None, *, columns: int | None = None) -> Any:
    """Draw the filters of a convolution as tiles, such as those of the first layer: `net.conv1.weight`.

    Parameters
    ----------
    weight : array_like, shape (F, C, h, w)
        With three channels the tiles are in colour, each stretched to its own range. Otherwise the channels are summed:
        orange lets light count for the filter, blue against it.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    columns : int, optional
        Tiles in a row; about twice as many as rows by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If `weight` has other than four axes, or is empty; if `columns` is no integer of at least 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> ax = fnn.plot.filters(fnn.nn.Conv2d(1, 8, 3).weight)
    >>> len(ax.images)
    8
    """
    weight = numbers(weight, "filters", "weight", 4)
    if not weight.size:
        raise ValueError(f"plot.filters: weight is empty, its shape is {weight.shape}")
    if columns is not None:
        counts("filters", columns=columns)
    ax = axes(ax, "filters")
    colour = weight.shape[1] == 3
    columns = columns or int(np.ceil(np.sqrt(2 * len(weight))))
    limit = largest(weight.sum(1))
    for i, tile in enumerate(weight):
        if colour:
            low, high = tile.min(), tile.max()
            image = np.moveaxis((tile - low) / ((high - low) or 1.0), 0, 2)
            _tile(ax, image, i % columns, i // columns)
        else:
            _tile(ax, tile.sum(0), i % columns, i // columns, cmap=blue_to_orange(), vmin=-limit, vmax=limit)
    _frame(ax, min(columns, len(weight)), -(-len(weight) // columns))
    ax.set_title(f"{len(weight)} filters of {weight.shape[2]} x {weight.shape[3]}")
    return ax


def feature_maps(
    model: Any,
    image: Any,
    layers: Sequence[str] | Mapping[str, str] | None = None,
    ax: Any = None,
    *,
    columns: int = 12,
    rows: int = 1,
) -> Any:
    """Draw what layers of a network make of one picture, a row of feature maps for each, from edges to parts.

    The layers are listened to by forward hooks while the model looks at the picture in evaluation mode; afterwards it
    is as it was.

    Parameters
    ----------
    model : Module
        A network of pictures.
    image : array_like, shape (C, H, W) or (1, C, H, W)
        What it looks at.
    layers : sequence of str or mapping of str to str, optional
        Names as in `named_modules`, and what the picture calls each, if not that; by default every layer named "Conv2d"
        whose output is larger than one pixel.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    columns, rows : int
        Maps in a row, and rows of each layer; those that vary most come first.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    MissingExtraError
        Without matplotlib (a ModuleNotFoundError).
    ValueError
        If a layer does not exist or its output is no image, or the image has other axes; if `columns` or `rows` is no
        integer of at least 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Conv2d(1, 4, 3), fnn.nn.ReLU(), fnn.nn.Conv2d(4, 2, 3))
    >>> ax = fnn.plot.feature_maps(net, fnn.zeros(1, 9, 9), ["1", "2"])
    >>> len(ax.images)
    6
    """
    counts("feature_maps", columns=columns, rows=rows)
    x = _image(image, "feature_maps")
    maps = _listen(model, x, layers)
    ax = axes(ax, "feature_maps")
    top = 0
    for name, map_ in maps.items():
        order = np.argsort(-map_.std((1, 2)), kind="stable")[: columns * rows]
        for i, channel in enumerate(order):
            # A few pixels that stand out would leave the rest in the dark.
            seen = map_[channel][np.isfinite(map_[channel])]
            low, high = np.percentile(seen if seen.size else 0.0, (0.5, 99.5))
            high = max(high, low + 1e-12)
            _tile(ax, map_[channel], i % columns, top + i // columns, cmap="magma", vmin=low, vmax=high)
        called = layers[name] if isinstance(layers, Mapping) else name
        text = f"{called}\n{map_.shape[0]} x {map_.shape[1]} x {map_.shape[2]}"
        ax.text(-0.15, top + 0.5, text, ha="right", va="center", fontsize=9)
        top += -(-len(order) // columns)
    _frame(ax, columns, top)
    ax.set_title("What each layer sees, the most varied maps first")
    return ax


def _image(image: Any, who: str) -> Tensor:
    """Return one picture as a batch of one."""
    x = image.detach() if isinstance(image, Tensor) else as_tensor(np.asarray(image, np.float32))
    if x.ndim == 3:
        x = x.unsqueeze(0)
    if x.ndim != 4 or x.shape[0] != 1:
        raise ValueError(f"plot.{who}: image must be (C, H, W) or (1, C, H, W), got {tuple(x.shape)}")
    return x


def _listen(model: Any, x: Tensor, layers: Iterable[str] | None) -> dict[str, np.ndarray]:
    """Return the outputs of layers, (channels, h, w) each, by name."""
    modules = dict(model.named_modules())
    default = layers is None
    if layers is None:
        layers = [name for name, module in modules.items() if type(module).__name__ == "Conv2d"]
    if unknown := [name for name in layers if name not in modules]:
        raise ValueError(f"plot.feature_maps: no layer {unknown[0]!r}; there are {', '.join(filter(None, modules))}")
    heard: dict[str, np.ndarray | None] = {}

    def hook(name: str):
        def keep(module, args, output):
            heard[name] = np.array(output.detach().numpy(), np.float64) if isinstance(output, Tensor) else None

        return keep

    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(no_grad())
        for name in layers:
            stack.enter_context(modules[name].register_forward_hook(hook(name)))
        model(x)
    maps = {}
    for name in layers:
        output = heard.get(name)
        if output is None or output.ndim != 4:
            shape = "no Tensor" if output is None else output.shape
            raise ValueError(f"plot.feature_maps: layer {name!r} gives {shape}; images (1, C, H, W) expected")
        if not (default and output[0, 0].size == 1):
            maps[name] = output[0]
    if not maps:
        raise ValueError("plot.feature_maps: no layer to show; name some of named_modules")
    return maps


def _tile(ax: Any, image: np.ndarray, column: int, row: int, **settings: Any) -> None:
    """Draw a picture as a square tile of a grid."""
    extent = (column + GAP, column + 1 - GAP, row + 1 - GAP, row + GAP)
    ax.imshow(image, extent=extent, interpolation="nearest", **settings)


def _frame(ax: Any, columns: int, rows: int) -> None:
    """Show the whole grid and nothing else."""
    ax.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    ax.axis("off")
