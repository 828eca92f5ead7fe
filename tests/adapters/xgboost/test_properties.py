"""Whatever the settings and the rows, the representation is XGBoost's model."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.adapters.xgboost.models import assert_same_model, hard_rows, train
from treeinf.adapters import read_model
from treeinf.trace import TrainingTrace

xgboost = pytest.importorskip("xgboost")

OBJECTIVES = (
    *("reg:squarederror", "reg:logistic", "binary:logistic", "binary:logitraw"),
    *("count:poisson", "reg:gamma", "reg:tweedie", "reg:pseudohubererror"),
    *("multi:softprob", "reg:absoluteerror", "reg:quantileerror", "binary:hinge"),
)

SETTINGS = st.fixed_dictionaries(
    {
        "objective": st.sampled_from(OBJECTIVES),
        "max_depth": st.integers(1, 8),
        "max_leaves": st.sampled_from([0, 2, 9]),
        "grow_policy": st.sampled_from(["depthwise", "lossguide"]),
        "tree_method": st.sampled_from(["hist", "hist", "approx"]),
        "eta": st.sampled_from([1.0, 0.3, 1 / 3]),
        "lambda": st.sampled_from([0.0, 1.0, 4.5]),
        "alpha": st.sampled_from([0.0, 0.0, 0.7]),
        "gamma": st.sampled_from([0.0, 0.0, 0.4]),
        "max_delta_step": st.sampled_from([0.0, 0.0, 0.4]),
        "min_child_weight": st.sampled_from([0.0, 1.0, 5.0]),
        "max_bin": st.sampled_from([3, 20, 256]),
        "max_cat_to_onehot": st.sampled_from([1, 4, 60]),
        "num_parallel_tree": st.sampled_from([1, 1, 2]),
        "colsample_bynode": st.sampled_from([0.5, 1.0]),
        "seed": st.integers(0, 1000),
    }
)

COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "rounded": lambda rng, n: np.round(2 * rng.normal(size=n)),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.normal(size=n)),
    "tiny": lambda rng, n: rng.normal(size=n) * 1e-40,
    "huge": lambda rng, n: rng.normal(size=n) * 1e37,
    "few": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "many": lambda rng, n: rng.integers(0, 70, n).astype(float),
    "constant": lambda rng, n: np.full(n, 3.0),
}


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    params=SETTINGS,
    kinds=st.lists(st.sampled_from(sorted(COLUMNS)), min_size=2, max_size=5),
    missing=st.sampled_from([0.0, 0.2]),
    is_weighted=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_same_model(params, kinds, missing, is_weighted, seed):
    rng = np.random.default_rng(seed)
    n_rows = 150
    X = np.column_stack([COLUMNS[kind](rng, n_rows) for kind in kinds])
    X[rng.random(X.shape) < missing] = np.nan
    signal = np.clip(np.nan_to_num(X), -2, 2).sum(axis=1)
    y = np.exp((signal + rng.normal(size=n_rows)) / 4)
    objective = params["objective"]
    if objective.startswith("binary") or objective == "reg:logistic":
        y = (y > 1) * 1.0
    elif objective == "multi:softprob":
        y = np.digitize(y, [0.7, 1.4]) * 1.0
        params = {**params, "num_class": 3}
    elif objective == "reg:quantileerror":
        params = {**params, "quantile_alpha": 0.4}
    if objective in ("reg:absoluteerror", "reg:quantileerror"):
        params = {**params, "num_parallel_tree": 1}
    weight = rng.uniform(0.5, 2.0, n_rows) if is_weighted else None
    categorical = [k for k, kind in enumerate(kinds) if kind in ("few", "many")]
    if objective in ("binary:logistic", "reg:logistic") and len(set(y)) == 1:
        params = {**params, "base_score": 0.4}  # before 3.2 none can be estimated
    booster = train(
        xgboost,
        X,
        y,
        categorical=categorical,
        iterations=3,
        data={"weight": weight},
        **params,
    )
    ensemble = read_model(booster)
    rows = np.concatenate([X, hard_rows(ensemble, X, 2, 8)])
    assert_same_model(xgboost, ensemble, booster, rows, is_naive=False)
    again = read_model(json.loads(booster.save_raw("json")))
    for name in ("threshold", "leaf_value", "left", "right", "category_bits"):
        assert_array_equal(getattr(again, name), getattr(ensemble, name))
    if ensemble.loss is not None and ensemble.loss.is_differentiable:
        trace = TrainingTrace.build(ensemble, X, y, sample_weight=weight)
        assert trace.report.verdict == "exact"
