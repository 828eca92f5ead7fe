"""Leaf coupling: the train rows summed in every two leaves, for any number of queries.

The adjoints of the train rows enter the reverse sweep through their sums over leaves
alone, and are themselves made of leaf factors of later trees. So the sums over the rows
in both an earlier and a later leaf are all that the sweep needs of the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.cpu import leaf_coupling as kernels
from treeinf.kernels.formulas.adjoint import SweepRule, apply_leaf_response
from treeinf.trace import TrainingTrace

__all__ = ["LeafCoupling"]

_BATCH_BYTES = 64 * 2**20
_PANEL_VALUES = 128
"""Most leaf values of a panel of several iterations; of 31, 124, 248 and 496 values 124
and 248 were the fastest to solve."""


@dataclasses.dataclass(frozen=True, eq=False)
class LeafCoupling:
    """Effect of each iteration's leaves on every earlier leaf by way of shared rows.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    rule : SweepRule
        How the row factors follow from scores, and leaf values from them.
    panels : list of _Panel
        Neighbouring iterations whose couplings are one matrix.
    products : list of ndarray of float64, shape (n_outputs + n_earlier, n_columns)
        Of each panel; see `treeinf.kernels.cpu.leaf_coupling.couple_leaves`.
    """

    trace: TrainingTrace
    rule: SweepRule
    panels: list[_Panel]
    products: list[NDArray[np.float64]]

    @staticmethod
    def count_bytes(trace: TrainingTrace) -> int:
        """Return the memory that the coupling would take."""
        return 8 * sum(p.n_lines * p.n_columns for p in _split(trace.ensemble))

    @classmethod
    def build(cls, trace: TrainingTrace, rule: SweepRule) -> LeafCoupling:
        """Sum the train rows in every two leaves.

        O(n_train n_trees^2 / 2) time, times n_outputs under cross-class terms.

        Parameters
        ----------
        trace, rule
            See `LeafCoupling`.
        """
        ensemble, rows = trace.ensemble, trace.rows
        leaves, width = ensemble.flat_leaves, ensemble.leaf_width
        panels = _split(ensemble)
        products = [np.zeros((p.n_lines, p.n_columns), REAL) for p in panels]
        n_values = np.diff(leaves.iteration_start) * width
        row_bytes = 8 * ensemble.n_outputs * (int(n_values.max()) + 1)
        size = max(_BATCH_BYTES // row_bytes, 1024)
        for begin in range(0, rows.n_rows, size):
            n = min(size, rows.n_rows - begin)
            score = np.tile(ensemble.base_score[:, np.newaxis], n)
            if rows.offset.size:
                score += rows.offset[begin : begin + n].T
            for iteration, columns, product in _in_order(panels, products):
                coefficient = np.empty(
                    (int(n_values[iteration]), ensemble.n_outputs, n), REAL
                )
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
                kernels.couple_leaves(
                    rows.leaf,
                    leaves,
                    iteration,
                    rule.kind,
                    begin,
                    coefficient,
                    product,
                    columns.start,
                )
        if trace.n_steps > 1:
            _scale_inner_steps(trace, panels, products)
        return cls(trace, rule, panels, products)

    def solve(self, leaf_factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Back-propagate from the last iteration to the first, leaf by leaf.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
            Adjoint of each leaf value by way of the queries' own scores; on return, the
            adjoint of each leaf's gradient sum by every way.

        Returns
        -------
        ndarray of float64, shape (n_outputs, n_queries)
            Adjoint of the base score by way of the train rows.
        """
        ensemble, width = self.trace.ensemble, self.trace.ensemble.leaf_width
        n_outputs, n_queries = ensemble.n_outputs, leaf_factor.shape[2]
        flat = leaf_factor.reshape(-1, n_queries)
        base_factor = np.zeros((n_outputs, n_queries), REAL)
        for panel, product in zip(self.panels[::-1], self.products[::-1], strict=True):
            begin = panel.first_value
            for columns in reversed(panel.columns):
                values = slice(begin + columns.start, begin + columns.stop)
                apply_leaf_response(
                    *(self.rule, values.start // width, values.stop // width),
                    leaf_factor,
                )
                # only the panel's own leaves wait for this iteration alone
                kernels.add_products(
                    product,
                    n_outputs + begin,
                    columns.start,
                    flat[values],
                    flat[begin : values.start],
                )
            factor = flat[begin : begin + panel.n_columns]
            kernels.add_products(product, n_outputs, 0, factor, flat[:begin])
            kernels.add_products(product, 0, 0, factor, base_factor)
        return base_factor


@dataclasses.dataclass(frozen=True)
class _Panel:
    """Neighbouring iterations whose couplings are one matrix.

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


def _split(ensemble: TreeEnsemble) -> list[_Panel]:
    """Group iterations, so that an earlier leaf is read once for all of a panel."""
    starts = ensemble.flat_leaves.iteration_start
    first_value = (ensemble.leaf_offset[starts] * ensemble.leaf_width).tolist()
    panels: list[_Panel] = []
    for first, after in itertools.pairwise(first_value):
        if not panels or after - panels[-1].first_value > _PANEL_VALUES:
            panels.append(_Panel(first, [], ensemble.n_outputs))
        begin = panels[-1].first_value
        panels[-1].columns.append(slice(first - begin, after - begin))
    return panels


def _in_order(
    panels: list[_Panel], products: list[NDArray[np.float64]]
) -> Iterator[tuple[int, slice, NDArray[np.float64]]]:
    """Yield each iteration, its columns, and the matrix that they are in."""
    iteration = itertools.count()
    for panel, product in zip(panels, products, strict=True):
        for columns in panel.columns:
            yield next(iteration), columns, product


def _scale_inner_steps(
    trace: TrainingTrace, panels: list[_Panel], products: list[NDArray[np.float64]]
) -> None:
    """Undo the shrinkage between steps of one tree, which see unshrunk scores."""
    ensemble = trace.ensemble
    starts = ensemble.flat_leaves.iteration_start
    first_value = ensemble.leaf_offset[starts] * ensemble.leaf_width
    for iteration, columns, product in _in_order(panels, products):
        step = iteration % trace.n_steps
        lines = slice(first_value[iteration - step], first_value[iteration])
        inner = product[ensemble.n_outputs :][lines, columns]
        inner /= ensemble.shrinkage[starts[iteration]]
