"""Leaf values that take several steps a tree, or a matrix of second derivatives."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import OFFSET, REAL

if TYPE_CHECKING:
    from treeinf.ensemble.structure import TreeEnsemble

__all__ = ["LeafSteps", "expand_leaf_steps", "take_leaf_steps"]

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LeafSteps:
    """The steps that make up each leaf value.

    Parameters
    ----------
    step : ndarray of float64, shape (n_steps, n_leaves, leaf_width)
        Steps at the length taken, before shrinkage; 0 where none was taken.
    response : ndarray of float64, shape (n_steps, n_leaves, leaf_width)
        How much a step falls for a unit more of its leaf's gradient sum.
    matrix : ndarray of float64, shape (n_steps, n_leaves, leaf_width, leaf_width), \
or None
        How much each output's step falls for a unit more of each output's gradient sum,
        where the outputs are solved for together.
    """

    step: Array
    response: Array
    matrix: Array | None = None

    @property
    def total(self) -> Array:
        """The leaf values before shrinkage, shape (n_leaves, leaf_width)."""
        return self.step.sum(axis=0)


def take_leaf_steps(
    ensemble: TreeEnsemble,
    leaf: NDArray[np.unsignedinteger],
    target: Array,
    weight: Array,
    offset: Array,
) -> LeafSteps:
    """Take the steps of each tree from the train rows, forward through boosting.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its penalties in the units of the sums.
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaf of each row within each tree.
    target : ndarray of float64, shape (n_rows,)
        Targets.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights; empty for 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Each row's own initial score.

    Returns
    -------
    LeafSteps

    Notes
    -----
    O(n_rows n_trees n_steps) time in NumPy, times n_outputs squared for "full newton".
    Scores go forward by the stored leaf values, so that a difference in one tree does
    not reach the next.

    With `LeafRule.backtracks`, a step that does not lower the mean loss is halved.
    Where steps lower it by less than rounding does, the library's decision cannot be
    told from the loss; of the sums after each number of steps, the one nearest to the
    stored values is taken.
    """
    rule, loss = ensemble.leaf_rule, ensemble.loss
    assert loss is not None
    weight = weight if weight.size else np.ones(len(target))
    score = np.tile(ensemble.base_score, (len(target), 1))
    if offset.size:
        score += offset
    shape = (rule.n_steps, *ensemble.leaf_value.shape)
    is_full = rule.kind == "full newton"
    matrix = np.zeros((*shape, ensemble.leaf_width)) if is_full else None
    taken = LeafSteps(np.zeros(shape), np.zeros(shape), matrix)
    starts = ensemble.flat_leaves.iteration_start
    for begin, stop in itertools.pairwise(starts):
        trees = [_Tree(ensemble, tree, leaf) for tree in range(begin, stop)]
        current = score.copy()
        lowest = float(np.average(loss.loss(target, current), weights=weight))
        n_tried = n_taken = 0
        while n_tried < rule.n_steps:
            moves = [tree.move(current, target, weight) for tree in trees]
            scale, is_better = 1.0, False
            while n_tried < rule.n_steps and not is_better:
                trial = current.copy()
                for tree, move in zip(trees, moves, strict=True):
                    tree.add(scale * move.step, trial)
                n_tried += 1
                is_better = not rule.backtracks
                if rule.backtracks:
                    now = float(np.average(loss.loss(target, trial), weights=weight))
                    is_better = now < lowest
                if is_better:
                    lowest = now if rule.backtracks else lowest
                    current = trial
                else:
                    scale /= 2.0
            if is_better:
                for tree, move in zip(trees, moves, strict=True):
                    taken.step[n_taken, tree.leaves] = scale * move.step
                    taken.response[n_taken, tree.leaves] = scale * move.response
                    if taken.matrix is not None and move.matrix is not None:
                        taken.matrix[n_taken, tree.leaves] = scale * move.matrix
                n_taken += 1
        if rule.backtracks and n_taken:
            _stop_where_the_library_did(ensemble, trees, taken, n_taken)
        for tree in trees:
            tree.add(ensemble.leaf_value[tree.leaves], score)
    return taken


def _stop_where_the_library_did(
    ensemble: TreeEnsemble, trees: list[_Tree], taken: LeafSteps, n_taken: int
) -> None:
    """Drop the last steps if the stored values are those without them."""
    leaves = np.concatenate([np.arange(t.leaves.start, t.leaves.stop) for t in trees])
    shrinkage = ensemble.shrinkage[trees[0].number] or 1.0
    stored = ensemble.leaf_value[leaves] / shrinkage
    sums = np.cumsum(taken.step[:n_taken, leaves], axis=0)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    n_kept = int(np.argmin(np.abs(sums - stored).max(axis=(1, 2))))
    taken.step[n_kept:, leaves] = 0.0
    taken.response[n_kept:, leaves] = 0.0
    if taken.matrix is not None:
        taken.matrix[n_kept:, leaves] = 0.0


class _Move(NamedTuple):
    """One step of one tree, and how it responds to gradients; see `LeafSteps`."""

    step: Array
    response: Array
    matrix: Array | None = None


class _Tree:
    """One tree's leaves over the train rows."""

    def __init__(
        self, ensemble: TreeEnsemble, number: int, leaf: NDArray[np.unsignedinteger]
    ) -> None:
        assert ensemble.leaf_l2 is not None
        assert ensemble.loss is not None
        self.number = number
        self.leaves = slice(
            int(ensemble.leaf_offset[number]), int(ensemble.leaf_offset[number + 1])
        )
        self.n_leaves = self.leaves.stop - self.leaves.start
        self.leaf = leaf[ensemble.row_of_tree[number]].astype(np.intp)
        width = ensemble.leaf_width
        first = max(int(ensemble.output[number]), 0)
        self.outputs = list(range(width)) if width > 1 else [first]
        self.l2 = ensemble.leaf_l2[self.leaves, np.newaxis]
        self.rule = ensemble.leaf_rule
        self.loss = ensemble.loss

    def add(self, value: Array, score: Array) -> None:
        """Add leaf values to scores of rows."""
        score[:, self.outputs] += value[self.leaf]

    def sum(self, values: Array) -> Array:
        """Add up one number a row leaf by leaf."""
        return np.bincount(self.leaf, values, self.n_leaves).astype(REAL, copy=False)

    def move(self, score: Array, target: Array, weight: Array) -> _Move:
        """Give the step at these scores, and how it responds to gradients."""
        gradient, hessian = self.loss.derivatives(target, score)
        G = np.stack([self.sum(weight * gradient[:, k]) for k in self.outputs], axis=1)
        if self.rule.kind == "full newton":
            return self._move_together(G, self.loss.link(score), weight)
        if self.rule.kind == "gradient":
            hessian = np.ones_like(hessian)
        H = np.stack([self.sum(weight * hessian[:, k]) for k in self.outputs], axis=1)
        denominator = H + self.l2
        is_free = denominator > 0.0
        response = np.where(is_free, 1.0 / np.where(is_free, denominator, 1.0), 0.0)
        return _Move(-G * response, response)

    def _move_together(self, G: Array, probability: Array, weight: Array) -> _Move:
        """Solve for all outputs at once.

        The response of an output is that to a unit of its gradient and as much, spread
        evenly, off those of the others: gradients of a softmax sum to 0.
        """
        K = G.shape[1]
        H = np.empty((self.n_leaves, K, K))
        for k in range(K):
            for m in range(k + 1):
                product = probability[:, k] * ((k == m) - probability[:, m])
                H[:, k, m] = H[:, m, k] = self.sum(weight * product)
        diagonal = np.einsum("lkk->lk", H)
        smallest = np.finfo(np.float32).eps * diagonal.max(axis=1, keepdims=True)
        diagonal += np.maximum(self.l2, smallest)
        diagonal[diagonal.max(axis=1) <= 0.0] = 1.0
        inverse = np.linalg.inv(H)
        step = -np.asarray(np.linalg.solve(H, G[:, :, np.newaxis])[:, :, 0], REAL)
        own = np.einsum("lkk->lk", inverse)
        response = (K * own - inverse.sum(axis=2)) / (K - 1)
        return _Move(step, np.asarray(response, REAL), np.asarray(inverse, REAL))


