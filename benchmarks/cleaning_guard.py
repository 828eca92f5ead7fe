"""Clean data that needs no cleaning: what the guard does, and what it costs.

    TREEINF_DATA=../shared/data python benchmarks/cleaning_guard.py
        [--method stacking] [--seeds 0 1 2 3 4] [--out results/cleaning_guard]

A cell is one data set, one seed and one share of labels made wrong: none, or a fifth.
The seed draws train rows (at most 1,000, and at most 70 % of the set) and up to 2,000
test rows, which nobody has touched and the cleaner never sees. `InfluenceCleaner` runs
with its defaults (but for `--method`) around LightGBM with 50 trees; the same estimator
trained on all rows stands beside it. "No noise" means that none was put in: what a
public table holds of its own stays in. Noise: a fifth of the train labels becomes any
other class, all alike; in regression a fifth of the targets becomes that of some other
row.

A gain is the test score with cleaning minus that without: AUC of two classes, accuracy
of more, R2. Where the cleaner keeps all rows the two models are the same, and the gain
is 0. "Worse beyond noise" and "better beyond noise": the 90 % interval of the paired
difference over the test rows is on one side of 0; by chance alone 5 % of the runs that
act would be on either.

Each cell is stored as it ends, a JSON file in the folder of `--cells`; a run that was
stopped goes on from there, and the tables come from all cells that are stored.
`--tables` makes them without running anything. One process, one thread; times are of
the processor, not of the wall, so that other work on the machine hardly counts, and
compiled kernels are loaded before. For the cost alone, one table is cleaned at several
sizes.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from treeinf.evaluation.machine import describe_run
from treeinf.training.checkpoint import ResultFolder

DATA = (
    "breast_cancer",
    "german_credit",
    "compas",
    "adult",
    "credit_card",
    "no_show",
    "spambase",
    "sklearn_wine",
    "bean",
    "sklearn_diabetes",
    "concrete",
    "wine",
    "power",
    "protein",
)
SHARES = (0.0, 0.2)
MOST_TRAIN, MOST_TEST, LEAST_TEST_SHARE = 1_000, 2_000, 0.3
MODEL = {"n_estimators": 50, "n_jobs": 1, "random_state": 0, "verbose": -1}
CONFIDENCE = 0.9
SIZED, SIZES = "adult", (1_000, 4_000, 16_000)
# keeps the choice of rows and of noise apart from all other uses of a seed
_ROWS, _NOISE = 0x726F7773, 0x6E6F6973


def draw_rows(
    name: str, seed: int, most_train: int = MOST_TRAIN
) -> tuple[Any, Any, Any, Any, str]:
    """Draw train and test rows of a data set."""
    from sklearn.model_selection import train_test_split

    from treeinf.datasets import load

    data = load(name)
    n_train = min(most_train, round((1.0 - LEAST_TEST_SHARE) * data.n_rows))
    labels = None if data.task == "regression" else data.y
    train, test = train_test_split(
        np.arange(data.n_rows),
        train_size=n_train,
        test_size=min(MOST_TEST, data.n_rows - n_train),
        stratify=labels,
        random_state=np.random.default_rng([seed, _ROWS]).integers(2**31),
    )
    return (
        data.X.iloc[train].reset_index(drop=True),
        data.y[train],
        data.X.iloc[test].reset_index(drop=True),
        data.y[test],
        data.task,
    )


def spoil(y: Any, share: float, task: str, seed: int) -> tuple[Any, Any]:
    """Make a share of the labels or targets wrong."""
    from treeinf.datasets import flip_labels

    if task != "regression":
        return flip_labels(y, share, seed=seed)
    rng = np.random.default_rng([seed, _NOISE])
    bad = rng.choice(len(y), round(share * len(y)), replace=False)
    other = (bad + rng.integers(1, len(y), len(bad))) % len(y)
    noisy = y.copy()
    noisy[bad] = y[other]
    return noisy, noisy != y


def score_rows(model: Any, X: Any, y: Any, task: str) -> tuple[float, Any]:
    """Give the score, and losses of the rows whose mean is 1 minus it."""
    from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

    from treeinf.cleaning.trial import losses as primary

    if task == "regression":
        says = model.predict(X)
        return r2_score(y, says), primary.square_losses(y, says)
    says = model.predict_proba(X)
    if task == "binary":
        is_positive = y == model.classes_[1]
        return (
            roc_auc_score(is_positive, says[:, 1]),
            primary.auc_losses(is_positive, says[:, 1]),
        )
    chosen = model.classes_[says.argmax(axis=1)]
    return accuracy_score(y, chosen), (chosen != y).astype(float)


def settings() -> str:
    """Compute a short hash of all that a cell depends on beside its name."""
    facts = [MOST_TRAIN, MOST_TEST, LEAST_TEST_SHARE, MODEL, CONFIDENCE]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def warm_up(estimator: Any, X: Any, y: Any) -> None:
    """Load or compile the kernels that a cleaning uses."""
    from treeinf.cleaning import InfluenceCleaner

    settings = {"amount": 0.1, "guard": False, "baselines": False}
    InfluenceCleaner(estimator, **settings).fit(X[:300], y[:300])


def run_cell(
    method: str, name: str, share: float, seed: int, most_train: int
) -> dict[str, Any]:
    """Clean one table by a method and see what it brought."""
    import lightgbm

    from treeinf.cleaning import InfluenceCleaner
    from treeinf.cleaning.trial.comparison import paired_interval

    X, y, X_test, y_test, task = draw_rows(name, seed, most_train)
    noisy, is_bad = spoil(y, share, task, seed)
    kind = "LGBMRegressor" if task == "regression" else "LGBMClassifier"
    estimator = getattr(lightgbm, kind)(**MODEL)
    fits = []
    for _ in range(5):
        begin = time.process_time()
        before = estimator.fit(X, noisy)
        fits.append(time.process_time() - begin)
    warm_up(getattr(lightgbm, kind)(**MODEL), X, noisy)
    cleaner = InfluenceCleaner(
        getattr(lightgbm, kind)(**MODEL), method=method, random_state=seed
    )
    begin = time.process_time()
    cleaner.fit(X, noisy)
    spent = time.process_time() - begin
    report = cleaner.report_
    score, losses = score_rows(before, X_test, y_test, task)
    cleaned, losses_cleaned = score_rows(cleaner.estimator_, X_test, y_test, task)
    _, low, high = paired_interval(losses - losses_cleaned, CONFIDENCE)
    # dropped, or left with less than half of their weight
    removed = np.zeros(len(y), dtype=bool)
    removed[np.asarray(cleaner.removed_["position"], dtype=np.int64)] = True
    return {
        "method": method,
        "data": name,
        "task": task,
        "share": share,
        "seed": seed,
        "most_train": most_train,
        "n_train": len(y),
        "n_test": len(y_test),
        "verdict": report.verdict,
        "acted": report.acted,
        "action": report.action,
        "chosen_share": round(report.chosen_share, 4),
        "removed": int(removed.sum()),
        "removed_bad": int((removed & is_bad).sum()),
        "bad": int(is_bad.sum()),
        "before": round(float(score), 5),
        "gain": round(float(cleaned - score), 5),
        "gain_low": round(low, 5),
        "gain_high": round(high, 5),
        "gain_by_guard": (
            None if report.primary is None else round(report.primary.gain, 5)
        ),
        "n_fits": report.n_fits,
        "fit_seconds": round(statistics.median(fits), 4),
        "clean_seconds": round(spent, 3),
        "parts": {key: round(value, 3) for key, value in report.seconds.items()},
    }


def name_cell(method: str, name: str, share: float, seed: int, most_train: int) -> str:
    """Name the stored result of a cell under these settings."""
    return f"{method} {name} {share} {seed} {most_train} {settings()}"


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Count and average cells of one share of noise."""
    from treeinf.evaluation import average_cells

    acted = [cell for cell in cells if cell["acted"]]
    gains = [cell["gain"] for cell in cells]
    mean = average_cells(gains, [cell["data"] for cell in cells], level=CONFIDENCE)
    return {
        "runs": len(cells),
        "acted": len(acted),
        "vetoed": sum(cell["verdict"] == "vetoed" for cell in cells),
        "gain": [float(mean.mean[0]), float(mean.low[0]), float(mean.high[0])],
        "gain_when_acting": (
            float(np.mean([cell["gain"] for cell in acted])) if acted else None
        ),
        "lower": sum(cell["gain"] < 0.0 for cell in acted),
        "worse_beyond_noise": sum(cell["gain_high"] < 0.0 for cell in acted),
        "better_beyond_noise": sum(cell["gain_low"] > 0.0 for cell in acted),
        "worst": min(gains),
        "best": max(gains),
        "removed": float(np.mean([c["removed"] / c["n_train"] for c in cells])),
        "precision": (
            sum(cell["removed_bad"] for cell in acted)
            / sum(cell["removed"] for cell in acted)
            if acted
            else None
        ),
        "times_one_training": float(
            np.median([c["clean_seconds"] / c["fit_seconds"] for c in cells])
        ),
    }


