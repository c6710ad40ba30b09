"""Modules: what they own, their state, modes, copies and hooks, against PyTorch's."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn


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


def test_weights_that_count_no_batches():
    """Files of before PyTorch 0.4.1 have no num_batches_tracked; it stays as it is, and nothing else may be missing."""
    net = fnn.nn.Sequential(fnn.nn.Linear(2, 3), fnn.nn.BatchNorm1d(3))
    net(fnn.zeros(4, 2))
    old = {name: value for name, value in net.state_dict().items() if not name.endswith("tracked")}
    assert net.load_state_dict(old) == net.load_state_dict(old, strict=False) == ([], [])
    assert net[1].num_batches_tracked.item() == 1
    del old["1.running_mean"]
    with pytest.raises(ValueError, match=r"missing: 1\.running_mean$"):
        net.load_state_dict(old)


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
    assert net.train(np.False_).training is False
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


def test_parts_by_their_dotted_names():
    shared = nn.Linear(2, 2)
    net = nn.Sequential(nn.Sequential(shared, nn.ReLU()), shared)
    assert net.get_submodule("") is net
    assert net.get_submodule("1") is net.get_submodule("0.0") is shared
    assert net.get_parameter("0.0.weight") is shared.weight
    for wrong in ("2", "0.0.weight", "0..0"):
        with pytest.raises(AttributeError, match="Sequential has no module"):
            net.get_submodule(wrong)
    for wrong in ("0", "weight", "1.training"):
        with pytest.raises(AttributeError, match="Sequential has no parameter"):
            net.get_parameter(wrong)


def test_double_takes_the_gradients_along():
    net = nn.Linear(1, 1)
    net(fnn.ones(1, 1)).sum().backward()
    net.double()
    assert net.weight.grad.tolist() == [[1]]
    assert net.weight.grad.dtype == np.float64


@pytest.mark.parametrize("make", [
    lambda d: nn.Linear(3, 5, dtype=d), lambda d: nn.GRU(3, 5, dtype=d), lambda d: nn.LSTMCell(3, 5, dtype=d),
    lambda d: nn.Conv1d(3, 5, 2, dtype=d), lambda d: nn.LayerNorm(3, dtype=d), lambda d: nn.BatchNorm1d(3, dtype=d),
    lambda d: nn.GroupNorm(1, 3, dtype=d), lambda d: nn.MultiheadAttention(4, 2, dtype=d), lambda d: nn.PReLU(dtype=d),
    lambda d: nn.Embedding(3, 5, dtype=d),
])  # fmt: skip
def test_no_dtype_is_float32(make):
    for dtype, wanted in ((None, np.float32), (np.float64, np.float64)):
        layer = make(dtype)
        assert {t.dtype for t in (*layer.parameters(), *layer.buffers()) if t.dtype.kind == "f"} == {np.dtype(wanted)}


def test_double_leaves_a_frozen_module_frozen():
    net = Net().freeze()
    net.double()
    assert net.out.weight.dtype == np.float64
    with pytest.raises(RuntimeError, match="frozen"):
        net.out.weight.requires_grad = True
    with pytest.raises(ValueError, match="read-only"):
        net.out.weight.data[0] = 1
    net(fnn.zeros(1, 3, dtype=np.float64))


def test_repr_is_pytorchs():
    torch = pytest.importorskip("torch")

    def build(n):
        return n.Sequential(
            n.Linear(8, 8),
            n.ReLU(),
            n.ModuleList([n.Linear(2, 2), n.Linear(2, 2), n.Tanh()]),
            n.Sequential(n.Dropout(0.1), n.Flatten(), n.ELU(), n.LeakyReLU(), n.GELU(), n.Identity()),
            n.ModuleDict({"a": n.Linear(1, 2, bias=False)}),
            n.Sequential(n.MaxPool1d(3, 1, 1, ceil_mode=True), n.MaxPool2d(2, dilation=2)),
            n.Sequential(n.ConvTranspose1d(1, 2, 3, 2, output_padding=1), n.ConvTranspose2d(1, 2, 3, bias=False)),
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


class Echo(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


@pytest.mark.parametrize("n", range(10))
def test_a_call_hands_all_arguments_on(n):
    args = tuple(object() for _ in range(n))
    for kwargs in ({}, {"a": 1}, {"module": 3, "args": 4}):
        assert Echo()(*args, **kwargs) == (args, kwargs)
        assert nn.Module.__call__(Echo(), *args, **kwargs) == (args, kwargs)


def test_a_call_runs_the_forward_that_is_there():
    module = Echo()
    module.forward = lambda *args: ("own", *args)
    assert module(1) == ("own", 1)
    assert module(1, 2) == ("own", 1, 2)
    del module.forward
    assert module(1) == ((1,), {})

    class Static(nn.Module):
        forward = staticmethod(lambda x: x + 1)

    class Property(nn.Module):
        @property
        def forward(self):
            return lambda x: x + 2

    class Caught(nn.Module):
        def __getattribute__(self, name):
            return (lambda x: x + 3) if name == "forward" else super().__getattribute__(name)

    class Over(Echo):
        def __call__(self, *args):
            return "over", super().__call__(*args)

    assert (Static()(1), Property()(1), Caught()(1)) == (2, 3, 4)
    assert Over()(1) == ("over", ((1,), {}))
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(\)"):
        nn.Module()(1)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        nn.Linear(2, 2)()


def test_a_call_put_in_the_class_reaches_every_module(monkeypatch):
    net = nn.Sequential(nn.Linear(2, 2), Echo())
    seen, plain = [], nn.Module.__call__
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "__call__", lambda self, *args: seen.append(type(self).__name__) or plain(self, *args))
        net(fnn.zeros(1, 2))
    assert seen == ["Sequential", "Linear", "Echo"]
    net(fnn.zeros(1, 2))
    assert len(seen) == 3


def test_errors_and_depth_pass_through_a_call():
    class Deep(nn.Module):
        def forward(self, n):
            return self(n + 1)

    with pytest.raises(RecursionError):
        Deep()(0)
    module = Echo()
    with module.register_forward_hook(lambda *_: 1 / 0), pytest.raises(ZeroDivisionError):
        module()
    assert module() == ((), {})


def test_modules_beside_other_bases():
    import weakref
    from abc import ABC, abstractmethod

    class Shape(ABC):
        @abstractmethod
        def area(self): ...

    class Both(nn.Module, Shape):
        def __init__(self, side):
            super().__init__()
            self.side = side

        def area(self):
            return self.side**2

        def forward(self):
            return self.area()

    class Listed(list, nn.Module):
        def forward(self, x):
            return [x, *self]

    assert Both(3)() == 9
    assert Listed([1, 2])(0) == [0, 1, 2]
    both = object.__new__(Both)  # as a fused layer is made
    both.side = 2
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(nn.ReLU(), protocol))(fnn.ones(1)).tolist() == [1.0]
    assert weakref.ref(both)() is both
    assert copy.copy(both)() == 4
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (nn.Module, Shape), {})()
    with pytest.raises(TypeError):
        nn.Module(1)
