"""Multi-head attention, of whole sequences and one piece at a time."""

from typing import Any

import numpy as np

from .. import _ops, _ops_attention, init
from .._checks import integer, probability
from .._tape import no_grad
from ._key_values import KeyValues, begun
from ._linear import Linear
from ._module import Module
from ._parameter import fresh


def _added(mask: _ops.Tensor, dtype) -> _ops.Tensor:
    """A mask whose True hides, as what is added to the scores; one of floats as it is."""
    return mask if mask.dtype != np.bool_ else _ops.as_tensor(np.where(mask.data, -np.inf, 0), dtype)


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces side by side [1]_: `out_proj(cat(heads))`, head i of projected q, k and v.

    Parameters
    ----------
    embed_dim, num_heads : int
        Size of query and result, and into how many heads it is cut.
    dropout : float
        The share of weights that is dropped while training.
    bias : bool
        Whether the projections have one.
    add_bias_kv : bool
        A learned key and value stand behind the others.
    add_zero_attn : bool
        A key and value of zeros stand behind the others.
    kdim, vdim : int, optional
        Sizes of key and value, `embed_dim` by default.
    batch_first : bool
        Inputs are (B, T, E) instead of (T, B, E).
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    in_proj_weight : Parameter, shape (3 * embed_dim, embed_dim)
        Where kdim or vdim differ from embed_dim: q_proj_weight, k_proj_weight, v_proj_weight.
    in_proj_bias : Parameter, shape (3 * embed_dim,), or None
    out_proj : Linear
    bias_k, bias_v : Parameter, shape (1, 1, embed_dim), or None

    Notes
    -----
    A boolean mask of this layer hides where it is True, as in PyTorch; one of
    `functional.scaled_dot_product_attention` takes part where it is True. Without weights to return, no matrix of
    scores is made.

    Raises
    ------
    ValueError, TypeError
        For wrong sizes and inputs of other shapes.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = fnn.zeros(3, 5, 8)
    >>> y, weights = layer(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype=np.float32,
    ) -> None:
        name = "MultiheadAttention"
        self.embed_dim = integer(name, "embed_dim", embed_dim)
        self.num_heads = integer(name, "num_heads", num_heads)
        self.kdim = self.embed_dim if kdim is None else integer(name, "kdim", kdim)
        self.vdim = self.embed_dim if vdim is None else integer(name, "vdim", vdim)
        if self.embed_dim % self.num_heads:
            raise ValueError(f"{name}: embed_dim is {embed_dim}; expected a multiple of num_heads, {num_heads}")
        self.dropout = probability(name, "dropout", dropout)
        self.head_dim = self.embed_dim // self.num_heads
        self.add_zero_attn = bool(add_zero_attn)
        self.batch_first = bool(batch_first)
        e = self.embed_dim
        self._packed = self.kdim == e and self.vdim == e
        self.in_proj_weight: Any = fresh((3 * e, e), dtype) if self._packed else None
        self.q_proj_weight = None if self._packed else fresh((e, e), dtype)
        self.k_proj_weight = None if self._packed else fresh((e, self.kdim), dtype)
        self.v_proj_weight = None if self._packed else fresh((e, self.vdim), dtype)
        self.in_proj_bias = fresh(3 * e, dtype) if bias else None
        self.out_proj = Linear(e, e, bias, dtype=dtype)
        self.bias_k: Any = fresh((1, 1, e), dtype) if add_bias_kv else None
        self.bias_v: Any = fresh((1, 1, e), dtype) if add_bias_kv else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, as PyTorch does."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights: bool = True,
        attn_mask=None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ):
        """Query (B, T, E), key (B, S, kdim), value (B, S, vdim) -> (B, T, E) and the weights or None.

        Parameters
        ----------
        query, key, value : Tensor
            (B, T, E) with `batch_first`, else (T, B, E); without a batch (T, E).
        key_padding_mask : array of bool or floats, shape (B, S), optional
            True hides a key; floats are added to the scores. Without a batch (S,).
        need_weights : bool
            Return the weights too, which takes a matrix of all scores.
        attn_mask : array of bool or floats, shape (T, S) or (B * num_heads, T, S), optional
            True hides, floats are added (and may want a gradient).
        average_attn_weights : bool
            Weights are (B, T, S), the mean over heads, instead of (B, num_heads, T, S).
        is_causal : bool
            Query i sees keys up to i. It needs no `attn_mask` here.
        """
        same = key is query and value is query
        query, key, value = (_ops.as_tensor(x) for x in (query, key, value))
        self._check(query, key, value)
        batched = query.ndim == 3
        query, key, value = (self._batch_first(x, batched) for x in (query, key, value))
        mask = self._mask(attn_mask, key_padding_mask, query, key.shape[1])
        extended = self._extends
        p = self.dropout if self.training else 0.0
        if same and self._packed and not (need_weights or extended):
            qkv = _ops.linear(query, self.in_proj_weight, self.in_proj_bias)
            heads = _ops_attention.attend(self._cut(qkv, 3), None, None, mask, dropout=p, causal=is_causal)
            return self._given(self._joined(heads), batched), None
        q, k, v = self._project(query, key, value)
        if extended:
            k, v, mask = self._extended(k, v, mask, is_causal, q.shape[2])
            is_causal = False
        if not need_weights:
            heads = _ops_attention.attend(q, k, v, mask, dropout=p, causal=is_causal)
            return self._given(self._joined(heads), batched), None
        weights = self._weights(q, k, mask, is_causal)
        weights = _ops.dropout(weights, p, True) if p else weights
        y = self._given(self._joined(_ops.matmul(weights, v)), batched)
        weights = weights.mean(1) if average_attn_weights else weights
        return y, weights if batched else weights[0]

    def step(self, x, state: KeyValues | None = None):
        """Self-attention of the next positions, (B, t, E), which see all before them and one another's past.

        Returns the result and the state for the next call; None starts a sequence. Without gradients and dropout.
        """
        with no_grad():
            state = begun("MultiheadAttention.step", state)
            x = self._batch_first(self._piece("step", "x", x, self.embed_dim), True)
            if not self._packed:
                raise ValueError(
                    f"MultiheadAttention.step: kdim is {self.kdim}, vdim {self.vdim}; expected {self.embed_dim}, as "
                    f"a sequence attends to itself"
                )
            qkv = _ops.linear(x, self.in_proj_weight, self.in_proj_bias)
            if not self._extends:
                return self._given(self.out_proj(state.attend(self._cut(qkv, 3))), True), state
            past = len(state)
            q, k, v = (x.transpose(1, 2) for x in _ops.unbind(self._cut(qkv, 3), 2))
            keys, values = state.append(k, v)
            keys, values, mask = self._extended(keys, values, None, True, q.shape[2], past)
            return self._given(self._joined(_ops_attention.attend(q, keys, values, mask)), True), state

    def step_across(self, x, memory, state: KeyValues | None = None, key_padding_mask=None):
        """Attention of the next positions (B, t, E) to a memory (B, S, kdim), projected once and kept in the state.

        Returns the result and the state. Without gradients and dropout.
        """
        with no_grad():
            x = self._batch_first(self._piece("step_across", "x", x, self.embed_dim), True)
            if state is None:
                memory = self._batch_first(self._piece("step_across", "memory", memory, self.kdim), True)
                state = KeyValues(max(1, memory.shape[1]))
                state.append(*self._project(x, memory, memory)[1:])
            q = self._projected(x, 0)
            keys, values = begun("MultiheadAttention.step_across", state).tensors()
            if len(keys) != len(x):
                raise ValueError(
                    f"MultiheadAttention.step_across: x has {len(x)} sequences, the memory {len(keys)}; expected equal"
                )
            mask = self._mask(None, key_padding_mask, x, keys.shape[2])
            if self._extends:
                keys, values, mask = self._extended(keys, values, mask, False, q.shape[2])
            heads = _ops_attention.attend(q, keys, values, mask)
            return self._given(self._joined(heads), True), state

    @property
    def _extends(self) -> bool:
        """Whether keys and values of the layer's own stand behind those given."""
        return self.bias_k is not None or self.add_zero_attn

    def _piece(self, function: str, name: str, x, size: int) -> _ops.Tensor:
        """What a step is given, checked."""
        x = _ops.as_tensor(x)
        if x.ndim != 3 or x.shape[2] != size:
            wanted = f"(B, t, {size})" if self.batch_first else f"(t, B, {size})"
            raise ValueError(f"MultiheadAttention.{function}: {name} is {x.shape}; expected {wanted}")
        return x

    def _check(self, query, key, value) -> None:
        sizes = (self.embed_dim, self.kdim, self.vdim)
        inputs = (query, key, value)
        fits = query.ndim in (2, 3) and all(
            x.ndim == query.ndim and x.shape[-1] == size for x, size in zip(inputs, sizes, strict=True)
        )
        batch = 0 if self.batch_first else 1
        fits = fits and (query.ndim == 2 or query.shape[batch] == key.shape[batch])
        if not fits or key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                f"MultiheadAttention: query is {query.shape}, key {key.shape}, value {value.shape}; expected last "
                f"sizes {sizes}, equal leading ones of key and value, and one batch in all or none"
            )

    def _batch_first(self, x, batched: bool):
        if not batched:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _given(self, y, batched: bool):
        if not batched:
            return y[0]
        return y if self.batch_first else y.transpose(0, 1)

    def _cut(self, x, parts: int):
        """(B, T, parts * E) -> (B, T, parts, N, D)."""
        return x.reshape(x.shape[0], x.shape[1], parts, self.num_heads, self.head_dim)

    def _projected(self, x, which: int):
        """One of the projections, (B, N, T, D)."""
        e = self.embed_dim
        if self._packed:
            weight = self.in_proj_weight[which * e : (which + 1) * e]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[which]
        bias = None if self.in_proj_bias is None else self.in_proj_bias[which * e : (which + 1) * e]
        return self._cut(_ops.linear(x, weight, bias), 1)[:, :, 0].transpose(1, 2)

    def _project(self, query, key, value):
        if self._packed and key is query and value is query:
            qkv = self._cut(_ops.linear(query, self.in_proj_weight, self.in_proj_bias), 3)
            return tuple(x.transpose(1, 2) for x in _ops.unbind(qkv, 2))
        return tuple(self._projected(x, i) for i, x in enumerate((query, key, value)))

    def _joined(self, heads):
        """(B, N, T, D) -> (B, T, E)."""
        x = heads.transpose(1, 2)
        return self.out_proj(x.reshape(x.shape[0], x.shape[1], self.embed_dim))

    def _as_mask(self, name: str, mask, *shapes: tuple[int, ...]) -> _ops.Tensor:
        """A mask as a Tensor of bools or of the layer's floats, which keeps a gradient that it may want."""
        mask = _ops.as_tensor(mask)
        if mask.dtype.kind not in "bf":
            raise TypeError(f"MultiheadAttention: {name} is of {mask.dtype}; expected bools or floats")
        if mask.shape not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ValueError(f"MultiheadAttention: {name} is {mask.shape}; expected {wanted}")
        return mask if mask.dtype == np.bool_ else mask.to(self.out_proj.weight.dtype)

    def _mask(self, attn_mask, key_padding_mask, query, keys: int):
        """Both masks as one that broadcasts to (B, N, T, S), where True takes part; or None."""
        batch, length = query.shape[:2]
        mask = None
        if attn_mask is not None:
            mask = self._as_mask("attn_mask", attn_mask, (length, keys), (batch * self.num_heads, length, keys))
            if mask.ndim == 3:
                mask = mask.reshape(batch, self.num_heads, length, keys)
        if key_padding_mask is not None:
            shapes = ((batch, keys), (keys,)) if batch == 1 else ((batch, keys),)
            padding = self._as_mask("key_padding_mask", key_padding_mask, *shapes).reshape(batch, 1, 1, keys)
            if mask is None:
                mask = padding
            elif mask.dtype == np.bool_ and padding.dtype == np.bool_:
                mask = mask | padding
            else:
                dtype = self.out_proj.weight.dtype
                mask = _added(mask, dtype) + _added(padding, dtype)
        return ~mask if mask is not None and mask.dtype == np.bool_ else mask

    def _extended(self, k, v, mask, is_causal: bool, queries: int, past: int = 0):
        """Keys and values with the learned and the zero ones behind them, which every query sees. Causal queries see
        `past` more keys than their own number."""
        extra = 0
        if is_causal:
            seen = _ops.as_tensor(np.tri(queries, k.shape[2], past, dtype=bool))
            if mask is None:
                mask = seen
            elif mask.dtype == np.bool_:
                mask = mask & seen
            else:
                mask = mask + _added(~seen, mask.dtype)
        if self.bias_k is not None:
            shape = (k.shape[0], self.num_heads, 1, self.head_dim)
            k, v = (
                _ops.cat((x, bias.reshape(1, self.num_heads, 1, self.head_dim).broadcast_to(shape)), 2)
                for x, bias in ((k, self.bias_k), (v, self.bias_v))
            )
            extra += 1
        if self.add_zero_attn:
            zero = _ops.zeros(k.shape[0], self.num_heads, 1, self.head_dim, dtype=k.dtype)
            k, v = _ops.cat((k, zero), 2), _ops.cat((v, zero), 2)
            extra += 1
        if mask is not None:
            behind = _ops.full((*mask.shape[:-1], extra), mask.dtype == np.bool_, dtype=mask.dtype)
            mask = _ops.cat((mask, behind), -1)
        return k, v, mask

    def _weights(self, q, k, mask, is_causal: bool):
        """softmax(q k^T / sqrt(D) + mask), (B, N, T, S); 0 in rows that see nothing."""
        scores = _ops.matmul(q * (1 / self.head_dim**0.5), k.transpose(2, 3))
        hidden = None if not is_causal else ~np.tri(q.shape[2], k.shape[2], dtype=bool)
        if mask is not None:
            if mask.dtype == np.bool_:
                hidden = ~mask.data if hidden is None else hidden | ~mask.data
            else:
                scores = scores + mask
        if hidden is not None:
            scores = _ops.where(hidden, _ops.as_tensor(-np.inf, dtype=scores.dtype), scores)
        dead = np.isneginf(scores.data).all(-1, keepdims=True)
        if not k.shape[2] or not dead.any():
            return _ops.softmax(scores, -1)
        zero = _ops.as_tensor(0, dtype=scores.dtype)
        return _ops.where(dead, zero, _ops.softmax(_ops.where(dead, zero, scores), -1))

    def extra_repr(self) -> str:
        text = f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"
        if self.dropout:
            text += f", dropout={self.dropout}"
        return text + (", batch_first=True" if self.batch_first else "")
