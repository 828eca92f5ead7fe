"""Check bags by the rows in each leaf, where gradients are not replayed."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble, losses
from treeinf.errors import UnsupportedModelError
from treeinf.trace import StagedRows

__all__ = ["CountedTrees"]

_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class CountedTrees:
    """Trees whose bags are compared by leaf counts; see `StagedTrees`.

    For models whose gradients are not known (ranking, medians), were taken at the
    scores of other trees (dart), or do not matter (forests), and for rows without
    targets.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    rows : StagedRows
        Train rows.
    has_targets : bool
        Whether the targets of `rows` are those of the training.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    has_targets: bool
    compares_values: ClassVar[bool] = False

    @property
    def n_rows(self) -> int:
        """Train rows."""
        return self.rows.n_rows

    @property
    def y(self) -> NDArray[np.float64]:
        """Targets as the loss reads them.

        Raises
        ------
        ValueError
            If there are none.
        """
        if not self.has_targets:
            raise ValueError(
                "Got y=None; which rows the trees of this model saw depends on the "
                "targets, so pass y."
            )
        return self.rows.y

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weights of the rows; empty for 1."""
        return self.rows.weight

    @property
    def can_compare(self) -> bool:
        """Whether the model stores what `counts_fit` compares."""
        ensemble = self.ensemble
        return ensemble.leaf_count is not None or self._stored_weight is not None

    @property
    def _stored_weight(self) -> NDArray[np.float64] | None:
        """Sum of the rows' weights in each leaf, or of hessians that are all 1."""
        ensemble = self.ensemble
        if ensemble.leaf_weight is not None:
            return ensemble.leaf_weight
        is_square = type(ensemble.loss) is losses.SquaredError
        return ensemble.leaf_hessian if is_square else None

    def leaf(self, tree: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the leaf of each row within a tree, shape (n_rows,)."""
        return self.rows.leaf[self.ensemble.row_of_tree[tree]]

    def derivatives(
        self, iteration: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the hessians where they are the weights, whatever the scores.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_outputs, n_rows)
            The gradient is NaN: it is not known here.

        Raises
        ------
        ValueError
            If the targets are missing.
        UnsupportedModelError
            If hessians depend on scores.
        """
        shape = self.ensemble.n_outputs, len(self.y)
        if type(self.ensemble.loss) is not losses.SquaredError:
            raise UnsupportedModelError(
                f"Which of the {shape[1]:,} rows each tree saw was drawn by gradients, "
                f"which treeinf cannot replay for {self.ensemble.loss_name!r}"
                f"{_join(self.ensemble.training.approximations)}."
            )
        weight = self.weight if self.weight.size else 1.0
        return np.full(shape, np.nan), np.full(shape, weight)

    def counts_fit(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag gives the stored rows, or weights, of the leaves."""
        ensemble = self.ensemble
        leaves = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
        n_leaves = leaves.stop - leaves.start
        leaf, weight = self.leaf(tree), self.rows.weight
        if ensemble.leaf_count is not None:
            is_in = np.ones(self.n_rows, np.bool_) if factor is None else factor > 0
            if weight.size and not ensemble.training.counts_zero_weights:
                is_in = is_in & (weight > 0.0)
            counts = np.bincount(leaf[is_in], minlength=n_leaves)
            return bool((counts == ensemble.leaf_count[leaves]).all())
        stored = self._stored_weight
        if stored is None:
            return False
        weight = weight if weight.size else np.ones(self.n_rows, REAL)
        weight = weight if factor is None else weight * factor
        total = np.bincount(leaf, weight, minlength=n_leaves)
        gap = np.abs(total - stored[leaves])
        return bool((gap <= _TOLERANCE * np.maximum(total, stored[leaves])).all())

    def fits(self, tree: int, factor: NDArray[Any] | None) -> bool:
        """Return whether a bag gives the stored rows, or weights, of the leaves."""
        return self.counts_fit(tree, factor)


def _join(reasons: tuple[str, ...]) -> str:
    return f" ({' '.join(reasons)})" if reasons else ""
