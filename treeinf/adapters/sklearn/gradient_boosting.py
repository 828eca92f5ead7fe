"""Read scikit-learn's GradientBoostingClassifier and GradientBoostingRegressor."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.sklearn.early_stopping import describe_hold_out
from treeinf.adapters.sklearn.row_sampling import describe_sampling
from treeinf.adapters.sklearn.trees import join, lay_out_trees, numeric_trees
from treeinf.dtypes import FLAG, NODE, REAL
from treeinf.ensemble import LeafRule, TrainingFacts, TreeEnsemble, losses

__all__ = ["WARM_START_NOTE", "init_score", "raw_score", "read"]

WARM_START_NOTE = (
    "warm_start=True: parameters may have changed between calls of fit, and only the "
    "last ones are known; the replay uses them for all iterations."
)
"""Why a replay of boosting that was continued is not exact."""

_QUANTILE_LOSSES = ("absolute_error", "huber", "quantile")


def read(model: Any, n_iterations: int | None) -> TreeEnsemble:
    """Read a fitted GradientBoostingClassifier or GradientBoostingRegressor.

    Leaf values of the differentiable losses are one Newton step; those of the others
    come from a line search in each leaf. The Huber loss, whose width changes with each
    iteration, is read with its last width; its leaf values are corrected medians. Where
    `init` predicts from the rows, the ensemble has `initial_model`.
    """
    estimators = model.estimators_[:n_iterations]
    n_iterations, n_outputs = estimators.shape
    trees = [estimator.tree_ for estimator in estimators.ravel()]
    layout = lay_out_trees(trees)
    fields = numeric_trees(model, trees, layout)
    value = join(trees, "value")[layout.leaf, 0]
    rate = float(model.learning_rate)
    base_score = np.zeros(n_outputs, REAL)
    is_constant = _is_constant(model)
    if is_constant:
        base_score = _initial_score(model, np.zeros((1, model.n_features_in_)))[0]
    is_newton = model.loss not in _QUANTILE_LOSSES
    is_squared_error = model.loss == "squared_error"
    return TreeEnsemble(
        **fields,
        iteration=np.repeat(np.arange(n_iterations, dtype=NODE), n_outputs),
        output=np.tile(np.arange(n_outputs, dtype=NODE), n_iterations),
        shrinkage=np.full(len(trees), rate, REAL),
        leaf_value=rate * value,
        base_score=base_score,
        base_score_folded=np.zeros(n_outputs, FLAG),
        loss=_find_loss(model, n_outputs),
        loss_name=model.loss,
        leaf_rule=LeafRule(
            "newton" if is_newton else "quantile", fits_single_leaf=True
        ),
        training=TrainingFacts(
            counts_zero_weights=False,
            estimates_base_score=model.init is None,
            subsample=_subsample(model),
            row_sampling=describe_sampling(model),
            approximations=(WARM_START_NOTE,) if model.warm_start else (),
        ),
        leaf_hessian=fields["leaf_weight"] if is_squared_error else None,
        leaf_l2=np.zeros(len(layout.leaf), REAL) if is_newton else None,
        initial_model=None if is_constant else type(model.init_).__name__,
        classes=getattr(model, "classes_", None),
    )


def raw_score(model: Any, X: Any, n_iterations: int | None) -> NDArray[np.float64]:
    """Compute the library's own raw scores, shape (n_rows, n_outputs)."""
    last = model.n_estimators_ if n_iterations is None else n_iterations
    last = min(last, model.n_estimators_) - 1
    return next(itertools.islice(model._staged_raw_predict(X), last, None))


def init_score(model: Any, X: Any) -> NDArray[np.float64] | None:
    """Compute each row's initial score where `init` predicts from the rows."""
    return None if _is_constant(model) else _initial_score(model, X)


def _initial_score(model: Any, X: Any) -> NDArray[np.float64]:
    return np.asarray(model._raw_predict_init(X), REAL)


def _is_constant(model: Any) -> bool:
    """Return whether all rows start from the same score."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    initial = model.init_
    if isinstance(initial, DummyClassifier):
        return initial.strategy != "stratified"
    return isinstance(initial, (str, DummyRegressor))


def _find_loss(model: Any, n_outputs: int) -> losses.Loss | None:
    match model.loss:
        case "log_loss" if n_outputs > 1:
            return losses.Softmax(n_outputs, n_outputs / (n_outputs - 1))
        case "log_loss":
            return losses.Logistic()
        case "exponential":
            return losses.Exponential()
        case "squared_error":
            return losses.SquaredError()
        case "absolute_error":
            return losses.AbsoluteError()
        case "huber":
            width = float(model._loss.closs.delta)
            return losses.Huber(width) if np.isfinite(width) else None
        case "quantile":
            return losses.Quantile(float(model.alpha))
    return None


def _subsample(model: Any) -> str | None:
    settings = []
    if model.subsample < 1.0:
        settings.append(f"subsample={model.subsample:g}")
    held_out = describe_hold_out(model)
    if held_out is not None:
        settings.append(held_out)
    return ", ".join(settings) or None
