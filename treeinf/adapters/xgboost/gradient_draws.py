"""Rows drawn by the size of their gradients (``sampling_method=gradient_based``).

R. Ou, "Out-of-core GPU gradient boosting", 2020 (arXiv:2005.09148): minimal variance
sampling (B. Ibragimov, G. Gusev, NeurIPS 2019) with probabilities that are capped at 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.leaf_sums import LeafSums
from treeinf.adapters.xgboost.row_draws import row_powers

__all__ = ["GradientDraws"]

_REGULARISATION = np.float32(0.1)
_LOW_63 = np.uint64(2**63 - 1)
_ONE = np.float32(1.0)
_LARGEST_DRAW = np.nextafter(_ONE, np.float32(0.0))
_SUM_ERROR = 1e-4


class GradientDraws:
    """Rows drawn with probabilities that grow with their gradients.

    Parameters
    ----------
    n_rows : int
        Train rows.
    subsample : float
        Share of the rows.
    n_threads : int or None
        Threads of the training, where rows that are sure to be in or out take no draw:
        those of XGBoost before 3.4. None where all rows take one.
    """

    outputs_per_bag = 1
    needs_gradients = True
    most_seeds = 1024

    def __init__(self, n_rows: int, subsample: float, n_threads: int | None) -> None:
        self.n_rows = n_rows
        self.subsample = float(subsample)
        self.n_threads = n_threads
        self._power = row_powers(np.arange(n_rows))
        self._is_staged = False

    def stage(
        self, gradient: NDArray[np.float64], hessian: NDArray[np.float64]
    ) -> None:
        """See `Draws`; probabilities are computed when they are asked for."""
        self._gradient, self._hessian = gradient, hessian
        self._is_staged = False

    def _compute_probabilities(self) -> None:
        """Compute each row's probability, and the place of its draw."""
        self._is_staged = True
        g, h = self._gradient.astype(np.float32), self._hessian.astype(np.float32)
        size = np.zeros(self.n_rows, np.float32)
        for column in range(g.shape[1]):
            size += g[:, column] ** 2 + _REGULARISATION * h[:, column] ** 2
        size = np.sqrt(size)
        threshold = max(
            _find_threshold(size, np.float32(self.subsample)), np.float32(1e-6)
        )
        self._probability = size / threshold
        self._is_sure = self._probability >= _ONE
        self._is_drawn = ~self._is_sure & (size > 0.0)
        self._place = np.arange(self.n_rows)
        if self.n_threads is not None:
            share = self.n_rows // self.n_threads
            for thread in range(self.n_threads):
                begin, end = thread * share, (thread + 1) * share
                if thread == self.n_threads - 1:
                    end = self.n_rows
                earlier = np.cumsum(self._is_drawn[begin:end]) - 1
                self._place[begin:end] = begin + np.maximum(earlier, 0)

    def screen(self, outputs: NDArray[np.uint64], sums: LeafSums) -> NDArray[np.bool_]:
        """See `Draws`."""
        factor = self._factors(outputs[:, np.newaxis], sums.row)
        return sums.fit(factor.astype(np.float64), tolerance=_SUM_ERROR)

    def draw(self, outputs: NDArray[np.uint64]) -> NDArray[np.float32]:
        """See `Draws`."""
        return self._factors(outputs[0], np.arange(self.n_rows))

    def _factors(
        self, start: NDArray[np.uint64] | np.uint64, row: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        if not self._is_staged:
            self._compute_probabilities()
        state = (self._power[self._place[row]] * start & _LOW_63) - np.uint64(1)
        draws = state.astype(np.float32) / np.float32(2.0**63)
        draws = np.minimum(draws, _LARGEST_DRAW)
        probability = self._probability[row]
        is_drawn = self._is_drawn[row] & (draws <= probability)
        inverse = _ONE / np.where(self._is_drawn[row], probability, _ONE)
        return np.where(
            self._is_sure[row], _ONE, np.where(is_drawn, inverse, 0)
        ).astype(np.float32)


def _find_threshold(size: NDArray[np.float32], subsample: np.float32) -> np.float32:
    """Return the size from which rows are sure, in the library's single precision.

    The sum of ``min(size / threshold, 1)`` over the rows is their wanted number.
    """
    n_rows = len(size)
    n_wanted = np.float32(int(np.float32(n_rows) * subsample))
    largest = np.finfo(np.float32).max
    ordered = np.append(np.sort(size), largest)
    sums = np.cumsum(ordered[:-1], dtype=np.float32)
    begin, end = 0, n_rows - 1
    while begin <= end:
        middle = begin + (end - begin) // 2
        n_left = n_wanted - np.float32(n_rows - middle - 1)
        if n_left <= 0:
            begin = middle + 1
            continue
        threshold = sums[middle] / n_left
        if ordered[middle] < threshold <= ordered[middle + 1]:
            return threshold
        if threshold <= ordered[middle]:
            end = middle - 1
        else:
            begin = middle + 1
    return sums[-1] / n_wanted if n_wanted else largest
