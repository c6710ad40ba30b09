"""Spanish and English that say the same: the pages of LibreOffice's help, whose paragraphs have one name in both.

Whole pages are held out, so that a tested sentence never stood beside one that was learned.
"""

import html
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._cli import CommandError

PACKAGES = "libreoffice-help-es libreoffice-help-en-us dict-freedict-spa-eng"
HOW_TO_GET = f"apt-get download {PACKAGES} && for d in *.deb; do dpkg -x $d help; done, then --data help (6 MB)"
PARAGRAPH = re.compile(r'<(p|h[1-6])\b[^>]*?\bid="([^"]+)"[^>]*>(.*?)</\1>', re.S)
WORDS = 25  # of a sentence at most, on either side
TEST, CHECK = 20, 40  # one page in so many is for the test, one for the progress of training


@dataclass
class Pair:
    """A sentence of a page in both languages."""

    page: str
    spanish: str
    english: str


@dataclass
class Split:
    """Pairs to learn from, to watch the training by, and to test on: of different pages."""

    learn: list[Pair]
    check: list[Pair]
    test: list[Pair]

    def unseen(self) -> list[int]:
        """Return which sentences of the test stand nowhere in what is learned: pages repeat one another."""
        known = {pair.spanish for pair in self.learn}
        return [i for i, pair in enumerate(self.test) if pair.spanish not in known]


def paragraphs(page: str) -> dict[str, str]:
    """Return the text of each paragraph of an HTML page by its name.

    Examples
    --------
    >>> paragraphs('<p id="a" class="b">Sume <b>1&nbsp;&amp;</b>\\n 2.</p><p>unnamed</p>')
    {'a': 'Sume 1 & 2.'}
    """
    found: dict[str, str] = {}
    for _, name, inner in PARAGRAPH.findall(page):
        text = " ".join(html.unescape(re.sub(r"<[^>]*>", "", inner)).split())
        found.setdefault(name, text)
    return found


def _usable(spanish: str, english: str) -> bool:
    """Say whether two texts are sentences of a reasonable length, and not the same untranslated."""
    lengths = len(spanish.split()), len(english.split())
    return (
        spanish != english
        and min(lengths) >= 1
        and max(lengths) <= WORDS
        and max(lengths) <= 3 * min(lengths) + 3
        and any(c.isalpha() for c in spanish)
        and any(c.isalpha() for c in english)
    )


def pairs(folder: Path) -> list[Pair]:
    """Return the pairs of all pages under a folder that are there in both languages, in the order of their names."""
    spanish = next((path for path in sorted(folder.rglob("help/es/text")) if path.is_dir()), None)
    english = None if spanish is None else spanish.parents[1] / "en-US" / "text"
    if spanish is None or english is None or not english.is_dir():
        raise CommandError(f"no pages help/es/text and help/en-US/text under {folder}; get them by: {HOW_TO_GET}")
    found = []
    for file in sorted(spanish.rglob("*.html")):
        twin = english / file.relative_to(spanish)
        if not twin.is_file():
            continue
        theirs = paragraphs(twin.read_text("utf-8", "replace"))
        page = file.relative_to(spanish).as_posix()
        for name, text in paragraphs(file.read_text("utf-8", "replace")).items():
            if name in theirs and _usable(text, theirs[name]):
                found.append(Pair(page, text, theirs[name]))
    if not found:
        raise CommandError(f"no sentences in both languages under {folder}; get them by: {HOW_TO_GET}")
    return found


def split(found: list[Pair], seed: int) -> Split:
    """Divide pairs by their pages; what stands on several pages is learned, and tested, once."""
    pages = np.random.default_rng(seed).permutation(sorted({pair.page for pair in found})).tolist()
    tests, checks = max(1, len(pages) // TEST), max(1, len(pages) // CHECK)
    place = {page: "test" if i < tests else "check" if i < tests + checks else "learn" for i, page in enumerate(pages)}
    parts: dict[str, dict[tuple[str, str], Pair]] = {"learn": {}, "check": {}, "test": {}}
    for pair in found:
        parts[place[pair.page]].setdefault((pair.spanish, pair.english), pair)
    return Split(*(list(parts[name].values()) for name in ("learn", "check", "test")))
