"""Training parameters of a model: those it stores, and those the caller passes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from treeinf.adapters.records import shorten
from treeinf.errors import ModelFormatError

__all__ = ["TrainingParameters", "class_weights", "has_constraint"]


class TrainingParameters:
    """Training parameters by the library's main names.

    Parameters
    ----------
    stored : dict or None
        What the model stores; None where it stores no parameters.
    overrides : dict or None
        What the caller passes in place of it, under any of the library's names; None is
        no value.

    Attributes
    ----------
    is_known : bool
        Whether there are any parameters; else all values are the library's defaults.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """The library's default of each parameter that is read."""
    aliases: ClassVar[Mapping[str, str]] = {}
    """Other names of the library, and the main name of each."""
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

    @property
    def is_monotone(self) -> bool:
        """Whether some feature's effect was constrained to rise or to fall."""
        return has_constraint(self.get("monotone_constraints"))


def has_constraint(constraints: Any) -> bool:
    """Return whether monotone constraints, in any library's form, hold for a feature.

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
    """Return an estimator's ``class_weight`` as (label, weight) pairs, or as it is.

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
