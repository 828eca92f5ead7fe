"""Estimate the noise rate: the share of wrong labels or targets, with an interval.

The data are out-of-bag predictions. Labels are modelled as a mixture of two sources:
with an unknown probability, the noise rate, a label is drawn regardless of the row (a
random class, or the target of a random row), else from the prediction, recalibrated by
a few parameters. The noise rate is estimated by maximum likelihood, with the
calibration fitted at each rate tried; the interval is that of the profile likelihood.

The calibration matters more than the rate. Models of noisy rows are less confident than
those of clean rows, and how fast their confidence should grow at the extremes is
unknown; so both are parameters. Labels that are hard by nature are then not mistaken
for wrong ones as long as the model is confident of some rows. Where it is confident of
none, the two cannot be told apart, and the interval is wide. For targets, even its
lower end cannot be trusted then, since targets that the features hardly explain look
like those of random rows: it is 0 where the part that is not wrong explains less than
two thirds of the variance. Clean rows of the user determine the calibration, as their
noise rate is 0.

All of this assumes that wrong labels are of random classes, and wrong targets those of
other rows. Under this noise, nominal 90 % intervals covered the truth in 78 to 100 % of
the cells of the project's benchmark; where a fifth of the labels was wrong in other
ways (labels moved to the next class, targets moved far away), only in 33 to 50 %
(`benchmarks/noise_rate.py`).

No interval is narrower than the exact binomial one, which holds if wrong rows are
observed. So an estimate of 0 has an upper end of about 3 rows.

References
----------
F. A. Wichmann, N. J. Hill, "The psychometric function: I. Fitting, sampling, and
goodness of fit", Perception & Psychophysics 63 (2001), equation 1 (the calibration, and
lapses as a rate of their own). G. Patrini et al., "Making Deep Neural Networks Robust
to Label Noise: a Loss Correction Approach", CVPR 2017, section 3. S. S. Wilks, "The
Large-Sample Distribution of the Likelihood Ratio for Testing Composite Hypotheses",
Annals of Mathematical Statistics 9 (1938). C. J. Clopper, E. S. Pearson, "The Use of
Confidence or Fiducial Limits Illustrated in the Case of the Binomial", Biometrika 26
(1934).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import minimize

from treeinf.kernels.threads import one_blas_thread
from treeinf.training.rows import LabelledRows

__all__ = [
    "NoiseRate",
    "OutOfBag",
    "estimate_label_noise",
    "estimate_noise_rate",
    "estimate_target_noise",
]

_MAX_ROWS = 2_000
_MAX_VALUES = 24
_MIN_EXPLAINED = 2.0 / 3.0
_TINY = 1e-12
_MIN_PROBABILITY = 1e-5
_NORMAL_MAD = 1.4826
# log likelihood below the best at which larger rates are not tried
_LARGEST_DROP = 15.0
# rates tried: finest where few labels are wrong
_RATES = np.array([0.0, 0.02, 0.04, 0.07, *np.arange(0.1, 1.01, 0.05)])


@dataclasses.dataclass(frozen=True)
class NoiseRate:
    """An estimated noise rate: the share of wrong labels or targets.

    Parameters
    ----------
    rate : float
        The estimate, in [0, 1].
    low, high : float
        Ends of its interval.
    """

    rate: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class OutOfBag:
    """Labels, and out-of-bag predictions of them.

    Parameters
    ----------
    label : ndarray of int64 or float64, shape (n_rows,)
        Class numbers, or targets.
    prediction : ndarray of float64, shape (n_rows, n_classes) or (n_rows,)
        Probabilities, or values. Rows without a finite value are dropped; single
        classes may be missing.
    """

    label: NDArray[np.int64] | NDArray[np.float64]
    prediction: NDArray[np.float64]

    def draw(self, rng: np.random.Generator) -> OutOfBag:
        """Return the rows with a prediction, or a sample of 2,000 of them."""
        lines = self.prediction.reshape(len(self.label), -1)
        rows = np.flatnonzero(np.isfinite(lines).any(axis=1))
        if len(rows) > _MAX_ROWS:
            rows = np.sort(rng.choice(rows, _MAX_ROWS, replace=False))
        return OutOfBag(self.label[rows], self.prediction[rows])


def estimate_noise_rate(
    rows: LabelledRows,
    prediction: NDArray[np.float64],
    *,
    confidence: float,
    seed: int,
    clean: OutOfBag | None = None,
) -> NoiseRate | None:
    """Estimate the noise rate of labels or targets.

    Parameters
    ----------
    rows : LabelledRows
        Rows that may be wrong.
    prediction : ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
        Out-of-bag predictions of them.
    confidence, seed, clean
        See `estimate_label_noise`.
    """
    estimate = estimate_target_noise if rows.code is None else estimate_label_noise
    noisy = OutOfBag(rows.label, prediction)
    return estimate(noisy, confidence=confidence, seed=seed, clean=clean)


def estimate_label_noise(
    rows: OutOfBag, *, confidence: float, seed: int, clean: OutOfBag | None = None
) -> NoiseRate | None:
    """Estimate the share of labels that were replaced by a random other class.

    Parameters
    ----------
    rows : OutOfBag
        Rows that may be wrong.
    confidence : float
        Confidence level of the interval, in (0, 1).
    seed : int
        Seed of the choice of rows, where there are more than 2,000.
    clean : OutOfBag, optional
        Rows whose labels are right.

    Returns
    -------
    NoiseRate or None
        None without any prediction.

    Notes
    -----
    With f the probabilities, z = log f minus its mean over the classes, and s(z) the
    sign of z times ((1 + |z|)^p - 1) / p, the labels that are not wrong have the
    distribution softmax(a s(z) + b). Parameters are a, b (one a class) and p in [0, 1]:
    probabilities approach 0 and 1 as fast as a logistic curve, or much slower. More
    wrong labels than right ones cannot be estimated.

    O(n_rows n_classes) time and memory, up to the 2,000 rows.
    """
    return _estimate(rows, clean, seed, _Labels.read, confidence)


def estimate_target_noise(
    rows: OutOfBag, *, confidence: float, seed: int, clean: OutOfBag | None = None
) -> NoiseRate | None:
    """Estimate the share of targets that were replaced by those of random rows.

    Parameters
    ----------
    rows, confidence, seed, clean
        See `estimate_label_noise`.

    Returns
    -------
    NoiseRate or None
        None without any prediction.

    Notes
    -----
    Targets are binned into up to 24 values with about as many rows each. The targets
    that are not wrong have, for each value, a probability proportional to its share of
    the rows times Student's t density of its distance from a + b f, f the prediction,
    scaled by exp(c + d f): so targets may be skewed, or whole numbers. Parameters are
    a, b, c, d and the degrees of freedom. The slope b corrects models of noisy rows,
    which predict too near the mean. Targets replaced by equal ones do not count.

    24 O(n_rows) time and memory, up to the 2,000 rows.
    """
    return _estimate(rows, clean, seed, _Targets.read, confidence)


@one_blas_thread()
def _estimate(
    rows: OutOfBag,
    clean: OutOfBag | None,
    seed: int,
    read: Callable[[OutOfBag, int], _CleanModel],
    confidence: float,
) -> NoiseRate | None:
    rng = np.random.default_rng(seed)
    sample = rows.draw(rng)
    n_rows = len(sample.label)
    if not n_rows:
        return None
    if clean is not None:
        trusted = clean.draw(rng)
        sample = OutOfBag(
            np.concatenate([sample.label, trusted.label]),
            np.concatenate([sample.prediction, trusted.prediction]),
        )
    model = read(sample, n_rows)
    may_be_wrong = np.arange(len(sample.label)) < n_rows
    likelihood = np.full(len(_RATES), -np.inf)
    fitted, parameters = [], model.start
    for number, rate in enumerate(_RATES):
        solution = minimize(
            _negative_log_likelihood,
            parameters,
            args=(model, np.where(may_be_wrong, rate, 0.0)),
            jac=True,
            method="L-BFGS-B",
            bounds=model.bounds,
            options={"ftol": 1e-7},
        )
        parameters = solution.x
        fitted.append(parameters)
        likelihood[number] = -solution.fun
        if likelihood[number] < likelihood.max() - _LARGEST_DROP:
            break
    rate, low, high = _profile_interval(_RATES, likelihood, confidence)
    is_identified = clean is not None or model.is_confident(
        fitted[int(likelihood.argmax())]
    )
    share_changed = 1.0 - model.chance_agreement
    return _widen(
        rate * share_changed,
        low * share_changed if is_identified else 0.0,
        high * share_changed,
        n_rows,
        confidence,
    )


def _profile_interval(
    rates: NDArray[np.float64], likelihood: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Return the rate of the largest likelihood, and the ends of its interval.

    The maximum is that of the parabola through the best point and its neighbours; ends
    are where the linearly interpolated likelihood crosses the limit of the chi-squared
    test.
    """
    best = int(likelihood.argmax())
    peak = float(rates[best])
    if 0 < best < len(rates) - 1:
        near = slice(best - 1, best + 2)
        curve = np.polyfit(rates[near] - peak, likelihood[near], 2)
        if curve[0] < 0.0:
            peak -= float(curve[1] / (2.0 * curve[0]))
            peak = float(np.clip(peak, rates[best - 1], rates[best + 1]))
    limit = likelihood[best] - 0.5 * float(stats.chi2.ppf(confidence, 1))
    inside = np.flatnonzero(likelihood >= limit)
    ends = []
    for inner, step in ((int(inside[0]), -1), (int(inside[-1]), 1)):
        end, outer = float(rates[inner]), inner + step
        if 0 <= outer < len(rates):
            fraction = (likelihood[inner] - limit) / (
                likelihood[inner] - likelihood[outer]
            )
            end += fraction * float(rates[outer] - rates[inner])
        ends.append(end)
    return peak, min(ends[0], peak), max(ends[1], peak)


