"""load_torch: what comes back from both layouts of PyTorch's files.

The files are written by torch_writer; real ones are read in test_torch_real.py and test_torch_exchange.py.
"""

import io
import pickle
import zipfile

import numpy as np
import pytest
from torch_writer import KINDS, LAYOUTS, Code, Zip, call, pickled, storage

import fastnn as fnn
from fastnn import _pickle


@pytest.fixture
def load(tmp_path):
    """Writes the bytes to a file and loads it."""

    def of(content):
        path = tmp_path / "net.pt"
        path.write_bytes(content)
        return fnn.load_torch(path)

    return of


# ----- what comes back -----


@LAYOUTS
@pytest.mark.parametrize("dtype", KINDS)
def test_dtypes(layout, dtype, load):
    file = layout()
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    back = load(file.write({"x": file.tensor(array)}))["x"]
    np.testing.assert_array_equal(back, array)
    assert back.dtype == (np.float32 if dtype == "f2" else dtype)
    back[...] = 0  # its own memory


@LAYOUTS
def test_bfloat16(layout, load):
    file = layout()
    bits = (np.array([1.5, -2.0, np.inf], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert load(file.write({"x": file.tensor(bits, "BFloat16Storage")}))["x"].tolist() == [1.5, -2, np.inf]


@LAYOUTS
def test_windows_of_one_storage(layout, load):
    file = layout()
    stored = file.store(np.arange(12, dtype=np.float32))
    value = {
        "whole": file.window(stored, 0, (3, 4), (4, 1)),
        "transposed": file.window(stored, 0, (4, 3), (1, 4)),
        "part": file.window(stored, 5, (2, 2), (4, 2)),
        "diagonal": file.window(stored, 0, (3,), (5,)),
        "number": file.window(stored, 11, (), ()),
        "empty": file.window(stored, 12, (0, 3), (3, 1)),
        "one": file.window(stored, 3, (1, 2), (10**6, 1)),
        "parameter": call("torch._utils._rebuild_parameter", file.window(stored, 1, (2,), (1,)), True, {}),
        "old": call("torch._utils._rebuild_tensor", storage(*stored), 2, (2,), (1,)),
    }
    back = load(file.write(value))
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(back["whole"], whole)
    np.testing.assert_array_equal(back["transposed"], whole.T)
    np.testing.assert_array_equal(back["part"], [[5, 7], [9, 11]])
    np.testing.assert_array_equal(back["diagonal"], [0, 5, 10])
    assert back["number"].shape == ()
    assert back["number"] == 11
    assert back["empty"].shape == (0, 3)
    np.testing.assert_array_equal(back["one"], [[3, 4]])
    np.testing.assert_array_equal(back["parameter"], [1, 2])
    np.testing.assert_array_equal(back["old"], [2, 3])
    back["whole"][0, 0] = 100
    assert back["transposed"][0, 0] == 100


@LAYOUTS
def test_nested_things(layout, load):
    file = layout()
    w = np.ones((2, 2), np.float32)
    metadata = Code(pickled(call("collections.OrderedDict")) + pickled({"_metadata": {"": {"version": 1}}}) + b"b")
    items = Code(metadata + b"(" + pickled("w") + pickled(file.tensor(w)) + b"u")
    pairs = call("collections.OrderedDict", [["a", 1], ("b", 2)])
    value = {"net": items, "epoch": 3, "lr": 0.1, "best": None, "done": True, 0: [1, (2, "zwei")], "pairs": pairs}
    back = load(file.write(value))
    np.testing.assert_array_equal(back["net"].pop("w"), w)
    assert back == {**value, "net": {}, "pairs": {"a": 1, "b": 2}}
    assert type(back["net"]) is dict


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_python_pickles(protocol, load):
    value = {"a": [1, -1, 255, 65536, 2**40, -(2**70), 2.5, "ü" * 300], "t": ((), (1,), (1, 2, 3), (1, 2, 3, 4))}
    value["a"] += [b"bytes"] * (protocol > 2)
    value |= {"same": value["a"], **{str(i): i for i in range(2000)}}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(value, protocol))
    back = load(file.getvalue())
    assert back == value
    assert back["same"] is back["a"]


@pytest.mark.parametrize("body", [
    b"K\xff", b"M\xff\xff", b"J\xfe\xff\xff\xff", b"\x8a\x02\x00\xff", b"\x8b\x02\0\0\0\x00\xff",
    b"G\xbf\xf8" + bytes(6), b"X\x02\0\0\0\xc3\xbc", b"\x8c\x03\xed\xa0\x80",
    b"\x8d\x03" + bytes(7) + b"\xed\xa0\x80", b"U\x02ab", b"T\x02\0\0\0ab", b"B\x02\0\0\0\xff\x00", b"C\x02\xff\x00",
    b"K\x072\x86", b"K\x07N0", b"K\x07(NN1", b"(K\x01K\x02l", b"](K\x01K\x02e", b"]K\x01a", b"}K\x01Ns",
    b"}(K\x01NK\x02Nu", b"]r\0\1\0\0j\0\1\0\0\x86", b"]q\x02h\x02\x86", b"]\x94h\0\x86",
])  # fmt: skip
def test_opcodes_do_what_they_do_in_python(body):
    made, end = _pickle.read(b"--" + body + b".", 2, {})
    expected = pickle.loads(body + b".")
    assert (made, type(made), end) == (expected, type(expected), len(body) + 3)
    if type(made) is tuple:
        assert made[0] is made[1]


def test_texts_of_python_2_are_latin_1():
    assert _pickle.read(b"U\x01\xfcT\x01\0\0\0\xfc\x86.", 0, {})[0] == ("ü", "ü")


def test_big_endian_files(load):
    file = Zip()
    content = file.write({"x": file.tensor(np.arange(3, dtype=">f4"))}, order=b"big")
    back = load(content)["x"]
    assert back.dtype.isnative
    assert back.tolist() == [0, 1, 2]


@LAYOUTS
def test_into_a_model(layout, tmp_path):
    file, path = layout(), tmp_path / "net.pth"
    w, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32)
    path.write_bytes(file.write({"weight": file.tensor(w.T.copy().T), "bias": file.tensor(b)}))
    net = fnn.load(path, fnn.nn.Linear(3, 2))
    np.testing.assert_array_equal(net.weight.detach().numpy(), w)
    with pytest.raises(ValueError, match="does not fit"):
        fnn.load(path, fnn.nn.Linear(2, 3))
    for name in ("pytorch_model.bin", "NET.PT", "net.pth", "epoch=3.ckpt"):
        other = path.rename(tmp_path / name)
        np.testing.assert_array_equal(fnn.load(other, fnn.nn.Linear(3, 2)).weight.detach().numpy(), w)
        other.rename(path)
