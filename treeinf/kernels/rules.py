"""Scalar rules shared by all kernels: which child, and the exponential.

Each is compiled for whatever device calls it; none knows of arrays of rows.
"""

from __future__ import annotations

import math

import numpy as np

from treeinf.kernels.compilation import (
    bits_from_float,
    float_from_bits,
    jit_disabled,
    kernel,
    scalar_rule,
)

__all__ = [
    "bits_of",
    "exponential",
    "in_category_set",
]

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ROUND_TO_INTEGER = 6755399441055744.0
_LARGEST = 708.0


@scalar_rule
def in_category_set(value, floor, bits, start, stop):
    """Tell whether a finite or infinite value, cut to an integer, is in a set.

    Parameters
    ----------
    value : float64
        Category code; not NaN.
    floor : float64
        Values of at most this are no category; those above are cut to an integer, so
        that -1.0 makes category 0 of what lies between -1 and 0.
    bits : ndarray of uint32, shape (n_words,)
        Sets of all nodes.
    start, stop : int64
        Words of this set.

    Returns
    -------
    bool
    """
    if value <= floor or value >= 2147483648.0:
        return False
    code = int(value)
    word = code >> 5
    if word >= stop - start:
        return False
    return ((bits[start + word] >> (code & 31)) & 1) == 1


def _exponential(x):
    r"""Compute e**x for finite x so that LLVM vectorises the loop around it.

    Parameters
    ----------
    x : float64
        Held within [-708, 708], where the result is a normal number.

    Returns
    -------
    float64
        Relative error at most 4e-16 (2 units in the last place), against ``math.exp``.

    Notes
    -----
    x = k ln 2 + r with ln 2 in two parts (W. J. Cody and W. Waite, Software Manual for
    the Elementary Functions, 1980), the polynomial of degree 11 that is nearest to the
    exponential on ``abs(r) <= 0.347`` (Remez exchange of the relative error, which is
    3e-18), and k put straight into the exponent bits.
    """
    x = min(x, _LARGEST)
    x = max(x, -_LARGEST)
    shifted = x * _LOG2_E + _ROUND_TO_INTEGER
    k = shifted - _ROUND_TO_INTEGER
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 2.4994248455100405e-08
    p = p * r + 2.763236690656822e-07
    p = p * r + 2.7557623126838343e-06
    p = p * r + 2.480148632381012e-05
    p = p * r + 0.00019841269431474575
    p = p * r + 0.0013888888951407057
    p = p * r + 0.008333333333560159
    p = p * r + 0.04166666666649209
    p = p * r + 0.16666666666666166
    p = p * r + 0.5000000000000018
    p = p * r + 1.0
    p = p * r + 1.0
    return p * float_from_bits((bits_from_float(shifted) + 1023) << 52)


def _bits_of(value):
    """Give the 64 bits of a float64 as an unsigned integer."""
    return np.uint64(bits_from_float(value))


if jit_disabled:  # reading bits as numbers exists in compiled code only

    def exponential(x):
        """Compute e**x (plain Python twin of the compiled rule)."""
        return math.exp(max(min(x, _LARGEST), -_LARGEST))

    def bits_of(value):
        """Give the 64 bits of a float64 (plain Python twin)."""
        return np.float64(value).view(np.uint64)

else:
    bits_of = scalar_rule(_bits_of)
    exponential = kernel(_exponential)
