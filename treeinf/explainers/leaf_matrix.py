"""LeafInfluence leaf by leaf: the train rows summed up once, for any number of targets.

The adjoint of the reverse sweep enters through its sums over leaves alone, and it is
itself made of leaf factors of later trees. So the sums over the rows in both of two
leaves, one earlier and one later, are all that the sweep needs of the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.kernels.cpu import contraction
from treeinf.kernels.cpu import leaf_matrix as kernels
from treeinf.trace import TrainingTrace

__all__ = ["LeafMatrix"]

_RUN_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class LeafMatrix:
    """What the leaves of each iteration do to every earlier leaf by way of shared rows.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    products : list of ndarray of float64, shape (n_outputs + n_earlier, n_own)
        For each iteration; see `treeinf.kernels.cpu.leaf_matrix.join_leaves`.
    """

    trace: TrainingTrace
    products: list[NDArray[np.float64]]

    @staticmethod
    def count_bytes(trace: TrainingTrace) -> int:
        """Give the memory that the matrix would take."""
        values = trace.leaf_step.size
        return 8 * (values * values // 2 + values * trace.ensemble.n_outputs)

    @classmethod
    def build(cls, trace: TrainingTrace, *, cross_class: bool) -> LeafMatrix:
        """Sum up the train rows in every two leaves.

        Parameters
        ----------
        trace : TrainingTrace
            The training.
        cross_class : bool
            Let an output's gradient answer to the other outputs' scores.

        Notes
        -----
        O(n_train n_trees^2 / 2) time, times n_outputs under cross-class terms.
        """
        ensemble, rows = trace.ensemble, trace.rows
        leaves, width = ensemble.flat_leaves, ensemble.leaf_width
        kind = contraction.CROSSED * (cross_class and ensemble.n_outputs > 1)
        if trace.leaf_matrix is not None:
            kind |= contraction.FULL
        starts = leaves.iteration_start
        first_value = ensemble.leaf_offset[starts] * width
        products = [
            np.zeros((ensemble.n_outputs + first, after - first), REAL)
            for first, after in itertools.pairwise(first_value)
        ]
        most_columns = int(np.diff(starts).max()) * width
        row_bytes = 8 * ensemble.n_outputs * (most_columns + 1)
        run = max(_RUN_BYTES // row_bytes, 1024)
        for begin in range(0, rows.n_rows, run):
            n_run = min(run, rows.n_rows - begin)
            score = np.tile(ensemble.base_score[:, np.newaxis], n_run)
            if rows.offset.size:
                score += rows.offset[begin : begin + n_run].T
            for iteration, product in enumerate(products):
                n_columns = int(starts[iteration + 1] - starts[iteration]) * width
                coefficient = np.empty((n_columns, ensemble.n_outputs, n_run), REAL)
                kernels.find_coefficients(
                    rows.leaf,
                    leaves,
                    rows.target,
                    rows.weight,
                    *ensemble.loss_kernel,
                    trace.leaf_step,
                    iteration,
                    kind,
                    begin,
                    score,
                    coefficient,
                )
                kernels.join_leaves(
                    rows.leaf,
                    leaves,
                    iteration,
                    kind,
                    begin,
                    coefficient,
                    product,
                )
        if trace.n_steps > 1:
            _scale_inner_steps(trace, products)
        return cls(trace, products)

    def solve(
        self,
        leaf_factor: NDArray[np.float64],
        respond: Callable[[slice, NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Push targets from the last iteration to the first.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
            What each leaf value does to the targets' own scores; changed in place to
            what a unit more of each leaf's gradient sum does to the targets in the end.
        respond : callable
            Turns what the values of a run of leaves do to the targets into what their
            gradient sums do.

        Returns
        -------
        ndarray of float64, shape (n_outputs, n_targets)
            What a unit more of the base score does by way of the train rows.
        """
        ensemble = self.trace.ensemble
        first_leaf = ensemble.leaf_offset[ensemble.flat_leaves.iteration_start]
        n_targets = leaf_factor.shape[2]
        flat = leaf_factor.reshape(-1, n_targets)
        base_factor = np.zeros((ensemble.n_outputs, n_targets), REAL)
        for iteration in reversed(range(len(self.products))):
            own = slice(first_leaf[iteration], first_leaf[iteration + 1])
            leaf_factor[own] = respond(own, leaf_factor[own])
            factor = leaf_factor[own].reshape(-1, n_targets)
            product = self.products[iteration]
            before = flat[: first_leaf[iteration] * ensemble.leaf_width]
            kernels.add_products(product, ensemble.n_outputs, factor, before)
            kernels.add_products(product, 0, factor, base_factor)
        return base_factor


def _scale_inner_steps(
    trace: TrainingTrace, products: list[NDArray[np.float64]]
) -> None:
    """Let steps of one tree see one another's moves before the shrinkage."""
    ensemble = trace.ensemble
    starts = ensemble.flat_leaves.iteration_start
    first_value = ensemble.leaf_offset[starts] * ensemble.leaf_width
    for iteration, product in enumerate(products):
        step = iteration % trace.n_steps
        lines = slice(first_value[iteration - step], first_value[iteration])
        inner = product[ensemble.n_outputs :][lines]
        inner /= ensemble.shrinkage[starts[iteration]]
