"""Run the cells of a suite in parallel and store each, so that runs can resume."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
import warnings
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from joblib import parallel_config
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from treeinf.errors import TreeinfError
from treeinf.evaluation.cells import DONE, FAILED, UNSUPPORTED, CellStore, Outcome
from treeinf.evaluation.experiment import Experiment, import_pandas
from treeinf.evaluation.machine import describe_machine, find_versions
from treeinf.evaluation.measures.registry import MEASURES, options_of
from treeinf.evaluation.rows import draw_rows
from treeinf.evaluation.suite import Cell, Suite
from treeinf.explainers.fitting import TreeExplainer
from treeinf.kernels.threads import check_n_jobs, limit_threads
from treeinf.training.parallel import Progress, run_tasks

__all__ = ["read_outcomes", "read_results", "run_suite"]

RUN_FILE = "run.json"
_MOST_NOTES = 10


def run_suite(
    suite: Suite,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    only: str | None = None,
    n_jobs: int | None = None,
    verbose: bool = True,
) -> dict[str, int]:
    """Run the cells of a suite that are not stored yet; needs pandas and pyarrow.

    Parameters
    ----------
    suite : Suite
        What to measure.
    out : path-like
        Folder of the run, created if needed.
    resume : bool, default=False
        Go on with the cells that lie there. Cells whose data, model, method, options or
        numbers of rows have changed are others, and run; those that failed run again.
    only : str, optional
        Condition on cells, in the language of `pandas.DataFrame.query`, over the
        columns data, library, measure, method and seed.
    n_jobs : int or None, default=None
        Cells at a time, in processes; None or -1 for one a core. Each has one thread,
        in all libraries.
    verbose : bool, default=True
        Show progress, with the time left.

    Returns
    -------
    dict of str to int
        How many cells were "done", "unsupported" and "failed" in this run, and how many
        were "stored" before.

    Raises
    ------
    FileExistsError
        If there are cells in the folder, and `resume` is False.
    ValueError
        If `only` is no such condition or leaves nothing, or a data set has not the
        groups named.

    Notes
    -----
    A cell that fails does not stop the others; `read_outcomes` says why it did. A cell
    depends on nothing but its own parts, so that results are the same for any number of
    processes and any interruption, except for times.
    """
    import_pandas()
    for name in suite.groups:
        suite.dataset(name)  # names a column that is not there
    store = CellStore(out)
    if len(store) and not resume:
        raise FileExistsError(
            f"{store.folder} holds {len(store):,} cells of a run; resume it, or name "
            "another folder."
        )
    planned = suite.cells()
    chosen = _choose(planned, only)
    store.sweep()
    stored = {cell for cell in chosen if _is_settled(store.outcome(cell))}
    missing = [cell for cell in chosen if cell not in stored]
    record = store.read_json(RUN_FILE)
    run = {
        "started": _now(),
        "ended": None,
        "only": only,
        "n_jobs": check_n_jobs(n_jobs),
        "machine": describe_machine(),
        "versions": find_versions(),
    }
    record = {
        "suite": suite.name,
        "seeds": list(suite.seeds),
        "n_train": suite.n_train,
        "n_test": suite.n_test,
        "cells": [dataclasses.asdict(cell) for cell in planned],
        "runs": [*record.get("runs", []), run],
    }
    store.write_json(RUN_FILE, record)
    counts = Counter(stored=len(stored))
    progress = Progress(suite.name, is_shown=verbose, unit="cell")
    progress.expect(len(missing))
    tasks = [
        functools.partial(_run_cell, suite, cell, store.folder) for cell in missing
    ]
    with contextlib.closing(progress), parallel_config("loky", inner_max_num_threads=1):
        for status in run_tasks(
            tasks, check_n_jobs(n_jobs), workers="processes", ordered=False
        ):
            counts[status] += 1
            progress.step(f"failed: {counts[FAILED]}" if counts[FAILED] else "")
    run["ended"] = _now()
    store.write_json(RUN_FILE, record)
    return {name: counts[name] for name in (DONE, UNSUPPORTED, FAILED, "stored")}


def read_outcomes(out: str | os.PathLike[str], measure: str | None = None) -> Any:
    """List the outcomes of the cells of a run.

    Parameters
    ----------
    out : path-like
        Its folder.
    measure : str, optional
        List the cells of this measure only.

    Returns
    -------
    pandas.DataFrame
        One line for each planned cell: data, library, measure, method, seed, and
        ``status`` ("done", "unsupported", "failed" or "missing"), ``reason``,
        ``seconds`` and ``notes``.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    """
    pd = import_pandas()
    store = CellStore(out)
    lines = []
    for cell in _planned(store):
        if measure not in (None, cell.measure):
            continue
        outcome = store.outcome(cell)
        line = dataclasses.asdict(cell)
        del line["identity"]
        line["status"] = "missing" if outcome is None else outcome.status
        line["reason"] = "" if outcome is None else outcome.reason
        line["seconds"] = float("nan") if outcome is None else outcome.seconds
        line["notes"] = "" if outcome is None else "; ".join(outcome.notes)
        lines.append(line)
    return pd.DataFrame(lines)


def read_results(out: str | os.PathLike[str], measure: str) -> Any:
    """Read the results of a measure, all cells of it that are done.

    Parameters
    ----------
    out : path-like
        Folder of the run.
    measure : str
        Its name.

    Returns
    -------
    pandas.DataFrame
        The lines of the measure's own frame, after columns ``data``, ``library`` and
        ``seed``; empty where no cell is done.

    Raises
    ------
    FileNotFoundError
        If there is no run in the folder.
    """
    pd = import_pandas()
    store = CellStore(out)
    frames = []
    for cell in _planned(store):
        outcome = store.outcome(cell) if cell.measure == measure else None
        if outcome is not None and outcome.status == DONE:
            frames.append(store.read(cell))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _planned(store: CellStore) -> list[Cell]:
    record = store.read_json(RUN_FILE)
    if not record:
        raise FileNotFoundError(
            f"There is no {store.folder / RUN_FILE}; expected the folder of a run."
        )
    return [Cell(**facts) for facts in record["cells"]]


def _choose(cells: list[Cell], only: str | None) -> list[Cell]:
    """Select the cells that fulfil a condition."""
    if only is None:
        return cells
    pd = import_pandas()
    frame = pd.DataFrame([dataclasses.asdict(cell) for cell in cells])
    try:
        chosen = frame.drop(columns="identity").query(only).index
    except Exception as error:
        raise ValueError(
            f"Got only={only!r}; expected a condition on data, library, measure, "
            f"method and seed, such as \"library == 'lightgbm'\" ({error})."
        ) from error
    if not len(chosen):
        raise ValueError(f"only={only!r} leaves none of the {len(cells):,} cells.")
    return [cells[position] for position in chosen]


def _is_settled(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status != FAILED


def _run_cell(suite: Suite, cell: Cell, folder: Path) -> str:
    """Measure one cell, store it and return its status."""
    store = CellStore(folder)
    start = time.perf_counter()
    frame, status, reason = None, DONE, ""
    notes: list[str] = []
    with (
        warnings.catch_warnings(record=True) as caught,
        threadpool_limits(1),
        limit_threads(1),
    ):
        warnings.simplefilter("always")
        try:
            frame = _measure(suite, cell, notes)
        except _NotForThis as error:
            status, reason = UNSUPPORTED, str(error)
        except TreeinfError as error:
            status, reason = UNSUPPORTED, f"{type(error).__name__}: {error}"
        except Exception as error:
            status, reason = FAILED, f"{type(error).__name__}: {error}"
    words = [" ".join(str(warning.message).split()) for warning in caught]
    notes += list(dict.fromkeys(words))[:_MOST_NOTES]
    seconds = time.perf_counter() - start
    store.write(Outcome(cell, status, reason, seconds, notes, find_versions()), frame)
    return status


class _NotForThis(Exception):
    """The measure does not apply to the data."""


def _measure(suite: Suite, cell: Cell, notes: list[str]) -> Any:
    measure = MEASURES[cell.measure]
    dataset = suite.dataset(cell.data)
    if measure.only_classes and dataset.task == "regression":
        raise _NotForThis(f"{cell.measure} is for classes only.")
    estimator = suite.estimator(cell.library, dataset.task)
    rows = draw_rows(
        dataset, suite.n_train, suite.n_test, cell.seed, suite.split(cell.data)
    )
    methods = {
        name: suite.method(name, cell.seed)
        for name in suite.in_cell(cell.measure, cell.method)
    }
    options = {
        **options_of(cell.measure, suite.measures[cell.measure]),
        "random_state": cell.seed,
        "n_jobs": 1,
        "with_random": False,
    }
    if cell.data in suite.groups and dataset.groups is not None:
        options["groups"] = dataset.groups[rows.train_rows]
    if measure.shares_work:
        methods = _leave_out(methods, estimator, rows, measure.references, notes)
    frame = measure(estimator, methods, rows, options)
    if "test_row" in frame:
        frame["test_row"] = frame["test_row"].astype(str)
    for name in ("seed", "library", "data"):
        frame.insert(0, name, getattr(cell, name))
    return frame


def _leave_out(
    methods: dict[str, Any],
    estimator: Any,
    rows: Any,
    references: tuple[str, ...],
    notes: list[str],
) -> dict[str, Any]:
    """Leave out the methods that cannot explain a model, and the references."""
    experiment = Experiment.read(
        estimator, rows.X_train, rows.y_train, rows.X_test, rows.y_test, n_jobs=1
    )
    kept = {}
    for name, method in methods.items():
        if type(method).__name__ in references:
            continue
        if isinstance(method, TreeExplainer):
            try:
                clone(method).fit(experiment.model, rows.X_train, rows.y_train)
            except TreeinfError as error:
                notes.append(f"{name} left out: {error}")
                continue
        kept[name] = method
    return kept


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
