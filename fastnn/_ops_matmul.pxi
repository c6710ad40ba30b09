# Matrix products. The kernel takes any strides, so a transposed matrix is a view and costs nothing.

cdef int multiply(MatmulJob& job, int dtype) except -1:
    """Runs a planned-out job; small ones keep the GIL, which costs more to let go than they take."""
    cdef double flops = 2.0 * job.m * job.n * job.k
    cdef bint done
    cdef int d
    for d in range(job.batch_ndim):
        flops *= job.batch_shape[d]
    if flops == 0:
        return 0
    if flops < 4e6:
        done = runtime.matmul(dtype, job)
    else:
        with nogil:
            done = runtime.matmul(dtype, job)
    if not done:
        raise MemoryError("no memory for the scratch of a matmul")
    return 0


cdef inline void clear(MatmulJob& job) noexcept:
    memset(&job, 0, sizeof(MatmulJob))
    job.activation = COPY


cdef inline void matrix_strides(ndarray a, bint transposed, i64* row, i64* col) noexcept:
    cdef int nd = cnp.PyArray_NDIM(a)
    cdef i64 size = cnp.PyArray_ITEMSIZE(a)
    row[0] = cnp.PyArray_STRIDE(a, nd - 2 + transposed) // size
    col[0] = cnp.PyArray_STRIDE(a, nd - 1 - transposed) // size


cdef ndarray product(ndarray a, bint at, ndarray b, bint bt):
    """The (m, n) product of two matrices of one type, each taken transposed if so told."""
    cdef MatmulJob job
    cdef npy_intp dims[2]
    cdef ndarray c
    clear(job)
    job.m = dims[0] = cnp.PyArray_DIM(a, 1 if at else 0)
    job.n = dims[1] = cnp.PyArray_DIM(b, 0 if bt else 1)
    job.k = cnp.PyArray_DIM(a, 0 if at else 1)
    if cnp.PyArray_DIM(b, 1 if bt else 0) != job.k or kind(a) != kind(b):
        raise ValueError(f"matmul: shapes {shape_of(a)} and {shape_of(b)} do not fit")
    c = new_array(2, dims, cnp.PyArray_TYPE(a))
    if job.k == 0:
        memset(cnp.PyArray_DATA(c), 0, cnp.PyArray_NBYTES(c))
        return c
    job.c, job.a, job.b = cnp.PyArray_DATA(c), cnp.PyArray_DATA(a), cnp.PyArray_DATA(b)
    matrix_strides(a, at, &job.a_row, &job.a_col)
    matrix_strides(b, bt, &job.b_row, &job.b_col)
    job.c_row = job.n
    multiply(job, kind(a))
    return c


