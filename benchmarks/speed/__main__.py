"""Measure treeinf's speed beside that of LightGBM, XGBoost, CatBoost and SciPy.

    python -m benchmarks.speed                      # all of it, 500,000 rows
    python -m benchmarks.speed --quick              # 20,000 rows; targets not judged
    python -m benchmarks.speed --only totals,growth --out build/totals

Writes bench.json, bench.md and growth.svg into the folder of the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.speed.bench import FULL_ROWS, Bench
from benchmarks.speed.report import describe, write_report
from benchmarks.speed.runner import FAILED, FILE, GROUPS, run_bench

__all__ = ["main"]

_QUICK = {"rows": 20_000, "repeats": 3}
_FULL = {"rows": FULL_ROWS, "repeats": 5}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print where its table is.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; that of the process by default.

    Returns
    -------
    int
        Exit code: 1 if a group failed, 2 for wrong arguments, 130 if interrupted.
    """
    options = _parse(arguments)
    sizes = _QUICK if options.quick else _FULL
    out = options.out
    try:
        record = run_bench(
            Bench(
                n_rows=options.rows or sizes["rows"],
                repeats=options.repeats or sizes["repeats"],
                n_jobs=options.n_jobs,
            ),
            out,
            only=[name for text in options.only for name in text.split(",") if name],
            resume=options.resume,
            force=options.force,
            verbose=not options.quiet,
        )
    except FileExistsError as error:
        print(f"{error} Pass --resume, --force or --out.", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if (out / FILE).exists():
            write_report(out)
        print(f"Interrupted; --resume goes on with {out}.", file=sys.stderr)
        return 130
    written = write_report(out)
    if not options.quiet:
        print(describe(record))
    for name, group in record["groups"].items():
        if group["reason"]:
            print(f"{GROUPS[name].title}: {group['status']}: {group['reason']}")
    for name, path in written.items():
        print(f"{name}: {path}")
    failed = [group for group in record["groups"].values() if group["status"] == FAILED]
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--only", action="append", default=[], help=f"groups: {', '.join(GROUPS)}")
    add("--rows", type=int, help=f"train rows of the large cases, {FULL_ROWS:,}")
    add("--repeats", type=int, help="turns of each operation, 5")
    add("--n-jobs", type=int, default=2, help="threads of treeinf and of all peers")
    add("--quick", action="store_true", help="20,000 rows and 3 turns")
    add("--out", type=Path, default=Path("build/bench"), help="folder of the run")
    add("--resume", action="store_true", help="go on with the run in the folder")
    add("--force", action="store_true", help="measure again what is in the folder")
    add("--quiet", action="store_true", help="no progress")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
