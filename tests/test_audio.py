"""Sound: every kind of WAV file and every way one can be broken, resampling, log-mel features whole and in chunks."""

import struct
import wave

import numpy as np
import pytest

from fastnn import audio

RATE = 8000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(800) / RATE)


def chunk(tag, body):
    return tag + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(samples, kind=1, bits=16, channels=1, rate=RATE, extensible=False, before=b"", fmt=None):
    """A WAV file of samples from -1 to 1, (n,) or (n, channels), as bytes."""
    x = np.asarray(samples)
    if kind == 3:
        body = x.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        body = (np.round(x * 127) + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        body = np.round(x * (2**23 - 1)).astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    else:
        body = np.round(x * (2 ** (bits - 1) - 1)).astype(f"<i{bits // 8}").tobytes()
    width = bits // 8 * channels
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else kind, channels, rate, rate * width, width, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, bits, 0, kind) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    body = chunk(b"fmt ", head if fmt is None else fmt) + before + chunk(b"data", body)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


@pytest.fixture
def saved(tmp_path):
    def write(data):
        path = tmp_path / "a.wav"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        ({"bits": 8}, 8e-3),
        ({"bits": 16}, 4e-5),
        ({"bits": 24}, 3e-7),
        ({"bits": 32}, 1e-7),
        ({"kind": 3, "bits": 32}, 1e-7),
        ({"kind": 3, "bits": 64}, 1e-7),
        ({"bits": 16, "extensible": True}, 4e-5),
        ({"kind": 3, "bits": 32, "extensible": True}, 1e-7),
        ({"bits": 16, "before": chunk(b"LIST", b"INFOodd")}, 4e-5),
    ],
)
def test_every_kind_of_file(saved, settings, off):
    samples, rate = audio.read_wav(saved(wav(TONE, **settings)))
    assert rate == RATE
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, TONE, atol=off)


def test_channels_are_averaged(saved):
    both = np.stack([TONE, np.zeros_like(TONE), -TONE / 2], 1)
    samples, _ = audio.read_wav(saved(wav(both, channels=3)))
    np.testing.assert_allclose(samples, TONE / 6, atol=4e-5)


def test_what_the_standard_library_writes(tmp_path):
    path = tmp_path / "b.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(np.array([[-32768, -32768], [16384, 0]], "<i2").tobytes())
    samples, rate = audio.read_wav(path)
    assert rate == 44100
    assert samples.tolist() == [-1.0, 0.25]


def test_what_was_written_into_a_pipe_goes_on_to_its_end(saved):
    data = bytearray(wav(TONE))
    for place in (4, 40):  # the sizes of the file and of its samples, which nobody knew
        data[place : place + 4] = b"\xff" * 4
    samples, rate = audio.read_wav(saved(bytes(data) + b"\0"))  # and half a sample
    assert rate == RATE
    np.testing.assert_allclose(samples, TONE, atol=4e-5)
    with pytest.raises(ValueError, match="has no samples"):
        audio.read_wav(saved(bytes(data[:44])))
    for size in (0x7FFFF000, 0x7FFFFFFF, 0x80000000):  # what other writers put there
        data[40:44] = size.to_bytes(4, "little")
        np.testing.assert_allclose(audio.read_wav(saved(bytes(data)))[0], TONE, atol=4e-5)


