"""Time Trex.fit on adult, and gradient descent of the published kind on the same sum.

    TREEINF_DATA=../shared/data python benchmarks/trex.py [--out RESULT.json]

LightGBM with 100 trees of 31 leaves on adult's 32,561 training rows. `Trex.fit` (read,
route, solve, check) runs once untimed, then `--repeats` times; the median is quoted.
All run on one thread. Seconds are of processor time, which other work on the machine
disturbs less than the clock's; the clock's are in the JSON beside them.

Gradient descent is written from the description of the published solver: float32,
coefficients drawn from U(-1, 1), at most 3,000 steps, each along the gradient and
halved from 10 until the objective falls by half of the step times the squared gradient.
It ends early where float32 sees no step lower the objective. It runs once on a SciPy
sparse one-hot matrix and once on a dense one of 0.4 GB, which is what the published
code multiplies with (here NumPy). Making the matrices is not timed.

Gradients are measured in double precision at the best coefficients found, relative to
that at 0, and relative to that of the penalty alone, which Trex stops by. Ratios are of
the descent's time to `Trex.fit` as it is by default, to 1e-8, and to `Trex.fit` asked
for no smaller a gradient than the descent has reached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit
from speed import machine
from threadpoolctl import threadpool_limits

KERNELS = ("weighted_leaf_path", "leaf_path")
L2 = 0.003
N_TREES = 100
N_LEAVES = 31
MOST_STEPS = 3000
SHORTEST = 1e-10


class Logistic:
    """Mean log loss + L2 |w|^2 in the precision of the matrix."""

    def __init__(self, X: Any, y: np.ndarray) -> None:
        self.X, self.y = X, y.astype(X.dtype)
        self.transposed = X.T.tocsr() if sparse.issparse(X) else X.T
        self.l2 = X.dtype.type(L2)

    def value(self, w: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute the objective, and the probabilities for the gradient."""
        score = self.X @ w
        loss = np.logaddexp(np.zeros_like(score), score) - self.y * score
        return loss.mean() + self.l2 * (w * w).sum(), expit(score)

    def gradient(self, w: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Compute the gradient."""
        slope = (p - self.y) / self.y.dtype.type(len(self.y))
        return self.transposed @ slope + 2 * self.l2 * w


def descend(objective: Logistic) -> dict[str, Any]:
    """Run gradient descent; gives coefficients, steps, seconds and how it ended."""
    rng = np.random.default_rng(1)
    w = rng.uniform(-1, 1, objective.X.shape[1]).astype(np.float32)
    best, best_size, first_size, published = w, np.inf, None, None
    begin, begin_clock = time.process_time(), time.perf_counter()
    value, p = objective.value(w)
    end = f"{MOST_STEPS:,} steps"
    for step in range(MOST_STEPS):
        gradient = objective.gradient(w, p)
        size = float(np.abs(gradient).mean())
        first_size = size if first_size is None else first_size
        if size < best_size:
            best, best_size = w, size
        if published is None and size < first_size / 200:
            # here the authors' code stops
            published = {
                "steps": step,
                "seconds": time.process_time() - begin,
                "coefficients": w,
            }
        square = float((gradient.astype(np.float64) ** 2).sum())
        length = np.float32(10.0)
        while length >= SHORTEST:
            moved = w - length * gradient
            lower, p_moved = objective.value(moved)
            if lower - value + length * square / 2 < 0:
                break
            length /= 2
        else:
            end = "no step lowers the objective in float32"
            break
        w, value, p = moved, lower, p_moved
    return {
        "coefficients": best,
        "steps": step + 1,
        "seconds": time.process_time() - begin,
        "clock_s": time.perf_counter() - begin_clock,
        "end": end,
        "published_stop": published,
    }


def relative_gradients(objective: Logistic, w: np.ndarray) -> dict[str, float]:
    """Measure the gradient in double precision."""
    w = w.astype(np.float64)
    zero = np.zeros_like(w)
    at_zero = objective.gradient(zero, objective.value(zero)[1])
    size = np.linalg.norm(objective.gradient(w, objective.value(w)[1]))
    return {
        "gradient_to_start": float(size / np.linalg.norm(at_zero)),
        "gradient_to_penalty": float(size / (2 * L2 * np.linalg.norm(w))),
    }


def one_hot(explainer: Any, model: Any, X: Any) -> Any:
    """Write the features out as a sparse matrix, in double precision."""
    leaf = model.booster_.predict(X, pred_leaf=True, num_threads=1)
    first = explainer.ensemble_.leaf_offset[:-1]
    column = (leaf + first).ravel()
    n_leaves = explainer.ensemble_.n_leaves
    entry = np.ones(column.size)
    if explainer.kernel == "weighted_leaf_path":
        entry = 1.0 / np.bincount(column, minlength=n_leaves)[column]
    start = np.arange(0, column.size + 1, leaf.shape[1])
    return sparse.csr_array((entry, column, start), shape=(len(leaf), n_leaves))


def time_fit(
    repeats: int, model: Any, X: Any, y: Any, **parameters: Any
) -> tuple[Any, dict[str, float]]:
    """Time Trex.fit on one thread; gives the explainer too."""
    from treeinf.explainers.trex import Trex

    seconds, clock = [], []
    for _ in range(repeats + 1):
        explainer = Trex(l2=L2, n_jobs=1, **parameters)
        begin, begin_clock = time.process_time(), time.perf_counter()
        explainer.fit(model, X, y)
        seconds.append(time.process_time() - begin)
        clock.append(time.perf_counter() - begin_clock)
    return explainer, {
        "median_clock_s": statistics.median(clock[1:]),
        "median_s": statistics.median(seconds[1:]),
        "min_s": min(seconds[1:]),
        "max_s": max(seconds[1:]),
    }


def measure(repeats: int) -> dict[str, Any]:
    """Time both on adult."""
    import lightgbm

    from treeinf import datasets

    table = datasets.load("adult")
    n = table.n_rows - table.n_test
    X, y = table.X.iloc[:n], table.y[:n]
    model = lightgbm.LGBMClassifier(
        n_estimators=N_TREES, num_leaves=N_LEAVES, verbose=-1, n_jobs=1
    ).fit(X, y)
    figures = {}
    for kernel in KERNELS:
        explainer, seconds = time_fit(repeats, model, X, y, kernel=kernel)
        matrix = one_hot(explainer, model, X)
        double = Logistic(matrix, y)
        found: dict[str, Any] = {
            **seconds,
            "iterations": explainer.n_iterations_,
            "gradient_norm": explainer.gradient_norm_,
            "reconstruction_error": explainer.reconstruction_error_,
            "fidelity": explainer.fidelity_,
            **relative_gradients(double, explainer.coef_[:, 0]),
        }
        descents = {}
        single = matrix.astype(np.float32)
        for layout in ("sparse", "dense"):
            written = single if layout == "sparse" else single.toarray()
            descent = descend(Logistic(written, y))
            descent |= relative_gradients(double, descent.pop("coefficients"))
            stop = descent["published_stop"]
            if stop is not None:
                stop |= relative_gradients(double, stop.pop("coefficients"))
            matched, seconds = time_fit(
                repeats,
                model,
                X,
                y,
                kernel=kernel,
                tol=descent["gradient_to_penalty"],
            )
            descent["trex_as_exact"] = {
                **seconds,
                **relative_gradients(double, matched.coef_[:, 0]),
            }
            descent["times_default_trex"] = descent["seconds"] / found["median_s"]
            descent["times_trex_as_exact"] = descent["seconds"] / seconds["median_s"]
            descents[layout] = descent
        figures[kernel] = {"trex": found, "gradient_descent": descents}
    return {
        "rows": n,
        "trees": N_TREES,
        "leaves": N_LEAVES,
        "l2": L2,
        "repeats": repeats,
        "threads": 1,
        "figures": figures,
    }


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the figures out as a table."""
    run = result["run"]
    lines = [
        f"adult, {run['rows']:,} rows, LightGBM {run['trees']} trees of "
        f"{run['leaves']} leaves, l2 {run['l2']}, 1 thread, median of "
        f"{run['repeats']}; "
        f"{result['machine']['processor']}, {result['machine']['date']}.",
        "",
        "| kernel | solver | seconds | gradient to that at 0 | to the penalty's | "
        "steps | Trex.fit, default | Trex.fit, as exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kernel, row in run["figures"].items():
        trex = row["trex"]
        lines.append(
            f"| {kernel} | Trex.fit (fidelity {trex['fidelity']:.3f}) | "
            f"{trex['median_s']:.3f} | {trex['gradient_to_start']:.1e} | "
            f"{trex['gradient_to_penalty']:.1e} | {trex['iterations']} | | |"
        )
        for layout, descent in row["gradient_descent"].items():
            lines.append(
                f"| | gradient descent, float32, {layout} ({descent['end']}) | "
                f"{descent['seconds']:.1f} | {descent['gradient_to_start']:.1e} | "
                f"{descent['gradient_to_penalty']:.1e} | {descent['steps']:,} | "
                f"{descent['times_default_trex']:.0f} x | "
                f"{descent['times_trex_as_exact']:.0f} x |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        run = measure(arguments.repeats)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "load": os.getloadavg(),
        "run": run,
    }
    print(to_markdown(result))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
