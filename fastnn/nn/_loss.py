"""Losses as modules: settings for a function of `nn.functional`."""

from .. import _ops, _ops_ctc
from . import functional as F
from ._module import Module
from ._reduction import check_reduction


class _Loss(Module):
    """What all losses share: the reduction."""

    _reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction: str = "mean") -> None:
        check_reduction(type(self).__name__, reduction, self._reductions)
        self.reduction = reduction

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


def _buffer(module: Module, name: str, value) -> None:
    module.register_buffer(name, None if value is None else _ops.as_tensor(value))


class MSELoss(_Loss):
    """The mean squared error; input and target of the same shape.

    Parameters
    ----------
    reduction : str
        "mean" or "sum" over all elements, or "none".

    Raises
    ------
    ValueError
        If the reduction is not known; when called, if the shapes differ.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.MSELoss()(fnn.tensor([1.0, 2.0]), fnn.tensor([2.0, 4.0])).item()
    2.5
    """

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """The mean absolute error; see `nn.functional.l1_loss`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.L1Loss()(fnn.tensor([1.0, 2.0]), fnn.tensor([2.0, 4.0])).item()
    1.5
    """

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.l1_loss(input, target, self.reduction)


class HuberLoss(_Loss):
    """A parabola near zero and a line from `delta` on; see `nn.functional.huber_loss`.

    Raises
    ------
    ValueError
        If the reduction is not known or `delta` is not positive; when called, if the shapes differ.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.HuberLoss()(fnn.tensor([0.0]), fnn.tensor([3.0])).item()
    2.5
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss: delta must be positive, got {delta}")
        self.delta = float(delta)

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """`HuberLoss` divided by its `beta`; see `nn.functional.smooth_l1_loss`.

    Raises
    ------
    ValueError
        If the reduction is not known or `beta` is negative; when called, if the shapes differ.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.SmoothL1Loss(beta=2.0)(fnn.tensor([0.0]), fnn.tensor([3.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        if not beta >= 0:
            raise ValueError(f"SmoothL1Loss: beta must not be negative, got {beta}")
        self.beta = float(beta)

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class CrossEntropyLoss(_Loss):
    """Softmax and negative log-likelihood in one pass.

    Parameters
    ----------
    weight : Tensor, shape (C,), optional
        Factor of each class.
    ignore_index : int
        Targets of this value take no part.
    reduction : str
        "mean", "sum" or "none".
    label_smoothing : float
        The share of each target, from 0 to 1, that is spread evenly over the classes.

    Notes
    -----
    input: (N, C) logits; target: (N,) classes or (N, C) probabilities -> a scalar.

    Raises
    ------
    ValueError
        If the reduction is not known or `label_smoothing` is outside [0, 1]; when called, if shapes do not fit.
    IndexError
        When called, if a target is no class.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.CrossEntropyLoss()(fnn.zeros(2, 4), fnn.tensor([0, 3])).item(), 4)
    1.3863
    """

    def __init__(
        self, weight=None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"CrossEntropyLoss: label_smoothing must be in [0, 1], got {label_smoothing}")
        _buffer(self, "weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = float(label_smoothing)

    def forward(self, input, target):
        """input: (N, C); target: (N,) -> a scalar."""
        return _ops.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """The negative log-likelihood of classes, given log-probabilities; see `nn.functional.nll_loss`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.NLLLoss()(fnn.nn.LogSoftmax()(fnn.zeros(2, 4)), fnn.tensor([0, 3])).item(), 4)
    1.3863
    """

    def __init__(self, weight=None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        _buffer(self, "weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        """input: (N, C); target: (N,) -> a scalar."""
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities; see `nn.functional.binary_cross_entropy`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.BCELoss()(fnn.tensor([0.5]), fnn.tensor([1.0])).item(), 4)
    0.6931
    """

    def __init__(self, weight=None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        _buffer(self, "weight", weight)

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits; see `nn.functional.binary_cross_entropy_with_logits`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> round(fnn.nn.BCEWithLogitsLoss()(fnn.tensor([0.0]), fnn.tensor([1.0])).item(), 4)
    0.6931
    """

    def __init__(self, weight=None, reduction: str = "mean", pos_weight=None) -> None:
        super().__init__(reduction)
        _buffer(self, "weight", weight)
        _buffer(self, "pos_weight", pos_weight)

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class KLDivLoss(_Loss):
    """The Kullback-Leibler divergence; see `nn.functional.kl_div`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> p = fnn.tensor([[0.25, 0.75]])
    >>> fnn.nn.KLDivLoss("batchmean")(p.log(), p).item()
    0.0
    """

    _reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = bool(log_target)

    def forward(self, input, target):
        """input, target: the same shape -> a scalar."""
        return F.kl_div(input, target, self.reduction, self.log_target)


class TripletMarginLoss(_Loss):
    """How far a positive is from being nearer to its anchor than a negative; see `nn.functional.triplet_margin_loss`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> near, far = fnn.tensor([[0.0, 0.0]]), fnn.tensor([[3.0, 4.0]])
    >>> fnn.nn.TripletMarginLoss(margin=1.0)(near, near, far).item()
    0.0
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = float(margin), float(p), float(eps), bool(swap)

    def forward(self, anchor, positive, negative):
        """anchor, positive, negative: (N, D) -> a scalar."""
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along axis `dim`; see `nn.functional.cosine_similarity`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.CosineSimilarity()(fnn.tensor([[3.0, 0.0]]), fnn.tensor([[5.0, 0.0]])).tolist()
    [1.0]
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim, self.eps = dim, float(eps)

    def forward(self, x1, x2):
        """x1, x2: the same shape -> that without `dim`."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class CosineEmbeddingLoss(_Loss):
    """The angle between what is alike, and between what is not; see `nn.functional.cosine_embedding_loss`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> a, b = fnn.tensor([[1.0, 0.0]]), fnn.tensor([[0.0, 1.0]])
    >>> fnn.nn.CosineEmbeddingLoss()(a, b, fnn.tensor([1])).item()
    1.0
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, input1, input2, target):
        """input1, input2: (N, D); target: (N,), 1 or -1 -> a scalar."""
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class CTCLoss(_Loss):
    """Texts against frames, over all alignments of the two; see `nn.functional.ctc_loss`.

    Parameters
    ----------
    blank : int
        The class that says nothing.
    reduction : str
        "mean" (of each loss over the length of its text), "sum" or "none".
    zero_infinity : bool
        Texts that are too long for their frames count as 0, without a gradient.

    Examples
    --------
    >>> import fastnn as fnn
    >>> frames = fnn.log_softmax(fnn.zeros(2, 1, 2), -1)
    >>> round(fnn.nn.CTCLoss()(frames, fnn.tensor([[1]]), [2], [1]).item(), 4)  # -log(3 / 4)
    0.2877
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, bool(zero_infinity)

    def forward(self, log_probs, targets, input_lengths, target_lengths):
        """log_probs: (T, N, C); targets: (N, S) or all one after the other; lengths: (N,) -> a scalar."""
        return _ops_ctc.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
