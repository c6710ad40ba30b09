"""Whatever is passed, a public function returns or raises a plain exception: no crash, no hang, no SystemError.

Arguments are drawn at random: tensors and arrays of odd shapes, strides, types and byte orders, and what is neither.
FASTNN_FUZZ sets how many a function gets, the same ones first. Under AddressSanitizer (.ci/sanitize),
with more of them, this also finds what reads beside its arrays without crashing.
"""

import inspect
import os
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastnn as fnn
from fastnn import kernels

PLAIN = (TypeError, ValueError, RuntimeError, IndexError, MemoryError, OverflowError, BufferError)
ALLOWED = (*PLAIN, NotImplementedError)
FUZZ = settings(
    max_examples=int(os.environ.get("FASTNN_FUZZ", "10")),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FLOATS = [np.float32, np.float64]
# Nothing in between: numbers that are no error but fill the memory of the machine.
INTEGERS = st.integers(-4, 6) | st.sampled_from([2**42, -(2**42), 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30])
SCALARS = st.one_of(INTEGERS, st.floats(), st.booleans(), st.none())


@st.composite
def shapes(draw, most=4):
    return tuple(draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, 17]), max_size=most)))


@st.composite
def arrays(
    draw, shape=None, dtypes=(*FLOATS, *FLOATS, *FLOATS, np.int64, np.bool_, np.float16, np.complex64, object, "S3")
):
    """An array of numbers that may be NaN, Inf or whole, in some memory order."""
    shape = draw(shapes()) if shape is None else shape
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = rng.integers(-3, 4, shape).astype(np.float64)
    if dtype.kind in "fc" and draw(st.booleans()):
        x[rng.random(shape) < 0.3] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300, 1e-310, 0.5]))
    with np.errstate(all="ignore"):
        x = np.asarray(x.astype(dtype))
    return disguised(draw, x)


def disguised(draw, x):
    """The same numbers in another memory layout, where the type has one."""
    x = np.asarray(x)
    how = draw(
        st.sampled_from(["plain", "plain", "F", "reversed", "swapped", "unaligned", "read-only", "broadcast", "sliced"])
    )
    if how == "F":
        return np.asfortranarray(x)
    if how == "reversed" and x.ndim:
        return np.ascontiguousarray(x[::-1])[::-1]
    if how == "swapped":
        return x.astype(x.dtype.newbyteorder())
    if how == "unaligned" and x.size and x.dtype != object:
        return np.frombuffer(bytearray(b"x" + x.tobytes()), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    if how == "read-only":
        x.flags.writeable = False
    if how == "broadcast" and x.ndim and x.shape[0]:
        return np.broadcast_to(x[:1], x.shape)
    if how == "sliced" and x.ndim:
        return np.repeat(x, 2, -1)[..., ::2]
    return x


@st.composite
def tensors(draw, shape=None):
    x = draw(arrays(shape, dtypes=(*FLOATS, *FLOATS, *FLOATS, np.int64, np.bool_)))
    t = (
        fnn.as_tensor(np.array(x, x.dtype.newbyteorder("=")))
        if draw(st.booleans())
        else fnn.tensor(np.array(x, x.dtype.newbyteorder("=")))
    )
    if t.dtype in FLOATS and draw(st.booleans()):
        t.requires_grad_()
    return t


JUNK = st.one_of(
    SCALARS,
    st.sampled_from(
        ["", "relu", "mean", b"x", object, (), [], {}, [[1, 2], [3]], slice(None), Ellipsis, np.float32(2), 1j]
    ),
    st.lists(INTEGERS, max_size=4),
    st.lists(INTEGERS, max_size=4).map(tuple),
)


def tries(function, *args, **kwargs):
    """The result, or None where a plain exception was raised."""
    try:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)
    except ALLOWED:
        return None


# ---- the raw kernels

SETTERS = {"use_isa", "set_num_threads", "empty_cache", "isa", "isas", "all_isas", "memory_stats", "available_cpus"}
KERNELS = [name for name in kernels.__all__ if name not in SETTERS | {"get_num_threads"}]
STEPS = {"sgd", "adam", "rmsprop"}


@pytest.mark.parametrize("name", KERNELS)
@FUZZ
@given(data=st.data())
def test_kernels(name, data):
    draw = data.draw
    shape = draw(shapes())
    like = arrays(shape, FLOATS if draw(st.booleans()) else [np.float32])
    value = st.one_of(like, like, like, arrays(), JUNK)
    function = getattr(kernels, name)
    if name in STEPS:
        value = st.one_of(st.lists(value, max_size=3), value)
        tries(
            function, *(draw(value) for _ in range(draw(st.integers(2, 5)))), step=draw(INTEGERS), lr=draw(st.floats())
        )
    else:
        count = 1 + (name not in ("softmax", "log_softmax")) if draw(st.booleans()) else draw(st.integers(0, 4))
        options = {"out": draw(value)} if draw(st.booleans()) else {}
        tries(function, *(draw(value) for _ in range(count)), **options)


