"""Forests as weighted means of their train rows' targets."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.sklearn.bootstrap import find_tree_weights
from treeinf.dtypes import COUNT, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.base import Columns
from treeinf.kernels.cpu import forests as kernels
from treeinf.kernels.cpu.refit import TreeShape
from treeinf.pickling import DropsCached
from treeinf.trace import ReproductionReport, StagedRows
from treeinf.trace.reproduction import report_mismatch

__all__ = ["ForestColumns", "ForestRows", "find_shape"]

_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class ForestRows(DropsCached):
    """The train rows of a forest, and the weight of each in each tree.

    Make it with `read`.

    Parameters
    ----------
    ensemble : TreeEnsemble
        An averaged ensemble whose leaves hold means.
    rows : StagedRows
        Train rows; their weights are not read.
    tree_weight : ndarray of float64, shape (n_trees, n_train)
        Weight of each row in each tree; 0 where it was not drawn.
    value : ndarray of float64, shape (n_train, leaf_width)
        What leaves average: the target, or for classifiers whether it is each class.
    leaf_total : ndarray of float64, shape (n_leaves, 2 + leaf_width)
        Rows of some weight, sum of weights and weighted sum of `value` in each leaf.
    report : ReproductionReport
        How well the leaf values follow.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    tree_weight: NDArray[np.float64]
    value: NDArray[np.float64]
    leaf_total: NDArray[np.float64]
    report: ReproductionReport

    @classmethod
    def read(
        cls,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        on_mismatch: str = "raise",
    ) -> ForestRows:
        """Recover the rows of each tree and check that they make its leaf values.

        Parameters
        ----------
        ensemble : TreeEnsemble
            A forest, bagging or decision tree.
        X : array-like or frame, shape (n_train, n_features)
            The rows it was trained on.
        y : array-like, shape (n_train,)
            Their targets.
        sample_weight : array-like, shape (n_train,), optional
            The weights it was trained with.
        on_mismatch : {"raise", "warn", "ignore"}, default="raise"
            What to do if the leaf values do not follow from the rows.

        Returns
        -------
        ForestRows

        Raises
        ------
        UnsupportedModelError
            If the leaves do not hold means, or the samples are not known.
        TrainingDataMismatchError
            If the leaf values do not follow from the rows.
        """
        if not ensemble.is_averaged or ensemble.leaf_rule.kind != "mean":
            raise UnsupportedModelError(
                f"Got a model of {ensemble.library} with the objective "
                f"{ensemble.loss_name!r}, whose leaves do not hold means of targets; "
                "expected a forest, a bagging or a single tree of scikit-learn."
            )
        rows = StagedRows.read(ensemble, X, y, sample_weight=sample_weight)
        tree_weight = find_tree_weights(ensemble, rows.y, rows.weight)
        value = rows.y[:, np.newaxis]
        if ensemble.leaf_width > 1:
            value = (value == np.arange(ensemble.leaf_width)).astype(REAL)
        value = np.ascontiguousarray(value)
        leaf_total = np.zeros((ensemble.n_leaves, 2 + ensemble.leaf_width), REAL)
        kernels.sum_leaf_totals(
            rows.leaf, ensemble.flat_leaves, tree_weight, value, leaf_total
        )
        report = _compare(ensemble, rows.n_rows, leaf_total)
        if on_mismatch != "ignore":
            report_mismatch(report, on_mismatch)
        return cls(ensemble, rows, tree_weight, value, leaf_total, report)

    @functools.cached_property
    def row_share(self) -> NDArray[np.float64]:
        """Share of each row in the value of its leaf, shape (n_trees, n_train).

        The number of trees is divided out.
        """
        ensemble = self.ensemble
        share = np.empty_like(self.tree_weight)
        for tree in range(ensemble.n_trees):
            leaf = ensemble.leaf_offset[tree] + self.rows.leaf[tree].astype(COUNT)
            total = self.leaf_total[leaf, 1]
            share[tree] = self.tree_weight[tree] / np.where(total > 0.0, total, 1.0)
        return share / ensemble.n_trees

    def fill_weights(
        self,
        leaf_test: NDArray[np.unsignedinteger[Any]],
        weights: NDArray[np.float64],
        *,
        first_row: int = 0,
    ) -> None:
        """Write the weight of each train row in the prediction of each test row.

        Parameters
        ----------
        leaf_test : ndarray of unsigned integer, shape (n_trees, n_test)
            Leaf of each test row within each tree.
        weights : ndarray of float64, shape (n_lines, n_test)
            Output, overwritten. With all rows, ``weights.T @ y_train`` is the
            prediction of a regressor, and ``weights.T @ value`` the probabilities of a
            classifier. Each column has the sum 1 and no negative number.
        first_row : int, default=0
            Train row of the first line.
        """
        kernels.fill_weights(
            self.rows.leaf, leaf_test, self.row_share, first_row, weights
        )

    def sum_weights(
        self,
        leaf_test: NDArray[np.unsignedinteger[Any]],
        factor: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Add up the weights over test rows, each times a factor.

        Parameters
        ----------
        leaf_test : ndarray of unsigned integer, shape (n_trees, n_test)
            Leaf of each test row within each tree.
        factor : ndarray of float64, shape (n_test,)
            Factors.

        Returns
        -------
        ndarray of float64, shape (n_train,)
            ``weights @ factor`` in O((n_train + n_test) n_trees) time.
        """
        total = np.zeros(self.rows.n_rows, REAL)
        n_leaves = np.diff(self.ensemble.leaf_offset)
        for tree, share in enumerate(self.row_share):
            reach = np.bincount(leaf_test[tree], factor, int(n_leaves[tree]))
            total += share * reach[self.rows.leaf[tree]]
        return total


@dataclasses.dataclass(frozen=True, eq=False)
class ForestColumns(Columns):
    """The weights of a forest's train rows in some predictions, times a factor.

    Parameters
    ----------
    forest : ForestRows
        The train rows.
    leaf : ndarray of unsigned integer, shape (n_trees, n_queries)
        Leaf of each query within each tree.
    factor : ndarray of float64, shape (n_queries,)
        Factor of each query.
    """

    forest: ForestRows
    leaf: NDArray[np.unsignedinteger[Any]]
    factor: NDArray[np.float64]

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the weights of a batch of train rows; see `Columns`."""
        weights = np.empty((len(influence), len(self.factor)))
        self.forest.fill_weights(self.leaf, weights, first_row=first_row)
        columns = slice(first_query, first_query + len(self.factor))
        np.multiply(weights, self.factor, out=influence[:, columns])


def find_shape(ensemble: TreeEnsemble) -> TreeShape:
    """Return the trees with the parent of each node and leaf."""
    node_parent = np.full(ensemble.n_nodes, -1, np.int32)
    leaf_parent = np.full(ensemble.n_leaves, -1, np.int32)
    node_tree = np.repeat(np.arange(ensemble.n_trees), np.diff(ensemble.node_offset))
    first_node = ensemble.node_offset[node_tree]
    number = (np.arange(ensemble.n_nodes) - first_node).astype(np.int32)
    for child in (ensemble.left, ensemble.right):
        is_leaf = child < 0
        node_parent[(first_node + child)[~is_leaf]] = number[~is_leaf]
        leaf = ensemble.leaf_offset[node_tree] + ~child
        leaf_parent[leaf[is_leaf]] = number[is_leaf]
    return TreeShape(
        ensemble.node_offset,
        ensemble.leaf_offset,
        ensemble.left,
        ensemble.right,
        node_parent,
        leaf_parent,
    )


def _compare(
    ensemble: TreeEnsemble, n_rows: int, leaf_total: NDArray[np.float64]
) -> ReproductionReport:
    """Compare the means of the rows with the leaf values of the model."""
    weight = leaf_total[:, 1:2]
    mean = leaf_total[:, 2:] / np.where(weight > 0.0, weight, 1.0)
    stored = ensemble.leaf_value * ensemble.n_trees
    scale = max(float(np.abs(stored).max()), float(np.finfo(REAL).tiny))
    difference = np.abs(mean - stored).max(axis=1) / scale
    wrong = 0
    if ensemble.leaf_count is not None:
        wrong = int((leaf_total[:, 0] != ensemble.leaf_count).sum())
    verdict, words = "exact", "The means of the rows in each leaf are its values."
    if difference.max() > _TOLERANCE:
        verdict = "other rows" if wrong else "other labels"
        words = (
            f"{(difference > _TOLERANCE).mean():.1%} of the leaves do not hold the "
            f"mean of the rows that reach them, {wrong:,} hold another number of rows: "
            "rows, labels, weights or their order are not those of training (or "
            "monotonic_cst moved leaf values)."
        )
    return ReproductionReport(
        verdict=verdict,
        explanation=words,
        n_rows=n_rows,
        share_seen=float(leaf_total[:, 0].sum() / ensemble.n_trees / n_rows),
        wrong_counts=wrong,
        largest_difference=float(difference.max()),
        median_difference=float(np.median(difference)),
        largest_hessian_difference=float("nan"),
    )
