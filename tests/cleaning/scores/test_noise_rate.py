"""The estimated noise rate and its interval."""

import numpy as np
import pytest
from scipy.optimize import check_grad

from tests.naive.noise_rate import label_log_likelihood, target_log_likelihood
from treeinf.cleaning.scores.noise_rate import (
    OutOfBag,
    _Labels,
    _negative_log_likelihood,
    _profile_interval,
    _Targets,
    estimate_label_noise,
    estimate_target_noise,
)

SETTINGS = {"confidence": 0.9, "seed": 0}


def draw_labels(rng, n_rows, share, n_classes=2):
    """Give labels of which a share is any other, and the chances of the right ones."""
    chance = rng.dirichlet(np.full(n_classes, 0.3), n_rows)
    order = chance.cumsum(axis=1) / chance.sum(axis=1, keepdims=True)
    code = (rng.random((n_rows, 1)) > order).sum(axis=1)
    is_bad = rng.random(n_rows) < share
    other = (code + rng.integers(1, n_classes, n_rows)) % n_classes
    return np.where(is_bad, other, code), chance


def draw_targets(rng, n_rows, share, noise=0.3):
    """Give targets of which a share is that of another row, and predictions."""
    prediction = rng.normal(size=n_rows)
    target = prediction + noise * rng.normal(size=n_rows)
    is_bad = rng.random(n_rows) < share
    target[is_bad] = target[rng.integers(0, n_rows, is_bad.sum())]
    return target, prediction


def test_the_likelihood_of_labels_is_that_of_plain_loops(rng):
    code, chance = draw_labels(rng, 60, 0.2, n_classes=3)
    source = _Labels.read(OutOfBag(code, chance), 60)
    bend = np.array([0.3, 0.6, -0.4, 0.7])
    value, _ = _negative_log_likelihood(bend, source, np.full(60, 0.25))
    naive = label_log_likelihood(code, chance, 0.25, np.exp(0.3), 0.6, [0.0, -0.4, 0.7])
    hold = 0.5 * source.precision @ bend**2
    np.testing.assert_allclose(value - hold, -naive, rtol=1e-9)


def test_the_likelihood_of_targets_is_that_of_plain_loops(rng):
    target, prediction = draw_targets(rng, 80, 0.2)
    source = _Targets.read(OutOfBag(target, prediction), 80)
    assert len(source.value) == 24
    bend = np.array([0.2, -0.3, 0.4, 0.1, np.log(7.0)])
    value, _ = _negative_log_likelihood(bend, source, np.full(80, 0.25))
    naive = target_log_likelihood(
        source.value_index, source.value, np.exp(source.log_share), prediction, 0.25,
        source.unit, 0.4, np.exp(0.1), 0.2, -0.3, 7.0,
    )  # fmt: skip
    hold = 0.5 * source.precision @ bend**2
    np.testing.assert_allclose(value - hold, -naive, rtol=1e-9)


@pytest.mark.parametrize("kind", ["labels", "targets"])
@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_slopes_match_finite_differences(rng, kind, chance):
    if kind == "labels":
        source = _Labels.read(OutOfBag(*draw_labels(rng, 50, 0.2, n_classes=3)), 50)
        bend = np.array([0.3, 0.6, -0.4, 0.7])
    else:
        source = _Targets.read(OutOfBag(*draw_targets(rng, 50, 0.2)), 50)
        bend = np.array([0.2, -0.3, 0.4, 0.1, np.log(7.0)])
    chances = np.where(np.arange(50) < 40, chance, 0.0)
    gap = check_grad(
        lambda b: _negative_log_likelihood(b, source, chances)[0],
        lambda b: _negative_log_likelihood(b, source, chances)[1],
        bend,
    )
    slope = _negative_log_likelihood(bend, source, chances)[1]
    # forward differences know half of the digits
    assert gap < 1e-5 * np.abs(slope).max()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_share_of_wrong_labels_is_found(rng, share, n_classes):
    seen = OutOfBag(*draw_labels(rng, 1_000, share, n_classes))
    found = estimate_label_noise(seen, **SETTINGS)
    assert found.rate == pytest.approx(share, abs=0.04)
    assert found.low <= found.rate <= found.high
    assert found.low - 0.01 <= share <= found.high + 0.01


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_share_of_wrong_targets_is_found(rng, share):
    found = estimate_target_noise(
        OutOfBag(*draw_targets(rng, 1_000, share)), **SETTINGS
    )
    assert found.rate == pytest.approx(share, abs=0.04)
    assert found.low <= found.rate <= found.high


