"""Of networks against each other: losses and penalties by their formulas, augmentation, the running mean."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.adversarial import Augment, discriminator_loss, generator_loss, gradient_penalty, r1_penalty
from fastnn.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def double(array, grad=False):
    return fnn.tensor(np.asarray(array, np.float64), requires_grad=grad)


# ----- losses -----


def softplus(x):
    return np.logaddexp(0, x)


FORMULAS = {
    "non-saturating": (lambda r, f: softplus(-r).mean() + softplus(f).mean(), lambda f: softplus(-f).mean()),
    "hinge": (lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), lambda f: -f.mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("shape", [(7, 1), (2, 1, 3, 4)])
def test_losses_are_their_formulas(kind, shape, rng):
    real, fake = 3 * rng.normal(size=shape), 3 * rng.normal(size=shape)
    d_formula, g_formula = FORMULAS[kind]
    assert discriminator_loss(double(real), double(fake), kind).item() == pytest.approx(
        d_formula(real, fake), rel=1e-12
    )
    assert generator_loss(double(fake), kind).item() == pytest.approx(g_formula(fake), rel=1e-12)
    assert fnn.gradcheck(lambda r, f: discriminator_loss(r, f, kind), (double(real, True), double(fake, True)))
    assert fnn.gradcheck(lambda f: generator_loss(f, kind), (double(fake, True),))


def test_non_saturating_is_cross_entropy(rng):
    real, fake = double(rng.normal(size=9)), double(rng.normal(size=9))
    loss = nn.BCEWithLogitsLoss()
    whole = loss(real, fnn.ones_like(real)) + loss(fake, fnn.zeros_like(fake))
    assert discriminator_loss(real, fake, "non-saturating").item() == pytest.approx(whole.item(), rel=1e-12)


@pytest.mark.parametrize("function", [lambda k: discriminator_loss(fnn.ones(1), fnn.ones(1), k),
                                      lambda k: generator_loss(fnn.ones(1), k)])  # fmt: skip
def test_unknown_loss(function):
    with pytest.raises(ValueError, match="kind must be one of non-saturating, hinge, wasserstein"):
        function("least squares")


class Judge(nn.Module):
    """A small convolutional discriminator with a smooth activation, in float64."""

    def __init__(self, channels=1):
        self.net = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 1, 3))
        self.double()

    def forward(self, x, *more):
        return self.net(fnn.cat([x, *more], 1) if more else x).flatten(1)


def slopes(judge, x, step=1e-5):
    """The gradient of the sum of what it says at each x, by differences: (N, ...)."""
    slope = np.empty_like(x)
    with fnn.no_grad():
        for i in np.ndindex(x.shape[1:]):
            up, down = x.copy(), x.copy()
            up[(slice(None), *i)] += step
            down[(slice(None), *i)] -= step
            slope[(slice(None), *i)] = (judge(fnn.tensor(up)) - judge(fnn.tensor(down))).numpy().sum(1) / (2 * step)
    return slope


def test_penalties_are_their_formulas(rng):
    judge = Judge()
    real, fake = rng.normal(size=(3, 1, 6, 6)), rng.normal(size=(3, 1, 6, 6))
    fnn.manual_seed(5)
    got = gradient_penalty(judge, fnn.tensor(real), fnn.tensor(fake)).item()
    fnn.manual_seed(5)
    share = fnn._random.generator().random((3, 1, 1, 1))
    norms = np.sqrt((slopes(judge, real + share * (fake - real)) ** 2).sum((1, 2, 3)))
    assert got == pytest.approx(((norms - 1) ** 2).mean(), rel=1e-6)
    r1 = r1_penalty(judge, fnn.tensor(real)).item()
    assert r1_penalty(judge, real).item() == r1  # arrays, as the losses take them
    assert gradient_penalty(judge, real, real).item() == gradient_penalty(judge, *[fnn.tensor(real)] * 2).item()
    assert r1 == pytest.approx((slopes(judge, real) ** 2).sum((1, 2, 3)).mean() / 2, rel=1e-6)


@pytest.mark.parametrize("penalty", ["gradient", "r1"])
def test_penalties_train_the_discriminator(penalty, rng):
    """Their gradient to the weights, of gradients, agrees with differences."""
    judge = Judge()
    real, fake = fnn.tensor(rng.normal(size=(2, 1, 6, 6))), fnn.tensor(rng.normal(size=(2, 1, 6, 6)))

    def value():
        fnn.manual_seed(3)
        return r1_penalty(judge, real) if penalty == "r1" else gradient_penalty(judge, real, fake)

    value().backward()
    for parameter in judge.parameters():
        for place in [(0,) * parameter.ndim, tuple(n - 1 for n in parameter.shape)]:
            kept, numbers = parameter.data[place], []
            for step in (1e-5, -1e-5):
                parameter.data[place] = kept + step
                numbers.append(value().item())
            parameter.data[place] = kept
            slope = (numbers[0] - numbers[1]) / 2e-5
            got = 0.0 if parameter.grad is None else parameter.grad.data[place]  # the last bias has none
            assert got == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_penalties_with_conditions(rng):
    judge = Judge(2)
    x, given = fnn.tensor(rng.normal(size=(2, 1, 6, 6))), fnn.tensor(rng.normal(size=(2, 1, 6, 6)))
    assert r1_penalty(judge, x, given).item() > 0
    assert gradient_penalty(judge, x, given, given).item() > 0


def test_a_flat_discriminator_has_a_gradient():
    """Where the slope vanishes, the penalty's gradient is a number still."""
    judge = nn.Linear(2, 1)
    judge.weight.data[:] = 0
    gradient_penalty(judge, fnn.zeros(3, 2), fnn.ones(3, 2)).backward()
    assert np.isfinite(judge.weight.grad.numpy()).all()
    with pytest.raises(ValueError, match=r"gradient_penalty: real is \(3, 2\), fake \(2, 2\)"):
        gradient_penalty(judge, fnn.zeros(3, 2), fnn.ones(2, 2))


