"""Memory: what each question takes beside what it gives back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.bench import (
    N_LEAVES,
    N_TREES,
    Bench,
    Measured,
    count_leaf_ids,
)
from benchmarks.speed.memory import grow_of_peak
from benchmarks.speed.rows import Reach, Row
from treeinf.explainers import BoostIn, LeafInfluence
from treeinf.kernels.threads import limit_threads

__all__ = ["measure_memory"]

_MIB = 2.0**20
# float64 numbers a row that count as O(n), and what little sizes take all the same
_NUMBERS_A_ROW = 32
_FLOOR = 64.0
_K = 10


def measure_memory(bench: Bench) -> Measured:
    """Measure the growth of the peak resident set, by the kernel's own accounting.

    Allowed are the leaf ids and 32 float64 numbers a row. No question but `explain`
    holds n_train x n_test numbers.
    """
    case, n_jobs = bench.main, bench.n_jobs
    boostin = BoostIn(n_jobs=n_jobs).fit(case.model, case.X, case.y)
    full = LeafInfluence(n_jobs=n_jobs).fit(case.model, case.X, case.y)
    tests = case.X_test, case.y_test
    n_few = bench.size(1_000, 50)
    few = case.X_test[:n_few], case.y_test[:n_few]
    n_train, n_test = len(case.X), len(case.X_test)
    leaf_ids = count_leaf_ids(boostin.ensemble_, n_train) / _MIB
    per_row = _NUMBERS_A_ROW * 8.0 * (n_train + n_test) / _MIB
    test_ids = 2 * count_leaf_ids(boostin.ensemble_, n_test) / _MIB
    # the answer's own block of rows, of the batch size
    block = 2 * 8.0 * 1_024 * n_few / _MIB
    work: dict[str, tuple[Callable[[], Any], float, str]] = {
        "BoostIn fit": (
            lambda: BoostIn(n_jobs=n_jobs).fit(case.model, case.X, case.y),
            leaf_ids + per_row,
            "",
        ),
        "LeafInfluence fit": (
            lambda: LeafInfluence(n_jobs=n_jobs).fit(case.model, case.X, case.y),
            leaf_ids + per_row,
            "",
        ),
        f"BoostIn total over {n_test:,} test rows": (
            lambda: boostin.total(*tests),
            per_row + test_ids,
            "",
        ),
        f"LeafInfluence total over {n_test:,} test rows": (
            lambda: full.total(*tests),
            per_row + test_ids,
            "",
        ),
        "BoostIn self_influence": (boostin.self_influence, per_row, ""),
        f"BoostIn top_k of {n_few:,} test rows": (
            lambda: boostin.top_k(*few, _K),
            block + per_row,
            f"the whole matrix would be {8.0 * n_train * n_few / _MIB:,.0f} MiB",
        ),
    }
    rows = []
    size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
    with limit_threads(n_jobs):
        for name, (call, allowed, note) in work.items():
            call()
            grown = min(grow_of_peak(call) for _ in range(2))
            rows.append(
                Row(
                    name,
                    "MiB",
                    None if np.isnan(grown) else grown,
                    reach=Reach("at most", round(max(allowed, _FLOOR), 1)),
                    size=size,
                    note=note or f"leaf ids of the train rows: {leaf_ids:,.0f} MiB",
                )
            )
    predict = functools.partial(
        case.model.booster_.predict, case.X, pred_leaf=True, num_threads=n_jobs
    )
    rows.append(
        Row(
            "LightGBM's own leaf prediction",
            "MiB",
            grow_of_peak(predict),
            size=size,
            note="beside the others, to compare",
        )
    )
    return Measured(rows)
