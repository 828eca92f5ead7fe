"""Against CatBoost's own influence of train rows, `get_object_importance`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.bench import Bench, Measured, make_rows
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.explainers import LeafInfluence

__all__ = ["measure_object_importance"]

_N_TARGETS = 100
_DEPTH = 5
_ITERATIONS = 100
# kind of propagation, CatBoost's type, train rows, what to reach
_PLAN = (
    ("SinglePoint", "Average", 10_000, 20.0),
    ("SinglePoint", "PerObject", 10_000, 8.0),
    ("AllPoints", "Average", 20_000, 500.0),
)
_SAME = 1e-6


def measure_object_importance(bench: Bench) -> Measured:
    """Time the same question asked of CatBoost and of treeinf about CatBoost's model.

    "Average" is `total`, "PerObject" is `explain`. One Newton step a leaf and no
    initial score, where CatBoost's figures are the derivatives they are meant to be;
    they must agree. CatBoost reads the rows anew in every call, treeinf once in `fit`:
    it is timed with and without. AllPoints takes CatBoost about a minute and is run
    once.

    Raises
    ------
    ArithmeticError
        If the two differ.
    """
    rows = []
    for method, kind, full, reach in _PLAN:
        n_rows, n_test = bench.size(full, 400), bench.size(_N_TARGETS, 20)
        ask, fit, catboost = _prepare(bench, method, kind, n_rows, n_test)
        timings = take_turns(
            {
                "once fitted": functools.partial(ask, fit()),
                "fit included": functools.partial(_fit_and_ask, fit, ask),
                **({} if method == "AllPoints" else {"CatBoost": catboost}),
            },
            bench.repeats,
        )
        if method == "AllPoints":
            timings |= take_turns({"CatBoost": catboost}, 1, once=["CatBoost"])
        found, expected = ask(fit()), catboost.result
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not error < _SAME:
            raise ArithmeticError(
                f"CatBoost's {method} {kind} and LeafInfluence differ by {error:.2g}."
            )
        rows += _compare(timings, method, kind, reach, n_rows, n_test, error)
    return Measured(rows)


def _compare(
    timings: dict[str, Timing],
    method: str,
    kind: str,
    reach: float,
    n_rows: int,
    n_test: int,
    error: float,
) -> list[Row]:
    question = "total" if kind == "Average" else "explain"
    note = f"largest difference {error:.0e} of the largest influence"
    size = f"{n_rows:,} rows, {n_test} test rows, {_ITERATIONS} trees of depth {_DEPTH}"
    if method == "AllPoints":
        note += "; CatBoost run once"
    return [
        Row.quicker(
            f"LeafInfluence {question}, {way}",
            timings[way],
            f"CatBoost's object importance, {method}, {kind}",
            timings["CatBoost"],
            reach,
            size=size,
            note=note,
        )
        for way in ("once fitted", "fit included")
    ]


def _fit_and_ask(fit: Callable[[], Any], ask: Callable[[Any], Any]) -> Any:
    return ask(fit())


class _ObjectImportance:
    """A call of CatBoost's own, whose last result is kept; positive is helpful."""

    def __init__(self, model: Any, method: str, kind: str, pools: Any, n_jobs: int):
        self.model, self.pools = model, pools
        self.settings = {"type": kind, "update_method": method, "thread_count": n_jobs}
        self.answer: Any = None

    def __call__(self) -> None:
        train, test = self.pools
        self.answer = self.model.get_object_importance(test, train, **self.settings)

    @property
    def result(self) -> np.ndarray:
        """Give minus the importance, as (n_train,) or (n_train, n_test)."""
        train, test = self.pools
        places, values = self.answer
        if self.settings["type"] == "Average":
            importance = np.zeros(train.num_row())
            importance[np.asarray(places, int)] = values
            return -importance * test.num_row()
        result = np.zeros((train.num_row(), test.num_row()))
        for column, (own, value) in enumerate(zip(places, values, strict=True)):
            result[np.asarray(own, int), column] = value
        return -result


def _prepare(
    bench: Bench, method: str, kind: str, n_rows: int, n_test: int
) -> tuple[Callable[[Any], Any], Callable[[], Any], _ObjectImportance]:
    """Fit CatBoost, and give how to ask treeinf, to fit it, and to ask CatBoost."""
    import catboost

    X, y = make_rows(n_rows + n_test, 20, 2)
    # CatBoost reads single precision
    X = X.astype(np.float32)
    model = catboost.CatBoost(
        {
            "loss_function": "Logloss",
            "iterations": _ITERATIONS,
            "depth": _DEPTH,
            "learning_rate": 0.1,
            "leaf_estimation_iterations": 1,
            "boost_from_average": False,
            "bootstrap_type": "No",
            "verbose": False,
            "thread_count": bench.n_jobs,
            "allow_writing_files": False,
        }
    ).fit(X[:n_rows], y[:n_rows])
    pools = (
        catboost.Pool(X[:n_rows], y[:n_rows]),
        catboost.Pool(X[n_rows:], y[n_rows:]),
    )
    propagation = "full" if method == "AllPoints" else "single_point"

    def fit() -> Any:
        explainer = LeafInfluence(propagation=propagation, n_jobs=bench.n_jobs)
        return explainer.fit(model, X[:n_rows], y[:n_rows])

    def ask(explainer: Any) -> Any:
        question = explainer.total if kind == "Average" else explainer.explain
        return question(X[n_rows:], y[n_rows:]).values

    return ask, fit, _ObjectImportance(model, method, kind, pools, bench.n_jobs)
