"""The networks of the cases `gan` as tuples of layers, and what they are fed; `gan` says what they are for."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from bench.case import Inputs
from bench.cases.train import BATCHES

Layer = tuple[Any, ...]

LATENT, MAPS, JUDGE, FACES = 64, (192, 96, 48, 24, 16), (24, 48, 96, 128), 32
LEVELS, PATCHES, SIZE, CROPS = (24, 48, 96, 96, 96), (24, 48, 96), 64, 16


def generator() -> tuple[Layer, ...]:
    """Of faces: kind and sizes of each layer."""
    layers: list[Layer] = [("dense", LATENT, 16 * MAPS[0], False), ("norm1", 16 * MAPS[0]), ("relu",)]
    layers.append(("view", MAPS[0], 4))
    for a, b in pairwise(MAPS):
        layers += [("double",), ("conv", a, b, False), ("norm", b), ("relu",)]
    return (*layers, ("conv", MAPS[-1], 1, True), ("tanh",))


def judge(inputs: int, channels: Sequence[int]) -> list[Layer]:
    """A discriminator's body."""
    layers: list[Layer] = [("strided", inputs, channels[0], True), ("leaky",)]
    for a, b in pairwise(channels):
        layers += [("conv", a, b, True), ("leaky",), ("halve",)]
    return layers


def stage(a: int, b: int) -> tuple[Layer, ...]:
    """A stage of the U-Net."""
    return ("conv", a, b, False), ("norm", b), ("relu",)


FACE_JUDGE = (*judge(1, JUDGE), ("flatten",), ("dense", 16 * JUDGE[-1], 1, True))
PATCH_JUDGE = (*judge(3, PATCHES), ("conv", PATCHES[-1], 1, True))
DOWN = [stage(a, b) for a, b in pairwise((1, *LEVELS))]
UP = [stage(a + b, a) for a, b in reversed(list(pairwise(LEVELS)))]
OUT = (("conv", LEVELS[0], 2, True), ("tanh",))
PARTS: dict[str, dict[str, Sequence[Layer]]] = {
    "faces": {"g": generator(), "d": FACE_JUDGE},
    "U-Net": {
        **{f"down{i}": layers for i, layers in enumerate(DOWN)},
        **{f"up{i}": layers for i, layers in enumerate(UP)},
        "out": OUT,
        "d": PATCH_JUDGE,
    },
}


def weights(layers: Sequence[Layer], part: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Drawn so that activations keep their size, named as in a Sequential."""
    made = {}
    for i, (kind, *sizes) in enumerate(layers):
        name = f"{part}.{i}"
        if kind in ("conv", "strided", "dense"):
            k = {"conv": (3, 3), "strided": (4, 4), "dense": ()}[kind]
            shape = (sizes[1], sizes[0], *k)
            made[f"{name}.weight"] = rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)
            if sizes[2]:
                made[f"{name}.bias"] = np.zeros(sizes[1], np.float32)
        elif kind in ("norm", "norm1"):
            made[f"{name}.weight"], made[f"{name}.bias"] = np.ones(sizes[0], np.float32), np.zeros(sizes[0], np.float32)
    return made


def inputs(task: str) -> Inputs:
    """Batches, and the weights of all parts."""
    rng = np.random.default_rng(0)
    if task == "faces":
        x = rng.uniform(-1, 1, (BATCHES, FACES, 1, SIZE, SIZE)).astype(np.float32)
        given = rng.standard_normal((BATCHES, FACES, LATENT), np.float32)
    else:
        x = rng.uniform(-1, 1, (BATCHES, CROPS, 2, SIZE, SIZE)).astype(np.float32)
        given = rng.uniform(-1, 1, (BATCHES, CROPS, 1, SIZE, SIZE)).astype(np.float32)
    made = {"x": x, "given": given}
    for part, layers in PARTS[task].items():
        made |= weights(layers, part, rng)
    return made


def _multiplications(layers: Sequence[Layer], side: float) -> tuple[float, float]:
    """Of one example, and the side of what comes out."""
    count = 0.0
    for kind, *sizes in layers:
        side = {"view": 4.0, "double": 2 * side, "halve": side / 2, "strided": side / 2}.get(kind, side)
        pixels = {"conv": 9 * side**2, "strided": 16 * side**2, "dense": 1.0}.get(kind, 0.0)
        count += pixels * sizes[0] * sizes[1] if pixels else 0.0
    return count, side


def flops(task: str) -> float:
    """The generator forward and backward; the discriminator on both kinds, backward, then forward and to its input."""
    parts = PARTS[task]
    d, side = _multiplications(parts["d"], SIZE)[0], float(SIZE)
    if task == "faces":
        g = _multiplications(parts["g"], 1)[0]
    else:
        g = sum(_multiplications(parts[f"down{i}"], SIZE / 2**i)[0] for i in range(len(DOWN)))
        g += sum(_multiplications(parts[f"up{i}"], SIZE / 2 ** (len(UP) - 1 - i))[0] for i in range(len(UP)))
        g += _multiplications(OUT, side)[0]
    return 2.0 * (FACES if task == "faces" else CROPS) * (3 * g + 8 * d)
