"""RNN, GRU and LSTM: inference, forward and backward, sequences of different lengths, one step of a cell."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Setup, Variants
from bench.runners import Nodes, onnxruntime_op, openvino_op

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# ONNX has other orders of gates: i o f c, and z r h.
ONNX_GATES = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}


def weights_for(kind: str, inputs: int, units: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A layer's parameters as PyTorch draws them."""
    rows, bound = GATES[kind] * units, units**-0.5
    shapes = dict(zip(WEIGHTS, ((rows, inputs), (rows, units), (rows,), (rows,)), strict=True))
    return {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}


def inputs_for(kind: str, steps: int, batch: int, inputs: int, units: int) -> Callable[[], Inputs]:
    """x (T, B, I), the weights, and a gradient of y (T, B, H)."""

    def make() -> Inputs:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((steps, batch, inputs), np.float32)
        dy = rng.standard_normal((steps, batch, units), np.float32)
        return {"x": x, "dy": dy} | weights_for(kind, inputs, units, rng)

    return make


# -------------------------------------------------------------------------------------- the right answer, in float64


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def forward(kind: str, x: np.ndarray, weights: list[np.ndarray]) -> tuple[list, list, list]:
    """Of every step h, c and the gates (with their slopes' other factors)."""
    w_ih, w_hh, b_ih, b_hh = weights
    h = c = np.zeros((x.shape[1], w_hh.shape[1]))
    hs, cs, gates = [h], [c], []
    for x_t in x:
        a, b = x_t @ w_ih.T + b_ih, h @ w_hh.T + b_hh
        if kind == "LSTM":
            i, f, g, o = np.split(a + b, 4, 1)
            gates.append((sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)))
            i, f, g, o = gates[-1]
            c = f * c + i * g
            h = o * np.tanh(c)
        elif kind == "GRU":
            (xr, xz, xn), (hr, hz, hn) = np.split(a, 3, 1), np.split(b, 3, 1)
            r, z = sigmoid(xr + hr), sigmoid(xz + hz)
            n = np.tanh(xn + r * hn)
            gates.append((r, z, n, hn))
            h = n + z * (h - n)
        else:
            h = np.tanh(a + b)
            gates.append((h,))
        hs.append(h)
        cs.append(c)
    return hs, cs, gates


def backward(kind: str, x: np.ndarray, weights: list[np.ndarray], dy: np.ndarray) -> Answer:
    """y and the gradients of x and the weights."""
    w_ih, w_hh, *_ = weights
    hs, cs, gates = forward(kind, x, weights)
    dx, (dw_ih, dw_hh, db_ih, db_hh) = np.zeros_like(x), (np.zeros_like(w) for w in weights)
    dh, dc = np.zeros_like(hs[0]), np.zeros_like(hs[0])
    for t in reversed(range(len(x))):
        dh = dh + dy[t]
        own = 0.0
        if kind == "LSTM":
            i, f, g, o = gates[t]
            shown = np.tanh(cs[t + 1])
            dc = dc + dh * o * (1 - shown**2)
            parts = (dc * g * i * (1 - i), dc * cs[t] * f * (1 - f), dc * i * (1 - g**2), dh * shown * o * (1 - o))
            da = db = np.concatenate(parts, 1)
            dc = dc * f
        elif kind == "GRU":
            r, z, n, hn = gates[t]
            dn = dh * (1 - z) * (1 - n**2)
            dr, dz = dn * hn * r * (1 - r), dh * (hs[t] - n) * z * (1 - z)
            da, db = np.concatenate((dr, dz, dn), 1), np.concatenate((dr, dz, dn * r), 1)
            own = dh * z
        else:
            da = db = dh * (1 - gates[t][0] ** 2)
        dx[t] = da @ w_ih
        dw_ih += da.T @ x[t]
        dw_hh += db.T @ hs[t]
        db_ih += da.sum(0)
        db_hh += db.sum(0)
        dh = own + db @ w_hh
    return [np.stack(hs[1:]), dx, dw_ih, dw_hh, db_ih, db_hh]


def doubles(inputs: Inputs) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """x, the weights and dy in float64."""
    return inputs["x"].astype(float), [inputs[n].astype(float) for n in WEIGHTS], inputs["dy"].astype(float)


# ------------------------------------------------------------------------------------------------------------ peers


