"""Rows that stand in a table more than once: the cleaning against that of single rows.

    TREEINF_DATA=../shared/data python benchmarks/repeated_rows.py
        [--data breast_cancer ...] [--out results/repeated_rows]

A fifth of the labels of at most 400 subjects is made wrong, and then every subject is
repeated, label included: 1, 2 or 4 rows a subject, equal, or with normal noise of 2 %
of each number's spread. `InfluenceCleaner` cleans each table by default, and with
``join_equal_rows=False``. Average precision is that of the scores for wrong labels,
over rows; where rows are joined, its mean over 3 seeds of the cleaner, since one seed
moves it by .01 to .02. "Agreement" is the share of subjects removed or kept as in the
table of single rows with the same noise; "same fifth" the share of the fifth of the
subjects with the highest scores that is in that fifth of the table of single rows, too,
whatever the guard decides. A subject is removed if most of its rows are. LightGBM with
30 trees, one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import itertools
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from cleaning_guard import draw_rows, spoil

from treeinf.evaluation.machine import describe_run

DATA = ("breast_cancer", "digits", "spambase", "bean", "adult", "german_credit")
MODEL = {"n_estimators": 30, "n_jobs": 1, "random_state": 0, "verbose": -1}
COPIES = (1, 2, 4)
NOISE = 0.02
SHARE_WRONG = 0.2
N_SEEDS = 3
MOST_SUBJECTS = 400
SEED = 0


def repeat(X: Any, n_copies: int, noise: float, seed: int) -> Any:
    """Repeat rows, with noise on the columns of numbers."""
    import pandas as pd

    table = pd.concat([X] * n_copies, ignore_index=True)
    rng = np.random.default_rng(seed)
    for name in table.columns if noise else ():
        if table[name].dtype.kind in "iuf":
            values = table[name].astype(float)
            spread = noise * float(values.std())
            table[name] = values + spread * rng.normal(size=len(values))
    return table


def clean(
    X: Any, y: Any, *, join_equal_rows: bool, seed: int = SEED, **parameters: Any
) -> Any:
    """Clean a table; return the cleaner."""
    import lightgbm

    from treeinf.cleaning import InfluenceCleaner

    return InfluenceCleaner(
        lightgbm.LGBMClassifier(**MODEL),
        baselines=False,
        random_state=seed,
        n_jobs=1,
        join_equal_rows=join_equal_rows,
        **parameters,
    ).fit(X, y)


def run_data(name: str) -> list[dict[str, Any]]:
    """Clean a data set with 1, 2 and 4 rows a subject."""
    from sklearn.metrics import average_precision_score

    X, y, _, _, task = draw_rows(name, SEED, MOST_SUBJECTS)
    noisy, is_wrong = spoil(y, SHARE_WRONG, task, SEED)
    cells = []
    single: dict[float, Any] = {}
    plan = itertools.product(COPIES, (0.0, NOISE), (True, False))
    for n_copies, noise, joined in plan:
        if n_copies == 1 and not joined:
            continue
        table = repeat(X, n_copies, noise, SEED)
        labels, wrong = np.tile(noisy, n_copies), np.tile(is_wrong, n_copies)
        begin = time.process_time()
        cleaner = clean(table, labels, join_equal_rows=joined)
        seconds = time.process_time() - begin
        found = [float(average_precision_score(wrong, cleaner.scores_))]
        for seed in range(1, N_SEEDS if joined else 1):
            scored = clean(
                repeat(X, n_copies, noise, seed),
                labels,
                join_equal_rows=joined,
                seed=seed,
                amount=SHARE_WRONG,
                guard=False,
            )
            found.append(float(average_precision_score(wrong, scored.scores_)))
        removed = 1.0 - cleaner.kept_.reshape(n_copies, -1).mean(axis=0) > 0.5
        order = np.argsort(-cleaner.scores_.reshape(n_copies, -1).mean(axis=0))
        fifth = set(order[: len(y) // 5].tolist())
        first_removed, first_fifth = single.setdefault(noise, (removed, fifth))
        cells.append(
            {
                "data": name,
                "subjects": len(y),
                "rows_a_subject": n_copies,
                "noise": noise,
                "joined": joined,
                "n_joined": cleaner.report_.n_joined,
                "average_precision": float(np.mean(found)),
                "of_seeds": found,
                "removed": int(removed.sum()),
                "wrong_removed": int((removed & is_wrong).sum()),
                "wrong": int(is_wrong.sum()),
                "agreement": float((removed == first_removed).mean()),
                "same_fifth": len(fifth & first_fifth) / len(fifth),
                "verdict": cleaner.report_.verdict,
                "cpu_seconds": seconds,
            }
        )
        print(cells[-1], flush=True)
    return cells


def write_table(cells: list[dict[str, Any]]) -> str:
    """Write the cells as a Markdown table."""
    lines = [
        "# Rows that stand in a table more than once",
        "",
        "A fifth of the labels wrong, then every subject repeated with its label; "
        "LightGBM with 30 trees. See `benchmarks/repeated_rows.py`. Where rows are "
        "joined AP is the mean over three seeds of the cleaner, whose range is in "
        "brackets; compare it, agreement and the same fifth with single rows of the "
        "same noise, which by itself changes what can be learned.",
        "",
        "| data | subjects | rows each | noise | joined | AP (seeds) | removed "
        "| of them wrong | wrong | agreement | same fifth | verdict |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for cell in cells:
        joined = f"{cell['n_joined']:,} rows" if cell["joined"] else "off"
        found = cell["of_seeds"]
        precision = f"{cell['average_precision']:.3f}"
        if len(found) > 1:
            precision += f" ({min(found):.3f} to {max(found):.3f})"
        lines.append(
            f"| {cell['data']} | {cell['subjects']} | {cell['rows_a_subject']} "
            f"| {cell['noise']:g} | {joined} | {precision} | {cell['removed']} "
            f"| {cell['wrong_removed']} | {cell['wrong']} "
            f"| {cell['agreement']:.3f} | {cell['same_fifth']:.3f} "
            f"| {cell['verdict']} |"
        )
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=DATA)
    parser.add_argument("--out", type=Path, default=Path("results/repeated_rows"))
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    cells: list[dict[str, Any]] = []
    head = json.dumps({"machine": describe_run()}, indent=1)
    for name in chosen.data:
        cells += run_data(name)
        # so that a run that is stopped keeps the data sets that are done
        lines = ",\n".join(f"  {json.dumps(cell)}" for cell in cells)
        chosen.out.with_suffix(".json").write_text(
            f'{head[:-2]},\n "cells": [\n{lines}\n ]\n}}\n'
        )
        chosen.out.with_suffix(".md").write_text(write_table(cells))


if __name__ == "__main__":
    main(sys.argv[1:])
