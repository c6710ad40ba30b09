"""From a network's frames to a text: the readings of CTC.

At each frame the network says how probable each class is; class `blank` says nothing. A text is read off by joining
equal neighbours and leaving out the blanks: "hh-oo-ll-lla" is "holla".
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._ops import Tensor

__all__ = ["Reading", "ctc_beam_search", "ctc_greedy", "edit_distance", "error_rate"]


class Reading(NamedTuple):
    """One reading of the frames: its classes, and the logarithm of its score."""

    classes: tuple[int, ...]
    score: float


def _frames(function: str, log_probs: Any, blank: int) -> np.ndarray:
    x = np.asarray(log_probs.data if isinstance(log_probs, Tensor) else log_probs)
    if x.ndim != 2 or x.dtype.kind != "f":
        raise ValueError(f"{function}: log_probs are {x.dtype} of shape {x.shape}; expected floats (T, C)")
    if not _whole(blank) or not 0 <= blank < x.shape[1]:
        raise ValueError(f"{function}: blank is {blank}; expected one of the {x.shape[1]} classes")
    wrong = ~(x < np.inf).all(1)
    if wrong.any():
        raise ValueError(f"{function}: log_probs have NaN or +inf in frame {int(wrong.argmax())}")
    return x


def _whole(n: Any) -> bool:
    return hasattr(n, "__index__") and not isinstance(n, bool)


def ctc_greedy(log_probs: Any, blank: int = 0) -> tuple[int, ...]:
    """Read the likeliest class of each frame, equal neighbours joined and blanks left out.

    Parameters
    ----------
    log_probs : Tensor or array, shape (T, C)
        Of one item; scores that are not normalised do as well.
    blank : int

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If the shape is another, `blank` is no class, or there is a NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import decoding
    >>> decoding.ctc_greedy(np.eye(3)[[1, 1, 0, 1, 2, 2]])
    (1, 1, 2)
    """
    best = _frames("ctc_greedy", log_probs, blank).argmax(1)
    kept = np.ones(len(best), bool)
    kept[1:] = best[1:] != best[:-1]
    return tuple(best[kept & (best != blank)].tolist())


def ctc_beam_search(
    log_probs: Any,
    width: int = 16,
    blank: int = 0,
    language: Callable[[tuple[int, ...], int], float] | None = None,
    ending: Callable[[tuple[int, ...]], float] | None = None,
    least: float = -9.0,
) -> list[Reading]:
    """Read the likeliest texts, each with the probability of all its alignments together.

    Parameters
    ----------
    log_probs : Tensor or array, shape (T, C)
        Of one item.
    width : int
        Texts that are followed at once.
    blank : int
    language : callable, optional
        ``language(classes, next)``: what is added to the score when the text `classes` goes on with class `next`; for
        instance a weight times the log-probability of a language model, plus a bonus for each class. It is asked once
        for each pair.
    ending : callable, optional
        ``ending(classes)``: what is added for ending there.
    least : float
        Classes whose log-probability in a frame is below this are not looked at there.

    Returns
    -------
    list of Reading
        At most `width`, the best first.

    Raises
    ------
    ValueError
        If the shape is another, `blank` is no class, `width` no integer from 1 on, or there is a NaN or +inf.

    References
    ----------
    Hannun, Maas, Jurafsky, Ng, "First-pass large vocabulary continuous speech recognition using bi-directional
    recurrent DNNs", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import decoding
    >>> frames = np.log([[0.6, 0.4], [0.6, 0.4]])  # greedy reads nothing, but "a" has 1 - 0.36
    >>> best = decoding.ctc_beam_search(frames)[0]
    >>> best.classes, round(float(np.exp(best.score)), 2)
    ((1,), 0.64)
    """
    x = _frames("ctc_beam_search", log_probs, blank)
    if not _whole(width) or width < 1:
        raise ValueError(f"ctc_beam_search: width must be an integer of at least 1, got {width!r}")
    if math.isnan(least):
        raise ValueError("ctc_beam_search: least is NaN")
    beam: dict[tuple[int, ...], _Paths] = {(): _Paths(0.0, -math.inf, 0.0)}
    told: dict[tuple, float] = {}
    for frame in x.tolist():
        wanted = [c for c, score in enumerate(frame) if score >= least and c != blank]
        grown: dict[tuple[int, ...], _Paths] = {}
        for text, paths in beam.items():
            _extend(grown, text, paths, frame, wanted, blank, language, told)
        best = sorted(grown.items(), key=lambda item: item[1].total(), reverse=True)[:width]
        beam = dict(best)
    end = (lambda text: _score("ending", ending(text))) if ending else (lambda text: 0.0)
    found = [Reading(text, paths.total() + end(text)) for text, paths in beam.items()]
    return sorted(found, key=lambda reading: reading.score, reverse=True)


class _Paths:
    """The alignments of one text so far: log-probabilities of those that end in a blank and in a letter; the
    language's share."""

    __slots__ = ("blank", "language", "letter")

    def __init__(self, blank: float, letter: float, language: float) -> None:
        self.blank, self.letter, self.language = blank, letter, language

    def total(self) -> float:
        return _log_add(self.blank, self.letter) + self.language


def _log_add(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


def _extend(grown, text, paths, frame, wanted, blank, language, told) -> None:
    """Add what becomes of one text in one frame: it stays, by a blank or its last letter again, or goes on."""
    both = _log_add(paths.blank, paths.letter)
    last = text[-1] if text else -1
    here = grown.get(text)
    if here is None:
        here = grown[text] = _Paths(-math.inf, -math.inf, paths.language)
    here.blank = _log_add(here.blank, both + frame[blank])
    if text:
        here.letter = _log_add(here.letter, paths.letter + frame[last])
    for c in wanted:
        if c == last and paths.blank == -math.inf:  # a letter again needs a blank before it
            continue
        longer = (*text, c)
        there = grown.get(longer)
        if there is None:
            share = 0.0
            if language is not None:
                if longer not in told:
                    told[longer] = _score("language", language(text, c))
                share = told[longer]
            there = grown[longer] = _Paths(-math.inf, -math.inf, paths.language + share)
        there.letter = _log_add(there.letter, (paths.blank if c == last else both) + frame[c])


def _score(name: str, value: float) -> float:
    if math.isnan(value):
        raise ValueError(f"ctc_beam_search: {name} gave NaN")
    return value


def edit_distance(read: Any, true: Any) -> int:
    """Count the insertions, deletions and replacements that lead from one sequence to another.

    Examples
    --------
    >>> from fastnn import decoding
    >>> decoding.edit_distance("sitting", "kitten")
    3
    """
    above = list(range(len(true) + 1))
    for i, a in enumerate(read, 1):
        row = [i]
        for j, b in enumerate(true, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + bool(a != b)))
        above = row
    return above[-1]


def error_rate(read: list, true: list) -> float:
    """Edits over all pairs, divided by the length of all that is true: of characters for texts, of words for lists.

    Raises
    ------
    ValueError
        If the lists are of different lengths, or nothing is true.

    Examples
    --------
    >>> from fastnn import decoding
    >>> decoding.error_rate(["hola", "si"], ["ola", "si"])
    0.2
    """
    length = sum(map(len, true))
    if len(read) != len(true) or not length:
        raise ValueError(f"error_rate: {len(read)} readings of {len(true)} texts with {length} letters; expected pairs")
    return sum(edit_distance(r, t) for r, t in zip(read, true)) / length
