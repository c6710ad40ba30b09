"""The decoder-only transformer: each position sees those before it, and says what comes next.

tokens ---> [ embedding + position ] ---> layers x [ attention to the past | dense ] ---> [ norm | dense ] ---> logits
"""

import numpy as np

from .. import generation
from .._ops import Tensor
from .._tape import no_grad
from ..nn import Dropout, Embedding, KeyValues, LayerNorm, Linear, Module, SinusoidalPositionalEncoding, init
from ..nn import TransformerEncoder as Layers
from ..nn import TransformerEncoderLayer as Layer
from ..nn._evaluating import evaluating
from ..nn._key_values import begun

MOST_ROOM = 1024  # positions that a generation makes room for at first: it may end long before its length
GONE_ON = "of {} tokens has gone on to {}; copy.deepcopy one to go on from it twice"


class LanguageModel(Module):
    """A model of what comes next in a sequence of tokens.

    Parameters
    ----------
    vocabulary : int
        How many tokens there are.
    d_model, heads, layers : int
        Size of a position's vector, heads of attention, and how many layers.
    dropout : float
        While training.

    Notes
    -----
    tokens: integers (B, T); output: logits (B, T, vocabulary), those at t for the token at t + 1.

    Raises
    ------
    ValueError, TypeError
        For sizes that are too small or no integers, and `heads` that do not divide `d_model`.

    References
    ----------
    Radford et al., "Language models are unsupervised multitask learners", 2019; with sinusoids as positions.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.LanguageModel(10, 16, heads=2, layers=1)
    >>> net(fnn.tensor([[1, 2, 3]])).shape
    (1, 3, 10)
    >>> net.generate([[1, 2, 3]], 4).shape
    (1, 7)
    """

    def __init__(
        self, vocabulary: int, d_model: int = 128, heads: int = 4, layers: int = 2, dropout: float = 0.0
    ) -> None:
        self.embedding = Embedding(vocabulary, d_model)
        init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.position = SinusoidalPositionalEncoding(d_model, batch_first=True)
        self.dropout = Dropout(dropout)
        layer = Layer(d_model, heads, 4 * d_model, dropout, "gelu", batch_first=True, norm_first=True)
        self.layers = Layers(layer, layers, LayerNorm(d_model))
        self.head = Linear(d_model, vocabulary)

    def _embedded(self, tokens, offset: int = 0):
        scale = self.embedding.weight.shape[1] ** 0.5
        return self.dropout(self.position(self.embedding(tokens) * scale, offset))

    def forward(self, tokens):
        """tokens: (B, T) -> logits (B, T, vocabulary)."""
        return self.head(self.layers(self._embedded(tokens), is_causal=True))

    def step(self, tokens, state=None):
        """The next tokens (B, t) -> logits of what follows the last one, (B, vocabulary), and the state, which goes on.

        To go on in two ways, copy the state before (`copy.deepcopy`).
        """
        tokens = tokens if isinstance(tokens, Tensor) else np.asarray(tokens)
        if len(tokens.shape) != 2 or tokens.shape[1] < 1:
            raise ValueError(f"LanguageModel.step: tokens are {tokens.shape}; expected (B, t), t at least 1")
        if state is not None and not (isinstance(state, tuple) and len(state) == 2):
            raise TypeError(f"LanguageModel.step: state is {type(state).__name__}; expected None or what a step gave")
        with no_grad():
            seen, state = state or (0, None)
            if state is not None and len(begun("LanguageModel.step", state[0])) != seen:
                raise ValueError(f"LanguageModel.step: the state {GONE_ON.format(seen, len(state[0]))}")
            x, state = self.layers.step(self._embedded(tokens, seen), state)
            return self.head(x[:, -1]), (seen + tokens.shape[1], state)

    def generate(self, tokens, length: int, end: int | None = None, **options) -> np.ndarray:
        """Continue tokens (B, t) by up to `length` more: the likeliest, or with `options` as `generation.sample`.

        `state`, among the options or alone, is where to go on from, as `step` gives it.
        """

        def step(tokens, state):
            return self.step(tokens, state or self._empty_state(tokens.shape[1] + length))

        with evaluating(self):
            grow = generation.sample if options.keys() - {"state"} else generation.greedy
            return grow(step, tokens, length, end, **options)

    def _empty_state(self, room: int):
        """The state before the first token. Doubling the memory until 80 have room is 2 % of the time of 8 rows."""
        return 0, [KeyValues(min(room, MOST_ROOM)) for _ in self.layers.layers]
