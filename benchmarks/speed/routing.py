"""Rows to leaves, against the libraries' own leaf prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.bench import (
    N_LEAVES,
    N_TREES,
    Bench,
    Measured,
    count_leaf_ids,
    is_installed,
)
from benchmarks.speed.rows import Row
from treeinf.adapters import read_model
from treeinf.evaluation.timing import take_turns
from treeinf.kernels.threads import limit_threads

__all__ = ["measure_routing"]


def measure_routing(bench: Bench) -> Measured:
    """Time `apply` on models of LightGBM and XGBoost.

    XGBoost's rows are in its own matrix before the clock starts, which treeinf's are
    not.
    """
    case = bench.main
    booster = case.model.booster_
    ensemble = read_model(case.model)
    size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
    work: dict[str, Callable[[], Any]] = {
        "apply": lambda: ensemble.apply(case.X),
        "LightGBM": lambda: booster.predict(
            case.X, pred_leaf=True, num_threads=bench.n_jobs
        ),
    }
    must_move = {"LightGBM": case.X.nbytes + count_leaf_ids(ensemble, len(case.X))}
    if is_installed("xgboost"):
        import xgboost

        rows = case.X.astype(np.float32)
        matrix = xgboost.DMatrix(rows, label=case.y, nthread=bench.n_jobs)
        other = xgboost.train(
            {
                "objective": "binary:logistic",
                "max_leaves": N_LEAVES,
                "max_depth": 0,
                "grow_policy": "lossguide",
                "nthread": bench.n_jobs,
            },
            matrix,
            N_TREES,
        )
        theirs = read_model(other)
        work["apply, XGBoost's trees"] = lambda: theirs.apply(rows)
        work["XGBoost"] = lambda: other.predict(matrix, pred_leaf=True)
        must_move["XGBoost"] = rows.nbytes + count_leaf_ids(theirs, len(rows))
    with limit_threads(bench.n_jobs):
        times = take_turns(work, bench.repeats)
    result = [
        Row.quicker(
            "apply",
            times["apply"],
            "LightGBM's leaf prediction",
            times["LightGBM"],
            6.0,
            size=size,
            must_move=must_move["LightGBM"],
        )
    ]
    peer = "XGBoost's leaf prediction"
    if "XGBoost" in times:
        result.append(
            Row.quicker(
                "apply on float32 rows, XGBoost's trees",
                times["apply, XGBoost's trees"],
                peer,
                times["XGBoost"],
                6.0,
                size=size,
                must_move=must_move["XGBoost"],
                note="XGBoost's rows are in its matrix beforehand",
            )
        )
    else:
        result.append(Row.quicker("apply", times["apply"], peer, None, 6.0, size=size))
    return Measured(result)
