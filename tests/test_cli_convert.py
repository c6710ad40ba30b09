"""`fastnn convert` and `fastnn summary`: what they write, what they print, and what they refuse in one line."""

import io
import os
import sys
import warnings
import zipfile

import numpy as np
import pytest
from command_line import complaint, printed

import fastnn as fnn
from fastnn import _weights_file, nn
from fastnn.__main__ import main


def network():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    return net


def same(path, state):
    loaded = fnn.load(path) if path.suffix == ".safetensors" else dict(np.load(path))
    assert sorted(loaded) == sorted(state)
    for name, array in state.items():
        np.testing.assert_array_equal(np.asarray(loaded[name]), array.data)


@pytest.mark.parametrize("target", ["new.safetensors", "new.npz", "NEW.SafeTensors"])
def test_safetensors(capsys, tmp_path, target):
    net, path = network(), tmp_path / "net.safetensors"
    fnn.save(net, path)
    text = printed(capsys, "convert", path, tmp_path / target)
    assert text == f"{tmp_path / target}: 4 tensors, 1,490 numbers (float32), 0.0 MB\n"
    if target != "NEW.SafeTensors":
        same(tmp_path / target, net.state_dict())
    assert len(list(tmp_path.iterdir())) == 2


def test_npz(capsys, tmp_path):
    net, path = network(), tmp_path / "net.npz"
    np.savez(path, **{name: t.data for name, t in net.state_dict().items()})
    printed(capsys, "convert", path, tmp_path / "new.safetensors")
    same(tmp_path / "new.safetensors", net.state_dict())


def test_npz_takes_any_name(capsys, tmp_path):
    state = {name: np.full(2, i) for i, name in enumerate(["file", "allow_pickle", "arr_0", "a/b", "..", "é"])}
    fnn.save(state, tmp_path / "net.safetensors")
    printed(capsys, "convert", tmp_path / "net.safetensors", tmp_path / "new.npz")
    printed(capsys, "convert", tmp_path / "new.npz", tmp_path / "back.safetensors")
    same(tmp_path / "back.safetensors", {name: fnn.tensor(array) for name, array in state.items()})


def test_names_that_would_be_one(capsys, tmp_path):
    ones, twos = np.ones(2, np.float32), np.full(3, 2, np.float32)
    fnn.save({"a": ones, "a.npy": twos}, tmp_path / "net.safetensors")
    printed(capsys, "convert", tmp_path / "net.safetensors", tmp_path / "new.npz")
    printed(capsys, "convert", tmp_path / "new.npz", tmp_path / "back.safetensors")
    same(tmp_path / "back.safetensors", {"a": fnn.tensor(ones), "a.npy": fnn.tensor(twos)})
    fnn.save({"p": {1: ones, "1": twos}}, tmp_path / "keys.safetensors")
    words = ("convert", tmp_path / "keys.safetensors", tmp_path / "keys.npz", "--key", "p")
    assert "two tensors are named '1'" in complaint(capsys, *map(str, words))
    assert not (tmp_path / "keys.npz").exists()
    for name, content in (("twice", (("w.npy", ones), ("w.npy", twos))), ("text", (("a.txt", None),))):
        with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            warnings.simplefilter("ignore")  # zipfile says it, too
            for member, array in content:
                buffer = io.BytesIO()
                if array is not None:
                    np.save(buffer, array)
                archive.writestr(member, buffer.getvalue() or b"text")
    assert "an array is in it twice" in complaint(capsys, "summary", str(tmp_path / "twice.npz"))
    assert "is no array" in complaint(capsys, "summary", str(tmp_path / "text.npz"))


def test_onnx_gives_the_state_dict_back(capsys, tmp_path):
    pytest.importorskip("onnx")
    net = nn.Sequential(nn.LSTM(3, 4, bidirectional=True), nn.Lambda(lambda pair: pair[0]), nn.Linear(8, 2))
    fnn.onnx.export(net, fnn.zeros(5, 2, 3), tmp_path / "net.onnx")
    printed(capsys, "convert", tmp_path / "net.onnx", tmp_path / "new.safetensors")
    same(tmp_path / "new.safetensors", net.state_dict())
    fnn.load(tmp_path / "new.safetensors", net)


