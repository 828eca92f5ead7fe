"""Which rows each tree saw is found exactly, or not at all."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.adapters.lightgbm.staged import SlowTrees
from tests.naive import lightgbm_draws as naive
from treeinf.adapters import read_model
from treeinf.adapters.lightgbm import seed_search
from treeinf.adapters.lightgbm.goss_search import list_rates, starts_with_all_rows
from treeinf.adapters.lightgbm.row_settings import derive_bagging_seed
from treeinf.adapters.row_sampling import find_sampler
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers.row_sampling.counted_trees import CountedTrees
from treeinf.kernels.threads import limit_threads
from treeinf.trace import StagedRows

lightgbm = pytest.importorskip("lightgbm")

VERSION = tuple(int(part) for part in lightgbm.__version__.split(".")[:2])
QUIET = {"verbose": -1, "num_threads": 1, "num_leaves": 8, "learning_rate": 0.2}
BAGS = {"bagging_fraction": 0.7, "bagging_freq": 1}
GOSS = {"boosting": "goss", "learning_rate": 0.5}


@pytest.fixture(autouse=True)
def _one_thread():
    """Small models are searched fastest by one thread."""
    with limit_threads(1):
        yield


def draw_table(task="regression", n_rows=600, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 6))
    score = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2 * X[:, 3]) + rng.normal(size=n_rows)
    if task == "binary":
        return X, (score > 0.8).astype(float)
    if task == "multiclass":
        return X, np.digitize(score, [-1.0, 1.0]).astype(float)
    return X, score


def train(X, y, iterations=12, *, init_model=None, callbacks=None, data=None, **params):
    params = {"objective": "regression", **QUIET, **params}
    dataset = lightgbm.Dataset(X, y, **(data or {}))
    return lightgbm.train(
        params, dataset, iterations, init_model=init_model, callbacks=callbacks
    )


def is_exact(trees, bags):
    """Return whether each tree's bag gives its leaf counts and values."""
    has_split = np.diff(trees.ensemble.leaf_offset) > 1
    return np.array(
        [
            not has_split[tree] or trees.fits(tree, bags.row_factors(tree))
            for tree in range(trees.ensemble.n_trees)
        ]
    )


def search(model, X, y, *, parameters=None, weight=None, **options):
    """Search the bags; each that is said to be found must be exact."""
    ensemble = read_model(model, parameters=parameters)
    trees = SlowTrees(ensemble, X, y, weight)
    recovered = find_sampler(ensemble, **options).search(trees)
    exact = is_exact(trees, recovered.bags)
    assert exact[recovered.is_found].all()
    # what is not found counts as all rows
    unknown = ~recovered.is_found
    if recovered.bags.of_tree.size:
        assert (recovered.bags.of_tree[unknown] == -1).all()
    return recovered


def draw(model, X, y, *, weight=None, **options):
    """Draw the bags by the schedule; return which trees they fit, and them."""
    ensemble = read_model(model)
    trees = SlowTrees(ensemble, X, y, weight)
    drawn = find_sampler(ensemble, **options).draw(trees)
    return is_exact(trees, drawn.bags), drawn


# Bagging with stored parameters.

