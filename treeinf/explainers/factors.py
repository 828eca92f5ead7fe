"""The two sides of every additive influence: row factors and leaf factors."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.cpu import contraction as kernels
from treeinf.trace import StagedRows

__all__ = ["DenseLeafFactors", "LeafFactors", "RowFactors", "StagedLeafFactors"]

_BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class RowFactors:
    """What each train row contributes to its leaf: ``scale * (g + theta * h)``.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its initial score kept apart.
    rows : StagedRows
        Train rows.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        Numbers of each leaf. g and h are the row's weighted gradient and hessian before
        the leaf's tree; they are replayed when needed, never stored.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    scale: NDArray[np.float64]
    theta: NDArray[np.float64]

    @property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """What all contraction kernels begin with."""
        return (
            self.rows.leaf,
            self.ensemble.flat_leaves,
            self.ensemble.base_score,
            self.rows.offset,
            self.rows.target,
            self.rows.weight,
            *self.ensemble.loss_kernel,
            self.scale,
            self.theta,
        )

    @property
    def block_rows(self) -> int:
        """Rows whose factors in all trees fit in the second cache."""
        return int(np.clip(_BLOCK_BYTES // (self.n_factors * 8), 8, 256))

    @property
    def n_factors(self) -> int:
        """Factors of a row."""
        return self.ensemble.n_trees * self.ensemble.leaf_width

    def contract(self, leaf_factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply with one factor a leaf, shape (n_leaves, leaf_width), and add up.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        values = np.empty(self.rows.n_rows, dtype=REAL)
        kernels.contract_rows(*self.kernel_arguments, leaf_factor, False, values)
        return values

    def contract_own(self) -> NDArray[np.float64]:
        """Multiply with each row's own staged gradients, of weight 1, and add up.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        values = np.empty(self.rows.n_rows, dtype=REAL)
        kernels.contract_rows(*self.kernel_arguments, self.scale, True, values)
        return values

    def stage(self) -> NDArray[np.float64]:
        """Write out the factors of all rows; for a few rows only.

        Returns
        -------
        ndarray of float64, shape (n_trees * leaf_width, n_rows)
        """
        factor = np.empty((self.n_factors, self.rows.n_rows), dtype=REAL)
        kernels.stage_factors(*self.kernel_arguments, factor)
        return factor


class LeafFactors(Protocol):
    """What a change of each leaf does to each of several targets."""

    @property
    def n_targets(self) -> int:
        """Number of targets."""

    def contract(
        self,
        rows: RowFactors,
        first_row: int,
        first_target: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Multiply with row factors and add over trees.

        Parameters
        ----------
        rows : RowFactors
            Train rows.
        first_row : int
            Train row of the first line of `influence`.
        first_target : int
            Column of `influence` for target 0.
        influence : ndarray of float64, shape (n_lines, >= first_target + n_targets)
            Output; the targets' columns are overwritten.
        """


@dataclasses.dataclass(frozen=True, eq=False)
class StagedLeafFactors:
    """Leaf factors that are the targets' own gradients, staged, in their own leaves.

    Parameters
    ----------
    n_targets : int
        Number of targets.
    start : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's targets begin.
    target : ndarray of int32, shape (n_trees * n_targets,)
        Targets, leaf by leaf.
    gradient : ndarray of float64, shape (n_trees * n_targets, leaf_width)
        Gradient of each before the leaf's tree, with the target's weight.
    """

    n_targets: int
    start: NDArray[np.int64]
    target: NDArray[np.int32]
    gradient: NDArray[np.float64]

    @classmethod
    def stage(cls, ensemble: TreeEnsemble, targets: StagedRows) -> StagedLeafFactors:
        """Replay the targets and list their gradients leaf by leaf."""
        width, n_trees, n = ensemble.leaf_width, ensemble.n_trees, targets.n_rows
        ones = np.ones((ensemble.n_leaves, width), dtype=REAL)
        gradient = RowFactors(ensemble, targets, ones, np.zeros_like(ones)).stage()
        start = np.empty(ensemble.n_leaves + 1, dtype=OFFSET)
        target = np.empty(n_trees * n, dtype=NODE)
        kernels.group_rows_by_leaf(
            targets.leaf, ensemble.leaf_offset, ensemble.row_of_tree, start, target
        )
        tree = np.repeat(np.arange(n_trees), n)
        by_tree = gradient.reshape(n_trees, width, n)
        return cls(n, start, target, np.ascontiguousarray(by_tree[tree, :, target]))

    def contract(
        self,
        rows: RowFactors,
        first_row: int,
        first_target: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Multiply with row factors and add over trees; see `LeafFactors`."""
        kernels.contract_staged(
            *rows.kernel_arguments,
            first_row,
            rows.block_rows,
            self.start,
            self.target,
            self.gradient,
            self.n_targets,
            first_target,
            influence,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class DenseLeafFactors:
    """A leaf factor for every leaf and target, and what the base score adds.

    Parameters
    ----------
    factor : ndarray of float64, shape (n_leaves, leaf_width, n_targets)
        What a unit more of a leaf's gradient sum does to each target.
    base_factor : ndarray of float64, shape (n_outputs, n_targets)
        What a unit more of the base score does to each target.
    base_change : ndarray of float64, shape (n_train, n_outputs) or (0, n_outputs)
        How the base score answers to the logarithm of each train row's weight; empty
        where it does not.
    """

    factor: NDArray[np.float64]
    base_factor: NDArray[np.float64]
    base_change: NDArray[np.float64]

    @property
    def n_targets(self) -> int:
        """Number of targets."""
        return self.factor.shape[2]

    def contract(
        self,
        rows: RowFactors,
        first_row: int,
        first_target: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Multiply with row factors and add over trees; see `LeafFactors`."""
        kernels.contract_dense(
            *rows.kernel_arguments,
            first_row,
            rows.block_rows,
            self.factor,
            first_target,
            influence,
        )
        change = self.base_change[first_row : first_row + len(influence)]
        if len(change):
            columns = slice(first_target, first_target + self.n_targets)
            influence[:, columns] += change @ self.base_factor
