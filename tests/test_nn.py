"""Modules, layers, losses and initialisations against PyTorch, closed forms and their unfused twins."""

import copy
import math
import pickle

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


class Net(nn.Module):
    def __init__(self):
        self.hidden = nn.Linear(3, 4, activation="relu")
        self.out = nn.Linear(4, 2, bias=False)
        self.register_buffer("scale", fnn.tensor([2.0]))
        self.register_buffer("scratch", fnn.tensor([0.0]), persistent=False)

    def forward(self, x):
        return self.out(self.hidden(x)) * self.scale


# ----- Module -----


def test_names_and_order_are_pytorchs():
    torch = pytest.importorskip("torch")

    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden = torch.nn.Linear(3, 4)
            self.out = torch.nn.Linear(4, 2, bias=False)
            self.register_buffer("scale", torch.tensor([2.0]))
            self.register_buffer("scratch", torch.tensor([0.0]), persistent=False)

    ours, theirs = Net(), Twin()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for ask in ("named_parameters", "named_buffers", "named_children", "named_modules"):
        assert [n for n, _ in getattr(ours, ask)()] == [n for n, _ in getattr(theirs, ask)()]


def test_weights_travel_to_pytorch_and_back(rng):
    torch = pytest.importorskip("torch")
    ours = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 2))
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 2))
    ours.load_state_dict(theirs.state_dict())
    x = f32(rng, 9, 5)
    np.testing.assert_allclose(ours(fnn.tensor(x)).data, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    theirs.load_state_dict({k: torch.tensor(v.data) for k, v in ours.state_dict().items()})


def test_registration_follows_assignment():
    net = Net()
    first = net.hidden
    net.hidden = nn.Linear(3, 5)
    assert [n for n, _ in net.named_children()] == ["hidden", "out"]
    assert net.hidden is not first
    del net.hidden
    assert [n for n, _ in net.named_parameters()] == ["out.weight"]
    net.out.weight = None
    assert list(net.parameters()) == []
    del net.scale
    assert list(net.state_dict()) == []


def test_assigning_the_wrong_thing_is_refused():
    net = Net()
    with pytest.raises(TypeError, match=r"Linear.weight is a Parameter: cannot assign Tensor"):
        net.out.weight = fnn.zeros(2, 4)
    with pytest.raises(TypeError, match=r"Net\.out is a Module"):
        net.out = 3
    with pytest.raises(TypeError, match=r"Net\.scale is a Tensor"):
        net.scale = 3.0
    net.scale = fnn.tensor([3.0])
    assert net.state_dict()["scale"].item() == 3.0


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training"])
def test_bad_names_are_refused(name):
    module = nn.Module()
    for register, value in [
        (module.register_parameter, nn.Parameter(fnn.zeros(1))),
        (module.register_buffer, fnn.zeros(1)),
        (module.add_module, nn.ReLU()),
    ]:
        with pytest.raises(KeyError):
            register(name, value)
        with pytest.raises(TypeError):
            register(3, value)
        with pytest.raises(TypeError):
            register("fine", "text")


def test_shared_parameters_count_once():
    a = nn.Linear(3, 3)
    net = nn.Sequential(a, nn.ReLU(), a)
    assert len(list(net.parameters())) == 2
    assert len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert net(fnn.zeros(1, 3)).shape == (1, 3)


def test_load_state_dict_checks_everything_first():
    net = Net()
    before = {k: v.data.copy() for k, v in net.state_dict().items()}
    bad = {"hidden.weight": np.ones((4, 3)), "hidden.bias": np.ones(5), "scale": np.array(["x"]), "what": np.ones(1)}
    with pytest.raises(ValueError, match="does not fit") as error:
        net.load_state_dict(bad)
    for piece in (
        "hidden.bias: shape (4,) expected, got (5,)",
        "missing: out.weight",
        "unexpected: what",
        "scale: dtype",
    ):
        assert piece in str(error.value)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.data, before[name])
    with pytest.raises(ValueError, match=r"hidden\.bias"):
        net.load_state_dict(bad, strict=False)  # shapes count either way
    with pytest.raises(TypeError, match="mapping"):
        net.load_state_dict([1, 2])
    missing, unexpected = net.load_state_dict({"scale": np.array([5]), "what": 1}, strict=False)
    assert missing == ["hidden.weight", "hidden.bias", "out.weight"]
    assert unexpected == ["what"]
    assert net.scale.item() == 5.0


