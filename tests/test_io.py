"""save and load: what comes back, files that lie, kills and full disks."""

import contextlib
import json
import math
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn as fnn
from fastnn import nn


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


def test_model_round_trip(path):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    net[0].register_buffer("count", fnn.tensor(7))
    fnn.save(net, path)
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    other[0].register_buffer("count", fnn.tensor(0))
    assert fnn.load(path, other) is other
    for a, b in zip(net.state_dict().values(), other.state_dict().values()):
        np.testing.assert_array_equal(a.data, b.data)
        assert a.dtype == b.dtype
    assert fnn.load(path)["0.count"].shape == ()
    with pytest.raises(ValueError, match="does not fit"):
        fnn.load(path, nn.Linear(3, 4))


def test_state_dicts_are_plain_safetensors(path):
    net = nn.Linear(3, 4)
    fnn.save(net, path)
    theirs = safetensors.numpy.load_file(path)
    assert set(theirs) == {"weight", "bias"}
    np.testing.assert_array_equal(theirs["weight"], net.weight.data)
    safetensors.numpy.save_file({"a/b.c": np.arange(3.0)}, path)
    np.testing.assert_array_equal(fnn.load(path)["a/b.c"].data, [0, 1, 2])


def test_nested_things_come_back(path):
    given_ = {
        "arrays": {"a.b": np.arange(6).reshape(2, 3), "a": {"b": fnn.ones(2)}, "none": {}},
        "numbers": [1, -2.5, math.inf, -math.inf, 2**200, True, None, np.float32(0.5), np.int64(3)],
        "text": "ünïcode \n\0",
        7: {0: [np.float64(1.0), {"deep": np.zeros((0, 3))}], -1: (1, 2)},
        "": np.array(5),
        "__metadata__": np.ones(1),
    }
    fnn.save(given_, path)
    back = fnn.load(path)
    assert list(back) == list(given_)
    np.testing.assert_array_equal(back["arrays"]["a.b"].data, given_["arrays"]["a.b"])
    assert back["arrays"]["a"]["b"].tolist() == [1.0, 1.0]
    assert back["arrays"]["none"] == {}
    assert back["numbers"] == [1, -2.5, math.inf, -math.inf, 2**200, True, None, 0.5, 3]
    assert type(back["numbers"][5]) is bool
    assert back["text"] == given_["text"]
    assert back[7][-1] == [1, 2]
    assert back[7][0][1]["deep"].shape == (0, 3)
    assert back[""].item() == 5
    assert back["__metadata__"].tolist() == [1.0]
    fnn.save({"nan": math.nan}, path)
    assert math.isnan(fnn.load(path)["nan"])
    fnn.save({}, path)
    assert fnn.load(path) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text() | st.integers(), VALUES, max_size=4))
def test_any_nesting_comes_back(tmp_path, value):
    path = tmp_path / "nested.safetensors"
    fnn.save(value, path)
    assert repr(fnn.load(path)) == repr(value)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f4", ">i8"])
def test_dtypes_and_layouts(dtype, path):
    a = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    variants = {
        "plain": a,
        "fortran": np.asfortranarray(a),
        "strided": a[:, ::2],
        "back": a[::-1],
        "scalar": a[0, 0, 1],
    }
    fnn.save({**variants, "scalar": np.asarray(variants["scalar"])}, path)
    for name, tensor in fnn.load(path).items():
        np.testing.assert_array_equal(tensor.data, variants[name])
        assert tensor.dtype.isnative
        assert tensor.dtype == (np.float32 if dtype == "f2" else np.dtype(dtype).newbyteorder("="))
        tensor.data[...] = 0  # its own, writeable memory


