"""Derivatives without any network: of a curve, of its slope, and the way down to a minimum."""

import fastnn as fnn

x = fnn.tensor([0.0, 0.5, 1.0], requires_grad=True)
y = (x.sin() * x).sum()
(slope,) = fnn.grad(y, x, create_graph=True)
(bend,) = fnn.grad(slope.sum(), x)
print(f"x sin x: slope {slope.detach().numpy().round(3)}, bend {bend.numpy().round(3)}")

# Rosenbrock's valley: the minimum is at (1, 1).
point = fnn.tensor([-1.2, 1.0], dtype=fnn.float64, requires_grad=True)
optimizer = fnn.optim.Adam([point], lr=0.02)
for _ in range(3000):
    optimizer.zero_grad()
    a, b = point
    loss = (1 - a) ** 2 + 100 * (b - a**2) ** 2
    loss.backward()
    optimizer.step()
print(f"minimum at {point.detach().numpy().round(2)}, value {loss.item():.2e}")
