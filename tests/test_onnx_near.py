"""Graphs that are nearly a pattern of fastnn.onnx's passes: whatever is fused, the numbers are ONNX's."""

import numpy as np
import pytest

pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator
from onnx_by_hand import F32, load, make

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape, np.float32)


def pooled(between=(), **how):
    """A convolution, what is between, and a pool of 2 x 2 that is not whole windows one beside the other."""
    first = "c" if not between else "b"
    pool = ("MaxPool", first, "y", {"kernel_shape": [2, 2], "strides": [2, 2], **how})
    return [("Conv", "x,w", "c", {}), *between, pool], {"x": (2, 3, 8, 8)}, {"w": normal(5, 3, 2, 2)}


def dense(*more, x=(5, 4), w=(4, 5), **weights):
    return [("MatMul", "x,w", "m", {}), *more], {"x": x}, {"w": normal(*w), **weights}


def gemm(*bias):
    return [("Gemm", "x,w,b", "y", {})], {"x": (5, 4)}, {"w": normal(4, 5), "b": normal(*bias)}


def near_gelu(root=2**0.5, one=1, half=0.5, x="x"):
    nodes = [("Div", "x,root", "d", {}), ("Erf", "d", "e", {}), ("Add", "e,one", "s", {})]
    nodes += [("Mul", f"{x},s", "p", {}), ("Mul", "p,half", "y", {})]
    numbers = {"root": root, "one": one, "half": half}
    return nodes, dict.fromkeys({"x", x}, (3, 4)), {n: np.float32(v) for n, v in numbers.items()}


def near_attention(*between, keys="t", scores="s", mask=(), softmax=("p", {}), q=(2, 3, 6, 6), **more):
    """Queries, keys turned round, and values, with something beside the way."""
    nodes = [("Transpose", "k", "t", {"perm": [0, 1, 3, 2]}), *between]
    at = next((i for i, n in enumerate(nodes) if "s" in n[1].split(",")), len(nodes))
    nodes.insert(at, ("MatMul", f"q,{keys}", "s", {}))
    nodes += [("Softmax", scores, *softmax), ("MatMul", "p,v", "y", {})]
    inputs = {"q": q, "k": q, "v": q} | {n: a for n, a in more.items() if isinstance(a, tuple)}
    return nodes, inputs, {n: a for n, a in more.items() if not isinstance(a, tuple)}


def blind(filled=0.0, end="h"):
    """Attention whose second query sees nothing, and what it gets instead of NaN."""
    nodes = [("MatMul", "q,q", "s", {}), ("Add", "s,mask", "a", {}), ("Softmax", "a", "p", {}), ("IsNaN", "p", "i", {})]
    nodes += [("Where", "i,filled,p", "o", {}), ("MatMul", "o,v", "h", {}), ("Add", f"{end},h", "y", {})]
    mask = np.where(np.arange(6)[:, None] == 1, -np.inf, 0).astype(np.float32)
    return nodes, {"q": (2, 3, 6, 6), "v": (2, 3, 6, 6)}, {"mask": mask, "filled": np.float32(filled)}


def packed(mask):
    """Queries, keys and values that are thirds of one value, and a mask."""
    nodes = [("Reshape", "x,to", "r", {}), ("Transpose", "r", "t", {"perm": [2, 0, 3, 1, 4]})]
    nodes += [("Gather", f"t,{number}", name, {}) for name, number in zip("qkv", NUMBERS, strict=True)]
    nodes += [("Transpose", "k", "u", {"perm": [0, 1, 3, 2]}), ("MatMul", "q,u", "s", {}), ("Add", "s,mask", "a", {})]
    nodes += [("Softmax", "a", "p", {}), ("MatMul", "p,v", "y", {})]
    weights = {"to": np.array([0, 0, 3, 2, 4]), **{n: np.array(i) for i, n in enumerate(NUMBERS)}}
    return nodes, {"x": (1, 5, 24), "mask": mask}, weights


def projections(bias=False, activation=False):
    """Queries, keys and values of one input."""
    nodes = [("MatMul", "x,a", "q_", {}), ("MatMul", "x,b", "k", {}), ("MatMul", "x,c", "v", {})]
    nodes.append(("Add", "q_,d", "q", {}) if bias else ("Tanh" if activation else "Identity", "q_", "q", {}))
    nodes += [("Transpose", "k", "t", {"perm": [0, 2, 1]}), ("MatMul", "q,t", "s", {})]
    nodes += [("Softmax", "s", "p", {}), ("MatMul", "p,v", "y", {})]
    return nodes, {"x": (2, 5, 6)}, {n: normal(6, 6) for n in "abc"} | ({"d": normal(6)} if bias else {})


