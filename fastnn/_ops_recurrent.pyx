# cython: embedsignature=True, initializedcheck=False, auto_pickle=False, cdivision=True
"""One recurrent layer over whole sequences, as one op. How an op is built stands in `_ops`.

The op has three outputs, y, h_n and c_n, and one node behind them: each output's own node only hands its gradient on,
and the tape adds what it is handed up, as `Gradients`. A recorded backward goes through the same steps written in ops
(`_recurrent_twin`).
"""
cimport cython
cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport PyObject
from libc.string cimport memset

from fastnn._ops cimport *
from fastnn._runtime cimport *
from fastnn._tape cimport Node, Value, attach, edge, grad_enabled, version

import numpy as np

from fastnn import _kernels

cdef extern from "Python.h":
    PyObject* PyTuple_GET_ITEM(object t, Py_ssize_t i)

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

cdef enum:
    STATES = 3           # inputs 0, 1, 2 are x, h0, c0; then five weights of each direction
    WEIGHTS = 5          # w_ih, w_hh, b_ih, b_hh, w_hr
    ALONE_FLOPS = 200000  # below: about 10 us, the GIL is kept

CELLS = {"rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "lstm": LSTM, "gru": GRU}

cdef list NAMES = list(CELLS)


cdef class Gradients(Value):
    """What reaches the outputs of one recurrent layer: each a Tensor or None."""
    cdef Tensor y, h, c

    cdef Value plus(self, Value other):
        cdef Gradients more = <Gradients?>other, sum = Gradients.__new__(Gradients)
        sum.y, sum.h, sum.c = joined(self.y, more.y), joined(self.h, more.h), joined(self.c, more.c)
        return sum


cdef Tensor joined(Tensor a, Tensor b):
    return b if a is None else a if b is None else add(a, b)


cdef class RecurrentOutputNode(Node):
    """alpha: 0 for y, 1 for h_n, 2 for c_n."""
    cdef tuple backward(self, Value dy):
        cdef Gradients g = Gradients.__new__(Gradients)
        if self.alpha == 0:
            g.y = <Tensor>dy
        elif self.alpha == 1:
            g.h = <Tensor>dy
        else:
            g.c = <Tensor>dy
        return (g,)


@cython.final
cdef class PackedLayer:
    """The weights of a frozen layer as the kernels want them."""
    cdef void* memory
    cdef const Kernels* table
    cdef int cell
    cdef tuple arrays  # which they were made of
    cdef i64 inputs, units
    cdef int type_num

    def __dealloc__(self):
        runtime.release(self.memory)


cdef inline int gates_of(int cell) noexcept:
    return 4 if cell == LSTM else 3 if cell == GRU else 1


cdef PackedLayer usable_layer(int cell, tuple inputs):
    """The packed form of these weights, empty if it is new; None unless all of them are frozen."""
    cdef Tensor w = <Tensor>inputs[STATES]
    cdef PackedLayer packed
    cdef Py_ssize_t i
    if usable_packed(w) is None:
        return None
    packed = <PackedLayer>w.packed.recurrent
    if packed is not None and packed.table == w.packed.table and packed.cell == cell and (
            len(packed.arrays) == len(inputs) - STATES):
        for i in range(len(packed.arrays)):
            if packed.arrays[i] is not (None if inputs[STATES + i] is None else (<Tensor>inputs[STATES + i]).array):
                break
        else:
            return packed
    for t in inputs[STATES:]:
        if t is not None and usable_packed(<Tensor>t) is None:
            return None
    packed = PackedLayer.__new__(PackedLayer)
    packed.table, packed.cell = w.packed.table, cell
    packed.arrays = tuple([None if t is None else (<Tensor>t).array for t in inputs[STATES:]])
    packed.inputs = cnp.PyArray_DIM(w.array, 1)
    packed.units = cnp.PyArray_DIM(w.array, 0) // gates_of(cell)
    packed.type_num = cnp.PyArray_TYPE(w.array)
    w.packed.recurrent = packed
    return packed


cdef inline const void* data_of(object t) noexcept:
    return NULL if t is None else cnp.PyArray_DATA((<Tensor>t).array)


cdef void fill(RecurrentJob* job, int cell, tuple inputs, ndarray start) noexcept:
    """Sizes and inputs, all of them dense: x (N, I) or (T, B, I); h0 (directions, B, P), a cell's (B, P)."""
    cdef ndarray x = (<Tensor>inputs[0]).array, h0 = (<Tensor>inputs[1]).array, w_ih = (<Tensor>inputs[STATES]).array
    cdef int d, dims = cnp.PyArray_NDIM(h0)
    memset(job, 0, sizeof(RecurrentJob))
    job.cell = cell
    job.directions = cnp.PyArray_DIM(h0, 0) if dims == 3 else 1
    job.steps = cnp.PyArray_SIZE(start) - 1
    job.batch = cnp.PyArray_DIM(h0, dims - 2)
    job.inputs = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1)
    job.outputs = cnp.PyArray_DIM(h0, dims - 1)
    job.units = cnp.PyArray_DIM(w_ih, 0) // gates_of(cell)
    job.start = <const i64*>cnp.PyArray_DATA(start)
    job.x, job.h0, job.c0 = cnp.PyArray_DATA(x), cnp.PyArray_DATA(h0), data_of(inputs[2])
    for d in range(<int>job.directions):
        job.w_ih[d] = data_of(inputs[STATES + WEIGHTS * d])
        job.w_hh[d] = data_of(inputs[STATES + WEIGHTS * d + 1])
        job.b_ih[d] = data_of(inputs[STATES + WEIGHTS * d + 2])
        job.b_hh[d] = data_of(inputs[STATES + WEIGHTS * d + 3])
        job.w_hr[d] = data_of(inputs[STATES + WEIGHTS * d + 4])


