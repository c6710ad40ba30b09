# One step of a frozen cell, which is over so soon that checking its weights anew would take as long.

cdef PackedLayer packed_cell(str cell, w_ih, w_hh, b_ih, b_hh):
    """The packed form of these frozen weights, if it has been made and they are what they were."""
    cdef PackedWeight first
    cdef PackedLayer layer
    if not isinstance(w_ih, Tensor):
        return None
    first = (<Tensor>w_ih).packed
    if first is None or first.recurrent is None:
        return None
    layer = <PackedLayer>first.recurrent
    if layer.memory == NULL or layer.table != runtime.table[kind(first.array)] or cell != NAMES[layer.cell] or (
            len(layer.arrays) != WEIGHTS):
        return None
    return layer if as_packed(layer, 0, w_ih) and as_packed(layer, 1, w_hh) and as_packed(layer, 2, b_ih) and (
        as_packed(layer, 3, b_hh)) and as_packed(layer, 4, None) else None


cdef bint as_packed(PackedLayer layer, int which, object weight) noexcept:
    cdef PyObject* array = PyTuple_GET_ITEM(layer.arrays, which)
    if not isinstance(weight, Tensor):
        return array == <PyObject*>weight  # None
    return array == <PyObject*>(<Tensor>weight).array and not (<Tensor>weight).needs_grad and (
        not cnp.PyArray_ISWRITEABLE((<Tensor>weight).array))


cdef inline bint fits(object t, PackedLayer layer, npy_intp rows, i64 width) noexcept:
    """Whether t is a dense tensor (rows, width) of the layer's type, and nothing is to be recorded."""
    cdef ndarray a
    if type(t) is not Tensor:
        return False
    a = (<Tensor>t).array
    return cnp.PyArray_NDIM(a) == 2 and cnp.PyArray_TYPE(a) == layer.type_num and dense(a) and (
        cnp.PyArray_DIM(a, 0) == rows and cnp.PyArray_DIM(a, 1) == width) and not recorded(<Tensor>t)


def frozen_cell(str cell, x, state, w_ih, w_hh, b_ih, b_hh):
    """One step of a small cell whose weights are frozen and packed: the state after; None where `cell` must look closer.

    It skips only what the weights' first step has checked and their being read-only keeps true.
    """
    cdef PackedLayer layer = packed_cell(cell, w_ih, w_hh, b_ih, b_hh)
    cdef RecurrentJob job
    cdef i64[2] start
    cdef Tensor out, c_out = None
    h, c = state, None
    if layer is None or type(x) is not Tensor or cnp.PyArray_NDIM((<Tensor>x).array) != 2:
        return None
    if layer.cell == LSTM:
        if type(state) is not tuple or len(<tuple>state) != 2:
            return None
        h, c = (<tuple>state)[0], (<tuple>state)[1]
    start[0], start[1] = 0, cnp.PyArray_DIM((<Tensor>x).array, 0)
    if not fits(x, layer, start[1], layer.inputs) or not fits(h, layer, start[1], layer.units) or (
            layer.cell == LSTM and not fits(c, layer, start[1], layer.units)):
        return None
    memset(&job, 0, sizeof(RecurrentJob))
    job.cell, job.directions, job.steps, job.batch, job.start = layer.cell, 1, 1, start[1], start
    job.inputs, job.units, job.outputs = layer.inputs, layer.units, layer.units
    if flops_of(&job) >= ALONE_FLOPS:
        return None
    job.x, job.h0 = cnp.PyArray_DATA((<Tensor>x).array), cnp.PyArray_DATA((<Tensor>h).array)
    job.w_ih[0], job.w_hh[0], job.b_ih[0], job.b_hh[0] = data_of(w_ih), data_of(w_hh), data_of(b_ih), data_of(b_hh)
    out = wrap(new_array(2, cnp.PyArray_DIMS((<Tensor>h).array), layer.type_num))
    job.y = job.h_n = cnp.PyArray_DATA(out.array)
    if layer.cell == LSTM:
        c_out = wrap(new_array(2, cnp.PyArray_DIMS((<Tensor>c).array), layer.type_num))
        job.c0, job.c_n = cnp.PyArray_DATA((<Tensor>c).array), cnp.PyArray_DATA(c_out.array)
    if not runtime.recurrent(F32 if layer.type_num == cnp.NPY_FLOAT else F64, job, layer.memory):
        raise MemoryError("no memory for a recurrent layer")
    return out if c_out is None else (out, c_out)
