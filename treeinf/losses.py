"""Training losses at a raw score: one small class per objective.

Each class names its derivatives' kernel by a code and at most one parameter; the
derivatives themselves are written once, in ``kernels/cpu/derivatives.py``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

from treeinf.kernels.cpu import derivatives

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "AbsolutePercentageError",
    "Brier",
    "CrossEntropy",
    "Exponential",
    "Fair",
    "Gamma",
    "Huber",
    "HuberExact",
    "Logistic",
    "Loss",
    "OneVsAll",
    "Poisson",
    "PseudoHuber",
    "Quantile",
    "Softmax",
    "SquaredError",
    "SquaredLogError",
    "Tweedie",
    "loss_from_dict",
]

Array = NDArray[np.float64]

_TINY = 1e-15


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of one target and its raw scores.

    Attributes
    ----------
    kernel_code : int or None
        Which derivatives, a constant of ``kernels/cpu/derivatives.py``; None where the
        loss is not differentiable often enough for gradient-based influence.
    n_outputs : int
        Raw-score columns.
    n_classes : int
        Classes of the target; 0 for regression.
    """

    kernel_code: ClassVar[int | None] = None

    @property
    def parameter(self) -> float:
        """The parameter of the derivatives' kernel."""
        return 0.0

    @property
    def n_outputs(self) -> int:
        """Raw-score columns."""
        return 1

    @property
    def n_classes(self) -> int:
        """Classes of the target; 0 for regression."""
        return 0

    @property
    def is_differentiable(self) -> bool:
        """Whether gradients and hessians make the leaf values."""
        return self.kernel_code is not None

    @property
    def name(self) -> str:
        """Name of the class, as `loss_from_dict` reads it."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """Give the name and the parameters, ready for JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def loss(self, target: Array, raw_score: Array) -> Array:
        """Compute the loss of each row.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` gives them; class numbers for classifiers.
        raw_score : ndarray of float64, shape (n_rows, n_outputs)
            Raw scores.

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        raise NotImplementedError

    def derivatives(self, target: Array, raw_score: Array) -> tuple[Array, Array]:
        """Compute gradient and hessian of each row.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` gives them.
        raw_score : ndarray of float64, shape (n_rows, n_outputs)
            Raw scores.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_rows, n_outputs)
            The hessian is the diagonal one that the library divides by.

        Raises
        ------
        ValueError
            If the loss is not differentiable.
        """
        if self.kernel_code is None:
            raise ValueError(f"{self.name} has no gradient that makes its leaf values.")
        columns = np.ascontiguousarray(raw_score.T)
        gradient = np.empty_like(columns)
        hessian = np.empty_like(columns)
        derivatives.loss_derivatives(
            self.kernel_code,
            self.parameter,
            len(target),
            np.ascontiguousarray(target),
            columns,
            gradient,
            hessian,
        )
        return gradient.T.copy(), hessian.T.copy()

    def target_derivatives(
        self, target: Array, raw_score: Array
    ) -> tuple[Array, Array]:
        """Differentiate gradient and hessian of each row in its target.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` gives them; classes as the numbers 0 and 1.
        raw_score : ndarray of float64, shape (n_rows, 1)
            Raw scores.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_rows, 1)

        Raises
        ------
        ValueError
            If the loss has several outputs, or none that moves with its target.
        """
        if self.kernel_code is None or not derivatives.moves_with_target(
            self.kernel_code
        ):
            raise ValueError(f"{self.name} is no smooth function of its target.")
        columns = np.ascontiguousarray(raw_score.T)
        gradient = np.empty_like(columns)
        hessian = np.empty_like(columns)
        derivatives.differentiate_in_target(
            self.kernel_code,
            self.parameter,
            len(target),
            np.ascontiguousarray(target),
            columns,
            gradient,
            hessian,
        )
        return gradient.T.copy(), hessian.T.copy()

    def link(self, raw_score: Array) -> Array:
        """Turn raw scores into what the model predicts.

        Parameters
        ----------
        raw_score : ndarray of float64, shape (n_rows, n_outputs)

        Returns
        -------
        ndarray of float64, shape (n_rows,) or (n_rows, n_classes)
            Values for regression, class probabilities for classifiers.
        """
        return raw_score[:, 0].copy()

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        """Differentiate a row's prediction in its raw scores.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets; of classifiers, the class whose probability is the prediction.
        raw_score : ndarray of float64, shape (n_rows, n_outputs)
            Raw scores.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)
        """
        return np.ones_like(raw_score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        """Compute the constant raw score that a library estimates before boosting.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` gives them.
        weight : ndarray of float64, shape (n_rows,)
            Row weights.

        Returns
        -------
        ndarray of float64, shape (n_outputs,)
        """
        return np.array([np.average(target, weights=weight)])

    def initial_score_change(
        self, target: Array, weight: Array, *, new_target: Array | None = None
    ) -> Array:
        """Differentiate `initial_score` in the logarithm of each row's weight.

        Parameters
        ----------
        target, weight : ndarray of float64, shape (n_rows,)
            See `initial_score`.
        new_target : ndarray of float64, shape (n_rows,), optional
            Give what each row would add if its target were this.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)

        Notes
        -----
        Every initial score is a function of the weighted mean of the targets, or of
        whether they are the output's class.
        """
        mean = np.average(self._statistic(target), axis=0, weights=weight)
        statistic = self._statistic(target if new_target is None else new_target)
        share = (weight / weight.sum())[:, np.newaxis]
        return self._initial_score_slope(mean) * (statistic - mean) * share

    def initial_score_target_change(self, target: Array, weight: Array) -> Array:
        """Differentiate `initial_score` in each row's target; for losses of one output.

        Parameters
        ----------
        target, weight : ndarray of float64, shape (n_rows,)
            See `initial_score`.

        Returns
        -------
        ndarray of float64, shape (n_rows, 1)
        """
        mean = np.average(self._statistic(target), axis=0, weights=weight)
        return self._initial_score_slope(mean) * (weight / weight.sum())[:, np.newaxis]

    def _statistic(self, target: Array) -> Array:
        """Give the numbers whose mean the initial score is a function of."""
        statistic = target[:, np.newaxis]
        if self.n_outputs > 1:
            return (statistic == np.arange(self.n_outputs)).astype(np.float64)
        return statistic

    def _initial_score_slope(self, mean: Array) -> Array:
        """Differentiate the initial score in the mean that it is a function of."""
        return np.ones_like(mean)

    def transform_target(self, target: Array) -> Array:
        """Bring the caller's targets to those the loss compares raw scores with."""
        return target

    def target_problem(self, target: Array) -> str | None:
        """Say what is wrong with the targets, or None."""
        return None


@dataclasses.dataclass(frozen=True)
class SquaredError(Loss):
    """Half the squared difference.

    Parameters
    ----------
    sqrt_target : bool, default=False
        Boost ``sign(y) sqrt(|y|)`` and square the prediction (LightGBM ``reg_sqrt``).
    """

    sqrt_target: bool = False
    kernel_code: ClassVar[int | None] = derivatives.SQUARED_ERROR

    def loss(self, target: Array, raw_score: Array) -> Array:
        return 0.5 * (raw_score[:, 0] - target) ** 2

    def link(self, raw_score: Array) -> Array:
        value = raw_score[:, 0].copy()
        return np.sign(value) * value**2 if self.sqrt_target else value

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        return 2.0 * np.abs(raw_score) if self.sqrt_target else np.ones_like(raw_score)

    def transform_target(self, target: Array) -> Array:
        if self.sqrt_target:
            return np.sign(target) * np.sqrt(np.abs(target))
        return target


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy of a probability target in [0, 1] on the logit."""

    kernel_code: ClassVar[int | None] = derivatives.LOGISTIC

    @property
    def parameter(self) -> float:
        return 1.0

    def loss(self, target: Array, raw_score: Array) -> Array:
        score = self.parameter * raw_score[:, 0]
        return np.logaddexp(0.0, score) - target * score

    def link(self, raw_score: Array) -> Array:
        return expit(raw_score[:, 0])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        return expit(raw_score) * expit(-raw_score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        mean = np.clip(np.average(target, weights=weight), _TINY, 1.0 - _TINY)
        return np.array([np.log(mean / (1.0 - mean)) / self.parameter])

    def _initial_score_slope(self, mean: Array) -> Array:
        return 1.0 / (self.parameter * np.maximum(mean * (1.0 - mean), _TINY))

    def target_problem(self, target: Array) -> str | None:
        return _outside(target, 0.0, 1.0, "probabilities in [0, 1]")


@dataclasses.dataclass(frozen=True)
class Logistic(CrossEntropy):
    """Logistic loss of two classes, numbered 0 and 1.

    Parameters
    ----------
    scale : float, default=1.0
        Factor on the raw score before the logistic function (LightGBM ``sigmoid``).
    """

    scale: float = 1.0

    @property
    def parameter(self) -> float:
        return self.scale

    @property
    def n_classes(self) -> int:
        return 2

    def link(self, raw_score: Array) -> Array:
        positive = expit(self.scale * raw_score[:, 0])
        return np.column_stack([1.0 - positive, positive])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        sign = 2.0 * target[:, np.newaxis] - 1.0
        score = self.scale * raw_score
        return sign * self.scale * expit(score) * expit(-score)


@dataclasses.dataclass(frozen=True)
class Softmax(Loss):
    """Cross-entropy of the softmax of one raw score for each class.

    Parameters
    ----------
    classes : int
        Number of classes.
    hessian_factor : float
        The library's factor on ``p (1 - p)``: K / (K - 1) in LightGBM, 2 in XGBoost.
    """

    classes: int
    hessian_factor: float = 1.0
    kernel_code: ClassVar[int | None] = derivatives.SOFTMAX

    @property
    def parameter(self) -> float:
        return self.hessian_factor

    @property
    def n_outputs(self) -> int:
        return self.classes

    @property
    def n_classes(self) -> int:
        return self.classes

    def loss(self, target: Array, raw_score: Array) -> Array:
        rows = np.arange(len(target))
        return -log_softmax(raw_score, axis=1)[rows, target.astype(np.intp)]

    def link(self, raw_score: Array) -> Array:
        return softmax(raw_score, axis=1)

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        probability = softmax(raw_score, axis=1)
        is_class = target[:, np.newaxis] == np.arange(self.classes)
        own = (probability * is_class).sum(axis=1, keepdims=True)
        return own * (is_class - probability)

    def initial_score(self, target: Array, weight: Array) -> Array:
        return np.log(np.maximum(self._shares(target, weight), _TINY))

    def _initial_score_slope(self, mean: Array) -> Array:
        return 1.0 / np.maximum(mean, _TINY)

    def _shares(self, target: Array, weight: Array) -> Array:
        totals = np.bincount(target.astype(np.intp), weight, minlength=self.classes)
        return totals / weight.sum()


@dataclasses.dataclass(frozen=True)
class OneVsAll(Softmax):
    """One logistic loss for each class against the others.

    Parameters
    ----------
    classes : int
        Number of classes.
    scale : float, default=1.0
        Factor on the raw scores before the logistic function.
    """

    scale: float = 1.0
    kernel_code: ClassVar[int | None] = derivatives.ONE_VS_ALL

    @property
    def parameter(self) -> float:
        return self.scale

    def loss(self, target: Array, raw_score: Array) -> Array:
        score = self.scale * raw_score
        is_class = target[:, np.newaxis] == np.arange(self.classes)
        return (np.logaddexp(0.0, score) - is_class * score).sum(axis=1)

    def link(self, raw_score: Array) -> Array:
        return expit(self.scale * raw_score)

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        is_class = target[:, np.newaxis] == np.arange(self.classes)
        score = self.scale * raw_score
        return is_class * self.scale * expit(score) * expit(-score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        share = np.clip(self._shares(target, weight), _TINY, 1.0 - _TINY)
        return np.log(share / (1.0 - share)) / self.scale

    def _initial_score_slope(self, mean: Array) -> Array:
        return 1.0 / (self.scale * np.maximum(mean * (1.0 - mean), _TINY))


@dataclasses.dataclass(frozen=True)
class Poisson(Loss):
    """Negative log-likelihood of a count whose log mean is the raw score.

    Parameters
    ----------
    hessian_shift : float, default=0.0
        The library divides by ``exp(raw_score + hessian_shift)`` (LightGBM
        ``poisson_max_delta_step``).
    """

    hessian_shift: float = 0.0
    kernel_code: ClassVar[int | None] = derivatives.POISSON

    @property
    def parameter(self) -> float:
        return self.hessian_shift

    def loss(self, target: Array, raw_score: Array) -> Array:
        return np.exp(raw_score[:, 0]) - target * raw_score[:, 0]

    def link(self, raw_score: Array) -> Array:
        return np.exp(raw_score[:, 0])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        return np.exp(raw_score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        return np.log([max(float(np.average(target, weights=weight)), _TINY)])

    def _initial_score_slope(self, mean: Array) -> Array:
        return 1.0 / np.maximum(mean, _TINY)

    def target_problem(self, target: Array) -> str | None:
        return _outside(target, 0.0, np.inf, "counts of at least 0")


@dataclasses.dataclass(frozen=True)
class Gamma(Poisson):
    """Negative log-likelihood of a gamma variable whose log mean is the raw score."""

    hessian_shift: float = dataclasses.field(default=0.0, init=False, repr=False)
    kernel_code: ClassVar[int | None] = derivatives.GAMMA

    def loss(self, target: Array, raw_score: Array) -> Array:
        return target * np.exp(-raw_score[:, 0]) + raw_score[:, 0]

    def target_problem(self, target: Array) -> str | None:
        return _outside(target, np.nextafter(0.0, 1.0), np.inf, "values above 0")


@dataclasses.dataclass(frozen=True)
class Tweedie(Loss):
    """Negative Tweedie log-likelihood with the raw score as log mean.

    Parameters
    ----------
    power : float
        Variance power, in (1, 2).
    """

    power: float = 1.5
    kernel_code: ClassVar[int | None] = derivatives.TWEEDIE

    @property
    def parameter(self) -> float:
        return self.power

    def loss(self, target: Array, raw_score: Array) -> Array:
        score, rho = raw_score[:, 0], self.power
        first = target * np.exp((1.0 - rho) * score) / (1.0 - rho)
        return np.exp((2.0 - rho) * score) / (2.0 - rho) - first

    def link(self, raw_score: Array) -> Array:
        return np.exp(raw_score[:, 0])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        return np.exp(raw_score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        return np.log([max(float(np.average(target, weights=weight)), _TINY)])

    def _initial_score_slope(self, mean: Array) -> Array:
        return 1.0 / np.maximum(mean, _TINY)

    def target_problem(self, target: Array) -> str | None:
        return _outside(target, 0.0, np.inf, "values of at least 0")


@dataclasses.dataclass(frozen=True)
class Huber(Loss):
    """Squared up to a width, linear beyond.

    Parameters
    ----------
    width : float
        Residual at which the loss becomes linear, in units of the target.
    """

    width: float = 1.0
    kernel_code: ClassVar[int | None] = derivatives.HUBER

    @property
    def parameter(self) -> float:
        return self.width

    def loss(self, target: Array, raw_score: Array) -> Array:
        size = np.abs(raw_score[:, 0] - target)
        return np.where(
            size <= self.width,
            0.5 * size**2,
            self.width * (size - 0.5 * self.width),
        )


@dataclasses.dataclass(frozen=True)
class HuberExact(Huber):
    """`Huber` whose hessian is its second derivative: 0 beyond the width.

    Parameters
    ----------
    width : float
        Residual at which the loss becomes linear, in units of the target.
    """

    kernel_code: ClassVar[int | None] = derivatives.HUBER_EXACT


@dataclasses.dataclass(frozen=True)
class PseudoHuber(Loss):
    """``d^2 (sqrt(1 + (r / d)^2) - 1)`` of the residual r: Huber without a kink.

    Parameters
    ----------
    slope : float
        The constant d: the slope far from 0, in units of the target (XGBoost
        ``huber_slope``).
    """

    slope: float = 1.0
    kernel_code: ClassVar[int | None] = derivatives.PSEUDO_HUBER

    @property
    def parameter(self) -> float:
        return self.slope

    def loss(self, target: Array, raw_score: Array) -> Array:
        ratio = (raw_score[:, 0] - target) / self.slope
        return self.slope**2 * (np.sqrt(1.0 + ratio**2) - 1.0)


@dataclasses.dataclass(frozen=True)
class SquaredLogError(Loss):
    """Half the squared difference of ``log(1 + x)`` (XGBoost)."""

    kernel_code: ClassVar[int | None] = derivatives.SQUARED_LOG_ERROR

    def loss(self, target: Array, raw_score: Array) -> Array:
        score = np.maximum(raw_score[:, 0], -1.0 + 1e-6)
        return 0.5 * (np.log1p(score) - np.log1p(target)) ** 2

    def target_problem(self, target: Array) -> str | None:
        return _outside(target, np.nextafter(-1.0, 0.0), np.inf, "values above -1")


@dataclasses.dataclass(frozen=True)
class Fair(Loss):
    """``c^2 (|r| / c - log(1 + |r| / c))`` of the residual r.

    Parameters
    ----------
    width : float
        The constant c, in units of the target.
    """

    width: float = 1.0
    kernel_code: ClassVar[int | None] = derivatives.FAIR

    @property
    def parameter(self) -> float:
        return self.width

    def loss(self, target: Array, raw_score: Array) -> Array:
        ratio = np.abs(raw_score[:, 0] - target) / self.width
        return self.width**2 * (ratio - np.log1p(ratio))


@dataclasses.dataclass(frozen=True)
class AbsoluteError(Loss):
    """Absolute difference; leaf values are medians."""

    def loss(self, target: Array, raw_score: Array) -> Array:
        return np.abs(raw_score[:, 0] - target)


@dataclasses.dataclass(frozen=True)
class AbsolutePercentageError(Loss):
    """Absolute difference in units of the target; leaf values are weighted medians."""

    def loss(self, target: Array, raw_score: Array) -> Array:
        return np.abs(raw_score[:, 0] - target) / np.maximum(np.abs(target), 1.0)


@dataclasses.dataclass(frozen=True)
class Quantile(Loss):
    """Pinball loss; leaf values are quantiles.

    Parameters
    ----------
    level : float
        Quantile, in (0, 1).
    """

    level: float = 0.5

    def loss(self, target: Array, raw_score: Array) -> Array:
        residual = target - raw_score[:, 0]
        return np.maximum(self.level * residual, (self.level - 1.0) * residual)


@dataclasses.dataclass(frozen=True)
class Exponential(Loss):
    """``exp(-s F)`` of two classes, with s = 1 for class 1 and -1 for class 0."""

    kernel_code: ClassVar[int | None] = derivatives.EXPONENTIAL

    @property
    def n_classes(self) -> int:
        return 2

    def loss(self, target: Array, raw_score: Array) -> Array:
        return np.exp((1.0 - 2.0 * target) * raw_score[:, 0])

    def link(self, raw_score: Array) -> Array:
        positive = expit(2.0 * raw_score[:, 0])
        return np.column_stack([1.0 - positive, positive])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        sign = 2.0 * target[:, np.newaxis] - 1.0
        return sign * 2.0 * expit(2.0 * raw_score) * expit(-2.0 * raw_score)

    def initial_score(self, target: Array, weight: Array) -> Array:
        mean = np.clip(np.average(target, weights=weight), _TINY, 1.0 - _TINY)
        return np.array([0.5 * np.log(mean / (1.0 - mean))])

    def _initial_score_slope(self, mean: Array) -> Array:
        return 0.5 / np.maximum(mean * (1.0 - mean), _TINY)


@dataclasses.dataclass(frozen=True)
class Brier(Loss):
    """Half the squared distance of class probabilities from the class.

    The raw scores are the probabilities themselves; the average of the classes in a
    leaf is the value of least loss.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    classes: int

    @property
    def n_outputs(self) -> int:
        return self.classes

    @property
    def n_classes(self) -> int:
        return self.classes

    def loss(self, target: Array, raw_score: Array) -> Array:
        is_class = target[:, np.newaxis] == np.arange(self.classes)
        return 0.5 * ((raw_score - is_class) ** 2).sum(axis=1)

    def link(self, raw_score: Array) -> Array:
        return raw_score.copy()

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        is_class = target[:, np.newaxis] == np.arange(self.classes)
        return is_class.astype(np.float64)

    def initial_score(self, target: Array, weight: Array) -> Array:
        totals = np.bincount(target.astype(np.intp), weight, minlength=self.classes)
        return totals / weight.sum()


def _outside(target: Array, lowest: float, highest: float, words: str) -> str | None:
    """Say which target lies outside its range, or None."""
    wrong = (target < lowest) | (target > highest)
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return f"expected {words}; got {float(target[row])!r} in row {row}"


LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss
    for loss in (
        SquaredError,
        CrossEntropy,
        Logistic,
        Softmax,
        OneVsAll,
        Poisson,
        Gamma,
        Tweedie,
        Huber,
        HuberExact,
        PseudoHuber,
        SquaredLogError,
        Fair,
        Exponential,
        AbsoluteError,
        AbsolutePercentageError,
        Quantile,
        Brier,
    )
}
"""Every loss by its name."""


def loss_from_dict(description: dict[str, Any]) -> Loss:
    """Make the loss that `Loss.to_dict` described.

    Parameters
    ----------
    description : dict
        Key ``"name"`` and the loss's own parameters.

    Raises
    ------
    ValueError
        If there is no such loss, or it has no such parameter.
    """
    parameters = dict(description)
    name = parameters.pop("name", None)
    if name not in LOSSES:
        raise ValueError(f"Got loss {name!r}; expected one of {sorted(LOSSES)}.")
    init = {field.name for field in dataclasses.fields(LOSSES[name]) if field.init}
    try:
        return LOSSES[name](
            **{key: parameters[key] for key in parameters if key in init}
        )
    except TypeError as error:
        raise ValueError(f"Got parameters {parameters!r} for loss {name}.") from error
