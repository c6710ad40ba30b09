"""Text: what stands before a network. Strings are arrays of objects."""

from typing import Any

import numpy as np

from .._registry import op
from .._values import array, check_size, value


def _words(x: Any) -> np.ndarray:
    """Strings for bytes, as files hold them."""
    out = np.empty(x.shape, object)
    for i in np.ndindex(x.shape):
        out[i] = x[i].decode("utf-8") if isinstance(x[i], bytes) else str(x[i])
    return out


@op("StringConcat")
def string_concat(a: Any, b: Any) -> Any:
    """Each string of a with that of b behind it."""
    return np.asarray(_words(a) + _words(b), object)


@op("StringSplit")
def string_split(x: Any, *, delimiter: str = "", maxsplit: int | None = None) -> Any:
    """Strings cut at a delimiter (at white space by default), and how many pieces each has."""
    words = _words(x)
    pieces = [w.split(delimiter or None, -1 if maxsplit is None else maxsplit) if w else [] for w in words.ravel()]
    counts = np.array([len(p) for p in pieces], np.int64).reshape(words.shape)
    out = np.full((len(pieces), int(counts.max(initial=0))), "", object)
    for row, p in zip(out, pieces, strict=True):
        row[: len(p)] = p
    return out.reshape(*words.shape, out.shape[1]), counts


@op("StringNormalizer")
def string_normalizer(
    x: Any,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "",
    stopwords: list[str] | None = None,
) -> Any:
    """Without stop words, in one case."""
    words = _words(x)
    stop = set(stopwords or ()) if is_case_sensitive else {s.lower() for s in stopwords or ()}
    case: Any = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}[case_change_action]
    kept = [case(w) for w in words.ravel() if (w if is_case_sensitive else w.lower()) not in stop] or [""]
    return np.array(kept, object).reshape((-1,) if x.ndim == 1 else (1, -1))


@op("TfIdfVectorizer")
def tfidf_vectorizer(
    x: Any,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: list[int],
    ngram_indexes: list[int],
    pool_int64s: list[int] | None = None,
    pool_strings: list[str] | None = None,
    weights: list[float] | None = None,
) -> Any:
    """How often each n-gram of a pool stands in each row, or whether, or weighed."""
    pool: list[Any] = list(pool_int64s if pool_strings is None else pool_strings)  # type: ignore[arg-type]
    grams: dict[tuple, int] = {}
    ends = [*ngram_counts[1:], len(pool)]
    for n, (start, end) in enumerate(zip(ngram_counts, ends, strict=True), 1):
        for i in range(start, end, n):
            if min_gram_length <= n <= max_gram_length:
                grams[tuple(pool[i : i + n])] = len(grams) + _shorter(ngram_counts, min_gram_length, ends)
    data = _words(x) if x.dtype == object else array(x)
    rows = data.reshape(1, -1) if data.ndim < 2 else data
    size = max(ngram_indexes) + 1
    check_size("TfIdfVectorizer", (len(rows), size))
    out = np.zeros((len(rows), size), np.float32)
    scale = np.ones(size, np.float32)
    for number, w in zip(ngram_indexes, weights or (), strict=False):
        scale[number] = w
    for row, count in zip(rows.tolist(), out, strict=True):
        for gram in _grams(row, min_gram_length, max_gram_length, max_skip_count):
            if gram in grams:
                count[ngram_indexes[grams[gram]]] += 1
    if mode != "TF":
        out = (out > 0) * scale if mode == "IDF" else out * scale
    return value((out[0] if data.ndim < 2 else out).astype(np.float32))


def _shorter(counts: list[int], least: int, ends: list[int]) -> int:
    """How many n-grams of the pool are shorter than the least."""
    return sum((end - start) // n for n, (start, end) in enumerate(zip(counts, ends), 1) if n < least)


def _grams(row: list, least: int, most: int, skips: int) -> Any:
    for n in range(least, most + 1):
        for apart in range(1, (skips + 1 if n > 1 else 1) + 1):
            for start in range(len(row) - (n - 1) * apart):
                yield tuple(row[start : start + n * apart : apart])
