"""Many deep trees, many classes, many features: nothing falls off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.speed.bench import Bench, Case, Measured, count_leaf_ids
from benchmarks.speed.rows import Row
from treeinf.adapters import read_model
from treeinf.evaluation.timing import Timing, take_turns
from treeinf.explainers import BoostIn, LeafInfluence
from treeinf.kernels.threads import limit_threads

__all__ = ["measure_deep"]

_N_CLASSES = 10
_LEAVES, _SCORES = "LightGBM's leaf prediction", "LightGBM's raw scores"


def measure_deep(bench: Bench) -> Measured:
    """Time the same work on deep and wide models and on the plain one.

    Falling off would be a ratio to LightGBM's own prediction far worse than that on the
    plain model, which stands in the note.
    """
    n_rows, n_test = bench.size(20_000, 600), bench.size(5_000, 100)
    plain = bench.fit(n_rows, n_test)
    deep = {"n_estimators": bench.size(1_000, 20), "num_leaves": 255}
    classes = {"n_estimators": bench.size(100, 5), "num_leaves": 255, "max_bin": 63}
    cases = {
        f"{deep['n_estimators']:,} trees of 255 leaves": bench.fit(
            n_rows, n_test, min_child_samples=5, **deep
        ),
        f"{_N_CLASSES} classes, {_N_CLASSES * classes['n_estimators']:,} trees of 255 "
        "leaves": bench.fit(
            n_rows,
            n_test,
            n_features=500,
            n_classes=_N_CLASSES,
            colsample_bytree=0.2,
            min_child_samples=5,
            **classes,
        ),
    }
    base = _time(plain, bench)
    rows = []
    for name, case in cases.items():
        times = _time(case, bench)
        ensemble = read_model(case.model)
        size = f"{case.rows}, {name}, {n_test:,} test rows"
        ids = count_leaf_ids(ensemble, len(case.X))
        for work, peer, reach, moved in (
            ("apply", _LEAVES, 1 / 2.2, case.X.nbytes + ids),
            ("BoostIn total", _SCORES, 0.25, ids),
            ("LeafInfluence total", _SCORES, 0.4, ids),
        ):
            same = Row.share("", base[work], "", base[peer]).figure
            assert same is not None
            rows.append(
                Row.share(
                    work,
                    times[work],
                    peer,
                    times[peer],
                    reach,
                    must_move=float(moved),
                    size=size,
                    note=f"with 100 trees of 31 leaves, two classes, 20 features: "
                    f"{same:.3g} x the time",
                )
            )
    return Measured(rows)


def _time(case: Case, bench: Bench) -> dict[str, Timing]:
    n_jobs = bench.n_jobs
    ensemble, booster = read_model(case.model), case.model.booster_
    quick = BoostIn(n_jobs=n_jobs).fit(case.model, case.X, case.y)
    full = LeafInfluence(n_jobs=n_jobs).fit(case.model, case.X, case.y)
    work: dict[str, Callable[[], Any]] = {
        _LEAVES: lambda: booster.predict(case.X, pred_leaf=True, num_threads=n_jobs),
        _SCORES: lambda: booster.predict(case.X, raw_score=True, num_threads=n_jobs),
        "apply": lambda: ensemble.apply(case.X),
        "BoostIn total": lambda: quick.total(case.X_test, case.y_test),
        "LeafInfluence total": lambda: full.total(case.X_test, case.y_test),
    }
    with limit_threads(n_jobs):
        return take_turns(work, min(bench.repeats, 3))
