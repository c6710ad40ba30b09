"""Networks against each other: a training step of both networks, and a picture drawn at batch 1.

`faces` is the step of the demo gan-faces: the generator makes 64 x 64 grey faces by doubling and 3x3 convolutions, the
discriminator halves them again; non-saturating losses, one Adam each. `U-Net` is like that of the demo colorize, but
wider: a U-Net and a patch discriminator, hinge losses and the L1 distance. Augmentation, spectral norm, penalties and
the running means of weights are left out. `sampling` draws one face with a DCGAN of the pretrained one's sizes,
BatchNorm folded for everyone.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer, Case, Inputs, Run
from bench.cases.cnn import _np_norm, _np_relu
from bench.cases.conv import images, torch_inference
from bench.cases.optimizer import numpy_adam
from bench.cases.train import BATCHES
from bench.runners import Nodes, graph_ops

LR, LEAK, CHECKED_STEPS = 2e-4, 0.2, 2
Layer = tuple[Any, ...]
Backward = Callable[[np.ndarray], tuple[np.ndarray, list[np.ndarray]]]

LATENT, MAPS, JUDGE, FACES = 64, (192, 96, 48, 24, 16), (24, 48, 96, 128), 32
LEVELS, PATCHES, SIZE, CROPS, L1 = (24, 48, 96, 96, 96), (24, 48, 96), 64, 16, 30.0


# ------------------------------------------------------------------------------------------------------- the networks


def generator() -> tuple[Layer, ...]:
    """Of faces: kind and sizes of each layer."""
    layers: list[Layer] = [("dense", LATENT, 16 * MAPS[0], False), ("norm1", 16 * MAPS[0]), ("relu",)]
    layers.append(("view", MAPS[0], 4))
    for a, b in pairwise(MAPS):
        layers += [("double",), ("conv", a, b, False), ("norm", b), ("relu",)]
    return (*layers, ("conv", MAPS[-1], 1, True), ("tanh",))


def judge(inputs: int, channels: Sequence[int]) -> list[Layer]:
    """A discriminator's body."""
    layers: list[Layer] = [("strided", inputs, channels[0], True), ("leaky",)]
    for a, b in pairwise(channels):
        layers += [("conv", a, b, True), ("leaky",), ("halve",)]
    return layers


def stage(a: int, b: int) -> tuple[Layer, ...]:
    """A stage of the U-Net."""
    return ("conv", a, b, False), ("norm", b), ("relu",)


FACE_JUDGE = (*judge(1, JUDGE), ("flatten",), ("dense", 16 * JUDGE[-1], 1, True))
PATCH_JUDGE = (*judge(3, PATCHES), ("conv", PATCHES[-1], 1, True))
DOWN = [stage(a, b) for a, b in pairwise((1, *LEVELS))]
UP = [stage(a + b, a) for a, b in reversed(list(pairwise(LEVELS)))]
OUT = (("conv", LEVELS[0], 2, True), ("tanh",))
PARTS: dict[str, dict[str, Sequence[Layer]]] = {
    "faces": {"g": generator(), "d": FACE_JUDGE},
    "U-Net": {
        **{f"down{i}": layers for i, layers in enumerate(DOWN)},
        **{f"up{i}": layers for i, layers in enumerate(UP)},
        "out": OUT,
        "d": PATCH_JUDGE,
    },
}


