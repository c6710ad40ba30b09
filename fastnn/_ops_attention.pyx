# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""Attention: one op with a kernel forward and backward, and its twin in ops. How an op is built stands in `_ops`."""
cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport sqrt as c_sqrt
from libc.string cimport memset

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, edge, grad_enabled, version

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

cdef enum:
    ALONE_FLOPS = 500000  # work below this keeps the GIL


cdef class AttentionNode(Node):
    """Inputs query, key, value, as (B, N, T, D); or, where `packed`, one (B, T, 3, N, D) of all three."""
    cdef bint packed
    cdef Tensor value, mask_tensor
    cdef long value_version, mask_version
    cdef ndarray q, k, v, mask, stats  # what the kernel read and gave; q, k, v with neighbours along D
    cdef AttentionJob job              # sizes and options; `use` sets the pointers

    cdef void let_go(self):
        Node.let_go(self)
        self.value = self.mask_tensor = None
        self.q = self.k = self.v = self.mask = self.stats = None

    cdef void use(self, AttentionJob* job):
        job[0] = self.job
        job.q, job.k, job.v = cnp.PyArray_DATA(self.q), cnp.PyArray_DATA(self.k), cnp.PyArray_DATA(self.v)
        job.mask = NULL if self.mask is None else cnp.PyArray_DATA(self.mask)
        job.stats = NULL if self.stats is None else cnp.PyArray_DATA(self.stats)
        job.q_at, job.k_at, job.v_at = view_at(self.q), view_at(self.k), view_at(self.v)

    cdef tuple backward(self, Value dy):
        cdef Tensor q, k = None, v = None
        cdef ndarray out = self.kept(), dout, all = None, dq, dk, dv
        q = <Tensor>self.first()
        if not self.packed:
            k, v = <Tensor>self.second(), self.value
            if version(v) != self.value_version:
                raise RuntimeError("backward of attention: value was changed in place after the forward pass")
        if self.mask_tensor is not None and version(self.mask_tensor) != self.mask_version:
            raise RuntimeError("backward of attention: attn_mask was changed in place after the forward pass")
        if grad_enabled():
            return self.recorded_backward(<Tensor>dy, q, k, v)
        dout = close_rows((<Tensor>dy).array)
        if self.packed:
            all = new_array(5, cnp.PyArray_DIMS(q.array), cnp.PyArray_TYPE(q.array))
            dq, dk, dv = heads_of(all, 0), heads_of(all, 1), heads_of(all, 2)
        else:
            dq, dk, dv = new_heads(self.q), new_heads(self.k), new_heads(self.v)
        self.run_backward(dout, out, dq, dk, dv)
        return (wrap(all),) if self.packed else (wrap(dq), wrap(dk), wrap(dv))

    cdef int run_backward(self, ndarray dout, ndarray out, ndarray dq, ndarray dk, ndarray dv) except -1:
        cdef AttentionJob job
        cdef int dtype = kind(self.q)
        cdef bint done
        self.use(&job)
        job.dout, job.out = cnp.PyArray_DATA(dout), cnp.PyArray_DATA(out)
        job.dq, job.dk, job.dv = cnp.PyArray_DATA(dq), cnp.PyArray_DATA(dk), cnp.PyArray_DATA(dv)
        job.dout_at, job.out_at = view_at(dout), view_at(out)
        job.dq_at, job.dk_at, job.dv_at = view_at(dq), view_at(dk), view_at(dv)
        if flops(job) < ALONE_FLOPS:
            done = runtime.attention_backward(dtype, job)
        else:
            with nogil:
                done = runtime.attention_backward(dtype, job)
        if not done:
            raise MemoryError("no memory for the partial results of attention")
        return 0

    cdef tuple recorded_backward(self, Tensor dy, Tensor q, Tensor k, Tensor v):
        """The same in ops: p = softmax(s), ds = p * (dp - sum(p * dp))."""
        cdef Tensor p, m, dp, pdp, ds, dq, dk, dv
        if self.packed:
            q, k, v = unbind(permute(q, (2, 0, 3, 1, 4)), 0)
        cdef i64 group = self.job.group
        k, v = repeated(k, group), repeated(v, group)
        p, m = self.probabilities(q, k)
        dp = matmul(dy, transpose(v, 2, 3))
        dp = dp if m is None else mul(dp, m)
        pdp = mul(p, dp)
        ds = mul(sub(pdp, mul(p, scaled_sum(pdp, 8, True, 1))), as_tensor(self.job.scale, q.array.dtype))
        dq = matmul(ds, k)
        dk = gathered(matmul(transpose(ds, 2, 3), q), group)
        dv = gathered(matmul(transpose(p if m is None else mul(p, m), 2, 3), dy), group)
        if self.packed:
            return (permute(stack((dq, dk, dv), 0), (1, 3, 0, 2, 4)),)
        return dq, dk, dv

    cdef tuple probabilities(self, Tensor q, Tensor k):
        """(p, dropout's mask or None) of (B, N, T, D) and keys with as many heads."""
        bias, alive = biases(self.job, self.mask, q.array.dtype)
        p = softmax(scores(q, k, self.job.scale, None if bias is None else as_tensor(bias)), -1)
        p = p if alive is None else mul(p, as_tensor(alive))
        return p, kept_elements(self.job, q.array.dtype) if self.job.dropout > 0 else None


