"""Files that are damaged or made to do harm: fastnn.FormatError with the reason; nothing opened, run or allocated."""

import os

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

F32 = TensorProto.FLOAT


def info(name, shape=(2,), kind=F32):
    return helper.make_tensor_value_info(name, kind, shape)


def model(*nodes, weights=(), opset=20, inputs=("x",), outputs=("y",), **how):
    graph = helper.make_graph(list(nodes), "g", [info(n) for n in inputs], [info(n) for n in outputs], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, **how)


def node(op, ins, outs, **how):
    return helper.make_node(op, ins.split(",") if ins else [], outs.split(","), **how)


def refused(proto, words):
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    with pytest.raises(fnn.FormatError, match=words):
        fnn.onnx.load(data)


RELU = node("Relu", "x", "y")


# ----- graphs -----


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"not a model", os.urandom(1000), b"\x08\x0a", b"PK\x03\x04" + b"\0" * 90]
)
def test_garbage(data):
    refused(data, "ONNX")


def test_errors_are_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "net.onnx"
    for content in (b"not a model", b"", model(node("Nonsense", "x", "y")).SerializeToString()):
        path.write_bytes(content)
        with pytest.raises(fnn.FormatError, match=r"\Aonnx\.load: '[^\n]*net\.onnx': [^\n]*\Z"):
            fnn.onnx.load(path)
        with pytest.raises(fnn.FormatError, match=r"\Aonnx\.load: [^\n]*\Z"):
            fnn.onnx.load(content)


def test_every_truncation_is_refused():
    w = numpy_helper.from_array(np.arange(2, dtype=np.float32), "w")
    data = model(node("Add", "x,w", "y"), weights=[w]).SerializeToString()
    for n in range(len(data)):
        with pytest.raises(fnn.FormatError):
            fnn.onnx.load(data[:n])


@pytest.mark.parametrize(
    ("proto", "words"),
    [
        (model(node("Nonsense", "x", "y")), "operator Nonsense of ONNX is not supported|No Op registered for Nonsense"),
        (model(node("RegexFullMatch", "x", "y")), "operator RegexFullMatch"),
        (model(node("Relu", "x", "y", slope=3.0)), "slope"),
        (model(node("Gemm", "x", "y")), "Gemm"),
        (model(RELU, opset=99), "opset 99 of ONNX is not supported"),
        (model(RELU, opset=0), "opset 0"),
        (model(node("Relu", "x", "y", domain="com.example")), "names no opset for domain 'com.example'"),
        (
            model(node("Add", "x,b", "a"), node("Relu", "a", "b"), node("Neg", "b", "y")),
            "'b', which nothing before it makes",
        ),
        (model(node("Add", "x,y", "y")), "'y', which nothing before it makes"),
        (model(node("Neg", "x", "a"), node("Relu", "x", "a"), node("Relu", "a", "y")), "'a', which is there already"),
        (model(node("Neg", "x", "a")), "output 'y' of the graph is made by no node"),
        (model(RELU, inputs=("x", "x")), "two inputs of a graph have one name"),
        (
            model(RELU, weights=[numpy_helper.from_array(np.zeros(2, np.float32), "w")] * 2),
            "'w' is empty or there twice",
        ),
    ],
)
def test_graphs_that_are_none(proto, words):
    refused(proto, words)


def test_a_graph_without_opset_or_graph():
    proto = model(RELU)
    proto.ClearField("opset_import")
    refused(proto, "names no opset")
    proto = model(RELU)
    proto.ClearField("graph")
    refused(proto, "no graph|names no opset|not an ONNX file")


def test_functions_that_call_themselves():
    def function(name, calls):
        body = [helper.make_node(calls, ["a"], ["b"], domain="own")]
        return helper.make_function("own", name, ["a"], ["b"], body, [helper.make_opsetid("own", 1)])

    proto = model(helper.make_node("f", ["x"], ["y"], domain="own"), functions=[function("f", "g"), function("g", "f")])
    proto.opset_import.append(helper.make_opsetid("own", 1))
    refused(proto, "calls itself")


def test_a_cycle_through_a_subgraph():
    inner = helper.make_graph([node("Neg", "y", "z")], "b", [], [info("z")])
    c = numpy_helper.from_array(np.array(True), "c")
    refused(model(node("If", "c", "y", then_branch=inner, else_branch=inner), weights=[c]), "nothing before it makes")


# ----- tensors -----


def raw(dims, data, kind=F32, name="w"):
    tensor = TensorProto()
    tensor.name, tensor.data_type, tensor.raw_data = name, kind, data
    tensor.dims.extend(dims)
    return tensor


@pytest.mark.parametrize(
    ("dims", "data", "kind"),
    [
        ([2], b"\0" * 7, F32),
        ([3], b"\0" * 8, F32),
        ([-1], b"\0" * 8, F32),
        ([1 << 40, 1 << 40], b"\0" * 8, F32),
        ([1 << 62, 4], b"", F32),
        ([1 << 31, 1 << 31, 4, 0, 2], b"\0" * 8, F32),
        ([2], b"\0" * 8, 77),
        ([2], b"\0" * 8, 0),
        ([4], b"\0" * 8, TensorProto.INT4),
        ([2], b"\0" * 8, TensorProto.STRING),
    ],
)
def test_tensors_whose_sizes_do_not_agree(dims, data, kind):
    refused(model(node("Add", "x,w", "y"), weights=[raw(dims, data, kind)]), "tensor 'w'|not a valid ONNX model")


