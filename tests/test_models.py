"""The described networks: shapes, errors, and that each learns what it should."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import models, nn
from fastnn.models import MLP, Neuron


def test_neuron_is_a_weighted_sum_that_is_bent():
    neuron = Neuron(3, activation="relu")
    with fnn.no_grad():
        neuron.weight.copy_(fnn.tensor([[0.2, 0.8, -0.5]]))
        neuron.bias.fill_(2.0)
    out = neuron(fnn.tensor([1.0, 2.0, 3.0]))
    assert out.shape == ()
    assert out.item() == pytest.approx(2.3)
    out.backward()
    np.testing.assert_array_equal(neuron.weight.grad.numpy(), [[1, 2, 3]])
    assert neuron.bias.grad.tolist() == [1]


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
def test_neuron_takes_any_leading_axes(shape):
    assert Neuron(3)(fnn.zeros(*shape)).shape == shape[:-1]


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "leaky_relu", lambda z: z * z])
def test_gradients_of_an_mlp(activation):
    fnn.manual_seed(1)
    net = MLP([3, 5, 4, 2], activation=activation).double()
    x = fnn.tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    assert fnn.gradcheck(net, (x,))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_mlp_has_the_layers_it_says(dropout):
    net = MLP([9, 64, 32, 1], "silu", dropout)
    assert [p.shape for p in net.parameters()] == [(64, 9), (64,), (32, 64), (32,), (1, 32), (1,)]
    assert net(fnn.zeros(7, 9)).shape == (7, 1)
    assert net(fnn.zeros(9)).shape == (1,)
    assert MLP([4, 2])(fnn.zeros(3, 4)).shape == (3, 2)


def test_dropout_only_in_training():
    net = MLP([4, 50, 1], dropout=0.5)
    x = fnn.ones(1, 4)
    assert net.train()(x).item() != net(x).item()
    assert net.eval()(x).item() == net(x).item()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: MLP([2, 3, 3, 1], dropout=p),
        lambda p: models.LeNet(2, 8, 1, (2, 3), 5, p),
        lambda p: models.FaceDetector((2, 2, 2), p),
        lambda p: models.LanguageModel(5, 8, 2, 2, p),
        lambda p: models.Translator(5, 5, 8, 2, 2, p),
        lambda p: models.SentenceEncoder(9, 8, 2, 2, 8, 9, dropout=p),
        lambda p: models.IntentClassifier(5, 2, 2, 4, 4, p),
        lambda p: models.SpeechRecognizer(5, 8, (8, 8), 8, dropout=p),
    ],
)
def test_dropout_is_what_was_asked_for(make):
    net = make(0.4)
    shares = [m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout) and not name.startswith("position.")]
    assert set(shares) == {0.4}


def test_what_bends_by_default():
    x = fnn.randn(20, 2)
    neuron, net = Neuron(2), MLP([2, 3, 1])
    with fnn.no_grad():
        bent = fnn.sigmoid(x @ neuron.weight[0] + neuron.bias)
        np.testing.assert_allclose(neuron(x).numpy(), bent.numpy(), rtol=1e-5)
        first, last = net.layers
        hidden = fnn.relu(x @ first.weight.T + first.bias)
        assert (hidden.numpy() == 0).any()
        np.testing.assert_allclose(net(x).numpy(), (hidden @ last.weight.T + last.bias).numpy(), atol=1e-6)


def test_state_goes_from_one_to_another(tmp_path):
    net = MLP([3, 4, 1])
    fnn.save(net, tmp_path / "net.safetensors")
    other = fnn.load(tmp_path / "net.safetensors", MLP([3, 4, 1]))
    x = fnn.ones(2, 3)
    np.testing.assert_array_equal(net(x).detach().numpy(), other(x).detach().numpy())
    with pytest.raises(ValueError, match="layers"):
        fnn.load(tmp_path / "net.safetensors", MLP([3, 5, 1]))


@pytest.mark.parametrize("sizes", [[], [3], [3, 0, 1], [-1, 2], [3, 4, 0]])
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match=r"MLP|Linear"):
        MLP(sizes)


@pytest.mark.parametrize("sizes", [5, None, [3, 2.5, 1], ["a", "b"], [3, None]])
def test_sizes_of_the_wrong_type(sizes):
    with pytest.raises(TypeError):
        MLP(sizes)


@pytest.mark.parametrize(("kind", "message"), [("swosh", "swosh"), ("", "activation")])
def test_unknown_activation(kind, message):
    with pytest.raises(ValueError, match=message):
        MLP([2, 3, 1], activation=kind)
    with pytest.raises(ValueError, match=message):
        Neuron(2, activation=kind)


@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")])
def test_bad_dropout(dropout):
    with pytest.raises(ValueError, match=r"[Dd]ropout"):
        MLP([2, 3, 1], dropout=dropout)


def test_wrong_number_of_inputs():
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        MLP([3, 4, 1])(fnn.zeros(2, 4))


def test_mlp_learns_what_a_line_cannot():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    y = x[:, :1] * x[:, 1:]
    fnn.manual_seed(0)
    net = MLP([2, 32, 32, 1], activation="tanh")
    fnn.fit(
        net,
        fnn.nn.MSELoss(),
        (x, y),
        epochs=60,
        optimizer=lambda parameters: fnn.optim.Adam(parameters, lr=1e-2),
        progress=False,
    )
    with fnn.no_grad():
        error = ((net(fnn.tensor(x)).numpy() - y) ** 2).mean() / y.var()
    line = np.column_stack([np.ones(len(x)), x])
    residual = y - line @ np.linalg.lstsq(line, y, rcond=None)[0]
    assert (residual**2).mean() / y.var() > 0.9
    assert error < 0.02
