"""Rows that are hard to route, and small LightGBM models to route them through."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from tests.naive import routing as naive

QUIET = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 5, "num_leaves": 6}

ZERO = float(np.float32(1e-35))

SPECIAL = (
    *(np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-310, 1e-35, -1e-35),
    *(
        ZERO,
        -ZERO,
        np.nextafter(ZERO, 1),
        np.nextafter(ZERO, 0),
        -np.nextafter(ZERO, 1),
    ),
    *(2e-35, 1e300, -1e300, -0.5, -1.0, -1.5, 0.5, 1.9, 31.0, 32.0, 44.9, 45.0, 1000.0),
    *(2.0**31 - 1, 2.0**31, 2.0**32, 2.0**32 + 1, 2.0**63, 2.0**64, 1e18),
)


def train(lightgbm, X, y, *, iterations=4, categorical="auto", **params):
    """Train a booster; `categorical` are column numbers, `dataset` more of the data."""
    dataset = params.pop("dataset", {})
    data = lightgbm.Dataset(X, y, categorical_feature=categorical, **dataset)
    return lightgbm.train({**QUIET, **params}, data, iterations)


def mixed_rows(rng, n_rows=400, missing=0.1):
    """Draw rows of numbers, 45 and 3 categories, rounded numbers and many zeros."""
    X = rng.normal(size=(n_rows, 5))
    X[:, 1] = rng.integers(0, 45, n_rows)
    X[:, 2] = rng.integers(0, 3, n_rows)
    X[:, 3] = np.round(X[:, 3])
    X[rng.random(n_rows) < 0.5, 4] = 0.0
    X[rng.random(X.shape) < missing] = np.nan
    return X


def mixed_score(X):
    """Give a number for each row that depends on every column of `mixed_rows`."""
    known = np.nan_to_num(X, nan=0.3)
    return (
        known[:, 0]
        + (known[:, 1] % 3 == 0)
        + 0.5 * (known[:, 2] == 1)
        + 0.7 * np.isnan(X[:, 3])
        - (known[:, 4] == 0)
        + 0.3 * known[:, 3]
    )


def hard_rows(ensemble, X, n_base=3, n_thresholds=25):
    """Put special values, thresholds and their neighbours into each column in turn."""
    found = [X[:40]]
    whole = X[~np.isnan(X).any(axis=1)][:n_base]
    for feature in range(X.shape[1]):
        tested = (ensemble.feature == feature) & ~ensemble.is_categorical
        thresholds = np.unique(ensemble.threshold[tested])[:n_thresholds]
        with np.errstate(over="ignore"):
            around = [np.nextafter(thresholds, side) for side in (np.inf, -np.inf)]
        values = np.concatenate([SPECIAL, thresholds, *around])
        for base in whole:
            rows = np.repeat(base[np.newaxis], len(values), axis=0)
            rows[:, feature] = values
            found.append(rows)
    return np.concatenate(found)


def own_raw_score(booster, X, **kwargs):
    """LightGBM's raw scores as (n_rows, n_outputs)."""
    scores = booster.predict(X, raw_score=True, **kwargs)
    return np.asarray(scores).reshape(len(X), -1)


def assert_same_model(ensemble, booster, X, *, is_naive=True):
    """Leaves are LightGBM's, exactly, and raw scores to 1e-10 of the largest."""
    leaves = np.asarray(booster.predict(X, pred_leaf=True)).reshape(len(X), -1)
    scores = own_raw_score(booster, X)
    atol = 1e-10 * max(np.abs(scores).max(), 1e-300)
    assert_array_equal(ensemble.apply(X), leaves)
    assert_allclose(ensemble.raw_score(X), scores, rtol=0, atol=atol)
    if is_naive:
        some = np.linspace(0, len(X) - 1, 150).astype(int)
        assert_array_equal(naive.find_leaves(ensemble, X[some]), leaves[some])
        assert_allclose(
            naive.raw_scores(ensemble, X[some]), scores[some], rtol=0, atol=atol
        )
