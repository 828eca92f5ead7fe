"""Time how long a model of 1,000 trees of 255 leaves takes to read, library by library.

    python benchmarks/reading.py [--trees 1000] [--repeats 5] [--out RESULT.json]

CatBoost's trees are symmetric, of depth 8: 256 leaves. Medians of runs in one process,
after one that is not counted; the model is live, as after training.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from speed import machine


def fit_models(n_trees: int) -> dict[str, Any]:
    """Fit one model of each library on noise, which fills every tree."""
    import catboost
    import lightgbm
    import xgboost
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4_000, 10)), rng.normal(size=4_000)
    n_jobs = os.cpu_count()
    models = {
        "LightGBM": lightgbm.LGBMRegressor(
            n_estimators=n_trees,
            num_leaves=255,
            min_child_samples=2,
            learning_rate=0.01,
            n_jobs=n_jobs,
            verbose=-1,
        ),
        "XGBoost": xgboost.XGBRegressor(
            n_estimators=n_trees,
            max_leaves=255,
            max_depth=0,
            grow_policy="lossguide",
            learning_rate=0.01,
            n_jobs=n_jobs,
        ),
        "CatBoost": catboost.CatBoostRegressor(
            iterations=n_trees,
            depth=8,
            learning_rate=0.01,
            thread_count=n_jobs,
            verbose=False,
            allow_writing_files=False,
        ),
        "HistGradientBoosting": HistGradientBoostingRegressor(
            max_iter=n_trees,
            max_leaf_nodes=255,
            min_samples_leaf=2,
            learning_rate=0.01,
            early_stopping=False,
        ),
        "RandomForest": RandomForestRegressor(
            n_estimators=n_trees, max_leaf_nodes=255, n_jobs=n_jobs
        ),
    }
    return {name: model.fit(X, y) for name, model in models.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trees", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import treeinf as ti

    figures = {}
    print("| model | trees | leaves | median s | min to max |\n|---|---|---|---|---|")
    for name, model in fit_models(arguments.trees).items():
        ensemble = ti.read_model(model)
        seconds = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            ti.read_model(model)
            seconds.append(time.perf_counter() - start)
        figures[name] = {
            "n_trees": ensemble.n_trees,
            "n_leaves": ensemble.n_leaves,
            "median_s": statistics.median(seconds),
            "min_s": min(seconds),
            "max_s": max(seconds),
        }
        print(
            f"| {name} | {ensemble.n_trees:,} | {ensemble.n_leaves:,} | "
            f"{statistics.median(seconds):.2f} | {min(seconds):.2f} to "
            f"{max(seconds):.2f} |",
            flush=True,
        )
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "repeats": arguments.repeats,
        "figures": figures,
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
