"""Small CatBoost models, and rows that are hard to route through them."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from treeinf.adapters import read_model

QUIET = {
    "iterations": 12,
    "depth": 4,
    "learning_rate": 0.3,
    "thread_count": 1,
    "allow_writing_files": False,
    "verbose": 0,
}

GROW_POLICIES = ("SymmetricTree", "Depthwise", "Lossguide")

LOSSES = (
    *("RMSE", "Logloss", "CrossEntropy", "Poisson", "Tweedie:variance_power=1.4"),
    *("Huber:delta=0.7", "MultiClass", "MultiClassOneVsAll"),
)

SPECIAL = (
    *(np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e-45, 1e-35, -1e-35),
    *(3.4028235e38, -3.4028235e38, 3.5e38, -3.5e38, 1e300, -1e300),
)


def make_rows(rng, n_rows=300, missing=0.1):
    """Draw rows of numbers, some rounded, some missing."""
    X = rng.normal(size=(n_rows, 5))
    X[:, 3] = np.round(X[:, 3])
    X[rng.random(X.shape) < missing] = np.nan
    return X


def make_targets(loss, X, rng):
    """Draw targets of a loss."""
    known = np.nan_to_num(X)
    score = known[:, 0] + np.sin(2 * known[:, 1]) + known[:, 2] * known[:, 3]
    noisy = score + rng.normal(size=len(X))
    name = loss.partition(":")[0]
    if name == "Logloss":
        return (noisy > 0.0) * 1
    if name == "CrossEntropy":
        return 1.0 / (1.0 + np.exp(-noisy))
    if name.startswith("MultiClass"):
        return np.digitize(noisy, [-0.8, 0.8])
    if name in ("Poisson", "Tweedie"):
        return rng.poisson(np.exp(noisy / 4)) * 1.0
    return noisy


def train(catboost, X, y, loss="RMSE", *, weight=None, **params):
    """Train a CatBoost model."""
    model = catboost.CatBoost({**QUIET, "loss_function": loss, **params})
    return model.fit(X, y, sample_weight=weight)


def hard_rows(ensemble, X, n_borders=15):
    """Put special values, borders and their neighbours into each column in turn."""
    found = [X[:40]]
    base = np.nan_to_num(X[0])
    for feature in range(X.shape[1]):
        borders = np.unique(ensemble.threshold[ensemble.feature == feature])
        borders = borders[:n_borders]
        single = borders.astype(np.float32)
        with np.errstate(over="ignore"):
            around = [
                *(np.nextafter(borders, side) for side in (np.inf, -np.inf)),
                *(np.nextafter(single, np.float32(s)) for s in (np.inf, -np.inf)),
            ]
        values = np.concatenate([SPECIAL, borders, *around])
        rows = np.repeat(base[np.newaxis], len(values), axis=0)
        rows[:, feature] = values
        found.append(rows)
    return np.concatenate(found)


def own_raw_score(model, X):
    """CatBoost's raw scores as (n_rows, n_outputs)."""
    scores = model._predict(X, "RawFormulaVal", 0, 0, -1, None, "predict", "CPU")
    return scores.reshape(len(X), -1)


def assert_same_model(ensemble, model, X):
    """Leaves are CatBoost's, exactly, and raw scores to 1e-12 of the largest."""
    scores = own_raw_score(model, X)
    assert_array_equal(ensemble.apply(X), model.calc_leaf_indexes(X))
    scale = max(np.abs(scores).max(), 1e-300)
    assert_allclose(ensemble.raw_score(X), scores, rtol=0, atol=1e-12 * scale)


def read_files(model, folder, **more):
    """Read a model from its binary and from its JSON file."""
    binary, text = folder / "model.cbm", folder / "model.json"
    model.save_model(binary)
    model.save_model(text, format="json", **more)
    return read_model(binary), read_model(text)
