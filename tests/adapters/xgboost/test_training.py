"""What a model remembers of its training, and how many of its trees are read."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

from tests.adapters.xgboost.models import (
    assert_same_model,
    dropping_trees,
    mixed_rows,
    mixed_score,
    own_raw_score,
    train,
    version_of,
)
from treeinf.adapters import read_model
from treeinf.adapters.parity import check_parity
from treeinf.adapters.xgboost import reader as adapter
from treeinf.adapters.xgboost.parameters import DEFAULTS
from treeinf.ensemble import losses
from treeinf.errors import UnsupportedModelError
from treeinf.trace import TrainingTrace

xgboost = pytest.importorskip("xgboost")


@pytest.fixture(scope="module")
def rows():
    X = mixed_rows(np.random.default_rng(5))
    return X, mixed_score(X)


def verdict(ensemble, X, y, **kwargs):
    report = TrainingTrace.build(ensemble, X, y, on_mismatch="ignore", **kwargs).report
    return report.verdict


# Models.


def test_classifier(rows):
    X, score = rows
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, (score > 0) * 1)
    ensemble = read_model(model)
    assert ensemble.classes.tolist() == [0, 1]
    assert ensemble.loss == losses.Logistic()
    assert_allclose(ensemble.predict(X), model.predict_proba(X), atol=1e-6)
    assert (ensemble.library, ensemble.library_version) == (
        "xgboost",
        xgboost.__version__,
    )


def test_classifier_of_three_classes(rows):
    X, score = rows
    y = np.digitize(score, [0.0, 1.0])
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1).fit(X, y)
    ensemble = read_model(model)
    assert ensemble.classes.tolist() == [0, 1, 2]
    assert ensemble.output.tolist() == [0, 1, 2] * 3
    assert_allclose(ensemble.predict(X), model.predict_proba(X), atol=1e-6)


def test_ranker(rows):
    X, score = rows
    model = xgboost.XGBRanker(n_estimators=3, n_jobs=1)
    model.fit(X, np.digitize(score, [0.0, 1.0]), group=[100] * 4)
    ensemble = read_model(model)
    assert (ensemble.loss, ensemble.loss_name) == (None, "rank:ndcg")
    assert_same_model(xgboost, ensemble, model.get_booster(), X)


def test_search_and_subclass(rows):
    class Mine(xgboost.XGBRegressor):
        pass

    search = GridSearchCV(Mine(n_estimators=2, n_jobs=1), {"max_depth": [2]}, cv=2)
    search.fit(*rows)
    booster = search.best_estimator_.get_booster()
    assert_same_model(xgboost, read_model(search), booster, rows[0])


def test_what_is_no_model(rows):
    with pytest.raises(NotFittedError):
        read_model(xgboost.XGBRegressor())
    with pytest.raises(UnsupportedModelError, match="xgboost DMatrix"):
        read_model(xgboost.DMatrix(*rows))
    with pytest.raises(UnsupportedModelError, match="the class XGBRegressor"):
        read_model(xgboost.XGBRegressor)


# Iterations.


def test_early_stopping(rows, tmp_path):
    """An estimator predicts with the best iteration, a booster with all of them."""
    X, score = rows
    y = score + np.random.default_rng(1).normal(size=len(X))
    model = xgboost.XGBRegressor(
        n_estimators=80, learning_rate=0.8, n_jobs=1, early_stopping_rounds=3
    )
    model.fit(X[::2], y[::2], eval_set=[(X[1::2], y[1::2])], verbose=False)
    booster = model.get_booster()
    best, n_all = model.best_iteration + 1, booster.num_boosted_rounds()
    assert 1 < best < n_all < 80
    ensemble = read_model(model)
    assert ensemble.n_iterations == best
    assert_allclose(ensemble.predict(X), model.predict(X), rtol=1e-5, atol=1e-6)
    assert verdict(ensemble, X[::2], y[::2]) == "exact"
    assert check_parity(ensemble, model, X) < 1e-6
    whole = read_model(booster)
    assert whole.n_iterations == n_all
    assert check_parity(whole, booster, X) < 1e-6
    for kind in ("json", "ubj"):
        booster.save_model(tmp_path / f"booster.{kind}")
        assert read_model(tmp_path / f"booster.{kind}").n_iterations == n_all
        model.save_model(tmp_path / f"estimator.{kind}")
        assert read_model(tmp_path / f"estimator.{kind}").n_iterations == best
    assert read_model(model, iterations=n_all).n_iterations == n_all
    assert check_parity(read_model(model, iterations=2), model, X, iterations=2) < 1e-6


@pytest.mark.parametrize(
    "params", [{}, dropping_trees(xgboost), {"num_parallel_tree": 2}]
)
def test_first_iterations_only(rows, params):
    X, score = rows
    y = np.digitize(score, [0.0, 1.0])
    booster = train(
        xgboost, X, y, objective="multi:softprob", num_class=3, iterations=5, **params
    )
    ensemble = read_model(booster, iterations=2)
    assert ensemble.n_iterations == 2
    assert ensemble.n_trees == 6 * params.get("num_parallel_tree", 1)
    scores = booster.predict(
        xgboost.DMatrix(X), output_margin=True, iteration_range=(0, 2)
    )
    assert_allclose(ensemble.raw_score(X), scores, rtol=1e-5, atol=1e-6)
    assert check_parity(ensemble, booster, X, iterations=2) < 1e-6
    assert read_model(booster, iterations=9).n_iterations == 5


def test_slices(rows):
    booster = train(xgboost, *rows, iterations=6)
    part = booster[1:4]
    ensemble = read_model(part)
    assert ensemble.n_iterations == 3
    assert_same_model(xgboost, ensemble, part, rows[0])


# Training parameters.


def test_parameters_of_a_booster(rows):
    X, score = rows
    booster = train(
        xgboost,
        X,
        score,
        eta=0.17,
        reg_lambda=2.5,
        reg_alpha=0.3,
        max_delta_step=0.6,
        min_child_weight=3,
        subsample=0.7,
    )
    ensemble = read_model(booster)
    rule = ensemble.leaf_rule
    assert (rule.kind, rule.fits_single_leaf) == ("newton", True)
    # from 3.4 on min_child_weight bounds splits alone
    lightest = 3.0 if version_of(xgboost) < (3, 4) else 0.0
    expected = np.float32([0.3, 0.6, lightest]).astype(float).tolist()
    found = [rule.l1_leaf, rule.max_leaf_value, rule.min_leaf_hessian]
    assert found == expected
    assert set(ensemble.leaf_l2) == {2.5}
    assert set(ensemble.shrinkage) == {float(np.float32(0.17))}
    assert ensemble.training.single_precision
    assert ensemble.training.subsample == "subsample=0.7"
    assert ensemble.leaf_count is None
    assert verdict(ensemble, X, score) == "exact"


def test_defaults_are_the_librarys(rows):
    import json

    booster = train(xgboost, *rows)
    text = json.dumps(json.loads(booster.save_config()))
    for name, value in DEFAULTS.items():
        if name in ("nthread", "updater"):  # of this training, not defaults
            continue
        assert f'"{name}": "{value}"' in text


TRAINED_WITH = [
    {},
    {"eta": 0.2, "lambda": 3.0, "alpha": 0.1},
    {"eta": 0.05, "lambda": 0.0},
    {"eta": 0.1, "lambda": 0.7342},
    {"max_depth": 1, "eta": 0.15, "lambda": 2.0},
    {"max_delta_step": 0.3},
    {"min_child_weight": 0.0, "eta": 0.5, "max_depth": 6},
    {"num_parallel_tree": 3, "eta": 1.0, "colsample_bynode": 0.5},
    {"objective": "binary:logistic", "eta": 0.1},
    {"objective": "binary:logistic", "max_leaves": 5, "grow_policy": "lossguide"},
    {"objective": "multi:softprob", "num_class": 3, "lambda": 2.0},
    {"objective": "count:poisson"},
    {"objective": "count:poisson", "max_delta_step": 0.2, "eta": 0.2},
    {"objective": "reg:gamma", "lambda": 5.0},
]


@pytest.mark.parametrize("params", TRAINED_WITH, ids=str)
def test_the_trees_of_a_file_imply_its_parameters(rows, tmp_path, params):
    """XGBoost's files store none; the statistics of the nodes hold them."""
    X, score = rows
    y = {
        "b": score > 0,
        "m": np.digitize(score, [-0.5, 0.5]),
        "c": np.round(np.exp(0.4 * score)),
        "r": np.exp(0.3 * score),
    }.get(params.get("objective", "s")[0], score)
    booster = train(xgboost, X, y, iterations=6, **params)
    booster.save_model(tmp_path / "model.json")
    live, told = read_model(booster), read_model(tmp_path / "model.json")
    assert verdict(told, X, y) == "exact"
    assert_allclose(told.shrinkage, live.shrinkage, rtol=1e-4)
    assert_allclose(told.leaf_l2, live.leaf_l2, rtol=1e-4)
    assert told.leaf_rule.l1_leaf == pytest.approx(live.leaf_rule.l1_leaf, rel=1e-4)
    bound = live.leaf_rule.max_leaf_value
    assert told.leaf_rule.max_leaf_value == pytest.approx(bound, rel=1e-4)
    eta = f"eta={params.get('eta', 0.3):g}"
    assert f"its trees imply {eta}, lambda" in told.training.assumed
    # an argument of the estimator that was left at its default says nothing
    named = {"max_depth": 3, "reg_lambda": params.get("lambda"), "max_delta_step": None}
    told = read_model(tmp_path / "model.json", parameters=named)
    assert verdict(told, X, y) == "exact"