cdef ndarray rows_of(ndarray a):
    """(..., k) as a (rows, k) matrix: a view where the leading dimensions walk together, else a copy."""
    if cnp.PyArray_NDIM(a) == 2:
        return a
    cdef npy_intp k = cnp.PyArray_DIM(a, cnp.PyArray_NDIM(a) - 1)
    return a.reshape((cnp.PyArray_SIZE(a) // k if k else count_rows(a), k))


cdef npy_intp count_rows(ndarray a) noexcept:
    cdef npy_intp n = 1
    cdef int d
    for d in range(cnp.PyArray_NDIM(a) - 1):
        n *= cnp.PyArray_DIM(a, d)
    return n


cdef bint leading_dense(ndarray a) noexcept:
    """Whether all but the last dimension walk together."""
    cdef int d
    for d in range(cnp.PyArray_NDIM(a) - 2):
        if cnp.PyArray_STRIDE(a, d) != cnp.PyArray_STRIDE(a, d + 1) * cnp.PyArray_DIM(a, d + 1):
            return False
    return True


cdef ndarray batched_product(ndarray a, ndarray b):
    """(..., m, k) times (..., k, n), the leading dimensions broadcast; both have at least two dimensions."""
    cdef int na = cnp.PyArray_NDIM(a), nb = cnp.PyArray_NDIM(b), nd = (na if na > nb else nb) - 2, d
    cdef npy_intp dims[64]
    cdef npy_intp p, q
    cdef i64 size = cnp.PyArray_ITEMSIZE(a), step
    cdef MatmulJob job
    cdef ndarray c
    if nd == 0:
        return product(a, False, b, False)
    if nb == 2 and leading_dense(a):
        c = product(rows_of(a), False, b, False)
        return c.reshape(shape_of(a)[:na - 1] + (cnp.PyArray_DIM(b, 1),))
    clear(job)
    job.m, job.k, job.n = cnp.PyArray_DIM(a, na - 2), cnp.PyArray_DIM(a, na - 1), cnp.PyArray_DIM(b, nb - 1)
    for d in range(nd):
        p = cnp.PyArray_DIM(a, d - nd + na - 2) if d >= nd - na + 2 else 1
        q = cnp.PyArray_DIM(b, d - nd + nb - 2) if d >= nd - nb + 2 else 1
        if p != q and p != 1 and q != 1:
            raise ValueError(f"matmul: the leading dimensions of {shape_of(a)} and {shape_of(b)} do not broadcast")
        dims[d] = q if p == 1 else p
    dims[nd], dims[nd + 1] = job.m, job.n
    c = new_array(nd + 2, dims, cnp.PyArray_TYPE(a))
    if job.k == 0 or cnp.PyArray_SIZE(c) == 0:
        memset(cnp.PyArray_DATA(c), 0, cnp.PyArray_NBYTES(c))
        return c
    if nd > MAX_DIMS:
        shape = shape_of(c)[:nd]
        a = contiguous(np.broadcast_to(a, shape + shape_of(a)[na - 2:])).reshape((-1, job.m, job.k))
        b = contiguous(np.broadcast_to(b, shape + shape_of(b)[nb - 2:])).reshape((-1, job.k, job.n))
        return batched_product(a, b).reshape(shape_of(c))
    job.c, job.a, job.b = cnp.PyArray_DATA(c), cnp.PyArray_DATA(a), cnp.PyArray_DATA(b)
    matrix_strides(a, False, &job.a_row, &job.a_col)
    matrix_strides(b, False, &job.b_row, &job.b_col)
    job.c_row = job.n
    job.batch_ndim = nd
    step = job.m * job.n
    for d in range(nd - 1, -1, -1):
        job.batch_shape[d] = dims[d]
        job.c_batch[d] = step
        step *= dims[d]
        job.a_batch[d] = batch_stride(a, d - nd + na - 2, size)
        job.b_batch[d] = batch_stride(b, d - nd + nb - 2, size)
    multiply(job, kind(a))
    return c


cdef inline i64 batch_stride(ndarray a, int d, i64 size) noexcept:
    return 0 if d < 0 or cnp.PyArray_DIM(a, d) == 1 else cnp.PyArray_STRIDE(a, d) // size


cdef class MatmulNode(Node):
    """c = a b: da = dc b^T, db = a^T dc, each summed to its shape. One b for all rows of a is one product, not a
    batch."""
    cdef tuple backward(self, Value dy):
        cdef Tensor a = <Tensor>self.first(), b = <Tensor>self.second(), dc = <Tensor>dy, da = None, db = None
        cdef npy_intp k = cnp.PyArray_DIM(b.array, cnp.PyArray_NDIM(b.array) - 2)
        cdef npy_intp n = cnp.PyArray_DIM(b.array, cnp.PyArray_NDIM(b.array) - 1), rows
        if cnp.PyArray_NDIM(a.array) == 2 and cnp.PyArray_NDIM(b.array) == 2 and not grad_enabled():
            return (wrap(product(dc.array, False, b.array, True)) if self.needs(0) else None,
                    wrap(product(a.array, True, dc.array, False)) if self.needs(1) else None)
        if self.needs(0):
            da = sum_to(matmul(dc, transpose(b, -2, -1)), shape_of(a.array))
        if self.needs(1):
            if cnp.PyArray_NDIM(b.array) == 2:
                rows = count_rows(a.array)
                db = matmul(transpose(reshape(a, (rows, k)), 0, 1), reshape(dc, (rows, n)))
            else:
                db = sum_to(matmul(transpose(a, -2, -1), dc), shape_of(b.array))
        return da, db


cdef Tensor product_of(str name, int nd, object a, object b):
    """matmul of two tensors with so many dimensions."""
    cdef Tensor x = as_tensor(a), y = as_tensor(b)
    if cnp.PyArray_NDIM(x.array) != nd or cnp.PyArray_NDIM(y.array) != nd:
        raise ValueError(f"{name}: a is {shape_of(x.array)}, b is {shape_of(y.array)}; expected {nd} dimensions each "
                         f"(matmul takes any)")
    if nd == 3 and cnp.PyArray_DIM(x.array, 0) != cnp.PyArray_DIM(y.array, 0):
        raise ValueError(f"{name}: a is {shape_of(x.array)}, b is {shape_of(y.array)}; expected equal batches (matmul "
                         f"broadcasts)")
    return matmul(x, y)


def mm(a, b):
    """The product of two matrices (m, k) and (k, n); `matmul` for exactly two dimensions.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.mm(fnn.ones(2, 3), fnn.ones(3, 1))
    tensor([[3.],
            [3.]])
    """
    return product_of("mm", 2, a, b)


def bmm(a, b):
    """The products of matrices in two batches (B, m, k) and (B, k, n); `matmul` for exactly three dimensions.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.bmm(fnn.ones(5, 2, 3), fnn.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    return product_of("bmm", 3, a, b)


def dot(a, b):
    """The inner product of two vectors (k,) and (k,).

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.dot(fnn.tensor([1.0, 2.0]), fnn.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return product_of("dot", 1, a, b)


cpdef Tensor matmul(a, b):
    """The matrix product, as NumPy's ``@``.

    Parameters
    ----------
    a : Tensor (..., m, k) or (k,)
    b : Tensor (..., k, n) or (k,)
        Leading dimensions broadcast; any strides are taken as they are.

    Returns
    -------
    Tensor (..., m, n)
        Without m or n where a or b is 1-D.

    Raises
    ------
    ValueError
        If a.shape[-1] is not the size of the matching dimension of b, or an argument is 0-d.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.matmul(fnn.tensor([[1.0, 2.0]]), fnn.tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    cdef Tensor x = beside(a, b), y = beside(b, a), out
    cdef MatmulNode node
    cdef int na = cnp.PyArray_NDIM(x.array), nb = cnp.PyArray_NDIM(y.array), type_num
    if na == 0 or nb == 0:
        raise ValueError(f"matmul: a is {shape_of(x.array)}, b is {shape_of(y.array)}; expected at least one "
                         f"dimension each")
    if cnp.PyArray_DIM(x.array, na - 1) != cnp.PyArray_DIM(y.array, nb - 2 if nb > 1 else 0):
        raise ValueError(f"matmul: a is {shape_of(x.array)}, b is {shape_of(y.array)}; expected a.shape[-1] == "
                         f"b.shape[{-2 if nb > 1 else 0}]")
    if kind(x.array) < 0 and kind(y.array) < 0:
        return wrap(np.asarray(np.matmul(x.array, y.array)))
    if kind(x.array) != kind(y.array):
        type_num = common_type(x.array, y.array)
        x, y = cast(x, type_num), cast(y, type_num)
    if na == 1 or nb == 1:
        out = matmul(unsqueeze(x, 0) if na == 1 else x, unsqueeze(y, 1) if nb == 1 else y)
        shape = shape_of(out.array)
        lead = shape[:len(shape) - 2]
        return reshape(out, lead + (() if na == 1 else shape[-2:-1]) + (() if nb == 1 else shape[-1:]))
    out = wrap(batched_product(x.array, y.array))
    if recorded_pair(x, y):
        node = MatmulNode.__new__(MatmulNode)
        node.save(x, y)
        attach(out, node, (edge(x), edge(y)))
    return out


# ----- linear: the product with its bias and activation -----

cdef dict ACTIVATIONS = {None: COPY, "relu": RELU, "relu6": RELU6, "tanh": TANH, "sigmoid": SIGMOID, "gelu": GELU, "silu": SILU,
                         "hardswish": HARDSWISH}


cdef int activation_of(str name, object activation) except -1:
    """The Unary of an activation's name."""
    if activation is not None and activation not in ACTIVATIONS:
        raise ValueError(f"{name}: activation must be one of {list(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


cdef Tensor activated(int act, Tensor x):
    """An activation as an op of its own."""
    if act == COPY:
        return x
    if limits(act):
        return limited(act, x)
    return (tanh(x) if act == TANH else sigmoid(x) if act == SIGMOID else gelu(x) if act == GELU else
            silu(x) if act == SILU else hardswish(x))


cdef bint limits(int act) noexcept:
    """ReLU or ReLU6, which convolutions apply in registers."""
    return act == RELU or act == RELU6


cdef int slope_kernel(int activation) noexcept:
    """The gradient kernel that needs only the output; -1 where it needs what stood before the activation."""
    return RELU_GRAD if activation == RELU else RELU6_GRAD if activation == RELU6 else (
        TANH_GRAD if activation == TANH else SIGMOID_GRAD if activation == SIGMOID else -1)


cdef ndarray activate_keeping_slope(int activation, ndarray z):
    """gelu or silu of a dense z, in whose place its slope stands afterwards: the backward only multiplies by it."""
    cdef ndarray y = new_array(cnp.PyArray_NDIM(z), cnp.PyArray_DIMS(z), cnp.PyArray_TYPE(z))
    cdef const Kernels* table = runtime.table[kind(z)]
    cdef SlopedJob job
    job.y, job.slope, job.x = cnp.PyArray_DATA(y), cnp.PyArray_DATA(z), cnp.PyArray_DATA(z)
    run(<RangeFunction>(table.silu_sloped if activation == SILU else table.gelu_sloped), &job, cnp.PyArray_SIZE(z),
        unary_cost(activation))
    return y


cdef class LinearNode(Node):
    """y = act(x W^T + b). saved is y, or the activation's slope where y does not give that; alpha the activation."""
    cdef Tensor output_bias  # for gelu and silu, whose recorded backward needs the sum again
    cdef long bias_version

    cdef void let_go(self):
        Node.let_go(self)
        self.output_bias = None

    cdef tuple backward(self, Value dy):
        cdef Tensor x = <Tensor>self.first(), w = <Tensor>self.second()
        cdef ndarray dz, x2, dx = None
        cdef int activation = <int>self.alpha
        cdef bint bias = len(self.edges) == 3 and self.needs(2)
        cdef Tensor db
        if grad_enabled():
            return self.recorded_backward(<Tensor>dy, x, w)
        if activation == COPY:
            dz = (<Tensor>dy).array
        else:
            dz = fused(MUL if slope_kernel(activation) < 0 else slope_kernel(activation), dy, <ndarray>self.kept()).array
        if cnp.PyArray_NDIM(dz) != 2:
            dz = rows_of(contiguous(dz)) if cnp.PyArray_NDIM(dz) > 1 else dz.reshape((1, -1))
        x2 = x.array.reshape((1, -1)) if cnp.PyArray_NDIM(x.array) == 1 else rows_of(x.array)
        if self.needs(0):
            dx = product(dz, False, w.array, False)
            if cnp.PyArray_NDIM(x.array) != 2:
                dx = dx.reshape(shape_of(x.array))
        db = wrap(reduce_array(SUM, dz, 1, False, 1)) if bias else None
        return (None if dx is None else wrap(dx), wrap(product(dz, True, x2, False)) if self.needs(1) else None, db)

    cdef tuple recorded_backward(self, Tensor dy, Tensor x, Tensor w):
        """The same in differentiable ops, for create_graph. The sum before the activation is computed again."""
        cdef int activation = <int>self.alpha
        cdef Tensor dz = dy, z, s, dz2, x2
        if limits(activation):
            dz = mul(dy, passing(activation, <ndarray>self.kept()))
        elif slope_kernel(activation) >= 0:
            z = output_of(self)
            dz = mul(dy, sub(1.0, square(z)) if activation == TANH else mul(z, sub(1.0, z)))
        elif activation != COPY:
            z = matmul(x, transpose(w, 0, 1))
            if self.output_bias is not None:
                if version(self.output_bias) != self.bias_version:
                    raise RuntimeError("backward of linear: the bias was changed in place after the forward pass")
                z = add(z, self.output_bias)
            s = sigmoid(z)
            dz = mul(dy, gelu_slope(z, False) if activation == GELU else mul(s, add(mul(z, sub(1.0, s)), 1.0)))
        dz2 = reshape(dz, (-1, cnp.PyArray_DIM(w.array, 0))) if cnp.PyArray_DIM(w.array, 0) else dz
        x2 = reshape(x, (cnp.PyArray_DIM(dz2.array, 0), cnp.PyArray_DIM(w.array, 1)))
        return (reshape(matmul(dz2, w), shape_of(x.array)) if self.needs(0) else None,
                matmul(transpose(dz2, 0, 1), x2) if self.needs(1) else None,
                scaled_sum(dz2, 1, False, 1) if len(self.edges) == 3 and self.needs(2) else None)


cdef ndarray linear_array(ndarray x, ndarray w, ndarray bias, int activation, PackedWeight packed=None):
    """act(x W^T + b) for x (..., in), w (out, in), bias (out) or None, in one job. packed: of w, if that is frozen."""
    cdef int nd = cnp.PyArray_NDIM(x), d
    cdef npy_intp dims[64]
    cdef ndarray rows = x, y
    cdef MatmulJob job
    if nd > 2 and not leading_dense(x):
        rows = rows_of(x)
    clear(job)
    job.m, job.k, job.n = count_rows(x), cnp.PyArray_DIM(x, nd - 1), cnp.PyArray_DIM(w, 0)
    for d in range(nd - 1):
        dims[d] = cnp.PyArray_DIM(x, d)
    dims[nd - 1] = job.n
    y = new_array(nd, dims, cnp.PyArray_TYPE(x))
    if cnp.PyArray_SIZE(y) == 0:
        return y
    if job.k == 0:
        memset(cnp.PyArray_DATA(y), 0, cnp.PyArray_NBYTES(y))
        y = y if bias is None else binary_array(ADD, y, bias)
        return y if activation == COPY else unary_array(activation, y)
    job.c, job.a, job.b = cnp.PyArray_DATA(y), cnp.PyArray_DATA(rows), cnp.PyArray_DATA(w)
    job.a_col = cnp.PyArray_STRIDE(rows, cnp.PyArray_NDIM(rows) - 1) // cnp.PyArray_ITEMSIZE(x)
    job.a_row = 0 if nd == 1 else cnp.PyArray_STRIDE(rows, cnp.PyArray_NDIM(rows) - 2) // cnp.PyArray_ITEMSIZE(x)
    matrix_strides(w, True, &job.b_row, &job.b_col)
    job.c_row = job.n
    if bias is not None:
        bias = contiguous(bias)
        job.bias = cnp.PyArray_DATA(bias)
    job.activation = activation
    if packed is not None and (job.a_col == 1 or job.a_row == 1):
        multiply_packed(job, kind(x), packed)
    else:
        multiply(job, kind(x))
    return y


cpdef Tensor linear(x, weight, bias=None, activation=None):
    """act(x W^T + b): a dense layer in one kernel.

    Parameters
    ----------
    x : Tensor (..., in)
    weight : Tensor (out, in)
    bias : Tensor (out,), optional
    activation : {None, "relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "hardswish"}
        Applied while the product is still in registers.

    Returns
    -------
    Tensor (..., out)

    Raises
    ------
    ValueError
        If shapes do not fit, or there is no such activation.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.linear(fnn.ones(1, 2), fnn.tensor([[1.0, 2.0], [3.0, -4.0]]), activation="relu")
    tensor([[3., 0.]])
    """
    cdef Tensor t = as_tensor(x), w = as_tensor(weight), b = None if bias is None else as_tensor(bias), out
    cdef int act = activation_of("linear", activation), type_num
    cdef LinearNode node
    cdef bint needed
    if (cnp.PyArray_NDIM(t.array) == 0 or cnp.PyArray_NDIM(w.array) != 2
            or cnp.PyArray_DIM(t.array, cnp.PyArray_NDIM(t.array) - 1) != cnp.PyArray_DIM(w.array, 1)):
        raise ValueError(f"linear: x is {shape_of(t.array)}, weight is {shape_of(w.array)}; expected (..., in) and "
                         f"(out, in)")
    if b is not None and (cnp.PyArray_NDIM(b.array) != 1 or cnp.PyArray_DIM(b.array, 0) != cnp.PyArray_DIM(w.array, 0)):
        raise ValueError(f"linear: bias is {shape_of(b.array)}; expected ({cnp.PyArray_DIM(w.array, 0)},)")
    if kind(t.array) < 0 or kind(t.array) != kind(w.array) or (b is not None and kind(b.array) != kind(t.array)):
        type_num = common_type(t.array, w.array)
        type_num = cnp.NPY_DOUBLE if b is not None and kind(b.array) == F64 else type_num
        t, w, b = cast(t, type_num), cast(w, type_num), None if b is None else cast(b, type_num)
    needed = grad_enabled() and (t.needs_grad or w.needs_grad or (b is not None and b.needs_grad))
    if needed and act == HARDSWISH:
        return hardswish(linear(t, w, b))
    if not needed:
        return wrap(linear_array(t.array, w.array, None if b is None else b.array, act, usable_packed(w)))
    node = LinearNode.__new__(LinearNode)
    node.alpha = act
    node.save(t, w)
    if act == COPY or slope_kernel(act) >= 0:
        out = wrap(linear_array(t.array, w.array, None if b is None else b.array, act))
        if act != COPY:
            node.keep(out, out.array)
    else:
        node.output_counter = Counter.__new__(Counter)
        node.saved = linear_array(t.array, w.array, None if b is None else b.array, COPY)
        if b is not None:
            node.output_bias, node.bias_version = b, version(b)
        out = wrap(activate_keeping_slope(act, node.saved))
    return <Tensor>attach(out, node, (edge(t), edge(w)) if b is None else (edge(t), edge(w), edge(b)))


