"""`treeinf explain`: the train rows that help and harm test rows most."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from treeinf.cli import options
from treeinf.cli.exits import CommandError
from treeinf.cli.tables.format import TableFormat, takes_table_format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from treeinf.cli.printing import Printer
    from treeinf.cli.tables.training_data import TrainingData

__all__ = ["explain"]

Method = Literal["leaf-influence", "boostin", "leaf-refit", "trex", "treesim"]

_EXPLAINERS = {
    "leaf-influence": "LeafInfluence",
    "boostin": "BoostIn",
    "leaf-refit": "LeafRefit",
    "trex": "Trex",
    "treesim": "TreeSim",
}
_SIGNS = {"helpful": 1.0, "harmful": -1.0}
_N_PRINTED = 5  # test rows, unless --rows names them


@takes_table_format
def explain(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Model file; or lightgbm, xgboost, catboost, sklearn to train one.",
        ),
    ],
    train: Annotated[
        Path, typer.Option("--train", help="Training rows, CSV or Parquet.")
    ],
    test: Annotated[
        Path, typer.Option("--test", help="Rows to explain, CSV or Parquet.")
    ],
    target: options.Target,
    table_format: TableFormat,
    rows: Annotated[
        str | None,
        typer.Option(
            "--rows",
            help="Positions of test rows to explain, such as 0,5,7; all by default.",
        ),
    ] = None,
    k: Annotated[
        int,
        typer.Option(
            "-k", "--k", min=1, help="Number of helpful and of harmful training rows."
        ),
    ] = 10,
    total: Annotated[
        bool,
        typer.Option("--total", help="Explain the sum of the test rows' losses."),
    ] = False,
    method: Annotated[
        Method, typer.Option("--method", help="Estimator of influence.")
    ] = "leaf-influence",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the result to this CSV or Parquet table."),
    ] = None,
    escape_formulas: options.EscapeFormulas = None,
    weight: options.Weight = None,
    drop_columns: options.DropColumns = "",
    learn_columns: options.LearnColumns = "",
    parameter: options.Parameters = None,
    task: options.Task = "auto",
    seed: options.Seed = 0,
    n_jobs: options.Jobs = None,
    force: options.Force = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the training rows that help and harm predictions of test rows most."""
    import numpy as np

    import treeinf.explainers
    from treeinf.cli.jobs import read_tables
    from treeinf.cli.models import model_file, new_estimator
    from treeinf.cli.outputs import check_outputs
    from treeinf.cli.printing import Printer
    from treeinf.cli.tables.files import write_frame
    from treeinf.files import write_together

    printer = Printer(as_json=json, quiet=quiet)
    file = model_file(model)
    outputs = check_outputs({"--out": out}, [train, test, file], force=force)
    tables = read_tables(
        model,
        train,
        target,
        option="--train",
        others={"--test": test},
        weight=weight,
        drop_columns=drop_columns,
        learn_columns=learn_columns,
        task=task,
        table_format=table_format,
        parameters=options.parse_parameters(parameter),
    )
    data, test_data = tables.data, tables.others["--test"]
    chosen = _parse_rows(rows, len(test_data.y))
    kind: Any = getattr(treeinf.explainers, _EXPLAINERS[method])
    explainer = kind(n_jobs=n_jobs, verbose=printer.shows_progress)
    if tables.ensemble is not None:
        explainer.fit(tables.ensemble, data.X, data.model_y, sample_weight=data.weight)
        y_test = test_data.model_y
    else:
        estimator = new_estimator(model, data.task, data=data, seed=seed, n_jobs=n_jobs)
        estimator.fit(data.X, data.y, sample_weight=data.weight)
        explainer.fit(estimator, data.X, data.y, sample_weight=data.weight)
        y_test = test_data.y
    for note in data.notes:
        printer.say(note)
    report = getattr(explainer, "reproduction_", None)
    verdict = "not checked" if report is None else report.verdict
    printer.say(f"Train rows: {verdict}.")
    X_test, y_test = test_data.X.iloc[chosen], y_test[chosen]
    result: dict[str, Any] = {
        "command": "explain",
        "model": model,
        "method": method,
        "reproduction": verdict,
        "n_train": len(data.y),
        "n_explained": len(chosen),
        "out": None if out is None else str(out),
    }
    if total:
        values = np.asarray(explainer.total(X_test, y_test))
        order = np.argsort(values, kind="stable")
        columns = {"row": order, "influence": values[order], target: data.y[order]}
        result |= _strongest_rows(values, order, data, k)
        _print_total(result, target, len(chosen), printer)
    else:
        ranked = {
            side: explainer.top_k(X_test, y_test, k=k, order=side) for side in _SIGNS
        }
        result["rows"] = explained = _list_rows(ranked, chosen, test_data, data)
        columns = _row_columns(explained, target)
        _print_rows(explained, target, printer, all_rows=rows is not None)
    if outputs:
        import pandas as pd

        with write_together(outputs) as files:
            write_frame(
                files["--out"],
                pd.DataFrame(columns),
                outputs["--out"],
                escapes=escape_formulas is not False,
            )
        printer.say(f"Wrote {out}.")
    printer.finish(result)


