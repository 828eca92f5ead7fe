"""Read fitted XGBoost models and model files into a `TreeEnsemble`."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.xgboost import ubjson
from treeinf.adapters.xgboost.files import XGBoostFile
from treeinf.adapters.xgboost.inference import INFERRED, infer_parameters
from treeinf.adapters.xgboost.leaf_values import (
    SMOOTHS_QUANTILES,
    leaf_rule,
    other_rule,
    recover_rates,
)
from treeinf.adapters.xgboost.objectives import (
    QUANTILE_OBJECTIVES,
    base_score,
    find_loss,
    option,
    positive_weight,
)
from treeinf.adapters.xgboost.parameters import XGBoostParameters, flatten
from treeinf.adapters.xgboost.trees import XGBoostTrees, read_trees
from treeinf.dtypes import FLAG, NODE, REAL
from treeinf.ensemble import (
    EVERY_OUTPUT,
    InputRules,
    Missing,
    TrainingFacts,
    TreeEnsemble,
)
from treeinf.errors import ModelVersionWarning, UnsupportedModelError

__all__ = ["leaf_nodes", "raw_score", "read", "read_file"]

_NEWEST = (3, 4)
"""Newest version of XGBoost that the reader is tested with."""


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted estimator or a booster; see `Adapter.read`.

    An estimator that was stopped early is read up to its best iteration and a booster
    in full, as their ``predict`` does. Since 3.4 some leaf values follow other rules
    (see `LeafRule.min_leaf_hessian`). A file records the version that wrote it last,
    and a live model the installed version, even if an older one trained it.

    Parameters
    ----------
    model, iterations
        See `Adapter.read`.
    parameters : dict or None
        Training parameters that override the model's: a booster loaded from a file has
        lost them. ``learning_rate`` may be a list, one for each iteration; ``version``,
        such as "3.2.0", is that of the XGBoost that trained the model, if it is not the
        installed one.
    """
    import xgboost

    booster = _booster(model)
    file = ubjson.parse(bytes(booster.save_raw("ubj")))
    _warn_if_newer(file)
    stored = flatten(json.loads(booster.save_config()))
    settings = XGBoostParameters(stored, parameters)
    classes, missing_value, objective = None, None, settings.objective
    if booster is not model:
        if iterations is None:
            iterations = _best_iterations(file)
        if callable(model.objective):
            objective = "custom"
        missing_value = _missing_value(model)
        if isinstance(model, xgboost.XGBClassifier) and file.n_target_columns == 1:
            classes = np.asarray(model.classes_)
    return _assemble(
        file,
        settings,
        iterations=iterations,
        objective=objective,
        classes=classes,
        missing_value=missing_value,
        version=xgboost.__version__,
    )


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute XGBoost's own raw scores; see `Adapter.raw_score`."""
    import xgboost

    booster = _booster(model)
    missing = np.nan
    if booster is not model:
        missing = model.missing
        if iterations is None:
            best = booster.attr("best_iteration")
            iterations = None if best is None else int(best) + 1
    if sparse.issparse(X):
        X = sparse.csr_matrix(sparse.csr_array(X))
    elif not hasattr(X, "iloc"):
        X = _without_missing_value(model).read_rows(X).values
    n_iterations = booster.num_boosted_rounds()
    last = n_iterations if iterations is None else min(iterations, n_iterations)
    if hasattr(X, "iloc"):
        rows = xgboost.DMatrix(X, missing=missing, enable_categorical=True)
        scores = booster.predict(
            rows,
            output_margin=True,
            iteration_range=(0, last),
            validate_features=False,
        )
    else:
        scores = booster.inplace_predict(
            X,
            predict_type="margin",
            iteration_range=(0, last),
            missing=missing,
            validate_features=False,
        )
    return np.asarray(scores, dtype=REAL).reshape(X.shape[0], -1)


def leaf_nodes(model: Any) -> NDArray[np.int32]:
    """Return XGBoost's number of every leaf, as ``pred_leaf=True`` returns it.

    Parameters
    ----------
    model : XGBModel or Booster
        The model.

    Returns
    -------
    ndarray of int32, shape (n_leaves,)
        For the leaves of all trees, in the order of the `TreeEnsemble`.
    """
    file = ubjson.parse(bytes(_booster(model).save_raw("ubj")))
    return read_trees(file.trees, file.n_outputs, file.n_features).leaf_node


