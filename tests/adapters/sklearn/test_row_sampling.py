"""Rows that scikit-learn drew for each tree, or held out of all."""

import dataclasses

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_array_equal
from sklearn import ensemble as sk

from tests.adapters.sklearn.models import make_rows, make_targets
from tests.adapters.sklearn.staged import NaiveTrees
from treeinf.adapters import read_model
from treeinf.adapters.row_sampling import find_sampler
from treeinf.adapters.sklearn.twister import step_back
from treeinf.ensemble import TreeEnsemble


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small models are fitted fastest by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


def fit_boosting(task, weighted=False, **params):
    X = make_rows()
    y = make_targets(X, task)
    w = np.random.default_rng(0).integers(0, 4, len(y)) / 2.0 if weighted else None
    kind = "Regressor" if task == "" else "Classifier"
    given = {"n_estimators": 6, "max_depth": 3, "random_state": 3, **params}
    return getattr(sk, f"GradientBoosting{kind}")(**given).fit(X, y, w), X, y, w


def stage(model, X, y, w=None):
    """Return the trees of a model with these rows."""
    ensemble = read_model(model)
    if y is not None and ensemble.classes is not None:
        y = np.searchsorted(ensemble.classes, y).astype(float)
    return NaiveTrees(ensemble, X, y, () if w is None else w)


def recover(model, X, y, w=None):
    trees = stage(model, X, y, w)
    return trees, find_sampler(trees.ensemble).search(trees)


