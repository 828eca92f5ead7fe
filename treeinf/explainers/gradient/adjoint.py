"""Targets pushed backwards through boosting, to what each leaf does to them in the end.

Two equal forms: the reverse sweep passes over the train rows for every block of
targets; the leaf matrix sums them up once, and then goes from leaf to leaf.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.gradient.device_sweep import sweep_on_device
from treeinf.explainers.gradient.factors import DenseLeafFactors
from treeinf.explainers.gradient.leaf_coupling import LeafMatrix
from treeinf.explainers.queries import EnsembleQueries
from treeinf.kernels.cpu import contraction
from treeinf.kernels.cpu import reverse_sweep as kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.simd import LINE_WIDTHS
from treeinf.kernels.threads import threads_for
from treeinf.trace import StagedRows, TrainingTrace

__all__ = ["BackwardPass", "seed_leaves"]

_MOST_PARTS = 64
_MOST_SWEPT = 16
_ADJOINT_BYTES = 256 * 2**20
_FACTOR_BYTES = 256 * 2**20
_MATRIX_BYTES = 2**30
_SEEDED_AT_ONCE = 2**18
_BUILD_COST = 1.1
_SOLVE_COST = 1.0 / 80.0
"""Of a pair of trees of a row, and of a pair of leaves of a target, in the time that
the sweep takes for a tree of a row and a target; measured."""


@dataclasses.dataclass(eq=False)
class BackwardPass:
    """The adjoint side of a training: from final scores to leaf factors.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    cross_class : bool
        Let an output's gradient answer to the other outputs' scores (softmax).
    base_score_gradient : ndarray of float64, shape (n_train, n_outputs) or \
