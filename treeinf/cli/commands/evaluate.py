"""`treeinf evaluate`: run the cells of a suite and write a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from treeinf.cli import options
from treeinf.cli.exits import DONE, INTERRUPTED, USER_ERROR, CommandError
from treeinf.cli.printing import Printer

__all__ = ["evaluate", "run_evaluate", "run_report"]


def evaluate(
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE.toml | report",
            help="Suite to run; or `report`, to write the report of an earlier run "
            "again.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Folder of the run, with `report`."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for the results; evaluation/SUITE by default."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the run stored in the folder."),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Run only cells that meet a condition on data, library, measure, "
            "method, seed: \"library == 'xgboost' and seed < 2\".",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            metavar="COLUMN",
            help="Column of groups, such as patients, in every data set of the suite: "
            "groups are split, removed and corrupted as a whole. To name one for each "
            "data set, write them to [groups] in the suite.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="With `report`: path prefix of the files to write, such as "
            "results/evaluation: Markdown, pictures, and the numbers as Parquet.",
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option(
            "--n-jobs",
            help="Cells that run in parallel, one thread each; by default one per "
            "core.",
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure methods on data sets, libraries and seeds; rank them in a report."""
    printer = Printer(as_json=json, quiet=quiet)
    if suite == "report":
        if folder is None:
            raise CommandError(
                "treeinf evaluate report needs DIR, the folder of a run.", code=2
            )
        run_report(folder, printer, to=to)
        return
    if to is not None:
        raise CommandError(
            "--to needs treeinf evaluate report DIR; to name the folder of a run, pass "
            "--out.",
            code=2,
        )
    if folder is not None:
        raise CommandError(
            f"Got {suite} and {folder}; expected one suite; to name the folder of "
            "the run, pass --out.",
            code=2,
        )
    code = run_evaluate(
        Path(suite),
        printer,
        out=out,
        resume=resume,
        only=only,
        groups=groups,
        n_jobs=n_jobs,
    )
    if code:
        raise typer.Exit(code)


def run_evaluate(
    suite_file: Path,
    printer: Printer,
    *,
    out: Path | None = None,
    resume: bool = False,
    only: str | None = None,
    groups: str | None = None,
    n_jobs: int | None = None,
) -> int:
    """Run a suite and write its report.

    Parameters
    ----------
    suite_file : pathlib.Path
        TOML file.
    printer : Printer
        Prints the result.
    out : pathlib.Path, optional
        Folder of the run; by default ``evaluation/NAME`` below the working directory.
    resume : bool
        Skip cells that the folder already holds.
    only : str, optional
        Condition that selects cells.
    groups : str, optional
        Column of groups in every data set, in place of those of the suite.
    n_jobs : int, optional
        Number of cells that run in parallel.

    Returns
    -------
    int
        Exit code: 1 if cells failed.

    Raises
    ------
    CommandError
        If the suite or the folder is invalid.
    """
    from treeinf.evaluation.run import run_suite
    from treeinf.evaluation.suite import read_suite

    if not suite_file.is_file():
        raise CommandError(
            f"The suite {suite_file} does not exist. To report on a run: treeinf "
            "evaluate report DIR."
        )
    suite = read_suite(suite_file)
    if groups is not None:
        suite = dataclasses.replace(suite, groups=dict.fromkeys(suite.data, groups))
    folder = Path("evaluation") / suite.name if out is None else out
    try:
        counts = run_suite(
            suite,
            folder,
            resume=resume,
            only=only,
            n_jobs=n_jobs,
            verbose=not printer.quiet,
        )
    except FileExistsError as error:
        raise CommandError(f"{error} Pass --resume, or another --out.") from error
    except KeyboardInterrupt:
        raise CommandError(
            f"Interrupted; finished cells are in {folder}; continue with --resume.",
            INTERRUPTED,
        ) from None
    printer.facts([(name, f"{count:,} cells") for name, count in counts.items()])
    _print_failures(folder, printer)
    files = _report(folder, printer)
    printer.finish({"command": "evaluate", "out": str(folder), **counts, **files})
    return USER_ERROR if counts["failed"] else DONE


def run_report(folder: Path, printer: Printer, *, to: Path | None = None) -> int:
    """Write the report of a run.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the run.
    printer : Printer
        Prints the result.
    to : pathlib.Path, optional
        Path prefix of the files to write, in place of ``folder/report``.

    Returns
    -------
    int
        Exit code.
    """
    files = _report(folder, printer, to)
    printer.finish({"command": "evaluate report", "out": str(folder), **files})
    return DONE


def _print_failures(folder: Path, printer: Printer) -> None:
    from treeinf.evaluation.run import read_outcomes

    outcomes = read_outcomes(folder)
    failed = outcomes[outcomes["status"] == "failed"]
    for reason, n_cells in failed["reason"].value_counts().head(5).items():
        printer.say(f"failed in {n_cells:,} cells: {reason}")


def _report(folder: Path, printer: Printer, to: Path | None = None) -> dict[str, str]:
    """Write the files, print the ranks."""
    from treeinf.evaluation.ranking import rank_run
    from treeinf.evaluation.run import read_outcomes
    from treeinf.reports.evaluation import write_evaluation_report

    outcomes = read_outcomes(folder)
    if not (outcomes["status"] == "done").any():
        printer.say(f"No cell of {folder} is done, so no report is written.")
        return {}
    written = write_evaluation_report(folder, to)
    # thousands of cells take a while to read, and a silent printer shows no ranks
    is_shown = not (printer.quiet or printer.as_json)
    for measure in outcomes["measure"].drop_duplicates() if is_shown else ():
        ranking = rank_run(folder, measure)
        if ranking is None:
            continue
        printer.table(
            ["method", "average rank", "95 % interval"],
            [
                [
                    line.method,
                    f"{line.rank:.2f}",
                    f"{line.rank_low:.2f} to {line.rank_high:.2f}",
                ]
                for line in ranking.lines.itertuples()
            ],
            title=f"{measure}: {ranking.n_cells} cells, {ranking.n_data} data sets",
        )
    kinds = ("markdown", "html", "figures")
    files = {name: str(written[name]) for name in kinds if name in written}
    printer.facts(list(files.items()))
    return files
