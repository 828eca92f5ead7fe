"""Estimators that stop early, in copies that have no rows of their own to stop on."""

import inspect
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import treeinf as ti
from treeinf.cleaning import InfluenceCleaner, InfluenceSelector
from treeinf.evaluation import removal
from treeinf.training.cloning import last_step
from treeinf.training.early_stopping import find_stopping
from treeinf.training.learner import Learner
from treeinf.training.rows import LabelledRows
from treeinf.training.subsets import SubsetLearner

N_MOST = 60
SETTINGS = {
    "lightgbm": {
        "n_estimators": N_MOST,
        "num_leaves": 4,
        "min_child_samples": 5,
        "n_jobs": 1,
        "verbose": -1,
    },
    "xgboost": {"n_estimators": N_MOST, "max_depth": 2, "n_jobs": 1},
    "catboost": {
        "iterations": N_MOST,
        "depth": 2,
        "learning_rate": 0.5,
        "thread_count": 1,
        "verbose": 0,
        "allow_writing_files": False,
    },
}
NAMES = {"lightgbm": "LGBM", "xgboost": "XGB", "catboost": "CatBoost"}
KINDS = {
    "lightgbm": ("lightgbm", {"early_stopping_round": 3}, {}),
    "lightgbm, another name": ("lightgbm", {"early_stopping_rounds": 3}, {}),
    "lightgbm, callback": ("lightgbm", {}, {"callbacks": ["early"]}),
    "lightgbm, iterations by another name": (
        "lightgbm",
        {"early_stopping_round": 3, "num_iterations": N_MOST},
        {},
    ),
    "xgboost": ("xgboost", {"early_stopping_rounds": 3}, {}),
    "xgboost, callback": ("xgboost", {"callbacks": ["early"]}, {}),
    "catboost": ("catboost", {"early_stopping_rounds": 3}, {}),
    "catboost, learning rate of its own": (
        "catboost",
        {"early_stopping_rounds": 3, "learning_rate": None},
        {},
    ),
    "catboost, detector": ("catboost", {"od_type": "Iter", "od_wait": 3}, {}),
    "catboost, best model": ("catboost", {"use_best_model": True}, {}),
}


def make(library, kind="Classifier", **parameters):
    module = pytest.importorskip(library)
    if "callbacks" in parameters:
        parameters["callbacks"] = [module.callback.EarlyStopping(rounds=3)]
    return getattr(module, NAMES[library] + kind)(**{**SETTINGS[library], **parameters})


def make_kind(kind):
    """Make the estimator of a kind, and the arguments of its fit."""
    library, parameters, fit_params = KINDS[kind]
    if fit_params:
        lightgbm = pytest.importorskip("lightgbm")
        fit_params = {"callbacks": [lightgbm.early_stopping(3, verbose=False)]}
    return make(library, **parameters), fit_params


def draw(n_rows=160, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 3))
    return X, (X[:, 0] + rng.normal(size=n_rows) > 0.0).astype(np.int64)


def count_iterations(model):
    return ti.read_model(model).n_iterations


@pytest.mark.parametrize(
    ("kind", "is_weighted"),
    [*((kind, False) for kind in KINDS), *((library, True) for library in NAMES)],
)
def test_a_copy_is_trained_on_all_its_rows_up_to_where_it_stops(kind, is_weighted):
    X, y = draw()
    weight = np.random.default_rng(1).uniform(0.5, 2.0, len(y)) if is_weighted else None
    rows = LabelledRows(X, y, y, weight)
    estimator, fit_params = make_kind(kind)
    learner = Learner(estimator, np.array([0, 1]), fit_params=fit_params)
    model = learner.fit(rows, 0)
    may_not_stop = kind.endswith(("of its own", "best model"))
    assert 1 <= count_iterations(model) < N_MOST + may_not_stop
    # its leaves follow from all the rows, so none was held out in the end
    explainer = ti.BoostIn().fit(model, X, y, sample_weight=weight)
    assert explainer.reproduction_.verdict == "exact"
    again = learner.fit(rows, 0)
    assert_array_equal(model.predict_proba(X), again.predict_proba(X))


def test_rows_to_stop_on_come_from_the_rows_of_the_copy(monkeypatch):
    lightgbm = pytest.importorskip("lightgbm")
    calls, fit = [], lightgbm.LGBMClassifier.fit

    def record(self, X, y, **arguments):
        unseen = arguments.get("eval_X")
        if unseen is None and "eval_set" in arguments:
            unseen = arguments["eval_set"][0][0]
        calls.append((np.asarray(X)[:, 0], unseen))
        return fit(self, X, y, **arguments)

    # the signature is read to find the names of the arguments
    record.__signature__ = inspect.signature(fit)
    monkeypatch.setattr(lightgbm.LGBMClassifier, "fit", record)
    X, y = draw()
    cleaner = InfluenceCleaner(
        make("lightgbm", early_stopping_round=3),
        method="loss",
        amount=0.1,
        validation=0.3,
        baselines=False,
        n_jobs=1,
        random_state=0,
    ).fit(X, y)
    assert len(calls) == 2 * cleaner.report_.n_fits
    for (seen, unseen), (every, nothing) in zip(calls[::2], calls[1::2], strict=True):
        assert nothing is None
        held_out = np.asarray(unseen)[:, 0]
        assert len(held_out) == pytest.approx(0.2 * len(every), abs=2)
        assert_array_equal(np.sort(np.r_[seen, held_out]), np.sort(every))


