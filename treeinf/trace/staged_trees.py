"""The trees and their train rows, tree by tree, for what finds the rows they saw."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.kernels.cpu import replay as kernels
from treeinf.trace.leaf_rule import apply_leaf_rule
from treeinf.trace.rows import StagedRows, count_rows
from treeinf.trace.tree_fit import (
    RoundingBound,
    TreeFit,
    compare_counts,
    compare_hessians,
    compare_values,
    compare_weights,
    sum_weights,
)

__all__ = ["ReplayedTrees"]

Array = NDArray[np.float64]


class ReplayedTrees:
    """A model that follows from gradients, and the rows that it was trained on.

    It implements `treeinf.adapters.row_sampling.StagedTrees`; tolerances are those of
    the reproduction of the whole model.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model with the base score taken out of the first tree and penalties in the
        units of the sums; its trees take one step each.
    rows : StagedRows
        All rows, with the weights of their gradients.
    """

    def __init__(self, ensemble: TreeEnsemble, rows: StagedRows) -> None:
        self.ensemble = ensemble
        self.n_rows = rows.n_rows
        self.y, self.weight = rows.y, rows.weight
        self.compares_values = not ensemble.training.approximations
        self._rows = rows
        self._starts = ensemble.flat_leaves.iteration_start
        self._iteration, self._score = -1, np.empty((0, 0))
        self._derivatives = self._score, self._score
        self._tree = functools.lru_cache(1)(self._take_tree)

    def leaf(self, tree: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the leaf of each row within a tree, shape (n_rows,)."""
        leaf: NDArray[np.unsignedinteger[Any]]
        leaf = self._rows.leaf[self.ensemble.row_of_tree[tree]]
        return leaf

    def derivatives(self, iteration: int) -> tuple[Array, Array]:
        """Compute gradients and hessians before an iteration; see `StagedTrees`."""
        if iteration != self._iteration:
            self._score = self._stage(iteration)
            self._iteration = iteration
            loss = self.ensemble.loss
            assert loss is not None
            weight = self.weight[:, np.newaxis] if self.weight.size else 1.0
            gradient, hessian = loss.derivatives(self.y, self._score)
            self._derivatives = (
                np.ascontiguousarray((gradient * weight).T),
                np.ascontiguousarray((hessian * weight).T),
            )
        return self._derivatives

    def counts_fit(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag gives the stored counts; see `StagedTrees`."""
        alone, rows = self._tree(tree), self._in_bag(tree, factor)
        if alone.leaf_count is None and alone.leaf_weight is None:
            return True
        count = count_rows(alone, rows)
        if alone.leaf_count is not None:
            return not compare_counts(alone, count).any()
        return not compare_weights(alone, sum_weights(alone, rows, count)).any()

    def fits(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag reproduces the tree; see `StagedTrees`."""
        if not self.counts_fit(tree, factor):
            return False
        if not self.compares_values:
            return True
        alone, rows = self._tree(tree), self._in_bag(tree, factor)
        count = count_rows(alone, rows)
        if compare_weights(alone, sum_weights(alone, rows, count)).any():
            return False
        hessian = self._sum(alone, rows, 1, tree)
        wrong = compare_hessians(alone, count, hessian, self._rounding)
        if wrong.any():
            return False
        expected, response = apply_leaf_rule(
            alone, self._sum(alone, rows, 0, tree), hessian, count
        )
        difference = compare_values(
            alone,
            alone.leaf_value / (alone.shrinkage[0] or 1.0),
            expected,
            self._rounding.of_leaves(alone, count, hessian, response),
        )
        fit = TreeFit.of_leaves(alone, wrong, wrong, wrong, difference)
        return bool(fit.fits[0])

    @functools.cached_property
    def _rounding(self) -> RoundingBound:
        offset = self._rows.offset if self._rows.offset.size else None
        raw_score = self.ensemble.add_leaf_values(self._rows.leaf, offset=offset)
        return RoundingBound.measure(self.ensemble, self._rows, raw_score)

    def _take_tree(self, tree: int) -> TreeEnsemble:
        """Return an ensemble of one tree."""
        return self.ensemble.take_trees([tree])

    def _in_bag(self, tree: int, factor: NDArray[Any] | None) -> StagedRows:
        """Return the rows with a bag of the one tree."""
        bags = Bags.all_rows(self.n_rows)
        if factor is not None:
            bags = Bags.from_rows(self.n_rows, [factor], [0])
        line = self.ensemble.row_of_tree[tree]
        return StagedRows(
            leaf=self._rows.leaf[line : line + 1],
            y=self.y,
            weight=self.weight,
            offset=self._rows.offset,
            fingerprint=self._rows.fingerprint,
            bags=bags,
        )

    def _sum(
        self, alone: TreeEnsemble, rows: StagedRows, order: int, tree: int
    ) -> Array:
        """Sum gradients (order 0) or hessians (1) over the leaves of a tree."""
        iteration = int(np.searchsorted(self._starts, tree, "right")) - 1
        values = self.derivatives(iteration)[order]
        total = np.zeros((alone.leaf_width, alone.n_leaves), REAL)
        for column in range(alone.leaf_width):
            k = column if alone.leaf_width > 1 else max(int(alone.output[0]), 0)
            of_output = values[k]
            if alone.leaf_rule.kind == "gradient" and order == 1:
                of_output = self.weight if self.weight.size else np.ones(self.n_rows)
            kernels.sum_leaf_weights(
                rows.leaf,
                alone.leaf_offset,
                alone.row_of_tree,
                rows.bags.flat,
                of_output,
                total[column],
            )
        return np.ascontiguousarray(total.T)

    def _stage(self, iteration: int) -> Array:
        """Compute raw scores before an iteration, shape (n_rows, n_outputs)."""
        ensemble, rows = self.ensemble, self._rows
        shape = (self.n_rows, ensemble.n_outputs)
        leaves = ensemble.flat_leaves
        if self._iteration < 0 or iteration < self._iteration:
            score = np.empty(shape, REAL)
            kernels.sum_leaf_values(
                *(rows.leaf, leaves, rows.offset, int(self._starts[iteration]), score)
            )
            return score
        staged = np.empty((2, *shape), REAL)
        step = iteration - self._iteration
        kernels.stage_scores(
            rows.leaf, leaves, self._iteration, step, self._score, staged
        )
        return staged[1]
