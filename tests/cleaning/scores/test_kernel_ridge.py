"""Kernel ridge regressions of rows on sets of folds, through common landmarks."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tests.naive.kernel_ridge import place_rows, predict, predict_best
from treeinf.cleaning.scores import kernel_ridge
from treeinf.cleaning.scores.cross_fitting import CopyRows
from treeinf.cleaning.scores.encoded_table import EncodedTable
from treeinf.cleaning.scores.kernel_ridge import predict_by_kernel
from treeinf.training.rows import LabelledRows


def small_rows(rng, n_rows=30, *, weighted=False):
    X = rng.normal(size=(n_rows, 4)).astype(np.float32).astype(np.float64)
    X[:, 1] = X[:, 1].round()
    X[:, 2] = X[:, 2] > 0
    code = (X[:, 0] + 0.5 * rng.normal(size=n_rows) > 0).astype(np.int64)
    weight = rng.uniform(0.2, 2.0, n_rows) if weighted else None
    return LabelledRows(X, code, code, weight)


def plan_folds(n_rows, sets=((0, 1), (1, 2), (0, 2)), n_folds=3):
    folds = np.array_split(np.arange(n_rows), n_folds)
    plan = []
    for members in sets:
        train = np.concatenate([folds[k] for k in members])
        plan.append(CopyRows(train, np.setdiff1d(np.arange(n_rows), train)))
    return folds, plan


def predict_rows(rows, target, plan, seed=0, n_jobs=1):
    table = EncodedTable.read(rows.X)
    return predict_by_kernel(rows, table, target, plan, seed, n_jobs)


def test_naive_model_on_two_rows_worked_by_hand():
    place = place_rows(np.array([[1.0], [3.0], [3.0]]))
    target, weight = np.array([[0.0], [1.0], [5.0]]), np.ones(3)
    found = predict(place, target, weight, [0, 1], [2], place[1, 0] - place[0, 0], 1, 1)
    # mean 1/2; coefficients solve [[2, e], [e, 2]] c = [-1/2, 1/2], e = exp(-1)
    reach = np.exp(-1.0)
    coefficient = 0.5 / (2.0 - reach)
    np.testing.assert_allclose(found, [[0.5 + coefficient * (1.0 - reach)]])


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_plain_regressions_on_the_train_rows(weighted, rng):
    rows = small_rows(rng, weighted=weighted)
    target = np.eye(2)[rows.code]
    weight = np.ones(30) if rows.weight is None else rows.weight
    sets = ((0, 1), (1, 2), (0,))
    folds, plan = plan_folds(30, sets)
    for members, copy, found in zip(
        sets, plan, predict_rows(rows, target, plan), strict=True
    ):
        desired = predict_best(
            rows.X,
            target,
            weight,
            folds,
            members,
            copy.scored,
            kernel_ridge._SCALES,
            kernel_ridge._PENALTIES,
        )
        np.testing.assert_allclose(found, desired, rtol=1e-3, atol=2e-4)


def test_few_landmarks_are_close_to_all(rng, monkeypatch):
    rows = small_rows(rng, 600)
    target = np.eye(2)[rows.code]
    _, plan = plan_folds(600)
    few = predict_rows(rows, target, plan)
    monkeypatch.setattr(kernel_ridge, "_EXACT_BELOW", 1000)
    exact = predict_rows(rows, target, plan)
    for one, other in zip(few, exact, strict=True):
        assert 0.0 < np.abs(one - other).mean() < 0.04


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_chunks_and_threads_change_nothing(n_jobs, rng, monkeypatch):
    rows = small_rows(rng, 90, weighted=True)
    target = np.eye(2)[rows.code]
    _, plan = plan_folds(90)
    desired = predict_rows(rows, target, plan)
    monkeypatch.setattr(kernel_ridge, "_CHUNK_ROWS", 7)
    first, *others = (predict_rows(rows, target, plan, 0, k) for k in (n_jobs, 1))
    for one, other, whole in zip(first, others[0], desired, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, whole, rtol=1e-5, atol=1e-6)


def test_does_not_follow_the_threads_of_blas(rng):
    rows = small_rows(rng, 300)
    target = np.eye(2)[rows.code]
    _, plan = plan_folds(300)
    with threadpool_limits(1):
        desired = predict_rows(rows, target, plan)
    with threadpool_limits(4):
        before = [(one["filepath"], one["num_threads"]) for one in threadpool_info()]
        actual = predict_rows(rows, target, plan)
        after = [(one["filepath"], one["num_threads"]) for one in threadpool_info()]
    for one, other in zip(actual, desired, strict=True):
        np.testing.assert_array_equal(one, other)
    assert after == before


def test_labels_that_a_copy_has_not_seen_do_not_move_its_predictions(rng):
    rows = small_rows(rng, 60)
    target = np.eye(2)[rows.code]
    changed = target.copy()
    changed[50:] = 1.0 - changed[50:]
    _, plan = plan_folds(60)
    before, after = (predict_rows(rows, t, plan) for t in (target, changed))
    np.testing.assert_array_equal(before[0], after[0])
    assert (before[1] != after[1]).any()


def test_equal_rows_are_no_obstacle(rng):
    rows = small_rows(rng, 40)
    repeated = rows.take(np.tile(np.arange(40), 12))
    _, plan = plan_folds(480)
    for found in predict_rows(repeated, np.eye(2)[repeated.code], plan):
        assert np.isfinite(found).all()
        assert np.abs(found).max() < 3.0


def test_missing_values_categories_and_constants_have_places(rng):
    X = np.column_stack([rng.normal(size=40), np.ones(40), rng.integers(3, size=40)])
    X[::5, 0] = np.nan
    rows = LabelledRows(X.astype(object), rng.normal(size=40))
    rows.X[:, 2] = np.array(["a", "b", None], dtype=object)[X[:, 2].astype(int)]
    _, plan = plan_folds(40)
    for found in predict_rows(rows, rows.y[:, None], plan):
        assert np.isfinite(found).all()
