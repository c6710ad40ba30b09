"""Optimizer steps against loops of PyTorch's formulas, and against PyTorch where it is installed."""

import itertools

import numpy as np
import pytest

from fastnn import kernels

SHAPES = [(7,), (1,), (3, 5), (0,), (33,), (), (16, 16), (2, 3, 17)]


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def arrays(rng, dtype):
    return [np.asarray(rng.normal(size=s).astype(dtype)) for s in SHAPES]


def zeros(dtype):
    return [np.zeros(s, dtype) for s in SHAPES]


def sgd(p, g, s, step, lr, momentum, dampening, nesterov, weight_decay):
    g = g + weight_decay * p
    if momentum:
        s["m"] = g if step == 1 else momentum * s["m"] + (1 - dampening) * g
        g = g + momentum * s["m"] if nesterov else s["m"]
    return p - lr * g


def adam(p, g, s, step, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad=False):
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = beta2 * s["v"] + (1 - beta2) * g * g
    s["most"] = np.maximum(s["most"], s["v"])
    m, v = s["m"] / (1 - beta1**step), s["most" if amsgrad else "v"] / (1 - beta2**step)
    return p - lr * m / (np.sqrt(v) + eps)


def rmsprop(p, g, s, step, lr, alpha, eps, momentum, centered, weight_decay):
    g = g + weight_decay * p
    s["v"] = alpha * s["v"] + (1 - alpha) * g * g
    s["mean"] = alpha * s["mean"] + (1 - alpha) * g
    d = g / (np.sqrt(s["v"] - centered * s["mean"] ** 2) + eps)
    s["m"] = momentum * s["m"] + d
    return p - lr * s["m"]


SGD = [
    {"lr": 0.1, "momentum": m, "dampening": d, "nesterov": n, "weight_decay": w}
    for m, d, n, w in [
        (0, 0, False, 0),
        (0.9, 0, False, 0),
        (0.9, 0, True, 0.01),
        (0.5, 0.3, False, 0.1),
        (0, 0, False, 0.1),
    ]
]
ADAM = [
    {"lr": 0.01, "beta1": b1, "beta2": b2, "eps": 1e-8, "weight_decay": w, "decoupled": d}
    for b1, b2, w, d in [
        (0.9, 0.999, 0, False),
        (0.9, 0.999, 0.1, False),
        (0.9, 0.999, 0.1, True),
        (0.3, 0.5, 0, False),
    ]
]
ADAM += [{**options, "beta2": 0.5, "amsgrad": True} for options in ADAM[1:3]]
RMSPROP = [
    {"lr": 0.01, "alpha": a, "eps": 1e-8, "momentum": m, "centered": c, "weight_decay": w}
    for a, m, c, w in [(0.99, 0, False, 0), (0.99, 0.9, False, 0.1), (0.9, 0, True, 0), (0.9, 0.9, True, 0.01)]
]
CASES = [*((sgd, o) for o in SGD), *((adam, o) for o in ADAM), *((rmsprop, o) for o in RMSPROP)]


def kernel_state(name, options, dtype):
    """The lists and keyword arguments that the kernel of this name takes."""
    options = dict(options)
    state = {key: zeros(dtype) for key in {"sgd": "m", "adam": "mv", "rmsprop": "vm"}[name]}
    if options.pop("amsgrad", False):
        state["most"] = zeros(dtype)
    if name == "sgd" and not options["momentum"]:
        state["m"] = None
    if name == "rmsprop":
        state["mean"] = zeros(dtype) if options.pop("centered") else None
        state["m"] = state["m"] if options["momentum"] else None
    return state, options


@pytest.mark.parametrize(("formula", "options"), CASES, ids=lambda v: v.__name__ if callable(v) else "")
def test_formulas(isa, formula, options, dtype):
    name = formula.__name__
    rng = np.random.default_rng(0)
    params = arrays(rng, dtype)
    state, keywords = kernel_state(name, options, dtype)
    wanted = [p.astype(np.longdouble) for p in params]
    wanted_state = [{"m": 0.0, "v": 0.0, "mean": 0.0, "most": 0.0} for _ in params]
    for step in range(1, 8):
        grads = arrays(rng, dtype)
        for i, g in enumerate(grads):
            wanted[i] = formula(wanted[i], 0.5 * g.astype(np.longdouble), wanted_state[i], step, **options)
        getattr(kernels, name)(params, grads, **state, step=step, grad_scale=0.5, zero_grad=step == 3, **keywords)
        assert all(g.any() != (step == 3) for g in grads if g.size)
    for p, want in zip(params, wanted, strict=True):
        np.testing.assert_allclose(
            p, want.astype(dtype), rtol=500 * np.finfo(dtype).eps, atol=500 * np.finfo(dtype).eps
        )


