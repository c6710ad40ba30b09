"""No kernel reads or writes beside its arrays, changes the floating-point mode, or depends on the number of threads."""

import ctypes
import itertools
import mmap
import platform
import subprocess
import sys

import numpy as np
import pytest

from fastnn import kernels

LIBC = ctypes.CDLL(None, use_errno=True)
SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 100]
UNARY = "copy negative abs sign square sqrt reciprocal exp log tanh sigmoid erf relu leaky_relu elu softplus"
UNARY += " gelu gelu_tanh silu relu6 hardswish"
BINARY = (
    "add subtract multiply divide maximum minimum clamp tanh_grad sigmoid_grad erf_grad relu_grad leaky_relu_grad"
)
BINARY += " relu6_grad hardswish_grad elu_grad softplus_grad gelu_grad gelu_tanh_grad silu_grad abs_grad"


class Guarded:
    """Copies of arrays that end where an unreadable page begins, or begin where one ends: a touch beyond is a crash."""

    def __init__(self, at_end):
        self.at_end = at_end
        self.maps = []

    def __call__(self, x):
        x = np.asarray(x)
        page = mmap.PAGESIZE
        size = -(-max(x.nbytes, 1) // page) * page
        memory = mmap.mmap(-1, size + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for guard in (start, start + page + size):
            assert LIBC.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        self.maps.append((memory, start, size))
        offset = page + (size - x.nbytes if self.at_end else 0)
        copy = np.frombuffer(memory, x.dtype, x.size, offset).reshape(x.shape)
        copy[...] = x
        return copy


@pytest.fixture(params=[True, False], ids=["end", "begin"])
def guarded(request):
    if not hasattr(LIBC, "mprotect"):
        pytest.skip("no mprotect here")
    return Guarded(request.param)


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


@pytest.mark.parametrize("size", SIZES)
def test_elementwise_stays_inside(isa, guarded, size, dtype):
    rng = np.random.default_rng(size)
    x, y = (guarded(rng.uniform(0.1, 1, size).astype(dtype)) for _ in range(2))
    column, square = guarded(np.ones((size, 1), dtype)), guarded(np.ones((size, 17), dtype))
    out, wide = guarded(np.zeros(size, dtype)), guarded(np.zeros((size, size), dtype))
    for name in UNARY.split():
        getattr(kernels, name)(x, out=out)
        getattr(kernels, name)(square[:, -3:])
        getattr(kernels, name)(x[::-1])
    for name in BINARY.split():
        getattr(kernels, name)(x, y, out=out)
        getattr(kernels, name)(x, column, out=wide)
        getattr(kernels, name)(x[:1], y, out=out)
        getattr(kernels, name)(square[:, ::2], square[:, -1:])
    for p in (0.0, 0.5):
        kernels.dropout(x, p, 1, out=out)
        kernels.dropout_mask(out, p, 1)


@pytest.mark.parametrize("size", SIZES)
def test_rows_stay_inside(isa, guarded, size, dtype):
    x, dy, out = (guarded(np.random.default_rng(size).normal(size=(3, size)).astype(dtype)) for _ in range(3))
    for name, axis in itertools.product(["sum", "sum_squares", "max", "min", "prod"], [None, 0, 1]):
        getattr(kernels, name)(x, axis)
    kernels.softmax(x, out=out)
    kernels.softmax_backward(dy, x, out=out)
    kernels.log_softmax(x, out=out)
    kernels.log_softmax_backward(dy, x, out=out)
    target, weight = guarded(np.array([0, size - 1, -100])), guarded(np.ones(size, dtype))
    for w, s in itertools.product((None, weight), (0.0, 0.1)):
        _, lse = kernels.cross_entropy(x, target, w, label_smoothing=s)
        kernels.cross_entropy_backward(guarded(np.ones(3, dtype)), guarded(lse), x, target, w, label_smoothing=s)


@pytest.mark.parametrize("size", SIZES)
def test_norms_stay_inside(isa, guarded, size, dtype):
    x, dy = (guarded(np.random.default_rng(size).normal(size=(5, size)).astype(dtype)) for _ in range(2))
    weight, bias = guarded(np.ones(size, dtype)), guarded(np.zeros(size, dtype))
    for relu in (False, True):
        _, mean, _, rstd = kernels.batch_norm(x, weight, bias, relu=relu)
        kernels.batch_norm_backward(dy, x, guarded(mean), guarded(rstd), weight, bias, relu=relu)
        _, mean, _, rstd = kernels.group_norm(x, 1, weight, bias, relu=relu)
        kernels.group_norm_backward(dy, x, guarded(mean), guarded(rstd), 1, weight, bias, relu=relu)
    _, s, mean, rstd = kernels.layer_norm(x, weight, bias, dy)
    kernels.layer_norm_backward(dy, guarded(s), guarded(mean), guarded(rstd), weight, x)
    _, rstd = kernels.rms_norm(x, weight)
    kernels.rms_norm_backward(dy, x, guarded(rstd), weight)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("queries", [1, 3, 13])
def test_attention_stays_inside(isa, guarded, queries, size, dtype):
    """Odd sizes of heads, odd lengths; masks of every kind."""
    for depth, keys in ((size, 19), (7, size)):
        rng = np.random.default_rng(size)
        q, k, v = (guarded(rng.normal(size=(1, 2, t, depth)).astype(dtype)) for t in (queries, keys, keys))
        masks = [None, guarded(rng.random((queries, keys)) < 0.5), guarded(rng.normal(size=(1, keys)).astype(dtype))]
        for mask, causal in itertools.product(masks, (False, True)):
            out, stats = kernels.attention(q, k, v, mask, causal=causal, dropout=0.1)
            out, stats = guarded(out), guarded(stats)
            grads = kernels.attention_backward(q, q, k, v, out, stats, mask, causal=causal, dropout=0.1)
            assert all(np.isfinite(g).all() for g in (out, *grads))


MATMULS = [
    (1, 1, 1),
    (1, 9, 100),
    (2, 3, 5),
    (5, 1, 17),
    (6, 16, 16),
    (7, 33, 63),
    (13, 17, 65),
    (1, 513, 65),
    (8, 70, 9),
    (65, 66, 67),
]


@pytest.mark.parametrize("shape", MATMULS)
def test_matmul_stays_inside(isa, guarded, shape, dtype):
    m, k, n = shape
    a, a_t, b, b_t = (guarded(np.ones(s, dtype)) for s in ((m, k), (k, m), (k, n), (n, k)))
    wide_a, wide_b = guarded(np.ones((m, k + 3), dtype)), guarded(np.ones((k, n + 3), dtype))
    bias, out = guarded(np.ones(n, dtype)), guarded(np.zeros((m, n), dtype))
    wide_out = guarded(np.zeros((m, n + 3), dtype))[:, -n:]
    for x, y in itertools.product((a, a_t.T, wide_a[:, -k:], a[::-1]), (b, b_t.T, wide_b[:, -n:], b[:, ::-1])):
        for c in (out, wide_out):
            np.testing.assert_array_equal(kernels.matmul(x, y, bias, "relu", out=c), k + 1)
            np.testing.assert_array_equal(kernels.matmul(x, y, bias, "gelu", out=c).shape, (m, n))
            kernels.matmul(x, y, out=c)
            np.testing.assert_array_equal(kernels.matmul(x, y, out=c, accumulate=True), 2 * k)


@pytest.mark.parametrize("shape", [(2, 37, 40), (2, 200, 700)])
def test_large_matmul_stays_inside(isa, guarded, shape, dtype):
    """The packed way, with a batch."""
    batch, m, n = shape
    if isa == "reference" and n > 40:
        pytest.skip("plain loops pack nothing")
    a, b = guarded(np.ones((batch, m, 520), dtype)), guarded(np.ones((520, n), dtype))
    out = guarded(np.zeros((batch, m, n), dtype))
    a_t, b_t = guarded(np.ones((batch, 520, m), dtype)).swapaxes(1, 2), guarded(np.ones((n, 520), dtype)).T
    for x, y in itertools.product((a, a_t), (b, b_t)):
        np.testing.assert_array_equal(kernels.matmul(x, y, out=out), 520)


@pytest.mark.parametrize("size", SIZES)
def test_optimizers_stay_inside(isa, guarded, size, dtype):
    p, g, m, v, mean = ([guarded(np.ones(s, dtype)) for s in (size, 0, 1, size)] for _ in range(5))
    kernels.sgd(p, g, m, step=1, lr=0.1, momentum=0.9)
    kernels.adam(p, g, m, v, step=1, lr=0.1)
    kernels.rmsprop(p, g, v, m, mean, step=1, lr=0.1, zero_grad=True)


def test_what_is_beside_out_stays(isa, dtype):
    for size in SIZES:
        frame = np.full(size + 64, 7, dtype)
        kernels.exp(np.zeros(size, dtype), out=frame[32 : 32 + size])
        np.testing.assert_array_equal(frame, np.where((np.arange(size + 64) - 32) % (size + 64) < size, 1, 7))


@pytest.mark.parametrize("channels", [1, 3, 5, 8, 9, 17, 35])
def test_pools_stay_inside(isa, guarded, channels, dtype):
    """Also where the last vector of a pixel runs over into the next one."""

    def images(h, w):
        return guarded(np.random.default_rng(h).normal(size=(2, h, w, channels)).astype(dtype)).transpose(0, 3, 1, 2)

    x = images(5, 7)
    for window in [(2, 2), (3, 2, 1), (3, 1, 1), ((5, 7), 1), (2, 3, 1)]:
        y, taps = kernels.max_pool2d(x, *window)
        dy = images(*y.shape[2:])
        kernels.max_pool2d_pick(x, taps, *window)
        kernels.max_pool2d_backward(dy, taps, (5, 7), *window)
        kernels.avg_pool2d(x, *window)
        kernels.avg_pool2d_backward(dy, (5, 7), *window)
    for size in [(1, 1), (3, 4), (10, 14), (9, 2)]:
        dy = images(*size)
        for mode in ("nearest", "bilinear"):
            kernels.resize(x, size, mode)
            kernels.resize_backward(dy, (5, 7), mode)
        kernels.adaptive_avg_pool2d(x, size)
        kernels.adaptive_avg_pool2d_backward(dy, (5, 7))
        kernels.adaptive_max_pool2d_backward(dy, kernels.adaptive_max_pool2d(x, size)[1], (5, 7))


# ---- the floating-point mode


MODE = """
import ctypes, threading
libm = ctypes.CDLL("libm.so.6")
def mode():
    environment = (ctypes.c_uint32 * 32)()
    libm.fegetenv(environment)
    return environment[7] & ~0x3F, environment[0] & 0xFFFF  # MXCSR without its sticky flags; the x87 control word
import numpy as np
before = mode()
from fastnn import kernels
assert mode() == before, "import"
def work():
    x = np.full((300, 300), 1e-40, np.float32)
    for row in kernels.isas():
        kernels.use_isa(row)
        for f in (kernels.exp, kernels.log, kernels.gelu, kernels.softmax, lambda x: kernels.matmul(x, x)):
            f(x)
            assert mode() == before, (row, f)
        assert kernels.multiply(x, np.ones_like(x)).min() > 0, "denormal numbers are flushed to zero"
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert np.float64(5e-324) * 1.0 > 0
print("same")
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="reads glibc's x86-64 fenv_t"
)
def test_floating_point_mode_is_left_alone():
    done = subprocess.run([sys.executable, "-P", "-c", MODE], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "same", done.stderr


# ---- the same bits for every number of threads


def steps(rng, kernel, lists, **options):
    arrays = [[np.abs(rng.normal(size=300_001)).astype(np.float32)] for _ in range(lists)]
    kernel(*arrays, step=3, lr=0.1, **options)
    return np.stack([a[0] for a in arrays])


def norms(rng, dtype):
    images, dy = np.moveaxis(rng.normal(size=(2, 5, 23, 31, 50)).astype(dtype), -1, 2)
    weight, bias = rng.normal(size=(2, 50)).astype(dtype)
    y, mean, var, rstd = kernels.batch_norm(images, weight, bias, relu=True)
    backward = kernels.batch_norm_backward(dy, images, mean, rstd, weight, bias, relu=True)
    yield from zip(["y", "mean", "var", "dx", "dweight", "dbias"], [y, mean, var, *backward], strict=True)
    y, mean, _, rstd = kernels.group_norm(images, 10, weight, bias)
    backward = kernels.group_norm_backward(dy, images, mean, rstd, 10, weight, bias)
    yield from zip(["group y", "group dx", "group dweight", "group dbias"], [y, *backward], strict=True)
    rows, d = (np.moveaxis(a, 1, -1).reshape(-1, 50) for a in (images, dy))
    y, s, mean, rstd = kernels.layer_norm(rows, weight, bias, d)
    backward = kernels.layer_norm_backward(d, s, mean, rstd, weight, rows)
    yield from zip(["row y", "row dx", "row dweight", "row dbias"], [y, *backward], strict=True)


def attentions(rng, dtype):
    """Shared out by heads, by parts of the queries, by parts of the keys."""
    for name, batch, queries, keys in [("heads", 5, 70, 70), ("parts", 1, 530, 600), ("few", 1, 1, 3000)]:
        q, k, v, dout = (rng.normal(size=(batch, 2, t, 24)).astype(dtype) for t in (queries, keys, keys, queries))
        out, stats = kernels.attention(q, k, v, dropout=0.1)
        yield from ((f"{name} out", out), (f"{name} stats", stats))
        gradients = kernels.attention_backward(dout, q, k, v, out, stats, dropout=0.1)
        yield from zip([f"{name} dq", f"{name} dk", f"{name} dv"], gradients, strict=True)


def results(dtype):
    """One result of every kernel, each large enough to be shared out."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1201, 513)).astype(dtype)
    cube = rng.normal(size=(3, 129, 300)).astype(dtype)
    target = rng.integers(0, 513, 1201)
    yield "exp", kernels.exp(x)
    yield "gelu_grad", kernels.gelu_grad(x, y)
    yield "broadcast", kernels.add(x.T[::-1], y.T[:, :1])
    for axis, name in itertools.product([None, 0, 1], ["sum", "sum_squares", "max", "prod"]):
        yield f"{name} {axis}", getattr(kernels, name)(x, axis)
    yield "softmax", kernels.softmax(x)
    yield "log_softmax_backward", kernels.log_softmax_backward(x, y)
    loss, lse = kernels.cross_entropy(x, target, label_smoothing=0.1)
    yield "cross_entropy", loss
    yield "cross_entropy_backward", kernels.cross_entropy_backward(loss, lse, x, target)
    yield "matmul", kernels.matmul(x[:300], y[:400].T)
    yield "matmul of a transposed", kernels.matmul(x[:700].T, y[:700])
    yield "matmul of rows", kernels.matmul(x[:8], y[:500].T, activation="gelu")
    yield "matmul of one row", kernels.matmul(x[:1, :500], y[:500])
    yield "matmul batched", kernels.matmul(cube, cube.swapaxes(1, 2))
    yield "dropout", kernels.dropout(x, 0.3, 5)
    yield "sgd", steps(rng, kernels.sgd, 3, momentum=0.9)
    yield "adam", steps(rng, kernels.adam, 4)
    yield "rmsprop", steps(rng, kernels.rmsprop, 5)
    for name, result in norms(rng, dtype):
        yield f"norm: {name}", result
    for name, result in attentions(rng, dtype):
        yield f"attention: {name}", result


def test_same_bits_for_every_number_of_threads(isa, dtype):
    before = kernels.get_num_threads()
    try:
        kernels.set_num_threads(1)
        alone = dict(results(dtype))
        for threads, repeat in [(2, 1), (3, 2), (5, 1)] if isa != "reference" else [(3, 1), (5, 1)]:  # 2 s each
            kernels.set_num_threads(threads)
            for _ in range(repeat):
                for name, got in results(dtype):
                    assert got.tobytes() == alone[name].tobytes(), f"{name} with {threads} threads"
    finally:
        kernels.set_num_threads(before)
