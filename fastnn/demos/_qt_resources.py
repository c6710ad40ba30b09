"""Qt's resource files (.rcc): a tree of names with the files of a program in one, as GCompris keeps its photographs.

A header, then tree, names and data, wherever the header says. A node of the tree is a name's offset and flags, then
either its children, how many and the first's number, or language and the data's offset. All numbers are big-endian.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

MAGIC = b"qres"
COMPRESSED, FOLDER = 1 | 4, 2  # flags; a picture is compressed in itself, and is kept as it is
NODES = 100_000


def entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """Return the names, with folders before them, and the bytes of the files in a resource file that are as they were.

    Raises
    ------
    ValueError
        If it is none, or damaged.
    """
    data = path.read_bytes()
    try:
        magic, version, tree, blobs, names = struct.unpack_from(">4s4I", data)
        if magic != MAGIC:
            raise ValueError(f"{path} is not a Qt resource file")
        size = 14 if version < 2 else 22
        left, ahead = NODES, [(0, "")]
        while ahead:
            number, folder = ahead.pop()
            node = tree + number * size
            name, flags = struct.unpack_from(">IH", data, node)
            here = folder + "/" + _name(data, names + name) if number else ""
            if flags & FOLDER:
                count, first = struct.unpack_from(">II", data, node + 6)
                left -= count
                if left < 0:  # folders within themselves
                    raise ValueError(f"{path} is damaged")
                ahead += [(first + i, here) for i in reversed(range(count))]
            elif not flags & COMPRESSED:
                yield here[1:], _blob(data, blobs + struct.unpack_from(">I", data, node + 10)[0])
    except (struct.error, UnicodeDecodeError):
        raise ValueError(f"{path} is damaged") from None


def _name(data: bytes, at: int) -> str:
    """Return a name: its length, a hash, its characters."""
    (length,) = struct.unpack_from(">H", data, at)
    return struct.unpack_from(f"{2 * length}s", data, at + 6)[0].decode("utf-16-be")


def _blob(data: bytes, at: int) -> bytes:
    """Return the bytes of a file behind their number."""
    (length,) = struct.unpack_from(">I", data, at)
    return struct.unpack_from(f"{length}s", data, at + 4)[0]