def test_numbers_of_four_bits_fill_their_bytes():
    for dims, data in (((3,), b"\x21"), ((3,), b"\x21\x03\x00"), ((2,), b"")):
        w = TensorProto(name="w", data_type=TensorProto.INT4, dims=dims, raw_data=data)
        refused(model(node("Cast", "w", "y", to=1), weights=[w], opset=21), rf"in {len(data)} bytes")


def test_operators_of_the_passes_are_not_for_files():
    proto = model(node("Linear", "x,x", "y", domain="fastnn"))
    proto.opset_import.append(helper.make_opsetid("fastnn", 1))
    refused(proto, "no opset for domain 'fastnn'")


def test_a_shape_that_promises_more_than_its_list_holds():
    tensor = TensorProto(name="w", data_type=F32, dims=[1 << 30], float_data=[1.0, 2.0])
    refused(model(node("Add", "x,w", "y"), weights=[tensor]), r"shape \(1073741824,\) but 2 numbers")


def test_a_shape_that_no_memory_holds_is_not_made():
    size = numpy_helper.from_array(np.array([1 << 30, 1 << 30], np.int64), "size")
    for nodes in (
        [node("ConstantOfShape", "size", "big"), node("Add", "x,big", "y")],
        [node("Expand", "x,size", "y")],
        [node("Tile", "v,size", "big"), node("Add", "x,big", "y")],
    ):
        v = numpy_helper.from_array(np.ones((1, 1), np.float32), "v")
        loaded = fnn.onnx.load(model(*nodes, weights=[size, v]).SerializeToString())
        with pytest.raises(ValueError, match=r"too large|do not|broadcast"):
            loaded(np.zeros(2, np.float32))


def test_constants_are_not_blown_up_at_load():
    a = numpy_helper.from_array(np.ones((1 << 15, 1), np.float32), "a")
    b = numpy_helper.from_array(np.ones((1, 1 << 15), np.float32), "b")
    loaded = fnn.onnx.load(
        model(
            node("Add", "a,b", "big"), node("ReduceSum", "big", "s"), node("Add", "x,s", "y"), weights=[a, b]
        ).SerializeToString()
    )
    assert sum(p.data.nbytes for p in loaded.parameters()) == 2 * 4 << 15


def test_constants_that_double_stop_growing():
    a = numpy_helper.from_array(np.ones(1 << 10, np.float32), "a0")
    nodes = [node("Concat", f"a{i},a{i}", f"a{i + 1}", axis=0) for i in range(40)]
    loaded = fnn.onnx.load(model(*nodes, node("Add", "x,a40", "y"), weights=[a]).SerializeToString())
    assert sum(p.data.nbytes for p in loaded.parameters()) <= 1 << 22


# ----- external data -----


def external(location, offset=None, length=None, dims=(2,)):
    tensor = TensorProto(name="w", data_type=F32, dims=dims, data_location=TensorProto.EXTERNAL)
    given = {"location": location, "offset": offset, "length": length}
    for key, value in given.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return model(node("Add", "x,w", "y"), weights=[tensor])


def saved(folder, proto):
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_external_data_beside_the_model(tmp_path):
    (tmp_path / "sub").mkdir()
    for place in ("w.bin", "sub/w.bin"):
        (tmp_path / place).write_bytes(b"\0" * 16 + np.array([3, 4], np.float32).tobytes() + b"\0" * 4)
        loaded = fnn.onnx.load(saved(tmp_path, external(place, 16, 8)))
        assert loaded(np.ones(2, np.float32)).tolist() == [4.0, 5.0]


@pytest.mark.parametrize(
    ("location", "offset", "length", "words"),
    [
        ("../w.bin", None, None, "must be a relative path"),
        ("sub/../../w.bin", None, None, "must be a relative path"),
        ("..\\w.bin", None, None, "must be a relative path"),
        ("/etc/passwd", None, None, "must be a relative path"),
        ("C:/w.bin", None, None, "must be a relative path"),
        ("", None, None, "must be a relative path"),
        ("a\0b", None, None, "must be a relative path|valid"),
        ("link.bin", None, None, "goes through a link"),
        ("linked/w.bin", None, None, "goes through a link"),
        ("none.bin", None, None, "No such file"),
        ("sub", None, None, "does not hold|directory"),
        ("pipe", None, None, "does not hold"),
        ("w.bin", 4, 8, "does not hold 8 bytes at 4"),
        ("w.bin", -4, 8, "does not hold"),
        ("w.bin", 0, -3, "does not hold"),
        ("w.bin", "x", 8, "must be integers"),
        ("w.bin", 0, 4, "in 4 bytes"),
        ("w.bin", 1 << 62, None, "does not hold"),
    ],
)
def test_external_data_anywhere_else(tmp_path, location, offset, length, words):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "w.bin", folder / "w.bin"):
        place.write_bytes(np.array([3, 4], np.float32).tobytes())
    (folder / "link.bin").symlink_to(folder / "w.bin")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    path = saved(folder, external(location, offset, length))
    with pytest.raises(fnn.FormatError, match=words):
        fnn.onnx.load(path)


