"""CTC: the loss against every alignment written out, its gradient, its edges; the decoders against all texts."""

import itertools

import numpy as np
import pytest

import fastnn as fnn
from fastnn import decoding, kernels, nn
from fastnn.nn import functional as F


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return request.param


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def read_off(path, blank):
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def all_texts(frames, blank):
    """The probability of every text that (T, C) log-probabilities can say, from all C ** T alignments."""
    found = {}
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        text = read_off(path, blank)
        found[text] = found.get(text, 0.0) + np.exp(sum(frames[t, c] for t, c in enumerate(path)))
    return found


def shares(frames, text, blank):
    """The share of a text's alignments that says each class at each frame, (T, C)."""
    said = np.zeros(frames.shape)
    for path in itertools.product(range(frames.shape[1]), repeat=len(frames)):
        if read_off(path, blank) == tuple(text):
            said[np.arange(len(path)), path] += np.exp(sum(frames[t, c] for t, c in enumerate(path)))
    return said / said.sum(1, keepdims=True)


def batch(dtype, frames=5, classes=4, seed=0):
    """Frames, texts and lengths with an empty text, repeated letters, and one that just fits."""
    rng = np.random.default_rng(seed)
    x = log_softmax(rng.normal(0, 2, (frames, 6, classes))).astype(dtype)
    texts = [[], [1], [1, 1], [1, 2, 1], [3, 3, 1], [2, 1, 3, 1]]
    lengths = [frames, 3, 4, frames, 4, 4]
    return x, texts, np.array(lengths), np.array([len(t) for t in texts])


def flat(texts):
    return np.array([c for text in texts for c in text], np.int64)


@pytest.mark.parametrize("blank", [0, 2])
def test_loss_and_gradient_against_every_alignment(isa, dtype, blank):
    x, texts, lengths, letters = batch(dtype)
    texts = [[{0: blank}.get(c, 0 if c == blank else c) for c in text] for text in texts]
    loss, alpha = kernels.ctc(x, flat(texts), lengths, letters, blank=blank)
    scale = np.linspace(0.5, 2, len(texts)).astype(dtype)
    dx = kernels.ctc_backward(scale, loss, alpha, x, flat(texts), lengths, letters, blank=blank)
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    for n, text in enumerate(texts):
        frames = x[: lengths[n], n].astype(np.float64)
        np.testing.assert_allclose(loss[n], -np.log(all_texts(frames, blank)[tuple(text)]), rtol=rtol, atol=rtol)
        want = scale[n] * (np.exp(frames) - shares(frames, text, blank))
        np.testing.assert_allclose(dx[: lengths[n], n], want, atol=3 * rtol)
        assert not dx[lengths[n] :, n].any()


