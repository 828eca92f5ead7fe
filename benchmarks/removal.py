"""Drop the rows that each method calls most harmful, and train again.

    TREEINF_DATA=../shared/data python -m benchmarks.removal [--seeds 0 1 2 3 4]
        [--out benchmarks/results/removal]

A cell is one data set, one library and one seed. The seed draws train rows (at most
2,000), validation rows and test rows (at most 2,000 each). Every method ranks the train
rows by what their removal does to the summed loss of the validation rows (`total`; two
baselines rank them without those rows), and its most harmful 1 % are dropped. What
should come of that is forecast by the sum of the method's own numbers, and by
`LeafRefit.group_influence`, which refits the leaves without the whole set. What does
come of it: models of `N_MODELS` seeds are trained with all rows and with those kept,
and the mean losses of the validation rows and of the test rows are compared. Nothing
has seen the test rows. LOO and the like are not in: thousands of trainings a cell.

Losses are the training losses; changes are shares of the loss with all rows. Each cell
is stored as it ends, in the folder of `--cells`; a run that was stopped goes on from
there. `--tables` makes the tables of what is stored. One process, one thread.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import hashlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agreement import round_figures, to_json, write_result
from treeinf.evaluation.machine import describe_run

FEW = ("adult", "spambase", "concrete", "power")
DATA = (
    "adult",
    "bean",
    "compas",
    "credit_card",
    "german_credit",
    "no_show",
    "spambase",
    "concrete",
    "power",
    "protein",
    "wine",
)
SHARE, N_MODELS, N_RANDOM, LEVEL = 0.01, 2, 3, 0.95
MOST_TRAIN, MOST_JUDGED = 2_000, 2_000
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LightGBM": (
        "lightgbm",
        "LGBM",
        {
            "n_estimators": 80,
            "num_leaves": 15,
            "colsample_bytree": 0.7,
            "n_jobs": 1,
            "verbose": -1,
        },
    ),
    "XGBoost": (
        "xgboost",
        "XGB",
        {
            "n_estimators": 80,
            "max_depth": 4,
            "learning_rate": 0.1,
            "colsample_bytree": 0.7,
            "enable_categorical": True,
            "n_jobs": 1,
        },
    ),
}
"""Module, name of the classes and parameters; the seed draws the columns of a tree."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "LeafInfluence": ("LeafInfluence", {}),
    "LeafInfluence, single point": ("LeafInfluence", {"propagation": "single_point"}),
    "LeafRefit": ("LeafRefit", {}),
    "BoostIn": ("BoostIn", {}),
    "BoostIn W1": ("BoostIn", {"count_power": 1.0}),
    "Trex": ("Trex", {}),
    "TreeSim": ("TreeSim", {}),
    "BoostIn, self": ("BoostIn", {}),
    "Loss": ("Loss", {}),
    "OutOfFoldLoss": ("OutOfFoldLoss", {}),
}
ITS_OWN_UNIT = ("BoostIn W1", "TreeSim")
"""Methods whose numbers are no changes of the loss."""
WITHOUT_VALIDATION = ("BoostIn, self", "Loss", "OutOfFoldLoss")
LEFT_OUT = {"LeafRefit": {"bean"}}
"""Data sets on which a method takes minutes."""


