"""Folds forward in time: nothing is learned from a row's own time, or later."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, TimeSeriesSplit

from treeinf.cleaning.trial.forward import (
    check_forward,
    cut_folds,
    follows_positions,
    halve_forward,
    rank_times,
    restrict,
    sort_folds,
)
from treeinf.training.rows import LabelledRows


def make_rows(time, group=None):
    n = len(time)
    return LabelledRows(
        np.zeros((n, 1)),
        np.arange(n) % 2,
        np.arange(n) % 2,
        group=None if group is None else np.asarray(group),
        time=rank_times(np.asarray(time), n),
    )


TIMES = st.lists(st.integers(0, 12), min_size=8, max_size=80).filter(
    lambda values: len(set(values)) > 1
)


@settings(max_examples=100, deadline=None)
@given(TIMES, st.integers(1, 6), st.integers(0, 2**31 - 1))
def test_train_rows_are_earlier_and_of_other_groups(time, n_folds, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 9, len(time))
    rows = make_rows(time, group)
    inside = np.flatnonzero(rng.random(len(time)) < 0.8)
    folds = cut_folds(rows, np.arange(len(time)), n_folds)
    held_out = np.concatenate([later for _, later in folds])
    assert len(np.unique(held_out)) == len(held_out)
    # every row but those of the first block is held out once
    assert len(held_out) + len(folds[0][0]) == len(time)
    for train, later in [*folds, *restrict(rows, folds, inside)]:
        assert rows.time[train].max() < rows.time[later].min()
    for train, later in restrict(rows, folds, inside):
        assert not set(group[train]) & set(group[later])
        assert set(train) | set(later) <= set(inside)


@settings(max_examples=100, deadline=None)
@given(TIMES, st.booleans())
def test_halves_follow_each_other(time, grouped):
    rows = make_rows(time, np.arange(len(time)) // 2 if grouped else None)
    first, second = halve_forward(rows, np.arange(len(time)))
    assert len(second)
    if len(first):
        assert rows.time[first].max() < rows.time[second].min()
    if grouped:
        assert not set(rows.group[first]) & set(rows.group[second])
    else:
        assert len(first) + len(second) == len(time)


def test_folds_are_those_of_time_series_split(rng):
    time = rng.permutation(60)
    rows = make_rows(time)
    expected = sort_folds(TimeSeriesSplit(5), rows, by_time=True)
    for (train, later), (other_train, other) in zip(
        cut_folds(rows, np.arange(60), 5), expected, strict=True
    ):
        assert set(train) == set(other_train)
        assert set(later) == set(other)


def test_rows_of_the_same_time_are_in_one_fold():
    rows = make_rows([0, 0, 1, 1, 1, 1, 2, 2, 3, 3])
    for train, later in cut_folds(rows, np.arange(10), 4):
        assert not set(rows.time[train]) & set(rows.time[later])


def test_splits_that_look_back_are_refused():
    rows = make_rows(np.arange(30))
    folds = sort_folds(KFold(3), rows, by_time=True)
    with pytest.raises(ValueError, match=r"KFold.*trains on later rows"):
        check_forward(rows, folds, KFold(3))


def test_train_rows_of_the_same_time_are_left_out():
    rows = make_rows([0, 1, 1, 1, 2, 2])
    ((train, held_out),) = check_forward(
        rows, [(np.array([0, 1, 2]), np.array([3, 4, 5]))], "list"
    )
    assert train.tolist() == [0]
    assert held_out.tolist() == [3, 4, 5]


def test_splits_may_imply_the_order():
    assert follows_positions(TimeSeriesSplit(3))
    assert follows_positions(list(TimeSeriesSplit(3).split(np.zeros((20, 1)))))
    assert not follows_positions(KFold(3))
    assert not follows_positions(list(KFold(3).split(np.zeros((20, 1)))))
    assert not follows_positions(5)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ([1, 1, 1], "the same in all rows"),
        ([1, 2], "has 2 values, X has 3 rows"),
        ([1.0, np.nan, 2.0], "missing"),
        ([1.0, np.inf, 2.0], "infinite"),
        (["a", "b", "c"], "no date"),
    ],
)
def test_times_are_checked(time, message):
    with pytest.raises(ValueError, match=message):
        rank_times(time, 3)
