"""Small models that the tests share; each is fitted once a run."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

import treeinf as ti

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"

RECIPES = {
    "regression": {},
    "regression_l1_l2": {"reg_lambda": 2.0, "reg_alpha": 3.0},
    "regression_clipped": {"max_delta_step": 4.0},
    "binary": {},
    "binary_weighted": {"class_weight": "balanced"},
    "binary_positive": {"scale_pos_weight": 3.0, "sigmoid": 1.5},
    "multiclass": {},
    "multiclassova": {"objective": "multiclassova", "reg_lambda": 1.0},
    "poisson": {"objective": "poisson"},
    "gamma": {"objective": "gamma"},
    "tweedie": {"objective": "tweedie"},
    "huber": {"objective": "huber", "alpha": 0.8},
    "fair": {"objective": "fair"},
    "cross_entropy": {"objective": "cross_entropy"},
}


@functools.cache
def make_rows(recipe):
    """Rows, targets, weights of a recipe: 240 to train on and 40 to explain."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(280, 6)).round(2)
    signal = X[:, 0] * 2 + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
    noisy = signal + rng.normal(size=280)
    weight = rng.uniform(0.5, 2.0, size=280)
    if recipe.startswith("binary"):
        y = (noisy > 0.5).astype(np.int64)
    elif recipe.startswith("multiclass"):
        y = np.digitize(noisy, [-1.0, 1.0])
    elif recipe == "cross_entropy":
        y = 1.0 / (1.0 + np.exp(-noisy))
    elif recipe in ("poisson", "tweedie"):
        y = rng.poisson(np.exp(noisy / 3)).astype(np.float64)
    elif recipe == "gamma":
        y = np.exp(noisy / 3)
    else:
        y = noisy
    return X, y, weight


@functools.cache
def fit(recipe, *, weighted=False, n_estimators=12, **more):
    """Fit a LightGBM model; gives (model, X_train, y_train, weight, X_test, y_test)."""
    lightgbm = pytest.importorskip("lightgbm")
    X, y, weight = make_rows(recipe)
    classifier = recipe.startswith(("binary", "multiclass"))
    kind = lightgbm.LGBMClassifier if classifier else lightgbm.LGBMRegressor
    parameters = {
        "n_estimators": n_estimators,
        "num_leaves": 6,
        "min_child_samples": 5,
        "verbose": -1,
        "n_jobs": 1,
        **RECIPES[recipe],
        **more,
    }
    w = weight[:240] if weighted else None
    model = kind(**parameters).fit(X[:240], y[:240], sample_weight=w)
    return model, X[:240], y[:240], w, X[240:], y[240:]


def load_golden(name):
    """Model and values of a published reference case; gives (model, arrays).

    Skips where they are absent, or where scikit-learn grows other trees by now.
    """
    path = GOLDEN / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the reference values are not at {path}")
    with np.load(path, allow_pickle=False) as arrays:
        golden = dict(arrays)
    meta = json.loads(str(golden["meta"]))
    library = name.partition("_")[0]
    if library == "lightgbm":
        return ti.read_model(path.with_suffix(".model.txt")), golden
    if library == "catboost":
        return ti.read_model(path.with_suffix(".model.cbm")), golden
    if library == "xgboost":
        model = path.with_suffix(".model.json")
        return ti.read_model(model, parameters=meta["params"]), golden
    import sklearn.ensemble

    kind = getattr(sklearn.ensemble, meta["model_class"])
    # what a later release calls "deprecated" the oldest one does not know by that name
    known = {k: value for k, value in meta["params"].items() if value != "deprecated"}
    model = kind(**known).fit(golden["X_train"], golden["y_train"])
    ensemble = ti.read_model(model)
    leaf = ensemble.apply(golden["X_train"])
    score = ensemble.raw_score(golden["X_test"])
    same_leaves = np.array_equal(leaf, golden["leaf_index_train"].reshape(leaf.shape))
    stored = golden["pred_raw_test"].reshape(score.shape)
    if not (same_leaves and np.allclose(score, stored, rtol=1e-9, atol=1e-9)):
        pytest.skip("this scikit-learn grows other trees than the stored ones")
    return model, golden