SETTINGS = {
    "each iteration": ("regression", 600, {**BAGS}),
    "every third": ("binary", 1500, {"bagging_fraction": 0.5, "bagging_freq": 3}),
    "a derived seed": ("binary", 600, {**BAGS, "seed": 11}),
    "a given seed": ("regression", 600, {**BAGS, "bagging_seed": 2**31 - 1}),
    "three classes": ("multiclass", 900, {**BAGS, "num_class": 3}),
    "columns": (
        "regression",
        1100,
        {**BAGS, "feature_fraction": 0.5, "feature_fraction_bynode": 0.7},
    ),
    "extra trees": ("regression", 600, {**BAGS, "extra_trees": True}),
    "several threads": ("binary", 5000, {**BAGS, "num_threads": 3}),
    "unbalanced classes": ("binary", 900, {**BAGS, "is_unbalance": True}),
    "by class": (
        "binary",
        900,
        {
            "pos_bagging_fraction": 0.9,
            "neg_bagging_fraction": 0.3,
            "bagging_freq": 2,
            "bagging_fraction": 0.6,
        },
    ),
    "by one class": (
        "binary",
        900,
        {"neg_bagging_fraction": 0.5, "bagging_freq": 1, "scale_pos_weight": 2.0},
    ),
    "fractions by class that regression ignores": (
        "regression",
        600,
        {**BAGS, "pos_bagging_fraction": 0.2},
    ),
    "bounded leaves": ("regression", 600, {**BAGS, "max_delta_step": 0.4}),
    "penalties": ("regression", 600, {**BAGS, "lambda_l1": 2.0, "lambda_l2": 3.0}),
    "a huge fraction": ("regression", 600, {**BAGS, "bagging_fraction": 0.9999}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_bag_of_every_tree_is_exact(setting):
    task, n_rows, params = SETTINGS[setting]
    X, y = draw_table(task, n_rows)
    booster = train(X, y, objective=task, **params)
    exact, drawn = draw(booster, X, y)
    assert exact.all()
    assert drawn.is_found.all()
    # the search finds the same
    found = search(booster, X, y)
    assert found.is_found.all()
    assert found.parameters == {}
    for tree in range(len(exact)):
        bags = [one.bags.row_factors(tree) for one in (drawn, found)]
        assert (bags[0] is None) == (bags[1] is None)
        if bags[0] is not None:
            assert_array_equal(bags[0], bags[1])


def test_bags_are_those_of_the_generator():
    X, y = draw_table(n_rows=1100)
    _, drawn = draw(train(X, y, 3, **BAGS), X, y)
    generators = naive.start(3, 1100)
    for tree in range(3):
        bag = naive.draw_bag(generators, [0.7] * 1100)
        assert_array_equal(drawn.bags.row_factors(tree), bag)
    assert drawn.source == "LightGBM bagging, seed 3"


def test_sample_weights_and_class_weights(rng):
    X, y = draw_table("binary")
    weight = rng.uniform(0.2, 2.0, len(y))
    booster = train(X, y, objective="binary", data={"weight": weight}, **BAGS)
    assert draw(booster, X, y, weight=weight)[0].all()
    model = lightgbm.LGBMClassifier(
        n_estimators=8, class_weight="balanced", subsample=0.6, subsample_freq=2,
        random_state=7, n_jobs=1, verbose=-1,
    ).fit(X, y)  # fmt: skip
    exact, drawn = draw(model, X, y)
    assert exact.all()
    assert drawn.source == f"LightGBM bagging, seed {derive_bagging_seed(7)}"


def test_rounded_gradients():
    """The replay of values is approximate, that of rows is not."""
    if VERSION < (4, 0):
        pytest.skip("from LightGBM 4.0 on")
    X, y = draw_table()
    booster = train(X, y, use_quantized_grad=True, quant_train_renew_leaf=True, **BAGS)
    assert draw(booster, X, y)[0].all()


def test_early_stopping():
    X, y = draw_table()
    model = lightgbm.LGBMRegressor(
        n_estimators=200, learning_rate=0.5, subsample=0.5, subsample_freq=1, n_jobs=1,
        verbose=-1,
    )  # fmt: skip
    stop = [lightgbm.early_stopping(3, verbose=False)]
    model.fit(X, y, eval_set=[draw_table(n_rows=200, seed=1)], callbacks=stop)
    assert model.best_iteration_ < 100
    assert draw(model, X, y)[0].all()


def test_no_bag_is_drawn_once_one_had_all_rows():
    X, y = draw_table(n_rows=120)
    booster = train(X, y, 20, bagging_fraction=0.999, bagging_freq=1)
    exact, drawn = draw(booster, X, y)
    assert exact.all()
    assert (drawn.bags.of_tree[1:] == -1).any()


@pytest.mark.parametrize("n_trees", [2, 12])
def test_iterations_without_a_split_drew_bags_too(n_trees):
    X, y = draw_table(n_rows=300)
    params = {"bagging_fraction": 0.4, "bagging_freq": 1, "seed": 1}
    for gain in range(10, 200, 10):
        booster = train(X, y, 150, min_gain_to_split=gain, **params)
        if booster.num_trees() <= n_trees:
            break
    assert not draw(booster, X, y)[0].all()
    assert search(booster, X, y).is_found.all()


def test_a_fraction_of_more_digits_than_files_keep():
    X, y = draw_table()
    fraction = 20000 / 2**15 + 2e-8  # one more draw is in than at its six digits
    text = train(X, y, bagging_fraction=fraction, bagging_freq=1).model_to_string()
    assert f"{fraction:g}" in text
    assert search(text, X, y).is_found.all()


@pytest.mark.parametrize("way", ["file", "pickle", "estimator", "saved ensemble"])
def test_all_that_keeps_the_parameters_gives_the_bags(way, tmp_path):
    X, y = draw_table()
    model = lightgbm.LGBMRegressor(
        n_estimators=4, subsample=0.7, subsample_freq=1, n_jobs=1, verbose=-1
    ).fit(X, y)
    path = tmp_path / "model.txt"
    match way:
        case "file":
            model.booster_.save_model(path)
            model = path
        case "pickle":
            model = pickle.loads(pickle.dumps(model))
        case "saved ensemble":
            read_model(model).save(path)
            ensemble = TreeEnsemble.load(path)
            trees = SlowTrees(ensemble, X, y)
            drawn = find_sampler(ensemble).draw(trees)
            assert is_exact(trees, drawn.bags).all()
            return
    assert draw(model, X, y)[0].all()


def test_models_that_used_all_rows_have_no_sampler():
    X, y = draw_table()
    assert find_sampler(read_model(train(X, y))) is None
    # a file without parameters may hide anything; nothing is found where nothing was
    found = search(train(X, y).dump_model(), X, y)
    assert found.is_found.all()
    assert not found.bags.of_tree.size


# Several calls of training.


def test_continued_training_starts_anew():
    X, y = draw_table()
    first = train(X, y, 6, data={"free_raw_data": False}, **BAGS)
    booster = train(X, y, 6, init_model=first, **BAGS)
    found = search(booster, X, y)
    assert found.is_found.all()
    assert_array_equal(found.bags.row_factors(0), found.bags.row_factors(6))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (BAGS, {"bagging_fraction": 0.55, "bagging_freq": 2, "seed": 9}),
        (BAGS, {}),
        ({}, BAGS),
    ],
)
def test_calls_with_other_parameters(before, after):
    X, y = draw_table()
    booster = train(X, y, 6, init_model=train(X, y, 8, **before), **after)
    assert search(booster, X, y).is_found.all()


