"""Colour photographs: which pictures there are, cut small, and their brightness apart from their colour.

A colour is a brightness and two differences from it, blue and red (YCbCr, as in JPEG): grey is what one sees in black
and white, and what the network makes up is the other two.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn

from .._cli import CommandError
from .._extras import require
from . import _images, _qt_resources

HOW = (
    "for more photographs: apt-get download gcompris-qt-data mate-backgrounds lomiri-wallpapers-16.04, "
    "unpack each with dpkg -x FILE photographs, then --data photographs"
)
PACKAGED = (
    *("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png"),
    *("china.jpg", "flower.jpg"),
)
INSTALLED = (Path("/usr/share/gcompris-qt/rcc"), Path("/usr/share/backgrounds"))
# GCompris has an .rcc for each of its games: these are made of photographs, about 240 of them.
PLAYED = ("categorization", "erase", "explore_farm_animals", "explore_monuments", "explore_world_animals")
DRAWN = ("abstract", "desktop", "gnome", "alphabets", "numbers", "doc", "icons")  # folders of drawings, not photographs
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
SHORT = 96  # pixels: the shorter side of a photograph, as it is kept and measured
SMALLEST = 64
LEAST_COLOUR = 0.012  # mean distance from grey, from 0 to 1; a toned black-and-white photograph has less
ALIKE = 0.95  # correlation of two pictures of 16 x 16 pixels, of which one is the other again, or nearly
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


def sized(parts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture, or some of its parts, as `apart` makes it in another size: averages, or lines in between."""
    image: Any = require("PIL.Image", "demo", "reading pictures")
    smaller = height * width < parts[0].size
    how = image.Resampling.BOX if smaller else image.Resampling.BILINEAR
    return np.stack([np.asarray(image.fromarray(x).resize((width, height), how)) for x in parts])


def scaled(parts: np.ndarray, short: int) -> np.ndarray:
    """Return a picture as `apart` makes it whose shorter side has so many pixels."""
    factor = short / min(parts.shape[1:])
    return sized(parts, *(max(short, round(n * factor)) for n in parts.shape[1:]))


@dataclass
class Collection:
    """Photographs (3, H, W) as `apart` makes them, their names, and the pictures that were passed over."""

    pictures: list[np.ndarray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    passed: dict[str, list[str]] = field(
        default_factory=lambda: {"broken": [], "small": [], "grey": [], "the same again": []}
    )


def sources(folders: list[str]) -> Iterator[tuple[str, Any]]:
    """Return names and what `_images.read` takes, of the pictures in the folders, or of those that are installed.

    Raises
    ------
    CommandError
        If a folder is not there, or holds no picture.
    """
    if not folders:
        found = [(name, _images.installed(*_images.packaged(name))) for name in PACKAGED]
        yield from ((name, path) for name, path in found if path is not None)
        for folder in INSTALLED:
            yield from _pictures(folder)
    for name in folders:
        if not Path(name).is_dir():
            raise CommandError(f"there is no folder {name}")
        empty = True
        for picture in _pictures(Path(name)):
            empty = False
            yield picture
        if empty:
            raise CommandError(f"there are no pictures ({', '.join(ENDINGS)}) in {name}")


def _pictures(folder: Path) -> Iterator[tuple[str, Any]]:
    """Return the pictures in a folder and those in it, without drawings."""
    for path in sorted(folder.rglob("*")):
        if set(path.relative_to(folder).parts) & set(DRAWN) or not path.is_file():
            continue
        if path.suffix.lower() in ENDINGS:
            yield path.name, path
        elif path.suffix == ".rcc" and path.stem in PLAYED:
            yield from _played(path)


def _played(path: Path) -> Iterator[tuple[str, Any]]:
    """Return the pictures in a file of GCompris."""
    try:
        for name, content in _qt_resources.entries(path):
            if name.lower().endswith(ENDINGS) and not set(name.split("/")) & set(DRAWN):
                yield name.rpartition("/")[2], io.BytesIO(content)
    except ValueError as error:
        raise CommandError(str(error)) from None


def collect(folders: list[str]) -> Collection:
    """Return all photographs that are large enough, in colour, whole, and not there already."""
    found, seen = Collection(), np.empty((0, 256), np.float32)
    for name, source in sources(folders):
        try:
            picture = _images.read(source)
        except CommandError:
            found.passed["broken"].append(name)
            continue
        if min(picture.shape[:2]) < SMALLEST:
            found.passed["small"].append(name)
            continue
        parts = apart(shrunk(picture))
        look = _look(picture)
        if np.abs(parts[1:]).mean() < LEAST_COLOUR:
            found.passed["grey"].append(name)
        elif (seen @ look > ALIKE).any():
            found.passed["the same again"].append(name)  # held out, it would not be one that was never seen
        else:
            seen = np.concatenate([seen, look[None]])
            found.pictures.append(parts)
            found.names.append(name)
    return found


def _look(picture: np.ndarray) -> np.ndarray:
    """Return the light and dark of a picture on 16 x 16 pixels, (256,), of mean zero and length one."""
    small = apart(resized(picture, 16, 16))[0].ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


class Crops:
    """Batches (colour, grey) of squares from anywhere in the photographs, half of them mirrored.

    A square shows all of a photograph's shorter side, or most of it: what is sky one knows by what lies below.

    The grey is made lighter or darker, and its contrast more or less, so that no photograph is known by its grey alone.
    """

    def __init__(self, pictures: list[np.ndarray], size: int, batch: int, steps: int, seed: int) -> None:
        self.size, self.batch, self.steps = size, batch, steps
        self.levels = [[scaled(p, round(size * more)) for p in pictures] for more in (1, 9 / 8, 4 / 3)]
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
        level = self.levels[rng.integers(len(self.levels))]
        picture = level[rng.integers(len(level))]
        top, left = (rng.integers(0, n - self.size + 1) for n in picture.shape[1:])
        cut = picture[:, top : top + self.size, left : left + self.size]
        return cut[..., ::-1] if rng.random() < 0.5 else cut
