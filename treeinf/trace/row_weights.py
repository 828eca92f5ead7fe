"""Weights that a library gives the rows by their labels."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from treeinf.dtypes import REAL
from treeinf.ensemble import TreeEnsemble

__all__ = ["label_weights", "weigh_rows"]

_NO_ROWS = np.empty(0, np.bool_)


def weigh_rows(
    ensemble: TreeEnsemble,
    sample_weight: NDArray[np.float64],
    label_weight: NDArray[np.float64],
    table_start: NDArray[np.int64],
    target: NDArray[np.float64],
    held_out: NDArray[np.bool_] = _NO_ROWS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Multiply the weights that the library gives the rows by their labels.

    Parameters
    ----------
    ensemble : TreeEnsemble
        The model.
    sample_weight : ndarray of float64, shape (n_rows,) or (0,)
        Weights that the caller passed; empty for 1.
    label_weight : ndarray of float64, shape (n_tables, 2, n_labels)
        From `label_weights`.
    table_start : ndarray of int64, shape (n_tables + 1,) or (0,)
        First row of each table; see `StagedRows`.
    target : ndarray of float64, shape (n_rows,)
        Targets as `Loss.transform_target` returns them.
    held_out : ndarray of bool, shape (n_rows,) or (0,)
        Rows without a part in the base score; empty for none.

    Returns
    -------
    plain : ndarray of float64, shape (n_rows,)
        Weights with the first factor alone, those of the base score.
    weight : ndarray of float64, shape (n_rows,) or (0,)
        Weights of the gradients; empty for 1.
    """
    loss, facts = ensemble.loss, ensemble.training
    table: NDArray[np.int64] | int = 0
    if table_start.size:
        table = np.repeat(np.arange(len(label_weight)), np.diff(table_start))
    plain = sample_weight if sample_weight.size else np.ones(len(target))
    has_label_weights = bool((label_weight != 1.0).any())
    if has_label_weights:
        is_class = loss is not None and loss.n_classes > 0
        label = (target if is_class else target == 1.0).astype(np.intp)
        plain = plain * label_weight[table, 0, label]
    if facts.single_precision or facts.single_inputs:
        plain = plain.astype(np.float32).astype(REAL)
    weight = plain * label_weight[table, 1, label] if has_label_weights else plain
    if (weight == 1.0).all():
        weight = np.empty(0, REAL)
    if held_out.size:
        plain = np.where(held_out, 0.0, plain)
    return plain, np.ascontiguousarray(weight)


def label_weights(
    ensemble: TreeEnsemble,
    target: NDArray[np.float64],
    table_start: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return each label's factor on weights, and a second one on gradients alone.

    Factors that follow from counts are those of each table.

    Parameters
    ----------
    ensemble, target, table_start
        See `weigh_rows`.

    Returns
    -------
    ndarray of float64, shape (n_tables, 2, n_labels)
        Labels are the classes; in regression targets other than 1, and 1, which XGBoost
        applies its ``scale_pos_weight`` to; none where no weight follows from them.
    """
    if not table_start.size:
        return _weigh_labels(ensemble, target)[np.newaxis]
    tables = itertools.pairwise(table_start.tolist())
    return np.stack([_weigh_labels(ensemble, target[slice(*rows)]) for rows in tables])


def _weigh_labels(
    ensemble: TreeEnsemble, target: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the factors of the labels of one table, shape (2, n_labels)."""
    loss, facts = ensemble.loss, ensemble.training
    n_classes = 0 if loss is None else loss.n_classes
    if not n_classes:
        if loss is None or facts.positive_weight is None:
            return np.ones((2, 0))
        of_gradient = _positive_weights(facts.positive_weight, target == 1.0)
        return np.stack([np.ones(2), of_gradient])
    weights = np.ones((2, n_classes))
    label = target.astype(np.intp)
    class_weight = facts.class_weight
    if isinstance(class_weight, str):
        counts = np.bincount(label, minlength=n_classes)
        present = counts > 0
        weights[0, present] = len(target) / (present.sum() * counts[present])
    elif class_weight is not None:
        labels = range(n_classes) if ensemble.classes is None else ensemble.classes
        factors = dict(class_weight)
        weights[0] = [factors.get(name, 1.0) for name in labels]
    if facts.positive_weight is not None:
        negative, positive = _positive_weights(facts.positive_weight, label > 0)
        weights[1, 0], weights[1, 1:] = negative, positive
    return weights


def _positive_weights(
    positive_weight: float | str, positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the weights of negative and of positive rows in the gradients."""
    if positive_weight != "unbalanced":
        return np.array([1.0, float(positive_weight)])
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return np.ones(2)
    if n_positive > n_negative:
        return np.array([n_positive / n_negative, 1.0])
    return np.array([1.0, n_negative / n_positive])
