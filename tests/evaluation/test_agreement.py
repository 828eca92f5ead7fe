"""Agreement: known correlations, who is compared with whom, what is refused."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from tests.support import FITTERS, Table, is_installed
from treeinf.errors import UnsupportedModelError
from treeinf.evaluation import (
    agreement,
    average_cells,
    mean_agreement,
    rank_methods,
)
from treeinf.evaluation.measures.agreement import compare_columns
from treeinf.explainers import (
    LOO,
    BoostIn,
    Influence,
    LeafInfluence,
    Loss,
    Random,
    SubSample,
)
from treeinf.explainers.refit.leaf_refit import LeafRefit
from treeinf.training.learner import copy_estimator

pd = pytest.importorskip("pandas")

COLUMNS = [
    "test_row",
    "method",
    "reference",
    "spearman",
    "pearson",
    "slope",
    "undefined",
    "seconds",
    "cpu_seconds",
    "reference_seconds",
    "reference_cpu_seconds",
]
FITS = []
"""Row counts of the fits of `CountedForest` in this process."""


class CountedForest(RandomForestRegressor):
    """Counts its fits."""

    def fit(self, X, y, sample_weight=None):
        FITS.append(len(y))
        return super().fit(X, y, sample_weight)


class Constant(Random):
    """Says 1 of every train row, but NaN of one on test row 0."""

    def explain(self, X, y=None, **given):
        values = np.ones((self._n_train, len(X)))
        values[3, 0] = np.nan
        return Influence(values)


class MeanRegressor(RegressorMixin, BaseEstimator):
    """Predicts the mean of its targets."""

    def fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def table(n=60, n_test=5, task="binary", seed=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n + n_test, 4))
    signal = X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * rng.normal(size=n + n_test)
    y = {
        "regression": signal,
        "binary": (signal > 0).astype(np.int64),
        "multiclass": np.digitize(signal, [-0.7, 0.7]),
    }[task]
    return X[:n], y[:n], X[n:], y[n:]


def lightgbm_model(**given):
    lightgbm = pytest.importorskip("lightgbm")
    parameters = {"n_estimators": 8, "num_leaves": 5, "min_child_samples": 4}
    return lightgbm.LGBMClassifier(**{**parameters, "verbose": -1, "n_jobs": 1} | given)


def forest(kind=RandomForestRegressor, **given):
    return kind(**{"n_estimators": 3, "max_depth": 3, "random_state": 0, **given})


# the numbers


def test_correlations_equal_those_of_scipy(rng):
    influence = rng.normal(size=(40, 6)).round(1)  # with ties
    reference = influence * [1.0, -1.0, 0.3, 0.0, 1e-3, 5.0] + rng.normal(size=(40, 6))
    reference[:, 5] = reference[:, 5].round()
    found = compare_columns(influence, reference)
    for j in range(6):
        a, b = influence[:, j], reference[:, j]
        # sums of 40 products: a few hundred roundings of 2e-16
        assert_allclose(found["spearman"][j], stats.spearmanr(a, b)[0], atol=1e-13)
        assert_allclose(found["pearson"][j], stats.pearsonr(a, b)[0], atol=1e-13)
        assert_allclose(found["slope"][j], stats.linregress(a, b).slope, rtol=1e-11)
    assert (found["undefined"] == "").all()


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_correlations_do_not_depend_on_the_unit(rng, size):
    influence, reference = rng.normal(size=(2, 30, 4))
    plain = compare_columns(influence, reference)
    scaled = compare_columns(influence * size, reference)
    assert_array_equal(scaled["spearman"], plain["spearman"])
    assert_allclose(scaled["pearson"], plain["pearson"], rtol=1e-12)
    assert_allclose(scaled["slope"] * size, plain["slope"], rtol=1e-12)


def test_columns_without_a_correlation_are_nan_with_the_reason(rng):
    influence, reference = rng.normal(size=(2, 12, 6))
    influence[:, 0] = 2.0
    reference[:, 1] = 0.0
    influence[:, 2] = reference[:, 2] = 1.0
    influence[4, 3] = np.nan
    reference[5, 4] = np.inf
    found = compare_columns(influence, reference)
    assert found["undefined"].tolist() == [
        "constant method",
        "constant reference",
        "constant method",
        "not finite",
        "not finite",
        "",
    ]
    for name in ("spearman", "pearson", "slope"):
        assert np.isnan(found[name]).tolist() == [True] * 5 + [False]


# the frame


def test_an_explainer_equal_to_the_reference_scores_1_and_random_about_0():
    X, y, X_test, y_test = table(n=200, n_test=40)
    explainers = {"again": LeafRefit(n_jobs=1), "random": Random(random_state=4)}
    frame = agreement(
        lightgbm_model(), explainers, X, y, X_test, y_test, references=["LeafRefit"]
    )
    again = frame[frame["method"] == "again"]
    for name in ("spearman", "pearson", "slope"):
        assert_allclose(again[name], 1.0, rtol=1e-12)
    drawn = frame.loc[frame["method"] == "random", "spearman"]
    # 40 correlations of deviation 1 / sqrt(199); 4.5 deviations of their mean
    assert abs(drawn.mean()) < 4.5 / math.sqrt(199 * 40)
    assert drawn.std() < 0.15


def test_leaf_influence_is_near_leaf_refit_in_rank_and_size():
    X, y, X_test, y_test = table(n=200, n_test=20)
    frame = agreement(
        lightgbm_model(),
        ["LeafInfluence", "BoostIn"],
        X,
        y,
        X_test,
        y_test,
        references=["LeafRefit"],
        n_jobs=1,
    )
    means = mean_agreement(frame)["spearman"]
    assert means["LeafInfluence", "LeafRefit"] > 0.98
    assert means["LeafInfluence", "LeafRefit"] > means["BoostIn", "LeafRefit"] + 0.05
    slope = frame.loc[frame["method"] == "LeafInfluence", "slope"]
    # a derivative and a removal differ by terms of second order: 1 row of some 40
    assert slope.between(0.9, 1.3).all()


def test_the_frame_is_tidy_and_keeps_row_labels():
    X, y, X_test, y_test = table(n=30, n_test=4)
    names = list("abcd")
    frame = agreement(
        lightgbm_model(),
        {"BoostIn": BoostIn(n_jobs=1), "drawn": "Random"},
        pd.DataFrame(X, columns=names),
        y,
        pd.DataFrame(X_test, index=["p", "q", "r", "s"], columns=names),
        y_test,
        n_jobs=1,
    )
    assert frame.columns.tolist() == COLUMNS
    assert frame.index.tolist() == list(range(len(frame)))
    pairs = frame[["method", "reference"]].drop_duplicates().to_numpy().tolist()
    # LightGBM without sampling does not draw, so that there is no other LOO
    assert pairs == [
        ["BoostIn", "LeafRefit"],
        ["BoostIn", "LOO"],
        ["drawn", "LeafRefit"],
        ["drawn", "LOO"],
        ["LeafRefit", "LOO"],
    ]
    assert frame["test_row"].tolist() == ["p", "q", "r", "s"] * 5
    assert frame.groupby("method")["seconds"].nunique().eq(1).all()
    assert (frame[["seconds", "reference_seconds"]] > 0.0).all(axis=None)


def test_figures_equal_those_of_explainers_run_by_hand():
    X, y, X_test, y_test = table(n=30, n_test=4)
    model = lightgbm_model().fit(X, y)
    frame = agreement(
        model, {"b": "BoostIn"}, X, y, X_test, y_test, references=["LOO"], n_jobs=1
    )
    given = BoostIn(n_jobs=1).fit(model, X, y).explain(X_test, y_test)
    wanted = LOO(n_jobs=1).fit(model, X, y).explain(X_test, y_test)
    desired = [stats.spearmanr(given[:, j], wanted[:, j])[0] for j in range(4)]
    assert_allclose(frame["spearman"], desired, atol=1e-13)
    assert frame["test_row"].tolist() == [0, 1, 2, 3]


def test_undefined_rows_stay_and_are_counted():
    X, y, X_test, y_test = table(n=25, n_test=4)
    frame = agreement(
        lightgbm_model(),
        {"constant": Constant(), "BoostIn": BoostIn(n_jobs=1)},
        X,
        y,
        X_test,
        y_test,
        references=["LeafRefit"],
    )
    assert len(frame) == 8
    own = frame[frame["method"] == "constant"]
    assert own["spearman"].isna().all()
    assert own["undefined"].tolist() == ["not finite"] + ["constant method"] * 3
    means = mean_agreement(frame)
    assert means["n_undefined"].tolist() == [4, 0]
    assert means["n_test"].tolist() == [4, 4]
    assert np.isnan(means["spearman"].iloc[0])
    assert np.isfinite(means["spearman"].iloc[1])


@pytest.mark.parametrize("task", ["regression", "multiclass"])
@pytest.mark.parametrize("family", list(FITTERS))
def test_models_of_every_library(family, task):
    if not is_installed(family):
        pytest.skip(f"needs {FITTERS[family][0]}")
    X, y, X_test, y_test = table(n=20, n_test=3, task=task)
    rows = Table(X, y, None, X_test, y_test)
    few = {"CatBoost": "iterations", "scikit-learn HistGradientBoosting": "max_iter"}
    given = {few.get(family, "n_estimators"): 3}
    if "forest" in family.lower():
        model = forest(
            RandomForestClassifier if task != "regression" else type(forest())
        )
        model.fit(X, y)
    else:
        model = FITTERS[family][1](task, "numbers", rows, **given)
    # HistGradientBoosting takes all cores, whatever it is told
    with threadpool_limits(1):
        frame = agreement(model, {"TreeSim": "TreeSim"}, X, y, X_test, y_test, n_jobs=1)
    pairs = set(zip(frame["method"], frame["reference"], strict=True))
    assert {("TreeSim", "LeafRefit"), ("LeafRefit", "LOO")} <= pairs
    assert frame["spearman"].dropna().between(-1.0, 1.0).all()
    assert (frame["spearman"].isna() == (frame["undefined"] != "")).all()


def test_weights_reach_model_and_explainers():
    X, y, X_test, y_test = table(n=60, n_test=3)
    weight = np.random.default_rng(0).uniform(0.2, 3.0, 60)
    model = lightgbm_model()
    given = dict(references=["LeafRefit"], n_jobs=1)
    plain = agreement(model, ["BoostIn"], X, y, X_test, y_test, **given)
    # LeafRefit refuses rows, labels or weights that are not those of the training
    weighted = agreement(
        model, ["BoostIn"], X, y, X_test, y_test, sample_weight=weight, **given
    )
    assert (weighted["spearman"] != plain["spearman"]).all()


# the other seed


def test_loo_of_a_model_that_draws_is_compared_with_another_seed():
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    given = dict(references=["LOO"], n_jobs=1)
    rows = (["Random"], X, y, X_test, y_test)
    frame = agreement(forest(), *rows, **given)
    other = frame[frame["method"] == "LOO, other seed"]
    assert other["reference"].tolist() == ["LOO"] * 3
    assert (other["spearman"] < 0.99).all()
    again = agreement(forest(), *rows, **given)
    assert_array_equal(again["spearman"], frame["spearman"])
    without = agreement(forest(), *rows, with_other_seed=False, **given)
    assert set(without["method"]) == {"Random"}
    # nothing to draw: every row and every feature in every tree
    still = agreement(forest(bootstrap=False, max_features=1.0), *rows, **given)
    assert set(still["method"]) == {"Random"}


def test_open_seeds_are_set_so_that_the_run_repeats():
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    rows = ({"TreeSim": "TreeSim"}, X, y, X_test, y_test)
    given = dict(references=["LeafRefit"], n_jobs=1)
    model = forest(random_state=None)
    first = agreement(model, *rows, **given)
    assert_array_equal(first["pearson"], agreement(model, *rows, **given)["pearson"])
    other = agreement(model, *rows, random_state=1, **given)
    assert (first["pearson"] != other["pearson"]).any()
    assert model.random_state is None


def test_copies_of_catboost_take_another_seed():
    catboost = pytest.importorskip("catboost")
    model = catboost.CatBoostRegressor(iterations=2)
    assert "random_seed" not in copy_estimator(model, 7).get_params()
    assert copy_estimator(model, 7, replace_seeds=True).get_params()["random_seed"] == 7
    named = catboost.CatBoostRegressor(iterations=2, random_state=3)
    copied = copy_estimator(named, 7, replace_seeds=True).get_params()
    assert copied["random_state"] == 7
    assert "random_seed" not in copied


def test_copies_keep_seeds_that_are_set_unless_they_are_replaced():
    model = forest(random_state=5, n_jobs=2)
    assert copy_estimator(model, 7).random_state == 5
    assert copy_estimator(model, 7).n_jobs == 1
    assert copy_estimator(model, 7, replace_seeds=True).random_state == 7
    assert copy_estimator(forest(random_state=None), 7).random_state == 7


# manners


def test_what_is_given_is_copied():
    X, y, X_test, y_test = table(n=25, n_test=3)
    explainer, model = BoostIn(n_jobs=1), lightgbm_model()
    agreement(model, {"b": explainer}, X, y, X_test, y_test, references=["LeafRefit"])
    with pytest.raises(Exception, match="not fitted"):
        check_is_fitted(explainer)
    assert not hasattr(model, "booster_") or not model.__sklearn_is_fitted__()


def test_what_cannot_be_explained_is_told_before_any_retraining():
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    FITS.clear()
    with pytest.raises(UnsupportedModelError) as caught:
        agreement(
            forest(CountedForest),
            {"fast one": BoostIn(n_jobs=1)},
            X,
            y,
            X_test,
            y_test,
            n_jobs=1,
        )
    assert any("'fast one'" in note for note in caught.value.__notes__)
    assert FITS == [25]


def test_models_without_trees_can_be_compared_by_methods_that_look_at_none():
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    frame = agreement(
        MeanRegressor(),
        {"sub": SubSample(n_models=60, n_jobs=1)},
        X,
        y,
        X_test,
        y_test,
        references={"LOO": LOO(n_jobs=1)},
    )
    assert (frame["spearman"] > 0.3).all()


@pytest.mark.parametrize(
    ("explainers", "references", "error", "words"),
    [
        ("LOO", ["LeafRefit"], TypeError, "explainers='LOO'; expected a dict"),
        (
            ["BoostOut"],
            ["LOO"],
            ValueError,
            "the method 'BoostOut'; expected one of",
        ),
        ([BoostIn()], ["LOO"], TypeError, "Pass explainers in a dict"),
        ({"a": Loss()}, ["LOO"], TypeError, "Loss scores train rows alone"),
        ({"a": 3}, ["LOO"], TypeError, "of type int in explainers"),
        (["Trex", "Trex"], ["LOO"], ValueError, "a name is repeated"),
        ([], ["LOO"], ValueError, "explainers is empty"),
        (["Trex"], [], ValueError, "references is empty"),
        (["LOO"], ["LOO"], ValueError, "both explainers and references"),
        (
            {"LOO, other seed": "Random"},
            ["LOO"],
            ValueError,
            "reserved for second runs of LOO",
        ),
        (["Trex"], 5, TypeError, "references=5; expected a dict"),
    ],
)
def test_refusals(explainers, references, error, words):
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    FITS.clear()
    with pytest.raises(error, match=words):
        agreement(
            forest(CountedForest),
            explainers,
            X,
            y,
            X_test,
            y_test,
            references=references,
        )
    assert FITS == []


def test_rows_and_targets_must_fit():
    X, y, X_test, y_test = table(n=25, n_test=3, task="regression")
    with pytest.raises(ValueError, match="X_test has 3 rows, y_test 2"):
        agreement(forest(), ["Random"], X, y, X_test, y_test[:2])
    with pytest.raises(ValueError, match="X_train has 25 rows, y_train 24"):
        agreement(forest(), ["Random"], X, y[:24], X_test, y_test)


def test_names_of_classes_take_n_jobs():
    X, y, X_test, y_test = table(n=25, n_test=3)
    with pytest.raises(ValueError, match="n_jobs=0"):
        agreement(lightgbm_model(), ["LeafInfluence"], X, y, X_test, y_test, n_jobs=0)
    explainers = {"own": LeafInfluence(n_jobs=1)}
    agreement(
        lightgbm_model(), explainers, X, y, X_test, y_test, references=["LeafRefit"]
    )


# averages


def test_groups_count_the_same_however_many_cells_they_have():
    values = [[1.0, 0.0], [3.0, 0.0], [10.0, 0.0]]
    found = average_cells(values, ["a", "a", "b"])
    assert_allclose(found.mean, [6.0, 0.0])
    assert_allclose([found.low[1], found.high[1]], 0.0)
    assert found.low[0] >= 1.0
    assert found.high[0] <= 10.0
    assert_array_equal(average_cells([1.0, 3.0], list("ab")).mean, [2.0])


def test_intervals_of_independent_cells_are_those_of_the_normal_distribution(rng):
    values = rng.normal(size=400)
    found = average_cells(values, np.arange(400), n_draws=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    # 4,000 draws fix a 2.5 % quantile to some 4 % of the half width
    assert_allclose(found.low[0], values.mean() - half, atol=0.1 * half)
    assert_allclose(found.high[0], values.mean() + half, atol=0.1 * half)


def test_cells_of_one_group_are_not_taken_for_independent(rng):
    groups = np.repeat(np.arange(10), 20)
    values = rng.normal(size=10)[groups] + 0.01 * rng.normal(size=200)
    clustered = average_cells(values, groups)
    apart = average_cells(values, np.arange(200))
    ratio = (clustered.high - clustered.low) / (apart.high - apart.low)
    assert ratio[0] > 3.0  # sqrt(20) = 4.5 if the group were all


def test_intervals_repeat_and_do_not_depend_on_the_order_of_columns(rng):
    values, groups = rng.normal(size=(12, 3)), list("aaabbbcccddd")
    first = average_cells(values, groups)
    second = average_cells(values[:, ::-1], groups)
    assert_allclose(second.low[::-1], first.low, rtol=1e-12)
    assert_allclose(second.high[::-1], first.high, rtol=1e-12)
    narrow = average_cells(values, groups, level=0.5)
    assert (narrow.low > first.low).all()


def test_ranks_start_with_the_largest_and_share_ties():
    found = rank_methods([[0.1, 0.9, 0.5], [0.2, 0.2, -1.0]])
    assert_array_equal(found, [[3.0, 1.0, 2.0], [1.5, 1.5, 3.0]])


@pytest.mark.parametrize(
    ("values", "groups", "more", "words"),
    [
        ([1.0, np.nan], "ab", {}, "1 of 2 values are not finite"),
        ([1.0, 2.0], "abc", {}, "one row per cell"),
        ([], [], {}, "at least one"),
        ([1.0], "a", {"level": 1.0}, "level=1.0"),
        ([1.0], "a", {"n_draws": 0}, "n_draws=0"),
    ],
)
def test_averages_refuse(values, groups, more, words):
    with pytest.raises(ValueError, match=words):
        average_cells(values, list(groups), **more)


def test_ranks_refuse_what_has_no_rank():
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        rank_methods([[1.0, np.nan]])
    with pytest.raises(ValueError, match="n_methods"):
        rank_methods([1.0, 2.0])
