# Convolution. Its three passes are each linear in both of what they read, and the derivatives of each are the other two, so one
# node serves them all, to any order.
#
#     y  = forward(x, w)         dx = input(dy, w)         dw = weight(x, dy)

# ----- geometry -----

cdef i64 LARGEST = 2147483648  # of a kernel with its dilation, a stride, a pad: their products fit an i64


cdef int conv_pair(str name, str what, object value, i64 least, i64* pair) except -1:
    """An integer for both axes, or two."""
    cdef int i
    values = value if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{name}: {what} must be an integer or two, got {value!r}")
    for i in range(2):
        if isinstance(values[i], bool) or not hasattr(values[i], "__index__"):
            raise TypeError(f"{name}: {what} must be an integer or two, got {value!r}")
        number = values[i].__index__()
        if not least <= number < LARGEST:
            raise ValueError(f"{name}: {what} must be at least {least} and below 2**31, got {value!r}")
        pair[i] = number
    return 0


cdef int pads_of(str name, object padding, ConvJob* job, i64* before, i64* after) except -1:
    """What stands around the image: one number, one for each axis, (before, after) for each axis, "same" or "valid"."""
    cdef int i
    cdef i64[2] kernel = [job.kh, job.kw], stride = [job.stride_h, job.stride_w], dilation = [job.dilation_h, job.dilation_w]
    cdef i64[2] both
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"{name}: padding must be numbers, 'same' or 'valid', got {padding!r}")
        for i in range(2):
            before[i] = after[i] = 0
            if padding == "same":
                if stride[i] != 1:
                    raise ValueError(f"{name}: padding='same' goes with stride 1 only, got stride {stride[0], stride[1]}")
                before[i] = dilation[i] * (kernel[i] - 1) // 2
                after[i] = dilation[i] * (kernel[i] - 1) - before[i]
        return 0
    if isinstance(padding, (tuple, list)) and len(padding) == 2 and isinstance(padding[0], (tuple, list)):
        for i in range(2):
            conv_pair(name, "padding of an axis", padding[i], 0, both)
            before[i], after[i] = both[0], both[1]
        return 0
    conv_pair(name, "padding", padding, 0, before)
    after[0], after[1] = before[0], before[1]
    return 0


cdef int kernel_of(str name, Tensor weight, object stride, object dilation, object groups, ConvJob* job) except -1:
    """What the weight (out, in / groups, kh, kw) and the numbers beside it say."""
    cdef i64[2] pair
    if isinstance(groups, bool) or not hasattr(groups, "__index__"):
        raise TypeError(f"{name}: groups must be an integer, got {groups!r}")
    if not 1 <= groups.__index__() < LARGEST:
        raise ValueError(f"{name}: groups must be at least 1 and below 2**31, got {groups}")
    job.groups = groups.__index__()
    job.kh, job.kw = cnp.PyArray_DIM(weight.array, 2), cnp.PyArray_DIM(weight.array, 3)
    if job.kh == 0 or job.kw == 0:
        raise ValueError(f"{name}: weight is {shape_of(weight.array)}; expected a kernel of at least one by one")
    conv_pair(name, "stride", stride, 1, pair)
    job.stride_h, job.stride_w = pair[0], pair[1]
    conv_pair(name, "dilation", dilation, 1, pair)
    job.dilation_h, job.dilation_w = pair[0], pair[1]
    if job.kh * job.dilation_h >= LARGEST or job.kw * job.dilation_w >= LARGEST:
        raise ValueError(f"{name}: a kernel of {job.kh, job.kw} dilated by {job.dilation_h, job.dilation_w} is too large; "
                         f"expected less than 2**31 each way")
    return 0


cdef class ConvNumbers:
    """Stride, padding, dilation and groups as they were given, and what they say."""
    cdef object stride, padding, dilation, groups
    cdef ConvJob job
    cdef i64 before[2]
    cdef i64 after[2]


cdef bint lasting(object value):
    """Whether the same object is the same number, or numbers, for ever."""
    return type(value) is int or (type(value) is tuple and all([type(v) is int for v in value]))


