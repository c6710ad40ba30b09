# Pooling of images (N, C, H, W) and sequences (N, C, L): the latter as images of one row. Each kernel is linear once the
# taps of a max pool are known, and comes with its adjoint: the backward of one is the other, to any order.

cdef enum:
    MAX_PICK, MAX_SPREAD, AVG, AVG_SPREAD  # the adjoint of which is which ^ 1


@cython.final
@cython.no_gc
cdef class Windows:
    """Where the windows of one pool lie, and the numbers of the greatest taps where they are kept."""
    cdef PoolJob job
    cdef Block tap


cdef tuple pair_of(str name, object value, bint one):
    """(rows, columns) of a number or a pair; of a number or a 1-tuple where there is one dimension: `one`."""
    cdef tuple both = sizes(value)
    if one and len(both) == 1:
        return (None,) + both
    if not one and len(both) <= 2 and len(both):
        return both if len(both) == 2 else both + both
    raise ValueError(f"{name} is {value!r}; expected {'one number' if one else 'one number or two'}")


cdef i64 bounded(object n, i64 otherwise) except? -1:
    """n as the planner takes it: what is out of every range becomes -1, which it refuses. None is `otherwise`."""
    if n is None:
        return otherwise
    return n if -1 <= n <= MOST_PIXELS else -1


cdef PoolAxis axis_of_pool(npy_intp size, object kernel, object stride, object padding, object dilation):
    cdef PoolAxis axis
    axis.size, axis.out = size, 0
    axis.kernel, axis.stride = bounded(kernel, 1), bounded(stride, 1)
    axis.padding, axis.dilation = bounded(padding, 0), bounded(dilation, 1)
    return axis


cdef Windows windows_of(str name, ndarray x, bint one, kernel_size, stride, padding, dilation, bint ceil_mode):
    """The windows over images x (N, C, H, W); `one`: over its columns alone."""
    cdef Windows windows = Windows.__new__(Windows)
    cdef tuple k = pair_of(f"{name}: kernel_size", kernel_size, one)
    cdef tuple s = k if stride is None else pair_of(f"{name}: stride", stride, one)
    cdef tuple p = pair_of(f"{name}: padding", padding, one), d = pair_of(f"{name}: dilation", dilation, one)
    cdef const char* wrong
    windows.job.tap = NULL
    windows.job.count_include_pad = False
    windows.job.divisor = 0
    windows.job.rows = axis_of_pool(cnp.PyArray_DIM(x, 2), k[0], s[0], p[0], d[0])
    windows.job.cols = axis_of_pool(cnp.PyArray_DIM(x, 3), k[1], s[1], p[1], d[1])
    wrong = plan_pool(windows.job, ceil_mode)
    if wrong != NULL:
        raise ValueError(f"{name}: {(<bytes>wrong).decode()}; kernel_size is {kernel_size}, stride {stride}, padding "
                         f"{padding}, dilation {dilation}, the images {shape_of(x)[3 if one else 2:]}")
    return windows


cdef Windows adaptive_windows_of(str name, ndarray x, bint one, output_size):
    cdef Windows windows = Windows.__new__(Windows)
    cdef const char* wrong
    if output_size is None:
        output_size = (None,) * (2 - one)
    if isinstance(output_size, (tuple, list)) and len(output_size) == 2 - one:
        output_size = tuple([cnp.PyArray_DIM(x, 2 + one + i) if output_size[i] is None else output_size[i]
                             for i in range(2 - one)])
    cdef tuple out = pair_of(f"{name}: output_size", output_size, one)
    windows.job.tap = NULL
    windows.job.count_include_pad = False
    windows.job.divisor = 0
    windows.job.rows.size, windows.job.cols.size = cnp.PyArray_DIM(x, 2), cnp.PyArray_DIM(x, 3)
    windows.job.rows.out, windows.job.cols.out = bounded(out[0], 1), bounded(out[1], 1)
    wrong = plan_adaptive_pool(windows.job)
    if wrong != NULL:
        raise ValueError(f"{name}: {(<bytes>wrong).decode()}; output_size is {output_size}, the images "
                         f"{shape_of(x)[3 if one else 2:]}")
    return windows


