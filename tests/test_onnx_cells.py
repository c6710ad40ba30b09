"""Recurrent cells that a file writes out gate by gate: one call each, the same numbers and gradients."""

import sys

import numpy as np
import pytest

import fastnn as fnn

onnx = pytest.importorskip("onnx")
from onnx import helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_by_hand import F32, exposed, load, make, normal, steps  # noqa: E402


def agree(model, made, inputs):
    """Twice, when shapes come for the first time and when they are known."""
    want = ReferenceEvaluator(model).run(None, dict(zip(made.input_names, inputs, strict=True)))
    for _ in range(2):
        got = made(*inputs)
        for have, right in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
            assert have.shape == right.shape
            np.testing.assert_allclose(have.data, right, rtol=1e-4, atol=1e-5)


GATES = {"gru": 3, "lstm": 4, "tanh": 1, "relu": 1}
WIDTH, H = 5, 7


def cell(kind, at="", bias=True, flipped=False, product="Gemm", axis=1):
    """Nodes of one step from x, h<at> and c<at> to h<at + '>, c<at + '>; `flipped`: sums and products the other way."""

    def both(a, b):
        return f"{b},{a}" if flipped else f"{a},{b}"

    def linear(x, w, b, y):
        if product == "MatMul":
            return [("MatMul", f"{x},{w}T", f"{y}_", {}), ("Add", both(f"{y}_", b), y, {})]
        return [("Gemm", f"{x},{w},{b}" if bias else f"{x},{w}", y, {"transB": 1})]

    def split(x, names):
        sizes = {"gru": "thirds", "lstm": "quarters"}[kind]
        return ("Split", f"{x},{sizes}", names, {"axis": axis})

    nodes = linear("x", "W", "bW", "wx") + linear(f"h{at}", "U", "bU", "uh")
    if kind == "gru":
        nodes += [split("wx", "xr,xz,xn"), split("uh", "hr,hz,hn")]
        nodes += [("Add", both("xr", "hr"), "r_", {}), ("Sigmoid", "r_", "r", {})]
        nodes += [("Add", both("xz", "hz"), "z_", {}), ("Sigmoid", "z_", "z", {})]
        nodes += [("Mul", both("hn", "r"), "hn_", {}), ("Add", both("xn", "hn_"), "n_", {}), ("Tanh", "n_", "n", {})]
        nodes += [
            ("Sub", f"h{at},n", "d", {}),
            ("Mul", both("d", "z"), "dz", {}),
            ("Add", both("dz", "n"), f"h{at}'", {}),
        ]
    elif kind == "lstm":
        nodes += [("Add", both("uh", "wx"), "s", {}), split("s", "i_,f_,g_,o_")]
        nodes += [("Sigmoid", f"{n}_", n, {}) for n in "ifo"] + [("Tanh", "g_", "g", {})]
        nodes += [("Mul", both("f", f"c{at}"), "fc", {}), ("Mul", both("i", "g"), "ig", {})]
        nodes += [("Add", both("fc", "ig"), f"c{at}'", {}), ("Tanh", f"c{at}'", "t", {})]
        nodes += [("Mul", both("o", "t"), f"h{at}'", {})]
    else:
        nodes += [("Add", both("uh", "wx"), "s", {}), (kind.capitalize(), "s", f"h{at}'", {})]
    inner = {n for _, _, outs, _ in nodes for n in outs.split(",")} - {f"h{at}'", f"c{at}'"}

    def named(names):
        return ",".join(f"{n}@{at}" if n in inner else n for n in names.split(","))

    return [(op, named(ins), named(outs), how) for op, ins, outs, how in nodes]


def weights(kind):
    n = GATES[kind]
    w = {"W": normal(n * H, WIDTH), "U": normal(n * H, H), "bW": normal(n * H), "bU": normal(n * H)}
    w |= {"WT": w["W"].T.copy(), "UT": w["U"].T.copy()}
    return w | {"thirds": np.array([H] * 3), "quarters": np.array([H] * 4)}