GOOD = wav(TONE)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"RIFF", "is no WAV file"),
        (b"OggS" + GOOD[4:], "is no WAV file"),
        (GOOD[:-100], "is cut off: 1500 bytes of samples where it says 1600"),
        (GOOD[:40], "is cut off or damaged"),
        (GOOD[:20], "fmt chunk has 0 bytes"),
        (wav(TONE[:0]), "has no samples"),
        (wav(TONE, kind=6, bits=8), "format 6 with 8 bits"),
        (wav(TONE, fmt=struct.pack("<HHIIHH", 1, 0, RATE, 0, 2, 16)), "0 channels"),
        (wav(TONE, fmt=struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16)), "at 0 samples a second"),
        (wav(TONE, fmt=struct.pack("<HHIIHH", 1, 1, RATE, 0, 2, 12)), "format 1 with 12 bits"),
        (wav(TONE, fmt=struct.pack("<HHIIHH", 1, 1, RATE, 0, 4, 24)), "1 channels of 24 bits in 4 bytes"),
        (wav(TONE, fmt=b"\1\0\1\0"), "fmt chunk has 4 bytes"),
        (GOOD[:12] + GOOD[36:], "no fmt before data"),
        (wav(np.array([0.0, np.nan]), kind=3, bits=32), "infinite or not a number"),
        (wav(np.array([0.0, 1e300]), kind=3, bits=64), "infinite or not a number"),
        (wav(np.full((2, 2), 3e38), kind=3, bits=32, channels=2), "infinite or not a number"),
        (wav(np.zeros(3601 * 10), rate=10), "lasts 3601 s"),
    ],
)
def test_broken_files(saved, data, says):
    with pytest.raises(ValueError, match=f"read_wav: .*a.wav .*{says}"):
        audio.read_wav(saved(data))


def test_any_cut_and_any_byte_returns_or_refuses(saved):
    rng = np.random.default_rng(0)
    for i in range(300):
        data = bytearray(GOOD[:100])
        if i < 100:
            data = data[:i]
        else:
            data[rng.integers(len(data))] = rng.integers(256)
        try:
            samples, rate = audio.read_wav(saved(bytes(data)))
        except ValueError as error:
            assert "read_wav: " in str(error)  # noqa: PT017
        else:
            assert len(samples)
            assert rate > 0


def test_missing_file(tmp_path):
    with pytest.raises(OSError, match="nothing"):
        audio.read_wav(tmp_path / "nothing.wav")


# ----- resampling -----


@pytest.mark.parametrize(("rate", "to"), [(44100, 16000), (8000, 16000), (16000, 8000), (11025, 16000), (48000, 44100)])
def test_tones_stay_and_what_would_fold_over_goes(rate, to):
    time, new = np.arange(rate) / rate, np.arange(to) / to
    low, high = 0.4 * min(rate, to), 0.7 * min(rate, to)
    tone = audio.resample(np.sin(2 * np.pi * low * time), rate, to)
    assert len(tone) == to
    np.testing.assert_allclose(tone[200:-200], np.sin(2 * np.pi * low * new)[200:-200], atol=2e-3)
    if high < rate / 2:
        assert np.abs(audio.resample(np.sin(2 * np.pi * high * time), rate, to)[200:-200]).max() < 1e-3


def test_rates_without_a_common_divisor():
    """44,100 phases of one filter; each is the same sum as where they are few."""
    x = np.sin(np.arange(3000) / 7)
    y = audio.resample(x, 44100, 44101)
    np.testing.assert_allclose(y[:2500], np.sin(np.arange(2500) * 44100 / 44101 / 7), atol=2e-2)
    with pytest.raises(TypeError, match="resample: rate must be an integer, got float"):
        audio.resample(x, 8000.0, 16000)


def test_resample_edges():
    assert audio.resample(np.zeros(0), 8000, 16000).shape == (0,)
    assert audio.resample(np.ones(1), 44100, 16000).shape == (1,)
    assert abs(audio.resample(np.ones(5), 10**7, 1)[0]) < 1e-5  # a filter of 2.5 GB, but for five samples of it
    x = np.random.default_rng(0).normal(size=40)  # shorter than the filter: as if silence followed
    np.testing.assert_allclose(
        audio.resample(x, 44100, 16000), audio.resample(np.pad(x, (0, 1000)), 44100, 16000)[:15], atol=1e-6
    )
    x = np.ones(5, np.float32)
    same = audio.resample(x, 7, 7)
    assert same is not x
    np.testing.assert_array_equal(same, x)
    for wrong in ((np.zeros((2, 2)), 1, 1), (x, 0, 1), (x, 1, -1)):
        with pytest.raises(ValueError, match="resample: "):
            audio.resample(*wrong)


