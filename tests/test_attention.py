"""Attention as an op and in layers: gradients, masks, the twin in ops; positions."""

import copy

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn._ops_attention import attend
from fastnn.nn import functional as F

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float64):
    return fnn.tensor(RNG.normal(size=shape).astype(dtype))


# ---- the op

OPTIONS = {
    "plain": {},
    "causal": {"is_causal": True},
    "keep": {"attn_mask": RNG.random((5, 6)) < 0.6},
    "add": {"attn_mask": RNG.normal(size=(2, 1, 1, 6))},
    "nothing seen": {"attn_mask": np.arange(5)[:, None] + np.zeros((1, 6)) > 1, "is_causal": True},
    "scale": {"scale": 0.3, "is_causal": True},
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("heads", [(2, 2), (4, 2)])
def test_gradients(name, heads):
    q, k, v = normal(2, heads[0], 5, 3), normal(2, heads[1], 6, 3), normal(2, heads[1], 6, 2)

    def f(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True, **OPTIONS[name])

    assert fnn.gradcheck(f, (q, k, v), order=2)


def test_gradient_of_the_mask_by_the_twin():
    q, k, v, mask = normal(2, 2, 4, 3), normal(2, 2, 5, 3), normal(2, 2, 5, 2), normal(2, 1, 4, 5)
    for causal in (False, True):
        fused = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
        leaf = mask.clone()
        leaf.requires_grad = True
        twin = F.scaled_dot_product_attention(q, k, v, leaf, is_causal=causal)
        np.testing.assert_allclose(twin.data, fused.data, atol=1e-12)

        def f(q, m, causal=causal):
            return F.scaled_dot_product_attention(q, k, v, m, is_causal=causal)

        assert fnn.gradcheck(f, (q, mask), order=2)


def test_dropout_is_made_again_in_the_backward():
    q, k, v = normal(2, 2, 5, 3), normal(2, 2, 70, 3), normal(2, 2, 70, 2)

    def f(q, k, v):
        fnn.manual_seed(3)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.4)

    assert not np.allclose(f(q, k, v).data, F.scaled_dot_product_attention(q, k, v).data)
    assert fnn.gradcheck(f, (q, k, v), order=2)  # the second order by the twin: its mask is the kernel's
    mean = np.mean([F.scaled_dot_product_attention(q, k, v, dropout_p=0.4).data for _ in range(2000)], 0)
    np.testing.assert_allclose(mean, F.scaled_dot_product_attention(q, k, v).data, atol=0.05)


def test_all_of_one_tensor():
    qkv = normal(2, 5, 3, 2, 4)
    for options in ({}, {"causal": True}, {"mask": RNG.random((5, 5)) < 0.5}):
        apart = [x.transpose(1, 2) for x in qkv.unbind(2)]
        np.testing.assert_array_equal(attend(qkv, None, None, **options).data, attend(*apart, **options).data)
        assert fnn.gradcheck(lambda x, options=options: attend(x, None, None, **options), qkv, order=2)


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (2, 3, 5, 4), (2, 2, 3, 5, 4), (0, 2, 5, 4), (2, 2, 0, 4)])
def test_any_number_of_dimensions(shape):
    q, k, v = (normal(*shape) for _ in range(3))
    mask = RNG.normal(size=(*shape[:-1], shape[-2]))
    s = q.data @ k.data.swapaxes(-1, -2) / 2 + mask
    e = np.exp(s)
    want = e / e.sum(-1, keepdims=True) @ v.data
    got = F.scaled_dot_product_attention(q, k, v, mask)
    assert got.shape == shape
    np.testing.assert_allclose(got.data, want, atol=1e-12)


def test_memory_is_that_of_a_layer():
    """Views of (B, T, N, D) need no copy, and the result is one."""
    q, k, v = (normal(2, 5, 3, 4).transpose(1, 2) for _ in range(3))
    for t in (q, k, v):
        t.requires_grad = True
    y = F.scaled_dot_product_attention(q, k, v)
    y.sum().backward()
    for array in (y.data, q.grad.data, k.grad.data, v.grad.data):
        assert array.transpose(0, 2, 1, 3).flags.c_contiguous


def test_what_was_changed_in_place_is_noticed():
    for which in range(3):
        inputs = [normal(1, 1, 3, 2) for _ in range(3)]
        inputs[0].requires_grad = True
        copies = [x * 1 for x in inputs]
        y = F.scaled_dot_product_attention(*copies)
        with fnn.no_grad():
            copies[which].fill_(1)
        with pytest.raises(RuntimeError, match="changed in place"):
            y.sum().backward()


