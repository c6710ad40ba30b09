"""How near vectors are to each other, and the losses that are made of it."""

import numpy as np

from .._ops import Tensor, as_tensor, clamp, where
from ._reduction import check_reduction, reduced


def normalize(x, p: float = 2.0, dim: int = 1, eps: float = 1e-12):
    """Divide x by its p-norm along `dim`, or by `eps` where that is smaller.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor
        Shape of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.normalize(fnn.tensor([[3.0, 4.0]])).tolist()[0]
    [0.6000000238418579, 0.800000011920929]
    """
    x = as_tensor(x)
    return x / clamp(x.norm(p, dim, True), min=eps)


def cosine_similarity(x1, x2, dim: int = 1, eps: float = 1e-8):
    """Compute the cosine of the angle between x1 and x2 along `dim`; their norms count as at least `eps`.

    Parameters
    ----------
    x1, x2 : Tensor
        Shapes that broadcast.

        `dim` counts in their common shape.

    Returns
    -------
    Tensor
        Their common shape without `dim`.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    IndexError
        If the common shape has no `dim`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.cosine_similarity(fnn.tensor([[3.0, 0.0]]), fnn.tensor([[5.0, 0.0]])).tolist()
    [1.0]
    """
    x1, x2 = as_tensor(x1), as_tensor(x2)
    if x1.shape != x2.shape:
        x1, x2 = _as_long(x1, x2, dim), _as_long(x2, x1, dim)
    return (normalize(x1, 2.0, dim, eps) * normalize(x2, 2.0, dim, eps)).sum(dim)


def _as_long(x: Tensor, other: Tensor, dim: int) -> Tensor:
    """x with the number of axes and the length along `dim` that it has beside `other`; no axis else grows."""
    try:
        shape = np.broadcast_shapes(x.shape, other.shape)
    except ValueError:
        raise ValueError(f"cosine_similarity: shapes {x.shape} and {other.shape} do not broadcast") from None
    if not -len(shape) <= dim < len(shape):
        raise IndexError(f"cosine_similarity: dimension {dim} is out of range for {len(shape)} dimensions")
    own = [1] * (len(shape) - x.ndim) + list(x.shape)
    own[dim] = shape[dim]
    return x.expand(own)


def pairwise_distance(x1, x2, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
    """Compute the p-norm of `x1 - x2 + eps` along the last axis.

    As in PyTorch, `eps` keeps the slope finite where the two are equal.

    Parameters
    ----------
    x1, x2 : Tensor, shape (..., D)
        Shapes that broadcast.

    Returns
    -------
    Tensor, shape (...) or (..., 1) if `keepdim`

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.functional.pairwise_distance(fnn.tensor([[0.0, 0.0]]), fnn.tensor([[3.0, 4.0]])).item(), 4)
    5.0
    """
    return (as_tensor(x1) - as_tensor(x2) + eps).norm(p, -1, keepdim)


def triplet_margin_loss(
    anchor,
    positive,
    negative,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
):
    """Compute `max(d(anchor, positive) - d(anchor, negative) + margin, 0)`, d being `pairwise_distance`.

    Parameters
    ----------
    anchor, positive, negative : Tensor, shape (..., D)
    margin : float
        How much nearer the positive should be.
    swap : bool
        Take the distance of the two others where that is smaller than the one of anchor and negative.
    reduction : str
        "mean" or "sum" over all triplets, or "none".

    Raises
    ------
    ValueError
        If the reduction is not known.

    References
    ----------
    Balntas, Riba, Ponsa, Mikolajczyk, "Learning local feature descriptors with triplets", 2016.

    Examples
    --------
    >>> import fastnn as fnn
    >>> near, far = fnn.tensor([[0.0, 0.0]]), fnn.tensor([[3.0, 4.0]])
    >>> fnn.nn.functional.triplet_margin_loss(near, near, far).item()
    0.0
    """
    check_reduction("triplet_margin_loss", reduction)
    apart = pairwise_distance(anchor, negative, p, eps)
    if swap:
        others = pairwise_distance(positive, negative, p, eps)
        apart = where(others < apart, others, apart)
    loss = clamp(pairwise_distance(anchor, positive, p, eps) - apart + margin, min=0)
    return reduced(loss, reduction)


def cosine_embedding_loss(input1, input2, target, margin: float = 0.0, reduction: str = "mean"):
    """Compute `1 - cos` where target is 1 and `max(cos - margin, 0)` where it is -1; cos is `cosine_similarity`.

    Parameters
    ----------
    input1, input2 : Tensor, shape (N, D) or (D,)
    target : Tensor, shape (N,) or ()
        1: alike, -1: not.
    margin : float
        How large the cosine of what is not alike may be.
    reduction : str
        "mean", "sum" or "none".

    Raises
    ------
    ValueError
        If shapes do not fit, or the reduction is not known.

    Examples
    --------
    >>> import fastnn as fnn
    >>> a, b = fnn.tensor([[1.0, 0.0]]), fnn.tensor([[0.0, 1.0]])
    >>> fnn.nn.functional.cosine_embedding_loss(a, b, fnn.tensor([1])).item()
    1.0
    """
    check_reduction("cosine_embedding_loss", reduction)
    input1, input2, target = as_tensor(input1), as_tensor(input2), as_tensor(target)
    if input1.shape != input2.shape or input1.ndim not in (1, 2) or target.shape != input1.shape[:-1]:
        raise ValueError(
            f"cosine_embedding_loss: inputs are {input1.shape} and {input2.shape}, target is {target.shape}; expected "
            f"(N, D) twice and (N,), or (D,) twice and ()"
        )
    cosine = cosine_similarity(input1, input2, -1)
    loss = where(target > 0, 1 - cosine, clamp(cosine - margin, min=0))
    return reduced(loss, reduction)
