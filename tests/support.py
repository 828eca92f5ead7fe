"""Models of every library, task and feature, and how exactly each is read.

The table in the README and the one in docs/reproduction.md are made from what is
measured here; `test_support.py` checks that they are up to date.
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import treeinf as ti
from treeinf.adapters.parity import check_parity
from treeinf.errors import TrainingDataMismatchError, UnsupportedModelError

N_TRAIN, N_VALID = 600, 200
TASKS = ("regression", "binary", "multiclass")
FEATURES = (
    "numbers",
    "missing values",
    "categories",
    "weights",
    "early stopping",
    "row sampling",
    "quantile loss",
)


@dataclass(frozen=True)
class Table:
    """Rows to fit on and rows to stop early by."""

    X: Any
    y: Any
    weight: Any
    X_valid: Any
    y_valid: Any


def make_table(task: str, feature: str) -> Table:
    """Make a small table for a task, with what the feature asks for."""
    rng = np.random.default_rng(11)
    n = N_TRAIN + N_VALID
    X = rng.normal(size=(n, 5)).astype(np.float32).astype(np.float64)
    group = rng.integers(0, 8, n)
    signal = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3] + (group % 3 - 1)
    signal = signal + 0.5 * rng.normal(size=n)
    if task == "regression":
        y = signal.astype(np.float32).astype(np.float64)
    else:
        y = np.digitize(signal, [0.0] if task == "binary" else [-1.0, 1.0])
    rows: Any = X
    if feature == "missing values":
        X[rng.random(X.shape) < 0.15] = np.nan
    if feature == "categories":
        import pandas as pd

        rows = pd.DataFrame(X, columns=list("abcde"))
        rows["group"] = pd.Categorical([f"g{value}" for value in group])
    weight = rng.uniform(0.5, 2.0, n)[:N_TRAIN] if feature == "weights" else None
    return Table(rows[:N_TRAIN], y[:N_TRAIN], weight, rows[N_TRAIN:], y[N_TRAIN:])


def fit_lightgbm(task: str, feature: str, table: Table, **given: Any) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    more: dict[str, Any] = {}
    fit: dict[str, Any] = {}
    if feature == "row sampling":
        more = {"subsample": 0.7, "subsample_freq": 1}
    if feature == "quantile loss":
        more = {"objective": "quantile", "alpha": 0.3}
    if feature == "early stopping":
        more = {"n_estimators": 300, "learning_rate": 0.3}
        fit = {
            "eval_set": [(table.X_valid, table.y_valid)],
            "callbacks": [lightgbm.early_stopping(3, verbose=False)],
        }
    model = kind(
        **{
            "n_estimators": 20,
            "num_leaves": 8,
            "min_child_samples": 5,
            "verbose": -1,
            "n_jobs": 1,
            **more,
            **given,
        }
    )
    return model.fit(table.X, table.y, sample_weight=table.weight, **fit)


def fit_xgboost(task: str, feature: str, table: Table, **given: Any) -> Any:
    import xgboost

    kind = xgboost.XGBRegressor if task == "regression" else xgboost.XGBClassifier
    more: dict[str, Any] = {}
    fit: dict[str, Any] = {}
    if feature == "categories":
        more = {"enable_categorical": True, "max_cat_to_onehot": 4}
    if feature == "row sampling":
        more = {"subsample": 0.7}
    if feature == "quantile loss":
        more = {"objective": "reg:quantileerror", "quantile_alpha": 0.3}
    if feature == "early stopping":
        more = {"n_estimators": 300, "early_stopping_rounds": 3}
        fit = {"eval_set": [(table.X_valid, table.y_valid)], "verbose": False}
    model = kind(**{"n_estimators": 20, "max_depth": 3, "n_jobs": 1, **more, **given})
    return model.fit(table.X, table.y, sample_weight=table.weight, **fit)


def fit_catboost(task: str, feature: str, table: Table, **given: Any) -> Any:
    import catboost

    kind = catboost.CatBoostClassifier
    if task == "regression":
        kind = catboost.CatBoostRegressor
    more: dict[str, Any] = {}
    fit: dict[str, Any] = {}
    if feature == "categories":
        more = {"cat_features": ["group"]}
    if feature == "row sampling":
        more = {"bootstrap_type": "Bernoulli", "subsample": 0.7}
    if feature == "quantile loss":
        more = {"loss_function": "Quantile:alpha=0.3"}
    if feature == "early stopping":
        more = {"iterations": 300, "early_stopping_rounds": 3, "learning_rate": 0.3}
        fit = {"eval_set": (table.X_valid, table.y_valid)}
    model = kind(
        **{
            "iterations": 20,
            "depth": 3,
            "bootstrap_type": "No",
            "thread_count": 1,
            "allow_writing_files": False,
            "verbose": False,
            **more,
            **given,
        }
    )
    return model.fit(table.X, table.y, sample_weight=table.weight, **fit)


def fit_hist_gradient_boosting(
    task: str, feature: str, table: Table, **given: Any
) -> Any:
    from sklearn import ensemble

    kind = ensemble.HistGradientBoostingClassifier
    if task == "regression":
        kind = ensemble.HistGradientBoostingRegressor
    more: dict[str, Any] = {}
    if feature == "row sampling":
        return None
    if feature == "quantile loss":
        more = {"loss": "quantile", "quantile": 0.3}
    if feature == "early stopping":
        more = {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 300}
    model = kind(
        **{
            "max_iter": 20,
            "max_leaf_nodes": 8,
            "early_stopping": False,
            "random_state": 0,
            **more,
            **given,
        }
    )
    return model.fit(table.X, table.y, sample_weight=table.weight)


def fit_gradient_boosting(task: str, feature: str, table: Table, **given: Any) -> Any:
    from sklearn import ensemble

    kind = ensemble.GradientBoostingClassifier
    if task == "regression":
        kind = ensemble.GradientBoostingRegressor
    more: dict[str, Any] = {}
    if feature in ("categories", "missing values"):
        return None
    if feature == "row sampling":
        more = {"subsample": 0.7}
    if feature == "quantile loss":
        more = {"loss": "quantile", "alpha": 0.3}
    if feature == "early stopping":
        more = {"n_iter_no_change": 3, "n_estimators": 300}
    model = kind(**{"n_estimators": 20, "random_state": 0, **more, **given})
    return model.fit(table.X, table.y, sample_weight=table.weight)


def fit_random_forest(task: str, feature: str, table: Table, **given: Any) -> Any:
    from sklearn import ensemble

    kind = ensemble.RandomForestClassifier
    if task == "regression":
        kind = ensemble.RandomForestRegressor
    if feature in ("categories", "early stopping", "quantile loss"):
        return None
    model = kind(n_estimators=20, max_depth=6, random_state=0, n_jobs=1, **given)
    return model.fit(table.X, table.y, sample_weight=table.weight)


FITTERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "LightGBM": ("lightgbm", fit_lightgbm),
    "XGBoost": ("xgboost", fit_xgboost),
    "CatBoost": ("catboost", fit_catboost),
    "scikit-learn HistGradientBoosting": ("sklearn", fit_hist_gradient_boosting),
    "scikit-learn GradientBoosting": ("sklearn", fit_gradient_boosting),
    "scikit-learn RandomForest": ("sklearn", fit_random_forest),
}
"""Each family of models: the package it needs, and the function that fits one."""


def is_installed(family: str) -> bool:
    """Tell whether a family's library is there."""
    try:
        importlib.import_module(FITTERS[family][0])
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Outcome:
    """How exactly one model is read."""

    words: str
    largest_difference: float = float("nan")


