"""How time grows with the train rows, the trees and the test rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from benchmarks.speed.bench import N_TREES, Bench, Measured
from benchmarks.speed.rows import Curve, Reach, Row, fit_slope
from treeinf.adapters import read_model
from treeinf.evaluation.timing import take_turns
from treeinf.explainers import BoostIn, LeafInfluence

__all__ = ["measure_growth"]

_SLOPE = 1.1
_TRAIN = (10_000, 32_000, 100_000, 320_000, 1_000_000, 2_000_000)
_TREES = (25, 50, 100, 200, 400)
_TESTS = (1_000, 3_200, 10_000, 32_000, 100_000)
_EXPLAINED = (10, 32, 100, 320, 1_000)
_N_EXPLAINED = 10
_PEER = "LightGBM's raw scores"

Work = Mapping[str, Callable[..., Any]]


def measure_growth(bench: Bench) -> Measured:
    """Time the questions at growing sizes, and fit the exponents.

    `LeafInfluence.explain` is asked for the first time in each turn: later calls may
    have the leaf coupling. The exponent is fitted to the upper half of the
    sizes. An exponent below 1 is a fixed cost that the largest sizes have not left
    behind.
    """
    tests = [bench.size(full, full // 50) for full in _TESTS]
    explained = [bench.size(full, full // 5) for full in _EXPLAINED]
    curves = [
        *_fit_curves("train rows", _over_rows(bench), bench),
        *_fit_curves("trees", _over_trees(bench), bench),
        *_fit_curves("test rows", _over_tests(bench, tests, "total"), bench),
        *_fit_curves("test rows", _over_tests(bench, explained, "explain"), bench),
    ]
    rows = [
        Row(
            curve.name,
            "exponent",
            curve.slope,
            reach=None if curve.is_peer else Reach("at most", _SLOPE),
            size=f"{curve.sizes[0]:,} to {curve.sizes[-1]:,} {curve.axis}: "
            f"{curve.seconds[0]:.2g} s to {curve.seconds[-1]:.2g} s",
        )
        for curve in curves
    ]
    return Measured(rows, curves)


def _fit_curves(
    axis: str, cases: Iterable[tuple[int, Work, Work]], bench: Bench
) -> list[Curve]:
    sizes: list[int] = []
    seconds: dict[str, list[float]] = {}
    for size, work, prepare in cases:
        sizes.append(size)
        for name, timing in take_turns(
            work, min(bench.repeats, 3), prepare=prepare
        ).items():
            seconds.setdefault(name, []).append(timing.median)
    return [
        Curve(name, axis, sizes, values, fit_slope(sizes, values), name == _PEER)
        for name, values in seconds.items()
    ]


def _over_rows(bench: Bench) -> Iterable[tuple[int, Work, Work]]:
    for full in _TRAIN:
        n_rows = bench.size(full, full // 50)
        case = bench.fit(n_rows, bench.size(10_000, 200))
        yield n_rows, *_list_work(bench, case, case.model, N_TREES)


def _over_trees(bench: Bench) -> Iterable[tuple[int, Work, Work]]:
    case = bench.fit(
        bench.size(50_000, 500), bench.size(10_000, 200), n_estimators=_TREES[-1]
    )
    for n_trees in _TREES:
        # no parity check: a part of a model has no peer to compare with
        part = read_model(case.model, iterations=n_trees)
        yield part.n_trees, *_list_work(bench, case, part, n_trees)


def _list_work(bench: Bench, case: Any, model: Any, n_trees: int) -> tuple[Work, Work]:
    n_jobs = bench.n_jobs
    quick = BoostIn(n_jobs=n_jobs).fit(model, case.X, case.y)
    full = LeafInfluence(n_jobs=n_jobs).fit(model, case.X, case.y)
    tests = case.X_test, case.y_test
    few = case.X_test[:_N_EXPLAINED], case.y_test[:_N_EXPLAINED]
    out = np.empty((len(case.X), len(few[0])))
    booster = case.model.booster_
    work: Work = {
        "fit": lambda: BoostIn(n_jobs=n_jobs).fit(model, case.X, case.y),
        "BoostIn total": lambda: quick.total(*tests),
        "LeafInfluence total": lambda: full.total(*tests),
        "BoostIn explain": lambda: quick.explain(*few, out=out),
        "LeafInfluence explain": lambda fitted: fitted.explain(*few, out=out),
        _PEER: lambda: booster.predict(
            case.X, raw_score=True, num_threads=n_jobs, num_iteration=n_trees
        ),
    }
    again = clone(full)
    return work, {"LeafInfluence explain": lambda: again.fit(model, case.X, case.y)}


def _over_tests(
    bench: Bench, sizes: Sequence[int], question: str
) -> Iterable[tuple[int, Work, Work]]:
    case = bench.fit(bench.size(20_000, 500), max(sizes))
    explainers = {
        "BoostIn": BoostIn(n_jobs=bench.n_jobs),
        "LeafInfluence": LeafInfluence(n_jobs=bench.n_jobs),
    }
    prepare = {
        f"{name} {question}": functools.partial(
            explainer.fit, case.model, case.X, case.y
        )
        for name, explainer in explainers.items()
    }
    for n_test in sizes:
        tests = case.X_test[:n_test], case.y_test[:n_test]
        options: dict[str, Any] = {}
        if question == "explain":
            options["out"] = np.empty((len(case.X), n_test))
        ask = functools.partial(_ask, question, tests, options)
        yield n_test, dict.fromkeys(prepare, ask), prepare


def _ask(
    question: str, tests: tuple[Any, Any], options: dict[str, Any], fitted: Any
) -> Any:
    return getattr(fitted, question)(*tests, **options)
