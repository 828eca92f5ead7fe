"""The report of a cleaning: what was done, what it brought, and every row that went."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treeinf import plots
from treeinf.cleaning.report import CleaningReport, Comparison
from treeinf.reports.pictures import draw_svg

__all__ = ["ComparisonLine", "ReportTable", "render_cleaning", "write_cleaning_report"]

MOST_ROWS = 3_000
MOST_COLUMNS = 60
MOST_CELLS = 60_000
_MOST_LETTERS = 80

_OWN_COLUMNS = ("row", "label", "suggestion", "score", "rank", "percentile", "reason")
_DECIMALS = {"score": "{:.4g}", "percentile": "{:.1f}"}


@dataclasses.dataclass(frozen=True)
class ComparisonLine:
    """One line of the table of scores before and after.

    Parameters
    ----------
    where : str
        The rows that judged.
    n_rows : int
        How many.
    measure : str
        Name of the score or loss.
    before, after : float
        Of the model of all rows, and of the cleaned rows.
    gain : float
        How much better `after` is: positive whenever it is better.
    gain_low, gain_high : float
        Ends of the interval of the gain; NaN for none.
    confidence : float
        Its confidence.
    """

    where: str
    n_rows: int
    measure: str
    before: float
    after: float
    gain: float
    gain_low: float = math.nan
    gain_high: float = math.nan
    confidence: float = math.nan


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """A small table of the caller's own.

    Parameters
    ----------
    title : str
        What it shows.
    columns : sequence of str
        Names of its columns.
    rows : sequence of sequence of str
        Its cells.
    text : str, default=""
        A sentence above it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""


def write_cleaning_report(
    path: str | os.PathLike[str],
    cleaner: Any,
    *,
    overwrite: bool = False,
    **contents: Any,
) -> None:
    """Write the report of a fitted `InfluenceCleaner` as an HTML file.

    Parameters
    ----------
    path : path-like
        The file.
    cleaner : InfluenceCleaner
        Fitted.
    overwrite : bool, default=False
        Whether a file that exists may be replaced.
    **contents
        See `render_cleaning`.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    ImportError
        If jinja2 or matplotlib is not installed.
    """
    text = render_cleaning(cleaner, **contents)
    with Path(path).open("w" if overwrite else "x", encoding="utf-8") as file:
        file.write(text)


