"""The same words in another order: a recurrent network tells sentences from shuffled ones, a bag of words cannot.

Real English sentences (of the documentation that comes with Python), each once as it stands and once with its words
shuffled. Both have the same words, so whoever only counts words is right half the time.
"""

import argparse
import re
import time
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.nn import functional as F

from .. import _cli
from .._cli import CommandError
from .._extras import require

PICTURE = "word-order.png"
SHORTEST, LONGEST = 5, 20  # words of a sentence
KNOWN = 3  # a word must occur so often to be one of the vocabulary
UNKNOWN = 1  # 0 is padding
EXAMPLE = "the function returns a new list"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--ask", metavar="SENTENCE", default=EXAMPLE, help="at most six words, to be put in order")
    parser.add_argument("--epochs", type=_cli.positive, default=12, metavar="N", help="rounds through the sentences")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same nets")
    parser.add_argument("--out", default="fastnn-word-order", metavar="FOLDER", help="where the picture goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


class Reader(nn.Module):
    """Reads words one after the other, both ways: [ embedding ] -> [ GRU ] -> largest over the words -> [ dense ]."""

    def __init__(self, words: int, width: int = 32, hidden: int = 64) -> None:
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.recurrent = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(2 * hidden, 1)

    def forward(self, x):
        """x: integers (N, T) -> (N,), above 0 where the order is right."""
        known = x.data != 0
        y, _ = self.recurrent(self.drop(self.embedding(x)), lengths=known.sum(1))
        return self.out(self.drop(_largest(y, known))).squeeze(1)


class Bag(nn.Module):
    """Sees which words there are, in no order: [ embedding ] -> mean -> [ dense, ReLU ] -> [ dense ]."""

    def __init__(self, words: int, width: int = 32, hidden: int = 128) -> None:
        self.embedding = nn.Embedding(words, width, padding_idx=0)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 1))

    def forward(self, x):
        """x: integers (N, T) -> (N,)."""
        return self.layers(self.embedding(x).sum(1) / fnn.tensor((x.data != 0).sum(1, keepdims=True))).squeeze(1)


def _largest(y, known: np.ndarray):
    """y: (N, T, D) -> (N, D), over the words that are there."""
    return fnn.where(fnn.tensor(known[:, :, None]), y, -1e4).amax(1)


@dataclass
class Sentences:
    """Sentences as numbers of words, (n, LONGEST) with zeros behind the end; those of two known words or more."""

    x: np.ndarray

    def __post_init__(self) -> None:
        known = np.sort(self.x, 1)
        self.x = self.x[((np.diff(known, axis=1) > 0) & (known[:, 1:] > UNKNOWN)).sum(1) >= 2]  # else no other order

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Return each with its words in another order."""
        y = self.x.copy()
        for row in y:
            n = int((row != 0).sum())
            before = row[:n].copy()
            while (row[:n] == before).all():
                row[:n] = rng.permutation(before)
        return y

    def both(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return (2 n, LONGEST) sentences as they are and shuffled, and which is which."""
        n = len(self.x)
        return np.concatenate([self.x, self.shuffled(rng)]), np.repeat(np.array([1, 0], np.float32), n)


def pages() -> list[list[list[str]]]:
    """Return the sentences of each page of Python's documentation, as words."""
    from pydoc_data.topics import topics

    found = []
    for _, text in sorted(topics.items()):
        plain = re.sub(r"\s+", " ", re.sub(r"(?m)^(    .*|>>>.*|\W*)$", ".", text)).lower()
        sentences = [re.findall(r"[a-z][a-z'-]*", part) for part in re.split(r"[.:;?!]\s|[()]", plain)]
        kept = {tuple(s): s for s in sentences if SHORTEST <= len(s) <= LONGEST and len(set(s)) > 3}
        found.append(list(kept.values()))
    return found


class Words:
    """The vocabulary: words by number."""

    def __init__(self, sentences: list[list[str]]) -> None:
        counts: dict[str, int] = {}
        for word in (word for s in sentences for word in s):
            counts[word] = counts.get(word, 0) + 1
        self.words = sorted(word for word, n in counts.items() if n >= KNOWN)
        self.numbers = {word: i + 2 for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words) + 2

    def numbered(self, sentences: list[list[str]]) -> np.ndarray:
        """Return sentences as numbers, (n, LONGEST)."""
        x = np.zeros((len(sentences), LONGEST), np.int64)
        for row, s in zip(x, sentences):
            row[: len(s)] = [self.numbers.get(word, UNKNOWN) for word in s]
        return x


