"""The tape: accumulation, hooks, freeing, depth, grad(), modes, threads, copies."""

import copy
import gc
import pickle
import sys
import threading
import weakref

import numpy as np
import pytest

import fastnn as fnn
from fastnn.nn import functional as F


def leaf(*values):
    return fnn.tensor(values, dtype=fnn.float64, requires_grad=True)


def test_accumulates_over_uses_and_passes():
    x = leaf(1.0, 2.0)
    (x * x + 3 * x).sum().backward()
    assert x.grad.tolist() == [5, 7]
    x.sum().backward()
    assert x.grad.tolist() == [6, 8]
    x.grad = None
    (x + x).backward(fnn.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]


def test_gradients_of_leaves_share_nothing():
    x, y, seed = leaf(1.0, 2.0), leaf(3.0, 4.0), fnn.ones(2, dtype=fnn.float64)
    (x + y).backward(seed)
    x.grad.zero_()
    assert y.grad.tolist() == [1, 1]
    assert seed.tolist() == [1, 1]
    (x + 0).backward(seed)
    x.grad.zero_()
    assert seed.tolist() == [1, 1]
    z = leaf(5.0, 6.0)
    z.expand(3, 2).sum().backward()
    z.sum().backward()
    assert z.grad.tolist() == [4, 4]


def test_gradients_of_leaves_share_nothing_under_create_graph():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x + y).sum().backward(create_graph=True)
    fnn.nn.clip_grad_value_([x, y], 0.5)  # of a sum the gradient is one number, stretched
    assert x.grad.tolist() == y.grad.tolist() == [0.5, 0.5]
    x.grad = y.grad = None
    (x**3 + y).sum().backward(create_graph=True)
    x.grad.sum().backward()
    assert x.grad.tolist() == [3 + 6, 12 + 12]


def test_gradient_has_the_memory_order_of_the_leaf():
    x = fnn.tensor(np.asfortranarray(np.ones((3, 4), np.float32))).requires_grad_()
    (x * 2).sum().backward()
    assert x.grad.data.strides == x.data.strides


@pytest.mark.parametrize("length", [100_000])
def test_deep_graphs(length):
    limit = sys.getrecursionlimit()
    x = y = leaf(1.0)
    for _ in range(length):
        y = y + 0.001
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(length):
        y = y * 1.0
    del y  # freeing it recurses no more than walking it
    y = x
    for _ in range(length):
        y = y * y.detach() ** 0
    with fnn.no_grad():
        (g,) = fnn.grad(y, x)
    assert g.item() == 1
    assert sys.getrecursionlimit() == limit


def test_a_diamond_visits_each_node_once():
    calls = []

    class Count(fnn.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, dy):
            calls.append(dy.item())
            return dy

    x = leaf(1.0)
    y = Count.apply(x)
    for _ in range(20):
        y = y + y
    y.sum().backward()
    assert calls == [2**20]


def test_freed_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        fnn.grad(y, x)


def test_nothing_is_kept_alive():
    x = leaf(2.0)
    y = fnn.exp(x) * 2
    middle = weakref.ref(y)
    z = fnn.tanh(y).sum()
    del y
    assert middle() is None  # the node of tanh needs its own output only
    z.backward()
    assert x.grad is not None
    del z
    gc.disable()
    try:
        y = fnn.tanh(fnn.exp(x))
        watch = weakref.ref(y)
        del y
        assert watch() is None  # no reference cycle
        y = fnn.exp(x)
        z = y.detach()  # keeps the memory, not the graph
        watch = weakref.ref(y)
        del y
        assert watch() is None
        assert z.is_leaf
    finally:
        gc.enable()


