"""Bags of XGBoost's trees are found exactly, and never a wrong one."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.adapters.xgboost.models import dropping_trees, version_of
from tests.adapters.xgboost.staged_trees import JudgedTrees
from tests.naive import xgboost_draws
from treeinf.adapters import read_model
from treeinf.adapters.row_sampling import find_sampler
from treeinf.trace import TrainingTrace

xgboost = pytest.importorskip("xgboost")

N_ROWS = 400
N_ITERATIONS = 6
PLAIN = {"subsample": 0.7, "seed": 42, "max_depth": 3, "nthread": 2, "eta": 0.3}
REGRESSION, BINARY, CLASSES = "reg:squarederror", "binary:logistic", "multi:softprob"


@pytest.fixture(scope="module")
def tables():
    """Rows, and targets of each objective."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N_ROWS, 6)).astype(np.float32)
    score = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) + rng.normal(size=N_ROWS)
    classes = np.digitize(score, [-0.5, 1.0])
    return X, {REGRESSION: score, BINARY: (score > 0.4) * 1.0, CLASSES: classes}


@pytest.fixture(scope="module")
def regression(tables):
    X, targets = tables
    return X, targets[REGRESSION]


def train(X, y, *, weight=None, n=N_ITERATIONS, xgb_model=None, **parameters):
    parameters = {**PLAIN, **parameters}
    if parameters.get("objective") == CLASSES:
        parameters["num_class"] = 3
    rows = xgboost.DMatrix(X, y, weight=weight, nthread=2)
    return xgboost.train(parameters, rows, n, xgb_model=xgb_model)


def search(model, X, y, weight=None, is_wide=False, **parameters):
    ensemble = read_model(model, parameters=parameters or None)
    trees = JudgedTrees(ensemble, X, y, weight)
    return trees, find_sampler(ensemble, is_wide=is_wide).search(trees)


def assert_exact(trees, recovered, *, values=True):
    """Every tree has a bag, with its covers and values, that is not all rows."""
    assert recovered.is_found.all()
    for tree in range(trees.ensemble.n_trees):
        factor = recovered.bags.row_factors(tree)
        assert not (factor == 1).all()
        cover, value = trees.errors(tree, factor)
        assert cover < 5e-6
        assert value < 2e-5 or not values


# Settings.

