"""Rows that are hard to route reach XGBoost's own leaves, however they come."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from tests.adapters.xgboost.models import (
    SPECIAL,
    assert_same_model,
    hard_rows,
    mixed_rows,
    mixed_score,
    node_numbers,
    own_leaves,
    own_raw_score,
    train,
    version_of,
)
from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.adapters.xgboost import reader as adapter
from treeinf.ensemble import TreeEnsemble
from treeinf.trace import TrainingTrace

xgboost = pytest.importorskip("xgboost")

KNOWS_LABELS = version_of(xgboost) >= (3, 1)


@pytest.mark.parametrize("tree_method", ["hist", "exact", "approx"])
@pytest.mark.parametrize("max_depth", [3, 8])
def test_hard_rows(rng, tree_method, max_depth):
    X = mixed_rows(rng)
    booster = train(
        xgboost, X, mixed_score(X), tree_method=tree_method, max_depth=max_depth
    )
    ensemble = read_model(booster)
    assert (ensemble.most_leaves > 64) == (max_depth == 8)
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X))


@pytest.mark.parametrize("max_cat_to_onehot", [1, 4, 100])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_categories(rng, max_cat_to_onehot, missing):
    """In the set means right there, left here; what is no category goes with others."""
    X = mixed_rows(rng, missing=missing)
    booster = train(
        xgboost,
        X,
        mixed_score(X),
        categorical=(1, 2),
        max_cat_to_onehot=max_cat_to_onehot,
    )
    ensemble = read_model(booster)
    assert ensemble.is_categorical.any()
    rows = hard_rows(ensemble, X)
    unseen = np.repeat(X[:1], 6, axis=0)
    unseen[:, 1] = [-1.0, -7.0, 45.0, 64.0, 2.0**31, 1e20]
    unseen[:, 2] = [3.0, 31.0, 32.0, -1.0, 1e9, 0.9]
    rows = np.concatenate([rows, unseen])
    assert_same_model(xgboost, ensemble, booster, rows)
    assert check_parity(ensemble, booster, rows) < 1e-6
    report = TrainingTrace.build(ensemble, X, mixed_score(X)).report
    assert report.verdict == "exact"


def test_infinite_values(rng):
    """A DMatrix refuses them; XGBoost's prediction in place does not."""
    X = mixed_rows(rng)
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1).fit(X, mixed_score(X))
    rows = np.repeat(X[:1], 8, axis=0)
    rows[np.arange(8), np.arange(8) % 4] = [np.inf, -np.inf, 1e300, -1e300] * 2
    assert check_parity(read_model(model), model, rows) < 1e-6


def test_special_values_are_thresholds(rng):
    """Splits between neighbouring floats, next to zero and among the largest."""
    values = np.concatenate([SPECIAL[~np.isnan(SPECIAL)], [1 + 1e-7, 1 + 2e-7]])
    X = rng.choice(values, (300, 2))
    y = np.argsort(np.argsort(X[:, 0])) + rng.normal(size=300)
    booster = train(xgboost, X, y, tree_method="exact", max_depth=7)
    ensemble = read_model(booster)
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 2, 40))


# Missing values.


@pytest.mark.parametrize("value", [0.0, -999.0, 0.1, np.inf, np.nan])
def test_value_that_stands_for_missing(rng, tmp_path, value):
    X = mixed_rows(rng)
    X[np.isnan(X)] = value
    X[0, 0] = np.nan
    X[1, 1] = -0.0
    y = mixed_score(np.nan_to_num(X, posinf=0.0))
    model = xgboost.XGBRegressor(n_estimators=4, n_jobs=1, missing=value).fit(X, y)
    ensemble = read_model(model)
    if np.isnan(value):
        assert ensemble.input_rules.missing_value is None
    else:
        assert ensemble.input_rules.missing_value == np.float32(value)
    booster = model.get_booster()
    leaves = own_leaves(xgboost, booster, X, missing=value)
    assert_array_equal(node_numbers(ensemble, booster, X), leaves)
    for rows in (X, pd.DataFrame(X), pl.DataFrame(X)):
        assert check_parity(ensemble, model, rows) < 1e-6
    assert TrainingTrace.build(ensemble, X, y).report.verdict == "exact"
    if np.isfinite(value):
        ensemble.save(tmp_path / "stored")
        again = TreeEnsemble.load(tmp_path / "stored")
        assert_array_equal(again.apply(X), ensemble.apply(X))


def test_rows_are_not_changed(rng):
    X = mixed_rows(rng, missing=0.0)
    model = xgboost.XGBRegressor(n_estimators=1, n_jobs=1, missing=0.0)
    ensemble = read_model(model.fit(X, X[:, 0]))
    before = X.copy()
    ensemble.raw_score(X)
    assert_array_equal(X, before)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array", "coo_matrix"])
def test_absent_entries_are_missing(rng, kind):
    """XGBoost takes what a sparse matrix leaves out as missing, a stored 0 as 0."""
    X = sparse.random(300, 6, 0.5, random_state=1, format="csr")
    X.data[:50] = 0.0
    dense = np.full(X.shape, np.nan)
    entries = X.tocoo()
    dense[entries.row, entries.col] = entries.data
    y = X.sum(axis=1).A1 + 0.1 * rng.normal(size=300)
    model = xgboost.XGBRegressor(n_estimators=4, n_jobs=1).fit(X, y)
    ensemble = read_model(model)
    X = getattr(sparse, kind)(X)
    booster = model.get_booster()
    leaves = own_leaves(xgboost, booster, sparse.csr_matrix(X))
    assert_array_equal(node_numbers(ensemble, booster, X), leaves)
    assert_array_equal(ensemble.apply(X), ensemble.apply(dense))
    assert check_parity(ensemble, model, X) < 1e-6
    assert TrainingTrace.build(ensemble, X, y).report.verdict == "exact"


