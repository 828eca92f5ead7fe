"""The leaf rule by hand, and against the derivative it claims."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from treeinf.ensemble import LeafRule
from treeinf.trace.leaf_rule import newton_step


@pytest.mark.parametrize(
    ("rule", "step", "response"),
    [
        ({}, [-1.5, 0.5, 0.0], [0.25, 0.5, 1.0]),
        ({"l1_leaf": 1.5}, [-1.125, 0.0, 0.0], [0.25, 0.0, 0.0]),
        ({"max_leaf_value": 1.0}, [-1.0, 0.5, 0.0], [0.0, 0.5, 1.0]),
        ({"min_leaf_hessian": 2.0}, [-1.5, 0.0, 0.0], [0.25, 0.0, 0.0]),
    ],
)
def test_the_rule_by_hand(rule, step, response):
    gradient, hessian = np.array([6.0, -1.0, 0.0]), np.array([3.0, 1.0, 0.0])
    actual = newton_step(gradient, hessian, 1.0, LeafRule(**rule))
    assert_array_equal(actual[0], step)
    assert_array_equal(actual[1], response)


def test_nothing_to_divide_by_is_a_step_of_0():
    step, response = newton_step(np.array([2.0]), np.array([0.0]), 0.0, LeafRule())
    assert_array_equal([step, response], [[0.0], [0.0]])


def test_the_response_is_minus_the_derivative(rng):
    gradient, hessian = 3.0 * rng.normal(size=50), rng.uniform(0.1, 2.0, 50)
    rule = LeafRule(l1_leaf=0.5, max_leaf_value=2.0)
    _, response = newton_step(gradient, hessian, 0.3, rule)
    up, down = (newton_step(gradient + h, hessian, 0.3, rule)[0] for h in (1e-6, -1e-6))
    assert 0 < (response == 0.0).sum() < 50
    # central differences of a piecewise linear function
    assert_allclose(response, (down - up) / 2e-6, rtol=1e-8, atol=1e-9)
