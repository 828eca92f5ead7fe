"""LightGBM's training parameters: aliases, defaults and values rounded in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from treeinf.adapters.parameters import TrainingParameters

__all__ = ["ALIASES", "DEFAULTS", "LightGBMParameters"]

DEFAULTS: dict[str, str] = {
    "alpha": "0.9",
    "bagging_by_query": "0",
    "bagging_fraction": "1",
    "bagging_freq": "0",
    "bagging_seed": "3",
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
    "num_threads": "0",
    "other_rate": "0.1",
    "path_smooth": "0",
    "poisson_max_delta_step": "0.7",
    "pos_bagging_fraction": "1",
    "scale_pos_weight": "1",
    "seed": "0",
    "sigmoid": "1",
    "top_rate": "0.2",
    "tweedie_variance_power": "1.5",
    "use_quantized_grad": "0",
}
"""LightGBM's defaults, as its model files write them."""

ALIASES: dict[str, tuple[str, ...]] = {
    "bagging_fraction": ("sub_row", "subsample", "bagging"),
    "bagging_freq": ("subsample_freq",),
    "bagging_seed": ("bagging_fraction_seed",),
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
    "num_threads": ("num_thread", "nthread", "nthreads", "n_jobs"),
    "pos_bagging_fraction": ("pos_sub_row", "pos_subsample", "pos_bagging"),
    "seed": ("random_seed", "random_state"),
}
"""LightGBM's aliases of them."""


class LightGBMParameters(TrainingParameters):
    """Training parameters as LightGBM writes them: text, numbers with six digits.

    Parameters
    ----------
    stored : dict of str to str, or None
        The parameters' section of a model text; None if there is none.
    overrides : dict or None
        The caller's parameters, which override `stored`.
    live : dict or None
        Parameters of a live booster, for the digits beyond six; ignored where they do
        not round to the number in the text.
    """

    defaults = DEFAULTS
    aliases: ClassVar[Mapping[str, str]] = {
        alias: name for name, aliases in ALIASES.items() for alias in aliases
    }

    def __init__(
        self,
        stored: Mapping[str, str] | None,
        overrides: Mapping[str, Any] | None,
        live: Mapping[str, Any] | None,
    ) -> None:
        super().__init__(stored, overrides)
        self._unrounded: dict[str, list[float]] = {}
        for source in (live, overrides):
            for name, value in (source or {}).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    name = self.aliases.get(name, name)
                    self._unrounded.setdefault(name, []).append(float(value))

    def text(self, name: str) -> str:
        """Return a parameter as model texts write it, or its default."""
        return _write(self.get(name))

    def number(self, name: str) -> float:
        """Return a parameter as a number, at full precision where it is known."""
        return self.unround(name, super().number(name))

    def flag(self, name: str) -> bool:
        """Return a parameter as a bool."""
        return self.text(name) not in ("0", "")

    def integers(self, name: str) -> set[int] | None:
        """Return a parameter that lists column numbers; None where it does not."""
        try:
            return {int(entry) for entry in self.text(name).split(",")}
        except ValueError:
            return None

    @property
    def is_dart(self) -> bool:
        """Whether trees were dropped and rescaled during training."""
        return self.text("boosting") == "dart"

    @property
    def is_goss(self) -> bool:
        """Whether rows were sampled by the size of their gradients."""
        names = self.text("data_sample_strategy"), self.text("boosting")
        return "goss" in names

    def unround(self, name: str, number: float) -> float:
        """Return a number of six digits at full precision where it is known."""
        for exact in self._unrounded.get(name, ()):
            if f"{exact:g}" == f"{number:g}":
                return exact
        return number


def _write(value: Any) -> str:
    """Return a parameter's value as model texts write it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return {"true": "1", "false": "0"}.get(value.lower(), value)
    if isinstance(value, (list, tuple, set)):
        return ",".join(map(_write, value))
    return str(value)
