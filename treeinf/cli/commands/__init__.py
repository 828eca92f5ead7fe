"""Commands of `treeinf`, one module each."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from treeinf.cli.commands.bench import bench
from treeinf.cli.commands.clean import clean
from treeinf.cli.commands.data import data_app
from treeinf.cli.commands.demo import demo
from treeinf.cli.commands.evaluate import evaluate
from treeinf.cli.commands.explain import explain
from treeinf.cli.commands.inspect import inspect
from treeinf.cli.commands.select import select
from treeinf.cli.exits import EPILOG, ends_cleanly
from treeinf.cli.options import with_defaults_of

__all__ = ["app"]

# Commands import these when they run; report a missing one at once.
for _name in ("pandas", "rich"):
    if importlib.util.find_spec(_name) is None:
        raise ModuleNotFoundError(f"No module named {_name!r}", name=_name)

_SUMMARY = "Find the training rows behind a tree ensemble's predictions and errors."

app = typer.Typer(
    name="treeinf",
    help=_SUMMARY,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        import treeinf

        print(f"treeinf {treeinf.__version__}")
        raise typer.Exit


@app.callback(help=_SUMMARY)
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    pass


app.command(epilog=EPILOG)(ends_cleanly(demo))
app.command(epilog=EPILOG)(ends_cleanly(explain))
app.command(epilog=EPILOG)(ends_cleanly(inspect))
app.command(
    epilog=EPILOG, cls=with_defaults_of("cleaning/cleaner.py", "InfluenceCleaner")
)(ends_cleanly(clean))
app.command(
    epilog=EPILOG, cls=with_defaults_of("cleaning/selector.py", "InfluenceSelector")
)(ends_cleanly(select))
app.command(epilog=EPILOG)(ends_cleanly(evaluate))
app.command(epilog=EPILOG)(ends_cleanly(bench))
app.add_typer(data_app)
