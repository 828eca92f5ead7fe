"""L2-regularised linear model on leaf features, solved by Newton-CG."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from tqdm.auto import tqdm

from treeinf.explainers.tree_kernel.row_features import RowFeatures

__all__ = ["LinearSurrogate", "Solution"]

Array = NDArray[np.float64]

_ROUNDING = 1e-14
_SUFFICIENT = 1e-4
_INNER = 1e-2
_MOST_HALVINGS = 40
_MOST_STALLS = 4


@dataclasses.dataclass(frozen=True)
class Solution:
    """Coefficients that minimise the objective, and how exact they are.

    Attributes
    ----------
    coefficients : ndarray of float64, shape (n_features, n_outputs)
        Coefficients.
    score : ndarray of float64, shape (n_rows, n_outputs)
        Output of the surrogate for the rows.
    slope : ndarray of float64, shape (n_rows, n_outputs)
        Derivative of the mean loss with respect to the score.
    loss_gradient : ndarray of float64, shape (n_features, n_outputs)
        Gradient of the mean loss with respect to the coefficients.
    gradient_norm : float
        Norm of the objective's gradient over the norm of the penalty's gradient.
    n_iterations : int
        Total number of conjugate-gradient iterations.
    """

    coefficients: Array
    score: Array
    slope: Array
    loss_gradient: Array
    gradient_norm: float
    n_iterations: int


class _Point(NamedTuple):
    """The objective and its derivatives at some coefficients."""

    coefficients: Array
    score: Array
    prediction: Array
    slope: Array
    loss_gradient: Array
    gradient: Array
    objective: float


@dataclasses.dataclass(frozen=True, eq=False)
class LinearSurrogate:
    """The objective ``sum_i share_i loss(y_i, x_i W) + l2 |W|^2``.

    Parameters
    ----------
    features : RowFeatures
        The rows x.
    target : ndarray of float64, shape (n_rows, n_outputs)
        Values, or probabilities: of the second class, or of each class.
    share : ndarray of float64, shape (n_rows,)
        Weights of the rows, of sum 1.
    l2 : float
        Penalty.
    kind : {"squared", "logistic", "softmax"}
        Loss of a row: the squared difference (not half of it, as published), or the
        cross-entropy of the logistic function or the softmax.

    Notes
    -----
    Newton's method. Each step is solved by conjugate gradients on implicit products
    with the features, with the diagonal as preconditioner, and shortened until the
    objective falls. For the squared error one step is the solution. Inner products are
    NumPy's pairwise sums, never a threaded BLAS, so that the result has the same bits
    for any number of threads.

    The tolerance is relative to the penalty: at the solution the two terms of
    the gradient cancel, ``2 l2 W = -X^T slope``, so that the norm of their sum over
    that of ``2 l2 W`` is the relative distance of W from its representer form. It is at
    least as strict as the gradient relative to that at W = 0.

    References
    ----------
    J. Nocedal, S. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 7.1.
    """

    features: RowFeatures
    target: Array
    share: Array
    l2: float
    kind: str

    def minimise(self, tol: float, max_iter: int, *, verbose: bool = False) -> Solution:
        """Minimise the objective.

        Parameters
        ----------
        tol : float
            Gradient norm over penalty gradient norm, see above. Newton steps are solved
            to a hundredth of it, so that the final norm is usually below `tol`.
        max_iter : int
            Maximum number of conjugate-gradient iterations over all Newton steps.
        verbose : bool, default=False
            Show a progress bar.

        Returns
        -------
        Solution
            The best iterate; its `gradient_norm` shows whether `tol` was reached.
        """
        coefficients = np.zeros((self.features.n_features, self.target.shape[1]))
        point = self._evaluate(coefficients)
        initial_norm = _norm(point.gradient)
        best, best_relative = point, np.inf
        n_iterations, n_stalls = 0, 0
        with tqdm(
            desc="Trex.fit", unit="iteration", leave=False, disable=not verbose
        ) as progress:
            while True:
                norm = _norm(point.gradient)
                relative = _ratio(norm, 2.0 * self.l2 * _norm(point.coefficients))
                n_stalls = 0 if relative < 0.5 * best_relative else n_stalls + 1
                if relative < best_relative:
                    best, best_relative = point, relative
                if relative <= _INNER * tol or n_iterations >= max_iter:
                    break
                if n_stalls > (0 if best_relative <= tol else _MOST_STALLS):
                    break
                forcing = 0.0
                if self.kind != "squared":
                    forcing = min(0.1, float(np.sqrt(norm / initial_norm))) * norm
                step, n_inner = self._newton_step(
                    point, forcing, _INNER * tol, max_iter - n_iterations
                )
                n_iterations += n_inner
                progress.update(n_inner)
                next_point = self._line_search(point, step)
                if next_point is None:
                    break
                point = next_point
        return Solution(
            best.coefficients,
            best.score,
            best.slope,
            best.loss_gradient,
            best_relative,
            n_iterations,
        )

    def _evaluate(self, coefficients: Array) -> _Point:
        """Evaluate the objective and its gradient."""
        score = self.features.multiply(coefficients)
        loss, prediction = self._loss(score)
        share = self.share[:, np.newaxis]
        slope = share * (prediction - self.target)
        if self.kind == "squared":
            slope *= 2.0
        loss_gradient = self.features.multiply_transposed(slope)
        return _Point(
            coefficients,
            score,
            prediction,
            slope,
            loss_gradient,
            loss_gradient + 2.0 * self.l2 * coefficients,
            float((share * loss).sum()) + self.l2 * _inner(coefficients, coefficients),
        )

    def _loss(self, score: Array) -> tuple[Array, Array]:
        """Return the loss and the prediction of each row."""
        if self.kind == "squared":
            return (score - self.target) ** 2, score
        if self.kind == "logistic":
            small = np.exp(-np.abs(score))
            loss = np.log1p(small) + np.maximum(score, 0.0) - self.target * score
            return loss, np.where(score < 0.0, small, 1.0) / (1.0 + small)
        return -self.target * log_softmax(score, axis=1), softmax(score, axis=1)

    def _newton_step(
        self, point: _Point, forcing: float, relative: float, max_iter: int
    ) -> tuple[Array, int]:
        """Solve ``hessian @ step = -gradient`` by conjugate gradients.

        Stop when the norm of the residual is below `forcing`, or below `relative` times
        the penalty's gradient after the step.
        """
        share, probability = self.share[:, np.newaxis], point.prediction
        if self.kind == "squared":
            curvature = np.broadcast_to(2.0 * share, probability.shape)
        else:
            curvature = share * probability * (1.0 - probability)
        penalty = 2.0 * self.l2
        diagonal = self.features.add_squares(curvature) + penalty
        step = np.zeros_like(point.gradient)
        residual = -point.gradient
        scaled = residual / diagonal
        direction = scaled.copy()
        product = _inner(residual, scaled)
        for iteration in range(1, max_iter + 1):
            change = self.features.multiply(direction)
            if self.kind == "softmax":
                mean = (probability * change).sum(axis=1, keepdims=True)
                change = share * probability * (change - mean)
            else:
                change = curvature * change
            image = self.features.multiply_transposed(change) + penalty * direction
            length = product / _inner(direction, image)
            step += length * direction
            residual -= length * image
            penalty_norm = penalty * _norm(point.coefficients + step)
            if _norm(residual) <= max(forcing, relative * penalty_norm):
                return step, iteration
            scaled = residual / diagonal
            before, product = product, _inner(residual, scaled)
            direction = scaled + product / before * direction
        return step, max_iter

    def _line_search(self, point: _Point, step: Array) -> _Point | None:
        """Halve the step until the objective decreases; None if it never does."""
        slope = _inner(point.gradient, step)
        slack = _ROUNDING * max(1.0, abs(point.objective))
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            candidate = self._evaluate(point.coefficients + length * step)
            bound = point.objective + _SUFFICIENT * length * slope + slack
            if self.kind == "squared" or candidate.objective <= bound:
                return candidate
            length /= 2.0
        return None


def _inner(a: Array, b: Array) -> float:
    return float((a * b).sum())


def _norm(a: Array) -> float:
    return float(np.sqrt(_inner(a, a)))


def _ratio(a: float, b: float) -> float:
    return 0.0 if a == 0.0 else float(np.divide(a, b)) if b > 0.0 else np.inf
