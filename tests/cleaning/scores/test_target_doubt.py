"""Probabilities that targets are wrong."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from treeinf.cleaning.scores.target_doubt import doubt_targets


def mixture(rng, share, n_rows=3000):
    prediction = rng.normal(size=n_rows)
    target = prediction + 0.2 * rng.standard_t(8.0, n_rows)
    wrong = rng.random(n_rows) < share
    target[wrong] = rng.permutation(target)[wrong]
    return target, prediction, wrong


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_doubt_is_the_posterior_of_a_known_mixture(share, rng):
    target, prediction, wrong = mixture(rng, share)
    doubt = doubt_targets(target, prediction, 0)
    assert ((doubt >= 0.0) & (doubt <= 1.0)).all()
    assert doubt.mean() == pytest.approx(share, abs=0.3 * share)
    assert average_precision_score(wrong, doubt) > 0.6
    for low, high in ((0.0, 0.5), (0.5, 1.0)):
        inside = (doubt >= low) & (doubt <= high)
        assert wrong[inside].mean() == pytest.approx(doubt[inside].mean(), abs=0.15)


def test_targets_far_from_all_others_are_doubted(rng):
    target, prediction, _ = mixture(rng, 0.0)
    target[:30] += 12.0
    assert (doubt_targets(target, prediction, 0)[:30] > 0.9).all()


def test_right_targets_are_hardly_doubted(rng):
    target, prediction, _ = mixture(rng, 0.0)
    assert (doubt_targets(target, prediction, 0) > 0.5).mean() < 0.02


def test_nothing_is_doubted_without_predictions_or_spread(rng):
    target, prediction, _ = mixture(rng, 0.1, 50)
    prediction[3] = np.nan
    assert doubt_targets(target, prediction, 0)[3] == 0.0
    assert not doubt_targets(target, target, 0).any()
    assert not doubt_targets(np.ones(9), np.zeros(9), 0).any()
    assert not doubt_targets(target, np.full(50, np.nan), 0).any()
