"""Columns of dates and times, and the numbers that models learn from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.tables.files import Table
from treeinf.cli.tables.identifiers import are_compact_dates, names_time
from treeinf.cli.tables.number_columns import list_names
from treeinf.times import ORDERS, TextTimes, is_time, read_days, scan_texts

__all__ = [
    "TimeColumn",
    "describe_times",
    "find_times",
    "holds_times",
    "read_times",
]

_ORDER_WORDS = {"ymd": "year first", "dmy": "day first", "mdy": "month first"}
_KINDS = ("year", "day_of_year", "weekday", "hour")


@dataclasses.dataclass(frozen=True)
class TimeColumn:
    """How a column of dates or times becomes features.

    Parameters
    ----------
    name : str
        The column.
    order : str
        Order of year, month and day in its texts; "" for values that are no texts.
    is_clock : bool
        Whether it holds times of day or durations, without dates.
    features : dict of str to str
        Names of the features beside the column itself, by kind: those of "year",
        "day_of_year", "weekday" and "hour" that vary in the train rows.
    missing : dict of str to int
        Texts that are no dates and are read as missing, with their number of rows.
    is_certain : bool
        Whether the texts can be read in that order alone.
    """

    name: str
    order: str
    is_clock: bool
    features: Mapping[str, str] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    is_certain: bool = True

    def encode(self, table: Table) -> dict[str, NDArray[np.float64]]:
        """Return the features of some rows, by their names.

        Raises
        ------
        CommandError
            If the column holds no dates here, or they cannot be read in the order of
            the train rows.
        """
        values = self._read(table)
        features = {self.name: values}
        for kind, name in self.features.items():
            features[name] = _take(values, kind)
        return features

    def _read(self, table: Table) -> NDArray[np.float64]:
        column = table.frame[self.name]
        texts: list[str | None] | None
        if self.order == "compact":
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
            texts = [None if value != value else str(int(value)) for value in numbers]
        else:
            texts = _list_texts(column)
        if texts is None:
            values_ = column.astype(object).where(column.notna(), None)
            if not all(value is None or is_time(value) for value in values_):
                raise self._differs(table)
            days = read_days(values_)
            return days * 24.0 if self.is_clock else days
        counts = _count(texts)
        order = self.order if self.order in ORDERS else "ymd"
        scanned = scan_texts(counts, (order,))
        if counts and (scanned is None or scanned.is_clock != self.is_clock):
            raise self._differs(table)
        values = {} if scanned is None else scanned.values
        return np.array([values.get(text or "", np.nan) for text in texts])

    def _differs(self, table: Table) -> CommandError:
        values = table.frame[self.name].dropna().unique()[:2].tolist()
        return CommandError(
            f"Column {self.name!r} holds dates or times in the train rows, and "
            f"{list_names(values)} in {table.path}; write them alike."
        )


def find_times(
    table: Table, columns: Sequence[str], order: str | None = None
) -> dict[str, TimeColumn]:
    """Find the columns that hold dates or times, and how to read them.

    Parameters
    ----------
    table : Table
        The train rows.
    columns : sequence of str
        Columns to look at.
    order : str, optional
        Order of year, month and day where texts leave it open; by default that of the
        table's other dates.

    Raises
    ------
    CommandError
        If dates can be read in several orders.
    """
    scanned: dict[str, TextTimes] = {}
    times: dict[str, TimeColumn] = {}
    for name in columns:
        column = table.frame[name]
        texts = _list_texts(column)
        if texts is not None:
            counts = _count(texts)
            scan = scan_texts(counts)
            if scan is not None:
                scanned[name] = scan
                missing = {text: counts[text] for text in scan.others}
                times[name] = TimeColumn(
                    name, scan.orders[0], scan.is_clock, missing=missing
                )
        elif holds_times(column):
            times[name] = TimeColumn(name, "", _holds_spans(column))
        elif _holds_compact_dates(column):
            times[name] = TimeColumn(name, "compact", False)
    hints = {
        scan.orders[0]
        for scan in scanned.values()
        if len(scan.orders) == 1 and not scan.is_clock
    } - {"ymd"}
    for name, scan in scanned.items():
        if len(scan.orders) == 1:
            continue
        hint = order or (next(iter(hints)) if len(hints) == 1 else "")
        counts = _count(_list_texts(table.frame[name]) or [])
        read = scan_texts(counts, (hint,)) if hint in scan.orders else None
        if read is None:
            raise _ambiguous(table, name, scan, order)
        missing = {text: counts[text] for text in read.others}
        times[name] = dataclasses.replace(
            times[name], order=hint, missing=missing, is_certain=False
        )
    taken = set(table.frame.columns)
    for name, time in times.items():
        features = {}
        for kind in _vary(time, table):
            feature = f"{name}_{kind}"
            while feature in taken:
                feature += "_"
            taken.add(feature)
            features[kind] = feature
        times[name] = dataclasses.replace(time, features=features)
    return times


def read_times(table: Table, name: str) -> NDArray[np.float64]:
    """Read the times of rows, which decide on their order.

    Raises
    ------
    CommandError
        If a value is missing or is neither a number nor a date, or all are the same.
    """
    column = table.frame[name]
    times = find_times(table, [name], table.date_order)
    if name in times:
        values = times[name].encode(table)[name]
    elif column.dtype.kind in "iuf":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        raise CommandError(
            f"--time: column {name!r} of {table.path} holds {column.dtype} values that "
            "are no dates, such as "
            f"{list_names(column.dropna().unique()[:2].tolist())}; expected numbers or "
            "dates."
        )
    is_missing = ~np.isfinite(values)
    if is_missing.any():
        first = int(np.argmax(is_missing))
        raise CommandError(
            f"--time: {name!r} is missing, or no date, in {table.locate(first)}; fill "
            "it or drop such rows."
        )
    if len(np.unique(values)) < 2:
        raise CommandError(f"--time: {name!r} is the same in all rows of {table.path}.")
    return values


def holds_times(column: Any) -> bool:
    """Return whether a column holds dates or times that are no texts."""
    if column.dtype.kind in "mM":
        return True
    if column.dtype.kind in "iufb":
        return False
    first = column.first_valid_index()
    if first is None:
        return False
    return is_time(column[first]) and all(is_time(v) for v in column.dropna())


def _holds_compact_dates(column: Any) -> bool:
    """Return whether numbers such as 20240131 stand in a column named for a time."""
    return (
        column.dtype.kind in "iu"
        and names_time(str(column.name))
        and are_compact_dates(column.dropna().to_numpy(dtype=np.float64))
    )


def describe_times(times: Mapping[str, TimeColumn]) -> Iterator[str]:
    """Yield how dates and times were read: one sentence for each manner."""
    manners: dict[str, list[str]] = {}
    for name, time in times.items():
        what = "hours" if time.is_clock else "days since 1970-01-01"
        if time.features:
            kinds = ", ".join(kind.replace("_", " ") for kind in time.features)
            what += f", with {kinds}"
        order = _ORDER_WORDS.get(time.order, "")
        if order and not time.is_clock:
            what += f"; {order}" + ("" if time.is_certain else ", as told")
        manners.setdefault(what, []).append(name)
    for manner, names in manners.items():
        yield f"Dates or times read as numbers ({manner}): {list_names(names)}."
    for name, time in times.items():
        if time.missing:
            n_rows = sum(time.missing.values())
            yield (
                f"Read as missing: {list_names(list(time.missing))} in {name!r} "
                f"({n_rows:,} row{'' if n_rows == 1 else 's'}), which are no dates."
            )


def _ambiguous(
    table: Table, name: str, scan: TextTimes, order: str | None
) -> CommandError:
    column = table.frame[name].astype(object)
    row = int((column == scan.example).to_numpy(dtype=bool).argmax())
    manners = " or ".join(_ORDER_WORDS[order_] for order_ in scan.orders)
    way = " or ".join(f"--date-order {order_}" for order_ in scan.orders)
    unmet = "" if order is None else f", but not with --date-order {order}"
    return CommandError(
        f"Column {name!r} holds dates that can be read in several ways: "
        f"{scan.example!r} in {table.locate(row)} has the {manners}{unmet}; "
        f"pass {way}, or leave the column out: --drop-columns {name!r}."
    )


def _list_texts(column: Any) -> list[str | None] | None:
    """Return the texts of a column, None where missing; None for other columns."""
    from pandas.api.types import infer_dtype

    kind = infer_dtype(column, skipna=True)
    if kind == "categorical":
        kind = infer_dtype(column.cat.categories, skipna=True)
    if kind != "string":
        return None
    texts: list[str | None] = column.astype(object).where(column.notna(), None).tolist()
    return texts


def _count(texts: Sequence[str | None]) -> dict[str, int]:
    present = np.array([text for text in texts if text is not None], dtype=object)
    names, counts = np.unique(present, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _holds_spans(column: Any) -> bool:
    """Return whether values are times of day or durations, without dates."""
    if column.dtype.kind in "mM":
        return bool(column.dtype.kind == "m")
    return not hasattr(column[column.first_valid_index()], "year")


def _vary(time: TimeColumn, table: Table) -> tuple[str, ...]:
    """Return the kinds of features that differ between rows."""
    if time.is_clock:
        return ()
    values = time._read(table)
    values = values[np.isfinite(values)]
    return tuple(kind for kind in _KINDS if len(np.unique(_take(values, kind))) > 1)


def _take(days: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the year, the day of the year, the weekday or the hour of moments."""
    whole = np.floor(days)
    if kind == "hour":
        # seconds are exact in a float64 of days, but for rounding
        return np.round((days - whole) * 86_400.0, 3) / 3600.0
    if kind == "weekday":
        return (whole + 3.0) % 7.0  # 1970-01-01 was a Thursday; 0 is Monday
    dates = np.where(np.isfinite(whole), whole, 0.0).astype("datetime64[D]")
    years = dates.astype("datetime64[Y]")
    if kind == "year":
        number = years.astype(np.int64) + 1970.0
    else:
        number = (dates - years.astype("datetime64[D]")).astype(np.int64) + 1.0
    return np.where(np.isfinite(days), number, np.nan)
