"""Row factors and leaf factors, whose products summed over trees are influence."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import NODE, OFFSET, REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.base import Columns
from treeinf.kernels.cpu import products
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.formulas import row_factors
from treeinf.kernels.simd import LINE_WIDTHS, empty_aligned
from treeinf.pickling import DropsCached
from treeinf.trace import StagedRows

__all__ = ["DenseLeafFactors", "LeafFactors", "RowFactors", "SparseLeafFactors"]

_TILE_BYTES = 2**28
_TILE_SHARE = 0.05
"""Share of the pairs of a row and a query in a common leaf from which the product over
all pairs is faster; measured."""


@dataclasses.dataclass(frozen=True, eq=False)
class RowFactors(DropsCached):
    """What each train row adds to its leaves: ``scale * (g + theta * h)``.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its base score kept apart.
    rows : StagedRows
        Train rows.
    scale, theta : ndarray of float64, shape (n_leaves, leaf_width)
        Numbers of each leaf value. g and h are the row's weighted gradient and hessian
        before the leaf's tree; they are replayed when needed, never stored. Where leaf
        values solve a full hessian, h theta is a product with that of the row.
    inverse_hessian : ndarray of float64, shape (n_leaves, leaf_width, leaf_width), or \
None
        Inverse of each leaf's full hessian, which the bracket is multiplied with.
    is_propagated : bool, default=False
        g and h are taken after the row's own removal has changed its own scores in the
        trees before.
    is_cross_class : bool, default=True
        The derivatives of g and h with respect to the scores of the other outputs
        count too (softmax).
    base_score_gradient : ndarray of float64, shape (n_train, n_outputs), or None
        Derivative of the base score with respect to the logarithm of each row's weight
        (`by_target`: minus that to its target); None where it is held fixed.
    n_steps : int, default=1
        Iterations that are steps of one tree.
    by_target : bool, default=False
        Use the derivatives of g and h with respect to the row's target.
    device : Device, default=CPU
        Where factors are computed; the rows stay there if they fit.
    precision : {"float64", "float32"}, default="float64"
        Dtype of the factors that `staged` writes.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    scale: NDArray[np.float64]
    theta: NDArray[np.float64]
    inverse_hessian: NDArray[np.float64] | None = None
    is_propagated: bool = False
    is_cross_class: bool = True
    base_score_gradient: NDArray[np.float64] | None = None
    n_steps: int = 1
    by_target: bool = False
    device: Device = CPU
    precision: str = "float64"

    @property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """The first arguments of all contraction kernels, on the device."""
        return (
            self.rows.on(self.device),
            self.device.hold(self.ensemble, self.ensemble.flat_leaves),
            self.ensemble.flat_loss,
            self.device.hold(self, self.rule),
        )

    @functools.cached_property
    def rule(self) -> row_factors.FactorRule:
        """The factors as the kernels read them."""
        n_outputs, width = self.ensemble.n_outputs, self.ensemble.leaf_width
        gradient = self.base_score_gradient
        if gradient is None or not self.is_propagated:
            gradient = np.empty((0, n_outputs), REAL)
        inverse = self.inverse_hessian
        return row_factors.FactorRule(
            kind=row_factors.PROPAGATED * self.is_propagated
            | row_factors.CROSS_CLASS * self.is_cross_class
            | row_factors.FULL_NEWTON * self._is_full
            | row_factors.BY_TARGET * self.by_target,
            n_steps=self.n_steps,
            # writable, so that no kernel is compiled once more for read-only arrays
            scale=np.require(self.scale, REAL, ["C", "W"]),
            theta=np.require(self.theta, REAL, ["C", "W"]),
            inverse_hessian=np.empty((0, width, width), REAL)
            if inverse is None
            else inverse,
            base_score_gradient=np.require(gradient, REAL, ["C", "W"]),
            shrinkage=np.array(self.ensemble.shrinkage, REAL),
        )

    def batches(self, begin: int, end: int) -> Iterator[tuple[slice, RowFactors]]:
        """Yield batches of rows that fit on the device; see `StagedRows.batches`."""
        gradient = self.base_score_gradient
        for batch in self.rows.batches(self.device, 8, within=slice(begin, end)):
            rows = self.rows.take(batch)
            if rows is self.rows:
                yield batch, self
            else:
                yield (
                    batch,
                    dataclasses.replace(
                        self,
                        rows=rows,
                        base_score_gradient=None
                        if gradient is None
                        else gradient[batch],
                    ),
                )

    def staged(self, begin: int, end: int) -> Iterator[FactorBatch]:
        """Compute the factors of rows, in batches that fit in the cache.

        Yields
        ------
        FactorBatch
            Overwritten by the next.
        """
        n_factors = self.ensemble.n_trees * self.ensemble.leaf_width
        size = int(np.clip(self.device.batch_bytes // (n_factors * 8), 64, 2**20))
        size = min(size, end - begin)
        buffer = self.device.empty((size, n_factors), np.dtype(self.precision))
        for batch, rows in self.batches(begin, end):
            arguments = rows.kernel_arguments
            for first in range(max(begin, batch.start), min(end, batch.stop), size):
                n = min(size, min(end, batch.stop) - first)
                column = first - batch.start
                self.device.contraction.stage_factors(*arguments, column, buffer[:n])
                yield FactorBatch(
                    first, buffer[:n], arguments[0].leaf, arguments[1], column
                )

    def contract(
        self, leaf_factor: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Multiply with one factor for each leaf value, and sum over trees.

        Parameters
        ----------
        leaf_factor : ndarray of float64, shape (n_leaves, leaf_width), optional
            None for each row's own gradients, of weight 1.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        device, is_self = self.device, leaf_factor is None
        values = np.empty(self.rows.n_rows, dtype=REAL)
        factor = self.rule.scale if leaf_factor is None else leaf_factor
        factor = device.put(np.ascontiguousarray(factor))
        for batch, rows in self.batches(0, self.rows.n_rows):
            arguments = rows.kernel_arguments

            def write(output: Any, _: int, arguments: Any = arguments) -> None:
                device.contraction.contract_rows(
                    *arguments, factor, is_self, output.reshape(output.size)
                )

            device.write_columns(values[batch, np.newaxis], 0, 1, write)
        return values

    def contract_self(self) -> NDArray[np.float64]:
        """Multiply with each row's own gradients, of weight 1, and sum over trees.

        The gradients are those before each tree; of propagated factors, the final one.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        n_rows = self.rows.n_rows
        if self.precision != "float64":
            return dataclasses.replace(self, precision="float64").contract_self()
        is_plain = not (self.is_propagated or self.by_target or self._is_full)
        if is_plain or (self.is_propagated and self.device.is_cpu):
            return self.contract()
        if self.is_propagated:
            return self._contract_final()
        values = np.empty(n_rows, dtype=REAL)
        unweighted = dataclasses.replace(self.rows.as_queries, weight=np.empty(0, REAL))
        gradients = staged_gradients(self.ensemble, unweighted, self.device)
        for batch, gradient in zip(
            self.staged(0, n_rows), gradients.staged(0, n_rows), strict=True
        ):
            factor = self.device.get(batch.factor)
            product = np.einsum("ij,ij->i", factor, self.device.get(gradient.factor))
            values[batch.first : batch.first + len(product)] = product
        return values

    def _contract_final(self) -> NDArray[np.float64]:
        """Multiply the change of each row's own score with its final gradient."""
        ensemble, rows = self.ensemble, self.rows
        change = np.zeros((rows.n_rows, ensemble.n_outputs), dtype=REAL)
        if self.base_score_gradient is not None:
            change -= self.base_score_gradient
        if ensemble.leaf_width == 1:
            output = np.maximum(ensemble.output, 0) * (ensemble.n_outputs > 1)
        else:
            output = np.tile(np.arange(ensemble.leaf_width), ensemble.n_trees)
        for batch in self.staged(0, rows.n_rows):
            factor = self.device.get(batch.factor)
            for k in range(ensemble.n_outputs):
                total = factor[:, output == k].sum(axis=1)
                change[batch.first : batch.first + len(factor), k] += total
        offset = rows.offset if rows.offset.size else None
        score = ensemble.add_leaf_values(rows.leaf, offset=offset)
        assert ensemble.loss is not None
        gradient, _ = ensemble.loss.derivatives(rows.y, score)
        return np.asarray((change * gradient).sum(axis=1))

    @property
    def _is_full(self) -> bool:
        return self.ensemble.leaf_rule.kind == "full newton"


class FactorBatch(NamedTuple):
    """The factors of a batch of train rows, on the device of the rows.

    Attributes
    ----------
    first : int
        First row of the batch.
    factor : array of float64, shape (n_batch, n_trees * leaf_width)
        Their factors.
    leaf, leaves : array, FlatLeaves
        Leaf ids of the rows, or of a larger batch, and the ensemble's leaves.
    column : int
        The first row's column in `leaf`.
    """

    first: int
    factor: Any
    leaf: Any
    leaves: Any
    column: int


def staged_gradients(
    ensemble: TreeEnsemble, rows: StagedRows, device: Device = CPU
) -> RowFactors:
    """Return the rows' gradients before each tree as row factors."""
    ones = np.ones((ensemble.n_leaves, ensemble.leaf_width), dtype=REAL)
    return RowFactors(ensemble, rows, ones, np.zeros_like(ones), device=device)


class LeafFactors(Columns):
    """Influence as the product of row factors and the leaf factors of some queries."""

    row_factors: RowFactors
    base_factor: NDArray[np.float64]

    @property
    def device(self) -> Device:
        """Where the row factors are."""
        return self.row_factors.device

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return self.base_factor.shape[1]

    @property
    @abc.abstractmethod
    def _tiles(self) -> NDArray[np.float64]:
        """The factor of every leaf value and query, tile by tile of queries."""

    @functools.cached_property
    def _kernel(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        """The kernel that multiplies, and the arrays it reads of leaves."""
        tiles: NDArray[Any] = self._tiles
        if self.row_factors.precision == "float32":
            tiles = _empty_tiles(tiles.shape[1], self.n_queries, np.float32)
            tiles[...] = self._tiles
        return self.device.products.contract_dense, (tiles,)

    def fill(
        self, first_row: int, first_query: int, influence: NDArray[np.float64]
    ) -> None:
        """Write the influence of a batch of train rows; see `Columns`."""
        device, (kernel, arrays) = self.device, self._kernel
        held = tuple(device.hold(self, array) for array in arrays)
        end = first_row + len(influence)
        for batch in self.row_factors.staged(first_row, end):
            line = batch.first - first_row

            def write(output: Any, first: int, batch: FactorBatch = batch) -> None:
                kernel(
                    *(batch.leaf, batch.leaves, batch.column, batch.factor),
                    *(*held, self.n_queries, first, output),
                )

            lines = influence[line : line + len(batch.factor)]
            device.write_columns(lines, first_query, self.n_queries, write)
        gradient = self.row_factors.base_score_gradient
        if gradient is not None:
            home = CPU if isinstance(influence, np.ndarray) else device
            home.products.add_product(
                home.put(gradient[first_row:end]),
                home.hold(self, self.base_factor),
                first_query,
                influence,
            )


@dataclasses.dataclass(frozen=True, eq=False)
class DenseLeafFactors(LeafFactors):
    """Leaf factors of queries that every leaf has an effect on.

    Parameters
    ----------
    row_factors : RowFactors
        The train rows.
    factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        Derivative of what is explained of each query with respect to each leaf's
        gradient sum.
    base_factor : ndarray of float64, shape (n_outputs, n_queries)
        Minus its derivative with respect to the base score.
    """

    row_factors: RowFactors
    factor: NDArray[np.float64]
    base_factor: NDArray[np.float64]

    @functools.cached_property
    def _tiles(self) -> NDArray[np.float64]:
        tiles = _empty_tiles(self.factor[:, :, 0].size, self.n_queries)
        products.tile_factors(self.factor, tiles)
        return tiles

    def contract(self) -> NDArray[np.float64]:
        """Return the influence on the one query there is, shape (n_train,)."""
        total = self.row_factors.contract(self.factor[:, :, 0])
        if self.row_factors.base_score_gradient is not None:
            total += self.row_factors.base_score_gradient @ self.base_factor[:, 0]
        return total


@dataclasses.dataclass(frozen=True, eq=False)
class SparseLeafFactors(LeafFactors):
    """Leaf factors of queries that only their own leaves have an effect on.

    Parameters
    ----------
    row_factors : RowFactors
        The train rows.
    start : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's queries begin.
    query : ndarray of int32, shape (n_trees * n_queries,)
        Queries, leaf by leaf.
    factor : ndarray of float64, shape (n_trees * n_queries, leaf_width)
        Factor of each.
    base_factor : ndarray of float64, shape (n_outputs, n_queries)
        See `DenseLeafFactors`.
    """

    row_factors: RowFactors
    start: NDArray[np.int64]
    query: NDArray[np.int32]
    factor: NDArray[np.float64]
    base_factor: NDArray[np.float64]

    @classmethod
    def stage(cls, row_factors: RowFactors, queries: StagedRows) -> SparseLeafFactors:
        """Replay the queries: each factor is the gradient before the leaf's tree."""
        ensemble = row_factors.ensemble
        shape = (queries.n_rows, ensemble.n_trees, ensemble.leaf_width)
        by_tree = np.empty(shape, dtype=REAL)
        for batch in staged_gradients(ensemble, queries).staged(0, shape[0]):
            lines = by_tree[batch.first : batch.first + len(batch.factor)]
            lines[...] = batch.factor.reshape(lines.shape)
        base_factor = np.zeros((ensemble.n_outputs, queries.n_rows), REAL)
        return cls._group(row_factors, queries, by_tree, base_factor)

    @classmethod
    def spread(
        cls,
        row_factors: RowFactors,
        queries: StagedRows,
        gradient: NDArray[np.float64],
    ) -> SparseLeafFactors:
        """Use each query's final gradient in every tree of an output.

        Parameters
        ----------
        row_factors : RowFactors
            The train rows.
        queries : StagedRows
            The queries.
        gradient : ndarray of float64, shape (n_queries, n_outputs)
            Their gradients.
        """
        ensemble = row_factors.ensemble
        if ensemble.leaf_width > 1:
            shape = (queries.n_rows, ensemble.n_trees, ensemble.leaf_width)
            by_tree = np.broadcast_to(gradient[:, np.newaxis], shape)
        else:
            output = np.maximum(ensemble.output, 0) * (ensemble.n_outputs > 1)
            by_tree = gradient[:, output, np.newaxis]
        base_factor = np.ascontiguousarray(-gradient.T)
        return cls._group(row_factors, queries, by_tree, base_factor)

    @classmethod
    def _group(
        cls,
        row_factors: RowFactors,
        queries: StagedRows,
        by_tree: NDArray[np.float64],
        base_factor: NDArray[np.float64],
    ) -> SparseLeafFactors:
        """Sort factors, shape (n_queries, n_trees, leaf_width), by leaf."""
        ensemble, n = row_factors.ensemble, queries.n_rows
        start = np.empty(ensemble.n_leaves + 1, dtype=OFFSET)
        query = np.empty(ensemble.n_trees * n, dtype=NODE)
        products.group_rows_by_leaf(
            queries.leaf, ensemble.leaf_offset, ensemble.row_of_tree, start, query
        )
        tree = np.repeat(np.arange(ensemble.n_trees), n)
        factor = np.ascontiguousarray(by_tree[query, tree])
        return cls(row_factors, start, query, factor, base_factor)

    @functools.cached_property
    def prefers_tiles(self) -> bool:
        """Whether so many queries share leaves that products with 0 cost less.

        Train rows are taken to share leaves with the queries as often as those do with
        one another.
        """
        n = np.diff(self.start)
        pairs = len(self.query) * (self.n_queries - 1)
        n_bytes = 8 * n.size * self.factor.shape[1] * self.n_queries
        return bool(
            n_bytes <= _TILE_BYTES and (n * (n - 1)).sum() >= _TILE_SHARE * pairs
        )

    @functools.cached_property
    def _tiles(self) -> NDArray[np.float64]:
        n_leaves, leaf_width = len(self.start) - 1, self.factor.shape[1]
        tiles = _empty_tiles(n_leaves * leaf_width, self.n_queries)
        tiles[...] = 0.0
        tile, column = np.divmod(self.query, tiles.shape[2])
        leaf = np.repeat(np.arange(n_leaves), np.diff(self.start))
        for k in range(leaf_width):
            tiles[tile, leaf * leaf_width + k, column] = self.factor[:, k]
        return tiles

    @functools.cached_property
    def _kernel(self) -> tuple[Callable[..., None], tuple[Any, ...]]:
        if self.device.is_cpu and self.prefers_tiles:
            return super()._kernel
        factor = self.factor.astype(self.row_factors.precision, copy=False)
        return self.device.products.contract_sparse, (self.start, self.query, factor)


def _empty_tiles(n_lines: int, n_queries: int, dtype: type[Any] = REAL) -> NDArray[Any]:
    """Return an aligned buffer for the tiles of some queries."""
    width = next((w for w in LINE_WIDTHS if w >= n_queries), LINE_WIDTHS[-1])
    shape = (max(1, math.ceil(n_queries / width)), n_lines, width)
    buffer: NDArray[Any] = empty_aligned(
        math.prod(shape) * np.dtype(dtype).itemsize // 8
    )
    return buffer.view(dtype).reshape(shape)
