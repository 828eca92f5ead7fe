"""Dates and times as numbers: days since 1970-01-01, hours of a day."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL

__all__ = ["ORDERS", "TextTimes", "is_time", "read_days", "read_order", "scan_texts"]

ORDERS = ("ymd", "dmy", "mdy")
"""Orders of year, month and day in dates that are written in digits."""

_LIKE_TIMES = 0.9  # share of the rows from which on a column looks like times
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_FIRST_YEAR = 69  # of two digits: 69 to 99 are of the last century
_DAY = 86_400.0
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august",
    "september", "october", "november", "december",
)  # fmt: skip
_MONTHS = {
    name[:length]: number
    for number, name in enumerate(_MONTH_NAMES, 1)
    for length in (3, 4 if name == "september" else 3, len(name))
}
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:[.,]\d+)?))?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?"
)
_TAIL = rf"(?:(?:t|,? ){_CLOCK})?(?: ?(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d))?"
_DATES = tuple(
    re.compile(date + _TAIL)
    for date in (
        r"(?P<first>\d{4})(?P<mark>[-/.])(?P<second_>\d\d?)(?P=mark)(?P<third>\d\d?)",
        r"(?P<first>\d\d?)(?P<mark>[-/.])(?P<second_>\d\d?)(?P=mark)"
        r"(?P<third>\d{4}|\d\d)",
        r"(?:[a-z]{3,9},? )?(?P<day>\d\d?)[- .]{0,2}(?P<month>[a-z]{3,9})\.?[- ,]{0,2}"
        r"(?P<year>\d{4}|\d\d)",
        r"(?:[a-z]{6,9},? )?(?P<month>[a-z]{3,9})\.? (?P<day>\d\d?)(?:st|nd|rd|th)?,? "
        r"(?P<year>\d{4})",
        r"(?P<month>[a-z]{3,9})[- ](?P<year>\d{4})",
        r"(?P<year>\d{4})-(?P<number>\d\d)",
        r"(?P<first>(?:19|20)\d\d)(?P<mark>)(?P<second_>\d\d)(?P<third>\d\d)",
    )
)
_SPAN = re.compile(
    r"(?P<hours>\d{1,4}):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d(?:\.\d+)?))?"
)


@dataclasses.dataclass(frozen=True)
class _Date:
    """A date as it is written: its three numbers, or day, month and year.

    Parameters
    ----------
    numbers : tuple of str
        In the order of the text; of day, month and year if `order` is "dmy".
    order : str
        One of `ORDERS`, or "" where it depends on the column.
    mark : str
        Sign between the numbers.
    seconds : float
        Since midnight.
    zone : float or None
        Seconds ahead of UTC.
    """

    numbers: tuple[str, str, str]
    order: str
    mark: str
    seconds: float
    zone: float | None

    def days(self, order: str) -> float | None:
        """Return days since 1970-01-01 on the clock of the text; None for no date."""
        order = self.order or order
        fields = dict(zip(order, self.numbers, strict=True))
        if len(fields["y"]) > 2 and len(fields["y"]) != 4:
            return None
        if max(len(fields["d"]), len(fields["m"])) > 2:
            return None
        year, month, day = (int(fields[name]) for name in "ymd")
        if len(fields["y"]) < 3:
            if len(fields["y"]) != 2:
                return None
            year += 1900 if year >= _FIRST_YEAR else 2000
        try:
            date = datetime.date(year, month, day)
        except ValueError:
            return None
        return date.toordinal() - _EPOCH + self.seconds / _DAY


@dataclasses.dataclass(frozen=True)
class TextTimes:
    """Distinct texts of a column that holds dates or times.

    Parameters
    ----------
    values : dict of str to float
        Days since 1970-01-01, or hours where `is_clock`; of the first of `orders`.
    others : tuple of str
        Texts that are no date or time in that order.
    orders : tuple of str
        Orders of year, month and day in which the texts can be read, each to other
        dates: one if that is certain.
    is_clock : bool
        Whether the texts are times without a date, such as 10:30.
    example : str
        A text that the orders read differently; "" if there is one order.
    """

    values: dict[str, float]
    others: tuple[str, ...]
    orders: tuple[str, ...]
    is_clock: bool
    example: str = ""


def scan_texts(
    counts: Mapping[str, int], orders: Sequence[str] = ORDERS, *, as_utc: bool = False
) -> TextTimes | None:
    """Read the texts of a column as dates or times, where that is what they are.

    Parameters
    ----------
    counts : mapping of str to int
        Number of rows by text, without missing ones.
    orders : sequence of str, default=ORDERS
        Orders of year, month and day to try.
    as_utc : bool, default=False
        Whether times with offsets from UTC become UTC; by default they do only where
        the offsets differ within the column.

    Returns
    -------
    TextTimes or None
        None unless at least 90 % of the rows hold dates or times.

    Examples
    --------
    >>> from treeinf.times import scan_texts
    >>> scan_texts({"31.01.2024": 1, "2.2.2024 12:00": 1}).values
    {'31.01.2024': 19753.0, '2.2.2024 12:00': 19755.5}
    >>> scan_texts({"01/02/2020": 1}).orders
    ('dmy', 'mdy')
    """
    needed = _LIKE_TIMES * sum(counts.values())
    if not needed:
        return None
    hours = {text: value for text in counts if (value := _read_span(text)) is not None}
    if sum(counts[text] for text in hours) >= needed:
        others = tuple(text for text in counts if text not in hours)
        return TextTimes(hours, others, (ORDERS[0],), True)
    dates = {text: date for text in counts if (date := _read_date(text)) is not None}
    if sum(counts[text] for text in dates) < needed:
        return None
    tried = {order: _read_all(dates, order) for order in orders}
    tried = {order: values for order, values in tried.items() if values}
    # what is a date in no order, such as 00/00/0000 or 30.02.2024, says nothing
    real = {text for values in tried.values() for text in values}
    if sum(counts[text] for text in real) < needed:
        return None
    likely = {
        order: values
        for order, values in tried.items()
        if sum(counts[text] for text in values) >= needed
    }
    tried = likely or tried  # else several orders are mixed
    complete = {o: v for o, v in tried.items() if len(v) == len(real)}
    readings = _distinct(complete or tried)
    if not readings:
        return None
    if all(date.mark == "." or date.order for date in dates.values()):
        # with points days come first everywhere
        readings = {o: v for o, v in readings.items() if o == "dmy"} or readings
    first, *rest = readings
    values = _shift(readings[first], dates, as_utc)
    example = next(
        (t for t in real if any(readings[o].get(t) != values.get(t) for o in rest)), ""
    )
    others = tuple(text for text in counts if text not in values)
    return TextTimes(values, others, tuple(readings), False, example)


def _read_all(dates: Mapping[str, _Date], order: str) -> dict[str, float]:
    days = {text: date.days(order) for text, date in dates.items()}
    return {text: day for text, day in days.items() if day is not None}


def _distinct(tried: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Leave out orders that read the same dates as another one."""
    kept: dict[str, dict[str, float]] = {}
    for order, values in tried.items():
        if values not in kept.values():
            kept[order] = values
    return kept


