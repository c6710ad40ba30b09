"""What cannot be exported is refused by name, and leaves everything as it was."""

import numpy as np
import pytest
from onnx_export_cases import Expression, numbers

import fastnn as fnn
from fastnn import nn
from fastnn.nn import functional as F

pytest.importorskip("onnx")
Evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator

T = fnn.zeros(4, 3, 5)


class Twice(fnn.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2


HELD = [F.relu]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda x: x * x.data.mean(), "values of a tensor are read"),
        (lambda x: x if x.sum() > 0 else -x, "values of a tensor are read"),
        (lambda x: x * float(x.sum()), "values of a tensor are read"),
        (lambda x: x * x.mean().item(), "values of a tensor are read"),
        (lambda x: fnn.tensor(np.asarray(x) * 2), "values of a tensor are read"),
        (lambda x: x.numpy(), "values of a tensor are read"),
        (lambda x: sum(x[i] for i in range(x.shape[0])), "dynamic size (4 in the example) is read as a number"),
        (lambda x: x + np.zeros((x.shape[0], 1, 1)), "dynamic size (4 in the example)"),
        (lambda x: x * int(x.shape[0]), "dynamic size (4 in the example)"),
        (lambda x: x if x.shape[0] < 5 else -x, "one way when a dynamic size is 4 and another when it is 8"),
        (lambda x: x.reshape(4, 15), "not for other dynamic sizes"),
        (lambda x: [row for row in x], "loop over a dynamic axis"),
        (lambda x: x[: len(x) - 1], "len() of a tensor whose first axis is dynamic"),
        (lambda x: x.split(2, 0), "split of a dynamic axis"),
        (lambda x: x.chunk(2, 0), "chunk of a dynamic axis"),
        (lambda x: x[x > 0], "index of booleans"),
        (lambda x: x[fnn.tensor([0, 1]), fnn.tensor([0, 1])], "more than one tensor"),
        (lambda x: x.add_(1), "no tensor in place"),
        (lambda x: x.__iadd__(1), "no tensor in place"),
        (lambda x: x.__setitem__(0, 1), "no tensor in place"),
        (lambda x: x.backward(), "Tensor.backward has no place"),
        (lambda x: x + fnn.randn(5), "no random numbers"),
        (lambda x: fnn.dropout(x, 0.5, True), "no random numbers"),
        (lambda x: Twice.apply(x), "the Function Twice cannot be exported"),
        (lambda x: F.one_hot(x.long()), "one_hot without num_classes"),
        (lambda x: F.one_hot(x.long(), -1), "one_hot without num_classes"),
        (lambda x: F.ctc_loss(x, [[1]] * 3, [4] * 3, [1] * 3), "fastnn.ctc_loss cannot be exported"),
        (lambda x: HELD[0](x) + 1, "something that cannot be recorded"),
        (lambda x: x.roll(1), "pass dims"),
        (lambda x: 3, "returns a int"),
        (lambda x: None, "no tensor"),
    ],
)  # fmt: skip
def test_refused(function, says):
    with pytest.raises(fnn.onnx.ExportError) as found:
        fnn.onnx.export(Expression(function), T, dynamic_axes={"args_0": [0]})
    assert says in str(found.value)
    assert str(found.value).startswith("export: ")


def test_the_module_is_named():
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.Lambda(lambda x: x * x.sum().item())))
    with pytest.raises(fnn.onnx.ExportError, match=r"^export: 1\.1 \(Lambda\): the values"):
        fnn.onnx.export(net, fnn.zeros(2, 3))
    with pytest.raises(NotImplementedError, match="MTCNN") as found:
        fnn.onnx.export(fnn.models.MTCNN(), fnn.zeros(1, 3, 12, 12))
    assert found.value.__notes__ == ["while exporting MTCNN"]
    with pytest.raises(ValueError, match=r"linear|matmul"):
        fnn.onnx.export(nn.Linear(3, 4), fnn.zeros(2, 5))