def _booster(model: Any) -> Any:
    """Return the booster of a fitted model, or refuse the model."""
    import xgboost

    if isinstance(model, xgboost.Booster):
        return model
    if isinstance(model, xgboost.XGBModel):
        return model.get_booster()  # raises NotFittedError
    raise UnsupportedModelError(
        f"Got an xgboost {type(model).__name__}, which is not a model; expected a "
        "fitted XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor or "
        "XGBRanker, or a Booster."
    )


def _missing_value(model: Any) -> float | None:
    """Return the value that is missing besides NaN, or None."""
    value = float(np.float32(model.missing))
    return None if np.isnan(value) else value


def _without_missing_value(model: Any) -> TreeEnsemble:
    """Read a model without the rule for its `missing` value, so that rows keep it."""
    ensemble = read(model)
    rules = dataclasses.replace(ensemble.input_rules, missing_value=None)
    return dataclasses.replace(ensemble, input_rules=rules)


def _best_iterations(file: XGBoostFile) -> int | None:
    return None if file.best_iteration is None else file.best_iteration + 1


def read_file(
    file: XGBoostFile,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Build an ensemble from a parsed file; see `Adapter.read_file`.

    All iterations are read, or those up to the best one if an estimator that was
    stopped early wrote the file. A file holds no training parameters; those that
    `parameters` leaves out are inferred from its trees.
    """
    _warn_if_newer(file)
    settings = XGBoostParameters(None, parameters)
    if iterations is None and file.is_estimator:
        iterations = _best_iterations(file)
    objective = settings.objective
    return _assemble(file, settings, iterations=iterations, objective=objective)


def _warn_if_newer(file: XGBoostFile) -> None:
    """Warn if the file is from a version newer than those tested."""
    if file.version_numbers[:2] <= _NEWEST:
        return
    newest = ".".join(map(str, _NEWEST))
    warnings.warn(
        f"This model was written by XGBoost {file.version}; treeinf was tested up to "
        f"{newest} and reads it as one of {newest}. "
        "treeinf.adapters.parity.check_parity checks its raw scores, and the replay of "
        "the training its leaf values. Update treeinf, or "
        f"train with xgboost<{_NEWEST[0]}.{_NEWEST[1] + 1}.",
        ModelVersionWarning,
        stacklevel=4,
    )


# numbers out of range raise errors, not NumPy warnings
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _assemble(
    file: XGBoostFile,
    settings: XGBoostParameters,
    *,
    iterations: int | None,
    objective: str | None = None,
    classes: NDArray[Any] | None = None,
    missing_value: float | None = None,
    version: str | None = None,
) -> TreeEnsemble:
    if iterations is not None:
        file = file.first(iterations)
    objective = file.objective if objective is None else objective
    loss, loss_name = find_loss(file, objective)
    trees = read_trees(file.trees, file.n_outputs, file.n_features)
    trained_by = settings.version(file.version_numbers)
    assumed = tree_rates = None
    if objective not in QUANTILE_OBJECTIVES or trained_by >= SMOOTHS_QUANTILES:
        settings, tree_rates, assumed = _complete(file, settings, trees)
    rates = _rates(file, settings)
    has_vectors = trees.leaf_value.shape[1] > 1
    rule = leaf_rule(objective, settings, tree_rates is not None, trained_by)
    shrinkage = (rates if tree_rates is None else tree_rates) * file.tree_weight
    l2 = None
    if rule.kind == "newton":
        l2 = np.full(len(trees.leaf_value), settings.number("lambda"), REAL)
    is_categorical = trees.is_categorical
    threshold = np.nextafter(trees.threshold, np.float32(-np.inf)).astype(REAL)
    tree_weight = np.repeat(file.tree_weight, np.diff(trees.leaf_offset))
    return TreeEnsemble(
        node_offset=trees.node_offset,
        leaf_offset=trees.leaf_offset,
        iteration=file.iteration,
        output=np.full(len(rates), EVERY_OUTPUT, NODE) if has_vectors else file.output,
        shrinkage=shrinkage,
        feature=trees.feature,
        threshold=np.where(is_categorical, 0.0, threshold),
        # XGBoost sends a node's set of categories to the right
        left=np.where(is_categorical, trees.right, trees.left),
        right=np.where(is_categorical, trees.left, trees.right),
        default_left=trees.default_left ^ is_categorical,
        missing=np.full(len(trees.feature), Missing.NAN, np.uint8),
        is_categorical=is_categorical,
        category_offset=trees.category_offset,
        category_bits=trees.category_bits,
        leaf_value=trees.leaf_value * tree_weight[:, np.newaxis],
        base_score=base_score(file),
        base_score_folded=np.zeros(file.n_outputs, FLAG),
        input_rules=InputRules(
            n_features=file.n_features,
            feature_names=file.feature_names,
            categories=file.labels,
            missing_value=missing_value,
            refuses_unknown=True,
            absent_is_missing=True,
            category_floor=float(np.nextafter(0.0, -1.0)),  # no categories below 0
            round_to_single=True,
        ),
        loss=loss,
        loss_name=loss_name,
        leaf_rule=rule,
        training=TrainingFacts(
            positive_weight=positive_weight(file, objective),
            single_precision=True,
            init_score_replaces_base=True,
            estimates_base_score=file.estimates_base_score and loss is not None,
            subsample=settings.subsample(trained_by),
            row_sampling=settings.row_sampling(trained_by, file.booster == "dart"),
            approximations=tuple(_approximations(file, settings)),
            assumed=assumed,
            other_rule=other_rule(file, settings, trees, assumed is not None),
        ),
        leaf_hessian=trees.leaf_hessian,
        leaf_l2=l2,
        classes=classes,
        library="xgboost",
        library_version=version or f"{file.version} (model file)",
    )


def _rates(file: XGBoostFile, settings: XGBoostParameters) -> NDArray[np.float64]:
    """Return the shrinkage of each tree by the parameters."""
    n_iterations = int(file.iteration[-1]) + 1
    return settings.rates(n_iterations)[file.iteration] / file.n_parallel


def _complete(
    file: XGBoostFile, settings: XGBoostParameters, trees: XGBoostTrees
) -> tuple[XGBoostParameters, NDArray[np.float64] | None, str | None]:
    """Complete the parameters by those that the trees imply, where they must be.

    Returns
    -------
    settings : XGBoostParameters
        All parameters.
    rates : ndarray of float64, shape (n_trees,), or None
        See `recover_rates`.
    assumed : str or None
        What was inferred, in words; None if the model's own parameters fit its trees.
    """
    bound = 0.0
    if file.objective == "count:poisson":  # the objective stores it, with its default
        bound = option(file, "max_delta_step", 0.7)
        settings = settings.with_stored({"max_delta_step": bound})
    if settings.is_stored:
        rates = _fitting_rates(file, settings, trees)
        if rates is not None:
            return settings, rates, None
    inferred = infer_parameters(trees, file.n_parallel, bound)
    settings = settings.with_stored(inferred)
    rates = _fitting_rates(file, settings, trees)
    listed = settings.describe(INFERRED)
    if rates is None:
        assumed = (
            f"{listed} contradict its trees (monotone_constraints and max_delta_step "
            "hold values fixed, too)"
        )
    elif inferred:
        assumed = f"The model does not store its parameters; its trees imply {listed}"
    else:
        assumed = f"The model does not store its parameters; {listed} are assumed"
    return settings, rates, assumed


def _fitting_rates(
    file: XGBoostFile, settings: XGBoostParameters, trees: XGBoostTrees
) -> NDArray[np.float64] | None:
    rates = _rates(file, settings)
    return rates if settings.is_monotone else recover_rates(trees, settings, rates)


def _approximations(file: XGBoostFile, settings: XGBoostParameters) -> list[str]:
    """List the settings under which a replay of the training is not exact."""
    notes = []
    if file.booster == "dart":
        notes.append(
            "booster=dart or rate_drop: each tree was fitted to the scores of a random "
            "subset of earlier trees and rescaled later; the replay uses all of them."
        )
    if settings.is_monotone:
        notes.append(
            "monotone_constraints: some leaf values were clipped to the bounds that "
            "the constraints set; the replay ignores the bounds."
        )
    return notes
