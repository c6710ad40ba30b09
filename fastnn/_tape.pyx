# cython: embedsignature=True, boundscheck=False, wraparound=False, initializedcheck=False, auto_pickle=False
# distutils: language = c++
"""The tape of reverse-mode differentiation. It knows no operation: only values, nodes and how gradients travel.

An op that is given a value which needs a gradient makes a node, and the node points at the nodes of its inputs. Nodes
are numbered in the order they were made, so going back from the largest number down meets every consumer of a value
before the value itself: a heap of numbers replaces the topological sort and nothing recurses, however deep the graph
is. """
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libcpp.algorithm cimport pop_heap, push_heap
from libcpp.pair cimport pair
from libcpp.vector cimport vector

cdef extern from *:
    """
    static thread_local bool fastnn_grad_on = true;
    """
    bint fastnn_grad_on

ctypedef long long longlong
ctypedef PyObject* PyObjectPointer

cdef long long last_node = 0
cdef long long last_pass = 0


cdef bint grad_enabled() noexcept nogil:
    return fastnn_grad_on


cdef bint set_grad_enabled(bint on) noexcept nogil:
    """Switches recording in this thread; returns what it was."""
    global fastnn_grad_on
    cdef bint before = fastnn_grad_on
    fastnn_grad_on = on
    return before


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Counter:
    """Counts the in-place changes of one piece of memory; a value and its views share it."""


@cython.trashcan(True)
cdef class Value:
    """What the tape moves about. A subclass says how two values are added; everything else is fields."""

    cdef Value plus(self, Value other):
        """self + other, a new value."""
        raise NotImplementedError

    cdef Value owned(self, Value leaf):
        """self if nobody else holds it or its memory, else a copy: something fit to be leaf's gradient."""
        raise NotImplementedError

    cdef Value add_in_place(self, Value other):
        """self += other."""
        raise NotImplementedError

    cdef Value seed(self, object gradient):
        """The gradient that a pass starts with at self; checks what the user gave, None stands for one."""
        raise NotImplementedError

    cdef Value instead(self, object given):
        """given, which a hook returned to take self's place; checks that it can."""
        raise NotImplementedError


@cython.freelist(64)
@cython.trashcan(True)
cdef class Node:
    """One op on the tape. A subclass adds `backward`: from the gradient of its output to those of its inputs."""

    cdef tuple backward(self, Value dy):
        """One gradient per input, None for those that need none."""
        raise NotImplementedError

    cdef bint needs(self, int input):
        if input < 64 and self.unwanted >> input & 1:
            return False
        return self.edges[input] is not None

    cdef save(self, Value a, Value b):
        self.a = a
        self.a_version = version(a)
        if b is not None:
            self.b = b
            self.b_version = version(b)

    cdef Value first(self):
        if version(self.a) != self.a_version:
            raise changed(self)
        return self.a

    cdef Value second(self):
        if version(self.b) != self.b_version:
            raise changed(self)
        return self.b

    cdef keep(self, Value out, object saved):
        """Saves the memory of the op's own output (not the value, which holds this node)."""
        self.saved = saved
        if out.counter is None:
            out.counter = Counter.__new__(Counter)
        self.output_counter = out.counter

    cdef object kept(self):
        if self.output_counter.n:
            raise changed(self)
        return self.saved

    cdef void let_go(self):
        """Forgets what was saved, as the graph is freed; a subclass with attributes of its own adds them."""
        self.edges = None
        self.a = self.b = None
        self.saved = None

    @property
    def name(self):
        """The op's name, as in error messages."""
        return node_name(self)

    @property
    def next_functions(self):
        """The nodes of this node's inputs (a leaf stands for itself, None for an input without gradient)."""
        return self.edges

    def __repr__(self):
        return f"<{node_name(self)} node {self.id}>"


cdef str node_name(Node node):
    return type(node).__name__.removesuffix("Node").lower()


cdef object changed(Node node):
    return RuntimeError(
        f"backward of {node_name(node)}: a tensor it saved was changed in place after the forward pass, so its "
        f"gradient would be wrong; clone() the tensor before changing it")


cdef object freed(Node node):
    return RuntimeError(
        f"backward of {node_name(node)}: its graph was freed by an earlier backward; pass retain_graph=True there")


cdef Value attach(Value out, Node node, tuple edges):
    """Puts node on the tape as the maker of out."""
    global last_node
    last_node += 1
    node.id = last_node
    node.edges = edges
    out.node = node
    out.needs_grad = True
    return out


cdef long version(Value v):
    return 0 if v.counter is None else v.counter.n


