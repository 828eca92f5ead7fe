"""What is said where the rows of the trees are right, wrong, or known in part."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import treeinf as ti
from tests.explainers.bagged import fit_bagged
from treeinf.errors import SubsampledTrainingWarning, TrainingDataMismatchError
from treeinf.trace.tree_fit import TreeFit

WHICH = {
    "LightGBM bagging": "LightGBM bagging",
    "LightGBM GOSS": "LightGBM GOSS",
    "XGBoost": "XGBoost subsample=0.6",
    "XGBoost, parallel trees": "XGBoost subsample=0.6",
    "XGBoost by gradients": "XGBoost subsample=0.6, sampling_method=gradient_based",
    "scikit-learn": "scikit-learn subsample 0.6",
}


@pytest.fixture(scope="module", params=WHICH)
def case(request):
    name = request.param
    model, X, y, weight, *_ = fit_bagged(name)
    return name, model, X, y, np.ones(len(y)) if weight is None else weight


def replay(model, X, y, weight):
    return ti.TrainingTrace.build(
        ti.read_model(model), X, y, sample_weight=weight, on_mismatch="ignore"
    )


def version_of_xgboost():
    import xgboost

    return tuple(map(int, xgboost.__version__.split(".")[:2]))


def is_by_gradients(name):
    return "GOSS" in name or "gradients" in name


def test_wrong_labels_of_the_right_rows(case):
    name, model, X, y, weight = case
    right = replay(model, X, y, weight)
    assert right.report.verdict == "exact"
    trace = replay(model, X, y[::-1] if "parallel" in name else 1 - y, weight)
    if is_by_gradients(name):  # the draws follow the labels
        assert trace.report.verdict == "subsampled"
        assert "with the labels and weights of the training" in trace.report.explanation
        says_threads = "depend on the training's nthread" in trace.report.explanation
        assert says_threads == ("gradients" in name and version_of_xgboost() < (3, 4))
        return
    assert trace.report.verdict == "other labels"
    assert "The rows are those of the training (bags of " in trace.report.explanation
    assert WHICH[name] in trace.report.explanation
    n_trees = trace.ensemble.n_trees
    desired = right.rows.bags.table(n_trees)
    assert_array_equal(trace.rows.bags.table(n_trees), desired)


def test_wrong_weights_of_the_right_rows(case):
    name, model, X, y, weight = case
    report = replay(model, X, y, weight * (1 + np.arange(len(y)) % 3)).report
    if name in ("LightGBM bagging", "scikit-learn"):  # they count the rows
        assert report.verdict == "other weights"
        assert WHICH[name] in report.explanation
    else:
        assert report.verdict == "subsampled"
        assert "labels and weights of the training" in report.explanation


@pytest.mark.parametrize("n_wrong", [1, 3])
def test_few_wrong_labels_are_told_from_wrong_rows_by_counts(case, n_wrong):
    name, model, X, y, weight = case
    wrong = y.copy()
    wrong[5 : 5 + n_wrong] = 1 - wrong[5 : 5 + n_wrong]
    report = replay(model, X, wrong, weight).report
    if name in ("LightGBM bagging", "scikit-learn", "XGBoost, parallel trees"):
        assert report.verdict == "other labels"
        assert "The rows are those of the training" in report.explanation
    else:
        assert report.verdict in ("subsampled", "other labels")


def test_rows_in_another_order(case):
    _, model, X, y, weight = case
    with pytest.warns(SubsampledTrainingWarning, match="another order of the rows"):
        trace = ti.TrainingTrace.build(
            ti.read_model(model), X[::-1], y[::-1], sample_weight=weight[::-1]
        )
    assert trace.report.verdict == "subsampled"
    assert trace.report.bags is None
    assert not trace.rows.bags.of_tree.size
    assert "influence is computed as if they had seen all" in trace.report.explanation


def test_trees_without_a_bag_are_named(case):
    name, model, X, y, weight = case
    ensemble = ti.read_model(model)
    value = ensemble.leaf_value.copy()
    last = ensemble.n_trees - 1
    value[ensemble.leaf_offset[last] :] *= 1.5
    # too few leaves to tell: values and counts of the last tree are a stump's
    changed = dataclasses.replace(ensemble, leaf_value=value)
    report = replay(changed, X, y, weight).report
    n_iterations = ensemble.n_iterations
    if report.verdict == "other labels":  # its counts prove its rows
        assert ensemble.leaf_count is not None or "parallel" in name
        assert "leaf values changed after training" in report.explanation
        return
    assert report.verdict == "subsampled"
    assert report.bags.missing_trees == (last,)
    assert f"Tree {last} was fitted on rows that were not found" in report.explanation
    found = f"bags of {n_iterations - 1} of {n_iterations} iterations found: "
    assert f"Rows of the trees: {found}{WHICH[name]}" in report.explanation


def test_a_mismatch_is_an_error_and_names_the_way_out():
    model, X, y, weight, *_ = fit_bagged("LightGBM bagging")
    with pytest.raises(TrainingDataMismatchError, match=r"other labels.*on_mismatch"):
        ti.LeafRefit().fit(model, X, 1 - y, sample_weight=weight)


# The judgement itself.


@pytest.fixture(scope="module")
def ensemble():
    """Six trees of five leaves, of which three are first ones, with counts."""
    from tests import models

    model, *_ = models.fit("multiclass", n_estimators=2, num_leaves=5)
    ensemble = ti.read_model(model)
    assert np.diff(ensemble.leaf_offset).tolist() == [5] * 6
    return ensemble


YES, NO = np.ones(6, bool), np.zeros(6, bool)
LAST = np.array([1, 1, 1, 1, 1, 0], bool)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        (TreeFit(YES, YES, YES, NO), True),
        (TreeFit(YES, YES, NO, NO), True),
        (TreeFit(YES, NO, YES, YES), True),
        (TreeFit(YES, YES, YES, LAST), True),
        (TreeFit(YES, YES, YES, YES), False),
        (TreeFit(LAST, YES, YES, NO), False),
        (TreeFit(NO, YES, YES, NO), False),
    ],
    ids=["labels", "hessians", "weights", "one tree", "all fit", "a count", "counts"],
)
def test_rows_are_right_where_all_counts_are(ensemble, fit, expected):
    assert fit.rows_fit(ensemble) is expected


def test_counts_of_stumps_prove_little():
    from tests import models

    for n_stumps, expected in ((2, False), (3, True)):
        model, *_ = models.fit("regression", n_estimators=n_stumps, num_leaves=2)
        one = np.ones(n_stumps, bool)
        assert TreeFit(one, one, one, ~one).rows_fit(ti.read_model(model)) is expected


FIRST = np.array([1, 1, 1, 0, 0, 0], bool)


@pytest.mark.parametrize(
    ("loss", "fit", "expected"),
    [
        ("softmax", TreeFit(YES, YES, YES, NO), True),
        ("softmax", TreeFit(YES, YES, FIRST, NO), True),
        ("softmax", TreeFit(YES, YES, ~FIRST, NO), False),
        ("softmax", TreeFit(YES, YES, FIRST, FIRST), False),
        ("softmax", TreeFit(YES, YES, FIRST, ~FIRST & LAST), True),
        ("squared error", TreeFit(YES, YES, YES, NO), True),
        ("squared error", TreeFit(YES, YES, YES, LAST), True),
        ("squared error", TreeFit(YES, YES, LAST, LAST), False),
        ("squared error", TreeFit(YES, NO, YES, NO), False),
    ],
)
def test_hessians_stand_for_counts(ensemble, loss, fit, expected):
    from tests import models

    if loss == "squared error":
        model, *_ = models.fit("regression", n_estimators=6, num_leaves=5)
        ensemble = ti.read_model(model)
    without = dataclasses.replace(ensemble, leaf_count=None)
    assert fit.rows_fit(without) is expected