def test_fractions_that_change_with_the_iteration():
    X, y = draw_table()
    schedule = lightgbm.reset_parameter(
        bagging_fraction=[0.7 - 0.02 * number for number in range(10)]
    )
    found = search(train(X, y, 10, callbacks=[schedule], **BAGS), X, y)
    assert found.is_found.all()
    assert "from iteration 2 LightGBM bagging, seed 3" in found.source
    assert found.source.endswith("more such changes")


# Files without parameters.


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"seed": 2024},
        {"bagging_seed": 77, "bagging_fraction": 0.738461512, "bagging_freq": 3},
        {"bagging_freq": 100},
    ],
)
def test_seed_fraction_and_frequency_are_found(params):
    X, y = draw_table(n_rows=900)
    booster = train(X, y, 15, **{**BAGS, **params})
    found = search(booster.dump_model(), X, y)
    assert found.is_found.all()
    settings = read_model(booster).training.row_sampling
    assert found.parameters["bagging_seed"] == dict(settings)["seed"]
    # passed on, they make the fast path
    ensemble = read_model(booster.dump_model(), parameters=found.parameters)
    trees = SlowTrees(ensemble, X, y)
    assert is_exact(trees, find_sampler(ensemble).draw(trees).bags).all()


def test_seeds_that_are_passed_are_used():
    X, y = draw_table()
    booster = train(X, y, seed=5, **BAGS)
    told = {"random_state": 5, "subsample": 0.7, "subsample_freq": 1}
    ensemble = read_model(booster.dump_model(), parameters=told)
    trees = SlowTrees(ensemble, X, y)
    assert is_exact(trees, find_sampler(ensemble).draw(trees).bags).all()
    told["random_state"] = None
    found = search(booster.dump_model(), X, y, parameters=told)
    assert found.is_found.all()
    assert found.parameters["bagging_seed"] == derive_bagging_seed(5)


