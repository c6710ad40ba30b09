# Weights that change no more, packed once. The kernel wants a transposed weight in slivers (csrc/kernels/matmul.cpp); packing
# it for every call costs a linear layer with 32 rows and 1024 x 1024 weights a quarter of its time. A convolution keeps a form
# for each way it went: images of another size may go another way. One geometry, the first that comes, is kept; a weight that
# serves several at once (conv2d and conv_transpose2d, two strides) is prepared anew for the others.

@cython.final
@cython.no_gc
cdef class PackedWeight:
    """The packed form of one read-only array, filled by the first product that needs it."""
    def __dealloc__(self):
        cdef int way
        runtime.release(self.memory)
        for way in range(CONV_WAYS):
            runtime.release(self.conv[way])


cdef PackedWeight packed_weight(ndarray array):
    cdef PackedWeight packed = PackedWeight.__new__(PackedWeight)
    packed.array = array
    packed.table = runtime.table[kind(array)]
    return packed


cdef inline PackedWeight usable_packed(Tensor w):
    """w's packed form, new where the kernels have been switched; None unless w is frozen."""
    if w.packed is None or w.packed.array is not w.array or cnp.PyArray_ISWRITEABLE(w.array):
        return None
    if w.packed.table != runtime.table[kind(w.array)]:
        w.packed = packed_weight(w.array)
    return w.packed


cdef bint multiply_packed(MatmulJob& job, int dtype, PackedWeight packed) except -1:
    """A product with a frozen b. Several threads may come here at once: each packs for itself, the first one is kept."""
    cdef void* memory = packed.memory
    cdef bint done
    job.kept = True
    if 2.0 * job.m * job.n * job.k < 4e6:
        done = runtime.matmul_keeping(dtype, job, memory)
    else:
        with nogil:
            done = runtime.matmul_keeping(dtype, job, memory)
    if packed.memory == NULL:
        packed.memory = memory
    elif packed.memory != memory:
        runtime.release(memory)
    if not done:
        raise MemoryError("no memory for a packed weight")
    return True
