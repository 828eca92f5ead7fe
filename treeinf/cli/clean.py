"""`treeinf clean`: find harmful train rows, clean them, prove what it brought."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from treeinf.cleaning import Amount, CleaningReport, InfluenceCleaner
from treeinf.cleaning.inputs import join_rows
from treeinf.cleaning.training import LabelledRows
from treeinf.cli.cleaned_files import check_weight_column, write_cleaned
from treeinf.cli.exits import DONE, FOUND, CommandError
from treeinf.cli.models import (
    LIBRARIES,
    estimator_like,
    new_estimator,
    read_model_file,
    task_of,
    with_model_columns,
)
from treeinf.cli.outputs import check_outputs, write_together
from treeinf.cli.printing import Printer
from treeinf.cli.proof import ScoreChange, compare_on_test_rows, predict_for_scores
from treeinf.cli.tables import read_table
from treeinf.cli.training_data import (
    TrainingData,
    number_labels,
    read_test_rows,
    read_training_data,
    text_columns,
)
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers import BoostIn

__all__ = ["CleanOptions", "print_changes", "run_clean"]


@dataclasses.dataclass(frozen=True)
class CleanOptions:
    """What `treeinf clean` was asked for.

    Parameters
    ----------
    train : pathlib.Path
        Table to clean.
    target : str
        Column to predict.
    model : str
        Name of a library, or a model file that was trained on the table.
    test : pathlib.Path or None
        Rows for the scores before and after; they take no part in the cleaning.
    weight : str or None
        Column of row weights.
    drop_columns : sequence of str
        Columns that are no features.
    task, method, amount, action, validation : str
        As on the command line.
    suspect_weight : float
        What "downweight" multiplies weights by.
    guard : bool
        Whether to keep all rows unless the gain is beyond noise.
    baselines : bool
        Whether to try what the cleaning must be better than.
    refit_on_validation : bool or None
        Whether the final model is trained on the validation rows too; None for those
        held out of the table, and not for those of a file.
    fail_on : str or None
        Number or share of rows touched from which on the exit code tells.
    seed, n_jobs
        Random state and threads.
    out, removed, report : pathlib.Path or None
        Files to write.
    force : bool
        Whether these may be replaced.
    """

    train: Path
    target: str
    model: str = "lightgbm"
    test: Path | None = None
    weight: str | None = None
    drop_columns: Sequence[str] = ()
    task: str = "auto"
    method: str = "boostin"
    amount: str = "auto"
    action: str = "drop"
    suspect_weight: float = 0.1
    validation: str = "5"
    guard: bool = True
    baselines: bool = True
    refit_on_validation: bool | None = None
    fail_on: str | None = None
    seed: int = 0
    n_jobs: int | None = None
    out: Path | None = None
    removed: Path | None = None
    report: Path | None = None
    force: bool = False


class _Clock:
    """Add up the seconds of named parts."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


