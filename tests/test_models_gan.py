"""Networks that make pictures: shapes, classes, errors, and that the pretrained generator draws what PyTorch draws."""

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn.models import DCGAN, Discriminator, Generator, PatchDiscriminator, UNet
from fastnn.models.gan import Spread

RECORDED = Path(__file__).parent / "data" / "dcgan.npz"


@pytest.mark.parametrize(
    ("channels", "size", "image_channels", "classes"),
    [((8, 4, 4), 12, 1, None), ((8, 4), 26, 3, 4), ((5,), 3, 2, None), ((16, 8, 8, 4, 4), 64, 1, 2)],
)
def test_generators(channels, size, image_channels, classes):
    net = Generator(channels, size, image_channels, latent=6, classes=classes)
    labels = () if classes is None else (np.array([0, 1, 1]),)
    made = net(fnn.randn(3, 6), *labels)
    assert made.shape == (3, image_channels, size, size)
    assert abs(made.detach().numpy()).max() <= 1
    if labels:
        z = fnn.randn(2, 6)
        with fnn.no_grad():
            one, other = (net.eval()(z, np.array(kinds)).numpy() for kinds in ([0, 1], [1, 1]))
        assert abs(one[0] - other[0]).max() > 1e-4
        np.testing.assert_array_equal(one[1], other[1])
    with pytest.raises(ValueError, match=r"labels expected|labels given"):
        net(fnn.randn(3, 6), *(() if labels else (np.array([0, 1, 1]),)))


@pytest.mark.parametrize("spectral", [True, False])
def test_discriminators(spectral, rng):
    x = fnn.tensor(rng.uniform(-1, 1, (3, 3, 24, 24)).astype(np.float32))
    net = Discriminator((4, 8), 24, 3, spectral=spectral)
    assert net(x).shape == (3, 1)
    kind = Discriminator((4, 8), 24, 3, classes=5, spectral=spectral).eval()
    with fnn.no_grad():
        said = [kind(x, np.full(3, k)).numpy() for k in range(5)]
        # What a class adds is the product of its vector with the features.
        features = kind.net(x).flatten(1).numpy()
        vectors = kind.kind.weight.detach().numpy()
    np.testing.assert_allclose(said[1] - said[0], (features @ (vectors[1] - vectors[0]))[:, None], atol=1e-4)
    with pytest.raises(ValueError, match="labels given"):
        net(x, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="labels expected"):
        kind(x)


def test_spread_is_its_formula(rng):
    x = rng.normal(size=(6, 2, 4, 5))
    x[3:] = x[3]  # the second group: three times the same
    made = Spread(3)(fnn.tensor(x)).numpy()
    np.testing.assert_array_equal(made[:, :2], x)
    np.testing.assert_allclose(made[:3, 2], x[:3].std(0).mean(), rtol=1e-6)
    np.testing.assert_allclose(made[3:, 2], 0, atol=2e-4)
    same = fnn.ones(3, 2, 1, 1, requires_grad=True)
    Spread(3)(same).sum().backward()  # whose root has no slope at zero
    assert np.isfinite(same.grad.numpy()).all()
    alone = Spread(8)(fnn.tensor(x)).numpy()  # a smaller batch is one group
    np.testing.assert_allclose(alone[:, 2], x.std(0).mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="6 pictures are not groups of 4"):
        Spread(4)(fnn.tensor(x))


def test_a_discriminator_that_compares_has_a_penalty(rng):
    """Gradients of gradients go through the spread, and by it a picture's answer depends on its group alone."""
    x = fnn.tensor(rng.uniform(-1, 1, (8, 1, 8, 8)).astype(np.float32))
    judge = Discriminator((4, 8), 8, classes=2, spectral=False, group=4)
    labels = np.arange(8) % 2
    fnn.adversarial.r1_penalty(judge, x, labels).backward()
    assert abs(judge.net[-2].weight.grad.numpy()[:, -1]).max() > 0  # of the map that was added
    assert np.isfinite(judge.net[0].weight.grad.numpy()).all()
    with fnn.no_grad():
        said = judge(x, labels).numpy()
        other = judge(fnn.tensor(np.concatenate([x.numpy()[:4], -x.numpy()[4:]])), labels).numpy()
        again = judge(fnn.tensor(np.concatenate([x.numpy()[:3], 0 * x.numpy()[3:]])), labels).numpy()
    np.testing.assert_allclose(other[:4], said[:4], rtol=1e-4, atol=1e-5)
    assert abs(again[:3] - said[:3]).max() > 1e-4


