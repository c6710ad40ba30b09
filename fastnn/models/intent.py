"""Text to action: a recurrent network reads the words both ways; the whole says what is wanted, each word whether it is
the argument.

words ---> [ embedding ] ---> [ GRU both ways ] --+--> largest over the words ---> [ dense ] ---> intent
(N, T)     (N, T, width)      (N, T, 2 hidden)     +--> each word             ---> [ dense ] ---> tag of the word
"""

import numpy as np

from .._ops import Tensor, as_tensor, where
from ..nn import GRU, Dropout, Embedding, Linear, Module
from ..nn import functional as F


class IntentClassifier(Module):
    """A network that tells from a sentence what is wanted, and which of its words are the argument.

    Parameters
    ----------
    words : int
        Of the vocabulary; number 0 is padding.
    intents, tags : int
        How many answers there are, for the sentence and for each word.
    width, hidden : int
        Of a word's vector, and of the recurrent layer in each direction.
    dropout : float

    Notes
    -----
    x: integers (N, T), each row's words and then zeros; output: scores (N, intents) and (N, T, tags).

    Raises
    ------
    ValueError
        When called, if x is not (N, T), or a row has no word, or one behind a zero.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.IntentClassifier(words=100, intents=5, tags=3)
    >>> intent, tag = net(fnn.tensor([[5, 7, 0], [2, 3, 4]]))
    >>> intent.shape, tag.shape
    ((2, 5), (2, 3, 3))
    """

    def __init__(
        self, words: int, intents: int, tags: int, width: int = 48, hidden: int = 64, dropout: float = 0.0
    ) -> None:
        self.embedding = Embedding(words, width, padding_idx=0)
        self.recurrent = GRU(width, hidden, batch_first=True, bidirectional=True)
        self.drop = Dropout(dropout)
        self.intent = Linear(2 * hidden, intents)
        self.tag = Linear(2 * hidden, tags)

    def forward(self, x):
        """x: integers (N, T) -> (N, intents), (N, T, tags)."""
        x = np.asarray(x.data if isinstance(x, Tensor) else x)
        if x.ndim != 2:
            raise ValueError(f"IntentClassifier: x is {x.shape}; expected (N, T)")
        known = x != 0
        lengths = known.sum(1)
        if not known.any(1).all():
            raise ValueError("IntentClassifier: a row has no word (only zeros)")
        if (known[:, 1:] > known[:, :-1]).any():
            raise ValueError("IntentClassifier: a row has a word behind a zero; expected its words, then zeros")
        y, _ = self.recurrent(self.drop(self.embedding(x)), lengths=lengths)
        y = self.drop(y)
        whole = where(as_tensor(known[:, :, None]), y, -1e4).amax(1)
        return self.intent(whole), self.tag(y)


def action_loss(prediction, target):
    """prediction: scores (N, intents), (N, T, tags); target: integers (N, 1 + T), the intent and the tags, -100 for
    padding -> a scalar: the cross-entropy of both.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn.models.intent import action_loss
    >>> round(action_loss((fnn.zeros(1, 2), fnn.zeros(1, 1, 2)), fnn.tensor([[0, 1]])).item(), 4)
    1.3863
    """
    intents, tags = prediction
    return F.cross_entropy(intents, target[:, 0]) + F.cross_entropy(tags.transpose(1, 2), target[:, 1:])
