"""The sums of hessians that a bag must have in the leaves of a tree."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.row_sampling import StagedTrees
from treeinf.dtypes import COUNT, OFFSET

__all__ = ["LeafSums", "bound_share"]

_RELATIVE = 1e-5
"""Error of a stored sum, a number in single precision."""
_OF_ROW = 1e-6
"""Error of a row's hessian, relative to the largest."""
_SPREAD = 6.0
"""Standard deviations of the share of rows in a bag that are considered."""
_LARGEST_SHARE = float(np.nextafter(np.float32(1.0), np.float32(0.0)))


@dataclasses.dataclass(frozen=True)
class LeafSums:
    """The rows of some leaves, and bounds on their sums of hessians.

    Parameters
    ----------
    row : ndarray of int64, shape (n_rows,)
        Rows, leaf by leaf, the smallest leaves first.
    hessian : ndarray of float64, shape (n_rows,)
        Their hessians.
    offset : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's rows begin.
    low, high : ndarray of float64, shape (n_leaves,)
        Bounds on the sum of each leaf.
    """

    row: NDArray[np.int64]
    hessian: NDArray[np.float64]
    offset: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of_tree(
        cls,
        trees: StagedTrees,
        tree: int,
        hessian: NDArray[np.float64],
        most_rows: int | None = None,
    ) -> LeafSums | None:
        """Collect the leaves of a tree.

        Parameters
        ----------
        trees : StagedTrees
            The trees.
        tree : int
            Number of the tree.
        hessian : ndarray of float64, shape (n_rows,)
            Hessian of each row before it.
        most_rows : int or None
            Smallest leaves until they have so many rows, at least one leaf; None for
            all leaves.

        Returns
        -------
        LeafSums or None
            None where the model stores no sums.
        """
        ensemble = trees.ensemble
        if ensemble.leaf_hessian is None:
            return None
        leaves = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
        stored, leaf = ensemble.leaf_hessian[leaves], trees.leaf(tree)
        count = np.bincount(leaf, minlength=len(stored)).astype(COUNT)
        chosen = np.argsort(count, kind="stable")
        if most_rows is not None:
            n_chosen = np.searchsorted(np.cumsum(count[chosen]), most_rows) + 1
            chosen = chosen[:n_chosen]
        rank = np.full(len(stored), len(stored), OFFSET)
        rank[chosen] = np.arange(len(chosen))
        rank_of_row = rank[leaf]
        row = np.flatnonzero(rank_of_row < len(chosen))
        row = row[np.argsort(rank_of_row[row], kind="stable")]
        slack = _RELATIVE * stored + _OF_ROW * count * hessian.max(initial=0.0)
        return cls(
            row=row,
            hessian=np.ascontiguousarray(hessian[row]),
            offset=np.append(0, np.cumsum(count[chosen])).astype(OFFSET),
            low=(stored - slack)[chosen],
            high=(stored + slack)[chosen],
        )

    @property
    def bits(self) -> float:
        """Bits that the sums of a random bag would tell, were the hessians equal."""
        count = np.diff(self.offset)
        largest = self.hessian.max(initial=0.0)
        spread = self.high * (1.0 - self.high / np.maximum(count * largest, self.high))
        spread = spread / (largest or 1.0)
        return float(np.log2(np.maximum(2.0 * np.pi * spread, 1.0)).sum() / 2.0)

    def fit(
        self, factor: NDArray[np.float64], tolerance: float = 0.0
    ) -> NDArray[np.bool_]:
        """Return which bags have the sums, by the rows' factors in each.

        Parameters
        ----------
        factor : ndarray of float64, shape (n_bags, n_rows)
            Factors of `row`.
        tolerance : float, default=0.0
            Relative error of the sums, on top of the bounds.

        Returns
        -------
        ndarray of bool, shape (n_bags,)
        """
        total = np.cumsum(factor * self.hessian, axis=1)
        total = np.concatenate([np.zeros((len(factor), 1)), total], axis=1)
        total = np.diff(total[:, self.offset], axis=1)
        slack = tolerance * self.high
        is_fit = (total >= self.low - slack) & (total <= self.high + slack)
        return np.asarray(is_fit.all(axis=1))


def bound_share(
    trees: StagedTrees, tree: int, hessian: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Bound the share of rows in a tree's bag by the sum of hessians that it stores.

    Parameters
    ----------
    trees : StagedTrees
        The trees.
    tree : int
        Number of the tree.
    hessian : ndarray of float64, shape (n_rows,)
        Hessian of each row before it.

    Returns
    -------
    (float, float) or None
        Smallest and largest share that `subsample` may be. None where the tree saw all
        rows, or others, or stores no sum.
    """
    ensemble = trees.ensemble
    if ensemble.leaf_hessian is None:
        return None
    leaves = slice(ensemble.leaf_offset[tree], ensemble.leaf_offset[tree + 1])
    stored, total = float(ensemble.leaf_hessian[leaves].sum()), float(hessian.sum())
    share = stored / total if total > 0.0 else 0.0
    if not 0.0 < share < 1.0 - _RELATIVE:
        return None
    variance = share * (1.0 - share) * float((hessian**2).sum()) / total**2
    margin = _SPREAD * float(np.sqrt(variance)) + 1.0 / trees.n_rows
    return max(share - margin, 0.0), min(share + margin, _LARGEST_SHARE)
