"""What `fit` takes for data, made into something that gives batches again and again."""

from __future__ import annotations  # np.random in a signature would import it now, which takes milliseconds

from collections.abc import Iterable
from typing import Any

import numpy as np

from ._ops import Tensor, as_tensor
from .data import DataLoader, TensorDataset, random_split


def dtype_of(model: Any) -> np.dtype:
    """Return the dtype of a model's first floating-point parameter, float32 if it has none."""
    for parameter in model.parameters():
        if parameter.data.dtype.kind == "f":
            return parameter.data.dtype
    return np.dtype(np.float32)


def in_memory(data: Any, dtype: np.dtype) -> Any:
    """Return a data set for arrays, their floats in the model's dtype; anything else as it came."""
    if isinstance(data, Tensor | np.ndarray):
        data = (data,)
    if not isinstance(data, tuple):
        return data
    tensors = [tensor if isinstance(tensor, Tensor) else as_tensor(np.asarray(tensor)) for tensor in data]
    floats = [tensor.detach() if tensor.data.dtype.kind != "f" else tensor.detach().to(dtype) for tensor in tensors]
    return TensorDataset(*floats)


def _is_dataset(data: Any) -> bool:
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, DataLoader | list | dict)


def batches(data: Any, batch_size: int, shuffle: bool, rng: np.random.Generator | None, name: str) -> Iterable:
    """Return something to iterate over again and again: a DataLoader for data sets, else `data` itself."""
    if _is_dataset(data):
        return DataLoader(data, batch_size, shuffle=shuffle, generator=rng)
    if not isinstance(data, Iterable) or isinstance(data, dict | str | bytes):
        raise TypeError(
            f"{name} must be a DataLoader, a Dataset, a tuple of arrays or an iterable of batches, "
            f"got {type(data).__name__}"
        )
    return data


def split_off(data: Any, fraction: float, rng: np.random.Generator | None) -> tuple[Any, Any]:
    """Return (training data, validation data), the latter a random `fraction`."""
    if not 0 < fraction < 1:
        raise ValueError(f"fit: as a fraction, validation must be between 0 and 1, got {fraction}")
    if not _is_dataset(data):
        raise TypeError("fit: a fraction for validation needs arrays or a Dataset; give the validation data themselves")
    n = len(data)
    held = min(max(round(n * fraction), 1), n - 1)
    if held < 1:
        raise ValueError(f"fit: {n} rows are too few to hold some out for validation")
    training, validation = random_split(data, [n - held, held], generator=rng)
    return training, validation


def inputs_and_targets(batch: Any) -> tuple[tuple, tuple]:
    """Take a batch apart: all but its last part go into the model, the last is what the loss compares with."""
    if type(batch) is tuple and len(batch) == 2 and type(batch[0]) is Tensor and type(batch[1]) is Tensor:
        return batch[:1], batch[1:]  # nearly always; the rest costs as much as a small layer
    if not isinstance(batch, tuple | list):
        batch = (batch,)
    parts = tuple([part if isinstance(part, Tensor) or not _array_like(part) else as_tensor(part) for part in batch])
    if not parts:
        raise ValueError("fit: a batch is empty")
    return (parts, ()) if len(parts) == 1 else (parts[:-1], parts[-1:])


def _array_like(part: Any) -> bool:
    return isinstance(part, np.ndarray | np.generic | list | int | float)


def rows_of(value: Any) -> int:
    """Return the number of rows of a batch's first part; 1 for what has no rows."""
    shape = getattr(value, "shape", ())
    return shape[0] if shape else 1
