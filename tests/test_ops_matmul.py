"""matmul, linear and einsum: NumPy's values, gradients, strides, zero sizes."""

import numpy as np
import pytest

import fastnn as fnn

RNG = np.random.default_rng(11)


def normal(*shape):
    return fnn.tensor(RNG.standard_normal(shape))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((1, 3, 4), (6, 4, 5)),
    ((3, 4), (6, 4, 5)),
    ((3, 0), (0, 5)),
    ((0, 4), (4, 5)),
    ((2, 3, 0), (0, 4)),
    ((0, 3, 4), (4, 2)),
    ((17, 33), (33, 65)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a, b):
    x, y = normal(*a), normal(*b)
    np.testing.assert_allclose((x @ y).data, x.data @ y.data, atol=1e-12)
    assert (x @ y).shape == (x.data @ y.data).shape
    assert fnn.gradcheck(fnn.matmul, [x, y], order=2 if x.size < 100 else 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 15, 64, 130, 300])
def test_matmul_strided(size, dtype):
    x, y = RNG.standard_normal((2, size, size)).astype(dtype)
    wide = np.repeat(x, 2, 1)[:, ::2]
    for a in (x, x.T, x[::-1], x[:, ::-1], wide):
        for b in (y, y.T, y[::-1]):
            got = fnn.as_tensor(a) @ fnn.as_tensor(b)
            np.testing.assert_allclose(got.data, a.astype(np.float64) @ b, atol=1e-3 if dtype == np.float32 else 1e-11)


def test_matmul_permuted_gradient():
    assert fnn.gradcheck(lambda x, y: x.permute(1, 2, 0) @ y.mT, [normal(4, 2, 3), normal(2, 5, 4)], order=2)


def test_matmul_of_integers():
    assert (fnn.tensor([[1, 2]]) @ fnn.tensor([[3], [4]])).tolist() == [[11]]
    assert (fnn.tensor([[1, 2]]) @ fnn.ones(2, 1)).tolist() == [[3]]


