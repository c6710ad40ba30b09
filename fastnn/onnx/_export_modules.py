"""Methods of layers and models that read values or lengths, in operations that can be recorded.

Each stands in for the method of its name while a recording runs, and computes the same.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _ops, _ops_recurrent
from ..models import IntentClassifier, SpeechRecognizer, Translator
from ..models.speech import BACK, STRIDE
from ..nn import MultiheadAttention, Sequential, SinusoidalPositionalEncoding, _position_tables
from ..nn import functional as F
from ..nn._fusion import summed
from ..nn._recurrent import Recurrent
from ..nn.utils.rnn import checked_lengths, gathered, packing, padded
from ._export_errors import ExportError
from ._export_graph import Graph
from ._export_table import writes
from ._export_tensor import NATIVE
from ._export_trace import record


def _sequential(self: Sequential, x: Any) -> Any:
    """One module after the other: fusing them is the runtime's work, and the state dict keeps its names."""
    for module in self._layers():
        x = module(x)
    return x


def _plus(self: Sequential, x: Any, residual: Any, activation: str | None) -> Any:
    return summed(_sequential(self, x), residual, activation)


@writes("apply_function")
def _apply_function(g: Graph, function: Any, ctx: Any, args: Any) -> Any:
    raise ExportError(f"the Function {function.__name__} cannot be exported: what it does is not recorded")


# ----- sequences of different lengths -----


def _of_lengths(self: Recurrent, x: Any, hx: Any, lengths: Any) -> tuple:
    steps_first = _ops.transpose(x, 0, 1) if self.batch_first else x
    states = self._split(hx, steps_first.shape[1])
    lengths = _ops.as_tensor(lengths)
    ends = []
    for names, (h0, c0) in zip(self._names, states, strict=True):
        weights = [None if n is None else vars(self)[n] for n in names]
        steps_first, h, c = record(
            "recurrent_of_lengths", type(self).__name__, self._cell, steps_first, h0, c0, weights, lengths
        )
        ends.append((h,) if c is None else (h, c))
    return _ops.transpose(steps_first, 0, 1) if self.batch_first else steps_first, self._joined(ends)


def _recurrent_of_lengths(name: str, cell: str, x: Any, h0: Any, c0: Any, weights: Any, lengths: Any) -> tuple:
    """One layer over x (T, B, I) whose sequences have these lengths."""
    steps, batch = x.shape[:2]
    plan = packing(checked_lengths(name, lengths, batch, steps, 0), steps, False)
    h0, c0 = (None if s is None else _ops.index_select(s, 1, plan.order) for s in (h0, c0))
    y, *ends = _ops_recurrent.recurrent(name, cell, gathered(x, plan), h0, c0, weights, (plan.batch_sizes, batch))
    h, c = (None if s is None else _ops.index_select(s, 1, plan.back) for s in ends)
    return padded(y, plan, steps, False), h, c


NATIVE["recurrent_of_lengths"] = _recurrent_of_lengths


# ----- attention -----


def _hiding(mask: Any, dtype: Any) -> Any:
    """A mask whose True hides, as what is added to the scores."""
    if mask.dtype != np.bool_:
        return mask
    return _ops.where(mask, _ops.as_tensor(-np.inf, dtype=dtype), _ops.as_tensor(0, dtype=dtype))


def _mask(self: MultiheadAttention, attn_mask: Any, key_padding_mask: Any, query: Any, keys: Any) -> Any:
    batch, length = query.shape[:2]
    masks = []
    if attn_mask is not None:
        mask = _ops.as_tensor(attn_mask)
        masks.append(_ops.reshape(mask, (batch, self.num_heads, length, keys)) if mask.ndim == 3 else mask)
    if key_padding_mask is not None:
        mask = _ops.as_tensor(key_padding_mask)
        masks.append(_ops.reshape(mask, (batch if mask.ndim == 2 else 1, 1, 1, keys)))
    if not masks:
        return None
    if all(mask.dtype == np.bool_ for mask in masks):
        hidden = masks[0] if len(masks) == 1 else _ops.logical_or(masks[0], masks[1])
        return _ops.logical_not(hidden)
    added = [_hiding(mask, query.dtype) for mask in masks]
    return added[0] if len(added) == 1 else added[0] + added[1]


