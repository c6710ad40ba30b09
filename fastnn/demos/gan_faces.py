"""Two networks against each other: one invents faces, the other tells them from 400 real ones, until it hardly can.

The faces are those of forty people (ORL). Beside each invented face stands the nearest real one, so that copying shows.
With --pretrained a generator draws that was trained elsewhere on rendered faces, in colour.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.models import DCGAN

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _faces, _gan_faces, _images, _portraits

MODEL, CHECKPOINT = "gan-faces.safetensors", "gan-faces.checkpoint"
STEPS, LONG = 2500, 12_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--seed", type=_cli.seed, metavar="N", default=argparse.SUPPRESS,
        help="draw the face of this number with the weights saved before, without training",
    )  # fmt: skip
    parser.add_argument("--pretrained", action="store_true", help="draw with a generator that was trained elsewhere")
    parser.add_argument("--steps", type=_cli.positive, default=STEPS, metavar="N", help="of training")
    parser.add_argument("--long", action="store_true", help=f"train for {LONG:,} steps")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted training stopped")
    parser.add_argument("--training-seed", type=_cli.seed, default=0, metavar="N", help="the same gives the same net")
    parser.add_argument("--out", default="fastnn-gan-faces", metavar="FOLDER", help="where pictures and model go")
    parser.add_argument(
        "--model", metavar="FILE", default=argparse.SUPPRESS, help="draw with these weights, not those in --out"
    )


def run(options: argparse.Namespace) -> None:
    """Draw, or train and report."""
    require("PIL.Image", "demo", "writing pictures")
    if options.pretrained and "model" in options:
        raise CommandError("--pretrained and --model each name the weights to draw with; give one of them")
    if options.resume and (options.pretrained or "seed" in options or "model" in options):
        raise CommandError("--resume goes on with a training; --pretrained, --seed and --model draw without one")
    out = _cli.folder(options.out)
    if options.pretrained:
        file = _images.needed("gan-face-generate", "gan_face_generate/weights.tar", "--pretrained")
        _draw(DCGAN().load(file).freeze(), "gan-face-generate's generator, 3.6 million weights", options, out)
    elif "seed" in options or "model" in options:
        path = Path(options.model) if "model" in options else out / MODEL
        _draw(_gan_faces.load(path).freeze(), str(path), options, out)
    else:
        _train(options, out)


def _draw(net: Any, name: str, options: argparse.Namespace, out: Path) -> None:
    """Draw one face, or a sheet and a walk if no seed was given."""
    if "seed" in options:
        z = _gan_faces.noise(1, net.latent, options.seed)
        times = []
        with fnn.no_grad():
            for _ in range(4):  # the first packs the weights
                start = time.perf_counter()
                face = net(fnn.tensor(z)).numpy()
                times.append(time.perf_counter() - start)
        file = out / f"face-{options.seed}.png"
        _portraits.write(_portraits.sheet(face, 1, 4), file)
        milliseconds = f"{1e3 * times[0]:.1f} ms, again {1e3 * min(times):.1f} ms"
        print(f"a face that does not exist, number {options.seed}: {milliseconds}")
        print(f"drawn by {name}\n\npicture  {file}")
        return
    z = _gan_faces.noise(48, net.latent, 0)
    start = time.perf_counter()
    made = _gan_faces.draw(net, z)
    print(f"{len(z)} faces that do not exist, drawn by {name}, in {1e3 * (time.perf_counter() - start):.0f} ms\n")
    which = "pretrained" if options.pretrained else "drawn"
    _write(made, out / f"{which}.png", 8)
    _write(_gan_faces.draw(net, _gan_faces.between(z[:4], 8)), out / f"{which}-walk.png", 25, 1)


def _write(pictures: np.ndarray, file: Path, columns: int, scale: int = 2) -> None:
    """Write a sheet and say so."""
    _portraits.write(_portraits.sheet(pictures, columns, scale), file)
    print(f"picture  {file}")


def _train(options: argparse.Namespace, out: Path) -> None:
    """Train, measure, compare, write."""
    if options.resume and not (out / CHECKPOINT).exists():
        raise CommandError(f"nothing to resume: there is no {out / CHECKPOINT}")
    start = time.perf_counter()
    finder = _faces.cascade()
    faces = _portraits.faces(finder, _gan_faces.SIZE)
    how = "by MTCNN's eyes and mouth" if finder else "where they are on average (MTCNN's weights: see README)"
    print("400 portraits of 40 people (ORL, Samaria and Harter 1994), 64 x 64 grey pixels,")
    print(f"cut {how} in {time.perf_counter() - start:.1f} s", flush=True)
    start = time.perf_counter()
    net, right = _gan_faces.recognizer(faces, options.training_seed)
    yardstick = _gan_faces.Yardstick.make(net, faces)
    print(f"a network learned to tell the people apart ({100 * right:.0f} % of portraits it had not seen) in "
          f"{time.perf_counter() - start:.0f} s;")  # fmt: skip
    print(f"its {_gan_faces.FEATURES} features measure Fréchet distances", flush=True)
    watch = _gan_faces.Watch(yardstick, out, options.resume)
    steps = LONG if options.long else options.steps
    pair, history = _gan_faces.train(faces, steps, options.training_seed, watch, out / CHECKPOINT, options.resume, None)
    if history.interrupted:
        print(f"\ninterrupted after {history.steps:,} steps; --resume goes on from there")
        raise KeyboardInterrupt
    fnn.save(pair.average.module, out / MODEL)
    _table(watch, yardstick, history)
    _sheets(pair.average, faces, watch, out)
    print(f"\nmodel    {out / MODEL}   (--seed N draws with it)")


def _table(watch: _gan_faces.Watch, yardstick: _gan_faces.Yardstick, history: fnn.fit) -> None:
    """Print how it went: a dozen lines at most."""
    print(f"\n{history.steps:,} steps of both networks, {history.seconds:.0f} s\n")
    print(f"{'steps':>8}{'generator':>12}{'discriminator':>15}{'Fréchet distance':>18}")
    every = -(-len(watch.rows) // 12)
    for i, (step, loss, d_loss, distance) in enumerate(watch.rows):
        if i % every == 0 or i == len(watch.rows) - 1:
            print(f"{step:>8,}{loss:>12.3f}{d_loss:>15.3f}{distance:>18.2f}")
    print(f"{'the other half of the real faces':>35}{yardstick.halves:>18.2f}")
    print(f"{'half of the people from the rest':>35}{yardstick.people:>18.2f}")


def _sheets(net: Any, faces: np.ndarray, watch: _gan_faces.Watch, out: Path) -> None:
    """Write the sheets; print how near the invented faces are to real ones."""
    real = _gan_faces.mirrored(faces.reshape(-1, 1, *faces.shape[2:]))
    made = _gan_faces.draw(net, _gan_faces.noise(48, watch.z.shape[1], 2))
    which, away = _gan_faces.nearest(made, real)
    others = [
        _gan_faces.nearest(faces[i, :, None], np.delete(faces, i, 0).reshape(-1, 1, *faces.shape[2:]))[1]
        for i in range(len(faces))
    ]
    same = [
        _gan_faces.nearest(faces[i, j][None, None], np.delete(faces[i], j, 0)[:, None])[1]
        for i, j in np.ndindex(faces.shape[:2])
    ]
    print("\nroot mean square difference in grey levels to the nearest real face")
    print(f"  from an invented one          {away.mean():6.1f}   (the least of {len(made)}: {away.min():.1f})")
    print(f"  from a person's other faces   {np.mean(same):6.1f}")
    print(f"  from other people's           {np.mean(others):6.1f}\n")
    _write(made, out / "faces.png", 8)
    pairs = np.stack([made, real[which]], 1).reshape(-1, *made.shape[1:])
    _write(pairs[:64], out / "nearest.png", 8)
    walk = _gan_faces.between(_gan_faces.noise(4, watch.z.shape[1], 3), 8)
    _write(_gan_faces.draw(net, walk), out / "walk.png", 25, 1)
    chosen = list(watch.strips)[:: max(1, len(watch.strips) // 8)]
    _write(np.concatenate([watch.strips[step] for step in chosen]), out / "training.png", 12, 1)
