"""A convolutional network reads handwritten digits, beside logistic regression and the nearest neighbours.

The 1,797 digits of scikit-learn. Every answer in the table is of a network that was not trained on that digit.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.models import LeNet

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _images

PICTURE, MODEL = "digits.png", "digits.safetensors"
SIDE = 8
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))  # each digit is also learned one pixel aside


@dataclass
class Answers:
    """What a method said of every digit, and how long it took."""

    predicted: np.ndarray
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--epochs", type=_cli.positive, default=8, metavar="N", help="rounds through the digits")
    parser.add_argument("--folds", type=_cli.positive, default=5, metavar="N", help="parts of the cross-validation")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    parser.add_argument("--out", default="fastnn-digits", metavar="FOLDER", help="where picture and model go")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Cross-validate, report, draw."""
    if not 2 <= options.folds <= 100:
        raise CommandError(f"--folds must be from 2 to 100, got {options.folds}")
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    x, y = _images.digits()
    out = _cli.folder(options.out)
    net = LeNet(10, SIDE)
    weights = sum(parameter.numel() for parameter in net.parameters())
    print(f"{len(x):,} handwritten digits of {SIDE} x {SIDE} pixels (Alpaydin, Kaynak 1998)")
    print(f"two convolutions and two dense layers, {weights:,} weights\n")
    folds = np.random.default_rng(options.seed).permutation(len(x)) % options.folds
    answers, history = _study(x, y, folds, options)
    print(f"\n{f'on held-out digits, {options.folds} folds':<30}{'right':>9}{'wrong':>9}{'time':>10}")
    for name, each in answers.items():
        wrong = int((each.predicted != y).sum())
        print(f"{name:<30}{100 * (1 - wrong / len(y)):>7.2f} %{wrong:>9}{each.seconds:>8.1f} s")
    table = fnn.metrics.confusion_matrix(answers["fastnn"].predicted, y, classes=10)
    _confusion(table)
    net, _ = _train(x, y, options.epochs, options.seed)
    fnn.save(net, out / MODEL)
    print(f"\nmodel    {out / MODEL}  (of all {len(x):,} digits)")
    if not options.no_picture:
        draw(x, y, answers["fastnn"].predicted, table, net, history, out / PICTURE)
        print(f"picture  {out / PICTURE}")


def _study(x: np.ndarray, y: np.ndarray, folds: np.ndarray, options: argparse.Namespace) -> tuple[dict, fnn.fit]:
    """Let each method answer for every fold what it learned from the others."""
    linear = require("sklearn.linear_model", "demo", "digits")
    near = require("sklearn.neighbors", "demo", "digits")
    flat = x.reshape(len(x), -1)
    methods = {
        "logistic regression": lambda: linear.LogisticRegression(max_iter=200),
        "3 nearest neighbours": lambda: near.KNeighborsClassifier(3),
    }
    answers = {name: Answers(np.zeros_like(y), 0.0) for name in ("always the commonest", *methods, "fastnn")}
    for fold in range(options.folds):
        train, held = folds != fold, folds == fold
        answers["always the commonest"].predicted[held] = np.bincount(y[train]).argmax()
        for name, make in methods.items():
            start = time.perf_counter()
            answers[name].predicted[held] = make().fit(flat[train], y[train]).predict(flat[held])
            answers[name].seconds += time.perf_counter() - start
        start = time.perf_counter()
        net, history = _train(x[train], y[train], options.epochs, options.seed + fold, (x[held], y[held]))
        with fnn.no_grad():
            answers["fastnn"].predicted[held] = net(fnn.tensor(x[held])).numpy().argmax(1)
        seconds = time.perf_counter() - start
        answers["fastnn"].seconds += seconds
        right = (answers["fastnn"].predicted[held] == y[held]).mean()
        which = f"fold {fold + 1} of {options.folds}"
        print(f"  {which}: {100 * right:.2f} % of {held.sum()} held-out digits, {seconds:.1f} s", flush=True)
    return answers, history


def _train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int, watched: tuple | None = None) -> tuple[LeNet, fnn.fit]:
    """Return a network that has learned the digits and their shifts; what is `watched` only goes into the curve."""
    fnn.manual_seed(seed)
    net = LeNet(10, SIDE, dropout=0.3)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, :, 1 + down : 1 + down + SIDE, 1 + right : 1 + right + SIDE] for down, right in SHIFTS]
    data = np.concatenate(shifted), np.tile(y, len(SHIFTS))
    steps = epochs * -(-len(data[0]) // 64)
    history = fnn.fit(
        net,
        nn.CrossEntropyLoss(),
        data,
        epochs=epochs,
        batch_size=64,
        optimizer=lambda parameters: optim.AdamW(parameters, lr=2e-3, weight_decay=1e-3),
        schedule=lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps),
        validation=watched,
        best_weights=False,
        progress=False,
        seed=seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return net, history


def _confusion(table: np.ndarray) -> None:
    """Print the confusion table and the commonest mistakes."""
    print("\na row for each true digit, a column for each answer")
    print("     " + "".join(f"{i:>5}" for i in range(10)))
    for i, row in enumerate(table):
        print(f"  {i:>3}" + "".join(f"{count or '.':>5}" for count in row))
    mistakes = [(count, i, j) for (i, j), count in np.ndenumerate(table) if i != j and count]
    if mistakes:
        worst = ", ".join(f"{i} read as {j} ({count}x)" for count, i, j in sorted(mistakes, reverse=True)[:3])
        print(f"  most often: {worst}")


def draw(x, y, predicted, table, net, history, file: Path) -> None:
    """Write the picture: learning curve, confusion table, first filters, and the digits it got wrong."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((14, 8.4), layout="constrained")
    axes = figure.subplot_mosaic([["curve", "table"], ["wrong", "filters"]], width_ratios=(1, 1.05))
    fnn.plot.learning_curve({"training": history["loss"], "held out": history["val_loss"]}, axes["curve"])
    axes["curve"].set(ylabel="cross-entropy", title="Learning curve of the last fold")
    fnn.plot.confusion(table, ax=axes["table"])
    fnn.plot.filters(net.features[0].weight, axes["filters"])
    axes["filters"].set_title("The 32 filters of the first layer: orange looks for ink, blue for its absence")
    _mistakes(axes["wrong"], x, y, predicted)
    figure.savefig(file, dpi=90)


def _mistakes(ax, x: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> None:
    """Draw digits that were misread."""
    wrong = np.flatnonzero(predicted != y)[:18]
    for place, i in enumerate(wrong):
        row, column = divmod(place, 6)
        ax.imshow(x[i, 0], cmap="gray_r", extent=(column, column + 0.8, row + 0.8, row))
        ax.text(column + 0.4, row + 0.83, f"{y[i]} read as {predicted[i]}", ha="center", va="top", fontsize=8)
    total = int((predicted != y).sum())
    some = f"{len(wrong)} of the {total}" if total > len(wrong) else f"The {total}"
    ax.set(xlim=(-0.1, 6), ylim=(3.1, -0.1), title=f"{some} that were misread" if total else "None was misread")
    ax.axis("off")