cdef inline double flops_of(const RecurrentJob* job) noexcept:
    return 2.0 * job.start[job.steps] * job.units * (job.inputs + job.outputs) * job.directions * gates_of(job.cell)


cdef ndarray rows_array(const RecurrentJob* job, i64 width, int type_num):
    """(directions, N, width)"""
    cdef npy_intp[3] dims
    dims[0], dims[1], dims[2] = job.directions, job.start[job.steps], width
    return new_array(3, dims, type_num)


cdef class RecurrentNode(Node):
    """`saved`: what the backward reads that the op made itself; y's memory among it."""
    cdef int cell
    cdef ndarray start
    cdef tuple inputs    # dense tensors of one type
    cdef list versions

    cdef tuple backward(self, Value dy):
        cdef Gradients g = <Gradients>dy
        cdef tuple arrays = self.kept()
        cdef Py_ssize_t i
        for i in range(len(self.inputs)):
            if self.inputs[i] is not None and version(<Tensor>self.inputs[i]) != self.versions[i]:
                raise RuntimeError("backward of recurrent: a tensor it saved was changed in place after the forward "
                                   "pass, so its gradient would be wrong; clone() the tensor before changing it")
        if grad_enabled():
            return self.recorded_backward(g)
        return self.fused_backward(g, arrays)

    cdef tuple fused_backward(self, Gradients g, tuple arrays):
        cdef RecurrentJob job
        cdef list out = [None] * len(self.inputs)
        cdef list dense_gradients = [None if t is None else contiguous((<Tensor>t).array) for t in (g.y, g.h, g.c)]
        cdef ndarray made = (<Tensor>self.inputs[0]).array
        cdef int i, type_num = cnp.PyArray_TYPE(made), dtype = kind(made)
        cdef bint done
        fill(&job, self.cell, self.inputs, self.start)
        y, kept, c, hidden = arrays
        job.y = cnp.PyArray_DATA(<ndarray>y)
        job.kept = NULL if kept is None else cnp.PyArray_DATA(<ndarray>kept)
        job.c = NULL if c is None else cnp.PyArray_DATA(<ndarray>c)
        job.hidden = NULL if hidden is None else cnp.PyArray_DATA(<ndarray>hidden)
        job.dy = NULL if g.y is None else cnp.PyArray_DATA(<ndarray>dense_gradients[0])
        job.dh_n = NULL if g.h is None else cnp.PyArray_DATA(<ndarray>dense_gradients[1])
        job.dc_n = NULL if g.c is None else cnp.PyArray_DATA(<ndarray>dense_gradients[2])
        for i in range(len(self.inputs)):
            if self.inputs[i] is None or not self.needs(i):
                continue
            made = (<Tensor>self.inputs[i]).array
            made = new_array(cnp.PyArray_NDIM(made), cnp.PyArray_DIMS(made), type_num)
            out[i] = wrap(made)
            self.place(&job, i, cnp.PyArray_DATA(made))
        if flops_of(&job) < ALONE_FLOPS:
            done = runtime.recurrent_backward(dtype, job)
        else:
            with nogil:
                done = runtime.recurrent_backward(dtype, job)
        if not done:
            raise MemoryError("no memory for the backward of a recurrent layer")
        return tuple(out)

    cdef void place(self, RecurrentJob* job, int input, void* memory) noexcept:
        cdef int d = (input - STATES) // WEIGHTS, which = (input - STATES) % WEIGHTS
        if input == 0:
            job.dx = memory
        elif input == 1:
            job.dh0 = memory
        elif input == 2:
            job.dc0 = memory
        elif which == 0:
            job.dw_ih[d] = memory
        elif which == 1:
            job.dw_hh[d] = memory
        elif which == 2:
            job.db_ih[d] = memory
        elif which == 3:
            job.db_hh[d] = memory
        else:
            job.dw_hr[d] = memory

    cdef tuple recorded_backward(self, Gradients g):
        from fastnn._recurrent_twin import gradients

        wanted = [self.inputs[i] is not None and self.needs(i) for i in range(len(self.inputs))]
        return gradients(self.cell, self.inputs, self.start, (g.y, g.h, g.c), wanted)


