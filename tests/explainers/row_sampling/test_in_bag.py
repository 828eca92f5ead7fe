"""Which rows each tree saw: models of every kind, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import treeinf as ti
from tests import models
from treeinf.errors import BagsNotFoundError, UnsupportedModelError

BAGGING = {"subsample": 0.7, "subsample_freq": 1, "random_state": 3}


def counts_of(ensemble, X, table):
    """Rows in each leaf by the bags, tree after tree."""
    leaf = ensemble.apply(X)
    sizes = np.diff(ensemble.leaf_offset)
    return np.concatenate(
        [
            np.bincount(leaf[table[:, t] > 0, t], minlength=sizes[t])
            for t in range(ensemble.n_trees)
        ]
    )


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"boosting_type": "rf"},
        {"boosting_type": "dart"},
        {"objective": "l1"},
    ],
    ids=str,
)
def test_bags_of_lightgbm_need_no_targets(more):
    recipe = "regression"
    model, X, *_ = models.fit(recipe, **BAGGING, **more)
    table = ti.in_bag(model, X)
    ensemble = ti.read_model(model)
    assert table.shape == (240, ensemble.n_trees)
    assert table.dtype == np.bool_
    assert 0.6 < table.mean() < 0.8
    assert_array_equal(counts_of(ensemble, X, table), ensemble.leaf_count)
    assert_array_equal(ti.in_bag(model.booster_.model_to_string(), X), table)


def test_bags_of_rankers_are_found():
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = models.make_rows("multiclass")
    settings = {"n_estimators": 5, "verbose": -1, "n_jobs": 1, **BAGGING}
    group = np.full(28, 10)
    model = lightgbm.LGBMRanker(**settings).fit(X, y, group=group)
    table = ti.in_bag(model, X)
    ensemble = ti.read_model(model)
    assert_array_equal(counts_of(ensemble, X, table), ensemble.leaf_count)
    model = lightgbm.LGBMRanker(**settings, bagging_by_query=True)
    table = ti.in_bag(model.fit(X, y, group=group), X, group=group)
    queries = table.reshape(28, 10, 5)
    assert (queries.all(axis=1) | ~queries.any(axis=1)).all()


def test_trees_that_saw_all_rows_are_true():
    from sklearn.ensemble import ExtraTreesRegressor

    model, X, y, *_ = models.fit("multiclass")
    for table in (ti.in_bag(model, X), ti.in_bag(model, X, y)):
        assert table.shape == (240, 36)
        assert table.dtype == np.bool_
        assert table.all()
    forest = ExtraTreesRegressor(4, max_depth=3).fit(X, y)
    assert ti.in_bag(forest, X).all()


@pytest.mark.parametrize("kind", ["order", "fewer", "no bagging"])
def test_rows_that_are_not_those_of_training_are_refused(kind):
    model, X, *_ = models.fit("binary", **({} if kind == "no bagging" else BAGGING))
    rows = X[::-1] if kind == "order" else X[:-1]
    error = BagsNotFoundError if kind == "no bagging" else ValueError
    with pytest.raises(error, match=r"rows of its training|another order.*Pass"):
        ti.in_bag(model, rows)


def test_targets_are_asked_for_where_draws_depend_on_them():
    more = {"pos_bagging_fraction": 0.9, "neg_bagging_fraction": 0.4}
    model, X, *_ = models.fit("binary", subsample_freq=1, **more)
    with pytest.raises(ValueError, match=r"Got y=None.*depends on the targets"):
        ti.in_bag(model, X)
    xgboost = pytest.importorskip("xgboost")
    y = X[:, 0] > 0
    model = xgboost.XGBClassifier(n_estimators=3, subsample=0.7, n_jobs=1).fit(X, y)
    with pytest.raises(ValueError, match="no counts of rows, so pass y"):
        ti.in_bag(model, X)


@pytest.mark.parametrize(
    ("recipe", "more"),
    [
        ("regression", BAGGING),
        ("multiclass", {**BAGGING, "subsample_freq": 3}),
        ("binary", {"data_sample_strategy": "goss", "learning_rate": 0.4}),
        (
            "binary",
            {
                "pos_bagging_fraction": 0.9,
                "neg_bagging_fraction": 0.4,
                "subsample_freq": 1,
            },
        ),
    ],
    ids=str,
)
def test_explainers_have_the_bags_of_their_model(recipe, more):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True, **more)
    table = ti.in_bag(model, X, y, weight)
    is_goss = "data_sample_strategy" in more
    assert table.dtype == (np.float32 if is_goss else np.bool_)
    if is_goss:
        assert (table[:, 0] == 1.0).all()  # the first iterations see all rows
        assert len(np.unique(table)) == 3
    ensemble = ti.read_model(model)
    assert_array_equal(counts_of(ensemble, X, table), ensemble.leaf_count)
    for explainer in (ti.BoostIn(), ti.LeafRefit(), ti.TargetInfluence()):
        if recipe == "multiclass" and isinstance(explainer, ti.TargetInfluence):
            continue
        explainer.fit(model, X, y, sample_weight=weight)
        assert_array_equal(explainer.in_bag(), table)


def test_explainers_of_forests_have_the_counts_of_their_trees():
    from sklearn.ensemble import RandomForestRegressor

    X, y, _ = models.make_rows("regression")
    forest = RandomForestRegressor(5, max_depth=4, random_state=0).fit(X, y)
    table = ti.in_bag(forest, X, y)
    assert table.dtype == np.int32
    for explainer in (ti.LeafRefit(), ti.TargetInfluence()):
        assert_array_equal(explainer.fit(forest, X, y).in_bag(), table)


def test_wrong_labels_are_told_from_wrong_rows():
    model, X, y, *_ = models.fit("binary", **BAGGING)
    with pytest.raises(BagsNotFoundError, match=r"other labels.*leave y out"):
        ti.in_bag(model, X, 1 - y)
    with pytest.raises(BagsNotFoundError, match=r"not found .*another order"):
        ti.in_bag(model, X[::-1], y[::-1])


def continued(more):
    """A model trained on one table and continued on another."""
    lightgbm = pytest.importorskip("lightgbm")
    _, X, y, *_ = models.fit("regression", n_estimators=1)
    tables, targets = [X[:140], X[140:]], [y[:140], y[140:]]
    settings = {"num_leaves": 5, "verbose": -1, "num_threads": 1, **more}
    model = None
    for rows, target in zip(tables, targets, strict=True):
        data = lightgbm.Dataset(rows, target)
        model = lightgbm.train(settings, data, 3, init_model=model)
    return model, tables, targets


def test_continued_training_saw_one_table_at_a_time():
    more = {"bagging_fraction": 0.6, "bagging_freq": 1}
    model, tables, targets = continued(more)
    table = ti.in_bag(model, tables, targets)
    assert table.shape == (240, 6)
    assert not table[:140, 3:].any()
    assert not table[140:, :3].any()
    ensemble = ti.read_model(model)
    counts = counts_of(ensemble, np.concatenate(tables), table)
    assert_array_equal(counts, ensemble.leaf_count)
    explainer = ti.BoostIn().fit(model, tables, targets)
    assert_array_equal(explainer.in_bag(), table)


def test_tables_without_what_tells_their_trees_are_refused():
    more = {"bagging_fraction": 0.6, "bagging_freq": 1}
    model, tables, targets = continued(more)
    with pytest.raises(
        ValueError, match=r"list of 2 tables and y=None.*pass y, a list"
    ):
        ti.in_bag(model, tables)
    with pytest.raises(BagsNotFoundError, match="in the order in which training"):
        ti.in_bag(model, tables[::-1], targets[::-1])
    model, tables, targets = continued({"objective": "l1", **more})
    with pytest.raises(UnsupportedModelError, match=r"list of 2 tables.*one table"):
        ti.in_bag(model, tables, targets)
