"""Groups of rows that stay together."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.tree import ExtraTreeRegressor

from treeinf.training.early_stopping import _draw_held_out
from treeinf.training.out_of_bag import predict_out_of_bag
from treeinf.training.row_groups import (
    concatenate_groups,
    deal_groups,
    draw_one_of_each,
    merge_groups,
    number_groups,
    read_groups,
)
from treeinf.training.rows import LabelledRows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.8, 0.1, 0.1), (1.0,) * 5])
def test_groups_are_dealt_whole_and_about_by_shares(shares, seed):
    rng = np.random.default_rng(seed)
    group = rng.integers(60, size=600) ** 2
    code = rng.integers(3, size=600)
    fold = deal_groups(group, code, shares, rng)
    for number in np.unique(group):
        assert len(np.unique(fold[group == number])) == 1
    share = np.bincount(fold, minlength=len(shares)) / 600
    np.testing.assert_allclose(share, np.array(shares) / sum(shares), atol=0.08)


def test_single_rows_are_dealt_evenly_in_every_class(rng):
    code = rng.integers(3, size=101)
    fold = deal_groups(np.arange(101), code, (1.0, 1.0), rng)
    for label in range(3):
        assert np.ptp(np.bincount(fold[code == label], minlength=2)) <= 1


def test_deals_differ_from_draw_to_draw(rng):
    group = np.arange(40) // 2
    first, second = (deal_groups(group, None, (1.0, 1.0), rng) for _ in range(2))
    assert 0.1 < (first != second).mean() < 0.9


def test_groups_with_a_row_in_common_are_merged():
    merged = merge_groups(np.array([0, 0, 1, 2, 3]), np.array([0, 1, 1, 2, 3]))
    np.testing.assert_array_equal(merged, [0, 0, 0, 1, 2])


def test_appended_rows_are_in_no_group_of_the_others():
    assert concatenate_groups(None, None, 2, 3) is None
    joined = concatenate_groups(np.array([0, 0]), None, 2, 2)
    np.testing.assert_array_equal(number_groups(joined), [0, 0, 1, 2])


def test_rows_held_out_for_early_stopping_share_no_group(rng):
    group = np.repeat(np.arange(30), 4)
    rows = LabelledRows(np.zeros((120, 1)), np.zeros(120), group=group)
    is_out = _draw_held_out(rows, 0)
    assert not np.isin(group[is_out], group[~is_out]).any()
    assert is_out.sum() == 24


def test_trees_predict_groups_that_they_have_not_seen(rng):
    # a tree on the number of the group knows its target by heart if it saw it
    group = np.repeat(np.arange(20), 3)
    target = rng.normal(size=20)[group]
    tree = ExtraTreeRegressor(max_features=1.0)
    X = group[:, None].astype(float)
    known = {"n_trees": 20, "seed": 0}
    alone = predict_out_of_bag(tree, X, target, None, **known)
    apart = predict_out_of_bag(tree, X, target, None, group=group, **known)
    assert np.abs(alone[:, 0] - target).mean() < 0.2
    assert np.abs(apart[:, 0] - target).mean() > 0.3


def test_one_row_of_each_set_of_equal_rows_is_drawn():
    twin = np.array([0, 1, 0, 2, 1, 0])
    drawn = [draw_one_of_each(twin, np.random.RandomState(seed)) for seed in range(50)]
    for is_drawn in drawn:
        np.testing.assert_array_equal(np.sort(twin[is_drawn]), [0, 1, 2])
    assert np.mean(drawn, axis=0).min() > 0.1


def test_a_forest_of_single_groups_is_a_forest_of_rows(rng):
    X, target = rng.normal(size=(60, 3)), rng.normal(size=60)
    forest = ExtraTreesRegressor(
        30, bootstrap=True, oob_score=True, random_state=1, max_features=1.0
    ).fit(X, target)
    tree = ExtraTreeRegressor(max_features=1.0)
    actual = predict_out_of_bag(
        tree, X, target, None, n_trees=30, seed=1, group=np.arange(60)
    )
    np.testing.assert_allclose(actual[:, 0], forest.oob_prediction_, rtol=1e-5)


@pytest.mark.parametrize(
    "labels", [[7, 3, 7, 9], ["b", "a", "b", "c"], [1.5, 0, 1.5, 2]]
)
def test_groups_are_numbered_by_their_first_rows(labels):
    number, names = read_groups(labels, 4)
    np.testing.assert_array_equal(number, [0, 1, 0, 2])
    assert names == list(dict.fromkeys(labels))


def test_sums_over_copies_are_averaged_over_twins_of_the_same_label():
    rows = LabelledRows(
        np.zeros((7, 1)),
        np.array(list("aabbaab")),
        np.array([0, 0, 1, 1, 0, 0, 1]),
        twin=np.array([4, 4, 4, 4, 6, 8, 8]),
    )
    total = np.array([6.0, 0.0, 5.0, 1.0, 9.0, 8.0, 0.0])
    count = np.array([2.0, 1.0, 1.0, 0.0, 3.0, 4.0, 0.0])
    # the last row's twin has another label, but is all there is
    desired = [2.0, 2.0, 6.0, 6.0, 3.0, 2.0, 2.0]
    np.testing.assert_allclose(rows.average_twins(total, count), desired)
    alone = LabelledRows(rows.X, rows.y)
    desired = [3.0, 0.0, 5.0, 1.0, 3.0, 2.0, 0.0]
    np.testing.assert_allclose(alone.average_twins(total, count), desired)