def measure(family: str, task: str, feature: str) -> Outcome:
    """Fit a model, read it, compare raw scores, replay its training."""
    if feature == "quantile loss" and task != "regression":
        return Outcome("")
    table = make_table(task, feature)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FITTERS[family][1](task, feature, table)
        if model is None:
            return Outcome("-")
        try:
            ensemble = ti.read_model(model)
        except UnsupportedModelError:
            return Outcome("refused")
        check_parity(ensemble, model, table.X, rows="all")
        check_parity(ensemble, model, table.X_valid, rows="all")
        try:
            report = ti.TrainingTrace.build(
                ensemble, table.X, table.y, sample_weight=table.weight
            ).report
        except UnsupportedModelError:
            return Outcome("scores")
        except TrainingDataMismatchError as error:  # the right rows were given
            raise AssertionError(f"{family}, {task}, {feature}: {error}") from error
    words = {"exact": "exact", "subsampled": "sampled", "approximate": "approximate"}
    return Outcome(words[report.verdict], report.largest_difference)


def make_support_table(measured: dict[tuple[str, str, str], Outcome]) -> str:
    """Lay the outcomes out: one line a family and task, one column a feature."""
    lines = [
        "| library | task | " + " | ".join(FEATURES) + " |",
        "|---" * (len(FEATURES) + 2) + "|",
    ]
    for family in FITTERS:
        for task in TASKS:
            cells = [measured[family, task, feature].words for feature in FEATURES]
            lines.append(f"| {family} | {task} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


LOSSES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "LightGBM": {
        "regression": ("regression", {}),
        "binary": ("binary", {}),
        "multiclass": ("multiclass", {}),
        "multiclassova": ("multiclass", {"objective": "multiclassova"}),
        "cross_entropy": ("share", {"objective": "cross_entropy"}),
        "poisson": ("positive", {"objective": "poisson"}),
        "gamma": ("positive", {"objective": "gamma"}),
        "tweedie": ("positive", {"objective": "tweedie"}),
        "huber": ("regression", {"objective": "huber"}),
        "fair": ("regression", {"objective": "fair"}),
    },
    "XGBoost": {
        "reg:squarederror": ("regression", {}),
        "binary:logistic": ("binary", {}),
        "multi:softprob": ("multiclass", {}),
        "reg:logistic": ("share", {"objective": "reg:logistic"}),
        "count:poisson": ("positive", {"objective": "count:poisson"}),
        "reg:gamma": ("positive", {"objective": "reg:gamma"}),
        "reg:tweedie": ("positive", {"objective": "reg:tweedie"}),
        "reg:pseudohubererror": ("regression", {"objective": "reg:pseudohubererror"}),
    },
    "CatBoost": {
        "RMSE": ("regression", {}),
        "Logloss": ("binary", {}),
        "MultiClass": ("multiclass", {}),
        "MultiClassOneVsAll": ("multiclass", {"loss_function": "MultiClassOneVsAll"}),
        "Poisson": ("positive", {"loss_function": "Poisson"}),
        "Tweedie": ("positive", {"loss_function": "Tweedie:variance_power=1.5"}),
        "Huber": ("regression", {"loss_function": "Huber:delta=1"}),
    },
    "scikit-learn HistGradientBoosting": {
        "squared_error": ("regression", {}),
        "poisson": ("positive", {"loss": "poisson"}),
        "gamma": ("positive", {"loss": "gamma"}),
        "log_loss, two classes": ("binary", {}),
        "log_loss, more classes": ("multiclass", {}),
    },
    "scikit-learn GradientBoosting": {
        "squared_error": ("regression", {}),
        "log_loss, two classes": ("binary", {}),
        "log_loss, more classes": ("multiclass", {}),
        "exponential": ("binary", {"loss": "exponential"}),
    },
}
"""Each family's losses: the target they want, and the parameters that ask for them."""


def measure_loss(family: str, loss: str) -> float:
    """Give the largest relative error of recomputed leaf values for a loss."""
    target, parameters = LOSSES[family][loss]
    task = target if target in TASKS else "regression"
    table = make_table(task, "numbers")
    if target == "positive":
        table = dataclasses.replace(table, y=np.exp(table.y / 3))
    if target == "share":
        table = dataclasses.replace(table, y=1.0 / (1.0 + np.exp(-table.y)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FITTERS[family][1](task, "numbers", table, **parameters)
        report = ti.TrainingTrace.build(ti.read_model(model), table.X, table.y).report
    assert report.verdict == "exact", f"{family}, {loss}: {report}"
    return report.largest_difference


def make_reproduction_table() -> str:
    """Lay out the largest relative error of recomputed leaf values, loss by loss."""
    lines = ["| library | loss | largest relative error |", "|---|---|---|"]
    for family, losses in LOSSES.items():
        for loss in losses:
            lines.append(f"| {family} | {loss} | {measure_loss(family, loss):.0e} |")
    return "\n".join(lines)
