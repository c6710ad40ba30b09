from collections.abc import Sequence
from typing import Any

from ._ops import Tensor

def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Tensor | Sequence[int] | int,
    target_lengths: Tensor | Sequence[int] | int,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor: ...