def test_external_data_of_a_model_in_memory():
    refused(external("w.bin"), "the model came from memory")


def test_external_data_in_an_attribute(tmp_path):
    value = external("w.bin").graph.initializer[0]
    proto = model(node("Constant", "", "c", value=value), node("Add", "x,c", "y"))
    refused(proto, "the model came from memory|valid")
    (tmp_path / "w.bin").write_bytes(np.array([3, 4], np.float32).tobytes())
    assert fnn.onnx.load(saved(tmp_path, proto))(np.ones(2, np.float32)).tolist() == [4.0, 5.0]


# ----- fuzz -----


def victims():
    """Models with all that a file can hold: weights, attributes, subgraphs, functions, constants."""
    w = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    shape = numpy_helper.from_array(np.array([2, 2], np.int64), "shape")
    yield model(
        node("Reshape", "w,shape", "m"),
        node("Constant", "", "k", value=numpy_helper.from_array(np.ones((2, 2), np.float32))),
        node("Gemm", "m,k", "g", alpha=0.5, transB=1),
        node("MatMul", "x,g", "h"),
        node("Softmax", "h", "y", axis=-1),
        weights=[w, shape],
    )
    image = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "f")
    v = [numpy_helper.from_array(np.ones(2, np.float32), n) for n in "abcd"]
    yield model(
        node("Conv", "x,f", "c", pads=[1, 1, 1, 1], strides=[1, 1]),
        node("BatchNormalization", "c,a,b,c1,d", "n"),
        node("MaxPool", "n", "y", kernel_shape=[2, 2], strides=[2, 2]),
        weights=[image, *v[:2], v[3], numpy_helper.from_array(np.ones(2, np.float32), "c1")],
    )
    then = helper.make_graph([node("Neg", "x", "t")], "t", [], [info("t")])
    other = helper.make_graph([node("Mul", "x,w", "e")], "e", [], [info("e")])
    c = numpy_helper.from_array(np.array(True), "c")
    lstm = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in (("W", (1, 8, 2)), ("R", (1, 8, 2)))]
    yield model(
        node("If", "c", "i", then_branch=then, else_branch=other),
        node("LSTM", "i,W,R", "l", hidden_size=2, direction="forward"),
        node("Transpose", "l", "y", perm=[0, 1, 2, 3]),
        weights=[c, w, *lstm],
    )

    numbers = {"root": np.float32(2), "two": np.float32(2), "eps": np.float32(1e-5), "b": np.ones(4, np.float32)}
    numbers |= {n: np.ones((4, 4), np.float32) for n in ("wq", "wk", "wv")}
    heads = [
        part
        for n, turn in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3]))
        for part in (
            node("MatMul", f"x,w{n}", f"{n}m"),
            node("Reshape", f"{n}m,cut", f"{n}r"),
            node("Transpose", f"{n}r", n, perm=turn),
        )
    ]
    yield model(
        *heads,
        node("MatMul", "q,k", "s"),
        node("Div", "s,root", "d"),
        node("Softmax", "d", "p", axis=-1),
        node("MatMul", "p,v", "h"),
        node("Transpose", "h", "t", perm=[0, 2, 1, 3]),
        node("Reshape", "t,whole", "f"),
        node("Add", "f,x", "a"),
        node("ReduceMean", "a,last", "m"),
        node("Sub", "a,m", "c"),
        node("Pow", "c,two", "c2"),
        node("ReduceMean", "c2,last", "var"),
        node("Add", "var,eps", "e"),
        node("Sqrt", "e", "r"),
        node("Div", "c,r", "n"),
        node("Mul", "n,b", "nb"),
        node("Add", "nb,b", "y"),
        weights=[
            *(numpy_helper.from_array(np.asarray(a), n) for n, a in numbers.items()),
            *(
                numpy_helper.from_array(np.array(a), n)
                for n, a in (("cut", [0, 0, 2, 2]), ("whole", [0, 0, 4]), ("last", [-1]))
            ),
        ],
    )


@pytest.mark.parametrize("which", range(4))
def test_mutated_bytes_are_refused_or_load(which):
    data = list(victims())[which].SerializeToString()
    fnn.onnx.load(data)
    rng = np.random.default_rng(which)
    loaded = 0
    for _ in range(400):
        mutant = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(mutant)))
            kind = rng.integers(4)
            if kind == 0:
                mutant[at] = int(rng.integers(256))
            elif kind == 1:
                mutant[at] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                del mutant[at : at + int(rng.integers(1, 5))]
            else:
                mutant[at:at] = rng.bytes(int(rng.integers(1, 5)))
        try:
            fnn.onnx.load(bytes(mutant))
            loaded += 1
        except fnn.FormatError:
            pass
    assert loaded < 400