cdef Tensor images_of(str name, object x, bint one):
    """x as floating images (N, C, H, W); `one`: from (N, C, L). One image may come without N."""
    cdef Tensor t = floating(x)
    cdef int nd = cnp.PyArray_NDIM(t.array), dims = 3 if one else 4
    if nd != dims and nd != dims - 1:
        raise ValueError(f"{name}: x is {shape_of(t.array)}; expected "
                         f"{'(N, C, L) or (C, L)' if one else '(N, C, H, W) or (C, H, W)'}")
    if nd == dims - 1:
        t = unsqueeze(t, 0)
    return unsqueeze(t, 2) if one else t


cdef Tensor as_given(Tensor y, object x, bint one):
    """y in the number of dimensions that x had before images_of."""
    if one:
        y = squeeze(y, 2)
    return squeeze(y, 0) if cnp.PyArray_NDIM(as_tensor(x).array) == (2 if one else 3) else y


cdef double window_cost(PoolJob& job) noexcept:
    """Nanoseconds for a row of y, about."""
    cdef double rows = job.rows.kernel if job.rows.kernel < job.rows.size else job.rows.size
    cdef double cols = job.cols.kernel if job.cols.kernel < job.cols.size else job.cols.size
    return 0.1 * (rows * cols + 2) * job.cols.out * job.channels


cdef ndarray pool_array(RangeFunction kernel, PoolJob* job, bint back, ndarray x, Block tap):
    """y of x, or dx of dy where `back`. Several threads may share the windows: the job is a copy."""
    cdef npy_intp[4] dims
    cdef ndarray out
    cdef double cost
    x = channels_last(x)
    dims[0], dims[1] = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    dims[2] = job.rows.size if back else job.rows.out
    dims[3] = job.cols.size if back else job.cols.out
    out = new_images(4, dims, cnp.PyArray_TYPE(x))
    job.images, job.channels = dims[0], dims[1]
    job.out, job.in_ = cnp.PyArray_DATA(out), cnp.PyArray_DATA(x)
    job.tap = NULL if tap is None else tap.memory
    cost = window_cost(job[0])
    if back:
        cost = cost * job.rows.out / job.rows.size
    if cnp.PyArray_SIZE(out):
        run(kernel, job, dims[0] * dims[2], cost)
    return out


cdef class PoolNode(Node):
    """saved is the Windows, alpha the kernel that is the adjoint of the one that ran."""
    cdef tuple backward(self, Value dy):
        return (pooled(<int>self.alpha, <Windows>self.saved, <Tensor>dy),)


cdef Tensor pooled(int which, Windows windows, Tensor x):
    """One of the linear kernels over images that fit its windows."""
    cdef const Kernels* table = runtime.table[kind(x.array)]
    cdef PoolJob job = windows.job
    cdef bint back = which == MAX_SPREAD or which == AVG_SPREAD
    cdef npy_intp h = job.rows.out if back else job.rows.size, w = job.cols.out if back else job.cols.size
    cdef RangeFunction kernel = <RangeFunction>table.avg_pool
    cdef Tensor out
    if cnp.PyArray_NDIM(x.array) != 4 or cnp.PyArray_DIM(x.array, 2) != h or cnp.PyArray_DIM(x.array, 3) != w or (
            windows.tap is not None and cnp.PyArray_SIZE(x.array) != job.images * job.channels * h * w):
        raise ValueError(f"backward of a pool: a gradient of shape {shape_of(x.array)}; expected (N, C, {h}, {w})")
    if which == MAX_PICK:
        kernel = <RangeFunction>table.max_pool_pick
    elif which == MAX_SPREAD:
        kernel = <RangeFunction>table.max_pool_backward
    elif which == AVG_SPREAD:
        kernel = <RangeFunction>table.avg_pool_backward
    out = wrap(pool_array(kernel, &job, back, x.array, windows.tap))
    return pool_attached(out, which, windows, x) if recorded(x) else out


cdef Tensor pool_attached(Tensor out, int which, Windows windows, Tensor x):
    cdef PoolNode node = PoolNode.__new__(PoolNode)
    node.saved, node.alpha = windows, which ^ 1
    attach(out, node, (edge(x),))
    return out


