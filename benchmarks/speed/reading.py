"""How long large models take to read, library by library."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.speed.bench import Bench, Measured, is_installed
from benchmarks.speed.rows import Row
from treeinf.adapters import read_model
from treeinf.evaluation.timing import take_turns

__all__ = ["measure_reading"]

_LEAVES = 255


def measure_reading(bench: Bench) -> Measured:
    """Time `read_model` on models of many trees of 255 leaves, live as after training.

    CatBoost's trees are symmetric, of depth 8: 256 leaves. The rows are noise, which
    fills every tree.
    """
    n_trees = bench.size(1_000, 10)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4_000, 10)), rng.normal(size=4_000)
    rows, work = [], {}
    for name, (package, make) in _MODELS.items():
        if is_installed(package):
            model = make(n_trees, bench.n_jobs).fit(X, y)
            work[name] = functools.partial(read_model, model)
    size = f"{n_trees:,} trees of {_LEAVES} leaves"
    times = take_turns(work, bench.repeats)
    for name in _MODELS:
        words = f"read {name}"
        if name in times:
            rows.append(Row.clock(words, times[name], size=size))
        else:
            rows.append(Row(words, "s", size=size, note=f"{name}: not installed"))
    return Measured(rows)


def _make_lightgbm(n_trees: int, n_jobs: int) -> Any:
    import lightgbm

    return lightgbm.LGBMRegressor(
        n_estimators=n_trees,
        num_leaves=_LEAVES,
        min_child_samples=2,
        learning_rate=0.01,
        n_jobs=n_jobs,
        verbose=-1,
    )


def _make_xgboost(n_trees: int, n_jobs: int) -> Any:
    import xgboost

    return xgboost.XGBRegressor(
        n_estimators=n_trees,
        max_leaves=_LEAVES,
        max_depth=0,
        grow_policy="lossguide",
        learning_rate=0.01,
        n_jobs=n_jobs,
    )


def _make_catboost(n_trees: int, n_jobs: int) -> Any:
    import catboost

    return catboost.CatBoostRegressor(
        iterations=n_trees,
        depth=8,
        learning_rate=0.01,
        thread_count=n_jobs,
        verbose=False,
        allow_writing_files=False,
    )


def _make_hist(n_trees: int, n_jobs: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        max_iter=n_trees,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=2,
        learning_rate=0.01,
        early_stopping=False,
    )


def _make_forest(n_trees: int, n_jobs: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(
        n_estimators=n_trees, max_leaf_nodes=_LEAVES, n_jobs=n_jobs
    )


_MODELS: dict[str, tuple[str, Callable[[int, int], Any]]] = {
    "LightGBM": ("lightgbm", _make_lightgbm),
    "XGBoost": ("xgboost", _make_xgboost),
    "CatBoost": ("catboost", _make_catboost),
    "HistGradientBoosting": ("sklearn", _make_hist),
    "RandomForest": ("sklearn", _make_forest),
}
