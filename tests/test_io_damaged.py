"""load of files that are damaged or lie: refused where the library refuses them, in no more memory than they have."""

import contextlib
import json
import os
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn as fnn


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.safetensors"


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a file of ours."""
    path = tmp_path_factory.mktemp("whole") / "whole.safetensors"
    fnn.save({"a": {"w": np.arange(6.0)}, "n": [1, 2.5, "x"], "b": np.array([True, False])}, path)
    return path.read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_load_or_raise_format_error(whole, tmp_path, data):
    path = tmp_path / "damaged.safetensors"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path.write_bytes(content)
    with contextlib.suppress(fnn.FormatError):
        fnn.load(path)
