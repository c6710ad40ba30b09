"""The array API standard's names for fastnn's Tensors: what code gets from `x.__array_namespace__()`.

Code written for the standard runs on Tensors as it does on NumPy's arrays or PyTorch's tensors. Where fastnn has an op
of its own, that runs, and gradients flow through it; the rest (inverse and hyperbolic functions, bits, sets) is NumPy's
on the same memory and refuses Tensors that require a gradient. There are no complex numbers, no `linalg` and no `fft`.

The default dtypes are float32, int64 and bool.

References
----------
https://data-apis.org/array-api/2024.12/

Examples
--------
>>> import fastnn as fnn
>>> def standardized(x):
...     xp = x.__array_namespace__()
...     return (x - xp.mean(x, axis=0)) / xp.std(x, axis=0)
>>> standardized(fnn.tensor([[1.0, 10.0], [3.0, 30.0]]))
tensor([[-1., -1.],
        [ 1.,  1.]])
"""

import math
from typing import Any

import numpy as np

from .. import _ops
from .._ops import Tensor
from .._ops import from_dlpack as from_dlpack
from ._dtypes import Info
from ._dtypes import astype as astype
from ._dtypes import bool as bool
from ._dtypes import can_cast as can_cast
from ._dtypes import finfo as finfo
from ._dtypes import float32 as float32
from ._dtypes import float64 as float64
from ._dtypes import iinfo as iinfo
from ._dtypes import int8 as int8
from ._dtypes import int16 as int16
from ._dtypes import int32 as int32
from ._dtypes import int64 as int64
from ._dtypes import isdtype as isdtype
from ._dtypes import result_type as result_type
from ._dtypes import uint8 as uint8
from ._dtypes import uint16 as uint16
from ._dtypes import uint32 as uint32
from ._dtypes import uint64 as uint64
from ._make import arange as arange
from ._make import asarray as asarray
from ._make import empty as empty
from ._make import empty_like as empty_like
from ._make import eye as eye
from ._make import full as full
from ._make import full_like as full_like
from ._make import linspace as linspace
from ._make import meshgrid as meshgrid
from ._make import ones as ones
from ._make import ones_like as ones_like
from ._make import tril as tril
from ._make import triu as triu
from ._make import zeros as zeros
from ._make import zeros_like as zeros_like
from ._reduce import all as all
from ._reduce import any as any
from ._reduce import argmax as argmax
from ._reduce import argmin as argmin
from ._reduce import argsort as argsort
from ._reduce import count_nonzero as count_nonzero
from ._reduce import cumulative_prod as cumulative_prod
from ._reduce import cumulative_sum as cumulative_sum
from ._reduce import diff as diff
from ._reduce import max as max
from ._reduce import mean as mean
from ._reduce import min as min
from ._reduce import nonzero as nonzero
from ._reduce import prod as prod
from ._reduce import searchsorted as searchsorted
from ._reduce import sort as sort
from ._reduce import std as std
from ._reduce import sum as sum
from ._reduce import tensordot as tensordot
from ._reduce import unique_all as unique_all
from ._reduce import unique_counts as unique_counts
from ._reduce import unique_inverse as unique_inverse
from ._reduce import unique_values as unique_values
from ._reduce import var as var
from ._reduce import vecdot as vecdot
from ._shape import broadcast_arrays as broadcast_arrays
from ._shape import broadcast_shapes as broadcast_shapes
from ._shape import broadcast_to as broadcast_to
from ._shape import concat as concat
from ._shape import expand_dims as expand_dims
from ._shape import flip as flip
from ._shape import matrix_transpose as matrix_transpose
from ._shape import moveaxis as moveaxis
from ._shape import permute_dims as permute_dims
from ._shape import repeat as repeat
from ._shape import reshape as reshape
from ._shape import roll as roll
from ._shape import squeeze as squeeze
from ._shape import stack as stack
from ._shape import take as take
from ._shape import take_along_axis as take_along_axis
from ._shape import tile as tile
from ._shape import unstack as unstack

__array_api_version__ = "2024.12"
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None


def __array_namespace_info__() -> Info:
    """Return an object that tells devices, dtypes and capabilities."""
    return Info()


# ----- element by element: the ops of fastnn, with gradients -----

abs, negative, square, sqrt = _ops.abs, _ops.neg, _ops.square, _ops.sqrt
exp, expm1, log, log1p = _ops.exp, _ops.expm1, _ops.log, _ops.log1p
sin, cos, tanh, reciprocal = _ops.sin, _ops.cos, _ops.tanh, _ops.reciprocal
floor, ceil, round = _ops.floor, _ops.ceil, _ops.round
isnan, isinf, isfinite = _ops.isnan, _ops.isinf, _ops.isfinite
add, subtract, multiply, divide, pow = _ops.add, _ops.sub, _ops.mul, _ops.div, _ops.pow
equal, not_equal, less, less_equal = _ops.eq, _ops.ne, _ops.lt, _ops.le
greater, greater_equal = _ops.gt, _ops.ge
logical_not, logical_and, logical_or = _ops.logical_not, _ops.logical_and, _ops.logical_or
maximum, minimum, where = _ops.maximum, _ops.minimum, _ops.where

# ----- element by element: NumPy's functions, which give Tensors for Tensors, without gradients -----

positive = np.positive
tan, sinh, cosh, log2, log10 = np.tan, np.sinh, np.cosh, np.log2, np.log10
acos, asin, atan, acosh, asinh, atanh = np.arccos, np.arcsin, np.arctan, np.arccosh, np.arcsinh, np.arctanh
trunc, signbit, copysign, nextafter = np.trunc, np.signbit, np.copysign, np.nextafter
atan2, hypot, logaddexp = np.arctan2, np.hypot, np.logaddexp
floor_divide, remainder, logical_xor = np.floor_divide, np.remainder, np.logical_xor
bitwise_and, bitwise_or, bitwise_xor, bitwise_invert = np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert
bitwise_left_shift, bitwise_right_shift = np.left_shift, np.right_shift
matmul = _ops.matmul


def sign(x: Tensor, /) -> Tensor:
    """Return -1, 0 or 1; 0 for a zero of either sign."""
    return _ops.sign(x) + 0


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """Return x limited to [min, max], in x's dtype."""
    return x.clone() if min is None and max is None else _ops.clamp(x, min, max).to(x.dtype)
