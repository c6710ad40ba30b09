"""A convolutional network learns face from non-face, then finds the faces in a photograph and shows what it looks at.

It learns from 400 portraits and photographs without people; its score is of news pictures of other people. Where the
weights of facenet-pytorch are installed, they are read into fastnn's layers and the whole cascade (MTCNN) looks too.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.models import MTCNN, FaceDetector
from fastnn.models.face_detector import WINDOW

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _faces, _images

LAYERS = {"net.2": "first layer", "net.6": "second layer", "net.10": "third layer"}  # what is drawn, after ReLU
MODEL, PICTURE, INSIDE = "faces.safetensors", "faces.png", "faces-inside.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--picture", metavar="FILE", default=argparse.SUPPRESS, help="find the faces in your photograph"
    )
    parser.add_argument("--smallest", type=_cli.side, default=40, metavar="N", help="the smallest face, in pixels")
    parser.add_argument("--threshold", type=_share, default=0.99, metavar="P", help="how sure it must be of a face")
    parser.add_argument("--epochs", type=_cli.positive, default=5, metavar="N", help="rounds of each of two trainings")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    parser.add_argument(
        "--mtcnn", action="store_true", help="insist on the pretrained cascade, and do without training"
    )
    parser.add_argument("--out", default="fastnn-faces", metavar="FOLDER", help="where pictures and model go")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib's pictures")
    parser.add_argument(
        "--model", metavar="FILE", default=argparse.SUPPRESS, help="look with a model saved before, without training"
    )


def _share(text: str) -> float:
    """Read a probability."""
    value = _cli.finite(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return value


def run(options: argparse.Namespace) -> None:
    """Train or load, test, look."""
    if not options.no_picture:
        require("matplotlib", "demo", "drawing (--no-picture does without it)")
    photograph = _images.read(options.picture) if "picture" in options else _images.photograph("astronaut.png")
    if options.mtcnn:
        folder = _images.needed("facenet-pytorch", "facenet_pytorch/data/pnet.pt", "the pretrained cascade").parent
        finder: MTCNN | None = MTCNN().load(folder)
    else:
        finder = _faces.cascade()
    out = None if options.no_picture and options.mtcnn else _cli.folder(options.out)
    net = None
    if "model" in options:
        net = _load(options.model)
    elif not options.mtcnn:
        net = _learn(finder, options)
    if net is not None:
        _test(net)
    found = _look(net, finder, photograph, options)
    if net is not None and "model" not in options and out is not None:
        fnn.save(net, out / MODEL)
        print(f"\nmodel    {out / MODEL}")
    if out is not None and not options.no_picture:
        _draw_boxes(photograph, found, out / PICTURE)
        print(f"picture  {out / PICTURE}")
        if net is not None:
            _draw_inside(net, photograph, found, out / INSIDE)
            print(f"picture  {out / INSIDE}")


def _load(path: str) -> FaceDetector:
    """Return the detector in a file."""
    try:
        return fnn.load(path, FaceDetector()).eval()
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, fnn.FormatError):
            raise
        raise CommandError(f"{path} is not a model of the faces demo") from None


def _learn(finder: MTCNN | None, options: argparse.Namespace) -> FaceDetector:
    """Train, and print how it went with people who were kept out of the training."""
    linear = require("sklearn.linear_model", "demo", "faces")
    start = time.perf_counter()
    study = _faces.gather(finder, options.seed)
    aligned = "found by MTCNN" if study.aligned else "where they are on average (install MTCNN's weights: see README)"
    n = int(study.train.y.sum())
    print(f"400 portraits of 40 people (ORL, Samaria and Harter 1994), their faces {aligned}")
    print(f"{n:,} windows of {WINDOW} x {WINDOW} pixels with a face, {len(study.train.y) - n:,} without")
    print(f"cut in {time.perf_counter() - start:.1f} s; training in two rounds", flush=True)
    start = time.perf_counter()
    net, _ = _faces.train(study, options.epochs, options.seed, lambda line: print(line, flush=True))
    right = ((_faces.probabilities(net, study.watched.x) > 0.5) == study.watched.y).mean()
    weights = sum(parameter.numel() for parameter in net.parameters())
    print(f"  {weights:,} weights, {time.perf_counter() - start:.1f} s")
    windows = f"{len(study.watched.y):,} windows of {_faces.HELD_PEOPLE} other people and other photographs"
    print(f"  {100 * right:.2f} % of {windows}")
    _baseline(study, linear)
    return net


def _baseline(study: _faces.Study, linear: Any) -> None:
    """Print how a linear classifier does on LFW."""
    flat = _faces.weathered(study.train, np.random.default_rng(0)).reshape(len(study.train.y), -1)
    model = linear.LogisticRegression(max_iter=100, solver="lbfgs", tol=1e-2).fit(flat, study.train.y)
    test = _faces.unseen()
    _row("logistic regression", model.predict(test.x.reshape(len(test.x), -1) - 0.5), test.y, head=True)
    _row("always no face", np.zeros(len(test.y)), test.y)


def _row(name: str, said: np.ndarray, true: np.ndarray, head: bool = False) -> None:
    """Print one line of the table of scores."""
    if head:
        print(f"\n{'on 200 windows of LFW, never seen':<36}{'accuracy':>10}{'precision':>11}{'recall':>9}")
    scores = [
        f(said.astype(np.int64), true.astype(np.int64))
        for f in (fnn.metrics.accuracy, fnn.metrics.precision, fnn.metrics.recall)
    ]
    print(f"{name:<36}" + f"{100 * scores[0]:>8.1f} %{100 * scores[1]:>9.1f} %{100 * scores[2]:>7.1f} %")


def _test(net: FaceDetector) -> None:
    """Print the scores on people and pictures that the network has never seen."""
    test = _faces.unseen()
    _row("fastnn", _faces.probabilities(net, test.x) > 0.5, test.y)


def _grey(photograph: np.ndarray) -> np.ndarray:
    """Return a photograph in grey, from 0 to 1."""
    return (photograph @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)


def _look(net: FaceDetector | None, finder: MTCNN | None, photograph: np.ndarray, options: argparse.Namespace) -> dict:
    """Find the faces in a photograph; returns what each finder found."""
    found: dict[str, tuple] = {}
    height, width = photograph.shape[:2]
    print(f"\n{options.picture if 'picture' in options else 'the astronaut Eileen Collins'}, {height} x {width} pixels")
    if net is not None:
        start = time.perf_counter()
        boxes, scores = net.detect(_grey(photograph), options.smallest, options.threshold)
        found["the network just trained" if "model" not in options else "the network"] = (boxes, scores, None)
        _report("fastnn's own", boxes, scores, time.perf_counter() - start)
    if finder is not None:
        start = time.perf_counter()
        faces = finder.detect(photograph, min(options.smallest, 20))  # from its usual size on, for its usual boxes
        large = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(1, initial=0) >= options.smallest
        boxes, scores = faces.boxes[large], faces.scores[large]
        found["MTCNN, pretrained"] = (boxes, scores, faces.points[large])
        _report("MTCNN", boxes, scores, time.perf_counter() - start)
    else:
        print(f"  MTCNN: its weights are not installed ({_images.HOW['facenet-pytorch']})")
    return found


def _report(name: str, boxes: np.ndarray, scores: np.ndarray, seconds: float) -> None:
    """Print what was found."""
    print(f"  {name}: {len(boxes)} face{'s' * (len(boxes) != 1)} in {1e3 * seconds:.0f} ms")
    for box, score in list(zip(boxes, scores))[:10]:
        left, top, right, bottom = box
        print(f"    left {left:.1f}, top {top:.1f}, right {right:.1f}, bottom {bottom:.1f}: {100 * score:.3f} %")


def _draw_boxes(photograph: np.ndarray, found: dict, file: Path) -> None:
    """Write the photograph with the boxes of each finder."""
    figure = require("matplotlib.figure", "demo", "the picture").Figure((6 * len(found), 6.4), layout="constrained")
    for ax, (name, (boxes, scores, points)) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items()):
        fnn.plot.boxes(photograph, boxes, ax, scores=scores, points=points)
        ax.set_title(f"{name}: {len(boxes)} face{'s' * (len(boxes) != 1)}")
    figure.savefig(file, dpi=90)


def _draw_inside(net: FaceDetector, photograph: np.ndarray, found: dict, file: Path) -> None:
    """Write what the network has learned, and what it looks at in the surest face (or the middle of the picture)."""
    grey = _grey(photograph)
    boxes = next(iter(found.values()))[0]
    side = min(grey.shape)
    box = boxes[0] if len(boxes) else np.array([0, 0, side, side])
    face = _images.window(grey, tuple(box), WINDOW)[None] - np.float32(0.5)
    # The head with what is around it, three windows wide, at the size at which the window fits the face.
    middle, wide = (box[:2] + box[2:]) / 2, 3 * (box[2] - box[0])
    around = tuple(np.concatenate([middle - wide / 2, middle + wide / 2]))
    scene = _images.window(grey, around, 3 * WINDOW)[None] - np.float32(0.5)
    figure = require("matplotlib.figure", "demo", "the picture").Figure((14, 10), layout="constrained")
    places = [["filters", "maps"], ["occlusion", "maps"], ["gradient", "maps"]]
    axes = figure.subplot_mosaic(places, width_ratios=(1, 2.4))
    fnn.plot.filters(net.net[0].weight, axes["filters"])
    axes["filters"].set_title("filters of the first layer")
    fnn.plot.feature_maps(net, scene, LAYERS, axes["maps"], columns=6, rows=2)
    axes["maps"].set_title("what each layer sees around the face: edges, then parts, then faces")
    fnn.plot.saliency(net, face, axes["occlusion"], size=6)
    axes["occlusion"].set_title("covering it makes the face vanish (orange)")
    fnn.plot.saliency(net, face, axes["gradient"], method="gradient")
    axes["gradient"].set_title("pixels the answer is most sensitive to")
    figure.savefig(file, dpi=90)
