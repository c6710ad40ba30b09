"""The networks of pictures: shapes, errors, that each learns, and that MTCNN says what the original says."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.models import MTCNN, FaceDetector, LeNet, ResNet, mtcnn, nms

RECORDED = Path(__file__).parent / "data" / "mtcnn.npz"


def crosses(rng, n, size, channels=1):
    """Return pictures of noise with a bar, upright or level, and which it is."""
    x = rng.normal(0, 0.5, (n, channels, size, size)).astype(np.float32)
    y = rng.integers(0, 2, n)
    for picture, upright in zip(x, y):
        place = rng.integers(1, size - 1)
        picture[(slice(None), slice(None), place) if upright else (slice(None), place)] += 2
    return x, y


# ----- the parts -----


def test_prelu():
    x = fnn.tensor(np.array([[[-1.0, 2.0], [-3.0, 0.0]]]))
    layer = nn.PReLU(2).double()
    assert layer.weight.tolist() == [0.25, 0.25]
    with fnn.no_grad():
        layer.weight.copy_(fnn.tensor(np.array([0.5, 2.0])))
    assert layer(x).tolist() == [[[-0.5, 2.0], [-6.0, 0.0]]]
    assert nn.PReLU(init=0.1)(fnn.tensor([-1.0])).item() == pytest.approx(-0.1)
    weight = fnn.tensor(np.array([0.5, -0.3, 2.0]), requires_grad=True)
    x = fnn.tensor(np.random.default_rng(0).normal(size=(2, 3, 4)), requires_grad=True)
    assert fnn.gradcheck(nn.functional.prelu, (x, weight))
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("shape", [(2,), (2, 2), (2, 2, 5), ()])
def test_prelu_wants_its_channels(shape):
    with pytest.raises(ValueError, match="prelu"):
        nn.PReLU(3)(fnn.zeros(*shape))


BODIES = {
    "conv": lambda: [nn.Conv2d(8, 8, 3, padding=1, activation="relu"), nn.Conv2d(8, 8, 3, padding=1)],
    "conv norm": lambda: [nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)],
    "conv relu": lambda: [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()],
    "pixels norm": lambda: [nn.Conv2d(8, 16, 1), nn.ReLU6(), nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8)],
    "conv with relu": lambda: [nn.Conv2d(8, 8, 3, padding=1, activation="relu")],
    "broadcast": lambda: [nn.Conv2d(8, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1)],
}


@pytest.mark.parametrize("activation", [None, "relu", "gelu", fnn.square])
@pytest.mark.parametrize("name", BODIES)
def test_residual_of_convolutions(name, activation):
    """In one pass or several, trained or frozen, with hooks or without."""
    block = nn.Residual(*BODIES[name](), activation=activation)
    x = fnn.tensor(np.random.default_rng(0).normal(size=(2, 8, 6, 5)).astype(np.float32), requires_grad=True)

    def expected():
        total = x
        for layer in block.body:
            total = layer(total)
        total = total + x
        return (
            total if activation is None else (activation if callable(activation) else getattr(fnn, activation))(total)
        )

    block(x).sum().backward()
    got = [x.grad.numpy(), *(p.grad.numpy() for p in block.parameters())]
    x.grad = None
    block.zero_grad()
    block.eval()
    np.testing.assert_allclose(block(x).data, expected().data, rtol=1e-5, atol=1e-5)
    block.train()
    expected().sum().backward()
    for one, other in zip(got, [x.grad.numpy(), *(p.grad.numpy() for p in block.parameters())], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    block.eval().freeze()
    with fnn.no_grad():
        np.testing.assert_allclose(block(x).data, expected().data, rtol=1e-5, atol=1e-5)
        seen = []
        block.body[-1].register_forward_hook(lambda module, args, out: seen.append(out.shape))
        np.testing.assert_allclose(block(x).data, expected().data, rtol=1e-5, atol=1e-5)
    assert len(seen) == 2


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (True, TypeError)])
def test_prelu_of_no_channels(value, error):
    with pytest.raises(error, match="num_parameters"):
        nn.PReLU(value)


def test_residual():
    body = nn.Linear(3, 3)
    x = fnn.tensor(np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32))
    np.testing.assert_allclose(nn.Residual(body)(x).data, (body(x) + x).data)
    np.testing.assert_allclose(nn.Residual(body, activation="relu")(x).data, fnn.relu(body(x) + x).data)
    np.testing.assert_allclose(nn.Residual(body, activation=fnn.square)(x).data, fnn.square(body(x) + x).data)
    way = nn.Linear(3, 5)
    block = nn.Residual(nn.Linear(3, 4, activation="relu"), nn.Linear(4, 5), shortcut=way)
    np.testing.assert_allclose(block(x).data, (block.body(x) + way(x)).data)
    assert next(iter(block.state_dict())) == "body.0.weight"
    np.testing.assert_allclose(nn.Residual(activation="relu")(x).data, fnn.relu(x + x).data)
    with pytest.raises(TypeError, match="shortcut"):
        nn.Residual(body, shortcut=3)
    with pytest.raises(ValueError, match="unknown activation"):
        nn.Residual(body, activation="swosh")


def test_nms_keeps_the_surest():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 4, 4]]
    assert nms(boxes, [0.8, 0.9, 0.7, 0.95]).tolist() == [3, 1, 2]
    assert nms(boxes, [0.8, 0.9, 0.7, 0.5], of="smaller").tolist() == [1, 2]
    assert nms(boxes[:2], [0.5, 0.5], 0.81).tolist() == [0]
    assert nms(boxes[:2], [0.5, 0.5], 0.82).tolist() == [0, 1]
    assert nms([[0, 0, 1, 1], [1, 0, 2, 1]], [1, 2], 0.0).tolist() == [1, 0]
    assert nms([[0, 0, 1, 1], [1, 0, 2, 1]], [1, 2], 0.0, pixel=1).tolist() == [1]
    tens = [[0, 0, 9, 9], [0, 5, 9, 14]], [2, 1]  # of 10 x 10 pixels, a third of all in common
    assert [nms(*tens, overlap, pixel=1).tolist() for overlap in (0.33, 0.34)] == [[0], [0, 1]]
    assert nms(np.zeros((0, 4)), []).tolist() == []
    pixels = np.array([[0, 0, 200, 200], [10, 0, 210, 200], [0, 0, 20, 20]], np.uint8)  # whose areas have no room there
    assert nms(pixels, np.array([1, 200, 0], np.uint8)).tolist() == [1, 2]
    assert nms([[3, 3, 3, 3], [3, 3, 3, 3]], [1, 2]).tolist() == [1, 0]


def test_nms_of_small_integers():
    """Areas beyond the type, scores without a sign, or without more than yes and no."""
    boxes = np.array([[0, 0, 200, 200], [0, 0, 200, 190], [0, 0, 20, 20]])
    for dtype in (np.uint8, np.int16, np.float16):
        for scores in (np.array([7, 9, 0], np.uint8), [0, 1, 0], np.array([False, True, False])):
            assert nms(boxes.astype(dtype), scores).tolist() == nms(boxes, [7, 9, 0]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("boxes", "scores", "of"),
    [
        ([[0, 0, 1, np.nan]], [1], "union"),
        ([[0, 0, 1, 1]], [np.nan], "union"),
        ([[0, 0, 1]], [1], "union"),
        ([[0, 0, 1, 1]], [1, 2], "union"),
        ([[0, 0, 1, 1]], [1], "x"),
    ],
)
def test_nms_of_what_does_not_fit(boxes, scores, of):
    with pytest.raises(ValueError, match="nms: "):
        nms(boxes, scores, of=of)


# ----- the networks -----


def test_lenet_learns(rng):
    x, y = crosses(rng, 400, 8)
    net = LeNet(2, size=8, channels=(4, 8), hidden=16, dropout=0.1)
    fnn.fit(net, nn.CrossEntropyLoss(), (x, y), epochs=4, optimizer=lambda p: fnn.optim.Adam(p, 1e-2), progress=False)
    x, y = crosses(rng, 200, 8)
    assert (net(fnn.tensor(x)).detach().numpy().argmax(1) == y).mean() > 0.95


@pytest.mark.parametrize("size", [4, 8, 13, 28])
def test_lenet_sizes(size):
    assert LeNet(7, size, in_channels=3, channels=(2, 3), hidden=5)(fnn.zeros(2, 3, size, size)).shape == (2, 7)


def test_lenet_has_the_layers_it_says():
    net, stage = LeNet(), [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert [type(layer) for layer in net.features] == 2 * stage
    assert [type(layer) for layer in net.head] == [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]


@pytest.mark.parametrize(("arguments", "error"), [((10, 3), ValueError), ((10, 8.0), TypeError), ((0, 8), ValueError)])
def test_lenet_errors(arguments, error):
    with pytest.raises(error):
        LeNet(*arguments)


def test_sizes_may_be_numpy_s():
    """As they come out of a shape or a search over sizes."""
    channels, one = np.array([2, 3]), np.int64(1)
    assert LeNet(np.int64(7), np.int64(8), one, channels, np.int64(5))(fnn.zeros(2, 1, 8, 8)).shape == (2, 7)
    assert ResNet(5, 1, channels, one)(fnn.zeros(2, 1, 8, 8)).shape == (2, 5)
    for make in (lambda: ResNet(blocks=1.5), lambda: LeNet(channels=(2, 3.5)), lambda: FaceDetector("abc")):
        with pytest.raises(TypeError, match="must be made of integers"):
            make()
    for make in (lambda: LeNet(channels=16), lambda: FaceDetector((2, 3))):
        with pytest.raises(ValueError, match=r"channels (must be )?t(wo|hree)"):
            make()


def test_resnet_learns(rng):
    x, y = crosses(rng, 300, 9, channels=3)
    net = ResNet(2, channels=(4, 8), blocks=1)
    fnn.fit(net, nn.CrossEntropyLoss(), (x, y), epochs=6, optimizer=lambda p: fnn.optim.Adam(p, 1e-2), progress=False)
    x, y = crosses(rng, 200, 9, channels=3)
    assert (net(fnn.tensor(x)).detach().numpy().argmax(1) == y).mean() > 0.95


def test_resnet_20_is_that_of_the_paper():
    net = ResNet()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == 20
    assert sum(p.numel() for p in net.parameters()) == 272_474
    net.eval()
    with fnn.no_grad():
        maps = net.stages(net.stem(fnn.randn(1, 3, 32, 32))).numpy()
        assert ResNet(2, channels=(4, 4), blocks=1)(fnn.zeros(1, 3, 8, 8)).shape == (1, 2)  # halved, no wider
    assert maps.shape == (1, 64, 8, 8)
    assert maps.min() == 0  # by the ReLU behind the sum
    with pytest.raises(ValueError, match="ResNet"):
        ResNet(channels=())
    with pytest.raises(ValueError, match="ResNet"):
        ResNet(blocks=0)


def test_the_detector_slides(rng):
    """A map over a picture holds what the windows say one by one."""
    net = FaceDetector(channels=(4, 4, 4)).eval()
    picture = rng.uniform(-0.5, 0.5, (1, 1, 38, 47)).astype(np.float32)
    with fnn.no_grad():
        whole = net(fnn.tensor(picture)).numpy()[0, 0]
        assert whole.shape == (4, 6)
        for i, j in np.ndindex(whole.shape):
            part = np.ascontiguousarray(picture[:, :, 4 * i : 4 * i + 26, 4 * j : 4 * j + 26])
            assert net(fnn.tensor(part)).item() == pytest.approx(whole[i, j], abs=1e-5)


def test_the_detector_finds(rng):
    """A detector that answers to brightness puts boxes on bright squares, of their size."""
    net = FaceDetector(channels=(1, 1, 1)).eval()
    with fnn.no_grad():
        for i in (0, 4, 8, 12):
            net.net[i].weight.fill_(1 / 9)
            net.net[i].bias.fill_(0.5 if i == 0 else 0)
        net.net[12].weight.fill_(4)
        net.net[12].bias.fill_(-34)
    picture = np.zeros((120, 160), np.float32)
    picture[10:62, 20:72] = 1
    boxes, scores = net.detect(picture, smallest=52, threshold=0.5, votes=1)
    assert len(boxes) == 1
    np.testing.assert_allclose(boxes[0], [20, 10, 72, 62], atol=9)
    assert 0.5 < scores[0] < 1
    assert net.detect(picture, smallest=52, threshold=0.5, votes=100)[0].shape == (0, 4)
    assert net.detect(np.zeros((120, 160), np.float32))[0].shape == (0, 4)
    assert net.detect(np.zeros((10, 10), np.float32))[0].shape == (0, 4)
    assert net.detect(picture, smallest=13, threshold=0.999)[1].shape == (0,)


def test_the_detector_counts_windows(rng):
    """The first and the last place, a probability that is the threshold, and who votes for whom."""
    net = FaceDetector(channels=(1, 1, 1))
    net.net[12].weight.data[...] = net.net[12].bias.data[...] = 0  # one half everywhere
    boxes, scores = net.detect(np.zeros((26, 26)), threshold=0.5, votes=1)
    assert (boxes.tolist(), scores.tolist()) == ([[0, 0, 26, 26]], [0.5])
    # At 0, 4, 8, 12 and 16; those at 4 and 8 share 22 / 30 and 18 / 34 with the first, the third only 14 / 38.
    wide = np.zeros((26, 42))
    assert net.detect(wide, threshold=0.5, votes=3)[0].tolist() == [[4, 0, 30, 26]]
    assert net.detect(wide, threshold=0.5, votes=4)[0].shape == (0, 4)


def test_the_detector_enlarges_smoothly(rng):
    net, small = FaceDetector(channels=(2, 2, 2)).eval(), rng.random((13, 13), np.float32)
    boxes, scores = net.detect(small, smallest=13, threshold=0, votes=1)
    assert boxes.tolist() == [[0, 0, 13, 13]]
    with fnn.no_grad():
        large = nn.functional.interpolate(fnn.tensor(small[None, None] - 0.5), (26, 26), mode="bilinear")
        assert scores[0] == pytest.approx(fnn.sigmoid(net(large)).item(), rel=1e-6)


def test_the_detector_evaluates_and_leaves_its_parts_as_they_were(rng):
    net, picture = FaceDetector(channels=(4, 4, 4)), rng.random((60, 60), np.float32)
    net.net[1].eval()  # as one does with the norms of a network that is trained further
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    found = net.detect(picture, threshold=0.3, votes=1)
    assert [part.training for part in (net, net.net[1], net.net[5])] == [True, False, True]
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    whole = np.round(255 * picture).astype(np.uint8)
    for one, other in zip(net.detect(whole, votes=1), net.detect(whole / 255, votes=1), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    for one, other in zip(found, net.eval().detect(picture, threshold=0.3, votes=1), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("picture", "settings"),
    [
        (np.zeros((3, 3, 3)), {}),
        (np.zeros((0, 5)), {}),
        (np.ones((30, 30)), {"smallest": 0}),
        (np.ones((30, 30)), {"factor": 1}),
    ],
)
def test_the_detector_refuses(picture, settings):
    with pytest.raises(ValueError, match=r"FaceDetector\.detect"):
        FaceDetector().detect(picture, **settings)


# ----- MTCNN -----


@pytest.fixture(scope="module")
def cascade():
    try:
        wheel = importlib.metadata.distribution("facenet-pytorch")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("facenet-pytorch is not installed")
    return MTCNN().load(wheel.locate_file("facenet_pytorch/data"))


def test_the_three_networks_say_what_the_originals_say(cascade):
    recorded = np.load(RECORDED)
    rng = np.random.default_rng(0)
    nets = {
        "p": (cascade.pnet, (1, 3, 31, 40)),
        "r": (cascade.rnet, (3, 3, 24, 24)),
        "o": (cascade.onet, (3, 3, 48, 48)),
    }
    for name, (net, shape) in nets.items():
        x = rng.uniform(-1, 1, shape).astype(np.float32)
        with fnn.no_grad():
            for i, output in enumerate(net(fnn.tensor(x))):
                np.testing.assert_allclose(output.numpy(), recorded[f"{name}{i}"], atol=2e-5)


def test_the_cascade_says_what_the_original_says(cascade):
    image = pytest.importorskip("matplotlib.image")
    try:
        wheel = importlib.metadata.distribution("scikit-image")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("scikit-image is not installed")
    astronaut = image.imread(str(wheel.locate_file("skimage/data/astronaut.png")))[..., :3]
    found = cascade.detect(np.rint(astronaut * 255).astype(np.uint8))
    recorded = np.load(RECORDED)
    np.testing.assert_allclose(found.boxes, recorded["boxes"][:, :4], atol=1e-4, rtol=1e-6)
    np.testing.assert_allclose(found.scores, recorded["boxes"][:, 4], atol=1e-5)
    np.testing.assert_allclose(found.points, recorded["points"], atol=1e-4, rtol=1e-6)
    assert found.boxes[0] == pytest.approx([181.05, 62.16, 267.75, 172.05], abs=0.01)


def test_an_untrained_cascade_runs(rng):
    net = MTCNN()
    assert not net.training
    for picture in (np.zeros((5, 5, 3), np.uint8), rng.integers(0, 256, (40, 60, 3), np.uint8)):
        for thresholds in ((0.0, 0.0, 0.0), (0.99, 0.0, 0.0), (0.0, 0.0, 1.1)):
            found = net.detect(picture, thresholds=thresholds)
            assert found.boxes.shape == (len(found.scores), 4)
            assert found.points.shape == (len(found.scores), 5, 2)
    assert mtcnn.PNet()(fnn.zeros(1, 3, 12, 12))[0].shape == (1, 4, 1, 1)


def test_the_cascade_cuts_out_what_is_inside(rng):
    """Boxes count pixels from 1, their last one included; those beside the picture or turned round hold none."""
    image = rng.uniform(0, 255, (1, 3, 20, 30)).astype(np.float32)
    boxes = np.array([[3, 2, 26, 19], [-9, 2, 0, 9], [5, 2, 4, 9], [2, 25, 9, 20], [20, 1, 99, 99]], np.float32)
    crops, inside = mtcnn._crops(image, boxes, 24)
    np.testing.assert_array_equal(inside, boxes[[0, 4]])
    assert [crop.shape for crop in crops] == [(1, 3, 24, 24)] * 2
    crop = mtcnn._crops(image, boxes[:1], 6)[0][0].numpy()  # each pixel the mean of 3 x 4
    means = image[:, :, 1:19, 2:26].reshape(1, 3, 6, 3, 6, 4).mean((3, 5))
    np.testing.assert_allclose(crop, (means - 127.5) / 128, atol=1e-5)


def test_boxes_and_points_of_the_cascade():
    """Of networks that always say the same: a cell is 12 x 12 pixels, shifts and points are parts of a box."""
    net, grey = MTCNN(), np.zeros((1, 3, 60, 60), np.float32)
    for layer in (net.pnet.conv4_1, net.pnet.conv4_2, net.onet.dense6_1, net.onet.dense6_2, net.onet.dense6_3):
        layer.weight.data[...] = layer.bias.data[...] = 0
    net.onet.dense6_2.bias.data[...] = [0.1, 0.2, -0.1, 0]
    net.onet.dense6_3.bias.data[...] = np.arange(10) / 10
    with fnn.no_grad():
        assert net._propose(grey[..., :12, :12], 12, 0.5, 0.7).tolist() == [[1, 1, 12, 12]]
        found = net._finish(grey, np.array([[11, 5, 30, 44]], np.float32), 0.4)
    np.testing.assert_allclose(found.boxes, [[13, 13, 28, 44]], rtol=1e-6)
    five = np.arange(5)
    np.testing.assert_allclose(found.points[0], np.stack([10 + 2 * five, 24 + 4 * five], 1), rtol=1e-6)
    assert found.scores.tolist() == [0.5]
    assert mtcnn._square(np.array([[0, 0, 10, 20], [0, 0, 8, 4]])).tolist() == [[-5, 0, 15, 20], [0, -2, 8, 6]]


def test_thresholds_and_batches_of_the_cascade(rng, monkeypatch):
    """Of probabilities that are the threshold the first network lets all through, the others none, as the original."""
    net, picture = MTCNN(), rng.integers(0, 256, (40, 60, 3), np.uint8)
    for layer in (net.pnet.conv4_1, net.rnet.dense5_1, net.onet.dense6_1):
        layer.weight.data[...] = layer.bias.data[...] = 0
    found = net.detect(picture, thresholds=(0.5, 0.4, 0.4))
    assert len(found.scores) > 0
    for none in ((0.5, 0.5, 0.4), (0.5, 0.4, 0.5)):
        assert len(net.detect(picture, thresholds=none).scores) == 0
    monkeypatch.setattr(mtcnn, "BATCH", 1)
    for one, other in zip(net.detect(picture, thresholds=(0.5, 0.4, 0.4)), found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("picture", "settings"),
    [
        (np.zeros((9, 9)), {}),
        (np.zeros((9, 9, 4)), {}),
        (np.ones((9, 9, 3)), {"smallest": 0}),
        (np.ones((9, 9, 3)), {"factor": 1}),
    ],
)
def test_the_cascade_refuses(picture, settings):
    with pytest.raises(ValueError, match=r"MTCNN\.detect"):
        MTCNN().detect(picture, **settings)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        MTCNN().load(tmp_path)