def test_onnx_types(capsys, tmp_path):
    onnx = pytest.importorskip("onnx")
    kinds = [np.float16, np.float64, np.int8, np.uint16, np.int64, np.bool_]
    tensors = [onnx.numpy_helper.from_array(np.array([0, 1], kind), np.dtype(kind).name) for kind in kinds]
    bf16 = onnx.helper.make_tensor("bfloat16", onnx.TensorProto.BFLOAT16, [2], [0.5, 3.0])
    empty = onnx.numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty")
    onnx.save(model_of(onnx, [*tensors, bf16, empty]), tmp_path / "net.onnx")
    printed(capsys, "convert", tmp_path / "net.onnx", tmp_path / "new.npz")
    found = np.load(tmp_path / "new.npz")
    assert found["bfloat16"].tolist() == [0.5, 3.0]
    assert found["bfloat16"].dtype == found["float16"].dtype == np.float32
    assert found["empty"].shape == (0, 3)
    for kind in kinds[1:]:
        assert found[np.dtype(kind).name].dtype == kind


def model_of(onnx, tensors):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    info = [onnx.helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", info[:1], info[1:], tensors))


def test_pytorch(capsys, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2).half())
    torch.save({"epoch": 3, "model": {"net": theirs.state_dict()}}, tmp_path / "net.pt")
    line = complaint(capsys, "convert", tmp_path / "net.pt", tmp_path / "new.safetensors")
    assert "epoch, model are no tensors: choose a part by --key, such as model" in line
    line = complaint(capsys, "convert", tmp_path / "net.pt", tmp_path / "new.safetensors", "--key", "model.nat")
    assert "there is no 'nat' of --key model.nat; it holds net" in line
    line = complaint(capsys, "convert", tmp_path / "net.pt", tmp_path / "new.safetensors", "--key", "epoch")
    assert "epoch is a int; expected a dict of tensors" in line
    assert not (tmp_path / "new.safetensors").exists()
    printed(capsys, "convert", tmp_path / "net.pt", tmp_path / "new.safetensors", "--key", "model.net")
    ours = fnn.load(tmp_path / "new.safetensors", nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    np.testing.assert_array_equal(ours[1].weight.data, theirs[1].weight.detach().float().numpy())


def test_keys_of_parts(capsys, tmp_path):
    fnn.save({name: {"w": np.full(2, name)} for name in (3, -1)}, tmp_path / "net.safetensors")
    words = ["convert", tmp_path / "net.safetensors", tmp_path / "new.safetensors", "--key"]
    for name in (3, -1):
        printed(capsys, *words[:-1], f"--key={name}")
        assert fnn.load(tmp_path / "new.safetensors")["w"].tolist() == [name] * 2
    fnn.save({"options": {"lr": 0.1}, "net": {"w": np.zeros(10**5)}}, tmp_path / "net.safetensors")
    assert "by --key, such as net\n" in complaint(capsys, *words[:-1])
    assert "100,000 numbers (float64), 0.8 MB" in printed(capsys, *words, "net")
    for none in ("²", "9" * 5000):  # digits, and no integers
        assert f"there is no '{none[:1]}" in complaint(capsys, *words, none)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("new.onnx", "weights alone are no graph"),
        ("new.pt", "pickles, which are not written"),
        ("new.txt", "ends in .safetensors or .npz"),
        ("new", "ends in .safetensors or .npz"),
    ],
)
def test_targets_that_cannot_be(capsys, tmp_path, target, says):
    fnn.save(network(), tmp_path / "net.safetensors")
    assert says in complaint(capsys, "convert", tmp_path / "net.safetensors", tmp_path / target)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def damaged(name, content):
    return pytest.param(name, content, id=f"{name} of {len(content)} bytes")


