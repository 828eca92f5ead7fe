"""Estimators of each library, made by one function."""

import pytest

from treeinf.training.estimators import ESTIMATORS, make_estimator


@pytest.mark.parametrize("library", ESTIMATORS)
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_trees_threads_and_seed_get_the_librarys_names(library, task):
    pytest.importorskip(ESTIMATORS[library].module)
    names = ESTIMATORS[library]
    estimator = make_estimator(library, task, n_trees=7, n_jobs=1, seed=3)
    parameters = estimator.get_params()
    assert parameters[names.n_trees] == 7
    assert parameters[names.seed] == 3
    assert names.n_jobs is None or parameters[names.n_jobs] == 1
    ending = "Regressor" if task == "regression" else "Classifier"
    assert type(estimator).__name__ == names.prefix + ending


def test_what_is_not_passed_stays_the_librarys_default():
    from sklearn.ensemble import RandomForestClassifier

    made = make_estimator("random_forest", "multiclass").get_params()
    assert made == RandomForestClassifier().get_params()


def test_own_parameters_come_last():
    made = make_estimator("sklearn", "regression", n_trees=5, max_iter=9, max_bins=31)
    assert (made.max_iter, made.max_bins) == (9, 31)


def test_unknown_libraries_are_named_beside_those_there_are():
    with pytest.raises(ValueError, match="'h2o'; expected one of lightgbm, xgboost"):
        make_estimator("h2o", "binary")
