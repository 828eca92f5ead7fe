"""How many labels or targets look wrong: a share of the rows, and its interval.

Each row has a prediction by models that have not seen it. Its label is taken to come
from one of two sources: with an unknown chance it is drawn without a look at the row
(any class alike, or the target of any row), else from what the prediction says, bent by
a few unknown numbers. The chance is found by maximum likelihood, with the bend that
fits best at each; the interval holds every chance whose likelihood ratio to the best is
not beyond the confidence.

The bend matters more than the chance. Models of noisy rows are less sure than those of
clean ones, and how fast they should become sure at their far ends is not known, so that
both are left open: labels that are hard by nature are then not mistaken for wrong ones
as long as the model knows some rows for sure. Where it knows none for sure, the two
cannot be told apart, and the interval is wide. Of targets even its lower end cannot be
trusted then, for targets that the features hardly explain look like those of any row:
it is 0 where the part that is not wrong explains less than two thirds of the variance.
Clean rows given by the user settle the bend, as their chance is 0.

All of this takes wrong labels to be of any class alike, and wrong targets to be those
of other rows. Of these, nominal 90 % intervals held 78 to 100 % in the project's
benchmark; where a fifth of the labels was wrong in other ways (labels that became the
next class, targets moved far away), only 33 to 50 % (`benchmarks/noise_rate.py`).

No interval is narrower than the exact one for as many wrong rows of as many rows, were
each wrong row plain to see. So an estimate of 0 has an upper end, about 3 in the number
of rows.

References
----------
F. A. Wichmann, N. J. Hill, "The psychometric function: I. Fitting, sampling, and
goodness of fit", Perception & Psychophysics 63 (2001), equation 1 (the bend, and lapses
as a share of its own). G. Patrini et al., "Making Deep Neural Networks Robust to Label
Noise: a Loss Correction Approach", CVPR 2017, section 3. S. S. Wilks, "The Large-Sample
Distribution of the Likelihood Ratio for Testing Composite Hypotheses", Annals of
Mathematical Statistics 9 (1938). C. J. Clopper, E. S. Pearson, "The Use of Confidence
or Fiducial Limits Illustrated in the Case of the Binomial", Biometrika 26 (1934).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import minimize

from treeinf.cleaning.scores.scoring import RowScores
from treeinf.kernels.threads import one_blas_thread
from treeinf.training.rows import LabelledRows

__all__ = [
    "NoiseRate",
    "OutOfBag",
    "estimate_label_noise",
    "estimate_noise_rate",
    "estimate_target_noise",
]

_MOST_ROWS = 2_000
_MOST_VALUES = 24
_LEAST_EXPLAINED = 2.0 / 3.0
_TINY = 1e-12
_LEAST_CHANCE = 1e-5
_NORMAL_MAD = 1.4826
# log likelihood behind the best, beyond which greater chances are not tried
_HOPELESS = 15.0
# chances that are tried: finest where few are wrong
_CHANCES = np.array([0.0, 0.02, 0.04, 0.07, *np.arange(0.1, 1.01, 0.05)])


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
    """Labels, and what models that have not seen them predict.

    Parameters
    ----------
    label : ndarray of int64 or float64, shape (n_rows,)
        Class numbers, or targets.
    prediction : ndarray of float64, shape (n_rows, n_classes) or (n_rows,)
        Probabilities, or values. Rows without any are left out; the probability of a
        class alone may be missing.
    """

    label: NDArray[np.int64] | NDArray[np.float64]
    prediction: NDArray[np.float64]

    def draw(self, rng: np.random.Generator) -> OutOfBag:
        """Give the rows with a prediction, or 2,000 drawn of them."""
        lines = self.prediction.reshape(len(self.label), -1)
        rows = np.flatnonzero(np.isfinite(lines).any(axis=1))
        if len(rows) > _MOST_ROWS:
            rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
        return OutOfBag(self.label[rows], self.prediction[rows])


def estimate_noise_rate(
    rows: LabelledRows,
    scores: RowScores,
    trusted: LabelledRows | None,
    *,
    confidence: float,
    seed: int,
) -> NoiseRate | None:
    """Estimate the noise rate of scored rows; None for methods without predictions.

    Parameters
    ----------
    rows : LabelledRows
        Scored rows.
    scores : RowScores
        Their scores.
    trusted : LabelledRows or None
        Rows without noise, if predictions of them came with the scores.
    confidence, seed
        See `estimate_label_noise`.
    """
    if scores.prediction is None:
        return None
    clean = None
    if trusted is not None and scores.of_clean is not None:
        clean = OutOfBag(trusted.label, scores.of_clean)
    estimate = estimate_target_noise if rows.code is None else estimate_label_noise
    noisy = OutOfBag(rows.label, scores.prediction)
    return estimate(noisy, confidence=confidence, seed=seed, clean=clean)


def estimate_label_noise(
    rows: OutOfBag, *, confidence: float, seed: int, clean: OutOfBag | None = None
) -> NoiseRate | None:
    """Estimate the share of labels that were replaced by another, all alike.

    Parameters
    ----------
    rows : OutOfBag
        Rows that may be wrong.
    confidence : float
        Of the interval, in (0, 1).
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
    With f the probabilities, z = log f less its mean over the classes, and s(z) the
    sign of z times ((1 + |z|)^p - 1) / p, the part that is not wrong is the softmax of
    a s(z) + b. Open are a, b (one a class) and p in [0, 1]: from probabilities that
    approach 0 and 1 as fast as a logistic curve does, to much slower. Labels of which
    more are wrong than right are beyond it.

    O(n_rows n_classes) time and memory, up to the 2,000 rows.
    """
    return _estimate(rows, clean, seed, _Labels.read, confidence)


def estimate_target_noise(
    rows: OutOfBag, *, confidence: float, seed: int, clean: OutOfBag | None = None
) -> NoiseRate | None:
    """Estimate the share of targets that were replaced by those of other rows.

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
    Targets are sorted into up to 24 values of about as many rows each. The part that is
    not wrong gives each value its share of the rows times Student's t density of its
    distance from a + b f, f the prediction, scaled by exp(c + d f), and brings the sum
    to 1: so targets may be skewed, or whole numbers. Open are a, b, c, d and the
    degrees of freedom. The slope b makes up for models of noisy rows that predict
    too near the mean. Targets that became hardly another do not count.

    24 O(n_rows) time and memory, up to the 2,000 rows.
    """
    return _estimate(rows, clean, seed, _Targets.read, confidence)


@one_blas_thread()
def _estimate(
    rows: OutOfBag,
    clean: OutOfBag | None,
    seed: int,
    read: Callable[[OutOfBag, int], _Source],
    confidence: float,
) -> NoiseRate | None:
    rng = np.random.default_rng(seed)
    own = rows.draw(rng)
    n_rows = len(own.label)
    if not n_rows:
        return None
    both = own
    if clean is not None:
        trusted = clean.draw(rng)
        both = OutOfBag(
            np.concatenate([own.label, trusted.label]),
            np.concatenate([own.prediction, trusted.prediction]),
        )
    source = read(both, n_rows)
    is_open = np.arange(len(both.label)) < n_rows
    likelihood = np.full(len(_CHANCES), -np.inf)
    bends, bend = [], source.start
    for place, chance in enumerate(_CHANCES):
        chances = np.where(is_open, chance, 0.0)
        found = minimize(
            _negative_log_likelihood,
            bend,
            args=(source, chances),
            jac=True,
            method="L-BFGS-B",
            bounds=source.bounds,
            options={"ftol": 1e-7},
        )
        bend = found.x
        bends.append(bend)
        likelihood[place] = -found.fun
        if likelihood[place] < likelihood.max() - _HOPELESS:
            break
    share, low, high = _cut(_CHANCES, likelihood, confidence)
    is_settled = clean is not None or source.is_sure(bends[int(likelihood.argmax())])
    different = 1.0 - source.lucky
    return _widen(
        share * different,
        low * different if is_settled else 0.0,
        high * different,
        n_rows,
        confidence,
    )


def _cut(
    chances: NDArray[np.float64], likelihood: NDArray[np.float64], confidence: float
) -> tuple[float, float, float]:
    """Give the best chance, and the ends of those that are not much worse.

    The best is the top of the parabola through the best point and its neighbours; ends
    lie where straight lines between points cross the limit.
    """
    best = int(likelihood.argmax())
    top = float(chances[best])
    if 0 < best < len(chances) - 1:
        near = slice(best - 1, best + 2)
        curve = np.polyfit(chances[near] - top, likelihood[near], 2)
        if curve[0] < 0.0:
            top -= float(curve[1] / (2.0 * curve[0]))
            top = float(np.clip(top, chances[best - 1], chances[best + 1]))
    limit = likelihood[best] - 0.5 * float(stats.chi2.ppf(confidence, 1))
    inside = np.flatnonzero(likelihood >= limit)
    ends = []
    for place, step in ((int(inside[0]), -1), (int(inside[-1]), 1)):
        end, beyond = float(chances[place]), place + step
        if 0 <= beyond < len(chances):
            part = (likelihood[place] - limit) / (
                likelihood[place] - likelihood[beyond]
            )
            end += part * float(chances[beyond] - chances[place])
        ends.append(end)
    return top, min(ends[0], top), max(ends[1], top)


def _widen(
    share: float, low: float, high: float, n_rows: int, confidence: float
) -> NoiseRate:
    """Make an interval at least as wide as the exact one of a share that is seen."""
    count, tail = share * n_rows, 0.5 * (1.0 - confidence)
    least = stats.beta.ppf(tail, count, n_rows - count + 1.0) if count > 0.0 else 0.0
    most = (
        stats.beta.ppf(1.0 - tail, count + 1.0, n_rows - count)
        if count < n_rows
        else 1.0
    )
    return NoiseRate(
        float(share),
        float(max(0.0, min(low, least))),
        float(min(1.0, max(high, most))),
    )


# where labels come from


@dataclasses.dataclass(frozen=True, eq=False)
class _Source:
    """What the labels of rows that are not wrong look like, up to a bend.

    Parameters
    ----------
    place : ndarray of int64, shape (n_rows,)
        Number of each row's label among the values it could have.
    noise : ndarray of float64, shape (n_rows,)
        Chance of this label if it is wrong.
    lucky : float
        Chance that a label drawn without a look is the right one.
    start : ndarray of float64, shape (n_numbers,)
        The bend to begin with.
    bounds : list of tuple of float
        Between which the numbers lie.
    hold : ndarray of float64, shape (n_numbers,)
        How much each is drawn to 0, one over the square of a wide spread.
    """

    place: NDArray[np.int64]
    noise: NDArray[np.float64]
    lucky: float
    start: NDArray[np.float64]
    bounds: list[tuple[float, float]]
    hold: NDArray[np.float64]

    def logits(
        self, bend: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """Give log chances of all values, but for a number a row.

        Also what brings derivatives in them to derivatives in the bend.
        """
        raise NotImplementedError

    def is_sure(self, bend: NDArray[np.float64]) -> bool:
        """Tell whether the lower end can be trusted without clean rows."""
        return True


def _negative_log_likelihood(
    bend: NDArray[np.float64], source: _Source, chance: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Compute what is minimised, and its derivatives in the bend."""
    logits, chain = source.logits(bend)
    right = special.softmax(logits, axis=1)
    rows = np.arange(len(right))
    own = (1.0 - chance) * right[rows, source.place]
    mixed = np.maximum(own + chance * source.noise, _TINY)
    is_right = own / mixed
    slope = is_right[:, np.newaxis] * right
    slope[rows, source.place] -= is_right
    value = -float(np.log(mixed).sum()) + 0.5 * float(source.hold @ bend**2)
    return value, chain(slope) + source.hold * bend


