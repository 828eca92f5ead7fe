"""Training losses: one class per objective."""

from treeinf.ensemble.losses.base import Loss
from treeinf.ensemble.losses.classification import (
    Brier,
    CrossEntropy,
    Exponential,
    Logistic,
    OneVsAll,
    Softmax,
)
from treeinf.ensemble.losses.names import LOSSES, loss_from_dict
from treeinf.ensemble.losses.regression import (
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
