"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import ast
import csv
import json
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from treeinf.cli.exits import CommandError

if TYPE_CHECKING:
    from treeinf.cleaning import Amount

__all__ = [
    "FROM_ESTIMATOR",
    "DropColumns",
    "EscapeFormulas",
    "Force",
    "Jobs",
    "Json",
    "LearnColumns",
    "Library",
    "Parameters",
    "Quiet",
    "Seed",
    "Target",
    "Task",
    "Time",
    "Train",
    "Weight",
    "parse_amount",
    "parse_parameters",
    "split_names",
    "with_defaults_of",
]

Library = Literal["lightgbm", "xgboost", "catboost", "sklearn"]
"""Libraries to train with; scikit-learn's is HistGradientBoosting."""

Train = Annotated[
    Path, typer.Argument(metavar="TRAIN", help="Training rows, CSV or Parquet.")
]
Target = Annotated[str, typer.Option("--target", "-y", help="Column to predict.")]
Weight = Annotated[
    str | None, typer.Option("--weight", "-w", help="Column of sample weights.")
]
Groups = Annotated[
    str | None,
    typer.Option(
        "--groups",
        help="Column of groups, such as patients: no row is scored or judged by models "
        "that have seen its group. It is no feature, but for --learn-groups.",
    ),
]
LearnGroups = Annotated[
    bool,
    typer.Option("--learn-groups", help="Use the column of groups as a feature, too."),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        help="Column of times or dates: no row is scored or judged by later rows. It "
        "is no feature, but for --learn-columns.",
    ),
]
JoinEqualRows = Annotated[
    bool,
    typer.Option(
        "--join-equal-rows/--no-join-equal-rows",
        help="Treat rows as one group that are equal, or as good as equal.",
    ),
]
DropColumns = Annotated[
    str,
    typer.Option(
        "--drop-columns", help='Columns to leave out of the features: a,b,"c, d".'
    ),
]
LearnColumns = Annotated[
    str,
    typer.Option(
        "--learn-columns",
        help="Columns to use as features though they seem to name the rows, or hold "
        "texts of which most differ: a,b. Such columns are left out of the features by "
        "default, never of the files written.",
    ),
]
EscapeFormulas = Annotated[
    bool | None,
    typer.Option(
        "--escape-formulas/--no-escape-formulas",
        help="Put ' before texts in CSV files that a spreadsheet would run as "
        "formulas: those that begin with = + - @. By default not in --out of clean "
        "and select, which is to be trained on.",
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "--parameters",
        metavar="NAME=VALUE|FILE.json",
        help="Parameter that the model file was trained with, such as eta=0.1, or a "
        "JSON file of them; may be repeated.",
    ),
]
Task = Annotated[
    Literal["auto", "classification", "regression"],
    typer.Option("--task", help="Kind of model; auto infers it from the target."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Random seed.")]


def _check_jobs(value: int | None) -> int | None:
    if value is not None and value != -1 and value < 1:
        raise typer.BadParameter(f"got {value}; expected a positive number, or -1.")
    return value


Jobs = Annotated[
    int | None,
    typer.Option(
        "--n-jobs",
        callback=_check_jobs,
        help="Number of threads; all cores by default.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Replace output files that exist.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")
]

FROM_ESTIMATOR: Any = object()
"""Placeholder for a default that `with_defaults_of` reads from an estimator."""


def with_defaults_of(file: str, estimator: str) -> type[TyperCommand]:
    """Return a command class that takes defaults from an estimator's signature.

    The signature is read from the source, because importing it takes two seconds.

    Parameters
    ----------
    file : str
        The estimator's module, relative to the package.
    estimator : str
        Name of its class. Options whose default is FROM_ESTIMATOR take that of the
        keyword parameter of the same name.
    """

    class Command(TyperCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            options = super().get_params(ctx)
            missing = [item for item in options if item.default is FROM_ESTIMATOR]
            if missing:
                defaults = _read_defaults(file, estimator)
            for option in missing:
                option.default = defaults[option.name]
            return options

    return Command


def _read_defaults(file: str, estimator: str) -> dict[str, Any]:
    """Return the keyword parameters' defaults of a class, without importing it."""
    module = ast.parse(pkgutil.get_data("treeinf", file) or b"")
    class_: Any = next(node for node in module.body if _is_named(node, estimator))
    init: Any = next(node for node in class_.body if _is_named(node, "__init__")).args
    return {
        parameter.arg: ast.literal_eval(default)
        for parameter, default in zip(init.kwonlyargs, init.kw_defaults, strict=True)
        if default is not None
    }


def _is_named(node: Any, name: str) -> bool:
    return getattr(node, "name", None) == name


def split_names(text: str) -> Sequence[str]:
    """Split names separated by commas; a name with a comma stands in quotes."""
    return [name for name in next(csv.reader([text]), []) if name]


def parse_parameters(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """Read training parameters, given one by one or as files of JSON.

    Raises
    ------
    CommandError
        If one is neither.
    """
    parameters: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        path = Path(text)
        if equals and not path.is_file():
            try:
                parameters[name.strip()] = json.loads(value)
            except ValueError:
                parameters[name.strip()] = value
            continue
        expected = "NAME=VALUE, such as eta=0.1, or a JSON file of an object"
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CommandError(
                f"Got --parameter {text!r} ({error}); expected {expected}.", code=2
            ) from error
        if not isinstance(content, dict):
            raise CommandError(
                f"Got --parameter {text!r}, whose JSON is a {type(content).__name__}; "
                f"expected {expected}.",
                code=2,
            )
        parameters |= content
    return parameters or None


def parse_amount(text: str, option: str) -> Amount:
    """Read an amount of rows.

    Raises
    ------
    CommandError
        If it is not an amount; the message names the option.
    """
    from treeinf.cleaning import Amount

    try:
        return Amount.parse(text)
    except ValueError as error:
        message = str(error).replace("Got amount", f"Got {option}")
        raise CommandError(message, code=2) from None
