"""Spelling to phonemes: one GRU reads the letters, another says the phonemes, from the state the first ends in.

letters, </s> ---> [ embedding | GRU ] ---> state ---> [ GRU step ] ---> [ dense ] ---> phoneme ---+
                                                            ^                                      |
                                                            +------------ [ embedding ] <----------+   until </s>
"""

import os
import zlib
from collections.abc import Sequence
from zipfile import BadZipFile

import numpy as np

from .._errors import FormatError
from .._ops import Tensor
from .._tape import no_grad
from ..nn import GRU, Embedding, Linear, Module, _module

LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
# fmt: off
PHONEMES = [
    "<pad>", "<unk>", "<s>", "</s>", "AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1",
    "AO2", "AW0", "AW1", "AW2", "AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2", "ER0", "ER1", "ER2",
    "EY0", "EY1", "EY2", "F", "G", "HH", "IH0", "IH1", "IH2", "IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG",
    "OW0", "OW1", "OW2", "OY0", "OY1", "OY2", "P", "R", "S", "SH", "T", "TH", "UH0", "UH1", "UH2", "UW", "UW0",
    "UW1", "UW2", "V", "W", "Y", "Z", "ZH",
]
# fmt: on
UNKNOWN, STOP = 1, 2  # letters
BEGIN, END = 2, 3  # phonemes
MOST = 20  # phonemes of a word
# Of the package's file: what each array is called here.
NAMES = {
    **{f"{short}_emb": f"{long}_embedding.weight" for short, long in (("enc", "letter"), ("dec", "phoneme"))},
    **{
        f"{short}_{kind}_{side}": f"{long}.{full}_{side}_l0"
        for short, long in (("enc", "reader"), ("dec", "speaker"))
        for kind, full in (("w", "weight"), ("b", "bias"))
        for side in ("ih", "hh")
    },
    "fc_w": "out.weight",
    "fc_b": "out.bias",
}


def _spelled(embedding: Embedding, gru: GRU) -> GRU:
    """The frozen GRU of symbols, each a row of zeros and a 1: embedding and input weights in one matrix."""
    symbols, width = embedding.weight.shape
    made = GRU(symbols, width, batch_first=gru.batch_first, dtype=gru.weight_hh_l0.dtype)
    made.load_state_dict({**gru.state_dict(), "weight_ih_l0": gru.weight_ih_l0 @ embedding.weight.T})
    made.freeze()
    return made


def _rows(symbols: np.ndarray, gru: GRU) -> np.ndarray:
    """Symbols (...) as a spelled GRU takes them, (..., symbols)."""
    rows = np.zeros((*symbols.shape, gru.input_size), gru.weight_hh_l0.dtype)
    np.put_along_axis(rows, symbols[..., None], 1, -1)
    return rows


class Pronouncer(Module):
    """The encoder-decoder of the package g2p-en, whose weights it loads: English words to ARPAbet phonemes.

    Parameters
    ----------
    width : int
        Of embeddings and states.

    References
    ----------
    Park and Kim, "g2p-en: a simple Python module for English grapheme to phoneme conversion", 2019 (Apache-2.0);
    trained on the CMU pronouncing dictionary.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.Pronouncer(width=8)
    >>> [len(word) <= 20 for word in net.pronounce(["hello", "world"])]
    [True, True]
    """

    _spelled: tuple[int, tuple[GRU, GRU] | None] | None = None

    def __init__(self, width: int = 256) -> None:
        self.letter_embedding = Embedding(len(LETTERS), width)
        self.reader = GRU(width, width, batch_first=True)
        self.phoneme_embedding = Embedding(len(PHONEMES), width)
        self.speaker = GRU(width, width)
        self.out = Linear(width, len(PHONEMES))

    def load(self, file: str | os.PathLike) -> "Pronouncer":
        """Take the weights of the package's file, checkpoint20.npz; returns self.

        Raises
        ------
        FormatError
            If the file is damaged, or has not the arrays of this network.
        OSError
            If it cannot be opened.
        """
        with open(file, "rb") as opened:  # errors of the system stay what they are
            try:
                with np.load(opened, allow_pickle=False) as arrays:
                    state = {name: arrays[theirs] for theirs, name in NAMES.items()}
                self.load_state_dict(state)
            except (OSError, KeyError, TypeError, ValueError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
                raise FormatError(f"{os.fspath(file)}: not the weights of g2p-en: {error}") from None
        return self

    def encode(self, words: Sequence[str]) -> Tensor:
        """Words -> the state after their last letter, (1, N, width)."""
        lengths = np.array([len(word) + 1 for word in words])
        x = np.full((len(words), lengths.max()), STOP)
        for row, word in zip(x, words):
            row[: len(word)] = [LETTERS.index(c) if c in LETTERS else UNKNOWN for c in map(str.lower, word)]
        spelled = self._spelled_parts()
        if spelled:
            return spelled[0](_rows(x, spelled[0]), lengths=lengths)[1]
        return self.reader(self.letter_embedding(x), lengths=lengths)[1]

    def forward(self, phonemes, state):
        """phonemes: (N,), those said last; state: (1, N, width) -> scores of the next (N, 74), and the new state."""
        y, state = self.speaker.step(self.phoneme_embedding(phonemes), state)
        return self.out(y), state

    def _spelled_parts(self) -> tuple[GRU, GRU] | None:
        """Reader and speaker with their embeddings inside, where all weights are frozen: a step reads half as much.

        Words one after the other take 0.7 of the time, forty at once 0.64.
        """
        known = self._spelled
        if known is None or known[0] != _module.changes:
            parts = (self.letter_embedding, self.reader), (self.phoneme_embedding, self.speaker)
            whole = _module.plain((m for part in parts for m in part), (Embedding, GRU, Embedding, GRU))
            final = whole and not any(p.requires_grad or p.data.flags.writeable for p in self.parameters())
            made = (_spelled(*parts[0]), _spelled(*parts[1])) if final else None
            known = _module.changes, made
            object.__setattr__(self, "_spelled", known)
        return known[1]

    def __getstate__(self):
        """What is copied and pickled: the weights, of which the rest is made."""
        return {name: value for name, value in self.__dict__.items() if name != "_spelled"}

    def _next(self, phonemes: np.ndarray, state: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives."""
        spelled = self._spelled_parts()
        if not spelled:
            return self.forward(phonemes, state)
        y, state = spelled[1].step(_rows(phonemes, spelled[1]), state)
        return self.out(y), state

    def pronounce(self, words: Sequence[str]) -> list[list[str]]:
        """Return the phonemes of words, all at once; at each step the likeliest. Capitals are read as small letters.

        Raises
        ------
        TypeError
            If `words` is one word instead of a list.
        """
        if isinstance(words, str):
            raise TypeError("Pronouncer.pronounce: words is a str; expected a list of words")
        if len(words) == 0:  # an array's truth is not its length
            return []
        said = np.full((len(words), MOST + 1), END)
        with no_grad():
            state = self.encode(words)
            last, open_ = np.full(len(words), BEGIN), np.arange(len(words))
            for i in range(MOST):
                scores, state = self._next(last, state)
                last = scores.data.argmax(1)
                said[open_, i] = last
                going = np.flatnonzero(last != END)  # who is done takes no part any more: half the work
                if len(going) == 0:
                    break
                if len(going) < len(last):
                    last, open_, state = last[going], open_[going], state[:, going]
        return [[PHONEMES[p] for p in row[: row.tolist().index(END)]] for row in said]
