"""Write the files of `treeinf clean`: cleaned table, cleaned rows, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning import InfluenceCleaner
from treeinf.cli.exits import CommandError
from treeinf.cli.jobs import Job
from treeinf.cli.scores import ScoreChange
from treeinf.cli.tables.files import Table, write_frame

__all__ = ["check_weight_column", "to_lines", "write_cleaned"]

WEIGHT_COLUMN = "treeinf_weight"
"""Column that weights are written to, in a table without weights."""
_WEIGHTING = ("auto", "downweight", "weight")


def check_weight_column(job: Job, action: str) -> None:
    """Refuse a table that already has the weight column to be added.

    Raises
    ------
    CommandError
        If the column exists.
    """
    is_added = action in _WEIGHTING and job.weight is None
    if is_added and WEIGHT_COLUMN in job.table.frame.columns:
        raise CommandError(
            f"{job.table.path} has a column {WEIGHT_COLUMN!r} already, which --action "
            f"{action} would add; pass --weight {WEIGHT_COLUMN}, or rename it."
        )


def write_cleaned(
    cleaner: InfluenceCleaner,
    job: Job,
    marks: Mapping[str, NDArray[np.float64]],
    changes: Sequence[ScoreChange],
    files: Mapping[str, Path],
    escape_formulas: bool | None,
) -> None:
    """Write the requested files.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Fitted.
    job : Job
        Input of the command.
    marks : dict of str to ndarray
        Extra columns for the tables of rows, one value per train row.
    changes : sequence of ScoreChange
        Scores on test rows.
    files : dict of str to pathlib.Path
        Temporary paths to write, by option; they become the job's outputs.
    escape_formulas : bool or None
        Whether to escape texts that a spreadsheet would run; None for the tables to
        look at only, because the cleaned table is to be trained on.
    """
    table = job.table
    if "--out" in files:
        _cleaned_table(cleaner, job).write_rows(
            files["--out"],
            np.flatnonzero(cleaner.kept_),
            job.outputs["--out"],
            escapes=bool(escape_formulas),
        )
    for option, listed in (
        ("--removed", cleaner.removed_),
        ("--suspects", cleaner.suspects_),
    ):
        if option in files:
            frame = _row_frame(listed, table, marks)
            final, escapes = job.outputs[option], escape_formulas is not False
            write_frame(files[option], frame, final, escapes=escapes)
    if "--report" in files:
        from treeinf.reports import write_cleaning_report

        write_cleaning_report(
            files["--report"],
            cleaner,
            overwrite=True,
            title=f"Cleaning of {table.path.name}",
            values=(
                list(table.frame.columns),
                table.texts(_positions(cleaner.suspects_)),
            ),
            comparisons=to_lines(changes),
            notes=job.notes,
            X=job.data.X,
        )


def _cleaned_table(cleaner: InfluenceCleaner, job: Job) -> Table:
    """Put new labels or weights into the table."""
    table, data = job.table, job.data
    action = cleaner.report_.action
    if not cleaner.report_.acted or action == "drop":
        return table
    if action in ("downweight", "weight"):
        assert cleaner.weights_ is not None
        return table.with_numbers(job.weight or WEIGHT_COLUMN, cleaner.weights_)
    if not data.classes:
        return table.with_numbers(data.target, cleaner.labels_)
    # write a label as the file spells it in a row that has it
    labels, first = np.unique(data.y, return_index=True)
    source = np.arange(table.n_rows)
    changed = np.flatnonzero(cleaner.labels_ != data.y)
    source[changed] = first[np.searchsorted(labels, cleaner.labels_[changed])]
    return table.with_values_of(data.target, source)


def _positions(listed: Any) -> NDArray[np.int64]:
    return np.asarray(listed["position"], dtype=np.int64)


def _row_frame(listed: Any, table: Table, marks: Mapping[str, Any]) -> Any:
    """Put the cleaner's columns before those of the table."""
    import pandas as pd

    rows = _positions(listed)
    frame = pd.DataFrame(listed).drop(columns="position").reset_index(drop=True)
    for name in frame.columns:
        if name.startswith(("opponent_", "helper_")):
            # integers, some of which may be missing
            frame[name] = frame[name].astype("Int64")
    for name, values in marks.items():
        frame[name] = values[rows]
    frame["row"] = rows
    names = list(table.frame.columns)
    frame = frame.rename(
        columns={name: f"treeinf_{name}" for name in frame.columns if name in names}
    )
    if table.kind == "csv":
        cells = pd.DataFrame(table.texts(rows), columns=names, dtype=object)
    else:
        cells = table.frame.iloc[rows].reset_index(drop=True)
    return pd.concat([frame, cells], axis=1)


def to_lines(changes: Sequence[ScoreChange], where: str = "test rows") -> list[Any]:
    """Turn score changes into lines of the report.

    Parameters
    ----------
    changes : sequence of ScoreChange
        Scores before and after.
    where : str
        Name of the test rows in the report.

    Returns
    -------
    list of ComparisonLine
    """
    from treeinf.reports import ComparisonLine

    return [
        ComparisonLine(
            where,
            change.n_rows,
            change.name + ("" if change.greater_is_better else " (smaller is better)"),
            change.before,
            change.after,
            change.gain,
            change.gain_low,
            change.gain_high,
            change.confidence,
        )
        for change in changes
    ]