def expand_leaf_steps(
    ensemble: TreeEnsemble, taken: LeafSteps
) -> tuple[TreeEnsemble, Array, Array, Array | None]:
    """Give the model with one tree for each step of each tree.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    taken : LeafSteps
        Its steps.

    Returns
    -------
    expanded : TreeEnsemble
        Trees of one original tree share its line of leaf ids. Raw scores before a step
        are those it was taken at; those after the last step are the model's own, so
        that the last tree's values also take the earlier steps back to the shrinkage.
    step, response : ndarray of float64, shape (n_leaves, leaf_width)
        Those of `taken`, leaf by leaf of the expanded model.
    matrix : ndarray of float64, shape (n_leaves, leaf_width, leaf_width), or None
        The same.
    """
    n_steps, n_trees = len(taken.step), ensemble.n_trees
    tree = np.repeat(np.arange(n_trees), n_steps)
    number = np.tile(np.arange(n_steps), n_trees)
    order = np.lexsort((tree, number, ensemble.iteration[tree]))
    tree, number = tree[order], number[order]
    expanded = ensemble.take_trees(tree)
    count = np.diff(expanded.leaf_offset)
    leaf = np.arange(expanded.n_leaves) + np.repeat(
        ensemble.leaf_offset[tree] - expanded.leaf_offset[:-1], count
    )
    of_step = np.repeat(number, count)
    values = taken.step.copy()
    values[-1] = ensemble.leaf_value - values[:-1].sum(axis=0)
    iteration = ensemble.iteration[tree].astype(OFFSET) * n_steps + number
    expanded = dataclasses.replace(
        expanded,
        iteration=iteration,
        leaf_row=ensemble.row_of_tree[tree],
        leaf_value=values[of_step, leaf],
        leaf_rule=dataclasses.replace(ensemble.leaf_rule, n_steps=1),
    )
    matrix = None if taken.matrix is None else taken.matrix[of_step, leaf]
    return expanded, taken.step[of_step, leaf], taken.response[of_step, leaf], matrix
