"""The CTC loss: a text against frames, over all alignments."""

import numpy as np
import numpy.typing as npt

from fastnn import _kernels
from fastnn._kernel_steps import Floats

Integers = npt.NDArray[np.integer]


def ctc(
    log_probs: Floats, targets: Integers, input_lengths: Integers, target_lengths: Integers, *, blank: int = 0
) -> tuple[Floats, Floats]:
    """Minus the log of each text's probability, summed over all its alignments to the frames.

    Parameters
    ----------
    log_probs : ndarray
        (T, N, C), logarithms of probabilities.
    targets : ndarray of integers
        (sum of target_lengths,): all texts one after the other, of classes that are not `blank`.
    input_lengths, target_lengths : ndarray of integers
        (N,): frames from 0 to T, and letters.
    blank : int
        The class that says nothing.

    Returns
    -------
    loss : ndarray
        (N,); inf where no alignment exists.
    alpha : ndarray
        (N, T, 2 (longest + 1)), for `ctc_backward` on the same instruction set; what it holds is the kernel's affair.

    Raises
    ------
    TypeError
        For other types than these.
    ValueError
        Where shapes do not fit, or a length or class is out of range.

    References
    ----------
    Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006.

    Examples
    --------
    >>> frames = np.log(np.full((2, 1, 2), 0.5))
    >>> loss, alpha = ctc(frames, np.array([1]), np.array([2]), np.array([1]))
    >>> np.exp(-loss)  # aa, a-, -a of four
    array([0.75])
    """
    return _kernels.ctc(log_probs, targets, input_lengths, target_lengths, blank)


def ctc_backward(
    dloss: Floats,
    loss: Floats,
    alpha: Floats,
    log_probs: Floats,
    targets: Integers,
    input_lengths: Integers,
    target_lengths: Integers,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Floats:
    """Gradient of `ctc`, as PyTorch gives it: ``dloss * (exp(log_probs) - share of the alignments)``, (T, N, C).

    It is the gradient to the scores of which a log-softmax made `log_probs`; the log-softmax's own backward leaves it
    as it is. dloss is (N,) or (); loss and alpha are those of `ctc`. Zero beyond each input's length; where a loss is
    infinite NaN, or zero with `zero_infinity`.

    Examples
    --------
    >>> frames, one = np.log(np.full((1, 1, 2), 0.5)), np.array([1])
    >>> loss, alpha = ctc(frames, one, one, one)
    >>> ctc_backward(np.ones(1), loss, alpha, frames, one, one, one)
    array([[[ 0.5, -0.5]]])
    """
    return _kernels.ctc_backward(
        dloss, loss, alpha, log_probs, targets, input_lengths, target_lengths, blank, zero_infinity
    )
