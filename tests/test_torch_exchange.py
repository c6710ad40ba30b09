"""Weights to and from PyTorch, which writes and judges the files here: every layer of both, both formats, both ways."""

import inspect
import warnings

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")


def sequential(nn):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 4, 1, bias=False)),
        nn.Flatten(),
        nn.Linear(4 * 16, 5),
    )


F, I = "floats", "indices"  # noqa: E741
LAYERS = {
    "Linear": (lambda nn: nn.Linear(5, 3), F, (4, 5)),
    "Linear without bias": (lambda nn: nn.Linear(5, 3, bias=False), F, (4, 5)),
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), F, (2, 4, 11)),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, (3, 2), dilation=2), F, (2, 4, 9, 8)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), F, (2, 4, 5, 6)),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(5), F, (4, 5)),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(3), F, (2, 3, 4, 5)),
    "LayerNorm": (lambda nn: nn.LayerNorm(6), F, (3, 6)),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 6), F, (3, 6, 4)),
    "Embedding": (lambda nn: nn.Embedding(9, 4), I, (3, 5)),
    "PReLU": (lambda nn: nn.PReLU(3), F, (2, 3, 4)),
    "RNN": (lambda nn: nn.RNN(4, 5, nonlinearity="relu"), F, (6, 2, 4)),
    "LSTM": (lambda nn: nn.LSTM(4, 5, num_layers=2, bidirectional=True), F, (6, 2, 4)),
    "GRU": (lambda nn: nn.GRU(4, 5, batch_first=True), F, (2, 6, 4)),
    "TransformerEncoderLayer": (
        lambda nn: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        F,
        (2, 5, 8),
    ),
    "TransformerEncoder": (
        lambda nn: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16), 2, nn.LayerNorm(8), False, mask_check=False
        ),
        F,
        (5, 2, 8),
    ),
    "a network": (sequential, F, (2, 3, 8, 8)),
}
KINDS = ["safetensors", "zip", "pickles"]


def pair(name):
    """Return a layer of PyTorch with numbers of no special kind, the same of fastnn, and an input."""
    make, kind, shape = LAYERS[name]
    torch.manual_seed(1)
    theirs, ours = make(torch.nn).eval(), make(nn).eval()
    for tensor in theirs.state_dict().values():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.1, 1.0)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, shape) if kind == I else rng.normal(size=shape).astype(np.float32)
    return theirs, ours, x


def outputs(theirs, ours, x):
    def first(y):
        return y[0] if isinstance(y, tuple) else y

    with torch.no_grad(), fnn.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch tells about its own kernels
        return first(theirs(torch.from_numpy(x))).numpy(), first(ours(fnn.from_numpy(x))).numpy()


