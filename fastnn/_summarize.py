"""Print what a file of weights or an ONNX model holds: layers or tensors, shapes, parameters, operations."""

import argparse
from collections.abc import Mapping
from typing import Any

from . import _weights_file as files
from ._cli import CommandError
from ._extras import require
from ._table import Table, short


def add_arguments(parser) -> None:
    """Options of `fastnn summary`."""
    parser.add_argument("file", metavar="FILE", help=f"it ends in {', '.join(files.READ)}")
    parser.add_argument("--picture", metavar="OUT.PNG", help="of an ONNX model, also draw the graph")
    parser.add_argument(
        "--size", metavar="NAME=N", action="append", default=[], type=_size,
        help="of an ONNX model, a dynamic size for which operations are counted, else 1 (may be repeated)",
    )  # fmt: skip


def _size(text: str) -> tuple[str, int]:
    """Read NAME=N."""
    name, _, number = text.partition("=")
    if not name or not number.isdecimal() or len(number) > 9 or int(number) < 1:
        raise argparse.ArgumentTypeError(f"expected NAME=N with N from 1 to 999999999, got {text!r}")
    return name, int(number)


def run(arguments) -> None:
    """Tell the file's kind by its ending."""
    if files.ending(arguments.file) == ".onnx":
        _of_model(arguments.file, dict(arguments.size), arguments.picture)
    elif arguments.picture or arguments.size:
        raise CommandError(f"{arguments.file}: weights alone are no graph; --picture and --size are for ONNX models")
    else:
        _of_weights(arguments.file)


def _of_weights(path: str) -> None:
    content = files.read(path, "summary")
    arrays = list(files.arrays(content))
    rows = [(name, _text(a.shape), a.dtype.name, f"{a.size:,}") for name, a in arrays]
    total = f"{sum(a.size for _, a in arrays):,}"
    Table(("tensor", "shape", "type", ">numbers"), rows, (f"{len(arrays)} tensors", "", "", total)).show()
    print(f"{sum(a.nbytes for _, a in arrays) / 1e6:,.2f} MB")
    for name, value in _values(content):
        print(f"{name}: {value if len(str(value)) < 100 else str(value)[:97] + '...'}")


def _values(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What stands beside the tensors."""
    return [(str(k), v) for k, v in content.items() if isinstance(v, bool | int | float | str)]


def _text(shape: Any) -> str:
    return "?" if shape is None else f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def _of_model(path: str, sizes: Mapping[str, int], picture: str | None) -> None:
    from .onnx._overview import overview
    from .onnx._weights import read_model

    if picture:
        if not picture.lower().endswith((".png", ".svg", ".pdf")):
            raise CommandError(f"--picture {picture}: the name must end in .png, .svg or .pdf")
        require("matplotlib", "plot", "--picture")
    model = read_model(path, "summary")
    found = overview(model, sizes)
    unknown = [name for name in sizes if name not in found.symbols]
    if unknown:
        there = ", ".join(found.symbols) or "none"
        raise CommandError(f"--size {unknown[0]}: {path} has no such dynamic size; there are: {there}")
    rows = [
        (
            s.name,
            s.kind,
            _text(s.shape),
            f"{s.parameters:,}" if s.parameters else "",
            "" if s.flops == 0 else short(s.flops),
        )
        for s in found.steps
    ]
    known = [s.flops for s in found.steps if s.flops is not None]
    least = "" if len(known) == len(rows) else "at least "
    total = (f"{len(rows)} nodes", "", "", f"{found.parameters:,}", least + short(sum(known)))
    Table(("node", "operation", "output", ">parameters", ">FLOPs"), rows, total).show()
    for word, values in (("input", found.inputs), ("output", found.outputs)):
        print("\n".join(f"{word} {name} {_text(shape)}" for name, shape in values.items()))
    if found.symbols:
        print("FLOPs for " + ", ".join(f"{name}={sizes.get(name, 1)}" for name in found.symbols))
    print(f"{found.nbytes / 1e6:,.2f} MB of weights")
    if picture:
        from .plot import graph

        figure = graph(model).figure
        figure.savefig(picture, dpi=150, bbox_inches="tight")
        print(f"picture in {picture}")