ACTIVATIONS = [None, "relu", "tanh", "sigmoid", "gelu", "silu"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (0, 3), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(activation, shape, bias):
    x, w, b = normal(*shape), normal(6, 3), normal(6)
    arguments = [x, w, b] if bias else [x, w]

    def fused(x, w, b=None):
        return fnn.linear(x, w, b, activation)

    def unfused(x, w, b=None):
        z = fnn.matmul(x, w.T)
        z = z if b is None else z + b
        return z if activation is None else getattr(fnn, activation)(z)

    np.testing.assert_allclose(fused(*arguments).data, unfused(*arguments).data, atol=1e-12)
    assert fnn.gradcheck(fused, arguments, order=2)
    with fnn.no_grad():
        np.testing.assert_allclose(fused(*arguments).data, unfused(*arguments).data, atol=1e-12)


def test_linear_odd_inputs():
    x, w = normal(4, 3, 2).permute(2, 0, 1), normal(3, 5).T
    assert fnn.gradcheck(lambda x, w: fnn.linear(x, w, None, "gelu"), [x, w])
    assert (
        fnn.linear(fnn.zeros(2, 0), fnn.zeros(3, 0), fnn.tensor([1.0, -1.0, 2.0]), "relu").tolist() == [[1, 0, 2]] * 2
    )
    y = fnn.linear(fnn.ones(1, 2, dtype=fnn.float64), fnn.ones(3, 2), fnn.ones(3))
    assert y.dtype == np.float64
    w = fnn.ones(3, 2, requires_grad=True)
    x = fnn.ones(4, 2)
    fnn.linear(x, w, activation="relu").sum().backward()
    assert w.grad.tolist() == [[4, 4]] * 3
    assert x.grad is None


EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,ij->", (3, 4), (3, 4)),
    ("i,j->ij", (3,), (4,)),
    ("i,i", (3,), (3,)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    ("ijk,jil->kl", (2, 3, 4), (3, 2, 5)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->i", (3, 4)),
    ("i->i", (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("ijk,k->ij", (2, 3, 4), (4,)),
    ("...i,...i->...", (2, 3, 4), (3, 4)),
    ("ij,kj->ik", (3, 4), (1, 4)),
    ("ij,j->i", (3, 4), (1,)),
    ("ij,k->i", (2, 3), (4,)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("...ii->...i", (2, 3, 3)),
    ("iji->j", (3, 2, 3)),
    ("iii", (3, 3, 3)),
    ("iijj->ij", (2, 2, 3, 3)),
    ("bii,ij->bj", (2, 3, 3), (3, 4)),
    ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)),
]


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda c: c[0])
def test_einsum(case):
    equation, *shapes = case
    operands = [normal(*s) for s in shapes]
    np.testing.assert_allclose(
        fnn.einsum(equation, *operands).data, np.einsum(equation, *[t.data for t in operands]), atol=1e-12
    )
    assert fnn.gradcheck(lambda *t: fnn.einsum(equation, *t), operands, order=2)


BAD = [
    (lambda: fnn.ones(2, 3) @ fnn.ones(2, 3), ValueError),
    (lambda: fnn.ones(2) @ fnn.tensor(1.0), ValueError),
    (lambda: fnn.ones(2, 3, 4) @ fnn.ones(3, 4, 5), ValueError),
    (lambda: fnn.linear(fnn.ones(2, 3), fnn.ones(3, 2)), ValueError),
    (lambda: fnn.linear(fnn.ones(2, 3), fnn.ones(4, 3), fnn.ones(3)), ValueError),
    (lambda: fnn.linear(fnn.ones(2, 3), fnn.ones(4, 3), fnn.ones(4, 1)), ValueError),
    (lambda: fnn.linear(fnn.ones(2, 3), fnn.ones(4, 3), None, "swish"), ValueError),
    (lambda: fnn.linear(fnn.tensor(1.0), fnn.ones(4, 3)), ValueError),
    (lambda: fnn.einsum("ij,jk", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("ij->k", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("ij->ii", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("i!->i", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("ijk->i", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("ij,jk->ik", fnn.ones(2, 3), fnn.ones(4, 5)), ValueError),
    (lambda: fnn.einsum("ii->i", fnn.ones(2, 3)), ValueError),
    (lambda: fnn.einsum("ii->i", fnn.ones(1, 3)), ValueError),
    (lambda: fnn.einsum("i->j->k", fnn.ones(2)), ValueError),
    (lambda: fnn.einsum(3, fnn.ones(2)), TypeError),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error = BAD[case]
    with pytest.raises(error):
        call()


def test_the_same_bits_for_every_number_of_threads():
    x, w = fnn.randn(300, 400), fnn.randn(500, 400, requires_grad=True)
    found = []
    for n in (1, 2, 3):
        w.grad = None
        with fnn.threads(n):
            y = fnn.linear(x, w, None, "gelu")
            y.sum().backward()
        found.append((y.data.tobytes(), w.grad.data.tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("width", [1, 7, 8, 9, 19, 67])
@pytest.mark.parametrize("name", ["gelu", "silu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_keeps_the_slope_of_its_activation(isa, name, dtype, width, rng):
    """By the unit matrix it is the activation alone, whose own op finds its slope when it goes backward."""
    x = fnn.tensor(rng.normal(0, 4, (3, width)).astype(dtype), requires_grad=True)
    alone = x.detach().requires_grad_()
    dy = fnn.tensor(rng.standard_normal((3, width)).astype(dtype))
    y, want = fnn.linear(x, fnn.tensor(np.eye(width, dtype=dtype)), None, name), getattr(fnn, name)(alone)
    np.testing.assert_allclose(y.data, want.data, 4 * np.finfo(dtype).eps, np.finfo(dtype).tiny)
    want.backward(dy)
    for times in (1, 2):  # what was kept is still there
        y.backward(dy, retain_graph=True)
        np.testing.assert_allclose(x.grad.data, times * alone.grad.data, 4 * np.finfo(dtype).eps, 1e-7)


def test_products_of_exactly_so_many_dimensions():
    a, b = fnn.randn(2, 3, 4), fnn.randn(2, 4, 5)
    np.testing.assert_array_equal(fnn.bmm(a, b).data, (a @ b).data)
    np.testing.assert_array_equal(a[0].mm(b[0]).data, (a[0] @ b[0]).data)
    np.testing.assert_array_equal(a[0, 0].dot(b[0, :, 0]).data, (a[0, 0] @ b[0, :, 0]).data)
    for wrong in (lambda: a.mm(b), lambda: a[0].bmm(b), lambda: a.dot(b), lambda: a[:1].bmm(b)):
        with pytest.raises(ValueError, match="expected"):
            wrong()
