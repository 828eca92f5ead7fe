"""Training losses at a raw score: one small class per objective."""

from treeinf.losses.base import Loss
from treeinf.losses.classification import (
    Brier,
    CrossEntropy,
    Exponential,
    Logistic,
    OneVsAll,
    Softmax,
)
from treeinf.losses.names import LOSSES, loss_from_dict
from treeinf.losses.regression import (
    AbsoluteError,
    AbsolutePercentageError,
    Fair,
    Gamma,
    Huber,
    HuberExact,
    Poisson,
    PseudoHuber,
    Quantile,
    SquaredError,
    SquaredLogError,
    Tweedie,
)

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "AbsolutePercentageError",
    "Brier",
    "CrossEntropy",
    "Exponential",
    "Fair",
    "Gamma",
    "Huber",
    "HuberExact",
    "Logistic",
    "Loss",
    "OneVsAll",
    "Poisson",
    "PseudoHuber",
    "Quantile",
    "Softmax",
    "SquaredError",
    "SquaredLogError",
    "Tweedie",
    "loss_from_dict",
]
