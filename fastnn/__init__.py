"""fastnn: a small, fast neural-network package for CPUs.

Tensors with reverse-mode differentiation under PyTorch's names, layers, optimizers, data and one training loop, on
kernels compiled for the instruction set of the machine. Heavier parts (`fastnn.nn`, `fastnn.optim`, `fastnn.data`, ...)
are imported when first used.
"""

import importlib
from typing import Any

try:
    from . import _kernels as _kernels
    from ._ops import Tensor as Tensor
except ImportError as error:
    if "FASTNN_" in str(error):  # a wrong setting speaks for itself
        raise
    # In the text, not in a note: `python -m fastnn` shows no notes.
    raise ImportError(
        "fastnn's compiled modules are missing or do not load. Did you build it? In a checkout run `pip install .` and "
        f"start Python from another folder, or with -P: there `import fastnn` finds the sources. ({error})",
        name=error.name,
        path=error.path,
    ) from error

from ._errors import FormatError as FormatError
from ._kernels import available_cpus as available_cpus
from ._kernels import empty_cache as empty_cache
from ._kernels import get_num_threads as get_num_threads
from ._kernels import memory_stats as memory_stats
from ._kernels import set_num_threads as set_num_threads
from ._ops import abs as abs
from ._ops import add as add
from ._ops import all as all
from ._ops import allclose as allclose
from ._ops import amax as amax
from ._ops import amin as amin
from ._ops import any as any
from ._ops import arange as arange
from ._ops import argmax as argmax
from ._ops import argmin as argmin
from ._ops import argsort as argsort
from ._ops import as_tensor as as_tensor
from ._ops import bernoulli as bernoulli
from ._ops import bmm as bmm
from ._ops import bool_ as bool_
from ._ops import broadcast_to as broadcast_to
from ._ops import cat as cat
from ._ops import ceil as ceil
from ._ops import chunk as chunk
from ._ops import clamp as clamp
from ._ops import clip as clip
from ._ops import clone as clone
from ._ops import concatenate as concatenate
from ._ops import cos as cos
from ._ops import cross_entropy as cross_entropy
from ._ops import cumsum as cumsum
from ._ops import div as div
from ._ops import dot as dot
from ._ops import dropout as dropout
from ._ops import einsum as einsum
from ._ops import elu as elu
from ._ops import empty as empty
from ._ops import empty_like as empty_like
from ._ops import eq as eq
from ._ops import erf as erf
from ._ops import exp as exp
from ._ops import expand as expand
from ._ops import expm1 as expm1
from ._ops import eye as eye
from ._ops import flatten as flatten
from ._ops import flip as flip
from ._ops import float32 as float32
from ._ops import float64 as float64
from ._ops import floor as floor
from ._ops import from_dlpack as from_dlpack
from ._ops import from_numpy as from_numpy
from ._ops import full as full
from ._ops import full_like as full_like
from ._ops import gather as gather
from ._ops import ge as ge
from ._ops import gelu as gelu
from ._ops import gt as gt
from ._ops import index_select as index_select
from ._ops import int32 as int32
from ._ops import int64 as int64
from ._ops import isfinite as isfinite
from ._ops import isinf as isinf
from ._ops import isnan as isnan
from ._ops import le as le
from ._ops import leaky_relu as leaky_relu
from ._ops import linear as linear
from ._ops import linspace as linspace
from ._ops import log as log
from ._ops import log1p as log1p
from ._ops import log_softmax as log_softmax
from ._ops import logical_and as logical_and
from ._ops import logical_not as logical_not
from ._ops import logical_or as logical_or
from ._ops import logsumexp as logsumexp
from ._ops import lt as lt
from ._ops import masked_fill as masked_fill
from ._ops import matmul as matmul
from ._ops import max as max
from ._ops import maximum as maximum
from ._ops import mean as mean
from ._ops import min as min
from ._ops import minimum as minimum
from ._ops import mm as mm
from ._ops import mse_loss as mse_loss
from ._ops import mul as mul
from ._ops import multinomial as multinomial
from ._ops import ne as ne
from ._ops import neg as neg
from ._ops import nonzero as nonzero
from ._ops import norm as norm
from ._ops import normal as normal
from ._ops import one_hot as one_hot
from ._ops import ones as ones
from ._ops import ones_like as ones_like
from ._ops import outer as outer
from ._ops import pad as pad
from ._ops import permute as permute
from ._ops import pow as pow
from ._ops import prod as prod
from ._ops import rand as rand
from ._ops import rand_like as rand_like
from ._ops import randint as randint
from ._ops import randn as randn
from ._ops import randn_like as randn_like
from ._ops import randperm as randperm
from ._ops import reciprocal as reciprocal
from ._ops import relu as relu
from ._ops import repeat_interleave as repeat_interleave
from ._ops import reshape as reshape
from ._ops import roll as roll
from ._ops import round as round
from ._ops import rsqrt as rsqrt
from ._ops import scatter as scatter
from ._ops import scatter_add as scatter_add
from ._ops import sigmoid as sigmoid
from ._ops import sign as sign
from ._ops import silu as silu
from ._ops import sin as sin
from ._ops import softmax as softmax
from ._ops import softplus as softplus
from ._ops import sort as sort
from ._ops import split as split
from ._ops import sqrt as sqrt
from ._ops import square as square
from ._ops import squeeze as squeeze
from ._ops import stack as stack
from ._ops import std as std
from ._ops import sub as sub
from ._ops import sum as sum
from ._ops import swapaxes as swapaxes
from ._ops import tanh as tanh
from ._ops import tensor as tensor
from ._ops import tile as tile
from ._ops import topk as topk
from ._ops import transpose as transpose
from ._ops import tril as tril
from ._ops import triu as triu
from ._ops import uint8 as uint8
from ._ops import unbind as unbind
from ._ops import unsqueeze as unsqueeze
from ._ops import var as var
from ._ops import where as where
from ._ops import zeros as zeros
from ._ops import zeros_like as zeros_like
from ._ops_images import get_precision as get_precision
from ._ops_images import set_precision as set_precision
from ._tape import enable_grad as enable_grad
from ._tape import grad as grad
from ._tape import is_grad_enabled as is_grad_enabled
from ._tape import no_grad as no_grad
from ._threads import register_threadpoolctl as register_threadpoolctl
from ._threads import threads as threads