SETTINGS = {
    "half": ("", {"subsample": 0.5}),
    "columns": ("binary", {"subsample": 0.7, "max_features": 2}),
    "classes": ("multiclass", {"subsample": 0.6, "max_features": "sqrt"}),
    "few": ("", {"subsample": 0.05, "random_state": 2**32 - 1}),
    "pruned": ("", {"subsample": 0.5, "ccp_alpha": 0.05}),
    "any": ("", {"subsample": 0.5, "random_state": None}),
    "given": ("multiclass", {"subsample": 0.8, "random_state": "given"}),
    "stops": ("", {"subsample": 0.5, "n_iter_no_change": 2}),
    "stops, classes": ("multiclass", {"subsample": 0.5, "n_iter_no_change": 2}),
    "numpy share": (
        "",
        {
            "subsample": 0.5,
            "n_iter_no_change": 2,
            "validation_fraction": np.float64(0.3),
        },
    ),
    "exponential": ("binary", {"subsample": 0.5, "loss": "exponential"}),
    "start of zero": ("binary", {"subsample": 0.5, "init": "zero"}),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_rows_of_gradient_boosting_are_found(name, weighted):
    task, params = SETTINGS[name]
    if params.get("random_state") == "given":
        params = {**params, "random_state": np.random.RandomState(5)}
    model, X, y, w = fit_boosting(task, weighted, **params)
    trees, recovered = recover(model, X, y, w)
    assert recovered.is_found.all()
    for tree in range(trees.ensemble.n_trees):
        bag = recovered.bags.row_factors(tree)
        assert bag.dtype == np.bool_
        assert trees.difference(tree, bag) < 1e-12
    assert f"subsample {model.subsample:g}" in recovered.source
    if weighted or "n_iter_no_change" in params:
        return
    # the library says how many there were
    assert bag.sum() == max(1, int(model.subsample * len(y)))


def test_rows_of_a_continued_training_are_found():
    X = make_rows()
    y = make_targets(X, "")
    model = sk.GradientBoostingRegressor(
        n_estimators=3, subsample=0.5, warm_start=True, random_state=1
    ).fit(X, y)
    model.set_params(n_estimators=7).fit(X, y)
    assert recover(model, X, y)[1].is_found.all()


def test_rows_are_found_in_the_first_trees_of_a_model():
    model, X, y, _ = fit_boosting("", subsample=0.5, random_state=None)
    ensemble = read_model(model, iterations=3)
    trees = NaiveTrees(ensemble, X, y)
    assert find_sampler(ensemble).search(trees).is_found.tolist() == [True] * 3


@pytest.mark.parametrize("seed", [3, None])
def test_rows_are_found_from_the_file_of_an_ensemble(seed, tmp_path):
    model, X, y, _ = fit_boosting("", subsample=0.5, random_state=seed)
    live = recover(model, X, y)[1]
    read_model(model).save(tmp_path / "model.npz")
    ensemble = TreeEnsemble.load(tmp_path / "model.npz")
    read = find_sampler(ensemble).search(NaiveTrees(ensemble, X, y))
    assert_array_equal(live.bags.bits, read.bags.bits)
    assert read.is_found.all()


def test_wrong_rows_or_targets_give_no_bags(rng):
    model, X, y, _ = fit_boosting("", subsample=0.5)
    order = rng.permutation(len(y))
    shuffled = recover(model, X[order], y[order])[1]
    wrong = recover(model, X, y[order])[1]
    fewer = recover(model, X[:-1], y[:-1])[1]
    for recovered in (shuffled, wrong, fewer):
        assert not recovered.is_found.any()
        assert recovered.bags.row_factors(0) is None


def test_a_generator_that_was_used_since_gives_no_bags():
    generator = np.random.RandomState(0)
    model, X, y, _ = fit_boosting("", subsample=0.5, random_state=generator)
    assert recover(model, X, y)[1].is_found.all()
    generator.uniform()
    assert not recover(model, X, y)[1].is_found.any()


@pytest.mark.parametrize("n_words", [0, 1, 623, 624, 625, 5000])
def test_a_twister_goes_back_to_where_it_was(n_words):
    generator = np.random.RandomState(12)
    generator.uniform(size=700)
    desired = generator.get_state()
    generator.randint(0, 2**32, size=n_words, dtype=np.uint32)
    _, words, position, *_ = generator.get_state()
    again = step_back(words.copy(), position, n_words)
    generator.set_state(desired)
    assert_array_equal(again.uniform(size=400), generator.uniform(size=400))


# Rows held out.


def fit_histogram(task, **params):
    X = make_rows()
    y = make_targets(X, task)
    kind = "Regressor" if task == "" else "Classifier"
    given = {"max_iter": 6, "early_stopping": True, "random_state": 3, **params}
    return getattr(sk, f"HistGradientBoosting{kind}")(**given).fit(X, y), X, y


@pytest.mark.parametrize("fraction", [0.1, 0.3, 25])
@pytest.mark.parametrize("seed", [None, 4, "given"])
@pytest.mark.parametrize("task", ["", "multiclass"])
def test_rows_held_out_are_found(task, seed, fraction):
    if seed == "given":
        seed = np.random.RandomState(1)
    model, X, y = fit_histogram(task, random_state=seed, validation_fraction=fraction)
    trees, recovered = recover(model, X, y)
    assert recovered.is_found.all()
    n_held_out = 25 if fraction == 25 else round(300 * fraction)
    assert recovered.source == f"scikit-learn held out: {n_held_out} rows"
    bags = [recovered.bags.row_factors(tree) for tree in range(len(recovered.is_found))]
    assert all((~bag).sum() == n_held_out for bag in bags)
    assert len(recovered.bags.bits) == 1
    # those that are left can be passed alone
    kept = bags[0]
    trees, recovered = recover(model, X[kept], y[kept])
    assert recovered.is_found.all()
    assert all(trees.fits(tree, None) for tree in range(trees.ensemble.n_trees))


@pytest.mark.parametrize("subsample", [1.0, 0.6])
@pytest.mark.parametrize("task", ["", "binary", "multiclass"])
def test_a_split_without_a_seed_is_found_from_the_generator(task, subsample):
    params = {"n_iter_no_change": 2, "subsample": subsample}
    for seed in (np.random.RandomState(8), None):
        model, X, y, _ = fit_boosting(task, random_state=seed, **params)
        recovered = recover(model, X, y)[1]
        assert recovered.is_found.all()
        assert recovered.held_out.sum() == 30
        assert "held out: 30 rows" in recovered.source


def test_targets_are_read_only_for_a_split_by_classes():
    model, X, _ = fit_histogram("")
    assert recover(model, X, None)[1].is_found.all()
    model, X, _ = fit_histogram("binary")
    with pytest.raises(ValueError, match="pass y"):
        recover(model, X, None)


def test_kept_rows_alone_are_found_in_the_order_of_the_table_and_of_the_split():
    from sklearn.model_selection import train_test_split

    model, X, y, _ = fit_boosting("", subsample=0.5, n_iter_no_change=2)
    kept = train_test_split(np.arange(300), test_size=0.1, random_state=3)[0]
    for rows in (kept, np.sort(kept)):
        assert recover(model, X[rows], y[rows])[1].is_found.all()
    model, X, y, _ = fit_boosting("", n_iter_no_change=2)
    for rows in (kept, np.sort(kept)):
        assert recover(model, X[rows], y[rows])[1].is_found.all()


def test_a_training_continued_with_rows_held_out_is_found():
    X = make_rows()
    y = make_targets(X, "")
    model = sk.HistGradientBoostingRegressor(
        max_iter=3, early_stopping=False, warm_start=True, random_state=0
    ).fit(X, y)
    model.set_params(max_iter=6, early_stopping=True).fit(X, y)
    trees = stage(model, X, y)
    recovered = find_sampler(trees.ensemble).draw(trees)
    for tree in range(6):
        assert trees.counts_fit(tree, recovered.bags.row_factors(tree))
    assert recovered.bags.of_tree.tolist() == [-1, -1, -1, 0, 0, 0]


# Forests.

DRAWN = {"n_estimators": 4, "random_state": 0}
FORESTS = {
    "forest": sk.RandomForestClassifier(**DRAWN),
    "part": sk.RandomForestClassifier(**DRAWN, max_samples=0.3),
    "balanced": sk.RandomForestClassifier(**DRAWN, class_weight="balanced"),
    "each balanced": sk.RandomForestClassifier(
        **DRAWN, class_weight="balanced_subsample"
    ),
    "extra": sk.ExtraTreesClassifier(**DRAWN, bootstrap=True),
    "bagging": sk.BaggingClassifier(**DRAWN, max_features=3),
    "pasting": sk.BaggingClassifier(**DRAWN, bootstrap=False, max_samples=0.5),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORESTS)
def test_draws_of_forests_are_found(name, weighted, rng):
    X = make_rows()
    y = make_targets(X, "multiclass")
    w = rng.uniform(0.2, 3.0, len(y)) if weighted and name != "pasting" else None
    model = FORESTS[name].fit(X, y, w)
    trees = stage(model, X, y if name == "balanced" else None, w)
    trees.compares_values = False
    recovered = find_sampler(trees.ensemble).search(trees)
    assert recovered.is_found.all()
    for tree, own in enumerate(model.estimators_samples_):
        counts = np.bincount(own, minlength=len(y))
        assert_array_equal(recovered.bags.row_factors(tree), counts)


@pytest.mark.parametrize("seed", [7, None])
def test_bagging_that_was_continued(seed):
    X = make_rows()
    y = make_targets(X, "")
    model = sk.BaggingRegressor(n_estimators=2, warm_start=True, random_state=seed)
    model.fit(X, y)
    model.set_params(n_estimators=5).fit(X, y)
    trees = stage(model, X, None)
    recovered = find_sampler(trees.ensemble).search(trees)
    desired = [seed is not None] * 2 + [True] * 3
    assert recovered.is_found.tolist() == desired
    assert [recovered.bags.row_factors(t) is not None for t in range(5)] == desired


def test_models_that_saw_all_rows_have_no_sampler():
    X = make_rows()
    y = make_targets(X, "")
    for model in (
        sk.GradientBoostingRegressor(n_estimators=2),
        sk.HistGradientBoostingRegressor(max_iter=2),
        sk.ExtraTreesRegressor(n_estimators=2),
    ):
        assert find_sampler(read_model(model.fit(X, y))) is None


def test_a_forest_of_other_rows_gives_no_bags():
    X = make_rows()
    model = FORESTS["forest"].fit(X, make_targets(X, "multiclass"))
    for rows in (X[::-1], X[:-1]):
        trees = stage(model, rows, None)
        recovered = find_sampler(trees.ensemble).search(trees)
        assert not recovered.is_found.any()
    facts = dataclasses.replace(trees.ensemble.training, row_sampling=None)
    assert find_sampler(dataclasses.replace(trees.ensemble, training=facts)) is None
