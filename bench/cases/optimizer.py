"""One Adam step for all parameters of a model, gradients given."""

from typing import Any

import numpy as np

from bench.case import Answer, Case, Inputs, Run, Variants

LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
CHECKED_STEPS = 3
MLP = ((256, 784), (256,), (128, 256), (128,), (10, 128), (10,))  # 235,146 parameters
LARGE = ((2048, 2048), (2048,), (2048, 2048), (2048,), (1024, 1600), (1024,))  # 10 million


def adam(name: str, shapes: tuple[tuple[int, ...], ...]) -> Case:
    """p, m, v updated in place from g: at least 28 bytes move per parameter."""
    count = sum(int(np.prod(s)) for s in shapes)

    def inputs() -> Inputs:
        rng = np.random.default_rng(0)
        made = {f"p{i}": rng.standard_normal(s, np.float32) for i, s in enumerate(shapes)}
        return made | {f"g{i}": rng.standard_normal(s, np.float32) for i, s in enumerate(shapes)}

    return Case(
        "adam",
        name,
        inputs,
        _right,
        {
            "fastnn": {"Adam": lambda i: _optimizer("fastnn", i, {})},
            "numpy": {"by hand": _numpy},
            "torch": _torch_variants(),
            "jax": {"jit, donated": _jax},
        },
        bound=1e-6,
        bytes=28.0 * count,
    )


def _split(inputs: Inputs, dtype: Any = np.float32) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Fresh parameters and gradients: the steps write into them."""
    half = len(inputs) // 2
    arrays = [v.astype(dtype) for v in inputs.values()]
    return arrays[:half], arrays[half:]


def _right(inputs: Inputs) -> Answer:
    params, grads = _split(inputs, np.float64)
    state = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    for step in range(1, CHECKED_STEPS + 1):
        for p, g, (m, v) in zip(params, grads, state, strict=True):
            numpy_adam(p, g, m, v, step)
    return params


def numpy_adam(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, lr: float = LR) -> None:
    """Adam as PyTorch computes it, in place."""
    m += (1 - BETA1) * (g - m)
    v += (1 - BETA2) * (g * g - v)
    p -= (lr / (1 - BETA1**step)) * m / (np.sqrt(v) / np.sqrt(1 - BETA2**step).astype(p.dtype) + p.dtype.type(EPS))


def _numpy(inputs: Inputs) -> Run:
    params, grads = _split(inputs)
    state = [(np.zeros_like(p), np.zeros_like(p)) for p in params]
    step = 0

    def call() -> None:
        nonlocal step
        step += 1
        for p, g, (m, v) in zip(params, grads, state, strict=True):
            numpy_adam(p, g, m, v, step)

    return _steps(call, lambda: params)


def _steps(call: Any, params: Any) -> Run:
    def answer() -> Answer:
        for _ in range(CHECKED_STEPS):
            call()
        return [np.array(p) for p in params()]

    return Run(call, answer)


def _optimizer(module: str, inputs: Inputs, options: dict[str, Any]) -> Run:
    """fastnn and PyTorch: the same program."""
    lib = __import__(module)
    params, grads = _split(inputs)
    made = [lib.nn.Parameter(lib.tensor(p)) for p in params]
    for p, g in zip(made, grads, strict=True):
        p.grad = lib.tensor(g)
    opt = lib.optim.Adam(made, lr=LR, betas=(BETA1, BETA2), eps=EPS, **options)
    return _steps(opt.step, lambda: [p.detach().numpy() for p in made])


def _torch_variants() -> Variants:
    options: dict[str, dict[str, Any]] = {
        "fused": {"fused": True},
        "foreach": {"foreach": True},
        "loop": {"foreach": False},
    }
    return {name: lambda i, o=o: _optimizer("torch", i, o) for name, o in options.items()}


def _jax(inputs: Inputs) -> Run:
    import jax
    import jax.numpy as jnp

    params, grads = ([jnp.asarray(a) for a in arrays] for arrays in _split(inputs))
    f = jax.jit(jax_adam, donate_argnums=0)
    state = (params, [jnp.zeros_like(p) for p in params], [jnp.zeros_like(p) for p in params], jnp.zeros((), jnp.int32))

    def call() -> None:
        nonlocal state
        state = f(state, grads)
        jax.block_until_ready(state[0])

    return _steps(call, lambda: state[0])


def jax_adam(state: Any, grads: Any, lr: float = LR) -> Any:
    """(params, m, v, step), gradients -> the next state; any tree of arrays."""
    import jax
    import jax.numpy as jnp

    params, m, v, step = state
    step = step + 1
    m = jax.tree.map(lambda m, g: m + (1 - BETA1) * (g - m), m, grads)
    v = jax.tree.map(lambda v, g: v + (1 - BETA2) * (g * g - v), v, grads)
    size, root = lr / (1 - BETA1**step), jnp.sqrt(1 - BETA2**step)
    params = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) / root + EPS), params, m, v)
    return params, m, v, step


CASES = [adam("235 thousand parameters", MLP), adam("10 million parameters", LARGE)]
