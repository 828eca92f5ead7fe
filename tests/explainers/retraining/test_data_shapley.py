"""DataShapley: closed-form games, enumeration, truncation."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from tests.explainers.retraining.games import (
    FITS,
    MeanRegressor,
    ShareClassifier,
    SumRegressor,
    log_loss,
    table,
)
from tests.naive.shapley import enumerate_shapley
from treeinf.explainers.retraining import DataShapley


def test_shapley_of_an_additive_game_is_each_rows_own_part():
    X, y, X_test, _ = table(6, 2)
    explainer = DataShapley(n_permutations=3, truncation=0, n_jobs=1)
    explainer.fit(SumRegressor(), X, y)
    added = explainer.explain(X_test, output="prediction").values
    # the first to come is measured against the base rate, the mean
    first = [
        np.random.default_rng([0, number]).permutation(6)[0] for number in range(3)
    ]
    desired = -y - np.array([(-y.mean()) * (first.count(i) / 3) for i in range(6)])
    assert_allclose(added, np.tile(desired[:, np.newaxis], 2), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("task", ["regression", "classes"])
def test_shapley_goes_to_the_value_by_enumeration(task):
    if task == "regression":
        X, y, X_test, y_test = table(5, 3)
        estimator, loss = MeanRegressor(), lambda m, X, y: (m.predict(X) - y) ** 2 / 2
        nothing = (y.mean() - y_test) ** 2 / 2
    else:
        X, y, X_test, y_test = table(5, 3, classes=["u", "v"])
        assert len(set(y)) == 2
        estimator, loss = ShareClassifier(), log_loss
        share = {label: np.mean(y == label) for label in y}
        nothing = np.array([-math.log(share[label]) for label in y_test])

    def game(rows):
        rows = sorted(rows)
        if not rows:
            return nothing
        return loss(clone(estimator).fit(X[rows], y[rows]), X_test, y_test)

    n_orders = 400
    explainer = DataShapley(n_permutations=n_orders, truncation=0, n_jobs=1)
    influence = explainer.fit(estimator, X, y).explain(X_test, y_test)
    # the marginal contributions of the orders drawn, and the values by enumeration
    # within six standard errors
    values = {}
    drawn = np.zeros((5, 3))
    for number in range(n_orders):
        order = np.random.default_rng([0, number]).permutation(5)
        before = nothing
        for n_added, row in enumerate(order, 1):
            rows = frozenset(order[:n_added].tolist())
            if rows not in values:
                values[rows] = game(rows)
            drawn[row] += (before - values[rows]) / n_orders
            before = values[rows]
    assert_allclose(influence, drawn, rtol=1e-9, atol=1e-12)
    desired = -np.array(enumerate_shapley(game, 5))
    error = explainer.standard_error_
    assert (error > 0).all()
    assert (np.abs(influence.values.sum(1) - desired.sum(1)) < 6 * error).all()
    # efficiency holds exactly
    assert_allclose(influence.sum(axis=0), nothing - game(range(5)), atol=1e-11)
    assert_allclose(explainer.total(X_test, y_test), influence.sum(), rtol=1e-9)


def test_shapley_truncates_and_stops():
    X, y, X_test, y_test = table(20, 5)
    full = DataShapley(n_permutations=20, truncation=0, n_jobs=1)
    full.fit(MeanRegressor(shift=4.0), X, y).total(X_test, y_test)
    n_full = len(FITS)
    FITS.clear()
    cut = DataShapley(n_permutations=20, truncation=0.5, n_jobs=1)
    cut.fit(MeanRegressor(shift=4.0), X, y).total(X_test, y_test)
    assert len(FITS) < 0.8 * n_full
    # a single row is not handed to the estimator; all rows once, to compare with
    assert n_full == 20 * 19 + 1
    soon = DataShapley(n_permutations=500, truncation=0, convergence=0.5, n_jobs=1)
    soon.fit(MeanRegressor(), X, y).total(X_test, y_test)
    assert soon.n_permutations_ < 500
    assert soon.n_permutations_ % 10 == 0
    mean = np.abs(soon.total(X_test, y_test).values).mean()
    assert soon.standard_error_.mean() <= 0.5 * mean


def test_the_slow_twin_knows_a_game_by_hand():
    # two gloves: left, left, right; a pair is worth 1
    def game(rows):
        return float(2 in rows and (0 in rows or 1 in rows))

    assert_allclose(enumerate_shapley(game, 3), [1 / 6, 1 / 6, 4 / 6], rtol=1e-15)