cdef Tensor max_pooled(Windows windows, Tensor x, bint keep):
    """keep: the taps are kept, for the backward or to be shown."""
    cdef Tensor out
    cdef size_t bytes
    cdef PoolJob job = windows.job
    if keep or recorded(x):
        bytes = job.rows.out * job.cols.out * cnp.PyArray_DIM(x.array, 0) * cnp.PyArray_DIM(x.array, 1)
        windows.tap = Block.__new__(Block)
        windows.tap.memory = runtime.allocate((bytes if byte_taps(job) else 4 * bytes) + 1)
        if windows.tap.memory == NULL:
            raise MemoryError(f"max_pool: no memory for the taps of {bytes:,} windows")
    out = wrap(pool_array(<RangeFunction>runtime.table[kind(x.array)].max_pool, &job, False, x.array, windows.tap))
    windows.job.images, windows.job.channels = job.images, job.channels
    return pool_attached(out, MAX_PICK, windows, x) if recorded(x) else out


cdef ndarray first_pixels(PoolAxis axis, bint adaptive):
    """Where the windows of an axis begin."""
    if adaptive:
        return np.arange(axis.out) * axis.size // axis.out
    return np.arange(axis.out) * axis.stride - axis.padding


cdef Tensor tap_indices(Windows windows):
    """Where in its image, h * W + w, each kept tap lies: int64 (N, C, OH, OW)."""
    cdef PoolJob job = windows.job
    cdef npy_intp[4] dims = [job.images, job.rows.out, job.cols.out, job.channels]
    cdef int type_num = cnp.NPY_UINT8 if byte_taps(job) else cnp.NPY_INT32
    cdef ndarray tap = new_ndarray(&PyArray_Type, 4, dims, type_num, NULL, windows.tap.memory, 0, cnp.NPY_ARRAY_CARRAY,
                                   NULL)
    row, col = np.divmod(tap.astype(np.int64), job.cols.kernel)
    row = row * job.rows.dilation + first_pixels(job.rows, job.adaptive)[:, None, None]
    col = col * job.cols.dilation + first_pixels(job.cols, job.adaptive)[:, None]
    return wrap((row * job.cols.size + col).transpose(0, 3, 1, 2))


cdef object max_pool_of(Windows windows, Tensor images, object x, bint one, bint return_indices):
    cdef Tensor y = as_given(max_pooled(windows, images, return_indices), x, one)
    return (y, as_given(tap_indices(windows), x, one)) if return_indices else y


# ----- max -----

def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, bint ceil_mode=False, bint return_indices=False):
    """The greatest value of every window of a sequence; see `max_pool2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.max_pool1d(fnn.tensor([[1.0, 5.0, 2.0, 3.0]]), 2)
    tensor([[5., 3.]])
    """
    cdef Tensor images = images_of("max_pool1d", x, True)
    return max_pool_of(windows_of("max_pool1d", images.array, True, kernel_size, stride, padding, dilation, ceil_mode),
                       images, x, True, return_indices)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, bint ceil_mode=False, bint return_indices=False):
    """The greatest value of every window of an image.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, dilation : int or (int, int)
        Rows and columns of the window; from one window to the next (kernel_size by default); around the image, which
        never wins; from one tap to the next.
    ceil_mode : bool
        Whether a last window may reach beyond the padded image.
    return_indices : bool
        Whether to return (y, indices), the latter counting the pixels of an image row by row.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)
        ``OH = (H + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1``. The gradient goes to the first of
        equals; NaN wins.

    Raises
    ------
    ValueError
        For a padding above half the kernel, a window larger than the padded image or one without a pixel.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.max_pool2d(fnn.tensor([[[1.0, 5.0], [2.0, 3.0]]]), 2)
    tensor([[[5.]]])
    """
    cdef Tensor images = images_of("max_pool2d", x, False)
    return max_pool_of(windows_of("max_pool2d", images.array, False, kernel_size, stride, padding, dilation, ceil_mode),
                       images, x, False, return_indices)


def adaptive_max_pool1d(x, output_size, bint return_indices=False):
    """The greatest values of output_size windows that cover a sequence (N, C, L) or (C, L) evenly.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.adaptive_max_pool1d(fnn.tensor([[1.0, 5.0, 2.0]]), 2)
    tensor([[5., 5.]])
    """
    cdef Tensor images = images_of("adaptive_max_pool1d", x, True)
    return max_pool_of(adaptive_windows_of("adaptive_max_pool1d", images.array, True, output_size), images, x, True,
                       return_indices)