def _shift(
    values: Mapping[str, float], dates: Mapping[str, _Date], as_utc: bool
) -> dict[str, float]:
    """Bring times to UTC, if asked or if their offsets differ."""
    zones = {dates[text].zone for text in values}
    if len(zones) < 2 and not as_utc:
        return dict(values)
    return {t: day - (dates[t].zone or 0.0) / _DAY for t, day in values.items()}


def _read_span(text: str) -> float | None:
    """Return hours; None for no time."""
    plain = text.strip().lower()
    match = re.fullmatch(_CLOCK, plain)
    if match is not None and match["half"]:
        seconds = _clock_seconds(match)
        return None if seconds is None else seconds / 3600.0
    span = _SPAN.fullmatch(plain)
    if span is None:
        return None
    seconds = float(span["second"] or 0.0)
    return int(span["hours"]) + int(span["minute"]) / 60.0 + seconds / 3600.0


def _clock_seconds(match: re.Match[str]) -> float | None:
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"] == "p" else 0)
    if hour > 24:
        return None
    second = float((match["second"] or "0").replace(",", "."))
    return hour * 3600.0 + int(match["minute"]) * 60.0 + second


def _read_date(text: str) -> _Date | None:
    """Take a text apart into the numbers of a date and a time; None if it is none."""
    plain = text.strip().lower()
    for pattern in _DATES:
        match = pattern.fullmatch(plain)
        if match is not None:
            break
    else:
        return None
    fields = match.groupdict()
    seconds: float | None = 0.0
    if fields.get("hour"):
        seconds = _clock_seconds(match)
    if seconds is None:
        return None
    zone = _read_zone(fields.get("zone"))
    if fields.get("first"):
        numbers = (fields["first"], fields["second_"], fields["third"])
        order = "ymd" if len(fields["first"]) == 4 else ""
        return _Date(numbers, order, fields["mark"], seconds, zone)
    month = fields.get("number") or _MONTHS.get(fields.get("month") or "")
    if month is None:
        return None
    numbers = (fields.get("day") or "1", str(month), fields["year"])
    return _Date(numbers, "dmy", "", seconds, zone)


