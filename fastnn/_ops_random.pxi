# Random tensors and dropout. NumPy's generator draws the tensors; dropout's masks come from a counter and are never
# stored.

cdef object random_module = None


cdef object randomness():
    """fastnn._random, imported when first needed: numpy.random costs more time than all of fastnn."""
    global random_module
    if random_module is None:
        from fastnn import _random

        random_module = _random
    return random_module


def randn(*shape, dtype=None, bint requires_grad=False):
    """Draws from the normal distribution with mean 0 and variance 1; float32 unless dtype says otherwise.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.randn(2, 3).shape
    (2, 3)
    """
    return drawn("randn", sizes(shape), dtype, requires_grad, randomness().generator().standard_normal)


def rand(*shape, dtype=None, bint requires_grad=False):
    """Draws from the uniform distribution on [0, 1); float32 unless dtype says otherwise.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.rand(2, 3).shape
    (2, 3)
    """
    return drawn("rand", sizes(shape), dtype, requires_grad, randomness().generator().random)


cdef Tensor drawn(str name, tuple shape, object dtype, bint requires_grad, object draw):
    cdef ndarray out = filled(name, shape, 0, dtype)
    if kind(out) < 0:
        raise TypeError(f"{name}: dtype must be float32 or float64, got {out.dtype}")
    draw(dtype=out.dtype, out=out)
    return finish(out, requires_grad)


def randn_like(x, dtype=None, bint requires_grad=False):
    """`randn` in the shape and dtype of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.randn_like(fnn.zeros(2, 3)).shape
    (2, 3)
    """
    cdef ndarray a = as_tensor(x).array
    return randn(shape_of(a), dtype=a.dtype if dtype is None else dtype, requires_grad=requires_grad)


def rand_like(x, dtype=None, bint requires_grad=False):
    """`rand` in the shape and dtype of x.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.rand_like(fnn.zeros(2, 3)).shape
    (2, 3)
    """
    cdef ndarray a = as_tensor(x).array
    return rand(shape_of(a), dtype=a.dtype if dtype is None else dtype, requires_grad=requires_grad)


def normal(mean, std=1.0, size=None):
    """Draws from normal distributions: mean + std * randn(size).

    Parameters
    ----------
    mean, std : float or Tensor
        Of all, or of each element.
    size : int or tuple of int, optional
        The shape; that of mean and std by default.

    Raises
    ------
    ValueError
        If a std is negative.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.normal(0, 0.01, (2, 3)).shape
    (2, 3)
    """
    cdef tuple shape = np.broadcast_shapes(np.shape(mean), np.shape(std)) if size is None else sizes(size)
    if np.any(np.asarray(plain(std)) < 0):
        raise ValueError("normal: std must not be negative")
    return mul(randn(shape), std) + mean