cdef refuse(str name, str what, ndarray got, object wanted):
    raise ValueError(f"{name}: {what} is {shape_of(got)}; expected {wanted}")


cdef int check_shapes(str name, int cell, tuple inputs, i64 batch, bint single) except -1:
    """Every array against x (..., I) and the first w_ih (gates * H, I); `single`: a cell's, no directions in states."""
    cdef int gates = gates_of(cell), d, directions = (len(inputs) - STATES) // WEIGHTS
    cdef ndarray x = (<Tensor>inputs[0]).array, w = (<Tensor>inputs[STATES]).array, r
    cdef npy_intp I = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1), H, P
    if cnp.PyArray_NDIM(w) != 2 or cnp.PyArray_DIM(w, 0) % gates:
        refuse(name, "weight_ih", w, f"({gates} * hidden_size, input_size)")
    H = P = cnp.PyArray_DIM(w, 0) // gates
    if inputs[STATES + 4] is not None:
        r = (<Tensor>inputs[STATES + 4]).array
        P = cnp.PyArray_DIM(r, 0) if cnp.PyArray_NDIM(r) == 2 else -1
    if I != cnp.PyArray_DIM(w, 1):
        raise ValueError(f"{name}: x is {shape_of(x)}; expected {cnp.PyArray_DIM(w, 1)} features in its last dimension")
    for d in range(directions):
        expect(name, "weight_ih", inputs[STATES + WEIGHTS * d], 2, gates * H, I, 0)
        expect(name, "weight_hh", inputs[STATES + WEIGHTS * d + 1], 2, gates * H, P, 0)
        expect(name, "bias_ih", inputs[STATES + WEIGHTS * d + 2], 1, gates * H, 0, 0)
        expect(name, "bias_hh", inputs[STATES + WEIGHTS * d + 3], 1, gates * H, 0, 0)
        expect(name, "weight_hr", inputs[STATES + WEIGHTS * d + 4], 2, P, H, 0)
    if single:
        expect(name, "h_0", inputs[1], 2, batch, P, 0)
        expect(name, "c_0", inputs[2], 2, batch, H, 0)
    else:
        expect(name, "h_0", inputs[1], 3, directions, batch, P)
        expect(name, "c_0", inputs[2], 3, directions, batch, H)
    return 0