# ---- arrays

cdef AttentionView view_at(ndarray x) noexcept:
    cdef AttentionView view
    cdef npy_intp size = cnp.PyArray_ITEMSIZE(x)
    view.batch, view.head = cnp.PyArray_STRIDE(x, 0) // size, cnp.PyArray_STRIDE(x, 1) // size
    view.row = cnp.PyArray_STRIDE(x, 2) // size
    return view


cdef ndarray close_rows(ndarray x):
    """x, or a copy whose elements are neighbours along the last dimension."""
    if cnp.PyArray_DIM(x, 3) < 2 or cnp.PyArray_STRIDE(x, 3) == cnp.PyArray_ITEMSIZE(x):
        return x
    return contiguous(x)


cdef ndarray heads_of(ndarray packed, int which):
    """q, k or v of (B, T, 3, N, D) as (B, N, T, D)."""
    return packed[:, :, which].transpose(0, 2, 1, 3)


cdef ndarray new_heads(ndarray like):
    """An array (B, N, T, D) with the memory of (B, T, N, D), which a layer reads next."""
    return new_rows(like, cnp.PyArray_DIM(like, 3))


cdef ndarray new_rows(ndarray like, npy_intp width):
    cdef npy_intp[4] dims
    cdef npy_intp[4] strides
    cdef npy_intp size = cnp.PyArray_ITEMSIZE(like), heads = cnp.PyArray_DIM(like, 1), rows = cnp.PyArray_DIM(like, 2)
    dims[0], dims[1], dims[2], dims[3] = cnp.PyArray_DIM(like, 0), heads, rows, width
    if cnp.PyArray_SIZE(like) == 0 or width == 0:
        return new_array(4, dims, cnp.PyArray_TYPE(like))
    strides[0], strides[1], strides[2] = rows * heads * width * size, width * size, heads * width * size
    strides[3] = size
    return new_array(4, dims, cnp.PyArray_TYPE(like), strides)


cdef double flops(AttentionJob& job) noexcept:
    return 4.0 * job.batch * job.heads * job.queries * job.keys * (job.depth + 1)


# ---- the twin in ops

cdef Tensor repeated(Tensor x, i64 group):
    """(B, N, T, D) with each head `group` times."""
    if group == 1:
        return x
    return reshape(stack([x] * group, 2), (x.shape[0], group * x.shape[1], x.shape[2], x.shape[3]))


