"""Networks that others trained, exported by PyTorch to ONNX: fastnn.onnx and ONNX Runtime load the same bytes.

"native" is the same network made of `fastnn.nn`, with the same weights. The networks are those of
tests/torch_networks.py; each is here where the package that carries its weights is installed.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.cases.conv import images


@cache
def _network(key: str) -> Any:
    """PyTorch's network, an example of its inputs, their names and dynamic axes."""
    sys.path.append(str(Path(__file__).parents[2] / "tests"))
    from torch_networks import NETWORKS

    net, examples, names, dynamic = NETWORKS[key]()
    return net.eval(), examples[0], names, dynamic


def _inputs(key: str, drawn: Callable[[np.random.Generator], list[np.ndarray]]) -> Callable[[], Inputs]:
    def made() -> Inputs:
        net, example, names, dynamic = _network(key)
        from torch_networks import exported

        data = exported(net.float(), example, names, False, dynamic)
        given = drawn(np.random.default_rng(0))
        return {"model": np.frombuffer(data, np.uint8), **dict(zip(names, given, strict=True))}

    return made


def _given(inputs: Inputs) -> list[np.ndarray]:
    return [v for k, v in inputs.items() if k != "model"]


def _answer(key: str) -> Callable[[Inputs], Answer]:
    """In float64."""

    def answer(inputs: Inputs) -> Answer:
        import torch

        given = [torch.from_numpy(v) for v in _given(inputs)]
        with torch.inference_mode():
            outs = _network(key)[0].double()(*(x.double() if x.is_floating_point() else x for x in given))
        return [o.numpy() for o in (outs if isinstance(outs, tuple) else (outs,))]

    return answer


def _imported(inputs: Inputs) -> Run:
    import fastnn as fnn

    model = fnn.onnx.load(inputs["model"].tobytes()).freeze()
    return _of_fastnn(model, _given(inputs))


def _of_fastnn(model: Callable, given: list[np.ndarray]) -> Run:
    import fastnn as fnn

    values = [images(fnn, v) if v.ndim == 4 else fnn.tensor(v) for v in given]

    def answer() -> list[np.ndarray]:
        outs = model(*values)
        return [o.numpy() for o in (outs if isinstance(outs, tuple) else (outs,))]

    return Run(lambda: model(*values), answer, fnn.no_grad)


def _onnxruntime(inputs: Inputs) -> Run:
    import os

    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    options.log_severity_level = 3
    made = ort.InferenceSession(inputs["model"].tobytes(), options, providers=["CPUExecutionProvider"])
    feed = {k: v for k, v in inputs.items() if k != "model"}
    return Run(lambda: made.run(None, feed), lambda: made.run(None, feed))


# ---------------------------------------------------------------------------------------- the same, made of fastnn.nn


def _file(package: str, path: str) -> str:
    return str(importlib.metadata.distribution(package).locate_file(path))


def _face_net(key: str) -> Any:
    import fastnn as fnn

    return getattr(fnn.models.MTCNN().load(_file("facenet-pytorch", "facenet_pytorch/data")), key)


def _generator() -> Any:
    import fastnn as fnn

    return fnn.models.DCGAN().load(_file("gan-face-generate", "gan_face_generate/weights.tar"))


def _encoder() -> Any:
    import fastnn as fnn
    from fastnn.demos import _minilm

    return fnn.models.SentenceEncoder.from_folder(_minilm.needed())


def _speller() -> Any:
    import fastnn as fnn
    from fastnn.demos import _g2p

    return fnn.models.Pronouncer().load(_g2p.needed() / "checkpoint20.npz")


def _embed(net: Any) -> Callable:
    def call(tokens: Any, mask: Any) -> Any:
        taken = mask.data != 0
        x = net(tokens, None if taken.all() else ~taken)
        counts = taken[:, :, None].astype(np.float32)
        mean = (x * counts).sum(1) / counts.sum(1)
        return mean / ((mean * mean).sum(-1, keepdim=True) + 1e-24).sqrt(), x

    return call


def _say(net: Any) -> Callable:
    """Twenty steps, as the exported network has them; `Pronouncer.pronounce` stops where a word ends."""

    def call(letters: Any) -> Any:
        import fastnn as fnn

        state = net.reader(net.letter_embedding(letters))[1]
        said, last = [], np.full(letters.shape[0], 2)
        for _ in range(20):
            scores, state = net.forward(last, state)
            last = scores.data.argmax(1)
            said.append(last)
        return fnn.tensor(np.stack(said, 1)), scores

    return call


def _native(made: Callable[[], Any], calls: Callable[[Any], Callable] = lambda net: net) -> Callable[[Inputs], Run]:
    return lambda inputs: _of_fastnn(calls(made().eval().freeze()), _given(inputs))


# -------------------------------------------------------------------------------------------------------------- cases


def _case(
    key: str, name: str, drawn: Callable[[np.random.Generator], list[np.ndarray]], native: Callable[[Inputs], Run]
) -> Case:
    peers = {
        "fastnn": {"as imported": _imported},
        "fastnn:native": {"frozen": native},
        "onnxruntime": {"run": _onnxruntime},
    }
    return Case("onnx", name, _inputs(key, drawn), _answer(key), peers, bound=1e-4)


def _pixels(*shape: int) -> Callable[[np.random.Generator], list[np.ndarray]]:
    return lambda rng: [rng.standard_normal(shape, np.float32)]


def _tokens(length: int) -> Callable[[np.random.Generator], list[np.ndarray]]:
    return lambda rng: [rng.integers(1, 30522, (1, length)), np.ones((1, length), np.int64)]


CASES = [
    _case("pnet", "MTCNN's P-net 3x160x240", _pixels(1, 3, 160, 240), _native(lambda: _face_net("pnet"))),
    _case("rnet", "MTCNN's R-net 3x24x24 batch 16", _pixels(16, 3, 24, 24), _native(lambda: _face_net("rnet"))),
    _case("onet", "MTCNN's O-net 3x48x48", _pixels(1, 3, 48, 48), _native(lambda: _face_net("onet"))),
    _case("onet", "MTCNN's O-net 3x48x48 batch 32", _pixels(32, 3, 48, 48), _native(lambda: _face_net("onet"))),
    _case("dcgan", "DCGAN, a face of 64x64", _pixels(1, 100, 1, 1), _native(_generator)),
    _case("minilm", "all-MiniLM-L6-v2, 16 tokens", _tokens(16), _native(_encoder, _embed)),
    _case("minilm", "all-MiniLM-L6-v2, 128 tokens", _tokens(128), _native(_encoder, _embed)),
    _case("g2p", "g2p-en, a word", lambda rng: [np.array([[7, 5, 20, 21, 9, 2]])], _native(_speller, _say)),
]
