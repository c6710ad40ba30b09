"""Operations on tensors as nodes, and what the exported file holds."""

import numpy as np
import pytest
from onnx_export_cases import Expression, numbers

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F

onnx = pytest.importorskip("onnx")
Evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator


def flat(result):
    if isinstance(result, tuple | list):
        return [x for item in result for x in flat(item)]
    return [np.asarray(result.data)]


def check(function, *inputs, axes=None):
    """Export with `axes` (of each input) dynamic and run at the inputs' sizes and, tiled, at larger ones."""
    net = Expression(function)
    names = [f"in{i}" for i in range(len(inputs))]
    axes = [{0: "b"}] * len(inputs) if axes is None else axes
    model = fnn.onnx.export(
        net,
        tuple(fnn.tensor(x) for x in inputs),
        input_names=names,
        dynamic_axes={name: a for name, a in zip(names, axes) if a},
    )
    evaluator = Evaluator(model)
    for times in (1, 2, 5):
        feeds = {}
        for name, x, dynamic in zip(names, inputs, axes):
            for axis in dynamic:
                x = np.concatenate([x] * times, axis)
            feeds[name] = x
        expected = flat(net(*(fnn.tensor(x) for x in feeds.values())))
        with np.errstate(divide="ignore"):  # log(0), which is cut
            found = evaluator.run(None, feeds)
        assert len(found) == len(expected)
        for a, b in zip(found, expected):
            assert a.dtype == b.dtype
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    return model


X, Y, P = numbers(4, 3, 5), numbers(4, 3, 5) + 3, np.abs(numbers(4, 3, 5)) + 0.5
I = np.arange(60).reshape(4, 3, 5) % 7 - 2  # noqa: E741
B = X > 0.1
BLIND = np.array([[0, -np.inf, 0], [-np.inf] * 3, [0, 0, 0]], np.float32)  # the second query sees nothing


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1, lambda x: 1 - x, lambda x: x * 2.5, lambda x: x / 3, lambda x: 3 / (x * x + 1),
        lambda x: x**2, lambda x: 2.0**x, lambda x: x // 0.3, lambda x: x % 0.3, lambda x: -x, lambda x: abs(x),
        lambda x: x + numbers(5), lambda x: numbers(5) * x, lambda x: x + fnn.tensor(numbers(3, 1)),
        lambda x: x.sign(), lambda x: x.floor(), lambda x: x.ceil(), lambda x: x.round(), lambda x: x.square(),
        lambda x: x.exp(), lambda x: x.expm1(), lambda x: x.sin(), lambda x: x.cos(), lambda x: x.tanh(),
        lambda x: x.erf(), lambda x: x.sigmoid(), lambda x: x.reciprocal(), lambda x: x.clamp(-0.5, 0.7),
        lambda x: fnn.clamp(x, min=0.0), lambda x: x.isnan(), lambda x: x.isinf(), lambda x: x.isfinite(),
        lambda x: x > 0, lambda x: x <= x.mean(), lambda x: x != x.abs(), lambda x: (x > 0) & ~(x > 1),
        lambda x: (x > 0) + (x > 1), lambda x: (x > 0) * (x < 1), lambda x: fnn.maximum(x > 1, x < 0),
        lambda x: fnn.minimum(x > 0, x < 1),
        lambda x: (x > 0) | (x < -1), lambda x: (x > 0) ^ (x < 1), lambda x: fnn.logical_not(x > 0),
        lambda x: fnn.where(x > 0, x, -1.0), lambda x: x.masked_fill(x > 1, 9.0),
        lambda x: fnn.maximum(x, 0.3), lambda x: fnn.minimum(x, x * x),
        lambda x: x.double() + 1, lambda x: x.long(), lambda x: (x > 0).float(), lambda x: x.to(np.int32) * 2,
    ],
)  # fmt: skip
def test_element_by_element(function):
    check(function, X)