TWO = {"add", "subtract", "multiply", "divide", "maximum", "minimum", "matmul"}
TWO |= {name for name in KERNELS if name.endswith(("_grad", "softmax_backward"))}
ONE = set(KERNELS) - TWO - STEPS - {"cross_entropy", "cross_entropy_backward", "dropout", "dropout_mask"}


@pytest.mark.parametrize("name", sorted(ONE | TWO))
@settings(FUZZ, max_examples=max(25, FUZZ.max_examples))  # about results, not memory alone
@given(data=st.data())
def test_a_view_is_as_good_as_a_copy(name, data):
    """Any strides and byte order give the same bits as a plain copy."""
    draw = data.draw
    shape, dtype = draw(shapes()), draw(st.sampled_from(FLOATS))
    inputs = [draw(arrays(shape, [dtype])) for _ in range(1 + (name in TWO))]
    if name == "matmul":  # its ways round differently: whole numbers are exact in all
        inputs = [disguised(draw, np.nan_to_num(np.clip(x, -3, 3)).round().astype(dtype)) for x in inputs]
        inputs[1] = inputs[1].swapaxes(-1, -2) if len(shape) > 1 else inputs[1]
    plain = [np.array(x, dtype, order="C") for x in inputs]
    got, want = tries(getattr(kernels, name), *inputs), tries(getattr(kernels, name), *plain)
    for x, copy in zip(inputs, plain, strict=True):
        np.testing.assert_array_equal(x, copy)
    if isinstance(want, np.ndarray):
        np.testing.assert_array_equal(got, want)
    else:
        assert (got is None) == (want is None)


def test_results_too_large_are_refused():
    x = np.broadcast_to(np.float32(1), (2**31, 1))
    huge = np.broadcast_to(np.float32(1), (2**31, 2**29))
    for wrong in (
        lambda: kernels.add(x, np.broadcast_to(np.float32(1), (1, 2**31))),
        lambda: kernels.exp(huge),
        lambda: kernels.softmax(huge),
        lambda: kernels.matmul(x, x.T),
        lambda: kernels.matmul(np.broadcast_to(x[:1], (2**40, 1, 1)), np.ones((1, 2**10), np.float32)),
        lambda: kernels.sum(huge),
        lambda: kernels.dropout(huge, 0.5, 1),
    ):
        with pytest.raises((ValueError, MemoryError)):
            wrong()


# ---- tensors

FUNCTIONS = {n: getattr(fnn._ops, n) for n in dir(fnn._ops) if n in fnn.__all__ and n.islower()}
FUNCTIONS |= {f"functional.{n}": getattr(fnn.nn.functional, n) for n in dir(fnn.nn.functional) if not n.startswith("_")}
FUNCTIONS = {n: f for n, f in FUNCTIONS.items() if type(f).__name__ in ("cython_function_or_method", "function")}
LISTS = {"tensors", "outputs", "inputs", "operands"}
NUMBERS = {
    "dim",
    "axis",
    "dims",
    "shape",
    "size",
    "n",
    "m",
    "start",
    "end",
    "step",
    "k",
    "start_dim",
    "end_dim",
    "chunks",
    "shifts",
}
NUMBERS |= {
    "diagonal",
    "num_classes",
    "split_size",
    "sections",
    "pad",
    "padding",
    "dim0",
    "dim1",
    "low",
    "high",
    "p",
    "lambd",
}


def argument(draw, parameter, like):
    if draw(st.integers(0, 9)) == 0:
        return draw(JUNK | arrays())
    if parameter.name in LISTS:
        return draw(st.lists(like, max_size=3))
    if parameter.name in NUMBERS:
        return draw(st.one_of(INTEGERS, INTEGERS, st.lists(INTEGERS, max_size=3), st.none()))
    if parameter.default is not inspect.Parameter.empty:
        return draw(st.sampled_from([parameter.default, parameter.default, True, False, None]) | SCALARS)
    return draw(like)


