"""Numbers as people write them: decimal comma, thousands, currency, per cent."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["NumberColumn", "NumberFormat", "is_number", "list_formats", "scan_column"]

_MARKS = (".", ",")
_GROUPS = (".", ",", " ", "'")
_MOST_DIGITS = 18  # whole numbers of more are identifiers, and would lose digits
_LIKE_NUMBERS = 0.9  # share of the rows from which on a column looks like numbers
_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN"
_CURRENCY = (
    rf"(?:[A-Z]{{0,2}}[$\u00a2-\u00a5\u20a0-\u20c0\uff04\uffe0\uffe1\uffe5]|{_CODES})"
)
_SPELLINGS = str.maketrans(
    {"\u2212": "-", "\u2019": "'", **dict.fromkeys("\u00a0\u2009\u202f", " ")}
)
_CELL = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+]?)(?P<before>{_CURRENCY})? ?(?P<inner>[-+]?)"
    r"(?P<body>[0-9.,][0-9.,' ]*(?:[eE][-+]?[0-9]+)?)"
    rf" ?(?P<after>{_CURRENCY}|%)?(?(open)\))"
)
# what stands where there is no number: neither letters nor digits, or Excel's errors
_PLACEHOLDER = re.compile(r"[\W_]+|#(?:N/A|VALUE!|DIV/0!|REF!|NAME\?|NUM!|NULL!)")


@dataclasses.dataclass(frozen=True)
class NumberFormat:
    """How numbers are written.

    Parameters
    ----------
    decimal : {".", ","}
        Mark before the decimals.
    thousands : {"", ".", ",", " ", "'"}
        Mark between groups of three digits; "" for none.
    """

    decimal: str = "."
    thousands: str = ""

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        mark, group = re.escape(self.decimal), re.escape(self.thousands)
        whole = "[0-9]+"
        if group:
            whole = f"(?:[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+|[0-9]+)"
        exponent = "(?:[eE][-+]?[0-9]+)?"
        return re.compile(f"-?(?:{whole}(?:{mark}[0-9]*)?|{mark}[0-9]+){exponent}")

    def normalize(self, body: str) -> str | None:
        """Return the number as Python writes it; None if this is not its format."""
        if not self._pattern.fullmatch(body):
            return None
        if self.thousands:
            body = body.replace(self.thousands, "")
        return body.replace(self.decimal, ".")

    def __str__(self) -> str:
        text = f"decimal {self.decimal!r}"
        return f"{text}, thousands {self.thousands!r}" if self.thousands else text


@dataclasses.dataclass(frozen=True)
class NumberColumn:
    """Distinct texts of a column, sorted into numbers and others.

    Parameters
    ----------
    bodies : dict of str to str
        Texts that look like numbers, with their signs, digits and marks alone.
    unit : str
        "%", a currency, or "".
    placeholders : tuple of str
        Texts without letters and digits, such as "-" and "?".
    words : tuple of str
        All other texts.
    formats : tuple of NumberFormat
        Those that read the numbers, each to other values: one if it is certain.
    is_numeric : bool
        Whether nearly all rows hold numbers.
    """

    bodies: dict[str, str]
    unit: str
    placeholders: tuple[str, ...]
    words: tuple[str, ...]
    formats: tuple[NumberFormat, ...]
    is_numeric: bool

    @property
    def decimal(self) -> str:
        """The decimal mark that the texts show for certain; "" for none."""
        marks = {form.decimal for form in self.formats}
        mark = marks.pop() if len(marks) == 1 else ""
        return mark if any(mark in body for body in self.bodies.values()) else ""

    def with_decimal(self, decimal: str) -> NumberColumn:
        """Keep the formats with a decimal mark, if there are any."""
        formats = tuple(form for form in self.formats if form.decimal == decimal)
        return dataclasses.replace(self, formats=formats) if formats else self

    @property
    def is_plain(self) -> bool:
        """Whether Python reads the numbers without help."""
        plain = NumberFormat().normalize
        return not self.unit and all(
            text == body and plain(body) is not None
            for text, body in self.bodies.items()
        )

    def normalized(self) -> dict[str, str]:
        """Return each text as Python writes its number; "" for no number."""
        form = self.formats[0]
        texts = dict.fromkeys(self.placeholders, "")
        return texts | {t: form.normalize(b) or "" for t, b in self.bodies.items()}


def list_formats(decimal: str | None, thousands: str | None) -> list[NumberFormat]:
    """Return the formats with a decimal and a thousands mark; None for any."""
    return [
        NumberFormat(mark, group)
        for mark in _MARKS
        for group in ("", *_GROUPS)
        if mark not in (group, thousands)
        and decimal in (None, mark)
        and (not group or thousands in (None, group))
    ]


def is_number(text: str) -> bool:
    """Whether a text is a number in any format."""
    cell = _read_cell(text)
    return cell is not None and any(
        form.normalize(cell[0]) is not None for form in list_formats(None, None)
    )


def scan_column(
    counts: Mapping[str, int], formats: Sequence[NumberFormat]
) -> NumberColumn:
    """Sort the texts of a column, and find in which formats its numbers are.

    Parameters
    ----------
    counts : mapping of str to int
        Number of rows by text, without missing ones.
    formats : sequence of NumberFormat
        Formats to try.
    """
    cells = {text: _read_cell(text) for text in counts}
    units: dict[str, int] = collections.Counter()
    for text, cell in cells.items():
        if cell is not None:
            units[cell[1]] += counts[text]
    # bare numbers go with a currency, not with per cent
    n_bare = units.pop("", 0)
    unit = max(units, key=lambda name: units[name], default="")
    if unit == "%" and units[unit] < n_bare:
        unit = ""
    accepted = {unit} if unit == "%" else {unit, ""}
    bodies = {t: cell[0] for t, cell in cells.items() if cell and cell[1] in accepted}
    valid = _valid_formats(bodies.values(), formats)
    if bodies and not valid:
        best = max(
            formats,
            key=lambda form: sum(
                counts[t] for t, b in bodies.items() if form.normalize(b) is not None
            ),
        )
        bodies = {t: b for t, b in bodies.items() if best.normalize(b) is not None}
        valid = [best]
    rest = [text for text in counts if text not in bodies]
    placeholders = [text for text in rest if _PLACEHOLDER.fullmatch(text.strip())]
    words = [text for text in rest if text not in placeholders]
    n_words = sum(counts[text] for text in words)
    n_numbers = sum(counts[text] for text in bodies)
    return NumberColumn(
        bodies,
        unit,
        tuple(placeholders),
        tuple(words),
        tuple(valid),
        n_numbers > 0 and n_numbers >= _LIKE_NUMBERS * (n_numbers + n_words),
    )


def _valid_formats(
    bodies: Iterable[str], formats: Sequence[NumberFormat]
) -> list[NumberFormat]:
    """Return the formats of all numbers; of those that agree on all values, one."""
    bodies = list(bodies)
    signs = set("".join(bodies))
    values: dict[tuple[str | None, ...], NumberFormat] = {}
    for form in formats:
        if form.thousands and form.thousands not in signs:
            continue
        if any(form.normalize(body) is None for body in bodies):
            continue
        values.setdefault(tuple(form.normalize(body) for body in bodies), form)
    return list(values.values())


def _read_cell(text: str) -> tuple[str, str] | None:
    """Take a text apart into a number and its unit; None if it is none."""
    match = _CELL.fullmatch(text.strip().translate(_SPELLINGS))
    if match is None or not any(sign.isdigit() for sign in match["body"]):
        return None
    if match["body"].strip(".,").isdigit() and len(match["body"]) > _MOST_DIGITS:
        return None
    before, after = match["before"] or "", match["after"] or ""
    signs = match["sign"] + match["inner"]
    if len(signs) > 1 or (before and after) or (match["open"] and signs):
        return None
    is_negative = signs == "-" or bool(match["open"])
    return ("-" if is_negative else "") + match["body"].strip(), before or after
