"""The two sides of every additive influence: row factors and leaf factors."""

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
from treeinf.kernels.cpu import contraction, products
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.simd import LINE_WIDTHS, align
from treeinf.trace import StagedRows

__all__ = ["DenseLeafFactors", "LeafFactors", "RowFactors", "SparseLeafFactors"]

_TILE_BYTES = 2**28
_TILE_SHARE = 0.05
"""Of the pairs of a row and a target that share a leaf, from which on products for all
pairs are quicker; measured."""


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
        the leaf's tree; they are replayed when needed, never stored. Where leaf values
        come from the matrix of second derivatives, h theta is a product with it.
    matrix : ndarray of float64, shape (n_leaves, leaf_width, leaf_width), or None
        Multiplied with the bracket, output by output.
    is_carried : bool, default=False
        g and h are those after the row's own removal has changed its own scores, in the
        trees before.
    is_crossed : bool, default=True
        They answer to the scores of the other outputs too (softmax).
    base_score_gradient : ndarray of float64, shape (n_train, n_outputs), or None
        Derivative of the base score with respect to the logarithm of each row's weight.
    n_steps : int, default=1
        Iterations that are steps of one tree.
    by_target : bool, default=False
        Derivatives of g and h in the row's target stand for them.
    device : Device, default=CPU
        Where they are computed; the rows stay there if they fit.
    precision : {"float64", "float32"}, default="float64"
        What `runs` writes out.
    """

    ensemble: TreeEnsemble
    rows: StagedRows
    scale: NDArray[np.float64]
    theta: NDArray[np.float64]
    matrix: NDArray[np.float64] | None = None
    is_carried: bool = False
    is_crossed: bool = True
    base_score_gradient: NDArray[np.float64] | None = None
    n_steps: int = 1
    by_target: bool = False
    device: Device = CPU
    precision: str = "float64"

    @property
    def kernel_arguments(self) -> tuple[Any, ...]:
        """What all contraction kernels begin with, on the device."""
        return (
            self.rows.on(self.device),
            self.device.hold(self.ensemble, self.ensemble.flat_leaves),
            self.ensemble.flat_loss,
            self.device.hold(self, self.rule),
        )

    def blocks(self, begin: int, end: int) -> Iterator[tuple[slice, RowFactors]]:
        """Give runs of the rows that fit on the device; see `StagedRows.batches`."""
        start = self.base_score_gradient
        for run in self.rows.batches(self.device, 8, within=slice(begin, end)):
            rows = self.rows.take(run)
            if rows is self.rows:
                yield run, self
            else:
                change = None if start is None else start[run]
                yield (
                    run,
                    dataclasses.replace(self, rows=rows, base_score_gradient=change),
                )

    @functools.cached_property
    def rule(self) -> contraction.FactorRule:
        """The factors as the kernels read them."""
        width = self.ensemble.leaf_width
        start = self.base_score_gradient
        return contraction.FactorRule(
            kind=contraction.CARRIED * self.is_carried
            | contraction.CROSSED * self.is_crossed
            | contraction.FULL * self._is_full
            | contraction.BY_TARGET * self.by_target,
            n_steps=self.n_steps,
            # writable, so that no kernel is compiled once more for read-only arrays
            scale=np.require(self.scale, REAL, ["C", "W"]),
            theta=np.require(self.theta, REAL, ["C", "W"]),
            matrix=np.empty((0, width, width), REAL)
            if self.matrix is None
            else self.matrix,
            base_score_gradient=np.empty((0, self.ensemble.n_outputs), REAL)
            if start is None
            else np.require(start, REAL, ["C", "W"]),
            shrinkage=np.array(self.ensemble.shrinkage, REAL),
        )

    def runs(self, begin: int, end: int) -> Iterator[FactorRun]:
        """Write out the factors of rows, in runs that fit in the cache.

        Yields
        ------
        FactorRun
            Overwritten by the next.
        """
        n_factors = self.ensemble.n_trees * self.ensemble.leaf_width
        size = int(np.clip(self.device.run_bytes // (n_factors * 8), 64, 2**20))
        size = min(size, end - begin)
        buffer = self.device.empty((size, n_factors), np.dtype(self.precision))
        for run, block in self.blocks(begin, end):
            arguments = block.kernel_arguments
            for first in range(max(begin, run.start), min(end, run.stop), size):
                n = min(size, min(end, run.stop) - first)
                own = first - run.start
                self.device.contraction.stage_factors(*arguments, own, buffer[:n])
                yield FactorRun(first, buffer[:n], arguments[0].leaf, arguments[1], own)

    def contract(self, leaf_factor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply with one factor a leaf, shape (n_leaves, leaf_width), and add up.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        return self._contract_rows(np.ascontiguousarray(leaf_factor), False)

    def contract_own(self) -> NDArray[np.float64]:
        """Multiply with each row's own gradients, of weight 1, and add up.

        Those before each tree; or, where the change of the row's own scores is carried
        forward, its final one.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        n_rows = self.rows.n_rows
        if self.precision != "float64":
            return dataclasses.replace(self, precision="float64").contract_own()
        if self._is_plain or (self.is_carried and self.device.is_cpu):
            return self._contract_rows(self.rule.scale, True)
        if self.is_carried:
            return self._contract_final()
        values = np.empty(n_rows, dtype=REAL)
        plain = dataclasses.replace(self.rows, weight=np.empty(0, REAL))
        gradients = staged_gradients(self.ensemble, plain, self.device)
        for run, other in zip(
            self.runs(0, n_rows), gradients.runs(0, n_rows), strict=True
        ):
            factor = self.device.get(run.factor)
            own = np.einsum("ij,ij->i", factor, self.device.get(other.factor))
            values[run.first : run.first + len(own)] = own
        return values

    def _contract_rows(
        self, leaf_factor: NDArray[np.float64], is_own: bool
    ) -> NDArray[np.float64]:
        """Multiply with one factor a leaf, or the row's own gradients, and add up."""
        device = self.device
        values = np.empty(self.rows.n_rows, dtype=REAL)
        leaf_factor = device.put(leaf_factor)
        for run, block in self.blocks(0, self.rows.n_rows):
            arguments = block.kernel_arguments

            def write(room: Any, _: int, given: Any = arguments) -> None:
                device.contraction.contract_rows(
                    *given, leaf_factor, is_own, room.reshape(room.size)
                )

            device.write_columns(values[run, np.newaxis], 0, 1, write)
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
        for run in self.runs(0, rows.n_rows):
            factor = self.device.get(run.factor)
            for k in range(ensemble.n_outputs):
                part = change[run.first : run.first + len(factor), k]
                part += factor[:, output == k].sum(axis=1)
        offset = rows.offset if rows.offset.size else None
        score = ensemble.add_leaf_values(rows.leaf, offset=offset)
        assert ensemble.loss is not None
        gradient, _ = ensemble.loss.derivatives(rows.y, score)
        return np.asarray((change * gradient).sum(axis=1))

    @property
    def _is_plain(self) -> bool:
        return not (self.is_carried or self.by_target or self._is_full)

    @property
    def _is_full(self) -> bool:
        return self.ensemble.leaf_rule.kind == "full newton"


