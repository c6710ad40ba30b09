"""Speech to letters: two strided convolutions, recurrent layers, and at each of the frames that are left a class.

frames ---> [ conv 5, stride 2 | ReLU ] x 2 ---> [ GRU or LSTM ] x layers ---> [ dense | log-softmax ] ---> CTC
(N, T, bands)                     (N, T / 4, channels)              (N, T / 4, classes)

The convolutions look back, never ahead: without the backward half of a bidirectional network, sound can be heard as it
comes.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._ops import Tensor, as_tensor, cat, zeros
from ..nn import GRU, LSTM, Conv1d, Dropout, LayerNorm, Linear, Module
from ..nn import functional as F
from ._sizes import positive

KERNEL, STRIDE = 5, 2
BACK = KERNEL - STRIDE  # frames of the past that a convolution needs


class Heard(NamedTuple):
    """What a recogniser remembers between two chunks of sound."""

    waiting: Tensor  # (N, < 4, bands): frames that do not fill a step yet
    first: Tensor  # (N, 3, bands): the last frames before them
    second: Tensor  # (N, 3, channels[0]): the last of the first convolution
    recurrent: Any


class SpeechRecognizer(Module):
    """A network that says at every fourth frame which letter it hears, trained by CTC.

    Parameters
    ----------
    classes : int
        Letters and the blank.
    bands : int
        Of the features, see `fastnn.audio.LogMel`.
    channels : (int, int)
        Of the two convolutions.
    hidden, layers : int
        Of the recurrent part.
    cell : {"gru", "lstm"}
    bidirectional : bool
        Whether it is also read from the end, which hears better and cannot be done while somebody speaks.
    dropout : float
        Before, between and behind the recurrent layers.

    Attributes
    ----------
    mean, std : Tensor (bands,)
        What features are normalised by; set them to those of the training data.

    Raises
    ------
    ValueError, TypeError
        If the cell is another, channels are not two, or sizes are too small or no integers.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.SpeechRecognizer(30, bands=8, channels=(8, 16), hidden=16)
    >>> log_probs, lengths = net(fnn.zeros(2, 41, 8), [41, 20])
    >>> log_probs.shape, lengths.tolist()
    ((10, 2, 30), [10, 5])
    """

    def __init__(
        self,
        classes: int,
        bands: int = 40,
        channels: Sequence[int] = (96, 128),
        hidden: int = 128,
        layers: int = 2,
        cell: str = "gru",
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        kinds = {"gru": GRU, "lstm": LSTM}
        if cell not in kinds:
            raise ValueError(f"SpeechRecognizer: cell must be 'gru' or 'lstm', got {cell!r}")
        channels = positive("SpeechRecognizer", channels=channels, bands=bands)
        if len(channels) != 2:
            raise ValueError(f"SpeechRecognizer: channels must be two, got {list(channels)}")
        self.bands, self.bidirectional = bands, bool(bidirectional)
        self.first = Conv1d(bands, channels[0], KERNEL, STRIDE)
        self.second = Conv1d(channels[0], channels[1], KERNEL, STRIDE)
        self.norm = LayerNorm(channels[1])
        self.drop = Dropout(dropout)
        self.recurrent = kinds[cell](
            channels[1],
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.out = Linear(hidden * (2 if bidirectional else 1), classes)
        self.register_buffer("mean", zeros(bands))
        self.register_buffer("std", zeros(bands) + 1)

    def forward(self, x, lengths=None):
        """x: (N, T, bands); lengths: (N,), all T by default -> log-probabilities (T // 4, N, classes) and their
        lengths (N,)."""
        x, lengths = self._checked(x, lengths)
        known = np.arange(x.shape[1]) < lengths[:, None]
        x = (x - self.mean) / self.std * as_tensor(known[:, :, None].astype(self.mean.data.dtype))
        x = F.relu(self._convolved(self.first, zeros(len(x), BACK, self.bands), x))
        x = F.relu(self._convolved(self.second, zeros(len(x), BACK, x.shape[2]), x))
        lengths = lengths // STRIDE**2
        y, _ = self.recurrent(self.drop(self.norm(x)), lengths=lengths)
        return F.log_softmax(self.out(self.drop(y)), -1).transpose(0, 1), lengths

    def start(self, batch: int = 1) -> Heard:
        """Return the state before the first frame."""
        width = self.first.weight.shape[0]
        return Heard(zeros(batch, 0, self.bands), zeros(batch, BACK, self.bands), zeros(batch, BACK, width), None)

    def step(self, x, state: Heard | None = None):
        """x: (N, k, bands), the next frames, as many as there are -> log-probabilities (N, j, classes) of the steps
        that are now complete, and the new state.

        Raises
        ------
        ValueError
            If the network is bidirectional: it would need the end of what is said; or if x is of another shape.
        """
        if self.bidirectional:
            raise ValueError("SpeechRecognizer.step: a bidirectional network needs the whole recording")
        x = as_tensor(x)
        batch = "N" if state is None else len(state.waiting)
        if x.ndim != 3 or x.shape[2] != self.bands or batch not in ("N", len(x)):
            raise ValueError(f"SpeechRecognizer.step: x is {x.shape}; expected ({batch}, k, {self.bands})")
        state = self.start(len(x)) if state is None else state
        x = cat([state.waiting, (x - self.mean) / self.std], 1)
        count = x.shape[1] // STRIDE**2 * STRIDE**2
        waiting, x = x[:, count:], x[:, :count]
        if count == 0:
            return zeros(len(x), 0, self.out.weight.shape[0]), state._replace(waiting=waiting)
        y = F.relu(self._convolved(self.first, state.first, x))
        z = F.relu(self._convolved(self.second, state.second, y))
        z, recurrent = self.recurrent(self.norm(z), state.recurrent)
        first, second = (cat([before, now], 1)[:, -BACK:] for before, now in ((state.first, x), (state.second, y)))
        return F.log_softmax(self.out(z), -1), Heard(waiting, first, second, recurrent)

    def _checked(self, x, lengths) -> tuple[Tensor, np.ndarray]:
        x = as_tensor(x)
        if x.ndim != 3 or x.shape[2] != self.bands or x.shape[1] < STRIDE**2:
            raise ValueError(
                f"SpeechRecognizer: x is {x.shape}; expected (N, T, {self.bands}) with at least {STRIDE**2} frames"
            )
        if lengths is None:
            return x, np.full(len(x), x.shape[1])
        lengths = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
        if lengths.shape != (len(x),) or lengths.dtype.kind not in "iu":
            raise ValueError(
                f"SpeechRecognizer: lengths are {lengths.dtype} of shape {lengths.shape}; expected integers ({len(x)},)"
            )
        if len(x) and not STRIDE**2 <= lengths.min() <= lengths.max() <= x.shape[1]:
            found = f"{lengths.min()} to {lengths.max()}"
            raise ValueError(f"SpeechRecognizer: lengths from {found}; expected {STRIDE**2} to {x.shape[1]}")
        return x, lengths

    @staticmethod
    def _convolved(layer: Conv1d, before: Tensor, x: Tensor) -> Tensor:
        """x: (N, T, C), behind `before` (N, 3, C) -> (N, T // 2, F)."""
        return layer(cat([before, x], 1).transpose(1, 2)).transpose(1, 2)


def text_loss(prediction, target):
    """prediction: (log-probabilities (T, N, C), lengths (N,)); target: (texts (N, S), lengths (N,)) -> a scalar.

    The CTC loss over the length of each text; a text that is too long for its frames counts for nothing.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn.models.speech import text_loss
    >>> frames = fnn.log_softmax(fnn.zeros(2, 1, 2), -1)
    >>> round(text_loss((frames, [2]), ([[1]], [1])).item(), 4)
    0.2877
    """
    return F.ctc_loss(prediction[0], target[0], prediction[1], target[1], zero_infinity=True)
