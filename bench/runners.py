"""From a plain function to a Run, one builder per peer. Every builder returns variants: name -> setup.

Inputs named in `constants` are weights: peers that can prepare them (prepack, fold, freeze) get them as constants.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.case import Inputs, Run, Variants, aligned

# Operator, inputs (names; an array is a literal), attributes. A chain: outputs are y0, y1, ...
Nodes = Sequence[tuple[str, Sequence[str | np.ndarray], dict[str, Any]]]
# The same for ncnn: layer type, inputs, parameters as its .param files write them, weights (names of inputs).
Layers = Sequence[tuple[str, Sequence[str], str, Sequence[str]]]


def _listed(result: Any) -> list[np.ndarray]:
    return [np.asarray(r) for r in (result if isinstance(result, tuple | list) else (result,))]


def numpy_op(f: Callable, out: bool = False) -> Variants:
    """`f(*arrays)`, and `f(*arrays, out=buffer)` when f takes it: large fresh outputs cost page faults."""

    def plain(inputs: Inputs) -> Run:
        args = tuple(inputs.values())
        return Run(lambda: f(*args), lambda: _listed(f(*args)))

    def with_out(inputs: Inputs) -> Run:
        args = tuple(inputs.values())
        buffer = aligned(f(*args))
        return Run(lambda: f(*args, out=buffer), lambda: _listed(f(*args, out=buffer)))

    return {"plain": plain, "out=": with_out} if out else {"plain": plain}


def torch_op(f: Callable, out: bool = False) -> Variants:
    """Eager PyTorch in inference mode."""

    def tensors(inputs: Inputs) -> tuple:
        import torch

        return tuple(torch.from_numpy(v) for v in inputs.values())

    def plain(inputs: Inputs) -> Run:
        import torch

        args = tensors(inputs)
        return Run(lambda: f(*args), lambda: _listed(f(*args)), torch.inference_mode)

    def with_out(inputs: Inputs) -> Run:
        import torch

        args = tensors(inputs)
        buffer = torch.empty_like(f(*args))
        return Run(lambda: f(*args, out=buffer), lambda: _listed(f(*args, out=buffer)), torch.inference_mode)

    return {"plain": plain, "out=": with_out} if out else {"plain": plain}


def torch_compiled(f: Callable, constants: Sequence[str] = ()) -> Variants:
    """torch.compile in inference mode, weights frozen (prepacked) when there are any."""

    def compiled(inputs: Inputs) -> Run:
        import torch
        import torch._inductor.config as inductor

        class Module(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weights = torch.nn.ParameterList([torch.from_numpy(inputs[c]) for c in constants])

            def forward(self, *args: Any) -> Any:
                return f(*args, *self.weights)

        torch._dynamo.reset()
        args = tuple(torch.from_numpy(v) for k, v in inputs.items() if k not in constants)
        module = torch.compile(Module().eval(), fullgraph=True, dynamic=False)

        def call() -> Any:
            return module(*args)

        with inductor.patch(freezing=bool(constants)), torch.no_grad():
            call()
        # Compiled code is specialised to this grad mode: another one would compile again inside the timing.
        return Run(call, lambda: _listed(call()), torch.no_grad)

    return {"compile": compiled}


def jax_op(f: Callable, constants: Sequence[str] = (), donate: bool = False) -> Variants:
    """Jitted; `donate` also tries to give an old output back as the memory of the new one."""

    def split(inputs: Inputs) -> tuple[Callable, tuple]:
        import jax.numpy as jnp

        weights = tuple(jnp.asarray(inputs[c]) for c in constants)
        args = tuple(jnp.asarray(v) for k, v in inputs.items() if k not in constants)
        return (lambda *a: f(*a, *weights)), args

    def plain(inputs: Inputs) -> Run:
        import jax

        g, args = split(inputs)
        g = jax.jit(g)
        return Run(lambda: g(*args).block_until_ready(), lambda: _listed(g(*args)))

    def weights_as_arguments(inputs: Inputs) -> Run:
        import jax
        import jax.numpy as jnp

        g, args = jax.jit(f), tuple(jnp.asarray(v) for v in inputs.values())
        return Run(lambda: g(*args).block_until_ready(), lambda: _listed(g(*args)))

    def donated(inputs: Inputs) -> Run:
        import jax

        g, args = split(inputs)
        g_into = jax.jit(lambda old, *a: g(*a), donate_argnums=0, keep_unused=True)
        old = g(*args)

        def call() -> Any:
            nonlocal old
            old = g_into(old, *args)
            return old.block_until_ready()

        return Run(call, lambda: [np.array(call())])

    variants = {"jit": plain}
    if constants:
        variants["jit, weights as arguments"] = weights_as_arguments
    if donate:
        variants["jit, donated output"] = donated
    return variants


def fastnn_op(f: Callable) -> Variants:
    """fastnn under no_grad, written as a user would."""

    def plain(inputs: Inputs) -> Run:
        import fastnn as fnn

        args = tuple(fnn.tensor(v) for v in inputs.values())
        return Run(lambda: f(*args), lambda: [f(*args).numpy()], fnn.no_grad)

    return {"plain": plain}


def kernel_op(f: Callable) -> Variants:
    """A raw kernel of fastnn.kernels on NumPy arrays: `f(kernels, *arrays, out=...)`."""

    def raw(inputs: Inputs) -> Run:
        import fastnn.kernels as kernels

        args = tuple(inputs.values())
        return Run(lambda: f(kernels, *args), lambda: _listed(f(kernels, *args)))

    def with_out(inputs: Inputs) -> Run:
        import fastnn.kernels as kernels

        args = tuple(inputs.values())
        buffer = aligned(f(kernels, *args))
        return Run(lambda: f(kernels, *args, out=buffer), lambda: _listed(f(kernels, *args, out=buffer)))

    return {"plain": raw, "out=": with_out}


def onnx_model(nodes: Nodes, inputs: Inputs, constants: Sequence[str]) -> bytes:
    """A chain of operators as an ONNX model; the last node's output is the model's."""
    from onnx import TensorProto, helper, numpy_helper

    made, literals = [], {}
    for i, (op, args, attrs) in enumerate(nodes):
        literals.update({f"literal{i}_{j}": arg for j, arg in enumerate(args) if isinstance(arg, np.ndarray)})
        names = [f"literal{i}_{j}" if isinstance(arg, np.ndarray) else arg for j, arg in enumerate(args)]
        made.append(helper.make_node(op, names, [f"y{i}"], **attrs))
    free = [k for k in inputs if k not in constants]
    values = {k: inputs[k] for k in constants} | literals
    graph = helper.make_graph(
        made,
        "case",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, inputs[k].shape) for k in free],
        [helper.make_tensor_value_info(made[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, k) for k, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return model.SerializeToString()


def onnxruntime_op(nodes: Nodes, constants: Sequence[str] = ()) -> Variants:
    """ONNX Runtime, all optimisations; a plain run or one with bound inputs and outputs."""

    def session(inputs: Inputs) -> tuple[Any, dict[str, np.ndarray]]:
        import os

        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = onnx_model(nodes, inputs, constants)
        made = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return made, {k: v for k, v in inputs.items() if k not in constants}

    def plain(inputs: Inputs) -> Run:
        made, feed = session(inputs)
        return Run(lambda: made.run(None, feed), lambda: made.run(None, feed))

    def bound(inputs: Inputs) -> Run:
        import onnxruntime as ort

        made, feed = session(inputs)
        out = aligned(made.run(None, feed)[0])
        binding = made.io_binding()
        values = {k: ort.OrtValue.ortvalue_from_numpy(v) for k, v in feed.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(made.get_outputs()[0].name, ort.OrtValue.ortvalue_from_numpy(out))

        def answer() -> list[np.ndarray]:
            made.run_with_iobinding(binding)
            return [out]  # and so keeps it alive: the binding holds no more than its address

        return Run(lambda: made.run_with_iobinding(binding), answer)

    return {"run": plain, "io binding": bound}


def openvino_op(nodes: Nodes, constants: Sequence[str] = (), images: bool = False) -> Variants:
    """OpenVINO with the latency hint in float32; tensors share the arrays' memory, the request is reused.

    `images`: also with images as (N, H, W, C), which its kernels may prefer (or it copies them in every call).
    """

    def infer(inputs: Inputs, last: bool) -> Run:
        made, arrays = _openvino_request(nodes, inputs, constants, last)

        def call() -> Any:
            return made.infer(share_outputs=True)

        return Run(call, lambda: [_channels_first(made.infer()[0], last)], inputs=arrays)

    def wait(inputs: Inputs, last: bool) -> Run:
        made, arrays = _openvino_request(nodes, inputs, constants, last)

        def call() -> None:
            made.start_async(share_inputs=True)
            made.wait()

        def answer() -> list[np.ndarray]:
            call()
            return [_channels_first(made.get_output_tensor(0).data.copy(), last)]

        return Run(call, answer, inputs=arrays)

    variants = {"infer": lambda i: infer(i, False), "start_async, wait": lambda i: wait(i, False)}
    if images:
        variants |= {"infer, NHWC": lambda i: infer(i, True), "start_async, wait, NHWC": lambda i: wait(i, True)}
    return variants


def _channels_first(y: np.ndarray, last: bool) -> np.ndarray:
    return y.transpose(0, 3, 1, 2) if last and y.ndim == 4 else y


def _openvino_request(nodes: Nodes, inputs: Inputs, constants: Sequence[str], last: bool) -> tuple[Any, Inputs]:
    """The request, and the arrays it reads: it holds no more than their address."""
    import os

    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    core = ov.Core()
    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": int(os.environ["OMP_NUM_THREADS"]),
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = core.read_model(onnx_model(nodes, inputs, constants))
    if last:
        around = PrePostProcessor(model)
        ends = [around.input()] + ([around.output()] if len(model.output().partial_shape) == 4 else [])
        for end in ends:
            end.tensor().set_layout(ov.Layout("NHWC"))
            end.model().set_layout(ov.Layout("NCHW"))
        model = around.build()
    made = core.compile_model(model, "CPU", config).create_infer_request()
    arrays = {k: v for k, v in inputs.items() if k not in constants}
    if last:
        arrays = {k: aligned(v.transpose(0, 2, 3, 1)) for k, v in arrays.items()}
    for name, array in arrays.items():
        made.set_tensor(name, ov.Tensor(array, shared_memory=True))
    return made, arrays


NCNN_OFF = (
    *(f"use_fp16_{what}" for what in ("packed", "storage", "arithmetic")),
    *(f"use_bf16_{what}" for what in ("packed", "storage")),
    *(f"use_int8_{what}" for what in ("packed", "storage", "arithmetic", "inference")),
    "use_vulkan_compute",
)
NCNN_WINOGRAD = ("use_winograd63_convolution", "use_winograd43_convolution", "use_winograd23_convolution")


def ncnn_op(layers: Layers) -> Variants:
    """ncnn on one image (batch 1) in float32, packed layout, Winograd on; its choice of tile is helped by hand too."""

    def setup(off: Sequence[str], inputs: Inputs) -> Run:
        import ncnn

        net, image = ncnn_net(layers, inputs, off), ncnn.Mat(inputs["x"][0])

        def call() -> Any:
            with net.create_extractor() as extractor:
                extractor.input("x", image)
                return extractor.extract(f"y{len(layers) - 1}")[1]

        return Run(call, lambda: [np.array(call())[None]])

    return {
        "Winograd": lambda i: setup((), i),
        "Winograd F(4x4)": lambda i: setup(NCNN_WINOGRAD[:1], i),
        "Winograd F(2x2)": lambda i: setup(NCNN_WINOGRAD[:2], i),
        "no Winograd": lambda i: setup(("use_winograd_convolution",), i),
    }


def ncnn_net(layers: Layers, inputs: Inputs, off: Sequence[str]) -> Any:
    """The network, its weights from a temporary file (ncnn keeps pointers into memory it is given)."""
    import os
    import tempfile

    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = int(os.environ["OMP_NUM_THREADS"])
    for option in (*NCNN_OFF, *off):
        setattr(net.opt, option, False)
    with tempfile.TemporaryDirectory() as folder:
        param, model = os.path.join(folder, "net.param"), os.path.join(folder, "net.bin")
        with open(param, "w") as file:
            file.write(ncnn_text(layers))
        with open(model, "wb") as file:
            for *_, weights in layers:
                for i, name in enumerate(weights):  # four zero bytes before a layer's first array: float32 follows
                    file.write((b"" if i else bytes(4)) + inputs[name].tobytes())
        if net.load_param(param) or net.load_model(model):
            raise RuntimeError("ncnn refused the network")
    return net


def ncnn_text(layers: Layers) -> str:
    """The .param file. A blob has one reader in ncnn: one that is read n times goes through a Split first."""
    readers: dict[str, int] = {}
    for _, sources, _, _ in layers:
        for name in sources:
            readers[name] = readers.get(name, 0) + 1
    used = dict.fromkeys(readers, 0)
    lines = ["Input x 0 1 x"]

    def split(name: str) -> None:
        if (count := readers.get(name, 0)) > 1:
            lines.append(f"Split s_{name} 1 {count} {name} " + " ".join(f"{name}_{i}" for i in range(count)))

    def reading(name: str) -> str:
        used[name] += 1
        return name if readers[name] == 1 else f"{name}_{used[name] - 1}"

    split("x")
    for i, (kind, sources, parameters, _) in enumerate(layers):
        blobs = " ".join(reading(name) for name in sources)
        lines.append(f"{kind} l{i} {len(sources)} 1 {blobs} y{i} {parameters}")
        split(f"y{i}")
    blobs = sum(int(line.split()[3]) for line in lines)
    return "\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""])


def graph_ops(nodes: Nodes, constants: Sequence[str] = (), images: bool = False) -> dict[str, Variants]:
    """The same ONNX model for ONNX Runtime and OpenVINO."""
    return {"onnxruntime": onnxruntime_op(nodes, constants), "openvino": openvino_op(nodes, constants, images)}
