"""Test and time treeinf on a CUDA device, in one call of under ten minutes.

    python benchmarks/gpu.py                    tests, agreement with the CPU, speed
    python benchmarks/gpu.py --rows 1000000     no more rows than these
    python benchmarks/gpu.py --make-models      write benchmarks/models (needs LightGBM)

Models are read from treeinf's own files, so that no library of models is needed: NumPy,
SciPy, scikit-learn, narwhals, joblib, threadpoolctl, tqdm, Numba and numba-cuda are.
Writes ``benchmarks/results/gpu-<device>.json``: what ran where, the tests, the largest
difference from the CPU, and for each piece of work the best of some repeats, in seconds
and in row-trees a second; first calls, which compile, are apart. In the simulator
(``NUMBA_ENABLE_CUDASIM=1``) it tries itself on a few rows, and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "benchmarks" / "models"
RESULTS = ROOT / "benchmarks" / "results"
NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "narwhals": "narwhals",
    "joblib": "joblib",
    "threadpoolctl": "threadpoolctl",
    "tqdm": "tqdm",
    "numba": "numba",
    "numba_cuda": "numba-cuda[cu12]",
}
BUDGET = 540.0
TEST_SECONDS = 240
N_FEATURES = 10
N_TEST = 10_000
RECIPES = {
    "binary": dict(n_estimators=100, num_leaves=31),
    "multiclass": dict(n_estimators=20, num_leaves=15),
    "regression": dict(n_estimators=50, num_leaves=255),
}
SIZES = (100_000, 1_000_000, 4_000_000, 10_000_000)
START = time.perf_counter()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=SIZES[-1])
    parser.add_argument("--no-tests", action="store_true", help="time only")
    parser.add_argument("--make-models", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    simulated = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
    if options.make_models:
        make_models()
        return
    if missing := find_missing(simulated):
        print(
            f"Nothing is measured. Missing under {sys.executable}: "
            f"{', '.join(missing)}. Without a network, bring the wheels: pip download "
            "-d wheels PACKAGE elsewhere, then pip install --no-index --find-links "
            "wheels PACKAGE here."
        )
        return
    from treeinf.errors import DeviceUnavailableError
    from treeinf.kernels.device import resolve_device

    try:
        resolve_device("cuda")
    except DeviceUnavailableError as error:
        print(f"Nothing is measured. {error}")
        return
    # models are replayed over rows that they were not trained on
    warnings.simplefilter("ignore")
    most = options.rows
    if simulated:
        most = 60
        sys.setswitchinterval(1e-4)  # its threads take turns at every barrier
    record = {"machine": describe_machine(simulated)}
    print(json.dumps(record["machine"], indent=1))
    path = RESULTS / f"gpu-{slug(record['machine']['device'])}.json"

    def keep(name, value):
        """Write what is known so far: a run that is cut off leaves the rest."""
        record[name] = value
        record["seconds"] = round(time.perf_counter() - START, 1)
        if not simulated:
            RESULTS.mkdir(exist_ok=True)
            path.write_text(json.dumps(record, indent=1) + "\n")

    keep("agreement", [compare(name, min(most, 20_000)) for name in RECIPES])
    sizes = [n for n in SIZES if n <= most] or [most]
    speed = []
    for n_rows in sizes:
        for name in RECIPES if n_rows == sizes[min(1, len(sizes) - 1)] else ["binary"]:
            if left() < 150.0:
                print(f"No time is left for {n_rows:,} rows of {name}.")
                continue
            speed += measure(name, n_rows)
            keep("speed", speed)
    if not options.no_tests and not simulated:
        keep("tests", run_tests())
    if not simulated:
        print(f"Written: {path}")


def find_missing(simulated):
    """List the packages that are not there."""
    needed = {k: v for k, v in NEEDED.items() if not (simulated and k == "numba_cuda")}
    return [v for k, v in needed.items() if importlib.util.find_spec(k) is None]


def make_models():
    """Fit the models with LightGBM and store them in treeinf's own format."""
    import lightgbm

    import treeinf as ti

    MODELS.mkdir(exist_ok=True)
    for name, parameters in RECIPES.items():
        X, y = make_rows(name, 50_000, seed=0)
        kind = lightgbm.LGBMClassifier
        if name == "regression":
            kind = lightgbm.LGBMRegressor
        model = kind(**parameters, learning_rate=0.1, verbose=-1, random_state=0)
        ensemble = ti.read_model(model.fit(X, y))
        ensemble.save(MODELS / f"{name}.npz", overwrite=True)
        print(name, ensemble)


def make_rows(name, n_rows, seed):
    """Rows and targets from a seed."""
    import numpy as np

    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, N_FEATURES))
    signal = X[:, 0] + X[:, 1] * X[:, 2] + np.sin(2.0 * X[:, 3])
    signal += rng.standard_normal(n_rows)
    if name == "binary":
        return X, (signal > 0.0).astype(np.int64)
    if name == "multiclass":
        return X, np.digitize(signal, [-1.0, 1.0])
    return X, signal


