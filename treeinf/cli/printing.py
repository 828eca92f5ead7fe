"""Print results: text and tables for people, or one JSON object for programs."""

from __future__ import annotations

import functools
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Printer"]


class Printer:
    """Print for people, for programs, or not at all.

    Parameters
    ----------
    as_json : bool, default=False
        Keep quiet until `finish`, then print one JSON object.
    quiet : bool, default=False
        Print nothing but errors and warnings, and JSON if `as_json`.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        from rich.console import Console

        self.as_json = as_json
        self.quiet = quiet
        self._is_silent = as_json or quiet
        self._console = Console(highlight=False, soft_wrap=True)
        if not quiet:
            _show_log()

    @property
    def shows_progress(self) -> bool:
        """Whether to show progress bars: stderr is a terminal."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """Print a paragraph."""
        if not self._is_silent:
            self._console.print(text, markup=False)

    def facts(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Print names and texts in two columns."""
        rows = list(pairs)
        width = max((len(name) for name, _ in rows), default=0) + 2
        for name, text in rows:
            first, *more = str(text).splitlines() or [""]
            self.say(f"{name:<{width}}{first}")
            for line in more:
                self.say(" " * width + line)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = ""
    ) -> None:
        """Print a table; all columns but the first are right-aligned."""
        if self._is_silent:
            return
        from rich.table import Table
        from rich.text import Text

        if title:
            self._console.print(Text(title, style="bold"))
        table = Table()
        for number, name in enumerate(columns):
            table.add_column(Text(name), justify="right" if number else "left")
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row))
        self._console.print(table, soft_wrap=False)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Print the result as JSON if `as_json`."""
        from treeinf.files import to_plain

        if self.as_json:
            print(json.dumps(to_plain(result), indent=2))


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


@functools.cache
def _show_log() -> None:
    """Print the package's log on stderr, such as that kernels are compiled."""
    logger = logging.getLogger("treeinf")
    logger.addHandler(_ToStderr())
    logger.setLevel(logging.INFO)
