"""Check the values of a dataclass against the types that it declares."""

from __future__ import annotations

import functools
import math
import numbers
import types
import typing
from typing import Any

import numpy as np

from treeinf.errors import ModelFormatError

__all__ = ["check_types"]


@functools.cache
def _find_types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check_types(record: Any) -> None:
    """Check the fields of a dataclass that may come from a file.

    Parameters
    ----------
    record : dataclass instance
        Fields of numbers, strings, booleans, None, tuples and unions of them. Numbers
        must be finite.

    Raises
    ------
    ModelFormatError
        If a value has another type.
    """
    for name, expected in _find_types(record.__class__).items():
        value = getattr(record, name)
        if not _is(value, expected):
            words = getattr(expected, "__name__", str(expected))
            raise ModelFormatError(f"Got {name}={value!r}; expected {words}.")


def _is(value: Any, expected: Any) -> bool:
    inner = typing.get_args(expected)
    if expected is Any or typing.get_origin(expected) is typing.ClassVar:
        return True
    if isinstance(expected, types.UnionType):
        return any(_is(value, choice) for choice in inner)
    if typing.get_origin(expected) is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is ...:
            return all(_is(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_is, value, inner))
    if expected is bool:
        return isinstance(value, bool | np.bool_)
    if expected in (int, float):
        kind = numbers.Integral if expected is int else numbers.Real
        is_number = isinstance(value, kind) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    return isinstance(value, expected)
