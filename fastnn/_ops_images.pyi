"""Types of the compiled module fastnn._ops_images. What each function does is in its docstring."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy.typing as npt

from ._ops import Tensor

_Data: TypeAlias = Tensor | npt.ArrayLike
_Dims: TypeAlias = int | Sequence[int]
_Sizes: TypeAlias = int | Sequence[int | None] | None
_Axes: TypeAlias = int | Sequence[int]
_Pads: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]

def set_precision(precision: str) -> None: ...
def get_precision() -> str: ...
def conv2d(
    x: _Data,
    weight: _Data,
    bias: _Data | None = None,
    stride: _Axes = 1,
    padding: _Pads = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    max_pool: bool = False,
    precision: str | None = None,
    residual: _Data | None = None,
) -> Tensor: ...

class BoundConv2d:
    def __init__(
        self,
        stride: _Axes,
        padding: _Pads,
        dilation: _Axes,
        groups: int,
        activation: str | None = None,
        max_pool: bool = False,
    ) -> None: ...
    def __call__(
        self, x: _Data, weight: _Data, bias: _Data | None = None, residual: _Data | None = None, /
    ) -> Tensor: ...

def conv2d_backward(
    dy: _Data,
    x: _Data,
    weight: _Data,
    stride: _Axes = 1,
    padding: _Pads = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    precision: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]: ...
def conv1d(
    x: _Data,
    weight: _Data,
    bias: _Data | None = None,
    stride: _Axes = 1,
    padding: _Pads = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    precision: str | None = None,
) -> Tensor: ...
def conv_transpose2d(
    x: _Data,
    weight: _Data,
    bias: _Data | None = None,
    stride: _Axes = 1,
    padding: _Pads = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    activation: str | None = None,
    precision: str | None = None,
) -> Tensor: ...
def conv_transpose1d(
    x: _Data,
    weight: _Data,
    bias: _Data | None = None,
    stride: _Axes = 1,
    padding: _Pads = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    activation: str | None = None,
    precision: str | None = None,
) -> Tensor: ...
def max_pool1d(
    x: _Data,
    kernel_size: _Dims,
    stride: _Dims | None = None,
    padding: _Dims = 0,
    dilation: _Dims = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any: ...
def max_pool2d(
    x: _Data,
    kernel_size: _Dims,
    stride: _Dims | None = None,
    padding: _Dims = 0,
    dilation: _Dims = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any: ...
def adaptive_max_pool1d(x: _Data, output_size: _Sizes, return_indices: bool = False) -> Any: ...
def adaptive_max_pool2d(x: _Data, output_size: _Sizes, return_indices: bool = False) -> Any: ...
def avg_pool1d(
    x: _Data,
    kernel_size: _Dims,
    stride: _Dims | None = None,
    padding: _Dims = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor: ...
def avg_pool2d(
    x: _Data,
    kernel_size: _Dims,
    stride: _Dims | None = None,
    padding: _Dims = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor: ...
def adaptive_avg_pool1d(x: _Data, output_size: _Sizes) -> Tensor: ...
def adaptive_avg_pool2d(x: _Data, output_size: _Sizes) -> Tensor: ...
def interpolate(
    x: _Data,
    size: _Dims | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor: ...
def pixel_shuffle(x: _Data, upscale_factor: int) -> Tensor: ...
def pixel_unshuffle(x: _Data, downscale_factor: int) -> Tensor: ...
