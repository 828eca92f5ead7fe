"""Losses and leaf rules of LightGBM's objectives."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.lightgbm.files import FIELDS, LightGBMFile
from treeinf.adapters.lightgbm.parameters import LightGBMParameters
from treeinf.dtypes import OFFSET, REAL
from treeinf.ensemble import LeafRule, losses

__all__ = [
    "estimates_initial_score",
    "find_loss",
    "leaf_l2_penalties",
    "leaf_rule",
    "other_hessian_factor",
    "split_objective",
]

_QUANTILE_OBJECTIVES = ("regression_l1", "quantile", "mape")
_ESTIMATING_OBJECTIVES = (
    *("regression", "regression_l1", "huber", "fair", "quantile", "mape"),
    *("poisson", "gamma", "tweedie", "binary", "multiclass", "multiclassova"),
    *("cross_entropy", "xentropy", "cross_entropy_lambda", "xentlambda"),
)
_DOUBLE_HESSIANS = ("v2",)
"""Formats whose softmax has hessians of ``2 p (1 - p)``."""
_EITHER_HESSIANS = ("v3",)
"""Formats of versions before 3.0, which has ``K / (K - 1) p (1 - p)``, and after."""


def other_hessian_factor(file: LightGBMFile) -> float | None:
    """Return the factor on a softmax's hessian in other versions of the same format."""
    return 2.0 if file.version in _EITHER_HESSIANS and file.n_outputs > 2 else None


def split_objective(file: LightGBMFile) -> tuple[str, dict[str, str]]:
    """Split a model's objective into its name and its options."""
    name, *options = file.objective.split(" ")
    return name, {
        key: value for key, _, value in (option.partition(":") for option in options)
    }


def estimates_initial_score(file: LightGBMFile) -> bool:
    """Return whether LightGBM estimates an initial score from the train rows."""
    return split_objective(file)[0] in _ESTIMATING_OBJECTIVES


def find_loss(
    file: LightGBMFile, parameters: LightGBMParameters, assumed: list[str]
) -> losses.Loss | None:
    """Find the loss of a model's objective.

    Parameters
    ----------
    file : LightGBMFile
        The file.
    parameters : LightGBMParameters
        Training parameters, for options that the objective does not spell out.
    assumed : list of str
        Parameters that the file does not list are appended.

    Returns
    -------
    Loss or None
        None for objectives without a known loss (ranking, custom).
    """
    name, options = split_objective(file)
    n_outputs = file.n_outputs

    def option(key: str) -> float:
        if key in options:
            number = FIELDS.number(options[key], f"{key} of the objective {name}")
            return parameters.unround(key, number)
        assumed.append(key)
        return parameters.number(key)

    def refuse() -> NoReturn:
        FIELDS.fail(
            f"{file.objective[:60]!r} does not fit {n_outputs} trees per iteration"
        )

    if "num_class" in options and options["num_class"] != str(n_outputs):
        refuse()
    loss: losses.Loss
    match name:
        case "regression":
            loss = losses.SquaredError(sqrt_target="sqrt" in options)
        case "regression_l1":
            loss = losses.AbsoluteError()
        case "huber":
            loss = losses.Huber(option("alpha"))
        case "fair":
            loss = losses.Fair(option("fair_c"))
        case "poisson":
            loss = losses.Poisson(option("poisson_max_delta_step"))
        case "quantile":
            loss = losses.Quantile(option("alpha"))
        case "mape":
            loss = losses.AbsolutePercentageError()
        case "gamma":
            loss = losses.Gamma()
        case "tweedie":
            loss = losses.Tweedie(option("tweedie_variance_power"))
        case "binary":
            loss = losses.Logistic(option("sigmoid"))
        case "cross_entropy" | "xentropy":
            loss = losses.CrossEntropy()
        case "multiclass" if n_outputs > 1:
            is_old = file.version in _DOUBLE_HESSIANS
            factor = 2.0 if is_old else n_outputs / (n_outputs - 1)
            loss = losses.Softmax(n_outputs, factor)
        case "multiclassova" if n_outputs > 1:
            loss = losses.OneVsAll(n_outputs, scale=option("sigmoid"))
        case _:
            return None
    if loss.n_outputs != n_outputs:
        refuse()
    return loss


def leaf_rule(objective: str, parameters: LightGBMParameters) -> LeafRule:
    """Return how LightGBM turned gradients into leaf values."""
    if objective in _QUANTILE_OBJECTIVES:
        return LeafRule("quantile")
    return LeafRule(
        "newton",
        l1_leaf=parameters.number("lambda_l1"),
        max_leaf_value=max(parameters.number("max_delta_step"), 0.0),
        path_smooth=parameters.number("path_smooth"),
    )


def leaf_l2_penalties(
    file: LightGBMFile,
    parameters: LightGBMParameters,
    objective: str,
    node_offset: NDArray[np.int64],
    leaf_offset: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """Return each leaf's L2 penalty; None where it is not known.

    A leaf keeps the value computed when its parent was split, and LightGBM adds
    `cat_l2` in splits that sort categories instead of testing them one by one.
    """
    if objective in _QUANTILE_OBJECTIVES:
        return None
    trees = file.trees
    leaf_l2 = np.full(int(leaf_offset[-1]), parameters.number("lambda_l2"), REAL)
    if not trees.is_categorical.any():
        return leaf_l2
    if file.category_bins is None:
        return None
    n_bins = np.array(
        [len(file.category_bins.get(int(feature), ())) for feature in trees.feature]
    )
    is_sorted = trees.is_categorical & (n_bins > parameters.number("max_cat_to_onehot"))
    tree = np.repeat(np.arange(len(trees.n_leaves)), np.diff(node_offset))
    for child in (trees.left, trees.right):
        is_sorted_leaf = is_sorted & (child < 0)
        leaf = leaf_offset[tree[is_sorted_leaf]] + ~child[is_sorted_leaf].astype(OFFSET)
        leaf_l2[leaf] += parameters.number("cat_l2")
    return leaf_l2
