"""load_torch: both layouts of PyTorch's files, what must be refused, and that nothing in them ever runs.

The files are written here, opcode by opcode; real ones are read in test_torch_real.py and test_torch_exchange.py.
"""

import contextlib
import io
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn as fnn

KINDS = {
    "f8": "DoubleStorage",
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
}


class Code(bytes):
    """Opcodes that leave one object on the stack."""


def pickled(value):
    """Return the opcodes of protocol 2 for `value`."""
    if isinstance(value, Code):
        return bytes(value)
    if isinstance(value, bool) or value is None:
        return {True: b"\x88", False: b"\x89", None: b"N"}[value]
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x0a" + value.to_bytes(10, "little")
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
    if isinstance(value, tuple):
        return b"(" + b"".join(map(pickled, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(pickled, value)) + b"e"
    return b"}(" + b"".join(pickled(key) + pickled(item) for key, item in value.items()) + b"u"


def named(name):
    module, _, attribute = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(name, *args):
    return Code(named(name) + pickled(args) + b"R")


def storage(kind, key, numel, *more):
    return Code(pickled(("storage", Code(named(f"torch.{kind}")), key, "cpu", numel, *more)) + b"Q")


class File:
    """A file in the making: raw storages, and tensors in them."""

    def __init__(self):
        self.raw, self.numel = {}, {}

    def store(self, array, kind=None):
        """Add a storage; returns (kind, key, numel)."""
        key = str(len(self.raw))
        self.raw[key], self.numel[key] = array.tobytes("A"), array.size
        return kind or KINDS[array.dtype.str[1:]], key, array.size

    def window(self, stored, offset, size, stride, function="_rebuild_tensor_v2"):
        more = (None,) if self.legacy else ()
        return call(
            f"torch._utils.{function}",
            storage(*stored, *more),
            offset,
            size,
            stride,
            False,
            call("collections.OrderedDict"),
        )

    legacy = False

    def tensor(self, array, kind=None):
        stride = tuple(s // array.itemsize for s in array.strides)
        return self.window(self.store(array, kind), 0, array.shape, stride)

    def write(self, value):
        """Return the bytes of the file."""
        raise NotImplementedError


class Zip(File):
    def write(self, value, compression=zipfile.ZIP_STORED, order=b"little"):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.writestr("net/data.pkl", b"\x80\x02" + pickled(value) + b".")
            archive.writestr("net/byteorder", order)
            for key, raw in self.raw.items():
                archive.writestr(f"net/data/{key}", raw)
            archive.writestr("net/version", b"3\n")
        return file.getvalue()


class Pickles(File):
    legacy = True

    def write(self, value):
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, value, list(self.raw)]
        head = b"".join(b"\x80\x02" + pickled(part) + b"." for part in parts)
        return head + b"".join(struct.pack("<q", self.numel[key]) + raw for key, raw in self.raw.items())


LAYOUTS = pytest.mark.parametrize("layout", [Zip, Pickles])


@pytest.fixture
def load(tmp_path):
    """Writes the bytes to a file and loads it."""

    def of(content):
        path = tmp_path / "net.pt"
        path.write_bytes(content)
        return fnn.load_torch(path)

    return of


def refused(load, content, says=""):
    """Load what must be refused; return the message."""
    with pytest.raises(fnn.FormatError, match=r"load_torch: .*net\.pt") as error:
        load(content)
    assert says in str(error.value)
    assert len(str(error.value)) < 500


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


# ----- what is refused -----


@LAYOUTS
@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "builtins.eval", "builtins.getattr", "collections.OrderedDict.fromkeys"),
        *(
            "torch.load",
            "torch.ComplexFloatStorage",
            "torch._utils._rebuild_sparse_tensor",
            "torch.nn.modules.linear.Linear",
        ),
        *("numpy._core.multiarray._reconstruct", "copyreg._reconstructor", "fastnn.load"),
    ],
)
def test_other_names_are_refused_by_name(layout, name, load):
    refused(load, layout().write({"x": call(name, "true")}), f"names {name}, which is not loaded")