def test_load_state_dict_bumps_versions():
    net = nn.Linear(2, 2)
    y = (net(fnn.ones(1, 2)) * 2).sum()
    x = net.weight * net.weight
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        x.sum().backward()
    assert y.shape == ()


def test_modes_reach_everything():
    net = nn.Sequential(nn.Dropout(0.5), nn.ModuleList([nn.Dropout(0.5)]))
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    with pytest.raises(TypeError):
        net.train("yes")
    net.requires_grad_(False)
    net = Net().requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_zero_grad():
    net = nn.Linear(2, 1)
    net(fnn.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert (net.weight.grad.data == 0).all()
    net.zero_grad()
    assert net.weight.grad is None


def test_double_and_float_keep_identity():
    net = Net()
    weight = net.out.weight
    net.double()
    assert net.out.weight is weight
    assert weight.dtype == np.float64
    assert weight.requires_grad
    assert net.scale.dtype == np.float64
    assert net(fnn.zeros(1, 3, dtype=np.float64)).dtype == np.float64
    assert net.float().scale.dtype == np.float32
    for wrong in (np.int32, "cuda"):
        with pytest.raises(ValueError, match="float32 or float64"):
            net.to(wrong)


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def build(n):
        return n.Sequential(
            n.Linear(8, 8),
            n.ReLU(),
            n.ModuleList([n.Linear(2, 2), n.Linear(2, 2), n.Tanh()]),
            n.Sequential(n.Dropout(0.1), n.Flatten(), n.ELU(), n.LeakyReLU(), n.GELU(), n.Identity()),
            n.ModuleDict({"a": n.Linear(1, 2, bias=False)}),
            n.Sequential(),
        )

    assert repr(build(nn)) == repr(build(torch.nn)).replace(", inplace=False", "")


def test_modules_copy_and_pickle(rng):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x = fnn.tensor(f32(rng, 2, 3))
    expected = net(x)  # makes the plan, which must not point to the old layers afterwards
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin(x).data, expected.data)
        assert isinstance(twin[0].weight, nn.Parameter)
        assert twin[0].weight.requires_grad
        with fnn.no_grad():
            twin[0].weight.zero_()
            twin[0].bias.zero_()
        assert not np.array_equal(twin(x).data, expected.data)
    np.testing.assert_array_equal(net(x).data, expected.data)


# ----- hooks -----


def test_hooks_see_and_change():
    layer = nn.Identity()
    x = fnn.tensor([1.0])
    seen = []
    after = layer.register_forward_hook(lambda m, args, out: seen.append((m, args, out)))
    assert layer(x) is x
    assert seen == [(layer, (x,), x)]
    before = layer.register_forward_pre_hook(lambda m, args: args[0] + 1)
    assert layer(x).item() == 2.0
    first = layer.register_forward_pre_hook(lambda m, args: (args[0] * 10,), prepend=True)
    assert layer(x).item() == 11.0
    changed = layer.register_forward_hook(lambda m, args, kwargs, out: out * 2, with_kwargs=True)
    assert layer(x).item() == 22.0
    for handle in (after, before, first, changed):
        handle.remove()
        handle.remove()
    assert layer._hooks is None
    assert layer(x) is x
    with pytest.raises(TypeError, match="callable"):
        layer.register_forward_hook(3)


def test_prehook_with_kwargs():
    class Add(nn.Module):
        def forward(self, x, y=0.0):
            return x + y

    layer = Add()
    layer.register_forward_pre_hook(lambda m, args, kwargs: (args, {"y": 5.0}), with_kwargs=True)
    assert layer(fnn.tensor([1.0]), y=1.0).item() == 6.0
    layer.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TypeError, match=r"\(args, kwargs\)"):
        layer(fnn.tensor([1.0]))


# ----- containers -----


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh])
def test_fused_sequential_equals_its_unfused_twin(activation, rng):
    linear, act = nn.Linear(19, 23), activation()
    x = fnn.tensor(f32(rng, 6, 19), requires_grad=True)
    fused = nn.Sequential(linear, act)(x)
    fused.sum().backward()
    gradients = [x.grad.data.copy(), linear.weight.grad.data.copy(), linear.bias.grad.data.copy()]
    for t in (x, linear.weight, linear.bias):
        t.grad = None
    apart = act(linear(x))
    apart.sum().backward()
    np.testing.assert_allclose(fused.data, apart.data, rtol=1e-5, atol=1e-6)
    for ours, expected in zip(gradients, (x.grad, linear.weight.grad, linear.bias.grad)):
        np.testing.assert_allclose(ours, expected.data, rtol=1e-4, atol=1e-5)


