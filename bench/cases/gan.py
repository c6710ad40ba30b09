"""Networks against each other: a training step of both networks.

`faces` is the step of the demo gan-faces: the generator makes 64 x 64 grey faces by doubling and 3x3 convolutions, the
discriminator halves them again; non-saturating losses, one Adam each. `U-Net` is like that of the demo colorize, but
wider: a U-Net and a patch discriminator, hinge losses and the L1 distance. Augmentation, spectral norm, penalties and
the running means of weights are left out.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import images
from bench.cases.gan_networks import CROPS, DOWN, FACES, PARTS, UP, Layer, flops, generator, inputs
from bench.cases.gan_reference import CHECKED_STEPS, L1, LEAK, LR, right


def _sequential(lib: Any, layers: Sequence[Layer]) -> Any:
    nn = lib.nn

    class View(nn.Module):
        def __init__(self, channels: int, side: int) -> None:
            super().__init__()
            self.shape = (-1, channels, side, side)

        def forward(self, x: Any) -> Any:
            return x.reshape(self.shape)

    make = {
        "conv": lambda c, f, bias: nn.Conv2d(c, f, 3, padding=1, bias=bias),
        "strided": lambda c, f, bias: nn.Conv2d(c, f, 4, stride=2, padding=1, bias=bias),
        "dense": lambda c, f, bias: nn.Linear(c, f, bias=bias),
        "norm": nn.BatchNorm2d,
        "norm1": nn.BatchNorm1d,
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(LEAK),
        "tanh": nn.Tanh,
        "double": lambda: nn.Upsample(scale_factor=2),
        "halve": lambda: nn.AvgPool2d(2),
        "flatten": nn.Flatten,
        "view": View,
    }
    return nn.Sequential(*(make[kind](*sizes) for kind, *sizes in layers))


def _unet(lib: Any) -> Any:
    class UNet(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for part, layers in PARTS["U-Net"].items():
                if part != "d":
                    setattr(self, part, _sequential(lib, layers))
            self.pool, self.up = lib.nn.AvgPool2d(2), lib.nn.Upsample(scale_factor=2)

        def forward(self, x: Any) -> Any:
            kept = []
            for i in range(len(DOWN)):
                x = getattr(self, f"down{i}")(self.pool(x) if i else x)
                kept.append(x)
            kept.pop()
            for i in range(len(UP)):
                x = getattr(self, f"up{i}")(lib.cat([self.up(x), kept.pop()], 1))
            return self.out(x)

    return UNet()


def _networks(lib: Any, task: str, given: Inputs) -> tuple[Any, Any]:
    """Generator and discriminator with the case's weights."""
    nets = (_sequential(lib, generator()) if task == "faces" else _unet(lib), _sequential(lib, PARTS[task]["d"]))
    named = {k: lib.tensor(v) for k, v in given.items() if k not in ("x", "given")}
    judged = {k.removeprefix("d."): v for k, v in named.items() if k.startswith("d.")}
    made = {k.removeprefix("g."): v for k, v in named.items() if not k.startswith("d.")}
    for net, values in zip(nets, (made, judged), strict=True):
        net.load_state_dict(values, strict=False)  # but BatchNorm's running averages
    return nets


def _step(library: str, task: str, given: Inputs, last: bool = True, compiled: bool = False, **adam: Any) -> Run:
    lib = __import__(library)
    net, judged = _networks(lib, task, given)
    if library == "torch":
        for each in (net, judged):
            each.to(memory_format=lib.channels_last if last else lib.contiguous_format)
    adams = [lib.optim.Adam(each.parameters(), lr=LR, **adam) for each in (net, judged)]
    if compiled:
        lib._dynamo.reset()
        net, judge_of = lib.compile(net, dynamic=False), lib.compile(judged, dynamic=False)
    else:
        judge_of = judged
    pairs = [
        (images(lib, x, last), lib.tensor(z) if task == "faces" else images(lib, z, last))
        for x, z in zip(given["x"], given["given"], strict=True)
    ]
    data, F = cycle(pairs), lib.nn.functional

    def judge_pair(x: Any, z: Any) -> Any:
        return judge_of(x if task == "faces" else lib.cat([x, z], 1))

    def d_loss(real: Any, fake: Any) -> Any:
        if task == "faces":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def call() -> tuple[Any, Any]:
        x, z = next(data)
        fake = net(z)
        judged.requires_grad_(True)
        said = judge_pair(lib.cat([x, fake.detach()]), lib.cat([z, z]))
        loss = d_loss(said[: len(x)], said[len(x) :])
        loss.backward()
        adams[1].step()
        adams[1].zero_grad()
        judged.requires_grad_(False)
        said = judge_pair(fake, z)
        other = F.softplus(-said).mean() if task == "faces" else L1 * F.l1_loss(fake, x) - said.mean()
        other.backward()
        adams[0].step()
        adams[0].zero_grad()
        return loss, other

    def answer() -> Answer:
        return [np.array([float(value.detach()) for _ in range(CHECKED_STEPS) for value in call()])]

    return Run(call, answer)


def training(task: str, name: str) -> Case:
    """One step of both networks; the answer is the losses of the first steps."""
    return Case(
        "gan",
        name,
        lambda: inputs(task),
        lambda given: right(task),
        {
            "fastnn": {"": lambda i: _step("fastnn", task, i)},
            "torch": {
                "channels_last, fused Adam": lambda i: _step("torch", task, i, fused=True),
                "contiguous, fused Adam": lambda i: _step("torch", task, i, last=False, fused=True),
            },
            "torch:compile": {
                "channels_last, fused Adam": lambda i: _step("torch", task, i, compiled=True, fused=True),
                "contiguous, fused Adam": lambda i: _step("torch", task, i, last=False, compiled=True, fused=True),
            },
        },
        bound=1e-3,  # Adam's first step takes the sign of a gradient, even of one that is all rounding
        flops=flops(task),
    )


CASES = [
    training("faces", f"faces 1x64x64 batch {FACES}, both networks"),
    training("U-Net", f"U-Net 64x64 batch {CROPS}, both networks"),
]
