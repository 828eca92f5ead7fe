"""Remarks on columns that are probably no features as they are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np

from treeinf.cli.tables.files import Table
from treeinf.cli.tables.number_columns import list_names

__all__ = ["describe_features"]

_FEWEST_ROWS = 20
_MANY_CATEGORIES = 100
_MOST_NAMES = 20
_DATE = re.compile(
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}([ T].*)?"  # 2024-01-31 10:00
    r"|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d{2})( .*)?"  # 31.01.2024, 1/31/24
    r"|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}( .*)?"  # 31-Jan-2024
    r"|[A-Za-z]{3,9} \d{1,2},? \d{4}( .*)?"  # January 31, 2024
)


def describe_features(table: Table, X: Any) -> Iterator[str]:
    """Yield remarks on empty columns, categories, identifiers and dates.

    Parameters
    ----------
    table : Table
        The train rows.
    X : pandas.DataFrame
        Their features, categories as such.
    """
    n_rows = len(X)
    texts = [name for name, kind in X.dtypes.items() if kind == "category"]
    numbers = [name for name in X.columns if name not in texts]
    for name in numbers:
        if X[name].isna().all():
            yield f"Column {name!r} is empty."
    if texts:
        yield (
            f"Text columns used as categorical features: {list_names(texts)} (of "
            f"{X.shape[1]} features)."
        )
    counters = [name for name in numbers if _is_counter(X[name])]
    if counters:
        yield (
            f"A different whole number in each row: {_list(counters)}; if that names "
            f"the rows, exclude it: --drop-columns {_join(counters)}"
        )
    dates = [name for name in texts if _holds_dates(X[name])]
    if dates:
        yield (
            f"Dates, used as categories: {_list(dates)}; replace them by numbers such "
            f"as year and month, or exclude them: --drop-columns {_join(dates)}"
        )
    for name in texts:
        n_distinct = X[name].nunique()
        if name not in dates and (
            n_distinct > max(_MANY_CATEGORIES, n_rows // 2)
            or (n_distinct == n_rows >= _FEWEST_ROWS)
        ):
            yield (
                f"Column {name!r} has {n_distinct:,} distinct texts in {n_rows:,} "
                "rows; if it is an identifier, exclude it with --drop-columns."
            )
        numbers_ = table.numbers.get(name)
        if numbers_ is not None and len(numbers_.bodies) > _FEWEST_ROWS:
            yield (
                f"Column {name!r} holds numbers but for "
                f"{list_names(numbers_.words, 4)}, and is used as categories; to read "
                "numbers, name what means missing with --na-values."
            )
    read_as_missing: dict[str, list[str]] = {}
    for name in texts:
        words = table.missing_words(name)
        if words:
            read_as_missing.setdefault(list_names(words), []).append(name)
    for shown, names in read_as_missing.items():
        yield (
            f"Read as missing: {shown} in {_list(names)}; if that is a category, pass "
            '--na-values with the texts that do mean missing, or with "".'
        )


def _is_counter(column: Any) -> bool:
    values = column.to_numpy()
    return len(values) >= _FEWEST_ROWS and bool(
        np.isfinite(values).all()
        and (values == np.floor(values)).all()
        and len(np.unique(values)) == len(values)
    )


def _holds_dates(column: Any) -> bool:
    labels = column.cat.categories
    return len(labels) > 1 and all(_DATE.fullmatch(label.strip()) for label in labels)


def _list(names: list[str]) -> str:
    return list_names(names, _MOST_NAMES)


def _join(names: list[str]) -> str:
    """Write names as the shell and --drop-columns take them."""
    return shlex.quote(",".join(f'"{n}"' if "," in n else n for n in names))
