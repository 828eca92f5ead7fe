"""Leaves and raw scores equal LightGBM's own on rows that are hard to route."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.adapters.lightgbm.models import (
    SPECIAL,
    assert_same_model,
    hard_rows,
    mixed_rows,
    mixed_score,
    own_raw_score,
    train,
)
from tests.naive import routing as naive
from treeinf.adapters import read_model
from treeinf.ensemble import InputRules, Missing

lightgbm = pytest.importorskip("lightgbm")

MANY_CATEGORIES = {
    "min_data_per_group": 2,
    "cat_smooth": 1.0,
    "cat_l2": 1.0,
    "max_cat_threshold": 64,
}


@pytest.mark.parametrize("categorical", [[1, 2], []], ids=["categories", "numbers"])
@pytest.mark.parametrize("zero_as_missing", [False, True])
@pytest.mark.parametrize("use_missing", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_missing_types(rng, use_missing, zero_as_missing, categorical, missing):
    X = mixed_rows(rng, missing=missing)
    booster = train(
        lightgbm,
        X,
        mixed_score(X),
        categorical=categorical,
        use_missing=use_missing,
        zero_as_missing=zero_as_missing,
        num_leaves=16,
        objective="regression",
        **MANY_CATEGORIES,
    )
    ensemble = read_model(booster)
    numeric = ensemble.missing[~ensemble.is_categorical]
    if not use_missing:
        assert set(numeric) == {Missing.NONE}
    elif zero_as_missing:
        assert set(numeric) == {Missing.ZERO}
    elif missing:
        assert set(numeric) == {Missing.NAN}
    assert ensemble.is_categorical.any() == bool(categorical)
    assert_same_model(ensemble, booster, hard_rows(ensemble, X))


def test_category_beyond_one_word_goes_left(rng):
    """Sets of more than 32 categories have words of their own."""
    X = rng.integers(0, 100, (600, 1)).astype(float)
    y = (X[:, 0] > 70) * 1.0
    booster = train(lightgbm, X, y, categorical=[0], iterations=1, **MANY_CATEGORIES)
    ensemble = read_model(booster)
    assert np.diff(ensemble.category_offset).max() == 4
    rows = np.concatenate([np.arange(-2, 200), np.array(SPECIAL)])[:, np.newaxis]
    assert_same_model(ensemble, booster, rows)


def test_categorical_nodes_send_nan_right(rng):
    X = mixed_rows(rng)
    booster = train(lightgbm, X, mixed_score(X), categorical=[1, 2], **MANY_CATEGORIES)
    ensemble = read_model(booster)
    assert set(ensemble.missing[ensemble.is_categorical]) == {Missing.NAN}
    assert not ensemble.default_left[ensemble.is_categorical].any()
    assert (ensemble.threshold[ensemble.is_categorical] == 0.0).all()


def test_pandas_categories(rng):
    """Labels unseen, missing and in another order are those of the training frame."""
    n_rows = 300
    colour = rng.choice(["red", "green", "blue", "grey"], n_rows)
    frame = pd.DataFrame(
        {
            "size in m": rng.normal(size=n_rows),
            "colour": pd.Categorical(colour),
            "flag": rng.random(n_rows) < 0.5,
            "code": pd.Categorical(rng.choice([7, 3, 11], n_rows)),
        }
    )
    y = (colour == "grey") + frame["size in m"] * (frame["code"] == 7)
    model = lightgbm.LGBMRegressor(
        n_estimators=5, min_child_samples=5, n_jobs=1, verbose=-1
    ).fit(frame, y)
    ensemble = read_model(model)
    assert ensemble.input_rules.feature_names == ("size_in_m", "colour", "flag", "code")
    labels = ("blue", "green", "grey", "red")
    assert ensemble.input_rules.categories == (None, labels, None, (3, 7, 11))

    other = frame.iloc[::-3].copy()
    renamed = other["colour"].cat.rename_categories({"red": "mauve"})
    other["colour"] = renamed.cat.reorder_categories(["mauve", "grey", "green", "blue"])
    other.iloc[:5, 1] = np.nan
    scores = own_raw_score(model.booster_, other)
    assert_array_equal(ensemble.apply(other), model.predict(other, pred_leaf=True))
    assert_allclose(ensemble.raw_score(other), scores, rtol=1e-12)


@pytest.mark.parametrize("y", [2.5, 0.0], ids=["constant", "zero"])
def test_one_leaf_trees(rng, y):
    X = rng.normal(size=(100, 2))
    booster = train(lightgbm, X, np.full(100, y), objective="regression")
    ensemble = read_model(booster)
    assert ensemble.n_nodes == 0
    assert ensemble.base_score_folded.tolist() == [y != 0.0]
    assert_same_model(ensemble, booster, X)


def test_one_leaf_trees_among_others(rng):
    """A class without any split has one-leaf trees between the others'."""
    X = rng.normal(size=(300, 2))
    y = np.where(X[:, 0] > 0, 2, 0)
    y[0] = 1
    booster = train(
        lightgbm, X, y, objective="multiclass", num_class=3, min_gain_to_split=5.0
    )
    ensemble = read_model(booster)
    sizes = np.diff(ensemble.leaf_offset)
    assert sizes.min() == 1
    assert sizes.max() > 1
    assert_same_model(ensemble, booster, X)
    dumped = read_model(booster.dump_model())
    assert_array_equal(dumped.leaf_value, ensemble.leaf_value)


def test_leaves_beyond_one_byte(rng):
    X = rng.normal(size=(3000, 3))
    booster = train(
        lightgbm, X, X[:, 0] * X[:, 1], num_leaves=400, min_data_in_leaf=2, iterations=2
    )
    ensemble = read_model(booster)
    assert ensemble.most_leaves > 256
    assert_same_model(ensemble, booster, hard_rows(ensemble, X), is_naive=False)


def test_deep_tree(rng):
    """A chain of nodes is neither recursion for the text nor for the JSON."""
    X = np.arange(600.0)[:, np.newaxis]
    booster = train(
        lightgbm,
        X,
        1.5 ** (X[:, 0] / 10),
        num_leaves=80,
        min_data_in_leaf=1,
        iterations=1,
    )
    ensemble = read_model(booster)
    assert_same_model(ensemble, booster, X)
    assert_array_equal(read_model(booster.dump_model()).left, ensemble.left)


def test_naive_router_by_hand():
    """Root: x0 <= 1, NaN right; left child: categories {0, 33}; three leaves."""

    class Hand:
        input_rules = InputRules(2)
        iteration = np.array([0])
        output = np.array([0])
        node_offset = np.array([0, 2])
        leaf_offset = np.array([0, 3])
        feature = np.array([0, 1])
        threshold = np.array([1.0, 0.0])
        left = np.array([1, ~0])
        right = np.array([~1, ~2])
        default_left = np.array([False, False])
        missing = np.array([2, 2])
        is_categorical = np.array([False, True])
        category_offset = np.array([0, 0, 2])
        category_bits = np.array([1, 2], dtype=np.uint32)
        leaf_value = np.array([[1.0], [2.0], [4.0]])
        base_score = np.array([0.5])

    rows = [[1, 0], [1, 33], [1, -0.9], [1, 1], [1, np.nan], [1.1, 0], [np.nan, 0]]
    assert naive.find_leaves(Hand, rows)[:, 0].tolist() == [0, 0, 0, 2, 2, 1, 1]
    expected = [1.5, 1.5, 1.5, 4.5, 4.5, 2.5, 2.5]
    assert naive.raw_scores(Hand, rows)[:, 0].tolist() == expected
