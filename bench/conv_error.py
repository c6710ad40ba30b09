"""What Winograd's speed costs in accuracy: `python -m bench.conv_error [SEEDS]`.

The RMS error of a 3x3 convolution against float64, over the RMS of the answer, of y, dx and dw: fastnn as it is
(Winograd where its cost model takes it), fastnn with precision="strict" (direct), and PyTorch where it is installed.
With several seeds: the median of each, and the greatest of the ratios.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench import settings
from bench.case import Answer, Inputs, rms_error

SIZES = ((64, 56), (128, 28), (256, 14), (512, 14))  # channels (and filters), height and width
BATCH = 2
WHAT = ("y", "dx", "dw")


def inputs(channels: int, size: int, relu: bool, seed: int = 0) -> Inputs:
    """Normal x and dy; or as behind and before a ReLU: x not negative, half of dy zero."""
    rng = np.random.default_rng([channels, seed])
    shape = (BATCH, channels, size, size)
    x, dy = (rng.standard_normal(shape, np.float32) for _ in range(2))
    w = rng.standard_normal((channels, channels, 3, 3), np.float32) * np.float32((2 / (9 * channels)) ** 0.5)
    if relu:
        x, dy = np.maximum(x, 0), dy * (rng.random(shape) < 0.5)
    return {"x": x, "w": w, "dy": dy}


def right(given: Inputs) -> Answer:
    """y, dx, dw in float64."""
    x, dy = (reference.channels_last(given[name]) for name in ("x", "dy"))
    w = given["w"].astype(np.float64)
    made = reference.forward(x, w, 1, 1), reference.input_gradient(dy, w, x.shape[1:3], 1, 1)
    return [*map(reference.channels_first, made), reference.weight_gradient(dy, x, w.shape, 1, 1)]


def by(library: str, **options: Any) -> Callable[[Inputs], Answer]:
    """fastnn's or PyTorch's conv2d and its gradients."""

    def run(given: Inputs) -> Answer:
        lib = __import__(library)
        x, w = (lib.tensor(given[name], requires_grad=True) for name in ("x", "w"))
        y = lib.nn.functional.conv2d(x, w, padding=1, **options)
        y.backward(lib.tensor(given["dy"]))
        return [np.asarray(a.numpy()) for a in (y.detach(), x.grad, w.grad)]

    return run


PEERS: Mapping[str, Callable[[Inputs], Answer]] = {
    "fastnn": by("fastnn"),
    "strict": by("fastnn", precision="strict"),
    "PyTorch": by("torch"),
}
MODULES = {"fastnn": "fastnn", "strict": "fastnn", "PyTorch": "torch"}


def measure(sizes: Sequence[tuple[int, int]] = SIZES, seed: int = 0) -> list[dict[str, Any]]:
    """One row per size, kind of data and result: the error of each peer."""
    peers = {name: run for name, run in PEERS.items() if not settings.why_missing(MODULES[name])}
    rows = []
    for channels, size in sizes:
        for relu in (False, True):
            given = inputs(channels, size, relu, seed)
            want = right(given)
            got = {name: run(given) for name, run in peers.items()}
            for i, what in enumerate(WHAT):
                errors = {name: rms_error(answer[i], want[i]) for name, answer in got.items()}
                rows.append({"channels": channels, "size": size, "relu": relu, "what": what, "errors": errors})
    return rows


def ratio(errors: Mapping[str, float]) -> float:
    """How many times strict's error ours is."""
    return errors["fastnn"] / errors["strict"]


def main(seeds: int = 1) -> None:
    """Prints a table; the ratio is fastnn's error over its own strict one."""
    runs = [measure(seed=seed) for seed in range(seeds)]
    names = list(runs[0][0]["errors"])
    print(f"{'3x3, RMS relative error':32}" + "".join(f"{name:>10}" for name in names) + "     ratio")
    for same in zip(*runs, strict=True):
        row, errors = same[0], [r["errors"] for r in same]
        title = f"C{row['channels']} H{row['size']} {'ReLU-like' if row['relu'] else 'normal'} {row['what']}"
        middle = "".join(f"{median(e[name] for e in errors):10.2e}" for name in names)
        print(f"{title:32}{middle}{max(map(ratio, errors)):10.2f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
