"""LeafInfluence leaf by leaf: the train rows summed up once, for any number of targets.

The adjoint of the reverse sweep enters through its sums over leaves alone, and it is
itself made of leaf factors of later trees. So the sums over the rows in both of two
leaves, one earlier and one later, are all that the sweep needs of the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.cpu import contraction
from treeinf.kernels.cpu import leaf_coupling as kernels
from treeinf.kernels.cpu.reverse_sweep import SweepRule
from treeinf.trace import TrainingTrace

__all__ = ["LeafMatrix"]

_RUN_BYTES = 64 * 2**20
_RUN_VALUES = 128
"""Most leaf values of iterations whose products are one matrix, if they are several;
of 31, 124, 248 and 496 values 124 and 248 were the quickest to solve."""


@dataclasses.dataclass(frozen=True, eq=False)
class LeafMatrix:
    """What the leaves of each iteration do to every earlier leaf by way of shared rows.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    runs : list of _Run
        Iterations whose products are together.
    products : list of ndarray of float64, shape (n_outputs + n_earlier, n_own)
        For each run; see `treeinf.kernels.cpu.leaf_coupling.join_leaves`.
    """

    trace: TrainingTrace
    runs: list[_Run]
    products: list[NDArray[np.float64]]

    @staticmethod
    def count_bytes(trace: TrainingTrace) -> int:
        """Give the memory that the matrix would take."""
        return 8 * sum(run.n_lines * run.n_columns for run in _split(trace.ensemble))

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
        if trace.inverse_leaf_hessian is not None:
            kind |= contraction.FULL
        rule = SweepRule(kind, trace.n_steps, trace.leaf_step, ensemble.shrinkage)
        starts = leaves.iteration_start
        runs = _split(ensemble)
        products = [np.zeros((one.n_lines, one.n_columns), REAL) for one in runs]
        most_columns = int(np.diff(starts).max()) * width
        row_bytes = 8 * ensemble.n_outputs * (most_columns + 1)
        run = max(_RUN_BYTES // row_bytes, 1024)
        for begin in range(0, rows.n_rows, run):
            n_run = min(run, rows.n_rows - begin)
            score = np.tile(ensemble.base_score[:, np.newaxis], n_run)
            if rows.offset.size:
                score += rows.offset[begin : begin + n_run].T
            for iteration, own, product in _in_order(runs, products):
                n_columns = int(starts[iteration + 1] - starts[iteration]) * width
                coefficient = np.empty((n_columns, ensemble.n_outputs, n_run), REAL)
                kernels.find_coefficients(
                    rows.flat,
                    leaves,
                    ensemble.flat_loss,
                    rule,
                    iteration,
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
                    own.start,
                )
        if trace.n_steps > 1:
            _scale_inner_steps(trace, runs, products)
        return cls(trace, runs, products)

    def solve(
        self,
        leaf_factor: NDArray[np.float64],
        respond: Callable[[slice, NDArray[np.float64]], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Push targets from the last iteration to the first.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
            What each leaf value does to the targets' own scores; changed in place to
            what a unit more of each leaf's gradient sum does to the targets in the end.
        respond : callable
            Turns what the values of a run of leaves do to the targets into what their
            gradient sums do.

        Returns
        -------
        ndarray of float64, shape (n_outputs, n_queries)
            What a unit more of the base score does by way of the train rows.
        """
        ensemble, width = self.trace.ensemble, self.trace.ensemble.leaf_width
        n_outputs, n_queries = ensemble.n_outputs, leaf_factor.shape[2]
        flat = leaf_factor.reshape(-1, n_queries)
        base_factor = np.zeros((n_outputs, n_queries), REAL)
        for run, product in zip(self.runs[::-1], self.products[::-1], strict=True):
            begin = run.first_value
            for own in reversed(run.columns):
                values = slice(begin + own.start, begin + own.stop)
                own_leaves = slice(values.start // width, values.stop // width)
                leaf_factor[own_leaves] = respond(own_leaves, leaf_factor[own_leaves])
                # only the run's own leaves wait for this iteration alone
                kernels.add_products(
                    product,
                    n_outputs + begin,
                    own.start,
                    flat[values],
                    flat[begin : values.start],
                )
            factor = flat[begin : begin + run.n_columns]
            kernels.add_products(product, n_outputs, 0, factor, flat[:begin])
            kernels.add_products(product, 0, 0, factor, base_factor)
        return base_factor


@dataclasses.dataclass(frozen=True)
class _Run:
    """Neighbouring iterations whose products are one matrix.

    Parameters
    ----------
    first_value : int
        Number of their first leaf value.
    columns : list of slice
        Columns of each iteration.
    n_outputs : int
        Outputs of the ensemble.
    """

    first_value: int
    columns: list[slice]
    n_outputs: int

    @property
    def n_columns(self) -> int:
        """Leaf values of the iterations."""
        return int(self.columns[-1].stop)

    @property
    def n_lines(self) -> int:
        """Outputs, and leaf values before the last iteration."""
        return int(self.n_outputs + self.first_value + self.columns[-1].start)


def _split(ensemble: TreeEnsemble) -> list[_Run]:
    """Put iterations together, so that an earlier leaf is read once for all of them."""
    starts = ensemble.flat_leaves.iteration_start
    first_value = (ensemble.leaf_offset[starts] * ensemble.leaf_width).tolist()
    runs: list[_Run] = []
    for first, after in itertools.pairwise(first_value):
        if not runs or after - runs[-1].first_value > _RUN_VALUES:
            runs.append(_Run(first, [], ensemble.n_outputs))
        begin = runs[-1].first_value
        runs[-1].columns.append(slice(first - begin, after - begin))
    return runs


def _in_order(
    runs: list[_Run], products: list[NDArray[np.float64]]
) -> Iterator[tuple[int, slice, NDArray[np.float64]]]:
    """Give each iteration, its columns, and the matrix that they are in."""
    found = itertools.count()
    for run, product in zip(runs, products, strict=True):
        for own in run.columns:
            yield next(found), own, product


def _scale_inner_steps(
    trace: TrainingTrace, runs: list[_Run], products: list[NDArray[np.float64]]
) -> None:
    """Let steps of one tree see one another's moves before the shrinkage."""
    ensemble = trace.ensemble
    starts = ensemble.flat_leaves.iteration_start
    first_value = ensemble.leaf_offset[starts] * ensemble.leaf_width
    for iteration, own, product in _in_order(runs, products):
        step = iteration % trace.n_steps
        lines = slice(first_value[iteration - step], first_value[iteration])
        inner = product[ensemble.n_outputs :][lines, own]
        inner /= ensemble.shrinkage[starts[iteration]]
