"""Compare every method with LeafRefit and with real leave-one-out retraining.

    TREEINF_DATA=../shared/data python benchmarks/agreement.py [--seeds 0 1 2]
        [--out results/agreement]

A cell is one data set, one library and one seed. The seed draws the train rows and the
30 test rows; models are not tuned (the settings of `MODELS`, the same for all data sets
and seeds, where Brophy et al. tune each), so that figures say how methods compare here
and not how the published tables come out. Categories are one-hot, missing values none.
Everything runs in one process with one thread.

Each cell is stored as it ends, a JSON file in the folder of `--cells`; a run that was
stopped goes on from there. The tables come from all cells that are stored, and say how
many these are. `--tables` makes them without running anything.

For each test row, the influence of all train rows by a method is compared with that by
the reference by Spearman's rank correlation; a cell's figure is the mean over its test
rows. Means over cells weigh data sets equally. Intervals: see
`treeinf.evaluation.average_cells`.

A second study asks how well defined leave-one-out is, where no seed changes the model:
rows are left out of the table (as everywhere else) and left in with weight 0, which
keeps the bins that a library makes of the table, and what it counts rows for.
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

from treeinf.evaluation.machine import describe_run
from treeinf.training.checkpoint import ResultFolder

N_TEST = 30
DATA = {
    "spambase": 200,
    "german_credit": 200,
    "bean": 120,
    "concrete": 200,
    "wine": 200,
}
"""Train rows drawn from each set. bean has 7 classes, so 7 trees an iteration."""

ONE = {"n_jobs": 1, "random_state": 0}
CATBOOST = {
    "iterations": 50,
    "learning_rate": 0.1,
    "depth": 4,
    "leaf_estimation_method": "Newton",
    "leaf_estimation_iterations": 1,
    "thread_count": 1,
    "random_seed": 0,
    "verbose": False,
    "allow_writing_files": False,
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "LightGBM": (
        "lightgbm",
        "LGBM",
        {
            "n_estimators": 50,
            "learning_rate": 0.1,
            "num_leaves": 15,
            "min_child_samples": 5,
            "verbose": -1,
            **ONE,
        },
    ),
    "XGBoost": (
        "xgboost",
        "XGB",
        {"n_estimators": 50, "learning_rate": 0.1, "max_depth": 4, **ONE},
    ),
    "XGBoost, min_child_weight 0": (
        "xgboost",
        "XGB",
        {
            "n_estimators": 50,
            "learning_rate": 0.1,
            "max_depth": 4,
            "min_child_weight": 0,
            **ONE,
        },
    ),
    "CatBoost": (
        "catboost",
        "CatBoost",
        {**CATBOOST, "bootstrap_type": "No", "random_strength": 0},
    ),
    "CatBoost, drawing": ("catboost", "CatBoost", CATBOOST),
    "HistGradientBoosting": (
        "sklearn.ensemble",
        "HistGradientBoosting",
        {
            "max_iter": 50,
            "learning_rate": 0.1,
            "max_leaf_nodes": 15,
            "min_samples_leaf": 5,
            "early_stopping": False,
            "random_state": 0,
        },
    ),
    "GradientBoosting": (
        "sklearn.ensemble",
        "GradientBoosting",
        {
            "n_estimators": 50,
            "learning_rate": 0.1,
            "max_depth": 4,
            "min_samples_leaf": 5,
            "random_state": 0,
        },
    ),
    "RandomForest": ("sklearn.ensemble", "RandomForest", {"n_estimators": 50, **ONE}),
}
"""Module, name of the classes and parameters; all else is the library's default.

