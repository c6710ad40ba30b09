"""What the tests of fit train."""

import fastnn as fnn
from fastnn import nn


def net(dropout=0.0):
    fnn.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def adam(parameters):
    return fnn.optim.Adam(parameters, lr=0.01)
