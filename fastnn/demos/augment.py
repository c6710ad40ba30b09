"""Are generated examples worth anything? Few people's faces, and a GAN that makes more of them, told which class.

A classifier of face and no face learns from few people: from the real windows alone, from shifted, mirrored and re-lit
ones, and from real ones and those that a class-conditional GAN made of the same few. All are tested on the faces of
other people in news pictures. Each seed draws other people, and every number is printed, whatever comes out.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import optim
from fastnn.models import DCGAN, MTCNN, Discriminator, FaceDetector, Generator
from fastnn.models.face_detector import WINDOW

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _faces, _gan_faces, _images, _portraits
from ._faces import Windows

MARGIN = 1  # the GAN's windows are 28 pixels, which is 7 doubled twice; the classifier sees the 26 in the middle
SIZE = WINDOW + 2 * MARGIN
SCENERY, MADE = 450, 600
PEOPLE = 40  # in the ORL database
GAN_STEPS, STEPS, LONG = 500, 200, 6000
BATCH = 64
HALF = 16  # of each class in a batch of the GAN
ARMS = ("real", "real + classical", "real + GAN", "real + classical + GAN", "real + another's generator", "all of it")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--people", type=_cli.positive, default=5, metavar="N", help="how many people one learns from")
    parser.add_argument("--seeds", type=_cli.positive, default=5, metavar="N", help="how often, with other people")
    parser.add_argument("--gan-steps", type=_cli.positive, default=GAN_STEPS, metavar="N", help="of each GAN")
    parser.add_argument("--steps", type=_cli.positive, default=STEPS, metavar="N", help="of each classifier")
    parser.add_argument("--long", action="store_true", help=f"train each GAN for {LONG:,} steps")
    parser.add_argument("--out", default="fastnn-augment", metavar="FOLDER", help="where the pictures go")


@dataclass
class Sources:
    """Portraits and their faces' boxes, photographs without people, and faces by another's generator if it is there."""

    portraits: np.ndarray
    boxes: np.ndarray
    pictures: list[np.ndarray]
    drawn: Windows | None

    @classmethod
    def find(cls) -> "Sources":
        """Read what is installed."""
        portraits = _images.orl()
        finder = _faces.cascade()
        boxes = _faces.align(portraits, finder)
        pictures = [_images.photograph(name, grey=True) for name in _faces.PHOTOGRAPHS]
        file = _images.installed("gan-face-generate", "gan_face_generate/weights.tar")
        drawn = None if file is None or finder is None else _drawn(DCGAN().load(file), finder)
        return cls(portraits, boxes, pictures, drawn)


def run(options: argparse.Namespace) -> None:
    """Run all seeds and print what came out."""
    require("PIL.Image", "demo", "reading pictures")
    if options.people > PEOPLE:
        raise CommandError(f"--people must be at most {PEOPLE}, got {options.people}")
    sources = Sources.find()
    out, test = _cli.folder(options.out), _faces.unseen()
    steps = LONG if options.long else options.gan_steps
    print(f"each time {options.people} of 40 people (ORL), ten portraits of each: {10 * options.people} faces, "
          f"{SCENERY + 10 * options.people} windows without;")  # fmt: skip
    print(f"a GAN learns both classes in {steps:,} steps and adds {MADE} windows of each; tested on 200 of LFW\n")
    arms = ARMS if sources.drawn is not None else ARMS[:-2]
    scores: dict[str, list[float]] = {arm: [] for arm in arms}
    for seed in range(options.seeds):
        start = time.perf_counter()
        for arm, x in _sets(sources, options.people, seed, steps, out).items():
            net = _learn(x, options.steps, seed)
            said = _faces.probabilities(net, test.x) > 0.5
            scores[arm].append(100 * float((said == test.y).mean()))
        numbers = ", ".join(f"{arm} {values[-1]:.1f}" for arm, values in scores.items())
        print(f"seed {seed}: {numbers} ({time.perf_counter() - start:.0f} s)", flush=True)
    _report(scores)
    if sources.drawn is None:
        how = f"{_images.HOW['gan-face-generate']}; {_images.HOW['facenet-pytorch']}"
        print(f"\nfaces by another's generator, and what finds them in its pictures, are not installed: {how}")
    print(f"\npictures  {out / 'seed-*.png'}   (above real faces and other windows, below generated ones)")


def _report(scores: dict[str, list[float]]) -> None:
    """Print the table."""
    seeds = len(scores["real"])
    print(f"\n{f'accuracy on LFW, %, {seeds} seeds':<32}{'mean':>7}{'spread':>9}{'least':>8}{'most':>7}"
          f"{'better than real alone':>25}")  # fmt: skip
    for arm, values in scores.items():
        spread = np.std(values, ddof=1) if seeds > 1 else 0.0
        better = sum(a > b for a, b in zip(values, scores["real"]))
        against = f"{better} of {seeds}" if arm != "real" else ""
        numbers = f"{np.mean(values):>7.1f}{spread:>9.1f}{min(values):>8.1f}{max(values):>7.1f}"
        print(f"{arm:<32}{numbers}{against:>25}".rstrip())
    print(f"{'always no face':<32}{50.0:>7.1f}")


def _sets(
    sources: Sources, people: int, seed: int, steps: int, out: Path
) -> dict[str, tuple[Windows, Callable | None]]:
    """Return what each classifier learns from: windows, and what is done to them in each round."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(len(sources.portraits))[:people]
    portraits, boxes = sources.portraits[who], sources.boxes[who]
    without = _faces.parts(portraits, boxes, 1, rng, MARGIN) + _faces.scenery(sources.pictures, SCENERY, rng, MARGIN)
    wide = _faces.portrait_faces(portraits, boxes, MARGIN) + without
    real = Windows(_inner(wide.x), wide.y)
    turned = _faces.faces(portraits, boxes, 12, rng) + Windows(_inner(without.x), without.y)
    made = _made(wide, steps, seed, out)

    def light(x: Windows) -> np.ndarray:
        return _faces.weathered(x, rng)

    sets: dict[str, tuple[Windows, Callable | None]] = {
        "real": (real, None),
        "real + classical": (turned, light),
        "real + GAN": (real + made, None),
        "real + classical + GAN": (turned + made, light),
    }
    if sources.drawn is not None:
        sets["real + another's generator"] = (real + sources.drawn, None)
        sets["all of it"] = (turned + made + sources.drawn, light)
    return sets


