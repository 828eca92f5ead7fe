"""HTML report of a cleaning: actions, gains and all cleaned rows."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from treeinf.cleaning import CleaningReport, Comparison
from treeinf.cleaning.trial.comparison import name_score
from treeinf.reports.drawings import draw_pictures
from treeinf.reports.rows import list_contradictions, list_rows, name_rows

__all__ = ["ComparisonLine", "ReportTable", "render_cleaning", "write_cleaning_report"]

_MOST_SETS = 1_000


@dataclasses.dataclass(frozen=True)
class ComparisonLine:
    """One line of the table of scores before and after cleaning.

    Parameters
    ----------
    where : str
        The rows of the evaluation.
    n_rows : int
        Number of these rows.
    measure : str
        Name of the score or loss.
    before, after : float
        Of the models of all rows and of the cleaned rows.
    gain : float
        Improvement from `before` to `after`; positive is better.
    gain_low, gain_high : float
        Confidence interval of the gain; NaN for none.
    confidence : float
        Confidence level of the interval.
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
    """An additional table for the report.

    Parameters
    ----------
    title : str
        Heading.
    columns : sequence of str
        Column names.
    rows : sequence of sequence of str
        Cells, row by row.
    text : str, default=""
        Text above the table.
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
        File to write.
    cleaner : InfluenceCleaner
        Fitted.
    overwrite : bool, default=False
        Whether to replace an existing file.
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
    X: Any = None,
) -> str:
    """Write the report of a fitted `InfluenceCleaner` as one HTML text.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Fitted.
    title : str
        Title of the page.
    values : tuple of names and rows, optional
        The columns to show of each row in ``suspects_``, in its order.
    comparisons : sequence of ComparisonLine
        Scores on other rows of the caller, shown above those of the guard set.
    tables : sequence of ReportTable
        Further tables.
    is_noisy : array-like of bool, shape (n_train,), optional
        Which rows are known to be wrong, where a test put them there: adds the curve of
        wrong rows found.
    thumbnails : sequence of str, optional
        For each row in ``suspects_`` a picture as a ``data:image/`` address.
    notes : sequence of str
        Sentences below the headline.
    X : frame or array-like, shape (n_train, n_features), optional
        The train rows: adds a picture of how cleaned rows differ from the others.

    Returns
    -------
    str
        Self-contained HTML with a light and a dark theme.

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
        for picture in draw_pictures(cleaner, is_noisy, X)
    ]
    lines = [*comparisons, *_own_comparisons(report)]
    heading = name_rows(cleaner) if report.acted else "cleaned rows"
    return environment.get_template("cleaning.html").render(
        title=title,
        version=__version__,
        headline=report.headline,
        cards=_cards(report, heading, comparisons),
        notes=[*notes, *report.notes],
        comparisons=_group_lines(lines),
        explanations=_explain_lines(report, lines),
        tables=[*_list_contradictions(cleaner), *_list_alternatives(report), *tables],
        pictures=pictures,
        rows=list_rows(cleaner, values, thumbnails),
        facts=_facts(report),
        settings=_settings(report),
    )


def _number(value: float, signed: bool = False) -> str:
    """Format a score: four decimals, or five digits if it is large."""
    if value is None or not math.isfinite(value):
        return "-"
    form = ".4f" if abs(value) < 100.0 else ".5g"
    return f"{value:{'+' if signed else ''}{form}}"


