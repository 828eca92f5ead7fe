"""The factors of influence as matrices, and the published recursion.

In NumPy and SciPy alone, for models of one output: what peers are given to work with.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.explainers import BoostIn, LeafInfluence

__all__ = ["multiply", "push_forward", "push_one_by_one", "write_out"]

Array = NDArray[np.float64]


def write_out(explainer: BoostIn, X_test: Array, y_test: Any) -> tuple[Any, Any]:
    """Write BoostIn's factors out.

    Parameters
    ----------
    explainer : BoostIn
        Fitted.
    X_test, y_test : ndarray
        Rows to explain.

    Returns
    -------
    rows : scipy.sparse.csr_array, shape (n_train, n_leaves)
        What each train row contributes to its leaves.
    leaves : scipy.sparse.csr_array, shape (n_leaves, n_test)
        What a change of each leaf does to the test rows in it.
    """
    ensemble = explainer.ensemble_
    first = ensemble.leaf_offset[:-1, np.newaxis]
    leaf_test = ensemble.apply(X_test).T
    target = y_test.astype(np.float64)
    assert ensemble.loss is not None
    score = np.tile(ensemble.base_score, (len(target), 1))
    own, gradient = [], []
    for tree, step in enumerate(_replay(explainer)):
        own.append(step.response[step.leaf] * step.own)
        gradient.append(ensemble.loss.derivatives(target, score)[0][:, 0])
        score[:, 0] += ensemble.leaf_value[first[tree, 0] + leaf_test[tree], 0]
    leaf = explainer.trace_.rows.leaf
    return (
        _to_sparse(leaf + first, np.array(own), ensemble.n_leaves),
        _to_sparse(leaf_test + first, np.array(gradient), ensemble.n_leaves).T.tocsr(),
    )


def multiply(parts: list[Any], leaves: Any, pool: ThreadPoolExecutor) -> list[Array]:
    """Multiply runs of rows with SciPy, each in its own thread; gives dense runs."""

    def product(part: Any) -> Array:
        found = part @ leaves
        return found.toarray() if sparse.issparse(found) else found

    return list(pool.map(product, parts))


def push_forward(explainer: LeafInfluence, X_test: Array, y_test: Any) -> Array:
    """Compute full LeafInfluence by the published recursion, all removals side by side.

    Returns
    -------
    ndarray of float64, shape (n_train, n_test)

    Notes
    -----
    One sparse product a tree; O(n_train^2 n_trees) time and O(n_train^2) memory.

    References
    ----------
    B. Sharchilev et al., "Finding Influential Training Samples for Gradient Boosted
    Decision Trees", ICML 2018, algorithm 2.
    """
    n = explainer.trace_.rows.n_rows
    leaf_test, gradient = _read_test_rows(explainer, X_test, y_test)
    change = np.zeros((n, n))  # of the score of each row, for each removal
    change_test = np.zeros((len(gradient), n))
    for tree, step in enumerate(_replay(explainer)):
        where = (step.leaf, np.arange(n))
        shape = (len(step.response), n)
        sums = sparse.csr_array((step.carried, where), shape) @ change
        sums += sparse.csr_array((step.own, where), shape).toarray()
        moved = -step.response[:, np.newaxis] * sums
        change += moved[step.leaf]
        change_test += moved[leaf_test[tree]]
    return -(change_test * gradient).T


def push_one_by_one(
    explainer: LeafInfluence, X_test: Array, y_test: Any, removals: Any
) -> Array:
    """Compute the same removal by removal, as published.

    Parameters
    ----------
    explainer, X_test, y_test
        As in `push_forward`.
    removals : array-like of int
        Train rows to remove, one at a time.

    Returns
    -------
    ndarray of float64, shape (n_removals, n_test)
    """
    leaf_test, gradient = _read_test_rows(explainer, X_test, y_test)
    steps = list(_replay(explainer))
    influence = np.empty((len(removals), len(gradient)))
    for number, row in enumerate(removals):
        change = np.zeros(explainer.trace_.rows.n_rows)
        change_test = np.zeros(len(gradient))
        for tree, step in enumerate(steps):
            sums = np.bincount(step.leaf, step.carried * change, len(step.response))
            sums[step.leaf[row]] += step.own[row]
            moved = -step.response * sums
            change += moved[step.leaf]
            change_test += moved[leaf_test[tree]]
        influence[number] = -change_test * gradient[:, 0]
    return influence


class _Step:
    """One tree of the replay: its rows' leaves and derivatives before it."""

    def __init__(self, leaf: Any, own: Array, carried: Array, response: Array) -> None:
        self.leaf, self.own, self.carried = leaf, own, carried
        self.response = response


def _replay(explainer: Any) -> Iterator[_Step]:
    """Replay the log loss of two classes tree by tree."""
    trace, ensemble = explainer.trace_, explainer.ensemble_
    score = np.tile(ensemble.base_score, (trace.rows.n_rows, 1))
    for tree in range(ensemble.n_trees):
        first, last = ensemble.leaf_offset[tree : tree + 2]
        leaf = trace.rows.leaf[tree].astype(np.intp)
        g, h = (d[:, 0] for d in ensemble.loss.derivatives(trace.rows.target, score))
        p = 1.0 / (1.0 + np.exp(-score[:, 0]))
        theta = trace.leaf_step[first:last, 0][leaf]
        # the second derivative of the log loss changes by (1 - 2 p) of itself
        carried = h + theta * h * (1.0 - 2.0 * p)
        response = ensemble.shrinkage[tree] * trace.leaf_response[first:last, 0]
        yield _Step(leaf, g + theta * h, carried, response)
        score[:, 0] += ensemble.leaf_value[first + leaf, 0]


def _read_test_rows(explainer: Any, X_test: Array, y_test: Any) -> tuple[Any, Array]:
    ensemble = explainer.ensemble_
    gradient, _ = ensemble.loss.derivatives(
        y_test.astype(np.float64), ensemble.raw_score(X_test)
    )
    return ensemble.apply(X_test).T, gradient


def _to_sparse(leaf: Any, values: Array, n_leaves: int) -> Any:
    """Lay (n_trees, n_rows) numbers out as rows over all leaves."""
    n_trees, n_rows = leaf.shape
    start = np.arange(0, leaf.size + 1, n_trees)
    shape = (n_rows, n_leaves)
    return sparse.csr_array((values.T.ravel(), leaf.T.ravel(), start), shape)