cdef Tensor gathered(Tensor x, i64 group):
    """The adjoint of `repeated`."""
    if group == 1:
        return x
    return scaled_sum(reshape(x, (x.shape[0], x.shape[1] // group, group, x.shape[2], x.shape[3])), 4, False, 1)


cdef Tensor scores(Tensor q, Tensor k, double scale, Tensor bias):
    cdef Tensor s = matmul(mul(q, as_tensor(scale, q.array.dtype)), transpose(k, 2, 3))
    return s if bias is None else add(s, bias)


cdef tuple biases(AttentionJob& job, object mask, object dtype):
    """(what is added to the scores or None, 0 for rows that see nothing, or None). Such a row's bias is 0."""
    if mask is not None and mask.dtype == np.bool_:
        mask = np.where(mask, 0, -np.inf).astype(dtype)
    if job.causal:
        hidden = np.arange(job.keys) > np.arange(job.queries)[:, None] + job.diagonal
        mask = np.where(hidden, -np.inf, 0 if mask is None else mask).astype(dtype)
    if mask is None:
        return None, None
    dead = np.isneginf(mask).all(-1, keepdims=True) if job.keys else np.zeros((1, 1), bool)
    if not dead.any():
        return mask, None
    return np.where(dead, 0, mask).astype(dtype), np.where(dead, 0, 1).astype(dtype)


cdef Tensor kept_elements(AttentionJob& job, object dtype):
    """The kernel's mask of dropout: each row's stretch of the stream starts at a multiple of 64 elements."""
    mask = np.empty((job.batch, job.heads, job.queries, (job.keys + 63) // 64 * 64), dtype)
    return as_tensor(_kernels.dropout_mask(mask, job.dropout, job.seed, job.offset)[..., :job.keys])


cdef Tensor in_ops(AttentionNode node, Tensor q, Tensor k, Tensor v, Tensor mask):
    """Attention in ops, with a mask that may want a gradient."""
    k, v = repeated(k, node.job.group), repeated(v, node.job.group)
    bias, alive = biases(node.job, mask.array, q.array.dtype)
    cdef Tensor m = mask
    if node.job.causal or alive is not None:  # what hides: constants; what is added: the mask
        m = where(np.isneginf(bias), as_tensor(-np.inf, q.array.dtype), mask)
        m = m if alive is None else where(alive == 0, as_tensor(0, q.array.dtype), m)
    p = softmax(scores(q, k, node.job.scale, m), -1)
    p = p if alive is None else mul(p, as_tensor(alive))
    if node.job.dropout > 0:
        p = mul(p, kept_elements(node.job, q.array.dtype))
    return matmul(p, v)


# ---- the op

cdef int set_mask(str name, AttentionNode node, ndarray mask) except -1:
    """Checks a mask that broadcasts to (B, N, queries, keys), and lays its strides down."""
    cdef AttentionJob* job = &node.job
    cdef i64[4] full
    cdef i64[4] stride
    cdef int nd = cnp.PyArray_NDIM(mask), d, to
    full[0], full[1], full[2], full[3] = job.batch, job.heads, job.queries, job.keys
    stride[0] = stride[1] = stride[2] = stride[3] = 0
    for d in range(nd):
        to = 4 - nd + d
        if to < 0 or (cnp.PyArray_DIM(mask, d) != 1 and cnp.PyArray_DIM(mask, d) != full[to]):
            raise ValueError(f"{name}: attn_mask is {shape_of(mask)}; expected what broadcasts to "
                             f"{(job.batch, job.heads, job.queries, job.keys)}")
        if cnp.PyArray_DIM(mask, d) != 1:
            stride[to] = cnp.PyArray_STRIDE(mask, d) // cnp.PyArray_ITEMSIZE(mask)
    job.mask_batch, job.mask_head, job.mask_row, job.mask_col = stride[0], stride[1], stride[2], stride[3]
    job.mask_boolean = cnp.PyArray_TYPE(mask) == cnp.NPY_BOOL
    node.mask = mask
    return 0


cdef int set_sizes(str name, AttentionNode node, object scale, double dropout, bint causal, i64 diagonal) except -1:
    """The job of the arrays in the node."""
    cdef AttentionJob* job = &node.job
    cdef ndarray q = node.q, k = node.k, v = node.v
    cdef i64 shared = cnp.PyArray_DIM(k, 1)
    memset(job, 0, sizeof(AttentionJob))
    job.batch, job.heads, job.queries = cnp.PyArray_DIM(q, 0), cnp.PyArray_DIM(q, 1), cnp.PyArray_DIM(q, 2)
    job.depth, job.keys, job.width = cnp.PyArray_DIM(q, 3), cnp.PyArray_DIM(k, 2), cnp.PyArray_DIM(v, 3)
    if not 0 <= dropout <= 1:
        raise ValueError(f"{name}: dropout_p must be in [0, 1], got {dropout}")
    if (cnp.PyArray_DIM(k, 0) != job.batch or cnp.PyArray_DIM(v, 0) != job.batch or cnp.PyArray_DIM(k, 3) != job.depth
            or cnp.PyArray_DIM(v, 1) != shared or cnp.PyArray_DIM(v, 2) != job.keys):
        raise ValueError(f"{name}: query is {shape_of(q)}, key {shape_of(k)}, value {shape_of(v)}; expected "
                         f"(B, N, T, D), (B, N, S, D) and (B, N, S, E)")
    if job.heads != shared and (shared == 0 or job.heads == 0 or job.heads % shared):
        raise ValueError(f"{name}: query has {job.heads} heads, key has {shared}; expected a multiple")
    job.group = job.heads // shared if shared else 1
    job.causal, job.diagonal = causal, max(-job.queries, min(job.keys, diagonal))
    job.scale = 1 / c_sqrt(<double>(job.depth if job.depth else 1)) if scale is None else <double>scale
    job.dropout = dropout
    if dropout > 0:
        job.seed, job.offset = randomness().next_seed()
    return 0


cdef Tensor mask_tensor(str name, object mask, int type_num):
    if mask is None:
        return None
    cdef Tensor m = as_tensor(mask)
    if cnp.PyArray_TYPE(m.array) == cnp.NPY_BOOL:
        return m
    if kind(m.array) < 0:
        raise TypeError(f"{name}: attn_mask is {m.array.dtype}; expected bool (True: take part) or floats to be added")
    return cast(m, type_num)


cdef ndarray new_stats(ndarray q):
    cdef npy_intp dims[4]
    dims[0], dims[1], dims[2], dims[3] = cnp.PyArray_DIM(q, 0), cnp.PyArray_DIM(q, 1), cnp.PyArray_DIM(q, 2), 2
    return new_array(4, dims, cnp.PyArray_TYPE(q))


cdef Tensor computed(AttentionNode node):
    """The result of the arrays in the node, off the tape; the node keeps stats where it has an array for it."""
    cdef AttentionJob job
    cdef ndarray out = new_rows(node.q, cnp.PyArray_DIM(node.v, 3))
    node.use(&job)
    job.out, job.out_at = cnp.PyArray_DATA(out), view_at(out)
    compute(kind(node.q), job)
    return wrap(out)


cdef int compute(int dtype, AttentionJob& job) except -1:
    cdef bint done
    if flops(job) < ALONE_FLOPS:
        done = runtime.attention(dtype, job)
    else:
        with nogil:
            done = runtime.attention(dtype, job)
    if not done:
        raise MemoryError("no memory for the partial results of attention")
    return 0


cdef Tensor attended(str name, Tensor q, Tensor k, Tensor v, object attn_mask, object scale, double dropout,
                     bint causal, i64 diagonal):
    """Of (B, N, T, D) tensors; of one (B, T, 3, N, D) where k is None."""
    cdef AttentionNode node = AttentionNode.__new__(AttentionNode)
    cdef Tensor out, mask
    cdef bint record
    node.packed = k is None
    if not node.packed:
        q, k, v = of_one_type(q, k, v)
    mask = mask_tensor(name, attn_mask, cnp.PyArray_TYPE(q.array))
    if node.packed:
        q = contiguous_tensor(q)
        node.q, node.k, node.v = heads_of(q.array, 0), heads_of(q.array, 1), heads_of(q.array, 2)
    else:
        node.q, node.k, node.v = close_rows(q.array), close_rows(k.array), close_rows(v.array)
    set_sizes(name, node, scale, dropout, causal, diagonal)
    if mask is not None:
        set_mask(name, node, mask.array)
        if recorded(mask):
            if node.packed:
                q, k, v = unbind(permute(q, (2, 0, 3, 1, 4)), 0)
            return in_ops(node, q, k, v, mask)
    record = recorded(q) or (not node.packed and (recorded(k) or recorded(v)))
    if record:
        node.stats = new_stats(node.q)
    out = computed(node)
    if record:
        node.save(q, k)
        if not node.packed:
            node.value, node.value_version = v, version(v)
        if mask is not None:
            node.mask_tensor, node.mask_version = mask, version(mask)
        node.keep(out, out.array)
        attach(out, node, (edge(q),) if node.packed else (edge(q), edge(k), edge(v)))
    return out


cdef tuple of_one_type(Tensor q, Tensor k, Tensor v):
    """All three as float64 where one of them is, else as float32."""
    cdef int type_num = cnp.NPY_DOUBLE if F64 in (kind(q.array), kind(k.array), kind(v.array)) else cnp.NPY_FLOAT
    return cast(q, type_num), cast(k, type_num), cast(v, type_num)


def scaled_dot_product_attention(query, key, value, attn_mask=None, double dropout_p=0.0, bint is_causal=False,
                                 scale=None, bint enable_gqa=False):
    """``softmax(query @ key.T * scale + attn_mask) @ value`` [1]_, without a matrix of all scores [2]_.

    Parameters
    ----------
    query : Tensor (..., N, T, D)
    key : Tensor (..., N, S, D)
    value : Tensor (..., N, S, E)
        Equal leading dimensions, which may be missing. Views of (B, T, N, D) memory are read as they are, and the
        result has such memory.
    attn_mask : Tensor of bool or floats, optional
        Broadcasts to (..., N, T, S): True takes part, floats are added. A float mask that requires a gradient gets one,
        by ops that do make the matrix.
    dropout_p : float
        The share of the weights that is dropped, whether training or not, as in PyTorch.
    is_causal : bool
        Query i sees keys 0 to i only. Unlike PyTorch's, it goes together with a mask.
    scale : float, optional
        ``1 / sqrt(D)`` by default.
    enable_gqa : bool
        Each head of key and value serves a group of neighbouring heads of query, whose number is a multiple.

    Returns
    -------
    Tensor (..., N, T, E)
        0 where a query sees no key, which sends no gradient back either.

    Raises
    ------
    TypeError
        For a mask of integers.
    ValueError
        If shapes do not fit.

    References
    ----------
    .. [1] Vaswani et al., "Attention is all you need", NeurIPS 2017.
    .. [2] Dao, "FlashAttention-2: faster attention with better parallelism and work partitioning", 2023.

    Examples
    --------
    >>> import fastnn as fnn
    >>> q, k, v = fnn.zeros(1, 2), fnn.ones(3, 2), fnn.tensor([[0.0], [3.0], [6.0]])
    >>> fnn.nn.functional.scaled_dot_product_attention(q, k, v)
    tensor([[3.]])
    """
    cdef str name = "scaled_dot_product_attention"
    cdef Tensor q = floating(query), k = floating(key), v = floating(value), mask
    cdef int nd = cnp.PyArray_NDIM(q.array)
    if nd < 2 or cnp.PyArray_NDIM(k.array) != nd or cnp.PyArray_NDIM(v.array) != nd:
        raise ValueError(f"{name}: query is {q.shape}, key {k.shape}, value {v.shape}; expected (..., N, T, D) each")
    q, k, v = of_one_type(q, k, v)
    if not enable_gqa and nd > 2 and cnp.PyArray_DIM(q.array, nd - 3) != cnp.PyArray_DIM(k.array, nd - 3):
        raise ValueError(f"{name}: query has {q.shape[nd - 3]} heads, key has {k.shape[nd - 3]}; expected equal numbers, "
                         f"or enable_gqa=True")
    if nd > 3 and not q.shape[:nd - 3] == k.shape[:nd - 3] == v.shape[:nd - 3]:
        raise ValueError(f"{name}: query is {q.shape}, key {k.shape}, value {v.shape}; expected equal leading dimensions")
    if nd == 4:
        return attended(name, q, k, v, attn_mask, scale, dropout_p, is_causal, 0)
    shape = q.shape[:-1] + v.shape[-1:]
    lead = q.shape[:-2]
    mask = mask_tensor(name, attn_mask, cnp.PyArray_TYPE(q.array))
    want = lead + (q.shape[nd - 2], k.shape[nd - 2])
    if mask is not None and not broadcasts(mask.shape, want):
        raise ValueError(f"{name}: attn_mask is {mask.shape}; expected what broadcasts to {want}")
    if mask is not None and cnp.PyArray_NDIM(mask.array) > 2:
        mask = in_four(as_tensor(mask).broadcast_to(lead + mask.shape[-2:]))
    q, k, v = in_four(q), in_four(k), in_four(v)
    return reshape(attended(name, q, k, v, mask, scale, dropout_p, is_causal, 0), shape)


cdef bint broadcasts(tuple shape, tuple to):
    return len(shape) <= len(to) and all([n in (1, m) for n, m in zip(reversed(shape), reversed(to))])


cdef Tensor in_four(Tensor x):
    """(..., N, T, D) of any number of dimensions as (B, N, T, D)."""
    cdef tuple shape = x.shape
    cdef int nd = <int>len(shape)
    if nd < 4:
        return reshape(x, (1,) * (4 - nd) + shape)
    return reshape(x, (int(np.prod(shape[:nd - 3])),) + shape[nd - 3:])


def attend(Tensor query not None, Tensor key, Tensor value, mask=None, scale=None, double dropout=0.0,
           bint causal=False, i64 diagonal=0):
    """What layers call: tensors (B, N, T, D) of one type, or ``query`` alone, (B, T, 3, N, D) of all three.

    Query i sees the keys up to ``i + diagonal`` if ``causal``.
    """
    return attended("attention", query, key, value, mask, scale, dropout, causal, diagonal)


include "_ops_attention_step.pxi"