def test_sequential_fuses_only_when_it_may(monkeypatch, rng):
    calls = []
    real = fnn._ops.linear

    def spy(x, weight, bias=None, activation=None):
        calls.append(activation)
        return real(x, weight, bias, activation)

    class Ops:
        linear = staticmethod(spy)

    monkeypatch.setattr("fastnn.nn._fusion._ops", Ops)
    x = fnn.tensor(f32(rng, 2, 3))
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    net(x)
    assert calls == ["relu"]
    handle = net[1].register_forward_hook(lambda m, args, out: None)
    net(x)
    assert calls == ["relu"]
    handle.remove()
    net[1] = nn.Tanh()
    net(x)
    assert calls == ["relu", "tanh"]
    net[0].activation = "relu"  # its own activation first, then tanh
    np.testing.assert_allclose(
        net(x).data, np.tanh(real(x, net[0].weight, net[0].bias, "relu").data), rtol=1e-5, atol=1e-6
    )
    assert calls == ["relu", "tanh"]

    class Special(nn.ReLU):
        def forward(self, x):
            return x * 0

    assert (nn.Sequential(nn.Linear(3, 3), Special())(x).data == 0).all()
    nn.Sequential(nn.Linear(3, 3), nn.GELU("tanh"))(x)
    assert calls == ["relu", "tanh"]


def test_module_list_edits():
    layers = nn.ModuleList([nn.Linear(1, 1), nn.Tanh()])
    layers.append(nn.ReLU())
    layers.insert(1, nn.Sigmoid())
    assert [type(m).__name__ for m in layers] == ["Linear", "Sigmoid", "Tanh", "ReLU"]
    del layers[0]
    assert list(layers.__dict__) == ["0", "1", "2"]
    assert isinstance(layers[-1], nn.ReLU)
    assert len(layers[:2]) == 2
    layers[0] = nn.ELU()
    assert isinstance(layers[0], nn.ELU)
    with pytest.raises(IndexError):
        layers[3]
    with pytest.raises(TypeError, match="Module expected"):
        layers.append(3)
    with pytest.raises(TypeError, match="Module expected"):
        nn.Sequential(nn.ReLU(), lambda x: x)


def test_sequential_of_a_dict_and_slices():
    net = nn.Sequential({"1": nn.Linear(2, 3), "act": nn.ReLU()})
    net.append(nn.Linear(3, 1))
    assert len(net) == 3
    assert net(fnn.zeros(4, 2)).shape == (4, 1)
    assert net[:2](fnn.zeros(4, 2)).shape == (4, 3)
    assert [n for n, _ in net.named_children()] == ["1", "act", "2"]


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.ReLU()})
    heads["b"] = nn.Tanh()
    assert list(heads) == heads.keys() == ["a", "b"]
    assert "a" in heads
    assert "training" not in heads
    assert isinstance(heads.pop("a"), nn.ReLU)
    with pytest.raises(KeyError):
        heads["a"]
    with pytest.raises(KeyError, match="already has"):
        heads["keys"] = nn.ReLU()
    with pytest.raises(TypeError):
        heads["c"] = 1


# ----- Linear and activations -----


@pytest.mark.parametrize(
    "name", ["relu", "gelu", "tanh", "sigmoid", "silu", "leaky_relu", "elu", "softplus", "softmax"]
)
def test_linear_activation_by_name_equals_the_function(name, rng):
    layer = nn.Linear(5, 6, activation=name)
    x = fnn.tensor(f32(rng, 4, 5))
    plain = x @ layer.weight.T + layer.bias
    np.testing.assert_allclose(layer(x).data, getattr(F, name)(plain).data if name != "softmax" else
                               F.softmax(plain, -1).data, rtol=1e-5, atol=1e-6)  # fmt: skip


def test_linear_takes_any_callable(rng):
    layer = nn.Linear(3, 2, activation=lambda x: (x * 0.5).sin())
    x = fnn.tensor(f32(rng, 4, 3))
    layer(x).sum().backward()
    assert layer.weight.grad.shape == (2, 3)
    np.testing.assert_allclose(
        layer(x).data, np.sin(0.5 * (x @ layer.weight.T + layer.bias).data), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="unknown activation 'rellu'"):
        nn.Linear(1, 1, activation="rellu")
    with pytest.raises(TypeError, match="activation"):
        nn.Linear(1, 1, activation=3)


