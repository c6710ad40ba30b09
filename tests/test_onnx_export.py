"""Every layer and model as an ONNX model: the checker's word, and the same output in other programs at other sizes."""

import numpy as np
import pytest
from onnx_export_cases import LAYERS, MODELS, numbers

import fastnn as fnn
from fastnn import models, nn

onnx = pytest.importorskip("onnx")


def randomized(module):
    """The module in evaluation mode with no parameter or statistic that could be left out unnoticed."""
    rng = np.random.default_rng(0)
    for name, tensor in module._state():
        if tensor.dtype.kind == "f":
            values = rng.uniform(0.5, 1.5, tensor.shape) if name.endswith(("var", "std", "weight")) else None
            small = rng.uniform(-0.5, 0.5, tensor.shape)
            tensor.data[...] = values if values is not None and tensor.ndim == 1 else small
    return module.eval()


def flat(result):
    if isinstance(result, tuple | list):
        return [x for item in result for x in flat(item)]
    return [] if result is None else [np.asarray(getattr(result, "data", result))]


def exported(case, module):
    arguments = case.arguments(0)
    names = [f"in_{i}" for i in range(sum(len(flat(a)) for a in arguments))]
    axes = {name: axes for name, axes in zip(names, case.axes) if axes}
    example = tuple(a if isinstance(a, tuple | None) else fnn.tensor(a) for a in arguments)
    return fnn.onnx.export(module, example, input_names=names, dynamic_axes=axes), names


def compare(case, module, names, run):
    """`run(inputs by name)` gives what the module gives, in the example's sizes and in two others."""
    for which in range(3):
        arguments = case.arguments(which)
        expected = flat(module(*[a if isinstance(a, tuple | None) else fnn.tensor(a) for a in arguments]))
        found = run(dict(zip(names, flat(arguments), strict=True)))
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1, np.abs(b).max(initial=0)))


def reference(model):
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(model)
    return lambda inputs: session.run(None, inputs)


def runtime(model):
    session = pytest.importorskip("onnxruntime").InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda inputs: session.run(None, inputs)


CASES = {**LAYERS, **MODELS}
# Where the reference evaluator of onnx 1.23 does not do what the operators' definition says.
EVALUATOR = {
    "ConvTranspose2d": "does not know groups",
    **dict.fromkeys(["RNN relu", "RNNCell"], "knows activations by other names"),
    **dict.fromkeys(
        [
            "RNN of lengths", "GRU of lengths", "LSTM of lengths", "IntentClassifier", "SpeechRecognizer of lengths",
            "Pronouncer's reader",
        ],
        "ignores sequence_lens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("program", [reference, runtime], ids=["reference", "onnxruntime"])
def test_other_programs_compute_the_same(name, program):
    if program is reference and name in EVALUATOR:
        pytest.skip(EVALUATOR[name])
    case = CASES[name]
    module = randomized(case.make())
    model, names = exported(case, module)
    compare(case, module, names, program(model))


NOT_LAYERS = {"CTCLoss", "Module", "ModuleList", "Sequential"}  # no node; base class and containers, in the models


def test_every_layer_and_model_is_here():
    layers = {
        name for name in dir(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    tested = {name.split()[0] for name in LAYERS}
    assert layers - NOT_LAYERS <= tested
    networks = {name for name in models.__all__ if isinstance(getattr(models, name), type)}
    assert networks - {"MTCNN"} <= {name.split()[0] for name in MODELS}  # that is PNet, RNet and ONet


def test_frozen_networks():
    case = MODELS["ResNet"]
    module = randomized(case.make()).freeze()
    model, names = exported(case, module)
    assert sum(node.op_type == "BatchNormalization" for node in model.graph.node) == 6  # under their own names
    compare(case, module, names, reference(model))


def test_positions_far_out():
    net = nn.SinusoidalPositionalEncoding(6, batch_first=True)
    model = fnn.onnx.export(net, fnn.zeros(1, 3, 6), dynamic_axes={"x": [1]})
    x = numbers(1, 20000, 6)
    for program in (reference, runtime):
        np.testing.assert_allclose(program(model)({"x": x})[0], net(fnn.tensor(x)).data, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool2d((2, 3)), nn.AdaptiveAvgPool2d((2, 3))])
def test_what_is_left_of_an_image_is_not_taken_for_the_batch(pool):
    """10 rows become 2, and 30 become 4, as a batch of 2 becomes 4."""
    net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 1, stride=2), nn.MaxPool2d(2, ceil_mode=True), pool).eval()
    model = fnn.onnx.export(net, fnn.zeros(2, 3, 10, 13), dynamic_axes={"x": {0: "b", 2: "h", 3: "w"}})
    for size in ((3, 3, 12, 11), (1, 3, 33, 18)):
        x = numbers(*size)
        np.testing.assert_allclose(runtime(model)({"x": x})[0], net(fnn.tensor(x)).data, rtol=1e-5, atol=1e-6)


def test_halves_that_are_doubled_are_not_taken_for_the_whole():
    """14 rows become 7 and 14 again, of any even number the same; 13 become 14."""
    halved = nn.Conv2d(3, 12, 3, stride=2, padding=1)
    net = nn.Sequential(halved, nn.PixelShuffle(2), nn.AdaptiveAvgPool2d((3, 3))).eval()
    model = fnn.onnx.export(net, fnn.zeros(2, 3, 14, 10), dynamic_axes={"x": {0: "b", 2: "h", 3: "w"}})
    assert [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == ["b", 3, 3, 3]
    for size in ((1, 3, 13, 10), (3, 3, 15, 9)):
        x = numbers(*size)
        np.testing.assert_allclose(runtime(model)({"x": x})[0], net(fnn.tensor(x)).data, rtol=1e-5, atol=1e-6)


def test_ctc_has_no_node():
    arguments = (fnn.zeros(5, 1, 3), fnn.tensor([[1]]), fnn.tensor([5]), fnn.tensor([1]))
    with pytest.raises(fnn.onnx.ExportError, match=r"CTCLoss: fastnn\.ctc_loss cannot be exported"):
        fnn.onnx.export(nn.CTCLoss(), arguments)