cdef int expect(str name, str what, object t, int dims, npy_intp m, npy_intp n, npy_intp k) except -1:
    """t, if it is not None, of the first `dims` sizes. Tuples are made for the message alone: a cell asks ten times."""
    cdef ndarray a
    if t is None:
        return 0
    a = (<Tensor>t).array
    if cnp.PyArray_NDIM(a) != dims or cnp.PyArray_DIM(a, 0) != m or (dims > 1 and cnp.PyArray_DIM(a, 1) != n) or (
            dims > 2 and cnp.PyArray_DIM(a, 2) != k):
        refuse(name, what, a, (m, n, k)[:dims])
    return 0


cdef Tensor zero_state(int directions, i64 batch, i64 width, int type_num):
    """(directions, batch, width), (batch, width) for directions 0."""
    cdef npy_intp[3] dims
    cdef ndarray a
    cdef int d = 0
    if directions:
        dims[0], d = directions, 1
    dims[d], dims[d + 1] = batch, width
    a = new_array(d + 2, dims, type_num)
    memset(cnp.PyArray_DATA(a), 0, cnp.PyArray_NBYTES(a))
    return wrap(a)


cdef ndarray starts(str name, object batch_sizes, ndarray x, i64* batch):
    """The first row of each step: of (T, B, I), or of (N, I) with the number of sequences at each step."""
    cdef ndarray sizes, start
    cdef npy_intp n
    cdef i64* p
    cdef i64 t, step
    if batch_sizes is None:
        if cnp.PyArray_NDIM(x) != 3:
            refuse(name, "x", x, "(T, B, input_size)")
        batch[0] = cnp.PyArray_DIM(x, 1)
        n = cnp.PyArray_DIM(x, 0) + 1
        start = cnp.PyArray_EMPTY(1, &n, cnp.NPY_INT64, 0)
        p, step = <i64*>cnp.PyArray_DATA(start), batch[0]
        for t in range(n):
            p[t] = t * step
        return start
    sizes, batch[0] = batch_sizes
    if cnp.PyArray_NDIM(x) != 2 or cnp.PyArray_DIM(x, 0) != sizes.sum():
        refuse(name, "x", x, f"({sizes.sum()}, input_size), the rows that batch_sizes count")
    start = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=start[1:])
    if len(sizes) and (sizes[0] > batch[0] or sizes[len(sizes) - 1] < 1 or (np.diff(sizes) > 0).any()):
        raise ValueError(f"{name}: batch_sizes must not grow and be between 1 and {batch[0]}, got {sizes}")
    return start


cdef int type_of_all(tuple inputs) noexcept:
    for t in inputs:
        if t is not None and cnp.PyArray_TYPE((<Tensor>t).array) == cnp.NPY_DOUBLE:
            return cnp.NPY_DOUBLE
    return cnp.NPY_FLOAT


