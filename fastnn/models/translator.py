"""The encoder-decoder transformer: reads a sentence whole, writes another one, word by word.

source ---> [ embedding + position ] ---> encoder ----------------------+ memory
target ---> [ embedding + position ] ---> decoder: past, then memory <--+ ---> [ dense ] ---> logits
"""

import numpy as np

from .. import generation
from .._ops import Tensor
from .._tape import no_grad
from ..nn import Dropout, Embedding, Linear, Module, SinusoidalPositionalEncoding, Transformer, init
from ..nn._evaluating import evaluating
from .language_model import GONE_ON


class Translator(Module):
    """A model of target sequences, given source sequences.

    Parameters
    ----------
    source_vocabulary, target_vocabulary : int
        How many tokens there are on either side.
    d_model, heads, layers : int
        Size of a position's vector, heads of attention, and how many layers either side has.
    dropout : float
        While training.
    padding : int
        The token that fills up short sequences; nothing attends to it in the source.
    tied : bool
        Both sides share one vocabulary and one table, which is the output's matrix too: fewer weights, each learned
        from more.

    Notes
    -----
    source: integers (B, S), target: integers (B, T), which begins with a start token; output: logits
    (B, T, target_vocabulary), those at t for the target's token at t + 1.

    Raises
    ------
    ValueError, TypeError
        For sizes that are too small or no integers, `heads` that do not divide `d_model`, and vocabularies of
        different sizes if `tied`.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017; with the norms first.
    Press and Wolf, "Using the output embedding to improve language models", EACL 2017: `tied`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.Translator(10, 12, 16, heads=2, layers=1)
    >>> net(fnn.tensor([[3, 4, 0]]), fnn.tensor([[1, 5]])).shape
    (1, 2, 12)
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        d_model: int = 128,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.0,
        padding: int = 0,
        tied: bool = False,
    ) -> None:
        if tied and source_vocabulary != target_vocabulary:
            raise ValueError(
                f"Translator: {source_vocabulary} and {target_vocabulary} tokens; tied, they must be as many"
            )
        self.padding = padding
        self.source = Embedding(source_vocabulary, d_model)
        self.target = self.source if tied else Embedding(target_vocabulary, d_model)
        self.position = SinusoidalPositionalEncoding(d_model, batch_first=True)
        self.dropout = Dropout(dropout)
        self.transformer = Transformer(
            d_model, heads, layers, layers, 4 * d_model, dropout, batch_first=True, norm_first=True
        )
        self.head = Linear(d_model, target_vocabulary)
        for table in (self.source, self.target):
            init.normal_(table.weight, std=d_model**-0.5)
        if tied:
            self.head.weight = self.source.weight

    def _embedded(self, table: Embedding, tokens, offset: int = 0):
        return self.dropout(self.position(table(tokens) * table.weight.shape[1] ** 0.5, offset))

    def encode(self, source):
        """source: (B, S) -> memory (B, S, d_model) and where it is padding, (B, S)."""
        hidden = np.asarray(getattr(source, "data", source)) == self.padding
        return self.transformer.encoder(self._embedded(self.source, source), src_key_padding_mask=hidden), hidden

    def forward(self, source, target):
        """source: (B, S), target: (B, T) -> logits (B, T, target_vocabulary)."""
        memory, hidden = self.encode(source)
        x = self._embedded(self.target, target)
        return self.head(self.transformer.decoder(x, memory, tgt_is_causal=True, memory_key_padding_mask=hidden))

    def attention(self, source, target) -> np.ndarray:
        """source: (B, S), target: (B, T) -> how much each position of the target looks at each of the source.

        The result is (B, layers, T, S), means over heads, each row adding up to 1.
        """
        seen: list = []
        looks = [layer.multihead_attn for layer in self.transformer.decoder.layers]
        notes = [look.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0])) for look in looks]
        with evaluating(self), no_grad():
            try:
                self.forward(source, target)
            finally:
                for note in notes:
                    note.remove()
            memory, hidden = self.encode(source)
            return np.stack([look(x, memory, memory, hidden)[1].numpy() for look, x in zip(looks, seen)], 1)

    def step(self, tokens, state):
        """The target's next tokens (B, t) -> logits of what follows, (B, target_vocabulary), and the state.

        The first state is ``begin(source)``. To go on from one in two ways, copy it before (`copy.deepcopy`).
        """
        tokens = tokens if isinstance(tokens, Tensor) else np.asarray(tokens)
        if not isinstance(state, tuple) or len(state) != 4:
            raise TypeError(f"Translator.step: state is {type(state).__name__}; expected that of begin or a step")
        with no_grad():
            seen, memory, hidden, layers = state
            if layers is not None and len(layers[0][0]) != seen:
                raise ValueError(f"Translator.step: the state {GONE_ON.format(seen, len(layers[0][0]))}")
            x = self._embedded(self.target, tokens, seen)
            x, layers = self.transformer.decoder.step(x, memory, layers, hidden)
            return self.head(x[:, -1]), (seen + tokens.shape[1], memory, hidden, layers)

    def begin(self, source) -> tuple:
        """Return the state from which a translation of source (B, S) is written."""
        with no_grad():
            return (0, *self.encode(source), None)

    def translate(self, source, start: int, end: int, length: int, beams: int = 1) -> np.ndarray:
        """source: (B, S) -> the likeliest target without its start, (B, at most length), filled up with `end`."""
        with evaluating(self):
            tokens = np.full((len(source), 1), start)
            state = self.begin(source)
            if beams == 1:
                return generation.greedy(self.step, tokens, length, end, state)[:, 1:]
            return generation.beam_search(self.step, tokens, length, end, beams=beams, state=state)[0][:, 1:]
