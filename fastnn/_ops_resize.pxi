# Up- and down-sampling, and the pixel shuffle. Resampling is linear; its backward is the adjoint kernel, whose backward
# is resampling.

@cython.final
cdef class Sampling:
    """From which pixels every output comes, forwards and back."""
    cdef ResizeJob job
    cdef ResizeTables rows, cols


cdef class ResizeNode(Node):
    """saved is the Sampling, alpha 1 for the adjoint."""
    cdef tuple backward(self, Value dy):
        return (resampled(<Sampling>self.saved, <Tensor>dy, not self.alpha),)


cdef Tensor resampled(Sampling sampling, Tensor x, bint back):
    cdef ResizeJob job = sampling.job
    cdef npy_intp h = job.rows.out if back else job.rows.size, w = job.cols.out if back else job.cols.size
    cdef npy_intp[4] dims
    cdef ndarray a, out
    cdef ResizeNode node
    cdef Tensor y
    if cnp.PyArray_NDIM(x.array) != 4 or cnp.PyArray_DIM(x.array, 2) != h or cnp.PyArray_DIM(x.array, 3) != w:
        raise ValueError(f"backward of interpolate: a gradient of shape {shape_of(x.array)}; expected (N, C, {h}, {w})")
    a = channels_last(x.array)
    dims[0], dims[1] = cnp.PyArray_DIM(a, 0), cnp.PyArray_DIM(a, 1)
    dims[2] = job.rows.size if back else job.rows.out
    dims[3] = job.cols.size if back else job.cols.out
    out = new_images(4, dims, cnp.PyArray_TYPE(a))
    job.images, job.channels = dims[0], dims[1]
    job.out, job.in_ = cnp.PyArray_DATA(out), cnp.PyArray_DATA(a)
    if cnp.PyArray_SIZE(out):
        run(<RangeFunction>(runtime.table[kind(a)].resize_backward if back else runtime.table[kind(a)].resize), &job,
            dims[0] * dims[2], 0.3 * (w if w > dims[3] else dims[3]) * dims[1])
    y = wrap(out)
    if recorded(x):
        node = ResizeNode.__new__(ResizeNode)
        node.saved, node.alpha = sampling, back
        attach(y, node, (edge(x),))
    return y


cdef tuple output_sizes(tuple given, object size, object scale_factor):
    """The sizes that images of the given ones are brought to, and the scale factors (0: what the sizes say)."""
    cdef list out = [], factors
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: expected either size or scale_factor; got {size!r} and {scale_factor!r}")
    if size is not None:
        size = sizes(size)
        size = size * len(given) if len(size) == 1 else size
        if len(size) != len(given) or builtins.any([not 1 <= n <= MOST_PIXELS for n in size]):
            raise ValueError(f"interpolate: size is {size}; expected 1 to 2**31 - 1 for each of {len(given)} "
                             f"dimensions")
        return size, (0.0,) * len(given)
    factors = list(scale_factor) if isinstance(scale_factor, (tuple, list)) else [scale_factor] * <int>len(given)
    if len(factors) != len(given):
        raise ValueError(f"interpolate: scale_factor is {scale_factor!r}; expected one for each of {len(given)} "
                         f"dimensions")
    factors = [float(f) for f in factors]
    for f, n in zip(factors, given):
        if not (f > 0 and 1 <= n * f <= MOST_PIXELS):
            raise ValueError(f"interpolate: scale_factor {f} makes {n * f} pixels of {n}; expected 1 to 2**31 - 1")
        out.append(int(n * f))
    return tuple(out), tuple(factors)


