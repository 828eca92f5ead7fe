"""Estimate which targets of a regression are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treeinf.cleaning.scores.noise_rate import OutOfBag, estimate_target_noise

__all__ = ["doubt_targets"]

_LEAST_RATE = 0.02
_FREEDOM = 8.0
_NORMAL_MAD = 1.4826
_KERNEL_ROWS = 1_000
_N_GRID = 512
_TINY = 1e-300


def doubt_targets(
    target: NDArray[np.float64], prediction: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Return the probability that each target is wrong.

    Parameters
    ----------
    target : ndarray of float64, shape (n_rows,)
        Targets, some of which may be wrong.
    prediction : ndarray of float64, shape (n_rows,)
        Out-of-bag predictions; where missing, nothing is doubted.
    seed : int
        Seed of the choice of rows for the noise rate and the density.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        In [0, 1].

    Notes
    -----
    Targets are a mixture of two: those that are not wrong have Student's t density with
    8 degrees of freedom around the prediction, of the residuals' median absolute
    deviation; wrong ones that of the targets of all rows, by a Gaussian kernel, or an
    equal one over their range where that is larger: they may be other rows' targets, or
    far from all. The share of wrong ones is estimated, see `estimate_target_noise`, and
    at least 2 %.
    """
    doubt = np.zeros(len(target))
    predicted = np.flatnonzero(np.isfinite(prediction))
    y, residual = target[predicted], target[predicted] - prediction[predicted]
    scale = _NORMAL_MAD * float(np.median(np.abs(residual))) if len(predicted) else 0.0
    if scale == 0.0 or np.ptp(y) == 0.0:
        return doubt
    noise = estimate_target_noise(
        OutOfBag(y, prediction[predicted]), confidence=0.9, seed=seed
    )
    rate = max(_LEAST_RATE, 0.0 if noise is None else noise.rate)
    drawn = np.random.default_rng(seed).permutation(y)[:_KERNEL_ROWS]
    if np.ptp(drawn) == 0.0:
        return doubt
    grid = np.linspace(y.min(), y.max(), _N_GRID)
    of_any = np.interp(y, grid, stats.gaussian_kde(drawn)(grid))
    of_any = np.maximum(of_any, 1.0 / np.ptp(y))
    right = (1.0 - rate) * stats.t.pdf(residual / scale, _FREEDOM) / scale
    wrong = rate * of_any
    doubt[predicted] = wrong / np.maximum(right + wrong, _TINY)
    return doubt
