"""`treeinf clean`: find harmful training rows, clean them, measure the gain."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from treeinf.cli import options
from treeinf.cli.exits import LIMIT_REACHED, CommandError
from treeinf.cli.options import FROM_ESTIMATOR
from treeinf.cli.tables.format import TableFormat, takes_table_format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from treeinf.cleaning import CleaningReport, InfluenceCleaner
    from treeinf.cli.jobs import Clock, Job
    from treeinf.cli.printing import Printer
    from treeinf.cli.scores import ScoreChange
    from treeinf.training.rows import LabelledRows

__all__ = ["clean"]

_MOST_SETS = 10
_STEPS = (
    "read train route influence stacking retrain baselines final explain compare write"
)


@takes_table_format
def clean(
    train: options.Train,
    target: options.Target,
    table_format: TableFormat,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="lightgbm, xgboost, catboost or sklearn; or a model file trained on "
            "these rows.",
        ),
    ] = "lightgbm",
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", help="Rows to score models on; never used for cleaning."
        ),
    ] = None,
    weight: options.Weight = None,
    groups: options.Groups = None,
    learn_groups: options.LearnGroups = False,
    time: options.Time = None,
    join_equal_rows: options.JoinEqualRows = FROM_ESTIMATOR,
    drop_columns: options.DropColumns = "",
    learn_columns: options.LearnColumns = "",
    parameter: options.Parameters = None,
    task: options.Task = "auto",
    method: Annotated[
        Literal[
            "stacking",
            "boostin",
            "boostin_self",
            "boostin_total",
            "loss",
            "out_of_bag_sum",
            "out_of_bag_step",
            "random",
        ],
        typer.Option(
            "--method",
            metavar="NAME",  # a list of choices is broken within the names
            help="How rows are scored: stacking, boostin, boostin_self, boostin_total, "
            "loss, out_of_bag_sum, out_of_bag_step (for models that sample rows), "
            "random.",
        ),
    ] = FROM_ESTIMATOR,
    amount: Annotated[
        str,
        typer.Option(
            "--amount",
            help="How many rows to clean: auto, a share (0.1 or 10%), a number (200), "
            "the rows of a score (score>=0.5), or those wrong with some probability "
            "(doubt>=0.5).",
        ),
    ] = FROM_ESTIMATOR,
    action: Annotated[
        Literal["auto", "drop", "relabel", "downweight", "weight"],
        typer.Option(
            "--action",
            help="What to do with the flagged rows; weight: multiply every row's "
            "weight by the probability that its label is right; auto: weight or drop, "
            "whatever the trial shows to be better.",
        ),
    ] = FROM_ESTIMATOR,
    flagged_weight: Annotated[
        float,
        typer.Option(
            "--flagged-weight",
            help="Factor for the weights of the flagged rows, with --action "
            "downweight.",
        ),
    ] = FROM_ESTIMATOR,
    relabel_by: Annotated[
        Literal["influence", "influence_or_leave", "suggestion"],
        typer.Option(
            "--relabel-by",
            help="Which flagged rows --action relabel relabels. influence: those whose "
            "new label is estimated to help more than their removal, dropping the "
            "others; influence_or_leave: the same, leaving the others unchanged; "
            "suggestion: all for which another label is predicted.",
        ),
    ] = FROM_ESTIMATOR,
    validation: Annotated[
        str,
        typer.Option(
            "--validation",
            help="Held-out rows that choose the amount and measure the gain: number of "
            "folds (5), share of TRAIN (0.2), or a table of rows with trusted labels.",
        ),
    ] = FROM_ESTIMATOR,
    guard: Annotated[
        bool,
        typer.Option(
            "--guard/--no-guard", help="Keep all rows unless the gain exceeds noise."
        ),
    ] = FROM_ESTIMATOR,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="For comparison, also remove the same number of random rows, and "
            "append the trusted rows without cleaning.",
        ),
    ] = FROM_ESTIMATOR,
    refit_on_validation: Annotated[
        bool | None,
        typer.Option(
            "--refit-on-validation/--no-refit-on-validation",
            help="Train the final model, whose test scores are printed, on the "
            "validation rows too; by default only if they are held out of TRAIN.",
            show_default=False,
        ),
    ] = FROM_ESTIMATOR,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            help="Exit with code 4 if at least this number (10) or share (0.02 or 2%) "
            "of the rows was cleaned; files are still written.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the cleaned TRAIN to this table."),
    ] = None,
    removed: Annotated[
        Path | None,
        typer.Option(
            "--removed",
            help="Write the cleaned rows, and why, to this table.",
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(
            "--suspects",
            help="Write the rows that look wrong most, and why, to this table, also "
            "where all rows are kept.",
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write an HTML report to this file.")
    ] = None,
    escape_formulas: options.EscapeFormulas = None,
    seed: options.Seed = 0,
    n_jobs: options.Jobs = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find training rows that harm a model, clean them, and measure the gain."""
    import numpy as np

    from treeinf.cleaning import InfluenceCleaner
    from treeinf.cli.commands.cleaned_files import check_weight_column, write_cleaned
    from treeinf.cli.jobs import Clock, read_job
    from treeinf.cli.printing import Printer
    from treeinf.files import write_together

    printer, clock = Printer(as_json=json, quiet=quiet), Clock()
    if report is not None:
        _need_report_libraries()
    n_cleaned = options.parse_amount(amount, "--amount")
    is_failure = _parse_limit(fail_on)
    with clock.measure("read"):
        job = read_job(
            train,
            target,
            model,
            test=test,
            validation=validation,
            weight=weight,
            groups=groups,
            learn_groups=learn_groups,
            time=time,
            drop_columns=drop_columns,
            learn_columns=learn_columns,
            task=task,
            table_format=table_format,
            parameters=options.parse_parameters(parameter),
            outputs={
                "--out": out,
                "--removed": removed,
                "--suspects": suspects,
                "--report": report,
            },
            force=force,
        )
        check_weight_column(job, action)
    job.note_formulas(escape_formulas)
    job.print_input(printer)
    marks = _explain_model_file(job, model, n_jobs, clock, printer)
    cleaner = InfluenceCleaner(
        job.estimator,
        method=method,
        amount=n_cleaned,
        action=action,
        flagged_weight=flagged_weight,
        relabel_by=relabel_by,
        baselines=baselines,
        validation=job.validation,
        guard=guard,
        refit_on_validation=refit_on_validation,
        join_equal_rows=join_equal_rows,
        random_state=seed,
        n_jobs=-1 if n_jobs is None else n_jobs,
        verbose=printer.shows_progress,
    )
    with clock.measure("clean"):
        cleaner.fit(
            job.data.X,
            job.data.y,
            job.data.weight,
            job.data.groups,
            job.data.time,
        )
    changes: list[ScoreChange] = []
    if job.test is not None:
        with clock.measure("compare"):
            changes = job.compare(cleaner.estimator_, _rows_before(cleaner, job), seed)
    with clock.measure("write"), write_together(job.outputs) as files:
        write_cleaned(cleaner, job, marks, changes, files, escape_formulas)
    _print_summary(cleaner, changes, clock, job.outputs, printer)
    has_failed = is_failure(cleaner.report_)
    printer.finish(
        {
            **job.to_dict("clean", cleaner.report_, changes, clock),
            "action": action,
            "changed_rows": np.sort(np.asarray(cleaner.removed_["position"])),
            "removed_rows": np.flatnonzero(~cleaner.kept_),
            "contradicting_rows": np.asarray(cleaner.contradictions_["position"]),
            "fail_on": fail_on,
            "failed": has_failed,
        }
    )
    if has_failed:
        print(
            f"Cleaned {cleaner.report_.n_removed:,} rows of "
            f"{cleaner.report_.n_scored:,}; --fail-on {fail_on} was reached.",
            file=sys.stderr,
            flush=True,
        )
        raise typer.Exit(LIMIT_REACHED)


