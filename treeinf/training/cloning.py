"""Clone estimators, also those that scikit-learn cannot, and look into pipelines."""

from __future__ import annotations

import copy
from typing import Any

from sklearn.base import clone

__all__ = ["BOOSTERS", "clone_estimator", "find_package", "last_step", "rebuild"]

BOOSTERS = ("catboost", "lightgbm", "xgboost")


def clone_estimator(estimator: Any) -> Any:
    """Return an unfitted copy with the same parameters.

    Notes
    -----
    CatBoost copies lists passed to it, which `sklearn.base.clone` takes for a faulty
    constructor and rejects, also in a pipeline; such estimators are rebuilt.
    """
    parameters = estimator.get_params(deep=True).values()
    if any(find_package(value) == "catboost" for value in (estimator, *parameters)):
        return rebuild(estimator)
    return clone(estimator)


def rebuild(estimator: Any) -> Any:
    """Construct an estimator from copies of its parameters, as `clone` does."""
    parameters = estimator.get_params(deep=False)
    new = type(estimator)(**{k: _copy_value(v) for k, v in parameters.items()})
    # what scikit-learn's clone carries over too: requested metadata and set_output
    for name in ("_metadata_request", "_sklearn_output_config"):
        if hasattr(estimator, name):
            setattr(new, name, copy.deepcopy(getattr(estimator, name)))
    return new


def _copy_value(value: Any) -> Any:
    if hasattr(value, "get_params") and not isinstance(value, type):
        return clone_estimator(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_copy_value, value))
    return copy.deepcopy(value)


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator itself."""
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def find_package(estimator: Any) -> str:
    """Return the package of a class; of one derived from a booster, the booster's."""
    for parent in type(estimator).__mro__:
        package = parent.__module__.partition(".")[0]
        if package in BOOSTERS:
            return package
    return type(estimator).__module__.partition(".")[0]