def average(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise each share of noise: all sets, each task, each set."""
    result: dict[str, Any] = {}
    for share in SHARES:
        own = [cell for cell in cells if cell["share"] == share]
        if not own:
            continue
        lines = {"all": summarise(own)}
        for key in ("task", "data"):
            for name in dict.fromkeys(cell[key] for cell in own):
                lines[name] = summarise([c for c in own if c[key] == name])
        result[f"{share:g}"] = lines
    return result


_METRICS = {"binary": "AUC", "multiclass": "accuracy", "regression": "R2"}


def _write_line(name: str, line: dict[str, Any]) -> str:
    mean, low, high = line["gain"]
    acting = line["gain_when_acting"]
    found = line["precision"]
    parts = [
        name,
        f"{line['acted']} of {line['runs']}",
        f"{mean:+.4f} ({low:+.4f} to {high:+.4f})",
        "" if acting is None else f"{acting:+.4f}",
        f"{line['worse_beyond_noise']} / {line['lower']}",
        str(line["better_beyond_noise"]),
        f"{line['worst']:+.4f}",
        f"{line['removed']:.1%}",
        "" if found is None else f"{found:.0%}",
        f"{line['times_one_training']:.0f}",
    ]
    return f"| {' | '.join(parts)} |"


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the averages out, a table for each share of noise."""
    run = result["run"]
    lines = [
        "# The guard: what cleaning does to clean data, and to noisy data",
        "",
        f"{run['cells']} runs of {run['cells_planned']}: {len(run['data'])} data sets, "
        f"seeds {run['seeds']}, made by `benchmarks/cleaning_guard.py`: at most "
        f"{MOST_TRAIN:,} train rows and {MOST_TEST:,} test rows a run, LightGBM with "
        f"{MODEL['n_estimators']} trees, all else default, `InfluenceCleaner` with "
        f"method {run['method']!r} and its other defaults. One thread of "
        f"{result['machine']['processor']}, Python "
        f"{result['machine']['python']}, "
        + ", ".join(
            f"{name} {result['machine']['versions'][name]}"
            for name in ("numpy", "scikit-learn", "lightgbm", "treeinf")
        )
        + f"; {result['machine']['date']}.",
        "",
        "Gain: test score with cleaning minus without, the true labels of rows that "
        "the cleaner never sees, mean over all runs (0 where it keeps all rows), with "
        "90 % bootstrap intervals that draw data sets, then seeds. Scores are AUC of "
        "two classes, accuracy of more, R2. Worse: runs whose test score is worse "
        "beyond noise / lower at all. Of removed rows, wrong: share of the removed "
        "rows whose label was made wrong; rows that keep less than half of their "
        "weight count as removed. Times: processor time of the cleaning over "
        "that of one training, median.",
    ]
    titles = {"0": "No noise put in", "0.2": "A fifth of the labels made wrong"}
    for share, table in result["averages"].items():
        lines += [
            "",
            f"## {titles[share]}",
            "",
            "| | acts | gain | gain where it acts | worse | better beyond noise | "
            "worst gain | rows removed | of them wrong | times one training |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for name, line in table.items():
            is_task = name in _METRICS
            shown = f"**{name}** ({_METRICS[name]})" if is_task else name
            lines.append(_write_line("**all**" if name == "all" else shown, line))
    lines += [
        "",
        f"## What it costs: {SIZED}, a fifth of the labels wrong, seed 0",
        "",
        "| train rows | one training, s | cleaning, s | times one training | models "
        "trained | train copies | influence | retrain | baselines |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in result["sizes"]:
        parts = [
            f"{cell['parts'].get(name, 0.0):.1f}"
            for name in ("train", "influence", "retrain", "baselines")
        ]
        lines.append(
            f"| {cell['n_train']:,} | {cell['fit_seconds']:.3f} | "
            f"{cell['clean_seconds']:.1f} | "
            f"{cell['clean_seconds'] / cell['fit_seconds']:.0f} | {cell['n_fits']} | "
            f"{' | '.join(parts)} |"
        )
    lines += ["", "The last four are wall seconds, on a machine that was shared."]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    # the ending is one that git ignores
    parser.add_argument(
        "--cells", type=Path, default=folder / "cleaning_guard_cells.tmp"
    )
    parser.add_argument("--method", default="stacking")
    parser.add_argument("--out", type=Path, help="path without .json and .md")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    planned = [
        (name, share, seed, MOST_TRAIN)
        for seed in arguments.seeds
        for share in SHARES
        for name in arguments.data
    ]
    sized = [(SIZED, SHARES[-1], 0, size) for size in SIZES[1:]]
    store = ResultFolder(arguments.cells)
    names = {key: name_cell(arguments.method, *key) for key in [*sized, *planned]}
    for number, (key, name) in enumerate(names.items(), 1):
        if arguments.tables or name in store:
            continue
        cell = run_cell(arguments.method, *key)
        store.write(name, cell)
        print(
            f"{number}/{len(names)} {key} {cell['verdict']} "
            f"{cell['gain']:+.4f} {cell['clean_seconds']:.1f} s",
            flush=True,
        )
    stored = {key: store.read(name) for key, name in names.items() if name in store}
    cells = [stored[key] for key in planned if key in stored]
    if not cells:
        parser.error(f"{arguments.cells} holds no cell under these settings.")
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_run(),
        "run": {
            "data": arguments.data,
            "seeds": arguments.seeds,
            "shares": SHARES,
            "cells": len(cells),
            "cells_planned": len(planned),
            "threads": 1,
            "method": arguments.method,
            "most_train": MOST_TRAIN,
            "most_test": MOST_TEST,
            "model": MODEL,
            "confidence": CONFIDENCE,
            "seconds": round(sum(cell["clean_seconds"] for cell in cells), 1),
        },
        "averages": average(cells),
        "sizes": [
            stored[key]
            for key in [(SIZED, SHARES[-1], 0, MOST_TRAIN), *sized]
            if key in stored
        ],
        "cells": cells,
    }
    text = to_markdown(result)
    print(text)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".json").write_text(to_json(result))
        arguments.out.with_suffix(".md").write_text(text)


def to_json(result: dict[str, Any]) -> str:
    """Write the result with one cell a line."""
    cells = ",\n".join(f"  {json.dumps(cell)}" for cell in result["cells"])
    head = json.dumps({k: v for k, v in result.items() if k != "cells"}, indent=1)
    return f'{head[:-2]},\n "cells": [\n{cells}\n ]\n}}\n'


if __name__ == "__main__":
    main()
