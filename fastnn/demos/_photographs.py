"""Colour photographs: which pictures there are, cut small, and their brightness apart from their colour.

A colour is a brightness and two differences from it, blue and red (YCbCr, as in JPEG): grey is what one sees in black
and white, and what the network makes up is the other two.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn

from .._cli import CommandError
from .._extras import require
from . import _images

HOW = (
    "for more photographs: apt-get download mate-backgrounds lomiri-wallpapers-16.04, unpack both with "
    "dpkg -x FILE photographs, then --data photographs"
)
PACKAGED = (
    *("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png"),
    *("china.jpg", "flower.jpg"),
)
INSTALLED = Path("/usr/share/backgrounds")
DRAWN = ("abstract", "desktop", "gnome")  # folders of those packages with drawings in the place of photographs
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SHORT = 160  # pixels: the shorter side of a photograph, as it is learned from
SMALLEST = 64
LEAST_COLOUR = 0.012  # mean distance from grey, from 0 to 1; a toned black-and-white photograph has less
# (Y, Cb, Cr) of (R, G, B), from 0 to 1 and from -0.5 to 0.5
MATRIX = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def apart(picture: np.ndarray) -> np.ndarray:
    """Return brightness and colour (3, H, W), from -1 to 1, of a picture (H, W, 3) of integers to 255."""
    made = (picture / 255) @ MATRIX.T
    made[..., 0] = 2 * made[..., 0] - 1
    made[..., 1:] *= 2
    return np.ascontiguousarray(made.transpose(2, 0, 1), np.float32)


def together(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return the picture (H, W, 3), integers to 255, of brightness (1, H, W) and colour (2, H, W)."""
    parts = np.concatenate([(grey + 1) / 2, colour / 2]).transpose(1, 2, 0)
    return np.rint(np.clip(parts @ np.linalg.inv(MATRIX).T, 0, 1) * 255).astype(np.uint8)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture (H, W, 3) in another size."""
    image = require("PIL.Image", "demo", "reading pictures")
    return np.asarray(image.fromarray(picture).resize((width, height), image.Resampling.BOX))


def shrunk(picture: np.ndarray, short: int = SHORT) -> np.ndarray:
    """Return a picture whose shorter side has so many pixels."""
    height, width = picture.shape[:2]
    factor = short / min(height, width)
    return resized(picture, max(short, round(height * factor)), max(short, round(width * factor)))


@dataclass
class Collection:
    """Photographs (3, H, W) as `apart` makes them, their names, and the pictures that were passed over."""

    pictures: list[np.ndarray]
    names: list[str]
    passed: dict[str, list[str]]


def files(folders: list[str]) -> list[Path]:
    """Return the pictures in the folders, or those that are installed.

    Raises
    ------
    CommandError
        If a folder is not there, or holds no picture.
    """
    if not folders:
        found = [_images.installed(*_images.packaged(name)) for name in PACKAGED]
        folders = [str(INSTALLED)] if INSTALLED.is_dir() else []
        rest = [path for folder in folders for path in _pictures(Path(folder))]
        return [path for path in found if path is not None] + rest
    paths = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise CommandError(f"there is no folder {folder}")
        inside = _pictures(Path(folder))
        if not inside:
            raise CommandError(f"there are no pictures ({', '.join(ENDINGS)}) in {folder}")
        paths += inside
    return paths


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder and those in it, without drawings."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    return [path for path in found if not set(path.relative_to(folder).parts) & set(DRAWN)]


def collect(folders: list[str]) -> Collection:
    """Return all photographs that are large enough, in colour and whole."""
    pictures, names = [], []
    passed: dict[str, list[str]] = {"broken": [], "small": [], "grey": []}
    for path in files(folders):
        try:
            picture = _images.read(path)
        except CommandError:
            passed["broken"].append(path.name)
            continue
        if min(picture.shape[:2]) < SMALLEST:
            passed["small"].append(path.name)
            continue
        parts = apart(shrunk(picture))
        if np.abs(parts[1:]).mean() < LEAST_COLOUR:
            passed["grey"].append(path.name)
            continue
        pictures.append(parts)
        names.append(path.name)
    return Collection(pictures, names, passed)


class Crops:
    """Batches (colour, grey) of squares from anywhere in the photographs, large or small, half of them mirrored.

    The grey is made lighter or darker, and its contrast more or less, so that no photograph is known by its grey alone.
    """

    def __init__(self, pictures: list[np.ndarray], size: int, batch: int, steps: int, seed: int) -> None:
        self.size, self.batch, self.steps = size, batch, steps
        # In half the size too: what a square of 64 pixels shows is then twice as wide.
        halves = [p[:, : p.shape[1] // 2 * 2, : p.shape[2] // 2 * 2] for p in pictures]
        small = [p.reshape(3, p.shape[1] // 2, 2, p.shape[2] // 2, 2).mean((2, 4)) for p in halves]
        self.levels = [pictures, small]
        self.generator = np.random.default_rng(seed)  # under this name a checkpoint keeps its state

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple]:
        for _ in range(self.steps):
            x = np.stack([self._cut() for _ in range(self.batch)])
            light, contrast = (self.generator.uniform(-d, d, (self.batch, 1, 1, 1)) for d in (0.1, 0.15))
            x[:, :1] = np.clip(x[:, :1] * (1 + contrast) + light, -1, 1)
            yield fnn.tensor(x[:, 1:]), fnn.tensor(x[:, :1])

    def _cut(self) -> np.ndarray:
        rng = self.generator
        level = self.levels[rng.integers(2)]
        picture = level[rng.integers(len(level))]
        top, left = (rng.integers(0, n - self.size + 1) for n in picture.shape[1:])
        cut = picture[:, top : top + self.size, left : left + self.size]
        return cut[..., ::-1] if rng.random() < 0.5 else cut