cpdef Tensor interpolate(x, size=None, scale_factor=None, str mode="nearest", align_corners=None,
                         recompute_scale_factor=None):
    """Images or sequences in another size.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W) or (N, C, L)
    size : int or (int, int)
        The new size.
    scale_factor : float or (float, float)
        The new size over the old one, in the place of `size`; rounded down.
    mode : {"nearest", "nearest-exact", "bilinear", "linear", "area"}
        "linear" is for (N, C, L), "bilinear" for (N, C, H, W). "nearest" takes pixel ``floor(q * old / new)``,
        "nearest-exact" that at ``floor((q + 1/2) * old / new)``. "area" is `adaptive_avg_pool2d`. A scale_factor s
        puts 1 / s in the place of old / new; not for the "nearest" of images in a size that stays or doubles, as in
        PyTorch.
    align_corners : bool, optional
        For the linear modes, whether the centres of the corner pixels stay in the corners.
    recompute_scale_factor : bool, optional
        Whether positions follow from the rounded size in the place of `scale_factor`.

    Raises
    ------
    ValueError
        For an unknown mode, both or none of size and scale_factor, or a size that is not 1 to 2**31 - 1.
    MemoryError
        If the result is more than there is memory for.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.interpolate(fnn.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    >>> fnn.nn.functional.interpolate(fnn.tensor([[[1.0, 3.0]]]), 3, mode="linear", align_corners=True)
    tensor([[[1., 2., 3.]]])
    """
    cdef Tensor t = floating(x)
    cdef Sampling sampling
    cdef int nd = cnp.PyArray_NDIM(t.array), how, type_num
    cdef tuple shape = shape_of(t.array), out, factors
    modes = {"nearest": NEAREST, "nearest-exact": NEAREST_EXACT, "area": -1, "linear": LINEAR, "bilinear": LINEAR}
    if nd != 3 and nd != 4:
        raise ValueError(f"interpolate: x is {shape}; expected (N, C, L) or (N, C, H, W)")
    if mode not in modes or mode == ("bilinear" if nd == 3 else "linear"):
        raise ValueError(f"interpolate: mode is {mode!r}; expected 'nearest', 'nearest-exact', 'area' or "
                         f"{'linear' if nd == 3 else 'bilinear'!r} for x of shape {shape}")
    how = modes[mode]
    if align_corners is not None and how != LINEAR:
        raise ValueError(f"interpolate: align_corners is for the linear modes, mode is {mode!r}")
    if builtins.min(shape[2:]) < 1:
        raise ValueError(f"interpolate: x is {shape}; expected at least one pixel")
    out, factors = output_sizes(shape[2:], size, scale_factor)
    if how < 0:
        return adaptive_avg_pool1d(t, out) if nd == 3 else adaptive_avg_pool2d(t, out)
    if recompute_scale_factor or align_corners:
        factors = (0.0,) * len(factors)
    if how == NEAREST and nd == 4:
        factors = tuple([0.0 if q == n or q == 2 * n else f for f, n, q in zip(factors, shape[2:], out)])
    total = 1
    for n in shape[:2] + out:
        total *= n
    if total > 1 << 44:  # before the tables are made, which may be long
        raise MemoryError(f"interpolate: a tensor of shape {shape[:2] + out} is too large")
    sampling = Sampling.__new__(Sampling)
    how = LINEAR_CORNERS if align_corners else how
    type_num = kind(t.array)
    sampling.job.rows.size, sampling.job.rows.out = (1, 1) if nd == 3 else (shape[2], out[0])
    sampling.job.cols.size, sampling.job.cols.out = shape[nd - 1], out[nd - 3]
    if not (plan_resize(sampling.job.rows, type_num, how, 0.0 if nd == 3 else factors[0], sampling.rows)
            and plan_resize(sampling.job.cols, type_num, how, factors[nd - 3], sampling.cols)):
        raise MemoryError(f"interpolate: no memory for the places of {shape[2:]} to {out}")
    if nd == 3:
        return squeeze(resampled(sampling, unsqueeze(t, 2), False), 2)
    return resampled(sampling, t, False)


# ----- pixel shuffle -----

cdef int shuffle_factor(str name, Tensor t, object factor) except -1:
    r = whole(f"{name}: the factor", factor)
    if cnp.PyArray_NDIM(t.array) < 3:
        raise ValueError(f"{name}: x is {shape_of(t.array)}; expected (..., C, H, W)")
    if not 1 <= r <= 1 << 15:
        raise ValueError(f"{name}: the factor is {r}; expected 1 to 32768")
    return r


cpdef Tensor pixel_shuffle(x, upscale_factor):
    """Moves channels into space: (..., C r^2, H, W) -> (..., C, H r, W r), r = upscale_factor (Shi et al., 2016).

    Raises
    ------
    ValueError
        If x is not (..., C, H, W) with a multiple of r^2 channels, or the factor below 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.pixel_shuffle(fnn.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1), 2)
    tensor([[[1., 2.],
             [3., 4.]]])
    """
    cdef Tensor t = as_tensor(x)
    cdef int r = shuffle_factor("pixel_shuffle", t, upscale_factor)
    cdef tuple shape = shape_of(t.array), lead = shape[:-3]
    c, h, w = shape[-3:]
    if c % (r * r):
        raise ValueError(f"pixel_shuffle: x has {c} channels; expected a multiple of {r} * {r}")
    cdef int n = <int>len(lead)
    # The copy is made channels-last, (..., H, r, W, r, C), and seen as (..., C, H r, W r).
    t = permute(reshape(t, lead + (c // (r * r), r, r, h, w)), tuple(range(n)) + (n + 3, n + 1, n + 4, n + 2, n))
    t = reshape(t, lead + (h * r, w * r, c // (r * r)))
    return permute(t, tuple(range(n)) + (n + 2, n, n + 1))


cpdef Tensor pixel_unshuffle(x, downscale_factor):
    """Moves space into channels: (..., C, H r, W r) -> (..., C r^2, H, W), r = downscale_factor.

    Raises
    ------
    ValueError
        If x is not (..., C, H, W) with multiples of r as height and width, or the factor below 1.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.nn.functional.pixel_unshuffle(fnn.ones(1, 4, 6), 2).shape
    (4, 2, 3)
    """
    cdef Tensor t = as_tensor(x)
    cdef int r = shuffle_factor("pixel_unshuffle", t, downscale_factor)
    cdef tuple shape = shape_of(t.array), lead = shape[:-3]
    c, h, w = shape[-3:]
    if h % r or w % r:
        raise ValueError(f"pixel_unshuffle: x has {h} x {w} pixels; expected multiples of {r}")
    cdef int n = <int>len(lead)
    # The copy is made channels-last, (..., H, W, C, r, r), and seen as (..., C r^2, H, W).
    t = permute(reshape(t, lead + (c, h // r, r, w // r, r)), tuple(range(n)) + (n + 1, n + 3, n, n + 2, n + 4))
    t = reshape(t, lead + (h // r, w // r, c * r * r))
    return permute(t, tuple(range(n)) + (n + 2, n, n + 1))
