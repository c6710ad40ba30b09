# Whether ops are recorded, of each thread: the context managers that switch it.


cdef class GradMode:
    """Base of no_grad and enable_grad: a context manager and a decorator that sets recording for the current thread."""
    cdef bint on
    cdef list before

    def __cinit__(self, function=None):
        if function is not None:
            raise TypeError(f"{type(self).__name__} takes no argument; as a decorator write @{type(self).__name__}()")
        self.before = []

    def __enter__(self):
        self.before.append(set_grad_enabled(self.on))
        return self

    def __exit__(self, *exc):
        set_grad_enabled(self.before.pop())

    def __call__(self, function):
        import functools
        import inspect

        mode = type(self)

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            with mode():
                return function(*args, **kwargs)

        @functools.wraps(function)
        def generator_wrapper(*args, **kwargs):
            return each_step(mode, function(*args, **kwargs))

        return generator_wrapper if inspect.isgeneratorfunction(function) else wrapper


def each_step(mode, generator):
    """The generator with the mode on in each of its steps, and not in what its consumer does between them."""
    step, given = generator.send, None
    while True:
        try:
            with mode():
                item = step(given)
        except StopIteration as end:
            return end.value
        try:
            step, given = generator.send, (yield item)
        except GeneratorExit:
            with mode():
                generator.close()
            raise
        except BaseException as error:
            step, given = generator.throw, error


cdef class no_grad(GradMode):
    """Context manager or decorator: nothing computed inside is recorded on the tape.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.ones(2, requires_grad=True)
    >>> with fnn.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __cinit__(self):
        self.on = False


cdef class enable_grad(GradMode):
    """Context manager or decorator: recording is on inside, also within ``no_grad``.

    Examples
    --------
    >>> import fastnn as fnn
    >>> x = fnn.ones(2, requires_grad=True)
    >>> with fnn.no_grad(), fnn.enable_grad():
    ...     y = x * 2
    >>> y.requires_grad
    True
    """

    def __cinit__(self):
        self.on = True


def is_grad_enabled():
    """Whether operations are recorded in this thread.

    Examples
    --------
    >>> import fastnn as fnn
    >>> fnn.is_grad_enabled()
    True
    """
    return grad_enabled()
