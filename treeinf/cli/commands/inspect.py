"""`treeinf inspect`: describe a model file and check its training rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treeinf.cli import options
from treeinf.cli.exits import MISMATCH, CommandError
from treeinf.cli.tables.format import TableFormat, takes_table_format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from treeinf.cli.tables.training_data import TrainingData
    from treeinf.ensemble import TreeEnsemble
    from treeinf.trace import TrainingTrace

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
    in_bag: Annotated[
        Path | None,
        typer.Option(
            "--in-bag",
            help="Write which rows each tree was trained on to this CSV or Parquet "
            "table: a line for each row of --train, a column for each tree.",
        ),
    ] = None,
    search_seed: Annotated[
        bool,
        typer.Option(
            "--search-seed",
            help="Where the model does not store the seed of its row sampling, try "
            "many, which takes minutes; what is found is printed.",
        ),
    ] = False,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Describe a model file; with --train, check whether these rows trained it."""
    from treeinf.cli.model_rows import as_model_reads, find_needs, find_texts, task_of
    from treeinf.cli.models import compare_with_library, read_model_file
    from treeinf.cli.outputs import check_outputs
    from treeinf.cli.printing import Printer
    from treeinf.cli.tables.files import read_table
    from treeinf.cli.tables.training_data import read_training_data

    if train is not None and target is None:
        raise CommandError(
            "--train needs --target, the column that the model predicts.", code=2
        )
    if train is None and (target or weight or drop_columns or in_bag or search_seed):
        raise CommandError(
            "--target, --weight, --drop-columns, --in-bag and --search-seed need "
            "--train.",
            code=2,
        )
    outputs = check_outputs({"--in-bag": in_bag}, [model, train], force=force)
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
        needs=find_needs(ensemble),
    )
    data = as_model_reads(data, ensemble)
    trace = _replay(ensemble, data, search_seed, is_needed=in_bag is None)
    printer.say()
    facts: dict[str, Any] = {"path": str(train), "n_rows": len(data.y)}
    if trace is not None:
        facts |= _report(trace)
        printer.say(str(trace.report))
    parity = compare_with_library(model, ensemble, data.X)
    if parity is not None:
        printer.facts(
            [("raw scores", f"  largest difference {parity[1]:.2g} from {parity[0]}")]
        )
    facts["largest_parity_difference"] = None if parity is None else parity[1]
    is_mismatch = trace is not None and trace.report.is_mismatch
    if outputs and not is_mismatch:
        table = _find_bags(ensemble, trace, data, search_seed)
        facts["share_in_bag"] = share = float((table > 0).mean())
        printer.facts(
            [("in bag", f"      {share:.1%} of the rows in the average tree")]
        )
        _write_bags(table, outputs["--in-bag"])
        printer.say(f"Wrote {in_bag}.")
    facts["in_bag"] = None if in_bag is None else str(in_bag)
    for note in data.notes:
        printer.say(note)
    result["train"] = facts
    printer.finish(result)
    if trace is not None and is_mismatch:
        raise CommandError(
            f"{model} was not trained on {train} ({trace.report.verdict}): "
            f"{trace.report.explanation}",
            code=MISMATCH,
        )


def _replay(
    ensemble: TreeEnsemble, data: TrainingData, search_seed: bool, *, is_needed: bool
) -> TrainingTrace | None:
    """Replay the training; None for models whose bags are to be found without it."""
    from treeinf.errors import UnsupportedModelError
    from treeinf.trace import TrainingTrace

    try:
        return TrainingTrace.build(
            ensemble,
            data.X,
            data.model_y,
            sample_weight=data.weight,
            on_mismatch="ignore",
            search_seed=search_seed,
        )
    except UnsupportedModelError:
        if is_needed:
            raise
        return None


def _report(trace: TrainingTrace) -> dict[str, Any]:
    """List what is known of the train rows, for programs."""
    report, bags = trace.report, trace.report.bags
    return {
        "verdict": report.verdict,
        "is_mismatch": report.is_mismatch,
        "explanation": report.explanation,
        "share_seen": report.share_seen,
        "wrong_counts": report.wrong_counts,
        "largest_difference": report.largest_difference,
        "median_difference": report.median_difference,
        "bags": None
        if bags is None
        else {
            "n_iterations": bags.n_iterations,
            "n_found": bags.n_found,
            "source": bags.source,
            "parameters": dict(bags.parameters),
            "missing_trees": list(bags.missing_trees),
            "share_in_bag": trace.rows.bags.mean_share(),
        },
    }


def _find_bags(
    ensemble: TreeEnsemble,
    trace: TrainingTrace | None,
    data: TrainingData,
    search_seed: bool,
) -> NDArray[Any]:
    """Return each row's factor in each tree, by the replay or by leaf counts."""
    from treeinf.explainers.row_sampling import in_bag
    from treeinf.explainers.row_sampling.recovery import find_bags, tabulate

    if trace is not None:
        return tabulate(ensemble, find_bags(trace, search_seed=search_seed))
    return in_bag(ensemble, data.X, data.model_y, data.weight, search_seed=search_seed)


def _write_bags(table: NDArray[Any], path: Path) -> None:
    """Write a line for each row and a column for each tree."""
    import pandas as pd

    from treeinf.cli.tables.files import write_frame
    from treeinf.files import write_together

    columns = {f"tree_{number}": factor for number, factor in enumerate(table.T)}
    frame = pd.DataFrame({"row": range(len(table)), **columns})
    if table.dtype == bool:
        frame = frame.astype(dict.fromkeys(columns, "uint8"))
    with write_together({"--in-bag": path}) as files:
        write_frame(files["--in-bag"], frame, path, escapes=False)
