"""LightGBM's training parameters as treeinf reads them: names, aliases, defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from treeinf.errors import ModelFormatError

__all__ = ["ALIASES", "DEFAULTS", "LightGBMParameters"]

DEFAULTS: dict[str, str] = {
    "alpha": "0.9",
    "bagging_fraction": "1",
    "bagging_freq": "0",
    "boost_from_average": "1",
    "boosting": "gbdt",
    "cat_l2": "10",
    "categorical_feature": "",
    "data_sample_strategy": "bagging",
    "device_type": "cpu",
    "fair_c": "1",
    "is_unbalance": "0",
    "lambda_l1": "0",
    "lambda_l2": "0",
    "learning_rate": "0.1",
    "max_cat_to_onehot": "4",
    "max_delta_step": "0",
    "monotone_constraints": "",
    "neg_bagging_fraction": "1",
    "num_grad_quant_bins": "4",
    "other_rate": "0.1",
    "path_smooth": "0",
    "poisson_max_delta_step": "0.7",
    "pos_bagging_fraction": "1",
    "scale_pos_weight": "1",
    "sigmoid": "1",
    "top_rate": "0.2",
    "tweedie_variance_power": "1.5",
    "use_quantized_grad": "0",
}
"""LightGBM's defaults, as its model files write them."""

ALIASES: dict[str, tuple[str, ...]] = {
    "bagging_fraction": ("sub_row", "subsample", "bagging"),
    "bagging_freq": ("subsample_freq",),
    "boosting": ("boosting_type", "boost"),
    "categorical_feature": (
        "cat_feature",
        "categorical_column",
        "cat_column",
        "categorical_features",
    ),
    "device_type": ("device",),
    "is_unbalance": ("unbalance", "unbalanced_sets"),
    "lambda_l1": ("reg_alpha", "l1_regularization"),
    "lambda_l2": ("reg_lambda", "lambda", "l2_regularization"),
    "learning_rate": ("shrinkage_rate", "eta"),
    "max_delta_step": ("max_tree_output", "max_leaf_output"),
    "monotone_constraints": ("mc", "monotone_constraint", "monotonic_cst"),
    "neg_bagging_fraction": ("neg_sub_row", "neg_subsample", "neg_bagging"),
    "pos_bagging_fraction": ("pos_sub_row", "pos_subsample", "pos_bagging"),
}
"""Other names that LightGBM accepts for them."""

_NAMES = {alias: name for name, aliases in ALIASES.items() for alias in aliases}


def _written(value: Any) -> str:
    """Write a parameter's value as model files do."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return {"true": "1", "false": "0"}.get(value.lower(), value)
    if isinstance(value, (list, tuple, set)):
        return ",".join(map(_written, value))
    return str(value)


class LightGBMParameters:
    """Training parameters from a file, from the caller and from a live model.

    Parameters
    ----------
    from_file : dict of str to str, or None
        The parameters' section; None if there is none.
    from_caller : dict or None
        What the caller knows better, under any of LightGBM's names.
    unrounded : dict or None
        Parameters of a live booster: read only where they round to the six digits that
        the file gives.
    """

    def __init__(
        self,
        from_file: Mapping[str, str] | None,
        from_caller: Mapping[str, Any] | None,
        unrounded: Mapping[str, Any] | None,
    ) -> None:
        self.is_known = from_file is not None or from_caller is not None
        """Whether anything at all is known of the parameters."""
        self._values = dict(from_file or {})
        for given, value in (from_caller or {}).items():
            if value is not None:
                self._values[_NAMES.get(given, given)] = _written(value)
        self._unrounded: dict[str, list[float]] = {}
        for source in (unrounded, from_caller):
            for given, value in (source or {}).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    name = _NAMES.get(given, given)
                    self._unrounded.setdefault(name, []).append(float(value))

    def text(self, name: str) -> str:
        """Give a parameter as it is written, or its default."""
        return self._values.get(name, DEFAULTS[name])

    def number(self, name: str) -> float:
        """Give a parameter as a number, with all its digits where they are known."""
        written = self.text(name)
        try:
            number = float(written)
        except ValueError as error:
            raise ModelFormatError(
                f"The model says {name}={written[:40]!r}; expected a number."
            ) from error
        if not math.isfinite(number):
            raise ModelFormatError(
                f"The model says {name}={written[:40]!r}; expected a finite number."
            )
        return self.unround(name, number)

    def flag(self, name: str) -> bool:
        """Give a parameter as yes or no."""
        return self.text(name) not in ("0", "")

    def integers(self, name: str) -> set[int] | None:
        """Give a parameter that lists column numbers; None where it does not."""
        try:
            return {int(entry) for entry in self.text(name).split(",")}
        except ValueError:
            return None

    def has_nonzero(self, name: str) -> bool:
        """Whether a listing parameter has an entry that is not 0."""
        return any(entry not in ("", "0") for entry in self.text(name).split(","))

    def unround(self, name: str, number: float) -> float:
        """Give a number all its digits where a known value rounds to it.

        Parameters
        ----------
        name : str
            The parameter.
        number : float
            Its value in the file, of six digits.

        Returns
        -------
        float
        """
        for exact in self._unrounded.get(name, ()):
            if f"{exact:g}" == f"{number:g}":
                return exact
        return number