def test_nothing_runs_and_nothing_is_imported(tmp_path):
    bombs = []
    for name in ("os.system", "builtins.exec", "subprocess.Popen", "antigravity.fly"):
        for layout in (Zip, Pickles):
            bombs.append(layout().write({"x": call(name, "echo bang")}))
        bombs.append(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04bang\x85R.")
        bombs.append(b"ios\nsystem\n.")
        bombs.append(b"\x80\x02\x82\x01.")
    for i, bomb in enumerate(bombs):
        (tmp_path / f"{i}.pt").write_bytes(bomb)
    for bomb in (b"cbuiltins\nexec\n(Vprint('bang')\ntR.", b"cos\nsystem\n(Vecho bang\ntR."):
        (tmp_path / f"{bomb[5]}.safetensors").write_bytes(bomb)
    program = """
import sys, os, pathlib, encodings.cp437, fastnn as fnn, fastnn._torch_file, safetensors, json, zipfile
seen = None
def hook(event, args):
    if seen is not None and event != "object.__getattr__":
        seen.append((event, *map(str, args[:1])))
files = sorted(pathlib.Path(sys.argv[1]).glob("*.*"))
def tries(file):
    try:
        (fnn.load_torch if file.suffix == ".pt" else fnn.load)(file)
        print("loaded", file)
    except fnn.FormatError:
        pass
for file in files:
    tries(file)  # what is needed once is imported now
sys.addaudithook(hook)
for file in files:
    seen = []
    tries(file)
    found, seen = seen, None
    if found != [("open", str(file))]:
        print(found)
print(len(files))
"""
    command = [sys.executable, "-P", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"{len(bombs) + 2}\n"
    assert done.stderr == ""


def zip_of(**parts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def overlapping():
    """Return a zip archive with a hundred entries that are all the same bytes."""
    content = bytearray(zip_of(**{f"n__data__{i:03}": b"x" * 1000 if i == 0 else b"" for i in range(100)}))
    whole = zipfile.ZipFile(io.BytesIO(content)).infolist()
    at = content.find(b"PK\x01\x02")
    for _ in whole:
        content[at + 16 : at + 28] = content[(first := content.find(b"PK\x01\x02")) + 16 : first + 28]
        content[at + 42 : at + 46] = bytes(4)
        at = content.find(b"PK\x01\x02", at + 1)
    return bytes(content)


def declaring(size):
    """Return a zip archive whose directory says that a storage is `size` bytes long."""
    content = bytearray(Zip().write({"x": 1}))
    at = content.find(b"PK\x01\x02")
    content[at + 20 : at + 28] = struct.pack("<II", size, size)
    return bytes(content)


def deflated_bomb():
    """Return a zip archive in which fifty million zeros take a few kilobytes, behind as many bytes of nothing."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("n/data.pkl", bytes(50_000_000), zipfile.ZIP_DEFLATED)
        archive.writestr("n/data/0", b"")
    return bytes(60_000_000 - len(file.getvalue())) + file.getvalue()


def one(stored, *window, raw=bytes(16), file=Zip):
    """Return a file with a single tensor that lies about something."""
    made = file()
    made.raw, made.numel = {"0": raw}, {"0": stored[2]}
    return made.write({"x": made.window(stored, *window)})


F4 = ("FloatStorage", "0", 4)
LIES = {
    "empty": b"",
    "text": b"hello",
    "a zip of something else": zip_of(a=b"b"),
    "two pickles in a zip": zip_of(a__data__pkl=b"."),
    "no pickle": zip_of(**{"n/data.pkl": b""}),
    "no storage": zip_of(**{"n/data.pkl": pickled({"x": storage(*F4)}) + b"."}),
    "strange byte order": Zip().write({}, order=b"middle"),
    "compressed": Zip().write({"x": 1}, zipfile.ZIP_DEFLATED),
    "overlapping parts": overlapping(),
    "a part twice": zip_of(**{"n/data.pkl": pickled({}) + b".", "n/data/0": b"a", "n/data/1": b"b"}).replace(
        b"n/data/1", b"n/data/0"
    ),
    "a declared size of 4 GB": declaring(2**32 - 2),
    "a declared size that is in the extra field": declaring(2**32 - 1),
    "a deflated bomb": deflated_bomb()[-100_000:],
    "no dict": Zip().write([1, 2]),
    "a bare string": Pickles().write("x"),
    "storage too short": one(("FloatStorage", "0", 5), 0, (5,), (1,)),
    "storage too long": one(("FloatStorage", "0", 3), 0, (3,), (1,)),
    "storage of 2**31 - 1 elements": one(("FloatStorage", "0", 2**31 - 1), 0, (4,), (1,)),
    "storage of 2**70 elements": one(("FloatStorage", "0", 2**70), 0, (4,), (1,)),
    "storage of -1 elements": one(("FloatStorage", "0", -1), 0, (4,), (1,)),
    "storage in two types": zip_of(
        **{"n/data.pkl": pickled([storage(*F4), storage("IntStorage", "0", 4)]) + b".", "n/data/0": bytes(16)}
    ),
    "booleans of 2": one(("BoolStorage", "0", 4), 0, (4,), (1,), raw=b"\1\0\2\0"),
    "window past the end": one(F4, 0, (5,), (1,)),
    "offset past the end": one(F4, 4, (1,), (1,)),
    "empty window past the end": one(F4, 5, (0,), (1,)),
    "stride past the end": one(F4, 0, (2,), (4,)),
    "negative offset": one(F4, -1, (1,), (1,)),
    "negative stride": one(F4, 3, (2,), (-1,)),
    "negative size": one(F4, 0, (-1,), (1,)),
    "expanded": one(F4, 0, (2**30, 2**30), (0, 0)),
    "repeated": one(F4, 0, (3, 2), (1, 1)),
    "overflow": one(F4, 0, (2**40, 2**40), (2**70, 1)),
    "fewer strides than axes": one(F4, 0, (2, 2), (1,)),
    "a list for a shape": one(F4, 0, [4], (1,)),
    "a bool for a size": one(F4, 0, (True,), (1,)),
    "100 axes": one(F4, 0, (1,) * 100, (1,) * 100),
    "a tensor without storage": Zip().write({"x": call("torch._utils._rebuild_tensor_v2", 1, 0, (1,), (1,))}),
    "a tensor without arguments": Zip().write({"x": call("torch._utils._rebuild_tensor_v2")}),
    "a dtype called": Zip().write({"x": call("torch.FloatStorage", 3)}),
    "a call of a number": Zip().write({"x": Code(pickled(3) + b")R")}),
    "an id that is no tuple": Zip().write({"x": Code(pickled("storage") + b"Q")}),
    "an id of another kind": Zip().write({"x": Code(pickled(("module", 1, 2, 3, 4)) + b"Q")}),
    "a view of a storage": one((*F4, ("1", 0, 4)), 0, (4,), (1,)),
    "attributes of a tuple": Zip().write({"x": Code(pickled(()) + pickled({"a": 1}) + b"b")}),
    "items for a number": Zip().write(Code(pickled(1) + pickled("a") + pickled(1) + b"s")),
    "items for a tuple": Zip().write(Code(pickled(()) + pickled("a") + b"a")),
    "odd number of items": Zip().write(Code(b"}(" + pickled("a") + b"u")),
    "a tuple for a key": Zip().write({(1, 2): 3}),
    "a float for a key": Zip().write({1.5: 3}),
    "keys that collide": Zip().write({2**61 - 1: 3}),
    "a list for a key": Zip().write(Code(b"}" + pickled([]) + pickled(1) + b"s")),
    "nothing on the stack": Zip().write(Code(b"")),
    "a value below a mark": Zip().write(Code(pickled(1) + b"(0")),
    "no mark": Zip().write(Code(pickled(1) + b"t")),
    "memo of nothing": Zip().write(Code(b"h\x07")),
    "memo far away": Zip().write(Code(b"j\xff\xff\xff\xff")),
    "text longer than the file": Zip().write(Code(b"X\xff\xff\xff\xffabc")),
    "bytes longer than the file": Zip().write(Code(b"\x8d" + b"\xff" * 8)),
    "text of negative length": Zip().write(Code(b"T\xff\xff\xff\xff")),
    "integer of negative length": Zip().write(Code(b"\x8b\xff\xff\xff\xff")),
    "text that is no text": Zip().write(Code(b"X\x01\x00\x00\x00\xff")),
    "a name without end": Zip().write(Code(b"c" + b"o" * 5000)),
    "an instance": Zip().write(Code(b"(icollections\nOrderedDict\n")),
    "a name from the registry": Zip().write(Code(b"\x82\x01")),
    "a set": Zip().write(Code(b"\x8f")),
    "a bytearray": Zip().write(Code(b"\x96" + struct.pack("<Q", 2**60))),
    "marks without end": Zip().write(Code(b"(" * 100_000)),
    "doubling": Zip().write(
        Code(
            pickled([[str(i), 1] for i in range(1000)])
            + b"q\x00"
            + (named("collections.OrderedDict") + b"h\x00\x85R") * 200
        )
    ),
    "another magic number": b"\x80\x02" + pickled(1) + b"." + Pickles().write({}),
    "another version": Pickles().write({}).replace(pickled(1001), pickled(1002), 1),
    "an unknown storage listed": b"".join(
        pickled(part) + b"." for part in [0x1950A86A20F9469CFC6C, 1001, {}, {"a": 1}, ["0"]]
    ),
    "a number for the list of storages": b"".join(
        pickled(part) + b"." for part in [0x1950A86A20F9469CFC6C, 1001, {}, {"a": 1}, 7]
    ),
    "old: another length": one(("FloatStorage", "0", 4), 0, (4,), (1,), file=Pickles).replace(
        struct.pack("<q", 4), struct.pack("<q", 3)
    ),
    "old: storage too short": one(("FloatStorage", "0", 5), 0, (5,), (1,), file=Pickles),
    "old: enormous": one(("FloatStorage", "0", 2**31 - 1), 0, (4,), (1,), file=Pickles),
    "old: persistent id in front": pickled(storage(*F4)) + b".",
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_files_are_refused(lie, load):
    tracemalloc.start()
    try:
        refused(load, LIES[lie])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_in_a_file_as_long_as_what_it_bursts_into(load):
    content = b"PK\x03\x04" + deflated_bomb()[4:]
    tracemalloc.start()
    try:
        refused(load, content, "compressed")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


UNTYPED = ("storage.UntypedStorage", "0", 16)


def untyped(*args, raw=bytes(16)):
    """Return a file with tensors in a storage without a type."""
    made = Zip()
    made.raw, made.numel = {"0": raw}, {"0": 16}
    rest = (False, call("collections.OrderedDict"))
    tensors = [
        call("torch._utils._rebuild_tensor_v3", storage(*UNTYPED), offset, size, stride, *rest, dtype)
        for offset, size, stride, dtype in args
    ]
    return made.write(dict(enumerate(tensors)))


def test_storages_without_a_type(load):
    raw = np.arange(8, dtype="<u2").tobytes()
    u2 = Code(named("torch.uint16"))
    back = load(untyped((1, (2, 3), (3, 1), u2), (0, (8,), (1,), u2), raw=raw))
    assert back[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    back[1][1] = 100
    assert back[0][0, 0] == 100
    for bad in (
        untyped((1, (8,), (1,), u2)),
        untyped((0, (4,), (1,), Code(named("torch.FloatStorage")))),
        untyped((0, (4,), (1,), "torch.uint16")),
        untyped((0, (8,), (1,), u2), (0, (4,), (1,), Code(named("torch.uint32")))),
        untyped((0, (8,), (1,), u2), raw=bytes(17)),
        untyped((0, (8,), (1,), Code(named("torch.complex64")))),
        Zip().write({"x": call("torch._utils._rebuild_tensor_v3", 1, 0, (1,), (1,), False, {}, u2)}),
        Zip().write({"x": call("torch._utils._rebuild_tensor_v3", 1, 0)}),
        one(UNTYPED, 0, (4,), (1,)),
    ):
        refused(load, bad)


def a_file(layout):
    file = layout()
    stored = file.store(np.arange(12, dtype=np.float32))
    return file.write(
        {
            "net": call("collections.OrderedDict", [["w", file.window(stored, 2, (2, 3), (4, 1))]]),
            "b": file.tensor(np.array([True, False])),
            "n": [1, 2.5, "x", None],
        }
    )


@LAYOUTS
def test_files_cut_off_anywhere(layout, load):
    content = a_file(layout)
    load(content)
    for length in range(len(content)):
        refused(load, content[:length])


@LAYOUTS
def test_every_byte_damaged(layout, load):
    content = a_file(layout)
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        with contextlib.suppress(fnn.FormatError):
            load(bytes(damaged))


@LAYOUTS
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_load_or_raise_format_error(layout, load, data):
    content = bytearray(a_file(layout))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(fnn.FormatError):
        load(bytes(content))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(code=st.binary(max_size=60))
def test_any_pickle(code, load):
    with contextlib.suppress(fnn.FormatError):
        load(zip_of(**{"n/data.pkl": code}))


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        fnn.load_torch(tmp_path / "nothing.pt")
    with pytest.raises(IsADirectoryError):
        fnn.load_torch(tmp_path)
