"""Labels made wrong on purpose."""

import numpy as np
import pytest

from treeinf.datasets import flip_labels
from treeinf.datasets.label_noise import shift_targets


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [3, 5, 9], [False, True]])
def test_flips_exactly_the_share_and_says_which(labels, rng):
    y = np.array(labels)[rng.integers(0, len(labels), 200)]
    noisy, is_flipped = flip_labels(y, 0.2, seed=3)
    assert is_flipped.sum() == 40
    np.testing.assert_array_equal(noisy != y, is_flipped)
    assert noisy.dtype == y.dtype
    assert set(noisy.tolist()) <= set(labels)


def test_leaves_the_given_labels_alone_and_follows_the_seed(rng):
    y = rng.integers(0, 3, 100)
    before = y.copy()
    first, again, other = (flip_labels(y, 0.3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(y, before)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[1] != other[1]).any()


def test_a_random_choice_under_the_same_seed_picks_other_rows():
    _, is_flipped = flip_labels([0, 1] * 500, 0.2, seed=5)
    chosen = np.random.default_rng(5).choice(1000, size=200, replace=False)
    assert is_flipped[chosen].mean() < 0.3


def test_wrong_labels_are_spread_over_all_other_classes():
    noisy, _ = flip_labels(np.repeat(np.arange(4), 500), 1.0, seed=0)
    counts = np.bincount(noisy[:500], minlength=4)
    assert counts[0] == 0
    assert (counts[1:] > 120).all()


@pytest.mark.parametrize(("share", "n_flipped"), [(0.0, 0), (1.0, 10), (0.25, 2)])
def test_shares_at_the_ends(share, n_flipped):
    _, is_flipped = flip_labels([0, 1] * 5, share, seed=0)
    assert is_flipped.sum() == n_flipped


@pytest.mark.parametrize(
    ("y", "share", "message"),
    [
        ([0, 1], 1.5, "share=1.5"),
        ([0, 0, 0], 0.2, "at least 2"),
        ([[0, 1]], 0.2, r"shape \(1, 2\)"),
        ([0.0, np.nan, 1.0], 0.2, "missing"),
    ],
)
def test_refuses(y, share, message):
    with pytest.raises(ValueError, match=message):
        flip_labels(y, share)


def test_pairs_flip_to_the_next_class_and_some_classes_more_than_others(rng):
    y = np.array(["a", "b", "c", "d"])[rng.integers(0, 4, 4000)]
    noisy, is_flipped = flip_labels(y, 0.2, kind="pairs", seed=1)
    assert is_flipped.sum() == 800
    following = dict(zip("abcd", "bcda", strict=True))
    assert [following[label] for label in y[is_flipped]] == noisy[is_flipped].tolist()
    share = {label: is_flipped[y == label].mean() for label in "abcd"}
    assert min(share["a"], share["c"]) > 2 * max(share["b"], share["d"])
    np.testing.assert_array_equal(noisy[~is_flipped], y[~is_flipped])


def test_pairs_leave_most_of_every_class_alone():
    y = np.array([0] * 100 + [1] * 300)
    _, is_flipped = flip_labels(y, 0.44, kind="pairs")
    assert is_flipped.sum() == 176
    assert is_flipped[:100].sum() <= 45
    assert is_flipped[100:].sum() <= 135


def test_boundary_flips_doubtful_rows_to_their_best_other_class(rng):
    y = rng.integers(0, 3, 2000)
    probability = np.full((2000, 3), 0.005)
    probability[np.arange(2000), y] = 0.985
    doubtful = np.arange(2000) < 1000
    probability[np.arange(1000), y[:1000]] = 0.5
    probability[np.arange(1000), (y[:1000] + 2) % 3] = 0.4
    noisy, is_flipped = flip_labels(y, 0.1, kind="boundary", probability=probability)
    assert is_flipped.sum() == 200
    assert is_flipped[doubtful].sum() > 180
    flipped = is_flipped & doubtful
    np.testing.assert_array_equal(noisy[flipped], (y[flipped] + 2) % 3)


def test_outliers_lie_apart_and_shuffled_targets_are_those_of_others(rng):
    y = rng.normal(5.0, 2.0, 500)
    before = y.copy()
    noisy, is_shifted = shift_targets(y, 0.2, seed=4)
    np.testing.assert_array_equal(y, before)
    assert is_shifted.sum() == 100
    np.testing.assert_array_equal(noisy != y, is_shifted)
    moved = np.abs(noisy - y)[is_shifted] / y.std()
    assert moved.min() >= 2.0
    assert moved.max() <= 4.0
    assert 20 < (noisy > y).sum() < 80
    shuffled, is_shifted = shift_targets(y, 0.2, kind="shuffle", seed=4)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(y))
    np.testing.assert_array_equal(shuffled != y, is_shifted)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "chaos"}, "kind='chaos'"),
        ({"kind": "boundary"}, "needs probability"),
        ({"kind": "boundary", "probability": [[0.5, 0.5]]}, r"shape \(1, 2\)"),
        ({"kind": "boundary", "probability": [[-1.0, 2.0]] * 4}, "negative"),
        ({"kind": "pairs", "share": 0.9}, "at most 45%"),
    ],
)
def test_refuses_kinds_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        flip_labels([0, 1, 0, 1], **{"share": 0.5, **arguments})


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        ([1.0, 2.0], {"kind": "pairs"}, "kind='pairs'"),
        ([1.0, np.nan], {}, "missing or infinite"),
        ([[1.0]], {}, r"shape \(1, 1\)"),
        ([1.0], {"share": -0.1}, "share=-0.1"),
    ],
)
def test_shift_refuses(y, arguments, message):
    with pytest.raises(ValueError, match=message):
        shift_targets(y, **arguments)
