"""The losses that judge, and what is chosen by them."""

import dataclasses

import numpy as np
import pytest

from treeinf.cleaning.trial import judging
from treeinf.training.rows import LabelledRows


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
    clean = judging.judge_classes(truth, models, truth, models).robust.mean(axis=1)
    seen = judging.judge_classes(noisy, models, noisy, models).robust.mean(axis=1)
    # uniform noise of share e: (1 - e) times the clean error, plus e (1 - 1 / K)
    np.testing.assert_allclose(seen, 0.7 * clean + 0.3 * 2 / 3, atol=0.01)


def test_raw_log_loss_on_noisy_rows_misjudges_what_the_guard_judges_right(rng):
    code, models = noisy_task(rng, 2_000, 0.25)
    other_code, other = noisy_task(rng, 2_000, 0.25)
    raw = -np.log(models[:, np.arange(2_000), code]).mean(axis=1)
    assert raw[1] > raw[0]
    losses = judging.judge_classes(code, models, other_code, other).proper.mean(axis=1)
    assert losses[1] < losses[0]


def test_overconfidence_alone_gains_nothing_with_the_guard(rng):
    chance = rng.uniform(0.2, 0.8, 3_000)
    code = (rng.random(3_000) < chance).astype(np.int64)
    sharp = chance**3 / (chance**3 + (1.0 - chance) ** 3)
    models = np.stack([probabilities(chance), probabilities(sharp)])
    half = slice(0, 1_500), slice(1_500, 3_000)
    losses = judging.judge_classes(
        code[half[0]], models[:, half[0]], code[half[1]], models[:, half[1]]
    )
    assert losses.robust[1].mean() < losses.robust[0].mean()
    assert losses.proper[1].mean() > losses.proper[0].mean() - 1e-3


def test_a_class_never_met_is_judged_without_failing():
    code = np.array([0, 1, 2, 1])
    model = np.full((1, 4, 3), 0.5)
    model[..., 2] = np.nan
    losses = judging.judge_classes(code, model, code, model)
    assert np.isfinite(losses.robust).all()
    assert np.isfinite(losses.proper).all()
    assert losses.robust[0, 2] == 1.0


def test_wild_targets_are_capped_but_not_in_the_primary_score():
    target = np.array([0.0, 1.0, 2.0, 1000.0])
    prediction = np.array([[0.1, 1.1, 2.1, 3.0]])
    losses = judging.judge_values(target, prediction, target[:3], prediction[:, :3])
    assert losses.robust[0, 3] == pytest.approx(2.0 * 1.4826 * 0.1)
    assert losses.primary[0, 3] == pytest.approx(997.0**2 / target.var())


def gains(*means, n_rows=400):
    """Give losses of an uncleaned model, and of others with these mean gains.

    Gains have a standard error of 0.05, independent of one another.
    """
    noise = np.random.default_rng(7).normal(size=(len(means) + 1, n_rows))
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(
        axis=1, keepdims=True
    )
    losses = noise - np.array([0.0, *means])[:, None]
    losses[0] = 0.0
    return judging.RowLosses(losses, losses, np.zeros_like(losses))


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        ((0.2, 0.3, 0.32), 2),  # within a standard error (0.05) of the best
        ((0.3, 0.31, 0.32), 1),
        ((0.02, 0.04, 0.03), 0),  # not beyond noise
        ((-0.3, -0.2), 0),
        ((0.5,), 1),
        ((), 0),
    ],
)
def test_the_smallest_amount_as_good_as_the_best_is_chosen(means, chosen):
    assert judging.choose_candidate(gains(*means)) == chosen


def test_the_robust_loss_chooses_only_among_what_the_proper_one_cannot_tell_apart():
    robust = gains(0.1, 0.3, 0.5).robust
    proper = gains(0.3, 0.29, -0.2).robust
    same = np.zeros_like(robust)
    assert judging.choose_candidate(judging.RowLosses(robust, proper, same)) == 2
    assert judging.choose_candidate(judging.RowLosses(robust, robust, same)) == 3


def test_interval_is_students():
    from scipy import stats

    values = np.array([0.3, -0.1, 0.5, 0.2, 0.9])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    mean, low, high = judging.paired_interval(values, 0.9)
    assert (mean, low, high) == pytest.approx((0.36, expected.low, expected.high))
    assert np.isnan(judging.paired_interval(values[:1], 0.9)[1])


def test_weights_scale_losses_to_the_same_mean(rng):
    losses = gains(0.2)
    weight = rng.uniform(0.5, 2.0, 400)
    weighted = losses.weighted(weight)
    np.testing.assert_allclose(
        weighted.robust.mean(axis=1), np.average(losses.robust, axis=1, weights=weight)
    )


def test_rows_that_judge_twice_are_averaged():
    one = judging.RowLosses(*np.array([[[1.0, 2.0]]] * 3))
    two = judging.RowLosses(*np.array([[[5.0, 6.0]], [[7.0, 8.0]], [[9.0, 4.0]]]))
    both = judging.RowLosses.average([one, two], [np.array([4, 9]), np.array([9, 2])])
    np.testing.assert_array_equal(both.robust, [[6.0, 1.0, 3.5]])
    np.testing.assert_array_equal(both.proper, [[8.0, 1.0, 4.5]])
    np.testing.assert_array_equal(both.primary, [[4.0, 1.0, 5.5]])


def test_what_lowers_the_primary_score_beyond_noise_is_not_chosen():
    robust = gains(0.3, 0.5, 0.9).robust
    for fall, chosen in ((0.5, 2), (0.05, 3)):
        primary = gains(0.0, 0.0, -fall).robust
        losses = judging.RowLosses(robust, robust, primary)
        assert judging.choose_candidate(losses) == chosen


@pytest.mark.parametrize("weight", [None, "given"])
def test_halves_judge_each_other_and_losses_keep_their_rows(rng, weight):
    code = rng.integers(0, 2, 101)
    models = probabilities(rng.random((2, 101)))
    rows = LabelledRows(np.zeros((101, 1)), code, code)
    if weight:
        rows = dataclasses.replace(rows, weight=rng.uniform(0.5, 2.0, 101))
    losses = judging.judge_within(rows, models)
    again = judging.judge(rows, models, rows, models)
    # what needs no calibration is the same as without halves
    np.testing.assert_allclose(losses.robust, again.robust, rtol=1e-12)
    np.testing.assert_array_equal(losses.primary, again.primary)
    assert (losses.proper != again.proper).any()