@pytest.mark.parametrize("function", [lambda x: x.log(), lambda x: x.log1p(), lambda x: x.sqrt(), lambda x: x.rsqrt()])
def test_of_positive_numbers(function):
    check(function, P)


@pytest.mark.parametrize(
    "function",
    [
        lambda i: i + 1, lambda i: i * 2.5, lambda i: i / 4, lambda i: i // 3, lambda i: i % 3, lambda i: i == 2,
        lambda i: F.one_hot(i + 2, 9), lambda i: i.float().softmax(-1), lambda i: i.sum(1), lambda i: -i,
        lambda i: i // 2.5, lambda i: 2.5 % (i * i + 1), lambda i: fnn.where(i > 2, i > 3, 7),
        lambda i: i.max(i * 2 - 3),
        lambda i: i.floor() + i.ceil() + i.round(),
    ],
)  # fmt: skip
def test_of_integers(function):
    check(function, I)


@pytest.mark.parametrize(
    "function", [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a - b, lambda a, b: a / b, lambda a, b: a < b]
)
def test_types_that_differ(function):
    check(function, X, I + 10)
    check(function, X, Y.astype(np.float64))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(), lambda x: x.sum(0), lambda x: x.sum((1, 2), True), lambda x: x.mean(-1), lambda x: x.amax(1),
        lambda x: x.max(axis=2, keepdims=True), lambda x: x.min(), lambda x: x.prod(-1), lambda x: x.var(),
        lambda x: x.var(False), lambda x: x.std(1, unbiased=False), lambda x: x.norm("fro"), lambda x: x.max(x * x),
        lambda x: fnn.min(x, fnn.tensor(numbers(5))),
        lambda x: x.var(1, 0), lambda x: x.std(0), lambda x: x.std((0, 2), keepdim=True), lambda x: x.norm(),
        lambda x: x.norm(1, 1), lambda x: x.norm(3, -1, True), lambda x: x.norm(np.inf, 2),
        lambda x: x.logsumexp(-1), lambda x: x.argmax(1), lambda x: x.argmin(-1, True), lambda x: x.argmax(),
        lambda x: x.argmax(keepdim=True),
        lambda x: (x > 0).all(1), lambda x: (x > 0).any(), lambda x: x.cumsum(1), lambda x: x.sort(1),
        lambda x: x.topk(2), lambda x: x.topk(1, 1, False)[1],
        lambda x: x.sort(0, True), lambda x: x.argsort(-1), lambda x: x.softmax(1), lambda x: x.log_softmax(0),
    ],
)  # fmt: skip
def test_along_axes(function):
    check(function, X)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.reshape(x.shape[0], -1), lambda x: x.reshape(-1, 5), lambda x: x.reshape(x.shape[0] * 3, 5),
        lambda x: x.view(3, -1, 5), lambda x: x.reshape(x.shape[0], 5, 1, 3), lambda x: x.flatten(1),
        lambda x: x.flatten(), lambda x: x.permute(2, 0, 1), lambda x: x.transpose(0, -1), lambda x: x.mT,
        lambda x: x.T, lambda x: x.unsqueeze(-1), lambda x: x[:, :1].squeeze(1), lambda x: x[:, :1].squeeze(),
        lambda x: x.mean(1, True).expand(x.shape), lambda x: x[:, :1].broadcast_to(x.shape[0], 3, 5),
        lambda x: x.repeat(2, 1, 3), lambda x: x.repeat(2, 1, 1, 1), lambda x: x.tile(2),
        lambda x: x[:, :1].expand_as(x),
        lambda x: x.scatter(1, (x[:, :2] > 0).long(), 7.0), lambda x: x.scatter(2, (x > 0).long(), x * 2),
        lambda x: x.view(x.size(0), -1), lambda x: x.to("cpu").cpu(), lambda x: x.clip(0, 1),
        lambda x: x.bmm(x.mT), lambda x: x[0].mm(x[0].mT), lambda x: x[0, 0].dot(x[0, 1]),
        lambda x: x.flip(1), lambda x: x.flip(0, 2), lambda x: x.roll(2, 1), lambda x: x.roll((1, -2), (0, 2)),
        lambda x: x.roll(7, 1), lambda x: x.roll(-7, 2), lambda x: x.roll(5, 0), lambda x: x.roll(-9, 0),
        lambda x: x.roll(7, 0), lambda x: x.roll(81, 0),
        lambda x: fnn.cat([x, x * 2, x], 1), lambda x: fnn.stack([x, x * 2], -1), lambda x: fnn.stack([x, x], 0),
        lambda x: x.split(2, 1), lambda x: x.split((1, 4), -1), lambda x: x.chunk(2, 1), lambda x: x.unbind(1),
        lambda x: [row for row in x[0]], lambda x: x.tril(), lambda x: x.triu(-1), lambda x: x.tril(1) * 2,
        lambda x: x[0], lambda x: x[-1, 1], lambda x: x[:, 1:, ::2], lambda x: x[..., None, -2], lambda x: x[:, ::-1],
        lambda x: x[:, -9::-1], lambda x: x[:, -2:-9:-1],
        lambda x: x[None, :, 1], lambda x: x[1:-1, :2], lambda x: x[:, [2, 0, 0]], lambda x: x[..., np.array([[0, 4]])],
        lambda x: x[:, [[0, 1]], None], lambda x: x[0, :, [0, 1]], lambda x: x[:, [0, 1], None, 0],
        lambda x: x[:, 1, None, [[0, 1]]], lambda x: x[:, 1, [0, 1]],
        lambda x: x[:, :0].reshape(0, x.shape[0]),
        lambda x: x[:, fnn.tensor([1, 1]), None], lambda x: x[x.shape[0] // 2 :], lambda x: x[: x.shape[0] - 1],
        lambda x: x.index_select(1, fnn.tensor([2, 1])), lambda x: x.gather(1, (x[:, :2] > 0).long()),
        lambda x: x.scatter_add(1, (x > 0).long(), x), lambda x: x.outer(x) if x.ndim == 1 else x[0, 0].outer(x[0, 1]),
        lambda x: fnn.pad(x, (1, 2)), lambda x: fnn.pad(x, (1, 0, 2, -1), value=5.0), lambda x: x.contiguous().clone(),
        lambda x: fnn.pad(x, (2, 1), mode="circular"), lambda x: fnn.pad(x, (1, 1), mode="reflect"),
    ],
)  # fmt: skip
def test_shapes(function):
    check(function, X)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x.shape[0], lambda x: x.sum(0) / x.shape[0], lambda x: x.numel() + x * 0,
        lambda x: x * fnn.arange(x.shape[0]).reshape(-1, 1, 1), lambda x: x + fnn.ones(x.shape),
        lambda x: fnn.cat([fnn.zeros(x.shape[0], 1, 5), x], 1), lambda x: fnn.full((2, x.shape[0]), 3.0) + x.mean(),
        lambda x: fnn.arange(2, x.shape[0] + 5, 2) * x.sum(), lambda x: fnn.zeros_like(x) + fnn.ones_like(x) * 2,
        lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]).reshape(x.shape), lambda x: x + fnn.eye(5)[:3],
    ],
)  # fmt: skip
def test_sizes_that_are_dynamic(function):
    check(function, X)
    check(function, X, axes=[{0: "b", 1: "t"}]) if "eye" not in function.__code__.co_names else None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x.shape[0] % 2, lambda x: x + x.shape[0] // 9 * 3,
        lambda x: fnn.pad(x, (0, 0, 0, -x.shape[0] % 4)),
        lambda x: x * ((x.shape[0] + 11) // 12 * 12 - x.shape[0]), lambda x: x.roll(81, 0), lambda x: x.roll(-1, 0),
        lambda x: x + fnn.arange(x.shape[0] % 4).sum(),
    ],
)  # fmt: skip
def test_rests_that_are_the_same_in_all_multiples_of_the_example(function):
    model = fnn.onnx.export(Expression(function), fnn.zeros(4, 3), input_names=["x"], dynamic_axes={"x": [0]})
    for n in (1, 4, 5, 7, 12, 30):
        x = numbers(n, 3)
        (found,) = Evaluator(model).run(None, {"x": x})
        np.testing.assert_allclose(found, function(fnn.tensor(x)).data, rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a @ b.mT, lambda a, b: fnn.matmul(a[0], b[0].T), lambda a, b: fnn.einsum("bij,bkj->bik", a, b),
        lambda a, b: fnn.linear(a, b[0], activation="relu"), lambda a, b: F.scaled_dot_product_attention(a, b, b),
        lambda a, b: F.scaled_dot_product_attention(a, b, b, is_causal=True),
        lambda a, b: F.scaled_dot_product_attention(a, b, b, (b[..., :3] > 0), scale=0.3),
        lambda a, b: F.scaled_dot_product_attention(a, b, b, fnn.tensor(BLIND)),
        lambda a, b: F.scaled_dot_product_attention(a, b, b, fnn.tensor(BLIND == 0)),
        lambda a, b: F.cross_entropy(a, (b[:, 0] > 3).long(), ignore_index=1, reduction="none"),
        lambda a, b: F.cross_entropy(a, (b[:, 0] > 3).long(), ignore_index=0, reduction="sum"),
        lambda a, b: F.nll_loss(a, (b[:, 0] > 3).long(), ignore_index=1, reduction="none"),
        lambda a, b: F.nll_loss(a, (b[:, 0] > 3).long(), ignore_index=0, reduction="sum"),
        lambda a, b: F.binary_cross_entropy((a > 0.5).float(), (b > 3).float(), weight=b, reduction="none"),
        lambda a, b: F.linear(a, b[0] / 5, activation="gelu"), lambda a, b: F.linear(a, 9 * b[0], activation="relu6"),
        lambda a, b: F.linear(a, b[0], activation="hardswish"), lambda a, b: F.relu6(9 * a) + F.hardswish(b.sum()),
        lambda a, b: F.conv2d(a[:, None], fnn.tensor(numbers(1, 1, 3, 3)), padding=1, residual=b[:, None]),
        lambda a, b: F.mse_loss(a, b), lambda a, b: F.cross_entropy(a[:, 0], (b[:, 0, 0] > 3).long()),
    ],
)  # fmt: skip
def test_of_two_tensors(function):
    check(function, X, Y)