def _parse_limit(text: str | None) -> Callable[[CleaningReport], bool]:
    """Return a function that checks whether a report reaches the limit of --fail-on."""
    from treeinf.cleaning import Amount

    if text is None:
        return lambda report: False
    expected = (
        f"Got --fail-on {text!r}; expected a number of rows of at least 1, such as 10, "
        "or a share of them above 0 and at most 1, such as 0.02 or 2%."
    )
    try:
        amount = Amount.parse(text)
    except ValueError:
        raise CommandError(expected, code=2) from None
    is_share = amount.kind == "share"
    limit = float(amount.value or 0) if is_share or amount.kind == "count" else 0.0
    if limit <= 0.0 or (is_share and limit > 1.0):
        raise CommandError(expected, code=2)

    def is_reached(report: CleaningReport) -> bool:
        cleaned = report.share if is_share else report.n_removed
        return report.acted and cleaned >= limit

    return is_reached


def _need_report_libraries() -> None:
    for name in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise CommandError(
                f"--report needs {name}, which is not installed; pip install "
                "'treeinf[plot]'."
            )


def _explain_model_file(
    job: Job, model: str, n_jobs: int | None, clock: Clock, printer: Printer
) -> dict[str, NDArray[np.float64]]:
    """Check that a model file was trained on the rows, and compute their influence."""
    import numpy as np

    from treeinf.explainers import BoostIn, LeafInfluence

    if job.ensemble is None:
        return {}
    data, test = job.data, job.test

    def fit(kind: Any) -> Any:
        explainer = kind(n_jobs=n_jobs, verbose=printer.shows_progress)
        return explainer.fit(
            job.ensemble, data.X, data.model_y, sample_weight=data.weight
        )

    with clock.measure("route"):
        explainer = fit(BoostIn)
    printer.say(
        f"{model}: {job.ensemble.n_trees:,} trees, trained on these rows "
        f"({explainer.reproduction_.verdict})."
    )
    with clock.measure("influence"):
        marks = {"model_self_influence": np.asarray(explainer.self_influence())}
        if test is not None:
            total = fit(LeafInfluence).total(test.X, test.model_y)
            marks["model_influence_on_test"] = np.asarray(total)
    return marks


