"""Feature matrix of given rows, for repeated products."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL, leaf_id_dtype
from treeinf.explainers.tree_kernel.features import LeafFeatures
from treeinf.kernels.cpu import leaf_features as kernels

__all__ = ["RowFeatures"]

Array = NDArray[np.float64]

_MOST_LEAVES = 1024
_ROWS_A_LEAF = 8


@dataclasses.dataclass(frozen=True, eq=False)
class RowFeatures:
    """Implicit matrix of the features of given rows by a tree kernel.

    Created by `build`.

    Parameters
    ----------
    features : LeafFeatures
        The features.
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaves of the rows.
    first_tree : ndarray of int64, shape (n_groups + 1,)
        First tree of each group of trees that is read as one; see Notes.
    merged_offset : ndarray of int64, shape (n_groups + 1,)
        Number of each group's first merged leaf.
    merged_leaf : ndarray of unsigned integer, shape (n_groups, n_rows) or (0, 0)
        Merged leaves of the rows; empty where no trees are merged.

    Notes
    -----
    Neighbouring trees whose leaves make few pairs are read as one tree of all pairs:
    two trees of 31 leaves are one of 961. Products with the rows then take half of the
    look-ups and, as neighbouring rows are in one leaf less often, a third of the time.
    The merged leaves take the memory of the leaf ids again, or less.
    """

    features: LeafFeatures
    leaf: NDArray[np.unsignedinteger[Any]]
    first_tree: NDArray[np.int64]
    merged_offset: NDArray[np.int64]
    merged_leaf: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def build(
        cls,
        features: LeafFeatures,
        leaf: NDArray[np.unsignedinteger[Any]],
        most_leaves: int | None = None,
    ) -> RowFeatures:
        """Merge neighbouring trees where that saves work.

        Parameters
        ----------
        features, leaf
            See the class.
        most_leaves : int, optional
            Most merged leaves of a group. By default 1,024, so that four groups stay in
            the L1 cache, or an eighth of the rows. On a GPU no trees are merged.
        """
        n_rows = leaf.shape[1]
        if most_leaves is None:
            most_leaves = min(_MOST_LEAVES, n_rows // _ROWS_A_LEAF)
            if not features.device.is_cpu:
                most_leaves = 0
        first_tree, sizes = _group(np.diff(features.leaf_offset).tolist(), most_leaves)
        merged_offset = np.concatenate([[0], np.cumsum(sizes)]).astype(OFFSET)
        # read-only as the model's offsets, for which the kernels are compiled already
        merged_offset.setflags(write=False)
        merged_leaf = np.empty((0, 0), leaf.dtype)
        if len(sizes) < len(features.leaf_row):
            merged_leaf = np.empty((len(sizes), n_rows), leaf_id_dtype(max(sizes)))
            kernels.merge_leaves(
                leaf, features.leaf_offset, features.leaf_row, first_tree, merged_leaf
            )
        return cls(features, leaf, first_tree, merged_offset, merged_leaf)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.features.n_features

    def multiply(self, coefficients: Array) -> Array:
        """Multiply by coefficients; see `LeafFeatures.multiply`."""
        if not self.merged_leaf.size:
            return self.features.multiply(self.leaf, coefficients)
        table = np.ascontiguousarray(self.features.vectors @ coefficients)
        merged = np.empty((self.merged_offset[-1], table.shape[1]), REAL)
        kernels.spread_leaves(
            table,
            self.features.leaf_offset,
            self.first_tree,
            self.merged_offset,
            merged,
        )
        total = np.empty((self.leaf.shape[1], table.shape[1]), REAL)
        kernels.gather_leaves(*self._merged, merged, 0, 0, total)
        return total

    def multiply_transposed(self, value: Array) -> Array:
        """Multiply the transpose by values of the rows."""
        return self.features.transposed @ self._sum_by_leaf(value)

    def add_squares(self, value: Array) -> Array:
        """Multiply the transposed squared features by values of the rows."""
        return self.features.squares @ self._sum_by_leaf(value)

    @property
    def _merged(self) -> tuple[Any, Any, Any]:
        row = np.arange(len(self.merged_leaf), dtype=NODE)
        return self.merged_leaf, self.merged_offset, row

    def _sum_by_leaf(self, value: Array) -> Array:
        if not self.merged_leaf.size:
            return self.features.sum_by_leaf(self.leaf, value)
        value = np.ascontiguousarray(value)
        merged = np.empty((self.merged_offset[-1], value.shape[1]), REAL)
        kernels.sum_rows_by_leaf(*self._merged, value, merged)
        total = np.empty((self.features.leaf_offset[-1], value.shape[1]), REAL)
        kernels.fold_leaves(
            merged,
            self.features.leaf_offset,
            self.first_tree,
            self.merged_offset,
            total,
        )
        return total


def _group(n_leaves: list[int], most: int) -> tuple[NDArray[np.int64], list[int]]:
    """Group neighbouring trees while the product of their leaves is at most `most`."""
    first, sizes = [0], [n_leaves[0]]
    for tree, size in enumerate(n_leaves[1:], start=1):
        if sizes[-1] * size <= most:
            sizes[-1] *= size
        else:
            first.append(tree)
            sizes.append(size)
    return np.array([*first, len(n_leaves)], OFFSET), sizes
