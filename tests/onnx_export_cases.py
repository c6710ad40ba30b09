"""What the tests of ONNX export share: every layer and model with what makes its inputs and which axes are dynamic."""

import inspect

import numpy as np

import fastnn as fnn
from fastnn import models, nn

# Names of axes, with the size in the example and the sizes it is run in.
SIZES = {"b": (2, 1, 5), "t": (6, 3, 11), "s": (4, 5, 2), "h": (12, 16, 10), "w": (10, 12, 18)}


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def integers(most, *shape, least=0):
    return np.random.default_rng(sum(shape)).integers(least, most, shape)


class Expression(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function):
        self.function = function

    def forward(self, *args):
        return self.function(*args)


class Case:
    """A module, what makes its inputs for given sizes, and which axes are dynamic."""

    def __init__(self, make, inputs, *axes):
        self.make, self.inputs, self.axes = make, inputs, axes

    def sizes(self, which):
        wanted = [n for n in inspect.signature(self.inputs).parameters]
        return [SIZES[name][which] for name in wanted]

    def arguments(self, which):
        made = self.inputs(*self.sizes(which))
        return made if isinstance(made, tuple) else (made,)


def image(make, channels=3):
    return Case(make, lambda b, h, w: numbers(b, channels, h, w), {0: "b", 2: "h", 3: "w"})


def fixed_image(make, channels=3, size=8):
    return Case(make, lambda b: numbers(b, channels, size, size), {0: "b"})


def sequence(make, channels=3):
    return Case(make, lambda b, t: numbers(b, channels, t), {0: "b", 2: "t"})


def rows(make, width=4):
    return Case(make, lambda b, t: numbers(b, t, width), {0: "b", 1: "t"})


def steps(make, width=3):
    return Case(make, lambda b, t: numbers(t, b, width), {0: "t", 1: "b"})


def with_state(make, width=3, layers=1, *state):
    def inputs(b, t):
        states = tuple(numbers(layers, b, size) for size in state)
        return numbers(t, b, width), states if len(states) > 1 else states[0]

    return Case(make, inputs, {0: "t", 1: "b"}, *[{1: "b"}] * len(state))


def step(make, *state):
    def inputs(b):
        states = tuple(numbers(b, size) for size in state)
        return (numbers(b, 3), states if len(states) > 1 else states[0]) if states else numbers(b, 3)

    return Case(make, inputs, {0: "b"}, *[{0: "b"}] * len(state))


def of_lengths(make):
    def inputs(b, t):
        return numbers(b, t, 3), None, np.maximum(1, t - np.arange(b) % t)

    return Case(make, inputs, {0: "b", 1: "t"}, {0: "b"})


def pair(make, *shape, target=None):
    return Case(make, lambda b: (numbers(b, *shape), (target or numbers)(b, *shape)), {0: "b"}, {0: "b"})


def attention(make, **options):
    class Attend(nn.Module):
        def __init__(self):
            self.layer = make()

        def forward(self, query, key, value):
            return self.layer(query, key, value, **options)

    def inputs(b, t, s):
        return numbers(b, t, 8), numbers(b, s, make().kdim), numbers(b, s, make().vdim)

    return Case(Attend, inputs, {0: "b", 1: "t"}, {0: "b", 1: "s"}, {0: "b", 1: "s"})


def padding(b, s):
    return np.arange(s) >= np.maximum(1, s - np.arange(b) % s)[:, None]


def masked(make, floats=False):
    class Attend(nn.Module):
        def __init__(self):
            self.layer = make()

        def forward(self, query, key, mask, more):
            return self.layer(query, key, key, key_padding_mask=mask, attn_mask=more, need_weights=False)[0]

    def inputs(b, t, s):
        more = numbers(t, s) if floats else np.arange(s) > np.arange(t)[:, None] + 1
        return numbers(b, t, 8), numbers(b, s, 8), padding(b, s), more

    return Case(Attend, inputs, {0: "b", 1: "t"}, {0: "b", 1: "s"}, {0: "b", 1: "s"}, {0: "t", 1: "s"})


def encoder(**options):
    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)


def decoder(**options):
    return nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, **options)


def both(make):
    return Case(make, lambda b, t, s: (numbers(b, t, 8), numbers(b, s, 8)), {0: "b", 1: "t"}, {0: "b", 1: "s"})


