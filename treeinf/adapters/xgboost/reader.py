"""Read XGBoost models: estimators, boosters, and JSON and UBJSON files."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from treeinf.adapters.xgboost.files import (
    XGBoostFile,
    fail,
    parse_model,
    read_number,
)
from treeinf.adapters.xgboost.parameters import XGBoostParameters, find_rates
from treeinf.adapters.xgboost.trees import XGBoostTrees, read_trees
from treeinf.adapters.xgboost.ubjson import parse_ubjson
from treeinf.dtypes import FLAG, NODE, REAL
from treeinf.ensemble import (
    EVERY_OUTPUT,
    InputRules,
    LeafRule,
    Missing,
    TrainingFacts,
    TreeEnsemble,
    losses,
)
from treeinf.errors import ModelVersionWarning, UnsupportedModelError

__all__ = ["leaf_nodes", "raw_score", "read", "read_model_entries", "read_ubjson"]

_LOGIT_OBJECTIVES = ("reg:logistic", "binary:logistic")
_LOG_OBJECTIVES = ("count:poisson", "reg:gamma", "reg:tweedie")
_SMALLEST = np.float32(1e-6)
"""XGBoost from 3.2 on takes base scores to be this far from 0 and 1 (logistic)."""
_QUANTILE_OBJECTIVES = ("reg:absoluteerror", "reg:quantileerror")
_NEWEST = (3, 4)
"""The newest version whose models are held against this reader."""
_FITS_LIGHT_LEAVES = (3, 4)
"""From here on `min_child_weight` bounds splits alone, and leaves below it are fitted.

Before, they were 0, in vector leaves output by output.
"""
_SMOOTHS_QUANTILES = (3, 4)
"""From here on the quantile objectives take Newton steps on a smooth loss.

Its width follows from all rows. Before, leaf values were order statistics of residuals.
"""
_WEIGHTED_POSITIVES = (
    *("reg:squarederror", "reg:squaredlogerror", "reg:logistic", "binary:logistic"),
    *("binary:logitraw", "reg:gamma"),
)
"""Objectives in which rows of label 1 weigh `scale_pos_weight`."""


# Live models.


def read(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted estimator or a booster of XGBoost.

    Parameters
    ----------
    model : XGBModel or Booster
        The model. An estimator that was stopped early is read up to its best
        iteration and a booster in full, which is what their ``predict`` uses.
    iterations : int or None
        Iterations to read; None for those that ``predict`` uses.
    parameters : dict or None
        Training parameters that are known better than the model knows them: a booster
        that was loaded from a file has forgotten them. ``learning_rate`` may be a
        list, one for each iteration; ``version``, such as "3.2.0", is that of the
        XGBoost that trained the model, if it is not the one at hand.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    UnsupportedModelError
        If the model cannot be represented exactly, such as a linear one.

    Warns
    -----
    ModelVersionWarning
        If the XGBoost at hand is newer than all that this reader was tested with.

    Notes
    -----
    Some leaf values follow other rules from 3.4 on (see `LeafRule.min_leaf_hessian`).
    A model says the version that wrote it last, and a live one the version at hand,
    even if an older one trained it.
    """
    import xgboost

    booster = _booster(model)
    file = parse_model(parse_ubjson(bytes(booster.save_raw("ubj"))))
    _refuse_unreadable(file)
    _warn_if_newer(file)
    known = XGBoostParameters(json.loads(booster.save_config()), parameters)
    classes, missing_value, objective = None, None, known.objective
    if booster is not model:
        if iterations is None:
            iterations = _best_iterations(file)
        if callable(model.objective):
            objective = "custom"
        missing_value = _missing_value(model)
        if isinstance(model, xgboost.XGBClassifier) and file.n_targets == 1:
            classes = np.asarray(model.classes_)
    return _assemble(
        file,
        known,
        iterations=iterations,
        objective=objective,
        classes=classes,
        missing_value=missing_value,
        version=xgboost.__version__,
    )