@pytest.mark.parametrize("command", ["convert", "summary"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(damaged(f"net.{kind}", b"") for kind in ("safetensors", "pt", "npz", "onnx")),
        *(damaged(f"net.{kind}", b"\x08\x07nonsense" * 9) for kind in ("safetensors", "pth", "npz", "onnx")),
        damaged("net.txt", b"1 2 3"),
        damaged("net.npz", b"PK\x03\x04" + bytes(50)),
        damaged("net.onnx", b"\x08\x0a"),
    ],
)
def test_damaged_files_are_one_line(capsys, tmp_path, command, name, content):
    pytest.importorskip("onnx")
    (tmp_path / name).write_bytes(content)
    words = [tmp_path / name, tmp_path / "new.npz"] if command == "convert" else [tmp_path / name]
    line = complaint(capsys, command, *words)
    assert name in line
    assert "Traceback" not in line
    assert not (tmp_path / "new.npz").exists()


def test_npz_with_pickles_and_cut_off(capsys, tmp_path):
    np.savez(tmp_path / "net.npz", a=np.array([{}], object))
    assert "allow_pickle" in complaint(capsys, "convert", tmp_path / "net.npz", tmp_path / "new.npz")
    np.savez(tmp_path / "net.npz", a=np.arange(1000))
    content = (tmp_path / "net.npz").read_bytes()
    for length in (1, 10, 100, len(content) - 1):
        (tmp_path / "net.npz").write_bytes(content[:length])
        complaint(capsys, "convert", tmp_path / "net.npz", tmp_path / "new.npz")
    np.save(tmp_path / "one.npy", np.arange(3))
    os.replace(tmp_path / "one.npy", tmp_path / "net.npz")
    assert "it is one array" in complaint(capsys, "convert", tmp_path / "net.npz", tmp_path / "new.npz")
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    complaint(capsys, "convert", tmp_path / "net.npz", tmp_path / "new.npz")


def test_damaged_models(capsys, tmp_path):
    onnx = pytest.importorskip("onnx")
    path, target = tmp_path / "net.onnx", tmp_path / "new.npz"
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "weight")

    def refused(*tensors):
        path.write_bytes(model_of(onnx, tensors).SerializeToString())
        return complaint(capsys, "convert", path, target)

    assert "holds 'weight' twice" in refused(tensor, tensor)
    short = onnx.TensorProto.FromString(tensor.SerializeToString())
    short.dims[0] = 5
    assert "damaged tensor 'weight'" in refused(short)
    short.dims[0] = 1 << 62
    assert "damaged tensor 'weight'" in refused(short)
    short.dims[0] = -4
    assert "damaged tensor 'weight'" in refused(short)
    outside = onnx.TensorProto.FromString(tensor.SerializeToString())
    outside.data_location = onnx.TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    assert "in another file" in refused(outside)
    strings = onnx.helper.make_tensor("words", onnx.TensorProto.STRING, [1], [b"a"])
    assert "'words' as STRING" in refused(strings)
    unknown = onnx.TensorProto(name="odd", data_type=99, dims=[1], raw_data=b"abcd")
    assert "damaged tensor 'odd'" in refused(unknown)
    assert "no tensors in it" in refused()
    assert not target.exists()


def test_missing_files_and_packages(capsys, tmp_path, monkeypatch):
    assert "No such file" in complaint(capsys, "convert", tmp_path / "no.pt", tmp_path / "new.npz")
    assert "No such file" in complaint(capsys, "summary", tmp_path / "no.safetensors")
    fnn.save(network(), tmp_path / "net.safetensors")
    there = tmp_path / "net.safetensors"
    (tmp_path / "link.safetensors").symlink_to(there)
    assert "is the source itself" in complaint(capsys, "convert", there, tmp_path / "link.safetensors")
    assert "No such file" in complaint(capsys, "convert", there, tmp_path / "folder" / "new.npz")
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert 'pip install "fastnn[onnx]"' in complaint(capsys, "summary", tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["convert"], "SRC"),
        (["convert", "a.pt"], "DST"),
        (["summary"], "FILE"),
        (["summary", "a.onnx", "--size", "batch"], "NAME=N"),
        (["summary", "a.onnx", "--size", "batch=0"], "NAME=N"),
        (["summary", "a.onnx", "--size", "batch=" + "9" * 20], "NAME=N"),
        (["summary", "a.onnx", "--colour"], "--colour"),
    ],
)
def test_wrong_arguments(capsys, words, says):
    assert says in complaint(capsys, *words, status=2)