"CatBoost, drawing" has the library's own bootstrap and random strength: its leaves are
fitted to all rows, only the search for splits draws. XGBoost gives the value 0 to a
leaf whose rows weigh less than min_child_weight (1 by default, 4 rows of an even chance
each) when it refits one, as LeafRefit does for its models; without the limit no row's
removal makes a leaf jump.
"""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "LeafInfluence": ("LeafInfluence", {}),
    "LeafInfluence, single point": ("LeafInfluence", {"propagation": "single_point"}),
    "BoostIn": ("BoostIn", {}),
    "BoostIn, published theta": ("BoostIn", {"theta": "published"}),
    "BoostIn W1": ("BoostIn", {"count_power": 1.0}),
    "BoostIn W2": ("BoostIn", {"count_power": 2.0}),
    "Trex": ("Trex", {}),
    "TreeSim": ("TreeSim", {}),
    "SubSample, 100 models": ("SubSample", {"n_models": 100}),
    "KNNShapley": ("KNNShapley", {}),
    "InputSim": ("InputSim", {}),
    "Random": ("Random", {}),
}
FIVE = "LightGBM, XGBoost, CatBoost, HistGradientBoosting and GradientBoosting"
EXTRA = ("XGBoost, min_child_weight 0", "CatBoost, drawing", "RandomForest")
NOT_FOR_FORESTS = ("BoostIn", "LeafInfluence")


def make_model(library: str, task: str) -> Any:
    """Make the unfitted estimator of a library for a task."""
    import importlib

    module, name, parameters = MODELS[library]
    kind = "Regressor" if task == "regression" else "Classifier"
    return getattr(importlib.import_module(module), f"{name}{kind}")(**parameters)


def make_methods(library: str, seed: int) -> dict[str, Any]:
    """Make the explainers that can explain a library's models."""
    import treeinf.explainers as known

    made = {}
    for name, (kind, given) in METHODS.items():
        if library == "RandomForest" and kind in NOT_FOR_FORESTS:
            continue
        draws = {"random_state": seed} if kind in ("Random", "SubSample") else {}
        made[name] = getattr(known, kind)(**given, **draws, n_jobs=1)
    return made


def draw_rows(name: str, seed: int) -> tuple[Any, Any, Any, Any, str]:
    """Draw train and test rows of a data set."""
    import pandas as pd

    from treeinf.datasets import load

    data = load(name)
    drawn = np.random.default_rng(seed).permutation(data.n_rows)
    train, test = drawn[: DATA[name]], drawn[DATA[name] : DATA[name] + N_TEST]
    X = pd.get_dummies(data.X, dtype=float).to_numpy(dtype=float)
    y = data.y
    if data.task == "multiclass":
        # XGBoost wants the classes of the train rows numbered without a gap
        classes = np.unique(y[train])
        test = test[np.isin(y[test], classes)]
        y = np.searchsorted(classes, y)
    return X[train], y[train], X[test], y[test], data.task


def settings(study: str, name: str, library: str) -> str:
    """Compute a short hash of all that a cell depends on beside its seed."""
    facts = [name, DATA[name], N_TEST, library, MODELS[library]]
    facts.append(METHODS if study == "methods" else study)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def run_cell(study: str, name: str, library: str, seed: int) -> dict[str, Any]:
    """Measure one cell of a study."""
    from treeinf.evaluation import mean_agreement
    from treeinf.evaluation.measures.registry import agreement
    from treeinf.explainers import LOO

    X_train, y_train, X_test, y_test, task = draw_rows(name, seed)
    start = time.perf_counter()
    frame = agreement(
        make_model(library, task),
        make_methods(library, seed)
        if study == "methods"
        else {"LOO, weight 0": LOO(by="weight", n_jobs=1)},
        X_train,
        y_train,
        X_test,
        y_test,
        with_other_seed=study == "methods",
        n_jobs=1,
    )
    # standard deviation of the reference over that of the method
    frame["spread"] = frame["slope"] / frame["pearson"]
    spread = frame.groupby(["method", "reference"], sort=False)["spread"].median()
    means = mean_agreement(frame).reset_index()
    figures = {
        f"{line.method} | {line.reference}": [
            round(float(value), 5)
            for value in (line.spearman, line.pearson, line.slope, line.n_undefined)
        ]
        for line in means.itertuples()
    }
    seconds = dict(zip(means["method"], means["seconds"].round(4), strict=True))
    for judge, taken in zip(
        frame["reference"], frame["reference_seconds"], strict=True
    ):
        seconds.setdefault(judge, round(taken, 4))
    return {
        "study": study,
        "data": name,
        "task": task,
        "library": library,
        "seed": seed,
        "n_train": len(y_train),
        "n_test": len(y_test),
        "figures": figures,
        "spread, LOO to LeafRefit": round(float(spread["LeafRefit", "LOO"]), 3),
        "seconds": seconds,
        "cell_seconds": round(time.perf_counter() - start, 1),
    }


