"""What a model is here: flat arrays of trees, the same for every library."""

from treeinf.ensemble.structure import (
    EVERY_OUTPUT,
    LeafRule,
    Missing,
    TrainingFacts,
    TreeEnsemble,
)

__all__ = ["EVERY_OUTPUT", "LeafRule", "Missing", "TrainingFacts", "TreeEnsemble"]
