"""check_parity: the library's own raw scores, or an error that says where."""

import dataclasses

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from tests.adapters.lightgbm.models import train
from treeinf.adapters import parity, read_model
from treeinf.adapters.parity import check_parity
from treeinf.errors import ModelParityError

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(5).normal(size=(2500, 3))


@pytest.fixture(scope="module")
def booster(X):
    return train(lightgbm, X, X[:, 0], objective="regression")


def spoiled(ensemble, row, X, by=1e-6):
    """Change the leaf of one row."""
    leaf = ensemble.apply(X)[row, 0]
    values = ensemble.leaf_value.copy()
    values[leaf] += by
    return dataclasses.replace(ensemble, leaf_value=values)


@pytest.mark.parametrize("rows", ["sample", "all"])
@pytest.mark.parametrize(
    "kind",
    [
        np.asarray,
        np.asfortranarray,
        np.float32,
        pd.DataFrame,
        pl.DataFrame,
        sparse.csr_array,
        sparse.csc_matrix,
    ],
)
def test_rows_of_any_kind(booster, X, kind, rows):
    assert check_parity(read_model(booster), booster, kind(X), rows=rows) < 1e-14


def test_no_rows(booster, X):
    assert check_parity(read_model(booster), booster, X[:0]) == 0.0


def test_difference_is_located(booster, X):
    wrong = spoiled(read_model(booster), 0, X)
    with pytest.raises(
        ModelParityError, match=r"row \d+, output 0 is .* here and"
    ) as e:
        check_parity(wrong, booster, X)
    row = int(str(e.value).partition("row ")[2].partition(",")[0])
    assert wrong.apply(X)[row, 0] == wrong.apply(X)[0, 0]


def test_tolerance_is_that_of_the_precision(booster, X):
    small = spoiled(read_model(booster), 0, X, by=1e-8)
    with pytest.raises(ModelParityError):
        check_parity(small, booster, X)
    rules = dataclasses.replace(small.input_rules, round_to_single=True)
    single = dataclasses.replace(small, input_rules=rules)
    check_parity(single, booster, X.astype(np.float32))


def test_single_precision_rounds_at_every_tree(X):
    """Far from 0, XGBoost's own sum over many trees is off by more than 1e-6 of it."""
    xgboost = pytest.importorskip("xgboost")
    y = 1e4 + 1e3 * X[:, 0]
    model = xgboost.XGBRegressor(
        n_estimators=1000, max_depth=2, learning_rate=0.01, n_jobs=1
    ).fit(X, y)
    ensemble = read_model(model)
    assert 1e-6 < check_parity(ensemble, model, X) < 6e-5
    wrong = spoiled(ensemble, 0, X, by=1.0)
    with pytest.raises(ModelParityError, match=r"5\.96e-05 is allowed"):
        check_parity(wrong, model, X)


def test_sample_is_spread_over_the_rows(booster, X, monkeypatch):
    seen = []
    adapter, _ = parity.find_adapter(booster)
    own = adapter.raw_score
    monkeypatch.setattr(
        adapter, "raw_score", lambda m, X, **k: seen.append(X) or own(m, X, **k)
    )
    check_parity(read_model(booster), booster, X)
    assert len(seen[0]) == parity.N_SAMPLED
    np.testing.assert_array_equal(seen[0][[0, -1]], X[[0, -1]])


def test_another_number_of_outputs(booster, X):
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    other = train(lightgbm, X, y, objective="multiclass", num_class=3)
    with pytest.raises(ModelParityError, match="1 raw scores per row, lightgbm 3"):
        check_parity(read_model(booster), other, X)


def test_unknown_choice_of_rows(booster, X):
    with pytest.raises(ValueError, match="rows='some'"):
        check_parity(read_model(booster), booster, X, rows="some")


@pytest.mark.parametrize("kind", ["polars", "enum", "arrow"])
def test_categories_of_other_frames_are_those_of_the_pandas_frame(rng, kind):
    labels = rng.choice(["u", "v", "w"], 300)
    frame = pd.DataFrame({"a": rng.normal(size=300), "c": pd.Categorical(labels)})
    y = (frame["a"] > 0) ^ (frame["c"] == "u")
    model = lightgbm.LGBMClassifier(
        n_estimators=5, min_data_per_group=5, verbose=-1, n_jobs=1
    ).fit(frame, y)
    ensemble = read_model(model)
    assert ensemble.is_categorical.any()
    other = pl.from_pandas(frame)
    if kind == "enum":
        other = other.with_columns(pl.col("c").cast(pl.Enum(["w", "v", "u", "x"])))
    if kind == "arrow":
        other = other.to_arrow()
    check_parity(ensemble, model, other, rows="all")
    np.testing.assert_array_equal(ensemble.apply(other), ensemble.apply(frame))