def name_cell(study: str, name: str, library: str, seed: int) -> str:
    """Name the stored result of a cell under these settings."""
    return f"{study} {name} {library} {seed} {settings(study, name, library)}"


def average(cells: list[dict[str, Any]], reference: str) -> list[dict[str, Any]]:
    """Average a library's cells: one line a method, the best first."""
    from treeinf.evaluation import average_cells, rank_methods

    suffix = f" | {reference}"
    names = [k.removesuffix(suffix) for k in cells[0]["figures"] if k.endswith(suffix)]
    # the second run of a reference is a bound, no method; some cells lack it
    methods = [name for name in names if "other seed" not in name]
    table = [[cell["figures"][m + suffix] for m in methods] for cell in cells]
    figures = np.array(table, dtype=float)
    spearman = figures[:, :, 0]
    if np.isnan(spearman).any():
        raise ValueError("A cell has a method without any correlation.")
    groups = [cell["data"] for cell in cells]
    means = average_cells(spearman, groups)
    ranks = average_cells(rank_methods(spearman), groups)
    best = int(np.argmax(means.mean))
    behind = average_cells(spearman[:, [best]] - spearman, groups)
    lines = [
        {
            "method": method,
            "spearman": [means.mean[k], means.low[k], means.high[k]],
            "behind": [behind.mean[k], behind.low[k], behind.high[k]],
            "rank": [ranks.mean[k], ranks.low[k], ranks.high[k]],
            "pearson": float(np.nanmean(figures[:, k, 1])),
            "slope": float(np.nanmedian(figures[:, k, 2])),
            "undefined": int(figures[:, k, 3].sum()),
            "seconds": float(np.median([c["seconds"][method] for c in cells])),
        }
        for k, method in enumerate(methods)
    ]
    return sorted(lines, key=lambda line: -line["spearman"][0])


