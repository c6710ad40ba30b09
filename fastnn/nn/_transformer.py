"""Transformers, with PyTorch's names, arguments and parameters; each layer also takes its input one piece at a time.

norm_first=False, as published:  x = norm1(x + attention(x));  x = norm2(x + feedforward(x))
norm_first=True:                 x = x + attention(norm1(x));  x = x + feedforward(norm2(x))
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _ops, _ops_attention, _ops_norm, init
from .._tape import no_grad
from . import _module, functional
from ._attention import MultiheadAttention, begun
from ._container import ModuleList
from ._dropout import Dropout
from ._linear import FUSED, Linear, _activation, _size
from ._module import Module, plain
from ._row_norm import LayerNorm

# The kinds of what a step in one call goes through; see _parts_at_once.
_PARTS = (MultiheadAttention, Linear, Linear, Linear, LayerNorm, LayerNorm, Dropout, Dropout)


def _added(norm: LayerNorm, x, residual):
    """`(norm(x + residual), x + residual)` in one pass."""
    return _ops_norm.add_layer_norm(x, residual, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


class _Layer(Module):
    """What encoder and decoder layers share: the feedforward part and its sizes."""

    _norms: int

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype=np.float32,
    ) -> None:
        name = type(self).__name__
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        if self._norms == 3:
            self.multihead_attn = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype
            )
        width = _size(name, "dim_feedforward", dim_feedforward)
        self.linear1 = Linear(d_model, width, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(width, d_model, bias, dtype=dtype)
        self.norm_first = bool(norm_first)
        for i in range(1, self._norms + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
            setattr(self, f"dropout{i}", Dropout(dropout))
        fused = [known for known in FUSED if activation is getattr(functional, known)]
        self.activation = fused[0] if fused else _activation(activation)

    def _feedforward(self, x, dropout: Dropout):
        linear = self.linear1
        if callable(self.activation):
            hidden = self.activation(linear(x))
        else:
            hidden = _ops.linear(x, linear.weight, linear.bias, self.activation)
        return dropout(self.linear2(self.dropout(hidden)))

    def _run(self, x, parts):
        """`parts`: functions, each with a norm of its own."""
        if not self.norm_first:
            for part, norm in parts:
                x = _added(norm, part(x), x)[0]
            return x
        inner = parts[0][1](x)
        for i, (part, _) in enumerate(parts[:-1]):
            inner, x = _added(parts[i + 1][1], part(inner), x)
        return x + parts[-1][0](inner)


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a dense network on each position, each with a residual connection and a norm [1]_.

    Parameters
    ----------
    d_model, nhead : int
        Size of a position's vector, and the number of heads.
    dim_feedforward : int
        Width of the dense network.
    dropout : float
        While training: of attention weights, hidden values and what is added to the residual connection.
    activation : str or callable
        "relu", "gelu", another of `Linear`'s, or anything callable.
    layer_norm_eps : float
    batch_first : bool
        (B, T, E) instead of (T, B, E).
    norm_first : bool
        Norms stand before the parts instead of behind them.
    bias : bool
        Whether linear layers and norms have one.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    self_attn, linear1, linear2, norm1, norm2, dropout, dropout1, dropout2 : Module

    Notes
    -----
    A boolean mask hides where it is True.

    Raises
    ------
    ValueError, TypeError
        For wrong sizes.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> layer(fnn.zeros(3, 5, 8)).shape
    (3, 5, 8)
    """

    _norms = 2

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal: bool = False):
        """(B, T, E) -> (B, T, E); masks as in `MultiheadAttention`."""

        def attend(x):
            y = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
            return self.dropout1(y)

        return self._run(src, [(attend, self.norm1), (lambda x: self._feedforward(x, self.dropout2), self.norm2)])

    def step(self, src, state=None):
        """The next positions (B, t, E), each of which sees what was before it -> the result and the next state."""
        parts = self._parts_at_once()
        if parts:
            kept = begun("TransformerEncoderLayer.step", state)
            x, done = _ops_attention.encoder_steps(_ops.as_tensor(src), (parts,), (kept,))
            if done:
                return x, kept
        with no_grad():
            states = [state]

            def attend(x):
                y, states[0] = self.self_attn.step(x, states[0])
                return y

            y = self._run(src, [(attend, self.norm1), (lambda x: self._feedforward(x, self.dropout2), self.norm2)])
            return y, states[0]

    def _parts_at_once(self) -> tuple | None:
        """What `encoder_steps` takes; None where a part is of another kind, watched, or adds something."""
        attn, first, second, norm1, norm2 = self.self_attn, self.linear1, self.linear2, self.norm1, self.norm2
        if type(attn) is not MultiheadAttention:
            return None
        out, drop, drop2 = attn.out_proj, self.dropout, self.dropout2
        parts = (attn, out, first, second, norm1, norm2, drop, drop2)
        if not plain(parts, _PARTS):
            return None
        adds = drop.training or drop2.training or callable(self.activation) or out.activation or second.activation
        along = norm1.normalized_shape == norm2.normalized_shape == (attn.embed_dim,)
        if adds or not (along and attn.batch_first and attn._packed):
            return None
        return (
            attn.num_heads,
            self.activation,
            self.norm_first,
            (norm1.eps, norm2.eps),
            (attn.in_proj_weight, out.weight, first.weight, second.weight),
            (attn.in_proj_bias, out.bias, first.bias, second.bias),
            (norm1.weight, norm2.weight),
            (norm1.bias, norm2.bias),
        )


