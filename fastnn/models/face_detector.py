"""A small face detector: a classifier of 26 x 26 windows made of convolutions only, slid over a picture.

    window 26 ---> conv 24 ---> pool 12 ---> conv 10 ---> pool 5 ---> conv 3 ---> conv 1: how much it is a face

Nothing in it is bound to 26 pixels: on a larger picture it gives a map with one answer for every fourth pixel, as if
the window had been slid, at a fraction of the work. Faces of other sizes are found by shrinking the picture in steps.
"""

from collections.abc import Sequence

import numpy as np

from .. import _ops
from .._tape import no_grad
from ..nn import BatchNorm2d, Conv2d, Dropout, MaxPool2d, Module, ReLU, Sequential
from ..nn import functional as F
from ..nn._evaluating import evaluating
from ._boxes import nms
from ._sizes import positive

WINDOW, STRIDE = 26, 4


class FaceDetector(Module):
    """Says of each window of a grey picture whether it is a face, and finds faces in whole pictures.

    Parameters
    ----------
    channels : (int, int, int)
        Feature maps of the three convolutions.
    dropout : float
        The share of the last maps that is dropped in training.

    Raises
    ------
    ValueError, TypeError
        For numbers below one or no integers, and other than three.

    Notes
    -----
    x: (N, 1, H, W), grey values from -0.5 to 0.5, H and W at least 26; output: (N, 1, h, w) logits, where
    h = (H - 26) // 4 + 1.

    References
    ----------
    Rowley, Baluja, Kanade, "Neural network-based face detection", 1998; Sermanet and others, "OverFeat", 2013, for
    sliding by convolution.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.FaceDetector()
    >>> net(fnn.zeros(2, 1, 26, 26)).shape, net(fnn.zeros(1, 1, 46, 66)).shape
    ((2, 1, 1, 1), (1, 1, 6, 11))
    """

    def __init__(self, channels: Sequence[int] = (16, 32, 64), dropout: float = 0.3) -> None:
        channels = positive("FaceDetector", channels=channels)
        if len(channels) != 3:
            raise ValueError(f"FaceDetector: channels must be three, got {list(channels)}")
        first, second, third = channels
        self.net = Sequential(
            *(Conv2d(1, first, 3), BatchNorm2d(first), ReLU(), MaxPool2d(2)),
            *(Conv2d(first, second, 3), BatchNorm2d(second), ReLU(), MaxPool2d(2)),
            *(Conv2d(second, third, 3), BatchNorm2d(third), ReLU(), Dropout(dropout)),
            Conv2d(third, 1, 3),
        )

    def forward(self, x):
        """x: (N, 1, H, W) -> (N, 1, h, w)."""
        return self.net(x)

    def detect(
        self,
        picture: np.ndarray,
        smallest: int = 26,
        threshold: float = 0.9,
        factor: float = 0.8,
        overlap: float = 0.3,
        votes: int = 3,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find faces, in evaluation mode: the window slid over a pyramid of the picture, then non-maximum suppression.

        A face is found by many windows side by side and of neighbouring sizes, a mistake often by a single one: they
        vote, and a box is the mean of those that voted for it.

        Parameters
        ----------
        picture : ndarray, shape (H, W)
            Grey, floats from 0 to 1 or integers to 255.
        smallest : int
            Side of the smallest face to look for, in pixels.
        threshold : float
            The least probability that counts.
        factor : float
            By how much the picture shrinks from one level to the next.
        overlap : float
            Boxes that overlap a surer one by more than this part of the smaller are dropped.
        votes : int
            How many windows must agree on a face.

        Returns
        -------
        boxes : ndarray, shape (n, 4)
            Left, top, right, bottom in pixels of the picture, the surest first.
        scores : ndarray, shape (n,)
            Probabilities.

        Raises
        ------
        ValueError
            If the picture has another shape, or a number makes no sense.
        """
        picture = np.asarray(picture)
        levels = 255 if picture.dtype.kind in "iu" else 1
        picture = picture.astype(np.float32) / np.float32(levels)
        if picture.ndim != 2 or not picture.size:
            raise ValueError(f"FaceDetector.detect: picture must be (H, W), got {picture.shape}")
        if smallest < 1 or not 0.1 <= factor <= 0.95:
            raise ValueError(f"FaceDetector.detect: smallest at least 1, factor 0.1 to 0.95, got {smallest}, {factor}")
        image = _ops.from_numpy(picture[None, None] - np.float32(0.5))
        height, width = picture.shape
        scale, boxes, scores = WINDOW / smallest, [np.empty((0, 4))], [np.empty(0)]
        with evaluating(self), no_grad():
            while min(height, width) * scale >= WINDOW:
                size = (round(height * scale), round(width * scale))
                level = F.adaptive_avg_pool2d(image, size) if scale < 1 else F.interpolate(image, size, mode="bilinear")
                faces = _ops.sigmoid(self(level)).numpy()[0, 0]
                rows, columns = np.nonzero(faces >= threshold)
                corner = np.stack([columns, rows], 1) * STRIDE / scale
                boxes.append(np.concatenate([corner, corner + WINDOW / scale], 1))
                scores.append(faces[rows, columns])
                scale *= factor
        found, sure = np.concatenate(boxes), np.concatenate(scores)
        kept = nms(found, sure, overlap, of="smaller")
        agreeing = [_overlaps(found[i], found) > 0.4 for i in kept]
        faces = [(found[together].mean(0), sure[i]) for i, together in zip(kept, agreeing) if together.sum() >= votes]
        return np.array([box for box, _ in faces]).reshape(-1, 4), np.array([score for _, score in faces])


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the common area of a box and each of others, over that of both together."""
    size = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.maximum(size, 0).prod(1)
    return common / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - common)
