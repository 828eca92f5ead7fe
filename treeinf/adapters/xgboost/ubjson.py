"""A small reader of UBJSON, the binary form of XGBoost's model files.

Every size that the bytes claim is held against the bytes that are left before anything
is allocated by it; the work is linear in the length of the file.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from treeinf.adapters.xgboost.files import fail

__all__ = ["is_ubjson", "parse_ubjson"]

_MAX_DEPTH = 32

_NUMBERS = {
    b"i": (">i1", ">b"),
    b"U": (">u1", ">B"),
    b"I": (">i2", ">h"),
    b"u": (">u2", ">H"),
    b"l": (">i4", ">i"),
    b"m": (">u4", ">I"),
    b"L": (">i8", ">q"),
    b"M": (">u8", ">Q"),
    b"d": (">f4", ">f"),
    b"D": (">f8", ">d"),
}
"""Each kind of number as NumPy and as struct call it; all of them are big-endian."""

_DTYPES = {marker: np.dtype(name) for marker, (name, _) in _NUMBERS.items()}
_SCALARS = {marker: struct.Struct(form) for marker, (_, form) in _NUMBERS.items()}
_INTEGERS = frozenset(_DTYPES) - {b"d", b"D"}
_AFTER_A_BRACE = _INTEGERS | {b"#", b"$"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def is_ubjson(content: bytes) -> bool:
    """Tell whether bytes start like a UBJSON object, which no JSON does.

    Parameters
    ----------
    content : bytes
        First bytes of a file, at least two.

    Returns
    -------
    bool
    """
    return content[:1] == b"{" and content[1:2] in _AFTER_A_BRACE


def parse_ubjson(content: bytes) -> dict[str, Any]:
    """Parse an object written as UBJSON.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    dict
        Arrays of numbers of one kind are NumPy arrays; all else is Python's own.

    Raises
    ------
    ModelFormatError
        If the bytes are not one whole object.
    """
    reader = _Reader(content)
    if reader.take(1) != b"{":
        fail("it does not start with an object")
    found = reader.read_object(0)
    if reader.place != len(content):
        fail(f"{len(content) - reader.place} bytes follow the model")
    return found


class _Reader:
    """A place in the bytes; every step forward is checked."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def take(self, n_bytes: int) -> bytes:
        """Give the next bytes and step over them."""
        stop = self.place + n_bytes
        if n_bytes < 0 or stop > len(self.content):
            fail(f"it ends within an entry, after {len(self.content):,} bytes")
        found = self.content[self.place : stop]
        self.place = stop
        return found

    def next_is(self, marker: bytes) -> bool:
        """Step over a marker if it comes next."""
        if self.content[self.place : self.place + 1] != marker:
            return False
        self.place += 1
        return True

    def read_size(self) -> int:
        """Read a length: a marker and an integer that is not negative."""
        marker = self.take(1)
        if marker not in _INTEGERS:
            fail(f"a length starts with {marker!r}")
        scalar = _SCALARS[marker]
        (size,) = scalar.unpack(self.take(scalar.size))
        if size < 0:
            fail(f"a length is {size}")
        return int(size)

    def read_text(self) -> str:
        """Read a length and so many bytes of UTF-8."""
        encoded = self.take(self.read_size())
        try:
            return encoded.decode()
        except UnicodeDecodeError as error:
            fail("a text is not UTF-8", error)

    def read_value(self, depth: int) -> Any:
        """Read one value of any kind."""
        marker = self.take(1)
        while marker == b"N":
            marker = self.take(1)
        if marker == b"{":
            return self.read_object(depth + 1)
        if marker == b"[":
            return self.read_list(depth + 1)
        if marker == b"S":
            return self.read_text()
        if marker in _SCALARS:
            scalar = _SCALARS[marker]
            return scalar.unpack(self.take(scalar.size))[0]
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"C":
            return self.take(1).decode("latin-1")
        fail(f"an entry starts with {marker!r}")

    def read_object(self, depth: int) -> dict[str, Any]:
        """Read an object whose opening brace has been stepped over."""
        if depth > _MAX_DEPTH:
            fail(f"it is nested deeper than {_MAX_DEPTH} levels")
        if self.next_is(b"$"):
            fail("an object holds entries of one kind, which XGBoost does not write")
        left = self.read_size() if self.next_is(b"#") else -1
        found: dict[str, Any] = {}
        while left != 0:
            if left < 0 and self.next_is(b"}"):
                break
            key = self.read_text()
            if key in found:
                fail(f"{key[:40]!r} is there twice")
            found[key] = self.read_value(depth)
            left -= 1
        return found

    def read_list(self, depth: int) -> Any:
        """Read an array whose opening bracket has been stepped over."""
        if depth > _MAX_DEPTH:
            fail(f"it is nested deeper than {_MAX_DEPTH} levels")
        if self.next_is(b"$"):
            marker = self.take(1)
            if marker not in _DTYPES or not self.next_is(b"#"):
                fail(f"an array is of kind {marker!r} or without a length")
            dtype = _DTYPES[marker]
            n_bytes = self.read_size() * dtype.itemsize
            return np.frombuffer(self.take(n_bytes), dtype).astype(
                dtype.newbyteorder("=")
            )
        left = self.read_size() if self.next_is(b"#") else -1
        if left > len(self.content) - self.place:
            fail(f"an array claims {left:,} entries, more than there are bytes left")
        found = []
        while left != 0:
            if left < 0 and self.next_is(b"]"):
                break
            found.append(self.read_value(depth))
            left -= 1
        return found
