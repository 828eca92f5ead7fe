"""Read scikit-learn's decision trees, forests and bagged trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.parameters import class_weights
from treeinf.adapters.sklearn.bootstrap import describe_bootstrap
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

__all__ = ["find_estimators", "raw_score", "read"]


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
            row_sampling=describe_bootstrap(model, n_trees),
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
    if weights == "balanced_subsample":
        # differs from tree to tree where each has its own sample of the rows
        return None if model.bootstrap else "balanced"
    return weights


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
