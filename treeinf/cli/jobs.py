"""What commands that train on a table do before and after: read, compare, say."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sklearn.base import clone

from treeinf.cleaning.amounts import Amount
from treeinf.cleaning.rows import join_rows
from treeinf.cli.exits import CommandError
from treeinf.cli.models import (
    LIBRARIES,
    estimator_like,
    new_estimator,
    read_model_file,
    task_of,
    with_model_columns,
)
from treeinf.cli.outputs import check_outputs
from treeinf.cli.printing import Printer
from treeinf.cli.proof import ScoreChange, compare_on_test_rows, predict_for_scores
from treeinf.cli.tables import Table, read_table
from treeinf.cli.training_data import (
    TrainingData,
    number_labels,
    read_test_rows,
    read_training_data,
    text_columns,
)
from treeinf.ensemble import TreeEnsemble
from treeinf.training.rows import LabelledRows

__all__ = [
    "Clock",
    "Job",
    "JobOptions",
    "parse_amount",
    "parse_validation",
    "print_changes",
    "read_job",
]


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """What all commands that train on a table are asked for.

    Parameters
    ----------
    train : pathlib.Path
        Table of train rows.
    target : str
        Column to predict.
    model : str, default="lightgbm"
        Name of a library, or a model file whose settings are used.
    test : pathlib.Path or None
        Rows for the scores before and after; they take no part in the work.
    weight : str or None
        Column of row weights.
    drop_columns : sequence of str
        Columns that are no features.
    task, validation : str
        As on the command line.
    seed, n_jobs
        Random state and threads.
    out : pathlib.Path or None
        Table to write: the rows in the end.
    force : bool, default=False
        Whether files may be replaced.
    """

    train: Path
    target: str
    model: str = "lightgbm"
    test: Path | None = None
    weight: str | None = None
    drop_columns: Sequence[str] = ()
    task: str = "auto"
    validation: str = "5"
    seed: int = 0
    n_jobs: int | None = None
    out: Path | None = None
    force: bool = False

    def check_outputs(
        self, outputs: Mapping[str, Path | None], validation: Path | None
    ) -> dict[str, Path]:
        """Check the files to write against those to read; see `check_outputs`."""
        model = None if self.model in LIBRARIES else Path(self.model)
        read = [self.train, self.test, validation, model]
        return check_outputs(outputs, read, force=self.force)


class Clock:
    """Add up the seconds of named parts."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time inside the ``with`` block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def tell(self, inner: dict[str, float]) -> dict[str, Any]:
        """Give all times: those of the command, and in "cleaner" those of its work."""
        spent = {**self.seconds, "total": time.perf_counter() - self.begin}
        own = {name: round(value, 6) for name, value in spent.items()}
        return {**own, "cleaner": dict(inner)}


def parse_amount(text: str, option: str) -> Amount:
    """Read an amount of rows.

    Raises
    ------
    CommandError
        Naming the option.
    """
    try:
        return Amount.parse(text)
    except ValueError as error:
        message = str(error).replace("Got amount", f"Got {option}")
        raise CommandError(message, code=2) from None


