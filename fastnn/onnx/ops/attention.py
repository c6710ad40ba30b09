"""Attention and its kin: one call of fastnn's kernel where only the result is wanted, else products and softmax."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _ops
from ..._ops import Tensor
from ..._ops_attention import scaled_dot_product_attention
from .._plan import Body
from .._registry import op
from .._values import array, recorded, value
from .cast import converted, numpy_type


@op("Sdpa", domain="fastnn", half=True)
def sdpa(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    factor: Any = None,
    q_factor: Any = None,
    k_factor: Any = None,
    *,
    turned: int,
    divides: list[int],
) -> Any:
    """What the passes make of two products around a softmax: softmax(factor (q q_factor) (k k_factor)^T + mask) v.

    `turned`: k comes as it stands in the product, (..., D, S), as its factor always does. `divides`: which factors
    divide.
    """
    others: list[Any] = [factor, q_factor, k_factor]
    single = [f is None or (f.size == 1 and not recorded(f)) for f in others]
    scale = total_scale([f if one else None for f, one in zip(others, single, strict=True)], divides)
    others = [None if one else f for f, one in zip(others, single, strict=True)]
    if others[1] is not None:
        q = q / others[1] if divides[1] else q * others[1]
    f = others[2]
    if f is not None and not turned:
        f = f.reshape(-1, 1) if f.ndim < 2 else _ops.transpose(f, -1, -2)
    if f is not None:
        k = k / f if divides[2] else k * f
    k = _ops.transpose(k, -1, -2) if turned else k
    whole = others[0] is None and q.ndim == k.ndim == v.ndim >= 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    whole = whole and (mask is None or fits(mask.shape, (*q.shape[:-1], k.shape[-2])))
    if whole and not recorded(mask):
        return scaled_dot_product_attention(q, k, v, mask, scale=scale)
    blind = np.zeros(1, bool) if mask is None else np.isneginf(mask.data).all(-1, keepdims=True)
    zero = Tensor(np.zeros((), q.dtype))
    mask = _ops.where(blind, zero, mask) if blind.any() else mask
    if whole:
        y = scaled_dot_product_attention(q, k, v, mask, scale=scale)
    else:
        scores = _ops.matmul(q * scale, _ops.transpose(k, -1, -2))
        if others[0] is not None:
            scores = scores / others[0] if divides[0] else scores * others[0]
        y = _ops.matmul(_ops.softmax(scores if mask is None else scores + mask, -1), v)
    return _ops.where(blind, zero, y) if blind.any() else y  # a query that sees no key gives 0 on all these ways


def fits(mask: Sequence[int], scores: Sequence[int]) -> bool:
    """Whether a mask broadcasts to the scores; one that makes more of them is no mask of the kernel's."""
    return len(mask) <= len(scores) and all(m in (1, n) for m, n in zip(reversed(mask), reversed(scores)))


def total_scale(factors: Sequence[Any], divides: list[int]) -> float | None:
    """The product of factors that are numbers, or missing; None if one is more than a number, or is trained now."""
    scale = 1.0
    for given, divide in zip(factors, divides, strict=True):
        if given is None:
            continue
        if given.size != 1 or recorded(given):
            return None
        scale = scale / given.item() if divide else scale * given.item()
    return scale


