"""A trained network says how English words are pronounced: a GRU reads the letters, another says the phonemes.

The weights are those of the package g2p-en; the same words go through that package's own NumPy code, to compare.
"""

import argparse
import time

import numpy as np

import fastnn as fnn
from fastnn.models.pronouncer import BEGIN, LETTERS, PHONEMES, Pronouncer

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _g2p

PICTURE = "phonemes.png"
# fmt: off
WORDS = [
    "network", "neuron", "learning", "recurrent", "gradient", "pronounce", "through", "though", "thought", "enough",
    "colonel", "queue", "rhythm", "island", "knight", "psychology", "chaos", "machine", "character", "church",
    "photograph", "photography", "economy", "economic", "finish", "finite", "infinite", "nation", "national", "sugar",
    "blick", "thrisk", "wug", "flonkert", "zoober", "quixotic", "onomatopoeia", "antidisestablishment", "a", "i",
]
# fmt: on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("words", nargs="*", default=[], help="words to pronounce; forty of ours by default")
    parser.add_argument("--rounds", type=_cli.positive, default=5, metavar="N", help="of the timing, the best counts")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="not used: nothing is random here")
    parser.add_argument("--out", default="fastnn-phonemes", metavar="FOLDER", help="where the picture goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Pronounce, compare, time, draw."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    words = [word.lower() for word in options.words] or WORDS
    for word in words:
        if not word or len(word) > 60:
            raise CommandError(f"a word of {len(word)} letters; expected 1 to 60")
    weights = _g2p.needed() / "checkpoint20.npz"
    out = None if options.no_picture else _cli.folder(options.out)
    net = Pronouncer().load(weights)
    net.freeze()
    original = _g2p.Original()
    count = sum(parameter.numel() for parameter in net.parameters())
    print(f"a GRU reads, a GRU speaks: {count:,} weights of g2p-en (Park and Kim 2019, CMU dictionary)\n")
    said, theirs = net.pronounce(words), original.pronounce(words)
    for word, phonemes, other in zip(words, said, theirs):
        print(f"  {word:<22}{' '.join(phonemes)}" + ("" if phonemes == other else f"   ({' '.join(other)} by NumPy)"))
    off = difference(net, original, words)
    if unknown := "".join(sorted(set("".join(words)) - set(LETTERS))):
        print(f"\nnot among the letters it has learned, and so guessed: {' '.join(unknown)}")
    print(f"\nlargest difference of states and scores from the package's NumPy code: {off:.1e}")
    print(f"same phonemes for {sum(a == b for a, b in zip(said, theirs))} of {len(words)} words")
    _times(net, original, words, options.rounds)
    if out is not None:
        draw(net, words[0], out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def difference(net: Pronouncer, original: _g2p.Original, words: list[str]) -> float:
    """Return the largest difference of the states after reading and of the first phoneme's scores, relative where a
    number is above one: scores reach 20, where float32 itself tells no less than 2e-6 apart."""
    with fnn.no_grad():
        state = net.encode(words)
        scores, _ = net(np.full(len(words), BEGIN), state)
    states = np.concatenate([original.encode(word) for word in words])
    firsts = np.concatenate([original.scores(one[None], BEGIN) for one in states])
    pairs = ((state.numpy()[0], states), (scores.numpy(), firsts))
    return max(float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max()) for ours, theirs in pairs)


def _times(net: Pronouncer, original: _g2p.Original, words: list[str], rounds: int) -> None:
    """Print how long each takes."""

    def best(work) -> float:
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return min(seconds) / len(words) * 1e3

    ours = best(lambda: net.pronounce(words))
    single = best(lambda: [net.pronounce([word]) for word in words])
    theirs = best(lambda: original.pronounce(words))
    print("\nmilliseconds a word")
    print(f"{'NumPy, the package itself':<34}{theirs:>8.3f}")
    print(f"{'fastnn, one word after the other':<34}{single:>8.3f}{theirs / single:>8.1f} times as fast")
    print(f"{f'fastnn, all {len(words)} at once':<34}{ours:>8.3f}{theirs / ours:>8.1f} times as fast")


def draw(net: Pronouncer, word: str, file) -> None:
    """Write the picture: the probability of each phoneme as the word is said, those said first on top."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((10, 5), layout="constrained")
    ax = figure.subplots()
    (said,) = net.pronounce([word])
    steps, last = [], BEGIN
    with fnn.no_grad():
        state = net.encode([word])
        for phoneme in [*said, "</s>"]:
            scores, state = net([last], state)
            steps.append(scores.softmax(-1).numpy()[0])
            last = PHONEMES.index(phoneme)
    table = np.stack(steps, 1)
    shown = np.flatnonzero(table.max(1) > 0.02)
    shown = shown[np.argsort(table[shown].argmax(1), kind="stable")]
    image = ax.imshow(table[shown], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(steps)), [*said, "end"])
    ax.set_yticks(range(len(shown)), ["end" if PHONEMES[i] == "</s>" else PHONEMES[i] for i in shown])
    ax.set_title(f"How {word!r} is said, and what else it could have been", parse_math=False)
    ax.set(xlabel="said", ylabel="could have been")
    figure.colorbar(image, ax=ax, label="probability")
    figure.savefig(file, dpi=90)