def raw_score(
    model: Any, X: Any, *, iterations: int | None = None
) -> NDArray[np.float64]:
    """Compute XGBoost's own raw scores.

    Parameters
    ----------
    model : XGBModel or Booster
        The model.
    X : array-like or frame, shape (n_rows, n_features)
        Rows; pandas frames as XGBoost reads them.
    iterations : int or None
        Iterations to use; None for those that the model's ``predict`` uses.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs)
    """
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
        found = booster.predict(
            rows,
            output_margin=True,
            iteration_range=(0, last),
            validate_features=False,
        )
    else:
        found = booster.inplace_predict(
            X,
            predict_type="margin",
            iteration_range=(0, last),
            missing=missing,
            validate_features=False,
        )
    return np.asarray(found, dtype=REAL).reshape(X.shape[0], -1)


def leaf_nodes(model: Any) -> NDArray[np.int32]:
    """Give XGBoost's own number of every leaf, as ``pred_leaf=True`` counts them.

    Parameters
    ----------
    model : XGBModel or Booster
        The model.

    Returns
    -------
    ndarray of int32, shape (n_leaves,)
        For the leaves of all trees, in the order of the `TreeEnsemble`.
    """
    file = parse_model(parse_ubjson(bytes(_booster(model).save_raw("ubj"))))
    _refuse_unreadable(file)
    return read_trees(file.trees, file.n_outputs, file.n_features).leaf_node


def _booster(model: Any) -> Any:
    """Give the booster of a fitted model, or say what is wrong with the model."""
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
    """Give the value other than NaN that stands for a missing one."""
    value = float(np.float32(model.missing))
    return None if np.isnan(value) else value


def _without_missing_value(model: Any) -> TreeEnsemble:
    """Read a model so that rows keep the value that stands for a missing one."""
    ensemble = read(model)
    rules = dataclasses.replace(ensemble.input_rules, missing_value=None)
    return dataclasses.replace(ensemble, input_rules=rules)


def _best_iterations(file: XGBoostFile) -> int | None:
    return None if file.best_iteration is None else file.best_iteration + 1


# Files.


