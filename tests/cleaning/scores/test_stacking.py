"""Pools of predictions by several kinds of model, none of which has seen the row."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from treeinf import InfluenceCleaner
from treeinf.cleaning.costs import Costs
from treeinf.cleaning.scores import stacking
from treeinf.cleaning.scores.cross_fitting import plan_copies
from treeinf.cleaning.scores.methods import METHODS
from treeinf.cleaning.scores.scoring import RowScorer
from treeinf.cleaning.scores.stacking import code_targets, stack_predictions
from treeinf.cleaning.trial.splits import RowSet
from treeinf.datasets import flip_labels
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows


def score(rows, estimator, classes, seed=0, n_jobs=1, queries=None):
    positions = np.arange(rows.n_rows)
    plan = plan_copies(rows, [], RowSet(rows, positions), np.random.default_rng(seed))
    scorer = RowScorer(
        METHODS["stacking"],
        Learner(estimator, classes, n_jobs),
        rows,
        plan,
        seed=seed,
        costs=Costs(),
    )
    return scorer.score(positions, queries)


def small_rows(rng, n_rows=60, weight=None):
    X = rng.normal(size=(n_rows, 3))
    code = (X[:, 0] + 0.5 * rng.normal(size=n_rows) > 0).astype(np.int64)
    return LabelledRows(X, code, code, weight)


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
        + stacking._SHRINKAGE * np.mean(squares) * (first**2 + (1 - first) ** 2)
    )
    assert share[0] == pytest.approx(first[loss.argmin()], abs=1e-3)
    assert share.sum() == pytest.approx(1.0)


def test_equal_models_and_perfect_ones_share_alike():
    errors = [np.ones((5, 1)), np.ones((5, 1))]
    np.testing.assert_allclose(stacking._minimise_error(errors, np.ones(5)), 0.5)
    perfect = [np.zeros((5, 1))] * 3
    np.testing.assert_allclose(stacking._minimise_error(perfect, np.ones(5)), 1 / 3)


def test_two_classes_are_one_output_and_come_out_as_probabilities(rng):
    rows = small_rows(rng)
    target = code_targets(rows, 2)
    np.testing.assert_array_equal(target[:, 0], rows.code)
    values = rng.uniform(-0.2, 1.2, (60, 1))
    pool = stack_predictions(rows, 2, {"only": values})
    np.testing.assert_allclose(pool.prediction[:, 1], np.clip(values[:, 0], 0.0, 1.0))
    np.testing.assert_allclose(pool.prediction.sum(axis=1), 1.0)
    assert pool.weight == {"only": 1.0}


def test_missing_predictions_are_those_of_the_others(rng):
    rows = small_rows(rng)
    first, second = rng.random((2, 60, 1))
    first[3] = np.nan
    pool = stack_predictions(rows, 2, {"first": first, "second": second})
    assert pool.prediction[3, 1] == pytest.approx(second[3, 0])
    second[3] = np.nan
    pool = stack_predictions(rows, 2, {"first": first, "second": second})
    assert pool.prediction[3, 1] == pytest.approx(rows.code.mean())


def test_a_good_model_weighs_more(rng):
    rows = small_rows(rng)
    good = 0.8 * code_targets(rows, 2) + 0.1
    pool = stack_predictions(rows, 2, {"good": good, "bad": rng.random((60, 1))})
    assert pool.weight["good"] > 0.5
    assert sum(pool.weight.values()) == pytest.approx(1.0)


def test_finds_wrong_labels():
    X, y = load_breast_cancer(return_X_y=True)
    is_wrong = np.random.default_rng(0).random(len(y)) < 0.2
    noisy = np.where(is_wrong, 1 - y, y)
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    scores = score(LabelledRows(X, noisy, noisy), estimator, np.array([0, 1]))
    assert average_precision_score(is_wrong, scores.doubt) > 0.95
    np.testing.assert_array_equal(scores.score, scores.doubt)


def test_finds_outlying_targets():
    X, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    is_wrong = rng.random(len(y)) < 0.1
    noisy = np.where(is_wrong, y + 3.0 * y.std(), y)
    scores = score(LabelledRows(X, noisy), Ridge(), None)
    assert scores.pooled.shape == y.shape
    for found in (scores.score, scores.doubt):
        assert average_precision_score(is_wrong, found) > 0.85


def test_takes_frames_with_categories_and_missing_values(rng):
    from lightgbm import LGBMClassifier

    frame = pd.DataFrame(
        {
            "number": rng.normal(size=80),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], 80)),
            "kind": pd.Categorical(rng.choice(["a", "b"], 80)),
        },
        index=rng.permutation(80),
    )
    frame.iloc[3, 0] = np.nan
    frame.iloc[4, 1] = np.nan
    code = (frame["colour"] == "red").to_numpy().astype(np.int64)
    y = np.array(["no", "yes"])[code]
    estimator = LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1)
    scores = score(LabelledRows(frame, y, code), estimator, np.unique(y))
    assert (scores.pooled.argmax(axis=1) == code).mean() > 0.95
    np.testing.assert_allclose(scores.pooled.sum(axis=1), 1.0)


def test_trusted_rows_are_learned_from_with_three_times_the_weight(rng):
    rows = small_rows(rng)
    trusted = LabelledRows(rows.X[:5], 1 - rows.code[:5], 1 - rows.code[:5])
    model = DummyClassifier(strategy="prior")
    alone, with_them = (
        score(rows, model, np.array([0, 1]), queries=q) for q in (None, trusted)
    )
    np.testing.assert_array_equal(alone.prediction, with_them.prediction)
    # the same features with other labels: their own are less probable
    own = np.arange(5), rows.code[:5]
    assert with_them.pooled[own].sum() < alone.pooled[own].sum() - 0.5


def test_follows_the_seed_and_no_number_of_threads(rng):
    rows = small_rows(rng, weight=rng.uniform(0.5, 2.0, 60))
    model, classes = LogisticRegression(), np.array([0, 1])
    first, again, threads, other = (
        score(rows, model, classes, seed, n_jobs).doubt
        for seed, n_jobs in ((1, 1), (1, 1), (1, 3), (2, 1))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, threads)
    assert (first != other).any()


def test_the_cleaner_scores_any_estimator_by_stacking():
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
