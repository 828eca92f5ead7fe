"""`treeinf select`: find a smaller training set with almost the same loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from treeinf.cli import options
from treeinf.cli.options import FROM_ESTIMATOR
from treeinf.cli.tables.format import TableFormat, takes_table_format

if TYPE_CHECKING:
    from treeinf.cleaning import InfluenceSelector
    from treeinf.cli.jobs import Clock, Job
    from treeinf.cli.printing import Printer
    from treeinf.cli.scores import ScoreChange

__all__ = ["select"]

_STEPS = "read train influence clusters retrain final compare"


@takes_table_format
def select(
    train: options.Train,
    target: options.Target,
    table_format: TableFormat,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="lightgbm, xgboost, catboost or sklearn; or a model file, whose "
            "training parameters are used.",
        ),
    ] = "lightgbm",
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", help="Rows to score models on; never used for selecting."
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
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            help="How many rows to keep. auto: the fewest that stay within "
            "--tolerance; a share (0.3 or 30%); or a number (200).",
        ),
    ] = FROM_ESTIMATOR,
    strategy: Annotated[
        Literal["auto", "influence", "diverse", "random"],
        typer.Option(
            "--strategy",
            help="Which rows to keep. influence: the most helpful; diverse: the most "
            "helpful of each cluster; random: a random sample; auto: the best of the "
            "three.",
        ),
    ] = FROM_ESTIMATOR,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            help="Accepted relative increase of the loss, compared with all rows.",
        ),
    ] = FROM_ESTIMATOR,
    validation: Annotated[
        str,
        typer.Option(
            "--validation",
            help="Held-out rows that choose the subset and measure its loss: share of "
            "TRAIN (0.3), number of folds (5), or a table of rows.",
        ),
    ] = FROM_ESTIMATOR,
    refit_on_validation: Annotated[
        bool,
        typer.Option(
            "--refit-on-validation/--no-refit-on-validation",
            help="Train the final model on the validation rows too, and include those "
            "held out of TRAIN in --out.",
        ),
    ] = FROM_ESTIMATOR,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the kept rows to this table.")
    ] = None,
    ranking: Annotated[
        Path | None,
        typer.Option(
            "--ranking",
            help="Write influence and cluster of all rows, and which are kept, to this "
            "table.",
        ),
    ] = None,
    escape_formulas: options.EscapeFormulas = None,
    seed: options.Seed = 0,
    n_jobs: options.Jobs = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Find a smaller training set with almost the same loss, by influence."""
    import numpy as np

    from treeinf.cleaning import InfluenceSelector
    from treeinf.cli.jobs import Clock, read_job
    from treeinf.cli.printing import Printer
    from treeinf.cli.tables.files import write_frame
    from treeinf.files import write_together

    printer, clock = Printer(as_json=json, quiet=quiet), Clock()
    n_kept = options.parse_amount(keep, "--keep")
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
            outputs={"--out": out, "--ranking": ranking},
            force=force,
        )
    job.note_formulas(escape_formulas)
    job.print_input(printer)
    selector = InfluenceSelector(
        job.estimator,
        keep=n_kept,
        strategy=strategy,
        tolerance=tolerance,
        validation=job.validation,
        refit_on_validation=refit_on_validation,
        join_equal_rows=join_equal_rows,
        random_state=seed,
        n_jobs=-1 if n_jobs is None else n_jobs,
        verbose=printer.shows_progress,
    )
    with clock.measure("select"):
        selector.fit(
            job.data.X,
            job.data.y,
            job.data.weight,
            job.data.groups,
            job.data.time,
        )
    changes: list[ScoreChange] = []
    if job.test is not None:
        with clock.measure("compare"):
            changes = _compare(selector, job, seed)
    is_held_out = np.isnan(selector.influence_)
    is_kept = selector.kept_ | (is_held_out & refit_on_validation)
    with clock.measure("write"), write_together(job.outputs) as files:
        if "--out" in files:
            job.table.write_rows(
                files["--out"],
                np.flatnonzero(is_kept),
                job.outputs["--out"],
                escapes=bool(escape_formulas),
            )
        if "--ranking" in files:
            frame = _ranking_frame(selector, is_kept)
            write_frame(
                files["--ranking"],
                frame,
                job.outputs["--ranking"],
                escapes=escape_formulas is not False,
            )
    _print_summary(selector, changes, clock, job.outputs, printer)
    printer.finish(
        {
            **job.to_dict("select", selector.report_, changes, clock),
            "kept_rows": np.flatnonzero(is_kept),
            "held_out_rows": np.flatnonzero(is_held_out),
            "history": selector.history_,
        }
    )


def _compare(selector: InfluenceSelector, job: Job, seed: int) -> list[ScoreChange]:
    """Compare the final model with one of all rows that could be kept."""
    import numpy as np

    if selector.report_.strategy == "all":
        return job.compare(selector.estimator_, None, seed)
    rows = job.rows
    if selector.refit_on_validation:
        rows = job.with_trusted(rows)
    else:
        rows = rows.take(np.flatnonzero(np.isfinite(selector.influence_)))
    return job.compare(selector.estimator_, rows, seed)


def _ranking_frame(selector: InfluenceSelector, is_kept: Any) -> Any:
    """Return a frame of all rows: most helpful first, those held out last."""
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame(
        {
            "row": np.arange(len(is_kept)),
            "influence": selector.influence_,
            "cluster": pd.Series(selector.clusters_, dtype="Int64").replace(-1, pd.NA),
            "is_held_out": np.isnan(selector.influence_),
            "is_kept": is_kept,
        }
    )
    return frame.sort_values(
        "influence", ascending=False, kind="stable", na_position="last"
    )


def _print_summary(
    selector: InfluenceSelector,
    changes: Sequence[ScoreChange],
    clock: Clock,
    outputs: Mapping[str, Path],
    printer: Printer,
) -> None:
    from treeinf.cli.jobs import closing_facts
    from treeinf.cli.scores import print_changes

    report = selector.report_
    printer.say()
    printer.say(report.headline)
    printer.say()
    if changes:
        title = f"On {changes[0].n_rows:,} test rows: all rows, and those kept"
        print_changes(changes, printer, title)
    printer.table(
        ["rows", "kept", "primary", "gain", "interval", "loss"],
        [
            (
                line["strategy"],
                f"{line['n_kept']:,}",
                f"{line['primary']:.4f}",
                f"{line['primary_gain']:+.4f}",
                f"{line['primary_gain_low']:+.4f} to {line['primary_gain_high']:+.4f}",
                f"{line['loss']:.4f}",
            )
            for line in selector.history_
        ],
        title=f"Subsets tried, by {report.primary_against_all.metric} on held-out rows",
    )
    printer.facts(
        [
            ("against all", str(report.against_all)),
            ("against random", str(report.against_random)),
            *closing_facts(report, clock, _STEPS, outputs, "--out, --ranking"),
        ]
    )