def write(state, folder, kind):
    """Let PyTorch write a state dict; return the path."""
    path = folder / ("net.safetensors" if kind == "safetensors" else "net.pt")
    if kind == "safetensors":
        safetensors_torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_from_pytorch(name, kind, tmp_path):
    theirs, ours, x = pair(name)
    assert fnn.load(write(theirs.state_dict(), tmp_path, kind), ours) is ours
    np.testing.assert_allclose(*outputs(theirs, ours, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_to_pytorch(name, tmp_path):
    theirs, ours, x = pair(name)
    fnn.save(ours, tmp_path / "net.safetensors")
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "net.safetensors"), strict=True)
    np.testing.assert_allclose(*outputs(theirs, ours, x), rtol=1e-4, atol=1e-4)
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), ours.state_dict()[name].numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_converted(dtype, kind, tmp_path):
    theirs, ours, x = pair("a network")
    fnn.load(write(theirs.to(getattr(torch, dtype)).state_dict(), tmp_path, kind), ours)
    np.testing.assert_allclose(*outputs(theirs.float(), ours, x), rtol=1e-4, atol=1e-4)
    bits = torch.arange(-(2**15), 2**15).to(torch.int16)
    every = bits.view(getattr(torch, dtype))
    back = fnn.load(write({"x": every}, tmp_path, "safetensors"))["x"]
    np.testing.assert_array_equal(back.numpy(), every.float().numpy())
    np.testing.assert_array_equal(np.signbit(back.numpy()), np.signbit(every.float().numpy()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
)
def test_all_256_numbers_of_8_bits(dtype, kind, tmp_path):
    every = torch.arange(256).to(torch.uint8).view(getattr(torch, dtype))
    if kind == "safetensors" and getattr(torch, dtype) not in safetensors_torch._TYPES.values():
        pytest.skip("the library does not write it")
    path = write({"x": every}, tmp_path, kind)
    x = np.asarray((fnn.load if kind == "safetensors" else fnn.load_torch)(path)["x"])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, every.float().numpy())
    assert (np.signbit(x) == np.signbit(every.float().numpy()))[~np.isnan(x)].all()


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
def test_every_dtype(dtype, kind, tmp_path):
    x = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    state = {
        "x": torch.from_numpy(x),
        "empty": torch.from_numpy(x[:0].copy()),
        "number": torch.from_numpy(x[0, 0, 1:2])[0],
    }
    path = write({name: tensor.clone() for name, tensor in state.items()}, tmp_path, kind)
    back = fnn.load(path) if kind == "safetensors" else fnn.load_torch(path)
    for name, tensor in state.items():
        array = np.asarray(back[name])
        assert array.dtype == dtype
        assert array.shape == tuple(tensor.shape)
        np.testing.assert_array_equal(array, tensor.numpy())
        array[...] = 0  # its own memory


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint16"])
@pytest.mark.parametrize("kind", ["zip", "pickles"])
def test_strides_and_shared_storages(kind, dtype, tmp_path):
    whole = torch.arange(60).reshape(3, 4, 5).to(getattr(torch, dtype))
    state = {
        "whole": whole,
        "transposed": whole.permute(2, 0, 1),
        "part": whole[1:, ::2, 1:4:2],
        "diagonal": whole[0, :4, :4].diagonal(),
        "again": whole,
        "parameter": torch.nn.Parameter(
            whole[1].float() if dtype == "uint16" else whole[1], requires_grad=dtype != "uint16"
        ),
        "images": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    path = write(state, tmp_path, kind)
    back = fnn.load_torch(path)
    for name, tensor in state.items():
        np.testing.assert_array_equal(back[name], tensor.detach().float().numpy())
    back["whole"][1, 2, 3] = 999
    assert back["again"][1, 2, 3] == back["transposed"][3, 1, 2] == back["part"][0, 1, 1] == 999
    with pytest.raises(fnn.FormatError, match="storage of 1 elements"):
        fnn.load_torch(write({"x": torch.zeros(1).expand(3)}, tmp_path, kind))


def test_checkpoints_with_more_than_tensors(tmp_path):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = write(
        {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "note": "ü"}, tmp_path, "zip"
    )
    back = fnn.load_torch(path)
    assert (back["epoch"], back["note"]) == (3, "ü")
    assert back["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    np.testing.assert_array_equal(
        back["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"].numpy()
    )
    ours = nn.Linear(3, 2)
    ours.load_state_dict(back["net"])
    np.testing.assert_array_equal(ours.weight.detach().numpy(), net.weight.detach().numpy())


def test_whole_modules_are_refused_by_name(tmp_path):
    path = write(torch.nn.Linear(3, 2), tmp_path, "zip")
    with pytest.raises(fnn.FormatError, match=r"names torch\.nn\.modules\.linear\.Linear, which is not loaded"):
        fnn.load_torch(path)
    scripted = tmp_path / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(3, 2)), scripted)
    with pytest.raises(fnn.FormatError):
        fnn.load_torch(scripted)


# ----- what does not fit -----


