"""Loading a state dict into a module."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .._ops import Tensor
from .._tape import no_grad

# Batch norms count since PyTorch 0.4.1: weights from before lack it, and what is there stays, as in PyTorch.
_YOUNGER = "num_batches_tracked"


class LoadResult(NamedTuple):
    """What `load_state_dict` did not find (`missing_keys`) and had no use for (`unexpected_keys`)."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _fitting(value: Any, target: np.ndarray) -> np.ndarray:
    """Return `value` as an array that can be copied into `target`; raises ValueError with what is wrong."""
    if not target.flags.writeable:
        raise ValueError("is frozen")
    try:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"not an array ({error})") from None
    if array.dtype.kind not in "fiub" or not np.can_cast(array.dtype, target.dtype, "same_kind"):
        raise ValueError(f"dtype {target.dtype} expected, got {array.dtype}")
    if array.shape != target.shape:
        raise ValueError(f"shape {target.shape} expected, got {array.shape}")
    return array.astype(target.dtype, copy=False)


def load(module: Any, state_dict: Mapping[str, Any], strict: bool) -> LoadResult:
    """Copy values into a module's parameters and buffers, when all of them fit."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"load_state_dict: state_dict must be a mapping, got {type(state_dict).__name__}")
    own = dict(module._state())
    missing = [name for name in own if name not in state_dict and not name.endswith(_YOUNGER)]
    unexpected = [name for name in state_dict if name not in own]
    values, wrong = {}, []
    for name, tensor in own.items():
        if name in state_dict:
            try:
                values[name] = _fitting(state_dict[name], tensor.data)
            except ValueError as error:
                wrong.append(f"{name}: {error}")
    problems = {"wrong": ["; ".join(wrong)] if wrong else []}
    if strict:
        problems |= {"missing": missing, "unexpected": [str(name) for name in unexpected]}
    lines = [f"\n  {what}: {', '.join(names)}" for what, names in problems.items() if names]
    if lines:
        raise ValueError(f"load_state_dict: {type(module).__name__} does not fit:{''.join(lines)}")
    with no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return LoadResult(missing, unexpected)
