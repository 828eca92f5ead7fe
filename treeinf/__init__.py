"""Which training rows made a tree ensemble say this, and which of them hurt it."""

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
        OutOfBagProbability,
        OutOfFoldLoss,
        Random,
        SubSample,
        TargetInfluence,
        TrainingDynamics,
        TreeSim,
        Trex,
    )
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
    "OutOfBagProbability",
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
    "read_model",
]

_EXPLAINERS = "treeinf.explainers"
_ROOMS = {
    "Amount": "treeinf.cleaning",
    "BoostIn": _EXPLAINERS,
    "DataShapley": _EXPLAINERS,
    "GradientNorm": _EXPLAINERS,
    "GradientVariance": _EXPLAINERS,
    "Influence": _EXPLAINERS,
    "InfluenceCleaner": "treeinf.cleaning",
    "InfluenceSelector": "treeinf.cleaning",
    "InputSim": _EXPLAINERS,
    "KNNShapley": _EXPLAINERS,
    "LOO": _EXPLAINERS,
    "LeafInfluence": _EXPLAINERS,
    "LeafRefit": _EXPLAINERS,
    "Loss": _EXPLAINERS,
    "OutOfBagProbability": _EXPLAINERS,
    "OutOfFoldLoss": _EXPLAINERS,
    "Random": _EXPLAINERS,
    "SubSample": _EXPLAINERS,
    "TargetInfluence": _EXPLAINERS,
    "TrainingDynamics": _EXPLAINERS,
    "TrainingTrace": "treeinf.trace",
    "TreeEnsemble": "treeinf.ensemble",
    "TreeSim": _EXPLAINERS,
    "Trex": _EXPLAINERS,
    "read_model": "treeinf.adapters",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: scikit-learn takes a second."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_ROOMS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
