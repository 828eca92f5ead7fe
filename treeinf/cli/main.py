"""Entry point of the command `treeinf`."""

from __future__ import annotations

import signal
import sys

__all__ = ["run"]

_NEEDED = {"click", "pandas", "rich", "typer"}


def run() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from treeinf.cli.commands import app
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(
            f"treeinf's command line needs {error.name}, which is not installed: "
            "pip install 'treeinf[cli]'",
            file=sys.stderr,
        )
        sys.exit(1)
    # treat SIGTERM like Ctrl-C, so that temporary files are removed
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app(prog_name="treeinf")
