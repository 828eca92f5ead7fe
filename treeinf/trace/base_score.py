"""How the initial score answers to the train rows, where it is estimated from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.losses import Loss, Softmax

__all__ = ["follow_base_score"]

Array = NDArray[np.float64]

_SINGLE = 1e-5
"""Relative difference that scores written in single precision may have."""


def follow_base_score(
    ensemble: TreeEnsemble, target: Array, weights: tuple[Array, ...]
) -> Array:
    """Differentiate a stored initial score in the logarithm of each row's weight.

    Libraries estimate it in three ways: the loss's own `initial_score`; the same with
    its mean over the classes taken off (softmax); one Newton step from 0. Of these, and
    of the given weights, the first is taken that gives the score the model stores.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    target : ndarray of float64, shape (n_rows,)
        Targets of the train rows.
    weights : tuple of ndarray of float64, shape (n_rows,)
        Weights it may have been estimated with.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs) or (0, n_outputs)
        Empty where none of the ways gives the score: it is held fixed then.
    """
    loss, stored = ensemble.loss, ensemble.base_score
    assert loss is not None
    for weight in weights:
        score = loss.initial_score(target, weight)
        change = loss.initial_score_change(target, weight)
        if _is_same(score, stored):
            return change
        if isinstance(loss, Softmax) and _is_same(score - score.mean(), stored):
            return change - change.mean(axis=1, keepdims=True)
        score, change = _step_from_zero(loss, target, weight)
        if _is_same(score, stored):
            return change
    return np.empty((0, ensemble.n_outputs))


def _is_same(score: Array, stored: Array) -> bool:
    return bool(np.allclose(score, stored, rtol=_SINGLE, atol=_SINGLE))


def _step_from_zero(loss: Loss, target: Array, weight: Array) -> tuple[Array, Array]:
    """Take one Newton step from 0, and differentiate it."""
    gradient, hessian = loss.derivatives(
        target, np.zeros((len(target), loss.n_outputs))
    )
    gradient *= weight[:, np.newaxis]
    hessian *= weight[:, np.newaxis]
    total = hessian.sum(axis=0)
    score = -gradient.sum(axis=0) / total
    return score, -(gradient + score * hessian) / total
