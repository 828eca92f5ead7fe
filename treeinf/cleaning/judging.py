"""Whether a cleaning helps: losses row by row, paired, with their noise.

Rows to judge by are as noisy as the rows to clean, and that decides what can be
measured on them. Log loss cannot: a model trained on clean rows is sure of itself, and
each wrong label it is judged by costs it dearly, so the uncleaned model wins however
harmful the rows are. Two losses stand in for it.

- To *choose* an amount, the error 1 - p(label): under uniform label noise it is the
  noise-free error times a constant, plus a constant, so it ranks models as clean labels
  would. It rewards sharpness for its own sake, so it cannot say whether to act at all,
  and chooses only among amounts that the next loss cannot tell apart.
- To *decide*, log loss after recalibration: each model's probabilities are softened by
  a temperature and mixed with a share of noise, both fitted on other rows. What remains
  is whether the model knows more.

For regression both are the absolute error, capped so that a wild target is not counted
more than twice the usual spread; and a cleaning is refused if it makes the squared
error worse beyond noise.

References
----------
A. Ghosh, H. Kumar, P. S. Sastry, "Robust Loss Functions under Label Noise for Deep
Neural Networks", AAAI 2017, theorem 1. G. Patrini et al., "Making Deep Neural Networks
Robust to Label Noise: a Loss Correction Approach", CVPR 2017, section 3.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from treeinf.cleaning.report import Comparison
from treeinf.cleaning.training import LabelledRows

__all__ = [
    "RowLosses",
    "choice_loss",
    "choose_candidate",
    "compare",
    "estimate_noise",
    "guard_loss",
    "judge",
    "judge_classes",
    "judge_values",
    "paired_interval",
]

_TINY = 1e-6
_TEMPERATURES = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0)
_NOISE = np.linspace(0.0, 0.9, 46)
_CAP = 2.0
_TIED = 2.0
_NORMAL_MAD = 1.4826


@dataclasses.dataclass(frozen=True, eq=False)
class RowLosses:
    """Losses of several models on the same rows; the first model is the uncleaned one.

    Parameters
    ----------
    robust : ndarray of float64, shape (n_models, n_rows)
        What amounts are chosen by.
    proper : ndarray of float64, shape (n_models, n_rows)
        What the guard decides by.
    veto : ndarray of float64, shape (n_models, n_rows), or None
        Loss that must not get worse beyond noise.
    """

    robust: NDArray[np.float64]
    proper: NDArray[np.float64]
    veto: NDArray[np.float64] | None = None

    @classmethod
    def average(
        cls, parts: list[RowLosses], places: list[NDArray[np.int64]]
    ) -> RowLosses:
        """Put parts together, averaging the losses of rows that stand in several.

        Parameters
        ----------
        parts : list of RowLosses
            Losses of the same models.
        places : list of ndarray of int64
            Which rows each part is of.
        """
        _, place = np.unique(np.concatenate(places), return_inverse=True)
        count = np.bincount(place)

        def mean(values: list[NDArray[np.float64]]) -> NDArray[np.float64]:
            lines = np.concatenate(values, axis=1)
            return np.array([np.bincount(place, line) / count for line in lines])

        veto = [part.veto for part in parts if part.veto is not None]
        return cls(
            mean([part.robust for part in parts]),
            mean([part.proper for part in parts]),
            mean(veto) if veto else None,
        )

    def weighted(self, weight: NDArray[np.float64]) -> RowLosses:
        """Scale each row's losses by its weight, relative to the mean weight."""
        relative = weight / (weight.mean() or 1.0)
        return RowLosses(
            self.robust * relative,
            self.proper * relative,
            None if self.veto is None else self.veto * relative,
        )

    def of_models(self, models: list[int]) -> RowLosses:
        """Give some of the models, in the order asked for."""
        return RowLosses(
            self.robust[models],
            self.proper[models],
            None if self.veto is None else self.veto[models],
        )


