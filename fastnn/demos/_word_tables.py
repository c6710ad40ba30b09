"""What translating word by word makes of a sentence: by a dictionary, and by a table counted from the same pairs."""

import gzip
import re
from functools import reduce
from pathlib import Path

import numpy as np

from ._parallel import Pair

WORD = re.compile(r"\w+|[^\w\s]")
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # of the numbers in a dictd index
ROUNDS = 5


def freedict(folder: Path) -> dict[str, str] | None:
    """Return the Spanish words of the package dict-freedict-spa-eng under a folder, each with its first translation.

    None if it is not there.
    """
    index = next(iter(sorted(folder.rglob("freedict-spa-eng.index"))), None)
    book = None if index is None else index.with_name("freedict-spa-eng.dict.dz")
    if index is None or book is None or not book.is_file():
        return None
    with gzip.open(book) as opened:
        text = opened.read()
    found: dict[str, str] = {}
    for line in index.read_text("utf-8").splitlines():
        word, start, length = line.split("\t")[:3]
        at, size = (reduce(lambda n, c: 64 * n + DIGITS.index(c), field, 0) for field in (start, length))
        entry = text[at : at + size].decode("utf-8", "replace").splitlines()[1:]
        first = re.sub(r"^1\.", "", entry[0]) if entry else ""
        first = re.sub(r"[^\w\s'-]", " ", first.split(",")[0]).strip()
        if first and not word.startswith("00database"):
            found.setdefault(word.lower(), first)
    return found


def counted(pairs: list[Pair]) -> dict[str, str]:
    """Return each Spanish word with the English one it stands for most probably in pairs of sentences.

    Brown et al., "The mathematics of statistical machine translation", 1993, model 1: each English word comes from
    one of the Spanish ones, whichever; which it was is estimated and counted in turns.
    """
    spanish: dict[str, int] = {}
    english: dict[str, int] = {}
    columns: list[list[np.ndarray]] = [[], [], []]
    slots = 0
    for pair in pairs:
        s, e = (
            np.array([known.setdefault(word, len(known)) for word in WORD.findall(text.lower())], np.int64)
            for known, text in ((spanish, pair.spanish), (english, pair.english))
        )
        slot = slots + np.arange(len(e))  # one for each English word of each sentence
        slots += len(e)
        for column, part in zip(columns, (np.tile(s, len(e)), np.repeat(e, len(s)), np.repeat(slot, len(s)))):
            column.append(part)
    from_, to, slot = (np.concatenate(column) for column in columns)
    kinds, link = np.unique(from_ * len(english) + to, return_inverse=True)
    source, target = np.divmod(kinds, len(english))
    p = np.ones(len(kinds))
    for _ in range(ROUNDS):
        share = p[link] / np.bincount(slot, p[link])[slot]
        count = np.bincount(link, share)
        p = count / np.bincount(source, count)[source]
    best = np.lexsort((target, -p, source))
    first = best[np.unique(source[best], return_index=True)[1]]
    words = list(english)
    return {word: words[target[i]] for word, i in zip(spanish, first)}


def word_by_word(table: dict[str, str], text: str) -> str:
    """Return a text with each word replaced by its translation, plurals by that of their singular; others stay.

    Examples
    --------
    >>> word_by_word({"la": "the", "casa": "house"}, "La casas, X.")
    'The house, X.'
    """

    def of(found: re.Match) -> str:
        word = found[0]
        for form in (word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
            if form in table:
                said = table[form]
                return said[:1].upper() + said[1:] if word[0].isupper() else said
        return word

    return re.sub(r"\w+", of, text)
