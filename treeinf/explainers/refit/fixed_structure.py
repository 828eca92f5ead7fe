"""Refit leaf values without some train rows, the tree structures held fixed."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import COUNT, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.gradient.forest_weights import ForestRows, find_shape
from treeinf.kernels.cpu import forests as forest_kernels
from treeinf.kernels.cpu import refit as kernels
from treeinf.kernels.cpu import replay as replay_kernels
from treeinf.trace import StagedRows, TrainingTrace
from treeinf.trace.leaf_rule import has_fitted_values

__all__ = ["BoostingRefit", "ForestRefit", "Refit", "Refits", "Removals"]

Array = NDArray[np.float64]

_ROUNDING = 1e-5
"""Relative error allowed for a leaf hessian that was summed in single precision."""


@dataclasses.dataclass(frozen=True, eq=False)
class Removals:
    """Sets of train rows, each of which is removed on its own.

    Parameters
    ----------
    start : ndarray of int64, shape (n_sets + 1,)
        Offset of each set in `row`.
    row : ndarray of int64, shape (n_removed,)
        Rows of each set, in increasing order.
    """

    start: NDArray[np.int64]
    row: NDArray[np.int64]

    @classmethod
    def each(cls, first: int, stop: int) -> Removals:
        """Remove each of the rows from `first` up to `stop` on its own."""
        return cls(np.arange(stop - first + 1, dtype=OFFSET), np.arange(first, stop))

    @classmethod
    def of(cls, sets: Sequence[NDArray[np.int64]]) -> Removals:
        """Remove each of several sets; repeated rows count once."""
        unique_rows = [np.unique(rows).astype(OFFSET) for rows in sets]
        counts = [len(rows) for rows in unique_rows]
        start = np.concatenate([[0], np.cumsum(counts)]).astype(OFFSET)
        return cls(start, np.concatenate([np.empty(0, OFFSET), *unique_rows]))

    @property
    def n_sets(self) -> int:
        """Number of sets."""
        return len(self.start) - 1

    @property
    def largest(self) -> int:
        """Number of rows in the largest set."""
        return int(np.diff(self.start).max(initial=0))

    @property
    def n_batches(self) -> int:
        """Number of removal batches that the kernels work on."""
        return -(-self.n_sets // kernels.REMOVAL_BATCH)

    @property
    def padded_start(self) -> NDArray[np.int64]:
        """`start` with empty sets appended that fill the last removal batch."""
        n_padded = self.n_batches * kernels.REMOVAL_BATCH - self.n_sets
        return np.concatenate([self.start, np.repeat(self.start[-1:], n_padded)])

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Return the rows of one set."""
        return self.row[self.start[number] : self.start[number + 1]]

    def take(self, sets: slice) -> Removals:
        """Return a contiguous selection of the sets."""
        start = self.start[sets.start : sets.stop + 1]
        return Removals(start - start[0], self.row[start[0] : start[-1]])


@dataclasses.dataclass(frozen=True, eq=False)
class Refits:
    """Base scores and leaf values of several refits.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    n_sets : int
        Number of refits; padding at the end of the last removal batch is undefined.
    base_score : ndarray of float64, shape (n_batches, n_outputs, REMOVAL_BATCH)
        Base scores.
    leaf_value : ndarray of float64, shape (n_batches, n_leaves, leaf_width, \
REMOVAL_BATCH)
        Leaf values.
    """

    ensemble: TreeEnsemble
    n_sets: int
    base_score: Array
    leaf_value: Array

    def raw_score(self, rows: StagedRows) -> Array:
        """Compute raw scores of rows under each refit.

        Returns
        -------
        ndarray of float64, shape (n_sets, n_rows, n_outputs)
        """
        n_all = len(self.base_score) * kernels.REMOVAL_BATCH
        raw_score = np.empty((n_all, rows.n_rows, self.ensemble.n_outputs), REAL)
        kernels.score_rows(
            rows.flat,
            self.ensemble.flat_leaves,
            self.base_score,
            self.leaf_value,
            raw_score,
        )
        return raw_score[: self.n_sets]

    def score_removed_rows(self, rows: StagedRows, row: NDArray[np.int64]) -> Array:
        """Compute the raw scores of one row under each refit.

        Returns
        -------
        ndarray of float64, shape (n_sets, n_outputs)
        """
        raw_score = np.empty((self.n_sets, self.ensemble.n_outputs), REAL)
        kernels.score_removed(
            rows.flat,
            self.ensemble.flat_leaves,
            self.base_score,
            self.leaf_value,
            row,
            raw_score,
        )
        return raw_score


