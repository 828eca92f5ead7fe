"""Input of commands that train on a table: rows, estimator, test scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from treeinf.cleaning.rows import join_rows
from treeinf.cli.advice import as_options
from treeinf.cli.exits import CommandError
from treeinf.cli.model_rows import as_model_reads, find_needs, find_texts, task_of
from treeinf.cli.models import (
    estimator_like,
    model_file,
    new_estimator,
    read_model_file,
)
from treeinf.cli.options import split_names
from treeinf.cli.outputs import check_outputs
from treeinf.cli.printing import Printer
from treeinf.cli.scores import ScoreChange, compare_on_test_rows, predict_for_scores
from treeinf.cli.tables.files import Table, read_table
from treeinf.cli.tables.format import TableFormat
from treeinf.cli.tables.number_columns import list_names
from treeinf.cli.tables.training_data import (
    TrainingData,
    read_test_rows,
    read_training_data,
    with_safe_names,
)
from treeinf.ensemble import TreeEnsemble
from treeinf.training.learner import copy_estimator
from treeinf.training.rows import LabelledRows

__all__ = ["Clock", "Job", "Tables", "closing_facts", "read_job", "read_tables"]


class Clock:
    """Add up the seconds of named steps."""

    def __init__(self) -> None:
        self.begin = perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time inside the ``with`` block."""
        begin = perf_counter()
        try:
            yield
        finally:
            spent = perf_counter() - begin
            self.seconds[step] = self.seconds.get(step, 0.0) + spent

    def to_dict(self, cleaner: Mapping[str, float]) -> dict[str, Any]:
        """Return the seconds of all steps; "cleaner" holds those of the estimator."""
        spent = {**self.seconds, "total": perf_counter() - self.begin}
        rounded = {name: round(value, 6) for name, value in spent.items()}
        return {**rounded, "cleaner": dict(cleaner)}


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """Tables that a command has read, and the estimator to train.

    Parameters
    ----------
    table : Table
        Training rows as they stand in the file.
    data : TrainingData
        Their features, labels and weights.
    weight : str or None
        Column of the weights.
    test, trusted : TrainingData or None
        Test rows, used for the final scores only, and validation rows read from a file.
    folds : int, float or None
        Number of folds, or share of the training rows, to validate on; None with
        validation rows.
    ensemble : TreeEnsemble or None
        The model file, if one was passed.
    estimator : estimator
        Unfitted; copies of it are trained.
    outputs : dict of str to pathlib.Path
        Files to write, by option.
    notes : list of str
        Decisions made while reading, one sentence each.
    """

    table: Table
    data: TrainingData
    weight: str | None
    test: TrainingData | None
    trusted: TrainingData | None
    folds: int | float | None
    ensemble: TreeEnsemble | None
    estimator: Any
    outputs: dict[str, Path]
    notes: list[str]

    @property
    def rows(self) -> LabelledRows:
        """The training rows."""
        return LabelledRows(self.data.X, self.data.y, weight=self.data.weight)

    @property
    def validation(self) -> Any:
        """The value of --validation, as estimators take it."""
        return self.folds if self.trusted is None else (self.trusted.X, self.trusted.y)

    def with_trusted(self, rows: LabelledRows) -> LabelledRows:
        """Append the validation rows of a file to other rows."""
        if self.trusted is None:
            return rows
        return join_rows(rows, LabelledRows(self.trusted.X, self.trusted.y))

    def compare(
        self, model: Any, rows: LabelledRows | None, seed: int
    ) -> list[ScoreChange]:
        """Compare a model on the test rows with one trained on other rows.

        Parameters
        ----------
        model : estimator
            Fitted.
        rows : LabelledRows or None
            Training rows of the other model; None if it would be the same model.
        seed : int
            Seed of the other model and of the resampling.
        """
        if self.test is None:
            return []
        after = before = predict_for_scores(model, self.test)
        if rows is not None:
            other = copy_estimator(self.estimator, seed, replace_seeds=True)
            other.fit(rows.X, rows.y, sample_weight=rows.weight)
            before = predict_for_scores(other, self.test)
        return compare_on_test_rows(self.test, before, after, seed)

    def note_formulas(self, escapes: bool | None) -> None:
        """Add a note if --out will hold texts that a spreadsheet would run."""
        names = self.table.formula_columns if "--out" in self.outputs else []
        if names and not escapes:
            self.notes.append(
                f"A spreadsheet would run texts of {list_names(names)} as formulas; "
                "--out keeps them as they are, unless you pass --escape-formulas."
            )

    def print_input(self, printer: Printer) -> None:
        """Describe the tables that were read."""
        data = self.data
        goal = f"{len(data.classes)} classes" if data.classes else "regression"
        printer.say(
            f"{self.table.path}: {len(data.y):,} rows, {len(data.columns)} features, "
            f"target {data.target!r} ({goal})."
        )
        for option, rows in (("--test", self.test), ("--validation", self.trusted)):
            if rows is not None:
                printer.say(f"{option}: {len(rows.y):,} rows.")
        for note in self.notes:
            printer.say(note)

    def to_dict(
        self,
        command: str,
        report: Any,
        changes: Sequence[ScoreChange],
        clock: Clock,
    ) -> dict[str, Any]:
        """Return the JSON fields that all commands on a table share."""
        return {
            "command": command,
            "train": str(self.table.path),
            "target": self.data.target,
            "task": self.data.task,
            "n_features": len(self.data.columns),
            "test": [dataclasses.asdict(change) for change in changes],
            "report": report.to_dict(),
            "seconds": clock.to_dict(report.seconds),
            "outputs": {
                name.lstrip("-"): str(path) for name, path in self.outputs.items()
            },
            "notes": self.notes,
        }


