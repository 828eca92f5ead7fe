"""A linear model on leaf features, with an L2 penalty, solved exactly."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax
from tqdm.auto import tqdm

from treeinf.explainers.leaf_features import LeafFeatures

__all__ = ["LinearSurrogate", "Solution"]

Array = NDArray[np.float64]

_ROUNDING = 1e-14
_SUFFICIENT = 1e-4
_INNER = 1e-2
_MOST_HALVINGS = 40
_MOST_STALLS = 4


@dataclasses.dataclass(frozen=True)
class Solution:
    """Coefficients of least objective, and how exact they are.

    Attributes
    ----------
    coefficients : ndarray of float64, shape (n_features, n_outputs)
        Coefficients.
    score : ndarray of float64, shape (n_rows, n_outputs)
        Output of the surrogate for the rows.
    slope : ndarray of float64, shape (n_rows, n_outputs)
        Derivative of the mean loss in them.
    gradient_norm : float
        Length of the objective's gradient over that of its penalty part.
    n_iterations : int
        Conjugate-gradient iterations in all.
    """

    coefficients: Array
    score: Array
    slope: Array
    gradient_norm: float
    n_iterations: int


@dataclasses.dataclass(frozen=True, eq=False)
class LinearSurrogate:
    """The objective ``sum_i share_i loss(y_i, x_i W) + l2 |W|^2``.

    Parameters
    ----------
    features : LeafFeatures
        What x is.
    leaf : ndarray of unsigned integer, shape (n_structures, n_rows)
        Leaves of the rows.
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

    The exactness asked for is relative to the penalty: at the solution the two parts of
    the gradient cancel, ``2 l2 W = -X^T slope``, so that the length of their sum over
    that of ``2 l2 W`` is the relative distance of W from its representer form. It is at
    least as strict as the gradient relative to that at W = 0.

    References
    ----------
    J. Nocedal, S. Wright, Numerical Optimization, 2nd ed. (2006), algorithm 7.1.
    """

    features: LeafFeatures
    leaf: NDArray[np.unsignedinteger[Any]]
    target: Array
    share: Array
    l2: float
    kind: str

    def minimise(self, tol: float, max_iter: int, *, verbose: bool = False) -> Solution:
        """Find the coefficients.

        Parameters
        ----------
        tol : float
            Gradient over penalty gradient, see above. Steps are solved for to a
            hundredth of it, and the last is taken unless rounding forbids, so that most
            often the norm ends below that.
        max_iter : int
            Most conjugate-gradient iterations in all.
        verbose : bool, default=False
            Show a progress bar.

        Returns
        -------
        Solution
            The best found; its `gradient_norm` says whether `tol` was reached.
        """
        n_outputs = self.target.shape[1]
        coefficients = np.zeros((self.features.n_features, n_outputs))
        score = np.zeros_like(self.target)
        best: Solution | None = None
        n_iterations, n_stalls = 0, 0
        start = None
        with tqdm(
            desc="Trex.fit", unit="iteration", leave=False, disable=not verbose
        ) as progress:
            while True:
                objective, slope = self._loss(score)
                objective += self.l2 * _inner(coefficients, coefficients)
                gradient = self._pull_back(slope, coefficients)
                size = _length(gradient)
                start = size if start is None else start
                relative = _ratio(size, 2.0 * self.l2 * _length(coefficients))
                if best is None or relative < 0.5 * best.gradient_norm:
                    n_stalls = 0
                else:
                    n_stalls += 1
                if best is None or relative < best.gradient_norm:
                    best = Solution(coefficients, score, slope, relative, n_iterations)
                if relative <= _INNER * tol or n_iterations >= max_iter:
                    break
                if n_stalls > (0 if best.gradient_norm <= tol else _MOST_STALLS):
                    break
                forcing = 0.0
                if self.kind != "squared":
                    forcing = min(0.1, float(np.sqrt(size / start))) * size
                step, n_inner = self._newton_step(
                    score,
                    coefficients,
                    gradient,
                    forcing,
                    _INNER * tol,
                    max_iter - n_iterations,
                )
                n_iterations += n_inner
                progress.update(n_inner)
                length = self._step_length(
                    score, coefficients, step, objective, _inner(gradient, step)
                )
                if length == 0.0:
                    break
                coefficients = coefficients + length * step
                score = self.features.multiply(self.leaf, coefficients)
        return dataclasses.replace(best, n_iterations=n_iterations)

    def _loss(self, score: Array) -> tuple[float, Array]:
        """Compute the mean loss, and its derivative in each row's output."""
        share = self.share[:, np.newaxis]
        if self.kind == "squared":
            residual = score - self.target
            return float((share * residual**2).sum()), 2.0 * share * residual
        if self.kind == "logistic":
            loss = np.logaddexp(0.0, score) - self.target * score
            return float((share * loss).sum()), share * (expit(score) - self.target)
        loss = -self.target * log_softmax(score, axis=1)
        return (
            float((share * loss).sum()),
            share * (softmax(score, axis=1) - self.target),
        )

    def _pull_back(self, slope: Array, coefficients: Array) -> Array:
        """Turn derivatives in the rows' outputs into the objective's gradient."""
        gradient = self.features.multiply_transposed(self.leaf, slope)
        gradient += 2.0 * self.l2 * coefficients
        return gradient

    def _newton_step(
        self,
        score: Array,
        coefficients: Array,
        gradient: Array,
        forcing: float,
        relative: float,
        max_iter: int,
    ) -> tuple[Array, int]:
        """Solve ``hessian @ step = -gradient`` by conjugate gradients.

        Until the residual is shorter than `forcing`, or than `relative` times the
        penalty's gradient after the step.
        """
        share = self.share[:, np.newaxis]
        if self.kind == "squared":
            probability, curvature = score, np.broadcast_to(2.0 * share, score.shape)
        else:
            link = expit if self.kind == "logistic" else _softmax_rows
            probability = link(score)
            curvature = share * probability * (1.0 - probability)
        diagonal = self.features.add_squares(self.leaf, curvature) + 2.0 * self.l2
        step = np.zeros_like(gradient)
        residual = -gradient
        scaled = residual / diagonal
        direction = scaled.copy()
        product = _inner(residual, scaled)
        for iteration in range(1, max_iter + 1):
            change = self.features.multiply(self.leaf, direction)
            if self.kind == "softmax":
                mean = (probability * change).sum(axis=1, keepdims=True)
                change = share * probability * (change - mean)
            else:
                change = curvature * change
            image = self._pull_back(change, direction)
            length = product / _inner(direction, image)
            step += length * direction
            residual -= length * image
            size = 2.0 * self.l2 * _length(coefficients + step)
            if _length(residual) <= max(forcing, relative * size):
                return step, iteration
            scaled = residual / diagonal
            before, product = product, _inner(residual, scaled)
            direction = scaled + product / before * direction
        return step, max_iter

    def _step_length(
        self,
        score: Array,
        coefficients: Array,
        step: Array,
        objective: float,
        slope: float,
    ) -> float:
        """Halve the step until the objective falls; 0 if it does not."""
        if self.kind == "squared":
            return 1.0
        change = self.features.multiply(self.leaf, step)
        length = 1.0
        for _ in range(_MOST_HALVINGS):
            moved = coefficients + length * step
            value = self._loss(score + length * change)[0]
            value += self.l2 * _inner(moved, moved)
            slack = _ROUNDING * max(1.0, abs(objective))
            if value <= objective + _SUFFICIENT * length * slope + slack:
                return length
            length /= 2.0
        return 0.0


def _softmax_rows(score: Array) -> Array:
    return softmax(score, axis=1)


def _inner(a: Array, b: Array) -> float:
    return float((a * b).sum())


def _length(a: Array) -> float:
    return float(np.sqrt(_inner(a, a)))


def _ratio(a: float, b: float) -> float:
    return 0.0 if a == 0.0 else float(np.divide(a, b)) if b > 0.0 else np.inf
