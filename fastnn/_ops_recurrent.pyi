"""Types of the compiled module fastnn._ops_recurrent. What each function does is in its docstring."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._ops import Tensor

def recurrent(
    name: str,
    cell: str,
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: Sequence[Tensor | None],
    batch_sizes: tuple[np.ndarray, int] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]: ...
def cell(
    name: str, cell: str, x: Tensor, h0: Tensor | None, c0: Tensor | None, weights: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor | None]: ...
def frozen_cell(
    cell: str, x: Any, state: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None
) -> Any: ...
def take_rows(x: Tensor | npt.ArrayLike, rows: np.ndarray) -> Tensor: ...
def put_rows(x: Tensor | npt.ArrayLike, rows: np.ndarray, n: int, value: float = 0) -> Tensor: ...
