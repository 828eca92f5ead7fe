"""What comes before the first result: the import, the compiler, the demo."""

from __future__ import annotations

import compileall
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.speed.bench import Bench, Measured, is_installed
from benchmarks.speed.rows import Row
from treeinf.evaluation.timing import Timing, take_turns

__all__ = ["measure_startup"]

_FIRST_CALL = """
import time
import lightgbm
from sklearn.datasets import make_classification
X, y = make_classification(2000, random_state=0)
model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs={n_jobs})
model.fit(X[:1800], y[:1800])
start = time.perf_counter()
import treeinf as ti
ti.BoostIn(n_jobs={n_jobs}).fit(model, X[:1800], y[:1800]).total(X[1800:], y[1800:])
print(time.perf_counter() - start)
"""
_DEMO = "import sys; from treeinf.cli.main import run; sys.argv[0] = 'treeinf'; run()"
_FIRST_WORDS = "First result"
"""What the demo's line after its first result begins with."""
_DEMOS = 2
_FIRST_RESULTS = 5
_CLI = ("pandas", "rich", "typer", "jinja2", "matplotlib", "lightgbm")


def measure_startup(bench: Bench) -> Measured:
    """Time fresh interpreters: the import, a first call, and `treeinf demo`.

    Files are in the page cache and bytecode is on disk, as after an installation. A
    cold cache holds no compiled kernel, a warm one all of them; both are made for this
    in a folder of their own.
    """
    compileall.compile_dir(Path(__file__).resolve().parents[1], quiet=2)
    with tempfile.TemporaryDirectory(prefix="treeinf-bench-") as folder:
        return Measured([*_time_import(bench, folder), *_time_first(bench, folder)])


def _time_import(bench: Bench, folder: str) -> list[Row]:
    environment = _make_environment(folder, "import")
    times = take_turns(
        {
            "bare": lambda: _run(["-c", "pass"], environment),
            "treeinf": lambda: _run(["-c", "import treeinf"], environment),
            "numpy and numba": lambda: _run(["-c", "import numpy, numba"], environment),
        },
        max(bench.repeats, 5),
    )

    def over(name: str) -> Timing:
        pairs = zip(times[name].seconds, times["bare"].seconds, strict=True)
        return Timing([own - bare for own, bare in pairs])

    beside = over("numpy and numba").median
    return [
        Row.clock(
            "import treeinf, over a bare interpreter",
            over("treeinf"),
            0.5,
            note=f"import numpy, numba: {beside:.2g} s",
        )
    ]


def _time_first(bench: Bench, folder: str) -> list[Row]:
    environment = _make_environment(folder, "cold")
    first = "first call, warm cache: import, BoostIn fit and total"
    rows = []
    if is_installed("lightgbm"):
        code = _FIRST_CALL.format(n_jobs=bench.n_jobs)
        repeats = min(bench.repeats, 3)
        seconds = [float(_run(["-c", code], environment)) for _ in range(repeats + 1)]
        rows.append(
            Row.clock(
                first,
                Timing(seconds[1:]),
                1.0,
                note=f"with a cold cache {seconds[0]:.3g} s; numpy, scikit-learn and "
                "LightGBM imported before",
            )
        )
    else:
        rows.append(Row(first, "s", note="lightgbm: not installed"))
    return [*rows, *_time_demo(bench, folder)]


def _time_demo(bench: Bench, folder: str) -> list[Row]:
    """Time the demo to its first result, one test row explained, and to its end."""
    limits = {
        ("first result", "cold"): 25.0,
        ("first result", "warm"): 5.0,
        ("the end", "cold"): None,
        ("the end", "warm"): None,
    }
    names = {key: f"treeinf demo to {key[0]}, {key[1]} cache" for key in limits}
    missing = [name for name in _CLI if not is_installed(name)]
    if missing:
        note = f"{', '.join(missing)}: not installed"
        return [Row(name, "s", note=note) for name in names.values()]
    command = ["-c", _DEMO, "demo", "--force", "--n-jobs", str(bench.n_jobs)]
    command += ["--out", str(Path(folder) / "demo")]
    # a cache of its own: the first call has compiled a part of the kernels
    environment = _make_environment(folder, "demo")
    cold = _watch(command, environment, _FIRST_WORDS)
    n_demos = min(bench.repeats, _DEMOS)
    warm = [_watch(command, environment, _FIRST_WORDS) for _ in range(n_demos)]
    more = [
        _watch(command, environment, _FIRST_WORDS, to_end=False)
        for _ in range(max(bench.repeats, _FIRST_RESULTS) - n_demos)
    ]
    times = {
        ("first result", "cold"): [cold[0]],
        ("first result", "warm"): [first for first, _ in [*warm, *more]],
        ("the end", "cold"): [cold[1]],
        ("the end", "warm"): [end for _, end in warm],
    }
    notes = {"cold": "run once", "warm": ""}
    return [
        Row.clock(name, Timing(times[key]), limits[key], note=notes[key[1]])
        for key, name in names.items()
    ]


def _make_environment(folder: str, cache: str) -> dict[str, str]:
    """Give the settings of a process that keeps compiled kernels apart."""
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["NUMBA_CACHE_DIR"] = str(Path(folder) / "kernels" / cache)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return environment


def _run(arguments: list[str], environment: Mapping[str, str]) -> str:
    """Run an interpreter to its end and give what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
        raise RuntimeError(
            f"{' '.join(arguments[:1])} ... ended with code {done.returncode}: {last}"
        )
    return done.stdout


def _watch(
    arguments: list[str],
    environment: Mapping[str, str],
    words: str,
    *,
    to_end: bool = True,
) -> tuple[float, float]:
    """Run an interpreter; give the seconds to a line with these words, and to its end.

    Where the end is not waited for, the interpreter is stopped at that line.
    """
    begin = time.perf_counter()
    seen, last = math.nan, "nothing was printed"
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() or last
            if words in line and math.isnan(seen):
                seen = time.perf_counter() - begin
                if not to_end:
                    process.kill()
                    return seen, math.nan
    end = time.perf_counter() - begin
    if process.returncode or math.isnan(seen):
        raise RuntimeError(
            f"{' '.join(arguments[2:3])} ... ended with code {process.returncode} and "
            f"no line with {words!r} before: {last}"
        )
    return seen, end
