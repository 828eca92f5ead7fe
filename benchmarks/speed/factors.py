"""The factors of influence as matrices, and the published recursion.

In NumPy and SciPy alone, for models of one output: what peers are given to work with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.explainers import BoostIn, LeafInfluence

__all__ = [
    "Recursion",
    "multiply",
    "push_forward",
    "push_leaf_by_leaf",
    "push_one_by_one",
    "write_out",
]

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


@dataclasses.dataclass(frozen=True, eq=False)
class Recursion:
    """What the published recursion starts from: the training, replayed.

    Make it with `read`.

    Parameters
    ----------
    n_rows : int
        Train rows.
    steps : list of _Step
        Trees in their order.
    members : list of list of set of int
        Train rows in each leaf of each tree.
    leaf_test : ndarray, shape (n_trees, n_test)
        Leaves of the rows to explain.
    gradient : ndarray of float64, shape (n_test,)
        Derivative of their loss in the raw score.
    """

    n_rows: int
    steps: list[_Step]
    members: list[list[set[int]]]
    leaf_test: Any
    gradient: Array

    @classmethod
    def read(cls, explainer: LeafInfluence, X_test: Array, y_test: Any) -> Recursion:
        """Replay the training of a fitted explainer's model of two classes."""
        ensemble = explainer.ensemble_
        assert ensemble.loss is not None
        gradient, _ = ensemble.loss.derivatives(
            y_test.astype(np.float64), ensemble.raw_score(X_test)
        )
        steps = list(_replay(explainer))
        members = [
            [
                set(np.flatnonzero(step.leaf == leaf).tolist())
                for leaf in range(len(step.response))
            ]
            for step in steps
        ]
        n_rows = explainer.trace_.rows.n_rows
        return cls(n_rows, steps, members, ensemble.apply(X_test).T, gradient[:, 0])


def push_forward(given: Recursion) -> Array:
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
    n = given.n_rows
    change = np.zeros((n, n))  # of the score of each row, for each removal
    change_test = np.zeros((len(given.gradient), n))
    for leaf_test, step in zip(given.leaf_test, given.steps, strict=True):
        where = (step.leaf, np.arange(n))
        shape = (len(step.response), n)
        sums = sparse.csr_array((step.carried, where), shape) @ change
        sums += sparse.csr_array((step.own, where), shape).toarray()
        moved = -step.response[:, np.newaxis] * sums
        change += moved[step.leaf]
        change_test += moved[leaf_test]
    return -(change_test * given.gradient[:, np.newaxis]).T


def push_one_by_one(given: Recursion, removals: Any) -> Array:
    """Compute the same removal by removal, all leaves of a tree at once.

    Parameters
    ----------
    given : Recursion
        The replay.
    removals : array-like of int
        Train rows to remove, one at a time.

    Returns
    -------
    ndarray of float64, shape (n_removals, n_test)
    """
    influence = np.empty((len(removals), len(given.gradient)))
    for number, row in enumerate(removals):
        change = np.zeros(given.n_rows)
        change_test = np.zeros(len(given.gradient))
        for leaf_test, step in zip(given.leaf_test, given.steps, strict=True):
            sums = np.bincount(step.leaf, step.carried * change, len(step.response))
            sums[step.leaf[row]] += step.own[row]
            moved = -step.response * sums
            change += moved[step.leaf]
            change_test += moved[leaf_test]
        influence[number] = -change_test * given.gradient
    return influence


def push_leaf_by_leaf(given: Recursion, removals: Any) -> Array:
    """Compute the same in the loops of the published programs.

    Removal by removal, tree by tree and leaf by leaf, with a leaf's rows as a set,
    which is cut with the set of rows to update (here all), sorted, and picked from the
    arrays of rows.

    Parameters
    ----------
    given, removals
        See `push_one_by_one`.

    Returns
    -------
    ndarray of float64, shape (n_removals, n_test)

    References
    ----------
    B. Sharchilev et al., ICML 2018, algorithm 2, and the programs that its authors and
    those of the JMLR 2023 comparison (J. Brophy et al.) published; written anew.
    """
    influence = np.empty((len(removals), len(given.gradient)))
    for number, row in enumerate(removals):
        change = np.zeros(given.n_rows)
        change_test = np.zeros(len(given.gradient))
        for leaf_test, step, members in zip(
            given.leaf_test, given.steps, given.members, strict=True
        ):
            to_update = set(range(given.n_rows))
            moved = np.zeros(len(members))
            for leaf, rows in enumerate(members):
                inside = sorted(to_update & rows)
                pull = np.dot(change[inside], step.carried[inside])
                if row in rows:
                    pull += step.own[row]
                moved[leaf] = -step.response[leaf] * pull
                change[inside] += moved[leaf]
            change_test += moved[leaf_test]
        influence[number] = -change_test * given.gradient
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
        g, h = (d[:, 0] for d in ensemble.loss.derivatives(trace.rows.y, score))
        p = 1.0 / (1.0 + np.exp(-score[:, 0]))
        theta = trace.leaf_step[first:last, 0][leaf]
        # the second derivative of the log loss changes by (1 - 2 p) of itself
        carried = h + theta * h * (1.0 - 2.0 * p)
        response = ensemble.shrinkage[tree] * trace.leaf_response[first:last, 0]
        yield _Step(leaf, g + theta * h, carried, response)
        score[:, 0] += ensemble.leaf_value[first + leaf, 0]


def _to_sparse(leaf: Any, values: Array, n_leaves: int) -> Any:
    """Lay (n_trees, n_rows) numbers out as rows over all leaves."""
    n_trees, n_rows = leaf.shape
    start = np.arange(0, leaf.size + 1, n_trees)
    shape = (n_rows, n_leaves)
    return sparse.csr_array((values.T.ravel(), leaf.T.ravel(), start), shape)
