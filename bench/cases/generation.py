"""Generation with a cache: a language model of four layers, 256 wide, continues a sequence by the likeliest tokens.

The peer is PyTorch written as one writes it by hand: weights fused for queries, keys and values, a preallocated cache,
`scaled_dot_product_attention`. Operations are those of the weights: 2 for each weight and token. Tokens a second are
the new tokens over the time of one call.
"""

from functools import partial
from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run

D, HEADS, LAYERS, VOCABULARY, PROMPT, NEW = 256, 4, 4, 1000, 16, 64


def _inputs(batch: int) -> Inputs:
    """Weights under the names of fastnn's LanguageModel, and prompts."""
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (VOCABULARY, D)}
    for i in range(LAYERS):
        at = f"layers.layers.{i}."
        shapes |= {f"{at}self_attn.in_proj_weight": (3 * D, D), f"{at}self_attn.in_proj_bias": (3 * D,)}
        shapes |= {f"{at}self_attn.out_proj.weight": (D, D), f"{at}self_attn.out_proj.bias": (D,)}
        shapes |= {f"{at}linear1.weight": (4 * D, D), f"{at}linear1.bias": (4 * D,)}
        shapes |= {f"{at}linear2.weight": (D, 4 * D), f"{at}linear2.bias": (D,)}
        shapes |= {f"{at}norm{n}.{what}": (D,) for n in (1, 2) for what in ("weight", "bias")}
    shapes |= {"layers.norm.weight": (D,), "layers.norm.bias": (D,)}
    shapes |= {"head.weight": (VOCABULARY, D), "head.bias": (VOCABULARY,)}
    rng = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {"tokens": rng.integers(0, VOCABULARY, (batch, PROMPT))}
    for name, shape in shapes.items():
        one = "norm" in name and name.endswith("weight")
        made[name] = (rng.normal(0, 0.1, shape) + one).astype(np.float32)
    return made


def _positions(length: int) -> np.ndarray:
    angle = np.arange(length)[:, None] / 10000 ** (np.arange(0, D, 2) / D)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, D)


def _fastnn(inputs: Inputs) -> Run:
    import fastnn as fnn

    net = fnn.models.LanguageModel(VOCABULARY, D, HEADS, LAYERS)
    net.load_state_dict({name: x for name, x in inputs.items() if name != "tokens"})
    net.freeze()

    def call() -> np.ndarray:
        return net.generate(inputs["tokens"], NEW)

    return Run(call, lambda: [call()])


class _Torch:
    """The same model in PyTorch, with a cache."""

    def __init__(self, inputs: Inputs, dtype: str) -> None:
        import torch

        kind = getattr(torch, dtype)
        self.torch = torch
        self.p = {name: torch.tensor(x).to(kind) for name, x in inputs.items() if name != "tokens"}
        self.tokens = torch.tensor(inputs["tokens"])
        batch, total = len(self.tokens), PROMPT + NEW
        self.place = torch.tensor(_positions(total)).to(kind)
        self.cache = torch.zeros(LAYERS, 2, batch, HEADS, total, D // HEADS, dtype=kind)

    def step(self, tokens: Any, start: int) -> Any:
        """Tokens (B, t) from position `start` on -> logits of what follows."""
        f, p = self.torch.nn.functional, self.p
        batch, length = tokens.shape
        end = start + length
        x = f.embedding(tokens, p["embedding.weight"]) * D**0.5 + self.place[start:end]
        for i in range(LAYERS):
            at = f"layers.layers.{i}."
            y = f.layer_norm(x, (D,), p[f"{at}norm1.weight"], p[f"{at}norm1.bias"])
            qkv = f.linear(y, p[f"{at}self_attn.in_proj_weight"], p[f"{at}self_attn.in_proj_bias"])
            q, k, v = qkv.view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            self.cache[i, 0, :, :, start:end], self.cache[i, 1, :, :, start:end] = k, v
            keys, values = self.cache[i, 0, :, :, :end], self.cache[i, 1, :, :, :end]
            y = f.scaled_dot_product_attention(q, keys, values, is_causal=length > 1)
            y = y.transpose(1, 2).reshape(batch, length, D)
            x = x + f.linear(y, p[f"{at}self_attn.out_proj.weight"], p[f"{at}self_attn.out_proj.bias"])
            y = f.layer_norm(x, (D,), p[f"{at}norm2.weight"], p[f"{at}norm2.bias"])
            y = f.gelu(f.linear(y, p[f"{at}linear1.weight"], p[f"{at}linear1.bias"]))
            x = x + f.linear(y, p[f"{at}linear2.weight"], p[f"{at}linear2.bias"])
        x = f.layer_norm(x[:, -1], (D,), p["layers.norm.weight"], p["layers.norm.bias"])
        return f.linear(x, p["head.weight"], p["head.bias"])

    def generate(self) -> np.ndarray:
        """The prompt and NEW tokens behind it."""
        new, at, out = self.tokens, 0, [self.tokens]
        for _ in range(NEW):
            logits = self.step(new, at)
            at += new.shape[1]
            new = logits.argmax(-1, keepdim=True)
            out.append(new)
        return self.torch.cat(out, 1).numpy()


def _torch(inputs: Inputs, dtype: str = "float32") -> Run:
    import torch

    model = _Torch(inputs, dtype)
    return Run(model.generate, lambda: [model.generate()], torch.inference_mode)


def _answer(inputs: Inputs) -> Answer:
    """The tokens in float64: numbers, so that one that differs is wrong."""
    run = _torch(inputs, "float64")
    with run.context():
        return [tokens.astype(np.float64) for tokens in run.answer()]


def case(batch: int) -> Case:
    """`batch` sequences at once."""
    weights = LAYERS * 12 * D * D + D * VOCABULARY
    return Case(
        "generation",
        f"d{D} {LAYERS} layers batch {batch}, {NEW} tokens",
        partial(_inputs, batch),
        _answer,
        {"fastnn": {"cache": _fastnn}, "torch": {"cache": _torch}},
        bound=1e-6,
        flops=2.0 * batch * weights * NEW,
        bytes=4.0 * weights * NEW,
    )


CASES = [case(1), case(8)]
