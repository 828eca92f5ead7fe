"""Training that was continued on other rows: a table for each stretch of trees."""

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import GradientBoostingRegressor

import treeinf as ti
from tests.naive.weighted_refit import differentiate_losses
from treeinf.errors import TrainingDataMismatchError

SIZES = (120, 90, 70)
LIGHTGBM = {
    "verbose": -1,
    "num_leaves": 5,
    "min_data_in_leaf": 5,
    "num_threads": 1,
    "learning_rate": 0.3,
}


def make_tables(task, n_tables=2):
    """Draw tables whose classes have different shares."""
    rng = np.random.default_rng(2)
    tables, targets = [], []
    for k, size in enumerate(SIZES[:n_tables]):
        X = rng.normal(size=(size, 4))
        score = X[:, 0] + X[:, 1] ** 2 + rng.normal(size=size) + k
        if task == "binary":
            score = (score > 1.5).astype(float)
        if task == "multiclass":
            score = np.digitize(score, [0.5, 2.0]).astype(float)
        tables.append(X)
        targets.append(score)
    return tables, targets


def train_lightgbm(tables, targets, weights=None, **params):
    model = None
    for k, (X, y) in enumerate(zip(tables, targets, strict=True)):
        data = lgb.Dataset(X, y, weight=None if weights is None else weights[k])
        model = lgb.train({**LIGHTGBM, **params}, data, 4, init_model=model)
    return model


def train_xgboost(tables, targets, **params):
    model = None
    given = {"max_depth": 2, "eta": 0.3, "nthread": 1, **params}
    for X, y in zip(tables, targets, strict=True):
        model = xgb.train(given, xgb.DMatrix(X, y), 4, xgb_model=model)
    return model


SETTINGS = {
    "regression": ("regression", {}),
    "bagged": ("regression", {"bagging_fraction": 0.6, "bagging_freq": 1}),
    "binary": ("binary", {"objective": "binary"}),
    "balanced": ("binary", {"objective": "binary", "is_unbalance": True}),
    "classes": (
        "multiclass",
        {"objective": "multiclass", "num_class": 3, "bagging_fraction": 0.7}
        | {"bagging_freq": 2, "seed": 7},
    ),
}


@pytest.mark.parametrize("n_tables", [2, 3])
@pytest.mark.parametrize("name", SETTINGS)
def test_stretches_of_lightgbm_are_found(name, n_tables):
    task, params = SETTINGS[name]
    tables, targets = make_tables(task, n_tables)
    model = train_lightgbm(tables, targets, **params)
    explainer = ti.LeafInfluence().fit(model, tables, targets)
    report = explainer.reproduction_
    assert report.verdict == "exact"
    assert "table 1: iterations 4 to 7" in report.explanation
    trace = explainer.trace_
    n_outputs = trace.ensemble.n_outputs
    start = np.cumsum((0, *SIZES))
    for tree in range(trace.ensemble.n_trees):
        table = tree // (4 * n_outputs)
        used = np.flatnonzero(trace.rows.bags.row_factors(tree))
        assert used.min() >= start[table]
        assert used.max() < start[table + 1]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "classes"])
def test_influence_is_the_derivative_of_the_refit_of_all_stretches(name):
    task, params = SETTINGS[name]
    tables, targets = make_tables(task)
    model = train_lightgbm(tables, targets, **params)
    explainer = ti.LeafInfluence().fit(model, tables, targets)
    X_test, y_test = tables[0][:7] + 0.01, targets[0][:7]
    influence = explainer.explain(X_test, y_test).values
    rows = (0, 77, 119, 120, 150, 209)
    desired = differentiate_losses(explainer.trace_, rows, X_test, y_test)
    assert_allclose(
        influence[list(rows)], -desired, rtol=0, atol=1e-7 * np.abs(influence).max()
    )


@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("regression", {}),
        ("regression", {"subsample": 0.6, "seed": 3}),
        ("binary", {"objective": "binary:logistic"}),
        ("multiclass", {"objective": "multi:softprob", "num_class": 3}),
    ],
)
def test_stretches_of_xgboost_are_found(task, params):
    tables, targets = make_tables(task)
    model = train_xgboost(tables, targets, **params)
    report = ti.BoostIn().fit(model, tables, targets).reproduction_
    assert report.verdict == "exact"
    assert "table 1: iterations 4 to 7" in report.explanation


@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_stretches_of_a_warm_start_are_found(subsample):
    tables, targets = make_tables("regression")
    model = GradientBoostingRegressor(
        n_estimators=4, warm_start=True, random_state=0, subsample=subsample
    )
    model.fit(tables[0], targets[0])
    model.set_params(n_estimators=8).fit(tables[1], targets[1])
    report = ti.BoostIn().fit(model, tables, targets).reproduction_
    assert report.verdict == "exact"
    assert "table 1: iterations 4 to 7" in report.explanation


