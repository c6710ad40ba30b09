"""MTCNN, three networks in a row that find faces: each looks closer at what the one before let through.

    picture ---> pyramid ---> P-Net on every 12 pixels ---> boxes ---> R-Net on 24 x 24 ---> boxes
                                                        ---> O-Net on 48 x 48 ---> boxes, scores, five points

Names and layouts are those of the facenet-pytorch package, so that its weights fit.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import _ops
from .._io import load
from .._tape import no_grad
from ..nn import Conv2d, Linear, MaxPool2d, Module, PReLU
from ..nn import functional as F
from ..nn._evaluating import evaluating
from ._boxes import nms

BATCH = 512  # crops that go through a network at once


class PNet(Module):
    """x: (N, 3, H, W), H and W at least 12 -> (box shifts (N, 4, h, w), probabilities (N, 2, h, w)), h about H / 2."""

    def __init__(self) -> None:
        self.conv1, self.prelu1 = Conv2d(3, 10, 3), PReLU(10)
        self.pool1 = MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = Conv2d(10, 16, 3), PReLU(16)
        self.conv3, self.prelu3 = Conv2d(16, 32, 3), PReLU(32)
        self.conv4_1, self.conv4_2 = Conv2d(32, 2, 1), Conv2d(32, 4, 1)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_2(x), F.softmax(self.conv4_1(x), 1)


class RNet(Module):
    """x: (N, 3, 24, 24) -> (box shifts (N, 4), probabilities (N, 2))."""

    def __init__(self) -> None:
        self.conv1, self.prelu1 = Conv2d(3, 28, 3), PReLU(28)
        self.pool1 = MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = Conv2d(28, 48, 3), PReLU(48)
        self.pool2 = MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = Conv2d(48, 64, 2), PReLU(64)
        self.dense4, self.prelu4 = Linear(576, 128), PReLU(128)
        self.dense5_1, self.dense5_2 = Linear(128, 2), Linear(128, 4)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.prelu3(self.conv3(x))
        x = self.prelu4(self.dense4(x.permute(0, 3, 2, 1).reshape(x.shape[0], 576)))
        return self.dense5_2(x), F.softmax(self.dense5_1(x), 1)


class ONet(Module):
    """x: (N, 3, 48, 48) -> (box shifts (N, 4), five points (N, 10), probabilities (N, 2))."""

    def __init__(self) -> None:
        self.conv1, self.prelu1 = Conv2d(3, 32, 3), PReLU(32)
        self.pool1 = MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = Conv2d(32, 64, 3), PReLU(64)
        self.pool2 = MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = Conv2d(64, 64, 3), PReLU(64)
        self.pool3 = MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = Conv2d(64, 128, 2), PReLU(128)
        self.dense5, self.prelu5 = Linear(1152, 256), PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = Linear(256, 2), Linear(256, 4), Linear(256, 10)

    def forward(self, x):
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool2(self.prelu2(self.conv2(x)))
        x = self.pool3(self.prelu3(self.conv3(x)))
        x = self.prelu4(self.conv4(x))
        x = self.prelu5(self.dense5(x.permute(0, 3, 2, 1).reshape(x.shape[0], 1152)))
        return self.dense6_2(x), self.dense6_3(x), F.softmax(self.dense6_1(x), 1)


class Faces(NamedTuple):
    """Faces found in a picture: boxes (n, 4), scores (n,), and points (n, 5, 2) (eyes, nose, corners of the mouth)."""

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray


class MTCNN(Module):
    """The whole cascade.

    Notes
    -----
    As it is made it knows nothing: `load` gives it trained weights.

    References
    ----------
    Zhang, Zhang, Li, Qiao, "Joint face detection and alignment using multi-task cascaded convolutional networks", 2016;
    the weights of https://github.com/timesler/facenet-pytorch.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> net = fnn.models.MTCNN()
    >>> boxes, scores, points = net.detect(np.zeros((48, 64, 3), np.uint8))
    >>> boxes.shape[1:], points.shape[1:]
    ((4,), (5, 2))
    """

    def __init__(self) -> None:
        self.pnet, self.rnet, self.onet = PNet(), RNet(), ONet()
        self.eval()

    def load(self, folder: str | os.PathLike) -> "MTCNN":
        """Load pnet.pt, rnet.pt and onet.pt from a folder; returns the model.

        Raises
        ------
        FormatError, OSError, ValueError
            As `fastnn.load`.
        """
        for name in ("pnet", "rnet", "onet"):
            load(str(Path(folder) / f"{name}.pt"), getattr(self, name))
        return self

    def detect(
        self,
        picture: np.ndarray,
        smallest: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        factor: float = 0.709,
    ) -> Faces:
        """Find faces.

        Parameters
        ----------
        picture : ndarray, shape (H, W, 3)
            In colour, from 0 to 255.
        smallest : int
            Side of the smallest face to look for, in pixels.
        thresholds : (float, float, float)
            The probability a box must have to pass each network.
        factor : float
            By how much the picture shrinks from one level of the pyramid to the next.

        Returns
        -------
        Faces
            The surest first; empty arrays if there is none.

        Raises
        ------
        ValueError
            If the picture has another shape, or a number makes no sense.
        """
        picture = np.asarray(picture)
        if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"MTCNN.detect: picture must be (H, W, 3), got {picture.shape}")
        if smallest < 1 or not 0.1 <= factor <= 0.95:
            raise ValueError(
                f"MTCNN.detect: smallest must be at least 1 and factor 0.1 to 0.95, got {smallest}, {factor}"
            )
        image = picture.transpose(2, 0, 1)[None].astype(np.float32)
        with evaluating(self), no_grad():
            boxes = self._propose(image, smallest, thresholds[0], factor)
            boxes = self._refine(image, boxes, thresholds[1])
            return self._finish(image, boxes, thresholds[2])

    def _propose(self, image: np.ndarray, smallest: int, threshold: float, factor: float) -> np.ndarray:
        """P-Net over the pyramid: square boxes (n, 4)."""
        scale, found = 12 / smallest, []
        height, width = image.shape[2:]
        while min(height, width) * scale >= 12:
            shifts, scores = self.pnet(_resized(image, int(height * scale + 1), int(width * scale + 1)))
            scores = scores.numpy()[0, 1]
            rows, columns = np.nonzero(scores >= threshold)
            # A cell looks at 12 x 12 pixels, and the next one 2 pixels further.
            corner = np.float32(2) * np.stack([columns, rows], 1).astype(np.float32)
            boxes = np.concatenate([np.floor((corner + 1) / scale), np.floor((corner + 12) / scale)], 1)
            kept = nms(boxes, scores[rows, columns], 0.5)
            cells = np.concatenate([boxes, scores[rows, columns][:, None], shifts.numpy()[0][:, rows, columns].T], 1)
            found.append(cells[kept])
            scale *= factor
        cells = np.concatenate(found) if found else np.empty((0, 9), np.float32)
        cells = cells[nms(cells[:, :4], cells[:, 4], 0.7)]
        return _square(_shifted(cells[:, :4], cells[:, 5:], 0))

    def _refine(self, image: np.ndarray, boxes: np.ndarray, threshold: float) -> np.ndarray:
        """R-Net on every box: fewer square boxes (n, 4)."""
        crops, boxes = _crops(image, boxes, 24)
        if not len(boxes):
            return boxes
        shifts, scores = _batched(self.rnet, crops)
        sure = scores[:, 1] > threshold
        boxes, shifts, score = boxes[sure], shifts[sure], scores[sure, 1]
        kept = nms(boxes, score, 0.7)
        return _square(_shifted(boxes[kept], shifts[kept], 1))

    def _finish(self, image: np.ndarray, boxes: np.ndarray, threshold: float) -> Faces:
        """O-Net on every box that is left."""
        crops, boxes = _crops(image, boxes, 48)
        if not len(boxes):
            return Faces(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))
        shifts, points, scores = _batched(self.onet, crops)
        sure = scores[:, 1] > threshold
        boxes, shifts, points, score = boxes[sure], shifts[sure], points[sure], scores[sure, 1]
        size = boxes[:, 2:] - boxes[:, :2] + 1
        # Five x, then five y, in parts of the box.
        points = points.reshape(-1, 2, 5).transpose(0, 2, 1) * size[:, None] + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, shifts, 1)
        kept = nms(boxes, score, 0.7, of="smaller", pixel=1)
        return Faces(boxes[kept], score[kept], points[kept])


def _resized(image: np.ndarray, height: int, width: int) -> _ops.Tensor:
    """Return (1, 3, height, width), each pixel the mean of those it covers, from -1 to 1."""
    return (F.adaptive_avg_pool2d(_ops.from_numpy(image), (height, width)) - 127.5) * 0.0078125


def _crops(image: np.ndarray, boxes: np.ndarray, size: int) -> tuple[list, np.ndarray]:
    """Return the parts of the picture in the boxes, resized, and the boxes that have such a part."""
    height, width = image.shape[2:]
    corners = np.trunc(boxes).astype(np.int64)
    left, top = np.maximum(corners[:, 0], 1) - 1, np.maximum(corners[:, 1], 1) - 1
    right, bottom = np.minimum(corners[:, 2], width), np.minimum(corners[:, 3], height)
    inside = (right > left) & (bottom > top)
    crops = [
        _resized(np.ascontiguousarray(image[:, :, y0:y1, x0:x1]), size, size)
        for x0, y0, x1, y1, yes in zip(left, top, right, bottom, inside)
        if yes
    ]
    return crops, boxes[inside]


def _batched(net: Module, crops: list) -> tuple[np.ndarray, ...]:
    """Return what a network says of many crops, as arrays."""
    parts = [net(_ops.cat(crops[i : i + BATCH])) for i in range(0, len(crops), BATCH)]
    return tuple(np.concatenate([part.numpy() for part in outputs]) for outputs in zip(*parts))


def _shifted(boxes: np.ndarray, shifts: np.ndarray, pixel: int) -> np.ndarray:
    """Move each side of a box by a part of its size."""
    size = boxes[:, 2:] - boxes[:, :2] + pixel
    return boxes + shifts * np.concatenate([size, size], 1)


def _square(boxes: np.ndarray) -> np.ndarray:
    """Make each box a square about its middle."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(1, keepdims=True)
    corner = boxes[:, :2] + size * np.float32(0.5) - side * np.float32(0.5)
    return np.concatenate([corner, corner + side], 1)
