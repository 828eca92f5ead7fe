"""Print results: text and tables for people, or one JSON object for programs."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Printer", "announce_compilation"]


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
            announce_compilation()

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


@functools.cache
def announce_compilation() -> None:
    """Print a line on stderr when the first kernel is compiled, which takes a while."""
    if "numba" not in sys.modules:
        return  # a command that has no kernels
    from numba.core import caching, event

    class Announcement(event.Listener):
        is_due = True

        def on_start(self, event: Any) -> None:
            cache = getattr(event.data.get("dispatcher"), "_cache", None)
            if self.is_due and isinstance(cache, caching.FunctionCache):
                self.is_due = False
                text = "Compiling kernels, once per machine; this may take minutes ..."
                print(text, file=sys.stderr, flush=True)

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())
