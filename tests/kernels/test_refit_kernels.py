"""Refits side by side: lanes, parts, compiled versions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import models
from treeinf.explainers.refit.fixed_structure import Removals
from treeinf.explainers.refit.leaf_refit import LeafRefit
from treeinf.kernels.compilation import jit_disabled
from treeinf.kernels.cpu import refit as kernels


def test_a_refit_is_the_same_in_any_lane():
    model, X, y, weight, *_ = models.fit("multiclass", weighted=True, n_estimators=3)
    refit = LeafRefit().fit(model, X, y, sample_weight=weight)._refit
    sets = [np.array([row]) for row in range(0, 40, 2)]
    together = refit.run(Removals.of(sets))
    assert len(together.leaf_value) == -(-len(sets) // kernels.REMOVAL_BATCH)
    for number, rows in enumerate(sets):
        alone = refit.run(Removals.of([rows]))
        part, lane = divmod(number, kernels.REMOVAL_BATCH)
        assert_array_equal(
            together.leaf_value[part, :, :, lane], alone.leaf_value[0, :, :, 0]
        )
        assert_array_equal(
            together.base_score[part, :, lane], alone.base_score[0, :, 0]
        )


def test_a_set_counts_each_row_once_in_any_order():
    model, X, y, *_ = models.fit("binary", n_estimators=3)
    refit = LeafRefit().fit(model, X, y)._refit
    tidy = refit.run(Removals.of([np.array([3, 70, 200])])).leaf_value
    untidy = refit.run(Removals.of([np.array([200, 3, 70, 3])])).leaf_value
    assert_array_equal(tidy[0, :, :, 0], untidy[0, :, :, 0])


@pytest.mark.parametrize("n_outputs", [1, 2, 5])
def test_leaves_of_several_outputs_are_solved(n_outputs, rng):
    lanes = kernels.REMOVAL_BATCH
    half = rng.normal(size=(lanes, n_outputs, n_outputs + 2))
    matrix = half @ half.transpose(0, 2, 1)
    gradient = rng.normal(size=(lanes, n_outputs))
    matrix[1], gradient[1] = 0.0, 0.0
    lower = np.ascontiguousarray(matrix[:, *np.tril_indices(n_outputs)].T)
    factor = np.linspace(0.5, 2.0, lanes)
    value = np.empty((n_outputs, lanes))
    kernels.solve_leaf(np.ascontiguousarray(gradient.T), lower, 0.7, factor, value)
    ridge = 0.7 * factor[:, np.newaxis, np.newaxis] * np.eye(n_outputs)
    desired = -np.linalg.solve(matrix + ridge, gradient[:, :, np.newaxis])[:, :, 0]
    assert_allclose(value.T, desired, rtol=1e-10)
    kernels.solve_leaf(np.ascontiguousarray(gradient.T), lower, 0.0, factor, value)
    assert_array_equal(value[:, 1], 0.0)


@pytest.mark.skipif(jit_disabled, reason="nothing is compiled")
def test_each_kernel_is_compiled_once_for_each_leaf_type():
    for recipe in ("regression", "multiclass"):
        for weighted in (False, True):
            model, X, y, weight, X_test, y_test = models.fit(recipe, weighted=weighted)
            explainer = LeafRefit(batch_size=9).fit(model, X, y, sample_weight=weight)
            explainer.explain(X_test, y_test)
            explainer.total(X_test, y_test)
            explainer.self_influence()
            explainer.group_influence([[1, 2], []], X_test, y_test)
            explainer.refit_without([1])
    for compiled in (kernels.refit_boosting, kernels.score_rows, kernels.score_removed):
        leaf_types = [signature[0] for signature in compiled.signatures]
        assert len(set(leaf_types)) == len(leaf_types), compiled.__name__
