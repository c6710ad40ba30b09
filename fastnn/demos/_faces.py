"""What the faces demo is made of: windows with and without a face, the training in two rounds, honest scores.

Learned from: 400 portraits of 40 people and the photographs of two packages. Tested on: windows of other people out of
news pictures (LFW), of which nothing is seen before the end.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.models import MTCNN, FaceDetector
from fastnn.models.face_detector import WINDOW

from . import _images

PHOTOGRAPHS = (
    *("brick.png", "grass.png", "gravel.png", "coffee.png", "chelsea.png", "rocket.jpg", "coins.png", "page.png"),
    *(
        "text.png",
        "moon.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "clock_motion.png",
        "horse.png",
        "ihc.png",
    ),
    *("china.jpg", "flower.jpg"),
)
AVERAGE = (7.0, 17.5, 81.0, 109.0)  # where the face is in an average portrait of 92 x 112 pixels
HELD_PEOPLE = 6  # of forty, kept out of the training to watch it
HELD_PHOTOGRAPHS = ("flower.jpg", "gravel.png", "clock_motion.png")
BATCH = 64


@dataclass
class Windows:
    """Windows (n, 26, 26) from 0 to 1, and whether each is a face."""

    x: np.ndarray
    y: np.ndarray

    def __add__(self, other: "Windows") -> "Windows":
        return Windows(np.concatenate([self.x, other.x]), np.concatenate([self.y, other.y]))


def cascade() -> MTCNN | None:
    """Return MTCNN with facenet-pytorch's weights, None where that package is not installed."""
    file = _images.installed("facenet-pytorch", "facenet_pytorch/data/pnet.pt")
    return None if file is None else MTCNN().load(file.parent)


def align(portraits: np.ndarray, finder: MTCNN | None) -> np.ndarray:
    """Return a box for each portrait, (40, 10, 4): found by `finder`, or the average one."""
    boxes = np.tile(np.array(AVERAGE), (*portraits.shape[:2], 1))
    if finder is None:
        return boxes
    for place in np.ndindex(boxes.shape[:2]):
        found = finder.detect(np.repeat(portraits[place][:, :, None], 3, 2), smallest=40)
        if len(found.boxes):
            boxes[place] = found.boxes[0]
    return boxes


def _squares(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return middles (..., 2) and sides (...) of the squares about boxes."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).max(-1)


def _cut(picture: np.ndarray, middle: np.ndarray, side: Any, margin: int = 0) -> np.ndarray:
    """Return the square about a point as a window, with so many pixels more on each side."""
    size = WINDOW + 2 * margin
    side = side * size / WINDOW
    left, top = middle - side / 2
    return _images.window(picture, (left, top, left + side, top + side), size) / np.float32(255)


def portrait_faces(portraits: np.ndarray, boxes: np.ndarray, margin: int = 0) -> Windows:
    """Return one window of every portrait, the face in the middle."""
    middles, sides = _squares(boxes)
    cuts = [_cut(portraits[p], middles[p], sides[p], margin) for p in np.ndindex(sides.shape)]
    return Windows(np.stack(cuts), np.ones(len(cuts), np.float32))


def faces(portraits: np.ndarray, boxes: np.ndarray, each: int, rng: np.random.Generator) -> Windows:
    """Return `each` windows of every portrait, a little aside, larger or smaller, half of them mirrored."""
    middles, sides = _squares(boxes)
    windows = []
    for place in np.ndindex(boxes.shape[:2]):
        for _ in range(each):
            side = sides[place] * rng.uniform(0.85, 1.18)
            cut = _cut(portraits[place], middles[place] + rng.uniform(-0.08, 0.08, 2) * side, side)
            windows.append(cut[:, ::-1] if rng.random() < 0.5 else cut)
    return Windows(np.stack(windows), np.ones(len(windows), np.float32))


def parts(portraits: np.ndarray, boxes: np.ndarray, each: int, rng: np.random.Generator, margin: int = 0) -> Windows:
    """Return windows beside the face and of parts of it, which are no faces."""
    middles, sides = _squares(boxes)
    windows = []
    for place in np.ndindex(boxes.shape[:2]):
        for _ in range(each):
            turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.75) * sides[place]
            middle = middles[place] + away * np.array([np.cos(turn), np.sin(turn)])
            windows.append(_cut(portraits[place], middle, sides[place] * rng.choice([0.4, 0.5, 1.0, 1.0]), margin))
    return Windows(np.stack(windows), np.zeros(len(windows), np.float32))


def scenery(pictures: list[np.ndarray], count: int, rng: np.random.Generator, margin: int = 0) -> Windows:
    """Return windows from anywhere in photographs without faces, of many sizes, mirrored and turned."""
    windows = []
    for _ in range(count):
        picture = pictures[rng.integers(len(pictures))]
        side = min(WINDOW * 2 ** rng.uniform(-0.3, 3), *picture.shape)
        top, left = (rng.uniform(0, n - side) for n in picture.shape)
        cut = _cut(picture, np.array([left, top]) + side / 2, side, margin)
        cut = cut[:, ::-1] if rng.random() < 0.5 else cut
        windows.append(np.rot90(cut, int(rng.integers(4))) if rng.random() < 0.3 else cut)
    return Windows(np.stack(windows), np.zeros(count, np.float32))


