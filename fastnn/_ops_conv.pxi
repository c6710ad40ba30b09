# Convolutions and transposed ones, of images and of sequences, and how exact they are.

cdef bint conv_strict = False


def set_precision(str precision not None):
    """How convolutions that do not say themselves are computed, in the whole process.

    Parameters
    ----------
    precision : {"fast", "strict"}
        "fast" may take Winograd's algorithm for kernels of 3 x 3, 5 x 5 and, of stride 2, 7 x 7: up to four times fewer
        multiplications, at up to eight times the rounding error, relative to the largest values of a 6 x 6 neighbourhood (12
        x 12 of 7 x 7); Inf and NaN spread over such a neighbourhood. "strict" makes every product of the definition.

    Raises
    ------
    ValueError
        For another word.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.set_precision("strict")
    >>> fnn.get_precision()
    'strict'
    >>> fnn.set_precision("fast")
    """
    global conv_strict
    conv_strict = strict_of("set_precision", precision)


def get_precision():
    """What `set_precision` set; "fast" at first.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.get_precision()
    'fast'
    """
    return "strict" if conv_strict else "fast"


cdef bint strict_of(str name, object precision) except -1:
    if precision is None:
        return conv_strict
    if precision == "fast" or precision == "strict":
        return precision == "strict"
    raise ValueError(f"{name}: precision must be 'fast', 'strict' or None, got {precision!r}")


cdef tuple conv_arguments(str name, object x, object weight, object bias, int spatial, bint transposed):
    """The three as Tensors of one float type: images (N, C, ...), weight, and a bias that fits or None."""
    cdef Tensor t = as_tensor(x), w = as_tensor(weight), b = None if bias is None else as_tensor(bias)
    cdef int type_num
    images = "(N, C, H, W)" if spatial == 2 else "(N, C, L)"
    if cnp.PyArray_NDIM(t.array) != spatial + 2 or cnp.PyArray_NDIM(w.array) != spatial + 2:
        raise ValueError(f"{name}: x is {shape_of(t.array)}, weight is {shape_of(w.array)}; expected {images} and "
                         f"{'(in, out / groups, ' if transposed else '(out, in / groups, '}"
                         f"{'kh, kw)' if spatial == 2 else 'k)'}")
    if b is not None and cnp.PyArray_NDIM(b.array) != 1:
        raise ValueError(f"{name}: bias is {shape_of(b.array)}; expected one number for each channel of the output")
    if kind(t.array) < 0 or kind(t.array) != kind(w.array) or (b is not None and kind(b.array) != kind(t.array)):
        type_num = common_type(t.array, w.array)
        type_num = cnp.NPY_DOUBLE if b is not None and kind(b.array) == F64 else type_num
        t, w, b = cast(t, type_num), cast(w, type_num), None if b is None else cast(b, type_num)
    return t, w, b


