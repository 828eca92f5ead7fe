"""`treeinf data`: list, describe, fetch and check data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from treeinf.cli import options
from treeinf.cli.exits import EPILOG, CommandError, ends_cleanly
from treeinf.cli.printing import Printer

if TYPE_CHECKING:
    from treeinf.datasets import Entry

__all__ = ["data_app"]

_AVAILABLE = ("scikit-learn", "data home")

data_app = typer.Typer(
    name="data",
    help="List, describe, fetch and check data sets.",
    epilog=EPILOG,
    no_args_is_help=True,
)

Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Data folder; by default the one that TREEINF_DATA names."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set.")]


def _read_entries(home: Path | None) -> tuple[Path, dict[str, Entry]]:
    """Return the data home and all data sets."""
    from treeinf.datasets import data_home
    from treeinf.datasets.manifest import read_all_entries

    if home is not None and not home.is_dir():
        raise CommandError(f"--home: {home} is not a folder.")
    folder = data_home() if home is None else home
    return folder, read_all_entries(folder)


def _location(entry: Entry, home: Path) -> str:
    """Return where a data set is, or how to get it."""
    from treeinf.datasets.fetch import is_available

    if entry.sklearn is not None:
        return "scikit-learn"
    if is_available(entry, home):
        return "data home"
    files = entry.tables
    if files and all(file.can_fetch for file in files):
        return "to fetch"
    return "by hand" if files else "not public"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


@data_app.command("list", epilog=EPILOG)
@ends_cleanly
def list_sets(
    home: Home = None,
    available: Annotated[
        bool, typer.Option("--available", help="List only data sets that load offline.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the data sets with their task, their size and where they are."""
    folder, entries = _read_entries(home)
    printer = Printer(as_json=json, quiet=quiet)
    located = {
        name: (entry, _location(entry, folder)) for name, entry in entries.items()
    }
    if available:
        located = {
            name: pair for name, pair in located.items() if pair[1] in _AVAILABLE
        }
    printer.table(
        ["name", "task", "rows", "columns", "paper", "where"],
        [
            (
                name,
                entry.task,
                _count(entry.rows),
                _count(entry.features),
                "yes" if entry.in_paper else "",
                where,
            )
            for name, (entry, where) in located.items()
        ],
        title=f"Data sets; data home {folder}",
    )
    printer.say(
        "To fetch: `treeinf data fetch NAME`. By hand: see `treeinf data show NAME`. "
        "Paper: one of the 22 data sets of Brophy et al. (2023)."
    )
    printer.finish(
        {
            "command": "data list",
            "home": str(folder),
            "sets": [
                {
                    "name": name,
                    "title": entry.title,
                    "task": entry.task,
                    "rows": entry.rows,
                    "features": entry.features,
                    "in_paper": entry.in_paper,
                    "where": where,
                }
                for name, (entry, where) in located.items()
            ],
        }
    )