def test_hooks():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 3
    first = y.register_hook(lambda g: seen.append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    handle = x.register_hook(lambda g: g + 1)
    (y + y).sum().backward()
    assert seen == [[2, 2]]
    assert x.grad.tolist() == [61, 61]
    handle.remove()
    handle.remove()
    first.remove()
    x.grad = None
    (x * 3 + x).sum().backward()
    assert x.grad.tolist() == [4, 4]
    with pytest.raises(RuntimeError, match="does not require grad"):
        x.detach().register_hook(print)
    x.register_hook(lambda g: "no")
    with pytest.raises(TypeError, match="hook returned str"):
        x.sum().backward()


@pytest.mark.parametrize("wrong", [fnn.ones(3), fnn.ones(1, 2), fnn.ones(2, dtype=fnn.float64), fnn.tensor([1, 2])])
def test_what_a_hook_returns_must_fit(wrong):
    x = fnn.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    handle = y.register_hook(lambda g: wrong)
    with pytest.raises(ValueError, match=r"a hook returned a tensor of shape .*; expected \(2,\) float32"):
        y.sum().backward(retain_graph=True)
    handle.remove()
    x.register_hook(lambda g: wrong)
    with pytest.raises(ValueError, match="a hook returned a tensor"):
        y.sum().backward()
    assert x.grad is None


def test_hooks_of_leaves_within_grad():
    x, unused = leaf(1.0, 2.0), leaf(1.0)
    x.register_hook(lambda g: g * 10)
    unused.register_hook(lambda g: 1 / 0)
    y = (x * x + x).sum()
    gradients = fnn.grad(y, [x, unused], create_graph=True, allow_unused=True)
    assert gradients[0].tolist() == [30, 50]
    assert gradients[1] is None
    assert fnn.grad(gradients[0].sum(), x)[0].tolist() == [200, 200]
    assert x.grad is None


def test_a_failing_pass_leaves_the_graph_usable():
    x = leaf(1.0)
    y = x * 2
    z = y * 3 + y * 4
    handle = y.register_hook(lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        z.backward(retain_graph=True)
    assert fnn.is_grad_enabled()
    handle.remove()
    z.backward()
    assert x.grad.item() == 14


def test_backward_within_a_hook():
    x, w = leaf(1.0), leaf(5.0)
    y = x * 2
    y.register_hook(lambda g: (w * w).sum().backward())
    with fnn.enable_grad():
        y.backward(create_graph=True)
    assert w.grad.item() == 10
    a = x * 3
    b = a * 2
    a.register_hook(lambda g: None)
    b.register_hook(lambda g: a.backward(retain_graph=True))
    b.backward()


def test_grad():
    x, y, z = leaf(2.0), leaf(3.0), leaf(4.0)
    m = x * y
    out = m * m + x
    gx, gm = fnn.grad(out, [x, m], retain_graph=True)
    assert (gx.item(), gm.item()) == (37, 12)
    assert x.grad is None
    with pytest.raises(RuntimeError, match="do not depend on input 1"):
        fnn.grad(out, [x, z], retain_graph=True)
    assert fnn.grad(out, [z], allow_unused=True, retain_graph=True) == (None,)
    (g,) = fnn.grad([out, m], m, [fnn.tensor([2.0]), None], retain_graph=True)
    assert g.item() == 25
    assert fnn.grad(x, x)[0].item() == 1
    with pytest.raises(RuntimeError, match="does not require grad"):
        fnn.grad(out.detach(), x)
    with pytest.raises(TypeError, match="must be Tensors"):
        fnn.grad(out, [1.0])
    with pytest.raises(ValueError, match="grad_outputs"):
        fnn.grad(out, x, [None, None])


def test_only_wanted_gradients_are_computed():
    wanted = []

    class Watch(fnn.Function):
        @staticmethod
        def forward(ctx, a, b):
            return a * b

        @staticmethod
        def backward(ctx, dy):
            wanted.append(ctx.needs_input_grad)
            return dy, dy

    a, b = leaf(1.0), leaf(2.0)
    y = Watch.apply(a, b)
    fnn.grad(y, b, retain_graph=True)
    y.backward()
    assert wanted == [(False, True), (True, True)]


def test_higher_derivatives():
    x = leaf(0.7)
    y = fnn.sin(x)
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7)):
        (y,) = fnn.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected, rel=1e-12)
    x = leaf(1.5)
    (x**3).backward(create_graph=True)
    (x.grad * 2).backward()  # 2 * 6x on top of 3x^2
    assert x.grad.item() == pytest.approx(3 * 1.5**2 + 12 * 1.5)