@pytest.mark.parametrize("name", FUNCTIONS)
@FUZZ
@given(data=st.data())
def test_operations(name, data):
    draw = data.draw
    function = FUNCTIONS[name]
    shape = draw(shapes())
    like = st.one_of(tensors(shape), tensors(shape), tensors(shape), tensors())
    args, kwargs = [], {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            args += draw(st.lists(like if parameter.name in LISTS else INTEGERS, max_size=3))
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        elif parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            args.append(argument(draw, parameter, like))
        elif draw(st.booleans()):
            kwargs[parameter.name] = argument(draw, parameter, like)
    result = tries(function, *args, **kwargs)
    if isinstance(result, fnn.Tensor) and result.requires_grad and result.size < 10_000:
        tries(lambda: result.sum().backward())


METHODS = [n for n in dir(fnn.Tensor) if callable(getattr(fnn.Tensor, n)) and not n.startswith("__")]
METHODS += [
    "__getitem__",
    "__setitem__",
    "__iadd__",
    "__matmul__",
    "__rmatmul__",
    "__pow__",
    "__rpow__",
    "__truediv__",
    "__eq__",
]
METHODS += [
    "__len__",
    "__iter__",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__repr__",
    "__array__",
    "__contains__",
]


@pytest.mark.parametrize("name", [n for n in METHODS if hasattr(fnn.Tensor, n)])
@FUZZ
@given(data=st.data())
def test_methods(name, data):
    draw = data.draw
    shape = draw(shapes(3))
    t = draw(tensors(shape))
    value = st.one_of(tensors(shape), tensors(), JUNK, INTEGERS, INTEGERS)
    if name in ("__getitem__", "__setitem__"):
        part = st.one_of(
            st.integers(-4, 4),
            st.slices(5),
            st.none(),
            st.just(Ellipsis),
            INTEGERS,
            arrays(dtypes=[np.int64, np.bool_]),
        )
        value = st.one_of(part, st.lists(part, max_size=3).map(tuple), value)
    args = [draw(value) for _ in range(draw(st.integers(0, 3)))]
    before = np.array(t.detach().numpy())
    result = tries(getattr(t, name), *args)
    if isinstance(result, fnn.Tensor) and result.requires_grad and result.size < 10_000:
        tries(lambda: result.sum().backward())
    if not name.endswith("_") and name not in ("apply_",):
        np.testing.assert_array_equal(t.detach().numpy(), before)


def nested(depth):
    """A list in a list in a list ...; one that holds itself where depth is None."""
    inner = outer = []
    if depth is None:
        inner.append(outer)
    for _ in range(depth or 0):
        outer = [outer]
    return outer


@pytest.mark.parametrize("depth", [None, 100_000])
def test_lists_without_end_are_refused(depth):
    t, endless = fnn.ones(2, 3), nested(depth)
    for call in (
        lambda: t[endless],
        lambda: t[0, endless],
        lambda: t.__setitem__(endless, 1.0),
        lambda: np.add(t, endless),
        lambda: np.exp(t, where=endless),
        lambda: np.where(endless, t, t),
        lambda: np.sum(t, endless),
        lambda: fnn.tensor(endless),
    ):
        with pytest.raises((RecursionError, TypeError, ValueError)):
            call()


# ---- threads


def replaced(tensors):
    """Gives all tensors other memory with the same numbers."""
    for t in tensors:
        t.data = t.data.copy()


def dropped(parameters):
    """As optimizers of other threads do with the gradients they have used."""
    for p in parameters:
        p.grad = fnn.ones(*p.shape)


LSTM = fnn.nn.LSTM(64, 64)
OPERATIONS = {
    "norm": (lambda x, w, b: fnn.nn.functional.add_layer_norm(x, x, (512,), w, b)[0], [(300, 512), (512,), (512,)]),
    "lstm": (lambda x, *weights: LSTM(x)[0], [(30, 16, 64), *LSTM.parameters()]),
    "gather": (lambda x, i: fnn.gather(x, 1, i), [(300, 300), fnn.zeros(300, 300, dtype=np.int64)]),
    "cross_entropy": (lambda x, w, i: fnn.cross_entropy(x, i, w), [(900, 90), (90,), fnn.zeros(900, dtype=np.int64)]),
}


def while_others(change, values, work, seconds=0.3):
    """Calls work, in two threads, while this one changes values."""
    stop, failed = threading.Event(), []

    def again():
        while not stop.is_set() and not failed:
            try:
                work()
            except RuntimeError as error:
                if "changed in place" not in str(error):
                    failed.append(error)

    threads = [threading.Thread(target=again) for _ in range(2)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        change(values)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("name", OPERATIONS)
def test_memory_replaced_while_a_kernel_reads_it(name):
    """What a kernel reads without the GIL is not freed under it: for AddressSanitizer to see."""
    function, shapes = OPERATIONS[name]
    values = [fnn.ones(*s, requires_grad=True) if isinstance(s, tuple) else s for s in shapes]
    while_others(replaced, values, lambda: function(*values).sum().backward())


def test_a_gradient_dropped_while_others_add_to_it():
    """What is added to without the GIL is held: else its memory, or the tensor itself, was somebody else's by then."""
    x, ones = fnn.ones(300, 512, requires_grad=True), fnn.ones(300, 512)

    def change(leaves):
        for leaf in leaves:
            leaf.grad = None

    while_others(change, [x], lambda: (x * ones).sum().backward(), seconds=1.0)
    x.grad = None
    (x * ones).sum().backward()
    assert (x.grad.data == 1).all()


@pytest.mark.parametrize("kind", [fnn.optim.SGD, fnn.optim.Adam, fnn.optim.RMSprop])
def test_an_optimizer_of_several_threads(kind):
    parameters = [fnn.nn.Parameter(np.ones((200, 200), np.float32)) for _ in range(3)]
    optimizer = kind(parameters, lr=0.0)
    while_others(dropped, parameters, optimizer.step)
    assert all((p.data == 1).all() for p in parameters)
