"""A small language model for the beam search: how probable a letter is after the letters before it.

The counts of all contexts of up to `order` - 1 letters, each mixed with the next shorter one by how many different
letters followed it (Witten and Bell, 1991).
"""

import math
from collections.abc import Iterable

END = "\n"


class Language:
    """Letters of texts, counted.

    Parameters
    ----------
    texts : iterable of str
    letters : str
        All letters there can be.
    order : int
        Letters that are looked at together.

    Examples
    --------
    >>> language = Language(["una vela", "una luna"], "aelnuv ")
    >>> language.log_probability("una ", "v") > language.log_probability("una ", "a")
    True
    """

    def __init__(self, texts: Iterable[str], letters: str, order: int = 6) -> None:
        self.order, self.share = order, 1 / (len(letters) + 1)
        self.counts: dict[str, dict[str, int]] = {}
        self.totals: dict[str, int] = {}
        for text in texts:
            self._count(text + END)
        self.known: dict[tuple[str, str], float] = {}

    def _count(self, text: str) -> None:
        for i, letter in enumerate(text):
            for back in range(min(i, self.order - 1) + 1):
                context = text[i - back : i]
                followers = self.counts.setdefault(context, {})
                followers[letter] = followers.get(letter, 0) + 1
                self.totals[context] = self.totals.get(context, 0) + 1

    def probability(self, before: str, letter: str) -> float:
        """Return how probable a letter is after the text `before`."""
        context = before[-(self.order - 1) :] if self.order > 1 else ""
        key = (context, letter)
        if key not in self.known:
            shorter = self.probability(context[1:], letter) if context else self.share
            followers = self.counts.get(context)
            if followers is None:
                self.known[key] = shorter
            else:
                total, kinds = self.totals[context], len(followers)
                self.known[key] = (followers.get(letter, 0) + kinds * shorter) / (total + kinds)
        return self.known[key]

    def log_probability(self, before: str, letter: str) -> float:
        """Return the logarithm of `probability`."""
        return math.log(self.probability(before, letter))