def test_bfloat16_is_read(path):
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    values = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype("<u2")
    path.write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    assert fnn.load(path)["x"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("bad", "error", "match"),
    [
        (3, TypeError, "got int"),
        ({"a": {"b": object()}}, TypeError, r"'a\.b' is a object"),
        ({"a": np.array([1j])}, TypeError, "complex"),
        ({"a": np.array(["x"])}, TypeError, "dtype"),
        ({"a": np.array([None])}, TypeError, "dtype"),
        ({"a": {1.5: 1}}, TypeError, "keys must be"),
        ({"a": {True: 1}}, TypeError, "keys must be"),
        ({"f": math.sqrt}, TypeError, "cannot be stored"),
    ],
)
def test_what_cannot_be_saved_leaves_no_file(bad, error, match, path):
    with pytest.raises(error, match=match):
        fnn.save(bad, path)
    assert list(path.parent.iterdir()) == []


def test_circles_are_refused(path):
    circle = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match="contains itself"):
        fnn.save(circle, path)


# ----- damaged and lying files -----


def file_of(header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def dumped(value):
    return json.dumps(value).encode()


def twice(name, value):
    return b"{%s:%s,%s:%s}" % (dumped(name), dumped(value), dumped(name), dumped(value))


def described(tree):
    return file_of({"__metadata__": {"fastnn": tree if isinstance(tree, str) else json.dumps(tree)}})


LIES = {
    "empty": b"",
    "short": b"\x01\x02",
    "header longer than the file": file_of({}, length=100),
    "header of 2**63 bytes": file_of({}, length=2**63),
    "header of 2**64-1 bytes": file_of({}, length=2**64 - 1),
    "no json": file_of(b"{{{{"),
    "json list": file_of(b"[1]"),
    "deep json": file_of(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not utf-8": file_of(b'{"\xff": 1}'),
    "data cut off": file_of({"x": entry()}, b"\0\0"),
    "data left over": file_of({"x": entry()}, b"\0" * 5),
    "hole": file_of({"x": entry(), "y": entry(offsets=(8, 12))}, b"\0" * 12),
    "overlap": file_of({"x": entry(), "y": entry(offsets=(2, 6))}, b"\0" * 6),
    "offsets backwards": file_of({"x": entry(offsets=(4, 0))}, b"\0" * 4),
    "offsets negative": file_of({"x": entry(offsets=(-4, 0))}, b"\0" * 4),
    "shape too large": file_of({"x": entry(shape=(2,))}, b"\0" * 4),
    "shape overflows": file_of({"x": entry(shape=(2**40, 2**40))}, b"\0" * 4),
    "shape negative": file_of({"x": entry(shape=(-1,))}, b"\0" * 4),
    "shape is text": file_of({"x": {**entry(), "shape": "1"}}, b"\0" * 4),
    "unknown dtype": file_of({"x": entry("F99")}, b"\0" * 4),
    "dtype we have not": file_of({"x": entry("C64", (1,), (0, 8))}, b"\0" * 8),
    "header does not begin with a brace": file_of(b' {"x":' + json.dumps(entry()).encode() + b"}", b"\0" * 4),
    "header with a byte order mark": file_of(b"\xef\xbb\xbf{}"),
    "header in UTF-16": file_of("{}".encode("utf-16")),
    "header with something behind it": file_of(b"{}{}"),
    "header of NaN": file_of(b'{"__metadata__": {"a": NaN}}'),
    "a tensor twice": file_of(twice("x", entry()), b"\0" * 4),
    "a tensor twice with other offsets": file_of(b'{"x":%s,"x":%s}' % (dumped(entry()), dumped(entry())), b"\0" * 8),
    "metadata twice": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata with a key twice": file_of(b'{"__metadata__":{"a":"1","a":"2"}}'),
    "a field of a tensor twice": file_of(
        b'{"x":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "an unknown field twice": file_of(b'{"x":{"a":1,"a":2,"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
    "one offset": file_of({"x": {**entry(), "data_offsets": [0]}}, b"\0" * 4),
    "offsets that are floats": file_of({"x": {**entry(), "data_offsets": [0.0, 4.0]}}, b"\0" * 4),
    "offsets past 2**64": file_of({"x": entry(offsets=(0, 2**64 + 4))}, b"\0" * 4),
    "offsets far away": file_of({"x": entry(shape=(2**40,), offsets=(0, 2**42))}, b"\0" * 4),
    "hole in front": file_of({"x": entry(offsets=(4, 8))}, b"\0" * 8),
    "overlap of everything": file_of(
        {f"{i}": entry(shape=(1000,), offsets=(0, 4000)) for i in range(100)}, bytes(4000)
    ),
    "no shape": file_of({"x": {"dtype": "F32", "data_offsets": [0, 4]}}, b"\0" * 4),
    "a number for a tensor": file_of({"x": 3}),
    "33 axes": file_of({"x": entry(shape=(1,) * 33)}, b"\0" * 4),
    "wide json": file_of(b'{"x":[' + b"[]," * 1_000_000 + b"[]]}"),
    "wide shape": file_of(
        b'{"x":{"dtype":"F32","shape":[' + b"{}," * 1_000_000 + b'1],"data_offsets":[0,4]}}', b"\0" * 4
    ),
    "deep json in metadata": file_of(b'{"__metadata__":{"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_002),
    "huge number": file_of(b'{"x":' + b"9" * 1_000_000 + b"}"),
    "half a surrogate for a name": file_of(b'{"\\ud800":%s}' % dumped(entry()), b"\0" * 4),
    "boolean 2": file_of({"x": entry("BOOL", (4,))}, b"\1\0\2\0"),
    "metadata is a number": file_of({"__metadata__": 3}),
    "description is no json": described("{"),
    "description is a list": described([1, 2]),
    "description names nothing there": described({"d": [["a", {"t": "a"}]]}),
    "description with an unknown tag": described({"d": [["a", {"q": 1}]]}),
    "description with two tags": described({"d": [], "t": "a"}),
    "description with bad pairs": described({"d": [[1, 2, 3]]}),
    "description with a list for a key": described({"d": [[[1], 2]]}),
    "description with a text for pairs": described({"d": "abc"}),
    "description with a bad integer": described({"d": [["a", {"i": "1e5"}]]}),
    "description with an endless integer": described({"d": [["a", {"i": "9" * 100_000}]]}),
    "description with a bad float": described({"d": [["a", {"f": "x"}]]}),
    "description too deep": described("[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_files_are_refused(lie, path):
    path.write_bytes(LIES[lie])
    tracemalloc.start()
    try:
        with pytest.raises(fnn.FormatError, match=r"load: .*file\.safetensors") as error:
            fnn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(LIES[lie]) + 1_000_000
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 500


def test_a_huge_axis_beside_an_empty_one(path):
    for n in (2**40, 2**62, 2**63, 2**64 - 1):
        path.write_bytes(file_of({"x": entry(shape=(n, 0), offsets=(0, 0))}))
        with contextlib.suppress(fnn.FormatError):
            assert fnn.load(path)["x"].shape == (n, 0)


def test_a_file_that_shrinks_while_it_is_read(path, monkeypatch):
    import safetensors as library

    fnn.save({"a": np.ones(1000), "b": np.ones(1000)}, path)
    judge = library.safe_open

    def judge_and_cut(*args):
        result = judge(*args)
        os.truncate(path, 9000)
        return result

    monkeypatch.setattr(library, "safe_open", judge_and_cut)
    with pytest.raises(fnn.FormatError, match="do not fit"):
        fnn.load(path)


def test_headers_that_no_library_reads_are_not_even_read(path):
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 100_000_001))
        file.truncate(200_000_000)  # takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(fnn.FormatError, match="at most 100000000 are read"):
            fnn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_are_judged_as_the_library_does(tmp_path, data):
    """What the library refuses is refused; what is read holds what the library reads."""
    path = tmp_path / "damaged.safetensors"
    arrays = {"a.w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3), "c": np.zeros((0, 2))}
    content = bytearray(safetensors.numpy.save(arrays, {"note": "text"}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        part = data.draw(st.sampled_from([b"", b"0", b"4", b"-1", b'"', b"}", b"]", b"[", b",", b"9" * 20, b"\xff"]))
        content[at : at + data.draw(st.integers(0, 2))] = part
    length = len(content) - 24 - 24  # of the header, were it still whole
    if data.draw(st.booleans()):
        content[:8] = struct.pack("<Q", max(length - 8, 0))
    path.write_bytes(content)
    try:
        theirs = safetensors.deserialize(bytes(content))
    except safetensors.SafetensorError:
        theirs = None
    try:
        ours = fnn.load(path)
    except fnn.FormatError:
        return
    assert theirs is not None
    assert set(ours) == {name for name, _ in theirs}
    for name, entry in theirs:
        assert list(ours[name].shape) == entry["shape"]
        if not entry["dtype"].startswith(("F8", "BF", "F16")):
            assert ours[name].data.tobytes() == bytes(entry["data"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_load_or_raise_format_error(tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    fnn.save({"a": {"w": np.arange(6.0)}, "n": [1, 2.5, "x"], "b": np.array([True, False])}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path.write_bytes(content)
    with contextlib.suppress(fnn.FormatError):
        fnn.load(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        fnn.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="no/folder'"):  # and not the name it is written under at first
        fnn.save({}, tmp_path / "no" / "folder")
    with pytest.raises(IsADirectoryError):
        fnn.load(tmp_path)
    with pytest.raises(IsADirectoryError, match=f"{tmp_path.name}'$"):
        fnn.save({}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_name_may_be_that_of_another_format(tmp_path):
    net, other = nn.Linear(3, 4), nn.Linear(3, 4)
    for name in ("net.pt", "net.pth"):
        fnn.save(net, tmp_path / name)
        assert fnn.load(tmp_path / name, other) is other
        np.testing.assert_array_equal(other.weight.data, net.weight.data)
        assert set(fnn.load(tmp_path / name)) == {"weight", "bias"}


def test_models_that_are_none(path):
    fnn.save(nn.Linear(3, 4), path)
    with pytest.raises(TypeError, match="model must be a Module, got the class Linear"):
        fnn.load(path, nn.Linear)
    with pytest.raises(TypeError, match="model must be a Module, got str"):
        fnn.load(path, "net")


def test_a_pipe_is_written_to_and_stays_a_pipe(path):
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as pool:
        content = pool.submit(path.read_bytes)
        fnn.save({"a": fnn.arange(3)}, path)
        piped = content.result(timeout=30)
    assert stat.S_ISFIFO(path.stat().st_mode)
    path.unlink()
    path.write_bytes(piped)
    assert fnn.load(path)["a"].tolist() == [0, 1, 2]


# ----- all or nothing -----


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(call, path, monkeypatch):
    fnn.save({"a": np.ones(3)}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    if call == "write":

        class File:
            def __init__(self, handle, *args, **kwargs):
                self.handle = handle

            def __enter__(self):
                return self

            def __exit__(self, *exc):
                os.close(self.handle)

            def write(self, view):
                os.write(self.handle, bytes(view[:10]))  # some of it arrives
                full()

        monkeypatch.setattr(os, "fdopen", File)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        fnn.save({"a": np.zeros(1000)}, path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_permissions_and_links(tmp_path, monkeypatch):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    before = os.umask(0o027)
    try:
        fnn.save({"a": 1}, link)
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    monkeypatch.chdir(tmp_path)
    fnn.save({"a": 2}, "real")
    assert fnn.load("link")["a"] == 2


def test_kill_at_any_moment_leaves_a_whole_file(path):
    program = """
import sys, numpy as np, fastnn as fnn
print("ready", flush=True)
i = 0
while True:
    i += 1
    fnn.save({"number": i, "values": np.full(200_000, i, np.float32)}, sys.argv[1])
"""
    last = 0
    rng = random.Random(0)
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(path)], stdout=subprocess.PIPE, cwd=path.parent
        )
        assert child.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.02, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if path.exists():
            loaded = fnn.load(path)
            assert (loaded["values"].data == loaded["number"]).all()
            last = max(last, loaded["number"])
    assert last > 0
