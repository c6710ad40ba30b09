"""save and load: what comes back, names and folders, kills and full disks."""

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


# ----- names and folders -----


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


def test_files_of_other_formats_are_said_to_be_none(tmp_path):
    np.savez(tmp_path / "net.npz", w=np.ones(3))
    with pytest.raises(fnn.FormatError, match=r"net\.npz' is a zip archive, but not one of torch\.save"):
        fnn.load(tmp_path / "net.npz")
    np.save(tmp_path / "net.npy", np.ones(3))
    with pytest.raises(fnn.FormatError, match=r"load: .*net\.npy' is no safetensors file, or cut off: it is 152 bytes"):
        fnn.load(tmp_path / "net.npy")


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


def test_content_and_then_name_reach_the_disk(path, monkeypatch):
    folders, fsync = [], os.fsync

    def note(handle):
        folders.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    fnn.save({"a": np.ones(3)}, path)
    assert folders == [False, True]


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