def weathered(windows: Windows, rng: np.random.Generator) -> np.ndarray:
    """Return windows for the network, (n, 1, 26, 26) from -0.5 to 0.5, in other light: contrast, brightness, a slope of
    light, noise, and now and then a flat piece behind a straight edge, as where a picture ends."""
    n = len(windows.x)

    def draw(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    down, across = np.mgrid[:WINDOW, :WINDOW].astype(np.float32) - (WINDOW - 1) / 2
    x = (windows.x - np.float32(0.5)) * draw(0.4, 1.5) + draw(-0.3, 0.3)
    x += (draw(-0.02, 0.02) * down + draw(-0.02, 0.02) * across) * (draw(0, 1) < 0.3)
    x += rng.normal(0, 0.02, x.shape).astype(np.float32)
    turn = draw(0, 2 * np.pi)
    nearest = np.where(windows.y[:, None, None] > 0, draw(6, 13), draw(-9, 11))  # not over a face
    behind = down * np.cos(turn) + across * np.sin(turn) > nearest
    grey = np.where(draw(0, 1) < 0.5, np.float32(-0.5), draw(-0.5, 0.5))
    x = np.where(behind & (draw(0, 1) < 0.15), grey, x)
    return np.clip(x, -0.5, 0.5)[:, None]


class _Weather:
    """The batches of a training, in new light each time they are gone through."""

    def __init__(self, windows: Windows, rng: np.random.Generator) -> None:
        self.windows, self.rng = windows, rng

    def __len__(self) -> int:
        return len(self.windows.y) // BATCH

    def __iter__(self) -> Iterator[tuple]:
        order = self.rng.permutation(len(self.windows.y))[: len(self) * BATCH]
        x, y = weathered(self.windows, self.rng)[order], self.windows.y[order]
        for i in range(0, len(order), BATCH):
            yield fnn.tensor(x[i : i + BATCH]), fnn.tensor(y[i : i + BATCH])


@dataclass
class Study:
    """What was learned from and watched, and the photographs for the second round."""

    train: Windows
    watched: Windows
    pictures: list[np.ndarray]
    aligned: bool


def gather(finder: MTCNN | None, seed: int, each: int = 12, count: int = 8000) -> Study:
    """Cut the windows: other people and other photographs are watched than are learned from."""
    rng = np.random.default_rng(seed)
    portraits = _images.orl()
    boxes = align(portraits, finder)
    pictures = {name: _images.photograph(name, grey=True) for name in PHOTOGRAPHS}
    kept = [picture for name, picture in pictures.items() if name not in HELD_PHOTOGRAPHS]
    held = [pictures[name] for name in HELD_PHOTOGRAPHS]
    people = rng.permutation(len(portraits))
    sets = []
    for who, photographs, amount in ((people[HELD_PEOPLE:], kept, count), (people[:HELD_PEOPLE], held, count // 6)):
        found = faces(portraits[who], boxes[who], each, rng) + parts(portraits[who], boxes[who], 3, rng)
        sets.append(found + scenery(photographs, amount, rng))
    return Study(sets[0], sets[1], kept, finder is not None)


def train(study: Study, epochs: int, seed: int, say: Callable[[str], None], progress: bool | None = None) -> tuple:
    """Return (detector, History of the last round): trained, confronted with its mistakes, trained again."""
    fnn.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net, windows = FaceDetector(), study.train
    watched = weathered(study.watched, np.random.default_rng(seed)), study.watched.y
    for again in (False, True):
        if again:
            wrong = mistakes(net, study.pictures, 3000)
            say(f"  it took {len(wrong.y):,} windows of landscapes and objects for faces; now it learns from them too")
            windows = windows + wrong
        data, loss = _Weather(windows, rng), _evenly(windows)
        steps = epochs * len(data)
        history = fnn.fit(
            net,
            loss,
            data,
            epochs=epochs,
            validation=watched,
            best_weights=False,
            optimizer=lambda parameters: optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3),
            schedule=lambda optimizer, steps=steps: optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps),
            progress=progress,
            seed=seed,
        )
        if history.interrupted:
            raise KeyboardInterrupt
    return net, history


def _evenly(windows: Windows) -> Callable:
    """Return a loss in which all faces together count as much as all the rest."""
    positive = windows.y.sum()
    loss = nn.BCEWithLogitsLoss(pos_weight=fnn.tensor([float((len(windows.y) - positive) / positive)]))
    return lambda logits, y: loss(logits.reshape(-1), y)


def mistakes(net: FaceDetector, pictures: list[np.ndarray], most: int) -> Windows:
    """Return what the detector takes for faces in pictures without any, the surest first."""
    net.eval()
    found = []
    for picture in pictures:
        boxes, scores = net.detect(picture / np.float32(255), threshold=0.3, overlap=0.6, votes=1)
        found += [(score, picture, box) for box, score in zip(boxes, scores)]
    found.sort(key=lambda item: -item[0])
    cuts = [_cut(picture, (box[:2] + box[2:]) / 2, box[2] - box[0]) for _, picture, box in found[:most]]
    return Windows(
        np.stack(cuts) if cuts else np.empty((0, WINDOW, WINDOW), np.float32), np.zeros(len(cuts), np.float32)
    )


def probabilities(net: FaceDetector, x: np.ndarray) -> np.ndarray:
    """Return how sure the detector is of each window (n, 26, 26) from 0 to 1."""
    net.eval()
    with fnn.no_grad():
        parts = [net(fnn.tensor(x[i : i + 256, None] - np.float32(0.5))) for i in range(0, len(x), 256)]
        return fnn.sigmoid(fnn.cat(parts).reshape(-1)).numpy()


def unseen() -> Windows:
    """Return the 200 windows of LFW: 100 faces of other people, 100 pieces of the same pictures without."""
    x, y = _images.lfw()
    return Windows(np.stack([_images.window(w, (0, 0, 25, 25), WINDOW) for w in x]), y.astype(np.float32))
