"""Options that describe how CSV files are written, shared by commands on tables."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from treeinf.cli.exits import CommandError

__all__ = ["TableFormat", "takes_table_format"]

_MISSING = (
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
    "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that pandas reads as missing values."""


@dataclasses.dataclass(frozen=True)
class TableFormat:
    """How CSV files are written; None for what is found in each file.

    Parameters
    ----------
    separator, decimal, thousands, encoding : str or None
        Delimiter, decimal mark, mark between groups of three digits, and encoding.
    na_values : tuple of str or None
        Texts that mean a missing value, beside empty ones; None for those that pandas
        reads as missing.
    date_order : {"dmy", "mdy", "ymd"} or None
        Order of day, month and year, where dates leave it open.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    na_values: tuple[str, ...] | None = None
    date_order: str | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Texts that mean a missing value."""
        return ("", *(_MISSING if self.na_values is None else self.na_values))


_PANEL = "CSV files (what is certain is found without these)"


def _options(
    sep: Annotated[
        str | None,
        typer.Option(
            "--sep",
            help="Separator between values: one sign, or tab.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    decimal: Annotated[
        Literal[".", ","] | None,
        typer.Option("--decimal", help="Decimal mark.", rich_help_panel=_PANEL),
    ] = None,
    thousands: Annotated[
        Literal[".", ",", " ", "'"] | None,
        typer.Option(
            "--thousands",
            help="Mark between groups of three digits.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            help="Encoding, such as cp1252; UTF-8 by default, or what the file's mark "
            "names.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    na_values: Annotated[
        str | None,
        typer.Option(
            "--na-values",
            help="Texts that mean a missing value, in place of NA, None, null, nan, "
            'N/A and their like: -,? or "" for none. Empty cells always do.',
            rich_help_panel=_PANEL,
        ),
    ] = None,
    date_order: Annotated[
        Literal["dmy", "mdy", "ymd"] | None,
        typer.Option(
            "--date-order",
            help="Order of day, month and year in dates such as 01/02/2020, where a "
            "column leaves it open.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> TableFormat:
    """Check the options."""
    if sep is not None:
        sep = {"tab": "\t", "\\t": "\t", "space": " "}.get(sep, sep)
        if len(sep) != 1 or sep in '\r\n"':
            raise CommandError(f"Got --sep {sep!r}; expected one sign, or tab.", code=2)
    if decimal is not None and decimal == thousands:
        raise CommandError(
            f"Got {decimal!r} for both --decimal and --thousands.", code=2
        )
    if encoding is not None:
        try:
            b"ab".decode(encoding)
        except UnicodeError:
            pass
        except LookupError:
            raise CommandError(
                f"Got --encoding {encoding!r}; expected one that Python knows, such as "
                "cp1252, latin-1 or utf-16.",
                code=2,
            ) from None
    names = None if na_values is None else tuple(na_values.split(","))
    return TableFormat(sep, decimal, thousands, encoding, names, date_order)


def takes_table_format(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of CSV files to a command, passed as one `TableFormat`.

    Parameters
    ----------
    command : callable
        Function of a subcommand, with a parameter `table_format`.
    """
    shared = inspect.signature(_options, eval_str=True).parameters
    signature = inspect.signature(command, eval_str=True)
    merged: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        merged += shared.values() if name == "table_format" else [parameter]

    @functools.wraps(command)
    def run(**options: Any) -> Any:
        table_format = _options(**{name: options.pop(name) for name in shared})
        return command(**options, table_format=table_format)

    run.__signature__ = signature.replace(parameters=merged)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in merged}
    return run
