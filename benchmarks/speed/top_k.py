"""The most influential train rows of many test rows, against sorting the matrix."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.bench import (
    N_LEAVES,
    N_TREES,
    Bench,
    Case,
    Measured,
    count_leaf_ids,
)
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import take_turns
from treeinf.explainers import BoostIn, LeafInfluence
from treeinf.explainers.fitting import TreeExplainer

__all__ = ["measure_top_k"]

_K = 10
_SAME = 1e-9
_PEER = "explain, then NumPy's argpartition of the whole matrix"


def measure_top_k(bench: Bench) -> Measured:
    """Time `top_k` against picking the rows from the matrix that `explain` writes.

    Raises
    ------
    ArithmeticError
        If both do not find values of the same size.
    """
    n_test = bench.size(1_000, 50)
    case = bench.fit(bench.size(20_000, 400), n_test)
    explainers: dict[str, TreeExplainer] = {
        "BoostIn": BoostIn(n_jobs=bench.n_jobs),
        "LeafInfluence": LeafInfluence(n_jobs=bench.n_jobs),
    }
    work: dict[str, Callable[[], Any]] = {}
    for name, explainer in explainers.items():
        explainer.fit(case.model, case.X, case.y)
        work[name] = functools.partial(explainer.top_k, case.X_test, case.y_test, _K)
        work[f"{name} peer"] = functools.partial(_pick, explainer, case)
        found = np.sort(np.abs(work[name]().values), axis=1)
        expected = np.sort(np.abs(work[f"{name} peer"]()), axis=0).T
        if not np.allclose(found, expected, rtol=_SAME, atol=0.0):
            raise ArithmeticError(f"{name}.top_k misses rows of the largest influence.")
    times = take_turns(work, bench.repeats)
    ensemble = explainers["BoostIn"].ensemble_
    # targets, and positions and values
    must_move = count_leaf_ids(ensemble, len(case.X)) + 16 * len(case.X)
    must_move += count_leaf_ids(ensemble, n_test) + 16 * _K * n_test
    return Measured(
        [
            Row.quicker(
                f"{name} top_k of {n_test:,} test rows",
                times[name],
                _PEER,
                times[f"{name} peer"],
                must_move=float(must_move),
                size=f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves",
            )
            for name in explainers
        ]
    )


def _pick(explainer: TreeExplainer, case: Case) -> NDArray[np.float64]:
    """Give the values of largest size for each test row, shape (k, n_test)."""
    values = explainer.explain(case.X_test, case.y_test).values
    best = np.argpartition(-np.abs(values), _K - 1, axis=0)[:_K]
    return np.take_along_axis(values, best, axis=0)