def run_clean(options: CleanOptions, printer: Printer) -> int:
    """Clean a table.

    Parameters
    ----------
    options : CleanOptions
        What to do.
    printer : Printer
        Where to say it.

    Returns
    -------
    int
        Exit code: 0, or 4 if as many rows were found as `fail_on` says.

    Raises
    ------
    CommandError
        If the options, the tables or the model are at fault; before long work.
    """
    clock = _Clock()
    is_file = options.model not in LIBRARIES
    validation, validation_file = _parse_validation(options.validation)
    outputs = check_outputs(
        {
            "--out": options.out,
            "--removed": options.removed,
            "--report": options.report,
        },
        [
            options.train,
            options.test,
            validation_file,
            Path(options.model) if is_file else None,
        ],
        force=options.force,
    )
    if options.report is not None:
        _need_report_libraries()
    amount = _parse_amount(options.amount)
    limit = None if options.fail_on is None else _parse_limit(options.fail_on)
    with clock.part("read"):
        ensemble = read_model_file(Path(options.model)) if is_file else None
        table = read_table(options.train)
        data = read_training_data(
            table,
            options.target,
            weight=options.weight,
            task=options.task if ensemble is None else task_of(ensemble),
            drop_columns=options.drop_columns,
        )
        others = {"--test": options.test, "--validation": validation_file}
        tables = {
            option: read_table(path, option=option, text_columns=text_columns(table))
            for option, path in others.items()
            if path is not None
        }
        held = {option: read_test_rows(found, data) for option, found in tables.items()}
        check_weight_column(table, options.action, options.weight)
        if ensemble is not None:
            data = with_model_columns(data, ensemble)
            held = {
                name: with_model_columns(one, ensemble) for name, one in held.items()
            }
    notes = list(data.notes)
    if ensemble is None:
        estimator = new_estimator(options.model, data.task, data=data)
    else:
        estimator, note = estimator_like(Path(options.model), ensemble)
        notes += [*number_labels(data), note]
    _describe_input(options, data, held, notes, printer)
    marks = (
        {}
        if ensemble is None
        else _ask_model_file(
            ensemble, data, held.get("--test"), options, clock, printer
        )
    )
    trusted = held.get("--validation")
    cleaner = InfluenceCleaner(
        estimator,
        method=options.method,
        amount=amount,
        action=options.action,
        suspect_weight=options.suspect_weight,
        baselines=options.baselines,
        validation=validation if trusted is None else (trusted.X, trusted.y),
        guard=options.guard,
        refit_on_validation=options.refit_on_validation,
        random_state=options.seed,
        n_jobs=-1 if options.n_jobs is None else options.n_jobs,
        verbose=printer.shows_progress,
    )
    with clock.part("clean"):
        cleaner.fit(data.X, data.y, data.weight)
    test = held.get("--test")
    changes = []
    if test is not None:
        with clock.part("prove"):
            changes = _prove(cleaner, estimator, data, trusted, test, options)
    with clock.part("write"), write_together(outputs) as places:
        write_cleaned(
            cleaner, table, data, marks, changes, notes, options, outputs, places
        )
    _tell(cleaner, changes, clock, outputs, printer)
    is_found = limit is not None and limit.is_reached(cleaner.report_)
    printer.finish(
        {
            "command": "clean",
            "train": str(options.train),
            "target": options.target,
            "task": data.task,
            "n_features": len(data.columns),
            "action": options.action,
            "touched_rows": np.sort(np.asarray(cleaner.removed_["position"])),
            "removed_rows": np.flatnonzero(~cleaner.kept_),
            "fail_on": options.fail_on,
            "failed": is_found,
            "test": [dataclasses.asdict(change) for change in changes],
            "report": cleaner.report_.to_dict(),
            "seconds": _seconds(cleaner, clock),
            "outputs": {name.lstrip("-"): str(path) for name, path in outputs.items()},
            "notes": notes,
        }
    )
    if not is_found:
        return DONE
    print(
        f"Found {cleaner.report_.n_removed:,} rows of "
        f"{cleaner.report_.n_scored:,}; --fail-on {options.fail_on} was reached.",
        file=sys.stderr,
        flush=True,
    )
    return FOUND


# options


def _parse_amount(amount: str) -> Amount:
    try:
        return Amount.parse(amount)
    except ValueError as error:
        message = str(error).replace("Got amount", "Got --amount")
        raise CommandError(message, code=2) from None


@dataclasses.dataclass(frozen=True)
class _Limit:
    """From how many rows on the exit code tells: a share, or a number."""

    amount: Amount

    def is_reached(self, report: CleaningReport) -> bool:
        value = float(self.amount.value or 0)
        found = report.share if self.amount.kind == "share" else report.n_removed
        return report.acted and found >= value


def _parse_limit(text: str) -> _Limit:
    expected = (
        f"Got --fail-on {text!r}; expected a number of rows of at least 1, such as 10, "
        "or a share of them above 0 and at most 1, such as 0.02 or 2%."
    )
    try:
        amount = Amount.parse(text)
    except ValueError:
        raise CommandError(expected, code=2) from None
    is_number = amount.kind in ("share", "count")
    most = 1.0 if amount.kind == "share" else np.inf
    if not is_number or not 0.0 < float(amount.value or 0) <= most:
        raise CommandError(expected, code=2)
    return _Limit(amount)


def _parse_validation(validation: str) -> tuple[int | float | None, Path | None]:
    """Tell a number of folds and a share from a file of trusted rows."""
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


def _need_report_libraries() -> None:
    for name in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise CommandError(
                f"--report needs {name}, which is not installed; pip install "
                "'treeinf[plot]'."
            )


# the work


def _ask_model_file(
    ensemble: TreeEnsemble,
    data: TrainingData,
    test: TrainingData | None,
    options: CleanOptions,
    clock: _Clock,
    printer: Printer,
) -> dict[str, NDArray[np.float64]]:
    """Check that a model file was trained on the rows, and ask it about each."""
    explainer = BoostIn(n_jobs=options.n_jobs, verbose=printer.shows_progress)
    with clock.part("route"):
        explainer.fit(ensemble, data.X, data.codes, sample_weight=data.weight)
    printer.say(
        f"{options.model}: {ensemble.n_trees:,} trees, trained on these rows "
        f"({explainer.reproduction_.verdict})."
    )
    with clock.part("influence"):
        marks = {"model_self_influence": np.asarray(explainer.self_influence())}
        if test is not None:
            total = explainer.total(test.X, test.codes)
            marks["model_influence_on_test"] = np.asarray(total)
    return marks