# ----- summary -----


def test_summary_of_weights(capsys, tmp_path):
    net = network()
    fnn.save(
        {"net": net.state_dict(), "epoch": 3, "note": "x" * 200, "moments": [np.zeros(2)]}, tmp_path / "n.safetensors"
    )
    lines = printed(capsys, "summary", tmp_path / "n.safetensors").splitlines()
    assert lines[0].split() == ["tensor", "shape", "type", "numbers"]
    assert "net.0.weight  (4, 1, 3, 3)  float32       36" in lines
    assert "moments.0     (2,)          float64        2" in lines
    assert "5 tensors                              1,492" in lines
    assert "0.01 MB" in lines
    assert "epoch: 3" in lines
    assert any(line.startswith("note: xxx") and line.endswith("...") and len(line) < 110 for line in lines)
    line = complaint(capsys, "summary", tmp_path / "n.safetensors", "--picture", "a.png")
    assert "weights alone are no graph" in line


def test_summary_of_a_model(capsys, tmp_path):
    pytest.importorskip("onnx")
    fnn.onnx.export(network(), fnn.zeros(2, 1, 8, 8), tmp_path / "n.onnx", dynamic_axes={"x": {0: "batch"}})
    lines = printed(capsys, "summary", tmp_path / "n.onnx", "--size", "batch=3").splitlines()
    assert [line.split()[1] for line in lines[2:6]] == ["Conv", "Relu", "Reshape", "Gemm"]
    assert lines[2].split() == ["/0/Conv", "Conv", "(batch,", "4,", "6,", "6)", "40", "7.78", "k"]
    assert lines[7].split() == ["4", "nodes", "1,490", "16.4", "k"]
    assert "input x (batch, 1, 8, 8)" in lines
    assert "output output (batch, 10)" in lines
    assert "FLOPs for batch=3" in lines
    line = complaint(capsys, "summary", tmp_path / "n.onnx", "--size", "time=3")
    assert "no such dynamic size; there are: batch" in line