def layer_of(lib: Any, kind: str, inputs: Inputs, cell: bool = False) -> Any:
    """fastnn's or PyTorch's layer with these weights."""
    make = getattr(lib.nn, f"{kind}Cell" if cell else kind)
    layer = make(inputs["weight_ih"].shape[1], inputs["weight_hh"].shape[1])
    layer.load_state_dict({f"{n}{'' if cell else '_l0'}": lib.tensor(inputs[n]) for n in WEIGHTS})
    return layer


def _fastnn(kind: str, inputs: Inputs) -> Run:
    import fastnn as fnn

    layer, x = layer_of(fnn, kind, inputs).freeze(), fnn.tensor(inputs["x"])
    return Run(lambda: layer(x)[0], lambda: [layer(x)[0].numpy()], fnn.no_grad)


def _torch(kind: str, inputs: Inputs) -> Run:
    import torch

    layer, x = layer_of(torch, kind, inputs).eval(), torch.from_numpy(inputs["x"])
    return Run(lambda: layer(x)[0], lambda: [layer(x)[0].numpy()], torch.inference_mode)


def onnx_inputs(kind: str, inputs: Inputs) -> Inputs:
    """The arrays under ONNX's names, in its order of gates."""

    def reordered(w: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(w, GATES[kind])[g] for g in ONNX_GATES[kind]])

    bias = np.concatenate([reordered(inputs["bias_ih"]), reordered(inputs["bias_hh"])])
    made = {"W": reordered(inputs["weight_ih"])[None], "R": reordered(inputs["weight_hh"])[None], "B": bias[None]}
    return {"x": inputs["x"]} | {name: np.ascontiguousarray(a) for name, a in made.items()}


def graphs(kind: str, units: int) -> dict[str, Variants]:
    """ONNX Runtime and OpenVINO."""
    attributes: dict[str, Any] = {"hidden_size": units}
    if kind == "GRU":
        attributes["linear_before_reset"] = 1
    nodes: Nodes = [(kind, ("x", "W", "R", "B"), attributes), ("Squeeze", ("y0", np.array([1])), {})]

    def with_onnx_names(setup: Setup) -> Setup:
        def made(inputs: Inputs) -> Run:
            own = onnx_inputs(kind, inputs)
            run = setup(own)
            return replace(run, inputs=run.inputs or own)

        return made

    constants = ("W", "R", "B")
    peers = {"onnxruntime": onnxruntime_op(nodes, constants), "openvino": openvino_op(nodes, constants)}
    return {peer: {name: with_onnx_names(setup) for name, setup in v.items()} for peer, v in peers.items()}


def inference(kind: str, steps: int, batch: int, inputs: int, units: int) -> Case:
    """The outputs of all steps, from a zero state."""

    def answer(i: Inputs) -> Answer:
        x, weights, _ = doubles(i)
        return [np.stack(forward(kind, x, weights)[0][1:])]

    return Case(
        "recurrent",
        f"{kind} T{steps} B{batch} {inputs}->{units}",
        inputs_for(kind, steps, batch, inputs, units),
        answer,
        {
            "fastnn": {"frozen": lambda i: _fastnn(kind, i)},
            "torch": {"eval": lambda i: _torch(kind, i)},
            **graphs(kind, units),
        },
        bound=2e-5,
        flops=2.0 * steps * batch * GATES[kind] * units * (inputs + units),
    )


def _training(module: str, kind: str, inputs: Inputs) -> Run:
    lib = __import__(module)
    layer, x, dy = layer_of(lib, kind, inputs), lib.tensor(inputs["x"], requires_grad=True), lib.tensor(inputs["dy"])
    wanted = [x, *layer.parameters()]

    def call() -> Any:
        for p in wanted:
            p.grad = None
        y, _ = layer(x)
        y.backward(dy)
        return y

    return Run(call, lambda: [call().detach().numpy(), *(p.grad.numpy() for p in wanted)])


def training(kind: str, steps: int, batch: int, inputs: int, units: int) -> Case:
    """Forward, and the gradients of x and all parameters for a given gradient of y."""

    def answer(i: Inputs) -> Answer:
        return backward(kind, *doubles(i))

    return Case(
        "recurrent_backward",
        f"{kind} T{steps} B{batch} {inputs}->{units}",
        inputs_for(kind, steps, batch, inputs, units),
        answer,
        {name: {"backward()": lambda i, m=name: _training(m, kind, i)} for name in ("fastnn", "torch")},
        bound=1e-4,
        flops=6.0 * steps * batch * GATES[kind] * units * (inputs + units),
    )