cdef int output_size(str name, i64 n, i64 before, i64 after, i64 kernel, i64 dilation, i64 stride, i64* out) except -1:
    cdef i64 reach = dilation * (kernel - 1) + 1
    if n + before + after < reach:
        raise ValueError(f"{name}: the kernel reaches over {reach}, the input with its padding is {n + before + after}")
    out[0] = (n + before + after - reach) // stride + 1
    return 0


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, activation=None, max_pool=False,
           precision=None, residual=None):
    """Convolution (cross-correlation, as everywhere in the field): the kernel slides over the image.

    ``y[n, f, p, q] = act(bias[f] + sum over c, i, j of x[n, c, p * stride - padding + i * dilation, ...] *
    weight[f, c, i, j])``, with zeros outside x.

    Parameters
    ----------
    x : Tensor (N, C, H, W), or one image (C, H, W)
        Fastest where its memory is channels-last (N, H, W, C), as that of a picture whose axes were permuted, and as all images
        are that come out of here; anything else is copied once.
    weight : Tensor (F, C / groups, kh, kw)
    bias : Tensor (F,), optional
    stride, dilation : int or two
    padding : int, two, ((top, bottom), (left, right)), "same" or "valid"
    groups : int
        Channels and filters in so many groups that do not see one another; groups = C is a depthwise convolution.
    activation : {None, "relu", "relu6", "tanh", "sigmoid", "gelu", "silu", "hardswish"}
        "relu" and "relu6" are applied while the sums are still in registers, where nothing is recorded the others too with
        a kernel of one pixel.
    max_pool : bool
        Whether the greatest of each 2 x 2 of the output is wanted, as by ``max_pool2d(y, 2)``. Where nothing is recorded, that
        is mostly done before the output leaves the cache.
    precision : {None, "fast", "strict"}
        "strict" keeps this call from Winograd's algorithm, see `set_precision`, whose word None takes.
    residual : Tensor (N, F, H', W'), or (F, H', W') with one image, optional
        What is added before the activation, as in a residual network's block; in registers where nothing is recorded.

    Returns
    -------
    Tensor (N, F, H', W'), or (F, H', W') of one image
        H' = (H + padding - dilation * (kh - 1) - 1) // stride + 1, W' likewise; its memory is channels-last.

    Raises
    ------
    ValueError, TypeError
        Where shapes do not fit, the kernel is larger than the padded image, or a number is out of range.

    References
    ----------
    Lavin, Gray, "Fast algorithms for convolutional neural networks", 2016, where "fast" takes Winograd's.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.arange(9.0).reshape(1, 1, 3, 3)
    >>> fnn.nn.functional.conv2d(x, fnn.ones(1, 1, 2, 2)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    cdef Tensor t = as_tensor(x)
    cdef int act = activation_of("conv2d", activation)
    if cnp.PyArray_NDIM(t.array) == 3:
        residual = None if residual is None else unsqueeze(residual, 0)
        return squeeze(convolved(unsqueeze(t, 0), weight, bias, stride, padding, dilation, groups, act, max_pool, precision,
                                 residual), 0)
    return convolved(t, weight, bias, stride, padding, dilation, groups, act, max_pool, precision, residual)


cdef class BoundConv2d:
    """`conv2d` with everything but tensors bound. A plan calls it: ten arguments by name take as long as the rest of a call.

    Examples
    --------
    >>> import fastnn as fnn
    >>> from fastnn._ops_images import BoundConv2d
    >>> half = BoundConv2d((2, 2), 0, 1, 1, "relu")
    >>> half(fnn.ones(1, 1, 4, 4), fnn.ones(1, 1, 1, 1)).shape
    (1, 1, 2, 2)
    """
    cdef object stride, padding, dilation, groups
    cdef int activation
    cdef bint max_pool

    def __init__(self, stride, padding, dilation, groups, activation=None, max_pool=False):
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.activation, self.max_pool = activation_of("conv2d", activation), max_pool

    def __call__(self, x, weight, bias=None, residual=None, /):
        return convolved(x, weight, bias, self.stride, self.padding, self.dilation, self.groups, self.activation, self.max_pool,
                         None, residual)


cdef Tensor convolved(object x, object weight, object bias, object stride, object padding, object dilation, object groups,
                      int act, bint max_pool, object precision, object residual):
    cdef Tensor t, w, b, out, r = None if residual is None else as_tensor(residual)
    cdef ConvJob job
    cdef bint needed
    t, w, b = conv_arguments("conv2d", x, weight, bias, 2, False)
    conv2d_geometry("conv2d", t, w, stride, padding, dilation, groups, precision, &job)
    if b is not None and cnp.PyArray_DIM(b.array, 0) != job.f:
        raise ValueError(f"conv2d: bias is {shape_of(b.array)}; expected ({job.f},)")
    needed = grad_enabled() and (t.needs_grad or w.needs_grad or (b is not None and b.needs_grad))
    if r is not None:
        if can_activate(job, act, needed) and not (needed or max_pool or (grad_enabled() and r.needs_grad)) \
                and can_add(job, r, kind(t.array)):
            return conv_pass(job, CONV_FORWARD, t, w, b, act, r)
        out = activated(act, add(conv_pass(job, CONV_FORWARD, t, w, b), r))
        return max_pool2d(out, 2) if max_pool else out
    if max_pool and needed and limits(act):  # they commute, gradients too, and ReLU is a quarter of the work behind the pool
        return limited(act, max_pool2d(conv_pass(job, CONV_FORWARD, t, w, b), 2))
    job.pool = max_pool and (act == COPY or limits(act)) and not needed and can_pool(job, kind(t.array))
    if can_activate(job, act, needed):
        out = conv_pass(job, CONV_FORWARD, t, w, b, act)
    else:
        out = activated(act, conv_pass(job, CONV_FORWARD, t, w, b))
    if max_pool and not job.pool:
        return max_pool2d(out, 2)
    return out


cdef int conv2d_geometry(str name, Tensor x, Tensor weight, object stride, object padding, object dilation, object groups,
                         object precision, ConvJob* job) except -1:
    """Fills job from shapes and numbers, all checked."""
    cdef i64[2] before, after
    memset(job, 0, sizeof(ConvJob))
    numbers_of(name, weight, stride, padding, dilation, groups, job, before, after)
    job.batch, job.c = cnp.PyArray_DIM(x.array, 0), cnp.PyArray_DIM(x.array, 1)
    job.h, job.w, job.f = cnp.PyArray_DIM(x.array, 2), cnp.PyArray_DIM(x.array, 3), cnp.PyArray_DIM(weight.array, 0)
    if job.c % job.groups or job.f % job.groups or job.c // job.groups != cnp.PyArray_DIM(weight.array, 1):
        raise ValueError(f"{name}: x is {shape_of(x.array)}, weight is {shape_of(weight.array)}, groups is {job.groups}; "
                         f"expected (N, C, H, W) and (F, C / groups, kh, kw), C and F multiples of groups")
    output_size(name, job.h, before[0], after[0], job.kh, job.dilation_h, job.stride_h, &job.oh)
    output_size(name, job.w, before[1], after[1], job.kw, job.dilation_w, job.stride_w, &job.ow)
    job.pad_h, job.pad_w = before[0], before[1]
    job.strict = strict_of(name, precision)
    return 0


def conv2d_backward(dy, x, weight, stride=1, padding=0, dilation=1, groups=1, *, precision=None):
    """The gradients of `conv2d` to x, weight and bias from that of its output, (dx, dweight, dbias), not recorded.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`, and where dy has not the shape of its output.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x, w = fnn.ones(1, 1, 3, 3), fnn.ones(1, 1, 2, 2)
    >>> dx, dw, db = fnn.nn.functional.conv2d_backward(fnn.ones(1, 1, 2, 2), x, w)
    >>> dx.tolist(), db.tolist()
    ([[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]], [4.0])
    """
    cdef Tensor t, w, g
    cdef ConvJob job
    cdef bint before = set_grad_enabled(False)
    try:
        t, w, _ = conv_arguments("conv2d_backward", x, weight, None, 2, False)
        conv2d_geometry("conv2d_backward", t, w, stride, padding, dilation, groups, precision, &job)
        g = cast(as_tensor(dy), cnp.PyArray_TYPE(t.array))
        if shape_of(g.array) != (job.batch, job.f, job.oh, job.ow):
            raise ValueError(f"conv2d_backward: dy is {shape_of(g.array)}; expected {job.batch, job.f, job.oh, job.ow}")
        return conv_pass(job, CONV_INPUT, g, w), conv_pass(job, CONV_WEIGHT, t, g), scaled_sum(g, 0b1101, False, 1)
    finally:
        set_grad_enabled(before)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                              activation=None, precision=None):
    """Transposed convolution: the gradient of `conv2d` with respect to its input, as a layer. Stride 2 doubles an image.

    Parameters
    ----------
    x : Tensor (N, C, H, W), or one image (C, H, W)
    weight : Tensor (C, F / groups, kh, kw)
    bias : Tensor (F,), optional
    stride, dilation : int or two
    padding : int, two, or ((top, bottom), (left, right))
        What is cut from the output.
    output_padding : int or two
        Rows and columns more at the end, fewer than stride or dilation.
    groups : int
    activation, precision
        As in `conv2d`.

    Returns
    -------
    Tensor (N, F, H', W'), or (F, H', W') of one image
        H' = (H - 1) * stride - 2 * padding + dilation * (kh - 1) + output_padding + 1.

    Raises
    ------
    ValueError, TypeError
        Where shapes do not fit, nothing is left of the output, or a number is out of range.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.ones(1, 1, 2, 2)
    >>> fnn.nn.functional.conv_transpose2d(x, fnn.ones(1, 1, 2, 2), stride=2).shape
    (1, 1, 4, 4)
    """
    cdef Tensor t, w, b, out
    cdef ConvJob job
    cdef i64[2] before, after, more
    cdef int act = activation_of("conv_transpose2d", activation)
    t = as_tensor(x)
    if cnp.PyArray_NDIM(t.array) == 3:
        return squeeze(conv_transpose2d(unsqueeze(t, 0), weight, bias, stride, padding, output_padding, groups, dilation,
                                        activation=activation, precision=precision), 0)
    t, w, b = conv_arguments("conv_transpose2d", t, weight, bias, 2, True)
    memset(&job, 0, sizeof(ConvJob))
    if isinstance(padding, str):
        raise TypeError(f"conv_transpose2d: padding must be numbers, got {padding!r}")
    numbers_of("conv_transpose2d", w, stride, padding, dilation, groups, &job, before, after)
    conv_pair("conv_transpose2d", "output_padding", output_padding, 0, more)
    if ((more[0] >= job.stride_h and more[0] >= job.dilation_h and more[0])
            or (more[1] >= job.stride_w and more[1] >= job.dilation_w and more[1])):
        raise ValueError(f"conv_transpose2d: output_padding {more[0], more[1]} must be less than stride or dilation")
    job.batch, job.f = cnp.PyArray_DIM(t.array, 0), cnp.PyArray_DIM(t.array, 1)
    job.oh, job.ow = cnp.PyArray_DIM(t.array, 2), cnp.PyArray_DIM(t.array, 3)
    if job.f % job.groups or job.f != cnp.PyArray_DIM(w.array, 0):
        raise ValueError(f"conv_transpose2d: x is {shape_of(t.array)}, weight is {shape_of(w.array)}, groups is {job.groups}; "
                         f"expected (N, C, H, W) and (C, F / groups, kh, kw), C a multiple of groups")
    if cnp.PyArray_DIM(w.array, 1) > (1 << 62) // job.groups:
        raise ValueError(f"conv_transpose2d: {job.groups} groups of {cnp.PyArray_DIM(w.array, 1)} filters are too many")
    job.c = cnp.PyArray_DIM(w.array, 1) * job.groups
    if b is not None and cnp.PyArray_DIM(b.array, 0) != job.c:
        raise ValueError(f"conv_transpose2d: bias is {shape_of(b.array)}; expected ({job.c},)")
    transposed_size(job.oh, job.stride_h, before[0] + after[0], job.dilation_h * (job.kh - 1) + 1 + more[0], &job.h)
    transposed_size(job.ow, job.stride_w, before[1] + after[1], job.dilation_w * (job.kw - 1) + 1 + more[1], &job.w)
    job.pad_h, job.pad_w = before[0], before[1]
    job.strict = strict_of("conv_transpose2d", precision)
    out = conv_pass(job, CONV_INPUT, t, w, b, act if limits(act) else COPY)
    return out if limits(act) else activated(act, out)


cdef int transposed_size(i64 n, i64 stride, i64 pads, i64 reach, i64* size) except -1:
    if n == 0 or (n - 1) > ((1 << 62) - reach) // stride:
        raise ValueError(f"conv_transpose2d: an input of {n} pixels at stride {stride} has no output that fits a tensor")
    size[0] = (n - 1) * stride + reach - pads
    if size[0] < 1:
        raise ValueError(f"conv_transpose2d: the padding of {pads} leaves nothing of an output of {size[0] + pads}")
    return 0


cdef object last_axis(object value):
    """A number for the one axis of a sequence, as those for the two of an image that is one pixel high."""
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value


cdef object flat_pads(object padding):
    if isinstance(padding, (tuple, list)) and len(padding) == 2:
        return ((0, 0), tuple(padding))
    return padding if isinstance(padding, str) else (0, last_axis(padding))


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, activation=None, precision=None):
    """Convolution over sequences: `conv2d` of images one pixel high.

    Parameters
    ----------
    x : Tensor (N, C, L), or one sequence (C, L)
    weight : Tensor (F, C / groups, k)
    bias : Tensor (F,), optional
    stride, dilation : int
    padding : int, (before, after), "same" or "valid"
    groups, activation, precision
        As in `conv2d`.

    Returns
    -------
    Tensor (N, F, L'), or (F, L') of one sequence

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.conv1d(fnn.arange(4.0).reshape(1, 1, 4), fnn.tensor([[[-1.0, 1.0]]])).tolist()
    [[[1.0, 1.0, 1.0]]]
    """
    cdef Tensor t = as_tensor(x), w, b
    if cnp.PyArray_NDIM(t.array) == 2:
        return squeeze(conv1d(unsqueeze(t, 0), weight, bias, stride, padding, dilation, groups, activation=activation,
                              precision=precision), 0)
    t, w, b = conv_arguments("conv1d", t, weight, bias, 1, False)
    return squeeze(conv2d(unsqueeze(t, 2), unsqueeze(w, 2), b, (1, last_axis(stride)), flat_pads(padding),
                          (1, last_axis(dilation)), groups, activation=activation, precision=precision), 2)


def conv_transpose1d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *,
                              activation=None, precision=None):
    """Transposed convolution over sequences: `conv_transpose2d` of images one pixel high.

    Parameters
    ----------
    x : Tensor (N, C, L), or one sequence (C, L)
    weight : Tensor (C, F / groups, k)

    Returns
    -------
    Tensor (N, F, L'), or (F, L') of one sequence

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.conv_transpose1d(fnn.ones(1, 1, 2), fnn.ones(1, 1, 2), stride=2).tolist()
    [[[1.0, 1.0, 1.0, 1.0]]]
    """
    cdef Tensor t = as_tensor(x), w, b
    if cnp.PyArray_NDIM(t.array) == 2:
        return squeeze(conv_transpose1d(unsqueeze(t, 0), weight, bias, stride, padding, output_padding, groups, dilation,
                                        activation=activation, precision=precision), 0)
    t, w, b = conv_arguments("conv_transpose1d", t, weight, bias, 1, True)
    return squeeze(conv_transpose2d(unsqueeze(t, 2), unsqueeze(w, 2), b, (1, last_axis(stride)), flat_pads(padding),
                                    (0, last_axis(output_padding)), groups, (1, last_axis(dilation)),
                                    activation=activation, precision=precision), 2)
