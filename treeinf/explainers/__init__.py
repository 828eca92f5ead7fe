"""Which estimate of influence: explainers, baselines, and their result."""

from treeinf.explainers.additive import AdditiveExplainer
from treeinf.explainers.base import Explainer
from treeinf.explainers.baselines import (
    Loss,
    OutOfBagProbability,
    OutOfFoldLoss,
    Random,
)
from treeinf.explainers.boostin import BoostIn
from treeinf.explainers.dynamics import (
    GradientNorm,
    GradientVariance,
    TrainingDynamics,
)
from treeinf.explainers.influence import Influence, RankedRows
from treeinf.explainers.leaf_influence import LeafInfluence
from treeinf.explainers.leaf_refit import LeafRefit
from treeinf.explainers.neighbours import InputSim, KNNShapley
from treeinf.explainers.retraining import LOO, DataShapley, SubSample
from treeinf.explainers.similarity import TreeSim
from treeinf.explainers.target_influence import TargetInfluence
from treeinf.explainers.trex import Trex

__all__ = [
    "LOO",
    "AdditiveExplainer",
    "BoostIn",
    "DataShapley",
    "Explainer",
    "GradientNorm",
    "GradientVariance",
    "Influence",
    "InputSim",
    "KNNShapley",
    "LeafInfluence",
    "LeafRefit",
    "Loss",
    "OutOfBagProbability",
    "OutOfFoldLoss",
    "Random",
    "RankedRows",
    "SubSample",
    "TargetInfluence",
    "TrainingDynamics",
    "TreeSim",
    "Trex",
]