def draw_rows(name: str, seed: int) -> tuple[dict[str, tuple[Any, Any]], str]:
    """Draw train, validation and test rows of a data set."""
    from sklearn.model_selection import train_test_split

    from treeinf.datasets import load

    data = load(name)
    n_train = min(MOST_TRAIN, data.n_rows // 2)
    n_judged = min(2 * MOST_JUDGED, data.n_rows - n_train)
    y = data.y
    if data.task != "regression":
        y = np.unique(y, return_inverse=True)[1]
    parts: dict[str, Any] = {}
    rest = np.arange(data.n_rows)
    sizes = (("train", n_train), ("validation", n_judged // 2), ("test", n_judged // 2))
    for number, (part, size) in enumerate(sizes):
        if len(rest) - size >= 100:
            chosen, rest = train_test_split(
                rest,
                train_size=size,
                stratify=None if data.task == "regression" else y[rest],
                random_state=np.random.default_rng([seed, number]).integers(2**31),
            )
        else:
            # too few others to stratify them; these are in random order
            chosen = rest[:size]
        parts[part] = data.X.iloc[chosen].reset_index(drop=True), y[chosen]
    return parts, data.task


def train(library: str, task: str, X: Any, y: Any, seed: int) -> Any:
    """Train a model."""
    import importlib

    module, name, parameters = MODELS[library]
    kind = "Regressor" if task == "regression" else "Classifier"
    model = getattr(importlib.import_module(module), f"{name}{kind}")
    return model(**parameters, random_state=seed).fit(X, y)


def mean_loss(model: Any, X: Any, y: Any, task: str) -> float:
    """Compute the mean training loss: log loss, or half the squared error."""
    from sklearn.metrics import log_loss, mean_squared_error

    if task == "regression":
        return float(mean_squared_error(y, model.predict(X)) / 2.0)
    return float(log_loss(y, model.predict_proba(X), labels=model.classes_))


def rank_rows(
    method: str, model: Any, parts: dict[str, tuple[Any, Any]], n_dropped: int
) -> tuple[Any, float | None]:
    """Find the most harmful rows, and forecast the change of the mean loss."""
    import treeinf.explainers as known

    kind, parameters = METHODS[method]
    explainer = getattr(known, kind)(**parameters, n_jobs=1)
    if kind == "OutOfFoldLoss":
        explainer.set_params(random_state=0)
    explainer.fit(model, *parts["train"])
    if method in WITHOUT_VALIDATION:
        harm = np.asarray(explainer.self_influence())
        return np.argsort(-harm, kind="stable")[:n_dropped], None
    total = np.asarray(explainer.total(*parts["validation"]))
    worst = np.argsort(total, kind="stable")[:n_dropped]
    if method in ITS_OWN_UNIT:
        return worst, None
    return worst, float(total[worst].sum() / len(parts["validation"][1]))


def run_cell(name: str, library: str, seed: int) -> dict[str, Any]:
    """Drop the rows of every method and of random draws, and train again."""
    from treeinf.explainers import LeafRefit

    start = time.process_time()
    parts, task = draw_rows(name, seed)
    X, y = parts["train"]
    judged = ("validation", "test")
    seeds = range(1_000 * seed, 1_000 * seed + N_MODELS)
    models = [train(library, task, X, y, model_seed) for model_seed in seeds]
    before = {
        part: np.array([mean_loss(model, *parts[part], task) for model in models])
        for part in judged
    }
    n_dropped = max(1, round(SHARE * len(y)))
    dropped, forecast, seconds = {}, {}, {}
    for method in METHODS:
        if name in LEFT_OUT.get(method, ()):
            continue
        begin = time.process_time()
        dropped[method], forecast[method] = rank_rows(
            method, models[0], parts, n_dropped
        )
        seconds[method] = time.process_time() - begin
    rng = np.random.default_rng([seed, len(judged) + 1])
    for number in range(N_RANDOM):
        dropped[f"Random {number}"] = rng.choice(len(y), n_dropped, replace=False)
    refit = LeafRefit(n_jobs=1).fit(models[0], X, y)
    sets = refit.group_influence(dropped, *parts["validation"]).values.mean(axis=1)
    base = {part: float(losses.mean()) for part, losses in before.items()}
    lines: dict[str, Any] = {}
    for (method, rows), fixed in zip(dropped.items(), sets.tolist(), strict=True):
        kept = np.ones(len(y), dtype=bool)
        kept[rows] = False
        after = [train(library, task, X[kept], y[kept], number) for number in seeds]
        told = forecast.get(method)
        lines[method] = {
            "forecast": None if told is None else told / base["validation"],
            "splits fixed": fixed / base["validation"],
        }
        for part in judged:
            losses = np.array([mean_loss(model, *parts[part], task) for model in after])
            lines[method][part] = float((losses - before[part]).mean() / base[part])
    return {
        "settings": settings(name, library),
        "data": name,
        "task": task,
        "library": library,
        "seed": seed,
        "n_train": len(y),
        "n_validation": len(parts["validation"][1]),
        "n_test": len(parts["test"][1]),
        "dropped": n_dropped,
        "verdict": refit.reproduction_.verdict,
        "loss": base,
        "methods": lines,
        "seconds": {method: round(spent, 3) for method, spent in seconds.items()},
        "cpu_seconds": round(time.process_time() - start, 1),
    }


def settings(name: str, library: str) -> str:
    """Compute a short hash of all that a cell depends on beside its seed."""
    facts = [name, library, MODELS[library], METHODS, SHARE, N_MODELS, N_RANDOM]
    facts += [MOST_TRAIN, MOST_JUDGED]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


FIGURES = ("forecast", "splits fixed", "validation", "test")


def group_random(cell: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the figures of a cell's methods, the random draws averaged."""
    lines: dict[str, dict[str, float | None]] = {}
    draws = []
    for method, line in cell["methods"].items():
        if method.startswith("Random "):
            draws.append(line)
        else:
            lines[method] = line
    lines["Random"] = {
        figure: None if figure == "forecast" else np.mean([d[figure] for d in draws])
        for figure in FIGURES
    }
    return lines


def average(cells: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Average each method's figures over data sets, and count how often losses fall."""
    from treeinf.evaluation import average_cells

    lines = [(cell["data"], group_random(cell)) for cell in cells]
    averages: dict[str, dict[str, Any]] = {}
    for method in (*METHODS, "Random"):
        own = [(name, line[method]) for name, line in lines if method in line]
        if not own:
            continue
        names = np.array([name for name, _ in own])
        summary: dict[str, Any] = {"runs": len(own)}
        for figure in FIGURES:
            values = [line[figure] for _, line in own]
            if None in values:
                summary[figure] = None
                continue
            mean = average_cells(values, names, level=LEVEL)
            summary[figure] = [
                float(mean.mean[0]),
                float(mean.low[0]),
                float(mean.high[0]),
            ]
            by_set = [np.mean(np.array(values)[names == n]) for n in np.unique(names)]
            summary[f"{figure} falls, sets"] = int(sum(v < 0.0 for v in by_set))
            summary[f"{figure} falls, runs"] = int(sum(v < 0.0 for v in values))
        summary["sets"] = len(np.unique(names))
        summary["seconds"] = (
            float(
                np.median(
                    [c["seconds"][method] for c in cells if method in c["seconds"]]
                )
            )
            if method != "Random"
            else 0.0
        )
        averages[method] = summary
    return averages


def write_change(values: list[float] | None) -> str:
    """Write a mean change and its interval in per cent."""
    if values is None:
        return ""
    mean, low, high = (f"{100.0 * value:+.1f}" for value in values)
    return f"{mean} ({low} to {high})"


def write_methods(averages: dict[str, dict[str, Any]]) -> list[str]:
    """Write the table of methods, the largest fall of the test loss first."""
    lines = [
        "| dropped by | forecast, its own | forecast, splits fixed | validation loss | "
        "test loss | validation loss falls on | test loss falls on | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method in sorted(averages, key=lambda name: averages[name]["test"][0]):
        line = averages[method]
        figures = [write_change(line[figure]) for figure in FIGURES]
        falls = [
            f"{line[f'{part} falls, sets']} of {line['sets']} sets, "
            f"{line[f'{part} falls, runs']} of {line['runs']} runs"
            for part in ("validation", "test")
        ]
        cells = [method, *figures, *falls, f"{line['seconds']:.2g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def write_sets(cells: list[dict[str, Any]], methods: tuple[str, ...]) -> list[str]:
    """Write a table of each data set: what was forecast, and what happened."""
    heads = [f"{method}: forecast, validation, test" for method in methods]
    lines = [
        f"| data set | loss | {' | '.join(heads)} | Random: validation, test |",
        "|---" * (len(methods) + 3) + "|",
    ]
    for name in dict.fromkeys(cell["data"] for cell in cells):
        own = [cell for cell in cells if cell["data"] == name]
        loss = np.mean([cell["loss"]["validation"] for cell in own])
        parts = [name, f"{loss:.3g}"]
        every = average(own)
        for method in (*methods, "Random"):
            line = every.get(method)
            figures = ("forecast", "validation", "test")[method == "Random" :]
            parts.append(
                ""
                if line is None
                else ", ".join(f"{100.0 * line[figure][0]:+.1f}" for figure in figures)
            )
        lines.append(f"| {' | '.join(parts)} |")
    return lines


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the averages out: two tables for each library."""
    run, machine = result["run"], result["machine"]
    lines = [
        "# Forecast and retraining: the 1 % most harmful rows dropped",
        "",
        f"{run['cells']} cells of {run['cells_planned']}: data sets x libraries x "
        f"seeds {run['seeds']}, made by `benchmarks/removal.py`, which says how: at "
        f"most {MOST_TRAIN:,} train rows, {MOST_JUDGED:,} validation and "
        f"{MOST_JUDGED:,} test rows, {N_MODELS} models for every set dropped, "
        f"{N_RANDOM} random sets a cell. One thread of {machine['processor']}, Python "
        f"{machine['python']}, "
        + ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
        + f"; {machine['date']}; {run['cpu_seconds']:,.0f} s of CPU time.",
        "",
        "Figures: change of the loss in per cent of the loss with all rows, mean over "
        "seeds and data sets; in brackets 95 % bootstrap intervals that draw data "
        "sets, then seeds. Negative: the loss falls. Methods rank by the validation "
        "rows; nothing has seen the test rows. Forecast, its own: sum of the method's "
        "numbers over the dropped rows (empty where these are no changes of a loss). "
        "Splits fixed: `LeafRefit.group_influence` of the set. Falls: in the mean over "
        "the seeds of a data set, and run by run. CPU s: median, fit and `total`.",
    ]
    for library, averages in result["averages"].items():
        cells = [cell for cell in result["cells"] if cell["library"] == library]
        lines += ["", f"## {library}: methods", "", *write_methods(averages)]
        lines += ["", f"## {library}: data sets", ""]
        lines += write_sets(cells, ("LeafInfluence", "BoostIn"))
        others = {c["verdict"] for c in cells} - {"exact"}
        lines += ["", f"Replays: {', '.join(['exact', *sorted(others)])}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    from treeinf.training.checkpoint import ResultFolder

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument(
        "--libraries", nargs="+", choices=tuple(MODELS), default=list(MODELS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--cells",
        type=Path,
        # the ending is one that git ignores
        default=Path(__file__).parent / "results" / "removal_cells.tmp",
    )
    parser.add_argument("--out", type=Path, help="path without .json and .md")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    store = ResultFolder(arguments.cells)
    planned = {
        f"{library} {name} {seed} {settings(name, library)}": (name, library, seed)
        for library in arguments.libraries
        for seed in arguments.seeds
        for name in arguments.data
        if library == "LightGBM" or name in FEW
    }
    for key, cell in planned.items():
        if key not in store and not arguments.tables:
            store.write(key, run_cell(*cell))
            print(key, store.read(key)["cpu_seconds"], "s", flush=True)
    cells = [store.read(key) for key in planned if key in store]
    if not cells:
        parser.error(f"{arguments.cells} holds no cell under these settings.")
    result = {
        "command": " ".join(["python -m benchmarks.removal", *sys.argv[1:]]),
        "machine": describe_run(),
        "run": {
            "data": arguments.data,
            "seeds": arguments.seeds,
            "cells": len(cells),
            "cells_planned": len(planned),
            "threads": 1,
            "models": MODELS,
            "methods": METHODS,
            "share": SHARE,
            "level": LEVEL,
            "cpu_seconds": round(sum(cell["cpu_seconds"] for cell in cells), 1),
        },
        "averages": {
            library: average([cell for cell in cells if cell["library"] == library])
            for library in dict.fromkeys(cell["library"] for cell in cells)
        },
        "cells": [
            round_figures({k: v for k, v in c.items() if k != "settings"})
            for c in cells
        ],
    }
    text = to_markdown(result)
    write_result(arguments.out, to_json(result), text)


if __name__ == "__main__":
    main()