class Refit(abc.ABC):
    """Refit of a model without some of its train rows.

    Parameters
    ----------
    source : TreeEnsemble
        The model as it was read.
    ensemble : TreeEnsemble
        The model whose leaves are refitted: the base score kept apart, one tree for
        each Newton step.
    rows : StagedRows
        Train rows.
    """

    source: TreeEnsemble
    ensemble: TreeEnsemble
    rows: StagedRows

    @abc.abstractmethod
    def run(self, removals: Removals) -> Refits:
        """Refit without each set."""

    @abc.abstractmethod
    def find_unfittable(self, removals: Removals) -> tuple[int, str] | None:
        """Return the number of a set that leaves nothing to fit, and what lacks."""

    @abc.abstractmethod
    def rebuild(self, rows: NDArray[np.int64]) -> TreeEnsemble:
        """Return the model refitted without some rows."""

    def _allocate(self, removals: Removals) -> Array:
        shape = (removals.n_batches, *self.ensemble.leaf_value.shape)
        return np.empty((*shape, kernels.REMOVAL_BATCH), REAL)


class BoostingRefit(Refit):
    """Refit a boosted model iteration by iteration, by the library's own leaf rule.

    Parameters
    ----------
    trace : TrainingTrace
        The replay of the model.
    through_base_score : bool
        Estimate the base score again where the library does.
    """

    def __init__(self, trace: TrainingTrace, through_base_score: bool) -> None:
        self.source = trace.source
        self.ensemble = trace.ensemble
        self.rows = trace.rows
        estimate = trace.base_estimate
        if not through_base_score:
            estimate = dataclasses.replace(estimate, kind="fixed")
        self._base_estimate = estimate
        self._shape = find_shape(trace.ensemble)
        self._rule = _make_rule(trace)

    @property
    def _weight(self) -> Array:
        weight = self.rows.weight
        return weight if weight.size else np.ones(self.rows.n_rows)

    def run(self, removals: Removals) -> Refits:
        """Refit without each set; see `refit_boosting`."""
        n_all = removals.n_batches * kernels.REMOVAL_BATCH
        base_score = np.tile(self.ensemble.base_score, (n_all, 1))
        l2_factor = np.ones(n_all)
        weight = self._weight
        for number in range(removals.n_sets):
            rows = removals.rows_of(number)
            base_score[number] += self._base_estimate.removal_change(rows)
            if self.source.training.l2_per_weight and len(rows):
                left = weight.sum() - weight[rows].sum()
                l2_factor[number] = left / (len(weight) - len(rows)) / weight.mean()
        base_score = _to_removal_batches(base_score)
        leaf_value = self._allocate(removals)
        kernels.refit_boosting(
            self.rows.flat,
            self.ensemble.flat_leaves,
            self.ensemble.flat_loss,
            self._shape,
            self._rule,
            base_score,
            l2_factor.reshape(-1, kernels.REMOVAL_BATCH),
            removals.padded_start,
            removals.row,
            leaf_value,
        )
        return Refits(self.ensemble, removals.n_sets, base_score, leaf_value)

    def find_unfittable(self, removals: Removals) -> tuple[int, str] | None:
        """Return a set that holds all rows of positive weight."""
        is_seen = self._weight > 0.0
        n_seen = int(is_seen.sum())
        if removals.largest < n_seen:
            return None
        for number in range(removals.n_sets):
            if is_seen[removals.rows_of(number)].sum() >= n_seen:
                return number, "no train row of any weight"
        return None

    def rebuild(self, rows: NDArray[np.int64]) -> TreeEnsemble:
        """Return the refitted model, the Newton steps of each tree summed up."""
        refits = self.run(Removals.of([rows]))
        expanded, source = refits.leaf_value[0, :, :, 0], self.source
        values = expanded.copy()
        if self._rule.n_steps > 1:
            values = np.zeros_like(source.leaf_value)
            starts = self.ensemble.flat_leaves.iteration_start
            first_leaf = self.ensemble.leaf_offset[starts]
            source_leaf = source.leaf_offset[source.flat_leaves.iteration_start]
            for number in range(len(starts) - 1):
                iteration = number // self._rule.n_steps
                values[source_leaf[iteration] : source_leaf[iteration + 1]] += expanded[
                    first_leaf[number] : first_leaf[number + 1]
                ]
        weight = self._weight.copy()
        kept = np.ones(len(weight), bool)
        kept[rows] = False
        weight[rows] = 0.0
        if not source.training.counts_zero_weights:
            kept &= weight > 0.0
        # only models without bags take several steps, so trees are the source's
        bags = self.rows.bags.keep(kept, source.n_trees).flat
        leaf = self.rows.leaf, source.leaf_offset, source.row_of_tree
        count, total = np.zeros(source.n_leaves, COUNT), np.zeros(source.n_leaves, REAL)
        replay_kernels.count_leaf_rows(*leaf, bags, count)
        replay_kernels.sum_leaf_weights(*leaf, bags, weight, total)
        return dataclasses.replace(
            source,
            leaf_value=values,
            base_score=refits.base_score[0, :, 0],
            base_score_folded=np.zeros(source.n_outputs, REAL),
            # the library would draw other bags from the rows that are left
            training=dataclasses.replace(source.training, row_sampling=None),
            leaf_count=None if source.leaf_count is None else count,
            leaf_weight=None if source.leaf_weight is None else total,
            leaf_hessian=None,
        )


