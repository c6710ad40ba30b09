"""summary: the layers of a module in a table, with shapes, parameters and the work of a forward pass."""

import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._ops import Tensor, as_tensor
from ._table import Table, short
from ._tape import no_grad
from .nn import ConvTranspose2d, Linear, Module, MultiheadAttention
from .nn._conv import _Conv
from .nn._evaluating import evaluating
from .nn._recurrent import Recurrent
from .nn._recurrent_cell import RecurrentCell
from .nn.utils.rnn import PackedSequence


@dataclass
class Layer:
    """A line of the table: a module, what is its own (not its children's) and what it gave."""

    name: str
    kind: str
    parameters: int
    shape: str = ""
    flops: int = 0


@dataclass
class Summary:
    """What `summary` found; printed as a table.

    Attributes
    ----------
    layers : list of Layer
        Name, kind, own parameters, shape of the output, floating-point operations.
    parameters : int
        How many numbers there are to learn (and those that are not learned any more).
    trainable : int
        Those of them that require a gradient.
    nbytes : int
        Of parameters and buffers.
    flops : int
        Of one forward pass.
    """

    layers: list[Layer] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    nbytes: int = 0
    flops: int = 0

    @property
    def table(self) -> Table:
        """The same as text in columns."""
        rows = []
        for layer in self.layers:
            depth = layer.name.count(".") + 1 if layer.name else 0
            label = f"{'  ' * depth}{layer.name.rpartition('.')[2]} ({layer.kind})" if depth else layer.kind
            own = f"{layer.parameters:,}" if layer.parameters else ""
            rows.append((label, layer.shape, own, short(layer.flops) if layer.flops else ""))
        total = ("total", "", f"{self.parameters:,}", short(self.flops) if self.flops else "")
        return Table(("layer", "output", ">parameters", ">FLOPs"), rows, total)

    def __str__(self) -> str:
        frozen = f", {self.trainable:,} of them trainable" if self.trainable != self.parameters else ""
        return f"{self.table}\n{self.parameters:,} parameters{frozen}, {self.nbytes / 1e6:,.2f} MB"

    __repr__ = __str__


def summary(module: Module, *example: Any) -> Summary:
    """Return the layers of a module in a table: shapes, parameters, and the work of a forward pass.

    Parameters
    ----------
    module : Module
    *example : Tensor or array
        Arguments of its `forward`, which is run once in evaluation mode and without gradients; the module is as before
        afterwards. Without an example, there are no shapes and no operations.

    Returns
    -------
    Summary
        With attributes for what the table shows.

    Raises
    ------
    TypeError
        If `module` is none.

    Notes
    -----
    Operations are those of products: two for each weight of a dense or convolution layer at each place, and likewise
    for recurrent layers and attention. Element-wise work and products outside of layers are not counted.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.nn.Sequential(fnn.nn.Conv2d(1, 4, 3), fnn.nn.ReLU(), fnn.nn.Flatten(), fnn.nn.Linear(144, 10))
    >>> fnn.summary(net, fnn.zeros(1, 1, 8, 8))
    layer          output        parameters   FLOPs
    -----------------------------------------------
    Sequential     (1, 10)
      0 (Conv2d)   (1, 4, 6, 6)          40  2.59 k
      1 (ReLU)     (1, 4, 6, 6)
      2 (Flatten)  (1, 144)
      3 (Linear)   (1, 10)            1,450  2.88 k
    -----------------------------------------------
    total                             1,490  5.47 k
    1,490 parameters, 0.01 MB
    """
    if not isinstance(module, Module):
        raise TypeError(f"summary: module must be a Module, got {type(module).__name__}")
    result = Summary()
    seen: set[int] = set()
    layers: dict[int, Layer] = {}
    for name, part in module.named_modules():
        own = {id(p): p for _, p in part._own_parameters() if id(p) not in seen}
        seen.update(own)
        layers[id(part)] = Layer(name, type(part).__name__, sum(p.size for p in own.values()))
        result.trainable += sum(p.size for p in own.values() if p.requires_grad)
    if example:
        _run(module, layers, example)
    result.layers = list(layers.values())
    result.parameters = sum(layer.parameters for layer in result.layers)
    result.flops = sum(layer.flops for layer in result.layers)
    result.nbytes = sum(t.nbytes for t in (*module.parameters(), *module.buffers()))
    return result


def _run(module: Module, layers: dict[int, Layer], example: tuple) -> None:
    """Run the module with a hook on each part, which notes shapes and counts."""

    def note(part: Module, args: tuple, kwargs: dict, output: Any) -> None:
        layer = layers[id(part)]
        layer.shape = layer.shape or _shapes(output)
        inputs = list(inspect.signature(part.forward).bind(*args, **kwargs).arguments.values())
        layer.flops += _flops(part, inputs, output)

    with ExitStack() as stack, evaluating(module), no_grad():
        for part in module.modules():
            stack.callback(part.register_forward_hook(note, with_kwargs=True).remove)
        module(*(as_tensor(x) if isinstance(x, np.ndarray) else x for x in example))


def _shapes(output: Any) -> str:
    """The shape of a tensor, or those of several."""
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return ", ".join(text for text in map(_shapes, output) if text)
    if isinstance(output, Tensor | np.ndarray):
        return str(output.shape)
    return ""


# ----- how much work a layer is -----


def _rows(x: Any) -> int:
    x = x.data if isinstance(x, PackedSequence) else x
    return math.prod(x.shape[:-1])


def _matrices(layer: Module) -> int:
    return sum(p.size for _, p in layer._own_parameters() if p.ndim == 2)


def _attention(layer: MultiheadAttention, inputs: list, _: Any) -> int:
    """Projections of query, key and value, scores and weighted sums; the last projection is a layer of its own."""
    query, key = inputs[:2]
    e, steps = layer.embed_dim, key.shape[0 if key.ndim == 2 or not layer.batch_first else 1]
    return 2 * e * (_rows(query) * e + _rows(key) * (layer.kdim + layer.vdim)) + 4 * e * _rows(query) * steps


_WORK: tuple[tuple[type, Callable[[Any, list, Any], int]], ...] = (
    (Linear, lambda layer, inputs, _: 2 * _rows(inputs[0]) * layer.weight.size),
    (ConvTranspose2d, lambda layer, inputs, _: 2 * inputs[0].size * math.prod(layer.weight.shape[1:])),
    (_Conv, lambda layer, _, output: 2 * output.size * math.prod(layer.weight.shape[1:])),
    (Recurrent, lambda layer, inputs, _: 2 * _rows(inputs[0]) * _matrices(layer)),
    (RecurrentCell, lambda layer, inputs, _: 2 * _rows(inputs[0]) * _matrices(layer)),
    (MultiheadAttention, _attention),
)


def _flops(part: Module, inputs: list, output: Any) -> int:
    for kind, count in _WORK:
        if isinstance(part, kind):
            return count(part, inputs, output)
    return 0
