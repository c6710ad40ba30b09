"""Writes files as torch.save does, opcode by opcode, so that a test may lie in any place."""

import io
import struct
import zipfile

import pytest

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