def test_parameters_that_the_trees_contradict(rows, tmp_path):
    X, score = rows
    train(xgboost, X, score, **{"lambda": 3.0}).save_model(tmp_path / "model.json")
    wrong = read_model(tmp_path / "model.json", parameters={"lambda": 1.0})
    assert wrong.leaf_rule.kind == "unknown"
    with pytest.raises(UnsupportedModelError, match=r"lambda=1, .* contradict"):
        TrainingTrace.build(wrong, X, score)


def test_a_loaded_booster_has_forgotten_its_training(rows, tmp_path):
    """Its configuration holds XGBoost's defaults, which its trees contradict."""
    X, score = rows
    params = {"lambda": 7.0, "eta": 0.11}
    train(xgboost, X, score, **params).save_model(tmp_path / "model.ubj")
    loaded = xgboost.Booster(model_file=tmp_path / "model.ubj")
    assert verdict(read_model(loaded), X, score) == "exact"
    assert "eta=0.11, lambda=7, " in read_model(loaded).training.assumed
    told = read_model(loaded, parameters=params)
    assert verdict(told, X, score) == "exact"
    by_chance = train(xgboost, X, score)
    by_chance.save_model(tmp_path / "model.ubj")
    loaded = xgboost.Booster(model_file=tmp_path / "model.ubj")
    assert verdict(read_model(loaded), X, score) == "exact"


