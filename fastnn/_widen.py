"""Narrow floating-point numbers of files as float32: fastnn computes with none of them.

F16, BF16           16 bits: NumPy's float16, and the upper half of a float32
F8_E4M3, F8_E5M2    8 bits: so many for the exponent and the mantissa; with FNUZ without infinity and negative zero
F8_E8M0             8 bits: a power of two
"""

from functools import cache

import numpy as np

STORED = {"F16": "u2", "BF16": "u2"} | dict.fromkeys(
    ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), "u1"
)


def widened(bits: np.ndarray, kind: str) -> np.ndarray:
    """Return unsigned integers that hold numbers of a kind in STORED as float32, in memory of their own.

    Examples
    --------
    >>> widened(np.array([0x3F80, 0xC000], np.uint16), "BF16")
    array([ 1., -2.], dtype=float32)
    """
    if kind == "F16":
        return bits.view(np.dtype(np.float16).newbyteorder(bits.dtype.byteorder)).astype(np.float32)
    if kind == "BF16":
        wide = bits.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return _table(kind)[bits]


@cache
def _table(kind: str) -> np.ndarray:
    """Return all 256 numbers of an 8-bit kind."""
    code = np.arange(256)
    if kind == "F8_E8M0":
        return np.where(code < 255, np.ldexp(1.0, code - 127), np.nan).astype(np.float32)
    mantissa = 3 if "E4M3" in kind else 2
    bias = (1 << (6 - mantissa)) - 1 + kind.endswith("FNUZ")
    exponent, fraction = (code & 127) >> mantissa, code & ((1 << mantissa) - 1)
    hidden = np.where(exponent > 0, 1 << mantissa, 0)
    value = np.ldexp(hidden + fraction, np.maximum(exponent, 1) - bias - mantissa)
    value = np.where(code < 128, value, -value)
    if kind.endswith("FNUZ"):
        value[128] = np.nan  # where negative zero would be
    elif kind == "F8_E4M3":
        value[[127, 255]] = np.nan
    else:
        value[exponent == 31] = [np.inf, np.nan, np.nan, np.nan, -np.inf, np.nan, np.nan, np.nan]
    return value.astype(np.float32)