X = fnn.zeros(2, 3, 4, 8)
BAD = [
    (lambda: F.scaled_dot_product_attention(X, X[0], X), ValueError, "query is"),
    (lambda: F.scaled_dot_product_attention(X[0, 0, 0], X[0, 0, 0], X[0, 0, 0]), ValueError, "query is"),
    (lambda: F.scaled_dot_product_attention(X, X[..., :7], X), ValueError, "expected"),
    (lambda: F.scaled_dot_product_attention(X, X[:, :1], X[:, :1]), ValueError, "enable_gqa"),
    (lambda: F.scaled_dot_product_attention(X, X[:, :2], X[:, :2], enable_gqa=True), ValueError, "multiple"),
    (lambda: F.scaled_dot_product_attention(X, X, X, np.ones((4, 5), bool)), ValueError, r"attn_mask is \(4, 5\)"),
    (lambda: F.scaled_dot_product_attention(*[X[0]] * 3, np.ones((2, 4, 4))), ValueError, r"is \(2, 4.*to \(3, 4"),
    (lambda: F.scaled_dot_product_attention(X, X, X, np.ones((4, 4), int)), TypeError, "attn_mask is int"),
    (lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=2), ValueError, "dropout_p"),
    (lambda: F.scaled_dot_product_attention(X[:, :0], X, X, enable_gqa=True), ValueError, "0 heads.*multiple"),
    (lambda: nn.MultiheadAttention(8, 3), ValueError, "multiple of num_heads"),
    (lambda: nn.MultiheadAttention(8, 2, dropout=2), ValueError, "dropout"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0, :, :, :7], X[0]), ValueError, "key"),
    (lambda: nn.MultiheadAttention(8, 2)(X, X, X), ValueError, "query is"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0][:, :1], X[0], X[0]), ValueError, "one batch in all"),  # broadcasts not
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0][:, :1], X[0][:, :1], need_weights=False), ValueError, "one batch"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0], X[0], np.zeros((3, 4), bool)), ValueError, "key_padding_mask"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0], X[0], attn_mask=np.zeros((4, 4), bool)), ValueError, "attn_mask"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0], X[0], np.zeros(4, bool)), ValueError, "key_padding_mask"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0], X[0], np.zeros((2, 4), int)), TypeError, "key_padding_mask is of"),
    (lambda: nn.MultiheadAttention(8, 2)(X[0], X[0], X[0], attn_mask=np.eye(4, dtype=int)), TypeError, "attn_mask is"),
    (lambda: nn.TransformerEncoderLayer(8, 2, 0), ValueError, "dim_feedforward"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(X), ValueError, "expected"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(fnn.zeros(1, 2, 4), -1), ValueError, "offset must be at least 0"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(np.zeros((1, 2, 4), np.int64)), ValueError, "x is of int64"),
    (lambda: F.rotary_embedding(X[..., :7]), ValueError, "even D"),
    (lambda: F.rotary_embedding(np.ones((2, 4), int)), TypeError, "x is of int64; expected floats"),  # 1 turned to 0
    (lambda: F.rotary_embedding(X, base=-1.0), ValueError, "base must be above 0, got -1"),
    (lambda: F.sinusoidal_positions(-1, 4), ValueError, "length is -1"),
    (lambda: F.sinusoidal_positions(2, 0), ValueError, "dim 0"),
    (lambda: F.sinusoidal_positions(2, 4, base=0.0), ValueError, "base 0.0"),
    (lambda: nn.SinusoidalPositionalEncoding(4)(fnn.zeros(1, 2, 4), 0.5), TypeError, "offset must be an integer"),
    (lambda: nn.KeyValues(0), ValueError, "room"),
    (lambda: nn.KeyValues().tensors(), ValueError, "nothing was appended"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_refused(case):
    call, error, text = BAD[case]
    with pytest.raises(error, match=text):
        call()


# ---- layers


@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 3, "vdim": 5}])
@pytest.mark.parametrize("batch_first", [False, True])
def test_weights_and_no_weights_agree(extra, batch_first):
    """The way that makes the matrix of scores is the twin of the way that does not."""
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first, dtype=np.float64, **extra)
    sizes = [(2, 4, 8), (2, 6, extra.get("kdim", 8)), (2, 6, extra.get("vdim", 8))]
    q, k, v = (normal(*(s if batch_first else (s[1], s[0], s[2]))) for s in sizes)
    hide, padding = RNG.random((4, 6)) < 0.4, RNG.random((2, 6)) < 0.3
    per_head = RNG.normal(size=(4, 4, 6))
    for attn_mask in (None, hide, per_head):
        for key_padding_mask in (None, padding):
            for causal in (False, True):
                args = (q, k, v, key_padding_mask)
                fused, none = layer(*args, need_weights=False, attn_mask=attn_mask, is_causal=causal)
                plain, weights = layer(*args, attn_mask=attn_mask, is_causal=causal, average_attn_weights=False)
                assert none is None
                np.testing.assert_allclose(fused.data, plain.data, atol=1e-12)
                total = weights.data.sum(-1)
                assert np.all((np.abs(total - 1) < 1e-9) | (total == 0))
    one = layer(*(x[:, 0] if not batch_first else x[0] for x in (q, k, v)))[0]
    whole = layer(q, k, v)[0]
    np.testing.assert_allclose(one.data, (whole[0] if batch_first else whole[:, 0]).data, atol=1e-12)


