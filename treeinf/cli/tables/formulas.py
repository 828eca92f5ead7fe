"""Texts that a spreadsheet would run as formulas, made harmless."""

from __future__ import annotations

import re
from typing import Any

from treeinf.cli.tables.number_texts import is_number

__all__ = ["escape_formula", "escape_frame"]

# = + - @ and their full-width twins, also after blanks, quotes, signs without width
_FORMULA = re.compile(
    r'[\t\r\n]|[\s"\u200b\u2060\ufeff]*[-=+@\uff1d\uff0b\uff0d\uff20]'
)


def escape_formula(text: str) -> str:
    """Put ' before a text that a spreadsheet would run; numbers stay as they are."""
    return "'" + text if _FORMULA.match(text) and not is_number(text) else text


def escape_frame(frame: Any) -> Any:
    """Escape the names and the texts of a pandas frame."""
    escaped = frame.set_axis([escape_formula(str(name)) for name in frame], axis=1)
    for number, kind in enumerate(frame.dtypes):
        if kind.kind not in "biufc":
            values = frame.iloc[:, number].astype(object)
            is_text = values.map(lambda value: isinstance(value, str))
            escaped.isetitem(
                number, values.where(~is_text, values[is_text].map(escape_formula))
            )
    return escaped
