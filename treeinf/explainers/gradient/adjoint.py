"""Back-propagate explained outputs through boosting, to every leaf's gradient sum.

In two equal forms: the reverse sweep passes over the train rows for every batch of
queries; the leaf coupling sums them once, and then goes from leaf to leaf.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.gradient.device_sweep import sweep_on_device
from treeinf.explainers.gradient.leaf_coupling import LeafCoupling
from treeinf.kernels.cpu import reverse_sweep as kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.formulas.adjoint import SweepRule, SweepState
from treeinf.kernels.formulas.row_factors import CROSS_CLASS, FULL_NEWTON
from treeinf.kernels.simd import LINE_WIDTHS
from treeinf.kernels.threads import threads_for
from treeinf.pickling import DropsCached
from treeinf.trace import StagedRows, StagedScores, TrainingTrace

__all__ = ["Adjoint", "add_to_leaves"]

_MAX_ACCUMULATORS = 64
_MAX_SWEPT = 16
_ADJOINT_BYTES = 256 * 2**20
_FACTOR_BYTES = 256 * 2**20
_COUPLING_BYTES = 2**30
_MAX_LEAF_NUMBERS = 2**18
_BUILD_COST = 1.1
_SOLVE_COST = 1.0 / 80.0
"""Of a pair of trees of a row, and of a pair of leaves of a query, in the time that the
sweep takes for a tree of a row and a query; measured."""


@dataclasses.dataclass(eq=False)
class Adjoint(DropsCached):
    """The adjoint of a training: from final scores back to leaf factors.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    cross_class : bool
        Include the derivatives of an output's gradient with respect to the scores of
        the other outputs (softmax).
    device : Device, default=CPU
        Where queries are back-propagated; on CUDA always by the sweep.

    Attributes
    ----------
    n_swept : int
        Queries that the sweep has back-propagated so far.

    Notes
    -----
    Both methods return the `factor` and `base_factor` of `DenseLeafFactors`, and start
    from a seed: minus the derivative of what is explained with respect to the queries'
    final scores.
    """

    trace: TrainingTrace
    cross_class: bool
    device: Device = CPU
    n_swept: int = dataclasses.field(default=0, init=False)

    def limit_queries(self, most: int) -> int:
        """Return how many queries' factors fit in 256 MiB, from 1 to `most`."""
        return int(np.clip(_FACTOR_BYTES // (8 * self.trace.leaf_step.size), 1, most))

    def prefers_coupling(self, n_queries: int) -> bool:
        """Return whether the leaf coupling takes fewer operations than the sweep.

        The sweep takes n_train n_trees n_queries of them; the coupling 1.1 n_train
        n_trees^2, times n_outputs under cross-class terms, and n_leaves^2 n_queries /
        80. With 100 trees of 31 leaves and 10,000 train rows or more, the coupling is
        faster from about 125 queries on. It must fit in 1 GiB. Once built, it is kept
        and few queries are enough for it: so queries that were swept before count
        towards building it, which costs at most twice what the better of the two would
        have, whatever is still to come.
        """
        if not self.device.is_cpu:
            return False
        trace, ensemble = self.trace, self.trace.ensemble
        n_trees = ensemble.n_trees * ensemble.leaf_width
        work = trace.rows.n_rows * n_trees
        n_coupled = ensemble.n_outputs if self.cross_class else 1
        n_solved = max(n_queries, LINE_WIDTHS[-1])
        cost = _SOLVE_COST * trace.leaf_step.size**2 * n_solved
        n_swept = 0
        if "_coupling" not in vars(self):
            cost += _BUILD_COST * work * n_trees * n_coupled
            n_swept = self.n_swept
        return (
            cost < work * (n_queries + n_swept)
            and LeafCoupling.count_bytes(trace) <= _COUPLING_BYTES
        )

    def back_propagate(
        self, queries: StagedRows, seed: NDArray[np.float64], n_total: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the leaf factors of each query.

        Parameters
        ----------
        queries : StagedRows
            A batch of queries.
        seed : ndarray of float64, shape (n_queries, n_outputs)
            Their seeds.
        n_total : int
            Queries in all batches, which decide the form.
        """
        trace, n_queries = self.trace, queries.n_rows
        factor = np.zeros((*trace.leaf_step.shape, n_queries), dtype=REAL)
        if self.prefers_coupling(n_total):
            add_to_leaves(trace.ensemble, queries, seed, factor)
            return factor, self._coupling.solve(factor) + seed.T
        base_factor = np.empty((trace.ensemble.n_outputs, n_queries), dtype=REAL)
        size = _MAX_SWEPT
        if self.device.is_cpu:
            adjoint_bytes = 8 * trace.rows.n_rows * trace.ensemble.n_outputs
            size = int(np.clip(_ADJOINT_BYTES // adjoint_bytes, 1, _MAX_SWEPT))
        for begin in range(0, n_queries, size):
            batch = slice(begin, min(begin + size, n_queries))
            swept = np.zeros((*trace.leaf_step.shape, batch.stop - begin), dtype=REAL)
            add_to_leaves(trace.ensemble, queries.take(batch), seed[batch], swept)
            base_factor[:, batch] = self.sweep(swept)[0] + seed[batch].T
            factor[:, :, batch] = swept
        self.n_swept += n_queries
        return factor, base_factor

    def back_propagate_sum(
        self, queries: StagedRows, seed: NDArray[np.float64], with_influence: bool
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the leaf factors of the sum of the queries.

        Parameters
        ----------
        queries, seed
            See `back_propagate`.
        with_influence : bool
            Sum the influence of the train rows on the way.

        Returns
        -------
        factor, base_factor : ndarray of float64
            Of one query, the sum.
        influence : ndarray of float64, shape (n_train,) or (0,)
            By way of the leaves.
        """
        factor = np.zeros((*self.trace.leaf_step.shape, 1), dtype=REAL)
        add_to_leaves(self.trace.ensemble, queries, seed, factor)
        base_adjoint, influence = self.sweep(factor, with_influence=with_influence)
        base_factor = base_adjoint + seed.sum(axis=0)[:, np.newaxis]
        return factor, base_factor, influence[:, 0]

    @functools.cached_property
    def _coupling(self) -> LeafCoupling:
        return LeafCoupling.build(self.trace, self._rule)

    @functools.cached_property
    def _scores(self) -> StagedScores:
        return StagedScores(self.trace.ensemble, self.trace.rows)

    @functools.cached_property
    def _rule(self) -> SweepRule:
        """The row factors and the leaf values as the kernels read them."""
        trace, ensemble = self.trace, self.trace.ensemble
        kind = CROSS_CLASS * (self.cross_class and ensemble.n_outputs > 1)
        response = -ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
        inverse = trace.inverse_leaf_hessian
        if inverse is None:
            response = response * trace.leaf_response
            inverse = np.empty((0, ensemble.leaf_width, ensemble.leaf_width), REAL)
        else:
            kind |= FULL_NEWTON
            response = np.repeat(response, ensemble.leaf_width, axis=1)
        return SweepRule(
            *(kind, trace.n_steps, trace.leaf_step, response, inverse),
            ensemble.shrinkage,
        )

    def sweep(
        self, leaf_factor: NDArray[np.float64], *, with_influence: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Back-propagate from the last iteration to the first, over the train rows.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
            Adjoint of each leaf value by way of the queries' own scores; on return, the
            adjoint of each leaf's gradient sum by every way.
        with_influence : bool, default=False
            Sum the rows' influence on the way.

        Returns
        -------
        base_adjoint : ndarray of float64, shape (n_outputs, n_queries)
            Adjoint of the base score by way of the train rows.
        influence : ndarray of float64, shape (n_train, n_queries) or (0, n_queries)
        """
        trace, n_queries = self.trace, leaf_factor.shape[2]
        ensemble, rows = trace.ensemble, trace.rows
        if not self.device.is_cpu:
            return sweep_on_device(
                trace, self.device, self._rule, leaf_factor, with_influence
            )
        adjoint = np.zeros((rows.n_rows, ensemble.n_outputs, n_queries), dtype=REAL)
        inner = adjoint[:0] if trace.n_steps == 1 else np.zeros_like(adjoint)
        influence = np.zeros((rows.n_rows * with_influence, n_queries), dtype=REAL)
        n_batches = min(-(-rows.n_rows // kernels.SWEEP_ROWS), _MAX_ACCUMULATORS)
        with threads_for(rows.n_rows * n_queries):
            for first_iteration, staged in self._scores.segments():
                kernels.sweep_segment(
                    *(rows.flat, ensemble.flat_leaves, ensemble.flat_loss, self._rule),
                    *(first_iteration, staged, n_batches, leaf_factor),
                    SweepState(adjoint, inner, influence),
                )
        if with_influence and rows.weight.size:
            influence *= rows.weight[:, np.newaxis]
        return adjoint.sum(axis=0), influence


def add_to_leaves(
    ensemble: TreeEnsemble,
    rows: StagedRows,
    value: NDArray[np.float64],
    leaf_value: NDArray[np.float64],
) -> None:
    """Add the rows' values, shape (n_rows, n_outputs), to the leaves they are in.

    `leaf_value`, shape (n_leaves, leaf_width, n_rows or 1), has one column for each
    row, or one for their sum.
    """
    n_rows, n_trees = rows.n_rows, ensemble.n_trees
    step = max(1, _MAX_LEAF_NUMBERS // max(n_rows, 1))
    for begin in range(0, n_trees, step):
        end = min(n_trees, begin + step)
        first, last = ensemble.leaf_offset[[begin, end]]
        leaf = rows.leaf[ensemble.row_of_tree[begin:end]] + (
            ensemble.leaf_offset[begin:end, np.newaxis] - first
        )
        for k in range(ensemble.leaf_width):
            output = np.full(end - begin, k)
            if ensemble.leaf_width == 1 and ensemble.n_outputs > 1:
                output = ensemble.output[begin:end]
            by_tree, sums = value.T[output], leaf_value[first:last, k]
            if leaf_value.shape[2] > 1:  # a row is in one leaf of a tree
                sums[leaf, np.arange(n_rows)] += by_tree
            else:
                sums[:, 0] += np.bincount(leaf.ravel(), by_tree.ravel(), last - first)
