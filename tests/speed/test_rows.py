"""Lines of the table: ratios, verdicts, fitted exponents."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks.speed.rows import Reach, Row, fit_slope
from treeinf.evaluation.timing import Timing

OWN, PEER = Timing([1.0, 2.0, 4.0]), Timing([8.0, 10.0, 12.0])


def test_quicker_is_the_ratio_of_medians_with_the_spread_of_each_turn():
    row = Row.quicker("work", OWN, "peer", PEER, 4.0)
    assert (row.figure, row.low, row.high) == (5.0, 3.0, 8.0)
    assert row.is_met
    assert not Row.quicker("work", OWN, "peer", PEER, 6.0).is_met


def test_share_is_the_other_way_round():
    row = Row.share("work", OWN, "peer", PEER, 0.25)
    assert row.figure == 0.2
    assert row.reach == Reach("at most", 0.25)
    assert row.is_met


def test_a_peer_that_ran_once_stands_against_every_turn():
    row = Row.quicker("work", OWN, "peer", Timing([8.0]))
    assert (row.figure, row.low, row.high) == (4.0, 2.0, 8.0)
    assert row.is_met is None


def test_a_missing_peer_is_said():
    row = Row.quicker("work", OWN, "XGBoost", None, 6.0, note="float32")
    assert row.figure is None
    assert row.is_met is None
    assert row.note == "XGBoost: not installed. float32"
    assert row.seconds["median"] == 2.0


@pytest.mark.parametrize(
    "row",
    [Row.clock("a", OWN, 3.0), Row.quicker("b", OWN, "c", None, 2.0), Row("d", "MiB")],
)
def test_rows_come_back_from_json(row):
    assert Row.from_json(json.loads(json.dumps(dataclasses.asdict(row)))) == row


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_known_power_law_is_found(power):
    sizes = np.array([10, 30, 100, 300, 1000])
    assert fit_slope(sizes, 3e-6 * sizes**power) == pytest.approx(power, abs=1e-12)


def test_a_fixed_cost_at_small_sizes_does_not_count():
    sizes = np.array([1, 10, 100, 10_000, 100_000, 1_000_000])
    assert fit_slope(sizes, 1.0 + sizes) == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(fit_slope([1], [1.0]))
