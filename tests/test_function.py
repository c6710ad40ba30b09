"""Custom functions with a backward of their own, and gradcheck, which finds a wrong one."""

import weakref

import numpy as np
import pytest

import fastnn as fnn


def leaf(*values):
    return fnn.tensor(values, dtype=fnn.float64, requires_grad=True)


def test_function():
    class Twice(fnn.Function):
        @staticmethod
        def forward(ctx, x, y, factor):
            ctx.save_for_backward(x, y)
            ctx.factor = factor
            return x * factor, x * y

        @staticmethod
        def backward(ctx, da, db):
            x, y = ctx.saved_tensors
            return da * ctx.factor + db * y, db * x, None

    x, y = fnn.tensor([1.0, 2.0]), fnn.tensor([3.0, 4.0])
    assert fnn.gradcheck(lambda x, y: Twice.apply(x, y, 5.0), [x, y], order=2)
    x.requires_grad_()
    a, _ = Twice.apply(x, y, 5.0)
    a.sum().backward()  # the other output counts as zero
    assert x.grad.tolist() == [5, 5]
    a, b = Twice.apply(x, y, 5.0)
    y += 1
    with pytest.raises(RuntimeError, match="backward of Twice"):
        (a + b).sum().backward()


def test_function_mistakes():
    class Wrong(fnn.Function):
        result = 1

        @staticmethod
        def forward(ctx, x):
            return Wrong.result

        @staticmethod
        def backward(ctx, dy):
            return dy, dy

    x = leaf(1.0)
    with pytest.raises(TypeError, match="expected Tensors"):
        Wrong.apply(x)
    Wrong.result = x
    with pytest.raises(ValueError, match="2 gradients; expected 1"):
        Wrong.apply(x).backward()
    with pytest.raises(NotImplementedError, match="forward"):
        fnn.Function.apply(x)


def test_gradcheck_finds_mistakes():
    class Wrong(fnn.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, dy):
            return dy

    with pytest.raises(AssertionError, match="input 0 along a random direction"):
        fnn.gradcheck(Wrong.apply, leaf(1.0, 2.0))
    with pytest.raises(AssertionError, match="input 1"):
        fnn.gradcheck(lambda x, y: x + y.detach(), [leaf(1.0), leaf(1.0)])
    with pytest.raises(TypeError, match="float Tensor"):
        fnn.gradcheck(lambda x: x, [3])


def test_gradcheck_finds_mistakes_of_the_second_order():
    class Square(fnn.Function):
        factor, detach = 2, False

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, dy):
            (x,) = ctx.saved_tensors
            return dy * (x.detach() if Square.detach else x) * (Square.factor if fnn.is_grad_enabled() else 2)

    x = leaf(1.0, 2.0)
    assert fnn.gradcheck(Square.apply, x, order=2)
    Square.factor = 3  # only of a backward that is recorded, and its own derivative fits it
    assert fnn.gradcheck(Square.apply, x)
    with pytest.raises(AssertionError, match=r"input 0 \(create_graph=True\)"):
        fnn.gradcheck(Square.apply, x, order=2)
    Square.factor, Square.detach = 2, True
    with pytest.raises(AssertionError, match=r"input 0 \(second derivative\)"):
        fnn.gradcheck(Square.apply, x, order=2)


@pytest.mark.parametrize("returned", [3, None, (), fnn.arange(2), np.ones(2)])
def test_gradcheck_of_nothing_is_no_success(returned):
    with pytest.raises(TypeError, match=f"f returned {type(returned).__name__}"):
        fnn.gradcheck(lambda x: returned, leaf(1.0))


def test_gradcheck_refuses_a_wrong_step_and_seed():
    for eps in (0, -1e-5, np.nan):
        with pytest.raises(ValueError, match="eps must be above 0"):
            fnn.gradcheck(fnn.exp, leaf(1.0), eps=eps)
    endless = []
    endless.append(endless)
    for seed in (endless, None, 1.5):  # NumPy's generators end the process over the first
        with pytest.raises(TypeError, match="seed must be an integer"):
            fnn.gradcheck(fnn.exp, leaf(1.0), seed=seed)


def test_gradcheck_of_a_list():
    assert fnn.gradcheck(lambda x: [x * x, x + 1], leaf(1.0), order=2)
    with pytest.raises(AssertionError, match="input 0"):
        fnn.gradcheck(lambda x: [x.detach() * x], leaf(1.0))


class Squashed(fnn.Function):
    """Saves its own output, whose history a second derivative needs."""

    @staticmethod
    def forward(ctx, x):
        y, z = x.sigmoid(), x * 2
        ctx.save_for_backward(z, y)
        return y, z

    @staticmethod
    def backward(ctx, dy, dz):
        z, y = ctx.saved_tensors
        return dy * y * (1 - y) + 2 * dz + 0 * z


def test_an_output_that_was_saved_has_its_history():
    x = fnn.tensor([0.3, -0.2], dtype=np.float64)
    assert fnn.gradcheck(lambda x: Squashed.apply(x)[0], x, order=2)
    assert fnn.gradcheck(lambda x: Squashed.apply(x)[0] * Squashed.apply(x)[1], x, order=2)
    y = weakref.ref(Squashed.apply(fnn.ones(2, requires_grad=True))[0])
    assert y() is None  # no cycle waits for the collector