def test_picture(capsys, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("matplotlib")
    net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    axes = {"src": {0: "batch", 1: "s"}, "tgt": {0: "batch", 1: "t"}}
    fnn.onnx.export(net, (fnn.zeros(2, 3, 8), fnn.zeros(2, 4, 8)), tmp_path / "n.onnx", dynamic_axes=axes)
    text = printed(capsys, "summary", tmp_path / "n.onnx", "--picture", tmp_path / "n.png")
    assert text.endswith(f"picture in {tmp_path / 'n.png'}\n")
    assert (tmp_path / "n.png").read_bytes()[:4] == b"\x89PNG"
    line = complaint(capsys, "summary", tmp_path / "n.onnx", "--picture", tmp_path / "n.gif")
    assert "must end in .png, .svg or .pdf" in line


def test_a_picture_shows_the_nodes_and_where_they_are():
    pytest.importorskip("onnx")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    net = nn.Sequential(nn.Linear(4, 4), nn.Residual(nn.Linear(4, 4), nn.ReLU()), *[nn.Tanh() for _ in range(40)])
    ax = fnn.plot.graph(fnn.onnx.export(net, fnn.zeros(2, 4)))
    boxes = [text for text in ax.texts if text.get_text() in ("x", "Gemm", "Relu", "Add", "Tanh", "output")]
    assert [text.get_text() for text in boxes] == ["x", "Gemm", "Gemm", "Relu", "Add", *["Tanh"] * 40, "output"]
    places = [text.get_position() for text in boxes]
    assert len(set(places)) == len(places)
    assert [round(y) for _, y in places[:5]] == [0, 1, 2, 3, 4]  # from the top down
    colours = [pytest.importorskip("matplotlib.colors").to_hex(box.get_facecolor()) for box in ax.patches[:5]]
    assert [colour == fnn.plot._graph.BLUE for colour in colours] == [False, True, True, False, False]  # the products
    assert len({round(x, 3) for x, _ in places}) > 1  # columns
    low, high = ax.get_xlim()
    assert all(low < x < high for x, _ in places)
    pyplot.close(ax.figure)
    with pytest.raises(TypeError, match=r"plot\.graph: model must be an onnx\.ModelProto, got Sequential"):
        fnn.plot.graph(net)


# ----- fastnn.summary -----


def test_summary_of_a_module():
    net = network()
    net[0].weight.requires_grad = False
    result = fnn.summary(net, fnn.zeros(3, 1, 8, 8))
    assert (result.parameters, result.trainable, result.nbytes) == (1490, 1454, 5960)
    assert result.flops == 2 * 3 * (4 * 6 * 6 * 9 + 144 * 10)
    assert [layer.shape for layer in result.layers] == [
        "(3, 10)",
        "(3, 4, 6, 6)",
        "(3, 4, 6, 6)",
        "(3, 144)",
        "(3, 10)",
    ]
    assert "1,490 parameters, 1,454 of them trainable, 0.01 MB" in str(result)
    assert net.training
    net[0].weight.requires_grad = True
    assert net(fnn.zeros(1, 1, 8, 8)).requires_grad  # the hooks are gone, and gradients are recorded again


FLOPS = {
    "Linear": (lambda: nn.Linear(3, 4), [(2, 5, 3)], 2 * 10 * 12),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), [(2, 4, 5, 5)], 2 * 2 * 6 * 9 * 2 * 9),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3), [(2, 4, 5)], 2 * 2 * 4 * 5 * 6 * 3),
    "GRU": (lambda: nn.GRU(3, 4, bidirectional=True), [(5, 2, 3)], 2 * 10 * 2 * 12 * 7),
    "LSTMCell": (lambda: nn.LSTMCell(3, 4), [(2, 3)], 2 * 2 * 16 * 7),
    "Encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), [(2, 5, 8)],
        2 * 10 * (4 * 64 + 2 * 8 * 16) + 4 * 8 * 10 * 5,
    ),
    "Encoder of any activation": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, activation=lambda x: x.tanh(), batch_first=True), [(2, 5, 8)],
        2 * 10 * (4 * 64 + 2 * 8 * 16) + 4 * 8 * 10 * 5,
    ),
    "Attention": (
        lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=6, batch_first=True), [(2, 5, 8), (2, 3, 4), (2, 3, 6)],
        2 * (10 * 64 * 2 + 6 * 8 * 10) + 4 * 8 * 10 * 3,
    ),
    "Attention, steps first": (
        lambda: nn.MultiheadAttention(8, 2), [(5, 2, 8), (3, 2, 8), (3, 2, 8)],
        2 * (10 * 64 * 2 + 6 * 64 * 2) + 4 * 8 * 10 * 3,
    ),
    "Attention without batch": (
        lambda: nn.MultiheadAttention(8, 2, batch_first=True), [(5, 8), (3, 8), (3, 8)],
        2 * (5 * 64 * 2 + 3 * 64 * 2) + 4 * 8 * 5 * 3,
    ),
    "one Linear twice": (lambda: nn.Sequential(*[nn.Linear(3, 3)] * 2), [(2, 3)], 2 * 2 * 2 * 9),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOPS)
def test_flops(name):
    make, shapes, flops = FLOPS[name]
    assert fnn.summary(make(), *[np.zeros(shape, np.float32) for shape in shapes]).flops == flops


