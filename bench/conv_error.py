"""What Winograd's speed costs in accuracy: `python -m bench.conv_error [SEEDS]`.

The RMS error of a convolution against float64, over the RMS of the answer, of y, dx and dw: fastnn as it is
(Winograd where its cost model takes it), fastnn with precision="strict" (direct), and PyTorch where it is installed.
With several seeds: the median of each, and the greatest of the ratios.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench import conv_reference as reference
from bench import settings
from bench.case import Answer, Inputs, rms_error


class Size(NamedTuple):
    kernel: int
    channels: int
    filters: int
    height: int  # and width
    stride: int = 1

    @property
    def name(self) -> str:
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}x{self.kernel} C{self.channels} K{self.filters} H{self.height}{stride}"


SIZES = tuple(Size(3, c, c, height) for c, height in ((64, 56), (128, 28), (256, 14), (512, 14)))
SIZES += (Size(3, 3, 64, 224),)
SIZES += (Size(5, 32, 64, 28), Size(5, 64, 64, 56), Size(5, 256, 256, 14))
SIZES += (Size(7, 3, 64, 224, 2), Size(7, 64, 64, 56, 2))
BATCH = 2
WHAT = ("y", "dx", "dw")


def inputs(size: Size, relu: bool, seed: int = 0) -> Inputs:
    """Normal x and dy; or as behind and before a ReLU: x not negative, half of dy zero."""
    rng = np.random.default_rng([size.channels, seed])
    out = size.height // size.stride
    x = rng.standard_normal((BATCH, size.channels, size.height, size.height), np.float32)
    dy = rng.standard_normal((BATCH, size.filters, out, out), np.float32)
    terms = size.kernel**2 * size.channels
    shape = (size.filters, size.channels, size.kernel, size.kernel)
    w = rng.standard_normal(shape, np.float32) * np.float32((2 / terms) ** 0.5)
    if relu:
        x, dy = np.maximum(x, 0), dy * (rng.random(dy.shape) < 0.5)
    return {"x": x, "w": w, "dy": dy}


def right(size: Size, given: Inputs) -> Answer:
    """y, dx, dw in float64."""
    x, dy = (reference.channels_last(given[name]) for name in ("x", "dy"))
    w = given["w"].astype(np.float64)
    how = size.stride, size.kernel // 2
    made = reference.forward(x, w, *how), reference.input_gradient(dy, w, x.shape[1:3], *how)
    return [*map(reference.channels_first, made), reference.weight_gradient(dy, x, w.shape, *how)]


def by(library: str, **options: Any) -> Callable[[Size, Inputs], Answer]:
    """fastnn's or PyTorch's conv2d and its gradients."""

    def run(size: Size, given: Inputs) -> Answer:
        lib = __import__(library)
        x, w = (lib.tensor(given[name], requires_grad=True) for name in ("x", "w"))
        y = lib.nn.functional.conv2d(x, w, padding=size.kernel // 2, stride=size.stride, **options)
        y.backward(lib.tensor(given["dy"]))
        return [np.asarray(a.numpy()) for a in (y.detach(), x.grad, w.grad)]

    return run


PEERS: Mapping[str, Callable[[Size, Inputs], Answer]] = {
    "fastnn": by("fastnn"),
    "strict": by("fastnn", precision="strict"),
    "PyTorch": by("torch"),
}
MODULES = {"fastnn": "fastnn", "strict": "fastnn", "PyTorch": "torch"}


def measure(sizes: Sequence[Size] = SIZES, seed: int = 0) -> list[dict[str, Any]]:
    """One row per size, kind of data and result: the error of each peer."""
    peers = {name: run for name, run in PEERS.items() if not settings.why_missing(MODULES[name])}
    rows = []
    for size in sizes:
        for relu in (False, True):
            given = inputs(size, relu, seed)
            want = right(size, given)
            got = {name: run(size, given) for name, run in peers.items()}
            for i, what in enumerate(WHAT):
                errors = {name: rms_error(answer[i], want[i]) for name, answer in got.items()}
                rows.append({"size": size, "relu": relu, "what": what, "errors": errors})
    return rows


def ratio(errors: Mapping[str, float]) -> float:
    """How many times strict's error ours is."""
    return errors["fastnn"] / errors["strict"]


def main(seeds: int = 1) -> None:
    """Prints a table; the ratio is fastnn's error over its own strict one."""
    runs = [measure(seed=seed) for seed in range(seeds)]
    names = list(runs[0][0]["errors"])
    print(f"{'RMS relative error':42}" + "".join(f"{name:>10}" for name in names) + "     ratio")
    for same in zip(*runs, strict=True):
        row, errors = same[0], [r["errors"] for r in same]
        title = f"{row['size'].name} {'ReLU-like' if row['relu'] else 'normal'} {row['what']}"
        middle = "".join(f"{median(e[name] for e in errors):10.2e}" for name in names)
        print(f"{title:42}{middle}{max(map(ratio, errors)):10.2f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
