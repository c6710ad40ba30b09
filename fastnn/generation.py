"""Sequences from a model that gives the logits of what comes next: greedy, by beams, drawn.

A model takes part by a function ``step(tokens, state) -> (logits, state)``: tokens (B, t) are the next ones of each
row, logits (B, V) belong to what follows them, and state is None at first. States may be nested lists and tuples of
what has a ``select(rows)``, as `nn.KeyValues`, arrays of B rows, and numbers that hold for all rows.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._checks import integer, number
from ._ops import Tensor

Step = Callable[[np.ndarray, Any], tuple[Any, Any]]


def select_rows(state, rows):
    """Return the state of the given rows of a batch, in this order.

    Examples
    --------
    >>> import numpy as np
    >>> select_rows([np.array([1, 2, 3]), (7, None)], [2, 0])
    [array([3, 1]), (7, None)]
    """
    if state is None or isinstance(state, int | float | np.number):
        return state
    if isinstance(state, list | tuple):
        parts = [select_rows(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else type(state)(parts)
    if isinstance(state, dict):
        return {name: select_rows(part, rows) for name, part in state.items()}
    return state.select(rows) if hasattr(state, "select") else state[np.asarray(rows)]


def _logits(name: str, step: Step, tokens: np.ndarray, state) -> tuple[np.ndarray, np.ndarray, Any]:
    """The next logits, the likeliest token of each row, and the state."""
    logits, state = step(tokens, state)
    logits = logits.data if isinstance(logits, Tensor) else np.asarray(logits)
    if logits.ndim != 2 or len(logits) != len(tokens) or not logits.size:
        raise ValueError(f"{name}: step gave logits {logits.shape} for {len(tokens)} rows; expected ({len(tokens)}, V)")
    # The first NaN counts as the largest; its token would look like an answer. A quarter of the time of max(-1).
    likeliest = logits.argmax(-1)
    if not all(map(math.isfinite, map(logits.item, range(len(logits)), likeliest.tolist()))):
        raise ValueError(f"{name}: step gave logits of which one is NaN or infinite, or all are -inf")
    return logits, likeliest, state


def _start(name: str, tokens, length: int) -> np.ndarray:
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        raise ValueError(f"{name}: tokens is {tokens.shape} of {tokens.dtype}; expected integers (B, t), 1 or more")
    integer(name, "length", length, 0)
    return tokens.astype(np.int64, copy=False)  # bytes have no room for what a larger vocabulary answers


def _grow(name: str, step: Step, tokens: np.ndarray, length: int, end: int | None, state, choose=None) -> np.ndarray:
    """Append what `choose` makes of the logits, else the likeliest; rows that came to `end` go on with it."""
    pieces, done = [tokens], np.zeros(len(tokens), bool)
    for _ in range(length):
        logits, chosen, state = _logits(name, step, pieces[-1], state)
        if end is not None and not (hasattr(end, "__index__") and 0 <= end < logits.shape[1]):
            raise ValueError(f"{name}: end is {end!r}; expected one of the {logits.shape[1]} tokens")
        if choose is not None:
            chosen = choose(logits)
        if end is not None:
            chosen = np.where(done, end, chosen)
            done |= chosen == end
        pieces.append(chosen[:, None])
        if end is not None and done.all():
            break
    return np.concatenate(pieces, 1)


def greedy(step: Step, tokens, length: int, end: int | None = None, state=None) -> np.ndarray:
    """Append the likeliest token, up to `length` times or until every row came to `end`.

    Parameters
    ----------
    step : callable
        See above.
    tokens : array of int, shape (B, t)
        What is there already.
    length : int
        How many more at most.
    end : int, optional
        The token that ends a row; a row that has ended is filled up with it.
    state
        Where the model stands before `tokens`.

    Returns
    -------
    ndarray of int, shape (B, t + at most length)

    Raises
    ------
    TypeError
        If `length` is no integer.
    ValueError
        For tokens or logits of another shape, an `end` that is no token, and logits that are NaN, infinite or all -inf.

    Examples
    --------
    >>> import numpy as np
    >>> def count(tokens, state):
    ...     return np.eye(5)[(tokens[:, -1] + 1) % 5], state
    >>> greedy(count, [[0]], 6, end=4)
    array([[0, 1, 2, 3, 4]])
    """
    tokens = _start("greedy", tokens, length)
    return _grow("greedy", step, tokens, length, end, state)


def _kept(logits: np.ndarray, top_k: int | None, top_p: float) -> np.ndarray:
    """The probabilities of the likeliest tokens, 0 for the others, (B, V); the largest logit of each row is 0."""
    p = np.exp(logits)
    p /= p.sum(-1, keepdims=True)
    order = np.argsort(-p, -1, kind="stable")
    ranked = np.take_along_axis(p, order, -1)
    before = np.cumsum(ranked, -1) - ranked
    drop = before >= top_p
    drop[:, 0] = False
    if top_k is not None:
        drop[:, top_k:] = True
    np.put_along_axis(p, order, np.where(drop, 0, ranked), -1)
    return p / p.sum(-1, keepdims=True)


def sample(
    step: Step,
    tokens,
    length: int,
    end: int | None = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    rng: np.random.Generator | None = None,
    state=None,
) -> np.ndarray:
    """Append tokens drawn from the model's distribution. Other arguments and the result as in `greedy`.

    Parameters
    ----------
    temperature : float
        Logits are divided by it: below 1 the likely ones are preferred; 0 is `greedy`.
    top_k : int, optional
        Only the likeliest `top_k` tokens [1]_.
    top_p : float
        Only the likeliest tokens that together have this probability [2]_.
    rng : numpy.random.Generator, optional
        Where the draws come from; fastnn's own by default.

    Raises
    ------
    TypeError
        As `greedy`; and for what is no number, or no generator.
    ValueError
        As `greedy`; and for numbers out of these bounds.

    References
    ----------
    .. [1] Fan, Lewis and Dauphin, "Hierarchical neural story generation", ACL 2018.
    .. [2] Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.

    Examples
    --------
    >>> import numpy as np
    >>> def coin(tokens, state):
    ...     return np.zeros((len(tokens), 2)), state
    >>> sample(coin, [[0]], 5, top_k=1)
    array([[0, 0, 0, 0, 0, 0]])
    """
    tokens = _start("sample", tokens, length)
    number("sample", "temperature", temperature)
    if not 0 <= temperature < np.inf:
        raise ValueError(f"sample: temperature is {temperature}; expected at least 0 and finite")
    if not 0 < number("sample", "top_p", top_p) <= 1:
        raise ValueError(f"sample: top_p is {top_p}; expected above 0 and at most 1")
    if top_k is not None:
        top_k = integer("sample", "top_k", top_k)
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"sample: rng must be a numpy.random.Generator or None, got {type(rng).__name__}")
    if temperature == 0:
        return greedy(step, tokens, length, end, state)
    if rng is None:
        from ._random import generator

        rng = generator()

    def choose(logits):
        logits = logits.astype(np.float64)
        with np.errstate(over="ignore"):  # near 0 all but the likeliest become -inf
            logits = (logits - logits.max(-1, keepdims=True)) / temperature
        below = np.cumsum(_kept(logits, top_k, top_p), -1)
        return (below <= rng.random((len(logits), 1)) * below[:, -1:]).sum(-1)

    return _grow("sample", step, tokens, length, end, state, choose)


def _largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest of each row stand, the largest first; sorting all of them took half of the time."""
    some = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    if count < scores.shape[1]:
        some = np.sort(np.argpartition(scores, -count, -1)[:, -count:], -1)
    order = np.argsort(-np.take_along_axis(scores, some, -1), -1, kind="stable")
    return np.take_along_axis(some, order, -1)