def test_seeds_by_class():
    X, y = draw_table("binary", 900)
    fractions = {
        "pos_bagging_fraction": 0.9,
        "neg_bagging_fraction": 0.3,
        "bagging_freq": 2,
    }
    booster = train(X, y, objective="binary", seed=4, **fractions)
    found = search(booster.dump_model(), X, y, parameters=fractions)
    assert found.is_found.all()
    assert found.parameters == {
        "bagging_freq": 2,
        "bagging_seed": derive_bagging_seed(4),
    }


def test_all_seeds_are_searched_on_request(monkeypatch):
    monkeypatch.setattr(seed_search, "_ALL_SEEDS", 2**17)
    X, y = draw_table()
    dump = train(X, y, bagging_seed=50_000, **BAGS).dump_model()
    assert not search(dump, X, y).is_found.any()
    found = search(dump, X, y, is_wide=True)
    assert found.is_found.all()
    assert found.parameters["bagging_seed"] == 50_000


@pytest.mark.parametrize("seed", [0, 1, 7, 2024, 123456789])
def test_bagging_seeds_are_derived_as_the_library_does(seed):
    text = train(*draw_table(n_rows=60), 1, seed=seed).model_to_string()
    assert f"[bagging_seed: {derive_bagging_seed(seed)}]" in text


# GOSS.


@pytest.mark.parametrize(
    ("task", "n_rows", "params"),
    [
        ("regression", 900, {}),
        ("binary", 3000, {"seed": 8}),
        ("binary", 3000, {"num_threads": 3, "is_unbalance": True}),
        (
            "multiclass",
            2500,
            {"num_class": 3, "top_rate": 0.4, "other_rate": 0.3, "num_threads": 1},
        ),
    ],
)
def test_goss_is_exact(task, n_rows, params):
    X, y = draw_table(task, n_rows)
    booster = train(X, y, objective=task, **{**GOSS, **params})
    ensemble = read_model(booster)
    assert find_sampler(ensemble).draw(SlowTrees(ensemble, X, y)) is None
    found = search(booster, X, y)
    assert found.is_found.all()
    assert found.bags.of_tree[0] == -1
    factor = found.bags.row_factors(ensemble.n_trees - 1)
    assert factor.dtype == np.float32
    rates = params.get("top_rate", 0.2), params.get("other_rate", 0.1)
    assert np.isclose(factor.max(), (1 - rates[0]) / rates[1], rtol=0.02)


def test_goss_of_stumps_is_known_by_the_stored_seed():
    X, y = draw_table(n_rows=150)
    booster = train(X, y, min_data_in_leaf=20, **GOSS)
    found = search(booster, X, y)
    assert booster.trees_to_dataframe().groupby("tree_index").size().iloc[-1] == 3
    assert found.is_found.all()


def test_goss_with_weights_and_columns(rng):
    X, y = draw_table(n_rows=2000)
    weight = rng.uniform(0.2, 2.0, len(y))
    booster = train(X, y, data={"weight": weight}, feature_fraction=0.5, **GOSS)
    assert search(booster, X, y, weight=weight).is_found.all()


def test_goss_with_a_number_of_threads_that_is_not_stored():
    X, y = draw_table("binary", 4000)
    booster = train(X, y, objective="binary", **{**GOSS, "num_threads": 4})
    told = {"num_threads": 0}
    found = search(booster.model_to_string(), X, y, parameters=told)
    assert found.is_found.all()
    assert found.parameters == {"num_threads": 4}
    assert found.source == "LightGBM GOSS, seed 3, 4 threads"


@pytest.mark.parametrize("params", [{}, {"seed": 5}, {"top_rate": 0.3}])
def test_goss_without_parameters(params):
    X, y = draw_table(n_rows=1500)
    booster = train(X, y, **GOSS, **params)
    found = search(booster.dump_model(), X, y)
    assert found.is_found.all()
    again = search(booster.dump_model(), X, y, parameters=found.parameters)
    assert again.is_found.all()


def test_goss_of_equal_gradients_without_parameters():
    """Rows as large as the last one that is taken are all taken."""
    X, y = draw_table("binary", 1200)
    booster = train(X, y, 7, objective="binary", **GOSS)
    ensemble = read_model(booster)
    n_rows = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
    assert np.median(n_rows[2:]) > n_rows.min()
    assert search(booster.dump_model(), X, y).is_found.all()