def closing_facts(
    report: Any, clock: Clock, steps: str, outputs: Mapping[str, Path], options: str
) -> list[tuple[str, str]]:
    """Return the last lines of a summary: times, notes and files.

    Parameters
    ----------
    report : CleaningReport or SelectionReport
        Result of the estimator.
    clock : Clock
        Times of the command.
    steps : str
        Steps whose times are listed, in order.
    outputs : dict of str to pathlib.Path
        Files written, by option.
    options : str
        Options that name output files, printed if none was written.
    """
    spent = {**report.seconds, **clock.seconds}
    times = [f"{step} {spent[step]:.2f} s" for step in steps.split() if step in spent]
    written = [
        (f"wrote {name.lstrip('-')}", str(path)) for name, path in outputs.items()
    ]
    return [
        ("time", f"{', '.join(times)} ({report.n_fits:,} models trained)"),
        *(("note", as_options(note)) for note in report.notes),
        *(written or [("wrote", f"nothing; name files with {options}")]),
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Tables:
    """Training rows and others with the same columns, in the order of a model file.

    Parameters
    ----------
    table : Table
        Training rows as they stand in the file.
    data : TrainingData
        Their features, labels and weights.
    others : dict of str to TrainingData
        The other rows, by option.
    ensemble : TreeEnsemble or None
        The model file, if one was passed.
    """

    table: Table
    data: TrainingData
    others: dict[str, TrainingData]
    ensemble: TreeEnsemble | None


def read_tables(
    model: str,
    train: Path,
    target: str,
    *,
    others: Mapping[str, Path | None],
    option: str = "TRAIN",
    weight: str | None = None,
    groups: str | None = None,
    learn_groups: bool = False,
    time: str | None = None,
    drop_columns: str = "",
    learn_columns: str = "",
    task: str = "auto",
    table_format: TableFormat,
    parameters: Mapping[str, Any] | None = None,
) -> Tables:
    """Read a model file and tables.

    Parameters
    ----------
    model : str
        A model file, or the name of a library.
    train : pathlib.Path
        Table of training rows.
    target, weight, groups, time : str or None
        Columns of the target, of the sample weights, of the groups and of the times.
    learn_groups : bool
        Whether the column of groups is a feature.
    others : dict of str to pathlib.Path or None
        Tables of other rows, by option.
    option : str
        Name of the training rows' option.
    drop_columns, learn_columns : str
        Columns that are not features, and those that are though they look like
        identifiers, separated by commas.
    task : {"auto", "classification", "regression"}
        Kind of model; ignored for a model file, which determines it.
    table_format : TableFormat
        How CSV files are written.
    parameters : dict or None
        Training parameters of the model file; see `read_model`.

    Raises
    ------
    CommandError
        If a table or the model is invalid.
    """
    file = model_file(model)
    if file is None and parameters:
        raise CommandError(
            f"--parameter describes the training of a model file; got {model!r}, which "
            "is trained with its defaults.",
            code=2,
        )
    if file is not None and learn_columns:
        raise CommandError(
            f"--learn-columns is for training; the model file {model} uses the columns "
            "that it was trained on.",
            code=2,
        )
    ensemble = None if file is None else read_model_file(file, parameters)
    is_text = find_texts(ensemble)
    table = read_table(train, table_format, option=option, is_text=is_text)
    data = read_training_data(
        table,
        target,
        weight=weight,
        task=task if ensemble is None else task_of(ensemble),
        drop_columns=split_names(drop_columns),
        learn_columns=split_names(learn_columns),
        groups=groups,
        learn_groups=learn_groups,
        time=time,
        needs=find_needs(ensemble),
    )
    rows = {
        name: read_test_rows(
            read_table(path, table_format, option=name, like=table), data
        )
        for name, path in others.items()
        if path is not None
    }
    if ensemble is not None:
        data = as_model_reads(data, ensemble)
        rows = {
            name: as_model_reads(data_of, ensemble) for name, data_of in rows.items()
        }
    if ensemble is None or ensemble.library == "lightgbm":
        data = with_safe_names(data)
        rows = {name: with_safe_names(data_of) for name, data_of in rows.items()}
    return Tables(table, data, rows, ensemble)


def read_job(
    train: Path,
    target: str,
    model: str,
    *,
    test: Path | None,
    validation: str,
    weight: str | None,
    groups: str | None,
    learn_groups: bool,
    time: str | None,
    drop_columns: str,
    learn_columns: str,
    task: str,
    table_format: TableFormat,
    parameters: Mapping[str, Any] | None,
    outputs: Mapping[str, Path | None],
    force: bool,
) -> Job:
    """Check the files to write, read the tables, and make the estimator.

    Parameters
    ----------
    train, target, model, weight, groups, learn_groups, time, \
drop_columns, learn_columns, task, table_format, parameters
        See `read_tables`.
    test : pathlib.Path or None
        Table of test rows.
    validation : str
        Value of --validation: a number of folds, a share, or a table.
    outputs : dict of str to pathlib.Path or None
        Files that the command will write, by option.
    force : bool
        Whether they may replace files that exist.

    Raises
    ------
    CommandError
        If an option, a table or the model is invalid.
    """
    folds, trusted = _parse_validation(validation)
    checked = check_outputs(
        outputs, [train, test, trusted, model_file(model)], force=force
    )
    tables = read_tables(
        model,
        train,
        target,
        others={"--test": test, "--validation": trusted},
        weight=weight,
        groups=groups,
        learn_groups=learn_groups,
        time=time,
        drop_columns=drop_columns,
        learn_columns=learn_columns,
        task=task,
        table_format=table_format,
        parameters=parameters,
    )
    notes = list(tables.data.notes)
    if tables.ensemble is None:
        estimator = new_estimator(model, tables.data.task, data=tables.data)
    else:
        estimator, note = estimator_like(Path(model), tables.ensemble, parameters)
        notes.append(note)
    return Job(
        table=tables.table,
        data=tables.data,
        weight=weight,
        test=tables.others.get("--test"),
        trusted=tables.others.get("--validation"),
        folds=folds,
        ensemble=tables.ensemble,
        estimator=estimator,
        outputs=checked,
        notes=notes,
    )


def _parse_validation(text: str) -> tuple[int | float | None, Path | None]:
    """Read a number of folds or a share of the rows, or the path of trusted rows."""
    for convert in (int, float):
        try:
            return convert(text), None
        except ValueError:
            continue
    path = Path(text)
    if not path.exists():
        raise CommandError(
            f"Got --validation {text!r}; expected a number of folds such as 5, a "
            "share such as 0.2, or an existing table of trusted rows.",
            code=2,
        )
    return None, path
