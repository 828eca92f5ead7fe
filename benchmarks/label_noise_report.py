"""Write the tables of what label_noise.py has stored.

    python benchmarks/label_noise_report.py [--cells build/label_noise]

They go to results/label_noise.md, and all figures to results/label_noise.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from label_noise import CELLS, DEVELOPMENT
from scipy.stats import rankdata

from treeinf.evaluation.machine import describe_run

RESULTS = Path(__file__).parent / "results"
N_RESAMPLES = 2000
MEASURES = ("ap", "auroc", "precision", "test")
COLUMNS = (*MEASURES, "seconds")

Cells = list[dict[str, Any]]


def read_cells(folder: Path) -> Cells:
    """Read what is stored, in order of file names."""
    cells = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for cell in cells:
        # cells stored before stacking had its name
        cell["methods"] = {
            name.replace("consensus", "stacking"): scores
            for name, scores in cell["methods"].items()
        }
    return cells


def shared_methods(cells: Cells, *, clean: bool) -> list[str]:
    """List the scores that all cells have, of one kind."""
    names = [n for n in cells[0]["methods"] if n.startswith("clean:") == clean]
    return [n for n in names if all(n in cell["methods"] for cell in cells)]


def rank_methods(
    cells: Cells, names: Sequence[str], measure: str
) -> dict[str, tuple[float, float, float]]:
    """Rank scores in each cell; mean over data sets, and a 95 % interval over them."""
    sets = sorted({cell["name"] for cell in cells})
    by_set = np.zeros((len(sets), len(names)))
    for row, name in zip(by_set, sets, strict=True):
        ranks = [
            rankdata([-round(cell["methods"][n][measure], 6) for n in names])
            for cell in cells
            if cell["name"] == name
        ]
        row[:] = np.mean(ranks, axis=0)
    rng = np.random.default_rng(0)
    drawn = by_set[rng.integers(0, len(sets), (N_RESAMPLES, len(sets)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    means = by_set.mean(axis=0)
    return {
        n: (float(means[i]), float(low[i]), float(high[i])) for i, n in enumerate(names)
    }


def mean_over_sets(cells: Cells, values: Iterable[float]) -> float:
    """Average over the cells of each data set, then over data sets."""
    by_set: dict[str, list[float]] = {}
    for cell, value in zip(cells, values, strict=True):
        by_set.setdefault(cell["name"], []).append(value)
    return float(np.mean([np.mean(part) for part in by_set.values()]))


def summarise(cells: Cells, *, clean: bool) -> dict[str, dict[str, Any]]:
    """Average each score over data sets."""
    names = shared_methods(cells, clean=clean)
    ranks = {m: rank_methods(cells, names, m) for m in ("ap", "test")}
    result: dict[str, dict[str, Any]] = {}
    for name in names:
        found = [cell["methods"][name] for cell in cells]
        result[name] = {
            measure: mean_over_sets(cells, (one[measure] for one in found))
            for measure in MEASURES
        }
        cost = [
            one["seconds"] / max(cell["fit_seconds"], 1e-3)
            for one, cell in zip(found, cells, strict=True)
        ]
        result[name]["cost"] = float(np.median(cost))
        for measure, table in ranks.items():
            result[name][f"{measure}_rank"] = table[name]
    return dict(sorted(result.items(), key=lambda item: item[1]["ap_rank"][0]))


def write_table(summary: dict[str, dict[str, Any]], test: str) -> list[str]:
    """Write one group as Markdown."""
    lines = [
        f"| score | AP | AUROC | precision | {test} | rank by AP | rank by {test} "
        "| trainings |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in summary.items():
        ranks = [
            f"{mean:.1f} ({low:.1f} to {high:.1f})"
            for mean, low, high in (one["ap_rank"], one["test_rank"])
        ]
        lines.append(
            f"| {name.removeprefix('clean: ')} | "
            + " | ".join(f"{one[m]:.3f}" for m in MEASURES)
            + f" | {ranks[0]} | {ranks[1]} | {one['cost']:.0f} |"
        )
    return lines


def describe(cells: Cells) -> str:
    """Say what the cells of a group are."""
    sets = sorted({cell["name"] for cell in cells})
    libraries = sorted({cell["library"] for cell in cells})
    levels = sorted({f"{cell['kind']} {cell['share']:.0%}" for cell in cells})
    seeds = sorted({cell["seed"] for cell in cells})
    return (
        f"{len(cells)} cells; sets: {', '.join(sets)}; libraries: "
        f"{', '.join(libraries)}; noise: {', '.join(levels)}; seeds: "
        f"{', '.join(map(str, seeds))}."
    )


def mean_of(cells: Cells, key: str) -> float:
    """Average a figure of the cells over data sets."""
    return mean_over_sets(cells, (cell[key] for cell in cells))


def write_group(title: str, cells: Cells, *, clean: bool, test: str) -> list[str]:
    """Write the title, what ran and the table of a group."""
    lines = [f"## {title}", "", describe(cells), ""]
    lines += [
        f"Test {test} of all rows as they are {mean_of(cells, 'none'):.3f}, without "
        f"the wrong rows {mean_of(cells, 'oracle'):.3f}"
        + (
            f", with the clean rows appended {mean_of(cells, 'appended'):.3f}."
            if clean
            else "."
        ),
        "",
    ]
    return [*lines, *write_table(summarise(cells, clean=clean), test), ""]


def write_nine(cells: Cells) -> list[str]:
    """Write the nine cells, without and with a clean fifth."""
    lines: list[str] = []
    for part, title in (
        ("without", "The nine small cells, without clean rows"),
        ("with", "The nine small cells, with a clean fifth"),
    ):
        chosen = [cell for cell in cells if cell["part"] == part]
        if not chosen:
            continue
        lines += [
            f"## {title}",
            "",
            f"{len(chosen)} of 27 runs. Accuracy of all rows as they are "
            f"{np.mean([c['none'] for c in chosen]):.3f}, without the wrong rows "
            f"{np.mean([c['oracle'] for c in chosen]):.3f}"
            + (
                ", with the clean rows appended "
                f"{np.mean([c['appended'] for c in chosen]):.3f}."
                if part == "with"
                else "."
            ),
            "",
            "| score | AP | AUROC | precision | accuracy | trainings |",
            "|---|---|---|---|---|---|",
        ]
        rows = []
        for name in shared_methods(chosen, clean=part == "with"):
            found = [cell["methods"][name] for cell in chosen]
            means = [float(np.mean([one[m] for one in found])) for m in MEASURES]
            cost = np.median(
                [
                    one["seconds"] / max(cell["fit_seconds"], 1e-3)
                    for one, cell in zip(found, chosen, strict=True)
                ]
            )
            rows.append((means, name.removeprefix("clean: "), cost))
        for means, name, cost in sorted(rows, reverse=True):
            figures = " | ".join(f"{mean:.3f}" for mean in means)
            lines.append(f"| {name} | {figures} | {cost:.0f} |")
        lines.append("")
    return lines


def write_kinds(cells: Cells) -> list[str]:
    """Write mean AP by kind and level of noise."""
    levels = sorted({(cell["kind"], cell["share"]) for cell in cells})
    names = shared_methods(cells, clean=False)
    lines = [
        "| score | "
        + " | ".join(f"{kind} {share:.0%}" for kind, share in levels)
        + " |",
        "|---" * (len(levels) + 1) + "|",
    ]
    for name in names:
        figures = []
        for level in levels:
            part = [c for c in cells if (c["kind"], c["share"]) == level]
            figures.append(
                f"{mean_over_sets(part, (c['methods'][name]['ap'] for c in part)):.3f}"
            )
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
    return [*lines, ""]


def shorten(cells: Cells) -> Cells:
    """Round figures and leave out the names of measures, so that the file is small."""
    result = []
    for cell in cells:
        short = {k: round(v, 4) if isinstance(v, float) else v for k, v in cell.items()}
        short["methods"] = {
            name: [round(found[column], 4) for column in COLUMNS]
            for name, found in cell["methods"].items()
        }
        result.append(short)
    return result


def write_report(cells: Path, out: Path) -> None:
    """Write label_noise.json and label_noise.md."""
    nine, real = read_cells(cells / "nine"), read_cells(cells / "real")
    lines = [
        "# Finding wrong labels",
        "",
        "Made by `benchmarks/label_noise.py`, which says how. AP: average precision of "
        "finding the wrong rows; precision: share of wrong rows among as many of the "
        "highest scores as there are wrong rows; test: of LightGBM's or XGBoost's "
        "default model without these. Means are over data sets; ranks among the scores "
        "of one table, 1 the best, intervals of 95 % by resampling data sets. "
        "Trainings: median cost of a score in trainings of that model on all train "
        "rows, by seconds of the processor.",
        "",
        *(write_nine(nine) if nine else []),
    ]
    groups = (
        ("classification", "accuracy", False),
        ("regression", "R2", False),
        ("classification", "accuracy", True),
    )
    for task, test, is_development in groups:
        chosen = [
            cell
            for cell in real
            if cell["task"] == task and (cell["name"] in DEVELOPMENT) == is_development
        ]
        if not chosen:
            continue
        which = "sets of the development" if is_development else "judging sets"
        title = f"Real data, {task}, {which}"
        lines += write_group(title, chosen, clean=False, test=test)
        lines += ["Mean AP by noise:", "", *write_kinds(chosen)]
        trusted = [cell for cell in chosen if "appended" in cell]
        # CatBoost's is missing where there are more than two classes
        binary = [
            cell
            for cell in trusted
            if "clean: CatBoost object importance" in cell["methods"]
        ]
        if trusted:
            lines += write_group(
                f"{title}, with clean rows", trusted, clean=True, test=test
            )
        if binary and len(binary) < len(trusted):
            lines += write_group(
                f"{title}, with clean rows, two classes", binary, clean=True, test=test
            )
    out.mkdir(parents=True, exist_ok=True)
    (out / "label_noise.md").write_text("\n".join(lines).rstrip() + "\n")
    record = {
        "machine": describe_run(),
        "columns": COLUMNS,
        "nine": shorten(nine),
        "real": shorten(real),
    }
    (out / "label_noise.json").write_text(
        json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    write_report(options.cells, options.out)


if __name__ == "__main__":
    main()