def choice_loss(is_regression: bool) -> str:
    """Name the loss that amounts are chosen by."""
    return "capped absolute error" if is_regression else "probability of other labels"


def guard_loss(is_regression: bool) -> str:
    """Name the loss that the guard decides by."""
    return "capped absolute error" if is_regression else "recalibrated log loss"


def judge(
    rows: LabelledRows,
    prediction: NDArray[np.float64],
    other: LabelledRows,
    other_prediction: NDArray[np.float64],
) -> RowLosses:
    """Judge models on some rows; others set what must be set beforehand.

    Parameters
    ----------
    rows : LabelledRows
        Rows to judge by; where they have weights, losses are scaled by them.
    prediction : ndarray of float64, shape (n_models, n_rows[, n_classes])
        What each model predicts, the uncleaned one first.
    other, other_prediction
        The same of other rows.
    """
    if rows.code is None:
        losses = judge_values(rows.y, prediction, other.y, other_prediction)
    else:
        assert other.code is not None
        losses = judge_classes(rows.code, prediction, other.code, other_prediction)
    return losses if rows.weight is None else losses.weighted(rows.weight)


def judge_values(
    target: NDArray[np.float64],
    prediction: NDArray[np.float64],
    other_target: NDArray[np.float64],
    other_prediction: NDArray[np.float64],
) -> RowLosses:
    """Judge regression models.

    Parameters
    ----------
    target : ndarray of float64, shape (n_rows,)
        Targets.
    prediction : ndarray of float64, shape (n_models, n_rows)
        Predictions, the uncleaned model's first.
    other_target, other_prediction : ndarray of float64
        The same for other rows, which set the cap.

    Returns
    -------
    RowLosses
    """
    spread = _NORMAL_MAD * np.median(np.abs(other_prediction[0] - other_target))
    residual = np.abs(prediction - target)
    cap = _CAP * spread if spread > 0.0 else np.inf
    capped = np.minimum(residual, cap)
    return RowLosses(capped, capped, residual**2)


def judge_classes(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    other_code: NDArray[np.int64],
    other_probability: NDArray[np.float64],
) -> RowLosses:
    """Judge classifiers.

    Parameters
    ----------
    code : ndarray of int64, shape (n_rows,)
        Class numbers.
    probability : ndarray of float64, shape (n_models, n_rows, n_classes)
        Probabilities, the uncleaned model's first; NaN for classes a model never met.
    other_code, other_probability : ndarray
        The same for other rows, on which calibrations are fitted.

    Returns
    -------
    RowLosses
    """
    robust, proper = [], []
    for own, other in zip(probability, other_probability, strict=True):
        own, other = np.nan_to_num(own), np.nan_to_num(other)
        temperature, noise = _fit_calibration(other_code, other)
        robust.append(1.0 - _pick(own, code))
        calibrated = _mix(_pick(_temper(own, temperature), code), noise, own.shape[1])
        proper.append(-np.log(np.maximum(calibrated, _TINY)))
    return RowLosses(np.array(robust), np.array(proper))


