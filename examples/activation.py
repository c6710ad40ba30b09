"""Activations of your own: a plain function, which is differentiated, and an op with a backward written by hand."""

import fastnn as fnn
from fastnn import nn

fnn.manual_seed(0)


def bump(z):
    """Gaussian bump: any function of Tensors will do."""
    return (-(z * z)).exp()


class Cube(fnn.Function):
    """z**3 with its gradient written out."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z * z * z

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        return grad * (3 * z * z)


x = fnn.randn(200, 1) * 2
y = x.sin()
for name, activation in {"bump": bump, "cube": Cube.apply, "tanh": "tanh"}.items():
    net = nn.Sequential(nn.Linear(1, 16, activation=activation), nn.Linear(16, 1))
    history = fnn.fit(
        net,
        nn.MSELoss(),
        (x, y),
        epochs=200,
        optimizer=lambda parameters: fnn.optim.Adam(parameters, lr=0.01),
        clip_norm=1.0,
        progress=False,
    )
    print(f"sin(x) with {name:<5} squared error {history['loss'][-1]:.4f}")