@pytest.mark.parametrize("same", [False, True])
def test_gradients_of_a_layer(same):
    layer = nn.MultiheadAttention(6, 2, batch_first=True, dtype=np.float64)
    parameters = list(layer.parameters())
    x, memory = normal(2, 3, 6), normal(2, 4, 6)

    def f(x, memory, *_):
        return layer(x, x, x, need_weights=False)[0] if same else layer(x, memory, memory, need_weights=False)[0]

    assert fnn.gradcheck(f, (x, memory) if not same else (x, x), order=2)
    layer(x, x, x, need_weights=False)[0].sum().backward()
    assert all(p.grad is not None for p in parameters)


@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
@pytest.mark.parametrize("padding", [None, bool, float])
@pytest.mark.parametrize("need_weights", [False, True])
def test_gradient_of_a_layers_mask(extra, padding, need_weights):
    fnn.manual_seed(1)
    layer = nn.MultiheadAttention(4, 2, batch_first=True, dtype=np.float64, **extra)
    x, mask = normal(2, 5, 4), normal(5, 5)
    hidden = None if padding is None else np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], padding)

    def f(mask):
        return layer(x, x, x, hidden, need_weights, mask, is_causal=True)[0]

    assert f(mask.requires_grad_()).requires_grad
    assert fnn.gradcheck(f, mask)


def test_a_mask_has_no_say_in_the_type():
    layer, x = nn.MultiheadAttention(8, 2), fnn.zeros(3, 1, 8)
    for need_weights in (False, True):
        assert layer(x, x, x, need_weights=need_weights, attn_mask=np.zeros((3, 3)))[0].dtype == np.float32
    _, weights = layer(x, x, x, attn_mask=[[False, True, True]] * 3)
    np.testing.assert_array_equal(weights.data[0], [[1, 0, 0]] * 3)


def test_dropout_of_layers_is_for_training():
    layer = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    x, memory = normal(2, 5, 8, dtype=np.float32), normal(2, 3, 8, dtype=np.float32)
    assert not np.array_equal(layer(x, memory).data, layer(x, memory).data)
    layer.eval()
    np.testing.assert_array_equal(layer(x, memory).data, layer(x, memory).data)


def test_a_callable_of_a_known_name_is_called():
    def relu(x):
        return x * 0

    fused = nn.TransformerEncoderLayer(8, 2, 16, activation=F.relu)
    assert fused.activation == "relu"
    own = nn.TransformerEncoderLayer(8, 2, 16, activation=relu)
    assert own.activation is relu


