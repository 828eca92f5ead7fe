"""The estimated share of wrong labels: how often its interval holds the truth.

    TREEINF_DATA=../shared/data python benchmarks/noise_rate.py
        [--seeds 0 1 2] [--out results/noise_rate]

A cell is one data set, one seed, one share and one kind of wrong labels. Train rows and
noise are those of `cleaning_guard.py` (at most 1,000 rows); "uniform": the label
becomes any other class, all alike, or the target that of another row; "other": a
label becomes that of the class after its own, or a target moves by 2 to 4 standard
deviations, which the estimate does not assume. Copies of LightGBM with 50 trees, a
forest and a kernel ridge predict the rows that they have not seen, as
`InfluenceCleaner` does, and of that the share is estimated with a nominal interval of
90 %.

The truth is the share of rows whose label was changed. What a public table holds of
wrong labels of its own is not known and not counted, so that an interval above a truth
of 0 may be right. The estimator was made on some of the sets, and is judged by the
others.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from cleaning_guard import MODEL, draw_rows, spoil

from treeinf.evaluation.machine import describe_run

MADE_ON = (
    "breast_cancer",
    "spambase",
    "bean",
    "adult",
    "credit_card",
    "digits",
    "sklearn_diabetes",
    "concrete",
    "power",
    "protein",
    "wine",
)
JUDGED_ON = (
    "compas",
    "german_credit",
    "vaccine",
    "no_show",
    "flight_delays",
    "sklearn_wine",
    "iris",
    "life",
    "online_news",
    "yacht",
)
SHARES = (0.0, 0.05, 0.2, 0.4)
KINDS = ("uniform", "other")
# next classes only cannot be given to more
SHARES_OF_OTHER = (0.05, 0.2)
CONFIDENCE = 0.9


def make_wrong(y: Any, share: float, kind: str, task: str, seed: int) -> Any:
    """Make a share of the labels or targets wrong."""
    from treeinf.datasets import flip_labels, shift_targets

    if kind == "uniform":
        return spoil(y, share, task, seed)[0]
    if task == "regression":
        return shift_targets(y, share, kind="outliers", seed=seed)[0]
    return flip_labels(y, share, kind="pairs", seed=seed)[0]


def run_cell(name: str, seed: int, share: float, kind: str) -> dict[str, Any]:
    """Estimate the share of one table."""
    import lightgbm

    from treeinf.cleaning.costs import Costs
    from treeinf.cleaning.rows import label_rows, read_classes, read_labels
    from treeinf.cleaning.scores.cross_fitting import plan_copies
    from treeinf.cleaning.scores.methods import METHODS
    from treeinf.cleaning.scores.noise_rate import (
        OutOfBag,
        estimate_label_noise,
        estimate_target_noise,
    )
    from treeinf.cleaning.scores.scoring import RowScorer
    from treeinf.cleaning.trial.splits import RowSet
    from treeinf.training.learner import Learner

    X, y, _, _, task = draw_rows(name, seed)
    noisy = make_wrong(y, share, kind, task, seed)
    is_regression = task == "regression"
    estimator = "LGBMRegressor" if is_regression else "LGBMClassifier"
    labels = read_labels(noisy, len(y), "y")
    classes = None if is_regression else read_classes(labels)
    rows = label_rows(X, labels, classes)
    trainer = Learner(getattr(lightgbm, estimator)(**MODEL), classes)
    positions = np.arange(rows.n_rows)
    plan = plan_copies(rows, [], RowSet(rows, positions), np.random.default_rng(seed))
    scorer = RowScorer(
        METHODS["stacking"], trainer, rows, plan, seed=seed, costs=Costs()
    )
    scores = scorer.score(positions)
    begin = time.process_time()
    estimate = estimate_target_noise if is_regression else estimate_label_noise
    seen = OutOfBag(rows.y if is_regression else rows.code, scores.pooled)
    found = estimate(seen, confidence=CONFIDENCE, seed=seed)
    assert found is not None
    return {
        "data": name,
        "task": task,
        "seed": seed,
        "share": share,
        "kind": kind,
        "truth": round(float((noisy != y).mean()), 4),
        "estimate": round(found.rate, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
        "seconds": round(time.process_time() - begin, 3),
    }


def summarise(cells: list[dict[str, Any]]) -> str:
    """Write one entry of the table."""
    if not cells:
        return ""
    held = np.mean([c["low"] <= c["truth"] <= c["high"] for c in cells])
    mean = {
        key: np.mean([c[key] for c in cells]) for key in ("estimate", "low", "high")
    }
    return (
        f"{held:.0%}: {mean['estimate']:.1%} ({mean['low']:.1%} to {mean['high']:.1%})"
    )


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the cells out, a table for each kind of noise."""
    cells = result["cells"]
    found = result["machine"]
    seconds = {
        name: np.median([c["seconds"] for c in cells if (c["task"] == name)])
        for name in dict.fromkeys(c["task"] for c in cells)
    }
    lines = [
        "# The estimated share of wrong labels: does its interval hold the truth?",
        "",
        f"{len(cells)} cells: {len(MADE_ON) + len(JUDGED_ON)} data sets, seeds "
        f"{result['seeds']}, made by `benchmarks/noise_rate.py`, which says what was "
        "done: how often the nominal 90 % interval holds the share of labels that were "
        "made wrong, then the mean estimate and the mean ends of the interval. One "
        f"thread of {found['processor']}, Python {found['python']}; {found['date']}. "
        "Median seconds of an estimate: "
        + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items())
        + ".",
    ]
    titles = {
        "uniform": "Labels that became any other class; targets of other rows",
        "other": "Not what is assumed: labels that became the next class; far targets",
    }
    for kind, title in titles.items():
        own = [c for c in cells if c["kind"] == kind]
        if not own:
            continue
        lines += [
            "",
            f"## {title}",
            "",
            "| | " + " | ".join(f"{share:.0%} wrong" for share in SHARES) + " |",
            "|---|" + "---|" * len(SHARES),
        ]
        groups: list[tuple[str, list[dict[str, Any]]]] = []
        for name, sets in (("judged on", JUDGED_ON), ("made on", MADE_ON)):
            part = [c for c in own if c["data"] in sets]
            labels = [c for c in part if c["task"] != "regression"]
            groups += [
                (f"**{name}: classes**", labels),
                (f"**{name}: regression**", [c for c in part if c not in labels]),
            ]
        groups += [
            (name, [c for c in own if c["data"] == name])
            for name in JUDGED_ON + MADE_ON
        ]
        for name, part in groups:
            entries = [
                summarise([c for c in part if c["share"] == share]) for share in SHARES
            ]
            lines.append(f"| {name} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="path without .json and .md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cells = []
    for kind in KINDS:
        for seed in arguments.seeds:
            for share in SHARES:
                if kind == "other" and share not in SHARES_OF_OTHER:
                    continue
                for name in JUDGED_ON + MADE_ON:
                    cells.append(run_cell(name, seed, share, kind))
                    print(json.dumps(cells[-1]), flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_run(),
        "seeds": arguments.seeds,
        "cells": cells,
    }
    text = to_markdown(result)
    print(text)
    if arguments.out:
        lines = ",\n".join(f"  {json.dumps(cell)}" for cell in cells)
        head = json.dumps({k: v for k, v in result.items() if k != "cells"}, indent=1)
        arguments.out.with_suffix(".json").write_text(
            f'{head[:-2]},\n "cells": [\n{lines}\n ]\n}}\n'
        )
        arguments.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