def net(kind, nodes, last, states=(2, H), x=(2, WIDTH)):
    given = {"x": (F32, x), "h": (F32, states)} | ({"c": (F32, states)} if kind == "lstm" else {})
    used = {name for _, ins, _, _ in nodes for name in ins.split(",")}
    outs = [f"h{last}", *([f"c{last}"] if kind == "lstm" else [])]
    model = make(nodes, given, outs, {k: v for k, v in weights(kind).items() if k in used})
    return model, [normal(*x), *(normal(*states) for _ in range(len(given) - 1))]


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
@pytest.mark.parametrize("kind", GATES)
def test_a_cell_is_one_step(kind, product, flipped):
    model, inputs = net(kind, cell(kind, product=product, flipped=flipped), "'")
    made = load(model)
    assert steps(made) == ["Cell"]
    agree(model, made, inputs)


@pytest.mark.parametrize("kind", GATES)
def test_written_out_twice_without_biases(kind):
    model, inputs = net(kind, cell(kind, bias=False) + cell(kind, "'", bias=False), "''")
    made = load(model)
    assert steps(made) == ["Cell", "Cell"]
    agree(model, made, inputs)
    made.freeze()
    agree(model, made, inputs)


@pytest.mark.parametrize("kind", GATES)
def test_more_axes_and_states_that_broadcast(kind):
    for states, x, axis in (((1, H), (2, WIDTH), 1), ((3, 2, H), (3, 2, WIDTH), -1), ((2, 1, H), (3, WIDTH), -1)):
        model, inputs = net(kind, cell(kind, product="MatMul", axis=axis), "'", states, x)
        made = load(model)
        assert steps(made) == ["Cell"]
        agree(model, made, inputs)


@pytest.mark.parametrize("name", ["n@", "z@", "hn@", "uh@", "dz@"])
def test_what_another_reads_is_made(name):
    model, inputs = net("gru", cell("gru"), "'")
    model.graph.output.append(helper.make_tensor_value_info(name, F32, ["any"] * 2))
    made = load(model)
    assert "Cell" not in steps(made)
    agree(model, made, inputs)


def test_near_the_formula_is_not_it():
    for kind, change in (
        ("gru", {"d": "n@,h"}),  # (n - h) z + n
        ("gru", {"r_": "xr@,hz@"}),
        ("gru", {"uh": "k,U,bU"}),  # the product reads another state than the blend
        ("lstm", {"ig": "i@,f@"}),
        ("lstm", {"fc": "o@,c"}),
    ):
        nodes = [(op, change.get(outs.rstrip("@"), ins), outs, how) for op, ins, outs, how in cell(kind)]
        model, inputs = net(kind, [("Neg", "h", "k", {}), *nodes], "'")
        made = load(model)
        assert "Cell" not in steps(made)
        agree(model, made, inputs)


def test_pieces_of_rows_are_no_gates(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "H", 1)  # then they broadcast like gates
    model, inputs = net("gru", cell("gru", axis=0), "'", (3, 1), (3, WIDTH))
    made = load(model)
    assert "Cell" not in steps(made)
    agree(model, made, inputs)


@pytest.mark.parametrize("kind", GATES)
def test_gradients_are_those_of_the_nodes(kind):
    model, inputs = net(kind, cell(kind), "'")
    fused = load(model)
    plain = load(exposed(model))
    assert "Cell" in steps(fused)
    assert "Cell" not in steps(plain)
    grads = []
    for made in (fused, plain):
        given = [fnn.tensor(i, requires_grad=True) for i in inputs]
        outs = made(*given)
        outs = (outs if isinstance(outs, tuple) else (outs,))[: 2 if kind == "lstm" else 1]
        total = sum(((i + 1) * o * o).sum() for i, o in enumerate(outs))
        wanted = [*given, *(p for _, p in sorted(made.named_parameters()))]
        grads.append([g.numpy() for g in fnn.grad(total, wanted)])
    for one, other in zip(*grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