def _heads(x: Any, count: int | None) -> Any:
    """(B, T, N D) as (B, N, T, D)."""
    if x.ndim == 4:
        return x
    if not count:
        raise ValueError(f"Attention: inputs of shape {x.shape} need q_num_heads and kv_num_heads")
    return _ops.transpose(x.reshape(x.shape[0], x.shape[1], count, x.shape[2] // count), 1, 2)


@op("Attention", half=True)
def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    past_key: Any = None,
    past_value: Any = None,
    valid: Any = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int | None = None,
    left_window_size: int = -1,
    right_window_size: int = -1,
    outputs: int = 1,
) -> Any:
    """softmax(q k^T scale + mask) v for heads in an axis of their own or packed into the last."""
    packed = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    past = 0 if past_key is None else past_key.shape[2]
    if past_key is not None:
        k, v = _ops.cat([past_key, k], 2), _ops.cat([past_value, v], 2)
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    total = k.shape[2]
    offset = np.full(1, past) if valid is None else np.asarray(valid) - q.shape[2]
    windows = (left_window_size, 0 if is_causal and right_window_size else right_window_size)
    allowed = _allowed(q.shape[2], total, offset, valid, windows)
    mask = _wide(mask, total)
    if outputs < 4 and not softcap:
        y = scaled_dot_product_attention(q, k, v, _joined(mask, allowed), scale=scale, enable_gqa=True)
        scores = None
    else:
        y, scores = _scored(q, k, v, mask, allowed, scale, softcap, qk_matmul_output_mode)
    if packed:
        y = _ops.transpose(y, 1, 2).reshape(y.shape[0], y.shape[2], y.shape[1] * y.shape[3])
    return (y, k, v, scores)[:outputs] if outputs > 1 else y


def _allowed(t: int, total: int, offset: np.ndarray, valid: Any, windows: tuple[int, int]) -> np.ndarray | None:
    """Which keys each query may see, by its place: (B or 1, 1, T, S); None if all."""
    left, right = windows
    keys = np.arange(total)
    at = offset.reshape(-1, 1, 1, 1) + np.arange(t)[:, None]
    seen = None
    for bound in (keys >= at - left if left >= 0 else None, keys <= at + right if right >= 0 else None):
        seen = bound if seen is None else seen if bound is None else seen & bound
    if valid is not None:
        there = keys < np.asarray(valid).reshape(-1, 1, 1, 1)
        seen = there if seen is None else seen & there
    return seen


def _wide(mask: Any, total: int) -> Any:
    """A mask for all keys: behind those it names nobody looks."""
    if mask is None or mask.shape[-1] == total or mask.shape[-1] == 1:
        return mask
    pads = [0, total - mask.shape[-1]]
    if isinstance(mask, Tensor):
        return _ops.pad(mask, pads, value=-math.inf)
    return np.pad(mask, [*[(0, 0)] * (mask.ndim - 1), tuple(pads)])


def _joined(mask: Any, allowed: np.ndarray | None) -> Any:
    """One mask of both."""
    if mask is None or allowed is None:
        return mask if allowed is None else allowed
    if isinstance(mask, Tensor):
        return _ops.where(allowed, mask, Tensor(np.full((), -np.inf, mask.dtype)))
    return mask & allowed


def _scored(q: Any, k: Any, v: Any, mask: Any, allowed: Any, scale: float, softcap: float, mode: int) -> Any:
    """The result, and the matrix of scores at one of four places on the way."""
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = (_repeated(x, group) for x in (k, v))
    seen = [_ops.matmul(q * scale, _ops.transpose(k, -1, -2))]
    seen.append(_ops.tanh(seen[0] / softcap) * softcap if softcap else seen[0])
    both = _joined(mask, allowed)
    low = Tensor(np.full((), -np.inf, q.dtype))
    biased = seen[1]
    if isinstance(both, Tensor):
        biased = biased + both
    elif both is not None:
        biased = _ops.where(np.broadcast_to(both, biased.shape), biased, low)
    seen.append(biased)
    blind = np.isneginf(biased.data).all(-1, keepdims=True)
    p = _ops.softmax(_ops.where(blind, Tensor(np.zeros((), q.dtype)), biased), -1)
    p = _ops.where(blind, Tensor(np.zeros((), q.dtype)), p) if blind.any() else p
    seen.append(p)
    return _ops.matmul(p, v), seen[mode]


def _repeated(x: Any, group: int) -> Any:
    b, n, t, d = x.shape
    return _ops.broadcast_to(_ops.unsqueeze(x, 2), (b, n, group, t, d)).reshape(b, n * group, t, d)


@op("RotaryEmbedding", half=True)
def rotary_embedding(
    x: Any,
    cos: Any,
    sin: Any,
    places: Any = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Any:
    """Pairs of each head's features turned by an angle that grows with the position."""
    packed = x.ndim == 3
    if packed and num_heads < 1:
        raise ValueError(f"RotaryEmbedding: input of shape {x.shape} needs num_heads")
    whole = x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads) if packed else _ops.transpose(x, 1, 2)
    size = rotary_embedding_dim or whole.shape[-1]
    turned, rest = whole[..., :size], whole[..., size:]
    if places is not None:
        cos, sin = cos[np.asarray(places)], sin[np.asarray(places)]
    cos, sin = _ops.unsqueeze(cos, 2), _ops.unsqueeze(sin, 2)
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
        y = _ops.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(turned.shape)
    else:
        a, b = turned[..., : size // 2], turned[..., size // 2 :]
        y = _ops.cat([a * cos - b * sin, a * sin + b * cos], -1)
    y = _ops.cat([y, rest], -1) if rest.shape[-1] else y
    return y.reshape(x.shape) if packed else _ops.transpose(y, 1, 2)


@op("LinearAttention", half=True)
def linear_attention(
    q: Any,
    k: Any,
    v: Any,
    state: Any = None,
    decay: Any = None,
    beta: Any = None,
    *,
    q_num_heads: int,
    kv_num_heads: int,
    chunk_size: int = 64,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
    outputs: int = 1,
) -> Any:
    """A memory of key-value products, step by step: forgotten by `decay`, corrected by `beta`, asked by the query."""
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    b, n, t, d = k.shape
    scale = scale or 1 / math.sqrt(d)
    s = _ops.zeros(b, n, d, v.shape[3], dtype=q.dtype) if state is None else state
    gated, delta = "gated" in update_rule, "delta" in update_rule
    if (gated and decay is None) or (delta and beta is None):
        raise ValueError(f"LinearAttention: update_rule {update_rule!r} needs decay and beta")
    kept = _ops.exp(_heads(decay, n)) if gated else None  # (B, N, T, D or 1)
    rate = _ops.broadcast_to(_ops.transpose(beta, 1, 2), (b, n, t)) if delta else None
    outs = []
    group = q.shape[1] // n
    for i in range(t):
        key, val = k[:, :, i], v[:, :, i]
        if kept is not None:
            s = s * _ops.unsqueeze(kept[:, :, i], -1)
        if rate is not None:
            known = _ops.squeeze(_ops.matmul(_ops.unsqueeze(key, 2), s), 2)
            val = (val - known) * rate[:, :, i : i + 1]
        s = s + _ops.unsqueeze(key, -1) * _ops.unsqueeze(val, -2)
        asked = q[:, :, i].reshape(b, n, group, d)
        outs.append(_ops.matmul(asked, s).reshape(b, n * group, v.shape[3]))
    y = _ops.stack(outs, 1).reshape(b, t, n * group * v.shape[3]) * scale
    return (y, s) if outputs > 1 else y


@op("FlexAttention", domain="ai.onnx.preview")
def flex_attention(
    q: Any,
    k: Any,
    v: Any,
    *captured: Any,
    scale: float | None = None,
    softmax_precision: int | None = None,
    score_mod: Body | None = None,
    prob_mod: Body | None = None,
) -> Any:
    """Attention whose scores and probabilities pass through graphs."""
    kind = array(q).dtype
    exact = (
        numpy_type(softmax_precision)
        if softmax_precision
        else np.dtype(np.float64 if kind == np.float64 else np.float32)
    )
    work = np.dtype(np.float64) if kind == np.float64 else np.dtype(np.float32)
    wide = [value(array(x).astype(work)) if array(x).dtype != work else x for x in (q, k, v)]
    group = wide[0].shape[1] // wide[1].shape[1]
    keys, values = (_repeated(x, group) if group > 1 else x for x in wide[1:])
    scale = 1 / math.sqrt(wide[0].shape[-1]) if scale is None else scale
    scores = _ops.matmul(wide[0], _ops.transpose(keys, -1, -2)) * scale
    scores = converted(scores, exact)
    if score_mod is not None:
        scores = score_mod([scores], captured)[0]
    p = _ops.softmax(scores if isinstance(scores, Tensor) else Tensor(scores.astype(np.float32)), -1)
    if prob_mod is not None:
        p = prob_mod([converted(p, exact)], captured)[0]
    p = p if isinstance(p, Tensor) and p.dtype == work else value(array(p).astype(work))
    return converted(_ops.matmul(p, values), kind)
