"""Losses, links and weights of positive rows of XGBoost's objectives."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from treeinf.adapters.xgboost.files import FIELDS, XGBoostFile
from treeinf.dtypes import REAL
from treeinf.ensemble import losses
from treeinf.errors import UnsupportedModelError

__all__ = [
    "QUANTILE_OBJECTIVES",
    "base_score",
    "find_loss",
    "option",
    "positive_weight",
]

QUANTILE_OBJECTIVES = ("reg:absoluteerror", "reg:quantileerror")
"""Objectives whose leaf values were order statistics of residuals before 3.4."""

_LOGIT_OBJECTIVES = ("reg:logistic", "binary:logistic")
_LOG_OBJECTIVES = ("count:poisson", "reg:gamma", "reg:tweedie")
_SMALLEST = np.float32(1e-6)
"""XGBoost since 3.2 clips logistic base scores to this distance from 0 and 1."""
_WEIGHTED_POSITIVES = (
    *("reg:squarederror", "reg:squaredlogerror", "reg:logistic", "binary:logistic"),
    *("binary:logitraw", "reg:gamma"),
)
"""Objectives in which `scale_pos_weight` applies to rows of label 1."""


def find_loss(file: XGBoostFile, objective: str) -> tuple[losses.Loss | None, str]:
    """Find the loss of an objective (None if unknown), and its name."""
    value = functools.partial(option, file)
    if file.n_target_columns > 1:
        return None, f"{objective} of {file.n_target_columns} targets"
    if objective in ("multi:softmax", "multi:softprob"):
        if file.n_outputs < 2:
            FIELDS.fail(f"{objective} does not fit {file.n_outputs} outputs")
        return losses.Softmax(file.n_outputs, 2.0), objective
    if file.n_outputs > 1:
        return None, objective
    makers: dict[str, Callable[[], losses.Loss]] = {
        "reg:squarederror": losses.SquaredError,
        "reg:linear": losses.SquaredError,
        "reg:squaredlogerror": losses.SquaredLogError,
        "reg:logistic": losses.CrossEntropy,
        "binary:logistic": losses.Logistic,
        "binary:logitraw": losses.Logistic,
        "count:poisson": lambda: losses.Poisson(value("max_delta_step", 0.7)),
        "reg:gamma": losses.Gamma,
        "reg:tweedie": lambda: losses.Tweedie(value("tweedie_variance_power", 1.5)),
        "reg:pseudohubererror": lambda: losses.PseudoHuber(value("huber_slope", 1.0)),
        "reg:absoluteerror": losses.AbsoluteError,
        "reg:quantileerror": lambda: losses.Quantile(value("quantile_alpha", 0.5)),
    }
    return (makers[objective]() if objective in makers else None), objective


def option(file: XGBoostFile, name: str, default: float) -> float:
    """Return a parameter of the objective as a number."""
    value = file.objective_parameters.get(name, default)
    if isinstance(value, str):
        value = value.strip("[]() ")  # quantile_alpha is a list
    return FIELDS.number(value, name)


def base_score(file: XGBoostFile) -> NDArray[np.float64]:
    """Convert the base score to raw scores by the inverse link, in float32."""
    score = file.base_score.astype(np.float32)
    if file.objective in _LOGIT_OBJECTIVES:
        if file.version_numbers >= (3, 2):
            score = np.clip(score, _SMALLEST, np.float32(1.0) - _SMALLEST)
        with np.errstate(divide="ignore", invalid="ignore"):
            score = -np.log(np.float32(1.0) / score - np.float32(1.0))
    elif file.objective in _LOG_OBJECTIVES:
        with np.errstate(divide="ignore", invalid="ignore"):
            score = np.log(score)
    if not np.isfinite(score).all():
        raise UnsupportedModelError(
            f"This XGBoost model has base_score={file.base_score.tolist()}, which "
            f"{file.objective[:40]} converts to raw scores that are not finite. Train "
            "with another base_score, and on targets that are not all 0."
        )
    return np.broadcast_to(score.astype(REAL), (file.n_outputs,)).copy()


def positive_weight(file: XGBoostFile, objective: str) -> float | None:
    """Return the weight of positive rows in the gradients; None for 1."""
    if objective not in _WEIGHTED_POSITIVES:
        return None
    weight = option(file, "scale_pos_weight", 1.0)
    return None if weight == 1.0 else weight