@pytest.mark.parametrize("causal", [False, True])
def test_heads_that_share_keys(causal):
    def function(q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=0.3, enable_gqa=True)

    inputs = numbers(2, 6, 4, 8), numbers(2, 2, 5, 8), numbers(2, 2, 5, 3), numbers(4, 5)
    if causal:  # not with a mask
        check(lambda q, k, v: function(q, k, v, None), *inputs[:3], axes=[{0: "b", 2: "t"}] + [{0: "b", 2: "s"}] * 2)
    else:
        check(function, *inputs, axes=[{0: "b", 2: "t"}, {0: "b", 2: "s"}, {0: "b", 2: "s"}, {0: "t", 1: "s"}])


def test_the_state_dict_is_the_initialisers():
    net = nn.Sequential(nn.LSTM(3, 4, bidirectional=True), nn.Lambda(lambda pair: pair[0]), nn.Linear(8, 2))
    model = fnn.onnx.export(net, fnn.zeros(5, 2, 3), dynamic_axes={"x": [0, 1]})
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    state = net.state_dict()
    assert sorted(stored) == sorted(state)
    for name, array in stored.items():
        np.testing.assert_array_equal(array, state[name].data)


def test_a_shared_parameter_is_stored_once():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    model = fnn.onnx.export(net, fnn.zeros(2, 3))
    assert [t.name for t in model.graph.initializer] == ["0.weight", "0.bias", "1.bias"]


