"""The features that a tree ensemble makes of a row, never written out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.dtypes import COUNT, NODE, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.losses import CrossEntropy, SquaredError
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.base import Columns
from treeinf.frames import count_rows
from treeinf.kernels.cpu import leaf_features as kernels
from treeinf.kernels.cpu import products
from treeinf.kernels.cpu import replay as replay_kernels
from treeinf.kernels.device import CPU, Device
from treeinf.trace import StagedRows, as_trained

__all__ = [
    "TREE_KERNELS",
    "LeafFeatures",
    "Similarity",
    "check_kernel",
    "predict_targets",
    "read_train_rows",
]

Leaves = NDArray[np.unsignedinteger[Any]]

_TABLE_NUMBERS = 2**23


class _TreeKernel(NamedTuple):
    """What a tree kernel's features are.

    Attributes
    ----------
    unit : {"leaf", "tree", "node"}
        What has a feature of its own: each leaf, each tree, or each node.
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
    """Refuse the name of a tree kernel that is not one.

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
class LeafFeatures:
    """Features of rows by a tree kernel: one sparse vector a leaf, summed over trees.

    Make them with `build`.

    Parameters
    ----------
    leaf_offset : ndarray of int64, shape (n_trees + 1,)
        Number of each tree's first leaf.
    leaf_row : ndarray of int32, shape (n_trees,)
        Line of the leaf ids that each tree reads.
    vectors : csr_array of float64, shape (n_leaves, n_features)
        Vector of each leaf. A feature belongs to one tree.
    is_diagonal : bool
        Each leaf has one feature, its own.
    train_leaf : ndarray of unsigned integer, shape (n_structures, n_train)
        Leaves of the train rows; they stay on the device if they fit.
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
        """Make the features of a tree kernel.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model, its initial score kept apart.
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
            train_leaf, leaves.leaf_offset, leaves.leaf_row, count
        )
        number = np.arange(n_leaves)
        # copies of one feature for each output are as good as one of their length
        own = np.linalg.norm(value, axis=1) if holds_values else np.sqrt(width)
        own = np.broadcast_to(own, n_leaves)
        if unit == "leaf":
            row, column, entry, n_features = number, number, own, n_leaves
        elif unit == "tree":
            row = np.repeat(number, width)
            tree = np.repeat(np.arange(ensemble.n_trees), np.diff(leaves.leaf_offset))
            column = (tree[:, np.newaxis] * width + np.arange(width)).ravel()
            entry, n_features = value.ravel(), ensemble.n_trees * width
        else:
            above, node = _list_paths(ensemble)
            row, column = (
                np.concatenate([number, above]),
                np.concatenate([number, n_leaves + node]),
            )
            entry = np.concatenate([own, np.full(len(above), np.sqrt(width))])
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
        """Leaves in which each feature is not 0, (n_features, n_leaves)."""
        return self.vectors.T.tocsr()

    @functools.cached_property
    def squares(self) -> Any:
        """Entries of `transposed`, squared."""
        return self.transposed.multiply(self.transposed).tocsr()

    @functools.cached_property
    def leaf_square(self) -> NDArray[np.float64]:
        """Squared length of each leaf's vector, shape (n_leaves,)."""
        return np.asarray(self.vectors.multiply(self.vectors).sum(axis=1)).ravel()

    def multiply(
        self, leaf: Leaves, coefficients: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Multiply the features of rows with coefficients.

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
        """Add up the features of rows, each times numbers of the row.

        Parameters
        ----------
        leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
            Leaves of the rows.
        value : ndarray of float64, shape (n_rows, n_columns)
            Numbers of the rows.

        Returns
        -------
        ndarray of float64, shape (n_features, n_columns)
        """
        return np.asarray(self.transposed @ self.sum_by_leaf(leaf, value))

    def square_norm(self, leaf: Leaves) -> NDArray[np.float64]:
        """Compute the squared length of the features of rows, shape (n_rows,)."""
        return self._gather(leaf, self.leaf_square[:, np.newaxis])[:, 0]

    def table_targets(self, most: int) -> int:
        """Say how many targets compared with every leaf fit in 64 MiB, up to `most`."""
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
        """Let a kernel write numbers of rows that depend on their leaves.

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
            Called with the leaves, their offsets and lines, the column of the first
            row's leaves, and the array and the column to write to.
        """
        rows = slice(first_row, first_row + len(values))
        for run, places, first in self._places(leaf, rows, 8 * n_columns):
            self.device.write_columns(
                values[run.start - first_row : run.stop - first_row],
                first_column,
                n_columns,
                functools.partial(kernel, *places, first),
            )

    def _places(
        self, leaf: Leaves, rows: slice, row_bytes: int
    ) -> Iterator[tuple[slice, tuple[Any, Any, Any], int]]:
        """Give rows' leaves on the device, with those of which row they begin.

        Those of the train rows stay there, and are all given, if they fit.
        """
        device, size = self.device, leaf.shape[1]
        trees = device.hold(self, self.leaf_offset), device.hold(self, self.leaf_row)
        stays = device.is_cpu or device.holds(self, leaf)
        if not stays:
            row_bytes += len(leaf) * leaf.itemsize
            size = device.rows_at_once(size, row_bytes)
            stays = leaf is self.train_leaf and size == leaf.shape[1]
        if stays:
            yield rows, (device.hold(self, leaf), *trees), rows.start
            return
        for begin in range(rows.start, rows.stop, size):
            run = slice(begin, min(begin + size, rows.stop))
            yield run, (device.put(leaf[:, run]), *trees), 0

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
        """Add up numbers of the leaves that rows are in; see `gather_leaves`."""
        moved = self.device.put(table)

        def write(*places: Any) -> None:
            leaf, offset, row, first, room, column = places
            self.device.leaf_features.gather_leaves(
                leaf, offset, row, moved, first, column, room
            )

        n_columns = table.shape[1]
        self.write_rows(leaf, first_row, first_column, n_columns, total, write)

    def sum_by_leaf(
        self, leaf: Leaves, value: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Add up numbers of the rows in each leaf; see `sum_rows_by_leaf`."""
        device, value = self.device, np.ascontiguousarray(value)
        shape = (len(self.leaf_square), value.shape[1])
        sums = []
        rows = slice(0, leaf.shape[1])
        for run, places, _ in self._places(leaf, rows, 8 * shape[1]):
            total = device.empty(shape)
            device.leaf_features.sum_rows_by_leaf(
                *places, device.put(value[run]), total
            )
            sums.append(device.get(total))
        return sums[0] if len(sums) == 1 else np.sum(sums, axis=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Similarity(Columns):
    """Train rows compared with some targets by their features, block by block.

    Make it with `compare`.

    Parameters
    ----------
    features : LeafFeatures
        The features.
    measure : {"dot", "cosine", "euclidean"}
        The dot product; the same over both lengths, 0 where one is 0; or one over (1 +
        the distance).
    leaf, target_leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaves of the train rows and of the targets.
    length, target_length : ndarray of float64, shape (n_rows,) or (0,)
        Lengths of their features, for the cosine.
    table : ndarray of float64, shape (n_leaves, n_queries), or None
        Each leaf compared with each target's, or None where shared leaves say it all.
    group_start, group_target : ndarray of int64 and int32
        Targets of each leaf, else; see `group_rows_by_leaf`.
    """

    features: LeafFeatures
    measure: str
    leaf: Leaves
    target_leaf: Leaves
    length: NDArray[np.float64]
    target_length: NDArray[np.float64]
    table: NDArray[np.float64] | None
    group_start: NDArray[np.int64]
    group_target: NDArray[np.int32]

    @classmethod
    def compare(
        cls,
        features: LeafFeatures,
        measure: str,
        leaf: Leaves,
        target_leaf: Leaves,
        length: NDArray[np.float64],
    ) -> Similarity:
        """Prepare the comparison with a batch of targets.

        Parameters
        ----------
        features, measure, leaf, target_leaf
            See the class.
        length : ndarray of float64, shape (n_rows,) or (0,)
            Lengths of the train rows' features; read for the cosine.
        """
        target_length = np.empty(0, REAL)
        if measure == "cosine":
            target_length = np.sqrt(features.square_norm(target_leaf))
        n_leaves, n_queries = len(features.leaf_square), target_leaf.shape[1]
        table = None
        group_start, group_target = np.empty(0, OFFSET), np.empty(0, NODE)
        if features.is_diagonal and measure != "euclidean":
            group_start = np.empty(n_leaves + 1, OFFSET)
            group_target = np.empty(len(features.leaf_row) * n_queries, NODE)
            products.group_rows_by_leaf(
                target_leaf,
                features.leaf_offset,
                features.leaf_row,
                group_start,
                group_target,
            )
        else:
            table = np.empty((n_leaves, n_queries), REAL)
            kernels.compare_leaves(
                features.vectors.indptr.astype(OFFSET),
                features.vectors.indices.astype(NODE),
                features.vectors.data,
                features.leaf_offset,
                features.leaf_row,
                target_leaf,
                measure == "euclidean",
                table,
            )
        return cls(
            features,
            measure,
            leaf,
            target_leaf,
            length,
            target_length,
            table,
            group_start,
            group_target,
        )

    def fill(
        self, first_row: int, first_query: int, similarity: NDArray[np.float64]
    ) -> None:
        """Write the similarity of a run of train rows; see `Columns`."""
        features, n_queries = self.features, self.target_leaf.shape[1]
        if self.table is None:
            device = features.device
            start = device.hold(self, self.group_start)
            target = device.hold(self, self.group_target)
            square = device.hold(features, features.leaf_square)

            def write(*places: Any) -> None:
                leaf, offset, row, first, room, column = places
                device.leaf_features.add_shared_leaves(
                    *(leaf, offset, row, start, target, square),
                    *(first, column, n_queries, room),
                )

            features.write_rows(
                self.leaf, first_row, first_query, n_queries, similarity, write
            )
        else:
            features.gather(self.leaf, self.table, first_row, first_query, similarity)
        block = similarity[:, first_query : first_query + n_queries]
        if self.measure == "euclidean":
            np.sqrt(block, out=block)
            block += 1.0
            np.reciprocal(block, out=block)
        elif self.measure == "cosine":
            rows = self.length[first_row : first_row + len(block), np.newaxis]
            lengths = rows * self.target_length
            np.divide(block, lengths, out=block, where=lengths > 0.0)
            block[lengths == 0.0] = 0.0


def read_train_rows(
    ensemble: TreeEnsemble,
    kernel: str,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    init_score: Any = None,
    device: Device = CPU,
) -> tuple[TreeEnsemble, StagedRows]:
    """Read train rows, with the weights and the initial score of the training.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    kernel : str
        Tree kernel that is to be used.
    X, y, sample_weight, init_score
        See `StagedRows.read`; for `y`, None will do where the kernel reads no values.
    device : Device, default=CPU
        Where they are routed.

    Returns
    -------
    ensemble : TreeEnsemble
        With its initial score apart from the first tree, where that is known.
    rows : StagedRows
        Train rows; class weights are in their weights. Their targets mean nothing if
        there are none.

    Raises
    ------
    UnsupportedModelError
        If the kernel reads leaf values that hold an initial score which is a quantile.
    ValueError, TypeError
        If the rows do not fit.
    """
    loss = ensemble.loss
    is_folded = bool(ensemble.base_score_folded.any())
    reads_values = TREE_KERNELS[kernel].holds_values
    has_targets = y is not None
    if is_folded and reads_values and init_score is None:
        if not has_targets:
            raise ValueError(
                f"kernel={kernel!r} reads leaf values; in the first tree these hold "
                "an initial score that is found from the targets; pass y, or use a "
                "path kernel."
            )
        if loss is None or not loss.is_differentiable:
            raise UnsupportedModelError(
                f"kernel={kernel!r} reads leaf values; in the first tree these hold "
                f"an initial score that is not known for {ensemble.loss_name!r}. Use a "
                "path kernel, or train with boost_from_average=False."
            )
    if not has_targets:
        # any label that every loss takes: they are not looked at
        label = 1 if ensemble.classes is None else ensemble.classes[0]
        y = np.full(count_rows(X), label)
    rows = StagedRows.read(
        ensemble,
        X,
        y,
        sample_weight=sample_weight,
        init_score=init_score,
        device=device,
    )
    if loss is not None and has_targets and (loss.is_differentiable or not is_folded):
        ensemble, rows, _ = as_trained(ensemble, rows)
    return ensemble, rows


def predict_targets(
    ensemble: TreeEnsemble, raw_score: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn raw scores into predictions that compare with the targets.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)

    Returns
    -------
    ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
        Class probabilities for classifiers. Where the model boosts a transformed
        target, the prediction is of that.
    """
    loss = ensemble.loss
    if loss is None or isinstance(loss, SquaredError):
        return raw_score[:, 0].copy()
    probability = loss.link(raw_score)
    if isinstance(loss, CrossEntropy) or probability.ndim == 1:
        return probability
    whole = probability.sum(axis=1, keepdims=True)
    return probability / np.where(whole > 0.0, whole, 1.0)


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