@pytest.mark.parametrize("params", [{}, {"alpha": 0.4}, {"max_delta_step": 0.5}])
def test_learning_rates_that_change(rows, params):
    """The trees themselves say what each was shrunk by."""
    X, score = rows
    rates = [0.5, 0.4, 0.3, 0.2, 0.1]
    booster = xgboost.train(
        {"nthread": 1, "max_depth": 4, "eta": 0.6, **params},
        xgboost.DMatrix(X, score),
        5,
        callbacks=[xgboost.callback.LearningRateScheduler(rates)],
    )
    more = xgboost.train(
        {"nthread": 1, "max_depth": 3, "eta": 0.05, **params},
        xgboost.DMatrix(X, score),
        2,
        xgb_model=booster,
    )
    ensemble = read_model(more)
    # XGBoost sets a rate after the iteration it is meant for
    expected = [0.6, 0.5, 0.4, 0.3, 0.2, 0.05, 0.05]
    assert_allclose(ensemble.shrinkage, expected, rtol=1e-5)
    assert verdict(ensemble, X, score) == "exact"
    told = read_model(more, parameters={"learning_rate": expected})
    assert_array_equal(told.shrinkage, np.float32(expected).astype(float))


def test_bad_parameters(rows):
    booster = train(xgboost, *rows)
    with pytest.raises(ValueError, match="lambda='much'"):
        read_model(booster, parameters={"lambda": "much"})
    with pytest.raises(ValueError, match="2 learning rates for 4 iterations"):
        read_model(booster, parameters={"learning_rate": [0.1, 0.2]})


