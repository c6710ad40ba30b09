"""The pictures: what is drawn where, and clear errors for what cannot be drawn."""

import numpy as np
import pytest

import fastnn as fnn

figure = pytest.importorskip("matplotlib.figure")


@pytest.fixture
def ax():
    return figure.Figure().subplots()


def test_learning_curve_of_a_training(ax):
    x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    net = fnn.models.MLP([1, 4, 1])
    history = fnn.fit(net, fnn.nn.MSELoss(), (x, x), epochs=3, validation=(x, x), progress=False)
    assert fnn.plot.learning_curve(history, ax) is ax
    training, validation = ax.lines
    np.testing.assert_allclose(training.get_ydata(), history["loss"])
    np.testing.assert_allclose(validation.get_ydata(), history["val_loss"])
    assert training.get_xdata().tolist() == validation.get_xdata().tolist() == [1, 2, 3]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]


def test_learning_curve_of_several_runs(ax):
    fnn.plot.learning_curve({"loss": [[1.0, 0.5], [3.0, 1.5]]}, ax, reference={"line": 0.7})
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 1])
    (band,) = ax.collections
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} == {(1, 1), (1, 3), (2, 0.5), (2, 1.5)}
    assert set(ax.lines[1].get_ydata()) == {0.7}
    assert ax.get_yscale() == "log"


def test_single_epochs_are_seen(ax):
    """No line leads through one point, nor to one between two that are no numbers."""
    fnn.plot.learning_curve({"one": [0.5], "gaps": [1.0, np.nan, 0.2], "whole": [1.0, 0.5, 0.2]}, ax)
    assert [line.get_marker() for line in ax.lines] == ["o", "o", "None"]
    alone = figure.Figure().subplots()
    fnn.plot.learning_curve({"loss": [0.5]}, alone)
    low, high = alone.get_xlim()
    assert [tick for tick in alone.get_xticks() if low <= tick <= high] == [1]  # no half epochs


def test_losses_below_zero_are_drawn_on_a_plain_scale(ax):
    fnn.plot.learning_curve({"loss": [0.5, -0.5]}, ax)
    assert ax.get_yscale() == "linear"


def test_predictions(ax):
    fnn.plot.predicted_against_true(fnn.tensor([1.0, 2.0, 4.0]), [1.1, 1.9, 5.0], ax, unit="m", log=True)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), [[1, 1.1], [2, 1.9], [4, 5]], rtol=1e-6)
    assert ax.get_xlim() == ax.get_ylim()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("true (m)", "predicted (m)")
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 1], [5, 5]])  # the diagonal


@pytest.mark.parametrize("log", [False, True])
def test_predictions_that_have_no_place_are_left_out(ax, log):
    fnn.plot.predicted_against_true([np.nan, -1.0, 2.0, 4.0], [1.0, 3.0, np.inf, 5.0], ax, log=log)
    low, high = ax.get_xlim()
    assert (low, high) == ax.get_ylim()
    assert low < 4 < 5 < high < 6
    assert (low < -1) is not log  # what is left below zero is drawn on plain axes


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_one_prediction(ax, value):
    fnn.plot.predicted_against_true([value], [value], ax)


def test_weights_are_sorted_and_named(ax):
    fnn.plot.weights([[0.1, 2.0], [-3.0, 0.5], [1.0, 0.0]], ["a", "b"], ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), [[1.0, -3.0, 0.1], [0.0, 0.5, 2.0]])
    assert ax.images[0].get_clim() == (-3, 3)
    blue, white, orange = ax.images[0].cmap([0.0, 0.5, 1.0])
    assert blue[2] > blue[0]
    assert white.min() > 0.99
    assert orange[0] > orange[2]


def test_weights_of_a_layer_that_wants_gradients(ax):
    fnn.plot.weights(fnn.nn.Linear(3, 5).weight, ax=ax)
    fnn.plot.weights(np.zeros((2, 2)), ax=ax)