# Callers.


@pytest.mark.parametrize("kind", ["DMatrix", "QuantileDMatrix"])
def test_kinds_of_training_data(rng, kind):
    X = mixed_rows(rng)
    rows = getattr(xgboost, kind)(X, mixed_score(X))
    booster = xgboost.train({"nthread": 1, "max_depth": 4}, rows, 4)
    ensemble = read_model(booster)
    assert_same_model(xgboost, ensemble, booster, hard_rows(ensemble, X, 1, 5))
    assert TrainingTrace.build(ensemble, X, mixed_score(X)).report.verdict == "exact"


@pytest.mark.parametrize(
    "kind",
    [
        *(np.asarray, np.asfortranarray, np.float32, pd.DataFrame, pl.DataFrame),
        *(sparse.csr_array, np.ndarray.tolist),
    ],
)
def test_raw_scores_of_rows_of_any_kind(rng, kind):
    X = rng.normal(size=(50, 3)).round(1) + 0.05
    booster = train(xgboost, X, X[:, 0])
    rows = kind(X)
    assert check_parity(read_model(booster), booster, rows) < 1e-6
    expected = own_raw_score(xgboost, booster, X)
    assert_allclose(adapter.raw_score(booster, rows), expected, rtol=1e-6)


# Categories of frames.


def label_frame(rng, n_rows=300):
    return pd.DataFrame(
        {
            "number": rng.normal(size=n_rows),
            "colour": pd.Categorical(rng.choice(["x", "yy", ""], n_rows)),
            "code": pd.Categorical(rng.choice([3, 9, 5], n_rows)),
            "size": pd.Categorical(
                rng.choice(["s", "m", "l"], n_rows), ["s", "m", "l"], ordered=True
            ),
            "flag": rng.random(n_rows) > 0.5,
            "count": rng.integers(0, 3, n_rows).astype("int16"),
        }
    )


def fitted_to_labels(frame):
    y = frame["number"] + (frame["colour"] == "yy") + (frame["size"] == "m")
    model = xgboost.XGBRegressor(
        n_estimators=4, max_depth=4, n_jobs=1, enable_categorical=True
    )
    return model.fit(frame, y), y


@pytest.mark.skipif(not KNOWS_LABELS, reason="labels are in models from 3.1 on")
def test_frames_with_labels(rng, tmp_path):
    frame = label_frame(rng)
    model, y = fitted_to_labels(frame)
    ensemble = read_model(model)
    labels = (None, ("", "x", "yy"), (3, 5, 9), ("s", "m", "l"), None, None)
    assert ensemble.input_rules.categories == labels
    assert ensemble.input_rules.feature_names == tuple(frame.columns)
    for name in ("model.json", "model.ubj"):
        model.save_model(tmp_path / name)
        assert read_model(tmp_path / name).input_rules.categories == labels
    assert check_parity(ensemble, model, frame) < 1e-6
    assert TrainingTrace.build(ensemble, frame, y).report.verdict == "exact"
    other = frame.iloc[::-1].copy()
    other["colour"] = other["colour"].cat.reorder_categories(["yy", "", "x"])
    other["code"] = pd.Categorical(other["code"], [9, 5, 3])
    assert check_parity(ensemble, model, other) < 1e-6
    text = frame.drop(columns="code")
    model.fit(text, y)
    ensemble = read_model(model)
    for rows in (pl.from_pandas(text), pl.from_pandas(text).to_arrow()):
        assert check_parity(ensemble, model, rows) < 1e-6
        assert_array_equal(ensemble.apply(rows), ensemble.apply(text))


@pytest.mark.skipif(not KNOWS_LABELS, reason="labels are in models from 3.1 on")
def test_labels_that_are_not_ascii_are_left_out(rng):
    """XGBoost 3.2 stores them cut short, so that they cannot be told apart."""
    frame = label_frame(rng)
    frame["colour"] = frame["colour"].cat.rename_categories({"yy": "gr\u00fcn"})
    model, _ = fitted_to_labels(frame)
    ensemble = read_model(model)
    assert ensemble.input_rules.categories[1] is None
    assert ensemble.input_rules.categories[3] == ("s", "m", "l")
    with pytest.raises(TypeError, match="Column 'colour'"):
        ensemble.apply(frame)


def test_codes_of_frames(rng):
    """With the codes in place of the labels, no labels are needed."""
    frame = label_frame(rng)
    labels = ["colour", "code", "size"]
    codes = frame.copy()
    codes[labels] = frame[labels].apply(lambda column: column.cat.codes)
    y = frame["number"] + (frame["colour"] == "yy")
    rows = xgboost.DMatrix(
        codes,
        y,
        feature_types=["q", "c", "c", "c", "i", "int"],
        enable_categorical=True,
    )
    booster = xgboost.train({"nthread": 1}, rows, 3)
    ensemble = read_model(booster)
    assert ensemble.is_categorical.any()
    assert ensemble.input_rules.categories is None
    leaves = booster.predict(rows, pred_leaf=True)
    assert_array_equal(node_numbers(ensemble, booster, codes), leaves)
    assert TrainingTrace.build(ensemble, codes, y).report.verdict == "exact"
