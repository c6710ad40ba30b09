"""The neuron and the dense network made of it.

A neuron weighs its inputs, adds a bias and bends the sum: a = f(w . x + b). A dense layer is many neurons that read the
same inputs, a dense network (multilayer perceptron) is dense layers in a row:

    x ---> [ w . x + b | f ] ---> [ w . x + b | f ] ---> [ w . x + b ] ---> y
               sizes[1] neurons       sizes[2] neurons       sizes[-1] outputs, not bent
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from ..nn import Dropout, Linear, Module, Sequential


class Neuron(Linear):
    """One neuron: `activation(x @ weight[0] + bias)`.

    Parameters
    ----------
    in_features : int
        How many inputs it reads.
    activation : None, str or callable
        As for `nn.Linear`: a name, anything callable on a Tensor, or None for the weighted sum itself.

    Attributes
    ----------
    weight : Parameter, shape (1, in_features)
    bias : Parameter, shape (1,)

    Notes
    -----
    x: (..., in_features); output: (...).

    Raises
    ------
    ValueError, TypeError
        For a size below one and activations that are not known.

    References
    ----------
    Rosenblatt, "The perceptron", 1958.

    Examples
    --------
    >>> import fastnn as fnn
    >>> neuron = fnn.models.Neuron(3, activation="relu")
    >>> with fnn.no_grad():
    ...     _ = neuron.weight.copy_(fnn.tensor([[1.0, 2.0, -1.0]])), neuron.bias.fill_(0.5)
    >>> neuron(fnn.tensor([3.0, 1.0, 2.0])).item()
    3.5
    """

    def __init__(self, in_features: int, activation: str | Callable | None = "sigmoid") -> None:
        super().__init__(in_features, 1, activation=activation)

    def forward(self, x):
        """x: (..., in_features) -> (...)."""
        return super().forward(x).squeeze(-1)


class MLP(Module):
    """A dense network (multilayer perceptron) of any depth.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, neurons of each hidden layer, outputs: `[9, 64, 32, 1]` has two hidden layers.
    activation : None, str or callable
        What bends the hidden layers, as for `nn.Linear`; the last layer is left as it is, for the loss to read.
    dropout : float
        The share of hidden values that are dropped in training.

    Notes
    -----
    x: (..., sizes[0]); output: (..., sizes[-1]).

    Raises
    ------
    ValueError, TypeError
        For fewer than two sizes, sizes below one, a dropout outside [0, 1] and activations that are not known.

    References
    ----------
    Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986.

    Examples
    --------
    >>> import fastnn as fnn
    >>> net = fnn.models.MLP([9, 64, 32, 1], activation="silu")
    >>> net(fnn.zeros(5, 9)).shape
    (5, 1)
    >>> sum(p.numel() for p in net.parameters())
    2753
    """

    def __init__(self, sizes: Sequence[int], activation: str | Callable | None = "relu", dropout: float = 0.0) -> None:
        self.sizes = tuple(sizes)
        if len(self.sizes) < 2:
            raise ValueError(f"MLP: sizes needs at least the inputs and the outputs, got {list(self.sizes)}")
        layers: list[Module] = []
        for inputs, outputs in pairwise(self.sizes[:-1]):
            layers.append(Linear(inputs, outputs, activation=activation))
            if dropout:
                layers.append(Dropout(dropout))
        self.layers = Sequential(*layers, Linear(self.sizes[-2], self.sizes[-1]))

    def forward(self, x):
        """x: (..., sizes[0]) -> (..., sizes[-1])."""
        return self.layers(x)
