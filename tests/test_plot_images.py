"""The pictures of convolutional networks: what is drawn, models left as they were, clear errors."""

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn

figure = pytest.importorskip("matplotlib.figure")


@pytest.fixture
def ax():
    return figure.Figure().subplots()


@pytest.fixture
def net():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3)
    )


def test_filters_of_grey_and_colour(ax):
    weight = np.arange(8 * 9, dtype=np.float32).reshape(8, 1, 3, 3)
    assert fnn.plot.filters(weight, ax) is ax
    assert len(ax.images) == 8
    np.testing.assert_array_equal(ax.images[3].get_array(), weight[3, 0])
    corners = [(round(left, 2), round(top, 2)) for left, _, _, top in (image.get_extent() for image in ax.images)]
    assert corners == [(i % 4 + 0.06, i // 4 + 0.06) for i in range(8)]  # row by row, the first at the top
    assert ax.images[0].get_clim() == (-71, 71)
    colour = figure.Figure().subplots()
    fnn.plot.filters(nn.Conv2d(3, 5, 3).weight, colour, columns=2)
    assert colour.images[0].get_array().shape == (3, 3, 3)
    assert (colour.images[0].get_array().min(), colour.images[0].get_array().max()) == (0, 1)
    assert (colour.get_xlim(), colour.get_ylim()) == ((0, 2), (3, 0))
    fnn.plot.filters(np.zeros((2, 4, 3, 3)), figure.Figure().subplots())
    fnn.plot.filters(np.zeros((1, 3, 1, 1)), figure.Figure().subplots())


def test_feature_maps_are_what_the_layers_give(ax, net):
    net.train()
    net[0].eval()
    x = np.random.default_rng(0).normal(size=(1, 10, 10)).astype(np.float32)
    fnn.plot.feature_maps(net, x, ["1", "3"], ax)
    assert [m.training for m in net] == [False, True, True, True, True, True]
    assert net.training
    assert all(m._hooks is None for m in net.modules())
    assert len(ax.images) == 6
    with fnn.no_grad():
        maps = net[1](net[0](fnn.tensor(x[None]))).numpy()[0]
    first = maps[np.argsort(-maps.std((1, 2)), kind="stable")[0]]
    np.testing.assert_allclose(ax.images[0].get_array(), first, rtol=1e-6)
    last = ax.images[-1]
    np.testing.assert_allclose(last.get_clim(), np.percentile(np.asarray(last.get_array()), (0.5, 99.5)))
    assert "1\n4 x 8 x 8" in [text.get_text() for text in ax.texts]


def test_feature_maps_of_all_convolutions(ax, net):
    fnn.plot.feature_maps(net, fnn.zeros(1, 1, 10, 10), ax=ax, columns=3, rows=1)
    assert len(ax.images) == 5
    assert ax.get_ylim() == (2, 0)
    narrow = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 8))
    fnn.plot.feature_maps(narrow, fnn.zeros(1, 10, 10), ax=(alone := figure.Figure().subplots()))
    assert len(alone.images) == 4  # what is one pixel is no picture


def test_feature_maps_by_other_names(ax, net):
    fnn.plot.feature_maps(net, fnn.zeros(1, 1, 10, 10), {"1": "first layer"}, ax)
    assert ax.texts[0].get_text().startswith("first layer\n")


def test_pixels_that_are_no_numbers_leave_the_others_visible(ax, net):
    x = np.random.default_rng(0).random((1, 10, 10)).astype(np.float32)
    x[0, 0, 0] = np.nan
    fnn.plot.feature_maps(net, x, ["0"], ax)
    assert np.isfinite([image.get_clim() for image in ax.images]).all()
    weight = np.ones((2, 1, 3, 3))
    weight[0, 0, 0, 0] = np.nan
    fnn.plot.filters(weight, plain := figure.Figure().subplots())
    assert {image.get_clim() for image in plain.images} == {(-1, 1)}


