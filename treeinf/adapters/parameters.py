"""Merge a model's stored training parameters with the caller's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from treeinf.adapters.records import shorten
from treeinf.errors import ModelFormatError

__all__ = ["TrainingParameters", "class_weights", "has_constraint"]


class TrainingParameters:
    """Training parameters by their canonical names in the library.

    Parameters
    ----------
    stored : dict or None
        Parameters stored in the model; None if it stores none.
    overrides : dict or None
        The caller's parameters, which override `stored`, under any of the library's
        names; entries of None are ignored.

    Attributes
    ----------
    is_known : bool
        Whether any parameters are known; else all values are the library's defaults.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """The library's defaults of the parameters used."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Aliases in the library, and the canonical name of each."""
    precision: ClassVar[type] = float
    """The type in which the library keeps numbers."""

    def __init__(
        self, stored: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
    ) -> None:
        self.is_known = stored is not None or overrides is not None
        self._overrides = {
            self.aliases.get(name, name): value
            for name, value in (overrides or {}).items()
            if value is not None
        }
        self._values = {**(stored or {}), **self._overrides}

    def get(self, name: str) -> Any:
        """Return a parameter as it was passed or stored, or its default."""
        return self._values.get(name, self.defaults.get(name))

    def is_passed(self, name: str) -> bool:
        """Return whether the caller passed a parameter."""
        return name in self._overrides

    def number(self, name: str) -> float:
        """Return a parameter as a finite number."""
        value = self.get(name)
        try:
            number = float(self.precision(value))
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            kind = ValueError if name in self._overrides else ModelFormatError
            raise kind(
                f"Got {name}={shorten(value)} among the training parameters; expected "
                "a finite number."
            )
        return number

    def describe(self, names: Iterable[str]) -> str:
        """List parameters as they are passed."""
        return ", ".join(
            f"{name}={shorten(self.get(name))}"
            if np.ndim(self.get(name))
            else f"{name}={self.number(name):g}"
            for name in names
        )

    @property
    def is_monotone(self) -> bool:
        """Whether any feature had a monotone constraint."""
        return has_constraint(self.get("monotone_constraints"))


def has_constraint(constraints: Any) -> bool:
    """Return whether any monotone constraint is set, in any library's format.

    Parameters
    ----------
    constraints : str, dict, array-like or None
        One sign for each feature, such as "1,0,-1", "(1,0)" or {"age": 1}.

    Returns
    -------
    bool
    """
    if isinstance(constraints, Mapping):
        constraints = list(constraints.values())
    if isinstance(constraints, (list, tuple, np.ndarray)):
        return any(has_constraint(sign) for sign in constraints)
    if isinstance(constraints, str):
        return any(digit in "123456789" for digit in constraints)
    return constraints is not None and bool(constraints)


def class_weights(weights: Any) -> str | tuple[tuple[Any, float], ...] | None:
    """Return an estimator's ``class_weight``, dictionaries as (label, weight) pairs.

    Parameters
    ----------
    weights : dict, str or None
        The estimator's parameter.

    Returns
    -------
    tuple of (label, float) pairs, str or None
    """
    if weights is None or isinstance(weights, str):
        return weights
    return tuple((label, float(weight)) for label, weight in weights.items())
