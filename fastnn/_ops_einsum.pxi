# einsum. A letter that stands twice in an operand: its diagonal, by indexing. Two operands, each letter at most once in each:
# a permutation, one batched matmul, a permutation. Anything else is NumPy's, and its gradient is einsum again.

cdef tuple parse(str equation, list operands):
    """The letters of each operand and of the result; the dots of ``...`` become capital letters that are free."""
    cdef str text = equation.replace(" ", ""), terms, result
    cdef list parts
    if text.count("->") > 1:
        raise ValueError(f"einsum: {equation!r} has more than one '->'")
    terms, arrow, result = text.partition("->")
    parts = terms.split(",")
    if len(parts) != len(operands):
        raise ValueError(f"einsum: {equation!r} names {len(parts)} operands, got {len(operands)}")
    cdef str free = "".join([c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in text])
    dots = 0
    for i in range(len(parts)):
        nd = operands[i].ndim
        if "..." in parts[i]:
            extra = nd - len(parts[i]) + 3
            if not 0 <= extra <= len(free):
                raise ValueError(f"einsum: operand {i} has {nd} dimensions, {parts[i]!r} names more")
            parts[i] = parts[i].replace("...", free[len(free) - extra:])
            dots = extra if extra > dots else dots
        if not parts[i].isascii() or not (parts[i] + "a").isalpha():
            raise ValueError(f"einsum: {equation!r} may hold letters, ',', '...' and '->' only")
        if len(parts[i]) != nd:
            raise ValueError(f"einsum: operand {i} has {nd} dimensions, {parts[i]!r} names {len(parts[i])}")
    if arrow:
        result = result.replace("...", free[len(free) - dots:])
    else:
        every = "".join(parts)
        letters = sorted({c for c in every if every.count(c) == 1 and c not in free[len(free) - dots:]})
        result = free[len(free) - dots:] + "".join(letters)
    if len(set(result)) != len(result) or builtins.any([c not in "".join(parts) for c in result]):
        raise ValueError(f"einsum: the result of {equation!r} must name letters of the operands, each once")
    return parts, result


cdef dict letter_sizes(str equation, list parts, list operands):
    cdef dict size = {}
    for letters, t in zip(parts, operands):
        for c, n in zip(letters, t.shape):
            if size.get(c, 1) != 1 and n != 1 and size[c] != n:
                raise ValueError(f"einsum: {equation!r}: letter {c!r} has sizes {size[c]} and {n}")
            size[c] = n if size.get(c, 1) == 1 else size[c]
    return size


cdef tuple diagonal(str equation, str letters, Tensor t):
    """The letters of an operand, each once, and the operand: of a letter that stood twice, its diagonal."""
    while len(set(letters)) != len(letters):
        twice = [c for c in letters if letters.count(c) > 1][0]
        i, j = letters.index(twice), letters.rindex(twice)
        if t.shape[i] != t.shape[j]:
            raise ValueError(f"einsum: {equation!r}: letter {twice!r} has sizes {t.shape[i]} and {t.shape[j]}")
        others = [k for k in range(t.ndim) if k != i and k != j]
        along = np.arange(t.shape[i])
        t = permute(t, (i, j, *others))[along, along]
        letters = twice + "".join([letters[k] for k in others])
    return letters, t


cdef class EinsumNode(Node):
    """saved is (operands as tensors, their versions, letters, result, sizes)."""
    cdef tuple backward(self, Value dy):
        operands, versions, parts, result, size = self.saved
        cdef list gradients = []
        for i in range(len(operands)):
            if versions[i] != version(operands[i]):
                raise RuntimeError("backward of einsum: an operand was changed in place after the forward pass")
            gradients.append(einsum_gradient(<Tensor>dy, i, operands, parts, result, size) if self.needs(i) else None)
        return tuple(gradients)