@pytest.mark.parametrize(("sizes", "error"), [((0, 1), ValueError), ((1, -1), ValueError), ((1.5, 1), TypeError),
                                              ((True, 1), TypeError), (("3", 1), TypeError)])  # fmt: skip
def test_linear_sizes_are_checked(sizes, error):
    with pytest.raises(error, match="Linear"):
        nn.Linear(*sizes)


def test_linear_initialisation_is_pytorchs():
    fnn.manual_seed(0)
    layer = nn.Linear(400, 300)
    bound = 1 / 20
    for p in (layer.weight, layer.bias):
        assert np.abs(p.data).max() <= bound
    assert np.abs(layer.weight.data).max() > 0.999 * bound
    assert layer.weight.data.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)
    other = nn.Linear(400, 300)
    assert not np.array_equal(layer.weight.data, other.weight.data)
    fnn.manual_seed(0)
    np.testing.assert_array_equal(nn.Linear(400, 300).weight.data, layer.weight.data)


ACTIVATIONS = [
    ("ReLU", ()), ("LeakyReLU", (0.2,)), ("ELU", (1.5,)), ("GELU", ("none",)), ("GELU", ("tanh",)), ("SiLU", ()),
    ("Sigmoid", ()), ("Tanh", ()), ("Softplus", ()), ("Softplus", (3.0, 5.0)), ("Softmax", (1,)), ("LogSoftmax", (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), ACTIVATIONS)
def test_activations_are_pytorchs(name, args, rng):
    torch = pytest.importorskip("torch")
    x = np.concatenate([f32(rng, 4, 9) * 4, np.zeros((1, 9), np.float32)])
    ours, theirs = fnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    dy = f32(rng, 5, 9)
    y, z = getattr(nn, name)(*args)(ours), getattr(torch.nn, name)(*args)(theirs)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=2e-5, atol=2e-6)
    y.backward(fnn.tensor(dy))
    z.backward(torch.tensor(dy))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=2e-4, atol=2e-5)


def test_activation_arguments_are_checked():
    with pytest.raises(ValueError, match="approximate"):
        nn.GELU("erf")
    with pytest.raises(ValueError, match="beta"):
        nn.Softplus(beta=0)
    with pytest.raises(TypeError, match="callable"):
        nn.Lambda(3)
    with pytest.raises(AttributeError):
        nn.GELU().approximate = "tanh"


def test_dropout(rng):
    fnn.manual_seed(1)
    layer = nn.Dropout(0.25)
    x = fnn.ones(200, 100, requires_grad=True)
    y = layer(x)
    kept = y.data != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(y.data[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data != 0, kept)
    assert not np.array_equal(layer(x).data, y.data)
    fnn.manual_seed(1)
    np.testing.assert_array_equal(layer(x).data, y.data)
    assert layer.eval()(x) is x
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            nn.Dropout(p)
    with pytest.raises(TypeError, match="number"):
        nn.Dropout("0.5")


# ----- losses -----


def against_torch(ours, theirs, x, target, rtol=2e-5):
    """The same loss and the same gradient of its input."""
    torch = pytest.importorskip("torch")
    a, b = fnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    la, lb = ours(a, fnn.tensor(target)), theirs(b, torch.tensor(target))
    np.testing.assert_allclose(la.data, lb.detach().numpy(), rtol=rtol, atol=1e-6)
    la.sum().backward()
    lb.sum().backward()
    np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MSELoss", {}),
        ("L1Loss", {}),
        ("HuberLoss", {"delta": 0.7}),
        ("SmoothL1Loss", {"beta": 0.7}),
        ("SmoothL1Loss", {"beta": 0.0}),
    ],
)
def test_regression_losses_are_pytorchs(name, options, reduction, rng):
    torch = pytest.importorskip("torch")
    x, y = f32(rng, 5, 3), f32(rng, 5, 3)
    against_torch(
        getattr(nn, name)(reduction=reduction, **options), getattr(torch.nn, name)(reduction=reduction, **options), x, y
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(7, 4), (7, 4, 3)])
def test_cross_entropy_is_pytorchs(reduction, weighted, smoothing, shape, rng):
    torch = pytest.importorskip("torch")
    x, weight = f32(rng, *shape), np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    target = rng.integers(0, 4, shape[:1] + shape[2:])
    target.reshape(-1)[2] = 1 if smoothing else -100
    against_torch(
        nn.CrossEntropyLoss(fnn.tensor(weight) if weighted else None, reduction=reduction, label_smoothing=smoothing),
        torch.nn.CrossEntropyLoss(
            torch.tensor(weight) if weighted else None, reduction=reduction, label_smoothing=smoothing
        ),
        x,
        target,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(7, 4), (4,), (7, 4, 3)])
