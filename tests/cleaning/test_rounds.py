"""Which rows score, choose and judge."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

from treeinf.cleaning.trial.splits import deal_folds, plan_rounds
from treeinf.training.rows import LabelledRows


def rows(n_rows=103, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    code = rng.choice(n_classes, n_rows, p=[0.7, 0.25, 0.05])
    return LabelledRows(np.arange(n_rows)[:, None], code, code)


def parts(one):
    return one.train, one.first.place, one.second.place


@pytest.mark.parametrize(
    "validation",
    [5, 3, 0.2, 0.5, KFold(4), ShuffleSplit(4, test_size=0.3, random_state=0)],
)
def test_no_row_has_two_parts_in_a_round(validation, rng):
    rounds, _ = plan_rounds(validation, rows(), None, rng)
    for one in rounds:
        together = np.concatenate(parts(one))
        assert len(np.unique(together)) == len(together)


def test_with_folds_every_row_stands_once_on_either_side(rng):
    rounds, scored = plan_rounds(5, rows(), None, rng)
    for place in (1, 2):
        together = np.concatenate([parts(one)[place] for one in rounds])
        np.testing.assert_array_equal(np.sort(together), np.arange(103))
    np.testing.assert_array_equal(scored, np.arange(103))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8])
def test_a_share_is_held_out_class_by_class(share, rng):
    table = rows(2_000)
    (one,), scored = plan_rounds(share, table, None, rng)
    train, first, second = parts(one)
    np.testing.assert_array_equal(train, scored)
    for part in (first, second):
        for label in range(3):
            n_class = (table.code == label).sum()
            wanted = n_class * share / 2
            assert abs((table.code[part] == label).sum() - wanted) <= 2


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_are_even_in_every_class(n_folds, rng):
    table = rows()
    fold = deal_folds(table, n_folds, rng)
    for label in range(3):
        counts = np.bincount(fold[table.code == label], minlength=n_folds)
        assert np.ptp(counts) <= 1


def test_given_rows_are_split_in_two(rng):
    given = rows(41, seed=1)
    (one,), scored = plan_rounds((None, None), rows(), given, rng)
    assert len(one.train) == len(scored) == 103
    assert sorted([one.first.rows.n_rows, one.second.rows.n_rows]) == [20, 21]


def test_rows_that_scores_look_at_do_not_judge(rng):
    given = rows(41, seed=1)
    rounds, _ = plan_rounds((None, None), rows(), given, rng, scores_look=True)
    assert [one.one_way for one in rounds] == [True, True]
    assert rounds[0].first is rounds[1].second
    assert rounds[0].second is rounds[1].first
