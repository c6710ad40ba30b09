"""Normalisation along the last dimensions: LayerNorm, RMSNorm."""

from collections.abc import Iterable, Sequence

import numpy as np

from .. import _ops_norm
from .._checks import integer, number
from ._module import Module
from ._norm import _reset
from ._parameter import fresh


def _shape(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = tuple(normalized_shape) if isinstance(normalized_shape, Iterable) else (normalized_shape,)
    if not shape:
        raise ValueError(f"{layer}: normalized_shape must name at least one dimension")
    return tuple(integer(layer, "normalized_shape", n) for n in shape)


class LayerNorm(Module):
    """Layer normalisation: ``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions [1]_.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last dimensions of the input: what mean and variance are taken over.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Whether there is a weight.
    bias : bool
        Whether there is a bias beside the weight.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight, bias : Parameter, shape (*normalized_shape,), or None
        1 and 0 at first.

    Notes
    -----
    x: (..., *normalized_shape) -> the same shape.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments and inputs of another shape.

    References
    ----------
    .. [1] Ba, Kiros and Hinton, "Layer normalization", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.LayerNorm(2, eps=0.0, elementwise_affine=False)(fnn.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype=np.float32,
    ) -> None:
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps, least=0)
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = fresh(self.normalized_shape, dtype, 1) if elementwise_affine else None
        self.bias = fresh(self.normalized_shape, dtype, 0) if elementwise_affine and bias else None

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        _reset(self)

    def forward(self, x):
        """x: (..., *normalized_shape) -> the same shape."""
        return _ops_norm.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        affine, bias = self.elementwise_affine, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


class RMSNorm(Module):
    """Root-mean-square normalisation: ``x / sqrt(mean(x^2) + eps) * weight`` over the last dimensions [1]_.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The last dimensions of the input.
    eps : float or None
        None is the machine epsilon of the input's type.
    elementwise_affine : bool
        Whether there is a weight, 1 at first.
    dtype : dtype
        float32 or float64.

    Notes
    -----
    x: (..., *normalized_shape) -> the same shape.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments and inputs of another shape.

    References
    ----------
    .. [1] Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.RMSNorm(4, elementwise_affine=False)(fnn.tensor([[3.0, 4.0, 0.0, 0.0]]))
    tensor([[1.2, 1.6, 0. , 0. ]])
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype=np.float32,
    ) -> None:
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps, least=0)
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = fresh(self.normalized_shape, dtype, 1) if elementwise_affine else None

    def reset_parameters(self) -> None:
        """Set the weight to 1."""
        _reset(self)

    def forward(self, x):
        """x: (..., *normalized_shape) -> the same shape."""
        return _ops_norm.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