def _cards(
    report: CleaningReport, heading: str, comparisons: Sequence[ComparisonLine]
) -> list[dict[str, str]]:
    share = f"{report.share:.1%}"
    if report.n_scored != report.n_train:
        share += f" of {report.n_scored:,} scored"
    cards = [
        {"name": "train rows", "value": f"{report.n_train:,}"},
        {
            "name": f"{heading.lower()} ({share})",
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
        name = f"{name_score(report.metric)} on unseen rows"
        before, after = report.score_before, report.score_after
    if report.acted and math.isfinite(before) and math.isfinite(after):
        cards.append({"name": name, "value": f"{before:.4g} \u2192 {after:.4g}"})
    if report.noise_rate is not None:
        what = report.target_word
        name, value = f"of the {what} look wrong", f"{report.noise_rate:.0%}"
        low, high = report.noise_rate_low, report.noise_rate_high
        if low == 0.0 and high is not None:
            name, value = f"{name} at most, perhaps none", f"{high:.0%}"
        elif low is not None and high is not None:
            name += f" ({low:.0%} to {high:.0%})"
        cards.append({"name": name, "value": value})
    if report.suspects.n_rows and not report.acted:
        cards.append({"name": "suspects, kept", "value": f"{report.suspects.n_rows:,}"})
    cards.append(
        {
            "name": f"seconds, {report.n_fits:,} models trained",
            "value": f"{report.seconds.get('total', math.nan):.1f}",
        }
    )
    return cards


def _own_comparisons(report: CleaningReport) -> list[ComparisonLine]:
    """Return the lines of the guard set and of the selection set."""
    lines = []
    for where, comparison, primary in (
        ("guard set, not used for scores or selection", report.guard, report.primary),
        ("selection set, which chose the amount", report.choice, None),
    ):
        if comparison is None:
            continue
        if primary is not None:
            lines.append(_score_line(where, primary, is_loss=False))
        # the primary score covers this, with an interval
        if primary is None or primary.metric.lower() != comparison.metric.lower():
            lines.append(
                ComparisonLine(
                    where,
                    comparison.n_rows,
                    name_score(comparison.metric),
                    comparison.score_before,
                    comparison.score_after,
                    comparison.score_after - comparison.score_before,
                )
            )
        lines.append(_score_line(where, comparison, is_loss=True))
    return lines


def _score_line(where: str, comparison: Comparison, *, is_loss: bool) -> ComparisonLine:
    name = name_score(comparison.metric)
    before, after = comparison.score_before, comparison.score_after
    if is_loss:
        name = f"{comparison.loss} (smaller is better)"
        before, after = comparison.loss_before, comparison.loss_after
    return ComparisonLine(
        where,
        comparison.n_rows,
        name,
        before,
        after,
        comparison.gain,
        comparison.gain_low,
        comparison.gain_high,
        comparison.confidence,
    )


def _list_contradictions(cleaner: Any) -> list[ReportTable]:
    """Return the table of equal rows with different labels."""
    sets = list_contradictions(cleaner)
    if not sets:
        return []
    what = cleaner.report_.target_word
    text = (
        f"{cleaner.report_.n_contradicting:,} rows equal others in all columns and "
        f"have other {what}: in each line some of the {what} are wrong, or the columns "
        "do not tell the rows apart. No model is needed to see it."
    )
    if len(sets) > _MOST_SETS:
        text += f" The first {_MOST_SETS:,} of {len(sets):,} sets are shown."
    return [
        ReportTable(
            f"Equal rows with different {what}",
            ["rows", what],
            sets[:_MOST_SETS],
            text,
        )
    ]


def _list_alternatives(report: CleaningReport) -> list[ReportTable]:
    """Return the table of the controls."""
    if not report.alternatives:
        return []
    first = report.alternatives[0]
    columns = [
        "model trained on",
        first.primary.metric,
        "gain",
        first.guard.loss,
        "gain",
    ]
    rows = [
        [
            control.name,
            _number(control.primary.score_after),
            _with_interval(control.primary),
            _number(control.guard.loss_after),
            _with_interval(control.guard),
        ]
        for control in report.alternatives
    ]
    rows[0][2] = rows[0][4] = "-"
    if first.guard.metric.lower() != first.primary.metric.lower():
        columns.append(f"{name_score(first.guard.metric)} (score reported)")
        for row, control in zip(rows, report.alternatives, strict=True):
            row.append(_number(control.guard.score_after))
    text = (
        "Each model is trained with the same settings and evaluated on the same "
        f"{first.guard.n_rows:,} rows, which took no part in any choice. Gains are over"
        f" the model of all rows, with {first.guard.confidence:.0%} intervals; above 0 "
        "is better. Recalibration is fitted on one half of the rows for the other, so "
        f"that the {first.guard.loss} differs a little from the guard's."
    )
    if any(control.key == "appended" for control in report.alternatives):
        text += (
            " Clean rows are appended one half at a time and the other half evaluates. "
            "A cleaning should beat appending them and doing nothing else."
        )
    return [
        ReportTable(
            "Comparison with alternatives",
            columns,
            rows,
            text,
        )
    ]


def _with_interval(comparison: Comparison) -> str:
    low, high = _number(comparison.gain_low, True), _number(comparison.gain_high, True)
    return f"{_number(comparison.gain, True)} ({low} to {high})"


def _group_lines(lines: Sequence[ComparisonLine]) -> list[dict[str, Any]]:
    """Group lines by the rows they were evaluated on."""
    groups: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        heading = f"{line.where}: {line.n_rows:,} rows"
        groups.setdefault(heading, []).append(_format_line(line))
    return [
        {"where": where, "lines": group_lines} for where, group_lines in groups.items()
    ]


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
        "A gain above 0 is an improvement, for losses too. Intervals"
        + (f" ({shown})" if shown else "")
        + " are of the paired difference, row by row; coloured gains are beyond noise."
    ]
    if report.choice is not None:
        texts.append(
            "The selection set overestimates the gain; the guard set does not, but "
            f"their {report.target_word} may be as wrong as those of the train "
            "rows, which makes every model look worse on them than it is."
        )
    return texts


# settings and provenance


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