@pytest.mark.parametrize("letters", [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 18, 33, 40])
def test_long_texts_against_the_reference_row(isa, dtype, letters):
    rng = np.random.default_rng(letters)
    x = log_softmax(rng.normal(0, 3, (100, 4, 11)))
    lengths, counts = np.array([100, 90, 99, 100]), np.array([letters, letters // 2, letters, 0])
    texts = rng.integers(1, 11, counts.sum())
    texts[::3] = 5  # neighbours that are equal

    def both(x):
        loss, alpha = kernels.ctc(x, texts, lengths, counts)
        return loss, kernels.ctc_backward(np.ones(1, x.dtype), loss, alpha, x, texts, lengths, counts)

    got = both(x.astype(dtype))
    kernels.use_isa("reference")
    want = both(x.astype(dtype).astype(np.float64))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(got[0], want[0], rtol=20 * eps)
    np.testing.assert_allclose(got[1], want[1], atol=(2000 if isa == "reference" else 200) * eps)


def test_a_thousand_frames_keep_their_digits(dtype):
    """Sums reach -3000, where float tells no less than 2e-4 apart; rows relative to their largest keep their digits."""
    rng = np.random.default_rng(0)
    x = log_softmax(rng.normal(0, 1, (1000, 1, 30)))
    text, length, count = rng.integers(1, 30, 120), np.array([1000]), np.array([120])
    loss, alpha = kernels.ctc(x.astype(dtype), text, length, count)
    dx = kernels.ctc_backward(np.ones(1, dtype), loss, alpha, x.astype(dtype), text, length, count)
    exact = kernels.ctc(x.astype(dtype).astype(np.float64), text, length, count)[0]
    np.testing.assert_allclose(loss, exact, rtol=2 * np.finfo(dtype).eps + 1e-9)
    plain = 1e-11 if kernels.isa() == "reference" else 0  # whose sums are double, and do reach -3000
    np.testing.assert_allclose(dx.sum(2), 0, atol=30 * np.finfo(dtype).eps + plain)


def test_texts_that_do_not_fit(isa, dtype):
    x = log_softmax(np.zeros((3, 5, 4))).astype(dtype)
    texts, lengths = flat([[1, 2, 3, 1], [1, 1, 2], [1, 1], [2], []]), np.array([3, 3, 3, 0, 0])
    letters = [4, 3, 2, 1, 0]
    loss, alpha = kernels.ctc(x, texts, lengths, np.array(letters))
    assert np.isinf(loss).tolist() == [True, True, False, True, False]
    assert loss[4] == 0
    job = (np.ones(1, dtype), loss, alpha, x, texts, lengths, np.array(letters))
    dx = kernels.ctc_backward(*job)
    assert np.isnan(dx[:, :2]).all()
    assert not np.isnan(dx[:, 2:]).any()
    assert not dx[:, 3:].any()
    zeroed = kernels.ctc_backward(*job, zero_infinity=True)
    assert not zeroed[:, [0, 1, 3, 4]].any()
    np.testing.assert_array_equal(zeroed[:, 2], dx[:, 2])


def test_impossible_classes_and_nan(isa, dtype):
    x = log_softmax(np.zeros((4, 3, 3))).astype(dtype)
    x[1, 0, 2] = -np.inf  # one path less, or all
    x[:, 1, 1] = -np.inf
    x[2, 2, 0] = np.nan
    texts, lengths, letters = flat([[2], [1], [2]]), np.array([4, 4, 4]), np.array([1, 1, 1])
    loss, alpha = kernels.ctc(x, texts, lengths, letters)
    np.testing.assert_allclose(loss[0], -np.log(all_texts(x[:, 0], 0)[(2,)]), rtol=1e-6)
    assert np.isinf(loss[1])
    assert np.isnan(loss[2])
    dx = kernels.ctc_backward(np.ones(1, dtype), loss, alpha, x, texts, lengths, letters)
    np.testing.assert_allclose(dx[:, 0], np.exp(x[:, 0]) - shares(x[:, 0], [2], 0), atol=1e-6)
    assert np.isnan(dx[:, 1:]).all()


def test_same_bits_for_every_number_of_threads(isa):
    rng = np.random.default_rng(0)
    x = log_softmax(rng.normal(0, 2, (150, 40, 30))).astype(np.float32)
    texts, lengths, letters = rng.integers(1, 30, 40 * 30), np.full(40, 150), np.full(40, 30)
    before, seen = fnn.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fnn.set_num_threads(threads)
            loss, alpha = kernels.ctc(x, texts, lengths, letters)
            seen.append((loss, kernels.ctc_backward(np.ones(1, np.float32), loss, alpha, x, texts, lengths, letters)))
    finally:
        fnn.set_num_threads(before)
    for loss, dx in seen[1:]:
        np.testing.assert_array_equal(loss, seen[0][0])
        np.testing.assert_array_equal(dx, seen[0][1])


# ----- the op -----


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_gradcheck_behind_a_log_softmax(reduction, zero_infinity):
    x, texts, lengths, letters = batch(np.float64)
    padded = np.zeros((6, 4), np.int64)
    for row, text in zip(padded, texts):
        row[: len(text)] = text

    def loss(scores):
        return F.ctc_loss(F.log_softmax(scores, -1), padded, lengths, letters, 0, reduction, zero_infinity)

    assert fnn.gradcheck(loss, [fnn.tensor(x, requires_grad=True)])


def test_padded_and_flat_targets_are_the_same():
    x, texts, lengths, letters = batch(np.float32)
    padded = np.full((6, 9), 77)  # what is padding is not looked at
    for row, text in zip(padded, texts):
        row[: len(text)] = text
    one = F.ctc_loss(x, flat(texts), fnn.tensor(lengths), letters.tolist(), reduction="none")
    np.testing.assert_array_equal(one.numpy(), F.ctc_loss(x, padded, lengths, letters, reduction="none").numpy())
    assert F.ctc_loss(x, padded, lengths, letters, reduction="sum").item() == pytest.approx(one.sum().item())
    mean = (one.numpy() / np.maximum(letters, 1)).mean()
    assert nn.CTCLoss()(x, padded, lengths, letters).item() == pytest.approx(mean)
    single = F.ctc_loss(x[:, 3], [1, 2, 1], 5, 3, reduction="none")
    assert single.shape == ()
    assert single.item() == one[3].item()
    row = np.array([[1, 2, 1, 0, 0]])  # padded
    assert F.ctc_loss(x[:, 3], row, (5,), (3,), reduction="none").item() == one[3].item()


def test_the_layer_zeroes_what_is_infinite():
    x = fnn.tensor(log_softmax(np.zeros((2, 2, 3), np.float32)), requires_grad=True)
    job = (x, [[1, 2], [1, 1]], [2, 2], [2, 2])
    assert nn.CTCLoss()(*job).item() == np.inf
    loss = nn.CTCLoss(zero_infinity=True, reduction="sum")(*job)
    assert loss.item() == pytest.approx(2 * np.log(3), rel=1e-6)
    loss.backward()
    assert x.grad[:, 0].numpy().any()
    assert not x.grad[:, 1].numpy().any()


def test_no_second_derivative():
    x = fnn.tensor(log_softmax(np.zeros((3, 1, 3))), requires_grad=True)
    once = fnn.grad(F.ctc_loss(x, [[1]], [3], [1]), x)[0]
    twice = fnn.grad(F.ctc_loss(x, [[1]], [3], [1]), x, create_graph=True)[0]  # beside it, others may have one
    np.testing.assert_array_equal(twice.data, once.data)
    with pytest.raises(RuntimeError, match="ctc_loss: there is no second derivative"):
        twice.sum().backward()


def test_losses_may_be_changed_behind_the_backward():
    x = fnn.tensor(log_softmax(np.zeros((3, 2, 4))), requires_grad=True)
    losses = F.ctc_loss(x, [[1, 2], [1, 2]], [3, 3], [2, 2], reduction="none")
    want = fnn.grad(losses.sum(), x, retain_graph=True)[0].data
    with fnn.no_grad():
        losses[1] = np.inf
    np.testing.assert_array_equal(fnn.grad(losses.sum(), x)[0].data, want)


def test_torch_agrees():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    x = log_softmax(rng.normal(0, 2, (60, 5, 12))).astype(np.float32)
    targets, lengths, letters = rng.integers(1, 12, (5, 20)), [60, 50, 40, 60, 41], [20, 11, 1, 0, 20]
    ours, theirs = fnn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    for reduction in ("mean", "sum", "none"):
        ours.grad = theirs.grad = None
        a = F.ctc_loss(ours, targets, lengths, letters, 0, reduction)
        b = torch.nn.functional.ctc_loss(
            theirs, torch.tensor(targets), torch.tensor(lengths), torch.tensor(letters), 0, reduction
        )
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
        a.sum().backward()
        b.sum().backward()
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), atol=1e-4)


