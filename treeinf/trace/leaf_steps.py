"""Leaf values of several Newton steps per tree, or of steps in all outputs jointly."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.trace.leaf_rule import newton_step

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
        Minus the derivative of each step with respect to its leaf's gradient sum.
    inverse_hessian : ndarray of float64 or None, \
shape (n_steps, n_leaves, leaf_width, leaf_width)
        Minus the derivative of each output's step with respect to each output's
        gradient sum, where the outputs are solved for jointly.
    """

    step: Array
    response: Array
    inverse_hessian: Array | None = None

    @classmethod
    def zeros(cls, shape: tuple[int, int, int], is_full: bool) -> LeafSteps:
        """Return steps of length 0, with an inverse hessian if `is_full`."""
        inverse = np.zeros((*shape, shape[-1])) if is_full else None
        return cls(np.zeros(shape), np.zeros(shape), inverse)

    @property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays that are not None."""
        arrays = (self.step, self.response, self.inverse_hessian)
        return tuple(array for array in arrays if array is not None)

    @property
    def total(self) -> Array:
        """The leaf values before shrinkage, shape (n_leaves, leaf_width)."""
        return self.step.sum(axis=0)


def take_leaf_steps(
    ensemble: TreeEnsemble,
    leaf: NDArray[np.unsignedinteger],
    y: Array,
    weight: Array,
    offset: Array,
    bags: Bags,
) -> LeafSteps:
    """Compute the steps of each tree from the train rows.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model with penalties in the units of the sums.
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaf of each row within each tree.
    y : ndarray of float64, shape (n_rows,)
        Targets.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Row weights; empty for 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Initial score of each row.
    bags : Bags
        The rows that each tree was fitted on. The loss that `LeafRule.backtracks`
        compares is that of all rows.

    Returns
    -------
    LeafSteps

    Notes
    -----
    O(n_rows n_trees n_steps) time in NumPy, times n_outputs squared for "full newton".
    Scores are advanced by the stored leaf values, so that a difference in one tree does
    not reach the next.

    With `LeafRule.backtracks`, a step that does not lower the mean loss is halved.
    Where a step lowers it by less than rounding errors, the library's decision cannot
    be inferred from the loss: the number of steps whose sum is nearest to the stored
    values is taken.
    """
    rule, loss = ensemble.leaf_rule, ensemble.loss
    assert loss is not None
    weight = weight if weight.size else np.ones(len(y))
    score = np.tile(ensemble.base_score, (len(y), 1))
    if offset.size:
        score += offset
    taken = LeafSteps.zeros(
        (rule.n_steps, *ensemble.leaf_value.shape), rule.kind == "full newton"
    )
    starts = ensemble.flat_leaves.iteration_start
    for begin, stop in itertools.pairwise(starts):
        trees = [_Tree(ensemble, tree, leaf, bags) for tree in range(begin, stop)]
        current = score.copy()
        lowest = float(np.average(loss.loss(y, current), weights=weight))
        n_tried = n_taken = 0
        while n_tried < rule.n_steps:
            steps = [tree.step(current, y, weight) for tree in trees]
            scale, is_better = 1.0, False
            while n_tried < rule.n_steps and not is_better:
                trial = current.copy()
                for tree, step in zip(trees, steps, strict=True):
                    tree.add(scale * step.step, trial)
                n_tried += 1
                is_better = not rule.backtracks
                if rule.backtracks:
                    mean_loss = float(np.average(loss.loss(y, trial), weights=weight))
                    is_better = mean_loss < lowest
                if is_better:
                    lowest = mean_loss if rule.backtracks else lowest
                    current = trial
                else:
                    scale /= 2.0
            if is_better:
                for tree, step in zip(trees, steps, strict=True):
                    for array, values in zip(taken.arrays, step.arrays, strict=True):
                        array[n_taken, tree.leaves] = scale * values
                n_taken += 1
        if rule.backtracks and n_taken:
            _drop_last_steps(ensemble, trees, taken, n_taken)
        for tree in trees:
            tree.add(ensemble.leaf_value[tree.leaves], score)
    return taken


def _drop_last_steps(
    ensemble: TreeEnsemble, trees: list[_Tree], taken: LeafSteps, n_taken: int
) -> None:
    """Drop trailing steps that the stored leaf values do not include."""
    leaves = np.concatenate([np.arange(t.leaves.start, t.leaves.stop) for t in trees])
    shrinkage = ensemble.shrinkage[trees[0].number] or 1.0
    stored = ensemble.leaf_value[leaves] / shrinkage
    sums = np.cumsum(taken.step[:n_taken, leaves], axis=0)
    sums = np.concatenate([np.zeros_like(sums[:1]), sums])
    n_kept = int(np.argmin(np.abs(sums - stored).max(axis=(1, 2))))
    for array in taken.arrays:
        array[n_kept:, leaves] = 0.0


class _Tree:
    """The leaves of one tree, and the train rows in them."""

    def __init__(
        self,
        ensemble: TreeEnsemble,
        number: int,
        leaf: NDArray[np.unsignedinteger],
        bags: Bags,
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
        self.factor = bags.row_factors(number)

    def add(self, value: Array, score: Array) -> None:
        """Add leaf values to scores of rows."""
        score[:, self.outputs] += value[self.leaf]

    def sum(self, values: Array) -> Array:
        """Sum one value per row over each leaf."""
        return np.bincount(self.leaf, values, self.n_leaves).astype(REAL, copy=False)

    def step(self, score: Array, y: Array, weight: Array) -> LeafSteps:
        """Compute the step at these scores; its arrays lack the axis of steps."""
        if self.factor is not None:
            weight = weight * self.factor
        gradient, hessian = self.loss.derivatives(y, score)
        G = np.stack([self.sum(weight * gradient[:, k]) for k in self.outputs], axis=1)
        if self.rule.kind == "full newton":
            return self._full_step(G, self.loss.link(score), weight)
        if self.rule.kind == "gradient":
            hessian = np.ones_like(hessian)
        H = np.stack([self.sum(weight * hessian[:, k]) for k in self.outputs], axis=1)
        return LeafSteps(*newton_step(G, H, self.l2, self.rule))

    def _full_step(self, G: Array, probability: Array, weight: Array) -> LeafSteps:
        """Solve for all outputs jointly.

        Gradients of a softmax sum to 0, so the response of an output is with respect to
        its gradient while the same amount is subtracted evenly from the others.
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
        inverse = np.asarray(np.linalg.inv(H), REAL)
        step = -np.asarray(np.linalg.solve(H, G[:, :, np.newaxis])[:, :, 0], REAL)
        inverse_diagonal = np.einsum("lkk->lk", inverse)
        response = (K * inverse_diagonal - inverse.sum(axis=2)) / (K - 1)
        return LeafSteps(step, np.asarray(response, REAL), inverse)


def expand_leaf_steps(
    ensemble: TreeEnsemble, taken: LeafSteps
) -> tuple[TreeEnsemble, NDArray[np.intp], Array, Array, Array | None]:
    """Return the model with one tree per Newton step.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    taken : LeafSteps
        Its steps.

    Returns
    -------
    expanded : TreeEnsemble
        Trees of one original tree share its row of leaf ids. Raw scores before a step
        are those at which it was computed, with earlier steps unshrunk; those after the
        last step are the model's, so the last tree's values also correct for that.
    tree : ndarray of int, shape (n_expanded_trees,)
        The original tree of each.
    step, response : ndarray of float64, shape (n_leaves, leaf_width)
        Those of `taken`, by leaf of the expanded model.
    inverse_hessian : ndarray of float64 or None, \
shape (n_leaves, leaf_width, leaf_width)
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
    inverse = taken.inverse_hessian
    if inverse is not None:
        inverse = inverse[of_step, leaf]
    step, response = taken.step[of_step, leaf], taken.response[of_step, leaf]
    return expanded, tree, step, response, inverse
