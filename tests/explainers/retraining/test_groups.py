"""Whole groups left out, drawn and added: explicit refits, enumeration, refusals."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.tree import DecisionTreeClassifier

from tests.explainers.retraining.games import (
    EXPLAINERS,
    FITS,
    MeanRegressor,
    log_loss,
    table,
)
from tests.naive.shapley import enumerate_shapley
from treeinf.explainers.retraining import LOO, DataShapley, SubSample

GROUPS = np.array(["pump", "fan", "belt", "fan"] * 6)


def squares(model, X, y):
    return (model.predict(X) - y) ** 2 / 2


def test_loo_equals_explicit_refits_without_each_group():
    X, y, X_test, y_test = table(classes=["a", "b"])
    estimator = DecisionTreeClassifier(random_state=0)
    base = log_loss(clone(estimator).fit(X, y), X_test, y_test)
    desired = [
        log_loss(
            clone(estimator).fit(X[name != GROUPS], y[name != GROUPS]), X_test, y_test
        )
        - base
        for name in ("pump", "fan", "belt")
    ]
    explainer = LOO(n_jobs=1).fit(estimator, X, y)
    influence = explainer.group_influence(GROUPS, X_test, y_test)
    assert_array_equal(influence, desired)
    assert influence.train_labels.tolist() == ["pump", "fan", "belt"]
    assert influence.kinds == ("group", "test row")
    assert "of 3 groups on 7 test rows" in repr(influence)
    # groups may overlap, and rows may be in none
    overlapping = {"x": [0, 1, 2], "pump": np.flatnonzero(GROUPS == "pump")}
    named = explainer.group_influence(overlapping, X_test, y_test)
    assert_array_equal(named.values[1], desired[0])
    # by total, as everywhere
    assert_allclose(influence.sum(), np.sum(desired, axis=1))


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_groups_of_one_row_are_rows(explainer):
    X, y, X_test, y_test = table(10, 4)
    fitted = clone(explainer).fit(MeanRegressor(), X, y)
    by_row = fitted.explain(X_test, y_test)
    by_group = fitted.group_influence(np.arange(10), X_test, y_test)
    assert_array_equal(by_group, by_row)
    # and the explainer itself explains rows as before
    assert_array_equal(fitted.explain(X_test, y_test), by_row)


def test_subsample_draws_whole_groups():
    X, y, X_test, y_test = table()
    explainer = SubSample(n_models=8, share=0.5, n_jobs=1)
    names = [f"machine {row // 3}" for row in range(24)]
    influence = explainer.fit(MeanRegressor(), X, y).group_influence(
        names, X_test, y_test
    )
    with_group, without = np.zeros((8, 7)), np.zeros((8, 7))
    n_with = np.zeros((8, 1))
    for number in range(8):
        drawn = np.random.default_rng([0, number]).permutation(8)[:4]
        rows = np.isin(np.arange(24) // 3, drawn)
        value = squares(MeanRegressor().fit(X[rows], y[rows]), X_test, y_test)
        with_group[drawn] += value
        n_with[drawn] += 1
        without[np.setdiff1d(np.arange(8), drawn)] += value
    desired = without / (8 - n_with) - with_group / n_with
    assert_allclose(influence, desired, rtol=1e-10, atol=1e-13)


def test_shapley_values_of_groups_go_to_those_by_enumeration():
    X, y, X_test, y_test = table(12, 3)
    sets = [[0, 3, 5], [1], [2, 4, 6, 7, 8], [9, 10, 11]]
    nothing = (y.mean() - y_test) ** 2 / 2

    def game(groups):
        rows = [row for group in sorted(groups) for row in sets[group]]
        if not rows:
            return nothing
        return squares(MeanRegressor().fit(X[rows], y[rows]), X_test, y_test)

    explainer = DataShapley(n_permutations=300, truncation=0, n_jobs=1)
    influence = explainer.fit(MeanRegressor(), X, y).group_influence(
        sets, X_test, y_test
    )
    desired = -np.array(enumerate_shapley(game, 4))
    assert explainer.standard_error_.shape == (4,)
    assert explainer.n_permutations_ == 300
    error = np.abs(influence.values.sum(axis=1) - desired.sum(axis=1))
    assert (error < 6 * explainer.standard_error_).all()
    assert_allclose(influence.sum(axis=0), nothing - game(range(4)), atol=1e-11)


def test_checkpoints_keep_groups_apart(tmp_path):
    X, y, X_test, y_test = table()
    explainer = LOO(n_jobs=1, checkpoint=tmp_path).fit(MeanRegressor(), X, y)
    coarse = explainer.group_influence(GROUPS, X_test, y_test)
    pairs = explainer.group_influence(np.arange(24) // 2, X_test, y_test)
    FITS.clear()
    again = LOO(n_jobs=1, checkpoint=tmp_path).fit(MeanRegressor(), X, y)
    assert_array_equal(again.group_influence(GROUPS, X_test, y_test), coarse)
    assert_array_equal(again.group_influence(np.arange(24) // 2, X_test, y_test), pairs)
    assert not FITS


@pytest.mark.parametrize(
    ("kind", "groups", "message"),
    [
        (LOO, np.zeros(24), "Leaving out group 0.0 leaves no train row"),
        (LOO, np.arange(7), "one label for each of the 24 train rows"),
        (SubSample, [[0, 1], [1, 2]], "row 1 is in 2. LOO takes"),
        (DataShapley, [None, *range(23)], "row 0 is in 0. LOO takes"),
    ],
)
def test_groups_that_cannot_be_drawn_are_refused(kind, groups, message):
    X, y, X_test, y_test = table()
    explainer = kind(n_jobs=1)
    with pytest.raises(ValueError, match=message):
        explainer.fit(MeanRegressor(), X, y).group_influence(groups, X_test, y_test)
