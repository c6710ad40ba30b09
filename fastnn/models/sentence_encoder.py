"""Sentences as vectors: a BERT reads the pieces of a sentence both ways, and the mean of what it makes of them counts.

tokens ---> [ token + position + segment | norm ] ---> layers x [ attention | dense ] ---> mean over tokens -> length 1
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._checks import integer
from .._errors import FormatError
from .._extras import require
from .._io import load
from .._ops import Tensor, as_tensor
from .._tape import no_grad
from ..nn import Dropout, Embedding, LayerNorm, Module, TransformerEncoder, TransformerEncoderLayer
from ..nn._evaluating import evaluating

LONGEST = 256  # tokens of a sentence that are read; what follows is cut off
# What a weight of one layer is called in the files, and here; queries, keys and values are one matrix here.
PARTS = ("query", "key", "value")
NAMES = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
TABLES = {"word_embeddings": "words", "position_embeddings": "positions", "token_type_embeddings": "segments"}
SIZES = {
    "vocabulary": "vocab_size",
    "d_model": "hidden_size",
    "heads": "num_attention_heads",
    "layers": "num_hidden_layers",
    "width": "intermediate_size",
    "positions": "max_position_embeddings",
    "segments": "type_vocab_size",
}


class SentenceEncoder(Module):
    """A BERT, and the mean of its output over a sentence's tokens, brought to length 1.

    Parameters
    ----------
    vocabulary, d_model, heads, layers, width, positions, segments : int
        As many tokens, numbers for each, heads of attention, layers; the width of the dense network; the longest
        sequence, and the kinds of its parts, of which only the first is used here.
    dropout : float
        While training.
    eps : float
        Of the norms.

    Notes
    -----
    tokens: integers (B, T), and padding: booleans (B, T), True where a token takes no part; output: (B, T, d_model).
    Trained weights, and the pieces that sentences are cut into, come by `from_folder`.

    Raises
    ------
    ValueError, TypeError
        For sizes that are too small or no integers, and `heads` that do not divide `d_model`; when called, for
        sequences that are too long.

    References
    ----------
    Devlin et al., "BERT: pre-training of deep bidirectional transformers", NAACL 2019.
    Reimers and Gurevych, "Sentence-BERT: sentence embeddings using Siamese BERT-networks", EMNLP 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.SentenceEncoder(100, 16, heads=2, layers=1, width=32, positions=20).eval()
    >>> net([[1, 2, 3]]).shape, net.pooled([[1, 2, 3]]).shape
    ((1, 3, 16), (1, 16))
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        d_model: int = 384,
        heads: int = 12,
        layers: int = 6,
        width: int = 1536,
        positions: int = 512,
        segments: int = 2,
        dropout: float = 0.1,
        eps: float = 1e-12,
    ) -> None:
        self.words = Embedding(vocabulary, d_model)
        self.positions = Embedding(positions, d_model)
        self.segments = Embedding(segments, d_model)
        self.norm = LayerNorm(d_model, eps)
        self.dropout = Dropout(dropout)
        layer = TransformerEncoderLayer(d_model, heads, width, dropout, "gelu", eps, batch_first=True)
        self.encoder = TransformerEncoder(layer, layers)
        self._pieces: Any = None

    def forward(self, tokens, padding=None) -> Tensor:
        """tokens: (B, T); padding: (B, T) or None -> (B, T, d_model)."""
        tokens = as_tensor(tokens)
        longest = self.positions.weight.shape[0]
        if tokens.ndim != 2 or not 0 < tokens.shape[1] <= longest:
            raise ValueError(f"SentenceEncoder: tokens is {tokens.shape}; expected (B, T), T from 1 to {longest}")
        place = self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        x = self.dropout(self.norm(self.words(tokens) + place))
        return self.encoder(x, src_key_padding_mask=padding)

    def pooled(self, tokens, padding=None) -> Tensor:
        """tokens: (B, T); padding: (B, T) or None -> the mean over what is no padding, of length 1, (B, d_model)."""
        x = self.forward(tokens, padding)
        if padding is None:
            mean = x.mean(1)
        else:
            taken = ~np.asarray(getattr(padding, "data", padding))
            share = taken / np.maximum(taken.sum(1, keepdims=True), 1)
            mean = (x * share[:, :, None].astype(x.dtype)).sum(1)
        return mean / ((mean * mean).sum(-1, keepdim=True) + 1e-24).sqrt()

    @classmethod
    def from_folder(cls, folder: str | os.PathLike) -> "SentenceEncoder":
        """Return the network of a folder with config.json, model.safetensors and tokenizer.json, as BERTs are known.

        Needs the package `tokenizers` (extra "demo") for the last of them. The network is in evaluation mode.

        Raises
        ------
        OSError
            If a file is missing.
        FormatError
            If a file is damaged, or describes another kind of network.
        """
        tokenizers = require("tokenizers", "demo", "SentenceEncoder.from_folder")
        path = Path(folder)
        try:
            text = (path / "tokenizer.json").read_text("utf-8")
            config = json.loads((path / "config.json").read_text("utf-8"))
            sizes = {ours: int(config[theirs]) for ours, theirs in SIZES.items()}
            if config["hidden_act"] != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
                raise ValueError("expected GELU and absolute positions")
            net = cls(**sizes, eps=float(config["layer_norm_eps"]))
            net.load_state_dict(_renamed(load(path / "model.safetensors"), sizes["layers"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"SentenceEncoder.from_folder: {path} is no such network: {error}") from None
        try:
            net._pieces = tokenizers.Tokenizer.from_str(text)
            net._pieces.enable_truncation(min(LONGEST, sizes["positions"]))
            net._pieces.enable_padding(pad_id=int(config.get("pad_token_id") or 0))
        except Exception as error:  # the library raises no narrower one
            raise FormatError(f"SentenceEncoder.from_folder: {path}/tokenizer.json: {error}") from None
        net.eval()
        return net

    def tokens(self, sentences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Sentences -> tokens (B, T) and padding (B, T), as `forward` takes them.

        Raises
        ------
        ValueError
            If the network did not come from a folder.
        TypeError
            If `sentences` is one sentence instead of a list.
        """
        if self._pieces is None:
            raise ValueError("SentenceEncoder.tokens: no tokenizer; SentenceEncoder.from_folder brings one")
        if isinstance(sentences, str):
            raise TypeError("SentenceEncoder.tokens: sentences is a str; expected a list of sentences")
        found = self._pieces.encode_batch(list(sentences))
        ids, taken = ([getattr(f, name) for f in found] for name in ("ids", "attention_mask"))
        return np.array(ids, np.int64), np.array(taken) == 0

    def embed(self, sentences: Sequence[str], batch: int = 32) -> np.ndarray:
        """Sentences -> (n, d_model), of length 1: the product of two says how near they are, at most 1.

        Sentences of about one length go through together, `batch` at a time.

        Raises
        ------
        TypeError
            If `sentences` is no list of texts, or `batch` no integer.
        ValueError
            If `batch` is below 1.
        """
        if isinstance(sentences, str) or not all(isinstance(sentence, str) for sentence in sentences):
            raise TypeError("SentenceEncoder.embed: expected a list of sentences, each of them a str")
        batch = integer("SentenceEncoder.embed", "batch", batch)
        out = np.zeros((len(sentences), self.words.weight.shape[1]), self.words.weight.dtype)
        order = np.argsort([len(sentence) for sentence in sentences], kind="stable")
        with evaluating(self), no_grad():
            for at in range(0, len(order), batch):
                some = order[at : at + batch]
                tokens, padding = self.tokens([sentences[i] for i in some])
                out[some] = self.pooled(tokens, padding if padding.any() else None).numpy()
        return out


def _renamed(arrays: dict, layers: int) -> dict:
    """The arrays of a published BERT under the names of this network."""
    found = {f"{name}.weight": arrays[f"embeddings.{theirs}.weight"] for theirs, name in TABLES.items()}
    for kind in ("weight", "bias"):
        found[f"norm.{kind}"] = arrays[f"embeddings.LayerNorm.{kind}"]
        for i in range(layers):
            there, here = f"encoder.layer.{i}", f"encoder.layers.{i}"
            three = [arrays[f"{there}.attention.self.{part}.{kind}"].numpy() for part in PARTS]
            found[f"{here}.self_attn.in_proj_{kind}"] = np.concatenate(three)
            found |= {f"{here}.{ours}.{kind}": arrays[f"{there}.{theirs}.{kind}"] for theirs, ours in NAMES.items()}
    return found
