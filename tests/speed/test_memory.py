"""The memory of a call, and the bandwidth of main memory."""

import numpy as np
import pytest

from benchmarks.speed.memory import grow_of_peak, measure_bandwidth


def test_bandwidth_is_a_number_of_bytes_a_second():
    assert measure_bandwidth(1, repeats=1) > 1e6


def test_memory_of_a_call_is_what_it_touches():
    grown = grow_of_peak(lambda: np.ones(2**23))
    if np.isnan(grown):
        pytest.skip("no /proc to ask")
    assert 60 < grown < 80  # MiB
    assert grow_of_peak(lambda: None) < 8
