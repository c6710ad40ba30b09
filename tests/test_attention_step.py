"""Attention and transformers one piece at a time: step by step as the whole sequence, in one call as in parts."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fnn
from fastnn import nn
from fastnn._ops_attention import attend_next
from fastnn.nn import functional as F

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float64):
    return fnn.tensor(RNG.normal(size=shape).astype(dtype))


# ---- the whole, and what is kept


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_step_by_step_equals_the_whole_sequence(norm_first, batch_first):
    net = nn.Transformer(
        16, 4, 2, 2, 24, batch_first=batch_first, norm_first=norm_first, activation="gelu", dtype=np.float64
    ).eval()
    axis = 1 if batch_first else 0
    x, y = (normal(*((3, t, 16) if batch_first else (t, 3, 16))) for t in (7, 40))
    padding = np.arange(7) >= np.array([[7], [5], [1]])
    with fnn.no_grad():
        memory = net.encoder(x, src_key_padding_mask=padding)
        whole = net.decoder(y, memory, tgt_is_causal=True, memory_key_padding_mask=padding).data
        states, pieces, at = None, [], 0
        for size in (1, 1, 5, 1, 16, 1, 1, 14):
            piece = fnn.tensor(np.take(y.data, range(at, at + size), axis))
            out, states = net.decoder.step(piece, memory, states, padding)
            pieces.append(out.data)
            at += size
        np.testing.assert_allclose(np.concatenate(pieces, axis), whole, atol=1e-12)
        causal, state, pieces = net.encoder(y, is_causal=True).data, None, []
        for i in range(40):
            out, state = net.encoder.step(fnn.tensor(np.take(y.data, [i], axis)), state)
            pieces.append(out.data)
        np.testing.assert_allclose(np.concatenate(pieces, axis), causal, atol=1e-12)


@pytest.mark.parametrize(
    "extra", [{"add_bias_kv": True}, {"add_zero_attn": True}, {"add_bias_kv": True, "add_zero_attn": True}]
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_see_the_keys_of_the_layers_own(extra, batch_first):
    net = nn.TransformerDecoderLayer(16, 4, 24, batch_first=batch_first, dtype=np.float64).eval()
    encoder = nn.TransformerEncoderLayer(16, 4, 24, batch_first=batch_first, dtype=np.float64).eval()
    attention = {"batch_first": batch_first, "dtype": np.float64, **extra}
    net.self_attn, net.multihead_attn, encoder.self_attn = (nn.MultiheadAttention(16, 4, **attention) for _ in range(3))
    axis = 1 if batch_first else 0
    x, memory = (normal(*((3, t, 16) if batch_first else (t, 3, 16))) for t in (7, 5))
    padding = np.arange(5) >= np.array([[5], [3], [0]])  # the last row sees nothing but them
    with fnn.no_grad():
        whole = net(x, memory, tgt_is_causal=True, memory_key_padding_mask=padding).data
        causal = encoder(x, is_causal=True).data
    states, pieces, state, causal_pieces = None, [], None, []
    for at, size in ((0, 1), (1, 4), (5, 2)):
        piece = fnn.tensor(np.take(x.data, range(at, at + size), axis))
        out, states = net.step(piece, memory, states, padding)
        pieces.append(out.data)
        out, state = encoder.step(piece, state)
        causal_pieces.append(out.data)
    np.testing.assert_allclose(np.concatenate(pieces, axis), whole, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(causal_pieces, axis), causal, atol=1e-12)


def test_a_cache_grows_by_doubling_and_keeps_its_views():
    cache = nn.KeyValues(2)
    first = cache.append(normal(2, 1, 2, 3), normal(2, 1, 2, 4))
    kept = first[0].data.copy()
    memories = set()
    for _ in range(100):
        keys, _ = cache.append(normal(2, 1, 1, 3), normal(2, 1, 1, 4))
        memories.add(keys.data.__array_interface__["data"][0])
    assert len(cache) == 102
    assert len(memories) <= 7
    np.testing.assert_array_equal(first[0].data, kept)
    np.testing.assert_array_equal(keys.data[:, :, :2], kept)
    swapped = cache.select([1, 0, 0])
    np.testing.assert_array_equal(swapped.tensors()[0].data, keys.data[[1, 0, 0]])
    with pytest.raises(ValueError, match="after"):
        cache.append(normal(3, 1, 1, 3), normal(3, 1, 1, 4))


@pytest.mark.parametrize(
    ("keys", "values", "error", "words"),
    [
        (normal(1, 2, 3, 4), normal(1, 2, 1, 4), ValueError, "of one B, N, t"),
        (normal(1, 2, 3, 4), normal(1, 2, 5, 4), ValueError, "of one B, N, t"),
        (normal(1, 2, 3, 4), normal(2, 2, 3, 4), ValueError, "of one B, N, t"),
        (normal(2, 3, 4), normal(2, 3, 4), ValueError, "of one B, N, t"),
        (normal(1, 2, 3, 4), normal(1, 2, 3, 4, dtype=np.float32), ValueError, "values float32; expected float64"),
        (normal(1, 2, 3, 4), None, TypeError, "NoneType"),
    ],
)
def test_a_cache_refuses_keys_and_values_that_differ_and_stays_as_it_was(keys, values, error, words):
    cache = nn.KeyValues()
    with pytest.raises(error, match=words):
        cache.append(keys, values)
    cache.append(normal(3, 1, 2, 8), normal(3, 1, 2, 8))  # the first that fit say how all are
    assert len(cache) == 2
    with pytest.raises(ValueError, match="keys are float32, values float32; expected float64"):
        cache.append(*(normal(3, 1, 2, 8, dtype=np.float32) for _ in range(2)))
    assert len(cache) == 2


def test_a_copy_of_a_cache_goes_on_for_itself():
    cache = nn.KeyValues()
    copy.copy(cache).append(normal(1, 2, 3, 4), normal(1, 2, 3, 4))
    assert len(cache) == 0
    first, a, b = (normal(1, 2, 1, 4) for _ in range(3))
    cache.append(first, first)
    other = copy.copy(cache)
    kept = cache.append(a, a)[0]
    other.append(b, b)
    np.testing.assert_array_equal(kept.data, np.concatenate([first.data, a.data], 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_cache_attends_as_attention_to_all_it_keeps(dtype):
    cache, other = nn.KeyValues(2), nn.KeyValues(2)
    for t in (1, 1, 5, 1, 0, 3):
        qkv = normal(2, t, 3, 4, 8, dtype=dtype)
        y = cache.attend(qkv)
        q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
        seen = len(other)
        keys, values = other.append(k, v)
        mask = np.arange(len(other)) <= seen + np.arange(t)[:, None]
        want = F.scaled_dot_product_attention(q, keys, values, mask)
        np.testing.assert_allclose(y.data, want.data.transpose(0, 2, 1, 3).reshape(2, t, 32), atol=1e-6)
        np.testing.assert_array_equal(cache.tensors()[0].data, keys.data)
        np.testing.assert_array_equal(cache.tensors()[1].data, values.data)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((2, 1, 4, 8), np.float32, "expected .B, t, 3, N, D."),
        ((2, 1, 2, 4, 8), np.float32, "expected .B, t, 3, N, D."),
        ((3, 1, 3, 4, 8), np.float32, "after"),
        ((2, 1, 3, 2, 8), np.float32, "after"),
        ((2, 1, 3, 4, 7), np.float32, "after"),
        ((2, 1, 3, 4, 8), np.float64, "float64"),
        ((2, 1, 3, 4, 8), np.int64, "int64"),
    ],
)
def test_a_cache_refuses_what_does_not_fit(shape, dtype, words):
    cache = nn.KeyValues()
    cache.attend(normal(2, 2, 3, 4, 8, dtype=np.float32))
    with pytest.raises(ValueError, match=words):
        cache.attend(fnn.tensor(np.ones(shape, dtype)))
    assert len(cache) == 2


# ---- in one call


def steps(layer, x):
    state, pieces = None, []
    for begin, end in ((0, 5), (5, 6), (6, 7), (7, 7), (7, 10)):
        piece, state = layer.step(x[:, begin:end], state)
        pieces.append(piece.data)
    return np.concatenate(pieces, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_a_layers_step_in_one_call_is_that_of_its_parts(norm_first, bias, activation, dtype):
    options = {"batch_first": True, "norm_first": norm_first, "bias": bias, "dtype": dtype}
    layer = nn.TransformerEncoderLayer(12, 3, 40, 0.5, activation, **options).eval()
    x = normal(2, 10, 12, dtype=dtype)
    at_once, called = steps(layer, x), []
    assert fnn.is_grad_enabled()
    layer.linear2.register_forward_hook(lambda *_: called.append(1))  # what is watched is called
    by_parts = steps(layer, x)
    assert len(called) == 5
    np.testing.assert_array_equal(at_once, by_parts)
    np.testing.assert_allclose(at_once, layer(x, is_causal=True).data, atol=1e-5 if dtype == np.float32 else 1e-12)


class Doubled(nn.LayerNorm):
    def forward(self, x):
        return 2 * super().forward(x)


class Nothing(nn.Module):
    def step(self, x, state):
        return x * 0, state


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "norm1", Doubled(12)),
        lambda layer: setattr(layer, "self_attn", Nothing()),
        lambda layer: setattr(layer, "activation", lambda x: x * 3),
        lambda layer: setattr(layer.linear2, "activation", "tanh"),
        lambda layer: layer.dropout2.train(),
        lambda layer: setattr(layer.linear2, "forward", lambda x: x[..., :12] * 0),
    ],
    ids=["norm", "attention", "activation", "behind", "dropout", "forward"],
)
def test_a_step_respects_what_was_changed_in_a_layer(change):
    layer = nn.TransformerEncoderLayer(12, 3, 40, 0.5, "gelu", batch_first=True, norm_first=True).eval()
    x = normal(1, 1, 12, dtype=np.float32)
    assert layer._parts_at_once() is not None
    before = layer.step(x)[0].data
    change(layer)
    assert layer._parts_at_once() is None
    assert not np.allclose(layer.step(x)[0].data, before)


def an_encoder(layers=3, dtype=np.float32):
    layer = nn.TransformerEncoderLayer(12, 3, 40, 0.5, "gelu", batch_first=True, norm_first=True, dtype=dtype)
    return nn.TransformerEncoder(layer, layers, nn.LayerNorm(12, dtype=dtype)).eval()


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_encoders_step_in_one_call_is_that_of_its_layers(dtype, norm_first):
    encoder, x = an_encoder(dtype=dtype), normal(2, 10, 12, dtype=dtype)
    for layer in encoder.layers:
        layer.norm_first = norm_first
    for parameter in encoder.parameters():
        parameter.data[:] += normal(*parameter.shape, dtype=dtype).data / 4
    at_once = steps(encoder, x)
    np.testing.assert_array_equal(steps(copy.deepcopy(encoder), x), at_once)
    np.testing.assert_array_equal(steps(pickle.loads(pickle.dumps(encoder)), x), at_once)
    np.testing.assert_allclose(at_once, encoder(x, is_causal=True).data, atol=1e-4 if dtype == np.float32 else 1e-12)
    called = []
    for layer in encoder.layers:
        layer.linear2.register_forward_hook(lambda *_: called.append(1))
    np.testing.assert_array_equal(steps(encoder, x), at_once)
    assert len(called) == 3 * 5


def narrow(layer):
    layer.linear1, layer.linear2 = nn.Linear(12, 8, bias=False), nn.Linear(8, 12)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [
        lambda layers, i: setattr(layers[i], "norm1", Doubled(12)),
        lambda layers, i: setattr(layers, str(i), an_encoder(1).layers[0]),
        lambda layers, i: narrow(layers[i]),
        lambda layers, i: setattr(layers[i].linear2, "weight", nn.Parameter(np.ones((40, 12), np.float32).T)),
        lambda layers, i: setattr(layers[i].norm2, "bias", nn.Parameter(np.ones(12))),
        lambda layers, i: layers[i].linear2.register_forward_hook(lambda layer, args, y: y * 0),
        lambda layers, i: setattr(layers[i], "norm_first", False),
    ],
    ids=["norm", "layer", "weights", "layout", "dtype", "hook", "order"],
)
def test_an_encoders_step_respects_what_was_changed(change, place):
    encoder, x = an_encoder(), normal(2, 10, 12, dtype=np.float32)
    before = steps(encoder, x)
    change(encoder.layers, place)
    after = steps(encoder, x)
    assert not np.allclose(after, before)
    np.testing.assert_allclose(after, encoder(x, is_causal=True).data, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "norm",
    [
        None,
        nn.LayerNorm(12, bias=False),
        nn.LayerNorm(12, elementwise_affine=False),
        nn.LayerNorm((1, 12), eps=1.0),
        nn.LayerNorm(12, dtype=np.float64),
        nn.LayerNorm(12, eps=1.0),
        Doubled(12),
        nn.Tanh(),
    ],
    ids=["none", "no bias", "no weight", "two dimensions", "float64", "eps", "own", "tanh"],
)
def test_an_encoders_step_ends_in_its_norm(norm):
    encoder, x = an_encoder(), normal(2, 1, 12, dtype=np.float32)
    encoder.norm = norm
    want = encoder(x, is_causal=True)
    np.testing.assert_allclose(encoder.step(x)[0].data, want.data, rtol=1e-5, atol=1e-5)
    assert encoder.step(x)[0].dtype == want.dtype


def test_a_watched_norm_behind_an_encoder_is_called():
    encoder, x, called = an_encoder(), normal(2, 1, 12, dtype=np.float32), []
    want = encoder.step(x)[0].data
    handle = encoder.norm.register_forward_hook(lambda *_: called.append(1))
    np.testing.assert_array_equal(encoder.step(x)[0].data, want)
    handle.remove()
    np.testing.assert_array_equal(encoder.step(x)[0].data, want)
    assert len(called) == 1


def test_an_encoders_step_goes_on_behind_layers_of_its_own():
    encoder, x = an_encoder(), normal(1, 4, 12, dtype=np.float32)
    encoder.layers[1].self_attn = Nothing()
    first, state = encoder.step(x)
    assert [type(s) for s in state] == [nn.KeyValues, type(None), nn.KeyValues]
    assert [len(s) for s in state[::2]] == [4, 4]
    assert first.shape == (1, 4, 12)


def test_what_has_no_room_is_refused():
    keys, packed = np.zeros((1, 1, 4, 4), np.float32), fnn.zeros(1, 1, 3, 1, 4)
    for seen in (4, 2**63 - 1, -1):
        with pytest.raises(ValueError, match=f"after {seen}"):
            attend_next(packed, keys, keys.copy(), seen)


def test_a_step_after_a_batch_of_another_size_is_refused():
    encoder = an_encoder()
    _, state = encoder.step(normal(2, 3, 12, dtype=np.float32))
    with pytest.raises(ValueError, match="after 3"):
        encoder.step(normal(1, 1, 12, dtype=np.float32), state)
    assert [len(s) for s in state] == [3, 3, 3]


def test_a_step_of_self_attention_needs_keys_of_the_same_size():
    layer = nn.MultiheadAttention(8, 2, kdim=4, batch_first=True)
    with pytest.raises(ValueError, match="kdim is 4"):
        layer.step(fnn.zeros(1, 1, 8))


@pytest.mark.parametrize("layers", [1, 2])
def test_a_step_refuses_a_state_that_is_none_of_its_own_before_any_layer_has_moved(layers):
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), layers).eval()
    x = fnn.randn(1, 1, 8)
    _, states = encoder.step(x)
    with pytest.raises(TypeError, match=r"TransformerEncoder\.step: .* got int"):
        encoder.step(x, [*states[:-1], 3])
    for wrong in ([*states, None], 5, "ab" * layers):
        with pytest.raises(ValueError, match=f"state must be None or a list of {layers}"):
            encoder.step(x, wrong)
    with pytest.raises(TypeError, match=r"TransformerEncoderLayer\.step: .* got tuple"):
        encoder.layers[0].step(x, (1, 2))
    attention = encoder.layers[0].self_attn
    with pytest.raises(TypeError, match=r"MultiheadAttention\.step: .* got int"):
        attention.step(x, 3)
    with pytest.raises(TypeError, match=r"step_across: .* got int"):
        attention.step_across(x, x, 3)
    assert [len(kept) for kept in states] == [1] * layers


def test_a_decoders_step_refuses_a_state_that_is_none_of_its_own():
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x = fnn.randn(1, 1, 8)
    for wrong in ([None], [None] * 3, [], 5, nn.KeyValues()):
        with pytest.raises(
            ValueError, match=r"TransformerDecoder\.step: state must be None or a list of 2, one a layer"
        ):
            decoder.step(x, x, wrong)
    for wrong in ([None], [None] * 3, 5, nn.KeyValues()):
        with pytest.raises(ValueError, match=r"TransformerDecoderLayer\.step: .* list of 2, of itself and the memory"):
            decoder.layers[0].step(x, x, wrong)


def test_a_step_says_which_shapes_it_takes():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x, memory = fnn.zeros(2, 1, 8), fnn.zeros(2, 5, 8)
    for wrong in (fnn.zeros(1, 8), fnn.zeros(2, 1, 4), fnn.zeros(2, 1, 1, 8)):
        with pytest.raises(ValueError, match=r"step: x is \(.*; expected \(B, t, 8\)"):
            layer.step(wrong)
        with pytest.raises(ValueError, match=r"step_across: x is \(.*; expected \(B, t, 8\)"):
            layer.step_across(wrong, memory)
        with pytest.raises(ValueError, match=r"step_across: memory is \(.*; expected \(B, t, 8\)"):
            layer.step_across(x, wrong)
    with pytest.raises(ValueError, match="x has 2 sequences, the memory 3"):
        layer.step_across(x, fnn.zeros(3, 5, 8))
    with pytest.raises(ValueError, match=r"expected \(t, B, 8\)"):
        nn.MultiheadAttention(8, 2).step(fnn.zeros(1, 8))


def test_a_refused_step_leaves_the_state_where_it_was():
    """A decoder attended to itself first, and the corrected call saw the piece twice."""
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x, memory = normal(1, 3, 8, dtype=np.float32), normal(1, 4, 8, dtype=np.float32)
    hidden = np.array([[False, False, False, True]])
    for module in (decoder, decoder.layers[1]):
        _, state = module.step(x[:, :2], memory, None, hidden)
        want, _ = module.step(x[:, 2:], memory, copy.deepcopy(state), hidden)
        with pytest.raises(ValueError, match="key_padding_mask"):
            module.step(x[:, 2:], memory, state, hidden[:, 1:])
        np.testing.assert_array_equal(module.step(x[:, 2:], memory, state, hidden)[0].numpy(), want.numpy())


class Twice(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("name", ["dropout1", "dropout2", "dropout"])
def test_a_step_passes_what_stands_in_the_place_of_a_dropout(name):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    setattr(layer, name, Twice())
    x = normal(1, 3, 8, dtype=np.float32)
    want = layer(x, is_causal=True).detach().numpy()
    np.testing.assert_allclose(layer.step(x)[0].numpy(), want, atol=1e-6)
    np.testing.assert_allclose(nn.TransformerEncoder(layer, 1).eval().step(x)[0].numpy(), want, atol=1e-6)
