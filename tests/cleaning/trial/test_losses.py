"""Losses row by row, against scikit-learn's scores and DeLong's formula."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from treeinf.cleaning.trial.losses import (
    RowLosses,
    auc_losses,
    class_losses,
    error_losses,
    primary_metric,
    square_losses,
    value_losses,
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


# the losses that choose and that guard


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
    clean = class_losses(truth, models, truth, models).selection_loss.mean(axis=1)
    seen = class_losses(noisy, models, noisy, models).selection_loss.mean(axis=1)
    # uniform noise of share e: (1 - e) times the clean error, plus e (1 - 1 / K)
    np.testing.assert_allclose(seen, 0.7 * clean + 0.3 * 2 / 3, atol=0.01)


def test_raw_log_loss_on_noisy_rows_misjudges_what_the_guard_judges_right(rng):
    code, models = noisy_task(rng, 2_000, 0.25)
    other_code, other = noisy_task(rng, 2_000, 0.25)
    raw = -np.log(models[:, np.arange(2_000), code]).mean(axis=1)
    assert raw[1] > raw[0]
    losses = class_losses(code, models, other_code, other).guard_loss.mean(axis=1)
    assert losses[1] < losses[0]


def test_overconfidence_alone_gains_nothing_with_the_guard(rng):
    chance = rng.uniform(0.2, 0.8, 3_000)
    code = (rng.random(3_000) < chance).astype(np.int64)
    sharp = chance**3 / (chance**3 + (1.0 - chance) ** 3)
    models = np.stack([probabilities(chance), probabilities(sharp)])
    half = slice(0, 1_500), slice(1_500, 3_000)
    losses = class_losses(
        code[half[0]], models[:, half[0]], code[half[1]], models[:, half[1]]
    )
    assert losses.selection_loss[1].mean() < losses.selection_loss[0].mean()
    assert losses.guard_loss[1].mean() > losses.guard_loss[0].mean() - 1e-3


def test_a_class_never_met_is_judged_without_failing():
    code = np.array([0, 1, 2, 1])
    model = np.full((1, 4, 3), 0.5)
    model[..., 2] = np.nan
    losses = class_losses(code, model, code, model)
    assert np.isfinite(losses.selection_loss).all()
    assert np.isfinite(losses.guard_loss).all()
    assert losses.selection_loss[0, 2] == 1.0


def test_wild_targets_are_capped_but_not_in_the_primary_score():
    target = np.array([0.0, 1.0, 2.0, 1000.0])
    prediction = np.array([[0.1, 1.1, 2.1, 3.0]])
    losses = value_losses(target, prediction, target[:3], prediction[:, :3])
    assert losses.selection_loss[0, 3] == pytest.approx(2.0 * 1.4826 * 0.1)
    assert losses.primary_loss[0, 3] == pytest.approx(997.0**2 / target.var())


def test_weights_scale_losses_to_the_same_mean(rng):
    losses = RowLosses(*rng.normal(size=(3, 2, 400)))
    weight = rng.uniform(0.5, 2.0, 400)
    weighted = losses.weighted(weight)
    np.testing.assert_allclose(
        weighted.selection_loss.mean(axis=1),
        np.average(losses.selection_loss, axis=1, weights=weight),
    )


def test_rows_that_judge_twice_are_averaged():
    one = RowLosses(*np.array([[[1.0, 2.0]]] * 3))
    two = RowLosses(*np.array([[[5.0, 6.0]], [[7.0, 8.0]], [[9.0, 4.0]]]))
    both = RowLosses.average([one, two], [np.array([4, 9]), np.array([9, 2])])
    np.testing.assert_array_equal(both.selection_loss, [[6.0, 1.0, 3.5]])
    np.testing.assert_array_equal(both.guard_loss, [[8.0, 1.0, 4.5]])
    np.testing.assert_array_equal(both.primary_loss, [[4.0, 1.0, 5.5]])
