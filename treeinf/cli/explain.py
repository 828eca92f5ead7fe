"""`treeinf explain`: the train rows that help and harm test rows most."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.cli.exits import CommandError
from treeinf.cli.models import (
    LIBRARIES,
    new_estimator,
    read_model_file,
    task_of,
    with_model_columns,
)
from treeinf.cli.outputs import check_outputs, write_together
from treeinf.cli.printing import Printer
from treeinf.cli.tables import read_table, write_frame
from treeinf.cli.training_data import (
    TrainingData,
    number_labels,
    read_test_rows,
    read_training_data,
    text_columns,
)
from treeinf.explainers import BoostIn, LeafInfluence, LeafRefit, TreeSim, Trex

__all__ = ["METHODS", "run_explain"]

METHODS: dict[str, type[Any]] = {
    "boostin": BoostIn,
    "leaf-influence": LeafInfluence,
    "leaf-refit": LeafRefit,
    "trex": Trex,
    "treesim": TreeSim,
}
"""Explainers by the names that ``--method`` takes."""

N_PRINTED = 5
"""Test rows that are printed where none are asked for."""


def run_explain(
    model: str,
    train: Path,
    test: Path,
    target: str,
    *,
    weight: str | None,
    drop_columns: list[str],
    task: str,
    rows: str | None,
    k: int,
    total: bool,
    method: str,
    out: Path | None,
    seed: int,
    n_jobs: int | None,
    force: bool,
    printer: Printer,
) -> None:
    """Find the train rows with most influence on test rows.

    Parameters
    ----------
    model : str
        Model file, or the name of a library to train with.
    train, test : pathlib.Path
        Tables of the train rows and of the rows to explain.
    target : str
        Column of the targets in both.
    weight : str or None
        Column of row weights in the first.
    drop_columns : list of str
        Columns that are no features.
    task : str
        What the target asks for, where no model file tells.
    rows : str or None
        Test rows by position, with commas between; None for all.
    k : int
        Train rows to list on each side.
    total : bool
        Explain the summed loss of all test rows together.
    method : str
        One of `METHODS`.
    out : pathlib.Path or None
        Table to write.
    seed, n_jobs
        Random state and threads.
    force : bool
        Whether `out` may be replaced.
    printer : Printer
        Where to say it.
    """
    is_file = model not in LIBRARIES
    outputs = check_outputs(
        {"--out": out}, [train, test, Path(model) if is_file else None], force=force
    )
    ensemble = read_model_file(Path(model)) if is_file else None
    train_table = read_table(train, option="--train")
    data = read_training_data(
        train_table,
        target,
        weight=weight,
        task=task if ensemble is None else task_of(ensemble),
        drop_columns=drop_columns,
    )
    test_data = read_test_rows(
        read_table(test, option="--test", text_columns=text_columns(train_table)), data
    )
    explainer = METHODS[method](n_jobs=n_jobs, verbose=printer.shows_progress)
    if ensemble is not None:
        data = with_model_columns(data, ensemble)
        test_data = with_model_columns(test_data, ensemble)
        explainer.fit(ensemble, data.X, data.codes, sample_weight=data.weight)
        y_test = test_data.codes
        for note in number_labels(data):
            printer.say(note)
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
    chosen = _parse_rows(rows, len(y_test))
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
        _tell_total(values, data, k, len(chosen), printer, result)
        columns = _total_columns(values, data)
    else:
        sides = {
            side: explainer.top_k(X_test, y_test, k=k, order=side)
            for side in ("helpful", "harmful")
        }
        explained = _collect(sides, chosen, test_data, data)
        result["rows"] = explained
        _tell_rows(explained, target, printer, all_=rows is not None)
        columns = _row_columns(explained, target)
    if outputs:
        import pandas as pd

        with write_together(outputs) as places:
            write_frame(places["--out"], pd.DataFrame(columns), outputs["--out"])
        printer.say(f"Wrote {out}.")
    printer.finish(result)


def _parse_rows(rows: str | None, n_test: int) -> NDArray[np.int64]:
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
                f"--rows: there is no test row {row}; there are {n_test:,}, from 0."
            )
    return np.array(chosen)


def _total_columns(values: NDArray[np.float64], data: TrainingData) -> dict[str, Any]:
    order = np.argsort(values, kind="stable")
    return {"row": order, "influence": values[order], data.target: data.y[order]}


def _tell_total(
    values: NDArray[np.float64],
    data: TrainingData,
    k: int,
    n_explained: int,
    printer: Printer,
    result: dict[str, Any],
) -> None:
    order = np.argsort(values, kind="stable")
    for side, ranked in (("harmful", order[:k]), ("helpful", order[::-1][:k])):
        sign = -1.0 if side == "harmful" else 1.0
        ranked = ranked[sign * values[ranked] > 0]
        result[side] = [
            {"row": row, "influence": values[row], "label": data.y[row]}
            for row in ranked
        ]
        printer.table(
            ["train row", "influence", data.target],
            [(row, f"{values[row]:+.4g}", data.y[row]) for row in ranked],
            title=f"Train rows most {side} to {n_explained:,} test rows together",
        )


def _collect(
    sides: dict[str, Any],
    chosen: NDArray[np.int64],
    test: TrainingData,
    data: TrainingData,
) -> list[dict[str, Any]]:
    """Give for each test row its helpers and opponents, the strongest first."""
    signs = {"helpful": 1.0, "harmful": -1.0}
    return [
        {
            "test_row": row,
            "label": test.y[row],
            **{
                side: [
                    {"row": i, "influence": value, "label": data.y[i]}
                    for i, value in zip(
                        ranked.positions[t], ranked.values[t], strict=True
                    )
                    if signs[side] * value > 0
                ]
                for side, ranked in sides.items()
            },
        }
        for t, row in enumerate(chosen.tolist())
    ]


def _row_columns(explained: list[dict[str, Any]], target: str) -> dict[str, Any]:
    """Give one line for each test row, side and rank."""
    lines = [
        {
            "test_row": entry["test_row"],
            "side": side,
            "rank": rank,
            "train_row": other["row"],
            "influence": other["influence"],
            f"test_{target}": entry["label"],
            f"train_{target}": other["label"],
        }
        for entry in explained
        for side in ("helpful", "harmful")
        for rank, other in enumerate(entry[side], 1)
    ]
    names = lines[0] if lines else ()
    return {name: [line[name] for line in lines] for name in names}


def _tell_rows(
    explained: list[dict[str, Any]], target: str, printer: Printer, *, all_: bool
) -> None:
    shown = explained if all_ else explained[:N_PRINTED]
    blank = {"row": "", "influence": None, "label": ""}
    for entry in shown:
        pairs = itertools.zip_longest(
            entry["helpful"], entry["harmful"], fillvalue=blank
        )
        printer.table(
            [
                "",
                "most helpful",
                "influence",
                target,
                "most harmful",
                "influence",
                target,
            ],
            [
                (str(rank), *_cells(a), *_cells(b))
                for rank, (a, b) in enumerate(pairs, 1)
            ],
            title=f"Test row {entry['test_row']} ({target}: {entry['label']})",
        )
    if len(shown) < len(explained):
        printer.say(
            f"Shown are {len(shown)} of {len(explained):,} test rows; choose with "
            "--rows, or write all with --out."
        )


def _cells(entry: dict[str, Any]) -> tuple[str, str, str]:
    influence = entry["influence"]
    number = "" if influence is None else f"{influence:+.4g}"
    return str(entry["row"]), number, str(entry["label"])
