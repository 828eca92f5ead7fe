"""Losses of candidates row by row."""

import numpy as np
import pytest

from treeinf.cleaning.trial import judging


def probabilities(p):
    return np.stack([1.0 - p, p], axis=-1)


def noisy_task(rng, n_rows, flip):
    """Give noisy labels, and models of a clean and of a noisy training."""
    truth = rng.integers(0, 2, n_rows)
    code = np.where(rng.random(n_rows) < flip, 1 - truth, truth)
    clean = np.where(truth == 1, 0.97, 0.03)
    hedged = np.where(truth == 1, 1.0 - flip, flip)
    # the hedged model errs on one row in ten
    hedged = np.where(rng.random(n_rows) < 0.1, 1.0 - hedged, hedged)
    return code, np.stack([probabilities(hedged), probabilities(clean)])


def test_the_error_of_noisy_labels_ranks_models_as_clean_labels_do(rng):
    truth = rng.integers(0, 3, 20_000)
    noisy = np.where(rng.random(20_000) < 0.3, rng.integers(0, 3, 20_000), truth)
    models = rng.dirichlet([1.0, 1.0, 1.0], (4, 20_000))
    models[np.arange(4)[:, None], np.arange(20_000), truth] += [[0.1], [0.5], [1], [3]]
    models /= models.sum(axis=2, keepdims=True)
    clean = judging.class_losses(truth, models, truth, models).selection.mean(axis=1)
    seen = judging.class_losses(noisy, models, noisy, models).selection.mean(axis=1)
    # uniform noise of share e: (1 - e) times the clean error, plus e (1 - 1 / K)
    np.testing.assert_allclose(seen, 0.7 * clean + 0.3 * 2 / 3, atol=0.01)


def test_raw_log_loss_on_noisy_rows_misjudges_what_the_guard_judges_right(rng):
    code, models = noisy_task(rng, 2_000, 0.25)
    other_code, other = noisy_task(rng, 2_000, 0.25)
    raw = -np.log(models[:, np.arange(2_000), code]).mean(axis=1)
    assert raw[1] > raw[0]
    losses = judging.class_losses(code, models, other_code, other).guard.mean(axis=1)
    assert losses[1] < losses[0]


def test_overconfidence_alone_gains_nothing_with_the_guard(rng):
    chance = rng.uniform(0.2, 0.8, 3_000)
    code = (rng.random(3_000) < chance).astype(np.int64)
    sharp = chance**3 / (chance**3 + (1.0 - chance) ** 3)
    models = np.stack([probabilities(chance), probabilities(sharp)])
    half = slice(0, 1_500), slice(1_500, 3_000)
    losses = judging.class_losses(
        code[half[0]], models[:, half[0]], code[half[1]], models[:, half[1]]
    )
    assert losses.selection[1].mean() < losses.selection[0].mean()
    assert losses.guard[1].mean() > losses.guard[0].mean() - 1e-3


def test_a_class_never_met_is_judged_without_failing():
    code = np.array([0, 1, 2, 1])
    model = np.full((1, 4, 3), 0.5)
    model[..., 2] = np.nan
    losses = judging.class_losses(code, model, code, model)
    assert np.isfinite(losses.selection).all()
    assert np.isfinite(losses.guard).all()
    assert losses.selection[0, 2] == 1.0


def test_wild_targets_are_capped_but_not_in_the_primary_score():
    target = np.array([0.0, 1.0, 2.0, 1000.0])
    prediction = np.array([[0.1, 1.1, 2.1, 3.0]])
    losses = judging.value_losses(target, prediction, target[:3], prediction[:, :3])
    assert losses.selection[0, 3] == pytest.approx(2.0 * 1.4826 * 0.1)
    assert losses.primary[0, 3] == pytest.approx(997.0**2 / target.var())


def test_weights_scale_losses_to_the_same_mean(rng):
    losses = judging.RowLosses(*rng.normal(size=(3, 2, 400)))
    weight = rng.uniform(0.5, 2.0, 400)
    weighted = losses.weighted(weight)
    np.testing.assert_allclose(
        weighted.selection.mean(axis=1),
        np.average(losses.selection, axis=1, weights=weight),
    )


def test_rows_that_judge_twice_are_averaged():
    one = judging.RowLosses(*np.array([[[1.0, 2.0]]] * 3))
    two = judging.RowLosses(*np.array([[[5.0, 6.0]], [[7.0, 8.0]], [[9.0, 4.0]]]))
    both = judging.RowLosses.average([one, two], [np.array([4, 9]), np.array([9, 2])])
    np.testing.assert_array_equal(both.selection, [[6.0, 1.0, 3.5]])
    np.testing.assert_array_equal(both.guard, [[8.0, 1.0, 4.5]])
    np.testing.assert_array_equal(both.primary, [[4.0, 1.0, 5.5]])


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
    np.testing.assert_allclose(losses.selection, again.selection, rtol=1e-12)
    np.testing.assert_array_equal(losses.primary, again.primary)
    assert (losses.guard != again.guard).any()


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
    outcome = judging.judge_trial(
        [(sets[0], sets[1]), (sets[1], sets[0])],
        lambda losses: [0, int(losses.selection.mean(axis=1).argmin())],
        groups=np.array([0, 1, 2, 2]),
    )
    assert outcome.choices == [[0, 1], [0, 0]]
    np.testing.assert_allclose(outcome.candidates.score, [1.0, 1.05, 1.5])
    means = outcome.candidates.losses.guard.mean(axis=1)
    np.testing.assert_allclose(means, [1.0, 1.05, 1.5])
    # the second model on the set where it is bad, the first one on the other set
    np.testing.assert_allclose(outcome.chosen.losses.guard.mean(axis=1), [1.0, 1.5])
    np.testing.assert_allclose(outcome.chosen.score, [1.0, 1.5])
