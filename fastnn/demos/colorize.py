"""A network learns to colour black-and-white photographs, and a second one tells it which patches look wrong.

It learns from what colour photographs there are, and is tested on some that it has never seen. What it makes up is the
colour; the brightness of each pixel stays what it was.
"""

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn.models import PatchDiscriminator, UNet

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _images, _photographs, _portraits
from ._photographs import apart, together

MODEL, CHECKPOINT = "colorize.safetensors", "colorize{}.checkpoint"
STEPS, LONG, EPOCH = 800, 6, 50  # steps of a network, networks, steps between two lines of the progress bar
WARMUP = 0.5  # of the steps: first the colour that is likely, then also one that looks right
SIZE, BATCH, L1 = 48, 16, 100.0
# Its lowest level is a sixteenth of the size, so that it can tell sky from water. Of 264 photographs, 52 of them held
# out, one network is nearer to the truth than the mean colour by 2.7, 2.2 and 2.0 levels of 256 (seeds 0, 1, 2), the
# mean of six by 3.0 and 2.3, of five by 2.3. Learning from 64 pixels out of 72 or 96 it was 1.4 (seed 0).
CHANNELS, JUDGE = (16, 32, 48, 64, 64), (16, 32)
FEWEST = 5  # photographs, one of them held out
SHOWN, PICTURED = 12, 24  # rows of the table, held-out photographs in a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--picture", metavar="FILE", default=argparse.SUPPRESS, help="colour your photograph")
    parser.add_argument(
        "--data", metavar="FOLDER", action="append", default=[],
        help="learn from a folder's photographs and those of folders in it (may be repeated), else from installed ones",
    )  # fmt: skip
    parser.add_argument("--steps", type=_cli.positive, default=STEPS, metavar="N", help="of training a network")
    parser.add_argument("--long", action="store_true", help=f"train {LONG} networks, and colour by their mean")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted training stopped")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="the same seed gives the same net")
    parser.add_argument("--out", default="fastnn-colorize", metavar="FOLDER", help="where pictures and model go")
    parser.add_argument(
        "--model", metavar="FILE", default=argparse.SUPPRESS, help="colour with a model saved before, without training"
    )


def network() -> UNet:
    """Return an untrained network: brightness (N, 1, H, W) to colour (N, 2, H, W)."""
    return UNet(1, 2, CHANNELS, fnn.nn.Tanh())


class Careful(fnn.nn.Module):
    """The mean of what networks say, mixed with the mean colour: as much of it as is best on other photographs.

    Of few photographs a network learns many by heart, and is as sure of itself where it has learned nothing. What one
    makes up there another does not, so their mean is nearer to the truth than they are.
    """

    def __init__(self, nets: Iterable[fnn.nn.Module]) -> None:
        self.nets = fnn.nn.ModuleList(nets)
        self.register_buffer("mean", fnn.zeros(2, 1, 1))
        self.register_buffer("trust", fnn.ones(1))

    def said(self, x: Any) -> Any:
        """x: (N, 1, H, W) -> (N, 2, H, W), the mean of the networks."""
        return sum(net(x) for net in self.nets) / len(self.nets)

    def forward(self, x: Any) -> Any:
        """x: (N, 1, H, W) -> (N, 2, H, W)."""
        return self.mean + (self.said(x) - self.mean) * self.trust

    def weigh(self, kept: list[np.ndarray], aside: list[np.ndarray]) -> None:
        """Take the mean colour of what was learned from, and the share of the networks that is best on the others."""
        mean = _mean(kept)
        pairs = [(picture, guess(self.said, picture[:1])) for picture in aside]
        shares = np.linspace(0, 1, 11)
        errors = [np.mean([_off(p, mean + share * (made - mean)) for p, made in pairs]) for share in shares]
        self.mean.copy_(mean)
        self.trust.copy_(shares[[int(np.argmin(errors))]].astype(np.float32))


def run(options: argparse.Namespace) -> None:
    """Train or load, test, colour."""
    require("PIL.Image", "demo", "writing pictures")
    picture = _images.read(options.picture) if "picture" in options else None
    out = _cli.folder(options.out)
    if "model" in options:
        if picture is None:
            raise CommandError("--model needs --picture FILE, which it should colour")
        net = _load(options.model)
    else:
        net = _learn(options, out)
    if picture is not None:
        file = out / f"{Path(options.picture).stem}-coloured.png"
        _portraits.write(coloured(net, picture), file)
        print(f"picture  {file}   (what {options.picture} looks like, for all it knows)")


