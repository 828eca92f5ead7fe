"""The report of an evaluation: ranks, curves, costs, what failed, what it ran on."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from treeinf.evaluation.cells import CellStore
from treeinf.evaluation.measures import MEASURES
from treeinf.evaluation.ranking import Ranking, rank_table, read_figures
from treeinf.evaluation.runner import RUN_FILE, read_outcomes, read_results
from treeinf.plots.evaluation import plot_measure_curves, plot_ranks
from treeinf.reports.pictures import draw_svg

__all__ = ["write_evaluation_report"]

_MOST_REASONS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class _Table:
    """A table of one ranking."""

    title: str
    text: str
    rows: Sequence[Sequence[str]]
    columns: Sequence[str] = (
        "method",
        "average rank",
        "95 % interval",
        "median figure",
        "better than Random",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Picture:
    """A picture, yet to be drawn."""

    name: str
    title: str
    caption: str
    draw: Callable[[Any], Any]
    size: tuple[float, float] = (6.0, 3.8)


@dataclasses.dataclass(frozen=True, eq=False)
class _Section:
    """One measure."""

    name: str
    text: str
    tables: Sequence[_Table]
    pictures: Sequence[_Picture]


def write_evaluation_report(out: str | os.PathLike[str]) -> dict[str, Path]:
    """Write report.md, its pictures, and report.html into the folder of a run.

    Parameters
    ----------
    out : path-like
        The folder; what was there under these names is replaced.

    Returns
    -------
    dict of str to pathlib.Path
        "markdown" and "html", and each picture by its name.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    ValueError
        If none of its cells is done.
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

    folder = Path(out)
    outcomes = read_outcomes(folder)
    if not (outcomes["status"] == "done").any():
        raise ValueError(f"No cell of the run in {folder} is done.")
    record = CellStore(folder).read_json(RUN_FILE)
    sections = [
        _make_section(folder, name)
        for name in outcomes["measure"].drop_duplicates()
        if ((outcomes["measure"] == name) & (outcomes["status"] == "done")).any()
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("treeinf.reports"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    written: dict[str, Path] = {}
    for section in sections:
        for picture in section.pictures:
            path = folder / f"{picture.name}.svg"
            _save_picture(picture, path)
            written[picture.name] = path
    contents = {
        "title": f"Evaluation {record['suite']}",
        "version": __version__,
        "facts": _list_facts(record, outcomes),
        "sections": sections,
        "trouble": _list_trouble(outcomes),
    }
    written["markdown"] = folder / "report.md"
    written["markdown"].write_text(
        environment.get_template("evaluation.md").render(**contents), encoding="utf-8"
    )
    svgs = {
        picture.name: markupsafe.Markup(
            draw_svg(
                picture.draw,
                name=picture.name,
                description=f"{picture.title}. {picture.caption}",
                size=picture.size,
            )
        )
        for section in sections
        for picture in section.pictures
    }
    page = environment.overlay(autoescape=True).get_template("evaluation.html")
    written["html"] = folder / "report.html"
    written["html"].write_text(page.render(**contents, svgs=svgs), encoding="utf-8")
    return written


def _make_section(folder: Path, name: str) -> _Section:
    measure = MEASURES[name]
    better = "higher" if measure.higher_is_better else "lower"
    frame = read_results(folder, name)
    tables, pictures = [], []
    figures = read_figures(folder, name)
    overall = rank_table(figures, higher_is_better=measure.higher_is_better)
    if overall is not None:
        tables.append(_make_table("All libraries", overall))
        pictures.append(_draw_ranks(name, overall))
    libraries = list(frame["library"].drop_duplicates())
    for library in libraries if len(libraries) > 1 else ():
        ranking = rank_table(
            figures[figures["library"] == library],
            higher_is_better=measure.higher_is_better,
        )
        if ranking is not None:
            tables.append(_make_table(library, ranking))
    if measure.curve:
        pictures.append(_draw_curves(name, frame))
    return _Section(
        name,
        f"Figure of a cell: {measure.title}; {better} is better.",
        tables,
        pictures,
    )


def _make_table(title: str, ranking: Ranking) -> _Table:
    text = f"{ranking.n_cells} cells, {ranking.n_data} data sets."
    if math.isfinite(ranking.critical):
        text += (
            " Average ranks that differ by less than "
            f"{ranking.critical:.2f} (Nemenyi, 5 %) may be alike"
        )
        if math.isfinite(ranking.p_value):
            text += f"; Friedman's test that all are: p = {ranking.p_value:.2g}"
        text += "."
    if ranking.left_out:
        named = ", ".join(f"{k} ({n} cells)" for k, n in ranking.left_out.items())
        text += f" Not ranked, since without a figure in some cells: {named}."
    rows = [
        [
            str(line.method),
            f"{line.rank:.2f}",
            f"{line.rank_low:.2f} to {line.rank_high:.2f}",
            f"{line.figure:.4g}",
            "" if math.isnan(line.beats_random) else f"{line.beats_random:.0%}",
        ]
        for line in ranking.lines.itertuples()
    ]
    return _Table(title, text, rows)


def _draw_ranks(name: str, ranking: Ranking) -> _Picture:
    lines = ranking.lines
    return _Picture(
        f"{name}_ranks",
        f"{name}: average ranks",
        "Dots: mean over data sets; lines: 95 % bootstrap intervals over data sets and "
        "their cells; shade: the critical difference from the best.",
        lambda ax: plot_ranks(
            list(lines["method"]),
            lines["rank"],
            lines["rank_low"],
            lines["rank_high"],
            critical=ranking.critical,
            ax=ax,
        ),
        (6.0, 1.1 + 0.27 * len(lines)),
    )


def _draw_curves(name: str, frame: Any) -> _Picture:
    """Draw each method's mean, brought to the same size in all cells."""
    measure = MEASURES[name]
    cell = ["data", "library", "seed"]
    frame = frame.assign(name=measure.names(frame))
    lines = frame.groupby([*cell, "name", measure.curve], sort=False)[measure.figure]
    means = lines.mean().reset_index()
    largest = means.groupby(cell)[measure.figure].transform(lambda v: v.abs().max())
    means["relative"] = means[measure.figure] / largest.where(largest > 0, 1.0)
    curves = means.groupby(["name", measure.curve], sort=False)["relative"].mean()
    names = list(means["name"].drop_duplicates())
    return _Picture(
        f"{name}_curves",
        f"{name}: {measure.title}",
        "Mean over the cells; in each, 1 is the largest value of any method and share.",
        lambda ax: plot_measure_curves(
            {key: curves[key].sort_index().index.to_numpy() for key in names},
            {key: curves[key].sort_index().to_numpy() for key in names},
            x_label="share of the train rows",
            y_label=f"{measure.title}, relative",
            baselines=[key for key in names if key.startswith("Random")],
            ax=ax,
        ),
        (6.0, 3.6 + 0.2 * math.ceil(len(names) / 3)),
    )


def _save_picture(picture: _Picture, path: Path) -> None:
    """Save a picture as a file of its own, on white."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": picture.name, "font.size": 9.5}):
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure.subplots())
        figure.savefig(path, format="svg", metadata={"Date": None})


def _list_facts(record: dict[str, Any], outcomes: Any) -> list[tuple[str, str]]:
    """List what was run, and on what."""
    counts = outcomes["status"].value_counts()
    last = record["runs"][-1]
    machine, versions = last["machine"], last["versions"]
    kinds = {str(sorted(run["versions"].items())) for run in record["runs"]}
    kinds |= {str(sorted(run["machine"].items())) for run in record["runs"]}
    rows = [
        f"{record[key]} {what} rows" if record[key] else f"all {what} rows"
        for key, what in (("n_train", "train"), ("n_test", "test"))
    ]
    facts = [
        ("cells", ", ".join(f"{n:,} {name}" for name, n in counts.items())),
        ("data sets", ", ".join(outcomes["data"].drop_duplicates())),
        ("rows", f"at most {rows[0]} and {rows[1]} in each cell"),
        ("libraries", ", ".join(outcomes["library"].drop_duplicates())),
        ("seeds", ", ".join(map(str, record["seeds"]))),
        ("time", f"{outcomes['seconds'].sum() / 60:,.1f} minutes, summed over cells"),
        ("machine", f"{machine['processor']}, {machine['cores']} cores"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("versions", ", ".join(f"{name} {v}" for name, v in versions.items())),
    ]
    if len(kinds) > 2:
        facts.append(
            ("mind", "Runs of this folder had different versions or machines.")
        )
    return facts


def _list_trouble(outcomes: Any) -> list[tuple[str, str]]:
    """List why cells have no result, and warnings, the commonest first."""
    lines: Counter[tuple[str, str]] = Counter()
    for line in outcomes.itertuples():
        who = f"{line.library}, {line.method}, {line.measure}"
        if line.reason:
            lines[who, f"{line.status}: {line.reason}"] += 1
        elif line.notes:
            lines[who, line.notes] += 1
    common = lines.most_common()
    shown = [(f"{who} ({n})", text) for (who, text), n in common[:_MOST_REASONS]]
    if len(common) > _MOST_REASONS:
        shown.append(("", f"and {len(common) - _MOST_REASONS:,} more in the cells"))
    return shown