cdef void share_version(Value of, Value view):
    if of.counter is None:
        of.counter = Counter.__new__(Counter)
    view.counter = of.counter


cdef void bump_version(Value v):
    if v.counter is None:
        v.counter = Counter.__new__(Counter)
    v.counter.n += 1


@cython.final
cdef class Pass:
    """One backward pass: the heap of nodes that wait for their turn, the latest first.

    Without targets, gradients end in the leaves' `grad`. With targets they are collected in `found`, `grad` stays as it
    is and only nodes on a way to a target are visited.
    """
    cdef vector[pair[longlong, PyObjectPointer]] heap
    cdef long long number
    cdef bint retain
    cdef dict found   # target (its node, or the leaf itself) -> gradient or None; None: no targets
    cdef set useful   # nodes from which a target can be reached; None: all
    cdef dict hooked  # leaves with hooks -> the sum of this pass

    def __cinit__(self, bint retain):
        global last_pass
        last_pass += 1
        self.number = last_pass
        self.retain = retain
        self.hooked = {}

    def __dealloc__(self):
        cdef Node node
        while self.heap.size():
            node = self.pop()
            node.pending = None

    cdef void push(self, Node node):
        Py_INCREF(node)
        self.heap.push_back(pair[longlong, PyObjectPointer](node.id, <PyObject*>node))
        if self.heap.size() > 1:
            push_heap(self.heap.begin(), self.heap.end())

    cdef Node pop(self):
        if self.heap.size() > 1:
            pop_heap(self.heap.begin(), self.heap.end())
        cdef Node node = <Node>self.heap.back().second
        self.heap.pop_back()
        Py_DECREF(node)  # the variable holds it now
        return node

    cdef give(self, object to, Value gradient):
        """Hands a gradient to an edge: a node or a leaf."""
        cdef Node node
        if not isinstance(to, Node):
            return self.give_leaf(to, gradient)
        node = <Node>to
        if self.useful is not None and node not in self.useful:
            return
        if node.pending is None:
            node.pending = gradient
            node.owner = self.number
            self.push(node)
        elif node.owner != self.number:
            raise RuntimeError(f"backward of {node_name(node)}: another backward pass is running through this graph")
        else:
            node.pending = node.pending.plus(gradient)

    cdef give_leaf(self, Value leaf, Value gradient):
        cdef Value sum
        if self.found is not None:
            if leaf in self.found:
                sum = self.found[leaf]
                self.found[leaf] = gradient if sum is None else sum.plus(gradient)
        elif leaf.hooks:
            sum = self.hooked.get(leaf)
            self.hooked[leaf] = gradient if sum is None else sum.plus(gradient)
        else:
            deposit(leaf, gradient)

    cdef visit(self, Node node):
        """Runs one node's backward and hands its results on."""
        cdef Value dy = node.pending
        cdef tuple edges, gradients
        cdef Py_ssize_t i
        node.pending = None
        if node.hooks:
            dy = call_hooks(node.hooks, dy)
        edges = node.edges  # after the hooks: while they ran, another thread's pass may have freed the graph
        if edges is None:
            raise freed(node)
        if self.found is not None:
            if node in self.found:
                self.found[node] = dy
            self.mark_unwanted(node)
        else:
            node.unwanted = 0
        node.last = not self.retain
        gradients = node.backward(dy)
        dy = None
        if not self.retain:
            node.let_go()
        for i in range(len(gradients)):
            if gradients[i] is not None and edges[i] is not None:
                self.give(edges[i], <Value?>gradients[i])

    cdef mark_unwanted(self, Node node):
        cdef Py_ssize_t i
        node.unwanted = 0
        for i in range(len(node.edges)):
            to = node.edges[i]
            if i < 64 and to is not None and to not in self.found and not (isinstance(to, Node) and to in self.useful):
                node.unwanted |= 1ULL << i

    cdef find_useful(self, list roots):
        """All nodes from which a target can be reached: gather everything, then go through it in the order of
        making."""
        cdef Node node
        cdef set seen = set()
        cdef list stack = [(<Value>root).node for root in roots if (<Value>root).node is not None]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.edges is not None:
                stack.extend([to for to in node.edges if isinstance(to, Node) and to not in seen])
        self.useful = set()
        for node in sorted(seen, key=node_id):
            if node in self.found:
                self.useful.add(node)
            elif node.edges is None:
                self.useful.add(node)  # freed: visiting it says so
            else:
                for to in node.edges:
                    if to is not None and (to in self.found or to in self.useful):
                        self.useful.add(node)
                        break

    cdef run(self, list roots, list gradients):
        cdef Value root
        cdef Py_ssize_t i
        cdef unsigned int visited = 0
        for i in range(len(roots)):
            root = roots[i]
            self.give(root if root.node is None else root.node, gradients[i])
        while self.heap.size():
            self.visit(self.pop())
            visited += 1
            if visited & 255 == 0:
                PyErr_CheckSignals()
        for leaf, gradient in self.hooked.items():
            deposit(leaf, call_hooks((<Value>leaf).hooks, gradient))
        if self.found is not None:
            for to, gradient in self.found.items():
                if gradient is not None and not isinstance(to, Node) and (<Value>to).hooks:
                    self.found[to] = call_hooks((<Value>to).hooks, gradient)


