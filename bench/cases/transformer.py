"""A training step of a small language model: embedding, causal transformer layers, cross-entropy, Adam.

The right answer, the loss of the first steps, is PyTorch's in float64.
"""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run
from bench.cases.optimizer import jax_adam

LR, BATCHES, CHECKED_STEPS = 1e-3, 4, 3
D, HEADS, LAYERS, T, BATCH, VOCABULARY = 128, 4, 2, 64, 16, 256


def _inputs() -> Inputs:
    """Tokens, and the parameters under the names of nn.Embedding, nn.TransformerEncoder and nn.Linear."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCABULARY, D), "position": (T, D)}
    for i in range(LAYERS):
        shapes |= {f"layers.layers.{i}.{name}": shape for name, shape in layer_shapes(D).items()}
    shapes |= {"head.weight": (VOCABULARY, D), "head.bias": (VOCABULARY,)}
    made: dict[str, np.ndarray] = {"tokens": rng.integers(0, VOCABULARY, (BATCHES, BATCH, T + 1))}
    for name, shape in shapes.items():
        one = "norm" in name and name.endswith("weight")
        made[name] = np.ones(shape, np.float32) if one else rng.normal(0, 0.05, shape).astype(np.float32)
    return made


def layer_shapes(d: int) -> dict[str, tuple[int, ...]]:
    """The parameters of nn.TransformerEncoderLayer, d wide."""
    wide = {"self_attn.in_proj_weight": (3 * d, d), "self_attn.in_proj_bias": (3 * d,)}
    wide |= {"self_attn.out_proj.weight": (d, d), "self_attn.out_proj.bias": (d,)}
    wide |= {"linear1.weight": (4 * d, d), "linear1.bias": (4 * d,), "linear2.weight": (d, 4 * d), "linear2.bias": (d,)}
    return wide | {f"norm{i}.{name}": (d,) for i in (1, 2) for name in ("weight", "bias")}


def _model(lib: Any, inputs: Inputs) -> Any:
    class Model(lib.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = lib.nn.TransformerEncoderLayer(D, HEADS, 4 * D, 0.0, "gelu", batch_first=True, norm_first=True)
            self.embedding = lib.nn.Embedding(VOCABULARY, D)
            self.position = lib.nn.Parameter(lib.zeros(T, D))
            self.layers = lib.nn.TransformerEncoder(layer, LAYERS)
            self.head = lib.nn.Linear(D, VOCABULARY)
            # PyTorch's layers want the mask beside the word.
            self.mask = lib.nn.Transformer.generate_square_subsequent_mask(T) if lib.__name__ == "torch" else None

        def forward(self, tokens: Any) -> Any:
            x = self.embedding(tokens) + self.position
            mask = None if self.mask is None else self.mask.to(x.dtype)
            return self.head(self.layers(x, mask, is_causal=True))

    model = Model()
    model.load_state_dict({name: lib.tensor(x) for name, x in inputs.items() if name != "tokens"})
    return model


def _eager(module: str, inputs: Inputs, double: bool = False, compiled: bool = False, **adam: Any) -> Run:
    lib = __import__(module)
    model = _model(lib, inputs)
    if double:
        model = model.double()
    data = cycle([(lib.tensor(x[:, :-1]), lib.tensor(x[:, 1:].reshape(-1))) for x in inputs["tokens"]])
    optimizer = lib.optim.Adam(model.parameters(), lr=LR, **adam)

    def loss_of(tokens: Any, target: Any) -> Any:
        return lib.nn.functional.cross_entropy(model(tokens).reshape(-1, VOCABULARY), target)

    if compiled:
        lib._dynamo.reset()
        loss_of = lib.compile(loss_of, dynamic=False)

    def call() -> Any:
        loss = loss_of(*next(data))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return Run(call, partial(_losses, call))


def _losses(call: Callable[[], Any]) -> Answer:
    numbers = []
    for _ in range(CHECKED_STEPS):
        loss = call()
        numbers.append(float(loss.detach() if hasattr(loss, "detach") else loss))
    return [np.array(numbers)]


def _jax(inputs: Inputs) -> Run:
    import jax
    import jax.numpy as jnp

    def norm(x: Any, w: Any, b: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w + b

    def linear(x: Any, p: Any, name: str) -> Any:
        return x @ p[f"{name}weight"].T + p[f"{name}bias"]

    def loss_of(p: Any, tokens: Any) -> Any:
        x = p["embedding.weight"][tokens[:, :-1]] + p["position"]
        for i in range(LAYERS):
            at = f"layers.layers.{i}."
            y = linear(norm(x, p[f"{at}norm1.weight"], p[f"{at}norm1.bias"]), p, f"{at}self_attn.in_proj_")
            q, k, v = (y.reshape(BATCH, T, 3, HEADS, -1)[:, :, which] for which in range(3))
            heads = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + linear(heads.reshape(BATCH, T, D), p, f"{at}self_attn.out_proj.")
            y = linear(norm(x, p[f"{at}norm2.weight"], p[f"{at}norm2.bias"]), p, f"{at}linear1.")
            x = x + linear(jax.nn.gelu(y, approximate=False), p, f"{at}linear2.")
        log_p = jax.nn.log_softmax(linear(x, p, "head."))
        return -jnp.take_along_axis(log_p, tokens[:, 1:, None], -1).mean()

    def step(state: Any, tokens: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(state[0], tokens)
        return jax_adam(state, grads, LR), loss

    params = {name: jnp.asarray(x) for name, x in inputs.items() if name != "tokens"}
    state = (params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.int32(0))
    data = cycle([jnp.asarray(x.astype(np.int32)) for x in inputs["tokens"]])
    f = jax.jit(step, donate_argnums=0)

    def call() -> Any:
        nonlocal state
        state, loss = f(state, next(data))
        return loss.block_until_ready()

    return Run(call, partial(_losses, call))


def _flops() -> float:
    """Three products for each of a weight, seven halves for attention's two, of the pairs that are seen."""
    weights = LAYERS * 12 * D * D + D * VOCABULARY
    return 6.0 * BATCH * T * weights + 3.5 * LAYERS * 2.0 * BATCH * T * (T + 1) * D


CASES = [
    Case(
        "train_transformer",
        f"d{D}, {LAYERS} layers, {HEADS} heads, T{T}, batch {BATCH}",
        _inputs,
        lambda inputs: _eager("torch", inputs, double=True).answer(),
        {
            "fastnn": {"as written": lambda i: _eager("fastnn", i)},
            "torch": {"fused Adam": lambda i: _eager("torch", i, fused=True)},
            "torch:compile": {"loss compiled, fused Adam": lambda i: _eager("torch", i, compiled=True, fused=True)},
            "jax": {"jit, donated": _jax},
        },
        bound=1e-4,
        flops=_flops(),
    )
]
