"""What a cleaning costs: processor time over one training, memory over the table.

    python benchmarks/cleaning_cost.py [--sizes 1000 10000 100000 1000000]
        [--threads 1] [--out results/cleaning_cost]

Tables of 20 columns (10 informative, 5 redundant) of scikit-learn's
`make_classification`, as float32, with a tenth of the labels drawn at random. The
estimator is LightGBM with 100 trees of 31 leaves, one thread in each; the cleaner has
its defaults. Each size runs in a process of its own: compiled kernels are loaded first
by a cleaning of 2,000 rows, then the least processor time of up to three trainings is
measured, and the processor time, the wall time and the peak of the resident memory of a
cleaning, above what the process held before it. Runs with other code (PYTHONPATH) are
told apart by `--label`, and stand in the same table.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import json
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

N_COLUMNS = 20
TARGETS = {1_000: 60, 10_000: 40, 100_000: 20, 1_000_000: 15}
MEMORY_TARGET = 4.0


def read_memory() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(n_rows: int, threads: int) -> dict[str, Any]:
    """Train and clean one table."""
    import lightgbm
    from sklearn.datasets import make_classification

    from treeinf import InfluenceCleaner

    X, y = make_classification(
        n_rows,
        N_COLUMNS,
        n_informative=10,
        n_redundant=5,
        flip_y=0.1,
        random_state=0,
    )
    X = X.astype(np.float32)

    def make() -> Any:
        return lightgbm.LGBMClassifier(n_estimators=100, n_jobs=1, verbose=-1)

    warnings.simplefilter("ignore")
    settings = {"random_state": 0, "n_jobs": threads}
    # compile or load the kernels of opponents and helpers, too
    InfluenceCleaner(make(), amount=0.1, guard=False, **settings).fit(
        X[:2_000], y[:2_000]
    )
    fits = []
    for _ in range(3 if n_rows <= 100_000 else 1):
        begin = time.process_time()
        make().fit(X, y)
        fits.append(time.process_time() - begin)
    before, peak, done = read_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], read_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin, wall = time.process_time(), time.perf_counter()
    report = InfluenceCleaner(make(), **settings).fit(X, y).report_
    spent, wall = time.process_time() - begin, time.perf_counter() - wall
    done.set()
    watcher.join()
    return {
        "n_rows": n_rows,
        "threads": threads,
        "training_s": round(min(fits), 3),
        "cleaning_s": round(spent, 2),
        "wall_s": round(wall, 1),
        "trainings": round(spent / min(fits), 1),
        "memory": round((peak[0] - before) / X.nbytes, 2),
        "n_fits": report.n_fits,
        "verdict": report.verdict,
        "seconds": {k: round(v, 2) for k, v in report.seconds.items()},
    }


def to_markdown(runs: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    """Write the table."""
    versions = ", ".join(
        f"{name} {machine['versions'][name]}"
        for name in ("numpy", "scikit-learn", "lightgbm")
    )
    lines = [
        "# What a cleaning costs",
        "",
        f"`python benchmarks/cleaning_cost.py`: {N_COLUMNS} columns, LightGBM with 100 "
        "trees, the cleaner's defaults. Processor time over that of one training on "
        "all rows; memory is the peak above the process before, over the table as "
        "float32. "
        f"{machine['processor']}, {versions}; {machine['date']}.",
        "",
        "| code | rows | threads | one training, s | cleaning, s | wall, s | "
        "trainings | aim | memory x table | models | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {run['label']} | {run['n_rows']:,} | {run['threads']} | "
        f"{run['training_s']} | {run['cleaning_s']} | {run['wall_s']} | "
        f"{run['trainings']:.0f} | {TARGETS.get(run['n_rows'], '')} | "
        f"{run['memory']:.1f} | {run['n_fits']} | {run['verdict']} |"
        for run in runs
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0] if __doc__ else ""
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(TARGETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--label", default="this code")
    folder = Path(__file__).parent / "results"
    parser.add_argument("--out", type=Path, default=folder / "cleaning_cost")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one, arguments.threads)))
        return
    from treeinf.evaluation.machine import describe_run

    path = arguments.out.with_suffix(".json")
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--one", str(size)]
        command += ["--threads", str(arguments.threads)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        run = {"label": arguments.label, **json.loads(ended.stdout.splitlines()[-1])}
        print(run, flush=True)
        key = ("label", "n_rows", "threads")
        runs = [r for r in runs if [r[k] for k in key] != [run[k] for k in key]]
        runs.append(run)
        runs.sort(key=lambda r: (r["n_rows"], r["threads"], r["label"]))
        machine = describe_run()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")
        text = to_markdown(runs, machine)
        arguments.out.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
