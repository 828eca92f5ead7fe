"""One row explained at a time, by an explainer that is fitted already."""

from __future__ import annotations

import functools

from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Measured, count_leaf_ids
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import take_turns
from treeinf.explainers import BoostIn, LeafInfluence

__all__ = ["measure_latency"]

_TURNS = 4


def measure_latency(bench: Bench) -> Measured:
    """Time `explain` of a single row."""
    case = bench.fit(bench.size(100_000, 500), 1)
    explainers = {
        "BoostIn": BoostIn(n_jobs=bench.n_jobs),
        "LeafInfluence, single point": LeafInfluence(
            propagation="single_point", n_jobs=bench.n_jobs
        ),
        "LeafInfluence": LeafInfluence(n_jobs=bench.n_jobs),
    }
    for explainer in explainers.values():
        explainer.fit(case.model, case.X, case.y)
    times = take_turns(
        {
            name: functools.partial(explainer.explain, case.X_test, case.y_test)
            for name, explainer in explainers.items()
        },
        _TURNS * bench.repeats,
    )
    n_train = len(case.X)
    # targets, and the answer
    must_move = count_leaf_ids(explainers["BoostIn"].ensemble_, n_train) + 16 * n_train
    return Measured(
        [
            Row.clock(
                f"{name} explain of one row, once fitted",
                timing,
                must_move=float(must_move),
                size=f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves",
            )
            for name, timing in times.items()
        ]
    )