def test_nll_is_pytorchs(reduction, weighted, shape, rng):
    torch = pytest.importorskip("torch")
    weight = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    target = np.asarray(rng.integers(0, 4, shape[:1] + shape[2:] if len(shape) > 1 else ()))
    if target.ndim:
        target.reshape(-1)[2] = -100
    against_torch(
        nn.NLLLoss(fnn.tensor(weight) if weighted else None, reduction=reduction),
        torch.nn.NLLLoss(torch.tensor(weight) if weighted else None, reduction=reduction),
        f32(rng, *shape),
        target,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_losses_are_pytorchs(reduction, rng):
    torch = pytest.importorskip("torch")
    x, y = f32(rng, 6, 3) * 5, rng.uniform(size=(6, 3)).astype(np.float32)
    weight, positive = np.array([1.0, 2.0, 0.5], np.float32), np.array([0.5, 3.0, 1.0], np.float32)
    against_torch(nn.BCEWithLogitsLoss(reduction=reduction), torch.nn.BCEWithLogitsLoss(reduction=reduction), x, y)
    against_torch(
        nn.BCEWithLogitsLoss(fnn.tensor(weight), reduction, fnn.tensor(positive)),
        torch.nn.BCEWithLogitsLoss(torch.tensor(weight), reduction=reduction, pos_weight=torch.tensor(positive)),
        x,
        y,
    )
    p = rng.uniform(0.01, 0.99, (6, 3)).astype(np.float32)
    against_torch(nn.BCELoss(reduction=reduction), torch.nn.BCELoss(reduction=reduction), p, y)


def test_binary_losses_at_the_edges():
    assert F.binary_cross_entropy(fnn.tensor([0.0, 1.0]), fnn.tensor([1.0, 0.0])).item() == pytest.approx(100.0)
    wrong = fnn.tensor([0.0, 1.0, 0.0, 0.5], requires_grad=True)
    F.binary_cross_entropy(wrong, fnn.tensor([1.0, 0.0, 0.0, 1.0]), reduction="sum").backward()
    np.testing.assert_allclose(wrong.grad.data, [-1e12, 1e12, 1.0, -2.0], rtol=1e-6)
    big = fnn.tensor([200.0, -200.0], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(big, fnn.tensor([1.0, 0.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 0.0
    assert np.isfinite(big.grad.data).all()
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        F.binary_cross_entropy(fnn.tensor([1.5]), fnn.tensor([1.0]))


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum", "none"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_kl_is_pytorchs(reduction, log_target, rng):
    torch = pytest.importorskip("torch")
    x = np.log(rng.dirichlet(np.ones(4), 6)).astype(np.float32)
    y = rng.dirichlet(np.ones(4), 6).astype(np.float32)
    if log_target:
        y = np.log(y)
    else:
        y[0] = [0.0, 0.0, 1.0, 0.0]
    against_torch(
        nn.KLDivLoss(reduction, log_target), torch.nn.KLDivLoss(reduction=reduction, log_target=log_target), x, y
    )


@pytest.mark.parametrize(
    "name", ["MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss", "BCELoss", "BCEWithLogitsLoss", "KLDivLoss"]
)
def test_shapes_of_losses_are_not_broadcast(name):
    with pytest.raises(ValueError, match="expected the same shape"):
        getattr(nn, name)()(fnn.full((4, 1), 0.5), fnn.ones(4))
    with pytest.raises(ValueError, match="reduction"):
        getattr(nn, name)(reduction="median")


def test_class_targets_are_checked():
    logp = fnn.zeros(3, 4)
    with pytest.raises(ValueError, match="out of range"):
        F.nll_loss(logp, fnn.tensor([0, 4, 1]))
    with pytest.raises(ValueError, match="expected target"):
        F.nll_loss(logp, fnn.tensor([0, 1]))
    with pytest.raises(TypeError, match="integers"):
        F.nll_loss(logp, fnn.tensor([0.0, 1.0, 2.0]))
    with pytest.raises(ValueError, match="weight"):
        F.nll_loss(logp, fnn.tensor([0, 1, 2]), fnn.ones(3))


# ----- initialisations -----


@pytest.mark.parametrize(("fill", "std"), [
    (lambda t: nn.init.uniform_(t, -1, 3), 4 / math.sqrt(12)), (lambda t: nn.init.normal_(t, 1, 0.5), 0.5),
    (nn.init.xavier_uniform_, math.sqrt(2 / 500)), (nn.init.xavier_normal_, math.sqrt(2 / 500)),
    (nn.init.kaiming_uniform_, math.sqrt(2 / 300)),
    (lambda t: nn.init.kaiming_normal_(t, 0.0, "fan_out", "relu"), math.sqrt(2 / 200)),
    (nn.init.trunc_normal_, 0.8796),
])  # fmt: skip
def test_spread_of_initialisations(fill, std):
    fnn.manual_seed(2)
    t = fnn.empty(200, 300, requires_grad=True)
    assert fill(t) is t
    assert t.data.std() == pytest.approx(std, rel=0.02)
    assert t.requires_grad
    assert t.is_leaf


def test_orthogonal():
    for shape in [(5, 3), (3, 5), (4, 2, 3), (4, 4)]:
        w = nn.init.orthogonal_(fnn.empty(*shape, dtype=np.float64), gain=2.0).data.reshape(shape[0], -1)
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.5, 0.6), (3, 8), (-9, -7), (-1e9, 1e9), (30, 1e9), (-0.1, 40)])
def test_trunc_normal_ends_and_stays_inside(a, b):
    values = nn.init.trunc_normal_(fnn.empty(2000), 0.0, 1.0, a, b).data
    assert values.min() >= np.float32(a)
    assert values.max() <= np.float32(b)
    if a == 3:  # mean of the tail: phi(3) / (1 - Phi(3))
        assert values.mean() == pytest.approx(3.283, abs=0.03)


def test_gains_and_errors():
    torch = pytest.importorskip("torch")
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert nn.init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))
    with pytest.raises(ValueError, match="unknown nonlinearity"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match="fans"):
        nn.init.xavier_uniform_(fnn.empty(3))
    with pytest.raises(TypeError, match="Tensor"):
        nn.init.normal_(np.zeros(3))
    with pytest.raises(TypeError, match="floating"):
        nn.init.normal_(fnn.tensor([1]))
    with pytest.raises(ValueError, match="std"):
        nn.init.normal_(fnn.empty(3), std=-1)
    with pytest.raises(ValueError, match="finite"):
        nn.init.uniform_(fnn.empty(3), 0, math.inf)
    with pytest.raises(ValueError, match="exceed"):
        nn.init.uniform_(fnn.empty(3), 1, 0)