def normed(activation, **how):
    w = {n: RNG.random(3, np.float32) + 0.5 for n in "sbmv"}
    return [("BatchNormalization", "x,s,b,m,v", "n", how), (activation, "n", "y", {})], {"x": (2, 3, 4, 4)}, w


def near_norm(*tail, x=(4, 3, 6), w=(6,), b=(6,), z=None, **changed):
    """A layer norm written out, with some of its nodes other ones: output -> operator, inputs, attributes."""
    nodes = {
        "m": ("ReduceMean", "x,last", {}),
        "c": ("Sub", "x,m", {}),
        "q": ("Pow", "c,two", {}),
        "v": ("ReduceMean", "q,last", {}),
        "e": ("Add", "v,eps", {}),
        "r": ("Sqrt", "e", {}),
        "n": ("Div", "c,r", {}),
        "s": ("Mul", "n,w", {}),
        "o": ("Add", "s,b", {}),
    }
    nodes |= changed  # of new ones k and d read inputs, i reads r
    made = [(nodes[name][0], nodes[name][1], name, nodes[name][2]) for name in "kdmcqverinso" if name in nodes]
    numbers = {"two": np.float32(2), "three": np.float32(3), "eps": np.float32(0.1), "last": np.array([-1])}
    read = {name for _, ins, _, _ in [*made, *tail] for name in ins.split(",")}
    weights = {n: a for n, a in {**numbers, "w": normal(*w), "b": normal(*b)}.items() if n in read}
    end = list(tail) or [("Neg", "o", "y", {})]
    return [*made, *end], {"x": x, **({"z": z} if z else {})}, weights


def near_residual(*more, norm="a,w,b", outs="n", z=None, **how):
    nodes = [("Add", "x,r", "a", {}), *more, ("LayerNormalization", norm, outs, how), ("Add", "a,n", "y", {})]
    inputs = {"x": (4, 5, 6), "r": (4, 5, 6), **({"z": z} if z else {})}
    sizes = (5, 6) if how.get("axis") == -2 else (6,)
    return nodes, inputs, {n: normal(*sizes) for n in norm.split(",")[1:] if n in "wb"}


def lstm(ins="x,w,r", outs="y", more=None, **inputs):
    w = {"w": normal(1, 20, 4), "r": normal(1, 20, 5), **(more or {})}
    return [("LSTM", ins, outs, {"hidden_size": 5})], {"x": (6, 3, 4), **inputs}, w