def test_modes():
    x = leaf(1.0)
    with fnn.no_grad():
        assert not (x * 2).requires_grad
        with fnn.enable_grad():
            assert (x * 2).requires_grad
        assert not fnn.is_grad_enabled()
    assert fnn.is_grad_enabled()

    @fnn.no_grad()
    def f():
        """Doc."""
        return x * 2

    assert not f().requires_grad
    assert f.__doc__ == "Doc."
    with pytest.raises(ZeroDivisionError), fnn.no_grad():
        1 / 0  # noqa: B018
    assert fnn.is_grad_enabled()
    with pytest.raises(TypeError, match="@no_grad"):
        fnn.no_grad(f)
    seen = []
    with fnn.no_grad():
        t = threading.Thread(target=lambda: seen.append(fnn.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]  # each thread has a mode of its own


def test_modes_of_generators():
    x = leaf(1.0)

    @fnn.no_grad()
    def doubled():
        """Doc."""
        try:
            factor = 2
            while factor:
                with fnn.enable_grad():
                    recorded = fnn.is_grad_enabled()
                try:
                    factor = yield (x * factor).requires_grad, recorded
                except KeyError:
                    factor = 5
            return "the end"
        finally:
            assert not fnn.is_grad_enabled()

    steps = doubled()
    assert doubled.__doc__ == "Doc."
    assert next(steps) == (False, True)
    assert fnn.is_grad_enabled()
    assert steps.send(3) == (False, True)
    assert steps.throw(KeyError()) == (False, True)
    assert fnn.is_grad_enabled()
    with pytest.raises(StopIteration, match="the end"):
        steps.send(0)
    assert fnn.is_grad_enabled()
    again = doubled()
    next(again)
    again.close()
    again = doubled()
    next(again)
    with pytest.raises(ZeroDivisionError):
        again.throw(ZeroDivisionError())
    assert fnn.is_grad_enabled()


def test_training_in_threads():
    def train(seed, results):
        rng = np.random.default_rng(seed)
        w = fnn.tensor(rng.standard_normal((200, 100)), requires_grad=True)
        x = fnn.tensor(rng.standard_normal((300, 100)))
        for _ in range(10):
            w.grad = None
            fnn.linear(x, w, activation="tanh").square().mean().backward()
            with fnn.no_grad():
                w -= 0.1 * w.grad
        results[seed] = w.data.tobytes()

    alone, together = {}, {}
    for seed in range(3):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert alone == together


def test_a_graph_freed_while_a_hook_runs():
    x = leaf(1.0)
    y = x * 2
    handle = y.register_hook(lambda gradient: (handle.remove(), y.backward(retain_graph=False), None)[-1])
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        fnn.grad(y, x)


def test_leaves_and_flags():
    x = leaf(1.0)
    y = x * 2
    assert x.is_leaf
    assert not y.is_leaf
    assert "mulnumber" in repr(y.grad_fn)
    with pytest.raises(RuntimeError, match="only leaves"):
        y.requires_grad = False
    with pytest.raises(TypeError, match="float"):
        fnn.arange(3).requires_grad_()
    with pytest.raises(RuntimeError, match="does not require grad"):
        fnn.ones(1).backward()
    with pytest.raises(RuntimeError, match=r"shape \(2,\)"):
        leaf(1.0, 2.0).backward()
    with pytest.raises(ValueError, match=r"expected \(2,\)"):
        leaf(1.0, 2.0).backward(fnn.ones(3))
    with pytest.raises(ValueError, match="grad"):
        x.grad = fnn.ones(2)
    with pytest.raises(TypeError, match="Tensor"):
        x.grad = 3
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    (y * 3).backward()
    assert y.grad.item() == 3
    y, z = x * 2, x * 3
    y.retain_grad()
    z.retain_grad()
    (y + z).backward()
    y.grad.zero_()
    assert z.grad.item() == 1


@pytest.mark.parametrize("requires_grad", [False, True])
def test_copies(requires_grad):
    x = fnn.tensor([[1.0, 2.0]], requires_grad=requires_grad)
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.deepcopy([x, x])[0]):
        assert y.tolist() == x.tolist()
        assert y.requires_grad == requires_grad
        assert y.is_leaf
        with fnn.no_grad():
            y += 1
        assert x.tolist() == [[1, 2]]
    twice = copy.deepcopy([x, x])
    assert twice[0] is twice[1]
    x.grad = fnn.tensor([[3.0, 4.0]])
    y = copy.deepcopy(x)
    x.grad.zero_()
    assert y.grad.tolist() == [[3, 4]]

    class Named(fnn.Tensor):
        pass

    n = Named([1.0])
    n.name = "n"
    assert copy.deepcopy(n).name == "n"
    assert type(copy.deepcopy(n)) is Named


@pytest.mark.parametrize("op", ["attention", "layer_norm", "batch_norm"])
def test_a_freed_graph_holds_nothing(op):
    """Who keeps the result of 50 ops keeps one array after the backward, not what each of them saved."""
    x = fnn.ones(1, 4, 64, 64)
    run = {
        "attention": lambda y: F.scaled_dot_product_attention(x, x, y),
        "layer_norm": lambda y: F.layer_norm(y, 64),
        "batch_norm": lambda y: F.batch_norm(y, None, None, training=True),
    }[op]
    start = fnn.ones(1, 4, 64, 64, requires_grad=True)
    before = fnn.memory_stats()["in_use"]
    y = start
    for _ in range(50):
        y = run(y)
    y.sum().backward()
    start.grad = None
    assert fnn.memory_stats()["in_use"] - before < 4 * start.data.nbytes


def test_a_freed_chain_of_attention_is_no_deep_recursion():
    x, y = fnn.ones(1, 1, 1, 2), fnn.ones(1, 1, 1, 2, requires_grad=True)
    for _ in range(200_000):
        y = F.scaled_dot_product_attention(x, x, y)
    y.sum().backward()
    del y