# before XGBoost 3.4 draws depend on its threads, which a loaded machine may cut
GRADIENTS = {"sampling_method": "gradient_based", "subsample": 0.5, "nthread": 1}
SETTINGS = {
    "squared error": {},
    "logistic": {"objective": BINARY, "subsample": 0.5, "seed": 11},
    "softmax": {"objective": CLASSES, "subsample": 0.632},
    "weights of positives": {"objective": BINARY, "scale_pos_weight": 3.0},
    "columns by tree": {"colsample_bytree": 0.5},
    "columns by level": {"colsample_bylevel": 0.5, "objective": BINARY},
    "columns by node": {"colsample_bynode": 0.5},
    "columns in all ways": {
        **{"colsample_bytree": 0.8, "colsample_bylevel": 0.8, "colsample_bynode": 0.7},
        "objective": CLASSES,
    },
    "lossguide": {"grow_policy": "lossguide", "max_leaves": 6, "max_depth": 0},
    "parallel trees": {"num_parallel_tree": 3},
    "parallel trees of classes": {"num_parallel_tree": 2, "objective": CLASSES},
    "parallel trees, columns": {"num_parallel_tree": 3, "colsample_bynode": 0.5},
    "seed in each iteration": {"seed_per_iteration": True, "objective": BINARY},
    "approx": {"tree_method": "approx", "colsample_bytree": 0.7},
    "approx, parallel trees": {"tree_method": "approx", "num_parallel_tree": 3},
    "exact": {"tree_method": "exact", "objective": BINARY},
    "exact, columns": {"tree_method": "exact", "colsample_bylevel": 0.5},
    "exact, parallel trees": {"tree_method": "exact", "num_parallel_tree": 2},
    "exact, seed in each iteration": {"tree_method": "exact", "seed_per_iteration": 1},
    "stumps": {"max_depth": 1, "objective": BINARY},
    "pruned": {"gamma": 2.0, "alpha": 0.0, "lambda": 3.0},
    "large seed": {"seed": 2**31 - 5},
    "gradients": {**GRADIENTS, "objective": BINARY},
    "gradients, columns": {**GRADIENTS, "colsample_bytree": 0.6},
    "gradients of classes": {**GRADIENTS, "objective": CLASSES},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_bags_are_found_and_equal_those_drawn_without_looking(setting, tables):
    X, targets = tables
    given = SETTINGS[setting]
    y = targets[given.get("objective", REGRESSION)]
    trees, recovered = search(train(X, y, **given), X, y)
    assert_exact(trees, recovered)
    assert str(given.get("seed", 42)) in recovered.source
    assert recovered.parameters == {}
    drawn = find_sampler(trees.ensemble).draw(trees)
    is_scheduled = "gradients" not in setting
    if version_of(xgboost) >= (3, 3):  # choices of columns draw in between
        is_scheduled &= not any("colsample" in name for name in given)
    assert (drawn is not None) == is_scheduled
    for tree in range(trees.ensemble.n_trees if is_scheduled else 0):
        factor = recovered.bags.row_factors(tree)
        assert_array_equal(factor, drawn.bags.row_factors(tree))


def test_a_bag_is_that_of_single_draws(regression):
    X, y = regression
    booster = train(X, y, n=1)
    recovered = search(booster, X, y)[1]
    position = 1 if version_of(xgboost) < (3, 3) else 0
    start = xgboost_draws.twist(42, 2)[position]
    expected = xgboost_draws.draw_bag(start, N_ROWS, 0.7)
    assert_array_equal(recovered.bags.row_factors(0), expected)


def test_factors_of_gradient_based_sampling_are_inverse_probabilities(regression):
    X, y = regression
    _, recovered = search(train(X, y, **GRADIENTS), X, y)
    factor = recovered.bags.row_factors(0)
    assert factor.dtype == np.float32
    assert (factor[factor > 0] >= 1).all()
    assert len(np.unique(factor)) > 10


@pytest.mark.parametrize("objective", [REGRESSION, BINARY])
def test_weights(tables, objective, rng):
    X, targets = tables
    weight = rng.uniform(0.2, 2.0, N_ROWS)
    booster = train(X, targets[objective], weight=weight, objective=objective)
    assert_exact(*search(booster, X, targets[objective], weight))


def test_bags_of_dart_are_found_by_covers(regression):
    X, y = regression
    booster = train(X, y, **dropping_trees(xgboost))
    trees, recovered = search(booster, X, y)
    assert recovered.is_found.all()
    for tree in range(trees.ensemble.n_trees):
        assert trees.errors(tree, recovered.bags.row_factors(tree))[0] < 1e-6


def test_monotone_constraints(tables):
    X, targets = tables
    y = targets[BINARY]
    booster = train(X, y, objective=BINARY, monotone_constraints="(1,0,0,1,0,0)")
    trees, recovered = search(booster, X, y)
    assert_exact(trees, recovered, values=False)
    assert find_sampler(trees.ensemble).draw(trees) is None


def test_estimators(tables):
    X, targets = tables
    y = targets[BINARY]
    settings = {"random_state": 3, "n_jobs": 2, "max_depth": 3}
    stopped = xgboost.XGBClassifier(
        n_estimators=40, subsample=0.6, early_stopping_rounds=2, **settings
    )
    stopped.fit(X[:300], y[:300], eval_set=[(X[300:], y[300:])], verbose=False)
    trees, recovered = search(stopped, X[:300], y[:300])
    assert trees.ensemble.n_trees == stopped.best_iteration + 1
    assert_exact(trees, recovered)
    default = xgboost.XGBClassifier(n_estimators=3, subsample=0.6, max_depth=3)
    trees, recovered = search(default.fit(X, y), X, y)
    assert_exact(trees, recovered)
    assert recovered.source == "XGBoost subsample=0.6, seed 0"


def test_random_forests(regression):
    X, y = regression
    forest = {"num_parallel_tree": 8, "subsample": 0.8, "colsample_bynode": 0.8}
    booster = train(X, y, n=1, eta=1.0, **forest)
    trees, recovered = search(booster, X, y)
    assert_exact(trees, recovered)
    assert len(np.unique(recovered.bags.of_tree)) == 8


# Several trainings.


def save(booster, folder, name="model.json"):
    path = folder / name
    booster.save_model(path)
    return str(path)


def test_continued_training(regression, tmp_path):
    X, y = regression
    first = train(X, y)
    path = save(first, tmp_path)
    for source in (first, path):
        trees, recovered = search(train(X, y, xgb_model=source), X, y)
        assert_exact(trees, recovered)
    assert "trained on from iteration 6" in recovered.source
    other = train(X, y, xgb_model=path, seed=9, subsample=0.5)
    trees, recovered = search(other, X, y)
    assert_exact(trees, recovered)
    words = "subsample=0.7 and 0.5, seeds 42 and 9, trained on from iteration 6"
    assert recovered.source == f"XGBoost {words}"


def test_continued_training_with_seeds_of_iterations(regression, tmp_path):
    X, y = regression
    first = train(X, y, seed_per_iteration=True)
    path = save(first, tmp_path)
    again = train(X, y, seed_per_iteration=True, xgb_model=path)
    assert_exact(*search(again, X, y))


def test_pickles_slices_and_trainings_by_turns(regression):
    X, y = regression
    booster = train(X, y)
    assert_exact(*search(pickle.loads(pickle.dumps(booster)), X, y))
    assert_exact(*search(booster[:4], X, y))
    rows = xgboost.DMatrix(X, y)
    boosters = [xgboost.Booster(PLAIN, [rows]) for _ in range(3)]
    for iteration in range(N_ITERATIONS):
        for each in boosters:
            each.update(rows, iteration)
    for each in boosters:
        assert_exact(*search(each, X, y))
    for iteration in range(N_ITERATIONS):  # up to 3.2 in the one generator of all
        if iteration == 3:
            train(X, y, n=1, seed=7)
        boosters[0].update(rows, N_ITERATIONS + iteration)
    assert_exact(*search(boosters[0], X, y))


# Parameters that are not stored.

FORGOTTEN = {
    "default seed": {"seed": 0},
    "classes": {"seed": 1234, "objective": CLASSES, "subsample": 0.632},
    "columns": {"seed": 60_000, "colsample_bynode": 0.5, "objective": BINARY},
    "many digits": {"seed": 7, "subsample": 0.7382914},
    "stumps": {"seed": 77, "max_depth": 1, "subsample": 0.6},
    "exact": {"seed": 5, "tree_method": "exact", "objective": BINARY},
    "seed in each iteration": {"seed_per_iteration": True},
    "approx": {"tree_method": "approx", "num_parallel_tree": 2},
}


@pytest.mark.parametrize("setting", FORGOTTEN)
def test_a_file_forgets_parameters_that_are_found(setting, tables, tmp_path):
    X, targets = tables
    given = FORGOTTEN[setting]
    y = targets[given.get("objective", REGRESSION)]
    path = save(train(X, y, **given), tmp_path, "model.ubj")
    trees, recovered = search(path, X, y)
    assert find_sampler(trees.ensemble).draw(trees) is None
    assert_exact(trees, recovered)
    assert recovered.parameters["seed"] == given.get("seed", 42)
    share = recovered.parameters["subsample"]
    assert share == pytest.approx(given.get("subsample", 0.7), abs=1e-3)
    trees, again = search(path, X, y, **recovered.parameters)
    assert_exact(trees, again)
    for tree in range(trees.ensemble.n_trees):
        factor = again.bags.row_factors(tree)
        assert_array_equal(factor, recovered.bags.row_factors(tree))


def test_a_booster_read_from_a_file_has_defaults_that_are_not_believed(
    regression, tmp_path
):
    X, y = regression
    path = save(train(X, y), tmp_path)
    trees, recovered = search(xgboost.Booster(model_file=path), X, y)
    assert_exact(trees, recovered)
    assert recovered.parameters == {"subsample": 0.7, "seed": 42}


def test_gradient_based_sampling_of_a_file_is_found_once_named(regression, tmp_path):
    X, y = regression
    path = save(train(X, y, **GRADIENTS), tmp_path)
    trees, recovered = search(path, X, y, **GRADIENTS)
    assert_exact(trees, recovered)
    assert recovered.parameters["seed"] == 42


def test_large_seeds_are_found_on_request(regression, tmp_path, monkeypatch):
    from treeinf.adapters.xgboost import bag_search

    monkeypatch.setattr(bag_search, "_ALL_SEEDS", 2**17 + 2**16)
    X, y = regression
    path = save(train(X, y, seed=2**17 + 5), tmp_path)
    assert not search(path, X, y)[1].is_found.any()
    trees, recovered = search(path, X, y, is_wide=True)
    assert_exact(trees, recovered)
    assert recovered.parameters == {"subsample": 0.7, "seed": 2**17 + 5}
    trees, recovered = search(path, X, y, is_wide=True, subsample=0.7)
    assert_exact(trees, recovered)
    assert recovered.parameters == {"seed": 2**17 + 5}


def test_round_shares_are_tried_where_a_range_of_them_tells_too_little(
    regression, tmp_path, monkeypatch
):
    from treeinf.adapters.xgboost import bag_search

    monkeypatch.setattr(bag_search, "_ALL_SEEDS", 2**17)
    monkeypatch.setattr(bag_search, "_MOST_SCREENED", 0)
    monkeypatch.setattr(bag_search, "_SEEDS_OF_ONE", 2**13)
    X, y = regression
    path = save(train(X, y, seed=2**16 + 5, subsample=0.6), tmp_path)
    trees, recovered = search(path, X, y, is_wide=True)
    assert_exact(trees, recovered)
    assert recovered.parameters == {"subsample": 0.6, "seed": 2**16 + 5}


def test_round_shares_begin_with_the_roundest():
    from treeinf.adapters.xgboost.row_draws import UniformDraws, list_round_shares

    assert list_round_shares(0.64, 0.76)[:4] == [0.7, 0.69, 0.71, 0.68]
    draws = UniformDraws.between(100, 0.64, 0.76).of_round_shares()
    assert all(each.is_known for each in draws)
    assert [each.subsample for each in draws[:2]] == [0.7, 0.69]


def test_parameters_that_contradict_the_trees_are_corrected(regression):
    X, y = regression
    booster = train(X, y)
    trees, recovered = search(booster, X, y, seed=41, subsample=0.6)
    assert_exact(trees, recovered)
    assert recovered.parameters == {"subsample": 0.7, "seed": 42}


def test_settings_survive_the_ensemble_s_file(regression, tmp_path):
    from treeinf.ensemble import TreeEnsemble

    X, y = regression
    ensemble = read_model(train(X, y))
    ensemble.save(tmp_path / "model.npz")
    again = TreeEnsemble.load(tmp_path / "model.npz")
    assert again.training == ensemble.training
    trees = JudgedTrees(again, X, y)
    assert_exact(trees, find_sampler(again).search(trees))


def test_all_rows_by_the_caller_s_word_is_not_searched(regression):
    X, y = regression
    model = train(X, y, subsample=1.0)
    assert find_sampler(read_model(model, parameters={"subsample": 1.0})) is None


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "x"), ("seed", 1.5), ("nthread", [2])]
)
def test_parameters_that_are_no_integers_are_refused(regression, name, value):
    with pytest.raises(ValueError, match=f"Got {name}=.*expected an integer"):
        read_model(train(*regression, n=1), parameters={name: value})


