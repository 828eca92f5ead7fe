"""Read scikit-learn's decision trees, forests and bagged trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.parameters import class_weights
from treeinf.adapters.sklearn.trees import join, lay_out_trees, numeric_trees
from treeinf.dtypes import FLAG, NODE, REAL
from treeinf.ensemble import (
    EVERY_OUTPUT,
    LeafRule,
    TrainingFacts,
    TreeEnsemble,
    losses,
)
from treeinf.errors import UnsupportedModelError

__all__ = ["bootstrap_counts", "find_estimators", "raw_score", "read", "tree_weights"]


def read(model: Any, n_iterations: int | None) -> TreeEnsemble:
    """Read a fitted decision tree, random forest, extra trees or bagging of trees.

    The first `n_iterations` trees are averaged; None is all. For classifiers, each leaf
    holds the probability of every class and the raw scores are these probabilities.
    """
    from sklearn.base import is_classifier

    estimators = find_estimators(model)[:n_iterations]
    _refuse_several_target_columns(estimators)
    n_trees = len(estimators)
    trees = [estimator.tree_ for estimator in estimators]
    layout = lay_out_trees(trees)
    fields = numeric_trees(model, trees, layout)
    fields["feature"] = _columns(model, layout.node_offset, fields["feature"])
    classes = getattr(model, "classes_", None) if is_classifier(model) else None
    value = join(trees, "value")[layout.leaf, 0] / n_trees
    criterion = estimators[0].criterion
    is_median = criterion == "absolute_error"
    loss: losses.Loss = losses.AbsoluteError() if is_median else losses.SquaredError()
    if classes is not None:
        loss = losses.Brier(len(classes))
    return TreeEnsemble(
        **fields,
        iteration=np.arange(n_trees, dtype=NODE),
        output=np.full(n_trees, 0 if classes is None else EVERY_OUTPUT, NODE),
        shrinkage=np.full(n_trees, 1.0 / n_trees, REAL),
        leaf_value=np.ascontiguousarray(value),
        base_score=np.zeros(value.shape[1], REAL),
        base_score_folded=np.zeros(value.shape[1], FLAG),
        loss=loss,
        loss_name=criterion,
        leaf_rule=LeafRule("quantile" if is_median else "mean", fits_single_leaf=True),
        training=TrainingFacts(
            class_weight=_class_weight(model),
            counts_zero_weights=False,
            subsample=_subsample(model),
        ),
        is_averaged=True,
        classes=classes,
    )


def find_estimators(model: Any) -> list[Any]:
    """Return the decision trees of a model.

    Raises
    ------
    UnsupportedModelError
        If a bagged estimator is not a tree.
    """
    from sklearn.tree import BaseDecisionTree

    if isinstance(model, BaseDecisionTree):
        return [model]
    estimators = list(model.estimators_)
    for estimator in estimators:
        if not isinstance(estimator, BaseDecisionTree):
            raise UnsupportedModelError(
                f"Got a {type(model).__name__} of {type(estimator).__name__}. "
                "Supported are bagged DecisionTreeClassifier, DecisionTreeRegressor, "
                "ExtraTreeClassifier and ExtraTreeRegressor. Pass one of the models in "
                "estimators_, with its own rows from estimators_samples_ and columns "
                "from estimators_features_."
            )
    return estimators


def raw_score(model: Any, X: Any, n_iterations: int | None) -> NDArray[np.float64]:
    """Compute the library's own predictions, or class probabilities."""
    from sklearn.base import is_classifier

    estimators = find_estimators(model)
    if n_iterations is not None and n_iterations < len(estimators):
        import copy

        model = copy.copy(model)
        model.estimators_ = estimators[:n_iterations]
        model.n_estimators = n_iterations
    scores = model.predict_proba(X) if is_classifier(model) else model.predict(X)
    return np.asarray(scores, REAL).reshape(len(scores), -1)


