"""Sums over queries, and the diagonal, agree where scores diverge or weights do."""

import numpy as np
import pytest
from numpy.testing import assert_array_less

import treeinf as ti
from tests import models
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.gradient.adjoint import Adjoint

TOLERANCE = 1e-11
"""Of the sum of the sizes of a row's influences. Where leaf factors grow by orders of
magnitude from tree to tree, they are known to fewer digits than they have."""

EXPLAINERS = {
    "BoostIn": ti.BoostIn(),
    "BoostInW1": ti.BoostIn(theta="published", count_power=1.0),
    "LeafInfluence, sweep": ti.LeafInfluence(),
    "LeafInfluence, coupling": ti.LeafInfluence(),
    "LeafInfluence, own classes": ti.LeafInfluence(cross_class=False),
    "LeafInfluence, single point": ti.LeafInfluence(propagation="single_point"),
    "TargetInfluence": ti.TargetInfluence(),
}

RECIPES = {
    "diverging": ("regression", dict(learning_rate=8.0)),
    "diverging probabilities": ("binary", dict(learning_rate=8.0)),
    "diverging softmax": ("multiclass", dict(learning_rate=8.0, n_estimators=6)),
    "diverging counts": ("poisson", dict(learning_rate=2.5)),
    "diverging logarithms": ("gamma", dict(learning_rate=1.5)),
    "diverging powers": ("tweedie", dict(learning_rate=8.0)),
    "large targets": ("regression", dict(factor=1e12)),
    "small targets": ("regression", dict(factor=1e-12)),
    "weights over 18 orders": ("regression", dict(weight_orders=9)),
    "weights of a diverging model": (
        "regression",
        dict(weight_orders=9, learning_rate=8.0),
    ),
    "many trees": ("binary", dict(n_estimators=200)),
}
SKLEARN = {
    "leaves of one row": dict(learning_rate=8.0),
    "exponential loss": dict(learning_rate=2.5, loss="exponential"),
    "weights, leaves of one row": dict(weight_orders=9),
}


def fit(name):
    """Return a model, its train rows, targets and weights, and queries."""
    if name in RECIPES:
        recipe, options = RECIPES[name]
    else:
        options = SKLEARN[name]
        recipe = "binary" if "loss" in options else "regression"
    options = dict(options)
    X, y, _ = models.make_rows(recipe)
    y = y * options.pop("factor", 1)
    orders, weight = options.pop("weight_orders", None), None
    if orders:
        weight = 10.0 ** np.random.default_rng(1).uniform(-orders, orders, 100)
    if name in RECIPES:
        lightgbm = pytest.importorskip("lightgbm")
        classifier = recipe in ("binary", "multiclass")
        Model = lightgbm.LGBMClassifier if classifier else lightgbm.LGBMRegressor
        if recipe in ("poisson", "gamma", "tweedie"):
            options["objective"] = recipe
        size = dict(n_estimators=15, num_leaves=5, min_child_samples=3)
        options = {**size, **options, "verbose": -1, "n_jobs": 2}
    else:
        ensemble = pytest.importorskip("sklearn.ensemble")
        Model = ensemble.GradientBoostingRegressor
        if recipe == "binary":
            Model = ensemble.GradientBoostingClassifier
        options = {"n_estimators": 15, **options}
    model = Model(**options).fit(X[:100], y[:100], sample_weight=weight)
    return model, X[:100], y[:100], weight, X[240:], y[240:]


@pytest.mark.filterwarnings("ignore::treeinf.errors.SelfExplanationWarning")
@pytest.mark.parametrize("name", [*RECIPES, *SKLEARN])
def test_total_is_the_sum_of_explain_and_self_influence_its_diagonal(name, monkeypatch):
    model, X, y, weight, X_test, y_test = fit(name)
    for method, explainer in EXPLAINERS.items():
        couples = method == "LeafInfluence, coupling"
        monkeypatch.setattr(Adjoint, "prefers_coupling", lambda *_, c=couples: c)
        try:
            explainer.fit(model, X, y, sample_weight=weight)
        except UnsupportedModelError:
            assert method == "TargetInfluence"
            continue
        assert explainer.reproduction_.verdict == "exact"
        each = explainer.explain(X_test, y_test).values
        assert np.isfinite(each).all()
        total = explainer.total(X_test, y_test).values
        error = np.abs(total - each.sum(axis=1))
        assert_array_less(error, TOLERANCE * np.abs(each).sum(axis=1) + 1e-300, method)
        each = explainer.explain(X, y).values
        error = np.abs(explainer.self_influence().values - np.diagonal(each))
        assert_array_less(error, TOLERANCE * np.abs(each).sum(axis=1) + 1e-300, method)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_total_is_finite_where_only_sums_over_the_queries_overflow():
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 4))
    y = rng.poisson(np.exp(X[:, 0] + np.sin(2 * X[:, 1]))).astype(float)
    options = dict(loss="poisson", learning_rate=10.0, max_iter=25, min_samples_leaf=3)
    model = ensemble.HistGradientBoostingRegressor(**options).fit(X[:120], y[:120])
    explainer = ti.BoostIn().fit(model, X[:120], y[:120])
    each = explainer.explain(X[120:], y[120:]).values
    assert np.isfinite(each).all()
    total = explainer.total(X[120:], y[120:]).values
    error = np.abs(total - each.sum(axis=1))
    assert_array_less(error, TOLERANCE * np.abs(each).sum(axis=1) + 1e-300)
