"""Influence of training rows in fitted tree ensembles."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treeinf.adapters import read_model
    from treeinf.cleaning import Amount, InfluenceCleaner, InfluenceSelector
    from treeinf.ensemble import TreeEnsemble
    from treeinf.explainers import (
        LOO,
        BoostIn,
        DataShapley,
        GradientNorm,
        GradientVariance,
        Influence,
        InputSim,
        KNNShapley,
        LeafInfluence,
        LeafRefit,
        Loss,
        OutOfBagLoss,
        OutOfBagProbability,
        OutOfFoldLoss,
        Random,
        SubSample,
        TargetInfluence,
        TrainingDynamics,
        TreeSim,
        Trex,
    )
    from treeinf.explainers.row_sampling import OutOfBagScores, in_bag, out_of_bag
    from treeinf.trace import TrainingTrace

__version__ = "0.1.0.dev0"
__all__ = [
    "LOO",
    "Amount",
    "BoostIn",
    "DataShapley",
    "GradientNorm",
    "GradientVariance",
    "Influence",
    "InfluenceCleaner",
    "InfluenceSelector",
    "InputSim",
    "KNNShapley",
    "LeafInfluence",
    "LeafRefit",
    "Loss",
    "OutOfBagLoss",
    "OutOfBagProbability",
    "OutOfBagScores",
    "OutOfFoldLoss",
    "Random",
    "SubSample",
    "TargetInfluence",
    "TrainingDynamics",
    "TrainingTrace",
    "TreeEnsemble",
    "TreeSim",
    "Trex",
    "__version__",
    "in_bag",
    "out_of_bag",
    "read_model",
]

_SUBPACKAGES = dict.fromkeys(__all__, "explainers") | {
    "Amount": "cleaning",
    "InfluenceCleaner": "cleaning",
    "InfluenceSelector": "cleaning",
    "OutOfBagScores": "explainers.row_sampling",
    "TrainingTrace": "trace",
    "TreeEnsemble": "ensemble",
    "in_bag": "explainers.row_sampling",
    "out_of_bag": "explainers.row_sampling",
    "read_model": "adapters",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access: importing scikit-learn takes a second."""
    if name not in _SUBPACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"treeinf.{_SUBPACKAGES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
