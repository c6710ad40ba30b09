"""Clipping of gradients against PyTorch's."""

import math

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


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


@pytest.mark.parametrize(("gradient", "bound"), [(1.05, 1.0), (0.95, 1.0), (2e-6, 1e-6), (0.0, 1e-6)])
def test_where_clipping_begins_is_pytorchs(gradient, bound):
    torch = pytest.importorskip("torch")
    ours, theirs = fnn.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    ours.grad, theirs.grad = fnn.tensor([gradient]), torch.tensor([gradient])
    nn.clip_grad_norm_([ours], bound)
    torch.nn.utils.clip_grad_norm_([theirs], bound)
    assert ours.grad.item() == pytest.approx(theirs.grad.item(), rel=1e-6)


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


def read_only(*values):
    array = np.array(values, np.float32)
    array.flags.writeable = False
    return fnn.from_numpy(array)


def test_read_only_gradients_are_refused_before_any_is_touched():
    a, b = fnn.zeros(1, requires_grad=True), fnn.zeros(2, requires_grad=True)
    a.grad, b.grad = fnn.tensor([3.0]), read_only(4.0, 0.0)
    for clip in (nn.clip_grad_norm_, nn.clip_grad_value_):
        told = rf"{clip.__name__}: the gradient of parameter 1, float32 \(2,\), is read-only"
        with pytest.raises(ValueError, match=told):
            clip([a, b], 1.0)
        assert a.grad.tolist() == [3.0]
    assert nn.clip_grad_norm_([a, b], 5.5) == 5.0  # nothing is to be changed
    b.grad = b.grad.clone()
    assert nn.clip_grad_norm_([a, b], 2.5) == 5.0
    np.testing.assert_allclose([*a.grad.data, *b.grad.data], [1.5, 2, 0], rtol=1e-6)
