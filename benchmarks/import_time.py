"""Measure what `import treeinf` costs over a bare interpreter.

Median wall time of fresh interpreters, files in the page cache, bytecode written by a
first run that is not counted. The bare interpreter's median is taken off every line.

    python benchmarks/import_time.py [--repeats 7] [MODULE ...]
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time


def time_interpreter(statement: str, repeats: int) -> list[float]:
    """Run `statement` in fresh interpreters and give the seconds each of them took."""
    command = [sys.executable, "-c", statement]
    subprocess.run(command, check=True)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=["numpy", "numba", "treeinf"])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()

    bare = statistics.median(time_interpreter("pass", options.repeats))
    print(f"Python {platform.python_version()}, {platform.machine()}, ", end="")
    print(f"median of {options.repeats} runs, seconds")
    print(f"{'import':<24}{'median':>8}{'lowest':>8}{'highest':>8}")
    print(f"{'(bare interpreter)':<24}{bare:>8.3f}")
    for module in options.modules:
        taken = time_interpreter(f"import {module}", options.repeats)
        over = [seconds - bare for seconds in taken]
        figures = (statistics.median(over), min(over), max(over))
        print(f"{module:<24}" + "".join(f"{figure:>8.3f}" for figure in figures))


if __name__ == "__main__":
    main()