def node_id(Node node):
    return node.id


cdef deposit(Value leaf, Value gradient):
    cdef Value before = leaf._grad  # held: while it is added to, another thread may put something else in its place
    if before is None:
        leaf._grad = gradient.owned(leaf)
    elif fastnn_grad_on:
        leaf._grad = before.plus(gradient)
    else:
        leaf._grad = before.add_in_place(gradient)


cdef Value call_hooks(list hooks, Value gradient):
    for hook in list(hooks):
        changed_to = hook(gradient)
        if changed_to is not None:
            gradient = gradient.instead(changed_to)
    return gradient


cdef object run_backward(list roots, list gradients, bint retain, bint create, list targets):
    """Runs a pass from roots, whose gradients are given. With targets (values) returns their gradients, None where a
    target was not reached."""
    cdef Pass work = Pass(retain)
    cdef Value v
    cdef list keys = None
    cdef bint before
    if targets is not None:
        keys = [(<Value>v).node if (<Value>v).node is not None else v for v in targets]
        work.found = dict.fromkeys(keys)
        work.find_useful(roots)
    before = set_grad_enabled(create)
    try:
        work.run(roots, gradients)
    finally:
        set_grad_enabled(before)
    return None if keys is None else [work.found[key] for key in keys]


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, bint create_graph=False, bint allow_unused=False):
    """Gradients of outputs with respect to inputs, returned instead of gathered in ``.grad``.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensors
        What is differentiated.
    inputs : Tensor or sequence of Tensors
        With respect to what: leaves or tensors in the middle of the graph.
    grad_outputs : Tensor, None or sequence of them
        The gradient of each output, of its shape; None stands for 1 and is allowed for one-element outputs.
    retain_graph : bool, optional
        Keep the graph for another pass. Default: the value of ``create_graph``.
    create_graph : bool
        Record the backward pass, so that the gradients can be differentiated again.
    allow_unused : bool
        Return None for inputs that the outputs do not depend on instead of raising.

    Returns
    -------
    tuple of Tensor
        One gradient per input.

    Raises
    ------
    RuntimeError
        If an output or an input requires no gradient, or an input was not used.
    TypeError, ValueError
        If one is no Tensor, or a gradient of an output has another shape than it.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.tensor([1.0, 2.0], requires_grad=True)
    >>> fnn.grad((x * x).sum(), x)
    (tensor([2., 4.]),)
    """
    cdef list roots = as_list(outputs, "outputs"), targets = as_list(inputs, "inputs"), seeds, results
    cdef Value v
    cdef Py_ssize_t i
    seeds = [None] * len(roots) if grad_outputs is None else (
        list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs])
    if len(seeds) != len(roots):
        raise ValueError(f"grad: {len(seeds)} grad_outputs for {len(roots)} outputs")
    for i in range(len(roots)):
        v = roots[i]
        if not v.needs_grad:
            raise RuntimeError(f"grad: output {i} does not require grad")
        seeds[i] = v.seed(seeds[i])
    for i in range(len(targets)):
        v = targets[i]
        if not v.needs_grad:
            raise RuntimeError(f"grad: input {i} does not require grad")
    results = run_backward(roots, seeds, create_graph if retain_graph is None else bool(retain_graph), create_graph,
                           targets)
    if not allow_unused:
        for i in range(len(results)):
            if results[i] is None:
                raise RuntimeError(f"grad: the outputs do not depend on input {i}; pass allow_unused=True to get "
                                   f"None for it")
    return tuple(results)


cdef list as_list(object values, str name):
    cdef list result = [values] if isinstance(values, Value) or not hasattr(values, "__iter__") else list(values)
    for v in result:
        if not isinstance(v, Value):
            raise TypeError(f"grad: {name} must be Tensors, got {type(v).__name__}")
    return result


include "_tape_modes.pxi"