class Reader(nn.Module):
    """The encoding half of the Pronouncer."""

    def __init__(self):
        net = models.Pronouncer(8)
        self.letter_embedding, self.reader = net.letter_embedding, net.reader

    def forward(self, letters, lengths):
        return self.reader(self.letter_embedding(letters), lengths=lengths)[1]


def lengths(b, t):
    return np.maximum(1, t - np.arange(b) % t)


LAYERS = {
    "Linear": Case(lambda: nn.Linear(3, 4), lambda b: numbers(b, 3), {0: "b"}),
    "Linear of a vector": Case(lambda: nn.Linear(3, 4), lambda: numbers(3)),
    "Linear without bias": rows(lambda: nn.Linear(4, 5, bias=False)),
    **{
        f"Linear {name}": rows(lambda name=name: nn.Linear(4, 5, activation=name))
        for name in (
            "relu",
            "gelu",
            "tanh",
            "sigmoid",
            "silu",
            "leaky_relu",
            "elu",
            "softplus",
            "softmax",
            "log_softmax",
        )
    },
    "softmax in float64": rows(lambda: nn.Lambda(lambda x: fnn.softmax(x, -1, dtype=np.float64).to(np.float32))),
    "Identity": rows(nn.Identity),
    "Flatten": fixed_image(nn.Flatten),
    "Unflatten": rows(lambda: nn.Unflatten(-1, (2, -1))),
    "Flatten images": image(lambda: nn.Flatten(2)),
    "ReLU": rows(nn.ReLU),
    "LeakyReLU": rows(lambda: nn.LeakyReLU(0.2)),
    "PReLU": image(nn.PReLU),
    "PReLU by channel": image(lambda: nn.PReLU(3)),
    "ELU": rows(lambda: nn.ELU(0.7)),
    "GELU": rows(nn.GELU),
    "GELU tanh": rows(lambda: nn.GELU("tanh")),
    "SiLU": rows(nn.SiLU),
    "Sigmoid": rows(nn.Sigmoid),
    "Tanh": rows(nn.Tanh),
    "Softplus": rows(nn.Softplus),
    "Softplus steep": rows(lambda: nn.Softplus(3.0, 2.0)),
    "Softmax": rows(nn.Softmax),
    "Softmax of channels": image(lambda: nn.Softmax(1)),
    "LogSoftmax": rows(nn.LogSoftmax),
    "Lambda": rows(lambda: nn.Lambda(lambda x: (x * 2 - 1).exp().sum(-1))),
    "Dropout": rows(lambda: nn.Dropout(0.5)),
    "Dropout2d": image(lambda: nn.Dropout2d(0.5)),
    "ReLU6": rows(nn.ReLU6),
    "Hardtanh": rows(lambda: nn.Hardtanh(-0.5, 1.5)),
    "Hardswish": rows(nn.Hardswish),
    "Mish": rows(nn.Mish),
    "SELU": rows(nn.SELU),
    "LogSigmoid": rows(nn.LogSigmoid),
    "GLU": rows(nn.GLU),
    "Embedding": Case(lambda: nn.Embedding(10, 4), lambda b, t: integers(10, b, t), {0: "b", 1: "t"}),
    "Residual": rows(lambda: nn.Residual(nn.Linear(4, 8, activation="relu"), nn.Linear(8, 4), activation="gelu")),
    "ModuleDict": rows(lambda: Expression(nn.ModuleDict({"a": nn.Linear(4, 2)})["a"])),
    "Conv1d": sequence(lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1)),
    "Conv1d same": sequence(lambda: nn.Conv1d(3, 4, 4, padding="same", activation="relu")),
    "Conv2d": image(lambda: nn.Conv2d(3, 4, 3, padding=1)),
    "Conv2d everything": image(
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 2), groups=2, bias=False, activation="silu"), 4
    ),
    "Conv2d depthwise": image(lambda: nn.Conv2d(3, 6, 3, groups=3, padding="same")),
    **{
        f"Conv2d {mode}": image(lambda mode=mode: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode))
        for mode in ("reflect", "replicate", "circular")
    },
    "ConvTranspose1d": sequence(lambda: nn.ConvTranspose1d(3, 4, 4, stride=2, padding=1, output_padding=1)),
    "ConvTranspose2d": image(lambda: nn.ConvTranspose2d(4, 6, 3, (2, 1), 1, groups=2, dilation=2), 4),
    "ConvTranspose2d with rows behind": image(lambda: nn.ConvTranspose2d(3, 4, 3, 1, (1, 0), 1, dilation=2)),
    "BatchNorm1d": Case(lambda: nn.BatchNorm1d(3), lambda b: numbers(b, 3), {0: "b"}),
    "BatchNorm1d of sequences": sequence(lambda: nn.BatchNorm1d(3, affine=False)),
    "BatchNorm2d": image(lambda: nn.BatchNorm2d(3, eps=1e-3)),
    "BatchNorm2d relu": image(lambda: nn.BatchNorm2d(3, activation="relu", bias=False)),
    "BatchNorm2d of the batch": image(lambda: nn.BatchNorm2d(3, 0.1, track_running_stats=False)),
    "InstanceNorm1d": sequence(lambda: nn.InstanceNorm1d(3, 0.1, affine=True)),
    "InstanceNorm2d": image(lambda: nn.InstanceNorm2d(3)),
    "InstanceNorm2d tracked": image(lambda: nn.InstanceNorm2d(3, 0.1, track_running_stats=True)),
    "InstanceNorm2d of one": Case(lambda: nn.InstanceNorm2d(3), lambda h, w: numbers(3, h, w), {1: "h", 2: "w"}),
    "GroupNorm": image(lambda: nn.GroupNorm(2, 4, 0.1), 4),
    "GroupNorm plain": sequence(lambda: nn.GroupNorm(3, 6, affine=False), 6),
    "LayerNorm": rows(lambda: nn.LayerNorm(4, 0.1)),
    "LayerNorm plain": fixed_image(lambda: nn.LayerNorm((3, 8, 8), elementwise_affine=False)),
    "RMSNorm": rows(lambda: nn.RMSNorm(4)),
    "RMSNorm plain": fixed_image(lambda: nn.RMSNorm((8, 8), eps=0.1, elementwise_affine=False)),
    "MaxPool1d": sequence(lambda: nn.MaxPool1d(3, 2, 1)),
    "MaxPool2d": image(lambda: nn.MaxPool2d(2)),
    "MaxPool2d dilated": image(lambda: nn.MaxPool2d((2, 3), (1, 2), (1, 1), (2, 1))),
    "MaxPool2d rounded up": image(lambda: nn.MaxPool2d(3, 2, ceil_mode=True)),
    "MaxPool2d indices": image(lambda: nn.MaxPool2d(2, return_indices=True)),
    "Conv2d of one": Case(lambda: nn.Conv2d(3, 4, 3), lambda h, w: numbers(3, h, w), {1: "h", 2: "w"}),
    "ConvTranspose1d of one": Case(lambda: nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), lambda t: numbers(3, t), {1: "t"}),
    "MaxPool2d of one": Case(lambda: nn.MaxPool2d(2), lambda h, w: numbers(3, h, w), {1: "h", 2: "w"}),
    "MaxPool2d rounded up and padded": fixed_image(lambda: nn.MaxPool2d(3, 3, 1, ceil_mode=True), size=9),
    "MaxPool2d whose last window would begin behind": fixed_image(lambda: nn.MaxPool2d(3, 3, 1, ceil_mode=True)),
    "AvgPool2d rounded up and padded": fixed_image(lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "AvgPool2d without padding, rounded up": image(lambda: nn.AvgPool2d(3, 2, 1, True, False)),
    "AvgPool1d": sequence(lambda: nn.AvgPool1d(3, 2, 1)),
    "AvgPool2d": image(lambda: nn.AvgPool2d(2)),
    "AvgPool2d padded": image(lambda: nn.AvgPool2d(3, 2, 1)),
    "AvgPool2d without padding": image(lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "AvgPool2d divided": image(lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5)),
    "AvgPool2d rounded up": image(lambda: nn.AvgPool2d(3, 2, ceil_mode=True)),
    "AdaptiveAvgPool1d": sequence(lambda: nn.AdaptiveAvgPool1d(4)),
    "AdaptiveAvgPool2d": image(lambda: nn.AdaptiveAvgPool2d((5, 3))),
    "AdaptiveAvgPool2d global": image(lambda: nn.AdaptiveAvgPool2d(1)),
    "AdaptiveAvgPool2d fixed": fixed_image(lambda: nn.AdaptiveAvgPool2d((3, None))),
    "AdaptiveMaxPool1d": sequence(lambda: nn.AdaptiveMaxPool1d(4)),
    "AdaptiveMaxPool2d": image(lambda: nn.AdaptiveMaxPool2d((5, 3))),
    "AdaptiveMaxPool2d global": image(lambda: nn.AdaptiveMaxPool2d(1)),
    "AdaptiveMaxPool2d fixed": fixed_image(lambda: nn.AdaptiveMaxPool2d((3, 5))),
    "Upsample": image(lambda: nn.Upsample(scale_factor=2)),
    "Upsample exact": image(lambda: nn.Upsample((7, 9), mode="nearest-exact")),
    "Upsample by a fraction": image(lambda: nn.Upsample(scale_factor=2.6)),
    "Upsample exact by a fraction": image(lambda: nn.Upsample(scale_factor=(0.7, 1.3), mode="nearest-exact")),
    "Upsample to a size": image(lambda: nn.Upsample((7, 30))),
    "Upsample fixed": fixed_image(lambda: nn.Upsample(scale_factor=(1.3, 0.7)), size=10),
    "Upsample bilinear fixed": fixed_image(lambda: nn.Upsample(scale_factor=(1.05, 0.7), mode="bilinear"), size=10),
    "Upsample linear": sequence(lambda: nn.Upsample(scale_factor=2.5, mode="linear")),
    "Upsample bilinear": image(lambda: nn.Upsample(scale_factor=(2, 1.5), mode="bilinear")),
    "Upsample corners": image(lambda: nn.Upsample((7, 9), mode="bilinear", align_corners=True)),
    "Upsample area": image(lambda: nn.Upsample((3, 4), mode="area")),
    "ConstantPad1d": sequence(lambda: nn.ConstantPad1d((1, 2), 3.0)),
    "ConstantPad2d": image(lambda: nn.ConstantPad2d((1, -1, 2, 0), 3.0)),
    "ZeroPad1d": sequence(lambda: nn.ZeroPad1d(2)),
    "ZeroPad2d": image(lambda: nn.ZeroPad2d((1, 0, 2, 3))),
    "ReflectionPad1d": sequence(lambda: nn.ReflectionPad1d((1, 2))),
    "ReflectionPad2d": image(lambda: nn.ReflectionPad2d((1, 2, 3, 0))),
    "ReplicationPad1d": sequence(lambda: nn.ReplicationPad1d(2)),
    "ReplicationPad2d": image(lambda: nn.ReplicationPad2d((1, 2, 3, 0))),
    "PixelShuffle": image(lambda: nn.PixelShuffle(2), 8),
    "PixelShuffle of one": Case(lambda: nn.PixelShuffle(2), lambda h, w: numbers(8, h, w), {1: "h", 2: "w"}),
    "PixelUnshuffle": image(lambda: nn.PixelUnshuffle(2)),
    "RNN": steps(lambda: nn.RNN(3, 5)),
    "RNN relu": steps(lambda: nn.RNN(3, 5, 2, "relu", bidirectional=True)),
    "GRU": steps(lambda: nn.GRU(3, 5)),
    "GRU everything": with_state(lambda: nn.GRU(3, 5, 2, bidirectional=True, dropout=0.5), 3, 4, 5),
    "GRU batch first": rows(lambda: nn.GRU(3, 5, batch_first=True, bias=False), 3),
    "GRU of one": Case(lambda: nn.GRU(3, 5), lambda t: numbers(t, 3), {0: "t"}),
    "LSTM": steps(lambda: nn.LSTM(3, 5)),
    "LSTM everything": with_state(lambda: nn.LSTM(3, 5, 2, bidirectional=True), 3, 4, 5, 5),
    "LSTM batch first": rows(lambda: nn.LSTM(3, 5, batch_first=True), 3),
    "LSTM projected": steps(lambda: nn.LSTM(3, 5, 2, proj_size=2)),
    "LSTM projected both ways": with_state(lambda: nn.LSTM(3, 5, bidirectional=True, proj_size=2), 3, 2, 2, 5),
    "RNN of lengths": of_lengths(lambda: nn.RNN(3, 5, batch_first=True)),
    "GRU of lengths": of_lengths(lambda: nn.GRU(3, 5, 2, batch_first=True, bidirectional=True)),
    "LSTM of lengths": of_lengths(lambda: nn.LSTM(3, 5, batch_first=True, bidirectional=True)),
    "RNNCell": step(lambda: nn.RNNCell(3, 5, nonlinearity="relu"), 5),
    "GRUCell": step(lambda: nn.GRUCell(3, 5), 5),
    "LSTMCell": step(lambda: nn.LSTMCell(3, 5), 5, 5),
    "LSTMCell without state": step(lambda: nn.LSTMCell(3, 5, bias=False)),
    "MultiheadAttention": attention(lambda: nn.MultiheadAttention(8, 2, batch_first=True)),
    "MultiheadAttention every head": attention(
        lambda: nn.MultiheadAttention(8, 2, batch_first=True), average_attn_weights=False
    ),
    "MultiheadAttention without weights": attention(
        lambda: nn.MultiheadAttention(8, 2, batch_first=True, bias=False), need_weights=False
    ),
    "MultiheadAttention causal": attention(lambda: nn.MultiheadAttention(8, 2, batch_first=True), is_causal=True),
    "MultiheadAttention other sizes": attention(lambda: nn.MultiheadAttention(8, 2, kdim=5, vdim=3, batch_first=True)),
    "MultiheadAttention extended": attention(
        lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True), is_causal=True
    ),
    "MultiheadAttention masked": masked(lambda: nn.MultiheadAttention(8, 2, batch_first=True)),
    "MultiheadAttention biased": masked(lambda: nn.MultiheadAttention(8, 2, batch_first=True), floats=True),
    "MultiheadAttention masked and extended": masked(
        lambda: nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    ),
    "SinusoidalPositionalEncoding": rows(lambda: nn.SinusoidalPositionalEncoding(5, batch_first=True), 5),
    "SinusoidalPositionalEncoding steps": steps(lambda: nn.SinusoidalPositionalEncoding(4), 4),
    "SinusoidalPositionalEncoding fixed": Case(
        lambda: nn.SinusoidalPositionalEncoding(4, batch_first=True), lambda b: numbers(b, 7, 4), {0: "b"}
    ),
    "RotaryEmbedding": Case(nn.RotaryEmbedding, lambda b, t: numbers(b, 2, t, 4), {0: "b", 2: "t"}),
    "RotaryEmbedding interleaved": rows(lambda: nn.RotaryEmbedding(interleaved=True)),
    "TransformerEncoderLayer": rows(encoder, 8),
    "TransformerEncoderLayer norm first": rows(lambda: encoder(norm_first=True, activation="gelu"), 8),
    "TransformerEncoderLayer steps": steps(lambda: nn.TransformerEncoderLayer(8, 2, 16), 8),
    "TransformerEncoder": rows(lambda: nn.TransformerEncoder(encoder(), 2, nn.LayerNorm(8)), 8),
    "TransformerDecoderLayer": both(decoder),
    "TransformerDecoder": both(lambda: nn.TransformerDecoder(decoder(norm_first=True, bias=False), 2)),
    "Transformer": both(lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True)),
    "MSELoss": pair(nn.MSELoss, 3),
    "L1Loss": pair(lambda: nn.L1Loss("sum"), 3),
    "HuberLoss": pair(lambda: nn.HuberLoss("none", 0.5), 3),
    "SmoothL1Loss": pair(lambda: nn.SmoothL1Loss(beta=0.5), 3),
    "BCEWithLogitsLoss": pair(nn.BCEWithLogitsLoss, 3),
    "BCELoss": Case(
        nn.BCELoss,
        lambda b: (numbers(b, 3) ** 2 / (1 + numbers(b, 3) ** 2), integers(2, b, 3).astype(np.float32)),
        {0: "b"},
        {0: "b"},
    ),
    "KLDivLoss": pair(nn.KLDivLoss, 3, target=lambda *shape: np.abs(numbers(*shape))),
    "CrossEntropyLoss": Case(
        lambda: nn.CrossEntropyLoss(fnn.tensor([1.0, 2.0, 3.0])),
        lambda b: (numbers(b, 3), integers(3, b)),
        {0: "b"},
        {0: "b"},
    ),
    "CosineSimilarity": pair(nn.CosineSimilarity, 3),
    "TripletMarginLoss": Case(
        nn.TripletMarginLoss, lambda b: (numbers(b, 3), -numbers(b, 3), numbers(b, 3) + 1), {0: "b"}, {0: "b"}, {0: "b"}
    ),
    "CosineEmbeddingLoss": Case(
        nn.CosineEmbeddingLoss,
        lambda b: (numbers(b, 3), -numbers(b, 3), np.arange(b) % 2 * 2 - 1),
        {0: "b"},
        {0: "b"},
        {0: "b"},
    ),
    "NLLLoss": Case(nn.NLLLoss, lambda b: (numbers(b, 3), integers(3, b)), {0: "b"}, {0: "b"}),
}


