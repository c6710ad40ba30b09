"""The state of a module as arrays of their own, and two such states compared, bit for bit."""

import numpy as np


def values(module):
    """Return name -> a copy of its numbers."""
    return {name: tensor.data.copy() for name, tensor in module.state_dict().items()}


def assert_equal(a, b):
    """Fail unless two states have the same names and bits."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
