"""Find the adapter of a fitted model by its class, without importing any library."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError

__all__ = ["SUPPORTED", "Adapter", "find_adapter", "init_score", "unwrap_pipeline"]

_ADAPTERS = {
    "catboost": "treeinf.adapters.catboost.reader",
    "lightgbm": "treeinf.adapters.lightgbm.reader",
    "sklearn": "treeinf.adapters.sklearn.reader",
    "xgboost": "treeinf.adapters.xgboost.reader",
}
"""Packages of model classes, and the module that implements each `Adapter`."""

_SKLEARN_MODELS = {
    "BaseBagging",
    "BaseDecisionTree",
    "BaseForest",
    "BaseGradientBoosting",
    "BaseHistGradientBoosting",
}
"""Base classes of scikit-learn's tree models."""

_INNER_MODELS = {
    "FixedThresholdClassifier": "estimator_",
    "FrozenEstimator": "estimator",
    "TunedThresholdClassifierCV": "estimator_",
}
"""Attribute of the fitted model in wrappers that share its raw scores."""

SUPPORTED = (
    "Supported are fitted LightGBM models (LGBMClassifier, LGBMRegressor, LGBMRanker "
    "or Booster), their model text or dumped JSON, fitted XGBoost models "
    "(XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor, XGBRanker or "
    "Booster), their JSON and UBJSON files, fitted CatBoost models (CatBoost, "
    "CatBoostClassifier, CatBoostRegressor or CatBoostRanker), their .cbm and JSON "
    "files, boosted, averaged and single trees of scikit-learn, and files that "
    "TreeEnsemble.save wrote."
)
"""What `read_model` supports, for error messages."""


