# One piece of a sequence after another, off the tape: keys and values are kept, and what comes next attends to them.

def attend_next(Tensor packed not None, ndarray keys not None, ndarray values not None, i64 seen):
    """Attention of the next positions of a sequence, which see what was before them and themselves, off the tape.

    Parameters
    ----------
    packed : Tensor (B, t, 3, N, D)
        Their queries, keys and values.
    keys, values : ndarray (B, N, room, D)
        Dense; `seen` positions stand there, and those of `packed` are written behind them.

    Returns
    -------
    Tensor (B, t, N * D)
    """
    cdef ndarray x = contiguous(packed.array), out
    cdef AttentionJob job
    cdef npy_intp[3] dims
    memset(&job, 0, sizeof(AttentionJob))
    if cnp.PyArray_NDIM(x) != 5 or cnp.PyArray_DIM(x, 2) != 3 or kind(x) < 0:
        raise ValueError(f"attend_next: packed is {shape_of(x)} of {x.dtype}; expected floats (B, t, 3, N, D)")
    job.batch, job.queries, job.heads = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 3)
    job.depth = job.width = cnp.PyArray_DIM(x, 4)
    job.group, job.keys = 1, seen + job.queries
    job.causal, job.diagonal = job.queries > 1, seen
    job.scale = 1 / c_sqrt(<double>(job.depth if job.depth else 1))
    check_room(job, x, keys, seen)
    check_room(job, x, values, seen)
    write_behind(job, x, 1, keys, seen)
    write_behind(job, x, 2, values, seen)
    dims[0], dims[1], dims[2] = job.batch, job.queries, job.heads * job.depth
    out = new_array(3, dims, cnp.PyArray_TYPE(x))
    if cnp.PyArray_SIZE(out) == 0:
        return wrap(out)
    job.out, job.q = cnp.PyArray_DATA(out), cnp.PyArray_DATA(x)
    job.k, job.v = cnp.PyArray_DATA(keys), cnp.PyArray_DATA(values)
    job.out_at.batch, job.out_at.head, job.out_at.row = job.queries * dims[2], job.depth, dims[2]
    job.q_at.batch, job.q_at.head, job.q_at.row = 3 * job.out_at.batch, job.depth, 3 * dims[2]
    job.k_at, job.v_at = view_at(keys), view_at(values)
    compute(kind(x), job)
    return wrap(out)


cdef int check_room(AttentionJob& job, ndarray x, ndarray kept, i64 seen) except -1:
    cdef npy_intp* dims = cnp.PyArray_DIMS(kept)
    if (cnp.PyArray_NDIM(kept) != 4 or not cnp.PyArray_IS_C_CONTIGUOUS(kept) or not cnp.PyArray_ISWRITEABLE(kept)
            or cnp.PyArray_TYPE(kept) != cnp.PyArray_TYPE(x) or dims[0] != job.batch or dims[1] != job.heads
            or seen < 0 or dims[2] < job.keys or dims[3] != job.depth):
        raise ValueError(f"attend_next: {shape_of(kept)} of {kept.dtype} cannot take {shape_of(x)} of {x.dtype} after {seen}; "
                         f"expected a dense (B, N, room, D) with room for them")
    return 0


cdef void write_behind(AttentionJob& job, ndarray x, int which, ndarray kept, i64 seen) noexcept:
    """Keys (1) or values (2) of x (B, t, 3, N, D) into kept (B, N, room, D)."""
    cdef npy_intp size = job.depth * cnp.PyArray_ITEMSIZE(x), room = cnp.PyArray_DIM(kept, 2), b, n, t
    cdef const char* source = <const char*>cnp.PyArray_DATA(x)
    cdef char* to = <char*>cnp.PyArray_DATA(kept)
    for b in range(job.batch):
        for n in range(job.heads):
            for t in range(job.queries):
                memcpy(to + ((b * job.heads + n) * room + seen + t) * size,
                       source + (((b * job.queries + t) * 3 + which) * job.heads + n) * size, size)


def encoder_layer_step(Tensor x not None, attend, i64 heads, tuple attention not None, tuple feedforward not None,
                       tuple norm1 not None, tuple norm2 not None, bint norm_first):
    """The next positions through a `nn.TransformerEncoderLayer`, off the tape: in one call what its parts do one by one. Weights
    push Python's own data out of the caches on every step: called from there, the parts of 4 layers of d256 took 0.2 ms more a token.

    Parameters
    ----------
    x : Tensor (B, t, E)
    attend : callable
        Of queries, keys and values (B, t, 3, N, D), to (B, t, N * D): `nn.KeyValues.attend`.
    heads : int
    attention : tuple
        in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias.
    feedforward : tuple
        linear1.weight, linear1.bias, the name of the activation, linear2.weight, linear2.bias.
    norm1, norm2 : tuple
        normalized_shape, weight, bias, eps.
    norm_first : bool

    Returns
    -------
    Tensor (B, t, E)
    """
    cdef Tensor y
    cdef bint before = set_grad_enabled(False)
    try:
        y = linear(layer_norm(x, *norm1) if norm_first else x, attention[0], attention[1])
        y = attend(reshape(y, x.shape[:2] + (3, heads, y.shape[-1] // (3 * heads))))
        y = linear(y, attention[2], attention[3])
        y, x = add_layer_norm(y, x, *(norm2 if norm_first else norm1))
        x = x if norm_first else y
        y = linear(linear(y, feedforward[0], feedforward[1], feedforward[2]), feedforward[3], feedforward[4])
        return add(x, y) if norm_first else add_layer_norm(y, x, *norm2)[0]
    finally:
        set_grad_enabled(before)