def test_the_module_stays_as_it_is():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5))
    before = {name: t.data.copy() for name, t in net.state_dict().items()}
    weight = net[0].weight
    fnn.onnx.export(net, fnn.randn(6, 3))
    assert net.training
    assert net[0].weight is weight
    for name, t in net.state_dict().items():
        np.testing.assert_array_equal(t.data, before[name])
    net(fnn.randn(6, 3)).sum().backward()
    assert weight.grad is not None


def test_names_and_dynamic_axes():
    class Net(nn.Module):
        def forward(self, image, state=None, *, scale=1.0):
            return {"a": image * scale, "b": (state[0] + 1, state[1])}

    net = Net()
    state = (fnn.zeros(2, 3), fnn.zeros(2))
    model = fnn.onnx.export(
        net,
        {"image": fnn.zeros(2, 3), "state": state, "scale": 2.0},
        output_names=["a", "b", "c"],
        dynamic_axes={"image": {0: "batch"}, "state_0": [1], "b": {1: "wide"}},
    )
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": ["batch", 3], "state_0": [2, "state_0_1"], "state_1": [2], "a": ["batch", 3], "b": [2, "state_0_1"],
        "c": [2],
    }  # fmt: skip


def test_outputs_that_are_inputs_or_the_same():
    model = fnn.onnx.export(Expression(lambda x: (x, x + 1, x + 1)), fnn.zeros(2))
    found = Evaluator(model).run(None, {"args_0": np.ones(2, np.float32)})
    assert [f.tolist() for f in found] == [[1, 1], [2, 2], [2, 2]]