def _inner(x: np.ndarray) -> np.ndarray:
    """Return the windows without their margin."""
    return x[:, MARGIN:-MARGIN, MARGIN:-MARGIN]


def _made(wide: Windows, steps: int, seed: int, out: Path) -> Windows:
    """Return what a GAN that learned from these windows makes: as many of either class."""
    fnn.manual_seed(seed)
    net = Generator((96, 48, 24), SIZE, latent=32, classes=2)
    # It compares the pictures of a class: a generator that always makes the same face is found out.
    judge = Discriminator((24, 48), SIZE, classes=2, spectral=False, group=HALF)
    x, y = wide.x[:, None] * 2 - 1, wide.y.astype(np.int64)
    # Both classes equally often, though there are far more windows without a face.
    faces, others = np.flatnonzero(y), np.flatnonzero(y == 0)
    data = _Halves([_portraits.Batches(x[rows], y[rows], batch=HALF, steps=100, seed=seed) for rows in (faces, others)])
    pair, history = fnn.adversarial.fit(
        net, judge, data, steps=steps, loss="non-saturating", penalty="r1", penalty_weight=0.5, penalty_every=8,
        augment=fnn.adversarial.Augment("translation", "cutout"), lr=(5e-4, 1e-3), betas=(0.5, 0.99), decay=0.99,
        seed=seed,
    )  # fmt: skip
    if history.interrupted:
        raise KeyboardInterrupt
    labels = np.repeat([1, 0], MADE)
    z = _gan_faces.noise(2 * MADE, net.latent, seed)
    with fnn.no_grad():
        pictures = pair.average(fnn.tensor(z), fnn.tensor(labels)).numpy()
    shown = np.concatenate([x[faces[:16]], x[others[-16:]], pictures[:32], pictures[-32:]])
    _portraits.write(_portraits.sheet(shown, 16, 2), out / f"seed-{seed}.png")
    return Windows(_inner((pictures[:, 0] + 1) / 2), labels.astype(np.float32))


class _Halves:
    """Batches whose halves are of one class each, as `Batches` draws them."""

    def __init__(self, classes: list[_portraits.Batches]) -> None:
        self.classes = classes

    def __len__(self) -> int:
        return len(self.classes[0])

    def __iter__(self) -> Iterator[tuple]:
        for parts in zip(*self.classes):
            yield tuple(fnn.cat(tensors) for tensors in zip(*parts))


def _drawn(net: DCGAN, finder: MTCNN) -> Windows:
    """Return faces of another's generator as windows, grey, cut as the real ones are: those in which one is found."""
    made = _gan_faces.draw(net, _gan_faces.noise(MADE, net.latent, 0))
    colour = np.rint((made.transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)
    cuts = []
    for picture in colour:
        found = finder.detect(picture, smallest=20)
        if len(found.boxes):
            grey = (picture @ np.array([0.299, 0.587, 0.114]))[None, None]
            cuts.append(_faces.portrait_faces(grey, found.boxes[None, :1]).x[0])
    return Windows(np.stack(cuts), np.ones(len(cuts), np.float32))


class _Rounds:
    """The batches of a classifier's training: faces and others equally often, changed anew if `change` is given."""

    def __init__(self, windows: Windows, change: Callable | None, steps: int, seed: int) -> None:
        self.windows, self.change, self.steps = windows, change, steps
        self.generator = np.random.default_rng(seed)
        self.classes = [np.flatnonzero(windows.y == y) for y in (0, 1)]

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple]:
        for _ in range(self.steps):
            rows = np.concatenate([self.generator.choice(rows, BATCH // 2) for rows in self.classes])
            part = Windows(self.windows.x[rows], self.windows.y[rows])
            x = part.x[:, None] - np.float32(0.5) if self.change is None else self.change(part)
            yield fnn.tensor(np.ascontiguousarray(x)), fnn.tensor(part.y)


def _learn(source: tuple[Windows, Callable | None], steps: int, seed: int) -> FaceDetector:
    """Return a classifier: as many steps, whatever it learns from."""
    fnn.manual_seed(seed)
    net, loss = FaceDetector(), fnn.nn.BCEWithLogitsLoss()
    history = fnn.fit(
        net,
        lambda said, y: loss(said.reshape(-1), y),
        _Rounds(*source, steps, seed),
        epochs=1,
        optimizer=lambda p: optim.AdamW(p, lr=2e-3, weight_decay=1e-3),
        schedule=lambda o: optim.lr_scheduler.OneCycleLR(o, 4e-3, total_steps=steps),
        progress=False,
        seed=seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return net
