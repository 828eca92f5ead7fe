"""Where a model came from: one file for each library, found without importing any."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from treeinf.adapters.xgboost.ubjson import is_ubjson
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import ModelFormatError, UnsupportedModelError
from treeinf.validation import check_count

__all__ = ["find_adapter", "init_score", "read_model", "unwrap_pipeline"]

_ADAPTERS = {
    "catboost": "treeinf.adapters.catboost.reader",
    "lightgbm": "treeinf.adapters.lightgbm.reader",
    "sklearn": "treeinf.adapters.sklearn.reader",
    "xgboost": "treeinf.adapters.xgboost.reader",
}
"""The package a model's class comes from, and the module that reads it.

Such a module has ``read(model)``, ``raw_score(model, X)``, ``init_score(model, X)`` if
rows may start from scores of their own and, for file formats, functions that
`_read_content` names.
"""

_SKLEARN_MODELS = {
    "BaseBagging",
    "BaseDecisionTree",
    "BaseForest",
    "BaseGradientBoosting",
    "BaseHistGradientBoosting",
}
"""The classes of scikit-learn whose subclasses are models of trees."""

_INNER_MODELS = {
    "FixedThresholdClassifier": "estimator_",
    "FrozenEstimator": "estimator",
    "TunedThresholdClassifierCV": "estimator_",
}
"""Wrappers whose raw scores are those of the fitted model inside, by class name."""

_READ = (
    "Read are fitted LightGBM models (LGBMClassifier, LGBMRegressor, LGBMRanker or "
    "Booster), their model text or dumped JSON, fitted XGBoost models (XGBClassifier, "
    "XGBRegressor, XGBRFClassifier, XGBRFRegressor, XGBRanker or Booster), their JSON "
    "and UBJSON files, fitted CatBoost models (CatBoost, CatBoostClassifier, "
    "CatBoostRegressor or CatBoostRanker), their .cbm and JSON files, boosted, "
    "averaged and single trees of scikit-learn, and files that TreeEnsemble.save wrote."
)

_OTHER_FILES = {
    b"\x80": (
        "a pickle, which can run code when it is opened. If you trust it, load it "
        "yourself and pass the model, or save the model with booster.save_model(path)"
    ),
    b"binf": (
        "an XGBoost model in the old binary form. Load it with a version of XGBoost "
        "before 3.1 and save it again with booster.save_model('model.ubj')"
    ),
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
}
"""First bytes of files that are told apart only to say so."""


def read_model(
    model: Any,
    *,
    iterations: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> TreeEnsemble:
    """Read a fitted model into the uniform representation.

    Parameters
    ----------
    model : estimator, booster, path-like, dict or TreeEnsemble
        A fitted model of LightGBM, XGBoost, CatBoost or scikit-learn (boosted,
        averaged and single trees); a path to a model file (LightGBM text or dumped
        JSON, XGBoost JSON or UBJSON, CatBoost cbm or JSON, or what `TreeEnsemble.save`
        wrote), told apart by what is in it; LightGBM's text itself, or the dictionary
        that its ``dump_model()`` returns. A `TreeEnsemble` is returned as it is. Of a
        fitted search, such as GridSearchCV, the best estimator is read.
    iterations : int or None
        Boosting iterations to read; None for the best one where training was stopped
        early, else all.
    parameters : dict or None
        Training parameters, under the library's names, in place of what the model says.
        A dumped JSON holds none, and what rests on a replay of the training needs them;
        what they do not name has the library's default. ``version`` is the version of
        XGBoost that trained the model, if a later one wrote it.

    Returns
    -------
    TreeEnsemble

    Raises
    ------
    UnsupportedModelError
        If this kind of model is not read, or cannot be represented exactly.
    ModelFormatError
        If the file or dictionary is not a whole model.
    NotFittedError
        If the estimator has not been fitted.
    FileNotFoundError
        If there is no file at the path.
    TypeError, ValueError
        If `iterations` is no positive integer, by kind and by value.

    Warns
    -----
    ModelVersionWarning
        If an XGBoost wrote the model that is newer than all that were tested.
    """
    if iterations is not None:
        check_count("iterations", iterations)
    if isinstance(model, TreeEnsemble):
        _refuse_choices("a TreeEnsemble", iterations, parameters)
        return model
    if isinstance(model, str) and "\n" in model:
        return _read_content(model.encode(), "The text", iterations, parameters)
    if isinstance(model, (str, os.PathLike)):
        content = Path(model).read_bytes()
        if content.startswith(b"PK\x03\x04"):
            _refuse_choices(f"{model}, an npz file", iterations, parameters)
            return TreeEnsemble.load(model)
        return _read_content(content, str(model), iterations, parameters)
    if isinstance(model, Mapping):
        return _read_json(model, "The dictionary", iterations, parameters)
    adapter, inner = find_adapter(model)
    ensemble: TreeEnsemble = adapter.read(
        inner, iterations=iterations, parameters=parameters
    )
    return ensemble


def _refuse_choices(given: str, *choices: Any) -> None:
    if any(choice is not None for choice in choices):
        raise ValueError(
            f"iterations and parameters go with a library's own model; got {given}."
        )


def find_adapter(model: Any) -> tuple[ModuleType, Any]:
    """Find the module that reads a live model, by the package of its class.

    Parameters
    ----------
    model : estimator or booster
        The model; subclasses count as what they inherit from.

    Returns
    -------
    adapter : module
        The module.
    model : estimator or booster
        The model, or the best estimator of a fitted search.

    Raises
    ------
    UnsupportedModelError
        If no module reads such models.
    NotFittedError
        If the model is a search that has not been fitted.
    """
    name = _adapter_name(model)
    if name is not None:
        return importlib.import_module(name), model
    if isinstance(model, type):
        raise UnsupportedModelError(
            f"Got the class {model.__name__}, not a fitted model. {_READ}"
        )
    inner = _INNER_MODELS.get(type(model).__name__, "best_estimator_")
    if hasattr(model, inner):
        return find_adapter(getattr(model, inner))
    kind = type(model)
    raise UnsupportedModelError(
        f"Got a {kind.__module__}.{kind.__qualname__}. {_READ}{_way_out(model)}"
    )


def _adapter_name(model: Any) -> str | None:
    for parent in type(model).__mro__:
        package = parent.__module__.partition(".")[0]
        if package == "sklearn" and parent.__name__ not in _SKLEARN_MODELS:
            continue
        if package in _ADAPTERS:
            return _ADAPTERS[package]
    return None


def init_score(model: Any, X: Any) -> Any:
    """Compute the initial scores of rows where a model gives each row one of its own.

    Parameters
    ----------
    model : estimator or booster
        The model.
    X : array-like or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs), or None
        None where all rows start from the ensemble's base score.
    """
    adapter, inner = find_adapter(model)
    find = getattr(adapter, "init_score", None)
    return None if find is None else find(inner, X)


def unwrap_pipeline(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Take the model out of a pipeline.

    Parameters
    ----------
    model : Any
        A fitted scikit-learn pipeline, a fitted search over one, or anything else.

    Returns
    -------
    model : Any
        The last step; what was given if it is no pipeline.
    transform : callable
        Brings rows to what that model takes: the steps before it.
    """
    best = getattr(model, "best_estimator_", None)
    if hasattr(best, "steps"):
        model = best
    if not hasattr(model, "steps"):
        return model, lambda X: X
    steps = model[:-1]
    inner, transform = unwrap_pipeline(model.steps[-1][1])
    if not len(steps):
        return inner, transform
    return inner, lambda X: transform(steps.transform(X))


