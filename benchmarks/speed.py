"""Time treeinf's operations as ratios to LightGBM's own raw-score prediction.

    python benchmarks/speed.py [--rows 500000] [--repeats 7] [--out RESULT.json]

One model (100 trees of 31 leaves, 20 features), one process, the same number of
threads for all. Every operation runs once untimed (compilation, page faults), then all
take turns, so that a drift of the machine's speed meets each alike. The median is
quoted, the ratio is that of the medians. Memory is the growth of the peak resident set
while the operation runs, from the kernel's accounting (Linux only).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

N_TREES = 100
N_LEAVES = 31
N_FEATURES = 20
N_TEST = 10_000


def read_memory(field: str) -> float:
    """Read VmRSS or VmHWM of this process in MiB; NaN where there is no /proc."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan")
    line = next(line for line in text.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def grow_of_peak(work: Callable[[], Any]) -> float:
    """Run `work` and give the growth of the peak resident set in MiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return float("nan")
    before = read_memory("VmRSS")
    work()
    return read_memory("VmHWM") - before


def machine() -> dict[str, Any]:
    """Say where and with what the figures were taken."""
    names = (
        "numpy",
        "numba",
        "scipy",
        "scikit-learn",
        "lightgbm",
        "xgboost",
        "catboost",
        "treeinf",
    )
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [li for li in cpuinfo.read_text().splitlines() if "model name" in li]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def measure(n_rows: int, repeats: int, n_jobs: int) -> dict[str, Any]:
    """Time every operation on `n_rows` train rows."""
    import lightgbm
    from sklearn.datasets import make_classification

    import treeinf as ti

    X, y = make_classification(
        n_rows + N_TEST, N_FEATURES, n_informative=10, flip_y=0.1, random_state=0
    )
    X_test, y_test = X[n_rows:].copy(), y[n_rows:].copy()
    X, y = X[:n_rows].copy(), y[:n_rows].copy()
    model = lightgbm.LGBMClassifier(
        n_estimators=N_TREES, num_leaves=N_LEAVES, verbose=-1, n_jobs=n_jobs
    ).fit(X, y)
    booster = model.booster_
    ensemble = ti.read_model(model)
    explainer = ti.BoostIn(n_jobs=n_jobs).fit(model, X, y)
    swept = ti.LeafInfluence(n_jobs=n_jobs).fit(model, X, y)
    work: dict[str, Callable[[], Any]] = {
        "LightGBM raw scores": lambda: booster.predict(
            X, raw_score=True, num_threads=n_jobs
        ),
        "LightGBM leaves": lambda: booster.predict(
            X, pred_leaf=True, num_threads=n_jobs
        ),
        "apply": lambda: ensemble.apply(X),
        "fit": lambda: ti.BoostIn(n_jobs=n_jobs).fit(model, X, y),
        "BoostIn total": lambda: explainer.total(X_test, y_test),
        "BoostIn self_influence": explainer.self_influence,
        "LeafInfluence total": lambda: swept.total(X_test, y_test),
    }
    for run in work.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    sums = {
        f"fit + {name}": [
            a + b for a, b in zip(seconds["fit"], seconds[name], strict=True)
        ]
        for name in ("BoostIn total", "BoostIn self_influence", "LeafInfluence total")
    }
    base = statistics.median(seconds["LightGBM raw scores"])
    leaves = statistics.median(seconds["LightGBM leaves"])
    figures = {}
    for name, values in {**seconds, **sums}.items():
        median = statistics.median(values)
        figures[name] = {
            "median_s": median,
            "min_s": min(values),
            "max_s": max(values),
            "to_raw_scores": median / base,
            "to_leaves": median / leaves,
        }
    for name, run in work.items():
        figures[name]["peak_growth_mib"] = grow_of_peak(run)
    return {
        "n_rows": n_rows,
        "n_test": N_TEST,
        "n_features": N_FEATURES,
        "n_trees": N_TREES,
        "n_leaves": N_LEAVES,
        "threads": n_jobs,
        "repeats": repeats,
        "rows_mib": X.nbytes / 2**20,
        "leaf_ids_mib": N_TREES * n_rows / 2**20,
        "figures": figures,
    }


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the figures out as a table."""
    run = result["run"]
    lines = [
        f"{run['n_rows']:,} x {run['n_features']} rows, {run['n_trees']} trees of "
        f"{run['n_leaves']} leaves, {run['n_test']:,} test rows, {run['threads']} "
        f"threads, median of {run['repeats']} runs in turn; "
        f"{result['machine']['processor']}, Python {result['machine']['python']}, "
        + ", ".join(f"{k} {v}" for k, v in result["machine"]["versions"].items())
        + f"; {result['machine']['date']}.",
        "",
        "| operation | median s | min to max | ratio to LightGBM raw scores | "
        "peak memory growth |",
        "|---|---|---|---|---|",
    ]
    for name, row in run["figures"].items():
        memory = row.get("peak_growth_mib")
        lines.append(
            f"| {name} | {row['median_s']:.3f} | {row['min_s']:.3f} to "
            f"{row['max_s']:.3f} | {row['to_raw_scores']:.3f} | "
            + ("" if memory is None else f"{memory:.0f} MiB")
            + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--n-jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": machine(),
        "run": measure(arguments.rows, arguments.repeats, arguments.n_jobs),
    }
    print(to_markdown(result))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