def test_weights_that_are_no_numbers_leave_the_colours_of_the_others(ax):
    fnn.plot.weights([[np.nan, 1.0], [-2.0, np.inf]], ax=ax)
    assert ax.images[0].get_clim() == (-2, 2)


def test_names_of_many_inputs_are_thinned(ax):
    fnn.plot.weights(np.ones((2, 784)), ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()][:3] == ["x1", "x21", "x41"]
    assert len(ax.get_yticks()) == 40


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_neuron(ax, n):
    fnn.plot.neuron(np.arange(n), np.arange(n) - 1.5, 0.5, np.tanh, ax, name="tanh")
    z = (np.arange(n) * (np.arange(n) - 1.5)).sum() + 0.5
    assert f"{np.tanh(z):.4g}" in [text.get_text() for text in ax.texts]
    assert len(ax.texts) == 2 * n + 5  # the sum, the bias, the answer, two arrows
    up, down = (fnn.plot._neuron.ORANGE, fnn.plot._neuron.BLUE)
    wires = [line.get_color() for line in ax.lines if len(line.get_xdata()) == 2]
    assert wires == [up if w > 0 else down for w in np.arange(n) - 1.5]
    fnn.plot.neuron(np.ones(17), np.ones(17), 0.5, np.tanh, plain := figure.Figure().subplots())
    assert len(plain.texts) == 5  # too many to be read
    fnn.plot.neuron([0.0], [0.0], 0.0, lambda z: fnn.relu(fnn.tensor(z)), ax)


@pytest.mark.parametrize(
    ("draw", "error", "says"),
    [
        (lambda ax: fnn.plot.learning_curve({}, ax), ValueError, "empty"),
        (lambda ax: fnn.plot.learning_curve({"loss": ["a"]}, ax), ValueError, "numbers"),
        (
            lambda ax: fnn.plot.learning_curve({"loss": np.ones((2, 3, 4))}, ax),
            ValueError,
            r"training \(2, 3, 4\)",
        ),
        (lambda ax: fnn.plot.predicted_against_true([np.nan], [1.0], ax), ValueError, "no pair is finite"),
        (lambda ax: fnn.plot.predicted_against_true([0.0], [1.0], ax, log=True), ValueError, "above 0"),
        (lambda ax: fnn.plot.predicted_against_true([1.0], [1.0, 2.0], ax), ValueError, r"\(2,\)"),
        (lambda ax: fnn.plot.predicted_against_true([], [], ax), ValueError, "true is"),
        (lambda ax: fnn.plot.predicted_against_true([[1.0]], [[1.0]], ax), ValueError, "axes"),
        (lambda ax: fnn.plot.predicted_against_true(None, [1.0], ax), ValueError, "axes"),
        (lambda ax: fnn.plot.weights([1.0, 2.0], ax=ax), ValueError, "2 axes"),
        (lambda ax: fnn.plot.weights([[1.0, 2.0]], ["a"], ax), ValueError, "1 names"),
        (lambda ax: fnn.plot.weights(np.zeros((0, 2)), ax=ax), ValueError, "matrix is"),
        (lambda ax: fnn.plot.weights([[{}]], ax=ax), TypeError, "numbers"),
        (lambda ax: fnn.plot.neuron([1.0, 2.0], [1.0], 0.0, np.tanh, ax), ValueError, r"\(1,\)"),
        (lambda ax: fnn.plot.neuron([], [], 0.0, np.tanh, ax), ValueError, "inputs is"),
    ],
)
def test_what_cannot_be_drawn(ax, draw, error, says):
    with pytest.raises(error, match=says) as raised:
        draw(ax)
    assert str(raised.value).startswith("plot.")
    assert not ax.lines
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    with pytest.raises(error, match=says):
        draw(None)
    assert pyplot.get_fignums() == before  # no empty window is left behind


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "fastnn\[plot\]"'):
        fnn.plot.weights([[1.0]])
