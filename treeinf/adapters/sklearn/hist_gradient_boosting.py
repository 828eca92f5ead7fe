"""Read scikit-learn's histogram-based gradient boosting."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.parameters import class_weights, has_constraint
from treeinf.adapters.records import count_offsets
from treeinf.adapters.sklearn.early_stopping import describe_hold_out
from treeinf.adapters.sklearn.gradient_boosting import WARM_START_NOTE
from treeinf.adapters.sklearn.row_sampling import describe_sampling
from treeinf.adapters.sklearn.trees import Layout, feature_names, lay_out
from treeinf.dtypes import BITS, COUNT, FLAG, NODE, REAL
from treeinf.ensemble import (
    InputRules,
    LeafRule,
    Missing,
    TrainingFacts,
    TreeEnsemble,
    losses,
)

__all__ = ["find_layout", "raw_score", "read"]

_QUANTILE_LOSSES = ("absolute_error", "quantile")
_SET_WORDS = 8
"""32-bit words per category set: 256 bits."""


def read(model: Any, n_iterations: int | None) -> TreeEnsemble:
    """Read a fitted HistGradientBoostingClassifier or HistGradientBoostingRegressor.

    Leaves are numbered in the order of the library's nodes, from left to right. The
    library moves categorical columns to the front and encodes their labels; here
    columns keep their positions, and the labels are in `categories`. Unknown labels are
    treated as missing values.
    """
    import sklearn

    iterations = model._predictors[:n_iterations]
    predictors = list(itertools.chain.from_iterable(iterations))
    nodes, layout = _join(predictors)
    inner, leaves = nodes[layout.inner], nodes[layout.leaf]
    is_categorical = inner["is_categorical"].astype(FLAG)
    n_outputs = model.n_trees_per_iteration_
    columns, categories = _columns(model)
    rule = _leaf_rule(model)
    number = np.arange(len(predictors))
    return TreeEnsemble(
        node_offset=layout.node_offset,
        leaf_offset=layout.leaf_offset,
        iteration=(number // n_outputs).astype(NODE),
        output=(number % n_outputs).astype(NODE),
        shrinkage=np.full(len(predictors), model.learning_rate, REAL),
        feature=columns[inner["feature_idx"]],
        threshold=np.where(is_categorical, 0.0, inner["num_threshold"]),
        left=layout.left,
        right=layout.right,
        default_left=inner["missing_go_to_left"].astype(FLAG),
        missing=np.full(len(inner), Missing.NAN, np.uint8),
        is_categorical=is_categorical,
        category_offset=count_offsets(is_categorical) * _SET_WORDS,
        category_bits=_sets(predictors, layout, inner, is_categorical),
        leaf_value=leaves["value"][:, np.newaxis].astype(REAL),
        base_score=np.asarray(model._baseline_prediction, REAL).ravel(),
        base_score_folded=np.zeros(n_outputs, FLAG),
        input_rules=InputRules(
            n_features=model.n_features_in_,
            feature_names=feature_names(model),
            categories=categories,
            numbers_are_labels=categories is not None,
        ),
        loss=_find_loss(model),
        loss_name=_loss_name(model),
        leaf_rule=rule,
        training=TrainingFacts(
            class_weight=_class_weight(model),
            single_gradients=True,
            estimates_base_score=True,
            subsample=describe_hold_out(model),
            row_sampling=describe_sampling(model),
            approximations=_approximations(model, inner),
        ),
        leaf_count=leaves["count"].astype(COUNT),
        leaf_l2=(
            np.full(len(leaves), model.l2_regularization, REAL)
            if rule.kind == "newton"
            else None
        ),
        classes=getattr(model, "classes_", None),
        library="scikit-learn",
        library_version=sklearn.__version__,
    )


def raw_score(model: Any, X: Any, n_iterations: int | None) -> NDArray[np.float64]:
    """Compute the library's own raw scores, shape (n_rows, n_outputs)."""
    if n_iterations is None:
        return np.ascontiguousarray(model._raw_predict(X))
    staged = model._staged_raw_predict(X)
    last = min(n_iterations, len(model._predictors)) - 1
    return np.ascontiguousarray(next(itertools.islice(staged, last, None)))


