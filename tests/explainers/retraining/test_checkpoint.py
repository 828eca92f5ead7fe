"""Refits that are stored: resumed, refused to another run, the same in processes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier

from tests.explainers.retraining.games import (
    EXPLAINERS,
    FITS,
    MeanRegressor,
    Stopped,
    table,
)
from treeinf.explainers.retraining import LOO, DataShapley, SubSample


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_an_interrupted_run_goes_on_and_computes_nothing_twice(explainer, tmp_path):
    X, y, X_test, y_test = table(10, 4)
    desired = clone(explainer).fit(MeanRegressor(), X, y).explain(X_test, y_test)
    n_fits = len(FITS)
    FITS.clear()
    kept = clone(explainer).set_params(checkpoint=tmp_path / "kept")
    kept.fit(MeanRegressor(), X, y)
    # the run is killed in its n-th fit; the parameter is not part of what is kept
    kept._learner.estimator.stop_at = n_fits // 2
    with pytest.raises(Stopped):
        kept.explain(X_test, y_test)
    done = len(FITS)
    assert done == n_fits // 2
    resumed = clone(kept).fit(MeanRegressor(), X, y)
    influence = resumed.explain(X_test, y_test)
    assert_array_equal(influence, desired)
    if not isinstance(explainer, DataShapley):  # whole orders are kept
        assert len(FITS) == n_fits
    assert len(FITS) < n_fits + done
    FITS.clear()
    assert_array_equal(resumed.explain(X_test, y_test), desired)
    assert FITS == []
    again = clone(kept).fit(MeanRegressor(), X, y)
    if isinstance(explainer, DataShapley):
        again.total(X_test, y_test)
        FITS.clear()
    assert_allclose(again.total(X_test, y_test), desired.sum(), rtol=1e-12, atol=1e-14)
    own = again.self_influence()
    n_own = len(FITS)
    assert n_own > 0
    assert_array_equal(again.self_influence(), own)
    assert len(FITS) == n_own
    if not isinstance(explainer, DataShapley):
        again.explain(X_test, y_test, output="prediction")
        assert len(FITS) == n_own  # the predictions are there


def test_a_checkpoint_is_gone_on_with_by_more_models(tmp_path):
    X, y, X_test, y_test = table(8, 2)
    for more, less in (
        (SubSample(n_models=20, n_jobs=1), {"n_models": 12}),
        (DataShapley(n_permutations=8, truncation=0, n_jobs=1), {"n_permutations": 5}),
    ):
        desired = clone(more).fit(MeanRegressor(), X, y).explain(X_test, y_test)
        kept = clone(more).set_params(checkpoint=tmp_path / type(more).__name__, **less)
        kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
        n_fits = len(FITS)
        kept = clone(more).set_params(checkpoint=tmp_path / type(more).__name__)
        influence = kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
        assert_array_equal(influence, desired)
        assert 0 < len(FITS) - n_fits < n_fits


def read_files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*.*")}


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    X, y, X_test, y_test = table(8, 2)
    kept = LOO(n_jobs=1, checkpoint=tmp_path / "kept")
    kept.fit(MeanRegressor(), X, y).explain(X_test, y_test)
    files = read_files(tmp_path / "kept")
    other = X.copy()
    other[3, 1] += 1e-9
    weight = np.linspace(1, 2, 8)
    for what, explainer, arguments in (
        ("estimator", kept, (MeanRegressor(shift=1.0), X, y)),
        ("train rows", kept, (MeanRegressor(), other, y)),
        ("train rows", kept, (MeanRegressor(), X, y + 1e-9)),
        ("parameters", clone(kept).set_params(by="weight"), (MeanRegressor(), X, y)),
        ("parameters", clone(kept).set_params(random_state=1), (MeanRegressor(), X, y)),
        (
            "method",
            SubSample(n_models=20, checkpoint=tmp_path / "kept"),
            (MeanRegressor(), X, y),
        ),
    ):
        with pytest.raises(ValueError, match=rf"another run; different are: .*{what}"):
            clone(explainer).fit(*arguments)
    with pytest.raises(ValueError, match="different are: sample_weight"):
        clone(kept).fit(MeanRegressor(), X, y, sample_weight=weight)
    assert files == read_files(tmp_path / "kept")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for path, words in (
        (tmp_path / "mine", "other files .notes.txt."),
        (tmp_path / "mine" / "notes.txt", "is a file"),
    ):
        with pytest.raises(ValueError, match=words):
            clone(kept).set_params(checkpoint=path).fit(MeanRegressor(), X, y)
    with pytest.raises(ValueError, match="needs an integer seed"):
        clone(kept).set_params(random_state=None).fit(MeanRegressor(), X, y)


@pytest.mark.parametrize("explainer", EXPLAINERS, ids=lambda e: type(e).__name__)
def test_any_number_of_processes_gives_the_same_bits(explainer, tmp_path):
    X, y, X_test, y_test = table(12, 3, classes=["u", "v"])
    forest = RandomForestClassifier(n_estimators=3)
    results = []
    for n_jobs in (1, 2):
        one = clone(explainer).set_params(n_jobs=n_jobs, random_state=5)
        one.set_params(checkpoint=tmp_path / str(n_jobs)).fit(forest, X, y)
        results.append(one.explain(X_test, y_test).values)
    assert_array_equal(*results)
    assert np.abs(results[0]).max() > 0
    other = clone(explainer).set_params(random_state=6).fit(forest, X, y)
    assert (other.explain(X_test, y_test).values != results[0]).any()


def test_catboost_keeps_its_categories(tmp_path):
    catboost = pytest.importorskip("catboost")
    pandas = pytest.importorskip("pandas")
    X, y, X_test, y_test = table(16, 3)
    frame = pandas.DataFrame({"a": X[:, 0], "kind": np.where(X[:, 1] > 0, "p", "q")})
    test = pandas.DataFrame({"a": X_test[:, 0], "kind": ["p", "q", "p"]})
    estimator = catboost.CatBoostRegressor(
        iterations=3, depth=2, cat_features=["kind"], random_seed=1
    )
    explainer = LOO(n_jobs=1, checkpoint=tmp_path / "kept").fit(estimator, frame, y)
    influence = explainer.explain(test, y_test)
    assert np.abs(influence.values).max() > 0
    again = LOO(n_jobs=1, checkpoint=tmp_path / "kept").fit(estimator, frame, y)
    assert_array_equal(again.explain(test, y_test), influence)
