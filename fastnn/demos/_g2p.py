"""The package g2p-en: where its weights are, and its own NumPy code, which the network is held against."""

import sys
import types
import warnings
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import MissingExtraError

HOW = "pip install --no-deps g2p-en==2.1.0"


def folder() -> Path | None:
    """Return the installed package's folder, None where it is not."""
    try:
        path = Path(str(metadata.distribution("g2p-en").locate_file("g2p_en")))
    except metadata.PackageNotFoundError:
        return None
    return path if (path / "checkpoint20.npz").exists() else None


def needed() -> Path:
    """Return the folder; its absence is one line that says how to get it."""
    path = folder()
    if path is None:
        raise MissingExtraError(f"phonemes needs the weights of g2p-en, which is not installed: {HOW}")
    return path


class Original:
    """The package's own class, of which only the NumPy code of the network is run.

    Its module imports nltk and fetches that package's data; the modules it asks for are empty while it is imported.
    """

    def __init__(self) -> None:
        made = self._class()
        self.net = made.__new__(made)
        self.net.load_variables()
        from fastnn.models.pronouncer import LETTERS, PHONEMES

        self.net.g2idx = {letter: i for i, letter in enumerate(LETTERS)}
        self.net.idx2p = dict(enumerate(PHONEMES))

    @staticmethod
    def _class() -> Any:
        before = {name: sys.modules.get(name) for name in ("nltk", "nltk.corpus", "nltk.tokenize", "inflect", "g2p_en")}
        _module("nltk", pos_tag=None, data=types.SimpleNamespace(find=lambda name: name))
        _module("nltk.corpus", cmudict=None)
        _module("nltk.tokenize", TweetTokenizer=lambda: types.SimpleNamespace(tokenize=None))
        _module("inflect", engine=lambda: None)
        _module("g2p_en", __path__=[str(needed())])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # escapes that are none, in the package's text
                G2p = import_module("g2p_en.g2p").G2p
        finally:
            for name in ("g2p_en.g2p", "g2p_en.expand"):
                sys.modules.pop(name, None)
            for name, module in before.items():
                sys.modules.pop(name, None)
                if module is not None:
                    sys.modules[name] = module
        return G2p

    def pronounce(self, words: list[str]) -> list[list[str]]:
        """Words -> phonemes, one word after the other, as the package does it."""
        return [self.net.predict(word) for word in words]

    def encode(self, word: str) -> np.ndarray:
        """A word -> the state after its last letter (1, width)."""
        n = self.net
        state = np.zeros((1, n.enc_w_hh.shape[-1]), np.float32)
        gates = n.enc_w_ih, n.enc_w_hh, n.enc_b_ih, n.enc_b_hh
        return n.gru(n.encode(word), len(word) + 1, *gates, h0=state)[:, -1]

    def scores(self, state: np.ndarray, last: int) -> np.ndarray:
        """The state (1, width) and the phoneme said last -> the scores of the next (1, 74)."""
        n = self.net
        h = n.grucell(n.dec_emb[[last]], state, n.dec_w_ih, n.dec_w_hh, n.dec_b_ih, n.dec_b_hh)
        return h @ n.fc_w.T + n.fc_b


def _module(name: str, **attributes: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module
    return module
