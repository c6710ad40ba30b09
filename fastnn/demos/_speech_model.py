"""What the speech demo keeps in a file: the recogniser, how its features are scaled, and the texts it reads by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn.models.speech import SpeechRecognizer

from .._cli import CommandError
from ._spanish import LETTERS, RATE
from ._speech import BANDS, HOP, Reader, Scale, greedy, log_mel, outputs
from ._weights import check_finite

KIND = f"fastnn speech demo, frames of {1000 * HOP:g} ms"


@dataclass
class Recognizer:
    """A trained recogniser: sound goes in, text comes out."""

    net: SpeechRecognizer
    scale: Scale
    known: list[str]  # texts of the training, for the language model

    def __post_init__(self) -> None:
        self.read = Reader(self.known)

    @classmethod
    def new(cls, streaming: bool, scale: Scale, known: list[str]) -> "Recognizer":
        """Return one that has learned nothing; `streaming`: it hears without waiting for the end."""
        hidden = 192 if streaming else 128
        net = SpeechRecognizer(
            len(LETTERS) + 1, BANDS, hidden=hidden, layers=2, bidirectional=not streaming, dropout=0.3
        )
        return cls(net, scale, known)

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """samples: (n,) at RATE -> (frames, BANDS)."""
        return log_mel()(samples)

    def hear(self, samples: np.ndarray) -> tuple[np.ndarray, str]:
        """samples: (n,) at RATE -> log-probabilities (steps, classes) and the text."""
        (log_probs,) = outputs(self.net, self.scale, [self.frames(samples)])
        return log_probs, self.read(log_probs)

    def stream(self, samples: np.ndarray, seconds: float):
        """Hear a recording in chunks: yields after each one the time and the text so far."""
        mel, state, heard = log_mel(), None, [np.zeros((0, len(LETTERS) + 1), np.float32)]
        size = max(1, round(min(seconds * RATE, len(samples))))
        with fnn.no_grad():
            for at in range(0, len(samples), size):
                frames = mel.push(samples[at : at + size])
                if len(frames):
                    y, state = self.net.step(frames[None], state)
                    heard.append(y.numpy()[0])
                yield min(at + size, len(samples)) / RATE, greedy(np.concatenate(heard))

    def save(self, file: Path) -> None:
        """Write everything to a file."""
        scale = {"mean": self.scale.mean.astype(np.float32), "std": self.scale.std.astype(np.float32)}
        streaming = not self.net.bidirectional
        saved = {"kind": KIND, "streaming": streaming, "known": self.known, **scale, "net": self.net.state_dict()}
        fnn.save(saved, file)

    @classmethod
    def load(cls, file: str) -> "Recognizer":
        """Read one from a file."""
        saved = fnn.load(file)
        if not isinstance(saved, dict) or saved.get("kind") != KIND:
            raise CommandError(f"{file} is not a model of the speech demo")
        try:
            streaming, known = bool(saved["streaming"]), [str(text) for text in saved["known"]]
            mean, std = (saved[name].numpy() for name in ("mean", "std"))
            made = cls.new(streaming, Scale(mean, std, not streaming), known)
            made.net.load_state_dict(saved["net"])
            check_finite(made.net)
            if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
                raise ValueError("its features are scaled by 0, or by what is no number")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CommandError(f"{file} is a damaged model of the speech demo: {error}") from None
        made.net.eval()
        return made
