"""Convolution and its gradients in float64 by NumPy: one matrix product per kernel tap, images as (N, H, W, C).

The largest case, 7 GFLOP, takes less than a second that way, so answers are compared whole and not by samples.
`depthwise`: as many groups as channels, w is (C, 1, R, S).
"""

from collections.abc import Iterator

import numpy as np

Slices = tuple[slice, ...]


def _taps(w: np.ndarray, out: tuple[int, ...], stride: int, dilation: int) -> Iterator[tuple[np.ndarray, Slices]]:
    """Per tap its weights (K, C), a view, and where it reads in the padded image."""
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            first = i * dilation, j * dilation
            places = (slice(at, at + stride * (n - 1) + 1, stride) for at, n in zip(first, out, strict=True))
            yield w[:, :, i, j], (slice(None), *places)


def _padded(x: np.ndarray, padding: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _rows(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) as (NHW, C): one large product is faster than N H small ones."""
    return x.reshape(-1, x.shape[-1])


def forward(
    x: np.ndarray, w: np.ndarray, stride: int, padding: int, depthwise: bool = False, dilation: int = 1
) -> np.ndarray:
    """y (N, P, Q, K) of x (N, H, W, C) and w (K, C, R, S)."""
    x = _padded(x, padding)
    reach = (dilation * (k - 1) + 1 for k in w.shape[2:])
    height, width = ((size - r) // stride + 1 for size, r in zip(x.shape[1:3], reach, strict=True))
    y = np.zeros((len(x), height, width, len(w)))
    for tap, place in _taps(w, (height, width), stride, dilation):
        y += x[place] * tap[:, 0] if depthwise else (_rows(x[place]) @ tap.T).reshape(y.shape)
    return y


def input_gradient(
    dy: np.ndarray,
    w: np.ndarray,
    size: tuple[int, int],
    stride: int,
    padding: int,
    depthwise: bool = False,
    dilation: int = 1,
) -> np.ndarray:
    """dx (N, *size, C) of dy (N, P, Q, K): also what a transposed convolution computes."""
    channels = len(w) if depthwise else w.shape[1]
    dx = np.zeros((len(dy), size[0] + 2 * padding, size[1] + 2 * padding, channels))
    for tap, place in _taps(w, dy.shape[1:3], stride, dilation):
        dx[place] += dy * tap[:, 0] if depthwise else (_rows(dy) @ tap).reshape(*dy.shape[:3], channels)
    return dx[:, padding : padding + size[0], padding : padding + size[1]]


def weight_gradient(
    dy: np.ndarray,
    x: np.ndarray,
    shape: tuple[int, ...],
    stride: int,
    padding: int,
    depthwise: bool = False,
    dilation: int = 1,
) -> np.ndarray:
    """dw, of w's shape."""
    dw = np.zeros(shape)
    x = _padded(x, padding)
    for tap, place in _taps(dw, dy.shape[1:3], stride, dilation):
        if depthwise:
            tap[:, 0] = np.einsum("nhwc,nhwc->c", x[place], dy)
        else:
            tap[...] = _rows(dy).T @ _rows(x[place])
    return dw


def channels_last(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as (N, H, W, C), a copy in float64."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1), np.float64)


def channels_first(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) seen as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)
