"""What comes before the first result: the import, the compiler, the demo."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from treeinf.speed.bench import Bench, Measured, is_installed
from treeinf.speed.rows import Row
from treeinf.speed.timing import Timing, take_turns, time_call

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
_DEMOS = 2
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
    first, demo = (
        "first call, warm cache: import, BoostIn fit and total",
        "treeinf demo",
    )
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
    missing = [name for name in _CLI if not is_installed(name)]
    if missing:
        note = f"{', '.join(missing)}: not installed"
        return [
            *rows,
            *(Row(f"{demo}, {k} cache", "s", note=note) for k in ("cold", "warm")),
        ]
    command = ["-c", _DEMO, "demo", "--quiet", "--force", "--n-jobs", str(bench.n_jobs)]
    command += ["--out", str(Path(folder) / "demo")]
    # a cache of its own: the first call has compiled a part of the kernels
    environment = _make_environment(folder, "demo")
    cold, *warm = (
        time_call(lambda: _run(command, environment))[0]
        for _ in range(1 + min(bench.repeats, _DEMOS))
    )
    return [
        *rows,
        Row.clock(f"{demo}, cold cache", Timing([cold]), 25.0, note="run once"),
        Row.clock(f"{demo}, warm cache", Timing(warm), 5.0),
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
