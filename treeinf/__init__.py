"""Which training rows made a tree ensemble say this, and which of them hurt it."""

from treeinf.adapters import read_model
from treeinf.ensemble import TreeEnsemble
from treeinf.explainers import BoostIn, Influence
from treeinf.trace import TrainingTrace

__version__ = "0.1.0.dev0"
__all__ = [
    "BoostIn",
    "Influence",
    "TrainingTrace",
    "TreeEnsemble",
    "__version__",
    "read_model",
]
