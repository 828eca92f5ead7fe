"""How many rows look wrong: a share of the rows, and its interval.

For classification, the share of labels that look replaced by random others: the share
of noise that, mixed into the softened probabilities of a model that has not seen the
rows, makes them most likely. For regression, the share of targets further from the
prediction of such a model than 3.5 of the usual spreads (1.4826 times the median
absolute residual). That is too low where many targets are wrong, for these widen the
spread, and knows nothing of targets that are wrong by little.

Where clean rows are at hand they say more: how much more rarely the same models are
right on the noisy rows than on the clean ones, and how much oftener targets are far
from their predictions, in the spreads of the clean rows.

No interval is narrower than the exact one for as many wrong rows of as many rows, were
each wrong row plain to see. So an estimate of 0 has an upper end, about 3 in the number
of rows.

References
----------
G. Patrini et al., "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach", CVPR 2017, section 3. B. Iglewicz, D. C. Hoaglin, "How to Detect and Handle
Outliers", 1993, section 3.2 (the 3.5). E. B. Wilson, "Probable Inference, the Law of
Succession, and Statistical Inference", JASA 22 (1927). C. J. Clopper, E. S. Pearson,
"The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
Biometrika 26 (1934).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treeinf.cleaning.calibration import TINY, calibration_grid, grid_losses

__all__ = [
    "BadShare",
    "compare_labels",
    "compare_targets",
    "estimate_bad_labels",
    "estimate_bad_targets",
]

_OUTLYING = 3.5
_NORMAL_MAD = 1.4826
_N_RESAMPLES = 200
_CHUNK = 4096


@dataclasses.dataclass(frozen=True)
class BadShare:
    """An estimated share of bad rows.

    Parameters
    ----------
    share : float
        The estimate, in [0, 1].
    low, high : float
        Ends of its interval.
    """

    share: float
    low: float
    high: float


def estimate_bad_labels(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    place: NDArray[np.int64],
    *,
    confidence: float,
    seed: int,
) -> BadShare:
    """Estimate the share of wrong labels from a cleaned model's probabilities.

    Parameters
    ----------
    code : ndarray of int64, shape (n_entries,)
        Class numbers of rows that were not cleaned.
    probability : ndarray of float64, shape (n_entries, n_classes)
        Probabilities by models that have not seen them.
    place : ndarray of int64, shape (n_entries,)
        Which row each entry is of: a row may stand in several.
    confidence : float
        Of the interval, in (0, 1).
    seed : int
        Seed of the resampling.

    Returns
    -------
    BadShare
        The interval is of 200 resamples of the rows (each row weighed by a Poisson
        number, all its entries alike), the models staying as they are: it does not know
        how much other models would differ.

    Notes
    -----
    O(n_entries) times the grid's 276 points; the resamples are one matrix product.
    """
    n_classes = probability.shape[1]
    _, group = np.unique(place, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(0, group.max() + 1, _CHUNK))
    exponents, noise = calibration_grid()
    sums = np.zeros((_N_RESAMPLES + 1, len(exponents) * len(noise)))
    rng = np.random.default_rng(seed)
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        entries = order[start:stop]
        own = group[entries] - group[entries[0]]
        weight = rng.poisson(1.0, (_N_RESAMPLES, int(own[-1]) + 1))
        weights = np.concatenate([np.ones((1, len(own))), weight[:, own]])
        losses = grid_losses(code[entries], np.nan_to_num(probability[entries]))
        sums += weights @ losses.reshape(-1, len(entries)).T
    best = noise[sums.argmin(axis=1) % len(noise)] * (n_classes - 1) / n_classes
    tail = 0.5 * (1.0 - confidence)
    low, high = np.quantile(best[1:], [tail, 1.0 - tail])
    return _widen(
        float(best[0]), float(low), float(high), int(group.max()) + 1, confidence
    )


def estimate_bad_targets(
    residual: NDArray[np.float64], place: NDArray[np.int64], *, confidence: float
) -> BadShare:
    """Estimate the share of outlying targets from a cleaned model's residuals.

    Parameters
    ----------
    residual : ndarray of float64, shape (n_entries,)
        Target minus prediction, of rows that were not cleaned.
    place : ndarray of int64, shape (n_entries,)
        Which row each entry is of.
    confidence : float
        Of Wilson's interval, in (0, 1).
    """
    size = np.abs(residual)
    spread = _NORMAL_MAD * float(np.median(size))
    is_out = size > max(_OUTLYING * spread, TINY)
    _, group = np.unique(place, return_inverse=True)
    share = float((np.bincount(group, is_out) / np.bincount(group)).mean())
    n, z = int(group.max()) + 1, float(stats.norm.ppf(0.5 + confidence / 2.0))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return _widen(share, float(middle - half), float(middle + half), n, confidence)


def compare_labels(
    is_right: NDArray[np.bool_],
    is_right_on_clean: NDArray[np.bool_],
    *,
    n_classes: int,
    confidence: float,
) -> BadShare:
    """Estimate the share of wrong labels by how rarely a model is right on them.

    Parameters
    ----------
    is_right : ndarray of bool, shape (n_rows,)
        Whether a model that has not seen a noisy row predicts its label.
    is_right_on_clean : ndarray of bool, shape (n_clean,)
        The same of clean rows.
    n_classes : int
        Number of classes.
    confidence : float
        Of the interval, in (0, 1), by the normal approximation.

    Notes
    -----
    If a share e of the labels is replaced by any other, all alike, a model that is
    right on a share c of clean rows is right on (1 - e) c + e (1 - c) / (n_classes - 1)
    of the noisy ones; solved for e. Assumes that both are drawn alike. A model that is
    no better than chance knows nothing: the interval is 0 to 1.
    """
    right, clean = float(is_right.mean()), float(is_right_on_clean.mean())
    gap = clean - (1.0 - clean) / (n_classes - 1)
    if gap <= 0.0:
        return BadShare(0.0, 0.0, 1.0)
    share = (clean - right) / gap
    slope = (1.0 - share * n_classes / (n_classes - 1)) / gap
    variance = right * (1.0 - right) / len(is_right) / gap**2
    variance += slope**2 * clean * (1.0 - clean) / len(is_right_on_clean)
    return _around(share, variance, len(is_right), confidence)


def compare_targets(
    residual: NDArray[np.float64],
    residual_on_clean: NDArray[np.float64],
    *,
    confidence: float,
) -> BadShare:
    """Estimate the share of outlying targets by the residuals of clean rows.

    Parameters
    ----------
    residual, residual_on_clean : ndarray of float64
        Target minus prediction, of noisy rows and of clean ones that the model has not
        seen.
    confidence : float
        Of the interval, in (0, 1), by the normal approximation.
    """
    clean = np.abs(residual_on_clean)
    limit = max(_OUTLYING * _NORMAL_MAD * float(np.median(clean)), TINY)
    out = float((np.abs(residual) > limit).mean())
    out_of_clean = float((clean > limit).mean())
    variance = out * (1.0 - out) / len(residual)
    variance += out_of_clean * (1.0 - out_of_clean) / len(clean)
    return _around(out - out_of_clean, variance, len(residual), confidence)


def _around(share: float, variance: float, n_rows: int, confidence: float) -> BadShare:
    half = float(stats.norm.ppf(0.5 + confidence / 2.0)) * np.sqrt(variance)
    share, low, high = np.clip([share, share - half, share + half], 0.0, 1.0)
    return _widen(float(share), float(low), float(high), n_rows, confidence)


def _widen(
    share: float, low: float, high: float, n_rows: int, confidence: float
) -> BadShare:
    """Make an interval at least as wide as the exact one of a share that is seen."""
    count, tail = share * n_rows, 0.5 * (1.0 - confidence)
    least = stats.beta.ppf(tail, count, n_rows - count + 1.0) if count > 0.0 else 0.0
    most = (
        stats.beta.ppf(1.0 - tail, count + 1.0, n_rows - count)
        if count < n_rows
        else 1.0
    )
    return BadShare(
        share, max(0.0, min(low, float(least))), min(1.0, max(high, float(most)))
    )
