# The tape: values, the nodes that made them, and the pass that walks back over the nodes.
cdef class Counter:
    cdef public long n


cdef class Value:
    cdef object __weakref__
    cdef Node node        # the op that made this value; None for a leaf
    cdef Counter counter  # in-place changes so far, shared by views; None while there was no view and no change
    cdef Value _grad
    cdef list hooks       # of a leaf; those of other values are kept by their node
    cdef bint needs_grad

    cdef Value plus(self, Value other)
    cdef Value owned(self, Value leaf)
    cdef Value add_in_place(self, Value other)
    cdef Value seed(self, object gradient)
    cdef Value instead(self, object given)


cdef class Node:
    cdef long long id         # grows with time, so that an op's inputs have smaller ids than the op
    cdef long long owner      # the pass that `pending` belongs to
    cdef unsigned long long unwanted  # bit i: the running pass does not want the gradient of input i
    cdef bint last            # the running pass frees the graph: what is saved may be overwritten by what is computed from it
    cdef tuple edges          # per input its node, the leaf itself, or None; None altogether: the graph was freed
    cdef Value pending        # the gradient gathered so far in a running pass
    cdef list hooks
    # What a backward needs again: two inputs with the versions they had, anything else, two numbers.
    cdef Value a, b
    cdef long a_version, b_version
    cdef object saved
    cdef Counter output_counter  # of the op's own output, where `saved` holds its memory
    cdef double alpha, beta

    cdef tuple backward(self, Value dy)
    cdef bint needs(self, int input)
    cdef save(self, Value a, Value b)
    cdef Value first(self)
    cdef Value second(self)
    cdef keep(self, Value out, object saved)
    cdef object kept(self)
    cdef void let_go(self)


cdef bint grad_enabled() noexcept nogil
cdef bint set_grad_enabled(bint on) noexcept nogil
cdef object freed(Node node)
cdef Value attach(Value out, Node node, tuple edges)
cdef long version(Value v)
cdef void share_version(Value of, Value view)
cdef void bump_version(Value v)
cdef object run_backward(list roots, list gradients, bint retain, bint create, list targets)


cdef inline object edge(Value v):
    if v.node is not None:
        return v.node
    return v if v.needs_grad else None
