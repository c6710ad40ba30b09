"""Normalisation of channels: over the batch, over each image, in groups over each image."""

import numpy as np

from .. import _ops, _ops_norm, init
from .._checks import integer, number
from ._module import Module
from ._parameter import fresh


def _reset(layer: Module) -> None:
    if layer.weight is not None:
        init.ones_(layer.weight)
    if getattr(layer, "bias", None) is not None:
        init.zeros_(layer.bias)


class _ByChannel(Module):
    """What batch and instance norm share: parameters and running statistics of `num_features` channels."""

    _ndims: tuple[int, ...] = ()
    _expected = ""
    _counts = True  # batches; PyTorch's instance norm does not
    activation: str | None = None

    def __init__(self, num_features, eps, momentum, affine, track_running_stats, bias, dtype) -> None:
        layer = type(self).__name__
        self.num_features = integer(layer, "num_features", num_features)
        self.eps = number(layer, "eps", eps, least=0)
        self.momentum = None if momentum is None else number(layer, "momentum", momentum, least=0)
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        self.weight = fresh(self.num_features, dtype, 1) if affine else None
        self.bias = fresh(self.num_features, dtype, 0) if affine and bias else None
        tracked = self.track_running_stats
        self.register_buffer("running_mean", _ops.zeros(self.num_features, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", _ops.ones(self.num_features, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", _ops.zeros((), dtype=np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Set the running mean to 0, the running variance to 1 and the number of batches to 0."""
        if self.running_mean is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Forget the running statistics; set weight to 1 and bias to 0."""
        self.reset_running_stats()
        _reset(self)

    def forward(self, x):
        """x: (N, C, ...) -> the same shape."""
        return self.normalize(x, self.activation)

    def normalize(self, x, activation: str | None):
        """`forward` with another activation, None or "relu"."""
        if x.ndim not in self._ndims or x.shape[self._channel_axis(x.ndim)] != self.num_features:
            raise ValueError(
                f"{type(self).__name__}: input is {x.shape}; expected {self._expected} with C = {self.num_features}"
            )
        own = self.training or self.running_mean is None
        batches = self.num_batches_tracked if self.training and self._counts else None
        momentum = self.momentum
        if momentum is None:  # a plain average over all batches, this one included
            momentum = 0.0 if batches is None else 1.0 / (batches.item() + 1)
        y = self._normalised(x, own, momentum, activation)
        if batches is not None:
            batches.add_(1)
        return y

    def _channel_axis(self, ndim: int) -> int:
        return 1

    def _normalised(self, x, own: bool, momentum: float, activation: str | None):
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ByChannel):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        activation: str | None = None,
        dtype=np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        if activation not in (None, "relu"):
            raise ValueError(f"{type(self).__name__}: activation must be None or 'relu', got {activation!r}")
        self.activation = activation

    def _normalised(self, x, own, momentum, activation):
        return _ops_norm.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            own,
            momentum,
            self.eps,
            activation,
        )

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text if self.activation is None else f"{text}, activation={self.activation}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of features or sequences, ``(x - mean) / sqrt(var + eps) * weight + bias`` per channel.

    See `BatchNorm2d`, which is the same for images.

    Notes
    -----
    x: (N, C) or (N, C, L) -> the same shape.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.BatchNorm1d(3)
    >>> layer(fnn.randn(5, 3)).shape
    (5, 3)
    >>> list(layer.state_dict())
    ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
    """

    _ndims = (2, 3)
    _expected = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images, ``(x - mean) / sqrt(var + eps) * weight + bias`` per channel [1]_.

    While training, mean and variance are the batch's, and the running ones move towards them; while evaluating, they
    are the running ones.

    Parameters
    ----------
    num_features : int
        Channels C.
    eps : float
        Added to the variance.
    momentum : float or None
        How far a batch moves the running statistics; None takes the plain average over all batches.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        False: the batch's statistics are used while evaluating, too.
    bias : bool
        Whether there is a bias beside the weight.
    activation : None or "relu"
        "relu" is done in the same pass.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    weight, bias : Parameter, shape (C,), or None
        1 and 0 at first.
    running_mean, running_var : Tensor, shape (C,), or None
        0 and 1 at first; the variance is the unbiased one.
    num_batches_tracked : integer Tensor, shape (), or None

    Notes
    -----
    x: (N, C, H, W) -> the same shape, channels-last in memory.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, inputs of another shape, and while training for one value per channel.

    References
    ----------
    .. [1] Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
       shift", ICML 2015.

    Examples
    --------
    >>> import fastnn as fnn
    >>> layer = fnn.nn.BatchNorm2d(3)
    >>> layer(fnn.randn(5, 3, 4, 4)).shape
    (5, 3, 4, 4)
    >>> layer.num_batches_tracked.item()
    1
    >>> layer
    BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    _ndims = (4,)
    _expected = "(N, C, H, W)"


class _InstanceNorm(_ByChannel):
    _counts = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype=np.float32,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def _channel_axis(self, ndim):
        return 1 if ndim == self._ndims[-1] else 0  # without a batch

    def _normalised(self, x, own, momentum, activation):
        images = x if x.ndim == self._ndims[-1] else _ops.unsqueeze(x, 0)
        y = _ops_norm.instance_norm(
            images, self.running_mean, self.running_var, self.weight, self.bias, own, momentum, self.eps
        )
        return y if images is x else _ops.squeeze(y, 0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of sequences: each channel of each sequence by its own mean and variance.

    See `InstanceNorm2d`, which is the same for images.

    Notes
    -----
    x: (N, C, L) or (C, L) -> the same shape.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.InstanceNorm1d(1, eps=0.0)(fnn.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.,  1.]]])
    """

    _ndims = (2, 3)
    _expected = "(C, L) or (N, C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of images: each channel of each image by its own mean and variance [1]_.

    Parameters
    ----------
    num_features : int
        Channels C.
    eps, momentum, affine, track_running_stats, bias, dtype
        As in `BatchNorm2d`; here affine and track_running_stats are off by default, as in PyTorch.

    Notes
    -----
    x: (N, C, H, W) or (C, H, W) -> the same shape, channels-last in memory.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments, inputs of another shape, and images of one element.

    References
    ----------
    .. [1] Ulyanov, Vedaldi and Lempitsky, "Instance normalization: the missing ingredient for fast stylization", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.InstanceNorm2d(3)(fnn.randn(5, 3, 4, 4)).shape
    (5, 3, 4, 4)
    """

    _ndims = (3, 4)
    _expected = "(C, H, W) or (N, C, H, W)"


class GroupNorm(Module):
    """Group normalisation: each group of channels of each image by its own mean and variance [1]_.

    Parameters
    ----------
    num_groups, num_channels : int
        The first must divide the second.
    eps : float
        Added to the variance.
    affine : bool
        Whether there is a weight, one for each channel.
    bias : bool
        Whether there is a bias beside the weight.
    dtype : dtype
        float32 or float64.

    Notes
    -----
    x: (N, C) or (N, C, ...) -> the same shape, channels-last in memory.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments and inputs of another shape.

    References
    ----------
    .. [1] Wu and He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.GroupNorm(2, 6)(fnn.randn(5, 6, 4, 4)).shape
    (5, 6, 4, 4)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype=np.float32,
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"GroupNorm: num_channels must be divisible by num_groups, got {num_channels} and {num_groups}"
            )
        self.eps = number("GroupNorm", "eps", eps, least=0)
        self.affine = bool(affine)
        self.weight = fresh(self.num_channels, dtype, 1) if affine else None
        self.bias = fresh(self.num_channels, dtype, 0) if affine and bias else None

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        _reset(self)

    def forward(self, x):
        """x: (N, C, ...) -> the same shape."""
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm: input is {x.shape}; expected (N, {self.num_channels}, ...)")
        return _ops_norm.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"
