"""CatBoost's hash of category labels, by which its trees test them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["hash_label", "look_up_hashes"]

_MASK = (1 << 64) - 1
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_K3 = 0xC949D7C7509E6557
_MIX = 0x9DDFEA08EB382D69


def hash_label(label: Any) -> int:
    """Hash a label of a category as CatBoost does.

    Parameters
    ----------
    label : str, bytes, int or bool
        The label. Integers stand for their digits, booleans for "0" and "1".

    Returns
    -------
    int
        In [0, 2**32).

    Raises
    ------
    TypeError
        If the label is of another type, which CatBoost refuses too.
    """
    if isinstance(label, str):
        return _city_hash(label.encode()) & 0xFFFFFFFF
    if isinstance(label, bytes):
        return _city_hash(label) & 0xFFFFFFFF
    if isinstance(label, (bool, np.bool_, int, np.integer)):
        return _city_hash(str(int(label)).encode()) & 0xFFFFFFFF
    raise TypeError(
        f"Got {label!r} as a category; expected integers and strings, without missing "
        "values: the model was trained on such."
    )


def look_up_hashes(values: NDArray[Any], hashes: Iterable[int]) -> NDArray[np.float64]:
    """Encode labels by the positions of their hashes in a list.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        Labels.
    hashes : iterable of int
        The list, of different hashes.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        Positions; for a label that is not listed, a number below -1, one per label.
    """
    code_of = {number: float(code) for code, number in enumerate(hashes)}
    if values.dtype.kind in "biu":
        distinct, inverse = np.unique(values, return_inverse=True)
        labels: list[Any] = distinct.tolist()
    else:
        labels = list(dict.fromkeys(values.tolist()))
        number_of = {label: number for number, label in enumerate(labels)}
        inverse = np.array([number_of[label] for label in values.tolist()], np.intp)
    codes = []
    for label in labels:
        number = hash_label(label)
        codes.append(code_of.get(number, -2.0 - number))
    return np.array(codes, np.float64)[inverse]


# CityHash64 in its first version, of 2011.


def _rotate(value: int, n: int) -> int:
    return ((value >> n) | (value << (64 - n))) & _MASK


def _fold(value: int) -> int:
    return value ^ (value >> 47)


def _mix_pair(low: int, high: int) -> int:
    first = _fold(((low ^ high) * _MIX) & _MASK)
    return (_fold(((high ^ first) * _MIX) & _MASK) * _MIX) & _MASK


def _city_hash(text: bytes) -> int:
    """Hash bytes to 64 bits."""
    n = len(text)
    if n <= 16:
        return _hash_to_16(text, n)
    if n <= 32:
        return _hash_to_32(text, n)
    if n <= 64:
        return _hash_to_64(text, n)
    return _hash_long(text, n)


def _read_word(text: bytes, start: int) -> int:
    number: int = struct.unpack_from("<Q", text, start)[0]
    return number


def _hash_to_16(text: bytes, n: int) -> int:
    if n > 8:
        first, last = _read_word(text, 0), _read_word(text, n - 8)
        return _mix_pair(first, _rotate((last + n) & _MASK, n)) ^ last
    if n >= 4:
        first, last = (struct.unpack_from("<I", text, k)[0] for k in (0, n - 4))
        return _mix_pair(n + (first << 3), last)
    if n == 0:
        return _K2
    low = text[0] + (text[n >> 1] << 8)
    high = n + (text[n - 1] << 2)
    return (_fold(((low * _K2) ^ (high * _K3)) & _MASK) * _K2) & _MASK


def _hash_to_32(text: bytes, n: int) -> int:
    a, b = _read_word(text, 0) * _K1 & _MASK, _read_word(text, 8)
    c, d = _read_word(text, n - 8) * _K2 & _MASK, _read_word(text, n - 16) * _K0 & _MASK
    low = _rotate((a - b) & _MASK, 43) + _rotate(c, 30) + d
    high = a + _rotate(b ^ _K3, 20) - c + n
    return _mix_pair(low & _MASK, high & _MASK)


def _half_of_64(text: bytes, start: int, first: int, last: int) -> tuple[int, int]:
    """Hash 32 bytes with a first and a last number to two numbers."""
    b = _rotate((first + last) & _MASK, 52)
    c = _rotate(first, 37)
    first = (first + _read_word(text, start + 8)) & _MASK
    c = (c + _rotate(first, 7)) & _MASK
    first = (first + _read_word(text, start + 16)) & _MASK
    return (first + last) & _MASK, (b + _rotate(first, 31) + c) & _MASK


def _hash_to_64(text: bytes, n: int) -> int:
    start = (_read_word(text, 0) + (n + _read_word(text, n - 16)) * _K0) & _MASK
    v0, v1 = _half_of_64(text, 0, start, _read_word(text, 24))
    start = (_read_word(text, 16) + _read_word(text, n - 32)) & _MASK
    w0, w1 = _half_of_64(text, n - 32, start, _read_word(text, n - 8))
    both = _fold(((v0 + w1) * _K2 + (w0 + v1) * _K0) & _MASK)
    return (_fold((both * _K0 + v1) & _MASK) * _K2) & _MASK


def _mix_32(text: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    """Mix 32 bytes into two numbers."""
    w, x, y, z = struct.unpack_from("<4Q", text, start)
    a = (a + w) & _MASK
    b = _rotate((b + a + z) & _MASK, 21)
    total = (a + x + y) & _MASK
    b = (b + _rotate(total, 44)) & _MASK
    return (total + z) & _MASK, (b + a) & _MASK


def _hash_long(text: bytes, n: int) -> int:
    x, y = _read_word(text, 0), _read_word(text, n - 16) ^ _K1
    z = _read_word(text, n - 56) ^ _K0
    v = _mix_32(text, n - 64, n, y)
    w = _mix_32(text, n - 32, n * _K1 & _MASK, _K0)
    z = (z + _fold(v[1]) * _K1) & _MASK
    x = _rotate((z + x) & _MASK, 39) * _K1 & _MASK
    y = _rotate(y, 33) * _K1 & _MASK
    for start in range(0, (n - 1) // 64 * 64, 64):
        total = (x + y + v[0] + _read_word(text, start + 16)) & _MASK
        x = _rotate(total, 37) * _K1 & _MASK
        y = _rotate((y + v[1] + _read_word(text, start + 48)) & _MASK, 42) * _K1 & _MASK
        x ^= w[1]
        y ^= v[0]
        z = _rotate(z ^ w[0], 33)
        v = _mix_32(text, start, v[1] * _K1 & _MASK, (x + w[0]) & _MASK)
        w = _mix_32(text, start + 32, (z + w[1]) & _MASK, y)
        x, z = z, x
    low = _mix_pair(v[0], w[0]) + _fold(y) * _K1 + z
    high = _mix_pair(v[1], w[1]) + x
    return _mix_pair(low & _MASK, high & _MASK)