X = np.zeros((4, 2, 3), np.float32)


@pytest.mark.parametrize(
    ("job", "error", "says"),
    [
        ((X[0], [[1], [1]], [4, 4], [1, 1]), ValueError, "input_lengths"),
        ((X[0, 0], [1], 1, 1), ValueError, r"expected \(T, N, C\)"),
        ((X, [[1], [3]], [4, 4], [1, 1]), ValueError, "targets has 3; expected classes from 0 to 2"),
        ((X, [[1], [-1]], [4, 4], [1, 1]), ValueError, "targets has -1"),
        ((X, [[1], [0]], [4, 4], [1, 1]), ValueError, "which is the blank"),
        ((X, [[1], [1]], [4, 4], [1, 1], 3), ValueError, "blank is 3"),
        ((X, [[1], [1]], [5, 4], [1, 1]), ValueError, r"input_lengths\[0\] is 5; expected 0 to 4"),
        ((X, [[1], [1]], [4, -1], [1, 1]), ValueError, r"input_lengths\[1\] is -1"),
        ((X, [[1], [1]], [4], [1, 1]), ValueError, r"input_lengths is \(1,\)"),
        ((X, [[1], [1]], [4, 4], [1, 2]), ValueError, "target_lengths has 2; expected 0 to 1"),
        ((X, [[1], [1]], [4, 4], [-1, 1]), ValueError, "target_lengths has -1"),
        ((X, [1, 1, 1], [4, 4], [1, 1]), ValueError, "targets has 3 letters"),
        ((X, [1, 1], [4, 4], [1, 2]), ValueError, "targets has 2 letters"),
        ((X, [[1], [1]], [4.0, 4.0], [1, 1]), TypeError, "input_lengths must be integers"),
        ((X, [[1.0], [1.0]], [4, 4], [1, 1]), TypeError, "targets must be integers"),
        ((X, [[1], [1]], [4, 4], [1, 1], 0, "median"), ValueError, "reduction must be"),
        ((X, [[1], [1]], [4, 4], [1, 1], 0.0), TypeError, "blank must be an integer, got float"),
        ((X[:, 0], [[1], [1]], 4, 1), ValueError, r"target_lengths is \(1,\); expected \(2,\)"),
        ((X[:, :, :0], [[], []], [4, 4], [0, 0]), ValueError, "blank is 0; expected one of the 0 classes"),
    ],
)
def test_refuses(job, error, says):
    with pytest.raises(error, match=f"ctc_loss: .*{says}"):
        F.ctc_loss(*job)


