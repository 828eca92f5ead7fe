"""Exit codes, and user errors printed as one line on stderr."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from treeinf.cli.advice import as_options
from treeinf.errors import TrainingDataMismatchError, TreeinfError

__all__ = ["EPILOG", "CommandError", "ends_cleanly", "need_pyarrow", "show_warnings"]

DONE = 0
USER_ERROR = 1
USAGE = 2
MISMATCH = 3
LIMIT_REACHED = 4
INTERRUPTED = 130

EPILOG = (
    "Exit codes: 0 done, even if no row was worth cleaning; 1 invalid table, model or "
    "file, explained in one line on stderr; 2 invalid options; 3 the model was not "
    "trained on these rows; 4 the limit of --fail-on was reached; 130 interrupted. "
    "Output files are written whole or not at all. Rows are counted from 0, without "
    "the header. Set TREEINF_TRACEBACK=1 to see the traceback of an error."
)


class CommandError(Exception):
    """An error that the user can fix; only its message is printed.

    Parameters
    ----------
    message : str
        What was passed, what was expected, and how to fix it.
    code : int, default=1
        Exit code.
    """

    def __init__(self, message: str, code: int = USER_ERROR) -> None:
        super().__init__(message)
        self.code = code


def ends_cleanly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command end with an exit code instead of a traceback.

    Parameters
    ----------
    command : callable
        Function of a subcommand.

    Returns
    -------
    callable
        The same function for typer.
    """
    import typer

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with show_warnings():
                command(*args, **kwargs)
        except typer.Exit:
            raise
        except KeyboardInterrupt:
            print("Interrupted; nothing was written.", file=sys.stderr, flush=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # the reader of stdout has gone, as in `treeinf ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(USER_ERROR) from None
        except Exception as error:
            code = _code_of(error)
            if code is None or os.environ.get("TREEINF_TRACEBACK"):
                raise
            print(f"Error: {_one_line(error)}", file=sys.stderr, flush=True)
            raise typer.Exit(code) from None

    return run


def _code_of(error: Exception) -> int | None:
    """Return the exit code of an error, or None for a bug in treeinf."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, TrainingDataMismatchError):
        return MISMATCH
    # the package raises the first three for arguments; the others depend on the machine
    kinds = (TreeinfError, ValueError, TypeError, OSError, ImportError, MemoryError)
    is_lightgbm = type(error).__name__ == "LightGBMError"
    return USER_ERROR if isinstance(error, kinds) or is_lightgbm else None


def _one_line(error: Exception) -> str:
    return as_options(" ".join(str(error).split())) or type(error).__name__


def need_pyarrow(path: Path) -> None:
    """Refuse a Parquet file where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        raise CommandError(
            f"{path} is Parquet, which needs pyarrow; pip install 'treeinf[parquet]'."
        )


@contextlib.contextmanager
def show_warnings(stream: TextIO | None = None) -> Iterator[None]:
    """Show each warning once and as one line, without the source it came from."""
    shown: set[str] = set()

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        line = f"Warning: {as_options(' '.join(str(message).split()))}"
        if line not in shown:
            shown.add(line)
            print(line, file=stream or sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
