"""The losses of the cases `gan` in float64 NumPy: both networks forward, backward and moved by Adam."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from bench import conv_reference as reference
from bench.case import Answer
from bench.cases.cnn import _np_norm, _np_relu
from bench.cases.gan_networks import DOWN, OUT, PARTS, UP, Layer, inputs
from bench.cases.optimizer import numpy_adam

LR, LEAK, L1, CHECKED_STEPS = 2e-4, 0.2, 30.0, 2
Backward = Callable[[np.ndarray], tuple[np.ndarray, list[np.ndarray]]]


# ----- layers: the output, and what brings its gradient back to (dx, gradients of the weights)


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
