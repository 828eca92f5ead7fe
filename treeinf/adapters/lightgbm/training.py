"""Collect what a replay of LightGBM's training needs."""

from __future__ import annotations

from typing import Any

from treeinf.adapters.lightgbm.files import LightGBMFile
from treeinf.adapters.lightgbm.objectives import other_hessian_factor, split_objective
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.adapters.lightgbm.row_settings import (
    sampling_fractions,
    sampling_settings,
    uses_goss,
)
from treeinf.ensemble import TrainingFacts

__all__ = ["approximations", "training_facts"]


def training_facts(
    file: LightGBMFile,
    parameters: LightGBMParameters,
    class_weight: str | tuple[tuple[Any, float], ...] | None,
    notes: list[str],
    assumed: list[str],
) -> TrainingFacts:
    """Collect weights, row sampling and what a replay follows only approximately.

    `assumed` names the parameters that matter if the file lists none.
    """
    return TrainingFacts(
        class_weight=class_weight,
        positive_weight=_positive_weight(split_objective(file)[0], parameters),
        single_precision=True,
        subsample=_subsample(file, parameters),
        row_sampling=sampling_settings(file, parameters),
        approximations=tuple(notes),
        other_hessian_factor=other_hessian_factor(file),
        assumed=None
        if parameters.is_known
        else "The file does not list its parameters; "
        f"{parameters.describe(dict.fromkeys(assumed))} and no bagging are assumed",
    )


def _positive_weight(
    objective: str, parameters: LightGBMParameters
) -> float | str | None:
    if objective not in ("binary", "multiclassova"):
        return None
    if parameters.flag("is_unbalance"):
        return "unbalanced"
    weight = parameters.number("scale_pos_weight")
    return None if weight == 1.0 else weight


def _subsample(file: LightGBMFile, parameters: LightGBMParameters) -> str | None:
    if uses_goss(file, parameters):
        return (
            f"data_sample_strategy=goss, top_rate={parameters.number('top_rate'):g}, "
            f"other_rate={parameters.number('other_rate'):g}"
        )
    below = sampling_fractions(file, parameters)
    if not below:
        return None
    settings = [f"{name}={value:g}" for name, value in below.items()]
    return ", ".join([*settings, f"bagging_freq={parameters.number('bagging_freq'):g}"])


def approximations(file: LightGBMFile, parameters: LightGBMParameters) -> list[str]:
    """List the settings under which a replay of the training is not exact."""
    notes = []
    if parameters.is_dart:
        notes.append(
            "boosting=dart: each tree was fitted to the scores of a random subset of "
            "earlier trees and rescaled later; the replay uses all of them."
        )
    if file.average_output and (file.trees.n_leaves == 1).any():
        notes.append(
            "boosting=rf: LightGBM leaves the initial score out of trees that have "
            "a single leaf; the replay includes it in all trees."
        )
    if file.is_monotone or parameters.is_monotone:
        notes.append(
            "monotone_constraints: some leaf values were clipped to the bounds that "
            "the constraints set; the replay ignores the bounds."
        )
    if parameters.number("path_smooth") > 0.0:
        notes.append(
            f"path_smooth={parameters.number('path_smooth'):g}: LightGBM smooths by "
            "counts of rows that it estimates from hessians, which under sample "
            "weights and for most objectives differ from the counts; the replay uses "
            "the counts."
        )
    of_queries = parameters.flag("bagging_by_query") and not parameters.is_goss
    rate = parameters.number("bagging_fraction")
    if of_queries and 0.5 * parameters.number("bagging_freq") < rate < 1.0:
        notes.append(
            "bagging_by_query: where more than half of the rows are in a bag, LightGBM "
            "adds what a tree gives queries outside it to the scores of other rows; "
            "the replay adds it to their own."
        )
    if parameters.flag("use_quantized_grad"):
        notes.append(
            "use_quantized_grad: leaf values come from gradients rounded to "
            f"{parameters.number('num_grad_quant_bins'):g} levels; the replay uses "
            "exact ones."
        )
    if parameters.text("device_type") in ("gpu", "cuda"):
        notes.append(
            f"device_type={parameters.text('device_type')}: sums of gradients were "
            "kept in single precision; the replay keeps them in double precision."
        )
    return notes
