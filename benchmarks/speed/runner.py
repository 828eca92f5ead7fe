"""Run the groups of the speed table in turn; what ended is kept whatever comes next."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from benchmarks.speed.accounts import measure_memory
from benchmarks.speed.bench import Bench, Group, is_installed
from benchmarks.speed.checks import measure_checks
from benchmarks.speed.deep import measure_deep
from benchmarks.speed.dense import measure_dense
from benchmarks.speed.growth import measure_growth
from benchmarks.speed.latency import measure_latency
from benchmarks.speed.memory import measure_bandwidth
from benchmarks.speed.object_importance import measure_object_importance
from benchmarks.speed.reading import measure_reading
from benchmarks.speed.recursion import measure_recursion
from benchmarks.speed.refit import measure_refit
from benchmarks.speed.routing import measure_routing
from benchmarks.speed.row_sampling import measure_row_sampling
from benchmarks.speed.startup import measure_startup
from benchmarks.speed.top_k import measure_top_k
from benchmarks.speed.totals import measure_totals
from benchmarks.speed.trex import measure_trex
from treeinf.evaluation.machine import describe_run
from treeinf.files import to_plain, write_whole
from treeinf.kernels.threads import limit_threads

__all__ = ["DONE", "FAILED", "GROUPS", "NOT_INSTALLED", "read_bench", "run_bench"]

DONE, NOT_INSTALLED, FAILED = "done", "not installed", "failed"
FILE = "bench.json"

_LIGHTGBM = ("lightgbm",)
GROUPS: dict[str, Group] = {
    group.name: group
    for group in (
        Group("routing", "Rows to leaves", measure_routing, _LIGHTGBM, 30),
        Group(
            "totals",
            "total and self_influence",
            measure_totals,
            _LIGHTGBM,
            90,
        ),
        Group(
            "row_sampling",
            "Rows of each tree",
            measure_row_sampling,
            _LIGHTGBM,
            60,
        ),
        Group("checks", "Checks", measure_checks, _LIGHTGBM, 10),
        Group("memory", "Memory", measure_memory, _LIGHTGBM, 40),
        Group("explain", "explain, dense matrix", measure_dense, _LIGHTGBM, 30),
        Group("top_k", "top_k", measure_top_k, _LIGHTGBM, 20),
        Group("latency", "One row at a time", measure_latency, _LIGHTGBM, 10),
        Group("deep", "Deep and wide models", measure_deep, _LIGHTGBM, 120),
        Group(
            "recursion",
            "Full LeafInfluence against the published recursion",
            measure_recursion,
            _LIGHTGBM,
            60,
        ),
        Group("refit", "LeafRefit", measure_refit, _LIGHTGBM, 20),
        Group(
            "catboost",
            "Against CatBoost's own object importance",
            measure_object_importance,
            ("catboost",),
            80,
        ),
        Group("trex", "Trex", measure_trex, _LIGHTGBM, 50),
        Group("growth", "Growth", measure_growth, _LIGHTGBM, 240),
        Group("reading", "Reading a model", measure_reading, (), 60),
        Group("startup", "Import and first result", measure_startup, (), 120),
    )
}
"""What is measured, in the order it is measured in."""


def run_bench(
    bench: Bench,
    out: str | os.PathLike[str],
    *,
    only: Sequence[str] = (),
    resume: bool = False,
    force: bool = False,
    verbose: bool = True,
) -> dict[str, Any]:
    """Measure what is to be measured, and store each group as it ends.

    Parameters
    ----------
    bench : Bench
        Sizes, repeats and threads.
    out : path-like
        Folder of the run, made where it is not there.
    only : sequence of str, default=()
        Names of `GROUPS`; all by default.
    resume : bool, default=False
        Go on with the groups that lie there; those that failed run again.
    force : bool, default=False
        Measure anew what lies there; groups that are not asked for stay.
    verbose : bool, default=True
        Show progress, with the time left.

    Returns
    -------
    dict
        The record, as it lies in bench.json: ``settings``, ``machine``, ``bandwidth``
        (bytes a second) and ``groups``; each group has ``status`` ("done", "not
        installed" or "failed"), ``reason``, ``seconds``, ``rows`` and ``curves``.

    Raises
    ------
    FileExistsError
        If there is a run in the folder, and neither `resume` nor `force`.
    ValueError
        If a name is unknown, or groups in the folder, which are to stay, were measured
        in other settings, on another machine or with other versions.

    Notes
    -----
    A group that fails does not stop the others. Treeinf and all peers have the same
    number of threads.
    """
    names = _choose(only)
    path = Path(out) / FILE
    settings = dataclasses.asdict(bench)
    record: dict[str, Any] = {"groups": {}}
    if path.exists():
        if not (resume or force):
            raise FileExistsError(
                f"{path} is there; go on with it, measure it anew, or name another "
                "folder."
            )
        record = read_bench(out)
        stored = {**record["settings"], **_ground(record["machine"])}
        present = {**settings, **_ground(describe_run())}
        others = [name for name in present if stored.get(name) != present[name]]
        if others:
            if resume or only:
                raise ValueError(
                    f"{path} was measured with {_tell(stored, others)}; this would be "
                    f"with {_tell(present, others)}. Name another folder, or measure "
                    "all of it anew."
                )
            record = {"groups": {}}
    if resume:
        names = [
            name
            for name in names
            if record["groups"].get(name, {}).get("status") in (None, FAILED)
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    bar = tqdm(
        total=sum(GROUPS[name].weight for name in names),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left",
        disable=not verbose,
        # a log needs a line now and then
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
    )
    with bar, _equal_threads(bench.n_jobs):
        if names:
            record |= {
                "settings": settings,
                "machine": describe_run(),
                "load": _read_load(),
                "bandwidth": measure_bandwidth(bench.n_jobs),
            }
        for name in names:
            bar.set_description_str(name)
            record["groups"][name] = _run_group(GROUPS[name], bench)
            _write(path, record)
            bar.update(GROUPS[name].weight)
    return record


def read_bench(out: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the record of a run.

    Parameters
    ----------
    out : path-like
        Its folder.

    Returns
    -------
    dict
        See `run_bench`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    record: dict[str, Any] = json.loads((Path(out) / FILE).read_text(encoding="utf-8"))
    return record


def _choose(only: Sequence[str]) -> list[str]:
    unknown = [name for name in only if name not in GROUPS]
    if unknown:
        raise ValueError(
            f"Got {', '.join(map(repr, unknown))}; expected some of "
            f"{', '.join(GROUPS)}."
        )
    return [name for name in GROUPS if not only or name in only]


def _run_group(group: Group, bench: Bench) -> dict[str, Any]:
    """Measure one group, or say why not."""
    missing = [name for name in group.needs if not is_installed(name)]
    outcome: dict[str, Any] = {
        "status": DONE,
        "reason": "",
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [],
        "curves": [],
    }
    if missing:
        return {
            **outcome,
            "status": NOT_INSTALLED,
            "reason": f"{', '.join(missing)}: not installed",
        }
    start = time.perf_counter()
    try:
        # CatBoost remarks on slow iterations, and stdout may be for JSON
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            # of the models and peers: nothing that a reader of figures can act on
            warnings.simplefilter("ignore")
            measured = group.measure(bench)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {**outcome, "status": FAILED, "reason": reason}
    return {
        **outcome,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": time.perf_counter() - start,
        "rows": [dataclasses.asdict(row) for row in measured.rows],
        "curves": [dataclasses.asdict(curve) for curve in measured.curves],
    }


@contextlib.contextmanager
def _equal_threads(n_jobs: int) -> Iterator[None]:
    """Give every pool of the process the same number of threads."""
    with threadpool_limits(n_jobs), limit_threads(n_jobs):
        yield


def _write(path: Path, record: dict[str, Any]) -> None:
    """Write the record whole or not at all."""
    with write_whole(path) as file:
        text = json.dumps(to_plain(record), indent=1)
        file.write_text(text + "\n", encoding="utf-8")


def _read_load() -> list[float]:
    """Give how many other processes wanted the processor when the run began."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else []


def _ground(machine: dict[str, Any]) -> dict[str, Any]:
    """Give what figures of one table have in common: machine and versions."""
    own = {name: machine[name] for name in ("processor", "cores", "python")}
    return {**own, **machine["versions"]}


def _tell(facts: dict[str, Any], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {facts.get(name, 'not there')}" for name in names)
