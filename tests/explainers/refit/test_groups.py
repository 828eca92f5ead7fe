"""LeafRefit.group_influence: labels, positions, refusals."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests import models
from treeinf.explainers.refit.leaf_refit import LeafRefit


def test_group_labels_and_positions_agree():
    pd = pytest.importorskip("pandas")
    model, X, y, _, X_test, y_test = models.fit("binary", n_estimators=4)
    explainer = LeafRefit().fit(model, X, y)
    label = np.array(["b", "a", "c", "a"] * 60)
    by_label = explainer.group_influence(pd.Series(label), X_test, y_test)
    assert by_label.train_labels.tolist() == ["b", "a", "c"]
    assert by_label.shape == (3, len(X_test))
    named = {name: np.flatnonzero(label == name) for name in "bac"}
    by_name = explainer.group_influence(named, X_test, y_test)
    by_list = explainer.group_influence(list(named.values()), X_test, y_test)
    assert by_name.train_labels.tolist() == ["b", "a", "c"]
    assert by_list.train_labels.tolist() == [0, 1, 2]
    assert_array_equal(by_label.values, by_name.values)
    assert_array_equal(by_label.values, by_list.values)
    assert by_label.to_frame().index.tolist() == ["b", "a", "c"]
    gaps = pd.Series(label).where(label != "c")
    for missing in (gaps, gaps.astype("string"), gaps.astype("category")):
        some = explainer.group_influence(missing, X_test, y_test)
        assert_array_equal(some.values, by_label.values[:2])
    single = explainer.group_influence([[4], [9]], X_test, y_test).values
    assert_array_equal(single, explainer.explain(X_test, y_test).values[[4, 9]])


@pytest.mark.parametrize(
    ("groups", "error", "words"),
    [
        (["a"] * 10, ValueError, "one label for each of the 240"),
        ([[0, 240]], ValueError, "position 240"),
        ([[-1]], ValueError, "position -1"),
        ([[0.5]], TypeError, "positions of train rows"),
        ({"all": list(range(240))}, ValueError, "group 'all' leaves no train row"),
        ([None] * 240, ValueError, "missing"),
        ({}, ValueError, "no groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, error, words):
    model, X, y, _, X_test, y_test = models.fit("binary", n_estimators=2)
    explainer = LeafRefit().fit(model, X, y)
    with pytest.raises(error, match=words):
        explainer.group_influence(groups, X_test, y_test)


def test_a_group_of_one_class_leaves_finite_values():
    model, X, y, _, X_test, y_test = models.fit("binary", n_estimators=4)
    explainer = LeafRefit().fit(model, X, y)
    assert np.isfinite(explainer.group_influence(y, X_test, y_test).values).all()
