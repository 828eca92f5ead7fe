"""Clean the adult table with a fifth of its training labels flipped.

    TREEINF_DATA=../shared/data python benchmarks/adult_cleaning.py [--out RESULT.json]

Writes the noisy training rows and the clean test rows as CSV, runs ``treeinf clean`` on
them as a user would, once as it is by default and once for each of some fixed amounts
without the guard, and says how many of the removed rows were flipped and what became of
the test scores. A model of the true labels and one with as many rows removed at random
stand beside. Then it times the parts on their own: train, route, influence, retrain.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from treeinf.evaluation.machine import describe_run

SHARE = 0.2
SEED = 0
AMOUNTS = ("0.05", "0.1", "0.2")


def clean(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """Run the command line and read what it says and writes."""
    command = [
        sys.executable,
        "-c",
        "from treeinf.cli.main import run; run()",
        "clean",
        str(folder / "train.csv"),
        "--target",
        "label",
        "--test",
        str(folder / "test.csv"),
        "--seed",
        str(SEED),
        "--out",
        str(folder / f"{name}.csv"),
        "--removed",
        str(folder / f"{name}-removed.csv"),
        "--json",
        "--force",
        *options,
    ]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"treeinf clean failed: {done.stderr}")
    with (folder / f"{name}-removed.csv").open() as file:
        positions = [int(row["row"]) for row in csv.DictReader(file)]
    return {
        "said": json.loads(done.stdout),
        "positions": positions,
        "wall_s": seconds,
    }


def timed(work: Callable[[], Any], repeats: int = 5) -> float:
    """Give the median seconds of some runs, after one that is not counted."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import lightgbm
    from sklearn.metrics import log_loss, roc_auc_score

    import treeinf as ti
    from treeinf.datasets import available, flip_labels, load

    if "adult" not in available():
        print("Skipped: the adult files are not in the data home; set TREEINF_DATA.")
        return
    split = load("adult").split()
    noisy, is_flipped = flip_labels(split.y_train, SHARE, seed=SEED)
    X, X_test = split.X_train, split.X_test

    def make() -> Any:
        return lightgbm.LGBMClassifier(
            n_estimators=100, random_state=SEED, n_jobs=os.cpu_count(), verbose=-1
        )

    def test_scores(labels: Any, kept: Any) -> dict[str, float]:
        model = make().fit(X[kept], labels[kept])
        probability = model.predict_proba(X_test)[:, 1]
        return {
            "auc": float(roc_auc_score(split.y_test, probability)),
            "log_loss": float(log_loss(split.y_test, probability)),
        }

    everything = np.ones(len(X), bool)
    rng = np.random.default_rng(SEED + 1)
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        X.assign(label=noisy).to_csv(folder / "train.csv", index=False)
        X_test.assign(label=split.y_test).to_csv(folder / "test.csv", index=False)
        settings = [("default", ())] + [
            (amount, ("--amount", amount, "--no-guard", "--validation", "0.2"))
            for amount in AMOUNTS
        ]
        for name, options in settings:
            done = clean(folder, name, *options)
            kept = everything.copy()
            kept[done["positions"]] = False
            at_random = everything.copy()
            at_random[rng.choice(len(X), (~kept).sum(), replace=False)] = False
            removed = int((~kept).sum())
            runs.append(
                {
                    "options": " ".join(options) or "(default)",
                    "removed": removed,
                    "precision": float(is_flipped[~kept].mean()) if removed else None,
                    "recall": float((is_flipped & ~kept).sum() / is_flipped.sum()),
                    "test_after": test_scores(noisy, kept),
                    "test_random": test_scores(noisy, at_random),
                    "wall_s": done["wall_s"],
                    "seconds": done["said"].get("seconds"),
                }
            )
            print(name, json.dumps(runs[-1]), flush=True)
    model = make().fit(X, noisy)
    ensemble = ti.read_model(model)
    explainer = ti.BoostIn().fit(model, X, noisy)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_run(),
        "rows": {
            "train": len(X),
            "test": len(X_test),
            "flipped": int(is_flipped.sum()),
        },
        "test_before": test_scores(noisy, everything),
        "test_true_labels": test_scores(split.y_train, everything),
        "runs": runs,
        "seconds_of_the_parts": {
            "train": timed(lambda: make().fit(X, noisy)),
            "route": timed(lambda: ensemble.apply(X)),
            "fit explainer (reads rows, routes, replays, checks)": timed(
                lambda: ti.BoostIn().fit(model, X, noisy)
            ),
            "total influence on the test rows": timed(
                lambda: explainer.total(X_test, split.y_test)
            ),
            "self influence": timed(explainer.self_influence),
            "retrain": timed(lambda: make().fit(X, noisy)),
        },
    }
    buffer = io.StringIO()
    json.dump(result, buffer, indent=1)
    print(buffer.getvalue())
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(buffer.getvalue() + "\n")


if __name__ == "__main__":
    main()
