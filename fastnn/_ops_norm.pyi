"""Types of the compiled module fastnn._ops_norm. What each function does is in its docstring."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy.typing as npt

from ._ops import Tensor

_Data: TypeAlias = Tensor | npt.ArrayLike
_Dims: TypeAlias = int | Sequence[int]

def batch_norm(
    input: _Data,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: _Data | None = None,
    bias: _Data | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor: ...
def instance_norm(
    input: _Data,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: _Data | None = None,
    bias: _Data | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor: ...
def group_norm(
    input: _Data, num_groups: int, weight: _Data | None = None, bias: _Data | None = None, eps: float = 1e-5
) -> Tensor: ...
def layer_norm(
    input: _Data, normalized_shape: _Dims, weight: _Data | None = None, bias: _Data | None = None, eps: float = 1e-5
) -> Tensor: ...
def add_layer_norm(
    input: _Data,
    residual: _Data,
    normalized_shape: _Dims,
    weight: _Data | None = None,
    bias: _Data | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]: ...
def rms_norm(
    input: _Data, normalized_shape: _Dims, weight: _Data | None = None, eps: float | None = None
) -> Tensor: ...
def add_rms_norm(
    input: _Data, residual: _Data, normalized_shape: _Dims, weight: _Data | None = None, eps: float | None = None
) -> tuple[Tensor, Tensor]: ...