def test_goss_of_files_that_do_not_name_it():
    """LightGBM 4.0 and 4.1 write no data_sample_strategy."""
    X, y = draw_table(n_rows=900)
    booster = train(X, y, **GOSS)
    text = booster.model_to_string().replace("[data_sample_strategy: goss]\n", "")
    assert "goss" not in text
    ensemble = read_model(text)
    assert ensemble.training.subsample == read_model(booster).training.subsample
    assert search(text, X, y).is_found.all()
    # nothing else is taken for it
    for params in ({}, BAGS):
        text = train(X, y, **params).model_to_string()
        text = text.replace("[data_sample_strategy: bagging]\n", "")
        assert "goss" not in (read_model(text).training.subsample or "")


def test_bags_that_look_like_goss():
    """All rows first, then one bag for all other trees; no parameters are stored."""
    X, y = draw_table(n_rows=200)
    first = train(X, y, 3)
    fraction = {"bagging_fraction": 0.3, "bagging_freq": 100}
    for seed in range(60):
        booster = train(X, y, 6, init_model=first, seed=seed, **fraction)
        ensemble = read_model(booster)
        n_rows = np.add.reduceat(ensemble.leaf_count, ensemble.leaf_offset[:-1])
        if list_rates(n_rows, 200):
            break
    assert starts_with_all_rows(n_rows, 200)
    found = search(booster.dump_model(), X, y)
    assert found.is_found.all()
    assert "bagging" in found.source


@pytest.mark.parametrize("as_file", ["model_to_string", "dump_model"])
def test_trees_of_one_leaf_without_counts(as_file):
    """LightGBM before 4.6 stores no count for them; those of other trees are kept."""
    X, y = draw_table("multiclass")
    classes = {"objective": "multiclass", "num_class": 4}
    booster = train(X, y, 6, **classes, **BAGS)
    model = getattr(booster, as_file)()
    if as_file == "dump_model":
        structures = [tree["tree_structure"] for tree in model["tree_info"]]
        alone = [tree for tree in structures if "split_index" not in tree]
        for tree in alone:
            tree.pop("leaf_count", None)
        assert len(alone) == 6
    else:
        model = re.sub(
            r"(\nnum_leaves=1\n.*?\nleaf_count=)\d*", r"\1", model, flags=re.S
        )
        assert model.count("leaf_count=\n") == 6
    ensemble = read_model(model)
    has_split = np.repeat(
        np.diff(ensemble.leaf_offset) > 1, np.diff(ensemble.leaf_offset)
    )
    assert_array_equal(ensemble.leaf_count > 0, has_split)
    assert_array_equal(ensemble.leaf_hessian > 0.0, has_split)
    assert search(model, X, y).is_found.all()


def test_continued_goss_with_learning_rates_that_change():
    X, y = draw_table(n_rows=900)
    rates = lightgbm.reset_parameter(learning_rate=[0.5] * 5 + [0.4] * 5)
    first = train(X, y, 10, callbacks=[rates], **GOSS)
    found = search(train(X, y, 8, init_model=first, **GOSS), X, y)
    assert found.is_found.all()


# Trees that are compared by counts alone.


@pytest.mark.parametrize("boosting", ["dart", "rf"])
def test_dart_and_random_forests_by_counts(boosting):
    X, y = draw_table(n_rows=900)
    booster = train(X, y, boosting=boosting, **BAGS)
    ensemble = read_model(booster)
    trees = CountedTrees(ensemble, StagedRows.read(ensemble, X, y), has_targets=False)
    sampler = find_sampler(ensemble)
    assert is_exact(trees, sampler.draw(trees).bags).all()
    assert sampler.search(trees).is_found.all()


def test_small_trees_fit_no_bag_by_chance(monkeypatch):
    """By counts alone a tree of two leaves fits one other bag in a few dozen."""
    monkeypatch.setattr(seed_search, "DERIVED_SEEDS", 2**12)
    X, y = draw_table(n_rows=80)
    ensemble = read_model(train(X, y, 12, **{**BAGS, "num_leaves": 2}))
    shuffled = np.random.default_rng(1).permutation(80)
    rows = StagedRows.read(ensemble, X[shuffled], y[shuffled])
    trees = CountedTrees(ensemble, rows, has_targets=True)
    assert not find_sampler(ensemble).search(trees).is_found.any()