def bootstrap_counts(model: Any, n_rows: int) -> NDArray[np.int32]:
    """Count how often each train row was drawn for each tree.

    Parameters
    ----------
    model : estimator
        The model.
    n_rows : int
        Train rows.

    Returns
    -------
    ndarray of int32, shape (n_trees, n_rows)

    Raises
    ------
    ValueError
        If the model was trained on a different number of rows.

    Notes
    -----
    Samples are redrawn by scikit-learn from the seeds of the trees.
    """
    n_train = getattr(model, "_n_samples", n_rows)
    if n_train != n_rows:
        raise ValueError(f"The model was trained on {n_train} rows; got {n_rows}.")
    if not hasattr(model, "estimators_"):
        return np.ones((1, n_rows), np.int32)
    samples = model.estimators_samples_
    return np.stack(
        [np.bincount(rows, minlength=n_rows).astype(np.int32) for rows in samples]
    )


def tree_weights(
    model: Any, y: Any, *, sample_weight: Any = None
) -> NDArray[np.float64]:
    """Recover the weight that each train row had in each tree.

    Parameters
    ----------
    model : estimator
        The model.
    y : array-like, shape (n_rows,)
        Targets it was trained on.
    sample_weight : array-like, shape (n_rows,), optional
        Weights it was trained with.

    Returns
    -------
    ndarray of float64, shape (n_trees, n_rows)
        Leaf values are averages with these weights, and stored leaf weights their sums.

    Notes
    -----
    Since scikit-learn 1.9, sample weights and class weights of a bootstrapped forest
    are the probability that a row is drawn, and a row's weight in a tree is the number
    of times it was drawn; before, they were multiplied with that number.
    """
    from sklearn.utils import compute_sample_weight

    y = np.asarray(y)
    counts = bootstrap_counts(model, len(y))
    weights = counts.astype(REAL)
    class_weight = getattr(model, "class_weight", None)
    is_bootstrap = getattr(model, "bootstrap", False)
    if is_bootstrap and class_weight == "balanced_subsample":
        for tree, drawn in enumerate(model.estimators_samples_):
            weights[tree] *= compute_sample_weight("balanced", y, indices=drawn)
        class_weight = None
    elif class_weight == "balanced_subsample":
        class_weight = "balanced"
    is_bagging = hasattr(model, "estimators_features_")
    if hasattr(model, "_sample_weight"):
        # scikit-learn from 1.9 on keeps the product of both
        if not is_bootstrap and not is_bagging and model._sample_weight is not None:
            weights *= model._sample_weight
    else:
        if sample_weight is not None:
            weights *= np.asarray(sample_weight, REAL)
        if class_weight is not None:
            weights *= compute_sample_weight(class_weight, y)
    inner = getattr(model, "estimator_", None)
    inner_weight = getattr(inner, "class_weight", None)
    if is_bagging and inner_weight is not None:
        # bagged trees apply their own class_weight, by class number
        codes = np.unique(y, return_inverse=True)[1]
        weights *= compute_sample_weight(inner_weight, codes)
    return weights


def _refuse_several_target_columns(estimators: list[Any]) -> None:
    n_columns = estimators[0].tree_.n_outputs
    if n_columns > 1:
        raise UnsupportedModelError(
            f"This {type(estimators[0]).__name__} predicts {n_columns} targets at "
            "once. Supported are models of one target: fit one for each column of y."
        )


def _columns(
    model: Any, node_offset: NDArray[np.int64], feature: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Map feature numbers to columns, where trees are fitted on subsets of columns."""
    features = getattr(model, "estimators_features_", None)
    if features is None:
        return feature
    column = np.empty(len(feature), NODE)
    n_trees = len(node_offset) - 1
    for tree, columns in enumerate(features[:n_trees]):
        nodes = slice(node_offset[tree], node_offset[tree + 1])
        column[nodes] = np.asarray(columns)[feature[nodes]]
    return column


def _class_weight(model: Any) -> str | tuple[tuple[Any, float], ...] | None:
    weights = class_weights(getattr(model, "class_weight", None))
    # "balanced_subsample" differs from tree to tree: `tree_weights`
    return None if weights == "balanced_subsample" else weights


def _subsample(model: Any) -> str | None:
    """Describe how each tree's sample of the rows was drawn."""
    is_bagging = hasattr(model, "estimators_features_")
    max_samples = getattr(model, "max_samples", None)
    if getattr(model, "bootstrap", False):
        settings = "bootstrap=True"
    elif is_bagging and model._max_samples < model._n_samples:
        settings = "bootstrap=False"
    else:
        return None
    if max_samples is not None:
        settings += f", max_samples={max_samples:g}"
    return settings
