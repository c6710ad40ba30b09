"""One neuron step by step: inputs, weights, the weighted sum, the activation you name, gradients, a picture.

`--learn and|or|xor` trains one on a truth table instead, and shows what a single neuron cannot learn.
"""

import argparse
from typing import Any

import numpy as np

import fastnn as fnn
from fastnn import nn, optim
from fastnn.models import MLP, Neuron

from .. import _cli
from .._cli import CommandError
from .._extras import require
from . import _expression

PICTURE = "neuron.png"
TRUTH = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "xor": (0, 1, 1, 0)}
LARGEST = 1e300  # of the terms of a sum together, so that a curve around it can be drawn
CORNERS = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    numbers: dict[str, Any] = {"type": _cli.finite, "nargs": "+", "metavar": "N"}
    parser.add_argument("--inputs", default=[1.0, 2.0, 3.0], help="the numbers that come in", **numbers)
    parser.add_argument("--weights", default=[0.2, 0.8, -0.5], help="what each is multiplied by", **numbers)
    parser.add_argument("--bias", type=_cli.finite, default=2.0, metavar="N", help="what is added to the sum")
    names = ", ".join(_expression.NAMES)
    parser.add_argument(
        "--activation", default="relu", metavar="NAME", help=f"one of {names}, or a formula such as 'max(z, 0) + 0.1*z'"
    )
    parser.add_argument("--learn", choices=tuple(TRUTH), default=argparse.SUPPRESS, help="train on a truth table")
    parser.add_argument("--seed", type=_cli.seed, default=0, metavar="N", help="where learning starts")
    parser.add_argument("--out", default=".", metavar="FOLDER", help=f"where {PICTURE} goes")
    parser.add_argument("--no-picture", action="store_true", help="do without matplotlib")


def run(options: argparse.Namespace) -> None:
    """Show a neuron, or train one."""
    if "learn" in options:
        _learn(options.learn, options.seed)
        return
    x, w = options.inputs, options.weights
    if len(x) != len(w):
        raise CommandError(f"{len(x)} inputs and {len(w)} weights: one weight for each input expected")
    if sum(abs(xi * wi) for xi, wi in zip(x, w)) + abs(options.bias) > LARGEST:
        raise CommandError(f"the weighted sum is too large for a picture of it: at most {LARGEST:g} expected")
    activation = _expression.activation(options.activation)
    out = None
    if not options.no_picture:
        require("matplotlib", "plot", "the picture (--no-picture does without it)")
        out = _cli.folder(options.out)
    _explain(x, w, options.bias, activation, options.activation)
    if out is not None:
        figure = require("matplotlib.figure", "plot", "the picture").Figure((9, 4.4), layout="constrained")
        axes = figure.subplots()
        fnn.plot.neuron(x, w, options.bias, lambda z: activation(fnn.tensor(z)), axes, name=options.activation)
        figure.savefig(out / PICTURE, dpi=110)
        print(f"\npicture  {out / PICTURE}")


def _explain(x: list[float], w: list[float], bias: float, activation, name: str) -> None:
    """Print the neuron's arithmetic, forward and backward."""
    neuron = Neuron(len(x), activation).double()
    with fnn.no_grad():
        neuron.weight.copy_(fnn.tensor(np.array([w])))
        neuron.bias.fill_(bias)
    inputs = fnn.tensor(np.array(x))
    z = nn.functional.linear(inputs, neuron.weight, neuron.bias)
    slope = fnn.grad(activation(z).sum(), z)[0].item()
    output = neuron(inputs)
    output.backward()
    print(f"inputs   x = {_list(x)}\nweights  w = {_list(w)}\nbias     b = {bias:g}\n")
    print("weighted sum: every input times its weight, and the bias")
    for i, (xi, wi) in enumerate(zip(x, w)):
        print(f"  {f'w{i + 1} * x{i + 1}':<10} = {wi:>8g} * {xi:<8g} = {wi * xi:>10.6g}")
    print(f"  {'b':<10}   {'':<19} = {bias:>10.6g}\n  {'z':<10}   {'':<19} = {z.item():>10.6g}\n")
    print(f"activation: {_called(name, 'z')} at z = {z.item():.6g}")
    print(f"  output     {output.item():.6g}\n  slope      {slope:.6g}\n")
    print("gradient: by how much the output moves for each step of a weight (the slope times the input)")
    for i, (xi, gradient) in enumerate(zip(x, neuron.weight.grad.numpy()[0])):
        print(f"  {f'd/dw{i + 1}':<10} = {slope:>8.6g} * {xi:<8g} = {gradient:>10.6g}")
    print(f"  {'d/db':<10} = {slope:>8.6g}{'':<11} = {neuron.bias.grad.item():>10.6g}")


def _called(name: str, argument: str) -> str:
    """Return `name(z)` for a name and the formula itself for a formula."""
    return f"{name}({argument})" if name in _expression.NAMES else name


def _list(values: list[float]) -> str:
    """Return numbers with commas."""
    return ", ".join(f"{value:g}" for value in values)


def _learn(gate: str, seed: int) -> None:
    """Train one neuron on a truth table; where it must fail, train two layers too."""
    fnn.manual_seed(seed)
    neuron = Neuron(2, activation=None)
    print(f"one neuron learns {gate.upper()}: sigmoid(w1*x1 + w2*x2 + b), 0 or 1 expected")
    right = _truth_table(neuron, gate, seed)
    (w1, w2), b = neuron.weight.tolist()[0], neuron.state_dict()["bias"].item()
    print(f"  w1 = {w1:.2f}, w2 = {w2:.2f}, b = {b:.2f}: {right} of 4 right")
    if gate != "xor":
        return
    print("\nA neuron splits its inputs by one straight line, and no line parts XOR's ones from its zeros.")
    print("\ntwo layers learn it: 8 neurons with tanh, and one that reads them")
    print(f"  {_truth_table(MLP([2, 8, 1], activation='tanh'), gate, seed)} of 4 right")


def _truth_table(net: nn.Module, gate: str, seed: int) -> int:
    """Train `net`, print its answers, return how many are right."""
    x, y = fnn.tensor(CORNERS), fnn.tensor([float(bit) for bit in TRUTH[gate]])
    loss = nn.BCEWithLogitsLoss()
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    history = fnn.fit(
        net,
        lambda logits, bits: loss(logits.reshape(-1), bits),
        (x, y),
        epochs=1000,
        batch_size=4,
        optimizer=optimizer,
        progress=False,
        seed=seed,
    )
    if history.interrupted:
        raise KeyboardInterrupt
    with fnn.no_grad():
        answers = fnn.sigmoid(net(x)).numpy().reshape(-1)
    right = 0
    for corner, answer, bit in zip(CORNERS, answers, TRUTH[gate]):
        sure = abs(answer - 0.5) > 0.05
        verdict = ("right" if (answer > 0.5) == bit else "wrong") if sure else "undecided"
        right += verdict == "right"
        print(f"  {corner[0]:.0f} {gate} {corner[1]:.0f} = {bit}   the net says {answer:.2f}   {verdict}")
    return right