def _way_out(model: Any) -> str:
    """Say what to pass in place of a model that holds others."""
    if hasattr(model, "steps"):
        return (
            " Pass the fitted model alone, which is the last step, together with rows "
            "that the steps before it have transformed: model=pipeline[-1], "
            "X=pipeline[:-1].transform(X)."
        )
    if hasattr(model, "calibrated_classifiers_") or any(
        _adapter_name(part) for part in getattr(model, "estimators_", ())
    ):
        return (
            " It holds several models: pass one of them, together with the rows that "
            "this one was trained on."
        )
    if hasattr(model, "regressor_") and hasattr(model, "transformer_"):
        return (
            " Pass the fitted model inside it, together with the targets it was "
            "trained on: model=model.regressor_, y=model.transformer_.transform(y), "
            "of one column."
        )
    if hasattr(model, "estimator") and hasattr(model, "refit"):
        if not hasattr(model, "cv_results_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(model).__name__} is not fitted; call fit first."
            )
        return " Fit the search with refit=True, or pass a fitted model."
    if hasattr(model, "estimator"):
        return " Pass the fitted model inside it."
    return ""


def _read_content(
    content: bytes,
    where: str,
    iterations: int | None,
    parameters: Mapping[str, Any] | None,
) -> TreeEnsemble:
    """Read the bytes of a model file, whose format they tell."""
    for start, kind in _OTHER_FILES.items():
        if content.startswith(start):
            raise UnsupportedModelError(f"{where} is {kind}. {_READ}")
    if not content.strip():
        raise ModelFormatError(f"{where} is empty.")
    if content.startswith(b"CBM1"):
        from treeinf.adapters.catboost import reader as catboost

        return catboost.read_binary(
            content, iterations=iterations, parameters=parameters
        )
    if is_ubjson(content):
        from treeinf.adapters.xgboost import reader as xgboost

        return xgboost.read_ubjson(
            content, iterations=iterations, parameters=parameters
        )
    if content.lstrip()[:1] == b"{":
        try:
            dumped = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(
                f"{where} starts like JSON and is not whole: {error}"
            ) from error
        return _read_json(dumped, where, iterations, parameters)
    if content.split(None, 1)[0] != b"tree":
        raise ModelFormatError(
            f"{where} is not a model file that is read here. {_READ}"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ModelFormatError(f"{where} is not whole model text: {error}") from error
    from treeinf.adapters.lightgbm import reader as lightgbm

    return lightgbm.read_text(text, iterations=iterations, parameters=parameters)


def _read_json(
    dumped: Mapping[str, Any],
    where: str,
    iterations: int | None,
    parameters: Mapping[str, Any] | None,
) -> TreeEnsemble:
    from treeinf.adapters.catboost import reader as catboost
    from treeinf.adapters.lightgbm import reader as lightgbm
    from treeinf.adapters.xgboost import reader as xgboost

    if "learner" in dumped:
        return xgboost.read_model_entries(
            dumped, iterations=iterations, parameters=parameters
        )
    if catboost.is_catboost_json(dumped):
        return catboost.read_json(dumped, iterations=iterations, parameters=parameters)
    if "tree_info" not in dumped:
        raise ModelFormatError(
            f"{where} is not a dumped LightGBM model: there is no tree_info. {_READ}"
        )
    return lightgbm.read_json(dumped, iterations=iterations, parameters=parameters)
