"""Rows that each tree of a bagged model saw, against LightGBM's own raw scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import treeinf as ti
from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Measured, count_leaf_ids
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import take_turns

__all__ = ["measure_row_sampling"]

_PEER = "LightGBM's raw scores of the train rows"
_MANY_ROWS = 1_000_000
_REACH = 0.3


def measure_row_sampling(bench: Bench) -> Measured:
    """Time the recovery of bags from the model on, and check that they are found.

    "fit" reads the model, routes the rows, draws the bags, replays the training over
    them and compares leaf counts and values; `in_bag` without targets compares counts
    alone, and writes a table of a byte a row and tree.
    """
    case = bench.fit(bench.size(_MANY_ROWS, 1_000), 1, subsample=0.7, subsample_freq=1)
    booster, n_jobs = case.model.booster_, bench.n_jobs
    work: dict[str, Callable[[], Any]] = {
        _PEER: lambda: booster.predict(case.X, raw_score=True, num_threads=n_jobs),
        "fit": lambda: ti.BoostIn(n_jobs=n_jobs).fit(case.model, case.X, case.y),
        "in_bag": lambda: ti.in_bag(case.model, case.X, n_jobs=n_jobs),
    }
    if work["fit"]().reproduction_.verdict != "exact":
        raise ArithmeticError("The bags were not found.")
    times = take_turns(work, bench.repeats)
    ensemble = ti.read_model(case.model)
    routed = case.X.nbytes + count_leaf_ids(ensemble, len(case.X))
    n_bags = len(case.X) * ensemble.n_trees
    size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves, bagging_fraction 0.7"
    return Measured(
        [
            Row.share(
                "fit of a bagged model: read, route, draw bags, replay and check",
                times["fit"],
                _PEER,
                times[_PEER],
                _REACH,
                must_move=float(2 * routed + n_bags / 8 + 16 * len(case.X)),
                size=size,
            ),
            Row.share(
                "in_bag without targets, from the model on",
                times["in_bag"],
                _PEER,
                times[_PEER],
                must_move=float(
                    2 * routed + n_bags * (1 / 8 + np.dtype(bool).itemsize)
                ),
                size=size,
            ),
        ]
    )
