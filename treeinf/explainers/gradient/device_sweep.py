"""The reverse sweep on a device of its own: rows that fit stay there, others visit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.kernels.cpu.reverse_sweep import SweepRule, SweepState
from treeinf.kernels.device import Device
from treeinf.kernels.flat import FlatRows
from treeinf.trace import TrainingTrace

__all__ = ["sweep_on_device"]

_WIDTHS = (1, 4, 16)
"""Numbers of targets that kernels are compiled for; fewer are filled up with 0."""


def sweep_on_device(
    trace: TrainingTrace,
    device: Device,
    kind: int,
    leaf_factor: NDArray[np.float64],
    *,
    with_influence: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Push targets from the last iteration to the first.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    device : Device
        Where; not the CPU.
    kind : int
        Bits `CROSSED` and `FULL` of the contraction's `FactorRule`.
    leaf_factor : ndarray of float64, shape (n_leaves, leaf_width, n_queries)
        What each leaf value does to the targets' own scores; changed in place to what a
        unit more of each leaf's gradient sum does to the targets in the end. At most 16
        targets.
    with_influence : bool
        Add up the rows' influence on the way.

    Returns
    -------
    base_pull : ndarray of float64, shape (n_outputs, n_queries)
        What a unit more of all train rows' initial scores does to each target.
    influence : ndarray of float64, shape (n_train, n_queries) or (0, n_queries)

    Notes
    -----
    Nothing but the launches happens on the host, as long as the rows fit. Where they do
    not, each block of them goes there and back once an iteration, with the leaf ids of
    two iterations; the leaf sums are those of all blocks.
    """
    ensemble, kernels = trace.ensemble, device.reverse_sweep
    n_queries = leaf_factor.shape[2]
    width = next(n for n in _WIDTHS if n >= n_queries)
    shrinkage = ensemble.shrinkage[ensemble.leaf_tree, np.newaxis]
    response, matrix = -shrinkage * trace.leaf_response, trace.inverse_leaf_hessian
    if matrix is not None:
        response = np.broadcast_to(-shrinkage, trace.leaf_response.shape)
    else:
        matrix = np.empty((0, ensemble.leaf_width, ensemble.leaf_width), REAL)
    response = device.put(np.repeat(response.ravel(), width))
    matrix = device.put(matrix)
    factor = np.zeros((*trace.leaf_step.shape, width), REAL)
    factor[:, :, :n_queries] = leaf_factor
    factor = device.put(factor)
    rule = SweepRule(
        kind,
        trace.n_steps,
        device.hold(trace, trace.leaf_step),
        device.hold(ensemble, ensemble.shrinkage),
    )
    blocks = _make_blocks(trace, device, width, with_influence)
    leaves = device.hold(ensemble, ensemble.flat_leaves)
    sums: list[Any] = []
    for iteration in reversed(range(ensemble.n_iterations)):
        kernels.respond_leaves(leaves, iteration, sums, response, matrix, factor)
        sums = [block.sweep(iteration, rule, factor) for block in blocks]
    leaf_factor[:] = device.get(factor)[:, :, :n_queries]
    base_pull = np.sum([block.base_pull() for block in blocks], axis=0)
    influence = np.concatenate([device.get(b.state.influence) for b in blocks])
    return base_pull[:, :n_queries], influence[:, :n_queries]


@dataclasses.dataclass
class _Block:
    """A run of the train rows.

    Parameters
    ----------
    trace : TrainingTrace
        The training.
    device : Device
        Where the sweep is.
    run : slice
        Which rows.
    stays : bool
        These are all rows, and stay on the device.
    state : SweepState
        On the device if it stays there, else not.
    """

    trace: TrainingTrace
    device: Device
    run: slice
    stays: bool
    state: SweepState
    parts: dict[tuple[int, ...], Any] = dataclasses.field(default_factory=dict)

    def sweep(self, iteration: int, rule: SweepRule, factor: Any) -> Any:
        """Take an iteration back; gives the sums over the leaves before it."""
        ensemble, device = self.trace.ensemble, self.device
        rows, leaves = self._rows(iteration)
        state = self.state if self.stays else device.put(self.state)
        trees = leaves.trees(max(iteration - 1, 0))
        before = int(np.diff(ensemble.leaf_offset[[trees.start, trees.stop]])[0])
        sums = (before if iteration else 0, ensemble.leaf_width, factor.shape[2])
        n_parts = device.reverse_sweep.count_parts(
            self.run.stop - self.run.start, len(trees), int(np.prod(sums))
        )
        shape = (n_parts, *sums)
        if shape not in self.parts:
            self.parts[shape] = device.empty(shape)
        device.reverse_sweep.sweep_iteration(
            rows,
            leaves,
            ensemble.flat_loss,
            rule,
            iteration,
            factor,
            state,
            self.parts[shape],
        )
        if not self.stays:
            self.state = SweepState(*map(device.get, state))
        return self.parts[shape]

    def base_pull(self) -> NDArray[np.float64]:
        """Add up the rows' adjoints."""
        adjoint = self.device.put(self.state.adjoint)
        shape = adjoint.shape[1:]
        flat = adjoint.reshape(len(adjoint), shape[0] * shape[1])
        total = self.device.reverse_sweep.sum_columns(flat)
        return np.asarray(total).reshape(shape)

    def _rows(self, iteration: int) -> tuple[FlatRows, Any]:
        """Return the rows and the leaves on the device."""
        rows, ensemble, device = self.trace.rows, self.trace.ensemble, self.device
        leaves = device.hold(ensemble, ensemble.flat_leaves)
        if self.stays:
            return rows.on(device), leaves
        first = leaves.trees(max(iteration - 1, 0)).start
        lines = ensemble.row_of_tree[first : leaves.trees(iteration).stop]
        known, place = np.unique(lines, return_inverse=True)
        leaf_row = np.zeros_like(ensemble.row_of_tree)
        leaf_row[first : first + len(lines)] = place
        flat = FlatRows(
            leaf=rows.leaf[known, self.run],
            y=rows.y[self.run],
            weight=rows.weight[self.run],
            offset=rows.offset[:0],
        )
        return device.put(flat), leaves.with_rows(leaf_row)


def _make_blocks(
    trace: TrainingTrace, device: Device, n_queries: int, with_influence: bool
) -> list[_Block]:
    """Cut the rows into runs that fit on the device, and start each one's state."""
    n_outputs = trace.ensemble.n_outputs
    n_states = 1 if trace.n_steps == 1 else 2
    numbers = n_outputs * (2 + n_queries * n_states) + n_queries * with_influence
    runs = trace.rows.batches(device, 8 * numbers)
    blocks = []
    for run in runs:
        n = run.stop - run.start
        make = device.zeros if len(runs) == 1 else np.zeros
        shape = (n, n_outputs, n_queries)
        state = SweepState(
            device.copy(device.hold(trace, trace.raw_score))
            if len(runs) == 1
            else trace.raw_score[run].copy(),
            make(shape),
            make(shape if n_states > 1 else (0, *shape[1:])),
            make((n * with_influence, n_queries)),
        )
        blocks.append(_Block(trace, device, run, len(runs) == 1, state))
    return blocks
