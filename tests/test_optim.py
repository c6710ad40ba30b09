"""Optimizers against PyTorch, step by step, and against frozen numbers where it is not installed."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest

import fastnn as fnn

SHAPES = [(3, 4), (5,), (), (17, 3)]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.6), "amsgrad": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5, "betas": (0.9, 0.5), "amsgrad": True, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.5, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True, "maximize": True}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]


def twins(dtype=np.float64, seed=0):
    """The same parameters for fastnn and PyTorch."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(s).astype(dtype) for s in SHAPES]
    return [fnn.tensor(v, requires_grad=True) for v in values], [torch.tensor(v, requires_grad=True) for v in values]


def give_gradients(ours, theirs, rng, missing=()):
    torch = pytest.importorskip("torch")
    for i, (a, b) in enumerate(zip(ours, theirs)):
        g = np.asarray(rng.standard_normal(a.shape), a.dtype)
        a.grad = None if i in missing else fnn.tensor(g)
        b.grad = None if i in missing else torch.tensor(g)


def assert_same(ours, theirs, rtol=1e-12):
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_steps_are_pytorchs(name, options, rng):
    torch = pytest.importorskip("torch")
    ours, theirs = twins()
    a, b = getattr(fnn.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for _ in range(6):
        give_gradients(ours, theirs, rng)
        a.step()
        b.step()
        assert_same(ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_parameters_left_out_keep_their_own_count(name, options, rng):
    torch = pytest.importorskip("torch")
    ours, theirs = twins()
    a, b = getattr(fnn.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for missing in [(1,), (), (0, 1), (0, 1, 2, 3), (3,), (), ()]:
        give_gradients(ours, theirs, rng, missing)
        a.step()
        b.step()
        assert_same(ours, theirs)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_state_travels_both_ways(name, options, rng):
    torch = pytest.importorskip("torch")
    ours, theirs = twins()
    a, b = getattr(fnn.optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    for missing in [(), (2,), ()]:
        give_gradients(ours, theirs, rng, missing)
        a.step()
        b.step()
    fresh, _ = twins()
    for p, q in zip(fresh, ours):
        p.data = q.data.copy()
    c = getattr(fnn.optim, name)(fresh, lr=5.0)
    c.load_state_dict(b.state_dict())  # PyTorch's state
    for _ in range(2):
        give_gradients(ours, theirs, rng)
        for p, q in zip(fresh, ours):
            p.grad = q.grad.clone()
        a.step()
        b.step()
        c.step()
        assert_same(ours, theirs)
        assert_same(fresh, theirs)
    d = getattr(fnn.optim, name)(fresh, lr=5.0)
    d.load_state_dict(a.state_dict())
    assert d.param_groups[0]["lr"] == options["lr"]
    for key, values in a.state_dict()["state"].items():
        for entry, value in values.items():
            np.testing.assert_array_equal(np.asarray(d.state_dict()["state"][key][entry]), np.asarray(value))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda things: pickle.loads(pickle.dumps(things))])
def test_optimizers_copy_and_pickle(name, options, again, rng):
    params, _ = twins()
    optimizer = getattr(fnn.optim, name)([{"params": params[:1], "lr": 0.1}, {"params": params[1:]}], **options)
    schedule = fnn.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    steps = [[rng.normal(size=p.shape) for p in params] for _ in range(4)]

    def take(params, optimizer, gradients, missing):
        for i, (p, g) in enumerate(zip(params, gradients)):
            p.grad = None if i == missing else fnn.tensor(g)
        optimizer.step()

    for i in range(2):
        take(params, optimizer, steps[i], i)  # step counts of their own
    params2, optimizer2, schedule2 = again((params, optimizer, schedule))
    assert optimizer2.param_groups[1]["params"][0] is params2[1]
    schedule2.step()
    schedule.step()
    for group, group2 in zip(optimizer.param_groups, optimizer2.param_groups):
        assert group2["lr"] == group["lr"]
    for gradients in steps[2:]:
        take(params, optimizer, gradients, None)
        take(params2, optimizer2, gradients, None)
    for p, p2 in zip(params, params2):
        np.testing.assert_array_equal(p.data, p2.data)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_state_dict_has_pytorchs_layout(rng, amsgrad):
    torch = pytest.importorskip("torch")
    ours, theirs = twins()
    a = fnn.optim.Adam([{"params": ours[:2], "lr": 0.5}, {"params": ours[2:]}], amsgrad=amsgrad)
    b = torch.optim.Adam([{"params": theirs[:2], "lr": 0.5}, {"params": theirs[2:]}], amsgrad=amsgrad)
    assert a.state_dict()["state"] == {}
    give_gradients(ours, theirs, rng, missing=(1,))
    a.step()
    b.step()
    assert_same(ours, theirs)
    mine, his = a.state_dict(), b.state_dict()
    assert list(mine["state"]) == sorted(his["state"])
    for key in mine["state"]:
        assert set(mine["state"][key]) == set(his["state"][key])
    for g, h in zip(mine["param_groups"], his["param_groups"]):
        assert g["params"] == h["params"]
        assert {k: h[k] for k in g} == g
    theirs_again = torch.optim.Adam([{"params": theirs[:2]}, {"params": theirs[2:]}])
    theirs_again.load_state_dict(
        {
            **his,
            "state": {
                k: {n: torch.tensor(float(v)) if n == "step" else torch.tensor(v.data) for n, v in s.items()}
                for k, s in mine["state"].items()
            },
        }
    )
    give_gradients(ours, theirs, rng)
    a.step()
    theirs_again.step()
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_defaults_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (fnn.optim, torch.optim))
    assert {key: ours[key].default for key in ours} == {key: theirs[key].default for key in ours}


def test_state_takes_the_dtype_of_the_parameter():
    w = fnn.ones(3, requires_grad=True)
    optimizer = fnn.optim.Adam([w])
    saved = {"step": 2, "exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}  # of a model in float64
    optimizer.load_state_dict({"state": {0: saved}, "param_groups": [{**optimizer.param_groups[0], "params": [0]}]})
    state = optimizer.state_dict()["state"][0]
    assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == np.float32
    state["exp_avg"].data[...] = 7  # memory of the optimizer's, not of what was loaded
    assert saved["exp_avg"].tolist() == [1, 1, 1]


def test_float32_and_mixed_dtypes(rng):
    values = [np.ones(5, np.float32), np.ones(3, np.float64)]
    params = [fnn.tensor(v, requires_grad=True) for v in values]
    optimizer = fnn.optim.Adam(params, lr=0.1)
    for _ in range(3):
        for p in params:
            p.grad = fnn.ones(*p.shape, dtype=p.dtype)
        optimizer.step()
    for p in params:
        np.testing.assert_allclose(p.data, 0.7, rtol=1e-6)


FORMULAS = {"SGD": {"lr": 0.1, "momentum": 0.5}, "Adam": {"lr": 0.1}, "RMSprop": {"lr": 0.1}}


def by_formula(name, x=1.0):
    """Ten steps on x**4 / 4 + x by the formulas of the papers."""
    m = v = 0.0
    for t in range(1, 11):
        g = x**3 + 1
        if name == "SGD":
            m = 0.5 * m + g
            x -= 0.1 * m
        elif name == "Adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            x -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
        else:
            v = 0.99 * v + 0.01 * g * g
            x -= 0.1 * g / (math.sqrt(v) + 1e-8)
    return x


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_are_those_of_the_formulas(name):
    x = fnn.tensor(1.0, dtype=np.float64, requires_grad=True)
    optimizer = getattr(fnn.optim, name)([x], **FORMULAS[name])
    for _ in range(10):
        optimizer.zero_grad()
        (x**4 / 4 + x).backward()
        optimizer.step()
    assert x.item() == pytest.approx(by_formula(name), rel=1e-12)


def test_closure_and_zero_grad():
    x = fnn.tensor([2.0], requires_grad=True)
    optimizer = fnn.optim.SGD([x], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with fnn.no_grad():  # the closure records all the same
        assert optimizer.step(closure).item() == 4.0
    assert x.item() == 1.0
    optimizer.zero_grad(set_to_none=False)
    assert x.grad.item() == 0.0
    optimizer.zero_grad()
    assert x.grad is None
    optimizer.step()
    assert x.item() == 1.0


def test_parameter_groups():
    a, b = fnn.zeros(1, requires_grad=True), fnn.zeros(1, requires_grad=True)
    optimizer = fnn.optim.SGD([{"params": a, "lr": 1.0}, {"params": [b]}], lr=0.5)
    for p in (a, b):
        p.grad = fnn.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (-1.0, -0.5)
    optimizer.param_groups[1]["lr"] = 2.0
    optimizer.step()
    assert (a.item(), b.item()) == (-2.0, -2.5)
    assert "lr: 2.0" in repr(optimizer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": -1.0}),
        ("SGD", {"lr": math.nan}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("SGD", {"weight_decay": -1.0}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("Adam", {"eps": -1e-8}),
        ("AdamW", {"weight_decay": -1.0}),
        ("RMSprop", {"alpha": -0.5}),
        ("RMSprop", {"momentum": -0.5}),
        ("RMSprop", {"lr": math.inf}),
    ],
)
def test_bad_hyperparameters(name, options):
    with pytest.raises(ValueError, match=name):
        getattr(fnn.optim, name)([fnn.zeros(1, requires_grad=True)], **options)


def test_bad_parameters():
    w = fnn.zeros(2, requires_grad=True)
    for bad in (w, "w", {"params": [w]}, {w}):
        with pytest.raises(TypeError, match="fixed order"):
            fnn.optim.SGD(bad, lr=0.1)
    with pytest.raises(ValueError, match="empty"):
        fnn.optim.SGD([], lr=0.1)
    with pytest.raises(TypeError, match="must be Tensors, got int"):
        fnn.optim.SGD([3], lr=0.1)
    with pytest.raises(ValueError, match="leaf"):
        fnn.optim.SGD([w * 2], lr=0.1)
    with pytest.raises(ValueError, match="leaf Tensors of floats"):
        fnn.optim.SGD([fnn.tensor([1])], lr=0.1)
    with pytest.raises(ValueError, match="given twice"):
        fnn.optim.SGD([w, w], lr=0.1)
    with pytest.raises(ValueError, match="given twice"):
        fnn.optim.SGD([{"params": [w]}, {"params": [w]}], lr=0.1)
    with pytest.raises(TypeError, match="unknown hyperparameters betas"):
        fnn.optim.SGD([{"params": [w], "betas": 3}], lr=0.1)
    with pytest.raises(TypeError, match="number"):
        fnn.optim.SGD([w], lr="0.1")
    with pytest.raises(TypeError, match="pair"):
        fnn.optim.Adam([w], betas=0.9)


def test_bad_state_is_refused_untouched(rng):
    w = fnn.tensor(np.ones(3), requires_grad=True)
    optimizer = fnn.optim.Adam([w])
    w.grad = fnn.tensor(np.ones(3))
    optimizer.step()
    good = optimizer.state_dict()
    group = good["param_groups"][0]
    for bad in (
        {},
        {"state": {}, "param_groups": []},
        {"state": {}, "param_groups": [{**group, "params": [0, 1]}]},
        {"state": {}, "param_groups": [{**group, "lr": -1.0}]},
        {**good, "param_groups": [{**group, "amsgrad": True}]},  # of which the state knows nothing
        {"state": {0: {"step": 3}}, "param_groups": [group]},
        {"state": {0: {**good["state"][0], "exp_avg": np.ones(4)}}, "param_groups": [group]},
        {"state": {0: {**good["state"][0], "step": -1}}, "param_groups": [group]},
    ):
        with pytest.raises(ValueError, match=r"load_state_dict|Adam"):
            optimizer.load_state_dict(bad)
    one, other = ([{"params": [fnn.zeros(1) for _ in range(n)]} for n in sizes] for sizes in ((1, 2), (2, 1)))
    with pytest.raises(ValueError, match=r"groups of \[1, 2\] parameters; expected \[2, 1\]"):
        fnn.optim.SGD(other).load_state_dict(fnn.optim.SGD(one).state_dict())
    assert optimizer.state_dict()["state"][0]["step"] == 1
    assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("order", [(2, 3, 1, 0), (0, 3, 2, 1), (3, 1, 0, 2)])
@pytest.mark.parametrize("shape", [(4, 5, 1, 3), (4, 1, 3, 2), (1, 4, 1, 3), (2, 3, 4, 5)])
def test_parameters_in_any_order_of_memory(name, order, shape):
    # as a kernel (height, width, in, out) of TensorFlow's, transposed; a dimension of size 1 has any stride
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape)
    back = np.argsort(order)
    there = np.ascontiguousarray(values.transpose(order)).transpose(back)
    p, q = fnn.Tensor(values.copy(), requires_grad=True), fnn.Tensor(there, requires_grad=True)
    one, other = (getattr(fnn.optim, name)([t], lr=0.1) for t in (p, q))
    for _ in range(3):
        gradient = rng.standard_normal(shape)
        p.grad, q.grad = fnn.tensor(gradient), fnn.tensor(gradient)
        one.step()
        other.step()
    np.testing.assert_array_equal(p.data, q.data)
    for key, state in one.state_dict()["state"][0].items():
        np.testing.assert_array_equal(np.asarray(state), np.asarray(other.state_dict()["state"][0][key]))


class Momentum(fnn.optim.Optimizer):
    """One of somebody's own: heavy-ball momentum in plain operations."""

    def __init__(self, params, lr=0.1, momentum=0.9):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    def step(self):
        with fnn.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    state = self.state[p]
                    state["v"] = p.grad + group["momentum"] * state.get("v", 0 * p.grad)
                    p -= group["lr"] * state["v"]


def test_an_optimizer_of_ones_own():
    def run(make, steps, optimizer=None, p=None):
        p = fnn.ones(3, requires_grad=True) if p is None else p
        optimizer = make([p]) if optimizer is None else optimizer
        for _ in range(steps):
            optimizer.zero_grad()
            (p**3).sum().backward()
            optimizer.step()
        return p, optimizer

    want, _ = run(lambda params: fnn.optim.SGD(params, 0.1, momentum=0.9), 6)
    p, optimizer = run(Momentum, 3)
    other, twin = run(Momentum, 1)
    other.data[:] = p.data
    twin.load_state_dict(optimizer.state_dict())
    for parameter, own in ((p, optimizer), (other, twin)):
        run(None, 3, own, parameter)
        np.testing.assert_allclose(parameter.data, want.data, rtol=1e-6)
    copied = pickle.loads(pickle.dumps(optimizer))
    assert len(copied.state) == 1
    fnn.optim.lr_scheduler.ExponentialLR(optimizer, 0.5).step()
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_an_optimizer_without_a_step():
    class Nothing(fnn.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(NotImplementedError, match="needs a method step"):
        Nothing([fnn.ones(1, requires_grad=True)]).step()


def test_groups_may_have_names():
    p = fnn.ones(1, requires_grad=True)
    assert fnn.optim.SGD([{"params": [p], "name": "encoder"}], 0.1).param_groups[0]["name"] == "encoder"


@pytest.mark.parametrize("zero", [lambda net, o: net.zero_grad(set_to_none=False), lambda net, o: o.zero_grad(False)])
def test_gradients_of_a_recorded_backward_become_zeros(zero):
    net = fnn.nn.Linear(1, 1)
    (net(fnn.ones(1, 1)) ** 2).sum().backward(create_graph=True)
    zero(net, fnn.optim.SGD(net.parameters(), 0.1))
    assert net.weight.grad.tolist() == [[0]]
    assert not net.weight.grad.requires_grad
