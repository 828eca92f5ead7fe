"""Which training rows made a tree ensemble say this, and which of them hurt it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treeinf.adapters import read_model
    from treeinf.cleaning import InfluenceCleaner
    from treeinf.ensemble import TreeEnsemble
    from treeinf.explainers import BoostIn, Influence, LeafInfluence
    from treeinf.trace import TrainingTrace

__version__ = "0.1.0.dev0"
__all__ = [
    "BoostIn",
    "Influence",
    "InfluenceCleaner",
    "LeafInfluence",
    "TrainingTrace",
    "TreeEnsemble",
    "__version__",
    "read_model",
]

_ROOMS = {
    "BoostIn": "treeinf.explainers",
    "Influence": "treeinf.explainers",
    "InfluenceCleaner": "treeinf.cleaning",
    "LeafInfluence": "treeinf.explainers",
    "TrainingTrace": "treeinf.trace",
    "TreeEnsemble": "treeinf.ensemble",
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
