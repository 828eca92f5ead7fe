"""Every group at tiny sizes: it runs, and its figures are numbers above 0.

What they are says nothing at such sizes, and is not looked at.
"""

import importlib.util
import math

import pytest

pytest.importorskip("lightgbm")

from benchmarks.speed import startup
from benchmarks.speed.bench import Bench
from benchmarks.speed.runner import GROUPS


@pytest.fixture(scope="module")
def bench():
    return Bench(n_rows=500, repeats=1, n_jobs=1)


def check(measured):
    assert measured.rows
    for row in measured.rows:
        if "not installed" in row.note:
            continue
        lowest = 0.0 if row.unit == "MiB" or "reproduction" in row.work else 1e-12
        if row.unit == "exponent":
            assert math.isfinite(row.figure), row
        else:
            assert row.figure >= lowest, row
        if row.peer and row.unit == "x quicker":
            assert row.low <= row.high
    return measured


@pytest.mark.parametrize(
    "name",
    [
        "routing",
        "totals",
        "row_sampling",
        "checks",
        "explain",
        "top_k",
        "latency",
        "recursion",
        "refit",
        "trex",
    ],
)
def test_figures_are_numbers_above_0(bench, name):
    check(GROUPS[name].measure(bench))


@pytest.mark.slow
def test_figures_of_deep_models_are_numbers_above_0(bench):
    rows = check(GROUPS["deep"].measure(bench)).rows
    assert {row.work for row in rows} == {
        "apply",
        "BoostIn total",
        "LeafInfluence total",
    }


def test_figures_against_catboost_are_numbers_above_0(bench):
    pytest.importorskip("catboost")
    # it raises where CatBoost's influence is another
    rows = check(GROUPS["catboost"].measure(bench)).rows
    assert len(rows) == 6
    assert "CatBoost run once" in rows[-1].note


def test_memory_is_that_of_the_kernel(bench):
    rows = GROUPS["memory"].measure(bench).rows
    if rows[0].figure is None:
        pytest.skip("no /proc to ask")
    check(GROUPS["memory"].measure(bench))
    assert "top_k" in " ".join(row.work for row in rows)


def test_growth_has_a_curve_for_every_exponent(bench):
    measured = check(GROUPS["growth"].measure(bench))
    assert len(measured.rows) == len(measured.curves)
    assert {curve.axis for curve in measured.curves} == {
        "train rows",
        "trees",
        "test rows",
    }
    for curve in measured.curves:
        assert list(curve.sizes) == sorted(set(curve.sizes))


@pytest.mark.slow
def test_reading_has_a_line_for_every_library(bench):
    rows = check(GROUPS["reading"].measure(bench)).rows
    assert [row.work for row in rows][:3] == [
        "read LightGBM",
        "read XGBoost",
        "read CatBoost",
    ]


def test_startup_is_timed_in_fresh_interpreters(bench, monkeypatch):
    calls = []

    def run(arguments, environment):
        calls.append((arguments, environment))
        return "0.5" if "print(" in arguments[1] else ""

    def watch(arguments, environment, words, *, to_end=True):
        calls.append((arguments, environment))
        return 1.0, 2.0 if to_end else float("nan")

    monkeypatch.setattr(startup, "_run", run)
    monkeypatch.setattr(startup, "_watch", watch)
    rows = startup.measure_startup(bench).rows
    assert len(rows) == 6
    demo = {row.work: row for row in rows if "demo" in row.work}
    assert {
        name: (row.figure, row.reach and row.reach.bound)
        for name, row in (demo.items())
    } == {
        "treeinf demo to first result, cold cache": (1.0, 25.0),
        "treeinf demo to first result, warm cache": (1.0, 5.0),
        "treeinf demo to the end, cold cache": (2.0, None),
        "treeinf demo to the end, warm cache": (2.0, None),
    }
    assert demo["treeinf demo to first result, warm cache"].seconds["repeats"] >= 5
    caches = {environment["NUMBA_CACHE_DIR"] for _, environment in calls}
    assert len(caches) == 3  # the cold cache of the demo is its own
    assert all("PYTHONDONTWRITEBYTECODE" not in e for _, e in calls)


@pytest.mark.parametrize("to_end", [True, False])
def test_an_interpreter_is_watched_for_a_line(to_end):
    code = (
        "import time; print('one', flush=True); print('two', flush=True);"
        f"time.sleep(0.2 if {to_end} else 60); print('three')"
    )
    seen, end = startup._watch(["-c", code], {}, "two", to_end=to_end)
    assert seen > 0
    assert end > seen if to_end else math.isnan(end)


@pytest.mark.parametrize("code", ["raise ValueError('no')", "print('no')"])
def test_an_interpreter_without_the_line_is_an_error(code):
    with pytest.raises(RuntimeError, match=r"no line with 'two' before: .*no"):
        startup._watch(["-c", code], {}, "two")


def test_an_interpreter_that_fails_says_why():
    with pytest.raises(RuntimeError, match="code 1: ValueError: no"):
        startup._run(["-c", "raise ValueError('no')"], {})


def test_a_peer_that_is_not_installed_is_said(bench, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: find(name) if name != "xgboost" else None,
    )
    rows = GROUPS["routing"].measure(bench).rows
    assert rows[1].figure is None
    assert rows[1].note == "XGBoost's leaf prediction: not installed"
    assert rows[0].figure > 0