def average_other_seed(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Average LOO against LOO under another seed, where another seed matters."""
    from treeinf.evaluation import average_cells

    key = "LOO, other seed | LOO"
    found = [cell for cell in cells if key in cell["figures"]]
    result: dict[str, Any] = {"cells": len(found), "of": len(cells)}
    if found:
        values = [cell["figures"][key][0] for cell in found]
        means = average_cells(values, [cell["data"] for cell in found])
        result["spearman"] = [means.mean[0], means.low[0], means.high[0]]
    return result


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the cells, library by library and over the boosted libraries."""
    summary: dict[str, Any] = {}
    groups = {name: [c for c in cells if c["library"] == name] for name in MODELS}
    groups[FIVE] = [cell for cell in cells if cell["library"] not in EXTRA]
    for name, own in groups.items():
        if own:
            summary[name] = {
                "cells": len(own),
                "LeafRefit": average(own, "LeafRefit"),
                "LOO": average(own, "LOO"),
                "LOO, other seed": average_other_seed(own),
            }
    return summary


def summarise_ways(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Average the second study, library by library."""
    lines = []
    for library in MODELS:
        own = [cell for cell in cells if cell["library"] == library]
        if own:
            figures = [
                [
                    cell["figures"][f"{m} | LOO"][0]
                    for m in ("LOO, weight 0", "LeafRefit")
                ]
                for cell in own
            ]
            spread = float(np.median([c["spread, LOO to LeafRefit"] for c in own]))
            lines.append(
                {
                    "library": library,
                    "cells": len(own),
                    "weight 0": np.mean(figures, axis=0).tolist()[0],
                    "lowest": np.min(figures, axis=0).tolist()[0],
                    "highest": np.max(figures, axis=0).tolist()[0],
                    "LeafRefit": np.mean(figures, axis=0).tolist()[1],
                    "spread": spread,
                }
            )
    return lines


def write_interval(values: list[float], digits: int) -> str:
    """Write a mean and its interval."""
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return f"{mean} ({low} to {high})"


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the averages out: two tables for each library."""
    run = result["run"]
    rows = ", ".join(f"{k} {v}" for k, v in run["train_rows"].items())
    lines = [
        "# Agreement with LeafRefit and with leave-one-out retraining",
        "",
        f"{run['cells']} cells of {run['cells_planned']}: data sets x libraries x "
        f"seeds {run['seeds']}, and the second study; made by "
        f"`benchmarks/agreement.py`. Train rows, drawn from real tables: {rows}; "
        f"{run['test_rows']} test rows each. Models of 50 iterations at learning rate "
        "0.1, the settings in the script, not tuned. One thread of "
        f"{result['machine']['processor']}, Python "
        f"{result['machine']['python']}, "
        + ", ".join(f"{k} {v}" for k, v in result["machine"]["versions"].items())
        + f"; {result['machine']['date']}.",
        "",
        "Figures: mean over cells of the mean Spearman correlation per test row, over "
        "the train rows, with the reference's influence on that row's loss; in "
        "brackets 95 % bootstrap intervals that draw data sets, then seeds within "
        "them. Five data sets are few for a bootstrap: read the intervals as a lower "
        "bound of the doubt. Behind the best: difference, cell by cell, to the method "
        "of the largest mean; an interval above 0 tells the two apart. Rank 1 is best "
        "within a cell. Slope: median over cells of the least-squares slope of the "
        "reference on the method, 1 where the size is right. Undefined: test rows "
        "without a correlation, since one side is constant; they are left out of the "
        "means. Seconds: median, fit and explain, on a busy machine.",
    ]
    for library, summary in result["averages"].items():
        lines += ["", f"## {library}"]
        other = summary["LOO, other seed"]
        if other["cells"]:
            lines += [
                "",
                f"LOO under another seed of the library agrees with LOO to "
                f"{write_interval(other['spearman'], 3)} in the {other['cells']} of "
                f"{other['of']} cells where the seed changes the model. A method that "
                "knew the mean over all seeds would reach about the square root of "
                "that there, not 1.",
            ]
        else:
            lines += ["", "Another seed gives the same model."]
        for reference in ("LeafRefit", "LOO"):
            lines += [
                "",
                f"With {reference}, {summary['cells']} cells:",
                "",
                "| method | Spearman | behind the best | average rank | Pearson | "
                "slope | undefined | seconds |",
                "|---|---|---|---|---|---|---|---|",
            ]
            lines += [
                f"| {line['method']} | {write_interval(line['spearman'], 3)} | "
                f"{write_interval(line['behind'], 3)} | "
                f"{write_interval(line['rank'], 1)} | {line['pearson']:.3f} | "
                f"{line['slope']:.3g} | {line['undefined']} | {line['seconds']:.3g} |"
                for line in summary[reference]
            ]
    lines += [
        "",
        "## How well defined leave-one-out is",
        "",
        "Spearman per test row between LOO that drops the row from the table and LOO "
        "that gives it weight 0, which keeps the bins that were made of the table and "
        "the row in the counts that limit leaves; mean, lowest and highest of the "
        "cells. Both have the same seed. Spread: median of the standard deviation of "
        "LOO over that of LeafRefit, over the train rows: how many times more than the "
        "leaf values alone is changed by retraining.",
        "",
        "| library | cells | LOO by weight 0 with LOO | LeafRefit with LOO | spread |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {way['library']} | {way['cells']} | {way['weight 0']:.3f} "
        f"({way['lowest']:.3f} to {way['highest']:.3f}) | {way['LeafRefit']:.3f} | "
        f"{way['spread']:.1f} |"
        for way in result["ways"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    folder = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", nargs="+", choices=tuple(DATA), default=list(DATA))
    parser.add_argument(
        "--libraries", nargs="+", choices=tuple(MODELS), default=list(MODELS)
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    # the ending is one that git ignores
    parser.add_argument("--cells", type=Path, default=folder / "agreement_cells.tmp")
    parser.add_argument("--out", type=Path, help="path without .json and .md")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    five = [library for library in arguments.libraries if library not in EXTRA]
    extra = [library for library in arguments.libraries if library in EXTRA]
    planned = [
        (study, name, library, seed)
        for study, libraries, seeds in (
            ("methods", five, arguments.seeds),
            ("ways", five, arguments.seeds[:1]),
            ("methods", extra, arguments.seeds),
        )
        for seed in seeds
        for library in libraries
        for name in arguments.data
    ]
    store = ResultFolder(arguments.cells)
    for number, key in enumerate(planned, 1):
        if arguments.tables or name_cell(*key) in store:
            continue
        cell = run_cell(*key)
        store.write(name_cell(*key), cell)
        print(f"{number}/{len(planned)} {key} {cell['cell_seconds']} s", flush=True)
    names = [name_cell(*key) for key in planned]
    cells = [store.read(name) for name in names if name in store]
    own = [cell for cell in cells if cell["study"] == "methods"]
    if not own:
        parser.error(f"{arguments.cells} holds no cell under these settings.")
    result = {
        "command": " ".join(["python", *sys.argv]),
        "machine": describe_run(),
        "run": {
            "seeds": arguments.seeds,
            "cells": len(cells),
            "cells_planned": len(planned),
            "threads": 1,
            "train_rows": DATA,
            "test_rows": N_TEST,
            "models": MODELS,
            "methods": METHODS,
            "seconds": round(sum(cell["cell_seconds"] for cell in cells), 1),
            "figures_are": ["spearman", "pearson", "slope", "undefined test rows"],
        },
        "averages": summarise(own),
        "ways": summarise_ways([cell for cell in cells if cell["study"] == "ways"]),
        "cells": cells,
    }
    text = to_markdown(result)
    write_result(arguments.out, to_json(result), text)


def write_result(out: Path | None, content: str, text: str) -> None:
    """Print the report; write it and the figures where a path is passed."""
    print(text)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(content)
        out.with_suffix(".md").write_text(text)


def to_json(result: dict[str, Any]) -> str:
    """Write the result with one fact, average or cell a line."""

    def write(value: Any, depth: int) -> str:
        if depth == 0 or not isinstance(value, dict | list):
            return json.dumps(value)
        pad = " " * (4 - depth)
        if isinstance(value, list):
            parts = [write(item, depth - 1) for item in value]
        else:
            parts = [
                f"{json.dumps(k)}: {write(v, depth - 1)}" for k, v in value.items()
            ]
        inside = ",\n".join(f"{pad} {part}" for part in parts)
        ends = "[]" if isinstance(value, list) else "{}"
        return f"{ends[0]}\n{inside}\n{pad}{ends[1]}"

    shallow = {k: v for k, v in result.items() if k not in ("averages", "cells")}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in shallow.items()]
    lines.append(f'"averages": {write(round_figures(result["averages"]), 3)}')
    lines.append(f'"cells": {write(result["cells"], 1)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def round_figures(value: Any) -> Any:
    """Round what is nested in dicts and lists to 5 digits after the point."""
    if isinstance(value, dict):
        return {k: round_figures(v) for k, v in value.items()}
    if isinstance(value, list):
        return [round_figures(v) for v in value]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
