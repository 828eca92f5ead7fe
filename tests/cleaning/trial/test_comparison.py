"""Paired comparisons and their intervals."""

import numpy as np
import pytest
from scipy import stats

from treeinf.cleaning.trial.comparison import paired_interval


def test_interval_is_students():
    values = np.array([0.3, -0.1, 0.5, 0.2, 0.9])
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    mean, low, high = paired_interval(values, 0.9)
    assert (mean, low, high) == pytest.approx((0.36, expected.low, expected.high))
    assert np.isnan(paired_interval(values[:1], 0.9)[1])