@pytest.mark.parametrize("library", NAMES)
def test_a_pipeline_stops_early_on_rows_that_went_through_its_steps(library):
    X, y = draw()
    estimator = make_pipeline(StandardScaler(), make(library, early_stopping_rounds=3))
    model = Learner(estimator, np.array([0, 1])).fit(LabelledRows(X, y, y), 0)
    assert 1 <= count_iterations(model.steps[-1][1]) < N_MOST
    assert ti.BoostIn().fit(model, X, y).reproduction_.verdict == "exact"


@pytest.mark.parametrize("library", NAMES)
def test_refits_keep_the_iterations_of_the_fitted_model(library):
    X, y = draw()
    estimator = make(library, early_stopping_rounds=3)
    unfitted = SubsetLearner.read(estimator, X[:100], y[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LightGBM 4.7 has another name for eval_set
        estimator.fit(X[:100], y[:100], eval_set=[(X[100:], y[100:])])
    learner = SubsetLearner.read(estimator, X[:100], y[:100])
    every = np.ones(100, dtype=bool)
    for read in (unfitted, learner):
        copies = Learner(read.estimator, np.array([0, 1]), isolated=True)
        model = copies.fit(LabelledRows(X[:100], y[:100], y[:100]), 0)
        n = count_iterations(model)
        assert 1 <= n < N_MOST
    assert n == count_iterations(estimator)
    predicted = learner.fit_predict(every, 0, X[100:])
    np.testing.assert_allclose(predicted, estimator.predict_proba(X[100:]), rtol=1e-6)
    total = ti.LOO(n_jobs=1).fit(estimator, X[:12], y[:12]).total(X[100:], y[100:])
    assert np.isfinite(total).all()


def test_an_eval_set_is_passed_on_and_the_report_says_where_copies_stop():
    X, y = draw()
    settings = {
        "method": "boostin",
        "amount": 0.1,
        "validation": 0.3,
        "baselines": False,
        "random_state": 0,
    }
    xgb = make("xgboost", early_stopping_rounds=3)
    cleaner = InfluenceCleaner(xgb, **settings)
    cleaner.fit(X[:120], y[:120], eval_set=[(X[120:], y[120:])], verbose=False)
    assert cleaner.estimator_.best_iteration + 1 < N_MOST
    assert cleaner.report_.notes[-1] == (
        "XGBClassifier stops early (early_stopping_rounds=3), each copy on the "
        "eval_set passed."
    )
    cleaner.fit(X, y)
    n = count_iterations(cleaner.estimator_)
    assert cleaner.report_.notes[-1] == (
        "XGBClassifier stops early (early_stopping_rounds=3): each copy found its "
        "number of iterations on 20% of its own rows, held out, and was then trained "
        f"on all of them; the final model has {n} iterations."
    )
    selector = InfluenceSelector(xgb, shares=(0.5,), n_random=1, random_state=0).fit(
        X, y
    )
    assert "held out, and was then" in selector.report_.notes[-1]


def test_measures_train_all_copies_with_one_number_of_iterations():
    X, y = draw()
    frame = removal(
        make("lightgbm", early_stopping_round=3),
        ["LeafInfluence"],
        *(X[:120], y[:120], X[120:], y[120:]),
        shares=[0.05],
        together=True,
        n_jobs=1,
    )
    assert np.isfinite(frame["loss_increase"]).all()


@pytest.mark.parametrize(
    "train",
    [
        lambda e, X, y: InfluenceCleaner(e).fit(X, y),
        lambda e, X, y: ti.LOO().fit(e, X, y),
    ],
)
def test_a_wrapper_that_passes_no_eval_set_is_refused_before_training(train):
    X, y = draw()
    inner = make("lightgbm", "Regressor", early_stopping_round=3)
    with pytest.raises(ValueError, match="the regressor of TransformedTargetRegressor"):
        train(TransformedTargetRegressor(inner), X, y.astype(float))


@pytest.mark.parametrize(
    ("argument", "match"),
    [("init_score", "has a value for each row"), ("nonsense", "fit takes no nonsense")],
)
def test_arguments_of_fit_that_copies_cannot_have_are_refused(argument, match):
    X, y = draw()
    with pytest.raises(TypeError, match=match):
        InfluenceCleaner(make("lightgbm")).fit(X, y, **{argument: y})


@pytest.mark.parametrize(
    ("library", "parameters"),
    [
        ("lightgbm", {"early_stopping_round": 0}),
        ("lightgbm", {"early_stopping_round": -1}),
        ("lightgbm", {"early_stopping_rounds": None}),
        ("xgboost", {"early_stopping_rounds": None}),
        ("catboost", {"od_type": "IncToDec"}),
        ("catboost", {"early_stopping_rounds": 3, "eval_fraction": 0.2}),
    ],
)
def test_settings_that_stop_nothing_or_hold_rows_out_themselves(library, parameters):
    assert find_stopping(make(library, **parameters)) == {}


@pytest.mark.parametrize("n_rows", [3, 5])
def test_a_handful_of_rows_is_enough(n_rows):
    X, _ = draw(n_rows)
    y = np.arange(n_rows) % 2
    model = Learner(make("lightgbm", early_stopping_round=3), np.array([0, 1])).fit(
        LabelledRows(X, y, y), 0
    )
    assert last_step(model).n_estimators >= 1