def test_a_fresh_gradient_is_not_copied():
    """What a backward has just computed becomes grad as it is; in a steady step nothing comes from the system."""
    x, w = fnn.ones(40, 50), fnn.ones(30, 50, requires_grad=True)

    def allocations(run):
        w.grad = None
        before = fnn.memory_stats()["allocations"]
        run(fnn.linear(x, w).sum())
        return fnn.memory_stats()["allocations"] - before

    assert allocations(lambda y: y.backward()) == allocations(lambda y: fnn.grad(y, w))
    steady = fnn.memory_stats()["from_system"]
    for _ in range(20):
        w.grad = None
        fnn.linear(x, w).sum().backward()
    assert fnn.memory_stats()["from_system"] == steady


def through(x):
    """Nodes that write their gradient over that of their output, and the tensors between them."""
    norm = fnn.nn.functional.batch_norm(x, None, None, training=True, activation="relu")
    hidden = [x, norm, fnn.tanh(norm)]
    hidden.append(fnn.silu(hidden[-1]))
    hidden.append(fnn.relu(hidden[-1] - 0.1))
    return hidden


@pytest.fixture
def pictures():
    return fnn.tensor(np.random.default_rng(0).standard_normal((4, 3, 5, 5)), requires_grad=True)


def expected_gradients(x, seed):
    """Each pass by itself from a fresh graph, recorded, which writes over nothing."""
    hidden = through(x)
    return [g.detach().numpy() for g in fnn.grad(hidden[-1], hidden[:-1], seed, create_graph=True)]


def test_a_gradient_nobody_holds_gives_its_memory_to_the_next(pictures):
    places = {}
    hidden = through(pictures)
    for i, h in enumerate(hidden[1:]):
        h.register_hook(lambda g, i=i: places.__setitem__(i, g.data.ctypes.data))
    (hidden[-1] * 2).sum().backward()
    assert places[2] == places[1] == places[0]


@pytest.mark.parametrize("keep", [lambda g: g, lambda g: g.data, lambda g: g.data[1:], lambda g: g.reshape(-1)])
def test_a_gradient_somebody_holds_stays_as_it_is(pictures, keep):
    seed = fnn.tensor(np.random.default_rng(1).standard_normal(pictures.shape))
    before, held = seed.numpy().copy(), {}
    hidden = through(pictures)
    for i, h in enumerate(hidden[:-1]):
        h.register_hook(lambda g, i=i: held.__setitem__(i, keep(g)))
    hidden[-1].backward(seed)
    np.testing.assert_array_equal(seed.numpy(), before)
    for i, gradient in enumerate(expected_gradients(pictures, seed)):
        want = np.asarray(keep(fnn.tensor(gradient)))
        np.testing.assert_allclose(np.asarray(held[i]), want, rtol=1e-12, atol=1e-12, err_msg=str(i))


def test_gradients_asked_for_and_retained_graphs_are_not_written_over(pictures):
    seed = fnn.ones(*pictures.shape, dtype=fnn.float64)
    hidden = through(pictures)
    want = expected_gradients(pictures, seed)
    for _ in range(2):
        for got, right in zip(fnn.grad(hidden[-1], hidden[:-1], seed, retain_graph=True), want, strict=True):
            np.testing.assert_allclose(got.numpy(), right, rtol=1e-12, atol=1e-12)


def test_a_gradient_two_nodes_share_is_not_written_over(pictures):
    a = pictures * 1.0
    b = fnn.tanh(a) + fnn.relu(a) + fnn.silu(a)  # each node gets the same gradient, and a the sum of three
    ((b * 2).sum() + a.sum()).backward()
    x, rest = pictures.detach().numpy(), 1 / (1 + np.exp(-pictures.detach().numpy()))
    slope = 1 - np.tanh(x) ** 2 + (x > 0) + rest * (1 + x * (1 - rest))
    np.testing.assert_allclose(pictures.grad.numpy(), 2 * slope + 1, rtol=1e-12)


@pytest.mark.parametrize("op", [lambda h, x: h * x, lambda h, x: h.square(), lambda h, x: F.layer_norm(h, 1)])
def test_a_long_graph_that_nobody_went_through_is_dropped(op):
    """Tensor, node, its input, ...: 130,000 of them were more than a stack of 8 MB."""
    x = h = fnn.ones(1, requires_grad=True)
    for _ in range(300_000):
        h = op(h, x)
    del h


def test_retain_grad_leaves_nothing_to_the_collector():
    x = fnn.ones(3, requires_grad=True)
    gc.disable()
    try:
        h = x * 2
        h.retain_grad()
        h.sum().backward()
        assert h.grad.tolist() == [1, 1, 1]
        gone = weakref.ref(h)
        del h
        assert gone() is None
    finally:
        gc.enable()