def test_he_keeps_the_scale(rng):
    """Without spectral norm an untrained discriminator's maps are about as large as the picture."""
    x = fnn.tensor(rng.normal(size=(8, 1, 64, 64)).astype(np.float32))
    with fnn.no_grad():
        first = Discriminator((32, 32), 64, spectral=False).net[0](x).numpy()
    assert 1 < first.std() < 2  # sqrt(2 / 1.04), of which the leak keeps half the power
    judge = Discriminator((32, 32), 64, spectral=False)
    for layer in (judge.net[0], judge.net[2], judge.head):
        width = layer.weight[0].numel()
        assert layer.weight.data.std() == pytest.approx((2 / 1.04 / width) ** 0.5, rel=0.06 if width < 100 else 0.025)
        assert not layer.bias.data.any()


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (8, 24)])
def test_unet(shape):
    net = UNet(2, 3, (4, 6, 8, 8)).eval()
    assert net(fnn.zeros(1, 2, *shape)).shape == (1, 3, *shape)
    with pytest.raises(ValueError, match="multiples of 8"):
        net(fnn.zeros(1, 2, shape[0], shape[1] + 4))
    with pytest.raises(ValueError, match="multiples of 8"):
        net(fnn.zeros(2, *shape))


def test_unet_joins_what_went_across(rng):
    """With all that comes from below set to nothing, the output depends on a neighbourhood of 5 x 5."""
    net = UNet(1, 1, (4, 8)).eval()
    net.up[0][0].weight.data[:, :8] = 0  # the first eight maps come from below
    x = rng.normal(size=(1, 1, 16, 16)).astype(np.float32)
    changed = x.copy()
    changed[0, 0, 8, 8] += 1
    with fnn.no_grad():
        away = abs(net(fnn.tensor(changed)).numpy() - net(fnn.tensor(x)).numpy())[0, 0]
    rows, columns = np.nonzero(away > 1e-6)
    assert 5 <= rows.min() <= rows.max() <= 11
    assert 5 <= columns.min() <= columns.max() <= 11
    assert away[8, 8] > 0


def test_what_a_unet_s_output_goes_through(rng):
    net = UNet(1, 2, (4, 8), activation=nn.Tanh()).eval()
    x = fnn.tensor(rng.normal(size=(1, 1, 8, 8)).astype(np.float32))
    with fnn.no_grad():
        bent = net(x).numpy()
        net.activation = None
        np.testing.assert_allclose(bent, np.tanh(net(x).numpy()), atol=1e-6)