def _load(path: str) -> Careful:
    """Return the networks in a file."""
    try:
        saved = fnn.load(path)
        count = len({name.split(".")[1] for name in map(str, saved) if name.startswith("nets.")})
        net = Careful(network() for _ in range(max(1, count)))
        net.load_state_dict(saved)
        net.eval()
        return net
    except (ValueError, TypeError) as error:
        if isinstance(error, fnn.FormatError):
            raise
        raise CommandError(f"{path} is not a model of the colorize demo") from None


def guess(net: Callable, grey: np.ndarray) -> np.ndarray:
    """Return the colour (2, H, W) of a brightness (1, H, W), found on a small copy: one that is seen whole."""
    step = 2 ** (len(CHANNELS) - 1)
    factor = SIZE / min(grey.shape[1:])
    small = _photographs.sized(grey, *(max(step, round(n * factor / step) * step) for n in grey.shape[1:]))
    with fnn.no_grad():
        made = net(fnn.tensor(small[None])).numpy()[0]
    return _photographs.sized(made, *grey.shape[1:])


def coloured(net: Callable, picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) in the colours that the network gives it."""
    grey = apart(picture)[:1]
    return together(grey, guess(net, grey))


def _learn(options: argparse.Namespace, out: Path) -> Careful:
    """Train, and test on photographs that were held out."""
    found = _photographs.collect(options.data)
    count = len(found.pictures)
    for why, names in found.passed.items():
        if names:
            print(f"passed over as {why}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
    if count < FEWEST:
        raise CommandError(f"{count} colour photographs are too few to learn from; {_photographs.HOW}")
    order = np.random.default_rng(options.seed).permutation(count)
    held = order[: max(1, count // 5)]
    kept = [found.pictures[i] for i in order[len(held) :]]
    aside = max(1, len(kept) // 8)  # of those, they say in the end how far the network is to be trusted
    print(f"{count} colour photographs, {len(held)} of them held out;")
    print(f"it learns from {len(kept) - aside}, and {aside} say how far it is to be trusted")
    if not options.data:
        print(f"({_photographs.HOW})")
    tests = [found.pictures[i] for i in held]
    best = Careful(_trained(kept[aside:], tests, options, out))
    best.eval()
    best.weigh(kept[aside:], kept[:aside])
    fnn.save(best, out / MODEL)
    print(f"trusted by {100 * best.trust.item():.0f} %, the rest is the mean colour")
    _report(best, kept, tests, [found.names[i] for i in held])
    _portraits.write(_side_by_side(best, tests), out / "held-out.png")
    print(f"\nmodel    {out / MODEL}   (--model FILE --picture FILE colours with it)")
    print(f"picture  {out / 'held-out.png'}   (grey, coloured, true)")
    return best


def _trained(kept: list, tests: list, options: argparse.Namespace, out: Path) -> list[fnn.nn.Module]:
    """Return one trained network, or several; of each the running mean."""
    nets: list[fnn.nn.Module] = []
    count, again = (LONG, "--long --resume") if options.long else (1, "--resume")
    files = [out / CHECKPOINT.format(f"-{i + 1}" if i else "") for i in range(LONG)]
    if options.resume and not any(file.exists() for file in files):
        raise CommandError(f"nothing to resume: there is no {files[0]}")
    for file in files[1:]:
        if not options.resume:
            file.unlink(missing_ok=True)  # of an earlier run: a later --resume must not take it for this one's
    for i in range(count):
        seed = options.seed + 1000 * i  # another draw, and not that of the next --seed
        fnn.manual_seed(seed)
        net, judge = network(), PatchDiscriminator(3, JUDGE)
        if not i:
            weights = [sum(p.numel() for p in each.parameters()) for each in (net, judge)]
            print(f"a U-Net of {weights[0]:,} weights, a patch discriminator of {weights[1]:,}", flush=True)
        crops = _photographs.Crops(kept, SIZE, BATCH, EPOCH, seed)
        pair, history = _train(net, judge, crops, seed, files[i], _watch(nets, tests, options.steps, out), options)
        which = f"network {i + 1} of {count}: " if count > 1 else ""
        if history.interrupted:
            print(f"\n{which}interrupted after {history.steps:,} steps; {again} goes on from there")
            raise KeyboardInterrupt
        nets.append(pair.average.module)
        first, last = (f"{history[name][0]:.3f} -> {history[name][-1]:.3f}" for name in ("l1", "d_loss"))
        print(f"{which}{history.steps:,} steps in {history.seconds:.0f} s; difference in colour while learning")
        print(f"{first}, the discriminator's loss {last}", flush=True)
    return nets


def _watch(nets: list, tests: list, steps: int, out: Path) -> Callable:
    """Return a callback that writes what the networks so far make of the photographs held out, as they learn."""
    before = len(nets) * steps

    def watch(state: Any) -> None:
        if state.epoch % 5 == 4:
            said = Careful([*nets, state.model.average.module]).eval()
            _portraits.write(_side_by_side(said, tests), out / f"step-{before + state.step:06d}.png")

    return watch


def _train(
    net: UNet, judge: PatchDiscriminator, crops: Any, seed: int, file: Path, watch: Callable, options: Any
) -> tuple:
    """Return the trained Pair and its History."""
    steps = options.steps

    def fall(step: int) -> float:
        return (1 + math.cos(math.pi * min(1, step / steps))) / 2

    try:
        return fnn.adversarial.fit(
            net,
            judge,
            crops,
            steps=steps,
            l1=L1,
            warmup=int(WARMUP * steps),
            lr=(2e-3, 4e-4),
            schedule=lambda adam: fnn.optim.lr_scheduler.LambdaLR(adam, fall, per="step"),
            decay=0.99,
            callbacks=[watch],
            seed=seed,
            checkpoint=file,
            resume=options.resume,
        )
    except ValueError as error:
        if options.resume:
            raise CommandError(f"{file} is not a checkpoint of this demo: {str(error)[:200]}") from None
        raise


def _mean(pictures: list[np.ndarray]) -> np.ndarray:
    """Return the mean colour (2, 1, 1)."""
    return np.mean([picture[1:].mean((1, 2)) for picture in pictures], 0)[:, None, None].astype(np.float32)


def _off(picture: np.ndarray, colour: np.ndarray) -> float:
    """Return how far a photograph is off in a colour (2, H, W): the mean over levels of red, green and blue."""
    true = together(picture[:1], picture[1:]).astype(np.float64)
    return float(np.abs(together(picture[:1], colour) - true).mean())


def _report(net: Callable, kept: list[np.ndarray], tests: list[np.ndarray], names: list[str]) -> None:
    """Print how far the colours are off, beside grey and the mean colour of what was learned from."""
    mean = _mean(kept)
    methods = {
        "left grey": lambda x: np.zeros_like(x[1:]),
        "the mean colour": lambda x: np.broadcast_to(mean, x[1:].shape),
        "fastnn": lambda x: guess(net, x[:1]),
    }
    print(f"\n{'mean error in levels of red, green, blue, held out':<52}" + "".join(f"{m:>17}" for m in methods))
    rows = []
    for name, picture in zip(names, tests):
        rows.append([_off(picture, f(picture)) for f in methods.values()])
        if len(rows) <= SHOWN:
            print(f"  {name[:48]:<50}" + "".join(f"{error:>17.1f}" for error in rows[-1]))
    if len(rows) > SHOWN:
        print(f"  and {len(rows) - SHOWN} more")
    print(f"{'all':<52}" + "".join(f"{error:>17.1f}" for error in np.mean(rows, 0)))
    better = sum(row[2] < min(row[:2]) for row in rows)
    print(f"better than both on {better} of {len(rows)}")
    print(_verdict(*np.mean(rows, 0)))


def _verdict(grey: float, mean: float, made: float) -> str:
    """Return in words what the errors say."""
    if made < min(grey, mean):
        return f"nearer to the truth than grey by {grey - made:.1f} levels, than the mean colour by {mean - made:.1f}"
    lost = " and ".join(name for name, error in (("grey", grey), ("the mean colour", mean)) if made >= error)
    return f"on photographs that it has never seen it is NOT better than {lost}: it needs more to learn from (--data)"


def _side_by_side(net: Callable, tests: list[np.ndarray]) -> np.ndarray:
    """Return the held-out photographs: grey, coloured and true, three squares a photograph, two photographs a row."""
    shown = []
    for picture in tests[:PICTURED]:
        grey, true = picture[:1], picture[1:]
        for colour in (np.zeros_like(true), guess(net, grey), true):
            top, left = ((n - _photographs.SHORT) // 2 for n in grey.shape[1:])
            shown.append(together(grey, colour)[top:, left:][: _photographs.SHORT, : _photographs.SHORT])
    columns = 6 if len(tests) > 1 else 3
    return _portraits.sheet(np.stack(shown).transpose(0, 3, 1, 2) / 127.5 - 1, columns)