@pytest.mark.filterwarnings("ignore")
def test_refreshed_leaves(rows):
    X, score = rows
    booster = train(xgboost, X, score)
    refreshed = xgboost.train(
        {
            "nthread": 1,
            "process_type": "update",
            "updater": "refresh",
            "eta": 0.2,
            "lambda": 2.0,
        },
        xgboost.DMatrix(X[:300], score[:300]),
        4,
        xgb_model=booster,
    )
    ensemble = read_model(refreshed)
    assert_allclose(ensemble.shrinkage, 0.2)
    assert verdict(ensemble, X[:300], score[:300]) == "exact"


@pytest.mark.parametrize(
    "constraints", [(1, 0, 0, 0, -1), "(1,0,0,0,0)", (0, 0, 0, 0, 0)]
)
def test_monotone_constraints_are_approximate(rows, constraints):
    X, score = rows
    model = xgboost.XGBRegressor(
        n_estimators=3, n_jobs=1, monotone_constraints=constraints
    ).fit(X, score)
    ensemble = read_model(model)
    notes = ensemble.training.approximations
    if constraints == (0, 0, 0, 0, 0):
        assert notes == ()
    else:
        assert notes[0].startswith("monotone_constraints")
    told = read_model(model, parameters={"monotone_constraints": constraints})
    assert told.training.approximations == notes
    named = read_model(model, parameters={"monotone_constraints": {"f0": 1}})
    assert named.training.approximations
    assert_same_model(xgboost, ensemble, model.get_booster(), X)


def test_stored_hessians(rows):
    X, score = rows
    y = (score > 0.3) * 1
    ensemble = read_model(train(xgboost, X, y, objective="binary:logistic"))
    report = TrainingTrace.build(ensemble, X, y).report
    assert report.largest_hessian_difference < 1e-6


def test_initial_scores(rows):
    """`base_margin` is XGBoost's word for the rows' own initial scores."""
    X, score = rows
    margin = np.random.default_rng(2).normal(size=len(X))
    booster = train(xgboost, X, score, data={"base_margin": margin})
    ensemble = read_model(booster)
    own = own_raw_score(xgboost, booster, X, base_margin=margin)
    found = ensemble.raw_score(X, init_score=margin)
    assert_allclose(found, own, rtol=0, atol=1e-6 * np.abs(own).max())
    assert verdict(ensemble, X, score, init_score=margin) == "exact"


def test_leaf_nodes_are_those_of_all_trees(rows):
    booster = train(xgboost, *rows)
    numbers = adapter.leaf_nodes(booster)
    assert len(numbers) == read_model(booster).n_leaves
    frame = booster.trees_to_dataframe()
    leaves = frame[frame["Feature"] == "Leaf"].sort_values(["Tree", "Node"])
    assert_array_equal(numbers, leaves["Node"])
    assert_allclose(read_model(booster).leaf_value[:, 0], leaves["Gain"], rtol=1e-6)


@pytest.mark.parametrize("objective", ["count:poisson", "binary:logistic", "softmax"])
def test_a_base_margin_takes_the_place_of_the_base_score(objective, rng):
    X = rng.normal(size=(90, 3))
    n_outputs = 3 if objective == "softmax" else 1
    margin = rng.normal(size=(90, n_outputs)).squeeze()
    y = rng.integers(max(n_outputs, 2), size=90)
    kind = xgboost.XGBRegressor if n_outputs == 1 else xgboost.XGBClassifier
    objective = objective if n_outputs == 1 else "multi:softprob"
    model = kind(objective=objective, n_estimators=4, max_depth=3, n_jobs=1)
    model.fit(X, y, base_margin=margin)
    ensemble = read_model(model)
    trace = TrainingTrace.build(ensemble, X, y, init_score=margin)
    assert trace.report.verdict == "exact"
    theirs = model.get_booster().predict(
        xgboost.DMatrix(X, base_margin=margin), output_margin=True
    )
    ours = ensemble.raw_score(X, init_score=margin)
    assert_allclose(ours, theirs.reshape(90, -1), rtol=1e-5, atol=1e-6)
    assert not trace.base_score_gradient.size
    if n_outputs > 1:
        with pytest.raises(ValueError, match=r"init_score has shape \(270,\)"):
            ensemble.raw_score(X, init_score=margin.ravel())
