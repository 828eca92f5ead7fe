"""Copies of estimators that scikit-learn cannot clone."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import treeinf as ti
from treeinf.training.cloning import clone_estimator

catboost = pytest.importorskip("catboost")
LISTS = {
    "monotone_constraints": [1, 0],
    "ignored_features": [1],
    "per_float_feature_quantization": ["0:border_count=16"],
}


def make(kind="Classifier", **parameters):
    return getattr(catboost, f"CatBoost{kind}")(
        iterations=3,
        depth=2,
        thread_count=1,
        verbose=0,
        allow_writing_files=False,
        model_shrink_rate=0.0,
        **parameters,
    )


def draw():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    return X, (X[:, 0] + rng.normal(size=90) > 0.0).astype(int)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        lambda inner: make_pipeline(StandardScaler(), inner),
        lambda inner: make_pipeline(make_pipeline(inner)),
        lambda inner: TransformedTargetRegressor(inner),
        lambda inner: ti.InfluenceCleaner(inner, random_state=0),
    ],
)
def test_parameters_that_are_lists_are_copied(name, wrap):
    estimator = wrap(make(**{name: LISTS[name]}))
    copied = clone_estimator(estimator)
    assert type(copied) is type(estimator)
    found = [
        value
        for key, value in copied.get_params(deep=True).items()
        if key.rpartition("__")[2] == name
    ]
    assert found == [LISTS[name]] * len(found)
    assert found


def test_what_metadata_is_requested_is_copied_too():
    scaler = StandardScaler().set_output(transform="pandas")
    estimator = make_pipeline(scaler, make(monotone_constraints=[1, 0]))
    copied = clone_estimator(estimator)
    assert copied[0]._sklearn_output_config == scaler._sklearn_output_config
    assert copied[0] is not scaler


@pytest.mark.parametrize("is_piped", [False, True])
def test_cleaner_refits_and_measures_train_them(is_piped):
    X, y = draw()
    estimator = make(ignored_features=[1])
    if is_piped:
        estimator = make_pipeline(StandardScaler(), estimator)
    cleaner = ti.InfluenceCleaner(
        estimator,
        method="loss",
        amount=0.1,
        validation=0.3,
        baselines=False,
        random_state=0,
    )
    clone(cleaner).fit(X, y)
    assert np.isfinite(cross_val_score(cleaner, X, y, cv=2)).all()
    total = ti.LOO(n_jobs=1).fit(estimator, X[:12], y[:12]).total(X[12:], y[12:])
    assert np.isfinite(total).all()
    from treeinf.evaluation import removal

    frame = removal(
        estimator,
        ["BoostIn"],
        *(X[:60], y[:60], X[60:], y[60:]),
        shares=[0.05],
        together=True,
        n_jobs=1,
    )
    assert np.isfinite(frame["loss_increase"]).all()
