"""Which rows copies are trained on: each row is scored without itself."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

from treeinf.cleaning.scores.cross_fitting import _list_sets, plan_copies
from treeinf.cleaning.trial.splits import RowSet, plan_splits
from treeinf.training.rows import LabelledRows


def rows_of(n_rows, group=None, twin=None):
    code = np.arange(n_rows) % 2
    return LabelledRows(np.zeros((n_rows, 1)), code, code, None, group, twin)


def plan(validation, rows, n_looks=None):
    rng = np.random.default_rng(0)
    splits, scored = plan_splits(validation, rows, None, rng)
    return splits, scored, plan_copies(rows, splits, scored, rng, n_looks=n_looks)


@pytest.mark.parametrize(
    "validation",
    [3, 4, 5, 7, 10, 0.25, KFold(6), ShuffleSplit(3, random_state=0)],
    ids=str,
)
@pytest.mark.parametrize("is_grouped", [False, True])
def test_every_train_row_of_a_split_is_predicted_without_its_group(
    validation, is_grouped
):
    rows = rows_of(120, np.arange(120) // 3 if is_grouped else None)
    splits, _, copies = plan(validation, rows)
    group = np.arange(120) if rows.group is None else rows.group
    for split in splits:
        train = split.train.positions
        serving = [c for c in copies if np.isin(c.train, train).all()]
        predicted = np.unique(np.concatenate([c.scored for c in serving]))
        assert np.isin(train, predicted).all()
    for copy in copies:
        assert not np.isin(group[copy.scored], group[copy.train]).any()


def test_five_folds_share_ten_copies_of_two_folds():
    splits, _, copies = plan(5, rows_of(100))
    assert len(copies) == 10
    assert {len(copy.train) for copy in copies} == {40}
    for split in splits:
        train = split.train.positions
        assert sum(bool(np.isin(c.train, train).all()) for c in copies) == 6


def test_copies_that_no_look_needs_are_left_out():
    splits, _, copies = plan(5, rows_of(6_000), n_looks=1)
    assert len(copies) == 3
    for copy in copies:
        assert np.isin(copy.train, splits[0].train.positions).all()
        # the rows held out are scored, too
        assert np.isin(
            np.concatenate([s.positions for s in splits[0].sets]), copy.scored
        ).all()


@pytest.mark.parametrize("n_folds", range(3, 13))
def test_for_any_two_folds_some_copy_has_seen_neither(n_folds):
    for n_rows in (100, 10_000):
        sets = _list_sets(n_folds, n_rows)
        for first in range(n_folds):
            for second in range(first):
                assert any(first not in s and second not in s for s in sets)


def test_of_equal_rows_one_is_trained_on():
    twin = np.arange(60) // 2
    _, scored, copies = plan(5, rows_of(60, group=twin, twin=twin))
    for copy in copies:
        assert len(np.unique(twin[copy.train])) == len(copy.train)
        assert len(copy.scored) + 2 * len(copy.train) == 60
    assert len(scored.positions) == 60


def test_without_a_trial_all_rows_are_scored():
    rows = rows_of(50)
    copies = plan_copies(
        rows, [], RowSet(rows, np.arange(50)), np.random.default_rng(0)
    )
    assert len(np.unique(np.concatenate([c.scored for c in copies]))) == 50


def test_repeats_are_trained_on_whole_groups_of_the_same_rows():
    rows = rows_of(120, np.arange(120) // 3)
    splits, scored, _ = plan(5, rows)
    rng = np.random.default_rng(0)
    repeated = plan_copies(rows, splits, scored, rng, n_repeats=3)
    assert len(repeated) == 30
    for number, copy in enumerate(repeated[10:]):
        first = repeated[number % 10]
        assert np.isin(copy.train, first.train).all()
        assert len(copy.train) == pytest.approx(0.8 * len(first.train), abs=4)
        np.testing.assert_array_equal(copy.scored, first.scored)
        left = np.setdiff1d(first.train, copy.train)
        assert not np.isin(rows.group[left], rows.group[copy.train]).any()
