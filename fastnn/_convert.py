"""Rewrite the weights in a file of PyTorch, ONNX, NumPy or safetensors as .safetensors or .npz.

A model of ONNX gives its initialisers; one written by `fastnn.onnx.export` has those of the state dict, under the same
names.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _weights_file as files
from ._cli import CommandError
from ._ops import Tensor


def add_arguments(parser) -> None:
    """Options of `fastnn convert`."""
    parser.add_argument("source", metavar="SRC", help=f"a file that ends in {', '.join(files.READ)}")
    parser.add_argument("target", metavar="DST", help=f"the file to write, which ends in {' or '.join(files.WRITTEN)}")
    parser.add_argument("--key", metavar="NAME", help="of a checkpoint, the part to take: --key model.state_dict")


def run(arguments) -> None:
    """Read, choose, write, and say what it was."""
    source, target = arguments.source, arguments.target
    _check_target(source, target)
    state = _chosen(files.read(source, "convert"), arguments.key, source)
    if os.path.exists(target) and os.path.samefile(source, target):
        raise CommandError(f"{target} is the source itself")
    try:
        files.write(state, target)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{target}: {error}") from None
    numbers, size = sum(a.size for a in state.values()), sum(a.nbytes for a in state.values())
    kinds = ", ".join(sorted({a.dtype.name for a in state.values()}))
    print(f"{target}: {len(state)} tensors, {numbers:,} numbers ({kinds}), {size / 1e6:,.1f} MB")


def _check_target(source: str, target: str) -> None:
    """Refuse what cannot be, before anything is read."""
    kind = files.ending(target)
    if kind in files.WRITTEN:
        return
    ends = f"a file that ends in {' or '.join(files.WRITTEN)} is written"
    if kind == ".onnx":
        raise CommandError(
            f"{target}: weights alone are no graph, which an ONNX model needs: make the module in Python, load "
            f"{source} into it, and call fastnn.onnx.export; here {ends}"
        )
    if kind in files.TORCH:
        raise CommandError(
            f"{target}: PyTorch's files are pickles, which are not written; PyTorch reads safetensors: {ends}"
        )
    raise CommandError(f"{target}: {ends}")


def _chosen(content: Mapping[str, Any], key: str | None, source: str) -> dict[str, np.ndarray]:
    """The state dict in a file: all of it, or the part under `key`."""
    part: Any = content
    for name in key.split(".") if key else ():
        inner = {str(key): value for key, value in part.items()}.get(name) if isinstance(part, Mapping) else None
        if inner is None:
            held = ", ".join(map(str, part)) if isinstance(part, Mapping) else "no parts"
            raise CommandError(f"{source}: there is no {name!r} of --key {key}; it holds {_shortened(held)}")
        part = inner
    if not isinstance(part, Mapping):
        raise CommandError(f"{source}: {key} is a {type(part).__name__}; expected a dict of tensors")
    others = [str(name) for name, value in part.items() if not isinstance(value, Tensor | np.ndarray)]
    if others:
        dicts = [str(name) for name, value in part.items() if isinstance(value, Mapping) and any(files.arrays(value))]
        advice = f": choose a part by --key, such as {dicts[0]}" if dicts else ""
        raise CommandError(f"{source}: {_shortened(', '.join(others))} are no tensors{advice}")
    if not part:
        raise CommandError(f"{source}: no tensors in it")
    found = list(files.arrays(part))
    state = dict(found)
    if len(state) < len(found):
        twice = next(name for i, (name, _) in enumerate(found) if name in dict(found[:i]))
        raise CommandError(f"{source}: two tensors are named {twice!r}")
    return state


def _shortened(text: str) -> str:
    return text if len(text) < 200 else text[:197] + "..."