(0, n_outputs)
        Derivative of the base score with respect to the logarithm of each train row's
        weight; empty where the base score is held fixed.
    device : Device, default=CPU
        Where targets are pushed back; on CUDA always by the sweep.

    Attributes
    ----------
    n_swept : int
        Targets that have been pushed back by the sweep.
    """

    trace: TrainingTrace
    cross_class: bool
    base_score_gradient: NDArray[np.float64]
    device: Device = CPU
    n_swept: int = dataclasses.field(default=0, init=False)

    def limit_queries(self, most: int) -> int:
        """Give how many targets can be held at once, at most `most`."""
        return int(np.clip(_FACTOR_BYTES // (8 * self.trace.leaf_step.size), 1, most))

    def prefers_matrix(self, n_queries: int) -> bool:
        """Tell which form is quicker for so many targets, by their operations.

        The sweep takes n_train n_trees n_queries of them; the matrix 1.1 n_train
        n_trees^2, times n_outputs where outputs answer to one another, and n_leaves^2
        n_queries / 80. With 100 trees of 31 leaves and 10,000 train rows or more, the
        matrix is quicker from about 125 targets on. It must fit in 1 GiB. Once there,
        it is kept, and few targets are enough for it: so targets that were swept before
        count towards building it, which costs at most twice what the better of the two
        would have, whatever is still to come.
        """
        if not self.device.is_cpu:
            return False
        trace, ensemble = self.trace, self.trace.ensemble
        n_trees = ensemble.n_trees * ensemble.leaf_width
        work = trace.rows.n_rows * n_trees
        coupled = ensemble.n_outputs if self.cross_class else 1
        at_least = max(n_queries, LINE_WIDTHS[-1])
        cost = _SOLVE_COST * trace.leaf_step.size**2 * at_least
        n_swept = 0
        if "_matrix" not in vars(self):
            cost += _BUILD_COST * work * n_trees * coupled
            n_swept = self.n_swept
        return (
            cost < work * (n_queries + n_swept)
            and LeafMatrix.count_bytes(trace) <= _MATRIX_BYTES
        )

    def push(self, queries: EnsembleQueries) -> DenseLeafFactors:
        """Find what each leaf does to each target."""
        trace, ensemble = self.trace, self.trace.ensemble
        factor = np.zeros((*trace.leaf_step.shape, queries.n_rows), dtype=REAL)
        base_factor = np.empty((ensemble.n_outputs, queries.n_rows), dtype=REAL)
        pull = -queries.gradient(queries.raw_score())
        if self.prefers_matrix(queries.n_all):
            seed_leaves(ensemble, queries.rows, pull, factor)
            base_factor[:] = self._matrix.solve(factor, self._respond) + pull.T
            return DenseLeafFactors(factor, base_factor, self.base_score_gradient)
        adjoint_bytes = 8 * trace.rows.n_rows * ensemble.n_outputs
        size = _MOST_SWEPT
        if self.device.is_cpu:
            size = int(np.clip(_ADJOINT_BYTES // adjoint_bytes, 1, _MOST_SWEPT))
        for begin in range(0, queries.n_rows, size):
            part = slice(begin, min(begin + size, queries.n_rows))
            seed = np.zeros((*trace.leaf_step.shape, part.stop - begin), dtype=REAL)
            seed_leaves(ensemble, queries.rows.take(part), pull[part], seed)
            base_pull, _ = self._sweep(seed, with_influence=False)
            factor[:, :, part] = seed
            base_factor[:, part] = base_pull + pull[part].T
        self.n_swept += queries.n_rows
        return DenseLeafFactors(factor, base_factor, self.base_score_gradient)

    def push_sum(
        self, queries: EnsembleQueries, *, with_influence: bool = False
    ) -> tuple[DenseLeafFactors, NDArray[np.float64]]:
        """Find what each leaf does to the sum of the targets.

        Parameters
        ----------
        queries : EnsembleQueries
            The targets.
        with_influence : bool, default=False
            Add up the influence of the train rows on the way.

        Returns
        -------
        factors : DenseLeafFactors
            Of one target, the sum.
        influence : ndarray of float64, shape (n_train,) or (0,)
        """
        trace, ensemble = self.trace, self.trace.ensemble
        pull = -queries.gradient(queries.raw_score())
        seed = np.zeros((*trace.leaf_step.shape, 1), dtype=REAL)
        seed_leaves(ensemble, queries.rows, pull, seed)
        base_pull, influence = self._sweep(seed, with_influence=with_influence)
        base_factor = base_pull + pull.sum(axis=0)[:, np.newaxis]
        total = influence[:, 0]
        if with_influence and len(self.base_score_gradient):
            total += self.base_score_gradient @ base_factor[:, 0]
        return DenseLeafFactors(seed, base_factor, self.base_score_gradient), total

    @functools.cached_property
    def _matrix(self) -> LeafMatrix:
        return LeafMatrix.build(self.trace, cross_class=self.cross_class)

    def _sweep(
        self, leaf_factor: NDArray[np.float64], *, with_influence: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Push targets from the last iteration to the first.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
            What each leaf value does to the targets' own scores; changed in place to
            what a unit more of each leaf's gradient sum does to the targets in the end.
        with_influence : bool
            Add up the rows' influence on the way.

        Returns
        -------
        base_pull : ndarray of float64, shape (n_outputs, n_queries)
            What a unit more of all train rows' initial scores does to each target.
        influence : ndarray of float64, shape (n_train, n_queries) or (0, n_queries)
        """
        trace, ensemble, rows = self.trace, self.trace.ensemble, self.trace.rows
        leaves = ensemble.flat_leaves
        n_queries = leaf_factor.shape[2]
        kind = contraction.CROSSED * self.cross_class
        if trace.inverse_leaf_hessian is not None:
            kind |= contraction.FULL
        if not self.device.is_cpu:
            return sweep_on_device(
                trace, self.device, kind, leaf_factor, with_influence=with_influence
            )
        adjoint = np.zeros((rows.n_rows, ensemble.n_outputs, n_queries), dtype=REAL)
        inner = adjoint[:0] if trace.n_steps == 1 else np.zeros_like(adjoint)
        influence = np.zeros((rows.n_rows * with_influence, n_queries), dtype=REAL)
        rule = kernels.SweepRule(
            kind, trace.n_steps, trace.leaf_step, ensemble.shrinkage
        )
        state = kernels.SweepState(trace.raw_score.copy(), adjoint, inner, influence)
        first_leaf = ensemble.leaf_offset[leaves.iteration_start]
        most_parts = -(-rows.n_rows // kernels.SWEEP_BLOCK)
        part_sum = np.zeros((1, 0, ensemble.leaf_width, n_queries), dtype=REAL)
        for iteration in reversed(range(ensemble.n_iterations)):
            own = slice(first_leaf[iteration], first_leaf[iteration + 1])
            if iteration < ensemble.n_iterations - 1:
                leaf_factor[own] += part_sum.sum(axis=0)
            leaf_factor[own] = self._respond(own, leaf_factor[own])
            before = first_leaf[iteration] - first_leaf[max(iteration - 1, 0)]
            part_sum = np.empty(
                (
                    min(most_parts, _MOST_PARTS),
                    before,
                    ensemble.leaf_width,
                    n_queries,
                ),
                dtype=REAL,
            )
            with threads_for(rows.n_rows * n_queries):
                kernels.sweep_iteration(
                    rows.flat,
                    leaves,
                    ensemble.flat_loss,
                    rule,
                    iteration,
                    leaf_factor,
                    state,
                    part_sum,
                )
        return adjoint.sum(axis=0), influence

    def _respond(self, leaves: slice, pull: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply with how leaf values answer to a unit more of gradient sum."""
        trace, ensemble = self.trace, self.trace.ensemble
        shrinkage = ensemble.shrinkage[ensemble.leaf_tree[leaves]]
        pull = -shrinkage[:, np.newaxis, np.newaxis] * pull
        if trace.inverse_leaf_hessian is not None:
            return np.einsum("lkm,lmt->lkt", trace.inverse_leaf_hessian[leaves], pull)
        return np.asarray(trace.leaf_response[leaves][:, :, np.newaxis] * pull)


def seed_leaves(
    ensemble: TreeEnsemble,
    queries: StagedRows,
    pull: NDArray[np.float64],
    seed: NDArray[np.float64],
) -> None:
    """Add each target's pull to the leaves it is in.

    `seed`, shape (n_leaves, leaf_width, n_queries or 1), has one column a target, or
    one for their sum.
    """
    n_rows, n_trees = queries.n_rows, ensemble.n_trees
    step = max(1, _SEEDED_AT_ONCE // max(n_rows, 1))
    for begin in range(0, n_trees, step):
        end = min(n_trees, begin + step)
        first, last = ensemble.leaf_offset[[begin, end]]
        number = queries.leaf[ensemble.row_of_tree[begin:end]] + (
            ensemble.leaf_offset[begin:end, np.newaxis] - first
        )
        for k in range(ensemble.leaf_width):
            output = np.full(end - begin, k)
            if ensemble.leaf_width == 1 and ensemble.n_outputs > 1:
                output = ensemble.output[begin:end]
            value = pull.T[output]
            part = seed[first:last, k]
            if seed.shape[2] > 1:  # a target is in one leaf a tree
                part[number, np.arange(n_rows)] += value
            else:
                part[:, 0] += np.bincount(number.ravel(), value.ravel(), last - first)
