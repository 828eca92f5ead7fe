"""Which estimate of influence: explainers, baselines, and their result."""

from treeinf.explainers.base import Explainer
from treeinf.explainers.baselines.dynamics import (
    GradientNorm,
    GradientVariance,
    TrainingDynamics,
)
from treeinf.explainers.baselines.loss import Loss
from treeinf.explainers.baselines.neighbours import InputSim, KNNShapley
from treeinf.explainers.baselines.out_of_bag import OutOfBagProbability
from treeinf.explainers.baselines.out_of_bag_loss import OutOfBagLoss
from treeinf.explainers.baselines.out_of_fold import OutOfFoldLoss
from treeinf.explainers.baselines.random import Random
from treeinf.explainers.gradient.additive import AdditiveExplainer
from treeinf.explainers.gradient.boostin import BoostIn
from treeinf.explainers.gradient.leaf_influence import LeafInfluence
from treeinf.explainers.gradient.target_influence import TargetInfluence
from treeinf.explainers.influence import Influence, RankedRows
from treeinf.explainers.refit.leaf_refit import LeafRefit
from treeinf.explainers.retraining import LOO, DataShapley, SubSample
from treeinf.explainers.tree_kernel.tree_sim import TreeSim
from treeinf.explainers.tree_kernel.trex import Trex

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
    "OutOfBagLoss",
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
