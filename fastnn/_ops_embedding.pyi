from typing import Any

from ._ops import Tensor

def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Tensor: ...
