"""Rows in an ensemble's own terms, and boosting replayed over them."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.cpu import replay as kernels
from treeinf.kernels.cpu import routing as routing_kernels
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import FlatRows
from treeinf.validation import check_targets, check_weights

__all__ = ["StagedRows", "sum_derivatives"]

_PART_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class StagedRows:
    """Rows in an ensemble's own terms, ready for the kernels.

    Parameters
    ----------
    leaf : ndarray of unsigned integer, shape (n_trees, n_rows)
        Leaf of each row within each tree; one line for each number in the ensemble's
        `leaf_row`, where trees share their leaf ids.
    y : ndarray of float64, shape (n_rows,)
        Targets as the loss compares them.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Weight of each row's loss; empty for 1.
    offset : ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Each row's own initial score, on top of the base score; empty for 0.
    fingerprint : ndarray of uint64, shape (n_rows,)
        Equal for rows of equal values and target.
    """

    leaf: NDArray[np.unsignedinteger[Any]]
    y: NDArray[np.float64]
    weight: NDArray[np.float64]
    offset: NDArray[np.float64]
    fingerprint: NDArray[np.uint64]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.leaf.shape[1]

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
            Each row's own initial score.
        device : Device, default=CPU
            Where they are routed.

        Raises
        ------
        ValueError, TypeError
            If they do not fit the ensemble.
        """
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
            leaf=ensemble.find_leaves(input_rows, device),
            y=target,
            weight=np.empty(0, REAL) if weight is None else weight,
            offset=np.empty((0, ensemble.n_outputs), REAL)
            if offset is None
            else offset,
            fingerprint=fingerprint,
        )

    @functools.cached_property
    def flat(self) -> FlatRows:
        """The arrays that kernels read."""
        return FlatRows(self.leaf, self.y, self.weight, self.offset)

    def on(self, device: Device) -> FlatRows:
        """Return the arrays that kernels read, on a device.

        They are moved there once, and stay as long as the rows.
        """
        flat: FlatRows = device.hold(self, self.flat)
        return flat

    def runs(
        self,
        device: Device,
        row_bytes: int,
        fixed_bytes: int = 0,
        wanted: slice | None = None,
    ) -> list[slice]:
        """Cut the rows into runs that fit on a device; one if all do.

        Parameters
        ----------
        device : Device
            The device.
        row_bytes, fixed_bytes : int
            What the work takes for each row, besides `flat`, and in all.
        wanted : slice, optional
            The runs are to cover these rows alone.

        Returns
        -------
        list of slice
            All rows if they fit, whatever is wanted.
        """
        wanted = wanted or slice(0, self.n_rows)
        if not device.holds(self, self.flat):
            row_bytes += self.leaf.itemsize * len(self.leaf)
            row_bytes += 8 * (2 + self.offset.shape[1])
        size = device.rows_at_once(self.n_rows, row_bytes, fixed_bytes)
        if size == self.n_rows:
            return [slice(0, self.n_rows)]
        return [
            slice(begin, min(begin + size, wanted.stop))
            for begin in range(wanted.start, wanted.stop, size)
        ]

    def block(self, run: slice) -> StagedRows:
        """Give a run of the rows; these themselves if it is all of them."""
        return self if run == slice(0, self.n_rows) else self.take(run)

    def take(self, part: slice) -> StagedRows:
        """Give a run of the rows."""
        return StagedRows(
            leaf=np.ascontiguousarray(self.leaf[:, part]),
            y=self.y[part],
            weight=self.weight[part] if self.weight.size else self.weight,
            offset=self.offset[part] if self.offset.size else self.offset,
            fingerprint=self.fingerprint[part],
        )


def sum_derivatives(
    ensemble: TreeEnsemble, rows: StagedRows, device: Device = CPU
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Replay boosting over rows and add up each leaf's staged derivatives.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, with a differentiable loss.
    rows : StagedRows
        Rows.
    device : Device, default=CPU
        Where it is done.

    Returns
    -------
    leaf_gradient, leaf_hessian : ndarray of float64, shape (n_leaves, leaf_width)
        Weighted sums over the rows in each leaf.
    raw_score : ndarray of float64, shape (n_rows, n_outputs)
        Raw scores after the last tree.

    Notes
    -----
    The rows are cut into a number of parts that depends on the sizes alone, so that the
    sums have the same bits for any number of threads.
    """
    sums = ensemble.leaf_value.size * 2 * np.dtype(REAL).itemsize
    most_parts = min(device.most_parts, _PART_BYTES // sums)
    totals = np.zeros((2, *ensemble.leaf_value.shape), REAL)
    raw_score = np.empty((rows.n_rows, ensemble.n_outputs), REAL)
    for run in rows.runs(device, 24 * ensemble.n_outputs, _PART_BYTES):
        block = rows.block(run)
        n_parts = max(1, min(most_parts, -(-block.n_rows // kernels.BLOCK)))
        parts = [device.zeros((n_parts, *totals[0].shape)) for _ in totals]
        arguments = (
            block.on(device),
            device.hold(ensemble, ensemble.flat_leaves),
            ensemble.flat_loss,
        )

        def write(
            score: Any, _: int, given: Any = arguments, parts: Any = parts
        ) -> None:
            device.replay.replay(*given, score, *parts)

        device.write_columns(raw_score[run], 0, ensemble.n_outputs, write)
        for total, part in zip(totals, parts, strict=True):
            total += device.get(part).sum(axis=0)
    return totals[0], totals[1], raw_score