@pytest.mark.parametrize(
    "function",
    [
        lambda i, x: nn.Linear(5, 2)(i) * 0, lambda i, x: fnn.linear(i[:, 0], x[0]), lambda i, x: F.mse_loss(x, i),
        lambda i, x: fnn.einsum("bij,bkj->bik", i, x), lambda i, x: i[0, 0].outer(x[0, 1]),
    ],
)  # fmt: skip
def test_products_of_integers_and_floats(function):
    check(function, I, X)


def test_the_file(tmp_path):
    path = tmp_path / "net.onnx"
    model = fnn.onnx.export(nn.Linear(3, 4), fnn.zeros(2, 3), path)
    assert path.read_bytes() == model.SerializeToString()
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert model.producer_name == "fastnn"


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22, 23])
def test_opsets(opset):
    net = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu").eval()
    model = fnn.onnx.export(net, fnn.zeros(2, 3, 8), dynamic_axes={"src": [0, 1]}, opset=opset)
    assert model.opset_import[0].version == opset
    x = numbers(3, 5, 8)
    (found,) = Evaluator(model).run(None, {"src": x})
    np.testing.assert_allclose(found, net(fnn.tensor(x)).data, rtol=1e-4, atol=1e-5)


def test_float64():
    net = nn.Sequential(nn.Linear(3, 4, dtype=np.float64), nn.GELU(), nn.LayerNorm(4, dtype=np.float64))
    model = fnn.onnx.export(net, fnn.zeros(2, 3, dtype=np.float64))
    x = numbers(2, 3).astype(np.float64)
    (found,) = Evaluator(model).run(None, {"x": x})
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, net(fnn.tensor(x)).data, rtol=1e-6)


def test_other_threads_do_not_notice():
    import threading

    net, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), fnn.randn(4, 8)
    expected, wrong, done = net(x).data, [], threading.Event()

    def work():
        while not done.is_set():
            y = net(x)
            if type(y) is not fnn.Tensor or not np.array_equal(y.data, expected):
                wrong.append(y)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(20):
        fnn.onnx.export(net, x)
    done.set()
    thread.join()
    assert not wrong
