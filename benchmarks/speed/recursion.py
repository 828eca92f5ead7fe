"""Full LeafInfluence against the published forward recursion."""

from __future__ import annotations

import functools

import numpy as np
from sklearn.base import clone

from benchmarks.speed.bench import N_LEAVES, N_TREES, Bench, Measured
from benchmarks.speed.factors import (
    Recursion,
    push_forward,
    push_leaf_by_leaf,
    push_one_by_one,
)
from benchmarks.speed.rows import Curve, Row, fit_slope
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.explainers import LeafInfluence

__all__ = ["measure_recursion"]

_N_TARGETS = 100
_TARGET_ROWS = 2_000
_REACH = 10_000.0
_SAME = 1e-9
_PUBLISHED = "the forward recursion as published: removal by removal, leaf by leaf"
_ONE = "the same rewritten, all leaves of a tree at once (NumPy)"
_FORWARD = "the same rewritten, all removals side by side (SciPy)"
_N_REMOVED = {_PUBLISHED: 5, _ONE: 20}


def measure_recursion(bench: Bench) -> Measured:
    """Time `explain` and `total` of 100 test rows against the recursion.

    The authors' programs cannot be run on present libraries, so the recursion is
    written here in three ways: in the loops of those programs, which is what the
    ratio to reach belongs to; with all leaves of a tree at once; and with all removals
    at once as sparse products, which takes n_train^2 memory. Of the first two a few
    removals are timed, and the time for all is in proportion. All give what `explain`
    gives, and get the replayed training for nothing.

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
        given = Recursion.read(explainer, *tests)
        removed = {
            peer: np.linspace(0, n_rows - 1, n).astype(int)
            for peer, n in _N_REMOVED.items()
        }
        peers = {
            _PUBLISHED: functools.partial(
                push_leaf_by_leaf, given, removed[_PUBLISHED]
            ),
            _ONE: functools.partial(push_one_by_one, given, removed[_ONE]),
            _FORWARD: functools.partial(push_forward, given),
        }
        found = explainer.explain(*tests).values
        error = max(
            float(np.abs(found[removed.get(peer, slice(None))] - push()).max())
            for peer, push in peers.items()
        ) / float(np.abs(found).max())
        if not error < _SAME:
            raise ArithmeticError(
                f"The recursion and LeafInfluence differ by {error:.2g} at {n_rows:,} "
                "rows."
            )
        times = take_turns(
            {
                "explain": lambda fitted, tests=tests: fitted.explain(*tests),
                "total": functools.partial(explainer.total, *tests),
                **peers,
            },
            min(bench.repeats, 3),
            # later calls have the leaf coupling, which takes long to build here
            prepare={
                "explain": functools.partial(
                    clone(explainer).fit, case.model, case.X, case.y
                )
            },
        )
        for peer, n_removed in _N_REMOVED.items():
            factor = n_rows / n_removed
            times[peer] = Timing([factor * seconds for seconds in times[peer].seconds])
        for name, timing in times.items():
            medians.setdefault(name, []).append(timing.median)
        if full != _TARGET_ROWS:
            continue
        size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
        notes = {
            peer: f"{n} of {n_rows:,} removals timed, the time scaled up"
            for peer, n in _N_REMOVED.items()
        }
        notes[_FORWARD] = f"largest difference {error:.0e} of the largest influence"
        rows += [
            Row.quicker(
                f"full LeafInfluence {question} of {n_test} test rows",
                times[question],
                peer,
                times[peer],
                _REACH if peer == _PUBLISHED else None,
                size=size,
                note=notes[peer],
            )
            for question in ("total", "explain")
            for peer in peers
        ]
    curves = [
        Curve(
            name if name in peers else f"LeafInfluence {name}",
            "train rows, against the recursion",
            sizes,
            values,
            fit_slope(sizes, values),
            name in peers,
        )
        for name, values in medians.items()
    ]
    return Measured(rows, curves)
