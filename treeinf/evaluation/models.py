"""Parameters of each library's estimator for suites, small models for all data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treeinf.training.estimators import ESTIMATORS, make_estimator

__all__ = ["LIBRARIES", "new_estimator"]

_PARAMETERS: dict[str, dict[str, Any]] = {
    "lightgbm": {
        "n_estimators": 50,
        "learning_rate": 0.1,
        "num_leaves": 15,
        "min_child_samples": 5,
        "random_state": 0,
        "verbose": -1,
    },
    "xgboost": {
        "n_estimators": 50,
        "learning_rate": 0.1,
        "max_depth": 4,
        "random_state": 0,
    },
    "catboost": {
        "iterations": 50,
        "learning_rate": 0.1,
        "depth": 4,
        "bootstrap_type": "No",
        "random_strength": 0,
        "random_seed": 0,
        "verbose": False,
        "allow_writing_files": False,
    },
    "sklearn": {
        "max_iter": 50,
        "learning_rate": 0.1,
        "max_leaf_nodes": 15,
        "min_samples_leaf": 5,
        "early_stopping": False,
        "random_state": 0,
    },
    "gradient_boosting": {
        "n_estimators": 50,
        "learning_rate": 0.1,
        "max_depth": 4,
        "min_samples_leaf": 5,
        "random_state": 0,
    },
    "random_forest": {"n_estimators": 50, "random_state": 0},
}

LIBRARIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    name: (ESTIMATORS[name].module, ESTIMATORS[name].prefix, parameters)
    for name, parameters in _PARAMETERS.items()
}
"""Module, prefix of the classes' names, and parameters that differ from the defaults.

CatBoost neither samples rows nor adds noise to its splits, so that retraining measures
the removal of rows alone. The threads are set by what trains copies.
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
        Replace those in `LIBRARIES`, or add to them.

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
    settings = {**_PARAMETERS[library], **(parameters or {})}
    return make_estimator(library, task, **settings)
