"""`treeinf evaluate`: run a suite cell by cell, and report on it."""

from __future__ import annotations

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
            help="What to run; or the word report, to write the report of a run anew.",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The run to report on, after report."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the run; evaluation/SUITE by default."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with what is stored in the folder."),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Condition on data, library, measure, method, seed: "
            "\"library == 'xgboost' and seed < 2\".",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="After report: beginning of the names of the files to write instead, "
            "such as results/evaluation: Markdown, pictures, and the figures as "
            "Parquet.",
        ),
    ] = None,
    n_jobs: Annotated[
        int | None,
        typer.Option(
            "--n-jobs", help="Cells at a time, each of one thread; one a core."
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
                "treeinf evaluate report DIR: which run? Name its folder."
            )
        run_report(folder, printer, to=to)
        return
    if to is not None:
        raise CommandError(
            "--to is for treeinf evaluate report DIR. The folder of a run is --out."
        )
    if folder is not None:
        raise CommandError(
            f"Got {suite} and {folder}; expected one suite. The folder of the run is "
            "--out."
        )
    code = run_evaluate(
        Path(suite), printer, out=out, resume=resume, only=only, n_jobs=n_jobs
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
    n_jobs: int | None = None,
) -> int:
    """Run a suite and write its report.

    Parameters
    ----------
    suite_file : pathlib.Path
        TOML file.
    printer : Printer
        Where to say it.
    out : pathlib.Path, optional
        Folder of the run; by default ``evaluation/NAME`` where the command runs.
    resume : bool
        Go on with the cells that lie there.
    only : str, optional
        Condition on cells.
    n_jobs : int, optional
        Cells at a time.

    Returns
    -------
    int
        Exit code: 1 if cells failed.

    Raises
    ------
    CommandError
        If the suite or the folder is at fault.
    """
    from treeinf.evaluation.run import run_suite
    from treeinf.evaluation.suite import read_suite

    if not suite_file.is_file():
        raise CommandError(
            f"There is no suite {suite_file}. To report on a run: treeinf evaluate "
            "report DIR."
        )
    suite = read_suite(suite_file)
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
            f"Interrupted; the cells that ended are in {folder}, and --resume goes on.",
            INTERRUPTED,
        ) from None
    printer.facts([(name, f"{count:,} cells") for name, count in counts.items()])
    _say_trouble(folder, printer)
    files = _report(folder, printer)
    printer.finish({"command": "evaluate", "out": str(folder), **counts, **files})
    return USER_ERROR if counts["failed"] else DONE


def run_report(folder: Path, printer: Printer, *, to: Path | None = None) -> int:
    """Write the report of a run.

    Parameters
    ----------
    folder : pathlib.Path
        Of the run.
    printer : Printer
        Where to say it.
    to : pathlib.Path, optional
        Beginning of the names of the files, in place of report in the folder.

    Returns
    -------
    int
        Exit code.
    """
    files = _report(folder, printer, to)
    printer.finish({"command": "evaluate report", "out": str(folder), **files})
    return DONE


def _say_trouble(folder: Path, printer: Printer) -> None:
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
        printer.say(f"No cell of {folder} is done; there is nothing to report.")
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