class Adapter(Protocol):
    """The functions of each library's ``reader`` module."""

    def read(
        self,
        model: Any,
        *,
        iterations: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> TreeEnsemble:
        """Read a fitted model of the library.

        Parameters
        ----------
        model : estimator or booster
            The model.
        iterations : int or None
            First iterations, or trees of a forest, to read; None for those that the
            model's ``predict`` uses.
        parameters : dict or None
            Training parameters that override those stored in the model.

        Returns
        -------
        TreeEnsemble

        Raises
        ------
        NotFittedError
            If the model has not been fitted.
        UnsupportedModelError
            If the model cannot be represented exactly.
        """

    def read_file(
        self,
        file: Any,
        *,
        iterations: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> TreeEnsemble:
        """Build an ensemble from a model file; scikit-learn has none.

        Parameters
        ----------
        file : LightGBMFile, XGBoostFile or CatBoostFile
            The parsed file.
        iterations : int or None
            First iterations to read; None for all.
        parameters : dict or None
            Training parameters that override those in the file. Files without any need
            them for a replay of the training; those left out are inferred from the
            trees (XGBoost) or take the library's defaults.

        Returns
        -------
        TreeEnsemble

        Raises
        ------
        ModelFormatError
            If the file is not a valid model.
        UnsupportedModelError
            If the model cannot be represented exactly.
        """

    def raw_score(
        self, model: Any, X: Any, *, iterations: int | None = None
    ) -> NDArray[np.float64]:
        """Compute the library's own raw scores.

        Parameters
        ----------
        model : estimator or booster
            The model.
        X : array-like, sparse matrix or frame, shape (n_rows, n_features)
            Rows for the library; frames that it does not support are converted.
        iterations : int or None
            First iterations to use; None for those that the model's ``predict`` uses.

        Returns
        -------
        ndarray of float64, shape (n_rows, n_outputs)
        """

    def init_score(self, model: Any, X: Any) -> NDArray[np.float64] | None:
        """Compute the initial scores of rows; None if all have the base score."""


def find_adapter(model: Any) -> tuple[Adapter, Any]:
    """Find the module that reads a live model, by the package of its class.

    Parameters
    ----------
    model : estimator or booster
        The model; subclasses are read like their base class.

    Returns
    -------
    adapter : Adapter
        The module.
    model : estimator or booster
        The model, or the best estimator of a fitted search.

    Raises
    ------
    UnsupportedModelError
        If the model is not supported.
    NotFittedError
        If the model is a search that has not been fitted.
    """
    name = _adapter_name(model)
    if name is not None:
        return cast(Adapter, importlib.import_module(name)), model
    if isinstance(model, type):
        raise UnsupportedModelError(
            f"Got the class {model.__name__}, not a fitted model. {SUPPORTED}"
        )
    inner = _inner_model(model)
    if inner is not None:
        return find_adapter(inner)
    kind = type(model)
    raise UnsupportedModelError(
        f"Got a {kind.__module__}.{kind.__qualname__}. {SUPPORTED}{_way_out(model)}"
    )


def _inner_model(model: Any) -> Any:
    """Return the fitted model of a search or another wrapper; None for others."""
    name = _INNER_MODELS.get(type(model).__name__, "best_estimator_")
    return None if isinstance(model, type) else getattr(model, name, None)


def _adapter_name(model: Any) -> str | None:
    for parent in type(model).__mro__:
        package = parent.__module__.partition(".")[0]
        if package == "sklearn" and parent.__name__ not in _SKLEARN_MODELS:
            continue
        if package in _ADAPTERS:
            return _ADAPTERS[package]
    return None


def init_score(model: Any, X: Any) -> Any:
    """Compute the initial scores of rows, for models with one per row.

    Parameters
    ----------
    model : estimator or booster
        The model.
    X : array-like or frame, shape (n_rows, n_features)
        Rows.

    Returns
    -------
    ndarray of float64, shape (n_rows, n_outputs), or None
        None if all rows start from the ensemble's base score.
    """
    adapter, inner = find_adapter(model)
    find = getattr(adapter, "init_score", None)
    return None if find is None else find(inner, X)


def unwrap_pipeline(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Split a pipeline into its preprocessing and its model.

    Parameters
    ----------
    model : Any
        A fitted scikit-learn pipeline, a fitted search over one, or anything else.

    Returns
    -------
    model : Any
        The last step; `model` itself if it is not a pipeline.
    transform : callable
        Applies the steps before the model to rows.
    """
    steps: list[Any] = []
    while True:
        inner = _inner_model(model)
        if inner is not None:
            model = inner
            continue
        if not hasattr(model, "steps"):
            return model, functools.partial(_apply_steps, steps)
        if len(model) > 1:
            steps.append(model[:-1])
        model = model.steps[-1][1]


def _apply_steps(steps: Sequence[Any], X: Any) -> Any:
    """Transform rows by the steps of pipelines, one after the other."""
    for step in steps:
        X = step.transform(X)
    return X


def _way_out(model: Any) -> str:
    """Return what to pass instead of a model that wraps others."""
    if hasattr(model, "steps"):
        return (
            " Pass the fitted model alone, which is the last step, together with rows "
            "that the steps before it have transformed: model=pipeline[-1], "
            "X=pipeline[:-1].transform(X)."
        )
    member = ""
    if hasattr(model, "calibrated_classifiers_"):
        member = "calibrated_classifiers_[0].estimator"
    elif len(getattr(model, "estimators_", ())):
        member = "estimators_[0]"
    if member:
        target = ", y=y[:, 0]" if type(model).__module__.endswith("multioutput") else ""
        return (
            f" It contains several models: pass one of them, model=model.{member}"
            f"{target}, with the rows and targets that this one was trained on."
        )
    if hasattr(model, "regressor_") and hasattr(model, "transformer_"):
        return (
            " Pass the fitted model inside it, with the targets it was trained on: "
            "model=model.regressor_, y=model.transformer_.transform(y), in one column."
        )
    if hasattr(model, "estimator") and hasattr(model, "refit"):
        if not hasattr(model, "cv_results_"):
            from sklearn.exceptions import NotFittedError

            raise NotFittedError(
                f"This {type(model).__name__} is not fitted; call fit first."
            )
        return " Fit the search with refit=True, or pass a fitted model."
    if hasattr(model, "estimator_"):
        rows = ", X=model.transform(X)" if hasattr(model, "transform") else ""
        return f" Pass the fitted model inside it: model=model.estimator_{rows}."
    return ""