class ForestRefit(Refit):
    """Refit a forest: leaf values are means over the remaining rows.

    Parameters
    ----------
    forest : ForestRows
        The forest and its rows.
    """

    def __init__(self, forest: ForestRows) -> None:
        self.source = self.ensemble = forest.ensemble
        self.rows = forest.rows
        self._forest = forest
        self._shape = find_shape(forest.ensemble)
        self._node_total = _sum_nodes(forest, self._shape)
        means = forest.leaf_total[:, 2:] / np.maximum(
            forest.leaf_total[:, 1:2], np.finfo(REAL).tiny
        )
        self._leaves = forest.ensemble.flat_leaves._replace(
            leaf_value=means / forest.ensemble.n_trees
        )

    def run(self, removals: Removals) -> Refits:
        """Refit without each set; see `refit_means`."""
        leaf_value = self._allocate(removals)
        forest_kernels.refit_means(
            self.rows.leaf,
            self._leaves,
            self._shape,
            self._forest.value,
            self._forest.tree_weight,
            self._forest.leaf_total,
            self._node_total,
            removals.padded_start,
            removals.row,
            leaf_value,
        )
        n_all = removals.n_batches * kernels.REMOVAL_BATCH
        base_score = _to_removal_batches(np.tile(self.ensemble.base_score, (n_all, 1)))
        return Refits(self.ensemble, removals.n_sets, base_score, leaf_value)

    def find_unfittable(self, removals: Removals) -> tuple[int, str] | None:
        """Return a set that holds all rows of a tree."""
        is_seen = self._forest.tree_weight != 0.0
        n_seen = is_seen.sum(axis=1)
        if removals.largest < n_seen.min():
            return None
        for number in range(removals.n_sets):
            n_removed = is_seen[:, removals.rows_of(number)].sum(axis=1)
            is_empty = n_removed >= n_seen
            if is_empty.any():
                return number, f"tree {int(np.argmax(is_empty))} no train row"
        return None

    def rebuild(self, rows: NDArray[np.int64]) -> TreeEnsemble:
        """Return the refitted forest."""
        values = self.run(Removals.of([rows])).leaf_value[0, :, :, 0]
        count = np.zeros(self.source.n_leaves, COUNT)
        total = np.zeros(self.source.n_leaves, REAL)
        for tree, tree_weight in enumerate(self._forest.tree_weight):
            weight = tree_weight.copy()
            weight[rows] = 0.0
            leaf = self.rows.leaf[tree]
            leaves = slice(*self.source.leaf_offset[tree : tree + 2])
            total[leaves] = np.bincount(leaf, weight, leaves.stop - leaves.start)
            count[leaves] = np.bincount(leaf, weight != 0.0, leaves.stop - leaves.start)
        return dataclasses.replace(
            self.source,
            leaf_value=values,
            leaf_count=None if self.source.leaf_count is None else count,
            leaf_weight=None if self.source.leaf_weight is None else total,
            leaf_hessian=None,
        )


