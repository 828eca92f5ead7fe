"""Time and memory of LeafInfluence as the train rows grow, and against its rivals.

    python benchmarks/scaling.py [--most 1000000] [--repeats 5] [--out RESULT.json]

One model for each number of rows (100 trees of 31 leaves, 20 features), the same number
of threads for all, every operation once untimed, then in turn; medians are quoted.
BoostIn is the quick method that full LeafInfluence is to be compared with. The forward
recursion is the published algorithm for full LeafInfluence, written with SciPy: all
removals are pushed through the trees side by side, one sparse product with each tree's
leaves, in O(n_train^2 n_trees) time and O(n_train^2) memory. Memory is the growth of
the peak resident set while the operation runs (Linux only); the influence that
`explain` returns is in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from speed import N_FEATURES, N_LEAVES, N_TREES, grow_of_peak, machine

N_TARGETS = 100
N_TEST = 10_000
MOST_FORWARD = 4_000
SIZES = (1_000, 2_000, 4_000, 10_000, 32_000, 100_000, 320_000, 1_000_000)


def push_forward(explainer: Any, X_test: Any, y_test: Any) -> np.ndarray:
    """Compute full LeafInfluence by the published recursion; binary models."""
    trace, ensemble = explainer.trace_, explainer.ensemble_
    n = trace.rows.n_rows
    leaf_test = ensemble.apply(X_test).T
    gradient, _ = ensemble.loss.derivatives(
        y_test.astype(np.float64), ensemble.raw_score(X_test)
    )
    score = np.tile(ensemble.base_score, (n, 1))
    change = np.zeros((n, n))  # of the score of each row, for each removal
    change_test = np.zeros((len(y_test), n))
    for tree in range(ensemble.n_trees):
        first, last = ensemble.leaf_offset[tree : tree + 2]
        leaf = trace.rows.leaf[tree].astype(np.intp)
        g, h = ensemble.loss.derivatives(trace.rows.target, score)
        p = 1.0 / (1.0 + np.exp(-score[:, 0]))
        theta = trace.leaf_step[first:last, 0]
        own = g[:, 0] + theta[leaf] * h[:, 0]
        carried = h[:, 0] + theta[leaf] * h[:, 0] * (1.0 - 2.0 * p)
        where = (leaf, np.arange(n))
        sums = sparse.csr_array((carried, where), (last - first, n)) @ change
        sums += sparse.csr_array((own, where), (last - first, n)).toarray()
        response = ensemble.shrinkage[tree] * trace.leaf_response[first:last]
        step = -response * sums
        change += step[leaf]
        change_test += step[leaf_test[tree]]
        score[:, 0] += ensemble.leaf_value[first + leaf, 0]
    return -(change_test * gradient).T


def measure(n_rows: int, repeats: int, n_jobs: int) -> dict[str, Any]:
    """Time the operations on `n_rows` train rows."""
    import lightgbm
    from sklearn.datasets import make_classification

    import treeinf as ti

    X, y = make_classification(
        n_rows + N_TEST, N_FEATURES, n_informative=10, flip_y=0.1, random_state=0
    )
    X_test, y_test = X[n_rows:].copy(), y[n_rows:].copy()
    X, y = X[:n_rows].copy(), y[:n_rows].copy()
    model = lightgbm.LGBMClassifier(
        n_estimators=N_TREES, num_leaves=N_LEAVES, verbose=-1, n_jobs=n_jobs
    ).fit(X, y)
    full = ti.LeafInfluence(n_jobs=n_jobs, through_base_score=False).fit(model, X, y)
    quick = ti.BoostIn(n_jobs=n_jobs).fit(model, X, y)
    few, labels = X_test[:N_TARGETS], y_test[:N_TARGETS]
    out = np.empty((n_rows, N_TARGETS))
    work: dict[str, Callable[[], Any]] = {
        "LightGBM raw scores": lambda: model.booster_.predict(
            X, raw_score=True, num_threads=n_jobs
        ),
        "LeafInfluence total": lambda: full.total(X_test, y_test),
        "LeafInfluence explain": lambda: full.explain(few, labels, out=out),
        "BoostIn total": lambda: quick.total(X_test, y_test),
        "BoostIn explain": lambda: quick.explain(few, labels, out=out),
    }
    growth = {name: grow_of_peak(run) for name, run in work.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    if n_rows <= MOST_FORWARD:
        start = time.perf_counter()
        forward = push_forward(full, few, labels)
        seconds["forward recursion"] = [time.perf_counter() - start]
        found = full.explain(few, labels).values
        error = np.abs(found - forward).max() / np.abs(forward).max()
        growth["forward recursion"] = float(3 * 8 * n_rows**2 / 2**20)
    figures = {
        name: {
            "median_s": statistics.median(values),
            "min_s": min(values),
            "max_s": max(values),
            "peak_growth_mib": growth[name],
        }
        for name, values in seconds.items()
    }
    result: dict[str, Any] = {"n_rows": n_rows, "figures": figures}
    result["form"] = "matrix" if full._backward.prefers_matrix(N_TARGETS) else "sweep"
    if n_rows <= MOST_FORWARD:
        result["largest_difference_to_forward"] = float(error)
    return result


def slope(cells: list[dict[str, Any]], name: str) -> float:
    """Fit the exponent of the growth with the rows, from 10,000 rows on."""
    large = [cell for cell in cells if cell["n_rows"] >= 10_000]
    if len(large) < 2:
        return float("nan")
    x = np.log([cell["n_rows"] for cell in large])
    y = np.log([cell["figures"][name]["median_s"] for cell in large])
    return float(np.polyfit(x, y, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    cells = []
    for n_rows in (size for size in SIZES if size <= chosen.most):
        cells.append(measure(n_rows, chosen.repeats, chosen.n_jobs))
        print(json.dumps(cells[-1]), file=sys.stderr, flush=True)
    names = [name for name in cells[-1]["figures"] if name != "forward recursion"]
    result = {
        "command": " ".join(["python", *sys.argv]),
        "threads": chosen.n_jobs,
        "repeats": chosen.repeats,
        "n_trees": N_TREES,
        "n_leaves": N_LEAVES,
        "n_test_of_total": N_TEST,
        "n_targets_of_explain": N_TARGETS,
        **machine(),
        "growth_exponent_from_10000_rows": {name: slope(cells, name) for name in names},
        "cells": cells,
    }
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{'rows':>9} {'total':>9} {'explain':>9} {'/BoostIn':>9} {'forward /':>11}")
    for cell in cells:
        seen = {name: value["median_s"] for name, value in cell["figures"].items()}
        ratio = seen["LeafInfluence total"] / seen["BoostIn total"]
        forward = seen.get("forward recursion", np.nan) / seen["LeafInfluence total"]
        print(
            f"{cell['n_rows']:>9,} {seen['LeafInfluence total']:>9.4f} "
            f"{seen['LeafInfluence explain']:>9.4f} {ratio:>9.2f} {forward:>11,.0f}"
        )


if __name__ == "__main__":
    main()
