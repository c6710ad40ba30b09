"""Networks of PyTorch, trained by others and freshly made, through both of its exporters into fastnn: same output."""

import numpy as np
import pytest

import fastnn as fnn

pytest.importorskip("onnx")
torch = pytest.importorskip("torch")
from torch_networks import NETWORKS, NotInstalled, exported  # noqa: E402

EXPORTERS = {"torchscript": False, "dynamo": True}


def listed(outs):
    return [o.detach().numpy() for o in (outs if isinstance(outs, tuple) else (outs,))]


def agrees(made, net, inputs):
    with torch.no_grad():
        want = listed(net(*inputs))
    with fnn.no_grad():
        got = made(*(x.numpy() for x in inputs))
    got = [o.numpy() for o in (got if isinstance(got, tuple) else (got,))]
    assert len(got) == len(want)
    for have, right in zip(got, want, strict=True):
        assert have.shape == right.shape
        assert have.dtype == right.dtype
        np.testing.assert_allclose(have, right, rtol=1e-4, atol=1e-4 * max(1, abs(right).max()))


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETWORKS)
def test_exported_by_pytorch(name, exporter):
    try:
        net, (example, other), names, dynamic = NETWORKS[name]()
        data = exported(net.eval(), example, names, EXPORTERS[exporter], dynamic)
    except NotInstalled as reason:
        pytest.skip(str(reason))
    made = fnn.onnx.load(data)
    for inputs in (example, other, example):
        agrees(made, net, inputs)
    assert name not in ("g2p", "cells") or "Cell" in [node.op for node in made._plan.nodes]
    made.freeze()
    for inputs in (other, example):
        agrees(made, net, inputs)
