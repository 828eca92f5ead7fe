"""Table of the cleaned rows in the HTML report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.report.sentences import why_kept

__all__ = ["as_columns", "list_contradictions", "list_rows", "name_rows", "positions"]

MOST_ROWS = 3_000
MOST_COLUMNS = 60
MOST_CELLS = 60_000
_MOST_LETTERS = 80

_OWN_COLUMNS = (
    "row",
    "action",
    "label",
    "suggestion",
    "score",
    "rank",
    "percentile",
    "reason",
)
_FILTERED = ("action", "label", "suggestion")
_MOST_NUMBERS = 20
_DECIMALS = {"score": "{:.4g}", "percentile": "{:.1f}"}


def as_columns(frame: Any) -> dict[str, list[Any]]:
    """Convert a frame of any library, or a dict of lists, to a dict of lists."""
    if isinstance(frame, Mapping):
        return {str(name): list(column) for name, column in frame.items()}
    import narwhals.stable.v2 as nw

    wrapped = nw.from_native(frame, eager_only=True)
    return {name: wrapped[name].to_list() for name in wrapped.columns}


def positions(removed: Any) -> NDArray[np.int64]:
    """Return the positions of the cleaned rows."""
    return np.asarray(as_columns(removed).get("position", []), dtype=np.int64)


def list_contradictions(cleaner: Any) -> list[tuple[str, str]]:
    """Return the rows of each set of equal rows with different labels, and the labels.

    Returns
    -------
    list of tuple of str
        For each set its rows, such as "12, 40, 71", and in their order the labels.
    """
    table = as_columns(cleaner.contradictions_)
    sets: dict[Any, tuple[list[str], list[str]]] = {}
    for number, row, label in zip(
        *(table.get(name, []) for name in ("set", "row", "label")), strict=True
    ):
        rows, labels = sets.setdefault(number, ([], []))
        rows.append(_name_row(row))
        labels.append(str(label))
    return [(", ".join(rows), ", ".join(labels)) for rows, labels in sets.values()]


def name_rows(cleaner: Any) -> str:
    """Return a heading by the actions taken, such as "Removed rows"."""
    if not cleaner.report_.acted:
        why = why_kept(cleaner.report_.verdict, cleaner.report_.evidence)
        return f"Suspects: not removed, because {why}"
    actions = as_columns(cleaner.removed_).get("action") or [cleaner.report_.action]
    done = {
        "relabel": "relabelled",
        "drop": "removed",
        "downweight": "down-weighted",
        "weight": "down-weighted",
    }
    names = list(
        dict.fromkeys(name for action, name in done.items() if action in actions)
    )
    return f"{' and '.join(names)} rows".capitalize()


def list_rows(
    cleaner: Any,
    values: tuple[Sequence[str], Sequence[Sequence[Any]]] | None,
    thumbnails: Sequence[str] | None,
) -> dict[str, Any]:
    """Return the columns and cells of the table of cleaned rows."""
    table = as_columns(cleaner.suspects_)
    n_rows = len(table.get("position", []))
    title = name_rows(cleaner)
    if not n_rows:
        return {"title": title, "text": "None.", "columns": [], "body": []}
    names = [name for name in _OWN_COLUMNS if name in table]
    if len(set(table.get("action", []))) < 2:
        names = [name for name in names if name != "action"]
    columns = {name: table[name] for name in names}
    has_sources = False
    for kind in ("opponent", "helper"):
        sources = [name for name in table if name.startswith(f"{kind}_")]
        if not sources:
            continue
        has_sources = True
        columns[f"{kind}s"] = [
            ", ".join(
                _name_row(table[name][row])
                for name in sources
                if _is_there(table, name, row)
            )
            for row in range(n_rows)
        ]
    feature_names, features = values if values is not None else ((), ())
    feature_names = list(feature_names)[:MOST_COLUMNS]
    width = len(columns) + len(feature_names)
    n_shown = min(n_rows, MOST_ROWS, max(100, MOST_CELLS // width))
    heads = [
        {
            "name": name,
            "numeric": _is_numeric(column),
            "filter": name in _FILTERED and _is_few(column),
        }
        for name, column in columns.items()
    ]
    shown = [[row[column] for row in features] for column in range(len(feature_names))]
    heads += [
        {"name": name, "numeric": _is_numeric(column), "filter": False}
        for name, column in zip(feature_names, shown, strict=True)
    ]
    pictured = thumbnails is not None
    if pictured:
        heads.insert(0, {"name": "picture", "numeric": False, "filter": False})
    body = []
    for row in range(n_shown):
        cells = [_cell(name, column[row]) for name, column in columns.items()]
        cells += [_cell("", column[row]) for column in shown]
        for cell, head in zip(cells, heads[int(pictured) :], strict=True):
            if head["numeric"]:
                cell["kind"] = "number"
        if thumbnails is not None:
            cells.insert(
                0, {**_cell("", ""), "picture": _check_picture(thumbnails[row])}
            )
        body.append(cells)
    report = cleaner.report_
    text = "The rows of the highest scores first. "
    if n_shown < n_rows:
        text = f"The {n_shown:,} of {n_rows:,} rows with the highest scores. "
    wrong = report.suspects.text(report.target_word)
    if wrong:
        text += f"By the estimated noise rate {wrong}. "
    if has_sources:
        text += (
            "Opponents are the train rows that raise the row's loss most, helpers "
            "those that lower it most. "
        )
    if values is not None and len(values[0]) > MOST_COLUMNS:
        text += (
            f"Only the first {MOST_COLUMNS} of {len(values[0]):,} columns are shown. "
        )
    text += (
        "Click a heading to sort; tick rows to export them alone, or export all that "
        "are shown."
    )
    return {"title": title, "text": text, "columns": heads, "body": body}


def _is_there(table: Mapping[str, list[Any]], name: str, row: int) -> bool:
    value = table[name][row]
    return value is not None and value == value


def _name_row(label: Any) -> str:
    """Return a row's label; frames turn integers with missing values into floats."""
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def _is_numeric(column: Sequence[Any]) -> bool:
    """Return whether all present entries are numbers, or texts of numbers."""
    has_number = False
    for value in column:
        if value is None or value == "" or value != value:
            continue
        try:
            float(value)
        except (TypeError, ValueError):
            return False
        has_number = True
    return has_number


def _is_few(column: Sequence[Any]) -> bool:
    """Return whether a column gets a filter: classes do, measured numbers do not."""
    return not _is_numeric(column) or len(set(column)) <= _MOST_NUMBERS


def _cell(name: str, value: Any) -> dict[str, Any]:
    if value is None or value != value:
        return {"text": "", "full": "", "kind": "", "picture": ""}
    if isinstance(value, float | np.floating):
        text = _DECIMALS.get(name, "{:.6g}").format(value)
        # sorting reads the title where there is one
        full = repr(float(value)) if name in _DECIMALS else ""
        return {"text": text, "full": full, "kind": "", "picture": ""}
    text = str(value)
    full = ""
    if name == "reason":
        return {"text": text, "full": "", "kind": "reason", "picture": ""}
    if len(text) > _MOST_LETTERS:
        text, full = text[:_MOST_LETTERS] + "...", text
    return {"text": text, "full": full, "kind": "", "picture": ""}


def _check_picture(address: str) -> str:
    if not address.startswith("data:image/"):
        raise ValueError(
            f"Got thumbnail {address[:40]!r}; expected a data:image/ address."
        )
    return address
