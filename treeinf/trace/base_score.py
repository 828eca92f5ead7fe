"""The base score, estimated from the train rows, and its derivatives."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.ensemble.losses import Loss, Softmax

__all__ = ["BaseEstimate", "find_base_estimate"]

Array = NDArray[np.float64]

_SINGLE = 1e-5
"""Relative difference that scores written in single precision may have."""


@dataclasses.dataclass(frozen=True, eq=False)
class BaseEstimate:
    """How a library estimated the base score from the train rows.

    Parameters
    ----------
    kind : {"fixed", "initial", "centred", "step"}
        "fixed": not estimated, or by an unknown rule; "initial": `Loss.base_score`;
        "centred": the same minus its mean over the classes (softmax); "step": one
        Newton step from 0.
    loss : Loss
        The training loss.
    target, weight : ndarray of float64, shape (n_rows,)
        Targets and weights that it was estimated with.
    share : ndarray of float64, shape (n_outputs,)
        Factor on the estimate in the base score of each output.
    has_gradient_weights : bool, default=False
        The weights are those of the gradients (XGBoost's ``scale_pos_weight``), not
        those before the factor of the labels on gradients alone.
    """

    kind: str
    loss: Loss
    target: Array
    weight: Array
    share: Array
    has_gradient_weights: bool = False

    def weight_gradient(self) -> Array:
        """Return the derivative of the score with respect to the log of each weight.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
            Empty where the score is fixed.
        """
        return self._contribution(self.target, self.weight)

    def label_gradient(self, new_target: Array, new_weight: Array) -> Array:
        """Return the derivative of the score as each target changes to another.

        Parameters
        ----------
        new_target, new_weight : ndarray of float64, shape (n_rows,)
            The other targets, and the rows' weights under them.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        """
        new = self._contribution(new_target, new_weight)
        return new - self._contribution(self.target, self.weight)

    def target_gradient(self) -> Array:
        """Return the derivative of the score with respect to each target.

        Returns
        -------
        ndarray of float64, shape (n_rows, 1) or (0, 1)
        """
        if self.kind == "fixed":
            return np.empty((0, 1))
        if self.kind == "step":
            zero = np.zeros((len(self.target), 1))
            gradient, hessian = self.loss.target_derivatives(self.target, zero)
            score, total = self._step()
            change = -(gradient + score * hessian) / total
            return np.asarray(self.weight[:, np.newaxis] * change * self.share)
        return self.share * self.loss.base_score_target_gradient(
            self.target, self.weight
        )

    def removal_change(self, rows: NDArray[np.int64]) -> Array:
        """Compute how the score changes when rows are removed.

        Parameters
        ----------
        rows : ndarray of int64
            Positions of the rows.

        Returns
        -------
        ndarray of float64, shape (n_outputs,)
        """
        if self.kind == "fixed" or not len(rows):
            return np.zeros(self.loss.n_outputs)
        weight = self.weight.copy()
        weight[rows] = 0.0
        without = dataclasses.replace(self, weight=weight).score()
        return self.share * (without - self.score())

    def score(self) -> Array:
        """Compute the estimate, shape (n_outputs,)."""
        if self.kind == "step":
            return self._step()[0]
        score = self.loss.base_score(self.target, self.weight)
        return score - score.mean() if self.kind == "centred" else score

    def _contribution(self, target: Array, weight: Array) -> Array:
        """Return the derivative with respect to the log weight of such rows."""
        if self.kind == "fixed":
            return np.empty((0, self.loss.n_outputs))
        if self.kind == "step":
            zero = np.zeros((len(target), self.loss.n_outputs))
            gradient, hessian = self.loss.derivatives(target, zero)
            score, total = self._step()
            change = -(gradient + score * hessian) / total
            return np.asarray(weight[:, np.newaxis] * change * self.share)
        change = self.loss.base_score_gradient(
            self.target, self.weight, new_target=target, new_weight=weight
        )
        if self.kind == "centred":
            change -= change.mean(axis=1, keepdims=True)
        return change * self.share

    def _step(self) -> tuple[Array, Array]:
        """Return one Newton step from 0, and the sum of hessians."""
        zero = np.zeros((len(self.target), self.loss.n_outputs))
        gradient, hessian = self.loss.derivatives(self.target, zero)
        total = self.weight @ hessian
        return -(self.weight @ gradient) / np.where(total > 0.0, total, 1.0), total


def find_base_estimate(
    ensemble: TreeEnsemble, target: Array, weights: tuple[Array, ...]
) -> BaseEstimate:
    """Find the rule of estimation that reproduces the stored base score.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    target : ndarray of float64, shape (n_rows,)
        Targets of the train rows.
    weights : tuple of ndarray of float64, shape (n_rows,)
        Candidates for the weights that it was estimated with: without and with the
        factor of the labels on gradients alone.

    Returns
    -------
    BaseEstimate
        The first that reproduces the score; "fixed" if none does.
    """
    loss = ensemble.loss
    assert loss is not None
    ones = np.ones(ensemble.n_outputs)
    kinds = ["initial"]
    if isinstance(loss, Softmax):
        kinds.append("centred")
    if loss.is_differentiable:
        kinds.append("step")
    for is_second, weight in enumerate(weights):
        for kind in kinds:
            estimate = BaseEstimate(kind, loss, target, weight, ones, bool(is_second))
            score = estimate.score()
            if np.allclose(score, ensemble.base_score, rtol=_SINGLE, atol=_SINGLE):
                return estimate
    return BaseEstimate("fixed", loss, target, weights[0], ones)
