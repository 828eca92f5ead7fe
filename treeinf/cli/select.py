"""`treeinf select`: keep the part of the train rows that is enough."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from treeinf.cleaning import InfluenceSelector
from treeinf.cli.exits import DONE
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
from treeinf.cli.tables import write_frame

__all__ = ["SelectOptions", "run_select"]


@dataclasses.dataclass(frozen=True)
class SelectOptions(JobOptions):
    """What `treeinf select` was asked for.

    Parameters
    ----------
    keep, strategy : str
        As on the command line.
    tolerance : float, default=0.02
        Part by which the loss may be above that of all rows.
    refit_on_validation : bool, default=False
        Whether the final model, and the table written, have the rows held out, too.
    ranking : pathlib.Path or None
        Table to write: each row's influence, cluster and fate.
    validation, others
        See `JobOptions`.
    """

    validation: str = "0.3"
    keep: str = "auto"
    strategy: str = "auto"
    tolerance: float = 0.02
    refit_on_validation: bool = False
    ranking: Path | None = None


def run_select(options: SelectOptions, printer: Printer) -> int:
    """Keep a part of a table.

    Parameters
    ----------
    options : SelectOptions
        What to do.
    printer : Printer
        Where to say it.

    Returns
    -------
    int
        Exit code: 0.

    Raises
    ------
    CommandError
        If the options, the tables or the model are at fault; before long work.
    """
    clock = Clock()
    validation, validation_file = parse_validation(options.validation)
    outputs = options.check_outputs(
        {"--out": options.out, "--ranking": options.ranking}, validation_file
    )
    keep = parse_amount(options.keep, "--keep")
    with clock.part("read"):
        job = read_job(options, validation_file)
    job.describe(printer)
    selector = InfluenceSelector(
        job.estimator,
        keep=keep,
        strategy=options.strategy,
        tolerance=options.tolerance,
        validation=job.trusted_rows or validation,
        refit_on_validation=options.refit_on_validation,
        random_state=options.seed,
        n_jobs=-1 if options.n_jobs is None else options.n_jobs,
        verbose=printer.shows_progress,
    )
    with clock.part("select"):
        selector.fit(job.data.X, job.data.y, job.data.weight)
    changes: list[ScoreChange] = []
    if job.test is not None:
        with clock.part("prove"):
            changes = _prove(selector, job, options)
    held_out = np.isnan(selector.influence_)
    kept = selector.kept_ | (held_out & options.refit_on_validation)
    with clock.part("write"), write_together(outputs) as places:
        if "--out" in places:
            job.table.write_rows(
                places["--out"], np.flatnonzero(kept), outputs["--out"]
            )
        if "--ranking" in places:
            frame = _ranking_frame(selector, kept)
            write_frame(places["--ranking"], frame, outputs["--ranking"])
    _tell(selector, changes, clock, outputs, printer)
    printer.finish(
        {
            "command": "select",
            "train": str(options.train),
            "target": options.target,
            "task": job.data.task,
            "n_features": len(job.data.columns),
            "kept_rows": np.flatnonzero(kept),
            "held_out_rows": np.flatnonzero(held_out),
            "test": [dataclasses.asdict(change) for change in changes],
            "report": selector.report_.to_dict(),
            "history": selector.history_,
            "seconds": clock.tell(selector.report_.seconds),
            "outputs": {name.lstrip("-"): str(path) for name, path in outputs.items()},
            "notes": job.notes,
        }
    )
    return DONE


def _prove(
    selector: InfluenceSelector, job: Job, options: SelectOptions
) -> list[ScoreChange]:
    """Compare the final model with one of all rows that could be kept."""
    if selector.report_.strategy == "all":
        return job.prove(selector.estimator_, None, options.seed)
    rows = job.rows
    if options.refit_on_validation:
        rows = job.with_trusted(rows)
    else:
        rows = rows.take(np.flatnonzero(np.isfinite(selector.influence_)))
    return job.prove(selector.estimator_, rows, options.seed)


def _ranking_frame(selector: InfluenceSelector, kept: Any) -> Any:
    """Lay out all rows: most helpful first, those held out last."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "row": np.arange(len(kept)),
            "influence": selector.influence_,
            "cluster": pd.Series(selector.clusters_, dtype="Int64").replace(-1, pd.NA),
            "is_held_out": np.isnan(selector.influence_),
            "is_kept": kept,
        }
    )
    return frame.sort_values(
        "influence", ascending=False, kind="stable", na_position="last"
    )


def _tell(
    selector: InfluenceSelector,
    changes: Sequence[ScoreChange],
    clock: Clock,
    outputs: Mapping[str, Path],
    printer: Printer,
) -> None:
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
        title=f"Parts tried, by {report.primary_against_all.metric} on unseen rows",
    )
    spent = {**report.seconds, **clock.seconds}
    order = ("read", "train", "influence", "clusters", "retrain", "final", "prove")
    times = ", ".join(f"{name} {spent[name]:.2f} s" for name in order if name in spent)
    facts = [
        ("against all", str(report.against_all)),
        ("against any", str(report.against_random)),
        ("time", f"{times} ({report.n_fits:,} models trained)"),
        *(("note", note) for note in report.notes),
    ]
    facts += [
        (f"wrote {name.lstrip('-')}", str(path)) for name, path in outputs.items()
    ]
    if not outputs:
        facts.append(("wrote", "nothing; name files with --out, --ranking"))
    printer.facts(facts)