def beam_search(
    step: Step, tokens, length: int, end: int, *, beams: int = 4, length_penalty: float = 1.0, state=None
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the `beams` likeliest beginnings of each row while they grow; return the best of those that ended.

    Parameters
    ----------
    step, tokens, length, end, state
        As in `greedy`.
    beams : int
        How many beginnings of a row are kept.
    length_penalty : float
        Sequences are ranked by the sum of their log probabilities over the number of new tokens to this power: 0
        prefers short ones (below 0 even more so), 1 takes the mean.

    Returns
    -------
    tokens : ndarray of int, shape (B, t + at most length)
        Filled up with `end`.
    score : ndarray, shape (B,)

    Raises
    ------
    TypeError
        As `greedy`; and for `beams` or `end` that are no integers, a `length_penalty` that is no number.
    ValueError
        As `greedy`; and for less than one beam, an `end` that is no token, a `length_penalty` that is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> def count(tokens, state):
    ...     return 9 * np.eye(5)[(tokens[:, -1] + 1) % 5], state
    >>> beam_search(count, [[0]], 6, end=4)[0]
    array([[0, 1, 2, 3, 4]])
    """
    tokens = _start("beam_search", tokens, length)
    beams = integer("beam_search", "beams", beams)
    end = integer("beam_search", "end", end, None)
    if not math.isfinite(number("beam_search", "length_penalty", length_penalty)):
        raise ValueError(f"beam_search: length_penalty is {length_penalty}; expected a finite number")
    batch, first = len(tokens), np.arange(len(tokens))
    best = [(-np.inf, np.full(1, end, tokens.dtype))] * batch  # the best that ended: score, new tokens
    grown = np.zeros((batch, 1, 0), tokens.dtype)
    total = np.zeros((batch, 1))
    piece = tokens
    for n in range(1, length + 1):
        logits, _, state = _logits("beam_search", step, piece, state)
        if not 0 <= end < logits.shape[1]:
            raise ValueError(f"beam_search: end is {end}; expected one of the {logits.shape[1]} tokens")
        logits = logits.astype(np.float64)
        top = logits.max(-1, keepdims=True)
        log_z = top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
        ended = total + (logits[:, end, None] - log_z).reshape(batch, -1)
        for b in range(batch):
            beam = ended[b].argmax()
            score = ended[b, beam] / n**length_penalty
            if score > best[b][0]:
                best[b] = (score, np.append(grown[b, beam], end).astype(tokens.dtype))
        places = _largest(logits, beams + 1)  # of each beginning; the end may be among them, which does not grow
        log_p = np.where(places == end, -np.inf, np.take_along_axis(logits, places, -1) - log_z)
        flat = (total[:, :, None] + log_p.reshape(batch, -1, places.shape[1])).reshape(batch, -1)
        chosen = _largest(flat, beams)
        total = np.take_along_axis(flat, chosen, -1)
        parent, token = chosen // places.shape[1], np.take_along_axis(places.reshape(batch, -1), chosen, -1)
        rows = (first[:, None] * grown.shape[1] + parent).reshape(-1)
        grown = np.concatenate([grown[first[:, None], parent], token[:, :, None]], -1).astype(tokens.dtype)
        divisor = max((n + 1) ** length_penalty, length**length_penalty)
        if all(best[b][0] >= total[b, 0] / divisor for b in range(batch)):
            break  # no beginning can come to more: what follows is at most 0, and the divisor at most this
        state = select_rows(state, rows)
        piece = token.reshape(-1, 1).astype(tokens.dtype)
    for b in range(batch):
        if best[b][0] == -np.inf and length:  # nothing ended
            best[b] = (total[b, 0] / length**length_penalty, grown[b, 0])
    longest = max(len(new) for _, new in best) if length else 0
    out = np.full((batch, tokens.shape[1] + longest), end, tokens.dtype)
    out[:, : tokens.shape[1]] = tokens
    for b, (_, new) in enumerate(best):
        out[b, tokens.shape[1] : tokens.shape[1] + min(len(new), longest)] = new[:longest]
    return out, np.array([score for score, _ in best])
