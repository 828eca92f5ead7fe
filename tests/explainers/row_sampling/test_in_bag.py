"""Which rows each tree saw: models of every kind, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import treeinf as ti
from tests import models
from treeinf.errors import BagsNotFoundError

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
