"""Losses of class labels and of probabilities."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_softmax, softmax

from treeinf.ensemble.losses.base import TINY, Array, Loss, describe_outside
from treeinf.kernels.formulas import derivatives

__all__ = [
    "Brier",
    "CrossEntropy",
    "Exponential",
    "Logistic",
    "OneVsAll",
    "Softmax",
]


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

    def base_score(self, target: Array, weight: Array) -> Array:
        mean = np.clip(np.average(target, weights=weight), TINY, 1.0 - TINY)
        return np.array([np.log(mean / (1.0 - mean)) / self.parameter])

    def _base_score_slope(self, mean: Array) -> Array:
        return 1.0 / (self.parameter * np.maximum(mean * (1.0 - mean), TINY))

    def target_problem(self, target: Array) -> str | None:
        return describe_outside(target, 0.0, 1.0, "probabilities in [0, 1]")


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
        of_class = (probability * is_class).sum(axis=1, keepdims=True)
        return of_class * (is_class - probability)

    def base_score(self, target: Array, weight: Array) -> Array:
        return np.log(np.maximum(self._shares(target, weight), TINY))

    def _base_score_slope(self, mean: Array) -> Array:
        return 1.0 / np.maximum(mean, TINY)

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

    def base_score(self, target: Array, weight: Array) -> Array:
        share = np.clip(self._shares(target, weight), TINY, 1.0 - TINY)
        return np.log(share / (1.0 - share)) / self.scale

    def _base_score_slope(self, mean: Array) -> Array:
        return 1.0 / (self.scale * np.maximum(mean * (1.0 - mean), TINY))


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

    def base_score(self, target: Array, weight: Array) -> Array:
        mean = np.clip(np.average(target, weights=weight), TINY, 1.0 - TINY)
        return np.array([0.5 * np.log(mean / (1.0 - mean))])

    def _base_score_slope(self, mean: Array) -> Array:
        return 0.5 / np.maximum(mean * (1.0 - mean), TINY)


@dataclasses.dataclass(frozen=True)
class Brier(Loss):
    """Half the squared distance of class probabilities from the class.

    The raw scores are the probabilities themselves; the class frequencies in a leaf
    minimise the loss.

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

    def base_score(self, target: Array, weight: Array) -> Array:
        totals = np.bincount(target.astype(np.intp), weight, minlength=self.classes)
        return totals / weight.sum()