def _parse_rows(rows: str | None, n_test: int) -> NDArray[np.int64]:
    import numpy as np

    if rows is None:
        return np.arange(n_test)
    try:
        chosen = [int(row) for row in rows.split(",")]
    except ValueError:
        raise CommandError(
            f"Got --rows {rows!r}; expected positions such as 0,5,7.", code=2
        ) from None
    for row in chosen:
        if not 0 <= row < n_test:
            raise CommandError(
                f"--rows: there is no test row {row}; expected 0 to {n_test - 1}."
            )
    return np.array(chosen)


def _strongest_rows(
    values: NDArray[np.float64], order: NDArray[np.intp], data: TrainingData, k: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the most harmful and the most helpful training rows."""
    rows = {"harmful": order[:k], "helpful": order[::-1][:k]}
    return {
        side: [
            {"row": row, "influence": values[row], "label": data.y[row]}
            for row in rows[side]
            if _SIGNS[side] * values[row] > 0
        ]
        for side in rows
    }


def _list_rows(
    ranked: dict[str, Any],
    chosen: NDArray[np.int64],
    test: TrainingData,
    data: TrainingData,
) -> list[dict[str, Any]]:
    """Return each test row with its helpful and harmful rows, the strongest first."""
    return [
        {
            "test_row": row,
            "label": test.y[row],
            **{
                side: [
                    {"row": i, "influence": value, "label": data.y[i]}
                    for i, value in zip(top.positions[t], top.values[t], strict=True)
                    if _SIGNS[side] * value > 0
                ]
                for side, top in ranked.items()
            },
        }
        for t, row in enumerate(chosen.tolist())
    ]


def _row_columns(explained: list[dict[str, Any]], target: str) -> dict[str, Any]:
    """Return the columns of a table with a line for each test row, side and rank."""
    lines = [
        {
            "test_row": entry["test_row"],
            "side": side,
            "rank": rank,
            "train_row": row["row"],
            "influence": row["influence"],
            f"test_{target}": entry["label"],
            f"train_{target}": row["label"],
        }
        for entry in explained
        for side in _SIGNS
        for rank, row in enumerate(entry[side], 1)
    ]
    names = lines[0] if lines else ()
    return {name: [line[name] for line in lines] for name in names}


def _cells(entry: dict[str, Any] | None) -> tuple[str, str, str]:
    if entry is None:
        return "", "", ""
    return str(entry["row"]), f"{entry['influence']:+.4g}", str(entry["label"])


def _print_total(
    result: dict[str, Any], target: str, n_test: int, printer: Printer
) -> None:
    for side in ("harmful", "helpful"):
        printer.table(
            ["train row", "influence", target],
            [_cells(row) for row in result[side]],
            title=f"Train rows most {side} to {n_test:,} test rows together",
        )


def _print_rows(
    explained: list[dict[str, Any]], target: str, printer: Printer, *, all_rows: bool
) -> None:
    shown = explained if all_rows else explained[:_N_PRINTED]
    for entry in shown:
        pairs = itertools.zip_longest(entry["helpful"], entry["harmful"])
        side_columns = ("influence", target)
        printer.table(
            ["", "most helpful", *side_columns, "most harmful", *side_columns],
            [
                (str(rank), *_cells(helpful), *_cells(harmful))
                for rank, (helpful, harmful) in enumerate(pairs, 1)
            ],
            title=f"Test row {entry['test_row']} ({target}: {entry['label']})",
        )
    if len(shown) < len(explained):
        printer.say(
            f"{len(shown)} of {len(explained):,} test rows are shown; choose rows with "
            "--rows, or write all with --out."
        )