def recurrent(str name, str cell, x, h0, c0, weights, batch_sizes=None):
    """One layer of RNN, GRU or LSTM, in one or both directions.

    Parameters
    ----------
    name : str
        Of the function or layer, for messages.
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru"}
    x : Tensor (T, B, I), or (N, I) with `batch_sizes`
    h0 : Tensor (directions, B, P) or None
        The initial state; None is zeros, as for c0.
    c0 : Tensor (directions, B, H) or None
        For an LSTM only.
    weights : sequence
        weight_ih (gates * H, I), weight_hh (gates * H, P), bias_ih, bias_hh (gates * H) or None, weight_hr (P, H) or
        None, and five more for the second direction, if there is one.
    batch_sizes : (int64 array (T,), int), optional
        How many sequences there are at each step, never growing, and at all: x holds those rows step by step.

    Returns
    -------
    tuple of Tensor
        y (T, B, directions * P) or (N, directions * P), h_n (directions, B, P), and for an LSTM c_n (directions, B, H),
        else None.
    """
    cdef list made = tensors(x, h0, c0, weights)
    cdef i64 batch = 0
    cdef ndarray start = starts(name, batch_sizes, (<Tensor>made[0]).array, &batch)
    return prepared(name, CELLS[cell], made, start, batch, len(weights) // WEIGHTS)


def cell(str name, str cell, x, h0, c0, weights):
    """One step: x (B, I) and the state h0 (B, P), c0 (B, H), None for zeros, give (h, c), c None but for an LSTM.

    The other arguments are those of `recurrent`.
    """
    cdef list made = tensors(x, h0, c0, weights)
    cdef ndarray array = (<Tensor>made[0]).array
    cdef npy_intp batch
    if cnp.PyArray_NDIM(array) != 2:
        refuse(name, "x", array, "(B, input_size)")
    batch = cnp.PyArray_DIM(array, 0)
    out = prepared(name, CELLS[cell], made, one_step(batch), batch, 0)
    return out[0], out[2]


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


cdef ndarray last_start = np.array([0, 0], np.int64)


cdef ndarray one_step(npy_intp batch):
    """(0, batch), the one made last if it serves: nobody writes into it."""
    global last_start
    cdef ndarray start = last_start
    if (<i64*>cnp.PyArray_DATA(start))[1] != batch:
        last_start = start = np.array([0, batch], np.int64)
    return start


cdef list tensors(object x, object h0, object c0, object weights):
    cdef list made = [floating(x), None if h0 is None else floating(h0), None if c0 is None else floating(c0)]
    for w in weights:
        made.append(None if w is None else floating(w))
    return made


cdef tuple prepared(str name, int cell, list made, ndarray start, i64 batch, int directions):
    """Inputs checked, of one type, dense, and zeros where no state was given; directions 0: a cell."""
    cdef tuple inputs = tuple(made)
    cdef int type_num = type_of_all(inputs), d
    cdef i64 H, P
    cdef Tensor t
    cdef bint needed = False
    check_shapes(name, cell, inputs, batch, directions == 0)
    H = cnp.PyArray_DIM((<Tensor>inputs[STATES]).array, 0) // gates_of(cell)
    P = H if inputs[STATES + 4] is None else cnp.PyArray_DIM((<Tensor>inputs[STATES + 4]).array, 0)
    if made[1] is None:
        made[1] = zero_state(directions, batch, P, type_num)
    if made[2] is None and cell == LSTM:
        made[2] = zero_state(directions, batch, H, type_num)
    for d in range(len(made)):
        t = made[d]
        if t is not None:
            made[d] = t = contiguous_tensor(cast(t, type_num))
            needed = needed or t.needs_grad
    return forward(cell, tuple(made), start, H, P, needed and grad_enabled())


cdef tuple forward(int cell, tuple inputs, ndarray start, i64 H, i64 P, bint needed):
    cdef RecurrentJob job
    cdef ndarray x = (<Tensor>inputs[0]).array, kept = None, c = None, hidden = None
    cdef int type_num = cnp.PyArray_TYPE(x), dtype = kind(x)
    cdef npy_intp[3] dims
    cdef int state_dims = cnp.PyArray_NDIM((<Tensor>inputs[1]).array)
    cdef Tensor y, h_n = None, c_n = None
    cdef PackedLayer packed = None if needed else usable_layer(cell, inputs)
    cdef void* memory = NULL if packed is None else packed.memory
    cdef bint done
    fill(&job, cell, inputs, start)
    dims[0], dims[1] = cnp.PyArray_DIM(x, 0), cnp.PyArray_DIM(x, 1)
    dims[cnp.PyArray_NDIM(x) - 1] = job.directions * P
    y = wrap(new_array(cnp.PyArray_NDIM(x), dims, type_num))
    # A cell's y is its state, too.
    if state_dims == 3:
        h_n = wrap(new_array(3, cnp.PyArray_DIMS((<Tensor>inputs[1]).array), type_num))
    job.y, job.h_n = cnp.PyArray_DATA(y.array), cnp.PyArray_DATA((y if h_n is None else h_n).array)
    if cell == LSTM:
        c_n = wrap(new_array(state_dims, cnp.PyArray_DIMS((<Tensor>inputs[2]).array), type_num))
        job.c_n = cnp.PyArray_DATA(c_n.array)
    if needed and (cell == LSTM or cell == GRU):
        kept = rows_array(&job, recurrent_row(cell, H, 4 if dtype == F32 else 8), type_num)
        job.kept = cnp.PyArray_DATA(kept)
    if needed and cell == LSTM:
        c = rows_array(&job, H, type_num)
        job.c = cnp.PyArray_DATA(c)
        if job.w_hr[0] != NULL:
            hidden = rows_array(&job, H, type_num)
            job.hidden = cnp.PyArray_DATA(hidden)
    if flops_of(&job) < ALONE_FLOPS:
        done = runtime.recurrent(dtype, job, memory)
    else:
        with nogil:
            done = runtime.recurrent(dtype, job, memory)
    if packed is not None and packed.memory == NULL:  # several threads may come here at once: the first one's is kept
        packed.memory = memory
    elif packed is None or packed.memory != memory:
        runtime.release(memory)
    if not done:
        raise MemoryError("no memory for a recurrent layer")
    if needed:
        record(cell, inputs, start, (y.array, kept, c, hidden), y, h_n, c_n)
    return y, h_n, c_n


cdef record(int cell, tuple inputs, ndarray start, tuple arrays, Tensor y, Tensor h_n, Tensor c_n):
    cdef RecurrentNode node = RecurrentNode.__new__(RecurrentNode)
    cdef RecurrentOutputNode output
    cdef int which
    node.cell, node.start, node.inputs = cell, start, inputs
    node.versions = [0 if t is None else version(<Tensor>t) for t in inputs]
    node.keep(y, arrays)
    attach(Gradients.__new__(Gradients), node, tuple([None if t is None else edge(<Tensor>t) for t in inputs]))
    for which, t in enumerate((y, h_n, c_n)):
        if t is not None:
            output = RecurrentOutputNode.__new__(RecurrentOutputNode)
            output.alpha = which
            attach(<Tensor>t, output, (node,))


# ----- rows of sequences, packed and padded: a row is taken or put once, so that both ways are copies -----

cdef class TakeRowsNode(Node):
    """saved: (rows, n)"""
    cdef tuple backward(self, Value dy):
        return (put_rows(dy, self.saved[0], self.saved[1]),)


cpdef Tensor take_rows(x, ndarray rows):
    """x[rows] for x (n, ...) and int64 rows, none of them twice."""
    cdef Tensor t = floating(x), out
    cdef Node node
    cdef npy_intp[64] dims
    cdef int d, nd = cnp.PyArray_NDIM(t.array)
    for d in range(nd):
        dims[d] = cnp.PyArray_DIM(t.array, d)
    dims[0] = cnp.PyArray_SIZE(rows)
    out = wrap(new_array(nd, dims, cnp.PyArray_TYPE(t.array)))
    if dims[0]:
        np.take(t.array, rows, 0, out.array, "clip")  # a mode other than "raise" writes without a buffer between
    if recorded(t):
        node = TakeRowsNode.__new__(TakeRowsNode)
        node.saved = (rows, cnp.PyArray_DIM(t.array, 0))
        attach(out, node, (edge(t),))
    return out


cdef class PutRowsNode(Node):
    cdef tuple backward(self, Value dy):
        return (take_rows(dy, self.saved),)


cpdef Tensor put_rows(x, ndarray rows, npy_intp n, double value=0):
    """(n, ...) of x at rows and value elsewhere: the inverse of take_rows."""
    cdef Tensor t = floating(x), out
    cdef Node node
    cdef npy_intp[64] dims
    cdef int d, nd = cnp.PyArray_NDIM(t.array)
    for d in range(nd):
        dims[d] = cnp.PyArray_DIM(t.array, d)
    dims[0] = n
    out = wrap(new_array(nd, dims, cnp.PyArray_TYPE(t.array)))
    if value == 0:
        memset(cnp.PyArray_DATA(out.array), 0, cnp.PyArray_NBYTES(out.array))
    else:
        out.array.fill(value)
    out.array[rows] = t.array
    if recorded(t):
        node = PutRowsNode.__new__(PutRowsNode)
        node.saved = rows
        attach(out, node, (edge(t),))
    return out
