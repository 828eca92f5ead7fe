"""Which rows are scored, which choose and which evaluate."""

import dataclasses

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
)

from treeinf.cleaning.trial.splits import assign_folds, plan_splits
from treeinf.training.rows import LabelledRows


def rows(n_rows=103, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    code = rng.choice(n_classes, n_rows, p=[0.7, 0.25, 0.05])
    return LabelledRows(np.arange(n_rows)[:, None], code, code)


def positions(split):
    return [rows.positions for rows in (split.train, *split.sets)]


@pytest.mark.parametrize(
    "validation",
    [5, 3, 0.2, 0.5, KFold(4), ShuffleSplit(4, test_size=0.3, random_state=0)],
)
def test_no_row_has_two_roles_in_a_split(validation, rng):
    splits, _ = plan_splits(validation, rows(), None, rng)
    for split in splits:
        together = np.concatenate(positions(split))
        assert len(np.unique(together)) == len(together)


def test_with_folds_every_row_is_held_out_once(rng):
    splits, scored = plan_splits(5, rows(), None, rng)
    together = np.concatenate([np.concatenate(positions(s)[1:]) for s in splits])
    np.testing.assert_array_equal(np.sort(together), np.arange(103))
    for split in splits:
        first, second = positions(split)[1:]
        assert abs(len(first) - len(second)) <= 3
    np.testing.assert_array_equal(scored.positions, np.arange(103))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8])
def test_a_share_is_held_out_class_by_class(share, rng):
    table = rows(2_000)
    (split,), scored = plan_splits(share, table, None, rng)
    train, *sets = positions(split)
    np.testing.assert_array_equal(train, scored.positions)
    for held_out in sets:
        for label in range(3):
            expected = (table.code == label).sum() * share / 2
            assert abs((table.code[held_out] == label).sum() - expected) <= 2


@pytest.mark.parametrize("n_folds", [2, 5])
def test_folds_are_even_in_every_class(n_folds, rng):
    table = rows()
    fold = assign_folds(table, n_folds, rng)
    for label in range(3):
        counts = np.bincount(fold[table.code == label], minlength=n_folds)
        assert np.ptp(counts) <= 1


def test_trusted_rows_are_split_in_two(rng):
    trusted = rows(41, seed=1)
    (split,), scored = plan_splits((None, None), rows(), trusted, rng)
    assert split.train.rows.n_rows == scored.rows.n_rows == 103
    assert sorted(half.rows.n_rows for half in split.sets) == [20, 21]
    assert split.roles == [(0, 1), (1, 0)]


def test_rows_that_scores_look_at_do_not_evaluate(rng):
    trusted = rows(41, seed=1)
    splits, _ = plan_splits((None, None), rows(), trusted, rng, scores_use_trusted=True)
    assert [split.roles for split in splits] == [[(0, 1)], [(0, 1)]]
    assert splits[0].sets == splits[1].sets[::-1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "validation",
    [5, 3, 0.2, 0.5, KFold(4), GroupKFold(4), StratifiedGroupKFold(3)],
)
def test_no_group_is_on_two_sides_of_a_split(validation, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(int(rng.integers(12, 80)), size=200)
    table = dataclasses.replace(rows(200, seed=seed), group=group)
    splits, _ = plan_splits(validation, table, None, rng)
    for split in splits:
        together = [np.unique(part.rows.group) for part in (split.train, *split.sets)]
        assert len(np.unique(np.concatenate(together))) == sum(map(len, together))


def test_a_list_of_splits_is_taken(rng):
    splits = list(KFold(4).split(np.zeros((103, 1))))
    planned, _ = plan_splits(splits, rows(), None, rng)
    held_out = np.sort(np.concatenate(positions(planned[1])[1:]))
    np.testing.assert_array_equal(held_out, splits[1][1])
    np.testing.assert_array_equal(positions(planned[1])[0], splits[1][0])
