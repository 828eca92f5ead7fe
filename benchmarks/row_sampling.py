"""What the rows of each tree bring: agreement of influence, and wrong labels found.

    TREEINF_DATA=../shared/data python -m benchmarks.row_sampling
        [--seeds 0 1 2] [--out benchmarks/results/row_sampling]

*Agreement*: bagged models of LightGBM, XGBoost and GradientBoosting on 600 train rows.
The truth is computed here, in plain NumPy: all leaf values are refitted, structures and
base score fixed, with the bags that `ti.in_bag` returns, (a) with the weight of one row
moved by 1e-4 both ways, (b) without the row. 200 rows are moved and removed, and the
loss of 100 test rows is watched. Influence is that of an explainer that knows the bags,
and of the same explainer that takes every tree to have seen all rows ("without"); a
cell's figure is the mean over test rows of Spearman's rank correlation over the 200
rows. "Value error" is the largest difference of recomputed and stored leaf values,
relative to the largest of the tree.

*Detection*: 20 % of the labels are flipped; LightGBM and XGBoost with row sampling are
trained once on the noisy rows, and each score ranks them: average precision. "one fit"
is the training loss of that model, "one fit, all rows" of the same model without
sampling; "out-of-bag sum" and "step" are `OutOfBagLoss`; "out of fold" takes five
further fits, "extra trees" a forest of 500. The form of `OutOfBagLoss` was made on the
development tables; nothing was made on the judging tables.

Each cell is stored as it ends, a JSON file in the folder of `--cells`; a run that was
stopped goes on from there. One thread. `--tables` runs nothing.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"

import argparse
import dataclasses
import functools
import itertools
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import treeinf as ti
from benchmarks.agreement import to_json, write_result
from treeinf.evaluation.machine import describe_run
from treeinf.training.checkpoint import ResultFolder

STEP = 1e-4
SHARES = (0.7, 0.5)
LIBRARIES = ("LightGBM", "XGBoost", "GradientBoosting")
AGREEMENT = ("synthetic", "spambase", "credit_card")
DEVELOPMENT = ("spambase", "bean", "credit_card")
JUDGES = ("compas", "german_credit", "vaccine", "no_show", "flight_delays", "diabetes")
"""Tables of detection; the judges are the binary ones of `label_noise.py`."""

METHODS: dict[str, Callable[[], Any]] = {
    "LeafInfluence": lambda: ti.LeafInfluence(
        through_base_score=False, on_mismatch="ignore", n_jobs=1
    ),
    "BoostIn": lambda: ti.BoostIn(on_mismatch="ignore", n_jobs=1),
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much each cell takes."""

    n_train: int = 600
    n_test: int = 100
    n_moved: int = 200
    n_trees: int = 100
    n_noisy: int = 2500