def _make_rule(trace: TrainingTrace) -> Any:
    """Translate the library's leaf rule into the argument of the kernel."""
    rule, ensemble = trace.source.leaf_rule, trace.ensemble
    return kernels.RefitRule(
        l1_leaf=float(rule.l1_leaf),
        max_leaf_value=float(rule.max_leaf_value),
        path_smooth=float(rule.path_smooth),
        min_hessian=float(rule.min_leaf_hessian) * (1.0 - _ROUNDING),
        is_full=rule.kind == "full newton",
        n_steps=int(rule.n_steps),
        leaf_l2=ensemble.leaf_l2,
        shrinkage=ensemble.shrinkage,
        step_length=_step_lengths(trace),
        is_fitted=np.array(has_fitted_values(ensemble)),
        leaf_rows=trace.leaf_rows,
    )


def _step_lengths(trace: TrainingTrace) -> Array:
    """Return the share of its Newton step that each tree took, a power of 2 or 0."""
    source, ensemble = trace.source, trace.ensemble
    if not source.leaf_rule.backtracks:
        return np.ones(ensemble.n_trees)
    assert ensemble.leaf_l2 is not None
    l2, hessian = ensemble.leaf_l2[:, np.newaxis], trace.leaf_hessian
    if trace.inverse_leaf_hessian is None:
        share = trace.leaf_response * (hessian + l2)
    else:
        assert source.loss is not None
        diagonal = hessian / source.loss.parameter
        smallest = np.finfo(np.float32).eps * diagonal.max(axis=1, keepdims=True)
        diagonal = diagonal + np.maximum(l2, smallest)
        share = np.zeros_like(diagonal)
        is_taken = trace.inverse_leaf_hessian.any(axis=(1, 2))
        inverse = np.linalg.inv(trace.inverse_leaf_hessian[is_taken])
        share[is_taken] = diagonal[is_taken] / np.einsum("lkk->lk", inverse)
    largest = np.maximum.reduceat(share.max(axis=1), ensemble.leaf_offset[:-1])
    lengths: Array = np.zeros(ensemble.n_trees)
    is_taken = largest > 0.0
    lengths[is_taken] = 2.0 ** np.round(np.log2(largest[is_taken]))
    return lengths


def _sum_nodes(forest: ForestRows, shape: Any) -> Array:
    """Add up the totals of the leaves below each node, shape (n_nodes, n_sums)."""
    ensemble = forest.ensemble
    total = np.zeros((ensemble.n_nodes, forest.leaf_total.shape[1]), REAL)
    for tree in range(ensemble.n_trees):
        first = int(ensemble.node_offset[tree])
        leaves = slice(*ensemble.leaf_offset[tree : tree + 2])
        node, value = shape.leaf_parent[leaves], forest.leaf_total[leaves]
        while len(node):
            node, value = node[node >= 0], value[node >= 0]
            np.add.at(total, first + node, value)
            node = shape.node_parent[first + node]
    return total


def _to_removal_batches(values: Array) -> Array:
    """Lay out one line a set as the kernels do, the sets of a batch innermost."""
    width = values.shape[1]
    by_batch = values.reshape(-1, kernels.REMOVAL_BATCH, width)
    return np.ascontiguousarray(by_batch.transpose(0, 2, 1))
