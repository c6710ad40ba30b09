"""The portraits that the demos of generated faces learn from, cut alike, and pictures of many pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.models import MTCNN

from .._extras import require
from . import _images

# Where the face is in an average portrait of 92 x 112 pixels, and how large: the side of a square in distances
# between eyes and mouth, by which a found face is cut. Those vary less than boxes do, also in half profile.
AVERAGE, SIDE = np.array([45.0, 62.0]), 84.0
DISTANCES, DOWN = 2.2, 0.02


def squares(portraits: np.ndarray, finder: MTCNN | None) -> tuple[np.ndarray, np.ndarray]:
    """Return middles (40, 10, 2) and sides (40, 10) of squares about the faces: found, or the average one."""
    middles = np.tile(AVERAGE, (*portraits.shape[:2], 1))
    sides = np.full(portraits.shape[:2], SIDE)
    if finder is None:
        return middles, sides
    for place in np.ndindex(sides.shape):
        found = finder.detect(np.repeat(portraits[place][:, :, None], 3, 2), smallest=40)
        if len(found.boxes):
            points = found.points[0]  # the eyes, the nose, the corners of the mouth
            eyes, mouth = points[:2].mean(0), points[3:].mean(0)
            sides[place] = DISTANCES * np.hypot(*(mouth - eyes))
            middles[place] = (eyes + mouth) / 2 + [0, DOWN * sides[place]]
    return middles, sides


def faces(finder: MTCNN | None, size: int) -> np.ndarray:
    """Return the 400 faces, (40, 10, size, size) from -1 to 1."""
    portraits = _images.orl()
    middles, sides = squares(portraits, finder)
    cut = np.empty((*sides.shape, size, size), np.float32)
    for place in np.ndindex(sides.shape):
        left, top = middles[place] - sides[place] / 2
        box = (left, top, left + sides[place], top + sides[place])
        cut[place] = _images.window(portraits[place], box, size)
    return cut / np.float32(127.5) - 1


class Batches:
    """Batches of pictures drawn at random, half of them mirrored, and of what belongs to them: so many an epoch."""

    def __init__(self, pictures: np.ndarray, *more: np.ndarray, batch: int, steps: int, seed: int) -> None:
        self.pictures, self.more, self.batch, self.steps = pictures, more, batch, steps
        self.generator = np.random.default_rng(seed)  # under this name a checkpoint keeps its state

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple]:
        for _ in range(self.steps):
            rows = self.generator.integers(0, len(self.pictures), self.batch)
            mirrored = self.generator.random(self.batch) < 0.5
            x = self.pictures[rows]
            x[mirrored] = x[mirrored, ..., ::-1]
            yield (fnn.tensor(x), *(fnn.tensor(part[rows]) for part in self.more))


def sheet(pictures: Any, columns: int, scale: int = 1, gap: int = 2) -> np.ndarray:
    """Return pictures (n, c, h, w) from -1 to 1 as one, row by row: (H, W, 3), integers to 255."""
    x = np.asarray(pictures, np.float32)
    x = np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    x = np.repeat(np.repeat(np.broadcast_to(x, (*x.shape[:3], 3)), scale, 1), scale, 2)
    n, height, width = x.shape[:3]
    rows = -(-n // columns)
    whole = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, picture in enumerate(x):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        whole[top : top + height, left : left + width] = picture
    return whole


def write(picture: np.ndarray, file: Path) -> None:
    """Write a picture (H, W, 3) of integers to 255."""
    require("PIL.Image", "demo", "writing pictures").fromarray(picture).save(file)
