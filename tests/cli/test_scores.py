"""Scores before and after, against scikit-learn's."""

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("pandas")

from sklearn import metrics

from treeinf.cli.scores import compare_on_test_rows, score_on_test_rows
from treeinf.cli.tables.training_data import TrainingData


def make_data(y, classes=()):
    task = "classification" if classes else "regression"
    return TrainingData(None, y, None, task, "y", (), classes, ())


def test_classes_are_scored_like_scikit_learn(rng):
    y = rng.integers(0, 2, 300)
    probability = np.clip(0.5 * y + 0.6 * rng.random(300).round(1), 0.01, 0.99)
    both = np.column_stack([1 - probability, probability])
    found = score_on_test_rows(make_data(y, (0, 1)), both)
    assert found["AUC"] == pytest.approx(metrics.roc_auc_score(y, probability))
    assert found["log loss"] == pytest.approx(metrics.log_loss(y, both))
    assert found["accuracy"] == pytest.approx(
        metrics.accuracy_score(y, both.argmax(axis=1))
    )


def test_many_classes_have_no_auc(rng):
    y = np.array(["a", "b", "c"])[rng.integers(0, 3, 90)]
    probability = rng.dirichlet(np.ones(3), 90)
    found = score_on_test_rows(make_data(y, ("a", "b", "c")), probability)
    assert set(found) == {"accuracy", "log loss"}
    assert found["log loss"] == pytest.approx(metrics.log_loss(y, probability))


def test_values_are_scored_like_scikit_learn(rng):
    y = rng.normal(size=200)
    prediction = y + 0.3 * rng.normal(size=200)
    found = score_on_test_rows(make_data(y), prediction)
    assert found["R2"] == pytest.approx(metrics.r2_score(y, prediction))
    assert found["RMSE"] == pytest.approx(
        metrics.root_mean_squared_error(y, prediction)
    )


def test_gains_have_one_sign_and_an_interval(rng):
    y = rng.normal(size=400)
    before, after = y + rng.normal(size=400), y + 0.5 * rng.normal(size=400)
    for change in compare_on_test_rows(make_data(y), before, after, seed=0):
        assert 0 < change.gain_low < change.gain < change.gain_high
    for change in compare_on_test_rows(make_data(y), after, before, seed=0):
        assert change.gain_high < 0
    for change in compare_on_test_rows(make_data(y), after, after, seed=0):
        assert (change.gain_low, change.gain, change.gain_high) == (0.0, 0.0, 0.0)
