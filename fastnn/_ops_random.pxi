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


def randint(low, high=None, size=()):
    """int64 draws from low to high - 1 (from 0 to low - 1 if only one is given).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.randint(5, size=(2,)).shape
    (2,)
    """
    return wrap(np.asarray(randomness().generator().integers(low, high, sizes(size))))


def randperm(n):
    """The numbers 0 to n - 1 in random order.

    Examples
    --------
    >>> import fastnn as fnn
    >>> sorted(fnn.randperm(3).tolist())
    [0, 1, 2]
    """
    return wrap(randomness().generator().permutation(whole("randperm: n", n)))


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


cpdef Tensor dropout(x, double p=0.5, bint training=True):
    """x with each element 0 with probability p, the others divided by 1 - p; x itself when not training.

    The mask depends on the seed of `manual_seed` and on the number of calls before this one, on nothing else.

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