class TransformerDecoderLayer(_Layer):
    """Causal self-attention, attention to a memory, then a dense network on each position.

    Arguments as in `TransformerEncoderLayer`.

    Attributes
    ----------
    self_attn, multihead_attn, linear1, linear2, norm1 to norm3, dropout, dropout1 to dropout3 : Module

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    >>> layer(fnn.zeros(3, 5, 8), fnn.zeros(3, 7, 8), tgt_is_causal=True).shape
    (3, 5, 8)
    """

    _norms = 3

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """Target (B, T, E), memory (B, S, E) -> (B, T, E); masks as in `MultiheadAttention`."""

        def attend(x):
            y = self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            return self.dropout1(y)

        def look_up(x):
            y = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]
            return self.dropout2(y)

        return self._run(tgt, self._parts(attend, look_up))

    def step(self, tgt, memory, state=None, memory_key_padding_mask=None):
        """The next positions (B, t, E) -> the result and the next state, which keeps the projected memory."""
        with no_grad():
            states = [None, None] if state is None else list(state)

            def attend(x):
                y, states[0] = self.self_attn.step(x, states[0])
                return y

            def look_up(x):
                y, states[1] = self.multihead_attn.step_across(x, memory, states[1], memory_key_padding_mask)
                return y

            return self._run(tgt, self._parts(attend, look_up)), tuple(states)

    def _parts(self, attend, look_up):
        feed = lambda x: self._feedforward(x, self.dropout3)  # noqa: E731
        return [(attend, self.norm1), (look_up, self.norm2), (feed, self.norm3)]