# ----- features -----


def test_a_tone_lies_in_its_band():
    filters = audio.mel_filters(24, 256, RATE, 20.0)
    for band in (5, 12, 20):
        place = filters[:, band].argmax()  # of the transform's frequencies, that in the middle of the band
        frames = audio.LogMel(RATE, bands=24)(np.sin(2 * np.pi * place / 256 * np.arange(RATE)))
        assert frames.shape == (98, 24)
        assert (frames.argmax(1) == band).all()


def test_triangles_sum_to_one_between_the_ends():
    filters = audio.mel_filters(20, 4096, 16000, 100.0, 6000.0)
    frequency = np.arange(2049) * 16000 / 4096
    middle = (frequency > 300) & (frequency < 5000)
    np.testing.assert_allclose(filters[middle].sum(1), 1)
    assert not filters[(frequency <= 100) | (frequency >= 6000)].any()
    for size in (1, 0, -3):
        with pytest.raises(ValueError, match="a size of at least 2"):
            audio.mel_filters(4, size, 16000)


def test_chunks_of_any_size_give_the_same_bits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20000).astype(np.float32)
    mel = audio.LogMel(16000)
    whole = mel(x)
    for most in (1 + 50, 160, 700, 30000):
        mel.reset()
        at, parts = 0, []
        while at < len(x):
            n = int(rng.integers(1, most))
            parts.append(mel.push(x[at : at + n]))
            at += n
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.shape == ((20000 - 400) // 160 + 1, 40)


def test_features_are_their_formula():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    mel = audio.LogMel(16000, bands=10, window=0.016, low=100.0, high=6000.0, floor=0.5)
    hann = np.sin(np.pi * (np.arange(256) + 0.5) / 256) ** 2
    power = np.array([np.abs(np.fft.rfft(x[at : at + 256] * hann)) ** 2 for at in range(0, 745, 160)])
    wanted = np.log(power @ audio.mel_filters(10, 256, 16000, 100.0, 6000.0) + 0.5)
    np.testing.assert_allclose(mel(x), wanted, rtol=1e-4, atol=1e-5)
    usual = audio.LogMel(16000, bands=40, window=0.025, hop=0.01, low=20.0, high=8000.0, floor=1e-6)
    np.testing.assert_array_equal(audio.LogMel(16000)(x), usual(x))
    np.testing.assert_array_equal(usual(x[:100]), usual(np.pad(x[:100], (0, 300))))  # silence follows


def test_short_silent_and_integer_sound():
    mel = audio.LogMel(16000)
    assert mel(np.zeros(3)).shape == (1, 40)
    assert np.isfinite(mel(np.zeros(1000))).all()
    np.testing.assert_array_equal(mel(np.ones(1000, np.int16)), mel(np.ones(1000)))
    assert mel.push(np.zeros(0)).shape == (0, 40)


@pytest.mark.parametrize("wrong", [np.zeros((2, 2)), np.array(["a"]), np.array([1, np.nan]), np.array([1e300])])
def test_features_refuse(wrong):
    with pytest.raises(ValueError, match="LogMel: samples"):
        audio.LogMel(16000)(wrong)


def test_settings_of_other_types():
    for wrong, says in (({"rate": "8000"}, "rate must be a number"), ({"bands": 1.5}, "bands must be an integer")):
        with pytest.raises(TypeError, match=f"LogMel: {says}"):
            audio.LogMel(**{"rate": 8000, **wrong})
    with pytest.raises(ValueError, match="LogMel: "):
        audio.LogMel(np.nan)


@pytest.mark.parametrize(
    "settings",
    [
        *({"window": 0}, {"hop": 0}, {"hop": 0.1}, {"floor": 0}, {"bands": 0}, {"low": 9000.0}, {"high": 9000.0}),
        *({name: value} for name in ("window", "hop", "floor", "low", "high") for value in (np.nan, np.inf)),
    ],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=r"LogMel: |mel_filters: "):
        audio.LogMel(16000, **settings)
