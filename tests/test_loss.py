"""Losses against PyTorch's, and targets that are refused."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_nothing(smoothing):
    """The mean is NaN, but no gradient is, as in PyTorch: one batch of padding alone spoils no network."""
    for order in (False, True):
        x = fnn.ones(2, 3, requires_grad=True)
        loss = F.cross_entropy(x, fnn.tensor([-100, -100]), label_smoothing=smoothing)
        assert np.isnan(loss.item())
        (slope,) = fnn.grad(loss, x, create_graph=order)
        assert not slope.data.any()


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


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", [{}, {"margin": 0.3, "p": 1.0}, {"swap": True, "margin": 2.0}])
def test_triplets_are_pytorchs(reduction, options, rng):
    torch = pytest.importorskip("torch")
    x = f32(rng, 6, 3, 4)
    ours, theirs = nn.TripletMarginLoss(reduction=reduction, **options), torch.nn.TripletMarginLoss(
        reduction=reduction, **options
    )
    against_torch(lambda a, _: ours(*a.unbind(1)), lambda b, _: theirs(*b.unbind(1)), x, 0)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cosines_are_pytorchs(reduction, rng):
    torch = pytest.importorskip("torch")
    x, y = f32(rng, 6, 2, 4), np.array([1, -1, 1, -1, -1, 1])
    ours, theirs = nn.CosineEmbeddingLoss(0.1, reduction), torch.nn.CosineEmbeddingLoss(0.1, reduction=reduction)
    against_torch(lambda a, t: ours(a[:, 0], a[:, 1], t), lambda b, t: theirs(b[:, 0], b[:, 1], t), x, y)
    a, b = nn.CosineSimilarity(2), torch.nn.CosineSimilarity(2)
    against_torch(lambda x, _: a(x[:, :1], x), lambda x, _: b(x[:, :1], x), x, 0)
    with pytest.raises(ValueError, match="target is"):
        ours(fnn.ones(2, 3), fnn.ones(2, 3), fnn.ones(3))


@pytest.mark.parametrize("one", [(4,), (3, 1), (1, 4), (2, 1, 4)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cosine_of_shapes_that_broadcast_is_pytorchs(one, dim, rng):
    """The length of a vector is that along dim after broadcasting."""
    torch = pytest.importorskip("torch")
    x, y = f32(rng, 3, 4), fnn.tensor(f32(rng, *one))
    against_torch(
        lambda a, _: F.cosine_similarity(a, y, dim),
        lambda b, _: torch.nn.functional.cosine_similarity(torch.tensor(y.data), b, dim),
        x,
        0,
    )
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(5,\) do not broadcast"):
        F.cosine_similarity(fnn.tensor(x), fnn.ones(5), dim)
    with pytest.raises(IndexError, match="dimension 3 is out of range"):
        F.cosine_similarity(fnn.tensor(x), y, 3)


@pytest.mark.parametrize(("p", "dim"), [(2.0, 1), (1.0, -1), (3.0, 0)])
def test_normalize_and_distances_are_pytorchs(p, dim, rng):
    torch = pytest.importorskip("torch")
    x = f32(rng, 5, 4)
    x[1], x[:, 2] = 0, 0
    theirs = torch.nn.functional
    np.testing.assert_allclose(
        F.normalize(fnn.tensor(x), p, dim).data, theirs.normalize(torch.tensor(x), p, dim).numpy(), rtol=1e-5
    )
    against_torch(
        lambda a, _: F.pairwise_distance(a, a.flip(0), p), lambda b, _: theirs.pairwise_distance(b, b.flip(0), p), x, 0
    )