def test_positions():
    table = F.sinusoidal_positions(50, 6).data
    i = np.arange(3)
    angle = np.arange(50)[:, None] / 10000 ** (2 * i / 6)
    np.testing.assert_allclose(table[:, ::2], np.sin(angle), atol=1e-6)
    np.testing.assert_allclose(table[:, 1::2], np.cos(angle), atol=1e-6)
    np.testing.assert_array_equal(F.sinusoidal_positions(5, 6, offset=45).data, table[45:])
    layer, x = nn.SinusoidalPositionalEncoding(6, batch_first=True), fnn.zeros(2, 5, 6)
    np.testing.assert_array_equal(layer(x, offset=45).data[1], table[45:])
    np.testing.assert_array_equal(nn.SinusoidalPositionalEncoding(6)(fnn.zeros(5, 2, 6)).data[:, 1], table[:5])
    np.testing.assert_array_equal(nn.SinusoidalPositionalEncoding(6)(fnn.zeros(5, 6)).data, table[:5])


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotations_know_distances_alone(interleaved):
    q, k = normal(1, 8), normal(1, 8)

    def product(i, j):
        turn = nn.RotaryEmbedding(100.0, interleaved)
        return (turn(q, i) * turn(k, j)).sum().item()

    assert product(5, 3) == pytest.approx(product(105, 103), abs=1e-9)
    assert product(5, 3) != pytest.approx(product(5, 4), abs=1e-3)
    assert product(7, 7) == pytest.approx((q * k).sum().item())
    assert fnn.gradcheck(lambda x: F.rotary_embedding(x, 3, interleaved=interleaved), normal(2, 3, 8))


@pytest.mark.parametrize("causal", [False, True])
def test_the_cut_of_a_long_head_does_not_show_in_the_bits(isa, causal):
    """With one thread a part of the 1,400 queries is at most 1,024, with more at least 256."""
    q, k, v, dy = (normal(1, 2, 1400, 8, dtype=np.float32) for _ in range(4))

    def results(threads):
        with fnn.threads(threads):
            leaves = [x.clone().requires_grad_() for x in (q, k, v)]
            y = F.scaled_dot_product_attention(*leaves, is_causal=causal)
            y.backward(dy)
            return [y.data, *(x.grad.data for x in leaves)]

    alone = results(1)
    for threads in (2, 3, 16):
        for got, want in zip(results(threads), alone, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shared", [7, 1])
@pytest.mark.parametrize("causal", [False, True])
def test_many_short_heads_are_the_bits_of_each_alone(isa, shared, causal):
    """A thread takes several heads in a row and fetches the next; 70 do not divide by 4."""
    q, k, v, dy = (normal(10, n, 13, 8, dtype=np.float32) for n in (7, shared, shared, 7))

    def results(q, k, v, dy):
        q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
        y.backward(dy)
        return [x.data for x in (y, q.grad, k.grad, v.grad)]

    alone = [results(*(x[i : i + 1] for x in (q, k, v, dy))) for i in range(10)]
    for n in (1, 2, 3):
        with fnn.threads(n):
            together = results(q, k, v, dy)
        for i, got in enumerate(together):
            np.testing.assert_array_equal(got, np.concatenate([one[i] for one in alone]))


class Louder(nn.Linear):
    """A layer with a `forward` of its own."""

    def forward(self, x):
        return super().forward(x) + 1000.0


class Shifted(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x) + 1000.0


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_parts_with_ways_of_their_own_are_asked(kind, norm_first):
    """Hooks are run, and layers put in the place of the plain ones; in `step` too."""
    layer = kind(8, 2, 16, 0.0, batch_first=True, norm_first=norm_first)
    x, seen = fnn.randn(1, 3, 8), []
    inputs = (x,) if kind is nn.TransformerEncoderLayer else (x, fnn.randn(1, 2, 8))
    plain = layer(*inputs).data
    names = ["linear1", "linear2", *(f"norm{i}" for i in range(1, layer._norms + 1))]
    handles = [
        getattr(layer, name).register_forward_hook(lambda *given, name=name: seen.append(name)) for name in names
    ]
    np.testing.assert_allclose(layer(*inputs).data, plain, rtol=1e-5, atol=1e-6)  # in other passes
    assert sorted(seen) == sorted(names)
    seen.clear()
    layer.step(*inputs)
    assert sorted(seen) == sorted(names)
    for handle in handles:
        handle.remove()
    for name, other in (("linear1", Louder(8, 16)), ("norm2", Shifted(8))):
        changed = copy.deepcopy(layer)
        other.load_state_dict(getattr(layer, name).state_dict())
        setattr(changed, name, other)
        assert np.abs(changed(*inputs).data - plain).max() > 0.05  # norms behind bring most of it back
        assert np.abs(changed.step(*inputs)[0].data - plain).max() > 0.05  # norms behind bring most of it back
    layer.linear1.activation = "tanh"
    assert np.abs(layer(*inputs).data - plain).max() > 1e-3
    layer.norm1 = nn.RMSNorm(8)
    assert layer(*inputs).shape == (1, 3, 8)


def test_leading_dimensions_must_be_equal():
    q = fnn.zeros(2, 3, 1, 4, 8)
    for k in (q.reshape(3, 2, 1, 4, 8), q.reshape(6, 1, 1, 4, 8)):
        with pytest.raises(ValueError, match="expected equal leading dimensions"):
            F.scaled_dot_product_attention(q, k, k)


def test_a_table_of_positions_grows_with_the_positions_only():
    layer = nn.SinusoidalPositionalEncoding(6, batch_first=True)
    for i in range(12):
        layer(fnn.zeros(1, 10, 6, dtype=(np.float32, np.float64)[i % 2]))
    assert len(layer._table) == 10


@pytest.mark.parametrize("wide", ["query", "memory"])
def test_inputs_of_two_types_become_one(wide):
    """The kernel once took them all for the query's."""
    net = nn.MultiheadAttention(8, 2, batch_first=True)
    q, k = RNG.normal(size=(2, 5, 8)), RNG.normal(size=(2, 6, 8))
    q, k = (q, k.astype(np.float32)) if wide == "query" else (q.astype(np.float32), k)
    want, got = net(q, k, k)[0], net(q, k, k, need_weights=False)[0]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(net.step_across(fnn.tensor(q), k)[0].numpy(), want.detach().numpy(), atol=1e-6)
    _, state = net.step_across(fnn.tensor(q[:, :1]), k)
    np.testing.assert_allclose(
        net.step_across(fnn.tensor(q.astype(k.dtype)), k, state)[0].numpy(), want.detach().numpy(), atol=1e-6
    )
    x = fnn.tensor(q, requires_grad=True)
    net(x, k, k, need_weights=False)[0].sum().backward()
    assert x.grad.dtype == q.dtype
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True).eval()
    want = layer(q.astype(np.float64), k.astype(np.float64)).detach().numpy()
    np.testing.assert_allclose(layer(q, k).detach().numpy(), want, atol=1e-6)