def describe_machine(simulated):
    """Name device, driver and versions."""
    from treeinf.kernels.cuda import memory

    machine = {
        "device": memory.describe_device(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    for name in ("numpy", "numba", "numba-cuda"):
        try:
            machine[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            machine[name] = None
    if not simulated:
        from numba import cuda

        device = cuda.get_current_device()
        free, total = memory.count_bytes()
        machine["compute_capability"] = ".".join(map(str, device.compute_capability))
        machine["memory_gib"] = round(total / 2**30, 1)
        machine["free_gib"] = round(free / 2**30, 1)
        machine["processors"] = device.MULTIPROCESSOR_COUNT
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=20)
            machine["driver"] = answer.stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            machine["driver"] = None
    return machine


def explainers():
    """Give what is compared and timed, by name."""
    import treeinf as ti

    kinds = {
        "LeafInfluence": (ti.LeafInfluence, {"on_mismatch": "ignore"}),
        "BoostIn": (ti.BoostIn, {"on_mismatch": "ignore"}),
        "Trex": (ti.Trex, {"kernel": "leaf_path", "tol": 1e-6}),
    }
    return kinds


def load(name):
    import treeinf as ti

    return ti.TreeEnsemble.load(MODELS / f"{name}.npz")


def compare(name, n_rows):
    """Give the largest difference from the CPU, in the largest number."""
    import numpy as np

    ensemble = load(name)
    if n_rows < 1000:
        ensemble = ensemble.take_trees(np.arange(ensemble.n_outputs * 2))
    X, y = make_rows(name, n_rows, seed=1)
    X_test, y_test = make_rows(name, min(n_rows // 20, 20), seed=2)
    found = {"model": name, "rows": n_rows}
    for kind, (make, parameters) in explainers().items():
        if kind == "Trex" and name != "binary":
            continue
        results = []
        for device in ("cpu", "cuda"):
            fitted = make(device=device, **parameters).fit(ensemble, X, y)
            results.append(
                [
                    fitted.explain(X_test, y_test).values,
                    fitted.total(X_test, y_test).values,
                ]
            )
        for what, cpu, cuda in zip(("explain", "total"), *results, strict=True):
            difference = np.abs(cuda - cpu).max() / np.abs(cpu).max()
            found[f"{kind}.{what}"] = float(difference)
    print(found)
    return found


def measure(name, n_rows):
    """Time fit and totals on both devices; gives one record for each."""
    import numpy as np

    ensemble = load(name)
    if n_rows < 1000:
        ensemble = ensemble.take_trees(np.arange(ensemble.n_outputs * 2))
    X, y = make_rows(name, n_rows, seed=1)
    X_test, y_test = make_rows(name, min(N_TEST, n_rows), seed=2)
    row_trees = n_rows * ensemble.n_trees
    records = []
    for kind, (make, parameters) in explainers().items():
        if kind == "Trex" and (name != "binary" or n_rows > 1_000_000):
            continue
        for device in ("cuda", "cpu"):
            if device == "cpu" and (n_rows > 1_000_000 or left() < 150.0):
                continue
            record = {
                **{"model": name, "work": f"{kind}.total", "device": device},
                **{"rows": n_rows, "trees": ensemble.n_trees, "test_rows": len(X_test)},
                "leaves": ensemble.most_leaves,
            }
            start = time.perf_counter()
            fitted = make(device=device, **parameters).fit(ensemble, X, y)
            record["fit_seconds"] = time.perf_counter() - start
            target = {"target": "raw_score"} if kind == "Trex" else {}
            start = time.perf_counter()
            fitted.total(X_test, y_test, **target)
            record["first_seconds"] = time.perf_counter() - start
            record["seconds"] = best_of(
                5, lambda fitted=fitted, t=target: fitted.total(X_test, y_test, **t)
            )
            record["row_trees_per_second"] = row_trees / record["seconds"]
            if kind == "LeafInfluence" and device == "cuda":
                record["sweep_seconds"] = best_of(
                    5, lambda fitted=fitted: sweep_alone(fitted)
                )
                record["sweep_row_trees_per_second"] = (
                    row_trees / record["sweep_seconds"]
                )
            print(
                f"{record['work']:20} {name:10} {device:4} {n_rows:11,} rows: "
                f"{record['seconds']:8.3f} s, "
                f"{record['row_trees_per_second'] / 1e9:7.3f} billion row-trees/s"
            )
            records.append(record)
            del fitted
    return records


def sweep_alone(fitted):
    """Push one target back, without reading test rows."""
    import numpy as np

    seed = np.ones((*fitted.trace_.leaf_step.shape, 1))
    fitted._adjoint.sweep(seed, with_influence=True)


def best_of(n, work):
    """Give the shortest time of some repeats, in seconds."""
    times = []
    for _ in range(n):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        if left() < 120.0:
            break
    return min(times)


def run_tests():
    """Run the CUDA tests on the device."""
    for name in ("pytest", "hypothesis"):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is missing: the CUDA tests are left out.")
            return f"{name} is missing"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["tests/cuda", "tests/explainers/test_contract.py"]
    command += ["-m", "cuda", "-x", "--no-header"]
    seconds = min(TEST_SECONDS, max(30.0, left()))
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode(errors="replace")
        return {"cut_off_after_seconds": seconds, "output": text[-500:]}
    lines = done.stdout.strip().splitlines()
    print("\n".join(lines[-15:]))
    return {"passed": done.returncode == 0, "summary": lines[-1:] or done.stderr[-500:]}


def left():
    """Give the seconds that are left."""
    return BUDGET - (time.perf_counter() - START)


def slug(text):
    """Make a name for a file of a device's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


if __name__ == "__main__":
    main()
