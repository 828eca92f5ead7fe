"""Full LeafInfluence against the published forward recursion."""

from __future__ import annotations

import functools

import numpy as np

from treeinf.explainers import LeafInfluence
from treeinf.speed.bench import N_LEAVES, N_TREES, Bench, Measured
from treeinf.speed.factors import push_forward, push_one_by_one
from treeinf.speed.rows import Curve, Row, fit_slope
from treeinf.speed.timing import Timing, take_turns

__all__ = ["measure_recursion"]

_N_TARGETS = 100
_N_REMOVED = 20
_TARGET_ROWS = 2_000
_REACH = 10_000.0
_SAME = 1e-9
_FORWARD = "the forward recursion, all removals side by side (SciPy)"
_ONE = "the forward recursion, removal by removal (NumPy)"


def measure_recursion(bench: Bench) -> Measured:
    """Time `explain` and `total` of 100 test rows against the recursion.

    The authors' code cannot be run on present libraries, so the recursion is written
    here, in the two ways there are: removal by removal as published, of which 20 are
    timed and the time for all is in proportion; and all removals at once as sparse
    products, which takes n_train^2 memory. Both give what `explain` gives.

    Raises
    ------
    ArithmeticError
        If they do not.
    """
    sizes = [bench.size(full, full // 10) for full in (500, 1_000, 2_000, 4_000)]
    rows: list[Row] = []
    medians: dict[str, list[float]] = {}
    for full, n_rows in zip((500, 1_000, 2_000, 4_000), sizes, strict=True):
        n_test = min(_N_TARGETS, n_rows)
        case = bench.fit(n_rows, n_test)
        explainer = LeafInfluence(through_base_score=False, n_jobs=bench.n_jobs)
        explainer.fit(case.model, case.X, case.y)
        tests = case.X_test, case.y_test
        removed = np.linspace(0, n_rows - 1, _N_REMOVED).astype(int)
        expected = push_forward(explainer, *tests)
        found = explainer.explain(*tests).values
        scale = np.abs(expected).max()
        error = float(np.abs(found - expected).max() / scale)
        single = push_one_by_one(explainer, *tests, removed)
        error = max(error, float(np.abs(found[removed] - single).max() / scale))
        if not error < _SAME:
            raise ArithmeticError(
                f"The recursion and LeafInfluence differ by {error:.2g} at {n_rows:,} "
                "rows."
            )
        times = take_turns(
            {
                "explain": functools.partial(explainer.explain, *tests),
                "total": functools.partial(explainer.total, *tests),
                _ONE: functools.partial(push_one_by_one, explainer, *tests, removed),
                _FORWARD: functools.partial(push_forward, explainer, *tests),
            },
            min(bench.repeats, 3),
        )
        factor = n_rows / len(removed)
        times[_ONE] = Timing([factor * seconds for seconds in times[_ONE].seconds])
        for name, timing in times.items():
            medians.setdefault(name, []).append(timing.median)
        if full != _TARGET_ROWS:
            continue
        size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
        notes = {
            _ONE: f"{len(removed)} of {n_rows:,} removals timed, the time scaled up",
            _FORWARD: f"largest difference {error:.0e} of the largest influence",
        }
        rows += [
            Row.quicker(
                f"full LeafInfluence {question} of {n_test} test rows",
                times[question],
                peer,
                times[peer],
                _REACH,
                size=size,
                note=notes[peer],
            )
            for question in ("total", "explain")
            for peer in (_ONE, _FORWARD)
        ]
    curves = [
        Curve(
            name if name in (_ONE, _FORWARD) else f"LeafInfluence {name}",
            "train rows, against the recursion",
            sizes,
            values,
            fit_slope(sizes, values),
            name in (_ONE, _FORWARD),
        )
        for name, values in medians.items()
    ]
    return Measured(rows, curves)
