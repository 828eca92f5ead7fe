"""`treeinf inspect`: describe a model file and check its training rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from treeinf.cli import options
from treeinf.cli.exits import MISMATCH, CommandError
from treeinf.cli.tables.format import TableFormat, takes_table_format

__all__ = ["inspect"]


@takes_table_format
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODELFILE", help="Model file.")],
    table_format: TableFormat,
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Table to check: was the model trained on it?"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "-y", help="Column that the model predicts."),
    ] = None,
    weight: options.Weight = None,
    drop_columns: options.DropColumns = "",
    parameter: options.Parameters = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Describe a model file; with --train, check whether these rows trained it."""
    from treeinf.cli.model_rows import as_model_reads, find_texts, task_of
    from treeinf.cli.models import compare_with_library, read_model_file
    from treeinf.cli.printing import Printer
    from treeinf.cli.tables.files import read_table
    from treeinf.cli.tables.training_data import read_training_data
    from treeinf.trace import TrainingTrace

    if train is not None and target is None:
        raise CommandError(
            "--train needs --target, the column that the model predicts.", code=2
        )
    if train is None and (target or weight or drop_columns):
        raise CommandError(
            "--target, --weight and --drop-columns need --train.", code=2
        )
    printer = Printer(as_json=json, quiet=quiet)
    ensemble = read_model_file(model, options.parse_parameters(parameter))
    printer.say(ensemble.describe())
    result: dict[str, Any] = {
        "command": "inspect",
        "model": str(model),
        "library": ensemble.library,
        "library_version": ensemble.library_version,
        "loss": ensemble.loss_name,
        "n_trees": ensemble.n_trees,
        "n_iterations": ensemble.n_iterations,
        "n_outputs": ensemble.n_outputs,
        "n_features": ensemble.n_features,
        "n_leaves": ensemble.n_leaves,
        "feature_names": ensemble.input_rules.feature_names,
        "train": None,
    }
    if train is None:
        printer.finish(result)
        return
    data = read_training_data(
        read_table(train, table_format, option="--train", is_text=find_texts(ensemble)),
        str(target),
        weight=weight,
        task=task_of(ensemble),
        drop_columns=options.split_names(drop_columns),
    )
    data = as_model_reads(data, ensemble)
    trace = TrainingTrace.build(
        ensemble, data.X, data.model_y, sample_weight=data.weight, on_mismatch="ignore"
    )
    parity = compare_with_library(model, ensemble, data.X)
    report = trace.report
    printer.say()
    printer.say(str(report))
    if parity is not None:
        printer.facts(
            [("raw scores", f"  largest difference {parity[1]:.2g} from {parity[0]}")]
        )
    for note in data.notes:
        printer.say(note)
    result["train"] = {
        "path": str(train),
        "n_rows": report.n_rows,
        "verdict": report.verdict,
        "is_mismatch": report.is_mismatch,
        "explanation": report.explanation,
        "share_seen": report.share_seen,
        "wrong_counts": report.wrong_counts,
        "largest_difference": report.largest_difference,
        "median_difference": report.median_difference,
        "largest_parity_difference": None if parity is None else parity[1],
    }
    printer.finish(result)
    if report.is_mismatch:
        raise CommandError(
            f"{model} was not trained on {train} ({report.verdict}): "
            f"{report.explanation}",
            code=MISMATCH,
        )