def estimate_noise(code: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Estimate the share of wrong labels from a cleaned model's probabilities.

    Parameters
    ----------
    code : ndarray of int64, shape (n_rows,)
        Class numbers of rows that were not cleaned.
    probability : ndarray of float64, shape (n_rows, n_classes)
        Probabilities by a model that has not seen them.

    Returns
    -------
    float
        The share of labels that look replaced by another, all others alike.
    """
    _, noise = _fit_calibration(code, np.nan_to_num(probability))
    n_classes = probability.shape[1]
    return float(noise * (n_classes - 1) / n_classes)


def _pick(
    probability: NDArray[np.float64], code: NDArray[np.int64]
) -> NDArray[np.float64]:
    values: NDArray[np.float64] = probability[np.arange(len(code)), code]
    return values


def _temper(probability: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Soften probabilities by a power below 1."""
    powered = np.maximum(probability, _TINY) ** exponent
    tempered: NDArray[np.float64] = powered / powered.sum(axis=1, keepdims=True)
    return tempered


def _mix(
    own: NDArray[np.float64], noise: float | NDArray[np.float64], n_classes: int
) -> NDArray[np.float64]:
    """Mix the label's probability with that of a label drawn at random."""
    mixed: NDArray[np.float64] = (1.0 - noise) * own + noise / n_classes
    return mixed


def _fit_calibration(
    code: NDArray[np.int64], probability: NDArray[np.float64]
) -> tuple[float, float]:
    """Find the exponent and the share of noise of least log loss, on a grid."""
    best = (np.inf, 1.0, 0.0)
    for exponent in _TEMPERATURES:
        own = _pick(_temper(probability, exponent), code)
        mixed = _mix(own, _NOISE[:, np.newaxis], probability.shape[1])
        losses = -np.log(np.maximum(mixed, _TINY)).mean(axis=1)
        place = int(losses.argmin())
        if losses[place] < best[0]:
            best = (float(losses[place]), exponent, float(_NOISE[place]))
    return best[1], best[2]


def paired_interval(
    difference: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Give the mean of paired differences and the ends of its t interval."""
    n_rows = len(difference)
    mean = float(difference.mean()) if n_rows else np.nan
    if n_rows < 2:
        return mean, np.nan, np.nan
    error = float(difference.std(ddof=1) / np.sqrt(n_rows))
    half = float(stats.t.ppf(0.5 + confidence / 2.0, n_rows - 1) * error)
    return mean, mean - half, mean + half


def choose_candidate(losses: RowLosses) -> int:
    """Choose the smallest cleaning whose gain is as good as the best and beyond noise.

    Parameters
    ----------
    losses : RowLosses
        Of the uncleaned model, then of the candidates from the smallest amount up.

    Returns
    -------
    int
        Place of the candidate; 0, the uncleaned model, where none gains more than its
        standard error.

    Notes
    -----
    Considered are the candidates whose proper loss cannot be told from the best. On few
    rows that is most of them, and the robust loss, which tells more of them apart,
    decides; on many rows it keeps the robust loss from cutting away the rows that are
    right but hard. Among them, the smallest is taken whose gain in the robust loss is
    within its standard error of the largest.
    """
    n_rows = losses.robust.shape[1]
    if n_rows < 2:
        return 0
    best = int(losses.proper.mean(axis=1).argmin())
    behind = losses.proper - losses.proper[best]
    is_tied = behind.mean(axis=1) <= _TIED * _standard_error(behind)
    difference = losses.robust[0] - losses.robust
    gain, error = difference.mean(axis=1), _standard_error(difference)
    is_open = is_tied & (gain > error)
    if not is_open.any():
        return 0
    most = int(np.where(is_open, gain, -np.inf).argmax())
    return int((is_open & (gain >= gain[most] - error[most])).argmax())


def _standard_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard error of the mean of each line."""
    errors: NDArray[np.float64] = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return errors


def compare(
    losses: NDArray[np.float64],
    *,
    loss: str,
    confidence: float,
    metric: str,
    scores: tuple[float, float],
) -> Comparison:
    """Compare two models row by row.

    Parameters
    ----------
    losses : ndarray of float64, shape (2, n_rows)
        Losses before and after the cleaning.
    loss : str
        Their name.
    confidence : float
        Of the interval, in (0, 1).
    metric : str
        Name of the score reported beside the loss.
    scores : tuple of float
        That score before and after.
    """
    gain, low, high = paired_interval(losses[0] - losses[1], confidence)
    return Comparison(
        n_rows=losses.shape[1],
        loss=loss,
        loss_before=float(losses[0].mean()),
        loss_after=float(losses[1].mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        confidence=confidence,
        metric=metric,
        score_before=scores[0],
        score_after=scores[1],
    )
