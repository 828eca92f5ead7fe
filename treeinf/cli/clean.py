"""`treeinf clean`: find harmful train rows, clean them, prove what it brought."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning import Amount, CleaningReport, InfluenceCleaner
from treeinf.cli.cleaned_files import check_weight_column, write_cleaned
from treeinf.cli.exits import DONE, FOUND, CommandError
from treeinf.cli.jobs import (
    Clock,
    Job,
    JobOptions,
    parse_amount,
    parse_validation,
    print_changes,
    read_job,
)
from treeinf.cli.outputs import write_together
from treeinf.cli.printing import Printer
from treeinf.cli.proof import ScoreChange
from treeinf.explainers import BoostIn
from treeinf.training.rows import LabelledRows

__all__ = ["CleanOptions", "run_clean"]


@dataclasses.dataclass(frozen=True)
class CleanOptions(JobOptions):
    """What `treeinf clean` was asked for.

    Parameters
    ----------
    method, amount, action : str
        As on the command line.
    suspect_weight : float, default=0.1
        What "downweight" multiplies weights by.
    relabel_by : str, default="influence"
        Which suspects "relabel" gives another label.
    guard : bool, default=True
        Whether to keep all rows unless the gain is beyond noise.
    baselines : bool, default=True
        Whether to try what the cleaning must be better than.
    refit_on_validation : bool or None
        Whether the final model is trained on the validation rows too; None for those
        held out of the table, and not for those of a file.
    fail_on : str or None
        Number or share of rows touched from which on the exit code tells.
    removed, report : pathlib.Path or None
        Files to write: the rows touched, and the page that tells of the work.
    others
        See `JobOptions`.
    """

    method: str = "stacking"
    amount: str = "auto"
    action: str = "drop"
    suspect_weight: float = 0.1
    relabel_by: str = "influence"
    guard: bool = True
    baselines: bool = True
    refit_on_validation: bool | None = None
    fail_on: str | None = None
    removed: Path | None = None
    report: Path | None = None


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
    clock = Clock()
    validation, validation_file = parse_validation(options.validation)
    outputs = options.check_outputs(
        {
            "--out": options.out,
            "--removed": options.removed,
            "--report": options.report,
        },
        validation_file,
    )
    if options.report is not None:
        _need_report_libraries()
    amount = parse_amount(options.amount, "--amount")
    limit = None if options.fail_on is None else _parse_limit(options.fail_on)
    with clock.part("read"):
        job = read_job(options, validation_file)
        check_weight_column(job.table, options.action, options.weight)
    data = job.data
    job.describe(printer)
    marks = _ask_model_file(job, options, clock, printer)
    cleaner = InfluenceCleaner(
        job.estimator,
        method=options.method,
        amount=amount,
        action=options.action,
        suspect_weight=options.suspect_weight,
        relabel_by=options.relabel_by,
        baselines=options.baselines,
        validation=job.trusted_rows or validation,
        guard=options.guard,
        refit_on_validation=options.refit_on_validation,
        random_state=options.seed,
        n_jobs=-1 if options.n_jobs is None else options.n_jobs,
        verbose=printer.shows_progress,
    )
    with clock.part("clean"):
        cleaner.fit(data.X, data.y, data.weight)
    changes: list[ScoreChange] = []
    if job.test is not None:
        with clock.part("prove"):
            rows = _rows_uncleaned(cleaner, job, options)
            changes = job.prove(cleaner.estimator_, rows, options.seed)
    with clock.part("write"), write_together(outputs) as places:
        write_cleaned(
            cleaner,
            job.table,
            data,
            marks,
            changes,
            job.notes,
            options,
            outputs,
            places,
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
            "seconds": clock.tell(cleaner.report_.seconds),
            "outputs": {name.lstrip("-"): str(path) for name, path in outputs.items()},
            "notes": job.notes,
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


def _need_report_libraries() -> None:
    for name in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise CommandError(
                f"--report needs {name}, which is not installed; pip install "
                "'treeinf[plot]'."
            )


# the work


def _ask_model_file(
    job: Job, options: CleanOptions, clock: Clock, printer: Printer
) -> dict[str, NDArray[np.float64]]:
    """Check that a model file was trained on the rows, and ask it about each."""
    if job.ensemble is None:
        return {}
    data, test = job.data, job.test
    explainer = BoostIn(n_jobs=options.n_jobs, verbose=printer.shows_progress)
    with clock.part("route"):
        explainer.fit(job.ensemble, data.X, data.codes, sample_weight=data.weight)
    printer.say(
        f"{options.model}: {job.ensemble.n_trees:,} trees, trained on these rows "
        f"({explainer.reproduction_.verdict})."
    )
    with clock.part("influence"):
        marks = {"model_self_influence": np.asarray(explainer.self_influence())}
        if test is not None:
            total = explainer.total(test.X, test.codes)
            marks["model_influence_on_test"] = np.asarray(total)
    return marks


def _rows_uncleaned(
    cleaner: InfluenceCleaner, job: Job, options: CleanOptions
) -> LabelledRows | None:
    """Give the rows of the final model, none of them cleaned; None if none was."""
    if not cleaner.report_.acted:
        return None
    if options.refit_on_validation is False:
        return job.rows.take(np.flatnonzero(np.isfinite(cleaner.scores_)))
    return job.with_trusted(job.rows) if options.refit_on_validation else job.rows


# what is said


def _tell(
    cleaner: InfluenceCleaner,
    changes: Sequence[ScoreChange],
    clock: Clock,
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
    if report.noise_rate_text:
        facts.append(("looks wrong", report.noise_rate_text))
    spent = {**report.seconds, **clock.seconds}
    order = ("read", "train", "route", "influence", "views", "retrain", "baselines")
    times = [
        f"{name} {spent[name]:.2f} s"
        for name in (*order, "final", "explain", "prove", "write")
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
