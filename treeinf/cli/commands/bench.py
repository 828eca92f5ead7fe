"""`treeinf bench`: time the explainers on a user's model, table and machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treeinf.cli import options
from treeinf.cli.exits import CommandError
from treeinf.cli.printing import Printer
from treeinf.cli.tables.format import TableFormat, takes_table_format

if TYPE_CHECKING:
    from treeinf.ensemble import TreeEnsemble
    from treeinf.evaluation import ModelBench

__all__ = ["bench"]

_N_TEST = 1_000
_LONGEST_NOTE = 200


@takes_table_format
def bench(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Model file, or a library to train with: lightgbm, xgboost, "
            "catboost, sklearn.",
        ),
    ],
    train: Annotated[
        Path, typer.Option("--train", help="The rows the model was trained on.")
    ],
    target: options.Target,
    table_format: TableFormat,
    test: Annotated[
        Path | None,
        typer.Option(
            "--test", help="Rows to explain; by default the first 1,000 train rows."
        ),
    ] = None,
    weight: options.Weight = None,
    drop_columns: options.DropColumns = "",
    learn_columns: options.LearnColumns = "",
    parameter: options.Parameters = None,
    repeats: Annotated[
        int,
        typer.Option(
            "--repeats", min=1, help="Timed calls of each method after the first."
        ),
    ] = 3,
    n_jobs: options.Jobs = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time influence on a model, relative to the library's own prediction."""
    from treeinf.cli.jobs import read_tables
    from treeinf.cli.models import new_estimator
    from treeinf.evaluation import bench_model

    printer = Printer(as_json=json, quiet=quiet)
    tables = read_tables(
        model,
        train,
        target,
        option="--train",
        others={"--test": test},
        weight=weight,
        drop_columns=drop_columns,
        learn_columns=learn_columns,
        table_format=table_format,
        parameters=options.parse_parameters(parameter),
    )
    data, test_data = tables.data, tables.others.get("--test")
    for note in data.notes:
        printer.say(note)
    ensemble = tables.ensemble
    fitted: Any = ensemble
    if ensemble is None:
        fitted = new_estimator(model, data.task, data=data, seed=0, n_jobs=n_jobs)
        fitted.fit(data.X, data.y, sample_weight=data.weight)
        y, library_model = data.y, fitted
    else:
        y, library_model = data.model_y, _load(Path(model), ensemble)
    if test_data is None:
        X_test, y_test = data.X.iloc[:_N_TEST], y[:_N_TEST]
    else:
        X_test = test_data.X
        y_test = test_data.y if ensemble is None else test_data.model_y
    if not len(y_test):
        raise CommandError("--test has no rows; expected at least one.")
    result = bench_model(
        fitted,
        data.X,
        y,
        X_test,
        y_test,
        sample_weight=data.weight,
        predict=None if library_model is None else _prediction(library_model, data.X),
        repeats=repeats,
        n_jobs=n_jobs,
    )
    _print(result, printer)
    printer.finish({"command": "bench", "model": model, **dataclasses.asdict(result)})


def _load(path: Path, ensemble: TreeEnsemble) -> Any:
    """Load a model file with the library that wrote it; None where that fails."""
    from treeinf.cli.models import load_with_library

    try:
        return load_with_library(path, ensemble)
    except Exception:  # the library's own errors have no common class
        return None


def _prediction(model: Any, X: Any) -> Callable[[], Any]:
    from treeinf.adapters import find_adapter

    adapter, inner = find_adapter(model)
    return lambda: adapter.raw_score(inner, X)


def _print(result: ModelBench, printer: Printer) -> None:
    printer.say(
        f"{result.n_train:,} train rows, {result.n_test:,} test rows, "
        f"{result.n_trees:,} trees, {result.n_leaves:,} leaves"
    )
    has_ratio = result.costs[0].ratio == result.costs[0].ratio
    printer.table(
        ["method", "question", "first call", "median", "range", "ratio"],
        [
            (
                cost.method,
                cost.question,
                _seconds(cost.first),
                _seconds(cost.median),
                f"{_seconds(cost.low)} to {_seconds(cost.high)}",
                f"{cost.ratio:.3g}" if has_ratio else "-",
            )
            for cost in result.costs
        ],
    )
    printer.say("The first call may compile kernels, once per machine.")
    printer.say(
        "Ratios are to the time of the library's own raw scores of the train rows."
        if has_ratio
        else "No ratios: the library that wrote the model is missing or cannot load it."
    )
    for name, reason in result.refused.items():
        short = reason if len(reason) <= _LONGEST_NOTE else f"{reason[:197]}..."
        printer.say(f"{name} does not support this model: {short}")


def _seconds(seconds: float) -> str:
    if seconds < 0.1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.3g} s"