cdef int numbers_of(str name, Tensor weight, object stride, object padding, object dilation, object groups, ConvJob* job,
                    i64* before, i64* after) except -1:
    """Fills job, which is empty, and what stands around the image from the weight and the numbers beside it. With a frozen
    weight they are read once, which takes 2 us, more where a network's weights have filled the caches."""
    cdef PackedWeight packed = usable_packed(weight)
    cdef ConvNumbers known = None if packed is None else packed.conv_numbers
    if (known is None or known.stride is not stride or known.padding is not padding or known.dilation is not dilation
            or known.groups is not groups):
        kernel_of(name, weight, stride, dilation, groups, job)
        pads_of(name, padding, job, before, after)
        if packed is not None and lasting(stride) and lasting(padding) and lasting(dilation) and lasting(groups):
            known = ConvNumbers.__new__(ConvNumbers)
            known.stride, known.padding, known.dilation, known.groups = stride, padding, dilation, groups
            known.job = job[0]
            known.before, known.after = [before[0], before[1]], [after[0], after[1]]
            packed.conv_numbers = known
        return 0
    job[0] = known.job
    before[0], before[1], after[0], after[1] = known.before[0], known.before[1], known.after[0], known.after[1]
    return 0


# ----- running a pass -----

cdef bint keeps(PackedWeight packed, const ConvJob& job) noexcept:
    """Whether what packed keeps, or may keep from now on, is the weight as this convolution wants it."""
    cdef i64[8] geometry = [job.pass_ + 1, job.groups, job.stride_h, job.stride_w, job.pad_h, job.pad_w, job.dilation_h,
                            job.dilation_w]
    if packed.conv_geometry[0] == 0:
        packed.conv_geometry = geometry
    return memcmp(packed.conv_geometry, geometry, sizeof(geometry)) == 0