def read_ubjson(
    content: bytes,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read the bytes of a UBJSON file, as ``save_model("model.ubj")`` writes it.

    Parameters
    ----------
    content : bytes
        The whole file.
    iterations, parameters
        See `read_model_entries`.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    ModelFormatError
        If the bytes are not a whole model.
    UnsupportedModelError
        If the model cannot be represented exactly, such as a linear one.
    """
    return read_model_entries(
        parse_ubjson(content), iterations=iterations, parameters=parameters
    )


def read_model_entries(
    model: Mapping[str, Any],
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read the entries of a model file, as ``save_model("model.json")`` writes it.

    Parameters
    ----------
    model : dict
        The entries.
    iterations : int or None
        First iterations to read; None for the best one where an estimator that was
        stopped early wrote the file, else all.
    parameters : dict or None
        Training parameters, which a file does not hold and a replay of the training
        needs; what they do not name has XGBoost's default. ``version`` is that of the
        XGBoost that trained the model, if another wrote the file.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    ModelFormatError
        If they are not a whole model.
    UnsupportedModelError
        If the model cannot be represented exactly, such as a linear one.

    Warns
    -----
    ModelVersionWarning
        If the file is newer than all versions that this reader was tested with.
    """
    file = parse_model(model)
    _refuse_unreadable(file)
    _warn_if_newer(file)
    known = XGBoostParameters(None, parameters)
    if iterations is None and file.is_estimator:
        iterations = _best_iterations(file)
    return _assemble(file, known, iterations=iterations, objective=known.objective)


def _refuse_unreadable(file: XGBoostFile) -> None:
    if file.booster not in ("gbtree", "dart"):
        raise UnsupportedModelError(
            f"This XGBoost model was trained with booster={file.booster[:40]!r}, which "
            "makes no trees. Read are booster='gbtree' and 'dart'; train with one of "
            "them to explain the model."
        )
    if file.objective.startswith("survival:"):
        raise UnsupportedModelError(
            f"This XGBoost model was trained with objective={file.objective[:40]!r}: "
            "its targets are bounds or censored times, which are not read. Regression, "
            "classification and ranking objectives are."
        )


def _warn_if_newer(file: XGBoostFile) -> None:
    """Say that nobody has looked whether this version means the same by its files."""
    if file.version_numbers[:2] <= _NEWEST:
        return
    newest = ".".join(map(str, _NEWEST))
    warnings.warn(
        f"This model was written by XGBoost {file.version}; the newest version that "
        f"this treeinf was tested with is {newest}. It is read as one of {newest}. "
        "Whether that is right, treeinf.adapters.parity.check_parity tells from raw "
        "scores, and the replay of the training from leaf values. Update treeinf, or "
        f"train with xgboost<{_NEWEST[0]}.{_NEWEST[1] + 1}.",
        ModelVersionWarning,
        stacklevel=4,
    )


# From what a file says to an ensemble.


# numbers out of range end in refusals, not in warnings
@np.errstate(over="ignore", invalid="ignore")
def _assemble(
    file: XGBoostFile,
    known: XGBoostParameters,
    *,
    iterations: int | None,
    objective: str | None = None,
    classes: NDArray[Any] | None = None,
    missing_value: float | None = None,
    version: str | None = None,
) -> TreeEnsemble:
    if iterations is not None:
        file = _cut(file, iterations)
    objective = file.objective if objective is None else objective
    loss, loss_name = _loss(file, objective)
    trees = read_trees(file.trees, file.n_outputs, file.n_features)
    rates = known.rates(int(file.iteration[-1]) + 1)[file.iteration] / file.n_parallel
    found = None
    trained_by = known.version(file.version_numbers)
    is_quantile = objective in _QUANTILE_OBJECTIVES and trained_by < _SMOOTHS_QUANTILES
    if known.is_known and not is_quantile:
        found = rates if known.is_monotone else find_rates(trees, known, rates)
    has_vectors = trees.leaf_value.shape[1] > 1
    rule = _leaf_rule(objective, known, found is not None, trained_by)
    shrinkage = (rates if found is None else found) * file.tree_weight
    l2 = None
    if rule.kind == "newton":
        l2 = np.full(len(trees.leaf_value), known.number("lambda"), REAL)
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
        base_score=_base_score(file),
        base_score_folded=np.zeros(file.n_outputs, FLAG),
        input_rules=InputRules(
            n_features=file.n_features,
            feature_names=file.feature_names,
            categories=file.labels,
            missing_value=missing_value,
            absent_is_missing=True,
            category_floor=float(np.nextafter(0.0, -1.0)),  # nothing below 0 is one
            round_to_single=True,
        ),
        loss=loss,
        loss_name=loss_name,
        leaf_rule=rule,
        training=TrainingFacts(
            positive_weight=_positive_weight(file, objective),
            single_precision=True,
            estimates_base_score=file.estimates_base_score and loss is not None,
            subsample=known.subsample,
            approximations=tuple(_approximations(file, known)),
            other_rule=_other_rule(file, known, trees),
        ),
        leaf_hessian=trees.leaf_hessian,
        leaf_l2=l2,
        classes=classes,
        library="xgboost",
        library_version=version or f"{file.version} (model file)",
    )


def _cut(file: XGBoostFile, iterations: int) -> XGBoostFile:
    """Keep the first iterations."""
    n_trees = int(np.searchsorted(file.iteration, iterations))
    return dataclasses.replace(
        file,
        trees=file.trees[:n_trees],
        iteration=file.iteration[:n_trees],
        output=file.output[:n_trees],
        tree_weight=file.tree_weight[:n_trees],
    )


def _loss(file: XGBoostFile, objective: str) -> tuple[losses.Loss | None, str]:
    """Find the loss of the objective and its name; None for one that is not known."""
    written = file.objective_parameters

    def option(name: str, default: float) -> float:
        return read_number(written.get(name, default), name)

    several = file.n_targets > 1
    if several:
        return None, f"{objective} of {file.n_targets} targets"
    if objective in ("multi:softmax", "multi:softprob"):
        if file.n_outputs < 2:
            fail(f"{objective} does not go with {file.n_outputs} outputs")
        return losses.Softmax(file.n_outputs, 2.0), objective
    if file.n_outputs > 1:
        return None, objective
    known: dict[str, Callable[[], losses.Loss]] = {
        "reg:squarederror": losses.SquaredError,
        "reg:linear": losses.SquaredError,
        "reg:squaredlogerror": losses.SquaredLogError,
        "reg:logistic": losses.CrossEntropy,
        "binary:logistic": losses.Logistic,
        "binary:logitraw": losses.Logistic,
        "count:poisson": lambda: losses.Poisson(option("max_delta_step", 0.7)),
        "reg:gamma": losses.Gamma,
        "reg:tweedie": lambda: losses.Tweedie(option("tweedie_variance_power", 1.5)),
        "reg:pseudohubererror": lambda: losses.PseudoHuber(option("huber_slope", 1.0)),
        "reg:absoluteerror": losses.AbsoluteError,
        "reg:quantileerror": lambda: losses.Quantile(_quantile(file)),
    }
    return (known[objective]() if objective in known else None), objective