# What is imported when first asked for: name -> (module, attribute; None for the module itself).
_LAZY = {
    "Function": ("._function", "Function"),
    "adversarial": (".adversarial", None),
    "array_api": (".array_api", None),
    "audio": (".audio", None),
    "bool": ("._ops", "bool_"),
    "data": (".data", None),
    "decoding": (".decoding", None),
    "double": ("._ops", "float64"),
    "evaluate": ("._evaluate", "evaluate"),
    "fit": ("._fit", "fit"),
    "float": ("._ops", "float32"),
    "generation": (".generation", None),
    "gradcheck": ("._gradcheck", "gradcheck"),
    "init": (".init", None),
    "int": ("._ops", "int32"),
    "kernels": (".kernels", None),
    "load": ("._io", "load"),
    "load_torch": ("._torch_file", "load_torch"),
    "long": ("._ops", "int64"),
    "manual_seed": ("._random", "manual_seed"),
    "metrics": (".metrics", None),
    "models": (".models", None),
    "nn": (".nn", None),
    "onnx": (".onnx", None),
    "optim": (".optim", None),
    "plot": (".plot", None),
    "save": ("._io", "save"),
    "sklearn": (".sklearn", None),
    "summary": ("._summary", "summary"),
}

# What PyTorch has under a name that is none here, and what to write instead.
_INSTEAD = {
    "FloatTensor": "fastnn.tensor(data, dtype=fastnn.float32)",
    "LongTensor": "fastnn.tensor(data, dtype=fastnn.int64)",
    "autograd": "fastnn.grad, fastnn.Function, fastnn.gradcheck",
    "compile": "the module as it is; Module.freeze() to serve it",
    "cuda": 'the only device is "cpu"',
    "device": 'the only device is "cpu": t.to("cpu") returns t',
    "inference_mode": "fastnn.no_grad",
    "jit": "the module as it is; fastnn.onnx.export to take it elsewhere",
    "linalg": "numpy.linalg on t.numpy(); fastnn.norm",
    "set_grad_enabled": "fastnn.no_grad, fastnn.enable_grad",
    "utils": "fastnn.data, fastnn.nn.utils",
}

__all__ = [
    "FormatError",
    "Function",
    "Tensor",
    "abs",
    "add",
    "adversarial",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "array_api",
    "as_tensor",
    "audio",
    "available_cpus",
    "bernoulli",
    "bmm",
    "bool_",
    "broadcast_to",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "concatenate",
    "cos",
    "cross_entropy",
    "cumsum",
    "data",
    "decoding",
    "div",
    "dot",
    "dropout",
    "einsum",
    "elu",
    "empty",
    "empty_cache",
    "empty_like",
    "enable_grad",
    "eq",
    "erf",
    "evaluate",
    "exp",
    "expand",
    "expm1",
    "eye",
    "fit",
    "flatten",
    "flip",
    "float32",
    "float64",
    "floor",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "generation",
    "get_num_threads",
    "get_precision",
    "grad",
    "gradcheck",
    "gt",
    "index_select",
    "init",
    "int32",
    "int64",
    "is_grad_enabled",
    "isfinite",
    "isinf",
    "isnan",
    "kernels",
    "le",
    "leaky_relu",
    "linear",
    "linspace",
    "load",
    "load_torch",
    "log",
    "log1p",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "lt",
    "manual_seed",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "memory_stats",
    "metrics",
    "min",
    "minimum",
    "mm",
    "models",
    "mse_loss",
    "mul",
    "multinomial",
    "ne",
    "neg",
    "nn",
    "no_grad",
    "nonzero",
    "norm",
    "normal",
    "one_hot",
    "ones",
    "ones_like",
    "onnx",
    "optim",
    "outer",
    "pad",
    "permute",
    "plot",
    "pow",
    "prod",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "reciprocal",
    "register_threadpoolctl",
    "relu",
    "repeat_interleave",
    "reshape",
    "roll",
    "round",
    "rsqrt",
    "save",
    "scatter",
    "scatter_add",
    "set_num_threads",
    "set_precision",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "summary",
    "swapaxes",
    "tanh",
    "tensor",
    "threads",
    "tile",
    "topk",
    "transpose",
    "tril",
    "triu",
    "uint8",
    "unbind",
    "unsqueeze",
    "var",
    "where",
    "zeros",
    "zeros_like",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _LAZY:
        hint = f"; instead: {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}{hint}")
    module, attribute = _LAZY[name]
    value = importlib.import_module(module, __name__)
    value = value if attribute is None else getattr(value, attribute)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fastnn")
    except PackageNotFoundError:  # copied without its metadata, as into a frozen program
        return "unknown"


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