@data_app.command("show", epilog=EPILOG)
@ends_cleanly
def show(name: Name, home: Home = None, json: options.Json = False) -> None:
    """Describe a data set: task, columns, files, source, licence, citation."""
    from treeinf.datasets.fetch import find_file, how_to_get
    from treeinf.datasets.manifest import find_entry

    folder, entries = _read_entries(home)
    printer = Printer(as_json=json)
    entry = find_entry(name, entries, f"treeinf and {folder}")
    where = _location(entry, folder)
    facts = [
        ("name", f"{entry.name} ({entry.title})" if entry.title else entry.name),
        ("task", entry.task),
        ("rows", _count(entry.rows)),
        ("columns", _count(entry.features)),
        ("target", str(entry.target)),
        ("positive", ", ".join(str(value) for value in entry.positive)),
        ("categories", ", ".join(entry.categorical or ())),
        ("dropped", ", ".join(entry.drop)),
        ("splits", ", ".join(entry.split_kinds)),
        ("in the paper", "yes" if entry.in_paper else "no"),
        ("where", where),
        ("source", entry.source),
        ("licence", entry.licence),
        (
            "may redistribute",
            "yes" if entry.redistribute else "no: read the terms first",
        ),
        ("cite", entry.citation),
        ("remarks", entry.remarks),
    ]
    files = []
    for file in entry.files:
        path = find_file(file, folder)
        facts.append(("file", f"{file.path}{'' if path else ' (missing)'}"))
        facts.append(("  sha256", file.sha256 or file.packed_sha256 or "not known"))
        files.append(
            {
                "path": file.path,
                "found": None if path is None else str(path),
                "rows": file.rows,
                "sha256": file.sha256 or file.packed_sha256,
                "origin": file.origin if file.can_fetch else None,
            }
        )
    how = "" if where in _AVAILABLE else how_to_get(entry, folder)
    facts.append(("to get it", how))
    printer.facts((fact, text) for fact, text in facts if text)
    printer.finish(
        {
            "command": "data show",
            "name": entry.name,
            "title": entry.title,
            "task": entry.task,
            "rows": entry.rows,
            "features": entry.features,
            "target": entry.target,
            "positive": entry.positive,
            "categorical": entry.categorical,
            "drop": entry.drop,
            "splits": entry.split_kinds,
            "in_paper": entry.in_paper,
            "where": where,
            "source": entry.source,
            "licence": entry.licence,
            "redistribute": entry.redistribute,
            "citation": entry.citation,
            "remarks": entry.remarks,
            "how_to_get": how,
            "files": files,
        }
    )


@data_app.command("fetch", epilog=EPILOG)
@ends_cleanly
def fetch_set(
    name: Name,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Data folder; created if missing."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Refuse a file with another sha256."),
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Download files again that exist.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Download the files of a data set into the data home, and verify them."""
    from treeinf.datasets import data_home, describe, fetch

    folder = data_home() if home is None else home
    printer = Printer(as_json=json, quiet=quiet)
    entry = describe(name)
    fetched = fetch(
        name,
        home=folder,
        verify=verify,
        overwrite=force,
        verbose=printer.shows_progress,
    )
    for item in fetched:
        state = "verified" if item.is_verified else "no known sha256 to compare with"
        printer.say(f"{item.path}: {state}, from {item.origin}")
    if entry.sklearn is not None:
        printer.say(f"{name} ships with scikit-learn; there is nothing to fetch.")
    elif not fetched:
        printer.say(f"All files of {name} are in {folder} already.")
    if entry.licence:
        printer.say(f"Licence: {entry.licence}. {entry.source}")
    printer.finish(
        {
            "command": "data fetch",
            "name": name,
            "home": str(folder),
            "licence": entry.licence,
            "fetched": [
                {
                    "path": str(item.path),
                    "origin": item.origin,
                    "sha256": item.sha256,
                    "is_verified": item.is_verified,
                }
                for item in fetched
            ],
        }
    )


@data_app.command("check", epilog=EPILOG)
@ends_cleanly
def check_sets(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="Data sets; by default all in the data folder."
        ),
    ] = None,
    home: Home = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Verify sha256, rows and columns of the data sets in the data home."""
    from treeinf.datasets import check

    folder, entries = _read_entries(home)
    printer = Printer(as_json=json, quiet=quiet)
    in_home = [
        name
        for name, entry in entries.items()
        if _location(entry, folder) == "data home"
    ]
    states = [check(name, home=folder) for name in names or in_home]
    printer.table(
        ["name", "rows", "columns", "files"],
        [
            (state.name, _count(state.rows), _count(state.features), state.verdict)
            for state in states
        ],
        title=f"Data home {folder}",
    )
    if not states:
        printer.say("No data set found; `treeinf data list` lists all.")
    for state in states:
        if state.message:
            printer.say(f"{state.name}: {state.message}")
    printer.finish(
        {
            "command": "data check",
            "home": str(folder),
            "sets": [
                {
                    "name": state.name,
                    "verdict": state.verdict,
                    "rows": state.rows,
                    "features": state.features,
                    "message": state.message,
                }
                for state in states
            ],
        }
    )
    bad = [state.name for state in states if state.verdict in ("changed", "missing")]
    if bad:
        raise CommandError(
            f"{', '.join(bad)}: files are missing or differ; see `treeinf data show`."
        )