def adaptive_max_pool2d(x, output_size, bint return_indices=False):
    """The greatest values of output_size windows that cover an image (N, C, H, W) or (C, H, W) evenly.

    Window q of an axis goes from ``floor(q * H / OH)`` up to ``ceil((q + 1) * H / OH)``. output_size is a number or a
    pair; None keeps the size of that axis.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.adaptive_max_pool2d(fnn.tensor([[[1.0, 5.0], [2.0, 3.0]]]), 1)
    tensor([[[5.]]])
    """
    cdef Tensor images = images_of("adaptive_max_pool2d", x, False)
    return max_pool_of(adaptive_windows_of("adaptive_max_pool2d", images.array, False, output_size), images, x, False,
                       return_indices)


# ----- average -----

cdef Tensor avg_pool_of(str name, object x, bint one, kernel_size, stride, padding, bint ceil_mode,
                        bint count_include_pad, divisor_override):
    cdef Tensor images = images_of(name, x, one)
    cdef Windows windows = windows_of(name, images.array, one, kernel_size, stride, padding, 1, ceil_mode)
    windows.job.count_include_pad = count_include_pad
    if divisor_override is not None:
        divisor = whole(f"{name}: divisor_override", divisor_override)
        if divisor == 0 or not -MOST_PIXELS <= divisor <= MOST_PIXELS:
            raise ValueError(f"{name}: divisor_override is {divisor}; expected not 0 and less than 2**31")
        windows.job.divisor = divisor
    return as_given(pooled(AVG, windows, images), x, one)


cpdef Tensor avg_pool1d(x, kernel_size, stride=None, padding=0, bint ceil_mode=False, bint count_include_pad=True):
    """The mean of every window of a sequence (N, C, L) or (C, L); see `avg_pool2d`.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.avg_pool1d(fnn.tensor([[1.0, 5.0, 2.0, 4.0]]), 2)
    tensor([[3., 3.]])
    """
    return avg_pool_of("avg_pool1d", x, True, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


cpdef Tensor avg_pool2d(x, kernel_size, stride=None, padding=0, bint ceil_mode=False, bint count_include_pad=True,
                        divisor_override=None):
    """The mean of every window of an image.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding : int or (int, int)
        Rows and columns of the window; from one window to the next (kernel_size by default); zeros around the image.
    ceil_mode : bool
        Whether a last window may reach beyond the padded image.
    count_include_pad : bool
        Whether the divisor counts the padding.
    divisor_override : int, optional
        The divisor of every window.

    Returns
    -------
    Tensor, shape (N, C, OH, OW)

    Raises
    ------
    ValueError
        For a padding above half the kernel, or a window larger than the padded image.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.avg_pool2d(fnn.tensor([[[1.0, 5.0], [2.0, 4.0]]]), 2)
    tensor([[[3.]]])
    """
    return avg_pool_of("avg_pool2d", x, False, kernel_size, stride, padding, ceil_mode, count_include_pad,
                       divisor_override)


cpdef Tensor adaptive_avg_pool1d(x, output_size):
    """The means of output_size windows that cover a sequence (N, C, L) or (C, L) evenly.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.adaptive_avg_pool1d(fnn.tensor([[1.0, 5.0, 3.0]]), 1)
    tensor([[3.]])
    """
    cdef Tensor images = images_of("adaptive_avg_pool1d", x, True)
    cdef Windows windows = adaptive_windows_of("adaptive_avg_pool1d", images.array, True, output_size)
    return as_given(pooled(AVG, windows, images), x, True)


cpdef Tensor adaptive_avg_pool2d(x, output_size):
    """The means of output_size windows that cover an image (N, C, H, W) or (C, H, W) evenly; 1 is global pooling.

    Window q of an axis goes from ``floor(q * H / OH)`` up to ``ceil((q + 1) * H / OH)``. output_size is a number or a
    pair; None keeps the size of that axis.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.adaptive_avg_pool2d(fnn.tensor([[[1.0, 5.0], [2.0, 4.0]]]), 1)
    tensor([[[3.]]])
    """
    cdef Tensor images = images_of("adaptive_avg_pool2d", x, False)
    cdef Windows windows = adaptive_windows_of("adaptive_avg_pool2d", images.array, False, output_size)
    return as_given(pooled(AVG, windows, images), x, False)
