"""CatBoost's training parameters: sections of a file, aliases and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from treeinf.adapters.catboost.files import FIELDS, CatBoostFile, parse_remark
from treeinf.adapters.parameters import TrainingParameters

__all__ = ["CatBoostParameters"]

_SECTIONS = {
    "boost_from_average": "boosting_options",
    "boosting_type": "boosting_options",
    "diffusion_temperature": "boosting_options",
    "langevin": "boosting_options",
    "learning_rate": "boosting_options",
    "model_shrink_mode": "boosting_options",
    "model_shrink_rate": "boosting_options",
    "posterior_sampling": "boosting_options",
    "class_names": "data_processing_options",
    "class_weights": "data_processing_options",
    "target_border": "data_processing_options",
    "l2_leaf_reg": "tree_learner_options",
    "leaf_estimation_backtracking": "tree_learner_options",
    "leaf_estimation_iterations": "tree_learner_options",
    "leaf_estimation_method": "tree_learner_options",
    "monotone_constraints": "tree_learner_options",
}
"""Section of the file that holds each parameter; others are at the top level."""


class CatBoostParameters(TrainingParameters):
    """Training parameters from a file and from the caller.

    CatBoost writes all of them into its files, defaults included; the defaults here are
    for files without parameters.

    Parameters
    ----------
    file : CatBoostFile
        The file.
    overrides : dict or None
        The caller's parameters, which override the file's.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "l2_leaf_reg": 3.0,
        "leaf_estimation_backtracking": "No",
        "leaf_estimation_iterations": 1.0,
        "learning_rate": 1.0,
        "loss_function": "unknown",
        "model_shrink_rate": 0.0,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "eta": "learning_rate",
        "reg_lambda": "l2_leaf_reg",
    }

    def __init__(self, file: CatBoostFile, overrides: Mapping[str, Any] | None) -> None:
        stored = parse_remark(file.remarks, "params")
        values = {name: stored[name] for name in stored if name not in _SECTIONS}
        for name, section in _SECTIONS.items():
            entries = FIELDS.instance(stored.get(section, {}), section, dict)
            values[name] = entries.get(name)
        values = {name: value for name, value in values.items() if value is not None}
        super().__init__(values or None, overrides or None)

    @property
    def loss_name(self) -> str:
        """CatBoost's name for the loss."""
        return self.split_loss()[0]

    def split_loss(self) -> tuple[str, dict[str, str]]:
        """Split the loss into its name and its options."""
        loss = self.get("loss_function")
        if isinstance(loss, dict):
            options = loss.get("params")
            name = str(loss.get("type", "unknown"))
            return name, options if isinstance(options, dict) else {}
        name, _, text = str(loss).partition(":")
        pairs = (entry.partition("=") for entry in text.split(";") if entry)
        return name, {key: value for key, _, value in pairs}
