"""Find the columns that name the rows and so hold nothing to learn from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.tables.files import Table

__all__ = ["Identifiers", "are_compact_dates", "find_identifiers", "names_time"]

_FEWEST_ROWS = 20
_MANY_TEXTS = 100
_MOST_GAPS = 10  # numbers up to this times the rows, for a counter of rows
_SHARE_DISTINCT = 0.95
_UNNAMED = re.compile(r"unnamed: ?\d+(\.\d+)*|level_\d+|rownames?|row\.names|")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LAST = re.compile(
    "ids?|uid|uuid|guid|oid|pk|key|idx|rowid|nr|nbr|no|ref|serial|hash|url|uri|email|"
    "phone|ssn|iban|isbn|vin|imei"
)
_FIRST = re.compile("id|uid|uuid|guid|oid|pk|idx|rowid")
_WHOLE = re.compile("index|ix|rows?|record|num|number|observation|obs|case|sample")
_JOINED = re.compile(
    "(user|customer|client|patient|row|record|order|item|product|account|person|member|"
    "case|sample|student|employee|transaction|session|device|event|visit|loan|policy|"
    "claim|house|household|school|subject|respondent|passenger|object|document|image|"
    "player|team|store|vehicle|invoice|ticket|request|message|post|article|book)(id|no|nr)"
)
_TIME = re.compile(
    "time|timestamp|datetime|date|days?|week|month|quarter|years?|hour|minute|seconds?|"
    "epoch|ts|t|ms|step"
)


@dataclasses.dataclass(frozen=True)
class Identifiers:
    """Columns that hold nothing to learn from, and those that may not.

    Parameters
    ----------
    names : tuple of str
        Columns that name or number the rows.
    texts : dict of str to int
        Columns of texts that differ in most rows, and how many there are.
    numbers : tuple of str
        Columns of different whole numbers that may be a measurement.
    repeated : dict of str to int
        Columns named as identifiers whose values repeat, and how many there are.
    """

    names: tuple[str, ...]
    texts: dict[str, int]
    numbers: tuple[str, ...]
    repeated: dict[str, int]

    @property
    def left_out(self) -> tuple[str, ...]:
        """Columns that are no features by default."""
        return (*self.names, *self.texts)


def find_identifiers(
    table: Table, columns: Sequence[str], *, times: Sequence[str] = ()
) -> Identifiers:
    """Find the columns that name the rows.

    Parameters
    ----------
    table : Table
        The train rows.
    columns : sequence of str
        Columns to look at.
    times : sequence of str
        Those of them that hold dates or times.

    Notes
    -----
    Names of rows are: whole numbers that are all different, ascending or descending,
    and as dense as those of a table of which some rows were left out; whole numbers of
    which 95 % are different in a column whose name says so ("id", "customerID",
    "invoice_no"); and what pandas and R write in front of the first column. Numbers
    with fractions never are. Texts are no categories where they differ in more than
    half of the rows that have one.
    """
    names, numbers, repeated = [], [], {}
    texts: dict[str, int] = {}
    for name in columns:
        if name in times:
            continue
        column = table.frame[name]
        is_first = name == table.frame.columns[0]
        is_index = is_first and _UNNAMED.fullmatch(name.lower()) is not None
        if column.dtype.kind in "iufb":
            values = _whole_numbers(column)
            if values is None:
                continue
            if is_index or _is_named(name):
                n_distinct = len(np.unique(values))
                least = 0.5 if is_index else _SHARE_DISTINCT
                if n_distinct >= least * len(values):
                    if is_index or len(values) >= _FEWEST_ROWS:
                        names.append(name)
                elif n_distinct > max(_FEWEST_ROWS, len(values) // 10):
                    repeated[name] = n_distinct
            elif len(values) == len(column) and _is_counter(values, name, column):
                names.append(name)
            elif len(column) >= _FEWEST_ROWS and len(np.unique(values)) == len(column):
                numbers.append(name)
            continue
        n_distinct = _count_texts(column)
        n_present = int(column.notna().sum())
        if is_index and n_distinct == n_present > 1:
            names.append(name)
        elif n_distinct and (
            n_distinct > max(_MANY_TEXTS, n_present // 2)
            or n_distinct == n_present >= _FEWEST_ROWS
        ):
            texts[name] = n_distinct
        elif n_distinct > max(_FEWEST_ROWS, n_present // 10) and _is_named(name):
            repeated[name] = n_distinct
    return Identifiers(tuple(names), texts, tuple(numbers), repeated)


def _whole_numbers(column: Any) -> NDArray[np.float64] | None:
    """Return the numbers that are present; None if any has a fraction."""
    values: NDArray[np.float64] = column.dropna().to_numpy(dtype=np.float64)
    if not len(values) or column.dtype.kind == "b":
        return None
    is_whole = np.isfinite(values).all() and (values == np.floor(values)).all()
    return values if is_whole else None


def _is_counter(values: NDArray[np.float64], name: str, column: Any) -> bool:
    """Return whether integers follow the rows, with few numbers left out."""
    if len(values) < _FEWEST_ROWS or column.dtype.kind not in "iu":
        return False
    if names_time(name) or are_compact_dates(values):
        return False
    steps = np.diff(values)
    is_monotone = bool((steps > 0).all() or (steps < 0).all())
    return is_monotone and float(np.ptp(values)) <= _MOST_GAPS * len(values)


def are_compact_dates(values: NDArray[np.float64]) -> bool:
    """Return whether all numbers are dates such as 20240131."""
    month, day = values // 100 % 100, values % 100
    year = values // 10_000
    is_date = (year >= 1900) & (year < 2100) & (month >= 1) & (month <= 12)
    return len(values) > 0 and bool((is_date & (day >= 1) & (day <= 31)).all())


def _count_texts(column: Any) -> int:
    """Return the number of distinct texts; 0 if there are other values."""
    from pandas.api.types import infer_dtype

    kind = infer_dtype(column, skipna=True)
    if kind == "categorical":
        kind = infer_dtype(column.cat.categories, skipna=True)
    return int(column.nunique()) if kind == "string" else 0


def names_time(name: str) -> bool:
    """Return whether a column has the name of a time or a date."""
    return any(_TIME.fullmatch(word) for word in _split(name))


def _split(name: str) -> list[str]:
    """Take a name apart at signs and capital letters."""
    return [word.lower() for word in _WORD.findall(name)]


def _is_named(name: str) -> bool:
    """Return whether a column has the name of an identifier."""
    words = _split(name)
    if not words:
        return name.strip() == "#"
    return (
        _LAST.fullmatch(words[-1]) is not None
        or _FIRST.fullmatch(words[0]) is not None
        or (len(words) == 1 and _WHOLE.fullmatch(words[0]) is not None)
        or (words[-1] == "index" and words[0] in ("row", "record", "sample"))
        or _JOINED.fullmatch(words[-1]) is not None
    )
