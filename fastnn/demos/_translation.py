"""What the translate demo is made of: pieces of words, batches of sentences of one length, training, translating."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import optim
from fastnn.models import Translator

from .._extras import require
from ._parallel import Pair

PADDING, START, END = 0, 1, 2
SPECIAL = ["<pad>", "<s>", "</s>"]
ROOM = 2000  # tokens of a batch, both sides together, padding included


class Vocabulary:
    """Words in pieces (byte-pair encoding, Sennrich et al., 2016), the same for both languages: names stay names.

    Pieces are of bytes, so that there is no text without them and nothing is lost on the way back.

    Parameters
    ----------
    pieces : tokenizers.Tokenizer
    """

    def __init__(self, pieces: Any) -> None:
        self.pieces = pieces
        self.pieces.encode_special_tokens = True  # "</s>" that somebody types is text

    @classmethod
    def of(cls, texts: list[str], size: int) -> "Vocabulary":
        """Return the `size` pieces that make the texts shortest."""
        tokenizers = require("tokenizers", "demo", "this demo")
        pieces = tokenizers.Tokenizer(tokenizers.models.BPE())
        pieces.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        pieces.decoder = tokenizers.decoders.ByteLevel()
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        pieces.train_from_iterator(
            texts,
            tokenizers.trainers.BpeTrainer(
                vocab_size=size, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet), show_progress=False
            ),
        )
        return cls(pieces)

    @classmethod
    def read(cls, text: str) -> "Vocabulary":
        """Return that which `str` gave; ValueError if it is none."""
        tokenizers = require("tokenizers", "demo", "this demo")
        try:
            return cls(tokenizers.Tokenizer.from_str(text))
        except Exception as error:  # the library raises no narrower one
            raise ValueError(f"no vocabulary: {error}") from None

    def __str__(self) -> str:
        return self.pieces.to_str()

    def __len__(self) -> int:
        return self.pieces.get_vocab_size()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Texts -> the numbers of their pieces."""
        return [found.ids for found in self.pieces.encode_batch(texts, add_special_tokens=False)]

    def decode(self, tokens) -> str:
        """Numbers of pieces up to an end -> the text."""
        tokens = [int(token) for token in tokens]
        tokens = tokens[: tokens.index(END)] if END in tokens else tokens
        return self.pieces.decode(tokens).strip()

    def words(self, text: str) -> tuple[list[int], list[str], np.ndarray]:
        """A text -> its pieces and an end, the words they make, and to which word each belongs."""
        found = self.pieces.encode(text, add_special_tokens=False)
        place = np.unique([*found.word_ids, len(found.ids)], return_inverse=True)[1]
        words = [self.decode(np.array(found.ids)[place[:-1] == i]) for i in range(place[-1])]
        return [*found.ids, END], [*words, "end"], place


def padded(rows: list[list[int]], before: int | None = None, after: int | None = None) -> np.ndarray:
    """Return lists of tokens as one array, with a token before or after each, filled up with PADDING."""
    head, tail = ([] if token is None else [token] for token in (before, after))
    longest = max(len(row) for row in rows) + len(head) + len(tail)
    out = np.full((len(rows), max(longest, 1)), PADDING)
    for line, row in zip(out, rows):
        whole = [*head, *row, *tail]
        line[: len(whole)] = whole
    return out


def batch_of(source: list[list[int]], target: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the network is given, and what it shall say: the target one token later."""
    return padded(source, after=END), padded(target, before=START), padded(target, after=END)


@dataclass
class Batches:
    """Pairs in batches of about one length and `room` tokens, put together anew for each pass.

    `generator` is what a checkpoint keeps the state of.
    """

    source: list[list[int]]
    target: list[list[int]]
    generator: np.random.Generator | None
    room: int = ROOM

    @classmethod
    def of(
        cls, pairs: list[Pair], vocabulary: Vocabulary, generator: np.random.Generator | None, room: int = ROOM
    ) -> "Batches":
        """Return those of pairs; without a generator in the same order each time."""
        source, target = ([getattr(p, name) for p in pairs] for name in ("spanish", "english"))
        return cls(vocabulary.encode(source), vocabulary.encode(target), generator, room)

    @cached_property
    def fingerprint(self) -> int:
        """Of the pairs in these pieces: a training of others cannot go on with them."""
        return zlib.crc32(repr((self.source, self.target)).encode())

    def __iter__(self) -> Iterator[tuple]:
        source, target = (np.array([len(row) + 1 for row in rows]) for rows in (self.source, self.target))
        rng = self.generator
        noise = 0 if rng is None else rng.uniform(-0.5, 0.5, (2, len(source)))
        near, nearer = (np.stack([source, target]) + noise).round(1)
        order = np.lexsort((near, nearer.round()))  # by the target, then the source: one twentieth is padding
        cuts = self._cuts(source[order], target[order])
        for i in range(len(cuts) - 1) if rng is None else rng.permutation(len(cuts) - 1):
            some = order[cuts[i] : cuts[i + 1]]
            yield batch_of([self.source[j] for j in some], [self.target[j] for j in some])

    def _cuts(self, source: np.ndarray, target: np.ndarray) -> list[int]:
        """Return where the next batch begins: it is full when both sides together have `room` tokens."""
        cuts, widest = [0], (0, 0)
        for i, lengths in enumerate(zip(source.tolist(), target.tolist())):
            widest = max(widest[0], lengths[0]), max(widest[1], lengths[1])
            if sum(widest) * (i + 1 - cuts[-1]) > self.room and i > cuts[-1]:
                cuts.append(i)
                widest = lengths
        return [*cuts, len(source)]


def loss(logits, target):
    """logits: (B, T, V), target: (B, T) -> the mean over what is no padding, a tenth of it spread over all tokens."""
    flat = logits.reshape(-1, logits.shape[-1])
    return fnn.cross_entropy(flat, target.reshape(-1), ignore_index=PADDING, label_smoothing=0.1)


def train(
    net: Translator,
    batches: Batches,
    check: Batches,
    steps: int,
    seed: int,
    rate: float = 2e-3,
    checkpoint=None,
    resume: bool = False,
    callbacks=(),
    progress: bool | None = None,
):
    """Train a translator: Adam, the rate up in the first tenth of the steps and down to nothing."""
    return fnn.fit(
        net,
        loss,
        batches,
        steps=steps,
        validation=list(check),
        optimizer=lambda parameters: optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=1e-2),
        schedule=lambda optimizer: optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
        ),
        clip_norm=1.0,
        best_weights=False,
        seed=seed,
        checkpoint=checkpoint,
        resume=resume,
        callbacks=callbacks,
        progress=progress,
    )


def translate(net: Translator, vocabulary: Vocabulary, texts: list[str], beams: int = 4, batch: int = 64) -> list[str]:
    """Return the translations of texts, many at a time."""
    found = [""] * len(texts)
    source = vocabulary.encode(texts)
    order = np.argsort([len(row) for row in source], kind="stable")
    for i in range(0, len(order), batch):
        some = order[i : i + batch]
        rows = padded([source[j] for j in some], after=END)
        out = net.translate(rows, START, END, 2 * rows.shape[1] + 10, beams)
        for j, row in zip(some, out):
            found[j] = vocabulary.decode(row)
    return found
