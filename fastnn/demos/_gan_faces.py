"""What the gan-faces demo is made of: the networks, their training, and how one tells whether it gets anywhere.

Whether generated faces are like real ones is measured by the Fréchet distance between features of both. The features
are those of a network that is trained here to tell the forty people apart; only distances of this demo can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.metrics import frechet_distance
from fastnn.models import Discriminator, Generator

from .._cli import CommandError
from . import _portraits

SIZE, BATCH = 64, 32
WATCHED = "gan-faces.watched"
CHANNELS, JUDGE = (192, 96, 48, 24, 16), (24, 48, 96, 128)
EPOCH = 100  # steps between two looks at it
FEATURES = 32
LESSONS = 24  # rounds of the network that tells people apart


def network() -> Generator:
    """Return an untrained generator."""
    return Generator(CHANNELS, SIZE)


class Recognizer(nn.Module):
    """Tells people apart, and on the way makes 32 features of a face; it looks at 32 x 32 pixels."""

    def __init__(self, people: int) -> None:
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inputs, outputs in ((1, 16), (16, 32), (32, 64), (64, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, FEATURES))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(FEATURES, people))

    def forward(self, x: Any) -> Any:
        """x: (N, 1, 64, 64) -> (N, people)."""
        return self.head(self.features(x))

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the features of pictures (n, 1, 64, 64): (n, 32)."""
        self.eval()
        with fnn.no_grad():
            parts = [self.features(fnn.tensor(x[i : i + 100])).numpy() for i in range(0, len(x), 100)]
        return np.concatenate(parts)


def recognizer(faces: np.ndarray, seed: int) -> tuple[Recognizer, float]:
    """Return a network that knows the people of (40, 10, size, size), and its share of right answers about two
    portraits of each, after it had seen only the other eight; then it sees all."""
    fnn.manual_seed(seed)
    people, each = faces.shape[:2]
    x, y = faces.reshape(-1, 1, SIZE, SIZE), np.repeat(np.arange(people), each)
    kept = np.arange(len(x)) % each >= 2
    for rows in (kept, np.ones(len(x), bool)):
        net, augment = Recognizer(people), fnn.adversarial.Augment("translation")
        data = _portraits.Batches(x[rows], y[rows], batch=40, steps=25, seed=seed)
        loss = nn.CrossEntropyLoss()
        fnn.fit(
            _Before(augment, net), loss, data, epochs=LESSONS, optimizer=lambda p: optim.Adam(p, 3e-3), progress=False,
            seed=seed,
        )  # fmt: skip
        if rows is kept:
            with fnn.no_grad():
                right = float((net(fnn.tensor(x[~kept])).numpy().argmax(1) == y[~kept]).mean())
    return net, right


class _Before(nn.Module):
    """A network behind an augmentation."""

    def __init__(self, augment: Callable, net: nn.Module) -> None:
        self.augment, self.net = augment, net

    def forward(self, x: Any) -> Any:
        return self.net(self.augment(x))


def mirrored(x: np.ndarray) -> np.ndarray:
    """Return pictures and behind them their mirror images."""
    return np.concatenate([x, x[..., ::-1]])


@dataclass
class Yardstick:
    """The Fréchet distance to half of the real faces, of features whose spread over all real faces is one.

    Attributes
    ----------
    net : Recognizer
    spread : ndarray, shape (32,)
    half : ndarray, shape (400, 32)
        Features of every other portrait of each person, mirrored too.
    halves : float
        The distance of the other half from it: other portraits of the same people.
    people : float
        The distance of every other person from the rest: what is between real faces of different people.
    """

    net: Recognizer
    spread: np.ndarray
    half: np.ndarray
    halves: float
    people: float

    @classmethod
    def make(cls, net: Recognizer, faces: np.ndarray) -> "Yardstick":
        """Cut the real faces in two, in both ways."""

        def features(some: np.ndarray) -> np.ndarray:
            return net.of(mirrored(some.reshape(-1, 1, SIZE, SIZE)))

        spread = features(faces).std(0)
        even, odd, here, there = (
            features(part) / spread for part in (faces[:, ::2], faces[:, 1::2], faces[::2], faces[1::2])
        )
        return cls(net, spread, even, frechet_distance(even, odd), frechet_distance(here, there))

    def __call__(self, pictures: np.ndarray) -> float:
        """Return the distance of pictures (n, 1, 64, 64)."""
        return frechet_distance(self.half, self.net.of(pictures) / self.spread)


