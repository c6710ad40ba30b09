"""Sound for networks: WAV files in, log-mel features out, whole or in chunks.

    samples ---> windows of 25 ms, every 10 ms ---> |FFT|^2 ---> triangles on the mel scale ---> log
    (n,)         (frames, 400)                      (frames, 257)   (frames, bands)

A chunk of samples gives the frames that are complete; the rest of the samples waits for the next chunk.
"""

import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ._checks import integer, number

__all__ = ["LogMel", "mel_filters", "read_wav", "resample"]

MOST_SECONDS = 3600  # of a file that is read at once
PCM, IEEE_FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN = {2**32 - 1, 2**31, 2**31 - 1, 2**31 - 4096}  # bytes of samples, as written into pipes: all there are
ZEROS = 16  # crossings of zero on each side of the resampling filter
PHASES = 256  # of that filter, made at a time
TALLEST = float(np.i0(8.0))  # what its Kaiser window is divided by


def read_wav(file: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Read a WAV file as one channel of numbers from -1 to 1.

    Understood are whole numbers of 8, 16, 24 and 32 bits and floating-point numbers of 32 and 64; channels are
    averaged.

    Parameters
    ----------
    file : path

    Returns
    -------
    samples : ndarray of float32, shape (n,)
    rate : int
        Samples a second.

    Raises
    ------
    ValueError
        If the file is no WAV file, has no samples, ends before they do, or is of a kind that is not understood; the
        message says which.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile, wave
    >>> from fastnn import audio
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with wave.open(folder + "/a.wav", "wb") as w:
    ...         w.setparams((1, 2, 8000, 0, "NONE", ""))
    ...         _ = w.writeframes(b"\\x00\\x40" * 80)
    ...     samples, rate = audio.read_wav(folder + "/a.wav")
    >>> samples.shape, rate, float(samples[0])
    ((80,), 8000, 0.5)
    """
    name = Path(file)
    data = name.read_bytes()
    if len(data) == 0:
        raise ValueError(f"read_wav: {name} is empty")
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError(f"read_wav: {name} is no WAV file (it does not begin with RIFF and WAVE)")
    format_, body = _chunks(name, data)
    kind, channels, rate, bits = format_
    width = bits // 8
    frames = len(body) // (width * channels)
    if frames == 0:
        raise ValueError(f"read_wav: {name} has no samples")
    if frames > MOST_SECONDS * rate:
        raise ValueError(f"read_wav: {name} lasts {frames / rate:.0f} s; at most {MOST_SECONDS} s are read at once")
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 becomes infinite
        samples = _numbers(body[: frames * width * channels], kind, width)
        samples = samples.reshape(frames, channels).mean(1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise ValueError(f"read_wav: {name} has samples that are infinite or not a number")
    return np.ascontiguousarray(samples), rate


def _chunks(name: Path, data: bytes) -> tuple[tuple[int, int, int, int], bytes]:
    """Return what the file says of its samples, (kind, channels, rate, bits), and their bytes."""
    at, format_ = 12, None
    while at + 8 <= len(data):
        tag, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        start, at = at + 8, at + 8 + size + size % 2
        if tag == b"fmt ":
            format_ = _format(name, data[start : start + size])
        elif tag == b"data":
            if format_ is None:
                raise ValueError(f"read_wav: {name} does not say what its samples are (no fmt before data)")
            if size in UNKNOWN and start + size > len(data):  # its writer could not come back to say how much it was
                size = len(data) - start
            if start + size > len(data):
                raise ValueError(
                    f"read_wav: {name} is cut off: {len(data) - start} bytes of samples where it says {size}"
                )
            return format_, data[start : start + size]
    raise ValueError(f"read_wav: {name} is cut off or damaged: it has no samples (no data chunk)")


def _format(name: Path, text: bytes) -> tuple[int, int, int, int]:
    """Read a fmt chunk: (kind, channels, rate, bits)."""
    if len(text) < 16:
        raise ValueError(f"read_wav: {name} is damaged: its fmt chunk has {len(text)} bytes, expected 16 or more")
    kind, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", text)
    if kind == EXTENSIBLE and len(text) >= 26:
        kind = struct.unpack_from("<H", text, 24)[0]
    if (kind, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (IEEE_FLOAT, 32), (IEEE_FLOAT, 64)}:
        raise ValueError(
            f"read_wav: {name} is of format {kind} with {bits} bits; understood are PCM (1) of 8, 16, 24 and 32 bits "
            f"and floating point (3) of 32 and 64"
        )
    if not (1 <= channels <= 256 and 1 <= rate <= 10**7):
        raise ValueError(f"read_wav: {name} is damaged: {channels} channels at {rate} samples a second")
    if align not in (0, channels * bits // 8):  # as 24 bits in four bytes, which would be read as noise
        raise ValueError(f"read_wav: {name} has {channels} channels of {bits} bits in {align} bytes; expected no gaps")
    return kind, channels, rate, bits


def _numbers(body: bytes, kind: int, width: int) -> np.ndarray:
    """Return samples as float32, whole numbers scaled to [-1, 1)."""
    if kind == IEEE_FLOAT:
        return np.frombuffer(body, f"<f{width}").astype(np.float32)
    if width == 1:  # the only one without a sign
        return (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        three = np.frombuffer(body, np.uint8).reshape(-1, 3)
        whole = np.zeros((len(three), 4), np.uint8)
        whole[:, 1:] = three
        return (whole.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
    return (np.frombuffer(body, f"<i{width}") / 2.0 ** (8 * width - 1)).astype(np.float32)


def _samples(function: str, samples: Any) -> np.ndarray:
    """Return (n,) as float32."""
    x = np.asarray(samples)
    if x.ndim != 1 or x.dtype.kind not in "fiu":
        raise ValueError(f"{function}: samples are {x.dtype} of shape {x.shape}; expected numbers (n,)")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        return x.astype(np.float32, copy=False)


def resample(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Bring sound to another number of samples a second.

    Each new sample is the product of a window of old ones with a sinc, whose cut lies at the lower of the two bands and
    which a Kaiser window lets fade after 16 crossings of zero: half an octave above it nothing is left (90 dB).

    Parameters
    ----------
    samples : ndarray, shape (n,)
    rate, to : int
        Samples a second, before and after.

    Returns
    -------
    ndarray of float32, shape (ceil(n * to / rate),)

    Raises
    ------
    TypeError
        If a rate is no whole number.
    ValueError
        If the samples have not one dimension, or a rate is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import audio
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(44100) / 44100)
    >>> audio.resample(tone, 44100, 16000).shape
    (16000,)
    """
    x = _samples("resample", samples)
    rate, to = integer("resample", "rate", rate), integer("resample", "to", to)
    if rate == to or len(x) == 0:
        return x.copy()
    common = math.gcd(rate, to)
    up, down = to // common, rate // common
    cut = min(1.0, up / down)  # of the old band
    half = math.ceil(ZEROS / cut)
    reach = min(half, len(x))  # of a wide filter only what lies over a sample, or a few samples would ask for gigabytes
    count = -(-len(x) * up // down)
    y = np.empty(count, np.float32)
    padded = np.pad(x, (reach, reach + 1))
    offsets = np.arange(-reach, reach + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    for start in range(0, min(up, count), PHASES):
        phases = np.arange(start, min(start + PHASES, up, count))
        firsts, fractions = np.divmod(phases * down, up)
        distance = offsets - fractions[:, None] / up
        taper = np.i0(8.0 * np.sqrt(np.maximum(0, 1 - (distance / (half + 1)) ** 2))) / TALLEST
        taps = (cut * np.sinc(cut * distance) * taper).astype(np.float32)
        for phase, first, tap in zip(phases, firsts, taps):  # phase, phase + up, ... lie alike between old samples
            y[phase::up] = windows[first::down][: len(y[phase::up])] @ tap
    return y


def mel_filters(bands: int, size: int, rate: int, low: float = 0.0, high: float | None = None) -> np.ndarray:
    """Return triangles that overlap by half, equally wide on the mel scale m = 2595 log10(1 + f / 700).

    Parameters
    ----------
    bands : int
    size : int
        Of the Fourier transform, whose frequencies are i * rate / size.
    rate : int
    low, high : float
        Where the first begins and the last ends, in Hz; high is half the rate by default.

    Returns
    -------
    ndarray of float64, shape (size // 2 + 1, bands)

    Raises
    ------
    ValueError
        If the band is empty or reaches above half the rate, there are no bands, or `size` is below 2.

    References
    ----------
    Stevens, Volkmann, Newman, "A scale for the measurement of the psychological magnitude pitch", 1937; the formula is
    O'Shaughnessy's, 1987.

    Examples
    --------
    >>> from fastnn import audio
    >>> audio.mel_filters(40, 512, 16000).shape
    (257, 40)
    """
    high = rate / 2 if high is None else high
    if bands < 1 or size < 2 or not 0 <= low < high <= rate / 2:
        raise ValueError(
            f"mel_filters: {bands} bands from {low} to {high} Hz, size {size}; expected at least 1 band, "
            f"0 <= low < high <= {rate / 2} and a size of at least 2"
        )
    lowest, highest = (2595 * math.log10(1 + hertz / 700) for hertz in (low, high))
    mels = np.linspace(lowest, highest, bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequency = np.arange(size // 2 + 1)[:, None] * rate / size
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequency - left) / (middle - left), (right - frequency) / (right - middle)
    return np.maximum(0, np.minimum(rising, falling))


class LogMel:
    """Log-mel features: for every 10 ms, how much of each of `bands` pitches there is.

    Called with samples it gives the frames of a whole recording; `push` takes the same recording chunk by chunk, and
    the frames are the same bits.

    Parameters
    ----------
    rate : int
        Samples a second.
    bands : int
    window, hop : float
        Seconds that a frame looks at, and from one frame to the next.
    low, high : float
        The band in Hz; up to half the rate by default.
    floor : float
        Added to the energies before the logarithm, so that silence is a number.

    Raises
    ------
    TypeError
        If one is no number, or `bands` no integer.
    ValueError
        If the numbers make no sense; when called, if samples have not one dimension or are not finite.

    Notes
    -----
    Samples are numbers from -1 to 1, as `read_wav` gives them: who has 16-bit numbers divides them by 32768. Frame i is
    made of the samples from i * round(hop * rate) on, by a Hann window and a Fourier transform of the next power of
    two; n samples give (n - window) // hop + 1 frames, none if there are fewer than a window's. A recording that is
    shorter than a window is padded with silence when it is given as a whole.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import audio
    >>> mel = audio.LogMel(16000)
    >>> mel(np.zeros(16000)).shape
    (98, 40)
    >>> [len(mel.push(np.zeros(n))) for n in (300, 300, 300)]
    [0, 2, 2]
    """

    def __init__(
        self,
        rate: int,
        bands: int = 40,
        window: float = 0.025,
        hop: float = 0.01,
        low: float = 20.0,
        high: float | None = None,
        floor: float = 1e-6,
    ) -> None:
        for name, value in (("rate", rate), ("window", window), ("hop", hop), ("floor", floor)):
            number("LogMel", name, value)
        self.rate, self.bands, self.floor = rate, integer("LogMel", "bands", bands), floor
        finite = window < math.inf and hop < math.inf and rate < math.inf  # and no NaN
        self.length, self.step = (round(window * rate), round(hop * rate)) if finite else (0, 0)
        if not 1 <= rate < math.inf or self.length < 2 or not 1 <= self.step <= self.length or not 0 < floor < math.inf:
            raise ValueError(
                f"LogMel: windows of {window} s every {hop} s at {rate} samples a second, floor {floor}; expected at "
                f"least two samples a window, 0 < hop <= window and a positive floor, all finite"
            )
        self.size = 1 << (self.length - 1).bit_length()
        self.taper = (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(self.length) + 0.5) / self.length)).astype(np.float32)
        self.filters = mel_filters(bands, self.size, rate, low, high)
        self.waiting = np.zeros(0, np.float32)

    def __call__(self, samples: Any) -> np.ndarray:
        """samples: (n,) -> (frames, bands), at least one frame."""
        x = self._checked(samples)
        return self._frames(x if len(x) >= self.length else np.pad(x, (0, self.length - len(x))))

    def push(self, chunk: Any) -> np.ndarray:
        """chunk: (n,), the next samples -> (frames, bands), those that are now complete."""
        x = np.concatenate([self.waiting, self._checked(chunk)])
        count = max(0, (len(x) - self.length) // self.step + 1)
        self.waiting = x[count * self.step :].copy()  # not a view that keeps all of the chunk
        return self._frames(x) if count else np.zeros((0, self.bands), np.float32)

    def reset(self) -> None:
        """Forget the samples that wait for more."""
        self.waiting = np.zeros(0, np.float32)

    def _checked(self, samples: Any) -> np.ndarray:
        x = _samples("LogMel", samples)
        if not np.isfinite(x).all():
            raise ValueError("LogMel: samples are infinite or not a number")
        return x

    def _frames(self, x: np.ndarray) -> np.ndarray:
        """Frame by frame the same arithmetic, so that the bits do not depend on how many come at once."""
        windows = np.lib.stride_tricks.sliding_window_view(x, self.length)[:: self.step] * self.taper
        power = np.abs(np.fft.rfft(windows, self.size)).astype(np.float64) ** 2
        energy = np.stack([row @ self.filters for row in power])
        return np.log(energy + self.floor).astype(np.float32)
