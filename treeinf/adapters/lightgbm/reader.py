"""Read fitted LightGBM models and model files into a `TreeEnsemble`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.lightgbm import text
from treeinf.adapters.lightgbm.categories import label_columns
from treeinf.adapters.lightgbm.files import FIELDS, LightGBMFile
from treeinf.adapters.lightgbm.objectives import (
    find_loss,
    leaf_l2_penalties,
    leaf_rule,
    split_objective,
)
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.adapters.lightgbm.shrinkage import (
    find_folded_scores,
    folded_share,
    tree_shrinkage,
)
from treeinf.adapters.lightgbm.training import approximations, training_facts
from treeinf.adapters.parameters import class_weights
from treeinf.adapters.records import count_offsets
from treeinf.dtypes import NODE, REAL
from treeinf.ensemble import InputRules, Missing, TreeEnsemble
from treeinf.errors import UnsupportedModelError

__all__ = ["ZERO_THRESHOLD", "raw_score", "read", "read_file"]

ZERO_THRESHOLD = float(np.float32(1e-35))
"""LightGBM reads values of at most this size as 0.0 when it predicts."""


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted estimator or a booster; see `Adapter.read`.

    A model stopped early is read up to its best iteration.
    """
    import lightgbm

    booster = _booster(model)
    is_estimator = booster is not model
    return read_file(
        text.parse(booster.model_to_string(num_iteration=iterations)),
        parameters=parameters,
        iterations=iterations,
        live_parameters=booster.params,
        classes=getattr(model, "classes_", None) if is_estimator else None,
        class_weight=class_weights(model.class_weight) if is_estimator else None,
        version=lightgbm.__version__,
    )


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute LightGBM's own raw scores; see `Adapter.raw_score`.

    In random forest mode LightGBM's raw score is the sum over the trees and only its
    prediction is their mean; here it is the mean in both.
    """
    booster = _booster(model)
    if sparse.issparse(X):
        X = sparse.csr_matrix(sparse.csr_array(X))
    elif not (isinstance(X, np.ndarray) or hasattr(X, "iloc")):
        # LightGBM reads categories from pandas only; other rows are converted to
        # numbers
        X = read(model).read_rows(X).values
    scores = booster.predict(
        X, raw_score=True, num_iteration=iterations, **_training_threads(booster)
    )
    n_outputs = booster.num_model_per_iteration()
    scores = np.asarray(scores, dtype=REAL).reshape(-1, n_outputs)
    if _is_averaged(booster):
        n_used = booster.best_iteration if iterations is None else iterations
        n_iterations = booster.num_trees() // n_outputs
        scores /= min(n_used, n_iterations) if n_used > 0 else n_iterations
    return scores


def _training_threads(booster: Any) -> dict[str, int]:
    """Return the number of threads that the model was trained with, if it is set.

    LightGBM has one number of threads per process. Predicting with another one while a
    second Python thread trains makes the training overrun its buffers.
    """
    parameters = getattr(booster, "params", None) or {}
    for name in ("num_threads", "n_jobs", "nthread", "num_thread", "nthreads"):
        if isinstance(parameters.get(name), int) and parameters[name] > 0:
            return {"num_threads": parameters[name]}
    return {}


def _is_averaged(booster: Any) -> bool:
    header, _, _ = booster.model_to_string(num_iteration=1).partition("\nTree=")
    return "average_output" in header.splitlines()


def _booster(model: Any) -> Any:
    """Return the booster of a fitted model, or refuse the model."""
    import lightgbm

    if isinstance(model, lightgbm.Booster):
        return model
    if isinstance(model, lightgbm.LGBMModel):
        if not model.__sklearn_is_fitted__():
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(model).__name__} is not fitted; call fit first."
            )
        return model.booster_
    raise UnsupportedModelError(
        f"Got a lightgbm {type(model).__name__}, which is not a model; expected a "
        "fitted LGBMClassifier, LGBMRegressor or LGBMRanker, or one Booster."
    )


def read_file(
    file: LightGBMFile,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    live_parameters: Mapping[str, Any] | None = None,
    classes: NDArray[Any] | None = None,
    class_weight: str | tuple[tuple[Any, float], ...] | None = None,
    version: str | None = None,
) -> TreeEnsemble:
    """Build an ensemble from a parsed file; see `Adapter.read_file`.

    `live_parameters` are those of a live booster, at full precision; `classes`,
    `class_weight` and LightGBM's `version` are passed for live models only.
    """
    if iterations is not None:
        trees = file.trees.first(iterations * file.n_outputs)
        file = dataclasses.replace(file, trees=trees)
    settings = LightGBMParameters(file.parameters, parameters, live_parameters)
    notes = approximations(file, settings)
    if not file.objective and settings.get("objective"):
        file = dataclasses.replace(file, objective=settings.text("objective"))
    assumed = ["lambda_l1", "lambda_l2", "max_delta_step", "path_smooth"]
    loss = find_loss(file, settings, assumed)
    trees = file.trees
    n_trees = len(trees.n_leaves)
    n_iterations = n_trees // file.n_outputs
    if n_trees == 0:
        FIELDS.fail("it has no trees")
    leaf_offset = count_offsets(trees.n_leaves)
    node_offset = count_offsets(trees.n_leaves - 1)
    is_folded = find_folded_scores(file, settings, leaf_offset)
    shrinkage = tree_shrinkage(file, settings, is_folded, notes, assumed)
    leaf_value = trees.leaf_value
    if file.average_output:
        leaf_value = leaf_value / n_iterations
    weight = trees.leaf_weight
    if weight is not None:  # a tree of one leaf stores none
        weight = np.where(np.repeat(trees.n_leaves == 1, trees.n_leaves), 0.0, weight)
    number = np.arange(n_trees)
    objective = split_objective(file)[0]
    return TreeEnsemble(
        node_offset=node_offset,
        leaf_offset=leaf_offset,
        iteration=(number // file.n_outputs).astype(NODE),
        output=(number % file.n_outputs).astype(NODE),
        shrinkage=shrinkage,
        feature=trees.feature,
        threshold=trees.threshold,
        left=trees.left,
        right=trees.right,
        default_left=trees.default_left & ~trees.is_categorical,
        missing=np.where(trees.is_categorical, Missing.NAN, trees.missing).astype(
            np.uint8
        ),
        is_categorical=trees.is_categorical,
        category_offset=trees.category_offset,
        category_bits=trees.category_bits,
        leaf_value=leaf_value[:, np.newaxis],
        base_score=np.zeros(file.n_outputs, REAL),
        base_score_folded=folded_share(file, settings, is_folded),
        input_rules=InputRules(
            n_features=file.n_features,
            feature_names=file.feature_names,
            categories=label_columns(file, settings),
            zero_threshold=ZERO_THRESHOLD,
        ),
        loss=loss,
        loss_name=objective or "custom",
        leaf_rule=leaf_rule(objective, settings),
        training=training_facts(file, settings, class_weight, notes, assumed),
        leaf_count=trees.leaf_count,
        leaf_hessian=(
            np.maximum(weight, 0.0)
            if weight is not None and np.isfinite(weight).all()
            else None
        ),
        leaf_l2=leaf_l2_penalties(file, settings, objective, node_offset, leaf_offset),
        is_averaged=file.average_output,
        classes=classes,
        library="lightgbm",
        library_version=version or f"(model format {file.version})",
    )