def _extended(self: MultiheadAttention, k: Any, v: Any, mask: Any, is_causal: bool, queries: Any) -> tuple:
    batch, heads, keys, width = k.shape
    if is_causal:
        seen = record("causal_mask", queries, keys)
        if mask is None:
            mask = seen
        elif mask.dtype == np.bool_:
            mask = _ops.logical_and(mask, seen)
        else:
            mask = mask + _hiding(_ops.logical_not(seen), k.dtype)
    behind = []
    if self.bias_k is not None:
        behind.append([b.reshape(1, heads, 1, width).broadcast_to(batch, heads, 1, width)
                       for b in (self.bias_k, self.bias_v)])  # fmt: skip
    if self.add_zero_attn:
        behind.append([_ops.zeros(batch, heads, 1, width, dtype=k.dtype)] * 2)
    for extra_k, extra_v in behind:
        k, v = _ops.cat((k, extra_k), 2), _ops.cat((v, extra_v), 2)
        if mask is not None:  # everybody sees them
            ones = _ops.full((*mask.shape[:-1], 1), mask.dtype == np.bool_, dtype=mask.dtype)
            mask = _ops.cat((mask, ones), -1)
    return k, v, mask


def _weights(self: MultiheadAttention, q: Any, k: Any, mask: Any, is_causal: bool) -> Any:
    return record("attention_weights", self, q, k, mask, is_causal)


NATIVE["attention_weights"] = MultiheadAttention._weights
NATIVE["causal_mask"] = lambda queries, keys: _ops.as_tensor(np.tri(queries, keys, dtype=bool))


def _positions(self: SinusoidalPositionalEncoding, x: Any, offset: Any = 0) -> Any:
    x = _ops.as_tensor(x)
    if x.ndim < 2 or x.shape[-1] != self.d_model:
        raise ValueError(f"SinusoidalPositionalEncoding: x is {x.shape}; expected (..., {self.d_model})")
    rows_last = self.batch_first or x.ndim == 2
    length = x.shape[-2] if rows_last else x.shape[-3]
    table = _position_tables.sinusoidal_positions(length, self.d_model, offset, dtype=x.dtype)
    return self.dropout(x + (table if rows_last else _ops.unsqueeze(table, 1)))


# ----- models -----


def _intent(self: IntentClassifier, x: Any) -> tuple:
    x = _ops.as_tensor(x)
    known = _ops.ne(x, 0)
    lengths = _ops.sum(known.long(), 1)
    y, _ = self.recurrent(self.drop(self.embedding(x)), lengths=lengths)
    y = self.drop(y)
    whole = _ops.amax(_ops.where(_ops.unsqueeze(known, 2), y, -1e4), 1)
    return self.intent(whole), self.tag(y)


def _speech(self: SpeechRecognizer, x: Any, lengths: Any = None) -> tuple:
    x = _ops.as_tensor(x)
    batch, steps = x.shape[:2]
    x = (x - self.mean) / self.std
    if lengths is not None:
        lengths = _ops.as_tensor(lengths)
        known = _ops.lt(_ops.unsqueeze(_ops.arange(steps), 0), _ops.unsqueeze(lengths, 1))
        x = x * _ops.unsqueeze(known, 2).to(x.dtype)
        lengths = lengths // STRIDE**2
    for layer in (self.first, self.second):
        x = F.relu(self._convolved(layer, _ops.zeros(batch, BACK, x.shape[2], dtype=x.dtype), x))
    y, _ = self.recurrent(self.drop(self.norm(x)), lengths=lengths)
    if lengths is None:
        lengths = _ops.full((batch,), steps // STRIDE**2, dtype=np.int64)
    return F.log_softmax(self.out(self.drop(y)), -1).transpose(0, 1), lengths


def _encode(self: Translator, source: Any) -> tuple:
    hidden = _ops.eq(_ops.as_tensor(source), self.padding)
    return self.transformer.encoder(self._embedded(self.source, source), src_key_padding_mask=hidden), hidden


METHODS: dict[tuple[type, str], Callable] = {
    (Sequential, "forward"): _sequential,
    (Sequential, "_plus"): _plus,
    (Recurrent, "_of_lengths"): _of_lengths,
    (MultiheadAttention, "_mask"): _mask,
    (MultiheadAttention, "_extended"): _extended,
    (MultiheadAttention, "_weights"): _weights,
    (SinusoidalPositionalEncoding, "forward"): _positions,
    (IntentClassifier, "forward"): _intent,
    (SpeechRecognizer, "forward"): _speech,
    (Translator, "encode"): _encode,
}
