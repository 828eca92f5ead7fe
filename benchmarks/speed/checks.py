"""What the checks cost beside the work that they guard."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Measured
from benchmarks.speed.rows import Row
from treeinf.adapters import read_model
from treeinf.adapters.parity import N_SAMPLED, check_parity
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.kernels.threads import limit_threads
from treeinf.trace import StagedRows, TrainingTrace, as_trained, sum_derivatives

__all__ = ["measure_checks"]


def measure_checks(bench: Bench) -> Measured:
    """Time the parity check and the reproduction check.

    Parity guards the routing of all train rows, the reproduction check their replay.
    What the second costs is the time of a trace less that of its work alone: reading
    and routing the rows, and adding derivatives up leaf by leaf.
    """
    case = bench.main
    ensemble = read_model(case.model)

    def replay() -> Any:
        rows = StagedRows.read(ensemble, case.X, case.y)
        kept, rows, _ = as_trained(ensemble, rows)
        return sum_derivatives(kept, rows)

    with limit_threads(bench.n_jobs):
        times = take_turns(
            {
                "route": lambda: ensemble.apply(case.X),
                "parity": lambda: check_parity(ensemble, case.model, case.X),
                "replay": replay,
                "trace": lambda: TrainingTrace.build(ensemble, case.X, case.y),
            },
            bench.repeats,
        )
    size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
    extra = [
        max(whole - work, 0.0)
        for whole, work in zip(
            times["trace"].seconds, times["replay"].seconds, strict=True
        )
    ]
    return Measured(
        [
            Row.share(
                f"parity check on {min(N_SAMPLED, len(case.X)):,} rows",
                times["parity"],
                "routing all rows, which it guards",
                times["route"],
                1.0,
                size=size,
            ),
            Row.share(
                "reproduction check",
                Timing(extra),
                "routing and replay, which it guards",
                times["replay"],
                1.0,
                size=size,
                note="time of the trace less that of the replay",
            ),
        ]
    )
