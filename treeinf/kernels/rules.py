"""Scalar rules that the kernels of both devices share.

Each is compiled for the device that calls it.
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
    "merge_query",
    "newton_step",
    "read_value",
]

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_ROUND_TO_INTEGER = 6755399441055744.0
_LARGEST = 708.0


@scalar_rule
def read_value(value, zero_threshold, round_to_single):
    """Return a value of X as the library compares it; see `FlatTrees`."""
    if round_to_single:
        value = np.float64(np.float32(value))
    if abs(value) <= zero_threshold:
        value = 0.0
    return value


@scalar_rule
def in_category_set(value, floor, bits, start, stop):
    """Return whether a finite or infinite value, cut to an integer, is in a set.

    Parameters
    ----------
    value : float64
        Category code; not NaN.
    floor : float64
        Values of at most this are no category; with -1.0, values between -1 and 0 are
        category 0.
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


@scalar_rule
def newton_step(gradient, hessian, l2, l1, max_value, min_hessian):
    """Return a leaf value before shrinkage, and its derivative: the leaf rule.

    Parameters
    ----------
    gradient, hessian : float64
        Sums over the leaf's train rows.
    l2, l1 : float64
        Penalties.
    max_value : float64
        Bound on the absolute value; 0 for none.
    min_hessian : float64
        The value is 0 where the sum of hessians is smaller.

    Returns
    -------
    step : float64
        ``-gradient / (hessian + l2)``, the gradient soft-thresholded by `l1`; 0 where
        the denominator is not positive.
    response : float64
        Minus the derivative of the step with respect to the gradient sum: 0 where the
        l1 penalty or the bound holds the step fixed.
    """
    denominator = hessian + l2
    if not denominator > 0.0 or hessian < min_hessian:
        return 0.0, 0.0
    if l1 > 0.0:
        excess = abs(gradient) - l1
        if excess <= 0.0:
            return 0.0, 0.0
        gradient = excess if gradient > 0.0 else -excess
    step, response = -gradient / denominator, 1.0 / denominator
    if max_value > 0.0 and abs(step) > max_value:
        return max_value if step > 0.0 else -max_value, 0.0
    return step, response


@scalar_rule
def _rank_key(value, sign):
    """Return the key that rows are ranked by, the largest first."""
    return abs(value) if sign == 0 else sign * value


@scalar_rule
def merge_query(influence, first_row, sign, query, best_row, best_value):
    """Merge a batch of rows into one query's list of top rows; see `merge_top`."""
    k = best_row.shape[1]
    for line in range(influence.shape[0]):
        value = influence[line, query]
        key = _rank_key(value, sign)
        if np.isnan(value) or _rank_key(best_value[query, k - 1], sign) >= key:
            continue
        rank = k - 1
        while rank > 0 and not _rank_key(best_value[query, rank - 1], sign) >= key:
            best_value[query, rank] = best_value[query, rank - 1]
            best_row[query, rank] = best_row[query, rank - 1]
            rank -= 1
        best_value[query, rank] = value
        best_row[query, rank] = first_row + line


def _exponential(x):
    r"""Compute e**x for finite x so that LLVM vectorises the loop around it.

    Parameters
    ----------
    x : float64
        Clipped to [-708, 708], where the result is a normal number.

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
    """Return the 64 bits of a float64 as an unsigned integer."""
    return np.uint64(bits_from_float(value))


if jit_disabled:  # reading bits as numbers exists in compiled code only

    def exponential(x):
        """Compute e**x (plain Python twin of the compiled rule)."""
        return math.exp(max(min(x, _LARGEST), -_LARGEST))

    def bits_of(value):
        """Return the 64 bits of a float64 (plain Python twin)."""
        return np.float64(value).view(np.uint64)

else:
    bits_of = scalar_rule(_bits_of)
    exponential = kernel(_exponential)
