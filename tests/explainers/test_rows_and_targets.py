"""Rows, targets and weights as every explainer, the cleaner and the experiment read."""

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from numpy.testing import assert_array_equal

import treeinf as ti
from treeinf.evaluation.experiment import Experiment

EXPLAINERS = (
    *(ti.BoostIn, ti.LeafInfluence, ti.LeafRefit, ti.TreeSim, ti.Trex, ti.LOO),
    *(ti.SubSample, ti.InputSim, ti.KNNShapley, ti.Random, ti.Loss, ti.OutOfFoldLoss),
)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    index = rng.permutation(60) + 100
    X = pd.DataFrame(rng.normal(size=(60, 3)), index=index)
    y = pd.Series((X[0] > 0) * 1, index=index)
    model = LGBMClassifier(n_estimators=2, min_child_samples=5, verbose=-1, n_jobs=1)
    return model.fit(X, y), X, y


def reverse(values):
    return pd.Series(np.ones(len(values)), index=values.index[::-1])


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_an_index_in_another_order_is_refused_in_fit(explainer, case):
    model, X, y = case
    words = r"y has the same index in another order .* pass y.loc\[X.index\]"
    with pytest.raises(ValueError, match=words):
        explainer().fit(model, X, y[::-1])
    with pytest.raises(ValueError, match="sample_weight has the same index"):
        explainer().fit(model, X, y, sample_weight=reverse(y))


def test_an_index_in_another_order_is_refused_of_queries(case):
    model, X, y = case
    explainer = ti.LeafRefit(n_jobs=1).fit(model, X, y)
    weight = reverse(y[:9])
    for call in (
        lambda: explainer.explain(X[:9], y[:9][::-1]),
        lambda: explainer.total(X[:9], y[:9], sample_weight=weight),
        lambda: explainer.total(X[:9], y[:9], init_score=weight),
        lambda: explainer.total(X[:9], output=weight),
        lambda: explainer.top_k(X[:9], y[:9][::-1]),
        lambda: explainer.group_influence(reverse(y), X[:9], y[:9]),
        lambda: explainer.refit_without(reverse(y) > 1.0),
    ):
        with pytest.raises(ValueError, match="the same index in another order"):
            call()


def test_an_index_that_numbers_the_rows_is_taken_in_their_order(case):
    model, X, y = case
    explainer = ti.BoostIn(n_jobs=1).fit(model, X, y.reset_index(drop=True))
    X = X + 1.0  # not the train rows
    expected = explainer.total(X[:9], y[:9].to_numpy()).values
    for rows, targets in (
        (X[:9], y[:9].reset_index(drop=True)),
        (X[:9].reset_index(drop=True), y[:9]),
        (X[:9].to_numpy(), y[:9]),
    ):
        assert_array_equal(explainer.total(rows, targets).values, expected)
    with pytest.raises(ValueError, match=r"y has other labels in its pandas index"):
        explainer.total(X[:9], y[20:29])
    with pytest.raises(ValueError, match=r"sample_weight has .* y has"):
        explainer.total(X[:9].to_numpy(), y[:9], sample_weight=reverse(y[:9]))


def test_the_cleaner_and_the_experiment_refuse_another_order(case):
    model, X, y = case
    for refit in (ti.InfluenceCleaner, ti.InfluenceSelector):
        with pytest.raises(ValueError, match="y has the same index in another order"):
            refit(model).fit(X, y[::-1])
        validation = X + 1.0, y[::-1]
        with pytest.raises(ValueError, match="y_val has the same index"):
            refit(model, validation=validation).fit(X, y)
        validation = X[[2, 1, 0]] + 1.0, y
        with pytest.raises(ValueError, match="in another order"):
            refit(model, validation=validation).fit(X, y)
    with pytest.raises(ValueError, match="y_test has the same index"):
        Experiment.read(model, X, y, X, y[::-1])


@pytest.mark.parametrize("explainer", [ti.BoostIn, ti.LOO, ti.InputSim])
def test_columns_of_train_rows_in_another_order_are_refused(explainer, case):
    model, X, y = case
    unnamed = LGBMClassifier(**model.get_params()).fit(X.to_numpy(), y)
    named = X.set_axis(["a", "b", "c"], axis=1)
    fitted = explainer(n_jobs=1).fit(unnamed, named, y)
    with pytest.raises(ValueError, match=r"another order|where the train rows have"):
        fitted.explain(named[["c", "b", "a"]][:5], y[:5])


@pytest.mark.parametrize("explainer", [ti.BoostIn, ti.LOO, ti.InputSim])
def test_masked_rows_are_missing_and_masked_targets_refused(explainer, case):
    model, X, y = case
    X, y = X.to_numpy(), y.to_numpy()
    unnamed = LGBMClassifier(**model.get_params()).fit(X, y)
    fitted = explainer(n_jobs=1).fit(unnamed, X, y)
    mask = np.arange(15).reshape(5, 3) % 4 == 0
    expected = fitted.explain(np.where(mask, np.nan, X[:5] + 1.0), y[:5]).values
    masked = np.ma.masked_array(X[:5] + 1.0, mask=mask)
    assert_array_equal(fitted.explain(masked, y[:5]).values, expected)
    for name in ("y", "sample_weight"):
        masked = np.ma.masked_array(np.maximum(y, 1), mask=np.arange(60) == 3)
        with pytest.raises(ValueError, match=f"{name} is missing .* in 1 of 60 rows"):
            explainer().fit(unnamed, X, **{"y": y, name: masked})