def test_a_model_that_fails_is_left_as_it_was(ax, net):
    net.train()
    with pytest.raises(ValueError, match="linear"):
        fnn.plot.feature_maps(net, fnn.zeros(1, 30, 30), ["0"], ax)
    assert all(m.training and m._hooks is None for m in net.modules())


def test_confusion(ax):
    fnn.plot.confusion([[3, 1], [0, 4]], ["cat", "dog"], ax)
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written == {(0, 0): "3", (1, 0): "1", (1, 1): "4"}  # x is the predicted class
    np.testing.assert_allclose(ax.images[0].get_array() ** 2, [[0.75, 0.25], [0, 1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "true")
    assert ax.get_title() == "7 of 8 right (87.50 %)"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    fnn.plot.confusion(np.zeros((2, 2)), ax=ax)


def test_large_counts_are_written_out(ax):
    fnn.plot.confusion([[1234567, 12], [3, 7654321]], ax=ax)
    assert sorted(text.get_text() for text in ax.texts) == ["12", "1234567", "3", "7654321"]
    assert ax.get_title().startswith("8888888 of 8888903 right")


def test_many_classes_and_long_names_can_be_read(ax):
    fnn.plot.confusion(np.eye(100) + 1, ax=ax)
    assert not ax.texts
    assert [label.get_text() for label in ax.get_yticklabels()] == [str(i) for i in range(0, 100, 4)]
    named = figure.Figure().subplots()
    fnn.plot.confusion(np.eye(10), ["automobile"] * 10, named)
    assert {label.get_rotation() for label in named.get_xticklabels()} == {90}
    assert len(named.texts) == 10


def test_boxes(ax):
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    points = np.arange(20.0).reshape(2, 5, 2)
    fnn.plot.boxes(picture, [[1, 2, 5, 9], [3, 3, 4, 4]], ax, scores=[0.9, 0.5], points=points)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), points.reshape(10, 2))
    (first, _) = ax.patches
    assert (first.get_xy(), first.get_width(), first.get_height()) == ((1, 2), 4, 7)
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.50"]
    np.testing.assert_allclose(ax.images[0].get_array(), picture / 255)
    for none in (np.zeros((0, 4)), []):
        plain = figure.Figure().subplots()
        fnn.plot.boxes(picture[..., 0] / 255, none, plain, scores=[], points=np.zeros((0, 5, 2)))
        assert not plain.patches


def test_occlusion_finds_what_matters(ax):
    net = nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
    with fnn.no_grad():
        net[1].weight.zero_()
        net[1].weight[1, 33] = 5.0  # row 3, column 3
    x = np.zeros((1, 10, 10), np.float32)
    x[0, 3, 3] = 1
    for method in ("occlusion", "gradient"):
        ax = figure.Figure().subplots()
        with fnn.no_grad():  # whatever it is called in
            fnn.plot.saliency(net, x, ax, method=method, size=3, target=1)
        heat = ax.images[1].get_array()
        assert heat.shape == (10, 10)
        assert np.unravel_index(heat.argmax(), heat.shape) == (3, 3)
        assert heat[7:, 7:].max() == 0
    assert x.sum() == 1
    net = nn.Sequential(nn.Flatten(), nn.Linear(19 * 19, 2))
    fnn.plot.saliency(net, np.eye(19)[None], ax, size=8)  # the squares are two apart, and one more ends at the rim
    assert np.isfinite(ax.images[-1].get_array()).all()


def test_values_of_pictures(ax):
    """Integers to 1 are a mask, and floats above 1 are white."""
    for values, shown in (([[0, 1]], [[0, 1]]), ([[0, 51]], [[0, 0.2]]), ([[0.5, 2.0]], [[0.5, 1]])):
        fnn.plot.boxes(values, [], ax)
        np.testing.assert_allclose(ax.images[-1].get_array(), shown)