@pytest.mark.skipif(VERSION < (4, 6), reason="from LightGBM 4.6 on")
def test_whole_queries(rng):
    group = rng.integers(2, 12, 150)
    X, y = draw_table(n_rows=group.sum())
    for fraction in (0.4, 0.7):
        booster = train(
            X, y, data={"group": group}, bagging_by_query=True,
            bagging_fraction=fraction, bagging_freq=1,
        )  # fmt: skip
        ensemble = read_model(booster)
        rows = StagedRows.read(ensemble, X, y)
        trees = CountedTrees(ensemble, rows, has_targets=True)
        sampler = find_sampler(ensemble, group=group)
        assert is_exact(trees, sampler.draw(trees).bags).all()
        assert sampler.search(trees).is_found.all()
        if fraction < 0.5:  # else LightGBM adds scores to other rows
            assert search(booster, X, y, group=group).is_found.all()
        else:
            assert "bagging_by_query" in " ".join(ensemble.training.approximations)
    # a dump does not say that queries were drawn; with group they are tried
    without = find_sampler(ensemble)
    assert without.draw(trees) is None
    assert "pass group=" in without.search(trees).source


@pytest.mark.parametrize(
    ("group", "words"),
    [([3, 4], "have 7 rows, X has 600"), ([0.5], "expected the number of rows")],
)
def test_groups_that_cannot_be(group, words):
    X, y = draw_table()
    text = train(X, y, **BAGS).model_to_string()
    text = text.replace("[bagging_by_query: 0]", "[bagging_by_query: 1]")
    if "[bagging_by_query: 1]" not in text:
        text = text.replace(
            "[bagging_freq: 1]", "[bagging_freq: 1]\n[bagging_by_query: 1]"
        )
    ensemble = read_model(text)
    with pytest.raises(ValueError, match=words):
        find_sampler(ensemble, group=group).draw(SlowTrees(ensemble, X, y))


# What must not be found.


@pytest.mark.parametrize("params", [BAGS, GOSS])
@pytest.mark.parametrize("change", ["order", "labels", "weights", "a row less"])
def test_other_data_give_no_bag(change, params, rng):
    X, y = draw_table(n_rows=500)
    booster = train(X, y, 6, **params)
    weight = None
    if change == "order":
        order = rng.permutation(len(y))
        X, y = X[order], y[order]
    elif change == "labels":
        y[:30] += 5.0
    elif change == "weights":
        weight = np.where(np.arange(len(y)) < 100, 2.0, 1.0)
    else:
        X, y = X[1:], y[1:]
    for model in (booster, booster.dump_model()):
        found = search(model, X, y, weight=weight)
        drew = np.array(found.bags.of_tree) >= 0
        assert not drew.any()
        n_warm_up = 2 if params is GOSS and change == "order" else 0
        assert found.is_found.sum() == n_warm_up


def test_another_generator_gives_no_bag(monkeypatch, rng):
    """A version that draws otherwise ends in trees that are not found."""
    X, y = draw_table(n_rows=900)
    booster = train(X, y, **BAGS)
    ensemble = read_model(booster)
    trees = SlowTrees(ensemble, X, y)
    counts = ensemble.leaf_count.copy()
    for tree in range(ensemble.n_trees):
        own = slice(*ensemble.leaf_offset[tree : tree + 2])
        leaf = trees.leaf(tree)[rng.random(900) < 0.7]
        counts[own] = np.bincount(leaf, minlength=own.stop - own.start)
    trees.ensemble = dataclasses.replace(trees.ensemble, leaf_count=counts)
    monkeypatch.setattr(SlowTrees, "compares_values", False)
    assert not find_sampler(ensemble).search(trees).is_found.any()


def test_wrong_parameters_in_the_file_are_found_out():
    X, y = draw_table()
    text = train(X, y, **BAGS).model_to_string()
    edited = text.replace("[bagging_fraction: 0.7]", "[bagging_fraction: 0.6]")
    exact, _ = draw(edited, X, y)
    assert not exact.any()
    found = search(edited, X, y)
    assert found.is_found.all()
    assert "bagging_fraction=0.7" in found.source
