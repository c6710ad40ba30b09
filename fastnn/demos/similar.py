"""A six-layer BERT trained elsewhere turns English sentences into vectors, and ranks them by what they mean.

The weights are those of all-MiniLM-L6-v2 (Apache-2.0). Beside it: ranking by the words that two sentences share.
"""

import argparse
import re
import time
from pathlib import Path

import numpy as np

from fastnn.models import SentenceEncoder

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _minilm

PICTURE = "similar.png"
ASKED = "How can I get my money back?"
# Pairs that say the same in other words, so that there is a right answer; no pair shares more than small words.
PAIRS = [
    ("How can I get my money back?", "What is your refund policy?"),
    ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
    ("My laptop won't turn on.", "The computer does not start."),
    ("It will rain tomorrow.", "The forecast says wet weather for the next day."),
    ("She plays the violin beautifully.", "A woman performs music with great skill."),
    ("The train was two hours late.", "Our railway journey got heavily delayed."),
    ("He forgot the key to his flat.", "A man locked himself out of his apartment."),
    ("Stock prices fell sharply today.", "Shares lost much of their value on the market."),
    ("The soup is too salty.", "There was more seasoning in the broth than I like."),
    ("Doctors advise more exercise.", "Physicians recommend physical activity."),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    ranked = "English; the others are ranked by it"
    parser.add_argument("sentence", nargs="?", type=_cli.words, default=ASKED, help=ranked)
    parser.add_argument("--file", metavar="FILE", help="sentences to rank, one a line; twenty of ours by default")
    parser.add_argument("--best", type=_cli.positive, default=5, metavar="N", help="how many to show")
    parser.add_argument("--rounds", type=_cli.positive, default=3, metavar="N", help="of the timing, the best counts")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="not used: nothing is random here")
    parser.add_argument("--out", default="fastnn-similar", metavar="FOLDER", help="where the picture goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Rank, show how well both ways find the other half of pairs, time, draw."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    sentences = [one for pair in PAIRS for one in pair] if options.file is None else _read(options.file)
    if not options.sentence.strip():
        raise CommandError("the sentence is empty")
    net = SentenceEncoder.from_folder(_minilm.needed())
    out = None if options.no_picture else _cli.folder(options.out)
    net.freeze()
    weights = sum(parameter.numel() for parameter in net.parameters())
    print(f"all-MiniLM-L6-v2 (Apache-2.0): a BERT of six layers, {weights:,} weights\n")
    others = [sentence for sentence in sentences if sentence != options.sentence]
    if not others:
        raise CommandError("there is nothing to rank: give other sentences than the one asked about")
    (asked,), embedded = net.embed([options.sentence]), net.embed(others)
    near = embedded @ asked
    print(f"nearest in meaning to: {options.sentence}")
    for i in np.argsort(-near, kind="stable")[: options.best]:
        print(f"  {near[i]:6.3f}  {others[i]}")
    shared = np.array([overlap(options.sentence, other) for other in others])
    best = int(shared.argmax())
    print(f"most words in common: {others[best]} ({shared[best]:.2f})")
    _found(net)
    _times(net, sentences, options.rounds)
    if out is not None:
        draw([options.sentence, *others][:20], net, out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def _read(file: str) -> list[str]:
    try:
        text = Path(file).read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not text in UTF-8") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise CommandError(f"{file} has no sentences")
    return found


def overlap(a: str, b: str) -> float:
    """Return the share of words that two sentences have in common, of all that are in either.

    Examples
    --------
    >>> overlap("The cat sleeps.", "the cat eats")
    0.5
    """
    one, other = (set(re.findall(r"\w+", text.lower())) for text in (a, b))
    return len(one & other) / max(1, len(one | other))


def partners(near: np.ndarray) -> int:
    """Return for how many rows the nearest other row is their partner, 2i and 2i + 1."""
    np.fill_diagonal(near, -np.inf)
    return int((near.argmax(1) == np.arange(len(near)) ^ 1).sum())


def _found(net: SentenceEncoder) -> None:
    """Print how often the nearest of twenty sentences is the one that says the same."""
    ours = [one for pair in PAIRS for one in pair]
    vectors = net.embed(ours)
    words = np.array([[overlap(a, b) for b in ours] for a in ours])
    print(f"\nof {len(ours)} sentences in pairs that say the same, the nearest is the right one:")
    print(f"  {'by shared words':<20}{partners(words):>3}")
    print(f"  {'fastnn, by meaning':<20}{partners(vectors @ vectors.T):>3}")


def _times(net: SentenceEncoder, sentences: list[str], rounds: int) -> None:
    """Print how long embedding takes."""

    def best(work) -> float:
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return min(seconds) / len(sentences) * 1e3

    single, together = best(lambda: [net.embed([s]) for s in sentences]), best(lambda: net.embed(sentences))
    print(f"\nmilliseconds a sentence: {single:.2f} one after the other, {together:.2f} all {len(sentences)} at once")


def draw(sentences: list[str], net: SentenceEncoder, file: Path) -> None:
    """Write the picture: how near each sentence is to each other one."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((11, 8), layout="constrained")
    ax = figure.subplots()
    vectors = net.embed(sentences)
    near = vectors @ vectors.T
    shown = ax.imshow(near, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    short = [f"{text if len(text) <= 48 else text[:47] + '…'}  {i}" for i, text in enumerate(sentences, 1)]
    ax.set_yticks(range(len(short)), short, fontsize=8, parse_math=False)
    ax.set_xticks(range(len(short)), range(1, len(short) + 1), fontsize=8)
    ax.set_title("How near sentences are in meaning")
    figure.colorbar(shown, ax=ax, label="product of two vectors of length 1")
    figure.savefig(file, dpi=90)
