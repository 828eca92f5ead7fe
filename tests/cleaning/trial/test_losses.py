"""The score that must not fall, against scikit-learn's and DeLong's formula."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from treeinf.cleaning.trial.losses import (
    auc_losses,
    error_losses,
    primary_metric,
    square_losses,
)


@pytest.fixture
def scored(rng):
    positive = rng.random(300) < 0.3
    # rounding makes ties
    return positive, (rng.normal(size=300) + positive).round(1)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_mean_is_one_minus_auc(rng, scored, is_weighted):
    positive, score = scored
    weight = rng.uniform(0.1, 3.0, 300) if is_weighted else np.ones(300)
    losses = auc_losses(positive, score, weight if is_weighted else None)
    expected = 1.0 - roc_auc_score(positive, score, sample_weight=weight)
    assert np.average(losses, weights=weight) == pytest.approx(expected, rel=1e-12)


def test_the_variance_of_a_difference_is_delongs(rng, scored):
    positive, score = scored
    other = score + rng.normal(size=300)
    difference = auc_losses(positive, score) - auc_losses(positive, other)
    # DeLong: V10 of positive rows and V01 of negative ones, by plain loops
    parts = []
    for side, against, sign in ((positive, ~positive, 1), (~positive, positive, -1)):
        lines = []
        for values in (score, other):
            lines.append(
                [
                    np.mean(
                        (sign * (v - values[against]) > 0)
                        + 0.5 * (v == values[against])
                    )
                    for v in values[side]
                ]
            )
        parts.append(np.var(np.subtract(*lines), ddof=1) / side.sum())
    # one variance over all rows (divided by n - 1) for two of the kinds
    assert difference.var(ddof=1) / 300 == pytest.approx(sum(parts), rel=0.02)


def test_one_kind_of_rows_says_nothing():
    np.testing.assert_array_equal(auc_losses(np.ones(4, bool), np.arange(4.0)), 0.5)


def test_errors_and_squares(rng):
    code, probability = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    assert error_losses(code, probability).mean() == pytest.approx(
        1.0 - accuracy_score(code, probability.argmax(axis=1))
    )
    y, weight = rng.normal(size=200), rng.uniform(0.5, 2.0, 200)
    prediction = y + rng.normal(size=200)
    for w in (None, weight):
        losses = square_losses(y, prediction, w)
        expected = 1.0 - r2_score(y, prediction, sample_weight=w)
        assert np.average(losses, weights=w) == pytest.approx(expected, rel=1e-12)
    assert np.isfinite(square_losses(np.ones(3), np.zeros(3))).all()


def test_names():
    assert [primary_metric(k) for k in (0, 2, 3)] == ["R2", "AUC", "accuracy"]