cdef ndarray conv_array(ConvJob& job, ndarray a, ndarray b, ndarray bias, PackedWeight packed, ndarray residual):
    """The pass that job says, of its two arguments: (x, weight), (dy, weight) or (x, dy), all of one float type."""
    cdef npy_intp[4] dims
    cdef ndarray out
    cdef int dtype = kind(a)
    cdef void* made = NULL
    cdef void** kept = NULL
    cdef bint done
    a = channels_last(a)
    if job.pass_ == CONV_WEIGHT:
        b = channels_last(b)
        dims = [job.f, job.c // job.groups, job.kh, job.kw]
        out = new_array(4, dims, cnp.PyArray_TYPE(a))
        job.x, job.dy = cnp.PyArray_DATA(a), cnp.PyArray_DATA(b)
    else:
        b = contiguous(b)
        if job.pass_ == CONV_FORWARD:
            dims = [job.batch, job.f, job.oh // 2 if job.pool else job.oh, job.ow // 2 if job.pool else job.ow]
            job.x = cnp.PyArray_DATA(a)
        else:
            dims = [job.batch, job.c, job.h, job.w]
            job.dy = cnp.PyArray_DATA(a)
        out = new_images(4, dims, cnp.PyArray_TYPE(a))
        job.weight = cnp.PyArray_DATA(b)
    job.out, job.bias, job.residual = cnp.PyArray_DATA(out), NULL, NULL
    if bias is not None:
        bias = contiguous(bias)
        job.bias = cnp.PyArray_DATA(bias)
    if residual is not None:
        residual = channels_last(residual)
        job.residual = cnp.PyArray_DATA(residual)
    if cnp.PyArray_SIZE(out) == 0:
        return out
    if cnp.PyArray_SIZE(a) == 0 or cnp.PyArray_SIZE(b) == 0:  # sums of nothing
        memset(cnp.PyArray_DATA(out), 0, cnp.PyArray_NBYTES(out))
        if bias is not None:
            out += bias.reshape((1, -1, 1, 1))
        if residual is not None:
            out += residual
        return out if job.activation == COPY else unary_array(job.activation, out)
    job.kept = packed is not None and keeps(packed, job)
    if job.kept:
        kept = packed.conv
    with nogil:
        done = runtime.conv(dtype, job, kept, made)
    if not done:
        runtime.release(made)
        raise MemoryError(f"no memory for the scratch of a convolution to shape {shape_of(out)}")
    if job.kept and kept[job.way] == NULL:
        kept[job.way] = made
    else:
        runtime.release(made)
    return out


cdef bint can_pool(const ConvJob& geometry, int dtype) noexcept:
    """Whether the way this convolution goes finishes whole windows of 2 x 2 at once."""
    cdef ConvJob job = geometry
    job.pass_, job.pool = CONV_FORWARD, True
    if job.oh < 2 or job.ow < 2 or job.c == 0 or job.f == 0 or job.batch == 0 or (job.kh == 1 and job.kw == 1):
        return False
    runtime.table[dtype].conv_plan(job)
    return job.pool


cdef bint can_activate(const ConvJob& job, int act, bint needed) noexcept:
    """Whether an activation is computed where the sums are: ReLU and ReLU6 always, others by the product that a convolution
    of one pixel is, where nothing is recorded."""
    cdef bint product = job.kh == 1 and job.kw == 1 and job.pad_h == 0 and job.pad_w == 0 and job.groups == 1
    return limits(act) or act == COPY or (product and not needed)


cdef bint can_add(const ConvJob& job, Tensor residual, int dtype) noexcept:
    """Whether what is added has the output's shape and type, and the way this convolution goes adds it in registers."""
    cdef npy_intp[4] out = [job.batch, job.f, job.oh, job.ow]
    cdef bint depthwise = job.groups > 1 and job.groups == job.c and job.groups == job.f
    return (not depthwise and kind(residual.array) == dtype
            and cnp.PyArray_NDIM(residual.array) == 4
            and memcmp(cnp.PyArray_DIMS(residual.array), out, sizeof(out)) == 0)


cdef class ConvNode(Node):
    """saved is the output where there is an activation; job has the geometry and the pass."""
    cdef ConvJob job

    cdef tuple backward(self, Value dy):
        cdef Tensor a = <Tensor>self.first(), b = <Tensor>self.second(), g, da = None, db = None, dbias = None
        if self.job.activation == COPY:
            g = <Tensor>dy
        elif grad_enabled():
            g = mul(dy, passing(self.job.activation, <ndarray>self.kept()))
        else:
            g = fused(slope_kernel(self.job.activation), dy, <ndarray>self.kept())
        if self.job.pass_ == CONV_FORWARD:    # a = x, b = weight
            da = conv_pass(self.job, CONV_INPUT, g, b) if self.needs(0) else None
            db = conv_pass(self.job, CONV_WEIGHT, a, g) if self.needs(1) else None
        elif self.job.pass_ == CONV_INPUT:    # a = dy, b = weight
            da = conv_pass(self.job, CONV_FORWARD, g, b) if self.needs(0) else None
            db = conv_pass(self.job, CONV_WEIGHT, g, a) if self.needs(1) else None
        else:                                 # a = x, b = dy
            da = conv_pass(self.job, CONV_INPUT, b, g) if self.needs(0) else None
            db = conv_pass(self.job, CONV_FORWARD, a, g) if self.needs(1) else None
        if len(self.edges) == 2:
            return da, db
        if self.needs(2):
            dbias = scaled_sum(g, 0b1101, False, 1)
        return da, db, dbias


cdef Tensor conv_pass(ConvJob& geometry, int which, Tensor a, Tensor b, Tensor bias=None, int activation=COPY,
                      Tensor residual=None):
    """A pass on tensors of one float type, recorded where an argument needs a gradient; with a residual there is none."""
    cdef ConvJob job = geometry
    cdef ConvNode node
    cdef Tensor out
    cdef bint needed = grad_enabled() and (a.needs_grad or b.needs_grad or (bias is not None and bias.needs_grad))
    job.pass_ = which
    job.activation = activation
    out = wrap(conv_array(job, a.array, b.array, None if bias is None else bias.array,
                          None if which == CONV_WEIGHT or needed else usable_packed(b),
                          None if residual is None else residual.array))
    if not needed:
        return out
    node = ConvNode.__new__(ConvNode)
    node.job = job
    node.save(a, b)
    if activation != COPY:
        node.keep(out, out.array)
    return <Tensor>attach(out, node, (edge(a), edge(b)) if bias is None else (edge(a), edge(b), edge(bias)))
