"""Reverse sweep on a device: rows that fit stay there, others go in batches."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.kernels.device import CPU, Device
from treeinf.kernels.flat import FlatBags, FlatRows
from treeinf.kernels.formulas.adjoint import SweepRule, SweepState
from treeinf.trace import StagedScores, TrainingTrace

__all__ = ["sweep_on_device"]

_WIDTHS = (1, 4, 16)
"""Numbers of queries that kernels are compiled for; fewer are padded with 0."""


def sweep_on_device(
    trace: TrainingTrace,
    device: Device,
    rule: SweepRule,
    leaf_factor: NDArray[np.float64],
    with_influence: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Back-propagate from the last iteration to the first.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    device : Device
        Not the CPU.
    rule : SweepRule
        How the row factors follow from scores, and leaf values from them.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        See `Adjoint.sweep`. At most 16 queries.
    with_influence : bool
        Sum the rows' influence on the way.

    Returns
    -------
    base_adjoint, influence : ndarray of float64
        See `Adjoint.sweep`.

    Notes
    -----
    As long as the rows fit, the host does nothing but launch kernels. Where they do
    not, each batch of them goes there and back once an iteration, with the leaf ids of
    two iterations; leaf sums are those of all batches.
    """
    ensemble, kernels = trace.ensemble, device.reverse_sweep
    n_queries = leaf_factor.shape[2]
    width = next(n for n in _WIDTHS if n >= n_queries)
    response = device.put(np.repeat(rule.response.ravel(), width))
    rule = SweepRule(*(device.hold(trace, value) for value in rule))
    factor = np.zeros((*trace.leaf_step.shape, width), REAL)
    factor[:, :, :n_queries] = leaf_factor
    factor = device.put(factor)
    batches = _split_rows(trace, device, width, with_influence)
    leaves = device.hold(ensemble, ensemble.flat_leaves)
    stays = len(batches) == 1
    scores = StagedScores(ensemble, trace.rows, device if stays else CPU)
    sums: list[Any] = []
    for first_iteration, staged in scores.segments():
        for stage in reversed(range(len(staged))):
            iteration = first_iteration + stage
            kernels.apply_leaf_response(
                *(leaves, iteration, sums, response, rule.inverse_hessian, factor)
            )
            sums = [b.sweep(iteration, rule, staged[stage], factor) for b in batches]
    leaf_factor[:] = device.get(factor)[:, :, :n_queries]
    base_adjoint = np.sum([batch.base_adjoint() for batch in batches], axis=0)
    influence = np.concatenate([device.get(b.state.influence) for b in batches])
    if with_influence and trace.rows.weight.size:
        influence *= trace.rows.weight[:, np.newaxis]
    return base_adjoint[:, :n_queries], influence[:, :n_queries]


@dataclasses.dataclass
class _RowBatch:
    """A batch of the train rows.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    device : Device
        Where the sweep is.
    rows : slice
        Which rows.
    stays : bool
        These are all rows, and stay on the device.
    state : SweepState
        On the device if it stays there, else on the host.
    """

    trace: TrainingTrace
    device: Device
    rows: slice
    stays: bool
    state: SweepState
    accumulators: dict[tuple[int, ...], Any] = dataclasses.field(default_factory=dict)

    def sweep(
        self, iteration: int, rule: SweepRule, raw_score: Any, factor: Any
    ) -> Any:
        """Sweep over an iteration, and return sums over the leaves before it."""
        ensemble, device = self.trace.ensemble, self.device
        rows, leaves = self._put_rows(iteration)
        state = self.state if self.stays else device.put(self.state)
        trees = leaves.trees(max(iteration - 1, 0))
        n_before = int(np.diff(ensemble.leaf_offset[[trees.start, trees.stop]])[0])
        sums = (n_before if iteration else 0, ensemble.leaf_width, factor.shape[2])
        n_accumulators = device.reverse_sweep.count_batches(
            self.rows.stop - self.rows.start, len(trees), int(np.prod(sums))
        )
        shape = (n_accumulators, *sums)
        if shape not in self.accumulators:
            self.accumulators[shape] = device.empty(shape)
        device.reverse_sweep.sweep_iteration(
            rows,
            leaves,
            ensemble.flat_loss,
            rule,
            iteration,
            raw_score if self.stays else device.put(raw_score[self.rows]),
            factor,
            state,
            self.accumulators[shape],
        )
        if not self.stays:
            self.state = SweepState(*map(device.get, state))
        return self.accumulators[shape]

    def base_adjoint(self) -> NDArray[np.float64]:
        """Sum the rows' adjoints."""
        adjoint = self.device.put(self.state.adjoint)
        shape = adjoint.shape[1:]
        flat = adjoint.reshape(len(adjoint), shape[0] * shape[1])
        total = self.device.reverse_sweep.sum_columns(flat)
        return np.asarray(total).reshape(shape)

    @functools.cached_property
    def _bags(self) -> FlatBags:
        """The bags of these rows, on the device."""
        bags: FlatBags = self.device.put(self.trace.rows.bags.take(self.rows).flat)
        return bags

    def _put_rows(self, iteration: int) -> tuple[FlatRows, Any]:
        """Return the rows and the leaves on the device."""
        rows, ensemble, device = self.trace.rows, self.trace.ensemble, self.device
        leaves = device.hold(ensemble, ensemble.flat_leaves)
        if self.stays:
            return rows.on(device), leaves
        first = leaves.trees(max(iteration - 1, 0)).start
        lines = ensemble.row_of_tree[first : leaves.trees(iteration).stop]
        distinct, line = np.unique(lines, return_inverse=True)
        leaf_row = np.zeros_like(ensemble.row_of_tree)
        leaf_row[first : first + len(lines)] = line
        flat = FlatRows(
            leaf=rows.leaf[distinct, self.rows],
            y=rows.y[self.rows],
            weight=rows.weight[self.rows],
            offset=rows.offset[:0],
            **self._bags._asdict(),
        )
        return device.put(flat), leaves.with_rows(leaf_row)


def _split_rows(
    trace: TrainingTrace, device: Device, n_queries: int, with_influence: bool
) -> list[_RowBatch]:
    """Split the rows into batches that fit on the device, each with its state."""
    n_outputs = trace.ensemble.n_outputs
    n_states = 1 if trace.n_steps == 1 else 2
    numbers = n_outputs * (1 + n_queries * n_states) + n_queries * with_influence
    numbers += n_outputs * StagedScores.count(trace.ensemble.n_iterations)
    slices = trace.rows.batches(device, 8 * numbers)
    stays = len(slices) == 1
    make = device.zeros if stays else np.zeros
    batches = []
    for rows in slices:
        n = rows.stop - rows.start
        shape = (n, n_outputs, n_queries)
        state = SweepState(
            make(shape),
            make(shape if n_states > 1 else (0, *shape[1:])),
            make((n * with_influence, n_queries)),
        )
        batches.append(_RowBatch(trace, device, rows, stays, state))
    return batches
