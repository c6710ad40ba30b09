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
from fastnn._tape cimport Node, Value, attach, edge, freed, grad_enabled, version

import numpy as np

from fastnn import _kernels

cnp.import_array()

cdef Runtime* runtime = <Runtime*>PyCapsule_GetPointer(_kernels._runtime, "fastnn._kernels._runtime")

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object o)

cdef enum:
    STATES = 3            # inputs 0, 1, 2 are x, h0, c0; then five weights of each direction
    WEIGHTS = 5           # w_ih, w_hh, b_ih, b_hh, w_hr
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
    cdef ndarray array
    cdef Py_ssize_t i
    if usable_packed(w) is None:
        return None
    packed = <PackedLayer>w.packed.recurrent
    if packed is not None and packed.table == w.packed.table and packed.cell == cell and (
            len(packed.arrays) == len(inputs) - STATES):
        for i in range(len(packed.arrays)):
            array = None if inputs[STATES + i] is None else (<Tensor>inputs[STATES + i]).array
            if packed.arrays[i] is not array or (array is not None and cnp.PyArray_ISWRITEABLE(array)):
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


cdef list arrays_of(tuple inputs):
    """The arrays of tensors: while the GIL is let go another thread may give a tensor other memory."""
    return [None if t is None else (<Tensor>t).array for t in inputs]


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
    cdef tuple inputs  # dense tensors of one type
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
        if arrays is None:
            raise freed(self)  # by another thread, whose pass is at this node
        return self.fused_backward(g, arrays)

    cdef tuple fused_backward(self, Gradients g, tuple arrays):
        cdef RecurrentJob job
        cdef list out = [None] * len(self.inputs)
        cdef list dense_gradients = [None if t is None else contiguous((<Tensor>t).array) for t in (g.y, g.h, g.c)]
        cdef ndarray made = (<Tensor>self.inputs[0]).array
        cdef int i, type_num = cnp.PyArray_TYPE(made), dtype = kind(made)
        cdef list held
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
        # Gradients in the place of what was kept need no memory of their own: a step of a GRU takes 0.92 of the time. Only if this
        # pass frees the graph and no other thread's pass holds the arrays, too.
        if self.last:
            self.saved = None
            job.dgates = job.kept if Py_REFCNT(arrays) == 1 else NULL
        if flops_of(&job) < ALONE_FLOPS:
            done = runtime.recurrent_backward(dtype, job)
        else:
            held = arrays_of(self.inputs)
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


include "_ops_recurrent_checks.pxi"


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


include "_ops_recurrent_cell.pxi"


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
    cdef list held
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
        held = arrays_of(inputs)
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


include "_ops_recurrent_rows.pxi"
