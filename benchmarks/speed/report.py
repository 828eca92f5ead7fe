"""The speed table in Markdown, the picture of growth, and pages that quote them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.bench import Bench, is_installed
from benchmarks.speed.rows import Curve, Row
from benchmarks.speed.runner import DONE, GROUPS, read_bench
from treeinf.plots.growth import plot_growth

__all__ = ["fill_page", "list_lines", "to_markdown", "write_report"]

_COLUMNS = (
    "work",
    "size",
    "measured",
    "to reach",
    "treeinf",
    "against",
    "must move",
)
_SIZE = _COLUMNS.index("size")
_BLOCK = re.compile(
    r"(<!-- bench(?P<names>(?: [a-z]+)*) -->\n).*?(<!-- /bench -->)", re.DOTALL
)


def write_report(out: str | os.PathLike[str]) -> dict[str, Path]:
    """Write bench.md and, where matplotlib is installed, growth.svg beside the record.

    Parameters
    ----------
    out : path-like
        Folder of a run; what was there under these names is replaced.

    Returns
    -------
    dict of str to pathlib.Path
        "markdown", and "growth" if it was drawn.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    """
    folder = Path(out)
    record = read_bench(folder)
    written = {}
    curves = [
        Curve(**facts)
        for group in record["groups"].values()
        for facts in group["curves"]
    ]
    if curves and is_installed("matplotlib"):
        written["growth"] = folder / "growth.svg"
        _draw(curves, written["growth"])
    written["markdown"] = folder / "bench.md"
    text = to_markdown(record)
    if "growth" in written:
        text += "\n![Growth, slopes in brackets](growth.svg)\n"
    written["markdown"].write_text(text, encoding="utf-8")
    return written


def to_markdown(record: Mapping[str, Any]) -> str:
    """Lay a record out: how it was measured, then a table for each group.

    Parameters
    ----------
    record : dict
        What `run_bench` gave.

    Returns
    -------
    str
        Markdown. Groups that were not measured are said to be missing.
    """
    parts = ["# Speed", "", describe(record), ""]
    for name in GROUPS:
        parts += [f"## {GROUPS[name].title}", "", *_lay_out(record, name), ""]
    return "\n".join(parts)


def describe(record: Mapping[str, Any]) -> str:
    """Say in a paragraph how and on what the figures were taken."""
    settings, machine = record["settings"], record["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    text = (
        f"{machine['processor']}; threads of each: {settings['n_jobs']}, on "
        f"{machine['cores']} cores; memory streams at "
        f"{record['bandwidth'] / 1e9:.1f} GB/s. Medians of "
        f"{settings['repeats']} turns or more where nothing else is said, least and "
        "most in brackets (of ratios: those of each turn); Python "
        f"{machine['python']}, {versions}; {machine['date']}."
    )
    spent = sum(group.get("seconds", 0.0) for group in record["groups"].values())
    text += f" It took {spent / 60:.0f} minutes in all."
    if record["load"]:
        text += f" Load of the machine when it began: {record['load'][0]:.1f}."
    if not Bench(**settings).is_full:
        text += (
            f" Sizes are {settings['n_rows'] / 500_000:.3g} of those that targets are "
            "set for: what is to be reached is told, and not judged."
        )
    return text


def list_lines(
    record: Mapping[str, Any], names: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    """List the table, line by line, in the columns that it is printed in.

    Parameters
    ----------
    record : dict
        What `run_bench` gave.
    names : sequence of str, default=()
        Groups; all by default.

    Returns
    -------
    list of tuple of str
        work, size, measured, to reach, treeinf, against, must move.
    """
    is_full = Bench(**record["settings"]).is_full
    return [
        _format(Row.from_json(facts), is_full, record["bandwidth"])
        for name in names or GROUPS
        for facts in record["groups"].get(name, {}).get("rows", [])
    ]


def fill_page(page: str | os.PathLike[str], record: Mapping[str, Any]) -> str:
    """Write the figures of a run into the marked places of a page.

    Parameters
    ----------
    page : path-like
        Markdown with blocks from ``<!-- bench NAME ... -->`` to ``<!-- /bench -->``;
        names are those of groups, none for how it was measured.
    record : dict
        What `run_bench` gave.

    Returns
    -------
    str
        The page as it should be.
    """
    text = Path(page).read_text(encoding="utf-8")

    def fill(found: re.Match[str]) -> str:
        names = found["names"].split()
        lines = [describe(record)] if not names else []
        for name in names:
            lines += _lay_out(record, name)
        return found[1] + "\n" + "\n".join(lines) + "\n\n" + found[3]

    return _BLOCK.sub(fill, text)


def _lay_out(record: Mapping[str, Any], name: str) -> list[str]:
    """Give the table of a group, or why there is none."""
    group = record["groups"].get(name)
    if group is None:
        return ["Not measured in this run."]
    if group["status"] != DONE:
        return [f"{group['status'].capitalize()}: {group['reason']}."]
    lines = list_lines(record, [name])
    sizes = {line[_SIZE] for line in lines}
    # a column that says nothing in this group is left out, and a size of all is said
    kept = [
        number
        for number, _ in enumerate(_COLUMNS)
        if any(line[number] for line in lines) and (number != _SIZE or len(sizes) > 1)
    ]
    head = [f"{sizes.pop()}.", ""] if len(sizes) == 1 and any(sizes) else []
    table = [
        "| " + " | ".join(_COLUMNS[number] for number in kept) + " |",
        "|" + "---|" * len(kept),
    ]
    for line in lines:
        cells = (line[number].replace("|", "\\|") for number in kept)
        table.append("| " + " | ".join(cells) + " |")
    # what several lines share is noted once
    notes: dict[str, list[str]] = {}
    for facts in group["rows"]:
        if facts["note"]:
            notes.setdefault(facts["note"], []).append(facts["work"])
    told = [
        f"- {', '.join(dict.fromkeys(works))}: {note}." for note, works in notes.items()
    ]
    return [*head, *table, *([""] if told else []), *told]


def _format(row: Row, is_full: bool, bandwidth: float) -> tuple[str, ...]:
    if row.figure is None or not math.isfinite(row.figure):
        measured = row.note or "not measured"
    else:
        measured = f"{_number(row.figure)} {row.unit}"
        if row.unit == "exponent":
            measured = f"exponent {row.figure:.2f}"
        if row.low is not None and row.high is not None and row.low < row.high:
            measured += f" ({_number(row.low)} to {_number(row.high)})"
    reach = ""
    if row.reach is not None:
        reach = f"{row.reach.side} {_number(row.reach.bound)}"
        if is_full and row.is_met is not None:
            reach += ": reached" if row.is_met else ": **missed**"
    against = row.peer
    if row.peer_seconds is not None:
        against += f", {_number(row.peer_seconds['median'])} s"
    own = "" if row.seconds is None else f"{_number(row.seconds['median'])} s"
    limit = ""
    if row.must_move is not None and row.seconds is not None:
        least = row.must_move / bandwidth
        limit = f"{_number(least)} s, {row.seconds['median'] / least:.1f} x"
    return row.work, row.size, measured, reach, own, against, limit


def _number(value: float) -> str:
    """Write a number in three digits, and large ones whole."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _draw(curves: Sequence[Curve], path: Path) -> None:
    """Draw one panel for each thing that grows."""
    import matplotlib
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(curve.axis for curve in curves))
    n_lines = -(-len(axes) // 2)
    with matplotlib.rc_context({"svg.hashsalt": "growth", "font.size": 9.5}):
        figure = Figure(figsize=(9.5, 4.8 * n_lines), layout="constrained")
        panels = figure.subplots(n_lines, 2, squeeze=False).ravel()
        for panel in panels[len(axes) :]:
            panel.set_axis_off()
        for axis, panel in zip(axes, panels, strict=False):
            own = [curve for curve in curves if curve.axis == axis]
            plot_growth(
                {curve.name: curve.sizes for curve in own},
                {curve.name: curve.seconds for curve in own},
                x_label=axis,
                slopes={
                    curve.name: curve.slope for curve in own if curve.slope is not None
                },
                peers=[curve.name for curve in own if curve.is_peer],
                ax=panel,
            )
        figure.savefig(path, format="svg", metadata={"Date": None})