# ----- clipping -----


@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_clip_grad_norm_is_pytorchs(norm_type, bound, rng):
    torch = pytest.importorskip("torch")
    gradients = [f32(rng, 4, 3), f32(rng, 5)]
    ours = [fnn.zeros(*g.shape, requires_grad=True) for g in gradients]
    theirs = [torch.zeros(g.shape, requires_grad=True) for g in gradients]
    for a, b, g in zip(ours, theirs, gradients):
        a.grad, b.grad = fnn.tensor(g), torch.tensor(g)
    unused = fnn.zeros(3, requires_grad=True)
    norm = nn.clip_grad_norm_([*ours, unused], bound, norm_type)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, bound, norm_type).item(), rel=1e-5)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-5)


def test_clip_errors():
    w = fnn.zeros(2, requires_grad=True)
    w.grad = fnn.tensor([math.inf, 1.0])
    with pytest.raises(RuntimeError, match="norm of the gradients is inf"):
        nn.clip_grad_norm_([w], 1.0, error_if_nonfinite=True)
    assert w.grad.data[1] == 1.0
    with pytest.raises(ValueError, match="positive"):
        nn.clip_grad_norm_([w], -1.0)
    with pytest.raises(ValueError, match="positive"):
        nn.clip_grad_value_([w], 0.0)
    with pytest.raises(TypeError, match="Tensors"):
        nn.clip_grad_norm_([3], 1.0)