def noise(count: int, latent: int, seed: int) -> np.ndarray:
    """Return `count` faces' worth of noise, (count, latent)."""
    return np.random.default_rng(seed).standard_normal((count, latent)).astype(np.float32)


def draw(net: nn.Module, z: np.ndarray) -> np.ndarray:
    """Return the pictures that a network makes of noise."""
    net.eval()
    with fnn.no_grad():
        return np.concatenate([net(fnn.tensor(z[i : i + 50])).numpy() for i in range(0, len(z), 50)])


def between(z: np.ndarray, steps: int) -> np.ndarray:
    """Return a walk from each z (n, latent) to the next, on the arc: where noise is as likely as at its ends."""
    walk = []
    for a, b in pairwise(z):
        angle = np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))
        for t in np.arange(steps) / steps:
            walk.append((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))
    return np.stack([*walk, z[-1]]).astype(np.float32)


def nearest(pictures: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each picture the nearest of `real`, and how far it is: the root mean square of grey levels."""
    flat, known = (
        127.5 * x.reshape(len(x), SIZE // 2, 2, SIZE // 2, 2).mean((2, 4)).reshape(len(x), -1) for x in (pictures, real)
    )
    square = (flat**2).sum(1)[:, None] + (known**2).sum(1) - 2 * flat @ known.T
    which = square.argmin(1)
    return which, np.sqrt(np.maximum(square[np.arange(len(flat)), which], 0) / flat.shape[1])


class Watch:
    """Writes a sheet of samples and takes the distance as training goes on; a resumed training has what came before.

    Attributes
    ----------
    rows : list of [step, loss of the generator, of the discriminator, distance]
    strips : dict of step to twelve faces of the same noise
    """

    def __init__(self, yardstick: Yardstick, out: Path, resume: bool) -> None:
        self.yardstick, self.out = yardstick, out
        self.z = noise(400, network().latent, 1)
        self.rows: list[list[float]] = []
        self.strips: dict[int, np.ndarray] = {}
        if resume and (out / WATCHED).exists():
            kept = fnn.load(out / WATCHED)
            self.rows = kept["rows"]
            self.strips = {step: strip.numpy() for step, strip in kept["strips"].items()}

    def __call__(self, state: Any) -> None:
        records, step = state.history.records, state.step
        made = draw(state.model.average, self.z)
        self.rows = [row for row in self.rows if row[0] < step]  # a kill may have come between this and the checkpoint
        self.rows.append([step, records["loss"][-1], records["d_loss"][-1], self.yardstick(made)])
        self.strips[step] = made[:12].copy()  # a view would keep all 400
        _portraits.write(_portraits.sheet(made[:48], 8, 2), self.out / f"samples-{step:06d}.png")
        fnn.save({"rows": self.rows, "strips": self.strips}, self.out / WATCHED)


def train(
    faces: np.ndarray, steps: int, seed: int, watch: Callable, checkpoint: Path, resume: bool, progress: bool | None
) -> tuple[fnn.adversarial.Pair, Any]:
    """Return the trained Pair and its History."""
    fnn.manual_seed(seed)
    net, judge = network(), Discriminator(JUDGE, SIZE, spectral=False)
    data = _portraits.Batches(faces.reshape(-1, 1, SIZE, SIZE), batch=BATCH, steps=EPOCH, seed=seed)
    try:
        return fnn.adversarial.fit(
            net,
            judge,
            data,
            steps=steps,
            loss="non-saturating",
            penalty="r1",
            penalty_weight=0.1,
            penalty_every=8,
            augment=fnn.adversarial.Augment("translation"),
            lr=6e-4,
            betas=(0.5, 0.99),
            decay=0.995,
            callbacks=[watch],
            progress=progress,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
        )
    except ValueError as error:
        if resume and "fit" in str(error):
            raise CommandError(f"{checkpoint} is not a checkpoint of this demo: {str(error)[:200]}") from None
        raise


def load(path: Path) -> Generator:
    """Return the generator in a file.

    Raises
    ------
    CommandError
        If the file is not there, or of something else.
    """
    if not path.exists():
        raise CommandError(f"there is no {path}: first let it learn (fastnn demo gan-faces), or try --pretrained")
    try:
        return fnn.load(path, network()).eval()
    except (ValueError, TypeError) as error:
        if isinstance(error, fnn.FormatError):
            raise
        raise CommandError(f"{path} is not a model of the gan-faces demo") from None
