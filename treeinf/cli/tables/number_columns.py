"""Find the columns of a CSV file that hold numbers which pandas does not read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.number_texts import (
    NumberColumn,
    NumberFormat,
    list_formats,
    scan_column,
)

__all__ = ["describe_numbers", "list_names", "read_numbers"]

_PLAIN = NumberFormat()
_MOST_NAMES = 8


def read_numbers(
    frame: Any,
    read_texts: Callable[[], Any],
    formats: Sequence[NumberFormat],
    *,
    locate: Callable[[int], str],
    texts: Sequence[str] = (),
    like: Mapping[str, NumberColumn] | None = None,
) -> dict[str, NumberColumn]:
    """Replace texts by the numbers they are, where that is certain.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table as pandas reads it; changed.
    read_texts : callable
        Reads the same table as texts.
    formats : sequence of NumberFormat
        Formats that numbers may have.
    locate : callable
        Returns where the row at a position is.
    texts : sequence of str
        Columns that are text in any case.
    like : mapping of str to NumberColumn, optional
        The result for the train rows, whose decimal mark is taken where both are
        possible.

    Returns
    -------
    dict of str to NumberColumn
        Columns that were replaced, and those that are numbers but for some words.

    Raises
    ------
    CommandError
        If numbers may be read in two ways, or not in the formats passed.
    """
    from pandas.api.types import infer_dtype

    everything = list_formats(None, None)
    is_free = len(formats) == len(everything)
    sources = {
        name: column
        for name, column in frame.items()
        if name not in texts and infer_dtype(column, skipna=True) == "string"
    }
    columns = {name: _scan(column, formats) for name, column in sources.items()}
    hints = {column.formats[0].decimal for column in (like or {}).values()}
    has_commas = any(
        column.is_numeric and any("," in body for body in column.bodies.values())
        for column in columns.values()
    )
    floats = [name for name, column in frame.items() if column.dtype.kind == "f"]
    if floats and (has_commas or "," in hints or not is_free):
        # as pandas read them, points are decimal; the file may mean thousands
        raw = read_texts()
        sources |= {name: raw[name] for name in floats}
        columns |= {name: _scan(raw[name], formats) for name in floats}
    for name, column in columns.items():
        if not is_free and not column.is_numeric:
            _refuse_other_formats(sources[name], formats, locate)
    columns = {name: column for name, column in columns.items() if column.is_numeric}
    decimals = {column.decimal for column in columns.values()} - {""} or hints
    result = {}
    for name, column in columns.items():
        mark = next(iter(decimals)) if len(decimals) == 1 else ""
        column = column.with_decimal(mark or ("." if name in floats else ""))
        if len(column.formats) > 1:
            text = next(text for text, body in column.bodies.items() if "," in body)
            raise CommandError(
                f"Column {name!r} holds numbers that can be read in two ways: {text!r} "
                f"in {locate(_first(sources[name], text))} has decimals or thousands; "
                "pass --decimal , or --thousands , to tell."
            )
        if name in floats and column.formats[0] == _PLAIN:
            continue
        if not column.words:
            frame[name] = _convert(sources[name], column.normalized())
        result[name] = column
    return result


def _scan(column: Any, formats: Sequence[NumberFormat]) -> NumberColumn:
    counts = column[column.notna()].value_counts()
    return scan_column(dict(zip(counts.index, counts, strict=True)), formats)


def _first(column: Any, text: str) -> int:
    return int((column == text).to_numpy(dtype=bool, na_value=False).argmax())


def _refuse_other_formats(
    column: Any, formats: Sequence[NumberFormat], locate: Callable[[int], str]
) -> None:
    """Refuse a column whose numbers are written in none of the formats passed."""
    other = _scan(column, list_formats(None, None))
    if other.is_numeric:
        text = next(iter(other.bodies))
        raise CommandError(
            f"Column {column.name!r} holds {text!r} in {locate(_first(column, text))}, "
            f"which is no number with {formats[-1]}; change --decimal or --thousands, "
            "or write all numbers alike."
        )


def _convert(column: Any, texts: Mapping[str, str]) -> Any:
    """Read numbers with the parser that reads the other columns."""
    import pandas as pd

    values = pd.read_csv(
        io.StringIO("x\n" + "".join(f"{text}\n" for text in texts.values())),
        skip_blank_lines=False,
    )["x"]
    return column.map(dict(zip(texts, values, strict=True))).astype(
        float if column.isna().any() else values.dtype
    )


def describe_numbers(numbers: Mapping[str, NumberColumn]) -> Iterator[str]:
    """Yield what was found: one sentence for each way to write numbers."""
    groups: dict[str, list[str]] = {}
    for name, column in numbers.items():
        if column.words:
            continue
        form = column.formats[0]
        how = [str(form)] if form != _PLAIN else []
        if column.unit:
            how.append(f"{column.unit!r} left out")
        if column.placeholders:
            how.append(f"{list_names(column.placeholders)} meaning missing")
        groups.setdefault(", ".join(how) or "brackets meaning minus", []).append(name)
    for manner, names in groups.items():
        yield f"Read as numbers, {manner}: {list_names(names)}."


def list_names(names: Sequence[Any], most: int = _MOST_NAMES) -> str:
    """List names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