@pytest.mark.parametrize(("formula", "options"), CASES, ids=lambda v: v.__name__ if callable(v) else "")
def test_as_the_reference_row(isa, formula, options, dtype):
    name = formula.__name__
    results = []
    for row in (isa, "reference"):
        kernels.use_isa(row)
        rng = np.random.default_rng(1)
        params = arrays(rng, dtype)
        state, keywords = kernel_state(name, options, dtype)
        for step in range(1, 4):
            getattr(kernels, name)(params, arrays(rng, dtype), **state, step=step, **keywords)
        results.append([*params, *itertools.chain.from_iterable(s for s in state.values() if s)])
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=64 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("formula", "options"), CASES, ids=lambda v: v.__name__ if callable(v) else "")
def test_pytorch(formula, options, dtype):
    torch = pytest.importorskip("torch")
    name, renamed = formula.__name__, dict(options)
    if name == "adam":
        renamed["betas"] = renamed.pop("beta1"), renamed.pop("beta2")
        optimizer = torch.optim.AdamW if renamed.pop("decoupled") else torch.optim.Adam
    else:
        optimizer = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop}[name]
    rng = np.random.default_rng(2)
    params = arrays(rng, dtype)
    theirs = [torch.nn.Parameter(torch.tensor(p)) for p in params]
    peer = optimizer(theirs, **renamed)
    state, keywords = kernel_state(name, options, dtype)
    for step in range(1, 11):
        grads = arrays(rng, dtype)
        for p, g in zip(theirs, grads, strict=True):
            p.grad = torch.tensor(g)
        peer.step()
        getattr(kernels, name)(params, grads, **state, step=step, **keywords)
    for ours, their in zip(params, theirs, strict=True):
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(ours, their.detach().numpy(), rtol=256 * eps, atol=64 * eps)


def test_many_tensors_are_one_array(isa, dtype):
    """The bits of a parameter do not depend on the tensors beside it."""
    rng = np.random.default_rng(3)
    whole, grad = rng.normal(size=(2, 1003)).astype(dtype)
    parts = np.split(whole.copy(), [1, 18, 18, 400, 1000])
    states = [np.zeros_like(whole), np.zeros_like(whole)]
    part_states = [[np.zeros_like(p) for p in parts] for _ in states]
    for step in (1, 2):
        kernels.adam([whole], [grad], *([s] for s in states), step=step, lr=0.1)
        kernels.adam(parts, np.split(grad.copy(), [1, 18, 18, 400, 1000]), *part_states, step=step, lr=0.1)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_errors_leave_everything_alone(dtype):
    p, g, m, v = (np.ones(5, dtype) for _ in range(4))
    frozen = np.ones(5, dtype)
    frozen.flags.writeable = False
    other = np.ones(5, np.float32 if dtype == np.float64 else np.float64)
    for wrong in (
        lambda: kernels.sgd([p], [g, g], step=1, lr=1),
        lambda: kernels.sgd([p], [g[:4]], step=1, lr=1),
        lambda: kernels.sgd([p], [p], step=1, lr=1),
        lambda: kernels.sgd([p, p], [g, m], step=1, lr=1),
        lambda: kernels.sgd([frozen], [g], step=1, lr=1),
        lambda: kernels.sgd([p[::2]], [g[:3]], step=1, lr=1),
        lambda: kernels.sgd([p], [g], step=0, lr=1),
        lambda: kernels.sgd([p], [g], step=2**70, lr=1),
        lambda: kernels.sgd([p], [g], step=1, lr=1, momentum=0.5),
        lambda: kernels.rmsprop([p], [g], [v], step=1, lr=1, momentum=0.5),
        lambda: kernels.adam([p], [g], [m], [m], step=1, lr=1),
        lambda: kernels.adam([p], [g], [m], [v], [v], step=1, lr=1),
        lambda: kernels.adam([p], [g], [m], [v], [frozen], step=1, lr=1),
    ):
        with pytest.raises(ValueError, match=r"^\w+: "):
            wrong()
    for wrong in (
        lambda: kernels.sgd(p, g, step=1, lr=1),
        lambda: kernels.sgd([p], [other], step=1, lr=1),
        lambda: kernels.sgd([p], None, step=1, lr=1),
        lambda: kernels.sgd([p], [g.tolist()], step=1, lr=1),
        lambda: kernels.sgd([p], [g], step=1, lr="1"),
        lambda: kernels.sgd([p], [g], step=1.5, lr=1),
        lambda: kernels.adam([p], [g], None, [v], step=1, lr=1),
    ):
        with pytest.raises(TypeError):
            wrong()
    for x in (p, g, m, v):
        np.testing.assert_array_equal(x, 1)
    kernels.sgd([], [], step=1, lr=1)
