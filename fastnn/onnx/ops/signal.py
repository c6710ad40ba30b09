"""Fourier transforms and windows, in NumPy on the host; complex numbers are pairs in the last axis."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .._registry import op
from .._values import array, check_size, scalar, value
from .cast import numpy_type


def _complex(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0]


def _pairs(z: np.ndarray, dtype: np.dtype) -> Any:
    return value(np.stack([z.real, z.imag], -1).astype(dtype))


def _transformed(x: np.ndarray, length: Any, axis: int, inverse: int, onesided: int) -> Any:
    axis = axis + x.ndim if axis < 0 else axis
    z = _complex(x)
    if axis >= z.ndim:
        raise ValueError(f"DFT: axis {axis} of {x.shape}; the last holds real and imaginary parts")
    n = None if length is None else int(scalar(length))
    if n is not None:
        check_size("DFT", [n], 16)
    if onesided and inverse:
        return value(np.fft.irfft(z, n, axis)[..., None].astype(x.dtype))
    if onesided:
        return _pairs(np.fft.rfft(z.real, n, axis), x.dtype)
    return _pairs((np.fft.ifft if inverse else np.fft.fft)(z, n, axis), x.dtype)


@op("DFT", since=20)
def dft(x: Any, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0) -> Any:
    """The discrete Fourier transform along an axis."""
    return _transformed(array(x), length, int(scalar(axis, -2)), inverse, onesided)


@op("DFT", until=19)
def old_dft(x: Any, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Any:
    """The discrete Fourier transform along an axis."""
    return _transformed(array(x), length, axis, inverse, onesided)


@op("STFT")
def stft(x: Any, step: Any, window: Any = None, length: Any = None, *, onesided: int = 1) -> Any:
    """Fourier transforms of windowed frames: (B, frames, frequencies, 2)."""
    data = array(x)
    z = _complex(data if data.ndim == 3 else data[..., None])
    n = int(scalar(length, z.shape[1] if window is None else window.shape[0]))
    hop = int(scalar(step))
    if n < 1 or hop < 1 or n > z.shape[1]:
        raise ValueError(f"STFT: frames of {n} by {hop} over {z.shape[1]} samples")
    frames = np.lib.stride_tricks.sliding_window_view(z, n, 1)[:, ::hop]
    frames = frames if window is None else frames * array(window)
    if onesided and not np.iscomplexobj(frames):
        return _pairs(np.fft.rfft(frames, axis=-1), data.dtype)
    full = np.fft.fft(frames, axis=-1)
    return _pairs(full[..., : n // 2 + 1] if onesided else full, data.dtype)


def _window(name: str, shape: Callable) -> None:
    def run(size: Any, *, output_datatype: int = 1, periodic: int = 1) -> Any:
        n = int(scalar(size))
        check_size(name, [n], 8)
        angle = 2 * np.pi * np.arange(n) / (n if periodic else max(n - 1, 1))
        return value(shape(angle).astype(numpy_type(output_datatype)))

    op(name)(run)


_window("HannWindow", lambda a: 0.5 - 0.5 * np.cos(a))
_window("HammingWindow", lambda a: 25 / 46 - 21 / 46 * np.cos(a))
_window("BlackmanWindow", lambda a: 0.42 - 0.5 * np.cos(a) + 0.08 * np.cos(2 * a))


@op("MelWeightMatrix")
def mel_weight_matrix(bins: Any, length: Any, rate: Any, low: Any, high: Any, *, output_datatype: int = 1) -> Any:
    """Triangles over the bins of a spectrum, evenly spaced in mels: (length // 2 + 1, bins)."""
    count, n, samples = int(scalar(bins)), int(scalar(length)), scalar(rate)
    check_size("MelWeightMatrix", (n // 2 + 1, count), 8)
    ends = 2595 * np.log10(1 + np.array([scalar(low), scalar(high)], np.float64) / 700)
    mels = ends[0] + np.arange(count + 2) * (ends[1] - ends[0]) / (count + 2)
    edges = np.floor((n + 1) * 700 * (10 ** (mels / 2595) - 1) / samples).astype(np.int64)
    out = np.zeros((n // 2 + 1, count))
    for i in range(count):
        lower, centre, upper = edges[i : i + 3]
        if centre == lower:
            out[centre, i] = 1
        else:
            rise = np.arange(lower, centre + 1)
            out[rise, i] = (rise - lower) / (centre - lower)
        if upper > centre:
            fall = np.arange(centre, upper)
            out[fall, i] = (upper - fall) / (upper - centre)
    return value(out.astype(numpy_type(output_datatype)))
