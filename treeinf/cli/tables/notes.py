"""Remarks on columns: what was left out, and what is used as what."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator
from typing import Any

from treeinf.cli.tables.files import Table
from treeinf.cli.tables.identifiers import Identifiers
from treeinf.cli.tables.number_columns import list_names
from treeinf.cli.tables.number_texts import NumberColumn

__all__ = ["describe_features", "describe_identifiers"]

_FEWEST_NUMBERS = 20
_MOST_NAMES = 20


def describe_features(table: Table, X: Any) -> Iterator[str]:
    """Yield remarks on empty columns, categories and texts read as missing.

    Parameters
    ----------
    table : Table
        The train rows.
    X : pandas.DataFrame
        Their features, categories as such.
    """
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
    for name in texts:
        numbers_ = table.numbers.get(name)
        if numbers_ is not None and len(numbers_.bodies) > _FEWEST_NUMBERS:
            yield f"{_describe_words(name, numbers_)} It is used as categories."
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


def describe_identifiers(
    identifiers: Identifiers, left_out: Collection[str], table: Table
) -> Iterator[str]:
    """Yield which columns are left out, and which may have to be.

    Parameters
    ----------
    identifiers : Identifiers
        What was found.
    left_out : collection of str
        Those of them that are no features.
    table : Table
        The train rows.
    """
    n_rows = table.n_rows
    names = [name for name in identifiers.names if name in left_out]
    if names:
        yield (
            f"Left out of the features: {_list(names)}, which number{_s(names)} or "
            f"name{_s(names)} the rows; to learn from "
            f"{'it' if len(names) == 1 else 'them'}: --learn-columns {_join(names)}"
        )
    for name in (name for name in identifiers.texts if name in left_out):
        n_distinct = identifiers.texts[name]
        numbers = table.numbers.get(name)
        if numbers is not None:
            yield f"Left out of the features: {_describe_words(name, numbers)}"
            continue
        yield (
            f"Left out of the features: {name!r}, with {n_distinct:,} different texts "
            f"in {n_rows:,} rows, which are no categories; to learn from it: "
            f"--learn-columns {_join([name])}"
        )
    candidates = (*identifiers.names, *identifiers.texts)
    others = [name for name in candidates if name not in left_out]
    if others:
        yield f"Features that name the rows, or most of them: {_list(others)}."
    if identifiers.numbers:
        numbers_ = list(identifiers.numbers)
        yield (
            f"A different whole number in each row: {_list(numbers_)}; if that names "
            f"the rows, exclude it: --drop-columns {_join(numbers_)}"
        )
    for name, n_distinct in identifiers.repeated.items():
        yield (
            f"Feature {name!r} has the name of an identifier, and {n_distinct:,} "
            f"values in {n_rows:,} rows; if rows with the same one belong together: "
            f"--groups {_join([name])}"
        )


def _describe_words(name: str, numbers: NumberColumn) -> str:
    return (
        f"Column {name!r} holds numbers but for {list_names(numbers.words, 4)}; to "
        "read them, name what means missing with --na-values."
    )


def _s(names: Collection[str]) -> str:
    return "s" if len(names) == 1 else ""


def _list(names: list[str]) -> str:
    return list_names(names, _MOST_NAMES)


def _join(names: list[str]) -> str:
    """Write names as the shell and --drop-columns take them."""
    return shlex.quote(",".join(f'"{n}"' if "," in n else n for n in names))