def weights(layers: Sequence[Layer], part: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Drawn so that activations keep their size, named as in a Sequential."""
    made = {}
    for i, (kind, *sizes) in enumerate(layers):
        name = f"{part}.{i}"
        if kind in ("conv", "strided", "dense"):
            k = {"conv": (3, 3), "strided": (4, 4), "dense": ()}[kind]
            shape = (sizes[1], sizes[0], *k)
            made[f"{name}.weight"] = rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)
            if sizes[2]:
                made[f"{name}.bias"] = np.zeros(sizes[1], np.float32)
        elif kind in ("norm", "norm1"):
            made[f"{name}.weight"], made[f"{name}.bias"] = np.ones(sizes[0], np.float32), np.zeros(sizes[0], np.float32)
    return made


def inputs(task: str) -> Inputs:
    """Batches, and the weights of all parts."""
    rng = np.random.default_rng(0)
    if task == "faces":
        x = rng.uniform(-1, 1, (BATCHES, FACES, 1, SIZE, SIZE)).astype(np.float32)
        given = rng.standard_normal((BATCHES, FACES, LATENT), np.float32)
    else:
        x = rng.uniform(-1, 1, (BATCHES, CROPS, 2, SIZE, SIZE)).astype(np.float32)
        given = rng.uniform(-1, 1, (BATCHES, CROPS, 1, SIZE, SIZE)).astype(np.float32)
    made = {"x": x, "given": given}
    for part, layers in PARTS[task].items():
        made |= weights(layers, part, rng)
    return made


def _multiplications(layers: Sequence[Layer], side: float) -> tuple[float, float]:
    """Of one example, and the side of what comes out."""
    count = 0.0
    for kind, *sizes in layers:
        side = {"view": 4.0, "double": 2 * side, "halve": side / 2, "strided": side / 2}.get(kind, side)
        pixels = {"conv": 9 * side**2, "strided": 16 * side**2, "dense": 1.0}.get(kind, 0.0)
        count += pixels * sizes[0] * sizes[1] if pixels else 0.0
    return count, side


def flops(task: str) -> float:
    """The generator forward and backward; the discriminator on both kinds, backward, then forward and to its input."""
    parts = PARTS[task]
    d, side = _multiplications(parts["d"], SIZE)[0], float(SIZE)
    if task == "faces":
        g = _multiplications(parts["g"], 1)[0]
    else:
        g = sum(_multiplications(parts[f"down{i}"], SIZE / 2**i)[0] for i in range(len(DOWN)))
        g += sum(_multiplications(parts[f"up{i}"], SIZE / 2 ** (len(UP) - 1 - i))[0] for i in range(len(UP)))
        g += _multiplications(OUT, side)[0]
    return 2.0 * (FACES if task == "faces" else CROPS) * (3 * g + 8 * d)


# --------------------------------------------------------------------------------------------- the answer, in float64


def _np_dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, Backward]:
    def backward(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        return dy @ w, [dy.T @ x] if b is None else [dy.T @ x, dy.sum(axis=0)]

    return x @ w.T + (0 if b is None else b), backward


def _np_gradient_conv(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, Backward]:
    """As in bench.cases.cnn, but pictures get gradients too."""
    stride = 2 if w.shape[2] == 4 else 1

    def backward(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        grads = [reference.weight_gradient(dy, x, w.shape, stride, 1)]
        dx = reference.input_gradient(dy, w, x.shape[1:3], stride, 1)
        return dx, grads if b is None else [*grads, dy.sum(axis=(0, 1, 2))]

    return reference.forward(x, w, stride, 1) + (0 if b is None else b), backward


def _np_norm1(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Backward]:
    y, backward = _np_norm(x[:, None, None], w, b)

    def flat(dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        dx, grads = backward(dy[:, None, None])
        return dx[:, 0, 0], grads

    return y[:, 0, 0], flat


def _np_leaky(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    slope = np.where(x > 0, 1.0, LEAK)
    return x * slope, lambda dy: (dy * slope, [])


def _np_tanh(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    y = np.tanh(x)
    return y, lambda dy: (dy * (1 - y * y), [])


def _np_double(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    n, h, w, c = x.shape
    return x.repeat(2, 1).repeat(2, 2), lambda dy: (dy.reshape(n, h, 2, w, 2, c).sum((2, 4)), [])


def _np_halve(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4)), lambda dy: (dy.repeat(2, 1).repeat(2, 2) / 4, [])


def _np_flatten(x: np.ndarray) -> tuple[np.ndarray, Backward]:
    n, h, w, c = x.shape
    return reference.channels_first(x).reshape(n, -1), lambda dy: (dy.reshape(n, c, h, w).transpose(0, 2, 3, 1), [])


def _np_view(channels: int, side: int) -> Callable[[np.ndarray], tuple[np.ndarray, Backward]]:
    def view(x: np.ndarray) -> tuple[np.ndarray, Backward]:
        y = x.reshape(-1, channels, side, side).transpose(0, 2, 3, 1)
        return y, lambda dy: (dy.transpose(0, 3, 1, 2).reshape(x.shape), [])

    return view


NUMPY: dict[str, Callable] = {
    "conv": _np_gradient_conv,
    "strided": _np_gradient_conv,
    "dense": _np_dense,
    "norm": _np_norm,
    "norm1": _np_norm1,
    "relu": _np_relu,
    "leaky": _np_leaky,
    "tanh": _np_tanh,
    "double": _np_double,
    "halve": _np_halve,
    "flatten": _np_flatten,
}
Grads = dict[str, np.ndarray]


def _np_run(layers: Sequence[Layer], part: str, params: Grads, x: np.ndarray) -> tuple[np.ndarray, Callable]:
    """The output, and what brings its gradient back: to (dx, gradients by name)."""
    tape = []
    for i, (kind, *sizes) in enumerate(layers):
        names = [name for name in params if name.startswith(f"{part}.{i}.")]
        layer = _np_view(*sizes) if kind == "view" else NUMPY[kind]
        x, backward = layer(x, *(params[name] for name in names))
        tape.append((names, backward))

    def back(dy: np.ndarray) -> tuple[np.ndarray, Grads]:
        grads: Grads = {}
        for names, backward in reversed(tape):
            dy, got = backward(dy)
            grads |= dict(zip(names, got, strict=True))
        return dy, grads

    return x, back


def _np_generate(task: str, params: Grads, given: np.ndarray) -> tuple[np.ndarray, Callable]:
    """The same of a whole generator; its input gets no gradient."""
    if task == "faces":
        y, back = _np_run(PARTS[task]["g"], "g", params, given)
        return y, lambda dy: back(dy)[1]
    kept, ways = [], []
    x = reference.channels_last(given)
    for i, layers in enumerate(DOWN):
        x, way = _np_run(layers if i == 0 else (("halve",), *layers), f"down{i}", _shifted(params, f"down{i}", i), x)
        kept.append(x)
        ways.append(way)
    below, ups = kept.pop(), []
    for i, layers in enumerate(UP):
        below, doubled = _np_double(below)
        wide = below.shape[3]
        below, way = _np_run(layers, f"up{i}", params, np.concatenate([below, kept[-1 - i]], 3))
        ups.append((way, doubled, wide))
    y, last = _np_run(OUT, "out", params, below)

    def back(dy: np.ndarray) -> Grads:
        d, grads = last(dy)
        across = {}
        for i in reversed(range(len(UP))):
            way, doubled, wide = ups[i]
            d, got = way(d)
            grads |= got
            across[len(UP) - 1 - i] = d[..., wide:]
            d = doubled(np.ascontiguousarray(d[..., :wide]))[0]
        for i in reversed(range(len(DOWN))):
            d, got = ways[i](d + across[i] if i in across else d)
            grads |= {_unshifted(name, i): value for name, value in got.items()}
        return grads

    return y, back


def _shifted(params: Grads, part: str, shift: int) -> Grads:
    """A stage's parameters as they are numbered behind the layer that halves."""
    mine = {k: v for k, v in params.items() if k.startswith(f"{part}.")}
    if not shift:
        return mine
    return {f"{part}.{int(k.split('.')[1]) + 1}.{k.split('.')[2]}": v for k, v in mine.items()}


def _unshifted(name: str, shift: int) -> str:
    part, number, what = name.split(".")
    return f"{part}.{int(number) - bool(shift)}.{what}"


def _np_losses(task: str, said: np.ndarray, real: int) -> tuple[float, np.ndarray]:
    """Of the discriminator on real examples, then generated ones."""
    sign = np.where(np.arange(len(said)) < real, -1.0, 1.0).reshape(-1, *(1,) * (said.ndim - 1))
    if task == "faces":
        loss, slope = np.logaddexp(0, sign * said), sign / (1 + np.exp(-sign * said))
    else:
        loss, slope = np.maximum(0, 1 + sign * said), sign * (1 + sign * said > 0)
    return float(loss.sum() / said[:real].size), slope / said[:real].size


@lru_cache(maxsize=2)
def right(task: str) -> Answer:
    """Both losses of the first steps."""
    made = inputs(task)
    params = {k: v.astype(np.float64) for k, v in made.items() if k not in ("x", "given")}
    state = {k: (np.zeros_like(v), np.zeros_like(v)) for k, v in params.items()}
    losses = []
    for step in range(1, CHECKED_STEPS + 1):
        x, given = (made[name][step - 1].astype(np.float64) for name in ("x", "given"))
        real = reference.channels_last(x)
        fake, back = _np_generate(task, params, given)

        def condition(y: np.ndarray, given: np.ndarray = given) -> np.ndarray:
            return y if task == "faces" else np.concatenate([y, reference.channels_last(given)], 3)

        both = np.concatenate([condition(real), condition(fake)])
        said, way = _np_run(PARTS[task]["d"], "d", params, both)
        loss, slope = _np_losses(task, said, len(real))
        for name, grad in way(slope)[1].items():
            numpy_adam(params[name], grad, *state[name], step, LR)
        said, way = _np_run(PARTS[task]["d"], "d", params, condition(fake))
        if task == "faces":
            other, slope = float(np.logaddexp(0, -said).mean()), -1 / (1 + np.exp(said)) / said.size
            d = way(slope)[0]
        else:
            other = float(-said.mean() + L1 * abs(fake - real).mean())
            d = way(np.full(said.shape, -1 / said.size))[0][..., :2] + L1 * np.sign(fake - real) / fake.size
        losses += [loss, other]
        for name, grad in back(d).items():
            numpy_adam(params[name], grad, *state[name], step, LR)
    return [np.array(losses)]


# ------------------------------------------------------------------------------- fastnn and PyTorch: the same program


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


# ------------------------------------------------------------------------------------------------------------ sampling

TRANSPOSED = ((100, 512), (512, 256), (256, 128), (128, 64), (64, 3))


def sampling_inputs() -> Inputs:
    """Noise, and weights that keep activations at their size."""
    rng = np.random.default_rng(0)
    made = {"x": rng.standard_normal((1, 100, 1, 1), np.float32)}
    for i, (c, f) in enumerate(TRANSPOSED):
        spread = np.float32((2 / (c * (4 if i else 1))) ** 0.5)
        made[f"{2 * i}.weight"] = rng.standard_normal((c, f, 4, 4), np.float32) * spread
        made[f"{2 * i}.bias"] = rng.standard_normal(f, np.float32) * np.float32(0.1)
    return made


@lru_cache(maxsize=1)
def face() -> Answer:
    """In float64."""
    given = {k: v.astype(np.float64) for k, v in sampling_inputs().items()}
    x = reference.channels_last(given["x"])
    for i in range(len(TRANSPOSED)):
        w = given[f"{2 * i}.weight"]
        size = 2 * x.shape[1] if i else 4
        x = reference.input_gradient(x, w, (size, size), 2 if i else 1, 1 if i else 0) + given[f"{2 * i}.bias"]
        x = np.maximum(x, 0) if i < len(TRANSPOSED) - 1 else np.tanh(x)
    return [reference.channels_first(x)]


def _dcgan(lib: Any, given: Inputs) -> Any:
    layers: list[Any] = []
    for i, (c, f) in enumerate(TRANSPOSED):
        layers += [lib.nn.ConvTranspose2d(c, f, 4, *((2, 1) if i else (1, 0))), lib.nn.ReLU()]
    net = lib.nn.Sequential(*layers[:-1], lib.nn.Tanh())
    net.load_state_dict({k: lib.tensor(v) for k, v in given.items() if k != "x"})
    return net


def _fastnn_face(given: Inputs) -> Run:
    import fastnn as fnn

    net, x = _dcgan(fnn, given).freeze(), fnn.tensor(given["x"])
    return Run(lambda: net(x), lambda: [net(x).numpy()], fnn.no_grad)


def _nodes() -> Nodes:
    nodes: list[Any] = []
    for i in range(len(TRANSPOSED)):
        source = "x" if not i else f"y{2 * i - 1}"
        how = {"strides": [2, 2], "pads": [1] * 4} if i else {}
        nodes.append(("ConvTranspose", (source, f"{2 * i}.weight", f"{2 * i}.bias"), how))
        nodes.append(("Relu" if i < len(TRANSPOSED) - 1 else "Tanh", (f"y{2 * i}",), {}))
    return nodes


def sampling() -> Case:
    """One face."""
    names = [f"{2 * i}.{what}" for i in range(len(TRANSPOSED)) for what in ("weight", "bias")]
    products = [c * f * 16 * (4 * 2 ** (i - 1) if i else 1) ** 2 for i, (c, f) in enumerate(TRANSPOSED)]
    return Case(
        "gan",
        "sampling DCGAN 3x64x64 batch 1",
        sampling_inputs,
        lambda given: face(),
        {"fastnn": {"frozen": _fastnn_face}, **torch_inference(_dcgan), **graph_ops(_nodes(), names)},
        bound=1e-5,
        flops=2.0 * sum(products),
    )


CASES = [
    training("faces", f"faces 1x64x64 batch {FACES}, both networks"),
    training("U-Net", f"U-Net 64x64 batch {CROPS}, both networks"),
    sampling(),
]
