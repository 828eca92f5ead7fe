"""Pool predictions of base models of several kinds, none of which has seen the row.

Every kind of model has a weakness: boosted trees fit smooth boundaries badly, kernels
irrelevant columns, and copies of a large model fit wrong labels of neighbours. They
agree more where they are right than where they are wrong, so that the pool finds wrong
labels better than the best of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.cleaning.scores.extra_trees import predict_by_trees
from treeinf.cleaning.scores.kernel_ridge import predict_by_kernel
from treeinf.kernels.threads import one_blas_thread
from treeinf.training.rows import LabelledRows

__all__ = ["BASE_MODELS", "Stack", "code_targets", "stack_predictions"]

_SHRINKAGE = 0.03

BASE_MODELS: dict[
    str,
    Callable[
        [
            LabelledRows,
            EncodedTable,
            NDArray[np.float64],
            Sequence[CopyRows],
            int,
            int,
        ],
        list[NDArray[np.float32]],
    ],
] = {"forest": predict_by_trees, "kernel": predict_by_kernel}
"""Base models besides the copies of the user's estimator, by name."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stack:
    """Pooled predictions of rows by models that have not seen them.

    Parameters
    ----------
    prediction : ndarray of float64, shape (n_rows, n_classes) or (n_rows,)
        Probabilities, or values.
    weight : dict of str to float
        Weight of each base model, by name; they add up to 1.
    """

    prediction: NDArray[np.float64]
    weight: dict[str, float]


def code_targets(rows: LabelledRows, n_classes: int) -> NDArray[np.float64]:
    """Return what base models learn: class indicators, or the values.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
        Of two classes, the indicator of the second alone.
    """
    if rows.code is None:
        return np.asarray(rows.y, dtype=np.float64)[:, np.newaxis]
    indicator: NDArray[np.float64] = np.eye(n_classes)[rows.code]
    return indicator[:, 1:] if n_classes == 2 else indicator


@one_blas_thread()
def stack_predictions(
    rows: LabelledRows, n_classes: int, predictions: Mapping[str, NDArray[np.float64]]
) -> Stack:
    """Pool predictions by base models that have not seen the rows.

    Parameters
    ----------
    rows : LabelledRows
        Rows.
    n_classes : int
        Number of classes; 0 for regression.
    predictions : mapping of str to ndarray of float64, shape (n_rows, n_outputs)
        Predictions of `code_targets` by name, at least one. NaN is replaced by the mean
        of the other base models, or of the targets.

    Returns
    -------
    Stack

    Notes
    -----
    The weights are not negative and add up to 1. They minimise the squared error of the
    pool, plus 3 % of the base models' mean squared error times the sum of squared
    weights, which draws them together. Labels that are wrong at random add the same
    error to every pool, and so do not bias the weights.

    References
    ----------
    L. Breiman, "Stacked Regressions", Machine Learning 24 (1996).
    """
    weight = np.ones(rows.n_rows) if rows.weight is None else rows.weight
    target = code_targets(rows, n_classes)
    mean = np.average(target, axis=0, weights=weight if weight.any() else None)
    completed = _complete(predictions, mean)
    if rows.code is not None:
        completed = {k: _as_probabilities(v) for k, v in completed.items()}
        target = np.eye(n_classes)[rows.code]
    errors = [prediction - target for prediction in completed.values()]
    share = _minimise_error(errors, weight)
    pooled = np.tensordot(share, np.stack(list(completed.values())), axes=1)
    return Stack(
        pooled[:, 0] if rows.code is None else pooled,
        dict(zip(completed, share.tolist(), strict=True)),
    )


def _complete(
    predictions: Mapping[str, NDArray[np.float64]], mean: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Replace missing predictions by the mean of the other base models'."""
    stacked = np.stack(list(predictions.values()))
    is_known = np.isfinite(stacked)
    if is_known.all():
        return dict(predictions)
    count = is_known.sum(axis=0)
    others = np.where(is_known, stacked, 0.0).sum(axis=0) / np.maximum(count, 1)
    others = np.where(count > 0, others, mean)
    return dict(zip(predictions, np.where(is_known, stacked, others), strict=True))


def _as_probabilities(prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring predicted indicators into [0, 1], with a sum of 1."""
    clipped = np.clip(prediction, 0.0, 1.0)
    if clipped.shape[1] == 1:
        return np.hstack([1.0 - clipped, clipped])
    total = clipped.sum(axis=1, keepdims=True)
    even = np.full_like(clipped, 1.0 / prediction.shape[1])
    return np.divide(clipped, total, out=even, where=total > 0.0)


def _minimise_error(
    errors: Sequence[NDArray[np.float64]], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of the base models; see `stack_predictions`."""
    n_models = len(errors)
    flat = np.stack([(np.sqrt(weight)[:, np.newaxis] * e).ravel() for e in errors])
    product = flat @ flat.T
    scale = float(np.trace(product)) / n_models
    equal = np.full(n_models, 1.0 / n_models)
    if n_models == 1 or scale == 0.0:
        return equal
    product = product / scale + _SHRINKAGE * np.eye(n_models)
    solution = minimize(
        lambda share: (share @ product @ share, 2.0 * product @ share),
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_models,
        constraints={
            "type": "eq",
            "fun": lambda share: share.sum() - 1.0,
            "jac": lambda share: np.ones(n_models),
        },
    )
    share = np.maximum(solution.x, 0.0)
    return np.asarray(share / share.sum())