class FactorRun(NamedTuple):
    """The factors of a run of train rows, on the device of the rows.

    Attributes
    ----------
    first : int
        First row of the run.
    factor : array of float64, shape (n_run, n_trees * leaf_width)
        Their factors.
    leaf, leaves : array, FlatLeaves
        Leaf ids of the rows, or of a block of them, and the ensemble's leaves.
    place : int
        The first row's column in `leaf`.
    """

    first: int
    factor: Any
    leaf: Any
    leaves: Any
    place: int


def staged_gradients(
    ensemble: TreeEnsemble, rows: StagedRows, device: Device = CPU
) -> RowFactors:
    """Give the rows' own gradients before each tree as row factors."""
    ones = np.ones((ensemble.n_leaves, ensemble.leaf_width), dtype=REAL)
    return RowFactors(ensemble, rows, ones, np.zeros_like(ones), device=device)


class LeafFactors(abc.ABC):
    """What a change of each leaf does to each of several targets."""

    base_factor: NDArray[np.float64]
    base_score_gradient: NDArray[np.float64]

    @property
    def n_queries(self) -> int:
        """Number of targets."""
        return self.base_factor.shape[1]

    @property
    @abc.abstractmethod
    def tiles(self) -> NDArray[np.float64]:
        """The factors for every leaf and target as `contract_dense` reads them."""

    @functools.cached_property
    def single_tiles(self) -> NDArray[np.float32]:
        """The tiles in single precision."""
        tiles = _empty_tiles(self.tiles.shape[1], self.n_queries, np.float32)
        tiles[...] = self.tiles
        return tiles

    def contract(
        self,
        rows: RowFactors,
        first_row: int,
        first_query: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Multiply with row factors and add over trees.

        Parameters
        ----------
        rows : RowFactors
            Train rows.
        first_row : int
            Train row of the first line of `influence`.
        first_query : int
            Column of `influence` for target 0.
        influence : ndarray of float64, shape (n_lines, >= first_query + n_queries)
            Output; the targets' columns are overwritten.
        """
        tiles = self.tiles if rows.precision == "float64" else self.single_tiles
        kernel = rows.device.products.contract_dense
        self._contract_runs(kernel, (tiles,), rows, first_row, first_query, influence)

    def _contract_runs(
        self,
        kernel: Callable[..., None],
        factors: tuple[Any, ...],
        rows: RowFactors,
        first_row: int,
        first_query: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Let a kernel multiply run by run; `factors` is what it reads of leaves."""
        device = rows.device
        held = tuple(device.hold(self, array) for array in factors)
        for run in rows.runs(first_row, first_row + len(influence)):
            line = run.first - first_row

            def write(room: Any, first: int, run: FactorRun = run) -> None:
                kernel(
                    *(run.leaf, run.leaves, run.place, run.factor),
                    *(*held, self.n_queries, first, room),
                )

            part = influence[line : line + len(run.factor)]
            device.write_columns(part, first_query, self.n_queries, write)
        change = self.base_score_gradient[first_row : first_row + len(influence)]
        if len(change):
            home = CPU if isinstance(influence, np.ndarray) else device
            factor = home.hold(self, self.base_factor)
            home.products.add_product(home.put(change), factor, first_query, influence)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseLeafFactors(LeafFactors):
    """Leaf factors of targets that matter in their own leaves alone.

    Parameters
    ----------
    start : ndarray of int64, shape (n_leaves + 1,)
        Where each leaf's targets begin.
    target : ndarray of int32, shape (n_trees * n_queries,)
        Targets, leaf by leaf.
    factor : ndarray of float64, shape (n_trees * n_queries, leaf_width)
        Factor of each.
    base_factor : ndarray of float64, shape (n_outputs, n_queries)
        What a unit more of the base score does to each target.
    base_score_gradient : ndarray of float64, shape (n_train, n_outputs) or \
(0, n_outputs)
        See `DenseLeafFactors`.
    """

    start: NDArray[np.int64]
    target: NDArray[np.int32]
    factor: NDArray[np.float64]
    base_factor: NDArray[np.float64]
    base_score_gradient: NDArray[np.float64]

    @functools.cached_property
    def single(self) -> NDArray[np.float32]:
        """The factors in single precision."""
        return self.factor.astype(np.float32)

    @functools.cached_property
    def prefers_tiles(self) -> bool:
        """Whether so many targets share leaves that products with 0 cost less.

        Train rows are taken to share leaves with the targets as often as those do with
        one another.
        """
        n = np.diff(self.start)
        pairs = len(self.target) * (self.n_queries - 1)
        n_bytes = 8 * n.size * self.factor.shape[1] * self.n_queries
        return bool(
            n_bytes <= _TILE_BYTES and (n * (n - 1)).sum() >= _TILE_SHARE * pairs
        )

    @functools.cached_property
    def tiles(self) -> NDArray[np.float64]:
        """The factors as `contract_dense` reads them, 0 where a target is not."""
        n_leaves, leaf_width = len(self.start) - 1, self.factor.shape[1]
        tiles = _empty_tiles(n_leaves * leaf_width, self.n_queries)
        tiles[...] = 0.0
        tile, place = np.divmod(self.target, tiles.shape[2])
        leaf = np.repeat(np.arange(n_leaves), np.diff(self.start))
        for column in range(leaf_width):
            tiles[tile, leaf * leaf_width + column, place] = self.factor[:, column]
        return tiles

    @classmethod
    def stage(cls, ensemble: TreeEnsemble, queries: StagedRows) -> SparseLeafFactors:
        """Replay the targets: each factor is the gradient before the leaf's tree."""
        shape = (queries.n_rows, ensemble.n_trees, ensemble.leaf_width)
        by_tree = np.empty(shape, dtype=REAL)
        for run in staged_gradients(ensemble, queries).runs(0, shape[0]):
            part = by_tree[run.first : run.first + len(run.factor)]
            part[...] = run.factor.reshape(part.shape)
        none = np.empty((0, ensemble.n_outputs), REAL)
        base_factor = np.zeros((ensemble.n_outputs, queries.n_rows), REAL)
        return cls._group(ensemble, queries, by_tree, none, base_factor)

    @classmethod
    def spread(
        cls,
        ensemble: TreeEnsemble,
        queries: StagedRows,
        slope: NDArray[np.float64],
        base_score_gradient: NDArray[np.float64],
    ) -> SparseLeafFactors:
        """Give each target the same factor in every tree of an output.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        targets : StagedRows
            The targets.
        slope : ndarray of float64, shape (n_queries, n_outputs)
            Their factors.
        base_score_gradient : ndarray of float64, shape (n_train, n_outputs) or \
(0, n_outputs)
            See `DenseLeafFactors`.
        """
        if ensemble.leaf_width > 1:
            shape = (queries.n_rows, ensemble.n_trees, ensemble.leaf_width)
            by_tree = np.broadcast_to(slope[:, np.newaxis], shape)
        else:
            output = np.maximum(ensemble.output, 0) * (ensemble.n_outputs > 1)
            by_tree = slope[:, output, np.newaxis]
        return cls._group(
            ensemble,
            queries,
            by_tree,
            base_score_gradient,
            np.ascontiguousarray(-slope.T),
        )

    @classmethod
    def _group(
        cls,
        ensemble: TreeEnsemble,
        queries: StagedRows,
        by_tree: NDArray[np.float64],
        base_score_gradient: NDArray[np.float64],
        base_factor: NDArray[np.float64],
    ) -> SparseLeafFactors:
        n_trees, n = ensemble.n_trees, queries.n_rows
        start = np.empty(ensemble.n_leaves + 1, dtype=OFFSET)
        target = np.empty(n_trees * n, dtype=NODE)
        products.group_rows_by_leaf(
            queries.leaf, ensemble.leaf_offset, ensemble.row_of_tree, start, target
        )
        tree = np.repeat(np.arange(n_trees), n)
        factor = np.ascontiguousarray(by_tree[target, tree])
        return cls(start, target, factor, base_factor, base_score_gradient)

    def contract(
        self,
        rows: RowFactors,
        first_row: int,
        first_query: int,
        influence: NDArray[np.float64],
    ) -> None:
        """Multiply with row factors and add over trees; see `LeafFactors`."""
        if rows.device.is_cpu and self.prefers_tiles:
            super().contract(rows, first_row, first_query, influence)
            return
        factor = self.factor if rows.precision == "float64" else self.single
        self._contract_runs(
            rows.device.products.contract_sparse,
            (self.start, self.target, factor),
            *(rows, first_row, first_query, influence),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class DenseLeafFactors(LeafFactors):
    """A leaf factor for every leaf and target, and what the base score adds.

    Parameters
    ----------
    factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        What a unit more of a leaf's gradient sum does to each target.
    base_factor : ndarray of float64, shape (n_outputs, n_queries)
        What a unit more of the base score does to each target.
    base_score_gradient : ndarray of float64, shape (n_train, n_outputs) or \
(0, n_outputs)
        Derivative of the base score with respect to the logarithm of each train row's
        weight; empty where the base score is fixed.
    """

    factor: NDArray[np.float64]
    base_factor: NDArray[np.float64]
    base_score_gradient: NDArray[np.float64]

    @functools.cached_property
    def tiles(self) -> NDArray[np.float64]:
        """The factors as `contract_dense` reads them."""
        tiles = _empty_tiles(self.factor[:, :, 0].size, self.n_queries)
        products.tile_factors(self.factor, tiles)
        return tiles

    def contract_sum(self, rows: RowFactors) -> NDArray[np.float64]:
        """Multiply with row factors and add over trees, for the one target there is.

        Returns
        -------
        ndarray of float64, shape (n_train,)
        """
        total = rows.contract(np.ascontiguousarray(self.factor[:, :, 0]))
        if len(self.base_score_gradient):
            total += self.base_score_gradient @ self.base_factor[:, 0]
        return total


def _empty_tiles(n_lines: int, n_queries: int, dtype: type[Any] = REAL) -> NDArray[Any]:
    """Make room for the tiles of some targets."""
    width = next((w for w in LINE_WIDTHS if w >= n_queries), LINE_WIDTHS[-1])
    shape = (max(1, math.ceil(n_queries / width)), n_lines, width)
    room: NDArray[Any] = align(math.prod(shape) * np.dtype(dtype).itemsize // 8)
    return room.view(dtype).reshape(shape)