NUMBERS = ("zero", "one", "two")
TURNED = [("Transpose", "x", "t", {"perm": [1, 0, 2]}), ("MatMul", "t,w", "m", {})]
NEAR = {
    "a bias of a Gemm for each row": gemm(5, 1),
    "a matrix added by a Gemm": gemm(5, 5),
    "a bias that a Gemm reads as a row, and another as it is": (
        [("Gemm", "x,w,b", "g", {}), ("Concat", "g,b", "y", {"axis": 0})],
        {"x": (5, 4)},
        {"w": normal(4, 5), "b": normal(1, 5)},
    ),
    "a bias behind that of a Gemm": (
        [("Gemm", "x,w,b", "g", {}), ("Add", "g,c", "y", {})],
        {"x": (5, 4)},
        {"w": normal(4, 5), "b": normal(5), "c": normal(5)},
    ),
    "a matrix that is transposed to itself": (
        [("Transpose", "w", "t", {"perm": [0, 1]}), ("MatMul", "x,t", "y", {})],
        {"x": (5, 4)},
        {"w": normal(4, 4)},
    ),
    "a second bias": dense(("Add", "m,b", "a", {}), ("Add", "a,c", "y", {}), b=normal(5), c=normal(5)),
    "a matrix added": dense(("Add", "m,b", "y", {}), b=normal(5, 5)),
    "one number added": dense(("Add", "m,b", "y", {}), b=normal(1)),
    "more numbers added than there are": dense(("Add", "m,b", "y", {}), w=(4, 1), b=normal(5)),
    "matrices for a batch": dense(("Relu", "m", "y", {}), x=(2, 3, 4), w=(2, 4, 4)),
    "a matrix of no rows": dense(("Neg", "m", "y", {}), x=(5, 0), w=(0, 3)),
    "two activations": dense(("Relu", "m", "a", {}), ("Tanh", "a", "y", {})),
    "a gelu by another root": near_gelu(root=1.5),
    "a gelu with another sum": near_gelu(one=2),
    "a gelu with another factor": near_gelu(half=0.25),
    "a gelu of two values": near_gelu(x="z"),
    "a gelu by tanh": (
        [("Conv", "x,w", "c", {}), ("Gelu", "c", "y", {"approximate": "tanh"})],
        {"x": (2, 3, 4, 4)},
        {"w": normal(5, 3, 2, 2)},
    ),
    "a swish of another slope": (
        [("Conv", "x,w", "c", {}), ("Swish", "c", "y", {"alpha": 2.0})],
        {"x": (2, 3, 4, 4)},
        {"w": normal(5, 3, 2, 2)},
    ),
    "two sums behind a convolution": (
        [("Conv", "x,w", "c", {}), ("Add", "c,r", "a", {}), ("Add", "q,a", "y", {})],
        {"x": (2, 3, 4, 4), "r": (2, 5, 3, 3), "q": (2, 5, 3, 3)},
        {"w": normal(5, 3, 2, 2)},
    ),
    "tanh behind a norm": normed("Tanh"),
    "a norm by the batch": normed("Relu", training_mode=1),
    "a pool with pads": pooled(pads=[1, 1, 1, 1]),
    "a pool dilated": pooled(dilations=[2, 2]),
    "a pool rounded up": pooled(ceil_mode=1),
    "a pool whose windows overlap": pooled(strides=[1, 1]),
    "a pool of a padded size": pooled(auto_pad="SAME_UPPER"),
    "a pool of a gelu": pooled([("Gelu", "c", "b", {})]),
    "the last axis turned": (
        [("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("MatMul", "t,w", "y", {})],
        {"x": (4, 4, 4)},
        {"w": normal(4, 5)},
    ),
    "all axes turned, and joined": (
        [("Transpose", "x", "t", {}), ("Reshape", "t,to", "r", {}), ("Neg", "r", "y", {})],
        {"x": (2, 3, 4)},
        {"to": np.array([4, 6])},
    ),
    "an index with an axis of its own": (
        [("Transpose", "x", "t", {}), ("Gather", "t,i", "g", {"axis": 1}), ("Neg", "g", "y", {})],
        {"x": (2, 3, 4)},
        {"i": np.array([-2])},
    ),
    "turned for others too": ([*TURNED, ("Concat", "m,t", "y", {"axis": 2})], {"x": (3, 2, 4)}, {"w": normal(4, 5)}),
    "a softmax of queries": near_attention(softmax=("p", {"axis": 2})),
    "keys with a factor for each": near_attention(("Mul", "t,f", "u", {}), keys="u", f=(6,)),
    "keys with a factor for each feature": near_attention(("Div", "t,f", "u", {}), keys="u", f=(6, 1)),
    "more masks than queries": near_attention(("Add", "s,f", "a", {}), scores="a", q=(1, 3, 6, 6), f=(2, 1, 6, 6)),
    "a mask of more axes": near_attention(("Add", "s,f", "a", {}), scores="a", f=(2, 1, 1, 6, 6)),
    "scores by a matrix": near_attention(("Mul", "s,f", "a", {}), scores="a", f=(6, 6)),
    "keys with a factor first": near_attention(("Mul", "f,t", "u", {}), keys="u", f=(6,)),
    "keys as the divisor": near_attention(("Div", "f,t", "u", {}), keys="u", f=np.float32(0.1)),
    "scores as the divisor": near_attention(("Div", "f,s", "a", {}), scores="a", f=np.float32(0.1)),
    "a query that sees nothing": blind(),
    "a query that sees nothing and gets something": blind(0.5),
    "a query that sees nothing, and says so": blind(end="o"),
    "a query that sees nothing, and nobody says so": blind(end="p"),
    "projections with and without a bias": projections(bias=True),
    "projections with and without an activation": projections(activation=True),
    "a norm by the batch behind a convolution": (
        [("Conv", "x,w", "c", {}), ("BatchNormalization", "c,s,b,m,v", "y", {"training_mode": 1})],
        {"x": (2, 3, 4, 4)},
        {"w": normal(3, 3, 2, 2), **{n: RNG.random(3, np.float32) + 0.5 for n in "sbmv"}},
    ),
    "filters and a bias that a convolution without a norm reads too": (
        [
            ("Conv", "x,w,b", "c", {}),
            ("BatchNormalization", "c,s,h,m,v", "n", {}),
            ("Conv", "x,w,b", "d", {"strides": [2, 2]}),
            ("Concat", "n,d", "y", {"axis": 0}),
        ],
        {"x": (2, 3, 3, 3)},
        {"w": normal(3, 3, 3, 3), **{n: RNG.random(3, np.float32) + 0.5 for n in "sbhmv"}},
    ),
    "a norm with an epsilon of its own": near_norm(),
    "a norm scaled by a matrix": near_norm(w=(3, 6)),
    "a norm shifted by a matrix": near_norm(b=(3, 6)),
    "a norm shifted by one number": near_norm(b=(1,)),
    "a norm that is read before its shift": near_norm(("Mul", "o,s", "y", {})),
    "a norm that is shifted twice": near_norm(("Add", "s,b", "t", {}), ("Mul", "o,t", "y", {})),
    "a norm that is read before its scale": near_norm(("Mul", "o,n", "y", {})),
    "a norm whose mean is read": near_norm(("Mul", "o,m", "y", {})),
    "a norm whose centre is read": near_norm(("Mul", "o,c", "y", {})),
    "a norm whose variance is read": near_norm(("Mul", "o,v", "y", {})),
    "a norm around the mean of something else": near_norm(z=(4, 3, 6), m=("ReduceMean", "z,last", {})),
    "a norm of something else's variance": near_norm(
        z=(4, 3, 6), k=("ReduceMean", "z,last", {}), d=("Sub", "z,k", {}), q=("Pow", "d,two", {})
    ),
    "a norm without the axis of its mean": near_norm(x=(6, 6), m=("ReduceMean", "x,last", {"keepdims": 0})),
    "a norm without the axis of its variance": near_norm(x=(6, 6), v=("ReduceMean", "q,last", {"keepdims": 0})),
    "a norm upside down": near_norm(n=("Div", "r,c", {}), e=("Add", "eps,v", {})),
    "a norm by three over its deviation": near_norm(i=("Div", "three,r", {}), n=("Mul", "c,i", {})),
    "a sum and a norm of epsilon's own": near_residual(epsilon=0.1),
    "a sum and a norm of two axes": near_residual(axis=-2),
    "a sum and a norm that says its mean": near_residual(outs="n,k"),
    "a sum and a norm of a scale that comes later": near_residual(("Relu", "z", "u", {}), norm="a,u", z=(6,)),
    "a norm of two axes with a scale of one": (
        [("LayerNormalization", "x,w", "n", {"axis": -2}), ("Neg", "n", "y", {})],
        {"x": (4, 5, 6)},
        {"w": normal(6)},
    ),
    "keys, queries and values in one": (
        [
            ("MatMul", "x,w", "m", {}),
            ("Reshape", "m,to", "r", {}),
            ("Transpose", "r", "t", {"perm": [2, 0, 3, 1, 4]}),
            *(("Gather", f"t,{i}", name, {"axis": 0}) for i, name in (("one", "q"), ("zero", "k"), ("two", "v"))),
            ("Transpose", "k", "kt", {"perm": [0, 1, 3, 2]}),
            ("MatMul", "q,kt", "s", {}),
            ("Softmax", "s", "p", {}),
            ("MatMul", "p,v", "y", {}),
        ],
        {"x": (2, 5, 6)},
        {"w": normal(6, 24), "to": np.array([0, 0, 3, 2, 4]), **{n: np.array(i) for i, n in enumerate(NUMBERS)}},
    ),
    "packed attention under a mask": packed((1, 2, 5, 5)),
    "packed attention under a mask for two samples": packed((2, 1, 5, 5)),
    "packed attention under a mask of more axes": packed((3, 1, 1, 5, 5)),
    "an lstm with peepholes": lstm("x,w,r,,,,,p", more={"p": normal(1, 15)}),
    "an lstm with a bias that is given": lstm("x,w,r,b", b=(1, 40)),
    "an lstm from states": lstm("x,w,r,,,h,c", h=(1, 3, 5), c=(1, 3, 5)),
}


@pytest.mark.parametrize("name", NEAR)
def test_what_only_looks_like_a_pattern(name):
    nodes, shapes, weights = NEAR[name]
    proto = make(nodes, {n: (F32, s) for n, s in shapes.items()}, ["y"], weights, opset=24)
    model = load(proto)
    inputs = {n: normal(*s) for n, s in shapes.items()}
    with np.errstate(invalid="ignore"):
        (want,) = ReferenceEvaluator(proto).run(["y"], inputs)
    for _ in range(2):  # the second time shapes are known
        got = model.named(**inputs)["y"].data
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_softmax_of_opset_12_is_of_all_axes_but_the_first():
    nodes, shapes, _ = near_attention(q=(2, 3, 4, 4))
    q, k, v = (normal(2, 3, 4, 4) for _ in range(3))
    model = load(make(nodes, {n: (F32, s) for n, s in shapes.items()}, ["y"], opset=12))
    scores = np.exp((q @ k.swapaxes(2, 3)).reshape(2, -1))
    weights = (scores / scores.sum(1, keepdims=True)).reshape(2, 3, 4, 4)
    for _ in range(2):
        np.testing.assert_allclose(model(q, k, v).data, weights @ v, rtol=1e-4, atol=1e-5)
