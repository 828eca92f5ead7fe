"""What is tried: cleanings, their controls, and subsets."""

import numpy as np
import pytest

from treeinf.cleaning.actions import drop_rows
from treeinf.cleaning.trial.candidates import (
    Candidate,
    list_controls,
    list_subsets,
    random_amounts,
    remove_at_random,
)
from treeinf.cleaning.trial.subsets import Ranking
from treeinf.training.rows import LabelledRows


def test_random_removals_are_of_the_same_size_and_keep_the_classes(rng):
    code = np.array([0] * 30 + [1] * 4)
    cleaning = remove_at_random(code, 34, 20, rng)
    assert len(cleaning.changed) == 20
    assert (code[cleaning.kept] == 1).sum() >= 2
    assert len(remove_at_random(code, 34, 0, rng).changed) == 0


def test_random_removals_take_whole_groups(rng):
    group = rng.permutation(np.repeat(np.arange(10), 3)) ** 2
    kept = remove_at_random(None, 30, 12, rng, group).kept
    n_kept = [kept[group == number].sum() for number in np.unique(group)]
    assert sorted(n_kept) == [0] * 4 + [3] * 6
    # the last group in part
    assert len(remove_at_random(None, 30, 13, rng, group).changed) == 13


@pytest.mark.parametrize(
    ("n_shares", "amounts"), [(0, []), (1, [1]), (2, [1, 2]), (10, [5, 10])]
)
def test_random_removals_are_tried_at_two_amounts(n_shares, amounts):
    assert random_amounts(n_shares) == amounts


def test_controls_are_a_random_removal_and_trusted_rows_appended(rng):
    rows = LabelledRows(np.arange(10.0)[:, None], np.arange(10.0))
    trusted = LabelledRows(np.array([[90.0], [91.0]]), np.zeros(2))
    cleaned = Candidate("cleaned", 0.2, drop_rows(10, np.array([4, 7])))
    random, appended, both = list_controls(None, cleaned, trusted, rng)
    assert random.apply(rows).n_rows == 8
    np.testing.assert_array_equal(appended.apply(rows).X[:, 0], [*range(10), 90, 91])
    kept = [0, 1, 2, 3, 5, 6, 8, 9, 90, 91]
    np.testing.assert_array_equal(both.apply(rows).X[:, 0], kept)
    assert [c.name for c in list_controls(None, cleaned, None, rng)] == ["random"]
    nothing = Candidate("cleaned", 0.0, drop_rows(10, np.array([], dtype=np.int64)))
    assert list_controls(None, nothing, None, rng) == []


def test_subsets_are_candidates_of_their_strategy_and_share(rng):
    ranking = Ranking(np.arange(10.0), np.zeros(10, dtype=np.int64), None)
    rows = LabelledRows(np.arange(10.0)[:, None], np.arange(10.0))
    subsets = list_subsets(ranking, [0.2, 0.5], 2, rng, model="trained")
    assert [(s.name, s.share, s.apply(rows).n_rows) for s in subsets] == [
        ("all", 1.0, 10),
        ("influence", 0.2, 2),
        ("influence", 0.5, 5),
        ("diverse", 0.2, 2),
        ("diverse", 0.5, 5),
        *[("random", 0.2, 2)] * 2,
        *[("random", 0.5, 5)] * 2,
    ]
    assert subsets[0].model == "trained"
    assert all(subset.model is None for subset in subsets[1:])
    np.testing.assert_array_equal(subsets[1].apply(rows).X[:, 0], [8.0, 9.0])
