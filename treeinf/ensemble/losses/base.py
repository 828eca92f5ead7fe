"""The interface of a loss: values, derivatives, predictions and base scores.

Each class names its derivatives' kernel by a code and at most one parameter; the
derivatives themselves are written once, in ``kernels/formulas/derivatives.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.kernels.flat import FlatLoss
from treeinf.kernels.formulas import derivatives

__all__ = ["TINY", "Array", "Loss", "describe_outside"]

Array = NDArray[np.float64]

TINY = 1e-15
"""Lower bound on class shares and mean counts before their logarithm is taken."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """Base class: a loss of one target and its raw scores.

    Attributes
    ----------
    kernel_code : int or None
        Constant of ``kernels/formulas/derivatives.py`` that selects the derivatives;
        None where the loss is not smooth enough for gradient-based influence.
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
        """Whether leaf values follow from gradients and hessians."""
        return self.kernel_code is not None

    @property
    def name(self) -> str:
        """Name of the class, as `loss_from_dict` reads it."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the parameters, ready for JSON."""
        return {"name": self.name, **dataclasses.asdict(self)}

    def loss(self, target: Array, raw_score: Array) -> Array:
        """Compute the loss of each row.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` returns them; class numbers for classifiers.
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
        target, raw_score
            See `loss`.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_rows, n_outputs)
            The hessian is the diagonal that the library divides by.

        Raises
        ------
        ValueError
            If the loss is not differentiable.
        """
        if self.kernel_code is None:
            raise ValueError(f"{self.name} is not differentiable: it has no gradient.")
        return self._differentiate(derivatives.loss_derivatives, target, raw_score)

    def target_derivatives(
        self, target: Array, raw_score: Array
    ) -> tuple[Array, Array]:
        """Compute the derivatives of gradient and hessian with respect to the target.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` returns them; classes as the numbers 0 and 1.
        raw_score : ndarray of float64, shape (n_rows, 1)
            Raw scores.

        Returns
        -------
        gradient, hessian : ndarray of float64, shape (n_rows, 1)

        Raises
        ------
        ValueError
            If the loss has several outputs, or is not smooth in its target.
        """
        if self.kernel_code is None or not derivatives.moves_with_target(
            self.kernel_code
        ):
            raise ValueError(f"{self.name} is not a smooth function of its target.")
        kernel = derivatives.differentiate_in_target
        return self._differentiate(kernel, target, raw_score)

    def _differentiate(
        self, kernel: Callable[..., None], target: Array, raw_score: Array
    ) -> tuple[Array, Array]:
        assert self.kernel_code is not None
        columns = np.ascontiguousarray(raw_score.T)
        gradient = np.empty_like(columns)
        hessian = np.empty_like(columns)
        kernel(
            FlatLoss(self.kernel_code, float(self.parameter)),
            len(target),
            np.ascontiguousarray(target),
            columns,
            gradient,
            hessian,
        )
        return gradient.T.copy(), hessian.T.copy()

    def link(self, raw_score: Array) -> Array:
        """Convert raw scores to predictions.

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
        """Compute the derivative of each prediction with respect to its raw scores.

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

    def base_score(self, target: Array, weight: Array) -> Array:
        """Compute the constant raw score that a library estimates before boosting.

        Parameters
        ----------
        target : ndarray of float64, shape (n_rows,)
            Targets as `transform_target` returns them.
        weight : ndarray of float64, shape (n_rows,)
            Row weights.

        Returns
        -------
        ndarray of float64, shape (n_outputs,)
        """
        return np.array([np.average(target, weights=weight)])

    def base_score_gradient(
        self,
        target: Array,
        weight: Array,
        *,
        new_target: Array | None = None,
        new_weight: Array | None = None,
    ) -> Array:
        """Compute the derivative of `base_score` with respect to each log weight.

        Parameters
        ----------
        target, weight : ndarray of float64, shape (n_rows,)
            See `base_score`.
        new_target, new_weight : ndarray of float64, shape (n_rows,), optional
            Targets and weights for which each row's derivative is returned; by default
            the row's own.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)

        Notes
        -----
        Every base score is a function of the weighted mean of the targets, or of
        whether they are the output's class.
        """
        mean = np.average(self._statistic(target), axis=0, weights=weight)
        statistic = self._statistic(target if new_target is None else new_target)
        changed = weight if new_weight is None else new_weight
        share = (changed / weight.sum())[:, np.newaxis]
        return self._base_score_slope(mean) * (statistic - mean) * share

    def base_score_target_gradient(self, target: Array, weight: Array) -> Array:
        """Compute the derivative of a single-output `base_score` by each target.

        Parameters
        ----------
        target, weight : ndarray of float64, shape (n_rows,)
            See `base_score`.

        Returns
        -------
        ndarray of float64, shape (n_rows, 1)
        """
        mean = np.average(self._statistic(target), axis=0, weights=weight)
        return self._base_score_slope(mean) * (weight / weight.sum())[:, np.newaxis]

    def _statistic(self, target: Array) -> Array:
        """Return the statistic whose weighted mean determines the base score."""
        statistic = target[:, np.newaxis]
        if self.n_outputs > 1:
            return (statistic == np.arange(self.n_outputs)).astype(np.float64)
        return statistic

    def _base_score_slope(self, mean: Array) -> Array:
        """Compute the derivative of the base score with respect to that mean."""
        return np.ones_like(mean)

    def transform_target(self, target: Array) -> Array:
        """Convert targets to the scale of the raw scores."""
        return target

    def target_problem(self, target: Array) -> str | None:
        """Describe what is wrong with the targets; return None if they are valid."""
        return None


def describe_outside(
    target: Array, lowest: float, highest: float, words: str
) -> str | None:
    """Describe the first target out of range; return None if there is none."""
    wrong = (target < lowest) | (target > highest)
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return f"expected {words}; got {float(target[row])!r} in row {row}"
