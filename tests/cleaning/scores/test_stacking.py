"""Predictions of rows that no model has seen, of several kinds of model."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import average_precision_score
from sklearn.utils.fixes import parse_version
from threadpoolctl import threadpool_info, threadpool_limits

from tests.naive.kernel_ridge import leave_one_out, leave_one_out_best, place_rows
from treeinf.cleaning.scores import stacking
from treeinf.cleaning.scores.stacking import (
    BASE_MODELS,
    predict_by_forest,
    predict_by_kernel,
    stack_base_models,
)
from treeinf.training.rows import LabelledRows


def small_rows(rng, n_rows=40, *, weighted=False):
    X = rng.normal(size=(n_rows, 4))
    X[:, 1] = X[:, 1].round()
    X[:, 2] = X[:, 2] > 0
    code = (X[:, 0] + 0.5 * rng.normal(size=n_rows) > 0).astype(np.int64)
    weight = rng.uniform(0.2, 2.0, n_rows) if weighted else None
    return LabelledRows(X, code, code, weight)


def test_plain_loops_on_two_rows_worked_by_hand():
    place = place_rows(np.array([[1.0], [3.0]]))
    np.testing.assert_allclose(place, [[-1.0], [1.0]])
    target = np.array([[0.0], [1.0]])
    left_out = leave_one_out(place, target, np.ones(2), 1.0, 1.0)
    # mean 1/2; the other row's coefficient is 1/2 over 1 + 1, the kernel exp(-1)
    reach = 0.25 * np.exp(-1.0)
    np.testing.assert_allclose(left_out, [[0.5 + reach], [0.5 - reach]])


@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_model_equals_refits_without_each_row(weighted, rng):
    rows = small_rows(rng, 25, weighted=weighted)
    target = np.eye(2)[rows.code]
    weight = np.ones(25) if rows.weight is None else rows.weight
    desired = leave_one_out_best(
        rows.X, target, weight, stacking._SCALES, stacking._PENALTIES
    )
    np.testing.assert_allclose(
        predict_by_kernel(rows, target, 0), desired, rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_kernel_model_equals_refits_without_each_group(weighted, rng):
    rows = small_rows(rng, 25, weighted=weighted)
    group = rng.integers(9, size=25)
    target = np.eye(2)[rows.code]
    weight = np.ones(25) if rows.weight is None else rows.weight
    desired = leave_one_out_best(
        rows.X, target, weight, stacking._SCALES, stacking._PENALTIES, group
    )
    actual = predict_by_kernel(dataclasses.replace(rows, group=group), target, 0)
    np.testing.assert_allclose(actual, desired, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_copies", [2, 5])
def test_rows_of_which_each_stands_several_times_count_once(n_copies, weighted, rng):
    rows = small_rows(rng, 40, weighted=weighted)
    target = np.eye(2)[rows.code]
    number = np.tile(np.arange(40), n_copies)
    repeated = dataclasses.replace(rows.take(number), group=number, twin=number)
    once = predict_by_kernel(rows, target, 0)
    actual = predict_by_kernel(repeated, target[number], 0)
    np.testing.assert_allclose(actual, once[number], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", BASE_MODELS)
def test_no_label_of_its_group_moves_the_prediction_of_a_row(name, rng):
    # weights are tuned on all labels, and so the mean of each output is kept here
    group = np.repeat(np.arange(20), 2)
    code = np.tile([0, 1, 1, 0], 10)
    changed = code.copy()
    changed[:2] = code[1::-1]
    tables = [
        LabelledRows(np.arange(40.0)[:, None] // 2, labels, labels, None, group, group)
        for labels in (code, changed)
    ]
    before, after = (BASE_MODELS[name](t, np.eye(2)[t.code], 0, 1) for t in tables)
    np.testing.assert_allclose(before[:2], after[:2], atol=1e-9)


def test_rows_beyond_a_batch_are_dealt_into_batches(rng, monkeypatch):
    rows = small_rows(rng, 50)
    target = np.eye(2)[rows.code]
    monkeypatch.setattr(stacking, "_SCALES", (1.0,))
    monkeypatch.setattr(stacking, "_PENALTIES", np.array([1.0]))
    whole = predict_by_kernel(rows, target, 0)
    monkeypatch.setattr(stacking, "_BATCH_ROWS", 30)
    parts = predict_by_kernel(rows, target, 0)
    assert np.abs(parts - whole).max() > 1e-3
    order = np.random.default_rng(0).permutation(50)
    changed = target.copy()
    changed[order[0]] = 1.0 - changed[order[0]]
    moved = np.abs(predict_by_kernel(rows, changed, 0) - parts).max(axis=1) > 0.0
    assert moved[order[:25]].all()
    assert not moved[order[25:]].any()


@pytest.mark.parametrize("kind", ["classes", "numbers", "weights", "missing"])
def test_forest_model_is_that_of_scikit_learn(kind, rng):
    """The same trees, drawn and averaged here; bits, not digits."""
    rows = small_rows(rng, 150, weighted=kind == "weights")
    target = np.eye(2)[rows.code]
    if kind == "missing":
        rows.X[rng.random(rows.X.shape) < 0.2] = np.nan
    elif kind == "numbers":
        rows = LabelledRows(rows.X, rows.X[:, 0])
        target = rows.y[:, np.newaxis]
    forest = ExtraTreesRegressor(
        300,
        min_samples_leaf=3,
        max_features=1.0 if rows.code is None else "sqrt",
        bootstrap=True,
        oob_score=True,
        random_state=5,
    )
    if rows.weight is None or parse_version(sklearn.__version__).release >= (1, 9):
        # before, weights did not draw
        forest.fit(rows.X, np.squeeze(target), sample_weight=rows.weight)
        desired = forest.oob_prediction_.reshape(target.shape)
        np.testing.assert_array_equal(predict_by_forest(rows, target, 5), desired)


@pytest.mark.parametrize("batch_rows", [30, 3000])
def test_base_models_are_the_same_bits_for_any_number_of_threads(
    batch_rows, rng, monkeypatch
):
    """Models side by side where rows are few, trees and batches where they are many."""
    monkeypatch.setattr(stacking, "_BATCH_ROWS", batch_rows)
    rows = small_rows(rng, 100, weighted=True)
    target = np.eye(2)[rows.code]
    for predict in BASE_MODELS.values():
        np.testing.assert_array_equal(
            predict(rows, target, 1, 3), predict(rows, target, 1, 1)
        )
    one, three = (stack_base_models(rows, 2, n_jobs=n_jobs) for n_jobs in (1, 3))
    np.testing.assert_array_equal(three.prediction, one.prediction)
    assert three.weight == one.weight


def test_kernel_model_does_not_follow_the_threads_of_blas(rng):
    rows = small_rows(rng, 400)
    target = np.eye(2)[rows.code]
    with threadpool_limits(1):
        desired = predict_by_kernel(rows, target, 0)
    with threadpool_limits(4):
        before = [(one["filepath"], one["num_threads"]) for one in threadpool_info()]
        actual = predict_by_kernel(rows, target, 0)
        after = [(one["filepath"], one["num_threads"]) for one in threadpool_info()]
    np.testing.assert_array_equal(actual, desired)
    assert after == before


def test_numbers_too_large_for_trees_keep_their_order(rng):
    rows = small_rows(rng, 60)
    rows.X[:, 3] = np.where(rows.code == 1, 1e100, -1e100)
    found = predict_by_forest(rows, np.eye(2)[rows.code], 0)
    assert (found.argmax(axis=1) == rows.code).all()


def test_no_tree_that_has_seen_a_row_predicts_it(rng):
    rows = small_rows(rng, 60)
    target = np.eye(2)[rows.code]
    changed = target.copy()
    changed[7] = 1.0 - changed[7]
    before, after = (predict_by_forest(rows, t, 3) for t in (target, changed))
    np.testing.assert_array_equal(after[7], before[7])
    assert (after != before).any()


def test_shares_are_the_best_of_the_penalised_error(rng):
    errors = [rng.normal(size=(200, 1)), 0.5 * rng.normal(size=(200, 1))]
    weight = rng.uniform(0.5, 2.0, 200)
    share = stacking._minimise_error(errors, weight)
    first = np.linspace(0.0, 1.0, 2001)
    squares = [(weight[:, None] * e * e).sum() for e in errors]
    product = (weight[:, None] * errors[0] * errors[1]).sum()
    loss = (
        first**2 * squares[0]
        + (1 - first) ** 2 * squares[1]
        + 2 * first * (1 - first) * product
        + 0.1 * np.mean(squares) * (first**2 + (1 - first) ** 2)
    )
    assert share[0] == pytest.approx(first[loss.argmin()], abs=1e-3)
    assert share.sum() == pytest.approx(1.0)


def test_equal_models_and_perfect_ones_share_alike():
    errors = [np.ones((5, 1)), np.ones((5, 1))]
    np.testing.assert_allclose(stacking._minimise_error(errors, np.ones(5)), 0.5)
    perfect = [np.zeros((5, 1))] * 3
    np.testing.assert_allclose(stacking._minimise_error(perfect, np.ones(5)), 1 / 3)


def test_finds_wrong_labels():
    X, y = load_breast_cancer(return_X_y=True)
    is_wrong = np.random.default_rng(0).random(len(y)) < 0.2
    noisy = np.where(is_wrong, 1 - y, y)
    pool = stack_base_models(LabelledRows(X, noisy, noisy), 2)
    own = pool.prediction[np.arange(len(y)), noisy]
    assert average_precision_score(is_wrong, 1.0 - own) > 0.95
    assert set(pool.weight) == set(BASE_MODELS)
    assert sum(pool.weight.values()) == pytest.approx(1.0)


def test_finds_outlying_targets():
    X, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    is_wrong = rng.random(len(y)) < 0.1
    noisy = np.where(is_wrong, y + 3.0 * y.std(), y)
    pool = stack_base_models(LabelledRows(X, noisy), 0)
    assert pool.prediction.shape == y.shape
    error = np.abs(pool.prediction - noisy)
    assert average_precision_score(is_wrong, error) > 0.85


def test_takes_frames_with_categories_and_missing_values(rng):
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=80),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], 80)),
            "text": rng.choice(["a", "b"], 80),
        },
        index=rng.permutation(80),
    )
    frame.iloc[3, 0] = np.nan
    frame.iloc[4, 1] = np.nan
    code = (frame["colour"] == "red").to_numpy().astype(np.int64)
    y = np.array(["no", "yes"])[code]
    pool = stack_base_models(LabelledRows(frame, y, code), 2)
    assert (pool.prediction.argmax(axis=1) == code).mean() > 0.95
    np.testing.assert_allclose(pool.prediction.sum(axis=1), 1.0)


def test_predictions_by_copies_take_part_and_may_be_silent(rng):
    rows = small_rows(rng, 60)
    own = np.eye(2)[rows.code] * 0.8 + 0.1
    pool = stack_base_models(rows, 2, copies=own)
    assert pool.weight["copies"] > 0.5
    silent = own.copy()
    silent[5] = np.nan
    part = stack_base_models(rows, 2, copies=silent, names=("forest",))
    forest = stack_base_models(rows, 2, names=("forest",))
    np.testing.assert_allclose(part.prediction[5], forest.prediction[5], rtol=1e-12)


def test_only_predictions_by_copies_are_given_back(rng):
    rows = small_rows(rng)
    own = rng.dirichlet(np.ones(2), 40)
    pool = stack_base_models(rows, 2, copies=own, names=())
    np.testing.assert_allclose(pool.prediction, own, rtol=1e-12)


def test_trusted_rows_weigh_three_times_as_much(rng):
    rows = small_rows(rng)
    is_trusted = np.arange(40) < 10
    weight = np.where(is_trusted, 3.0, 1.0)
    trusted = stack_base_models(rows, 2, is_trusted=is_trusted)
    weighed = stack_base_models(dataclasses.replace(rows, weight=weight), 2)
    np.testing.assert_array_equal(trusted.prediction, weighed.prediction)


def test_follows_the_seed(rng):
    rows = small_rows(rng)
    first, again, other = (stack_base_models(rows, 2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.prediction, again.prediction)
    assert (first.prediction != other.prediction).any()


def test_the_cleaner_scores_any_estimator_by_stacking():
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from treeinf import InfluenceCleaner
    from treeinf.datasets import flip_labels

    X, y = load_breast_cancer(return_X_y=True)
    noisy, is_flipped = flip_labels(y[:300], 0.2, seed=1)
    cleaner = InfluenceCleaner(
        make_pipeline(StandardScaler(), LogisticRegression()),
        method="stacking",
        amount=0.2,
        guard=False,
        validation=(X[300:], y[300:]),
        random_state=0,
    ).fit(X[:300], noisy)
    removed = ~cleaner.kept_
    assert is_flipped[removed].mean() > 0.8


def test_rows_that_every_tree_has_seen_get_the_mean(monkeypatch):
    group = np.repeat([0.0, 5.0], 10)
    rows = LabelledRows(group[:, np.newaxis], group)
    target = rows.y[:, np.newaxis]
    # zeros that trees predict stay zeros
    nothing = predict_by_forest(rows, np.where(target > 1e9, 5.0, 0.0), 0)
    np.testing.assert_array_equal(nothing, 0.0)
    monkeypatch.setattr(stacking, "_N_TREES", 1)
    monkeypatch.setattr(stacking, "_LEAF_ROWS", 20)
    values = predict_by_forest(rows, target, 0)
    # one leaf: the mean of the tree's draw for rows it left out, of all for the others
    assert len(np.unique(values)) == 2
    assert 5 <= (values == 2.5).sum() <= 17
