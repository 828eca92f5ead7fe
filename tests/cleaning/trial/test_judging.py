"""Losses of candidates row by row."""

import numpy as np
import pytest

from treeinf.cleaning.trial import judging


def probabilities(p):
    return np.stack([1.0 - p, p], axis=-1)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_halves_calibrate_each_other_and_losses_keep_their_rows(rng, is_weighted):
    code = rng.integers(0, 2, 101)
    weight = rng.uniform(0.5, 2.0, 101) if is_weighted else None
    predictions = judging.Predictions(
        probabilities(rng.random((2, 101))), np.zeros(2), code, weight, np.arange(101)
    )
    losses = judging.losses_within(predictions)
    again = judging.row_losses(predictions, predictions)
    # what needs no calibration is the same as without halves
    np.testing.assert_allclose(losses.selection_loss, again.selection_loss, rtol=1e-12)
    np.testing.assert_array_equal(losses.primary_loss, again.primary_loss)
    assert (losses.guard_loss != again.guard_loss).any()


def test_each_selection_set_chooses_for_the_guard_set_beside_it(rng):
    """The second model is best on one set; the last two are one candidate."""
    label = rng.normal(size=(2, 30))
    errors = np.array([[1.0, 1.0], [0.1, 2.0], [1.4, 1.6], [1.6, 1.4]])
    sets = [
        judging.Predictions(
            label[k] + errors[:, k, None], errors[:, k], label[k], None, np.arange(30)
        )
        for k in range(2)
    ]
    outcome = judging.evaluate_trial(
        [(sets[0], sets[1]), (sets[1], sets[0])],
        lambda losses: [0, int(losses.selection_loss.mean(axis=1).argmin())],
        groups=np.array([0, 1, 2, 2]),
    )
    assert outcome.choices == [[0, 1], [0, 0]]
    np.testing.assert_allclose(outcome.candidates.score, [1.0, 1.05, 1.5])
    means = outcome.candidates.losses.guard_loss.mean(axis=1)
    np.testing.assert_allclose(means, [1.0, 1.05, 1.5])
    # the second model on the set where it is bad, the first one on the other set
    np.testing.assert_allclose(
        outcome.chosen.losses.guard_loss.mean(axis=1), [1.0, 1.5]
    )
    np.testing.assert_allclose(outcome.chosen.score, [1.0, 1.5])
