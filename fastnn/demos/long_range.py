"""A transformer and an LSTM of one size answer questions about words far back: what they remember, what it costs.

Attention reaches every position in one step; recurrence must carry what it knows through all that comes between, and
learns that more slowly. Attention reads all positions at once, for a cost that grows with the square of the length;
recurrence one after the other, for a cost that grows with the length: on few cores that is the cheaper one.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn.nn import Module

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _far_back
from ._far_back import NAMES, VALUES, Attention, Recurrence

PICTURE = "long-range.png"
KINDS: dict[str, Callable[[], Module]] = {"transformer": Attention, "LSTM": Recurrence}
LENGTHS = (32, 64, 128, 256, 512, 1024, 2048)
ASKED, LOTS = 2000, 20  # sequences of the test, of so many lengths
PARTS = 8  # of the distances


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--length", type=_cli.positive, default=128, metavar="T", help="of the longest sequences")
    parser.add_argument("--steps", type=_cli.positive, default=1000, metavar="N", help="batches to learn from")
    parser.add_argument("--batch", type=_cli.positive, default=4, metavar="N", help="sequences at once, in the timing")
    parser.add_argument("--rounds", type=_cli.positive, default=5, metavar="N", help="of the timing, the best counts")
    parser.add_argument("--longest", type=_cli.positive, default=LENGTHS[-1], metavar="T", help="length that is timed")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same nets")
    parser.add_argument("--out", default="fastnn-long-range", metavar="FOLDER", help="where the picture goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Train both alike, show accuracy by distance and time by length."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    least = 2 * NAMES + PARTS
    if options.length < least:
        raise CommandError(f"--length must be at least {least}: {NAMES} facts, {NAMES} questions, some noise")
    if options.longest < 2 * NAMES:
        raise CommandError(f"--longest must be at least {2 * NAMES}: {NAMES} facts, {NAMES} questions")
    out = _cli.folder(options.out)
    facts = f"{NAMES} facts in noise, each a name and one of {VALUES} values"
    print(f"up to {options.length} words: {facts}; the last words ask for each\n")
    nets = {}
    for name, kind in KINDS.items():
        fnn.manual_seed(options.seed)
        nets[name] = kind()
        weights = sum(parameter.numel() for parameter in nets[name].parameters())
        history = _far_back.learn(nets[name], options.length, options.steps, options.seed)
        step = 1e3 * history.seconds / history.steps
        print(f"{name:<12} {weights:,} weights, {history.steps} steps of {_far_back.BATCH}, {step:.1f} ms a step")
    edges, right = by_distance(nets, options.length, options.seed)
    _accuracy(edges, right)
    lengths = [length for length in LENGTHS if length <= options.longest] or [options.longest]
    times = {
        name: [_far_back.step_time(net, length, options.batch, options.rounds, options.seed) for length in lengths]
        for name, net in nets.items()
    }
    _cost(lengths, times, options.batch)
    if not options.no_picture:
        draw(edges, right, lengths, times, options.batch, out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def by_distance(nets: dict[str, Module], length: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the edges of PARTS ranges of distances (PARTS + 1,), and the share of right answers in each, per net."""
    rng = np.random.default_rng([seed, 1])
    edges = np.linspace(1, length, PARTS + 1).round().astype(int)
    asked, right = np.zeros(PARTS), {name: np.zeros(PARTS) for name in nets}
    for each in np.linspace(2 * NAMES, length, LOTS).round().astype(int):  # as in training, of all lengths
        tokens, values, distance = _far_back.questions(ASKED // LOTS, each, rng)
        part = np.minimum(np.searchsorted(edges, distance.ravel(), "right") - 1, PARTS - 1)
        asked += np.bincount(part, minlength=PARTS)
        for name, net in nets.items():
            good = _far_back.answers(net, tokens) == values
            right[name] += np.bincount(part, good.ravel(), minlength=PARTS)
    return edges, {name: counts / np.maximum(asked, 1) for name, counts in right.items()}


def _accuracy(edges: np.ndarray, right: dict[str, np.ndarray]) -> None:
    """Print the table of right answers."""
    print(f"\nright answers about {ASKED} new sequences, in % (guessing: {100 / VALUES:.1f})")
    print(f"{'words back':<16}" + "".join(f"{name:>14}" for name in right))
    for i in range(PARTS):
        row = f"{edges[i]} to {edges[i + 1] - 1}"
        print(f"{row:<16}" + "".join(f"{100 * shares[i]:>14.1f}" for shares in right.values()))
    print(f"{'mean':<16}" + "".join(f"{100 * shares.mean():>14.1f}" for shares in right.values()))


def _cost(lengths: list[int], times: dict[str, list[float]], batch: int) -> None:
    """Print the table of times, and how they grow from one length to the next."""
    threads = fnn.get_num_threads()
    print(f"\nmilliseconds of a training step, {batch} sequences ({threads} threads), and how often the one before")
    print(f"{'length':<16}" + "".join(f"{name:>14}{'':>8}" for name in times))
    for i, length in enumerate(lengths):
        cells = []
        for seconds in times.values():
            grown = f"x {seconds[i] / seconds[i - 1]:.1f}" if i else ""
            cells.append(f"{1e3 * seconds[i]:>14.1f}{grown:>8}")
        print(f"{length:<16}" + "".join(cells))


def draw(edges, right: dict, lengths: list[int], times: dict, batch: int, file: Path) -> None:
    """Write the picture: accuracy against distance, time against length."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((12, 4.5), layout="constrained")
    left, beside = figure.subplots(1, 2)
    centre = (edges[:-1] + edges[1:] - 1) / 2
    for name, shares in right.items():
        left.plot(centre, 100 * shares, "o-", label=name)
    left.axhline(100 / VALUES, color="0.6", linestyle="--")
    left.text(centre[-1], 100 / VALUES + 1, "guessing", ha="right", va="bottom", color="0.4")
    left.set(ylim=(0, 105), xlabel="how many words back the answer stands", ylabel="right answers, %")
    left.set_title("What is remembered")
    for name, seconds in times.items():
        beside.loglog(lengths, [1e3 * s for s in seconds], "o-", label=name, base=2)
    beside.set_xticks(lengths, [str(length) for length in lengths])
    beside.yaxis.set_major_formatter("{x:g}")
    beside.set(xlabel="length of the sequences", ylabel="milliseconds of a training step")
    beside.set_title(f"What it costs, {batch} sequences at once")
    beside.legend()  # for both: the left one has room for none
    for ax in (left, beside):
        ax.grid(alpha=0.3)
    figure.savefig(file, dpi=90)
