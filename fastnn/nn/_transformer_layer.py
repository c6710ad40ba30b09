"""The layers of transformers, under PyTorch's names; each also takes its input one piece at a time.

norm_first=False, as published:  x = norm1(x + attention(x));  x = norm2(x + feedforward(x))
norm_first=True:                 x = x + attention(norm1(x));  x = x + feedforward(norm2(x))
"""

from collections.abc import Callable

import numpy as np

from .. import _ops, _ops_attention, _ops_norm
from .._checks import integer
from .._tape import no_grad
from . import functional
from ._attention import MultiheadAttention
from ._dropout import Dropout
from ._key_values import Undone, begun, listed
from ._linear import FUSED, Linear, _activation
from ._module import Module, plain
from ._row_norm import LayerNorm

# The kinds of what a step in one call goes through; see _parts_at_once.
_PARTS = (MultiheadAttention, Linear, Linear, Linear, LayerNorm, LayerNorm, Dropout, Dropout, Dropout)


def _added(norm: Module, x, residual):
    """`(norm(x + residual), x + residual)`, in one pass where the norm is the plain one."""
    if not plain((norm,), (LayerNorm,)):
        total = x + residual
        return norm(total), total
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
        width = integer(name, "dim_feedforward", dim_feedforward)
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
        linear, activation = self.linear1, self.activation
        if not callable(activation) and plain((linear,), (Linear,)) and not linear.activation:
            hidden = _ops.linear(x, linear.weight, linear.bias, activation)
        else:  # a layer of another kind, one that is watched, or an activation that no product ends with
            hidden = linear(x)
            if activation is not None:
                hidden = (activation if callable(activation) else getattr(functional, activation))(hidden)
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
            masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
            return self.dropout1(self.self_attn(x, x, x, **masks, need_weights=False, is_causal=is_causal)[0])

        return self._run(src, self._parts(attend))

    def step(self, src, state=None):
        """The next positions (B, t, E), each of which sees what was before it -> the result and the next state."""
        parts = self._parts_at_once()
        if parts:
            kept = begun("TransformerEncoderLayer.step", state)
            x, done = _ops_attention.encoder_steps(_ops.as_tensor(src), (parts,), (kept,))
            if done:
                return x, kept
        states = [state]

        def attend(x):
            y, states[0] = self.self_attn.step(x, states[0])
            return self.dropout1(y)

        with Undone(state), no_grad():
            return self._run(src, self._parts(attend)), states[0]

    def _parts(self, attend):
        return [(attend, self.norm1), (lambda x: self._feedforward(x, self.dropout2), self.norm2)]

    def _parts_at_once(self) -> tuple | None:
        """What `encoder_steps` takes; None where a part is of another kind, watched, or adds something."""
        attn, first, second, norm1, norm2 = self.self_attn, self.linear1, self.linear2, self.norm1, self.norm2
        if type(attn) is not MultiheadAttention:
            return None
        out, drops = attn.out_proj, (self.dropout, self.dropout1, self.dropout2)
        if not plain((attn, out, first, second, norm1, norm2, *drops), _PARTS):
            return None
        adds = any(drop.training for drop in drops) or callable(self.activation) or out.activation or second.activation
        along = norm1.normalized_shape == norm2.normalized_shape == (attn.embed_dim,)
        if adds or attn._extends or not (along and attn.batch_first and attn._packed):
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
            masks = {"attn_mask": tgt_mask, "key_padding_mask": tgt_key_padding_mask}
            return self.dropout1(self.self_attn(x, x, x, **masks, need_weights=False, is_causal=tgt_is_causal)[0])

        def look_up(x):
            masks = {"attn_mask": memory_mask, "key_padding_mask": memory_key_padding_mask}
            y = self.multihead_attn(x, memory, memory, **masks, need_weights=False, is_causal=memory_is_causal)[0]
            return self.dropout2(y)

        return self._run(tgt, self._parts(attend, look_up))

    def step(self, tgt, memory, state=None, memory_key_padding_mask=None):
        """The next positions (B, t, E) -> the result and the next state, which keeps the projected memory."""
        states = listed("TransformerDecoderLayer.step", state, 2, "of itself and the memory")

        def attend(x):
            y, states[0] = self.self_attn.step(x, states[0])
            return self.dropout1(y)

        def look_up(x):
            y, states[1] = self.multihead_attn.step_across(x, memory, states[1], memory_key_padding_mask)
            return self.dropout2(y)

        with Undone(state), no_grad():
            return self._run(tgt, self._parts(attend, look_up)), tuple(states)

    def _parts(self, attend, look_up):
        feed = lambda x: self._feedforward(x, self.dropout3)  # noqa: E731
        return [(attend, self.norm1), (look_up, self.norm2), (feed, self.norm3)]
