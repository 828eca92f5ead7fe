"""Report of an evaluation: ranks, curves, costs, failures and the machine."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from treeinf.datasets import available, describe
from treeinf.evaluation.cells import CellStore
from treeinf.evaluation.measures.registry import MEASURES
from treeinf.evaluation.ranking import (
    Ranking,
    list_figures,
    rank_table,
    read_complete,
)
from treeinf.evaluation.run import RUN_FILE, read_outcomes
from treeinf.plots.evaluation import plot_measure_curves, plot_ranks
from treeinf.reports.pictures import draw_svg

__all__ = ["write_evaluation_report"]

_MOST_REASONS = 20
_CELL = ["data", "library", "seed"]


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
        "behind the best",
        "median figure",
        "better than Random",
        "CPU ms",
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
    ranking: Ranking | None


def write_evaluation_report(
    out: str | os.PathLike[str], to: str | os.PathLike[str] | None = None
) -> dict[str, Path]:
    """Write the report of a run: Markdown and its pictures, and HTML or figures.

    Parameters
    ----------
    out : path-like
        Folder of the run.
    to : path-like, optional
        Beginning of the names of the files, such as ``results/evaluation``: writes
        evaluation.md, evaluation_*.svg and evaluation.parquet, the figures of all cells
        that the tables are made of. None for report.md, its pictures and report.html in
        the folder of the run. Existing files of these names are replaced.

    Returns
    -------
    dict of str to pathlib.Path
        "markdown", and "html" or "figures", and each picture by its name.

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
    frames = {}
    for name in outcomes["measure"].drop_duplicates():
        frame = read_complete(folder, name)
        if len(frame):
            frames[name] = frame
    sections = [_make_section(name, frame) for name, frame in frames.items()]
    start = folder / "report" if to is None else Path(to)
    start.parent.mkdir(parents=True, exist_ok=True)
    prefix = "" if to is None else f"{start.name}_"
    written: dict[str, Path] = {}
    for section in sections:
        for picture in section.pictures:
            path = start.with_name(f"{prefix}{picture.name}.svg")
            _save_picture(picture, path)
            written[picture.name] = path
    contents = {
        "title": f"Evaluation {record['suite']}",
        "version": __version__,
        "facts": _list_facts(record, outcomes),
        "summary": _summarise(sections),
        "sections": sections,
        "trouble": _list_trouble(outcomes),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("treeinf.reports"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    written["markdown"] = start.with_name(f"{start.name}.md")
    written["markdown"].write_text(
        environment.get_template("evaluation.md").render(**contents, prefix=prefix),
        encoding="utf-8",
    )
    if to is None:
        written["html"] = start.with_name(f"{start.name}.html")
        _write_page(environment, contents, written["html"])
    else:
        written["figures"] = start.with_name(f"{start.name}.parquet")
        _write_figures(frames, written["figures"])
    return written


def _write_page(environment: Any, contents: dict[str, Any], path: Path) -> None:
    """Write the page with embedded pictures."""
    import markupsafe

    svgs = {
        picture.name: markupsafe.Markup(
            draw_svg(
                picture.draw,
                name=picture.name,
                description=f"{picture.title}. {picture.caption}",
                size=picture.size,
            )
        )
        for section in contents["sections"]
        for picture in section.pictures
    }
    page = environment.overlay(autoescape=True).get_template("evaluation.html")
    path.write_text(page.render(**contents, svgs=svgs), encoding="utf-8")


def _write_figures(frames: dict[str, Any], path: Path) -> None:
    """Write the data of the tables: means over the test rows of each cell."""
    import pandas as pd

    tables = []
    measured = {"cpu_seconds"}
    for name, frame in frames.items():
        measure = MEASURES[name]
        frame = frame.assign(method=measure.names(frame))
        keys = (*_CELL, "method", measure.curve, *measure.keep)
        by = [column for column in keys if column and column in frame]
        figure_columns = dict.fromkeys((measure.figure, *measure.details))
        frame[measure.figure] = frame[measure.figure].fillna(measure.missing)
        measured |= set(figure_columns)
        means = frame.groupby(by, sort=False)[list(figure_columns)].mean()
        if "cpu_seconds" in frame:
            means["cpu_seconds"] = frame.groupby(by, sort=False)["cpu_seconds"].first()
        table = means.reset_index()
        table.insert(0, "measure", name)
        tables.append(table)
    figures = pd.concat(tables, ignore_index=True)
    # halves the size; the figures are not accurate beyond float32
    small = {name: "float32" for name in figures.columns if name in measured}
    figures = figures.astype(small)
    figures.to_parquet(path, index=False, compression="zstd")


def _make_section(name: str, frame: Any) -> _Section:
    measure = MEASURES[name]
    better = "higher" if measure.higher_is_better else "lower"
    upwards = {"higher_is_better": measure.higher_is_better}
    tables, pictures = [], []
    figures = list_figures(frame, name)
    overall = rank_table(figures, **upwards)
    if overall is not None:
        tables.append(_make_table("All libraries", overall))
        pictures.append(_draw_ranks(name, overall))
    for title, rows in _split_by_task(figures):
        ranking = rank_table(figures[rows], **upwards)
        if ranking is not None:
            tables.append(_make_table(title, ranking))
    if measure.curve:
        tables += _compare_shares(name, frame)
        pictures.append(_draw_curves(name, frame))
    if measure.details:
        tables += _describe_details(name, frame)
    libraries = list(frame["library"].drop_duplicates())
    for library in libraries if len(libraries) > 1 else ():
        ranking = rank_table(figures[figures["library"] == library], **upwards)
        if ranking is not None:
            tables.append(_make_table(library, ranking))
    return _Section(
        name,
        f"Figure of a cell: {measure.title}; {better} is better.",
        tables,
        pictures,
        overall,
    )


def _summarise(sections: Sequence[_Section]) -> list[_Table]:
    """Tabulate the average ranks of all measures that rank the same methods."""
    lines_by_measure = {
        section.name: section.ranking.lines.set_index("method")
        for section in sections
        if section.ranking is not None and not MEASURES[section.name].split_by
    }
    if len(lines_by_measure) < 2:
        return []
    first, *others = lines_by_measure.values()
    methods = [m for m in first.index if all(m in lines.index for lines in others)]
    methods.sort(
        key=lambda m: sum(lines.loc[m, "rank"] for lines in lines_by_measure.values())
    )
    rows = [
        [
            method,
            *(_show_rank(lines.loc[method]) for lines in lines_by_measure.values()),
            _show_milliseconds(first.loc[method, "cpu_seconds"]),
        ]
        for method in methods
    ]
    return [
        _Table(
            "In short",
            "Average ranks, with 95 % intervals; sorted by their sum. CPU ms: of "
            f"{next(iter(lines_by_measure))}.",
            rows,
            ("method", *lines_by_measure, "CPU ms"),
        )
    ]


def _show_rank(line: Any) -> str:
    return f"{line['rank']:.1f} ({line['rank_low']:.1f} to {line['rank_high']:.1f})"


def _split_by_task(figures: Any) -> list[tuple[str, Any]]:
    """Split cells into classification and regression, where all data sets are known."""
    names = set(figures["data"])
    if not names <= set(available()):
        return []
    values = {name for name in names if describe(name).task == "regression"}
    if not values or values == names:
        return []
    is_value = figures["data"].isin(values)
    return [("Data sets of classes", ~is_value), ("Data sets of values", is_value)]


def _compare_shares(name: str, frame: Any) -> list[_Table]:
    """Rank separately at each share of the rows."""
    measure = MEASURES[name]
    shares = sorted(frame[measure.curve].drop_duplicates())
    ranked = {}
    for share in shares:
        figures = list_figures(frame, name, at=share)
        ranking = rank_table(figures, higher_is_better=measure.higher_is_better)
        if ranking is not None:
            ranked[share] = ranking.lines.set_index("method")
    if len(ranked) < 2:
        return []
    methods = [
        m
        for m in next(iter(ranked.values())).index
        if all(m in f.index for f in ranked.values())
    ]
    rows = [
        [
            method,
            *(_show_rank(lines.loc[method]) for lines in ranked.values()),
        ]
        for method in methods
    ]
    return [
        _Table(
            "Average rank at each share of the rows",
            "In brackets: 95 % intervals. Sorted by the first share.",
            rows,
            ("method", *(f"{share:g}" for share in ranked)),
        )
    ]


def _describe_details(name: str, frame: Any) -> list[_Table]:
    """Describe other columns for each value of the columns in `Measure.keep`."""
    measure = MEASURES[name]
    frame = frame.assign(method=measure.names(frame))
    kinds: list[tuple[str, Any]] = [("", frame)]
    for column in measure.keep:
        if column in frame:
            kinds = [(f", {key}", group) for key, group in frame.groupby(column)]
    tables = []
    for kind, group in kinds:
        # median over a cell's test rows, then over cells
        cells = group.groupby([*_CELL, "method"], sort=False)[list(measure.details)]
        methods = cells.median().groupby("method", sort=False)
        low, middle, high = (methods.quantile(q) for q in (0.25, 0.5, 0.75))
        order = middle[measure.figure].sort_values(
            ascending=not measure.higher_is_better, kind="stable"
        )
        rows = [
            [
                method,
                *(
                    f"{middle.loc[method, column]:.3g} ({low.loc[method, column]:.2g} "
                    f"to {high.loc[method, column]:.2g})"
                    for column in measure.details
                ),
            ]
            for method in order.index
        ]
        tables.append(
            _Table(
                f"In numbers{kind}",
                "Medians over the cells, each the median of its lines; in brackets the "
                f"quartiles of the cells. {measure.note}".rstrip(),
                rows,
                ("method", *measure.details),
            )
        )
    return tables


def _make_table(title: str, ranking: Ranking) -> _Table:
    text = f"{ranking.n_cells} cells, {ranking.n_data} data sets."
    if math.isfinite(ranking.critical):
        text += (
            " Average ranks that differ by less than "
            f"{ranking.critical:.2f} (Nemenyi, 5 %) are not significantly different"
        )
        if math.isfinite(ranking.p_value):
            text += f"; Friedman's test of equal methods: p = {ranking.p_value:.2g}"
        text += "."
    if ranking.left_out:
        named = ", ".join(f"{k} ({n} cells)" for k, n in ranking.left_out.items())
        text += f" Not ranked, for lack of a figure in some cells: {named}."
    rows = [
        [
            str(line.method),
            f"{line.rank:.2f}",
            f"{line.rank_low:.2f} to {line.rank_high:.2f}",
            f"{line.behind:.2f} ({line.behind_low:.2f} to {line.behind_high:.2f})",
            f"{line.figure:.4g}",
            "" if math.isnan(line.beats_random) else f"{line.beats_random:.0%}",
            _show_milliseconds(line.cpu_seconds),
        ]
        for line in ranking.lines.itertuples()
    ]
    return _Table(title, text, rows)


def _show_milliseconds(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    return f"{1e3 * seconds:.1f}" if seconds < 0.01 else f"{1e3 * seconds:,.0f}"


def _draw_ranks(name: str, ranking: Ranking) -> _Picture:
    lines = ranking.lines
    labels = [
        f"{line.method}, {_show_milliseconds(line.cpu_seconds)} ms"
        if math.isfinite(line.cpu_seconds)
        else str(line.method)
        for line in lines.itertuples()
    ]
    return _Picture(
        f"{name}_ranks",
        f"{name}: average ranks",
        "Dots: mean over data sets; lines: 95 % bootstrap intervals over data sets and "
        "their cells; shade: the critical difference from the best; ms: CPU time, "
        "median over the cells.",
        lambda ax: plot_ranks(
            labels,
            lines["rank"],
            lines["rank_low"],
            lines["rank_high"],
            critical=ranking.critical,
            ax=ax,
        ),
        (6.0, 1.1 + 0.27 * len(lines)),
    )


def _draw_curves(name: str, frame: Any) -> _Picture:
    """Draw each method's mean, scaled to a maximum of 1 in each cell."""
    measure = MEASURES[name]
    frame = frame.assign(name=measure.names(frame))
    lines = frame.groupby([*_CELL, "name", measure.curve], sort=False)[measure.figure]
    means = lines.mean().reset_index()
    largest = means.groupby(_CELL)[measure.figure].transform(lambda v: v.abs().max())
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
    """Save a picture as a separate file, on white."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": picture.name, "font.size": 9.5}):
        figure = Figure(figsize=picture.size, layout="constrained")
        picture.draw(figure.subplots())
        figure.savefig(path, format="svg", metadata={"Date": None})


def _list_facts(record: dict[str, Any], outcomes: Any) -> list[tuple[str, str]]:
    """List what was run, and on which machine."""
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
            ("caution", "Runs of this folder had different versions or machines.")
        )
    return facts


def _list_trouble(outcomes: Any) -> list[tuple[str, str]]:
    """List reasons of cells without result, and warnings, most frequent first."""
    lines: dict[str, list[Any]] = {}
    for line in outcomes.itertuples():
        text = f"{line.status}: {line.reason}" if line.reason else line.notes
        if text:
            lines.setdefault(text, []).append(line)
    common = sorted(lines.items(), key=lambda item: -len(item[1]))
    shown = []
    for text, cells in common[:_MOST_REASONS]:
        values = (
            ", ".join(dict.fromkeys(getattr(cell, field) for cell in cells))
            for field in ("data", "library", "measure", "method")
        )
        shown.append((f"{len(cells)} of {'; '.join(values)}", text))
    if len(common) > _MOST_REASONS:
        shown.append(("", f"and {len(common) - _MOST_REASONS:,} more in the cells"))
    return shown
