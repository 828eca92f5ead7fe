"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import inspect
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
    "Force",
    "Jobs",
    "Json",
    "Library",
    "Quiet",
    "Seed",
    "Target",
    "Task",
    "Train",
    "Weight",
    "parse_amount",
    "parse_validation",
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
DropColumns = Annotated[
    str,
    typer.Option("--drop-columns", help="Columns to leave out of the features: a,b,c."),
]
Task = Annotated[
    Literal["auto", "classification", "regression"],
    typer.Option("--task", help="Kind of model; auto infers it from the target."),
]
Seed = Annotated[int, typer.Option("--seed", help="Random seed.")]
Jobs = Annotated[
    int | None,
    typer.Option("--n-jobs", help="Number of threads; all cores by default."),
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

FROM_ESTIMATOR: Any = None
"""Placeholder for a default that `with_defaults_of` reads from an estimator."""


def with_defaults_of(estimator: str) -> type[TyperCommand]:
    """Return a command class that takes defaults from an estimator's signature.

    The estimator is imported only when the command runs or shows its help.

    Parameters
    ----------
    estimator : str
        Public name of its class in treeinf. Options without a default take that of
        the parameter of the same name.
    """

    class Command(TyperCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            import treeinf

            parameters = inspect.signature(getattr(treeinf, estimator)).parameters
            options = super().get_params(ctx)
            for option in options:
                if option.default is FROM_ESTIMATOR and option.name in parameters:
                    option.default = parameters[option.name].default
            return options

    return Command


def split_names(text: str) -> Sequence[str]:
    """Split names separated by commas."""
    return [name for name in text.split(",") if name]


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


def parse_validation(text: str) -> tuple[int | float | None, Path | None]:
    """Read a number of folds, a share of the rows, or a table of trusted rows.

    Raises
    ------
    CommandError
        If it is none of them.
    """
    for convert in (int, float):
        try:
            return convert(text), None
        except ValueError:
            continue
    path = Path(text)
    if not path.exists():
        raise CommandError(
            f"Got --validation {text!r}; expected a number of folds such as 5, a "
            "share such as 0.2, or an existing table of trusted rows.",
            code=2,
        )
    return None, path
