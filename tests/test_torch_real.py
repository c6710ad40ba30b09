"""Files that PyTorch wrote, read without it: small ones in data/, and those of facenet-pytorch if it is installed."""

import importlib.metadata
import pathlib

import numpy as np
import pytest

import fastnn as fnn

DATA = pathlib.Path(__file__).parent / "data"  # by torch_files.py there
WHOLE = np.arange(24).reshape(2, 3, 4)


def check_real(back):
    """Compare the tensors of torch_files.py with what they were made of."""
    for name in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
        x = np.asarray(back[name])
        assert x.dtype == (np.float64 if name == "float64" else np.float32)
        exact = name not in ("float8_e4m3fn", "float8_e5m2")  # with 3 and 2 bits 11.5 is 11 or 12
        np.testing.assert_allclose(x, WHOLE / 2, rtol=0 if exact else 0.13)
        assert np.array_equal(x, WHOLE / 2) is exact
    for name in ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"):
        x = np.asarray(back[name])
        assert x.dtype == name
        np.testing.assert_array_equal(x, WHOLE % 2 if name == "bool" else WHOLE)


@pytest.mark.parametrize("name", ["zip.pt", "pickles.pt"])
def test_files_of_pytorch(name):
    back = fnn.load_torch(DATA / name)
    assert back["epoch"] == 3
    net = back["net"]
    check_real(net)
    np.testing.assert_array_equal(net["parameter"], WHOLE / 2)
    net["float32"][1, 2, 3] = 99
    assert net["again"][1, 2, 3] == net["transposed"][3, 1, 2] == net["part"][0, 1, 1] == 99


def test_a_safetensors_file_of_pytorch():
    check_real(fnn.load(DATA / "torch.safetensors"))


@pytest.mark.parametrize(("name", "parameters"), [("pnet", 6632), ("rnet", 100_178), ("onet", 389_040)])
def test_real_files_of_the_older_layout(name, parameters):
    try:
        wheel = importlib.metadata.distribution("facenet-pytorch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("facenet-pytorch is not installed")
    state = fnn.load_torch(wheel.locate_file(f"facenet_pytorch/data/{name}.pt"))
    assert sum(array.size for array in state.values()) == parameters
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in state.values())


@pytest.mark.parametrize("old", [False, True])
def test_what_stands_beside_weights_in_a_checkpoint(old, tmp_path):
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5]).state_dict()
    beside = {"schedule": schedule, "shape": net.weight.shape, "device": torch.device("cpu")}
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": net.state_dict(), **beside}, path, _use_new_zipfile_serialization=not old)
    found = fnn.load_torch(path)
    np.testing.assert_array_equal(found["model"]["weight"], net.weight.detach().numpy())
    assert found["schedule"]["milestones"] == {2: 1, 5: 1}
    assert (found["shape"], found["device"]) == ((3, 2), "cpu")