def _cell(module: str, kind: str, inputs: Inputs) -> Run:
    lib = __import__(module)
    layer, x = layer_of(lib, kind, inputs, cell=True), lib.tensor(inputs["x"][0])
    state = lib.zeros(x.shape[0], inputs["weight_hh"].shape[1])
    hx = (state, state) if kind == "LSTM" else state
    context = lib.no_grad if module == "fastnn" else lib.inference_mode
    layer.freeze() if module == "fastnn" else layer.eval()

    def answer() -> Answer:
        out = layer(x, hx)
        return [(out[0] if kind == "LSTM" else out).numpy()]

    return Run(lambda: layer(x, hx), answer, context)


def cell(kind: str, batch: int, inputs: int, units: int) -> Case:
    """One step of a cell."""

    def answer(i: Inputs) -> Answer:
        x, weights, _ = doubles(i)
        return [forward(kind, x, weights)[0][1]]

    return Case(
        "cell",
        f"{kind}Cell B{batch} {inputs}->{units}",
        inputs_for(kind, 1, batch, inputs, units),
        answer,
        {name: {"step": lambda i, m=name: _cell(m, kind, i)} for name in ("fastnn", "torch")},
        bound=2e-5,
        flops=2.0 * batch * GATES[kind] * units * (inputs + units),
    )


def _lengths(steps: int, batch: int) -> np.ndarray:
    return np.random.default_rng(1).integers(steps // 5, steps + 1, batch)


def _packed(module: str, kind: str, train: bool, inputs: Inputs) -> Run:
    lib = __import__(module)
    rnn = __import__(f"{module}.nn.utils.rnn", fromlist=["rnn"])
    steps, batch, _ = inputs["x"].shape
    layer, x = layer_of(lib, kind, inputs), lib.tensor(inputs["x"], requires_grad=train)
    dy, lengths = lib.tensor(inputs["dy"]), lib.tensor(_lengths(steps, batch))
    wanted = [x, *layer.parameters()] if train else []
    if not train:
        layer.freeze() if module == "fastnn" else layer.eval()

    def call() -> Any:
        for p in wanted:
            p.grad = None
        sequences = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, _ = rnn.pad_packed_sequence(layer(sequences)[0], total_length=steps)
        if train:
            y.backward(dy)
        return y

    context = lib.enable_grad if train else lib.no_grad if module == "fastnn" else lib.inference_mode
    return Run(call, lambda: [call().detach().numpy(), *(p.grad.numpy() for p in wanted)], context)


def packed(kind: str, train: bool, steps: int, batch: int, inputs: int, units: int) -> Case:
    """Sequences of a fifth of the steps to all of them: packed, run, padded again."""

    def answer(i: Inputs) -> Answer:
        x, weights, dy = doubles(i)
        total: list[Any] = []
        for b, n in enumerate(_lengths(steps, batch)):
            y, dx, *dw = backward(kind, x[:n, b : b + 1], weights, dy[:n, b : b + 1])
            if not total:
                total = [np.zeros((*x.shape[:2], units)), np.zeros_like(x), *(np.zeros_like(w) for w in weights)]
            total[0][:n, b], total[1][:n, b] = y[:, 0], dx[:, 0]
            for sum_of, d in zip(total[2:], dw, strict=True):
                sum_of += d
        return total if train else total[:1]

    rows = float(_lengths(steps, batch).sum())
    return Case(
        "recurrent_packed",
        f"{kind} {'forward+backward' if train else 'inference'} T{steps} B{batch} {inputs}->{units}",
        inputs_for(kind, steps, batch, inputs, units),
        answer,
        {name: {"packed": lambda i, m=name: _packed(m, kind, train, i)} for name in ("fastnn", "torch")},
        bound=1e-4,
        flops=(6.0 if train else 2.0) * rows * GATES[kind] * units * (inputs + units),
    )


SHAPES = [(100, 32, 128, 128), (50, 64, 64, 256), (200, 16, 40, 64), (100, 1, 256, 256)]
CASES = [
    *(inference(kind, *shape) for kind in GATES for shape in SHAPES),
    *(training(kind, *shape) for kind in GATES for shape in SHAPES),
    *(packed(kind, train, 100, 32, 128, 128) for kind in ("LSTM", "GRU") for train in (False, True)),
    *(cell(kind, 1, 64, 64) for kind in GATES),
]
