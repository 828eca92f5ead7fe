"""Labels made wrong on purpose."""

import numpy as np
import pytest

from treeinf.datasets import flip_labels


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
