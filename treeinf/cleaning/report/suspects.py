"""How many of the rows that look wrong most can be expected to be wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from treeinf.cleaning.scores.label_confusion import doubt_labels
from treeinf.cleaning.scores.noise_rate import NoiseRate
from treeinf.cleaning.scores.scoring import RowScores

__all__ = ["Suspects", "describe_suspects", "share_wrong"]

_EDGE = 1e-9
_LARGEST_SHIFT = 60.0


@dataclasses.dataclass(frozen=True)
class Suspects:
    """The rows that look wrong most, and how many of them can be expected to be.

    Parameters
    ----------
    n_rows : int
        Number of the rows.
    precision, low, high : float or None
        Estimated share of wrong labels or targets among them, at the estimated noise
        rate and at the ends of its interval; None without such an estimate. For targets
        there is an upper end alone.
    """

    n_rows: int
    precision: float | None = None
    low: float | None = None
    high: float | None = None

    def text(self, labels: str) -> str:
        """Describe what can be expected; empty if nothing can.

        Parameters
        ----------
        labels : {"labels", "targets"}
            What is predicted.
        """
        if not self.n_rows or self.high is None:
            return ""
        if self.low is None or self.precision is None:
            return f"at most {self.high:.0%} of their {labels} are wrong"
        if self.low == 0.0:
            return f"at most {self.high:.0%} of their {labels} are wrong, perhaps none"
        return (
            f"about {self.precision:.0%} of their {labels} are wrong "
            f"({self.low:.0%} to {self.high:.0%})"
        )


def describe_suspects(
    suspects: NDArray[np.int64],
    noise: NoiseRate | None,
    scores: RowScores,
    code: NDArray[np.int64] | None,
) -> Suspects:
    """Estimate how many suspects are wrong.

    Parameters
    ----------
    suspects : ndarray of int64
        Positions among the scored rows.
    noise : NoiseRate or None
        The estimated noise rate of the scored rows.
    scores : RowScores
        Of the scored rows.
    code : ndarray of int64, shape (n_rows,), or None
        Their classes; None for regression.
    """
    n_rows, prediction, doubt = len(suspects), scores.prediction, scores.doubt
    if noise is None or prediction is None or not n_rows:
        return Suspects(n_rows)
    # the first rows in time have no prediction
    is_scored = np.isfinite(prediction.reshape(len(prediction), -1)).any(axis=1)
    suspects = np.searchsorted(np.flatnonzero(is_scored), suspects)
    if doubt is None and code is not None:
        probability = np.nan_to_num(prediction[is_scored])
        doubt = doubt_labels(probability, code[is_scored])
    elif doubt is None:
        high = min(1.0, noise.high * int(is_scored.sum()) / n_rows)
        return Suspects(n_rows, high=high)
    else:
        doubt = doubt[is_scored]
    rates = (noise.rate, noise.low, noise.high)
    return Suspects(n_rows, *(share_wrong(doubt, suspects, rate) for rate in rates))


def share_wrong(
    doubt: NDArray[np.float64], suspects: NDArray[np.int64], rate: float
) -> float:
    """Return the share of wrong labels among some rows, at a noise rate of all.

    Parameters
    ----------
    doubt : ndarray of float64, shape (n_rows,)
        Probability that each label is wrong, see `doubt_labels`.
    suspects : ndarray of int64
        Positions of the rows.
    rate : float
        Noise rate, in [0, 1].

    Notes
    -----
    A constant is added to the log odds of all rows such that their mean probability is
    the noise rate: the prior odds of a wrong label, as Bayes' rule has them. So no more
    rows are expected to be wrong among the suspects than among all.
    """
    if rate <= 0.0 or rate >= 1.0:
        return float(rate >= 1.0)
    odds = special.logit(np.clip(doubt, _EDGE, 1.0 - _EDGE))
    shift = brentq(
        lambda shift: special.expit(odds + shift).mean() - rate,
        -_LARGEST_SHIFT,
        _LARGEST_SHIFT,
    )
    return float(special.expit(odds[suspects] + shift).mean())