# What was not the training's.


def tampered(X, y, rng):
    """Rows, targets and weights that are not those of the training."""
    order = rng.permutation(N_ROWS)
    yield X[order], y[order]
    yield X, y[order]
    heavier = np.ones(N_ROWS)
    heavier[::7] = 2.0
    yield X, y, heavier
    yield np.concatenate([X, X]), np.concatenate([y, y])
    yield X[: N_ROWS // 2], y[: N_ROWS // 2]


@pytest.mark.parametrize(
    ("objective", "is_file"), [(REGRESSION, False), (BINARY, False), (BINARY, True)]
)
def test_other_rows_have_no_bags(is_file, objective, tables, rng, tmp_path):
    X, targets = tables
    model = train(X, targets[objective], objective=objective)
    model = save(model, tmp_path) if is_file else model
    for other in tampered(X, targets[objective], rng):
        _, recovered = search(model, *other)
        assert not recovered.is_found.any()
        assert not recovered.bags.of_tree.size


def test_one_wrong_label_leaves_only_right_bags(tables):
    X, targets = tables
    y = targets[BINARY]
    booster = train(X, y, objective=BINARY)
    right = search(booster, X, y)[1].bags
    other = y.copy()
    other[5] = 1.0 - other[5]
    _, recovered = search(booster, X, other)
    assert not recovered.is_found.all()
    for tree in np.flatnonzero(recovered.is_found):
        assert_array_equal(recovered.bags.row_factors(tree), right.row_factors(tree))


@pytest.mark.parametrize("is_file", [False, True])
def test_models_of_all_rows_are_not_searched(is_file, tables, tmp_path):
    X, targets = tables
    y = targets[BINARY]
    model = train(X, y, objective=BINARY, subsample=1.0)
    model = save(model, tmp_path) if is_file else model
    trees, recovered = search(model, X, 1.0 - y)
    assert not recovered.is_found.any()
    assert trees.n_fits == 0


def test_draws_of_another_generator_are_not_found(regression, monkeypatch):
    from treeinf.adapters.xgboost import row_draws
    from treeinf.kernels.cpu import random_draws

    def other_powers(first, step, n_powers):
        return np.cumprod(np.full(n_powers, 48271, np.uint64))

    X, y = regression
    booster = train(X, y)
    monkeypatch.setattr(random_draws, "list_xgboost_powers", other_powers)
    row_draws._word_powers.cache_clear()
    _, recovered = search(booster, X, y)
    row_draws._word_powers.cache_clear()
    assert not recovered.is_found.any()


# Through the replay of the training.


def report_of(model, X, y):
    return TrainingTrace.build(read_model(model), X, y, on_mismatch="ignore").report


@pytest.mark.parametrize("setting", ["squared error", "exact", "gradients of classes"])
def test_a_replay_over_the_bags_is_exact(setting, tables):
    X, targets = tables
    given = SETTINGS[setting]
    y = targets[given.get("objective", REGRESSION)]
    report = report_of(train(X, y, **given), X, y)
    assert report.verdict == "exact"
    assert report.largest_difference < 5e-6
    assert "bags of 6 of 6 iterations found: XGBoost subsample" in report.explanation


def test_a_replay_tells_sampled_rows_from_wrong_ones(tables, tmp_path):
    X, targets = tables
    y = targets[BINARY]
    model = train(X, y, objective=BINARY)
    path = save(model, tmp_path)
    assert "found: subsample=0.7, seed=42" in report_of(path, X, y).explanation
    assert "subsample=1" not in report_of(path, X, y).explanation
    other = report_of(path, X, 1.0 - y)
    assert "a sample of the rows for each tree" in other.explanation
    assert report_of(model, X, 1.0 - y).verdict.startswith("other")
    assert report_of(model, X[::-1], y[::-1]).verdict == "subsampled"


def test_bags_are_found_where_values_are_approximate(tables):
    X, targets = tables
    y = targets[BINARY]
    monotone = {"objective": BINARY, "monotone_constraints": "(1,0,0,1,0,0)"}
    dart = dropping_trees(xgboost)
    for target, given in ((y, monotone), (targets[REGRESSION], dart)):
        report = report_of(train(X, target, **given), X, target)
        assert report.verdict == "approximate"
        assert "bags of 6 of 6 iterations found" in report.explanation
