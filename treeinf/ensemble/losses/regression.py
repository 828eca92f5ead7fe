"""Losses of numbers and counts."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from treeinf.ensemble.losses.base import TINY, Array, Loss, describe_outside
from treeinf.kernels.formulas import derivatives

__all__ = [
    "AbsoluteError",
    "AbsolutePercentageError",
    "Fair",
    "Gamma",
    "Huber",
    "HuberExact",
    "Poisson",
    "PseudoHuber",
    "Quantile",
    "SquaredError",
    "SquaredLogError",
    "Tweedie",
]


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


class _LogMean(Loss):
    """A loss whose raw score is the logarithm of a mean."""

    def link(self, raw_score: Array) -> Array:
        return np.exp(raw_score[:, 0])

    def link_slope(self, target: Array, raw_score: Array) -> Array:
        return np.exp(raw_score)

    def base_score(self, target: Array, weight: Array) -> Array:
        return np.log([max(float(np.average(target, weights=weight)), TINY)])

    def _base_score_slope(self, mean: Array) -> Array:
        return 1.0 / np.maximum(mean, TINY)


@dataclasses.dataclass(frozen=True)
class Poisson(_LogMean):
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

    def target_problem(self, target: Array) -> str | None:
        return describe_outside(target, 0.0, np.inf, "counts of at least 0")


@dataclasses.dataclass(frozen=True)
class Gamma(Poisson):
    """Negative log-likelihood of a gamma variable whose log mean is the raw score."""

    hessian_shift: float = dataclasses.field(default=0.0, init=False, repr=False)
    kernel_code: ClassVar[int | None] = derivatives.GAMMA

    def loss(self, target: Array, raw_score: Array) -> Array:
        return target * np.exp(-raw_score[:, 0]) + raw_score[:, 0]

    def target_problem(self, target: Array) -> str | None:
        return describe_outside(
            target, np.nextafter(0.0, 1.0), np.inf, "values above 0"
        )


@dataclasses.dataclass(frozen=True)
class Tweedie(_LogMean):
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

    def target_problem(self, target: Array) -> str | None:
        return describe_outside(target, 0.0, np.inf, "values of at least 0")


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
        return describe_outside(
            target, np.nextafter(-1.0, 0.0), np.inf, "values above -1"
        )


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
