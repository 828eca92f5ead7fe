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
more than twice the usual spread.

Neither may be bought with the score that such models are compared by: a cleaning that
makes the AUC (of two classes), the accuracy (of more) or R2 worse beyond noise is
neither chosen nor let through; one that makes R2 worse at all is not let through. See
`treeinf.cleaning.trial.losses`.

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

from treeinf.cleaning.report.report import Comparison
from treeinf.cleaning.trial.calibration import calibrated_losses, fit_calibration, pick
from treeinf.cleaning.trial.losses import auc_losses, error_losses, square_losses
from treeinf.training.rows import LabelledRows

__all__ = [
    "RowLosses",
    "choice_loss",
    "choose_candidate",
    "compare",
    "compare_primary",
    "guard_loss",
    "judge",
    "judge_classes",
    "judge_values",
    "judge_within",
    "paired_interval",
]

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
    primary : ndarray of float64, shape (n_models, n_rows)
        Its mean is 1 minus the score that must not get worse beyond noise.
    """

    robust: NDArray[np.float64]
    proper: NDArray[np.float64]
    primary: NDArray[np.float64]

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

        return cls(
            mean([part.robust for part in parts]),
            mean([part.proper for part in parts]),
            mean([part.primary for part in parts]),
        )

    def weighted(self, weight: NDArray[np.float64]) -> RowLosses:
        """Scale each row's losses by its weight, relative to the mean weight."""
        relative = weight / (weight.mean() or 1.0)
        return RowLosses(
            self.robust * relative,
            self.proper * relative,
            self.primary * relative,
        )

    def of_models(self, models: list[int]) -> RowLosses:
        """Give some of the models, in the order asked for."""
        return RowLosses(
            self.robust[models],
            self.proper[models],
            self.primary[models],
        )

    @property
    def is_vetoed(self) -> NDArray[np.bool_]:
        """Whether each model's primary score is worse than the first's beyond noise."""
        behind = self.primary - self.primary[0]
        worse: NDArray[np.bool_] = behind.mean(axis=1) > _TIED * _standard_error(behind)
        return worse


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
        losses = judge_values(
            rows.y, prediction, other.y, other_prediction, rows.weight
        )
    else:
        assert other.code is not None
        losses = judge_classes(
            rows.code, prediction, other.code, other_prediction, rows.weight
        )
    return losses if rows.weight is None else losses.weighted(rows.weight)


def judge_within(rows: LabelledRows, prediction: NDArray[np.float64]) -> RowLosses:
    """Judge models on some rows, each half setting what the other half needs.

    For models that have learned from all other rows, so that none is left to set it.

    Parameters
    ----------
    rows : LabelledRows
        Rows to judge by.
    prediction : ndarray of float64, shape (n_models, n_rows[, n_classes])
        What each model predicts, the uncleaned one first.
    """
    order = np.arange(rows.n_rows)
    if rows.code is not None:
        order = np.argsort(rows.code, kind="stable")
    halves = np.sort(order[::2]), np.sort(order[1::2])
    if rows.n_rows < 2:
        halves = order, order
    # the primary score is of the order of all rows together
    whole = judge(rows, prediction, rows, prediction)
    robust, proper = np.empty_like(whole.robust), np.empty_like(whole.proper)
    for own, other in (halves, halves[::-1]):
        part = judge(
            _unweighted(rows.take(own)),
            prediction[:, own],
            _unweighted(rows.take(other)),
            prediction[:, other],
        )
        robust[:, own], proper[:, own] = part.robust, part.proper
    if rows.weight is not None:
        relative = rows.weight / (rows.weight.mean() or 1.0)
        robust, proper = robust * relative, proper * relative
    return RowLosses(robust, proper, whole.primary)


def _unweighted(rows: LabelledRows) -> LabelledRows:
    return dataclasses.replace(rows, weight=None)


def judge_values(
    target: NDArray[np.float64],
    prediction: NDArray[np.float64],
    other_target: NDArray[np.float64],
    other_prediction: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
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
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights, for the variance of the targets; losses are not scaled by them.

    Returns
    -------
    RowLosses
    """
    spread = _NORMAL_MAD * np.median(np.abs(other_prediction[0] - other_target))
    residual = np.abs(prediction - target)
    cap = _CAP * spread if spread > 0.0 else np.inf
    capped = np.minimum(residual, cap)
    primary = np.array([square_losses(target, one, weight) for one in prediction])
    return RowLosses(capped, capped, primary)


def judge_classes(
    code: NDArray[np.int64],
    probability: NDArray[np.float64],
    other_code: NDArray[np.int64],
    other_probability: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
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
    weight : ndarray of float64, shape (n_rows,), optional
        Row weights, for the AUC; losses are not scaled by them.

    Returns
    -------
    RowLosses
    """
    robust, proper, primary = [], [], []
    for own, other in zip(probability, other_probability, strict=True):
        own, other = np.nan_to_num(own), np.nan_to_num(other)
        calibration = fit_calibration(other_code, other)
        robust.append(1.0 - pick(own, code))
        proper.append(calibrated_losses(code, own, *calibration))
        if own.shape[1] == 2:
            primary.append(auc_losses(code == 1, own[:, 1], weight))
        else:
            primary.append(error_losses(code, own))
    return RowLosses(np.array(robust), np.array(proper), np.array(primary))


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
    within its standard error of the largest. Candidates whose primary score is worse
    than the uncleaned model's by more than two standard errors are not considered.
    """
    n_rows = losses.robust.shape[1]
    if n_rows < 2:
        return 0
    is_vetoed = losses.is_vetoed
    best = int(np.where(is_vetoed, np.inf, losses.proper.mean(axis=1)).argmin())
    behind = losses.proper - losses.proper[best]
    is_tied = behind.mean(axis=1) <= _TIED * _standard_error(behind)
    difference = losses.robust[0] - losses.robust
    gain, error = difference.mean(axis=1), _standard_error(difference)
    is_open = is_tied & (gain > error) & ~is_vetoed
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


def compare_primary(
    losses: NDArray[np.float64], *, confidence: float, metric: str
) -> Comparison:
    """Compare two models by the score that must not fall; see `compare`."""
    before, after = (1.0 - float(line.mean()) for line in losses)
    return compare(
        losses,
        loss=f"1 - {metric}",
        confidence=confidence,
        metric=metric,
        scores=(before, after),
    )
