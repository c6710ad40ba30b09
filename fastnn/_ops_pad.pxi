# Padding. A border is written dimension by dimension, each from what is there already, so that corners come by
# themselves; the adjoint folds the borders back in the opposite order.

cdef tuple pad_pairs(str mode, tuple w, tuple shape):
    """(before, after) for every dimension of x, checked."""
    cdef int nd = <int>len(shape), d
    if len(w) % 2 or len(w) > 2 * nd or builtins.any([not -(1 << 40) <= n <= 1 << 40 for n in w]):
        raise ValueError(f"pad: pad is {w}; expected (before, after) for at most {nd} dimensions, the last first")
    cdef tuple pairs = ((0, 0),) * (nd - len(w) // 2) + tuple([(w[i], w[i + 1]) for i in range(len(w) - 2, -1, -2)])
    for d in range(nd):
        before, after = pairs[d]
        if before + shape[d] + after < 0:
            raise ValueError(f"pad: {before} and {after} take away more than the {shape[d]} of dimension {d}")
        if mode == "constant" or (before == 0 and after == 0):
            continue
        most = {"reflect": shape[d] - 1, "circular": shape[d], "replicate": 1 << 40 if shape[d] else 0}[mode]
        if not (0 <= before <= most and 0 <= after <= most):
            raise ValueError(f"pad: {before} and {after} around dimension {d} of size {shape[d]}; mode {mode!r} allows "
                             f"0 to {most}")
    return pairs


cdef tuple cut(int d, object start, object stop, int step=1):
    """The key of a slice of dimension d."""
    return (slice(None),) * d + (slice(start, stop, step),)


cdef list borders(str mode, int d, npy_intp n, npy_intp before, npy_intp after):
    """[(a border, where its values come from)] of dimension d, whose n inner elements begin at `before`."""
    cdef npy_intp end = before + n
    if mode == "replicate":
        return [(cut(d, 0, before), cut(d, before, before + 1)), (cut(d, end, end + after), cut(d, end - 1, end))]
    if mode == "circular":
        return [(cut(d, 0, before), cut(d, n, end)), (cut(d, end, end + after), cut(d, before, before + after))]
    # Reversed, an end below 0 is written None.
    return [(cut(d, 0, before), cut(d, 2 * before, before, -1)),
            (cut(d, end, end + after), cut(d, end - 2, end - 2 - after if end - 2 - after >= 0 else None, -1))]


cdef ndarray new_padded(ndarray x, tuple shape):
    """An array without values in x's memory order."""
    cdef npy_intp strides[64]
    cdef npy_intp dims[64]
    cdef npy_intp step
    cdef int nd = cnp.PyArray_NDIM(x), d
    if kind(x) < 0:
        return np.empty_like(x, shape=shape)
    step = cnp.PyArray_ITEMSIZE(x)
    for d in range(nd):
        dims[d] = shape[d]
    if dense(x) or not dense_strides(x, <int>step, strides):
        return new_array(nd, dims, cnp.PyArray_TYPE(x))
    # x's order of dimensions, with the new sizes
    for _, e in sorted([(strides[d], -d) for d in range(nd)]):
        d = -e
        strides[d] = step
        step *= dims[d] if dims[d] else 1
    return new_array(nd, dims, cnp.PyArray_TYPE(x), strides)


cdef class PadNode(Node):
    """saved is (mode, pairs), alpha 1 for the adjoint."""
    cdef tuple backward(self, Value dy):
        mode, pairs = self.saved
        if self.alpha:
            return (padded(<Tensor>dy, pairs, mode, 0),)
        if mode == "constant":
            return (padded(<Tensor>dy, tuple([(-before, -after) for before, after in pairs]), mode, 0),)
        return (folded(<Tensor>dy, pairs, mode),)


cdef Tensor pad_attached(Tensor out, Tensor x, tuple pairs, str mode, bint back):
    cdef PadNode node
    if recorded(x):
        node = PadNode.__new__(PadNode)
        node.saved, node.alpha = (mode, pairs), back
        attach(out, node, (edge(x),))
    return out


cdef Tensor padded(Tensor x, tuple pairs, str mode, object value):
    """x with borders; negative ones are cut off."""
    cdef tuple shape = shape_of(x.array)
    cdef ndarray y = new_padded(x.array, tuple([n + before + after for n, (before, after) in zip(shape, pairs)]))
    cdef list here = [], there = []  # the part that both have, in y and in x
    cdef int d
    for d in range(<int>len(shape)):
        before, after = pairs[d]
        if mode == "constant" and before > 0:
            y[cut(d, 0, before)] = value
        if mode == "constant" and after > 0:
            y[cut(d, -after, None)] = value
        length = builtins.max(0, shape[d] + builtins.min(before, 0) + builtins.min(after, 0))
        here.append(slice(builtins.max(before, 0), builtins.max(before, 0) + length))
        there.append(slice(builtins.max(-before, 0), builtins.max(-before, 0) + length))
    y[tuple(here)] = x.array[tuple(there)]
    if mode != "constant":
        for d in range(<int>len(shape)):
            if pairs[d] != (0, 0):
                for to, source in borders(mode, d, shape[d], pairs[d][0], pairs[d][1]):
                    y[to] = y[source]
    return pad_attached(wrap(y), x, pairs, mode, False)


cdef Tensor folded(Tensor dy, tuple pairs, str mode):
    """The adjoint of padding by a mode: every border's values added where they came from, then cut off."""
    cdef ndarray g = copy_of(dy.array)
    cdef tuple shape = tuple([n - before - after for n, (before, after) in zip(shape_of(dy.array), pairs)])
    cdef int d
    for d in range(<int>len(shape) - 1, -1, -1):
        if pairs[d] != (0, 0):
            for border, source in borders(mode, d, shape[d], pairs[d][0], pairs[d][1]):
                g[source] += g[border].sum(d, keepdims=True) if mode == "replicate" else g[border]
    inner = tuple([slice(before, before + n) for n, (before, _) in zip(shape, pairs)])
    return pad_attached(wrap(g[inner]), dy, pairs, mode, True)


def pad(x, pad, str mode="constant", value=None):
    """x with a border.

    Parameters
    ----------
    x : Tensor
    pad : sequence of int
        (left, right, top, bottom, ...): before and after the last dimension, the one before it, ... as in PyTorch.
        Negative ones cut off, in mode "constant".
    mode : {"constant", "reflect", "replicate", "circular"}
        What the border holds: `value`; the mirror image, in which the edge itself is not repeated; the edge; the
        opposite side.
    value : float, optional
        0 by default.

    Raises
    ------
    ValueError
        For an odd number of sizes, one that the mode does not allow, or an unknown mode.
    TypeError
        If `value` is no number.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.pad(fnn.ones(2), (1, 2))
    tensor([0., 1., 1., 0., 0.])
    >>> fnn.pad(fnn.tensor([1.0, 2.0, 3.0]), (2, 1), mode="reflect")
    tensor([3., 2., 1., 2., 3., 2.])
    """
    cdef Tensor t = as_tensor(x)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise ValueError(f"pad: mode is {mode!r}; expected 'constant', 'reflect', 'replicate' or 'circular'")
    if mode != "constant" and value is not None and value != 0:
        raise ValueError(f"pad: value is for mode 'constant', not {mode!r}")
    if value is not None and not isinstance(value, (int, float, np_generic)):
        raise TypeError(f"pad: value must be a number, got {type(value).__name__}")
    return padded(t, pad_pairs(mode, sizes(pad), shape_of(t.array)), mode, 0 if value is None else value)
