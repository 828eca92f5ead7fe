"""Whatever the settings and the rows, the representation is LightGBM's model."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.adapters.lightgbm.models import assert_same_model, hard_rows, train
from treeinf.adapters import read_model

lightgbm = pytest.importorskip("lightgbm")

OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson"),
    *("gamma", "tweedie", "binary", "cross_entropy", "multiclass", "multiclassova"),
)

SETTINGS = st.fixed_dictionaries(
    {
        "objective": st.sampled_from(OBJECTIVES),
        "num_leaves": st.integers(2, 40),
        "min_data_in_leaf": st.integers(1, 60),
        "max_depth": st.sampled_from([-1, 1, 3]),
        "learning_rate": st.sampled_from([1.0, 0.1, 1 / 3]),
        "use_missing": st.booleans(),
        "zero_as_missing": st.booleans(),
        "boost_from_average": st.booleans(),
        "boosting": st.sampled_from(["gbdt", "gbdt", "dart", "rf"]),
        "bagging_fraction": st.sampled_from([0.5, 0.9]),
        "bagging_freq": st.integers(1, 2),
        "max_bin": st.sampled_from([3, 20, 255]),
        "max_cat_to_onehot": st.sampled_from([1, 4, 60]),
        "min_data_per_group": st.sampled_from([1, 20]),
        "cat_smooth": st.sampled_from([0.0, 10.0]),
        "lambda_l1": st.sampled_from([0.0, 1.0]),
        "lambda_l2": st.sampled_from([0.0, 2.0]),
        "path_smooth": st.sampled_from([0.0, 1.0]),
        "extra_trees": st.booleans(),
        "seed": st.integers(0, 1000),
    }
)

COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "rounded": lambda rng, n: np.round(2 * rng.normal(size=n)),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-35,
    "huge": lambda rng, n: rng.normal(size=n) * 1e300,
    "infinite": lambda rng, n: rng.choice([-np.inf, -1.0, 2.0, np.inf], n),
    "few": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "many": lambda rng, n: rng.integers(0, 70, n).astype(float),
    "constant": lambda rng, n: np.full(n, 3.0),
}


@hypothesis.settings(max_examples=200)
@hypothesis.given(
    params=SETTINGS,
    kinds=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=2, max_size=5),
    missing=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 2**31),
)
def test_same_model(params, kinds, missing, seed):
    rng = np.random.default_rng(seed)
    n_rows = 150
    X = np.column_stack([COLUMNS[kind](rng, n_rows) for kind in kinds])
    X[rng.random(X.shape) < missing] = np.nan
    signal = np.clip(np.nan_to_num(X, posinf=2, neginf=-2), -2, 2).sum(axis=1)
    y = np.exp((signal + rng.normal(size=n_rows)) / 4)
    objective = params["objective"]
    if objective in ("binary", "cross_entropy"):
        y = (y > 1) * 1.0
    elif objective.startswith("multiclass"):
        y = np.digitize(y, [0.7, 1.4]) * 1.0
        params = {**params, "num_class": 3}
    categorical = [k for k, kind in enumerate(kinds) if kind in ("few", "many")]
    booster = train(lightgbm, X, y, categorical=categorical, iterations=3, **params)
    ensemble = read_model(booster)
    rows = np.concatenate([X, hard_rows(ensemble, X, 2, 8)])
    if params["boosting"] == "rf":
        leaves = booster.predict(rows, pred_leaf=True).reshape(len(rows), -1)
        assert_array_equal(ensemble.apply(rows), leaves)
    else:
        assert_same_model(ensemble, booster, rows)
    dumped = read_model(booster.dump_model())
    size = np.abs(ensemble.threshold)
    if ((size > 1e300) & np.isfinite(size)).any():
        return  # JSON has 1e300 in place of all that is larger.
    assert_array_equal(dumped.threshold, ensemble.threshold)
    assert_array_equal(dumped.apply(rows), ensemble.apply(rows))
    assert_array_equal(dumped.leaf_value, ensemble.leaf_value)
