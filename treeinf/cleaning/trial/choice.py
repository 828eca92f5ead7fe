"""Choose a candidate, and decide whether to act on it, from losses alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from treeinf.cleaning.trial.comparison import paired_interval
from treeinf.cleaning.trial.judging import Evaluation
from treeinf.cleaning.trial.losses import RowLosses

__all__ = ["ACCEPTED", "choose_subset", "choose_treatment", "decide"]

_TIED = 2.0
_CERTAIN_NOISE = 0.02

ACCEPTED = ("helped", "noise is certain", "unguarded")
"""Verdicts after which rows are cleaned."""


def choose_treatment(losses: RowLosses, least_noise: float = 0.0) -> int:
    """Choose the mildest treatment whose gain is as good as the best and beyond noise.

    Parameters
    ----------
    losses : RowLosses
        Of the uncleaned model, then of the treatments from the mildest up.
    least_noise : float, default=0.0
        Lower end of the noise rate's interval.

    Returns
    -------
    int
        Number of the candidate; 0, the uncleaned model, where none gains more than its
        standard error. Where wrong labels are certain, some treatment is chosen unless
        all are worse.

    Notes
    -----
    Considered are the candidates whose guard loss cannot be told from the best. On few
    rows that is most of them, and the selection loss, which tells more of them apart,
    decides; on many rows it keeps the selection loss from cutting away the rows that
    are right but hard. Candidates whose primary score is worse than the uncleaned
    model's by more than two standard errors are not considered. Among them, the mildest
    is taken whose primary score is within one standard error of the best; where wrong
    labels are certain, whose gain in the selection loss is.
    """
    if losses.guard_loss.shape[1] < 2:
        return 0
    behind = losses.primary_loss - losses.primary_loss[0]
    is_vetoed = behind.mean(axis=1) > _TIED * _standard_error(behind)
    best = int(np.where(is_vetoed, np.inf, losses.guard_loss.mean(axis=1)).argmin())
    behind = losses.guard_loss - losses.guard_loss[best]
    is_tied = behind.mean(axis=1) <= _TIED * _standard_error(behind)
    difference = losses.selection_loss[0] - losses.selection_loss
    gain, error = difference.mean(axis=1), _standard_error(difference)
    is_certain = least_noise >= _CERTAIN_NOISE
    required = np.full_like(error, -np.inf) if is_certain else error.copy()
    required[0] = np.inf
    is_open = is_tied & (gain > required) & ~is_vetoed
    if not is_open.any():
        return 0
    if not is_certain:
        primary = losses.primary_loss
        best = int(np.where(is_open, primary.mean(axis=1), np.inf).argmin())
        behind = primary - primary[best]
        is_tied = behind.mean(axis=1) <= _standard_error(behind)
        return int((is_open & is_tied).argmax())
    most = int(np.where(is_open, gain, -np.inf).argmax())
    return int((is_open & (gain >= gain[most] - error[most])).argmax())


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the mean of each line."""
    errors: NDArray[np.float64] = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return errors


def choose_subset(
    subsets: Sequence[tuple[str, float]],
    losses: RowLosses,
    *,
    strategies: Sequence[str],
    shares: Sequence[float],
    is_free: bool,
    tolerance: float,
    confidence: float,
) -> int:
    """Choose the smallest subset whose loss is within the tolerance.

    Parameters
    ----------
    subsets : sequence of (str, float)
        Strategy and share of the subsets tried, all rows first.
    losses : RowLosses
        Their losses.
    strategies : sequence of str
        Strategies to choose from.
    shares : sequence of float
        Shares to choose from.
    is_free : bool
        Require a loss within the tolerance; else take the smallest in any case.
    tolerance : float
        Accepted increase of the mean loss, relative to that of all rows.
    confidence : float
        Confidence level of the interval that must not exceed it.

    Returns
    -------
    int
        Number of the subset; 0, all rows, if none is within the tolerance.
    """
    allowed = tolerance * float(losses.guard_loss[0].mean())
    for share in sorted(shares):
        numbers = [
            number
            for number, (strategy, size) in enumerate(subsets)
            if size == share and strategy in strategies
        ]
        best = min(numbers, key=lambda number: float(losses.guard_loss[number].mean()))
        if not is_free:
            return best
        _, low, _ = paired_interval(
            losses.guard_loss[0] - losses.guard_loss[best], confidence
        )
        if low >= -allowed:
            return best
    return 0


def decide(
    chosen: Evaluation | None,
    n_changed: int,
    *,
    guard: bool,
    confidence: float,
    least_noise: float = 0.0,
) -> str:
    """Decide whether a cleaning is accepted.

    Parameters
    ----------
    chosen : Evaluation or None
        The uncleaned and the chosen model on the guard sets; None if nothing was tried.
    n_changed : int
        Rows that the cleaning would drop or change.
    guard : bool
        Whether a gain beyond noise is required.
    confidence : float
        Of the intervals.
    least_noise : float, default=0.0
        Lower end of the noise rate's interval. From 2 % on, wrong labels are certain,
        and the losses need not show it again: few rows cannot.

    Returns
    -------
    str
        The verdict, see `CleaningReport`.
    """
    if not n_changed:
        return "nothing to remove"
    if chosen is None or not guard:
        return "unguarded"
    loss = chosen.compare_guard(0, 1, confidence, "")
    primary = chosen.compare_primary(0, 1, confidence)
    if loss.gain_high < 0.0:
        return "worse beyond noise"
    # for skewed targets, a cleaning that only drops the far tail moves predictions
    # towards the median: the capped error falls, and only R2 reveals the damage
    if (primary.gain_high if chosen.n_classes else primary.gain) < 0.0:
        return "vetoed" if loss.is_beyond_noise else "not beyond noise"
    is_better = primary.is_beyond_noise
    if chosen.n_classes:
        is_better |= loss.is_beyond_noise
    if is_better:
        return "helped"
    return "noise is certain" if least_noise >= _CERTAIN_NOISE else "not beyond noise"
