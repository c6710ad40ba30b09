"""Nine numbers slid over a photograph: what convolution is, step by step in one window, and what it finds.

Edges, blur, sharpening and relief are all the same sum with other numbers; give your own nine with --kernel.
"""

import argparse
from pathlib import Path

import numpy as np

import fastnn as fnn

from .. import _cli
from .._cli import CommandError
from .._extras import require
from ..plot._axes import blue_to_orange
from . import _images

PICTURE = "filters.png"
KERNELS = {
    "sobel-x": ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "from dark to light, left to right: upright edges"),
    "sobel-y": ([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], "from dark to light, top to bottom: level edges"),
    "blur": (
        [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
        "the mean, near counts more",
    ),
    "sharpen": ([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], "the pixel, and how it differs from its neighbours"),
    "emboss": ([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], "light from the corner: a relief"),
}
LARGEST = 1e30  # nine of them times 255 are far from float32's end
SIGNED = ("sobel-x", "sobel-y")  # around zero, so grey is zero in their pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--picture", metavar="FILE", default=argparse.SUPPRESS, help="your own photograph")
    parser.add_argument("--step", choices=tuple(KERNELS), default="sobel-x", help="the filter to work out by hand")
    parser.add_argument(
        "--kernel",
        nargs=9,
        type=_cli.finite,
        metavar="N",
        default=argparse.SUPPRESS,
        help="your own nine numbers, by rows",
    )
    parser.add_argument(
        "--at",
        nargs=2,
        type=_cli.count,
        metavar=("ROW", "COLUMN"),
        default=argparse.SUPPRESS,
        help="where to work it out",
    )
    parser.add_argument("--out", default=".", metavar="FOLDER", help=f"where {PICTURE} goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib: only the step by step")


def run(options: argparse.Namespace) -> None:
    """Filter a photograph."""
    out = None
    if not options.no_picture:
        require("matplotlib", "plot", "the picture (--no-picture does without it)")
        out = _cli.folder(options.out)
    own = "picture" in options
    colour = _images.read(options.picture) if own else _images.photograph("astronaut.png")
    grey = (colour @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    kernels = dict(KERNELS)
    name = options.step
    if "kernel" in options:
        name = "your own"
        if max(map(abs, options.kernel)) > LARGEST:
            raise CommandError(f"--kernel: numbers from {-LARGEST:g} to {LARGEST:g} expected")
        kernels[name] = (np.reshape(options.kernel, (3, 3)).tolist(), "your nine numbers")
    row, column = options.at if "at" in options else _edge(grey)
    if not (row < grey.shape[0] and column < grey.shape[1]):
        raise CommandError(f"--at {row} {column}: the picture has {grey.shape[0]} rows and {grey.shape[1]} columns")
    title = options.picture if own else "the astronaut Eileen Collins"
    print(f"{title}: {grey.shape[0]} x {grey.shape[1]} pixels, grey\n")
    results = {}
    for each, (numbers, what) in kernels.items():
        results[each] = fnn.kernels.filter2d(grey, np.array(numbers, np.float32))
        print(f"  {each:<9} {what}")
    _explain(name, np.array(kernels[name][0], np.float32), grey, results[name], row, column)
    if out is not None:
        draw(colour, kernels, results, out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def _edge(grey: np.ndarray) -> tuple[int, int]:
    """Return the pixel with the steepest change from left to right, away from the border."""
    if min(grey.shape) < 3:
        return grey.shape[0] // 2, grey.shape[1] // 2
    change = np.abs(grey[1:-1, 2:] - grey[1:-1, :-2])
    row, column = np.unravel_index(change.argmax(), change.shape)
    return int(row) + 1, int(column) + 1


def _explain(name: str, kernel: np.ndarray, grey: np.ndarray, result: np.ndarray, row: int, column: int) -> None:
    """Print the weighted sum of one window."""
    rows = np.clip([row - 1, row, row + 1], 0, grey.shape[0] - 1)
    columns = np.clip([column - 1, column, column + 1], 0, grey.shape[1] - 1)
    window = grey[np.ix_(rows, columns)]
    print(f"\n{name} at row {row}, column {column}: every pixel of the window times the number that lies on it")
    print(f"  {'pixels':<24}{'numbers':<24}{'products'}")
    for pixels, numbers in zip(window, kernel):
        products = pixels * numbers + 0  # which makes 0 of -0
        left, middle, right = (" ".join(f"{v:>7.4g}" for v in line) for line in (pixels, numbers, products))
        print(f"  {left}{middle:>24}{right:>26}")
    print(f"  the sum of the nine products: {(window * kernel).sum(dtype=np.float64):.4f}")
    print(f"  the filtered picture there:   {result[row, column]:.4f}")
    print("Slide the window one pixel on, and again: that is all a convolution does. A network learns the numbers.")


def draw(colour: np.ndarray, kernels: dict, results: dict[str, np.ndarray], file: Path) -> None:
    """Write the picture: the photograph, and beside it each result with its nine numbers."""
    count = len(results) + 1
    columns = 3
    rows = -(-count // columns)
    figure = require("matplotlib.figure", "plot", "the picture").Figure(
        (4.1 * columns, 4.6 * rows), layout="constrained"
    )
    axes = figure.subplots(rows, columns).ravel()
    axes[0].imshow(colour)
    axes[0].set_title("the photograph", fontsize=9)
    for ax, (name, result) in zip(axes[1:], results.items()):
        signed = name in SIGNED or result.mean() < 20
        limit = max(np.percentile(np.abs(result), 99), 1e-9)
        low, high = (-limit, limit) if signed else (0, 255)
        ax.imshow(result, cmap="gray", vmin=low, vmax=high)
        ax.set_title(f"{name}: {kernels[name][1]}", fontsize=9)
        _numbers(ax, kernels[name][0])
    for ax in axes:
        ax.axis("off")
    figure.savefig(file, dpi=90)


def _numbers(ax, kernel: list) -> None:
    """Write the nine numbers into the corner of a picture."""
    inset = ax.inset_axes([0.02, 0.02, 0.3, 0.3])
    values = np.array(kernel)
    limit = np.abs(values).max() or 1.0
    inset.imshow(values, cmap=blue_to_orange(), vmin=-limit, vmax=limit)
    sixteenths = bool((values % 1).any() and not (values * 16 % 1).any())
    for (i, j), value in np.ndenumerate(values):
        text = f"{value * 16:g}/16" if sixteenths else f"{value:.3g}"
        inset.text(j, i, text, ha="center", va="center", fontsize=8 if len(text) < 5 else 6)
    inset.set_xticks([])
    inset.set_yticks([])