def _widen(
    rate: float, low: float, high: float, n_rows: int, confidence: float
) -> NoiseRate:
    """Widen an interval to at least the exact one of an observed share."""
    count, tail = rate * n_rows, 0.5 * (1.0 - confidence)
    least = stats.beta.ppf(tail, count, n_rows - count + 1.0) if count > 0.0 else 0.0
    most = (
        stats.beta.ppf(1.0 - tail, count + 1.0, n_rows - count)
        if count < n_rows
        else 1.0
    )
    return NoiseRate(
        float(rate),
        float(max(0.0, min(low, least))),
        float(min(1.0, max(high, most))),
    )


# models of the labels that are not wrong


@dataclasses.dataclass(frozen=True, eq=False)
class _CleanModel:
    """Distribution of the labels that are not wrong, given calibration parameters.

    Parameters
    ----------
    value_index : ndarray of int64, shape (n_rows,)
        Number of each row's label among the possible values.
    noise : ndarray of float64, shape (n_rows,)
        Probability of this label if it is wrong.
    chance_agreement : float
        Probability that a random label is the right one.
    start : ndarray of float64, shape (n_parameters,)
        Initial parameters.
    bounds : list of tuple of float
        Limits of the parameters.
    precision : ndarray of float64, shape (n_parameters,)
        Precision of the parameters' normal prior around 0.
    """

    value_index: NDArray[np.int64]
    noise: NDArray[np.float64]
    chance_agreement: float
    start: NDArray[np.float64]
    bounds: list[tuple[float, float]]
    precision: NDArray[np.float64]

    def logits(
        self, parameters: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """Return unnormalised log probabilities of all values, and their chain rule.

        The latter maps derivatives with respect to them to derivatives with respect to
        the parameters.
        """
        raise NotImplementedError

    def is_confident(self, parameters: NDArray[np.float64]) -> bool:
        """Return whether the lower end can be trusted without clean rows."""
        return True


def _negative_log_likelihood(
    parameters: NDArray[np.float64], model: _CleanModel, rate: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Return the penalised negative log likelihood, and its gradient."""
    logits, chain_rule = model.logits(parameters)
    clean = special.softmax(logits, axis=1)
    rows = np.arange(len(clean))
    unchanged = (1.0 - rate) * clean[rows, model.value_index]
    mixed = np.maximum(unchanged + rate * model.noise, _TINY)
    is_clean = unchanged / mixed
    slope = is_clean[:, np.newaxis] * clean
    slope[rows, model.value_index] -= is_clean
    value = -float(np.log(mixed).sum()) + 0.5 * float(model.precision @ parameters**2)
    return value, chain_rule(slope) + model.precision * parameters


@dataclasses.dataclass(frozen=True, eq=False)
class _Labels(_CleanModel):
    """Labels of classes; see `estimate_label_noise`."""

    sign: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def read(cls, rows: OutOfBag, n_noisy: int) -> _Labels:
        """Read rows, of which the first `n_noisy` may be wrong."""
        n_rows, n_classes = rows.prediction.shape
        log_probability = np.log(
            np.clip(np.nan_to_num(rows.prediction), _MIN_PROBABILITY, 1.0)
        )
        log_probability -= log_probability.mean(axis=1, keepdims=True)
        log_probability *= 2.0 / max(
            float(np.sqrt((log_probability**2).sum(axis=1).mean())), _TINY
        )
        n_offsets = n_classes - 1
        return cls(
            value_index=rows.label.astype(np.int64),
            noise=np.full(n_rows, 1.0 / n_classes),
            chance_agreement=1.0 / n_classes,
            start=np.array([0.0, 1.0, *np.zeros(n_offsets)]),
            bounds=[(-3.0, 4.0), (1e-4, 1.0), *[(-4.0, 4.0)] * n_offsets],
            precision=np.array([0.25, 0.0, *np.full(n_offsets, 0.25)]),
            sign=np.sign(log_probability),
            size=np.log1p(np.abs(log_probability)),
        )

    def logits(
        self, parameters: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """See `_CleanModel`; parameters: log a, p, and b of all but the first class."""
        scale, power = np.exp(parameters[0]), parameters[1]
        grown = np.exp(power * self.size)
        scaled = self.sign * (grown - 1.0) / power

        def chain_rule(slope: NDArray[np.float64]) -> NDArray[np.float64]:
            in_power = (self.sign * self.size * grown - scaled) / power
            return np.array(
                [
                    scale * (slope * scaled).sum(),
                    scale * (slope * in_power).sum(),
                    *slope.sum(axis=0)[1:],
                ]
            )

        return scale * scaled + np.array([0.0, *parameters[2:]]), chain_rule


@dataclasses.dataclass(frozen=True, eq=False)
class _Targets(_CleanModel):
    """Targets of regression; see `estimate_target_noise`."""

    value: NDArray[np.float64]
    log_share: NDArray[np.float64]
    centre: float
    deviation: NDArray[np.float64]
    unit: float

    @classmethod
    def read(cls, rows: OutOfBag, n_noisy: int) -> _Targets:
        """Read rows, of which the first `n_noisy` may be wrong."""
        target = rows.label.astype(np.float64)
        value_index, value = _bin_targets(target, n_noisy)
        share = np.bincount(value_index[:n_noisy], minlength=len(value)) / n_noisy
        _, count = np.unique(target[:n_noisy], return_counts=True)
        residual = np.abs(target - rows.prediction)
        spread = float(np.std(target[:n_noisy]))
        centre = float(rows.prediction.mean())
        log_most = float(np.log(100.0))
        return cls(
            value_index=value_index,
            noise=share[value_index],
            chance_agreement=float(((count / n_noisy) ** 2).sum()),
            start=np.array([0.0, 0.0, 0.0, 0.0, np.log(5.0)]),
            bounds=[
                (-4.0, 4.0),
                (-1.5, 1.5),
                (-3.0, 3.0),
                (-0.3, np.log(6.0)),
                (0.0, log_most),
            ],
            precision=np.array([0.1, 0.0, 0.1, 0.0, 0.0]),
            value=value,
            log_share=np.log(np.maximum(share, _TINY)),
            centre=centre,
            deviation=rows.prediction - centre,
            # any small unit will do if predictions are exact
            unit=max(_NORMAL_MAD * float(np.median(residual)), 1e-3 * spread, _TINY),
        )

    def logits(
        self, parameters: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """See `_CleanModel`; parameters: c, d, a, log b and log degrees of freedom."""
        freedom, slope_of_f = np.exp(parameters[4]), np.exp(parameters[3])
        steps = np.clip(
            self.deviation / max(float(self.deviation.std()), _TINY), -3.0, 3.0
        )
        scale = (self.unit * np.exp(parameters[0] + parameters[1] * steps))[
            :, np.newaxis
        ]
        middle = self.centre + self.unit * parameters[2] + slope_of_f * self.deviation
        distance = (self.value - middle[:, np.newaxis]) / scale
        square = distance**2
        log_tail = np.log1p(square / freedom)

        def chain_rule(slope: NDArray[np.float64]) -> NDArray[np.float64]:
            influence = (freedom + 1.0) * distance / (freedom + square)
            weighted = slope * influence
            by_scale = (weighted * distance).sum(axis=1)
            by_middle = (weighted / scale).sum(axis=1)
            in_freedom = 0.5 * freedom * log_tail - 0.5 * influence * distance
            return np.array(
                [
                    by_scale.sum(),
                    (by_scale * steps).sum(),
                    by_middle.sum() * self.unit,
                    (by_middle * self.deviation).sum() * slope_of_f,
                    -(slope * in_freedom).sum(),
                ]
            )

        return self.log_share - 0.5 * (freedom + 1.0) * log_tail, chain_rule

    def is_confident(self, parameters: NDArray[np.float64]) -> bool:
        """Return whether targets that are not wrong are explained well."""
        clean = special.softmax(self.logits(parameters)[0], axis=1)
        unexplained = clean @ self.value**2 - (clean @ self.value) ** 2
        share = np.exp(self.log_share)
        variance = share @ self.value**2 - (share @ self.value) ** 2
        return bool(unexplained.mean() <= (1.0 - _MIN_EXPLAINED) * variance)


def _bin_targets(
    target: NDArray[np.float64], n_noisy: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bin targets into up to 24 values, each the median of its bin."""
    values = np.unique(target)
    if len(values) <= _MAX_VALUES:
        return np.searchsorted(values, target), values
    steps = np.linspace(0.0, 1.0, _MAX_VALUES + 1)[1:-1]
    limits = np.unique(np.quantile(target[:n_noisy], steps))
    bins = np.unique(
        np.searchsorted(limits, target, side="right"), return_inverse=True
    )[1].reshape(-1)
    medians = [np.median(target[bins == k]) for k in range(bins.max() + 1)]
    return bins, np.array(medians)