def bernoulli(p):
    """1 with probability p and 0 otherwise, in the shape and dtype of p.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1].

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.bernoulli(fnn.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    cdef Tensor t = floating(p)
    if not np.all((t.array >= 0) & (t.array <= 1)):
        raise ValueError("bernoulli: p must be in [0, 1]")
    return wrap(np.asarray(randomness().generator().random(shape_of(t.array)) < t.array, t.array.dtype))


def multinomial(weights, num_samples, bint replacement=False):
    """Indices drawn with probabilities in proportion to weights.

    Parameters
    ----------
    weights : Tensor, shape (n,) or (B, n)
        Not negative, finite, and not all 0; they need not add up to 1.
    num_samples : int
        How many to draw from each row; without replacement no more than the row has weights above 0.
    replacement : bool
        Whether an index may be drawn again.

    Returns
    -------
    Tensor of int64, shape (num_samples,) or (B, num_samples)

    Raises
    ------
    ValueError
        If a weight is negative, NaN or infinite, or a row has too few above 0.
    TypeError
        If `num_samples` is no integer.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.multinomial(fnn.tensor([0.0, 3.0, 0.0]), 1)
    tensor([1])
    """
    cdef ndarray w = np.asarray(floating(weights).array, np.float64)
    n = whole("multinomial: num_samples", num_samples)
    if w.ndim not in (1, 2):
        raise ValueError(f"multinomial: weights must have 1 or 2 dimensions, got shape {shape_of(w)}")
    if not np.all((w >= 0) & np.isfinite(w)):
        raise ValueError("multinomial: weights must be finite and not negative")
    enough = 1 if replacement else n
    if not 1 <= n < 1 << 40 or (w > 0).sum(-1).min(initial=enough) < enough:
        raise ValueError(f"multinomial: {n} to draw from rows of shape {shape_of(w)[-1:]}; expected at least 1, and "
                         f"{'a weight' if replacement else 'that many weights'} above 0")
    rng = randomness().generator()
    if not replacement:  # the n largest of log(w) + Gumbel noise: as drawn one after the other
        with np.errstate(divide="ignore"):
            keys = np.log(w) + rng.gumbel(size=shape_of(w))
        return wrap(np.ascontiguousarray(np.argsort(-keys, -1)[..., :n]))
    sums = (w / w.max(-1, keepdims=True)).reshape(-1, shape_of(w)[-1]).cumsum(1)
    drawn_rows = [np.searchsorted(row, row[-1] * rng.random(n), "right") for row in sums]
    return wrap(np.asarray(drawn_rows, np.int64).reshape(shape_of(w)[:-1] + (n,)))


def randint(low, high=None, size=None, dtype=None):
    """Integers drawn from low to high - 1 (from 0 to low - 1 if only one is given): `randint(low, high, size)` or
    `randint(high, size)`; int64 unless dtype says otherwise.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.randint(5, size=(2,)).shape
    (2,)
    """
    if isinstance(high, (tuple, list)) and size is None:
        high, size = None, high
    shape = () if size is None else sizes(size)
    return wrap(door("randint", np.asarray(randomness().generator().integers(low, high, shape)), dtype))


def randperm(n):
    """The numbers 0 to n - 1 in random order.

    Raises
    ------
    ValueError
        If n is negative.

    Examples
    --------
    >>> import fastnn as fnn
    >>> sorted(fnn.randperm(3).tolist())
    [0, 1, 2]
    """
    n = whole("randperm: n", n)
    if n < 0:
        raise ValueError(f"randperm: n must not be negative, got {n}")
    return wrap(randomness().generator().permutation(n))


cdef class DropoutNode(Node):
    """saved is (seed, offset), alpha the probability: the same mask again."""
    cdef tuple backward(self, Value dy):
        seed, offset = self.saved
        return (masked(<Tensor>dy, self.alpha, seed, offset),)


cdef Tensor masked(Tensor x, double p, uint64_t seed, uint64_t offset):
    """x times the mask that seed and offset stand for. Linear in x, so its backward is itself."""
    cdef DropoutJob job
    cdef DropoutNode node
    cdef Tensor out
    cdef ndarray a = contiguous(x.array)
    out = wrap(new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a)))
    job.y, job.x, job.p = cnp.PyArray_DATA(out.array), cnp.PyArray_DATA(a), p
    job.seed, job.offset = seed, offset
    run(<RangeFunction>runtime.table[kind(a)].dropout, &job, cnp.PyArray_SIZE(a), 1.0)
    if recorded(x):
        node = DropoutNode.__new__(DropoutNode)
        node.saved, node.alpha = (seed, offset), p
        attach(out, node, (edge(x),))
    return out


cpdef Tensor dropout(x, double p=0.5, bint training=True, inplace=False):
    """x with each element 0 with probability p, the others divided by 1 - p; x itself when not training. `inplace`
    has no effect.

    The mask depends on the seed of `manual_seed`, on the number of calls before this one, and on the order in which the
    elements lie in memory, on nothing else.

    Raises
    ------
    ValueError
        If p is not from 0 to 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.dropout(fnn.ones(2), 0.5, training=False)
    tensor([1., 1.])
    """
    cdef Tensor t = floating(x)
    cdef int order[64]
    cdef int d
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be in [0, 1], got {p}")
    if not training or p == 0:
        return t
    seed, offset = randomness().next_seed()
    if dense(t.array) or not memory_order(t.array, order):
        return masked(t, p, seed, offset)
    # Dense in another order of dimensions: in that order it needs no copy.
    there = tuple([order[d] for d in range(cnp.PyArray_NDIM(t.array))])
    back = tuple([there.index(d) for d in range(cnp.PyArray_NDIM(t.array))])
    return permute(masked(permute(t, there), p, seed, offset), back)