@dataclasses.dataclass(frozen=True, eq=False)
class _Labels(_Source):
    """Labels of classes; see `estimate_label_noise`."""

    sign: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def read(cls, rows: OutOfBag, n_open: int) -> _Labels:
        """Set up rows, of which the first `n_open` may be wrong."""
        n_rows, n_classes = rows.prediction.shape
        log_chance = np.log(np.clip(np.nan_to_num(rows.prediction), _LEAST_CHANCE, 1.0))
        log_chance -= log_chance.mean(axis=1, keepdims=True)
        log_chance *= 2.0 / max(
            float(np.sqrt((log_chance**2).sum(axis=1).mean())), _TINY
        )
        n_offsets = n_classes - 1
        return cls(
            place=rows.label.astype(np.int64),
            noise=np.full(n_rows, 1.0 / n_classes),
            lucky=1.0 / n_classes,
            start=np.array([0.0, 1.0, *np.zeros(n_offsets)]),
            bounds=[(-3.0, 4.0), (1e-4, 1.0), *[(-4.0, 4.0)] * n_offsets],
            hold=np.array([0.25, 0.0, *np.full(n_offsets, 0.25)]),
            sign=np.sign(log_chance),
            size=np.log1p(np.abs(log_chance)),
        )

    def logits(
        self, bend: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """See `_Source`; numbers are log a, p, and b of all classes but the first."""
        scale, power = np.exp(bend[0]), bend[1]
        grown = np.exp(power * self.size)
        bent = self.sign * (grown - 1.0) / power

        def chain(slope: NDArray[np.float64]) -> NDArray[np.float64]:
            in_power = (self.sign * self.size * grown - bent) / power
            return np.array(
                [
                    scale * (slope * bent).sum(),
                    scale * (slope * in_power).sum(),
                    *slope.sum(axis=0)[1:],
                ]
            )

        return scale * bent + np.array([0.0, *bend[2:]]), chain


@dataclasses.dataclass(frozen=True, eq=False)
class _Targets(_Source):
    """Targets of regression; see `estimate_target_noise`."""

    value: NDArray[np.float64]
    log_share: NDArray[np.float64]
    centre: float
    apart: NDArray[np.float64]
    unit: float

    @classmethod
    def read(cls, rows: OutOfBag, n_open: int) -> _Targets:
        """Set up rows, of which the first `n_open` may be wrong."""
        target = rows.label.astype(np.float64)
        place, value = _sort_into_values(target, n_open)
        share = np.bincount(place[:n_open], minlength=len(value)) / n_open
        _, count = np.unique(target[:n_open], return_counts=True)
        residual = np.abs(target - rows.prediction)
        spread = float(np.std(target[:n_open]))
        centre = float(rows.prediction.mean())
        log_most = float(np.log(100.0))
        return cls(
            place=place,
            noise=share[place],
            lucky=float(((count / n_open) ** 2).sum()),
            start=np.array([0.0, 0.0, 0.0, 0.0, np.log(5.0)]),
            bounds=[
                (-4.0, 4.0),
                (-1.5, 1.5),
                (-3.0, 3.0),
                (-0.3, np.log(6.0)),
                (0.0, log_most),
            ],
            hold=np.array([0.1, 0.0, 0.1, 0.0, 0.0]),
            value=value,
            log_share=np.log(np.maximum(share, _TINY)),
            centre=centre,
            apart=rows.prediction - centre,
            # as far as exact predictions are right, any small unit will do
            unit=max(_NORMAL_MAD * float(np.median(residual)), 1e-3 * spread, _TINY),
        )

    def logits(
        self, bend: NDArray[np.float64]
    ) -> tuple[
        NDArray[np.float64], Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ]:
        """See `_Source`; numbers are c, d, a, log b and log degrees of freedom."""
        freedom, slope_of_f = np.exp(bend[4]), np.exp(bend[3])
        steps = np.clip(self.apart / max(float(self.apart.std()), _TINY), -3.0, 3.0)
        scale = (self.unit * np.exp(bend[0] + bend[1] * steps))[:, np.newaxis]
        middle = self.centre + self.unit * bend[2] + slope_of_f * self.apart
        distance = (self.value - middle[:, np.newaxis]) / scale
        square = distance**2
        log_tail = np.log1p(square / freedom)

        def chain(slope: NDArray[np.float64]) -> NDArray[np.float64]:
            pull = (freedom + 1.0) * distance / (freedom + square)
            pulled = slope * pull
            by_scale = (pulled * distance).sum(axis=1)
            by_middle = (pulled / scale).sum(axis=1)
            in_freedom = 0.5 * freedom * log_tail - 0.5 * pull * distance
            return np.array(
                [
                    by_scale.sum(),
                    (by_scale * steps).sum(),
                    by_middle.sum() * self.unit,
                    (by_middle * self.apart).sum() * slope_of_f,
                    -(slope * in_freedom).sum(),
                ]
            )

        return self.log_share - 0.5 * (freedom + 1.0) * log_tail, chain

    def is_sure(self, bend: NDArray[np.float64]) -> bool:
        """Tell whether what is not wrong is predicted well."""
        right = special.softmax(self.logits(bend)[0], axis=1)
        left = right @ self.value**2 - (right @ self.value) ** 2
        share = np.exp(self.log_share)
        whole = share @ self.value**2 - (share @ self.value) ** 2
        return bool(left.mean() <= (1.0 - _LEAST_EXPLAINED) * whole)


def _sort_into_values(
    target: NDArray[np.float64], n_open: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sort targets into up to 24 values, each the median of its own."""
    values = np.unique(target)
    if len(values) <= _MOST_VALUES:
        return np.searchsorted(values, target), values
    steps = np.linspace(0.0, 1.0, _MOST_VALUES + 1)[1:-1]
    limits = np.unique(np.quantile(target[:n_open], steps))
    place = np.unique(
        np.searchsorted(limits, target, side="right"), return_inverse=True
    )[1].reshape(-1)
    order = np.arange(place.max() + 1)
    return place, np.array([np.median(target[place == one]) for one in order])
