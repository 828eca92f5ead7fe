"""`treeinf bench`: measure the speed table, and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from treeinf.cli.exits import DONE, INTERRUPTED, USER_ERROR, CommandError
from treeinf.cli.printing import Printer

__all__ = ["bench", "run_bench_command"]

_FOLDER = Path("treeinf-bench")
_QUICK_ROWS = 20_000
_QUICK_REPEATS = 3


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="What to measure, a,b,c: routing, totals, checks, memory, explain, "
            "top_k, latency, deep, recursion, refit, catboost, trex, growth, reading, "
            "startup.",
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            min=1,
            help="Train rows of the large cases, 500,000 by default; fewer make all "
            "sizes smaller, and targets are then not judged.",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option("--repeats", min=1, help="Turns of each operation, 5 by default."),
    ] = None,
    n_jobs: Annotated[
        int,
        typer.Option("--n-jobs", min=1, help="Threads of treeinf and of all peers."),
    ] = 2,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="20,000 rows and 3 turns: a minute or two."),
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = _FOLDER,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what lies in the folder.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Measure anew what lies in the folder.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
    ] = False,
) -> None:
    """Measure treeinf's speed beside that of LightGBM, XGBoost, CatBoost and SciPy."""
    if rows is None:
        rows = _QUICK_ROWS if quick else 500_000
    if repeats is None:
        repeats = _QUICK_REPEATS if quick else 5
    code = run_bench_command(
        Printer(as_json=json, quiet=quiet),
        only=[name for given in only or [] for name in given.split(",") if name],
        n_rows=rows,
        repeats=repeats,
        n_jobs=n_jobs,
        out=out,
        resume=resume,
        force=force,
    )
    if code:
        raise typer.Exit(code)


def run_bench_command(
    printer: Printer,
    *,
    only: list[str],
    n_rows: int,
    repeats: int,
    n_jobs: int,
    out: Path,
    resume: bool,
    force: bool,
) -> int:
    """Measure, store, and print the table.

    Parameters
    ----------
    printer : Printer
        Where to say it.
    only, out, resume, force
        See `benchmarks.speed.run_bench`.
    n_rows, repeats, n_jobs : int
        See `benchmarks.speed.Bench`.

    Returns
    -------
    int
        Exit code: 1 if a group failed.

    Raises
    ------
    CommandError
        If the folder is at fault, or the run was interrupted.
    """
    from benchmarks.speed import Bench, run_bench, write_report
    from benchmarks.speed.report import describe, list_lines
    from benchmarks.speed.runner import FAILED, FILE, GROUPS

    try:
        record = run_bench(
            Bench(n_rows=n_rows, repeats=repeats, n_jobs=n_jobs),
            out,
            only=only,
            resume=resume,
            force=force,
            verbose=not printer.quiet,
        )
    except FileExistsError as error:
        raise CommandError(f"{error} Pass --resume, --force or --out.") from error
    except KeyboardInterrupt:
        if (out / FILE).exists():
            write_report(out)
        raise CommandError(
            f"Interrupted; what ended is in {out}, and --resume goes on.", INTERRUPTED
        ) from None
    written = write_report(out)
    printer.say(describe(record))
    lines = list_lines(record)
    printer.table(
        ["work", "measured", "to reach", "against"],
        [
            (f"{work} ({size})" if size else work, measured, reach, peer)
            for work, size, measured, reach, _, peer, _ in lines
        ],
    )
    has_failed = False
    for name, group in record["groups"].items():
        if group["reason"]:
            printer.say(f"{GROUPS[name].title}: {group['status']}: {group['reason']}")
        has_failed |= group["status"] == FAILED
    files = {name: str(path) for name, path in written.items()}
    printer.facts([("result", str(out / FILE)), *files.items()])
    printer.finish({"command": "bench", "out": str(out), "files": files, **record})
    return USER_ERROR if has_failed else DONE
