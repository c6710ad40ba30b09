"""Random numbers: what is drawn, how often, and in which shape."""

import numpy as np
import pytest

import fastnn as fnn


def test_draws():
    fnn.manual_seed(0)
    p = fnn.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 0.0]])
    drawn = fnn.multinomial(p, 4000, replacement=True)
    assert drawn.shape == (2, 4000)
    assert (drawn.data[0] == 2).mean() == pytest.approx(0.75, abs=0.03)
    assert (drawn.data[1] == 0).all()
    first = np.array([fnn.multinomial(p[0], 2).data for _ in range(500)])
    assert (np.sort(first, 1) == [1, 2]).all()
    assert (first[:, 0] == 2).mean() == pytest.approx(0.75, abs=0.07)
    assert (fnn.multinomial(fnn.tensor([1e308, 1e308], dtype=fnn.float64), 100, True).data < 2).all()
    for wrong in ((p, 2), (p, 0), (-p, 1), (p * np.nan, 1), (fnn.zeros(2), 1, True), (fnn.zeros(2, 2, 2), 1)):
        with pytest.raises(ValueError, match="multinomial"):
            fnn.multinomial(*wrong)
    assert fnn.bernoulli(fnn.full((5000,), 0.3)).mean().item() == pytest.approx(0.3, abs=0.03)
    with pytest.raises(ValueError, match="bernoulli"):
        fnn.bernoulli(fnn.tensor([1.5]))
    z = fnn.normal(3, 0.5, (5000,))
    assert (z.mean().item(), z.std().item()) == (pytest.approx(3, abs=0.05), pytest.approx(0.5, abs=0.03))
    assert fnn.normal(fnn.zeros(2, 1), fnn.ones(3)).shape == (2, 3)
    for std in (-0.5, fnn.tensor([1.0, -1.0])):
        with pytest.raises(ValueError, match="normal: std"):
            fnn.normal(fnn.zeros(2), std)
    assert fnn.randperm(0).shape == (0,)
    with pytest.raises(ValueError, match="randperm: n must not be negative, got -1"):
        fnn.randperm(-1)
    x = fnn.zeros(2, 3, dtype=fnn.float64)
    for like in (fnn.randn_like(x), fnn.rand_like(x), fnn.empty_like(x)):
        assert (like.shape, like.dtype) == ((2, 3), x.dtype)
    assert fnn.randint(5, (3,)).shape == fnn.randint(0, 5, (3,)).shape == fnn.randint(5, size=3).shape == (3,)
    assert fnn.randint(5, (3,), dtype=fnn.int32).dtype == np.int32
    y = fnn.tensor([1.0, 2.0, 6.0])
    assert y.var(unbiased=False).item() == pytest.approx(np.var(y.data))
    assert fnn.std(y, 0, unbiased=True).item() == pytest.approx(np.std(y.data, ddof=1))