@pytest.mark.parametrize(
    ("estimate", "draw"),
    [(estimate_label_noise, draw_labels), (estimate_target_noise, draw_targets)],
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(estimate, draw):
    covered, width = 0, []
    for seed in range(20):
        one = draw(np.random.default_rng(seed), 200, 0.2)
        found = estimate(OutOfBag(*one), **SETTINGS)
        covered += found.low <= 0.2 <= found.high
        width.append(found.high - found.low)
    # 18 of 20 are expected, with a standard deviation of 1.3
    assert covered >= 15
    assert np.mean(width) < 0.35


@pytest.mark.parametrize("bend", [0.3, 1.5])
def test_models_more_or_less_sure_than_they_should_be_change_little(rng, bend):
    code, chance = draw_labels(rng, 1_000, 0.2)
    bent = chance**bend
    bent /= bent.sum(axis=1, keepdims=True)
    found = estimate_label_noise(OutOfBag(code, bent), **SETTINGS)
    assert found.rate == pytest.approx(0.2, abs=0.07)


def test_predictions_drawn_to_the_mean_change_nothing(rng):
    target, prediction = draw_targets(rng, 1_000, 0.2)
    found = estimate_target_noise(OutOfBag(target, 5.0 + 0.5 * prediction), **SETTINGS)
    assert found.rate == pytest.approx(0.2, abs=0.03)


def test_a_model_that_knows_nothing_says_so(rng):
    code = np.arange(400) % 2
    even = np.full((400, 2), 0.5)
    found = estimate_label_noise(OutOfBag(code, even), **SETTINGS)
    assert found.low == 0.0
    assert found.high > 0.45
    found = estimate_target_noise(
        OutOfBag(rng.normal(size=400), np.zeros(400)), **SETTINGS
    )
    assert found.low == 0.0
    assert found.high > 0.9


def test_hard_labels_are_not_taken_for_wrong_ones(rng):
    """Right labels, of which no model could know more than 7 of 10."""
    chance = rng.uniform(0.3, 0.7, 1_000)
    code = (rng.random(1_000) < chance).astype(np.int64)
    found = estimate_label_noise(
        OutOfBag(code, np.stack([1.0 - chance, chance], axis=1)), **SETTINGS
    )
    assert found.low == 0.0


def test_where_targets_are_hardly_explained_the_lower_end_is_0(rng):
    target, prediction = draw_targets(rng, 1_000, 0.3, noise=1.0)
    rows = OutOfBag(target, 0.5 * prediction)
    found = estimate_target_noise(rows, **SETTINGS)
    assert found.low == 0.0
    assert found.high > 0.25
    # clean rows tell how much is explained where nothing is wrong
    clean = draw_targets(rng, 1_000, 0.0, noise=1.0)
    told = estimate_target_noise(
        rows, **SETTINGS, clean=OutOfBag(clean[0], 0.5 * clean[1])
    )
    assert 0.1 < told.low < told.high < 0.35
    assert told.rate == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_clean_rows_settle_what_is_hard(rng, share):
    chance = rng.uniform(0.1, 0.9, 3_000)
    code = (rng.random(3_000) < chance).astype(np.int64)
    is_bad = rng.random(3_000) < share
    is_bad[2_000:] = False
    seen = np.stack([1.0 - chance, chance], axis=1)
    noisy = OutOfBag(np.where(is_bad, 1 - code, code)[:2_000], seen[:2_000])
    clean = OutOfBag(code[2_000:], seen[2_000:])
    told = estimate_label_noise(noisy, **SETTINGS, clean=clean)
    alone = estimate_label_noise(noisy, **SETTINGS)
    assert told.rate == pytest.approx(share, abs=0.05)
    assert told.low - 0.01 <= share <= told.high + 0.01
    assert told.high - told.low < alone.high - alone.low


def test_no_wrong_label_seen_is_no_proof_that_there_is_none():
    """0 of n rows: the exact upper end at 90 % is 1 - 0.05 ** (1 / n), about 3 / n."""
    code = np.arange(200) % 2
    sure = np.where(np.arange(2) == code[:, np.newaxis], 0.999, 0.001)
    for found in (
        estimate_label_noise(OutOfBag(code, sure), **SETTINGS),
        estimate_target_noise(OutOfBag(np.arange(200.0), np.arange(200.0)), **SETTINGS),
    ):
        assert found.rate == pytest.approx(0.0, abs=0.003)
        assert found.low == 0.0
        assert 1.0 - 0.05 ** (1.0 / 200) - 1e-9 <= found.high < 0.03


def test_few_distinct_targets(rng):
    """Whole numbers: a target replaced by an equal one is not wrong."""
    prediction = rng.normal(size=2_000)
    truth = np.round(2.0 * prediction + 0.3 * rng.normal(size=2_000))
    noisy = truth.copy()
    noisy[:400] = truth[rng.integers(0, 2_000, 400)]
    found = estimate_target_noise(OutOfBag(noisy, prediction), **SETTINGS)
    assert (noisy != truth).mean() == pytest.approx(found.rate, abs=0.03)


def test_rows_without_a_prediction_are_left_out(rng):
    code, chance = draw_labels(rng, 300, 0.2, 3)
    more = np.concatenate([chance, np.full((50, 3), np.nan)])
    found = estimate_label_noise(
        OutOfBag(np.append(code, np.zeros(50, int)), more), **SETTINGS
    )
    assert found == estimate_label_noise(OutOfBag(code, chance), **SETTINGS)
    nothing = OutOfBag(np.zeros(3), np.full(3, np.nan))
    assert estimate_target_noise(nothing, **SETTINGS) is None


def test_many_rows_are_drawn_from_by_the_seed(rng):
    seen = OutOfBag(*draw_labels(rng, 5_000, 0.25))
    found = [
        estimate_label_noise(seen, confidence=0.9, seed=seed) for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]
    assert all(one.low < 0.25 < one.high for one in found)


def test_more_confidence_is_a_wider_interval(rng):
    seen = OutOfBag(*draw_labels(rng, 400, 0.2))
    widths = [
        (one := estimate_label_noise(seen, confidence=c, seed=0)).high - one.low
        for c in (0.5, 0.9, 0.99)
    ]
    assert widths == sorted(widths)


def test_the_top_of_a_parabola_and_its_ends_are_found():
    chances = np.linspace(0.0, 1.0, 101)
    top, low, high = _profile_interval(chances, -50.0 * (chances - 0.303) ** 2, 0.9)
    assert top == pytest.approx(0.303, abs=1e-9)
    # 50 d^2 = 2.706 / 2, from the best point of the grid; lines lie above a parabola
    assert [low, high] == pytest.approx([0.303 - 0.1645, 0.303 + 0.1645], abs=2e-3)
