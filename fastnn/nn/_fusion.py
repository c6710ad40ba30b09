"""What Sequential does in one pass: a layer with what follows it.

A run is found once, when a Sequential first runs, and used as long as its modules are what they were then: with neither
hooks nor a `forward` of their own, and of the same settings. Else they are called one by one.

    Linear, activation                              act(x W^T + b) in the product
    Conv2d, activation, MaxPool2d(2)                in the convolution; the pool where nothing is recorded
    Conv2d, BatchNorm2d, activation, MaxPool2d(2)   frozen: the norm goes into weight and bias; else ReLU into the norm
    ConvTranspose2d, BatchNorm2d, activation        as Conv2d, without the pool
    Conv2d, BatchNorm2d, sum, activation            of a Residual: in the convolution, where nothing is recorded
    BatchNorm, ReLU                                 in the norm
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _ops
from . import functional
from ._activation import GELU, ReLU, fused_name
from ._conv import Conv2d, ConvTranspose2d
from ._linear import Linear
from ._module import Module, plain
from ._norm import BatchNorm1d, BatchNorm2d
from ._parameter import Parameter
from ._pool import MaxPool2d

# Settings that decide whether a module can be part of a run; any other may be changed, as each call reads it.
_SETTINGS = {
    **dict.fromkeys((Linear, Conv2d, ConvTranspose2d, BatchNorm1d, BatchNorm2d), ("activation",)),
    GELU: ("approximate",),
    MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
}


class Run:
    """Modules of a Sequential that run together, in their order: `modules` is all of them."""

    def __init__(
        self, modules: list[Module], layer: Module, norm: Module | None, activation: str | None, pool: bool
    ) -> None:
        self.modules = modules
        self.kinds = [type(m) for m in modules]
        self.settings = [(m, name, getattr(m, name)) for m in modules for name in _SETTINGS.get(type(m), ())]
        self.layer = layer
        self.norm = norm
        self.activation = activation
        self.pool = pool
        self._folded: tuple[list, list, tuple] | None = None  # of what in which versions, and the result

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: nothing folded, as the copies' tensors are not frozen."""
        return {**self.__dict__, "_folded": None}

    def __call__(self, x):
        """Pass x through all modules."""
        if len(self.modules) == 1:
            return self.layer(x)
        if not self._holds():
            for module in self.modules:
                x = module(x)
            return x
        if isinstance(self.layer, Linear):
            return _ops.linear(x, self.layer.weight, self.layer.bias, self.activation)
        if isinstance(self.layer, Conv2d | ConvTranspose2d):
            return self._convolve(self.layer, x)
        return self.layer.normalize(x, self.activation)

    def add(self, x, residual, activation: str | None):
        """Pass x through all modules, add, and bend the sum."""
        layer, norm = self.layer, self.norm
        plain_sum = type(layer) is Conv2d and layer.activation is None and self.activation is None and not self.pool
        if plain_sum and self._holds():
            folded = None if norm is None or norm.training else self._fold(layer, norm)
            if norm is None or folded is not None:
                return layer.convolve(x, activation, folded=folded, residual=residual)
        return summed(self(x), residual, activation)

    def _holds(self) -> bool:
        """Whether the modules are still what the run was found for."""
        if not plain(self.modules, self.kinds):
            return False
        for module, name, value in self.settings:  # noqa: SIM110 (all() over a generator takes twice as long)
            if getattr(module, name) != value:
                return False
        return True

    def _convolve(self, layer: Any, x):
        norm, pool = self.norm, (self.pool,) if self.pool else ()
        if norm is None:
            return layer.convolve(x, self.activation, *pool)
        folded = None if norm.training else self._fold(layer, norm)
        if folded is not None:
            return layer.convolve(x, self.activation, *pool, folded=folded)
        x = norm.normalize(layer.convolve(x, None), "relu" if self.activation == "relu" else None)
        rest = self.modules[3 if self.activation == "relu" else 2 :]
        for module in rest:
            x = module(x)
        return x

    def _fold(self, layer: Any, norm: Any) -> tuple | None:
        """Weight and bias with the norm in them, made once for what is frozen now; None where not all of it is."""
        parts = [layer.weight, layer.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        versions = [norm.eps, *(0 if part is None else _ops.version_of(part) for part in parts)]
        if self._folded is not None:
            before, then, made = self._folded
            if then == versions and all(map(operator.is_, before, parts)):
                return made
        if norm.running_var is None or not all(part is None or _frozen(part) for part in parts):
            return None
        made = fold(layer, norm)
        self._folded = (parts, versions, made)
        return made


def summed(x, residual, activation: str | None):
    """`activation(x + residual)`."""
    total = x + residual
    return total if activation is None else getattr(functional, activation)(total)


def _frozen(tensor) -> bool:
    return not tensor.data.flags.writeable


def fold(layer: Any, norm) -> tuple[Parameter, Parameter]:
    """Weight and bias, frozen, with which a convolution computes ``norm(layer(x))`` of an evaluating BatchNorm2d.

    The running variance scales the filters: ``weight * s`` and ``(bias - mean) * s + shift`` with
    ``s = scale / sqrt(var + eps)``, computed in float64.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer, norm = fnn.nn.Conv2d(3, 4, 3), fnn.nn.BatchNorm2d(4).eval()
    >>> x = fnn.randn(1, 3, 5, 5)
    >>> fnn.allclose(layer.convolve(x, None, folded=fold(layer, norm)), norm(layer(x)), atol=1e-5)
    True
    """
    scale = 1 / np.sqrt(norm.running_var.data.astype(np.float64) + norm.eps)
    if norm.weight is not None:
        scale *= norm.weight.data
    bias = (
        -norm.running_mean.data.astype(np.float64) if layer.bias is None else layer.bias.data - norm.running_mean.data
    )
    bias = bias * scale + (0 if norm.bias is None else norm.bias.data)
    if isinstance(layer, ConvTranspose2d):  # (C, F / groups, kh, kw): the rows of a group go to its own filters
        each = np.repeat(scale.reshape(layer.groups, -1), layer.in_channels // layer.groups, axis=0)
    else:
        each = scale[:, None]
    dtype = layer.weight.dtype
    weight = Parameter((layer.weight.data * each[:, :, None, None]).astype(dtype))
    return weight.freeze_(), Parameter(bias.astype(dtype)).freeze_()


def _halves(module: Module | None) -> bool:
    """Whether it is a MaxPool2d of whole windows of 2 x 2."""
    if type(module) is not MaxPool2d:
        return False
    pair = lambda value: value if isinstance(value, tuple) else (value, value)  # noqa: E731
    return (
        pair(module.kernel_size) == pair(module.stride) == (2, 2)
        and pair(module.padding) == (0, 0)
        and pair(module.dilation) == (1, 1)
        and not module.ceil_mode
        and not module.return_indices
    )


def find_runs(layers: Sequence[Module]) -> list[Run]:
    """Cut the layers of a Sequential into runs."""
    runs = []
    at = 0

    def peek(offset: int) -> Module | None:
        return layers[at + offset] if at + offset < len(layers) else None

    while at < len(layers):
        layer, norm, activation, count, pool = layers[at], None, None, 1, False
        after = peek(1)
        convolves = type(layer) in (Conv2d, ConvTranspose2d)
        free = getattr(layer, "activation", None) is None
        if convolves and free and type(after) is BatchNorm2d and after.activation is None:
            norm, count = after, 2
        if free and (convolves or type(layer) is Linear):
            activation = fused_name(peek(count))
        elif free and type(layer) in (BatchNorm1d, BatchNorm2d) and type(after) is ReLU:
            activation = "relu"
        count += activation is not None
        if free and type(layer) is Conv2d and _halves(peek(count)):
            pool, count = True, count + 1
        runs.append(Run(list(layers[at : at + count]), layer, norm, activation, pool))
        at += count
    return runs
