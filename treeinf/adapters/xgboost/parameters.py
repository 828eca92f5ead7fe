"""XGBoost's training parameters: names, aliases and defaults."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.parameters import TrainingParameters
from treeinf.adapters.records import shorten
from treeinf.dtypes import REAL

__all__ = ["DEFAULTS", "XGBoostParameters", "flatten"]

DEFAULTS: dict[str, str] = {
    "alpha": "0",
    "device": "cpu",
    "eta": "0.300000012",
    "lambda": "1",
    "max_delta_step": "0",
    "min_child_weight": "1",
    "monotone_constraints": "()",
    "process_type": "default",
    "sampling_method": "uniform",
    "subsample": "1",
}
"""XGBoost's defaults, as its configuration writes them."""


class XGBoostParameters(TrainingParameters):
    """Training parameters from a live booster, from its trees or from the caller.

    Parameters
    ----------
    stored : dict or None
        See `TrainingParameters`.
    overrides : dict or None
        The caller's parameters, which override it, under any of XGBoost's names.
    """

    defaults = DEFAULTS
    aliases: ClassVar[Mapping[str, str]] = {
        "learning_rate": "eta",
        "reg_lambda": "lambda",
        "reg_alpha": "alpha",
    }
    precision = np.float32

    def __init__(
        self, stored: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
    ) -> None:
        super().__init__(stored, overrides)
        self.is_stored = stored is not None

    def with_stored(self, values: Mapping[str, Any]) -> XGBoostParameters:
        """Return the parameters with other values of those that were not passed."""
        other = copy.copy(self)
        other._values = {**self._values, **values, **self._overrides}
        return other

    def version(self, written: tuple[int, ...]) -> tuple[int, ...]:
        """Return the version that trained the model.

        Parameters
        ----------
        written : tuple of int
            The version that wrote it, used if the caller passes none.

        Returns
        -------
        tuple of int
        """
        version = self.get("version")
        if version is None:
            return written
        numbers = version.split(".") if isinstance(version, str) else version
        try:
            return tuple(map(int, numbers))
        except (TypeError, ValueError):
            raise ValueError(
                f"Got version={shorten(version)}; expected that of the XGBoost that "
                "trained the model, such as '3.2.0'."
            ) from None

    def rates(self, n_iterations: int) -> NDArray[np.float64]:
        """Return the learning rate of each iteration."""
        eta = self.get("eta")
        if not isinstance(eta, (Sequence, np.ndarray)) or isinstance(eta, str):
            return np.full(n_iterations, self.number("eta"), REAL)
        if len(eta) < n_iterations:
            raise ValueError(
                f"Got {len(eta)} learning rates for {n_iterations} iterations; "
                "expected one for each."
            )
        return np.asarray(eta, np.float32)[:n_iterations].astype(REAL)

    @property
    def objective(self) -> str | None:
        """The objective that the caller passed; "custom" for a function."""
        objective = self.get("objective")
        return "custom" if callable(objective) else objective

    @property
    def subsample(self) -> str | None:
        """The row sampling parameters, or None."""
        share = self.number("subsample")
        if share >= 1.0:
            return None
        method = self.get("sampling_method")
        setting = f"subsample={share:g}"
        if method == "uniform":
            return setting
        return f"{setting}, sampling_method={method}"


def flatten(configuration: Any) -> dict[str, str]:
    """Collect the parameters of `DEFAULTS` from a nested configuration."""
    values: dict[str, str] = {}
    if isinstance(configuration, Mapping):
        for key, value in configuration.items():
            if key in DEFAULTS and isinstance(value, str):
                values[key] = value
            elif key != "objective":
                values |= flatten(value)
    return values