@pytest.mark.parametrize("kind", KINDS)
def test_misfits_are_listed(kind, tmp_path):
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    path = write(theirs.state_dict(), tmp_path, kind)
    ours = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(4), nn.Linear(4, 2), nn.Linear(2, 2, bias=False))
    before = ours[2].weight.detach().numpy().copy()
    with pytest.raises(ValueError, match="Sequential does not fit") as error:
        fnn.load(path, ours)
    wrong, missing, unexpected = str(error.value).splitlines()[1:]
    assert wrong == ("  wrong: 0.weight: shape (5, 3) expected, got (4, 3); 0.bias: shape (5,) expected, got (4,)")
    assert missing == "  missing: 3.weight"
    assert unexpected.startswith("  unexpected: ")
    assert set(unexpected[14:].split(", ")) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    np.testing.assert_array_equal(ours[2].weight.detach().numpy(), before)  # nothing was touched
    with pytest.raises(ValueError, match=r"wrong: 0\.weight"):
        fnn.load(path, ours, strict=False)
    ours = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.Linear(2, 2))
    fnn.load(path, ours, strict=False)
    np.testing.assert_array_equal(ours[2].weight.detach().numpy(), theirs[2].weight.detach().numpy())


class Tied:
    """Two embeddings that are one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = self.library.Embedding(5, 3), self.library.Embedding(5, 3)
        self.second.weight = self.first.weight


class TheirTied(Tied, torch.nn.Module):
    library = torch.nn


class OurTied(Tied, nn.Module):
    library = nn


def test_tied_weights_under_one_name(tmp_path):
    theirs, ours = TheirTied(), OurTied()
    safetensors_torch.save_model(theirs, str(tmp_path / "tied.safetensors"))
    assert len(fnn.load(tmp_path / "tied.safetensors")) == 1
    fnn.load(tmp_path / "tied.safetensors", ours)
    assert ours.second.weight is ours.first.weight
    np.testing.assert_array_equal(ours.second.weight.detach().numpy(), theirs.first.weight.detach().numpy())
    fnn.save(ours, tmp_path / "back.safetensors")
    theirs.load_state_dict(safetensors_torch.load_file(tmp_path / "back.safetensors"))
    with pytest.raises(ValueError, match=r"missing: first\.weight, second\.weight"):
        fnn.load(write({"other": torch.ones(5, 3)}, tmp_path, "safetensors"), ours)


@pytest.mark.parametrize(("ours", "theirs"), [
    (nn, torch.nn), (nn.functional, torch.nn.functional), (nn.init, torch.nn.init), (fnn.optim, torch.optim),
    (fnn.optim.lr_scheduler, torch.optim.lr_scheduler), (fnn.optim.swa_utils, torch.optim.swa_utils),
    (nn.utils.rnn, torch.nn.utils.rnn), (nn.utils.parametrizations, torch.nn.utils.parametrizations),
], ids=lambda module: module.__name__)  # fmt: skip
def test_arguments_have_the_order_and_the_defaults_of_pytorchs(ours, theirs):
    wrong, compared = [], 0
    for name in sorted(set(dir(ours)) & set(dir(theirs))):
        if not callable(getattr(ours, name)) or name.startswith("_"):
            continue
        mine, other = parameters(getattr(ours, name)), parameters(getattr(theirs, name))
        order = [p for p in mine if in_order(mine, p) and in_order(other, p)]
        if order != [p for p in other if p in order]:
            wrong.append(f"{name}: {order}")
        for p in set(mine) & set(other):
            if isinstance(other[p].default, bool | int | float | str | tuple):
                compared += 1
                if mine[p].default != other[p].default:
                    wrong.append(f"{name}: {p} is {mine[p].default!r}, not {other[p].default!r}")
    assert wrong == []
    assert compared > 1


def in_order(signature, name):
    return name in signature and signature[name].kind is not inspect.Parameter.KEYWORD_ONLY


def parameters(function):
    """Return a function's parameters by name; none for what Python cannot look into."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
