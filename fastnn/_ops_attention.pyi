"""Types of the compiled module fastnn._ops_attention. What each function does is in its docstring."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._ops import Tensor

_Data: TypeAlias = Tensor | npt.ArrayLike

def scaled_dot_product_attention(
    query: _Data,
    key: _Data,
    value: _Data,
    attn_mask: _Data | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor: ...
def attend(
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    mask: _Data | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    causal: bool = False,
    diagonal: int = 0,
) -> Tensor: ...
def attend_next(packed: Tensor, keys: np.ndarray, values: np.ndarray, seen: int) -> Tensor: ...
def encoder_steps(
    x: Tensor, layers: Sequence[tuple | None], states: Sequence[Any], norm: tuple | None = None
) -> tuple[Tensor, int]: ...
