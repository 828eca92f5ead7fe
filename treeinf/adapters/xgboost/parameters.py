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
from treeinf.errors import ModelFormatError

__all__ = ["DEFAULTS", "ONE_DRAW_A_ROW", "XGBoostParameters", "flatten"]

DEFAULTS: dict[str, str] = {
    "alpha": "0",
    "colsample_bylevel": "1",
    "colsample_bynode": "1",
    "colsample_bytree": "1",
    "device": "cpu",
    "eta": "0.300000012",
    "lambda": "1",
    "max_delta_step": "0",
    "min_child_weight": "1",
    "monotone_constraints": "()",
    "nthread": "0",
    "process_type": "default",
    "sampling_method": "uniform",
    "seed": "0",
    "seed_per_iteration": "0",
    "subsample": "1",
    "tree_method": "auto",
    "updater": "",
}
"""XGBoost's defaults, as its configuration writes them."""
ONE_DRAW_A_ROW = (3, 4)
"""Since this version all rows take a draw under ``gradient_based``.

Before, draws depended on how the threads of the training cut the rows.
"""


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
        "random_state": "seed",
        "n_jobs": "nthread",
    }
    precision = np.float32

    def __init__(
        self, stored: Mapping[str, Any] | None, overrides: Mapping[str, Any] | None
    ) -> None:
        super().__init__(stored, overrides)
        self.is_stored = stored is not None
        self._stored_share = (stored or {}).get("subsample", self.defaults["subsample"])

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

    def subsample(self, trained_by: tuple[int, ...]) -> str | None:
        """Return the row sampling parameters in words, or None.

        Parameters
        ----------
        trained_by : tuple of int
            Version of XGBoost that trained the model.
        """
        share = self.number("subsample")
        if share >= 1.0:
            return None
        method = self.get("sampling_method")
        setting = f"subsample={share:g}"
        if method == "uniform":
            return setting
        setting = f"{setting}, sampling_method={method}"
        if trained_by >= ONE_DRAW_A_ROW:
            return setting
        return (
            f"{setting}; before XGBoost 3.4 its draws depend on the training's nthread"
        )

    @property
    def may_have_sampled(self) -> bool:
        """Whether rows were sampled, or may have been for all that the caller said."""
        return self.number("subsample") < 1.0 or "subsample" not in self._overrides

    def row_sampling(
        self, trained_by: tuple[int, ...], drops_trees: bool
    ) -> tuple[tuple[str, Any], ...] | None:
        """Return what the draws of rows depend on; None if all rows were used.

        A booster that was read from a file has XGBoost's defaults, whatever it was
        trained with: they count as unknown unless a `subsample` was stored.

        Parameters
        ----------
        trained_by : tuple of int
            The version that trained the model.
        drops_trees : bool
            Whether iterations left out earlier trees (dart).

        Returns
        -------
        tuple of (str, value) pairs, or None
            Values are None where they are not known.
        """
        share = self.number("subsample")
        if share >= 1.0 and not self.may_have_sampled:
            return None
        is_lost = not self.is_stored or str(self._stored_share) == "1"

        def is_known(*names: str) -> bool:
            return not is_lost or any(name in self._overrides for name in names)

        columns = ("colsample_bytree", "colsample_bylevel", "colsample_bynode")
        n_threads = self.integer("nthread") if is_known("nthread") else 0
        return (
            ("subsample", share if share < 1.0 else None),
            ("sampling_method", self.get("sampling_method")),
            ("seed", self.integer("seed")),
            ("is_seed_known", is_known("seed")),
            ("seed_per_iteration", self.integer("seed_per_iteration") != 0),
            ("method", self._method if is_known("tree_method", "updater") else None),
            ("n_threads", n_threads if n_threads > 0 else None),
            ("samples_columns", any(self.number(name) < 1.0 for name in columns)),
            ("drops_trees", drops_trees),
            ("version", trained_by),
        )

    @property
    def _method(self) -> str:
        """The tree method, by what grows the trees."""
        for method, grower in (("exact", "colmaker"), ("approx", "grow_histmaker")):
            if grower in str(self.get("updater")) or self.get("tree_method") == method:
                return method
        return "hist"

    def integer(self, name: str) -> int:
        """Return a parameter as an integer."""
        value = self.get(name)
        try:
            if isinstance(value, float) and not value.is_integer():
                raise ValueError
            return int(value)
        except (TypeError, ValueError, OverflowError):
            kind = ValueError if name in self._overrides else ModelFormatError
            raise kind(
                f"Got {name}={shorten(value)} among the training parameters; expected "
                "an integer."
            ) from None


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
