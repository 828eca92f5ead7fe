"""Raw scores before each iteration, for walks from the last iteration to the first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from treeinf.ensemble import TreeEnsemble
from treeinf.kernels.device import CPU, Device
from treeinf.trace.rows import StagedRows

__all__ = ["StagedScores"]


class StagedScores:
    """Raw scores before each iteration, replayed from checkpoints.

    To subtract trees from later scores would lose digits wherever those are larger: all
    of them where boosting diverges. Replayed, they are bitwise those of every forward
    walk.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model, its base score kept apart.
    rows : StagedRows
        Rows.
    device : Device, default=CPU
        Where they are replayed.

    Notes
    -----
    For T iterations there are sqrt(T) checkpoints and as many scores between two of
    them at a time: memory 2 sqrt(T) scores a row, time two passes over the trees.
    """

    def __init__(
        self, ensemble: TreeEnsemble, rows: StagedRows, device: Device = CPU
    ) -> None:
        self._n_iterations = ensemble.n_iterations
        self._step = math.isqrt(self._n_iterations - 1) + 1
        self._device = device
        self._leaf = rows.on(device).leaf
        self._leaves = device.hold(ensemble, ensemble.flat_leaves)
        shape = rows.n_rows, ensemble.n_outputs
        start = device.empty(shape)
        device.replay.sum_leaf_values(
            self._leaf, self._leaves, rows.on(device).offset, 0, start
        )
        n_checkpoints = -(-self._n_iterations // self._step)
        self._checkpoints = device.empty((n_checkpoints, *shape))
        self._stage(0, self._step, start, self._checkpoints)

    @staticmethod
    def count(n_iterations: int) -> int:
        """Return how many scores of each row and output are held at most."""
        return 2 * math.isqrt(n_iterations - 1) + 3

    def segments(self) -> Iterator[tuple[int, Any]]:
        """Yield segments of iterations, from the last to the first.

        Yields
        ------
        first_iteration : int
            First iteration of the segment.
        staged : array of float64, shape (n_iterations_of_segment, n_rows, n_outputs)
            Raw scores before each, on the device; overwritten by the next.
        """
        buffer = self._device.empty((self._step, *self._checkpoints.shape[1:]))
        for number in reversed(range(len(self._checkpoints))):
            first = number * self._step
            staged = buffer[: min(self._step, self._n_iterations - first)]
            self._stage(first, 1, self._checkpoints[number], staged)
            yield first, staged

    def _stage(self, first: int, step: int, start: Any, staged: Any) -> None:
        self._device.replay.stage_scores(
            self._leaf, self._leaves, first, step, start, staged
        )
