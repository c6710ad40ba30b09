"""Spoken digits by voices never heard: the Free Spoken Digit Dataset, one speaker held out at a time.

The network is the demo's recogniser, small; each digit is a letter of its alphabet, and a recording says one of them.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import audio
from fastnn.models.speech import SpeechRecognizer
from fastnn.nn import functional as F

from .._cli import CommandError
from . import _speech
from ._spanish import trimmed

RATE = 8000
NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")
SPEEDS = (0.85, 1.0, 1.15)
WARP = 0.15  # a voice's bands are stretched by so much at most: speakers differ in size


@dataclass
class Digit:
    """One recording: what is said, by whom, and its features at each speed."""

    digit: int
    speaker: str
    frames: list[np.ndarray]


def files(folder: Path) -> list[Path]:
    """Return the recordings of a folder, named digit_speaker_number.wav."""
    return sorted(file for file in folder.glob("*.wav") if NAME.fullmatch(file.name))


def recordings(folder: Path) -> list[Digit]:
    """Read them all."""
    found = []
    for file in files(folder):
        digit, _, rest = file.stem.partition("_")
        speaker = rest.rpartition("_")[0]
        found.append(Digit(int(digit), speaker, _speech.features(listen(file), SPEEDS, RATE)))
    return found


def listen(file: Path) -> np.ndarray:
    """Return a recording at RATE, silence cut off."""
    try:
        samples, rate = audio.read_wav(file)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return trimmed(audio.resample(samples, rate, RATE))


def learn(digits: list[Digit], epochs: int, seed: int) -> tuple[SpeechRecognizer, _speech.Scale, fnn.fit]:
    """Train a small recogniser on recordings."""
    fnn.manual_seed(seed)
    net = SpeechRecognizer(11, _speech.BANDS, channels=(48, 64), hidden=64, layers=1, dropout=0.3)
    scale = _speech.Scale.of([d.frames[1] for d in digits], own_mean=True)
    clips = [_speech.Heard(d.frames, np.array([d.digit + 1])) for d in digits]
    batches = _speech.Batches(clips, scale, np.random.default_rng(seed), warp=WARP)
    return net, scale, _speech.train(net, batches, epochs, seed, rate=4e-3)


def read(net: SpeechRecognizer, scale: _speech.Scale, digits: list[Digit]) -> np.ndarray:
    """Return the likeliest digit of each recording, of all its alignments together."""
    said = []
    for y in _speech.outputs(net, scale, [d.frames[1] for d in digits]):
        ten = fnn.tensor(np.repeat(y[:, None], 10, 1))
        loss = F.ctc_loss(ten, np.arange(1, 11)[:, None], [len(y)] * 10, [1] * 10, reduction="none")
        said.append(int(loss.numpy().argmin()))
    return np.array(said)


def nearest(learned: list[Digit], asked: list[Digit]) -> np.ndarray:
    """Return the baseline's answers: the digit whose average picture, of 12 moments, is nearest."""

    def picture(d: Digit) -> np.ndarray:
        f = d.frames[1]
        f = f[np.linspace(0, len(f) - 1, 12).astype(int)]
        return (f - f.mean(0)).ravel()

    average = np.stack([np.mean([picture(d) for d in learned if d.digit == i], 0) for i in range(10)])
    return np.array([((average - picture(d)) ** 2).sum(1).argmin() for d in asked])


def study(digits: list[Digit], epochs: int, seed: int) -> dict[str, tuple[float, float]]:
    """Leave each speaker out in turn; print and return the accuracy of the nearest average and of the network."""
    speakers = sorted({d.speaker for d in digits})
    if len(speakers) < 2:
        raise CommandError(f"the recordings are of one speaker, {speakers[0]}; holding one out needs two")
    found = {}
    print(f"{'speaker never heard':<22}{'recordings':>11}{'nearest average':>18}{'fastnn':>10}{'time':>9}")
    for speaker in speakers:
        start = time.perf_counter()
        learned = [d for d in digits if d.speaker != speaker]
        asked = [d for d in digits if d.speaker == speaker]
        true = np.array([d.digit for d in asked])
        net, scale, _ = learn(learned, epochs, seed)
        simple, right = ((answer == true).mean() for answer in (nearest(learned, asked), read(net, scale, asked)))
        found[speaker] = simple, right
        seconds = time.perf_counter() - start
        print(f"{speaker:<22}{len(asked):>11}{100 * simple:>16.1f} %{100 * right:>8.1f} %{seconds:>7.1f} s", flush=True)
    simple, right = np.mean(list(found.values()), 0)
    print(f"{'mean':<22}{len(digits):>11}{100 * simple:>16.1f} %{100 * right:>8.1f} %")
    return found
