"""Scores by the trees that did not see a row: slow twins, and what is refused."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel
from tests.naive.out_of_bag import out_of_bag_step, out_of_bag_sum
from treeinf.ensemble.bags import Bags
from treeinf.errors import UnsupportedModelError
from treeinf.explainers.baselines import out_of_bag_loss
from treeinf.explainers.row_sampling import unseen_trees
from treeinf.explainers.row_sampling.recovery import SampledTraining


def sample_rows(recipe, *, factors="bool"):
    """A model with made-up bags: each iteration has its own, the last one all rows."""
    model, X, y, *_ = models.fit(recipe)
    trace = ti.TrainingTrace.build(ti.read_model(model), X, y)
    rng = np.random.default_rng(3)
    ensemble = trace.ensemble
    bags = rng.random((ensemble.n_iterations, len(X))) < 0.7
    bags[:, 0] = True
    if factors == "float":
        bags = bags * rng.choice([1.0, 8.0], bags.shape).astype(np.float32)
    of_tree = ensemble.iteration.copy()
    of_tree[of_tree == of_tree[-1]] = -1
    kept = Bags.from_rows(len(X), list(bags), of_tree)
    training = SampledTraining(trace.source, ensemble, trace.rows, kept, True)
    return training, (model, X, y)


@pytest.mark.parametrize("factors", ["bool", "float"])
@pytest.mark.parametrize("recipe", ["regression", "binary", "multiclass"])
def test_sums_and_steps_equal_the_slow_twin(monkeypatch, recipe, factors):
    training, rows = sample_rows(recipe, factors=factors)
    monkeypatch.setattr(unseen_trees, "recover_training", lambda *a, **k: training)
    monkeypatch.setattr(out_of_bag_loss, "recover_training", lambda *a, **k: training)
    naive = NaiveModel(training.ensemble)
    leaves = training.ensemble.apply(rows[1]).tolist()
    table = training.bags.table(training.ensemble.n_trees)
    scores, n_trees = zip(
        *(
            out_of_bag_sum(naive, row, factor)
            for row, factor in zip(leaves, table.tolist(), strict=True)
        ),
        strict=True,
    )
    found = ti.out_of_bag(*rows)
    assert_allclose(found.raw_score, scores, rtol=1e-12, atol=1e-13)
    assert_array_equal(found.n_trees, n_trees)
    assert found.n_trees[0] == 0
    by_sum = ti.OutOfBagLoss().fit(*rows)
    desired = training.ensemble.loss.loss(training.rows.y, np.array(scores))
    assert_allclose(by_sum.scores_, desired, rtol=1e-11, atol=1e-13)
    by_step = ti.OutOfBagLoss(kind="step").fit(*rows)
    steps = [
        out_of_bag_step(naive, row, target, factor)
        for row, target, factor in zip(
            leaves, training.rows.y, table.tolist(), strict=True
        )
    ]
    assert_allclose(by_step.scores_, steps, rtol=1e-11, atol=1e-13)
    assert by_step.scores_[0] == 0.0
    assert_array_equal(by_step.n_trees_, n_trees)
    assert_array_equal(by_sum.n_trees_, n_trees)


def test_scores_keep_the_labels_of_the_rows(monkeypatch):
    pandas = pytest.importorskip("pandas")
    training, (model, X, y) = sample_rows("binary")
    monkeypatch.setattr(unseen_trees, "recover_training", lambda *a, **k: training)
    names = [f"row {i}" for i in range(len(X))]
    found = ti.out_of_bag(model, pandas.DataFrame(X, index=names), y)
    frame = found.to_frame()
    assert frame.index.tolist() == names
    assert frame.columns.tolist() == ["raw_score", "n_trees"]
    assert_array_equal(frame["n_trees"], found.n_trees)
    training, rows = sample_rows("multiclass")
    frame = ti.out_of_bag(*rows).to_frame()
    assert frame.columns[2] == "raw_score_2"
    assert "240 rows" in repr(found)


def test_what_has_no_out_of_bag_score_is_refused(monkeypatch):
    model, X, y, *_ = models.fit("binary")
    for refused in (
        lambda: ti.out_of_bag(model, X, y),
        lambda: ti.OutOfBagLoss().fit(model, X, y),
    ):
        with pytest.raises(
            UnsupportedModelError, match=r"fitted on all rows.*subsample"
        ):
            refused()
    with pytest.raises(ValueError, match="Got kind='mean'; expected one of"):
        ti.OutOfBagLoss(kind="mean").fit(model, X, y)
    training, rows = sample_rows("binary")
    held_out = Bags.from_rows(240, [np.arange(240) < 200], np.zeros(12))
    training = dataclasses.replace(training, bags=held_out)
    monkeypatch.setattr(out_of_bag_loss, "recover_training", lambda *a, **k: training)
    with pytest.raises(UnsupportedModelError, match="held the same rows out of all"):
        ti.OutOfBagLoss().fit(*rows)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_scores_of_forests_are_their_out_of_bag_predictions(kind):
    from sklearn import ensemble

    X, y, _ = models.make_rows("multiclass")
    if kind == "regression":
        forest = ensemble.RandomForestRegressor(40, oob_score=True, random_state=0)
        desired = forest.fit(X, y).oob_prediction_[:, np.newaxis]
    else:
        forest = ensemble.RandomForestClassifier(40, oob_score=True, random_state=0)
        desired = forest.fit(X, y).oob_decision_function_
    table = ti.in_bag(forest, X, y)
    assert table.dtype == np.int32
    assert (table.sum(axis=0) == len(X)).all()
    found = ti.out_of_bag(forest, X, y)
    assert_allclose(found.raw_score, desired, rtol=1e-12, atol=1e-14)
    assert_array_equal(found.n_trees, (table == 0).sum(axis=1))
    loss = ti.OutOfBagLoss().fit(forest, X, y)
    error = desired - (
        y[:, np.newaxis] == np.arange(3) if kind != "regression" else y[:, np.newaxis]
    )
    assert_allclose(loss.scores_, 0.5 * (error**2).sum(axis=1), atol=1e-13)
    with pytest.raises(UnsupportedModelError, match="kind='step' needs a boosted"):
        ti.OutOfBagLoss(kind="step").fit(forest, X, y)
    few = ensemble.RandomForestRegressor(2, random_state=0).fit(X, y)
    assert np.isnan(ti.out_of_bag(few, X, y).raw_score).any()
    with pytest.raises(ValueError, match="2 trees are too few"):
        ti.OutOfBagLoss().fit(few, X, y)
