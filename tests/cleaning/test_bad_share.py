"""The estimated share of bad rows and its interval."""

import numpy as np
import pytest

from treeinf.cleaning.bad_share import (
    compare_labels,
    compare_targets,
    estimate_bad_labels,
    estimate_bad_targets,
)


def noisy_labels(rng, n_rows, flip):
    chance = rng.beta(0.5, 0.5, n_rows)
    truth = rng.random(n_rows) < chance
    code = (truth ^ (rng.random(n_rows) < flip)).astype(np.int64)
    return code, np.stack([1.0 - chance, chance], axis=1)


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.3])
def test_noise_is_estimated_from_a_good_model(rng, flip):
    code, chance = noisy_labels(rng, 5_000, flip)
    found = estimate_bad_labels(code, chance, np.arange(5_000), confidence=0.9, seed=0)
    assert found.share == pytest.approx(flip, abs=0.03)
    assert found.low <= found.share <= found.high
    # the grid's step is 0.01
    assert found.low - 0.02 <= flip <= found.high + 0.02


def test_the_interval_is_as_wide_as_samples_differ(rng):
    """The spread of the estimate over fresh samples, against one sample's interval."""
    shares, widths = [], []
    for seed in range(40):
        code, chance = noisy_labels(rng, 400, 0.2)
        found = estimate_bad_labels(
            code, chance, np.arange(400), confidence=0.9, seed=seed
        )
        shares.append(found.share)
        widths.append(found.high - found.low)
    # a 90 % interval is 3.3 standard deviations wide; 40 samples know theirs to 11 %
    assert np.mean(widths) == pytest.approx(3.29 * np.std(shares), rel=0.4)


def test_rows_that_stand_twice_are_resampled_together(rng):
    code, chance = noisy_labels(rng, 300, 0.2)
    once = estimate_bad_labels(code, chance, np.arange(300), confidence=0.9, seed=0)
    twice = estimate_bad_labels(
        np.tile(code, 2),
        np.tile(chance, (2, 1)),
        np.tile(np.arange(300), 2),
        confidence=0.9,
        seed=0,
    )
    assert once == twice


def test_rows_of_many_blocks_are_all_counted(rng):
    code, chance = noisy_labels(rng, 9_000, 0.25)
    place = rng.permutation(9_000) * 7
    found = estimate_bad_labels(code, chance, place, confidence=0.9, seed=0)
    assert found.share == pytest.approx(0.25, abs=0.03)
    assert 0.0 < found.high - found.low < 0.06


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_outlying_targets(rng, share):
    residual = rng.normal(size=4_000)
    is_bad = rng.random(4_000) < share
    residual[is_bad] += 10.0
    found = estimate_bad_targets(residual, np.arange(4_000), confidence=0.9)
    assert found.share == pytest.approx(is_bad.mean(), abs=0.003)
    assert found.low < found.share + 1e-12
    assert found.high > found.share


def test_exact_predictions_have_no_outliers():
    found = estimate_bad_targets(np.zeros(10), np.arange(10), confidence=0.9)
    assert (found.share, found.low) == (0.0, 0.0)
    assert found.high > 0.0


def test_no_wrong_label_seen_is_no_proof_that_there_is_none():
    """0 of n rows: the exact upper end at 90 % is 1 - 0.05 ** (1 / n), about 3 / n."""
    n_rows, most = 200, 1.0 - 0.05 ** (1.0 / 200)
    code = np.arange(n_rows) % 2
    sure = np.where(np.arange(2) == code[:, np.newaxis], 0.999, 0.001)
    right = np.ones(n_rows, dtype=bool)
    still = np.tile([-1.0, 1.0], n_rows // 2)
    for found in (
        estimate_bad_labels(code, sure, np.arange(n_rows), confidence=0.9, seed=0),
        compare_labels(right, right, n_classes=2, confidence=0.9),
        compare_labels(right, np.arange(n_rows) % 10 > 0, n_classes=2, confidence=0.9),
        compare_targets(still, still, confidence=0.9),
    ):
        assert (found.share, found.low) == (0.0, 0.0)
        assert found.high >= most - 1e-12
    assert most == pytest.approx(3.0 / n_rows, rel=0.01)
    once = estimate_bad_labels(code, sure, np.arange(n_rows), confidence=0.9, seed=0)
    assert once.high == pytest.approx(most, rel=1e-9)


def test_all_rows_wrong_has_a_lower_end():
    wrong = np.zeros(50, dtype=bool)
    found = compare_labels(wrong, ~wrong, n_classes=2, confidence=0.9)
    assert (found.share, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.05 ** (1.0 / 50), rel=1e-9)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_clean_rows_tell_how_many_labels_are_wrong(rng, n_classes, share):
    """A model that is right on 90 % of the rows, whatever became of their labels."""
    estimates, covered = [], 0
    for _ in range(60):
        sizes = (500, 300)
        right = [rng.random(n) < 0.9 for n in sizes]
        is_bad = rng.random(500) < share
        # a wrong guess is the wrong label once in n_classes - 1 times
        lucky = ~right[0] & (rng.random(500) < 1.0 / (n_classes - 1))
        seen = np.where(is_bad, lucky, right[0])
        found = compare_labels(seen, right[1], n_classes=n_classes, confidence=0.9)
        estimates.append(found.share)
        covered += found.low <= share <= found.high
    # shares below 0 are cut off, which lifts the mean of no noise
    assert np.mean(estimates) == pytest.approx(share, abs=0.015)
    # 54 of 60 are expected, with a standard deviation of 2.3
    assert covered >= 45


def test_a_model_no_better_than_chance_knows_nothing():
    half = np.arange(100) % 2 == 0
    found = compare_labels(half, half, n_classes=2, confidence=0.9)
    assert (found.low, found.high) == (0.0, 1.0)


def test_clean_rows_tell_how_many_targets_are_wrong_where_half_of_them_are(rng):
    residual = rng.normal(size=2_000)
    is_bad = rng.random(2_000) < 0.5
    residual[is_bad] += 20.0
    found = compare_targets(residual, rng.normal(size=500), confidence=0.9)
    assert found.low < is_bad.mean() < found.high
    assert found.high - found.low < 0.06
    # without them the wrong targets widen the spread that they are measured by
    alone = estimate_bad_targets(residual, np.arange(2_000), confidence=0.9)
    assert alone.share < 0.5 * found.share
