"""Which scikit-learn models are read, which are not, and what is said then."""

import re
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import ensemble as sk
from sklearn import tree as sk_tree
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from tests.adapters.sklearn.models import make_rows, make_targets
from treeinf.adapters import find_adapter, read_model, unwrap_pipeline
from treeinf.adapters.parity import check_parity
from treeinf.adapters.sklearn.reader import leaf_nodes
from treeinf.ensemble import TreeEnsemble
from treeinf.errors import UnsupportedModelError

X = make_rows()
Y = make_targets(X, "binary")
VALUES = make_targets(X, "")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small models are fitted fastest by one thread."""
    with threadpoolctl.threadpool_limits(1):
        yield


MODELS = (
    sk.HistGradientBoostingClassifier(max_iter=3),
    sk.HistGradientBoostingRegressor(max_iter=3),
    sk.GradientBoostingClassifier(n_estimators=3),
    sk.GradientBoostingRegressor(n_estimators=3),
    sk.RandomForestClassifier(3),
    sk.RandomForestRegressor(3),
    sk.ExtraTreesClassifier(3),
    sk.ExtraTreesRegressor(3),
    sk.BaggingClassifier(n_estimators=3),
    sk.BaggingRegressor(n_estimators=3),
    sk_tree.DecisionTreeClassifier(),
    sk_tree.DecisionTreeRegressor(),
    sk_tree.ExtraTreeClassifier(),
    sk_tree.ExtraTreeRegressor(),
)


def fit(model):
    return model.fit(X, Y if is_classifier(model) else VALUES)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_read_save_and_load(model, tmp_path):
    with pytest.raises(NotFittedError, match=type(model).__name__):
        read_model(type(model)())
    ensemble = read_model(fit(model))
    assert ensemble.library == "scikit-learn"
    assert len(leaf_nodes(model)) == ensemble.n_leaves
    assert "scikit-learn 1." in ensemble.describe()
    ensemble.save(tmp_path / "model.npz")
    loaded = TreeEnsemble.load(tmp_path / "model.npz")
    assert_array_equal(loaded.raw_score(X), ensemble.raw_score(X))
    assert (loaded.leaf_rule, loaded.training) == (
        ensemble.leaf_rule,
        ensemble.training,
    )
    with pytest.raises(ValueError, match="holds its own"):
        read_model(model, parameters={"learning_rate": 1.0})


def test_categories_are_saved(tmp_path, rng):
    rows = X.astype(object)
    rows[:, 1] = rng.choice(["x", "y", "z"], len(X))
    model = sk.HistGradientBoostingRegressor(
        max_iter=5, categorical_features=[1, 2], min_samples_leaf=5
    ).fit(rows, VALUES + (rows[:, 1] == "x"))
    ensemble = read_model(model)
    ensemble.save(tmp_path / "model.npz")
    loaded = TreeEnsemble.load(tmp_path / "model.npz")
    assert loaded.input_rules.categories == ensemble.input_rules.categories
    assert loaded.input_rules.numbers_are_labels
    assert_array_equal(loaded.raw_score(rows), ensemble.raw_score(rows))


@pytest.mark.parametrize("model", MODELS[:4], ids=lambda model: type(model).__name__)
def test_first_iterations_only(model):
    fit(model)
    ensemble = read_model(model, iterations=2)
    assert ensemble.n_iterations == 2
    assert check_parity(ensemble, model, X, iterations=2) < 1e-14
    assert read_model(model, iterations=10).n_iterations == 3


def test_subclasses_are_read():
    class Mine(sk.HistGradientBoostingRegressor):
        pass

    model = Mine(max_iter=3).fit(X, VALUES)
    assert_allclose(read_model(model).raw_score(X)[:, 0], model.predict(X), rtol=1e-12)


def test_a_loss_of_the_callers_own_is_read_and_not_explained():
    from sklearn._loss.loss import HalfSquaredError

    model = sk.HistGradientBoostingRegressor(HalfSquaredError(), max_iter=3)
    ensemble = read_model(model.fit(X, VALUES))
    assert ensemble.loss is None
    assert ensemble.loss_name == "HalfSquaredError"
    assert check_parity(ensemble, model, X) < 1e-14


@pytest.mark.parametrize(
    "model",
    [
        sk.IsolationForest(n_estimators=3),
        sk.RandomTreesEmbedding(3),
        sk.AdaBoostClassifier(n_estimators=3),
        sk.AdaBoostRegressor(n_estimators=3),
        sk.VotingClassifier([("a", MODELS[0])]),
        sk.StackingRegressor([("a", MODELS[1])], cv=2),
        sk.BaggingClassifier(LogisticRegression(), n_estimators=3),
        sk.BaggingRegressor(MODELS[3], n_estimators=3),
        LinearRegression(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_models_are_refused_by_name(model):
    with pytest.raises(UnsupportedModelError, match="Supported are") as caught:
        read_model(fit(model))
    assert type(model).__qualname__ in str(caught.value)


# Models inside others.


@pytest.mark.parametrize(
    "model",
    [
        GridSearchCV(sk.RandomForestClassifier(3), {"max_depth": [2]}, cv=2),
        GridSearchCV(
            sk.HistGradientBoostingClassifier(max_iter=2), {"max_depth": [2]}, cv=2
        ),
        TunedThresholdClassifierCV(sk.GradientBoostingClassifier(n_estimators=2), cv=2),
        FrozenEstimator(sk.RandomForestClassifier(3).fit(X, Y)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_model_inside_is_read(model):
    ensemble = read_model(model.fit(X, Y))
    inner = find_adapter(model)[1]
    assert type(inner) is type(getattr(model, "estimator", None))
    assert check_parity(ensemble, model, X) < 1e-14
    assert_allclose(ensemble.predict(X), model.predict_proba(X), atol=1e-14)


def test_pipeline():
    """The lines that the message gives work."""
    model = make_pipeline(StandardScaler(), sk.RandomForestClassifier(3)).fit(X, Y)
    words = r"model=pipeline\[-1\], X=pipeline\[:-1\]\.transform\(X\)"
    with pytest.raises(UnsupportedModelError, match=words):
        read_model(model)
    search = GridSearchCV(model, {"randomforestclassifier__max_depth": [2]}, cv=2)
    with pytest.raises(UnsupportedModelError, match=words):
        read_model(search.fit(X, Y))
    assert (
        check_parity(read_model(model[-1]), model[-1], model[:-1].transform(X)) < 1e-14
    )


def test_transformed_target():
    model = TransformedTargetRegressor(
        sk.GradientBoostingRegressor(n_estimators=3), transformer=StandardScaler()
    ).fit(X, VALUES)
    with pytest.raises(UnsupportedModelError, match=r"model=model\.regressor_"):
        read_model(model)
    assert check_parity(read_model(model.regressor_), model.regressor_, X) < 1e-14


@pytest.mark.parametrize(
    ("model", "member"),
    [
        (
            CalibratedClassifierCV(sk_tree.DecisionTreeClassifier(), cv=2),
            "calibrated_classifiers_[0].estimator",
        ),
        (OneVsRestClassifier(sk_tree.DecisionTreeClassifier()), "estimators_[0]"),
        (
            sk.VotingClassifier([("a", sk_tree.DecisionTreeClassifier())]),
            "estimators_[0]",
        ),
        (
            MultiOutputRegressor(sk_tree.DecisionTreeRegressor()),
            "estimators_[0], y=y[:, 0]",
        ),
        (SelfTrainingClassifier(sk_tree.DecisionTreeClassifier()), "estimator_."),
    ],
)
def test_a_model_of_models_names_the_attribute_to_pass(model, member):
    targets = np.column_stack([VALUES, VALUES]) if "y=" in member else Y
    if member == "estimator_.":
        targets = np.unique(Y, return_inverse=True)[1]
        targets[:5] = -1  # unlabelled
    model = model.fit(X, targets)
    with pytest.raises(UnsupportedModelError, match=re.escape(f"model=model.{member}")):
        read_model(model)
    name = member.partition(",")[0].rstrip(".")
    assert read_model(eval(f"model.{name}")).n_trees == 1


def test_pipelines_inside_wrappers_are_unwrapped():
    pipeline = make_pipeline(StandardScaler(), sk_tree.DecisionTreeClassifier())
    pipeline.fit(X, Y)
    for model in (
        FrozenEstimator(pipeline),
        FixedThresholdClassifier(FrozenEstimator(pipeline)).fit(X, Y),
        GridSearchCV(pipeline, {}, cv=2).fit(X, Y),
    ):
        inner, transform = unwrap_pipeline(model)
        assert isinstance(inner, sk_tree.DecisionTreeClassifier)
        assert_array_equal(transform(X), pipeline[0].transform(X))


def test_the_adapter_imports_scikit_learn_late():
    code = (
        "import sys, treeinf.adapters.sklearn.reader; "
        "assert 'sklearn.ensemble' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_large_model_is_read_quickly():
    """Trees of many nodes are joined by array operations, not node by node."""
    import time

    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1500, 4))
    model = sk.GradientBoostingRegressor(
        n_estimators=20, max_leaf_nodes=255, max_depth=30
    )
    model.fit(rows, rng.normal(size=1500))
    model.estimators_ = np.tile(model.estimators_, (50, 1))
    model.n_estimators_ = 1000
    began = time.thread_time()
    ensemble = read_model(model)
    assert ensemble.n_leaves == 255_000
    assert time.thread_time() - began < 10.0  # measured: 0.3 s
