"""A dense network tells three interleaved spirals apart; training stops when held-out points no longer get better."""

import numpy as np

import fastnn as fnn
from fastnn import nn

rng = np.random.default_rng(0)
label = rng.integers(0, 3, 1500)
radius = rng.uniform(0.1, 1, label.size)
angle = 5 * radius + label * 2 * np.pi / 3 + rng.normal(0, 0.1, label.size)
points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)

fnn.manual_seed(0)
net = fnn.models.MLP([2, 64, 64, 3], dropout=0.05)
history = fnn.fit(
    net,
    nn.CrossEntropyLoss(),
    (points[:1000], label[:1000]),
    validation=(points[1000:], label[1000:]),
    optimizer=lambda parameters: fnn.optim.Adam(parameters, lr=5e-3),
    metrics={"accuracy": fnn.metrics.accuracy},
    epochs=200,
    patience=20,
    progress=False,
)
best = max(history["val_accuracy"])
print(f"{len(history['loss'])} epochs, accuracy on held-out points {best:.3f}")
