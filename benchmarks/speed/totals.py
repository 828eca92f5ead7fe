"""Influence of all train rows on a whole test set, and on themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.speed.bench import (
    N_LEAVES,
    N_TREES,
    Bench,
    Case,
    Measured,
    count_leaf_ids,
)
from benchmarks.speed.rows import Row
from treeinf.adapters import read_model
from treeinf.evaluation.timing import take_turns
from treeinf.explainers import BoostIn, LeafInfluence

__all__ = ["measure_totals"]

_REACH = {"BoostIn": 0.25, "LeafInfluence": 0.4, "LeafInfluence, single point": 0.4}
_PEER = "LightGBM's raw scores of the train rows"
_MANY_ROWS = 1_000_000
_TOTALS = (("BoostIn", "total"), ("LeafInfluence", "total"))
_OWN = (
    ("BoostIn", "self_influence"),
    ("LeafInfluence, single point", "self_influence"),
)


def measure_totals(bench: Bench) -> Measured:
    """Time `total` and `self_influence`, from the model on and once fitted.

    "From the model on" is all that a caller waits for: the model is read and checked,
    rows are routed, the training is replayed and checked, and the question answered.
    LeafInfluence's own term of the full sweep takes one target a row; the quick variant
    of each row's own influence is the single point. Twice the rows are asked for their
    totals alone.
    """
    many = bench.fit(bench.size(_MANY_ROWS, 1_000), bench.size(10_000, 200))
    rows = [
        *_time(bench.main, [*_TOTALS, *_OWN], bench, is_taken_apart=True),
        *_time(many, _TOTALS, bench, is_taken_apart=False),
    ]
    return Measured(rows)


def _time(
    case: Case, plan: Sequence[tuple[str, str]], bench: Bench, *, is_taken_apart: bool
) -> list[Row]:
    """Time questions from the model on; taken apart, also once fitted, and the fit."""
    n_jobs = bench.n_jobs
    booster = case.model.booster_

    def make(name: str) -> Any:
        if name == "BoostIn":
            return BoostIn(n_jobs=n_jobs)
        quick = name.endswith("single point")
        propagation = "single_point" if quick else "full"
        return LeafInfluence(propagation=propagation, n_jobs=n_jobs)

    def fit(name: str) -> Any:
        return make(name).fit(case.model, case.X, case.y)

    work: dict[str, Callable[[], Any]] = {
        _PEER: lambda: booster.predict(case.X, raw_score=True, num_threads=n_jobs),
    }
    for name, question in plan:
        work[f"{name} fit and {question}"] = _ask(fit, name, question, case)
    if is_taken_apart:
        fitted = {name: fit(name) for name, _ in plan}
        for name, question in plan:
            work[f"{name} {question}"] = _ask(fitted.__getitem__, name, question, case)
        work["fit"] = lambda: fit("BoostIn")
    times = take_turns(work, bench.repeats)
    ensemble = read_model(case.model)
    n_train, n_test = len(case.X), len(case.X_test)
    # targets and influence, beside the leaf ids
    inner = count_leaf_ids(ensemble, n_train) + 16 * n_train
    explained = case.X_test.nbytes + 2 * count_leaf_ids(ensemble, n_test)
    routed = case.X.nbytes + count_leaf_ids(ensemble, n_train)
    size = f"{case.rows}, {N_TREES} trees of {N_LEAVES} leaves"
    rows = []
    for name, question in plan:
        must_move = float(inner + explained * (question == "total"))
        words = f"{name} {question}"
        if question == "total":
            words += f" over {n_test:,} test rows"
        rows.append(
            Row.share(
                f"{words}, from the model on",
                times[f"{name} fit and {question}"],
                _PEER,
                times[_PEER],
                _REACH[name],
                must_move=must_move + routed,
                size=size,
            )
        )
        if is_taken_apart:
            rows.append(
                Row.share(
                    f"{words}, once fitted",
                    times[f"{name} {question}"],
                    _PEER,
                    times[_PEER],
                    must_move=must_move,
                    size=size,
                )
            )
    if is_taken_apart:
        rows.append(
            Row.share(
                "fit: read, route, replay and check",
                times["fit"],
                _PEER,
                times[_PEER],
                must_move=float(routed + inner),
                size=size,
            )
        )
    return rows


def _ask(
    get: Callable[[str], Any], name: str, question: str, case: Case
) -> Callable[[], Any]:
    """Give a call that asks an explainer, gotten when it is called."""
    if question == "total":
        return lambda: get(name).total(case.X_test, case.y_test)
    return lambda: get(name).self_influence()
