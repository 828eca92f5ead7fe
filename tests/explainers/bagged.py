"""Models whose trees were fitted on bags of the rows, of every kind that is found."""

import numpy as np
import pytest

from tests import models

BAGGING = {"subsample": 0.6, "subsample_freq": 1}
GOSS = {"data_sample_strategy": "goss", "learning_rate": 0.5}


def fit_lightgbm(recipe, **settings):
    return models.fit(recipe, weighted=True, n_estimators=6, **settings)


def fit_xgboost(recipe, weighted=False, **settings):
    xgboost = pytest.importorskip("xgboost")
    _, X, y, weight, X_test, y_test = models.fit(
        recipe, weighted=weighted, n_estimators=1
    )
    kind = xgboost.XGBRegressor if recipe == "regression" else xgboost.XGBClassifier
    model = kind(n_estimators=5, max_depth=3, subsample=0.6, n_jobs=1, **settings)
    return model.fit(X, y, sample_weight=weight), X, y, weight, X_test, y_test


def fit_sklearn(recipe, weighted=False, **settings):
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    _, X, y, weight, X_test, y_test = models.fit(
        recipe, weighted=weighted, n_estimators=1
    )
    is_regression = recipe == "regression"
    kind = GradientBoostingRegressor if is_regression else GradientBoostingClassifier
    model = kind(n_estimators=5, random_state=0, subsample=0.6, **settings)
    X, X_test = np.nan_to_num(X), np.nan_to_num(X_test)
    return model.fit(X, y, sample_weight=weight), X, y, weight, X_test, y_test


CASES = {
    "LightGBM bagging": (fit_lightgbm, "binary", BAGGING),
    "LightGBM bagging, classes": (fit_lightgbm, "multiclass", BAGGING),
    "LightGBM GOSS": (fit_lightgbm, "binary", GOSS),
    "XGBoost": (fit_xgboost, "binary", {"random_state": 3}),
    "XGBoost, a bag for each class": (fit_xgboost, "multiclass", {}),
    "XGBoost, parallel trees": (fit_xgboost, "regression", {"num_parallel_tree": 2}),
    "XGBoost by gradients": (
        fit_xgboost,
        "binary",
        {"sampling_method": "gradient_based", "tree_method": "hist"},
    ),
    "XGBoost by gradients, weights": (
        fit_xgboost,
        "binary",
        {
            **{"sampling_method": "gradient_based", "tree_method": "hist"},
            "weighted": True,
        },
    ),
    "scikit-learn": (fit_sklearn, "binary", {}),
    "scikit-learn, weights": (fit_sklearn, "binary", {"weighted": True}),
}


def fit_bagged(name):
    """Fit one of the cases: model, X, y, weight, X_test, y_test."""
    fit, recipe, settings = CASES[name]
    return fit(recipe, **settings)
