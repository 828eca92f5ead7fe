"""Paired comparison of two models on the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Alternative", "Comparison", "compare", "name_score", "paired_interval"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The model of the cleaned rows against that of all rows, on the same rows.

    Parameters
    ----------
    n_rows : int
        Rows on which the two were compared, none of them a train row of either.
    loss : str
        Name of the loss of a row; smaller is better.
    loss_before, loss_after : float
        Mean loss of the model of all rows, and of the cleaned rows.
    gain : float
        Mean over the rows of the paired difference, before minus after: positive if
        the cleaning helps.
    gain_low, gain_high : float
        Ends of the confidence interval of `gain`; NaN for fewer than two rows.
    confidence : float
        Confidence level of the interval, such as 0.9.
    metric : str
        Name of the score reported beside the loss; greater is better.
    score_before, score_after : float
        That score of both models; NaN where it is undefined on these rows.
    """

    n_rows: int
    loss: str
    loss_before: float
    loss_after: float
    gain: float
    gain_low: float
    gain_high: float
    confidence: float
    metric: str
    score_before: float
    score_after: float

    @property
    def is_beyond_noise(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain_low > 0.0

    def __str__(self) -> str:
        return (
            f"{name_score(self.metric)} {self.score_before:.4f} -> "
            f"{self.score_after:.4f}, "
            f"{self.loss} {self.loss_before:.4f} -> {self.loss_after:.4f} "
            f"(gain {self.gain:+.4f}, {self.confidence:.0%} interval "
            f"{self.gain_low:+.4f} to {self.gain_high:+.4f}) on {self.n_rows:,} rows"
        )


@dataclasses.dataclass(frozen=True)
class Alternative:
    """An alternative to the cleaning, compared with the uncleaned rows.

    Parameters
    ----------
    key : {"all", "cleaned", "random", "appended", "both"}
        Uncleaned; cleaned; as many rows removed at random; trusted validation rows
        appended without cleaning; cleaned and these appended. Trusted rows are
        appended half at a time, the other half is the guard set.
    name : str
        Description of the key.
    choice, guard, primary : Comparison
        By the selection loss, by the guard loss, and by the primary score.
    """

    key: str
    name: str
    choice: Comparison
    guard: Comparison
    primary: Comparison


def name_score(metric: str) -> str:
    """Return the usual spelling of a score's name."""
    return "R2" if metric == "r2" else metric


def paired_interval(
    difference: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Return the mean of paired differences and the ends of its t interval."""
    n_rows = len(difference)
    mean = float(difference.mean()) if n_rows else np.nan
    if n_rows < 2:
        return mean, np.nan, np.nan
    error = float(difference.std(ddof=1) / np.sqrt(n_rows))
    half = float(stats.t.ppf(0.5 + confidence / 2.0, n_rows - 1) * error)
    return mean, mean - half, mean + half


def compare(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    loss: str,
    confidence: float,
    metric: str,
    scores: tuple[float, float],
    n_rows: int | None = None,
) -> Comparison:
    """Compare two models row by row, or group by group.

    Parameters
    ----------
    before, after : ndarray of float64, shape (n_rows,)
        Losses of the models.
    loss : str
        Name of the loss.
    confidence : float
        Of the interval, in (0, 1).
    metric : str
        Name of the score reported beside the loss.
    scores : tuple of float
        That score before and after.
    n_rows : int, optional
        Number of rows, where losses are those of groups of rows.
    """
    gain, low, high = paired_interval(before - after, confidence)
    return Comparison(
        n_rows=len(before) if n_rows is None else n_rows,
        loss=loss,
        loss_before=float(before.mean()),
        loss_after=float(after.mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        confidence=confidence,
        metric=metric,
        score_before=scores[0],
        score_after=scores[1],
    )
