"""What `treeinf clean` writes: the cleaned table, the rows found, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning import InfluenceCleaner
from treeinf.cli.exits import CommandError
from treeinf.cli.proof import ScoreChange
from treeinf.cli.tables import Table, write_frame
from treeinf.cli.training_data import TrainingData

__all__ = ["check_weight_column", "to_lines", "write_cleaned"]

WEIGHT_COLUMN = "treeinf_weight"
"""What "downweight" adds where the table has no weights."""


def check_weight_column(table: Table, action: str, weight: str | None) -> None:
    """Refuse a table that has a column of the name to be added.

    Raises
    ------
    CommandError
        If it has.
    """
    is_added = action == "downweight" and weight is None
    if is_added and WEIGHT_COLUMN in table.frame.columns:
        raise CommandError(
            f"{table.path} has a column {WEIGHT_COLUMN!r} already, which --action "
            f"downweight would add; pass --weight {WEIGHT_COLUMN}, or rename it."
        )


def write_cleaned(
    cleaner: InfluenceCleaner,
    table: Table,
    data: TrainingData,
    marks: Mapping[str, NDArray[np.float64]],
    changes: Sequence[ScoreChange],
    notes: Sequence[str],
    options: Any,
    outputs: Mapping[str, Path],
    places: Mapping[str, Path],
) -> None:
    """Fill the temporary files.

    Parameters
    ----------
    cleaner : InfluenceCleaner
        Fitted.
    table, data
        The table that was cleaned, and what was learned from.
    marks : dict of str to ndarray
        Further columns for the rows found, one value for each train row.
    changes : sequence of ScoreChange
        Scores on test rows.
    notes : sequence of str
        What was decided on the way.
    options : CleanOptions
        What was asked for.
    outputs, places : dict of str to pathlib.Path
        The files by option, and the temporary ones to fill.
    """
    touched = np.asarray(cleaner.removed_["position"], dtype=np.int64)
    if "--out" in places:
        kept = np.flatnonzero(cleaner.kept_)
        _repair_table(cleaner, table, data, options).write_rows(
            places["--out"], kept, outputs["--out"]
        )
    if "--removed" in places:
        frame = _removed_frame(cleaner.removed_, table, touched, marks)
        write_frame(places["--removed"], frame, outputs["--removed"])
    if "--report" in places:
        from treeinf.reports import write_cleaning_report

        write_cleaning_report(
            places["--report"],
            cleaner,
            overwrite=True,
            title=f"Cleaning of {options.train.name}",
            values=(list(table.frame.columns), table.texts(touched)),
            comparisons=to_lines(changes),
            notes=notes,
            X=data.X,
        )


def _repair_table(
    cleaner: InfluenceCleaner,
    table: Table,
    data: TrainingData,
    options: Any,
) -> Table:
    """Put new labels or weights into the table."""
    if not cleaner.report_.acted or options.action == "drop":
        return table
    if options.action == "downweight":
        assert cleaner.weights_ is not None
        return table.with_numbers(options.weight or WEIGHT_COLUMN, cleaner.weights_)
    if not data.classes:
        return table.with_numbers(options.target, cleaner.labels_)
    # a row that has the label tells how the file writes it
    labels, first = np.unique(data.y, return_index=True)
    source = np.arange(table.n_rows)
    changed = np.flatnonzero(cleaner.labels_ != data.y)
    source[changed] = first[np.searchsorted(labels, cleaner.labels_[changed])]
    return table.with_values_of(options.target, source)


def _removed_frame(
    removed: Any, table: Table, touched: NDArray[np.int64], marks: Mapping[str, Any]
) -> Any:
    """Put what is known of the removed rows before their own columns."""
    import pandas as pd

    known = pd.DataFrame(removed).drop(columns="position").reset_index(drop=True)
    for name in known.columns:
        if name.startswith(("opponent_", "helper_")):
            # whole numbers, of which some may be missing
            known[name] = known[name].astype("Int64")
    for name, values in marks.items():
        known[name] = values[touched]
    known["row"] = touched
    names = list(table.frame.columns)
    known = known.rename(
        columns={name: f"treeinf_{name}" for name in known.columns if name in names}
    )
    if table.kind == "csv":
        own = pd.DataFrame(table.texts(touched), columns=names, dtype=object)
    else:
        own = table.frame.iloc[touched].reset_index(drop=True)
    return pd.concat([known, own], axis=1)


def to_lines(changes: Sequence[ScoreChange], where: str = "test rows") -> list[Any]:
    """Bring score changes to lines of the report.

    Parameters
    ----------
    changes : sequence of ScoreChange
        Scores before and after.
    where : str
        What the rows are called.

    Returns
    -------
    list of ComparisonLine
    """
    from treeinf.reports import ComparisonLine

    return [
        ComparisonLine(
            where,
            change.n_rows,
            change.name + ("" if change.is_better_greater else " (smaller is better)"),
            change.before,
            change.after,
            change.gain,
            change.gain_low,
            change.gain_high,
            change.confidence,
        )
        for change in changes
    ]
