"""Check type, shape and range of the fields of model files.

All parsers read every field through `FieldChecks`, so that a damaged or hostile file
raises a `ModelFormatError` that names the field. No memory is allocated from a size
that a file merely claims.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.errors import ModelFormatError

__all__ = ["FieldChecks", "count_offsets", "shorten"]

_LARGEST = int(np.iinfo(NODE).max)


@dataclasses.dataclass(frozen=True)
class FieldChecks:
    """Checks on the fields of one library's model files.

    In all methods `value` or `values` is the parsed content, and `name` the field's
    name for the error message.

    Parameters
    ----------
    library : str
        Name of the library.
    save : str
        The call that saves a model, for the error message.
    """

    library: str
    save: str = "booster.save_model(path)"

    def fail(self, problem: str, cause: Exception | None = None) -> NoReturn:
        """Raise a `ModelFormatError` about the file."""
        raise ModelFormatError(
            f"This is not a valid {self.library} model: {problem}. Save it again with "
            f"{self.save}."
        ) from cause

    def entry(self, record: Any, name: str, kind: type = Mapping) -> Any:
        """Return a required entry of `record`, which must be of type `kind`."""
        value = record.get(name) if isinstance(record, Mapping) else None
        return self.instance(value, name, kind)

    def instance(self, value: Any, name: str, kind: type = Mapping) -> Any:
        """Return `value`, which must be of type `kind`."""
        if not isinstance(value, kind):
            self.fail(f"{name} is missing or {shorten(value)}")
        return value

    def json_value(self, text: str, name: str) -> Any:
        """Parse JSON text."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            self.fail(f"{name} is not valid JSON", error)

    def integer(self, value: Any, name: str, low: int = 0, high: int = _LARGEST) -> int:
        """Return an integer in [low, high], given as a number or as text."""
        try:
            number = int(value) if isinstance(value, (str, int, np.integer)) else None
        except (ValueError, OverflowError) as error:
            self.fail(f"{name} is {shorten(value)}, not an integer", error)
        if number is None or isinstance(value, bool):
            self.fail(f"{name} is {shorten(value)}, not an integer")
        if not low <= number <= high:
            self.fail(f"{name} is {shorten(value)}, expected {low} to {high}")
        return number

    def number(self, value: Any, name: str) -> float:
        """Return a finite number, given as a number or as text."""
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            self.fail(f"{name} is {shorten(value)}, not a number", error)
        if not math.isfinite(number):
            self.fail(f"{name} is {shorten(value)}, not a finite number")
        return number

    def tokens(self, values: list[str], name: str, dtype: Any) -> NDArray[Any]:
        """Convert strings to a one-dimensional array of `dtype`."""
        convert: Callable[[str], Any] = float if dtype is REAL else int
        try:
            numbers = np.array(
                list(map(convert, values)), REAL if dtype is REAL else OFFSET
            )
        except (TypeError, ValueError, OverflowError) as error:
            self.fail(f"{name} holds an entry that is not a number of its type", error)
        return self._narrow(numbers, name, dtype)

    def array(self, values: Any, name: str, dtype: Any) -> NDArray[Any]:
        """Convert a list or array of numbers to a one-dimensional array of `dtype`.

        Integers have to be within the range of `dtype`, flags 0 or 1.
        """
        if not isinstance(values, (list, np.ndarray)):
            self.fail(f"{name} is {shorten(values)}, not a list")
        if not len(values):
            return np.empty(0, dtype)
        is_real = np.dtype(dtype).kind == "f"
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                if isinstance(values, np.ndarray):
                    numbers = values
                elif set(map(type, values)) <= _numeric_types(is_real):
                    numbers = np.array(values, REAL if is_real else OFFSET)
                else:
                    raise TypeError("an entry is not a number")
                if numbers.dtype.kind not in "biuf" or numbers.ndim != 1:
                    raise TypeError(f"{numbers.dtype} of {numbers.ndim} dimensions")
                if is_real:
                    return numbers.astype(dtype)
                if numbers.dtype.kind == "f":
                    raise TypeError("an entry is not whole")
        except (TypeError, ValueError, OverflowError) as error:
            self.fail(f"{name} holds an entry that is not a number of its type", error)
        return self._narrow(numbers, name, dtype)

    def _narrow(self, numbers: NDArray[Any], name: str, dtype: Any) -> NDArray[Any]:
        """Convert integers to `dtype` if it holds them all."""
        kind = np.dtype(dtype).kind
        if kind == "f" or numbers.dtype == dtype:
            return numbers.astype(dtype, copy=False)
        low, high = (
            (0, 1) if kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        )
        if numbers.size and (numbers.min() < low or numbers.max() > high):
            self.fail(f"{name} holds a number out of range, expected {low} to {high}")
        return numbers.astype(dtype)


def _numeric_types(is_real: bool) -> set[type]:
    return {int, bool, float} if is_real else {int, bool}


def shorten(value: Any) -> str:
    """Return a value, or the type of a container, for an error message."""
    text = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def count_offsets(counts: Any) -> NDArray[np.int64]:
    """Return the offsets of consecutive groups of these sizes, with a final total."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(OFFSET)