def test_after_a_failure_everything_is_as_before():
    relu, call = fnn.relu, nn.Module.__call__
    with pytest.raises(fnn.onnx.ExportError):
        fnn.onnx.export(Expression(lambda x: fnn.relu(x).item()), fnn.zeros(1))
    assert fnn.relu is relu
    assert nn.Module.__call__ is call
    assert type(fnn.relu(fnn.zeros(1))) is fnn.Tensor


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"opset": 17}, ValueError, "opset must be 18"),
        ({"opset": 1000}, ValueError, "opset must be 18"),
        ({"opset": "18"}, ValueError, "opset must be 18"),
        ({"input_names": ["a", "b"]}, ValueError, "names for 1 inputs"),
        ({"output_names": []}, ValueError, "names for 1 outputs"),
        ({"input_names": ["weight"]}, ValueError, "'weight' is an input or output, and a parameter"),
        ({"output_names": ["x"]}, ValueError, "'x' is an input or output, and the other too"),
        ({"output_names": ["/Gemm"]}, ValueError, "'/Gemm' is an input or output, and a value between"),
        ({"input_names": [""]}, ValueError, "names for 1 inputs"),
        ({"output_names": [3]}, ValueError, "names for 1 outputs"),
        ({"dynamic_axes": ["x"]}, TypeError, "dynamic_axes must be"),
        ({"dynamic_axes": {"x": [0], "output": [7]}}, ValueError, "output is .* no axes"),
        ({"dynamic_axes": {"y": [0]}}, ValueError, "dynamic_axes names 'y'"),
        ({"dynamic_axes": {"x": [2]}}, ValueError, "no axis 2"),
        ({"dynamic_axes": {"x": {0: 3}}}, TypeError, "dynamic_axes of 'x'"),
        ({"dynamic_axes": {"x": {0: "n", 1: "n"}}}, ValueError, "'n' is 2 and, in 'x', 3"),
    ],
)
def test_wrong_arguments(settings, error, says):
    with pytest.raises(error, match=says):
        fnn.onnx.export(nn.Linear(3, 4), fnn.zeros(2, 3), **settings)


def test_wrong_inputs():
    with pytest.raises(TypeError, match="module must be a Module, got function"):
        fnn.onnx.export(lambda x: x, fnn.zeros(2))
    with pytest.raises(TypeError, match=r"do not fit Linear\.forward"):
        fnn.onnx.export(nn.Linear(3, 4), (fnn.zeros(2, 3), fnn.zeros(2)))
    with pytest.raises(TypeError, match="x is a set"):
        fnn.onnx.export(nn.Linear(3, 4), {"x": {1}})
    with pytest.raises(ValueError, match="hold no tensor"):
        fnn.onnx.export(nn.Linear(3, 4), (None,))


def test_without_onnx(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs onnx.*pip install "fastnn\[onnx\]"'):
        fnn.onnx.export(nn.Linear(3, 4), fnn.zeros(2, 3))


def test_a_tensor_that_outlives_its_recording():
    kept = []
    fnn.onnx.export(Expression(lambda x: kept.append(x) or x + 1), fnn.zeros(2))
    with pytest.raises(fnn.onnx.ExportError, match="used after its end"):
        kept[0] + 1


def test_modules_and_functions_that_are_not_registered():
    hidden, table = [nn.Linear(3, 3)], {"act": fnn.tanh}

    class Net(nn.Module):
        def __init__(self):
            self.scale = fnn.tensor([2.0])  # no buffer
            self.act = F.gelu

        def forward(self, x):
            return self.act(hidden[0](x)) * self.scale

    net, x = Net(), numbers(2, 3)
    model = fnn.onnx.export(net, fnn.tensor(x))
    assert not model.graph.initializer  # the names of the state dict; what is not in it is constant
    (found,) = Evaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(found, net(fnn.tensor(x)).data, rtol=1e-4, atol=1e-6)
    with pytest.raises(fnn.onnx.ExportError, match="something that cannot be recorded"):
        fnn.onnx.export(Expression(lambda x: table["act"](x) * 2), fnn.zeros(3))


def test_a_pool_that_may_begin_in_its_padding():
    """Whether a last window there counts depends on the size; runtimes count it, fastnn does not."""
    with pytest.raises(fnn.onnx.ExportError, match="padding and ceil_mode cannot be exported for a dynamic size"):
        fnn.onnx.export(nn.MaxPool1d(3, 3, 1, ceil_mode=True), fnn.zeros(2, 3, 9), dynamic_axes={"x": [2]})


def test_areas_of_a_size_that_depends_on_a_dynamic_one():
    with pytest.raises(fnn.onnx.ExportError, match="scale_factor cannot be exported for a dynamic size"):
        fnn.onnx.export(nn.Upsample(scale_factor=2, mode="area"), fnn.zeros(2, 3, 4, 5), dynamic_axes={"x": [2]})
    fnn.onnx.export(nn.Upsample(scale_factor=2, mode="area"), fnn.zeros(2, 3, 4, 5), dynamic_axes={"x": [0]})


def test_training_is_not_exported():
    with pytest.raises(fnn.onnx.ExportError, match="batch_norm in training mode"):
        fnn.onnx.export(
            Expression(lambda x: F.batch_norm(x, fnn.zeros(3), fnn.ones(3), training=True)), fnn.randn(4, 3)
        )
