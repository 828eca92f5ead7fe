"""Rows that are hard to route, and small XGBoost models to route them through."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from tests.naive import routing as naive
from treeinf.adapters.xgboost.reader import leaf_nodes

QUIET = {"nthread": 1, "max_depth": 4}

SPECIAL = np.array(
    [
        *(np.nan, 0.0, -0.0, 5e-324, -5e-324, 1e-45, -1e-45, 1e-39, -1e-39),
        *(-0.3, -1.0, -1.5, 0.5, 1.9, 31.0, 32.0, 44.9, 45.0, 1000.0, 1e18),
        *(2.0**24 - 1, 2.0**24, 2.0**31, 2.0**32, 3.4e38, -3.4e38),
    ]
)


def train(xgboost, X, y, *, iterations=4, categorical=(), data=None, **params):
    """Train a booster; `categorical` are column numbers, `data` more of the rows."""
    if categorical:
        kinds = ["c" if k in categorical else "q" for k in range(X.shape[1])]
        data = {"feature_types": kinds, "enable_categorical": True, **(data or {})}
    rows = xgboost.DMatrix(X, y, **(data or {}))
    return xgboost.train({**QUIET, **params}, rows, iterations)


def version_of(xgboost):
    """The version's first two numbers, to compare with others."""
    return tuple(int(part) for part in xgboost.__version__.split(".")[:2])


def dropping_trees(xgboost):
    """Settings of DART; from 3.3 on any booster drops, and naming this one warns."""
    booster = {"booster": "dart"} if version_of(xgboost) < (3, 3) else {}
    return {**booster, "rate_drop": 0.5, "one_drop": 1}


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


def hard_rows(ensemble, X, n_base=3, n_thresholds=20):
    """Put special values, thresholds and their neighbours into each column in turn."""
    found = [X[:40]]
    whole = X[~np.isnan(X).any(axis=1)][:n_base]
    for feature in range(X.shape[1]):
        tested = (ensemble.feature == feature) & ~ensemble.is_categorical
        below = np.unique(ensemble.threshold[tested])[:n_thresholds].astype(np.float32)
        threshold = np.nextafter(below, np.float32(np.inf))
        above = np.nextafter(threshold, np.float32(np.inf))
        # in between two floats, so that the rounding to float32 decides
        between = (threshold.astype(float) + below.astype(float)) / 2
        near = [np.nextafter(between, side) for side in (np.inf, -np.inf)]
        values = np.concatenate([SPECIAL, below, threshold, above, between, *near])
        for base in whole:
            rows = np.repeat(base[np.newaxis], len(values), axis=0)
            rows[:, feature] = values
            found.append(rows)
    return np.concatenate(found)


def own_leaves(xgboost, booster, X, **data):
    """XGBoost's own node numbers of the leaves, shape (n_rows, n_trees)."""
    rows = X if isinstance(X, xgboost.DMatrix) else xgboost.DMatrix(X, **data)
    leaves = booster.predict(rows, pred_leaf=True, validate_features=False)
    return np.asarray(leaves).reshape(rows.num_row(), -1)


def own_raw_score(xgboost, booster, X, **data):
    """XGBoost's raw scores as (n_rows, n_outputs)."""
    rows = X if isinstance(X, xgboost.DMatrix) else xgboost.DMatrix(X, **data)
    scores = booster.predict(rows, output_margin=True, validate_features=False)
    return np.asarray(scores).reshape(rows.num_row(), -1)


def node_numbers(ensemble, booster, X):
    """Number the leaves of rows as XGBoost does."""
    return leaf_nodes(booster)[ensemble.leaf_offset[:-1] + ensemble.apply(X)]


def assert_same_model(xgboost, ensemble, booster, X, *, is_naive=True, **data):
    """Leaves are XGBoost's, exactly, and raw scores to 1e-6 of the largest term."""
    leaves = own_leaves(xgboost, booster, X, **data)
    scores = own_raw_score(xgboost, booster, X, **data)
    # the library adds up in single precision, from a base score that trees may cancel
    atol = 1e-6 * max(np.abs(scores).max(), np.abs(ensemble.base_score).max(), 1e-300)
    assert_array_equal(node_numbers(ensemble, booster, X), leaves)
    assert_allclose(ensemble.raw_score(X), scores, rtol=0, atol=atol)
    if is_naive:
        some = np.linspace(0, len(X) - 1, 120).astype(int)
        found = naive.find_leaves(ensemble, X[some])
        numbers = leaf_nodes(booster)[ensemble.leaf_offset[:-1] + found]
        assert_array_equal(numbers, leaves[some])
        assert_allclose(
            naive.raw_scores(ensemble, X[some]), scores[some], rtol=0, atol=atol
        )
