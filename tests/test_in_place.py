"""Changes in place: noticed where a backward still needs what was there, refused where they would be lost."""

import numpy as np
import pytest

import fastnn as fnn


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x * x,
        lambda x: x / 2 * x,
        fnn.exp,
        fnn.tanh,
        fnn.sigmoid,
        fnn.relu,
        fnn.sqrt,
        lambda x: x**3,
        lambda x: fnn.softmax(x),
        lambda x: fnn.linear(x, fnn.ones(2, 2), activation="tanh"),
    ],
)
def test_in_place_changes_are_noticed(make):
    base = fnn.tensor([1.0, 2.0])
    x = base.clone().requires_grad_()
    h = x * 1.0
    y = make(h)
    with fnn.no_grad():
        h += 1
        y += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_a_bias_changed_in_place_is_noticed(activation):
    x, bias = fnn.ones(2, 2, requires_grad=True), fnn.ones(2)
    y = fnn.linear(x, fnn.ones(2, 2), bias, activation).sum()
    bias.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(create_graph=True, retain_graph=True)
    y.backward()  # needs the slope alone


@pytest.mark.parametrize("key", [1, np.int64(1), np.uint8(1), (np.int64(1), slice(None)), (..., np.int32(0)), None])
def test_in_place_changes_of_a_part_are_noticed(key):
    base, w = fnn.ones(3, 2), fnn.ones(2, 2, requires_grad=True)
    y = base @ w
    base[key].add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_in_place_is_refused_where_it_would_be_lost():
    x, y = fnn.tensor([1.0], dtype=fnn.float64, requires_grad=True), fnn.zeros(1)
    for change in (lambda: x.add_(1), lambda: x.zero_(), lambda: x.copy_(y), lambda: x.__iadd__(1), lambda: x.fill_(2)):
        with pytest.raises(RuntimeError, match="requires grad"):
            change()
    with pytest.raises(RuntimeError, match="v requires grad"):
        y += x
    with fnn.no_grad():
        x += 1
        x.mul_(3).sub_(1).div_(5).clamp_(0, 0.5)
    assert x.item() == 0.5
    z = fnn.arange(3)
    z += 2
    assert z.tolist() == [2, 3, 4]
    with pytest.raises(TypeError):
        z += 0.5
    with pytest.raises(ValueError, match=r"broadcast|could not"):
        z += fnn.ones(2, 3, dtype=fnn.int64)


def test_in_place_arithmetic_is_silent_and_takes_lists():
    x = fnn.tensor([1.0, 0.0, 3e38])
    with np.errstate(all="raise"):
        assert x.clone().div_(0).data.tolist()[::2] == [np.inf, np.inf]
        assert x.clone().mul_(10)[2].item() == np.inf
        assert np.isnan((x.clone().mul_(np.inf) - np.inf).data).all()
    assert fnn.ones(2).add_([1.0, 2.0], alpha=2).tolist() == [3, 5]
    assert fnn.ones(2).sub_([1.0], alpha=2).tolist() == [-1, -1]
    assert x.clamp_(np.float64(0.5), fnn.tensor([2.0, 2.0, 4.0])).tolist() == [1, 0.5, 4]
    with pytest.raises(ValueError, match="clamp_: min or max"):
        x.clamp_()


@pytest.mark.parametrize(
    "make",
    [
        lambda x, mask: fnn.where(mask, x, 0.0),
        lambda x, mask: x.masked_fill(mask, 0.0),
        lambda x, mask: fnn.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], attn_mask=mask),
    ],
)
def test_a_mask_changed_in_place_is_noticed(make):
    x, mask = fnn.ones(2, 2, requires_grad=True), fnn.tensor([[True, False], [True, True]])
    y = make(x, mask)
    mask.fill_(True)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()
    make(x, mask).sum().backward()


@pytest.mark.parametrize(
    "write",
    [
        lambda x: np.copyto(x, 7.0),
        lambda x: np.fill_diagonal(x, 7.0),
        lambda x: np.add.at(x, 0, 7.0),
        lambda x: np.add(x, 1, out=x),
        lambda x: np.clip(x, 3, 4, out=x),
        lambda x: np.sum(np.ones((3, 2, 2)), 0, None, x),
    ],
)
def test_numpy_writes_nothing_that_the_tape_would_miss(write):
    x = fnn.ones(2, 2)
    with pytest.raises((TypeError, ValueError), match=r"read-only|Tensor"):
        write(x)
    assert x.tolist() == [[1, 1], [1, 1]]
    write(x.data)
    assert x.data.max() > 1


def test_an_element_takes_a_tensor_of_one():
    x = fnn.zeros(2, 2)
    x[0, 0] = fnn.tensor([3.0])
    x[1, -1] = fnn.tensor([[4]])
    assert x.tolist() == [[3, 0], [0, 4]]
    with pytest.raises(ValueError, match="sequence"):
        x[0, 0] = fnn.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = fnn.ones(3)


def test_every_augmented_assignment_changes_the_tensor_itself():
    x = fnn.tensor([7.0, 8.0])
    same = x
    x **= 2
    x //= 3
    x %= 9
    assert same.tolist() == [7, 3]
    assert x is same
    flags = fnn.tensor([True, False, True])
    same = flags
    flags &= fnn.tensor([False, False, True])
    flags |= [True, False, False]
    flags ^= True
    assert same.tolist() == [False, True, False]
    y = fnn.ones(2, requires_grad=True) * 3
    before = y
    y **= 2  # recorded: a new tensor
    assert (before.tolist(), y.tolist()) == ([3, 3], [9, 9])
    assert y.requires_grad