def _rows_before(cleaner: InfluenceCleaner, job: Job) -> LabelledRows | None:
    """Return the final model's train rows before cleaning; None if nothing changed."""
    if not cleaner.report_.acted:
        return None
    if cleaner.refit_on_validation is False:
        return job.rows.take(~cleaner.held_out_)
    return job.with_trusted(job.rows) if cleaner.refit_on_validation else job.rows


def _print_summary(
    cleaner: InfluenceCleaner,
    changes: Sequence[ScoreChange],
    clock: Clock,
    outputs: Mapping[str, Path],
    printer: Printer,
) -> None:
    from treeinf.cli.jobs import closing_facts
    from treeinf.cli.scores import print_changes

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
        first = report.alternatives[0].primary
        printer.table(
            ["", first.metric, "gain", f"{first.confidence:.0%} interval"],
            [
                (
                    line.name,
                    f"{line.primary.score_after:.4f}",
                    f"{line.primary.gain:+.4f}",
                    f"{line.primary.gain_low:+.4f} to {line.primary.gain_high:+.4f}",
                )
                for line in report.alternatives
            ],
            title=f"On the {first.n_rows:,} held-out rows that evaluate the cleaning",
        )
    _print_contradictions(cleaner, printer)
    facts = [("verdict", report.verdict)]
    if report.guard is not None:
        facts.append(("guard", str(report.guard)))
    if report.noise_rate_text:
        facts.append(("noise rate", report.noise_rate_text))
    if report.suspects.n_rows:
        facts.append(("suspects", report.suspects_text))
    if report.suspects.n_rows and not report.acted:
        ways = "--suspects FILE and --report FILE list them; --no-guard cleans them"
        facts.append(("", ways))
    named = "--out, --removed, --suspects, --report"
    facts += closing_facts(report, clock, _STEPS, outputs, named)
    printer.facts(facts)


def _print_contradictions(cleaner: InfluenceCleaner, printer: Printer) -> None:
    """Print the first sets of equal rows with different labels."""
    from treeinf.reports.rows import list_contradictions

    sets = list_contradictions(cleaner)
    if not sets:
        return
    what = cleaner.report_.target_word
    title = f"Equal rows with different {what}: {len(sets):,} sets"
    if len(sets) > _MOST_SETS:
        title += f", the first {_MOST_SETS} of them (--report lists all)"
    printer.table(["rows", what], sets[:_MOST_SETS], title=title)
