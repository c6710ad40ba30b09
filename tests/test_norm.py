"""Normalisation: gradients and their gradients, the layers' parameters, buffers and modes, and what is refused."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F

RNG = np.random.default_rng(17)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


# ---- ops


@pytest.mark.parametrize("shape", [(5, 3), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_batch_norm_gradients(shape, activation):
    x, weight, bias = normal(*shape), normal(shape[1]), normal(shape[1])
    f = lambda x, w, b: F.batch_norm(x, None, None, w, b, True, activation=activation)  # noqa: E731
    assert fnn.gradcheck(f, (x, weight, bias), order=2)
    mean, var = normal(shape[1]), normal(shape[1]) ** 2 + 0.5
    g = lambda x, w, b: F.batch_norm(x, mean, var, w, b, False, activation=activation)  # noqa: E731
    assert fnn.gradcheck(g, (x, weight, bias), order=2)
    assert fnn.gradcheck(lambda x: F.batch_norm(x, None, None, training=True), x, order=2)
    assert fnn.gradcheck(lambda w: F.batch_norm(x, mean, var, w), weight)
    assert fnn.gradcheck(lambda b: F.batch_norm(x, None, None, None, b, True, activation=activation), bias)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 6, 5), (2, 6, 3, 4)])
def test_group_norm_gradients(groups, shape):
    x, weight, bias = normal(*shape), normal(6), normal(6)
    assert fnn.gradcheck(lambda x, w, b: F.group_norm(x, groups, w, b), (x, weight, bias), order=2)
    if groups == 6:
        assert fnn.gradcheck(lambda x, w, b: F.instance_norm(x, None, None, w, b), (x, weight, bias), order=2)
        y = F.instance_norm(x, weight=weight, bias=bias)
        np.testing.assert_array_equal(y.data, F.group_norm(x, groups, weight, bias).data)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dims", [1, 2])
def test_row_norm_gradients(shape, dims):
    if dims > len(shape):
        return
    last = shape[-dims:]
    x, residual, weight, bias = normal(*shape), normal(*shape), normal(*last), normal(*last)
    assert fnn.gradcheck(lambda x, w, b: F.layer_norm(x, last, w, b), (x, weight, bias), order=2)
    assert fnn.gradcheck(lambda x, w: F.rms_norm(x, last, w), (x, weight), order=2)
    assert fnn.gradcheck(lambda x: F.layer_norm(x, last), x, order=2)
    inputs = (x, residual, weight, bias)
    assert fnn.gradcheck(lambda x, r, w, b: F.add_layer_norm(x, r, last, w, b), inputs, order=2)
    assert fnn.gradcheck(lambda x, r, w: F.add_rms_norm(x, r, last, w), inputs[:3], order=2)


def test_any_memory_order():
    x, dy = normal(3, 4, 5, 6), normal(3, 4, 5, 6)
    for view in (x, x.permute(0, 2, 3, 1).clone().permute(0, 3, 1, 2)):
        leaf = fnn.Tensor(view.data, requires_grad=True)
        y = F.batch_norm(leaf, None, None, training=True)
        y.backward(dy)
        assert np.moveaxis(y.data, 1, -1).flags.c_contiguous
        np.testing.assert_allclose(y.data, F.batch_norm(x, None, None, training=True).data, atol=1e-12)
    transposed = normal(6, 5).T
    np.testing.assert_array_equal(F.layer_norm(transposed, 6).data, F.layer_norm(transposed.clone(), 6).data)
    assert fnn.gradcheck(lambda x: F.layer_norm(x.T, 6), normal(6, 5))


def test_fused_add_equals_add_then_norm():
    for rows, cols in [(7, 20), (300, 130)]:
        x, r, w, b, dy, ds = (normal(*s) for s in [(rows, cols)] * 2 + [(cols,)] * 2 + [(rows, cols)] * 2)
        results = []
        for fused in (True, False):
            leaves = [fnn.tensor(t.data.astype(np.float32), requires_grad=True) for t in (x, r, w, b)]
            if fused:
                y, s = F.add_layer_norm(leaves[0], leaves[1], cols, *leaves[2:])
            else:
                s = leaves[0] + leaves[1]
                y = F.layer_norm(s, cols, *leaves[2:])
            ((y * dy.float()).sum() + (s * ds.float()).sum()).backward()
            results.append([y.data, s.data] + [t.grad.data for t in leaves])
        for fused, apart in zip(*results, strict=True):
            np.testing.assert_allclose(fused, apart, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [F.layer_norm, F.rms_norm])
@pytest.mark.parametrize("order", ["norm first", "stream first"])
def test_gradient_of_the_residual_stream_is_added_once(norm, order):
    """The kernel takes the gradient that waits at its input into its own pass: neither lost nor counted twice."""
    a = normal(6, 10)
    stats = []

    def block(a):
        s = fnn.tanh(a)
        parts = [norm(s, 10), s * 3.0] if order == "norm first" else [s * 3.0, norm(s, 10)]
        t = parts[0] * parts[1] + s  # s is used three times
        return norm(t, 10) + t + norm(s, 10)

    assert fnn.gradcheck(block, a, order=2)
    s = fnn.Tensor(a.data, requires_grad=True) * 1.0
    s.register_hook(lambda g: stats.append(g.data.copy()))
    (norm(s, 10) * 2.0 + s * 3.0).sum().backward()
    assert len(stats) == 1
    s = fnn.Tensor(a.data, requires_grad=True) * 1.0
    (grad,) = fnn.grad((norm(s, 10) * 2.0 + s * 3.0).sum(), s)  # the target itself
    np.testing.assert_allclose(grad.data, stats[0], rtol=1e-12)


def test_retained_graph_gives_the_same_again():
    x = fnn.Tensor(normal(4, 6, 3).data, requires_grad=True)
    w = fnn.Tensor(np.ones(6), requires_grad=True)
    y = (F.group_norm(x * 1.0, 2, w) ** 2).sum() + (F.layer_norm(x * 2.0, 3) ** 3).sum()
    y.backward(retain_graph=True)
    first = x.grad.data.copy()
    y.backward()
    np.testing.assert_allclose(x.grad.data, 2 * first, rtol=1e-12)


def test_changes_after_the_forward_are_noticed():
    for change in range(3):
        x, w, b = (fnn.Tensor(np.ones(s), requires_grad=True) for s in ((4, 3), 3, 3))
        middle = x * 1.0
        y = F.batch_norm(middle, None, None, w, b, True, activation="relu").sum()
        with fnn.no_grad():
            (middle, w, b)[change].mul_(2.0)
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()
    mean, var = fnn.zeros(3), fnn.ones(3)
    x = fnn.Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    w = fnn.Tensor(np.ones(3, np.float32), requires_grad=True)
    y = F.batch_norm(x, mean, var, w).sum()
    mean.fill_(100.0)  # the running statistics move on: no error, and the gradient is that of the forward pass
    var.fill_(100.0)
    y.backward()
    np.testing.assert_allclose(w.grad.data, 4 / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_types():
    assert F.layer_norm([[1, 3]], 2).dtype == np.float32
    assert F.batch_norm(fnn.ones(2, 3), fnn.zeros(3).double(), fnn.ones(3).double()).dtype == np.float32
    assert F.group_norm(fnn.ones(2, 4), 2, fnn.ones(4).double()).dtype == np.float64
    x = fnn.Tensor(np.ones((2, 4), np.float32), requires_grad=True)
    F.layer_norm(x, 4, fnn.ones(4).double()).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("shape", [(0, 4), (0, 4, 3), (2, 4, 0)])
def test_nothing(shape):
    x = fnn.Tensor(np.ones(shape, np.float32), requires_grad=True)
    w = fnn.Tensor(np.ones(4, np.float32), requires_grad=True)
    for y in (F.group_norm(x, 2, w), F.batch_norm(x, fnn.zeros(4), fnn.ones(4), w)):
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.shape == shape
        assert not w.grad.data.any()
    F.layer_norm(x, shape[1:]).sum().backward()


# ---- layers: what PyTorch computes, by its definition


def reference(x, eps, axes):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize(
    ("make", "shape", "axes"),
    [
        (lambda: nn.BatchNorm1d(7), (9, 7), 0),
        (lambda: nn.BatchNorm1d(7), (9, 7, 5), (0, 2)),
        (lambda: nn.BatchNorm2d(7, eps=0.1), (9, 7, 3, 2), (0, 2, 3)),
        (lambda: nn.InstanceNorm1d(7), (9, 7, 5), 2),
        (lambda: nn.InstanceNorm1d(7), (7, 5), 1),
        (lambda: nn.InstanceNorm2d(7, eps=0.1), (9, 7, 3, 2), (2, 3)),
        (lambda: nn.InstanceNorm2d(7), (7, 3, 2), (1, 2)),
        (lambda: nn.GroupNorm(1, 7), (9, 7, 3), (1, 2)),
        (lambda: nn.LayerNorm(5), (9, 7, 5), 2),
        (lambda: nn.LayerNorm([7, 5], eps=0.1), (9, 7, 5), (1, 2)),
    ],
)
def test_layers_normalise(make, shape, axes):
    layer, x = make(), RNG.normal(3, 2, shape).astype(np.float32)
    want = reference(x, layer.eps, axes)
    np.testing.assert_allclose(layer(fnn.tensor(x)).data, want, atol=1e-5)
    if layer.weight is not None:
        layer.weight.data[...] = 2
        layer.bias.data[...] = 1
        np.testing.assert_allclose(layer(fnn.tensor(x)).data, 2 * want + 1, atol=2e-5)


def test_rms_norm_layer():
    x = RNG.normal(size=(4, 6))
    want = x / np.sqrt((x**2).mean(1, keepdims=True) + np.finfo(np.float64).eps)
    np.testing.assert_allclose(nn.RMSNorm(6)(fnn.tensor(x)).data, want, rtol=1e-12)
    assert list(nn.RMSNorm(6).state_dict()) == ["weight"]
    assert nn.RMSNorm(6, elementwise_affine=False).weight is None


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_running_statistics(momentum):
    layer = nn.BatchNorm2d(3, momentum=momentum)
    mean, var = np.zeros(3), np.ones(3)
    for batch in range(1, 4):
        x = RNG.normal(batch, batch, (4, 3, 2, 5)).astype(np.float32)
        layer(fnn.tensor(x))
        m = 1 / batch if momentum is None else momentum
        mean = (1 - m) * mean + m * x.mean((0, 2, 3))
        var = (1 - m) * var + m * x.var((0, 2, 3), ddof=1)
        np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.data, var, rtol=1e-5)
        assert layer.num_batches_tracked.item() == batch
    layer.eval()
    y = layer(fnn.tensor(x))
    want = (x - mean.reshape(1, 3, 1, 1)) / np.sqrt(var.reshape(1, 3, 1, 1) + 1e-5)
    np.testing.assert_allclose(y.data, want, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean.data, mean, rtol=1e-5)
    assert layer.num_batches_tracked.item() == 3
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked.item() == 0


def test_running_statistics_of_instances():
    layer = nn.InstanceNorm1d(2, track_running_stats=True)
    x = RNG.normal(3, 2, (5, 2, 7)).astype(np.float32)
    layer(fnn.tensor(x))
    np.testing.assert_allclose(layer.running_mean.data, 0.1 * x.mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.data, 0.9 + 0.1 * x.var(2, ddof=1).mean(0), rtol=1e-5)
    layer.eval()
    want = (x - layer.running_mean.data[:, None]) / np.sqrt(layer.running_var.data[:, None] + 1e-5)
    np.testing.assert_allclose(layer(fnn.tensor(x)).data, want, atol=1e-5)


def test_without_running_statistics_evaluation_uses_the_batch():
    layer = nn.BatchNorm1d(2, track_running_stats=False).eval()
    x = RNG.normal(3, 2, (50, 2)).astype(np.float32)
    np.testing.assert_allclose(layer(fnn.tensor(x)).data, reference(x, 1e-5, 0), atol=1e-5)
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_state():
    a, b = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert list(a.state_dict()) == names
    assert [n for n, _ in a.named_parameters()] == names[:2]
    assert [n for n, _ in a.named_buffers()] == names[2:]
    x = fnn.randn(6, 3)
    a(x)
    b.load_state_dict(a.state_dict())
    assert np.array_equal(a.eval()(x).data, b.eval()(x).data)
    assert b.num_batches_tracked.item() == 1
    assert b.num_batches_tracked.dtype == np.int64
    assert list(nn.BatchNorm1d(3, affine=False).state_dict()) == names[2:]
    assert list(nn.GroupNorm(1, 3, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(3, elementwise_affine=False).state_dict()) == []
    assert a.double().running_mean.dtype == np.float64
    assert a.num_batches_tracked.dtype == np.int64
    assert a(x.double()).dtype == np.float64


def test_fused_relu_equals_relu_after():
    x, dy = fnn.randn(20, 33, 4, 3), fnn.randn(20, 33, 4, 3)
    results = []
    for activation in ("relu", None):
        leaf, layer = x.clone().requires_grad_(), nn.BatchNorm2d(33, activation=activation)
        y = layer(leaf)
        (y if activation else fnn.relu(y)).backward(dy)
        results.append([leaf.grad.data, layer.weight.grad.data, layer.bias.grad.data])
    for fused, apart in zip(*results, strict=True):
        np.testing.assert_allclose(fused, apart, atol=1e-4)


def test_a_refused_batch_leaves_everything_as_it_was():
    layer = nn.BatchNorm1d(3)
    for bad in (fnn.ones(1, 3), fnn.ones(2, 4), fnn.ones(3)):
        with pytest.raises(ValueError, match=r"BatchNorm1d|more than 1 value per channel"):
            layer(bad)
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.eval()(fnn.ones(1, 3)).shape == (1, 3)


def test_frozen():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    x = fnn.randn(9, 3)  # of three rows to eight a frozen weight rounds otherwise: test_freeze.py
    net(x)
    with fnn.no_grad():
        want = net.eval()(x).data.copy()
    net.freeze()
    assert np.array_equal(net(x).data, want)
    assert not net[0].running_mean.data.flags.writeable
    with pytest.raises(ValueError, match="running_mean is read-only"):
        net.train()(x)
    assert np.array_equal(net.eval()(x).data, want)


def test_buffers_that_are_not_persistent():
    layer = nn.BatchNorm1d(2)
    layer.register_buffer("scratch", fnn.zeros(2), persistent=False)
    assert "scratch" not in layer.state_dict()
    assert "scratch" in dict(layer.named_buffers())
    layer.load_state_dict(nn.BatchNorm1d(2).state_dict())


def test_it_trains():
    """Data of wild scales, which a plain net of this size and step does not fit."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(256, 4)) * [1, 100, 1e-2, 10] + [0, 1000, 0, -50]).astype(np.float32)
    z = (x - x.mean(0)) / x.std(0)
    y = fnn.tensor((z[:, :1] * z[:, 1:2]).astype(np.float32))
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = fnn.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.mse_loss(net(fnn.tensor(x)), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


X, R = fnn.ones(4, 6), fnn.ones(6)
BAD = [
    (lambda: F.batch_norm(R, None, None, training=True), ValueError, r"input is \(6,\)"),
    (lambda: F.batch_norm(X, None, None), ValueError, "are needed"),
    (lambda: F.batch_norm(X, R, None), ValueError, "only one"),
    (lambda: F.batch_norm(X, R, fnn.ones(5)), ValueError, "running_var is float32 of shape"),
    (lambda: F.batch_norm(X, R, np.ones(6)), TypeError, "running_var must be a Tensor"),
    (lambda: F.batch_norm(X, R, fnn.tensor([1] * 6)), ValueError, "running_var is int64"),
    (lambda: F.batch_norm(X, R, R.clone().requires_grad_(), training=True), ValueError, "requires grad"),
    (lambda: F.batch_norm(X, R, R, fnn.ones(4)), ValueError, r"weight is \(4,\); expected \(6,\)"),
    (lambda: F.batch_norm(X, R, R, eps=-1.0), ValueError, "eps"),
    (lambda: F.batch_norm(X, R, R, activation="tanh"), ValueError, "activation"),
    (lambda: F.batch_norm(X[:1], None, None, training=True), ValueError, "more than 1 value per channel"),
    (lambda: F.instance_norm(X), ValueError, "at least one more dimension"),
    (lambda: F.instance_norm(fnn.ones(4, 6, 1)), ValueError, "more than 1 spatial element"),
    (lambda: F.instance_norm(fnn.ones(4, 6, 2), use_input_stats=False), ValueError, "are needed"),
    (lambda: F.group_norm(X, 4), ValueError, "num_groups is 4"),
    (lambda: F.group_norm(X, 0), ValueError, "num_groups is 0"),
    (lambda: F.group_norm(X, 2**70), ValueError, "num_groups"),
    (lambda: F.group_norm(X, 2.0), TypeError, "num_groups must be an integer"),
    (lambda: F.group_norm(R, 2), ValueError, "input is"),
    (lambda: F.layer_norm(X, 4), ValueError, r"expected \(..., 4\)"),
    (lambda: F.layer_norm(X, ()), ValueError, "normalized_shape"),
    (lambda: F.layer_norm(X, (1, 4, 6)), ValueError, "normalized_shape"),
    (lambda: F.layer_norm(X, 6, fnn.ones(1, 6)), ValueError, "weight is"),
    (lambda: F.layer_norm(X, 6, eps=float("nan")), ValueError, "eps"),
    (lambda: F.add_layer_norm(X, R, 6), ValueError, "residual is"),
    (lambda: F.rms_norm(fnn.tensor(1.0), 1), ValueError, "normalized_shape"),
    (lambda: nn.BatchNorm2d(0), ValueError, "num_features"),
    (lambda: nn.BatchNorm2d(2.0), TypeError, "num_features"),
    (lambda: nn.BatchNorm2d(2, eps="a"), TypeError, "eps"),
    (lambda: nn.BatchNorm2d(2, momentum=-1), ValueError, "momentum"),
    (lambda: nn.BatchNorm2d(2, activation="gelu"), ValueError, "activation"),
    (lambda: nn.BatchNorm2d(6)(X), ValueError, r"expected \(N, C, H, W\) with C = 6"),
    (lambda: nn.InstanceNorm2d(6)(X), ValueError, "InstanceNorm2d"),
    (lambda: nn.InstanceNorm1d(6)(X), ValueError, r"\(C, L\) or \(N, C, L\) with C = 6"),
    (lambda: nn.GroupNorm(4, 6), ValueError, "divisible"),
    (lambda: nn.GroupNorm(2, 4)(X), ValueError, "GroupNorm"),
    (lambda: nn.LayerNorm(()), ValueError, "normalized_shape"),
    (lambda: nn.LayerNorm((3, 0)), ValueError, "normalized_shape"),
    (lambda: nn.RMSNorm(3, eps=-1.0), ValueError, "eps"),
]


def test_layer_norm_takes_any_sequence_of_sizes():
    for sizes in ([3, 4], np.array([3, 4]), fnn.tensor([3, 4])):
        assert nn.LayerNorm(sizes).normalized_shape == (3, 4)


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()
    assert R.tolist() == [1] * 6