def render_cleaning(
    cleaner: Any,
    *,
    title: str = "Cleaning of training rows",
    values: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None,
    comparisons: Sequence[ComparisonLine] = (),
    tables: Sequence[ReportTable] = (),
    is_noisy: ArrayLike | None = None,
    thumbnails: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Write the report of a fitted `InfluenceCleaner` as one HTML text.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Fitted.
    title : str
        Title of the page.
    values : tuple of names and rows, optional
        The columns to show of each row in ``removed_``, in its order.
    comparisons : sequence of ComparisonLine
        Scores on rows of the caller's own, above those of the guard.
    tables : sequence of ReportTable
        Further tables.
    is_noisy : array-like of bool, shape (n_train,), optional
        Which rows are known to be wrong, where a test put them there: adds the curve of
        wrong rows found.
    thumbnails : sequence of str, optional
        For each row in ``removed_`` a picture as a ``data:image/`` address.
    notes : sequence of str
        Sentences below the headline.

    Returns
    -------
    str
        HTML that needs no other file and no network, in light and dark.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is not installed.
    """
    try:
        import jinja2
        import markupsafe
    except ImportError as error:
        raise ImportError(
            "Reports need jinja2 and matplotlib; pip install 'treeinf[plot]'."
        ) from error
    from treeinf import __version__

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("treeinf.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    report: CleaningReport = cleaner.report_
    pictures = [
        {**picture, "svg": markupsafe.Markup(picture["svg"])}
        for picture in _draw(cleaner, is_noisy)
    ]
    lines = [*comparisons, *_own_comparisons(report)]
    return environment.get_template("cleaning.html").render(
        title=title,
        version=__version__,
        headline=report.headline,
        cards=_cards(report, comparisons),
        notes=[*notes, *report.notes],
        comparisons=_group_lines(lines),
        explanations=_explain_lines(report, lines),
        tables=tables,
        pictures=pictures,
        rows=_list_rows(cleaner, values, thumbnails),
        facts=_facts(report),
        settings=_settings(report),
    )


def _number(value: float, signed: bool = False) -> str:
    """Write a score: four decimals, or four digits where it is large."""
    if value is None or not math.isfinite(value):
        return "-"
    form = ".4f" if abs(value) < 100.0 else ".5g"
    return f"{value:{'+' if signed else ''}{form}}"


def _cards(
    report: CleaningReport, comparisons: Sequence[ComparisonLine]
) -> list[dict[str, str]]:
    done = {"drop": "removed", "relabel": "relabelled", "downweight": "down-weighted"}
    share = f"{report.share:.1%}"
    if report.n_scored != report.n_train:
        share += f" of {report.n_scored:,} scored"
    cards = [
        {"name": "train rows", "value": f"{report.n_train:,}"},
        {
            "name": f"rows {done.get(report.action, 'cleaned')} ({share})",
            "value": f"{report.n_removed:,}",
        },
    ]
    if comparisons:
        first = comparisons[0]
        name, before, after = (
            f"{first.measure}, {first.where}",
            first.before,
            first.after,
        )
    else:
        name = f"{report.metric} on unseen rows"
        before, after = report.score_before, report.score_after
    if report.acted and math.isfinite(before) and math.isfinite(after):
        cards.append({"name": name, "value": f"{before:.4g} \u2192 {after:.4g}"})
    if report.estimated_bad_share is not None:
        cards.append(
            {
                "name": "of the labels look wrong, a rough estimate",
                "value": f"{report.estimated_bad_share:.0%}",
            }
        )
    cards.append(
        {
            "name": f"seconds, {report.n_fits:,} models trained",
            "value": f"{report.seconds.get('total', math.nan):.1f}",
        }
    )
    return cards


def _own_comparisons(report: CleaningReport) -> list[ComparisonLine]:
    """Give the lines of the guard and of the choice."""
    lines = []
    for where, found in (
        ("guard, unseen by scores and choice", report.guard),
        ("rows that chose the amount", report.choice),
    ):
        if found is None:
            continue
        lines.append(
            ComparisonLine(
                where,
                found.n_rows,
                found.metric,
                found.score_before,
                found.score_after,
                found.score_after - found.score_before,
            )
        )
        lines.append(_loss_line(where, found))
    return lines


def _loss_line(where: str, found: Comparison) -> ComparisonLine:
    return ComparisonLine(
        where,
        found.n_rows,
        f"{found.loss} (smaller is better)",
        found.loss_before,
        found.loss_after,
        found.gain,
        found.gain_low,
        found.gain_high,
        found.confidence,
    )


def _group_lines(lines: Sequence[ComparisonLine]) -> list[dict[str, Any]]:
    """Put lines of the same rows under one heading."""
    groups: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        heading = f"{line.where}: {line.n_rows:,} rows"
        groups.setdefault(heading, []).append(_format_line(line))
    return [{"where": where, "lines": found} for where, found in groups.items()]


def _format_line(line: ComparisonLine) -> dict[str, str]:
    interval = "-"
    if math.isfinite(line.gain_low) and math.isfinite(line.gain_high):
        low, high = _number(line.gain_low, True), _number(line.gain_high, True)
        interval = f"{low} to {high}"
    kind = ""
    if line.gain_low > 0.0:
        kind = "good"
    elif line.gain_high < 0.0:
        kind = "bad"
    return {
        "measure": line.measure,
        "before": _number(line.before),
        "after": _number(line.after),
        "gain": _number(line.gain, signed=True),
        "interval": interval,
        "kind": kind,
    }


def _explain_lines(
    report: CleaningReport, lines: Sequence[ComparisonLine]
) -> list[str]:
    if not lines:
        return []
    levels = sorted(
        {line.confidence for line in lines if math.isfinite(line.confidence)}
    )
    shown = " and ".join(f"{level:.0%}" for level in levels)
    texts = [
        "A gain above 0 is for the better, for losses too. Intervals"
        + (f" ({shown})" if shown else "")
        + " are of the paired difference, row by row; a gain in colour is beyond noise."
    ]
    if report.choice is not None:
        texts.append(
            "The rows that chose the amount flatter it; the guard's rows do not, but "
            "their labels may be as wrong as those of the train rows, which makes "
            "every model look worse on them than it is."
        )
    return texts


# pictures


def _draw(cleaner: Any, is_noisy: ArrayLike | None) -> list[dict[str, str]]:
    report: CleaningReport = cleaner.report_
    scores = np.asarray(cleaner.scores_, dtype=np.float64)
    cleaned = np.zeros(len(scores), dtype=bool)
    cleaned[_positions(cleaner.removed_)] = True
    pictures = []
    history = [entry for entry in cleaner.history_ if math.isfinite(entry["share"])]
    if len(history) > 2:
        pictures.append(_draw_amounts(history, report))
    shown = "Bars count train rows on a logarithmic axis"
    pictures.append(
        _picture(
            "score-distribution",
            "Scores of the train rows",
            f"{shown}; colour marks rows that were cleaned."
            if cleaned.any()
            else f"{shown}; no row was cleaned.",
            lambda ax: plots.plot_score_distribution(
                scores, cleaned, label=f"score by {report.method!r}", ax=ax
            ),
        )
    )
    if is_noisy is not None:
        truth = np.asarray(is_noisy, dtype=bool)
        n_cleaned = int(cleaned.sum())
        pictures.append(
            _picture(
                "detection",
                "Known wrong rows found",
                "The rows are checked from the most suspect down.",
                lambda ax: plots.plot_detection_curve(
                    scores, truth, n_checked=n_cleaned, ax=ax
                ),
            )
        )
    return pictures


def _draw_amounts(
    history: Sequence[Mapping[str, Any]], report: CleaningReport
) -> dict[str, str]:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([entry[name] for entry in history], dtype=np.float64)

    chosen = [entry["share"] for entry in history if entry["chosen"]]
    loss = "loss" if report.choice is None else report.choice.loss
    return _picture(
        "amount",
        "What each amount brought",
        f"Retrained for each amount, gain in {loss} on the rows that choose. The "
        "smallest amount that does as well as the best is chosen; the guard then "
        "judges it on other rows.",
        lambda ax: plots.plot_amount_curve(
            column("share"),
            column("gain"),
            column("gain_low"),
            column("gain_high"),
            chosen=chosen[0] if chosen and chosen[0] > 0 else None,
            label="gain over no cleaning",
            ax=ax,
        ),
    )


def _picture(
    name: str, title: str, caption: str, draw: Callable[[Any], Any]
) -> dict[str, str]:
    svg = draw_svg(draw, name=name, description=f"{title}. {caption}")
    return {"title": title, "caption": caption, "svg": svg}


# rows


def _as_columns(frame: Any) -> dict[str, list[Any]]:
    """Bring a frame of any library, or a dict of lists, to a dict of lists."""
    if isinstance(frame, Mapping):
        return {str(name): list(column) for name, column in frame.items()}
    import narwhals.stable.v2 as nw

    wrapped = nw.from_native(frame, eager_only=True)
    return {name: wrapped[name].to_list() for name in wrapped.columns}


def _positions(removed: Any) -> NDArray[np.int64]:
    return np.asarray(_as_columns(removed).get("position", []), dtype=np.int64)


def _list_rows(
    cleaner: Any,
    values: tuple[Sequence[str], Sequence[Sequence[Any]]] | None,
    thumbnails: Sequence[str] | None,
) -> dict[str, Any]:
    """Lay out the table of cleaned rows."""
    report: CleaningReport = cleaner.report_
    own = _as_columns(cleaner.removed_)
    n_rows = len(own.get("position", []))
    done = {"drop": "Removed", "relabel": "Relabelled", "downweight": "Down-weighted"}
    title = f"{done.get(report.action, 'Cleaned')} rows"
    if not n_rows:
        return {"title": title, "text": "None.", "columns": [], "body": []}
    names = [name for name in _OWN_COLUMNS if name in own]
    opponents = [name for name in own if name.startswith("opponent_")]
    columns = {name: own[name] for name in names}
    if opponents:
        columns["opponents"] = [
            ", ".join(
                _name_row(own[name][row])
                for name in opponents
                if _is_there(own, name, row)
            )
            for row in range(n_rows)
        ]
    feature_names, features = values if values is not None else ((), ())
    feature_names = list(feature_names)[:MOST_COLUMNS]
    width = len(columns) + len(feature_names)
    n_shown = min(n_rows, MOST_ROWS, max(100, MOST_CELLS // width))
    heads = [
        {"name": name, "numeric": _is_numeric(column)}
        for name, column in columns.items()
    ]
    shown = [[row[place] for row in features] for place in range(len(feature_names))]
    heads += [
        {"name": name, "numeric": _is_numeric(column)}
        for name, column in zip(feature_names, shown, strict=True)
    ]
    pictured = thumbnails is not None
    if pictured:
        heads.insert(0, {"name": "picture", "numeric": False})
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
    text = "The most suspect first. "
    if n_shown < n_rows:
        text = f"The {n_shown:,} most suspect of {n_rows:,}. "
    if opponents:
        text += "Opponents are the train rows that speak most against the row. "
    if values is not None and len(values[0]) > MOST_COLUMNS:
        text += (
            f"Only the first {MOST_COLUMNS} of {len(values[0]):,} columns are shown. "
        )
    text += "Click a heading to sort."
    return {"title": title, "text": text, "columns": heads, "body": body}


def _is_there(own: Mapping[str, list[Any]], name: str, row: int) -> bool:
    value = own[name][row]
    return value is not None and value == value


def _name_row(label: Any) -> str:
    """Write a row's label; frames turn whole numbers with gaps into floats."""
    is_whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if is_whole else label)


def _is_numeric(column: Sequence[Any]) -> bool:
    """Whether all entries that are there are numbers, or texts of numbers."""
    found = False
    for value in column:
        if value is None or value == "" or value != value:
            continue
        try:
            float(value)
        except (TypeError, ValueError):
            return False
        found = True
    return found


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


# how it was made


def _facts(report: CleaningReport) -> list[tuple[str, str]]:
    seed = "none given" if report.random_state is None else str(report.random_state)
    times = ", ".join(f"{name} {t:.2f} s" for name, t in report.seconds.items())
    return [
        ("verdict", report.verdict),
        ("scores", report.method),
        ("action", report.action),
        ("task", report.task),
        ("seed", seed),
        ("time", times),
        ("versions", ", ".join(f"{k} {v}" for k, v in report.versions.items())),
    ]


def _settings(report: CleaningReport) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {"Settings of the cleaning": {}}
    for name, value in report.settings.items():
        if isinstance(value, Mapping):
            groups[name.replace("_", " ").capitalize()] = dict(value)
        else:
            groups["Settings of the cleaning"][name] = value
    return [
        {"title": title, "pairs": [(str(k), str(v)) for k, v in group.items()]}
        for title, group in groups.items()
        if group
    ]