def test_saliency_is_what_it_says():
    """Of a linear net: its weights, and the mean of what the squares over a pixel hide."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 5, 3)).double()
    x = rng.normal(size=(2, 4, 5))
    best = int(net(fnn.tensor(x[None]).double()).argmax().item())
    weight = net[1].weight.detach().numpy()[best].reshape(2, 4, 5)
    fall, count = np.zeros((4, 5)), np.zeros((4, 5))
    for top, left in np.ndindex(3, 4):
        square = np.s_[top : top + 2, left : left + 2]
        hidden = weight * (x - x.mean((1, 2), keepdims=True))
        fall[square] += hidden[(slice(None), *square)].sum()
        count[square] += 1
    for method, wanted in (("gradient", np.abs(weight).max(0)), ("occlusion", fall / count)):
        ax = figure.Figure().subplots()
        fnn.plot.saliency(net, fnn.tensor(x), ax, method=method, size=2)
        np.testing.assert_allclose(ax.images[1].get_array(), wanted, rtol=1e-4, atol=1e-6)


class Two(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda ax, net: fnn.plot.filters(np.zeros((3, 3)), ax), "4 axes"),
        (lambda ax, net: fnn.plot.filters(np.zeros((0, 1, 3, 3)), ax), "empty"),
        (lambda ax, net: fnn.plot.filters(np.zeros((2, 1, 3, 3)), ax, columns=0), "columns must be an integer"),
        (
            lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), ax=ax, columns=0),
            "columns must be an integer",
        ),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), ax=ax, rows=0), "rows must be an integer"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((10, 10)), ax=ax), "image must be"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((2, 1, 10, 10)), ax=ax), "image must be"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), ["9"], ax), "no layer '9'; there are 0, 1"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), ["5"], ax), r"gives \(1, 3\)"),
        (lambda ax, net: fnn.plot.feature_maps(nn.Sequential(nn.Identity()), np.zeros((1, 3, 3)), ax=ax), "no layer"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), columns=0, ax=ax), "columns must be"),
        (lambda ax, net: fnn.plot.feature_maps(net, np.zeros((1, 10, 10)), rows=-1, ax=ax), "rows must be"),
        (lambda ax, net: fnn.plot.feature_maps(Two(), np.zeros((1, 3, 3)), [""], ax), "gives no Tensor"),
        (lambda ax, net: fnn.plot.saliency(Two(), np.zeros((1, 10, 10)), ax), "gives a tuple; one Tensor expected"),
        (lambda ax, net: fnn.plot.filters(np.zeros((1, 1, 3, 3)), ax, columns=-2), "columns must be"),
        (lambda ax, net: fnn.plot.confusion([[-1, 2], [3, 4]], ax=ax), "a count is negative"),
        (lambda ax, net: fnn.plot.confusion([[1, 2]], ax=ax), "one for each class"),
        (lambda ax, net: fnn.plot.confusion([[1]], ["a", "b"], ax), "2 names"),
        (lambda ax, net: fnn.plot.boxes(np.zeros((3, 3, 2)), [], ax), "picture must be"),
        (lambda ax, net: fnn.plot.boxes(np.full((3, 3), 60000, np.uint16), [], ax), "picture has integers to 60000"),
        (lambda ax, net: fnn.plot.boxes(np.zeros((3, 3)), [[1, 2, 3]], ax), r"boxes is \(1, 3\)"),
        (lambda ax, net: fnn.plot.boxes(np.zeros((3, 3)), [[1, 2, 3, 4]], ax, scores=[1, 2]), r"scores \(2,\)"),
        (lambda ax, net: fnn.plot.saliency(net, np.zeros((1, 10, 10)), ax, method="magic"), "'magic'"),
        (lambda ax, net: fnn.plot.saliency(net, np.zeros((1, 10, 10)), ax, target=3), "from 0 to 2"),
        (lambda ax, net: fnn.plot.saliency(net, np.zeros((1, 10, 10)), ax, size=11), "from 1 to 10"),
    ],
)
def test_what_cannot_be_drawn(ax, net, draw, says):
    with pytest.raises(ValueError, match=says) as raised:
        draw(ax, net)
    assert str(raised.value).startswith("plot.")
    assert not ax.images