def _read_zone(text: str | None) -> float | None:
    if not text:
        return None
    if text in ("z", "utc", "gmt"):
        return 0.0
    sign = -1.0 if text[0] == "-" else 1.0
    return sign * (int(text[1:3]) * 3600.0 + int(text[-2:]) * 60.0)


def is_time(value: Any) -> bool:
    """Return whether a value is a date, a time of day, a moment or a duration."""
    return isinstance(value, np.datetime64 | np.timedelta64) or hasattr(
        value, "isoformat" if not isinstance(value, datetime.timedelta) else "days"
    )


def read_days(values: Iterable[Any], *, as_utc: bool = False) -> NDArray[np.float64]:
    """Convert dates, moments, times of day and durations to days.

    Parameters
    ----------
    values : iterable
        Objects of `datetime`, NumPy, pandas or polars; None or NaT for missing ones.
    as_utc : bool, default=False
        Whether moments with a time zone become UTC; by default they keep the time of
        their own clock.

    Returns
    -------
    ndarray of float64
        Days since 1970-01-01, or days of a duration; NaN for missing ones.

    Raises
    ------
    TypeError
        If a value is of another kind.

    Examples
    --------
    >>> import datetime
    >>> from treeinf.times import read_days
    >>> read_days([datetime.date(1970, 1, 3), datetime.datetime(1970, 1, 1, 6), None])
    array([2.  , 0.25,  nan])
    """
    return np.array([_read_day(value, as_utc) for value in values], dtype=REAL)


def _read_day(value: Any, as_utc: bool) -> float:
    if value is None or value != value:
        return float("nan")
    if isinstance(value, np.datetime64):
        value = value - np.datetime64(0, "D")
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "D"))
    if isinstance(value, datetime.timedelta):
        return value.total_seconds() / _DAY
    if hasattr(value, "to_timestamp"):  # pandas.Period
        value = value.to_timestamp()
    if not hasattr(value, "isoformat"):
        raise TypeError(f"Got {value!r}; expected a date or a time.")
    days = value.toordinal() - _EPOCH if hasattr(value, "toordinal") else 0
    seconds = 0.0
    if hasattr(value, "hour"):
        seconds = value.hour * 3600.0 + value.minute * 60.0 + value.second
        seconds += value.microsecond / 1e6
        offset = value.utcoffset() if as_utc else None
        if offset is not None:
            seconds -= offset.total_seconds()
    return float(days + seconds / _DAY)


def read_order(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Convert labels of time to numbers that follow each other as the times do.

    Parameters
    ----------
    values : ndarray, shape (n_rows,)
        Numbers, dates, moments, or texts of them.
    name : str
        Name of the argument, for messages.

    Returns
    -------
    ndarray of float64, shape (n_rows,)

    Raises
    ------
    TypeError, ValueError
        If values are missing, are no times, or can be read in several ways.
    """
    values = np.asarray(values)
    if values.dtype.kind in "biuf":
        order = values.astype(REAL)
    elif values.dtype.kind == "M":
        order = (values - np.datetime64(0, "D")) / np.timedelta64(1, "D")
    else:
        order = _read_objects(values, name)
    if not np.isfinite(order).all():
        first = int(np.argmin(np.isfinite(order)))
        raise ValueError(
            f"{name} is missing or infinite in {int((~np.isfinite(order)).sum()):,} "
            f"rows, the first at position {first}; drop these rows, or fill it."
        )
    return np.asarray(order, dtype=REAL)


def _read_objects(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    present = [value for value in values.tolist() if value is not None]
    if all(isinstance(value, int | float) for value in present):
        return np.array([np.nan if v is None else v for v in values.tolist()], REAL)
    if all(is_time(value) or value != value for value in present):
        return read_days(values.tolist(), as_utc=True)
    kinds = sorted({type(value).__name__ for value in present})
    if kinds != ["str"]:
        raise TypeError(
            f"Got {name} of {', '.join(kinds)} values; expected numbers, dates, or "
            "texts of dates."
        )
    texts, code, count = np.unique(values, return_inverse=True, return_counts=True)
    scanned = scan_texts(dict(zip(texts, count.tolist(), strict=True)), as_utc=True)
    if scanned is None or scanned.others:
        other = texts[0] if scanned is None else scanned.others[0]
        raise ValueError(
            f"Got {name} with {str(other)!r}, which is no date that can be read; pass "
            "numbers, datetime64, or dates such as 2024-01-31 10:00."
        )
    if len(scanned.orders) > 1:
        raise ValueError(
            f"Got {name} with {scanned.example!r}, which can be read as "
            f"{' or '.join(scanned.orders)} (day, month, year); pass datetime64, or "
            "dates such as 2024-01-31."
        )
    return np.array([scanned.values[str(text)] for text in texts])[code.reshape(-1)]
