"""What questions cost on a given model."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)

from treeinf.errors import SubsampledTrainingWarning, UnsupportedModelError
from treeinf.evaluation import bench_model


@pytest.fixture(scope="module")
def table():
    return load_diabetes(return_X_y=True, as_frame=True)


def test_every_question_is_timed_and_compared(table):
    X, y = table
    model = HistGradientBoostingRegressor(max_iter=3).fit(X, y)
    bench = bench_model(
        model,
        X,
        y,
        X[:5],
        y[:5],
        predict=lambda: model.predict(X),
        repeats=1,
        n_jobs=1,
    )
    assert (bench.n_train, bench.n_test, bench.n_trees) == (len(y), 5, 3)
    assert not bench.refused
    assert bench.costs[0].method == "scikit-learn"
    assert bench.costs[0].ratio == 1.0
    assert {cost.method for cost in bench.costs[1:]} == {
        "BoostIn",
        "LeafInfluence",
        "LeafRefit",
        "Trex",
    }
    assert all(cost.first > 0 and cost.median > 0 for cost in bench.costs)


def test_explainers_that_refuse_a_model_are_named_with_their_reason(table):
    X, y = table
    forest = RandomForestRegressor(3, max_depth=3, random_state=0).fit(X, y)
    bench = bench_model(forest, X, y, X[:2], y[:2], repeats=1, n_jobs=1)
    assert set(bench.refused) == {"BoostIn", "LeafInfluence"}
    assert {cost.method for cost in bench.costs} == {"in_bag", "LeafRefit", "Trex"}
    assert all(np.isnan(cost.ratio) for cost in bench.costs)


def test_the_search_for_the_rows_of_trees_is_timed_where_they_were_sampled(table):
    X, y = table
    settings = {"n_estimators": 3, "max_depth": 2, "subsample": 0.6, "random_state": 0}
    model = GradientBoostingRegressor(**settings).fit(X, y)
    bench = bench_model(model, X, y, X[:2], y[:2], repeats=1, n_jobs=1)
    assert not bench.refused
    assert (bench.costs[0].method, bench.costs[0].question) == (
        "in_bag",
        "which rows each tree saw",
    )
    assert bench.costs[0].median > 0
    with pytest.warns(SubsampledTrainingWarning):
        bench = bench_model(model, X[::-1], y[::-1], X[:2], y[:2], repeats=1, n_jobs=1)
    assert "another order" in bench.refused["in_bag"]
    assert {cost.method for cost in bench.costs} >= {"BoostIn", "LeafRefit"}


def test_a_wrong_number_of_repeats_is_refused_before_any_work(table):
    X, y = table
    with pytest.raises(ValueError, match="repeats=0"):
        bench_model("no such model", X, y, X, y, repeats=0)


def test_a_model_that_nothing_explains_is_refused(table, monkeypatch):
    from treeinf.evaluation import model_bench
    from treeinf.explainers.base import Explainer

    class Refusing(Explainer):
        def fit(self, *_, **__):
            raise UnsupportedModelError("It is gblinear.")

    monkeypatch.setattr(Refusing, "__abstractmethods__", frozenset())
    monkeypatch.setattr(model_bench, "_EXPLAINERS", (Refusing,))
    X, y = table
    model = HistGradientBoostingRegressor(max_iter=2).fit(X, y)
    with pytest.raises(UnsupportedModelError, match="gblinear"):
        bench_model(model, X, y, X[:2], y[:2], repeats=1)