cdef Tensor einsum_gradient(Tensor dy, int i, list operands, list parts, str result, dict size):
    """The einsum of dy with the other operands gives the letters they have; the rest was summed, so it is broadcast."""
    cdef list others = [t for j, t in enumerate(operands) if j != i]
    cdef list letters = [p for j, p in enumerate(parts) if j != i]
    cdef str have = result + "".join(letters), mine = parts[i]
    cdef Tensor g
    kept = "".join([c for c in mine if c in have])
    g = einsum(",".join([result] + letters) + "->" + kept, dy, *others)
    if kept != mine:
        extent = dict(zip(kept, g.shape))
        g = reshape(g, tuple([extent.get(c, 1) for c in mine]))
    full = tuple([size[c] for c in mine])
    if g.shape != full:
        g = broadcast_to(g, full)
    return sum_to(g, operands[i].shape)  # letters of size 1 that met a larger one


cdef Tensor contraction(Tensor a, Tensor b, str p, str q, str result):
    """Two operands as one batched matmul: letters in both and the result are batch, in both and not the result
    summed."""
    cdef str batch = "".join([c for c in p if c in q and c in result])
    cdef str summed = "".join([c for c in p if c in q and c not in result])
    cdef str left = "".join([c for c in p if c not in q]), right = "".join([c for c in q if c not in p])
    cdef dict size = {}
    size.update(zip(p, a.shape))
    size.update(zip(q, b.shape))
    x = reshape(permute(a, tuple([p.index(c) for c in batch + left + summed])),
                tuple([size[c] for c in batch]) + (volume(left, size), volume(summed, size)))
    y = reshape(permute(b, tuple([q.index(c) for c in batch + summed + right])),
                tuple([size[c] for c in batch]) + (volume(summed, size), volume(right, size)))
    order = batch + left + right
    c = reshape(matmul(x, y), tuple([size[letter] for letter in order]))
    return c if order == result else permute(c, tuple([order.index(letter) for letter in result]))


cdef object volume(str letters, dict size):
    n = 1
    for c in letters:
        n *= size[c]
    return n


def einsum(str equation not None, *operands):
    """Sums of products named by letters, as in NumPy: ``"bij,bjk->bik"``.

    Parameters
    ----------
    equation : str
        One group of letters per operand, ``->`` and the letters of the result; ``...`` for any dimensions. A letter that
        stands twice in a group takes the diagonal: ``"ii"`` is the trace.
    *operands : Tensor

    Raises
    ------
    ValueError
        If the equation is malformed or does not fit the shapes.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.einsum("ij,ij->i", fnn.ones(2, 3), fnn.ones(2, 3))
    tensor([3., 3.])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = operands[0]
    cdef list tensors = same_type("einsum", operands), parts
    cdef str result
    cdef EinsumNode node
    cdef Tensor out
    cdef bint plain_pair
    parts, result = parse(equation, tensors)
    for i in range(len(parts)):
        if len(set(parts[i])) != len(parts[i]):
            parts[i], tensors[i] = diagonal(equation, parts[i], tensors[i])
    size = letter_sizes(equation, parts, tensors)
    plain_pair = len(tensors) == 2 and kind((<Tensor>tensors[0]).array) >= 0
    for letters, t in zip(parts, tensors):
        plain_pair = plain_pair and t.shape == tuple([size[c] for c in letters])
    if plain_pair:
        p, q = parts
        if not builtins.any([c not in q and c not in result for c in p]) and not builtins.any(
                [c not in p and c not in result for c in q]):
            return contraction(tensors[0], tensors[1], p, q, result)
    out = wrap(np.array(np.einsum(",".join(parts) + "->" + result, *[(<Tensor>t).array for t in tensors])))
    if grad_enabled() and kind(out.array) >= 0 and builtins.any([(<Tensor>t).needs_grad for t in tensors]):
        node = EinsumNode.__new__(EinsumNode)
        node.saved = (tensors, [version(t) for t in tensors], parts, result, size)
        attach(out, node, tuple([edge(t) for t in tensors]))
    return out