def find_layout(model: Any) -> Layout:
    """Find inner nodes and leaves among the nodes of all trees."""
    return _join(list(itertools.chain.from_iterable(model._predictors)))[1]


def _join(predictors: list[Any]) -> tuple[NDArray[Any], Layout]:
    """Concatenate the nodes of all trees."""
    nodes = np.concatenate([predictor.nodes for predictor in predictors])
    layout = lay_out(
        [len(predictor.nodes) for predictor in predictors],
        nodes["is_leaf"].astype(FLAG),
        nodes["left"],
        nodes["right"],
    )
    return nodes, layout


def _sets(
    predictors: list[Any],
    layout: Layout,
    inner: NDArray[Any],
    is_categorical: NDArray[np.bool_],
) -> NDArray[np.uint32]:
    """Return the words of the sets of categories that go left."""
    if not is_categorical.any():
        return np.empty(0, BITS)
    sets = [predictor.raw_left_cat_bitsets for predictor in predictors]
    first = count_offsets([len(words) for words in sets])
    tree = np.repeat(np.arange(len(predictors)), np.diff(layout.node_offset))
    index = first[tree] + inner["bitset_idx"]
    return np.concatenate(sets)[index[is_categorical]].astype(BITS).ravel()


def _columns(
    model: Any,
) -> tuple[NDArray[np.int32], tuple[tuple[Any, ...] | None, ...] | None]:
    """Return the column of each feature number, and the labels of columns."""
    n_features = model.n_features_in_
    if model.is_categorical_ is None:
        return np.arange(n_features, dtype=NODE), None
    is_categorical = np.asarray(model.is_categorical_, bool)
    first = np.flatnonzero(is_categorical)
    columns = np.concatenate([first, np.flatnonzero(~is_categorical)]).astype(NODE)
    categories: list[tuple[Any, ...] | None] = [None] * n_features
    encoder = model._preprocessor.named_transformers_["encoder"]
    for column, labels in zip(first, encoder.categories_, strict=True):
        names = labels.tolist()
        if names and isinstance(names[-1], float) and np.isnan(names[-1]):
            names.pop()  # missing, not a label
        categories[column] = tuple(names)
    return columns, tuple(categories)


def _loss_name(model: Any) -> str:
    return model.loss if isinstance(model.loss, str) else type(model.loss).__name__


def _find_loss(model: Any) -> losses.Loss | None:
    """Find the loss; return None for custom loss objects."""
    n_outputs = model.n_trees_per_iteration_
    match model.loss:
        case "log_loss":
            return losses.Softmax(n_outputs) if n_outputs > 1 else losses.Logistic()
        case "squared_error":
            return losses.SquaredError()
        case "poisson":
            return losses.Poisson()
        case "gamma":
            return losses.Gamma()
        case "absolute_error":
            return losses.AbsoluteError()
        case "quantile":
            return losses.Quantile(float(model.quantile))
    return None


def _leaf_rule(model: Any) -> LeafRule:
    if model.loss in _QUANTILE_LOSSES:
        return LeafRule("quantile", fits_single_leaf=True)
    return LeafRule("newton" if isinstance(model.loss, str) else "unknown")


def _class_weight(model: Any) -> str | tuple[tuple[Any, float], ...] | None:
    """Return the class weights by label.

    The library interprets the keys of a dictionary as class numbers, whatever the
    labels are.
    """
    weights = getattr(model, "class_weight", None)
    if isinstance(weights, Mapping):
        labels = model.classes_.tolist()
        weights = {label: weights.get(k, 1.0) for k, label in enumerate(labels)}
    return class_weights(weights)


def _approximations(model: Any, inner: NDArray[Any]) -> tuple[str, ...]:
    """List the settings under which a replay of the training is not exact."""
    notes = []
    if has_constraint(model.monotonic_cst):
        notes.append(
            "monotonic_cst: some leaf values were clipped to the bounds that the "
            "constraints set; the replay ignores the bounds."
        )
    if (np.isinf(inner["num_threshold"]) & (inner["is_categorical"] == 1)).any():
        notes.append(
            "A categorical column of one label is split into missing and not missing: "
            "there scikit-learn routes rows differently in training and prediction, so "
            "leaf counts differ. The replay routes them as in prediction."
        )
    if model.warm_start:
        notes.append(WARM_START_NOTE)
    return tuple(notes)
