"""What is explained of a row: values, and slopes by finite differences."""

import sys
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose

import treeinf as ti
from tests import models
from treeinf.ensemble import routing
from treeinf.explainers.queries import EnsembleQueries
from treeinf.kernels.cpu import routing as kernels


@pytest.mark.parametrize(
    "recipe",
    [
        "regression",
        "binary",
        "binary_positive",
        "multiclass",
        "multiclassova",
        "poisson",
        "gamma",
        "tweedie",
        "huber",
        "fair",
        "cross_entropy",
    ],
)
@pytest.mark.parametrize("output", ["loss", "raw_score", "prediction", "derivative"])
def test_slopes_are_derivatives_of_values(recipe, output):
    model, _, _, _, X, y = models.fit(recipe)
    ensemble = ti.read_model(model)
    if output == "derivative":
        output = np.random.default_rng(0).normal(size=(len(y), ensemble.n_outputs))
    weight = np.linspace(0.5, 2.0, len(y))
    queries = EnsembleQueries.read(ensemble, X, y, output=output, sample_weight=weight)
    score = queries.raw_score()
    slope = queries.gradient(score)
    for k in range(ensemble.n_outputs):
        step = np.zeros_like(score)
        step[:, k] = 1e-5
        change = (queries.value(score + step) - queries.value(score - step)) / 2e-5
        assert_allclose(slope[:, k], change, rtol=1e-6, atol=1e-8)


def test_values_are_those_of_the_library():
    model, _, _, _, X, y = models.fit("multiclass")
    ensemble = ti.read_model(model)
    queries = EnsembleQueries.read(ensemble, X, y, output="prediction")
    probability = model.predict_proba(X)[np.arange(len(y)), y]
    assert_allclose(queries.value(queries.raw_score()), probability, rtol=1e-9)
    raw = model.predict(X, raw_score=True)[np.arange(len(y)), y]
    queries = EnsembleQueries.read(ensemble, X, y, output="raw_score")
    assert_allclose(queries.value(queries.raw_score()), raw, rtol=1e-9)


def test_queries_without_y_mean_the_second_class():
    model, _, _, _, X, _ = models.fit("binary")
    queries = EnsembleQueries.read(ti.read_model(model), X, None, output="prediction")
    assert_allclose(
        queries.value(queries.raw_score()), model.predict_proba(X)[:, 1], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("output", "y", "words"),
    [
        ("losses", True, "expected one of"),
        ("loss", False, "y is None"),
        (np.zeros((40, 2)), True, r"expected \(n_rows, 1\)"),
        (np.zeros(7), True, "derivatives of 7 rows; X has 40"),
        (np.full(40, np.nan), True, "not finite"),
    ],
)
def test_errors_say_what_was_expected(output, y, words):
    model, _, _, _, X, y_test = models.fit("binary")
    with pytest.raises(ValueError, match=words):
        EnsembleQueries.read(
            ti.read_model(model), X, y_test if y is True else None, output=output
        )


def test_methods_that_know_the_loss_alone_say_so():
    model, X, y, _, X_test, y_test = models.fit("binary")
    explainer = ti.BoostIn().fit(model, X, y)
    with pytest.raises(ValueError, match="BoostIn does not explain output='raw_score'"):
        explainer.explain(X_test, y_test, output="raw_score")


@pytest.mark.parametrize("recipe", ["binary", "multiclass", "poisson"])
def test_influence_on_the_loss_is_that_on_its_derivative(recipe):
    model, X, y, _, X_test, y_test = models.fit(recipe)
    explainer = ti.LeafInfluence().fit(model, X, y)
    queries = EnsembleQueries.read(explainer.ensemble_, X_test, y_test)
    derivative = queries.gradient(queries.raw_score())
    desired = explainer.explain(X_test, y_test).values
    actual = explainer.explain(X_test, output=derivative).values
    assert_allclose(actual, desired, rtol=0, atol=1e-14 * np.abs(desired).max())
    total = explainer.total(X_test, output=derivative)
    assert_allclose(
        total, desired.sum(axis=1), rtol=0, atol=1e-11 * np.abs(desired).max()
    )


def test_queries_are_routed_at_most_five_calls_below_the_public_one(monkeypatch):
    model, X, y, _, X_test, y_test = models.fit("binary")
    explainer = ti.BoostIn().fit(model, X, y)
    names = []

    def route(values, *arguments):
        frame = sys._getframe(1)
        while frame.f_code.co_name != "explain":
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return kernels.route_masks(values, *arguments)

    twin = types.SimpleNamespace(route_masks=route)
    monkeypatch.setattr(routing, "kernels", twin)
    explainer.explain(X_test, y_test)
    assert names[::-1] == ["_read_queries", "read", "read", "find_leaves"]
