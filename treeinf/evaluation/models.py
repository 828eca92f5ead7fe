"""Estimators of each library for a suite, small and the same for all data sets."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

__all__ = ["LIBRARIES", "new_estimator"]

LIBRARIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lightgbm": (
        "lightgbm",
        "LGBM",
        {
            "n_estimators": 50,
            "learning_rate": 0.1,
            "num_leaves": 15,
            "min_child_samples": 5,
            "random_state": 0,
            "verbose": -1,
        },
    ),
    "xgboost": (
        "xgboost",
        "XGB",
        {"n_estimators": 50, "learning_rate": 0.1, "max_depth": 4, "random_state": 0},
    ),
    "catboost": (
        "catboost",
        "CatBoost",
        {
            "iterations": 50,
            "learning_rate": 0.1,
            "depth": 4,
            "bootstrap_type": "No",
            "random_strength": 0,
            "random_seed": 0,
            "verbose": False,
            "allow_writing_files": False,
        },
    ),
    "sklearn": (
        "sklearn.ensemble",
        "HistGradientBoosting",
        {
            "max_iter": 50,
            "learning_rate": 0.1,
            "max_leaf_nodes": 15,
            "min_samples_leaf": 5,
            "early_stopping": False,
            "random_state": 0,
        },
    ),
    "gradient_boosting": (
        "sklearn.ensemble",
        "GradientBoosting",
        {
            "n_estimators": 50,
            "learning_rate": 0.1,
            "max_depth": 4,
            "min_samples_leaf": 5,
            "random_state": 0,
        },
    ),
    "random_forest": (
        "sklearn.ensemble",
        "RandomForest",
        {"n_estimators": 50, "random_state": 0},
    ),
}
"""Module, beginning of the classes' names, and what differs from their defaults.

CatBoost neither draws rows nor adds noise to its splits, so that retraining answers for
the rows that go alone. The threads are set by who trains copies.
"""


def new_estimator(
    library: str, task: str, parameters: Mapping[str, Any] | None = None
) -> Any:
    """Make the unfitted estimator of a library.

    Parameters
    ----------
    library : str
        One of `LIBRARIES`.
    task : {"binary", "multiclass", "regression"}
        What it learns.
    parameters : dict, optional
        In place of those in `LIBRARIES`, or beside them.

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
    if library not in LIBRARIES:
        raise ValueError(
            f"Got the library {library!r}; expected one of {', '.join(LIBRARIES)}."
        )
    module, name, known = LIBRARIES[library]
    kind = "Regressor" if task == "regression" else "Classifier"
    given = {**known, **(parameters or {})}
    return getattr(importlib.import_module(module), f"{name}{kind}")(**given)