def draw_rows(
    name: str, n_rows: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw rows of a table, categories one-hot, classes numbered from 0."""
    if name == "synthetic":
        from sklearn.datasets import make_classification

        return make_classification(
            n_rows, 20, n_informative=10, n_redundant=5, random_state=seed
        )
    import pandas as pd

    from treeinf.datasets import load

    data = load(name)
    drawn = np.random.default_rng(seed).permutation(data.n_rows)[:n_rows]
    X = pd.get_dummies(data.X, dtype=float).to_numpy(dtype=float)[drawn]
    return X, np.unique(data.y[drawn], return_inverse=True)[1]


def make_model(library: str, share: float, seed: int, **sizes: int) -> Any:
    """Make a classifier that samples a share of the rows for each iteration."""
    n_trees, leaves = sizes["n_trees"], sizes.get("n_leaves", 8)
    common: dict[str, Any] = {"n_estimators": n_trees, "learning_rate": 0.1}
    common |= {"random_state": seed, "subsample": share}
    if library == "LightGBM":
        import lightgbm

        return lightgbm.LGBMClassifier(
            **common, num_leaves=leaves, subsample_freq=1, verbose=-1, n_jobs=1
        )
    depth = max(2, round(np.log2(leaves)))
    if library == "XGBoost":
        import xgboost

        # a leaf that falls under the bound jumps to 0, which no derivative foresees
        return xgboost.XGBClassifier(
            **common, max_depth=depth, min_child_weight=0, n_jobs=1
        )
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(**common, max_depth=depth)


class Refit:
    """All leaf values computed anew under other row weights, structures fixed.

    Parameters
    ----------
    trace : TrainingTrace
        Of a binary model; its leaf rule is a Newton step with an L2 penalty.
    bags : ndarray, shape (n_train, n_trees)
        Factor of each row in each tree.
    X_test, y_test : ndarray
        Rows whose loss is watched.
    """

    def __init__(
        self,
        trace: ti.TrainingTrace,
        bags: NDArray[Any],
        X_test: NDArray[np.float64],
        y_test: NDArray[np.int64],
    ) -> None:
        self.ensemble, self.y = trace.ensemble, trace.rows.y
        self.bags = bags.T.astype(float)
        self.leaf = trace.rows.leaf[self.ensemble.row_of_tree].astype(np.int64)
        self.test_leaf = self.ensemble.apply(X_test).T.astype(np.int64)
        self.y_test = y_test.astype(float)

    def losses(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Refit under row weights; gives each test row's loss."""
        model, loss = self.ensemble, self.ensemble.loss
        score = np.full((len(self.y), 1), model.base_score[0])
        test = np.full((len(self.y_test), 1), model.base_score[0])
        for tree in range(model.n_trees):
            gradient, hessian = loss.derivatives(self.y, score)
            own = slice(model.leaf_offset[tree], model.leaf_offset[tree + 1])
            n_leaves = own.stop - own.start
            factor, leaf = weight * self.bags[tree], self.leaf[tree]
            total = np.bincount(leaf, factor * gradient[:, 0], n_leaves)
            size = np.bincount(leaf, factor * hessian[:, 0], n_leaves)
            size += model.leaf_l2[own]
            value = -model.shrinkage[tree] * total / np.where(size > 0.0, size, 1.0)
            score[:, 0] += value[leaf]
            test[:, 0] += value[self.test_leaf[tree]]
        return loss.loss(self.y_test, test)


def run_agreement(
    name: str, library: str, share: float, seed: int, sizes: Sizes
) -> dict[str, Any]:
    """Compare influence with and without bags with refits."""
    X, y = draw_rows(name, sizes.n_train + sizes.n_test, seed)
    n = sizes.n_train
    X, y, X_test, y_test = X[:n], y[:n], X[n:], y[n:]
    model = make_model(library, share, seed, n_trees=sizes.n_trees).fit(X, y)
    bags = ti.in_bag(model, X, y)
    knowing = ti.read_model(model)
    # no sampler is known for this library, so every tree counts as fitted on all rows
    unknowing = dataclasses.replace(knowing, library="unknown")
    trace = ti.TrainingTrace.build(knowing, X, y)
    blind = ti.TrainingTrace.build(unknowing, X, y, on_mismatch="ignore")
    refit = Refit(trace, bags, X_test, y_test)
    moved = np.random.default_rng(seed).choice(n, min(n, sizes.n_moved), replace=False)
    every_row = np.ones(n)
    whole = refit.losses(every_row)
    slope, removal = np.empty((2, len(moved), len(X_test)))
    for number, row in enumerate(moved):
        unit = np.zeros(n)
        unit[row] = 1.0
        lower = refit.losses(every_row - STEP * unit)
        upper = refit.losses(every_row + STEP * unit)
        slope[number] = (lower - upper) / (2.0 * STEP)
        removal[number] = refit.losses(every_row - unit) - whole
    figures: dict[str, float] = {
        "value error, with": trace.report.largest_difference,
        "value error, without": blind.report.largest_difference,
        "refit error": float(
            np.abs(whole - _loss_of_model(trace, X_test, y_test)).max()
        ),
    }
    for method, make in METHODS.items():
        for words, ensemble in (("with", knowing), ("without", unknowing)):
            found = make().fit(ensemble, X, y).explain(X_test, y_test).values[moved]
            for truth, values in (("derivative", slope), ("removal", removal)):
                figures[f"{method}, {truth}, {words}"] = mean_spearman(found, values)
    return figures


def _loss_of_model(
    trace: ti.TrainingTrace, X: NDArray[np.float64], y: NDArray[np.int64]
) -> NDArray[np.float64]:
    return trace.ensemble.loss.loss(y.astype(float), trace.ensemble.raw_score(X))


def mean_spearman(found: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Average the rank correlation over test rows; both of shape (n_rows, n_test)."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=0) for values in (found, truth)]
    ranks = [rank - rank.mean(axis=0) for rank in ranks]
    size = np.sqrt((ranks[0] ** 2).sum(axis=0) * (ranks[1] ** 2).sum(axis=0))
    return float(((ranks[0] * ranks[1]).sum(axis=0)[size > 0] / size[size > 0]).mean())


def run_detection(
    name: str, library: str, share: float, seed: int, sizes: Sizes
) -> dict[str, Any]:
    """Rank rows of which a fifth has a wrong label."""
    from sklearn.metrics import average_precision_score

    from treeinf.datasets import flip_labels

    X, y = draw_rows(name, sizes.n_noisy, seed)
    y, is_wrong = flip_labels(y, 0.2, seed=seed)
    make = functools.partial(
        make_model, library, seed=seed, n_trees=sizes.n_trees, n_leaves=31
    )
    model, plain = make(share).fit(X, y), make(1.0).fit(X, y)
    scores: dict[str, tuple[Any, Any]] = {
        "one fit": (ti.Loss(), model),
        "one fit, all rows": (ti.Loss(), plain),
        "out-of-bag sum": (ti.OutOfBagLoss(), model),
        "out-of-bag step": (ti.OutOfBagLoss(kind="step"), model),
        "out of fold": (ti.OutOfFoldLoss(random_state=seed, n_jobs=1), model),
        "extra trees": (
            ti.OutOfBagProbability(forest="extra_trees", random_state=seed, n_jobs=1),
            model,
        ),
    }
    return {
        words: float(average_precision_score(is_wrong, score.fit(fitted, X, y).scores_))
        for words, (score, fitted) in scores.items()
    }


STUDIES: dict[str, Callable[..., dict[str, Any]]] = {
    "agreement": run_agreement,
    "detection": run_detection,
}


def plan(arguments: argparse.Namespace) -> list[tuple[str, str, str, float, int]]:
    """List the cells: study, table, library, share of the rows, seed."""
    cells = [
        ("agreement", *cell)
        for cell in itertools.product(AGREEMENT, LIBRARIES, SHARES, arguments.seeds)
    ]
    cells += [
        ("detection", *cell)
        for cell in itertools.product(
            (*DEVELOPMENT, *JUDGES), LIBRARIES[:2], SHARES, arguments.seeds
        )
    ]
    return [
        cell
        for cell in cells
        if cell[0] in arguments.only and cell[1] in arguments.data
    ]


def average(cells: list[dict[str, Any]], by: tuple[str, ...]) -> list[dict[str, Any]]:
    """Average the figures of cells that agree in some facts."""
    lines = []
    for key in dict.fromkeys(tuple(cell[name] for name in by) for cell in cells):
        own = [cell for cell in cells if tuple(cell[name] for name in by) == key]
        figures = {
            name: float(np.mean([cell["figures"][name] for cell in own]))
            for name in own[0]["figures"]
        }
        facts = dict(zip(by, key, strict=True))
        lines.append({**facts, "cells": len(own), "figures": figures})
    return lines


def write_table(lines: list[dict[str, Any]], by: tuple[str, ...]) -> list[str]:
    """Lay averages out as Markdown."""
    names = list(lines[0]["figures"])
    header = [*by, "cells", *names]
    rows = [
        [
            *(str(line[name]) for name in (*by, "cells")),
            *(_write_figure(name, line["figures"][name]) for name in names),
        ]
        for line in lines
    ]
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _write_figure(name: str, value: float) -> str:
    return f"{value:.1e}" if "error" in name else f"{value:.3f}"


def to_markdown(result: dict[str, Any]) -> str:
    """Lay the tables out."""
    machine, run = result["machine"], result["run"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    lines = [
        "# Rows of each tree: agreement of influence, and wrong labels found",
        "",
        f"{run['cells']} cells of {run['cells_planned']}, seeds {run['seeds']}; made "
        f"by `{result['command']}`. {run['sizes']['n_train']} train rows, "
        f"{run['sizes']['n_test']} test rows and {run['sizes']['n_moved']} rows moved "
        f"for agreement; up to {run['sizes']['n_noisy']:,} rows for detection; "
        f"{run['sizes']['n_trees']} trees. One thread of {machine['processor']}, "
        f"Python {machine['python']}, {versions}; {machine['date']}. What is measured "
        "stands in the script's first lines.",
    ]
    titles = {
        "agreement": "Agreement with refits of all leaf values under the same bags "
        "(mean Spearman correlation per test row)",
        "development": "Average precision of finding 20 % flipped labels, development "
        "tables",
        "judging": "Average precision of finding 20 % flipped labels, judging tables",
    }
    for part, tables in result["averages"].items():
        lines += ["", f"## {titles[part]}"]
        for by, averages in tables.items():
            lines += ["", *write_table(averages, tuple(by.split(", ")))]
    return "\n".join(lines) + "\n"


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Average each part over seeds, and over tables."""
    detection = [cell for cell in cells if cell["study"] == "detection"]
    parts = {
        "agreement": [cell for cell in cells if cell["study"] == "agreement"],
        "development": [c for c in detection if c["data"] in DEVELOPMENT],
        "judging": [c for c in detection if c["data"] in JUDGES],
    }
    groups = (("library", "share"), ("data", "library", "share"))
    return {
        part: {", ".join(by): average(own, by) for by in groups}
        for part, own in parts.items()
        if own
    }


def main() -> None:
    """Run the cells that are not stored, and write the tables."""
    every_table = tuple(dict.fromkeys((*AGREEMENT, *DEVELOPMENT, *JUDGES)))
    sizes = Sizes()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=tuple(STUDIES), default=[*STUDIES])
    parser.add_argument("--data", nargs="+", choices=every_table, default=every_table)
    for name, value in dataclasses.asdict(sizes).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--cells", type=Path, default=Path("build/row_sampling"))
    parser.add_argument("--out", type=Path, help="path without .json and .md")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes = Sizes(**{name: getattr(arguments, name) for name in vars(sizes)})
    store, planned = ResultFolder(arguments.cells), plan(arguments)
    numbers = "-".join(map(str, dataclasses.astuple(sizes)))
    names = [f"{' '.join(map(str, cell))} {numbers}" for cell in planned]
    for number, (name, cell) in enumerate(zip(names, planned, strict=True), 1):
        if arguments.tables or name in store:
            continue
        start = time.perf_counter()
        figures = STUDIES[cell[0]](*cell[1:], sizes)
        facts = dict(
            zip(("study", "data", "library", "share", "seed"), cell, strict=True)
        )
        seconds = round(time.perf_counter() - start, 1)
        store.write(name, {**facts, "figures": figures, "seconds": seconds})
        print(f"{number}/{len(planned)} {name} {seconds} s", flush=True)
    cells = [store.read(name) for name in names if name in store]
    if not cells:
        parser.error(f"{arguments.cells} holds no cell under these settings.")
    result = {
        "command": " ".join(["python -m benchmarks.row_sampling", *sys.argv[1:]]),
        "machine": describe_run(),
        "run": {
            "seeds": arguments.seeds,
            "cells": len(cells),
            "cells_planned": len(planned),
            "sizes": dataclasses.asdict(sizes),
            "seconds": round(sum(cell["seconds"] for cell in cells), 1),
        },
        "averages": summarise(cells),
        "cells": cells,
    }
    write_result(arguments.out, to_json(result), to_markdown(result))


if __name__ == "__main__":
    main()
