"""Parameters of the cleaner, each refused by name where it cannot be used."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

__all__ = ["check_name", "check_number"]


def check_name(name: str, value: Any, accepted: Iterable[str]) -> None:
    """Refuse what is not among the names accepted.

    Raises
    ------
    ValueError
        Listing them.
    """
    accepted = tuple(accepted)
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"Got {name}={value!r}; expected one of {accepted}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> None:
    """Refuse what is not a number in a range, whose ends may belong to it or not.

    Raises
    ------
    TypeError, ValueError
        By kind, by value.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Got {name}={value!r}; expected a number.")
    number = float(value)
    if not (above < number < below and lowest <= number <= highest):
        low, high = max(above, lowest), min(below, highest)
        ends = "[]" if lowest > above else "()"
        raise ValueError(
            f"Got {name}={value!r}; expected a number in "
            f"{ends[0]}{low:g}, {high:g}{ends[1]}."
        )
