from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.floating]
_Arrays = Sequence[_Floats]
_Integers = npt.NDArray[np.integer]

_Pair = tuple[int, int]

_runtime: Any

def isas() -> list[str]: ...
def all_isas() -> list[str]: ...
def isa() -> str: ...
def use_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def available_cpus() -> int: ...
def memory_stats() -> dict[str, int]: ...
def empty_cache() -> None: ...
def copy(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def negative(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def abs(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def sign(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def square(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def sqrt(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def reciprocal(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def exp(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def log(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def tanh(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def sigmoid(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def erf(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def relu(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def leaky_relu(x: _Floats, alpha: float = 0.01, out: _Floats | None = None) -> _Floats: ...
def elu(x: _Floats, alpha: float = 1.0, out: _Floats | None = None) -> _Floats: ...
def softplus(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def gelu(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def gelu_tanh(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def relu6(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def hardswish(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def silu(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def add(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def subtract(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def multiply(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def divide(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def maximum(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def minimum(a: _Floats, b: _Floats, out: _Floats | None = None) -> _Floats: ...
def clamp(a: _Floats, b: _Floats, alpha: float = ..., out: _Floats | None = None) -> _Floats: ...
def tanh_grad(dy: _Floats, y: _Floats, out: _Floats | None = None) -> _Floats: ...
def sigmoid_grad(dy: _Floats, y: _Floats, out: _Floats | None = None) -> _Floats: ...
def erf_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def relu_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def leaky_relu_grad(dy: _Floats, x: _Floats, alpha: float = 0.01, out: _Floats | None = None) -> _Floats: ...
def elu_grad(dy: _Floats, x: _Floats, alpha: float = 1.0, out: _Floats | None = None) -> _Floats: ...
def softplus_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def gelu_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def gelu_tanh_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def relu6_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def hardswish_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def silu_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def abs_grad(dy: _Floats, x: _Floats, out: _Floats | None = None) -> _Floats: ...
def sum(x: _Floats, axis: int | None = None, scale: float = 1.0) -> _Floats: ...
def sum_squares(x: _Floats, axis: int | None = None, scale: float = 1.0) -> _Floats: ...
def max(x: _Floats, axis: int | None = None, scale: float = 1.0) -> _Floats: ...
def min(x: _Floats, axis: int | None = None, scale: float = 1.0) -> _Floats: ...
def prod(x: _Floats, axis: int | None = None, scale: float = 1.0) -> _Floats: ...
def softmax(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def softmax_backward(dy: _Floats, y: _Floats, out: _Floats | None = None) -> _Floats: ...
def log_softmax(x: _Floats, out: _Floats | None = None) -> _Floats: ...
def log_softmax_backward(dy: _Floats, y: _Floats, out: _Floats | None = None) -> _Floats: ...
def cross_entropy(
    x: _Floats,
    target: _Integers,
    weight: _Floats | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[_Floats, _Floats]: ...
def cross_entropy_backward(
    dloss: _Floats,
    lse: _Floats,
    x: _Floats,
    target: _Integers,
    weight: _Floats | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> _Floats: ...
def ctc(
    log_probs: _Floats, targets: _Integers, input_lengths: _Integers, target_lengths: _Integers, blank: int = 0
) -> tuple[_Floats, _Floats]: ...
def ctc_backward(
    dloss: _Floats,
    loss: _Floats,
    alpha: _Floats,
    log_probs: _Floats,
    targets: _Integers,
    input_lengths: _Integers,
    target_lengths: _Integers,
    blank: int = 0,
    zero_infinity: bool = False,
) -> _Floats: ...
def matmul(
    a: _Floats,
    b: _Floats,
    bias: _Floats | None = None,
    activation: str | None = None,
    alpha: float = 0.01,
    out: _Floats | None = None,
    accumulate: bool = False,
) -> _Floats: ...
def dropout(x: _Floats, p: float, seed: int, offset: int = 0, out: _Floats | None = None) -> _Floats: ...
def dropout_mask(out: _Floats, p: float, seed: int, offset: int = 0) -> _Floats: ...
def sgd(
    params: _Arrays,
    grads: _Arrays,
    m: _Arrays | None = None,
    *,
    step: int,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None: ...
def adam(
    params: _Arrays,
    grads: _Arrays,
    m: _Arrays,
    v: _Arrays,
    most: _Arrays | None = None,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None: ...
def rmsprop(
    params: _Arrays,
    grads: _Arrays,
    v: _Arrays,
    m: _Arrays | None = None,
    mean: _Arrays | None = None,
    *,
    step: int,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    grad_scale: float = 1.0,
    zero_grad: bool = False,
) -> None: ...
def max_pool2d(
    x: _Floats, kernel: _Pair, stride: _Pair, padding: _Pair, dilation: _Pair, ceil_mode: bool, /
) -> tuple[_Floats, _Integers]: ...
def max_pool2d_backward(
    dy: _Floats,
    taps: _Integers,
    size: _Pair,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    ceil_mode: bool,
    /,
) -> _Floats: ...
def max_pool2d_pick(
    x: _Floats,
    taps: _Integers,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    dilation: _Pair,
    ceil_mode: bool,
    /,
) -> _Floats: ...
def avg_pool2d(
    x: _Floats,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
    /,
) -> _Floats: ...
def avg_pool2d_backward(
    dy: _Floats,
    size: _Pair,
    kernel: _Pair,
    stride: _Pair,
    padding: _Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int,
    /,
) -> _Floats: ...
def adaptive_max_pool2d(x: _Floats, output_size: _Pair, /) -> tuple[_Floats, _Integers]: ...
def adaptive_max_pool2d_backward(dy: _Floats, taps: _Integers, size: _Pair, /) -> _Floats: ...
def adaptive_avg_pool2d(x: _Floats, output_size: _Pair, /) -> _Floats: ...
def adaptive_avg_pool2d_backward(dy: _Floats, size: _Pair, /) -> _Floats: ...
def resize(x: _Floats, size: _Pair, mode: str, align_corners: bool, /) -> _Floats: ...
def resize_backward(dy: _Floats, size: _Pair, mode: str, align_corners: bool, /) -> _Floats: ...
def batch_norm(
    x: _Floats,
    weight: _Floats | None = None,
    bias: _Floats | None = None,
    mean: _Floats | None = None,
    var: _Floats | None = None,
    eps: float = 1e-5,
    relu: bool = False,
) -> tuple[_Floats, _Floats, _Floats, _Floats]: ...
def batch_norm_backward(
    dy: _Floats,
    x: _Floats,
    mean: _Floats,
    rstd: _Floats,
    weight: _Floats | None = None,
    bias: _Floats | None = None,
    relu: bool = False,
    constant: bool = False,
) -> tuple[_Floats, _Floats, _Floats]: ...
def group_norm(
    x: _Floats,
    groups: int,
    weight: _Floats | None = None,
    bias: _Floats | None = None,
    eps: float = 1e-5,
    relu: bool = False,
) -> tuple[_Floats, _Floats, _Floats, _Floats]: ...
def group_norm_backward(
    dy: _Floats,
    x: _Floats,
    mean: _Floats,
    rstd: _Floats,
    groups: int,
    weight: _Floats | None = None,
    bias: _Floats | None = None,
    relu: bool = False,
) -> tuple[_Floats, _Floats, _Floats]: ...
def layer_norm(
    x: _Floats,
    weight: _Floats | None = None,
    bias: _Floats | None = None,
    residual: _Floats | None = None,
    eps: float = 1e-5,
) -> tuple[_Floats, ...]: ...
def layer_norm_backward(
    dy: _Floats,
    x: _Floats,
    mean: _Floats,
    rstd: _Floats,
    weight: _Floats | None = None,
    dsum: _Floats | None = None,
) -> tuple[_Floats, _Floats, _Floats]: ...
def rms_norm(
    x: _Floats, weight: _Floats | None = None, residual: _Floats | None = None, eps: float = 1e-5
) -> tuple[_Floats, ...]: ...
def rms_norm_backward(
    dy: _Floats, x: _Floats, rstd: _Floats, weight: _Floats | None = None, dsum: _Floats | None = None
) -> tuple[_Floats, _Floats]: ...
def recurrent(
    cell: str,
    x: _Floats,
    weights: tuple[_Floats | None, ...],
    h0: _Floats | None,
    c0: _Floats | None,
    batch_sizes: npt.NDArray[np.integer] | None,
    keep: bool,
) -> tuple[_Floats | None, ...]: ...
def recurrent_backward(
    cell: str,
    gradients: tuple[_Floats | None, ...],
    saved: tuple[_Floats | None, ...],
    x: _Floats,
    weights: tuple[_Floats | None, ...],
    h0: _Floats | None,
    c0: _Floats | None,
    batch_sizes: npt.NDArray[np.integer] | None,
) -> tuple[_Floats | None, ...]: ...
def attention(
    q: _Floats,
    k: _Floats,
    v: _Floats,
    mask: np.ndarray | None = None,
    causal: bool = False,
    diagonal: int = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> tuple[_Floats, _Floats]: ...
def attention_backward(
    dout: _Floats,
    q: _Floats,
    k: _Floats,
    v: _Floats,
    out: _Floats,
    stats: _Floats,
    mask: np.ndarray | None = None,
    causal: bool = False,
    diagonal: int = 0,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int = 0,
    offset: int = 0,
) -> tuple[_Floats, _Floats, _Floats]: ...
