# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""CTC loss: texts against frames. How an op is built stands in `_ops`."""
cimport numpy as cnp

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, edge, grad_enabled

import numpy as np

from fastnn import _kernels

cnp.import_array()


cdef class CtcGradientNode(Node):
    """Stands where a recorded gradient would be differentiated."""
    cdef tuple backward(self, Value dy):
        raise RuntimeError("backward of ctc_loss: there is no second derivative of it")


cdef class CtcNode(Node):
    """saved is (loss, alpha, targets, input lengths, target lengths, blank, zero_infinity)."""
    cdef tuple backward(self, Value dy):
        cdef ndarray dloss = contiguous((<Tensor>dy).array)
        cdef Tensor x = <Tensor>self.first(), dx
        loss, alpha, targets, lengths, letters, blank, zero_infinity = self.saved
        dx = wrap(_kernels.ctc_backward(dloss, loss, alpha, x.array, targets, lengths, letters, blank, zero_infinity))
        if grad_enabled():
            attach(dx, CtcGradientNode.__new__(CtcGradientNode), (edge(dy), edge(x)))
        return (dx,)


cdef ndarray whole_numbers(str name, object given):
    """The lengths or targets as int64."""
    array = np.asarray((<Tensor>given).array if isinstance(given, Tensor) else given)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"ctc_loss: {name} must be integers, got {array.dtype}")
    return np.array(array, np.int64)  # a copy: the backward needs it again


cpdef Tensor ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, str reduction="mean",
                      zero_infinity=False):
    """Connectionist temporal classification: minus the log of a text's probability, over all alignments with the frames.

    Parameters
    ----------
    log_probs : Tensor (T, N, C) or (T, C)
        Log-probabilities of the classes at each frame, as `log_softmax` gives them.
    targets : integer Tensor (N, S), (S,), or (sum of target_lengths,)
        Texts as rows with padding behind them, or all one after the other. Classes, but not the blank.
    input_lengths, target_lengths : integers (N,) or ()
        Frames and letters of each item; the frames and letters behind them do not count.
    blank : int
        The class that says nothing, and parts equal letters.
    reduction : {"mean", "sum", "none"}
        "mean" divides each loss by the length of its text (at least 1) before the mean over the batch.
    zero_infinity : bool
        Texts that are too long for their frames, whose loss is infinite, count as 0 and have no gradient.

    Raises
    ------
    TypeError
        If targets or lengths are no integers.
    ValueError
        If shapes do not fit, a length is out of range, or a target is no class or the blank.

    Notes
    -----
    The gradient is PyTorch's, ``exp(log_probs) - share of the alignments``: right behind a log-softmax, whose own backward
    leaves it as it is. There is no second derivative. An infinite loss has a gradient of NaN unless `zero_infinity`.

    References
    ----------
    Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006.

    Examples
    --------
    >>> import fastnn as fnn
    >>> frames = fnn.log_softmax(fnn.zeros(2, 1, 2), -1)
    >>> fnn.nn.functional.ctc_loss(frames, fnn.tensor([[1]]), [2], [1]).exp()  # 3 of the 4 ways of two frames say "a"
    tensor(1.3333334)
    """
    cdef Tensor x = floating(log_probs), losses
    cdef CtcNode node
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"ctc_loss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    blank = whole("ctc_loss: blank", blank)
    cdef ndarray lengths = whole_numbers("input_lengths", input_lengths)
    cdef ndarray letters = whole_numbers("target_lengths", target_lengths)
    cdef ndarray texts = whole_numbers("targets", targets)
    cdef bint single = x.array.ndim == 2
    if single:
        x = x.unsqueeze(1)
        lengths, letters = lengths.reshape(-1), letters.reshape(-1)
        texts = texts if texts.ndim == 2 else texts.reshape(-1)
    if texts.ndim == 2:
        texts = unpadded(texts, letters)
    x = contiguous_tensor(x)
    if x.ndim == 3 and not 0 <= blank < x.shape[2]:
        raise ValueError(f"ctc_loss: blank is {blank}; expected one of the {x.shape[2]} classes")
    loss, alpha = _kernels.ctc(x.array, texts, lengths, letters, blank)
    losses = wrap(np.where(np.isinf(loss), np.zeros_like(loss), loss) if zero_infinity else loss)
    if recorded(x):
        node = CtcNode.__new__(CtcNode)
        node.save(x, None)
        node.saved = (loss.copy(), alpha, texts, lengths, letters, blank, bool(zero_infinity))
        attach(losses, node, (edge(x),))
    if reduction == "none":
        return losses.reshape(()) if single else losses
    if reduction == "sum":
        return losses.sum()
    return (losses / wrap(np.maximum(letters, 1).astype(loss.dtype))).mean()


cdef ndarray unpadded(ndarray texts, ndarray letters):
    """Rows with padding behind them to all one after the other."""
    if letters.ndim != 1 or len(letters) != len(texts):
        raise ValueError(f"ctc_loss: target_lengths is {shape_of(letters)}; expected ({len(texts)},), one for each row of "
                         f"targets {shape_of(texts)}")
    if len(letters) and (letters.min() < 0 or letters.max() > texts.shape[1]):
        raise ValueError(f"ctc_loss: target_lengths has {letters.min() if letters.min() < 0 else letters.max()}; expected "
                         f"0 to {texts.shape[1]}, the letters of a row of targets")
    return texts[np.arange(texts.shape[1]) < letters[:, None]]