class _Stack(Module):
    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.num_layers = _size(type(self).__name__, "num_layers", num_layers)
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.norm = norm

    def _finish(self, x):
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """`num_layers` copies of an encoder layer, one after the other, and a norm behind them if given.

    Parameters
    ----------
    encoder_layer : Module
        Copied, parameters and all.
    num_layers : int
    norm : Module, optional

    Examples
    --------
    >>> import fastnn as fnn
    >>> encoder = fnn.nn.TransformerEncoder(fnn.nn.TransformerEncoderLayer(8, 2, 16), 3)
    >>> encoder(fnn.zeros(5, 2, 8)).shape
    (5, 2, 8)
    """

    _plan: tuple[int, list[Module], list[tuple | None], tuple | None] | None = None

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal: bool = False):
        """(B, T, E) -> (B, T, E)."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return self._finish(src)

    def step(self, src, state=None):
        """The next positions, each of which sees what was before it -> the result and the next state."""
        with no_grad():
            plan = self._plan
            _, layers, parts, norm = plan if plan and plan[0] == _module.changes else self._make_plan()
            states = [None] * len(layers) if state is None else list(state) if isinstance(state, list | tuple) else []
            if len(states) != len(layers):
                raise ValueError(f"TransformerEncoder.step: state must be None or a list of {len(layers)}, one a layer")
            kept = [begun("TransformerEncoder.step", s) if part else s for s, part in zip(states, parts, strict=True)]
            src, done = _ops_attention.encoder_steps(_ops.as_tensor(src), parts, kept, norm)
            states[:done] = kept[:done]
            if done > len(layers):
                return src, states
            for i in range(done, len(layers)):
                src, states[i] = layers[i].step(src, states[i])
            return self._finish(src), states

    def _make_plan(self) -> tuple[int, list[Module], list[tuple | None], tuple | None]:
        """The layers, and of each and the norm what a step in one call takes, as long as no module changes."""
        changes, layers = _module.changes, list(self.layers)
        parts = [layer._parts_at_once() if type(layer) is TransformerEncoderLayer else None for layer in layers]
        norm, taken = self.norm, None
        if isinstance(norm, LayerNorm) and plain((norm,), (LayerNorm,)) and norm.weight is not None:
            taken = norm.weight, norm.bias, norm.eps
        plan = changes, layers, parts, taken
        object.__setattr__(self, "_plan", plan)
        return plan

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: no plan, which is of this process and these layers."""
        return {name: value for name, value in self.__dict__.items() if name != "_plan"}


class TransformerDecoder(_Stack):
    """`num_layers` copies of a decoder layer, one after the other, and a norm behind them if given.

    Parameters
    ----------
    decoder_layer : Module
        Copied, parameters and all.
    num_layers : int
    norm : Module, optional

    Examples
    --------
    >>> import fastnn as fnn
    >>> decoder = fnn.nn.TransformerDecoder(fnn.nn.TransformerDecoderLayer(8, 2, 16), 3)
    >>> decoder(fnn.zeros(5, 2, 8), fnn.zeros(7, 2, 8)).shape
    (5, 2, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """Target (B, T, E), memory (B, S, E) -> (B, T, E)."""
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
                memory_is_causal,
            )  # fmt: skip
        return self._finish(tgt)

    def step(self, tgt, memory, state=None, memory_key_padding_mask=None):
        """The next positions -> the result and the next state."""
        with no_grad():
            states = list(state or [None] * self.num_layers)
            for i, layer in enumerate(self.layers):
                tgt, states[i] = layer.step(tgt, memory, states[i], memory_key_padding_mask)
            return self._finish(tgt), states


class Transformer(Module):
    """An encoder and a decoder that attends to what the encoder made of the source [1]_.

    Parameters
    ----------
    d_model, nhead, num_encoder_layers, num_decoder_layers, dim_feedforward, dropout, activation
        As in `TransformerEncoderLayer`, and how many layers.
    custom_encoder, custom_decoder : Module, optional
        Instead of those.
    layer_norm_eps, batch_first, norm_first, bias, dtype
        As in `TransformerEncoderLayer`.

    Attributes
    ----------
    encoder : TransformerEncoder
    decoder : TransformerDecoder
        Both end in a LayerNorm, and their matrices are drawn by Xavier's rule, as in PyTorch.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> net(fnn.zeros(3, 7, 8), fnn.zeros(3, 5, 8), tgt_is_causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype=np.float32,
    ) -> None:
        options = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def norm():
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*options, dtype=dtype), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*options, dtype=dtype), num_decoder_layers, norm()
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, bool(batch_first)
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal: bool = False,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ):
        """Source (B, S, E), target (B, T, E) -> (B, T, E)."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask, tgt_is_causal,
            memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(size: int, *, dtype=np.float32):
        """(size, size): 0 on and below the diagonal, -inf above. `tgt_is_causal=True` does the same for less.

        Examples
        --------
        >>> import fastnn as fnn
        >>> fnn.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return _ops.as_tensor(np.where(np.tri(size, dtype=bool), 0, -np.inf).astype(dtype))
