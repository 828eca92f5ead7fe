"""`Trex.fit` against gradient descent of the published kind on the same objective."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Case, Measured
from benchmarks.speed.descent import Logistic, descend
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.explainers import Trex
from treeinf.explainers.tree_kernel.features import LeafFeatures
from treeinf.explainers.tree_kernel.row_features import RowFeatures
from treeinf.explainers.tree_kernel.surrogate import LinearSurrogate, Solution

__all__ = ["measure_trex"]

_L2 = 0.003
_REACH = 100.0
_KERNELS = ("weighted_leaf_path", "leaf_path")
_ALONE = "the surrogate alone, default"


def measure_trex(bench: Bench) -> Measured:
    """Time `Trex.fit`, which reads, routes, solves and checks.

    The descent gets its matrix ready-made, once sparse and once dense; the published
    code multiplies with a dense one. It is run once. `Trex` is asked for no smaller a
    gradient than the descent reached, and by default goes on to 1e-8. "The surrogate
    alone" is what the descent does: it gets the rows' leaves.
    """
    case = bench.fit(bench.size(32_000, 400), 1)
    rows = []
    for kernel in _KERNELS:
        default = Trex(l2=_L2, kernel=kernel, n_jobs=bench.n_jobs)
        default.fit(case.model, case.X, case.y)
        leaf = np.ascontiguousarray(default.ensemble_.apply(case.X).T)
        matrix = _one_hot(default, case)
        double = Logistic(matrix, case.y, _L2)
        single = matrix.astype(np.float32)
        for layout in ("dense", "sparse"):
            written = single.toarray() if layout == "dense" else single
            with threadpool_limits(bench.n_jobs):
                descent = descend(Logistic(written, case.y, _L2))
            del written
            reached = double.relative_gradient(descent.coefficients)
            as_exact = Trex(l2=_L2, kernel=kernel, tol=reached, n_jobs=bench.n_jobs)
            fits = {
                "Trex.fit as exact": as_exact,
                "Trex.fit default": default,
            }
            times = take_turns(
                {
                    way: functools.partial(explainer.fit, case.model, case.X, case.y)
                    for way, explainer in fits.items()
                }
                | {_ALONE: functools.partial(_solve, default, leaf, case.y)},
                bench.repeats,
            )
            note = (
                f"descent: {descent.n_steps:,} steps, {descent.end}; gradients "
                "relative to the penalty's: descent {:.0e}, Trex as exact {:.0e}, by "
                "default {:.0e}; fidelity {:.2f}"
            ).format(
                reached,
                double.relative_gradient(as_exact.coef_[:, 0]),
                double.relative_gradient(default.coef_[:, 0]),
                default.fidelity_,
            )
            rows += [
                Row.quicker(
                    f"{way}, {kernel}",
                    times[way],
                    f"gradient descent in float32, {layout} matrix",
                    Timing([descent.seconds]),
                    # the published code's matrix is dense
                    _REACH if layout == "dense" and way in fits else None,
                    size=f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves",
                    note=note,
                )
                for way in times
            ]
    return Measured(rows)


def _solve(explainer: Trex, leaf: NDArray[Any], y: NDArray[np.int64]) -> Solution:
    """Fit the surrogate to rows whose leaves are known, as exactly as by default."""
    features = LeafFeatures.build(explainer.ensemble_, explainer.kernel, leaf)
    return LinearSurrogate(
        RowFeatures.build(features, leaf),
        y.astype(np.float64)[:, np.newaxis],
        np.full(len(y), 1.0 / len(y)),
        _L2,
        "logistic",
    ).minimise(explainer.tol, explainer.max_iter)


def _one_hot(explainer: Trex, case: Case) -> Any:
    """Write the features out as a sparse matrix, in double precision."""
    ensemble = explainer.ensemble_
    leaf = ensemble.apply(case.X).astype(np.intp)
    column = (leaf + ensemble.leaf_offset[:-1]).ravel()
    entry = np.ones(column.size)
    if explainer.kernel == "weighted_leaf_path":
        entry = 1.0 / np.bincount(column, minlength=ensemble.n_leaves)[column]
    start = np.arange(0, column.size + 1, leaf.shape[1])
    return sparse.csr_array((entry, column, start), (len(leaf), ensemble.n_leaves))
