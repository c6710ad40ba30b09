"""load_torch: what must be refused, and that nothing in a file ever runs."""

import contextlib
import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_writer import LAYOUTS, Code, Pickles, Zip, call, named, pickled, storage

import fastnn as fnn


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
    if set(found) != {("open", str(file))}:  # that file alone; load looks into it first
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


def over_and_over(first, step, times):
    """Return opcodes for what holds the thing before it, which is in the memo, several times."""
    return Code(first + b"q\x000" + (step + b"q\x000") * times + b"h\x00")


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
    "a shape that is nested deep": one(F4, 0, Code(b"K\x01" + b"\x85" * 100_000), (1,)),
    "a shape of shapes of shapes": one(F4, 0, over_and_over(b"K\x01", b"h\x00h\x00\x86", 60), (1,)),
    "dicts in dicts": Zip().write({"x": Code(b"}K\x01" * 50_000 + b"N" + b"s" * 50_000)}),
    "a dict that holds itself": Zip().write(Code(b"}q\x00K\x01h\x00s")),
    "dicts that hold one dict twice": Zip().write(
        {"x": over_and_over(b"}", b"}(K\x01h\x00K\x02h\x00u", 60)},
    ),
    "old: a shape that is nested deep": one(F4, 0, Code(b"K\x01" + b"\x85" * 100_000), (1,), file=Pickles),
    "old: storages listed deep": b"".join(
        pickled(part) + b"." for part in [0x1950A86A20F9469CFC6C, 1001, {}, {}, [Code(b")" + b"\x85" * 100_000)]]
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


@pytest.mark.parametrize(
    ("name", "argument"),
    [("torch.Size", "abc"), ("torch.Size", [1.5]), ("collections.Counter", [1]), ("torch.device", {})],
)
def test_what_stands_beside_weights_may_be_damaged(name, argument, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(Zip().write(Code(call(name, argument))))
    with pytest.raises(fnn.FormatError):
        fnn.load_torch(path)