def test_grouped_heads_of_nothing_twice():
    for batch, keys in ((0, 3), (2, 0)):
        q, k = fnn.ones(batch, 4, 3, 2, requires_grad=True), fnn.ones(batch, 2, keys, 2)
        y = F.scaled_dot_product_attention(q, k, k, enable_gqa=True)
        assert fnn.grad(y.sum(), q, create_graph=True)[0].shape == q.shape


class Own(nn.Module):
    """Takes what it is called with by name, as PyTorch's callers give it."""

    def __init__(self, *names):
        self.names, self.seen = names, []

    def forward(self, x, *others, **options):
        assert set(options) == set(self.names)
        self.seen.append(options)
        return x if "need_weights" not in options else (x, None)


def test_modules_of_ones_own_are_called_by_name():
    x, padding = fnn.zeros(2, 3, 8), np.zeros((2, 3), bool)
    in_stack = ("tgt_mask", "memory_mask", "tgt_key_padding_mask", "memory_key_padding_mask", "tgt_is_causal",
                "memory_is_causal")  # fmt: skip
    encoder, decoder = Own("mask", "src_key_padding_mask", "is_causal"), Own(*in_stack)
    net = nn.Transformer(8, 2, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
    net(x, x, src_key_padding_mask=padding)
    assert encoder.seen[0]["src_key_padding_mask"] is padding
    layer = Own("src_mask", "src_key_padding_mask", "is_causal")
    nn.TransformerEncoder(layer, 1)(x, src_key_padding_mask=padding)
    nn.TransformerDecoder(decoder, 1)(x, x)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    layer.self_attn = Own("attn_mask", "key_padding_mask", "need_weights", "is_causal")
    layer(x, src_key_padding_mask=padding)
    assert layer.self_attn.seen[0]["key_padding_mask"] is padding
    empty = nn.ModuleList()
    assert nn.Transformer(8, 2, custom_encoder=empty, num_decoder_layers=1).encoder is empty


def test_the_mask_of_the_future():
    mask = nn.Transformer.generate_square_subsequent_mask
    assert mask(sz=2).tolist() == [[0, -np.inf], [0, 0]]
    assert mask(2).dtype == np.float32
    assert mask(2, "cpu", np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="sz must be an integer"):
        mask(3.5)
    with pytest.raises(ValueError, match="sz must be at least 0, got -3"):
        mask(-3)
    with pytest.raises(ValueError, match="device is 'cuda'"):
        mask(2, "cuda")
