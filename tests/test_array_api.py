"""The array API: every function against array-api-strict on the same numbers, and a training step written for both."""

import numpy as np
import pytest

import fastnn as fnn

strict = pytest.importorskip("array_api_strict")
xp = fnn.array_api

FLOATS, INTEGERS = ["float32", "float64"], ["int8", "int32", "int64", "uint8", "uint64"]
NUMBERS = [*FLOATS, *INTEGERS]


def numbers(dtype, shape=(3, 4), low=1, high=9, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def same(ours, theirs):
    """Compare results: kind, dtype, shape and values."""
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            same(a, b)
    elif isinstance(theirs, strict._array_object.Array):
        assert isinstance(ours, fnn.Tensor)
        assert ours.shape == theirs.shape
        theirs = np.asarray(theirs)
        assert ours.dtype == theirs.dtype
        tolerance = {"rtol": 2e-6, "atol": 1e-6} if ours.dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
        np.testing.assert_allclose(ours.detach().numpy(), theirs, **tolerance)
        np.testing.assert_array_equal(np.signbit(ours.numpy()[theirs == 0]), np.signbit(theirs[theirs == 0]))
    else:
        assert ours == theirs


def both(call, *arrays):
    """Run `call(namespace, *arrays)` in both namespaces and compare."""
    same(call(xp, *map(xp.asarray, arrays)), call(strict, *map(strict.asarray, arrays)))


UNARY = {
    "numeric": ["abs", "negative", "positive", "sign", "square"],
    "real": ["floor", "ceil", "trunc", "round", "isnan", "isinf", "isfinite"],
    "floating": [
        *("sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "reciprocal", "signbit"),
        *("sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "atanh"),
    ],
}
BINARY = {
    "numeric": ["add", "subtract", "multiply", "pow", "maximum", "minimum", "floor_divide", "remainder"],
    "comparison": ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"],
    "floating": ["divide", "atan2", "hypot", "logaddexp", "copysign", "nextafter"],
    "integral": ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"],
}


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", UNARY["numeric"] + UNARY["real"])
def test_unary(name, dtype):
    x = numbers(dtype) - np.asarray(0 if dtype[0] == "u" else 5, dtype)
    if dtype[0] == "u" and name == "negative":
        pytest.skip("the standard has no negative unsigned integers")
    both(lambda xp, x: getattr(xp, name)(x), x)
    if dtype[0] == "f":
        x[0, :4] = np.nan, np.inf, -np.inf, -0.0
        both(lambda xp, x: getattr(xp, name)(x), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", UNARY["floating"])
def test_functions_of_floats(name, dtype):
    both(lambda xp, x: getattr(xp, name)(x), numbers(dtype, low=0.05, high=0.95))


@pytest.mark.parametrize("dtype", FLOATS)
def test_acosh(dtype):
    both(lambda xp, x: xp.acosh(x), numbers(dtype))


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", BINARY["numeric"] + BINARY["comparison"])
@pytest.mark.parametrize("shapes", [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 0))])
def test_binary(name, dtype, shapes):
    high = 4 if name == "pow" else 9
    both(
        lambda xp, x, y: getattr(xp, name)(x, y),
        *(numbers(dtype, shape, high=high, seed=i) for i, shape in enumerate(shapes)),
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", BINARY["floating"])
def test_binary_of_floats(name, dtype):
    both(lambda xp, x, y: getattr(xp, name)(x, y), numbers(dtype), numbers(dtype, (4,), seed=1))


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", BINARY["integral"])
def test_binary_of_integers(name, dtype):
    both(lambda xp, x, y: getattr(xp, name)(x, y), numbers(dtype), numbers(dtype, (4,), high=4, seed=1))
    both(lambda xp, x: xp.bitwise_invert(x), numbers(dtype))


def test_logic():
    a, b = np.array([True, True, False, False]), np.array([[True], [False]])
    for name in ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "equal"):
        both(lambda xp, x, y, name=name: getattr(xp, name)(x, y), a, b)
    both(lambda xp, x: (xp.logical_not(x), xp.bitwise_invert(x), xp.any(x), xp.all(x, axis=0), ~x), a)


OPERATORS = {
    "numeric": [
        *(lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x // y, lambda x, y: x % y),
        *(lambda x, y: x == y, lambda x, y: x < y, lambda x, y: +x, lambda x, y: x[1:, ::2]),
        *(lambda x, y: x + 3, lambda x, y: 3 - x, lambda x, y: 9 // x, lambda x, y: 9 % x, lambda x, y: x[..., None]),
        *(lambda x, y: x[y > 3], lambda x, y: x.T, lambda x, y: x.mT, lambda x, y: abs(x), lambda x, y: x[-1, :]),
    ],
    "floating": [lambda x, y: x / y, lambda x, y: x**2.0, lambda x, y: 2.0**x, lambda x, y: x @ y.T, lambda x, y: -x],
    "integral": [
        *(lambda x, y: x & y, lambda x, y: x | y, lambda x, y: x ^ y, lambda x, y: x << (y % 3), lambda x, y: x >> 1),
        *(lambda x, y: 3 & x, lambda x, y: 3 | x, lambda x, y: 3 ^ x, lambda x, y: 1 << (x % 4), lambda x, y: 99 >> x),
    ],
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
def test_operators(dtype):
    for operator in OPERATORS["numeric"] + OPERATORS["floating" if dtype[0] == "f" else "integral"]:
        both(lambda xp, x, y, operator=operator: operator(x, y), numbers(dtype), numbers(dtype, seed=1))


def test_operators_in_place():
    for operator in ("+=", "-=", "*=", "/=", "//=", "%=", "**="):
        results = []
        for space in (xp, strict):
            names = {"x": space.asarray(numbers("float32")), "y": space.asarray(numbers("float32", seed=1))}
            exec(f"x {operator} y\nx[0, 1:3] = 5.0\nx[x > 6.0] = 1.0", names)
            results.append(names["x"])
        same(*results)


REDUCTIONS = ["sum", "prod", "max", "min", "mean", "var", "std", "any", "all", "count_nonzero"]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dtype):
    if dtype not in FLOATS and name in ("mean", "var", "std"):
        pytest.skip("the standard defines them for floats")
    x = numbers(dtype, (2, 3, 2), high=4)
    for axis in (None, 0, -1, (0, 2)):
        for keepdims in (False, True):
            both(lambda xp, x, axis=axis, k=keepdims: getattr(xp, name)(x, axis=axis, keepdims=k), x)


def test_reductions_with_options():
    x = numbers("float64")
    both(lambda xp, x: (xp.var(x, correction=1.0), xp.std(x, axis=1, correction=2)), x)
    both(lambda xp, x: (xp.sum(x, dtype=xp.float64), xp.prod(x, dtype=xp.float64)), x.astype("float32"))
    for dtype in NUMBERS:
        for initial in (False, True):
            both(lambda xp, x, i=initial: xp.cumulative_sum(x, axis=1, include_initial=i), numbers(dtype))
            both(lambda xp, x, i=initial: xp.cumulative_prod(x, include_initial=i), numbers(dtype, (5,), high=3))
        both(lambda xp, x: (xp.argmax(x), xp.argmin(x, axis=0), xp.argmax(x, axis=1, keepdims=True)), numbers(dtype))
    both(lambda xp, x: (xp.diff(x), xp.diff(x, axis=0, n=2), xp.diff(x, axis=0, prepend=x[:1, :])), x)
    for bad in (lambda: xp.cumulative_sum(xp.ones((2, 2))), lambda: xp.take(xp.ones((2, 2)), xp.asarray([0]))):
        with pytest.raises(ValueError, match="axis"):
            bad()


SHAPES = [
    lambda xp, x: xp.reshape(x, (4, 6)),
    lambda xp, x: xp.reshape(x, (2, -1), copy=True),
    lambda xp, x: xp.permute_dims(x, (2, 0, 1)),
    lambda xp, x: xp.matrix_transpose(x),
    lambda xp, x: xp.moveaxis(x, 0, -1),
    lambda xp, x: xp.moveaxis(x, (0, 1), (2, 0)),
    lambda xp, x: xp.expand_dims(x, axis=1),
    lambda xp, x: xp.squeeze(xp.expand_dims(x, axis=-1), -1),
    lambda xp, x: xp.flip(x),
    lambda xp, x: xp.flip(x, axis=(0, 2)),
    lambda xp, x: xp.roll(x, 5),
    lambda xp, x: xp.roll(x, (1, -1), axis=(0, 1)),
    lambda xp, x: xp.roll(x, 1, axis=(0, 1)),
    lambda xp, x: xp.broadcast_to(x, (5, 2, 3, 4)),
    lambda xp, x: xp.broadcast_arrays(x, x[:1, :1, :]),
    lambda xp, x: xp.concat([x, x[:1, ...]]),
    lambda xp, x: xp.concat([x, x], axis=None),
    lambda xp, x: xp.stack([x, x], axis=-1),
    lambda xp, x: xp.unstack(x, axis=1),
    lambda xp, x: xp.repeat(x, 2, axis=1),
    lambda xp, x: xp.repeat(x, 2),
    lambda xp, x: xp.tile(x, (2, 1, 3)),
    lambda xp, x: xp.tile(x, (2,)),
    lambda xp, x: xp.tile(x, (2, 1, 1, 2)),
    lambda xp, x: xp.take(x, xp.asarray([2, 0, 2]), axis=1),
    lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=1), axis=1),
    lambda xp, x: xp.sort(x),
    lambda xp, x: xp.sort(x, axis=0, descending=True),
    lambda xp, x: xp.argsort(x, axis=1, descending=True),
    lambda xp, x: xp.nonzero(x > 5),
    lambda xp, x: xp.where(x > 5, x, xp.zeros_like(x)),
    lambda xp, x: xp.clip(x, 2, 5),
    lambda xp, x: xp.clip(x),
    lambda xp, x: xp.clip(x, max=x[:1, :, :]),
    lambda xp, x: (xp.tril(x), xp.triu(x, k=1)),
    lambda xp, x: (xp.zeros_like(x), xp.ones_like(x), xp.full_like(x, 3), xp.ones_like(x, dtype=xp.int8)),
    lambda xp, x: (xp.astype(x, xp.float64), xp.astype(x, xp.int16, copy=False), xp.astype(x, xp.bool)),
    lambda xp, x: (xp.tensordot(x, x, axes=3), xp.tensordot(x, x, axes=((0, 2), (0, 2)))),
    lambda xp, x: (xp.tensordot(x, x[:, 0, 0], axes=([0], [0])), xp.tensordot(x, x, axes=0)),
    lambda xp, x: (xp.vecdot(x, x), xp.vecdot(x, x[:1, :, :], axis=-2)),
    lambda xp, x: (xp.matmul(x, xp.matrix_transpose(x)), xp.matmul(x[0, 0, :], x[0, 1, :])),
    lambda xp, x: xp.searchsorted(xp.sort(x[0, 0, :]), x[1, 1, :]),
    lambda xp, x: xp.meshgrid(x[0, 0, :], x[:, 0, 0]),
    lambda xp, x: xp.meshgrid(x[0, 0, :], x[:, 0, 0], indexing="ij"),
    lambda xp, x: (*xp.unique_counts(x), *xp.unique_inverse(x), xp.unique_values(x)),
    lambda xp, x: (xp.unique_all(x).values, xp.unique_all(x).counts),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@pytest.mark.parametrize("case", range(len(SHAPES)))
def test_shapes_order_and_products(case, dtype):
    both(SHAPES[case], numbers(dtype, (2, 3, 4)))


def test_making():
    for call in (
        lambda xp: xp.zeros((2, 0), dtype=xp.int16),
        lambda xp: xp.ones(3, dtype=xp.float64),
        lambda xp: xp.full((2,), 7),
        lambda xp: xp.full((2,), True),
        lambda xp: xp.empty((2, 3), dtype=xp.float32).shape,
        lambda xp: xp.empty_like(xp.ones((2,), dtype=xp.int8)).dtype == xp.int8,
        lambda xp: (xp.arange(5), xp.arange(2, 9, 3), xp.arange(1.0, 2.0, 0.25, dtype=xp.float64)),
        lambda xp: (xp.linspace(0, 1, 5, dtype=xp.float64), xp.linspace(1, 2, 4, dtype=xp.float32, endpoint=False)),
        lambda xp: (xp.eye(2, dtype=xp.float64), xp.eye(2, 4, k=1, dtype=xp.int32)),
        lambda xp: (xp.asarray([1, 2]), xp.asarray(True), xp.asarray([[1.5]], dtype=xp.float32)),
        lambda xp: xp.broadcast_shapes((3, 1), (4,)),
        lambda xp: (xp.pi, xp.e, xp.inf, xp.newaxis),
    ):
        same(call(xp), call(strict))
    assert xp.zeros((1,)).dtype == xp.float32
    x = np.ones(3, np.float32)
    assert np.shares_memory(xp.asarray(x).data, x)
    assert np.shares_memory(xp.asarray(x, copy=False).data, x)
    assert not np.shares_memory(xp.asarray(x, copy=True).data, x)
    for bad in (lambda: xp.asarray([1], copy=False), lambda: xp.asarray(x, dtype=xp.float64, copy=False)):
        with pytest.raises(ValueError, match="needs a copy"):
            bad()
    with pytest.raises(ValueError, match="needs a copy"):
        xp.reshape(xp.asarray(np.ones((2, 3))).T, (6,), copy=False)
    assert xp.asarray(np.zeros((0, 2)), copy=False).shape == (0, 2)
    assert xp.flip(xp.asarray(True)).shape == ()
    with pytest.raises(ValueError, match="not of size 1"):
        xp.squeeze(xp.ones((2, 1)), 0)
    for make in (xp.zeros, xp.ones, xp.empty, xp.eye, xp.arange):
        with pytest.raises(ValueError, match="device must be 'cpu'"):
            make(2, device="gpu")


def test_dtypes():
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric"]
    names = ["bool", "int8", "int64", "uint8", "uint64", "float32", "float64"]
    for a in names:
        for kind in [*kinds, ("bool", "integral")]:
            assert xp.isdtype(getattr(xp, a), kind) == strict.isdtype(getattr(strict, a), kind)
        for b in names:
            assert xp.isdtype(getattr(xp, a), getattr(xp, b)) is (a == b)
            # The standard leaves open what is cast from one kind to another.
            one_kind = any(xp.isdtype(getattr(xp, a), k) and xp.isdtype(getattr(xp, b), k) for k in kinds[:-1])
            if one_kind:
                expected = strict.can_cast(getattr(strict, a), getattr(strict, b))
                assert xp.can_cast(getattr(xp, a), getattr(xp, b)) == expected
            try:
                theirs = strict.result_type(getattr(strict, a), getattr(strict, b))
            except TypeError:
                continue  # the standard leaves mixed kinds open
            assert xp.result_type(getattr(xp, a), xp.ones(1, dtype=getattr(xp, b))).name == str(theirs).split(".")[-1]
    for name in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(xp.finfo(xp.float32), name) == getattr(strict.finfo(strict.float32), name)
    assert xp.iinfo(xp.ones(1, dtype=xp.int8)).max == 127
    with pytest.raises(ValueError, match="kind must be one of"):
        xp.isdtype(xp.int8, "integer")


def test_what_it_says_about_itself():
    ours, theirs = xp.__array_namespace_info__(), strict.__array_namespace_info__()
    assert set(ours.capabilities()) == set(theirs.capabilities())
    assert set(ours.default_dtypes()) | {"complex floating"} == set(theirs.default_dtypes())
    for kind in ("bool", "integral", "real floating", ("signed integer", "real floating"), None):
        names = {name for name in theirs.dtypes(kind=kind) if not name.startswith("complex")}
        assert set(ours.dtypes(kind=kind)) == names
    assert ours.devices() == [ours.default_device()] == ["cpu"]


def test_tensors_lead_to_the_namespace():
    x = fnn.ones(2, 3)
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2023.12") is fnn.array_api
    with pytest.raises(ValueError, match=r"version '1999\.12'"):
        x.__array_namespace__(api_version="1999.12")
    assert x.device == "cpu"
    assert x.to_device("cpu") is x
    with pytest.raises(ValueError, match="'cpu'"):
        x.to_device("cuda")


def test_gradients_flow_through_the_namespace():
    x = fnn.tensor(numbers("float64", (3, 4)))
    for function in (
        lambda x: xp.tensordot(xp.tile(x, (2, 1)), xp.repeat(x, 2, axis=0), axes=((0,), (0,))),
        lambda x: xp.take_along_axis(x, xp.argsort(x, axis=0), axis=0) * xp.std(x, axis=1, keepdims=True),
        lambda x: xp.cumulative_sum(xp.diff(x), axis=1, include_initial=True),
        lambda x: xp.vecdot(x, xp.log(x)) + xp.clip(xp.sum(x, axis=1), 2, 100),
        lambda x: xp.concat([xp.flip(x), xp.roll(x, 1)], axis=None),
    ):
        assert fnn.gradcheck(function, x)
    x.requires_grad_()
    for function in (
        xp.sinh,
        xp.unique_values,
        xp.unique_all,
        lambda x: xp.meshgrid(x[0], x[1]),
        lambda x: xp.cumulative_prod(x, axis=0),
    ):
        with pytest.raises(TypeError, match="not differentiated"):
            function(x)


def test_sums_of_bool_count():
    x = fnn.tensor([[True, True], [False, True]])
    assert xp.sum(x).item() == xp.sum(x, dtype=xp.int8).item() == 3
    assert xp.sum(x, axis=0).tolist() == [1, 2]
    assert xp.cumulative_sum(x, axis=0).tolist() == [[1, 1], [1, 2]]
    assert xp.sum(x).dtype == xp.prod(x).dtype == xp.int64


# ----- a training step, written once -----


def softmax(xp, z):
    z = xp.exp(z - xp.max(z, axis=1, keepdims=True))
    return z / xp.sum(z, axis=1, keepdims=True)


def train(xp, x, y, weights, steps=5, lr=0.5):
    """Train two dense layers with gradients by hand; return the losses and the weights."""
    w1, b1, w2, b2 = weights
    n = x.shape[0]
    targets = xp.astype(xp.expand_dims(y, axis=1) == xp.arange(w2.shape[1], dtype=y.dtype), x.dtype)
    losses = []
    for _ in range(steps):
        h = xp.maximum(x @ w1 + b1, xp.zeros_like(b1))
        p = softmax(xp, h @ w2 + b2)
        picked = xp.take_along_axis(p, xp.expand_dims(y, axis=1), axis=1)
        losses.append(-xp.mean(xp.log(picked)))
        dz = (p - targets) / n
        dh = xp.where(h > 0, dz @ w2.T, xp.zeros_like(h))
        gradients = (x.T @ dh, xp.sum(dh, axis=0), h.T @ dz, xp.sum(dz, axis=0))
        w1, b1, w2, b2 = (w - lr * g for w, g in zip((w1, b1, w2, b2), gradients))
    return xp.stack(losses), w1, b1, w2, b2


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_training_step_is_the_same(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5)).astype(dtype), rng.integers(0, 3, 20)
    weights = [rng.normal(0, 0.5, shape).astype(dtype) for shape in [(5, 8), (8,), (8, 3), (3,)]]
    results = [
        train(space, space.asarray(x), space.asarray(y), [space.asarray(w) for w in weights]) for space in (xp, strict)
    ]
    for ours, theirs in zip(*results):
        assert str(ours.dtype) == dtype
        np.testing.assert_allclose(
            ours.numpy(), np.asarray(theirs), rtol=1e-4 if dtype == "float32" else 1e-11, atol=1e-6
        )
    losses = results[0][0].numpy()
    assert losses[-1] < 0.8 * losses[0]
    # and fastnn's own gradients make the same first step
    parameters = [fnn.tensor(w, requires_grad=True) for w in weights]
    h = xp.maximum(fnn.tensor(x) @ parameters[0] + parameters[1], 0)
    loss = fnn.cross_entropy(h @ parameters[2] + parameters[3], fnn.tensor(y))
    loss.backward()
    one = train(strict, strict.asarray(x), strict.asarray(y), [strict.asarray(w) for w in weights], steps=1)
    assert loss.item() == pytest.approx(float(one[0][0]), rel=1e-5)
    for p, theirs in zip(parameters, one[1:]):
        np.testing.assert_allclose((p - 0.5 * p.grad).detach().numpy(), np.asarray(theirs), rtol=1e-4, atol=1e-6)
