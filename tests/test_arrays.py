"""Tensors to and from other libraries without a copy: DLPack, the buffer protocol, `__array__`."""

import gc
import sys

import numpy as np
import pytest

import fastnn as fnn

DTYPES = ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]


def layouts(dtype):
    """Tensors of many shapes and strides."""
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    yield from map(
        fnn.from_numpy, (x, x.T, x[:, ::2], x.transpose(0, 2, 1), x[:0], np.asarray(x[0, 0, 1]), x[..., None])
    )
    if x.dtype.kind == "f":
        image = np.ascontiguousarray(x[None].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # channels last
        yield fnn.from_numpy(image)


def address(array):
    return array.__array_interface__["data"][0]


# ----- DLPack -----


@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_with_numpy(dtype):
    for t in layouts(dtype):
        there = np.from_dlpack(t)
        back = fnn.from_dlpack(there)
        for array in (there, back.data):
            assert array.dtype == t.dtype
            assert array.shape == t.shape
            if t.size:
                assert array.strides == t.data.strides
                assert address(array) == address(t.data)
            np.testing.assert_array_equal(array, t.data)
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # versioned: says itself whether it may be written
        there = np.from_dlpack(t := fnn.ones(3, dtype=dtype))
        there[1] = 0
        assert t.tolist() == [1, 0, 1]


def test_dlpack_keeps_the_memory():
    t = fnn.ones(1000, 10) * 3
    there = np.from_dlpack(t)
    back = fnn.from_dlpack(there)
    del t, there
    gc.collect()
    fnn.ones(1000, 10)  # would get the memory if it were free
    assert (back == 3).all()


def test_dlpack_of_read_only_memory():
    frozen = fnn.nn.Linear(3, 2).freeze().weight
    there = np.from_dlpack(frozen)
    assert not there.flags.writeable
    back = fnn.from_dlpack(frozen)
    with pytest.raises(ValueError, match="read-only"):
        back.fill_(0)
    with pytest.raises(BufferError):
        frozen.__dlpack__(max_version=(0, 8))  # a consumer that knows no flags might write
    copied = fnn.from_dlpack(frozen, copy=True)
    copied.fill_(0)
    assert (frozen.numpy() != 0).any()


def test_dlpack_refusals():
    with pytest.raises(BufferError, match="detach"):
        np.from_dlpack(fnn.ones(1, requires_grad=True))
    with pytest.raises(BufferError):
        fnn.from_dlpack(np.ones(3, ">f4"))
    with pytest.raises(TypeError, match="float16"):
        fnn.from_dlpack(np.ones(3, np.float16))
    with pytest.raises(TypeError, match="__dlpack__"):
        fnn.from_dlpack([1.0])
    with pytest.raises(ValueError, match="'cpu'"):
        fnn.from_dlpack(np.ones(3), device="cuda")
    assert fnn.ones(1).__dlpack_device__() == (1, 0)
    assert fnn.from_dlpack(np.ones(3), device="cpu").tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_dlpack_with_torch(dtype):
    torch = pytest.importorskip("torch")
    for t in layouts(dtype):
        there = torch.from_dlpack(t)
        back = fnn.from_dlpack(there)
        np.testing.assert_array_equal(there.numpy(), t.data)
        np.testing.assert_array_equal(back.data, t.data)
        if t.size:
            assert there.data_ptr() == address(t.data) == address(back.data)
            assert tuple(s * t.itemsize for s in there.stride()) == t.data.strides
    # In both directions what one writes the other sees.
    t = fnn.zeros(3, dtype=dtype)
    torch.from_dlpack(t)[0] = 1
    assert t.tolist() == [1, 0, 0]
    there = torch.zeros(3, dtype=getattr(torch, dtype))
    fnn.from_dlpack(there)[1] = 1
    assert there.tolist() == [0, 1, 0]
    with pytest.raises((BufferError, RuntimeError)):
        fnn.from_dlpack(torch.ones(2, requires_grad=True))


# ----- buffers -----


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers(dtype):
    for t in layouts(dtype):
        view = memoryview(t)
        assert view.shape == t.shape
        assert view.strides == memoryview(t.data).strides
        assert view.format == memoryview(t.data).format
        assert not view.readonly
        assert view.tolist() == t.tolist()
        assert view.obj is not None
    t = fnn.zeros(4, dtype=dtype)
    memoryview(t)[1] = True if dtype == "bool" else 1
    assert t.tolist() == [0, 1, 0, 0]


def test_buffers_say_what_they_cannot():
    frozen = fnn.nn.Linear(3, 2).freeze().weight
    view = memoryview(frozen)
    assert view.readonly
    with pytest.raises(TypeError, match="read-only"):
        view[0, 0] = 1.0
    with pytest.raises(BufferError, match="requires grad"):
        memoryview(fnn.ones(2, requires_grad=True))
    with pytest.raises(TypeError, match="contiguous"):
        memoryview(fnn.ones(2, 3).T).cast("B")


def test_buffers_own_nothing_and_leak_nothing():
    t = fnn.ones(1000, 10) * 3
    view, before = memoryview(t), sys.getrefcount(None)
    for _ in range(10_000):
        memoryview(t).release()
    assert abs(sys.getrefcount(None) - before) < 1000
    del t
    gc.collect()
    fnn.ones(1000, 10)
    assert set(view.cast("B").cast("f").tolist()) == {3.0}


def test_buffers_where_bytes_are_wanted(tmp_path):
    t = fnn.tensor([[1.0, 2.0], [3.0, 4.0]])
    path = tmp_path / "raw"
    path.write_bytes(t)
    assert np.fromfile(path, np.float32).tolist() == [1, 2, 3, 4]
    with open(path, "rb") as file:
        file.readinto(back := fnn.zeros(2, 2))
    assert back.tolist() == t.tolist()
    assert bytes(t) == t.data.tobytes()


# ----- NumPy -----


@pytest.mark.parametrize("requires_grad", [False, True])
def test_array_copies_as_numpy_2_says(requires_grad):
    t = fnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=requires_grad)
    assert np.shares_memory(np.asarray(t), t.data)
    assert np.shares_memory(t.__array__(), t.data)
    assert np.shares_memory(t.__array__(np.float32, copy=False), t.data)
    assert not np.shares_memory(t.__array__(copy=True), t.data)
    assert not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        t.__array__(np.float64, copy=False)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.shares_memory(np.array(t, copy=False), t.data)
        with pytest.raises(ValueError, match="copy"):
            np.array(t, np.float64, copy=False)
    assert np.asarray(t).flags.writeable is not requires_grad  # no tape would notice what is written there
    assert np.array([t.detach(), t.detach()]).shape == (2, 2, 2)
    assert not np.asarray(fnn.nn.Linear(2, 2).freeze().weight).flags.writeable
