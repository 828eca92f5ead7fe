"""Create the estimators of each library by name, with common parameter names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ESTIMATORS", "EstimatorClass", "make_estimator"]


class EstimatorClass(NamedTuple):
    """Module of a library's estimators and its names of common parameters.

    Parameters
    ----------
    module : str
        Module of the classes.
    prefix : str
        Their names without "Classifier" or "Regressor".
    n_trees, n_jobs, seed : str or None
        The library's parameters for trees (an output), threads and seed; None where it
        has none.
    always : dict
        Parameters that disable printing, writing files and early stopping.
    """

    module: str
    prefix: str
    n_trees: str
    n_jobs: str | None
    seed: str
    always: Mapping[str, Any]


ESTIMATORS: dict[str, EstimatorClass] = {
    "lightgbm": EstimatorClass(
        "lightgbm", "LGBM", "n_estimators", "n_jobs", "random_state", {"verbose": -1}
    ),
    "xgboost": EstimatorClass(
        "xgboost", "XGB", "n_estimators", "n_jobs", "random_state", {}
    ),
    "catboost": EstimatorClass(
        "catboost",
        "CatBoost",
        "iterations",
        "thread_count",
        "random_seed",
        {"verbose": False, "allow_writing_files": False},
    ),
    "sklearn": EstimatorClass(
        "sklearn.ensemble",
        "HistGradientBoosting",
        "max_iter",
        None,
        "random_state",
        {"early_stopping": False},
    ),
    "gradient_boosting": EstimatorClass(
        "sklearn.ensemble",
        "GradientBoosting",
        "n_estimators",
        None,
        "random_state",
        {},
    ),
    "random_forest": EstimatorClass(
        "sklearn.ensemble",
        "RandomForest",
        "n_estimators",
        "n_jobs",
        "random_state",
        {},
    ),
    "extra_trees": EstimatorClass(
        "sklearn.ensemble", "ExtraTrees", "n_estimators", "n_jobs", "random_state", {}
    ),
}
"""Estimators by name; "sklearn" is its histogram gradient boosting."""


def make_estimator(
    library: str,
    task: str,
    *,
    n_trees: int | None = None,
    n_jobs: int | None = None,
    seed: int | None = None,
    **parameters: Any,
) -> Any:
    """Create an unfitted estimator.

    Parameters
    ----------
    library : str
        One of `ESTIMATORS`.
    task : str
        "regression" for a regressor; "classification", "binary" or "multiclass" for a
        classifier.
    n_trees, n_jobs, seed : int, optional
        Trees (per output), threads and seed; None for the library's defaults.
    **parameters : Any
        Other parameters under the library's names; they override all others.

    Returns
    -------
    estimator

    Raises
    ------
    ValueError
        If there is no such library.
    ImportError
        If it is not installed.
    """
    if library not in ESTIMATORS:
        raise ValueError(
            f"Got the library {library!r}; expected one of {', '.join(ESTIMATORS)}."
        )
    names = ESTIMATORS[library]
    common = {names.n_trees: n_trees, names.n_jobs: n_jobs, names.seed: seed}
    settings = {
        **names.always,
        **{name: value for name, value in common.items() if name and value is not None},
        **parameters,
    }
    kind = "Regressor" if task == "regression" else "Classifier"
    module = importlib.import_module(names.module)
    return getattr(module, f"{names.prefix}{kind}")(**settings)