def test_weights_may_belong_to_some_tables_alone(rng):
    tables, targets = make_tables("regression")
    weights = [None, rng.uniform(0.5, 2.0, SIZES[1])]
    model = train_lightgbm(tables, targets, weights)
    explainer = ti.BoostIn().fit(model, tables, targets, sample_weight=weights)
    assert explainer.reproduction_.verdict == "exact"
    with pytest.raises(TrainingDataMismatchError, match="table 1: none"):
        ti.BoostIn().fit(model, tables, targets)


def test_targets_of_all_tables_make_the_predictions():
    """Squared error is linear in the targets, whatever tables they are in."""
    tables, targets = make_tables("regression", 3)
    settings = {"bagging_fraction": 0.6, "bagging_freq": 1}
    model = train_lightgbm(tables, targets, **settings)
    X = tables[0][:9] + 0.01
    weights = ti.TargetInfluence().fit(model, tables, targets).explain(X).values
    assert_allclose(weights.sum(axis=0), 1.0, atol=1e-12)
    # LightGBM keeps the targets in float32
    assert_allclose(weights.T @ np.concatenate(targets), model.predict(X), atol=1e-6)


def test_rows_without_part_in_a_stretch_have_no_influence_through_it():
    tables, targets = make_tables("regression")
    model = train_lightgbm(tables, targets, boost_from_average=False)
    first = ti.LeafInfluence().fit(
        ti.read_model(model, iterations=4), tables[0], targets[0]
    )
    both = ti.LeafInfluence().fit(model, tables, targets)
    # a change of the second table's targets leaves the first stretch as it is
    assert_array_equal(
        both.trace_.leaf_gradient[: first.ensemble_.n_leaves],
        first.trace_.leaf_gradient,
    )


def test_wrong_tables_are_named():
    tables, targets = make_tables("regression", 3)
    model = train_lightgbm(tables[:2], targets[:2])
    for X, y, words in (
        (tables[1::-1], targets[1::-1], "No iteration follows from the first table"),
        (tables[:2], [targets[0], targets[1][::-1]], r"table 1: none\. The other"),
        (tables, targets, r"table 2: none\. Leave out the tables"),
        ([tables[0], tables[2]], [targets[0], targets[2]], "table 1: none"),
    ):
        with pytest.raises(TrainingDataMismatchError, match=words):
            ti.BoostIn().fit(model, X, y)
    with pytest.raises(ValueError, match="list of 2 tables, so y must be a list"):
        ti.BoostIn().fit(model, tables[:2], targets[0])
    with pytest.raises(ValueError, match="got a list of 1"):
        ti.BoostIn().fit(model, tables[:2], targets[:1])
    with pytest.raises(ValueError, match="y of table 1 has 120 values, X has 90"):
        ti.BoostIn().fit(model, tables[:2], [targets[0], targets[0]])
    frames = [
        pd.DataFrame(X, columns=list(names))
        for X, names in zip(tables, ("abcd", "abdc"), strict=False)
    ]
    with pytest.raises(ValueError, match="columns are in another order"):
        ti.BoostIn().fit(model, frames, targets[:2])
    with pytest.raises(TypeError, match="a list of 2 tables; expected one"):
        ti.read_model(model).predict(tables[:2])


@pytest.mark.parametrize("is_numbered", [False, True])
def test_rows_keep_the_labels_of_all_tables(is_numbered):
    tables, targets = make_tables("regression")
    model = train_lightgbm(tables, targets)
    labels = [range(120), range(90)] if is_numbered else [range(120), range(500, 590)]
    frames = [
        pd.DataFrame(X, index=index) for X, index in zip(tables, labels, strict=True)
    ]
    explainer = ti.BoostIn().fit(model, frames, targets)
    frame = explainer.self_influence().to_frame()
    plain = ti.BoostIn().fit(model, tables, targets).self_influence()
    assert_allclose(frame.iloc[:, -1].to_numpy(float), plain.values)
    last = (1, 89) if is_numbered else 589
    assert explainer.self_influence().train_labels[-1] == last


def test_a_list_of_one_table_is_the_table():
    tables, targets = make_tables("regression", 1)
    model = train_lightgbm(tables, targets)
    one = ti.BoostIn().fit(model, tables, targets).self_influence()
    same = ti.BoostIn().fit(model, tables[0], targets[0]).self_influence()
    assert_array_equal(one.values, same.values)
