"""The published recursion in its three forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("lightgbm")

from benchmarks.speed import refit
from benchmarks.speed.bench import Bench
from benchmarks.speed.factors import (
    Recursion,
    push_forward,
    push_leaf_by_leaf,
    push_one_by_one,
)
from treeinf.explainers import LeafInfluence, LeafRefit


@pytest.fixture(scope="module")
def case():
    return Bench(n_jobs=1).fit(120, 15, n_estimators=6, num_leaves=5)


def test_all_forms_give_full_leaf_influence(case):
    explainer = LeafInfluence(through_base_score=False)
    explainer.fit(case.model, case.X, case.y)
    given = Recursion.read(explainer, case.X_test, case.y_test)
    desired = explainer.explain(case.X_test, case.y_test).values
    tight = {"rtol": 0, "atol": 1e-12 * np.abs(desired).max()}
    assert_allclose(push_forward(given), desired, **tight)
    everything = np.arange(120)
    assert_allclose(push_one_by_one(given, everything), desired, **tight)
    assert_allclose(push_leaf_by_leaf(given, everything), desired, **tight)
    # removals do not see each other
    assert_allclose(push_leaf_by_leaf(given, [7, 3]), desired[[7, 3]], **tight)


def test_refits_in_numpy_give_leaf_refit(case):
    explainer = LeafRefit().fit(case.model, case.X, case.y)
    leaves = (explainer.ensemble_.apply(X).T for X in (case.X, case.X_test))
    found = refit.refit_one_by_one(explainer, case, *leaves, np.arange(120))
    desired = explainer.explain(case.X_test, case.y_test).values
    assert_allclose(found, desired, rtol=0, atol=1e-6 * np.abs(desired).max())


def test_another_influence_is_no_peer(monkeypatch):
    monkeypatch.setattr(
        refit, "refit_one_by_one", lambda explainer, case, *rest: np.ones((20, 20))
    )
    with pytest.raises(ArithmeticError, match="NumPy's refits differ by"):
        refit.measure_refit(Bench(n_rows=500, repeats=1, n_jobs=1))