MODELS = {
    "Neuron": Case(lambda: models.Neuron(3), lambda b: numbers(b, 3), {0: "b"}),
    "MLP": Case(lambda: models.MLP([3, 8, 8, 2], "gelu", 0.1), lambda b: numbers(b, 3), {0: "b"}),
    "LeNet": fixed_image(lambda: models.LeNet(10, 8, 3, (4, 6), 12)),
    "ResNet": image(lambda: models.ResNet(10, channels=(4, 8), blocks=1)),
    "FaceDetector": Case(
        lambda: models.FaceDetector((4, 6, 8)),
        lambda b, h, w: numbers(b, 1, 20 + h, 20 + w),
        {0: "b", 2: "h", 3: "w"},
    ),
    "PNet": Case(
        lambda: models.MTCNN().pnet, lambda b, h, w: numbers(b, 3, 2 * h, 2 * w + 1), {0: "b", 2: "h", 3: "w"}
    ),
    "RNet": fixed_image(lambda: models.MTCNN().rnet, 3, 24),
    "ONet": fixed_image(lambda: models.MTCNN().onet, 3, 48),
    "IntentClassifier": Case(
        lambda: models.IntentClassifier(20, 4, 3, 6, 5),
        lambda b, t: integers(20, b, t, least=1) * (np.arange(t) < lengths(b, t)[:, None]),
        {0: "b", 1: "t"},
    ),
    "LanguageModel": Case(lambda: models.LanguageModel(11, 8, 2, 2), lambda b, t: integers(11, b, t), {0: "b", 1: "t"}),
    "Translator": Case(
        lambda: models.Translator(11, 13, 8, 2, 1),
        lambda b, s, t: (integers(11, b, s, least=1) * ~padding(b, s), integers(13, b, t)),
        {0: "b", 1: "s"},
        {0: "b", 1: "t"},
    ),
    "SpeechRecognizer": Case(
        lambda: models.SpeechRecognizer(7, 5, (4, 6), 8), lambda b, t: numbers(b, 4 * t + 1, 5), {0: "b", 1: "t"}
    ),
    "SpeechRecognizer of lengths": Case(
        lambda: models.SpeechRecognizer(7, 5, (4, 6), 8, cell="lstm"),
        lambda b, t: (numbers(b, 4 * t, 5), 4 * lengths(b, t) - 1 + (lengths(b, t) == 1)),
        {0: "b", 1: "t"},
        {0: "b"},
    ),
    "Generator": Case(
        lambda: models.Generator((8, 6, 4), 8, latent=5, classes=3),
        lambda b: (numbers(b, 5), integers(3, b)), {0: "b"}, {0: "b"},
    ),
    "Discriminator": Case(
        lambda: models.Discriminator((4, 6), 8, classes=3),
        lambda b: (numbers(b, 1, 8, 8), integers(3, b)), {0: "b"}, {0: "b"},
    ),
    "DCGAN": Case(lambda: models.DCGAN(3, 5, 4), lambda b: numbers(b, 5), {0: "b"}),
    "UNet": fixed_image(lambda: models.UNet(1, 2, (4, 6, 8)), 1),
    "PatchDiscriminator": Case(
        lambda: models.PatchDiscriminator(3, (4, 6)),
        lambda b: (numbers(b, 2, 8, 8), numbers(b, 1, 8, 8)), {0: "b"}, {0: "b"},
    ),
    "SentenceEncoder": Case(
        lambda: models.SentenceEncoder(20, 8, 2, 1, 16, 30),
        lambda b, t: (integers(20, b, t), padding(b, t)), {0: "b", 1: "t"}, {0: "b", 1: "t"},
    ),
    "Pronouncer": Case(
        lambda: models.Pronouncer(8), lambda b: (integers(74, b), numbers(1, b, 8)), {0: "b"}, {1: "b"}
    ),
    "Pronouncer's reader": Case(
        Reader, lambda b, t: (integers(29, b, t), lengths(b, t)), {0: "b", 1: "t"}, {0: "b"}
    ),
}  # fmt: skip