def _quantile(file: XGBoostFile) -> float:
    written = file.objective_parameters.get("quantile_alpha", "[5E-1]")
    return read_number(written.strip("[]() "), "quantile_alpha")


def _base_score(file: XGBoostFile) -> NDArray[np.float64]:
    """Bring the written base score through the objective's link, as XGBoost does."""
    written = file.base_score.astype(np.float32)
    if file.objective in _LOGIT_OBJECTIVES:
        if file.version_numbers >= (3, 2):
            written = np.clip(written, _SMALLEST, np.float32(1.0) - _SMALLEST)
        with np.errstate(divide="ignore", invalid="ignore"):
            written = -np.log(np.float32(1.0) / written - np.float32(1.0))
    elif file.objective in _LOG_OBJECTIVES:
        with np.errstate(divide="ignore", invalid="ignore"):
            written = np.log(written)
    if not np.isfinite(written).all():
        raise UnsupportedModelError(
            f"This XGBoost model starts from base_score={file.base_score.tolist()}, of "
            f"which {file.objective[:40]} makes raw scores that are not finite. Train "
            "with another base_score, and on targets that are not all 0."
        )
    return np.broadcast_to(written.astype(REAL), (file.n_outputs,)).copy()


def _leaf_rule(
    objective: str,
    known: XGBoostParameters,
    is_witnessed: bool,
    trained_by: tuple[int, ...],
) -> LeafRule:
    if objective in _QUANTILE_OBJECTIVES:
        is_smooth = trained_by >= _SMOOTHS_QUANTILES
        return LeafRule("unknown" if is_smooth else "quantile")
    if not is_witnessed:
        return LeafRule("unknown")
    lightest = 0.0
    if trained_by < _FITS_LIGHT_LEAVES:
        lightest = max(known.number("min_child_weight"), 0.0)
    return LeafRule(
        "newton",
        l1_leaf=known.number("alpha"),
        max_leaf_value=max(known.number("max_delta_step"), 0.0),
        min_leaf_hessian=lightest,
        fits_single_leaf=True,
    )


def _other_rule(
    file: XGBoostFile, known: XGBoostParameters, trees: XGBoostTrees
) -> str | None:
    """Say by which other rule leaf values may follow, where some would differ by it."""
    trained_by = known.version(file.version_numbers)
    if trained_by < _FITS_LIGHT_LEAVES or known.number("min_child_weight") <= 0.0:
        return None
    has_splits = np.diff(trees.leaf_offset) > 1
    if trees.leaf_value.shape[1] == 1 and has_splits.all():
        return None  # only a root can be as light, where a split was allowed
    return (
        "an XGBoost before 3.4 trained the model, which a later one wrote: then pass "
        "read_model(..., parameters={'version': '3.2'})"
    )


def _positive_weight(file: XGBoostFile, objective: str) -> float | None:
    if objective not in _WEIGHTED_POSITIVES:
        return None
    weight = read_number(
        file.objective_parameters.get("scale_pos_weight", 1), "scale_pos_weight"
    )
    return None if weight == 1.0 else weight


def _approximations(file: XGBoostFile, known: XGBoostParameters) -> list[str]:
    """Name the settings under which a replay of the training is not exact."""
    notes = []
    if file.booster == "dart":
        notes.append(
            "booster=dart or rate_drop: each tree was fitted to the scores of a random "
            "part of the trees before it and rescaled later; the replay takes all of "
            "them."
        )
    if known.is_monotone:
        notes.append(
            "monotone_constraints: some leaf values were moved into the bounds that "
            "the constraints set; the replay leaves the bounds out."
        )
    return notes