def test_a_module_and_its_graph_count_the_same():
    pytest.importorskip("onnx")
    from fastnn.onnx._overview import overview

    for net, example in (
        (fnn.models.ResNet(10, channels=(8, 16), blocks=1), fnn.zeros(1, 3, 16, 16)),
        (fnn.models.LanguageModel(20, 8, 2, 2), fnn.tensor([[1, 2, 3]])),
        (nn.LSTM(3, 5, 2), fnn.zeros(4, 1, 3)),
    ):
        counted = sum(step.flops for step in overview(fnn.onnx.export(net, example)).steps)
        assert fnn.summary(net, example).flops == counted


def test_a_shared_parameter_counts_once():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    assert fnn.summary(net).parameters == 9


def test_buffers_take_memory_and_stay_what_they_are():
    net = nn.BatchNorm1d(3)
    assert fnn.summary(net, fnn.ones(2, 3)).nbytes == 4 * 3 * 4 + 8
    assert not net.running_mean.numpy().any()


def test_outputs_by_name_have_shapes():
    class Named(nn.Linear):
        def forward(self, x):
            return {"y": super().forward(x), "n": 3, "x": x}

    assert fnn.summary(Named(3, 4), fnn.zeros(2, 3)).layers[0].shape == "(2, 4), (2, 3)"


def test_a_summary_that_fails_leaves_the_module_as_it_was():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 4))
    net[0].eval()
    with pytest.raises(ValueError, match="linear"):
        fnn.summary(net, fnn.zeros(2, 5))
    assert [layer.training for layer in net] == [False, True]
    with pytest.raises(TypeError, match="module must be a Module, got function"):
        fnn.summary(network)


def test_on_a_terminal_rich_draws_the_table(monkeypatch, capsys):
    pytest.importorskip("rich")
    from fastnn._table import Table

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    Table(("name", ">count"), [("[a]", "1")], ("total", "1")).show()
    text = capsys.readouterr().out
    assert "[a]" in text
    assert "─" in text or "━" in text


@pytest.mark.parametrize("seed", range(4))
def test_bytes_changed_at_random(capsys, tmp_path, seed):
    pytest.importorskip("onnx")
    rng = np.random.default_rng(seed)
    net, path = network(), tmp_path / "net.onnx"
    content = np.frombuffer(fnn.onnx.export(net, fnn.zeros(2, 1, 8, 8)).SerializeToString(), np.uint8)
    for _ in range(15):
        damaged = content[: rng.integers(len(content))].copy() if rng.integers(4) == 0 else content.copy()
        for at in rng.integers(len(damaged), size=rng.integers(1, 6)) if len(damaged) else ():
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged.tobytes())
        for words in (["summary", path], ["convert", path, tmp_path / "new.npz"]):
            status = main([str(word) for word in words])
            out, err = capsys.readouterr()
            assert status in (0, 1)
            assert err.count("\n") == status
            assert status == 0 or out == ""


def test_nodes_that_make_no_sense(capsys, tmp_path):
    onnx = pytest.importorskip("onnx")
    make = onnx.helper.make_node
    kinds = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Nonsense", "Loop", "Shape")
    nodes = [
        make(kind, names, [f"{kind}{i}"]) for kind in kinds for i, names in enumerate((["x"], [], ["", "x"], ["y"]))
    ]
    nodes += [make("Relu", ["x"], []), make("Relu", ["again"], ["again"])]
    info = [onnx.helper.make_tensor_value_info("x", 1, [])]
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", info, info)).SerializeToString())
    text = printed(capsys, "summary", path)
    assert "Nonsense" in text
    assert "at least " in text  # nobody knows what a Nonsense takes


def test_arrays_in_lists_and_tuples():
    content = {"a": np.ones(1), "b": [{"c": fnn.ones(2)}, (3, np.ones(3))], "d": "text"}
    assert [(name, array.size) for name, array in _weights_file.arrays(content)] == [
        ("a", 1),
        ("b.0.c", 2),
        ("b.1.1", 3),
    ]


def test_objects_are_not_pickled(tmp_path):
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        _weights_file.write({"x": np.array([None])}, tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()
