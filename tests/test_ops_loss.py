"""Softmax, cross-entropy, mean squared error, dropout and the optimizer step."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn._ops import OptimizerStep, grad_norm, scale_grads, zero_grads

RNG = np.random.default_rng(13)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 0, 3), (1, 1, 1), (2, 17, 33)])
def test_softmax(dim, shape):
    x = normal(*shape)
    e = np.exp(x.data)
    want = e / e.sum(dim, keepdims=True)
    np.testing.assert_allclose(fnn.softmax(x, dim).data, want, rtol=1e-12)
    np.testing.assert_allclose(fnn.log_softmax(x, dim).data, np.log(want), atol=1e-12)
    assert fnn.gradcheck(lambda x: fnn.softmax(x, dim), x, order=2)
    assert fnn.gradcheck(lambda x: fnn.log_softmax(x, dim), x, order=2)


def test_softmax_of_extremes():
    assert fnn.softmax(fnn.tensor([1e4, 0.0])).tolist() == [1, 0]
    assert np.isnan(fnn.softmax(fnn.tensor([-np.inf, -np.inf])).data).all()
    assert fnn.softmax(fnn.tensor(3.0)).item() == 1
    assert fnn.softmax(fnn.tensor([1, 1])).dtype == np.float32


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_in_another_dtype(name):
    x = fnn.tensor(RNG.standard_normal((3, 4)).astype(np.float32), requires_grad=True)
    wide = fnn.tensor(x.data, dtype=np.float64, requires_grad=True)
    y, want = getattr(x, name)(0, dtype=np.float64), getattr(fnn, name)(wide, 0)
    np.testing.assert_array_equal(y.data, want.data, strict=True)
    (y * y).sum().backward()
    (want * want).sum().backward()
    np.testing.assert_array_equal(x.grad.data, wide.grad.data.astype(np.float32), strict=True)
    assert getattr(fnn, name)(fnn.tensor([1, 2]), dtype="float64").dtype == np.float64


def reference_cross_entropy(x, target, weight, ignore, smoothing, reduction):
    x = x - x.max(1, keepdims=True)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    w = np.ones(x.shape[1]) if weight is None else weight
    losses, weights = np.zeros(len(x)), np.zeros(len(x))
    for r, t in enumerate(target):
        if t != ignore:
            losses[r] = -(1 - smoothing) * w[t] * log_p[r, t] - smoothing / x.shape[1] * (w * log_p[r]).sum()
            weights[r] = w[t]
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / weights.sum()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy(reduction, weighted, smoothing):
    x, target = normal(6, 5), np.array([0, 4, -100, 2, 2, 1])
    weight = RNG.uniform(0.5, 2, 5) if weighted else None
    f = lambda x: fnn.cross_entropy(x, target, weight, -100, reduction, smoothing)  # noqa: E731
    want = reference_cross_entropy(x.data, target, weight, -100, smoothing, reduction)
    np.testing.assert_allclose(f(x).data, want, rtol=1e-12)
    assert fnn.gradcheck(f, x, order=2)
    assert fnn.gradcheck(lambda x: f(x) ** 2, x.T.clone().T)


def test_cross_entropy_of_other_shapes():
    x, target = normal(2, 5, 3, 4), RNG.integers(0, 5, (2, 3, 4))
    flat = np.moveaxis(x.data, 1, -1).reshape(-1, 5)
    want = reference_cross_entropy(flat, target.ravel(), None, -100, 0, "none").reshape(2, 3, 4)
    np.testing.assert_allclose(fnn.cross_entropy(x, target, reduction="none").data, want)
    assert fnn.gradcheck(lambda x: fnn.cross_entropy(x, target), x)
    assert fnn.cross_entropy(normal(5), fnn.tensor(2)).shape == ()
    p = fnn.softmax(normal(4, 5), 1)
    assert fnn.gradcheck(lambda x: fnn.cross_entropy(x, p, label_smoothing=0.1), normal(4, 5), order=2)
    one_hot = fnn.one_hot([1, 2, 0, 3], 5).double()
    x = normal(4, 5)
    assert fnn.cross_entropy(x, one_hot).item() == pytest.approx(fnn.cross_entropy(x, [1, 2, 0, 3]).item())


def test_cross_entropy_of_nothing():
    assert np.isnan(fnn.cross_entropy(fnn.zeros(0, 3), fnn.zeros(0, dtype=fnn.int64)).item())
    assert fnn.cross_entropy(fnn.zeros(0, 3), fnn.zeros(0, dtype=fnn.int64), reduction="sum").item() == 0
    assert np.isnan(fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([-100, -100])).item())
    none = fnn.cross_entropy(fnn.zeros(3000, 0), fnn.tensor([-100] * 3000), reduction="none")
    np.testing.assert_array_equal(none.numpy(), 0)  # no classes, and nothing that counts: 0, not what the memory held


BAD = [
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([0, 3])), IndexError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([0, -1])), IndexError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([0])), ValueError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([0.0, 1.0])), ValueError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), fnn.tensor([True, False])), TypeError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), [0, 1], reduction="max"), ValueError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), [0, 1], label_smoothing=1.5), ValueError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 3), [0, 1], weight=fnn.ones(2)), ValueError),
    (lambda: fnn.cross_entropy(fnn.tensor(1.0), fnn.tensor(0)), ValueError),
    (lambda: fnn.cross_entropy(fnn.zeros(2, 0), [0, 0]), IndexError),
    (lambda: fnn.mse_loss(fnn.zeros(2, 1), fnn.zeros(2)), ValueError),
    (lambda: fnn.mse_loss(fnn.zeros(2), fnn.zeros(2), "max"), ValueError),
    (lambda: fnn.dropout(fnn.zeros(2), 1.5), ValueError),
    (lambda: fnn.softmax(fnn.zeros(2), 1), IndexError),
    (lambda: OptimizerStep("lion", []), ValueError),
    (lambda: OptimizerStep("sgd", [np.zeros(2)]), TypeError),
    (lambda: OptimizerStep("sgd", []).step(0, 0.1), ValueError),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error = BAD[case]
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction):
    x, y = normal(3, 4), normal(3, 4)
    want = (x.data - y.data) ** 2
    want = want if reduction == "none" else getattr(want, reduction)()
    np.testing.assert_allclose(fnn.mse_loss(x, y, reduction).data, want, rtol=1e-12)
    assert fnn.gradcheck(lambda x, y: fnn.mse_loss(x, y, reduction), [x, y], order=2)
    assert fnn.gradcheck(lambda x: fnn.mse_loss(x, y, reduction), x)


def test_dropout():
    x = fnn.ones(100, 200, requires_grad=True)
    y = fnn.dropout(x, 0.25)
    assert set(np.unique(y.data)) == {0, np.float32(1 / 0.75)}
    assert (y.data == 0).mean() == pytest.approx(0.25, abs=0.02)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    fnn.manual_seed(0)
    np.testing.assert_array_equal(fnn.dropout(x, 0.25).data, y.data)
    assert not (fnn.dropout(x, 0.25).data == y.data).all()
    assert fnn.dropout(x, 0.5, False) is x
    assert (fnn.dropout(x, 1.0).data == 0).all()
    z = fnn.ones(3, 4, 5).permute(0, 2, 1).requires_grad_()
    y = fnn.dropout(z, 0.5)
    assert y.data.strides == z.data.strides
    y.sum().backward()
    np.testing.assert_array_equal(z.grad.data, y.data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimizer_step(dtype):
    def params():
        return [
            fnn.full((3, 2), 1.0, dtype, True),
            fnn.full((5,), 2.0, dtype, True),
            fnn.zeros(0, dtype=dtype, requires_grad=True),
            fnn.tensor(np.asfortranarray(np.ones((2, 3), dtype))).requires_grad_(),
        ]

    p = params()
    p[0].grad, p[3].grad = fnn.ones(3, 2, dtype=dtype), fnn.tensor(np.arange(6).reshape(2, 3).astype(dtype))
    before = [fnn.tensor(t) for t in p]
    OptimizerStep("sgd", p).step(1, 0.5)
    np.testing.assert_allclose(p[0].data, 0.5)
    np.testing.assert_allclose(p[1].data, before[1].data)  # no gradient, no change
    np.testing.assert_allclose(p[3].data, 1 - 0.5 * np.arange(6).reshape(2, 3))  # another memory order
    adam = OptimizerStep("adam", p)
    adam.step(1, 0.1, beta1=0.9, beta2=0.999, eps=1e-8)
    np.testing.assert_allclose(p[0].data, 0.4, rtol=1e-5)
    assert [m.shape for m in adam.state["m"]] == [t.shape for t in p]
    np.testing.assert_allclose(adam.state["m"][0], 0.1, rtol=1e-6)
    rms = OptimizerStep("rmsprop", p)
    rms.step(1, 0.1, momentum=0.9, beta2=0.99, eps=1e-8, centered=True)
    assert set(rms.state) == {"m", "v", "mean"}


def test_optimizer_checks_what_it_is_given():
    p = fnn.ones(3, requires_grad=True)
    p.grad = fnn.ones(3)
    step = OptimizerStep("adam", [p])
    step.step(1, 0.1, beta1=0.9, beta2=0.999)
    step.state["m"][0] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match="state of parameter 0"):
        step.step(2, 0.1, beta1=0.9, beta2=0.999)
    step.state["m"] = []
    with pytest.raises(ValueError, match="state of parameter 0"):
        step.step(2, 0.1, beta1=0.9, beta2=0.999)
    step.state["m"] = None  # as if it had never been
    step.step(2, 0.1, beta1=0.9, beta2=0.999)
    assert np.allclose(step.state["m"][0], 0.1)
    q = fnn.ones(1).expand(3).requires_grad_()
    q.grad = fnn.ones(3)
    with pytest.raises(ValueError, match="read-only or not dense"):
        OptimizerStep("sgd", [q]).step(1, 0.1)
    y = p * p
    OptimizerStep("sgd", [p]).step(1, 0.1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_gradient_helpers():
    p, q, r = (
        fnn.ones(3, requires_grad=True),
        fnn.ones(2, dtype=fnn.float64, requires_grad=True),
        fnn.ones(1, requires_grad=True),
    )
    (p * 2).sum().backward()
    (q * 3).sum().backward()
    assert grad_norm([p, q, r]) == pytest.approx(np.sqrt(12 + 18))
    scale_grads([p, q, r], 0.5)
    assert p.grad.tolist() == [1, 1, 1]
    zero_grads([p, r], False)
    assert p.grad.tolist() == [0, 0, 0]
    zero_grads([p, q, r])
    assert p.grad is q.grad is r.grad is None


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "silu", "hardswish", "dropout"])
def test_inplace_is_taken_and_changes_nothing(name):
    f, x = getattr(fnn.nn.functional, name), normal(5)
    options = {"training": False} if name == "dropout" else {}
    before = x.data.copy()
    np.testing.assert_array_equal(f(x, inplace=True, **options).data, f(x, **options).data)
    np.testing.assert_array_equal(x.data, before)