def test_patches(rng):
    net = PatchDiscriminator(3, (4, 8, 8))
    assert net(fnn.zeros(2, 2, 32, 48), fnn.zeros(2, 1, 32, 48)).shape == (2, 1, 4, 6)
    both = fnn.tensor(rng.normal(size=(1, 3, 16, 16)).astype(np.float32))
    net.eval()
    np.testing.assert_array_equal(net(both[:, :2], both[:, 2:]).data, net.net(both).data)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_generator_s_state_dict_alone_or_as_one_of_several(wrapped, tmp_path):
    torch = pytest.importorskip("torch")
    net, other = DCGAN(1, 3, 1), DCGAN(1, 3, 1)
    state = {name: torch.tensor(value.data) for name, value in net.state_dict().items()}
    torch.save({"netG_state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "net.pt")
    assert other.load(tmp_path / "net.pt") is other
    z = fnn.randn(2, 3)
    np.testing.assert_array_equal(other(z).data, net.eval()(z).data)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Generator((8, 4), 7), ValueError, "size must be a multiple of 2, got 7"),
        (lambda: Generator((), 8), ValueError, "channels must not be empty"),
        (lambda: Generator((8, 0), 8), ValueError, "channels must be at least 1"),
        (lambda: Generator((8, 4.0), 8), TypeError, "channels must be made of integers"),
        (lambda: Generator((8, 4), 8, latent=True), TypeError, "latent"),
        (lambda: Generator((8, 4), 8, classes=0), ValueError, "classes"),
        (lambda: Discriminator((8, 4), 10), ValueError, "multiple of 4"),
        (lambda: Discriminator((8, 4), 8, group=1), ValueError, "group must be at least 2, got 1"),
        (lambda: UNet(0, 1), ValueError, "in_channels"),
        (lambda: UNet(1, 1, activation="relu"), TypeError, "activation must be a Module or None, got 'relu'"),
        (lambda: PatchDiscriminator(3, ()), ValueError, "channels must not be empty"),
        (lambda: DCGAN(channels=0), ValueError, "channels"),
    ],
)
def test_sizes_that_make_no_sense(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_latent_of_another_shape_is_refused():
    """Not taken for another number of pictures."""
    net = DCGAN(1, latent=6, channels=1)
    assert net(fnn.zeros(2, 6, 1, 1)).shape == (2, 1, 64, 64)
    for shape in ((6,), (6, 2), (2, 3), (3, 2, 6)):
        with pytest.raises(ValueError, match=r"DCGAN: z is .*expected \(N, 6\)"):
            net(fnn.zeros(*shape))


def test_no_pictures_are_no_groups():
    judge = Discriminator((4,), 4, group=2)
    assert judge(fnn.zeros(0, 1, 4, 4)).shape == (0, 1)


def test_generators_are_saved_and_come_back(tmp_path):
    net, other = Generator((8, 4), 8, latent=5).eval(), Generator((8, 4), 8, latent=5).eval()
    fnn.save(net, tmp_path / "net.safetensors")
    fnn.load(tmp_path / "net.safetensors", other)
    z = fnn.randn(2, 5)
    np.testing.assert_array_equal(net(z).detach().numpy(), other(z).detach().numpy())
    with pytest.raises(ValueError, match="does not fit"):
        fnn.load(tmp_path / "net.safetensors", Generator((8, 8), 8, latent=5))


# ----- the pretrained one -----


@pytest.fixture(scope="module")
def weights():
    try:
        file = importlib.metadata.distribution("gan-face-generate").locate_file("gan_face_generate/weights.tar")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gan-face-generate is not installed")
    return str(file)


@pytest.mark.parametrize("frozen", [False, True])
def test_it_draws_what_pytorch_draws(weights, frozen):
    net = DCGAN().load(weights)
    if frozen:
        net.freeze()  # the norms go into the transposed convolutions
    recorded = np.load(RECORDED)
    z = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    with fnn.no_grad():
        made = net(fnn.tensor(z)).numpy()
        point = net(fnn.tensor(z[:1, :, None, None])).numpy()
    np.testing.assert_allclose(made[:, :, 1::4, 1::4], recorded["pictures"], atol=1e-4)
    np.testing.assert_allclose(made.mean((1, 2, 3)), recorded["mean"], atol=1e-5)
    np.testing.assert_allclose(point, made[:1], atol=1e-5)
    assert sum(p.numel() for p in net.parameters()) == 3_576_704


def test_weights_of_another_network(tmp_path, weights):
    with pytest.raises(ValueError, match="does not fit"):
        DCGAN(channels=32).load(weights)
    with pytest.raises(FileNotFoundError):
        DCGAN().load(tmp_path / "none.tar")
    (tmp_path / "text.tar").write_text("hello")
    with pytest.raises(fnn.FormatError):
        DCGAN().load(tmp_path / "text.tar")
    assert not isinstance(DCGAN(), nn.Sequential)
