"""Rows routed through an ensemble, and the replay of boosting over them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import COUNT, REAL
from treeinf.ensemble import InputRows, TreeEnsemble
from treeinf.ensemble.bags import Bags
from treeinf.ensemble.routing import find_leaves
from treeinf.kernels.cpu import replay as kernels
from treeinf.kernels.cpu import routing as routing_kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import FlatRows
from treeinf.pickling import DropsCached
from treeinf.validation import check_targets, check_weights, open_rows

__all__ = ["StagedRows", "count_rows", "sum_derivatives"]

_ACCUMULATOR_BYTES = 256 * 2**20
_ALL_ROWS = Bags.all_rows(0)


@dataclasses.dataclass(frozen=True, eq=False)
class StagedRows(DropsCached):
    """Rows as the kernels read them: their leaves, targets, weights and initial scores.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaf of each row within each tree; one row for each number in the ensemble's
        `leaf_row`, where trees share leaf ids.
    y : ndarray of float64, shape (n_rows,)
        Targets as `Loss.transform_target` returns them.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Weight of each row's loss; empty if all are 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Initial score of each row, on top of the base score; empty if all are 0.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for rows of equal values and target.
    bags : Bags, optional
        The rows that each tree was fitted on; by default all.
    table_start : ndarray of int64, shape (n_tables + 1,) or (0,), optional
        First row of each table, where training was continued on others; by default
        there is one.
    """

    leaf: NDArray[np.unsignedinteger[Any]]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    fingerprint: NDArray[np.uint64]
    bags: Bags = _ALL_ROWS
    table_start: NDArray[np.int64] = dataclasses.field(
        default_factory=lambda: np.empty(0, np.int64)
    )

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.leaf.shape[1]

    @property
    def after_first_table(self) -> NDArray[np.bool_]:
        """Rows that training was continued on, without a part in the base score.

        Shape (n_rows,), or (0,) where there is one table.
        """
        if not self.table_start.size:
            return np.empty(0, np.bool_)
        return np.asarray(np.arange(self.n_rows) >= self.table_start[1])

    @classmethod
    def read(
        cls,
        ensemble: TreeEnsemble,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        init_score: Any = None,
        device: Device = CPU,
    ) -> StagedRows:
        """Check rows, targets and weights against an ensemble and route the rows.

        Parameters
        ----------
        ensemble : TreeEnsemble
            The model.
        X : array-like, frame or InputRows, shape (n_rows, n_features)
            Rows.
        y : array-like, shape (n_rows,)
            Targets, as the model was trained on.
        sample_weight : array-like, shape (n_rows,), optional
            Weights.
        init_score : array-like, shape (n_rows,) or (n_rows, n_outputs), optional
            Initial score of each row.
        device : Device, default=CPU
            Where they are routed.

        Raises
        ------
        ValueError, TypeError
            If they do not fit the ensemble.
        """
        if not isinstance(X, InputRows):
            X = open_rows(X, y=y, sample_weight=sample_weight, init_score=init_score)
        input_rows = ensemble.read_rows(X)
        n_rows = len(input_rows)
        if n_rows == 0:
            raise ValueError("X has no rows.")
        target = check_targets(
            y,
            n_rows,
            loss=ensemble.loss,
            classes=ensemble.classes,
            single_precision=ensemble.training.single_precision
            or ensemble.training.single_inputs,
        )
        weight = check_weights(sample_weight, n_rows)
        offset = ensemble.check_init_score(init_score, n_rows)
        fingerprint = np.empty(n_rows, np.uint64)
        routing_kernels.fingerprint_rows(input_rows.values, target, fingerprint)
        return cls(
            leaf=find_leaves(ensemble, input_rows, device),
            y=target,
            weight=np.empty(0, REAL) if weight is None else weight,
            offset=np.empty((0, ensemble.n_outputs), REAL)
            if offset is None
            else offset,
            fingerprint=fingerprint,
            table_start=input_rows.table_start,
        )

    @functools.cached_property
    def flat(self) -> FlatRows:
        """The arrays that kernels read."""
        return FlatRows(self.leaf, self.y, self.weight, self.offset, *self.bags.flat)

    def on(self, device: Device) -> FlatRows:
        """Return the arrays that kernels read, on a device.

        They are copied there once, and kept as long as the rows.
        """
        flat: FlatRows = device.hold(self, self.flat)
        return flat

    def batches(
        self,
        device: Device,
        row_bytes: int,
        fixed_bytes: int = 0,
        within: slice | None = None,
    ) -> list[slice]:
        """Split the rows into batches that fit on a device.

        Parameters
        ----------
        device : Device
            The device.
        row_bytes, fixed_bytes : int
            Memory needed for each row, besides `flat`, and independently of the rows.
        within : slice, optional
            Rows to cover; by default all.

        Returns
        -------
        list of slice
            One batch of all rows if they fit, whatever `within` is.
        """
        within = within or slice(0, self.n_rows)
        if not device.holds(self, self.flat):
            row_bytes += self.leaf.itemsize * len(self.leaf)
            row_bytes += 8 * (2 + self.offset.shape[1])
            row_bytes += -(-len(self.bags.bits) // 8) + 4 * len(self.bags.factor)
        size = device.rows_at_once(self.n_rows, row_bytes, fixed_bytes)
        if size == self.n_rows:
            return [slice(0, self.n_rows)]
        return [
            slice(begin, min(begin + size, within.stop))
            for begin in range(within.start, within.stop, size)
        ]

    @property
    def as_queries(self) -> StagedRows:
        """The rows without their bags: no tree was fitted on a query."""
        return dataclasses.replace(self, bags=_ALL_ROWS)

    def take(self, batch: slice) -> StagedRows:
        """Return a range of the rows; `self` if it covers all of them."""
        if batch == slice(0, self.n_rows):
            return self
        return StagedRows(
            leaf=np.ascontiguousarray(self.leaf[:, batch]),
            y=self.y[batch],
            weight=self.weight[batch] if self.weight.size else self.weight,
            offset=self.offset[batch] if self.offset.size else self.offset,
            fingerprint=self.fingerprint[batch],
            bags=self.bags.take(batch),
        )


def sum_derivatives(
    ensemble: TreeEnsemble, rows: StagedRows, device: Device = CPU
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Replay boosting over rows and sum the staged derivatives in each leaf.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, with a differentiable loss.
    rows : StagedRows
        Rows.
    device : Device, default=CPU
        Device to use.

    Returns
    -------
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Weighted sums over the rows in each leaf.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores after the last tree.

    Notes
    -----
    The number of accumulators depends on the sizes alone, so that the sums are bitwise
    reproducible for any number of threads.
    """
    sum_bytes = ensemble.leaf_value.size * 2 * np.dtype(REAL).itemsize
    most_accumulators = min(device.most_batches, _ACCUMULATOR_BYTES // sum_bytes)
    totals = np.zeros((2, *ensemble.leaf_value.shape), REAL)
    raw_score = np.empty((rows.n_rows, ensemble.n_outputs), REAL)
    for batch in rows.batches(device, 24 * ensemble.n_outputs, _ACCUMULATOR_BYTES):
        batch_rows = rows.take(batch)
        needed_accumulators = -(-batch_rows.n_rows // kernels.TILE_ROWS)
        shape = max(1, min(most_accumulators, needed_accumulators)), *totals[0].shape
        accumulators = [device.zeros(shape) for _ in totals]
        replay = functools.partial(
            device.replay.replay,
            batch_rows.on(device),
            device.hold(ensemble, ensemble.flat_leaves),
            ensemble.flat_loss,
        )

        def write(
            score: Any, _: int, replay: Any = replay, sums: Any = accumulators
        ) -> None:
            replay(score, *sums)

        device.write_columns(raw_score[batch], 0, ensemble.n_outputs, write)
        for total, accumulator in zip(totals, accumulators, strict=True):
            total += device.get(accumulator).sum(axis=0)
    return totals[0], totals[1], raw_score


def count_rows(ensemble: TreeEnsemble, rows: StagedRows) -> NDArray[np.int64]:
    """Count the rows of each tree's bag in its leaves, as the library does.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    rows : StagedRows
        Rows.

    Returns
    -------
    ndarray of int64, shape (n_leaves,)
    """
    bags = rows.bags
    if rows.weight.size and not ensemble.training.counts_zero_weights:
        bags = bags.keep(rows.weight > 0.0, ensemble.n_trees)
    count = np.zeros(ensemble.n_leaves, COUNT)
    kernels.count_leaf_rows(
        rows.leaf, ensemble.leaf_offset, ensemble.row_of_tree, bags.flat, count
    )
    return count
