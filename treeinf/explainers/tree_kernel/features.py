"""Features of a row by a tree kernel, as implicit products with sparse leaf vectors."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import COUNT, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.cpu import replay as replay_kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import ALL_ROWS
from treeinf.pickling import DropsCached

__all__ = ["TREE_KERNELS", "LeafFeatures", "Leaves", "check_kernel"]

Leaves = NDArray[np.unsignedinteger[Any]]

_TABLE_NUMBERS = 2**23


class _TreeKernel(NamedTuple):
    """Definition of the features of a tree kernel.

    Attributes
    ----------
    unit : {"leaf", "tree", "node"}
        Whether there is one feature for each leaf, each tree or each node.
    holds_values : bool
        A leaf's feature is its value, else 1.
    is_weighted : bool
        Features are divided by the number of train rows in their leaf or node.
    """

    unit: str
    holds_values: bool
    is_weighted: bool


TREE_KERNELS = {
    "leaf_path": _TreeKernel("leaf", False, False),
    "weighted_leaf_path": _TreeKernel("leaf", False, True),
    "leaf_output": _TreeKernel("leaf", True, False),
    "weighted_leaf_output": _TreeKernel("leaf", True, True),
    "tree_output": _TreeKernel("tree", True, False),
    "feature_path": _TreeKernel("node", False, False),
    "weighted_feature_path": _TreeKernel("node", False, True),
    "feature_output": _TreeKernel("node", True, False),
    "weighted_feature_output": _TreeKernel("node", True, True),
}
"""Every published tree kernel by name; see `LeafFeatures`."""


def check_kernel(kernel: str) -> None:
    """Raise for an unknown tree kernel.

    Raises
    ------
    ValueError
        If there is no such kernel.
    """
    if kernel not in TREE_KERNELS:
        raise ValueError(
            f"Got kernel={kernel!r}; expected one of {', '.join(TREE_KERNELS)}."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class LeafFeatures(DropsCached):
    """Features of rows by a tree kernel: one sparse vector a leaf, summed over trees.

    Created by `build`.

    Parameters
    ----------
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Row of each tree in the leaf ids.
    vectors : csr_array of float64, shape (n_leaves, n_features)
        Vector of each leaf. A feature belongs to one tree.
    is_diagonal : bool
        Each leaf has one feature, its own.
    train_leaf : ndarray of unsigned integer, shape (n_structures, n_train)
        Leaves of the train rows; kept on the device if they fit.
    device : Device, default=CPU
        Where products are computed.

    Notes
    -----
    The features of a row are the sum of the vectors of its leaves. Products with the
    matrix of all rows' features are gathers, products with its transpose are sums over
    leaves: O(n_rows n_trees) time, and memory for the leaf ids and the leaves' vectors
    alone. A vector has one entry, one an output ("tree_output"), or one a node on the
    path from the root ("feature_path" and its kin).
    """

    leaf_offset: NDArray[np.int64]
    leaf_row: NDArray[np.int32]
    vectors: Any
    is_diagonal: bool
    train_leaf: Leaves
    device: Device = CPU

    @classmethod
    def build(
        cls,
        ensemble: TreeEnsemble,
        kernel: str,
        train_leaf: Leaves,
        device: Device = CPU,
    ) -> LeafFeatures:
        """Build the features of a tree kernel.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model, its base score kept apart.
        kernel : str
            One of `TREE_KERNELS`. "leaf_path": 1 for each leaf that the row is in;
            "leaf_output": its value instead of the 1; "tree_output": one feature a tree
            (and output), the value of the row's leaf; "feature_path": 1 for each node
            on the row's paths, leaves included; "feature_output": the same with the
            leaf's value for its 1. "weighted_" divides each by the number of train rows
            in the leaf or node.
        train_leaf : ndarray of unsigned integer, shape (n_structures, n_train)
            Leaves of the train rows.
        device : Device, default=CPU
            Where products are computed.

        Returns
        -------
        LeafFeatures

        Notes
        -----
        A leaf or node without train rows has the weight 0 (the authors' code divides by
        zero there, and gives NaN for every row in it). A tree that holds several
        outputs counts as one tree for each, as published; of a forest of two classes
        the second class alone.
        """
        unit, holds_values, is_weighted = TREE_KERNELS[kernel]
        leaves = ensemble.flat_leaves
        value = leaves.leaf_value
        if ensemble.is_averaged and value.shape[1] == 2:
            value = value[:, 1:]
        n_leaves, width = value.shape
        count = np.zeros(n_leaves, COUNT)
        replay_kernels.count_leaf_rows(
            train_leaf, leaves.leaf_offset, leaves.leaf_row, ALL_ROWS, count
        )
        number = np.arange(n_leaves)
        # one feature of the same norm stands for equal features of every output
        norm = np.linalg.norm(value, axis=1) if holds_values else np.sqrt(width)
        leaf_entry = np.broadcast_to(norm, n_leaves)
        if unit == "leaf":
            row, column, entry, n_features = number, number, leaf_entry, n_leaves
        elif unit == "tree":
            row = np.repeat(number, width)
            tree = np.repeat(np.arange(ensemble.n_trees), np.diff(leaves.leaf_offset))
            column = (tree[:, np.newaxis] * width + np.arange(width)).ravel()
            entry, n_features = value.ravel(), ensemble.n_trees * width
        else:
            path_leaf, node = _list_paths(ensemble)
            row = np.concatenate([number, path_leaf])
            column = np.concatenate([number, n_leaves + node])
            node_entry = np.full(len(path_leaf), np.sqrt(width))
            entry = np.concatenate([leaf_entry, node_entry])
            n_features = n_leaves + ensemble.n_nodes
        if is_weighted:
            reached = np.bincount(column, count[row], minlength=n_features)[column]
            entry = np.where(reached > 0, entry / np.maximum(reached, 1), 0.0)
        vectors = sparse.csr_array(
            (entry, (row, column)), shape=(n_leaves, n_features), dtype=REAL
        )
        vectors.sort_indices()
        return cls(
            leaves.leaf_offset,
            leaves.leaf_row,
            vectors,
            unit == "leaf",
            train_leaf,
            device,
        )

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.vectors.shape[1])

    @functools.cached_property
    def transposed(self) -> Any:
        """Transposed `vectors`, (n_features, n_leaves)."""
        return self.vectors.T.tocsr()

    @functools.cached_property
    def squares(self) -> Any:
        """Element-wise square of `transposed`."""
        return self.transposed.multiply(self.transposed).tocsr()

    @functools.cached_property
    def leaf_square(self) -> NDArray[np.float64]:
        """Squared norm of each leaf's vector, shape (n_leaves,)."""
        return np.asarray(self.vectors.multiply(self.vectors).sum(axis=1)).ravel()

    def multiply(
        self, leaf: Leaves, coefficients: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Multiply the feature matrix of rows by coefficients.

        Parameters
        ----------
        leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
            Leaves of the rows.
        coefficients : ndarray of float64, shape (n_features, n_columns)

        Returns
        -------
        ndarray of float64, shape (n_rows, n_columns)
        """
        return self._gather(leaf, np.ascontiguousarray(self.vectors @ coefficients))

    def multiply_transposed(
        self, leaf: Leaves, value: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Multiply the transposed feature matrix of rows by values of the rows.

        Parameters
        ----------
        leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
            Leaves of the rows.
        value : ndarray of float64, shape (n_rows, n_columns)
            Values of the rows.

        Returns
        -------
        ndarray of float64, shape (n_features, n_columns)
        """
        return np.asarray(self.transposed @ self.sum_by_leaf(leaf, value))

    def square_norm(self, leaf: Leaves) -> NDArray[np.float64]:
        """Return the squared norm of the features of rows, shape (n_rows,)."""
        return self._gather(leaf, self.leaf_square[:, np.newaxis])[:, 0]

    def table_queries(self, most: int) -> int:
        """Return how many queries fit in a 64 MiB table over leaves, at most `most`."""
        return max(1, min(most, _TABLE_NUMBERS // len(self.leaf_square)))

    def write_rows(
        self,
        leaf: Leaves,
        first_row: int,
        first_column: int,
        n_columns: int,
        values: NDArray[np.float64],
        kernel: Callable[..., None],
    ) -> None:
        """Run a kernel that writes values of rows from their leaves.

        Parameters
        ----------
        leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
            Leaves of all rows.
        first_row : int
            Row of the first line of `values`.
        first_column, n_columns : int
            Columns to write.
        values : ndarray of float64, shape (n_lines, >= first_column + n_columns)
            Output; the columns are overwritten.
        kernel : callable
            Called with the leaf ids, leaf offsets and leaf rows, the position of the
            first row in the leaf ids, and the output array and column.
        """
        rows = slice(first_row, first_row + len(values))
        for batch, arrays, first in self._device_batches(leaf, rows, 8 * n_columns):
            self.device.write_columns(
                values[batch.start - first_row : batch.stop - first_row],
                first_column,
                n_columns,
                functools.partial(kernel, *arrays, first),
            )

    def _device_batches(
        self, leaf: Leaves, rows: slice, row_bytes: int
    ) -> Iterator[tuple[slice, tuple[Any, Any, Any], int]]:
        """Yield batches of rows, their leaves on the device, and their first position.

        The leaves of the train rows stay on the device, whole, if they fit.
        """
        device, size = self.device, leaf.shape[1]
        trees = device.hold(self, self.leaf_offset), device.hold(self, self.leaf_row)
        is_resident = device.is_cpu or device.holds(self, leaf)
        if not is_resident:
            row_bytes += len(leaf) * leaf.itemsize
            size = device.rows_at_once(size, row_bytes)
            is_resident = leaf is self.train_leaf and size == leaf.shape[1]
        if is_resident:
            yield rows, (device.hold(self, leaf), *trees), rows.start
            return
        for begin in range(rows.start, rows.stop, size):
            batch = slice(begin, min(begin + size, rows.stop))
            yield batch, (device.put(leaf[:, batch]), *trees), 0

    def _gather(self, leaf: Leaves, table: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.empty((leaf.shape[1], table.shape[1]), REAL)
        self.gather(leaf, table, 0, 0, total)
        return total

    def gather(
        self,
        leaf: Leaves,
        table: NDArray[np.float64],
        first_row: int,
        first_column: int,
        total: NDArray[np.float64],
    ) -> None:
        """Sum table entries over the leaves of each row; see `gather_leaves`."""
        device_table = self.device.put(table)

        def write(*arguments: Any) -> None:
            leaf, offset, row, first, out, column = arguments
            self.device.leaf_features.gather_leaves(
                leaf, offset, row, device_table, first, column, out
            )

        n_columns = table.shape[1]
        self.write_rows(leaf, first_row, first_column, n_columns, total, write)

    def sum_by_leaf(
        self, leaf: Leaves, value: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sum values over the rows of each leaf; see `sum_rows_by_leaf`."""
        device, value = self.device, np.ascontiguousarray(value)
        shape = (len(self.leaf_square), value.shape[1])
        sums = []
        rows = slice(0, leaf.shape[1])
        for batch, arrays, _ in self._device_batches(leaf, rows, 8 * shape[1]):
            total = device.empty(shape)
            device.leaf_features.sum_rows_by_leaf(
                *arrays, device.put(value[batch]), total
            )
            sums.append(device.get(total))
        return sums[0] if len(sums) == 1 else np.sum(sums, axis=0)


def _list_paths(
    ensemble: TreeEnsemble,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the nodes above each leaf.

    Returns
    -------
    leaf, node : ndarray of int64, shape (n_pairs,)
        Leaves and nodes, numbered over all trees: the node is on the leaf's path.
    """
    n_trees = ensemble.n_trees
    tree = np.repeat(np.arange(n_trees), np.diff(ensemble.node_offset))
    parent_node = np.full(ensemble.n_nodes, -1, OFFSET)
    parent_leaf = np.full(ensemble.n_leaves, -1, OFFSET)
    number = np.arange(ensemble.n_nodes)
    for child in (ensemble.left, ensemble.right):
        is_leaf = child < 0
        inner = ensemble.node_offset[tree] + child
        outer = ensemble.leaf_offset[tree] + ~child
        parent_node[inner[~is_leaf]] = number[~is_leaf]
        parent_leaf[outer[is_leaf]] = number[is_leaf]
    leaf, node = np.arange(ensemble.n_leaves), parent_leaf
    leaves, nodes = [], []
    while (is_there := node >= 0).any():
        leaf, node = leaf[is_there], node[is_there]
        leaves.append(leaf)
        nodes.append(node)
        node = parent_node[node]
    if not leaves:
        return np.empty(0, OFFSET), np.empty(0, OFFSET)
    return np.concatenate(leaves), np.concatenate(nodes)