def parse_validation(validation: str) -> tuple[int | float | None, Path | None]:
    """Tell a number of folds and a share from a file of trusted rows.

    Raises
    ------
    CommandError
        If it is none of them.
    """
    for convert in (int, float):
        try:
            return convert(validation), None
        except ValueError:
            continue
    path = Path(validation)
    if not path.exists():
        raise CommandError(
            f"Got --validation {validation!r}; expected a number of folds such as 5, a "
            "share such as 0.2, or a table of trusted rows, and there is no such file.",
            code=2,
        )
    return None, path


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """Tables that were read, and the estimator to work with.

    Parameters
    ----------
    table : Table
        Train rows as they stand in the file.
    data : TrainingData
        What is learned from them.
    test, trusted : TrainingData or None
        Rows for the scores before and after, and validation rows of a file.
    ensemble : TreeEnsemble or None
        The model file given.
    estimator : estimator
        To be copied and trained.
    notes : list of str
        What was decided on the way, a sentence each.
    """

    table: Table
    data: TrainingData
    test: TrainingData | None
    trusted: TrainingData | None
    ensemble: TreeEnsemble | None
    estimator: Any
    notes: list[str]

    def describe(self, printer: Printer) -> None:
        """Say what was read."""
        data = self.data
        goal = f"{len(data.classes)} classes" if data.classes else "regression"
        printer.say(
            f"{self.table.path}: {len(data.y):,} rows, {len(data.columns)} features, "
            f"target {data.target!r} ({goal})."
        )
        for option, one in (("--test", self.test), ("--validation", self.trusted)):
            if one is not None:
                printer.say(f"{option}: {len(one.y):,} rows.")
        for note in self.notes:
            printer.say(note)

    @property
    def rows(self) -> LabelledRows:
        """The train rows."""
        return LabelledRows(self.data.X, self.data.y, weight=self.data.weight)

    @property
    def trusted_rows(self) -> tuple[Any, Any] | None:
        """Validation rows of a file, as estimators take them."""
        return None if self.trusted is None else (self.trusted.X, self.trusted.y)

    def with_trusted(self, rows: LabelledRows) -> LabelledRows:
        """Put the validation rows of a file below others."""
        if self.trusted is None:
            return rows
        return join_rows(rows, LabelledRows(self.trusted.X, self.trusted.y))

    def prove(
        self, model: Any, rows: LabelledRows | None, seed: int
    ) -> list[ScoreChange]:
        """Compare a model on the test rows with one trained on other rows.

        Parameters
        ----------
        model : estimator
            Fitted.
        rows : LabelledRows or None
            What the other is trained on; None where it would be the same.
        seed : int
            Of the model and the intervals.
        """
        if self.test is None:
            return []
        after = predict_for_scores(model, self.test)
        if rows is None:
            return compare_on_test_rows(self.test, after, after, seed)
        # one thread and a seed, as copies are trained
        other = clone(self.estimator).set_params(n_jobs=1, random_state=seed)
        other.fit(rows.X, rows.y, sample_weight=rows.weight)
        before = predict_for_scores(other, self.test)
        return compare_on_test_rows(self.test, before, after, seed)


def read_job(options: JobOptions, validation: Path | None) -> Job:
    """Read the tables and the model.

    Parameters
    ----------
    options : JobOptions
        What was asked for.
    validation : pathlib.Path or None
        Table of validation rows.

    Raises
    ------
    CommandError
        If a table or the model is at fault.
    """
    is_file = options.model not in LIBRARIES
    ensemble = read_model_file(Path(options.model)) if is_file else None
    table = read_table(options.train)
    data = read_training_data(
        table,
        options.target,
        weight=options.weight,
        task=options.task if ensemble is None else task_of(ensemble),
        drop_columns=options.drop_columns,
    )
    others = {"--test": options.test, "--validation": validation}
    tables = {
        option: read_table(path, option=option, text_columns=text_columns(table))
        for option, path in others.items()
        if path is not None
    }
    held = {option: read_test_rows(found, data) for option, found in tables.items()}
    if ensemble is not None:
        data = with_model_columns(data, ensemble)
        held = {name: with_model_columns(one, ensemble) for name, one in held.items()}
    notes = list(data.notes)
    if ensemble is None:
        estimator = new_estimator(options.model, data.task, data=data)
    else:
        estimator, note = estimator_like(Path(options.model), ensemble)
        notes += [*number_labels(data), note]
    return Job(
        table,
        data,
        held.get("--test"),
        held.get("--validation"),
        ensemble,
        estimator,
        notes,
    )


def print_changes(changes: Sequence[ScoreChange], printer: Printer, title: str) -> None:
    """Print scores before and after as a table.

    Parameters
    ----------
    changes : sequence of ScoreChange
        Scores.
    printer : Printer
        Where to.
    title : str
        Heading.
    """
    if changes:
        printer.table(
            ["", "before", "after", "gain", f"{changes[0].confidence:.0%} interval"],
            [
                (
                    change.name,
                    f"{change.before:.4f}",
                    f"{change.after:.4f}",
                    f"{change.gain:+.4f}",
                    f"{change.gain_low:+.4f} to {change.gain_high:+.4f}",
                )
                for change in changes
            ],
            title=title,
        )