class _Batches:
    """Batches of 64 with as many sentences shuffled, anew in each round."""

    def __init__(self, sentences: Sentences, rng: np.random.Generator) -> None:
        self.sentences, self.rng = sentences, rng

    def __len__(self) -> int:
        return -(-2 * len(self.sentences.x) // 64)

    def __iter__(self):
        x, y = self.sentences.both(self.rng)
        order = self.rng.permutation(len(x))
        for i in range(0, len(order), 64):
            some = order[i : i + 64]
            yield fnn.tensor(x[some]), fnn.tensor(y[some])


def run(options: argparse.Namespace) -> None:
    """Train both on the same sentences, compare on other pages, put words in order, draw."""
    if not options.no_picture:
        require("matplotlib", "demo", "the picture (--no-picture does without it)")
    asked = re.findall(r"[a-z][a-z'-]*", options.ask.lower())
    if not 2 <= len(asked) <= 6:
        raise CommandError(f"--ask has {len(asked)} words; expected 2 to 6")
    out = None if options.no_picture else _cli.folder(options.out)
    rng = np.random.default_rng(options.seed)
    every = pages()
    held = set(rng.permutation(len(every))[: len(every) // 5].tolist())
    learned = _different([s for i, page in enumerate(every) if i not in held for s in page])
    seen = {tuple(s) for s in learned}
    tested = _different([s for i in sorted(held) for s in every[i] if tuple(s) not in seen])
    words = Words(learned)
    print(f"{len(learned):,} sentences of Python's documentation to learn from, {len(tested):,} of other pages to test")
    print(f"each as it stands and with its {SHORTEST} to {LONGEST} words shuffled; {len(words):,} words are known\n")
    nets = {"a bag of words": Bag, "fastnn, word by word (GRU)": Reader}
    print(f"{'on sentences of other pages':<32}{'right':>9}{'weights':>11}{'time':>9}")
    print(f"{'always in order':<32}{50:>7.1f} %")
    trained, histories = {}, {}
    for name, make in nets.items():
        start = time.perf_counter()
        fnn.manual_seed(options.seed)
        net = make(len(words))
        histories[name] = _train(net, Sentences(words.numbered(learned)), options)
        x, y = Sentences(words.numbered(tested)).both(np.random.default_rng(options.seed))
        right = 100 * ((_scores(net, x) > 0) == (y > 0)).mean()
        weights = sum(parameter.numel() for parameter in net.parameters())
        seconds = time.perf_counter() - start
        print(f"{name:<32}{right:>7.1f} %{weights:>11,}{seconds:>7.1f} s", flush=True)
        trained[name] = net
    _order(asked, words, trained)
    if out is not None:
        draw(histories, out / PICTURE)
        print(f"\npicture  {out / PICTURE}")


def _different(sentences: list[list[str]]) -> list[list[str]]:
    return list({tuple(s): s for s in sentences}.values())


def _train(net: nn.Module, sentences: Sentences, options: argparse.Namespace) -> fnn.fit:
    """Train one of the networks."""
    batches = _Batches(sentences, np.random.default_rng(options.seed))
    total = options.epochs * len(batches)
    history = fnn.fit(
        net,
        F.binary_cross_entropy_with_logits,
        batches,
        epochs=options.epochs,
        optimizer=lambda parameters: optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2),
        schedule=lambda optimizer: optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=total),
        clip_norm=5.0,
        seed=options.seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def _scores(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """x: (n, LONGEST) -> (n,)."""
    with fnn.no_grad():
        return np.concatenate([net(fnn.tensor(x[i : i + 256])).numpy() for i in range(0, len(x), 256)])


def _order(asked: list[str], words: Words, trained: dict[str, nn.Module]) -> None:
    """Print the orders of a few words that each network finds the best."""
    orders = [list(order) for order in sorted(set(permutations(asked)))]
    unknown = [word for word in asked if word not in words.numbers]
    beware = f" (not known: {', '.join(unknown)})" if unknown else ""
    print(f"\n{' '.join(asked)!r} in all its {len(orders)} orders{beware}")
    for name, net in trained.items():
        scores = _scores(net, words.numbered(orders))
        place = int((scores > scores[orders.index(asked)] + 1e-4).sum()) + 1
        alike = int((np.abs(scores - scores.max()) < 1e-4).sum())
        print(f"  {name}: " + (f"all {alike} are alike" if alike == len(orders) else f"as asked it is number {place}"))
        if alike < len(orders):
            for i in np.argsort(-scores, kind="stable")[:3]:
                print(f"    {' '.join(orders[i])}")


def draw(histories: dict, file: Path) -> None:
    """Write the picture: how the error of both falls."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((8, 5), layout="constrained")
    ax = figure.subplots()
    for name, history in histories.items():
        ax.plot(range(1, len(history.loss) + 1), history.loss, label=name)
    ax.axhline(np.log(2), color="0.6", linestyle=":", label="guessing")
    ax.set(xlabel="epoch", ylabel="cross-entropy", title="The same words, in order or not", ylim=(0, None))
    ax.legend()
    figure.savefig(file, dpi=90)
