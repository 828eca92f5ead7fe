"""Similarity of train rows to queries by the dot product of their leaf features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.explainers.base import Columns
from treeinf.explainers.tree_kernel.features import LeafFeatures, Leaves
from treeinf.kernels.cpu import leaf_features as kernels
from treeinf.kernels.cpu import products

__all__ = ["Similarity"]


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity(Columns):
    """Similarity of train rows to a batch of queries by their leaf features.

    Created by `compare`.

    Parameters
    ----------
    features : LeafFeatures
        The features.
    measure : {"dot", "cosine", "euclidean"}
        The dot product; the dot product over both norms, 0 where one is 0; or 1 / (1 +
        distance).
    leaf, query_leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaves of the train rows and of the queries.
    length, query_length : ndarray of float64, shape (n_rows,) or (0,)
        Norms of their features, for the cosine.
    table : ndarray of float64, shape (n_leaves, n_queries), or None
        Similarity of each leaf to each query, or None where only shared leaves count.
    group_start, group_query : ndarray of int64 and int32
        Queries in each leaf, if there is no table; see `group_rows_by_leaf`.
    """

    features: LeafFeatures
    measure: str
    leaf: Leaves
    query_leaf: Leaves
    length: NDArray[np.float64]
    query_length: NDArray[np.float64]
    table: NDArray[np.float64] | None
    group_start: NDArray[np.int64]
    group_query: NDArray[np.int32]

    @classmethod
    def compare(
        cls,
        features: LeafFeatures,
        measure: str,
        leaf: Leaves,
        query_leaf: Leaves,
        length: NDArray[np.float64],
    ) -> Similarity:
        """Prepare the similarity to a batch of queries.

        Parameters
        ----------
        features, measure, leaf, query_leaf
            See the class.
        length : ndarray of float64, shape (n_rows,) or (0,)
            Norms of the train rows' features; read for the cosine.
        """
        query_length = np.empty(0, REAL)
        if measure == "cosine":
            query_length = np.sqrt(features.square_norm(query_leaf))
        n_leaves, n_queries = len(features.leaf_square), query_leaf.shape[1]
        table = None
        group_start, group_query = np.empty(0, OFFSET), np.empty(0, NODE)
        if features.is_diagonal and measure != "euclidean":
            group_start = np.empty(n_leaves + 1, OFFSET)
            group_query = np.empty(len(features.leaf_row) * n_queries, NODE)
            products.group_rows_by_leaf(
                query_leaf,
                features.leaf_offset,
                features.leaf_row,
                group_start,
                group_query,
            )
        else:
            table = np.empty((n_leaves, n_queries), REAL)
            kernels.compare_leaves(
                features.vectors.indptr.astype(OFFSET),
                features.vectors.indices.astype(NODE),
                features.vectors.data,
                features.leaf_offset,
                features.leaf_row,
                query_leaf,
                measure == "euclidean",
                table,
            )
        return cls(
            features,
            measure,
            leaf,
            query_leaf,
            length,
            query_length,
            table,
            group_start,
            group_query,
        )

    def fill(
        self, first_row: int, first_query: int, similarity: NDArray[np.float64]
    ) -> None:
        """Write the similarity of consecutive train rows; see `Columns`."""
        features, n_queries = self.features, self.query_leaf.shape[1]
        if self.table is None:
            device = features.device
            start = device.hold(self, self.group_start)
            query = device.hold(self, self.group_query)
            square = device.hold(features, features.leaf_square)

            def write(*arguments: Any) -> None:
                leaf, offset, row, first, out, column = arguments
                device.leaf_features.add_shared_leaves(
                    *(leaf, offset, row, start, query, square),
                    *(first, column, n_queries, out),
                )

            features.write_rows(
                self.leaf, first_row, first_query, n_queries, similarity, write
            )
        else:
            features.gather(self.leaf, self.table, first_row, first_query, similarity)
        values = similarity[:, first_query : first_query + n_queries]
        if self.measure == "euclidean":
            np.sqrt(values, out=values)
            values += 1.0
            np.reciprocal(values, out=values)
        elif self.measure == "cosine":
            rows = self.length[first_row : first_row + len(values), np.newaxis]
            lengths = rows * self.query_length
            np.divide(values, lengths, out=values, where=lengths > 0.0)
            values[lengths == 0.0] = 0.0