def _prove(
    cleaner: InfluenceCleaner,
    estimator: Any,
    data: TrainingData,
    trusted: TrainingData | None,
    test: TrainingData,
    options: CleanOptions,
) -> list[ScoreChange]:
    """Compare the final model with one of the same rows, none of them cleaned."""
    seed = options.seed
    after = predict_for_scores(cleaner.estimator_, test)
    if not cleaner.report_.acted:
        return compare_on_test_rows(test, after, after, seed)
    rows = LabelledRows(data.X, data.y, weight=data.weight)
    if options.refit_on_validation is False:
        rows = rows.take(np.flatnonzero(np.isfinite(cleaner.scores_)))
    elif options.refit_on_validation and trusted is not None:
        rows = join_rows(rows, LabelledRows(trusted.X, trusted.y))
    # one thread and a seed, as the cleaner trains its models
    model = clone(estimator).set_params(n_jobs=1, random_state=seed)
    model.fit(rows.X, rows.y, sample_weight=rows.weight)
    return compare_on_test_rows(test, predict_for_scores(model, test), after, seed)


# what is said


def _describe_input(
    options: CleanOptions,
    data: TrainingData,
    held: Mapping[str, TrainingData],
    notes: Sequence[str],
    printer: Printer,
) -> None:
    goal = f"{len(data.classes)} classes" if data.classes else "regression"
    printer.say(
        f"{options.train}: {len(data.y):,} rows, {len(data.columns)} features, target "
        f"{data.target!r} ({goal})."
    )
    for option, one in held.items():
        printer.say(f"{option}: {len(one.y):,} rows.")
    for note in notes:
        printer.say(note)


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


def _seconds(cleaner: InfluenceCleaner, clock: _Clock) -> dict[str, Any]:
    """Give all times: those of the command, and in "cleaner" those of the cleaning."""
    spent = {**clock.seconds, "total": time.perf_counter() - clock.begin}
    own = {name: round(value, 6) for name, value in spent.items()}
    return {**own, "cleaner": dict(cleaner.report_.seconds)}


def _tell(
    cleaner: InfluenceCleaner,
    changes: Sequence[ScoreChange],
    clock: _Clock,
    outputs: Mapping[str, Path],
    printer: Printer,
) -> None:
    report = cleaner.report_
    printer.say()
    printer.say(report.headline)
    printer.say()
    if changes:
        title = f"On {changes[0].n_rows:,} test rows, never used for cleaning"
        if report.acted:
            print_changes(changes, printer, title)
        else:
            scores = [(change.name, f"{change.before:.4f}") for change in changes]
            printer.table(["", "all rows"], scores, title=title)
    if report.alternatives:
        first = report.alternatives[0]
        level = first.primary.confidence
        printer.table(
            [
                "",
                first.primary.metric,
                "gain",
                f"{level:.0%} interval",
            ],
            [
                (
                    one.name,
                    f"{one.primary.score_after:.4f}",
                    f"{one.primary.gain:+.4f}",
                    f"{one.primary.gain_low:+.4f} to {one.primary.gain_high:+.4f}",
                )
                for one in report.alternatives
            ],
            title=f"On the {first.primary.n_rows:,} rows that judged the cleaning",
        )
    facts = [("verdict", report.verdict)]
    if report.guard is not None:
        facts.append(("guard", str(report.guard)))
    if report.bad_share_text:
        facts.append(("looks wrong", report.bad_share_text))
    spent = {**report.seconds, **clock.seconds}
    order = ("read", "train", "route", "influence", "retrain", "baselines", "final")
    times = [
        f"{name} {spent[name]:.2f} s"
        for name in (*order, "explain", "prove", "write")
        if name in spent
    ]
    facts.append(("time", f"{', '.join(times)} ({report.n_fits:,} models trained)"))
    facts += [("note", note) for note in report.notes]
    facts += [
        (f"wrote {name.lstrip('-')}", str(path)) for name, path in outputs.items()
    ]
    if not outputs:
        facts.append(("wrote", "nothing; name files with --out, --removed, --report"))
    printer.facts(facts)
