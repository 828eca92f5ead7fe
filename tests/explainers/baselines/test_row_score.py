"""Random influence and scores of suspicion: twins, the libraries' own stages."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import treeinf as ti
from tests import models
from tests.naive.boosting import NaiveModel
from tests.naive.dynamics import gradient_moments, probability_moments, stages
from treeinf.errors import SelfExplanationWarning, UnsupportedModelError
from treeinf.explainers.baselines.dynamics import (
    GradientNorm,
    GradientVariance,
    TrainingDynamics,
)
from treeinf.explainers.baselines.loss import Loss
from treeinf.explainers.baselines.out_of_bag import OutOfBagProbability
from treeinf.explainers.baselines.out_of_fold import OutOfFoldLoss
from treeinf.explainers.baselines.random import Random
from treeinf.training.seeds import derive_seed

SCORES = [
    Loss(),
    OutOfFoldLoss(n_folds=3, n_jobs=1),
    OutOfBagProbability(n_estimators=40),
    TrainingDynamics(),
    GradientNorm(),
    GradientVariance(),
]


def name_of(value):
    return type(value).__name__


def test_random_influence_is_normal_and_repeatable():
    X = np.arange(2000.0).reshape(-1, 1)
    explainer = Random(random_state=3).fit(None, X, None)
    test = -1.0 - np.arange(30.0).reshape(-1, 1)
    influence = explainer.explain(test).values
    assert influence.shape == (2000, 30)
    assert abs(influence.mean()) < 5 / 60_000**0.5
    assert abs(influence.std() - 1) < 0.02
    assert np.abs(np.corrcoef(influence.T) - np.eye(30)).max() < 5 / 2000**0.5
    other = Random(random_state=3, batch_size=7, n_jobs=1).fit(None, X, None)
    assert_array_equal(other.explain(test), influence)
    assert_allclose(other.total(test), influence.sum(axis=1), atol=1e-12)
    assert_array_equal(
        other.top_k(test, k=2).positions, explainer.explain(test).top(2).positions
    )
    assert_array_equal(other.self_influence(), explainer.self_influence())
    assert (Random(random_state=4).fit(None, X, None).explain(test) != influence).all()
    fresh = Random(random_state=None)
    assert fresh.fit(None, X, None).seed_ != fresh.fit(None, X, None).seed_
    few = Random().fit(None, X[:9], None)
    with pytest.warns(SelfExplanationWarning):
        matrix = few.explain(X[:9]).values
    hollow = matrix - np.diag(np.diagonal(matrix))
    assert_allclose(few.total(X[:9], exclude_self=True), hollow.sum(axis=1), atol=1e-13)


@pytest.mark.parametrize("recipe", models.RECIPES)
def test_gradient_scores_equal_the_slow_twin(recipe):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True)
    trace = ti.BoostIn().fit(model, X, y, sample_weight=weight).trace_
    naive = NaiveModel(trace.ensemble)
    leaves = trace.ensemble.apply(X).tolist()
    for iterations, n in ((1.0, 12), (0.25, 3), (5, 5), (99, 12)):
        size = GradientNorm(iterations=iterations).fit(
            model, X, y, sample_weight=weight
        )
        variance = GradientVariance(iterations=iterations).fit(
            model, X, y, sample_weight=weight
        )
        assert size.n_iterations_ == variance.n_iterations_ == n
        desired = np.array(
            [
                gradient_moments(
                    naive.name, naive.parameter, target, stages(naive, row)[:n]
                )
                for row, target in zip(leaves, trace.rows.y, strict=True)
            ]
        )
        scale = np.abs(desired).max(axis=0)
        assert_allclose(size.scores_, desired[:, 0], atol=1e-13 * scale[0])
        # the variance loses the digits of the mean's square
        atol = 1e-13 * (scale[1] + scale[0] ** 2)
        assert_allclose(variance.self_influence(), desired[:, 1], atol=atol)


def library_stages(family, task):
    """A boosted classifier, its rows, and its probabilities after each iteration."""
    X, y, _ = models.make_rows("binary" if task == "binary" else "multiclass")
    X, y = X[:150], y[:150]
    if family == "lightgbm":
        lightgbm = pytest.importorskip("lightgbm")
        model = lightgbm.LGBMClassifier(n_estimators=6, num_leaves=5, verbose=-1)
        model.fit(X, y)
        staged = [model.predict_proba(X, num_iteration=m) for m in range(1, 7)]
    elif family == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        model = xgboost.XGBClassifier(n_estimators=6, max_depth=2).fit(X, y)
        staged = [
            model.predict_proba(X, iteration_range=(0, m)).astype(float)
            for m in range(1, 7)
        ]
    elif family == "catboost":
        catboost = pytest.importorskip("catboost")
        model = catboost.CatBoostClassifier(
            iterations=6, depth=2, verbose=False, allow_writing_files=False
        ).fit(X, y)
        staged = list(model.staged_predict_proba(X))
    else:
        kind, size = {
            "gradient": (GradientBoostingClassifier, {"n_estimators": 6}),
            "exponential": (
                GradientBoostingClassifier,
                {"n_estimators": 6, "loss": "exponential"},
            ),
            "hist": (HistGradientBoostingClassifier, {"max_iter": 6}),
        }[family]
        model = kind(**size, random_state=0).fit(X, y)
        staged = list(model.staged_predict_proba(X))
    return model, X, y, np.array(staged)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize(
    "family", ["lightgbm", "xgboost", "catboost", "gradient", "hist", "exponential"]
)
def test_training_dynamics_are_those_of_the_library(family, task):
    if (family, task) == ("exponential", "multiclass"):
        pytest.skip("the exponential loss has two classes")
    model, X, y, staged = library_stages(family, task)
    assert len(staged) == 6
    dynamics = TrainingDynamics().fit(model, X, y)
    desired = np.array(
        [probability_moments(staged[:, i].tolist(), label) for i, label in enumerate(y)]
    )
    # XGBoost predicts in float32
    atol = 1e-6 if family == "xgboost" else 1e-9
    assert_allclose(dynamics.confidence_, desired[:, 0], atol=atol)
    assert_allclose(dynamics.variability_, desired[:, 1], atol=10 * atol)
    assert_allclose(dynamics.correctness_, desired[:, 2], atol=1e-12)
    product = 1 - desired[:, 0] * desired[:, 2]
    assert_allclose(dynamics.self_influence(), product, atol=10 * atol)
    for statistic, score in (
        ("confidence", 1 - dynamics.confidence_),
        ("correctness", 1 - dynamics.correctness_),
        ("variability", dynamics.variability_),
    ):
        dynamics.set_params(statistic=statistic).fit(model, X, y)
        assert_array_equal(dynamics.scores_, score)
    for other in (GradientNorm(), GradientVariance()):
        assert np.isfinite(other.fit(model, X, y).scores_).all()


@pytest.mark.parametrize("classes", [None, ["u", "v", "w"]])
def test_out_of_fold_loss_is_that_of_cross_validation(classes):
    X, y, _ = models.make_rows("multiclass" if classes else "regression")
    X, y = X[:60], y[:60]
    if classes:
        y = np.array(classes)[y]
        estimator = DecisionTreeClassifier(max_depth=3, random_state=0)
    else:
        estimator = DecisionTreeRegressor(max_depth=3, random_state=0)
    kind = StratifiedKFold if classes else KFold
    method = "predict_proba" if classes else "predict"
    predictions = []
    for repeat in range(2):
        folds = kind(4, shuffle=True, random_state=derive_seed(9, repeat))
        predictions.append(cross_val_predict(estimator, X, y, cv=folds, method=method))
    for n_repeats, prediction in ((1, predictions[0]), (2, np.mean(predictions, 0))):
        score = OutOfFoldLoss(n_folds=4, n_repeats=n_repeats, random_state=9, n_jobs=1)
        score.fit(estimator, X, y)
        if classes:
            own = prediction[np.arange(60), np.searchsorted(classes, y)]
            desired = -np.log(np.maximum(own, 1e-15))
        else:
            desired = 0.5 * (prediction - y) ** 2
        assert_allclose(score.self_influence(), desired, rtol=1e-12, atol=1e-14)


def test_out_of_bag_probability_is_that_of_the_forest():
    X, y, weight = models.make_rows("binary")
    X, labels, weight = X[:90], np.array(["no", "yes"])[y[:90]], weight[:90]
    score = OutOfBagProbability(n_estimators=60, random_state=2)
    score.fit(None, X, labels, sample_weight=weight)
    forest = RandomForestClassifier(60, oob_score=True, random_state=2)
    forest.fit(X, labels, sample_weight=weight)
    own = forest.oob_decision_function_[np.arange(90), y[:90]]
    assert_allclose(score.self_influence(), 1 - own, rtol=1e-12)
    _, y, _ = models.make_rows("regression")
    score = OutOfBagProbability(forest="extra_trees", n_estimators=60, random_state=2)
    score.fit(DecisionTreeRegressor(), X, y[:90])
    forest = ExtraTreesRegressor(60, bootstrap=True, oob_score=True, random_state=2)
    forest.fit(X, y[:90])
    assert_allclose(score.scores_, np.abs(forest.oob_prediction_ - y[:90]), rtol=1e-12)
    with pytest.raises(ValueError, match="n_estimators=2 leaves rows"):
        OutOfBagProbability(n_estimators=2).fit(None, X, labels)


@pytest.mark.parametrize("recipe", ["regression", "binary_positive", "multiclass"])
def test_loss_is_the_models_own(recipe):
    model, X, y, weight, *_ = models.fit(recipe, weighted=True)
    loss = Loss().fit(model, X, y, sample_weight=weight).self_influence()
    if recipe == "regression":
        desired = 0.5 * (model.predict(X) - y.astype(np.float32)) ** 2
    else:
        desired = -np.log(model.predict_proba(X)[np.arange(len(y)), y])
    assert_allclose(loss, desired, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("score", SCORES, ids=name_of)
def test_wrong_labels_have_large_scores(score):
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(4)
    X = rng.normal(size=(300, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    wrong = rng.choice(300, 30, replace=False)
    y[wrong] = 1 - y[wrong]
    model = lightgbm.LGBMClassifier(
        n_estimators=200, num_leaves=6, min_child_samples=10, verbose=-1, n_jobs=1
    )
    found = clone(score).fit(model.fit(X, y), X, y).self_influence().values
    is_wrong = np.isin(np.arange(300), wrong)
    # the chance that a wrong row has a larger score than a right one
    above = np.mean(found[is_wrong][:, np.newaxis] > found[~is_wrong])
    assert above > 0.85


def test_the_variance_of_gradients_marks_easy_rows_of_short_runs():
    X, y, _ = models.make_rows("binary")
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(X, y)
    variance = GradientVariance().fit(model, X, y).scores_
    loss = Loss().fit(model, X, y).scores_
    assert np.corrcoef(variance, loss)[0, 1] < -0.2


@pytest.mark.parametrize("score", SCORES, ids=name_of)
def test_frames_pipelines_and_threads(score):
    lightgbm = pytest.importorskip("lightgbm")
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    X, y, _ = models.make_rows("binary")
    X, y = X[:120], np.array(["no", "yes"])[y[:120]]
    names = [f"row {i}" for i in range(120)]
    frame = pandas.DataFrame(X, columns=list("abcdef"), index=names)
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model.fit(frame, y)
    first = clone(score).fit(model, frame, pandas.Series(y, index=names))
    influence = first.self_influence()
    assert influence.to_frame().index.tolist() == names
    assert influence.method == type(score).__name__
    other = clone(score).set_params(n_jobs=2)
    other.fit(model, polars.DataFrame(X, schema=list("abcdef")), polars.Series(y))
    assert_array_equal(other.scores_, first.scores_)
    scaled = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    assert np.isfinite(clone(score).fit(scaled, X, y).scores_).all()
    assert clone(score).get_params() == score.get_params()
    with pytest.raises(NotFittedError):
        clone(score).self_influence()


@pytest.mark.parametrize("library", ["lightgbm", "catboost"])
def test_copies_are_trained_on_frames_that_their_library_cannot_read(library):
    module = pytest.importorskip(library)
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    rng = np.random.default_rng(5)
    kind = rng.choice(["p", "q", "r"], 90)
    frame = pandas.DataFrame(
        {"a": rng.normal(size=90), "kind": pandas.Categorical(kind)}
    )
    y = (frame["a"].to_numpy() > 0) ^ (kind == "q")
    if library == "lightgbm":
        model = module.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)
    else:
        model = module.CatBoostClassifier(
            iterations=3,
            verbose=False,
            allow_writing_files=False,
            cat_features=["kind"],
        )
    score = OutOfFoldLoss(n_folds=3, n_jobs=1)
    desired = score.fit(model, frame, y).scores_
    other = polars.DataFrame(
        {
            "a": frame["a"].to_numpy(),
            "kind": polars.Series(kind, dtype=polars.Categorical),
        }
    )
    for rows in (other, other.to_arrow()):
        assert_array_equal(clone(score).fit(model, rows, y).scores_, desired)
        influence = (
            ti.LOO(n_jobs=1)
            .fit(model, rows[:12], y[:12])
            .explain(rows[12:15], y[12:15])
        )
        assert np.isfinite(influence.values).all()


def test_missing_values_and_categories_go_to_the_forest():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(1)
    kind = rng.choice(["p", "q", None], 80)
    frame = pandas.DataFrame({"a": rng.normal(size=80), "kind": kind})
    frame.loc[::7, "a"] = np.nan
    y = np.where(kind == "p", "u", "v")
    score = OutOfBagProbability(n_estimators=50).fit(None, frame, y).scores_
    assert score.mean() < 0.1


def test_what_there_is_no_score_for_is_refused():
    X, y, _ = models.make_rows("regression")
    forest = ExtraTreesRegressor(5).fit(X, y)
    for score in (TrainingDynamics(), GradientNorm(), GradientVariance()):
        with pytest.raises(UnsupportedModelError, match="needs a boosted model"):
            clone(score).fit(forest, X, y)
    model, X, y, *_ = models.fit("regression")
    with pytest.raises(UnsupportedModelError, match="Use GradientNorm"):
        TrainingDynamics().fit(model, X, y)
    with pytest.raises(ValueError, match="statistic='mean'"):
        TrainingDynamics(statistic="mean").fit(model, X, y)
    for wrong in (0, 0.0, 1.5, True, "all"):
        with pytest.raises(ValueError, match="iterations="):
            GradientNorm(iterations=wrong).fit(model, X, y)
    with pytest.raises(ValueError, match="n_folds=1"):
        OutOfFoldLoss(n_folds=1).fit(model, X, y)
    with pytest.raises(ValueError, match="forest='pine'"):
        OutOfBagProbability(forest="pine").fit(model, X, y)
