"""Spectral norm: a layer's weight divided by its largest singular value, which a step of power iteration follows."""

from functools import cache
from typing import Any

import numpy as np

from ... import _ops, _random
from ..._checks import integer
from ..._ops import Tensor, from_numpy
from ..._tape import no_grad
from .._conv import ConvTranspose1d, ConvTranspose2d
from .._module import Module
from .._parameter import Parameter


class _SpectralNorm(Module):
    """Follows the largest singular value of a weight: u and v are its singular vectors, nearly."""

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float) -> None:
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        if weight.ndim > 1:
            height, width = self._matrix(weight).shape
            rng = _random.generator()
            for name, size in (("_u", height), ("_v", width)):
                drawn = rng.standard_normal(size).astype(weight.dtype)
                self.register_buffer(name, from_numpy(drawn / max(np.linalg.norm(drawn), eps)))
            self._iterate(self._matrix(weight), 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        """The weight as (out, all the rest)."""
        if self.dim:
            weight = _ops.permute(weight, (self.dim, *(i for i in range(weight.ndim) if i != self.dim)))
        return weight.reshape(weight.shape[0], -1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            u, v = self._u, self._v
            for _ in range(times):
                u = self._unit(matrix @ v)
                v = self._unit(u @ matrix)
            if times:
                self._u.copy_(u)
                self._v.copy_(v)

    def _unit(self, vector: Tensor) -> Tensor:
        return vector / _ops.clamp(_ops.norm(vector), self.eps)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight over its largest singular value; of a vector, over its norm."""
        if weight.ndim == 1:
            return self._unit(weight)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Copies: the gradient is asked for after the next iteration, when a second batch has gone through.
        u, v = self._u.detach().clone(), self._v.detach().clone()
        return weight / (u @ (matrix @ v))


class _Held(Module):
    """The weight as it is trained, and what is made of it: PyTorch's names in the state dict."""

    def __init__(self, weight: Parameter, norm: _SpectralNorm) -> None:
        self.original = weight
        self.add_module("0", norm)

    def forward(self) -> Tensor:
        """The normalised weight."""
        return self.__dict__["0"](self.original)


@cache
def _normed(kind: type, name: str) -> type:
    """The class of layers of this kind, whose parameter `name` is computed each time it is looked at."""
    look = property(lambda self: getattr(self.parametrizations, name)())
    plain = getattr(kind, "_plain", kind)
    return type(f"Parametrized{plain.__name__}", (kind,), {name: look, "_plain": plain, "__reduce_ex__": _reduced})


def _reduced(layer: Any, protocol: int) -> tuple:
    """How it is copied and pickled: no module has the name of its class."""
    names = [name for name, _ in layer.parametrizations.named_children()]
    return _bare, (layer._plain, names), layer.__getstate__()


def _bare(kind: type, names: list[str]) -> Any:
    """A layer of this kind with the parameters of these names normalised, and nothing in it yet."""
    for name in names:
        kind = _normed(kind, name)
    return object.__new__(kind)


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Keep the largest singular value of a layer's weight at one, so that the layer stretches nothing.

    In training mode each forward makes a step of power iteration; the gradient takes the singular vectors as given.

    Parameters
    ----------
    module : Module
        A layer; changed in place.
    name : str
        Its parameter.
    n_power_iterations : int
        Steps for each forward.
    eps : float
        The least norm to divide by.
    dim : int, optional
        The axis of the outputs: 1 for transposed convolutions, else 0. All other axes count as inputs.

    Returns
    -------
    Module
        The module.

    Raises
    ------
    TypeError
        If `n_power_iterations` is no integer.
    ValueError
        If there is no such parameter (or it is normalised already), or a number makes no sense.

    Notes
    -----
    State: "parametrizations.weight.original", "parametrizations.weight.0._u" and "...0._v", as of PyTorch's
    `nn.utils.parametrizations.spectral_norm`; an optimizer made before this call moves the same parameter.

    References
    ----------
    Miyato, Kataoka, Koyama, Yoshida, "Spectral normalization for generative adversarial networks", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> import fastnn as fnn
    >>> layer = fnn.nn.utils.spectral_norm(fnn.nn.Linear(20, 30), n_power_iterations=50)
    >>> bool(abs(np.linalg.svd(layer.weight.data, compute_uv=False)[0] - 1) < 0.01)
    True
    >>> list(layer.state_dict())
    ['bias', 'parametrizations.weight.original', 'parametrizations.weight.0._u', 'parametrizations.weight.0._v']
    """
    weight = module.__dict__.get(name) if isinstance(module, Module) else None
    if not isinstance(weight, Parameter):
        kind = type(module).__name__
        raise ValueError(f"spectral_norm: {kind} has no parameter {name!r}, or it is normalised already")
    integer("spectral_norm", "n_power_iterations", n_power_iterations)
    if dim is None:
        dim = 1 if isinstance(module, ConvTranspose1d | ConvTranspose2d) else 0
    if not -weight.ndim <= dim < weight.ndim:
        raise ValueError(f"spectral_norm: dim is {dim}; {name} has {weight.ndim} axes")
    norm = _SpectralNorm(weight, n_power_iterations, dim % weight.ndim, eps)
    norm.training = module.training
    held = module.__dict__.get("parametrizations") or Module()
    delattr(module, name)
    held.add_module(name, _Held(weight, norm))
    module.parametrizations = held
    layer: Any = type(module)
    module.__class__ = _normed(layer, name)
    return module
