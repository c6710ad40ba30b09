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
    cdef StepAttention job
    cdef int dtype = kind(x)
    cdef npy_intp[3] dims
    cdef bint done
    if cnp.PyArray_NDIM(x) != 5 or cnp.PyArray_DIM(x, 2) != 3 or dtype < 0:
        raise ValueError(f"attend_next: packed is {shape_of(x)} of {x.dtype}; expected floats (B, t, 3, N, D)")
    job.batch, job.length, job.heads = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 3)
    job.depth, job.seen = cnp.PyArray_DIM(x, 4), seen
    set_kept(job, x, keys, values)
    dims[0], dims[1], dims[2] = job.batch, job.length, job.heads * job.depth
    out = new_array(3, dims, cnp.PyArray_TYPE(x))
    if cnp.PyArray_SIZE(out) == 0:
        return wrap(out)
    job.out, job.qkv = cnp.PyArray_DATA(out), cnp.PyArray_DATA(x)
    with nogil:
        done = runtime.step_attention(dtype, job)
    if not done:
        raise MemoryError("no memory for the partial results of attention")
    return wrap(out)


cdef int set_kept(StepAttention& job, ndarray x, ndarray keys, ndarray values) except -1:
    """Checks that keys and values have room for those of x, and enters them."""
    cdef npy_intp* dims
    cdef ndarray kept
    for kept in (keys, values):
        dims = cnp.PyArray_DIMS(kept)
        if (cnp.PyArray_NDIM(kept) != 4 or not cnp.PyArray_IS_C_CONTIGUOUS(kept) or not cnp.PyArray_ISWRITEABLE(kept)
                or cnp.PyArray_TYPE(kept) != cnp.PyArray_TYPE(x) or dims[0] != job.batch or dims[1] != job.heads
                or job.seen < 0 or job.seen > dims[2] - job.length or dims[3] != job.depth):
            raise ValueError(f"KeyValues: {shape_of(kept)} of {kept.dtype} cannot take {shape_of(x)} of {x.dtype} after "
                             f"{job.seen}; expected a dense (B, N, room, D) with room for them")
    if cnp.PyArray_DIM(keys, 2) != cnp.PyArray_DIM(values, 2):
        raise ValueError(f"KeyValues: keys are {shape_of(keys)}, values {shape_of(values)}; expected as much room")
    job.room = cnp.PyArray_DIM(keys, 2)
    job.keys, job.values = cnp.PyArray_DATA(keys), cnp.PyArray_DATA(values)
    return 0


def encoder_steps(Tensor x not None, layers not None, states not None, tuple norm=None):
    """The next positions through the first layers of an encoder, off the tape: in one call what their parts do one by one.
    Weights push Python's own data out of the caches on every step: called from there, the parts of 4 layers of d256 took 0.3 ms
    more a token.

    Parameters
    ----------
    x : Tensor (B, t, E)
    layers : sequence
        `nn.TransformerEncoderLayer._parts_at_once` of each.
    states : sequence
        Their `nn.KeyValues`, which keep the new keys and values too.
    norm : tuple, optional
        Weight, bias and eps of a layer norm behind the last one.

    Returns
    -------
    x : Tensor (B, t, E)
    done : int
        How many layers it has passed, and the norm: all, or those before one that is None, or of another shape, type or layout.
    """
    cdef Tensor y
    cdef Py_ssize_t done = 0, count = len(layers)
    cdef bint last = False
    while done < count and layers[done] is not None:
        last = norm is not None and done == count - 1
        y = layer_step(x, <tuple?>layers[done], states[done], norm, &last)
        if y is None:
            return x, done
        x = y
        done += 1
    return x, done + last


cdef bint take(const void** to, object part, i64 rows, i64 cols, int type_num):
    """Whether a part is a dense (rows, cols), or (cols) where rows is 0, of the type, or None and no matrix."""
    cdef ndarray a
    to[0] = NULL
    if part is None:
        return rows == 0
    a = (<Tensor?>part).array
    to[0] = cnp.PyArray_DATA(a)
    return (cnp.PyArray_TYPE(a) == type_num and cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_NDIM(a) == (2 if rows else 1)
            and cnp.PyArray_DIM(a, 0) == (rows if rows else cols) and cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1) == cols)


cdef Tensor layer_step(Tensor input, tuple parts, object state, tuple norm, bint* last):
    """One layer's step, None where something does not fit; where it is the last the norm's too, if that fits."""
    cdef EncoderStep job
    cdef ndarray x = contiguous(input.array), y
    cdef int type_num = cnp.PyArray_TYPE(x), dtype = kind(x), i
    cdef Tensor first
    cdef i64 width, inner
    cdef i64[4] rows
    cdef list packed
    cdef bint done
    heads, activation, job.norm_first, eps, weights, biases, norm_weights, norm_biases = parts
    first = weights[2]
    if (cnp.PyArray_NDIM(x) != 3 or dtype < 0 or cnp.PyArray_SIZE(x) == 0 or first is None
            or cnp.PyArray_NDIM(first.array) != 2):
        return None
    job.at.batch, job.at.length, width = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1), cnp.PyArray_DIM(x, 2)
    job.at.heads, job.at.seen, job.hidden = heads, state._length, cnp.PyArray_DIM(first.array, 0)
    job.at.depth, job.activation = width // job.at.heads, activation_of("linear", activation)
    rows[0], rows[1], rows[2], rows[3] = 3 * width, width, job.hidden, width
    for i in range(4):
        inner = job.hidden if i == 3 else width
        if not (take(&job.weight[i], weights[i], rows[i], inner, type_num)
                and take(&job.bias[i], biases[i], 0, rows[i], type_num)):
            return None
    for i in range(2):
        job.eps[i] = eps[i]
        if not (take(&job.norm_weight[i], norm_weights[i], 0, width, type_num)
                and take(&job.norm_bias[i], norm_biases[i], 0, width, type_num)):
            return None
    if last[0]:
        job.eps[2] = norm[2]
        last[0] = (take(&job.norm_weight[2], norm[0], 0, width, type_num)
                   and take(&job.norm_bias[2], norm[1], 0, width, type_num))
    job.last = last[0]
    if not state._arrays or job.at.seen + job.at.length > cnp.PyArray_DIM(<ndarray?>state._arrays[0], 2):
        state._make_room([(job.at.batch, job.at.heads, job.at.length, job.at.depth)] * 2, x.dtype)
    set_kept(job.at, x, state._arrays[0], state._arrays[1])
    y = new_array(3, cnp.PyArray_DIMS(x), type_num)
    job.x, job.y = cnp.PyArray_DATA(x), cnp.PyArray_DATA(y)
    packed = [usable_packed(<Tensor>w) for w in weights]
    for i in range(4):
        job.kept[i] = packed[i] is not None
        job.packed[i] = (<PackedWeight>packed[i]).memory if job.kept[i] else NULL
    if 8.0 * job.at.batch * job.at.length * width * (width + job.hidden) < 4e6:
        done = runtime.encoder_step(dtype, job)
    else:
        with nogil:
            done = runtime.encoder_step(dtype, job)
    for i in range(4):
        if job.kept[i] and (<PackedWeight>packed[i]).memory == NULL:
            (<PackedWeight>packed[i]).memory = job.packed[i]
        elif not job.kept[i] or (<PackedWeight>packed[i]).memory != job.packed[i]:  # not kept, or another thread was first
            runtime.release(job.packed[i])
    if not done:
        raise MemoryError("no memory for a step of an encoder's layer")
    state._length += job.at.length
    return wrap(y)
