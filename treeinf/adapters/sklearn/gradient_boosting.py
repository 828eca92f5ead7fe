"""Read scikit-learn's GradientBoostingClassifier and GradientBoostingRegressor."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.sklearn.trees import join_trees
from treeinf.dtypes import BITS, COUNT, NODE, OFFSET, REAL
from treeinf.ensemble import (
    InputRules,
    LeafRule,
    Missing,
    TrainingFacts,
    TreeEnsemble,
    losses,
)

__all__ = ["init_score", "raw_score", "read"]

_QUANTILE_LOSSES = ("absolute_error", "huber", "quantile")


def read(model: Any, n_iterations: int | None) -> TreeEnsemble:
    """Read a fitted GradientBoostingClassifier or GradientBoostingRegressor.

    Parameters
    ----------
    model : estimator
        The model.
    n_iterations : int or None
        First iterations to read; None for all.

    Returns
    -------
    TreeEnsemble

    Notes
    -----
    Leaf values of the differentiable losses are one Newton step; those of the others
    come from a line search in each leaf. The Huber loss, whose width the library sets
    anew in each iteration, has its last width here, and a median with a correction in
    its leaves. Where `init` is a model of the rows, the ensemble has `initial_model`.
    """
    import sklearn

    estimators = model.estimators_[:n_iterations]
    n_iterations, n_outputs = estimators.shape
    trees = [estimator.tree_ for estimator in estimators.ravel()]
    layout, arrays = join_trees(trees)
    value = np.concatenate([tree.value[:, 0, 0] for tree in trees])[layout.leaf]
    rate = float(model.learning_rate)
    is_constant = _is_constant(model)
    is_newton = model.loss not in _QUANTILE_LOSSES
    loss = _loss(model, n_outputs)
    n_nodes, n_leaves = len(layout.inner), len(layout.leaf)
    names = getattr(model, "feature_names_in_", None)
    return TreeEnsemble(
        node_offset=layout.node_offset,
        leaf_offset=layout.leaf_offset,
        iteration=np.repeat(np.arange(n_iterations, dtype=NODE), n_outputs),
        output=np.tile(np.arange(n_outputs, dtype=NODE), n_iterations),
        shrinkage=np.full(len(trees), rate, REAL),
        feature=arrays["feature"].astype(NODE),
        threshold=arrays["threshold"],
        left=layout.left,
        right=layout.right,
        default_left=arrays["default_left"],
        missing=np.full(n_nodes, Missing.NAN, np.uint8),
        is_categorical=np.zeros(n_nodes, bool),
        category_offset=np.zeros(n_nodes + 1, OFFSET),
        category_bits=np.empty(0, BITS),
        leaf_value=(rate * value)[:, np.newaxis],
        base_score=(
            _start(model, np.zeros((1, model.n_features_in_)))[0]
            if is_constant
            else np.zeros(n_outputs, REAL)
        ),
        base_score_folded=np.zeros(n_outputs, bool),
        input_rules=InputRules(
            n_features=model.n_features_in_,
            feature_names=None if names is None else tuple(map(str, names)),
            round_to_single=True,
        ),
        loss=loss,
        loss_name=model.loss,
        leaf_rule=LeafRule(
            "newton" if is_newton else "quantile", fits_single_leaf=True
        ),
        training=TrainingFacts(
            counts_zero_weights=False,
            estimates_base_score=model.init is None,
            subsample=_subsample(model),
            approximations=_approximations(model),
        ),
        leaf_count=arrays["count"].astype(COUNT),
        leaf_hessian=arrays["weight"] if model.loss == "squared_error" else None,
        leaf_weight=arrays["weight"],
        leaf_l2=np.zeros(n_leaves, REAL) if is_newton else None,
        initial_model=None if is_constant else type(model.init_).__name__,
        classes=getattr(model, "classes_", None),
        library="scikit-learn",
        library_version=sklearn.__version__,
    )


def raw_score(model: Any, X: Any, n_iterations: int | None) -> NDArray[np.float64]:
    """Compute the library's own raw scores, shape (n_rows, n_outputs)."""
    last = model.n_estimators_ if n_iterations is None else n_iterations
    last = min(last, model.n_estimators_) - 1
    return next(itertools.islice(model._staged_raw_predict(X), last, None))


def init_score(model: Any, X: Any) -> NDArray[np.float64] | None:
    """Compute the score that each row starts from where `init` is a model of the rows.

    Parameters
    ----------
    model : estimator
        The model.
    X : array-like, sparse matrix or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs), or None
        None where all rows start from the ensemble's base score.
    """
    return None if _is_constant(model) else _start(model, X)


def _start(model: Any, X: Any) -> NDArray[np.float64]:
    return np.asarray(model._raw_predict_init(X), REAL)


def _is_constant(model: Any) -> bool:
    """Tell whether all rows start from one score."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    start = model.init_
    if isinstance(start, DummyClassifier):
        return start.strategy != "stratified"
    return isinstance(start, (str, DummyRegressor))


def _loss(model: Any, n_outputs: int) -> losses.Loss | None:
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
    words = []
    if model.subsample < 1.0:
        words.append(f"subsample={model.subsample:g}")
    if model.n_iter_no_change is not None:
        words.append(
            "early stopping on rows held out, validation_fraction="
            f"{model.validation_fraction:g}; "
            "treeinf.adapters.sklearn.reader.training_rows(model, y) finds the others"
        )
    return ", ".join(words) or None


def _approximations(model: Any) -> tuple[str, ...]:
    """Name the settings under which a replay of the training is not exact."""
    if not model.warm_start:
        return ()
    return (
        "warm_start=True: parameters may have changed between calls of fit, and only "
        "the last ones are known; the replay takes them for all iterations.",
    )