# ----- augmentation -----


@pytest.mark.parametrize("kind", ["colour", "translation", "cutout"])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_is_differentiable_twice(kind, channels, rng):
    x, augment = double(rng.normal(size=(2, channels, 9, 8)), True), Augment(kind)

    def seeded(x):
        fnn.manual_seed(1)
        return augment(x)

    assert fnn.gradcheck(seeded, (x,))

    def slope(x):
        with fnn.enable_grad():  # the check's differences are taken without
            x = x if x.requires_grad else x.detach().requires_grad_()
            return fnn.grad([(seeded(x) ** 3).sum()], [x], create_graph=True)[0]

    assert fnn.gradcheck(slope, (x,))


def test_translation_moves_by_up_to_an_eighth():
    fnn.manual_seed(0)
    x = np.zeros((300, 1, 16, 24), np.float32)
    x[:, 0, 8, 12] = 1
    moved = Augment("translation")(fnn.tensor(x)).numpy()
    _, _, rows, columns = np.nonzero(moved)
    assert len(rows) == 300
    assert set(rows) == set(range(6, 11))
    assert set(columns) == set(range(9, 16))


def test_translation_keeps_channels_last(rng):
    x = rng.normal(size=(4, 16, 16, 2)).astype(np.float32).transpose(0, 3, 1, 2)
    fnn.manual_seed(3)
    last = Augment("translation")(fnn.from_numpy(x))
    fnn.manual_seed(3)
    first = Augment("translation")(fnn.tensor(np.ascontiguousarray(x)))
    np.testing.assert_array_equal(last.numpy(), first.numpy())
    assert last.data.strides[1] == 4  # the channels lie side by side still


def test_cutout_covers_a_square():
    kept = Augment("cutout")(fnn.ones(200, 1, 12, 12)).numpy()
    gone = 144 - kept.sum((1, 2, 3))
    assert set(np.unique(kept)) == {0, 1}
    assert gone.max() == 36
    assert gone.min() >= 9  # a corner of it at least


def test_colour_changes_each_picture_in_its_way(rng):
    x = rng.uniform(-1, 1, (50, 3, 4, 4)).astype(np.float32)
    y = Augment("colour")(fnn.tensor(x)).numpy()
    shift = y.mean((1, 2, 3)) - x.mean((1, 2, 3))
    assert abs(shift).max() < 0.5 + 1e-5
    assert len(set(shift)) == 50
    grey = np.repeat(x[:, :1], 3, 1)
    again = Augment("colour")(fnn.tensor(grey)).numpy()
    np.testing.assert_allclose(again[:, 0], again[:, 2], atol=1e-5)  # grey stays grey


def test_augment_errors():
    with pytest.raises(ValueError, match="expected colour, translation, cutout; got 'rotation'"):
        Augment("rotation")
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        Augment()(fnn.ones(3, 3))


# ----- the running mean -----


def test_averages_are_their_formulas(rng):
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    equal, exponential = AveragedModel(net), AveragedModel(net, get_ema_multi_avg_fn(0.9))
    wanted, drawn = None, []
    for _ in range(5):
        weight = rng.normal(size=(2, 3)).astype(np.float32)
        net[0].weight.data[:] = weight
        net[1].running_mean.data[:] = weight[:, 0]
        drawn.append(weight.astype(np.float64))
        wanted = drawn[-1] if wanted is None else 0.9 * wanted + 0.1 * drawn[-1]
        equal.update_parameters(net)
        exponential.update_parameters(net)
    np.testing.assert_allclose(equal.module[0].weight.numpy(), np.mean(drawn, 0), rtol=1e-5)
    np.testing.assert_allclose(exponential.module[0].weight.numpy(), wanted, rtol=1e-5)
    np.testing.assert_array_equal(equal.module[1].running_mean.numpy(), weight[:, 0])  # buffers as they are
    assert int(equal.n_averaged) == 5
    assert next(iter(equal.state_dict())) == "n_averaged"
    assert "module.0.weight" in equal.state_dict()
    assert not any(p.requires_grad for p in equal.parameters())


def test_averages_of_buffers(rng):
    net = nn.BatchNorm1d(2)
    mean = AveragedModel(net, use_buffers=True)
    for value in (1.0, 2.0, 6.0):
        net.running_mean.data[:] = value
        net.num_batches_tracked.data[...] = int(value)
        mean.update_parameters(net)
    np.testing.assert_allclose(mean.module.running_mean.numpy(), 3)
    assert int(mean.module.num_batches_tracked) == 6  # a count is no mean


def test_average_errors():
    with pytest.raises(TypeError, match="must be a Module"):
        AveragedModel(3)
    with pytest.raises(ValueError, match="from 0 to 1"):
        get_ema_multi_avg_fn(1.5)
    with pytest.raises(ValueError, match="not built like"):
        AveragedModel(nn.Linear(2, 2)).update_parameters(nn.Linear(2, 3))
