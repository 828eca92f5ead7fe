"""Parse UBJSON, the binary form of XGBoost's model files and its default.

Every claimed size is checked against the remaining bytes before anything is allocated;
the running time is linear in the length of the file.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from treeinf.adapters.xgboost import json
from treeinf.adapters.xgboost.files import FIELDS, XGBoostFile

__all__ = ["parse", "parse_object"]

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
"""NumPy and struct formats of each number type; all are big-endian."""

_DTYPES = {marker: np.dtype(name) for marker, (name, _) in _NUMBERS.items()}
_SCALARS = {marker: struct.Struct(form) for marker, (_, form) in _NUMBERS.items()}
_INTEGERS = frozenset(_DTYPES) - {b"d", b"D"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def parse(content: bytes) -> XGBoostFile:
    """Parse a UBJSON model file; see `json.parse`."""
    return json.parse(parse_object(content))


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse an object written as UBJSON.

    Parameters
    ----------
    content : bytes
        The whole file.

    Returns
    -------
    dict
        Typed arrays of numbers are NumPy arrays; everything else is a Python object.

    Raises
    ------
    ModelFormatError
        If the bytes are not exactly one valid object.
    """
    reader = _Reader(content)
    if reader.take(1) != b"{":
        FIELDS.fail("it does not start with an object")
    entries = reader.read_object(0)
    if reader.position != len(content):
        FIELDS.fail(f"{len(content) - reader.position} bytes follow the model")
    return entries


class _Reader:
    """Bounds-checked reader of bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def take(self, n_bytes: int) -> bytes:
        """Return the next bytes and step over them."""
        stop = self.position + n_bytes
        if n_bytes < 0 or stop > len(self.content):
            FIELDS.fail(f"it ends within an entry, after {len(self.content):,} bytes")
        taken = self.content[self.position : stop]
        self.position = stop
        return taken

    def next_is(self, marker: bytes) -> bool:
        """Step over a marker if it comes next."""
        if self.content[self.position : self.position + 1] != marker:
            return False
        self.position += 1
        return True

    def read_size(self) -> int:
        """Read a length: a marker and an integer that is not negative."""
        marker = self.take(1)
        if marker not in _INTEGERS:
            FIELDS.fail(f"a length starts with {marker!r}")
        scalar = _SCALARS[marker]
        (size,) = scalar.unpack(self.take(scalar.size))
        if size < 0:
            FIELDS.fail(f"a length is {size}")
        return int(size)

    def read_text(self) -> str:
        """Read a length and that many bytes of UTF-8."""
        encoded = self.take(self.read_size())
        try:
            return encoded.decode()
        except UnicodeDecodeError as error:
            FIELDS.fail("a text is not UTF-8", error)

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
        FIELDS.fail(f"an entry starts with {marker!r}")

    def read_object(self, depth: int) -> dict[str, Any]:
        """Read an object whose opening brace has been stepped over."""
        if depth > _MAX_DEPTH:
            FIELDS.fail(f"it is nested deeper than {_MAX_DEPTH} levels")
        if self.next_is(b"$"):
            FIELDS.fail("an object is of typed entries, which XGBoost does not write")
        left = self.read_size() if self.next_is(b"#") else -1
        entries: dict[str, Any] = {}
        while left != 0:
            if left < 0 and self.next_is(b"}"):
                break
            key = self.read_text()
            if key in entries:
                FIELDS.fail(f"{key[:40]!r} occurs twice")
            entries[key] = self.read_value(depth)
            left -= 1
        return entries

    def read_list(self, depth: int) -> Any:
        """Read an array whose opening bracket has been stepped over."""
        if depth > _MAX_DEPTH:
            FIELDS.fail(f"it is nested deeper than {_MAX_DEPTH} levels")
        if self.next_is(b"$"):
            marker = self.take(1)
            if marker not in _DTYPES or not self.next_is(b"#"):
                FIELDS.fail(f"an array is of kind {marker!r} or without a length")
            dtype = _DTYPES[marker]
            n_bytes = self.read_size() * dtype.itemsize
            return np.frombuffer(self.take(n_bytes), dtype).astype(
                dtype.newbyteorder("=")
            )
        left = self.read_size() if self.next_is(b"#") else -1
        if left > len(self.content) - self.position:
            FIELDS.fail(f"an array claims {left:,} entries, more than the bytes left")
        values = []
        while left != 0:
            if left < 0 and self.next_is(b"]"):
                break
            values.append(self.read_value(depth))
            left -= 1
        return values