def test_nothing_to_do():
    assert F.ctc_loss(X[:, :0], np.zeros((0, 3), int), [], [], reduction="sum").item() == 0
    assert F.ctc_loss(X[:0], np.zeros((2, 0), int), [0, 0], [0, 0], reduction="none").tolist() == [0, 0]


# ----- decoding -----


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("blank", [0, 1])
def test_a_wide_beam_finds_every_text(seed, blank):
    frames = log_softmax(np.random.default_rng(seed).normal(0, 1, (5, 3)))
    found = decoding.ctc_beam_search(frames, width=1000, blank=blank, least=-1e9)
    want = all_texts(frames, blank)
    assert {reading.classes for reading in found} == set(want)
    np.testing.assert_allclose([np.exp(r.score) for r in found], [want[r.classes] for r in found])
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)


def test_a_narrow_beam_and_greedy_read_what_is_clear():
    frames = log_softmax(8 * np.eye(4)[[0, 1, 1, 0, 1, 2, 3, 3, 0]])
    assert decoding.ctc_greedy(frames) == (1, 1, 2, 3)
    assert decoding.ctc_greedy(fnn.tensor(frames)) == (1, 1, 2, 3)
    assert decoding.ctc_beam_search(frames, width=1)[0].classes == (1, 1, 2, 3)
    assert decoding.ctc_greedy(frames[:0]) == ()
    assert decoding.ctc_beam_search(frames[:0]) == [((), 0.0)]


def test_a_language_that_gives_nan_is_refused():
    frames = np.log([[0.1, 0.9], [0.1, 0.9]])
    with pytest.raises(ValueError, match="language gave NaN"):
        decoding.ctc_beam_search(frames, language=lambda text, c: np.nan)
    with pytest.raises(ValueError, match="ending gave NaN"):
        decoding.ctc_beam_search(frames, ending=lambda text: np.nan)


def test_a_language_decides_between_what_sounds_alike():
    frames = np.log(np.array([[0.1, 0.46, 0.44], [0.8, 0.1, 0.1]]))
    assert decoding.ctc_beam_search(frames)[0].classes == (1,)
    asked = []

    def language(text, c):
        asked.append((text, c))
        return 0.0 if c == 2 else -3.0

    best = decoding.ctc_beam_search(frames, language=language, ending=lambda text: -1.0)[0]
    assert best.classes == (2,)
    assert best.score == pytest.approx(decoding.ctc_beam_search(frames)[1].score - 1)
    assert len(asked) == len(set(asked))


def test_decoders_refuse():
    frames = np.zeros((3, 4))
    for wrong in (frames[0], frames.astype(int), np.full((3, 4), np.nan)):
        for decoder in (decoding.ctc_greedy, decoding.ctc_beam_search):
            with pytest.raises(ValueError, match=decoder.__name__):
                decoder(wrong)
    with pytest.raises(ValueError, match="blank is 4"):
        decoding.ctc_greedy(frames, 4)
    for wrong in (0, 1.5, None, "3"):
        with pytest.raises(ValueError, match="width must be an integer of at least 1"):
            decoding.ctc_beam_search(frames, wrong)
    for decoder in (decoding.ctc_greedy, decoding.ctc_beam_search):
        for blank in (1.5, 1.0, None, True):
            with pytest.raises(ValueError, match=f"{decoder.__name__}: blank is {blank}"):
                decoder(frames, blank=blank)
    frames[1, 2] = np.inf
    with pytest.raises(ValueError, match=r"NaN or \+inf in frame 1"):
        decoding.ctc_beam_search(frames)
    with pytest.raises(ValueError, match="least is NaN"):
        decoding.ctc_beam_search(frames[:1], least=np.nan)


def test_error_rates():
    assert decoding.edit_distance("", "abc") == decoding.edit_distance("abc", "") == 3
    assert decoding.edit_distance("abc", "abc") == 0
    assert type(decoding.edit_distance(np.array([1, 2]), np.array([2]))) is int
    assert decoding.edit_distance(["una", "vela"], ["una", "gran", "vela"]) == 1
    assert decoding.error_rate(["ab", ""], ["abc", "d"]) == 0.5
    for read, true in ((["a"], []), (["a", "b"], ["a"]), (["a"], [""])):
        with pytest.raises(ValueError, match="expected pairs"):
            decoding.error_rate(read, true)
